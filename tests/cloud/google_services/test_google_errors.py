from __future__ import annotations

import pytest
from google.auth.exceptions import TransportError
from google.auth.transport.requests import Request
from google.oauth2.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from cgrunbook.cloud.attempts import Attempts
from cgrunbook.cloud.google_errors import Answer, explain, explain_answer
from cgrunbook.cloud.roles import HELD, ROLES, fewest_roles, narrowest_role
from cgrunbook.errors import (
    AlreadyExists,
    ApiDisabled,
    CgrunbookError,
    Conflict,
    InvalidRequest,
    MemberUnknown,
    NotFound,
    NotSignedIn,
    PerimeterDenied,
    PermissionMissing,
    PrerequisiteMissing,
    ProjectUnknown,
    ServiceError,
    Temporary,
    UpstreamCredentialsRefused,
    UpstreamNotValidated,
    WrongState,
)
from cgrunbook.steps import rights

REPOSITORY = "/v1/projects/my-project/locations/us-central1/repositories/chainguard"
SECRET = "projects/123456789012/secrets/token"
UPSTREAM = "Failed to validate remote upstream:"
DENIED, INVALID, STATE = "PERMISSION_DENIED", "INVALID_ARGUMENT", "FAILED_PRECONDITION"


def explained(connection, status, message, reason="", **metadata):
    return explain_answer(Answer(0, status, message, reason, metadata), connection, "do it")


def test_an_api_that_is_off_names_the_command_that_turns_it_on(cloud, double, refusal):
    message = "Artifact Registry API has not been used in project my-project before or it is disabled."
    double.on(
        "GET",
        REPOSITORY,
        refusal(
            403,
            "PERMISSION_DENIED",
            message,
            "SERVICE_DISABLED",
            service="artifactregistry.googleapis.com",
            consumer="projects/my-project",
        ),
    )
    with pytest.raises(ApiDisabled, match="403 PERMISSION_DENIED: Artifact Registry API") as caught:
        cloud.repositories.get("chainguard")
    assert caught.value.message.startswith("The Artifact Registry API is not enabled in project my-project.\n")
    assert caught.value.remedy == (
        "Run the notebook 02_developer_images, which enables it, or: "
        "gcloud services enable artifactregistry.googleapis.com --project=my-project"
    )
    assert caught.value.api == "artifactregistry.googleapis.com"
    assert caught.value.exit_code == 3


def test_an_api_that_no_notebook_enables_is_still_named_with_the_command(connection):
    error = explained(connection, DENIED, "it is disabled.", "SERVICE_DISABLED", service="cloudkms.googleapis.com")
    assert isinstance(error, ApiDisabled)
    assert error.message.startswith("The API cloudkms.googleapis.com is not enabled in project my-project.")
    assert error.remedy == "Enable it: gcloud services enable cloudkms.googleapis.com --project=my-project"


def test_a_missing_permission_names_itself_the_role_and_the_command(cloud, double, refusal):
    message = (
        "Permission 'artifactregistry.repositories.get' denied on resource "
        "'//artifactregistry.googleapis.com/projects/my-project/locations/us-central1/repositories/chainguard' "
        "(or it may not exist)."
    )
    double.on(
        "GET",
        REPOSITORY,
        refusal(
            403,
            "PERMISSION_DENIED",
            message,
            "IAM_PERMISSION_DENIED",
            permission="artifactregistry.repositories.get",
            resource="projects/my-project/locations/us-central1/repositories/chainguard",
        ),
    )
    with pytest.raises(PermissionMissing, match=r"artifactregistry\.repositories\.get") as caught:
        cloud.repositories.get("chainguard")
    assert (
        "gcloud artifacts repositories add-iam-policy-binding chainguard --location=us-central1 --project=my-project "
        '--member="user:ada@example.com" --role=roles/artifactregistry.reader'
    ) in caught.value.remedy


RESOURCES, USAGE, STORE = (
    f"{name}.googleapis.com" for name in ("cloudresourcemanager", "serviceusage", "secretmanager")
)
ELSEWHERE = "projects/another-project/secrets/theirs"


def credentials_of(connection, quota_project):
    connection.__dict__["credentials"] = Credentials("token", quota_project_id=quota_project)
    return connection


@pytest.mark.parametrize(
    "row",
    [
        # An API that is off, in the project worked in: by no metadata, by id, by the number that a resource's own project has.
        ("", "it is disabled.", "SERVICE_DISABLED", {"service": STORE}, ApiDisabled, ["--project=my-project"]),
        (
            "my-project",
            "it is disabled.",
            "SERVICE_DISABLED",
            {"service": STORE, "consumer": "projects/123", "containerInfo": "123"},
            ApiDisabled,
            ["in project my-project.", "03_production_images", f"enable {STORE} --project=my-project"],
        ),
        # In another: the credentials' quota project, or, of two services, the project that the credentials belong to.
        (
            "billing",
            "it is disabled.",
            "SERVICE_DISABLED",
            {"service": STORE, "consumer": "projects/999"},
            ApiDisabled,
            ["not enabled in project 999, which", f"enable {STORE} --project=999", "set-quota-project my-project"],
        ),
        (
            "",
            "it is disabled.",
            "SERVICE_DISABLED",
            {"service": RESOURCES, "consumer": "projects/999"},
            ApiDisabled,
            ["not enabled in project 999, which", f"enable {RESOURCES} --project=999"],
        ),
        (
            "",
            "it is disabled.",
            "SERVICE_DISABLED",
            {"service": USAGE, "consumer": "projects/billing"},
            ApiDisabled,
            [f"enable {USAGE} --project=billing"],
        ),
        (
            "",
            f"Cloud Resource Manager API has not been used in project 999 before or it is disabled. Visit {RESOURCES}.",
            "",
            {},
            ApiDisabled,
            [f"enable {RESOURCES} --project=999"],
        ),
        # A quota project that the caller may not use.
        (
            "billing",
            "Caller does not have required permission to use project billing.",
            "USER_PROJECT_DENIED",
            {"service": STORE, "consumer": "projects/billing", "containerInfo": "billing"},
            PermissionMissing,
            [
                "projects add-iam-policy-binding billing ",
                "roles/serviceusage.serviceUsageConsumer",
                "GOOGLE_CLOUD_QUOTA",
            ],
        ),
        (
            "",
            "Caller does not have required permission to use project billing. Grant the caller the role",
            "",
            {},
            PermissionMissing,
            ["projects add-iam-policy-binding billing ", "serviceusage.services.use"],
        ),
        # No such project.
        (
            "",
            "Permission denied on resource project my-projekt.",
            "CONSUMER_INVALID",
            {"service": STORE, "consumer": "projects/my-projekt"},
            ProjectUnknown,
            ["There is no project my-projekt, or user:ada@example.com may not see it.", "gcloud projects list"],
        ),
        ("", "Permission denied on resource project my-projekt.", "", {}, ProjectUnknown, ["gcloud projects list"]),
        # Resources elsewhere than where is worked.
        (
            "",
            "Permission denied.",
            "IAM_PERMISSION_DENIED",
            {"permission": "secretmanager.versions.access", "resource": f"{ELSEWHERE}/versions/1"},
            PermissionMissing,
            ["gcloud secrets add-iam-policy-binding theirs --project=another-project "],
        ),
        (
            "",
            "Permission denied.",
            "IAM_PERMISSION_DENIED",
            {
                "permission": "artifactregistry.repositories.get",
                "resource": "//artifactregistry.googleapis.com/projects/another-project/locations/europe/repositories/r",
            },
            PermissionMissing,
            ["repositories add-iam-policy-binding r --location=europe --project=another-project "],
        ),
        (
            "",
            "Permission denied.",
            "IAM_PERMISSION_DENIED",
            {
                "permission": "cloudkms.cryptoKeyVersions.useToEncrypt",
                "resource": "projects/keys/locations/europe/keyRings/ring/cryptoKeys/key",
            },
            PermissionMissing,
            ["gcloud kms keys add-iam-policy-binding key --keyring=ring --location=europe --project=keys "],
        ),
        (
            "",
            "Permission 'resourcemanager.projects.get' denied (or it may not exist).",
            "IAM_PERMISSION_DENIED",
            {"permission": "resourcemanager.projects.get", "resource": "projects/my-project"},
            PermissionMissing,
            ["Check the id, project_id", "--role=roles/browser"],
        ),
    ],
)
def test_what_a_refusal_says_of_itself_decides_whose_project_the_remedy_names(connection, row):
    quota_project, message, reason, metadata, kind, said = row
    error = explained(credentials_of(connection, quota_project), DENIED, message, reason, **metadata)
    assert type(error) is kind
    for piece in said:
        assert piece in str(error)
    granting = [line for line in str(error).splitlines() if "add-iam-policy-binding" in line]
    assert all("--condition=None" in line for line in granting)


@pytest.mark.parametrize(
    ("metadata", "remedy"),
    [
        ({}, "A quota is used up for projects/my-project. Wait a minute, then run again."),
        (
            {
                "service": STORE,
                "consumer": "projects/999",
                "quota_limit": "RequestsPerMinutePerProject",
                "quota_metric": f"{STORE}/requests",
            },
            f"A quota, RequestsPerMinutePerProject of {STORE}/requests, is used up for projects/999. Wait a minute, then run "
            f"again; the limits are listed by: gcloud alpha services quota list --service={STORE} --consumer=projects/999",
        ),
    ],
)
def test_a_quota_that_is_used_up_is_named_with_its_limit_and_whose_it_is(connection, metadata, remedy):
    error = explained(connection, "RESOURCE_EXHAUSTED", "Quota exceeded", "RATE_LIMIT_EXCEEDED", **metadata)
    assert error.remedy == remedy


@pytest.mark.parametrize(
    ("message", "command"),
    [
        (
            f"{UPSTREAM} Permission 'secretmanager.versions.access' denied on {ELSEWHERE}",
            "binding theirs --project=another",
        ),
        (f"{UPSTREAM} {ELSEWHERE}/versions/1 not found", "gcloud secrets list --project=another-project"),
        (
            f"{UPSTREAM} Secret Version [{ELSEWHERE}/versions/1] is in DISABLED state.",
            "versions enable 1 --secret=theirs --project=another-project",
        ),
        (
            f"{UPSTREAM} Secret Version [{ELSEWHERE}/versions/1] is in DESTROYED state.",
            "versions list theirs --project=another-project",
        ),
    ],
)
def test_a_secret_of_another_project_is_looked_for_there(connection, message, command):
    assert command in explained(connection, INVALID, message).remedy


@pytest.mark.parametrize(
    ("message", "role", "command"),
    [
        (
            f"Permission 'secretmanager.versions.add' denied for resource '{SECRET}' (or it may not exist).",
            "roles/secretmanager.secretVersionAdder",
            "gcloud secrets add-iam-policy-binding token --project=my-project",
        ),
        (
            "Permission 'secretmanager.secrets.create' denied for resource 'projects/my-project' (or it may not exist).",
            "roles/secretmanager.admin",
            "gcloud projects add-iam-policy-binding my-project",
        ),
        (
            'Permission "artifactregistry.repositories.create" denied on resource "projects/p/locations/l"',
            "roles/artifactregistry.admin",
            "gcloud projects add-iam-policy-binding my-project",
        ),
    ],
)
def test_the_permission_is_found_in_the_sentence_where_there_is_no_error_info(connection, message, role, command):
    error = explained(connection, "PERMISSION_DENIED", message)
    assert isinstance(error, PermissionMissing)
    assert f"--role={role}" in error.remedy
    assert command in error.remedy


def test_a_permission_that_nobody_named_still_gives_a_way_on(connection):
    error = explained(connection, "PERMISSION_DENIED", "The caller does not have permission")
    assert isinstance(error, PermissionMissing)
    assert "gcloud projects get-iam-policy my-project" in error.remedy


@pytest.mark.parametrize(
    ("permissions", "roles"),
    [
        ([], ()),
        (["secretmanager.secrets.create"], ("roles/secretmanager.admin",)),
        (
            ["secretmanager.secrets.create", "secretmanager.secrets.get", "secretmanager.versions.add"],
            ("roles/secretmanager.admin",),
        ),
        (["secretmanager.versions.add"], ("roles/secretmanager.secretVersionAdder",)),
        (["secretmanager.versions.add", "secretmanager.versions.list"], ("roles/secretmanager.secretVersionManager",)),
        (
            ["artifactregistry.repositories.downloadArtifacts", "artifactregistry.repositories.create"],
            ("roles/artifactregistry.admin",),
        ),
        (
            ["artifactregistry.repositories.get", "secretmanager.versions.access"],
            ("roles/artifactregistry.reader", "roles/secretmanager.secretAccessor"),
        ),
        (["nothing.like.this"], ()),
    ],
)
def test_the_fewest_roles_that_hold_all_are_named_and_of_those_the_narrowest(permissions, roles):
    assert fewest_roles(permissions) == roles


def test_each_permission_that_the_notebooks_need_is_held_by_a_role_and_each_notebooks_roles_hold_them():
    needed = {permission for permissions in rights.PERMISSIONS.values() for permission in permissions}
    assert needed <= ROLES.keys()
    of_guide = frozenset().union(*(HELD[role] for role in rights.LEAST["03_production_images"].roles))
    assert needed - of_guide == set(rights.PERMISSIONS[rights.APIS])


def test_every_role_named_is_a_predefined_one():
    assert all(role.startswith("roles/") for role in ROLES.values())
    assert narrowest_role("secretmanager.versions.access") == "roles/secretmanager.secretAccessor"
    assert narrowest_role("nothing.like.this") == ""


@pytest.mark.parametrize(
    ("refused", "kind", "remedy"),
    [
        ((DENIED, "insufficient authentication scopes", "ACCESS_TOKEN_SCOPE_INSUFFICIENT"), NotSignedIn, "--scopes="),
        (
            (DENIED, "This API requires billing", "BILLING_DISABLED"),
            PrerequisiteMissing,
            "gcloud billing projects link my-project",
        ),
        (
            (DENIED, "Request is prohibited by organization's policy", "SECURITY_POLICY_VIOLATED"),
            PerimeterDenied,
            "perimeter",
        ),
        ((DENIED, "API requires a quota project", ""), NotSignedIn, "set-quota-project my-project"),
        (
            (DENIED, "Caller may not use it", "USER_PROJECT_DENIED"),
            PermissionMissing,
            "roles/serviceusage.serviceUsageConsumer",
        ),
        (
            (DENIED, "Permission 'cloudkms.cryptoKeyVersions.useToEncrypt' denied", ""),
            PermissionMissing,
            "gcloud kms keys add-iam-policy-binding",
        ),
        (("UNAUTHENTICATED", "Request had invalid authentication credentials.", ""), NotSignedIn, "gcloud auth"),
        (("ALREADY_EXISTS", "the repository already exists", ""), AlreadyExists, "name"),
        (("ABORTED", "There were concurrent policy changes.", ""), Conflict, "Run again"),
        (("NOT_FOUND", "Requested entity was not found.", ""), NotFound, "us-central1"),
        (("RESOURCE_EXHAUSTED", "Quota exceeded", "RATE_LIMIT_EXCEEDED"), Temporary, "Wait a minute"),
        (("UNAVAILABLE", "try later", ""), Temporary, "Wait a minute"),
        (("DEADLINE_EXCEEDED", "late", ""), Temporary, "Wait a minute"),
        (("UNIMPLEMENTED", "Method not found.", ""), ServiceError, "newer"),
        (
            (STATE, f"Secret Version [{SECRET}/versions/3] is in DISABLED state.", ""),
            WrongState,
            "gcloud secrets versions enable 3 --secret=token",
        ),
        (
            (STATE, "Constraint constraints/gcp.resourceLocations violated", ""),
            InvalidRequest,
            "constraints/gcp.resourceLocations",
        ),
        ((INVALID, "Request contains an invalid argument.", ""), InvalidRequest, "gcloud artifacts locations list"),
        (
            (INVALID, "Service account service-1@x.iam.gserviceaccount.com does not exist.", ""),
            MemberUnknown,
            "gcloud beta services identity create",
        ),
        (
            (INVALID, f"{UPSTREAM} generic::invalid_argument: not supported as custom remote repository URI", ""),
            InvalidRequest,
            "https://cgr.dev/",
        ),
        ((INVALID, f"{UPSTREAM} something new", ""), UpstreamNotValidated, "add-iam-policy-binding"),
        (
            (INVALID, f"{UPSTREAM} Permission 'secretmanager.versions.access' denied on {SECRET}", ""),
            PermissionMissing,
            "add-iam-policy-binding token",
        ),
        (
            (INVALID, f"{UPSTREAM} Secret Version [{SECRET}/versions/1] is in DISABLED state.", ""),
            WrongState,
            "versions enable 1 --secret=token",
        ),
        (
            (INVALID, f"{UPSTREAM} generic::unauthenticated: Unauthorized error", ""),
            UpstreamCredentialsRefused,
            "pull token",
        ),
    ],
)
def test_each_refusal_becomes_the_error_that_says_what_to_do(connection, refused, kind, remedy):
    status, message, reason = refused
    error = explained(connection, status, message, reason)
    assert type(error) is kind
    assert message.rstrip(".") in error.message
    assert error.message.startswith("Tried to do it. The service answered")
    assert remedy in error.remedy


def test_the_status_in_the_body_decides_where_one_http_code_means_several(cloud, double, refusal):
    path = "/v1/projects/my-project/secrets/token"
    double.on("GET", path, refusal(409, "ABORTED", "concurrent"))
    with pytest.raises(Conflict):
        cloud.secrets.get("token")
    double.on("GET", path, refusal(400, "FAILED_PRECONDITION", "not now"))
    with pytest.raises(WrongState):
        cloud.secrets.get("token")


def test_a_page_of_html_is_cut_to_its_words(cloud, double):
    page = b"<html><body><h1>403 Forbidden</h1>" + b"<p>No entry.</p>" * 500
    double.on("GET", REPOSITORY, (403, page))
    with pytest.raises(PermissionMissing, match="403 Forbidden") as caught:
        cloud.repositories.get("chainguard")
    assert "<" not in caught.value.message
    assert len(caught.value.message) < 1000


def test_a_server_that_is_not_there_is_temporary_and_names_the_network(cloud, double, clock):
    cloud.connection.__dict__["artifact_registry"] = "http://127.0.0.1:1"
    with pytest.raises(Temporary, match=r"the connection failed.*Tried \d+ times in 120 s") as caught:
        cloud.repositories.get("chainguard")
    assert "HTTPS_PROXY" in caught.value.remedy
    assert "object at 0x" not in caught.value.message
    assert clock.now == pytest.approx(120, abs=1)


def test_an_error_carries_no_token(connection):
    token = "ya29." + "a" * 40
    error = explained(connection, "INVALID_ARGUMENT", f"what is {token}?")
    assert token not in str(error)


@given(
    status=st.sampled_from(["PERMISSION_DENIED", "INVALID_ARGUMENT", "FAILED_PRECONDITION", "SOMETHING_NEW", ""]),
    message=st.text(max_size=200),
    reason=st.text(max_size=20),
)
def test_whatever_a_service_answers_becomes_an_error_with_a_remedy(status, message, reason):
    from types import SimpleNamespace

    connection = SimpleNamespace(project_id="p", location="l", caller="user:a@b.c", sign_in="sign in")
    error = explain_answer(Answer(0, status, message, reason), connection, "do it")  # type: ignore[arg-type]
    assert isinstance(error, CgrunbookError)
    assert error.remedy


def test_attempts_are_the_only_retries(cloud, double, refusal):
    """The clients' own hidden ones are off: one attempt is one request."""
    once = Attempts(limit=0)
    cloud.attempts = once
    double.on(
        "GET", "/v1/projects/my-project/secrets/token/versions/latest:access", refusal(503, "UNAVAILABLE", "away")
    )
    with pytest.raises(Temporary):
        cloud.secrets.access("token")
    double.on("GET", REPOSITORY, refusal(503, "UNAVAILABLE", "away"))
    with pytest.raises(Temporary):
        cloud.repositories.get("chainguard")
    assert len(double.requests) == 2


@pytest.mark.parametrize(
    ("address", "kind", "said"),
    [
        ("{tls}", ServiceError, "no TLS connection with 127.0.0.1"),
        ("http://127.0.0.1:1/", Temporary, "no answer"),
    ],
)
def test_a_token_endpoint_that_is_not_trusted_fails_at_once_and_one_that_is_away_does_not(
    connection, double, address, kind, said
):
    with pytest.raises(TransportError) as caught:
        Request()(address.format(tls=double.address.replace("http:", "https:")), timeout=2)
    error = explain(caught.value, connection, "get an access token")
    assert type(error) is kind
    assert said in error.message
