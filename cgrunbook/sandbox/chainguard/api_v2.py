"""The platform's API v2: which method and path is which call, and how v2 writes what it is told and tells.

Against v1 it differs in names, in pages, and in that a list which the caller may not have is refused instead of empty.
Knows messages; what a call does is organizations.py's and identities.py's. Compared field by field with the vendor's
published definitions: docs/services.md, "Chainguard's API v2".
"""

from __future__ import annotations

import base64
import binascii
import re
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.requests import Request

from cgrunbook.sandbox.chainguard.identities import Asked, Identities
from cgrunbook.sandbox.chainguard.organizations import Organizations, Role, parent_of
from cgrunbook.sandbox.chainguard.roles import CAPABILITIES, enum_name
from cgrunbook.sandbox.errors import PlatformError
from cgrunbook.sandbox.registry.catalog import Repository

_KEY_LIFE = timedelta(days=365)
_PAGE, _LARGEST_PAGE, _LARGEST_BATCH = 50, 200, 25
_TYPES = {"RELATIONSHIP_TYPE_CLAIM_MATCH": "claimMatch", "RELATIONSHIP_TYPE_STATIC": "staticKeys"}
_UNPLAYED_TYPES = {"RELATIONSHIP_TYPE_AWS_IDENTITY", "RELATIONSHIP_TYPE_SERVICE_PRINCIPAL"}

Query = Mapping[str, str]


class ApiV2:
    """The calls of v2.

    Args:
        organizations: groups, roles and bindings.
        identities: the identities.
        repositories: tells an identity's repositories by id.
    """

    def __init__(
        self,
        organizations: Organizations,
        identities: Identities,
        repositories: Callable[[str], Mapping[str, Repository]],
    ) -> None:
        self._organizations = organizations
        self._identities = identities
        self._repositories = repositories
        self._calls: Sequence[tuple[str, str, Callable[[str, str, Query, Mapping[str, Any]], dict[str, Any]]]] = (
            ("GET", r"/iam/v2/groups()", self._list_groups),
            ("GET", r"/iam/v2/groups/(.+)", self._get_group),
            ("GET", r"/iam/v2/roles()", self._list_roles),
            ("GET", r"/iam/v2/roles/(.+)", self._get_role),
            ("POST", r"/iam/v2/roles/(.+)", self._create_role),
            ("DELETE", r"/iam/v2/roles/(.+)", self._delete_role),
            ("GET", r"/iam/v2/identities()", self._list_identities),
            ("GET", r"/iam/v2/identities:lookupIdentity()", self._lookup_identity),
            ("GET", r"/iam/v2/identities/(.+)", self._get_identity),
            ("POST", r"/iam/v2/identities/(.+)", self._create_identity),
            ("DELETE", r"/iam/v2/identities/(.+)", self._delete_identity),
            ("GET", r"/iam/v2/roleBindings()", self._list_bindings),
            ("POST", r"/iam/v2/roleBindings:batchCreate()", self._create_bindings),
            ("GET", r"/iam/v2/roleBindings/(.+)", self._get_binding),
            ("POST", r"/iam/v2/roleBindings/(.+)", self._create_binding),
            ("DELETE", r"/iam/v2/roleBindings/(.+)", self._delete_binding),
            ("GET", r"/registry/v2/repos()", self._list_repositories),
        )

    def answer(self, request: Request, caller: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """What a request is answered.

        Args:
            request: its method, path and query; the gateway takes a query's names in either spelling.
            caller: id of the identity that calls.
            body: what was posted.

        Raises:
            PlatformError: it is refused.
        """
        path, known = request.scope["path"], False
        query = {_camel(name): value for name, value in request.query_params.items()}
        for method, pattern, call in self._calls:
            found = re.fullmatch(pattern, path)
            known = known or bool(found)
            if found and method == request.method:
                return call(caller, found[1], query, body)
        raise PlatformError(*(("UNIMPLEMENTED", "Method Not Allowed") if known else ("NOT_FOUND", "Not Found")))

    def _list_groups(self, caller: str, _: str, query: Query, _body: Mapping[str, Any]) -> dict[str, Any]:
        self._demand_somewhere(caller, "groups.list")
        rows = [row for row in self._organizations.groups(caller) if query.get("name") in (None, "", row["name"])]
        return _page("groups", [_group(row) for row in rows], query)

    def _get_group(self, caller: str, uid: str, _query: Query, _body: Mapping[str, Any]) -> dict[str, Any]:
        self._organizations.demand(caller, uid, "groups.list")
        return _group(self._organizations.group(uid))

    def _list_roles(self, caller: str, _: str, query: Query, _body: Mapping[str, Any]) -> dict[str, Any]:
        self._demand_somewhere(caller, "roles.list")
        above = _above(query)
        roles = [
            role
            for role in self._organizations.roles(caller)
            if query.get("name") in (None, "", role.name) and above in ("", parent_of(role.id))
        ]
        return _page("roles", [_role(role) for role in roles], query)

    def _get_role(self, caller: str, uid: str, _query: Query, _body: Mapping[str, Any]) -> dict[str, Any]:
        self._demand_somewhere(caller, "roles.list")
        return _role(self._organizations.role(uid))

    def _create_role(self, caller: str, parent: str, _query: Query, body: Mapping[str, Any]) -> dict[str, Any]:
        asked = body.get("capabilities")
        names = [CAPABILITIES.get(str(one), "") for one in asked] if isinstance(asked, list) else []
        if "" in names:
            raise PlatformError("INVALID_ARGUMENT", f"unknown capability in {asked}", field="capabilities")
        name = _name(body)
        return _role(self._organizations.create_role(caller, parent, name, names, str(body.get("description") or "")))

    def _delete_role(self, caller: str, uid: str, _query: Query, _body: Mapping[str, Any]) -> dict[str, Any]:
        self._organizations.delete_role(caller, uid)
        return {}

    def _list_identities(self, caller: str, _: str, query: Query, _body: Mapping[str, Any]) -> dict[str, Any]:
        above, kind = _above(query), query.get("relationshipType", "")
        if kind not in {"", "RELATIONSHIP_TYPE_UNSPECIFIED", *_TYPES, *_UNPLAYED_TYPES}:
            raise PlatformError("INVALID_ARGUMENT", f"unknown relationship type {kind}", field="relationship_type")
        if above:
            self._organizations.demand(caller, above, "identity.list")
        else:
            self._demand_somewhere(caller, "identity.list")
        rows = self._identities.visible(caller, above or None)
        found = [_identity(row) for row in rows if query.get("name") in (None, "", row["name"])]
        if kind in _TYPES:
            found = [identity for identity in found if _TYPES[kind] in identity]
        elif kind in _UNPLAYED_TYPES:
            found = []
        return _page("identities", found, query)

    def _get_identity(self, caller: str, uid: str, _query: Query, _body: Mapping[str, Any]) -> dict[str, Any]:
        self._organizations.demand(caller, parent_of(uid), "identity.list")
        for row in self._identities.visible(caller, parent_of(uid)):
            if row["id"] == uid:
                return _identity(row)
        raise PlatformError("NOT_FOUND", f"identity {uid} not found")

    def _lookup_identity(self, _caller: str, _: str, query: Query, _body: Mapping[str, Any]) -> dict[str, Any]:
        for field in ("issuer", "subject"):
            if not query.get(field):
                raise PlatformError("INVALID_ARGUMENT", f"{field} is required", field=field)
        return {"uid": self._identities.of_a_person(query["issuer"], query["subject"])}

    def _create_identity(self, caller: str, parent: str, _query: Query, body: Mapping[str, Any]) -> dict[str, Any]:
        _name(body)
        asked = Asked.read(body, static="staticKeys", expiration="expirationTime", default_life=_KEY_LIFE)
        return _identity(self._identities.create(caller, parent, asked))

    def _delete_identity(self, caller: str, uid: str, _query: Query, _body: Mapping[str, Any]) -> dict[str, Any]:
        self._identities.delete(caller, uid)
        return {}

    def _list_bindings(self, caller: str, _: str, query: Query, _body: Mapping[str, Any]) -> dict[str, Any]:
        above = _above(query) or query.get("group", "")
        if above:
            self._organizations.demand(caller, above, "role_bindings.list")
        else:
            self._demand_somewhere(caller, "role_bindings.list")
        rows = [
            row
            for row in self._organizations.bindings(caller)
            if above in ("", row["group_id"])
            and query.get("identity") in (None, "", row["identity"])
            and query.get("role") in (None, "", row["role"])
        ]
        return _page("roleBindings", [self._binding(row) for row in rows], query)

    def _get_binding(self, caller: str, uid: str, _query: Query, _body: Mapping[str, Any]) -> dict[str, Any]:
        self._organizations.demand(caller, parent_of(uid), "role_bindings.list")
        for row in self._organizations.bindings(caller):
            if row["id"] == uid:
                return self._binding(row)
        raise PlatformError("NOT_FOUND", f"role binding {uid} not found")

    def _create_binding(self, caller: str, parent: str, _query: Query, body: Mapping[str, Any]) -> dict[str, Any]:
        return self._bound(caller, parent, [_pair(body, "")])[0]

    def _create_bindings(self, caller: str, _: str, _query: Query, body: Mapping[str, Any]) -> dict[str, Any]:
        parent, asked = str(body.get("parent") or ""), body.get("requests")
        if not parent or not isinstance(asked, list) or not asked:
            raise PlatformError("INVALID_ARGUMENT", "parent and requests are required", field="requests")
        if len(asked) > _LARGEST_BATCH:
            raise PlatformError("INVALID_ARGUMENT", f"at most {_LARGEST_BATCH} requests a batch", field="requests")
        common = str(body.get("roleUid") or "")
        pairs = []
        for one in asked:
            request = one if isinstance(one, dict) else {}
            if request.get("parent") != parent:
                raise PlatformError("INVALID_ARGUMENT", "each request's parent must be the batch's", field="requests")
            wanted = request.get("roleBinding")
            pairs.append(_pair(wanted if isinstance(wanted, dict) else {}, common))
        return {"roleBindings": self._bound(caller, parent, pairs)}

    def _bound(self, caller: str, parent: str, pairs: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
        made = self._organizations.create_bindings(caller, parent, pairs)
        return [self._binding(self._organizations.binding(binding)) for binding in made]

    def _delete_binding(self, caller: str, uid: str, _query: Query, _body: Mapping[str, Any]) -> dict[str, Any]:
        self._organizations.delete_binding(caller, uid)
        return {}

    def _list_repositories(self, caller: str, _: str, query: Query, _body: Mapping[str, Any]) -> dict[str, Any]:
        above = _above(query)
        if above:
            self._organizations.demand(caller, above, "repo.list")
        else:
            self._demand_somewhere(caller, "repo.list")
        found = [
            {"uid": uid, "name": repository.name.partition("/")[2]}
            for uid, repository in self._repositories(caller).items()
            if above in ("", parent_of(uid))
        ]
        return _page("repos", [one for one in found if query.get("name") in (None, "", one["name"])], query)

    def _demand_somewhere(self, caller: str, capability: str) -> None:
        if capability not in self._organizations.capabilities_anywhere(caller):
            raise PlatformError("PERMISSION_DENIED", "caller does not have the required capabilities")

    def _binding(self, row: sqlite3.Row) -> dict[str, Any]:
        group, role = self._organizations.group(row["group_id"]), self._organizations.role(row["role"])
        identity = {"uid": row["identity"], "name": row["identity_name"], "email": row["email"]}
        if row["issuer_keys"] is None:  # of ClaimMatch only
            identity |= {"issuer": row["issuer"], "subject": row["subject"]}
        return {
            "uid": row["id"],
            "identity": {name: value for name, value in identity.items() if value},
            "group": {"uid": group["id"], "name": group["name"], "description": group["description"]},
            "role": {"uid": role.id, "name": role.name, "description": role.description},
            "createTime": _time(row["created_at"]),
        }


def _camel(name: str) -> str:
    return re.sub(r"_([a-z])", lambda found: found[1].upper(), name)


def _above(query: Query) -> str:
    return query.get("uidp.descendantsOf") or query.get("uidp.childrenOf") or ""


def _name(body: Mapping[str, Any]) -> str:
    name = body.get("name")
    if not isinstance(name, str) or not re.fullmatch(r"[a-z0-9 ._-]{1,}", name):
        raise PlatformError("INVALID_ARGUMENT", 'name must match "^[a-z0-9 ._-]{1,}$"', field="name")
    if not 3 <= len(name) <= 63:
        raise PlatformError("INVALID_ARGUMENT", "name must have 3 to 63 characters", field="name")
    return name


def _pair(binding: Mapping[str, Any], common: str) -> tuple[str, str]:
    role = str(binding.get("roleUid") or common)
    if common and role != common:
        raise PlatformError("INVALID_ARGUMENT", "role_uid differs from the batch's", field="role_uid")
    if not binding.get("identityUid") or not role:
        raise PlatformError("INVALID_ARGUMENT", "identity_uid and role_uid are required", field="role_binding")
    return str(binding["identityUid"]), role


def _page(field: str, found: Iterable[dict[str, Any]], query: Query) -> dict[str, Any]:
    """One page, by uid; a token that is none begins again, as an ended one does."""
    ordered = sorted(found, key=lambda one: str(one["uid"]))
    asked, skip = query.get("pageSize") or "0", query.get("skip") or "0"
    if not asked.isdigit() or not skip.isdigit():
        raise PlatformError("INVALID_ARGUMENT", "page_size and skip must be numbers, and not negative")
    size = min(int(asked) or _PAGE, _LARGEST_PAGE)
    try:
        after = base64.b64decode(query.get("pageToken", ""), validate=True).decode()
    except (binascii.Error, UnicodeError):
        after = ""
    rest = [one for one in ordered if str(one["uid"]) > after][int(skip) :]
    answer: dict[str, Any] = {field: rest[:size], "totalCount": str(len(ordered)), "skipped": int(skip)}
    if len(rest) > size:
        answer["nextPageToken"] = base64.b64encode(str(rest[size - 1]["uid"]).encode()).decode()
    if not rest:
        del answer[field]  # protobuf's JSON leaves an empty list out
    return answer


def _group(row: sqlite3.Row) -> dict[str, Any]:
    about = {"uid": row["id"], "name": row["name"], "description": row["description"], "verified": True}
    return about | {"kind": "ORG_KIND_CUSTOMER", "status": "ORG_STATUS_READY"}


def _role(role: Role) -> dict[str, Any]:
    about = {"uid": role.id, "name": role.name, "description": role.description}
    return about | {"capabilities": sorted(map(enum_name, role.capabilities)), "createTime": _time(role.created)}


def _identity(row: sqlite3.Row) -> dict[str, Any]:
    identity = {
        "uid": row["id"],
        "name": row["name"],
        "description": row["description"],
        "email": row["email"],
        "lastSeenTime": _time(row["last_seen"]),
        "createTime": _time(row["created_at"]),
        "updateTime": _time(row["updated_at"]),
    }
    claims = {"issuer": row["issuer"], "subject": row["subject"]}
    if row["issuer_keys"] is not None:
        identity["staticKeys"] = claims | {
            "issuerKeys": row["issuer_keys"],
            "expirationTime": _time(row["expiration"]),
        }
    elif row["issuer"] is not None:
        identity["claimMatch"] = claims | ({"audience": row["audience"]} if row["audience"] else {})
    return {name: value for name, value in identity.items() if value not in (None, "")}


def _time(seconds: float) -> str:
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"
