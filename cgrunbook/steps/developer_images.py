"""The guide's first half: a remote repository for the public images, open to all who may read it."""

from __future__ import annotations

from cgrunbook.parameters import UPSTREAM
from cgrunbook.steps.repository import RemoteRepositoryStep, RepositorySettings
from cgrunbook.steps.step import Section


class CreateRemoteRepository(RemoteRepositoryStep):
    """Create the remote repository through which Chainguard's public images are pulled.

    Args:
        repository: its name.
        upstream: the registry behind it, always `https://cgr.dev/`.
        settings: the options that the guide names.
    """

    section = Section.DEVELOPER_IMAGES
    why = "A remote repository fetches from cgr.dev what is asked of it, and keeps it."
    purpose = "Public images of Chainguard, pulled through from cgr.dev"

    def __init__(self, repository: str, upstream: str = UPSTREAM, settings: RepositorySettings | None = None) -> None:
        super().__init__(repository, upstream, settings)
        self.title = f"Create the remote repository {repository}"
