"""An OCI registry of the tests' own, on loopback, that can be told to misbehave; and Debian's docker-registry."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import re
import secrets
import socket
import struct
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from cgrunbook.cloud.attempts import Attempts, Wait
from cgrunbook.cloud.connection import RegistryHost
from cgrunbook.cloud.registry import BasicCredentials, Registry
from cgrunbook.redaction import Secret
from tests.clients.docker_registry import docker_registry

OCI = "application/vnd.oci.image"
DOCKER = "application/vnd.docker.distribution.manifest"


def digest(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


@dataclass(frozen=True)
class Seen:
    method: str
    path: str
    headers: dict[str, str]


class Request(BaseHTTPRequestHandler):
    """One request at the double, with the ways in which a test lets it end."""

    protocol_version = "HTTP/1.1"
    registry: OciRegistry

    def log_message(self, *_args: Any) -> None:
        """Silent: the double keeps its own log."""

    def reply(self, status: int, body: bytes | Any = b"", **headers: str) -> None:
        """A whole answer; header names are written with underscores."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(data))} | named).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.registry.sent += len(data)
            self.wfile.write(data)

    def error(self, status: int, code: str, message: str, **headers: str) -> None:
        self.reply(status, {"errors": [{"code": code, "message": message}]}, **headers)

    def short(self, body: bytes, length: int, status: int = 200, **headers: str) -> None:
        """Announce `length` bytes, send fewer, and close: all that was sent arrives."""
        self.begin(body, length, status, **headers)
        self.close_connection = True

    def reset(self, body: bytes, length: int, status: int = 200, **headers: str) -> None:
        """The same with a reset: how much of what was sent arrives, nobody knows."""
        self.begin(body, length, status, **headers)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def begin(self, body: bytes, length: int, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        for name, value in ({"Content-Length": str(length)} | named).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def do_GET(self) -> None:
        # A pull that stops closes its connections in the middle of an answer.
        with contextlib.suppress(ConnectionError):
            self.registry.serve(self)

    do_HEAD = do_GET  # noqa: N815 - http.server's name


@dataclass
class OciRegistry:
    """What the double has, whom it lets in, and what it was asked."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[tuple[str, str], tuple[str, bytes]] = field(default_factory=dict)
    log: list[Seen] = field(default_factory=list)
    sent: int = 0
    scheme: str = "none"
    username: str = ""
    password: str = field(default_factory=lambda: secrets.token_hex(16))
    anonymous: bool = True
    takes_access_tokens: bool = False
    ranges: bool = True
    tokens: dict[str, str] = field(default_factory=dict)
    realm: str = ""
    exchanges: int = 0
    twists: list[tuple[re.Pattern[str], int, Callable[[Request], None]]] = field(default_factory=list)
    address: str = ""
    lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def twist(self, path: str, act: Callable[[Request], None], times: int = 1) -> None:
        """Let the next `times` requests whose "METHOD PATH" fits end in another way; -1 for all."""
        self.twists.append((re.compile(path), times, act))

    def serve(self, request: Request) -> None:
        with self.lock:
            self.log.append(Seen(request.command, request.path, {k.lower(): v for k, v in request.headers.items()}))
            act = self._twisted(f"{request.command} {request.path}")
        if act is not None:
            act(request)
            return
        parts = urlsplit(request.path)
        if parts.path == "/token":
            self._token(request, parse_qs(parts.query))
            return
        found = re.fullmatch(r"/v2/(?:(.+)/(manifests|blobs)/(.+))?", parts.path)
        if found is None:
            request.error(404, "NOT_FOUND", "no such page")
        elif not self._let_in(request, found.group(1) or ""):
            self._ask(request, found.group(1) or "")
        elif found.group(2) == "manifests":
            self._manifest(request, found.group(1), found.group(3))
        elif found.group(2) == "blobs":
            self.blob(request, found.group(3))
        else:
            request.reply(200, {})

    def blob(self, request: Request, name: str) -> None:
        body = self.blobs.get(name)
        if body is None:
            request.error(404, "BLOB_UNKNOWN", "no such blob")
            return
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range", ""))
        if wanted is None or not self.ranges:
            request.reply(200, body)
            return
        start = int(wanted.group(1))
        if start >= len(body):
            request.error(416, "RANGE_INVALID", "beyond the end")
            return
        end = min(int(wanted.group(2) or len(body)), len(body) - 1)
        request.reply(206, body[start : end + 1], Content_Range=f"bytes {start}-{end}/{len(body)}")

    def put_blob(self, body: bytes, media_type: str = f"{OCI}.layer.v1.tar+gzip") -> dict[str, Any]:
        self.blobs[digest(body)] = body
        return {"mediaType": media_type, "digest": digest(body), "size": len(body)}

    def put_document(
        self, repository: str, tag: str, document: Any, media_type: str, *, sent: str | None = None
    ) -> dict[str, Any]:
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        for name in (tag, digest(body)):
            self.manifests[repository, name] = (media_type if sent is None else sent, body)
        return {"mediaType": media_type, "digest": digest(body), "size": len(body)}

    def put_image(
        self,
        repository: str = "chainguard/go",
        tag: str = "latest",
        *,
        layers: tuple[bytes, ...] = (),
        architecture: str = "amd64",
        docker: bool = False,
    ) -> dict[str, Any]:
        """One manifest, without an index."""
        config = self.put_blob(
            json.dumps({"os": "linux", "architecture": architecture, "rootfs": {"type": "layers"}}).encode(),
            "application/vnd.docker.container.image.v1+json" if docker else f"{OCI}.config.v1+json",
        )
        kind = f"{DOCKER}.v2+json" if docker else f"{OCI}.manifest.v1+json"
        document = {
            "schemaVersion": 2,
            "mediaType": kind,
            "config": config,
            "layers": [self.put_blob(layer) for layer in layers or (os.urandom(3000), os.urandom(50))],
        }
        return self.put_document(repository, tag, document, kind)

    def put_index(
        self,
        repository: str = "chainguard/go",
        tag: str = "latest",
        *,
        docker: bool = False,
        **platforms: tuple[bytes, ...],
    ) -> dict[str, Any]:
        """An index over an image for each architecture."""
        kind = f"{DOCKER}.list.v2+json" if docker else f"{OCI}.index.v1+json"
        entries = []
        for architecture, layers in (platforms or {"amd64": (), "arm64": ()}).items():
            image = self.put_image(
                repository, f"only-{architecture}", layers=layers, architecture=architecture, docker=docker
            )
            entries.append({**image, "platform": {"os": "linux", "architecture": architecture}})
        document = {"schemaVersion": 2, "mediaType": kind, "manifests": entries}
        return self.put_document(repository, tag, document, kind)

    def credentials(self) -> BasicCredentials:
        return BasicCredentials(self.username, Secret(self.password))

    def wants_a_token(self, *, anonymous: bool = False) -> None:
        self.scheme, self.anonymous = "bearer", anonymous
        self.username = f"{secrets.token_hex(20)}/{secrets.token_hex(8)}"

    def asked(self, fragment: str) -> list[Seen]:
        return [seen for seen in self.log if fragment in f"{seen.method} {seen.path}"]

    def _twisted(self, line: str) -> Callable[[Request], None] | None:
        for number, (pattern, times, act) in enumerate(self.twists):
            if times != 0 and pattern.search(line):
                self.twists[number] = (pattern, times - 1, act)
                return act
        return None

    def _manifest(self, request: Request, repository: str, name: str) -> None:
        found = self.manifests.get((repository, name))
        if found is None:
            request.error(404, "MANIFEST_UNKNOWN", "Unknown manifest")
        elif found[0] and found[0] not in ", ".join(request.headers.get_all("Accept", ())):
            request.error(404, "MANIFEST_UNKNOWN", f"client doesn't include {found[0]} in Accept header")
        else:
            request.reply(200, found[1], Content_Type=found[0], Docker_Content_Digest=digest(found[1]))

    def _let_in(self, request: Request, repository: str) -> bool:
        sent = request.headers.get("Authorization", "")
        if self.scheme == "none":
            return True
        if self.scheme == "basic":
            return self._known(sent)
        if self.takes_access_tokens and sent == f"Bearer {self.password}":
            return True
        return bool(repository) and self.tokens.get(sent.removeprefix("Bearer ")) == repository

    def _ask(self, request: Request, repository: str) -> None:
        if self.scheme == "basic":
            challenge = 'Basic realm="somewhere, else"'
        else:
            scope = f',scope="repository:{repository}:pull"' if repository else ""
            challenge = f'Bearer realm="{self.realm or self.url + "/token"}",service="cgr.dev"{scope}'
        request.error(401, "UNAUTHORIZED", "Authentication required", WWW_Authenticate=challenge)

    def _token(self, request: Request, query: dict[str, list[str]]) -> None:
        self.exchanges += 1
        sent = request.headers.get("Authorization", "")
        if sent and not self._known(sent):
            request.error(403, "FORBIDDEN", "Forbidden")
        elif not sent and not self.anonymous:
            request.error(401, "UNAUTHORIZED", "Authentication required")
        else:
            token = secrets.token_hex(16)
            self.tokens[token] = query["scope"][0].split(":")[1]
            request.reply(200, {"token": token})

    def _known(self, header: str) -> bool:
        return header == f"Basic {base64.b64encode(f'{self.username}:{self.password}'.encode()).decode()}"


@contextlib.contextmanager
def listening(registry: OciRegistry) -> Iterator[OciRegistry]:
    handler = type("Handler", (Request,), {"registry": registry})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    # A client that stopped in the middle is what some tests are about; others would see a failed assertion.
    server.handle_error = lambda *_args: None  # type: ignore[method-assign]
    registry.address = f"127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield registry
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def double() -> Iterator[OciRegistry]:
    with listening(OciRegistry()) as registry:
        yield registry


@pytest.fixture
def elsewhere() -> Iterator[OciRegistry]:
    """A second host, for redirects."""
    with listening(OciRegistry()) as registry:
        yield registry


@pytest.fixture
def waits() -> list[Wait]:
    return []


@pytest.fixture
def attempts(waits: list[Wait]) -> Attempts:
    """Attempts that wait for nothing and write down that they would have."""
    return Attempts(limit=20.0, first=0.0, longest=0.0, on_wait=waits.append)


@pytest.fixture
def few_attempts(waits: list[Wait]) -> Attempts:
    """Attempts that end after some waits; their clock moves only while they wait."""
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    return Attempts(limit=10.0, first=1.0, longest=5.0, on_wait=waits.append, clock=lambda: now[0], sleep=sleep)


@pytest.fixture
def connect(double: OciRegistry, attempts: Attempts) -> Callable[..., Registry]:
    """A client of the double, which plays cgr.dev unless another name is given."""

    def make(
        credentials: Any = None,
        *,
        name: str = "cgr.dev",
        with_attempts: Attempts | None = None,
        timeout: float = 20.0,
        whose: Any = None,
    ) -> Registry:
        host = RegistryHost(name, double.address, "http")
        return Registry(host, credentials, with_attempts or attempts, timeout=timeout, whose=whose)

    return make


@pytest.fixture
def distribution(tmp_path: Any) -> Iterator[str]:
    """The address of a CNCF distribution registry, which nobody here wrote."""
    with docker_registry(tmp_path / "distribution") as address:
        yield address


@pytest.fixture
def push() -> Callable[..., str]:
    """Copy an image of the double into a real registry; answers its digest."""

    def copy(double: OciRegistry, address: str, repository: str, tag: str) -> str:
        for name, body in double.blobs.items():
            start = urllib.request.Request(f"http://{address}/v2/{repository}/blobs/uploads/", method="POST")
            with urllib.request.urlopen(start) as answer:
                where = answer.headers["Location"]
            separator = "&" if "?" in where else "?"
            kind = {"Content-Type": "application/octet-stream"}
            urllib.request.urlopen(
                urllib.request.Request(f"{where}{separator}digest={name}", data=body, method="PUT", headers=kind)
            ).close()
        # Single manifests before the index that names them.
        ordered = sorted(double.manifests.items(), key=lambda entry: b'"manifests"' in entry[1][1])
        for (_, name), (kind_of, body) in ordered:
            url = f"http://{address}/v2/{repository}/manifests/{name}"
            urllib.request.urlopen(
                urllib.request.Request(url, data=body, method="PUT", headers={"Content-Type": kind_of})
            ).close()
        return digest(double.manifests[repository, tag][1])

    return copy
