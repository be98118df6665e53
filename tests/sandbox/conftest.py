"""Sandboxes for tests: a real process on a temporary home, and the same services called without a process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Message

from cgrunbook.sandbox import hosts, process, settings
from cgrunbook.sandbox.context import Sandbox
from cgrunbook.sandbox.google import service_usage
from cgrunbook.sandbox.server import Dispatcher
from cgrunbook.sandbox.settings import Settings
from cgrunbook.sandbox.state import State


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """CGRUNBOOK_HOME of this test."""
    return tmp_path / "home"


@pytest.fixture
def sandbox(home: Path) -> Iterator[process.Running]:
    """A real sandbox process; what is granted is effective at once."""
    running = process.start(home, iam_delay=0.0, agent_delay=0.0)
    yield running
    process.stop(home)


@dataclass(frozen=True)
class Answer:
    """What came back: status, body as JSON (or text), headers by lower-case name."""

    status: int
    body: Any
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def error(self) -> dict[str, Any]:
        """The google.rpc.Status of a refusal."""
        found: dict[str, Any] = self.body["error"]
        return found

    @property
    def reason(self) -> str | None:
        """ErrorInfo's reason, if the refusal has one."""
        for detail in self.error.get("details", ()):
            if detail["@type"].endswith("ErrorInfo"):
                return str(detail["reason"])
        return None


class Api:
    """Calls the sandbox's services in this process, through everything but the sockets."""

    project = f"projects/{settings.PROJECT_ID}"
    numbered = f"projects/{settings.PROJECT_NUMBER}"

    def __init__(self, folder: Path, iam_delay: float = 0.0, agent_delay: float = 0.0, **settings: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.settings = Settings(home=folder, iam_delay=iam_delay, agent_delay=agent_delay, **settings)
        self.ports = {host: 40000 + number for number, host in enumerate(hosts.all_host_names())}
        addresses = {host: f"127.0.0.1:{port}" for host, port in self.ports.items()}
        self.sandbox = Sandbox(self.settings, State(folder / "state.db"), addresses)
        self.dispatcher = Dispatcher(self.sandbox, {"pid": 0})
        self.token = self.sandbox.tokens.issue(self.settings.operator)

    def call(
        self,
        verb: str,
        host: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = "",
        raw: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Call a method.

        Args:
            verb: The HTTP method.
            host: The real host name.
            path: Path and query, encoded.
            body: Sent as JSON.
            token: "" for the operator's, None for none.
            raw: Sent instead of a JSON body.
            headers: Added; a Host replaces the right one.
        """
        port = self.ports[host]
        given = {"host": f"127.0.0.1:{port}"}
        if token is not None:
            given["authorization"] = f"Bearer {token or self.token}"
        given |= {name.lower(): value for name, value in (headers or {}).items()}
        content = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
        target, _, query = path.partition("?")
        from urllib.parse import unquote

        scope: dict[str, Any] = {
            "type": "http",
            "http_version": "1.1",
            "method": verb,
            "scheme": "http",
            "path": unquote(target),
            "raw_path": target.encode(),
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in given.items()],
            "server": ("127.0.0.1", port),
            "client": ("127.0.0.1", 1),
        }
        sent: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": content, "more_body": False}

        async def send(message: Message) -> None:
            sent.append(message)

        asyncio.run(self.dispatcher(scope, receive, send))
        raw_body = b"".join(message.get("body", b"") for message in sent[1:])
        try:
            parsed = json.loads(raw_body)
        except ValueError:
            parsed = raw_body.decode("utf-8", "replace")
        names = {name.decode(): value.decode("latin-1") for name, value in sent[0]["headers"]}
        return Answer(sent[0]["status"], parsed, names)

    def artifacts(self, verb: str, path: str, body: Any = None, **given: Any) -> Answer:
        """Call Artifact Registry v1; the path begins after the project."""
        return self.call(verb, hosts.ARTIFACT_REGISTRY, f"/v1/{self.project}{path}", body, **given)

    def secrets(self, verb: str, path: str, body: Any = None, **given: Any) -> Answer:
        """Call Secret Manager v1; the path begins after the project."""
        return self.call(verb, hosts.SECRET_MANAGER, f"/v1/{self.project}{path}", body, **given)

    def services(self, verb: str, path: str, body: Any = None, **given: Any) -> Answer:
        """Call Service Usage v1; the path begins after the project."""
        return self.call(verb, hosts.SERVICE_USAGE, f"/v1/{self.project}{path}", body, **given)

    def projects(self, verb: str, path: str, body: Any = None, version: str = "v3", **given: Any) -> Answer:
        """Call Resource Manager; the path begins after the project."""
        return self.call(verb, hosts.RESOURCE_MANAGER, f"/{version}/{self.project}{path}", body, **given)

    def enable(self, *services: str) -> None:
        """Enable APIs."""
        self.services("POST", "/services:batchEnable", {"serviceIds": list(services)})

    def person(self, name: str, *roles: str) -> str:
        """Return the token of somebody with these roles on the project."""
        member = f"user:{name}@example.com"
        policy = self.projects("POST", ":getIamPolicy", {}).body
        policy.setdefault("bindings", []).extend({"role": role, "members": [member]} for role in roles)
        assert self.projects("POST", ":setIamPolicy", {"policy": policy}).status == 200
        return self.sandbox.tokens.issue(member)

    def advance(self, **amount: float) -> None:
        """Move the sandbox's clock."""
        self.sandbox.clock.advance(timedelta(**amount))

    def settled(self, started: Answer) -> dict[str, Any]:
        """Return the finished operation that an answer of Artifact Registry began."""
        assert started.status == 200, started.body
        answer = self.call("GET", hosts.ARTIFACT_REGISTRY, f"/v1/{started.body['name']}")
        assert answer.body["done"]
        operation: dict[str, Any] = answer.body
        return operation

    def add_secret(self, secret: str, payload: str = "s3cr3t") -> None:
        """Make a secret with one version."""
        import base64

        self.secrets("POST", f"/secrets?secretId={secret}", {"replication": {"automatic": {}}})
        data = base64.b64encode(payload.encode()).decode()
        assert self.secrets("POST", f"/secrets/{secret}:addVersion", {"payload": {"data": data}}).status == 200


NewApi = Callable[..., Api]


@pytest.fixture
def new_api(tmp_path: Path) -> Iterator[NewApi]:
    """Makes a fresh sandbox's services with other settings; Python 3.13 warns of a database that nobody closes."""
    with contextlib.ExitStack() as made:

        def make(**settings: Any) -> Api:
            api = Api(Path(tempfile.mkdtemp(dir=tmp_path)), **settings)
            made.callback(api.sandbox.state.close)
            return api

        yield make


@pytest.fixture
def fresh(new_api: NewApi) -> Api:
    """A fresh sandbox's services, with nothing enabled that is not on a fresh project."""
    return new_api()


@pytest.fixture
def api(fresh: Api) -> Api:
    """A sandbox's services with Artifact Registry and Secret Manager enabled."""
    service_usage.prepare(fresh.sandbox)
    fresh.enable(hosts.ARTIFACT_REGISTRY, hosts.SECRET_MANAGER)
    return fresh
