"""One address over the public and the private repository: a virtual repository, which holds nothing and asks both.

It knows which of the two is asked first and what that hides. What else somebody put behind the address stays.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from cgrunbook.cloud.artifact_registry import RemoteRepository, UpstreamPolicy
from cgrunbook.errors import DigestMismatch, InvalidRequest, ParameterError, PrerequisiteMissing, StepFailed
from cgrunbook.image_reference import Platform
from cgrunbook.steps.credential import same_name
from cgrunbook.steps.pulling import image_of, path_through
from cgrunbook.steps.repository import expected_repository, made_by_cgrunbook
from cgrunbook.steps.step import (
    Change,
    Evidence,
    Finding,
    Mark,
    Outcome,
    Plan,
    Progress,
    Section,
    Step,
    World,
    gcloud,
    labelled,
    labels_flag,
    quoted,
)

# The private one first: at the public one an organisation's image is refused, and whether Artifact Registry goes on
# after a refusal is not documented. It serves public images too, as long as its token lives.
_PRIVATE, _PUBLIC = 20, 10
_PUBLIC_IMAGE = "chainguard/static:latest"  # the smallest, and everybody's
_PURPOSE = "Public and private Chainguard images behind one address"


class CreateVirtualRepository(Step):
    """Create a virtual repository over the two remote ones, or bring an existing one to that.

    Args:
        repository: its name; "" skips the step.
        public: the repository for developer images.
        private: the one for production images; where it is the same, one is behind the address.
        images: the organisation's, without its name; the first proves the address, with a public one.
        platform: whose layers the proof fetches.
        organization: whose the private images are; empty takes the only one there is.
    """

    section = Section.PRODUCTION_IMAGES
    why = "Whoever pulls names one repository, whether an image is public or your organisation's."
    console_page = "artifacts"

    def __init__(
        self,
        repository: str,
        public: str,
        private: str,
        *,
        images: Sequence[str] = (),
        platform: str = "linux/amd64",
        organization: str = "",
    ) -> None:
        if repository in {public, private} - {""}:
            raise ParameterError(
                f"virtual_repository is {repository!r}, the name of a repository that is to be behind it.",
                "Give the one address a name of its own, such as chainguard.",
                rules={"virtual_repository": "must be another name than the two repositories'"},
            )
        self.repository = self.subject = repository
        self.behind = {private: _PRIVATE} if public == private else {private: _PRIVATE, public: _PUBLIC}
        self.images = ((public, _PUBLIC_IMAGE), *((private, image) for image in images[:1]))
        self.platform = Platform(platform)
        self.organization = organization
        self.not_asked_for = "" if repository else "virtual_repository"
        self.title = f"Put one address over {' and '.join(reversed(self.behind))}"

    def plan(self, world: World) -> Plan:
        world.at_once(*(partial(world.repository, name) for name in (self.repository, *self.behind)))
        for name in self.behind:
            if world.repository(name) is None and not world.expects(expected_repository(name)):
                raise PrerequisiteMissing(
                    f"There is no repository {name} in {world.cloud.connection.location} to put behind {self.repository}.",
                    "Run 02_developer_images for the public one, 03_production_images from its beginning for the private one.",
                )
        there = world.repository(self.repository)
        wanted = self._wanted(world, there)
        changes = self._changes(world, there, wanted)
        if not changes:
            return Plan()
        return Plan(
            Outcome.CREATED if there is None else Outcome.UPDATED,
            tuple(changes),
            (_command(world, there, wanted),),
            makes=(expected_repository(self.repository),),
            notes=self._notes(world, wanted),
        )

    def apply(self, world: World, plan: Plan) -> None:
        there = world.repository(self.repository)
        world.progress(Progress(f"{'creating' if there is None else 'changing'} the repository {self.repository}"))
        wanted = self._wanted(world, there)
        if there is None:
            world.cloud.repositories.create(wanted)
        else:
            world.cloud.repositories.update(there, wanted)

    def verify(self, world: World) -> Evidence:
        if world.expects(expected_repository(self.repository)):
            return Evidence("will be there by then")
        there = world.repository(self.repository)
        if there is None or self._changes(world, there, self._wanted(world, there)):
            raise StepFailed(f"The repository {self.repository} is not as it was made a moment ago.", "Run again.")
        proved = {f"{name}'s {image}": self._proof(world, name, image) for name, image in self.images}
        policies = sorted(there.upstream_policies, key=lambda policy: -policy.priority)
        connection = world.cloud.connection
        facts = {
            "address": f"{connection.artifact_registry_host.name}/{connection.docker_project}/{self.repository}",
            "behind it, the first to be asked first": [
                f"{self._ours(world, one) or one.repository} ({one.priority})" for one in policies
            ],
            **proved,
        }
        above = [one for one in policies if one.priority > _PRIVATE and not self._ours(world, one)]
        findings = [
            Finding(
                Mark.WARN,
                f"{one.repository} comes first",
                f"an image that it has under the same name is served in place of Chainguard's (priority {one.priority})",
                "If somebody else may put images there, give it a priority below 10, or take it out.",
            )
            for one in above
        ]
        return Evidence(f"{len(policies)} repositories behind one address", facts, tuple(findings))

    def _proof(self, world: World, behind: str, named: str) -> str:
        """Pull an image through the address, and see that it is what the repository behind has; answers the digest."""
        image = image_of(world, named, self.organization)
        registry = world.cloud.artifact_registry_host
        pulled = registry.pull(path_through(world, self.repository, image), image.reference, self.platform)
        own = registry.resolve(path_through(world, behind, image), image.reference).digest
        if pulled.digest != own:
            raise DigestMismatch(
                f"{image} is {pulled.digest} through {self.repository} and {own} through {behind}.",
                f"Another repository behind {self.repository} has an image of that name, or a tag moved just now: run again.",
            )
        return f"{pulled.digest}, the same through {behind}"

    def _ours(self, world: World, policy: UpstreamPolicy) -> str:
        """Which of the two a policy is about, "" for another repository."""
        name = world.cloud.repositories.name
        return next((one for one in self.behind if same_name(world, policy.repository, name(one))), "")

    def _wanted(self, world: World, there: RemoteRepository | None) -> RemoteRepository:
        ground = there or RemoteRepository(
            world.cloud.repositories.name(self.repository), description=_PURPOSE, mode="VIRTUAL_REPOSITORY"
        )
        if (ground.format, ground.mode) != ("DOCKER", "VIRTUAL_REPOSITORY"):
            raise InvalidRequest(
                f"There is a repository {self.repository} already, and it is another kind: {ground.format}, {ground.mode}. "
                "Artifact Registry cannot change these.",
                "Choose another name for virtual_repository, or delete that repository if nobody needs it.",
                debugging=2,
            )
        kept: dict[str, UpstreamPolicy] = {}
        found = set()
        for policy in ground.upstream_policies:
            ours = self._ours(world, policy)
            found.add(ours)
            kept[policy.id] = replace(policy, priority=self.behind[ours]) if ours else policy
        for name, priority in self.behind.items():
            if name in found:
                continue
            if name in kept:
                raise InvalidRequest(
                    f"{self.repository} has an upstream policy with the id {name}, and it is about {kept[name].repository}.",
                    "Give that policy another id, or choose another name for virtual_repository.",
                )
            kept[name] = UpstreamPolicy(name, world.cloud.repositories.name(name), priority)
        labels = labelled(ground.labels, (), ours=there is None or made_by_cgrunbook(there))
        return replace(ground, labels=labels, upstream_policies=tuple(kept.values()))

    def _changes(self, world: World, there: RemoteRepository | None, wanted: RemoteRepository) -> list[Change]:
        before = {one.id: one for one in there.upstream_policies} if there else {}
        resource = f"repository {self.repository}"
        changes = []
        if there is None:
            changes.append(Change(resource, "", None, f"virtual, in {world.cloud.connection.location}"))
        for policy in wanted.upstream_policies:
            was = before.get(policy.id)
            if was != policy:
                name = policy.repository.rpartition("/")[2]
                changes.append(
                    Change(resource, f"asks {name}, with the priority", was.priority if was else None, policy.priority)
                )
        return changes

    def _notes(self, world: World, wanted: RemoteRepository) -> tuple[str, ...]:
        private, public = next(iter(self.behind)), list(self.behind)[-1]
        notes = [
            f"An image that several have comes from the one with the highest priority, and hides the others': {private} is "
            f"asked first, {public} for what that has not. When the pull token ends, public images may fail at this address too.",
            "Whoever can put an image into a repository that is asked earlier can stand in for any image of the later ones, under "
            "its very name. So only repositories that nobody pushes into belong above these.",
            f"Who may read {self.repository} pulls from all that is behind it, whatever they may read there.",
        ]
        if others := [one for one in wanted.upstream_policies if not self._ours(world, one)]:
            there = ", ".join(f"{one.repository} ({one.priority})" for one in others)
            notes.append(f"Somebody else put behind it, and it stays: {there}.")
        return tuple(notes)


def _command(world: World, there: RemoteRepository | None, wanted: RemoteRepository) -> str:
    """gcloud takes the policies as a file; bash's `<(...)` makes one. It takes those away that are not in it."""
    policies = [
        {"id": one.id, "repository": one.repository, "priority": one.priority} for one in wanted.upstream_policies
    ]
    fixed = ("--repository-format=docker", "--mode=virtual-repository", f"--description={wanted.description}")
    flags = quoted([*(fixed if there is None else ()), labels_flag(there.labels if there else None, wanted.labels)])
    file = f"--upstream-policy-file=<(echo {shlex.quote(json.dumps(policies))})"
    verb, location = "update" if there else "create", f"--location={world.cloud.connection.location}"
    return gcloud(f"artifacts repositories {verb} {wanted.id}", world, [location, *flags, file])
