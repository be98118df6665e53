"""Config and layers on their way: hashed while they come, gone on with where they broke, dropped when they are proved.

It knows one blob's life, and how several are fetched side by side so that the first failure, a cancellation or Ctrl-C
stops them all at once. It does not know which blobs make an image.
"""

from __future__ import annotations

import contextlib
import hashlib
import queue
import re
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from urllib3.response import BaseHTTPResponse

from cgrunbook.cloud.attempts import Attempts
from cgrunbook.cloud.manifests import Descriptor
from cgrunbook.cloud.registry_transport import Errand, RegistryTransport
from cgrunbook.errors import DigestMismatch, EndedEarly, Interrupted, RegistryError, Temporary
from cgrunbook.redaction import one_line

# Large enough that the interpreter's lock and the kernel's calls cost next to nothing; a reset loses one at most.
_CHUNK = 512 * 1024
# An attempt that brought less than this counts as one that brought nothing, or a server that sends one byte at a time
# would be tried for ever.
_WORTH = 128 * 1024
_AT_ONCE = 6
# Seconds between two looks at the progress and the cancellation.
_LOOK = 0.1
# Seconds that a stopped thread is waited for. One that waits for a name or a connection cannot be woken; it is left
# behind, reads nothing any more, and ends with the connection's time-out or the process.
_PATIENCE = 1.0


class Blob:
    """One config or layer on its way: what came so far, and the hash of it.

    The hash outlives a broken connection, so that the next one asks for the rest only.
    """

    def __init__(self, transport: RegistryTransport, repository: str, descriptor: Descriptor, keep: int = 0) -> None:
        self.descriptor = descriptor
        self.done = 0
        self.kept = b""
        self._transport = transport
        self._repository = repository
        self._keep = keep
        self._subject = f"{repository}@{descriptor.digest}"
        self._second_chance = False
        self._furthest = 0
        self._start_over()
        if keep and descriptor.size > keep:
            raise RegistryError(
                f"{self._subject}: a config of {descriptor.size} bytes is larger than any image needs.",
                "Ask for another tag, or report it to whoever publishes the image.",
            )

    def fetch(self, attempts: Attempts) -> None:
        """Fetch to the end and check size and digest.

        The attempts' limit counts anew whenever an attempt brought something: a layer may take longer than the limit.
        """
        while not self._verified():
            reason = f"{self._transport.host.name} to go on with {self.descriptor.digest[:19]}"
            attempts.run(lambda: self._advance(attempts), reason=reason)

    def _verified(self) -> bool:
        if self.done < self.descriptor.size or not self._begun:
            return False
        found = f"{self.descriptor.digest.partition(':')[0]}:{self._hash.hexdigest()}"
        if found == self.descriptor.digest:
            return True
        if self._joined and not self._second_chance:
            # The pieces may not fit: some proxies answer a range with other bytes. Once more from the start.
            self._start_over()
            self._second_chance = True
            return False
        raise DigestMismatch(
            f"{self._subject}: {self.done} bytes came with the digest {found}.",
            "Try again; if it stays, something between here and the registry changes content.",
        )

    def _start_over(self) -> None:
        self._hash = hashlib.new(self.descriptor.digest.partition(":")[0])
        self._begun = False
        self._joined = False
        self.done = 0
        self.kept = b""

    def _advance(self, attempts: Attempts) -> None:
        """One request; returns when it brought something, raises Temporary when it broke without."""
        before = self.done
        headers = {"Range": f"bytes={before}-"} if before else {}
        path = f"/v2/{self._repository}/blobs/{self.descriptor.digest}"
        errand = Errand.for_image(self._repository, self.descriptor.digest, attempts)
        try:
            accepted = (200, 206, 416) if before else (200,)
            with self._transport.open("GET", path, errand, headers=headers, accepted=accepted) as answer:
                if answer.status == 416:
                    raise self._wrong_size(before, "and not more")
                if before and answer.status == 200:
                    # No ranges here: the whole blob comes again.
                    self._start_over()
                elif before:
                    self._check_range(answer.header("Content-Range"))
                    self._joined = True
                # Some call a layer, which is compressed as it is, compressed for the way: then its length is the layer's.
                unpack = answer.packed and answer.header("Content-Length") != str(self.descriptor.size - self.done)
                if not unpack:
                    self._check_length(answer.header("Content-Length"))
                self._begun = True
                self._consume(answer.response, attempts, unpack=unpack)
        except Temporary:
            # What came is kept; where it is more than ever before, the attempts begin anew.
            worth = min(_WORTH, self.descriptor.size - self._furthest)
            if self.done <= self._furthest or self.done - self._furthest < worth:
                raise
            self._furthest = self.done

    def _consume(self, response: BaseHTTPResponse, attempts: Attempts, *, unpack: bool) -> None:
        came = False
        try:
            while not attempts.cancelled.is_set() and (chunk := response.read(_CHUNK, decode_content=unpack)):
                if self.done + len(chunk) > self.descriptor.size:
                    raise self._wrong_size(self.done + len(chunk), "or more")
                self._hash.update(chunk)
                if self._keep:
                    self.kept += chunk
                self.done += len(chunk)
            came = self.done == self.descriptor.size
        finally:
            if unpack and not came:
                self._start_over()  # a range would be one of the compressed bytes
        if not came:
            raise EndedEarly(
                f"{self._subject}: the connection ended after {self.done} of {self.descriptor.size} bytes.",
                "Check the network and proxy settings (notebook 04), then try again.",
                debugging=1,
            )

    def _check_length(self, header: str) -> None:
        """The rest's length against the descriptor's, before a single byte is read."""
        if header.isdecimal() and self.done + int(header) != self.descriptor.size:
            raise self._wrong_size(self.done + int(header), "by its Content-Length")

    def _check_range(self, header: str) -> None:
        found = re.match(r"bytes (\d+)-", header)
        if found is None or int(found.group(1)) != self.done:
            # Unusable as the rest, and every further range would be too.
            self._start_over()
            raise Temporary(
                f"{self._subject}: asked for the bytes from {self.done}, got {one_line(header, 60)!r}.",
                "Check that nothing between here and the registry rewrites its answers.",
                debugging=1,
            )

    def _wrong_size(self, size: int, how: str) -> DigestMismatch:
        return DigestMismatch(
            f"{self._subject}: the manifest says {self.descriptor.size} bytes, the registry has {size} {how}.",
            "Try again; if it stays, the registry's copy is damaged: report it to whoever runs it.",
        )


def first_byte(transport: RegistryTransport, errand: Errand, digest: str) -> None:
    """Fetch one byte of a blob and no more: whether it is there, and how fast; what it is was proved before.

    One byte by GET and not HEAD: a redirect's signed link is for GET alone.

    Args:
        transport: the registry.
        errand: what for.
        digest: a blob that is not empty.
    """

    def once() -> None:
        path = f"/v2/{errand.repository}/blobs/{digest}"
        with transport.open("GET", path, errand, headers={"Range": "bytes=0-0"}, accepted=(200, 206)) as answer:
            if not answer.response.read(1, decode_content=False):
                raise Temporary(f"{errand.subject}: {digest} came without a single byte.", "Try again.")
            if answer.status == 200:
                # No ranges here: the whole blob is on its way.
                answer.response.close()

    errand.attempts.run(once, reason=f"{transport.host.name} to send {digest[:19]} again")


def fetch_all(blobs: list[Blob], attempts: Attempts, report: Callable[[], None]) -> None:
    """Fetch blobs side by side; the first failure, a cancellation or Ctrl-C stops the others at once."""
    if not blobs:
        return
    stop = threading.Event()
    own = replace(attempts, cancelled=stop)
    left: queue.SimpleQueue[Blob] = queue.SimpleQueue()
    ends: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
    for blob in blobs:
        left.put(blob)
    # Daemons: a thread that waits for a silent registry must not keep an interrupted process alive.
    threads = [
        threading.Thread(target=_work, args=(left, ends, own), name=f"pull-{number}", daemon=True)
        for number in range(min(_AT_ONCE, len(blobs)))
    ]
    for thread in threads:
        thread.start()
    try:
        for _ in blobs:
            end = _next_end(ends, attempts, report)
            if end is not None:
                raise end
    finally:
        stop.set()
        until = time.monotonic() + _PATIENCE
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))


def _work(left: queue.SimpleQueue[Blob], ends: queue.SimpleQueue[BaseException | None], attempts: Attempts) -> None:
    """One thread: fetch what is left until nothing is, saying how each ended."""
    while not attempts.cancelled.is_set():
        try:
            blob = left.get_nowait()
        except queue.Empty:
            return
        try:
            blob.fetch(attempts)
        except BaseException as error:  # noqa: BLE001 - raised again in the calling thread
            ends.put(error)
        else:
            ends.put(None)


def _next_end(
    ends: queue.SimpleQueue[BaseException | None], attempts: Attempts, report: Callable[[], None]
) -> BaseException | None:
    """How the next blob ended; looks about at a steady pace meanwhile."""
    while True:
        if attempts.cancelled.is_set():
            raise Interrupted("The pull was stopped.", "Run it again: nothing of it is left behind.")
        report()
        with contextlib.suppress(queue.Empty):
            return ends.get(timeout=_LOOK)
