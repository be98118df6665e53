"""A running sandbox with Chainguard's side filled, and what a client of its registries needs."""

from __future__ import annotations

import base64
import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from cgrunbook.sandbox import process
from cgrunbook.sandbox.chainguard.addresses import API_AUDIENCE, PULL_TOKEN_ISSUER, STS_ISSUER
from cgrunbook.sandbox.chainguard.identities import Asked, Identities
from cgrunbook.sandbox.chainguard.organizations import Organizations, group_id
from cgrunbook.sandbox.chainguard.roles import role_id
from cgrunbook.sandbox.chainguard.sessions import Sessions
from cgrunbook.sandbox.context import Sandbox
from cgrunbook.sandbox.registry.catalog import Catalog
from cgrunbook.sandbox.settings import Settings
from cgrunbook.sandbox.state import State
from tests.waiting import wait_for

PROJECT = "cgrunbook-sandbox"
INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@pytest.fixture(scope="session")
def key():
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@dataclass(frozen=True)
class PullToken:
    username: str
    password: str

    @property
    def auth(self) -> tuple[str, str]:
        return self.username, self.password


class World:
    """The running sandbox from outside, and its state from inside: the clock, the catalogue and the organisation."""

    def __init__(self, running: process.Running, key: rsa.RSAPrivateKey) -> None:
        self.running = running
        self.key = key
        self.inside = Sandbox(Settings(home=running.folder), State(running.folder / "state.db"), running.hosts)
        self.organizations = Organizations(self.inside)
        self.identities = Identities(self.inside, self.organizations)
        self.sessions = Sessions(self.inside, self.organizations)
        self.catalog = Catalog(self.inside)
        self.http = httpx.Client(timeout=20, trust_env=False)
        self.operator = running.access_token_file.read_text().strip()

    def close(self) -> None:
        self.http.close()
        self.inside.state.close()

    # --- Chainguard ---

    @property
    def cgr(self) -> str:
        return f"http://{self.running.hosts['cgr.dev']}"

    @property
    def identity(self) -> str:
        return self.sessions.exchange(self.operator, API_AUDIENCE)[1].identity

    def revoke(self, token: PullToken) -> None:
        self.identities.delete(self.identity, token.username)

    def pull_token(self, ttl: timedelta = timedelta(hours=24), role: str = "registry.pull", **claims: Any) -> PullToken:
        now = self.inside.clock.now()
        public = jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        organization = group_id("example.com")
        subject = f"pull-token-{os.urandom(8).hex()}"
        identity = self.identities.create(
            self.identity,
            organization,
            Asked(
                name="test - registry",
                description="",
                issuer=PULL_TOKEN_ISSUER,
                subject=subject,
                audience=None,
                issuer_keys=json.dumps({"keys": [public]}),
                expiration=(now + ttl).isoformat(),
                default_life=ttl,
                where="static.expiration",
            ),
        )
        self.organizations.bind(identity["id"], organization, role_id(role))
        begin = int(now.timestamp())
        everything = {
            "iss": PULL_TOKEN_ISSUER,
            "aud": STS_ISSUER,
            "sub": subject,
            "iat": begin,
            "exp": begin + int(ttl.total_seconds()) - 1,
        } | claims
        return PullToken(identity["id"], jwt.encode(everything, self.key, algorithm="RS256"))

    def token_answer(self, scope: str | None, auth: tuple[str, str] | None = None) -> httpx.Response:
        parameters = {"service": "cgr.dev"} | ({"scope": scope} if scope else {})
        return self.http.get(f"{self.cgr}/token", params=parameters, auth=auth)

    def token(self, repository: str, auth: tuple[str, str] | None = None) -> dict[str, str]:
        answer = self.token_answer(f"repository:{repository}:pull", auth)
        assert answer.status_code == 200, answer.text
        return {"Authorization": f"Bearer {answer.json()['token']}"}

    # --- Google ---

    def google(self, method: str, host: str, path: str, body: Any = None, **query: str) -> dict[str, Any]:
        answer = self.http.request(
            method,
            f"http://{self.running.hosts[host + '.googleapis.com']}{path}",
            json=body,
            params=query,
            headers={"Authorization": f"Bearer {self.operator}"},
        )
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        return document

    def enable(self) -> None:
        services = [f"{name}.googleapis.com" for name in ("artifactregistry", "secretmanager")]
        self.google("POST", "serviceusage", f"/v1/projects/{PROJECT}/services:batchEnable", {"serviceIds": services})

    def remote(self, name: str, location: str = "us-central1", **config: Any) -> str:
        """A remote repository of cgr.dev, its upstream not validated; the base of its images' paths."""
        remote = {"commonRepository": {"uri": "https://cgr.dev/"}, "disableUpstreamValidation": True} | config
        parent = f"/v1/projects/{PROJECT}/locations/{location}/repositories"
        body = {"format": "DOCKER", "mode": "REMOTE_REPOSITORY", "remoteRepositoryConfig": remote}
        self.google("POST", "artifactregistry", parent, body, repositoryId=name)
        wait_for(lambda: self.inside.state.read().execute("SELECT 1 FROM repository WHERE id = ?", (name,)).fetchone())
        return f"http://{self.running.docker_host(location)}/v2/{PROJECT}/{name}"

    def secret(self, payload: str, *, grant: bool = True) -> str:
        """A secret with one version, which the service agent may read; the version's name."""
        parent = f"/v1/projects/{PROJECT}/secrets"
        name = f"s{os.urandom(4).hex()}"
        self.google("POST", "secretmanager", parent, {"replication": {"automatic": {}}}, secretId=name)
        data = base64.b64encode(payload.encode()).decode()
        self.google("POST", "secretmanager", f"{parent}/{name}:addVersion", {"payload": {"data": data}})
        if grant:
            self.grant(name)
        return f"projects/{PROJECT}/secrets/{name}/versions/1"

    def grant(self, secret: str) -> None:
        identity = f"/v1beta1/projects/{PROJECT}/services/artifactregistry.googleapis.com:generateServiceIdentity"
        self.google("POST", "serviceusage", identity, {})
        agent = self.inside.iam.agent_email("artifactregistry.googleapis.com")
        bindings = [{"role": "roles/secretmanager.secretAccessor", "members": [f"serviceAccount:{agent}"]}]
        path = f"/v1/projects/{PROJECT}/secrets/{secret}:setIamPolicy"
        self.google("POST", "secretmanager", path, {"policy": {"bindings": bindings}})

    def private(self, name: str, token: PullToken, **config: Any) -> str:
        pair = {"username": token.username, "passwordSecretVersion": self.secret(token.password)}
        return self.remote(name, upstreamCredentials={"usernamePasswordCredentials": pair}, **config)

    def get(self, url: str, method: str = "GET", **headers: str) -> httpx.Response:
        """Ask the data plane as the operator, taking indexes and manifests unless told otherwise."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        given = {"Authorization": f"Bearer {self.operator}", "Accept": f"{INDEX}, {MANIFEST}"} | named
        return self.http.request(method, url, headers=given)

    def requests(self, service: str) -> list[dict[str, Any]]:
        """What the sandbox logged of the requests to one host."""
        lines = (self.running.folder / "log" / "requests.jsonl").read_text().splitlines()
        return [line for line in map(json.loads, lines) if line["service"] == service]

    def advance(self, **by: float) -> None:
        self.inside.clock.advance(timedelta(**by))


@contextlib.contextmanager
def a_world(home: Path, key: rsa.RSAPrivateKey, upstream: str | None = None) -> Iterator[World]:
    running = process.start(home, iam_delay=0, agent_delay=0, upstream=upstream)
    there = World(running, key)
    try:
        there.enable()
        yield there
    finally:
        there.close()
        process.reset(home)


@pytest.fixture(scope="session")
def world(tmp_path_factory, key) -> Iterator[World]:
    """One sandbox for many tests, which make their own repositories and tokens; its clock only ever goes forward."""
    with a_world(tmp_path_factory.mktemp("world") / "home", key) as there:
        yield there


@pytest.fixture
def own_world(tmp_path, key) -> Iterator[World]:
    """A sandbox for one test, which may spoil it."""
    with a_world(tmp_path / "home", key) as there:
        yield there
