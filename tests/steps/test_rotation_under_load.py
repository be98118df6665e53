"""No pull fails while the token is rotated; the long form is a benchmark."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.rotation_under_load import Load
from tests.steps.performing import Names


@pytest.mark.usefixtures("quick_chainctl")
def test_no_pull_fails_while_the_token_is_rotated_again_and_again(home: Path):
    figures = Load(home, Names.of("load"), workers=2).run(rotations=2, pulls=8)
    print(figures)
    assert figures.failures == []
    assert (figures.rotations, figures.live, figures.enabled) == (2, 1, 1)
    assert figures.uncached
