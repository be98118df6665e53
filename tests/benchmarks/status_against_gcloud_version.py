"""`cgrunbook status` as a whole process, against `gcloud version` on the same machine; and how many calls it makes.

On the sandbox, whose chainctl is a Python process of its own. The goals: at most 1.5 times gcloud's time and 10 calls for one
repository, 2 calls a repository for a hundred. The suite holds the calls (tests/diagnosis/test_status.py).

    python -m tests.benchmarks.status_against_gcloud_version [--times 9] [--repositories 100]
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
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

from cgrunbook.cloud import Cloud, connect
from cgrunbook.parameters import Parameters
from cgrunbook.sandbox.request_log import Reader

_PLATFORM = "console-api.enforce.dev"


def main() -> None:
    """Make a repository, time the two in turns; make many, and count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=9)
    parser.add_argument("--repositories", type=int, default=100)
    given = parser.parse_args()
    gcloud = shutil.which("gcloud")
    if gcloud is None:
        raise SystemExit("gcloud is not installed; there is nothing to compare with")
    with tempfile.TemporaryDirectory(prefix="cgrunbook-bench-") as name:
        folder = Path(name)
        home = {"CGRUNBOOK_HOME": str(folder / "home")}
        environment = os.environ | home | {"CLOUDSDK_CORE_DISABLE_PROMPTS": "1"}

        def seconds(*command: str) -> float:
            begun = time.perf_counter()
            subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
            return time.perf_counter() - begun

        def cgrunbook(*arguments: str) -> float:
            return seconds(sys.executable, "-m", "cgrunbook", *arguments)

        def calls(*arguments: str) -> int:
            known = len(list(Reader(folder / "home" / "sandbox").kept()))
            cgrunbook("status", *arguments)
            asked = list(Reader(folder / "home" / "sandbox").kept())[known:]
            # What chainctl asks for one list counts as one.
            return sum(line.service != _PLATFORM for line in asked) + any(line.service == _PLATFORM for line in asked)

        try:
            cgrunbook("run", "02", "03")
            times = [(seconds(gcloud, "version"), cgrunbook("status")) for _ in range(given.times)]
            against, taken = (statistics.median(column) for column in zip(*times, strict=True))
            ratio = taken / against
            print(
                f"status of one: {taken:.2f} s, gcloud version: {against:.2f} s; ratio {ratio:.2f} (goal: at most 1.5)"
            )
            print(f"calls for one: {calls()} (goal: at most 10)")
            with patch.dict(os.environ, home):
                _make_many(given.repositories - 1)
            many, all_of_them = calls("--all"), cgrunbook("status", "--all")
            each = many / given.repositories
            print(f"calls for {given.repositories}: {many}, {each:.2f} each (goal: at most 2), in {all_of_them:.2f} s")
        finally:
            cgrunbook("sandbox", "reset")


def _make_many(number: int) -> None:
    """Repositories with the same token as the one that is there, in three locations."""
    here = connect("sandbox")
    repositories = {
        place: Cloud(replace(here, location=place)).repositories for place in ("us-central1", "europe-west1", "us")
    }
    there = repositories["us-central1"].get(Parameters().private_repository)
    if there is None:
        raise SystemExit("03 has made no repository")

    def make(one: int) -> None:
        place = list(repositories.values())[one % len(repositories)]
        place.create(replace(there, name=place.name(f"many-{one}")))

    with ThreadPoolExecutor(4) as side_by_side:
        list(side_by_side.map(make, range(number)))


if __name__ == "__main__":
    main()
