"""console-api.enforce.dev as chainctl asks it: the REST gateway of the platform's v1 API, with the token exchange.

Knows which method and path is which call, and who calls. What a call does is the other files' of this folder.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from cgrunbook.sandbox.asgi import bearer_token, body_of
from cgrunbook.sandbox.chainguard.addresses import API_AUDIENCE, STS_ISSUER
from cgrunbook.sandbox.chainguard.identities import Identities
from cgrunbook.sandbox.chainguard.organizations import Organizations, group_id, parent_of
from cgrunbook.sandbox.chainguard.roles import ROLES, role_json
from cgrunbook.sandbox.chainguard.sessions import Session, Sessions
from cgrunbook.sandbox.context import Sandbox
from cgrunbook.sandbox.errors import PlatformError
from cgrunbook.sandbox.hosts import CONSOLE_API
from cgrunbook.sandbox.registry.catalog import Catalog, Repository
from cgrunbook.sandbox.state import timestamp_in_seconds

_BODY_LIMIT = 1 << 20


class _Api:
    """The REST gateway: which method and path is which call."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._organizations = Organizations(sandbox)
        self._identities = Identities(sandbox, self._organizations)
        self._sessions = Sessions(sandbox, self._organizations)
        self._catalog = Catalog(sandbox)
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
        await JSONResponse(await self._answer(Request(scope, receive)))(scope, receive, send)

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
            create = self._identities.create if created[1] == "identities" else self._organizations.create_binding
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

    def _caller(self, request: Request) -> Session:
        session = self._sessions.session(bearer_token(request.headers.get("authorization")), API_AUDIENCE)
        if session is None:
            raise PlatformError("UNAUTHENTICATED", "a valid token for this audience is required")
        return session

    async def _exchange(self, request: Request) -> Mapping[str, Any]:
        """Play issuer.enforce.dev, which has no port of its own: a form or a query, never JSON (SDK, sts.go)."""
        parameters = dict(request.query_params)
        if request.method == "POST":
            parameters |= dict(parse_qsl((await _body(request)).decode("utf-8", "replace")))
        shown = bearer_token(request.headers.get("authorization"))
        token, session = self._sessions.exchange(shown, parameters.get("aud") or API_AUDIENCE)
        return {"token": token, "expiry": timestamp_in_seconds(session.expires)}

    def _ok(self, _request: Request, caller: Session, _: str) -> Mapping[str, Any]:
        return {
            "issuer": STS_ISSUER,
            "subject": caller.identity,
            "audience": [caller.audience],
            "expiry": timestamp_in_seconds(caller.expires),
            "issuedAt": timestamp_in_seconds(caller.issued),
            "capabilities": self._organizations.roles_of(caller.identity),
            "email": caller.email or "",
        }

    def _groups(self, request: Request, caller: Session, _: str) -> Mapping[str, Any]:
        query = request.query_params
        return {"items": self._organizations.list_groups(caller.identity, query.get("name"), query.get("id"))}

    def _roles(self, request: Request, _caller: Session, _: str) -> Mapping[str, Any]:
        name = request.query_params.get("name")
        return {"items": [role_json(role) for role in ROLES if name in (None, role)]}

    def _list_identities(self, request: Request, caller: Session, _: str) -> Mapping[str, Any]:
        query = request.query_params
        parent = query.get("uidp.descendantsOf") or query.get("uidp.childrenOf")
        return {"items": self._identities.list(caller.identity, parent, query.get("id"))}

    def _delete_identity(self, _request: Request, caller: Session, identity: str) -> Mapping[str, Any]:
        self._identities.delete(caller.identity, identity)
        return {}

    def _bindings(self, request: Request, caller: Session, _: str) -> Mapping[str, Any]:
        parent = request.query_params.get("uidp.childrenOf")
        return {"items": self._organizations.list_bindings(caller.identity, parent)}

    def _visible_repositories(self, caller: Session) -> dict[str, Repository]:
        """The repositories of the catalogue in groups where the caller may list them, by id."""
        return {
            _repository_id(repository.name): repository
            for repository in self._catalog.repositories()
            if repository.entitled
            and "repo.list" in self._organizations.capabilities(caller.identity, group_id(repository.organization))
        }

    def _repositories(self, request: Request, caller: Session, _: str) -> Mapping[str, Any]:
        query = request.query_params
        parent = query.get("uidp.childrenOf") or query.get("uidp.descendantsOf")
        items = []
        for identifier, repository in self._visible_repositories(caller).items():
            name = repository.name.partition("/")[2]
            if parent in (None, parent_of(identifier)) and query.get("name") in (None, name):
                tier = "FIPS" if name.endswith("-fips") else "APPLICATION"
                tags = list(self._catalog.tags(repository))
                items.append({"id": identifier, "name": name, "catalogTier": tier, "activeTags": tags})
        return {"items": items}

    def _tags(self, request: Request, caller: Session, _: str) -> Mapping[str, Any]:
        repository = self._visible_repositories(caller).get(request.query_params.get("uidp.childrenOf", ""))
        tags = self._catalog.tags(repository) if repository else {}
        return {"items": [{"name": tag, "digest": digest} for tag, digest in tags.items()]}


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


def _repository_id(name: str) -> str:
    suffix = hashlib.sha256(f"chainguard repository {name}".encode()).hexdigest()[:16]
    return f"{group_id(name.partition('/')[0])}/{suffix}"


def app(sandbox: Sandbox) -> ASGIApp:
    """What plays console-api.enforce.dev, with the token exchange of issuer.enforce.dev on the same port."""
    return _Api(sandbox)
