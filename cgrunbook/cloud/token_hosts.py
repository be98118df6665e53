"""Which hosts give out the access tokens of Google credentials, read off the credentials; it asks none of them.

What they are for is in google-auth's documentation; where they are, only its objects say.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cgrunbook.cloud.proxies import metadata_host

OAUTH2 = "oauth2.googleapis.com"


def token_urls(credentials: Any) -> dict[str, str]:
    """Where google-auth asks for tokens.

    Args:
        credentials: a `google.auth.credentials.Credentials`.

    Returns:
        What for, by URL, in the order in which they are asked; empty where none of them says.
    """
    return {url: purpose for url, purpose in _asked(credentials) if url.startswith("http")}


def _asked(credentials: Any) -> Iterator[tuple[str, str]]:
    from google.auth import compute_engine, impersonated_credentials

    credentials = getattr(credentials, "source", credentials)  # those of a connection hold google-auth's
    if isinstance(credentials, compute_engine.Credentials):
        yield f"http://{metadata_host()}", "this machine's access tokens"
    if isinstance(credentials, impersonated_credentials.Credentials):
        yield from _asked(credentials._source_credentials)  # noqa: SLF001
        yield f"https://iamcredentials.{credentials.universe_domain}", "acting as a service account"
    source = getattr(credentials, "_credential_source", None)
    if isinstance(source, dict):
        yield str(source.get("url", "")), "the token that is exchanged"
    for attribute, purpose in (
        ("_token_uri", "access tokens"),
        ("_token_url", "exchanging tokens"),
        ("_service_account_impersonation_url", "acting as a service account"),
    ):
        yield str(getattr(credentials, attribute, None) or ""), purpose
