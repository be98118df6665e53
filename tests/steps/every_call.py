"""Every call to the outside that 02, 03, 05 and 06 make, through either door to Chainguard, disturbed in every way.

The calls are not written down: each journey is made once and its calls are counted. Then it is made again and again from the
same world, each time with one call disturbed. Whatever comes of that, the next run has to end in the world that an
undisturbed one ends in, where another finds nothing to do. A fault that passes does not even end the run that met it.

    python -m tests.steps.every_call [JOURNEY ...]      # all of it: `make every-call`; a share of it by chance: SHARE=0.1
"""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import random
import re
import sqlite3
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import requests
import urllib3

from cgrunbook import steps
from cgrunbook.cloud import ChainguardAccess, google_service
from cgrunbook.cloud.command import Ended
from cgrunbook.errors import CgrunbookError
from cgrunbook.steps.step import Outcome, Step
from tests.left_behind import difference, masked
from tests.sandboxes import chainctl_without_a_process, sandbox_home
from tests.steps.disturbing import Killed, Moment, Way, changes_something, standing
from tests.steps.doors import ACCOUNT, prepare, set_up, through
from tests.steps.performing import (
    Names,
    Watcher,
    open_book,
    perform,
    proof_of_02,
    proof_of_03,
    state_of,
    steps_of_02,
    steps_of_03,
)

NAMES = Names()
ONE_ADDRESS = "one-address"
READER = "serviceAccount:nodes@another-project.iam.gserviceaccount.com"

# Looks at an operation that is slow before it is done.
_LOOKS = 4


@dataclass(frozen=True)
class Journey:
    """What a notebook does, and from where.

    Args:
        steps: what is performed.
        before: what was performed before.
        door: to Chainguard.
        again: what a run that finds nothing to do performs.
    """

    name: str
    steps: Callable[[], list[Step]]
    before: Callable[[], list[Step]] = list
    door: str = "chainctl"
    again: Callable[[], list[Step]] | None = None


def _of_02() -> list[Step]:
    return [*steps_of_02(NAMES), proof_of_02(NAMES)]


def _of_03() -> list[Step]:
    check, readers = steps.CheckChainguard(""), steps.LetPull(NAMES.private, [READER])
    return [check, *steps_of_03(NAMES), readers, proof_of_03(NAMES)]


def _rotation(**settings: Any) -> list[Step]:
    settings = {"grace": "0s", **settings}
    return [steps.RotatePullToken(NAMES.private, NAMES.secret, settings=steps.RotationSettings(**settings))]


def _of_06() -> list[Step]:
    return [steps.TearDown(NAMES.public, NAMES.private, NAMES.secret, confirm=NAMES.public)]


def _away() -> list[Step]:
    return [steps.TakeAwayChainguardAccess(ACCOUNT, "example.com", confirmed=True)]


def _made() -> list[Step]:
    return [*steps_of_02(NAMES), *_of_03()]


def _one_address() -> list[Step]:
    images = ["chainguard-base:latest"]
    over_both = steps.CreateVirtualRepository(ONE_ADDRESS, NAMES.public, NAMES.private, images=images)
    return [over_both, steps.LetPull(ONE_ADDRESS, [READER])]


def _of_06_with_one_address() -> list[Step]:
    there = {"virtual_repository": ONE_ADDRESS, "confirm": NAMES.public}
    return [steps.TearDown(NAMES.public, NAMES.private, NAMES.secret, **there)]


def _idle() -> list[Step]:
    return _rotation(if_days_left=7)


BY_API = "service-account"

JOURNEYS = {
    one.name: one
    for one in (
        Journey("02", _of_02),
        Journey("03", _of_03),
        Journey("03-by-api", _of_03, door=BY_API),
        Journey("03-set-up", lambda: [set_up()]),
        Journey("03-one-address", _one_address, _made),
        Journey("05", _rotation, _of_03, again=_idle),
        Journey("05-with-a-grace", partial(_rotation, grace="1ms"), _of_03, again=_idle),
        Journey("05-by-api", _rotation, _of_03, door=BY_API, again=_idle),
        Journey("06", _of_06, _made),
        Journey("06-by-api", _of_06, _made, door=BY_API),
        Journey("06-one-address", _of_06_with_one_address, lambda: [*_made(), *_one_address()]),
        Journey("06-set-up", _away, lambda: [set_up()]),
    )
}


@dataclass(frozen=True)
class Call:
    """One call of a journey: what it is, and which of those that are alike, from 0."""

    name: str
    way: Way
    nth: int

    def __str__(self) -> str:
        return f"{self.name}{f' ({self.nth + 1})' if self.nth else ''}"


@dataclass(frozen=True)
class Fault:
    """What may happen to a call.

    Args:
        moment: before it is sent, or once it was carried out; a fault of an operation is told when it is looked at.
        brought: raises or answers what comes in the answer's place, by the way; one that is missing cannot have this fault.
        passes: whether the run that meets it has to go on by itself.
        of_operations: whether only what begins an operation can have it.
    """

    moment: Moment
    brought: Mapping[Way, Callable[[], Any]]
    passes: bool = True
    of_operations: bool = False


def _raised(error: BaseException) -> Any:
    raise error


def _google(code: int, status: str) -> requests.Response:
    """An error as Google's services word it, and Chainguard's API nearly."""
    answer = requests.Response()
    answer.status_code, answer.url = code, "http://services"
    answer.headers["Content-Type"] = "application/json"
    answer._content = json.dumps({"error": {"code": code, "status": status, "message": "Come back later."}}).encode()
    answer.request = requests.Request("POST", answer.url).prepare()
    return answer


def _document(body: Mapping[str, Any]) -> requests.Response:
    answer = _google(200, "")
    answer._content = json.dumps(body).encode()
    return answer


def _registry(status: int, code: str) -> urllib3.HTTPResponse:
    body = json.dumps({"errors": [{"code": code, "message": "come back later"}]}).encode()
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body))}
    return urllib3.HTTPResponse(io.BytesIO(body), headers=headers, status=status, preload_content=False)


def _weather(
    moment: Moment, api: Callable[[], Any], registry: Callable[[], Any], said: str, *, passes: bool = True
) -> Fault:
    def command() -> Any:
        return Ended(1, "", f"Error: rpc error: {said}")

    return Fault(moment, {Way.API: api, Way.REGISTRY: registry, Way.COMMAND: command}, passes)


def _kill() -> Any:
    raise Killed


def _failing(code: int, moment: Moment) -> Fault:
    """An operation that carries a google.rpc.Status in the end: 13 is a stumble, 14 what passes."""

    def error() -> Any:
        return {"code": code, "message": "Come back later."}

    return Fault(moment, {Way.API: error}, passes=False, of_operations=True)


# What an operation may have done by the time it fails.
_HOW_FAR: Mapping[str, Moment] = {"nothing done": "before", "all done": "after"}

_POOL: Any = None

FAULTS: dict[str, Fault] = {
    "killed before": Fault("before", dict.fromkeys(Way, _kill), passes=False),
    "killed after": Fault("after", dict.fromkeys(Way, _kill), passes=False),
    "429": _weather(
        "before", lambda: _google(429, "RESOURCE_EXHAUSTED"), lambda: _registry(429, "TOOMANYREQUESTS"),
        "code = Unavailable desc = 429 Too Many Requests",
    ),
    "503": _weather(
        "before", lambda: _google(503, "UNAVAILABLE"), lambda: _registry(503, "UNAVAILABLE"), "code = Unavailable",
    ),
    "503 once carried out": _weather(
        "after", lambda: _google(503, "UNAVAILABLE"), lambda: _registry(503, "UNAVAILABLE"), "code = Unavailable",
    ),
    "504 once carried out": _weather(
        "after", lambda: _google(504, "DEADLINE_EXCEEDED"), lambda: _registry(504, "UNKNOWN"),
        "code = DeadlineExceeded desc = context deadline exceeded",
    ),
    "reset": _weather(
        "before", lambda: _raised(requests.ConnectionError("reset")),
        lambda: _raised(urllib3.exceptions.ProtocolError("reset", ConnectionResetError())),
        "code = Unavailable desc = connection reset by peer",
    ),
    "no connection in time": _weather(
        "before", lambda: _raised(requests.ConnectTimeout("no way there")),
        lambda: _raised(urllib3.exceptions.ConnectTimeoutError(_POOL, "no way there")),
        "code = Unavailable desc = dial tcp: i/o timeout",
    ),
    "no answer in time": _weather(
        "after", lambda: _raised(requests.ReadTimeout("no answer in time")),
        lambda: _raised(urllib3.exceptions.ReadTimeoutError(_POOL, "", "no answer in time")),
        "code = DeadlineExceeded desc = context deadline exceeded",
    ),
    "answer lost": _weather(
        "after", lambda: _raised(requests.ConnectionError("the answer was lost")),
        lambda: _raised(urllib3.exceptions.ProtocolError("lost", ConnectionResetError())),
        "code = Unavailable desc = connection reset by peer",
    ),
    "answer cut": _weather(
        "after", lambda: _raised(requests.exceptions.ChunkedEncodingError("the answer was cut")),
        lambda: _raised(urllib3.exceptions.IncompleteRead(1, 2)),
        "code = Unavailable desc = unexpected EOF: connection reset",
    ),
    "slow operation": Fault("after", {Way.API: dict}, of_operations=True),
    **{
        f"operation ends in error {code}, {what}": _failing(code, moment)
        for code in (13, 14)
        for what, moment in _HOW_FAR.items()
    },
}  # fmt: skip

_BEGIN = re.compile(
    r"POST \S*/repositories|DELETE \S*/repositories/[^/]+|POST \S*/services/[^/]+:(enable|generateServiceIdentity)"
)


def can_happen(call: Call, fault: Fault) -> bool:
    """Whether a call can have this fault."""
    return call.way in fault.brought and (not fault.of_operations or bool(_BEGIN.fullmatch(call.name)))


_CHANGES = (
    (re.compile(r"\b[0-9a-f]{40}(/|%2F)[0-9a-f]{16}\b"), "ID"),
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"), "ID"),
    (re.compile(r"sha256:[0-9a-f]{64}"), "DIGEST"),
)


class Disturber:
    """Counts the calls of a journey, and disturbs one of them.

    Args:
        call: which; None only counts.
        fault: what happens to it.
    """

    def __init__(self, call: Call | None = None, fault: Fault | None = None) -> None:
        self.calls: list[Call] = []
        self.met = False
        self._call = call
        self._fault = fault
        self._seen: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._operation: Callable[[], requests.Response | None] = lambda: None

    def __call__(self, name: str, way: Way, go: Callable[[], Any]) -> Any:
        for pattern, word in _CHANGES:
            name = pattern.sub(word, name)
        with self._lock:
            this = Call(name, way, self._seen[name])
            self._seen[name] += 1
            self.calls.append(this)
            if "/operations/" in name and (told := self._operation()) is not None:
                return told
        if this != self._call or self._fault is None:
            return go()
        self.met = True
        if self._fault.of_operations:
            return self._slow_or_failed(self._fault, go)
        if self._fault.moment == "after":
            go()
        return self._fault.brought[way]()

    def _slow_or_failed(self, fault: Fault, go: Callable[[], Any]) -> Any:
        """What begins an operation, and then what the looks at it see."""
        answer: requests.Response = go() if fault.moment == "after" else None  # type: ignore[assignment]
        error = fault.brought[Way.API]()
        begun = answer.json() if answer is not None else {"name": "operations/acf.p2-begun-and-failed"}
        if "name" not in begun or "operations/" not in begun["name"]:
            begun = {"name": "operations/acf.p2-begun"} | begun
        looks = iter(range(_LOOKS))
        pending, done = {"name": begun["name"]}, {"name": begun["name"], "done": True, "error": error}

        def told() -> requests.Response | None:
            if error:
                self._operation = lambda: None
                return _document(done)
            if next(looks, None) is not None:
                return _document(pending)
            self._operation = lambda: None
            return _document(begun) if begun.get("done") else None

        self._operation = told
        return _document(pending)


@dataclass
class Count:
    """What came of a journey's disturbances."""

    calls: int = 0
    changing: int = 0
    disturbances: int = 0
    at_once: int = 0
    failures: list[str] = field(default_factory=list)

    @property
    def converged(self) -> int:
        """How many ended as an undisturbed journey does."""
        return self.disturbances - len(self.failures)

    def __str__(self) -> str:
        return (
            f"{self.calls} calls ({self.changing} change something), {self.disturbances} disturbances, "
            f"{self.converged} converged, {self.at_once} of them in the run that was disturbed"
        )


class Lab:
    """A sandbox whose world is put back before each journey.

    Args:
        home: its CGRUNBOOK_HOME.
        journey: which is made here.
    """

    def __init__(self, home: Path, journey: Journey) -> None:
        self.journey = journey
        self._state = home / "sandbox" / "state.db"
        self._begin = home.parent / f"{journey.name}.db"
        self._access = prepare() if journey.door == BY_API or "set-up" in journey.name else ChainguardAccess()
        self._perform(
            steps.EnableApi(steps.ARTIFACT_REGISTRY), steps.EnableApi(steps.SECRET_MANAGER), *journey.before()
        )
        self._perform(steps.CheckChainguard(""))
        if not journey.before():
            self._as_if_never_used()
        with closing(sqlite3.connect(self._state, timeout=30)) as now, closing(sqlite3.connect(self._begin)) as kept:
            now.backup(kept)
        counted = Disturber()
        with standing(counted):
            self._perform(*journey.steps())
        self.calls = list(dict.fromkeys(counted.calls))
        self._end = self._world()
        self._require_nothing_to_do()

    def cases(self) -> list[tuple[Call, str]]:
        """Each call with each fault that it can have."""
        return [(call, name) for call in self.calls for name, fault in FAULTS.items() if can_happen(call, fault)]

    def count(self) -> Count:
        """With nothing disturbed yet."""
        return Count(len(self.calls), sum(changes_something(call.name, call.way) for call in self.calls))

    def try_one(self, call: Call, name: str, count: Count) -> None:
        """Disturb one call, and look what becomes of it."""
        _put_back(self._begin, self._state)
        fault, problem, ended = FAULTS[name], "", ""
        disturber = Disturber(call, fault)
        count.disturbances += 1
        try:
            with standing(disturber):
                self._perform(*self.journey.steps())
        except Killed:
            ended = "killed"
        except CgrunbookError as error:
            ended = f"{type(error).__name__}: {error.message}"
        except Exception as error:  # noqa: BLE001 - whatever it is, no operator should see it
            ended = problem = f"{type(error).__name__}, which no operator understands: {error}"
        if not disturber.met:
            problem = "it was not made the second time"
        elif fault.passes and ended and not (call.way is Way.COMMAND and changes_something(call.name, call.way)):
            problem = f"it passes, and ended the run: {ended}"
        try:
            if ended:
                self._perform(*self.journey.steps())
            else:
                count.at_once += 1
            if (now := self._world()) != self._end:
                problem = problem or f"the world is another:\n{difference(self._end, now)}"
        except Exception as error:  # noqa: BLE001 - as above
            problem = problem or f"the next run: {type(error).__name__}: {error}"
        if problem:
            count.failures.append(f"{self.journey.name}: {call}: {name}: {problem}")

    def _require_nothing_to_do(self) -> None:
        """The world of an undisturbed journey is one in which the next run changes nothing; so is each that equals it."""
        sent = Disturber()
        with standing(sent):
            seen = self._perform(*(self.journey.again or self.journey.steps)())
        assert not [call for call in sent.calls if changes_something(call.name, call.way)]
        assert set(seen.outcomes) <= {Outcome.UNCHANGED, Outcome.VERIFIED, Outcome.SKIPPED}

    def _perform(self, *asked: Step) -> Watcher:
        with through(self.journey.door, self._access):
            book, seen = open_book(Watcher())
            book.cloud.attempts.first = book.cloud.attempts.longest = 0.001
            perform(book, *asked)
        return seen

    def _as_if_never_used(self) -> None:
        """The APIs are off; what else there is in a new project the sandbox has written down by now."""
        with closing(sqlite3.connect(self._state, timeout=30)) as state:
            state.execute(
                "DELETE FROM enabled_service WHERE name LIKE 'artifactregistry.%' OR name LIKE 'secretmanager.%'"
            )
            state.commit()

    def _world(self) -> object:
        """What there is, without what differs from run to run."""

        def rows(query: str) -> list[str]:
            if query.partition(" FROM ")[2].split()[0] not in tables:
                return []
            found = [json.dumps(masked([_plain(cell) for cell in row]), sort_keys=True) for row in state.execute(query)]
            return sorted(re.sub(r"(version-|versions/|\"number\": )\d+", r"\1N", one) for one in found)

        with closing(sqlite3.connect(self._state, timeout=30)) as state:
            tables = _tables(state, "main")
            latest = "sequence = (SELECT max(sequence) FROM policy AS later WHERE later.resource = policy.resource)"
            told = {
                "apis": rows("SELECT name FROM enabled_service"),
                "agents": rows("SELECT service FROM service_agent"),
                "repositories": rows("SELECT location, id, document FROM repository"),
                "secrets": rows("SELECT id, document FROM secret"),
                "versions": rows(
                    "SELECT secret, json_extract(document, '$.state') FROM secret_version WHERE sealed NOT NULL"
                ),
                "grants": rows(f"SELECT resource, body FROM policy WHERE {latest}"),
                "identities": rows("SELECT name, description, email FROM cg_identity"),
                "roles": rows("SELECT name, description, capabilities FROM cg_role"),
                # One that is there twice gives no more, and goes with its identity.
                "bindings": rows(
                    "SELECT DISTINCT cg_identity.name, role FROM cg_binding JOIN cg_identity ON cg_identity.id = identity"
                ),
            }
        if not told["secrets"]:
            return told
        with through(self.journey.door, self._access):
            now = state_of(open_book()[0].cloud, NAMES)
        return told, now.pair_is_taken_by_cgr_dev, now.token_is_the_one_in_use


def _plain(cell: Any) -> Any:
    try:
        found = json.loads(cell)
    except (ValueError, TypeError):
        return cell
    return {key: value for key, value in found.items() if key != "sizeBytes"} if isinstance(found, dict) else found


# What a sandbox holds from its beginning, and keeps.
_KEPT = re.compile(r"cgr_\w+|port|setting|access_token|sqlite_\w+")


def _put_back(earlier: Path, state: Path) -> None:
    """Make a sandbox's world what it was, row by row, while it runs."""
    with closing(sqlite3.connect(state, timeout=30, isolation_level=None)) as now:
        now.execute("ATTACH ? AS earlier", (str(earlier),))
        now.execute("BEGIN IMMEDIATE")
        then = _tables(now, "earlier")
        for table in _tables(now, "main"):
            if not _KEPT.fullmatch(table):
                now.execute(f"DELETE FROM main.{table}")
                if table in then:
                    now.execute(f"INSERT INTO main.{table} SELECT * FROM earlier.{table}")
        now.execute("COMMIT")


def _tables(state: sqlite3.Connection, schema: str) -> set[str]:
    return {name for (name,) in state.execute(f"SELECT name FROM {schema}.sqlite_master WHERE type = 'table'")}


@contextmanager
def lab(journey: Journey) -> Iterator[Lab]:
    """A sandbox of its own for a journey, on which nobody waits long."""
    with ExitStack() as around:
        folder = Path(around.enter_context(tempfile.TemporaryDirectory(prefix="every-call-")))
        home = around.enter_context(sandbox_home(folder / "home"))
        around.enter_context(chainctl_without_a_process())
        around.enter_context(patch.object(google_service, "_FIRST_LOOK", 0.001))
        yield Lab(home, journey)


def disturb_all(name: str, share: float = 1.0) -> Count:
    """Disturb every call of a journey.

    Args:
        share: how much of it is tried, by chance.
    """
    begun = time.monotonic()
    with lab(JOURNEYS[name]) as there:
        count = there.count()
        for case in there.cases():
            if random.random() < share:
                there.try_one(*case, count)
    print(f"{name}: {count} ({time.monotonic() - begun:.0f} s)", *count.failures, sep="\n  ", flush=True)
    return count


def main(asked: Sequence[str] = (), share: float = 1.0) -> int:
    """Disturb every call of some journeys, or of all, and print what came of it; 1 where something did not converge."""
    alone = multiprocessing.get_context("spawn")  # each has its sandbox in its own environment
    with ProcessPoolExecutor(os.cpu_count(), alone) as side_by_side:
        counts = [*side_by_side.map(partial(disturb_all, share=share), asked or JOURNEYS)]
    together = Count(
        calls=sum(one.calls for one in counts),
        changing=sum(one.changing for one in counts),
        disturbances=sum(one.disturbances for one in counts),
        at_once=sum(one.at_once for one in counts),
        failures=[failure for one in counts for failure in one.failures],
    )
    print(f"together: {together}")
    return int(bool(together.failures))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], float(os.environ.get("SHARE", "1"))))
