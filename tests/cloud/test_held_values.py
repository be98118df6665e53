"""What google-auth and the environment hold is masked without anybody having called it a secret."""

from __future__ import annotations

import base64
import gc
import secrets
from dataclasses import dataclass

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from google.auth import external_account, impersonated_credentials
from google.oauth2 import credentials as user
from google.oauth2 import service_account

from cgrunbook import redaction
from cgrunbook.cloud import connection
from cgrunbook.cloud.held_values import mask_what_is_held
from cgrunbook.redaction import MASK, mask


def opaque() -> str:
    """A value of no known shape."""
    return secrets.token_hex(24)


def persons() -> user.Credentials:
    return user.Credentials(
        None,
        refresh_token=opaque(),
        client_id="gcloud",
        client_secret=opaque(),
        token_uri="https://oauth2.googleapis.com/token",
    )


def test_a_persons_refresh_token_and_client_secret_and_each_access_token_are_known():
    credentials = persons()
    mask_what_is_held(credentials)
    credentials.token = first = opaque()
    assert (
        mask(f"send: {first} {credentials.refresh_token}&{credentials.client_secret}") == f"send: {MASK} {MASK}&{MASK}"
    )
    credentials.token = second = opaque()
    pair = base64.b64encode(f"oauth2accesstoken:{second}".encode()).decode()
    assert second[:-2].encode().hex() not in mask(second.encode().hex())
    assert pair[40:60] not in mask(pair)
    assert mask(first) == MASK


def test_an_impersonations_source_is_looked_into():
    source = persons()
    account, scopes = "robot@my-project.iam.gserviceaccount.com", ["https://www.googleapis.com/auth/cloud-platform"]
    credentials = impersonated_credentials.Credentials(source, account, scopes)
    mask_what_is_held(credentials)
    inner = credentials._source_credentials
    inner.token = opaque()
    assert mask(f"{inner.token} {inner.refresh_token}") == f"{MASK} {MASK}"


def test_a_service_accounts_key_is_known_line_by_line():
    key = (
        rsa.generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    )
    credentials = service_account.Credentials.from_service_account_info(
        {"client_email": "robot@example.com", "token_uri": "https://oauth2.googleapis.com/token", "private_key": key}
    )
    mask_what_is_held(credentials)
    for line in key.splitlines()[1:-1]:
        if len(line) == 64:
            assert mask(f"line: {line}") == f"line: {MASK}"


def test_a_federations_subject_token_is_known_once_it_was_read():
    subject = opaque()

    class Federation(external_account.Credentials):
        def retrieve_subject_token(self, request):
            return subject

    credentials = Federation(
        audience="//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q",
        subject_token_type="urn:ietf:params:oauth:token-type:jwt",
        token_url="https://sts.googleapis.com/v1/token",
        credential_source={"file": "/token"},
    )
    mask_what_is_held(credentials)
    assert mask(subject) == subject
    assert credentials.retrieve_subject_token(None) == subject
    assert mask(f"a traceback with {subject[:30]}") == f"a traceback with {MASK}"


def test_a_proxys_password_is_known_as_it_is_and_as_it_is_sent(monkeypatch):
    password = f"p#{secrets.token_hex(12)}"
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:{password.replace('#', '%23')}@proxy.example.com:3128")
    credentials = persons()
    mask_what_is_held(credentials)
    sent = base64.b64encode(f"me:{password}".encode()).decode()
    assert sent[8:] not in mask(f"Proxy-Authorization {sent}")
    assert password not in mask(f"password is {password}")
    assert credentials


def test_credentials_that_are_gone_are_asked_no_more():
    credentials = persons()
    mask_what_is_held(credentials)
    count = len(redaction._known._sources)
    del credentials
    gc.collect()
    mask("something")
    assert len(redaction._known._sources) < count


@pytest.mark.parametrize("target", ["sandbox", "google-cloud"])
def test_each_connection_has_its_credentials_known(monkeypatch, target):
    credentials = persons()
    world = {"sandbox": "_sandbox", "google-cloud": "_google_cloud"}[target]

    @dataclass(frozen=True)
    class Made:
        credentials: user.Credentials
        chainguard: object = None

    monkeypatch.setattr(connection, world, lambda *_: Made(credentials))
    connection.connect(target)
    assert mask(str(credentials.refresh_token)) == MASK
