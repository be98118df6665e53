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
from cgrunbook.sandbox.google.filters import compile_filter
from cgrunbook.sandbox.google.messages import (
    Bool,
    Enum,
    Integer,
    ListOf,
    Message,
    String,
    at_path,
    parse_mask,
)
from cgrunbook.sandbox.google.repositories import (
    PACKAGE,
    REPOSITORY,
    credentials,
    found,
    name_of,
    parent_of,
    repository,
    upstream_uri,
)
from cgrunbook.sandbox.google.resource_manager import checked_permissions
from cgrunbook.sandbox.google.wire import (
    IAM_POLICY,
    PAGE,
    SET_POLICY,
    TEST_PERMISSIONS,
    Answer,
    Call,
    Method,
    Service,
    page_key,
    page_size,
    page_token,
)
from cgrunbook.sandbox.hosts import LOCATIONS
from cgrunbook.sandbox.state import timestamp

#: The data plane asks here for a repository, its upstream and its credentials.
__all__ = ["METHODS", "app", "credentials", "prepare", "repository", "upstream_uri"]

_REPOSITORIES = Message(
    f"{PACKAGE}.ListRepositoriesResponse", {"repositories": ListOf(REPOSITORY), "nextPageToken": String()}
)
_SETTINGS = Message(
    f"{PACKAGE}.ProjectSettings",
    {
        "name": String(),
        "legacyRedirectionState": Enum(
            f"{PACKAGE}.ProjectSettings.RedirectionState",
            {
                "REDIRECTION_STATE_UNSPECIFIED": 0,
                "REDIRECTION_FROM_GCR_IO_DISABLED": 1,
                "REDIRECTION_FROM_GCR_IO_ENABLED": 2,
                "REDIRECTION_FROM_GCR_IO_FINALIZED": 3,
            },
        ),
        "pullPercent": Integer(),
    },
)
_VPCSC = Message(
    f"{PACKAGE}.VPCSCConfig",
    {
        "name": String(),
        "vpcscPolicy": Enum(
            f"{PACKAGE}.VPCSCConfig.VPCSCPolicy", {"VPCSC_POLICY_UNSPECIFIED": 0, "DENY": 1, "ALLOW": 2}
        ),
    },
)
_BATCH_DELETE = Message(
    f"{PACKAGE}.BatchDeleteVersionsRequest", {"names": ListOf(String()), "validateOnly": Bool(), "parent": String()}
)
#: Locations that Google opens to chosen customers only (facts, 1.6).
_RESTRICTED = frozenset({"us-central2", "us-east7", "us-west8"})


_EXISTS = "the repository already exists"
_METADATA = {"@type": f"type.googleapis.com/{PACKAGE}.OperationMetadata"}


def prepare(sandbox: Sandbox) -> None:
    """Make the tables.

    Args:
        sandbox: The sandbox.
    """
    service_usage.prepare(sandbox)
    sandbox.state.declare(repositories.SCHEMA)


def app(sandbox: Sandbox) -> ASGIApp:
    """Return the service.

    Args:
        sandbox: The sandbox.
    """
    prepare(sandbox)
    return Service(sandbox, hosts.ARTIFACT_REGISTRY, METHODS, service_usage.require_enabled)


def _check_location(call: Call) -> str:
    location = call.names["location"]
    if location not in LOCATIONS or location in _RESTRICTED:
        raise errors.InvalidArgument(repositories.INVALID)
    return location


async def _validate_upstream(sandbox: Sandbox, document: Mapping[str, Any]) -> None:
    """Ask the upstream, with the credentials read as the service agent reads them, whether it answers.

    Raises:
        errors.InvalidArgument: The secret cannot be read or the upstream refuses.
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
            payload = secret_manager.access_as_agent(sandbox, pair[1])
        except errors.GoogleError as refusal:
            agent = sandbox.iam.agent_email(hosts.ARTIFACT_REGISTRY)
            raise errors.InvalidArgument(
                f"Failed to validate remote upstream: failed to access secret version {pair[1]}: {agent}: "
                f"generic::{refusal.status.lower()}: {refusal.message}"
            ) from refusal
        password = payload.decode("utf-8", "replace")  # what is no text cannot be right
    from cgrunbook.sandbox.registry import upstream

    try:
        await upstream.validate(sandbox, uri, username, password)
    except upstream.ValidationFailed as failure:
        message = str(failure)
        prefix = "Failed to validate remote upstream: "
        raise errors.InvalidArgument(message if message.startswith(prefix) else prefix + message) from failure


def _with_outputs(sandbox: Sandbox, document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a repository with the fields that only the service writes, but createTime, updateTime and registryUri."""
    shown = dict(document)
    shown["satisfiesPzi"] = True
    if document["format"] == "DOCKER":
        scanning = dict(document.get("vulnerabilityScanningConfig", {}))
        scanning["lastEnableTime"] = document["createTime"]
        if not service_usage.is_enabled(sandbox, "containerscanning.googleapis.com"):
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
    """Return a repository as get and list answer it."""
    shown = _with_outputs(sandbox, document)
    _, _, _, location, _, identifier = document["name"].split("/")
    if document["format"] in {"DOCKER", "KFP"}:
        host = hosts.docker_host_name(location)
        shown["registryUri"] = f"{host}/{sandbox.settings.project_id}/{identifier}"
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
        # The first repository of a project brings the service agent into being (facts, section 2).
        sandbox.iam.make_agent(hosts.ARTIFACT_REGISTRY)
        told = _with_outputs(sandbox, document)
        for name in ("createTime", "updateTime"):
            told.pop(name)  # recorded answers of the real operation lack them; a get has them
        response = {"@type": f"type.googleapis.com/{REPOSITORY.name}"} | REPOSITORY.render(told, int_enums=False)
        return operations.begin(sandbox, prefix, _METADATA, response=response)


def _get(call: Call) -> Answer:
    call.check("artifactregistry.repositories.get", name_of(call))
    return _in_full(call.sandbox, found(call))


def _list(call: Call) -> Answer:
    location = call.names["location"]
    call.check("artifactregistry.repositories.list", parent_of(call))
    if location != "-":
        _check_location(call)
    passes = compile_filter(call.query.get("filter", ""))
    size, after = page_size(call, 100, 1000), page_key(call.query.get("pageToken"))
    where, _, identifier = after.partition("/")
    rows = call.sandbox.state.read().execute(
        "SELECT location, id, document FROM repository WHERE (?1 = '-' OR location = ?1) AND (location, id) > (?2, ?3) "
        "ORDER BY location, id",
        (location, where, identifier),
    )
    shown: list[dict[str, Any]] = []
    last = ""
    for row in rows:
        document = json.loads(row["document"])
        if not passes(document):
            continue
        if len(shown) == size:
            return {"repositories": shown, "nextPageToken": page_token(last)}
        shown.append(_in_full(call.sandbox, document))
        last = f"{row['location']}/{row['id']}"
    return {"repositories": shown}


async def _update(call: Call) -> Answer:
    call.check("artifactregistry.repositories.update", name_of(call))
    sandbox, location = call.sandbox, call.names["location"]
    current = found(call)
    body: dict[str, Any] = dict(call.body)
    paths = repositories.mask_of(call.query.get("updateMask", ""), body)
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
    response = operation.get("response", {})
    if call.int_enums and response.get("@type", "").endswith(REPOSITORY.name):
        operation["response"] = {"@type": response.pop("@type")} | REPOSITORY.render(response, int_enums=True)
    return operation


def _get_policy(call: Call) -> Answer:
    call.check("artifactregistry.repositories.getIamPolicy", name_of(call))
    found(call)
    return call.sandbox.iam.policy(name_of(call), call.query.get("options.requestedPolicyVersion", 1))


def _set_policy(call: Call) -> Answer:
    call.check("artifactregistry.repositories.setIamPolicy", name_of(call))
    found(call)
    if "policy" not in call.body:
        raise errors.InvalidArgument(repositories.INVALID)
    return call.sandbox.iam.set_policy(name_of(call), call.body["policy"])


def _test(call: Call) -> Answer:
    asked = checked_permissions(call)
    found(call)
    held = call.sandbox.iam.held(call.principal, asked, name_of(call))
    return {"permissions": held} if held else {}


def _location(call: Call, location: str) -> dict[str, Any]:
    return {"name": f"{call.project}/locations/{location}", "locationId": location}


def _list_locations(call: Call) -> Answer:
    call.check("artifactregistry.locations.list")
    passes = compile_filter(call.query.get("filter", ""))
    size, after = page_size(call, 1000, 1000), page_key(call.query.get("pageToken"))
    offered = [_location(call, name) for name in sorted(LOCATIONS) if name > after and name not in _RESTRICTED]
    passing = [location for location in offered if passes(location)]
    answer: Answer = {"locations": passing[:size]}
    if len(passing) > size:
        answer["nextPageToken"] = page_token(passing[size - 1]["locationId"])
    return answer


def _get_location(call: Call) -> Answer:
    call.check("artifactregistry.locations.get")
    if call.names["location"] not in LOCATIONS or call.names["location"] in _RESTRICTED:
        raise errors.NotFound(repositories.MISSING)
    return _location(call, call.names["location"])


def _project_settings(call: Call) -> Answer:
    call.check("artifactregistry.projectsettings.get", f"{call.project}/projectSettings")
    return {"name": f"{call.project}/projectSettings", "legacyRedirectionState": "REDIRECTION_FROM_GCR_IO_DISABLED"}


def _get_vpcsc(call: Call) -> Answer:
    call.check("artifactregistry.vpcscconfigs.get", f"{parent_of(call)}/vpcscConfig")
    location = _check_location(call)
    query = "SELECT policy FROM vpcsc_config WHERE location = ?"
    row = call.sandbox.state.read().execute(query, (location,)).fetchone()
    return {"name": f"{parent_of(call)}/vpcscConfig", "vpcscPolicy": row["policy"] if row is not None else "DENY"}


def _update_vpcsc(call: Call) -> Answer:
    call.check("artifactregistry.vpcscconfigs.update", f"{parent_of(call)}/vpcscConfig")
    location = _check_location(call)
    parse_mask(call.query.get("updateMask", ""), _VPCSC)
    policy = call.body.get("vpcscPolicy", "VPCSC_POLICY_UNSPECIFIED")
    if policy == "VPCSC_POLICY_UNSPECIFIED":
        raise errors.InvalidArgument(repositories.INVALID)
    with call.sandbox.state.transaction() as connection:
        connection.execute(
            "INSERT INTO vpcsc_config VALUES (?, ?) ON CONFLICT (location) DO UPDATE SET policy = excluded.policy",
            (location, policy),
        )
    return {"name": f"{parent_of(call)}/vpcscConfig", "vpcscPolicy": policy}


_LOCATION = "v1/projects/{project}/locations/{location}"
_ALL = f"{_LOCATION}/repositories"
_ONE = f"{_ALL}/{{repository}}"
_ONE_PACKAGE = f"{_ONE}/packages/{{package}}"
_LISTED = PAGE | {"filter": String(), "orderBy": String(), "view": String()}
_MASK = {"updateMask": String()}
_UNORDERED = "orderBy is taken and not used"
_LOCATIONS_QUERY = PAGE | {"filter": String(), "extraLocationTypes": String()}
METHODS = (
    Method("CreateRepository", "POST", _ALL, _create, REPOSITORY, "repository", {"repositoryId": String()}),
    Method(
        "ListRepositories",
        "GET",
        _ALL,
        _list,
        query=_LISTED,
        response=_REPOSITORIES,
        partly=_UNORDERED,
    ),
    Method("GetRepository", "GET", _ONE, _get, response=REPOSITORY),
    Method("UpdateRepository", "PATCH", _ONE, _update, REPOSITORY, "repository", _MASK, REPOSITORY),
    Method("DeleteRepository", "DELETE", _ONE, _delete),
    Method("GetOperation", "GET", f"{_LOCATION}/operations/{{operation}}", _operation),
    Method(
        "GetIamPolicy",
        "GET",
        f"{_ONE}:getIamPolicy",
        _get_policy,
        query={"options.requestedPolicyVersion": Integer()},
        response=IAM_POLICY,
    ),
    Method("SetIamPolicy", "POST", f"{_ONE}:setIamPolicy", _set_policy, SET_POLICY, response=IAM_POLICY),
    Method("TestIamPermissions", "POST", f"{_ONE}:testIamPermissions", _test, TEST_PERMISSIONS),
    Method("ListLocations", "GET", "v1/projects/{project}/locations", _list_locations, query=_LOCATIONS_QUERY),
    Method("GetLocation", "GET", _LOCATION, _get_location),
    # gcloud lists locations in v1beta2, for `artifacts locations list` and before `repositories list` without one.
    Method("ListLocations", "GET", "v1beta2/projects/{project}/locations", _list_locations, query=_LOCATIONS_QUERY),
    Method("GetLocation", "GET", "v1beta2/projects/{project}/locations/{location}", _get_location),
    Method("GetProjectSettings", "GET", "v1/projects/{project}/projectSettings", _project_settings, response=_SETTINGS),
    Method("UpdateProjectSettings", "PATCH", "v1/projects/{project}/projectSettings", None),
    Method("GetVPCSCConfig", "GET", f"{_LOCATION}/vpcscConfig", _get_vpcsc, response=_VPCSC),
    Method(
        "UpdateVPCSCConfig",
        "PATCH",
        f"{_LOCATION}/vpcscConfig",
        _update_vpcsc,
        _VPCSC,
        "vpcsc_config",
        _MASK,
        _VPCSC,
        partly="kept and answered; there is no perimeter that it could open",
    ),
    Method(
        "ListDockerImages", "GET", f"{_ONE}/dockerImages", cached_images.list_images, query=_LISTED, partly=_UNORDERED
    ),
    Method("GetDockerImage", "GET", f"{_ONE}/dockerImages/{{image}}", cached_images.get_image),
    Method("ListPackages", "GET", f"{_ONE}/packages", cached_images.list_packages, query=_LISTED, partly=_UNORDERED),
    Method("GetPackage", "GET", _ONE_PACKAGE, cached_images.get_package),
    Method(
        "ListVersions", "GET", f"{_ONE_PACKAGE}/versions", cached_images.list_versions, query=_LISTED, partly=_UNORDERED
    ),
    Method(
        "GetVersion", "GET", f"{_ONE_PACKAGE}/versions/{{digest}}", cached_images.get_version, query={"view": String()}
    ),
    Method("ListTags", "GET", f"{_ONE_PACKAGE}/tags", cached_images.list_tags, query=_LISTED, partly=_UNORDERED),
    Method("GetTag", "GET", f"{_ONE_PACKAGE}/tags/{{tag}}", cached_images.get_tag),
    Method("DeletePackage", "DELETE", _ONE_PACKAGE, cached_images.delete_package),
    Method("UpdatePackage", "PATCH", _ONE_PACKAGE, None),
    Method(
        "DeleteVersion",
        "DELETE",
        f"{_ONE_PACKAGE}/versions/{{digest}}",
        cached_images.delete_version,
        query={"force": Bool()},
    ),
    Method(
        "BatchDeleteVersions",
        "POST",
        f"{_ONE_PACKAGE}/versions:batchDelete",
        cached_images.delete_versions,
        _BATCH_DELETE,
        partly="within one package",
    ),
    Method("UpdateVersion", "PATCH", f"{_ONE_PACKAGE}/versions/{{digest}}", None),
    Method("CreateTag", "POST", f"{_ONE_PACKAGE}/tags", None),
    Method("UpdateTag", "PATCH", f"{_ONE_PACKAGE}/tags/{{tag}}", None),
    Method("DeleteTag", "DELETE", f"{_ONE_PACKAGE}/tags/{{tag}}", cached_images.delete_tag),
    Method("ListFiles", "GET", f"{_ONE}/files", None),
    Method("DownloadFile", "GET", f"{_ONE}/files/{{file}}:download", None),
    Method("GetFile", "GET", f"{_ONE}/files/{{file}}", None),
    Method("UpdateFile", "PATCH", f"{_ONE}/files/{{file}}", None),
    Method("DeleteFile", "DELETE", f"{_ONE}/files/{{file}}", None),
    Method("UploadFile", "POST", f"{_ONE}/files:upload", None),
    *(
        Method(f"{verb}{kind}", method, f"{_ONE}/{kind.lower()}s{one}", None)
        for kind in ("Rule", "Attachment")
        for verb, method, one in (
            ("Create", "POST", ""),
            ("Get", "GET", f"/{{{kind.lower()}}}"),
            ("Update", "PATCH", f"/{{{kind.lower()}}}"),
            ("Delete", "DELETE", f"/{{{kind.lower()}}}"),
        )
        if (kind, verb) != ("Attachment", "Update")  # an attachment cannot be changed
    ),
    Method("ListRules", "GET", f"{_ONE}/rules", None),
    Method("ListAttachments", "GET", f"{_ONE}/attachments", None),
    *(
        Method(f"{verb}{kind}{plural}", "GET", f"{_ONE}/{resource}{one}", None)
        for kind, resource in (
            ("MavenArtifact", "mavenArtifacts"),
            ("NpmPackage", "npmPackages"),
            ("PythonPackage", "pythonPackages"),
        )
        for verb, plural, one in (("List", "s", ""), ("Get", "", "/{artifact}"))
    ),
    *(
        Method(f"Upload{kind}", "POST", f"{_ONE}/{resource}:create", None)
        for kind, resource in (
            ("AptArtifact", "aptArtifacts"),
            ("YumArtifact", "yumArtifacts"),
            ("GenericArtifact", "genericArtifacts"),
            ("GoModule", "goModules"),
            ("GoogetArtifact", "googetArtifacts"),
            ("KfpArtifact", "kfpArtifacts"),
        )
    ),
    Method("ImportAptArtifacts", "POST", f"{_ONE}/aptArtifacts:import", None),
    Method("ImportYumArtifacts", "POST", f"{_ONE}/yumArtifacts:import", None),
    Method("ImportGoogetArtifacts", "POST", f"{_ONE}/googetArtifacts:import", None),
    Method("ExportArtifact", "POST", f"{_ONE}:exportArtifact", None),
    Method("ReindexRepository", "POST", f"{_ONE}:reindex", None),
    *(
        Method(f"{verb}{of}PlatformLogsConfig", method, f"{parent}/platformLogsConfig", None)
        for of, parent in (("Location", _LOCATION), ("Repository", _ONE))
        for verb, method in (("Get", "GET"), ("Update", "PATCH"))
    ),
)
