"""Rotating a pull token: what is there afterwards, whatever was there before."""

from __future__ import annotations

from pathlib import Path

import pytest

from cgrunbook import steps
from cgrunbook.steps.step import Outcome
from tests.steps.performing import Names, open_book, perform, state_of, steps_of_03

pytestmark = pytest.mark.usefixtures("quick_chainctl")


def rotate(names: Names, **settings):
    return steps.RotatePullToken(names.private, names.secret, "", steps.RotationSettings(**{"grace": "0s"} | settings))


def test_one(home: Path):
    names = Names.of("rotated")
    book, _ = open_book()
    perform(book, *steps_of_03(names))
    book, seen = open_book()
    perform(book, rotate(names))
    r = seen.results[-1]
    print(r.outcome, r.brief)
    for k, v in r.evidence.facts.items():
        print(k, "=", v)
    print(r.evidence.findings)
    print("\n".join(r.plan.notes)); print("\n".join(r.plan.commands))
    print(state_of(book.cloud, names))
    assert 0
