from __future__ import annotations

import pytest
from google.oauth2.credentials import Credentials

from cgrunbook.errors import ApiDisabled, NotFound, PermissionMissing, ProjectUnknown, ServiceError

AR = "artifactregistry.googleapis.com"
SERVICE = f"/v1/projects/my-project/services/{AR}"
IDENTITY = f"/v1beta1/projects/my-project/services/{AR}:generateServiceIdentity"
AGENT = "service-123456789012@gcp-sa-artifactregistry.iam.gserviceaccount.com"
PROJECT = {
    "name": "projects/123456789012",
    "projectId": "my-project",
    "state": "ACTIVE",
    "displayName": "My project",
    "createTime": "2026-01-01T00:00:00Z",
    "etag": "W/1",
}


LOCATIONS = "/v1/projects/my-project/locations"
ENABLED = {
    "name": "operations/noop.DONE_OPERATION",
    "done": True,
    "response": {"@type": "type.googleapis.com/google.api.serviceusage.v1.EnableServiceResponse"},
}


@pytest.fixture
def off(refusal):
    return refusal(403, "PERMISSION_DENIED", "it is disabled.", "SERVICE_DISABLED", service=AR)


def test_the_number_is_read_once_and_names_the_service_agent(cloud, double):
    double.on("GET", "/v3/projects/my-project", (200, PROJECT))
    assert cloud.project.number() == "123456789012"
    assert cloud.project.service_agent_email() == AGENT
    assert len(double.requests) == 1


def test_the_number_is_learned_from_the_name_of_a_secret_and_nobody_is_asked(cloud, double):
    cloud.project.learn_number("projects/my-project/secrets/s")
    assert not cloud.project.number_is_known
    cloud.project.learn_number("projects/123456789012/secrets/s")
    assert cloud.project.service_agent_email() == AGENT
    assert cloud.project.named("my-project")
    assert cloud.project.named("123456789012")
    assert not cloud.project.named("999")
    assert not cloud.project.named("another-project")
    assert double.requests == []


def test_a_project_that_cannot_be_read_names_permission_and_role(cloud, double, refusal):
    message = (
        "Permission 'resourcemanager.projects.get' denied on resource "
        "'//cloudresourcemanager.googleapis.com/projects/my-project' (or it may not exist)."
    )
    double.on("GET", "/v3/projects/my-project", refusal(403, "PERMISSION_DENIED", message))
    with pytest.raises(PermissionMissing, match="or it may not exist") as caught:
        cloud.project.number()
    assert (
        'gcloud projects add-iam-policy-binding my-project --member="user:ada@example.com" --role=roles/browser'
        in caught.value.remedy
    )


def test_whether_an_api_is_on_is_read_from_its_own_answer_and_service_usage_is_not_asked(cloud, double, off):
    double.on("GET", LOCATIONS, off, (200, {}))
    assert cloud.project.api_enabled(AR) is False
    assert cloud.project.api_enabled(AR) is True
    assert {request.path for request in double.requests} == {LOCATIONS}


def test_an_api_that_is_on_is_left_alone(cloud, double):
    double.on("GET", LOCATIONS, (200, {}))
    assert cloud.project.enable_api(AR) is False
    assert double.sent("POST") == []


def test_enabling_waits_until_the_api_answers(cloud, double, off, clock):
    double.on("POST", f"{SERVICE}:enable", (200, {"name": "operations/acat.p2-1"}))
    done = ENABLED | {"name": "operations/acat.p2-1"}
    double.on("GET", "/v1/operations/acat.p2-1", (200, {"name": "operations/acat.p2-1"}), (200, done))
    double.on("GET", LOCATIONS, off, off, off, (200, {"locations": []}))
    assert cloud.project.enable_api(AR) is True
    assert [wait.reason for wait in clock.waits].count(f"{AR} to answer") == 2


def test_an_api_that_answered_once_and_then_says_again_that_it_is_off_is_waited_for(cloud, double, off, clock):
    double.on("POST", f"{SERVICE}:enable", (200, ENABLED))
    double.on("GET", LOCATIONS, off, (200, {"locations": []}), off, off, (200, {"locations": [{"locationId": "us"}]}))
    cloud.project.enable_api(AR)
    assert cloud.repositories.locations() == ("us",)
    assert len(clock.waits) == 2


def test_an_api_that_was_enabled_long_ago_and_is_off_is_off(cloud, double, off, clock):
    double.on("POST", f"{SERVICE}:enable", (200, ENABLED))
    double.on("GET", LOCATIONS, off, (200, {"locations": []}), off)
    cloud.project.enable_api(AR)
    cloud.connection.enabled_at[AR] -= 3600
    with pytest.raises(ApiDisabled):
        cloud.repositories.locations()
    assert not cloud.project.api_enabled(AR)
    assert clock.waits == []


def test_an_api_that_answers_with_a_missing_permission_is_on(cloud, double, refusal, off):
    double.on("POST", f"{SERVICE}:enable", (200, ENABLED))
    denied = "Permission 'artifactregistry.locations.list' denied on resource (or it may not exist)."
    double.on("GET", LOCATIONS, off, refusal(403, "PERMISSION_DENIED", denied))
    assert cloud.project.enable_api(AR) is True


def test_an_api_that_stays_off_is_an_error_that_says_how_long_it_was_tried(cloud, double, off):
    double.on("GET", LOCATIONS, off)
    double.on("POST", f"{SERVICE}:enable", (200, ENABLED))
    with pytest.raises(ApiDisabled, match=r"Tried \d+ times in 120 s") as caught:
        cloud.project.enable_api(AR)
    assert f"gcloud services enable {AR} --project=my-project" in caught.value.remedy


def charged_to(refusal, consumer):
    return refusal(403, "PERMISSION_DENIED", "it is disabled.", "SERVICE_DISABLED", service=AR, consumer=consumer)


def test_an_api_that_is_off_where_requests_are_charged_is_not_taken_for_one_that_is_off_here(cloud, double, refusal):
    cloud.connection.__dict__["credentials"] = Credentials("token", quota_project_id="billing-project")
    double.on("GET", LOCATIONS, charged_to(refusal, "projects/999"))
    double.on("GET", "/v3/projects/my-project", (200, PROJECT))
    with pytest.raises(ApiDisabled, match="not enabled in project 999, which requests are charged to") as caught:
        cloud.project.enable_api(AR)
    assert f"gcloud services enable {AR} --project=999\n" in caught.value.remedy
    assert "set-quota-project my-project" in caught.value.remedy
    assert double.sent("POST") == []


def test_with_a_quota_project_an_api_may_be_off_here_all_the_same(cloud, double, refusal):
    cloud.connection.__dict__["credentials"] = Credentials("token", quota_project_id="billing-project")
    double.on("GET", LOCATIONS, charged_to(refusal, "projects/123456789012"))
    double.on("GET", "/v3/projects/my-project", (200, PROJECT))
    assert cloud.project.api_enabled(AR) is False


def visible(*ids):
    return 200, {"projects": [PROJECT | {"projectId": one} for one in ids]}


@pytest.mark.parametrize(
    ("seen", "question"),
    [
        (visible("other", "my-projekt"), "Did you mean my-projekt? "),
        (visible("other"), ""),
        (visible("my-project"), ""),
        ((403, {"error": {"code": 403, "status": "PERMISSION_DENIED", "message": "no"}}), ""),
    ],
)
def test_a_project_that_nobody_knows_is_asked_after_with_the_nearest_of_those_seen(
    cloud, double, refusal, seen, question
):
    message = "Permission denied on resource project my-project."
    double.on(
        "GET",
        LOCATIONS,
        refusal(403, "PERMISSION_DENIED", message, "CONSUMER_INVALID", service=AR, consumer="projects/my-project"),
    )
    double.on("GET", "/v3/projects:search", seen)
    with pytest.raises(
        ProjectUnknown, match=r"There is no project my-project, or user:ada@example\.com may not see it"
    ) as e:
        cloud.project.api_enabled(AR)
    assert (
        e.value.remedy == f"{question}Check the id, project_id; those that you see are listed by: gcloud projects list"
    )
    assert e.value.exit_code == 3


@pytest.mark.parametrize("inline", [True, False])
def test_the_service_agent_is_made_and_named(cloud, double, inline):
    response = {
        "@type": "type.googleapis.com/google.api.serviceusage.v1beta1.ServiceIdentity",
        "email": AGENT,
        "uniqueId": "1",
    }
    done = {"name": "operations/finished.DONE_OPERATION", "done": True, "response": response}
    if inline:
        double.on("POST", IDENTITY, (200, done))
    else:
        running = {"name": "operations/op9"}
        double.on("POST", IDENTITY, (200, running))
        double.on("GET", "/v1/operations/op9", (200, running), (200, done))
    assert cloud.project.ensure_service_agent() == AGENT


def test_an_operation_that_fails_is_explained(cloud, double):
    failed = {"name": "operations/op9", "done": True, "error": {"code": 5, "message": "Service not found."}}
    double.on("POST", IDENTITY, (200, failed))
    with pytest.raises(NotFound, match="Service not found"):
        cloud.project.ensure_service_agent()


def test_a_permission_that_an_operation_misses_is_named_with_its_role(cloud, double):
    details = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "AUTH_PERMISSION_DENIED",
        "domain": "serviceusage.googleapis.com",
        "metadata": {"permission": "serviceusage.services.enable", "resource": "projects/my-project"},
    }
    error = {"code": 7, "message": "Permission denied.", "details": [details]}
    double.on("POST", IDENTITY, (200, {"name": "operations/op9", "done": True, "error": error}))
    with pytest.raises(PermissionMissing) as caught:
        cloud.project.ensure_service_agent()
    assert caught.value.permission == "serviceusage.services.enable"
    assert "roles/serviceusage.serviceUsageAdmin" in caught.value.remedy


def test_an_agent_without_a_name_is_no_success(cloud, double):
    double.on("POST", IDENTITY, (200, {"name": "operations/op9", "done": True}))
    with pytest.raises(ServiceError, match="named no account"):
        cloud.project.ensure_service_agent()


def test_making_the_agent_is_tried_again_and_refused_with_the_role(cloud, double, refusal, reset, clock):
    denied = refusal(
        403,
        "PERMISSION_DENIED",
        "Permission denied.",
        "AUTH_PERMISSION_DENIED",
        permission="serviceusage.services.enable",
    )
    double.on("POST", IDENTITY, reset, denied)
    with pytest.raises(PermissionMissing) as caught:
        cloud.project.ensure_service_agent()
    assert "roles/serviceusage.serviceUsageAdmin" in caught.value.remedy
    assert len(clock.waits) == 1


def test_the_permissions_that_are_held_are_told(cloud, double):
    asked = [f"service.things.verb{number}" for number in range(50)]
    double.on(
        "POST",
        "/v3/projects/my-project:testIamPermissions",
        lambda request: (200, {"permissions": [one for one in request.body["permissions"] if one.endswith("1")]}),
    )
    held = cloud.project.held_permissions(asked)
    assert held == {one for one in asked if one.endswith("1")}
    assert [len(request.body["permissions"]) for request in double.requests] == [50]


def test_no_permission_held_is_an_empty_answer(cloud, double):
    double.on("POST", "/v3/projects/my-project:testIamPermissions", (200, {}))
    assert cloud.project.held_permissions(["a.b.c"]) == frozenset()


def test_a_grant_in_the_whole_project_counts_only_without_condition(cloud, double):
    role = "roles/secretmanager.secretAccessor"
    member = f"serviceAccount:{AGENT}"
    conditional = {"role": role, "members": [member], "condition": {"title": "t", "expression": "false"}}
    plain = {"role": role, "members": [member]}
    double.on(
        "POST",
        "/v3/projects/my-project:getIamPolicy",
        (200, {"etag": "ACAB", "version": 3, "bindings": [conditional]}),
        (200, {"etag": "ACAB", "bindings": [plain]}),
    )
    assert cloud.project.get_policy().grants(member, role) is False
    assert cloud.project.get_policy().grants(member, role) is True
