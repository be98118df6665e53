"""The diagnosis as a step of the notebook on debugging: all checks, then the verdict.

It knows how a verdict is said in a card. What is looked at, and what it comes to, the others of this floor know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from threading import Event
from typing import Any

from cgrunbook.cloud import Cloud
from cgrunbook.diagnosis.codes import Code
from cgrunbook.diagnosis.doctor import PATIENCE, Diagnosis, diagnose, ways_through
from cgrunbook.diagnosis.verdict import Cause, Looked
from cgrunbook.errors import CgrunbookError, PrerequisiteMissing, StepFailed
from cgrunbook.steps.step import Evidence, Finding, Mark, Proof, Section, World

# What has to be there, or be granted, before anything of the guide's.
_FIRST = (Code.CALLER, Code.PROJECT, Code.REGISTRY_API, Code.SECRETS_API, Code.REPOSITORY, Code.READER, Code.NETWORK)


class FindCause(Proof):
    """Look at the whole way of an image of each kind, and name the one cause of what is wrong.

    Args:
        developer_images: the first of them is looked for, through `repository`.
        production_images: the same, through `private_repository`.
        organization: for an image without namespace.
        platform: whose manifest and config are fetched.
    """

    section = Section.DEBUGGING
    why = "Artifact Registry, Secret Manager and cgr.dev each hide the others' reasons: only all of them together tell the cause."
    title = "Find what keeps images away"

    def __init__(
        self,
        developer_images: Sequence[str],
        production_images: Sequence[str],
        *,
        repository: str,
        private_repository: str,
        organization: str = "",
        platform: str = "linux/amd64",
    ) -> None:
        kinds = ((repository, developer_images), (private_repository, production_images))
        self.asked = {name: images[0] for name, images in kinds if images}
        self.organization = organization
        self.platform = platform

    def verify(self, world: World) -> Evidence:
        """Look; what is wrong is no error of the looking, and says itself what to do."""
        ways = ways_through(world, self.asked, self.organization)
        # A diagnosis has patience of its own, and stops what it no longer waits for.
        attempts = replace(world.cloud.attempts, limit=PATIENCE, cancelled=Event())
        own = World(Cloud(world.cloud.connection, attempts))
        found = diagnose(own, ways, organization=self.organization, platform=self.platform)
        return Evidence(facts=_verdict(found), findings=_findings(found), failure=_failure(found))


def _findings(found: Diagnosis) -> tuple[Finding, ...]:
    """Each check by its code, with whose way it is and what explains it."""
    because = {id(one): cause for cause in reversed(found.verdict.causes) for one in cause.consequences}

    def told(one: Looked) -> Finding:
        finding, cause = one.finding, because.get(id(one))
        about = one.way or finding.resource.partition(" ")[2]
        by = cause.looked.finding.code if cause else ""
        seen = f"because of {by}" if by and finding.mark is Mark.NOT_CHECKED else finding.seen
        remedy = "" if by else finding.remedy
        check = f"{finding.code}, {about}" if about else finding.code
        return replace(finding, check=check, seen=seen, remedy=remedy, way=one.way, because=by)

    return tuple(map(told, found.looked))


def _verdict(found: Diagnosis) -> Mapping[str, Any]:
    """The verdict as names and values: the first cause whole, the others in a row each."""
    amiss = [cause for cause in found.verdict.causes if cause.mark is not Mark.TO_DO]
    if not amiss:
        return {"verdict": found.verdict.text}
    first, *others = amiss
    facts = {
        "the root cause" if first.mark is not Mark.NOT_CHECKED else "could not be looked at": _named(first),
        "seen": first.looked.finding.seen,
        "what to do": first.remedy,
        "from it follows": ", ".join(dict.fromkeys(one.finding.code for one in first.consequences)),
        "then": [{"cause": _named(cause), "what to do": cause.remedy} for cause in others],
    }
    return {name: value for name, value in facts.items() if value}


def _named(cause: Cause) -> str:
    about = dict.fromkeys(one.finding.resource for one in (cause.looked, *cause.also) if one.finding.resource)
    return ", ".join((cause.name, *about))


def _failure(found: Diagnosis) -> CgrunbookError | None:
    """The error that the verdict is, None where nothing failed."""
    failed = [cause for cause in found.verdict.causes if cause.mark is Mark.FAIL]
    if not failed:
        return None
    kind = PrerequisiteMissing if failed[0].looked.code in _FIRST else StepFailed
    remedy = "\n".join(dict.fromkeys(cause.remedy for cause in failed))
    return kind("\n".join(f"{_named(cause)}: {cause.looked.finding.seen}" for cause in failed), remedy)
