"""How soon a notebook has begun in a fresh kernel, against an empty notebook: kernel's start to the first cell's end.

Ours is the start of the kernel, the cell with the parameters and the opening cell of 02 with somebody in front of it and
the form filled in before, on a sandbox that runs; the peer is the start of a kernel and a cell with nothing in it. Both
are measured in turn. It prints medians and their ratio; the goal is at most 1.3.

    python -m tests.benchmarks.first_cell [ROUNDS]
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

import nbformat
from jupyter_client.manager import start_new_kernel

from tests.notebooks.worlds import NOTEBOOKS
from tests.sandboxes import sandbox_home

LONGEST = 120.0


def opening_cells() -> list[str]:
    """The code of 02 up to the cell that opens the notebook."""
    notebook = nbformat.read(NOTEBOOKS / "02_developer_images.ipynb", as_version=4)
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    return code[: 1 + next(place for place, source in enumerate(code) if "open_notebook" in source)]


def seconds_for(cells: Sequence[str]) -> float:
    """From asking for a kernel to the end of the last of these cells, as a front end does it."""
    begun = time.monotonic()
    manager, client = start_new_kernel(startup_timeout=LONGEST, kernel_name="python3")
    client.session.metadata = {"cellId": "first"}  # as JupyterLab names each cell that it sends
    try:
        for cell in cells:
            reply = client.execute_interactive(
                cell, allow_stdin=True, timeout=LONGEST, output_hook=lambda _: None, stdin_hook=lambda _: None
            )
            if reply["content"]["status"] != "ok":
                sys.exit(f"the cell failed: {reply['content'].get('evalue')}\n{cell}")
        return time.monotonic() - begun
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def main(rounds: int) -> None:
    """Measure, and print a table."""
    ours, peers = [], []
    with (
        tempfile.TemporaryDirectory(prefix="cgrunbook-bench-") as folder,
        sandbox_home(Path(folder, "home")) as home,
        patch.dict(os.environ, {"CGRUNBOOK_RUN_FOLDER": folder, "PYTHONDONTWRITEBYTECODE": ""}),
    ):
        (home / "parameters.json").write_text('{"target": "sandbox"}')
        cells = opening_cells()
        seconds_for(cells)  # the files are read once before it counts
        for _ in range(rounds):
            peers.append(seconds_for(["pass"]))
            ours.append(seconds_for(cells))
    our, peer = statistics.median(ours), statistics.median(peers)
    print(f"kernel's start to the end of 02's opening cell     {our:6.2f} s  (median of {rounds})")
    print(f"kernel's start to the end of an empty first cell   {peer:6.2f} s")
    print(f"ratio                                              {our / peer:6.2f}    (goal: at most 1.3)")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
