"""Killed again and again, late, raced: nothing is orphaned; one disturbance at a time, at any call, is in every_call.py."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest

from cgrunbook import steps
from cgrunbook.errors import Conflict
from cgrunbook.steps.pull_token import token_name
from cgrunbook.steps.step import Outcome, Step, World
from tests.steps.disturbing import Killed, disturbed
from tests.steps.performing import (
    UNDISTURBED_03,
    Names,
    live_tokens,
    open_book,
    perform,
    state_of,
    steps_of_02,
    steps_of_03,
)

# On a project whose APIs are on and whose service agent exists, in the order in which 02 and 03 send them.
CALLS = (
    "create the public repository",
    "create the secret",
    "grant",
    "claim",
    "create the token",
    "write its username down",
    "add the version",
    "write the pair down",
    "create the private repository",
)

UNDISTURBED = replace(UNDISTURBED_03, public={"managed-by": "cgrunbook"})


def everything(names: Names) -> list[Step]:
    return [*steps_of_02(names), *steps_of_03(names)]


@pytest.fixture(scope="module", autouse=True)
def enabled(home: Path, quick_chainctl: None) -> None:
    book, _ = open_book()
    perform(book, steps.EnableApi(steps.ARTIFACT_REGISTRY), steps.EnableApi(steps.SECRET_MANAGER))


def test_the_list_of_calls_is_what_the_steps_send():
    book, _ = open_book()
    with disturbed() as seen:
        perform(book, *everything(Names.of("counted")))
    assert len(seen.calls) == len(CALLS), seen.calls
    assert state_of(book.cloud, Names.of("counted")) == UNDISTURBED


@pytest.mark.parametrize(("first", "second"), [(5, 1), (7, 1), (7, 2), (8, 1)])
def test_a_run_that_is_killed_while_it_repairs_what_another_left_is_repaired_by_the_third(first: int, second: int):
    names = Names.of(f"twice-{first}-{second}")
    for at in (first, second):
        book, _ = open_book()
        with disturbed(at, "after"), pytest.raises(Killed):
            perform(book, *everything(names))
    book, _ = open_book()
    perform(book, *everything(names))
    assert state_of(book.cloud, names) == UNDISTURBED


def late_token(names: Names) -> None:
    """What chainctl does that outlives the run which started it."""
    book, _ = open_book()
    book.cloud.chainctl.create_pull_token("example.com", token_name(World(book.cloud), names.secret), "1h")


def test_a_token_that_chainctl_makes_after_its_run_was_killed_and_repaired_is_planned_away_and_revoked():
    names = Names.of("late")
    book, _ = open_book()
    perform(book, *everything(names))
    late_token(names)
    assert state_of(book.cloud, names).live_tokens == 2
    planned, seen = open_book(mode="plan")
    perform(planned, *everything(names))
    assert [(r.outcome, r.plan.changes[0].before) for r in seen.results if r.plan.changes] == [
        (Outcome.PLANNED, "whose password nobody has")
    ]
    book, seen = open_book()
    perform(book, *everything(names))
    assert Outcome.DELETED in seen.outcomes
    assert state_of(book.cloud, names) == UNDISTURBED


@pytest.mark.parametrize("repository", ["there", "gone"])
def test_a_token_in_use_is_not_taken_for_an_orphan_when_somebody_cleared_the_annotations(repository: str):
    names = Names.of(f"cleared-{repository}")
    book, _ = open_book()
    perform(book, *everything(names))
    used = live_tokens(book.cloud, names)
    secret = book.cloud.secrets.get(names.secret)
    assert secret is not None
    book.cloud.secrets.update(secret, replace(secret, annotations={}))
    if repository == "gone":
        book.cloud.repositories.delete(names.private)
    book, _ = open_book()
    perform(book, *everything(names))
    assert set(used) <= set(live_tokens(book.cloud, names))
    assert state_of(book.cloud, names).pair_is_taken_by_cgr_dev


def test_a_token_made_elsewhere_between_the_plan_and_the_claim_is_used_and_not_doubled():
    names = Names.of("raced")
    book, _ = open_book()
    early = everything(names)[:-2]
    perform(book, *early)
    step = steps.StorePullToken(names.secret, "", names.private)
    plan = step.plan(World(book.cloud))
    other, _ = open_book()
    perform(other, *everything(names))
    step.apply(World(book.cloud), plan)
    assert state_of(book.cloud, names) == UNDISTURBED


@pytest.mark.parametrize("what", ["machine", "container"])
def test_another_machine_at_work_is_not_disturbed_and_the_message_says_how_long_to_wait(what, tmp_path):
    names = Names.of(f"elsewhere-{what}")
    book, _ = open_book()
    perform(book, *everything(names)[:-2])
    # Containers of one job may have the same host name; their homes are never one.
    other = {
        "machine": patch("platform.node", lambda: "another-machine"),
        "container": patch("cgrunbook.steps.token_pairs.home", lambda: tmp_path),
    }
    with disturbed(2, "before"), pytest.raises(Killed), other[what]:
        perform(book, steps.StorePullToken(names.secret, "", names.private))
    again, _ = open_book()
    with pytest.raises(Conflict, match="Another machine began to make a pull token") as raised:
        perform(again, steps.StorePullToken(names.secret, "", names.private))
    assert "10 minutes" in raised.value.remedy
    assert state_of(again.cloud, names).live_tokens == 0
