"""A map of the steps: which of what the guide asks for is there already, and which notebook makes the rest."""

from __future__ import annotations

from cgrunbook.errors import CgrunbookError, WrongState
from cgrunbook.steps.apis import ARTIFACT_REGISTRY, SECRET_MANAGER
from cgrunbook.steps.credential import pair_in_use
from cgrunbook.steps.secret import agent_may_read
from cgrunbook.steps.step import Evidence, Finding, Mark, Proof, Section, World


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
        findings = [
            _step("02  Artifact Registry API", "enabled" if registry_on else "", "02_developer_images"),
            self._repository(world, self.repository, "02_developer_images", readable=registry_on),
            _step("03  Secret Manager API", "enabled" if secrets_on else "", "03_production_images"),
        ]
        findings += self._secret(world, readable=secrets_on and registry_on)
        findings.append(self._repository(world, self.private_repository, "03_production_images", readable=registry_on))
        return Evidence(findings=tuple(findings))

    def _repository(self, world: World, name: str, notebook: str, *, readable: bool) -> Finding:
        there = world.repository(name) if readable else None
        check = f"{notebook[:2]}  repository {name}"
        if there is None:
            return _step(check, "", notebook)
        signed = "signs in at" if there.username else "open to all images that are public at"
        return _step(check, f"{signed} {there.upstream}", notebook)

    def _secret(self, world: World, *, readable: bool) -> list[Finding]:
        there = world.secret(self.secret_id) if readable else None
        notebook = "03_production_images"
        names = (f"03  secret {self.secret_id}", "03  service agent may read it", "03  pull token")
        if there is None:
            return [_step(name, "", notebook) for name in names]
        granted = agent_may_read(world, self.secret_id)
        return [
            _step(names[0], "there", notebook),
            _step(names[1], "granted" if granted else "", notebook),
            self._token(world, names[2], notebook),
        ]

    def _token(self, world: World, check: str, notebook: str) -> Finding:
        try:
            pair = pair_in_use(world, self.secret_id, self.private_repository)
        except WrongState as error:
            return Finding(Mark.WARN, check, error.message, error.remedy)
        except CgrunbookError as error:
            return Finding(Mark.WARN, check, f"cannot be seen: {error.message}", error.remedy)
        if pair is None:
            return _step(check, "", notebook)
        until = f"good until {pair.expires:%Y-%m-%d %H:%M} UTC" if pair.expires else "stored by somebody else"
        return _step(check, f"version {pair.version}, {until}", notebook)


def _step(check: str, seen: str, notebook: str) -> Finding:
    if seen:
        return Finding(Mark.OK, check, seen)
    return Finding(Mark.WARN, check, "not there yet", f"Run {notebook}.")
