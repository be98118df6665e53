"""One uvicorn over many loopback ports: each port plays one host, and a request belongs to the port it came in by.

Knows which module plays which host, what is refused before any service sees it, and the request log. Knows no service.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import importlib
import itertools
import json
import os
import signal
import socket
import sqlite3
import struct
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from urllib.parse import parse_qsl

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from cgrunbook.sandbox import errors, hosts, request_log
from cgrunbook.sandbox.asgi import respond
from cgrunbook.sandbox.context import Sandbox, log
from cgrunbook.sandbox.faults.behaviour import PROXY_ANSWER, Behaviour, CutOff

#: Query parameters whose values the request log may show; of all others it shows the name only.
_SHOWN_NAMES = (
    "$alt alt pageSize pageToken filter orderBy updateMask repositoryId repository_id secretId view scope service n "
    "last digest artifactType options.requestedPolicyVersion validateOnly force"
)
_SHOWN_PARAMETERS = frozenset(_SHOWN_NAMES.split())

#: Who plays which host: module below this package, and the function in it that makes the ASGI application.
_FACTORIES: Mapping[str, str] = {
    hosts.ARTIFACT_REGISTRY: "google.artifact_registry:app",
    hosts.SECRET_MANAGER: "google.secret_manager:app",
    hosts.SERVICE_USAGE: "google.service_usage:app",
    hosts.RESOURCE_MANAGER: "google.resource_manager:app",
    hosts.CLOUD_BILLING: "google.cloud_billing:app",
    hosts.CLOUD_KMS: "google.cloud_kms:app",
    hosts.PUBSUB: "google.pubsub:app",
    hosts.LOGGING: "google.cloud_logging:app",
    hosts.CGR_DEV: "registry.cgr_dev:app",
    hosts.BLOB_HOST: "registry.cgr_dev:blob_app",
    hosts.IAM: "google.service_accounts:app",
    hosts.IAM_CREDENTIALS: "google.service_accounts:credentials_app",
    hosts.CONSOLE_API: "chainguard.api:app",
    hosts.STS: "chainguard.api:sts_app",
}
_DOCKER_FACTORY = "registry.docker_pkg_dev:app"


class Dispatcher:
    """The ASGI application: refuses, logs, hands on, and turns whatever is raised into the answer it stands for.

    Args:
        sandbox: given to every service.
        identity: what the identity path answers, as JSON.
    """

    def __init__(self, sandbox: Sandbox, identity: Mapping[str, object]) -> None:
        self._sandbox = sandbox
        self._identity = json.dumps(identity).encode()
        self._hosts = {int(address.rpartition(":")[2]): name for name, address in sandbox.hosts.items()}
        self._apps: dict[str, ASGIApp] = {}
        self._behaviour = Behaviour(sandbox.state, sandbox.settings)
        self._requests = request_log.RequestLog(sandbox.settings.home / request_log.FILE)
        self._under_way = 0
        self._last_request = time.monotonic()

    def idle_seconds(self) -> float:
        """For how long there has been no request but the question whose port this is."""
        return 0.0 if self._under_way else time.monotonic() - self._last_request

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        host = self._hosts[scope["server"][1]]
        if scope["path"] == hosts.IDENTITY_PATH:
            await respond(send, 200, self._identity)
            return
        scope["state"] = state = {"principal": None}
        started = time.perf_counter()
        told = _Told()
        self._under_way += 1

        async def noting_send(message: Message) -> None:
            told.note(message)
            if message["type"] == "http.response.start":
                date = format_datetime(self._sandbox.clock.now(), usegmt=True).encode()
                message = {**message, "headers": [*message.get("headers", ()), (b"date", date)]}
            await send(message)

        try:
            _refuse_foreign(scope, host)
            self._sandbox.quotas.take(host, self._sandbox.settings.project_number)
            answering = await self._behaviour.meet(host, noting_send)
            await self._app(host)(scope, receive, answering)
        except CutOff:
            return  # unfinished: the connection is closed
        except Exception as problem:  # the wire must never show a traceback, whatever a service raises
            if _is_gone(problem):
                return  # nobody is there to be answered
            refusal = _refusal(problem, host, scope)
            if told.status == 0:
                await respond(noting_send, refusal.http_status, refusal.body(), refusal.headers)
            else:
                log.error("%s %s broke off after its headers were sent", host, scope["path"])
                raise
        finally:
            self._under_way -= 1
            self._last_request = time.monotonic()
            agent = dict(scope["headers"]).get(b"user-agent", b"").decode("latin-1")
            line = request_log.Line(
                time=datetime.now(UTC).isoformat(timespec="milliseconds"),
                service=host,
                client=request_log.client_of(agent),
                principal=state["principal"],
                method=scope["method"],
                path=_shown_path(scope),
                status=told.status,
                milliseconds=round((time.perf_counter() - started) * 1000, 1),
                hint=request_log.hint_of(told.status, request_log.refusal_in(bytes(told.beginning)), told.headers),
            )
            self._requests.write(line)

    def instead(self, port: int) -> bytes | None:
        """What a connection gets before it can say anything, after which it is closed; None for nothing."""
        host = self._hosts[port]
        if host == hosts.PROXY:
            return PROXY_ANSWER
        return b"" if self._behaviour.is_away(host) else None

    def note_other_protocol(self, data: bytes, port: int) -> None:
        """Tell in the request log of a connection that begins with something else than http."""
        told = request_log.other_protocol(data, f"127.0.0.1:{port}")
        if told is None:
            return
        client, hint = told
        self._sandbox.hint(f"{self._hosts[port]}: {hint}")
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._requests.write(request_log.Line(now, self._hosts[port], client, None, "-", "", 400, 0.0, hint))

    def _app(self, host: str) -> ASGIApp:
        if host not in self._apps:
            location = hosts.docker_location(host)
            module, _, function = (_DOCKER_FACTORY if location else _FACTORIES[host]).partition(":")
            factory = getattr(importlib.import_module(f"cgrunbook.sandbox.{module}"), function)
            self._apps[host] = factory(self._sandbox, location) if location else factory(self._sandbox)
        return self._apps[host]


class _Told:
    """What an answer said so far, as much of it as the request log needs."""

    _MOST = 4096

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.beginning = bytearray()

    def note(self, message: Message) -> None:
        """Take one message of ASGI's; of bodies only the beginning of a refusal's."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = dict(message.get("headers", ()))
        elif self.status >= 400 and len(self.beginning) < self._MOST:
            self.beginning += message.get("body", b"")[: self._MOST]


def _is_gone(problem: Exception) -> bool:
    """Whether a client went away before its request was whole."""
    from starlette.requests import ClientDisconnect

    return isinstance(problem, ClientDisconnect)


_GOOGLE_KINDS = {403: errors.PermissionDenied, 500: errors.Internal, 503: errors.Unavailable}


def _shaped(host: str, http_status: int, code: str, message: str) -> errors.ServiceError:
    """A refusal in the shape that the host's clients expect."""
    if host.endswith(".googleapis.com"):
        return _GOOGLE_KINDS[http_status](message)
    return errors.RegistryError(http_status, code, message)


def _refuse_foreign(scope: Scope, host: str) -> None:
    """Refuse what another machine's name or another web page sends (DNS rebinding, cross-site requests)."""
    headers = dict(scope["headers"])  # the last of a repeated header; a browser sends each of these once
    port = scope["server"][1]
    own = {f"127.0.0.1:{port}", f"localhost:{port}"}
    asked = headers.get(b"host", b"").decode("latin-1").lower()
    if asked not in own:
        raise _shaped(
            host, 403, "DENIED", f"The sandbox answers 127.0.0.1:{port} only, not the host name of this request."
        )
    origin = headers.get(b"origin")
    if origin is not None and origin.decode("latin-1").lower() not in {f"http://{name}" for name in own}:
        raise _shaped(host, 403, "DENIED", "The sandbox takes no requests from web pages of another origin.")
    if headers.get(b"sec-fetch-site") == b"cross-site":
        raise _shaped(host, 403, "DENIED", "The sandbox takes no requests from web pages of another site.")


def _refusal(problem: Exception, host: str, scope: Scope) -> errors.ServiceError:
    if isinstance(problem, errors.ServiceError):
        return problem
    if isinstance(problem, sqlite3.OperationalError | OSError) and _means_disk_full(problem):
        log.error("%s %s: the state could not be written: %s", host, scope["path"], problem)
        return _shaped(
            host, 503, "UNAVAILABLE", "The sandbox cannot write its state: the disk is full. Free some space."
        )
    log.error("%s %s %s failed", host, scope["method"], scope["path"], exc_info=problem)
    return _shaped(host, 500, "UNKNOWN", "Internal error encountered.")


def _means_disk_full(problem: Exception) -> bool:
    if isinstance(problem, OSError):
        return problem.errno in {errno.ENOSPC, errno.EDQUOT}
    return "disk is full" in str(problem) or "disk I/O error" in str(problem)


def _shown_path(scope: Scope) -> str:
    path: str = scope["path"]
    query = scope["query_string"].decode("latin-1")
    if not query:
        return path
    shown = [
        f"{name}={value}" if name in _SHOWN_PARAMETERS else f"{name}=..."
        for name, value in parse_qsl(query, keep_blank_values=True, max_num_fields=None, errors="replace")
    ]
    return f"{path}?{'&'.join(shown)}"


def open_sockets(sandbox_ports: Mapping[str, int], home: Path) -> tuple[dict[str, int], list[socket.socket]]:
    """Bind one loopback socket a host.

    New ports lie in one block below those that the system gives out by itself, so that nothing takes them while the
    sandbox is stopped; which block follows from the home, so that they are the same after a reset too.

    Args:
        sandbox_ports: ports of an earlier start by real host name; each is taken again where it is free.
        home: the state folder.

    Returns:
        The port of each host, and the bound sockets.
    """
    block = zlib.crc32(os.fsencode(home)) % _BLOCKS
    blocks = [_FIRST_PORT + (block + step) % _BLOCKS * _BLOCK for step in range(_BLOCKS)]
    candidates = itertools.chain.from_iterable(range(first, first + _BLOCK) for first in blocks)
    bound: dict[str, socket.socket] = {}
    # Remembered ports first: a new one must not land on a port that another host remembers.
    for host, port in sandbox_ports.items():
        if host in hosts.all_host_names() and (listener := _listening(port)) is not None:
            bound[host] = listener
    # The others are new, or somebody took their port meanwhile: sandbox.json will tell the new one.
    for host in hosts.all_host_names():
        if host not in bound:
            found = next(filter(None, map(_listening, itertools.chain(candidates, [0]))), None)
            if found is None:
                raise OSError(errno.EADDRNOTAVAIL, "no port of 127.0.0.1 is free")
            bound[host] = found
    return {host: listener.getsockname()[1] for host, listener in bound.items()}, list(bound.values())


_FIRST_PORT, _BLOCK, _BLOCKS = 20000, 64, 190


def _listening(port: int) -> socket.socket | None:
    """A listening socket of a port, 0 for any; None when it is taken."""
    # With the protocol named, asyncio sets TCP_NODELAY; without it each answer waits 40 ms for an acknowledgement.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
        listener.listen(512)
    except OSError:
        listener.close()
        return None
    return listener


class _Protocol(HttpToolsProtocol):
    """uvicorn's HTTP; it refuses what is none, and the request log says what to do about it."""

    def data_received(self, data: bytes) -> None:
        """Look at the first bytes of a connection, and whether anybody is to hear them."""
        dispatcher: Dispatcher = self.config.loaded_app
        port = self.transport.get_extra_info("sockname")[1]
        if (instead := dispatcher.instead(port)) is not None:
            if instead:
                self.transport.write(instead)
                self.transport.close()
            else:  # a reset, and no orderly end
                linger = struct.pack("ii", 1, 0)
                self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.transport.abort()
            return
        if self.cycle is None:
            dispatcher.note_other_protocol(data, port)
        super().data_received(data)


class _Server(uvicorn.Server):
    """uvicorn that tells when it answers, ends on SIGTERM or when idle, and takes no notice of the terminal's Ctrl-C."""

    def __init__(
        self, config: uvicorn.Config, on_ready: Callable[[], None], dispatcher: Dispatcher, most_idle: float | None
    ) -> None:
        super().__init__(config)
        self._on_ready = on_ready
        self._dispatcher = dispatcher
        self._most_idle = most_idle

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()
        if self._most_idle is not None:
            self._end_when_idle(self._most_idle)

    def _end_when_idle(self, most_idle: float) -> None:
        """End, or look again when it could be time."""
        left = most_idle - self._dispatcher.idle_seconds()
        if left <= 0:
            log.info("no request for %g seconds: ending", most_idle)
            self.should_exit = True
        else:
            asyncio.get_running_loop().call_later(left + 0.01, self._end_when_idle, most_idle)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        def end() -> None:
            self.should_exit = True

        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end)
        yield


def serve(
    sandbox: Sandbox, sockets: list[socket.socket], identity: Mapping[str, object], on_ready: Callable[[], None]
) -> None:
    """Serve until SIGTERM.

    Args:
        sandbox: what the services are given; its hosts are the sockets'.
        sockets: listening loopback sockets.
        identity: what the identity path answers.
        on_ready: called once, when requests are answered.
    """
    dispatcher = Dispatcher(sandbox, identity)
    config = uvicorn.Config(
        dispatcher,
        loop="asyncio",
        http=_Protocol,
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,  # the sandbox's own time, which can be moved
        proxy_headers=False,
        timeout_graceful_shutdown=2,
        timeout_keep_alive=75,  # longer than clients keep theirs: a pooled connection must not close under a request
    )
    asyncio.run(_Server(config, on_ready, dispatcher, sandbox.settings.idle_seconds).serve(sockets=sockets))


def process_identity() -> dict[str, object]:
    """What tells this process from any other that might answer on one of its ports."""
    return {"cgrunbook": "sandbox", "pid": os.getpid()}
