"""The platform's roles: which capabilities each holds.

Knows nobody who has one (organizations.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

_PULL_NAMES = (
    "apk.list groups.list manifest.list manifest.metadata.list record_signatures.list referrers.list repo.blobs.get "
    "repo.list sboms.list tag.list vuln_reports.list"
)
_PULL = frozenset(_PULL_NAMES.split())
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


def role_id(name: str) -> str:
    """A role's id, the same in every sandbox."""
    return hashlib.sha256(f"chainguard role {name}".encode()).hexdigest()[:40]


def role_json(name: str) -> dict[str, Any]:
    """The Role message."""
    return {"id": role_id(name), "name": name, "description": "", "capabilities": sorted(ROLES[name])}
