"""The project and its policy: etags, versions, conditions, delays."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tests.sandbox.conftest import Api, NewApi


def policy_of(api: Api, version: int = 3) -> dict[str, Any]:
    answer = api.projects("POST", ":getIamPolicy", {"options": {"requestedPolicyVersion": version}})
    assert answer.status == 200
    body: dict[str, Any] = answer.body
    return body


def test_both_versions_tell_id_number_and_state(fresh: Api) -> None:
    v3 = fresh.projects("GET", "").body
    v1 = fresh.projects("GET", "", version="v1").body
    assert (v3["name"], v3["projectId"], v3["state"]) == (fresh.numbered, fresh.settings.project_id, "ACTIVE")
    assert v1["projectNumber"] == fresh.settings.project_number
    assert (v1["projectId"], v1["lifecycleState"]) == (fresh.settings.project_id, "ACTIVE")


def test_somebody_without_a_role_learns_nothing(fresh: Api) -> None:
    stranger = fresh.sandbox.tokens.issue("user:stranger@example.net")
    assert fresh.projects("GET", "", token=stranger).status == 403
    assert (
        fresh.projects(
            "POST", ":testIamPermissions", {"permissions": ["resourcemanager.projects.get"]}, token=stranger
        ).body
        == {}
    )


def test_permissions_are_answered_as_the_callers_subset(fresh: Api) -> None:
    asked = ["secretmanager.versions.access", "artifactregistry.repositories.create", "resourcemanager.projects.get"]
    assert fresh.projects("POST", ":testIamPermissions", {"permissions": asked}).body == {"permissions": asked}
    editor = fresh.person("editor", "roles/editor")
    held = fresh.projects("POST", ":testIamPermissions", {"permissions": asked}, token=editor).body["permissions"]
    assert held == asked[1:]


@pytest.mark.parametrize("permission", ["secretmanager.*", "nonsense", "a.b", "artifactregistry.repositories.get "])
def test_what_is_no_permission_cannot_be_tested(fresh: Api, permission: str) -> None:
    assert fresh.projects("POST", ":testIamPermissions", {"permissions": [permission]}).status == 400


def test_a_write_with_an_old_etag_is_aborted_and_changes_nothing(fresh: Api) -> None:
    old = policy_of(fresh)
    fresh.person("somebody", "roles/viewer")
    current = policy_of(fresh)
    answer = fresh.projects("POST", ":setIamPolicy", {"policy": old})
    assert (answer.status, answer.error["status"]) == (409, "ABORTED")
    assert policy_of(fresh) == current


def test_an_etag_in_the_urls_alphabet_is_the_same_etag(fresh: Api) -> None:
    policy = policy_of(fresh)
    policy["etag"] = base64.urlsafe_b64encode(base64.b64decode(policy["etag"])).decode()
    assert fresh.projects("POST", ":setIamPolicy", {"policy": policy}).status == 200


def test_a_condition_needs_version_3_is_kept_and_hidden_below(fresh: Api) -> None:
    condition = {"title": "until", "expression": 'request.time < timestamp("2100-01-01T00:00:00Z")'}
    policy = policy_of(fresh)
    policy["bindings"].append({"role": "roles/browser", "members": ["user:b@example.com"], "condition": condition})
    assert fresh.projects("POST", ":setIamPolicy", {"policy": policy | {"version": 1}}).status == 400
    assert fresh.projects("POST", ":setIamPolicy", {"policy": policy | {"version": 3}}).status == 200
    kept = policy_of(fresh)
    assert kept["version"] == 3
    assert kept["bindings"][-1]["condition"] == condition
    hidden = policy_of(fresh, version=1)
    assert "condition" not in hidden["bindings"][-1]
    assert hidden["bindings"][-1]["role"].startswith("roles/browser_withcond_")
    assert fresh.projects("POST", ":setIamPolicy", {"policy": hidden}).status == 400


def test_a_condition_on_time_ends_when_its_time_is_over(fresh: Api) -> None:
    soon = fresh.sandbox.clock.now().replace(microsecond=0)
    policy = policy_of(fresh)
    expression = f'request.time < timestamp("{soon.year + 1}-01-01T00:00:00Z")'
    policy["bindings"].append(
        {"role": "roles/browser", "members": ["user:b@example.com"], "condition": {"expression": expression}}
    )
    fresh.projects("POST", ":setIamPolicy", {"policy": policy | {"version": 3}})
    token = fresh.sandbox.tokens.issue("user:b@example.com")
    assert fresh.projects("GET", "", token=token).status == 200
    fresh.advance(days=800)
    assert fresh.projects("GET", "", token=token).status == 403


@pytest.mark.parametrize(
    ("role", "member"),
    [
        ("roles/nothing", "user:a@example.com"),
        ("owner", "user:a@example.com"),
        ("roles/viewer", "a@example.com"),
        ("roles/viewer", "user:nobody"),
        ("roles/viewer", "serviceAccount:service-1@gcp-sa-artifactregistry.iam.gserviceaccount.com"),
    ],
)
def test_roles_and_members_that_do_not_exist_are_refused(fresh: Api, role: str, member: str) -> None:
    policy = policy_of(fresh)
    policy["bindings"].append({"role": role, "members": [member]})
    answer = fresh.projects("POST", ":setIamPolicy", {"policy": policy})
    assert (answer.status, answer.error["status"]) == (400, "INVALID_ARGUMENT")


def test_a_grant_takes_a_moment_and_so_does_its_end(new_api: NewApi) -> None:
    api = new_api(iam_delay=60)
    viewer = api.person("viewer", "roles/viewer")
    assert api.projects("GET", "", token=viewer).status == 403
    api.advance(seconds=61)
    assert api.projects("GET", "", token=viewer).status == 200
    owner_only = {"bindings": [{"role": "roles/owner", "members": [api.settings.operator]}]}
    assert api.projects("POST", ":setIamPolicy", {"policy": owner_only}).status == 200
    assert api.projects("GET", "", token=viewer).status == 200
    api.advance(seconds=61)
    assert api.projects("GET", "", token=viewer).status == 403


def test_each_of_two_quick_grants_takes_its_own_moment(new_api: NewApi) -> None:
    api = new_api(iam_delay=60)
    first = api.person("first", "roles/viewer")
    api.advance(seconds=40)
    second = api.person("second", "roles/viewer")
    api.advance(seconds=30)
    assert api.projects("GET", "", token=first).status == 200
    assert api.projects("GET", "", token=second).status == 403


def test_the_operator_can_take_the_own_role_away(fresh: Api) -> None:
    bindings = [{"role": "roles/viewer", "members": [fresh.settings.operator]}]
    fresh.projects("POST", ":setIamPolicy", {"policy": {"bindings": bindings}})
    assert fresh.projects("GET", "").status == 200
    answer = fresh.services("POST", "/services/secretmanager.googleapis.com:enable", {})
    assert answer.error["status"] == "PERMISSION_DENIED"


def test_the_projects_ancestors_are_itself_and_its_organisation(fresh: Api) -> None:
    found = fresh.projects("POST", ":getAncestry", {}, version="v1").body["ancestor"]
    assert [one["resourceId"]["type"] for one in found] == ["project", "organization"]
    assert found[0]["resourceId"]["id"] == fresh.settings.project_id
