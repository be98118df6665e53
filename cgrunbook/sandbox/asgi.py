"""What every service says over ASGI: one whole answer.

Knows how an answer is sent; its types are starlette's. Knows no service and no server.
"""

from __future__ import annotations

from collections.abc import Sequence

from starlette.types import Send


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
