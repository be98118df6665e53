"""The verified pull: every byte of an image is fetched, hashed, counted and dropped.

It knows how to prove that an image can be pulled whole, without docker and without a disk, in memory that does not
grow with the layers. It does not know how a request is signed, nor what a refusal means.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from cgrunbook.cloud.blobs import Blob, fetch_all
from cgrunbook.cloud.manifests import (
    ACCEPT,
    LARGEST_MANIFEST,
    Descriptor,
    ImageManifest,
    Index,
    check_document,
    digest_of,
    matches,
    not_for,
    parse_document,
    platform_of_config,
)
from cgrunbook.cloud.registry_transport import Errand, RegistryTransport
from cgrunbook.errors import DigestMismatch, RegistryError
from cgrunbook.image_reference import Platform, is_digest

_LARGEST_CONFIG = 8 * 1024 * 1024
_DEEPEST_INDEX = 3


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
) -> PulledImage:
    """Fetch and verify every byte of an image for one platform; keep none. What is raised: see `Registry.pull`."""
    begun = time.monotonic()
    repository, attempts = errand.repository, errand.attempts
    top, body = fetch_document(transport, errand, reference)
    subject, total = errand.subject, top.size
    document = parse_document(body, top.media_type, subject)
    index_digest, descriptor = "", top
    for _ in range(_DEEPEST_INDEX):
        if not isinstance(document, Index):
            break
        index_digest = index_digest or top.digest
        chosen = document.choose(platform, subject)
        below = Errand.for_image(repository, chosen.digest, attempts)
        descriptor, body = fetch_document(transport, below, chosen.digest)
        if descriptor.size != chosen.size:
            raise DigestMismatch(
                f"{subject}: the index says that {chosen.digest} has {chosen.size} bytes; it has {descriptor.size}.",
                "Report it to whoever publishes the image.",
            )
        total += descriptor.size
        document = parse_document(body, descriptor.media_type or chosen.media_type, below.subject)
    if not isinstance(document, ImageManifest):
        raise RegistryError(f"{subject}: an index in an index in an index leads to no image.", "Ask for another tag.")

    config = Blob(transport, repository, document.config, keep=_LARGEST_CONFIG)
    layers = [
        Blob(transport, repository, layer) for layer in {layer.digest: layer for layer in document.layers}.values()
    ]
    _check_same_sizes(document, subject)
    if not index_digest:  # it is the config that tells the platform, before anything large is fetched
        fetch_all([config], attempts, lambda: None)
        _check_platform(config.kept, platform, subject)

    def report() -> None:
        if progress is not None:
            now = tuple(LayerProgress(blob.descriptor.digest, blob.descriptor.size, blob.done) for blob in layers)
            progress(PullProgress(now))

    fetch_all([*layers, *([config] if index_digest else [])], attempts, report)
    report()
    return PulledImage(
        index_digest=index_digest,
        manifest_digest=descriptor.digest,
        config_digest=document.config.digest,
        layers=document.layers,
        bytes=total + sum(blob.done for blob in (config, *layers)),
        seconds=time.monotonic() - begun,
    )


def _check_same_sizes(manifest: ImageManifest, subject: str) -> None:
    """A digest listed twice with two sizes cannot be right both times."""
    sizes: dict[str, int] = {}
    for layer in manifest.layers:
        if sizes.setdefault(layer.digest, layer.size) != layer.size:
            raise DigestMismatch(
                f"{subject}: the manifest gives {layer.digest} two sizes, {sizes[layer.digest]} and {layer.size}.",
                "Report it to whoever publishes the image.",
            )


def _check_platform(config: bytes, wanted: Platform, subject: str) -> None:
    """Refuse an image that is for another one."""
    found = platform_of_config(config)
    if found is not None and not matches(found, wanted):
        raise not_for(subject, wanted, [found])
