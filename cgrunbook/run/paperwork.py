"""When `record.json` and `report.html` are written out of a journal: while a run goes on, and never as its end too early.

It knows how far the files are behind. It does not know what is in them, nor how a step is performed.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
from pathlib import Path

from cgrunbook.errors import CgrunbookError
from cgrunbook.run.folder import RECORD, REPORT, RUN_FOLDER_VARIABLE
from cgrunbook.run.record import write_record
from cgrunbook.run.report import write_report

# The files grow with each step. With so many they are written after each; with more, whenever there is a quarter more, so
# that what a step costs does not grow with the steps before it.
_FEW = 32

# After a step, without another: somebody may be looking.
_REST_SECONDS = 1.0


class Paperwork:
    """The files of a run folder, as the steps of one notebook keep them up.

    Where the command line began the run, it says how it ended, and writes the report. Where a notebook did, the files say
    what came of the run so far, and take that back before the next step begins: killed at any time, they never say of a
    run that it ended well while a step was at work.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._alone = RUN_FOLDER_VARIABLE not in os.environ
        self._at_work = False
        self._says_how_it_ended = False
        self._steps_until_due = 0
        self._resting: asyncio.Task[None] | None = None

    def step_begun(self) -> None:
        """A step has begun; the journal says so.

        Raises:
            StepFailed: the files cannot be written.
        """
        self._at_work = True
        if self._resting is not None:
            self._resting.cancel()
        if self._says_how_it_ended:
            self.write()

    def step_ended(self) -> None:
        """A step has ended; the journal says so.

        Raises:
            StepFailed: the files cannot be written.
        """
        self._at_work = False
        self._steps_until_due -= 1
        if self._steps_until_due <= 0:
            self.write()
        elif self._alone:
            self._resting = asyncio.get_running_loop().create_task(self._write_at_rest())

    def write(self) -> None:
        """Write the files as the journal is now.

        Raises:
            StepFailed: the files cannot be written; then there are none, for those of before say what is true no more.
        """
        atexit.unregister(self._write_behind)
        try:
            record = write_record(self._folder)
            if self._alone:
                write_report(self._folder, record)
        except CgrunbookError:
            for name in (RECORD, REPORT):
                with contextlib.suppress(OSError):
                    (self._folder / name).unlink(missing_ok=True)
            raise
        steps = len(record.steps)
        self._steps_until_due = steps // 4 if steps > _FEW else 0
        self._says_how_it_ended = self._alone and record.exit_code is not None

    async def _write_at_rest(self) -> None:
        """Write what is behind when nothing was begun for a while, or when this loop or process ends first."""
        atexit.register(self._write_behind)
        try:
            await asyncio.sleep(_REST_SECONDS)
        finally:
            self._write_behind()

    def _write_behind(self) -> None:
        if not self._at_work:
            with contextlib.suppress(CgrunbookError):  # what the journal has is not lost; nobody is there to be told
                self.write()
