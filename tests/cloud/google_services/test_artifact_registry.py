from __future__ import annotations

import datetime as dt
import threading
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest

from cgrunbook.cloud.artifact_registry import CleanupPolicy, RemoteRepository
from cgrunbook.errors import (
    AlreadyExists,
    ApiDisabled,
    PermissionMissing,
    ServiceError,
    Temporary,
    UpstreamCredentialsRefused,
)

PARENT = "projects/my-project/locations/us-central1"
NAME = f"{PARENT}/repositories/chainguard"
COLLECTION = f"/v1/{PARENT}/repositories"
RESOURCE = f"/v1/{NAME}"
OPERATION = f"{PARENT}/operations/op1"
CREDENTIALS = "remoteRepositoryConfig.upstreamCredentials.usernamePasswordCredentials"

WANTED = RemoteRepository(
    name=NAME,
    upstream="https://cgr.dev/",
    username="org/id",
    password_secret_version="projects/my-project/secrets/token/versions/1",
    description="pull-through",
    labels={"made-by": "cgrunbook"},
)

# The shape of a recorded GET: enums as numbers because the client asks for them, times, the upstream's credentials.
THERE: dict[str, Any] = {
    "name": NAME,
    "format": 1,
    "mode": 3,
    "description": "pull-through",
    "labels": {"made-by": "cgrunbook"},
    "createTime": "2026-11-23T10:00:00.123456Z",
    "updateTime": "2026-11-23T10:00:00.123456Z",
    "satisfiesPzi": True,
    "registryUri": "us-central1-docker.pkg.dev/my-project/chainguard",
    "somethingNew": {"unknown": "to this client"},
    "remoteRepositoryConfig": {
        "commonRepository": {"uri": "https://cgr.dev/"},
        "upstreamCredentials": {
            "usernamePasswordCredentials": {
                "username": "org/id",
                "passwordSecretVersion": "projects/123456789012/secrets/token/versions/1",
            }
        },
    },
    "vulnerabilityScanningConfig": {
        "enablementState": 2,
        "enablementStateReason": "API containerscanning.googleapis.com is not enabled.",
    },
}

RUNNING = {
    "name": OPERATION,
    "metadata": {"@type": "type.googleapis.com/google.devtools.artifactregistry.v1.OperationMetadata"},
}
DONE = {
    **RUNNING,
    "done": True,
    "response": {
        "@type": "type.googleapis.com/google.devtools.artifactregistry.v1.Repository",
        "name": NAME,
        "format": "DOCKER",
        "mode": "REMOTE_REPOSITORY",
    },
}
BAD_TOKEN = (
    "Failed to validate remote upstream: failed to fetch bearer token; generic::unauthenticated: Unauthorized error "
    "returned by the external repository... this typically means your upstream credentials are invalid"
)
NO_ACCESS = "Failed to validate remote upstream: cannot access projects/123456789012/secrets/token/versions/1"


def with_credentials(username: str, version: int) -> dict[str, Any]:
    pair = {"username": username, "passwordSecretVersion": f"projects/123456789012/secrets/token/versions/{version}"}
    config = {**THERE["remoteRepositoryConfig"], "upstreamCredentials": {"usernamePasswordCredentials": pair}}
    return {**THERE, "remoteRepositoryConfig": config}


def test_a_repository_is_read_with_its_upstream_credentials(cloud, double):
    double.on("GET", RESOURCE, (200, THERE))
    there = cloud.repositories.get("chainguard")
    assert there == RemoteRepository(
        name=NAME,
        upstream="https://cgr.dev/",
        username="org/id",
        password_secret_version="projects/123456789012/secrets/token/versions/1",
        description="pull-through",
        labels={"made-by": "cgrunbook"},
        scanning_state="SCANNING_DISABLED",
    )
    assert there.id == "chainguard"


def test_a_missing_repository_is_none(cloud, double):
    assert cloud.repositories.get("chainguard") is None


@pytest.mark.parametrize(
    ("remote", "upstream"),
    [
        ({"commonRepository": {"uri": "https://cgr.dev"}}, "https://cgr.dev"),
        ({"dockerRepository": {"customRepository": {"uri": "https://cgr.dev"}}}, "https://cgr.dev"),
        ({"dockerRepository": {"publicRepository": 1}}, "docker-hub"),
        ({}, ""),
    ],
)
def test_every_shape_of_an_upstream_is_read(cloud, double, remote, upstream):
    double.on("GET", RESOURCE, (200, {**THERE, "remoteRepositoryConfig": remote}))
    assert cloud.repositories.get("chainguard").upstream == upstream


def test_creating_sends_the_common_shape_waits_for_the_operation_and_reads_again(cloud, double, clock):
    double.on("POST", COLLECTION, (200, RUNNING))
    double.on("GET", f"/v1/{OPERATION}", (200, RUNNING), (200, RUNNING), (200, DONE))
    double.on("GET", RESOURCE, (200, THERE))
    there = cloud.repositories.create(WANTED)
    assert (there.description, there.scanning_state) == ("pull-through", "SCANNING_DISABLED")
    (sent,) = double.sent("POST")
    assert sent.query["repositoryId"] == "chainguard"
    remote = sent.body["remoteRepositoryConfig"]
    assert remote["commonRepository"] == {"uri": "https://cgr.dev/"}
    assert remote["upstreamCredentials"]["usernamePasswordCredentials"]["username"] == "org/id"
    assert not remote.get("disableUpstreamValidation")
    assert {wait.reason for wait in clock.waits} == {"the operation to create the repository chainguard in us-central1"}
    assert len(clock.waits) == 2


def test_validation_is_left_out_only_when_asked(cloud, double):
    double.on("GET", RESOURCE, (200, THERE))
    double.on("PATCH", RESOURCE, (200, THERE))
    pair = ("org/id", "projects/my-project/secrets/token/versions/1")
    cloud.repositories.set_upstream_credentials("chainguard", *pair, disable_upstream_validation=True)
    assert double.sent("PATCH")[0].body["remoteRepositoryConfig"]["disableUpstreamValidation"] is True


def test_creating_what_exists_fails_and_is_not_taken_for_success(cloud, double, refusal):
    double.on("POST", COLLECTION, refusal(409, "ALREADY_EXISTS", "the repository already exists"))
    double.on("GET", RESOURCE, (200, THERE))
    with pytest.raises(AlreadyExists):
        cloud.repositories.create(WANTED)


def test_a_create_whose_answer_was_lost_is_found_by_reading(cloud, double, refusal, reset):
    double.on("POST", COLLECTION, reset, refusal(409, "ALREADY_EXISTS", "the repository already exists"))
    double.on("GET", RESOURCE, (200, THERE))
    assert cloud.repositories.create(WANTED).name == NAME
    assert len(double.sent("POST")) == 2


def test_a_lost_answer_does_not_adopt_somebody_elses_repository(cloud, double, refusal, reset):
    double.on("POST", COLLECTION, reset, refusal(409, "ALREADY_EXISTS", "the repository already exists"))
    double.on("GET", RESOURCE, (200, {**THERE, "labels": {"made-by": "terraform"}}))
    with pytest.raises(AlreadyExists, match="other settings") as caught:
        cloud.repositories.create(WANTED)
    assert (
        "gcloud artifacts repositories describe chainguard --location=us-central1 --project=my-project"
        in caught.value.remedy
    )


@pytest.mark.parametrize("inline", [True, False])
def test_refused_credentials_are_the_same_error_inline_and_inside_the_operation(cloud, double, refusal, inline):
    if inline:
        double.on("POST", COLLECTION, refusal(400, "INVALID_ARGUMENT", BAD_TOKEN))
    else:
        double.on("POST", COLLECTION, (200, RUNNING))
        failed = {**RUNNING, "done": True, "error": {"code": 3, "message": BAD_TOKEN}}
        double.on("GET", f"/v1/{OPERATION}", (200, failed))
    with pytest.raises(UpstreamCredentialsRefused, match="create the repository chainguard") as caught:
        cloud.repositories.create(WANTED, propagation=60)
    assert caught.value.debugging == 3
    assert len(double.sent("POST")) == 1


@pytest.mark.parametrize("inline", [True, False])
def test_a_secret_that_cannot_be_read_yet_is_waited_for_after_a_grant(cloud, double, refusal, clock, inline):
    if inline:
        double.on("POST", COLLECTION, *[refusal(400, "INVALID_ARGUMENT", NO_ACCESS)] * 2, (200, DONE))
    else:
        failed = {**RUNNING, "done": True, "error": {"code": 3, "message": NO_ACCESS}}
        double.on("POST", COLLECTION, (200, failed), (200, failed), (200, DONE))
    double.on("GET", RESOURCE, (200, THERE))
    assert cloud.repositories.create(WANTED, propagation=60).name == NAME
    assert [wait.reason for wait in clock.waits] == ["the service agent's access to the secret to take effect"] * 2


def test_a_secret_that_cannot_be_read_names_the_grant_when_nothing_was_just_granted(cloud, double, refusal, clock):
    double.on("POST", COLLECTION, refusal(400, "INVALID_ARGUMENT", NO_ACCESS))
    with pytest.raises(PermissionMissing) as caught:
        cloud.repositories.create(WANTED)
    # Whose number it is nobody asks in an error: that of another project must not become this one's id.
    assert "gcloud secrets add-iam-policy-binding token --project=123456789012" in caught.value.remedy
    assert "roles/secretmanager.secretAccessor" in caught.value.remedy
    assert clock.waits == []


@pytest.mark.parametrize(
    ("info", "kind", "said"),
    [
        (
            {
                "reason": "IAM_PERMISSION_DENIED",
                "metadata": {
                    "permission": "artifactregistry.repositories.create",
                    "resource": "projects/my-project/locations/us-central1",
                },
            },
            PermissionMissing,
            "--role=roles/artifactregistry.admin --condition=None",
        ),
        (
            {
                "reason": "SERVICE_DISABLED",
                "metadata": {"service": "cloudkms.googleapis.com", "consumer": "projects/the-keys-project"},
            },
            ApiDisabled,
            "gcloud services enable cloudkms.googleapis.com --project=the-keys-project",
        ),
    ],
)
def test_what_a_refusal_inside_an_operation_says_of_itself_is_read(cloud, double, info, kind, said):
    details = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "domain": "googleapis.com", **info}]
    error = {"code": 7, "message": "Permission denied.", "details": details}
    double.on("POST", COLLECTION, (200, RUNNING))
    double.on("GET", f"/v1/{OPERATION}", (200, {**RUNNING, "done": True, "error": error}))
    with pytest.raises(kind) as caught:
        cloud.repositories.create(WANTED)
    assert said in caught.value.remedy


def test_an_operation_that_never_ends_is_given_up_after_its_limit(cloud, double, clock):
    double.on("POST", COLLECTION, (200, RUNNING))
    double.on("GET", f"/v1/{OPERATION}", (200, RUNNING))
    with pytest.raises(Temporary, match="still running"):
        cloud.repositories.create(WANTED)
    assert clock.now == pytest.approx(1200, abs=1)


def test_credentials_are_changed_in_one_request_with_the_two_leaf_paths(cloud, double):
    double.on("GET", RESOURCE, (200, THERE), (200, with_credentials("org/new", 2)))
    double.on("PATCH", RESOURCE, (200, with_credentials("org/new", 2)))
    version = "projects/my-project/secrets/token/versions/2"
    there = cloud.repositories.set_upstream_credentials("chainguard", "org/new", version)
    assert (there.username, there.password_secret_version[-2:]) == ("org/new", "/2")
    (sent,) = double.sent("PATCH")
    assert set(sent.query["updateMask"].split(",")) == {
        f"{CREDENTIALS}.username",
        f"{CREDENTIALS}.passwordSecretVersion",
    }
    remote = sent.body["remoteRepositoryConfig"]
    assert remote["upstreamCredentials"]["usernamePasswordCredentials"] == {
        "username": "org/new",
        "passwordSecretVersion": version,
    }
    assert remote["commonRepository"] == {"uri": "https://cgr.dev/"}


def test_a_legacy_repository_keeps_its_shape_when_its_credentials_change(cloud, double):
    legacy = with_credentials("org/new", 2)
    del legacy["remoteRepositoryConfig"]["commonRepository"]
    legacy["remoteRepositoryConfig"]["dockerRepository"] = {"customRepository": {"uri": "https://cgr.dev"}}
    double.on("GET", RESOURCE, (200, legacy))
    double.on("PATCH", RESOURCE, (200, legacy))
    cloud.repositories.set_upstream_credentials("chainguard", "org/new", "projects/p/secrets/token/versions/2")
    remote = double.sent("PATCH")[0].body["remoteRepositoryConfig"]
    assert remote["dockerRepository"] == {"customRepository": {"uri": "https://cgr.dev"}}
    assert "commonRepository" not in remote


def test_a_change_that_the_service_did_not_keep_is_no_success(cloud, double):
    double.on("GET", RESOURCE, (200, THERE))
    double.on("PATCH", RESOURCE, (200, THERE))
    with pytest.raises(ServiceError, match="reads back with the user 'org/id'"):
        cloud.repositories.set_upstream_credentials("chainguard", "org/new", "projects/p/secrets/token/versions/2")


def test_only_what_differs_is_in_the_mask_of_an_update(cloud, double):
    double.on("GET", RESOURCE, (200, THERE))
    double.on("PATCH", RESOURCE, (200, THERE))
    before = cloud.repositories.get("chainguard")
    policy = CleanupPolicy(id="old", action="DELETE", condition={"older_than": dt.timedelta(days=90)})
    wanted = replace(before, labels={"team": "a"}, cleanup_policies={"old": policy}, vulnerability_scanning="disabled")
    cloud.repositories.update(before, wanted)
    (sent,) = double.sent("PATCH")
    assert set(sent.query["updateMask"].split(",")) == {"labels", "cleanupPolicies", "vulnerabilityScanningConfig"}
    assert sent.body["labels"] == {"team": "a"}
    assert sent.body["cleanupPolicies"]["old"]["condition"]["olderThan"] == "7776000s"


def test_what_others_put_in_since_it_was_read_stays(cloud, double):
    theirs = {"theirs": {"id": "theirs", "action": "KEEP", "mostRecentVersions": {"keepCount": 2}}}
    before = replace(WANTED, name=NAME, labels={"team": "a", "gone": "soon"})
    labels = {**before.labels, "since": "then"}
    double.on("GET", RESOURCE, (200, {**THERE, "labels": labels, "cleanupPolicies": theirs}))
    double.on("PATCH", RESOURCE, (200, THERE))
    policy = CleanupPolicy(id="old", action="DELETE", condition={"older_than": dt.timedelta(days=90)})
    cloud.repositories.update(before, replace(before, labels={"team": "b"}, cleanup_policies={"old": policy}))
    (sent,) = double.sent("PATCH")
    assert sent.body["labels"] == {"team": "b", "since": "then"}
    assert set(sent.body["cleanupPolicies"]) == {"old", "theirs"}


@pytest.mark.parametrize(
    ("project", "kept"), [("123456789012", True), ("another-project", False), ("p", True)], ids=str
)
def test_credentials_read_back_with_another_projects_secret_are_no_success(cloud, double, project, kept):
    there = with_credentials("org/id", 2)
    pair = there["remoteRepositoryConfig"]["upstreamCredentials"]["usernamePasswordCredentials"]
    pair["passwordSecretVersion"] = f"projects/{project}/secrets/token/versions/2"
    double.on("GET", RESOURCE, (200, there))
    double.on("PATCH", RESOURCE, (200, there))
    with nullcontext() if kept else pytest.raises(ServiceError, match="another-project"):
        cloud.repositories.set_upstream_credentials("chainguard", "org/id", "projects/p/secrets/token/versions/2")


def test_an_update_that_changes_nothing_sends_nothing(cloud, double):
    double.on("GET", RESOURCE, (200, THERE))
    before = cloud.repositories.get("chainguard")
    assert cloud.repositories.update(before, replace(before, labels=dict(before.labels))) is before
    assert double.sent("PATCH") == []


def test_a_trailing_slash_is_no_difference_of_upstreams(cloud, double):
    double.on("GET", RESOURCE, (200, THERE))
    before = cloud.repositories.get("chainguard")
    assert cloud.repositories.update(before, replace(before, upstream="https://cgr.dev")) is before


def test_clean_up_policies_survive_the_way_there_and_back(cloud, double):
    recent = {"package_name_prefixes": ["chainguard/"], "keep_count": 3}
    old = {"tag_state": "UNTAGGED", "older_than": dt.timedelta(days=1)}
    policies = {
        "keep": CleanupPolicy(id="keep", action="KEEP", most_recent_versions=recent),
        "old": CleanupPolicy(id="old", action="DELETE", condition=old),
    }
    double.on("POST", COLLECTION, (200, DONE))
    double.on("GET", RESOURCE, lambda _request: (200, {**double.sent("POST")[0].body, "name": NAME}))
    wanted = replace(WANTED, cleanup_policies=policies, cleanup_policy_dry_run=True, vulnerability_scanning="inherited")
    there = cloud.repositories.create(wanted)
    assert there.cleanup_policies == policies
    assert there.cleanup_policy_dry_run is True
    assert there.vulnerability_scanning == "inherited"


def test_deleting_waits_for_the_operation_and_looks_whether_it_is_gone(cloud, double, refusal):
    gone = {
        **RUNNING,
        "done": True,
        "response": {"@type": "type.googleapis.com/google.protobuf.Empty"},
    }
    double.on("GET", RESOURCE, (200, THERE), refusal(404, "NOT_FOUND", "Requested entity was not found."))
    double.on("DELETE", RESOURCE, (200, RUNNING))
    double.on("GET", f"/v1/{OPERATION}", (200, gone))
    assert cloud.repositories.delete("chainguard") is True
    assert cloud.repositories.delete("chainguard") is False
    assert len(double.sent("DELETE")) == 1


def test_a_delete_that_left_the_repository_is_no_success(cloud, double):
    gone = {**RUNNING, "done": True, "response": {"@type": "type.googleapis.com/google.protobuf.Empty"}}
    double.on("GET", RESOURCE, (200, THERE))
    double.on("DELETE", RESOURCE, (200, gone))
    with pytest.raises(ServiceError, match="still there"):
        cloud.repositories.delete("chainguard")


def test_lists_are_followed_page_by_page(cloud, double):
    pages = {
        "": {"repositories": [{**THERE, "name": f"{PARENT}/repositories/b"}], "nextPageToken": "2"},
        "2": {"repositories": [{**THERE, "name": f"{PARENT}/repositories/a"}]},
    }
    double.on("GET", COLLECTION, lambda request: (200, pages[request.query.get("pageToken", "")]))
    assert [repository.id for repository in cloud.repositories.list()] == ["a", "b"]
    places = {
        "": {"locations": [{"locationId": "us-west1"}], "nextPageToken": "2"},
        "2": {"locations": [{"locationId": "europe"}]},
    }
    double.on(
        "GET", "/v1/projects/my-project/locations", lambda request: (200, places[request.query.get("pageToken", "")])
    )
    assert cloud.repositories.locations() == ("europe", "us-west1")


def test_the_repositories_of_all_locations_are_asked_for_at_once_and_what_cannot_be_read_is_told(
    cloud, double, refusal, clock
):
    places, together = ("asia", "europe", "us", "us-west1"), threading.Barrier(4)

    def answer(request: Any) -> Any:
        place = request.path.split("/")[5]
        if clock.now == 0:  # the first time: before all four are asked nobody gets an answer
            together.wait(10)
        if place == "us":
            return refusal(503, "UNAVAILABLE", "away")
        if place == "asia":
            return refusal(403, "PERMISSION_DENIED", "no")
        virtual = {"upstreamPolicies": [{"id": "a", "repository": f"{PARENT}/repositories/chainguard"}]}
        named = {"name": f"projects/my-project/locations/{place}/repositories/r", "mode": "VIRTUAL_REPOSITORY"}
        return 200, {"repositories": [{**named, "format": "DOCKER", "virtualRepositoryConfig": virtual}]}

    located = {"locations": [{"locationId": place} for place in places]}
    double.on("GET", "/v1/projects/my-project/locations", (200, located))
    double.on("GET", "/v1/projects/my-project/locations/[^/]+/repositories", answer)
    there = cloud.repositories.list_everywhere()
    assert [(one.location, one.id) for one in there.repositories] == [("europe", "r"), ("us-west1", "r")]
    [policy] = there.repositories[0].upstream_policies
    assert policy.repository == f"{PARENT}/repositories/chainguard"
    assert {place: type(error) for place, error in there.unread.items()} == {"asia": PermissionMissing, "us": Temporary}
    assert clock.now < 30, "not to know is an answer too"


def test_where_not_even_the_locations_can_be_listed_nothing_is_known(cloud, double, refusal):
    double.on("GET", "/v1/projects/my-project/locations", refusal(403, "PERMISSION_DENIED", "no"))
    there = cloud.repositories.list_everywhere()
    assert there.repositories == ()
    assert isinstance(there.unread[""], PermissionMissing)


def test_who_was_granted_what_on_a_repository_is_read(cloud, double):
    bindings = [{"role": "roles/artifactregistry.reader", "members": ["allUsers"]}]
    double.on("GET", f"{RESOURCE}:getIamPolicy", (200, {"etag": "ACAB", "bindings": bindings}))
    [binding] = cloud.repositories.get_policy("chainguard").bindings
    assert (binding.role, binding.members) == ("roles/artifactregistry.reader", ("allUsers",))


@pytest.mark.parametrize("code", [429, 500, 502, 503, 504])
def test_a_read_is_tried_again_while_the_service_is_away(cloud, double, reset, clock, code):
    double.on("GET", RESOURCE, (code, b"<html>away</html>"), reset, (200, THERE))
    assert cloud.repositories.get("chainguard") is not None
    assert [wait.reason for wait in clock.waits] == [
        "another attempt to read the repository chainguard in us-central1"
    ] * 2
