"""What the checks of a diagnosis read: each thing once, all at once, and nobody waits for an answer longer than its time.

It knows threads and time. What is read, and what it means, is in checks.py.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as OutOfTime
from typing import Any, TypeVar

from cgrunbook.errors import CgrunbookError, ServiceError, StepFailed
from cgrunbook.steps.token_sides import Asking

T = TypeVar("T")

# Seconds for one reading, with all that it asks; a request that takes longer would not be waited for by whoever pulls.
SECONDS = 10.0


class Unanswered(ServiceError):
    """A reading that had no answer in its time; who was asked may still be silent."""


class Crashed(StepFailed):
    """A reading, or a check, that ended in what nobody foresaw: a defect of ours, and no news of the world."""


def crashed(what: str, error: BaseException) -> Crashed:
    """The error for what nobody foresaw."""
    said = f"{what} ended with {type(error).__name__}: {error}"
    return Crashed(said, "Report it: this is a defect of cgrunbook's, and says nothing of the world.")


def begun(ask: Callable[[], T], name: str) -> Future[T]:
    """What comes of a call, in a thread of its own that keeps no process from ending."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(ask())
        except BaseException as error:  # noqa: BLE001 - raised again where it is asked for
            future.set_exception(error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future


class Readings(Asking):
    """Readings under way; the answer to one may be the error that came of it.

    Args:
        seconds: for each.
    """

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._begun: dict[Hashable, tuple[float, Future[Any]]] = {}

    def begin(self, about: Hashable, ask: Callable[[], object]) -> None:
        """Ask, unless that is under way or known."""

        def attempt() -> object:
            try:
                return ask()
            except CgrunbookError as error:
                return error
            except Exception as error:  # noqa: BLE001 - one reading's defect is not the others'
                return crashed(f"Reading {_named(about)}", error)

        with self._lock:
            if about not in self._begun:
                self._begun[about] = time.monotonic() + self._seconds, begun(attempt, f"reads {_named(about)}")

    def answer(self, about: Hashable) -> Any:
        """What came back, waited for; None for what was never asked."""
        with self._lock:
            until, future = self._begun.get(about, (0.0, None))
        if future is None:
            return None
        try:
            return future.result(max(0.0, until - time.monotonic()))
        except OutOfTime:
            return Unanswered(
                f"No answer within {self._seconds:.0f} s to the question for {_named(about)}.",
                "Look at what is between here and there, and ask again.",
            )

    def ask(self, about: Hashable, ask: Callable[[], T]) -> T | CgrunbookError:
        """What comes back, asked for once."""
        self.begin(about, ask)
        answer: T | CgrunbookError = self.answer(about)
        return answer

    def need(self, about: Hashable, ask: Callable[[], T]) -> T:
        """The same; an error is raised."""
        answer = self.ask(about, ask)
        if isinstance(answer, CgrunbookError):
            raise answer
        return answer

    def known(self) -> dict[Hashable, Any]:
        """What has come back by now, or has not in its time; what is still waited for is left out."""
        with self._lock:
            all_of_them = [*self._begun]
        now = time.monotonic()
        return {
            about: self.answer(about)
            for about in all_of_them
            if self._begun[about][1].done() or self._begun[about][0] <= now
        }


def _named(about: Hashable) -> str:
    """A reading in words, without a name that says nothing."""
    words = about if isinstance(about, tuple) else (about,)
    return " ".join(str(word) for word in words if isinstance(word, str | int))
