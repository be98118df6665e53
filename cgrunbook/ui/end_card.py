"""The end of a notebook drawn as HTML and text: the verdict, the way of an image as a picture, what can be copied now.

It knows how these look. What they say is known from the run.
"""

from __future__ import annotations

from html import escape

from cgrunbook.run.conclusion import Conclusion
from cgrunbook.run.context import Context
from cgrunbook.run.looks import badge
from cgrunbook.ui import cards
from cgrunbook.ui.cards import Block
from cgrunbook.ui.way_picture import TONES, picture

_ROW = '<tr style="background:none">'
_QUIET = "opacity:0.75"


def conclusion_card(conclusion: Conclusion, context: Context | None = None) -> dict[str, str]:
    """The one display at a notebook's end.

    Args:
        context: where it works, and as whom.
    """
    glyph, colour = TONES[conclusion.tone]
    head = (
        f'<p style="margin:2px 0 4px">{badge(conclusion.word, glyph, colour)} &#160;'
        f'<strong style="font-weight:600">{escape(conclusion.sentence)}</strong></p>'
    )
    blocks: list[Block] = [*cards.findings(conclusion.findings), *map(picture, conclusion.routes)]
    for what, commands in conclusion.commands.items():
        html = f'<p style="margin:8px 0 0">{escape(what)}</p>{cards.shell(chr(10).join(commands))}'
        blocks.append((html, [f"{what}:", *(f"  {command}" for command in commands)]))
    rows = [(name, value, escape(value)) for name, value in conclusion.facts.items()]
    if conclusion.report:
        rows.append(("this run's report", conclusion.report, cards.link(conclusion.report, conclusion.report)))
    if conclusion.next:
        notebook, does = conclusion.next
        rows.append(
            ("next", f"{notebook}, which {does}", f"{cards.link(f'{notebook}.ipynb', notebook)}, which {escape(does)}")
        )
    if rows:
        blocks.append(_table(rows))
    return cards.card(colour, (head, [f"{glyph} {conclusion.word}: {conclusion.sentence}"]), blocks, context)


def _table(rows: list[tuple[str, str, str]]) -> Block:
    """Names and values, these as text and as HTML."""
    cell = "text-align:left;vertical-align:top;padding:3px 16px 3px 0;overflow-wrap:break-word"
    body = "".join(
        f'{_ROW}<th scope="row" style="{cell};font-weight:normal;white-space:nowrap;{_QUIET}">{escape(name)}</th>'
        f'<td style="{cell}">{html}</td></tr>'
        for name, _, html in rows
    )
    table = f'<table style="margin:6px 0;border-collapse:collapse;font-size:13px">{body}</table>'
    return table, [f"{name}: {value}" for name, value, _ in rows]
