"""The journal of a run, line by line as it happens: the only thing written while a run works.

It knows how a line is put on the disk so that it stays there. What the lines add up to is the record's affair.
"""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import json
import os
import weakref
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_jsonable_python

import cgrunbook
from cgrunbook.redaction import redact, redact_all
from cgrunbook.run.folder import JOURNAL, cannot_write, folder_is_taken

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
    "concluded",
    "notebook-ended",
    "cell-mended",
    "run-ended",
]


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
    """The journal of one run, in its folder: lines are added and synced to disk, none is ever changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / JOURNAL

    def begin(self, mode: str, **more: Any) -> None:
        """Add the first line of a run: who runs what, and since when. While this process lives, others see that it does.

        Raises:
            UsageError: the folder has another run's journal; two that begin at once do not share it.
            StepFailed: it cannot be written.
        """
        try:
            self.path.touch(exist_ok=False)
        except FileExistsError as error:
            raise folder_is_taken(self.folder, JOURNAL) from error
        except OSError as error:
            raise cannot_write(self.path, error) from error
        self.add("run-started", version=cgrunbook.__version__, operator=_operator(), mode=mode, **more)
        with contextlib.suppress(OSError):  # a disk that knows no locks
            descriptor = os.open(self.path, os.O_RDWR)
            weakref.finalize(self, os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX)

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
        plain = json.loads(json.dumps(redact_all(data), default=_plain))
        line = Line(time=datetime.now(UTC), event=event, notebook=notebook, step=step, data=plain)
        text = line.model_dump_json(exclude_defaults=True) + "\n"
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                size = os.fstat(descriptor).st_size
                if size and os.pread(descriptor, 1, size - 1) != b"\n":
                    # A process killed while writing left a line without its end; the next must not grow out of it.
                    os.write(descriptor, b"\n")
                rest = memoryview(text.encode())
                while rest:  # a disk with little room takes a part and refuses the rest at the next attempt
                    rest = rest[os.write(descriptor, rest) :]
                if sync:
                    os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise cannot_write(self.path, error) from error
        return line


def begun_and_there(path: Path) -> bool | None:
    """Whether the process that began a run is there still, by what it holds of its journal; None where that cannot be seen."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    return False


def _operator() -> str:
    """Who is at this machine."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return f"uid {os.getuid()}"


def read_lines(path: Path) -> Iterator[Line]:
    """Read a journal, passing over what cannot be read."""
    return (line for line in read_journal(path) if line is not None)


def read_journal(path: Path) -> Iterator[Line | None]:
    """Read a journal; None stands for a line that a killed process left half written, or that is another program's."""
    if not path.exists():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        for text in file:
            try:
                yield Line.model_validate_json(text)
            except ValueError:
                yield None


def _plain(value: Any) -> Any:
    """What JSON has no word for. A notebook's variable may be anything, and what is wrong with it is to be written down."""
    return to_jsonable_python(value) if isinstance(value, datetime) else redact(repr(value))
