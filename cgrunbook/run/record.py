"""The record of a run: what its journal adds up to, as `record.json` holds it and the documentation describes it.

It holds nothing that the journal does not. It knows the shape of both, and not how a step is performed.
"""

from __future__ import annotations

import json
from asyncio import CancelledError
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, FiniteFloat, ValidationError, model_validator

import cgrunbook
from cgrunbook.errors import CgrunbookError, ExitCode, StepFailed, UsageError, code_of
from cgrunbook.redaction import redact
from cgrunbook.run.folder import JOURNAL, RECORD, write_whole
from cgrunbook.run.journal import Line, read_journal


class ErrorRecord(BaseModel):
    """Why something failed: the error's name, its sentence, what to do, and the exit code it means.

    `code` is given where the diagnosis knows more of it: `cgrunbook doctor --explain CODE`.
    """

    type: str
    message: str
    remedy: str = ""
    exit_code: int = ExitCode.FAILED
    code: str = ""

    @classmethod
    def of(cls, error: BaseException) -> ErrorRecord:
        """What an error says for itself, and what a stranger's is called."""
        name = type(error).__name__
        if isinstance(error, CgrunbookError):
            said, remedy = error.message, error.remedy
            return cls(type=name, message=said, remedy=remedy, exit_code=error.exit_code, code=code_of(error))
        interrupted = isinstance(error, KeyboardInterrupt | CancelledError)
        code = ExitCode.INTERRUPTED if interrupted else ExitCode.FAILED
        return cls(type=name, message=redact(f"{name}: {error}" if str(error) else name), exit_code=code)


class ChangeRecord(BaseModel):
    """One field of one resource, before and after."""

    resource: str
    field: str = ""
    before: Any = None
    after: Any = None


class FindingRecord(BaseModel):
    """One check: how it came out, what was seen or why it was not looked at, what to do, and, for some, which check it is.

    Of a diagnosis also why it failed, of what, on the way of which repository's images, and because of which other check.
    """

    mark: Literal["ok", "to do", "warn", "fail", "not checked"]
    check: str
    seen: str
    remedy: str = ""
    code: str = ""
    reason: str = ""
    resource: str = ""
    way: str = ""
    because: str = ""


class CellError(ErrorRecord):
    """An error with which a cell ended outside of a step, when, and how the cell is told from others."""

    time: datetime
    cell: str


class StepRecord(BaseModel):
    """What came of one step. `outcome` is null while it works, and stays so when it was killed; `kind` names the step's class.

    Of a change the outcome is `created`, `updated`, `deleted`, or `unchanged` where none was needed; of a proof or a check
    `verified`, or `not checked` where nothing of it could be looked at; `skipped` of what nobody asked for. `subject` is the
    repository that an image was pulled through; empty for other steps. `measured` names what of
    the evidence is another each time, such as a duration. `held_back` says what a plan waits for that was only shown.
    """

    number: int
    kind: str = ""
    title: str
    subject: str = ""
    section: str = ""
    started: datetime
    ended: datetime | None = None
    seconds: FiniteFloat | None = None
    outcome: (
        Literal[
            "unchanged",
            "created",
            "updated",
            "deleted",
            "verified",
            "not checked",
            "skipped",
            "planned",
            "declined",
            "failed",
        ]
        | None
    ) = None
    approval: Literal["not asked", "approved", "declined"] = "not asked"
    answered: datetime | None = None
    changes: list[ChangeRecord] = []
    commands: list[str] = []
    notes: list[str] = []
    brief: str = ""
    evidence: dict[str, Any] = {}
    measured: list[str] = []
    held_back: str = ""
    findings: list[FindingRecord] = []
    waits: FiniteFloat = 0.0
    error: ErrorRecord | None = None

    @model_validator(mode="before")
    @classmethod
    def _of_format_1(cls, told: Any) -> Any:
        """Format 1 wrote of what nobody asked for that it was `unchanged`, and `skipped` beside it."""
        skipped = isinstance(told, dict) and told.get("skipped") is True and told.get("outcome") == "unchanged"
        return told | {"outcome": "skipped"} if skipped else told

    @property
    def key(self) -> tuple[str, str, str]:
        """What tells it from other steps of its notebook."""
        return self.kind, self.title, self.subject

    @property
    def made(self) -> Sequence[ChangeRecord]:
        """The changes that were made; what was verified made some where it took a trial, which is gone again."""
        return self.changes if self.outcome in ("created", "updated", "deleted", "verified") else ()

    @property
    def undone(self) -> bool:
        """Whether it failed, was declined, or never said what came of it."""
        return self.outcome in ("failed", "declined", None)

    @property
    def failure(self) -> ErrorRecord | None:
        """Why it is not done, also where nobody said; None when it is."""
        what = {"failed": "failed and did not say why", "declined": "was declined"}.get(self.outcome or "")
        said = f"Step {self.number} ({self.title}) {what or 'began and did not say what came of it'}."
        return (self.error or ErrorRecord(type=StepFailed.__name__, message=said)) if self.undone else None


class NotebookRecord(BaseModel):
    """One notebook of the run. `outcome` is null when nobody could write what came of it.

    `error` is what ended it, or else the first failure in it that stands; `cell_errors` are those of cells, outside of steps.
    """

    name: str
    started: datetime
    ended: datetime | None = None
    outcome: Literal["done", "failed", "interrupted"] | None = None
    error: ErrorRecord | None = None
    cell_errors: list[CellError] = []
    parameters: dict[str, Any] = {}
    steps: list[StepRecord] = []

    def failure(self, mode: str) -> ErrorRecord | None:
        """Why it is not done: what ended it, or the first of its steps that is not done, or a cell; None when it is."""
        of_steps = (step.failure for step in as_they_stand([self], mode))
        return next(filter(None, (self.error, *of_steps, *self.cell_errors)), None)


def _read_as(written: Any) -> Any:
    """The format as which a record's is read: all that format 1 says, this one says too."""
    return "cgrunbook.record/2" if written == "cgrunbook.record/1" else written


class Record(BaseModel):
    """The record of a run, as `record.json` holds it.

    `operator` is the name of this machine's user; `caller` is as whom Google's services were called, an IAM member.

    `exit_code` is what the command line ends with (0 done, 4 a plan found something to change; the README lists all), and
    null when the run was killed before it could say. `error` is what ended it, and `not_begun` names the notebooks that it
    was asked for and did not come to. `unread` counts the lines of the journal that say nothing: cut by a kill, or written
    by another program.

    In a run that began in a notebook (`began_in`), with nobody beside it to say when it ended, a notebook's outcome and
    the exit code speak of the steps so far; both are null while a step works or waits for a person. What failed stays
    failed, whatever is run after it, until the same step has succeeded.
    """

    format: Annotated[Literal["cgrunbook.record/2"], BeforeValidator(_read_as)] = "cgrunbook.record/2"
    run: str
    version: str = ""
    operator: str = ""
    caller: str = ""
    began_in: Literal["command line", "notebook", ""] = ""
    mode: Literal["apply", "plan"] = "apply"
    target: dict[str, str] = {}
    started: datetime | None = None
    ended: datetime | None = None
    exit_code: int | None = None
    error: ErrorRecord | None = None
    not_begun: list[str] = []
    unread: int = 0
    notebooks: list[NotebookRecord] = []

    @property
    def steps(self) -> list[StepRecord]:
        """Each step as often as it was performed."""
        return [step for notebook in self.notebooks for step in notebook.steps]

    @property
    def last_steps(self) -> list[StepRecord]:
        """Each step as it stands: in a notebook, what failed, was declined or held back may be run again."""
        return as_they_stand(self.notebooks, self.mode)

    @property
    def changes(self) -> list[ChangeRecord]:
        """All that was changed; of a plan what would be, and what was planned twice would be changed once."""
        if self.mode == "plan":
            return [change for step in self.last_steps for change in step.changes]
        return [change for step in self.steps for change in step.made]

    def exit_code_after(self, error: ErrorRecord | None) -> int:
        """What the run ends with when this error, or none, ended it."""
        if error:
            return error.exit_code
        return ExitCode.TO_DO if self.mode == "plan" and self.changes else ExitCode.DONE

    @property
    def first_error(self) -> ErrorRecord | None:
        """What ended the run, or failed in it and stands; the first of several."""
        last = {notebook.name: notebook for notebook in self.notebooks}.values()
        of_steps = (step.error for step in self.last_steps if step.undone)
        return next(filter(None, (self.error, *(notebook.error for notebook in last), *of_steps)), None)


# The parameters that say what a step is done to, which not every step's title does.
_WHERE = ("target", "project_id", "location", "organization", "repository", "private_repository", "secret_id")


def as_they_stand(notebooks: Sequence[NotebookRecord], mode: str) -> list[StepRecord]:
    """Each step once, as it went the last time; but what was not done stays so until the same step has succeeded."""
    standing: dict[object, StepRecord] = {}
    for notebook in notebooks:
        where = [notebook.parameters.get(name) for name in _WHERE]
        for step in notebook.steps:
            # Without a title, nobody knows which step it was: the line with which it began is lost.
            key = (notebook.name, str(where), step.kind, step.title or id(step), step.subject)
            # It is as the time before left it.
            left = step.outcome in ("skipped", "not checked") or (step.outcome == "planned" and mode != "plan")
            if not left or key not in standing or not standing[key].undone:
                standing[key] = step
    return list(standing.values())


def record_of(folder: Path) -> Record:
    """Read the record of a run out of the journal in its folder."""
    told: dict[str, Any] = {"run": folder.resolve().name, "target": {}, "unread": 0, "notebooks": []}
    for line in read_journal(folder / JOURNAL):
        try:
            read = line is not None and _take(told, line)
        except (ValidationError, TypeError, KeyError):  # another program's, or another version's
            read = False
        told["unread"] += not read
    record = Record.model_validate(told)
    began_in = told.get("began_in")
    _conclude(record, so_far=began_in == "notebook")
    if began_in is None and record.exit_code is None and record.notebooks and record.notebooks[-1].error:
        # Nothing tells who began it, as in older runs that ended as they were opened: it ended there.
        record.exit_code = record.notebooks[-1].error.exit_code
    return record


def write_record(folder: Path) -> Record:
    """Write `record.json` as the journal has it now; answers what was written."""
    record = record_of(folder)
    write_whole(folder / RECORD, record.model_dump_json(indent=2) + "\n")
    return record


def read_record(folder: Path) -> Record:
    """Read `record.json`, which an older version may have written that looked at a notebook's last step alone.

    Raises:
        UsageError: it is none, or a newer version's.
    """
    try:
        record = Record.model_validate_json((folder / RECORD).read_bytes())
    except ValidationError as error:
        raise UsageError(
            f"{folder / RECORD} is no record that cgrunbook {cgrunbook.__version__} reads: it was changed or cut by "
            "something else, or a newer cgrunbook wrote it.",
            "Take the cgrunbook that wrote it, or put the whole file back.",
        ) from error
    _conclude(record)
    return record


def _conclude(record: Record, *, so_far: bool = False) -> None:
    """Let a run's ends say what all of its steps say.

    Args:
        so_far: there is nobody to say that it ended; then it has, as far as it went.
    """
    for notebook in record.notebooks:
        at_work = bool(notebook.steps) and notebook.steps[-1].outcome is None
        begun = notebook.steps or notebook.cell_errors
        if notebook.outcome is None and (at_work or not begun or not so_far):
            continue
        for step in notebook.steps:
            step.error = step.failure
        notebook.error = notebook.failure(record.mode)
        if notebook.outcome in (None, "done"):
            notebook.outcome = notebook_outcome(notebook.error)
        ends = [step.ended for step in notebook.steps[-1:]] + [error.time for error in notebook.cell_errors]
        notebook.ended = notebook.ended or max(filter(None, ends), default=None)
    if record.exit_code is None and so_far and record.notebooks and all(book.outcome for book in record.notebooks):
        record.exit_code = record.exit_code_after(record.first_error)
        record.ended = record.notebooks[-1].ended
    elif record.exit_code in (ExitCode.DONE, ExitCode.TO_DO) and record.first_error:
        record.exit_code = record.first_error.exit_code


def notebook_outcome(error: ErrorRecord | None) -> Literal["done", "failed", "interrupted"]:
    """What came of a notebook that ended with this error, or with none."""
    if error is None:
        return "done"
    return "interrupted" if error.exit_code == ExitCode.INTERRUPTED else "failed"


def _take(told: dict[str, Any], line: Line) -> bool:
    """Let one line of the journal add to what makes the record, and answer whether it has a place there.

    Fields bear the same names in both.

    Raises:
        ValidationError, TypeError, KeyError: the line is none of ours; nothing of it was taken.
    """
    if line.event == "run-started":
        data = {"began_in": "command line"} | line.data
        _add(Record, told, data | {"started": line.time, "target": told["target"] | line.data.get("target", {})})
    elif line.event == "run-ended":
        _add(Record, told, line.data | {"ended": line.time})
    elif line.event == "notebook-started":
        notebook = line.data | {"name": line.notebook, "started": line.time, "steps": []}
        NotebookRecord.model_validate(notebook)
        target = told["target"] | line.data.get("target", {})
        caller = line.data.get("caller") or told.get("caller", "")
        mode = _mode_with(told, notebook)
        _add(Record, told, mode | {"started": told.get("started", line.time), "target": target, "caller": caller})
        told["notebooks"].append(notebook)
    else:
        of_name = (item for item in reversed(told["notebooks"]) if item["name"] == line.notebook)
        if (begun := next(of_name, None)) is None:
            return False
        _take_into_notebook(begun, line)
    return True


def _mode_with(told: dict[str, Any], notebook: dict[str, Any]) -> dict[str, Any]:
    """How a run is done in which this notebook follows, whatever it was asked for: as a plan only where each one plans."""
    mode = notebook.get("parameters", {}).get("mode")
    if mode not in ("apply", "plan"):
        return {}
    return {"mode": "apply" if told["notebooks"] and told.get("mode", "apply") == "apply" else mode}


def _add(model: type[BaseModel], told: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Add what a line says, if it makes a whole of its kind; of what belongs below that, it says nothing."""
    more = {name: value for name, value in more.items() if name not in ("notebooks", "steps")}
    model.model_validate(told | more | ({"notebooks": []} if model is Record else {"steps": []}))
    told |= more


def _take_into_notebook(notebook: dict[str, Any], line: Line) -> None:
    if line.event == "concluded":  # sums up what the steps say each for itself
        return
    if line.event in ("notebook-ended", "cell-mended"):
        cell = line.data.get("cell")
        others = [error for error in notebook.get("cell_errors", []) if error["cell"] != cell]
        if line.event == "cell-mended":
            notebook["cell_errors"] = others
        elif cell:  # outside of a step, where nobody but the cell says it; a later cell may be run all the same
            failed = line.data["error"] | {"cell": cell, "time": line.time}
            _add(NotebookRecord, notebook, {"cell_errors": [*others, failed]})
        else:
            _add(NotebookRecord, notebook, line.data | {"ended": line.time})
        return
    begun: dict[str, Any] = {"title": "", "number": line.step, "started": line.time}
    # What came of a step is written once: a line about one that has its outcome is of another, whose first line is lost.
    at_work = (item for item in reversed(notebook["steps"]) if item["number"] == line.step and not item.get("outcome"))
    step = begun if line.event == "step-started" else next(at_work, begun)
    said: dict[str, Any] = {}
    if line.event in ("step-started", "planned"):
        said = line.data
    elif line.event in ("approved", "declined"):
        said = {"approval": line.event, "answered": line.time}
    elif line.event == "waiting":
        said = {"waits": step.get("waits", 0.0) + line.data.get("seconds", 0.0)}
    elif line.event == "outcome":
        said = line.data | {"ended": line.time}
    _add(StepRecord, step, said)
    if step is begun:
        notebook["steps"].append(step)


def record_schema() -> str:
    """The JSON schema of `record.json`, for the documentation."""
    return json.dumps(Record.model_json_schema(), indent=2) + "\n"
