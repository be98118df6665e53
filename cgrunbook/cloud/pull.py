"""The verified pull: every byte of an image is fetched, hashed, counted and dropped.

It knows how to prove that an image can be pulled whole, without docker and without a disk, in memory that does not
grow with the layers. It does not know how a request is signed, nor what a refusal means.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from cgrunbook.cloud.attempts import Attempts
from cgrunbook.cloud.blobs import Blob, fetch_all
from cgrunbook.cloud.manifests import (
    ACCEPT,
    LARGEST_MANIFEST,
    Descriptor,
    ImageManifest,
    OtherPlatform,
    check_document,
    digest_of,
    matches,
    parse_document,
    platform_of_config,
)
from cgrunbook.cloud.registry_transport import Errand, RegistryTransport
from cgrunbook.errors import DigestMismatch, ImageNotAvailable, RegistryError
from cgrunbook.image_reference import Platform, is_digest

_LARGEST_CONFIG = 8 * 1024 * 1024
_DEEPEST_INDEX = 3
# An index that does not say which image is for which platform is looked into so far.
_MOST_DOCUMENTS = 20


@dataclass(frozen=True)
class LayerProgress:
    """How far one layer is.

    Args:
        digest: the layer; docker's engine gives the beginning of its digest.
        size: its bytes; 0 where the engine has not said yet.
        done: bytes that came and were hashed; of an engine's, that came or were unpacked, whichever it is at.
    """

    digest: str
    size: int
    done: int


@dataclass(frozen=True)
class PullProgress:
    """How far a pull is.

    Args:
        layers: each layer once, lowest first.
    """

    layers: tuple[LayerProgress, ...]

    @property
    def size(self) -> int:
        """Bytes of all layers."""
        return sum(layer.size for layer in self.layers)

    @property
    def done(self) -> int:
        """Bytes that came."""
        return sum(layer.done for layer in self.layers)


@dataclass(frozen=True)
class PulledImage:
    """The proof of a pull.

    Args:
        index_digest: the index that the reference names; "" when it names a single manifest.
        manifest_digest: the platform's manifest.
        config_digest: the image's config, which docker calls the image id.
        layers: the layers, lowest first, as the manifest lists them.
        bytes: how many bytes of documents, config and layers were hashed; a layer that is used twice came once.
        seconds: how long it took.
    """

    index_digest: str
    manifest_digest: str
    config_digest: str
    layers: tuple[Descriptor, ...]
    bytes: int
    seconds: float

    @property
    def digest(self) -> str:
        """What the reference stands for: the index where there is one, else the manifest."""
        return self.index_digest or self.manifest_digest


def fetch_document(transport: RegistryTransport, errand: Errand, reference: str) -> tuple[Descriptor, bytes]:
    """Fetch a manifest or an index by tag or digest, its digest checked.

    Returns:
        What came: the media type as it was sent, the digest, the size; and the document.

    Raises:
        DigestMismatch: the document is not what its digest says.
        RegistryError: refused, or larger than 4 MiB.
    """

    def once() -> tuple[Descriptor, bytes]:
        path = f"/v2/{errand.repository}/manifests/{reference}"
        with transport.open("GET", path, errand, headers={"Accept": ACCEPT}) as answer:
            body = answer.read(LARGEST_MANIFEST)
            if body is None:
                raise RegistryError(
                    f"{errand.subject}: the manifest is larger than {LARGEST_MANIFEST // 1024 // 1024} MiB and was not "
                    "read.",
                    "No image needs that much: ask for another tag, or report it to whoever publishes the image.",
                )
            announced = answer.header("Docker-Content-Digest")
            expected = reference if is_digest(reference) else announced
            if is_digest(expected):
                check_document(body, expected, errand.subject)
            digest = expected if is_digest(expected) else digest_of(body)
            return Descriptor(answer.header("Content-Type").partition(";")[0].strip(), digest, len(body)), body

    return errand.attempts.run(once, reason=f"{transport.host.name} to answer for {errand.subject}")


def pull(
    transport: RegistryTransport,
    errand: Errand,
    reference: str,
    platform: Platform,
    progress: Callable[[PullProgress], None] | None,
    *,
    layers_too: bool = True,
) -> PulledImage:
    """Fetch and verify every byte of an image for one platform; keep none. Arguments and what is raised: see `Registry`."""
    begun = time.monotonic()
    repository, attempts, subject = errand.repository, errand.attempts, errand.subject
    top, body = fetch_document(transport, errand, reference)
    search = _Search(transport, repository, platform, attempts, total=top.size)
    descriptor, document, config = search.image(subject, top, body)
    index_digest = "" if descriptor is top else top.digest
    layers = [
        Blob(transport, repository, layer) for layer in {layer.digest: layer for layer in document.layers}.values()
    ]
    _check_same_sizes(document, subject)

    def report() -> None:
        if progress is not None:
            now = tuple(LayerProgress(blob.descriptor.digest, blob.descriptor.size, blob.done) for blob in layers)
            progress(PullProgress(now))

    fetch_all([*(layers if layers_too else ()), *([] if config.kept else [config])], attempts, report)
    report()
    return PulledImage(
        index_digest=index_digest,
        manifest_digest=descriptor.digest,
        config_digest=document.config.digest,
        layers=document.layers,
        bytes=search.total + sum(blob.done for blob in (config, *layers)),
        seconds=time.monotonic() - begun,
    )


@dataclass
class _Search:
    """The way from what a reference stands for to one platform's image.

    Args:
        transport: the registry.
        repository: its path there.
        platform: which is wanted.
        attempts: how long to try.
        total: bytes of the documents that were fetched.
    """

    transport: RegistryTransport
    repository: str
    platform: Platform
    attempts: Attempts
    total: int
    documents: int = 1

    def image(
        self, subject: str, descriptor: Descriptor, body: bytes, *, said: bool = False, depth: int = 0
    ) -> tuple[Descriptor, ImageManifest, Blob]:
        """Go down through indexes in indexes; what says nothing of its platform is looked into, one after the other.

        Args:
            subject: the image, as an error's sentence names it.
            descriptor: what a document is.
            body: the document.
            said: whether an index says that it is for the platform.
            depth: how many indexes are above it.

        Returns:
            What the manifest is, the manifest, and its config, fetched where that had to tell the platform.

        Raises:
            OtherPlatform: it is for others. And whatever `Registry.pull` raises.
        """
        document = parse_document(body, descriptor.media_type, subject)
        if isinstance(document, ImageManifest):
            config = Blob(self.transport, self.repository, document.config, keep=_LARGEST_CONFIG)
            if not said:  # before anything large is fetched
                fetch_all([config], self.attempts, lambda: None)
                found = platform_of_config(config.kept)
                if found is not None and not matches(found, self.platform):
                    raise OtherPlatform(subject, self.platform, [found])
            return descriptor, document, config
        if depth == _DEEPEST_INDEX:
            raise RegistryError(
                f"{subject}: an index in an index in an index leads to no image.",
                "Report it to whoever publishes the image.",
            )
        seen: dict[str, tuple[Platform, ...]] = {}
        while True:
            chosen = document.choose(self.platform, subject, seen)
            below, body = self._fetch(subject, chosen)
            named = f"{self.repository}@{chosen.digest}"
            try:
                return self.image(named, below, body, said=said or chosen not in document.unsaid, depth=depth + 1)
            except OtherPlatform as other:
                seen[chosen.digest] = other.there

    def _fetch(self, subject: str, chosen: Descriptor) -> tuple[Descriptor, bytes]:
        """Fetch what an index names."""
        self.documents += 1
        if self.documents > _MOST_DOCUMENTS:
            raise RegistryError(
                f"{subject}: its index does not say which of its many images is for {self.platform}.",
                "Report it to whoever publishes the image.",
            )
        below = Errand.for_image(self.repository, chosen.digest, self.attempts)
        try:
            found, body = fetch_document(self.transport, below, chosen.digest)
        except ImageNotAvailable as error:
            raise ImageNotAvailable(
                f"{subject}: its index names {chosen.digest} for {self.platform}, which is not there. {error.message}",
                "The image is not whole in this registry. Pull it from where it came from, and report it to whoever runs this one.",
                debugging=3,
            ) from error
        if found.size != chosen.size:
            raise DigestMismatch(
                f"{subject}: the index says that {chosen.digest} has {chosen.size} bytes; it has {found.size}.",
                "Report it to whoever publishes the image.",
            )
        self.total += found.size
        return (found if found.media_type else chosen), body


def _check_same_sizes(manifest: ImageManifest, subject: str) -> None:
    """A digest listed twice with two sizes cannot be right both times."""
    sizes: dict[str, int] = {}
    for layer in manifest.layers:
        if sizes.setdefault(layer.digest, layer.size) != layer.size:
            raise DigestMismatch(
                f"{subject}: the manifest gives {layer.digest} two sizes, {sizes[layer.digest]} and {layer.size}.",
                "Report it to whoever publishes the image.",
            )
