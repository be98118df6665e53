"""Artifact Registry by hand: the guide's gcloud commands with each of their flags, and what other clients see of it."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from google.cloud import artifactregistry_v1

from cgrunbook.sandbox import hosts, process, settings
from tests.clients.gcloud import (
    AGENT,
    NUMBERED,
    PROJECT,
    Clients,
    Gcloud,
    Refused,
    clients,
    fresh_gcloud,
    gcloud,
    running,
)
from tests.sandboxes import sandbox_home

__all__ = ["clients", "fresh_gcloud", "gcloud", "running"]  # fixtures

HERE = "--location=us-central1"
PARENT = f"{PROJECT}/locations/us-central1"
REMOTE = ("--repository-format=docker", "--mode=remote-repository")


def create(gcloud: Gcloud, name: str, *flags: str, upstream: str = "https://cgr.dev/", where: str = HERE) -> Any:
    return gcloud(
        "artifacts", "repositories", "create", name, where, *REMOTE, f"--remote-docker-repo={upstream}", *flags
    )


def describe(gcloud: Gcloud, name: str, where: str = HERE) -> Any:
    return gcloud("artifacts", "repositories", "describe", name, where)


def update(gcloud: Gcloud, name: str, *flags: str) -> Any:
    return gcloud("artifacts", "repositories", "update", name, HERE, *flags)


def granted_secret(gcloud: Gcloud, clients: Clients, name: str, payload: str) -> str:
    """A secret whose version 1 the service agent may read; the version's name as the guide writes it."""
    gcloud("beta", "services", "identity", "create", f"--service={hosts.ARTIFACT_REGISTRY}")
    secret = clients.secrets.create_secret(parent=PROJECT, secret_id=name, secret={"replication": {"automatic": {}}})
    clients.secrets.add_secret_version(parent=secret.name, payload={"data": payload.encode()})
    role = "--role=roles/secretmanager.secretAccessor"
    gcloud("secrets", "add-iam-policy-binding", name, f"--member=serviceAccount:{AGENT}", role)
    return f"{PROJECT}/secrets/{name}/versions/1"


def pull_token(running: process.Running) -> tuple[str, str]:
    command = [str(running.bin / "chainctl"), "auth", "pull-token", "create", "--parent=example.com", "--output=json"]
    told = json.loads(subprocess.check_output(command, text=True))
    return told["identity_id"], told["token"]


def manifest(running: process.Running, image: str, location: str = "us-central1") -> str:
    """Pull an image's index through the location's docker host; its digest."""
    path, _, tag = image.rpartition(":")
    request = urllib.request.Request(
        f"http://{running.docker_host(location)}/v2/{settings.PROJECT_ID}/{path}/manifests/{tag}",
        headers={
            "Authorization": f"Bearer {running.access_token_file.read_text()}",
            "Accept": "application/vnd.oci.image.index.v1+json",
        },
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return str(answer.headers["Docker-Content-Digest"])


def test_locations_are_those_of_artifact_registry(gcloud: Gcloud) -> None:
    names = {place["name"].rpartition("/")[2] for place in gcloud("artifacts", "locations", "list")}
    assert {"us-central1", "europe", "us", "asia"} <= names
    assert "us-west8" not in names  # Google opens it to chosen customers only


def test_developer_images_with_every_flag_of_create_and_update(gcloud: Gcloud, clients: Clients) -> None:
    create(gcloud, "public", "--remote-repo-config-desc=of Chainguard", "--description=first", "--labels=a=one,b=two")
    found = describe(gcloud, "public")
    assert found["format"] == "DOCKER"
    assert found["mode"] == "REMOTE_REPOSITORY"
    assert found["remoteRepositoryConfig"] == {
        "commonRepository": {"uri": "https://cgr.dev/"},
        "description": "of Chainguard",
    }
    assert found["registryUri"] == f"us-central1-docker.pkg.dev/{settings.PROJECT_ID}/public"
    assert found["vulnerabilityScanningConfig"]["enablementState"] == "SCANNING_DISABLED"
    changed = update(gcloud, "public", "--description=second", "--update-labels=a=three,c=four", "--remove-labels=b")
    assert changed["description"] == "second"
    assert changed["labels"] == {"a": "three", "c": "four"}
    assert "registryUri" not in changed
    changed = update(gcloud, "public", "--clear-labels", "--disable-vulnerability-scanning")
    assert "labels" not in changed
    assert changed["vulnerabilityScanningConfig"]["enablementConfig"] == "DISABLED"
    assert update(gcloud, "public", "--allow-vulnerability-scanning")["vulnerabilityScanningConfig"][
        "enablementConfig"
    ] == ("INHERITED")
    with pytest.raises(Refused, match="immutable"):
        update(gcloud, "public", "--immutable-tags")
    python = clients.artifacts.get_repository(name=f"{PARENT}/repositories/public")
    assert python.description == "second"
    assert python.remote_repository_config.common_repository.uri == "https://cgr.dev/"
    assert python.registry_uri == found["registryUri"]


def test_production_images_with_a_pull_token_and_its_rotation(
    gcloud: Gcloud, clients: Clients, running: process.Running
) -> None:
    username, password = pull_token(running)
    version = granted_secret(gcloud, clients, "production", password)
    wrong = ("--remote-username=nobody/else", f"--remote-password-secret-version={version}")
    with pytest.raises(Refused, match="your upstream credentials are invalid"):
        create(gcloud, "production", *wrong)
    create(gcloud, "production", f"--remote-username={username}", f"--remote-password-secret-version={version}")
    pair = describe(gcloud, "production")["remoteRepositoryConfig"]["upstreamCredentials"][
        "usernamePasswordCredentials"
    ]
    assert pair == {"username": username, "passwordSecretVersion": version}
    assert manifest(running, "production/example.com/chainguard-base:latest").startswith("sha256:")

    username, password = pull_token(running)
    added = gcloud("secrets", "versions", "add", "production", "--data-file=-", stdin=password)
    assert added["name"] == f"{NUMBERED}/secrets/production/versions/2"
    half = f"--remote-password-secret-version={PROJECT}/secrets/production/versions/2"
    with pytest.raises(Refused, match="your upstream credentials are invalid"):
        update(gcloud, "production", half)  # the username is the old token's
    changed = update(gcloud, "production", half, f"--remote-username={username}")
    pair = changed["remoteRepositoryConfig"]["upstreamCredentials"]["usernamePasswordCredentials"]
    assert pair["username"] == username
    unchecked = update(gcloud, "production", "--remote-username=nobody/else", "--disable-remote-validation")
    assert "disableUpstreamValidation" not in unchecked["remoteRepositoryConfig"]


def test_creation_that_is_not_waited_for_and_the_hidden_generic_upstream(gcloud: Gcloud, clients: Clients) -> None:
    flags = ("--remote-repo=https://cgr.dev", "--async", "--disable-remote-validation")
    gcloud("artifacts", "repositories", "create", "later", HERE, *REMOTE, *flags)
    found = clients.artifacts.get_repository(name=f"{PARENT}/repositories/later")
    assert found.remote_repository_config.common_repository.uri == "https://cgr.dev"
    gcloud("artifacts", "repositories", "delete", "later", HERE, "--async")
    with pytest.raises(Refused, match="NOT_FOUND"):
        describe(gcloud, "later")


def test_an_encrypted_repository_a_preset_and_a_standard_one(gcloud: Gcloud) -> None:
    gcloud("services", "enable", hosts.CLOUD_KMS)
    gcloud("beta", "services", "identity", "create", f"--service={hosts.ARTIFACT_REGISTRY}")
    key = f"{PROJECT}/locations/us-central1/keyRings/ring/cryptoKeys/key"
    create(gcloud, "preset", f"--kms-key={key}", "--disable-remote-validation", upstream="DOCKER-HUB")
    found = describe(gcloud, "preset")
    assert found["kmsKeyName"] == key
    assert found["remoteRepositoryConfig"]["dockerRepository"] == {"publicRepository": "DOCKER_HUB"}
    gcloud("artifacts", "repositories", "create", "standard", HERE, "--repository-format=docker", "--immutable-tags")
    assert describe(gcloud, "standard")["dockerConfig"] == {"immutableTags": True}


def test_what_artifact_registry_refuses_gcloud_says(gcloud: Gcloud) -> None:
    create(gcloud, "taken", "--disable-remote-validation")
    with pytest.raises(Refused, match="ALREADY_EXISTS: the repository already exists"):
        create(gcloud, "taken", "--disable-remote-validation")
    with pytest.raises(Refused, match="NOT_FOUND: Requested entity was not found"):
        describe(gcloud, "nowhere")
    with pytest.raises(Refused, match="INVALID_ARGUMENT"):
        gcloud("artifacts", "repositories", "create", "none", HERE, *REMOTE)
    with pytest.raises(Refused, match="invalid argument"):
        create(gcloud, "mars", where="--location=us-east7")


@pytest.mark.long
def test_one_name_in_two_locations_is_two_repositories_also_to_those_who_pull(
    gcloud: Gcloud, running: process.Running
) -> None:
    create(gcloud, "twice", "--description=here")
    create(gcloud, "twice", "--description=there", where="--location=europe")
    listed = gcloud("artifacts", "repositories", "list", "--filter=name~/twice$")
    assert sorted(one["description"] for one in listed) == ["here", "there"]
    assert manifest(running, "twice/chainguard/go:latest", "europe").startswith("sha256:")
    there = gcloud("artifacts", "docker", "images", "list", f"europe-docker.pkg.dev/{settings.PROJECT_ID}/twice")
    here = gcloud("artifacts", "docker", "images", "list", f"us-central1-docker.pkg.dev/{settings.PROJECT_ID}/twice")
    assert (len(there), here) == (1, [])
    gcloud("artifacts", "repositories", "delete", "twice", "--location=europe")
    assert describe(gcloud, "twice")["description"] == "here"


@pytest.mark.long
def test_cached_images_are_listed_with_tags_and_thrown_away(gcloud: Gcloud, running: process.Running) -> None:
    create(gcloud, "cached")
    digest = manifest(running, "cached/chainguard/static:latest")
    root = f"us-central1-docker.pkg.dev/{settings.PROJECT_ID}/cached"
    image = gcloud("artifacts", "docker", "images", "list", root, "--include-tags")[0]
    assert (image["package"], image["version"], image["tags"]) == (f"{root}/chainguard/static", digest, ["latest"])
    tags = gcloud("artifacts", "docker", "tags", "list", f"{root}/chainguard/static")
    assert tags[0]["version"].endswith(digest)
    summary = gcloud("artifacts", "docker", "images", "describe", f"{root}/chainguard/static:latest")
    assert summary["image_summary"]["digest"] == digest
    where = ("--repository=cached", HERE)
    assert [one["name"] for one in gcloud("artifacts", "packages", "list", *where)] == ["chainguard/static"]
    versions = gcloud("artifacts", "versions", "list", "--package=chainguard/static", *where)
    assert versions[0]["name"].endswith(digest)
    with pytest.raises(Refused, match="tag"):
        gcloud("artifacts", "docker", "images", "delete", f"{root}/chainguard/static@{digest}")
    gcloud("artifacts", "docker", "images", "delete", f"{root}/chainguard/static@{digest}", "--delete-tags")
    assert gcloud("artifacts", "docker", "images", "list", root) == []
    assert manifest(running, "cached/chainguard/static:latest") == digest


def test_a_repositorys_policy_and_cleanup_policies(gcloud: Gcloud, clients: Clients, tmp_path: Path) -> None:
    create(gcloud, "kept", "--disable-remote-validation")
    member = ("--member=user:reader@example.com", "--role=roles/artifactregistry.reader")
    gcloud("artifacts", "repositories", "add-iam-policy-binding", "kept", HERE, *member)
    policy = clients.artifacts.get_iam_policy({"resource": f"{PARENT}/repositories/kept"})
    assert [list(binding.members) for binding in policy.bindings] == [["user:reader@example.com"]]
    gcloud("artifacts", "repositories", "remove-iam-policy-binding", "kept", HERE, *member)
    assert "bindings" not in gcloud("artifacts", "repositories", "get-iam-policy", "kept", HERE)
    rules = tmp_path / "policy.json"
    condition = {"olderThan": "30d", "tagState": "any"}
    rules.write_text(json.dumps([{"name": "old", "action": {"type": "Delete"}, "condition": condition}]))
    gcloud("artifacts", "repositories", "set-cleanup-policies", "kept", HERE, f"--policy={rules}", "--dry-run")
    found = clients.artifacts.get_repository(name=f"{PARENT}/repositories/kept")
    assert found.cleanup_policies["old"].condition.older_than.days == 30
    assert found.cleanup_policy_dry_run
    gcloud("artifacts", "repositories", "delete-cleanup-policies", "kept", HERE, "--policynames=old")
    assert "cleanupPolicies" not in describe(gcloud, "kept")


def test_the_perimeters_setting_of_a_location(gcloud: Gcloud) -> None:
    europe = "--location=europe-west1"
    assert gcloud("artifacts", "vpcsc-config", "describe", europe)["vpcscPolicy"] == "DENY"
    gcloud("artifacts", "vpcsc-config", "allow", europe)
    assert gcloud("artifacts", "vpcsc-config", "describe", europe)["vpcscPolicy"] == "ALLOW"


def test_docker_is_configured_to_ask_gcloud_whose_helper_answers_for_the_sandbox(
    gcloud: Gcloud, running: process.Running, tmp_path: Path
) -> None:
    host = running.docker_host("us-central1")
    variables = gcloud.variables | {"DOCKER_CONFIG": str(tmp_path)}
    command = ["gcloud", "auth", "configure-docker", host, "--quiet"]
    subprocess.run(command, env=variables, capture_output=True, check=True)
    assert json.loads((tmp_path / "config.json").read_text())["credHelpers"] == {host: "gcloud"}
    helper = ["docker-credential-gcloud", "get"]
    told = json.loads(subprocess.check_output(helper, input=host, env=variables, text=True))
    assert told["Username"] == "_dcgcloud_token"
    basic = base64.b64encode(f"{told['Username']}:{told['Secret']}".encode()).decode()
    request = urllib.request.Request(f"http://{host}/v2/token", headers={"Authorization": f"Basic {basic}"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert json.load(answer)["token"]


@pytest.mark.usefixtures("forked")
@pytest.mark.long
def test_what_a_run_of_the_notebooks_made_gcloud_describes(tmp_path: Path) -> None:
    with sandbox_home(tmp_path / "home") as home:
        command = [sys.executable, "-m", "cgrunbook", "run", "--output", str(tmp_path / "out")]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        with Gcloud(process.start(home)) as gcloud:
            for name in ("chainguard-pull-through", "chainguard-private"):
                found = describe(gcloud, name)
                assert found["mode"] == "REMOTE_REPOSITORY"
                assert found["labels"] == {"managed-by": "cgrunbook"}
            pair = found["remoteRepositoryConfig"]["upstreamCredentials"]["usernamePasswordCredentials"]
            secret, _, number = pair["passwordSecretVersion"].partition("/versions/")
            version = gcloud("secrets", "versions", "describe", number, f"--secret={secret.rpartition('/')[2]}")
            assert version["state"] == "ENABLED"
            policy = gcloud("secrets", "get-iam-policy", "chainguard-pull-token")
            assert {"role": "roles/secretmanager.secretAccessor", "members": [f"serviceAccount:{AGENT}"]} in policy[
                "bindings"
            ]
            root = f"us-central1-docker.pkg.dev/{settings.PROJECT_ID}/chainguard-private"
            assert any(
                image["package"].startswith(root) for image in gcloud("artifacts", "docker", "images", "list", root)
            )


def test_the_python_clients_repository_is_gclouds(gcloud: Gcloud, clients: Clients) -> None:
    config = artifactregistry_v1.RemoteRepositoryConfig(
        docker_repository={"custom_repository": {"uri": "https://cgr.dev"}}, disable_upstream_validation=True
    )
    repository = artifactregistry_v1.Repository(
        format_="DOCKER", mode="REMOTE_REPOSITORY", labels={"by": "python"}, remote_repository_config=config
    )
    clients.artifacts.create_repository(parent=PARENT, repository_id="pythons", repository=repository).result(
        timeout=30
    )
    found = describe(gcloud, "pythons")
    assert found["labels"] == {"by": "python"}
    assert found["remoteRepositoryConfig"]["dockerRepository"] == {"customRepository": {"uri": "https://cgr.dev"}}
