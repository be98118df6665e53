"""Trying again: how long, how often, seen by whom, and stopped by what.

It knows time and errors. Which failures of which protocol are temporary is in retry.py; they come here as `Temporary`.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from cgrunbook.errors import CgrunbookError, Interrupted, Temporary

if TYPE_CHECKING:
    from tenacity import RetryCallState

T = TypeVar("T")

# Seconds too short to wait for: a remainder of rounding must not become another attempt.
_SHORTEST = 0.001

# What ends the attempt that is being made here, where it was cancelled.
_ending: ContextVar[Callable[[], None] | None] = ContextVar("_ending", default=None)


def hear() -> None:
    """Look up from a wait for somebody else, deep inside an attempt; nothing outside of one.

    Raises:
        Interrupted: the attempt was cancelled meanwhile.
    """
    if (end := _ending.get()) is not None:
        end()


@dataclass(frozen=True)
class Wait:
    """One wait that a person can be shown, announced before it begins.

    Args:
        reason: what is being waited for, a phrase such as "the service agent to appear".
        attempt: how many attempts came before this wait; 0 for a plain pause.
        seconds: how long this wait takes.
        limit: seconds after which the attempts end, counted from the first; 0.0 for a plain pause.
    """

    reason: str
    attempt: int
    seconds: float
    limit: float


@dataclass(kw_only=True, eq=False)
class Attempts:
    """Bounded, visible, cancellable attempts; one instance serves many calls and threads.

    The first wait takes `first` seconds; each later one a random time between `first` and a bound that doubles up to
    `longest` (jitter, so that many pullers of one registry do not come back together). The last wait is cut so that
    one attempt falls on the limit.

    Args:
        limit: seconds for all attempts of one call together.
        first: seconds of the first wait.
        longest: seconds that no wait exceeds.
        on_wait: told of each wait before it begins, in the thread that waits.
        cancelled: when set, waits end and no further attempt begins.
        clock: seconds of a monotonic clock; the tests bring their own.
        sleep: waits so many seconds; None waits until cancelled at most. The tests bring their own.
    """

    limit: float = 120.0
    first: float = 0.5
    longest: float = 15.0
    on_wait: Callable[[Wait], object] = lambda _wait: None
    cancelled: threading.Event = field(default_factory=threading.Event)
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], object] | None = None

    def run(
        self,
        call: Callable[[], T],
        *,
        reason: str,
        temporary: tuple[type[BaseException], ...] | Callable[[BaseException], bool] = (Temporary,),
        limit: float | None = None,
        first: float | None = None,
    ) -> T:
        """Call until it succeeds, fails for good, or the limit is reached.

        Args:
            call: what to try; it must be safe to repeat.
            reason: what the waits are for, as `Wait.reason`.
            temporary: the exceptions worth another attempt, as types or as a function that decides.
            limit: seconds, in the place of the instance's own.
            first: seconds, in the place of the instance's own.

        Returns:
            What the call returned.

        Raises:
            Interrupted: cancelled, before an attempt or during a wait.
            BaseException: the call's own last error; after the limit it says how often and how long it was tried.
        """
        from tenacity import Retrying, retry_if_exception, retry_if_exception_type

        bound = self.limit if limit is None else limit
        shortest = self.first if first is None else first
        begun = self.clock()

        def left() -> float:
            return bound - (self.clock() - begun)

        def seconds(state: RetryCallState) -> float:
            return max(0.0, min(self._next(state.attempt_number, shortest), left()))

        def attempt() -> T:
            self._stop_if_cancelled(reason)
            listening = _ending.set(partial(self._stop_if_cancelled, reason))
            try:
                return call()
            finally:
                _ending.reset(listening)

        def announce(state: RetryCallState) -> None:
            self._stop_if_cancelled(reason)
            self.on_wait(Wait(reason, state.attempt_number, state.upcoming_sleep, bound))

        tries = Retrying(
            retry=retry_if_exception_type(temporary) if isinstance(temporary, tuple) else retry_if_exception(temporary),
            stop=lambda _state: left() < _SHORTEST,
            wait=seconds,
            before_sleep=announce,
            sleep=lambda length: self._rest(length, reason),
            retry_error_callback=lambda state: _give_up(state, self.clock() - begun),
        )
        result: T = tries(attempt)
        return result

    def pause(self, seconds: float, reason: str) -> None:
        """Wait where an attempt is not the right word: an operation's next look, say; `reason` as in `Wait`.

        Raises:
            Interrupted: cancelled, before or during the wait.
        """
        self._stop_if_cancelled(reason)
        self.on_wait(Wait(reason, 0, seconds, 0.0))
        self._rest(seconds, reason)

    def _next(self, attempt: int, first: float) -> float:
        """Seconds to wait after the attempt of this number, the first being 1."""
        if attempt <= 1:
            return min(first, self.longest)
        bound = min(self.longest, first * 2.0 ** min(attempt - 1, 60))
        return random.uniform(min(first, bound), bound)  # noqa: S311 - spreads load, guards nothing

    def _rest(self, seconds: float, reason: str) -> None:
        (self.sleep or self.cancelled.wait)(seconds)
        self._stop_if_cancelled(reason)

    def _stop_if_cancelled(self, reason: str) -> None:
        if self.cancelled.is_set():
            raise Interrupted(f"Stopped while waiting for {reason}.", "Run it again: it goes on from what is there.")


def _give_up(state: RetryCallState, seconds: float) -> None:
    """Raise the last error, with how long it was tried for."""
    outcome = state.outcome
    error = outcome.exception() if outcome is not None else None
    if error is None:  # pragma: no cover - tenacity gives up on an exception only
        raise RuntimeError("attempts ended without an error")
    if state.attempt_number == 1:
        # Nothing was tried again here; where attempts are nested, the inner ones have said how long.
        raise error
    tried = f"Tried {state.attempt_number} times in {seconds:.0f} s."
    if isinstance(error, CgrunbookError):
        error.message = f"{error.message} {tried}"
        error.args = (error.message,)
    else:
        error.add_note(tried)
    raise error
