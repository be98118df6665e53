"""What is remembered of a run: the journal, line by line as it happens, and the record that is read out of it.

The journal is the only thing written while a run works; the record holds nothing that the journal does not. It knows
the run folder and the shape of both files, and not how a step is performed.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from cgrunbook.errors import ExitCode, StepFailed, UsageError
from cgrunbook.redaction import redact_all

JOURNAL = "journal.jsonl"
RECORD = "record.json"
REPORT = "report.html"

# Set by whoever starts a notebook's kernel on behalf of a run, so that all notebooks of one run write to one folder.
RUN_FOLDER_VARIABLE = "CGRUNBOOK_RUN_FOLDER"

Event = Literal[
    "run-started",
    "notebook-started",
    "step-started",
    "planned",
    "approved",
    "declined",
    "intent",
    "waiting",
    "outcome",
    "notebook-ended",
    "run-ended",
]


def new_run_folder(runs: Path) -> Path:
    """Make the folder of a new run: its name is its id, in the order of time.

    Args:
        runs: the folder that holds one folder a run.
    """
    name = f"{datetime.now(UTC):%Y-%m-%dT%H-%M-%SZ}-{secrets.token_hex(2)}"
    folder = runs / name
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise _cannot_write(folder, error) from error
    return folder


def find_run(name: str, runs: Path) -> Path:
    """The folder of a run that has been.

    Args:
        name: a run folder, a run's id or its beginning; "" for the newest.
        runs: the folder that holds one folder a run.

    Raises:
        UsageError: there is none, or there are several of that beginning.
    """
    if name and _holds_run(given := Path(name).expanduser()):
        return given
    found = [folder for folder in sorted(runs.glob("*/")) if folder.name.startswith(name) and _holds_run(folder)]
    exact = [folder for folder in found if folder.name == name]
    if not found:
        what = f"There is no run {name}" if name else "There is no run"
        raise UsageError(
            f"{what}: no folder with {JOURNAL} or {RECORD} of that name in {runs.absolute()}.",
            "Give a run folder, or go where its folder runs/ is.",
        )
    if name and len(found) > 1 and not exact:
        raise UsageError(
            f"{len(found)} runs begin with {name}.", f"Give more of it: {', '.join(f.name for f in found)}"
        )
    return (exact or found)[-1]


def _holds_run(folder: Path) -> bool:
    return (folder / JOURNAL).is_file() or (folder / RECORD).is_file()


def write_whole(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Write a file so that whoever looks sees the old one or the new one, and never half of either.

    Args:
        path: the file; its folder exists.
        text: what it will hold.
        mode: its permissions.

    Raises:
        StepFailed: the disk is full, or the folder cannot be written.
    """
    temporary = ""
    try:
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, prefix=".", delete=False) as file:
            temporary = file.name
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(mode)
        Path(temporary).replace(path)
    except OSError as error:
        if temporary:
            with contextlib.suppress(OSError):  # the first error is the one to report
                Path(temporary).unlink(missing_ok=True)
        raise _cannot_write(path, error) from error


def _cannot_write(path: Path, error: OSError) -> StepFailed:
    return StepFailed(
        f"{path} cannot be written: {error.strerror or error}.",
        "Make room there, or choose another place with --output; then run again: what was done is found and left as it is.",
    )


class Line(BaseModel):
    """One line of the journal.

    Attributes:
        time: when, UTC.
        event: what happened.
        notebook: in which notebook, by its name without the ending.
        step: the step's place in its notebook, from 1.
        data: what belongs to the event.
    """

    model_config = ConfigDict(frozen=True)

    time: datetime
    event: Event
    notebook: str = ""
    step: int = 0
    data: dict[str, Any] = Field(default_factory=dict)


class Journal:
    """The journal of one run: lines are added and synced to disk, none is ever changed.

    Args:
        folder: the run folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / JOURNAL

    def add(self, event: Event, *, notebook: str = "", step: int = 0, sync: bool = True, **data: Any) -> Line:
        """Add a line and return when it is on the disk.

        Args:
            event: what happened.
            notebook: in which notebook.
            step: at which step, from 1.
            sync: False for a line that another follows at once: the disk gets both with the later one.
            data: what belongs to the event; what must not be kept is masked.

        Raises:
            StepFailed: the disk is full, or the folder cannot be written.
        """
        line = Line(time=datetime.now(UTC), event=event, notebook=notebook, step=step, data=redact_all(data))
        text = line.model_dump_json(exclude_defaults=True) + "\n"
        try:
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                self._end_torn_line(descriptor)
                rest = memoryview(text.encode())
                while rest:  # a disk with little room takes a part and refuses the rest at the next attempt
                    rest = rest[os.write(descriptor, rest) :]
                if sync:
                    os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise _cannot_write(self.path, error) from error
        return line

    def _end_torn_line(self, descriptor: int) -> None:
        """A process killed while writing leaves a line without its end; the next line must not grow out of it."""
        size = os.fstat(descriptor).st_size
        if size:
            with self.path.open("rb") as file:
                file.seek(size - 1)
                if file.read(1) != b"\n":
                    os.write(descriptor, b"\n")

    def lines(self) -> Iterator[Line]:
        """The lines that are whole, in the order of writing."""
        yield from read_lines(self.path)


def read_lines(path: Path) -> Iterator[Line]:
    """Read a journal, passing over a line that a killed process left half written."""
    if not path.exists():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        for text in file:
            try:
                yield Line.model_validate_json(text)
            except ValueError:  # torn by a kill or a full disk; what it would have said shows in the lines that lack
                continue


class ErrorRecord(BaseModel):
    """Why something failed: the error's name, its sentence, what to do, and the exit code it means."""

    type: str
    message: str
    remedy: str = ""
    exit_code: int = ExitCode.FAILED


class ChangeRecord(BaseModel):
    """One field of one resource, before and after."""

    resource: str
    field: str = ""
    before: Any = None
    after: Any = None


class FindingRecord(BaseModel):
    """One check: ok, warn or fail, what was seen, what to do."""

    mark: Literal["ok", "warn", "fail"]
    check: str
    seen: str
    remedy: str = ""


class StepRecord(BaseModel):
    """What came of one step. `outcome` is null while it works, and stays so when it was killed; `kind` names the step's class."""

    number: int
    kind: str = ""
    title: str
    section: str = ""
    started: datetime
    ended: datetime | None = None
    seconds: float | None = None
    outcome: Literal["unchanged", "created", "updated", "deleted", "planned", "declined", "failed"] | None = None
    approval: Literal["not asked", "approved", "declined"] = "not asked"
    answered: datetime | None = None
    changes: list[ChangeRecord] = []
    commands: list[str] = []
    notes: list[str] = []
    brief: str = ""
    evidence: dict[str, Any] = {}
    findings: list[FindingRecord] = []
    waits: float = 0.0
    error: ErrorRecord | None = None


class NotebookRecord(BaseModel):
    """One notebook of the run. `outcome` is null when nobody could write what came of it."""

    name: str
    started: datetime
    ended: datetime | None = None
    outcome: Literal["done", "failed", "interrupted"] | None = None
    error: ErrorRecord | None = None
    parameters: dict[str, Any] = {}
    steps: list[StepRecord] = []


class Record(BaseModel):
    """The record of a run, as `record.json` holds it.

    `exit_code` is what the command line ends with (0 done, 4 a plan found something to change; the README lists all), and
    null when the run was killed before it could say.

    In a run that began in a notebook, with nobody beside it to say when it ended, a notebook's outcome and the exit code
    speak of the steps so far; both are null while a step works or waits for a person.
    """

    format: Literal["cgrunbook.record/1"] = "cgrunbook.record/1"
    run: str
    version: str = ""
    operator: str = ""
    mode: Literal["apply", "plan"] = "apply"
    target: dict[str, str] = {}
    started: datetime | None = None
    ended: datetime | None = None
    exit_code: int | None = None
    notebooks: list[NotebookRecord] = []

    @property
    def changes(self) -> list[ChangeRecord]:
        """All that was changed, or would be."""
        return [change for notebook in self.notebooks for step in notebook.steps for change in step.changes]

    @property
    def first_error(self) -> ErrorRecord | None:
        """What ended the run, if something did."""
        for notebook in self.notebooks:
            if notebook.error:
                return notebook.error
        return None


def operator() -> str:
    """Who is at this machine, for the record."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return f"uid {os.getuid()}"


def record_of(folder: Path) -> Record:
    """Read the record of a run out of its journal.

    Args:
        folder: the run folder.
    """
    record = Record(run=folder.resolve().name)
    began_in_notebook = False
    for line in read_lines(folder / JOURNAL):
        _take(record, line)
        began_in_notebook |= line.event == "run-started" and line.data.get("began_in") == "notebook"
    if began_in_notebook and record.exit_code is None:
        _conclude_so_far(record)
    return record


def write_record(folder: Path) -> Record:
    """Write `record.json` as the journal has it now.

    Returns:
        What was written.
    """
    record = record_of(folder)
    write_whole(folder / RECORD, record.model_dump_json(indent=2) + "\n")
    return record


def read_record(folder: Path) -> Record:
    """Read `record.json`."""
    return Record.model_validate_json((folder / RECORD).read_text(encoding="utf-8"))


def _take(record: Record, line: Line) -> None:
    """Let one line of the journal add to the record."""
    data = line.data
    if line.event == "run-started":
        record.started = line.time
        record.version, record.operator = str(data.get("version", "")), str(data.get("operator", ""))
        record.mode = data.get("mode", "apply")
        record.target |= data.get("target", {})
    elif line.event == "run-ended":
        record.ended, record.exit_code = line.time, data.get("exit_code")
    elif line.event == "notebook-started":
        record.notebooks.append(
            NotebookRecord(name=line.notebook, started=line.time, parameters=data.get("parameters", {}))
        )
        record.target |= data.get("target", {})
        record.started = record.started or line.time
    elif notebook := next((item for item in reversed(record.notebooks) if item.name == line.notebook), None):
        _take_into_notebook(notebook, line)


def _conclude_so_far(record: Record) -> None:
    """Say of a run what its steps say, where nobody can say that it ended."""
    for notebook in record.notebooks:
        if notebook.outcome is not None or not notebook.steps or notebook.steps[-1].outcome is None:
            continue
        error = notebook.error
        notebook.outcome = (
            "done" if error is None else "interrupted" if error.exit_code == ExitCode.INTERRUPTED else "failed"
        )
        notebook.ended = notebook.steps[-1].ended
    if record.notebooks and all(notebook.outcome for notebook in record.notebooks):
        error = record.first_error
        planned = ExitCode.TO_DO if record.mode == "plan" and record.changes else ExitCode.DONE
        record.exit_code = error.exit_code if error else planned
        record.ended = record.notebooks[-1].ended


def _take_into_notebook(notebook: NotebookRecord, line: Line) -> None:
    data = line.data
    if line.event == "notebook-ended":
        notebook.ended, notebook.outcome = line.time, data.get("outcome")
        notebook.error = _error(data) or notebook.error
        return
    if line.event == "step-started":
        notebook.steps.append(
            StepRecord(
                number=line.step,
                kind=str(data.get("kind", "")),
                title=str(data.get("title", "")),
                section=str(data.get("section", "")),
                started=line.time,
            )
        )
        return
    step = next((item for item in reversed(notebook.steps) if item.number == line.step), None)
    if step is None:
        return
    if line.event == "planned":
        step.changes = [ChangeRecord.model_validate(change) for change in data.get("changes", [])]
        step.commands, step.notes = list(data.get("commands", [])), list(data.get("notes", []))
    elif line.event == "approved":
        step.approval, step.answered = "approved", line.time
    elif line.event == "declined":
        step.approval, step.answered = "declined", line.time
    elif line.event == "waiting":
        step.waits += float(data.get("seconds", 0.0))
    elif line.event == "outcome":
        step.ended, step.outcome = line.time, data.get("outcome")
        step.seconds = data.get("seconds")
        step.brief, step.evidence = str(data.get("brief", "")), dict(data.get("evidence", {}))
        step.findings = [FindingRecord.model_validate(finding) for finding in data.get("findings", [])]
        step.error = _error(data)
        notebook.error = step.error


def _error(data: Mapping[str, Any]) -> ErrorRecord | None:
    return ErrorRecord.model_validate(data["error"]) if data.get("error") else None


def record_schema() -> str:
    """The JSON schema of `record.json`, for the documentation."""
    return json.dumps(Record.model_json_schema(), indent=2) + "\n"
