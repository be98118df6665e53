"""What a repository has cached, as Artifact Registry lists it: docker images, packages, versions and tags.

Knows the data plane's rows and the API's names for them. Knows nothing of how they came there.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from cgrunbook.sandbox import errors, hosts
from cgrunbook.sandbox.context import Sandbox
from cgrunbook.sandbox.google import operations
from cgrunbook.sandbox.google.repositories import MISSING, PACKAGE, found, name_of
from cgrunbook.sandbox.google.wire import Answer, Call
from cgrunbook.sandbox.state import timestamp


def _has_table(sandbox: Sandbox, table: str) -> bool:
    query = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
    return sandbox.state.row(query, table) is not None


def cached_bytes(sandbox: Sandbox, location: str, identifier: str) -> int:
    """How many bytes of blobs a repository has cached."""
    if not _has_table(sandbox, "cached_blob"):
        return 0
    query = "SELECT sum(size) AS total FROM cached_blob WHERE project = ? AND location = ? AND repository = ?"
    row = sandbox.state.row(query, sandbox.settings.project_id, location, identifier)
    return row["total"] or 0 if row is not None else 0


def forget(sandbox: Sandbox, location: str, identifier: str) -> None:
    """Drop what is cached for a repository that is deleted: one of the same name begins empty."""
    with sandbox.state.transaction() as connection:
        for table in ("cached_tag", "cached_tag_list", "cached_manifest", "cached_blob"):
            if _has_table(sandbox, table):
                statement = f"DELETE FROM {table} WHERE project = ? AND location = ? AND repository = ?"  # noqa: S608 - four names
                connection.execute(statement, (sandbox.settings.project_id, location, identifier))


_COLUMNS = {
    "cached_manifest": "image, digest, media_type, size, cached_at",
    "cached_tag": "image, tag, digest, checked_at",
}


def _cached(call: Call, table: str) -> list[dict[str, Any]]:
    """What is cached of a repository, as dicts of the data plane's columns."""
    if not _has_table(call.sandbox, table):
        return []
    query = f"SELECT {_COLUMNS[table]} FROM {table} WHERE project = ? AND location = ? AND repository = ?"  # noqa: S608 - two names
    key = (call.sandbox.settings.project_id, call.names["location"], call.names["repository"])
    return [dict(row) for row in call.sandbox.state.read().execute(query, key)]


def _check(call: Call, permission: str) -> None:
    """Refuse a caller who may not, and a repository that is not there."""
    call.check(f"artifactregistry.{permission}", name_of(call))
    found(call)


def _package(call: Call) -> str:
    """The name of the package that a call is about."""
    return f"{name_of(call)}/packages/{call.names['package']}"


def _time(text: str) -> str:
    """A cached row's time as an answer has it."""
    return timestamp(datetime.fromisoformat(text))


def _encoded(image: str) -> str:
    return image.replace("/", "%2F")


def _images(call: Call) -> list[dict[str, Any]]:
    tags: dict[tuple[str, str], list[str]] = {}
    for row in _cached(call, "cached_tag"):
        tags.setdefault((row["image"], row["digest"]), []).append(row["tag"])
    project = hosts.docker_path(call.sandbox.settings.project_id)
    below = f"{hosts.docker_host_name(call.names['location'])}/{project}/{call.names['repository']}"
    images = []
    for row in _cached(call, "cached_manifest"):
        image: dict[str, Any] = {
            "name": f"{name_of(call)}/dockerImages/{_encoded(row['image'])}@{row['digest']}",
            "uri": f"{below}/{row['image']}@{row['digest']}",
        }
        if named := sorted(tags.get((row["image"], row["digest"]), [])):
            image["tags"] = named
        moment = _time(row["cached_at"])
        image |= {
            "imageSizeBytes": str(row["size"]),
            "uploadTime": moment,
            "mediaType": row["media_type"],
            "updateTime": moment,
        }
        images.append(image)
    return sorted(images, key=lambda image: image["name"])


def _page(call: Call, name: str, everything: list[dict[str, Any]]) -> Answer:
    return call.page(name, ((item["name"], item) for item in everything if item["name"] > call.after))


def _one(everything: list[dict[str, Any]], name: str) -> Answer:
    for item in everything:
        if item["name"] == name:
            return item
    raise errors.NotFound(MISSING)


def list_images(call: Call) -> Answer:
    """Answer ListDockerImages."""
    _check(call, "dockerimages.list")
    return _page(call, "dockerImages", _images(call))


def get_image(call: Call) -> Answer:
    """Answer GetDockerImage."""
    _check(call, "dockerimages.get")
    return _one(_images(call), f"{name_of(call)}/dockerImages/{call.names['dockerImage']}")


def _packages(call: Call) -> list[dict[str, Any]]:
    times: dict[str, list[str]] = {}
    for row in _cached(call, "cached_manifest"):
        times.setdefault(row["image"], []).append(_time(row["cached_at"]))
    return [
        {"name": f"{name_of(call)}/packages/{_encoded(image)}", "createTime": min(known), "updateTime": max(known)}
        for image, known in sorted(times.items())
    ]


def list_packages(call: Call) -> Answer:
    """Answer ListPackages."""
    _check(call, "packages.list")
    return _page(call, "packages", _packages(call))


def get_package(call: Call) -> Answer:
    """Answer GetPackage."""
    _check(call, "packages.get")
    return _one(_packages(call), _package(call))


def _versions(call: Call) -> list[dict[str, Any]]:
    parent = _package(call)
    tags: dict[str, list[str]] = {}
    for row in _cached(call, "cached_tag"):
        if _encoded(row["image"]) == call.names["package"]:
            tags.setdefault(row["digest"], []).append(row["tag"])
    versions = []
    for row in _cached(call, "cached_manifest"):
        if _encoded(row["image"]) != call.names["package"]:
            continue
        name, moment = f"{parent}/versions/{row['digest']}", _time(row["cached_at"])
        version: dict[str, Any] = {"name": name, "createTime": moment, "updateTime": moment}
        if related := sorted(tags.get(row["digest"], [])):
            version["relatedTags"] = [{"name": f"{parent}/tags/{tag}", "version": name} for tag in related]
        version["metadata"] = {"name": f"{name_of(call)}/dockerImages/{call.names['package']}@{row['digest']}"}
        versions.append(version)
    return sorted(versions, key=lambda version: version["name"])


def list_versions(call: Call) -> Answer:
    """Answer ListVersions."""
    _check(call, "versions.list")
    return _page(call, "versions", _versions(call))


def get_version(call: Call) -> Answer:
    """Answer GetVersion."""
    _check(call, "versions.get")
    return _one(_versions(call), f"{_package(call)}/versions/{call.names['version']}")


def _tags(call: Call) -> list[dict[str, Any]]:
    parent = _package(call)
    return sorted(
        (
            {"name": f"{parent}/tags/{row['tag']}", "version": f"{parent}/versions/{row['digest']}"}
            for row in _cached(call, "cached_tag")
            if _encoded(row["image"]) == call.names["package"]
        ),
        key=lambda tag: tag["name"],
    )


def list_tags(call: Call) -> Answer:
    """Answer ListTags."""
    _check(call, "tags.list")
    return _page(call, "tags", _tags(call))


def get_tag(call: Call) -> Answer:
    """Answer GetTag."""
    _check(call, "tags.get")
    return _one(_tags(call), f"{_package(call)}/tags/{call.names['tag']}")


# --- throwing away what is cached: the next pull fetches it anew ---------------------------------------------------------


_METADATA = {"@type": f"type.googleapis.com/{PACKAGE}.OperationMetadata"}
_EMPTY = {"@type": "type.googleapis.com/google.protobuf.Empty"}


def _drop(call: Call, where: str, *values: str) -> None:
    """Delete an image's cached rows: those of a "tag", those of a "digest", or all where the condition is ""."""
    image = call.names["package"].replace("%2F", "/")
    key = (call.sandbox.settings.project_id, call.names["location"], call.names["repository"], image)
    tables: tuple[str, ...] = ("cached_tag",) if where == "tag" else ("cached_tag", "cached_manifest")
    if not where:
        tables = ("cached_tag", "cached_tag_list", "cached_manifest", "cached_blob")
    condition = f" AND {where} = ?" if where else ""
    with call.sandbox.state.transaction() as connection:
        for table in tables:
            if _has_table(call.sandbox, table):
                statement = f"DELETE FROM {table} WHERE project = ? AND location = ? AND repository = ? AND image = ?{condition}"  # noqa: S608 - fixed names
                connection.execute(statement, (*key, *values))


def _gone(call: Call) -> Answer:
    prefix = f"{call.project}/locations/{call.names['location']}/operations/"
    return operations.begin(call.sandbox, prefix, _METADATA, response=_EMPTY)


def delete_package(call: Call) -> Answer:
    """Answer DeletePackage."""
    _check(call, "packages.delete")
    _one(_packages(call), _package(call))
    _drop(call, "")
    return _gone(call)


def _check_untagged(call: Call, digest: str) -> None:
    """Refuse a version that is there and has tags, unless the call forces it."""
    version = _one(_versions(call), f"{_package(call)}/versions/{digest}")
    if version.get("relatedTags") and not call.query.get("force", False):
        raise errors.FailedPrecondition(f"Version {version['name']} is tagged. Delete its tags first, or use force.")


def delete_version(call: Call) -> Answer:
    """Answer DeleteVersion."""
    _check(call, "versions.delete")
    _check_untagged(call, call.names["version"])
    _drop(call, "digest", call.names["version"])
    return _gone(call)


def delete_versions(call: Call) -> Answer:
    """Answer BatchDeleteVersions."""
    _check(call, "versions.delete")
    names = call.body.get("names", [])
    if not 1 <= len(names) <= 10000:
        raise errors.InvalidArgument("Between 1 and 10000 versions can be deleted at once.")
    digests = [name.rpartition("/")[2] for name in names]
    for digest in digests:
        _check_untagged(call, digest)
    if not call.body.get("validateOnly", False):
        for digest in digests:
            _drop(call, "digest", digest)
    return _gone(call)


def delete_tag(call: Call) -> Answer:
    """Answer DeleteTag; unlike the others it is done at once."""
    _check(call, "tags.delete")
    _one(_tags(call), f"{_package(call)}/tags/{call.names['tag']}")
    _drop(call, "tag", call.names["tag"])
    return {}
