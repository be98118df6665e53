"""Static identities, which is what pull tokens are: made with a public key, proved with a JWT signed by its other half.

Knows which identities exist, until when, and whether a pull token's signature is theirs. Who may make or see them is
told by organizations.py.
"""

from __future__ import annotations

import json
import re
import secrets
import sqlite3
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt

from cgrunbook.sandbox.chainguard.addresses import STS_ISSUER
from cgrunbook.sandbox.chainguard.organizations import Organizations, parent_of
from cgrunbook.sandbox.context import Sandbox
from cgrunbook.sandbox.errors import PlatformError
from cgrunbook.sandbox.state import timestamp_in_seconds

_NAME = re.compile(r"[a-z0-9 ._-]+\Z")  # API reference, name of an identity
#: A stray newline breaks a pull token (Chainguard's cookbook warns of it); the JWT library would overlook it.
_JWT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\Z")
_SKEW_SECONDS = 60
_DEFAULT_KEY_LIFE = timedelta(days=30)


class Identities:
    """The identities of a sandbox."""

    def __init__(self, sandbox: Sandbox, organizations: Organizations) -> None:
        self._clock = sandbox.clock
        self._state = sandbox.state
        self._organizations = organizations

    def of_pull_token(self, username: str, password: str) -> str | None:
        """The identity of a pull token.

        Args:
            username: the identity's id.
            password: the JWT that was signed for it.

        Returns:
            The id; None when there is no such identity (revoked, or never made), it has expired, or the JWT is not
            signed with its key, not meant for it or not valid now. The registry tells these apart to nobody.
        """
        row = self._state.row("SELECT * FROM cg_identity WHERE id = ? AND issuer_keys IS NOT NULL", username)
        now = self._clock.now().timestamp()
        if row is None or row["expiration"] <= now or not _JWT.match(password):
            return None
        for key in jwt.PyJWKSet.from_json(row["issuer_keys"]).keys:
            try:
                claims = jwt.decode(
                    password,
                    key.key,
                    algorithms=["RS256"],
                    audience=STS_ISSUER,
                    issuer=row["issuer"],
                    options={
                        # Times are compared below with the sandbox's clock, which the JWT library does not know.
                        "verify_exp": False,
                        "verify_iat": False,
                        "verify_nbf": False,
                        "require": ["iss", "aud", "sub", "iat", "exp"],
                    },
                )
            except jwt.InvalidTokenError:
                continue
            issued, expires = claims["iat"], claims["exp"]
            if not isinstance(issued, int | float) or not isinstance(expires, int | float):
                continue
            if claims["sub"] == row["subject"] and issued <= now + _SKEW_SECONDS and now < expires:
                return username
        return None

    def create(self, caller: str, parent: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Create a static identity.

        Args:
            caller: who asks; needs identity.create in the group.
            parent: id of the group.
            body: the Identity message in JSON.

        Raises:
            PlatformError: the caller may not, or the message is not acceptable.
        """
        self._organizations.demand(caller, parent, "identity.create")
        name = body.get("name")
        if not isinstance(name, str) or not _NAME.match(name):
            raise PlatformError(
                "INVALID_ARGUMENT",
                "name must match ^[a-z0-9 ._-]{1,}$ (lower case, digits, space, dot, underscore, dash)",
            )
        static = body.get("static")
        if not isinstance(static, dict):
            raise PlatformError("UNIMPLEMENTED", "The sandbox makes static identities only.")
        now = self._clock.now()
        values = {
            "id": f"{parent}/{secrets.token_hex(8)}",
            "name": name,
            "description": str(body.get("description") or ""),
            "issuer": _text(static, "issuer"),
            "subject": _text(static, "subject"),
            "keys": _public_keys(_text(static, "issuerKeys")),
            "expiration": self._expiration(static.get("expiration"), now).timestamp(),
            "now": now.timestamp(),
        }
        with self._state.transaction() as rows:
            rows.execute(
                "INSERT INTO cg_identity (id, name, description, issuer, subject, issuer_keys, expiration, created_at, "
                "updated_at) VALUES (:id, :name, :description, :issuer, :subject, :keys, :expiration, :now, :now)",
                values,
            )
            return _identity_json(rows.execute("SELECT * FROM cg_identity WHERE id = :id", values).fetchone())

    def _expiration(self, value: object, now: datetime) -> datetime:
        ceiling = self._organizations.ttl_ceiling()
        if value is None:
            return now + min(_DEFAULT_KEY_LIFE, ceiling)
        try:
            expiration = datetime.fromisoformat(str(value))
        except ValueError as problem:
            raise PlatformError("INVALID_ARGUMENT", "static.expiration is no RFC 3339 timestamp") from problem
        if expiration.tzinfo is None:
            raise PlatformError("INVALID_ARGUMENT", "static.expiration has no time zone")
        if expiration <= now:
            raise PlatformError("INVALID_ARGUMENT", "static.expiration must be in the future")
        if expiration > now + ceiling + timedelta(seconds=_SKEW_SECONDS):
            hours = int(ceiling.total_seconds() // 3600)
            # Whether the real service refuses or clamps is not documented.
            raise PlatformError("INVALID_ARGUMENT", f"static.expiration exceeds the maximum of {hours}h for this plan")
        return expiration

    def list(self, caller: str, parent: str | None, identity: str | None) -> list[dict[str, Any]]:
        """The identities that the caller may see; none where it may not, as v1 does.

        Args:
            caller: who asks.
            parent: only those below this group.
            identity: only the one with this id.
        """
        rows = self._state.read().execute("SELECT * FROM cg_identity ORDER BY created_at, id").fetchall()
        return [
            _identity_json(row)
            for row in rows
            if identity in (None, row["id"])
            and (parent is None or row["id"].startswith(f"{parent}/"))
            and "identity.list" in self._organizations.capabilities(caller, parent_of(row["id"]))
        ]

    def delete(self, caller: str, identity: str) -> None:
        """Delete an identity and what is bound to it: a pull token is revoked by this.

        Raises:
            PlatformError: the caller lacks identity.delete in the identity's group, or there is no such identity.
        """
        self._organizations.demand(caller, parent_of(identity), "identity.delete")
        with self._state.transaction() as rows:
            if rows.execute("DELETE FROM cg_identity WHERE id = ?", (identity,)).rowcount == 0:
                raise PlatformError("NOT_FOUND", f"identity {identity} not found")


def _text(message: Mapping[str, Any], field: str) -> str:
    value = message.get(field)
    if not isinstance(value, str) or not value:
        raise PlatformError("INVALID_ARGUMENT", f"static.{field} is required")
    return value


def _public_keys(document: str) -> str:
    """The key set when it is one of public RSA keys: a private key must never be uploaded."""
    try:
        keys = json.loads(document)["keys"]
        private = any("d" in key or "k" in key for key in keys)
        usable = bool(keys) and all(key.get("kty") == "RSA" for key in keys)
        jwt.PyJWKSet.from_json(document)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, jwt.PyJWTError) as problem:
        raise PlatformError("INVALID_ARGUMENT", "static.issuerKeys is no JSON web key set") from problem
    if private or not usable:
        raise PlatformError("INVALID_ARGUMENT", "static.issuerKeys must hold public RSA keys and nothing else")
    return document


def _identity_json(row: sqlite3.Row) -> dict[str, Any]:
    identity = {
        "id": row["id"],
        "name": row["name"],
        "description": row["description"],
        "createdAt": _time(row["created_at"]),
        "updatedAt": _time(row["updated_at"]),
    }
    if row["issuer_keys"] is not None:
        identity["static"] = {
            "issuer": row["issuer"],
            "subject": row["subject"],
            "issuerKeys": row["issuer_keys"],
            "expiration": _time(row["expiration"]),
        }
    return identity


def _time(seconds: float) -> str:
    return timestamp_in_seconds(datetime.fromtimestamp(seconds, UTC))
