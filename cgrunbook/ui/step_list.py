"""Where the notebook is: its steps and how each stands, as a list that is redrawn while it runs and stays readable after.

It knows how the list looks, and not how a step comes to stand as it does.
"""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape

from cgrunbook.run.outline import Outline, Standing
from cgrunbook.steps.step import Outcome

_GREY, _GREEN, _BLUE, _AMBER, _RED, _VIOLET = "#6e7781", "#2da44e", "#2f81f7", "#bf8700", "#d1242f", "#8957e5"

# A glyph and a colour; the word is the state's own.
_LOOKS: dict[str, tuple[str, str]] = {
    Standing.TO_DO: ("○", _GREY),
    Standing.AT_WORK: ("…", _BLUE),
    Standing.ASKS: ("?", _VIOLET),
    Standing.INTERRUPTED: ("!", _AMBER),
    Standing.IN_PART: ("!", _AMBER),
    Outcome.UNCHANGED: ("✓", _GREY),
    Outcome.UPDATED: ("✓", _BLUE),
    Outcome.PLANNED: ("…", _VIOLET),
    Outcome.DECLINED: ("-", _AMBER),
    Outcome.FAILED: ("✗", _RED),
    "skipped": ("-", _GREY),
}
_DONE = ("✓", _GREEN)

_CELL = "text-align:left;vertical-align:top;padding:1px 14px 1px 0"


def head(outline: Outline, *, planning: bool = False) -> str:
    """How far it has come: `2 of 5 done`."""
    whole = f" of {len(outline.lines)}" if outline.whole else ""
    return f"{outline.done}{whole} {'planned' if planning else 'done'}"


def as_html(outline: Outline, *, planning: bool = False, as_of: datetime | None = None) -> str:
    """The list; nothing where no step is known."""
    if not outline.lines:
        return ""
    rows = ""
    for number, line in enumerate(outline.lines, 1):
        glyph, colour = _LOOKS.get(line.state, _DONE)
        rows += (
            f'<tr style="background:transparent"><td style="{_CELL};opacity:0.75">{number}</td>'
            f'<td style="{_CELL};white-space:nowrap"><strong style="color:{colour}">{glyph} {escape(line.words)}</strong></td>'
            f'<td style="{_CELL}">{escape(line.title)}</td></tr>'
        )
    said = f'{escape(head(outline, planning=planning))}<span style="opacity:0.75;font-weight:normal">{_as_of(as_of)}</span>'
    return (
        f'<div class="cgrunbook-steps" style="border-left:4px solid {_GREY};padding:2px 0 2px 12px;margin:4px 0;line-height:1.4">'
        f'<p style="margin:2px 0;font-weight:bold">{said}</p>'
        f'<table style="margin:2px 0;border-collapse:collapse">{rows}</table></div>'
    )


def as_text(outline: Outline, *, planning: bool = False, as_of: datetime | None = None) -> str:
    """The same as lines."""
    if not outline.lines:
        return ""
    lines = [f"Steps: {head(outline, planning=planning)}{_as_of(as_of)}"]
    for number, line in enumerate(outline.lines, 1):
        glyph, _ = _LOOKS.get(line.state, _DONE)
        lines.append(f"  {number:>2}  {glyph} {line.words}: {line.title}")
    return "\n".join(lines)


def below(card: dict[str, str], outline: Outline, *, planning: bool, live: bool) -> dict[str, str]:
    """A card with the list below it.

    Args:
        card: as HTML and as text.
        live: a widget shows the list, and this one is for where there is none. What is read there may have been saved in the
            middle, or by a page that was not told of the end: so it says of when it is.
    """
    if not outline.lines:
        return card
    as_of = datetime.now(UTC) if live else None
    html = as_html(outline, planning=planning, as_of=as_of)
    if live:
        html = f'<div class="cgrunbook-without-widget">{html}</div>'
    text = as_text(outline, planning=planning, as_of=as_of)
    return {**card, "text/html": card["text/html"] + html, "text/plain": f"{card['text/plain']}\n{text}"}


def _as_of(moment: datetime | None) -> str:
    return f", as of {moment:%Y-%m-%d %H:%M:%S} UTC" if moment else ""
