"""Identities: static ones, which is what pull tokens are, and those that are assumed with another issuer's token.

A static one is made with a public key and proved with a JWT signed by its other half; an assumable one says which claims a
token must have. Knows which exist, until when, since when nobody has used them, and whose a token is. Who may make or see
them is told by organizations.py; how each version of the API writes them, by api.py and api_v2.py.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import jwt

from cgrunbook.sandbox.chainguard.addresses import STS_ISSUER
from cgrunbook.sandbox.chainguard.organizations import Organizations, parent_of
from cgrunbook.sandbox.context import Sandbox
from cgrunbook.sandbox.errors import PlatformError

_NAME = re.compile(r"[a-z0-9 ._-]+\Z")  # API reference, name of an identity
#: A stray newline breaks a pull token (Chainguard's cookbook warns of it); the JWT library would overlook it.
_JWT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\Z")
_SKEW_SECONDS = 60


@dataclass(frozen=True)
class Asked:
    """An identity as a request asks for it, whichever version of the API it came by.

    Args:
        name: for a person.
        description: the same.
        issuer: the `iss` of the tokens that are its own.
        subject: their `sub`.
        audience: their `aud`, None for the platform's own issuer.
        issuer_keys: a key set in JSON; None for an identity whose issuer's keys are looked up.
        expiration: when the keys end, RFC 3339; None for the version's own default.
        default_life: that default.
        where: how the request calls the part that the keys are in.
    """

    name: str
    description: str
    issuer: str
    subject: str
    audience: str | None
    issuer_keys: str | None
    expiration: str | None
    default_life: timedelta
    where: str

    @classmethod
    def read(cls, body: Mapping[str, Any], *, static: str, expiration: str, default_life: timedelta) -> Asked:
        """Read the Identity message of either version.

        Args:
            body: the message in JSON.
            static: what the version calls its static keys.
            expiration: and their end.
            default_life: how long they last where no end is given.

        Raises:
            PlatformError: a field that must be there is not.
        """
        where = static if isinstance(body.get(static), dict) else "claimMatch"
        part = body.get(where)
        if not isinstance(part, dict):
            if not isinstance(body.get("name"), str):
                raise PlatformError("INVALID_ARGUMENT", "name is required", field="name")
            raise PlatformError("UNIMPLEMENTED", f"The sandbox makes identities with {static} or claimMatch only.")

        def text(field: str) -> str:
            value = part.get(field)
            if not isinstance(value, str) or not value:
                raise PlatformError("INVALID_ARGUMENT", f"{where}.{field} is required", field=f"{where}.{field}")
            return value

        return cls(
            str(body.get("name") or ""),
            str(body.get("description") or ""),
            text("issuer"),
            text("subject"),
            str(part["audience"]) if part.get("audience") else None,
            text("issuerKeys") if where == static else None,
            None if part.get(expiration) is None else str(part[expiration]),
            default_life,
            f"{where}.{expiration}",
        )

    def refused(self, what: str) -> PlatformError:
        """The refusal of the end that is asked for."""
        return PlatformError("INVALID_ARGUMENT", f"{self.where} {what}", field=self.where)


class Identities:
    """The identities of a sandbox."""

    def __init__(self, sandbox: Sandbox, organizations: Organizations) -> None:
        self._clock = sandbox.clock
        self._settings = sandbox.settings
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
                if now - row["last_seen"] > 1.0:  # a puller signs in for each image, several at once
                    self.seen(username)
                return username
        return None

    def assumed(self, identity: str, claims: Mapping[str, Any], default_audience: str) -> str | None:
        """The identity of that id, when the claims of another issuer's token are those that it is assumed with.

        Args:
            identity: the id that was asked for.
            claims: `iss`, `sub` and `aud` of a token whose signature has been checked.
            default_audience: what `aud` must be where the identity names none.
        """
        row = self._state.row("SELECT * FROM cg_identity WHERE id = ? AND issuer_keys IS NULL", identity)
        if row is None or row["issuer"] is None:
            return None
        wanted = (row["issuer"], row["subject"], row["audience"] or default_audience)
        if wanted != (claims.get("iss"), claims.get("sub"), claims.get("aud")):
            return None
        self.seen(identity)
        return identity

    def of_a_person(self, issuer: str, subject: str) -> str:
        """The id of who signs in by themselves with another issuer's token, or would have it: always the same one."""
        return hashlib.sha256(f"chainguard identity {issuer} {subject}".encode()).hexdigest()[:40]

    def seen(self, identity: str) -> None:
        """Write down that an identity was used now."""
        with self._state.transaction() as rows:
            rows.execute("UPDATE cg_identity SET last_seen = ? WHERE id = ?", (self._clock.now().timestamp(), identity))

    def create(self, caller: str, parent: str, asked: Asked) -> sqlite3.Row:
        """Create an identity.

        Args:
            caller: who asks; needs identity.create in the group.
            parent: id of the group.
            asked: what it is to be.

        Raises:
            PlatformError: the caller may not, or what is asked for is not acceptable.
        """
        self._organizations.demand(caller, parent, "identity.create")
        if not _NAME.match(asked.name):
            raise PlatformError(
                "INVALID_ARGUMENT",
                "name must match ^[a-z0-9 ._-]{1,}$ (lower case, digits, space, dot, underscore, dash)",
                field="name",
            )
        now = self._clock.now()
        static = asked.issuer_keys is not None
        values = {
            "id": f"{parent}/{secrets.token_hex(8)}",
            "name": asked.name,
            "description": asked.description,
            "issuer": asked.issuer,
            "subject": asked.subject,
            "audience": asked.audience,
            "keys": _public_keys(asked.issuer_keys) if asked.issuer_keys is not None else None,
            "expiration": self._expiration(asked, now).timestamp() if static else None,
            "now": now.timestamp(),
        }
        with self._state.transaction() as rows:
            rows.execute(
                "INSERT INTO cg_identity (id, name, description, issuer, subject, audience, issuer_keys, expiration, "
                "created_at, updated_at, last_seen) VALUES (:id, :name, :description, :issuer, :subject, :audience, :keys, "
                ":expiration, :now, :now, :now)",  # seen when it is made: the reference's own example
                values,
            )
            row: sqlite3.Row = rows.execute("SELECT * FROM cg_identity WHERE id = :id", values).fetchone()
            return row

    def _expiration(self, asked: Asked, now: datetime) -> datetime:
        ceiling = self._organizations.ttl_ceiling()
        if asked.expiration is None:
            return now + min(asked.default_life, ceiling)
        try:
            expiration = datetime.fromisoformat(asked.expiration)
        except ValueError as problem:
            raise asked.refused("is no RFC 3339 timestamp") from problem
        if expiration.tzinfo is None:
            raise asked.refused("has no time zone")
        if expiration <= now:
            raise asked.refused("must be in the future")
        if expiration > now + ceiling + timedelta(seconds=_SKEW_SECONDS):
            if self._settings.ttl_clamped:
                return now + ceiling
            hours = int(ceiling.total_seconds() // 3600)
            # Whether the real service refuses or clamps is not documented.
            raise asked.refused(f"exceeds the maximum of {hours}h for this plan")
        return expiration

    def visible(self, caller: str, parent: str | None = None) -> list[sqlite3.Row]:
        """The identities that the caller may see, oldest first.

        Args:
            caller: who asks.
            parent: only those below this group.
        """
        rows = self._state.read().execute("SELECT * FROM cg_identity ORDER BY created_at, id").fetchall()
        return [
            row
            for row in rows
            if (parent is None or row["id"].startswith(f"{parent}/"))
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


def _public_keys(document: str) -> str:
    """The key set when it is one of public RSA keys: a private key must never be uploaded."""
    try:
        keys = json.loads(document)["keys"]
        private = any("d" in key or "k" in key for key in keys)
        usable = bool(keys) and all(key.get("kty") == "RSA" for key in keys)
        jwt.PyJWKSet.from_json(document)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, jwt.PyJWTError) as problem:
        raise PlatformError("INVALID_ARGUMENT", "issuerKeys is no JSON web key set") from problem
    if private or not usable:
        raise PlatformError("INVALID_ARGUMENT", "issuerKeys must hold public RSA keys and nothing else")
    return document
