"""What every step is: a plan found by reading the world, the changes it makes, and the evidence read back afterwards.

It knows the shape of steps, their plans and results, and none of the guide's own steps, no notebook and no front end.
"""

from __future__ import annotations

import shlex
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial
from threading import RLock
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from cgrunbook.cloud import Cloud
from cgrunbook.errors import ApiDisabled, CgrunbookError, NotFound, ParameterError
from cgrunbook.redaction import one_line

if TYPE_CHECKING:
    from cgrunbook.cloud.artifact_registry import Everywhere, RemoteRepository, Stored
    from cgrunbook.cloud.chainguard import ListedToken
    from cgrunbook.cloud.docker import SignIn
    from cgrunbook.cloud.iam_policy import Policy
    from cgrunbook.cloud.secret_manager import SecretResource, SecretVersion

T = TypeVar("T")

GUIDE = "https://edu.chainguard.dev/chainguard/chainguard-registry/pull-through-guides/artifact-registry-pull-through/"

CONSOLE = "https://console.cloud.google.com"

KNOWN_AFTER_APPLY = "(known after apply)"

# The label that marks what cgrunbook made: only what bears it is ever deleted.
MANAGED_BY = {"managed-by": "cgrunbook"}


class Section(StrEnum):
    """The guide's sections; the value is the heading's anchor on its page."""

    PREREQUISITES = "prerequisites"
    DEVELOPER_IMAGES = "setting-up-google-artifact-registry-as-a-pull-through-for-developer-images"
    TESTING_DEVELOPER = "testing-pull-through-of-a-chainguard-developer-image"
    PRODUCTION_IMAGES = "setting-up-google-artifact-registry-as-a-pull-through-for-production-images"
    TESTING_PRODUCTION = "testing-pull-through-of-a-chainguard-production-image"
    DEBUGGING = "debugging-pull-through-from-the-chainguard-registry-to-google-artifact-registry"

    @property
    def link(self) -> str:
        """The address of the section on the vendor's site."""
        return f"{GUIDE}#{self.value}"


class Outcome(StrEnum):
    """What came of a step: `unchanged` is a change that was not needed, and a proof or check is `verified`.

    A check of which nothing could be looked at is `not checked`, and what nobody asked for `skipped`.
    """

    UNCHANGED = "unchanged"
    CREATED = "created"
    UPDATED = "updated"
    DELETED = "deleted"
    VERIFIED = "verified"
    NOT_CHECKED = "not checked"
    SKIPPED = "skipped"
    PLANNED = "planned"
    DECLINED = "declined"
    FAILED = "failed"


@dataclass(frozen=True)
class Change:
    """One field of one resource, before and after.

    Args:
        resource: what is changed, in the service's own words: `repository chainguard-private`.
        field: which of its fields; empty when the resource comes into being or goes as a whole.
        before: plain data; None when it is not there.
        after: the same; `KNOWN_AFTER_APPLY` when only the service can say.
    """

    resource: str
    field: str
    before: Any
    after: Any


@dataclass(frozen=True)
class Plan:
    """What a step would change; empty when nothing is to be done.

    Args:
        outcome: what the step's outcome will be when the plan is applied, and what it is when nothing is to be done.
        changes: each field that will differ afterwards.
        commands: the same as shell commands, for the guide's reader; never with a secret in them.
        makes: names of resources that later steps may count on (see `World.expects`).
        notes: what the operator should know before agreeing.
        lost: what cannot be had back afterwards, as sentences, as far as the services tell. It may be another the next
            moment, and is no part of what is agreed to.
    """

    outcome: Outcome = Outcome.UNCHANGED
    changes: tuple[Change, ...] = ()
    commands: tuple[str, ...] = ()
    makes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    lost: tuple[str, ...] = field(default=(), compare=False)

    @property
    def empty(self) -> bool:
        """Nothing is to be done."""
        return not self.changes


class Mark(StrEnum):
    """How a check came out."""

    OK = "ok"
    TO_DO = "to do"
    WARN = "warn"
    FAIL = "fail"
    NOT_CHECKED = "not checked"


class Link(StrEnum):
    """The codes of findings that speak of a link of an image's way."""

    PUBLIC_REPOSITORY = "public-repository"
    PRIVATE_REPOSITORY = "private-repository"
    GRANT = "grant"
    PULL_TOKEN = "pull-token"  # noqa: S105 - no password, the name of a check


@dataclass(frozen=True)
class Finding:
    """One check: what was looked at, what was seen, and what to do about it.

    Args:
        mark: ok, to do (nothing is wrong: a later notebook sees to it, or whoever wants it), warn, fail, or that it could not
            be looked at.
        check: what was looked at.
        seen: what was there.
        remedy: what to do; empty when all is well.
        prerequisite: a fail that means something must exist or be granted first (exit code 3), not that a step failed.
        code: which check it is, where others go by it; never by its words.
        reason: in which of the ways it failed in which that check can; a code too.
        resource: what it is about, where that is not the whole target: `repository chainguard-private`.
        way: the repository on whose images' way it is; "" for what all have in common.
        because: the code of the check that explains it.
    """

    mark: Mark
    check: str
    seen: str
    remedy: str = ""
    prerequisite: bool = False
    code: str = ""
    reason: str = ""
    resource: str = ""
    way: str = ""
    because: str = ""


@dataclass(frozen=True)
class Evidence:
    """What was read back after a step.

    Args:
        brief: one line for a table.
        facts: names and plain values, in the order in which a person wants them.
        findings: the checks, when the step is one that checks.
        commands: how the same can be looked at by hand.
        measured: the names of those facts that are others each time, such as durations.
        failure: what failed checks come to, where that says more than each of them.
    """

    brief: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    commands: tuple[str, ...] = ()
    measured: tuple[str, ...] = ()
    failure: CgrunbookError | None = None

    @property
    def in_brief(self) -> str:
        """One line for a table: what the step says, or how its checks came out."""
        if self.brief:
            return self.brief
        counts = [(mark, sum(finding.mark is mark for finding in self.findings)) for mark in Mark]
        return ", ".join(f"{count} {mark.value}" for mark, count in counts if count)


@dataclass(frozen=True)
class Progress:
    """How far something that takes over a second has come.

    Args:
        text: what is being done.
        done: how much of it, in `unit`; None when it cannot be said.
        total: of how much.
        unit: `bytes` or `seconds`.
        detail: what more can be said, such as "2 of 5 layers"; it may change while `text` stays.
    """

    text: str
    done: float | None = None
    total: float | None = None
    unit: str = "bytes"
    detail: str = ""


def in_bytes(count: float) -> str:
    """A number of bytes as a person reads it: `1.4 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def counted(number: int, what: str) -> str:
    """A number of things in words: `1 change`, `2 changes`."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def differences(
    resource: str,
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any],
    *,
    made: str = "",
    words: Mapping[str, Callable[[Any], str]] | None = None,
) -> list[Change]:
    """The changes between two sets of fields, a mapping's by its keys; in the order of the second.

    Values are compared and words only shown: words may say less.

    Args:
        before: None where the resource comes into being; then all fields that say something are named.
        made: what is said of a resource that comes into being, as a whole.
        words: how the value of a field, or each of a mapping's, is shown where it is no plain data.
    """

    def shown(name: str, value: Any) -> Any:
        say = (words or {}).get(name)
        if say is None or value is None:
            return value
        return {key: say(one) for key, one in value.items()} if isinstance(value, dict) else say(value)

    def change(field: str, name: str, old: Any, new: Any) -> Change:
        was, will_be = shown(name, old), shown(name, new)
        if old is not None and was == will_be:  # what makes them differ is not in the words
            was = f"{was} ({one_line(str(old))})"
        return Change(resource, field, was, will_be)

    if before is None:
        return [
            Change(resource, "", None, made),
            *(Change(resource, name, None, shown(name, new)) for name, new in after.items() if new),
        ]
    changes = []
    for name, new in after.items():
        old = before[name]
        if isinstance(new, dict):
            keys = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
            changes += [change(f"{name}.{key}", name, old.get(key), new.get(key)) for key in keys]
        elif old != new:
            changes.append(change(name, name, old if isinstance(old, bool) else old or None, new))
    return changes


def gcloud(words: str, world: World, flags: Iterable[str]) -> str:
    """A command of gcloud on lines.

    Args:
        words: what stands before the project: `secrets create demo`.
        world: whose project it is.
        flags: the shell's words already; empty ones are left out.
    """
    parts = [f"gcloud {words}", f"--project={world.cloud.connection.project_id}", *filter(None, flags)]
    return " \\\n  ".join(parts)


def quoted(flags: Iterable[str]) -> list[str]:
    """Flags as the shell's words."""
    return [shlex.quote(flag) for flag in flags if flag]


def labelled(labels: Mapping[str, str], asked: Iterable[str], *, ours: bool) -> dict[str, str]:
    """The labels of a resource with those that are asked for as `key=value`, and on what cgrunbook made its mark."""
    return {**labels, **dict(label.split("=", 1) for label in asked), **(MANAGED_BY if ours else {})}


def is_marked(labels: Mapping[str, str]) -> bool:
    """Whether labels say that cgrunbook made what bears them."""
    return labels.items() >= MANAGED_BY.items()


def labels_flag(before: Mapping[str, str] | None, after: Mapping[str, str]) -> str:
    """What gcloud takes for labels: all of a resource that comes into being (None), else those that change; "" for none."""
    changed = ",".join(f"{k}={v}" for k, v in sorted(after.items()) if before is None or before.get(k) != v)
    return f"--{'labels' if before is None else 'update-labels'}={changed}" if changed else ""


def expected_api(api: str) -> str:
    """How a plan names an API that a step before would have enabled."""
    return f"api {api}"


@dataclass(frozen=True)
class World:
    """What a step works on, and what it was told of it: what is asked for here is asked of the services once.

    A performance makes one for the plan; it serves the proof too, as long as nothing was changed.

    Args:
        cloud: the outside world.
        expected: what steps before this one would have made, in `mode="plan"`; empty otherwise.
        progress: told how far a step has come.
        seen: what `apply` saw and answered, for the proof.
    """

    cloud: Cloud
    expected: Collection[str] = frozenset()
    progress: Callable[[Progress], None] = lambda _: None
    seen: Mapping[str, Any] = field(default_factory=dict)
    _told: dict[Any, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    _asking: dict[Any, RLock] = field(default_factory=dict, init=False, repr=False, compare=False)

    def anew(self) -> World:
        """The same, to be asked for afresh."""
        return replace(self)

    def expects(self, name: str) -> bool:
        """Whether an earlier step of this plan would have made it."""
        return name in self.expected

    def at_once(self, *asks: Callable[[], object]) -> None:
        """Ask for things that do not depend on each other at the same time; what cannot be had is left to who asks next."""

        def attempt(ask: Callable[[], object]) -> None:
            with suppress(CgrunbookError):
                ask()

        with ThreadPoolExecutor() as side_by_side:
            list(side_by_side.map(attempt, asks))

    def api_enabled(self, api: str) -> bool:
        """Whether an API is on; for those who ask for just that, since a service whose API is off says so itself."""
        return self._once(self.cloud.project.api_enabled, api)

    def repository(self, name: str) -> RemoteRepository | None:
        """A repository of the location, None where there is none.

        Raises:
            ApiDisabled: the API is off, and no step before this one of the same plan would enable it.
        """
        return self._unless_off(self.cloud.repositories.get, name)

    def everywhere(self) -> Everywhere:
        """The repositories of all locations of the project, as far as they can be read."""
        return self._once(self.cloud.repositories.list_everywhere)

    def repositories(self) -> Everywhere:
        """The same as `everywhere` says, in one request where the service takes that."""
        return self._once(self.cloud.repositories.list_at_once)

    def secret(self, secret_id: str) -> SecretResource | None:
        """A secret without its values, None where there is none; raises as `repository`."""
        there = self._unless_off(self.cloud.secrets.get, secret_id)
        if there is not None:
            self.cloud.project.learn_number(there.name)
        return there

    def versions(self, secret_id: str) -> tuple[SecretVersion, ...]:
        """The versions of a secret that is there, the newest first."""
        return self._once(self.cloud.secrets.versions, secret_id)

    def stored(self, name: str) -> Stored:
        """What images a repository that is there holds."""
        return self._once(self.cloud.repositories.stored, name)

    def policy(self, secret_id: str) -> Policy | None:
        """Who has which role on a secret, None where there is no such secret; raises as `repository`."""
        try:
            return self._unless_off(self.cloud.secrets.get_policy, secret_id)
        except NotFound:
            return None

    def topic_policy(self, topic: str) -> Policy | None:
        """Who has which role on a Pub/Sub topic, None where there is no such topic."""
        return self._once(self.cloud.pubsub.get_policy, topic)

    def repository_policy(self, name: str) -> Policy:
        """Who has which role on a repository that is there; by its full name one of any location."""
        return self._once(self.cloud.repositories.get_policy, name)

    def project_policy(self) -> Policy:
        """Who has which role in the whole project."""
        return self._once(self.cloud.project.get_policy)

    def pull_tokens(self, organization: str) -> tuple[ListedToken, ...]:
        """An organisation's pull tokens."""
        return self._once(self.cloud.chainguard.list_pull_tokens, organization)

    def docker_sign_in(self, helper: str = "") -> SignIn:
        """What docker would send to the location's docker.pkg.dev, and whether it is taken there; see `Cloud`."""
        return self._once(self.cloud.docker_sign_in, helper)

    def organizations(self) -> tuple[str, ...]:
        """The names of the organisations that the caller sees at Chainguard."""
        return self._once(self.cloud.chainguard.organizations)

    def organization(self, given: str) -> str:
        """The organisation whose images are meant: the one given, the target's own, or the only one there is.

        Raises:
            ParameterError: there are several, or none.
        """
        if given or self.cloud.connection.organization:
            return given or self.cloud.connection.organization
        names = self.organizations()
        if len(names) == 1:
            return names[0]
        knows = f"{self.cloud.chainguard.name} knows"
        seen = f"{knows} {', '.join(names)}" if names else f"{knows} none"
        raise ParameterError(
            f"organization is empty, and {seen}.",
            "Give the one whose images you pull, as in cgr.dev/ORGANIZATION/chainguard-base, as the parameter organization.",
        )

    def in_project(self, project: str) -> World:
        """Another project of the same target, by its id or number, to be asked there; one for all who ask."""
        return self.once(("project", project), lambda: replace(self, cloud=self.cloud.of_project(project)))

    def once(self, about: Hashable, ask: Callable[[], T]) -> T:
        """What was answered, asked for once, by whichever thread is the first."""
        if about not in self._told:
            with self._asking.setdefault(about, RLock()):
                if about not in self._told:
                    self._told[about] = ask()
        answer: T = self._told[about]
        return answer

    def _once(self, ask: Callable[..., T], *about: str) -> T:
        return self.once((ask, *about), partial(ask, *about))

    def _unless_off(self, ask: Callable[..., T], *about: str) -> T | None:
        """The answer; None where the API is off that a step before this one of the same plan would enable."""
        try:
            return self._once(ask, *about)
        except ApiDisabled as off:
            if self.expects(expected_api(off.api)):
                return None
            raise


class Step(ABC):
    """One thing that the guide tells the operator to do.

    A step is given all it needs when it is made, and keeps nothing of what it sees. It reads the world in `plan`, changes
    it in `apply` and proves in `verify` what is there. It can be performed at any time, any number of times.
    """

    section: ClassVar[Section]
    """Where the guide asks for it."""
    why: ClassVar[str]
    """Why the guide asks for it, in a sentence."""
    title: str
    """What the step does, as an instruction: `Create the remote repository chainguard-pull-through`."""

    subject: str = ""
    """What it works on, by the service's name, where a reader of the record must tell one of a kind from another."""

    not_asked_for: str = ""
    """The parameter with which it would be asked for, where nobody did: then it is skipped. Empty when it was."""

    held_back: str = ""
    """Why the plan is only shown and not applied, as a sentence; empty when nothing holds it back."""

    console_page: str = ""
    """Which page of Google Cloud's console shows what the step works on: its address behind the host; empty for none."""

    @property
    def key(self) -> tuple[str, str, str]:
        """What tells it from other steps of its notebook, in the record too."""
        return type(self).__name__, self.title, self.subject

    def console(self, world: World) -> str:
        """The address of that page for the world's project, "" for none."""
        return f"{CONSOLE}/{self.console_page}?project={world.cloud.connection.project_id}" if self.console_page else ""

    @abstractmethod
    def plan(self, world: World) -> Plan:
        """Read the world and say what would change; change nothing.

        Raises:
            PrerequisiteMissing: what the step builds on is neither there nor expected.
        """

    @abstractmethod
    def apply(self, world: World, plan: Plan) -> Mapping[str, Any] | None:
        """Make the changes of the plan.

        Args:
            world: what the plan was made of; what is asked of it is as it was then.
            plan: what was agreed to.

        Returns:
            What was seen that cannot be read back afterwards, for `verify`.
        """

    @abstractmethod
    def verify(self, world: World) -> Evidence:
        """Read the world back and answer what is there.

        Args:
            world: what the plan was made of when it was empty, else a fresh one.

        Raises:
            StepFailed: what is there is not what the step is for.
        """


class Proof(Step):
    """A step that changes nothing the guide speaks of: it looks, and fails when what it sees is not as it should be."""

    waits_for_apply: bool = False
    """Whether the look costs so much (a pull) that `mode="plan"` leaves it out."""

    def plan(self, world: World) -> Plan:
        return Plan(Outcome.VERIFIED)

    def apply(self, world: World, plan: Plan) -> None:
        raise NotImplementedError  # the plan is empty
