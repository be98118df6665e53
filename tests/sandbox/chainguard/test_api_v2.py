"""API v2, the token exchange with a service account's identity token, and what chainctl makes for it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import httpx
import jwt
import pytest

from cgrunbook.sandbox import process
from cgrunbook.sandbox.chainguard.addresses import PULL_TOKEN_ISSUER, STS_ISSUER
from cgrunbook.sandbox.chainguard.identities import Asked, Identities
from cgrunbook.sandbox.google.service_accounts import ISSUER, identity_token, unique_id
from tests.sandbox.chainguard.test_platform_api import KEY, ORGANIZATION, Console

ROBOT = "rotator@cgrunbook-sandbox.iam.gserviceaccount.com"
KEYS = json.dumps({"keys": [jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key(), as_dict=True)]})


class V2(Console):
    def __init__(self, running):
        super().__init__(running)
        self.running = running

    def get(self, path, **query):
        return self.http.get(path, params={name.replace("__", "."): value for name, value in query.items()})

    def mint(self, name="a - registry", **static):
        keys = {"issuer": PULL_TOKEN_ISSUER, "subject": "pull-token-1", "issuerKeys": KEYS} | static
        return self.http.post(f"/iam/v2/identities/{ORGANIZATION}", json={"name": name, "staticKeys": keys})

    def role(self, name):
        (found,) = self.get("/iam/v2/roles", name=name).json()["roles"]
        return found

    def assumable(self, *roles, **claims):
        match = {"issuer": ISSUER, "subject": unique_id(ROBOT)} | claims
        made = self.http.post(f"/iam/v2/identities/{ORGANIZATION}", json={"name": "robot", "claimMatch": match}).json()
        bindings = [{"identityUid": made["uid"], "roleUid": self.role(role)["uid"]} for role in roles]
        if bindings:
            requests = [{"parent": ORGANIZATION, "roleBinding": binding} for binding in bindings]
            batch = {"parent": ORGANIZATION, "requests": requests}
            assert self.http.post("/iam/v2/roleBindings:batchCreate", json=batch).status_code == 200
        return made["uid"]

    def assume(self, identity, token=None, at="issuer.enforce.dev"):
        token = token or identity_token(self.inside, ROBOT, STS_ISSUER)
        form = {"aud": "https://console-api.enforce.dev", "identity": identity}
        with httpx.Client(trust_env=False) as asking:
            address = f"http://{self.running.hosts[at]}/sts/exchange"
            return asking.post(address, data=form, headers={"Authorization": f"Bearer {token}"})

    def as_robot(self, *roles):
        session = self.assume(self.assumable(*roles)).json()["token"]
        self.http.headers["Authorization"] = f"Bearer {session}"

    def sign_in_again(self):
        self.http.headers["Authorization"] = f"Bearer {self.exchange(self.operator).json()['token']}"


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    home = tmp_path_factory.mktemp("v2")
    there = V2(process.start(home, iam_delay=0.0, agent_delay=0.0))
    yield there
    there.http.close()
    there.inside.state.close()
    process.stop(home)


@pytest.fixture
def v2(opened):
    opened.sign_in_again()
    yield opened
    opened.organizations.set_role("owner")
    opened.organizations.set_plan("other")
    opened.sign_in_again()
    for kind in ("identities", "roles"):
        for one in opened.get(f"/iam/v2/{kind}", uidp__childrenOf=ORGANIZATION).json().get(kind, []):
            opened.http.delete(f"/iam/v2/{kind}/{one['uid']}")


def refusal(answer):
    detail = answer.json()["details"][0]
    assert detail["@type"].endswith("ErrorInfo")
    assert detail["domain"] == "iam.chainguard.dev"
    return answer.status_code, detail["reason"]


def test_a_pull_token_is_made_listed_and_revoked_with_v2s_names(v2):
    made = v2.mint(expirationTime=(v2.inside.clock.now() + timedelta(hours=1)).isoformat()).json()
    assert made["uid"].startswith(f"{ORGANIZATION}/")
    assert made["staticKeys"].keys() == {"issuer", "subject", "issuerKeys", "expirationTime"}
    assert made["lastSeenTime"] == made["createTime"]
    static = {"uidp.descendants_of": ORGANIZATION, "relationship_type": "RELATIONSHIP_TYPE_STATIC"}
    assert v2.http.get("/iam/v2/identities", params=static).json()["identities"] == [made]
    assert v2.get("/iam/v1/identities").json()["items"][0]["id"] == made["uid"]
    assert v2.get(f"/iam/v2/identities/{made['uid']}").json() == made
    assert v2.http.delete(f"/iam/v2/identities/{made['uid']}").json() == {}
    assert refusal(v2.http.delete(f"/iam/v2/identities/{made['uid']}")) == (404, "NOT_FOUND")
    assert v2.http.get("/iam/v2/identities", params=static).json() == {"totalCount": "0", "skipped": 0}


def test_lists_come_in_pages_and_an_ended_page_token_begins_again(v2):
    made = sorted(v2.mint(f"token {number}").json()["uid"] for number in range(5))
    seen, token = [], ""
    while True:
        page = v2.get("/iam/v2/identities", uidp__childrenOf=ORGANIZATION, pageSize=2, page_token=token).json()
        seen += [identity["uid"] for identity in page["identities"]]
        assert page["totalCount"] == "5"
        if not (token := page.get("nextPageToken", "")):
            break
    assert seen == made
    again = v2.get("/iam/v2/identities", uidp__childrenOf=ORGANIZATION, pageToken="ended!").json()
    assert len(again["identities"]) == 5


def test_who_may_not_list_is_refused_by_v2_and_told_nothing_by_v1(v2):
    v2.organizations.set_role("registry.pull_token_creator")
    assert v2.get("/iam/v1/identities", uidp__descendantsOf=ORGANIZATION).json() == {"items": []}
    for query in ({"uidp__descendantsOf": ORGANIZATION}, {}):
        assert refusal(v2.get("/iam/v2/identities", **query)) == (403, "PERMISSION_DENIED")
    assert v2.get("/iam/v1/rolebindings").json() == {"items": []}
    assert refusal(v2.get("/iam/v2/roleBindings")) == (403, "PERMISSION_DENIED")


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("identities", {}, "name"),
        ("identities", {"name": "Upper", "staticKeys": {}}, "name"),
        ("identities", {"name": "a" * 64, "staticKeys": {}}, "name"),
        ("identities", {"name": "token", "staticKeys": {"issuer": "https://x"}}, "staticKeys.subject"),
        ("identities", {"name": "token", "claimMatch": {"issuer": "https://x"}}, "claimMatch.subject"),
        ("roles", {"name": "own", "capabilities": []}, "capabilities"),
        ("roles", {"name": "own", "capabilities": ["identity.list"]}, "capabilities"),
        ("roleBindings", {"identityUid": "x"}, "role_binding"),
    ],
)
def test_what_is_not_acceptable_is_refused_with_the_field(v2, path, body, field):
    answer = v2.http.post(f"/iam/v2/{path}/{ORGANIZATION}", json=body)
    assert refusal(answer) == (400, "INVALID_ARGUMENT")
    assert answer.json()["details"][1]["fieldViolations"][0]["field"] == field


def test_a_role_of_ones_own_lets_an_assumed_identity_list_and_delete_what_the_least_role_makes(v2):
    v2.as_robot("registry.pull_token_creator")
    made = v2.mint().json()["uid"]
    assert refusal(v2.get("/iam/v2/identities", uidp__descendantsOf=ORGANIZATION)) == (403, "PERMISSION_DENIED")
    v2.sign_in_again()
    own = {"name": "prune", "capabilities": ["CAP_IAM_IDENTITY_LIST", "CAP_IAM_IDENTITY_DELETE"]}
    role = v2.http.post(f"/iam/v2/roles/{ORGANIZATION}", json=own).json()
    assert role["capabilities"] == sorted(own["capabilities"])
    assert v2.http.post(f"/iam/v2/roles/{ORGANIZATION}", json=own).status_code == 409
    v2.as_robot("registry.pull_token_creator", "prune")
    listed = v2.get("/iam/v2/identities", uidp__descendantsOf=ORGANIZATION).json()["identities"]
    assert made in [identity["uid"] for identity in listed]
    assert v2.http.delete(f"/iam/v2/identities/{made}").status_code == 200
    v2.sign_in_again()
    assert refusal(v2.http.delete(f"/iam/v2/roles/{role['uid']}")) == (400, "FAILED_PRECONDITION")


def test_a_batch_of_bindings_is_made_whole_or_not_at_all(v2):
    identity, pull = v2.mint().json()["uid"], v2.role("registry.pull")["uid"]
    good = {"parent": ORGANIZATION, "roleBinding": {"identityUid": identity, "roleUid": pull}}
    bad = {"parent": ORGANIZATION, "roleBinding": {"identityUid": f"{ORGANIZATION}/0", "roleUid": pull}}

    def post(*requests, **more):
        body = {"parent": ORGANIZATION, "requests": list(requests)} | more
        return v2.http.post("/iam/v2/roleBindings:batchCreate", json=body)

    def bound():
        return v2.get("/iam/v2/roleBindings", identity=identity).json().get("roleBindings", [])

    assert refusal(post(good, bad)) == (404, "NOT_FOUND")
    assert refusal(post(good, roleUid="another")) == (400, "INVALID_ARGUMENT")
    assert refusal(post(*[good] * 26)) == (400, "INVALID_ARGUMENT")
    assert bound() == []
    (made,) = post(good).json()["roleBindings"]
    assert bound() == [made]
    assert (made["identity"]["uid"], made["role"]["name"], made["group"]["name"]) == (
        identity,
        "registry.pull",
        "example.com",
    )
    for _ in range(2):  # one that is not there is no error
        assert v2.http.delete(f"/iam/v2/roleBindings/{made['uid']}").json() == {}


def test_an_identity_is_assumed_with_a_token_of_its_claims_and_no_other(v2):
    identity = v2.assumable("registry.pull_token_creator")
    answer = v2.assume(identity)
    assert answer.json().keys() == {"token", "refreshToken", "expiry"}
    who = v2.http.get("/auth/v1/ok", headers={"Authorization": f"Bearer {answer.json()['token']}"}).json()
    assert who["subject"] == identity
    assert [entry["role"]["name"] for entry in who["capabilities"]] == ["registry.pull_token_creator"]
    assert v2.assume(identity, at="console-api.enforce.dev").status_code == 200
    other = ROBOT.replace("rotator", "another")
    for token in (
        identity_token(v2.inside, other, STS_ISSUER),
        identity_token(v2.inside, ROBOT, "https://another.example.com"),
        identity_token(v2.inside, ROBOT, STS_ISSUER) + "x",
        answer.json()["token"],
    ):
        assert v2.assume(identity, token).status_code == 401
    assert v2.assume("").status_code == 401
    assert v2.assume(f"{ORGANIZATION}/{'0' * 16}").status_code == 401
    assert v2.assume(v2.assumable(audience="another")).status_code == 401
    token = identity_token(v2.inside, ROBOT, STS_ISSUER)
    v2.inside.clock.advance(timedelta(hours=1, seconds=1))
    assert v2.assume(identity, token).status_code == 401


def test_google_gives_an_identity_token_of_a_service_account_to_who_may_have_one(v2):
    def ask(caller, account=ROBOT, body={"audience": STS_ISSUER, "includeEmail": True}):  # noqa: B006 - not changed
        address = f"http://{v2.running.hosts['iamcredentials.googleapis.com']}"
        path = f"/v1/projects/-/serviceAccounts/{account}:generateIdToken"
        token = {"Authorization": f"Bearer {v2.inside.tokens.issue(caller)}"}
        return httpx.post(address + path, json=body, headers=token, trust_env=False)

    token = ask(f"serviceAccount:{ROBOT}").json()["token"]
    claims = jwt.decode(token, options={"verify_signature": False})
    assert (claims["iss"], claims["aud"], claims["email"]) == (ISSUER, STS_ISSUER, ROBOT)
    iam = f"http://{v2.running.hosts['iam.googleapis.com']}/v1/projects/-/serviceAccounts/{ROBOT}"
    account = httpx.get(iam, headers={"Authorization": f"Bearer {v2.operator}"}, trust_env=False).json()
    assert claims["sub"] == account["uniqueId"]
    refused = ask("user:trainee@example.com").json()["error"]  # an owner may not: Google's role has no such permission
    assert refused["details"][0]["metadata"]["permission"] == "iam.serviceAccounts.getOpenIdToken"
    assert ask(f"serviceAccount:{ROBOT}", "nobody@example.com").status_code == 404
    assert ask(f"serviceAccount:{ROBOT}", body={}).status_code == 400


@pytest.mark.parametrize(("plan", "hours"), [("starter", 720), ("team", 168), ("other", 8760)])
@pytest.mark.parametrize("clamped", [False, True])
def test_a_life_above_the_plans_limit_is_refused_or_shortened(v2, plan, hours, clamped):
    v2.organizations.set_plan(plan)
    inside = v2.inside
    inside.settings, before = replace(inside.settings, ttl_clamped=clamped), inside.settings
    try:
        identities = Identities(inside, v2.organizations)
    finally:
        inside.settings = before
    now = inside.clock.now()
    end = (now + timedelta(hours=hours + 1)).isoformat()
    asked = Asked(
        "token", "", PULL_TOKEN_ISSUER, "s", None, KEYS, end, timedelta(days=365), "staticKeys.expirationTime"
    )
    if clamped:
        made = identities.create(v2.organizations.trainee, ORGANIZATION, asked)
        assert made["expiration"] == pytest.approx((now + timedelta(hours=hours)).timestamp(), abs=60)
    else:
        refused = v2.mint(expirationTime=end)
        assert refusal(refused) == (400, "INVALID_ARGUMENT")
        assert f"{hours}h" in refused.json()["message"]


def test_an_identity_was_seen_when_its_token_was_used_at_the_registry_or_exchanged(v2):
    identity = v2.assumable("registry.pull")
    token = v2.mint().json()

    def seen(uid):
        return v2.get(f"/iam/v2/identities/{uid}").json()["lastSeenTime"]

    before = seen(identity), seen(token["uid"])
    v2.inside.clock.advance(timedelta(minutes=5))
    v2.sign_in_again()
    now = int(v2.inside.clock.now().timestamp())
    claims = {"iss": PULL_TOKEN_ISSUER, "aud": STS_ISSUER, "sub": "pull-token-1", "iat": now, "exp": now + 600}
    password = jwt.encode(claims, KEY, algorithm="RS256")
    pull = v2.role("registry.pull")["uid"]
    v2.http.post(f"/iam/v2/roleBindings/{ORGANIZATION}", json={"identityUid": token["uid"], "roleUid": pull})
    cgr = (
        f"http://{v2.running.hosts['cgr.dev']}/token?service=cgr.dev&scope=repository:example.com/chainguard-base:pull"
    )
    assert httpx.get(cgr, auth=(token["uid"], "not the password"), trust_env=False).status_code == 403
    assert seen(token["uid"]) == before[1]
    assert httpx.get(cgr, auth=(token["uid"], password), trust_env=False).status_code == 200
    assert v2.assume(identity).status_code == 200
    assert seen(identity) > before[0]
    assert seen(token["uid"]) > before[1]


def test_a_persons_identity_is_looked_up_before_it_is_there(v2):
    found = v2.get("/iam/v2/identities:lookupIdentity", issuer=ISSUER, subject="1").json()["uid"]
    assert len(found) == 40
    assert v2.get("/iam/v2/identities:lookupIdentity", issuer=ISSUER, subject="1").json()["uid"] == found
    assert refusal(v2.get("/iam/v2/identities:lookupIdentity", issuer=ISSUER)) == (400, "INVALID_ARGUMENT")
