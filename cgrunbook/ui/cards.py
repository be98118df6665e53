"""What came of a step, drawn as plain HTML and as text, each saying the same.

JupyterLab strips `<style>`, `role` and `var()` from notebooks that it does not trust, so colours are literal,
translucent enough for a light and a dark page, and never the only bearer of meaning. It knows how things look, and
not where they come from.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from html import escape
from itertools import groupby
from typing import Any

from cgrunbook.cloud.attempts import Wait
from cgrunbook.errors import CgrunbookError, Interrupted
from cgrunbook.parameters import NAMES, Parameters
from cgrunbook.redaction import redact, visible
from cgrunbook.run.runbook import Result
from cgrunbook.steps.step import Change, Finding, Mark, Outcome, Plan, Progress, Step

_COLOURS = {
    Outcome.UNCHANGED: "#6e7781",
    Outcome.CREATED: "#2da44e",
    Outcome.UPDATED: "#2f81f7",
    Outcome.DELETED: "#bf8700",
    Outcome.PLANNED: "#8957e5",
    Outcome.DECLINED: "#bf8700",
    Outcome.FAILED: "#d1242f",
}
_GLYPHS = {
    Outcome.UNCHANGED: "✓",
    Outcome.CREATED: "✓",
    Outcome.UPDATED: "✓",
    Outcome.DELETED: "✓",
    Outcome.PLANNED: "…",
    Outcome.DECLINED: "-",
    Outcome.FAILED: "✗",
}
_MARKS = {Mark.OK: ("✓", "#2da44e"), Mark.WARN: ("!", "#bf8700"), Mark.FAIL: ("✗", "#d1242f")}

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


def mimebundle(html: str, text: str) -> dict[str, str]:
    """Both forms of a display, with all that must not be shown masked."""
    return {"text/html": visible(redact(html)), "text/plain": visible(redact(text))}


def result_card(result: Result) -> dict[str, str]:
    """The one, final display of a performed step."""
    step, outcome = result.step, result.outcome
    timing = _timing(result)
    word = "interrupted" if isinstance(result.error, Interrupted) else outcome.value
    html = [_head(_GLYPHS[outcome], word, step.title, timing, _COLOURS[outcome])]
    text = [f"{_GLYPHS[outcome]} {word}: {step.title} ({timing})"]
    if result.plan.changes:
        html.append(_changes_html(result.plan.changes))
        text += [f"  {line}" for line in _changes_text(result.plan.changes)]
    for note in result.plan.notes:
        html.append(f'<p style="margin:4px 0">Note: {escape(note)}</p>')
        text.append(f"  Note: {note}")
    if result.evidence.findings:
        html.append(_findings_html(result.evidence.findings))
        text += [f"  {line}" for line in _findings_text(result.evidence.findings)]
    if result.evidence.brief and not result.evidence.facts:
        html.append(f'<p style="margin:4px 0">{escape(result.evidence.brief)}</p>')
        text.append(f"  {result.evidence.brief}")
    if result.evidence.facts:
        html.append(_facts_html(result.evidence.facts))
        text += [f"  {line}" for line in _facts_text(result.evidence.facts)]
    if result.error and not result.evidence.findings:
        html.append(_error_html(result.error))
        text += [f"  {line}" for line in str(result.error).splitlines()]
    commands = [*result.plan.commands, *result.evidence.commands]
    if commands:
        html.append(_commands_html(commands))
        text += ["  The same by hand:", *(f"    {line}" for command in commands for line in command.splitlines())]
    html.append(_guide_html(step))
    return mimebundle(_frame(html, _COLOURS[outcome]), "\n".join(text))


def plan_card(step: Step, plan: Plan, *, number: int = 0, console: str = "") -> dict[str, str]:
    """What a step would change, shown before it is asked whether it may.

    It stays in a notebook that is saved meanwhile, so it says what to do where its buttons are gone.

    Args:
        step: what asks.
        plan: what it would change.
        number: the step's place in the notebook, by which the card knows its panel.
        console: the page of Google Cloud's console; "" for none.
    """
    colour = _COLOURS[Outcome.PLANNED]
    html = [
        _head("?", f"to be {plan.outcome.value}", step.title, "", colour),
        f'<p style="margin:4px 0">{escape(step.why)}</p>',
    ]
    html.append(_changes_html(plan.changes))
    html += [f'<p style="margin:4px 0">Note: {escape(note)}</p>' for note in plan.notes]
    if plan.commands:
        html.append(_commands_html(plan.commands))
    html.append(_guide_html(step, console))
    html.append(f'<p style="margin:4px 0 2px">{_WAITING} <span class="cgrunbook-without-widget">{_AGAIN}</span></p>')
    text = [f"? to be {plan.outcome.value}: {step.title}", *(f"  {line}" for line in _changes_text(plan.changes))]
    text += [f"  Note: {note}" for note in plan.notes]
    text.append(f"  {_WAITING} {_AGAIN}")
    style = _style(_LIVE_RULES + _panel_rules(number))
    return mimebundle(f'<div class="cgrunbook-plan-{number}">{style}{_frame(html, colour)}</div>', "\n".join(text))


def working_card(step: Step, state: Progress | Wait | None, pace: str = "") -> dict[str, str]:
    """How far a step has come, shown while it works and then replaced.

    Args:
        step: the step.
        state: what it said last.
        pace: how fast it is and what remains, as words; "" when nothing can be said.
    """
    if isinstance(state, Wait):
        said = f"waiting for {state.reason}"
    elif state is None:
        said = "working"
    else:
        said = state.text
        if state.done is not None and state.total:
            said += f": {state.done / state.total:.0%}"
            if state.unit == "bytes":
                said += f" of {in_bytes(state.total)}"
        said += "".join(f", {more}" for more in (state.detail, pace) if more)
    colour = _COLOURS[Outcome.UPDATED]
    html = _frame(
        [_head("…", "working", step.title, "", colour), f'<p style="margin:4px 0">{escape(said)}</p>'], colour
    )
    return mimebundle(html, f"… {step.title}: {said}")


def target_card(
    notebook: str,
    params: Parameters,
    names: Iterable[str],
    target: Mapping[str, str],
    said: Mapping[str, str] | None = None,
    *,
    form: bool = False,
) -> dict[str, str]:
    """What a notebook works on, what it was told, and by whom.

    Args:
        notebook: its name.
        params: what it was told.
        names: which of them it has.
        target: what was left empty and is known now.
        said: by name, who said the value; None leaves it out.
        form: whether a form follows.
    """
    where = (
        "the sandbox on this machine; nothing leaves it, nothing costs"
        if params.target == "sandbox"
        else f"Google Cloud, project {target['project_id']}"
    )
    doing = "; it lists what it would change, and changes nothing" if params.mode == "plan" else ""
    rows = {name: getattr(params, name) for name in NAMES if name in set(names)}
    rows |= {name: value for name, value in target.items() if name in rows}
    return _values_card(notebook, f"works on {where}{doing}", rows, said or {}, form=form)


def form_card(notebook: str, values: Mapping[str, Any], said: Mapping[str, str], why: str) -> dict[str, str]:
    """What a notebook would work with, while its form waits.

    Args:
        notebook: its name.
        values: by name.
        said: by name, who said the value.
        why: why it waits.
    """
    return _values_card(notebook, why, values, said, form=True)


def _values_card(
    notebook: str, sentence: str, values: Mapping[str, Any], said: Mapping[str, str], *, form: bool
) -> dict[str, str]:
    colour = "#6e7781"
    rows = "".join(
        f'<tr><th scope="row" style="{_CELL}font-weight:normal;{_QUIET}">{escape(name)}</th>'
        f'<td style="{_CELL}{_CODE}">{escape(_shown(value))}</td><td style="{_CELL}{_QUIET}">{escape(said.get(name, ""))}</td></tr>'
        for name, value in values.items()
    )
    kept = ' class="cgrunbook-without-widget"' if form else ""
    html = _frame(
        [
            _style(_LIVE_RULES) if form else "",
            _head("▸", notebook, sentence, "", colour),
            f'<table{kept} style="{_TABLE}">{rows}</table>',
        ],
        colour,
    )
    text = [f"▸ {notebook}: {sentence}"]
    for name, value in values.items():
        text.append(f"  {name}: {_shown(value)}" + (f" ({said[name]})" if name in said else ""))
    return mimebundle(html, "\n".join(text))


def in_bytes(count: float) -> str:
    """A number of bytes as a person reads it: `1.4 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def _timing(result: Result) -> str:
    timing = f"{result.seconds:.1f} s"
    return f"{timing}, of which {result.waited:.1f} s waiting" if result.waited >= 0.05 else timing


def _frame(parts: Sequence[str], colour: str) -> str:
    return f'<div style="border-left:4px solid {colour};padding:4px 0 4px 12px;margin:4px 0;line-height:1.4">{"".join(parts)}</div>'


def _head(glyph: str, word: str, title: str, timing: str, colour: str) -> str:
    quiet = f' <span style="{_QUIET}">{escape(timing)}</span>' if timing else ""
    badge = f'<strong style="color:{colour}">{glyph} {escape(word)}</strong>'
    return f'<p style="margin:2px 0">{badge} &#160; {escape(title)}{quiet}</p>'


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


def _is_table(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and bool(value) and all(isinstance(item, Mapping) for item in value)


def _facts_html(facts: Mapping[str, Any]) -> str:
    rows, tables = [], []
    for name, value in facts.items():
        if _is_table(value):
            tables.append(_table_html(name, value))
        else:
            rows.append(
                f'<tr><th scope="row" style="{_CELL}font-weight:normal;{_QUIET}">{escape(name)}</th>'
                f'<td style="{_CELL}{_CODE}">{escape(_shown(value))}</td></tr>'
            )
    body = f'<table style="{_TABLE}">{"".join(rows)}</table>' if rows else ""
    return body + "".join(tables)


def _table_html(name: str, rows: Sequence[Mapping[str, Any]]) -> str:
    quiet = f'<caption style="text-align:left;{_QUIET}white-space:nowrap">{escape(name)}</caption>'
    if not rows:
        return f'<table style="{_TABLE}">{quiet}</table>'
    columns = list(rows[0])
    head = "".join(f'<th scope="col" style="{_CELL}">{escape(column)}</th>' for column in columns)
    body = "".join(
        "<tr>"
        + "".join(f'<td style="{_CELL}{_CODE}">{escape(_shown(row[column]))}</td>' for column in columns)
        + "</tr>"
        for row in rows
    )
    return f'<table style="{_TABLE}">{quiet}<tr>{head}</tr>{body}</table>'


def _facts_text(facts: Mapping[str, Any]) -> list[str]:
    lines = []
    for name, value in facts.items():
        if _is_table(value):
            lines.append(f"{name}:")
            lines += [f"  {'  '.join(_shown(item) for item in row.values())}" for row in value]
        else:
            lines.append(f"{name}: {_shown(value)}")
    return lines


def _changes_html(changes: Sequence[Change]) -> str:
    """A table a resource, so that its name stands there once."""
    html = []
    for resource, of_one in groupby(changes, key=lambda change: change.resource):
        fields = []
        caption = resource
        for change in of_one:
            if change.field:
                fields.append({"field": change.field, "before": change.before, "after": change.after})
            else:
                word, what = ("new", change.after) if change.before is None else ("gone", change.before)
                caption += f" ({word}, {_shown(what)})"
        html.append(_table_html(caption, fields))
    return "".join(html)


def _changes_text(changes: Sequence[Change]) -> list[str]:
    return [
        f"{c.resource}{': ' + c.field if c.field else ''}: {_shown(c.before)} -> {_shown(c.after)}" for c in changes
    ]


def _findings_html(findings: Sequence[Finding]) -> str:
    rows = []
    for finding in findings:
        glyph, colour = _MARKS[finding.mark]
        remedy = f'<br><span style="{_QUIET}">What to do: {escape(finding.remedy)}</span>' if finding.remedy else ""
        rows.append(
            f'<tr><td style="{_CELL}white-space:nowrap"><strong style="color:{colour}">{glyph} {finding.mark.value}</strong></td>'
            f'<td style="{_CELL}">{escape(finding.check)}</td><td style="{_CELL}">{escape(finding.seen)}{remedy}</td></tr>'
        )
    return f'<table style="{_TABLE}">{"".join(rows)}</table>'


def _findings_text(findings: Sequence[Finding]) -> list[str]:
    lines = []
    for finding in findings:
        lines.append(f"{_MARKS[finding.mark][0]} {finding.mark.value:<4}  {finding.check}: {finding.seen}")
        if finding.remedy:
            lines.append(f"        What to do: {finding.remedy}")
    return lines


def _error_html(error: CgrunbookError) -> str:
    said = "<br>".join(escape(line) for line in error.message.splitlines())
    remedy = "<br>".join(escape(line) for line in error.remedy.splitlines())
    html = f'<p style="margin:4px 0">{said}</p>'
    return html + (f'<p style="margin:4px 0"><strong>What to do:</strong> {remedy}</p>' if remedy else "")


def _commands_html(commands: Sequence[str]) -> str:
    lines = escape("\n".join(commands))
    return (
        f'<details style="margin:4px 0"><summary>The same by hand</summary>'
        f'<pre style="{_CODE}margin:4px 0">{lines}</pre></details>'
    )


def _guide_html(step: Step, console: str = "") -> str:
    page = f" &#160;·&#160; {_link(console, 'in the console')}" if console else ""
    return f'<p style="margin:2px 0;{_QUIET}">{_link(step.section.link, "the guide on this")}{page}</p>'


def _link(address: str, said: str) -> str:
    return f'<a href="{escape(address)}" style="text-decoration:underline">{escape(said)}</a>'
