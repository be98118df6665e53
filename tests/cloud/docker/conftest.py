"""A docker engine of the tests' own on a loopback port, and credential helpers that keep what they are given."""

from __future__ import annotations

import base64
import json
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

# A path with spaces cannot stand behind #!, so a shell starts Python; what Python sees there is a text.
HELPER = """#!/bin/sh
'''exec' "{python}" "$0" "$@"
' '''
import json, pathlib, sys
kept = pathlib.Path({folder!r}) / (pathlib.Path(sys.argv[0]).name + ".json")
text = sys.stdin.read()
if sys.argv[1] == "get":
    found = json.loads(kept.read_text()) if kept.exists() else {{}}
    if text.strip() not in found:
        print("credentials not found in native keychain")
        sys.exit(1)
    print(json.dumps(found[text.strip()]) if isinstance(found[text.strip()], dict) else found[text.strip()])
elif {takes}:
    entry = json.loads(text)
    kept.write_text(json.dumps({{entry["ServerURL"]: entry}}))
else:
    sys.exit(1)
"""


class Engine:
    """What the engine answers, and what it was asked."""

    def __init__(self) -> None:
        self.address = ""
        self.events: list[Any] = []
        self.refusal: tuple[int, str] | None = None
        self.repo_digests: list[str] = []
        self.asked: list[tuple[str, dict[str, list[str]], dict[str, str]]] = []

    def auth(self) -> dict[str, str]:
        """The credentials that came with the last pull."""
        headers = next(headers for path, _, headers in reversed(self.asked) if "create" in path)
        return dict(json.loads(base64.urlsafe_b64decode(headers["x-registry-auth"])))


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    engine: Engine

    def log_message(self, *_args: Any) -> None:
        """Silent."""

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        self.engine.asked.append(
            (parts.path, parse_qs(parts.query), {name.lower(): value for name, value in self.headers.items()})
        )
        if parts.path.endswith("/version"):
            self._send(200, {"Version": "28.5.2", "ApiVersion": "1.51", "MinAPIVersion": "1.24"})
        elif parts.path.endswith("/images/create"):
            if self.engine.refusal is not None:
                status, message = self.engine.refusal
                self._send(status, {"message": message})
            else:
                self._stream(self.engine.events)
        else:
            self._send(200, {"RepoDigests": self.engine.repo_digests})

    do_POST = do_GET  # noqa: N815 - http.server's name

    def _stream(self, documents: list[Any]) -> None:
        """In chunks, by which the SDK knows a stream."""
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for document in documents:
            line = json.dumps(document).encode() + b"\r\n"
            self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
        self.wfile.write(b"0\r\n\r\n")

    def _send(self, status: int, *documents: Any) -> None:
        body = b"".join(json.dumps(document).encode() + b"\r\n" for document in documents)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def engine() -> Iterator[Engine]:
    found = Engine()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("EngineHandler", (Handler,), {"engine": found}))
    server.daemon_threads = True
    found.address = f"tcp://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def helper(tmp_path: Path) -> Callable[..., dict[str, str]]:
    """Makes docker-credential-NAME; answers the environment that finds it."""

    def make(name: str, *, takes: bool = True, **kept: Any) -> dict[str, str]:
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        program = folder / f"docker-credential-{name}"
        program.write_text(HELPER.format(python=sys.executable, folder=str(folder), takes=takes))
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        if kept:
            (folder / f"docker-credential-{name}.json").write_text(json.dumps(kept))
        return {"PATH": str(folder)}

    return make
