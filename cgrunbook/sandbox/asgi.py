"""What every service does with a request over ASGI: read its body and its token, send one whole answer.

Knows bytes and headers; the types are starlette's. Knows no service and no server.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from starlette.types import Send

from cgrunbook.sandbox.errors import ServiceError

if TYPE_CHECKING:
    from starlette.requests import Request  # the server starts without it


async def respond(send: Send, status: int, body: bytes, headers: Sequence[tuple[str, str]] = ()) -> None:
    """Send one whole JSON answer.

    Args:
        send: ASGI's send.
        status: the HTTP status code.
        body: UTF-8 JSON.
        headers: extra headers; a Content-Type among them replaces that of JSON.
    """
    raw = [(name.lower().encode("latin-1"), value.encode("latin-1", "replace")) for name, value in headers]
    if not any(name == b"content-type" for name, _ in raw):
        raw.append((b"content-type", b"application/json; charset=UTF-8"))
    raw.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


async def body_of(request: Request, most: int, too_large: ServiceError) -> bytes:
    """A request's body, or the refusal of one that is longer than `most` bytes."""
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > most:
            raise too_large
    return body


def bearer_token(authorization: str | None) -> str:
    """The token of an Authorization header of the scheme Bearer, "" for any other header and for none."""
    scheme, _, token = (authorization or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""
