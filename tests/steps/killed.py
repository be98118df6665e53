"""`python -m tests.steps.killed SCENARIO`: perform what 03 changes, in a process that somebody else may kill.

It begins when a line comes on its input, so that the moment of the kill is counted from there and not from Python's
start.
"""

from __future__ import annotations

import importlib
import sys

from tests.steps.performing import Names, open_book, perform, steps_of_03

if __name__ == "__main__":
    for needed in ("artifact_registry", "chainctl", "project", "secret_manager"):
        importlib.import_module(f"cgrunbook.cloud.{needed}")
    book, _ = open_book()
    print("ready", flush=True)
    sys.stdin.readline()
    perform(book, *steps_of_03(Names.of(sys.argv[1])))
    print("done", flush=True)
