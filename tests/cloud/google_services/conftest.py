"""A small double of Google's HTTP services that answers what a test has written down, and a clock that tests move.

The answers have the shapes of the recorded ones in the facts; nothing here knows how the product works.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from google.auth.credentials import AnonymousCredentials

from cgrunbook.cloud import Attempts, Cloud, Connection, RegistryHost, Wait

RESET = "reset"


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: dict[str, str]
    body: Any


Answer = tuple[int, Any] | str | Callable[[Request], tuple[int, Any]]


@dataclass
class Double:
    """Answers by method and path; the last answer of a list is given again and again."""

    address: str = ""
    requests: list[Request] = field(default_factory=list)
    _rules: list[tuple[str, re.Pattern[str], list[Answer]]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def on(self, method: str, path: str, *answers: Answer) -> None:
        self._rules.insert(0, (method, re.compile(path), list(answers)))

    def sent(self, method: str, path: str = "") -> list[Request]:
        return [one for one in self.requests if one.method == method and re.search(path, one.path)]

    def answer(self, request: Request) -> tuple[int, Any] | str:
        with self._lock:
            self.requests.append(request)
            for method, pattern, answers in self._rules:
                if method == request.method and pattern.fullmatch(request.path):
                    found = answers.pop(0) if len(answers) > 1 else answers[0]
                    return found(request) if callable(found) else found
        return error(404, "NOT_FOUND", "Requested entity was not found.")


def error(code: int, status: str, message: str, reason: str = "", **metadata: str) -> tuple[int, Any]:
    """Google's JSON error, with an ErrorInfo where there is a reason."""
    body: dict[str, Any] = {"code": code, "message": message, "status": status}
    if reason:
        body["details"] = [
            {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": reason,
                "domain": "googleapis.com",
                "metadata": metadata,
            }
        ]
    return code, {"error": body}


@dataclass
class Clock:
    """Time that passes only by waiting."""

    now: float = 0.0
    waits: list[Wait] = field(default_factory=list)

    def read(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> Iterator[Double]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    state = Double()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # one packet an answer: two would wait for each other (Nagle)

        def log_message(self, *_: Any) -> None:
            """Tests are quiet."""

        def _handle(self) -> None:
            split = urlsplit(self.path)
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            query = {key: values[0] for key, values in parse_qs(split.query).items()}
            request = Request(self.command, split.path, query, json.loads(raw) if raw else None)
            found = state.answer(request)
            if isinstance(found, str):
                self.close_connection = True
                return
            status, body = found
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PATCH = do_DELETE = _handle  # noqa: N815 - http.server's names

    class Server(ThreadingHTTPServer):
        daemon_threads = True

    server = Server(("127.0.0.1", 0), Handler)
    state.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def connection(double: Double, tmp_path: Path) -> Connection:
    return Connection(
        target="google-cloud",
        project_id="my-project",
        location="us-central1",
        organization="example.com",
        credentials=AnonymousCredentials(),
        artifact_registry=double.address,
        secret_manager=double.address,
        service_usage=double.address,
        resource_manager=double.address,
        artifact_registry_host=RegistryHost("us-central1-docker.pkg.dev", "us-central1-docker.pkg.dev", "https"),
        cgr=RegistryHost("cgr.dev", "cgr.dev", "https"),
        chainctl="chainctl",
        environment={},
        docker_config=tmp_path,
        who=lambda: "user:ada@example.com",
    )


@pytest.fixture
def cloud(connection: Connection, clock: Clock) -> Cloud:
    return Cloud(connection, Attempts(clock=clock.read, sleep=clock.sleep, on_wait=clock.waits.append))


@pytest.fixture
def refusal() -> Callable[..., tuple[int, Any]]:
    """Makes a Google-shaped refusal: code, status, message, reason, metadata."""
    return error


@pytest.fixture
def reset() -> str:
    """The answer that is none: the connection is closed."""
    return RESET
