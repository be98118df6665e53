from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgrunbook.cloud.attempts import Attempts, Wait
from cgrunbook.errors import Interrupted, NotFound, Temporary


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def read(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def failing(times: int, error: Exception) -> tuple[list[int], Callable[[], str]]:
    calls: list[int] = []

    def call() -> str:
        calls.append(1)
        if len(calls) <= times:
            raise error
        return "done"

    return calls, call


def attempts_with(clock: Clock, waits: list[Wait] | None = None, **settings: float) -> Attempts:
    seen = waits if waits is not None else []
    return Attempts(clock=clock.read, sleep=clock.sleep, on_wait=seen.append, **settings)  # type: ignore[arg-type]


def test_a_call_that_succeeds_is_made_once_and_waits_for_nothing() -> None:
    waits: list[Wait] = []
    calls, call = failing(0, Temporary("no"))
    assert attempts_with(Clock(), waits).run(call, reason="nothing") == "done"
    assert len(calls) == 1
    assert waits == []


def test_a_temporary_error_is_tried_again_until_it_passes() -> None:
    waits: list[Wait] = []
    calls, call = failing(3, Temporary("not yet"))
    assert attempts_with(Clock(), waits).run(call, reason="the agent to appear") == "done"
    assert len(calls) == 4
    assert [(wait.reason, wait.attempt, wait.limit) for wait in waits] == [
        ("the agent to appear", number, 120.0) for number in (1, 2, 3)
    ]


def test_an_error_that_is_not_temporary_is_raised_at_once() -> None:
    calls, call = failing(9, NotFound("gone"))
    with pytest.raises(NotFound, match=r"^gone$"):
        attempts_with(Clock()).run(call, reason="nothing")
    assert len(calls) == 1


@given(limit=st.floats(0.1, 1000), first=st.floats(0.01, 2), longest=st.floats(0.02, 2))
def test_waits_are_bounded_and_the_last_attempt_falls_on_the_limit(limit: float, first: float, longest: float) -> None:
    first, longest = first * limit, longest * limit
    clock = Clock()
    waits: list[Wait] = []
    begun = clock.now
    _, call = failing(10**9, Temporary("no"))
    with pytest.raises(Temporary):
        attempts_with(clock, waits, limit=limit, first=first, longest=longest).run(call, reason="it")
    assert clock.now - begun == pytest.approx(limit, abs=0.0011)
    assert waits[0].seconds == pytest.approx(min(first, longest, limit))
    assert all(0 <= wait.seconds <= longest * 1.001 for wait in waits)
    assert all(wait.seconds >= min(first, longest) * 0.999 for wait in waits[:-1])


def test_after_the_limit_the_last_error_says_how_often_and_how_long_it_was_tried() -> None:
    _, call = failing(10**9, Temporary("The service is away.", "Run again."))
    with pytest.raises(Temporary) as caught:
        attempts_with(Clock(), limit=10, first=5, longest=5).run(call, reason="it")
    assert caught.value.message == "The service is away. Tried 3 times in 10 s."
    assert caught.value.remedy == "Run again."
    assert "Tried 3 times in 10 s." in str(caught.value)


def test_an_error_that_is_not_ours_carries_the_same_as_a_note() -> None:
    _, call = failing(10**9, OSError("broken"))
    with pytest.raises(OSError, match="broken") as caught:
        attempts_with(Clock(), limit=10, first=5, longest=5).run(call, reason="it", temporary=(OSError,))
    assert caught.value.__notes__ == ["Tried 3 times in 10 s."]


def test_a_function_may_decide_what_is_temporary() -> None:
    calls, call = failing(2, OSError("404 for now"))
    decide = attempts_with(Clock())
    assert decide.run(call, reason="it", temporary=lambda error: "for now" in str(error)) == "done"
    assert len(calls) == 3


def test_one_call_may_have_its_own_limit_and_first_wait() -> None:
    clock = Clock()
    waits: list[Wait] = []
    _, call = failing(10**9, Temporary("no"))
    with pytest.raises(Temporary):
        attempts_with(clock, waits).run(call, reason="it", limit=2.0, first=0.25)
    assert clock.now == pytest.approx(1002.0)
    assert waits[0] == Wait("it", 1, 0.25, 2.0)


def test_a_wait_is_announced_before_it_begins() -> None:
    order: list[str] = []
    attempts = Attempts(on_wait=lambda _wait: order.append("announced"), sleep=lambda _seconds: order.append("waited"))
    _, call = failing(1, Temporary("no"))
    attempts.run(call, reason="it")
    attempts.pause(3.0, "the operation")
    assert order == ["announced", "waited", "announced", "waited"]


def test_a_pause_says_what_it_is_for_and_counts_no_attempt() -> None:
    clock = Clock()
    waits: list[Wait] = []
    attempts_with(clock, waits).pause(3.0, "the operation")
    assert waits == [Wait("the operation", 0, 3.0, 0.0)]
    assert clock.now == 1003.0


def test_cancelling_ends_a_wait_at_once_and_makes_no_further_attempt() -> None:
    cancelled = threading.Event()
    calls, call = failing(10**9, Temporary("no"))
    # A real wait of an hour, cut by another thread as soon as it has been announced.
    attempts = Attempts(
        limit=7200,
        first=3600,
        longest=3600,
        cancelled=cancelled,
        on_wait=lambda _wait: threading.Thread(target=cancelled.set).start(),
    )
    with pytest.raises(Interrupted, match="the agent to appear"):
        attempts.run(call, reason="the agent to appear")
    assert len(calls) == 1


def test_what_is_cancelled_already_makes_no_attempt_and_no_pause() -> None:
    cancelled = threading.Event()
    cancelled.set()
    calls, call = failing(0, Temporary("no"))
    attempts = Attempts(cancelled=cancelled)
    with pytest.raises(Interrupted):
        attempts.run(call, reason="it")
    with pytest.raises(Interrupted):
        attempts.pause(3600, "it")
    assert calls == []


def test_a_key_press_is_no_temporary_error() -> None:
    def call() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attempts_with(Clock()).run(call, reason="it")


def test_attempts_within_attempts_say_once_how_long_it_took() -> None:
    clock = Clock()
    attempts = attempts_with(clock, limit=10, first=5, longest=5)
    _, call = failing(10**9, Temporary("The service is away."))
    with pytest.raises(Temporary) as caught:
        attempts.run(lambda: attempts.run(call, reason="the inner"), reason="the outer")
    assert caught.value.message == "The service is away. Tried 3 times in 10 s."
    assert clock.now == 1010.0
