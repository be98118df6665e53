"""Where the notebook is: its steps and how each stands, as a list that is redrawn while it runs and stays readable after.

It knows how the list looks, and not how a step comes to stand as it does.
"""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape

from cgrunbook.run.looks import look_of
from cgrunbook.run.outline import Line, Outline, Standing, State

# A list that says of when it is may be read when nobody waits and nothing works any more.
_THEN: dict[State, str] = {Standing.ASKS: "waited for you", Standing.AT_WORK: "was at work"}

_CELL = "text-align:left;vertical-align:top;padding:1px 14px 1px 0"


def as_html(outline: Outline, *, planning: bool = False, as_of: datetime | None = None) -> str:
    """The list; nothing where no step is known."""
    if not outline.lines:
        return ""
    rows = ""
    for number, line in enumerate(outline.lines, 1):
        glyph, colour = look_of(line.state, line.marks)
        rows += (
            f'<tr style="background:none"><td style="{_CELL};opacity:0.75">{number}</td>'
            f'<td style="{_CELL}">{escape(line.title)}</td>'
            f'<td style="{_CELL};white-space:nowrap"><strong style="border-left:4px solid {colour};padding:0 0 0 6px;'
            f'font-weight:600">{glyph} {escape(_words(line, as_of))}</strong></td></tr>'
        )
    return (
        f'<div class="cgrunbook-steps" style="margin:4px 0;padding:2px 14px;max-width:980px;line-height:1.45">'
        f'<p style="margin:2px 0"><strong style="font-weight:600">{escape(_head(outline, planning=planning))}</strong>'
        f'<span style="opacity:0.75">{_as_of(as_of)}</span></p>'
        f'<table style="margin:2px 0;border-collapse:collapse;font-size:13px">{rows}</table></div>'
    )


def as_text(outline: Outline, *, planning: bool = False, as_of: datetime | None = None) -> str:
    """The same as lines."""
    lines = [f"{_head(outline, planning=planning)}{_as_of(as_of)}"]
    for number, line in enumerate(outline.lines, 1):
        lines.append(f"  {number:>2}  {look_of(line.state, line.marks)[0]} {_words(line, as_of)}: {line.title}")
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


def _head(outline: Outline, *, planning: bool) -> str:
    """How far it has come: `Steps: 2 of 5 done`."""
    whole = f" of {len(outline.lines)}" if outline.whole else ""
    return f"Steps: {outline.done(planning=planning)}{whole} {'gone through' if planning else 'done'}"


def _words(line: Line, as_of: datetime | None) -> str:
    now = line.now
    return line.words.replace(now, _THEN[now]) if as_of and now in _THEN else line.words


def _as_of(moment: datetime | None) -> str:
    return f", as of {moment:%Y-%m-%d %H:%M:%S} UTC" if moment else ""
