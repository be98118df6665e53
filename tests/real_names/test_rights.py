"""Few rights, and projects that are charged, on the real names."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from cgrunbook.sandbox.settings import QUOTA_PROJECT_ID, QUOTA_PROJECT_NUMBER
from cgrunbook.steps.rights import LEAST
from tests.real_names.token_hosts import PROJECT
from tests.real_names.world import OWNER, Machine

_ADA = "user:ada@example.com"

# As the project's owner, with a client of its own: the guide's APIs are enabled, and somebody gets roles.
_PREPARE = """
import json, sys, requests
owner, project, member, roles = sys.argv[1:4] + [json.loads(sys.argv[4])]
refresh = {"grant_type": "refresh_token", "refresh_token": owner, "client_id": "c", "client_secret": "s"}
token = requests.post("https://oauth2.googleapis.com/token", data=refresh).json()["access_token"]
def post(host, path, body):
    answer = requests.post(f"https://{host}.googleapis.com/{path}", json=body, headers={"Authorization": f"Bearer {token}"})
    answer.raise_for_status()
    return answer.json()
apis = ["artifactregistry.googleapis.com", "secretmanager.googleapis.com"]
post("serviceusage", f"v1/projects/{project}/services:batchEnable", {"serviceIds": apis})
policy = post("cloudresourcemanager", f"v3/projects/{project}:getIamPolicy", {})
policy["bindings"] += [{"role": role, "members": [member]} for role in roles]
post("cloudresourcemanager", f"v3/projects/{project}:setIamPolicy", {"policy": policy})
"""


@pytest.fixture
def ada(real_names: Machine) -> dict[str, Any]:
    """The credentials of somebody with the least roles of the guide, where its APIs are on."""
    roles = json.dumps(LEAST["03_production_images"].roles)
    done = real_names.run(sys.executable, "-c", _PREPARE, OWNER, PROJECT, _ADA, roles)
    assert done.returncode == 0, done.stderr
    return {"GOOGLE_APPLICATION_CREDENTIALS": str(real_names.user(_ADA))}


def test_the_guide_runs_with_its_least_roles(real_names: Machine, ada: dict[str, Any]) -> None:
    done = real_names.cgrunbook("run", **ada)
    assert done.returncode == 0, done.stdout + done.stderr


def test_whoever_may_not_use_the_quota_project_is_told_which_and_what_else_can_be_done(
    real_names: Machine, ada: dict[str, Any]
) -> None:
    ada["GOOGLE_CLOUD_QUOTA_PROJECT"] = "billing-of-the-team"
    done = real_names.cgrunbook("run", "01", **ada)
    assert done.returncode == 3
    said = done.stdout + done.stderr
    assert "Requests are charged to the project billing-of-the-team" in said
    assert "roles/serviceusage.serviceUsageConsumer" in said
    assert f"set-quota-project {PROJECT}" in said


def test_an_api_that_is_off_in_the_quota_project_is_not_looked_for_in_this_one(real_names: Machine) -> None:
    done = real_names.cgrunbook("run", "01", GOOGLE_CLOUD_QUOTA_PROJECT=QUOTA_PROJECT_ID)
    assert done.returncode == 3
    said = done.stdout + done.stderr
    assert f"not enabled in project {QUOTA_PROJECT_NUMBER}, which requests are charged to" in said
    assert f"services enable artifactregistry.googleapis.com --project={QUOTA_PROJECT_NUMBER}" in said


def test_a_project_that_is_mistyped_is_asked_after(real_names: Machine) -> None:
    words = ["cgrunbook", "plan", "02", "--target", "google-cloud", "-p", "project_id", "cgrunbok-sandbox"]
    done = real_names.run(*words, GOOGLE_APPLICATION_CREDENTIALS=str(real_names.user()))
    assert done.returncode == 3
    assert f"Did you mean {PROJECT}?" in done.stdout + done.stderr
