"""What Google's credentials and the proxies' addresses hold that must not be shown: told to the mask as it changes.

It knows google-auth's credentials by their attributes, and keeps none alive.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any

from cgrunbook.cloud import proxies
from cgrunbook.redaction import Secret, watch

# google-auth's names: an access token is replaced at each refresh, whoever asked for it.
_VALUES = ("token", "_id_token", "_refresh_token", "_client_secret", "_rapt_token")


def mask_what_is_held(credentials: Any) -> None:
    """Let the mask know what credentials hold, now and after each refresh, and what the environment's proxies want.

    Args:
        credentials: a `google.auth.credentials.Credentials`.
    """
    reference = weakref.ref(credentials)
    kept = [*_private_keys(credentials), *proxies.passwords()]
    _keep_subject_tokens(credentials, kept)

    def held() -> Iterator[str] | None:
        there = reference()
        if there is None:
            kept.clear()
            return None
        return _values(there)

    watch(held)


def _values(credentials: Any) -> Iterator[str]:
    for each in _with_inner(credentials):
        for name in _VALUES:
            value = getattr(each, name, None)
            if isinstance(value, str) and value:
                yield value


def _with_inner(credentials: Any) -> Iterator[Any]:
    """Credentials, and those that they are made of: impersonation has a source."""
    from google.auth.credentials import Credentials

    yield credentials
    for inner in list(vars(credentials).values()):
        # An abstract class takes its time to say no, and this is asked for each text that is masked.
        if hasattr(inner, "refresh") and isinstance(inner, Credentials):
            yield from _with_inner(inner)


def _private_keys(credentials: Any) -> Iterator[Secret]:
    """A service account's key, spelt as its file has it; google-auth keeps it in another form."""
    for each in _with_inner(credentials):
        signer: Any = getattr(each, "_signer", None)
        key = getattr(getattr(signer, "_impl", signer), "_key", None)
        if key is not None and hasattr(key, "private_bytes"):
            from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

            yield Secret(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())


def _keep_subject_tokens(credentials: Any, kept: list[Secret]) -> None:
    """Federation reads a token of somebody else's at each refresh, and forgets it."""
    for each in _with_inner(credentials):
        retrieve = getattr(each, "retrieve_subject_token", None)
        if retrieve is not None:
            each.retrieve_subject_token = _keeping(retrieve, kept)


def _keeping(retrieve: Any, kept: list[Secret]) -> Any:
    def retrieve_and_keep(*arguments: Any, **more: Any) -> Any:
        token = retrieve(*arguments, **more)
        if isinstance(token, str):
            kept.append(Secret(token))
        return token

    return retrieve_and_keep
