"""Killed at any moment the sandbox comes back with every acknowledged write; hundreds of kills: see kills.py."""

from __future__ import annotations

import os
import random
from pathlib import Path

from cgrunbook.sandbox import process
from tests.sandbox.kills import WRITERS, survive

ROUNDS = int(os.environ.get("CGRUNBOOK_SANDBOX_KILLS", "8"))


def test_every_acknowledged_write_survives_kills_under_load(home: Path) -> None:
    try:
        figures = survive(home, ROUNDS, seed=random.randrange(10**9))
    finally:
        process.reset(home)
    assert figures.kills == ROUNDS
    assert figures.acknowledged > ROUNDS
    assert figures.broken_off == ROUNDS * WRITERS  # each was cut off: the load was there at each kill
