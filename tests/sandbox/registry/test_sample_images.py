"""The sample images: true OCI images, the same bytes everywhere."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgrunbook.sandbox.registry.images import INDEX_TYPE, gzip_stored, sample_repositories

REPOSITORIES = sample_repositories("example.com")
#: Written down once: another machine, interpreter or zlib that makes other bytes fails here.
DIGESTS = {
    "chainguard/go:latest": "sha256:ce31a9694441805e91db62e54fe23e40d422e6e7b2f8660f651b21dc489ae1bb",
    "example.com/go-fips:1.25": "sha256:6f253864e517c0cc3096e041b3f57ac402cb503610894b9cb9fc12550f00cae4",
}


def test_digests_are_the_same_on_every_machine():
    found = {
        reference: REPOSITORIES[reference.partition(":")[0]].tags[reference.partition(":")[2]] for reference in DIGESTS
    }
    assert found == DIGESTS


@given(st.binary(max_size=200_000))
def test_a_stored_gzip_stream_is_read_back_by_zlib(content):
    assert gzip.decompress(gzip_stored(content)) == content


@pytest.mark.parametrize("size", [0, 1, 65534, 65535, 65536, 131070, 131071])
def test_block_boundaries_lose_nothing(size):
    assert gzip.decompress(gzip_stored(b"x" * size)) == b"x" * size


@pytest.mark.parametrize("name", [name for name, repository in REPOSITORIES.items() if repository.tags])
def test_everything_that_an_image_names_is_there_and_is_what_it_says(name):
    repository = REPOSITORIES[name]
    for tag, digest in repository.tags.items():
        index = repository.manifests[digest]
        assert index.media_type == INDEX_TYPE
        platforms = json.loads(index.content)["manifests"]
        assert {entry["platform"]["architecture"] for entry in platforms} == {"amd64", "arm64"}, tag
        for entry in platforms:
            manifest = json.loads(repository.manifests[entry["digest"]].content)
            assert len(repository.manifests[entry["digest"]].content) == entry["size"]
            assert 3 <= len(manifest["layers"]) <= 6
            assert manifest["annotations"]["dev.chainguard.package.main"]
            config = json.loads(repository.blobs[manifest["config"]["digest"]])
            assert config["architecture"] == entry["platform"]["architecture"]
            assert len(config["history"]) == len(config["rootfs"]["diff_ids"]) == len(manifest["layers"])
            for layer, diff_id in zip(manifest["layers"], config["rootfs"]["diff_ids"], strict=True):
                blob = repository.blobs[layer["digest"]]
                assert len(blob) == layer["size"]
                tar = gzip.decompress(blob)
                assert f"sha256:{hashlib.sha256(tar).hexdigest()}" == diff_id
                with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
                    assert archive.getnames()


def test_each_index_has_one_referrer_and_signatures_are_not_the_samples_own():
    for repository in REPOSITORIES.values():
        subjects = [m.subject for m in repository.manifests.values() if m.subject]
        assert sorted(subjects) == sorted(set(repository.tags.values()))
        assert not any(b"sigstore" in m.content for m in repository.manifests.values())


def test_private_images_are_none_of_the_free_ones():
    free = {name for name, repository in REPOSITORIES.items() if repository.public}
    assert free == {"chainguard/go", "chainguard/static"}


def test_an_older_build_differs_in_its_main_layer_and_shares_the_rest():
    base = REPOSITORIES["example.com/chainguard-base"]
    layers = []
    for tag in ("latest", "20261102"):
        index = json.loads(base.manifests[base.tags[tag]].content)
        manifest = json.loads(base.manifests[index["manifests"][0]["digest"]].content)
        layers.append({layer["digest"] for layer in manifest["layers"]})
    assert layers[0] & layers[1]
    assert layers[0] - layers[1]
