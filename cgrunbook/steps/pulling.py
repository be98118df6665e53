"""Proving that an image comes through Artifact Registry whole and unchanged.

It knows what counts as proof: digests compared with cgr.dev's, every layer hashed and counted. How bytes travel is
the registry's affair.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from cgrunbook.cloud import alike
from cgrunbook.cloud.manifests import Descriptor
from cgrunbook.cloud.pull import PulledImage, PullProgress
from cgrunbook.cloud.registry import BasicCredentials, Registry
from cgrunbook.errors import (
    CgrunbookError,
    DigestMismatch,
    ImageNotAvailable,
    PermissionMissing,
    PrerequisiteMissing,
    ProjectUnknown,
    RegistryError,
    UpstreamCredentialsRefused,
)
from cgrunbook.image_reference import ImageReference, Platform
from cgrunbook.steps.credential import kept_in, renewal, split_version, stored_token
from cgrunbook.steps.step import Evidence, Progress, Proof, Section, World


def image_of(world: World, image: str, organization: str) -> ImageReference:
    """An image as it is called at cgr.dev; without a namespace it is the organisation's."""
    return ImageReference.parse(image if "/" in image else f"{world.organization(organization)}/{image}")


def path_through(world: World, repository: str, image: ImageReference) -> str:
    """The path of an image at docker.pkg.dev: project, repository, then the path it has at cgr.dev."""
    return f"{world.cloud.connection.docker_project}/{repository}/{image.repository}"


def upstream_login(world: World, repository: str) -> BasicCredentials | None:
    """With what a repository signs in at its upstream, read from where Artifact Registry reads it.

    Returns:
        The username and, from Secret Manager, the password; None for an unauthenticated repository.

    Raises:
        PrerequisiteMissing: there is no such repository.
        PermissionMissing: the caller may not read the secret's value.
        WrongState: the secret version is disabled or destroyed.
    """
    there = world.repository(repository)
    if there is None:
        raise PrerequisiteMissing(
            f"There is no repository {repository} in {world.cloud.connection.location}.",
            "Run 02_developer_images or 03_production_images first, whichever makes it.",
        )
    if not there.username:
        return None
    project, secret_id, version = split_version(there.password_secret_version)
    keeper = kept_in(world, project, secret_id).cloud
    try:
        return BasicCredentials(there.username, keeper.secrets.access(secret_id, version))
    except ProjectUnknown as error:
        raise PermissionMissing(f"The password is in another project, {project}. {error.message}") from error


def _alike(world: World, image: ImageReference) -> str:
    """The question for an image that an organisation's catalogue has not, "" where chainctl cannot tell."""
    try:
        there = world.cloud.chainguard.images(image.organization)
    except CgrunbookError:
        return ""
    return alike.question(image.repository.partition("/")[2], there)


def why_refused(
    world: World, repository: str, image: ImageReference, refused: UpstreamCredentialsRefused
) -> CgrunbookError:
    """Find out what a refusal is about, for cgr.dev answers the same whatever is wrong.

    Args:
        repository: whose credential was refused.
        image: what was asked for.
        refused: the refusal.

    Returns:
        An error that names the one cause; the refusal itself where more cannot be seen.
    """
    there = world.repository(repository)
    if there is None or not there.username:
        return refused
    project, secret_id, version = split_version(there.password_secret_version)
    try:
        keeper = kept_in(world, project, secret_id).cloud
        stored_token(world, keeper, there.username, secret_id, version)
        live = {token.id for token in world.pull_tokens(image.organization)}
    except UpstreamCredentialsRefused as found:
        return found
    except CgrunbookError:
        return refused
    if there.username not in live:
        return UpstreamCredentialsRefused(
            f"cgr.dev does not take the credential: the pull token {there.username} is not among those of "
            f"{image.organization}; it was revoked.",
            renewal(world, keeper, secret_id, version),
            code="identity/revoked",
        )
    return ImageNotAvailable(
        f"cgr.dev does not give {image.repository} to a pull token that is live and whole: the image is not in the "
        f"catalogue of {image.organization}, or its name is another.",
        f"{_alike(world, image)} See what is: chainctl images repos list --parent={image.organization}".lstrip(),
        debugging=3,
        code="image/not-granted",
    )


class PullImage(Proof):
    """Pull an image through a remote repository and prove that it is what cgr.dev has.

    The tag is resolved on both sides and the digests compared; the manifests, the config and every layer of one
    platform are fetched and hashed; then the tag and one byte are asked for again, so that the first and the second time
    can be told apart. Nothing is kept, and no docker is needed.

    Args:
        image: with its namespace, such as `chainguard/go:latest`; without one it is your organisation's.
        repository: the remote repository to pull through.
        platform: whose layers are fetched.
        organization: for an image without namespace; empty takes the only organisation there is.
    """

    waits_for_apply = True
    why = "That a repository exists proves little; that the image comes through it unchanged proves all of it."

    def __init__(self, image: str, repository: str, platform: str = "linux/amd64", *, organization: str = "") -> None:
        self.image = image
        self.organization = organization
        self.repository = self.subject = repository
        self.platform = Platform(platform)
        self.title = f"Pull {image} through {repository}"

    @property
    def section(self) -> Section:  # type: ignore[override]  # which half of the guide depends on the image
        return Section.TESTING_DEVELOPER if "/" in self.image else Section.TESTING_PRODUCTION

    def verify(self, world: World) -> Evidence:
        image = image_of(world, self.image, self.organization)
        try:
            return self._proof(world, image)
        except UpstreamCredentialsRefused as refused:
            raise why_refused(world, self.repository, image, refused) from refused

    def _proof(self, world: World, image: ImageReference) -> Evidence:
        path = path_through(world, self.repository, image)
        registry = world.cloud.artifact_registry_host
        with ThreadPoolExecutor() as side_by_side:  # the two registries do not wait for each other
            asked = side_by_side.submit(self._at_cgr, world, image)
            try:
                first = registry.pull(path, image.reference, self.platform, partial(_report, world, f"pulling {image}"))
                again = registry.pull_again(path, image.reference, first)
            except CgrunbookError:
                asked.result()  # what cgr.dev itself refuses is the cause of what came of it here
                raise
            at_cgr, comparison = asked.result()
        brief = ""
        if at_cgr:
            brief, comparison = self._compare(image, *at_cgr, first)
        size = f"{first.bytes / 1e6:.1f} MB in {len(first.layers)} layers"
        moved = "" if again.digest == first.digest else f"; the tag has moved since, to {again.digest}"
        facts: dict[str, Any] = {
            "digest": first.digest,
            "compared with cgr.dev": comparison,
            "image": f"{registry.host.name}/{path}:{image.tag}",
            "platform": f"{self.platform}, manifest {first.manifest_digest}",
            "config": first.config_digest,
            "bytes hashed": first.bytes,
            "first pull": f"{first.seconds:.2f} s",
            "second pull": f"{again.seconds:.2f} s until the tag and the first byte of the largest layer were there; "
            f"no layer is fetched twice{moved}",
            "layers": [{"digest": layer.digest, "bytes": layer.size} for layer in first.layers],
        }
        command = f"docker pull {registry.host.address}/{path}:{image.reference}"
        said = f"{brief} as cgr.dev's; {size}" if brief else size
        return Evidence(said, facts, commands=(command,), measured=("first pull", "second pull"))

    def _at_cgr(self, world: World, image: ImageReference) -> tuple[tuple[Registry, Descriptor] | None, str]:
        """cgr.dev and what it has, asked with what the repository signs in with; or why that is not to be known."""
        try:
            cgr = world.cloud.cgr(upstream_login(world, self.repository))
        except PermissionMissing as error:
            return None, f"not compared: {error.message}"
        return (cgr, cgr.resolve(image.repository, image.reference)), ""

    def _compare(
        self, image: ImageReference, cgr: Registry, at_cgr: Descriptor, pulled: PulledImage
    ) -> tuple[str, str]:
        """How the two digests relate, in few words and in full; a tag may lag behind, content may not differ.

        Raises:
            DigestMismatch: what came is nothing that cgr.dev has or ever had.
        """
        if at_cgr.digest == pulled.digest:
            return "the same digest", "the same digest"
        try:
            cgr.resolve(image.repository, pulled.digest)
        except (ImageNotAvailable, RegistryError) as error:
            raise DigestMismatch(
                f"{image} is {pulled.digest} through {self.repository} and {at_cgr.digest} at cgr.dev, and cgr.dev "
                "does not know the former.",
                "Delete the repository and make it anew; if it happens again, tell Google's support.",
            ) from error
        brief = "an older digest"
        return brief, (
            f"{brief}: cgr.dev has {at_cgr.digest} now. Artifact Registry asks for a tag at most once an hour, so "
            "this passes by itself; pull by digest where it must not lag."
        )


def _report(world: World, text: str, progress: PullProgress) -> None:
    whole = sum(layer.done >= layer.size for layer in progress.layers)
    layers = f"{whole} of {len(progress.layers)} layers"
    world.progress(Progress(text, progress.done, progress.size, detail=layers))
