"""Artifact Registry's Repository: what it may hold, what a patch may change, and where it is kept.

Knows a repository's rules beyond its schema. Knows no permissions and asks no upstream.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from cgrunbook.sandbox import errors
from cgrunbook.sandbox.context import Sandbox
from cgrunbook.sandbox.google.labels import check_labels
from cgrunbook.sandbox.google.messages import at_path, merge_path, parse_mask, snake, span
from cgrunbook.sandbox.google.wire import Call

SCHEMA = """
CREATE TABLE IF NOT EXISTS repository (
    location TEXT NOT NULL, id TEXT NOT NULL, document TEXT NOT NULL, PRIMARY KEY (location, id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS vpcsc_config (location TEXT PRIMARY KEY, policy TEXT NOT NULL) WITHOUT ROWID;
"""
PACKAGE = "google.devtools.artifactregistry.v1"
_SOURCE_OF_FORMAT = {
    "DOCKER": "dockerRepository",
    "MAVEN": "mavenRepository",
    "NPM": "npmRepository",
    "PYTHON": "pythonRepository",
    "APT": "aptRepository",
    "YUM": "yumRepository",
}
_SOURCES = (*_SOURCE_OF_FORMAT.values(), "commonRepository")
_ID = re.compile(r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")
_GCR_IDS = frozenset({"gcr.io", "us.gcr.io", "eu.gcr.io", "asia.gcr.io"})
_SECRET_VERSION = re.compile(r"projects/[a-z0-9:.-]+/secrets/[A-Za-z0-9_-]{1,255}/versions/[A-Za-z0-9_-]{1,63}")
_KMS_KEY = re.compile(r"projects/[^/]+/locations/(?P<location>[^/]+)/keyRings/[^/]+/cryptoKeys/[^/]+")
NAME = re.compile(r"projects/[^/]+/locations/(?P<location>[^/]+)/repositories/(?P<id>[^/]+)")
#: What Artifact Registry says of what is wrong or not there, without saying more.
INVALID = "Request contains an invalid argument."
MISSING = "Requested entity was not found."
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")
_MOST_CLEANUP_POLICIES = 10
_MOST_DESCRIPTION = 1024
_IMMUTABLE = frozenset({"format", "mode", "kmsKeyName"})
_UPDATABLE = (
    "description",
    "labels",
    "mavenConfig",
    "dockerConfig",
    "cleanupPolicies",
    "cleanupPolicyDryRun",
    "virtualRepositoryConfig",
    "remoteRepositoryConfig",
    "vulnerabilityScanningConfig",
    "disallowUnspecifiedMode",
    "platformLogsConfig",
)
_CREDENTIALS = ("remoteRepositoryConfig", "upstreamCredentials", "usernamePasswordCredentials")


def repository(sandbox: Sandbox, location: str, identifier: str) -> dict[str, Any] | None:
    """A repository as it is configured, or None; what the data plane asks.

    It is the Repository message in JSON with enum names: `format`, `mode`, `remoteRepositoryConfig` with its
    `upstreamCredentials`, and so on. `disableUpstreamValidation` is never kept.
    """
    sandbox.state.declare(SCHEMA)
    row = sandbox.state.row("SELECT document FROM repository WHERE location = ? AND id = ?", location, identifier)
    if row is None:
        return None
    document: dict[str, Any] = json.loads(row["document"])
    return document


#: A setting's name without the location that it is for.
PLATFORM_LOGS = "artifact_registry_platform_logs_"


def project_platform_logs(sandbox: Sandbox, location: str) -> dict[str, Any]:
    """The platform logs' setting of a location, for repositories that have none of their own."""
    kept: dict[str, Any] = json.loads(sandbox.state.setting(f"{PLATFORM_LOGS}{location}") or "{}")
    return kept


def upstream_uri(document: Mapping[str, Any]) -> str | None:
    """The URI that a remote repository pulls from, whichever of the shapes names it; None for other modes."""
    remote = document.get("remoteRepositoryConfig")
    if not remote:
        return None
    for path in (("commonRepository", "uri"), ("dockerRepository", "customRepository", "uri")):
        uri = at_path(remote, path)
        if uri:
            return str(uri)
    if at_path(remote, ("dockerRepository", "publicRepository")) == "DOCKER_HUB":
        return "https://registry-1.docker.io"
    return None


def credentials(document: Mapping[str, Any]) -> tuple[str, str] | None:
    """A remote repository's upstream username and the name of its password's secret version, or None."""
    pair = at_path(document, _CREDENTIALS)
    return None if not pair else (pair["username"], pair["passwordSecretVersion"])


def _invalid(field: str, description: str) -> errors.InvalidArgument:
    return errors.InvalidArgument.at(f"repository.{field}" if field else "", description)


def _check_cleanup(policies: Mapping[str, Mapping[str, Any]]) -> None:
    if len(policies) > _MOST_CLEANUP_POLICIES:
        raise _invalid("cleanup_policies", f"A repository has at most {_MOST_CLEANUP_POLICIES} cleanup policies.")
    for identifier, policy in policies.items():
        where = f"cleanup_policies[{identifier[:128]}]"
        if not 1 <= len(identifier) < 128:
            raise _invalid("cleanup_policies", "The id of a cleanup policy has 1 to 127 characters.")
        if policy.get("id", identifier) != identifier:
            raise _invalid(where, "The id of a cleanup policy must be its key in the map.")
        if policy.get("action", "ACTION_UNSPECIFIED") == "ACTION_UNSPECIFIED":
            raise _invalid(where, "A cleanup policy must have an action.")
        _check_cleanup_rule(policy, where)


def _check_cleanup_rule(policy: Mapping[str, Any], where: str) -> None:
    """Check what a cleanup policy, whose id and action are right, is about."""
    recent, condition = policy.get("mostRecentVersions"), policy.get("condition")
    if recent is not None:
        if policy["action"] != "KEEP":
            raise _invalid(where, "The most recent versions can be kept, not deleted.")
        if recent.get("keepCount", 0) < 1:
            raise _invalid(where, "The count of versions to keep must be positive.")
        return
    if condition is None:
        raise _invalid(where, "A cleanup policy must have a condition or the most recent versions to keep.")
    for name in ("olderThan", "newerThan"):
        if name in condition and span(condition[name]) <= timedelta(0):
            raise _invalid(f"{where}.condition.{snake(name)}", "The age in a cleanup policy must be positive.")
    if condition.get("tagPrefixes") and condition.get("tagState") == "UNTAGGED":
        raise _invalid(f"{where}.condition", "Versions without tags have no tag prefixes.")


def _check_uri(sandbox: Sandbox, remote: Mapping[str, Any], *, docker: bool) -> None:
    common = "commonRepository" in remote
    field = "common_repository.uri" if common else "docker_repository.custom_repository.uri"
    field = f"remote_repository_config.{field}"
    uri = upstream_uri({"remoteRepositoryConfig": remote})
    if not uri:
        raise _invalid(field, "The URI of the upstream must be given.")
    if common and (match := NAME.fullmatch(uri)) is not None:
        if repository(sandbox, match["location"], match["id"]) is None:
            raise _invalid(field, f"The upstream repository {uri} does not exist.")
        return
    host, path = _host_and_path(uri, field)
    is_artifact_registry = host.endswith(".pkg.dev")
    if is_artifact_registry and not common:
        raise errors.InvalidArgument(
            "Failed to validate remote upstream: generic::invalid_argument: Artifact Registry repositories not "
            "supported as custom remote repository URI"
        )
    if path and docker and not is_artifact_registry:
        raise _invalid(
            field, f"The upstream {uri[:200]!r} must be the root of a registry: a path after the host is not supported."
        )


def _host_and_path(uri: str, field: str) -> tuple[str, str]:
    """The host and the path (without slashes around it) of an upstream's URL."""
    shown = repr(uri[:200])
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise _invalid(field, f"The upstream {shown} is no URL.") from None
    # Plain http is for registries on this machine, against which the sandbox is checked; Google takes https only.
    if parts.scheme != "https" and not (parts.scheme == "http" and host in {"127.0.0.1", "localhost"}):
        raise _invalid(field, f"The upstream {shown} must begin with https://.")
    if not _HOST.fullmatch(host) or port == 0 or any((parts.username, parts.password, parts.query, parts.fragment)):
        raise _invalid(field, f"The upstream {shown} must be https:// and a host, and nothing else.")
    return host, parts.path.strip("/")


def _check_remote(sandbox: Sandbox, document: Mapping[str, Any]) -> None:
    remote, mode, form = document.get("remoteRepositoryConfig"), document["mode"], document["format"]
    if mode != "REMOTE_REPOSITORY":
        if remote is not None:
            raise _invalid("remote_repository_config", "Only a repository of mode REMOTE_REPOSITORY has an upstream.")
        return
    if not remote:
        raise _invalid("remote_repository_config", "A remote repository must have a remote repository config.")
    source = next((name for name in _SOURCES if name in remote), None)
    if source is None:
        raise _invalid("remote_repository_config", "A remote repository must have a remote source.")
    if source not in {"commonRepository", _SOURCE_OF_FORMAT.get(form)}:
        raise _invalid(
            f"remote_repository_config.{snake(source)}",
            f"The remote source does not fit a repository of format {form}.",
        )
    preset = remote[source].get("publicRepository", "PUBLIC_REPOSITORY_UNSPECIFIED")
    if preset == "PUBLIC_REPOSITORY_UNSPECIFIED" and source in {"commonRepository", "dockerRepository"}:
        _check_uri(sandbox, remote, docker=form == "DOCKER")
    if "noCache" in remote:
        sandbox.hint("a connector (noCache) was asked for, which the sandbox does not play: it always caches")
        raise errors.Unimplemented("Operation is not implemented, or supported, or enabled: noCache.")
    if "upstreamCredentials" in remote:
        _check_credentials(remote)


def _check_credentials(remote: Mapping[str, Any]) -> None:
    pair = at_path(remote, ("upstreamCredentials", "usernamePasswordCredentials")) or {}
    where = "remote_repository_config.upstream_credentials.username_password_credentials"
    if not pair.get("username") or not pair.get("passwordSecretVersion"):
        raise _invalid(where, "Upstream credentials need a username and the secret version of its password, both.")
    if not _SECRET_VERSION.fullmatch(pair["passwordSecretVersion"]):
        raise _invalid(
            f"{where}.password_secret_version",
            "The password's secret version must have the form projects/{project}/secrets/{secret}/versions/{version}.",
        )


def _check_virtual(document: Mapping[str, Any]) -> None:
    virtual = document.get("virtualRepositoryConfig")
    if virtual is None:
        return
    if document["mode"] != "VIRTUAL_REPOSITORY":
        raise _invalid(
            "virtual_repository_config", "Only a repository of mode VIRTUAL_REPOSITORY has upstream policies."
        )
    policies = virtual.get("upstreamPolicies", [])
    names = [policy.get("id", "") for policy in policies]
    if len(policies) > 30 or len(set(names)) != len(names) or not all(names):
        raise _invalid("virtual_repository_config", "At most 30 upstream policies, each with an id of its own.")
    if not all(NAME.fullmatch(policy.get("repository", "")) for policy in policies):
        raise _invalid("virtual_repository_config", "Each upstream policy names a repository.")


def check(sandbox: Sandbox, document: Mapping[str, Any], location: str) -> None:
    """Refuse a repository that the service would not take, whatever the world looks like."""
    if len(document.get("description", "")) > _MOST_DESCRIPTION:
        raise _invalid("description", f"A description has at most {_MOST_DESCRIPTION} characters.")
    check_labels(document.get("labels", {}), "repository.labels")
    _check_cleanup(document.get("cleanupPolicies", {}))
    if "dockerConfig" in document and document["format"] != "DOCKER":
        raise _invalid("docker_config", "Only a repository of format DOCKER has a docker config.")
    if "mavenConfig" in document and document["format"] != "MAVEN":
        raise _invalid("maven_config", "Only a repository of format MAVEN has a maven config.")
    if document.get("dockerConfig", {}).get("immutableTags") and document["mode"] != "STANDARD_REPOSITORY":
        raise _invalid("docker_config.immutable_tags", "Only a standard repository can have immutable tags.")
    key = document.get("kmsKeyName")
    if key:
        match = _KMS_KEY.fullmatch(key)
        if match is None or match["location"] != location:
            raise _invalid("kms_key_name", f"The KMS key {key[:300]!r} must be a key in location {location}.")
    _check_virtual(document)
    _check_remote(sandbox, document)


def check_id(identifier: str) -> None:
    """Refuse an id that no repository can have.

    Raises:
        errors.InvalidArgument: a bare one for a missing id, as the service answers; one that names the rule else.
    """
    if not identifier:
        raise errors.InvalidArgument(INVALID)
    if not _ID.fullmatch(identifier) and identifier not in _GCR_IDS:
        raise errors.InvalidArgument.at(
            "repository_id",
            f"Invalid repository id {identifier[:100]!r}: ids have 1 to 63 lower-case letters, digits and hyphens, "
            "begin with a letter and end with a letter or digit.",
        )


def drafted(body: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """The repository that a create call asks for, and whether it wants the upstream not validated.

    Raises:
        errors.InvalidArgument: there is no format.
    """
    document = {key: value for key, value in body.items() if key != "name" and value not in ("", {}, [])}
    if document.get("format", "FORMAT_UNSPECIFIED") == "FORMAT_UNSPECIFIED":
        raise _invalid("format", "The format of the repository must be given.")
    if document.get("mode", "MODE_UNSPECIFIED") == "MODE_UNSPECIFIED":
        document["mode"] = "STANDARD_REPOSITORY"
    skip_validation = _take_inputs(document)
    return document, skip_validation


def mask_of(call: Call) -> list[tuple[str, ...]]:
    """The paths that a patch is about: its mask's, or without one every field that it could change."""
    mask = parse_mask(call.query.get("updateMask", ""), call.method.body)
    if not mask:
        return [(name,) for name in _UPDATABLE if name in call.body]
    return [path for path in mask if path[0] not in call.method.body.output_only | {"name"}]


def _take_inputs(document: dict[str, Any]) -> bool:
    """Take out what is input only or output only inside messages; return whether upstream validation is disabled."""
    disabled = False
    remote = document.get("remoteRepositoryConfig")
    if remote is not None:
        document["remoteRepositoryConfig"] = remote = dict(remote)
        disabled = bool(remote.pop("disableUpstreamValidation", False))
        if remote.get("upstreamCredentials") is not None and not any(
            (at_path(remote, ("upstreamCredentials", "usernamePasswordCredentials")) or {}).values()
        ):
            del remote["upstreamCredentials"]
    scanning = document.get("vulnerabilityScanningConfig")
    if scanning is not None:
        kept = {key: value for key, value in scanning.items() if key == "enablementConfig"}
        document.pop("vulnerabilityScanningConfig")
        if kept.get("enablementConfig", "ENABLEMENT_CONFIG_UNSPECIFIED") != "ENABLEMENT_CONFIG_UNSPECIFIED":
            document["vulnerabilityScanningConfig"] = kept
    for identifier, policy in document.get("cleanupPolicies", {}).items():
        policy.setdefault("id", identifier)
    return disabled


def patched(current: Mapping[str, Any], body: Mapping[str, Any], paths: list[tuple[str, ...]]) -> dict[str, Any]:
    """A repository with the fields of a mask replaced.

    Raises:
        errors.InvalidArgument: the mask names a field that cannot be changed, and the body changes it.
    """
    document: dict[str, Any] = copy.deepcopy(dict(current))
    source = copy.deepcopy(dict(body))
    for path in paths:
        if path[0] in _IMMUTABLE:
            wanted = at_path(source, path)
            if wanted is not None and wanted != at_path(current, path):
                raise _immutable(snake(path[0]))
            continue
        merge_path(document, source, path)
    if "remoteRepositoryConfig" in current:
        document["remoteRepositoryConfig"] = _same_source(
            current["remoteRepositoryConfig"], document.get("remoteRepositoryConfig", {})
        )
    _take_inputs(document)
    return {key: value for key, value in document.items() if value not in ("", {}, [], False) or key == "dockerConfig"}


def _same_source(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """A remote config whose source and description are as before; a patch need not repeat them."""
    merged = dict(after)
    for name in (*_SOURCES, "description"):
        if not merged.get(name):
            merged.pop(name, None)
            if name in before:
                merged[name] = before[name]
        elif merged[name] != before.get(name):
            raise _immutable(f"remote_repository_config.{snake(name)}")
    return merged


def _immutable(field: str) -> errors.InvalidArgument:
    return _invalid(field, f"Field {field} is immutable and cannot be changed.")


def parent_of(call: Call) -> str:
    """The resource name of the location that a call is about."""
    return f"{call.project}/locations/{call.names['location']}"


def name_of(call: Call) -> str:
    """The resource name of the repository that a call is about, with the project's id."""
    return f"{parent_of(call)}/repositories/{call.names['repository']}"


def found(call: Call) -> dict[str, Any]:
    """The repository that a call is about.

    Raises:
        errors.NotFound: there is none.
    """
    document = repository(call.sandbox, call.names["location"], call.names["repository"])
    if document is None:
        raise errors.NotFound(MISSING)
    return document
