"""What a repository has cached, as Artifact Registry lists it: docker images, packages, versions and tags.

Knows the data plane's rows and the API's names for them. Knows nothing of how they came there.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from cgrunbook.sandbox import context, errors
from cgrunbook.sandbox.context import Sandbox
from cgrunbook.sandbox.google.filters import compile_filter
from cgrunbook.sandbox.google.repositories import MISSING, found, name_of
from cgrunbook.sandbox.google.wire import (
    Answer,
    Call,
    page_key,
    page_size,
    page_token,
)
from cgrunbook.sandbox.state import timestamp


def _has_table(sandbox: Sandbox, table: str) -> bool:
    query = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
    return sandbox.state.read().execute(query, (table,)).fetchone() is not None


def cached_bytes(sandbox: Sandbox, location: str, identifier: str) -> int:
    """Return how many bytes of blobs a repository has cached.

    Args:
        sandbox: The sandbox.
        location: The repository's location.
        identifier: Its id.
    """
    if not _has_table(sandbox, "cached_blob"):
        return 0
    query = (
        "SELECT coalesce(sum(size), 0) AS total FROM cached_blob WHERE project = ? AND location = ? AND repository = ?"
    )
    return int(
        sandbox.state.read().execute(query, (sandbox.settings.project_id, location, identifier)).fetchone()["total"]
    )


def forget(sandbox: Sandbox, location: str, identifier: str) -> None:
    """Drop what is cached for a repository that is deleted: one of the same name begins empty.

    Args:
        sandbox: The sandbox.
        location: The repository's location.
        identifier: Its id.
    """
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
    """Return what is cached of a repository, as dicts of the data plane's columns."""
    if not _has_table(call.sandbox, table):
        return []
    query = f"SELECT {_COLUMNS[table]} FROM {table} WHERE project = ? AND location = ? AND repository = ?"  # noqa: S608 - two names
    key = (call.sandbox.settings.project_id, call.names["location"], call.names["repository"])
    return [dict(row) for row in call.sandbox.state.read().execute(query, key)]


def _time(text: str) -> str:
    """Return a cached row's time as an answer has it."""
    return timestamp(datetime.fromisoformat(text))


def _encoded(image: str) -> str:
    return image.replace("/", "%2F")


def _images(call: Call) -> list[dict[str, Any]]:
    tags: dict[tuple[str, str], list[str]] = {}
    for row in _cached(call, "cached_tag"):
        tags.setdefault((row["image"], row["digest"]), []).append(row["tag"])
    settings, host = call.sandbox.settings, context.docker_host_name(call.names["location"])
    images = []
    for row in _cached(call, "cached_manifest"):
        image: dict[str, Any] = {
            "name": f"{name_of(call)}/dockerImages/{_encoded(row['image'])}@{row['digest']}",
            "uri": f"{host}/{settings.project_id}/{call.names['repository']}/{row['image']}@{row['digest']}",
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


def _paged(call: Call, name: str, everything: list[dict[str, Any]]) -> Answer:
    size, after = page_size(call, 100, 1000), page_key(call.query.get("pageToken"))
    passes = compile_filter(call.query.get("filter", ""))
    page = [item for item in everything if item["name"] > after and passes(item)]
    answer: Answer = {name: page[:size]} if page else {}
    if len(page) > size:
        answer["nextPageToken"] = page_token(page[size - 1]["name"])
    return answer


def _one(everything: list[dict[str, Any]], name: str) -> Answer:
    for item in everything:
        if item["name"] == name:
            return item
    raise errors.NotFound(MISSING)


def list_images(call: Call) -> Answer:
    """Answer ListDockerImages."""
    call.check("artifactregistry.dockerimages.list", name_of(call))
    found(call)
    return _paged(call, "dockerImages", _images(call))


def get_image(call: Call) -> Answer:
    """Answer GetDockerImage."""
    call.check("artifactregistry.dockerimages.get", name_of(call))
    found(call)
    return _one(_images(call), f"{name_of(call)}/dockerImages/{call.names['image']}")


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
    call.check("artifactregistry.packages.list", name_of(call))
    found(call)
    return _paged(call, "packages", _packages(call))


def get_package(call: Call) -> Answer:
    """Answer GetPackage."""
    call.check("artifactregistry.packages.get", name_of(call))
    found(call)
    return _one(_packages(call), f"{name_of(call)}/packages/{call.names['package']}")


def _versions(call: Call) -> list[dict[str, Any]]:
    parent = f"{name_of(call)}/packages/{call.names['package']}"
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
    call.check("artifactregistry.versions.list", name_of(call))
    found(call)
    return _paged(call, "versions", _versions(call))


def get_version(call: Call) -> Answer:
    """Answer GetVersion."""
    call.check("artifactregistry.versions.get", name_of(call))
    found(call)
    return _one(_versions(call), f"{name_of(call)}/packages/{call.names['package']}/versions/{call.names['digest']}")


def _tags(call: Call) -> list[dict[str, Any]]:
    parent = f"{name_of(call)}/packages/{call.names['package']}"
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
    call.check("artifactregistry.tags.list", name_of(call))
    found(call)
    return _paged(call, "tags", _tags(call))


def get_tag(call: Call) -> Answer:
    """Answer GetTag."""
    call.check("artifactregistry.tags.get", name_of(call))
    found(call)
    return _one(_tags(call), f"{name_of(call)}/packages/{call.names['package']}/tags/{call.names['tag']}")
