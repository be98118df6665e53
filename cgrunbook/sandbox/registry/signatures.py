"""Signatures of the sample images, with a key that the sandbox makes for itself, in both forms that cosign looks for.

Knows the tag `sha256-HEX.sig` and the bundle that refers to an image. Knows no repository, and not who verifies: Chainguard's own
images are signed without a key of this kind, by the identity of a workflow, which nobody can play.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cgrunbook.sandbox.registry.images import (
    CONFIG_TYPE,
    EMPTY_TYPE,
    Document,
    descriptor,
    digest_of,
    json_bytes,
    manifest,
)
from cgrunbook.sandbox.state import State

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE = "application/vnd.dev.cosign.simplesigning.v1+json"
_PREDICATE = "https://sigstore.dev/cosign/sign/v1"
_STATEMENT = "application/vnd.in-toto+json"
_SETTING = "cgr.dev.signing_key"


@dataclass(frozen=True)
class Signatures:
    """What is published beside an image that is signed.

    Args:
        tag: the tag of `tagged`.
        tagged: a manifest whose one layer is what was signed.
        bundle: a manifest that refers to the image.
        blobs: what both consist of.
    """

    tag: str
    tagged: Document
    bundle: Document
    blobs: tuple[bytes, ...]


def tag_of(digest: str) -> str:
    """The tag under which the signature of an image is."""
    return f"{digest.replace(':', '-')}.sig"


def public_key(state: State) -> bytes:
    """The key that signatures are verified with, in PEM."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return _key(state).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def signed(state: State, repository: str, image: Document) -> Signatures:
    """Sign an image.

    Args:
        state: keeps the key.
        repository: the repository's name at cgr.dev.
        image: what is signed.
    """
    key = _key(state)
    payload = json_bytes(
        {
            "critical": {
                "identity": {"docker-reference": f"cgr.dev/{repository}"},
                "image": {"docker-manifest-digest": image.digest},
                "type": "cosign container image signature",
            },
            "optional": None,
        }
    )
    config = json_bytes(
        {"architecture": "", "os": "", "rootfs": {"type": "layers", "diff_ids": [digest_of(payload)]}, "config": {}}
    )
    signature = {"dev.cosignproject.cosign/signature": _signature(key, payload)}
    tagged = manifest(
        config=descriptor(CONFIG_TYPE, config),
        layers=[descriptor(PAYLOAD_TYPE, payload, annotations=signature)],
    )
    bundle = _bundle(key, image)
    referring = manifest(
        artifactType=BUNDLE_TYPE,
        config=descriptor(EMPTY_TYPE, b"{}"),
        layers=[descriptor(BUNDLE_TYPE, bundle)],
        subject=descriptor(image.media_type, image.content),
        annotations={"dev.sigstore.bundle.content": "dsse-envelope", "dev.sigstore.bundle.predicateType": _PREDICATE},
    )
    return Signatures(tag_of(image.digest), tagged, referring, (payload, config, bundle, b"{}"))


def _bundle(key: ec.EllipticCurvePrivateKey, image: Document) -> bytes:
    algorithm, _, value = image.digest.partition(":")
    statement = json_bytes(
        {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"digest": {algorithm: value}}],
            "predicateType": _PREDICATE,
            "predicate": {},
        }
    )
    # What is signed of an envelope: its type and its payload, each with its length.
    encoded = b"DSSEv1 %d %b %d %b" % (len(_STATEMENT), _STATEMENT.encode(), len(statement), statement)
    envelope: dict[str, Any] = {
        "payload": base64.b64encode(statement).decode(),
        "payloadType": _STATEMENT,
        "signatures": [{"sig": _signature(key, encoded)}],
    }
    material = {"publicKey": {"hint": "cgrunbook-sandbox"}}
    return json_bytes({"mediaType": BUNDLE_TYPE, "verificationMaterial": material, "dsseEnvelope": envelope})


def _signature(key: ec.EllipticCurvePrivateKey, content: bytes) -> str:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    return base64.b64encode(key.sign(content, ec.ECDSA(hashes.SHA256()))).decode()


def _key(state: State) -> ec.EllipticCurvePrivateKey:
    """The sandbox's key, made when it is asked for first."""
    from cryptography.hazmat.primitives.asymmetric import ec

    # A number below the curve's order, of which 255 bits always are.
    return ec.derive_private_key((int.from_bytes(state.key(_SETTING)) >> 1) or 1, ec.SECP256R1())
