"""How fast, and how long still: said when it can be, and in words."""

from __future__ import annotations

import pytest

from cgrunbook.steps.step import Progress
from cgrunbook.ui.pace import Pace


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def pace(clock):
    return Pace(clock)


def test_rate_and_remaining_time_follow_from_what_came_since_the_beginning(pace, clock):
    assert pace.of(Progress("pulling", 0, 100_000_000)) == ""
    clock.now = 4.0
    assert pace.of(Progress("pulling", 40_000_000, 100_000_000)) == "10.0 MB/s, 6 s remaining"


def test_nothing_is_said_of_the_first_second(pace, clock):
    pace.of(Progress("pulling", 0, 100))
    clock.now = 0.5
    assert pace.of(Progress("pulling", 50, 100)) == ""


def test_what_came_before_the_watch_began_does_not_count(pace, clock):
    pace.of(Progress("pulling", 90_000_000, 100_000_000))
    clock.now = 2.0
    assert pace.of(Progress("pulling", 92_000_000, 100_000_000)) == "1.0 MB/s, 8 s remaining"


def test_another_piece_of_work_begins_anew(pace, clock):
    pace.of(Progress("first pull", 0, 1000))
    clock.now = 5.0
    assert pace.of(Progress("second pull", 500, 1000)) == ""


def test_a_layer_that_is_fetched_again_begins_anew(pace, clock):
    pace.of(Progress("pulling", 0, 1000))
    clock.now = 2.0
    pace.of(Progress("pulling", 800, 1000))
    clock.now = 3.0
    assert pace.of(Progress("pulling", 100, 1000)) == ""


def test_where_nothing_is_counted_nothing_is_said(pace):
    assert pace.of(Progress("enabling")) == ""


def test_the_end_of_an_unknown_amount_is_not_guessed(pace, clock):
    pace.of(Progress("pulling", 0))
    clock.now = 2.0
    assert pace.of(Progress("pulling", 4_000_000)) == "2.0 MB/s"


@pytest.mark.parametrize(
    ("left", "said"), [(0.1, "1 s"), (59.4, "59 s"), (61, "1 min"), (3599, "1 h 0 min"), (5400, "1 h 30 min")]
)
def test_the_remaining_time_is_said_as_a_person_would(pace, clock, left, said):
    pace.of(Progress("waiting", 0, left + 10, "seconds"))
    clock.now = 10.0
    assert pace.of(Progress("waiting", 10, left + 10, "seconds")) == f"{said} remaining"
