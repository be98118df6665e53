"""What a host does instead of answering, while a fault says so: it is away, slow, refuses, or sends what is no blob.

Knows hosts and answers. Which trouble a host has is a row that any process may write; it is looked up at each request.
"""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

from starlette.types import Send

from cgrunbook.sandbox import errors
from cgrunbook.sandbox.settings import Settings
from cgrunbook.sandbox.state import State

SCHEMA = """
CREATE TABLE IF NOT EXISTS trouble (
    host TEXT NOT NULL, kind TEXT NOT NULL, value REAL NOT NULL DEFAULT 0, PRIMARY KEY (host, kind)
) WITHOUT ROWID;
"""
#: Kinds of trouble: connections are reset, an answer takes `value` seconds, has the status `value`, is refused by a perimeter
#: of VPC Service Controls, or its body is another one.
AWAY, SLOW, STATUS, PERIMETER, CORRUPTED, TRUNCATED = "away", "slow", "status", "perimeter", "corrupted", "truncated"

#: What a proxy says that wants a password; it hears no more of a connection than its first bytes.
PROXY_ANSWER = (
    b'HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm="proxy"\r\n'
    b"Content-Length: 0\r\nConnection: close\r\n\r\n"
)


class Behaviour:
    """The trouble that hosts have.

    Args:
        state: where it is kept.
        settings: whose project a perimeter is around.
    """

    def __init__(self, state: State, settings: Settings) -> None:
        self._state = state
        self._settings = settings
        state.declare(SCHEMA)

    def _of(self, host: str) -> dict[str, float]:
        rows = self._state.read().execute("SELECT kind, value FROM trouble WHERE host = ?", (host,))
        return {row["kind"]: row["value"] for row in rows}

    def is_away(self, host: str) -> bool:
        """Whether whoever connects to a host is cut off."""
        return AWAY in self._of(host)

    async def meet(self, host: str, send: Send) -> Send:
        """What a request meets before the service does.

        Args:
            host: the real name of the host asked.
            send: how it is answered.

        Returns:
            How the service is to answer it.

        Raises:
            errors.ServiceError: the trouble is the answer.
        """
        trouble = self._of(host)
        if not trouble:
            return send
        if SLOW in trouble:
            await asyncio.sleep(trouble[SLOW])
        if PERIMETER in trouble:
            raise self._outside(host)
        if STATUS in trouble:
            raise errors.RegistryError(int(trouble[STATUS]), "UNAVAILABLE", "Service Unavailable")
        if CORRUPTED in trouble:
            return _corrupting(send)
        return _truncating(send) if TRUNCATED in trouble else send

    def _outside(self, host: str) -> errors.ServiceError:
        """The refusal of who is outside of a perimeter; docker's hosts say the message alone."""
        identifier = "cgrunbook-sandbox-perimeter"
        message = f"Request is prohibited by organization's policy. vpcServiceControlsUniqueIdentifier: {identifier}"
        if not host.endswith(".googleapis.com"):
            return errors.RegistryError(403, "DENIED", message)
        metadata = {"service": host, "uid": identifier, "consumer": f"projects/{self._settings.project_number}"}
        violation = {"type": "VPC_SERVICE_CONTROLS", "description": identifier}
        return errors.PermissionDenied(
            message,
            [
                {"@type": errors.PRECONDITION_FAILURE, "violations": [violation]},
                {
                    "@type": errors.ERROR_INFO,
                    "reason": "SECURITY_POLICY_VIOLATED",
                    "domain": "googleapis.com",
                    "metadata": metadata,
                },
            ],
        )


def _corrupting(send: Send) -> Send:
    """Change the first byte of a body."""
    begun = False

    async def corrupting(message: MutableMapping[str, Any]) -> None:
        nonlocal begun
        body: bytes = message.get("body", b"")
        if body and not begun:
            begun = True
            message = {**message, "body": bytes([body[0] ^ 0xFF]) + body[1:]}
        await send(message)

    return corrupting


class CutOff(Exception):
    """An answer breaks off on purpose."""


def _truncating(send: Send) -> Send:
    """Break off after half of the first part of a body that was announced whole."""

    async def truncating(message: MutableMapping[str, Any]) -> None:
        body: bytes = message.get("body", b"")
        if message["type"] == "http.response.start" or not body:
            await send(message)
            return
        await send({**message, "body": body[: len(body) // 2], "more_body": True})
        raise CutOff

    return truncating
