"""What a secret's annotations say of its versions, whoever wrote them."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime

import pytest

from cgrunbook.cloud.secret_manager import SecretResource
from cgrunbook.steps.token_pairs import Pair, as_gcloud_takes_them, pairs, written

USERNAME = f"{'ab' * 20}/{'cd' * 8}"
END = datetime(2026, 12, 23, 14, 44, 5, tzinfo=UTC)


def secret(**annotations: str) -> SecretResource:
    return SecretResource(name="projects/p/secrets/s", annotations=annotations)


def test_what_was_written_down_is_read_again():
    for pair in (Pair(USERNAME, 3, END), Pair(USERNAME, 3, None)):
        assert pairs(secret(**{"cgrunbook.version-3": written(pair)})) == {3: pair}


@pytest.mark.parametrize(
    ("text", "expires"),
    [
        (USERNAME, None),
        (f"{USERNAME} 2026-12-23T14:44:05Z", END),
        (f" {USERNAME}  2026-12-23T14:44:05+00:00 ", END),
        (f"{USERNAME} 2026-12-23T14:44:05", END),
        (f"{USERNAME} next year", None),
    ],
)
def test_a_person_may_write_it_with_or_without_a_time(text, expires):
    assert pairs(secret(**{"cgrunbook.version-1": text})) == {1: Pair(USERNAME, 1, expires)}


def test_annotations_of_others_are_no_pairs():
    others = {"cgrunbook.made-by": "cgrunbook", "cgrunbook.claim": "{}", "cgrunbook.version-": "x", "version-1": "x"}
    assert pairs(secret(**others, **{"cgrunbook.version-one": "x", "cgrunbook.version-2": ""})) == {}


def test_the_annotations_that_gcloud_would_drop_are_in_its_command():
    kept = as_gcloud_takes_them({"b": "2", "a": "1", "cgrunbook.claim": "{}"})
    assert kept == "a=1,b=2,"
    odd = as_gcloud_takes_them({"a": "one, two", "b": "it's; $HOME"})
    assert shlex.split(odd) == ["^|^a=one, two|b=it's; $HOME|"]
    assert as_gcloud_takes_them({}) == ""
