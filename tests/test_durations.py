"""Lengths of time: one grammar for all that take one, and what means the same is the same."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgrunbook import durations


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("30d", "720h"),
        ("720h", "720h"),
        ("43200m", "720h"),
        ("2592000s", "720h"),
        ("1w", "168h"),
        ("1d12h", "36h"),
        ("90m", "1h30m"),
        ("1.5h", "1h30m"),
        ("0.5s", "0.5s"),
    ],
)
def test_what_means_the_same_is_written_the_same(text: str, written: str):
    assert durations.go(text) == written
    assert durations.parse(text) == durations.parse(written)


@pytest.mark.parametrize("text", ["", "d", "30", "30D", "30 d", "1y", "-1d", "1d-", "P30D", "30d ", "thirty days"])
def test_what_is_no_length_of_time_is_refused_with_how_one_looks(text: str):
    with pytest.raises(ValueError, match="such as 30d, 720h or 1h30m"):
        durations.parse(text)


@given(st.integers(1, 10**9))
def test_what_plans_say_is_read_as_what_they_mean(seconds: int):
    length = timedelta(seconds=seconds)
    assert durations.parse(durations.go(f"{seconds}s")) == length
    [reading] = durations.readings(durations.in_words(length))
    assert durations.in_words(durations.parse(reading)) == durations.in_words(length)
