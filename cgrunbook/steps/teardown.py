"""Taking away what the runbook made, in the reverse order of making, and nothing else."""

from __future__ import annotations

from typing import Any, ClassVar

from cgrunbook.errors import CgrunbookError, ParameterError
from cgrunbook.steps.apis import ARTIFACT_REGISTRY, SECRET_MANAGER
from cgrunbook.steps.pull_token import organization_of, pairs, token_name
from cgrunbook.steps.repository import made_by_cgrunbook
from cgrunbook.steps.secret import made_by_cgrunbook as secret_made_by_cgrunbook
from cgrunbook.steps.step import CONSOLE, Change, Evidence, Outcome, Plan, Progress, Section, Step, World


class TearDown(Step):
    """Delete the repositories, revoke the pull tokens and delete the secret, as far as cgrunbook made them.

    Args:
        repository: the one for developer images.
        private_repository: the one for production images.
        secret_id: the secret.
        confirm: the name of `repository`; anything else, and nothing is deleted.
        organization: whose pull tokens are revoked; empty takes the only one there is.
    """

    section: ClassVar = Section.PRODUCTION_IMAGES
    why: ClassVar = "What nobody uses any more should not be there to be paid for, nor a token to be stolen."
    title = "Take away what the runbook made"

    def __init__(
        self, repository: str, private_repository: str, secret_id: str, *, confirm: str = "", organization: str = ""
    ) -> None:
        if confirm and confirm != repository:
            raise ParameterError(
                f"confirm is {confirm!r}, and repository is {repository!r}.",
                f"To delete what the runbook made, set confirm to {repository!r}; leave it empty to see what that would be.",
            )
        self.repositories = tuple(dict.fromkeys((private_repository, repository)))
        self.secret_id = secret_id
        self.confirm = confirm
        self.organization = organization
        if not confirm:
            self.held_back = f"Nothing was deleted: set confirm to {repository!r} to go on."

    def console(self, world: World) -> str:
        """The project's repositories."""
        return f"{CONSOLE}/artifacts?project={world.cloud.connection.project_id}"

    def plan(self, world: World) -> Plan:
        """What is there, and whose it is."""
        changes, commands, notes = [], [], []
        where = f"--project={world.cloud.connection.project_id} --location={world.cloud.connection.location}"
        for name in self._existing(world):
            if not self._ours(world, name):
                notes.append(f"The repository {name} stays: cgrunbook did not make it.")
                continue
            changes.append(Change(f"repository {name}", "", "with what it has cached", None))
            commands.append(f"gcloud artifacts repositories delete {name} {where} --quiet")
        secret = world.cloud.secrets.get(self.secret_id) if world.cloud.project.api_enabled(SECRET_MANAGER) else None
        if secret is not None and not secret_made_by_cgrunbook(secret):
            notes.append(f"The secret {self.secret_id} stays: cgrunbook did not make it.")
        elif secret is not None:
            for identity in self._tokens(world, notes):
                changes.append(Change(f"pull token {identity}", "", "live", None))
                commands.append(f"chainctl iam identities delete {identity} --yes")
            changes.append(Change(f"secret {self.secret_id}", "", "with all its versions", None))
            commands.append(
                f"gcloud secrets delete {self.secret_id} --project={world.cloud.connection.project_id} --quiet"
            )
        if changes:
            notes.append(
                "The APIs stay enabled and docker stays signed in: others may use them. "
                f"docker logout {world.cloud.connection.artifact_registry_host.address} ends the latter."
            )
            if self.held_back:
                notes.append(self.held_back)
        return Plan(
            Outcome.DELETED if changes else Outcome.UNCHANGED, tuple(changes), tuple(commands), notes=tuple(notes)
        )

    def apply(self, world: World, plan: Plan) -> None:
        """Delete, in the order of the plan; each deletion of what is gone already is no error."""
        for change in plan.changes:
            kind, _, name = change.resource.partition(" ")
            world.progress(Progress(f"deleting the {change.resource}"))
            if kind == "repository":
                world.cloud.repositories.delete(name)
            elif kind == "secret":
                world.cloud.secrets.delete(name)
            else:
                identity = name.removeprefix("token ")
                world.cloud.chainctl.revoke(identity, organization_of(world, self.organization))

    def verify(self, world: World) -> Evidence:
        """Say what is left."""
        left = [f"repository {name}" for name in self._existing(world)]
        if world.cloud.project.api_enabled(SECRET_MANAGER) and world.cloud.secrets.get(self.secret_id) is not None:
            left.append(f"secret {self.secret_id}")
        facts: dict[str, Any] = {"left": left or "nothing of it"}
        return Evidence(f"left: {', '.join(left) or 'nothing'}", facts)

    def _existing(self, world: World) -> list[str]:
        if not world.cloud.project.api_enabled(ARTIFACT_REGISTRY):
            return []
        return [name for name in self.repositories if world.cloud.repositories.get(name) is not None]

    def _ours(self, world: World, name: str) -> bool:
        there = world.cloud.repositories.get(name)
        return there is not None and made_by_cgrunbook(there)

    def _tokens(self, world: World, notes: list[str]) -> list[str]:
        """The pull tokens that cgrunbook made for this secret and that still live."""
        secret = world.cloud.secrets.get(self.secret_id)
        written = {pair.username for pair in pairs(secret).values()} if secret else set()
        try:
            tokens = world.cloud.chainctl.list_pull_tokens(organization_of(world, self.organization))
        except CgrunbookError as error:
            notes.append(
                f"Whether the pull tokens still live cannot be seen ({error.message}); they are revoked unseen."
            )
            return sorted(written)
        name = token_name(world, self.secret_id)
        return sorted(token.id for token in tokens if token.id in written or token.name.startswith(name))
