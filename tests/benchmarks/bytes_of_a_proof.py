"""How many bytes and requests the proof of a pull takes, against the image's size, and how long its two times are.

It performs 02's proof on a sandbox of its own, where everything is made already, and counts what this process reads from
its sockets, headers and the control plane's answers included.

    python -m tests.benchmarks.bytes_of_a_proof [ROUNDS]
"""

from __future__ import annotations

import socket
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from tests.sandboxes import sandbox_home
from tests.steps.performing import open_book, perform, proof_of_02, requests, steps_of_02

GOAL = 1.05


@contextmanager
def counted() -> Iterator[list[int]]:
    """How many bytes each read from a socket brought."""
    receive, came = socket.socket.recv_into, []

    def receiving(self: socket.socket, *arguments: Any) -> int:
        came.append(receive(self, *arguments))
        return came[-1]

    with patch.object(socket.socket, "recv_into", receiving):
        yield came


def main(rounds: int) -> None:
    """Measure, and print a table."""
    with tempfile.TemporaryDirectory(prefix="cgrunbook-bench-") as folder, sandbox_home(Path(folder) / "home") as home:
        book, _ = open_book()
        perform(book, *steps_of_02(), proof_of_02())
        read, asked, first, second = [], [], [], []
        for _ in range(rounds):
            # A book of its own: each proof signs in anew, as each run does.
            book, seen = open_book()
            known = len(requests(home))
            with counted() as came:
                perform(book, proof_of_02())
            facts = seen.results[-1].evidence.facts
            read.append(sum(came))
            asked.append(len(requests(home, known)))
            first.append(float(facts["first pull"].split()[0]))
            second.append(float(facts["second pull"].split()[0]))
    size = facts["bytes hashed"]
    ratio = statistics.median(read) / size
    kept = "kept" if ratio <= GOAL else "MISSED"
    print(f"the image, with index, manifest and config  {size:9,} bytes, {len(facts['layers'])} layers")
    print(f"read for its proof, from all services       {statistics.median(read):9,.0f} bytes")
    print(f"ratio                                       {ratio:9.3f} (at most {GOAL}): {kept}")
    print(f"requests a proof, to all services           {statistics.median(asked):9.0f}")
    print(f"first pull                                  {statistics.median(first):9.2f} s (median of {rounds})")
    print(f"second pull                                 {statistics.median(second):9.2f} s")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
