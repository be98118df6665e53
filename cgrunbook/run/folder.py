"""The run folder: what its files are called, and how a file is written whole.

It knows names and the disk. It does not know what is in the files.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from cgrunbook.errors import StepFailed, UsageError, what_helps
from cgrunbook.home import VARIABLE, home

JOURNAL = "journal.jsonl"
RECORD = "record.json"
REPORT = "report.html"

# Set by whoever starts a notebook's kernel on behalf of a run, so that all notebooks of one run write to one folder.
RUN_FOLDER_VARIABLE = "CGRUNBOOK_RUN_FOLDER"


def new_run_folder(runs: Path) -> Path:
    """Make the folder of a new run in `runs`, which has one a run: its name is its id, in the order of time."""
    name = f"{datetime.now(UTC):%Y-%m-%dT%H-%M-%SZ}-{secrets.token_hex(2)}"
    folder = runs / name
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    return folder


def write_whole(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Write a file so that whoever looks sees the old one or the new one, and never half of either.

    Args:
        path: its folder exists.
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
        raise cannot_write(path, error) from error


def cannot_write(path: Path, error: OSError) -> StepFailed:
    """The error for a disk that is full, a folder that may not be written, and what else the system refuses a file for."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if path.is_relative_to(home()):
        elsewhere = f"set {VARIABLE} to another folder"
    elif shell is not None and os.environ.get(RUN_FOLDER_VARIABLE) == str(path.parent) and not path.parent.is_dir():
        elsewhere = f"leave the folder of a run where it is; without `cgrunbook run`, unset {RUN_FOLDER_VARIABLE}"
    elif shell is not None and RUN_FOLDER_VARIABLE not in os.environ:  # JupyterLab, plain papermill, jupyter execute
        elsewhere = "run the notebook in another folder, which gets the folder runs"
    else:
        elsewhere = "choose another place with --output"
    return StepFailed(
        f"{path} cannot be written: {error.strerror or error}.",
        f"{what_helps(error, elsewhere)}\nThen run again: what was done is found and left as it is.",
    )


def folder_is_taken(folder: Path, name: str) -> UsageError:
    """The error for a run folder that has another run's file."""
    return UsageError(
        f"{folder} has a {name} already, which this run would overwrite.",
        "Give --output a new or an empty folder.",
    )


def short(path: Path) -> Path:
    """A path, as short as the caller's own allows."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
