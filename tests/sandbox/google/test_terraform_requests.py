"""What Terraform's Google provider sends, in its order and bodies, recorded from the provider at work on the sandbox.

The provider itself is run by tests/clients/test_terraform.py where its program is at hand; this replay needs none.
"""

from __future__ import annotations

import base64
from typing import Any

from cgrunbook.sandbox import hosts
from cgrunbook.sandbox.settings import PROJECT_ID, PROJECT_NUMBER
from tests.sandbox.conftest import Answer, Api

PROJECT = f"projects/{PROJECT_ID}"
NUMBERED = f"projects/{PROJECT_NUMBER}"
REPOSITORIES = f"{PROJECT}/locations/us-central1/repositories"
AGENT = f"serviceAccount:service-{PROJECT_NUMBER}@gcp-sa-artifactregistry.iam.gserviceaccount.com"
#: terraform_labels: the resource's own, the provider's defaults and the provider's mark. The API knows one set only.
LABELS = {"goog-terraform-provisioned": "true", "managed": "terraform", "team": "one"}
PUBLIC: dict[str, Any] = {
    "cleanupPolicies": {
        "keep": {"action": "KEEP", "mostRecentVersions": {"keepCount": 3}},
        "old": {"action": "DELETE", "condition": {"olderThan": "2592000s", "tagState": "ANY"}},
    },
    "cleanupPolicyDryRun": True,
    "description": "developer images",
    "format": "DOCKER",
    "labels": LABELS,
    "mode": "REMOTE_REPOSITORY",
    "remoteRepositoryConfig": {
        "commonRepository": {"uri": "https://cgr.dev"},
        "description": "of Chainguard",
        "disableUpstreamValidation": True,  # nothing listens where this replay runs
        "noCache": None,
    },
}


def private(username: str, version: int) -> dict[str, Any]:
    pair = {"username": username, "passwordSecretVersion": f"{PROJECT}/secrets/token/versions/{version}"}
    return {
        "dockerRepository": {"customRepository": {"uri": "https://cgr.dev"}},
        "disableUpstreamValidation": True,
        "noCache": None,
        "upstreamCredentials": {"usernamePasswordCredentials": pair},
    }


def send(api: Api, verb: str, host: str, path: str, body: Any = None) -> Answer:
    return api.call(verb, host, f"{path}{'&' if '?' in path else '?'}alt=json", body)


def artifacts(api: Api, verb: str, path: str, body: Any = None) -> Any:
    answer = send(api, verb, hosts.ARTIFACT_REGISTRY, f"/v1/{path}", body)
    assert answer.status == 200, answer.body
    if "operations/" not in answer.body.get("name", ""):
        return answer.body
    done = send(api, "GET", hosts.ARTIFACT_REGISTRY, f"/v1/{answer.body['name']}").body
    assert done["done"]
    return done


def secrets(api: Api, verb: str, path: str, body: Any = None) -> Any:
    answer = send(api, verb, hosts.SECRET_MANAGER, f"/v1/{path}", body)
    assert answer.status == 200, answer.body
    return answer.body


def test_project_services_are_enabled_in_one_batch_listed_and_disabled(fresh: Api) -> None:
    services = f"/v1/{PROJECT}/services"
    names = [hosts.ARTIFACT_REGISTRY, hosts.SECRET_MANAGER]
    wanted = send(
        fresh, "POST", hosts.SERVICE_USAGE, f"{services}:batchEnable?prettyPrint=false", {"serviceIds": names}
    )
    # The provider waits at its base path, which is v1beta1 for the beta provider's sake.
    waited = send(fresh, "GET", hosts.SERVICE_USAGE, f"/v1beta1/{wanted.body['name']}")
    assert waited.body["done"]
    listing = f"{services}?fields=services%2Fname%2CnextPageToken&filter=state%3AENABLED&pageSize=200&prettyPrint=false"
    enabled = send(fresh, "GET", hosts.SERVICE_USAGE, listing).body["services"]
    assert {f"{NUMBERED}/services/{name}" for name in names} <= {service["name"] for service in enabled}
    off = send(fresh, "POST", hosts.SERVICE_USAGE, f"{services}/{names[1]}:disable?prettyPrint=false", {})
    assert send(fresh, "GET", hosts.SERVICE_USAGE, f"/v1beta1/{off.body['name']}").body["done"]
    assert fresh.secrets("GET", "/secrets").reason == "SERVICE_DISABLED"


def test_a_service_identity_of_the_beta_provider_is_done_at_once_with_its_email(fresh: Api) -> None:
    path = f"/v1beta1/{PROJECT}/services/{hosts.ARTIFACT_REGISTRY}:generateServiceIdentity"
    answer = send(fresh, "POST", hosts.SERVICE_USAGE, path)
    assert answer.body["done"]
    assert f"serviceAccount:{answer.body['response']['email']}" == AGENT


def test_the_project_is_read_though_billing_is_not_enabled(fresh: Api) -> None:
    project = send(fresh, "GET", hosts.RESOURCE_MANAGER, f"/v1/{PROJECT}?prettyPrint=false").body
    assert project["projectNumber"] == PROJECT_NUMBER
    refused = send(fresh, "GET", hosts.CLOUD_BILLING, f"/v1/{PROJECT}/billingInfo?prettyPrint=false")
    # The provider goes on without a billing account when the error has this reason, and fails on any other.
    assert refused.status == 403
    assert refused.error["errors"][0]["reason"] == "accessNotConfigured"
    fresh.enable(hosts.CLOUD_BILLING)
    told = send(fresh, "GET", hosts.CLOUD_BILLING, f"/v1/{PROJECT}/billingInfo").body
    assert told["billingEnabled"] is True


def test_a_remote_repository_is_created_imported_changed_and_destroyed(api: Api) -> None:
    done = artifacts(api, "POST", f"{REPOSITORIES}?repository_id=public", PUBLIC)
    assert done["response"]["name"] == f"{REPOSITORIES}/public"
    found = artifacts(api, "GET", f"{REPOSITORIES}/public")
    # What an import compares: labels as one set, both policies with their ids, no trace of the inputs.
    assert found["labels"] == LABELS
    assert found["cleanupPolicies"]["old"] == {"id": "old"} | PUBLIC["cleanupPolicies"]["old"]
    assert found["remoteRepositoryConfig"] == {
        "commonRepository": {"uri": "https://cgr.dev"},
        "description": "of Chainguard",
    }
    changed = dict(PUBLIC) | {"description": "changed", "labels": LABELS | {"team": "two"}}
    changed["cleanupPolicies"] = {"old": {"action": "DELETE", "condition": {"olderThan": "86400s", "tagState": "ANY"}}}
    del changed["format"], changed["mode"]
    artifacts(api, "PATCH", f"{REPOSITORIES}/public?updateMask=description%2CcleanupPolicies%2Clabels", changed)
    found = artifacts(api, "GET", f"{REPOSITORIES}/public")
    assert (found["description"], found["labels"]["team"]) == ("changed", "two")
    assert list(found["cleanupPolicies"]) == ["old"]
    assert artifacts(api, "DELETE", f"{REPOSITORIES}/public")["response"]["@type"].endswith("Empty")
    assert send(api, "GET", hosts.ARTIFACT_REGISTRY, f"/v1/{REPOSITORIES}/public").status == 404


def test_credentials_change_in_place_by_the_two_leaves_with_outputs_sent_back(api: Api) -> None:
    api.add_secret("token")
    body: dict[str, Any] = {"format": "DOCKER", "labels": LABELS, "mode": "REMOTE_REPOSITORY"}
    body["remoteRepositoryConfig"] = private("org/first", 1)
    artifacts(api, "POST", f"{REPOSITORIES}?repository_id=private", body)
    leaf = "remoteRepositoryConfig.upstreamCredentials.usernamePasswordCredentials"
    # The provider sends computed fields of blocks back as it read them.
    sent = {
        "cleanupPolicies": {},
        "labels": LABELS,
        "remoteRepositoryConfig": private("org/second", 2),
        "vulnerabilityScanningConfig": {
            "enablementConfig": "DISABLED",
            "enablementState": "SCANNING_DISABLED",
            "enablementStateReason": "API containerscanning.googleapis.com is not enabled.",
        },
    }
    mask = f"{leaf}.username%2C{leaf}.passwordSecretVersion"
    artifacts(api, "PATCH", f"{REPOSITORIES}/private?updateMask={mask}", sent)
    found = artifacts(api, "GET", f"{REPOSITORIES}/private")
    expected = private("org/second", 2)
    del expected["disableUpstreamValidation"], expected["noCache"]
    assert found["remoteRepositoryConfig"] == expected
    assert "enablementConfig" not in found["vulnerabilityScanningConfig"]


def test_a_connector_is_not_taken_for_a_cache(api: Api) -> None:
    body = PUBLIC | {"remoteRepositoryConfig": {"commonRepository": {"uri": "https://cgr.dev"}, "noCache": {}}}
    answer = send(api, "POST", hosts.ARTIFACT_REGISTRY, f"/v1/{REPOSITORIES}?repository_id=connector", body)
    assert (answer.status, answer.error["status"]) == (501, "UNIMPLEMENTED")
    assert send(api, "GET", hosts.ARTIFACT_REGISTRY, f"/v1/{REPOSITORIES}/connector").status == 404


def test_a_secret_its_versions_and_their_ends(api: Api) -> None:
    body: dict[str, Any] = {"annotations": {"note": "x"}, "labels": LABELS, "replication": {"automatic": {}}}
    made = secrets(api, "POST", f"{PROJECT}/secrets?secretId=token", body)
    assert made["name"] == f"{NUMBERED}/secrets/token"
    name = f"{PROJECT}/secrets/token"
    assert secrets(api, "GET", name)["labels"] == LABELS
    for number, payload in enumerate((b"first", b"second"), start=1):
        data = base64.b64encode(payload).decode()
        version = secrets(api, "POST", f"{name}:addVersion", {"payload": {"data": data}})["name"]
        assert version == f"{NUMBERED}/secrets/token/versions/{number}"
        secrets(api, "POST", f"{version}:enable")  # sent whatever its state is, without a body
        assert secrets(api, "GET", version)["state"] == "ENABLED"
        assert secrets(api, "GET", f"{version}:access")["payload"]["data"] == data
    secrets(api, "POST", f"{NUMBERED}/secrets/token/versions/2:disable")  # enabled = false
    refused = send(api, "GET", hosts.SECRET_MANAGER, f"/v1/{NUMBERED}/secrets/token/versions/2:access")
    assert (refused.status, refused.error["status"]) == (400, "FAILED_PRECONDITION")
    changed = {"labels": LABELS, "versionAliases": {"live": "1"}, "versionDestroyTtl": "86400s"}
    secrets(api, "PATCH", f"{name}?updateMask=versionAliases%2CversionDestroyTtl%2Clabels", body | changed)
    assert secrets(api, "GET", name)["versionAliases"] == {"live": "1"}
    secrets(api, "PATCH", f"{name}?updateMask=versionDestroyTtl", body)
    assert secrets(api, "POST", f"{NUMBERED}/secrets/token/versions/1:destroy")["state"] == "DESTROYED"  # DELETE
    assert secrets(api, "POST", f"{NUMBERED}/secrets/token/versions/2:disable")["state"] == "DISABLED"  # DISABLE
    assert secrets(api, "DELETE", name) == {}


def test_members_are_added_and_removed_under_the_policys_etag_at_version_3(api: Api) -> None:
    api.add_secret("token")
    artifacts(api, "POST", f"{REPOSITORIES}?repository_id=public", PUBLIC)
    name = f"{PROJECT}/secrets/token"
    policy = secrets(api, "GET", f"{name}:getIamPolicy?options.requestedPolicyVersion=3")
    binding = {"role": "roles/secretmanager.secretAccessor", "members": [AGENT]}
    wanted = {"policy": {"bindings": [binding], "etag": policy["etag"], "version": 3}}
    secrets(api, "POST", f"{name}:setIamPolicy", wanted)
    policy = secrets(api, "GET", f"{name}:getIamPolicy?options.requestedPolicyVersion=3")
    assert policy["bindings"] == [binding]
    secrets(api, "POST", f"{name}:setIamPolicy", {"policy": {"bindings": [], "etag": policy["etag"], "version": 3}})
    assert "bindings" not in secrets(api, "GET", f"{name}:getIamPolicy")
    project = {"options": {"requestedPolicyVersion": 3}}
    current = send(api, "POST", hosts.RESOURCE_MANAGER, f"/v1/{PROJECT}:getIamPolicy", project).body
    current["bindings"].append({"role": "roles/artifactregistry.writer", "members": ["user:writer@example.com"]})
    body = {"policy": current | {"version": 3}, "updateMask": "bindings,etag,auditConfigs"}
    assert send(api, "POST", hosts.RESOURCE_MANAGER, f"/v1/{PROJECT}:setIamPolicy", body).status == 200


def read(secret: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a secret as the provider takes them out of an answer, in its words."""
    rotation = secret.get("rotation", {})
    return {
        "expire_time": secret.get("expireTime", ""),
        "next_rotation_time": rotation.get("nextRotationTime", ""),
        "rotation_period": rotation.get("rotationPeriod", ""),
        "version_destroy_ttl": secret.get("versionDestroyTtl", ""),
        "topics": [topic["name"] for topic in secret.get("topics", [])],
    }


def test_a_second_plan_of_a_secret_with_a_rotation_and_an_expiry_finds_nothing_to_change(api: Api) -> None:
    """The provider compares what it reads with the configuration as text: any other spelling is a change for ever."""
    name, topics = f"{PROJECT}/secrets/notice", [f"{PROJECT}/topics/rotate"]
    given = {
        "expire_time": "2099-11-30T00:00:00Z",
        "next_rotation_time": "2099-10-02T15:01:23Z",
        "rotation_period": "2592000s",
        "version_destroy_ttl": "86400s",
        "topics": topics,
    }
    body: dict[str, Any] = {
        "expireTime": given["expire_time"],
        "labels": LABELS,
        "replication": {"automatic": {}},
        "rotation": {"nextRotationTime": given["next_rotation_time"], "rotationPeriod": given["rotation_period"]},
        "topics": [{"name": topic} for topic in topics],
        "versionDestroyTtl": given["version_destroy_ttl"],
    }
    assert read(secrets(api, "POST", f"{PROJECT}/secrets?secretId=notice", body)) == given
    for _refresh in range(2):
        assert read(secrets(api, "GET", name)) == given
    # A change of the time is a patch, after which there is none again.
    body["rotation"]["nextRotationTime"] = given["next_rotation_time"] = "2099-10-03T15:01:23.500Z"
    mask = "labels%2Cannotations%2Ctopics%2CexpireTime%2Crotation"
    assert read(secrets(api, "PATCH", f"{name}?updateMask={mask}", body)) == given
    assert read(secrets(api, "GET", name)) == given
    # With a ttl the time of expiry is the service's, and is read back as it was told.
    short = {"labels": LABELS, "replication": {"automatic": {}}, "ttl": "3600s"}
    made = secrets(api, "POST", f"{PROJECT}/secrets?secretId=short", short)
    assert read(secrets(api, "GET", f"{PROJECT}/secrets/short"))["expire_time"] == read(made)["expire_time"] != ""
