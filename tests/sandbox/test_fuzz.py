"""Random requests, over the sockets, for every method of every host: none makes a 500, shows a traceback or harms the state.

CGRUNBOOK_FUZZ_SECONDS says for how long (5); CGRUNBOOK_FUZZ_SEED repeats a run.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import random
import re
import socket
import time
from typing import Any

import pytest

from cgrunbook.sandbox import hosts, process
from cgrunbook.sandbox.settings import PROJECT_ID, PROJECT_NUMBER
from tests.clients.gcloud import PROJECT, Clients
from tests.sandbox import methods

SECONDS = float(os.environ.get("CGRUNBOOK_FUZZ_SECONDS", "5"))
HERE = f"{PROJECT}/locations/us-central1"
NAMES = [
    "x", "kept", "one", "latest", "-", "1", "..", "%2e%2e", "%2F", "a%2Fb", "%00", "%ff", "%25", "~", "é", "*", ":x", "x:y",
    "sha256:" + "a" * 64, "y" * 300, "", "projects", PROJECT_ID, PROJECT_NUMBER, "us-central1", "'", '"', "<b>",
    hosts.SECRET_MANAGER,
]  # fmt: skip
VALUES: list[Any] = [
    None, True, 0, -1, 2**63, 1e308, "", "x", "x" * 5000, "\x00", "é\u202e", [], {}, [[]], {"x": {}}, ["x", None], "1s", "-5s",
    "2020-01-01T00:00:00Z", "DOCKER", 3, "REMOTE_REPOSITORY", "https://cgr.dev", "http://127.0.0.1:1", "file:///x", "AAAA",
    f"{PROJECT}/secrets/kept/versions/1", "user:x@example.com", "roles/owner", "allUsers",
]  # fmt: skip
KEYS = [
    "format", "mode", "labels", "description", "name", "remoteRepositoryConfig", "commonRepository", "uri", "replication",
    "automatic", "userManaged", "replicas", "location", "payload", "data", "dataCrc32c", "policy", "bindings", "role", "members",
    "condition", "expression", "etag", "version", "upstreamCredentials", "usernamePasswordCredentials", "username",
    "passwordSecretVersion", "cleanupPolicies", "condition", "olderThan", "versionAliases", "ttl", "expireTime", "rotation",
    "topics", "permissions", "serviceIds", "names", "vpcscPolicy", "static", "expiration", "issuerKeys", "group", "nonsense", "",
    "secretType", "policyMember", "managedRotationStatus", "platformLogsConfig", "vulnerabilityScanningConfig",
    "noCache", "auditConfigs",
]  # fmt: skip
QUERIES = [
    "updateMask=*", "updateMask=labels,", "updateMask=a.b.c", "pageSize=-1", "pageSize=99999999999", "pageToken=CgE=", "filter=a(",
    "filter=" + "(" * 50, "alt=json;enum-encoding=int", "$alt=proto", "repositoryId=kept", "secretId=kept", "scope=x", "n=-1",
    "last=%ff", "force=maybe", "options.requestedPolicyVersion=3", "artifactType=%22", "&&&", "=", "%",
]  # fmt: skip
HEADERS = [
    ("Accept", "*/*"), ("Accept", ";;,"), ("Range", "bytes=5-1"), ("Range", "bytes=-"), ("If-None-Match", "*"),
    ("X-HTTP-Method-Override", "DELETE"), ("X-HTTP-Method-Override", "\xff"), ("Content-Type", "text/plain"),
    ("Content-Encoding", "gzip"), ("Cookie", "x" * 3000), ("Expect", "100-continue"),
]  # fmt: skip


class Fuzz:
    """Makes requests that are nearly right."""

    def __init__(self, running: process.Running, seed: int) -> None:
        self._random = random.Random(seed)
        self._token = running.access_token_file.read_text()
        self._hosts = running.hosts
        everything = methods.google() + methods.others()
        self._played = [one for one in everything if one.state != "not"]
        self._not_played = [one for one in everything if one.state == "not"]

    def value(self, depth: int = 0) -> Any:
        choose = self._random
        if depth > 4 or choose.random() < 0.5:
            return choose.choice(VALUES)
        if choose.random() < 0.2:
            return [self.value(depth + 1) for _ in range(choose.randrange(3))]
        return {choose.choice(KEYS): self.value(depth + 1) for _ in range(choose.randrange(5))}

    def request(self) -> tuple[str, str, str, bytes, dict[str, str]]:
        """Return host, verb, path with query, body and headers."""
        choose = self._random
        method = choose.choice(self._played if choose.random() < 0.8 else self._not_played)
        host = method.host.replace("LOCATION", choose.choice(["us-central1", "europe"]))
        right = {"project": PROJECT_ID, "location": "us-central1"}

        def filled(variable: re.Match[str]) -> str:
            name = variable[1]
            return right[name] if name in right and choose.random() < 0.9 else choose.choice(NAMES)

        path = re.sub(r"\{(\w+)\}", filled, method.path).encode("ascii", "ignore").decode().replace(" ", "")
        if choose.random() < 0.1:
            at = choose.randrange(len(path))
            path = path[:at] + choose.choice(["/", "//", "%", ":", "?", "#", "/../", "\\"]) + path[at:]
        if choose.random() < 0.5:
            path += "?" + "&".join(choose.sample(QUERIES, choose.randrange(1, 4)))
        verb = (
            method.verb
            if choose.random() < 0.9
            else choose.choice(["GET", "POST", "PATCH", "PUT", "DELETE", "OPTIONS", "X"])
        )
        body = b""
        if choose.random() < 0.7:
            body = json.dumps(self.value()).encode()
        if body and choose.random() < 0.1:
            at = choose.randrange(len(body))
            body = body[:at] + choose.randbytes(choose.randrange(1, 5)) + body[at + 1 :]
        headers = dict(choose.sample(HEADERS, choose.randrange(3)))
        tokens = [f"Bearer {self._token}"] * 8 + ["Bearer x", "Basic eDp5", "Bearer", "", "\xff"]
        headers["Authorization"] = choose.choice(tokens)
        return self._hosts[host], verb, path, body, headers

    def cut_off(self) -> None:
        """Send a part of a request, or what is none, and go."""
        address, verb, path, body, _ = self.request()
        host, _, port = address.partition(":")
        head = f"{verb} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {len(body) + 100}\r\n\r\n"
        raw = self._random.choice(
            [head.encode("latin-1") + body, head.encode("latin-1")[:20], self._random.randbytes(60)]
        )
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=30) as connection:
            connection.sendall(raw)


def shape_of(body: bytes) -> str:
    """Which host's way of refusing a body is: "google", "registry", "platform", "xml", or "" for none of them."""
    if body.startswith(b"<?xml"):
        return "xml"
    with contextlib.suppress(ValueError):
        told = json.loads(body)
        if isinstance(told, dict):
            return (
                "google"
                if "error" in told
                else "registry"
                if "errors" in told
                else "platform"
                if "code" in told
                else ""
            )
    return ""


@pytest.fixture
def unharmed(sandbox: process.Running) -> Any:
    """Make a repository and a secret in a place that no fuzzed request names; return what compares them."""
    clients = Clients(sandbox)
    names = [hosts.ARTIFACT_REGISTRY, hosts.SECRET_MANAGER]
    clients.services.batch_enable_services({"parent": PROJECT, "service_ids": names}).result(timeout=30)
    here = f"{PROJECT}/locations/europe-west1"
    repository = {"format_": "DOCKER", "labels": {"kept": "yes"}}
    clients.artifacts.create_repository(parent=here, repository_id="untouched", repository=repository).result(
        timeout=30
    )
    secret: dict[str, Any] = {"replication": {"automatic": {}}}
    clients.secrets.create_secret(parent=PROJECT, secret_id="untouched", secret=secret)
    clients.secrets.add_secret_version(parent=f"{PROJECT}/secrets/untouched", payload={"data": b"kept"})

    def read() -> tuple[Any, Any]:
        # A fuzzed request may have disabled the APIs, as it may.
        clients.services.batch_enable_services({"parent": PROJECT, "service_ids": names}).result(timeout=30)
        return (
            clients.artifacts.get_repository(name=f"{here}/repositories/untouched"),
            clients.secrets.access_secret_version(name=f"{PROJECT}/secrets/untouched/versions/1").payload.data,
        )

    return read


@pytest.mark.parametrize("seconds", [SECONDS, pytest.param(20, marks=pytest.mark.long)])
def test_random_requests_get_a_refusal_of_the_hosts_shape_and_harm_nothing(
    sandbox: process.Running, unharmed: Any, seconds: float
) -> None:
    seed = int(os.environ.get("CGRUNBOOK_FUZZ_SEED", random.randrange(10**9)))
    print(f"CGRUNBOOK_FUZZ_SEED={seed}")  # shown when the test fails
    fuzz, before = Fuzz(sandbox, seed), unharmed()
    connections: dict[str, http.client.HTTPConnection] = {}
    deadline, sent = time.monotonic() + seconds, 0
    while time.monotonic() < deadline or sent < 200:
        sent += 1
        if sent % 50 == 0:
            fuzz.cut_off()
            continue
        address, verb, path, body, headers = fuzz.request()
        if "projects" in path and ":setIamPolicy" in path and "/locations/" not in path and "/secrets/" not in path:
            continue  # would lock the operator out, as it should
        connection = connections.setdefault(address, http.client.HTTPConnection(address, timeout=30))
        try:
            connection.request(verb, path, body, {name: value.encode("latin-1") for name, value in headers.items()})
            answer = connection.getresponse()
            told = answer.read()
        except (OSError, http.client.HTTPException, ValueError):
            connection.close()  # not HTTP: closed without an answer
            continue
        shown = (verb, path, body[:500], answer.status, told[:500])
        assert answer.status < 500 or answer.status in {501, 502, 503, 504}, shown
        assert b"Traceback" not in told, shown
        if answer.status >= 400 and verb != "HEAD" and answer.status != 431:
            assert shape_of(told) or not told.startswith(b"{"), shown
        if ":disable" in path:
            unharmed()
    for connection in connections.values():
        connection.close()
    assert unharmed() == before
    assert process.start(sandbox.home).pid == sandbox.pid
    log = (sandbox.folder / process.SERVER_LOG).read_text()
    assert "Traceback" not in log, log[-3000:]
    assert base64.b64encode(b"kept").decode() not in (sandbox.folder / "log" / "requests.jsonl").read_text()
    print(f"{sent} requests")
