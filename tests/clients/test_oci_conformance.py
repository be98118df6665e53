"""The OCI's own conformance suite (its part for read-only registries) against cgr.dev and a remote repository.

The suite is the program `conformance` of github.com/opencontainers/distribution-spec/conformance, built as a Go module.
"""

from __future__ import annotations

import secrets

import pytest

from cgrunbook.sandbox.registry.images import sample_repositories
from tests.clients.programs import client, run
from tests.sandbox.registry.conftest import key, world

__all__ = ["key", "world"]  # fixtures

SAMPLES = sample_repositories()
NOT_ASKED = ("API_PUSH", "API_BLOBS_DELETE", "API_MANIFESTS_DELETE", "API_TAGS_DELETE", "API_BLOBS_MOUNT_ANONYMOUS")
ASKED = ("Tag listing", "Blob get", "Blob head", "Manifest get by digest", "Manifest get by tag", "Manifest head by digest",
         "Manifest head by tag", "Referrers", "Ping", "Invalid Manifest Digest", "Read Only Inputs")  # fmt: skip


def verdicts(folder, host, repository, image, credentials) -> dict[str, str]:
    """What the suite says of each thing it tried. It crashes writing its report file, after it has printed all."""
    client("conformance")
    sample = SAMPLES[image]
    settings = {
        "REGISTRY": host,
        "TLS": "disabled",
        "REPO1": repository,
        "USERNAME": credentials[0],
        "PASSWORD": credentials[1],
        "RO_DATA_TAGS": " ".join(sample.tags if not sample.public else ("latest", "latest-dev")),
        "RO_DATA_MANIFESTS": " ".join(sample.manifests),
        "RO_DATA_BLOBS": " ".join(sample.blobs),
        "RO_DATA_REFERRERS": " ".join(sample.tags.values()),
        "RESULTS_DIR": str(folder / "results"),
    } | dict.fromkeys(NOT_ASKED, "false")
    done = run("conformance", check=False, **{f"OCI_{name}": value for name, value in settings.items()})
    lines = [line.partition("..") for line in done.stdout.splitlines() if "..:" in line]
    found = {name.strip(): rest.rpartition(":")[2].strip() for name, _, rest in lines}
    assert "OCI Conformance Result: Pass" in done.stdout, done.stdout
    return found


@pytest.mark.parametrize("image", ["chainguard/go", "example.com/go-fips"])
def test_cgr_dev_conforms(world, image, tmp_path):
    token = world.pull_token()
    host = world.running.hosts["cgr.dev"]
    found = verdicts(tmp_path, host, image, image, token.auth)
    assert {name: found[name] for name in ASKED} == dict.fromkeys(ASKED, "Pass")
    assert found["FAIL"] == found["Error"] == found["Skip"] == "0"


@pytest.mark.parametrize("image", ["chainguard/go", "example.com/go-fips"])
def test_a_remote_repository_conforms(world, image, tmp_path):
    repository = f"r{secrets.token_hex(4)}"
    base = world.private(repository, world.pull_token()).removeprefix("http://")
    host, _, path = base.partition("/v2/")
    for _cold_then_warm in range(2):
        found = verdicts(tmp_path, host, f"{path}/{image}", image, ("oauth2accesstoken", world.operator))
        assert {name: found[name] for name in ASKED} == dict.fromkeys(ASKED, "Pass")
        assert found["FAIL"] == found["Error"] == found["Skip"] == "0"
