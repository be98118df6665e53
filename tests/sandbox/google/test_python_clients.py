"""Google's own Python clients, over REST, against a running sandbox."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import google_crc32c
import pytest
from google.api_core import exceptions
from google.auth.exceptions import RefreshError
from google.cloud import artifactregistry_v1 as ar
from google.cloud import resourcemanager_v3 as rm
from google.cloud import secretmanager_v1 as sm
from google.cloud import service_usage_v1 as su
from google.iam.v1 import options_pb2
from google.oauth2.credentials import Credentials

from cgrunbook.sandbox import hosts, process
from cgrunbook.sandbox.settings import PROJECT_ID, PROJECT_NUMBER

PROJECT = f"projects/{PROJECT_ID}"
NUMBERED = f"projects/{PROJECT_NUMBER}"
PARENT = f"{PROJECT}/locations/us-central1"
AGENT = f"service-{PROJECT_NUMBER}@gcp-sa-artifactregistry.iam.gserviceaccount.com"


class Clients:
    """The four clients, pointed at a sandbox."""

    def __init__(self, running: process.Running, token: str | None = None) -> None:
        credentials = Credentials(token or running.access_token_file.read_text())

        def made(kind: Any, host: str) -> Any:
            options = {"api_endpoint": f"http://{running.hosts[host]}"}
            return kind(credentials=credentials, transport="rest", client_options=options)

        self.artifacts = made(ar.ArtifactRegistryClient, hosts.ARTIFACT_REGISTRY)
        self.secrets = made(sm.SecretManagerServiceClient, hosts.SECRET_MANAGER)
        self.services = made(su.ServiceUsageClient, hosts.SERVICE_USAGE)
        self.projects = made(rm.ProjectsClient, hosts.RESOURCE_MANAGER)


@pytest.fixture
def clients(sandbox: process.Running) -> Clients:
    found = Clients(sandbox)
    names = [hosts.ARTIFACT_REGISTRY, hosts.SECRET_MANAGER]
    found.services.batch_enable_services({"parent": PROJECT, "service_ids": names}).result(timeout=30)
    return found


def remote(**fields: Any) -> Any:
    config = ar.RemoteRepositoryConfig
    return ar.Repository(
        format_="DOCKER",
        mode="REMOTE_REPOSITORY",
        remote_repository_config=config(
            common_repository=config.CommonRemoteRepository(uri="https://cgr.dev"), **fields
        ),
    )


def test_services_are_enabled_got_and_listed(sandbox: process.Running) -> None:
    services = Clients(sandbox).services
    name = f"{PROJECT}/services/{hosts.SECRET_MANAGER}"
    assert services.get_service({"name": name}).state == su.State.DISABLED
    enabled = services.enable_service({"name": name}).result(timeout=30)
    assert enabled.service.state == su.State.ENABLED
    listed = services.list_services({"parent": PROJECT, "filter": "state:ENABLED", "page_size": 2})
    assert hosts.SECRET_MANAGER in [service.config.name for service in listed]
    assert services.disable_service({"name": name}).result(timeout=30).service.state == su.State.DISABLED


def test_an_api_that_is_off_is_forbidden_with_the_reason(sandbox: process.Running) -> None:
    with pytest.raises(exceptions.Forbidden) as refused:
        Clients(sandbox).secrets.get_secret(name=f"{PROJECT}/secrets/x")
    assert refused.value.reason == "SERVICE_DISABLED"
    assert refused.value.metadata["service"] == hosts.SECRET_MANAGER


def test_a_repository_lives_its_life(clients: Clients) -> None:
    created = clients.artifacts.create_repository(parent=PARENT, repository_id="one", repository=remote()).result(
        timeout=30
    )
    assert created.name == f"{PARENT}/repositories/one"
    assert not created.create_time
    found = clients.artifacts.get_repository(name=created.name)
    assert found.create_time
    assert found.registry_uri == f"us-central1-docker.pkg.dev/{PROJECT_ID}/one"
    assert found.format_ == ar.Repository.Format.DOCKER
    found.labels["team"] = "one"
    changed = clients.artifacts.update_repository(repository=found, update_mask={"paths": ["labels"]})
    assert dict(changed.labels) == {"team": "one"}
    assert [one.name for one in clients.artifacts.list_repositories(parent=PARENT)] == [created.name]
    with pytest.raises(exceptions.Conflict):
        clients.artifacts.create_repository(parent=PARENT, repository_id="one", repository=remote())
    clients.artifacts.delete_repository(name=created.name).result(timeout=30)
    with pytest.raises(exceptions.NotFound):
        clients.artifacts.get_repository(name=created.name)


def test_credentials_are_checked_at_the_upstream_and_patched_in_place(clients: Clients) -> None:
    clients.artifacts.create_repository(parent=PARENT, repository_id="one", repository=remote()).result(timeout=30)
    secret = clients.secrets.create_secret(parent=PROJECT, secret_id="token", secret={"replication": {"automatic": {}}})
    clients.secrets.add_secret_version(parent=secret.name, payload={"data": b"no pull token"})
    pair = {"username": "org/id", "password_secret_version": f"{PROJECT}/secrets/token/versions/1"}
    upstream = {"username_password_credentials": pair}
    with pytest.raises(exceptions.BadRequest, match="secrets/token/versions/1"):
        clients.artifacts.create_repository(
            parent=PARENT, repository_id="two", repository=remote(upstream_credentials=upstream)
        )
    repository = remote(upstream_credentials=upstream, disable_upstream_validation=True)
    made = clients.artifacts.create_repository(parent=PARENT, repository_id="two", repository=repository).result(
        timeout=30
    )
    found = clients.artifacts.get_repository(name=made.name)
    config = found.remote_repository_config
    assert config.upstream_credentials.username_password_credentials.username == "org/id"
    assert not config.disable_upstream_validation
    config.upstream_credentials.username_password_credentials.username = "org/new"
    config.disable_upstream_validation = True
    leaf = "remote_repository_config.upstream_credentials.username_password_credentials"
    mask = {"paths": [f"{leaf}.username", f"{leaf}.password_secret_version"]}
    changed = clients.artifacts.update_repository(repository=found, update_mask=mask)
    assert changed.remote_repository_config.upstream_credentials.username_password_credentials.username == "org/new"


def test_cleanup_policies_travel_both_ways(clients: Clients) -> None:
    policy = ar.CleanupPolicy(
        id="old",
        action=ar.CleanupPolicy.Action.DELETE,
        condition=ar.CleanupPolicyCondition(older_than=timedelta(seconds=86400)),
    )
    repository = ar.Repository(format_="DOCKER", cleanup_policies={"old": policy}, cleanup_policy_dry_run=True)
    clients.artifacts.create_repository(parent=PARENT, repository_id="one", repository=repository).result(timeout=30)
    found = clients.artifacts.get_repository(name=f"{PARENT}/repositories/one")
    assert found.cleanup_policies["old"] == policy
    assert found.cleanup_policy_dry_run


def test_locations_are_listed_by_the_mixin(clients: Clients) -> None:
    answer = clients.artifacts.list_locations({"name": PROJECT})
    assert "us-central1" in [location.location_id for location in answer.locations]


def test_a_secret_lives_its_life(clients: Clients) -> None:
    secrets = clients.secrets
    secret = secrets.create_secret(
        parent=PROJECT,
        secret_id="one",
        secret={
            "replication": {"user_managed": {"replicas": [{"location": "us-east1"}]}},
            "labels": {"a": "b"},
            "ttl": timedelta(seconds=86400),
        },
    )
    assert secret.name == f"{NUMBERED}/secrets/one"
    assert secret.expire_time
    data = b"payload"
    version = secrets.add_secret_version(
        parent=secret.name, payload={"data": data, "data_crc32c": google_crc32c.value(data)}
    )
    assert version.client_specified_payload_checksum
    assert version.state == sm.SecretVersion.State.ENABLED
    answer = secrets.access_secret_version(name=f"{secret.name}/versions/latest")
    assert answer.payload.data == data
    assert answer.payload.data_crc32c == google_crc32c.value(data)
    assert secrets.disable_secret_version(name=version.name).state == sm.SecretVersion.State.DISABLED
    with pytest.raises(exceptions.BadRequest, match="DISABLED state"):
        secrets.access_secret_version(name=version.name)
    secrets.enable_secret_version(name=version.name)
    secret.version_aliases["live"] = 1
    secrets.update_secret(secret=secret, update_mask={"paths": ["version_aliases"]})
    assert secrets.access_secret_version(name=f"{secret.name}/versions/live").payload.data == data
    with pytest.raises(exceptions.Conflict):
        secrets.update_secret(secret=secret, update_mask={"paths": ["labels"]})
    assert secrets.destroy_secret_version(name=version.name).state == sm.SecretVersion.State.DESTROYED
    assert [one.name for one in secrets.list_secret_versions(parent=secret.name)] == [version.name]
    secrets.delete_secret(name=secret.name)
    with pytest.raises(exceptions.NotFound):
        secrets.get_secret(name=secret.name)


def test_the_policy_of_a_secret_is_read_and_written_under_its_etag(clients: Clients) -> None:
    secret = clients.secrets.create_secret(parent=PROJECT, secret_id="one", secret={"replication": {"automatic": {}}})
    clients.artifacts.create_repository(parent=PARENT, repository_id="one", repository=remote()).result(timeout=30)
    options = options_pb2.GetPolicyOptions(requested_policy_version=3)
    policy = clients.secrets.get_iam_policy({"resource": secret.name, "options": options})
    stale = type(policy)()
    stale.CopyFrom(policy)
    policy.bindings.add(role="roles/secretmanager.secretAccessor", members=[f"serviceAccount:{AGENT}"])
    kept = clients.secrets.set_iam_policy({"resource": secret.name, "policy": policy})
    assert kept.bindings == policy.bindings
    assert kept.etag != stale.etag
    with pytest.raises(exceptions.Conflict):
        clients.secrets.set_iam_policy({"resource": secret.name, "policy": stale})
    permissions = ["secretmanager.versions.access", "secretmanager.nothing.get"]
    held = clients.secrets.test_iam_permissions({"resource": secret.name, "permissions": permissions})
    assert list(held.permissions) == permissions[:1]


def test_the_project_is_found_by_id_and_number(sandbox: process.Running) -> None:
    projects = Clients(sandbox).projects
    for name in (PROJECT, NUMBERED):
        found = projects.get_project(name=name)
        assert (found.name, found.project_id) == (NUMBERED, PROJECT_ID)
        assert found.state == rm.Project.State.ACTIVE
    assert [one.name for one in projects.search_projects(query="")] == [NUMBERED]
    with pytest.raises(exceptions.Forbidden):
        projects.get_project(name="projects/elsewhere")


def test_somebody_without_a_role_is_forbidden(sandbox: process.Running, clients: Clients) -> None:
    stranger = Clients(sandbox, process.access_token("user:stranger@example.net", sandbox.home))
    with pytest.raises(exceptions.Forbidden, match=r"artifactregistry\.repositories\.create") as refused:
        stranger.artifacts.create_repository(parent=PARENT, repository_id="one", repository=remote())
    assert refused.value.reason == "IAM_PERMISSION_DENIED"
    unknown = Clients(sandbox, "ya29.nobody")
    with pytest.raises(RefreshError):  # the client takes a 401 for an expired token and tries to get a new one
        unknown.secrets.get_secret(name=f"{PROJECT}/secrets/one")
