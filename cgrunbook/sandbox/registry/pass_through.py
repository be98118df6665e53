"""cgr.dev where `--upstream` names a registry that stands in for it: what is asked here is asked there.

Knows how a request is handed on and what in the answer would lead a client past this port. Knows no registry's rules:
whoever compares what came through Artifact Registry with cgr.dev must find the registry that it came from.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator

import httpx
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from cgrunbook.sandbox.context import Sandbox
from cgrunbook.sandbox.errors import RegistryError
from cgrunbook.sandbox.registry import distribution
from cgrunbook.sandbox.registry.upstream import http_client

#: Of one connection only (RFC 9110, 7.6.1), or made anew for the next.
_NOT_HANDED_ON = frozenset(
    b"connection content-length expect host keep-alive proxy-authenticate proxy-authorization proxy-connection te "
    b"trailer transfer-encoding upgrade".split()
)
_NOT_HANDED_BACK = _NOT_HANDED_ON - {b"content-length"} | {b"date", b"server"}
_NAMES_ADDRESSES = frozenset([b"link", b"location", b"www-authenticate"])


class PassThrough:
    """The ASGI application of cgr.dev in front of another registry.

    Args:
        sandbox: whose cgr.dev this is.
        upstream: its URL.
    """

    def __init__(self, sandbox: Sandbox, upstream: str) -> None:
        self._sandbox = sandbox
        self._upstream = upstream.rstrip("/")
        self._via = f"1.1 cgrunbook-sandbox-{secrets.token_hex(8)}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand one request on. Only what a pull needs: cgr.dev takes no pushes from anybody."""
        request = Request(scope, receive)
        if request.method not in ("GET", "HEAD"):
            raise RegistryError(405, "UNSUPPORTED", "The operation is unsupported.", headers=[("Allow", "GET, HEAD")])
        if any(self._via in value for name, value in scope["headers"] if name == b"via"):
            raise RegistryError(
                508, "UNSUPPORTED", f"{self._upstream} leads back to this sandbox; name another registry."
            )
        query = scope["query_string"].decode("latin-1")
        url = self._upstream + scope["raw_path"].decode("latin-1") + (f"?{query}" if query else "")
        headers = [(name, value) for name, value in scope["headers"] if name not in _NOT_HANDED_ON]
        headers.append((b"via", self._via))
        client = http_client(self._sandbox)
        try:
            answer = await client.send(client.build_request(request.method, url, headers=headers), stream=True)
        except (httpx.TransportError, httpx.InvalidURL) as problem:
            raise RegistryError(
                502, "UNAVAILABLE", f"{self._upstream}, which stands in for cgr.dev, does not answer: {problem}"
            ) from problem
        try:
            own = f"http://{request.url.netloc}"
            back = [
                (name.lower(), self._here(value, own) if name.lower() in _NAMES_ADDRESSES else value)
                for name, value in answer.headers.raw
                if name.lower() not in _NOT_HANDED_BACK
            ]
            await send({"type": "http.response.start", "status": answer.status_code, "headers": back})
            if request.method == "HEAD" or await distribution.send_body(self._pieces(answer), receive, send):
                await send({"type": "http.response.body", "body": b""})
        finally:
            await answer.aclose()

    def _here(self, value: bytes, own: str) -> bytes:
        """Let addresses of the registry name this port instead; those of others, as a blob host's, stay."""
        return value.replace(f"{self._upstream}/".encode(), f"{own}/".encode())

    async def _pieces(self, answer: httpx.Response) -> AsyncGenerator[bytes, None]:
        try:
            async for piece in answer.aiter_raw():
                yield piece
        except httpx.TransportError as problem:
            message = f"{self._upstream}, which stands in for cgr.dev, stopped answering: {problem}"
            raise RegistryError(502, "UNAVAILABLE", message) from problem
