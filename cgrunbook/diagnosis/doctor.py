"""A diagnosis: all checks at once, none longer than its time, and the verdict.

It knows how checks run, what is left out of them, and the form in which programs get what came of them. It changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as OutOfTime
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from cgrunbook.diagnosis import checks
from cgrunbook.diagnosis.checks import Case, Way, blind, finding
from cgrunbook.diagnosis.codes import CHECKS, PAGES, Code, Hop
from cgrunbook.diagnosis.readings import SECONDS, Readings, Unanswered, begun, crashed
from cgrunbook.diagnosis.verdict import Looked, Verdict, verdict
from cgrunbook.errors import CgrunbookError, NotSignedIn
from cgrunbook.image_reference import Platform
from cgrunbook.steps.pulling import image_of
from cgrunbook.steps.step import Finding, Mark, World
from cgrunbook.steps.token_checks import Levels

if TYPE_CHECKING:
    from cgrunbook.parameters import Parameters

# Seconds for what may pass by itself: long enough for a hiccup, and no more.
PATIENCE = 2.0

_PUBLIC = "chainguard"


@dataclass(frozen=True)
class Diagnosis:
    """What was looked at, and what it comes to.

    Args:
        ways: whose images' ways.
        who: the principal that pulls; "" for docker here.
        looked: in the order of the way.
        suppressed: what was found, and is not to be told of.
        left_out: the checks that were not asked for.
        at: when.
        seconds: how long it took.
    """

    ways: tuple[Way, ...]
    who: str
    looked: tuple[Looked, ...]
    suppressed: tuple[Looked, ...] = ()
    left_out: tuple[Code, ...] = ()
    at: datetime = field(default_factory=partial(datetime.now, UTC))
    seconds: float = 0.0

    @cached_property
    def verdict(self) -> Verdict:
        """What it comes to."""
        return verdict(self.looked)

    def as_json(self) -> dict[str, Any]:
        """All of it as plain data; nothing secret is in it."""
        found = self.verdict
        return {
            "at": self.at.isoformat(timespec="seconds"),
            "seconds": round(self.seconds, 2),
            "exit_code": int(found.exit_code),
            "means": found.exit_code.means,
            "as": self.who or "docker here",
            "ways": [{"repository": way.repository, "image": way.what} for way in self.ways],
            "verdict": {
                "mark": found.mark.value,
                "text": found.text,
                "causes": [
                    {
                        **_as_json(cause.looked),
                        "mark": cause.mark.value,
                        "remedy": cause.remedy,
                        "also": [_named(one) for one in cause.also],
                        "explains": [_named(one) for one in cause.consequences],
                    }
                    for cause in found.causes
                ],
            },
            "checks": [_as_json(one) for one in self.looked],
            "suppressed": [_named(one) for one in self.suppressed],
            "left_out": [code.value for code in self.left_out],
        }


def ways_of(world: World, params: Parameters, image: str) -> tuple[Way, ...]:
    """Whose ways are gone: the named image's, or those of the target's first images of either kind.

    Raises:
        ParameterError: the image's name breaks its rule, or says no organisation and there are several.
    """
    if image:
        reference = image_of(world, image, params.organization)
        name = params.repository if reference.organization == _PUBLIC else params.private_repository
        return (Way(name, reference),)
    kinds = ((params.repository, params.developer_images), (params.private_repository, params.production_images))
    return ways_through(world, {name: images[0] for name, images in kinds if images}, params.organization)


def ways_through(world: World, images: Mapping[str, str], organization: str) -> tuple[Way, ...]:
    """The ways of images nobody has asked for by name, by their repositories, the last one first.

    Where it is not known which organisation is meant, its image is not, and all else is looked at.
    """

    def of(repository: str, image: str) -> Way:
        try:
            return Way(repository, image_of(world, image, organization), asked=False)
        except CgrunbookError as error:
            return Way(repository, error, asked=False)

    return tuple(of(*both) for both in [*images.items()][::-1])


def diagnose(
    world: World,
    ways: tuple[Way, ...],
    *,
    who: str = "",
    operator: bool = False,
    organization: str = "",
    platform: str = "linux/amd64",
    levels: Levels | None = None,
    only: Collection[Code] = (),
    skip: Collection[Code] = (),
    suppress: Collection[tuple[Code, str]] = (),
    seconds: float = SECONDS,
) -> Diagnosis:
    """Look at all of it.

    Args:
        world: the target.
        ways: the images' ways.
        who: the principal that pulls, as IAM writes it; "" for docker here.
        operator: whether it is looked at, too, what the caller may change: no image needs that.
        organization: whose pull tokens they are, where a username does not say it.
        platform: whose manifest and config are fetched.
        levels: how many days left of a token are too few.
        only: these checks; none for all.
        skip: without these.
        suppress: a check's code and a resource, "" for each: what is found there is only counted.
        seconds: for each reading; all of it ends within twice as long, and two more.
    """
    started, at = time.monotonic(), datetime.now(UTC)
    wanted = frozenset(code for code in Code if (not only or code in only) and code not in skip)
    case = Case(
        world,
        Readings(seconds),
        ways,
        who=who,
        operator=operator,
        levels=levels or Levels(),
        organization=organization,
        platform=Platform(platform),
    )
    try:
        found = [*_made(_jobs(case, wanted), 2 * seconds + 2.0)]  # two readings, one after the other, and a little
    except KeyboardInterrupt:
        world.cloud.attempts.cancelled.set()  # nobody waits for the other answers
        raise
    known = case.readings.known()
    for code in wanted & checks.OF_ALL.keys():
        found += _guarded(_Job(partial(checks.OF_ALL[code], case, known), (code,)), time.monotonic())
    world.cloud.attempts.cancelled.set()  # what is still waited for is of no use any more
    looked = sorted((one for one in found if one.code in wanted), key=_place)
    hidden = [one for one in looked if _is_in(one, suppress)]
    return Diagnosis(
        ways,
        who,
        tuple(one for one in looked if one not in hidden),
        tuple(one for one in hidden if one.finding.mark is not Mark.OK),
        tuple(code for code in Code if code not in wanted),
        at,
        time.monotonic() - started,
    )


def signed_out(error: NotSignedIn) -> Diagnosis:
    """The diagnosis where nobody can ask anything: there are no credentials."""
    return Diagnosis(
        (), "", (Looked(finding(Code.CALLER, Mark.FAIL, error.message, error.remedy, reason="signed-out")),)
    )


@dataclass(frozen=True)
class _Job:
    """Checks that are made together.

    Args:
        look: makes them.
        codes: which they are.
        way: the repository on whose way they are; "" for what all have in common.
    """

    look: Callable[[], Iterable[Finding]]
    codes: tuple[Code, ...]
    way: str = ""

    def begun(self, at: float) -> tuple[_Job, Future[list[Looked]]]:
        """Itself, under way."""
        return self, begun(partial(_guarded, self, at), f"checks {self.codes[0]}")


def _jobs(case: Case, wanted: Collection[Code]) -> list[_Job]:
    """All checks of a target's ways."""
    jobs = [_Job(partial(look, case), codes) for look, codes in checks.ONCE.items()]
    jobs += [
        _Job(partial(look, case, way), codes, way.repository)
        for look, codes in checks.OF_A_WAY.items()
        for way in case.ways
    ]
    return [job for job in jobs if {*job.codes} & {*wanted}]


def _made(jobs: Iterable[_Job], seconds: float) -> Iterator[Looked]:
    """What came of checks that are made side by side, or that nothing did in time."""
    at = time.monotonic()
    for job, future in [job.begun(at) for job in jobs]:
        try:
            yield from future.result(max(0.0, at + seconds - time.monotonic()))
        except OutOfTime:
            late = Unanswered(f"Not done within {seconds:.0f} s.", "Look at what is slow, and ask again.")
            yield from (Looked(blind(code, late), job.way, time.monotonic() - at) for code in job.codes)


def _guarded(job: _Job, at: float) -> list[Looked]:
    """What came of one job; what ended it is said of each of its codes that it had not spoken of."""
    found: list[Looked] = []
    problem: CgrunbookError | None = None
    try:
        for one in job.look():
            found.append(Looked(one, job.way, time.monotonic() - at))  # noqa: PERF401 - what came before an error is kept
    except CgrunbookError as error:
        problem = error
    except Exception as error:  # noqa: BLE001 - a check's defect ends no other
        problem = crashed(f"The check {job.codes[0]}", error)
    told = {one.code for one in found}
    unseen = [code for code in job.codes if code not in told] if problem else []
    return [*found, *(Looked(blind(code, problem), job.way, time.monotonic() - at) for code in unseen if problem)]


def _place(one: Looked) -> tuple[int, int, str]:
    hops = [*Hop]
    return hops.index(CHECKS[one.code].hop), [*Code].index(one.code), one.way


def _is_in(one: Looked, suppress: Collection[tuple[Code, str]]) -> bool:
    return any(one.code is code and resource in ("", one.finding.resource) for code, resource in suppress)


def _named(one: Looked) -> dict[str, str]:
    finding = one.finding
    return {
        "code": finding.code,
        "reason": finding.reason,
        "resource": finding.resource,
        "way": one.way,
        "mark": finding.mark.value,
    }


def _as_json(one: Looked) -> dict[str, Any]:
    finding, about = one.finding, CHECKS[one.code]
    reason = about.reasons.get(finding.reason)
    return {
        **_named(one),
        "link": about.hop.value,
        "check": finding.check,
        "seen": finding.seen,
        "remedy": finding.remedy,
        "notebook": reason.notebook if reason else "",
        "sure": reason.sure.value if reason else "" if finding.mark is Mark.NOT_CHECKED else "certain",
        "seconds": round(one.seconds, 2),
        "page": f"{PAGES}#{finding.code}",
    }
