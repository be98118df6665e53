"""What came of a step, drawn as plain HTML and as text, each saying the same.

JupyterLab strips `<style>`, `role` and `var()` from notebooks that it does not trust, so colours are literal,
translucent enough for a light and a dark page, and never the only bearer of meaning. It knows how things look, and
not where they come from. What else a notebook shows is drawn with the public pieces of this file, to look the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from html import escape
from typing import Any

from cgrunbook.errors import CgrunbookError, Interrupted, code_of
from cgrunbook.parameters import Parameters
from cgrunbook.redaction import redact
from cgrunbook.run.context import Context
from cgrunbook.run.looks import ASKED, CHANGED, GONE, LOOKS, QUIET, badge, badge_of, look_of
from cgrunbook.run.result import Result
from cgrunbook.run.wording import WILL_BE, OfOne, by_resource, is_digest, is_table, said_once, shown, tense
from cgrunbook.steps.step import Finding, Outcome, Plan, Progress, Step, in_bytes
from cgrunbook.ui.values import Value

# JupyterLab drops `anywhere` where it does not trust a notebook, and keeps what stands before it.
_WRAP = "overflow-wrap:break-word;overflow-wrap:anywhere;"
_CELL = "text-align:left;vertical-align:top;padding:3px 16px 3px 0;"
_NUMBER = "text-align:right;vertical-align:top;padding:3px 16px 3px 0;"
_TABLE = "margin:6px 0;border-collapse:collapse;font-size:13px"
_ROW = '<tr style="background:none;border-bottom:1px solid #8883">'
_CODE = "font-family:monospace;white-space:pre-wrap;"
_LINE = "white-space:nowrap;"
# Characters of a name and of a value that are never broken: two values fit beside a name on half a screen.
_UNBROKEN, _UNBROKEN_VALUE = 28, 14
_QUIET = "opacity:0.75;"
# The whole text is there to be copied, and to be read where styles are not; the eye is spared most of it.
_SHORT = (
    "font-family:monospace;display:inline-block;max-width:12em;overflow:hidden;text-overflow:ellipsis;"
    "white-space:nowrap;vertical-align:bottom"
)

# In JupyterLab these rules tie a card to the widget in the output below it; everywhere else they are stripped or mean
# nothing, and all of the card is shown.
_OUTPUT = ".jp-OutputArea-child"
_ALIVE = ".jupyter-widgets:not(.jupyter-widgets-disconnected) *"
_GONE = (".jupyter-widgets:not(:has(*))", ":has(.jupyter-widgets-disconnected)")
_LIVE_RULES = (
    # A widget whose kernel is gone shows an error in its place, or buttons that do nothing: the card says what to do instead.
    ",".join(f"{_OUTPUT}:has(.cgrunbook-live) + {_OUTPUT} .jp-OutputArea-output{gone}" for gone in _GONE)
    # While the widget lives, what the card says for the other case is of no use; and the other way about.
    + f",{_OUTPUT}:has(+ {_OUTPUT} {_ALIVE}) .cgrunbook-without-widget,"
    f"{_OUTPUT}:not(:has(+ {_OUTPUT} {_ALIVE})) .cgrunbook-with-widget{{display:none}}"
)
_AGAIN = (
    "Where no buttons stand below, nobody waits for an answer any more: run this cell again, or "
    "Run > Run Selected Cell and All Below, to be asked."
)
_FORM_AGAIN = (
    "Where no form stands below, nobody waits for it any more: run this cell again, or Run > Run All Cells, to have it."
)
_WORKS_NO_MORE = "Where this cell shows no [*], it works no more: run it again, and it goes on where it ended."


def _panel_rules(number: int) -> str:
    """Let a plan's card and the panel below it say everything once, on a page that was reloaded meanwhile too."""
    return (
        # The panel repeats the plan for a page that did not get the card.
        f"{_OUTPUT}:has(.cgrunbook-plan-{number}) + {_OUTPUT} .cgrunbook-log-{number},"
        ".cgrunbook-log .cgrunbook-without-widget,"
        # The panel has gone on, and this page did not hear that the card was replaced.
        f"{_OUTPUT}:has(+ {_OUTPUT} .cgrunbook-log:not(.cgrunbook-log-{number})) .cgrunbook-plan-{number}"
        "{display:none}"
    )


def _style(rules: str) -> str:
    return f'<style class="cgrunbook-live">{rules}</style>'


# A piece of a card: as HTML, and as lines of text that say the same.
Block = tuple[str, Sequence[str]]


def card(colour: str, head: Block, blocks: Sequence[Block], context: Context | None = None) -> dict[str, str]:
    """A card of blocks below a head in both forms, with all that must not be shown masked.

    Args:
        context: where it works and as whom; None for what is not about a target.
    """
    above: list[Block] = [(context.html, [context.text])] if context else []
    html = "".join([*(html for html, _ in above), head[0], *(html for html, _ in blocks)])
    text = "\n".join([*head[1], *(f"  {line}" for _, lines in [*above, *blocks] for line in lines)])
    thick = "7px double" if colour == GONE else "4px solid"
    framed = (
        f'<div style="border:1px solid rgba(128,128,128,0.35);border-left:{thick} {colour};border-radius:4px;'
        f'padding:8px 14px;margin:4px 0;max-width:980px;line-height:1.45;{_WRAP}">{html}</div>'
    )
    return {"text/html": redact(framed), "text/plain": redact(text)}


def result_card(result: Result, context: Context | None = None) -> dict[str, str]:
    """The one, final display of a performed step."""
    step, outcome, plan, evidence = result.step, result.outcome, result.plan, result.evidence
    word = "interrupted" if isinstance(result.error, Interrupted) else outcome.value
    timing = f"{result.seconds:.1f} s"
    if result.waited >= 0.05:
        timing += f", of which {result.waited:.1f} s waiting"
    happened = by_resource(plan.changes, tense(outcome.value))
    facts = evidence.facts
    if not result.error and outcome is not Outcome.PLANNED:
        happened, facts = said_once(happened, facts)
    blocks = [*_happenings(happened), *_lost(plan), *_notes(plan, context), *findings(evidence.findings)]
    if evidence.brief and not facts and not happened:
        blocks.append(sentence(evidence.brief))
    blocks += [*_facts(facts), *_ways(evidence.findings)]
    if result.error and not evidence.findings:
        blocks.append(_error(result.error))
    blocks += [*by_hand([*plan.commands, *evidence.commands], context), (_guide_html(step), ())]
    glyph, colour = look = look_of(word, [finding.mark for finding in evidence.findings])
    if plan.outcome is Outcome.DELETED and outcome is Outcome.PLANNED:
        colour = GONE
    return card(colour, _head(badge(word, *look), f"{glyph} {word}", step.title, timing), blocks, context)


def _ways(findings: Sequence[Finding]) -> list[Block]:
    """A picture of each way that a diagnosis has looked at."""
    if not any(finding.way for finding in findings):
        return []
    from cgrunbook.run.route import routes_of_findings  # with the record's models, which few cards need
    from cgrunbook.ui.way_picture import picture

    return [*map(picture, routes_of_findings(findings))]


def plan_card(
    step: Step,
    plan: Plan,
    *,
    number: int = 0,
    context: Context | None = None,
    console: str = "",
    asked: datetime | None = None,
) -> dict[str, str]:
    """What a step would change, shown before it is asked whether it may.

    It stays in a notebook that is saved meanwhile, so it says what to do where its buttons are gone.

    Args:
        step: what asks.
        plan: what it would change.
        number: the step's place in the notebook, by which the card knows its panel.
        context: where it would work, and as whom.
        console: the page of Google Cloud's console; "" for none.
        asked: when.
    """
    colour = GONE if plan.outcome is Outcome.DELETED else ASKED
    since = f"You were asked {_at(asked)}."
    waiting = f'<p class="cgrunbook-without-widget" style="margin:6px 0 2px">{since} {_AGAIN}</p>'
    blocks = [
        _on_page(sentence(step.why)),
        *_happenings(by_resource(plan.changes, WILL_BE)),
        *_lost(plan),
        *_notes(plan, context),
        *map(_on_page, by_hand(plan.commands, context)),
        (_guide_html(step, console) + waiting, [f"{since} {_AGAIN}"]),
    ]
    word = f"to be {plan.outcome.value}"
    drawn = card(colour, _head(badge(word, "?", colour), f"? {word}", step.title), blocks, context)
    style = _style(_LIVE_RULES + _panel_rules(number))
    return drawn | {"text/html": f'<div class="cgrunbook-plan-{number}">{style}{drawn["text/html"]}</div>'}


def working_card(step: Step, progress: Progress, pace: str = "", context: Context | None = None) -> dict[str, str]:
    """How far a step has come, by what it said last, shown while it works and then replaced."""
    said = progress.text
    if progress.done is not None and progress.total:
        said += f": {progress.done / progress.total:.0%}"
        if progress.unit == "bytes":
            said += f" of {in_bytes(progress.total)}"
    said += "".join(f", {more}" for more in (progress.detail, pace) if more)
    head, _ = _head(badge("working", "…", CHANGED), "… working", step.title)
    otherwise = (f'<p style="margin:6px 0;{_QUIET}">{_WORKS_NO_MORE}</p>', [_WORKS_NO_MORE])
    return card(CHANGED, (head, [f"… {step.title}: {said}"]), [_on_page(sentence(said)), otherwise], context)


def target_card(
    notebook: str,
    params: Parameters,
    target: Mapping[str, str],
    said: Mapping[str, Value],
    *,
    context: Context,
    form: bool = False,
) -> dict[str, str]:
    """What a notebook works on, as whom, what it was told, and by whom.

    Args:
        notebook: its name.
        params: what it was told.
        target: what was left empty and is known now.
        said: by name, who said the value.
        context: where it works, and as whom.
        form: whether a form follows.
    """
    where = (
        "works on Google Cloud: what it changes there is used, and paid for"
        if context.real
        else "works on the sandbox on this machine; nothing leaves it, nothing costs"
    )
    doing = "; it lists what it would change, and changes nothing" if params.mode == "plan" else ""
    used = {name: replace(value, value=target.get(name, getattr(params, name))) for name, value in said.items()}
    return values_card(notebook, f"{where}{doing}", used, form=form, context=context)


def values_card(
    notebook: str,
    sentence: str,
    values: Mapping[str, Value],
    *,
    form: bool,
    waits: bool = False,
    context: Context | None = None,
) -> dict[str, str]:
    """A notebook's values and by whom they are said, below a sentence on them; without a form this is all there is.

    Args:
        waits: whether the sentence holds only as long as the form is waited for.
    """
    rows, lines = "", []
    for name, value in values.items():
        by = f"{value.source.value}{f', {value.note}' if value.note else ''}"
        rows += _row(name, f'{_cell(value.value)}<td style="{_CELL}{_QUIET}overflow-wrap:normal">{escape(by)}</td>')
        lines.append(f"{name}: {shown(value.value)} ({by})")
    kept, style = (' class="cgrunbook-without-widget"', _style(_LIVE_RULES)) if form else ("", "")
    table = f'{style}<table{kept} style="{_TABLE}">{rows}</table>'
    only = ' class="cgrunbook-with-widget"' if waits else ""
    named = f'<strong style="font-weight:600">{escape(notebook)}</strong> <span{only}>{escape(sentence)}</span>'
    head = (f'<p style="margin:2px 0">{named}</p>', [f"▸ {notebook}: {sentence}"])
    again = [(f'<p{kept} style="margin:6px 0">{_FORM_AGAIN}</p>', [_FORM_AGAIN])] if form else []
    return card(QUIET, head, [(table, lines), *again], context)


def _at(moment: datetime | None) -> str:
    return f"on {moment:%Y-%m-%d} at {moment:%H:%M} UTC" if moment else "here"


def sentence(text: str, context: Context | None = None) -> Block:
    """A paragraph, and below it what is on further lines: commands, which are as safe to copy as those of `by_hand`."""
    said, _, commands = text.partition("\n")
    if commands and context:
        commands = context.by_hand([commands])
    return f'<p style="margin:6px 0">{escape(said)}</p>{commands and shell(commands)}', [
        said,
        *commands.splitlines(),
    ]


def table(rows: Sequence[Mapping[str, Any]], caption: str = "") -> str:
    """Rows with the same columns as HTML; numbers stand to the right, of a digest its beginning is seen."""
    named = f'<caption style="text-align:left;{_QUIET}white-space:nowrap">{escape(caption)}</caption>'
    sides = [_NUMBER if isinstance(value, int) else _CELL for value in rows[0].values()]
    columns = [*zip(rows[0], sides, strict=True)]
    head = "".join(
        f'<th scope="col" style="{side}{_QUIET}">{"size" if name == "bytes" else escape(name)}</th>'
        for name, side in columns
    )
    body = "".join(f"{_ROW}{''.join(_cell(row[name], name, side) for name, side in columns)}</tr>" for row in rows)
    return f'<table style="{_TABLE}">{named if caption else ""}{_ROW}{head}</tr>{body}</table>'


def by_hand(commands: Sequence[str], context: Context | None = None) -> list[Block]:
    """The same as commands, folded away; in the sandbox's context they run there or not at all, wherever they are put."""
    if not commands:
        return []
    lines = context.by_hand(commands) if context else "\n".join(commands)
    whole = "" if context is None or context.real else "user-select:all;"  # a part of it is not guarded
    html = f'<details style="margin:6px 0"><summary>The same by hand</summary>{shell(lines, whole)}</details>'
    return [(html, ["The same by hand:", *(f"  {line}" for line in lines.splitlines())])]


def link(address: str, said: str) -> str:
    """A link as HTML, underlined, since its colour alone would not tell."""
    return f'<a href="{escape(address)}" style="text-decoration:underline">{escape(said)}</a>'


def _head(badge: str, word: str, title: str, timing: str = "") -> Block:
    quiet = f' <span style="{_QUIET}white-space:nowrap">&#160;{escape(timing)}</span>' if timing else ""
    html = (
        f'<p style="margin:2px 0 4px">{badge} &#160;<strong style="font-weight:600">{escape(title)}</strong>{quiet}</p>'
    )
    return html, [f"{word}: {title}" + (f" ({timing})" if timing else "")]


def _on_page(block: Block) -> Block:
    """A block that the text leaves out."""
    return block[0], ()


def shell(lines: str, more: str = "") -> str:
    """Lines to be copied, as HTML."""
    return (
        f'<pre style="{_CODE}{more}word-break:normal;margin:4px 0;padding:6px 10px;border-radius:4px;font-size:12px;'
        f'background:rgba(128,128,128,0.12)">{escape(lines)}</pre>'
    )


def _unbroken(name: str) -> str:
    return _LINE if len(name) <= _UNBROKEN else ""


def _named(name: str) -> str:
    """A name, which breaks behind a dot if it must: hosts are long."""
    return escape(name) if len(name) <= _UNBROKEN else escape(name).replace(".", ".<wbr>")


def _lines(text: str) -> str:
    return "<br>".join(escape(line) for line in text.splitlines())


def _row(name: str, cells: str) -> str:
    return f'{_ROW}<th scope="row" style="{_CELL}{_unbroken(name)}font-weight:normal;{_QUIET}">{_named(name)}</th>{cells}</tr>'


def _cell(value: Any, name: str = "", side: str = "") -> str:
    text = shown(value, name)
    if side and is_digest(text):
        return f'<td style="{side}"><span style="{_SHORT}" title="{text}">{text}</span></td>'
    font = _LINE if side == _NUMBER else _CODE if len(text) > _UNBROKEN_VALUE else f"font-family:monospace;{_LINE}"
    return f'<td style="{side or _CELL}{font}">{escape(text)}</td>'


def _facts(facts: Mapping[str, Any]) -> list[Block]:
    """The plain values in one table, and below it a table for each that is one; the text keeps their order."""
    if not facts:
        return []
    rows, tables, lines = "", "", []
    for name, value in facts.items():
        if is_table(value):
            tables += table(value, name)
            lines.append(f"{name}:")
            lines += [f"  {'  '.join(shown(item, key) for key, item in row.items())}" for row in value]
        else:
            rows += _row(name, _cell(shown(value, name)))
            lines.append(f"{name}: {shown(value, name)}")
    body = f'<table style="{_TABLE}">{rows}</table>' if rows else ""
    return [(body + tables, lines)]


def _happenings(happened: Sequence[OfOne]) -> list[Block]:
    """What happens to each resource; a list where there are several of which no more is to be said."""
    if len(happened) < 2 or any(one.fields for one in happened):
        return [*map(_happening, happened)]
    return [(_list(one.said for one in happened), [line for one in happened for line in one.lines])]


def _list(items: Iterable[str]) -> str:
    """Sentences below each other, as HTML."""
    rows = "".join(f"<li>{escape(item.removesuffix('.'))}.</li>" for item in items)
    return f'<ul style="margin:6px 0;padding:0 0 0 20px">{rows}</ul>'


def _happening(one: OfOne) -> Block:
    """What happens to one resource: a sentence, and a table of what of it differs."""
    html = f'<p style="margin:6px 0 0">{escape(one.said)}{":" if one.fields else "."}</p>'
    if one.fields:
        head = (
            ""
            if one.made
            else "".join(f'<th scope="col" style="{_CELL}{_QUIET}">{h}</th>' for h in ("field", "before", "after"))
        )
        rows = "".join(
            _row(name, (_cell(after) if one.made else _cell(before or "nothing") + _cell(after or "nothing")))
            for name, before, after in one.fields
        )
        html += f'<table style="{_TABLE}">{head and f"{_ROW}{head}</tr>"}{rows}</table>'
    return html, one.lines


def _lost(plan: Plan) -> list[Block]:
    """What cannot be had back, so that it is read before anything else is."""
    if not plan.lost:
        return []
    html = f'<p style="margin:8px 0 0">{badge("What is lost", "!", GONE)}</p>{_list(plan.lost)}'
    return [(html, ["What is lost:", *(f"  {one}" for one in plan.lost)])]


def _notes(plan: Plan, context: Context | None) -> list[Block]:
    return [sentence(f"Note: {note}", context) for note in plan.notes]


def findings(findings: Sequence[Finding]) -> list[Block]:
    """Checks as one table; nothing without any."""
    if not findings:
        return []
    rows, lines = "", []
    for finding in findings:
        mark = finding.mark.value
        remedy = f'<br><span style="{_QUIET}">What to do: {_lines(finding.remedy)}</span>' if finding.remedy else ""
        rows += (
            f'{_ROW}<td style="{_CELL}{_LINE}">{badge_of(mark)}</td>'
            f'<td style="{_CELL}{_unbroken(finding.check)}">{_named(finding.check)}</td>'
            f'<td style="{_CELL}">{_lines(finding.seen)}{remedy}</td></tr>'
        )
        seen, remedies = (
            finding.seen.splitlines(),
            f"What to do: {finding.remedy}".splitlines() if finding.remedy else [],
        )
        lines.append(f"{LOOKS[mark][0]} {mark:<4}  {finding.check}: {seen[0] if seen else ''}")
        lines += [f"        {line}" for line in (*seen[1:], *remedies)]
    return [(f'<table style="{_TABLE}">{rows}</table>', lines)]


def _error(error: CgrunbookError) -> Block:
    html = f'<p style="margin:6px 0">{_lines(error.message)}</p>'
    if error.remedy:
        html += f'<p style="margin:6px 0"><strong>What to do:</strong> {_lines(error.remedy)}</p>'
    more = []
    if code := code_of(error):
        more.append(f"What may be behind it: cgrunbook doctor --explain {code}")
        html += f'<p style="margin:6px 0;{_QUIET}">{_lines(more[0])}</p>'
    return html, [*str(error).splitlines(), *more]


def _guide_html(step: Step, console: str = "") -> str:
    page = f" &#160;·&#160; {link(console, 'in the console')}" if console else ""
    return f'<p style="margin:4px 0 2px;{_QUIET}">{link(step.section.link, "the guide on this")}{page}</p>'
