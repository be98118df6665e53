"""The runs that have been, each a folder: which there are, how each stands, and in what two of them differ.

It reads folders and records, and writes nothing. How a list of them looks is for whoever shows it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from cgrunbook import parameters
from cgrunbook.errors import Declined, ExitCode, UsageError
from cgrunbook.run.context import Context
from cgrunbook.run.folder import JOURNAL, RECORD
from cgrunbook.run.journal import Line, begun_and_there
from cgrunbook.run.record import Record, StepRecord, as_they_stand, read_record, record_of

_SOME = 5

# How a run ended, by the exit code that its record has.
_ENDS: dict[int, str] = {
    ExitCode.DONE: "done",
    ExitCode.TO_DO: "plan",
    ExitCode.USAGE: "bad parameter",
    ExitCode.PREREQUISITE: "prerequisite missing",
    ExitCode.INTERRUPTED: "interrupted",
    ExitCode.KERNEL_DIED: "kernel died",
}


@dataclass(frozen=True)
class Run:
    """A run as its folder has it now.

    Args:
        folder: its name is the run's id.
        record: what it says; of a run that goes on, so far.
        at_work: whether it goes on: the process that began it is there still. None where that cannot be seen.
    """

    folder: Path
    record: Record
    at_work: bool | None

    @property
    def verdict(self) -> str:
        """How it stands, in a word or two."""
        record = self.record
        if record.exit_code is None:
            begun = record.began_in != "notebook" or record.steps
            if self.at_work:
                return "at work" if begun else "open"
            return "did not end" if begun else "nothing begun"
        if record.first_error and record.first_error.type == Declined.__name__:
            return "declined"
        if record.exit_code == ExitCode.DONE and record.mode == "plan":
            return "plan"
        if record.exit_code == ExitCode.DONE and any(step.held_back for step in record.last_steps):
            return "held back"
        return _ENDS.get(record.exit_code, "failed")

    @property
    def changes(self) -> int:
        """How many changes it made, or, where it is a plan, would make."""
        return len(self.record.changes)

    @property
    def counted(self) -> str:
        """The same, and of a plan that they are none yet."""
        return f"{self.changes} planned" if self.record.mode == "plan" and self.changes else str(self.changes)

    @property
    def context(self) -> Context | None:
        """Where it worked and as whom; where a run came to no target, what its notebook was told. None where nobody knows."""
        told = [self.record.target, *(notebook.parameters for notebook in self.record.notebooks)]
        target = {name: str(value) for of in reversed(told) for name, value in of.items() if value}
        known = target.get("target") in parameters.choices("target")
        return Context.of(target, self.record.caller) if known else None

    @property
    def where(self) -> str:
        """The target in a few words, Google Cloud's with the project."""
        if self.context is None:
            return "not known"
        return Context(self.context.target, self.context.project_id if self.context.real else "").text

    @property
    def by(self) -> tuple[str, str]:
        """Who began it, and what was performed, by the notebooks' numbers where they have one."""
        names = dict.fromkeys(notebook.name for notebook in self.record.notebooks)
        short = (name[:2] if name[:2].isdigit() and name[2:3] == "_" else name for name in names)
        return self.record.operator or "not known", " ".join(short)

    def as_json(self) -> dict[str, Any]:
        """What a program is told of it in a list."""
        said = self.record.model_dump(
            mode="json",
            include={"version", "operator", "caller", "began_in", "mode", "target", "started", "ended", "exit_code"},
        )
        said |= {"verdict": self.verdict, "at_work": self.at_work, "changes": self.changes}
        names = [notebook.name for notebook in self.record.notebooks]
        return {"run": self.folder.name, "folder": str(self.folder.absolute()), **said, "notebooks": names}


@dataclass(frozen=True)
class Found:
    """What was found where runs are kept.

    Args:
        folder: where was looked.
        runs: the newest first.
        older: how many more there are, which were not read.
        others: folders that are no run or cannot be read, each with why.
    """

    folder: Path
    runs: tuple[Run, ...]
    older: int
    others: Mapping[Path, str]


def runs_in(folder: Path, most: int | None = None) -> Found:
    """The runs of a folder, or of the folder runs in it, if it has one.

    Args:
        folder: which need not be there.
        most: how many are read, the newest; None for all.
    """
    return _listed(_runs_folder(folder), most)


def runs_beside(folder: Path) -> Found:
    """The newest runs in the folder that holds a run's own, without that one."""
    found = _listed(folder.parent, _SOME + 1)
    return replace(found, runs=tuple(run for run in found.runs if run.folder.name != folder.name)[:_SOME])


def _runs_folder(folder: Path) -> Path:
    return folder / "runs" if (folder / "runs").is_dir() else folder


def _listed(folder: Path, most: int | None) -> Found:
    others: dict[Path, str] = {}
    try:
        inside = [Path(entry.path) for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith(".")]
    except FileNotFoundError:
        inside = []
    except OSError as error:
        raise UsageError(f"{folder.absolute()} cannot be read: {error.strerror}.") from error
    candidates = [folder] if _holds_run(folder) else inside
    those = sorted(filter(_holds_run, candidates), key=_began, reverse=True)
    for other in sorted(set(candidates) - set(those)):
        others[other] = f"it has no {JOURNAL} and no {RECORD}." if os.access(other, os.X_OK) else "it may not be read."
    read: list[Run] = []
    for one in those[:most]:
        try:
            read.append(run_of(one))
        except UsageError as error:
            others[one] = error.message
    return Found(folder.absolute(), tuple(read), len(those[most:]) if most is not None else 0, others)


def run_of(folder: Path) -> Run:
    """Read a run, from its record where that is as new as its journal.

    Raises:
        UsageError: it cannot be read.
    """
    journal = folder / JOURNAL
    try:
        if not journal.is_file():
            return Run(folder, read_record(folder), at_work=None)
        with suppress(FileNotFoundError, UsageError):  # the journal says it all
            if (folder / RECORD).stat().st_mtime_ns >= journal.stat().st_mtime_ns:
                record = read_record(folder)
                if record.exit_code is not None:
                    return Run(folder, record, at_work=False)
        record = record_of(folder)
        if record.started is None:
            raise UsageError(f"No line of {journal} says anything of a run.")
        return Run(folder, record, begun_and_there(journal) if record.exit_code is None else False)
    except OSError as error:
        raise UsageError(f"{error.filename} cannot be read: {error.strerror}.") from error


def find_run(name: str, runs: Path) -> Path:
    """The folder of a run that has been.

    Args:
        name: a run folder, a run's id or its beginning; "" for the newest.
        runs: the folder that holds one folder a run, or that has such a folder runs.

    Raises:
        UsageError: there is none, or there are several of that beginning.
    """
    if name and _holds_run(given := Path(name).expanduser()):
        return given
    runs = _runs_folder(runs)
    found = [one for one in sorted(runs.glob("*/")) if one.name.startswith(name) and _holds_run(one)]
    if not found:
        what = f"There is no run {name}" if name else "There is no run"
        raise UsageError(
            f"{what}: no folder with {JOURNAL} or {RECORD} of that name in {runs.absolute()}.",
            "Give a run folder, or go where its folder runs/ is.",
        )
    if exact := [one for one in found if one.name == name]:
        return exact[0]
    if name and len(found) > 1:
        names = [one.name for one in found]
        more = f" and {len(names) - _SOME} more" if len(names) > _SOME else ""
        raise UsageError(f"{len(names)} runs begin with {name}.", f"Give more of it: {', '.join(names[:_SOME])}{more}")
    return max(found, key=_began)


def _holds_run(folder: Path) -> bool:
    return any(os.path.isfile(folder / name) for name in (JOURNAL, RECORD))  # noqa: PTH113 - "no" where it may not look


def _began(folder: Path) -> float:
    """When a run began, without reading all of it; where that is not said where it should be, when its folder was changed."""
    with suppress(OSError, ValueError), (folder / JOURNAL).open("rb") as file:
        return Line.model_validate_json(file.readline(100_000)).time.timestamp()
    with suppress(OSError, ValueError, LookupError, TypeError):
        return datetime.fromisoformat(json.loads((folder / RECORD).read_bytes())["started"]).timestamp()
    return folder.stat().st_mtime if folder.exists() else 0.0


@dataclass(frozen=True)
class Difference:
    """Something in which two runs differ.

    Args:
        notebook: in which; "" for the run as a whole.
        step: of which step, by its title; "" for the notebook as a whole.
        what: `outcome`, a parameter's, a fact's or a check's name.
        first: plain data; None where the first run has none.
        second: the same of the second.
    """

    notebook: str
    step: str
    what: str
    first: Any
    second: Any


def differences(first: Record, second: Record) -> list[Difference]:
    """In what two runs differ: where, as whom, with what, and what came of it. How long it took and when are no difference."""
    found = list(_between("", "", _as_a_whole(first), _as_a_whole(second)))
    said = {one.what for one in found}  # which are parameters too, of each notebook
    books = (_books(first), _books(second))
    for name in dict.fromkeys([*books[0], *books[1]]):
        one, other = (of.get(name) for of in books)
        if one is None or other is None:
            steps = [len(book[1]) if book else None for book in (one, other)]
            found.append(Difference(name, "", "steps", *steps))
            continue
        given = [{key: value for key, value in book[0].items() if key not in said} for book in (one, other)]
        found += _between(name, "", *given, kind="parameter ")
        for key in dict.fromkeys([*one[1], *other[1]]):
            step = one[1].get(key) or other[1][key]
            found += _of_step(name, step.title, one[1].get(key), other[1].get(key))
    return found


def _as_a_whole(record: Record) -> dict[str, Any]:
    whole = {name: getattr(record, name) or None for name in ("version", "mode", "began_in", "operator", "caller")}
    error = record.first_error.message if record.first_error else None
    return (
        whole | record.target | {"exit code": record.exit_code, "error": error, "not begun": record.not_begun or None}
    )


def _books(record: Record) -> dict[str, tuple[dict[str, Any], dict[Any, StepRecord]]]:
    """Of each notebook the parameters with which it was opened last, and its steps as they stand, by what tells them apart."""
    books = {}
    for name in dict.fromkeys(notebook.name for notebook in record.notebooks):
        those = [notebook for notebook in record.notebooks if notebook.name == name]
        steps = {step.key: step for step in as_they_stand(those, record.mode)}
        books[name] = (those[-1].parameters, steps)
    return books


def _of_step(notebook: str, title: str, one: StepRecord | None, other: StepRecord | None) -> Iterator[Difference]:
    outcomes = [{"outcome": (step.outcome or "did not end") if step else None} for step in (one, other)]
    yield from _between(notebook, title, *outcomes)
    if one and other:
        measured = {*one.measured, *other.measured}
        for kind, *seen in zip(
            ("", "check ", "change of "), *(_told(step, measured) for step in (one, other)), strict=True
        ):
            if all(seen):  # where there is none on a side, its outcome says why
                yield from _between(notebook, title, *seen, kind=kind)


def _told(step: StepRecord, measured: set[str]) -> Iterator[dict[str, Any]]:
    """The facts of a step but for those measured, its checks, and its changes."""
    yield {name: value for name, value in step.evidence.items() if name not in measured}
    yield {one.check: f"{one.mark}: {one.seen}" for one in step.findings}
    yield {f"{one.resource} {one.field}".rstrip(): [one.before, one.after] for one in step.changes}


def _between(
    notebook: str, step: str, first: Mapping[str, Any], second: Mapping[str, Any], *, kind: str = ""
) -> Iterator[Difference]:
    for name in dict.fromkeys([*first, *second]):
        if first.get(name) != second.get(name):
            yield Difference(notebook, step, f"{kind}{name}", first.get(name), second.get(name))
