"""The guide's fourth hint: a fresh repository with the same settings is made, tried and taken away, whatever comes of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cgrunbook import steps
from cgrunbook.cloud import Cloud
from cgrunbook.errors import StepFailed
from cgrunbook.steps.step import Outcome
from tests.steps.disturbing import Killed, disturbed
from tests.steps.performing import Names, live_tokens, open_book, perform, steps_of_02, steps_of_03

pytestmark = pytest.mark.usefixtures("quick_chainctl")

FRESH = "{}-cgrunbook-try"


@pytest.fixture
def made(home: Path, request: pytest.FixtureRequest) -> tuple[Cloud, Names]:
    names = Names.of("".join(c if c.isalnum() else "-" for c in request.node.name.lower())[-24:].strip("-"))
    book, _ = open_book()
    perform(book, *steps_of_02(names), *steps_of_03(names))
    return book.cloud, names


def attempt(names: Names, *, wanted: bool = True) -> steps.TryFreshRepository:
    return steps.TryFreshRepository(names.private, "chainguard-base:latest", wanted=wanted)


def test_what_was_pulled_through_it_is_the_evidence_and_nothing_is_left(made: tuple[Cloud, Names]):
    cloud, names = made
    book, seen = open_book()
    perform(book, attempt(names))
    [result] = seen.results
    assert result.outcome is Outcome.VERIFIED
    assert len(result.plan.changes) == 1, "it was made, and is gone again"
    assert result.evidence.brief == "works, and is gone again"
    assert str(result.evidence.facts["pulled"]).startswith("example.com/chainguard-base:latest, sha256:")
    assert cloud.repositories.get(FRESH.format(names.private)) is None


def test_it_is_left_alone_unless_it_is_asked_for(made: tuple[Cloud, Names]):
    _, names = made
    book, seen = open_book()
    perform(book, attempt(names, wanted=False))
    assert seen.outcomes == [Outcome.SKIPPED]
    assert seen.results[0].evidence.brief == "not asked for (try_fresh_repository)"


def test_one_that_does_not_work_either_says_that_the_cause_is_elsewhere_and_nothing_is_left(made: tuple[Cloud, Names]):
    cloud, names = made
    [token] = live_tokens(cloud, names)
    assert cloud.chainctl.revoke(token, "example.com")
    book, _ = open_book()
    with pytest.raises(StepFailed, match="does not work either"):
        perform(book, attempt(names))
    assert cloud.repositories.get(FRESH.format(names.private)) is None


def test_what_a_killed_run_left_is_replaced_and_taken_away(made: tuple[Cloud, Names]):
    cloud, names = made
    with disturbed(2, "before"), pytest.raises(Killed):  # the deletion is never sent
        perform(open_book()[0], attempt(names))
    assert cloud.repositories.get(FRESH.format(names.private)) is not None
    book, seen = open_book()
    perform(book, attempt(names))
    assert seen.results[0].evidence.brief == "works, and is gone again"
    assert cloud.repositories.get(FRESH.format(names.private)) is None


def test_one_of_that_name_that_others_made_is_not_touched(made: tuple[Cloud, Names]):
    cloud, names = made
    public = cloud.repositories.get(names.public)
    assert public is not None
    theirs = cloud.repositories.name(FRESH.format(names.private))
    cloud.repositories.create(replace(public, name=theirs, labels={}, upstream_description="theirs"))
    with pytest.raises(StepFailed, match="that cgrunbook did not make"):
        perform(open_book()[0], attempt(names))
    assert cloud.repositories.get(FRESH.format(names.private)) is not None
