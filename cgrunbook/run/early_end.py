"""What ends a notebook outside of its steps is in a journal: as it is opened, or in a cell between two steps.

Where the command line executes a notebook, it sees to that itself, and its kernel tells it of the error: Jupyter hands on an
error's text alone. It knows IPython's word on a cell that has run and ipykernel's channel to its clients, and no step.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cgrunbook import parameters
from cgrunbook.errors import CgrunbookError
from cgrunbook.run.folder import RUN_FOLDER_VARIABLE, new_run_folder
from cgrunbook.run.journal import Journal

# An error's attribute, of whatever kind it is: a journal has it.
_TOLD = "_cgrunbook_journaled"

# The type of what a kernel tells of an error, on its public channel; no other client of a kernel looks at it.
MESSAGE = "cgrunbook_error"

# What a kernel of the command line's runs as it starts; no name of it shows in the notebook.
TELL = f"__import__({__name__!r}, fromlist=['tell']).tell()"

_watching: _Cells | None = None


def begin_journal(values: Mapping[str, Any]) -> Journal:
    """The journal of the run that a notebook belongs to; begun, where nobody did.

    Args:
        values: the notebook's parameters by name, right or wrong.

    Raises:
        StepFailed: it cannot be written.
    """
    folder = os.environ.get(RUN_FOLDER_VARIABLE)
    journal = Journal(Path(folder) if folder else new_run_folder(Path.cwd() / "runs"))
    if not folder:
        mode = values.get("mode")
        journal.begin(mode if mode in parameters.choices("mode") else "apply", began_in="notebook")
    if _watching:
        _watching.journal = journal
    return journal


def end_early(journal: Journal, notebook: str, error: BaseException, **more: Any) -> None:
    """Write down that an error has ended a notebook, unless that was done; with a disk that is full, nothing can be."""
    if getattr(error, _TOLD, False):
        return
    # Most notebooks open without an error.
    from cgrunbook.run.paperwork import Paperwork
    from cgrunbook.run.record import ErrorRecord, notebook_outcome, write_record

    journaled(error)
    said = ErrorRecord.of(error)
    with contextlib.suppress(CgrunbookError):
        journal.add(
            "notebook-ended", notebook=notebook, outcome=notebook_outcome(said), error=said.model_dump(), **more
        )
        try:
            Paperwork(journal.folder).write()
        except CgrunbookError:
            write_record(journal.folder)  # there may be room for it without the report


def journaled(error: BaseException) -> None:
    """Note that a journal has this error."""
    setattr(error, _TOLD, True)


def watch_cells(shell: Any, notebook: str, values: Mapping[str, Any], *, strangers: bool) -> None:
    """From the cell on that runs now, write down each error with which a cell ends, until the cell has run without.

    Args:
        shell: IPython's; None outside of it, where there are no cells.
        notebook: its name without the ending.
        values: its parameters by name.
        strangers: errors that are none of ours count too. They do where nobody is there: whoever tries something out in
            a cell sees what comes of it.
    """
    global _watching  # noqa: PLW0603 - a kernel has one notebook, and whoever opens it anew begins anew
    if shell is None or RUN_FOLDER_VARIABLE in os.environ:
        return
    if _watching:
        shell.events.unregister("post_run_cell", _watching.ended)
    _watching = _Cells(notebook, values, strangers=strangers)
    shell.events.register("post_run_cell", _watching.ended)


def tell() -> None:
    """In a kernel of the command line's: from now on, tell as fields of each error of ours with which a cell ends."""
    from IPython import get_ipython

    shell: Any = get_ipython()

    def ended(ran: Any) -> None:
        if isinstance(ran.error_in_exec, CgrunbookError):
            from cgrunbook.run.record import ErrorRecord

            kernel, said = shell.kernel, ErrorRecord.of(ran.error_in_exec).model_dump()
            kernel.session.send(kernel.iopub_socket, MESSAGE, said, parent=kernel.get_parent("shell"))

    shell.events.register("post_run_cell", ended)


class _Cells:
    """The cells of the notebook that is open in this kernel, as they end."""

    def __init__(self, notebook: str, values: Mapping[str, Any], *, strangers: bool) -> None:
        self.journal: Journal | None = None
        self._notebook = notebook
        self._values = values
        self._strangers = strangers
        self._failed: set[str] = set()

    def ended(self, ran: Any) -> None:
        """IPython says that a cell has run; it has no word for one that was cancelled, which a step says itself."""
        if ran is None:
            return
        error = ran.error_before_exec or ran.error_in_exec
        cell = ran.info.cell_id or hashlib.sha256(ran.info.raw_cell.encode()).hexdigest()[:12]
        with contextlib.suppress(CgrunbookError):
            if error is None and cell in self._failed and self.journal:
                from cgrunbook.run.paperwork import Paperwork

                self._failed.remove(cell)
                self.journal.add("cell-mended", notebook=self._notebook, cell=cell)
                Paperwork(self.journal.folder).write()
            elif error is not None and (self._strangers or isinstance(error, CgrunbookError)):
                if self.journal is None:
                    self.journal = begin_journal(self._values)
                    self.journal.add("notebook-started", notebook=self._notebook, parameters=dict(self._values))
                self._failed.add(cell)
                end_early(self.journal, self._notebook, error, cell=cell)
