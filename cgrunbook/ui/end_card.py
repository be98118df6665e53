"""The end of a notebook drawn as HTML and text: the verdict, the way of an image as a picture, what can be copied now.

It knows how these look. What they say is known from the run.
"""

from __future__ import annotations

from html import escape

from cgrunbook.redaction import redact
from cgrunbook.run.conclusion import Conclusion
from cgrunbook.run.route import Link, Route
from cgrunbook.ui import cards

# The glyph and the colour of a tone.
_TONES = {
    "good": ("✓", "#2da44e"),
    "bad": ("✗", "#d1242f"),
    "planned": ("…", "#8957e5"),
    "later": ("○", "#6e7781"),
    "open": ("▸", "#6e7781"),
}

_ROW = "background:transparent"
_BOX = "border:1px solid #8c959f;border-radius:4px;padding:6px 10px;text-align:center;vertical-align:middle;line-height:1.35"
_ARROW = "text-align:center;vertical-align:middle;padding:2px 8px;line-height:1.2;white-space:nowrap"
_QUIET = "opacity:0.75"
_CGR = "Chainguard's registry"


def conclusion_card(conclusion: Conclusion) -> dict[str, str]:
    """The one display at a notebook's end."""
    glyph, colour = _TONES[conclusion.tone]
    html = (
        f'<p style="margin:2px 0"><strong style="color:{colour}">{glyph} {escape(conclusion.word)}:</strong> '
        f"{escape(conclusion.sentence)}</p>"
    )
    lines = [f"{glyph} {conclusion.word}: {conclusion.sentence}"]
    for part_html, part_lines in cards.findings(conclusion.findings):
        html += part_html
        lines += [f"  {line}" for line in part_lines]
    for route in conclusion.routes:
        html += _picture(route)
        lines += [f"  {line}" for line in _in_words(route)]
    for what, commands in conclusion.commands.items():
        shown = "\n".join(commands)
        html += (
            f'<p style="margin:8px 0 0">{escape(what)}</p><pre style="font-family:monospace;white-space:pre-wrap;'
            f'overflow-wrap:anywhere;margin:2px 0 4px">{escape(shown)}</pre>'
        )
        lines += [f"  {what}:", *(f"    {command}" for command in commands)]
    rows = {name: escape(value) for name, value in conclusion.facts.items()}
    if conclusion.report:
        rows["this run's report"] = _link(conclusion.report, conclusion.report)
    if conclusion.next:
        notebook, does = conclusion.next
        rows["next"] = f"{_link(f'{notebook}.ipynb', notebook)}, which {escape(does)}"
    told = {
        **conclusion.facts,
        **({"this run's report": conclusion.report} if conclusion.report else {}),
        **({"next": ", which ".join(conclusion.next)} if conclusion.next else {}),
    }
    cell = "text-align:left;vertical-align:top;padding:2px 14px 2px 0;overflow-wrap:anywhere"
    body = "".join(
        f'<tr style="{_ROW}"><th scope="row" style="{cell};font-weight:normal;white-space:nowrap;{_QUIET}">{escape(name)}</th>'
        f'<td style="{cell}">{value}</td></tr>'
        for name, value in rows.items()
    )
    if body:
        html += f'<table style="margin:6px 0 2px;border-collapse:collapse">{body}</table>'
    lines += [f"  {name}: {value}" for name, value in told.items()]
    framed = (
        f'<div style="border-left:4px solid {colour};padding:4px 0 4px 12px;margin:4px 0;line-height:1.4">{html}</div>'
    )
    return {"text/html": redact(framed), "text/plain": redact("\n".join(lines))}


def _picture(route: Route) -> str:
    """The way as boxes and arrows, with the words below: no line of it is drawn by colour or style alone."""
    rows = (
        f'<tr style="{_ROW}">{_box("Client", "docker, Kubernetes, CI")}{_arrow(route.pull)}'
        f"{_box('Artifact Registry', route.repository)}{_arrow(route.upstream)}{_box('cgr.dev', _CGR)}</tr>"
    )
    if route.grant and route.token:
        down = f'<td style="{_ARROW}">{_state(route.grant)} &#160;↓</td>'
        rows += (
            f'<tr style="{_ROW}"><td></td><td></td>{down}<td></td><td style="{_ARROW}">↑</td></tr>'
            f'<tr style="{_ROW}"><td></td><td></td>{_box("Secret Manager", route.secret)}{_arrow(route.token)}'
            f'<td style="{_ARROW};{_QUIET}">takes the pull token</td></tr>'
        )
    said = "".join(
        f'<li style="margin:0">{_state(link)} {escape(link.between)}{escape(f": {link.said}") if link.said else ""}</li>'
        for link in route.links
    )
    return (
        f'<p style="margin:10px 0 4px"><strong>{escape(_title(route))}</strong></p>'
        f'<table style="border-collapse:separate;border-spacing:0 2px;margin:4px 0">{rows}</table>'
        f'<ul style="margin:4px 0;padding:0;list-style-type:none">{said}</ul>'
    )


def _in_words(route: Route) -> list[str]:
    said = [f"  {link.state.words}: {link.between}{f': {link.said}' if link.said else ''}" for link in route.links]
    return [_title(route), *said]


def _title(route: Route) -> str:
    return f"{route.images}, through {route.repository}{f' and the secret {route.secret}' if route.secret else ''}"


def _box(title: str, name: str) -> str:
    return (
        f'<td style="{_BOX}"><strong>{escape(title)}</strong><br>'
        f'<span style="font-family:monospace;font-size:12px">{escape(name)}</span></td>'
    )


def _arrow(link: Link) -> str:
    return f'<td style="{_ARROW}">{_state(link)}<br>───→</td>'


def _state(link: Link) -> str:
    _, colour = _TONES[link.state.tone]
    return f'<strong style="color:{colour}">{escape(link.state.words)}</strong>'


def _link(address: str, said: str) -> str:
    return f'<a href="{escape(address)}" style="text-decoration:underline">{escape(said)}</a>'
