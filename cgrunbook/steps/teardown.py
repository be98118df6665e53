"""Taking away what the runbook made, in the reverse order of making, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from cgrunbook.cloud.secret_manager import SecretResource
from cgrunbook.errors import ApiDisabled, CgrunbookError, ParameterError
from cgrunbook.steps.pull_token import token_name
from cgrunbook.steps.repository import made_by_cgrunbook
from cgrunbook.steps.secret import made_by_cgrunbook as secret_made_by_cgrunbook
from cgrunbook.steps.step import Change, Evidence, Outcome, Plan, Progress, Section, Step, World
from cgrunbook.steps.token_pairs import pairs

T = TypeVar("T")


@dataclass(frozen=True)
class _Deletion:
    """One thing that goes.

    Args:
        change: as the plan names it.
        command: the same by hand.
        act: does it; what is gone already is no error.
    """

    change: Change
    command: str
    act: Callable[[], object]


class TearDown(Step):
    """Delete the repositories, revoke the pull tokens and delete the secret, as far as cgrunbook made them.

    Args:
        repository: the one for developer images.
        private_repository: the one for production images.
        confirm: the name of `repository`; anything else, and nothing is deleted.
        organization: whose pull tokens are revoked; empty takes the only one there is.
    """

    section = Section.PRODUCTION_IMAGES
    why = "What nobody uses any more should not be there to be paid for, nor a token to be stolen."
    title = "Take away what the runbook made"
    console_page = "artifacts"

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
        self.organization = organization
        if not confirm:
            self.held_back = f"Nothing was deleted: set confirm to {repository!r} to go on."

    def plan(self, world: World) -> Plan:
        deletions, notes = self._deletions(world)
        if deletions:
            notes.append(
                "The APIs stay enabled and docker stays signed in: others may use them. "
                f"docker logout {world.cloud.connection.artifact_registry_host.address} ends the latter."
            )
            if self.held_back:
                notes.append(self.held_back)
        return Plan(
            Outcome.DELETED if deletions else Outcome.UNCHANGED,
            tuple(deletion.change for deletion in deletions),
            tuple(deletion.command for deletion in deletions),
            notes=tuple(notes),
        )

    def apply(self, world: World, plan: Plan) -> None:
        for deletion in self._deletions(world)[0]:
            world.progress(Progress(f"deleting the {deletion.change.resource}"))
            deletion.act()

    def verify(self, world: World) -> Evidence:
        left = [f"repository {name}" for name in self.repositories if _there(world.repository, name)]
        if _there(world.secret, self.secret_id):
            left.append(f"secret {self.secret_id}")
        return Evidence(f"left: {', '.join(left) or 'nothing'}", {"left": left or "nothing of it"})

    def _deletions(self, world: World) -> tuple[list[_Deletion], list[str]]:
        """What is there and cgrunbook's, in the order in which it goes; and what there is to say of the rest."""
        cloud, project = world.cloud, f"--project={world.cloud.connection.project_id}"
        deletions: list[_Deletion] = []
        notes: list[str] = []
        world.at_once(
            partial(world.secret, self.secret_id), *(partial(world.repository, one) for one in self.repositories)
        )

        def goes(resource: str, what: str, command: str, act: Callable[..., object], *about: Any) -> None:
            deletions.append(_Deletion(Change(resource, "", what, None), command, partial(act, *about)))

        for name in self.repositories:
            repository = _there(world.repository, name)
            if repository is not None and not made_by_cgrunbook(repository):
                notes.append(f"The repository {name} stays: cgrunbook did not make it.")
            elif repository is not None:
                where = f"{project} --location={cloud.connection.location} --quiet"
                command = f"gcloud artifacts repositories delete {name} {where}"
                goes(f"repository {name}", "with what it has cached", command, cloud.repositories.delete, name)
        secret = _there(world.secret, self.secret_id)
        if secret is not None and not secret_made_by_cgrunbook(secret):
            notes.append(f"The secret {self.secret_id} stays: cgrunbook did not make it.")
        elif secret is not None:
            for token in self._tokens(world, secret, notes):
                command = f"chainctl iam identities delete {token} --yes"
                goes(f"pull token {token}", "live", command, self._revoke, world, token)
            command = f"gcloud secrets delete {self.secret_id} {project} --quiet"
            goes(f"secret {self.secret_id}", "with all its versions", command, cloud.secrets.delete, self.secret_id)
        return deletions, notes

    def _revoke(self, world: World, token: str) -> None:
        world.cloud.chainctl.revoke(token, world.organization(self.organization))

    def _tokens(self, world: World, secret: SecretResource, notes: list[str]) -> list[str]:
        """The pull tokens that cgrunbook made for this secret and that still live."""
        written = {pair.username for pair in pairs(secret).values()}
        try:
            tokens = world.pull_tokens(world.organization(self.organization))
        except CgrunbookError as error:
            notes.append(
                f"Whether the pull tokens still live cannot be seen ({error.message}); they are revoked unseen."
            )
            return sorted(written)
        name = token_name(world, self.secret_id)
        return sorted(token.id for token in tokens if token.id in written or token.name.startswith(name))


def _there(read: Callable[[str], T | None], name: str) -> T | None:
    """What is there; nothing is where the API is off."""
    try:
        return read(name)
    except ApiDisabled:
        return None
