"""What a pull token is: its two values, their form, and what the password says about itself.

It knows the forms that chainctl prints and the claims of the JWT. It runs nothing and asks nobody.
"""

from __future__ import annotations

import base64
import json
import re
import shlex
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cgrunbook.errors import MalformedToken
from cgrunbook.redaction import Secret

# ORGANISATION_ID/TOKEN_ID: a UID of 20 bytes, then one of 8, in hex.
_USERNAME = re.compile(r"[0-9a-f]{40}/[0-9a-f]{16}")
_JWT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_LOGIN_LINE = re.compile(r"^\s*docker\s+login\s.*$", re.MULTILINE)


@dataclass(frozen=True)
class PullToken:
    """A username and password with which an organisation's images can be pulled.

    Args:
        username: "ORGANISATION_ID/TOKEN_ID": the Chainguard identity's id, new with each token.
        password: a JWT.
        expires: when the registry stops taking it.
        issued: when it was made; None where the JWT does not say.
    """

    username: str
    password: Secret
    expires: datetime
    issued: datetime | None

    @classmethod
    def checked(cls, username: str, password: Secret) -> PullToken:
        """Check both values' form, and read the expiry from the JWT; its signature is not checked, the key is gone.

        Args:
            username: as chainctl printed it.
            password: as chainctl printed it.

        Returns:
            The token.

        Raises:
            MalformedToken: one of the two has another form; says which and how, never the value of the password.
        """
        if not _USERNAME.fullmatch(username):
            raise _malformed(
                "username", "is not ORGANISATION_ID/TOKEN_ID, 40 and 16 hex digits", "a token of a folder has no images"
            )
        value = password.reveal()
        if not value.strip():
            raise _malformed(
                "password", "is empty" if not value else "is empty but for a line break or a space", reason="empty"
            )
        if value != value.strip() or any(character.isspace() for character in value):
            wrong = "has a space or a line break in it"
            raise _malformed("password", wrong, "the registry would refuse it", reason="white-space")
        if not _JWT.fullmatch(value):
            if _JWT.fullmatch(_unpacked(value)):
                raise _malformed("password", "is a JWT in base64", "it is kept as it is", reason="base64")
            raise _malformed("password", "is not a JWT")
        claims = _claims(value)
        expires, issued = _moment(claims.get("exp")), _moment(claims.get("iat"))
        if expires is None:
            raise _malformed("password", "is a JWT that does not say when it expires")
        return cls(username, password, expires, issued)

    def expired(self, now: datetime) -> bool:
        """Whether the registry has stopped taking it.

        Args:
            now: the time to compare with, aware.

        Returns:
            True from the moment of expiry on.
        """
        return now >= self.expires


def read_pull_token(output: str) -> PullToken | None:
    """Find a pull token in what chainctl printed.

    Args:
        output: the JSON of `-o json`, or the `docker login` line of old versions; other lines around them do no harm.

    Returns:
        The token; None where there is nothing that looks like one.

    Raises:
        MalformedToken: there is one, but its values have another form than a pull token's.
    """
    pair = _from_json(output) or _from_login(output)
    return PullToken.checked(pair[0], Secret(pair[1])) if pair else None


def _from_json(output: str) -> tuple[str, str] | None:
    decoder = json.JSONDecoder()
    # Notices of a newer version may stand before it, so each brace is tried.
    for brace in re.finditer(r"\{", output):
        with suppress(ValueError, RecursionError):
            document, _ = decoder.raw_decode(output, brace.start())
            username, password = document.get("identity_id"), document.get("token")
            if isinstance(username, str) and isinstance(password, str):
                return username, password
    return None


def _from_login(output: str) -> tuple[str, str] | None:
    for line in _LOGIN_LINE.findall(output):
        try:
            words = shlex.split(line)
        except ValueError:
            continue
        flags: dict[str, str] = {}
        for number, word in enumerate(words):
            name, equals, value = word.partition("=")
            flags[name] = value if equals else words[number + 1] if number + 1 < len(words) else ""
        username = flags.get("--username") or flags.get("-u")
        password = flags.get("--password") or flags.get("-p")
        if username and password:
            return username, password
    return None


def _claims(jwt_text: str) -> dict[str, Any]:
    import jwt  # brings cryptography along

    try:
        claims: dict[str, Any] = jwt.decode(jwt_text, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError, RecursionError):
        # PyJWT's own text may quote a piece of the token.
        raise _malformed("password", "is a JWT that cannot be read") from None
    return claims


def _moment(seconds: Any) -> datetime | None:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _unpacked(value: str) -> str:
    """What a value is in base64 of, "" for nothing readable."""
    with suppress(ValueError):
        return base64.b64decode(value, validate=True).decode().strip()
    return ""


def _malformed(which: str, how: str, consequence: str = "", *, reason: str = "no-token") -> MalformedToken:
    wrong = f"{which} {how}" + (f" ({consequence})" if consequence else "")
    return MalformedToken(
        f"chainctl created a pull token whose {wrong}.",
        "Delete the token that was just made (chainctl auth pull-token list, then chainctl iam identities delete ID), "
        "update chainctl, and create a new one under the organisation itself.",
        wrong=wrong,
        reason=reason,
    )
