"""Who calls is said by whoever really knows, asked once, and never guessed."""

from __future__ import annotations

import json
from types import SimpleNamespace

import jwt
import pytest
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import RefreshError, TransportError

from cgrunbook.cloud.caller import UNKNOWN, Caller, member, said_by, spoken, to_fill_in
from cgrunbook.errors import ServiceError

ROBOT = "robot@p.iam.gserviceaccount.com"


class Google:
    """The token's host: how it answers, and what it was asked."""

    def __init__(self, monkeypatch):
        self.told: object = {"email": "ada@example.com"}
        self.asked: list[tuple[str, bytes]] = []
        monkeypatch.setattr("cgrunbook.cloud.sessions.AuthRequest", lambda: self)

    def __call__(self, url, *, body, timeout, **_):
        self.asked.append((url, body))
        assert timeout < 10
        if isinstance(self.told, Exception):
            raise self.told
        data = self.told if isinstance(self.told, bytes) else json.dumps(self.told).encode()
        return SimpleNamespace(data=data)


@pytest.fixture
def google(monkeypatch):
    return Google(monkeypatch)


class Credentials(AnonymousCredentials):
    """What google-auth has, in the one field or the other; refreshed by hand."""

    def __init__(self, **source):
        super().__init__()
        self.source = SimpleNamespace(**source)
        self.refreshed = 0
        self.problem = None
        self.after: dict[str, object] = {}

    @property
    def valid(self):
        return self.refreshed > 0

    def refresh(self, _):
        if self.problem:
            raise self.problem
        self.refreshed += 1
        self.token = "t/+="
        vars(self.source).update(self.after)


def id_token(**claims):
    return jwt.encode(claims, "k" * 32, algorithm="HS256")


def test_a_key_or_an_impersonation_says_so_without_a_token(google):
    credentials = Credentials(service_account_email=ROBOT)
    assert Caller(credentials)() == f"serviceAccount:{ROBOT}"
    assert (credentials.refreshed, google.asked) == (0, [])


def test_a_machine_is_known_when_it_has_its_token(google):
    credentials = Credentials(service_account_email="default")
    credentials.after = {"service_account_email": ROBOT}
    assert Caller(credentials)() == f"serviceAccount:{ROBOT}"
    assert google.asked == []


def test_a_person_is_known_by_what_came_with_the_token(google):
    credentials = Credentials(id_token=None)
    credentials.after = {"id_token": id_token(email="ada@example.com")}
    assert Caller(credentials)() == "user:ada@example.com"
    assert google.asked == []


def test_google_is_asked_once_where_nothing_came_with_the_token(google):
    caller = Caller(Credentials(id_token=None))
    assert [caller(), caller()] == ["user:ada@example.com"] * 2
    assert google.asked == [("https://oauth2.googleapis.com/tokeninfo", b"access_token=t%2F%2B%3D")]


def test_gclouds_session_that_acts_as_a_service_account_is_that_account(google):
    google.told = {"email": ROBOT}
    assert Caller(Credentials())() == f"serviceAccount:{ROBOT}"


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"error": "invalid_token"},
        {"email": None},
        {"email": ""},
        [],
        7,
        b"<html>",
        b"\xff",
        TransportError("away"),
        ServiceError("The certificate is not trusted."),
    ],
)
def test_nobody_is_guessed_and_nobody_asked_again_where_google_does_not_say(google, told):
    google.told = told
    caller = Caller(Credentials())
    assert [caller(), caller()] == [UNKNOWN] * 2
    assert len(google.asked) == 1


@pytest.mark.parametrize("problem", [RefreshError("revoked"), ServiceError("The certificate is not trusted.")])
def test_without_a_token_nobody_is_known_until_there_is_one(google, problem):
    credentials = Credentials()
    credentials.problem = problem
    caller = Caller(credentials)
    assert caller() == UNKNOWN
    assert google.asked == []
    credentials.problem = None
    assert caller() == "user:ada@example.com"


@pytest.mark.parametrize("identity", [None, "", "no JWT", 7, id_token(sub="1"), id_token(email=7)])
def test_an_identity_token_that_names_nobody_is_none(identity):
    assert said_by(SimpleNamespace(id_token=identity)) == ""


def test_a_pods_own_identity_is_a_principal():
    found = said_by(SimpleNamespace(service_account_email="p.svc.id.goog"))
    assert found.startswith("principal://iam.googleapis.com/projects/PROJECT_NUMBER/")
    assert "in capitals" in to_fill_in(found)


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("ada@example.com", "user:ada@example.com"),
        ("1-compute@developer.gserviceaccount.com", "serviceAccount:1-compute@developer.gserviceaccount.com"),
        ("p@appspot.gserviceaccount.com", "serviceAccount:p@appspot.gserviceaccount.com"),
        ("gserviceaccount.com@example.com", "user:gserviceaccount.com@example.com"),
        ("default", ""),
        ("", ""),
    ],
)
def test_an_address_is_a_member(address, found):
    assert member(address) == found


def test_what_is_known_needs_no_filling_in_and_what_is_not_says_so():
    assert (spoken("user:ada@example.com"), to_fill_in("user:ada@example.com")) == ("ada@example.com", "")
    assert spoken(UNKNOWN) == "an account that Google does not name"
    assert UNKNOWN in to_fill_in(UNKNOWN)
    assert spoken("principal://x/subject/SUBJECT") == "principal://x/subject/SUBJECT"
