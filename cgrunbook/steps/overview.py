"""A map of the steps: which of what the guide asks for is there already, and which notebook makes the rest."""

from __future__ import annotations

from dataclasses import replace

from cgrunbook.errors import CgrunbookError, WrongState
from cgrunbook.steps.apis import ARTIFACT_REGISTRY, SECRET_MANAGER
from cgrunbook.steps.credential import pair_in_use
from cgrunbook.steps.secret import agent_may_read
from cgrunbook.steps.step import Evidence, Finding, Mark, Proof, Section, World

_FIRST, _SECOND = "02_developer_images", "03_production_images"
_TOKEN = "pull token"  # noqa: S105 - what it is called


class ShowMap(Proof):
    """Show what exists of the guide's steps, and where to go for the rest.

    Args:
        repository: the one for developer images.
        private_repository: the one for production images.
    """

    section = Section.PREREQUISITES
    why = "Whoever comes back to it wants to know where they are."
    title = "See what is there"

    def __init__(self, repository: str, private_repository: str, secret_id: str) -> None:
        self.repository = repository
        self.private_repository = private_repository
        self.secret_id = secret_id

    def verify(self, world: World) -> Evidence:
        registry_on = world.api_enabled(ARTIFACT_REGISTRY)
        secrets_on = world.api_enabled(SECRET_MANAGER)
        secret = world.secret(self.secret_id) if secrets_on and registry_on else None
        granted = secret is not None and agent_may_read(world, self.secret_id)
        return Evidence(
            findings=(
                _part(_FIRST, "Artifact Registry API", "enabled" if registry_on else ""),
                self._repository(world, _FIRST, self.repository, readable=registry_on),
                _part(_SECOND, "Secret Manager API", "enabled" if secrets_on else ""),
                _part(_SECOND, f"secret {self.secret_id}", "there" if secret else ""),
                _part(_SECOND, "service agent may read it", "granted" if granted else ""),
                self._token(world) if secret else _part(_SECOND, _TOKEN, ""),
                self._repository(world, _SECOND, self.private_repository, readable=registry_on),
            )
        )

    def _repository(self, world: World, notebook: str, name: str, *, readable: bool) -> Finding:
        there = world.repository(name) if readable else None
        if there is None:
            return _part(notebook, f"repository {name}", "")
        signed = "signs in at" if there.username else "open to all images that are public at"
        return _part(notebook, f"repository {name}", f"{signed} {there.upstream}")

    def _token(self, world: World) -> Finding:
        try:
            pair = pair_in_use(world, self.secret_id, self.private_repository)
        except CgrunbookError as error:
            seen = error.message if isinstance(error, WrongState) else f"cannot be seen: {error.message}"
            return replace(_part(_SECOND, _TOKEN, ""), seen=seen, remedy=error.remedy)
        if pair is None:
            return _part(_SECOND, _TOKEN, "")
        until = f"good until {pair.expires:%Y-%m-%d %H:%M} UTC" if pair.expires else "stored by somebody else"
        return _part(_SECOND, _TOKEN, f"version {pair.version}, {until}")


def _part(notebook: str, what: str, seen: str) -> Finding:
    """Something that a notebook makes, as it was seen; empty for what is not there."""
    check = f"{notebook[:2]}  {what}"
    if seen:
        return Finding(Mark.OK, check, seen)
    return Finding(Mark.WARN, check, "not there yet", f"Run {notebook}.")
