"""Secret Manager: what is kept, when it may be read, and what is said when it may not."""

from __future__ import annotations

import base64
from typing import Any

import google_crc32c
import pytest

from cgrunbook.sandbox import errors, hosts
from cgrunbook.sandbox.google import secret_manager
from cgrunbook.sandbox.settings import PROJECT_NUMBER
from tests.sandbox.conftest import Answer, Api, NewApi

AUTOMATIC: dict[str, Any] = {"replication": {"automatic": {}}}
AGENT = f"service-{PROJECT_NUMBER}@gcp-sa-artifactregistry.iam.gserviceaccount.com"


def create(api: Api, secret: str = "one", **fields: Any) -> Answer:
    return api.secrets("POST", f"/secrets?secretId={secret}", AUTOMATIC | fields)


def add(api: Api, data: bytes, secret: str = "one", **payload: Any) -> Answer:
    body = {"payload": {"data": base64.b64encode(data).decode()} | payload}
    return api.secrets("POST", f"/secrets/{secret}:addVersion", body)


def access(api: Api, version: str = "latest", secret: str = "one", **given: Any) -> Answer:
    return api.secrets("GET", f"/secrets/{secret}/versions/{version}:access", **given)


def grant(api: Api, role: str, member: str, secret: str = "one") -> Answer:
    policy = api.secrets("GET", f"/secrets/{secret}:getIamPolicy").body
    policy.setdefault("bindings", []).append({"role": role, "members": [member]})
    return api.secrets("POST", f"/secrets/{secret}:setIamPolicy", {"policy": policy})


def test_a_secret_is_answered_with_the_projects_number(api: Api) -> None:
    answer = create(api, labels={"made-by": "test"}, annotations={"why": "a test"})
    assert answer.status == 200
    assert answer.body["name"] == f"{api.numbered}/secrets/one"
    assert answer.body["replication"] == {"automatic": {}}
    assert answer.body["etag"].startswith('"')
    assert answer.body["createTime"].endswith("Z")
    assert api.secrets("GET", "/secrets/one").body == answer.body


def test_a_secrets_type_is_kept_and_what_only_the_service_writes_is_passed_over(api: Api) -> None:
    answer = create(
        api,
        secretType=2,
        policyMember={"iamPolicyUidPrincipal": "x"},
        topics=[{"name": "projects/p/topics/notices"}],
        rotation={"nextRotationTime": "2100-01-01T00:00:00Z", "managedRotationStatus": {"state": 1}},
    )
    assert answer.status == 200, answer.body
    assert answer.body["secretType"] == "ACCESS_KEY"
    assert "policyMember" not in answer.body
    assert answer.body["rotation"] == {"nextRotationTime": "2100-01-01T00:00:00Z"}
    assert api.secrets("GET", "/secrets/one?$alt=json;enum-encoding=int").body["secretType"] == 2


def test_a_second_secret_of_the_name_already_exists(api: Api) -> None:
    create(api)
    answer = create(api)
    assert (answer.status, answer.error["status"]) == (409, "ALREADY_EXISTS")
    assert answer.error["message"] == f"Secret [{api.numbered}/secrets/one] already exists."


def test_what_is_missing_is_not_found_in_the_services_words(api: Api) -> None:
    assert api.secrets("GET", "/secrets/no").error["message"] == f"Secret [{api.numbered}/secrets/no] not found."
    create(api)
    unversioned = access(api)
    assert unversioned.status == 404
    assert unversioned.error["message"] == f"Secret [{api.numbered}/secrets/one] not found or has no versions."
    add(api, b"x")
    missing = access(api, "7")
    assert missing.error["message"] == f"Secret Version [{api.numbered}/secrets/one/versions/7] not found."


@pytest.mark.parametrize("identifier", ["", "a.b", "a b", "ü", "a/b", "x" * 256])
def test_an_id_of_a_wrong_form_is_refused(api: Api, identifier: str) -> None:
    from urllib.parse import quote

    answer = api.secrets("POST", f"/secrets?secretId={quote(identifier, safe='')}", AUTOMATIC)
    assert (answer.status, answer.error["status"]) == (400, "INVALID_ARGUMENT")


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, "Secret.replication must be specified."),
        ({"replication": {"userManaged": {}}}, "at least one replica"),
        ({"replication": {"userManaged": {"replicas": [{"location": "mars"}]}}}, "Invalid replica location"),
        ({"replication": {"userManaged": {"replicas": [{"location": "us"}]}}}, "Invalid replica location"),
        ({"replication": {"userManaged": {"replicas": [{"location": "us-east1"}] * 2}}}, "twice"),
        ({"replication": {"automatic": {"customerManagedEncryption": {"kmsKeyName": "k"}}}}, "KMS key"),
        (AUTOMATIC | {"labels": {"Upper": "x"}}, "label key"),
        (AUTOMATIC | {"labels": {"a": "x" * 64}}, "63 characters"),
        (AUTOMATIC | {"labels": {f"k{number}": "" for number in range(65)}}, "at most 64 labels"),
        (AUTOMATIC | {"annotations": {"a": "x" * 16384}}, "16 KiB"),
        (AUTOMATIC | {"annotations": {"-a": "x"}}, "annotation key"),
        (AUTOMATIC | {"rotation": {"rotationPeriod": "7200s"}}, "There must be at least one topic configured"),
        (
            AUTOMATIC | {"topics": [{"name": "projects/p/topics/ttt"}], "rotation": {"rotationPeriod": "7200s"}},
            "next_rotation_time must be set",
        ),
        (
            AUTOMATIC
            | {
                "topics": [{"name": "projects/p/topics/ttt"}],
                "rotation": {"rotationPeriod": "60s", "nextRotationTime": "2050-01-01T00:00:00Z"},
            },
            "3600 seconds",
        ),
        (
            AUTOMATIC
            | {"topics": [{"name": "projects/p/topics/ttt"}], "rotation": {"nextRotationTime": "2020-01-01T00:00:00Z"}},
            "5 minutes",
        ),
        (AUTOMATIC | {"topics": [{"name": "ttt"}]}, "the form is projects/*/topics/*"),
        (AUTOMATIC | {"topics": [{"name": "projects/p/topics/t"}]}, "'t' must have 3 to 255 characters"),
        (AUTOMATIC | {"topics": [{"name": "projects/p/topics/tt"}]}, "'tt' must have 3 to 255 characters"),
        (AUTOMATIC | {"topics": [{"name": f"projects/p/topics/{'t' * 256}"}]}, "must have 3 to 255 characters"),
        (AUTOMATIC | {"topics": [{"name": "projects/p/topics/1abc"}]}, "the form is projects/*/topics/*"),
        (AUTOMATIC | {"ttl": "0s"}, "ttl"),
        (AUTOMATIC | {"expireTime": "2020-01-01T00:00:00Z"}, "future"),
        (AUTOMATIC | {"expireTime": "2050-01-01T00:00:00Z", "ttl": "5s"}, "oneof"),
        (AUTOMATIC | {"versionDestroyTtl": "60s"}, "24 hours"),
        (AUTOMATIC | {"versionAliases": {"prod": "1"}}, "does not exist"),
    ],
)
def test_a_secret_that_cannot_be_is_refused_with_the_reason(api: Api, body: dict[str, Any], named: str) -> None:
    answer = api.secrets("POST", "/secrets?secretId=x", body)
    assert (answer.status, answer.error["status"]) == (400, "INVALID_ARGUMENT")
    assert named in answer.error["message"]


def test_user_managed_replicas_show_in_the_versions_status(api: Api) -> None:
    replicas = [{"location": "us-east1"}, {"location": "us-west1"}]
    created = api.secrets("POST", "/secrets?secretId=one", {"replication": {"userManaged": {"replicas": replicas}}})
    assert created.body["replication"] == {"userManaged": {"replicas": replicas}}
    assert add(api, b"x").body["replicationStatus"] == {"userManaged": {"replicas": replicas}}


def test_a_payload_comes_back_with_its_checksum(api: Api) -> None:
    create(api)
    data = bytes(range(256))
    checksum = google_crc32c.value(data)
    version = add(api, data, dataCrc32c=str(checksum)).body
    assert version["name"] == f"{api.numbered}/secrets/one/versions/1"
    assert version["state"] == "ENABLED"
    assert version["clientSpecifiedPayloadChecksum"] is True
    assert version["replicationStatus"] == {"automatic": {}}
    found = access(api).body
    assert found["name"] == version["name"]
    assert base64.b64decode(found["payload"]["data"]) == data
    assert found["payload"]["dataCrc32c"] == str(checksum)


def test_without_a_checksum_none_is_claimed(api: Api) -> None:
    create(api)
    assert "clientSpecifiedPayloadChecksum" not in add(api, b"x").body


def test_a_checksum_that_does_not_match_is_refused_and_adds_nothing(api: Api) -> None:
    create(api)
    answer = add(api, b"x", dataCrc32c="1")
    assert (answer.status, answer.error["status"]) == (400, "INVALID_ARGUMENT")
    assert "checksum" in answer.error["message"]
    assert api.secrets("GET", "/secrets/one/versions").body == {}


@pytest.mark.parametrize(("data", "named"), [(b"", "Secret Payload cannot be empty."), (b"x" * 65537, "65537")])
def test_a_payload_of_no_or_too_many_bytes_is_refused(api: Api, data: bytes, named: str) -> None:
    create(api)
    answer = add(api, data)
    assert answer.status == 400
    assert named in answer.error["message"]


def test_a_payload_rests_in_no_file_as_it_is(api: Api) -> None:
    create(api)
    add(api, b"canary-payload")
    for path in api.settings.home.rglob("*"):
        if path.is_file():
            assert b"canary-payload" not in path.read_bytes()
            assert base64.b64encode(b"canary-payload") not in path.read_bytes()


def test_latest_is_the_one_created_last_even_if_disabled(api: Api) -> None:
    create(api)
    add(api, b"first")
    add(api, b"second")
    assert api.secrets("POST", "/secrets/one/versions/2:disable", {}).body["state"] == "DISABLED"
    answer = access(api)
    assert (answer.status, answer.error["status"]) == (400, "FAILED_PRECONDITION")
    assert answer.error["message"] == f"Secret Version [{api.numbered}/secrets/one/versions/2] is in DISABLED state."
    assert base64.b64decode(access(api, "1").body["payload"]["data"]) == b"first"
    api.secrets("POST", "/secrets/one/versions/2:enable", {})
    assert access(api).status == 200


def test_a_destroyed_version_stays_destroyed_and_its_number_is_not_used_again(api: Api) -> None:
    create(api)
    add(api, b"first")
    destroyed = api.secrets("POST", "/secrets/one/versions/1:destroy", {}).body
    assert destroyed["state"] == "DESTROYED"
    assert destroyed["destroyTime"]
    for verb in ("enable", "disable", "destroy"):
        answer = api.secrets("POST", f"/secrets/one/versions/1:{verb}", {})
        assert answer.error["status"] == "FAILED_PRECONDITION"
        assert answer.error["message"].endswith("is in DESTROYED state.")
    assert add(api, b"second").body["name"].endswith("/versions/2")


def test_delayed_destruction_disables_first_can_be_taken_back_and_then_happens(api: Api) -> None:
    create(api, versionDestroyTtl="86400s")
    add(api, b"x")
    scheduled = api.secrets("POST", "/secrets/one/versions/1:destroy", {}).body
    assert scheduled["state"] == "DISABLED"
    assert scheduled["scheduledDestroyTime"] > scheduled["createTime"]
    restored = api.secrets("POST", "/secrets/one/versions/1:enable", {}).body
    assert (restored["state"], restored.get("scheduledDestroyTime")) == ("ENABLED", None)
    api.secrets("POST", "/secrets/one/versions/1:destroy", {})
    api.advance(hours=25)
    gone = api.secrets("GET", "/secrets/one/versions/1").body
    assert (gone["state"], gone.get("scheduledDestroyTime")) == ("DESTROYED", None)


def test_a_version_changed_under_an_old_etag_is_aborted(api: Api) -> None:
    create(api)
    etag = add(api, b"x").body["etag"]
    assert api.secrets("POST", "/secrets/one/versions/1:disable", {"etag": etag}).status == 200
    answer = api.secrets("POST", "/secrets/one/versions/1:enable", {"etag": etag})
    assert (answer.status, answer.error["status"]) == (409, "ABORTED")


def test_an_alias_names_a_version_for_reading_only(api: Api) -> None:
    create(api)
    add(api, b"first")
    add(api, b"second")
    patched = api.secrets("PATCH", "/secrets/one?updateMask=versionAliases", {"versionAliases": {"live": 1}})
    assert patched.body["versionAliases"] == {"live": "1"}
    assert base64.b64decode(access(api, "live").body["payload"]["data"]) == b"first"
    assert api.secrets("POST", "/secrets/one/versions/live:disable", {}).status == 400
    assert access(api, "other").status == 404
    for alias in ("latest", "NEW", "1x"):
        body = {"versionAliases": {alias: "1"}}
        assert api.secrets("PATCH", "/secrets/one?updateMask=versionAliases", body).status == 400


def test_a_ttl_is_answered_as_the_time_of_expiry_and_the_secret_then_goes(api: Api) -> None:
    created = create(api, ttl="3600s").body
    assert "ttl" not in created
    assert created["expireTime"] > created["createTime"]
    add(api, b"x")
    api.advance(hours=2)
    assert access(api).status == 404
    assert api.secrets("GET", "/secrets").body == {}
    assert create(api).status == 200
    assert add(api, b"y").body["name"].endswith("/versions/1")


def test_a_patch_changes_what_its_mask_names_and_nothing_else(api: Api) -> None:
    create(api, labels={"a": "b"}, annotations={"k": "v"})
    body = {"labels": {"c": "d"}, "annotations": {"other": "ignored"}}
    patched = api.secrets("PATCH", "/secrets/one?updateMask=labels", body).body
    assert (patched["labels"], patched["annotations"]) == ({"c": "d"}, {"k": "v"})
    cleared = api.secrets("PATCH", "/secrets/one?updateMask=labels,annotations", {}).body
    assert "labels" not in cleared
    assert "annotations" not in cleared


@pytest.mark.parametrize(
    "mask", ["", "replication", "name", "create_time", "nonsense", "labels.a", "replication.automatic"]
)
def test_a_mask_that_names_what_cannot_change_is_refused(api: Api, mask: str) -> None:
    create(api)
    assert api.secrets("PATCH", f"/secrets/one?updateMask={mask}", {"labels": {}}).status == 400


def test_a_patch_under_an_old_etag_is_aborted(api: Api) -> None:
    etag = create(api).body["etag"]
    assert api.secrets("PATCH", "/secrets/one?updateMask=labels", {"labels": {"a": "b"}, "etag": etag}).status == 200
    assert api.secrets("PATCH", "/secrets/one?updateMask=labels", {"labels": {}, "etag": etag}).status == 409
    assert api.secrets("DELETE", "/secrets/one?etag=" + etag.replace('"', "%22")).status == 409


def test_a_rotation_notice_that_has_passed_moves_on_by_its_period(api: Api) -> None:
    following = api.sandbox.clock.now().replace(microsecond=0)
    body: dict[str, Any] = {
        "topics": [{"name": "projects/p/topics/rotate"}],
        "rotation": {"rotationPeriod": "86400s", "nextRotationTime": f"{following.year + 1}-01-01T00:00:00Z"},
    }
    before = create(api, **body).body["rotation"]["nextRotationTime"]
    api.advance(days=800)
    after = api.secrets("GET", "/secrets/one").body["rotation"]
    assert after["nextRotationTime"] > before
    assert after["nextRotationTime"].endswith("T00:00:00Z")


def test_a_deleted_secret_takes_its_versions_and_grants_along(api: Api) -> None:
    create(api)
    add(api, b"x")
    grant(api, "roles/secretmanager.secretAccessor", "user:reader@example.com")
    assert api.secrets("DELETE", "/secrets/one").body == {}
    create(api)
    assert access(api).status == 404
    assert "bindings" not in api.secrets("GET", "/secrets/one:getIamPolicy").body


def test_lists_come_newest_version_first_in_pages_and_filtered(api: Api) -> None:
    for name in ("c", "a", "b"):
        create(api, name, labels={"team": name})
    first = api.secrets("GET", "/secrets?pageSize=2").body
    assert [secret["name"][-1] for secret in first["secrets"]] == ["a", "b"]
    assert first["totalSize"] == 3
    rest = api.secrets("GET", f"/secrets?pageSize=2&pageToken={first['nextPageToken']}").body
    assert [secret["name"][-1] for secret in rest["secrets"]] == ["c"]
    assert "nextPageToken" not in rest
    assert len(api.secrets("GET", "/secrets?filter=labels.team=b").body["secrets"]) == 1
    for number in range(3):
        add(api, b"%d" % number, "a")
    api.secrets("POST", "/secrets/a/versions/2:disable", {})
    page = api.secrets("GET", "/secrets/a/versions?pageSize=2").body
    assert [version["name"][-1] for version in page["versions"]] == ["3", "2"]
    rest = api.secrets("GET", f"/secrets/a/versions?pageSize=2&pageToken={page['nextPageToken']}").body
    assert [version["name"][-1] for version in rest["versions"]] == ["1"]
    enabled = api.secrets("GET", "/secrets/a/versions?filter=state:ENABLED").body
    assert [version["name"][-1] for version in enabled["versions"]] == ["3", "1"]


def test_a_secret_without_a_policy_answers_an_etag_alone(api: Api) -> None:
    create(api)
    assert api.secrets("GET", "/secrets/one:getIamPolicy").body == {"etag": "ACAB"}


def test_the_agent_cannot_be_granted_anything_before_it_exists(api: Api) -> None:
    create(api)
    answer = grant(api, "roles/secretmanager.secretAccessor", f"serviceAccount:{AGENT}")
    assert (answer.status, answer.error["status"]) == (400, "INVALID_ARGUMENT")
    assert answer.error["message"] == f"Service account {AGENT} does not exist."


def test_a_new_agent_is_visible_after_a_moment_and_its_grant_effective_after_another(new_api: NewApi) -> None:
    api = new_api(iam_delay=60, agent_delay=30)
    api.enable(hosts.ARTIFACT_REGISTRY, hosts.SECRET_MANAGER)
    api.add_secret("one")
    name = f"{api.project}/secrets/one/versions/1"
    path = f"/v1beta1/{api.project}/services/artifactregistry.googleapis.com:generateServiceIdentity"
    assert api.call("POST", hosts.SERVICE_USAGE, path, {}).status == 200
    assert grant(api, "roles/secretmanager.secretAccessor", f"serviceAccount:{AGENT}").status == 400
    api.advance(seconds=31)
    assert grant(api, "roles/secretmanager.secretAccessor", f"serviceAccount:{AGENT}").status == 200
    with pytest.raises(errors.PermissionDenied):
        secret_manager.access_as_agent(api.sandbox, name)
    api.advance(seconds=61)
    assert secret_manager.access_as_agent(api.sandbox, name) == b"s3cr3t"


def test_the_agent_is_told_why_it_may_not_read(api: Api) -> None:
    api.add_secret("one")
    name = f"{api.project}/secrets/one/versions/latest"
    with pytest.raises(errors.PermissionDenied, match=r"secretmanager\.versions\.access"):
        secret_manager.access_as_agent(api.sandbox, name)
    api.sandbox.iam.make_agent(hosts.ARTIFACT_REGISTRY)
    grant(api, "roles/secretmanager.secretAccessor", f"serviceAccount:{AGENT}")
    assert secret_manager.access_as_agent(api.sandbox, name) == b"s3cr3t"
    assert secret_manager.access_as_agent(api.sandbox, name.replace(api.project, api.numbered)) == b"s3cr3t"
    api.secrets("POST", "/secrets/one/versions/1:disable", {})
    with pytest.raises(errors.FailedPrecondition, match="DISABLED"):
        secret_manager.access_as_agent(api.sandbox, name)
    with pytest.raises(errors.PermissionDenied):
        secret_manager.access_as_agent(api.sandbox, "projects/elsewhere/secrets/one/versions/1")


@pytest.mark.parametrize(
    ("role", "may", "may_not"),
    [
        ("roles/viewer", "versions.get", "versions.access"),
        ("roles/editor", "versions.add", "versions.access"),
        ("roles/secretmanager.secretAccessor", "versions.access", "versions.add"),
        ("roles/secretmanager.secretVersionAdder", "versions.add", "versions.access"),
        ("roles/secretmanager.secretVersionManager", "versions.disable", "secrets.setIamPolicy"),
        ("roles/secretmanager.admin", "secrets.setIamPolicy", None),
        ("roles/artifactregistry.admin", None, "secrets.get"),
    ],
)
def test_roles_hold_what_their_names_promise(api: Api, role: str, may: str | None, may_not: str | None) -> None:
    api.add_secret("one")
    token = api.person("somebody", role)
    asked = [f"secretmanager.{name}" for name in (may, may_not) if name]
    held = api.secrets("POST", "/secrets/one:testIamPermissions", {"permissions": asked}, token=token).body
    assert held.get("permissions", []) == ([f"secretmanager.{may}"] if may else [])


def test_a_role_on_one_secret_says_nothing_about_another(api: Api) -> None:
    api.add_secret("one")
    api.add_secret("two")
    grant(api, "roles/secretmanager.secretAccessor", "user:reader@example.com")
    reader = api.sandbox.tokens.issue("user:reader@example.com")
    assert access(api, token=reader).status == 200
    answer = access(api, secret="two", token=reader)
    assert (answer.status, answer.reason) == (403, "IAM_PERMISSION_DENIED")
    assert answer.error["message"] == (
        f"Permission 'secretmanager.versions.access' denied for resource '{api.project}/secrets/two/versions/latest' "
        "(or it may not exist)."
    )


def test_permissions_on_a_missing_secret_are_an_empty_set(api: Api) -> None:
    body = {"permissions": ["secretmanager.secrets.get"]}
    answer = api.secrets("POST", "/secrets/no:testIamPermissions", body)
    assert (answer.status, answer.body) == (200, {})


def test_regions_are_listed_and_regional_secrets_are_not_played(api: Api) -> None:
    locations = api.secrets("GET", "/locations").body["locations"]
    assert {"us-central1", "europe-west1"} <= {location["locationId"] for location in locations}
    assert api.secrets("GET", "/locations/us-central1/secrets").status == 501
