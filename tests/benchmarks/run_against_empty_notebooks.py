"""How long `cgrunbook run 01 02 03` takes on a warm sandbox, against papermill on three empty notebooks.

It prints medians and their ratio; the goal is at most 0.75. Both sides are whole processes, begun alike and measured in
turn, so that a busy machine slows both. A second ratio leaves papermill's import out of papermill's side alone, which is
stricter.

    python tests/benchmarks/run_against_empty_notebooks.py [ROUNDS]
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat

NOTEBOOKS = ("01", "02", "03")

# papermill as its documentation shows it: one call a notebook, in one process, its progress bar off.
PEER = """
import time
import papermill
begun = time.monotonic()
for number in range(3):
    papermill.execute_notebook("empty.ipynb", f"executed-{number}.ipynb", progress_bar=False, kernel_name="python3")
print(time.monotonic() - begun)
"""


def timed(command: list[str], folder: Path, environment: dict[str, str]) -> tuple[float, str]:
    """Run a command to its end.

    Returns:
        Its wall-clock time in seconds, and what it printed.

    Raises:
        SystemExit: it failed, so there is nothing to compare.
    """
    begun = time.monotonic()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - begun
    if done.returncode:
        sys.exit(f"{' '.join(command[:3])} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return seconds, done.stdout


def main(rounds: int) -> None:
    """Measure, and print a table."""
    with tempfile.TemporaryDirectory(prefix="cgrunbook-bench-") as name:
        folder = Path(name)
        environment = os.environ | {"CGRUNBOOK_HOME": str(folder / "home")}
        cgrunbook = [sys.executable, "-c", "from cgrunbook.cli import main; main()"]
        empty = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("")])
        nbformat.write(empty, folder / "empty.ipynb")
        ours, peers, peers_calls = [], [], []
        try:
            timed([*cgrunbook, "run", *NOTEBOOKS], folder, environment)  # warms the sandbox: everything is made
            for _ in range(rounds):
                ours.append(timed([*cgrunbook, "run", *NOTEBOOKS], folder, environment)[0])
                seconds, calls = timed([sys.executable, "-c", PEER], folder, environment)
                peers.append(seconds)
                peers_calls.append(float(calls))
        finally:
            timed([*cgrunbook, "sandbox", "reset"], folder, environment)
    our, peer, calls_only = (statistics.median(times) for times in (ours, peers, peers_calls))
    print(f"cgrunbook run {' '.join(NOTEBOOKS)}, warm sandbox     {our:6.2f} s  (median of {rounds})")
    print(f"papermill, three empty notebooks        {peer:6.2f} s")
    print(f"  of which its three calls              {calls_only:6.2f} s")
    print(f"ratio                                   {our / peer:6.2f}    (goal: at most 0.75)")
    print(f"ratio to the three calls alone          {our / calls_only:6.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
