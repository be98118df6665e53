"""The services against the sandbox, as a black box: what the one sends and the other answers fits together."""

from __future__ import annotations

import datetime as dt
import secrets
from dataclasses import replace

import pytest

from cgrunbook.cloud import Attempts, Cloud, Wait, connect
from cgrunbook.cloud.artifact_registry import CleanupPolicy, RemoteRepository
from cgrunbook.cloud.secret_manager import Rotation, SecretResource
from cgrunbook.errors import (
    AlreadyExists,
    ApiDisabled,
    Conflict,
    InvalidRequest,
    NotFound,
    PermissionMissing,
    PrerequisiteMissing,
    UpstreamCredentialsRefused,
    WrongState,
)
from cgrunbook.redaction import Secret
from cgrunbook.sandbox import process

AR, SM = "artifactregistry.googleapis.com", "secretmanager.googleapis.com"
ACCESSOR = "roles/secretmanager.secretAccessor"


@pytest.fixture
def waits() -> list[Wait]:
    return []


@pytest.fixture
def cloud(tmp_path, monkeypatch, waits):
    monkeypatch.setenv("CGRUNBOOK_HOME", str(tmp_path))
    monkeypatch.setenv("CGRUNBOOK_SANDBOX_IAM_DELAY", "0.3")
    monkeypatch.setenv("CGRUNBOOK_SANDBOX_AGENT_DELAY", "0.3")
    yield Cloud(connect("sandbox"), Attempts(limit=30, first=0.05, longest=0.2, on_wait=waits.append))
    process.stop()


@pytest.fixture
def ready(cloud: Cloud) -> Cloud:
    """With both APIs on."""
    assert cloud.project.enable_api(AR) is True
    assert cloud.project.enable_api(SM) is True
    return cloud


def wanted(cloud: Cloud, name: str = "chainguard", **settings) -> RemoteRepository:
    return RemoteRepository(name=cloud.repositories.name(name), upstream="https://cgr.dev/", **settings)


def member(cloud: Cloud) -> str:
    return f"serviceAccount:{cloud.project.service_agent_email()}"


def with_id(cloud: Cloud, name: str) -> str:
    """A resource's name with the project's id where the service wrote its number."""
    return name.replace(f"projects/{cloud.project.number()}/", f"projects/{cloud.project.id}/")


def test_the_project_says_what_it_is_and_what_is_off(cloud):
    assert cloud.project.number().isdigit()
    assert cloud.project.api_enabled(AR) is False
    with pytest.raises(ApiDisabled) as caught:
        cloud.repositories.get("chainguard")
    assert f"gcloud services enable {AR} --project=cgrunbook-sandbox" in caught.value.remedy
    with pytest.raises(ApiDisabled):
        cloud.secrets.get("token")
    asked = ["artifactregistry.repositories.create", "secretmanager.secrets.create", "serviceusage.services.enable"]
    assert cloud.project.held_permissions(asked) == set(asked)


def test_an_api_is_enabled_once(ready):
    assert ready.project.api_enabled(AR) is True
    assert ready.project.enable_api(AR) is False


def test_a_project_that_is_not_ours_is_a_prerequisite_that_is_missing(cloud):
    other = Cloud(connect("sandbox", project_id="no-such-project"), cloud.attempts)
    with pytest.raises((PermissionMissing, NotFound)):
        other.project.number()


def test_a_developer_repository_lives_its_life(ready):
    old = {"tag_state": "ANY", "older_than": dt.timedelta(days=90)}
    keep = {"keep": CleanupPolicy(id="keep", action="KEEP", most_recent_versions={"keep_count": 5})}
    policies = keep | {"old": CleanupPolicy(id="old", action="DELETE", condition=old)}
    asked = wanted(
        ready,
        description="pull-through",
        labels={"made-by": "cgrunbook"},
        cleanup_policies=policies,
        cleanup_policy_dry_run=True,
        vulnerability_scanning="disabled",
    )
    there = ready.repositories.create(asked)
    assert there == replace(asked, name=there.name, scanning_state=there.scanning_state)
    assert [one.id for one in ready.repositories.list()] == ["chainguard"]
    with pytest.raises(AlreadyExists):
        ready.repositories.create(asked)
    changed = ready.repositories.update(
        there, replace(there, labels={"team": "a"}, cleanup_policies=keep, cleanup_policy_dry_run=False)
    )
    assert (changed.labels, changed.cleanup_policies, changed.cleanup_policy_dry_run) == (
        {"team": "a"},
        keep,
        False,
    )
    assert changed.description == "pull-through"
    assert ready.repositories.delete("chainguard") is True
    assert ready.repositories.get("chainguard") is None
    assert ready.repositories.delete("chainguard") is False


def test_locations_are_offered(ready):
    assert {"us-central1", "europe"} <= set(ready.repositories.locations())


def test_a_wrong_upstream_is_refused(ready):
    asked = replace(wanted(ready), upstream="https://cgr.dev/chainguard")
    with pytest.raises(InvalidRequest):
        ready.repositories.create(asked)
    assert ready.repositories.get("chainguard") is None


def test_a_secret_lives_its_life(ready):
    soon = dt.datetime.now(dt.UTC).replace(microsecond=0) + dt.timedelta(days=30)
    asked = SecretResource(
        name=ready.secrets.name("token"),
        labels={"made-by": "cgrunbook"},
        annotations={"note": "pull token"},
        replication=("us-central1",),
        topics=("projects/cgrunbook-sandbox/topics/rotate",),
        rotation=Rotation(soon, dt.timedelta(days=30)),
    )
    there = ready.secrets.create(asked)
    assert replace(there, name="", etag="") == replace(asked, name="")
    assert there.name == f"projects/{ready.project.number()}/secrets/token"
    assert with_id(ready, there.name) == asked.name
    with pytest.raises(AlreadyExists):
        ready.secrets.create(asked)
    changed = ready.secrets.update(there, replace(there, labels={"team": "a"}))
    assert changed.labels == {"team": "a"}
    assert changed.rotation == asked.rotation
    with pytest.raises(Conflict):
        ready.secrets.update(there, replace(there, labels={"team": "b"}))

    assert ready.secrets.version("token", "latest") is None
    value = Secret(secrets.token_urlsafe(32))
    added = ready.secrets.add_version("token", value)
    assert (added.number, added.state) == (1, "ENABLED")
    assert ready.secrets.access("token") == value
    assert ready.secrets.disable("token", 1).state == "DISABLED"
    with pytest.raises(WrongState) as caught:
        ready.secrets.access("token")
    assert "gcloud secrets versions enable 1 --secret=token" in caught.value.remedy
    assert ready.secrets.enable("token", 1).enabled
    ready.secrets.add_version("token", Secret(secrets.token_urlsafe(32)))
    assert ready.secrets.destroy("token", 1).state == "DESTROYED"
    assert ready.secrets.destroy("token", 1).state == "DESTROYED"
    assert [(one.number, one.state) for one in ready.secrets.versions("token")] == [(2, "ENABLED"), (1, "DESTROYED")]
    assert ready.secrets.delete("token") is True
    assert ready.secrets.get("token") is None
    with pytest.raises(NotFound):
        ready.secrets.versions("token")


def test_the_service_agent_is_waited_for_and_granted_once(ready, waits):
    ready.secrets.create(SecretResource(name=ready.secrets.name("token")))
    assert ready.project.ensure_service_agent() == ready.project.service_agent_email()
    assert not ready.secrets.get_policy("token").grants(member(ready), ACCESSOR)
    ready.secrets.grant("token", member(ready), ACCESSOR)
    assert ready.secrets.get_policy("token").grants(member(ready), ACCESSOR)
    etag = ready.secrets.get_policy("token").etag
    ready.secrets.grant("token", member(ready), ACCESSOR)
    assert ready.secrets.get_policy("token").etag == etag
    assert any("another attempt to give serviceAccount:" in wait.reason for wait in waits)
    ready.secrets.revoke_grant("token", member(ready), ACCESSOR)
    assert not ready.secrets.get_policy("token").grants(member(ready), ACCESSOR)


def test_a_production_repository_is_made_with_a_pull_token(ready, waits):
    parent = next(iter(ready.chainctl.organizations()))
    token = ready.chainctl.create_pull_token("example.com", name="cgrunbook", ttl="24h", description="for a test")
    assert parent is not None
    ready.secrets.create(SecretResource(name=ready.secrets.name("token")))
    version = ready.secrets.add_version("token", token.password)
    ready.project.ensure_service_agent()
    pair = {
        "username": token.username,
        "password_secret_version": ready.secrets.version_name("token", version.number),
    }
    # Without the grant Artifact Registry cannot read the password.
    with pytest.raises(PrerequisiteMissing) as caught:
        ready.repositories.create(wanted(ready, "private", **pair))
    assert "gcloud secrets add-iam-policy-binding" in caught.value.remedy
    ready.secrets.grant("token", member(ready), ACCESSOR)
    waits.clear()
    there = ready.repositories.create(wanted(ready, "private", **pair), propagation=30)
    assert there.username == token.username
    assert any("to take effect" in wait.reason for wait in waits)

    # A user that does not belong to the password is refused, and what was there stays.
    with pytest.raises(UpstreamCredentialsRefused):
        ready.repositories.set_upstream_credentials(
            "private", "0" * 40 + "/" + "0" * 16, pair["password_secret_version"]
        )
    kept = ready.repositories.get("private")
    assert kept is not None
    assert kept.username == token.username

    # A repository without credentials gets both at once.
    ready.repositories.create(wanted(ready, "plain"))
    after = ready.repositories.set_upstream_credentials("plain", token.username, pair["password_secret_version"])
    assert with_id(ready, after.password_secret_version) == pair["password_secret_version"]
