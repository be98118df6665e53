"""Proving a credential with something that a repository has not cached: only for that does Artifact Registry sign in.

It knows where there is something of that kind: the images' other platforms and tags. Nothing but manifests is fetched.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

from cgrunbook.cloud import Cloud
from cgrunbook.cloud.registry import Registry
from cgrunbook.errors import CgrunbookError, ImageNotAvailable, NotFound, ParameterError, RegistryError, Temporary
from cgrunbook.image_reference import ImageReference

# Tags that any image may have beside the one that was named.
_TAGS = ("latest", "latest-dev")


class Uncached:
    """What cgr.dev has for a pull token, and a repository has not.

    Args:
        cgr: cgr.dev, signed in with the token.
        images: to begin with.
    """

    def __init__(self, cgr: Registry, images: Sequence[ImageReference]) -> None:
        self._cgr = cgr
        self._images = images
        self._given: dict[ImageReference, list[str]] = {}
        self._cached: dict[str, Mapping[str, str]] = {}

    def greet(self, there: Cloud, repository: str) -> bool:
        """Try the token at cgr.dev, with one of the images; those that the repository has cached are images too.

        Returns:
            Whether cgr.dev gave it; False where cgr.dev does not answer from here.

        Raises:
            CgrunbookError: cgr.dev gives none of them, and why.
        """
        cached = self._cached_in(there, repository)
        refused: CgrunbookError | None = None
        for image in dict.fromkeys([*self._images, *self._pulled(cached)]):
            try:
                self._given = {image: self._digests(image, image.reference)}
            except RegistryError as error:
                refused = refused or error
            except Temporary:
                return False
            else:
                return True
        raise refused or RegistryError("There is no image to try the pull token with.", "Give production_images.")

    def pull_through(self, there: Cloud, repository: str) -> str:
        """Have Artifact Registry sign in with what the repository has now; answers what it showed, in words.

        Raises:
            CgrunbookError: nothing came, and why.
        """
        registry, behind = there.artifact_registry_host, f"{there.connection.docker_project}/{repository}"
        cached = self._cached_in(there, repository)
        for image, digest in self._candidates():
            if digest not in cached:
                registry.document(f"{behind}/{image.repository}", digest)
                return f"{image.repository}@{digest}, which was not cached"
        image, nowhere = next(iter([*self._given, *self._images])), f"sha256:{secrets.token_hex(32)}"
        with suppress(ImageNotAvailable, NotFound):
            registry.document(f"{behind}/{image.repository}", nowhere)
        return (
            f"cgr.dev's answer for a digest of {image.repository} that nobody has: what was found of it is all cached"
        )

    def _cached_in(self, there: Cloud, repository: str) -> Mapping[str, str]:
        name = there.repositories.name(repository)
        if name not in self._cached:
            self._cached[name] = there.repositories.digests(repository)
        return self._cached[name]

    def _pulled(self, cached: Mapping[str, str]) -> Iterator[ImageReference]:
        """The same organisation's images that were pulled through a repository before."""
        owners = {image.organization for image in self._images}
        for path in dict.fromkeys(cached.values()):
            with suppress(ParameterError):
                image = ImageReference.parse(path)
                if image.organization in owners:
                    yield image

    def _candidates(self) -> Iterator[tuple[ImageReference, str]]:
        for image, digests in self._given.items():
            yield from ((image, digest) for digest in digests)
            with suppress(RegistryError, Temporary):
                for tag in _TAGS:
                    if tag != image.reference:
                        yield from ((image, digest) for digest in self._digests(image, tag))

    def _digests(self, image: ImageReference, reference: str) -> list[str]:
        """What an image's tag or digest stands for: an index and the manifests in it, one a platform."""
        there, body = self._cgr.document(image.repository, reference)
        with suppress(ValueError, TypeError, AttributeError, KeyError, RecursionError):
            return [there.digest, *(str(one["digest"]) for one in json.loads(body).get("manifests") or ())]
        return [there.digest]
