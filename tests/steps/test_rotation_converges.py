"""Rotations that die one after the other, or before a set-up; one disturbance at a time, at any call, is in every_call.py."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from cgrunbook import steps
from cgrunbook.steps.step import Outcome
from tests.steps.disturbing import Killed, disturbed
from tests.steps.performing import UNDISTURBED_03, Names, State, Watcher, open_book, perform, state_of, steps_of_03

pytestmark = pytest.mark.usefixtures("home", "quick_chainctl")

# What a rotation of one repository sends, in its order.
CALLS = (
    "claim",
    "create the token",
    "write its username down",
    "add the version",
    "set the pair",
    "disable the old version",
    "revoke the old token",
    "destroy the old version",
    "write down what is there",
)


def rotation(names: Names, **settings: object) -> steps.RotatePullToken:
    return steps.RotatePullToken(
        names.private, names.secret, settings=steps.RotationSettings(**{"grace": "0s", **settings})  # type: ignore[arg-type]
    )  # fmt: skip


def without_numbers(state: State) -> State:
    """A state as it is after any number of rotations."""

    def any_number(texts: list[str]) -> list[str]:
        return [re.sub(r"\d+", "N", text) for text in texts]

    return replace(state, versions=any_number(state.versions), annotations=any_number(state.annotations))


UNDISTURBED = without_numbers(UNDISTURBED_03)


def made(scenario: str) -> Names:
    names = Names.of(scenario)
    perform(open_book()[0], *steps_of_03(names))
    return names


def assert_finished(names: Names) -> None:
    """The world is an undisturbed rotation's, and a run that has time changes nothing."""
    book, _ = open_book()
    assert without_numbers(state_of(book.cloud, names)) == UNDISTURBED
    seen = Watcher()
    with disturbed() as sent:
        perform(open_book(seen)[0], rotation(names, if_days_left=7))
    assert sent.calls == []
    assert seen.outcomes == [Outcome.UNCHANGED]


def test_the_list_of_calls_is_what_a_rotation_sends():
    names = made("counted")
    with disturbed() as seen:
        perform(open_book()[0], rotation(names))
    assert len(seen.calls) == len(CALLS), seen.calls
    assert_finished(names)


@pytest.mark.long
@pytest.mark.parametrize(("first", "second"), [(2, 1), (4, 1), (4, 2), (5, 1), (5, 3), (6, 2), (7, 2)])
def test_killed_while_it_finishes_what_another_left_the_third_finishes_both(first: int, second: int):
    names = made(f"twice-{first}-{second}")
    for at in (first, second):
        with disturbed(at, "after"), pytest.raises(Killed):
            perform(open_book()[0], rotation(names))
    perform(open_book()[0], rotation(names))
    assert_finished(names)


@pytest.mark.long
@pytest.mark.parametrize("call", range(1, len(CALLS) + 1), ids=lambda number: CALLS[number - 1].replace(" ", "-"))
def test_setting_up_again_after_a_rotation_died_breaks_nothing_and_the_next_rotation_finishes(call: int):
    names = made(f"set-up-{call}")
    with disturbed(call, "after"), pytest.raises(Killed):
        perform(open_book()[0], rotation(names))
    book, _ = open_book()
    perform(book, *steps_of_03(names))
    assert state_of(book.cloud, names).pair_is_taken_by_cgr_dev
    perform(book, rotation(names))
    assert_finished(names)
