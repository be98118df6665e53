"""Artifact Registry: which fields are answered when, what can change, and when the upstream is asked."""

from __future__ import annotations

from typing import Any

import pytest

from cgrunbook.sandbox import hosts
from cgrunbook.sandbox.context import Sandbox
from cgrunbook.sandbox.google import repositories
from cgrunbook.sandbox.registry import upstream
from cgrunbook.sandbox.settings import PROJECT_ID, PROJECT_NUMBER
from tests.sandbox.conftest import Answer, Api, NewApi

HERE = "/locations/us-central1"
AGENT = f"service-{PROJECT_NUMBER}@gcp-sa-artifactregistry.iam.gserviceaccount.com"
CGR = {"commonRepository": {"uri": "https://cgr.dev/"}}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None, str | None]]:
    """What upstream validation was asked; it accepts everything but the password "wrong"."""
    seen: list[tuple[str, str | None, str | None]] = []

    async def validate(_: Sandbox, uri: str, username: str | None = None, password: str | None = None) -> None:
        seen.append((uri, username, password))
        if password == "wrong":
            raise upstream.ValidationFailed("Failed to validate remote upstream: generic::unauthenticated: no")

    monkeypatch.setattr(upstream, "validate", validate)
    return seen


def create(api: Api, identifier: str = "one", **fields: Any) -> Answer:
    return api.artifacts("POST", f"{HERE}/repositories?repositoryId={identifier}", {"format": "DOCKER"} | fields)


def remote(api: Api, identifier: str = "one", **config: Any) -> Answer:
    source = {} if set(config) & {"commonRepository", "dockerRepository"} else CGR
    return create(api, identifier, mode="REMOTE_REPOSITORY", remoteRepositoryConfig=source | config)


def patch(api: Api, mask: str, body: dict[str, Any], identifier: str = "one") -> Answer:
    return api.artifacts("PATCH", f"{HERE}/repositories/{identifier}?updateMask={mask}", body)


def get(api: Api, identifier: str = "one", where: str = HERE) -> Answer:
    return api.artifacts("GET", f"{where}/repositories/{identifier}")


def credentials(version: str = "1", username: str = "org/id") -> dict[str, Any]:
    secret = f"projects/{PROJECT_ID}/secrets/token/versions/{version}"
    return {
        "upstreamCredentials": {"usernamePasswordCredentials": {"username": username, "passwordSecretVersion": secret}}
    }


def prepared_secret(api: Api, payload: str = "right") -> None:
    """A secret that the agent, which exists, may read."""
    api.add_secret("token", payload)
    api.sandbox.iam.make_agent(hosts.ARTIFACT_REGISTRY)
    binding = {"role": "roles/secretmanager.secretAccessor", "members": [f"serviceAccount:{AGENT}"]}
    assert api.secrets("POST", "/secrets/token:setIamPolicy", {"policy": {"bindings": [binding]}}).status == 200


def test_creating_is_an_operation_that_lacks_what_a_get_has(api: Api, asked: list[Any]) -> None:
    started = remote(api, description="of the upstream")
    assert set(started.body) == {"name", "metadata"}
    assert started.body["name"].startswith(f"{api.project}{HERE}/operations/")
    assert started.body["metadata"]["@type"].endswith("v1.OperationMetadata")
    response = api.settled(started)["response"]
    assert response["@type"].endswith("v1.Repository")
    assert not {"createTime", "updateTime", "registryUri"} & set(response)
    assert response["satisfiesPzi"] is True
    assert response["vulnerabilityScanningConfig"]["enablementState"] == "SCANNING_DISABLED"
    found = get(api).body
    assert {"createTime", "updateTime"} <= set(found)
    assert found["registryUri"] == f"us-central1-docker.pkg.dev/{PROJECT_ID}/one"
    assert found["remoteRepositoryConfig"] == CGR | {"description": "of the upstream"}
    assert asked == [("https://cgr.dev/", None, None)]


def test_a_patch_is_answered_at_once_and_without_the_registrys_uri(api: Api) -> None:
    create(api, labels={"a": "b"}, description="before")
    patched = patch(api, "description,labels", {"description": "after", "labels": {"c": "d"}})
    assert patched.status == 200
    assert "registryUri" not in patched.body
    assert (patched.body["description"], patched.body["labels"]) == ("after", {"c": "d"})
    assert patched.body["updateTime"] >= patched.body["createTime"]
    assert patch(api, "labels", {}).body.get("labels") is None


def test_deleting_is_an_operation_that_comes_to_nothing(api: Api) -> None:
    create(api)
    operation = api.settled(api.artifacts("DELETE", f"{HERE}/repositories/one"))
    assert operation["response"] == {"@type": "type.googleapis.com/google.protobuf.Empty"}
    assert get(api).status == 404
    assert api.artifacts("DELETE", f"{HERE}/repositories/one").status == 404


def test_refusals_have_the_services_own_words(api: Api) -> None:
    create(api)
    again = create(api)
    assert (again.status, again.error["message"]) == (409, "the repository already exists")
    missing = get(api, "no")
    assert missing.error == {"code": 404, "message": "Requested entity was not found.", "status": "NOT_FOUND"}
    for path in (f"{HERE}/repositories", "/locations/mars/repositories?repositoryId=one"):
        answer = api.artifacts("POST", path, {"format": "DOCKER"})
        assert answer.error["message"] == "Request contains an invalid argument."


def test_the_refusal_of_a_stranger_names_permission_and_resource(api: Api) -> None:
    token = api.person("reader", "roles/artifactregistry.reader")
    answer = api.artifacts("POST", f"{HERE}/repositories?repositoryId=one", {"format": "DOCKER"}, token=token)
    assert (answer.status, answer.reason) == (403, "IAM_PERMISSION_DENIED")
    assert answer.error["message"] == (
        "Permission 'artifactregistry.repositories.create' denied on resource "
        f"'//artifactregistry.googleapis.com/{api.project}{HERE}' (or it may not exist)."
    )
    assert answer.error["details"][0]["domain"] == "artifactregistry.googleapis.com"


def test_enums_come_and_go_as_numbers_for_those_who_ask(api: Api, asked: list[Any]) -> None:
    path = f"{HERE}/repositories?repositoryId=one&$alt=json;enum-encoding=int"
    started = api.artifacts("POST", path, {"format": 1, "mode": 3, "remoteRepositoryConfig": CGR})
    assert api.settled(started)["response"]["format"] == "DOCKER"
    done = api.call("GET", hosts.ARTIFACT_REGISTRY, f"/v1/{started.body['name']}?$alt=json;enum-encoding=int").body
    assert (done["response"]["@type"], done["response"]["format"]) == (
        "type.googleapis.com/google.devtools.artifactregistry.v1.Repository",
        1,
    )
    numbered = api.artifacts("GET", f"{HERE}/repositories/one?$alt=json;enum-encoding=int").body
    assert (numbered["format"], numbered["mode"]) == (1, 3)
    assert numbered["vulnerabilityScanningConfig"]["enablementState"] == 2


def test_an_enums_value_whose_number_nobody_publishes_goes_by_its_name(api: Api) -> None:
    assert create(api, format="CONDA").status == 200
    assert api.artifacts("GET", f"{HERE}/repositories/one?$alt=json;enum-encoding=int").body["format"] == "CONDA"


def test_terraforms_spelling_of_the_id_is_taken(api: Api) -> None:
    answer = api.artifacts("POST", f"{HERE}/repositories?repository_id=tf", {"format": "DOCKER"})
    assert answer.status == 200
    assert get(api, "tf").status == 200


@pytest.mark.parametrize("identifier", ["Upper", "1one", "one-", "a_b", "a" * 64, "a.b"])
def test_an_id_of_a_wrong_form_is_refused(api: Api, identifier: str) -> None:
    assert create(api, identifier).error["status"] == "INVALID_ARGUMENT"


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"format": "FORMAT_UNSPECIFIED"}, "format"),
        ({"mode": "REMOTE_REPOSITORY"}, "remote repository config"),
        ({"mode": "REMOTE_REPOSITORY", "remoteRepositoryConfig": {"description": "d"}}, "remote source"),
        ({"remoteRepositoryConfig": CGR}, "mode REMOTE_REPOSITORY"),
        ({"labels": {"A": "b"}}, "label key"),
        ({"description": "x" * 1025}, "1024"),
        ({"kmsKeyName": "key"}, "KMS key"),
        ({"kmsKeyName": "projects/p/locations/europe-west1/keyRings/r/cryptoKeys/k"}, "us-central1"),
        ({"cleanupPolicies": {"a": {"id": "b", "action": "DELETE", "condition": {}}}}, "its key"),
        ({"cleanupPolicies": {"a": {"condition": {}}}}, "action"),
        ({"cleanupPolicies": {"a": {"action": "DELETE"}}}, "condition"),
        ({"cleanupPolicies": {"a": {"action": "DELETE", "mostRecentVersions": {"keepCount": 1}}}}, "kept"),
        ({"cleanupPolicies": {"a": {"action": "KEEP", "mostRecentVersions": {}}}}, "positive"),
        ({"cleanupPolicies": {"a": {"action": "DELETE", "condition": {"olderThan": "-1s"}}}}, "positive"),
        ({"cleanupPolicies": {f"p{n}": {"action": "KEEP", "condition": {}} for n in range(11)}}, "at most 10"),
        ({"cleanupPolicies": {"x" * 128: {"action": "KEEP", "condition": {}}}}, "127"),
        ({"mavenConfig": {}, "dockerConfig": {}}, "oneof"),
        ({"mavenConfig": {"versionPolicy": "RELEASE"}}, "MAVEN"),
        ({"format": "TAR"}, "Repository.Format"),
        ({"mode": 9}, "Repository.Mode"),
    ],
)
def test_a_repository_that_cannot_be_is_refused_with_the_reason(api: Api, fields: dict[str, Any], named: str) -> None:
    answer = create(api, **fields)
    assert (answer.status, answer.error["status"]) == (400, "INVALID_ARGUMENT")
    assert named in answer.error["message"]


@pytest.mark.parametrize(
    "uri",
    ["", "cgr.dev", "http://cgr.dev", "https://", "https://cgr.dev/chainguard", "https://u:p@cgr.dev", "https://cgr.dev?x=1",
     "https://cgr.dev:99999", "https://[", "ftp://cgr.dev", "https://cgr.dev/#x", "https://c gr.dev"],
)  # fmt: skip
@pytest.mark.parametrize("shape", ["commonRepository", "dockerRepository"])
def test_an_upstream_must_be_https_and_the_root_of_a_registry(api: Api, asked: list[Any], uri: str, shape: str) -> None:
    source: Any = {"uri": uri} if shape == "commonRepository" else {"customRepository": {"uri": uri}}
    assert remote(api, "one", **{shape: source}).error["status"] == "INVALID_ARGUMENT"
    assert asked == []


def test_both_shapes_of_a_custom_upstream_are_read(api: Api, asked: list[Any]) -> None:
    remote(api, "common")
    remote(api, "custom", dockerRepository={"customRepository": {"uri": "https://cgr.dev"}})
    for identifier, uri in (("common", "https://cgr.dev/"), ("custom", "https://cgr.dev")):
        document = repositories.repository(api.sandbox, "us-central1", identifier)
        assert document is not None
        assert repositories.upstream_uri(document) == uri
        assert repositories.credentials(document) is None


def test_artifact_registry_as_a_custom_upstream_is_refused_in_its_own_words(api: Api, asked: list[Any]) -> None:
    answer = remote(api, dockerRepository={"customRepository": {"uri": "https://us-docker.pkg.dev/p/r"}})
    assert "Artifact Registry repositories not supported as custom remote repository URI" in answer.error["message"]


def test_upstream_validation_is_never_answered_and_can_be_left_out(api: Api, asked: list[Any]) -> None:
    assert remote(api, disableUpstreamValidation=True, **credentials()).status == 200
    assert asked == []
    found = get(api).body["remoteRepositoryConfig"]
    assert found == CGR | credentials()


def test_the_password_is_read_as_the_agent_and_tried_at_the_upstream(api: Api, asked: list[Any]) -> None:
    prepared_secret(api)
    assert remote(api, **credentials()).status == 200
    assert asked == [("https://cgr.dev/", "org/id", "right")]


def test_an_upstream_that_refuses_the_credentials_refuses_the_repository(api: Api, asked: list[Any]) -> None:
    prepared_secret(api, "wrong")
    answer = remote(api, **credentials())
    assert (answer.status, answer.error["status"]) == (400, "INVALID_ARGUMENT")
    assert answer.error["message"].startswith("Failed to validate remote upstream: ")
    assert get(api).status == 404


def test_the_refusal_can_come_in_the_operation_instead(new_api: NewApi, asked: list[Any]) -> None:
    api = new_api(validation_in_operation=True)
    api.enable(hosts.ARTIFACT_REGISTRY, hosts.SECRET_MANAGER)
    prepared_secret(api, "wrong")
    operation = api.settled(remote(api, **credentials()))
    assert operation["error"]["code"] == 3
    assert operation["error"]["message"].startswith("Failed to validate remote upstream: ")
    assert get(api).status == 404


@pytest.mark.parametrize("trouble", ["no agent", "no grant", "disabled", "missing", "api off"])
def test_a_password_that_cannot_be_read_is_a_400_that_names_the_secret(
    api: Api, asked: list[Any], trouble: str
) -> None:
    if trouble == "no agent":
        api.add_secret("token")
    else:
        prepared_secret(api)
    if trouble == "no grant":
        api.secrets("POST", "/secrets/token:setIamPolicy", {"policy": {"bindings": []}})
    if trouble == "disabled":
        api.secrets("POST", "/secrets/token/versions/1:disable", {})
    if trouble == "api off":
        api.services("POST", "/services/secretmanager.googleapis.com:disable", {})
    answer = remote(api, **credentials("9" if trouble == "missing" else "1"))
    assert (answer.status, answer.error["status"]) == (400, "INVALID_ARGUMENT")
    assert answer.error["message"].startswith("Failed to validate remote upstream: ")
    assert "secrets/token/versions/" in answer.error["message"]
    assert asked == []
    assert get(api).status == 404


@pytest.mark.parametrize(
    "pair",
    [
        {"username": "u"},
        {"passwordSecretVersion": "projects/p/secrets/s/versions/1"},
        {"username": "u", "passwordSecretVersion": "projects/p/secrets/s"},
        {"username": "u", "passwordSecretVersion": "projects/p/locations/l/secrets/s/versions/1"},
    ],
)
def test_half_a_pair_of_credentials_is_refused(api: Api, asked: list[Any], pair: dict[str, str]) -> None:
    answer = remote(api, upstreamCredentials={"usernamePasswordCredentials": pair}, disableUpstreamValidation=True)
    assert answer.error["status"] == "INVALID_ARGUMENT"


def test_credentials_change_in_place_through_the_leaf_masks_of_gcloud_and_terraform(api: Api, asked: list[Any]) -> None:
    prepared_secret(api)
    remote(api, **credentials())
    body = {"remoteRepositoryConfig": credentials("latest", "org/new")}
    leaf = "remoteRepositoryConfig.upstreamCredentials.usernamePasswordCredentials"
    assert patch(api, f"{leaf}.passwordSecretVersion,{leaf}.username", body).status == 200
    assert asked[-1] == ("https://cgr.dev/", "org/new", "right")
    assert get(api).body["remoteRepositoryConfig"] == CGR | credentials("latest", "org/new")


def test_one_leaf_changes_one_half_only(api: Api, asked: list[Any]) -> None:
    prepared_secret(api)
    remote(api, **credentials())
    leaf = "remote_repository_config.upstream_credentials.username_password_credentials.username"
    patch(api, leaf, {"remoteRepositoryConfig": credentials("99", "org/new")})
    assert get(api).body["remoteRepositoryConfig"] == CGR | credentials("1", "org/new")


def test_credentials_can_be_added_and_taken_away(api: Api, asked: list[Any]) -> None:
    prepared_secret(api)
    remote(api)
    body = {"remoteRepositoryConfig": CGR | credentials()}
    assert patch(api, "remoteRepositoryConfig.upstreamCredentials", body).status == 200
    assert get(api).body["remoteRepositoryConfig"] == CGR | credentials()
    assert patch(api, "remoteRepositoryConfig", {"remoteRepositoryConfig": CGR}).status == 200
    assert get(api).body["remoteRepositoryConfig"] == CGR


def test_a_refused_patch_changes_nothing(api: Api, asked: list[Any]) -> None:
    prepared_secret(api, "wrong")
    remote(api)
    before = get(api).body
    body = {"remoteRepositoryConfig": credentials(), "description": "after"}
    assert patch(api, "description,remoteRepositoryConfig.upstreamCredentials", body).status == 400
    assert get(api).body == before


def test_a_patch_of_something_else_does_not_ask_the_upstream(api: Api, asked: list[Any]) -> None:
    remote(api)
    asked.clear()
    assert patch(api, "description", {"description": "d"}).status == 200
    assert asked == []


@pytest.mark.parametrize(
    ("mask", "body"),
    [
        ("format", {"format": "MAVEN"}),
        ("mode", {"mode": "STANDARD_REPOSITORY"}),
        ("kmsKeyName", {"kmsKeyName": "projects/p/locations/us-central1/keyRings/r/cryptoKeys/k"}),
        ("remoteRepositoryConfig", {"remoteRepositoryConfig": {"commonRepository": {"uri": "https://ghcr.io"}}}),
        ("remoteRepositoryConfig.commonRepository.uri", {"remoteRepositoryConfig": {"commonRepository": {"uri": "https://ghcr.io"}}}),
        ("remoteRepositoryConfig", {"remoteRepositoryConfig": {"dockerRepository": {"publicRepository": "DOCKER_HUB"}}}),
        ("remoteRepositoryConfig.description", {"remoteRepositoryConfig": {"description": "other"}}),
        ("nonsense", {}),
        ("labels.a", {"labels": {"a": "b"}}),
    ],
)  # fmt: skip
def test_what_cannot_change_is_refused(api: Api, asked: list[Any], mask: str, body: dict[str, Any]) -> None:
    remote(api, description="d")
    before = get(api).body
    answer = patch(api, mask, body)
    assert (answer.status, answer.error["status"]) == (400, "INVALID_ARGUMENT")
    assert get(api).body == before


def test_output_only_fields_of_a_whole_body_are_passed_over(api: Api, asked: list[Any]) -> None:
    remote(api)
    body = get(api).body | {"createTime": "2020-01-01T00:00:00Z", "registryUri": "x", "description": "d"}
    answer = api.artifacts("PATCH", f"{HERE}/repositories/one", body)
    assert answer.status == 200
    found = get(api).body
    assert found["description"] == "d"
    assert found["createTime"] != "2020-01-01T00:00:00Z"
    assert found["registryUri"] != "x"


def test_cleanup_policies_scanning_and_dry_run_can_be_set_and_cleared(api: Api) -> None:
    policies = {"old": {"action": "DELETE", "condition": {"olderThan": "2592000s", "tagState": "ANY"}}}
    create(api, cleanupPolicies=policies, cleanupPolicyDryRun=True, vulnerabilityScanningConfig={"enablementConfig": 2})
    found = get(api).body
    assert found["cleanupPolicies"] == {"old": {"id": "old"} | policies["old"]}
    assert found["cleanupPolicyDryRun"] is True
    assert found["vulnerabilityScanningConfig"]["enablementConfig"] == "DISABLED"
    patch(api, "cleanupPolicies,cleanupPolicyDryRun,vulnerabilityScanningConfig", {})
    found = get(api).body
    assert not {"cleanupPolicies", "cleanupPolicyDryRun"} & set(found)
    assert "enablementConfig" not in found["vulnerabilityScanningConfig"]


def test_the_agent_comes_into_being_with_the_first_repository(api: Api) -> None:
    assert api.sandbox.iam.agent(hosts.ARTIFACT_REGISTRY) is None
    create(api)
    assert api.sandbox.iam.agent(hosts.ARTIFACT_REGISTRY) == AGENT


def test_one_name_in_two_locations_is_two_repositories(api: Api) -> None:
    create(api, description="here")
    api.artifacts("POST", "/locations/europe-west1/repositories?repositoryId=one", {"format": "DOCKER"})
    api.settled(api.artifacts("DELETE", f"{HERE}/repositories/one"))
    assert get(api).status == 404
    assert get(api, where="/locations/europe-west1").body["registryUri"].startswith("europe-west1-docker.pkg.dev/")


def test_lists_come_in_pages_by_location_or_for_all_and_filtered(api: Api) -> None:
    for number in range(5):
        create(api, f"r{number}")
    api.artifacts("POST", "/locations/asia/repositories?repositoryId=other", {"format": "DOCKER"})
    first = api.artifacts("GET", f"{HERE}/repositories?pageSize=3").body
    rest = api.artifacts("GET", f"{HERE}/repositories?pageSize=3&pageToken={first['nextPageToken']}").body
    assert [one["name"][-2:] for one in first["repositories"] + rest["repositories"]] == [f"r{n}" for n in range(5)]
    assert "nextPageToken" not in rest
    assert len(api.artifacts("GET", "/locations/-/repositories").body["repositories"]) == 6
    wanted = f'name="{api.project}{HERE}/repositories/r*"'.replace('"', "%22")
    assert len(api.artifacts("GET", f"/locations/-/repositories?filter={wanted}").body["repositories"]) == 5
    assert api.artifacts("GET", "/locations/us/repositories").body == {}


def test_a_repositorys_policy_counts_for_it_alone(api: Api) -> None:
    create(api)
    create(api, "two")
    assert api.artifacts("GET", f"{HERE}/repositories/one:getIamPolicy").body == {"etag": "ACAB"}
    binding = {"role": "roles/artifactregistry.reader", "members": ["user:reader@example.com"]}
    kept = api.artifacts("POST", f"{HERE}/repositories/one:setIamPolicy", {"policy": {"bindings": [binding]}})
    assert kept.body["bindings"] == [binding]
    reader = api.sandbox.tokens.issue("user:reader@example.com")
    permission = ["artifactregistry.repositories.downloadArtifacts", "artifactregistry.repositories.delete"]
    for identifier, held in (("one", permission[:1]), ("two", [])):
        path = f"{HERE}/repositories/{identifier}:testIamPermissions"
        assert (
            api.artifacts("POST", path, {"permissions": permission}, token=reader).body.get("permissions", []) == held
        )


def test_locations_are_offered_but_those_that_google_keeps_for_few(api: Api) -> None:
    offered = {one["locationId"] for one in api.artifacts("GET", "/locations").body["locations"]}
    assert {"us-central1", "us", "europe", "asia", "europe-west12"} <= offered
    assert not {"us-central2", "us-east7", "us-west8"} & offered
    assert api.artifacts("GET", "/locations/us-central1").body["locationId"] == "us-central1"
    assert api.artifacts("GET", "/locations/mars").status == 404
    assert api.call("GET", hosts.ARTIFACT_REGISTRY, f"/v1beta2/{api.project}/locations").status == 200


def test_project_settings_and_the_perimeters_setting_can_be_read(api: Api) -> None:
    settings = api.artifacts("GET", "/projectSettings").body
    assert settings["legacyRedirectionState"] == "REDIRECTION_FROM_GCR_IO_DISABLED"
    assert api.artifacts("GET", f"{HERE}/vpcscConfig").body["vpcscPolicy"] == "DENY"
    patched = api.artifacts("PATCH", f"{HERE}/vpcscConfig?updateMask=vpcscPolicy", {"vpcscPolicy": "ALLOW"})
    assert patched.body == {"name": f"{api.project}{HERE}/vpcscConfig", "vpcscPolicy": "ALLOW"}
    assert api.artifacts("GET", f"{HERE}/vpcscConfig").body["vpcscPolicy"] == "ALLOW"


def test_what_is_cached_is_listed_as_images_packages_versions_and_tags(api: Api) -> None:
    from cgrunbook.sandbox.registry import cache

    create(api)
    api.sandbox.state.declare(cache.SCHEMA)
    digest = "sha256:" + "a" * 64
    key = (PROJECT_ID, "us-central1", "one", "chainguard/go")
    now = api.sandbox.clock.now().isoformat()
    with api.sandbox.state.transaction() as rows:
        kind = "application/vnd.oci.image.index.v1+json"
        rows.execute("INSERT INTO cached_manifest VALUES (?,?,?,?,?,?,?,?,?)", (*key, digest, kind, 803, now, b"{}"))
        rows.execute("INSERT INTO cached_tag VALUES (?,?,?,?,?,?,?)", (*key, "latest", digest, now))
        rows.execute("INSERT INTO cached_blob VALUES (?,?,?,?,?,?,?)", (*key, digest, 5000, now))
    image = api.artifacts("GET", f"{HERE}/repositories/one/dockerImages").body["dockerImages"][0]
    assert image["uri"] == f"us-central1-docker.pkg.dev/{PROJECT_ID}/one/chainguard/go@{digest}"
    assert (image["tags"], image["mediaType"]) == (["latest"], kind)
    encoded = image["name"].rpartition("/")[2].replace("%2F", "%252F")
    assert api.artifacts("GET", f"{HERE}/repositories/one/dockerImages/{encoded}").body == image
    package = api.artifacts("GET", f"{HERE}/repositories/one/packages").body["packages"][0]
    assert package["name"].endswith("/packages/chainguard%2Fgo")
    versions = f"{HERE}/repositories/one/packages/chainguard%2Fgo/versions"
    assert api.artifacts("GET", versions).body["versions"][0]["relatedTags"][0]["name"].endswith("/tags/latest")
    assert api.artifacts("GET", f"{versions}/{digest}").body["name"].endswith(digest)
    tags = api.artifacts("GET", f"{HERE}/repositories/one/packages/chainguard%2Fgo/tags").body["tags"]
    assert tags[0]["version"].endswith(digest)
    assert get(api).body["sizeBytes"] == "5000"
    refused = api.artifacts("DELETE", f"{versions}/{digest}")
    assert (refused.status, refused.error["status"]) == (400, "FAILED_PRECONDITION")
    batch = {"names": [f"{api.project}{versions}/{digest}"]}
    assert api.artifacts("POST", f"{versions}:batchDelete", batch).status == 400
    assert api.artifacts("DELETE", f"{versions[: -len('versions')]}tags/latest").body == {}
    assert api.settled(api.artifacts("POST", f"{versions}:batchDelete", batch | {"validateOnly": True}))["done"]
    assert api.artifacts("GET", f"{versions}/{digest}").status == 200
    assert api.settled(api.artifacts("DELETE", f"{versions}/{digest}"))["response"]["@type"].endswith("Empty")
    assert api.artifacts("GET", f"{versions}/{digest}").status == 404
    api.artifacts("DELETE", f"{HERE}/repositories/one")
    create(api)
    assert api.artifacts("GET", f"{HERE}/repositories/one/dockerImages").body == {}


def test_an_operation_of_nobody_is_not_found(api: Api) -> None:
    assert api.artifacts("GET", f"{HERE}/operations/none").status == 404
