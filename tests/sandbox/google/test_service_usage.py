"""Which APIs are enabled, and service agents on request."""

from __future__ import annotations

from cgrunbook.sandbox import hosts
from cgrunbook.sandbox.settings import PROJECT_NUMBER
from tests.sandbox.conftest import Api

AGENT = f"service-{PROJECT_NUMBER}@gcp-sa-artifactregistry.iam.gserviceaccount.com"


def generate(api: Api) -> dict[str, object]:
    path = f"/v1beta1/{api.project}/services/artifactregistry.googleapis.com:generateServiceIdentity"
    answer = api.call("POST", hosts.SERVICE_USAGE, path, {})
    assert answer.status == 200
    body: dict[str, object] = answer.body
    return body


def test_a_fresh_project_has_neither_artifact_registry_nor_secret_manager_enabled(fresh: Api) -> None:
    answer = fresh.services("GET", "/services?filter=state:ENABLED")
    names = [service["config"]["name"] for service in answer.body["services"]]
    assert names == ["cloudresourcemanager.googleapis.com", "iam.googleapis.com", "serviceusage.googleapis.com"]


def test_enabling_is_an_operation_and_the_service_is_named_with_the_projects_number(fresh: Api) -> None:
    started = fresh.services("POST", "/services/secretmanager.googleapis.com:enable", {})
    assert started.body["name"].startswith("operations/")
    assert "done" not in started.body
    done = fresh.call("GET", hosts.SERVICE_USAGE, f"/v1/{started.body['name']}").body
    assert done["done"]
    assert done["response"]["@type"].endswith("v1.EnableServiceResponse")
    service = fresh.services("GET", "/services/secretmanager.googleapis.com").body
    assert service["name"] == f"{fresh.numbered}/services/secretmanager.googleapis.com"
    assert service["state"] == "ENABLED"


def test_enabling_what_is_enabled_is_done_at_once(fresh: Api) -> None:
    answer = fresh.services("POST", "/services/serviceusage.googleapis.com:enable", {})
    assert answer.body["done"]
    assert fresh.call("GET", hosts.SERVICE_USAGE, f"/v1/{answer.body['name']}").body["done"]


def test_disabling_takes_the_api_away_and_a_second_time_there_is_nothing_to_disable(api: Api) -> None:
    path = "/services/secretmanager.googleapis.com:disable"
    assert api.services("POST", path, {"checkIfServiceHasUsage": "SKIP"}).status == 200
    assert api.secrets("GET", "/secrets").reason == "SERVICE_DISABLED"
    assert api.services("POST", path, {}).error["status"] == "FAILED_PRECONDITION"


def test_an_unknown_service_is_told_as_one_that_may_not_exist(fresh: Api) -> None:
    answer = fresh.services("GET", "/services/nothing.googleapis.com")
    assert (answer.status, answer.reason) == (403, "SERVICE_CONFIG_NOT_FOUND_OR_PERMISSION_DENIED")
    assert fresh.services("POST", "/services:batchEnable", {"serviceIds": []}).status == 400
    assert fresh.services("GET", "/services:batchGet").reason == "SU_MISSING_NAMES"


ORDINARY = "compute container run storage logging cloudbuild dns sqladmin containerregistry drive aiplatform"


def test_an_api_that_the_sandbox_does_not_play_is_disabled_and_can_be_enabled(fresh: Api) -> None:
    names = [f"{name}.googleapis.com" for name in ORDINARY.split()]
    for name in names:
        found = fresh.services("GET", f"/services/{name}").body
        assert (found["state"], "parent" in found) == ("DISABLED", False), name
        assert fresh.services("POST", f"/services/{name}:enable", {}).status == 200, name
        assert fresh.services("GET", f"/services/{name}").body["state"] == "ENABLED", name
    listed = fresh.services("GET", "/services?filter=state:ENABLED").body["services"]
    assert set(names) <= {service["config"]["name"] for service in listed}


def test_enums_are_numbers_for_those_who_ask(fresh: Api) -> None:
    path = "/services/serviceusage.googleapis.com?$alt=json;enum-encoding=int"
    assert fresh.services("GET", path).body["state"] == 2


def test_the_list_comes_in_pages(fresh: Api) -> None:
    sizes, names, token = [], list[str](), "&"
    while token:
        page = fresh.services("GET", f"/services?pageSize=150{token}").body
        names += [service["config"]["name"] for service in page["services"]]
        sizes.append(len(page["services"]))
        token = f"&pageToken={page['nextPageToken']}" if "nextPageToken" in page else ""
    assert sizes[:-1] == [150] * (len(sizes) - 1)
    assert sizes[-1] <= 150
    assert names == sorted(set(names))
    assert hosts.SECRET_MANAGER in names


def test_a_service_identity_is_made_once(fresh: Api) -> None:
    first, second = generate(fresh), generate(fresh)
    assert first["done"]
    assert first["response"] == second["response"]
    response = first["response"]
    assert isinstance(response, dict)
    assert response["email"] == AGENT
    assert response["uniqueId"].isdigit()
    assert response["@type"].endswith("v1beta1.ServiceIdentity")


def test_the_agents_default_role_reads_no_secrets(api: Api) -> None:
    generate(api)
    policy = api.projects("POST", ":getIamPolicy", {}).body
    assert {"role": "roles/artifactregistry.serviceAgent", "members": [f"serviceAccount:{AGENT}"]} in policy["bindings"]
    assert not api.sandbox.iam.allowed(f"serviceAccount:{AGENT}", "secretmanager.versions.access", api.project)


def test_a_viewer_may_look_and_not_enable(fresh: Api) -> None:
    viewer = fresh.person("viewer", "roles/viewer")
    assert fresh.services("GET", "/services", token=viewer).status == 200
    answer = fresh.services("POST", "/services/secretmanager.googleapis.com:enable", {}, token=viewer)
    assert (answer.status, answer.error["status"]) == (403, "PERMISSION_DENIED")
