"""The OCI distribution protocol as a registry speaks it: paths, Accept, ranges, conditions, pages, bearer challenges.

Knows the wire of /v2/ and nothing of who may pull, what exists, or where it comes from.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import json
import os
import re
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Send

from cgrunbook.sandbox.context import log
from cgrunbook.sandbox.errors import RegistryError
from cgrunbook.sandbox.registry import blobs

API_VERSION = ("Docker-Distribution-Api-Version", "registry/2.0")

Kind = Literal["base", "catalog", "manifests", "blobs", "tags", "referrers", "uploads"]

_NAME = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*"
_WHOLE_NAME = re.compile(rf"{_NAME}\Z")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}\Z")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
_PATH = re.compile(
    r"/v2/(?P<name>.+?)/(?:(?P<tags>tags/list)|(?P<uploads>blobs/uploads(?:/.*)?)"
    r"|(?P<kind>manifests|blobs|referrers)/(?P<reference>[^/]+))\Z"
)
_FIXED: Mapping[str, Kind] = {"/v2": "base", "/v2/": "base", "/v2/_catalog": "catalog"}
_KINDS: Mapping[str, Kind] = {"manifests": "manifests", "blobs": "blobs", "referrers": "referrers"}
_RANGE = re.compile(r"bytes=(\d*)-(\d*)\Z")
_MAX_NAME = 255  # distribution specification, "pulling manifests"


@dataclass(frozen=True)
class Route:
    """What a path under /v2/ names.

    Args:
        kind: which of the specification's end points.
        name: the repository's name; empty for "base" and "catalog".
        reference: a tag or digest for "manifests", a digest for "blobs" and "referrers", else empty.
    """

    kind: Kind
    name: str = ""
    reference: str = ""


def is_digest(reference: str) -> bool:
    """Whether a reference is a sha256 digest."""
    return bool(_DIGEST.match(reference))


def route(path: str) -> Route:
    """What the decoded path of a request names.

    Raises:
        RegistryError: 404 for a path that the specification does not have, 400 for a malformed name, tag or digest.
    """
    if path in _FIXED:
        return Route(_FIXED[path])
    found = _PATH.match(path)
    if found is None:
        raise RegistryError(404, "UNSUPPORTED", "The requested path is not part of the registry API.")
    name = found["name"]
    if len(name) > _MAX_NAME or not _WHOLE_NAME.match(name):
        raise RegistryError(400, "NAME_INVALID", "invalid repository name", {"name": name[:_MAX_NAME]})
    if found["tags"]:
        return Route("tags", name)
    if found["uploads"] is not None:
        return Route("uploads", name)
    kind, reference = found["kind"], found["reference"]
    if not is_digest(reference) and not (kind == "manifests" and _TAG.match(reference)):
        code = "TAG_INVALID" if kind == "manifests" else "DIGEST_INVALID"
        raise RegistryError(400, code, "invalid tag or digest", {"reference": reference[:_MAX_NAME]})
    return Route(_KINDS[kind], name, reference)


def bearer_challenge(realm: str, service: str | None = None, scope: str | None = None) -> tuple[str, str]:
    """The WWW-Authenticate header that sends a client to a token end point.

    Args:
        realm: URL of the token end point.
        service: the registry's name for itself, left out when None.
        scope: for example "repository:chainguard/go:pull", left out when None.
    """
    value = f'Bearer realm="{realm}"'
    if service is not None:
        value += f',service="{service}"'
    if scope is not None:
        value += f',scope="{scope}"'
    return ("WWW-Authenticate", value)


def basic_credentials(authorization: str | None) -> tuple[str, str] | None:
    """Read a Basic Authorization header.

    Args:
        authorization: the header's value, or None.

    Returns:
        User name and password; None when the header is absent or of another scheme.

    Raises:
        ValueError: the header says Basic and is not well formed.
    """
    scheme, _, value = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        username, colon, password = base64.b64decode(value.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError) as problem:
        raise ValueError("the Basic credentials are not base64 of UTF-8") from problem
    if not colon:
        raise ValueError("the Basic credentials have no colon")
    return username, password


def accepts(headers: Sequence[str], media_type: str) -> bool:
    """Whether a client takes a media type.

    Args:
        headers: the values of all Accept headers; none at all means that anything is taken (RFC 9110, 12.5.1).
        media_type: what would be sent.
    """
    ranges = [part.split(";")[0].strip().lower() for header in headers for part in header.split(",")]
    ranges = [part for part in ranges if part]
    group = media_type.partition("/")[0]
    return not ranges or any(part in (media_type, f"{group}/*", "*/*") for part in ranges)


def matches(condition: str | None, digest: str) -> bool:
    """Whether an If-None-Match (or If-Range) header names the content, whose digest is its entity tag."""
    if condition is None:
        return False
    tags = [tag.strip().removeprefix("W/").strip('"') for tag in condition.split(",")]
    return "*" in tags or digest in tags


def byte_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Read a Range header.

    Args:
        header: the header's value, or None.
        size: size of the content in bytes.

    Returns:
        First offset and the offset after the last; None where the whole content is to be sent (no header, another unit,
        or several ranges, which a server may ignore).

    Raises:
        RegistryError: 416, the range lies outside the content.
    """
    found = _RANGE.match((header or "").strip())
    if found is None or found[0] == "bytes=-":
        return None
    first, last = found[1], found[2]
    start = int(first) if first else max(size - int(last), 0)
    end = min(int(last) + 1, size) if first and last else size
    if start >= size or start >= end:
        raise RegistryError(
            416, "RANGE_INVALID", "invalid content range", headers=[("Content-Range", f"bytes */{size}")]
        )
    return start, end


def json_response(value: Mapping[str, object], headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer with the registry's version header."""
    answer = Response(json.dumps(value, separators=(",", ":")).encode(), media_type="application/json")
    answer.headers[API_VERSION[0]] = API_VERSION[1]
    answer.headers.update(headers or {})
    return answer


def manifest_response(request: Request, media_type: str, digest: str, content: bytes) -> Response:
    """A manifest, or 304 where the client has it. HEAD is answered by the same headers.

    Args:
        request: the request, for its conditions.
        media_type: goes into Content-Type.
        digest: goes into Docker-Content-Digest and ETag.
        content: the manifest's bytes.
    """
    headers = {API_VERSION[0]: API_VERSION[1], "Docker-Content-Digest": digest, "ETag": f'"{digest}"'}
    if matches(request.headers.get("if-none-match"), digest):
        return Response(status_code=304, headers=headers)
    headers["Content-Length"] = str(len(content))
    return Response(b"" if request.method == "HEAD" else content, headers=headers, media_type=media_type)


def page(request: Request, names: Sequence[str], path: str) -> tuple[list[str], dict[str, str]]:
    """Cut one page out of a sorted list, as n and last ask (distribution specification, "listing tags").

    Args:
        request: the request with its query.
        names: all names in lexical order.
        path: path for the Link header of the next page.

    Returns:
        The page's names, and a Link header where there are more.

    Raises:
        RegistryError: 400, n is no number.
    """
    last = request.query_params.get("last")
    left = [name for name in names if last is None or name > last]
    wanted = request.query_params.get("n")
    if wanted is None:
        return left, {}
    if not wanted.isascii() or not wanted.isdigit() or len(wanted) > 9:
        raise RegistryError(400, "PAGINATION_NUMBER_INVALID", "invalid number of results requested", {"n": wanted[:20]})
    count = int(wanted)
    cut = left[:count]
    if not cut or len(cut) == len(left):
        return cut, {}
    following = f"{quote(path)}?{urlencode({'n': count, 'last': cut[-1]})}"
    return cut, {"Link": f'<{following}>; rel="next"'}


async def send_blob(
    request: Request,
    receive: Receive,
    send: Send,
    *,
    digest: str,
    size: int,
    content: blobs.Source,
    media_type: str = "application/octet-stream",
) -> None:
    """Send a blob, or the part of it that the client asked for, or 304.

    Args:
        request: the request, for method, range and conditions.
        receive: ASGI; watched, so that reading stops when the client has gone.
        send: ASGI.
        digest: the blob's digest.
        size: its size in bytes.
        content: yields the bytes between two offsets.
        media_type: goes into Content-Type.

    Raises:
        RegistryError: 416 for a range outside the blob.
    """
    headers = {
        API_VERSION[0]: API_VERSION[1],
        "Accept-Ranges": "bytes",
        "Cache-Control": "max-age=31536000",
        "Content-Type": media_type,
        "Docker-Content-Digest": digest,
        "ETag": f'"{digest}"',
    }
    if matches(request.headers.get("if-none-match"), digest):
        await Response(status_code=304, headers=headers)(request.scope, receive, send)
        return
    if_range = request.headers.get("if-range")
    wanted = byte_range(request.headers.get("range"), size) if if_range is None or matches(if_range, digest) else None
    start, end = wanted or (0, size)
    headers["Content-Length"] = str(end - start)
    if wanted:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    await send(
        {
            "type": "http.response.start",
            "status": 206 if wanted else 200,
            "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()],
        }
    )
    if request.method == "HEAD" or await send_body(content(start, end), receive, send):
        await send({"type": "http.response.body", "body": b""})


async def send_body(pieces: AsyncGenerator[bytes, None], receive: Receive, send: Send) -> bool:
    """Send pieces of a body until the client goes: a server's send says nothing when there is nobody left to read.

    Args:
        pieces: closed in any case.
        receive: ASGI.
        send: ASGI; the empty piece that ends the body is the caller's.

    Returns:
        Whether the body may be ended. Where its source failed it may not: the server then closes the connection, which
        is all that can still be said to the client.
    """

    async def departure() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    gone = asyncio.create_task(departure())
    try:
        async with contextlib.aclosing(pieces) as source:
            async for piece in source:
                if gone.done():
                    break
                await send({"type": "http.response.body", "body": piece, "more_body": True})
    except RegistryError as failure:
        log.warning("an answer broke off in the middle: %s", failure.message)
        return False
    finally:
        gone.cancel()
    return True


def file_source(descriptor: int) -> blobs.Source:
    """A source over an open file, for send_blob; the descriptor stays the caller's to close."""
    return lambda start, end: blobs.read(descriptor, start, end)


@contextlib.contextmanager
def opened(path: os.PathLike[str]) -> Iterator[int]:
    """Open a file for reading, and close it after.

    Yields:
        Its descriptor.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
