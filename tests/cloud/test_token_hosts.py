"""Which hosts give out tokens, by the credentials that google-auth makes of each kind of file."""

from __future__ import annotations

from typing import Any

import pytest
from google.auth import load_credentials_from_dict
from google.auth.compute_engine import Credentials as MachineCredentials
from google.auth.credentials import AnonymousCredentials

from cgrunbook.cloud.credentials import ApplicationDefault
from cgrunbook.cloud.token_hosts import token_urls

# google-auth warns of files from strangers.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

USER: dict[str, Any] = {"type": "authorized_user", "client_id": "a", "client_secret": "b", "refresh_token": "c"}
IMPERSONATION = "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/r@p.iam.gserviceaccount.com"
ACTING = {
    "type": "impersonated_service_account",
    "service_account_impersonation_url": f"{IMPERSONATION}:generateAccessToken",
    "source_credentials": USER,
}
FEDERATION: dict[str, Any] = {
    "type": "external_account",
    "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q",
    "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
    "token_url": "https://sts.googleapis.com/v1/token",
    "credential_source": {"url": "https://token.actions.example.com/id?a=b", "headers": {}},
    "service_account_impersonation_url": f"{IMPERSONATION}:generateAccessToken",
}

BY_FILE = {**FEDERATION, "credential_source": {"file": "/dev/null"}}


@pytest.mark.parametrize(
    ("content", "urls"),
    [
        (USER, ["https://oauth2.googleapis.com/token"]),
        (ACTING, ["https://oauth2.googleapis.com/token", "https://iamcredentials.googleapis.com"]),
        (
            FEDERATION,
            [
                "https://token.actions.example.com/id?a=b",
                "https://sts.googleapis.com/v1/token",
                f"{IMPERSONATION}:generateAccessToken",
            ],
        ),
        (
            BY_FILE,
            [FEDERATION["token_url"], f"{IMPERSONATION}:generateAccessToken"],
        ),
    ],
    ids=["a person", "a person who acts as a service account", "a federation by URL", "a federation by file"],
)
def test_the_hosts_are_read_off_the_credentials(content, urls):
    credentials, _ = load_credentials_from_dict(content)
    assert [*token_urls(credentials)] == urls


def test_a_machine_at_google_asks_its_metadata_server(monkeypatch):
    for name in ("GCE_METADATA_HOST", "GCE_METADATA_ROOT"):
        monkeypatch.delenv(name, raising=False)
    assert [*token_urls(MachineCredentials())] == ["http://metadata.google.internal"]
    monkeypatch.setenv("GCE_METADATA_ROOT", "127.0.0.1:9901")
    assert [*token_urls(MachineCredentials())] == ["http://127.0.0.1:9901"]
    monkeypatch.setenv("GCE_METADATA_HOST", "127.0.0.1:9902")
    assert [*token_urls(MachineCredentials())] == ["http://127.0.0.1:9902"]


def test_the_credentials_of_a_connection_say_what_google_auths_in_them_say():
    credentials, _ = load_credentials_from_dict(USER)
    assert token_urls(ApplicationDefault(credentials)) == token_urls(credentials)


def test_credentials_that_ask_nobody_name_nobody():
    assert token_urls(AnonymousCredentials()) == {}
