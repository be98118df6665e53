"""Which of Google's predefined roles holds what the runbook asks for, and which are the fewest that hold all of it.

It knows roles and permissions as Google publishes them (https://cloud.google.com/iam/docs/roles-permissions), and nobody who
has one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations


def _of(service: str, names: str) -> frozenset[str]:
    return frozenset(f"{service}.{name}" for name in names.split())


_PROJECT = _of("resourcemanager", "projects.get")
_PULL = _of("artifactregistry", "locations.list") | _of("artifactregistry.repositories", "downloadArtifacts get list")
_ACCESS = _of("secretmanager.versions", "access") | _PROJECT
_SECRETS = _of("secretmanager.secrets", "get getIamPolicy list") | _of("secretmanager.versions", "get list") | _PROJECT
_VERSIONS = _of("secretmanager.versions", "add destroy disable enable get list") | _PROJECT
_USAGE = _of("serviceusage", "operations.get services.get services.list")
_USE = _of("serviceusage.services", "use")
_PUBLISH = _of("pubsub.topics", "publish")

# What Artifact Registry's service agent needs on the secret that holds an upstream's password, and what whoever pulls needs.
READ_SECRET = "secretmanager.versions.access"  # noqa: S105 - a permission
PULL = "artifactregistry.repositories.downloadArtifacts"

# With it Artifact Registry's service agent reads the password.
ACCESSOR = "roles/secretmanager.secretAccessor"

# Of each role what the runbook may need, the narrow roles first. Artifact Registry offers nothing between reader and admin for
# making repositories; of Secret Manager only admin may create secrets and set their policies.
HELD: Mapping[str, frozenset[str]] = {
    "roles/browser": _PROJECT | _of("resourcemanager", "projects.getIamPolicy"),
    "roles/artifactregistry.reader": _PULL,
    ACCESSOR: _ACCESS,
    "roles/secretmanager.secretVersionAdder": _of("secretmanager.versions", "add") | _PROJECT,
    "roles/secretmanager.viewer": _SECRETS,
    "roles/secretmanager.secretVersionManager": _VERSIONS,
    "roles/serviceusage.serviceUsageViewer": _USAGE,
    "roles/serviceusage.serviceUsageConsumer": _USAGE | _USE,
    "roles/serviceusage.serviceUsageAdmin": _USAGE | _USE | _of("serviceusage.services", "disable enable"),
    "roles/logging.viewer": _of("logging", "logEntries.list"),
    "roles/pubsub.publisher": _PUBLISH,
    "roles/pubsub.editor": _PUBLISH,
    "roles/pubsub.admin": _PUBLISH | _of("pubsub.topics", "getIamPolicy"),
    "roles/artifactregistry.admin": _PULL
    | _of("artifactregistry.repositories", "create delete getIamPolicy setIamPolicy update"),
    "roles/secretmanager.admin": (_SECRETS | _VERSIONS | _ACCESS)
    | _of("secretmanager.secrets", "create delete setIamPolicy update"),
}

# The narrowest role that holds a permission, for each that the runbook may need.
ROLES: Mapping[str, str] = {permission: role for role in [*HELD][::-1] for permission in HELD[role]}


def may_hold(role: str, permission: str) -> bool:
    """Whether a role holds a permission, or may: one of nearly everything, or one of somebody's own making."""
    return permission in HELD.get(role, ()) or role in ("roles/editor", "roles/owner") or not role.startswith("roles/")


def narrowest_role(permission: str) -> str:
    """The narrowest predefined role that holds a permission, "" when it is not among those the runbook needs."""
    return ROLES.get(permission, "")


def fewest_roles(permissions: Iterable[str]) -> tuple[str, ...]:
    """The fewest predefined roles that together hold permissions, and of those the narrowest.

    Args:
        permissions: what is wanted; what no role of the runbook's holds is passed over.
    """
    wanted = frozenset(permissions) & ROLES.keys()
    for number in range(len(HELD) + 1):
        covers = [
            roles
            for roles in combinations(HELD, number)
            if wanted <= frozenset().union(*(HELD[role] for role in roles))
        ]
        if covers:
            return min(covers, key=lambda roles: sum(len(HELD[role]) for role in roles))
    raise AssertionError  # all roles together hold all that any of them holds
