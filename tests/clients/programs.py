"""The programs that tests drive: where they are, how they are run, and what happens without them.

A program that is missing skips its test; with CGRUNBOOK_REQUIRE_CLIENTS=1 it fails the test instead.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from typing import NoReturn

import pytest

#: Programs that no distribution packages, and the variables that may say where they are.
_ELSEWHERE = {"crane": "CGRUNBOOK_CRANE", "conformance": "CGRUNBOOK_OCI_CONFORMANCE"}


def absent(message: str) -> NoReturn:
    """End a test that cannot run here."""
    if os.environ.get("CGRUNBOOK_REQUIRE_CLIENTS") == "1":
        pytest.fail(f"{message}, and CGRUNBOOK_REQUIRE_CLIENTS=1 wants it")
    pytest.skip(message)


def client(command: str) -> str:
    """The path of a program, or the end of the test."""
    found = os.environ.get(_ELSEWHERE.get(command, "")) or shutil.which(command)
    return found or absent(f"{command} is not installed")


def run(
    command: str,
    *words: object,
    check: bool = True,
    stdin: str = "",
    given: Mapping[str, str] | None = None,
    **more: str,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end.

    Args:
        command: its name.
        words: its arguments.
        check: whether it must succeed.
        stdin: what it reads.
        given: the whole environment; None for this process's.
        more: variables on top of that.
    """
    done = subprocess.run(
        [client(command), *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        input=stdin,
        env={**(os.environ if given is None else given), **more},
        timeout=120,
    )
    assert not check or done.returncode == 0, f"{command} {words[0]}: {done.stdout}{done.stderr}"
    return done
