"""Who calls, on the real names: every kind of credentials is taken, and commands, record and errors name its owner."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cloud.sign_ins import key_of
from tests.real_names.faults import Fault, Weather
from tests.real_names.token_hosts import MACHINE, NARROW, PROJECT, REVOKED
from tests.real_names.world import OWNER, Machine

ROBOT = f"robot@{PROJECT}.iam.gserviceaccount.com"
STRANGER = f"stranger@{PROJECT}.iam.gserviceaccount.com"
POOL = "iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/pool"

# Connects, says who calls and the project's number, or the error; and how long it took until who calls was known.
PROGRAM = f"""
import json, time
from cgrunbook.cloud import Cloud, connect
from cgrunbook.errors import CgrunbookError
said, began = {{}}, time.monotonic()
try:
    connection = connect("google-cloud", project_id="{PROJECT}")
    said["caller"] = connection.caller
    said["number"] = Cloud(connection).project.number()
except CgrunbookError as error:
    said |= {{"error": type(error).__name__, "message": error.message, "remedy": error.remedy}}
print(json.dumps(said | {{"seconds": time.monotonic() - began}}))
"""
PLAN = ("cgrunbook", "plan", "02", "--target", "google-cloud", "-p", "project_id", PROJECT)
GRANT = f"""
from google.auth.transport.requests import AuthorizedSession
from cgrunbook.cloud import connect
session = AuthorizedSession(connect("google-cloud", project_id="{PROJECT}").credentials)
members = ["{OWNER}", "serviceAccount:{MACHINE}", "serviceAccount:{ROBOT}"]
policy = {{"bindings": [{{"role": "roles/owner", "members": members}}]}}
at = "https://cloudresourcemanager.googleapis.com/v3/projects/{PROJECT}:setIamPolicy"
session.post(at, json={{"policy": policy}}).raise_for_status()
"""


def said(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module", autouse=True)
def _robots_may(_opened: Machine) -> None:
    done = _opened.run("python", "-c", GRANT, GOOGLE_APPLICATION_CREDENTIALS=str(_opened.user()))
    assert done.returncode == 0, done.stderr


def named(path: Path) -> dict[str, str]:
    return {"GOOGLE_APPLICATION_CREDENTIALS": str(path)}


def key(machine: Machine, account: str = ROBOT) -> dict[str, str]:
    return named(
        machine.credentials(f"key-{account}", key_of(account, token_uri="https://oauth2.googleapis.com/token"))
    )


def impersonating(account: str) -> str:
    return f"https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{account}:generateAccessToken"


def impersonated(machine: Machine) -> dict[str, str]:
    content = {
        "type": "impersonated_service_account",
        "service_account_impersonation_url": impersonating(ROBOT),
        "source_credentials": json.loads(machine.user("user:ada@example.com").read_text()),
    }
    return named(machine.credentials("impersonated", content))


def federated(machine: Machine, target: str = "") -> dict[str, str]:
    (machine.home / "subject").write_text(OWNER)
    content = {
        "type": "external_account",
        "audience": f"//{POOL}/providers/ci",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": "https://sts.googleapis.com/v1/token",
        "credential_source": {"file": str(machine.home / "subject")},
        **({"service_account_impersonation_url": impersonating(target)} if target else {}),
    }
    return named(machine.credentials(f"federated{target}", content))


def federated_by_a_program(machine: Machine) -> dict[str, str]:
    program = machine.home / "program"
    token = {
        "version": 1,
        "success": True,
        "token_type": "urn:ietf:params:oauth:token-type:jwt",
        "id_token": OWNER,
    }
    program.write_text(f"#!/bin/sh\necho '{json.dumps(token)}'\n")
    program.chmod(0o755)
    content = json.loads(Path(federated(machine)["GOOGLE_APPLICATION_CREDENTIALS"]).read_text())
    content["credential_source"] = {"executable": {"command": str(program)}}
    return {**named(machine.credentials("program", content)), "GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES": "1"}


def of_the_machine(machine: Machine) -> dict[str, str]:
    machine.set(Weather(metadata="there"))
    return {}


SUBJECT_UNKNOWN = f"principal://{POOL}/subject/SUBJECT"
MATRIX: dict[str, tuple[Callable[[Machine], dict[str, str]], str]] = {
    "a person": (lambda machine: named(machine.user()), OWNER),
    "a person with the narrowest login": (lambda machine: named(machine.user(client_id=NARROW)), "MEMBER"),
    "a key": (key, f"serviceAccount:{ROBOT}"),
    "an impersonation": (impersonated, f"serviceAccount:{ROBOT}"),
    "a federation": (federated, SUBJECT_UNKNOWN),
    "a federation by a program": (federated_by_a_program, SUBJECT_UNKNOWN),
    "a federation that impersonates": (lambda machine: federated(machine, ROBOT), f"serviceAccount:{ROBOT}"),
    "a machine at Google": (of_the_machine, f"serviceAccount:{MACHINE}"),
    "gcloud's session": (lambda machine: machine.with_gcloud(OWNER), OWNER),
}


@pytest.mark.parametrize(("sign_in", "member"), MATRIX.values(), ids=MATRIX)
def test_every_kind_of_credentials_works_and_says_whose_it_is(real_names, sign_in, member):
    found = said(real_names.run("python", "-c", PROGRAM, **sign_in(real_names)))
    assert found["caller"] == member
    assert found["number"] == "123456789012"


@pytest.mark.parametrize(
    "sign_in", [lambda machine: key(machine, STRANGER), lambda machine: federated(machine, STRANGER)]
)
def test_a_refusal_names_who_really_called_in_the_administrators_command(real_names, sign_in):
    """gcloud is signed in as an administrator here: what that shell would fill in is somebody else."""
    variables = {**real_names.with_gcloud("user:admin@example.com"), **sign_in(real_names)}
    found = said(real_names.run("python", "-c", PROGRAM, **variables))
    assert found["error"] == "PermissionMissing"
    assert f'--member="serviceAccount:{STRANGER}" --role=roles/browser' in found["remedy"]
    assert "$(" not in found["remedy"]


def test_without_credentials_nobody_waits_for_a_metadata_server_that_is_none(real_names):
    real_names.set(Weather(metadata="silent"))
    found = said(real_names.run("python", "-c", PROGRAM))
    assert found["error"] == "NotSignedIn"
    assert float(found["seconds"]) < 3


def test_gclouds_log_does_not_keep_the_token(real_names):
    variables = real_names.with_gcloud(OWNER)
    said(real_names.run("python", "-c", PROGRAM, **variables))
    logs = [file.read_text() for file in real_names.home.rglob("logs/**/*.log")]
    assert [log for log in logs if "print-access-token" in log] == []


def test_a_login_that_was_revoked_ends_with_the_command_that_signs_in(real_names):
    found = said(real_names.run("python", "-c", PROGRAM, **named(real_names.user(REVOKED))))
    assert (found["caller"], found["error"]) == ("MEMBER", "NotSignedIn")
    assert "gcloud auth application-default login" in found["remedy"]


def test_a_key_that_was_deleted_is_not_told_to_sign_in_with_a_browser(real_names):
    refusal = '{"error": "invalid_grant", "error_description": "Invalid JWT Signature."}'
    real_names.set(Weather(faults=[Fault(host="oauth2.googleapis.com", status=400, body=refusal, times=9)]))
    found = said(real_names.run("python", "-c", PROGRAM, **key(real_names)))
    assert found["error"] == "NotSignedIn"
    assert "Invalid JWT Signature" in found["message"]
    assert "login" not in found["remedy"]
    assert f"keys list --iam-account={ROBOT}" in found["remedy"]


def test_a_plan_on_a_machine_at_google_records_its_service_account(real_names):
    real_names.set(Weather(metadata="there"))  # which names the project too
    done = real_names.run(
        "cgrunbook", "plan", "02", "--target", "google-cloud", "--output", "planned"
    )  # no project is given: the metadata server names it
    assert done.returncode == 4, done.stderr
    record = json.loads((real_names.home / "planned" / "record.json").read_text())
    assert (record["caller"], record["target"]["project_id"]) == (f"serviceAccount:{MACHINE}", PROJECT)
    assert f"serviceAccount:{MACHINE}" in (real_names.home / "planned" / "report.html").read_text()
    executed = (real_names.home / "planned" / "02_developer_images.ipynb").read_text()
    assert f"◆ GOOGLE CLOUD: project {PROJECT}, in us-central1, as {MACHINE}" in executed


@pytest.mark.parametrize("content", [[key_of()], {**key_of(), "private_key": "MAKE-A-THROWAWAY-KEY"}])
def test_a_run_with_a_file_that_cannot_be_used_ends_with_its_sentence(real_names, content):
    path = real_names.credentials("broken", content)
    done = real_names.run(*PLAN, **named(path))
    assert done.returncode == 3
    assert f"GOOGLE_APPLICATION_CREDENTIALS names {path}" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_a_run_whose_subject_token_is_gone_ends_with_where_it_should_come_from(real_names):
    variables = federated(real_names)
    (real_names.home / "subject").unlink()
    done = real_names.run(*PLAN, **variables)
    assert done.returncode == 3
    assert str(real_names.home / "subject") in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
