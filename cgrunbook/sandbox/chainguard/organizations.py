"""The organisations, their own roles, and who is bound to which role in them.

Knows groups, roles, bindings and the organisation's plan, and neither version of the API that tells of them. What an
identity is (identities.py) and how its bearer proves it (sessions.py) is not its business.
"""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from cgrunbook.sandbox.chainguard.roles import ROLES, role_id
from cgrunbook.sandbox.context import Sandbox
from cgrunbook.sandbox.errors import PlatformError

SCHEMA = """
CREATE TABLE IF NOT EXISTS cg_group (
    id TEXT PRIMARY KEY, name TEXT UNIQUE NOT NULL, description TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS cg_identity (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, description TEXT NOT NULL, email TEXT,
    issuer TEXT, subject TEXT, audience TEXT, issuer_keys TEXT, expiration REAL,
    created_at REAL NOT NULL, updated_at REAL NOT NULL, last_seen REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS cg_role (
    id TEXT PRIMARY KEY, group_id TEXT NOT NULL REFERENCES cg_group (id), name TEXT NOT NULL, description TEXT NOT NULL,
    capabilities TEXT NOT NULL, created_at REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS cg_binding (
    id TEXT PRIMARY KEY, group_id TEXT NOT NULL REFERENCES cg_group (id),
    identity TEXT NOT NULL REFERENCES cg_identity (id) ON DELETE CASCADE, role TEXT NOT NULL, created_at REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS cg_binding_identity ON cg_binding (identity);
"""

_BINDINGS = (
    "SELECT cg_binding.*, cg_identity.email, cg_identity.name AS identity_name, issuer, subject, issuer_keys "
    "FROM cg_binding JOIN cg_identity ON cg_identity.id = identity"
)

PUBLIC_ORGANIZATION = "chainguard"

#: Longest life of a pull token in hours by the organisation's plan (documentation of 2026-10-30).
TTL_CEILING_HOURS: Mapping[str, int] = {"starter": 720, "team": 168, "other": 8760}


@dataclass(frozen=True)
class Role:
    """A set of capabilities under a name.

    Args:
        id: 40 hex digits of one that comes with the platform; below its group's id of an organisation's own.
        name: such as "registry.pull".
        description: for a person.
        capabilities: as v1 names them.
        created: seconds since 1970.
    """

    id: str
    name: str
    description: str
    capabilities: frozenset[str]
    created: float = 0.0


_MANAGED: Mapping[str, Role] = {
    role_id(name): Role(role_id(name), name, f"{name} (built-in)", capabilities) for name, capabilities in ROLES.items()
}


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
                "INSERT INTO cg_identity (id, name, description, email, created_at, updated_at, last_seen) "
                "VALUES (:id, :email, '', :email, :now, :now, :now)",
                {"id": self.trainee, "email": self.trainee_email, "now": now},
            )
        self.bind(self.trainee, group_id(organization), role_id("owner"))

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
        return self._held("identity = ? AND group_id = ?", identity, group)

    def capabilities_anywhere(self, identity: str) -> frozenset[str]:
        """What an identity may do in some group."""
        return self._held("identity = ?", identity)

    def _held(self, where: str, *values: str) -> frozenset[str]:
        bindings = self._state.read().execute(f"SELECT DISTINCT role FROM cg_binding WHERE {where}", values)  # noqa: S608
        return frozenset().union(*(self.role(row["role"]).capabilities for row in bindings))

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
        plan = self._state.setting("chainguard.plan") or self._sandbox.settings.chainguard_plan
        return timedelta(hours=TTL_CEILING_HOURS[plan])

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
                self.bind(self.trainee, group_id(self._sandbox.settings.organization), role_id(role))

    def bind(self, identity: str, group: str, role: str) -> str:
        """Bind an identity to a role, by its id, in a group; answers the binding's id."""
        binding = f"{group}/{secrets.token_hex(8)}"
        now = self._sandbox.clock.now().timestamp()
        with self._state.transaction() as rows:
            rows.execute("INSERT INTO cg_binding VALUES (?, ?, ?, ?, ?)", (binding, group, identity, role, now))
        return binding

    def role(self, identifier: str) -> Role:
        """A role by its id.

        Raises:
            PlatformError: NOT_FOUND.
        """
        if identifier in _MANAGED:
            return _MANAGED[identifier]
        row = self._state.row("SELECT * FROM cg_role WHERE id = ?", identifier)
        if row is None:
            raise PlatformError("NOT_FOUND", f"role {identifier} not found")
        return _role(row)

    def roles(self, caller: str) -> list[Role]:
        """The roles that come with the platform, which everybody may see, and the organisations' own that the caller may."""
        rows = self._state.read().execute("SELECT * FROM cg_role ORDER BY id").fetchall()
        seen = [row for row in rows if "roles.list" in self.capabilities(caller, row["group_id"])]
        return [*_MANAGED.values(), *map(_role, seen)]

    def create_role(self, caller: str, group: str, name: str, capabilities: Sequence[str], description: str) -> Role:
        """Make an organisation's own role; nobody can put more into it than they hold.

        Args:
            caller: who asks; needs roles.create in the group.
            group: the group's id.
            name: lower-case letters, digits, space, dot, underscore, dash.
            capabilities: at least one, as v1 names them.
            description: for a person.

        Raises:
            PlatformError: the caller may not, or what is asked for is not acceptable.
        """
        self.demand(caller, group, "roles.create")
        if not capabilities:
            raise PlatformError("INVALID_ARGUMENT", "a role must have at least one capability", field="capabilities")
        self._demand_no_less(caller, group, frozenset(capabilities), name)
        with self._state.transaction() as rows:
            if self._state.row("SELECT 1 FROM cg_role WHERE group_id = ? AND name = ?", group, name) is not None:
                raise PlatformError("ALREADY_EXISTS", f"role {name} already exists")
            made = f"{group}/{secrets.token_hex(8)}"
            now = self._sandbox.clock.now().timestamp()
            values = (made, group, name, description, " ".join(sorted(set(capabilities))), now)
            rows.execute("INSERT INTO cg_role VALUES (?, ?, ?, ?, ?, ?)", values)
        return self.role(made)

    def delete_role(self, caller: str, role: str) -> None:
        """Delete an organisation's own role.

        Raises:
            PlatformError: the caller may not, there is none, it comes with the platform, or somebody is bound to it.
        """
        if role in _MANAGED:
            raise PlatformError("PERMISSION_DENIED", "managed roles cannot be deleted")
        self.demand(caller, parent_of(role), "roles.delete")
        self.role(role)
        with self._state.transaction() as rows:
            if self._state.row("SELECT 1 FROM cg_binding WHERE role = ?", role) is not None:
                raise PlatformError("FAILED_PRECONDITION", "cannot delete a role that identities are bound to")
            rows.execute("DELETE FROM cg_role WHERE id = ?", (role,))

    def create_bindings(self, caller: str, group: str, asked: Sequence[tuple[str, str]]) -> list[str]:
        """Bind identities to roles in a group, all or none; nobody can give more than they hold.

        Args:
            caller: who asks; needs role_bindings.create in the group.
            group: the group's id.
            asked: pairs of an identity's id and a role's.

        Returns:
            The bindings' ids.

        Raises:
            PlatformError: the caller may not, or identity or role do not exist.
        """
        self.demand(caller, group, "role_bindings.create")
        with self._state.transaction():
            made = []
            for identity, wanted in asked:
                role = self.role(wanted)
                self._demand_no_less(caller, group, role.capabilities, role.name)
                if self._state.row("SELECT 1 FROM cg_identity WHERE id = ?", identity) is None:
                    raise PlatformError("NOT_FOUND", "identity not found")
                made.append(self.bind(identity, group, role.id))
            return made

    def _demand_no_less(self, caller: str, group: str, capabilities: frozenset[str], role: str) -> None:
        if not capabilities <= self.capabilities(caller, group):
            raise PlatformError("PERMISSION_DENIED", f"the role {role} holds capabilities that the caller does not")

    def bindings(self, caller: str) -> list[sqlite3.Row]:
        """The role bindings that the caller may see, as `binding` has them."""
        rows = self._state.read().execute(f"{_BINDINGS} ORDER BY cg_binding.id").fetchall()
        return [row for row in rows if "role_bindings.list" in self.capabilities(caller, row["group_id"])]

    def binding(self, identifier: str) -> sqlite3.Row:
        """A binding of which it is known that it is there, with `email`, `identity_name` and the claims of its identity."""
        [row] = self._state.read().execute(f"{_BINDINGS} WHERE cg_binding.id = ?", (identifier,))
        found: sqlite3.Row = row
        return found

    def delete_binding(self, caller: str, binding: str) -> None:
        """Take a binding away; one that is not there is no error (v2, DeleteRoleBinding).

        Raises:
            PlatformError: the caller lacks role_bindings.delete in the group.
        """
        self.demand(caller, parent_of(binding), "role_bindings.delete")
        with self._state.transaction() as rows:
            rows.execute("DELETE FROM cg_binding WHERE id = ?", (binding,))

    def groups(self, caller: str) -> list[sqlite3.Row]:
        """The organisations that the caller may see, by name."""
        rows = self._state.read().execute("SELECT id, name, description FROM cg_group ORDER BY name").fetchall()
        return [row for row in rows if "groups.list" in self.capabilities(caller, row["id"])]

    def roles_of(self, identity: str) -> list[tuple[sqlite3.Row, Role]]:
        """What an identity is bound to: each group and the role in it."""
        rows = self._state.read().execute("SELECT * FROM cg_binding WHERE identity = ?", (identity,)).fetchall()
        return [(self.group(row["group_id"]), self.role(row["role"])) for row in rows]

    def group(self, identifier: str) -> sqlite3.Row:
        """An organisation by its id, of which it is known that it is there."""
        row = self._state.row("SELECT id, name, description FROM cg_group WHERE id = ?", identifier)
        if row is None:
            raise PlatformError("NOT_FOUND", f"group {identifier} not found")
        return row


def _role(row: sqlite3.Row) -> Role:
    return Role(row["id"], row["name"], row["description"], frozenset(row["capabilities"].split()), row["created_at"])
