"""console-api.enforce.dev and issuer.enforce.dev: the platform's REST gateway, v1 as it stands here, and the token exchange.

Knows which method and path is which call of v1, who calls, and how v1 writes what it tells. v2 is api_v2.py's; what a call
does is the other files' of this folder.
"""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from cgrunbook.sandbox.asgi import bearer_token, body_of
from cgrunbook.sandbox.chainguard.addresses import API_AUDIENCE, STS_ISSUER
from cgrunbook.sandbox.chainguard.api_v2 import ApiV2
from cgrunbook.sandbox.chainguard.identities import Asked, Identities
from cgrunbook.sandbox.chainguard.organizations import Organizations, Role, parent_of
from cgrunbook.sandbox.chainguard.sessions import Session, Sessions
from cgrunbook.sandbox.context import Sandbox
from cgrunbook.sandbox.errors import PlatformError
from cgrunbook.sandbox.hosts import CONSOLE_API
from cgrunbook.sandbox.registry.catalog import Catalog, Repository
from cgrunbook.sandbox.state import timestamp_in_seconds

_BODY_LIMIT = 1 << 20
_KEY_LIFE_V1 = timedelta(days=30)


class _Api:
    """The REST gateway: which method and path is which call."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._organizations = Organizations(sandbox)
        self._identities = Identities(sandbox, self._organizations)
        self._sessions = Sessions(sandbox, self._organizations)
        self._catalog = Catalog(sandbox)
        self._v2 = ApiV2(self._organizations, self._identities, self._visible_repositories)
        self._calls: Sequence[tuple[str, str, Callable[[Request, Session, str], Mapping[str, Any]]]] = (
            ("GET", r"/auth/v1/ok()", self._ok),
            ("GET", r"/iam/v1/groups()", self._groups),
            ("GET", r"/iam/v1/roles()", self._roles),
            ("GET", r"/iam/v1/identities()", self._list_identities),
            ("DELETE", r"/iam/v1/identities/(.+)", self._delete_identity),
            ("GET", r"/iam/v1/rolebindings()", self._bindings),
            ("GET", r"/registry/v1/repos()", self._repositories),
            ("GET", r"/registry/v1/tags()", self._tags),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        await JSONResponse(await self._answer(request))(scope, receive, send)

    async def _answer(self, request: Request) -> Mapping[str, Any]:
        path, method = request.scope["path"], request.method
        if path == "/ping/v1/ping":
            return {}
        if path == "/sts/exchange" and method in ("GET", "POST"):
            return await exchanged(self._sessions, request)
        caller = self._caller(request)
        request.scope["state"]["principal"] = caller.email or caller.identity
        if re.match(r"/\w+/v2/", path):
            return self._of_v2(request, caller, await _document(request) if method == "POST" else {})
        created = re.match(r"/iam/v1/(identities|rolebindings)/(.+)\Z", path)
        if method == "POST" and created:
            create = self._create_identity if created[1] == "identities" else self._create_binding
            return create(caller.identity, created[2], await _document(request))
        known = False
        for its_method, pattern, call in self._calls:
            found = re.fullmatch(pattern, path)
            known = known or bool(found)
            if found and method == its_method:
                return call(request, caller, found[1])
        if not known and not created:
            raise PlatformError("NOT_FOUND", "Not Found")
        self._sandbox.hint(f"{CONSOLE_API}: the sandbox does not have {method} {path}")
        raise PlatformError("UNIMPLEMENTED", "Method Not Allowed")

    def _of_v2(self, request: Request, caller: Session, body: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            return self._v2.answer(request, caller.identity, body)
        except PlatformError as refusal:
            refusal.with_details = True
            raise

    def _caller(self, request: Request) -> Session:
        session = self._sessions.session(bearer_token(request.headers.get("authorization")), API_AUDIENCE)
        if session is None:
            raise PlatformError("UNAUTHENTICATED", "a valid token for this audience is required")
        return session

    def _ok(self, _request: Request, caller: Session, _: str) -> Mapping[str, Any]:
        bound = self._organizations.roles_of(caller.identity)
        return {
            "issuer": STS_ISSUER,
            "subject": caller.identity,
            "audience": [caller.audience],
            "expiry": timestamp_in_seconds(caller.expires),
            "issuedAt": timestamp_in_seconds(caller.issued),
            "capabilities": [{"group": _group(group), "role": _role(role)} for group, role in bound],
            "email": caller.email or "",
        }

    def _groups(self, request: Request, caller: Session, _: str) -> Mapping[str, Any]:
        query = request.query_params
        groups = self._organizations.groups(caller.identity)
        return {
            "items": [
                _group(group)
                for group in groups
                if query.get("name") in (None, group["name"]) and query.get("id") in (None, group["id"])
            ]
        }

    def _roles(self, request: Request, caller: Session, _: str) -> Mapping[str, Any]:
        name = request.query_params.get("name")
        return {
            "items": [_role(role) for role in self._organizations.roles(caller.identity) if name in (None, role.name)]
        }

    def _create_identity(self, caller: str, parent: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        asked = Asked.read(body, static="static", expiration="expiration", default_life=_KEY_LIFE_V1)
        return _identity(self._identities.create(caller, parent, asked))

    def _list_identities(self, request: Request, caller: Session, _: str) -> Mapping[str, Any]:
        query = request.query_params
        parent = query.get("uidp.descendantsOf") or query.get("uidp.childrenOf")
        # v1 answers with an empty list to who may not list.
        rows = self._identities.visible(caller.identity, parent)
        return {"items": [_identity(row) for row in rows if query.get("id") in (None, row["id"])]}

    def _delete_identity(self, _request: Request, caller: Session, identity: str) -> Mapping[str, Any]:
        self._identities.delete(caller.identity, identity)
        return {}

    def _create_binding(self, caller: str, group: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        identity, role = str(body.get("identity")), str(body.get("role"))
        [made] = self._organizations.create_bindings(caller, group, [(identity, role)])
        return {"id": made, "identity": identity, "group": group, "role": role}

    def _bindings(self, request: Request, caller: Session, _: str) -> Mapping[str, Any]:
        parent = request.query_params.get("uidp.childrenOf")
        return {
            "items": [
                {
                    "id": row["id"],
                    "identity": row["identity"],
                    "email": row["email"] or "",
                    "group": _group(self._organizations.group(row["group_id"])),
                    "role": _role(self._organizations.role(row["role"])),
                }
                for row in self._organizations.bindings(caller.identity)
                if parent in (None, row["group_id"])
            ]
        }

    def _visible_repositories(self, caller: str) -> dict[str, Repository]:
        """The repositories of the catalogue in groups where the caller may list them, by id."""
        return {
            _repository_id(group, repository.name): repository
            for repository in self._catalog.repositories()
            if repository.entitled
            and (group := self._organizations.identifier(repository.organization)) is not None
            and "repo.list" in self._organizations.capabilities(caller, group)
        }

    def _repositories(self, request: Request, caller: Session, _: str) -> Mapping[str, Any]:
        query = request.query_params
        parent = query.get("uidp.childrenOf") or query.get("uidp.descendantsOf")
        items = []
        for identifier, repository in self._visible_repositories(caller.identity).items():
            name = repository.name.partition("/")[2]
            if parent in (None, parent_of(identifier)) and query.get("name") in (None, name):
                tier = "FIPS" if name.endswith("-fips") else "APPLICATION"
                tags = list(self._catalog.tags(repository))
                items.append({"id": identifier, "name": name, "catalogTier": tier, "activeTags": tags})
        return {"items": items}

    def _tags(self, request: Request, caller: Session, _: str) -> Mapping[str, Any]:
        repository = self._visible_repositories(caller.identity).get(request.query_params.get("uidp.childrenOf", ""))
        tags = self._catalog.tags(repository) if repository else {}
        return {"items": [{"name": tag, "digest": digest} for tag, digest in tags.items()]}


async def exchanged(sessions: Sessions, request: Request) -> Mapping[str, Any]:
    """The token exchange: a form or a query, never JSON (SDK, sts.go)."""
    parameters = dict(request.query_params)
    if request.method == "POST":
        parameters |= dict(parse_qsl((await _body(request)).decode("utf-8", "replace")))
    shown = bearer_token(request.headers.get("authorization"))
    audience = parameters.get("aud") or API_AUDIENCE
    token, session = sessions.exchange(shown, audience, parameters.get("identity", ""))
    request.scope["state"]["principal"] = session.email or session.identity
    return {"token": token, "refreshToken": "", "expiry": timestamp_in_seconds(session.expires)}


class _Sts:
    """The issuer's host, which has the exchange and nothing else."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sessions = Sessions(sandbox, Organizations(sandbox))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        if scope["path"] != "/sts/exchange" or request.method not in ("GET", "POST"):
            raise PlatformError("NOT_FOUND", "Not Found")
        await JSONResponse(await exchanged(self._sessions, request))(scope, receive, send)


async def _body(request: Request) -> bytes:
    return await body_of(request, _BODY_LIMIT, PlatformError("INVALID_ARGUMENT", "the request body is too large"))


async def _document(request: Request) -> Mapping[str, Any]:
    try:
        value = json.loads(await _body(request))
    except (ValueError, RecursionError) as problem:
        raise PlatformError("INVALID_ARGUMENT", "the request body is no JSON") from problem
    if not isinstance(value, dict):
        raise PlatformError("INVALID_ARGUMENT", "the request body is no JSON object")
    return value


def _repository_id(group: str, name: str) -> str:
    suffix = hashlib.sha256(f"chainguard repository {name}".encode()).hexdigest()[:16]
    return f"{group}/{suffix}"


def _group(row: sqlite3.Row) -> dict[str, Any]:
    return {**dict(row), "verified": True}


def _role(role: Role) -> dict[str, Any]:
    about = {"id": role.id, "name": role.name, "description": role.description}
    return about | {"capabilities": sorted(role.capabilities)}


def _identity(row: sqlite3.Row) -> dict[str, Any]:
    identity = {
        "id": row["id"],
        "name": row["name"],
        "description": row["description"],
        "createdAt": _time(row["created_at"]),
        "updatedAt": _time(row["updated_at"]),
        "lastSeen": _time(row["last_seen"]),
    }
    claims = {"issuer": row["issuer"], "subject": row["subject"]}
    if row["issuer_keys"] is not None:
        identity["static"] = claims | {"issuerKeys": row["issuer_keys"], "expiration": _time(row["expiration"])}
    elif row["issuer"] is not None:
        identity["claimMatch"] = claims | ({"audience": row["audience"]} if row["audience"] else {})
    return identity


def _time(seconds: float) -> str:
    return timestamp_in_seconds(datetime.fromtimestamp(seconds, UTC))


def app(sandbox: Sandbox) -> ASGIApp:
    """What plays console-api.enforce.dev, whose gateway has the token exchange too."""
    return _Api(sandbox)


def sts_app(sandbox: Sandbox) -> ASGIApp:
    """What plays issuer.enforce.dev."""
    return _Sts(sandbox)
