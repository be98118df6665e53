"""What public recordings of Google's services show of a request, the sandbox answers: whole bodies, to the last field.

The exchanges are those that Config Connector's tests recorded at Google; times, etags and ids are of each run.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

from cgrunbook.sandbox import hosts
from tests.sandbox.conftest import Answer, Api

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.(\d{3}|\d{6}|\d{9}))?Z")
INTS = "$alt=json;enum-encoding=int"
REPOSITORIES = "/locations/us-west1/repositories"
NOT_FOUND = {"error": {"code": 404, "message": "Requested entity was not found.", "status": "NOT_FOUND"}}
SCANNING_OFF = {
    "enablementState": "SCANNING_DISABLED",
    "enablementStateReason": "API containerscanning.googleapis.com is not enabled.",
    "lastEnableTime": "TIME",
}
UNSUPPORTED = {
    "enablementState": "SCANNING_UNSUPPORTED",
    "enablementStateReason": "Repository mode VIRTUAL_REPOSITORY is not supported.",
    "lastEnableTime": "TIME",
}


def normal(value: Any) -> Any:
    """A body without what differs between two runs."""
    if isinstance(value, dict):
        return {key: "ETAG" if key == "etag" else normal(item) for key, item in value.items()}
    if isinstance(value, list):
        return [normal(item) for item in value]
    if not isinstance(value, str):
        return value
    return "TIME" if _TIME.fullmatch(value) else re.sub(r"operations/(?!noop)[a-z0-9.-]+$", "operations/ID", value)


def told(answer: Answer, status: int = 200) -> Any:
    assert answer.status == status, answer.body
    return normal(answer.body)


def test_a_repository_from_its_absence_to_its_end(api: Api) -> None:
    name = f"{api.project}{REPOSITORIES}/standard"
    begun: dict[str, Any] = {
        "metadata": {"@type": "type.googleapis.com/google.devtools.artifactregistry.v1.OperationMetadata"},
        "name": f"{api.project}/locations/us-west1/operations/ID",
    }
    made: dict[str, Any] = {
        "format": "DOCKER",
        "labels": {"label-one": "value-two"},
        "mode": "STANDARD_REPOSITORY",
        "name": name,
        "satisfiesPzi": True,
        "vulnerabilityScanningConfig": SCANNING_OFF,
    }
    assert told(api.artifacts("GET", f"{REPOSITORIES}/standard?{INTS}"), 404) == NOT_FOUND
    body = {"format": 1, "labels": {"label-one": "value-two"}}
    started = api.artifacts("POST", f"{REPOSITORIES}?{INTS}&repositoryId=standard", body)
    assert told(started) == begun
    kind = "type.googleapis.com/google.devtools.artifactregistry.v1.Repository"
    assert normal(api.settled(started)) == begun | {"done": True, "response": {"@type": kind} | made}
    expected = made | {
        "format": 1,
        "mode": 1,
        "createTime": "TIME",
        "updateTime": "TIME",
        "registryUri": f"us-west1-docker.pkg.dev/{api.settings.project_id}/standard",
        "vulnerabilityScanningConfig": SCANNING_OFF | {"enablementState": 2},
    }
    assert told(api.artifacts("GET", f"{REPOSITORIES}/standard?{INTS}")) == expected
    started = api.artifacts("DELETE", f"{REPOSITORIES}/standard?{INTS}")
    assert told(started) == begun
    empty = {"@type": "type.googleapis.com/google.protobuf.Empty"}
    assert normal(api.settled(started)) == begun | {"done": True, "response": empty}


def test_a_virtual_repository_is_of_a_mode_that_is_not_scanned(api: Api) -> None:
    api.enable("containerscanning.googleapis.com")
    api.artifacts("POST", f"{REPOSITORIES}?repositoryId=standard", {"format": 1})
    below = {"id": "upstream-repo", "priority": 1, "repository": f"{api.project}{REPOSITORIES}/standard"}
    body = {"format": 1, "mode": 2, "virtualRepositoryConfig": {"upstreamPolicies": [below]}}
    made = api.settled(api.artifacts("POST", f"{REPOSITORIES}?repositoryId=virtual", body))["response"]
    assert normal(made["vulnerabilityScanningConfig"]) == UNSUPPORTED
    patched = api.artifacts("PATCH", f"{REPOSITORIES}/virtual?{INTS}&updateMask=description", {"description": "two"})
    assert told(patched) == {
        "createTime": "TIME",
        "description": "two",
        "format": 1,
        "mode": 2,
        "name": f"{api.project}{REPOSITORIES}/virtual",
        "satisfiesPzi": True,
        "updateTime": "TIME",
        "virtualRepositoryConfig": {"upstreamPolicies": [below]},
        "vulnerabilityScanningConfig": UNSUPPORTED | {"enablementState": 1},
    }


def test_a_remote_repository_keeps_its_upstream_through_a_patch_of_other_fields(api: Api) -> None:
    remote = {"commonRepository": {"uri": "https://docker.io"}, "description": "of the hub"}
    body = {
        "format": "DOCKER",
        "mode": "REMOTE_REPOSITORY",
        "remoteRepositoryConfig": remote | {"disableUpstreamValidation": True},
    }
    api.settled(api.artifacts("POST", f"{REPOSITORIES}?repository_id=remote", body))
    change = {"cleanupPolicies": {}, "description": "two", "labels": {"a": "b"}}
    answer = told(api.artifacts("PATCH", f"{REPOSITORIES}/remote?updateMask=description%2Clabels", change))
    assert answer == {
        "createTime": "TIME",
        "description": "two",
        "format": "DOCKER",
        "labels": {"a": "b"},
        "mode": "REMOTE_REPOSITORY",
        "name": f"{api.project}{REPOSITORIES}/remote",
        "remoteRepositoryConfig": remote,
        "satisfiesPzi": True,
        "updateTime": "TIME",
        "vulnerabilityScanningConfig": SCANNING_OFF,
    }


def test_the_policy_of_a_repository_and_of_a_secret_before_and_after_it_had_bindings(api: Api) -> None:
    api.artifacts("POST", f"{REPOSITORIES}?repositoryId=standard", {"format": 1})
    api.add_secret("one")
    binding = {"role": "roles/artifactregistry.admin", "members": ["user:test@example.com"]}
    for call, path in ((api.artifacts, f"{REPOSITORIES}/standard"), (api.secrets, "/secrets/one")):
        fresh = call("GET", f"{path}:getIamPolicy")
        assert told(fresh) == {"etag": "ETAG"}
        policy = {"bindings": [binding], "etag": fresh.body["etag"], "version": 3}
        answer = call("POST", f"{path}:setIamPolicy", {"policy": policy})
        assert told(answer) == {"bindings": [binding], "etag": "ETAG", "version": 1}
        emptied = call("POST", f"{path}:setIamPolicy", {"policy": {"etag": answer.body["etag"], "version": 3}})
        assert told(emptied) == told(call("GET", f"{path}:getIamPolicy")) == {"etag": "ETAG", "version": 1}


def test_a_secret_that_expires_and_gives_notice(api: Api) -> None:
    missing = {"code": 404, "message": f"Secret [{api.numbered}/secrets/one] not found.", "status": "NOT_FOUND"}
    assert told(api.secrets("GET", "/secrets/one"), 404) == {"error": missing}
    following, later = "2099-10-02T15:01:23Z", "2099-10-03T15:01:23Z"
    body: dict[str, Any] = {
        "annotations": {"foo": "secret"},
        "expireTime": "2099-12-02T15:01:23.123456Z",
        "labels": {"label-one": "value-one"},
        "replication": {"automatic": {}},
        "rotation": {"nextRotationTime": following, "rotationPeriod": "3600s"},
        "topics": [{"name": f"{api.project}/topics/one"}],
    }
    made = api.secrets("POST", "/secrets?secretId=one", body)
    kept = {"name": f"{api.numbered}/secrets/one", "createTime": "TIME", "etag": "ETAG"}
    assert told(made) == normal(body) | kept
    assert made.body["rotation"]["nextRotationTime"] == following
    assert made.body["expireTime"] == body["expireTime"]
    change = body | {
        "annotations": {"bar": "two", "foo": "secret"},
        "rotation": {"nextRotationTime": later, "rotationPeriod": "3600s"},
        "topics": [{"name": f"{api.project}/topics/two"}],
    }
    mask = "labels%2Cannotations%2Ctopics%2CexpireTime%2Crotation"
    patched = api.secrets("PATCH", f"/secrets/one?updateMask={mask}", change)
    assert told(patched) == normal(change) | kept
    assert patched.body["rotation"]["nextRotationTime"] == later
    assert told(api.secrets("DELETE", "/secrets/one")) == {}


def test_a_version_from_its_addition_to_its_destruction(api: Api) -> None:
    api.add_secret("one")
    name = f"{api.project}/secrets/one"
    payload = {"data": "SQ=="}
    added = api.secrets("POST", f"/secrets/one:addVersion?{INTS}", {"parent": name, "payload": payload})
    version: dict[str, Any] = {
        "createTime": "TIME",
        "etag": "ETAG",
        "name": f"{api.numbered}/secrets/one/versions/2",
        "replicationStatus": {"automatic": {}},
        "state": 1,
    }
    assert told(added) == version
    etag = added.body["etag"]
    for deed, expected in (("disable", {"state": 2}), ("destroy", {"state": 3, "destroyTime": "TIME"})):
        asked = {"etag": etag, "name": f"{name}/versions/2"}
        done = api.secrets("POST", f"/secrets/one/versions/2:{deed}?{INTS}", asked)
        assert told(done) == version | expected
        etag = done.body["etag"]


NOTHING = {"@type": "type.googleapis.com/google.protobuf.Empty"}
USAGE = "type.googleapis.com/google.api.serviceusage.v1"


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_a_service_from_disabled_to_enabled_and_back(fresh: Api, version: str) -> None:
    short = "runtimeconfig.googleapis.com"
    config = {"name": short, "title": "Cloud Runtime Configuration API"}
    service = {"name": f"{fresh.numbered}/services/{short}", "config": config}
    parent = {"parent": fresh.numbered}
    assert told(fresh.services("GET", f"/services/{short}")) == service | {"state": "DISABLED"}

    def polled(started: Answer) -> Any:
        return told(fresh.call("GET", hosts.SERVICE_USAGE, f"/{version}/{started.body['name']}"))

    started = fresh.services("POST", f"/services/{short}:enable", {})
    assert told(started) == {"name": "operations/ID"}
    response = {"@type": f"{USAGE}.EnableServiceResponse", "service": service | parent | {"state": "ENABLED"}}
    done = {"done": True, "metadata": NOTHING, "name": "operations/ID"}
    assert polled(started) == done | {"response": response}
    assert told(fresh.services("GET", f"/services/{short}")) == service | parent | {"state": "ENABLED"}
    started = fresh.services("POST", f"/services/{short}:disable", {})
    assert told(started) == {"metadata": NOTHING, "name": "operations/ID"}
    response = {"@type": f"{USAGE}.DisableServiceResponse", "service": service | parent | {"state": "DISABLED"}}
    assert polled(started) == done | {"response": response}


def test_several_services_at_once(fresh: Api) -> None:
    names = ["compute.googleapis.com", "storage.googleapis.com"]
    started = fresh.services("POST", "/services:batchEnable?alt=json", {"serviceIds": names})
    assert told(started) == {"name": "operations/ID"}
    done = told(fresh.call("GET", hosts.SERVICE_USAGE, f"/v1/{started.body['name']}"))
    assert done["metadata"] == {"@type": f"{USAGE}.OperationMetadata"}
    found = [(service["name"], service["state"], service["parent"]) for service in done["response"]["services"]]
    assert found == [(f"{fresh.numbered}/services/{name}", "ENABLED", fresh.numbered) for name in names]


def test_a_name_that_no_service_has_is_refused_as_one_that_may_be_hidden(fresh: Api) -> None:
    typo = "aiplatform.googeapis.com"
    details = [
        {
            "@type": "type.googleapis.com/google.rpc.PreconditionFailure",
            "violations": [{"subject": f"?error_code=220002&services={typo}", "type": "googleapis.com"}],
        },
        {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "domain": "serviceusage.googleapis.com",
            "metadata": {"services": typo},
            "reason": "SERVICE_CONFIG_NOT_FOUND_OR_PERMISSION_DENIED",
        },
    ]
    message = f"Not found or permission denied for service(s): {typo}."
    refusal = {"error": {"code": 403, "message": message, "status": "PERMISSION_DENIED", "details": details}}
    assert told(fresh.services("POST", f"/services/{typo}:enable", {}), 403) == refusal
    assert told(fresh.services("POST", "/services:batchEnable", {"serviceIds": [typo]}), 403) == refusal
    assert told(fresh.services("GET", f"/services:batchGet?names=projects/p/services/{typo}"), 403) == refusal
