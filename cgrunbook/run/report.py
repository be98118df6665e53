"""One HTML page that says what a run did, to be attached to a change ticket: complete in itself, for screen and paper.

It knows the record and the page's look (`report.html.j2`), and not how a run is performed. It imports nothing heavy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cgrunbook.errors import Declined, ExitCode
from cgrunbook.redaction import redact, redact_all
from cgrunbook.run.context import Context
from cgrunbook.run.folder import REPORT, write_whole
from cgrunbook.run.looks import look_of
from cgrunbook.run.record import NotebookRecord, Record, StepRecord, record_of
from cgrunbook.run.route import routes_of
from cgrunbook.run.wording import OfOne, by_resource, is_digest, is_table, said_once, shown, tense
from cgrunbook.steps.step import counted

if TYPE_CHECKING:
    from jinja2 import Template

LARGEST = 300_000
"""Bytes that a report may have; ticket systems refuse large attachments."""

# Steps that a sentence names, and characters of each.
_SOME = 5
_LINE = 200


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


@dataclass(frozen=True)
class _Room:
    """How much of a run is on its page. What is left out is counted there; what is said of the whole is said of the whole.

    Args:
        rows: of each table and list of a step.
        characters: of each text.
        detailed: steps that have a part of their own.
        listed: steps, and notebooks, that are named at all.
    """

    rows: int
    characters: int
    detailed: int = 10**9
    listed: int = 10**9


_ROOMS = (
    _Room(400, 4000),
    _Room(100, 1000),
    _Room(20, 300),
    _Room(20, 300, detailed=100),
    _Room(5, 100, detailed=100, listed=1000),
    _Room(5, 100, detailed=20, listed=100),
    _Room(1, 100, detailed=5, listed=20),
)


def render(record: Record) -> str:
    """Draw the page of a run, ended or not: HTML that loads nothing from anywhere, redacted, of less than `LARGEST` bytes."""
    whole = Record.model_validate(redact_all(record.model_dump(mode="json")))
    page = ""
    for room in _ROOMS:
        listed, detailed = (_most_telling(whole.steps, most) for most in (room.listed, room.detailed))
        page = _template().render(
            record=whole,
            room=room,
            listed=listed,
            detailed=detailed,
            context=Context.of(whole.target, whole.caller),
            look_of=look_of,
        )
        if len(page.encode()) < LARGEST:
            break
    return redact(page)


def _most_telling(steps: Sequence[StepRecord], most: int) -> Container[int]:
    """The ids of so many steps: first those that are not done, then those that change something."""
    order = sorted(steps, key=lambda step: 0 if step.undone else 1 if step.changes else 2)
    return {id(step) for step in order[:most]}


def _counted(steps: Sequence[StepRecord]) -> str:
    """How many steps came to which end."""
    return ", ".join(f"{number} {outcome}" for outcome, number in Counter(map(outcome_of, steps)).items())


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
        "text": shown,
        "said_once": _said_once,
        "time": _time,
        "seconds": _seconds,
        "outcome": outcome_of,
        "verdict": verdict,
        "approvals": approvals,
        "tone": _tone,
        "counted": _counted,
        "routes": routes_of,
    }
    environment.tests |= {"in_set": lambda step, ids: id(step) in ids, "table": is_table, "digest": is_digest}
    return environment.get_template("report.html.j2")


def _said_once(step: StepRecord, most: int) -> tuple[list[OfOne], dict[str, Any]]:
    """So many of a step's changes, and what was read back besides."""
    happened = by_resource(step.changes[:most], tense(step.outcome))
    return said_once(happened, step.evidence) if step.made else (happened, step.evidence)


def approvals(record: Record) -> str:
    """Who agreed to the changes, how often and when, and what was declined."""
    who = record.operator or "the operator"
    answered = [step for step in record.steps if step.approval != "not asked"]
    approved = [step for step in answered if step.approval == "approved"]
    declined = [
        f"{step.title}: declined by {who} on {_time(step.answered)}" for step in answered if step.approval == "declined"
    ]
    if not answered:
        return (
            "nobody was asked: the run was started to do all of it" if record.mode == "apply" else "nothing to approve"
        )
    parts = []
    if approved:
        parts.append(f"{counted(len(approved), 'step')} approved by {who}, the last on {_time(approved[-1].answered)}")
    return _some([*parts, *declined])


def verdict(record: Record) -> str:
    """What came of the run, in words that stand alone: taken from all that is known of it, and of what could not be known."""
    unread = f" {counted(record.unread, 'line')} of the journal could not be read." if record.unread else ""
    return _ended(record) + unread


def _ended(record: Record) -> str:
    if record.exit_code is None:
        return "This run has not ended, or was killed before it could say how."
    if record.exit_code == ExitCode.TO_DO:
        return f"A plan: {counted(len(record.changes), 'change')} would be made{_so_far(record)}. Nothing was changed."
    if record.exit_code == ExitCode.DONE and record.mode == "plan":
        return f"A plan: nothing would be changed{_so_far(record)}."
    if record.exit_code == ExitCode.DONE:
        return _ended_well(record)
    how: dict[int, str] = {
        ExitCode.USAGE: "Stopped: a parameter is wrong",
        ExitCode.PREREQUISITE: "Stopped: a prerequisite is missing",
        ExitCode.INTERRUPTED: "Interrupted",
        ExitCode.KERNEL_DIED: "Failed: a kernel died",
    }
    undone = [step for step in record.last_steps if step.undone]
    what = how.get(record.exit_code, f"Failed in {len(undone)} steps" if len(undone) > 1 else "Failed")
    if record.first_error and record.first_error.type == Declined.__name__:
        what = "Declined by the operator"
    first = next((place for place, step in enumerate(record.steps) if any(step is other for other in undone)), None)
    made, after = _made(record.steps), _made(record.steps[first + 1 :] if first is not None else ())
    changed = f"in all {_changed(made)}, {after} of them after that" if after else f"before that {_changed(made)}"
    in_part = record.mode == "apply" and any(step.changes and step.outcome != "declined" for step in undone)
    rest = (
        " The step that was at work may have made a part of its changes; a second run finishes them." if in_part else ""
    )
    return f"{what}; {changed}.{rest}"


def _ended_well(record: Record) -> str:
    """The sentence for a run that nothing ended early: proved is said of what was proved, and of nothing else."""
    last, changed = record.last_steps, _changed(_made(record.steps))
    if undone := [f"{outcome_of(step)}: {step.title}" for step in last if step.undone]:
        return f"Ended: {changed}, and not every step was done ({_some(undone)})."
    if held_back := [step for step in last if step.outcome == "planned"]:
        planned = [change for step in held_back for change in step.changes]
        things = counted(len(planned), "thing") + " would be deleted"
        if any(change.after is not None for change in planned):
            things = counted(len(planned), "change") + " would be made"
        why = " ".join(dict.fromkeys(step.held_back for step in held_back))
        return f"Held back: {changed}; {things}. {why}" if record.changes else f"Held back: {things}. {why}"
    if all(step.outcome == "skipped" for step in last):
        return f"Done: {changed}; there was no step that had anything to prove."
    asked_for = " that was asked for" if any(step.outcome == "skipped" for step in last) else ""
    # A step that only checks says so in its own line, and proves nothing else.
    looked_away = [one.check for step in last if step.evidence for one in step.findings if one.mark == "not checked"]
    looked_away += [step.title for step in last if step.outcome == "not checked"]
    but = f", but for what could not be checked: {', '.join(looked_away)}" if looked_away else ""
    return f"Done: {changed}, and every step{asked_for}{_so_far(record)} was proved{but}."


def _so_far(record: Record) -> str:
    """Words for a run that began in a notebook: nobody says whether it came to its end."""
    return " so far" if record.began_in == "notebook" else ""


def _tone(record: Record) -> str:
    """How the verdict is coloured: `good`, `bad`, `planned` or `open`."""
    if record.exit_code is None:
        return "open"
    if record.exit_code == ExitCode.DONE and not any(step.undone for step in record.last_steps):
        return "planned" if any(step.held_back for step in record.last_steps) else "good"
    return "planned" if record.exit_code == ExitCode.TO_DO else "bad"


def _made(steps: Sequence[StepRecord]) -> int:
    """How many changes were made."""
    return sum(len(step.made) for step in steps)


def _changed(made: int) -> str:
    return f"{counted(made, 'change')} {'was' if made == 1 else 'were'} made" if made else "nothing was changed"


def _some(parts: Sequence[str]) -> str:
    """The first of many, each cut to a line, and how many more there are."""
    shown = [part if len(part) <= _LINE else f"{part[:_LINE]} …" for part in parts[:_SOME]]
    return "; ".join([*shown, *([f"and {len(parts) - _SOME} more"] if len(parts) > _SOME else [])])


def outcome_of(step: StepRecord | NotebookRecord) -> str:
    """A step's or a notebook's outcome in words, also when there is none."""
    return step.outcome or "did not end"


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
