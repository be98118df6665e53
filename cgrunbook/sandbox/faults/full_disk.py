"""A small file system that is full: a tmpfs of a few pages, where this process may mount one.

Knows how it is made and taken away. Knows nobody who uses it.
"""

from __future__ import annotations

import errno
import subprocess
from pathlib import Path

_SIZE = "64k"


class NotToBeHad(Exception):
    """This process may mount nothing; the message says why."""


def of(folder: Path) -> Path:
    """Where it is, of a state folder."""
    return folder / "full-disk"


def mount(folder: Path) -> None:
    """Mount it, and fill it; one that is there is filled up.

    Raises:
        NotToBeHad: this process may not.
    """
    place = of(folder)
    place.mkdir(mode=0o700, exist_ok=True)
    if not place.is_mount():
        command = ["mount", "-t", "tmpfs", "-o", f"size={_SIZE},mode=0700", "cgrunbook-full", str(place)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            said = done.stderr.strip() if done.returncode else ""
        except OSError as problem:
            said = str(problem)
        if said:
            place.rmdir()
            raise NotToBeHad(f"a full file system is mounted by root on Linux only, and here: {said.splitlines()[0]}")
    try:
        with (place / "full").open("ab", buffering=0) as stream:
            while True:
                stream.write(bytes(4096))
    except OSError as problem:
        if problem.errno != errno.ENOSPC:
            raise


def unmount(folder: Path) -> None:
    """Take it away, whoever uses it."""
    place = of(folder)
    if place.is_mount():
        subprocess.run(["umount", "-l", str(place)], check=True, capture_output=True)
    if place.is_dir():
        place.rmdir()
