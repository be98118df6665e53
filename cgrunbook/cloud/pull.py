"""The verified pull: every byte of an image is fetched, hashed, counted and dropped.

It knows how to prove that an image can be pulled whole, without docker and without a disk, in memory that does not
grow with the layers. It does not know how a request is signed, nor what a refusal means.
"""

from __future__ import annotations

import contextlib
import hashlib
import queue
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from urllib3.response import BaseHTTPResponse

from cgrunbook.cloud.attempts import Attempts
from cgrunbook.cloud.manifests import (
    ACCEPT,
    LARGEST_MANIFEST,
    Descriptor,
    ImageManifest,
    Index,
    check_document,
    digest_of,
    matches,
    parse_document,
    platform_of_config,
)
from cgrunbook.cloud.registry_transport import Errand, RegistryTransport, Tally
from cgrunbook.errors import DigestMismatch, ImageNotAvailable, Interrupted, RegistryError, Temporary
from cgrunbook.image_reference import Platform, is_digest

# Large enough that the interpreter's lock and the kernel's calls cost next to nothing; a reset loses one at most.
_CHUNK = 512 * 1024
# An attempt that brought less than this counts as one that brought nothing, or a server that sends one byte at a time
# would be tried for ever.
_WORTH = 128 * 1024
_AT_ONCE = 6
_LARGEST_CONFIG = 8 * 1024 * 1024
_DEEPEST_INDEX = 3
# Seconds between two looks at the progress and the cancellation.
_LOOK = 0.1
# Seconds that a stopped thread is waited for. One that waits for an answer's first byte cannot be woken; it is left
# behind, reads nothing any more, and ends with the connection's time-out or the process.
_PATIENCE = 1.0


@dataclass(frozen=True)
class LayerProgress:
    """How far one layer is.

    Args:
        digest: the layer.
        size: its bytes.
        done: bytes that came and were hashed.
    """

    digest: str
    size: int
    done: int


@dataclass(frozen=True)
class PullProgress:
    """How far a pull is.

    Args:
        layers: each layer once, lowest first.
        seconds: since the pull began.
    """

    layers: tuple[LayerProgress, ...]
    seconds: float

    @property
    def size(self) -> int:
        """Bytes of all layers."""
        return sum(layer.size for layer in self.layers)

    @property
    def done(self) -> int:
        """Bytes that came."""
        return sum(layer.done for layer in self.layers)


@dataclass(frozen=True)
class PulledImage:
    """The proof of a pull.

    Args:
        index_digest: the index that the reference names; "" when it names a single manifest.
        manifest_digest: the platform's manifest.
        config_digest: the image's config, which docker calls the image id.
        layers: the layers, lowest first, as the manifest lists them.
        bytes: how many bytes of documents, config and layers were hashed; a layer that is used twice came once.
        seconds: how long it took.
        requests: how many requests were sent.
        blob_hosts: who served config and layers.
        resumed: how often a broken layer was gone on with.
    """

    index_digest: str
    manifest_digest: str
    config_digest: str
    layers: tuple[Descriptor, ...]
    bytes: int
    seconds: float
    requests: int
    blob_hosts: tuple[str, ...]
    resumed: int

    @property
    def digest(self) -> str:
        """What the reference stands for: the index where there is one, else the manifest."""
        return self.index_digest or self.manifest_digest


def fetch_document(
    transport: RegistryTransport, attempts: Attempts, repository: str, reference: str, tally: Tally
) -> tuple[Descriptor, bytes]:
    """Fetch a manifest or an index, its digest checked.

    Args:
        transport: the registry.
        attempts: for what is temporary.
        repository: the repository's path.
        reference: a tag or a digest.
        tally: what to count on.

    Returns:
        What came: the media type as it was sent, the digest, the size; and the document.

    Raises:
        DigestMismatch: the document is not what its digest says.
        RegistryError: refused, or larger than 4 MiB.
    """
    subject = f"{repository}{'@' if is_digest(reference) else ':'}{reference}"

    errand = Errand(repository, subject, attempts, tally)

    def once() -> tuple[Descriptor, bytes]:
        path = f"/v2/{repository}/manifests/{reference}"
        with transport.open("GET", path, errand, headers={"Accept": ACCEPT}) as answer:
            body = answer.read(LARGEST_MANIFEST)
            if body is None:
                raise RegistryError(
                    f"{subject}: the manifest is larger than {LARGEST_MANIFEST // 1024 // 1024} MiB and was not read.",
                    "No image needs that much: ask for another tag, or report it to whoever publishes it.",
                )
            announced = answer.header("Docker-Content-Digest")
            expected = reference if is_digest(reference) else announced
            if is_digest(expected):
                check_document(body, expected, subject)
            digest = expected if is_digest(expected) else digest_of(body)
            return Descriptor(answer.header("Content-Type").partition(";")[0].strip(), digest, len(body)), body

    return attempts.run(once, reason=f"{transport.host.name} to answer for {subject}")


def pull(
    transport: RegistryTransport,
    attempts: Attempts,
    repository: str,
    reference: str,
    *,
    platform: Platform,
    progress: Callable[[PullProgress], None] | None = None,
) -> PulledImage:
    """Fetch and verify every byte of an image for one platform; keep none.

    Args:
        transport: the registry.
        attempts: for what is temporary; its `cancelled` stops the pull.
        repository: the repository's path.
        reference: a tag or a digest.
        platform: which of the image's platforms.
        progress: told about ten times a second, in the calling thread, and once at the end.

    Returns:
        The proof.

    Raises:
        DigestMismatch: some bytes are not what their digest or size says.
        ImageNotAvailable: no such image, tag or platform.
        RegistryError: refused, in one of its meanings; or PermissionMissing, ApiDisabled, NotSignedIn, NotFound.
        Temporary: still failing when the attempts were used up.
        Interrupted: `attempts.cancelled` was set.
    """
    begun = time.monotonic()
    tally = Tally()
    top, body = fetch_document(transport, attempts, repository, reference, tally)
    subject = f"{repository}{'@' if is_digest(reference) else ':'}{reference}"
    total = top.size
    document = parse_document(body, top.media_type, subject)
    index_digest, descriptor = "", top
    for _ in range(_DEEPEST_INDEX):
        if not isinstance(document, Index):
            break
        index_digest = index_digest or top.digest
        chosen = document.choose(platform, subject)
        descriptor, body = fetch_document(transport, attempts, repository, chosen.digest, tally)
        if descriptor.size != chosen.size:
            raise DigestMismatch(
                f"{subject}: the index says that {chosen.digest} has {chosen.size} bytes; it has {descriptor.size}.",
                "Report it to whoever publishes the image.",
            )
        total += descriptor.size
        document = parse_document(body, descriptor.media_type or chosen.media_type, f"{repository}@{chosen.digest}")
    if not isinstance(document, ImageManifest):
        raise RegistryError(f"{subject}: an index in an index in an index leads to no image.", "Ask for another tag.")

    config = _Blob(transport, repository, document.config, tally, keep=_LARGEST_CONFIG)
    layers = [
        _Blob(transport, repository, layer, tally)
        for layer in {layer.digest: layer for layer in document.layers}.values()
    ]
    _check_same_sizes(document, subject)
    _fetch_all([config], attempts, lambda: None)
    if not index_digest:
        _check_platform(config.kept, platform, subject)

    def report() -> None:
        if progress is not None:
            now = tuple(LayerProgress(blob.descriptor.digest, blob.descriptor.size, blob.done) for blob in layers)
            progress(PullProgress(now, time.monotonic() - begun))

    _fetch_all(layers, attempts, report)
    report()
    return PulledImage(
        index_digest=index_digest,
        manifest_digest=descriptor.digest,
        config_digest=document.config.digest,
        layers=document.layers,
        bytes=total + sum(blob.done for blob in (config, *layers)),
        seconds=time.monotonic() - begun,
        requests=tally.requests,
        blob_hosts=tally.blob_hosts,
        resumed=sum(blob.resumed for blob in (config, *layers)),
    )


class _Blob:
    """One config or layer on its way: what came so far, and the hash of it.

    The hash outlives a broken connection, so that the next one asks for the rest only.
    """

    def __init__(
        self, transport: RegistryTransport, repository: str, descriptor: Descriptor, tally: Tally, keep: int = 0
    ) -> None:
        self.descriptor = descriptor
        self.done = 0
        self.resumed = 0
        self.kept = b""
        self._transport = transport
        self._repository = repository
        self._tally = tally
        self._keep = keep
        self._subject = f"{repository}@{descriptor.digest}"
        self._second_chance = False
        self._open: BaseHTTPResponse | None = None
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

    def interrupt(self) -> None:
        """Make a read that waits for bytes return, from another thread."""
        response = self._open
        if response is not None:
            # It may have ended, or never have had a socket of its own, between the two lines.
            with contextlib.suppress(ValueError, RuntimeError, OSError):
                response.shutdown()

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
        errand = Errand(self._repository, self._subject, attempts, self._tally)
        try:
            accepted = (200, 206, 416) if before else (200,)
            with self._transport.open("GET", path, errand, headers=headers, accepted=accepted) as answer:
                self._tally.served_by(answer.host)
                if answer.status == 416:
                    raise self._wrong_size(before, "and not more")
                if before and answer.status == 200:
                    # No ranges here: the whole blob comes again.
                    self._start_over()
                    before = 0
                elif before:
                    self._check_range(answer.header("Content-Range"))
                    self.resumed += 1
                    self._joined = True
                self._check_length(answer.header("Content-Length"))
                self._begun = True
                self._open = answer.response
                try:
                    self._consume(answer.response, attempts)
                finally:
                    self._open = None
        except Temporary:
            # What came is kept, and the attempts begin anew.
            if self.done - before < min(_WORTH, self.descriptor.size - before) or self.done == before:
                raise

    def _consume(self, response: BaseHTTPResponse, attempts: Attempts) -> None:
        while not attempts.cancelled.is_set():
            chunk = response.read(_CHUNK, decode_content=False)
            if not chunk:
                break
            if self.done + len(chunk) > self.descriptor.size:
                raise self._wrong_size(self.done + len(chunk), "or more")
            self._hash.update(chunk)
            if self._keep:
                self.kept += chunk
            self.done += len(chunk)
        if self.done < self.descriptor.size:
            raise Temporary(
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
                f"{self._subject}: asked for the bytes from {self.done}, got {header[:60]!r}.",
                "Check that nothing between here and the registry rewrites its answers.",
                debugging=1,
            )

    def _wrong_size(self, size: int, how: str) -> DigestMismatch:
        return DigestMismatch(
            f"{self._subject}: the manifest says {self.descriptor.size} bytes, the registry has {size} {how}.",
            "Try again; if it stays, the registry's copy is damaged: report it to whoever runs it.",
        )


def _check_same_sizes(manifest: ImageManifest, subject: str) -> None:
    """A digest listed twice with two sizes cannot be right both times."""
    sizes: dict[str, int] = {}
    for layer in manifest.layers:
        if sizes.setdefault(layer.digest, layer.size) != layer.size:
            raise DigestMismatch(
                f"{subject}: the manifest gives {layer.digest} two sizes, {sizes[layer.digest]} and {layer.size}.",
                "Report it to whoever publishes the image.",
            )


def _check_platform(config: bytes, wanted: Platform, subject: str) -> None:
    """Without an index it is the config that tells the platform."""
    found = platform_of_config(config)
    if found is not None and not matches(found, wanted):
        raise ImageNotAvailable(
            f"{subject} has no manifest for {wanted}; the platforms there: {found}.", "Choose one of these platforms."
        )


def _fetch_all(blobs: list[_Blob], attempts: Attempts, report: Callable[[], None]) -> None:
    """Fetch blobs side by side; the first failure, a cancellation or Ctrl-C stops the others at once."""
    if not blobs:
        return
    stop = threading.Event()
    own = Attempts(
        limit=attempts.limit,
        first=attempts.first,
        longest=attempts.longest,
        on_wait=attempts.on_wait,
        cancelled=stop,
    )
    left: queue.SimpleQueue[_Blob] = queue.SimpleQueue()
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
        for blob in blobs:
            blob.interrupt()
        until = time.monotonic() + _PATIENCE
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))


def _work(left: queue.SimpleQueue[_Blob], ends: queue.SimpleQueue[BaseException | None], attempts: Attempts) -> None:
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
