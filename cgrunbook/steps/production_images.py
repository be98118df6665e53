"""The guide's second half: a remote repository that signs in at cgr.dev, for the organisation's own images."""

from __future__ import annotations

from cgrunbook.cloud.artifact_registry import RemoteRepository
from cgrunbook.errors import PrerequisiteMissing
from cgrunbook.parameters import UPSTREAM
from cgrunbook.steps.credential import expected_pair, pair_in_use
from cgrunbook.steps.repository import RemoteRepositoryStep, RepositorySettings, UpstreamCredentials
from cgrunbook.steps.step import KNOWN_AFTER_APPLY, Section, World


class CreatePrivateRepository(RemoteRepositoryStep):
    """Create the remote repository for production images, or let an existing one sign in at cgr.dev.

    Username and password are set in one request: they change together or not at all.

    Args:
        repository: its name.
        secret_id: the secret that holds the pull token's password.
        upstream: the registry behind it, always `https://cgr.dev/`.
        settings: the options that the guide names.
        public_repository: the name of the one for public images; the same name puts both into one.
    """

    section = Section.PRODUCTION_IMAGES
    why = "With a login at cgr.dev the repository fetches your organisation's images, not only the public ones."
    purpose = "Production images of Chainguard, pulled through from cgr.dev"

    def __init__(
        self,
        repository: str,
        secret_id: str,
        upstream: str = UPSTREAM,
        settings: RepositorySettings | None = None,
        *,
        public_repository: str = "",
    ) -> None:
        super().__init__(repository, upstream, settings)
        self.secret_id = secret_id
        self.shared = repository == public_repository
        create = f"Create the private repository {repository}"
        self.title = f"Let {repository} sign in at cgr.dev" if self.shared else create

    def credentials(self, world: World) -> UpstreamCredentials:
        if world.expects(expected_pair(self.secret_id)):
            version = world.cloud.secrets.version_name(self.secret_id, KNOWN_AFTER_APPLY)
            return UpstreamCredentials(KNOWN_AFTER_APPLY, version)
        pair = pair_in_use(world, self.secret_id, self.repository)
        if pair is None:
            raise PrerequisiteMissing(
                f"There is no good pull token in the secret {self.secret_id} yet.",
                "Run 03_production_images from its beginning: it makes one.",
            )
        return UpstreamCredentials(pair.username, world.cloud.secrets.version_name(self.secret_id, pair.version))

    def notes(self, existing: RemoteRepository | None, wanted: RemoteRepository) -> tuple[str, ...]:
        before = existing.password_secret_version.rpartition("/versions/")[0] if existing else ""
        if before and before != wanted.password_secret_version.rpartition("/versions/")[0]:
            return (f"So far it signs in with {before}, which stays as it is: nothing of it is destroyed or revoked.",)
        if not self.shared and not (existing and not existing.username):
            return ()
        return (
            "Everybody who may read this repository may read your organisation's images from now on, and when the pull token "
            "ends, public images stop too. A repository of its own for production images avoids both.",
        )
