"""What is exchanged when a registry wants to know who asks: credentials, the challenge, the token.

It knows the forms (RFC 7235; the distribution specification's token authentication), and sends nothing.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cgrunbook.errors import ParameterError
from cgrunbook.redaction import Secret

# What docker.pkg.dev takes as the name of whoever shows an OAuth access token for a password.
ACCESS_TOKEN_USER = "oauth2accesstoken"  # noqa: S105 - a user name

_CHALLENGE_PART = re.compile(
    r'([A-Za-z0-9_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))|([A-Za-z][A-Za-z0-9_-]*)(?=\s|,|$)'
)


@dataclass(frozen=True)
class BasicCredentials:
    """A username and its password.

    Args:
        username: a pull token's "ORGANISATION_ID/TOKEN_ID", or "oauth2accesstoken".
        password: the pull token, or the access token.

    Raises:
        ParameterError: the username cannot be sent in Basic authorisation, or one of the two is empty.
    """

    username: str
    password: Secret

    def __post_init__(self) -> None:
        if not self.username or ":" in self.username or not self.username.isprintable():
            raise ParameterError(
                "A registry's username is empty, or has a colon or a control character in it.",
                "A pull token's username is ORGANISATION_ID/TOKEN_ID, as chainctl prints it.",
            )
        if not self.password:
            raise ParameterError("A registry's password is empty.", "Pass the pull token, or none at all.")

    def header(self) -> str:
        """The value of an Authorization header, a secret: to be sent and not shown."""
        pair = f"{self.username}:{self.password.reveal()}".encode()
        return f"Basic {base64.b64encode(pair).decode()}"


# Who calls: nobody, somebody, or a function where a fresh pair is needed at each exchange.
Credentials = BasicCredentials | Callable[[], BasicCredentials] | None


@dataclass(frozen=True)
class Challenge:
    """How a registry wants to be signed in to.

    Args:
        scheme: "bearer" or "basic".
        realm: the token endpoint.
        service: the service's name; "" when the registry gives none, as docker.pkg.dev's /v2/ does.
        scope: what the token is to be for; "" when the registry gives none.
    """

    scheme: str
    realm: str
    service: str
    scope: str


def parse_challenge(header: str) -> Challenge | None:
    """Read a WWW-Authenticate header, Bearer before Basic where there are several; None where none can be met."""
    challenges: list[tuple[str, dict[str, str]]] = []
    for name, quoted, plain, scheme in _CHALLENGE_PART.findall(header):
        if scheme:
            challenges.append((scheme.lower(), {}))
        elif challenges:
            challenges[-1][1].setdefault(name.lower(), re.sub(r"\\(.)", r"\1", quoted) or plain)
    for scheme, fields in challenges:
        if scheme == "bearer" and fields.get("realm"):
            return Challenge("bearer", fields["realm"], fields.get("service", ""), fields.get("scope", ""))
    return next((Challenge("basic", "", "", "") for scheme, _ in challenges if scheme == "basic"), None)


def read_token(body: bytes | None) -> Secret | None:
    """The token of an exchange's answer, as `token` or by OAuth's name for it; None where there is no usable one."""
    try:
        document: Any = json.loads(body or b"")
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    token = document.get("token") or document.get("access_token")
    if not isinstance(token, str) or not token.isascii() or not token.isprintable() or " " in token:
        return None
    return Secret(token)
