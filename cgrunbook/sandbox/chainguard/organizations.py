"""The organisations, and who is bound to which role in them: the group messages and the role bindings of the API.

Knows groups, bindings and the organisation's plan. What an identity is (identities.py) and how its bearer proves it
(sessions.py) is not its business.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from cgrunbook.sandbox.chainguard.roles import ROLES, role_id, role_json
from cgrunbook.sandbox.context import Sandbox
from cgrunbook.sandbox.errors import PlatformError

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

PUBLIC_ORGANIZATION = "chainguard"

#: Longest life of a pull token in hours by the organisation's plan (documentation of 2026-10-30).
TTL_CEILING_HOURS: Mapping[str, int] = {"starter": 720, "team": 168, "other": 8760}


def group_id(name: str) -> str:
    """The id of an organisation, 40 hex digits; the same name has the same id in every sandbox."""
    return hashlib.sha256(f"chainguard group {name}".encode()).hexdigest()[:40]


def parent_of(identifier: str) -> str:
    """The id of the group that something with this id belongs to."""
    return identifier.rpartition("/")[0]


class Organizations:
    """The organisations of a sandbox; they are founded, and the trainee made an owner, when it is new."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._state = sandbox.state
        self._state.declare(SCHEMA)
        with self._state.transaction():
            if self._state.row("SELECT 1 FROM cg_group") is None:
                self._found()

    def _found(self) -> None:
        organization = self._sandbox.settings.organization
        now = self._sandbox.clock.now().timestamp()
        with self._state.transaction() as rows:
            for name, description in (
                (organization, "The organization of the sandbox"),
                (PUBLIC_ORGANIZATION, "Chainguard's free containers"),
            ):
                rows.execute("INSERT INTO cg_group VALUES (?, ?, ?)", (group_id(name), name, description))
            rows.execute(
                "INSERT INTO cg_identity (id, name, description, email, created_at, updated_at) "
                "VALUES (:id, :email, '', :email, :now, :now)",
                {"id": self.trainee, "email": self.trainee_email, "now": now},
            )
        self.bind(self.trainee, group_id(organization), "owner")

    @property
    def trainee_email(self) -> str:
        """E-mail of the person who works in the sandbox."""
        return self._sandbox.settings.operator.partition(":")[2]

    @property
    def trainee(self) -> str:
        """Identity of the person who works in the sandbox."""
        return hashlib.sha256(f"chainguard identity {self.trainee_email}".encode()).hexdigest()[:40]

    def capabilities(self, identity: str, group: str) -> frozenset[str]:
        """What an identity may do in a group; nothing when either is unknown."""
        rows = self._state.read().execute(
            "SELECT role FROM cg_binding WHERE identity = ? AND group_id = ?", (identity, group)
        )
        return frozenset().union(*(ROLES[row["role"]] for row in rows))

    def demand(self, caller: str, group: str, capability: str) -> None:
        """Refuse an identity that lacks a capability in a group.

        Raises:
            PlatformError: it does.
        """
        if capability not in self.capabilities(caller, group):
            raise PlatformError("PERMISSION_DENIED", f'caller does not have the required capabilities at "{group}"')

    def identifier(self, name: str) -> str | None:
        """The id of an organisation, None when there is none of this name."""
        row = self._state.row("SELECT id FROM cg_group WHERE name = ?", name)
        return None if row is None else str(row["id"])

    def ttl_ceiling(self) -> timedelta:
        """How long a pull token of the organisation may live, by its plan."""
        return timedelta(hours=TTL_CEILING_HOURS[self._state.setting("chainguard.plan") or "other"])

    def set_plan(self, plan: str) -> None:
        """Put the organisation on another plan, a key of TTL_CEILING_HOURS."""
        if plan not in TTL_CEILING_HOURS:
            raise ValueError(f"{plan!r} is no plan; plans are {', '.join(TTL_CEILING_HOURS)}")
        self._state.remember("chainguard.plan", plan)

    def set_role(self, role: str | None) -> None:
        """Give the trainee another role in the organisation; None takes the trainee out of it."""
        with self._state.transaction() as rows:
            rows.execute("DELETE FROM cg_binding WHERE identity = ?", (self.trainee,))
            if role is not None:
                self.bind(self.trainee, group_id(self._sandbox.settings.organization), role)

    def bind(self, identity: str, group: str, role: str) -> str:
        """Bind an identity to a role in a group; answers the binding's id."""
        binding = f"{group}/{secrets.token_hex(8)}"
        with self._state.transaction() as rows:
            rows.execute("INSERT INTO cg_binding VALUES (?, ?, ?, ?)", (binding, group, identity, role))
        return binding

    def create_binding(self, caller: str, group: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Bind an identity to a role in a group; nobody can give more than they hold.

        Args:
            caller: who asks; needs role_bindings.create in the group.
            group: the group's id.
            body: the RoleBinding message in JSON.

        Raises:
            PlatformError: the caller may not, or identity or role do not exist.
        """
        self.demand(caller, group, "role_bindings.create")
        role = next((name for name in ROLES if role_id(name) == body.get("role")), None)
        if role is None:
            raise PlatformError("NOT_FOUND", "role not found")
        if not ROLES[role] <= self.capabilities(caller, group):
            raise PlatformError("PERMISSION_DENIED", f"the role {role} holds capabilities that the caller does not")
        identity = str(body.get("identity"))
        with self._state.transaction():
            if self._state.row("SELECT 1 FROM cg_identity WHERE id = ?", identity) is None:
                raise PlatformError("NOT_FOUND", "identity not found")
            binding = self.bind(identity, group, role)
        return {"id": binding, "identity": identity, "group": group, "role": role_id(role)}

    def list_bindings(self, caller: str, parent: str | None) -> list[dict[str, Any]]:
        """The role bindings that the caller may see, in one group or in all."""
        rows = self._state.read().execute(
            "SELECT cg_binding.*, cg_identity.email FROM cg_binding JOIN cg_identity ON cg_identity.id = identity "
            "ORDER BY cg_binding.id"
        )
        return [
            {
                "id": row["id"],
                "identity": row["identity"],
                "email": row["email"] or "",
                "group": self._group(row["group_id"]),
                "role": role_json(row["role"]),
            }
            for row in rows.fetchall()
            if parent in (None, row["group_id"]) and "role_bindings.list" in self.capabilities(caller, row["group_id"])
        ]

    def list_groups(self, caller: str, name: str | None, identifier: str | None) -> list[dict[str, Any]]:
        """The organisations that the caller may see; only the one of a name or an id where one is given."""
        rows = self._state.read().execute("SELECT id, name FROM cg_group ORDER BY name").fetchall()
        return [
            self._group(row["id"])
            for row in rows
            if name in (None, row["name"])
            and identifier in (None, row["id"])
            and "groups.list" in self.capabilities(caller, row["id"])
        ]

    def roles_of(self, identity: str) -> list[dict[str, Any]]:
        """What WhoAmI tells of an identity's bindings: each group and the role in it."""
        rows = self._state.read().execute("SELECT * FROM cg_binding WHERE identity = ?", (identity,)).fetchall()
        return [{"group": self._group(row["group_id"]), "role": role_json(row["role"])} for row in rows]

    def _group(self, identifier: str) -> dict[str, Any]:
        [row] = self._state.read().execute("SELECT id, name, description FROM cg_group WHERE id = ?", (identifier,))
        return {**dict(row), "verified": True}
