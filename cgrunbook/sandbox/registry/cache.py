"""What a remote repository keeps of its upstream: manifests by digest, tags for an hour, blobs on disk.

Knows when to ask the upstream and with whose secret, and that parallel demands for one thing fetch it once. Knows no
clients and no permissions (docker_pkg_dev.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncGenerator, Callable, Coroutine, Hashable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from cgrunbook.sandbox.context import Sandbox, log
from cgrunbook.sandbox.errors import GoogleError, RegistryError
from cgrunbook.sandbox.google import repositories, secret_manager
from cgrunbook.sandbox.registry import blobs, distribution
from cgrunbook.sandbox.registry.upstream import Credentials, FetchedManifest, Upstream, UpstreamFailure
from cgrunbook.sandbox.state import timestamp

SCHEMA = """
CREATE TABLE IF NOT EXISTS cached_manifest (
    project TEXT NOT NULL, location TEXT NOT NULL, repository TEXT NOT NULL, image TEXT NOT NULL, digest TEXT NOT NULL,
    media_type TEXT NOT NULL, size INTEGER NOT NULL, cached_at TEXT NOT NULL, content BLOB NOT NULL,
    PRIMARY KEY (project, location, repository, image, digest)
);
CREATE TABLE IF NOT EXISTS cached_tag (
    project TEXT NOT NULL, location TEXT NOT NULL, repository TEXT NOT NULL, image TEXT NOT NULL, tag TEXT NOT NULL,
    digest TEXT NOT NULL, checked_at TEXT NOT NULL,
    PRIMARY KEY (project, location, repository, image, tag)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS cached_tag_list (
    project TEXT NOT NULL, location TEXT NOT NULL, repository TEXT NOT NULL, image TEXT NOT NULL,
    tags TEXT NOT NULL, checked_at TEXT NOT NULL,
    PRIMARY KEY (project, location, repository, image)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS cached_blob (
    project TEXT NOT NULL, location TEXT NOT NULL, repository TEXT NOT NULL, image TEXT NOT NULL, digest TEXT NOT NULL,
    size INTEGER NOT NULL, cached_at TEXT NOT NULL,
    PRIMARY KEY (project, location, repository, image, digest)
) WITHOUT ROWID;
"""

_READ_MANIFEST = "SELECT * FROM cached_manifest WHERE (project, location, repository, image, digest) = (?, ?, ?, ?, ?)"
_READ_TAG = "SELECT * FROM cached_tag WHERE (project, location, repository, image, tag) = (?, ?, ?, ?, ?)"
_READ_TAG_LIST = "SELECT * FROM cached_tag_list WHERE (project, location, repository, image) = (?, ?, ?, ?)"
_READ_BLOB = "SELECT size FROM cached_blob WHERE (project, location, repository, image, digest) = (?, ?, ?, ?, ?)"

_Answer = TypeVar("_Answer")

_caches: WeakKeyDictionary[Sandbox, Cache] = WeakKeyDictionary()


@dataclass(frozen=True)
class RemoteRepository:
    """A remote repository as the data plane needs it.

    Args:
        project: project id.
        location: its location.
        name: its id.
        uri: upstream, for example "https://cgr.dev".
        username: of the upstream credentials, None for an unauthenticated repository.
        secret_version: where the password is, None for an unauthenticated repository.
        created: when it was created; tells it from an earlier one of the same name.
    """

    project: str
    location: str
    name: str
    uri: str
    username: str | None = None
    secret_version: str | None = None
    created: str = ""

    @property
    def place(self) -> tuple[str, str, str]:
        """What tells its rows from those of others."""
        return self.project, self.location, self.name


@dataclass(frozen=True)
class Blob:
    """A blob that can be read, whole or while it arrives.

    Args:
        digest: its digest.
        size: bytes in all.
        content: yields parts of it.
        close: to be called when nothing more is read.
    """

    digest: str
    size: int
    content: blobs.Source
    close: Callable[[], None]


def cache_of(sandbox: Sandbox) -> Cache:
    """The one cache that all locations of a sandbox share."""
    cache = _caches.get(sandbox)
    if cache is None:
        cache = _caches[sandbox] = Cache(sandbox)
    return cache


class Cache:
    """Cached content of all remote repositories. Rows say what a repository has; equal blobs share one file."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._state = sandbox.state
        self._state.declare(SCHEMA)
        self._store = blobs.BlobStore(sandbox.settings.home / "blobs")
        self._store.sweep()
        self._under_way: dict[Hashable, asyncio.Task[Any]] = {}
        self._downloads: dict[Hashable, _Download] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def manifest(self, repository: RemoteRepository, image: str, reference: str) -> FetchedManifest:
        """A manifest: by digest from the cache for ever, by tag for as long as the tag is fresh.

        A tag that is no longer fresh is asked for at the upstream; only while that is away the old answer still serves.

        Raises:
            RegistryError: it is not cached and cannot be fetched.
        """
        digest, fresh = reference, True
        if not distribution.is_digest(reference):
            digest, fresh = self._tag(repository, image, reference)
        cached = self._manifest(repository, image, digest)
        if cached is not None and fresh:
            return cached

        async def fetch() -> FetchedManifest:
            manifest = await self._upstream(repository).manifest(image, reference)
            self._keep_manifest(repository, image, reference, manifest)
            return manifest

        try:
            return await self._once(("manifest", *repository.place, image, reference), fetch)
        except UpstreamFailure as failure:
            if cached is not None and failure.outage:
                return cached
            raise

    async def tags(self, repository: RemoteRepository, image: str) -> list[str]:
        """The upstream's tags of an image, at most an hour old.

        Raises:
            RegistryError: they are not cached and cannot be fetched.
        """
        row = self._state.row(_READ_TAG_LIST, *repository.place, image)
        if row is not None and self._is_fresh(row["checked_at"]):
            return list(json.loads(row["tags"]))

        async def fetch() -> list[str]:
            found = sorted(await self._upstream(repository).tags(image))
            kept = (image, json.dumps(found), self._now())
            self._keep(repository, "INSERT OR REPLACE INTO cached_tag_list VALUES (?, ?, ?, ?, ?, ?)", *kept)
            return found

        try:
            return await self._once(("tags", *repository.place, image), fetch)
        except UpstreamFailure as failure:
            if row is not None and failure.outage:
                return list(json.loads(row["tags"]))
            raise

    async def referrers(self, repository: RemoteRepository, image: str, digest: str, query: str) -> FetchedManifest:
        """The upstream's index of referrers; it is not cached, for it grows under the same digest.

        Raises:
            RegistryError: it cannot be fetched.
        """
        return await self._upstream(repository).referrers(image, digest, query)

    async def blob(self, repository: RemoteRepository, image: str, digest: str) -> Blob:
        """A blob, from disk or while it comes from the upstream.

        Raises:
            RegistryError: it is not cached and cannot be fetched.
        """
        size = self._blob_size(repository, image, digest)
        # A file of another size is what a machine that lost its power left: it is fetched again.
        if size is not None and size == self._store.size(digest):
            descriptor = os.open(self._store.path(digest), os.O_RDONLY)
            return Blob(digest, size, distribution.file_source(descriptor), lambda: os.close(descriptor))
        key = (*repository.place, image, digest)
        download = self._downloads.get(key)
        if download is None:
            upstream = self._upstream(repository)
            download = self._downloads[key] = _Download(self._store, digest)
            task = asyncio.create_task(self._download(download, key, upstream, repository, image))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await download.join()

    async def _download(
        self, download: _Download, key: Hashable, upstream: Upstream, repository: RemoteRepository, image: str
    ) -> None:
        try:
            async with upstream.blob(image, download.digest) as (size, pieces):
                await download.fill(size, pieces)
            blob = (image, download.digest, download.written, self._now())
            self._keep(repository, "INSERT OR REPLACE INTO cached_blob VALUES (?, ?, ?, ?, ?, ?, ?)", *blob)
            download.finish()
        except RegistryError as failure:
            download.fail(failure)
        except OSError as problem:  # the network's failures are UpstreamFailure: this is the disk
            log.error("%s could not be kept for %s: %s", download.digest, "/".join(repository.place), problem.strerror)
            download.fail(RegistryError(503, "UNAVAILABLE", f"The sandbox cannot keep the blob: {problem.strerror}."))
        except Exception as problem:  # noqa: BLE001 - it belongs to those who wait for the blob, not to this task
            log.error("fetching %s for %s failed", download.digest, "/".join(repository.place), exc_info=problem)
            download.fail(problem)
        except asyncio.CancelledError:
            download.fail(RegistryError(503, "UNAVAILABLE", "The sandbox is ending."))
            raise
        finally:
            del self._downloads[key]
            download.close()

    async def _once(self, key: Hashable, fetch: Callable[[], Coroutine[Any, Any, _Answer]]) -> _Answer:
        """Share one fetch among all who want the same; it goes on when one of them leaves."""
        task: asyncio.Task[_Answer] | None = self._under_way.get(key)
        if task is None:
            task = self._under_way[key] = asyncio.create_task(fetch())
            task.add_done_callback(lambda done: self._over(key, done))
        return await asyncio.shield(task)

    def _over(self, key: Hashable, task: asyncio.Task[Any]) -> None:
        del self._under_way[key]
        if not task.cancelled():
            task.exception()  # seen, even where everybody who waited has left

    def _upstream(self, repository: RemoteRepository) -> Upstream:
        """The upstream with the password as it is now: each fetch reads the secret anew, as the agent."""
        if repository.username is None or repository.secret_version is None:
            return Upstream(self._sandbox, repository.uri)
        try:
            payload = secret_manager.access_as_agent(self._sandbox, repository.secret_version)
        except GoogleError as refusal:
            # What a pull is told is not documented; the reason is Secret Manager's own.
            message = (
                f"failed to access secret version {json.dumps(repository.secret_version)}: "
                f"generic::{refusal.status.lower()}: {refusal.message}"
            )
            raise RegistryError(403, "DENIED", message) from refusal
        credentials = Credentials(repository.username, payload.decode("utf-8", "replace"))
        return Upstream(self._sandbox, repository.uri, credentials)

    def _now(self) -> str:
        return timestamp(self._sandbox.clock.now())

    def _is_fresh(self, checked_at: str) -> bool:
        age = self._sandbox.clock.now() - datetime.fromisoformat(checked_at)
        return age.total_seconds() < self._sandbox.settings.tag_cache_seconds

    def _tag(self, repository: RemoteRepository, image: str, tag: str) -> tuple[str, bool]:
        row = self._state.row(_READ_TAG, *repository.place, image, tag)
        return ("", False) if row is None else (row["digest"], self._is_fresh(row["checked_at"]))

    def _manifest(self, repository: RemoteRepository, image: str, digest: str) -> FetchedManifest | None:
        row = self._state.row(_READ_MANIFEST, *repository.place, image, digest)
        return None if row is None else FetchedManifest(row["media_type"], row["content"], row["digest"])

    def _keep_manifest(
        self, repository: RemoteRepository, image: str, reference: str, manifest: FetchedManifest
    ) -> None:
        now, digest = self._now(), manifest.digest
        kept = (image, digest, manifest.media_type, len(manifest.content), now, manifest.content)
        with self._state.transaction():
            self._keep(repository, "INSERT OR IGNORE INTO cached_manifest VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", *kept)
            if not distribution.is_digest(reference):
                tag = (image, reference, digest, now)
                self._keep(repository, "INSERT OR REPLACE INTO cached_tag VALUES (?, ?, ?, ?, ?, ?, ?)", *tag)

    def _keep(self, repository: RemoteRepository, statement: str, *values: object) -> None:
        """Keep a row of a repository that was not deleted while it was fetched: its successor begins empty."""
        with self._state.transaction() as rows:
            document = repositories.repository(self._sandbox, repository.location, repository.name)
            if document is not None and document.get("createTime", "") == repository.created:
                rows.execute(statement, (*repository.place, *values))

    def _blob_size(self, repository: RemoteRepository, image: str, digest: str) -> int | None:
        """The size of a blob that this image of this repository has: another's must not be readable through it."""
        row = self._state.row(_READ_BLOB, *repository.place, image, digest)
        return None if row is None else int(row["size"])


class _Download:
    """A blob on its way from the upstream, read by any number of clients behind the one writer.

    The last byte is held back until the digest is verified: no client ever gets a whole blob with wrong content.
    """

    def __init__(self, store: blobs.BlobStore, digest: str) -> None:
        self.digest = digest
        self._writer = store.writer()
        self._size: int | None = None
        self._finished = False
        self._failure: Exception | None = None
        self._news = asyncio.Event()

    @property
    def written(self) -> int:
        """Bytes that are there."""
        return self._writer.written

    async def fill(self, size: int | None, pieces: AsyncGenerator[bytes, None]) -> None:
        """Write the pieces and put the blob in its place.

        Raises:
            UpstreamFailure: what came is not the blob.
        """
        self._size = size
        self._tell()
        async for piece in pieces:
            self._writer.write(piece)
            self._tell()
        try:
            self._writer.keep(self.digest)
        except blobs.DigestMismatch as problem:
            message = f"External repository returned unexpected EOF for url={self.digest}."
            raise UpstreamFailure(502, "UNAVAILABLE", message, "unavailable", outage=True) from problem

    def finish(self) -> None:
        """Let the last byte go."""
        self._finished = True
        self._tell()

    def fail(self, failure: Exception) -> None:
        """Let everybody know that nothing more comes."""
        self._failure = failure
        self._tell()

    def close(self) -> None:
        """Close the writer; who still reads has a descriptor of their own."""
        self._writer.close()

    async def join(self) -> Blob:
        """The blob as soon as its size is known."""
        with contextlib.ExitStack() as undo:
            descriptor = os.dup(self._writer.descriptor)
            undo.callback(os.close, descriptor)
            while self._size is None and not self._finished:
                await self._wait()
            undo.pop_all()
        size = self.written if self._size is None else self._size
        return Blob(
            self.digest, size, lambda start, end: self._read(descriptor, start, end), lambda: os.close(descriptor)
        )

    async def _read(self, descriptor: int, start: int, end: int) -> AsyncGenerator[bytes, None]:
        while start < end:
            there = self.written if self._finished or self.written != self._size else self.written - 1
            if start < there:
                async with contextlib.aclosing(blobs.read(descriptor, start, min(end, there))) as pieces:
                    async for piece in pieces:
                        start += len(piece)
                        yield piece
            else:
                await self._wait()

    async def _wait(self) -> None:
        if self._failure is not None:
            raise self._failure
        await self._news.wait()
        if self._failure is not None:
            raise self._failure

    def _tell(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()
