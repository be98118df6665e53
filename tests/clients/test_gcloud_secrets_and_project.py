"""Secret Manager, the project and its APIs by hand: the guide's gcloud commands, and what other clients see of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import requests
from google.cloud import secretmanager_v1
from google.iam.v1 import options_pb2

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

__all__ = ["clients", "fresh_gcloud", "gcloud", "running"]  # fixtures

State = secretmanager_v1.SecretVersion.State


def test_a_secret_and_its_versions_from_creation_to_deletion(gcloud: Gcloud, clients: Clients, tmp_path: Path) -> None:
    gcloud("secrets", "create", "one", "--labels=made-by=hand", "--set-annotations=note=first")
    found = gcloud("secrets", "describe", "one")
    assert found["name"] == f"{NUMBERED}/secrets/one"
    assert found["replication"] == {"automatic": {}}
    assert (found["labels"], found["annotations"]) == ({"made-by": "hand"}, {"note": "first"})
    with pytest.raises(
        Refused, match=r"Resource in projects .* is the subject of a conflict: Secret .* already exists"
    ):
        gcloud("secrets", "create", "one")

    with pytest.raises(Refused, match="not found or has no versions"):
        gcloud("secrets", "versions", "access", "latest", "--secret=one")
    with pytest.raises(Refused, match="Secret Payload cannot be empty"):
        gcloud("secrets", "versions", "add", "one", "--data-file=-")
    payload = tmp_path / "payload"
    payload.write_bytes(b"\x00first\xff")
    added = gcloud("secrets", "versions", "add", "one", f"--data-file={payload}")
    assert (added["name"], added["state"]) == (f"{NUMBERED}/secrets/one/versions/1", "ENABLED")
    assert added["clientSpecifiedPayloadChecksum"] is True
    gcloud("secrets", "versions", "add", "one", "--data-file=-", stdin="second")
    version = clients.secrets.access_secret_version(name=f"{PROJECT}/secrets/one/versions/1")
    assert version.payload.data == b"\x00first\xff"
    assert gcloud.text("secrets", "versions", "access", "latest", "--secret=one") == "second"

    gcloud("secrets", "versions", "disable", "2", "--secret=one")
    with pytest.raises(Refused, match="is in DISABLED state"):
        gcloud("secrets", "versions", "access", "latest", "--secret=one")
    assert gcloud("secrets", "versions", "describe", "2", "--secret=one")["state"] == "DISABLED"
    gcloud("secrets", "versions", "enable", "2", "--secret=one")
    gcloud("secrets", "versions", "destroy", "1", "--secret=one")
    with pytest.raises(Refused, match="is in DESTROYED state"):
        gcloud("secrets", "versions", "enable", "1", "--secret=one")
    assert [one["state"] for one in gcloud("secrets", "versions", "list", "one")] == ["ENABLED", "DESTROYED"]
    enabled = gcloud("secrets", "versions", "list", "one", "--filter=state:ENABLED")
    assert [one["name"].rpartition("/")[2] for one in enabled] == ["2"]
    python = clients.secrets.list_secret_versions(parent=f"{PROJECT}/secrets/one")
    assert [one.state for one in python] == [State.ENABLED, State.DESTROYED]

    gcloud("secrets", "delete", "one")
    with pytest.raises(Refused, match=r"Secret \[.*\] not found"):
        gcloud("secrets", "describe", "one")


def test_a_secret_with_chosen_places_an_end_aliases_and_delayed_destruction(gcloud: Gcloud, clients: Clients) -> None:
    places = ("--replication-policy=user-managed", "--locations=us-east1,us-west1")
    gcloud("secrets", "create", "two", *places, "--version-destroy-ttl=2592000s")
    found = gcloud("secrets", "describe", "two")
    assert found["replication"]["userManaged"]["replicas"] == [{"location": "us-east1"}, {"location": "us-west1"}]
    gcloud("secrets", "versions", "add", "two", "--data-file=-", stdin="payload")
    gcloud("secrets", "update", "two", "--update-version-aliases=live=1", "--update-labels=team=one")
    assert gcloud.text("secrets", "versions", "access", "live", "--secret=two") == "payload"
    etag = clients.secrets.get_secret(name=f"{PROJECT}/secrets/two").etag
    gcloud("secrets", "update", "two", "--remove-labels=team", f"--etag={etag}")
    with pytest.raises(Refused, match="etag"):
        gcloud("secrets", "update", "two", "--clear-labels", f"--etag={etag}")
    destroyed = gcloud("secrets", "versions", "destroy", "1", "--secret=two")
    assert (destroyed["state"], "scheduledDestroyTime" in destroyed) == ("DISABLED", True)


def test_a_secrets_policy(gcloud: Gcloud, clients: Clients) -> None:
    gcloud("secrets", "create", "three")
    assert gcloud("secrets", "get-iam-policy", "three") == {"etag": "ACAB"}
    assert gcloud("beta", "services", "identity", "create", f"--service={hosts.ARTIFACT_REGISTRY}")["email"] == AGENT
    agent = (f"--member=serviceAccount:{AGENT}", "--role=roles/secretmanager.secretAccessor")
    gcloud("secrets", "add-iam-policy-binding", "three", *agent)
    until = 'request.time < timestamp("2100-01-01T00:00:00Z")'
    reader = ("--member=user:reader@example.com", "--role=roles/secretmanager.viewer")
    gcloud("secrets", "add-iam-policy-binding", "three", *reader, f"--condition=title=until,expression={until}")
    options = options_pb2.GetPolicyOptions(requested_policy_version=3)
    policy = clients.secrets.get_iam_policy({"resource": f"{PROJECT}/secrets/three", "options": options})
    assert policy.version == 3
    assert {binding.role: binding.condition.expression for binding in policy.bindings} == {
        "roles/secretmanager.secretAccessor": "",
        "roles/secretmanager.viewer": until,
    }
    gcloud("secrets", "remove-iam-policy-binding", "three", *agent, "--condition=None")
    nobody = "--member=serviceAccount:service-1@gcp-sa-artifactregistry.iam.gserviceaccount.com"
    with pytest.raises(Refused, match="does not exist"):
        gcloud("secrets", "add-iam-policy-binding", "three", nobody, agent[1], "--condition=None")


def test_the_python_clients_secret_is_gclouds(gcloud: Gcloud, clients: Clients) -> None:
    secret = {"replication": {"automatic": {}}, "labels": {"by": "python"}}
    clients.secrets.create_secret(parent=PROJECT, secret_id="four", secret=secret)
    clients.secrets.add_secret_version(parent=f"{PROJECT}/secrets/four", payload={"data": b"from python"})
    assert gcloud.text("secrets", "versions", "access", "1", "--secret=four") == "from python"
    listed = gcloud("secrets", "list", "--filter=labels.by=python")
    assert [one["name"] for one in listed] == [f"{NUMBERED}/secrets/four"]


def test_the_projects_apis(fresh_gcloud: Gcloud, clients: Clients) -> None:
    gcloud, kms = fresh_gcloud, hosts.CLOUD_KMS
    assert kms in [one["config"]["name"] for one in gcloud("services", "list", "--available")]
    with pytest.raises(Refused, match="SERVICE_DISABLED"):
        gcloud("billing", "projects", "describe", settings.PROJECT_ID)
    gcloud("services", "enable", kms, hosts.CLOUD_BILLING)
    assert gcloud("billing", "projects", "describe", settings.PROJECT_ID)["billingEnabled"] is True
    assert kms in [one["config"]["name"] for one in gcloud("services", "list", "--enabled")]
    assert clients.services.get_service({"name": f"{PROJECT}/services/{kms}"}).state.name == "ENABLED"
    gcloud("services", "disable", hosts.CLOUD_BILLING, kms)
    assert kms not in [one["config"]["name"] for one in gcloud("services", "list", "--enabled")]
    with pytest.raises(Refused, match="Not found or permission denied for service"):
        gcloud("services", "enable", "nosuchthing.googleapis.com")


def test_the_project_and_its_policy(fresh_gcloud: Gcloud, clients: Clients) -> None:
    gcloud, project = fresh_gcloud, settings.PROJECT_ID
    found = gcloud("projects", "describe", project)
    assert (found["projectId"], found["projectNumber"]) == (project, settings.PROJECT_NUMBER)
    assert [one["type"] for one in gcloud("projects", "get-ancestors", project)] == ["project", "organization"]
    reader = "--member=user:reader@example.com"
    gcloud("projects", "add-iam-policy-binding", project, reader, "--role=roles/viewer", "--condition=None")
    until = 'title=until,expression=request.time < timestamp("2100-01-01T00:00:00Z")'
    gcloud("projects", "add-iam-policy-binding", project, reader, "--role=roles/browser", f"--condition={until}")
    policy = gcloud("projects", "get-iam-policy", project)
    assert policy["version"] == 3
    assert {"role": "roles/viewer", "members": ["user:reader@example.com"]} in policy["bindings"]
    options = options_pb2.GetPolicyOptions(requested_policy_version=3)
    seen = clients.projects.get_iam_policy({"resource": PROJECT, "options": options})
    assert {binding.role for binding in seen.bindings} == {binding["role"] for binding in policy["bindings"]}
    gcloud("projects", "remove-iam-policy-binding", project, reader, "--role=roles/viewer", "--condition=None")
    roles = [binding["role"] for binding in gcloud("projects", "get-iam-policy", project)["bindings"]]
    assert "roles/viewer" not in roles


def test_gcloud_hands_out_the_operators_token(fresh_gcloud: Gcloud, running: process.Running) -> None:
    printed = fresh_gcloud.text("auth", "print-access-token").strip()
    assert printed == running.access_token_file.read_text()


def test_what_the_log_shows_of_gcloud_is_readable_and_holds_no_secret(gcloud: Gcloud, running: process.Running) -> None:
    from cgrunbook.sandbox import request_log

    gcloud("secrets", "create", "logged")
    gcloud("secrets", "versions", "add", "logged", "--data-file=-", stdin="a canary")
    kept = list(request_log.Reader(running.folder).kept())
    line = next(one for one in reversed(kept) if one.path.partition("?")[0].endswith("/secrets/logged:addVersion"))
    assert (line.client, line.method, line.status) == ("gcloud", "POST", 200)
    text = json.dumps([request_log.shown(one, colours=False) for one in kept])
    assert "canary" not in text
    assert running.access_token_file.read_text() not in text


def test_gcloud_reads_the_failed_pulls_of_a_repository_whose_platform_logs_are_on(gcloud: Gcloud) -> None:
    there, name = gcloud.running, f"{PROJECT}/locations/us-central1/repositories/logged"
    gcloud("services", "enable", hosts.ARTIFACT_REGISTRY, hosts.LOGGING)
    gcloud("artifacts", "repositories", "create", "logged", "--location=us-central1", "--repository-format=docker")
    signed_in = {"Authorization": f"Bearer {there.access_token_file.read_text()}"}
    address = f"http://{there.hosts[hosts.ARTIFACT_REGISTRY]}/v1/{name}?updateMask=platformLogsConfig"
    on = {"platformLogsConfig": {"loggingState": "ENABLED"}}
    assert requests.patch(address, json=on, headers=signed_in, timeout=30).ok
    image = f"{settings.PROJECT_ID}/logged/nothing/manifests/latest"
    refused = requests.get(f"http://{there.docker_host('us-central1')}/v2/{image}", headers=signed_in, timeout=30)

    (entry,) = gcloud("logging", "read", 'severity>=WARNING AND resource.labels.repository_id="logged"', "--limit=5")

    assert entry["jsonPayload"]["status"]["message"] == refused.json()["errors"][0]["message"]
    assert entry["labels"]["resource_name"] == f"{name}/nothing"
    with pytest.raises(Refused, match="Unparseable filter"):
        gcloud("logging", "read", 'log_id("x")')
