"""Artifact Registry v1: repositories with every option the guide names, their operations, IAM, and what is cached.

Knows what a repository may be and when its upstream is validated. Knows nothing of how an image is fetched or served.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from typing import Any

from starlette.types import ASGIApp

from cgrunbook.sandbox import errors, hosts
from cgrunbook.sandbox.context import Sandbox
from cgrunbook.sandbox.google import cached_images, operations, repositories, secret_manager, service_usage
from cgrunbook.sandbox.google.messages import at_path, parse_mask
from cgrunbook.sandbox.google.policies import Policies
from cgrunbook.sandbox.google.repositories import (
    PACKAGE,
    credentials,
    found,
    name_of,
    parent_of,
    repository,
    upstream_uri,
)
from cgrunbook.sandbox.google.wire import Answer, Call, Handlers, Partly, Service
from cgrunbook.sandbox.state import timestamp

#: Locations that Google opens to chosen customers only.
_RESTRICTED = frozenset({"us-central2", "us-east7", "us-west8"})


_EXISTS = "the repository already exists"
_METADATA = {"@type": f"type.googleapis.com/{PACKAGE}.OperationMetadata"}


def prepare(sandbox: Sandbox) -> None:
    """Make the tables."""
    service_usage.prepare(sandbox)
    sandbox.state.declare(repositories.SCHEMA)


def app(sandbox: Sandbox) -> ASGIApp:
    """The service as an ASGI application."""
    prepare(sandbox)
    return Service(sandbox, hosts.ARTIFACT_REGISTRY, PLAYED, service_usage.require_enabled)


def _check_location(call: Call) -> str:
    location = call.names["location"]
    if location not in hosts.LOCATIONS or location in _RESTRICTED:
        raise errors.InvalidArgument(repositories.INVALID)
    return location


async def _validate_upstream(sandbox: Sandbox, document: Mapping[str, Any]) -> None:
    """Ask the upstream, with the credentials read as the service agent reads them, whether it answers.

    Raises:
        errors.InvalidArgument: the secret cannot be read or the upstream refuses.
    """
    uri = upstream_uri(document)
    if uri is None or document["format"] != "DOCKER" or not uri.startswith("http"):
        return
    username: str | None = None
    password: str | None = None
    pair = credentials(document)
    if pair is not None:
        username = pair[0]
        try:
            password = secret_manager.access_as_agent(sandbox, pair[1]).decode(
                "utf-8", "replace"
            )  # what is no text cannot be right
        except errors.GoogleError as refusal:
            agent = sandbox.iam.agent_email(hosts.ARTIFACT_REGISTRY)
            raise errors.InvalidArgument(
                f"Failed to validate remote upstream: failed to access secret version {pair[1]}: {agent}: "
                f"generic::{refusal.status.lower()}: {refusal.message}"
            ) from refusal
    from cgrunbook.sandbox.registry import upstream

    try:
        await upstream.validate(sandbox, uri, username, password)
    except upstream.ValidationFailed as failure:
        message = str(failure)
        prefix = "Failed to validate remote upstream: "
        raise errors.InvalidArgument(message if message.startswith(prefix) else prefix + message) from failure


def _with_outputs(sandbox: Sandbox, document: Mapping[str, Any]) -> dict[str, Any]:
    """A repository with the fields that only the service writes, but createTime, updateTime and registryUri."""
    shown = dict(document)
    shown["satisfiesPzi"] = True
    if document["format"] == "DOCKER":
        scanning = dict(document.get("vulnerabilityScanningConfig", {}))
        scanning["lastEnableTime"] = document["createTime"].replace("000Z", "111Z")  # recorded with nine digits
        if document["mode"] == "VIRTUAL_REPOSITORY":
            scanning["enablementState"] = "SCANNING_UNSUPPORTED"
            scanning["enablementStateReason"] = "Repository mode VIRTUAL_REPOSITORY is not supported."
        elif not service_usage.is_enabled(sandbox, "containerscanning.googleapis.com"):
            scanning["enablementState"] = "SCANNING_DISABLED"
            scanning["enablementStateReason"] = "API containerscanning.googleapis.com is not enabled."
        elif scanning.get("enablementConfig") == "DISABLED":
            scanning["enablementState"] = "SCANNING_DISABLED"
            scanning["enablementStateReason"] = "Vulnerability scanning is disabled in the repository's settings."
        else:
            scanning["enablementState"] = "SCANNING_ACTIVE"
        shown["vulnerabilityScanningConfig"] = scanning
    return shown


def _in_full(sandbox: Sandbox, document: Mapping[str, Any]) -> dict[str, Any]:
    """A repository as get and list answer it."""
    shown = _with_outputs(sandbox, document)
    _, _, _, location, _, identifier = document["name"].split("/")
    if document["format"] in {"DOCKER", "KFP"}:
        host = hosts.docker_host_name(location)
        shown["registryUri"] = f"{host}/{hosts.docker_path(sandbox.settings.project_id)}/{identifier}"
    size = cached_images.cached_bytes(sandbox, location, identifier)
    if size:
        shown["sizeBytes"] = size
    return shown


async def _create(call: Call) -> Answer:
    call.check("artifactregistry.repositories.create", parent_of(call))
    location = _check_location(call)
    identifier = call.query.get("repositoryId", "")
    repositories.check_id(identifier)
    sandbox = call.sandbox
    document, skip_validation = repositories.drafted(call.body)
    repositories.check(sandbox, document, location)
    if repository(sandbox, location, identifier) is not None:
        raise errors.AlreadyExists(_EXISTS)
    if key := document.get("kmsKeyName"):
        agent = sandbox.iam.agent(hosts.ARTIFACT_REGISTRY)
        sandbox.iam.check(agent and f"serviceAccount:{agent}", "cloudkms.cryptoKeyVersions.useToEncrypt", key)
    prefix = f"{parent_of(call)}/operations/"
    if not skip_validation:
        try:
            await _validate_upstream(sandbox, document)
        except errors.InvalidArgument as refusal:
            if not sandbox.settings.validation_in_operation:
                raise
            return operations.begin(sandbox, prefix, _METADATA, error=refusal)
    return _keep_new(call, location, identifier, document)


def _keep_new(call: Call, location: str, identifier: str, document: Mapping[str, Any]) -> Answer:
    """Keep a new repository and return the operation that tells of it."""
    sandbox, prefix = call.sandbox, f"{parent_of(call)}/operations/"
    now = timestamp(sandbox.clock.now())
    name = f"{parent_of(call)}/repositories/{identifier}"
    document = {"name": name, **document, "createTime": now, "updateTime": now}
    with sandbox.state.transaction() as connection:
        try:
            connection.execute("INSERT INTO repository VALUES (?, ?, ?)", (location, identifier, json.dumps(document)))
        except sqlite3.IntegrityError:
            raise errors.AlreadyExists(_EXISTS) from None
        # The first repository of a project brings the service agent into being.
        sandbox.iam.make_agent(hosts.ARTIFACT_REGISTRY)
        told = _with_outputs(sandbox, document)
        for name in ("createTime", "updateTime"):
            told.pop(name)  # recorded answers of the real operation lack them; a get has them
        response = {"@type": f"type.googleapis.com/{PACKAGE}.Repository"} | told
        return operations.begin(sandbox, prefix, _METADATA, response=response)


def _get(call: Call) -> Answer:
    call.check("artifactregistry.repositories.get", name_of(call))
    return _in_full(call.sandbox, found(call))


def _list(call: Call) -> Answer:
    location = call.names["location"]
    call.check("artifactregistry.repositories.list", parent_of(call))
    if location != "-":
        _check_location(call)
    where, _, identifier = call.after.partition("/")
    rows = call.sandbox.state.read().execute(
        "SELECT location, id, document FROM repository "
        "WHERE (:location = '-' OR location = :location) AND (location, id) > (:where, :id) ORDER BY location, id",
        {"location": location, "where": where, "id": identifier},
    )
    entries = ((f"{row['location']}/{row['id']}", json.loads(row["document"])) for row in rows)
    return call.page("repositories", entries, shown=lambda document: _in_full(call.sandbox, document))


async def _update(call: Call) -> Answer:
    call.check("artifactregistry.repositories.update", name_of(call))
    sandbox, location = call.sandbox, call.names["location"]
    current = found(call)
    body: dict[str, Any] = dict(call.body)
    paths = repositories.mask_of(call)
    skip_validation = bool(at_path(body, ("remoteRepositoryConfig", "disableUpstreamValidation")))
    document = repositories.patched(current, body, paths)
    repositories.check(sandbox, document, location)
    touches_upstream = any(path[0] == "remoteRepositoryConfig" for path in paths)
    if touches_upstream and not skip_validation:
        await _validate_upstream(sandbox, document)
    with sandbox.state.transaction() as connection:
        # The upstream was asked meanwhile: the patch goes onto what is there now, not onto what was read before.
        document = repositories.patched(found(call), body, paths)
        repositories.check(sandbox, document, location)
        document["updateTime"] = timestamp(sandbox.clock.now())
        connection.execute(
            "UPDATE repository SET document = ? WHERE location = ? AND id = ?",
            (json.dumps(document), location, call.names["repository"]),
        )
    shown = _in_full(sandbox, document)
    shown.pop("registryUri", None)  # recorded answers of the real patch lack it
    return shown


def _delete(call: Call) -> Answer:
    call.check("artifactregistry.repositories.delete", name_of(call))
    location, identifier = call.names["location"], call.names["repository"]
    with call.sandbox.state.transaction() as connection:
        found(call)
        connection.execute("DELETE FROM repository WHERE location = ? AND id = ?", (location, identifier))
        cached_images.forget(call.sandbox, location, identifier)
        call.sandbox.iam.forget(name_of(call))
        response = {"@type": "type.googleapis.com/google.protobuf.Empty"}
        return operations.begin(call.sandbox, f"{parent_of(call)}/operations/", _METADATA, response=response)


def _operation(call: Call) -> Answer:
    name = f"{parent_of(call)}/operations/{call.names['operation']}"
    call.check("artifactregistry.repositories.list", parent_of(call))
    operation = operations.finished(call.sandbox, name)
    if operation is None:
        raise errors.NotFound(repositories.MISSING)
    return operation


def _location(call: Call, location: str) -> dict[str, Any]:
    return {"name": f"{call.project}/locations/{location}", "locationId": location}


def _list_locations(call: Call) -> Answer:
    call.check("artifactregistry.locations.list")
    offered = (name for name in sorted(hosts.LOCATIONS) if name > call.after and name not in _RESTRICTED)
    return call.page("locations", ((name, _location(call, name)) for name in offered), default=1000)


def _get_location(call: Call) -> Answer:
    call.check("artifactregistry.locations.get")
    if call.names["location"] not in hosts.LOCATIONS or call.names["location"] in _RESTRICTED:
        raise errors.NotFound(repositories.MISSING)
    return _location(call, call.names["location"])


def _project_settings(call: Call) -> Answer:
    call.check("artifactregistry.projectsettings.get", f"{call.project}/projectSettings")
    return {"name": f"{call.project}/projectSettings", "legacyRedirectionState": "REDIRECTION_FROM_GCR_IO_DISABLED"}


def _get_vpcsc(call: Call) -> Answer:
    call.check("artifactregistry.vpcscconfigs.get", f"{parent_of(call)}/vpcscConfig")
    location = _check_location(call)
    row = call.sandbox.state.row("SELECT policy FROM vpcsc_config WHERE location = ?", location)
    return {"name": f"{parent_of(call)}/vpcscConfig", "vpcscPolicy": row["policy"] if row is not None else "DENY"}


def _update_vpcsc(call: Call) -> Answer:
    call.check("artifactregistry.vpcscconfigs.update", f"{parent_of(call)}/vpcscConfig")
    location = _check_location(call)
    parse_mask(call.query.get("updateMask", ""), call.method.body)
    policy = call.body.get("vpcscPolicy", "VPCSC_POLICY_UNSPECIFIED")
    if policy == "VPCSC_POLICY_UNSPECIFIED":
        raise errors.InvalidArgument(repositories.INVALID)
    with call.sandbox.state.transaction() as connection:
        connection.execute(
            "INSERT INTO vpcsc_config VALUES (?, ?) ON CONFLICT (location) DO UPDATE SET policy = excluded.policy",
            (location, policy),
        )
    return {"name": f"{parent_of(call)}/vpcscConfig", "vpcscPolicy": policy}


def _get_project_config(call: Call) -> Answer:
    call.check("artifactregistry.projectconfigs.get", f"{parent_of(call)}/projectConfig")
    return {
        "name": f"{parent_of(call)}/projectConfig",
        "platformLogsConfig": repositories.project_platform_logs(call.sandbox, _check_location(call)),
    }


def _update_project_config(call: Call) -> Answer:
    call.check("artifactregistry.projectconfigs.update", f"{parent_of(call)}/projectConfig")
    location = _check_location(call)
    parse_mask(call.query.get("updateMask", ""), call.method.body)
    logs = json.dumps(call.body.get("platformLogsConfig", {}))
    call.sandbox.state.remember(f"{repositories.PLATFORM_LOGS}{location}", logs)
    return _get_project_config(call)


_UNORDERED = "orderBy is taken and not used"
_REPOSITORIES = "projects.locations.repositories"
_POLICIES = Policies("artifactregistry.repositories", name_of, found)
_LOCATIONS = {"projects.locations.list": _list_locations, "projects.locations.get": _get_location}
PLAYED: Handlers = {
    "v1": {
        **_LOCATIONS,
        "projects.getProjectSettings": _project_settings,
        "projects.locations.getVpcscConfig": _get_vpcsc,
        "projects.locations.updateVpcscConfig": Partly(
            _update_vpcsc, "kept and answered; there is no perimeter that it could open"
        ),
        "projects.locations.getProjectConfig": _get_project_config,
        "projects.locations.updateProjectConfig": _update_project_config,
        "projects.locations.operations.get": _operation,
        f"{_REPOSITORIES}.create": _create,
        f"{_REPOSITORIES}.list": Partly(_list, _UNORDERED),
        f"{_REPOSITORIES}.get": _get,
        f"{_REPOSITORIES}.patch": _update,
        f"{_REPOSITORIES}.delete": _delete,
        **_POLICIES.methods(_REPOSITORIES),
        f"{_REPOSITORIES}.dockerImages.list": Partly(cached_images.list_images, _UNORDERED),
        f"{_REPOSITORIES}.dockerImages.get": cached_images.get_image,
        f"{_REPOSITORIES}.packages.list": Partly(cached_images.list_packages, _UNORDERED),
        f"{_REPOSITORIES}.packages.get": cached_images.get_package,
        f"{_REPOSITORIES}.packages.delete": cached_images.delete_package,
        f"{_REPOSITORIES}.packages.versions.list": Partly(cached_images.list_versions, _UNORDERED),
        f"{_REPOSITORIES}.packages.versions.get": cached_images.get_version,
        f"{_REPOSITORIES}.packages.versions.delete": cached_images.delete_version,
        f"{_REPOSITORIES}.packages.versions.batchDelete": Partly(cached_images.delete_versions, "within one package"),
        f"{_REPOSITORIES}.packages.tags.list": cached_images.list_tags,
        f"{_REPOSITORIES}.packages.tags.get": cached_images.get_tag,
        f"{_REPOSITORIES}.packages.tags.delete": cached_images.delete_tag,
    },
    # gcloud lists locations in v1beta2, for `artifacts locations list` and before `repositories list` without one.
    "v1beta2": _LOCATIONS,
}
