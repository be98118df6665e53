"""The front end: what is refused before a service sees it, and in which shape."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cgrunbook.sandbox import hosts
from cgrunbook.sandbox.settings import PROJECT_ID, QUOTA_PROJECT_ID, QUOTA_PROJECT_NUMBER
from tests.sandbox.conftest import Answer, Api, NewApi

HOSTS = (hosts.ARTIFACT_REGISTRY, hosts.SECRET_MANAGER, hosts.SERVICE_USAGE, hosts.RESOURCE_MANAGER)


def test_a_call_without_a_credential_is_unauthenticated(api: Api) -> None:
    answer = api.secrets("GET", "/secrets", token=None)
    assert (answer.status, answer.error["status"], answer.reason) == (401, "UNAUTHENTICATED", "CREDENTIALS_MISSING")
    assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("token", ["ya29.nobody", "x y", "\x7f"])
def test_a_token_that_nobody_issued_is_unauthenticated(api: Api, token: str) -> None:
    assert api.secrets("GET", "/secrets", token=token).error["status"] == "UNAUTHENTICATED"


def test_an_expired_token_is_unauthenticated(api: Api) -> None:
    token = api.sandbox.tokens.issue(api.settings.operator, lifetime_seconds=3600)
    assert api.secrets("GET", "/secrets", token=token).status == 200
    api.advance(hours=2)
    assert api.secrets("GET", "/secrets", token=token).status == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "secretmanager.googleapis.com"},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
    ],
)
def test_foreign_hosts_and_web_pages_are_refused(api: Api, headers: dict[str, str]) -> None:
    assert api.secrets("GET", "/secrets", headers=headers).status == 403


def test_a_disabled_api_says_so_as_google_does(fresh: Api) -> None:
    answer = fresh.secrets("GET", "/secrets")
    assert (answer.status, answer.reason) == (403, "SERVICE_DISABLED")
    info = next(detail for detail in answer.error["details"] if detail["@type"].endswith("ErrorInfo"))
    assert info["domain"] == "googleapis.com"
    assert info["metadata"]["service"] == "secretmanager.googleapis.com"
    assert info["metadata"]["consumer"] == fresh.numbered
    assert any(detail["@type"].endswith("Help") for detail in answer.error["details"])


def test_another_project_is_refused_without_saying_whether_it_exists(api: Api) -> None:
    answer = api.call("GET", hosts.SECRET_MANAGER, "/v1/projects/somebody-elses/secrets")
    assert (answer.status, answer.error["status"]) == (403, "PERMISSION_DENIED")


def info(answer: Answer) -> dict[str, Any]:
    """The ErrorInfo of a refusal."""
    return next(dict(one) for one in answer.error["details"] if one["@type"].endswith("ErrorInfo"))


def charged_to(project: str) -> dict[str, str]:
    return {"x-goog-user-project": project}


@pytest.mark.parametrize("project", [PROJECT_ID, "not-a-project", QUOTA_PROJECT_ID])
def test_who_may_not_use_the_project_that_is_charged_is_told_so_before_anything_else(fresh: Api, project: str) -> None:
    token = fresh.person("ada", "roles/artifactregistry.admin", "roles/secretmanager.admin")
    answer = fresh.secrets("GET", "/secrets", token=token, headers=charged_to(project))
    assert answer.status == 403
    assert info(answer)["reason"] == "USER_PROJECT_DENIED"
    assert info(answer)["metadata"] == {
        "service": "secretmanager.googleapis.com",
        "consumer": f"projects/{project}",
        "containerInfo": project,
    }
    assert "roles/serviceusage.serviceUsageConsumer" in answer.error["message"]


def test_an_api_that_is_off_where_a_request_is_charged_names_that_project(api: Api) -> None:
    answer = api.secrets("GET", "/secrets", headers=charged_to(QUOTA_PROJECT_ID))
    assert answer.reason == "SERVICE_DISABLED"
    assert info(answer)["metadata"]["consumer"] == f"projects/{QUOTA_PROJECT_NUMBER}"
    assert api.projects("GET", "", headers=charged_to(QUOTA_PROJECT_NUMBER)).status == 200
    assert api.secrets("GET", "/secrets", headers=charged_to(PROJECT_ID)).status == 200


def test_an_api_that_is_off_says_so_to_those_who_may_do_nothing_in_it(fresh: Api) -> None:
    nobody = fresh.person("nobody")
    assert fresh.secrets("GET", "/secrets", token=nobody).reason == "SERVICE_DISABLED"
    assert fresh.artifacts("POST", "/locations/us-central1/repositories", {}, token=nobody).reason == "SERVICE_DISABLED"
    fresh.enable(hosts.SECRET_MANAGER)
    refused = info(fresh.secrets("GET", "/secrets", token=nobody))
    assert refused["reason"] == "IAM_PERMISSION_DENIED"
    assert refused["metadata"]["permission"] == "secretmanager.secrets.list"


def test_the_projects_number_names_it_as_well_as_its_id(api: Api) -> None:
    assert api.call("GET", hosts.SECRET_MANAGER, f"/v1/{api.numbered}/secrets").status == 200


@pytest.mark.parametrize(
    ("raw", "named"),
    [
        (b"{", "Invalid JSON"),
        (b"[]", "list"),
        (b'"text"', "Invalid value"),
        (b"\xff\xfe", "UTF-8"),
        (b'{"replication": NaN}', "Invalid"),
        (b"[" * 2000 + b"]" * 2000, "deep"),
        (b'{"labels": ' + b"9" * 5000 + b"}", "Invalid"),
        (b'{"labels": {"a": "\\ud800"}, "replication": {"automatic": {}}}', "UTF-8"),
        (b'{"nonsense": 1}', 'Unknown name "nonsense"'),
        (b'{"replication": {"automatic": {"x": 1}}}', "'secret.replication.automatic'"),
        (b'{"replication": {"automatic": {}, "userManaged": {}}}', "oneof"),
        (b'{"replication": "automatic"}', "'secret.replication'"),
        (b'{"labels": []}', "'secret.labels'"),
        (b'{"labels": {"a": 1}}', "TYPE_STRING"),
        (b'{"ttl": "1h"}', "duration"),
        (b'{"expireTime": "tomorrow"}', "timestamp"),
        (b'{"expireTime": "9999-99-99T00:00:00Z"}', "timestamp"),
        (b'{"versionAliases": {"a": 1.5}}', "TYPE_INT64"),
        (b'{"versionAliases": {"a": "99999999999999999999"}}', "TYPE_INT64"),
        (b'{"topics": [1]}', "topics[0]"),
    ],
)
def test_a_body_that_is_no_such_message_is_an_invalid_argument(api: Api, raw: bytes, named: str) -> None:
    answer = api.secrets("POST", "/secrets?secretId=x", raw=raw)
    assert (answer.status, answer.error["status"]) == (400, "INVALID_ARGUMENT")
    assert named in answer.error["message"]
    assert answer.error["details"][0]["@type"].endswith("BadRequest")
    assert api.secrets("GET", "/secrets").body == {}


def test_the_error_repeats_no_payload(api: Api) -> None:
    api.add_secret("kept")
    for raw in (b'{"payload": {"data": "canary-!!"}}', b'{"payload": {"data": "canary'):
        answer = api.secrets("POST", "/secrets/kept:addVersion", raw=raw)
        assert answer.status == 400
        assert "canary" not in json.dumps(answer.body)


def test_every_mistake_of_one_request_is_named_at_once(api: Api) -> None:
    answer = api.secrets("POST", "/secrets?secretId=x", {"one": 1, "two": 2})
    violations = answer.error["details"][0]["fieldViolations"]
    assert [violation["description"].split('"')[1] for violation in violations] == ["one", "two"]


def test_a_body_that_is_too_large_is_refused(api: Api) -> None:
    answer = api.secrets("POST", "/secrets?secretId=x", raw=b" " * (10 * 1024 * 1024 + 1))
    assert (answer.status, answer.error["status"]) == (400, "INVALID_ARGUMENT")
    assert "10485760" in answer.error["message"]


def test_an_unknown_query_parameter_is_refused(api: Api) -> None:
    answer = api.secrets("GET", "/secrets?pagesize=1")
    assert answer.status == 400
    assert "Cannot bind query parameter" in answer.error["message"]


@pytest.mark.parametrize(
    "query", ["pageSize=-1", "pageSize=many", "pageToken=%FF", "pageToken=!!", "filter=((", "filter=a%3D", "alt=xml"]
)
def test_a_wrong_query_parameter_is_refused(api: Api, query: str) -> None:
    assert api.secrets("GET", f"/secrets?{query}").status == 400


def test_system_parameters_and_either_spelling_are_taken(api: Api) -> None:
    query = "$alt=json%3Benum-encoding%3Dint&prettyPrint=false&secret_id=snake&key=k"
    assert api.secrets("POST", f"/secrets?{query}", {"replication": {"automatic": {}}}).status == 200


@pytest.mark.parametrize(
    "path",
    [
        "/secrets/../secrets",
        "/secrets/%2e%2e/x",
        "/secrets/a%2Fb",
        "/secrets/a/b",
        "/secrets/",
        "//secrets",
        "/secrets/x%00y",
        "/secrets/%FF",
        "/secrets/x:explode",
        "/nothing",
        "/secrets/" + "x" * 9000,
    ],
)
def test_odd_paths_get_a_google_shaped_4xx(api: Api, path: str) -> None:
    answer = api.secrets("GET", path)
    assert 400 <= answer.status < 500
    assert answer.error["code"] == answer.status


@pytest.mark.parametrize("verb", ["PUT", "DELETE", "PATCH", "OPTIONS", "BREW"])
def test_a_wrong_method_is_not_found(api: Api, verb: str) -> None:
    answer = api.secrets(verb, "/secrets")
    assert (answer.status, answer.error["status"]) == (404, "NOT_FOUND")


def test_a_method_that_is_known_and_not_played_is_unimplemented(api: Api) -> None:
    answer = api.artifacts("GET", "/locations/us-central1/repositories/r/files")
    assert (answer.status, answer.error["status"]) == (501, "UNIMPLEMENTED")


def test_a_fault_of_the_sandbox_shows_no_traceback(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a fault with a path in it")

    monkeypatch.setattr(api.sandbox.iam, "check", broken)
    answer = api.secrets("GET", "/secrets")
    assert (answer.status, answer.error["status"]) == (500, "INTERNAL")
    assert "path" not in answer.error["message"]


def test_a_full_disk_is_told_and_can_be_tried_again(api: Api) -> None:
    connection = api.sandbox.state.read()
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count={pages}")
    statuses = []
    for number in range(200):
        body = {"replication": {"automatic": {}}, "annotations": {"a": "x" * 4000}}
        answer = api.secrets("POST", f"/secrets?secretId=s{number}", body)
        statuses.append(answer.status)
        if answer.status != 200:
            break
    assert (answer.status, answer.error["status"]) == (503, "UNAVAILABLE")
    assert "disk is full" in answer.error["message"]
    connection.execute("PRAGMA max_page_count=1073741823")
    assert api.secrets("POST", f"/secrets?secretId=s{number}", body).status == 200
    assert len(api.secrets("GET", "/secrets?pageSize=1000").body["secrets"]) == len(statuses)


def test_the_request_log_tells_who_did_what_and_no_secret(api: Api) -> None:
    api.add_secret("logged", payload="canary")
    api.secrets("GET", "/secrets?filter=name:logged&access_token=canary")
    text = (api.settings.home / "log" / "requests.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    fields = {"time", "service", "client", "method", "path", "principal", "status", "milliseconds"}
    assert fields == set(lines[-1])
    assert lines[-1]["principal"] == api.settings.operator
    assert "filter=name:logged&access_token=..." in lines[-1]["path"]
    assert api.token not in text
    assert "canary" not in text


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=10,
)
_FIELDS = (
    "format mode labels replication automatic payload data policy bindings members role remoteRepositoryConfig "
    "commonRepository uri cleanupPolicies condition rotation topics versionAliases permissions serviceIds etag ttl"
)
_NAMES = st.sampled_from(_FIELDS.split())
_BODIES = st.dictionaries(
    _NAMES, st.recursive(_JSON, lambda inner: st.dictionaries(_NAMES, inner, max_size=3)), max_size=4
)
_PATHS = st.sampled_from(
    [
        "/secrets",
        "/secrets?secretId=fuzz",
        "/secrets/kept",
        "/secrets/kept?updateMask=labels,rotation,ttl,versionAliases",
        "/secrets/kept:addVersion",
        "/secrets/kept:setIamPolicy",
        "/secrets/kept:testIamPermissions",
        "/secrets/kept/versions/latest:access",
        "/secrets/kept/versions/1:disable",
        "/locations",
        "/locations/us-central1/repositories",
        "/locations/us-central1/repositories?repositoryId=fuzz",
        "/locations/us-central1/repositories/kept",
        "/locations/us-central1/repositories/kept?updateMask=labels,remoteRepositoryConfig,cleanupPolicies",
        "/locations/us-central1/repositories/kept:setIamPolicy",
        "/locations/us-central1/vpcscConfig?updateMask=vpcscPolicy",
        "/services:batchEnable",
        "/services/pubsub.googleapis.com:disable",
        ":setIamPolicy",
        ":testIamPermissions",
    ]
) | st.text(max_size=30).map(lambda text: "/" + text.encode("unicode_escape").decode())


@settings(max_examples=200)
@given(
    host=st.sampled_from(HOSTS),
    verb=st.sampled_from(["GET", "POST", "PATCH", "DELETE", "PUT"]),
    path=st.tuples(st.sampled_from(["v1", "v3", "v1beta1", "v9"]), _PATHS),
    body=_BODIES | _JSON,
)
def test_no_request_makes_a_500_and_every_refusal_is_google_shaped(
    api: Api, host: str, verb: str, path: tuple[str, str], body: object
) -> None:
    if api.secrets("GET", "/secrets/kept").status == 404:
        api.add_secret("kept")
    answer = api.call(verb, host, f"/{path[0]}/{api.project}{path[1]}", body)
    assert answer.status < 500 or answer.status == 501
    if answer.status != 200:
        assert answer.error["code"] == answer.status
        assert "Traceback" not in json.dumps(answer.body)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """One sandbox's services for tests that leave no trace for each other."""
    api = Api(tmp_path_factory.mktemp("shared"))
    api.enable(hosts.ARTIFACT_REGISTRY, hosts.SECRET_MANAGER)
    yield api
    api.sandbox.state.close()


@pytest.mark.parametrize(
    ("given", "answered"),
    [
        ("2099-01-01T00:00:00Z", "2099-01-01T00:00:00Z"),
        ("2099-01-01T00:00:00.000Z", "2099-01-01T00:00:00Z"),
        ("2099-01-01T00:00:00.5Z", "2099-01-01T00:00:00.500Z"),
        ("2099-01-01T00:00:00.050000Z", "2099-01-01T00:00:00.050Z"),
        ("2099-01-01T00:00:00.1234Z", "2099-01-01T00:00:00.123400Z"),
        ("2099-01-01T00:00:00.123456Z", "2099-01-01T00:00:00.123456Z"),
        ("2099-01-01T00:00:00.1234567Z", "2099-01-01T00:00:00.123456700Z"),
        ("2099-01-01T00:00:00.000000001Z", "2099-01-01T00:00:00.000000001Z"),
        ("2099-01-01T01:30:00.25+01:30", "2099-01-01T00:00:00.250Z"),
        ("2098-12-31t19:00:00-05:00", "2099-01-01T00:00:00Z"),
    ],
)
def test_a_time_has_as_many_digits_as_protobuf_writes(shared: Api, given: str, answered: str) -> None:
    body = {"replication": {"automatic": {}}, "expireTime": given}
    assert shared.secrets("POST", "/secrets?secretId=one", body).body["expireTime"] == answered
    assert shared.secrets("GET", "/secrets/one").body["expireTime"] == answered
    assert len(shared.secrets("GET", f'/secrets?filter=expireTime%3D"{answered}"').body["secrets"]) == 1
    shared.secrets("DELETE", "/secrets/one")
    # What a client reads it sends back unchanged, and its own library reads it as the same.
    from google.protobuf import timestamp_pb2

    sent = timestamp_pb2.Timestamp()
    sent.FromJsonString(given.upper())
    assert sent.ToJsonString() == answered


@pytest.mark.parametrize(
    ("given", "answered"),
    [
        ("86400s", "86400s"),
        ("086400.000s", "86400s"),
        ("86400.5s", "86400.500s"),
        ("86400.0000001s", "86400.000000100s"),
    ],
)
def test_a_duration_has_as_many_digits_as_protobuf_writes(shared: Api, given: str, answered: str) -> None:
    body = {"replication": {"automatic": {}}, "versionDestroyTtl": given}
    assert shared.secrets("POST", "/secrets?secretId=one", body).body["versionDestroyTtl"] == answered
    shared.secrets("DELETE", "/secrets/one")


EVERYTHING = {"name", "config", "state", "parent"}


@pytest.mark.parametrize(
    ("fields", "keys", "below"),
    [
        ("services/name,nextPageToken", {"services", "nextPageToken"}, {"name"}),
        ("services.name", {"services"}, {"name"}),
        ("services(name,state)", {"services"}, {"name", "state"}),
        ("services(name, config/title ),nextPageToken", {"services", "nextPageToken"}, {"name", "config"}),
        ("services/config(name)", {"services"}, {"config"}),
        ("next_page_token", {"nextPageToken"}, set()),
        ("services", {"services"}, EVERYTHING),
        ("services/*", {"services"}, EVERYTHING),
        ("services/name,services/state", {"services"}, {"name", "state"}),
        ("services,services/name", {"services"}, EVERYTHING),
        ("*", {"services", "nextPageToken"}, EVERYTHING),
        ("*/name", {"services"}, {"name"}),
        ("", {"services", "nextPageToken"}, EVERYTHING),
    ],
)
def test_fields_asks_for_a_part_of_the_answer(shared: Api, fields: str, keys: set[str], below: set[str]) -> None:
    path = "/services?pageSize=1&filter=state:ENABLED"
    by_parameter = shared.services("GET", f"{path}&fields={quote(fields)}")
    assert by_parameter.status == 200, by_parameter.body
    assert set(by_parameter.body) == keys
    assert {key for service in by_parameter.body.get("services", []) for key in service} == below
    assert shared.services("GET", f"{path}&%24fields={quote(fields)}").body == by_parameter.body
    assert shared.services("GET", path, headers={"X-Goog-FieldMask": fields}).body == by_parameter.body


def test_fields_leads_through_maps_and_operations_on_every_api(api: Api) -> None:
    repository = {"format": "DOCKER", "labels": {"a": "1", "b": "2"}}
    begun = api.artifacts("POST", "/locations/us/repositories?repositoryId=one&fields=name", repository).body
    assert set(begun) == {"name"}
    done = api.call("GET", hosts.ARTIFACT_REGISTRY, f"/v1/{begun['name']}?fields=done,response/format").body
    assert done == {"done": True, "response": {"format": "DOCKER"}}
    found = api.artifacts("GET", "/locations/us/repositories/one?fields=labels/a,format").body
    assert found == {"format": "DOCKER", "labels": {"a": "1"}}
    assert api.artifacts("GET", "/locations/us/repositories?fields=nextPageToken").body == {}
    api.add_secret("one")
    assert api.secrets("GET", "/secrets/one:getIamPolicy?fields=etag").body == {"etag": "ACAB"}
    assert set(api.projects("GET", "?fields=projectId").body) == {"projectId"}


@pytest.mark.parametrize("fields", ["nothing", "services/nothing", "services(name,nothing)", "services/name/below"])
def test_fields_that_lead_nowhere_are_refused_in_googles_words(shared: Api, fields: str) -> None:
    answer = shared.services("GET", f"/services?fields={fields}")
    assert (answer.status, answer.error["message"]) == (400, "Request contains an invalid argument.")
    (violation,) = answer.error["details"][0]["fieldViolations"]
    path = violation["field"]
    assert (
        violation["description"]
        == f"Error expanding 'fields' parameter. Cannot find matching fields for path '{path}'."
    )


@pytest.mark.parametrize(
    "fields", ["(", "services(", "services(name", "services)", "a,,b", "/name", ",", "services(name))", "(" * 400]
)
def test_fields_that_cannot_be_read_change_nothing(shared: Api, fields: str) -> None:
    assert shared.services("POST", f"/services/compute.googleapis.com:enable?fields={quote(fields)}", {}).status == 400
    assert shared.services("GET", "/services/compute.googleapis.com").body["state"] == "DISABLED"


PROJECT_OF_A_DOMAIN = "example.com:my-project"


def test_a_project_of_a_domain_is_a_project_everywhere(new_api: NewApi) -> None:
    api = new_api(project_id=PROJECT_OF_A_DOMAIN)
    for project in (PROJECT_OF_A_DOMAIN, quote(PROJECT_OF_A_DOMAIN, safe="")):
        for version in ("v1", "v3"):
            found = api.call("GET", hosts.RESOURCE_MANAGER, f"/{version}/projects/{project}")
            assert found.body["projectId"] == PROJECT_OF_A_DOMAIN
        assert api.call("POST", hosts.RESOURCE_MANAGER, f"/v1/projects/{project}:getIamPolicy", {}).status == 200
        batch = f"/v1/projects/{project}/services:batchEnable"
        api.call("POST", hosts.SERVICE_USAGE, batch, {"serviceIds": [hosts.ARTIFACT_REGISTRY, hosts.SECRET_MANAGER]})
        assert api.call("GET", hosts.SECRET_MANAGER, f"/v1/projects/{project}/secrets").status == 200
    repositories = f"/v1/projects/{PROJECT_OF_A_DOMAIN}/locations/us/repositories"
    assert api.call("POST", hosts.ARTIFACT_REGISTRY, f"{repositories}?repositoryId=one", {"format": 1}).status == 200
    made = api.call("GET", hosts.ARTIFACT_REGISTRY, f"{repositories}/one").body
    assert made["registryUri"] == "us-docker.pkg.dev/example.com/my-project/one"
    policy = api.call("GET", hosts.ARTIFACT_REGISTRY, f"{repositories}/one:getIamPolicy")
    assert policy.status == 200


@pytest.mark.parametrize("project", ["example.com:other-one", "a.b.example.org:my-project"])
def test_another_domains_project_is_foreign_and_no_unknown_method(shared: Api, project: str) -> None:
    answer = shared.call("GET", hosts.SECRET_MANAGER, f"/v1/projects/{project}/secrets/one")
    assert (answer.status, answer.error["status"]) == (403, "PERMISSION_DENIED")


@pytest.mark.parametrize(
    "project", ["my-project:x", "example.com:", "example:my-project", "example.com:My-Project", ":my-project"]
)
def test_a_colon_is_in_no_other_name(shared: Api, project: str) -> None:
    assert shared.call("GET", hosts.SECRET_MANAGER, f"/v1/projects/{project}/secrets/one").status == 404
