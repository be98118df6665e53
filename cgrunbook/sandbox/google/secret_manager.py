"""Secret Manager v1, global secrets: what is kept, when it may be read, and what is said when it may not.

Knows secrets, versions, aliases, checksums, expiry and delayed destruction. Knows nothing of who uses the payloads.
"""

from __future__ import annotations

import base64
import hmac
import json
import os
import re
import sqlite3
from collections.abc import Mapping
from typing import Any

from starlette.types import ASGIApp

from cgrunbook.sandbox import errors, hosts
from cgrunbook.sandbox.context import Sandbox
from cgrunbook.sandbox.google import payloads, service_usage
from cgrunbook.sandbox.google.messages import at_path, merge_path, moment, parse_mask, span
from cgrunbook.sandbox.google.policies import Policies
from cgrunbook.sandbox.google.secrets import (
    check_aliases,
    check_common,
    check_expiry,
    check_id,
    check_replication,
    check_rotation,
)
from cgrunbook.sandbox.google.wire import Answer, Call, Handlers, Partly, Service
from cgrunbook.sandbox.iam import permission_denied
from cgrunbook.sandbox.state import timestamp

SCHEMA = """
CREATE TABLE IF NOT EXISTS secret (
    id TEXT PRIMARY KEY, document TEXT NOT NULL, expires_at TEXT, last_version INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS secret_expiry ON secret (expires_at) WHERE expires_at IS NOT NULL;
CREATE TABLE IF NOT EXISTS secret_version (
    secret TEXT NOT NULL REFERENCES secret (id) ON DELETE CASCADE, number INTEGER NOT NULL, document TEXT NOT NULL,
    sealed BLOB, destroy_at TEXT, PRIMARY KEY (secret, number)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS secret_version_destruction ON secret_version (destroy_at) WHERE destroy_at IS NOT NULL;
"""
_MOST_PAYLOAD_BYTES = 64 * 1024
_UPDATABLE = {"labels", "topics", "expireTime", "ttl", "rotation", "versionAliases", "annotations", "versionDestroyTtl"}


def prepare(sandbox: Sandbox) -> None:
    """Make the tables."""
    service_usage.prepare(sandbox)
    sandbox.state.declare(SCHEMA)


def app(sandbox: Sandbox) -> ASGIApp:
    """The service as an ASGI application."""
    prepare(sandbox)
    return Service(sandbox, hosts.SECRET_MANAGER, PLAYED, service_usage.require_enabled)


def access_as_agent(sandbox: Sandbox, name: str) -> bytes:
    """The payload that Artifact Registry's service agent reads of `projects/P/secrets/S/versions/V`.

    V is a number, an alias or "latest".

    Raises:
        errors.GoogleError: what the agent is told instead, in Secret Manager's words.
    """
    prepare(sandbox)
    match = re.fullmatch(r"projects/([^/]+)/secrets/([^/]+)/versions/([^/]+)", name)
    settings = sandbox.settings
    if match is None:
        raise errors.InvalidArgument(f"Invalid secret version name: {name!r}.")
    permission = "secretmanager.versions.access"
    if match[1] not in {settings.project_id, settings.project_number}:
        raise permission_denied(permission, name)
    service_usage.require_enabled(sandbox, hosts.SECRET_MANAGER)
    _settle(sandbox)
    email = sandbox.iam.agent(hosts.ARTIFACT_REGISTRY)
    agent = None if email is None else f"serviceAccount:{email}"
    sandbox.iam.check(agent, permission, f"projects/{settings.project_id}/secrets/{match[2]}/versions/{match[3]}")
    return _payload(sandbox, _version(sandbox, match[2], match[3], aliases=True))


def _resource(call: Call) -> str:
    """The secret's name with the project's id, under which its policy is kept."""
    return f"{call.project}/secrets/{call.names['secret']}"


def _answered(sandbox: Sandbox, secret: str, version: int | str | None = None) -> str:
    """The name that answers carry: with the project's number, whatever was asked."""
    name = f"projects/{sandbox.settings.project_number}/secrets/{secret}"
    return name if version is None else f"{name}/versions/{version}"


def _etag(sandbox: Sandbox) -> str:
    return f'"{int(sandbox.clock.now().timestamp() * 1e6):x}{os.urandom(1).hex()}"'


def _settle(sandbox: Sandbox) -> None:
    """Let what time has brought happen: expired secrets go, scheduled destructions are done."""
    now = timestamp(sandbox.clock.now())
    read = sandbox.state.read()
    expired = read.execute("SELECT id FROM secret WHERE expires_at <= ?", (now,)).fetchall()
    due = read.execute("SELECT secret, number, destroy_at FROM secret_version WHERE destroy_at <= ?", (now,)).fetchall()
    if not expired and not due:
        return
    with sandbox.state.transaction() as connection:
        for row in expired:
            _remove(sandbox, connection, row["id"])
        for row in due:
            found = _version_row(sandbox, row["secret"], row["number"])
            if found is not None:
                _destroy_now(sandbox, connection, row["secret"], json.loads(found["document"]), row["destroy_at"])


def _remove(sandbox: Sandbox, connection: sqlite3.Connection, secret: str) -> None:
    connection.execute("DELETE FROM secret WHERE id = ?", (secret,))
    sandbox.iam.forget(f"projects/{sandbox.settings.project_id}/secrets/{secret}")


def _secret(sandbox: Sandbox, secret: str) -> dict[str, Any]:
    row = sandbox.state.row("SELECT document FROM secret WHERE id = ?", secret)
    if row is None:
        raise errors.NotFound(f"Secret [{_answered(sandbox, secret)}] not found.")
    document: dict[str, Any] = json.loads(row["document"])
    return document


def _shown(sandbox: Sandbox, document: dict[str, Any]) -> dict[str, Any]:
    """A secret as it is answered: a rotation time that has passed has moved on by whole periods."""
    following, period = (
        at_path(document, ("rotation", "nextRotationTime")),
        at_path(document, ("rotation", "rotationPeriod")),
    )
    if following and period and moment(following) <= sandbox.clock.now():
        periods = (sandbox.clock.now() - moment(following)) // span(period) + 1
        document["rotation"]["nextRotationTime"] = timestamp(moment(following) + periods * span(period))
    return document


def _version_row(sandbox: Sandbox, secret: str, number: int) -> sqlite3.Row | None:
    return sandbox.state.row("SELECT * FROM secret_version WHERE secret = ? AND number = ?", secret, number)


def _version(sandbox: Sandbox, secret: str, version: str, *, aliases: bool) -> sqlite3.Row:
    """A version's row by number, "latest" (the most recently created, in whatever state) or alias."""
    document = sandbox.state.row("SELECT * FROM secret WHERE id = ?", secret)
    missing = errors.NotFound(f"Secret [{_answered(sandbox, secret)}] not found or has no versions.")
    if document is None or document["last_version"] == 0:
        raise missing
    number: int | None = None
    if version == "latest" and aliases:
        number = document["last_version"]
    elif version.isascii() and version.isdigit():
        number = int(version) if len(version) < 18 else None
    elif aliases:
        number = json.loads(document["document"]).get("versionAliases", {}).get(version)
    else:
        raise errors.InvalidArgument(
            f"Invalid resource field value in the request: version [{version}] must be a number."
        )
    row = None if number is None else _version_row(sandbox, secret, number)
    if row is None:
        raise errors.NotFound(f"Secret Version [{_answered(sandbox, secret, version)}] not found.")
    return row


def _wrong_state(sandbox: Sandbox, row: sqlite3.Row, state: str) -> errors.FailedPrecondition:
    name = _answered(sandbox, row["secret"], row["number"])
    return errors.FailedPrecondition(f"Secret Version [{name}] is in {state} state.")


def _payload(sandbox: Sandbox, row: sqlite3.Row) -> bytes:
    state = json.loads(row["document"])["state"]
    if state != "ENABLED":
        raise _wrong_state(sandbox, row, state)
    return payloads.opened(sandbox.settings.home, (row["secret"], row["number"]), row["sealed"])


def _checksum(data: bytes) -> int:
    import google_crc32c

    return int(google_crc32c.value(data))


def _create(call: Call) -> Answer:
    call.check("secretmanager.secrets.create")
    _settle(call.sandbox)
    identifier = call.query.get("secretId", "")
    check_id(identifier)
    now = call.sandbox.clock.now()
    secret = {key: value for key, value in call.body.items() if value not in ({}, []) or key == "replication"}
    check_replication(secret.get("replication"))
    check_common(secret)
    check_expiry(now, secret, secret)
    check_rotation(now, secret, changed=True)
    check_aliases(secret.get("versionAliases", {}), lambda _: False)  # there are no versions yet
    secret |= {"name": _answered(call.sandbox, identifier), "createTime": timestamp(now), "etag": _etag(call.sandbox)}
    secret.pop("tags", None)  # bindings of Resource Manager's tags, never answered with the secret
    with call.sandbox.state.transaction() as connection:
        try:
            connection.execute(
                "INSERT INTO secret VALUES (?, ?, ?, 0)", (identifier, json.dumps(secret), secret.get("expireTime"))
            )
        except sqlite3.IntegrityError:
            raise errors.AlreadyExists(f"Secret [{_answered(call.sandbox, identifier)}] already exists.") from None
    return secret


def _get(call: Call) -> Answer:
    call.check("secretmanager.secrets.get", _resource(call))
    return _shown(call.sandbox, _settled(call))


def _list(call: Call) -> Answer:
    call.check("secretmanager.secrets.list")
    _settle(call.sandbox)
    everything = [
        _shown(call.sandbox, json.loads(row["document"]))
        for row in call.sandbox.state.read().execute("SELECT document FROM secret ORDER BY id")
    ]
    found = [(secret["name"].rpartition("/")[2], secret) for secret in everything if call.passes(secret)]
    page = call.page("secrets", (entry for entry in found if entry[0] > call.after), most=25000)
    return page | {"totalSize": len(found)}


def _check_etag(given: str | None, current: str) -> None:
    if given and not hmac.compare_digest(given.encode(), current.encode()):
        raise errors.Aborted("The etag provided does not match the current etag. Read the resource again and retry.")


def _update(call: Call) -> Answer:
    resource = _resource(call)
    call.check("secretmanager.secrets.update", resource)
    _settle(call.sandbox)
    identifier = call.names["secret"]
    paths = parse_mask(call.query.get("updateMask", ""), call.method.body)
    if not paths:
        raise errors.InvalidArgument.at("update_mask", "The update mask must name at least one field.")
    everything = call.query["updateMask"].strip() == "*"
    for path in paths:
        if path[0] not in _UPDATABLE and not everything:
            raise errors.InvalidArgument.at("update_mask", f"Field [{'.'.join(path)}] cannot be updated.")
    body, now = dict(call.body), call.sandbox.clock.now()
    with call.sandbox.state.transaction() as connection:
        secret = _secret(call.sandbox, identifier)
        _check_etag(body.get("etag"), secret["etag"])
        named = {path[0] for path in paths}
        if named & {"ttl", "expireTime"}:
            secret.pop("expireTime", None)
        for path in paths:
            if path[0] in _UPDATABLE:
                merge_path(secret, body, path)
        secret = {key: value for key, value in secret.items() if value not in ({}, []) or key == "replication"}
        check_common(secret)
        if named & {"ttl", "expireTime"}:
            check_expiry(now, secret, {key: body[key] for key in ("expireTime",) if key in body})
        check_rotation(
            now,
            secret,
            changed="rotation" in named and at_path(body, ("rotation", "nextRotationTime")) is not None,
        )
        if "versionAliases" in named:
            check_aliases(
                secret.get("versionAliases", {}),
                lambda number: _version_row(call.sandbox, identifier, number) is not None,
            )
        secret["etag"] = _etag(call.sandbox)
        connection.execute(
            "UPDATE secret SET document = ?, expires_at = ? WHERE id = ?",
            (json.dumps(secret), secret.get("expireTime"), identifier),
        )
    return _shown(call.sandbox, secret)


def _delete(call: Call) -> Answer:
    call.check("secretmanager.secrets.delete", _resource(call))
    _settle(call.sandbox)
    with call.sandbox.state.transaction() as connection:
        _check_etag(call.query.get("etag"), _secret(call.sandbox, call.names["secret"])["etag"])
        _remove(call.sandbox, connection, call.names["secret"])
    return {}


def _replication_status(replication: Mapping[str, Any]) -> dict[str, Any]:
    def status(encryption: Mapping[str, Any] | None) -> dict[str, Any]:
        if not encryption:
            return {}
        return {"customerManagedEncryption": {"kmsKeyVersionName": f"{encryption['kmsKeyName']}/cryptoKeyVersions/1"}}

    if "automatic" in replication:
        return {"automatic": status(replication["automatic"].get("customerManagedEncryption"))}
    return {
        "userManaged": {
            "replicas": [
                {"location": replica["location"]} | status(replica.get("customerManagedEncryption"))
                for replica in replication["userManaged"]["replicas"]
            ]
        }
    }


def _add(call: Call) -> Answer:
    resource = _resource(call)
    call.check("secretmanager.versions.add", resource)
    _settle(call.sandbox)
    payload = call.body.get("payload", {})
    data = base64.b64decode(payload.get("data", ""))
    if not data:
        raise errors.InvalidArgument("Secret Payload cannot be empty.")
    if len(data) > _MOST_PAYLOAD_BYTES:
        raise errors.InvalidArgument(
            f"The provided Secret Payload has [{len(data)}] bytes, more than the limit of [{_MOST_PAYLOAD_BYTES}]."
        )
    checksum = payload.get("dataCrc32c")
    if checksum is not None and checksum != _checksum(data):
        raise errors.InvalidArgument(
            "The checksum of the Secret Payload that the server received does not match the checksum in the request. "
            "The payload was changed on its way."
        )
    identifier = call.names["secret"]
    with call.sandbox.state.transaction() as connection:
        secret = _secret(call.sandbox, identifier)
        number = (
            connection.execute("SELECT last_version FROM secret WHERE id = ?", (identifier,)).fetchone()["last_version"]
            + 1
        )
        version: dict[str, Any] = {
            "name": _answered(call.sandbox, identifier, number),
            "createTime": timestamp(call.sandbox.clock.now()),
            "state": "ENABLED",
            "replicationStatus": _replication_status(secret["replication"]),
            "etag": _etag(call.sandbox),
        }
        if checksum is not None:
            version["clientSpecifiedPayloadChecksum"] = True
        connection.execute("UPDATE secret SET last_version = ? WHERE id = ?", (number, identifier))
        connection.execute(
            "INSERT INTO secret_version VALUES (?, ?, ?, ?, NULL)",
            (
                identifier,
                number,
                json.dumps(version),
                payloads.sealed(call.sandbox.settings.home, (identifier, number), data),
            ),
        )
    return version


def _named(call: Call) -> str:
    return f"{_resource(call)}/versions/{call.names['version']}"


def _get_version(call: Call) -> Answer:
    call.check("secretmanager.versions.get", _named(call))
    _settle(call.sandbox)
    row = _version(call.sandbox, call.names["secret"], call.names["version"], aliases=True)
    document: Answer = json.loads(row["document"])
    return document


def _access(call: Call) -> Answer:
    call.check("secretmanager.versions.access", _named(call))
    _settle(call.sandbox)
    row = _version(call.sandbox, call.names["secret"], call.names["version"], aliases=True)
    data = _payload(call.sandbox, row)
    return {
        "name": _answered(call.sandbox, row["secret"], row["number"]),
        "payload": {"data": base64.b64encode(data).decode(), "dataCrc32c": _checksum(data)},
    }


def _list_versions(call: Call) -> Answer:
    call.check("secretmanager.versions.list", _resource(call))
    _settle(call.sandbox)
    identifier = call.names["secret"]
    _secret(call.sandbox, identifier)
    if call.after and not call.after.isdigit():
        raise errors.InvalidArgument("The provided page token is not valid.")
    rows = call.sandbox.state.read().execute(
        "SELECT number, document FROM secret_version WHERE secret = ? ORDER BY number DESC", (identifier,)
    )
    found = [(row["number"], version) for row in rows if call.passes(version := json.loads(row["document"]))]
    following = ((str(number), version) for number, version in found if not call.after or number < int(call.after))
    return call.page("versions", following, most=25000) | {"totalSize": len(found)}


def _store_version(connection: sqlite3.Connection, secret: str, version: Mapping[str, Any]) -> None:
    connection.execute(
        "UPDATE secret_version SET document = ?, destroy_at = ? WHERE secret = ? AND number = ?",
        (json.dumps(version), version.get("scheduledDestroyTime"), secret, int(version["name"].rpartition("/")[2])),
    )


def _destroy_now(
    sandbox: Sandbox, connection: sqlite3.Connection, secret: str, version: dict[str, Any], when: str
) -> dict[str, Any]:
    version.pop("scheduledDestroyTime", None)
    version |= {"state": "DESTROYED", "destroyTime": when, "etag": _etag(sandbox)}
    _store_version(connection, secret, version)
    connection.execute(
        "UPDATE secret_version SET sealed = NULL WHERE secret = ? AND number = ?",
        (secret, int(version["name"].rpartition("/")[2])),
    )
    return version


def _changed_state(call: Call, permission: str, state: str) -> Answer:
    call.check(permission, _named(call))
    _settle(call.sandbox)
    identifier = call.names["secret"]
    with call.sandbox.state.transaction() as connection:
        row = _version(call.sandbox, identifier, call.names["version"], aliases=False)
        version: Answer = json.loads(row["document"])
        _check_etag(call.body.get("etag"), version["etag"])
        if version["state"] == "DESTROYED":
            raise _wrong_state(call.sandbox, row, "DESTROYED")
        if state == "DESTROYED":
            ttl = _secret(call.sandbox, identifier).get("versionDestroyTtl")
            now = call.sandbox.clock.now()
            if ttl is None:
                return _destroy_now(call.sandbox, connection, identifier, version, timestamp(now))
            # Delayed destruction: disabled until the time is over, and enabling takes the destruction back.
            version |= {"state": "DISABLED", "scheduledDestroyTime": timestamp(now + span(ttl))}
        else:
            if state == "ENABLED":
                version.pop("scheduledDestroyTime", None)
            version["state"] = state
        version["etag"] = _etag(call.sandbox)
        _store_version(connection, identifier, version)
    return version


def _enable(call: Call) -> Answer:
    return _changed_state(call, "secretmanager.versions.enable", "ENABLED")


def _disable(call: Call) -> Answer:
    return _changed_state(call, "secretmanager.versions.disable", "DISABLED")


def _destroy(call: Call) -> Answer:
    return _changed_state(call, "secretmanager.versions.destroy", "DESTROYED")


def _settled(call: Call) -> dict[str, Any]:
    """The secret that a call is about."""
    _settle(call.sandbox)
    return _secret(call.sandbox, call.names["secret"])


def _location(sandbox: Sandbox, location: str) -> dict[str, Any]:
    return {"name": f"projects/{sandbox.settings.project_id}/locations/{location}", "locationId": location}


def _list_locations(call: Call) -> Answer:
    call.check("secretmanager.locations.list")
    regions = [_location(call.sandbox, location) for location in hosts.LOCATIONS if "-" in location]
    return {"locations": [region for region in regions if call.passes(region)]}


def _get_location(call: Call) -> Answer:
    call.check("secretmanager.locations.get")
    if call.names["location"] not in hosts.LOCATIONS:
        raise errors.NotFound(f"Location {call.names['location']} is not found or access is unauthorized.")
    return _location(call.sandbox, call.names["location"])


# Documented of a secret that does not exist: nobody holds anything on it, not NOT_FOUND.
_POLICIES = Policies("secretmanager.secrets", _resource, _settled, hides_absence=True)
PLAYED: Handlers = {
    "v1": {
        "projects.locations.list": Partly(_list_locations, "one page; regional secrets themselves are not played"),
        "projects.locations.get": _get_location,
        "projects.secrets.create": _create,
        "projects.secrets.list": _list,
        "projects.secrets.get": _get,
        "projects.secrets.patch": _update,
        "projects.secrets.delete": _delete,
        "projects.secrets.addVersion": _add,
        **_POLICIES.methods("projects.secrets"),
        "projects.secrets.versions.list": _list_versions,
        "projects.secrets.versions.get": _get_version,
        "projects.secrets.versions.access": _access,
        "projects.secrets.versions.enable": _enable,
        "projects.secrets.versions.disable": _disable,
        "projects.secrets.versions.destroy": _destroy,
    }
}
