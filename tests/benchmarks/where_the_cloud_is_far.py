"""How long a plan and a run of 01 to 04 take on the real names when every request takes 200 ms, and each connection 400 ms more.

Everything is there already, so nothing is changed. What is printed besides is how many requests went over how many connections.
The goals, at 200 ms a request: 12 s for the plan, 18 s for the run. It needs root, for the namespace.

    python -m tests.benchmarks.where_the_cloud_is_far
"""

from __future__ import annotations

import os
import sys
import time

from tests.real_names.faults import Weather
from tests.real_names.world import machine

#: Seconds a request and a connection.
DISTANCES = ((0.0, 0.0), (0.2, 0.0), (0.2, 0.4))
GOALS = {"plan": 12, "run": 18}


def main() -> None:
    """Make everything, then measure each verb at each distance, one after the other."""
    if os.geteuid() != 0:
        sys.exit("Not measured: the namespace with the real names needs root.")
    print("unchanged world, 01 to 04   requests  connections   no delay   200 ms a request   and 400 ms a connection")
    with machine() as real_names:
        real_names.cgrunbook("run")
        for verb, goal in GOALS.items():
            seconds = []
            for delay, connect in DISTANCES:
                real_names.set(Weather(delay=delay, connect=connect))
                begun = time.monotonic()
                done = real_names.cgrunbook(verb)
                seconds.append(time.monotonic() - begun)
                if done.returncode:
                    sys.exit(f"cgrunbook {verb} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
            counts = f"{sum(real_names.seen().values()):10}{sum(real_names.connected().values()):13}"
            times = f"{seconds[0]:8.1f} s{seconds[1]:10.1f} s (goal: {goal} s){seconds[2]:14.1f} s"
            print(f"{verb:26}{counts}{times}")


if __name__ == "__main__":
    main()
