"""What came of a step, drawn as plain HTML and as text, each saying the same.

JupyterLab strips `<style>`, `role` and `var()` from notebooks that it does not trust, so colours are literal,
translucent enough for a light and a dark page, and never the only bearer of meaning. It knows how things look, and
not where they come from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from html import escape
from itertools import groupby
from typing import Any

from cgrunbook.cloud.caller import spoken
from cgrunbook.errors import CgrunbookError, Interrupted
from cgrunbook.parameters import Parameters
from cgrunbook.redaction import redact
from cgrunbook.run.result import Result
from cgrunbook.steps.step import Change, Finding, Mark, Outcome, Plan, Progress, Step
from cgrunbook.ui.values import Value

# A glyph and a colour.
_LOOKS = {
    Outcome.UNCHANGED: ("✓", "#6e7781"),
    Outcome.CREATED: ("✓", "#2da44e"),
    Outcome.UPDATED: ("✓", "#2f81f7"),
    Outcome.DELETED: ("✓", "#bf8700"),
    Outcome.VERIFIED: ("✓", "#2da44e"),
    Outcome.NOT_CHECKED: ("?", "#6e7781"),
    Outcome.SKIPPED: ("·", "#6e7781"),
    Outcome.PLANNED: ("…", "#8957e5"),
    Outcome.DECLINED: ("-", "#bf8700"),
    Outcome.FAILED: ("✗", "#d1242f"),
}
_MARKS = {
    Mark.OK: ("✓", "#2da44e"),
    Mark.WARN: ("!", "#bf8700"),
    Mark.FAIL: ("✗", "#d1242f"),
    Mark.NOT_CHECKED: ("?", "#6e7781"),
}

_CELL = "text-align:left;vertical-align:top;padding:2px 14px 2px 0;"
_TABLE = "margin:4px 0;border-collapse:collapse"
_CODE = "font-family:monospace;white-space:pre-wrap;overflow-wrap:anywhere;"
_QUIET = "opacity:0.75;"

_WAITING = "Waiting for your approval. Nothing has been changed yet."

# In JupyterLab these rules tie a card to the widget in the output below it; everywhere else they are stripped or mean
# nothing, and all of the card is shown.
_OUTPUT = ".jp-OutputArea-child"
_LIVE_RULES = (
    # A widget whose kernel is gone shows an error in its place: the card says what to do instead.
    f"{_OUTPUT}:has(.cgrunbook-live) + {_OUTPUT} .jp-OutputArea-output.jupyter-widgets:not(:has(*)),"
    # While the widget lives, what the card says for the other case is of no use.
    f"{_OUTPUT}:has(+ {_OUTPUT} .jupyter-widgets *) .cgrunbook-without-widget{{display:none}}"
)
_AGAIN = "To be asked, interrupt the kernel if it is busy, and run this cell again."


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
_Block = tuple[str, Sequence[str]]


def _card(colour: str, head: _Block, blocks: Sequence[_Block]) -> dict[str, str]:
    """A card of blocks below a head in both forms, with all that must not be shown masked."""
    html = "".join([head[0], *(html for html, _ in blocks)])
    text = "\n".join([*head[1], *(f"  {line}" for _, lines in blocks for line in lines)])
    framed = (
        f'<div style="border-left:4px solid {colour};padding:4px 0 4px 12px;margin:4px 0;line-height:1.4">{html}</div>'
    )
    return {"text/html": redact(framed), "text/plain": redact(text)}


def result_card(result: Result) -> dict[str, str]:
    """The one, final display of a performed step."""
    step, outcome, plan, evidence = result.step, result.outcome, result.plan, result.evidence
    word = "interrupted" if isinstance(result.error, Interrupted) else outcome.value
    timing = f"{result.seconds:.1f} s"
    if result.waited >= 0.05:
        timing += f", of which {result.waited:.1f} s waiting"
    blocks = [*_planned(plan), *_findings(evidence.findings)]
    if evidence.brief and not evidence.facts:
        blocks.append(_sentence(evidence.brief))
    blocks += _facts(evidence.facts)
    if result.error and not evidence.findings:
        blocks.append(_error(result.error))
    blocks += [*_by_hand([*plan.commands, *evidence.commands]), (_guide_html(step), ())]
    glyph, colour = _LOOKS[outcome]
    return _card(colour, _head(glyph, word, step.title, colour, timing), blocks)


def plan_card(step: Step, plan: Plan, *, number: int = 0, where: str = "", console: str = "") -> dict[str, str]:
    """What a step would change, shown before it is asked whether it may.

    It stays in a notebook that is saved meanwhile, so it says what to do where its buttons are gone.

    Args:
        step: what asks.
        plan: what it would change.
        number: the step's place in the notebook, by which the card knows its panel.
        where: where it would work, and as whom; "" in the sandbox.
        console: the page of Google Cloud's console; "" for none.
    """
    _, colour = _LOOKS[Outcome.PLANNED]
    waiting = f'<p style="margin:4px 0 2px">{_WAITING} <span class="cgrunbook-without-widget">{_AGAIN}</span></p>'
    blocks = [
        _on_page(_sentence(step.why)),
        *([_sentence(f"In {where}.")] if where else []),
        *_planned(plan),
        *map(_on_page, _by_hand(plan.commands)),
        (_guide_html(step, console) + waiting, [f"{_WAITING} {_AGAIN}"]),
    ]
    card = _card(colour, _head("?", f"to be {plan.outcome.value}", step.title, colour), blocks)
    style = _style(_LIVE_RULES + _panel_rules(number))
    return card | {"text/html": f'<div class="cgrunbook-plan-{number}">{style}{card["text/html"]}</div>'}


def working_card(step: Step, progress: Progress, pace: str = "") -> dict[str, str]:
    """How far a step has come, by what it said last, shown while it works and then replaced."""
    said = progress.text
    if progress.done is not None and progress.total:
        said += f": {progress.done / progress.total:.0%}"
        if progress.unit == "bytes":
            said += f" of {in_bytes(progress.total)}"
    said += "".join(f", {more}" for more in (progress.detail, pace) if more)
    _, colour = _LOOKS[Outcome.UPDATED]
    head, _ = _head("…", "working", step.title, colour)
    return _card(colour, (head, [f"… {step.title}: {said}"]), [_on_page(_sentence(said))])


def target_card(
    notebook: str,
    params: Parameters,
    target: Mapping[str, str],
    said: Mapping[str, Value],
    *,
    caller: str = "",
    form: bool = False,
) -> dict[str, str]:
    """What a notebook works on, as whom, what it was told, and by whom.

    Args:
        notebook: its name.
        params: what it was told.
        target: what was left empty and is known now.
        said: by name, who said the value.
        caller: as whom Google Cloud is called, an IAM member.
        form: whether a form follows.
    """
    where = (
        "the sandbox on this machine; nothing leaves it, nothing costs"
        if params.target == "sandbox"
        else on_google_cloud(target["project_id"], caller)
    )
    doing = "; it lists what it would change, and changes nothing" if params.mode == "plan" else ""
    used = {name: replace(value, value=target.get(name, getattr(params, name))) for name, value in said.items()}
    return values_card(notebook, f"works on {where}{doing}", used, form=form)


def on_google_cloud(project: str, caller: str) -> str:
    """Where it works, and as whom."""
    return f"Google Cloud, project {project}{f', as {spoken(caller)}' if caller else ''}"


def values_card(notebook: str, sentence: str, values: Mapping[str, Value], *, form: bool) -> dict[str, str]:
    """A notebook's values and by whom they are said, below a sentence on them; without a form this is all there is."""
    rows, lines = "", []
    for name, value in values.items():
        by = f"{value.source.value}{f', {value.note}' if value.note else ''}"
        rows += _row(name, f'{_cell(value.value)}<td style="{_CELL}{_QUIET}">{escape(by)}</td>')
        lines.append(f"{name}: {_shown(value.value)} ({by})")
    kept, style = (' class="cgrunbook-without-widget"', _style(_LIVE_RULES)) if form else ("", "")
    colour = "#6e7781"
    table = f'{style}<table{kept} style="{_TABLE}">{rows}</table>'
    return _card(colour, _head("▸", notebook, sentence, colour), [(table, lines)])


def in_bytes(count: float) -> str:
    """A number of bytes as a person reads it: `1.4 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def _head(glyph: str, word: str, title: str, colour: str, timing: str = "") -> _Block:
    quiet = f' <span style="{_QUIET}">{escape(timing)}</span>' if timing else ""
    badge = f'<strong style="color:{colour}">{glyph} {escape(word)}</strong>'
    html = f'<p style="margin:2px 0">{badge} &#160; {escape(title)}{quiet}</p>'
    return html, [f"{glyph} {word}: {title}" + (f" ({timing})" if timing else "")]


def _on_page(block: _Block) -> _Block:
    """A block that the text leaves out."""
    return block[0], ()


def _shown(value: Any) -> str:
    if value is None:
        return "(none)"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S} UTC"
    if isinstance(value, str):
        return value or "(not given)"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={item}" for key, item in value.items()) or "(none)"
    if isinstance(value, (list, tuple)):
        return ", ".join(_shown(item) for item in value) or "(none)"
    return str(value)


def _row(name: str, cells: str) -> str:
    return f'<tr><th scope="row" style="{_CELL}font-weight:normal;{_QUIET}">{escape(name)}</th>{cells}</tr>'


def _cell(value: Any) -> str:
    return f'<td style="{_CELL}{_CODE}">{escape(_shown(value))}</td>'


def _facts(facts: Mapping[str, Any]) -> list[_Block]:
    """The plain values in one table, and below it a table for each that is one; the text keeps their order."""
    rows, tables, lines = "", "", []
    for name, value in facts.items():
        if isinstance(value, (list, tuple)) and value and all(isinstance(item, Mapping) for item in value):
            tables += _table(name, value)
            lines.append(f"{name}:")
            lines += [f"  {'  '.join(_shown(item) for item in row.values())}" for row in value]
        else:
            rows += _row(name, _cell(value))
            lines.append(f"{name}: {_shown(value)}")
    body = f'<table style="{_TABLE}">{rows}</table>' if rows else ""
    return [(body + tables, lines)]


def _table(name: str, rows: Sequence[Mapping[str, Any]]) -> str:
    quiet = f'<caption style="text-align:left;{_QUIET}white-space:nowrap">{escape(name)}</caption>'
    if not rows:
        return f'<table style="{_TABLE}">{quiet}</table>'
    head = "".join(f'<th scope="col" style="{_CELL}">{escape(column)}</th>' for column in rows[0])
    body = "".join(f"<tr>{''.join(_cell(row[column]) for column in rows[0])}</tr>" for row in rows)
    return f'<table style="{_TABLE}">{quiet}<tr>{head}</tr>{body}</table>'


def _changes(changes: Sequence[Change]) -> list[_Block]:
    """A table a resource, so that its name stands there once."""
    blocks: list[_Block] = []
    for resource, of_one in groupby(changes, key=lambda change: change.resource):
        fields, caption, lines = [], resource, []
        for change in of_one:
            lines.append(
                f"{resource}{': ' + change.field if change.field else ''}: {_shown(change.before)} -> {_shown(change.after)}"
            )
            if change.field:
                fields.append({"field": change.field, "before": change.before, "after": change.after})
            else:
                word, what = ("new", change.after) if change.before is None else ("gone", change.before)
                caption += f" ({word}, {_shown(what)})"
        blocks.append((_table(caption, fields), lines))
    return blocks


def _planned(plan: Plan) -> list[_Block]:
    return [*_changes(plan.changes), *(_sentence(f"Note: {note}") for note in plan.notes)]


def _sentence(text: str) -> _Block:
    return f'<p style="margin:4px 0">{escape(text)}</p>', [text]


def _findings(findings: Sequence[Finding]) -> list[_Block]:
    if not findings:
        return []
    rows, lines = "", []
    for finding in findings:
        glyph, colour = _MARKS[finding.mark]
        remedy = f'<br><span style="{_QUIET}">What to do: {escape(finding.remedy)}</span>' if finding.remedy else ""
        rows += (
            f'<tr><td style="{_CELL}white-space:nowrap"><strong style="color:{colour}">{glyph} {finding.mark.value}</strong></td>'
            f'<td style="{_CELL}">{escape(finding.check)}</td><td style="{_CELL}">{escape(finding.seen)}{remedy}</td></tr>'
        )
        lines.append(f"{glyph} {finding.mark.value:<4}  {finding.check}: {finding.seen}")
        if finding.remedy:
            lines.append(f"        What to do: {finding.remedy}")
    return [(f'<table style="{_TABLE}">{rows}</table>', lines)]


def _error(error: CgrunbookError) -> _Block:
    said = "<br>".join(escape(line) for line in error.message.splitlines())
    remedy = "<br>".join(escape(line) for line in error.remedy.splitlines())
    html = f'<p style="margin:4px 0">{said}</p>'
    if remedy:
        html += f'<p style="margin:4px 0"><strong>What to do:</strong> {remedy}</p>'
    return html, str(error).splitlines()


def _by_hand(commands: Sequence[str]) -> list[_Block]:
    if not commands:
        return []
    lines = "\n".join(commands)
    html = (
        f'<details style="margin:4px 0"><summary>The same by hand</summary>'
        f'<pre style="{_CODE}margin:4px 0">{escape(lines)}</pre></details>'
    )
    return [(html, ["The same by hand:", *(f"  {line}" for line in lines.splitlines())])]


def _guide_html(step: Step, console: str = "") -> str:
    page = f" &#160;·&#160; {_link(console, 'in the console')}" if console else ""
    return f'<p style="margin:2px 0;{_QUIET}">{_link(step.section.link, "the guide on this")}{page}</p>'


def _link(address: str, said: str) -> str:
    return f'<a href="{escape(address)}" style="text-decoration:underline">{escape(said)}</a>'
