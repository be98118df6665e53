"""The way of an image as a picture: boxes and arrows, each link with how it was found, and the same in words.

It knows how that looks. How a link was found is known from the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from cgrunbook.run.looks import ASKED, PROVED, QUIET, WRONG
from cgrunbook.run.route import Link, Route

# The glyph and the colour of a tone.
TONES = {
    "good": ("✓", PROVED),
    "bad": ("✗", WRONG),
    "planned": ("…", ASKED),
    "later": ("·", QUIET),
    "open": ("▸", QUIET),
}

_ROW = '<tr style="background:none">'
_BOX = (
    "border:1px solid rgba(128,128,128,0.6);border-radius:4px;padding:6px 6px;text-align:center;vertical-align:middle;"
    "line-height:1.35;overflow-wrap:normal"
)
_ARROW = "text-align:center;vertical-align:middle;padding:3px 3px;line-height:1.3;overflow-wrap:normal"
_QUIET = "opacity:0.75"
_NAMED, _SPOKEN = "font-family:monospace;overflow-wrap:anywhere", _QUIET


def picture(route: Route) -> tuple[str, Sequence[str]]:
    """The way as boxes and arrows, and below it in words, which are all of the text."""
    rows = (
        f"{_ROW}{_box('Client', 'docker, Kubernetes, CI', _SPOKEN)}{_arrow(route.pull)}"
        f"{_box('Artifact Registry', route.repository)}{_arrow(route.upstream)}"
        f"{_box('cgr.dev', 'the source', _SPOKEN)}</tr>"
    )
    if route.grant and route.token:
        rows += (
            f'{_ROW}<td></td><td></td><td style="{_ARROW}">{_state(route.grant)} &#160;↓</td><td></td>'
            f'<td style="{_ARROW}">↑</td></tr>'
            f"{_ROW}<td></td><td></td>{_box('Secret Manager', route.secret)}{_arrow(route.token)}"
            f'<td style="{_ARROW};{_QUIET}">takes the pull token</td></tr>'
        )
    title = f"{route.images}, through {route.repository}{f' and the secret {route.secret}' if route.secret else ''}"
    said = "".join(
        f'<li style="margin:0">{_state(link)} {escape(_between(link))}</li>' for link in route.links if link.said
    )
    html = (
        f'<p style="margin:10px 0 4px">{escape(title)}</p>'
        f'<table style="border-collapse:separate;border-spacing:0 3px;margin:4px 0;font-size:13px">{rows}</table>'
        f'<ul style="margin:4px 0;padding:0;list-style-type:none;font-size:13px">{said}</ul>'
    )
    return html, [title, *(f"  {link.state.words}: {_between(link)}" for link in route.links)]


def _between(link: Link) -> str:
    return f"{link.between}{f': {link.said}' if link.said else ''}"


def _box(title: str, name: str, font: str = _NAMED) -> str:
    return (
        f'<td style="{_BOX}"><strong>{escape(title)}</strong><br>'
        f'<span style="{font};font-size:12px">{escape(name)}</span></td>'
    )


def _arrow(link: Link) -> str:
    return f'<td style="{_ARROW}">{_state(link)}<br>──→</td>'


def _state(link: Link) -> str:
    _, colour = TONES[link.state.tone]
    glyph, word, *more = link.state.words.split(" ")
    first, rest = f"{glyph} {word}", "".join(f" {one}" for one in more)
    return (
        f'<strong style="border:1px solid {colour};border-radius:8px;padding:0 6px;font-weight:600;font-size:12px;'
        f'display:inline-block"><span style="white-space:nowrap">{escape(first)}</span>{escape(rest)}</strong>'
    )
