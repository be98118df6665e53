"""The samples' signatures: made with a key of the sandbox, found in both forms that cosign looks for, and nobody else's."""

from __future__ import annotations

import base64
import json
import secrets
from pathlib import Path
from urllib.parse import quote

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from cgrunbook.sandbox.registry import signatures
from cgrunbook.sandbox.registry.catalog import Catalog
from cgrunbook.sandbox.registry.images import sample_repositories
from cgrunbook.sandbox.state import State
from tests.sandbox.conftest import Api

SAMPLES = sample_repositories()
BASE = "example.com/chainguard-base"
REFERENCES = [("chainguard/go", "latest"), ("chainguard/static", "latest-dev"), (BASE, "latest"), (BASE, "20261102")]


def verify(pem: bytes, signature: str, content: bytes) -> None:
    public = load_pem_public_key(pem)
    assert isinstance(public, ec.EllipticCurvePublicKey)
    public.verify(base64.b64decode(signature), content, ec.ECDSA(hashes.SHA256()))


def signed_by_tag(get, digest: str) -> tuple[str, bytes]:
    """The signature of the tag, and what it is over."""
    manifest = get(f"manifests/{digest.replace(':', '-')}.sig").json()
    (layer,) = manifest["layers"]
    payload = get(f"blobs/{layer['digest']}").content
    assert json.loads(payload)["critical"]["image"]["docker-manifest-digest"] == digest
    return layer["annotations"]["dev.cosignproject.cosign/signature"], payload


def signed_by_bundle(get, digest: str) -> tuple[str, bytes]:
    """The signature of the bundle that refers to an image, and what it is over."""
    found = get(f"referrers/{digest}?artifactType={quote(signatures.BUNDLE_TYPE)}").json()["manifests"]
    (descriptor,) = found
    assert descriptor["artifactType"] == signatures.BUNDLE_TYPE
    manifest = get(f"manifests/{descriptor['digest']}").json()
    assert manifest["subject"]["digest"] == digest
    bundle = get(f"blobs/{manifest['layers'][0]['digest']}").json()
    envelope = bundle["dsseEnvelope"]
    statement = base64.b64decode(envelope["payload"])
    assert json.loads(statement)["subject"] == [{"digest": {"sha256": digest.removeprefix("sha256:")}}]
    kind = envelope["payloadType"]
    return envelope["signatures"][0]["sig"], f"DSSEv1 {len(kind)} {kind} {len(statement)} ".encode() + statement


@pytest.mark.parametrize("through", ["cgr.dev", "artifact registry"])
def test_every_tagged_image_is_signed_with_the_key_that_the_sandbox_shows(world, through):
    pem = world.http.get(f"{world.cgr}/.well-known/cgrunbook-sandbox/cosign.pub").content
    token = world.pull_token()
    mirror = world.private(f"r{secrets.token_hex(4)}", token)
    for repository, tag in REFERENCES:
        digest = SAMPLES[repository].tags[tag]
        headers = world.token(repository, token.auth)

        def get(path, repository=repository, headers=headers):
            if through == "cgr.dev":
                url = f"{world.cgr}/v2/{repository}/{path}"
                return world.http.get(url, headers=headers, follow_redirects=True)
            return world.get(f"{mirror}/{repository}/{path}")

        for signature, content in (signed_by_tag(get, digest), signed_by_bundle(get, digest)):
            verify(pem, signature, content)
            with pytest.raises(InvalidSignature):
                verify(pem, signature, content.replace(digest[-8:].encode(), b"00000000"))
        if through == "cgr.dev":
            assert not [name for name in get("tags/list").json()["tags"] if name.endswith(".sig")]


def test_another_sandboxs_key_is_another_and_signs_once(tmp_path: Path) -> None:
    first, second = State(tmp_path / "one.db"), State(tmp_path / "two.db")
    image = SAMPLES["chainguard/go"].manifests[SAMPLES["chainguard/go"].tags["latest"]]
    made = signatures.signed(first, "chainguard/go", image)
    layer = json.loads(made.tagged.content)["layers"][0]
    signature = layer["annotations"]["dev.cosignproject.cosign/signature"]
    verify(signatures.public_key(first), signature, made.blobs[0])
    with pytest.raises(InvalidSignature):
        verify(signatures.public_key(second), signature, made.blobs[0])
    for state in (first, second):
        state.close()


def test_publishing_again_leaves_the_signatures_alone(fresh: Api) -> None:
    catalog, name = Catalog(fresh.sandbox), "chainguard/go"
    digest = SAMPLES[name].tags["latest"]
    before = [document.digest for document in catalog.referrers(name, digest)]
    catalog.publish(SAMPLES[name])
    assert [document.digest for document in catalog.referrers(name, digest)] == before
    assert len(before) == 2  # the SBOM and the bundle
