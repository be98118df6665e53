"""The way an image takes, from the client through Artifact Registry to cgr.dev, and how each link of it was found.

It knows which step of a run speaks for which link. It reads the record, and does not know how a route is drawn.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from cgrunbook.run.record import FindingRecord, Record, StepRecord
from cgrunbook.steps.step import Finding, Mark
from cgrunbook.steps.step import Link as OnMap

# What the links join.
_PULL, _UPSTREAM = "a client to the repository", "the repository to cgr.dev"
_GRANT, _TOKEN = "Artifact Registry's service agent to the secret", "the pull token in the secret to cgr.dev"

# The step that lets a repository sign in with another pull token.
ROTATION = "RotatePullToken"

# What a pull is that showed what it was to show; in records of format 1 no word was of its own.
PROVED = ("verified", "unchanged")


class State(Enum):
    """How a link was found: a glyph and a word, so that no colour has to say it, and how it stands."""

    PROVED = ("✓", "proved", "good")
    MADE = ("✓", "made", "good")
    THERE = ("✓", "there", "good")
    PLANNED = ("?", "planned", "planned")
    DECLINED = ("-", "declined", "open")
    FAILED = ("✗", "failed", "bad")
    BROKEN_OFF = ("!", "did not end", "bad")
    TO_DO = ("·", "to do", "later")
    AMISS = ("!", "not as it should be", "bad")
    NOT_SEEN = ("…", "not looked at", "open")
    FOLLOWS = ("…", "because of another", "open")

    @property
    def words(self) -> str:
        """Glyph and word."""
        return f"{self.value[0]} {self.value[1]}"

    @property
    def tone(self) -> str:
        """`good`, `bad`, `planned`, `later` or `open`."""
        return self.value[2]


@dataclass(frozen=True)
class Link:
    """One link of the route: what it joins, and what the run saw there; nothing when it did not look."""

    state: State
    between: str
    said: str = ""


@dataclass(frozen=True)
class Route:
    """The way of the images of one repository.

    Args:
        images: which they are, such as "Developer images".
        repository: the remote repository's name.
        host: the registry's host that clients pull from; "" when nothing says.
        secret: the secret's id; "" for a repository that does not sign in.
        pull: client to repository.
        upstream: repository to cgr.dev.
        grant: repository to secret; None without one.
        token: secret to cgr.dev, the pull token in it; None without one.
    """

    images: str
    repository: str
    host: str
    secret: str
    pull: Link
    upstream: Link
    grant: Link | None = None
    token: Link | None = None

    @property
    def links(self) -> tuple[Link, ...]:
        """All of them, in the order in which an image is asked for."""
        return tuple(link for link in (self.pull, self.grant, self.token, self.upstream) if link is not None)


def routes_of(record: Record) -> tuple[Route, ...]:
    """The routes that a run set up, proved or planned.

    Returns:
        The one of developer images, the one of production images, or one for both where they share a repository; where the
        run did nothing about them, as far as its map shows them.
    """
    routes = []
    public, private, secret = (_parameter(record, name) for name in ("repository", "private_repository", "secret_id"))
    steps = [step for step in record.last_steps if step.outcome != "skipped"]
    in_public = _of(steps, "CreateRemoteRepository")
    in_private = _of(steps, "CreatePrivateRepository")
    keeping = _of(steps, "StorePullToken"), _of(steps, "GrantSecretAccess")
    shared = public == private and any((in_private, *keeping))
    host = f"{record.target.get('location', '')}-docker.pkg.dev" if record.target.get("location") else ""
    if in_public and not shared:
        pulls = _pulls(steps, public)
        routes.append(Route("Developer images", public, host, "", _pull(pulls, steps), _upstream(in_public, pulls)))
    rotated = _of(steps, ROTATION)
    if rotated and not (in_private or any(keeping)):
        routes.append(_of_rotation(rotated, private, host, secret, f"{record.target.get('location', '')}/{private}"))
    elif in_private or any(keeping):
        pulls = _pulls(steps, private)
        routes.append(
            Route(
                "All images" if shared else "Production images",
                private,
                host,
                secret,
                _pull(pulls, steps),
                _upstream(in_private, pulls),
                _link(_GRANT, keeping[1]),
                _link(_TOKEN, rotated if rotated and rotated.undone else keeping[0]),
            )
        )
    if not routes and (looked := _of(steps, "FindCause")):
        return routes_of_findings(looked.findings)
    if not routes and (shown := _of(steps, "ShowMap")):
        return _on_map(shown, (public, private, secret), host)
    return tuple(routes)


def _of_rotation(rotated: StepRecord, private: str, host: str, secret: str, place: str) -> Route:
    """What a rotation shows: with what it proved the new token with, Artifact Registry has gone all of its way.

    A client's way is another: what was fetched are manifests, and where all was cached a refusal that only cgr.dev can give.
    """
    proof = proofs_of(rotated).get(place, "")

    def link(between: str) -> Link:
        return Link(State.PROVED, between, proof) if proof else _link(between, rotated)

    pull, grant = Link(State.NOT_SEEN, _PULL), link(_GRANT) if proof else Link(State.NOT_SEEN, _GRANT)
    return Route("Production images", private, host, secret, pull, link(_UPSTREAM), grant, link(_TOKEN))


def proofs_of(rotated: StepRecord) -> Mapping[str, str]:
    """With what a rotation proved the new token, by `LOCATION/REPOSITORY`; nothing of one that is not done."""
    told = {} if rotated.undone else rotated.evidence.get("proved with")
    return {str(name): str(what) for name, what in told.items()} if isinstance(told, dict) else {}


def routes_of_findings(findings: Sequence[Finding | FindingRecord]) -> tuple[Route, ...]:
    """The ways that a diagnosis has looked at, each link as its checks found it; none of findings of another kind."""
    ways = dict.fromkeys(one.way for one in findings if one.way)
    return tuple(_diagnosed(way, [one for one in findings if one.way in ("", way)]) for way in ways)


def _diagnosed(way: str, findings: Sequence[Finding | FindingRecord]) -> Route:
    from cgrunbook.diagnosis.codes import CHECKS, Code, Hop  # which a notebook's opening need not wait for

    def link(between: str, *hops: Hop, also: Code | None = None, but: Code | None = None) -> Link:
        mine = [one for one in findings if one.code != but and (one.code == also or CHECKS[Code(one.code)].hop in hops)]
        amiss = [one for one in mine if one.mark != Mark.OK and not one.because]
        wrong = [one for one in amiss if one.mark in (Mark.FAIL, Mark.WARN) or (one.reason and one.mark != Mark.TO_DO)]
        if wrong:
            failed = next((one for one in wrong if one.mark == Mark.FAIL), None)
            return Link(State.FAILED if failed else State.AMISS, between, (failed or wrong[0]).seen)
        if by := next((one.because for one in mine if one.because), ""):
            return Link(State.FOLLOWS, between, f"see {by}")
        if not mine or any(one.mark == Mark.NOT_CHECKED for one in amiss):
            return Link(State.NOT_SEEN, between)
        return Link(State.PROVED, between, mine[-1].seen)

    secret = next((one.resource.partition(" ")[2] for one in findings if one.code == Code.GRANT and one.way), "")
    host = next((one.resource.partition(" ")[2] for one in findings if one.code == Code.DOCKER_LOGIN), "")
    pulling = (Hop.MACHINE, Hop.PULLER, Hop.REGISTRY, Hop.THROUGH)
    return Route(
        "Production images" if secret else "Developer images",
        way,
        host,
        secret,
        link(_PULL, *pulling, but=Code.UPSTREAM),
        link(_UPSTREAM, Hop.CGR, also=Code.UPSTREAM),
        link(_GRANT, Hop.SECRET) if secret else None,
        link(_TOKEN, Hop.TOKEN) if secret else None,
    )


def _on_map(shown: StepRecord, names: tuple[str, str, str], host: str) -> tuple[Route, ...]:
    """The ways as the map shows them, which looks at all but the client's."""
    public, private, secret = names
    marks = {"ok": State.THERE, "to do": State.TO_DO, "warn": State.AMISS}
    seen = {one.code: (marks.get(one.mark, State.NOT_SEEN), one.seen) for one in shown.findings if one.code}

    def link(code: OnMap, between: str) -> Link:
        state, said = seen.get(code, (State.NOT_SEEN, ""))
        return Link(state, between, "" if state is State.TO_DO else said)

    pull = Link(State.NOT_SEEN, _PULL, "a pull proves it")
    images = "All images" if public == private else "Production images"
    behind = link(OnMap.PRIVATE_REPOSITORY, _UPSTREAM), link(OnMap.GRANT, _GRANT), link(OnMap.PULL_TOKEN, _TOKEN)
    routes = [Route(images, private, host, secret, pull, *behind)]
    if public != private:
        routes.insert(0, Route("Developer images", public, host, "", pull, link(OnMap.PUBLIC_REPOSITORY, _UPSTREAM)))
    return tuple(routes) if seen else ()


def _parameter(record: Record, name: str) -> str:
    """What the run's notebooks were told, the last of them first."""
    given = (notebook.parameters.get(name) for notebook in reversed(record.notebooks))
    return str(next((value for value in given if value), ""))


def _of(steps: Iterable[StepRecord], kind: str) -> StepRecord | None:
    """The step of a kind, the one that is not done if there are several."""
    of_kind = [step for step in steps if step.kind == kind]
    return next((step for step in of_kind if step.undone), of_kind[-1] if of_kind else None)


def _pulls(steps: Iterable[StepRecord], repository: str) -> list[StepRecord]:
    """The pulls of images through a repository."""
    return [step for step in steps if step.kind == "PullImage" and step.subject == repository]


def _pull(pulls: Sequence[StepRecord], steps: Iterable[StepRecord]) -> Link:
    """Client to repository: what a pull showed, or else whether docker would be signed in."""
    if not pulls:
        signed_in = _of(steps, "SignDockerIn")
        seen = _link(_PULL, signed_in)
        return Link(seen.state, _PULL, f"docker signs in with {seen.said}" if seen.said else "")
    failed = [pull for pull in pulls if pull.outcome not in (*PROVED, "planned")]
    worst = (failed or pulls)[0]
    if failed or worst.outcome == "planned":
        return _link(_PULL, worst)
    count = f"{len(pulls)} images, " if len(pulls) > 1 else ""
    return Link(State.PROVED, _PULL, f"{count}{worst.brief}")


def _upstream(step: StepRecord | None, pulls: Sequence[StepRecord]) -> Link:
    """Repository to cgr.dev; whatever came through it came from there."""
    seen = _link(_UPSTREAM, step)
    if seen.state in (State.MADE, State.THERE) and pulls and all(pull.outcome in PROVED for pull in pulls):
        return Link(State.PROVED, seen.between, seen.said)
    return seen


def _link(between: str, step: StepRecord | None) -> Link:
    if step is None:
        return Link(State.NOT_SEEN, between)
    states = {
        "created": State.MADE,
        "updated": State.MADE,
        "deleted": State.MADE,
        "unchanged": State.THERE,
        "verified": State.PROVED,
        "not checked": State.NOT_SEEN,
        "planned": State.PLANNED,
        "declined": State.DECLINED,
        "failed": State.FAILED,
    }
    state = states.get(step.outcome or "", State.BROKEN_OFF)
    return Link(state, between, "" if state is State.DECLINED else step.brief)
