"""Coming between the steps and the outside world, at one call: breaking it off, failing it, slowing down what it began.

It stands where each of their ways goes: HTTP requests of Google's clients and of ours, those to registries, the chainctl command.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import Any, Literal
from unittest.mock import patch

import requests
import urllib3

from cgrunbook.cloud import sessions
from cgrunbook.cloud.chainctl import Chainctl
from tests.steps.performing import _READS

Moment = Literal["before", "after"]


class Way(StrEnum):
    """How a call goes out."""

    API = "api"
    REGISTRY = "registry"
    COMMAND = "chainctl"


# What a call is handed to in the place of the world: its method and path, or the command's first words; how it goes out; and what
# lets it go and answers what came back.
Between = Callable[[str, Way, Callable[[], Any]], Any]


class Killed(BaseException):
    """The process is gone, as far as the step can tell: nothing that handles errors sees it."""


@contextmanager
def standing(between: Between) -> Iterator[None]:
    """Stand between this process and the world."""
    send, run, pools = requests.Session.send, Chainctl._run, sessions.pools

    def sending(self: requests.Session, request: requests.PreparedRequest, **more: Any) -> Any:
        name = f"{request.method} {request.path_url.partition('?')[0]}"
        return between(name, Way.API, lambda: send(self, request, **more))

    def running(self: Chainctl, arguments: Sequence[str], **more: Any) -> Any:
        return between(f"chainctl {' '.join(arguments[:3])}", Way.COMMAND, lambda: run(self, arguments, **more))

    class Pools:
        """The connections to a registry."""

        def __init__(self, url: str) -> None:
            self._pools = pools(url)

        def request(self, method: str, url: str, **more: Any) -> Any:
            name = f"{method} {urllib3.util.parse_url(url).path}"
            return between(name, Way.REGISTRY, lambda: self._pools.request(method, url, **more))

    with (
        patch.object(requests.Session, "send", sending),
        patch.object(Chainctl, "_run", running),
        patch.object(sessions, "pools", Pools),
    ):
        yield


def changes_something(name: str, way: Way) -> bool:
    """Whether a call may change something outside."""
    if way is Way.REGISTRY:
        return False
    if way is Way.COMMAND:
        return "create" in name or "delete" in name
    return not name.startswith(("GET ", "HEAD ")) and not any(read in name for read in _READS)


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

    def __call__(self, name: str, way: Way, call: Callable[[], Any]) -> Any:
        if not changes_something(name, way):
            return call()
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
    with standing(disturbance):
        yield disturbance
