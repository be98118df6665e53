"""console-api.enforce.dev, asked as its public protos say."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime, timedelta

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from cgrunbook.sandbox import process
from cgrunbook.sandbox.chainguard.addresses import PULL_TOKEN_ISSUER
from cgrunbook.sandbox.chainguard.organizations import Organizations, group_id
from cgrunbook.sandbox.context import Sandbox
from cgrunbook.sandbox.settings import Settings
from cgrunbook.sandbox.state import State

ORGANIZATION = group_id("example.com")


class Console:
    def __init__(self, running):
        self.inside = Sandbox(Settings(home=running.folder), State(running.folder / "state.db"), running.hosts)
        self.organizations = Organizations(self.inside)
        self.operator = running.access_token_file.read_text().strip()
        self.http = httpx.Client(base_url=f"http://{running.hosts['console-api.enforce.dev']}", trust_env=False)
        answer = self.exchange(self.operator)
        self.http.headers["Authorization"] = f"Bearer {answer.json()['token']}"

    def exchange(self, token, audience="https://console-api.enforce.dev"):
        headers = {"Authorization": f"Bearer {token}"}
        return self.http.post("/sts/exchange", data={"aud": audience}, headers=headers)

    def create(self, **static):
        public = jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key(), as_dict=True)
        given = {
            "issuer": PULL_TOKEN_ISSUER,
            "subject": "pull-token-1",
            "issuerKeys": json.dumps({"keys": [public]}),
            "expiration": (datetime.now(UTC) + timedelta(hours=1)).isoformat(),
        } | static
        body = {"name": "a - registry", "static": {key: value for key, value in given.items() if value is not None}}
        return self.http.post(f"/iam/v1/identities/{ORGANIZATION}", json=body)


KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


@contextlib.contextmanager
def open_console(running):
    there = Console(running)
    yield there
    there.http.close()
    there.inside.state.close()


@pytest.fixture
def console(sandbox):
    with open_console(sandbox) as there:
        yield there


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One for all tests whose requests are refused, and so change nothing."""
    home = tmp_path_factory.mktemp("shared")
    with open_console(process.start(home, iam_delay=0.0, agent_delay=0.0)) as there:
        yield there
    process.stop(home)


def refusal(answer):
    assert answer.json().keys() == {"code", "message", "details"}
    return answer.status_code, answer.json()["code"]


def test_without_a_session_nothing_is_answered(console):
    answer = console.http.get("/iam/v1/groups", headers={"Authorization": ""})
    assert refusal(answer) == (401, 16)
    assert refusal(console.exchange("ya29.not-a-token")) == (401, 16)


def test_a_session_is_for_its_audience_and_lasts_an_hour(console):
    token = console.exchange(console.operator, "cgr.dev").json()["token"]
    other = console.http.get("/auth/v1/ok", headers={"Authorization": f"Bearer {token}"})
    assert other.status_code == 401
    assert console.http.get("/auth/v1/ok").status_code == 200
    console.inside.clock.advance(timedelta(hours=1, seconds=1))
    assert console.http.get("/auth/v1/ok").status_code == 401


def test_the_trainee_owns_the_organisation_and_sees_no_other(console):
    who = console.http.get("/auth/v1/ok").json()
    assert [(c["group"]["name"], c["role"]["name"]) for c in who["capabilities"]] == [("example.com", "owner")]
    groups = console.http.get("/iam/v1/groups").json()["items"]
    assert [(group["name"], group["id"]) for group in groups] == [("example.com", ORGANIZATION)]
    assert len(ORGANIZATION) == 40
    assert console.http.get("/iam/v1/groups", params={"name": "chainguard"}).json() == {"items": []}


def test_an_identity_is_created_listed_and_deleted(console):
    created = console.create().json()
    assert created["id"].startswith(f"{ORGANIZATION}/")
    assert len(created["id"]) == 40 + 1 + 16
    listed = console.http.get("/iam/v1/identities", params={"uidp.descendantsOf": ORGANIZATION}).json()["items"]
    assert [item["id"] for item in listed] == [created["id"]]
    assert console.http.delete(f"/iam/v1/identities/{created['id']}").json() == {}
    assert refusal(console.http.delete(f"/iam/v1/identities/{created['id']}")) == (404, 5)


PRIVATE = json.dumps({"keys": [jwt.algorithms.RSAAlgorithm.to_jwk(KEY, as_dict=True)]})


@pytest.mark.parametrize(
    "static",
    [
        {"issuerKeys": None},
        {"issuerKeys": "no JSON"},
        {"issuerKeys": '{"keys": []}'},
        {"issuerKeys": '{"keys": [1]}'},
        {"issuerKeys": '{"keys": [{"kty": "oct", "k": "AAAA"}]}'},
        pytest.param({"issuerKeys": PRIVATE}, id="a private key"),
        {"subject": ""},
        {"expiration": "tomorrow"},
        {"expiration": "2026-01-01T00:00:00"},
        {"expiration": "2001-01-01T00:00:00Z"},
    ],
)
def test_an_identity_that_is_not_acceptable_is_refused(shared, static):
    assert refusal(shared.create(**static)) == (400, 3)


@pytest.mark.parametrize(("plan", "hours"), [("starter", 720), ("team", 168), ("other", 8760)])
def test_the_plan_limits_how_long_a_token_may_live(console, plan, hours):
    console.organizations.set_plan(plan)
    now = datetime.now(UTC)
    assert console.create(expiration=(now + timedelta(hours=hours)).isoformat()).status_code == 200
    assert refusal(console.create(expiration=(now + timedelta(hours=hours + 1)).isoformat())) == (400, 3)


def bind(console, role):
    identity = console.create().json()["id"]
    (found,) = console.http.get("/iam/v1/roles", params={"name": role}).json()["items"]
    return console.http.post(f"/iam/v1/rolebindings/{ORGANIZATION}", json={"identity": identity, "role": found["id"]})


def test_who_may_create_pull_tokens(console):
    for role in ("owner", "limited_owner", "registry.pull_token_creator"):
        console.organizations.set_role(role)
        assert bind(console, "registry.pull").status_code == 200, role
    for too_little in ("viewer", "editor", "registry.pull", None):
        console.organizations.set_role(too_little)
        assert refusal(console.create()) == (403, 7), too_little


def test_the_least_role_may_neither_list_nor_delete_what_it_made(console):
    console.organizations.set_role("registry.pull_token_creator")
    identity = console.create().json()["id"]
    assert console.http.get("/iam/v1/identities").json() == {"items": []}
    assert refusal(console.http.delete(f"/iam/v1/identities/{identity}")) == (403, 7)


def test_nobody_gives_more_than_they_hold(console):
    console.organizations.set_role("registry.pull_token_creator")
    assert refusal(bind(console, "owner")) == (403, 7)


def test_bindings_and_repositories_are_listed(console):
    bind(console, "registry.pull")
    bindings = console.http.get("/iam/v1/rolebindings").json()["items"]
    assert sorted(binding["role"]["name"] for binding in bindings) == ["owner", "registry.pull"]
    repositories = console.http.get("/registry/v1/repos", params={"uidp.childrenOf": ORGANIZATION}).json()["items"]
    assert [item["name"] for item in repositories] == ["chainguard-base", "go-fips"]
    tags = console.http.get("/registry/v1/tags", params={"uidp.childrenOf": repositories[1]["id"]}).json()["items"]
    assert [tag["name"] for tag in tags] == repositories[1]["activeTags"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'"x"', b"\xff", b"{}"])
def test_malformed_bodies_are_refused(shared, content):
    assert refusal(shared.http.post(f"/iam/v1/identities/{ORGANIZATION}", content=content)) == (400, 3)


def test_unknown_paths_and_methods_are_answered_as_a_gateway_does(console):
    assert refusal(console.http.get("/iam/v3/anything")) == (404, 5)
    assert refusal(console.http.put(f"/iam/v1/identities/{ORGANIZATION}/1", json={})) == (501, 12)
    big = console.http.post(f"/iam/v1/identities/{ORGANIZATION}", content=b"x" * (1 << 20) + b"x")
    assert refusal(big) == (400, 3)
