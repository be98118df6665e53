"""Application default credentials of every kind: taken in Google's order, or refused with a sentence of ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import pytest
from google.auth.transport.requests import Request
from hypothesis import given, settings
from hypothesis import strategies as st

from cgrunbook.cloud import Attempts, Cloud, connect, metadata_server
from cgrunbook.cloud.application_default import KeyFile, application_default, principal
from cgrunbook.errors import ExitCode, NotSignedIn, Temporary
from tests.cloud.sign_ins import gcloud, key_of, service_account

POOL = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/pool/providers/ci"
TARGET = "robot@their-project.iam.gserviceaccount.com"
AS_TARGET = f"https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{TARGET}:generateAccessToken"
USER = {"type": "authorized_user", "client_id": "1", "client_secret": "2", "refresh_token": "3"}
FEDERATED = {
    "type": "external_account",
    "audience": POOL,
    "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
    "token_url": "http://127.0.0.1:1/token",
    "credential_source": {"file": "/nonexistent/token"},
}


@pytest.fixture
def named(no_google, tmp_path, monkeypatch):
    """Writes the file that GOOGLE_APPLICATION_CREDENTIALS names."""
    path = tmp_path / "named.json"
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))

    def write(content: Any) -> Path:
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        return Path(path)

    return write


def refused(call: Any, *arguments: Any) -> NotSignedIn:
    with pytest.raises(NotSignedIn) as caught:
        call(*arguments)
    assert caught.value.exit_code == ExitCode.PREREQUISITE
    assert caught.value.remedy
    assert "Traceback" not in str(caught.value)
    return caught.value


UNUSABLE = {
    "an array of a key": [{"type": "service_account"}],
    "a text": "service_account",
    "nothing": b"",
    "half a JSON": json.dumps(key_of()).encode()[:200],
    "other bytes": b"\xff\xfe\x00{",
    "deep": b"[" * 100_000,
    "no type": {"client_id": "1"},
    "an unknown type": {"type": "magic"},
    "a type that is none": {"type": ["service_account"]},
    "a person without refresh token": {**USER, "refresh_token": None}
    | {"refresh_token": None, "type": "authorized_user"},
    "a person's expiry that is none": {**USER, "expiry": 7},
    "a key without key": {name: text for name, text in key_of().items() if name != "private_key"},
    "a key that is none": key_of(private_key="MAKE-A-THROWAWAY-KEY"),
    "a key of another type": {**key_of(), "private_key": 7},
    "a federation without source": {**FEDERATED, "credential_source": None},
    "a federation of a text": {**FEDERATED, "credential_source": "file"},
    "a federation without audience": {name: of for name, of in FEDERATED.items() if name != "audience"},
    "a federation of an empty command": {**FEDERATED, "credential_source": {"executable": {}}},
    "an impersonation of nobody": {"type": "impersonated_service_account"},
    "an impersonation without source": {
        "type": "impersonated_service_account",
        "service_account_impersonation_url": AS_TARGET,
    },
    "an impersonation with a source of no kind": {
        "type": "impersonated_service_account",
        "service_account_impersonation_url": AS_TARGET,
        "source_credentials": {"type": "magic"},
    },
}


@pytest.mark.parametrize("content", UNUSABLE.values(), ids=UNUSABLE)
def test_a_file_that_cannot_be_used_ends_with_a_sentence(named, content):
    path = named(content)
    said = refused(lambda: Cloud(connect("google-cloud", project_id="p")).access_token())
    # Some google-auth finds out only when it asks for a token.
    assert f"GOOGLE_APPLICATION_CREDENTIALS names {path}" in said.message or "were not accepted" in said.message


@pytest.mark.parametrize("what", ["absent", "a folder", "not for this person"])
def test_a_file_that_cannot_be_read_ends_with_a_sentence(named, what, monkeypatch):
    path = named(USER)
    path.unlink()
    if what == "a folder":
        path.mkdir()
    elif what == "not for this person":
        path.symlink_to("/proc/1/mem")  # nobody may read that, root neither
    said = refused(connect, "google-cloud").message
    assert str(path) in said
    assert "cannot be" in said


FIELDS = st.sampled_from([*USER, *FEDERATED, *key_of(), "source_credentials", "service_account_impersonation_url"])
VALUES = (
    st.none() | st.integers() | st.text(max_size=8) | st.lists(st.text(max_size=3), max_size=2) | st.just({"file": "x"})
)
KINDS = st.sampled_from(
    [
        "authorized_user",
        "service_account",
        "external_account",
        "external_account_authorized_user",
        "impersonated_service_account",
        "gdch_service_account",
    ]
)


@settings(max_examples=200)
@given(content=st.dictionaries(FIELDS, VALUES), kind=KINDS)
def test_whatever_stands_in_a_file_is_taken_or_refused_with_a_sentence(named, content, kind):
    path = named({**USER, **FEDERATED, **key_of(), **content, "type": kind})
    try:
        said = KeyFile(path, named=True).login().sign_in
    except NotSignedIn as error:
        said = error.remedy
    assert said


def test_gclouds_own_file_is_taken_where_none_is_named(no_google, tmp_path):
    gcloud(no_google, "t")
    own = tmp_path / "gcloud" / "application_default_credentials.json"
    own.write_text(json.dumps(USER))
    login = application_default()
    assert login is not None
    assert login.sign_in == "Sign in: gcloud auth application-default login"
    assert login.wider.startswith(login.sign_in)
    assert not (no_google / "started").exists()


def test_gclouds_own_file_that_is_broken_is_not_replaced_by_gclouds_session(no_google, tmp_path):
    gcloud(no_google, "t")
    (tmp_path / "gcloud" / "application_default_credentials.json").write_text("[]")
    error = refused(connect, "google-cloud")
    assert "gcloud auth application-default login" in error.remedy
    assert not (no_google / "started").exists()


def test_a_machines_own_credentials_go_before_gclouds_session(no_google, monkeypatch):
    gcloud(no_google, "t")
    monkeypatch.setattr(metadata_server, "is_there", lambda: True)
    connection = connect("google-cloud", project_id="p")
    assert "service account" in connection.sign_in
    assert "set-service-account" in connection.wider
    assert not (no_google / "started").exists()


def test_a_login_is_refreshed_with_the_scopes_that_it_was_made_with(named):
    named(USER)
    login = application_default()
    assert login is not None
    assert login.credentials.scopes is None


@pytest.mark.parametrize(
    "content", [key_of(), FEDERATED, {**FEDERATED, "service_account_impersonation_url": AS_TARGET}]
)
def test_no_browser_is_offered_to_who_has_none(named, content):
    named(content)
    connection = connect("google-cloud", project_id="p")
    for said in (connection.sign_in, connection.wider):
        assert "login" not in said
    named(b"half")
    assert "login" not in refused(connect, "google-cloud").remedy


def test_a_key_names_the_account_and_how_its_keys_are_seen(named):
    named(key_of())
    said = connect("google-cloud").sign_in
    assert "gcloud iam service-accounts keys list --iam-account=ci@their-project.iam.gserviceaccount.com" in said


def test_a_federation_says_where_its_token_comes_from_and_who_must_be_let(named):
    named({**FEDERATED, "service_account_impersonation_url": AS_TARGET})
    said = connect("google-cloud", project_id="p").sign_in
    assert "/nonexistent/token" in said
    assert f'{TARGET} --member="{principal(POOL)}" --role=roles/iam.workloadIdentityUser' in said


@pytest.mark.parametrize(
    ("source", "member"),
    [(USER, "user:ADDRESS"), (key_of(), "serviceAccount:ci@their-project.iam.gserviceaccount.com")],
)
def test_an_impersonation_says_who_must_be_able_to_act_as_whom(named, source, member):
    named(
        {
            "type": "impersonated_service_account",
            "service_account_impersonation_url": AS_TARGET,
            "source_credentials": source,
        }
    )
    said = connect("google-cloud", project_id="p").sign_in
    assert f'{TARGET} --member="{member}" --role=roles/iam.serviceAccountTokenCreator' in said


def test_a_login_in_a_named_file_is_said_to_be_left_out_by_the_command(named):
    path = named(USER)
    said = connect("google-cloud", project_id="p").sign_in
    assert f"unset GOOGLE_APPLICATION_CREDENTIALS, which names {path}" in said


def test_a_federations_project_is_not_asked_for(named):
    """google-auth's own reading exchanges a token and asks Resource Manager, before anybody needs either."""
    named(FEDERATED)
    assert connect("google-cloud", project_id="p").project_id == "p"


def executable(program: Path, script: str) -> dict[str, Any]:
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return {**FEDERATED, "credential_source": {"executable": {"command": str(program)}}}


@pytest.mark.parametrize(
    ("script", "allowed", "word"),
    [
        ("exit 0", "", "GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES=1"),
        ("exit 3", "1", "return code 3"),
        ("exit 0", "1", "access token"),
        ("echo no JSON", "1", "JSONDecodeError"),
        ("printf '\\377'", "1", "UnicodeDecodeError"),
        ("echo '[]'", "1", "access token"),
        ("echo 7", "1", "access token"),
        ("""echo '{"version": 1, "success": false, "code": "7", "message": "no entry"}'""", "1", "no entry"),
        ("rm $0; exit 1", "1", "return code 1"),
    ],
)
def test_a_command_that_gives_no_token_ends_with_a_sentence(named, monkeypatch, script, allowed, word):
    monkeypatch.setenv("GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES", allowed)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    program = named(USER).with_name("program")
    named(executable(program, script))
    cloud = Cloud(connect("google-cloud", project_id="p"))
    error = refused(cloud.access_token)
    assert word in str(error)
    assert str(program) in error.remedy


def test_a_command_that_is_not_there_ends_with_a_sentence(named, monkeypatch):
    monkeypatch.setenv("GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES", "1")
    named({**FEDERATED, "credential_source": {"executable": {"command": "/nonexistent/program"}}})
    assert "/nonexistent/program" in str(refused(Cloud(connect("google-cloud", project_id="p")).access_token))


def test_a_call_of_a_service_ends_with_the_same_sentence(named):
    named(FEDERATED)
    cloud = Cloud(connect("google-cloud", project_id="p"))
    assert "/nonexistent/token" in refused(cloud.project.number).message


ANSWERS = {
    "revoked": (400, {"error": "invalid_grant", "error_description": "Token has been expired or revoked."}),
    "no token": (200, {"expires_in": 3599}),
    "no number": (200, {"access_token": "t", "expires_in": "soon"}),
    "a list": (200, []),
    "a page": (200, "<html>"),
    "a token that is none": (200, {"access_token": 7, "expires_in": 3599}),
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
@pytest.mark.parametrize("content", [USER, key_of(), FEDERATED], ids=lambda content: content["type"])
def test_whatever_a_token_host_answers_ends_with_a_sentence(named, tmp_path, monkeypatch, content, answer):
    status, said = answer
    (tmp_path / "token").write_text("subject")
    named({**content, **({"credential_source": {"file": str(tmp_path / "token")}} if content is FEDERATED else {})})

    class Answer:
        headers: ClassVar = {"content-type": "application/json"}
        data = (said if isinstance(said, str) else json.dumps(said)).encode()

    Answer.status = status  # type: ignore[attr-defined]
    monkeypatch.setattr(Request, "__call__", lambda *_, **__: Answer())
    refused(Cloud(connect("google-cloud", project_id="p")).access_token)


def test_a_token_host_that_is_away_is_waited_for(no_google, tmp_path, monkeypatch):
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(service_account(tmp_path / "key.json")))
    with pytest.raises(Temporary):
        Cloud(connect("google-cloud"), Attempts(limit=1)).access_token()


@pytest.mark.parametrize(
    ("audience", "member"),
    [
        (POOL, "principal://iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/pool/subject/SUBJECT"),
        (
            "//iam.googleapis.com/locations/global/workforcePools/staff/providers/okta",
            "principal://iam.googleapis.com/locations/global/workforcePools/staff/subject/SUBJECT",
        ),
        ("https://elsewhere.example.com", ""),
        ("", ""),
    ],
)
def test_a_federation_that_acts_as_itself_has_a_member(audience, member):
    assert principal(audience) == member
