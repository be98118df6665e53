"""A rotation killed at any call, or left without an answer: the next one ends where an undisturbed one ends."""

from __future__ import annotations

import json
import os
import random
import re
from dataclasses import replace

import pytest
import requests

from cgrunbook import steps
from cgrunbook.errors import ChainctlFailed
from cgrunbook.steps.step import Outcome
from tests.steps.disturbing import Killed, Moment, disturbed
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
EVERY = [(call, moment) for call in range(1, len(CALLS) + 1) for moment in ("before", "after")]

# Those of this run; `make test-long` has all.
SAMPLE = random.Random(os.environ.get("PYTEST_RANDOMLY_SEED", os.urandom(4).hex())).sample(EVERY, 2)


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
    print(
        f"{len(seen.calls)} calls change something: {len(EVERY)} kills, {len(CALLS) * len(WEATHER)} failures on the way"
    )
    assert len(seen.calls) == len(CALLS), seen.calls
    assert_finished(names)


def killed_and_run_again(call: int, moment: Moment) -> None:
    names = made(f"killed-{call}-{moment}")
    with disturbed(call, moment), pytest.raises(Killed):
        perform(open_book()[0], rotation(names))
    perform(open_book()[0], rotation(names))
    assert_finished(names)


@pytest.mark.parametrize(("call", "moment"), SAMPLE)
def test_killed_at_a_call_the_next_rotation_ends_where_an_undisturbed_one_ends(call: int, moment: Moment):
    killed_and_run_again(call, moment)


@pytest.mark.long
@pytest.mark.parametrize(("call", "moment"), EVERY)
def test_killed_at_each_call(call: int, moment: Moment):
    killed_and_run_again(call, moment)


def answered(code: int, status: str) -> requests.Response:
    """An error as Google's services word it."""
    answer = requests.Response()
    answer.status_code, answer.url = code, "http://services"
    answer.headers["Content-Type"] = "application/json"
    answer._content = json.dumps({"error": {"code": code, "status": status, "message": "Come back later."}}).encode()
    answer.request = requests.Request("POST", answer.url).prepare()
    return answer


# What may happen to a call: before it is sent, or once it was carried out.
WEATHER: dict[str, tuple[Moment, Exception | requests.Response]] = {
    "too many": ("before", answered(429, "RESOURCE_EXHAUSTED")),
    "unavailable": ("before", answered(503, "UNAVAILABLE")),
    "unavailable after all": ("after", answered(503, "UNAVAILABLE")),
    "reset": ("before", requests.ConnectionError("reset")),
    "no way there": ("before", requests.ConnectTimeout("no way there")),
    "lost": ("after", requests.ConnectionError("the answer was lost")),
    "late": ("after", requests.ReadTimeout("no answer in time")),
    "cut": ("after", requests.exceptions.ChunkedEncodingError("the answer was cut")),
}


@pytest.mark.long
@pytest.mark.parametrize("weather", WEATHER)
@pytest.mark.parametrize("call", range(1, len(CALLS) + 1), ids=lambda number: CALLS[number - 1].replace(" ", "-"))
def test_a_call_that_fails_on_the_way_is_made_once_and_leaves_nothing_twice(call: int, weather: str):
    names = made(f"{weather.replace(' ', '-')}-{call}")
    book, _ = open_book()
    book.cloud.attempts.first = 0.001
    by_command = CALLS[call - 1] in ("create the token", "revoke the old token")
    moment, error = WEATHER[weather]
    with disturbed(call, moment, ChainctlFailed("chainctl: unavailable") if by_command else error):
        if by_command:
            with pytest.raises(ChainctlFailed):
                perform(book, rotation(names))
        else:
            perform(book, rotation(names))
    if by_command:
        perform(open_book()[0], rotation(names))
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
