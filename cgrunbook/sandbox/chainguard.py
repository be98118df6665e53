"""The Chainguard platform: the organisation, its roles, identities and pull tokens, and the API that chainctl talks to.

Knows who holds which role, which static identities exist and whether a pull token's signature is theirs. Knows no
registry protocol (registry/cgr_dev.py) and no command line (chainctl.py). Sources: the public protos of
chainguard-dev/sdk for paths and fields, Chainguard's documentation for roles, limits and the pull token's claims.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

import jwt
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from cgrunbook.sandbox.context import Sandbox
from cgrunbook.sandbox.errors import RPC_CODES, ServiceError
from cgrunbook.sandbox.hosts import CONSOLE_API
from cgrunbook.sandbox.registry.catalog import Catalog, Repository

SCHEMA = """
CREATE TABLE IF NOT EXISTS cg_group (
    id TEXT PRIMARY KEY, name TEXT UNIQUE NOT NULL, description TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS cg_identity (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, description TEXT NOT NULL, email TEXT,
    issuer TEXT, subject TEXT, issuer_keys TEXT, expiration REAL, created_at REAL NOT NULL, updated_at REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS cg_binding (
    id TEXT PRIMARY KEY, group_id TEXT NOT NULL REFERENCES cg_group (id),
    identity TEXT NOT NULL REFERENCES cg_identity (id) ON DELETE CASCADE, role TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS cg_binding_identity ON cg_binding (identity);
"""

PULL_TOKEN_ISSUER = "https://pulltoken.issuer.chainguard.dev"  # noqa: S105 - an address
STS_ISSUER = "https://issuer.enforce.dev"
API_AUDIENCE = "https://console-api.enforce.dev"
REGISTRY_AUDIENCE = "cgr.dev"
PUBLIC_ORGANIZATION = "chainguard"

#: Longest life of a pull token in hours by the organisation's plan (documentation of 2026-10-30).
TTL_CEILING_HOURS: Mapping[str, int] = {"starter": 720, "team": 168, "other": 8760}

_PULL = frozenset(
    [
        "apk.list",
        "groups.list",
        "manifest.list",
        "manifest.metadata.list",
        "record_signatures.list",
        "referrers.list",
        "repo.blobs.get",
        "repo.list",
        "sboms.list",
        "tag.list",
        "vuln_reports.list",
    ]
)
_CREATE_PULL_TOKENS = frozenset(["groups.list", "identity.create", "role_bindings.create", "roles.list"])
_VIEW = _PULL | {"identity.list", "libraries.entitlements.list", "role_bindings.list", "roles.list"}
_OWN = _VIEW | _CREATE_PULL_TOKENS | {"identity.delete", "identity.update", "role_bindings.delete", "repo.update"}

#: Capabilities by role. `registry.pull_token_creator` may make what it may not list or delete (SDK).
ROLES: Mapping[str, frozenset[str]] = {
    "owner": _OWN,
    "limited_owner": _OWN - {"repo.update"},
    "editor": _VIEW | {"repo.update"},
    "viewer": _VIEW,
    "registry.pull": _PULL,
    "registry.pull_token_creator": _PULL | _CREATE_PULL_TOKENS,
}

_NAME = re.compile(r"[a-z0-9 ._-]+\Z")  # API reference, name of an identity
#: A stray newline breaks a pull token (Chainguard's cookbook warns of it); the JWT library would overlook it.
_JWT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\Z")
_SESSION_SECONDS = 3600
_SKEW_SECONDS = 60
_DEFAULT_KEY_LIFE = timedelta(days=30)
_BODY_LIMIT = 1 << 20
_GRPC_HTTP = {
    "INVALID_ARGUMENT": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "UNIMPLEMENTED": 501,
}


class PlatformError(ServiceError):
    """A refusal of the v1 API, in the shape of its gRPC gateway: `{"code", "message", "details"}`."""

    def __init__(self, status: str, message: str) -> None:
        """Keep one refusal.

        Args:
            status: Name of the gRPC status, for example "INVALID_ARGUMENT".
            message: The service's own words.
        """
        super().__init__(_GRPC_HTTP[status], message)
        self.status = status

    def document(self) -> dict[str, Any]:
        """Return the JSON document of the answer's body."""
        return {"code": RPC_CODES[self.status], "message": self.message, "details": []}


@dataclass(frozen=True)
class Session:
    """A caller of the platform or of the registry.

    Attributes:
        identity: Id of the Chainguard identity.
        email: E-mail of a person, None for a machine.
        issued: When the session began.
        expires: When it ends.
        audience: Whom the session's token is for.
    """

    identity: str
    email: str | None
    issued: datetime
    expires: datetime
    audience: str


def group_id(name: str) -> str:
    """Return the id of an organisation, 40 hex digits; the same name has the same id in every sandbox.

    Args:
        name: For example "example.com".
    """
    return hashlib.sha256(f"chainguard group {name}".encode()).hexdigest()[:40]


class Platform:
    """The platform's memory and rules, shared by its API and by cgr.dev."""

    def __init__(self, sandbox: Sandbox) -> None:
        """Open the platform, and found the organisation when the sandbox is new.

        Args:
            sandbox: Gives state, clock and settings.
        """
        self._sandbox = sandbox
        self._state = sandbox.state
        self._state.declare(SCHEMA)
        with self._state.transaction() as rows:
            if self._state.setting("chainguard.signing_key") is None:
                self._state.remember("chainguard.signing_key", secrets.token_hex(32))
                self._found_organizations(rows)
        self._signing_key = bytes.fromhex(self._state.setting("chainguard.signing_key") or "")

    def _found_organizations(self, rows: sqlite3.Connection) -> None:
        organization = self._sandbox.settings.organization
        for name, description in (
            (organization, "The organization of the sandbox"),
            (PUBLIC_ORGANIZATION, "Chainguard's free containers"),
        ):
            rows.execute("INSERT INTO cg_group VALUES (?, ?, ?)", (group_id(name), name, description))
        email = self.trainee_email
        now = self._now()
        rows.execute(
            "INSERT INTO cg_identity (id, name, description, email, created_at, updated_at) VALUES (?, ?, '', ?, ?, ?)",
            (self.trainee, email, email, now, now),
        )
        self._bind(rows, self.trainee, group_id(organization), "owner")

    @property
    def trainee_email(self) -> str:
        """E-mail of the person who works in the sandbox."""
        return self._sandbox.settings.operator.partition(":")[2]

    @property
    def trainee(self) -> str:
        """Identity of the person who works in the sandbox."""
        return hashlib.sha256(f"chainguard identity {self.trainee_email}".encode()).hexdigest()[:40]

    def _now(self) -> float:
        return self._sandbox.clock.now().timestamp()

    def sign(self, claims: Mapping[str, object]) -> str:
        """Return a JWT of the platform's own, for sessions and for the registry's bearer tokens.

        Args:
            claims: The claims, `exp` among them as seconds since 1970.
        """
        return jwt.encode(dict(claims), self._signing_key, algorithm="HS256")

    def verify(self, token: str, issuer: str) -> dict[str, Any] | None:
        """Return the claims of a token made by `sign`; None when it is forged, has expired or is of another issuer.

        Args:
            token: The JWT.
            issuer: What its `iss` must be.
        """
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                self._signing_key,
                algorithms=["HS256"],
                options={"verify_exp": False, "verify_iat": False, "verify_nbf": False, "verify_aud": False},
            )
        except jwt.InvalidTokenError:
            return None
        if claims.get("iss") != issuer or not self._now() < float(claims.get("exp", 0)):
            return None
        return claims

    def exchange(self, access_token: str, audience: str) -> tuple[str, Session]:
        """Open a session for the person whose Google access token is shown; it plays the identity provider's token.

        Args:
            access_token: The sandbox's OAuth access token.
            audience: Whom the session's token is to be for.

        Returns:
            The session's token and the session, an hour long at most.

        Raises:
            PlatformError: UNAUTHENTICATED, nobody registered has this token.
        """
        if self._sandbox.tokens.principal(access_token) != self._sandbox.settings.operator:
            raise PlatformError("UNAUTHENTICATED", "Identity not found")
        now = self._now()
        claims = {
            "iss": STS_ISSUER,
            "sub": self.trainee,
            "aud": audience,
            "iat": int(now),
            "exp": int(now) + _SESSION_SECONDS,
            "email": self.trainee_email,
            "jti": secrets.token_hex(8),
        }
        return self.sign(claims), _session(claims)

    def session(self, token: str, audience: str) -> Session | None:
        """Return the session of a token; None when it is not valid for this audience.

        Args:
            token: The session's token.
            audience: Who is asked.
        """
        claims = self.verify(token, STS_ISSUER)
        return _session(claims) if claims and claims.get("aud") == audience else None

    def capabilities(self, identity: str, group: str) -> frozenset[str]:
        """Return what an identity may do in a group.

        Args:
            identity: Its id; an unknown one may do nothing.
            group: The group's id.
        """
        rows = self._state.read().execute(
            "SELECT role FROM cg_binding WHERE identity = ? AND group_id = ?", (identity, group)
        )
        return frozenset().union(*(ROLES[row["role"]] for row in rows))

    def organization(self, name: str) -> str | None:
        """Return the id of an organisation, None when there is none of this name.

        Args:
            name: For example "example.com".
        """
        row = self._state.read().execute("SELECT id FROM cg_group WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row["id"])

    def ttl_ceiling(self) -> timedelta:
        """Return how long a pull token of the organisation may live, by its plan."""
        return timedelta(hours=TTL_CEILING_HOURS[self._state.setting("chainguard.plan") or "other"])

    def set_plan(self, plan: str) -> None:
        """Put the organisation on another plan.

        Args:
            plan: A key of TTL_CEILING_HOURS.
        """
        if plan not in TTL_CEILING_HOURS:
            raise ValueError(f"{plan!r} is no plan; plans are {', '.join(TTL_CEILING_HOURS)}")
        self._state.remember("chainguard.plan", plan)

    def set_role(self, role: str | None) -> None:
        """Give the trainee another role in the organisation.

        Args:
            role: A key of ROLES; None takes the trainee out of the organisation.
        """
        with self._state.transaction() as rows:
            rows.execute("DELETE FROM cg_binding WHERE identity = ?", (self.trainee,))
            if role is not None:
                self._bind(rows, self.trainee, group_id(self._sandbox.settings.organization), role)

    def pull_token_identity(self, username: str, password: str) -> str | None:
        """Return the identity of a pull token.

        Args:
            username: The identity's id.
            password: The JWT that was signed for it.

        Returns:
            The id; None when there is no such identity (revoked, or never made), it has expired, or the JWT is not
            signed with its key, not meant for it or not valid now. The registry tells these apart to nobody.
        """
        row = (
            self._state.read()
            .execute("SELECT * FROM cg_identity WHERE id = ? AND issuer_keys IS NOT NULL", (username,))
            .fetchone()
        )
        now = self._now()
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

    def create_identity(self, caller: Session, parent: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Create a static identity, which is what a pull token is.

        Args:
            caller: Who asks; needs identity.create in the group.
            parent: Id of the group.
            body: The Identity message in JSON.

        Returns:
            The created Identity in JSON.

        Raises:
            PlatformError: The caller may not, or the message is not acceptable.
        """
        self._demand(caller, parent, "identity.create")
        name = body.get("name")
        if not isinstance(name, str) or not _NAME.match(name):
            raise PlatformError(
                "INVALID_ARGUMENT",
                "name must match ^[a-z0-9 ._-]{1,}$ (lower case, digits, space, dot, underscore, dash)",
            )
        static = body.get("static")
        if not isinstance(static, dict):
            raise PlatformError("UNIMPLEMENTED", "The sandbox makes static identities only.")
        now = self._sandbox.clock.now()
        identity = f"{parent}/{secrets.token_hex(8)}"
        values = (
            identity,
            name,
            str(body.get("description") or ""),
            _text(static, "issuer"),
            _text(static, "subject"),
            _public_keys(_text(static, "issuerKeys")),
            self._expiration(static.get("expiration"), now).timestamp(),
            now.timestamp(),
            now.timestamp(),
        )
        with self._state.transaction() as rows:
            rows.execute(
                "INSERT INTO cg_identity (id, name, description, issuer, subject, issuer_keys, expiration, created_at, "
                "updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                values,
            )
            return _identity_json(rows.execute("SELECT * FROM cg_identity WHERE id = ?", (identity,)).fetchone())

    def _expiration(self, value: object, now: datetime) -> datetime:
        if value is None:
            return now + min(_DEFAULT_KEY_LIFE, self.ttl_ceiling())
        try:
            expiration = datetime.fromisoformat(str(value))
        except ValueError as problem:
            raise PlatformError("INVALID_ARGUMENT", "static.expiration is no RFC 3339 timestamp") from problem
        if expiration.tzinfo is None:
            raise PlatformError("INVALID_ARGUMENT", "static.expiration has no time zone")
        if expiration <= now:
            raise PlatformError("INVALID_ARGUMENT", "static.expiration must be in the future")
        if expiration > now + self.ttl_ceiling() + timedelta(seconds=_SKEW_SECONDS):
            hours = int(self.ttl_ceiling().total_seconds() // 3600)
            # Whether the real service refuses or clamps is not documented.
            raise PlatformError("INVALID_ARGUMENT", f"static.expiration exceeds the maximum of {hours}h for this plan")
        return expiration

    def list_identities(self, caller: Session, parent: str | None, identity: str | None) -> list[dict[str, Any]]:
        """Return the identities that the caller may see; none where it may not, as v1 does.

        Args:
            caller: Who asks.
            parent: Only those below this group.
            identity: Only the one with this id.
        """
        rows = self._state.read().execute("SELECT * FROM cg_identity ORDER BY created_at, id").fetchall()
        return [
            _identity_json(row)
            for row in rows
            if (identity is None or row["id"] == identity)
            and (parent is None or row["id"].startswith(f"{parent}/"))
            and "identity.list" in self.capabilities(caller.identity, _parent(row["id"]))
        ]

    def delete_identity(self, caller: Session, identity: str) -> None:
        """Delete an identity and what is bound to it: a pull token is revoked by this.

        Args:
            caller: Who asks; needs identity.delete in the identity's group.
            identity: The id.

        Raises:
            PlatformError: The caller may not, or there is no such identity.
        """
        self._demand(caller, _parent(identity), "identity.delete")
        with self._state.transaction() as rows:
            if rows.execute("DELETE FROM cg_identity WHERE id = ?", (identity,)).rowcount == 0:
                raise PlatformError("NOT_FOUND", f"identity {identity} not found")

    def create_binding(self, caller: Session, group: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Bind an identity to a role in a group; nobody can give more than they hold.

        Args:
            caller: Who asks; needs role_bindings.create in the group.
            group: The group's id.
            body: The RoleBinding message in JSON.

        Raises:
            PlatformError: The caller may not, or identity or role do not exist.
        """
        self._demand(caller, group, "role_bindings.create")
        roles = {_role_id(name): name for name in ROLES}
        role = roles.get(str(body.get("role")))
        if role is None:
            raise PlatformError("NOT_FOUND", "role not found")
        if not ROLES[role] <= self.capabilities(caller.identity, group):
            raise PlatformError("PERMISSION_DENIED", f"the role {role} holds capabilities that the caller does not")
        identity = str(body.get("identity"))
        with self._state.transaction() as rows:
            if rows.execute("SELECT 1 FROM cg_identity WHERE id = ?", (identity,)).fetchone() is None:
                raise PlatformError("NOT_FOUND", "identity not found")
            binding = self._bind(rows, identity, group, role)
        return {"id": binding, "identity": identity, "group": group, "role": _role_id(role)}

    def list_bindings(self, caller: Session, parent: str | None) -> list[dict[str, Any]]:
        """Return the role bindings that the caller may see.

        Args:
            caller: Who asks.
            parent: Only those of this group.
        """
        rows = (
            self._state.read()
            .execute(
                "SELECT cg_binding.*, cg_identity.email FROM cg_binding JOIN cg_identity ON cg_identity.id = identity "
                "ORDER BY cg_binding.id"
            )
            .fetchall()
        )
        return [
            {
                "id": row["id"],
                "identity": row["identity"],
                "email": row["email"] or "",
                "group": self._group(row["group_id"]),
                "role": _role_json(row["role"]),
            }
            for row in rows
            if parent in (None, row["group_id"])
            and "role_bindings.list" in self.capabilities(caller.identity, row["group_id"])
        ]

    def list_groups(self, caller: Session, name: str | None, identifier: str | None) -> list[dict[str, Any]]:
        """Return the organisations that the caller may see.

        Args:
            caller: Who asks.
            name: Only the one of this name.
            identifier: Only the one with this id.
        """
        rows = self._state.read().execute("SELECT id, name FROM cg_group ORDER BY name").fetchall()
        return [
            self._group(row["id"])
            for row in rows
            if name in (None, row["name"])
            and identifier in (None, row["id"])
            and "groups.list" in self.capabilities(caller.identity, row["id"])
        ]

    def who_am_i(self, caller: Session) -> dict[str, Any]:
        """Return the WhoAmI message of a session, in JSON.

        Args:
            caller: Whose session it is.
        """
        rows = self._state.read().execute("SELECT * FROM cg_binding WHERE identity = ?", (caller.identity,)).fetchall()
        return {
            "issuer": STS_ISSUER,
            "subject": caller.identity,
            "audience": [caller.audience],
            "expiry": rfc3339(caller.expires),
            "issuedAt": rfc3339(caller.issued),
            "capabilities": [{"group": self._group(row["group_id"]), "role": _role_json(row["role"])} for row in rows],
            "email": caller.email or "",
        }

    def _group(self, identifier: str) -> dict[str, Any]:
        row = self._state.read().execute("SELECT * FROM cg_group WHERE id = ?", (identifier,)).fetchone()
        return {"id": row["id"], "name": row["name"], "description": row["description"], "verified": True}

    def _bind(self, rows: sqlite3.Connection, identity: str, group: str, role: str) -> str:
        binding = f"{group}/{secrets.token_hex(8)}"
        rows.execute("INSERT INTO cg_binding VALUES (?, ?, ?, ?)", (binding, group, identity, role))
        return binding

    def _demand(self, caller: Session, group: str, capability: str) -> None:
        if capability not in self.capabilities(caller.identity, group):
            raise PlatformError("PERMISSION_DENIED", f'caller does not have the required capabilities at "{group}"')


def rfc3339(moment: datetime) -> str:
    """Return a moment as the platform's JSON writes it.

    Args:
        moment: An aware datetime.
    """
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _session(claims: Mapping[str, Any]) -> Session:
    return Session(
        identity=claims["sub"],
        email=claims.get("email"),
        issued=datetime.fromtimestamp(claims["iat"], UTC),
        expires=datetime.fromtimestamp(claims["exp"], UTC),
        audience=claims["aud"],
    )


def _parent(identifier: str) -> str:
    return identifier.rpartition("/")[0]


def _role_id(name: str) -> str:
    return hashlib.sha256(f"chainguard role {name}".encode()).hexdigest()[:40]


def _role_json(name: str) -> dict[str, Any]:
    return {"id": _role_id(name), "name": name, "description": "", "capabilities": sorted(ROLES[name])}


def _repository_id(name: str) -> str:
    suffix = hashlib.sha256(f"chainguard repository {name}".encode()).hexdigest()[:16]
    return f"{group_id(name.partition('/')[0])}/{suffix}"


def _text(message: Mapping[str, Any], field: str) -> str:
    value = message.get(field)
    if not isinstance(value, str) or not value:
        raise PlatformError("INVALID_ARGUMENT", f"static.{field} is required")
    return value


def _public_keys(document: str) -> str:
    """Return the key set when it is one of public RSA keys: a private key must never be uploaded."""
    try:
        keys = json.loads(document)["keys"]
        private = any("d" in key or "k" in key for key in keys)
        usable = bool(keys) and all(key.get("kty") == "RSA" for key in keys)
        jwt.PyJWKSet.from_json(document)
    except (ValueError, KeyError, TypeError, AttributeError, jwt.PyJWTError) as problem:
        raise PlatformError("INVALID_ARGUMENT", "static.issuerKeys is no JSON web key set") from problem
    if private or not usable:
        raise PlatformError("INVALID_ARGUMENT", "static.issuerKeys must hold public RSA keys and nothing else")
    return document


def _identity_json(row: sqlite3.Row) -> dict[str, Any]:
    identity = {
        "id": row["id"],
        "name": row["name"],
        "description": row["description"],
        "createdAt": rfc3339(datetime.fromtimestamp(row["created_at"], UTC)),
        "updatedAt": rfc3339(datetime.fromtimestamp(row["updated_at"], UTC)),
    }
    if row["issuer_keys"] is not None:
        identity["static"] = {
            "issuer": row["issuer"],
            "subject": row["subject"],
            "issuerKeys": row["issuer_keys"],
            "expiration": rfc3339(datetime.fromtimestamp(row["expiration"], UTC)),
        }
    return identity


class _Api:
    """The REST gateway: which method and path is which call."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._platform = Platform(sandbox)
        self._catalog = Catalog(sandbox)
        self._calls: Sequence[tuple[str, re.Pattern[str], Callable[[Request, Session, str], Mapping[str, Any]]]] = [
            (method, re.compile(rf"{path}\Z"), call)
            for method, path, call in (
                ("GET", r"/auth/v1/ok()", self._ok),
                ("GET", r"/iam/v1/groups()", self._groups),
                ("GET", r"/iam/v1/roles()", self._roles),
                ("GET", r"/iam/v1/identities()", self._identities),
                ("DELETE", r"/iam/v1/identities/(.+)", self._delete_identity),
                ("GET", r"/iam/v1/rolebindings()", self._bindings),
                ("GET", r"/registry/v1/repos()", self._repositories),
                ("GET", r"/registry/v1/tags()", self._tags),
            )
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        answer: Response = JSONResponse(await self._answer(request))
        await answer(scope, receive, send)

    async def _answer(self, request: Request) -> Mapping[str, Any]:
        path, method = request.scope["path"], request.method
        if path == "/ping/v1/ping":
            return {}
        if path == "/sts/exchange" and method in ("GET", "POST"):
            return await self._exchange(request)
        caller = self._caller(request)
        request.scope["state"]["principal"] = caller.email or caller.identity
        created = re.match(r"/iam/v1/(identities|rolebindings)/(.+)\Z", path)
        if method == "POST" and created:
            make = self._platform.create_identity if created[1] == "identities" else self._platform.create_binding
            return make(caller, created[2], await _document(request))
        known = False
        for its_method, pattern, call in self._calls:
            found = pattern.match(path)
            known = known or bool(found)
            if found and method == its_method:
                return call(request, caller, found[1])
        if not known and not created:
            raise PlatformError("NOT_FOUND", "Not Found")
        self._sandbox.hint(f"{CONSOLE_API}: the sandbox does not have {method} {path}")
        raise PlatformError("UNIMPLEMENTED", "Method Not Allowed")

    def _caller(self, request: Request) -> Session:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        session = self._platform.session(token.strip(), API_AUDIENCE) if scheme.lower() == "bearer" else None
        if session is None:
            raise PlatformError("UNAUTHENTICATED", "a valid token for this audience is required")
        return session

    async def _exchange(self, request: Request) -> Mapping[str, Any]:
        """Play issuer.enforce.dev, which has no port of its own: a form or a query, never JSON (SDK, sts.go)."""
        parameters = dict(request.query_params)
        if request.method == "POST":
            parameters |= dict(parse_qsl((await _body(request)).decode("utf-8", "replace")))
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            raise PlatformError("UNAUTHENTICATED", "Identity not found")
        session_token, session = self._platform.exchange(token.strip(), parameters.get("aud") or API_AUDIENCE)
        return {"token": session_token, "expiry": rfc3339(session.expires)}

    def _ok(self, _request: Request, caller: Session, _: str) -> Mapping[str, Any]:
        return self._platform.who_am_i(caller)

    def _groups(self, request: Request, caller: Session, _: str) -> Mapping[str, Any]:
        query = request.query_params
        return {"items": self._platform.list_groups(caller, query.get("name"), query.get("id"))}

    def _roles(self, request: Request, _caller: Session, _: str) -> Mapping[str, Any]:
        name = request.query_params.get("name")
        return {"items": [_role_json(role) for role in ROLES if name in (None, role)]}

    def _identities(self, request: Request, caller: Session, _: str) -> Mapping[str, Any]:
        query = request.query_params
        parent = query.get("uidp.descendantsOf") or query.get("uidp.childrenOf")
        return {"items": self._platform.list_identities(caller, parent, query.get("id"))}

    def _delete_identity(self, _request: Request, caller: Session, identity: str) -> Mapping[str, Any]:
        self._platform.delete_identity(caller, identity)
        return {}

    def _bindings(self, request: Request, caller: Session, _: str) -> Mapping[str, Any]:
        query = request.query_params
        return {"items": self._platform.list_bindings(caller, query.get("uidp.childrenOf"))}

    def _visible_repositories(self, caller: Session) -> dict[str, Repository]:
        """Return the repositories of the catalogue in groups where the caller may list them, by id."""
        return {
            _repository_id(repository.name): repository
            for repository in self._catalog.repositories()
            if repository.entitled
            and "repo.list" in self._platform.capabilities(caller.identity, group_id(repository.organization))
        }

    def _repositories(self, request: Request, caller: Session, _: str) -> Mapping[str, Any]:
        query = request.query_params
        parent = query.get("uidp.childrenOf") or query.get("uidp.descendantsOf")
        items = []
        for identifier, repository in self._visible_repositories(caller).items():
            name = repository.name.partition("/")[2]
            if parent in (None, _parent(identifier)) and query.get("name") in (None, name):
                tier = "FIPS" if name.endswith("-fips") else "APPLICATION"
                tags = list(self._catalog.tags(repository))
                items.append({"id": identifier, "name": name, "catalogTier": tier, "activeTags": tags})
        return {"items": items}

    def _tags(self, request: Request, caller: Session, _: str) -> Mapping[str, Any]:
        repository = self._visible_repositories(caller).get(request.query_params.get("uidp.childrenOf", ""))
        tags = self._catalog.tags(repository) if repository else {}
        return {"items": [{"name": tag, "digest": digest} for tag, digest in tags.items()]}


async def _body(request: Request) -> bytes:
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > _BODY_LIMIT:
            raise PlatformError("INVALID_ARGUMENT", "the request body is too large")
    return body


async def _document(request: Request) -> Mapping[str, Any]:
    try:
        value = json.loads(await _body(request))
    except ValueError as problem:
        raise PlatformError("INVALID_ARGUMENT", "the request body is no JSON") from problem
    if not isinstance(value, dict):
        raise PlatformError("INVALID_ARGUMENT", "the request body is no JSON object")
    return value


def app(sandbox: Sandbox) -> ASGIApp:
    """Return what plays console-api.enforce.dev, with the token exchange of issuer.enforce.dev on the same port.

    Args:
        sandbox: Gives state, clock and settings.
    """
    return _Api(sandbox)
