"""The record of a run: what its journal adds up to, as `record.json` holds it and the documentation describes it.

It holds nothing that the journal does not. It knows the shape of both, and not how a step is performed.
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from cgrunbook.errors import CgrunbookError, ExitCode
from cgrunbook.run.folder import JOURNAL, RECORD, write_whole
from cgrunbook.run.journal import Line, read_lines


class ErrorRecord(BaseModel):
    """Why something failed: the error's name, its sentence, what to do, and the exit code it means."""

    type: str
    message: str
    remedy: str = ""
    exit_code: int = ExitCode.FAILED

    @classmethod
    def of(cls, error: CgrunbookError) -> ErrorRecord:
        """What an error says for itself."""
        return cls(type=type(error).__name__, message=error.message, remedy=error.remedy, exit_code=error.exit_code)


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
    """What came of one step. `outcome` is null while it works, and stays so when it was killed; `kind` names the step's class.

    `subject` is the repository that an image was pulled through; empty for other steps.
    """

    number: int
    kind: str = ""
    title: str
    subject: str = ""
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

    `operator` is the name of this machine's user; `caller` is as whom Google's services were called, an IAM member.

    `exit_code` is what the command line ends with (0 done, 4 a plan found something to change; the README lists all), and
    null when the run was killed before it could say.

    In a run that began in a notebook, with nobody beside it to say when it ended, a notebook's outcome and the exit code
    speak of the steps so far; both are null while a step works or waits for a person.
    """

    format: Literal["cgrunbook.record/1"] = "cgrunbook.record/1"
    run: str
    version: str = ""
    operator: str = ""
    caller: str = ""
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

    def exit_code_after(self, error: ErrorRecord | None) -> int:
        """What the run ends with when this error, or none, ended it."""
        if error:
            return error.exit_code
        return ExitCode.TO_DO if self.mode == "plan" and self.changes else ExitCode.DONE

    @property
    def first_error(self) -> ErrorRecord | None:
        """What ended the run, if something did."""
        return next((notebook.error for notebook in self.notebooks if notebook.error), None)


def record_of(folder: Path) -> Record:
    """Read the record of a run out of the journal in its folder."""
    told: dict[str, Any] = {"run": folder.resolve().name, "target": {}, "notebooks": []}
    for line in read_lines(folder / JOURNAL):
        _take(told, line)
    record = Record.model_validate(told)
    if told.get("began_in") == "notebook" and record.exit_code is None:
        _conclude_so_far(record)
    return record


def write_record(folder: Path) -> Record:
    """Write `record.json` as the journal has it now; answers what was written."""
    record = record_of(folder)
    write_whole(folder / RECORD, record.model_dump_json(indent=2) + "\n")
    return record


def read_record(folder: Path) -> Record:
    """Read `record.json`."""
    return Record.model_validate_json((folder / RECORD).read_text(encoding="utf-8"))


def _take(told: dict[str, Any], line: Line) -> None:
    """Let one line of the journal add to what makes the record. Fields bear the same names in both."""
    target = told["target"] | line.data.get("target", {})
    if line.event == "run-started":
        told |= line.data | {"started": line.time, "target": target}
    elif line.event == "run-ended":
        told |= line.data | {"ended": line.time}
    elif line.event == "notebook-started":
        caller = line.data.get("caller") or told.get("caller", "")
        told |= {"started": told.get("started", line.time), "target": target, "caller": caller}
        told["notebooks"].append(line.data | {"name": line.notebook, "started": line.time, "steps": []})
    elif notebook := next((item for item in reversed(told["notebooks"]) if item["name"] == line.notebook), None):
        _take_into_notebook(notebook, line)


def _conclude_so_far(record: Record) -> None:
    """Say of a run what its steps say, where nobody can say that it ended."""
    for notebook in record.notebooks:
        if notebook.outcome is None and notebook.steps and notebook.steps[-1].outcome is not None:
            notebook.outcome = notebook_outcome(notebook.error)
            notebook.ended = notebook.steps[-1].ended
    if record.notebooks and all(notebook.outcome for notebook in record.notebooks):
        record.exit_code = record.exit_code_after(record.first_error)
        record.ended = record.notebooks[-1].ended


def notebook_outcome(error: ErrorRecord | None) -> Literal["done", "failed", "interrupted"]:
    """What came of a notebook that ended with this error, or with none."""
    if error is None:
        return "done"
    return "interrupted" if error.exit_code == ExitCode.INTERRUPTED else "failed"


def _take_into_notebook(notebook: dict[str, Any], line: Line) -> None:
    error = line.data.get("error")
    if line.event == "notebook-ended":
        notebook |= line.data | {"ended": line.time, "error": error or notebook.get("error")}
        return
    if line.event == "step-started":
        notebook["steps"].append({"title": ""} | line.data | {"number": line.step, "started": line.time})
        return
    step = next((item for item in reversed(notebook["steps"]) if item["number"] == line.step), None)
    if step is None:
        return
    if line.event == "planned":
        step |= line.data
    elif line.event in ("approved", "declined"):
        step |= {"approval": line.event, "answered": line.time}
    elif line.event == "waiting":
        step["waits"] = step.get("waits", 0.0) + line.data.get("seconds", 0.0)
    elif line.event == "outcome":
        step |= line.data | {"ended": line.time, "error": error}
        notebook["error"] = error


def record_schema() -> str:
    """The JSON schema of `record.json`, for the documentation."""
    return json.dumps(Record.model_json_schema(), indent=2) + "\n"
