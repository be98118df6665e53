"""A machine at the real names for each file of tests, in fair weather at the beginning of each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.real_names.world import Machine, machine


@pytest.fixture(scope="module")
def _opened() -> Iterator[Machine]:
    with machine() as opened:
        yield opened


@pytest.fixture
def real_names(_opened: Machine) -> Machine:
    """One machine; what the tests of a file make in its project stays for the next ones."""
    _opened.set()
    return _opened
