"""The world in which each committed notebook is executed and compared: a sandbox of its own, in a known state."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cgrunbook.sandbox import process

ROOT = Path(__file__).parents[2]
NOTEBOOKS = ROOT / "notebooks"
NAMES = sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))

# What has been run before; the others begin with a sandbox that nobody has touched.
BEFORE = {"04_debugging": ("02", "03"), "05_rotate_pull_token": ("03",), "06_teardown": ("02", "03")}


@contextmanager
def world_for(notebook: str) -> Iterator[dict[str, str]]:
    """The environment for a notebook's kernel; the sandbox is stopped and gone afterwards.

    Args:
        notebook: its name without the ending.
    """
    with tempfile.TemporaryDirectory(prefix="cgrunbook-") as folder:
        home, run = Path(folder, "home"), Path(folder, "run")
        run.mkdir()
        environment = {
            **{name: value for name, value in os.environ.items() if name != "JPY_SESSION_NAME"},
            "CGRUNBOOK_HOME": str(home),
            "CGRUNBOOK_RUN_FOLDER": str(run),
            "CGRUNBOOK_SANDBOX_IAM_DELAY": "0",
            "CGRUNBOOK_SANDBOX_AGENT_DELAY": "0",
        }
        try:
            if notebook in BEFORE:
                before = [
                    sys.executable,
                    "-m",
                    "cgrunbook",
                    "run",
                    *BEFORE[notebook],
                    "--output",
                    f"{folder}/before",
                ]
                without_run = {name: value for name, value in environment.items() if name != "CGRUNBOOK_RUN_FOLDER"}
                subprocess.run(before, env=without_run, check=True, capture_output=True, text=True)
            yield environment
        finally:
            process.reset(home)
