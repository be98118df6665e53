"""Killed at any moment the sandbox comes back with every acknowledged write; hundreds of kills: see kills.py."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from cgrunbook.sandbox import process
from tests.sandbox.kills import WRITERS, survive


@pytest.mark.parametrize("rounds", [8, pytest.param(50, marks=pytest.mark.long)])
def test_every_acknowledged_write_survives_kills_under_load(home: Path, rounds: int) -> None:
    try:
        figures = survive(home, rounds, seed=random.randrange(10**9))
    finally:
        process.reset(home)
    assert figures.kills == rounds
    assert figures.acknowledged > rounds
    assert figures.broken_off == rounds * WRITERS  # each was cut off: the load was there at each kill
