"""`cgrunbook doctor` as a whole process on a healthy target, against what a person would look at by hand with gcloud.

The five: the two repositories, the secret, its version, the project. The goals: at most the time of these one after the other, and
25 calls. The suite holds the calls (tests/diagnosis/test_doctor.py).

    python -m tests.benchmarks.doctor_against_gcloud_describe [--times 5]
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cgrunbook.sandbox import process
from cgrunbook.sandbox.request_log import Reader

_PLACE = ("--location=us-central1",)
_DESCRIBE = (
    ("artifacts", "repositories", "describe", "chainguard-pull-through", *_PLACE),
    ("artifacts", "repositories", "describe", "chainguard-private", *_PLACE),
    ("secrets", "describe", "chainguard-pull-token"),
    ("secrets", "versions", "describe", "1", "--secret=chainguard-pull-token"),
    ("projects", "describe", "cgrunbook-sandbox"),
)


def main() -> None:
    """Make the target, and time the two in turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=5)
    given = parser.parse_args()
    gcloud = shutil.which("gcloud")
    if gcloud is None:
        raise SystemExit("gcloud is not installed; there is nothing to compare with")
    with tempfile.TemporaryDirectory(prefix="cgrunbook-bench-") as name:
        folder = Path(name)
        home = folder / "home"
        own = os.environ | {"CGRUNBOOK_HOME": str(home)}

        def seconds(environment: dict[str, str], *command: str) -> float:
            begun = time.perf_counter()
            subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
            return time.perf_counter() - begun

        def cgrunbook(*arguments: str) -> float:
            return seconds(own, sys.executable, "-m", "cgrunbook", *arguments)

        try:
            cgrunbook("run", "02", "03")
            status = process.status(home)
            if status is None:
                raise SystemExit("the sandbox does not run any more")
            theirs = own | dict(process.environment(status.running))
            times = [
                (sum(seconds(theirs, gcloud, *words) for words in _DESCRIBE), cgrunbook("doctor"))
                for _ in range(given.times)
            ]
            against, taken = (statistics.median(column) for column in zip(*times, strict=True))
            known = len(list(Reader(home / "sandbox").kept()))
            cgrunbook("doctor")
            calls = len(list(Reader(home / "sandbox").kept())) - known
            print(
                f"doctor: {taken:.2f} s, five gcloud describe: {against:.2f} s; ratio {taken / against:.2f} (goal: at most 1.0)"
            )
            print(f"calls: {calls} (goal: at most 25)")
        finally:
            cgrunbook("sandbox", "reset")


if __name__ == "__main__":
    main()
