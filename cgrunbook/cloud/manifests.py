"""What a registry's documents say: descriptors, indexes and image manifests, in OCI's and Docker's spelling.

It knows the documents and trusts none of them: each field is checked before use. It calls nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from types import MappingProxyType
from typing import Any, NoReturn

from cgrunbook.errors import DigestMismatch, ImageNotAvailable, ParameterError, RegistryError
from cgrunbook.image_reference import Platform, is_digest
from cgrunbook.redaction import one_line

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"

# All four are always sent: Artifact Registry answers 404 for an index to a client that does not name OCI's index
# type (concourse/docker-image-resource #369).
ACCEPT = f"{OCI_INDEX}, {OCI_MANIFEST}, {DOCKER_INDEX}, {DOCKER_MANIFEST}"

# The distribution specification asks registries to take manifests of at least 4 MiB; nothing larger is believed.
LARGEST_MANIFEST = 4 * 1024 * 1024

_INDEXES = (OCI_INDEX, DOCKER_INDEX)
_MANIFESTS = (OCI_MANIFEST, DOCKER_MANIFEST)
_SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1"
_LARGEST_BLOB = 2**63 - 1
# A number that has more is larger than any that is lawful, whatever follows.
_MOST_DIGITS = 20


@dataclass(frozen=True)
class Descriptor:
    """Which bytes are meant.

    Args:
        media_type: what they are.
        digest: "sha256:..." of the bytes.
        size: how many bytes.
    """

    media_type: str
    digest: str
    size: int


class OtherPlatform(ImageNotAvailable):
    """An image that is there for other platforms only.

    Args:
        there: those platforms.
    """

    def __init__(self, subject: str, wanted: Platform, there: Sequence[Platform]) -> None:
        platforms = ", ".join(dict.fromkeys(str(platform) for platform in there)) or "none"
        super().__init__(
            f"{subject} has no manifest for {wanted}; the platforms there: {platforms}.",
            "Choose one of these platforms.",
        )
        self.there = tuple(there)


@dataclass(frozen=True)
class Index:
    """An image for several platforms: one manifest each.

    Args:
        manifests: platform and descriptor of each, in the document's order; None where no platform is given or
            where it is "unknown/unknown", as build attestations have it.
        unsaid: the descriptors of images and indexes of which no platform is given: it is in them.
    """

    manifests: tuple[tuple[Platform | None, Descriptor], ...]
    unsaid: tuple[Descriptor, ...] = ()

    def choose(
        self, wanted: Platform, subject: str, seen: Mapping[str, Sequence[Platform]] = MappingProxyType({})
    ) -> Descriptor:
        """The manifest for a platform.

        Args:
            wanted: the platform; one without a variant takes any, the plain one first, and one of which nothing is said last.
            subject: the image, for the error's sentence.
            seen: digests of those that were looked into and are not for it, with what they are for.

        Returns:
            The descriptor.

        Raises:
            OtherPlatform: the platform is not among them; the message lists those that are.
        """
        said = [(there, found) for there, found in self.manifests if there is not None]
        fitting = [(there, found) for there, found in said if _fits(there, wanted) and found.digest not in seen]
        if fitting:
            return min(fitting, key=lambda entry: (entry[0].variant != wanted.variant, entry[0].variant != ""))[1]
        for found in self.unsaid:
            if found.digest not in seen:
                return found
        raise OtherPlatform(subject, wanted, [*(there for there, _ in said), *chain.from_iterable(seen.values())])


@dataclass(frozen=True)
class ImageManifest:
    """An image for one platform.

    Args:
        config: the config's descriptor.
        layers: the layers' descriptors, lowest first; one that is used twice stands there twice.
    """

    config: Descriptor
    layers: tuple[Descriptor, ...]


def digest_of(body: bytes, like: str = "sha256:") -> str:
    """The digest of some bytes, "ALGORITHM:HEX", by the algorithm of the digest `like`."""
    algorithm = like.partition(":")[0]
    return f"{algorithm}:{hashlib.new(algorithm, body).hexdigest()}"


def check_document(body: bytes, digest: str, subject: str) -> None:
    """Compare a document with the digest that it was asked, or announced, by.

    Raises:
        DigestMismatch: they have another.
    """
    found = digest_of(body, digest)
    if found != digest:
        raise DigestMismatch(
            f"{subject}: {len(body)} bytes came with the digest {found}, expected was {digest}.",
            "Try again; if it stays, something between here and the registry changes content.",
        )


def parse_document(body: bytes, content_type: str, subject: str) -> Index | ImageManifest:
    """Read an index or an image manifest.

    Args:
        body: the document, at most `LARGEST_MANIFEST` bytes, its digest already checked.
        content_type: the answer's Content-Type, used where the document does not name its own type.
        subject: the image, for the error's sentence.

    Returns:
        What the document is.

    Raises:
        RegistryError: it is no such document, an ambiguous one (CVE-2021-41190), or one of the retired schema 1.
    """
    try:
        document = _json(body)
    except (ValueError, RecursionError) as error:
        raise _unusable(subject, "is not JSON") from error
    if not isinstance(document, dict):
        raise _unusable(subject, "is not a JSON object")
    declared = document.get("mediaType")
    sent = content_type.partition(";")[0].strip().lower()
    known = (*_INDEXES, *_MANIFESTS)
    kind = declared.lower() if isinstance(declared, str) and declared else sent
    if str(kind).startswith(_SCHEMA_1) or document.get("schemaVersion") == 1:
        raise _unusable(subject, "is stored in Docker's retired schema 1, which has no digest of its parts to check")
    if kind != sent and kind in known and sent in known:
        raise _unusable(subject, f"says that it is {kind}, but was sent as {sent}")
    if document.get("manifests") is not None and document.get("layers") is not None:
        raise _unusable(subject, "is an index and a manifest at once")
    if kind not in known and declared is None:
        # Registries of old send application/json, and OCI made the field optional: then the shape decides.
        kind = OCI_INDEX if "manifests" in document else OCI_MANIFEST if "layers" in document else kind
    if kind in _INDEXES:
        return _index(document, subject)
    if kind in _MANIFESTS:
        return _manifest(document, subject)
    raise _unusable(subject, f"is of the unknown type {one_line(str(kind), 100)!r}")


def platform_of_config(body: bytes) -> Platform | None:
    """What an image's config says that it runs on; None where it does not, as with artifacts that are no images."""
    try:
        config = _json(body)
        return _platform(config) if isinstance(config, dict) else None
    except (ValueError, RecursionError):
        return None


def _json(body: bytes) -> Any:
    """A document as docker and skopeo would read it, who take no byte order mark and no NaN, and a number of any length.

    Raises:
        ValueError, RecursionError: it is not JSON.
    """

    def refuse(constant: str) -> NoReturn:
        raise ValueError(constant)

    return json.loads(body.decode(), parse_constant=refuse, parse_int=lambda digits: int(digits[:_MOST_DIGITS]))


def matches(found: Platform, wanted: Platform) -> bool:
    """Whether an image of one platform serves where another is wanted: the same system and architecture, any variant."""
    return (found.os, found.architecture) == (wanted.os, wanted.architecture)


def _fits(found: Platform, wanted: Platform) -> bool:
    if not matches(found, wanted):
        return False
    # arm64 has one variant in use, v8, which some write and some do not.
    plain = "v8" if wanted.architecture == "arm64" else ""
    return not wanted.variant or (found.variant or plain) == wanted.variant


def _index(document: dict[str, Any], subject: str) -> Index:
    entries = document.get("manifests")
    if not isinstance(entries, list):
        raise _unusable(subject, "has no list of manifests")
    found, unsaid = [], []
    for entry in entries:
        descriptor = _descriptor(entry, subject)
        platform = entry.get("platform")
        found.append((_platform(platform) if isinstance(platform, dict) else None, descriptor))
        if not platform and descriptor.media_type in (*_INDEXES, *_MANIFESTS):
            unsaid.append(descriptor)
    return Index(tuple(found), tuple(unsaid))


def _manifest(document: dict[str, Any], subject: str) -> ImageManifest:
    layers = [] if document.get("layers", "") is None else document.get("layers")  # Go writes an empty list as null
    if not isinstance(layers, list):
        raise _unusable(subject, "has no list of layers")
    return ImageManifest(
        _descriptor(document.get("config"), subject), tuple(_descriptor(layer, subject) for layer in layers)
    )


def _descriptor(entry: Any, subject: str) -> Descriptor:
    if not isinstance(entry, dict):
        raise _unusable(subject, "has a descriptor that is not a JSON object")
    media_type, digest, size = entry.get("mediaType"), entry.get("digest"), entry.get("size")
    if not isinstance(digest, str) or not is_digest(digest):
        raise _unusable(subject, f"has a descriptor whose digest cannot be checked: {one_line(str(digest), 100)!r}")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= _LARGEST_BLOB:
        raise _unusable(subject, f"has a descriptor without a usable size ({digest})")
    return Descriptor(media_type if isinstance(media_type, str) else "", digest, size)


def _platform(fields: dict[str, Any]) -> Platform | None:
    parts = [fields.get("os"), fields.get("architecture"), fields.get("variant")]
    text = "/".join(str(part) for part in parts if part)
    if not (parts[0] and parts[1]) or parts[0] == "unknown":
        return None
    try:
        return Platform(text)
    except ParameterError:
        return None


def _unusable(subject: str, what: str) -> RegistryError:
    return RegistryError(f"{subject} {what}.", "Ask for another tag, or report it to whoever publishes the image.")
