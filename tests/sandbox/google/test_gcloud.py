"""The real gcloud against a running sandbox: the guide's commands, by hand."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from cgrunbook.sandbox import context, process

AGENT = f"service-{context.PROJECT_NUMBER}@gcp-sa-artifactregistry.iam.gserviceaccount.com"
Gcloud = Callable[..., Any]


class Refused(Exception):
    """gcloud ended with an exit code; the message is what it wrote to stderr."""


@pytest.fixture
def gcloud(sandbox: process.Running) -> Gcloud:
    """Run gcloud in the sandbox's environment; answers its JSON, or its text where that is no JSON."""
    executable = shutil.which("gcloud")
    if executable is None:
        if os.environ.get("CGRUNBOOK_REQUIRE_CLIENTS") == "1":
            pytest.fail("gcloud is not installed, and CGRUNBOOK_REQUIRE_CLIENTS=1 wants it")
        pytest.skip("gcloud is not installed")
    variables = os.environ | process.environment(sandbox)

    def run(*arguments: str, stdin: str = "") -> Any:
        done = subprocess.run(
            [executable, *arguments, "--format=json"],
            env=variables,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if done.returncode:
            raise Refused(done.stderr)
        try:
            return json.loads(done.stdout)
        except ValueError:
            return done.stdout

    return run


def test_the_project_and_its_apis(gcloud: Gcloud) -> None:
    assert gcloud("projects", "describe", context.PROJECT_ID)["projectNumber"] == context.PROJECT_NUMBER
    with pytest.raises(Refused, match="has not been used in project"):
        gcloud("secrets", "list")
    gcloud("services", "enable", context.SECRET_MANAGER, context.ARTIFACT_REGISTRY)
    enabled = {service["config"]["name"] for service in gcloud("services", "list", "--enabled")}
    assert {context.SECRET_MANAGER, context.ARTIFACT_REGISTRY} <= enabled


def test_a_projects_policy_is_read_changed_and_read_again(gcloud: Gcloud) -> None:
    member = "--member=user:reader@example.com"
    until = 'request.time < timestamp("2100-01-01T00:00:00Z")'
    command = ("projects", "add-iam-policy-binding", context.PROJECT_ID, member)
    gcloud(*command, "--role=roles/viewer", "--condition=None")
    gcloud(*command, "--role=roles/browser", f"--condition=title=until,expression={until}")
    policy = gcloud("projects", "get-iam-policy", context.PROJECT_ID)
    assert policy["version"] == 3
    conditional = next(binding for binding in policy["bindings"] if "condition" in binding)
    assert conditional["condition"]["expression"] == until
    assert {"role": "roles/viewer", "members": ["user:reader@example.com"]} in policy["bindings"]


def test_a_remote_repository_with_a_password_in_secret_manager(gcloud: Gcloud) -> None:
    gcloud("services", "enable", context.SECRET_MANAGER, context.ARTIFACT_REGISTRY)
    assert "us-central1" in [place["name"].rpartition("/")[2] for place in gcloud("artifacts", "locations", "list")]
    identity = ("beta", "services", "identity", "create", f"--service={context.ARTIFACT_REGISTRY}")
    assert gcloud(*identity)["email"] == AGENT
    gcloud("secrets", "create", "token", "--labels=made-by=test")
    version = gcloud("secrets", "versions", "add", "token", "--data-file=-", stdin="no pull token")
    assert version["name"] == f"projects/{context.PROJECT_NUMBER}/secrets/token/versions/1"
    role = "--role=roles/secretmanager.secretAccessor"
    gcloud("secrets", "add-iam-policy-binding", "token", f"--member=serviceAccount:{AGENT}", role)
    assert gcloud("secrets", "get-iam-policy", "token")["bindings"][0]["members"] == [f"serviceAccount:{AGENT}"]
    where = "--location=us-central1"
    create = (
        "artifacts", "repositories", "create", "private", where, "--repository-format=docker", "--mode=remote-repository",
        "--remote-docker-repo=https://cgr.dev/", "--remote-repo-config-desc=of Chainguard", "--description=private images",
        "--labels=made-by=test", "--remote-username=org/id",
        f"--remote-password-secret-version=projects/{context.PROJECT_ID}/secrets/token/versions/1",
    )  # fmt: skip
    with pytest.raises(Refused, match="your upstream credentials are invalid"):
        gcloud(*create)
    gcloud(*create, "--disable-remote-validation")
    found = gcloud("artifacts", "repositories", "describe", "private", where)
    assert found["registryUri"] == f"us-central1-docker.pkg.dev/{context.PROJECT_ID}/private"
    assert found["remoteRepositoryConfig"]["commonRepository"] == {"uri": "https://cgr.dev/"}
    assert found["remoteRepositoryConfig"]["upstreamCredentials"] == {
        "usernamePasswordCredentials": {
            "username": "org/id",
            "passwordSecretVersion": f"projects/{context.PROJECT_ID}/secrets/token/versions/1",
        }
    }
    changed = gcloud(
        "artifacts", "repositories", "update", "private", where, "--update-labels=team=one", "--remote-username=org/new",
        f"--remote-password-secret-version=projects/{context.PROJECT_ID}/secrets/token/versions/latest",
        "--disable-remote-validation",
    )  # fmt: skip
    assert changed["labels"] == {"made-by": "test", "team": "one"}
    pair = changed["remoteRepositoryConfig"]["upstreamCredentials"]["usernamePasswordCredentials"]
    assert pair["username"] == "org/new"
    assert [one["name"] for one in gcloud("artifacts", "repositories", "list")] == [found["name"]]
    policy = '[{"name": "old", "action": {"type": "Delete"}, "condition": {"olderThan": "30d", "tagState": "any"}}]'
    command = (
        "artifacts",
        "repositories",
        "set-cleanup-policies",
        "private",
        where,
        "--policy=/dev/stdin",
        "--dry-run",
    )
    gcloud(*command, stdin=policy)
    found = gcloud("artifacts", "repositories", "describe", "private", where)
    assert found["cleanupPolicies"]["old"]["condition"] == {"olderThan": "2592000s", "tagState": "ANY"}
    gcloud("artifacts", "repositories", "delete", "private", where)
    with pytest.raises(Refused, match="NOT_FOUND"):
        gcloud("artifacts", "repositories", "describe", "private", where)


def test_a_secrets_versions(gcloud: Gcloud) -> None:
    gcloud("services", "enable", context.SECRET_MANAGER)
    gcloud("secrets", "create", "one", "--replication-policy=user-managed", "--locations=us-east1,us-west1")
    with pytest.raises(Refused, match="is the subject of a conflict"):
        gcloud("secrets", "create", "one")
    with pytest.raises(Refused, match="Secret Payload cannot be empty"):
        gcloud("secrets", "versions", "add", "one", "--data-file=-")
    for payload in ("first", "second"):
        gcloud("secrets", "versions", "add", "one", "--data-file=-", stdin=payload)
    found = gcloud("secrets", "versions", "access", "latest", "--secret=one")
    assert found["name"].endswith("/versions/2")
    gcloud("secrets", "versions", "disable", "2", "--secret=one")
    with pytest.raises(Refused, match="is in DISABLED state"):
        gcloud("secrets", "versions", "access", "latest", "--secret=one")
    gcloud("secrets", "versions", "enable", "2", "--secret=one")
    gcloud("secrets", "versions", "destroy", "1", "--secret=one")
    versions = gcloud("secrets", "versions", "list", "one")
    assert [version["state"] for version in versions] == ["ENABLED", "DESTROYED"]
    assert [secret["name"].rpartition("/")[2] for secret in gcloud("secrets", "list")] == ["one"]
    gcloud("secrets", "delete", "one")
    with pytest.raises(Refused, match="not found"):
        gcloud("secrets", "describe", "one")


def test_gcloud_hands_out_the_operators_token(gcloud: Gcloud, sandbox: process.Running) -> None:
    printed = gcloud("auth", "print-access-token")
    token = printed["token"] if isinstance(printed, dict) else printed.strip()
    assert token == sandbox.access_token_file.read_text()
