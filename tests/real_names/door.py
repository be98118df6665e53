"""The real names on loopback: TLS before a running sandbox, with faults, delays and counts.

It knows HTTP/1.1 and names. What the token hosts say is in token_hosts.py; it knows no other service.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h11
import httpx

from tests.real_names.faults import Fault, Weather
from tests.real_names.token_hosts import IAM_CREDENTIALS, METADATA, OAUTH2, STS, TokenHosts

GIVING_TOKENS = (OAUTH2, STS, IAM_CREDENTIALS)
_SMALL = 65536


class Ended(Exception):
    """The connection is not used any more."""


@dataclass
class Request:
    """One request as it came."""

    host: str
    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes = b""

    def header(self, name: str) -> str:
        return next((value for known, value in self.headers if known == name), "")


@dataclass
class Answer:
    """One answer as it goes."""

    status: int
    headers: list[tuple[str, str]]
    body: AsyncIterator[bytes]


@dataclass
class Door:
    """All connections.

    Args:
        hosts: the sandbox's: real name to "127.0.0.1:PORT".
        tokens: the token hosts.
        log: one JSON line a request.
    """

    hosts: Mapping[str, str]
    tokens: TokenHosts
    log: Path
    weather: Weather = field(default_factory=Weather)
    requests: Counter[str] = field(default_factory=Counter)
    connections: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._behind = httpx.AsyncClient(timeout=None, limits=httpx.Limits(max_connections=None), trust_env=False)
        self._named = [(f"http://{address}", f"https://{name}") for name, address in self.hosts.items()]
        self._named += [(address, name) for name, address in self.hosts.items()]

    def set(self, wanted: Mapping[str, Any]) -> None:
        """Change the weather, and count anew."""
        faults = [Fault(**fault) for fault in wanted.get("faults", ())]
        self.weather = Weather(**{**wanted, "faults": faults})
        self.tokens.lifetime = self.weather.lifetime
        self.requests.clear()
        self.connections.clear()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, to its end."""
        plain = writer.get_extra_info("ssl_object") is None  # the metadata server alone speaks without TLS
        try:
            if plain and self.weather.metadata == "silent":
                await reader.read()
            if plain and self.weather.metadata != "there":
                return
            connection = h11.Connection(h11.SERVER)
            first = True
            while (request := await _read(connection, reader)) is not None:
                if plain:
                    request.host = METADATA
                self.requests[request.host] += 1
                self.connections[request.host] += first
                await asyncio.sleep(self.weather.delay + (self.weather.connect if first else 0.0))
                first = False
                begun = time.monotonic()
                status = await self._answer(request, connection, writer)
                self._write_down(request, status, time.monotonic() - begun)
                if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                    return
                connection.start_next_cycle()
        except (OSError, h11.RemoteProtocolError, ssl.SSLError, Ended):
            pass
        finally:
            writer.close()

    async def _answer(self, request: Request, connection: h11.Connection, writer: asyncio.StreamWriter) -> int:
        """Find the answer and send it; its status, 0 where the connection ended instead."""
        faults = self.weather.faults
        fault = next((f for f in faults if f.happens(request.host, request.method, request.target)), Fault())
        await asyncio.sleep(fault.wait)
        if fault.reset:
            writer.transport.abort()
            return 0
        async with self._found(request, fault) as answer:
            if fault.lose:
                writer.transport.abort()
                return 0
            sent = connection.send(h11.Response(status_code=answer.status, headers=answer.headers))
            writer.write(sent or b"")
            left = fault.cut if fault.cut >= 0 else None
            async for piece in answer.body:
                if left is not None and len(piece) > left:
                    writer.write(connection.send(h11.Data(data=piece[:left])) or b"")
                    await writer.drain()
                    writer.transport.abort()
                    return 0
                left = left - len(piece) if left is not None else None
                for at in range(0, len(piece), 4096) if fault.trickle else (0,):
                    await asyncio.sleep(fault.trickle)
                    writer.write(
                        connection.send(h11.Data(data=piece[at : at + 4096] if fault.trickle else piece)) or b""
                    )
                    await writer.drain()
            writer.write(connection.send(h11.EndOfMessage()) or b"")
            await writer.drain()
        return answer.status

    @contextlib.asynccontextmanager
    async def _found(self, request: Request, fault: Fault) -> AsyncIterator[Answer]:
        if fault.status:
            yield _whole(fault.status, fault.body.encode(), fault.headers)
        elif request.host in (*GIVING_TOKENS, METADATA) and not request.target.endswith(":generateIdToken"):
            status, said = self.tokens.answer(request.host, request.target, request.body)
            flavor = {"Metadata-Flavor": "Google"} if request.host == METADATA else {}
            if isinstance(said, str):
                yield _whole(status, said.encode(), {"Content-Type": "text/plain", **flavor})
            else:
                yield _whole(status, json.dumps(said).encode(), {"Content-Type": "application/json", **flavor})
        elif request.host in self.hosts:
            async with self._forwarded(request) as answer:
                yield answer
        else:
            yield _whole(404, b"nobody plays this host", {})

    @contextlib.asynccontextmanager
    async def _forwarded(self, request: Request) -> AsyncIterator[Answer]:
        """What the sandbox answers, with the real names in the place of its addresses."""
        address = self.hosts[request.host]
        left_out = ("host", "connection", "transfer-encoding", "content-length")
        headers = [(name, value) for name, value in request.headers if name not in left_out]
        headers = [
            (name, self.tokens.in_place_of(value) if name == "authorization" else value) for name, value in headers
        ]
        url = httpx.URL(f"http://{address}").copy_with(raw_path=request.target.encode())
        content = request.body if request.body or request.method not in ("GET", "HEAD") else None
        sent = httpx.Request(request.method, url, headers=[("host", address), *headers], content=content)
        answer = await self._behind.send(sent, stream=True)
        try:
            kept = [
                (name, self._renamed(value)) for name, value in answer.headers.multi_items() if name != "connection"
            ]
            small = int(answer.headers.get("content-length", _SMALL)) < _SMALL and request.method != "HEAD"
            if small and "json" in answer.headers.get("content-type", ""):
                text = self._renamed((await answer.aread()).decode()).encode()
                yield _whole(
                    answer.status_code, text, {name: value for name, value in kept if name != "content-length"}
                )
            else:
                yield Answer(answer.status_code, kept, answer.aiter_raw())
        finally:
            await answer.aclose()

    def _renamed(self, text: str) -> str:
        for address, name in self._named:
            text = text.replace(address, name)
        return text

    def _write_down(self, request: Request, status: int, seconds: float) -> None:
        line = {
            "host": request.host,
            "method": request.method,
            "path": request.target.partition("?")[0],
            "status": status,
            "seconds": round(seconds, 3),
            "agent": request.header("user-agent"),
            "quota project": request.header("x-goog-user-project"),
        }
        with self.log.open("a") as log:
            log.write(json.dumps(line) + "\n")


def _whole(status: int, body: bytes, headers: Mapping[str, str]) -> Answer:
    async def pieces() -> AsyncIterator[bytes]:
        yield body

    return Answer(status, [*headers.items(), ("content-length", str(len(body)))], pieces())


async def _read(connection: h11.Connection, reader: asyncio.StreamReader) -> Request | None:
    """The next request, whole; None where there is no further one."""
    request: Request | None = None
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(65536))
        elif isinstance(event, h11.Request):
            headers = [(name.decode().lower(), value.decode("latin-1")) for name, value in event.headers]
            host = next((value for name, value in headers if name == "host"), "").removesuffix(":443")
            request = Request(host, event.method.decode(), event.target.decode("latin-1"), headers)
        elif isinstance(event, h11.Data) and request is not None:
            request.body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            return request
        else:
            return None
