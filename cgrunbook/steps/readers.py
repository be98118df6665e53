"""Who may pull through the private repository: a role on that repository alone, for those who are named, and nobody else.

It knows what is there under which condition, and that everybody is nobody to be named on a repository that signs in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from cgrunbook.cloud.artifact_registry import RemoteRepository
from cgrunbook.cloud.iam_policy import EVERYBODY, Policy, grant_command
from cgrunbook.errors import ParameterError, PrerequisiteMissing, StepFailed
from cgrunbook.parameters import refused_for_everybody
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
    counted,
    gcloud,
    labels_flag,
)

READER = "roles/artifactregistry.reader"

# On a repository of somebody else's, by label: whom cgrunbook let pull. Its own takes what it gave away with it.
GIVEN = "cgrunbook-reader-"


def given_to(there: RemoteRepository, policy: Policy) -> list[str]:
    """Who may pull through a repository since cgrunbook let them, as far as that is so still."""
    may = {member for one in policy.bindings if one.role == READER and not one.condition for member in one.members}
    return sorted(member for member in may if _mark(member) in there.labels)


def _mark(member: str) -> str:
    return f"{GIVEN}{hashlib.sha256(member.lower().encode()).hexdigest()[:16]}"


class LetPull(Step):
    """Let principals pull through a repository that has private images.

    Args:
        repository: the private one, or the virtual one over it; "" skips the step.
        members: as IAM writes them, such as "serviceAccount:NAME@PROJECT.iam.gserviceaccount.com"; nobody skips the step.
        everybody: whether `allUsers` and `allAuthenticatedUsers` may be among them.
    """

    section = Section.PRODUCTION_IMAGES
    why = "Whoever pulls needs a role on the repository: the nodes of a cluster, a build, a team. Here they get it there alone."
    console_page = "artifacts"

    def __init__(self, repository: str, members: Sequence[str], *, everybody: bool = False) -> None:
        if rule := refused_for_everybody(members, forced=everybody):
            raise ParameterError(f"readers: {rule}.", rules={"readers": rule})
        self.repository = self.subject = repository
        self.members = tuple(dict.fromkeys(members))
        self.not_asked_for = ("" if members else "readers") if repository else "virtual_repository"
        who = counted(len(self.members), "principal") if self.members else "others"
        self.title = f"Let {who} pull through {repository or 'one address'}"

    def plan(self, world: World) -> Plan:
        missing = self._missing(world)
        if not missing:
            return Plan()
        connection = world.cloud.connection
        on = (
            f"artifacts repositories add-iam-policy-binding {self.repository} --project={connection.project_id} "
            f"--location={connection.location}"
        )
        resource, notes = (
            f"repository {self.repository}",
            ["They may pull all that comes through it; who else may stays as it is."],
        )
        changes = [Change(resource, f"may be pulled through ({READER})", None, one) for one in missing]
        commands = [grant_command(on, member, READER) for member in missing]
        if marked := self._marked(world, missing):
            before, after = marked
            new = sorted(after.labels.keys() - before.labels.keys())
            changes += [Change(resource, "label", None, name) for name in new]
            labels = labels_flag(before.labels, after.labels)
            location = f"--location={connection.location}"
            commands.insert(0, gcloud(f"artifacts repositories update {self.repository}", world, [location, labels]))
            notes.append(
                "It is not cgrunbook's, so labels say whom it let pull: 06_teardown takes that away, and nobody else's right."
            )
        return Plan(Outcome.UPDATED, tuple(changes), tuple(commands), notes=tuple(notes))

    def apply(self, world: World, plan: Plan) -> None:
        members = self._missing(world)
        if marked := self._marked(world, members):
            world.cloud.repositories.update(*marked)
        world.progress(Progress(f"letting {counted(len(members), 'principal')} pull"))
        world.cloud.repositories.grant(self.repository, members, READER)

    def _missing(self, world: World) -> list[str]:
        """Those who have not the role, under whichever condition."""
        policy = self._policy(world)
        return [member for member in self.members if not (policy and policy.held(member, READER))]

    def _marked(self, world: World, members: Sequence[str]) -> tuple[RemoteRepository, RemoteRepository] | None:
        """Somebody else's repository as it is, and with labels that say whom cgrunbook let pull; None where it has all."""
        there = world.repository(self.repository)
        if there is None or made_by_cgrunbook(there):
            return None
        wanted = replace(there, labels={**there.labels, **{_mark(member): "given" for member in members}})
        return None if wanted == there else (there, wanted)

    def verify(self, world: World) -> Evidence:
        policy = self._policy(world)
        if policy is None:
            return Evidence("will be granted by then")
        if gone := [member for member in self.members if not policy.held(member, READER)]:
            raise StepFailed(
                f"{', '.join(gone)} may not pull through {self.repository} after it was granted.",
                "Somebody or something takes the role away (a policy controller?); find out who, then run again.",
            )
        all_of_them = {
            f"{member}{f', under the condition {binding.condition}' if binding.condition else ''}": binding
            for binding in policy.bindings
            if binding.role == READER
            for member in binding.members
        }
        findings = [
            Finding(
                Mark.NOT_CHECKED,
                f"{member} may pull",
                f"{' or '.join(map(str, policy.held(member, READER)))}: whether that holds, Google's IAM alone can tell",
                "It is left as it is.",
            )
            for member in self.members
            if not policy.grants(member, READER)
        ]
        findings += [
            Finding(
                Mark.WARN,
                f"{who} may pull",
                "everybody may pull your organisation's images",
                f"If that is not meant: gcloud artifacts repositories remove-iam-policy-binding {self.repository} "
                f"--project={world.cloud.connection.project_id} --location={world.cloud.connection.location} "
                f"--member={who} --role={READER} --condition=None",
            )
            for who in EVERYBODY
            if policy.held(who, READER)
        ]
        facts = {"role": f"{READER} on {self.repository} alone", "may pull": list(all_of_them)}
        return Evidence(f"{counted(len(all_of_them), 'principal')} in all", facts, tuple(findings))

    def _policy(self, world: World) -> Policy | None:
        """Who has which role on the repository; None where only a step before this one of the same plan would make it."""
        world.at_once(partial(world.repository, self.repository), partial(world.repository_policy, self.repository))
        if world.repository(self.repository) is None:
            if world.expects(expected_repository(self.repository)):
                return None
            raise PrerequisiteMissing(
                f"There is no repository {self.repository} in {world.cloud.connection.location}.",
                "Run 03_production_images from its beginning: it makes it.",
            )
        return world.repository_policy(self.repository)
