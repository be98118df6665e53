"""What each refusal means, by the vendor's table and Artifact Registry's troubleshooting page."""

from __future__ import annotations

import email.utils
import json
import secrets
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgrunbook.cloud.registry_errors import Refusal, read_error, refused
from cgrunbook.cloud.retry import retry_after
from cgrunbook.errors import (
    ApiDisabled,
    CgrunbookError,
    ImageNotAvailable,
    NotFound,
    NotSignedIn,
    PerimeterDenied,
    PermissionMissing,
    RegistryError,
    Temporary,
    UpstreamCredentialsRefused,
    WrongState,
)
from cgrunbook.redaction import Secret

GOOGLE = "us-central1-docker.pkg.dev"


def refusal(
    host="cgr.dev", *, step="/v2/", status=403, code="", message="", signed_in=True, repository="example.com/base"
):
    return Refusal(host, step, f"{repository}:latest", repository, status, code, message, signed_in)


@pytest.mark.parametrize(
    ("step", "status", "code", "message", "signed_in", "kind", "said"),
    [
        ("token", 401, "UNAUTHORIZED", "Authentication required", False, ImageNotAvailable, "not public"),
        (
            "token",
            401,
            "UNAUTHORIZED",
            "Authentication required",
            True,
            UpstreamCredentialsRefused,
            "expired or revoked",
        ),
        ("token", 403, "FORBIDDEN", "Forbidden", True, UpstreamCredentialsRefused, "expired or revoked"),
        ("token", 403, "FORBIDDEN", "Forbidden", False, ImageNotAvailable, "does not exist"),
        ("token", 400, "BAD_REQUEST", "unable to resolve x", True, ImageNotAvailable, "organisation 'example.com'"),
        (
            "/v2/",
            403,
            "FORBIDDEN",
            'caller does not have the required capabilities at "x"',
            True,
            ImageNotAvailable,
            "catalogue",
        ),
        ("/v2/", 404, "NAME_UNKNOWN", 'repository does not exist "x"', True, ImageNotAvailable, "no such image"),
        ("/v2/", 404, "MANIFEST_UNKNOWN", "Unknown manifest", False, ImageNotAvailable, "latest and latest-dev"),
        ("/v2/", 429, "TOOMANYREQUESTS", "", True, Temporary, "429"),
        ("token", 503, "", "", True, Temporary, "token endpoint answered 503"),
        ("/v2/", 418, "", "", True, RegistryError, "418"),
    ],
)
def test_what_chainguards_registry_says_is_explained(*, step, status, code, message, signed_in, kind, said):
    found = refused(refusal(step=step, status=status, code=code, message=message, signed_in=signed_in))
    assert type(found) is kind
    assert said in found.message
    assert str(status) in found.message
    assert code in found.message
    assert message in found.message
    assert found.remedy


READER = (
    'Permission "artifactregistry.repositories.downloadArtifacts" denied on resource '
    '"projects/p/locations/us-central1/repositories/r" (or it may not exist)'
)
VALIDATION = (
    "failed to fetch bearer token; generic::unauthenticated: Unauthorized error returned by the external repository... "
    "this typically means your upstream credentials are invalid"
)


@pytest.mark.parametrize(
    ("status", "code", "message", "kind", "said"),
    [
        (403, "DENIED", READER, PermissionMissing, "roles/artifactregistry.reader"),
        (
            403,
            "DENIED",
            "Unauthenticated request. Unauthenticated requests do not have permission",
            NotSignedIn,
            "Google",
        ),
        (401, "UNAUTHORIZED", "", NotSignedIn, "Google"),
        (
            403,
            "DENIED",
            "Artifact Registry API has not been used in project p before or it is disabled",
            ApiDisabled,
            "",
        ),
        (403, "SERVICE_DISABLED", "", ApiDisabled, ""),
        (404, "NAME_UNKNOWN", 'Repository "r" not found', NotFound, "does not exist"),
        (
            404,
            "MANIFEST_UNKNOWN",
            "Received invalid response from external repository; url=U.",
            ImageNotAvailable,
            "no such",
        ),
        (400, "", VALIDATION, UpstreamCredentialsRefused, "username and password"),
        (
            502,
            "",
            "Received invalid http status code 403 from external repository; url=U.",
            UpstreamCredentialsRefused,
            "403",
        ),
        (
            502,
            "",
            "Received invalid http status code 404 from external repository; url=U.",
            ImageNotAvailable,
            "upstream",
        ),
        (502, "", "Received invalid http status code 500 from external repository; url=U.", Temporary, "500"),
        (502, "", "Received invalid redirect URL from external repository; url=U.", RegistryError, "root"),
        (502, "", "External repository returned unexpected EOF for url=U.", Temporary, "EOF"),
        (504, "", "Timeout while calling external repository; url=U.", Temporary, "Timeout"),
        (429, "", "Resource has been exhausted (e.g. check quota).", Temporary, "exhausted"),
        (
            403,
            "DENIED",
            "Permission to access secret projects/1/secrets/s/versions/1 denied",
            PermissionMissing,
            "service agent",
        ),
        (
            400,
            "",
            "Secret Version [projects/1/secrets/s/versions/1] is in DISABLED state.",
            WrongState,
            "secret version",
        ),
        (
            403,
            "DENIED",
            "Request is prohibited by organization's policy. VPC Service Controls",
            PerimeterDenied,
            "perimeter",
        ),
        (418, "", "", RegistryError, "418"),
    ],
)
def test_what_artifact_registry_says_is_explained(status, code, message, kind, said):
    found = refused(refusal(GOOGLE, status=status, code=code, message=message, repository="p/r/example.com/base"))
    assert type(found) is kind
    assert said in found.message
    assert message.rstrip(".") in found.message
    assert found.remedy


class Robot:
    caller = "serviceAccount:robot@p.iam.gserviceaccount.com"
    sign_in = "Look at the robot's key."

    def __init__(self, *enabled):
        self.enabled = enabled

    def just_enabled(self, api):
        return api in self.enabled


def test_the_missing_permissions_remedy_is_a_whole_command():
    answer = refusal(GOOGLE, message=READER, repository="my-project/my-repo/chainguard/go")
    found = refused(replace(answer, whose=Robot()))
    assert found.remedy == (
        "gcloud artifacts repositories add-iam-policy-binding my-repo --project=my-project --location=us-central1 "
        '--member="serviceAccount:robot@p.iam.gserviceaccount.com" --role=roles/artifactregistry.reader '
        "--condition=None"
    )


def test_an_api_that_was_turned_on_a_moment_ago_is_waited_for_at_its_docker_host_too():
    off = refusal(GOOGLE, status=403, code="SERVICE_DISABLED")
    assert isinstance(refused(replace(off, whose=Robot())), ApiDisabled)
    assert isinstance(refused(replace(off, whose=Robot("artifactregistry.googleapis.com"))), Temporary)


def test_a_service_account_whose_credentials_are_not_taken_is_not_told_to_log_in():
    found = refused(replace(refusal(GOOGLE, status=401), whose=Robot()))
    assert (type(found), found.remedy) == (NotSignedIn, "Look at the robot's key.")


def test_a_project_of_a_domain_is_written_as_gcloud_wants_it():
    found = refused(refusal(GOOGLE, message=READER, repository="example.com/p/my-repo/chainguard/go"))
    assert "add-iam-policy-binding my-repo --project=example.com:p " in found.remedy


def test_the_command_that_lets_the_service_agent_read_works_as_it_stands():
    """Without its project gcloud takes the one that it is set to; without its last flag it asks where there are conditions."""
    denied = "Permission to access secret projects/1/secrets/s/versions/1 denied"
    said = refused(refusal(GOOGLE, code="DENIED", message=denied, repository="my-project/cgr/base")).remedy
    assert " s --project=1 " in said
    assert "service-$(gcloud projects describe my-project --format='value(projectNumber)')@" in said
    assert said.endswith("--condition=None")


def test_the_points_of_the_guides_debugging_section_are_named():
    upstream = "Received invalid redirect URL from external repository; url=U."
    assert refused(refusal(step="token")).debugging == 3
    assert refused(refusal(GOOGLE, status=502, message=upstream)).debugging == 2
    assert refused(refusal(GOOGLE, status=504, message="Timeout before connecting")).debugging == 1


@given(
    host=st.sampled_from(["cgr.dev", GOOGLE]),
    step=st.sampled_from(["token", "/v2/"]),
    status=st.integers(300, 599),
    code=st.text(max_size=30),
    message=st.text(max_size=200),
    signed_in=st.booleans(),
    repository=st.text(max_size=30),
)
def test_every_refusal_has_a_meaning_that_names_step_status_code_and_text(
    *, host, step, status, code, message, signed_in, repository
):
    found = refused(Refusal(host, step, "an image", repository, status, code, message, signed_in))
    assert isinstance(found, CgrunbookError)
    assert f"{host}{'/v2/' if step == '/v2/' else chr(39) + 's token endpoint'} answered {status}" in found.message
    assert found.remedy


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"errors":[{"code":"DENIED","message":"no"}]}', ("DENIED", "no")),
        (b'{"errors":[]}', ("", "")),
        (b'{"error":{"code":403,"status":"PERMISSION_DENIED","message":"no"}}', ("PERMISSION_DENIED", "no")),
        (b'{"details":"incorrect username"}', ("", "incorrect username")),
        (b'{"error":"invalid_grant","error_description":"gone"}', ("invalid_grant", "gone")),
        (b"<html><title>502 Bad\nGateway</title><body>x</body></html>", ("", "502 Bad Gateway")),
        (b"<html><body>Proxy <b>says no</b></body></html>", ("", "Proxy says no")),
        (b"plain words", ("", "plain words")),
        (b"", ("", "")),
        (b"[1]", ("", "")),
        (b'{"errors":["x"]}', ("x", "")),
        (b'{"errors":[{"code":7,"message":{}}]}', ("", "")),
    ],
)
def test_code_and_message_are_found_in_any_body(body, expected):
    assert read_error(body) == expected


@given(
    st.binary(max_size=300)
    | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(lambda x: json.dumps(x).encode())
)
def test_any_body_is_read_as_one_short_printable_line(body):
    code, message = read_error(body)
    assert len(message) <= 403
    assert message.isprintable()
    assert isinstance(code, str)
    assert code.isprintable()


@pytest.mark.parametrize("place", ["code", "message", "error", "title"])
def test_a_secret_in_an_answer_is_masked_before_it_is_cut(place):
    value = secrets.token_urlsafe(60)
    held = Secret(value)
    text = f"{'x ' * (30 if place in ('code', 'error') else 190)}{value}"
    body = {
        "code": {"errors": [{"code": text}]},
        "message": {"errors": [{"code": "DENIED", "message": text}]},
        "error": {"error": text},
        "title": f"<title>{text}</title>",
    }[place]
    said = " ".join(read_error((body if isinstance(body, str) else json.dumps(body)).encode()))
    assert "x x" in said
    assert not [value[at : at + 12] for at in range(len(value) - 11) if value[at : at + 12] in said]
    assert held


def test_retry_after_is_seconds_or_a_date():
    assert retry_after("17") == 17.0
    assert retry_after(None) is None
    assert retry_after("soon") is None
    assert retry_after("Mon, 01 Jan 2001 00:00:00 GMT") == 0.0
    assert 3000 < (retry_after(email.utils.formatdate(time.time() + 3600, usegmt=True)) or 0) <= 3600
