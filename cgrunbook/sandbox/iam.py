"""Who may do what: policies on project, secret and repository, their etags and delays, and service agents.

Knows principals, permissions and resource names with the project's id. Knows no service's wire format.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
import sqlite3
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from cgrunbook.sandbox import errors
from cgrunbook.sandbox.conditions import condition_holds
from cgrunbook.sandbox.roles import ROLES
from cgrunbook.sandbox.settings import Settings
from cgrunbook.sandbox.state import Clock, State, timestamp

SCHEMA = """
CREATE TABLE IF NOT EXISTS policy (
    resource TEXT NOT NULL, sequence INTEGER NOT NULL, body TEXT NOT NULL, etag TEXT NOT NULL,
    effective_at TEXT NOT NULL, PRIMARY KEY (resource, sequence)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS service_agent (
    service TEXT PRIMARY KEY, email TEXT NOT NULL UNIQUE, unique_id TEXT NOT NULL, visible_at TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS custom_role (name TEXT PRIMARY KEY, permissions TEXT NOT NULL) WITHOUT ROWID;
"""
#: Etag that Google answers for a resource that never had a policy (base64 of one field: ACAB).
NO_POLICY_ETAG = "ACAB"
_MEMBER = re.compile(
    r"^(?:allUsers|allAuthenticatedUsers"
    r"|(?:user|group|serviceAccount):[^\s:@]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}"
    r"|domain:[A-Za-z0-9.-]+\.[A-Za-z]{2,}"
    r"|(?:projectOwner|projectEditor|projectViewer):[a-z0-9:.-]+"
    r"|deleted:(?:user|group|serviceAccount):\S+\?uid=\d+"
    r"|principal(?:Set)?://\S+)$"
)
_AGENT_DOMAIN = re.compile(r"^serviceAccount:(?P<email>service-\d+@gcp-sa-[a-z0-9-]+\.iam\.gserviceaccount\.com)$")
_AGENT_ROLES = {"artifactregistry.googleapis.com": "roles/artifactregistry.serviceAgent"}
_BASIC_ROLES = {"projectOwner": "roles/owner", "projectEditor": "roles/editor", "projectViewer": "roles/viewer"}
_NOT_ON_RESOURCES = frozenset({"roles/browser", "roles/resourcemanager.projectIamAdmin"})


class Iam:
    """Policies and the questions asked of them.

    A resource is named with the project's id and without the service's host: `projects/P`, `projects/P/secrets/S`,
    `projects/P/locations/L/repositories/R`. A grant on the project holds for everything in it.

    Args:
        settings: project, operator and delays.
        state: where policies and agents are kept.
        clock: decides which policy is effective by now.
    """

    def __init__(self, settings: Settings, state: State, clock: Clock) -> None:
        self._settings = settings
        self._state = state
        self._clock = clock
        state.declare(SCHEMA)
        self._project = f"projects/{settings.project_id}"
        with state.transaction():
            if self._newest(self._project) is None:
                bindings = [{"role": "roles/owner", "members": [settings.operator]}]
                self._store(self._project, {"version": 1, "bindings": bindings}, self._clock.now())

    def allowed(self, principal: str | None, permission: str, resource: str) -> bool:
        """Whether a principal holds a permission by now.

        Args:
            principal: IAM's member form, or None for an anonymous caller.
            permission: for example "artifactregistry.repositories.get".
            resource: the resource's name; grants on its project count too.
        """
        now = self._clock.now()
        for name in _lineage(resource):
            policy = self._effective(name, now)
            for binding in policy.get("bindings", ()):
                if (
                    permission in self.permissions(binding["role"])
                    and any(self._is_member(principal, member, now) for member in binding.get("members", ()))
                    and self._condition_holds(binding.get("condition"), resource, now)
                ):
                    return True
        return False

    def permissions(self, role: str) -> frozenset[str]:
        """What a role holds, a predefined one or one of the project's own; nothing when there is none of this name."""
        if role in ROLES or "/roles/" not in role:
            return ROLES.get(role, frozenset())
        row = self._state.row("SELECT permissions FROM custom_role WHERE name = ?", role)
        return frozenset() if row is None else frozenset(row["permissions"].split())

    def _condition_holds(self, condition: Mapping[str, Any] | None, resource: str, now: datetime) -> bool:
        """Ask with the project's id and with its number in the name: people write either."""
        numbered = resource.replace(self._project, f"projects/{self._settings.project_number}", 1)
        return condition_holds(condition, resource, now) or condition_holds(condition, numbered, now)

    def check(self, principal: str | None, permission: str, resource: str) -> None:
        """Refuse a principal that does not hold a permission.

        Raises:
            errors.PermissionDenied: in the words of the service that the permission belongs to.
        """
        if not self.allowed(principal, permission, resource):
            raise permission_denied(permission, resource)

    def held(self, principal: str | None, permissions: Iterable[str], resource: str) -> list[str]:
        """Those of the permissions that the principal holds, in the order asked."""
        return [permission for permission in permissions if self.allowed(principal, permission, resource)]

    def policy(self, resource: str, requested_version: int = 1) -> dict[str, Any]:
        """A resource's newest policy, effective or not yet.

        Args:
            resource: whose.
            requested_version: 3 to be shown conditions; below, a conditional role shows with a hash for its condition.
        """
        row = self._newest(resource)
        if row is None:
            return {"etag": NO_POLICY_ETAG}
        body: dict[str, Any] = json.loads(row["body"])
        bindings = body.get("bindings", [])
        if requested_version < 3:
            bindings = [_without_condition(binding) for binding in bindings]
        conditional = any("condition" in binding for binding in bindings)
        answer: dict[str, Any] = {"version": 3 if conditional else 1, "etag": row["etag"]}
        if bindings:
            answer["bindings"] = bindings
        return answer

    def set_policy(self, resource: str, policy: Mapping[str, Any]) -> dict[str, Any]:
        """Replace a resource's policy; answers it as it is kept, with its new etag.

        Args:
            resource: whose.
            policy: google.iam.v1.Policy in JSON, its types already checked.

        Raises:
            errors.Aborted: the etag given is no longer current.
            errors.InvalidArgument: a role or member that does not exist, a condition below version 3.
        """
        with self._state.transaction():
            current = self._newest(resource)
            etag = policy.get("etag")
            if etag and etag != (current["etag"] if current is not None else NO_POLICY_ETAG):
                raise errors.Aborted(
                    "There were concurrent policy changes. Please retry the whole read-modify-write with exponential "
                    "backoff. The request's ETag did not match the current policy's ETag."
                )
            self._protect_conditions(current, policy)
            bindings = self._checked_bindings(policy, resource)
            version = 3 if any("condition" in binding for binding in bindings) else 1
            effective = self._clock.now() + timedelta(seconds=self._settings.iam_delay)
            self._store(resource, {"version": version, "bindings": bindings}, effective)
        return self.policy(resource, 3)

    def forget(self, resource: str) -> None:
        """Drop the policy of a resource that is deleted."""
        with self._state.transaction() as connection:
            connection.execute("DELETE FROM policy WHERE resource = ?", (resource,))

    def agent_email(self, service: str) -> str:
        """The e-mail that the agent of a service ("artifactregistry.googleapis.com") has or would have."""
        name = service.partition(".")[0]
        return f"service-{self._settings.project_number}@gcp-sa-{name}.iam.gserviceaccount.com"

    def agent(self, service: str) -> str | None:
        """The e-mail of a service's agent once it exists and is visible, or None."""
        row = self._state.row("SELECT * FROM service_agent WHERE service = ?", service)
        if row is None or row["visible_at"] > timestamp(self._clock.now()):
            return None
        return str(row["email"])

    def make_agent(self, service: str) -> tuple[str, str]:
        """Make a service's agent exist; it becomes visible to policies after the agent delay.

        Returns:
            Its e-mail and unique id, of the one there is already if there is one.
        """
        with self._state.transaction() as connection:
            row = self._state.row("SELECT * FROM service_agent WHERE service = ?", service)
            if row is not None:
                return str(row["email"]), str(row["unique_id"])
            now = self._clock.now()
            email = self.agent_email(service)
            unique_id = "1" + "".join(secrets.choice("0123456789") for _ in range(20))
            visible = timestamp(now + timedelta(seconds=self._settings.agent_delay))
            connection.execute("INSERT INTO service_agent VALUES (?, ?, ?, ?)", (service, email, unique_id, visible))
            if (role := _AGENT_ROLES.get(service)) is not None:
                self._grant(self._project, role, f"serviceAccount:{email}", now)
            return email, unique_id

    def _grant(self, resource: str, role: str, member: str, effective: datetime) -> None:
        row = self._newest(resource)
        body: dict[str, Any] = json.loads(row["body"]) if row is not None else {"version": 1, "bindings": []}
        for binding in body["bindings"]:
            if binding["role"] == role and "condition" not in binding:
                if member not in binding["members"]:
                    binding["members"].append(member)
                break
        else:
            body["bindings"].append({"role": role, "members": [member]})
        self._store(resource, body, effective)

    def _newest(self, resource: str) -> sqlite3.Row | None:
        return self._state.row("SELECT * FROM policy WHERE resource = ? ORDER BY sequence DESC LIMIT 1", resource)

    def _effective(self, resource: str, now: datetime) -> dict[str, Any]:
        query = "SELECT body FROM policy WHERE resource = ? AND effective_at <= ? ORDER BY sequence DESC LIMIT 1"
        row = self._state.row(query, resource, timestamp(now))
        body: dict[str, Any] = json.loads(row["body"]) if row is not None else {}
        return body

    def _store(self, resource: str, body: Mapping[str, Any], effective: datetime) -> None:
        with self._state.transaction() as connection:
            row = self._newest(resource)
            sequence = 1 if row is None else row["sequence"] + 1
            # Only the last policy that is effective by now still matters of the older ones.
            connection.execute(
                "DELETE FROM policy WHERE resource = :resource AND sequence < "
                "(SELECT max(sequence) FROM policy WHERE resource = :resource AND effective_at <= :now)",
                {"resource": resource, "now": timestamp(self._clock.now())},
            )
            etag = base64.b64encode(b"\x07" + secrets.token_bytes(7)).decode()
            connection.execute(
                "INSERT INTO policy VALUES (?, ?, ?, ?, ?)",
                (resource, sequence, json.dumps(body), etag, timestamp(effective)),
            )

    def _is_member(self, principal: str | None, member: str, now: datetime) -> bool:
        if member == "allUsers":
            return True
        if principal is None:
            return False
        if member in {principal, "allAuthenticatedUsers"}:
            return True
        if member.startswith("domain:"):
            return principal.startswith("user:") and principal.endswith("@" + member.removeprefix("domain:"))
        kind, _, project = member.partition(":")
        if kind in _BASIC_ROLES and project == self._settings.project_id:
            bindings = self._effective(self._project, now).get("bindings", ())
            return any(
                binding["role"] == _BASIC_ROLES[kind] and principal in binding.get("members", ())
                for binding in bindings
            )
        return False

    def _checked_bindings(self, policy: Mapping[str, Any], resource: str) -> list[dict[str, Any]]:
        merged: dict[tuple[str, str], dict[str, Any]] = {}
        for binding in policy.get("bindings", ()):
            role, condition = binding.get("role", ""), binding.get("condition")
            if not self.permissions(role) or (resource != self._project and role in _NOT_ON_RESOURCES):
                raise errors.InvalidArgument(f"Role {role} is not supported for this resource.")
            if condition is not None and int(policy.get("version", 0)) < 3:
                raise errors.InvalidArgument(
                    "Conditional role bindings are only supported in policies of version 3; set the policy's "
                    "version to 3."
                )
            if condition is not None and not condition.get("expression"):
                raise errors.InvalidArgument("The condition of a role binding must have an expression.")
            key = (role, json.dumps(condition, sort_keys=True))
            members = merged.setdefault(
                key, {"role": role, "members": []} | ({"condition": condition} if condition else {})
            )
            for member in binding.get("members", ()):
                self._check_member(member)
                if member not in members["members"]:
                    members["members"].append(member)
        return [binding for binding in merged.values() if binding["members"]]

    def _check_member(self, member: str) -> None:
        if not _MEMBER.fullmatch(member):
            raise errors.InvalidArgument(
                f"Invalid member: {member!r}. Is its type prefix (user:, serviceAccount:, ...) right?"
            )
        agent = _AGENT_DOMAIN.fullmatch(member)
        if agent is None:
            return
        row = self._state.row("SELECT visible_at FROM service_agent WHERE email = ?", agent["email"])
        if row is None or row["visible_at"] > timestamp(self._clock.now()):
            raise errors.InvalidArgument(f"Service account {agent['email']} does not exist.")

    def _protect_conditions(self, current: sqlite3.Row | None, policy: Mapping[str, Any]) -> None:
        """Refuse to lose conditions to a client that read the policy below version 3."""
        if current is None or int(policy.get("version", 0)) >= 3:
            return
        if any("_withcond_" in binding.get("role", "") for binding in policy.get("bindings", ())):
            raise errors.InvalidArgument(
                "The policy has conditional role bindings that were read with a version below 3. Read it with "
                "options.requestedPolicyVersion=3 and write it with version 3."
            )


def _lineage(resource: str) -> list[str]:
    """A resource and everything that it is in, the project last."""
    parts = resource.split("/")
    return ["/".join(parts[:length]) for length in range(len(parts) - len(parts) % 2, 0, -2)]


def permission_denied(permission: str, resource: str) -> errors.PermissionDenied:
    """A service's refusal, with google.rpc.ErrorInfo.

    Args:
        permission: what the caller lacks; its first part says whose words are used.
        resource: the resource's name, without the service's host.
    """
    service = permission.partition(".")[0]
    domain = {"resourcemanager": "cloudresourcemanager"}.get(service, service) + ".googleapis.com"
    # Artifact Registry alone names the resource with its own host in the details, Secret Manager nowhere.
    named = f"//{domain}/{resource}" if service == "artifactregistry" else resource
    if service == "secretmanager":
        message = f"Permission '{permission}' denied for resource '{resource}' (or it may not exist)."
    elif service in {"artifactregistry", "resourcemanager"}:
        message = f"Permission '{permission}' denied on resource '//{domain}/{resource}' (or it may not exist)."
    elif service == "cloudkms":
        message = f"Permission '{permission}' denied on resource '{resource}' (or it may not exist)."
    elif service == "pubsub":
        message = "User not authorized to perform this action."
    elif service == "logging":
        return errors.PermissionDenied("Permission denied for all log views")  # with no details, as people quote it
    else:
        message = f"Permission denied to {_DEED.get(permission, 'use service')} [{resource.rpartition('/')[2]}]"
    detail = {
        "@type": errors.ERROR_INFO,
        "reason": "IAM_PERMISSION_DENIED" if service != "serviceusage" else "AUTH_PERMISSION_DENIED",
        "domain": domain,
        "metadata": {"permission": permission, "resource": named},
    }
    return errors.PermissionDenied(message, [detail])


_DEED: Mapping[str, str] = {
    "serviceusage.services.get": "get service",
    "serviceusage.services.list": "list services for consumer container",
    "serviceusage.services.enable": "enable service",
    "serviceusage.services.disable": "disable service",
    "serviceusage.operations.get": "get operation",
}


def _without_condition(binding: Mapping[str, Any]) -> dict[str, Any]:
    if "condition" not in binding:
        return dict(binding)
    digest = hashlib.sha256(json.dumps(binding["condition"], sort_keys=True).encode()).hexdigest()[:20]
    return {"role": f"{binding['role']}_withcond_{digest}", "members": list(binding["members"])}
