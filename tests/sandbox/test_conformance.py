"""The table of methods in docs/sandbox.md is true: each method is answered as it says. (test_schema.py: it is complete.)"""

from __future__ import annotations

import base64
import json
import logging
import re
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from typing import Any

import pytest

from cgrunbook.sandbox import hosts, process
from cgrunbook.sandbox.google import messages
from cgrunbook.sandbox.settings import PROJECT_ID
from tests.sandbox import methods
from tests.sandbox.conftest import Api
from tests.sandbox.methods import Played

DOCUMENT = Path(__file__).parents[2] / "docs" / "sandbox.md"
DIGEST = "sha256:" + "a" * 64
BLOB = "sha256:" + "b" * 64


def test_no_method_is_listed_twice() -> None:
    everything = [(one.host, one.verb, one.path) for one in methods.google() + methods.others()]
    assert len(everything) == len(set(everything))


def test_the_document_holds_the_tables_of_the_code() -> None:
    table = re.search(r"<!-- methods: .*?-->\n(.*?)<!-- /methods -->", DOCUMENT.read_text(), re.DOTALL)
    assert table is not None
    assert table[1] == methods.markdown()


def test_the_document_names_every_variable_of_a_shell(sandbox: process.Running) -> None:
    text = DOCUMENT.read_text()
    for name in process.environment(sandbox):
        short = re.sub(r"^(CLOUDSDK_API_ENDPOINT_OVERRIDES)_", r"..._", name)
        shorter = re.sub(r"_CUSTOM_ENDPOINT$", "_...", name)
        assert any(f"`{one}`" in text for one in (name, short, shorter)), name


def path_of(method: Played) -> str:
    """A request for things that are there, with the digest and names of `prepared`."""
    values = {
        "project": PROJECT_ID, "location": "us-central1", "repository": "one", "secret": "one",
        "version": DIGEST if method.host == hosts.ARTIFACT_REGISTRY else "1", "service": hosts.SECRET_MANAGER,
        "package": "chainguard%2Fgo", "tag": "latest", "topic": "one", "dockerImage": f"chainguard%2Fgo@{DIGEST}",
    }  # fmt: skip
    return re.sub(r"\{(\w+)\}", lambda variable: values.get(variable[1], "x"), method.path)


def prepared(api: Api, method: Played) -> tuple[str, Any]:
    """Put there what the method is about; return the path, with an operation's name in it, and the body."""
    from cgrunbook.sandbox.registry import cache

    api.enable(hosts.ARTIFACT_REGISTRY, hosts.SECRET_MANAGER, hosts.CLOUD_BILLING, hosts.CLOUD_KMS, hosts.PUBSUB)
    api.enable(hosts.LOGGING)
    api.artifacts("POST", "/locations/us-central1/repositories?repositoryId=one", {"format": "DOCKER"})
    if method.host == hosts.PUBSUB:
        verb = "DELETE" if method.name == "projects.topics.create" else "PUT"
        api.call(verb, hosts.PUBSUB, f"/v1/projects/{PROJECT_ID}/topics/one", {} if verb == "PUT" else None)
    api.secrets("DELETE", "/secrets/one")
    api.add_secret("one")
    api.sandbox.state.declare(cache.SCHEMA)
    key = (PROJECT_ID, "us-central1", "one", "chainguard/go")
    now = api.sandbox.clock.now().isoformat()
    with api.sandbox.state.transaction() as rows:
        rows.execute(
            "INSERT OR IGNORE INTO cached_manifest VALUES (?,?,?,?,?,?,?,?,?)", (*key, DIGEST, "x/y", 8, now, b"{}")
        )
        if method.name.endswith(("packages.versions.delete", "packages.versions.batchDelete")):
            rows.execute("DELETE FROM cached_tag")  # a version with tags is not deleted
        else:
            rows.execute("INSERT OR IGNORE INTO cached_tag VALUES (?,?,?,?,?,?,?)", (*key, "latest", DIGEST, now))
    path = path_of(method)
    if method.name.endswith("operations.get") and method.host == hosts.ARTIFACT_REGISTRY:
        begun = api.artifacts("DELETE", "/locations/us-central1/repositories/one").body["name"]
        path = path.replace("operations/x", begun.partition("locations/us-central1/")[2])
    elif method.name == "operations.get":
        api.services("POST", "/services/pubsub.googleapis.com:disable")
        begun = api.services("POST", "/services/pubsub.googleapis.com:enable").body["name"]
        path = path.replace("operations/x", begun)
    one = method.name.removeprefix("projects.").removeprefix("locations.")
    bodies = {
        "secrets.addVersion": {"payload": {"data": base64.b64encode(b"x").decode()}},
        "secrets.create": {"replication": {"automatic": {}}},
        "repositories.create": {"format": "DOCKER"},
        "updateVpcscConfig": {"vpcscPolicy": "ALLOW"},
        "services.batchEnable": {"serviceIds": [hosts.SECRET_MANAGER]},
        "repositories.packages.versions.batchDelete": {"names": [f"{path.rpartition(':')[0]}/{DIGEST}"]},
    }
    if ":setIamPolicy" in path:
        mine = api.projects("POST", ":getIamPolicy", {}).body if method.host == hosts.RESOURCE_MANAGER else {}
        bodies[one] = {"policy": mine}
    queries = {
        "repositories.create": "?repositoryId=two",
        "secrets.create": "?secretId=two",
        "services.batchGet": f"?names=services/{hosts.SECRET_MANAGER}",
        "secrets.patch": "?updateMask=labels",
    }
    return path + queries.get(one, ""), bodies.get(one, None if method.verb in {"GET", "DELETE"} else {})


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    api = Api(tmp_path_factory.mktemp("conformance"))
    yield api
    api.sandbox.state.close()


def test_each_method_that_is_played_is_answered_with_nothing_but_published_fields(
    shared: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered = messages.Message.render

    def strict(message: messages.Message, value: Any, *, int_enums: bool) -> dict[str, Any]:
        assert value.keys() - {"@type"} <= message.fields.keys(), (message.name, value)
        return rendered(message, value, int_enums=int_enums)

    monkeypatch.setattr(messages.Message, "render", strict)
    wrong = []
    for method in methods.google():
        if method.state != "not":
            path, body = prepared(shared, method)
            answer = shared.call(method.verb, method.host, path, body)
            if answer.status != 200:
                wrong.append((method, path, answer.status, answer.body))
    assert not wrong


def test_each_method_that_is_not_played_is_unimplemented_and_the_log_says_so(
    shared: Api, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger="cgrunbook.sandbox")
    wrong, asked = [], 0
    for method in methods.google():
        if method.state == "not":
            asked += 1
            caplog.clear()
            answer = shared.call(method.verb, method.host, path_of(method))
            as_told = answer.status == 501 and answer.error["status"] == "UNIMPLEMENTED"
            if not as_told or f"{method.host} has {method.name} and" not in caplog.text:
                wrong.append((method, answer.status, answer.body))
    assert asked > 400
    assert not wrong


def test_every_method_is_named_in_the_document() -> None:
    text = DOCUMENT.read_text()
    for host in dict.fromkeys(one.host for one in methods.google()):
        section = text.partition(f"### {host}\n")[2].partition("\n### ")[0]
        rows = [row.strip("| ").split(" | ") for row in section.splitlines() if row.startswith("| ")]
        named = {(row[0], row[1]) for row in rows if row[1].startswith("`")}
        named |= {
            (f"{row[0].partition(' ')[2]}.{name}".lstrip("."), row[0].partition(" ")[0])
            for row in rows
            if not row[1].startswith("`")
            for name in row[1].split(", ")
        }
        for one in methods.google():
            if one.host == host:
                told = one.version if one.state == "not" else f"`{one.verb} {one.path}`"
                assert (one.name, told) in named, one


@pytest.mark.parametrize(
    ("host", "verb", "path"),
    [
        (hosts.ARTIFACT_REGISTRY, "GET", "/v1/projects/{}/locations/us-central1/operations"),
        (hosts.ARTIFACT_REGISTRY, "DELETE", "/v1/projects/{}/locations/us-central1/operations/x"),
        (hosts.SECRET_MANAGER, "PUT", "/v1/projects/{}/secrets/one"),
        (hosts.SECRET_MANAGER, "GET", "/v2/projects/{}/secrets"),
        (hosts.SERVICE_USAGE, "POST", "/v1/projects/{}/services/x:generateServiceIdentity"),
        (hosts.RESOURCE_MANAGER, "GET", "/v2/projects/{}"),
        (hosts.CLOUD_KMS, "GET", "/v1beta1/projects/{}/locations/us-central1/keyRings"),
    ],
)
def test_what_is_no_method_of_a_service_is_not_found(shared: Api, host: str, verb: str, path: str) -> None:
    answer = shared.call(verb, host, path.format(PROJECT_ID))
    assert (answer.status, answer.error["status"]) == (404, "NOT_FOUND")


# --- the registries and Chainguard's platform, in a process, since they ask each other ----------------------------------


class NotFollowed(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


OPENER = urllib.request.build_opener(NotFollowed)


def ask(address: str, verb: str, path: str, *, body: Any = None, **headers: str) -> tuple[int, bytes, Message]:
    data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://{address}{path}", method=verb, data=data, headers=headers)
    try:
        with OPENER.open(request, timeout=30) as answer:
            return answer.status, answer.read(), answer.headers
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read(), refused.headers


class Others:
    """A sandbox with one remote repository; knows who may ask each host for what."""

    def __init__(self, running: process.Running) -> None:
        self.running = running
        self.operator = running.access_token_file.read_text()
        project = f"/v1/projects/{running.project_id}"
        self._google(hosts.SERVICE_USAGE, f"{project}/services/{hosts.ARTIFACT_REGISTRY}:enable", {})
        remote = {"format": "DOCKER", "mode": "REMOTE_REPOSITORY"}
        remote["remoteRepositoryConfig"] = {"commonRepository": {"uri": "https://cgr.dev"}}  # type: ignore[assignment]
        here = f"{project}/locations/us-central1/repositories?repositoryId=one"
        self._google(hosts.ARTIFACT_REGISTRY, here, remote)
        scope = "repository:chainguard/go:pull"
        address = running.hosts[hosts.CGR_DEV]
        self.pull = json.loads(ask(address, "GET", f"/token?service=cgr.dev&scope={scope}")[1])["token"]
        self.blob, self.digest = self._of_the_image(address)
        self.chainguard = self._logged_in("https://console-api.enforce.dev")
        catalog = base64.b64encode(f"_token:{self._logged_in('cgr.dev')}".encode()).decode()
        listing = "/token?service=cgr.dev&scope=registry:catalog:*"
        self.catalog = json.loads(ask(address, "GET", listing, Authorization=f"Basic {catalog}")[1])["token"]

    def _logged_in(self, audience: str) -> str:
        command = [str(self.running.bin / "chainctl"), "auth", "token", "--audience", audience]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def _google(self, host: str, path: str, body: Any) -> None:
        status, answer, _ = ask(
            self.running.hosts[host], "POST", path, body=body, Authorization=f"Bearer {self.operator}"
        )
        assert status == 200, answer

    def _of_the_image(self, address: str) -> tuple[str, str]:
        def get(reference: str) -> tuple[dict[str, Any], Message]:
            accept = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json"
            path = f"/v2/chainguard/go/manifests/{reference}"
            status, body, headers = ask(address, "GET", path, Authorization=f"Bearer {self.pull}", Accept=accept)
            assert status == 200, body
            return json.loads(body), headers

        index, _ = get("latest")
        digest = index["manifests"][0]["digest"]
        return get(digest)[0]["config"]["digest"], digest

    def ask(self, one: Played) -> tuple[int, bytes]:
        docker = one.host == methods.DOCKER_HOSTS
        host = hosts.docker_host_name("us-central1") if docker else one.host
        name = f"{self.running.project_id}/one/chainguard/go" if docker else "chainguard/go"
        path = one.path.replace("{name}", name).replace("{reference}", "latest")
        path = path.replace("{digest}", self.blob if "blob" in one.name.lower() else self.digest)
        address = self.running.hosts[host]
        if one.host == hosts.BLOB_HOST:
            blobs = f"/v2/chainguard/go/blobs/{self.blob}"
            told = ask(self.running.hosts[hosts.CGR_DEV], "GET", blobs, Authorization=f"Bearer {self.pull}")[2]
            path = told["Location"].partition(address)[2]
        token = self.operator if docker else self.pull
        if "_catalog" in path and not docker:
            token = self.catalog
        if "{" in path:
            path = re.sub(r"\{\w+\}", "x", path)
        headers = {"Authorization": f"Bearer {token}", "Accept": "*/*, application/vnd.oci.image.index.v1+json"}
        if path.endswith("/token"):
            basic = base64.b64encode(f"oauth2accesstoken:{self.operator}".encode()).decode()
            headers["Authorization"] = f"Basic {basic}"
            if not docker:
                del headers["Authorization"]
                path += "?service=cgr.dev&scope=repository:chainguard/go:pull"
        form = {"grant_type": "password", "username": "oauth2accesstoken", "password": self.operator, "service": host}
        posted = urllib.parse.urlencode(form).encode() if one.name == "Token (OAuth2)" else None
        status, body, _ = ask(address, one.verb, path, body=posted, **headers)
        return status, body


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Others]:
    home = tmp_path_factory.mktemp("others") / "home"
    running = process.start(home, iam_delay=0.0, agent_delay=0.0)
    yield Others(running)
    process.stop(home)


def test_each_end_point_of_the_registries_is_answered_as_the_table_says(played: Others) -> None:
    wrong = []
    for one in methods.others():
        if one.host in (hosts.CONSOLE_API, hosts.STS, hosts.IAM, hosts.IAM_CREDENTIALS):
            continue
        status, body = played.ask(one)
        as_told = 400 <= status < 500 if one.state == "not" else status in {200, 307}
        if not as_told:
            wrong.append((one, status, body[:200]))
    assert not wrong


def test_each_end_point_of_chainguards_platform_is_answered_as_the_table_says(played: Others) -> None:
    wrong = []
    for one in methods.others():
        if one.host != hosts.CONSOLE_API:
            continue
        path = re.sub(r"\{\w+\}", "0" * 40, one.path)
        address = played.running.hosts[hosts.CONSOLE_API]
        login = {"Authorization": f"Bearer {played.chainguard}"}
        status, body, _ = ask(address, one.verb, path, body={} if one.verb == "POST" else None, **login)
        unknown = b"Method Not Allowed" in body or b'"Not Found"' in body
        if unknown != (one.state == "not") or b"a valid token" in body:
            wrong.append((one, status, body[:200]))
    assert not wrong
