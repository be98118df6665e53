"""Breaking off a run at its n-th call that changes something: before the call leaves, or before its answer arrives.

It stands between the steps and the outside world where both of its ways go: HTTP requests and the chainctl command.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal
from unittest.mock import patch

import requests

from cgrunbook.cloud.chainctl import Chainctl
from tests.steps.performing import _READS

Moment = Literal["before", "after"]


class Killed(BaseException):
    """The process is gone, as far as the step can tell: nothing that handles errors sees it."""


class Disturbance:
    """Counts calls that change something, and ends one of them.

    Args:
        at: which, from 1; 0 for none.
        moment: before it is sent, or after it was carried out and before its answer is there.
        error: what is raised in its place, or answered.
    """

    def __init__(self, at: int, moment: Moment, error: BaseException | requests.Response) -> None:
        self.calls: list[str] = []
        self._at = at
        self._moment = moment
        self._error = error
        self._lock = threading.Lock()

    def around(self, name: str, call: Any) -> Any:
        with self._lock:
            self.calls.append(name)
            mine = len(self.calls) == self._at
        if not (mine and self._moment == "before"):
            answer = call()
        if mine and isinstance(self._error, BaseException):
            raise self._error
        return self._error if mine else answer


@contextmanager
def disturbed(
    at: int = 0, moment: Moment = "before", error: BaseException | requests.Response | None = None
) -> Iterator[Disturbance]:
    """Disturb what this process asks of the world.

    Args:
        at: the number of the call that changes something, from 1; 0 only counts.
        moment: see `Disturbance`.
        error: see `Disturbance`; a kill if not given.
    """
    disturbance = Disturbance(at, moment, Killed() if error is None else error)
    send, run = requests.Session.send, Chainctl._run

    def sending(self: requests.Session, request: requests.PreparedRequest, **more: Any) -> Any:
        def call() -> Any:
            return send(self, request, **more)

        path = request.path_url.partition("?")[0]
        if request.method in ("GET", "HEAD") or any(read in path for read in _READS):
            return call()
        return disturbance.around(f"{request.method} {path}", call)

    def running(self: Chainctl, arguments: Sequence[str], **more: Any) -> Any:
        def call() -> Any:
            return run(self, arguments, **more)

        if "create" in arguments or "delete" in arguments:
            return disturbance.around(f"chainctl {' '.join(arguments[:3])}", call)
        return call()

    with patch.object(requests.Session, "send", sending), patch.object(Chainctl, "_run", running):
        yield disturbance
