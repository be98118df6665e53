"""What Chainguard's API answers, well and badly, and what a person is told then."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, Self
from unittest.mock import patch

import jwt
import pytest
import requests

from cgrunbook.cloud import Attempts, ChainguardAccess, sessions
from cgrunbook.cloud.chainguard_api import PullTokens
from cgrunbook.cloud.chainguard_session import OfServiceAccount
from cgrunbook.errors import (
    AlreadyExists,
    CgrunbookError,
    ChainguardFailed,
    ChainguardSignedOut,
    MalformedToken,
    NotFound,
    PermissionMissing,
    Temporary,
    WrongState,
)
from cgrunbook.redaction import Secret
from tests.sandboxes import one_key

ORGANIZATION = "a" * 40
TOKEN = f"{ORGANIZATION}/{'b' * 16}"


class Answers:
    """A session of requests that answers by the path, the first whose words are in it, and keeps what it was sent."""

    def __init__(self) -> None:
        self.by: list[tuple[str, int, Any]] = []
        self.sent: list[tuple[str, str, Any]] = []

    def say(self, words: str, document: Any, status: int = 200) -> None:
        self.by.insert(0, (words, status, document))

    def request(self, method: str, url: str, **more: Any) -> requests.Response:
        self.sent.append((method, url, more.get("json") or more.get("data")))
        status, document = next((status, said) for words, status, said in self.by if words in f"{method} {url}")
        answer = requests.Response()
        answer.status_code = status
        answer._content = document if isinstance(document, bytes) else json.dumps(document).encode()
        return answer

    def post(self, url: str, **more: Any) -> requests.Response:
        return self.request("POST", url, **more)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...


class Session:
    account, sign_in, more_rights = "robot@example.com", "look at the identity", "identity.list is needed"

    def token(self) -> Secret:
        return Secret("a session's token")

    def forget(self) -> None: ...


CONNECTION: Any = SimpleNamespace(
    chainguard_api="https://api",
    chainguard_sts="https://sts",
    chainguard=ChainguardAccess("service-account", TOKEN, "robot@example.com"),
    credentials=None,
    target="google-cloud",
    lost=Temporary,
)


@pytest.fixture
def answers() -> Iterator[Answers]:
    said = Answers()
    said.say("GET https://api/iam/v2/groups", {"groups": [{"uid": ORGANIZATION, "name": "example.com"}]})
    said.say("GET https://api/iam/v2/roles", {"roles": [{"uid": "c" * 40, "name": "registry.pull"}]})
    said.say("POST https://api/iam/v2/roleBindings:batchCreate", {"roleBindings": []})
    said.say("DELETE", {})
    with patch.object(sessions, "session", lambda: said), one_key():
        yield said


@pytest.fixture
def door(answers: Answers) -> PullTokens:
    return PullTokens(CONNECTION, Attempts(limit=0), Session())


def made(**more: Any) -> dict[str, Any]:
    now = datetime.now(UTC)
    keys = {"expirationTime": (now + timedelta(hours=1)).isoformat()}
    return {"uid": TOKEN, "createTime": now.isoformat(), "staticKeys": keys} | more


REFUSALS = {
    "signed out": (401, {"code": 16, "message": "no"}, ChainguardSignedOut, "look at the identity"),
    "not allowed": (403, {"code": 7, "message": "no"}, PermissionMissing, "identity.list"),
    "not there": (404, {"code": 5, "message": "no"}, NotFound, "chainctl iam identities list"),
    "there already": (409, {"code": 6, "message": "no"}, AlreadyExists, "another name"),
    "depended on": (400, {"code": 9, "message": "no"}, WrongState, "depends"),
    "over its quota": (429, {"code": 8, "message": "no"}, Temporary, "Run again"),
    "away": (503, b"<html>away</html>", Temporary, "Run again"),
    "not acceptable": (400, {"code": 3, "message": "no"}, ChainguardFailed, "newer cgrunbook"),
    "a page": (200, b"<html>sign in</html>", ChainguardFailed, ""),
    "a list": (200, [], ChainguardFailed, ""),
    "a redirect": (302, b"", ChainguardFailed, ""),
    "details of another form": (
        400,
        {"code": 3, "message": 5, "details": [7, {"fieldViolations": [8]}]},
        ChainguardFailed,
        "",
    ),
}


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
def test_a_refusal_is_a_sentence_with_what_helps(answers, door, refusal):
    status, document, kind, remedy = refusal
    answers.say("GET https://api/iam/v2/identities", document, status)
    with pytest.raises(CgrunbookError) as raised:
        door.list_pull_tokens(ORGANIZATION)
    assert type(raised.value) is kind
    assert remedy in raised.value.remedy
    assert str(status) in raised.value.message
    assert "a session's token" not in str(raised.value)


@pytest.mark.parametrize("entries", [{"identities": {}}, {"identities": [1]}, {"identities": [{"name": "no id"}]}])
def test_a_list_that_is_none_is_said_to_be_none(answers, door, entries):
    answers.say("GET https://api/iam/v2/identities", entries)
    with pytest.raises(ChainguardFailed, match="no list of identities"):
        door.list_pull_tokens(ORGANIZATION)


def test_what_is_no_pull_token_is_not_listed_and_what_lacks_times_is(answers, door):
    ours = {"uid": TOKEN, "staticKeys": {"issuer": "https://pulltoken.issuer.chainguard.dev"}}
    other = {"uid": TOKEN.replace("b", "d"), "name": "a cluster", "staticKeys": {"issuer": "https://kind.example.com"}}
    answers.say("GET https://api/iam/v2/identities", {"identities": [ours, other, {"uid": "x", "claimMatch": {}}]})
    [listed] = door.list_pull_tokens(ORGANIZATION)
    assert (listed.id, listed.name, listed.expires, listed.last_seen) == (TOKEN, "", None, None)


def test_a_folder_of_the_organisations_name_is_not_taken_for_it(answers, door):
    folder = {"uid": TOKEN, "name": "example.com"}
    answers.say("GET https://api/iam/v2/groups", {"groups": [folder, {"uid": ORGANIZATION, "name": "example.com"}]})
    assert door.group("example.com") == ORGANIZATION
    answers.say("GET https://api/iam/v2/groups", {"groups": [folder]})
    with pytest.raises(ChainguardFailed, match=r"no organisation named another\.com"):
        door.group("another.com")


def test_an_identity_of_another_form_is_taken_away_again(answers, door):
    """One of a folder has no images, and no registry would take it."""
    answers.say("POST https://api/iam/v2/identities", made(uid=f"{TOKEN}/{'e' * 16}"))
    with pytest.raises(MalformedToken):
        door.create_pull_token(ORGANIZATION, "token", "1h")
    assert answers.sent[-1][:2] == ("DELETE", f"https://api/iam/v2/identities/{TOKEN}/{'e' * 16}")


@pytest.mark.parametrize("ahead", [timedelta(days=3), timedelta(days=-3)])
def test_where_the_clocks_differ_a_token_begins_when_chainguard_says(answers, door, ahead):
    created = datetime.now(UTC) + ahead
    keys = {"expirationTime": (datetime.now(UTC) + timedelta(days=30)).isoformat()}
    answers.say("POST https://api/iam/v2/identities", made(createTime=created.isoformat(), staticKeys=keys))
    token = door.create_pull_token(ORGANIZATION, "token", "720h")
    claims = jwt.decode(token.password.reveal(), options={"verify_signature": False})
    assert claims["iat"] == int(created.timestamp())
    assert token.expires <= min(datetime.fromisoformat(keys["expirationTime"]), created + timedelta(hours=720))


def test_only_the_public_half_of_the_key_is_sent(answers, door):
    answers.say("POST https://api/iam/v2/identities", made())
    door.create_pull_token(ORGANIZATION, "token", "1h", "what for")
    [body] = [body for method, url, body in answers.sent if (method, "identities" in url) == ("POST", True)]
    assert body["name"] == "token - registry"
    [key] = json.loads(body["staticKeys"]["issuerKeys"])["keys"]
    assert key.keys() == {"kty", "key_ops", "n", "e", "alg", "use"}
    assert body["staticKeys"].keys() == {"issuer", "subject", "issuerKeys", "expirationTime"}


def test_an_organisations_own_role_of_the_platforms_name_is_not_bound(answers, door):
    answers.say("GET https://api/iam/v2/roles", {"roles": [{"uid": TOKEN, "name": "registry.pull"}]})
    with pytest.raises(ChainguardFailed, match=r"no role registry\.pull"):
        door.create_pull_token(ORGANIZATION, "token", "1h")
    assert not any(method == "POST" for method, _, _ in answers.sent)


@pytest.mark.parametrize(
    ("status", "document", "kind"),
    [
        (401, {"message": "Identity not found"}, ChainguardSignedOut),
        (403, {"message": "no"}, ChainguardSignedOut),
        (200, {}, ChainguardFailed),
        (200, b"<html>", ChainguardFailed),
        (302, b"", ChainguardSignedOut),
        (500, b"", Temporary),
    ],
)
def test_an_exchange_that_gives_no_session_is_a_sentence(answers, status, document, kind):
    answers.say("POST https://sts/sts/exchange", document, status)
    session = OfServiceAccount(CONNECTION, Attempts(limit=0))
    shown = jwt.encode({"email": "robot@example.com"}, "k" * 32, algorithm="HS256")
    with (
        patch.object(OfServiceAccount, "identity_token", lambda _: Secret(shown)),
        pytest.raises(kind, match=r"robot@example\.com"),
    ):
        session.token()
    assert answers.sent[-1][2] == {"aud": "https://console-api.enforce.dev", "identity": TOKEN}


def test_a_session_is_kept_until_it_ends_soon(answers):
    def session_of(seconds: int) -> str:
        return jwt.encode({"iat": 0, "exp": seconds}, "k" * 32, algorithm="HS256")

    with patch.object(OfServiceAccount, "identity_token", lambda _: Secret("a.b.c")):
        for seconds, exchanges in ((3600, 1), (60, 2)):
            answers.sent.clear()
            answers.say("POST https://sts/sts/exchange", {"token": session_of(seconds)})
            session = OfServiceAccount(CONNECTION, Attempts(limit=0))
            session.token()
            session.token()
            assert len(answers.sent) == exchanges
