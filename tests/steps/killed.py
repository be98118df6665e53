"""`python -m tests.steps.killed SCENARIO [rotate]`: perform what 03 changes, or rotate, in a process that somebody may kill.

It begins when a line comes on its input, so that the moment of the kill is counted from there and not from Python's
start.
"""

from __future__ import annotations

import importlib
import sys

from cgrunbook import steps
from tests.steps.performing import Names, open_book, perform, steps_of_03

if __name__ == "__main__":
    for needed in ("artifact_registry", "chainctl", "project", "secret_manager"):
        importlib.import_module(f"cgrunbook.cloud.{needed}")
    book, _ = open_book()
    print("ready", flush=True)
    sys.stdin.readline()
    names = Names.of(sys.argv[1])
    if sys.argv[2:] == ["rotate"]:
        settings = steps.RotationSettings(grace="0s")
        perform(book, steps.RotatePullToken(names.private, names.secret, settings=settings))
    else:
        perform(book, *steps_of_03(names))
    print("done", flush=True)
