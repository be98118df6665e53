"""One HTML page that says what a run did, to be attached to a change ticket: complete in itself, for screen and paper.

It knows the record and the page's look (`report.html.j2`), and not how a run is performed. It imports nothing heavy.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cgrunbook.errors import Declined, ExitCode
from cgrunbook.redaction import redact, redact_all
from cgrunbook.run.folder import REPORT, write_whole
from cgrunbook.run.record import NotebookRecord, Record, StepRecord, record_of
from cgrunbook.run.route import routes_of

if TYPE_CHECKING:
    from jinja2 import Template

LARGEST = 500_000
"""Bytes that a report may have; ticket systems refuse large attachments."""

_CHANGED = ("created", "updated", "deleted")


def write_report(folder: Path, record: Record | None = None, path: Path | None = None) -> Path:
    """Write the report of a run.

    Args:
        folder: the run folder.
        record: what it says; None reads the journal as it is now.
        path: where to write; None for `report.html` in the run folder.

    Returns:
        Where it is.

    Raises:
        StepFailed: it cannot be written.
    """
    path = path or folder / REPORT
    write_whole(path, render(record or record_of(folder)))
    return path


def render(record: Record) -> str:
    """Draw the page of a run, ended or not: HTML that loads nothing from anywhere, redacted, of less than `LARGEST` bytes."""
    shown = Record.model_validate(redact_all(record.model_dump(mode="json")))
    for rows, characters in ((400, 4000), (100, 1000), (20, 300), (5, 100)):
        page = redact(_template().render(record=shown, rows=rows, characters=characters))
        if len(page.encode()) < LARGEST:
            return page
    # So many steps that even their headings are too much: the verdict, and where all of it is.
    return redact(_template().render(record=shown.model_copy(update={"notebooks": []}), rows=1, characters=100))


@cache
def _template() -> Template:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("cgrunbook.run", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "text": as_text,
        "time": _time,
        "seconds": _seconds,
        "outcome": outcome_of,
        "verdict": verdict,
        "approvals": approvals,
        "routes": routes_of,
    }
    return environment.get_template("report.html.j2")


def approvals(record: Record) -> str:
    """Who agreed to the changes, how often and when, and what was declined."""
    who = record.operator or "the operator"
    answered = [step for notebook in record.notebooks for step in notebook.steps if step.approval != "not asked"]
    approved = [step for step in answered if step.approval == "approved"]
    declined = [step for step in answered if step.approval == "declined"]
    if not answered:
        return (
            "nobody was asked: the run was started to do all of it" if record.mode == "apply" else "nothing to approve"
        )
    parts = []
    if approved:
        parts.append(f"{_count(len(approved), 'step')} approved by {who}, the last on {_time(approved[-1].answered)}")
    parts += [f"{step.title}: declined by {who} on {_time(step.answered)}" for step in declined]
    return "; ".join(parts)


def verdict(record: Record) -> str:
    """What came of the run, in a sentence that stands alone."""
    steps = [step for notebook in record.notebooks for step in notebook.steps]
    made = sum(len(step.changes) for step in steps if step.outcome in _CHANGED)
    if record.exit_code is None:
        return "This run has not ended, or was killed before it could say how."
    if record.exit_code == ExitCode.TO_DO:
        return f"A plan: {_count(len(record.changes), 'change')} would be made. Nothing was changed."
    if record.exit_code == ExitCode.DONE and record.mode == "plan":
        return "A plan: nothing would be changed."
    changed = f"{_count(made, 'change')} {'was' if made == 1 else 'were'} made" if made else "nothing was changed"
    if record.exit_code == ExitCode.DONE:
        return _ended_well(record, changed)
    how: dict[int, str] = {
        ExitCode.PREREQUISITE: "Stopped: a prerequisite is missing",
        ExitCode.INTERRUPTED: "Interrupted",
        ExitCode.KERNEL_DIED: "Failed: a kernel died",
    }
    if record.first_error and record.first_error.type == Declined.__name__:
        return f"Declined by the operator; before that {changed}."
    in_part = any(step.changes and step.outcome in ("failed", None) for step in steps) and record.mode == "apply"
    rest = (
        " The step that was at work may have made a part of its changes; a second run finishes them." if in_part else ""
    )
    return f"{how.get(record.exit_code, 'Failed')}; before that {changed}.{rest}"


def _ended_well(record: Record, changed: str) -> str:
    """The sentence for a run that nothing ended early: proved is said of what was proved, and of nothing else.

    Args:
        changed: what was changed, in words.
    """
    last = record.last_steps
    undone = [f"{outcome_of(step)}: {step.title}" for step in last if step.outcome in ("failed", "declined", None)]
    if undone:
        return f"Ended: {changed}, and not every step was done ({'; '.join(undone)})."
    if held_back := [step for step in last if step.outcome == "planned"]:
        planned = [change for step in held_back for change in step.changes]
        things = _count(len(planned), "thing") + " would be deleted"
        if any(change.after is not None for change in planned):
            things = _count(len(planned), "change") + " would be made"
        why = " ".join(dict.fromkeys(step.held_back for step in held_back))
        return f"Held back: {changed}; {things}. {why}" if record.changes != planned else f"Held back: {things}. {why}"
    asked_for = " that was asked for" if any(step.skipped for step in last) else ""
    # A step that only checks says so in its own line, and proves nothing else.
    looked_away = [one.check for step in last if step.evidence for one in step.findings if one.mark == "not checked"]
    but = f", but for what could not be checked: {', '.join(looked_away)}" if looked_away else ""
    return f"Done: {changed}, and every step{asked_for} was proved{but}."


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def outcome_of(step: StepRecord | NotebookRecord) -> str:
    """A step's or a notebook's outcome in words, also when there is none."""
    return step.outcome or "did not end"


def as_text(value: Any, *, nothing: str = "—") -> str:
    """A field's, a fact's or a parameter's value as a person reads it; `nothing` stands for null."""
    if value is None:
        return nothing
    if isinstance(value, str):
        return value or "(empty)"
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ", ".join(value) or "(none)"
    if isinstance(value, dict) and all(isinstance(item, str) for item in value.values()):
        return ", ".join(f"{key}={item}" for key, item in value.items()) or "(none)"
    return json.dumps(value, ensure_ascii=False)


def _time(moment: datetime | None) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if moment else "—"


def _seconds(seconds: float | None) -> str:
    """A duration: `0.4 s`, `12 s`, `3 min 5 s`."""
    if seconds is None:
        return "—"
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
