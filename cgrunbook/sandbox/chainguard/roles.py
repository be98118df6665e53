"""The platform's roles: which capabilities each holds.

Knows nobody who has one (organizations.py).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

_PULL_NAMES = (
    "apk.list groups.list manifest.list manifest.metadata.list record_signatures.list referrers.list repo.blobs.get "
    "repo.list sboms.list tag.list vuln_reports.list"
)
_PULL = frozenset(_PULL_NAMES.split())
_CREATE_PULL_TOKENS = frozenset(["groups.list", "identity.create", "role_bindings.create", "roles.list"])
_VIEW = _PULL | {"identity.list", "libraries.entitlements.list", "role_bindings.list", "roles.list"}
_OWN = (
    _VIEW
    | _CREATE_PULL_TOKENS
    | {"identity.delete", "identity.update", "repo.update", "role_bindings.delete", "roles.create", "roles.delete"}
)

#: Capabilities by role. `registry.pull_token_creator` may make what it may not list or delete (SDK).
ROLES: Mapping[str, frozenset[str]] = {
    "owner": _OWN,
    "limited_owner": _OWN - {"repo.update"},
    "editor": _VIEW | {"repo.update"},
    "viewer": _VIEW,
    "registry.pull": _PULL,
    "registry.pull_token_creator": _PULL | _CREATE_PULL_TOKENS,
}

#: What the capabilities' enum calls those whose name does not follow from v1's (capabilities.proto).
_ENUM_PREFIX = re.compile(r"(?=(?:groups|identity|role_bindings|roles)\.)")
_ENUM_TENANT = re.compile(r"(?=(?:record_signatures|sboms|vuln_reports)\.)")


def enum_name(capability: str) -> str:
    """How v2 writes a capability: `CAP_IAM_IDENTITY_LIST` for v1's `identity.list`."""
    prefixed = _ENUM_TENANT.sub("tenant.", _ENUM_PREFIX.sub("iam.", capability, count=1), count=1)
    return f"CAP_{prefixed.replace('.', '_').upper()}"


#: Every capability that is played, by its name in v2.
CAPABILITIES: Mapping[str, str] = {enum_name(name): name for name in sorted(frozenset().union(*ROLES.values()))}


def role_id(name: str) -> str:
    """A role's id, the same in every sandbox."""
    return hashlib.sha256(f"chainguard role {name}".encode()).hexdigest()[:40]
