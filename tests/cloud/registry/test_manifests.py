"""Documents that no registry should send, and those that it may."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgrunbook.cloud.manifests import (
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    ImageManifest,
    Index,
    parse_document,
    platform_of_config,
)
from cgrunbook.errors import CgrunbookError, ImageNotAvailable, RegistryError
from cgrunbook.image_reference import Platform

DIGEST = "sha256:" + "0" * 64
BLOB = {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": DIGEST, "size": 5}
MANIFEST = {"schemaVersion": 2, "config": BLOB, "layers": [BLOB]}

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20) | st.just(DIGEST),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["mediaType", "manifests", "layers", "config", "digest", "size", "platform", "os", "architecture"]
            )
            | st.text(max_size=5),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


def parse(document, content_type=""):
    return parse_document(json.dumps(document).encode(), content_type, "chainguard/go:latest")


def entry(platform, size=5, digest=DIGEST):
    parts = dict(zip(("os", "architecture", "variant"), platform.split("/"), strict=False))
    return {"mediaType": OCI_MANIFEST, "digest": digest, "size": size, "platform": parts}


@pytest.mark.parametrize("kind", [OCI_MANIFEST, DOCKER_MANIFEST])
def test_a_manifest_is_known_by_its_own_type_or_the_answers(kind):
    assert isinstance(parse({**MANIFEST, "mediaType": kind}, kind), ImageManifest)
    assert isinstance(parse(MANIFEST, f"{kind}; charset=utf-8"), ImageManifest)
    assert isinstance(parse({**MANIFEST, "mediaType": kind}, "text/plain"), ImageManifest)


@pytest.mark.parametrize("kind", [OCI_INDEX, DOCKER_INDEX])
def test_an_index_is_known_by_its_own_type_or_the_answers(kind):
    assert isinstance(parse({"manifests": [], "mediaType": kind}, kind), Index)
    assert isinstance(parse({"manifests": []}, kind), Index)


def test_a_document_without_any_type_is_known_by_its_shape():
    assert isinstance(parse(MANIFEST, "application/json"), ImageManifest)
    assert isinstance(parse({"manifests": []}), Index)


@pytest.mark.parametrize(
    ("document", "content_type", "said"),
    [
        ({**MANIFEST, "mediaType": OCI_MANIFEST}, OCI_INDEX, "was sent as"),
        ({**MANIFEST, "manifests": []}, OCI_MANIFEST, "an index and a manifest at once"),
        ({**MANIFEST, "mediaType": "application/vnd.example+json"}, "", "unknown type 'application/vnd.example"),
        ({"schemaVersion": 2}, "text/html", "unknown type 'text/html'"),
        ({"schemaVersion": 1, "fsLayers": []}, "application/vnd.docker.distribution.manifest.v1+prettyjws", "schema 1"),
        ({"fsLayers": []}, "application/vnd.docker.distribution.manifest.v1+json", "schema 1"),
        ([], OCI_MANIFEST, "not a JSON object"),
        ({"layers": 5}, OCI_MANIFEST, "no list of layers"),
        ({"manifests": {}}, OCI_INDEX, "no list of manifests"),
        ({"layers": []}, OCI_MANIFEST, "descriptor that is not"),
        ({"config": {**BLOB, "digest": "md5:00"}, "layers": []}, OCI_MANIFEST, "cannot be checked: 'md5:00'"),
        ({"config": {**BLOB, "size": -1}, "layers": []}, OCI_MANIFEST, "usable size"),
        ({"config": {**BLOB, "size": True}, "layers": []}, OCI_MANIFEST, "usable size"),
        ({"config": {**BLOB, "size": 2**63}, "layers": []}, OCI_MANIFEST, "usable size"),
        ({"config": {**BLOB, "size": "5"}, "layers": []}, OCI_MANIFEST, "usable size"),
    ],
)
def test_a_document_that_cannot_be_used_says_why(document, content_type, said):
    with pytest.raises(RegistryError, match=said) as caught:
        parse(document, content_type)
    assert caught.value.message.startswith("chainguard/go:latest ")


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff\xfe", b"[" * 100_000])
def test_a_body_that_is_no_json_says_so(body):
    with pytest.raises(RegistryError, match="JSON"):
        parse_document(body, OCI_MANIFEST, "chainguard/go:latest")


@given(JSON, st.sampled_from([OCI_INDEX, OCI_MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST, "", "text/html"]))
def test_any_json_is_a_document_or_an_error_of_ours(document, content_type):
    try:
        found = parse(document, content_type)
    except CgrunbookError:
        return
    if isinstance(found, Index):
        assert all(descriptor.size >= 0 for _, descriptor in found.manifests)


@given(JSON)
def test_any_config_has_a_platform_or_none(config):
    found = platform_of_config(json.dumps(config).encode())
    assert found is None or found.os


def test_the_platform_without_a_variant_comes_first():
    index = parse({"manifests": [entry("linux/arm64/v8", 1), entry("linux/arm64", 2)]}, OCI_INDEX)
    assert index.choose(Platform("linux/arm64"), "x").size == 2
    assert index.choose(Platform("linux/arm64/v8"), "x").size == 1


def test_arm64_and_its_only_variant_are_the_same():
    assert parse({"manifests": [entry("linux/arm64")]}, OCI_INDEX).choose(Platform("linux/arm64/v8"), "x").size == 5
    assert parse({"manifests": [entry("linux/arm64/v8")]}, OCI_INDEX).choose(Platform("linux/arm64"), "x").size == 5


def test_another_variant_is_not_taken():
    with pytest.raises(ImageNotAvailable, match=r"linux/arm/v6; the platforms there: linux/arm/v7"):
        parse({"manifests": [entry("linux/arm/v7")]}, OCI_INDEX).choose(Platform("linux/arm/v6"), "x")


def test_attestations_are_no_platforms():
    index = parse({"manifests": [entry("unknown/unknown"), {**BLOB}]}, OCI_INDEX)
    with pytest.raises(ImageNotAvailable, match="the platforms there: none"):
        index.choose(Platform("linux/amd64"), "x")
