"""Notebooks without a person: which ones, with what parameters, in what order, and what is left behind after any end.

It knows the run folder and the exit codes. How a notebook is executed is the engine's affair; what steps do is theirs.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from cgrunbook import parameters
from cgrunbook.errors import (
    CgrunbookError,
    ExitCode,
    Interrupted,
    KernelDied,
    ParameterError,
    PrerequisiteMissing,
    StepFailed,
    UsageError,
    what_helps,
)
from cgrunbook.home import home, require_user_folder
from cgrunbook.parameters import Way
from cgrunbook.redaction import redact
from cgrunbook.run import report
from cgrunbook.run.early_end import TELL
from cgrunbook.run.folder import JOURNAL, RECORD, REPORT, RUN_FOLDER_VARIABLE, folder_is_taken, new_run_folder
from cgrunbook.run.journal import Journal, Line, read_lines
from cgrunbook.run.notebooks import Source, find, of_the_guide
from cgrunbook.run.record import ErrorRecord, Record, notebook_outcome, record_of, write_record

if TYPE_CHECKING:
    from cgrunbook.run.engine import End
    from cgrunbook.run.kernels import Kernels, Stop

# How often the journal is looked at for somebody who watches.
_LOOK_SECONDS = 0.1

# Open files: the sandbox listens on a socket for each of its hosts, and a kernel has some forty.
_FILES = 128

# What every notebook of the guide imports sooner or later; a kernel that waits for its turn has the time for it.
_IMPORTED_AHEAD = (
    "cgrunbook.ui.notebook",
    "cgrunbook.steps.diagnosis",  # with it come the clients of Artifact Registry and Secret Manager, and most steps
    "cgrunbook.steps.prerequisites",
    "cgrunbook.cloud.project",
)
_KERNELS_BEGIN = (*(f"__import__({name!r})" for name in _IMPORTED_AHEAD), TELL)


@dataclass(frozen=True)
class RunResult:
    """What came of a run.

    Attributes:
        folder: where its files are.
        record: what `record.json` there says.
        exit_code: one of `ExitCode`.
        error: what ended the run early, if something did.
        left_out: the notebooks that were not begun, by name.
    """

    folder: Path
    record: Record
    exit_code: int
    error: ErrorRecord | None = None
    left_out: tuple[str, ...] = ()


def run(
    notebooks: Sequence[str],
    values: Mapping[str, Any],
    *,
    output: Path | None = None,
    runs: Path = Path("runs"),
    on_event: Callable[[Line], None] | None = None,
    on_not_used: Callable[[str], object] = lambda _: None,
    cell_timeout: float | None = None,
) -> RunResult:
    """Execute notebooks in order, until one fails, and leave a run folder that is whole.

    Args:
        notebooks: what `find` takes.
        values: parameters by name; each notebook gets those that it declares. With `mode` as `plan` nothing is changed.
        output: the run folder; None makes a new one in `runs`.
        runs: holds one folder a run.
        on_event: called with each line of the journal as it comes, in a thread of its own.
        on_not_used: called before anything begins with a sentence on the parameters that only other notebooks of the guide
            take, if there are any: the same words may so be given to each of the guide's notebooks alone.
        cell_timeout: seconds that one cell may take; None allows an hour, or four times `wait_limit` if that is more.

    Returns:
        What came of it. A step's failure, a kernel's death and Ctrl-C are results.

    Raises:
        UsageError: no such notebook, or the output folder cannot take a run.
        ParameterError: a parameter breaks its rule or is none of these notebooks'. Nothing was written or called.
        PrerequisiteMissing: this process's user has no home, what cgrunbook keeps cannot be kept, or this process may not open as
            many files as a run needs.
        StepFailed: the run folder cannot be written.
    """
    require_user_folder()
    require_files()
    sources = find(notebooks)
    if not_used := _check(sources, values):
        on_not_used(parameters.not_used(not_used, [source.name for source in sources]))
    limit = cell_timeout or max(3600.0, 4.0 * values.get("wait_limit", parameters.Parameters().wait_limit))
    home()  # before anything begins
    folder = _folder_for(sources, output, runs)
    return _Run(sources, values, folder, limit).perform(on_event)


def _check(sources: Sequence[Source], given: Mapping[str, Any]) -> list[str]:
    """Refuse what is wrong; answer which parameters only other notebooks of the guide take."""
    declared = dict.fromkeys(name for source in sources for name in source.declares)
    for source in sources:
        if given.get("mode") == "plan" and "mode" not in source.declares:
            raise UsageError(
                f"{source.name} cannot be planned: its parameters cell declares no mode, so it would change things."
            )
    not_used = [name for name in given if name not in declared and name in parameters.NAMES]
    if not_used and not all(of_the_guide(source.name) for source in sources):
        raise ParameterError(f"{not_used[0]} is no parameter of {', '.join(source.name for source in sources)}.")
    parameters.check(
        given, among=[name for name in (*declared, *not_used) if name in parameters.NAMES], way=lambda _: Way.OPTION
    )
    return not_used


def _folder_for(sources: Sequence[Source], output: Path | None, runs: Path) -> Path:
    if output is None:
        return new_run_folder(runs.absolute())
    folder = output.expanduser().absolute()
    names = [*(f"{source.name}.ipynb" for source in sources), JOURNAL, RECORD, REPORT]
    for name in names:
        if (folder / name).exists():
            raise folder_is_taken(folder, name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"The output folder {folder} cannot be made: {error.strerror or error}.",
            what_helps(error, "give --output another folder"),
        ) from error
    return folder


class _Run:
    """One run: its notebooks, its folder, and how far it has come."""

    def __init__(self, sources: list[Source], given: Mapping[str, Any], folder: Path, limit: float) -> None:
        self._sources = sources
        self._given = given
        self._folder = folder
        self._limit = limit
        self._journal = Journal(folder)
        self._error: ErrorRecord | None = None
        self._begun = 0

    def perform(self, on_event: Callable[[Line], None] | None) -> RunResult:
        target = {"target": self._given.get("target", parameters.Parameters().target)}
        self._journal.begin(self._given.get("mode", "apply"), target=target)
        try:
            write_record(self._folder)  # which says from now on that the run has not ended
            with _told(self._journal.path, on_event):
                self._execute_all()
                exit_code = record_of(self._folder).exit_code_after(self._error)
                record = self._close(exit_code, self._error)
        except BaseException as error:
            with contextlib.suppress(CgrunbookError):  # the disk is full, perhaps; the first error is the one to report
                ended = ErrorRecord.of(error)
                self._close(ended.exit_code, ended)
            raise
        return RunResult(self._folder, record, exit_code, self._error, tuple(record.not_begun))

    def _close(self, exit_code: int, error: ErrorRecord | None) -> Record:
        """Say that the run has ended, with what and before which notebooks, and write the record and the report of it."""
        not_begun = [source.name for source in self._sources[self._begun :]]
        told = error.model_dump() if error else None
        self._journal.add("run-ended", exit_code=exit_code, error=told, not_begun=not_begun)
        record = write_record(self._folder)
        report.write_report(self._folder, record)
        return record

    def _execute_all(self) -> None:
        """Execute one notebook after the other, until one fails."""
        # Nothing of Jupyter is imported before the parameters are known to be good.
        from cgrunbook.run.kernels import Kernels, Stop

        # JPY_SESSION_NAME tells a notebook that a person looks at it. Here none does, even when a notebook started us.
        environment = {RUN_FOLDER_VARIABLE: str(self._folder), "JPY_SESSION_NAME": None}
        stop = Stop()
        with stop.on_signals(), Kernels(len(self._sources), environment, _KERNELS_BEGIN) as kernels:
            kernels.start_ahead()  # it starts while papermill is imported, which takes as long
            with _absent("rfc3987_syntax", "isoduration"):
                importlib.import_module("cgrunbook.run.engine")
            for source in self._sources:
                if stop.reason:
                    self._error = _interrupted(stop, f"before {source.name}")
                    return
                self._execute(source, kernels, stop)
                if self._error is not None:
                    return

    def _execute(self, source: Source, kernels: Kernels, stop: Stop) -> None:
        """Execute one notebook and note how it ended."""
        from cgrunbook.run.engine import Notebook

        before = len(list(read_lines(self._journal.path)))
        given = {name: self._given[name] for name in source.declares if name in self._given}
        if given:  # without any, papermill leaves the injected cell that is there
            given = source.injected | given
        notebook = Notebook(source.content, self._folder / f"{source.name}.ipynb", source.path.name)
        kernel = kernels.take()
        self._begun += 1
        kernels.start_ahead()
        try:
            end = notebook.execute(given, kernel, stop, self._limit)
        except BaseException as error:
            with contextlib.suppress(CgrunbookError):  # the disk is full, perhaps
                self._note_end(source, given, self._journal_since(before), ErrorRecord.of(error))
            raise
        finally:
            kernel.ask_to_end()
        lines = self._journal_since(before)
        self._error = self._judge(source, end, stop, lines)
        self._note_end(source, given, lines, self._error)
        if self._error is not None:
            notebook.put_banner(self._error.message, self._error.remedy)

    def _journal_since(self, before: int) -> list[Line]:
        return list(read_lines(self._journal.path))[before:]

    def _note_end(
        self, source: Source, given: Mapping[str, Any], lines: Sequence[Line], error: ErrorRecord | None
    ) -> None:
        """Write down how a notebook ended, if it did not say so itself."""
        started = _name_of(lines)
        if not started:
            self._journal.add("notebook-started", notebook=source.name, parameters=given)
        if not any(line.event == "notebook-ended" for line in lines):  # with bad parameters a notebook ends itself
            self._journal.add(
                "notebook-ended",
                notebook=started or source.name,
                outcome=notebook_outcome(error),
                error=error.model_dump() if error else None,
            )

    def _judge(self, source: Source, end: End, stop: Stop, lines: Sequence[Line]) -> ErrorRecord | None:
        """Say why a notebook failed, or that it did not; the journal's word goes before what papermill saw."""
        errors_told = [line.data["error"] for line in lines if line.data.get("error")]
        told = ErrorRecord.model_validate(errors_told[-1]) if errors_told else None
        where = f"in code cell {end.cell} of {source.name}" if end.cell else f"before the first cell of {source.name}"
        again = "Run it again: each step looks first at what is there, so nothing is done twice."
        if end.kind == "stopped" and stop.reason == "timeout":
            return ErrorRecord.of(
                StepFailed(f"Stopped after {self._limit:g} seconds {where}: a cell may take no longer.", again)
            )
        if end.kind == "stopped":
            return told if told and told.exit_code == ExitCode.INTERRUPTED else _interrupted(stop, where)
        if end.kind == "kernel-died":
            return ErrorRecord.of(KernelDied(f"The kernel died {where}: {end.text}.", again))
        if end.kind == "error":
            return told if told and told.type == end.name else end.raised or _from_elsewhere(end, where)
        record = record_of(self._folder)
        notebook = next((book for book in reversed(record.notebooks) if book.name == _name_of(lines)), None)
        return notebook.failure(record.mode) if notebook else None


def _name_of(lines: Sequence[Line]) -> str:
    """What a notebook calls itself, by the lines of it; "" when it ended before it could say so."""
    return next((line.notebook for line in lines if line.event == "notebook-started"), "")


def require_files() -> None:
    """Let this process and its kernels open as many files as a run needs.

    Raises:
        PrerequisiteMissing: its limit is lower, and cannot be raised from here.
    """
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < _FILES:
        raise PrerequisiteMissing(
            f"This process may open {hard} files at once (ulimit -n), and a run with its kernel and the sandbox needs {_FILES}.",
            "Raise that limit where it is started: ulimit -n 1024",
        )
    if soft != resource.RLIM_INFINITY and soft < _FILES:
        resource.setrlimit(resource.RLIMIT_NOFILE, (_FILES, hard))


@contextlib.contextmanager
def _absent(*modules: str) -> Iterator[None]:
    """Let modules that others import where they find them be not found for a while.

    jsonschema, which nbformat imports and does not use, builds a grammar of international URLs where `rfc3987_syntax` is
    installed (jupyter-events brings it): 0.8 s of work, more than a kernel's start. With `isoduration` comes arrow, 60 ms.
    """
    hidden = dict.fromkeys(set(modules) - sys.modules.keys())
    sys.modules.update(hidden)  # type: ignore[arg-type] # None is Python's own way of saying that it cannot be imported
    try:
        yield
    finally:
        for module in hidden:
            del sys.modules[module]


def _interrupted(stop: Stop, where: str) -> ErrorRecord:
    by = "Ctrl-C" if stop.reason == "SIGINT" else stop.reason
    return ErrorRecord.of(
        Interrupted(f"Interrupted by {by} {where}.", "Run it again when you like: it goes on where this run ended.")
    )


def _from_elsewhere(end: End, where: str) -> ErrorRecord:
    """An error that is none of ours."""
    text = f"{end.name}: {end.text}" if end.text else end.name
    return ErrorRecord(
        type=end.name,
        message=redact(f"{text} ({where})"),
        remedy="The executed notebook shows the cell and where the error came from.",
    )


@contextlib.contextmanager
def _told(path: Path, on_event: Callable[[Line], None] | None) -> Iterator[None]:
    """Tell somebody of each line of a journal while the context lasts."""
    if on_event is None:
        yield
        return
    over = threading.Event()

    def follow() -> None:
        torn = b""
        with path.open("rb") as file:
            last = False
            while not last:
                last = over.wait(_LOOK_SECONDS)  # after the end one more look, for the last lines
                *whole, torn = (torn + file.read()).split(b"\n")
                for text in whole:
                    with contextlib.suppress(ValidationError):  # torn by a kill
                        on_event(Line.model_validate_json(text))

    with ThreadPoolExecutor(1, "tells of the journal") as pool:
        telling = pool.submit(follow)
        try:
            yield
        finally:
            over.set()
    telling.result()  # an error of whoever is told is raised where the run was asked for
