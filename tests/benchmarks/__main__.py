"""`make bench`: every benchmark beside this file, one after the other, each printing its ratios.

python -m tests.benchmarks [NAME ...]
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
NAMES = sorted(path.stem for path in HERE.glob("[!_]*.py"))


def main(chosen: list[str]) -> int:
    """Run them; the exit code says whether one could not be run, never whether a ratio is good."""
    unknown = [name for name in chosen if name not in NAMES]
    if unknown:
        print(f"No benchmark {', '.join(unknown)}; there are: {', '.join(NAMES)}.", file=sys.stderr)
        return 2
    broken = 0
    for name in chosen or NAMES:
        print(f"\n== {name.replace('_', ' ')}", flush=True)
        broken |= subprocess.run(
            [sys.executable, "-m", f"tests.benchmarks.{name}"], cwd=HERE.parents[1], check=False
        ).returncode
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
