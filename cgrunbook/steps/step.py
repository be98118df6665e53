"""What every step is: a plan found by reading the world, the changes it makes, and the evidence read back afterwards.

It knows the shape of steps, their plans and results, and none of the guide's own steps, no notebook and no front end.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar

from cgrunbook.cloud import Cloud

GUIDE = "https://edu.chainguard.dev/chainguard/chainguard-registry/pull-through-guides/artifact-registry-pull-through/"

CONSOLE = "https://console.cloud.google.com"

KNOWN_AFTER_APPLY = "(known after apply)"

# The label that marks what cgrunbook made: only what bears it is ever deleted.
MANAGED_BY = ("managed-by", "cgrunbook")


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
    """What came of a step."""

    UNCHANGED = "unchanged"
    CREATED = "created"
    UPDATED = "updated"
    DELETED = "deleted"
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
        outcome: what the step's outcome will be when the plan is applied.
        changes: each field that will differ afterwards.
        commands: the same as shell commands, for the guide's reader; never with a secret in them.
        makes: names of resources that later steps may count on (see `World.expects`).
        notes: what the operator should know before agreeing.
    """

    outcome: Outcome = Outcome.UNCHANGED
    changes: tuple[Change, ...] = ()
    commands: tuple[str, ...] = ()
    makes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        """Nothing is to be done."""
        return not self.changes


class Mark(StrEnum):
    """How a check came out."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Finding:
    """One check: what was looked at, what was seen, and what to do about it.

    Args:
        mark: ok, warn or fail.
        check: what was looked at.
        seen: what was there.
        remedy: what to do; empty when all is well.
        prerequisite: a fail that means something must exist or be granted first (exit code 3), not that a step failed.
    """

    mark: Mark
    check: str
    seen: str
    remedy: str = ""
    prerequisite: bool = False


@dataclass(frozen=True)
class Evidence:
    """What was read back after a step.

    Args:
        brief: one line for a table.
        facts: names and plain values, in the order in which a person wants them.
        findings: the checks, when the step is one that checks.
        commands: how the same can be looked at by hand.
    """

    brief: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    commands: tuple[str, ...] = ()

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


@dataclass(frozen=True)
class World:
    """What a step works on.

    Args:
        cloud: the outside world.
        expected: what steps before this one would have made, in `mode="plan"`; empty otherwise.
        progress: told how far a step has come.
    """

    cloud: Cloud
    expected: Collection[str] = frozenset()
    progress: Callable[[Progress], None] = lambda _: None

    def expects(self, name: str) -> bool:
        """Whether an earlier step of this plan would have made it."""
        return name in self.expected


class Step(ABC):
    """One thing that the guide tells the operator to do.

    A step is given all it needs when it is made, reads the world in `plan`, changes it in `apply` and proves in
    `verify` what is there. It can be performed at any time, any number of times.
    """

    section: ClassVar[Section]
    """Where the guide asks for it."""
    why: ClassVar[str]
    """Why the guide asks for it, in a sentence."""

    subject: str = ""
    """What it works on, by the service's name, where a reader of the record must tell one of a kind from another."""

    held_back: str = ""
    """Why the plan is only shown and not applied, as a sentence; empty when nothing holds it back."""

    @property
    @abstractmethod
    def title(self) -> str:
        """What the step does, as an instruction: `Create the remote repository chainguard-pull-through`."""

    def console(self, world: World) -> str:
        """The address of the page of Google Cloud's console that shows what the step works on; "" for none."""
        return ""

    @abstractmethod
    def plan(self, world: World) -> Plan:
        """Read the world and say what would change; change nothing.

        Raises:
            PrerequisiteMissing: what the step builds on is neither there nor expected.
        """

    @abstractmethod
    def apply(self, world: World, plan: Plan) -> None:
        """Make the changes of the plan."""

    @abstractmethod
    def verify(self, world: World) -> Evidence:
        """Read the world back and answer what is there.

        Raises:
            StepFailed: what is there is not what the step is for.
        """


class Proof(Step):
    """A step that changes nothing the guide speaks of: it looks, and fails when what it sees is not as it should be."""

    waits_for_apply: ClassVar[bool] = False
    """Whether the look costs so much (a pull) that `mode="plan"` leaves it out."""

    def plan(self, world: World) -> Plan:
        """Nothing is to be done."""
        return Plan()

    def apply(self, world: World, plan: Plan) -> None:
        """Never called: the plan is empty."""
        raise NotImplementedError
