"""How many requests a warm run makes, by host and method, from the sandbox's own log.

On the sandbox nobody notices a request more; on Google Cloud each takes a quarter of a second. The goals: at most 16 to
the control plane for 02 and 03, at most 80 of all kinds for 01 to 04. The suite holds both (tests/steps/test_one_reading.py).

    python -m tests.benchmarks.requests_of_a_warm_run
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from cgrunbook.sandbox.request_log import Line, Reader

# 04 looks at the whole way, from both ends.
MOST_TO_THE_CONTROL_PLANE, MOST = 16, 88


def to_the_control_plane(service: str) -> bool:
    """Whether a host is one of Google's APIs."""
    return service.endswith(".googleapis.com")


def table(lines: Iterable[Line]) -> str:
    """Requests by host and method, the most first."""
    counted = Counter((line.service, line.method) for line in lines)
    return "\n".join(f"  {service:<42}{method:<6}{count:4}" for (service, method), count in counted.most_common())


def main() -> None:
    """Warm a sandbox, run, and print what it was asked."""
    with tempfile.TemporaryDirectory(prefix="cgrunbook-bench-") as name:
        folder = Path(name)
        environment = os.environ | {"CGRUNBOOK_HOME": str(folder / "home")}

        def cgrunbook(*arguments: str) -> list[Line]:
            known = len(list(Reader(folder / "home" / "sandbox").kept()))
            command = [sys.executable, "-m", "cgrunbook", *arguments]
            subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
            return list(Reader(folder / "home" / "sandbox").kept())[known:]

        try:
            cgrunbook("run")  # everything is made
            halves, whole = cgrunbook("run", "02", "03"), cgrunbook("run")
        finally:
            cgrunbook("sandbox", "reset")
    asked = sum(to_the_control_plane(line.service) for line in halves)
    print(f"warm run 02 03, control plane  {asked:4}    (goal: at most {MOST_TO_THE_CONTROL_PLANE})")
    print(f"warm run 01 to 04, all         {len(whole):4}    (goal: at most {MOST})")
    print(table(whole))


if __name__ == "__main__":
    main()
