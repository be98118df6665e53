"""Blobs on disk under the SHA-256 of their content: written whole or not at all, read by ranges with little memory.

Knows files and digests; does not know which repository a blob belongs to, nor who may read it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
import re
import secrets
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

#: Large enough that a chunk costs the event loop little (64 KiB chunks halve the speed), small enough for flat memory.
CHUNK = 1 << 20

#: Yields a blob's bytes from one offset up to, not including, another.
Source = Callable[[int, int], AsyncGenerator[bytes, None]]

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
_NOWAIT: int = getattr(os, "RWF_NOWAIT", 0)  # Linux only: read what the page cache has, do not wait for the disk


class DigestMismatch(Exception):
    """The content written is not the content that was announced."""


class BlobStore:
    """A folder of blobs, `sha256/ab/abcd...`, shared by whoever is given the same folder.

    Args:
        folder: made when absent. Unfinished files that a killed process left there stay invisible.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._incoming = folder / "incoming"
        self._incoming.mkdir(parents=True, exist_ok=True)

    def path(self, digest: str) -> Path:
        """Where the blob is, or would be.

        Raises:
            ValueError: the digest has another form, so that no name from outside ever becomes a path.
        """
        if not _DIGEST.match(digest):
            raise ValueError(f"{digest!r} is not a sha256 digest")
        name = digest.removeprefix("sha256:")
        return self._folder / "sha256" / name[:2] / name

    def size(self, digest: str) -> int | None:
        """The blob's size in bytes, None when it is not here."""
        try:
            return self.path(digest).stat().st_size
        except FileNotFoundError:
            return None

    def put(self, content: bytes) -> str:
        """Keep a small blob.

        Returns:
            Its digest.
        """
        writer = self.writer()
        try:
            writer.write(content)
            return writer.keep()
        finally:
            writer.close()

    def writer(self) -> BlobWriter:
        """A writer for a new blob; close it in any case."""
        return BlobWriter(self, self._incoming / secrets.token_hex(16))

    def sweep(self) -> int:
        """Remove what a killed process left unfinished.

        Only for the one process that owns the folder, before it writes.

        Returns:
            How many files went.
        """
        leftovers = list(self._incoming.iterdir())
        for leftover in leftovers:
            leftover.unlink(missing_ok=True)
        return len(leftovers)


class BlobWriter:
    """One blob on its way in. Others may read what is there already through `descriptor` while it grows.

    Args:
        store: where the blob goes once it is whole.
        path: the unfinished file.
    """

    def __init__(self, store: BlobStore, path: Path) -> None:
        self._store = store
        self._path = path
        self._hash = hashlib.sha256()
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        self.written = 0

    def write(self, piece: bytes) -> None:
        """Append a piece."""
        view = memoryview(piece)
        while view:
            view = view[os.write(self.descriptor, view) :]
        self._hash.update(piece)
        self.written += len(piece)

    def keep(self, expected: str | None = None) -> str:
        """Give the blob its place, in one atomic step.

        Args:
            expected: the digest that the content must have; None when the content decides.

        Returns:
            The digest.

        Raises:
            DigestMismatch: the content has another digest; nothing is kept.
        """
        digest = f"sha256:{self._hash.hexdigest()}"
        if expected is not None and digest != expected:
            raise DigestMismatch(f"{self.written} bytes of digest {digest} came where {expected} was announced")
        target = self._store.path(digest)
        target.parent.mkdir(parents=True, exist_ok=True)
        self._path.replace(target)
        return digest

    def close(self) -> None:
        """Close the file and remove it unless it was kept."""
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        os.close(self.descriptor)


async def read(descriptor: int, start: int, end: int) -> AsyncGenerator[bytes, None]:
    """Yield the bytes from `start` up to, not including, `end`, in pieces of at most CHUNK bytes.

    Args:
        descriptor: an open file; its own position is left alone.
        start: offset of the first byte.
        end: offset after the last byte.

    Raises:
        OSError: the file cannot be read or ends before `end`.
    """
    while start < end:
        piece = await _read_once(descriptor, start, min(CHUNK, end - start))
        if not piece:
            raise OSError(errno.EIO, f"the file ends at {start} bytes, {end} were to be read")
        start += len(piece)
        yield piece


async def _read_once(descriptor: int, offset: int, length: int) -> bytes:
    if _NOWAIT:
        # What is in the page cache costs a copy, less than a change of threads; only a real disk is worth a thread.
        buffer = bytearray(length)
        try:
            count = os.preadv(descriptor, [buffer], offset, _NOWAIT)
        except OSError as refusal:
            if refusal.errno not in (errno.EAGAIN, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
                raise
        else:
            if count:
                return bytes(buffer) if count == length else bytes(memoryview(buffer)[:count])
    return await asyncio.to_thread(os.pread, descriptor, length, offset)
