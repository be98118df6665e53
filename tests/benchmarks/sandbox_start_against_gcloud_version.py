"""From `cgrunbook sandbox start` to an answer, against `gcloud version` on the same machine.

python -m tests.benchmarks.sandbox_start_against_gcloud_version [--times 9]

Taken in turns. Prints the medians and the ratio of a first start (a home that is not there yet) and of a later one.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from cgrunbook.sandbox import process


def seconds(command: list[str], **environment: str) -> float:
    begun = time.perf_counter()
    subprocess.run(
        command, env=os.environ | environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True
    )
    return time.perf_counter() - begun


def started(home: Path) -> float:
    """Seconds until the sandbox answers; it is ended again."""
    begun = time.perf_counter()
    process.start(home)
    taken = time.perf_counter() - begun
    process.stop(home)
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=9)
    given = parser.parse_args()
    gcloud = shutil.which("gcloud")
    if gcloud is None:
        raise SystemExit("gcloud is not installed; there is nothing to compare with")
    times: dict[str, list[float]] = {"gcloud version": [], "first start": [], "later start": []}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(given.times):
            home = Path(folder) / str(number)
            times["gcloud version"].append(seconds([gcloud, "version"], CLOUDSDK_CORE_DISABLE_PROMPTS="1"))
            times["first start"].append(started(home))
            times["later start"].append(started(home))
            process.reset(home)
    medians = {what: statistics.median(taken) for what, taken in times.items()}
    against = medians.pop("gcloud version")
    for what, taken in medians.items():
        print(
            f"{what}: {taken:.2f} s, gcloud version: {against:.2f} s; ratio {taken / against:.2f} (target at most 1.0)"
        )


if __name__ == "__main__":
    main()
