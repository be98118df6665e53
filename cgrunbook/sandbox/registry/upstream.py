"""A remote repository's way to its upstream registry: challenge, token, manifests, blobs, and how failures are worded.

Knows the distribution protocol as a client speaks it and the texts that Artifact Registry has for failures. Knows
neither repositories nor caches; credentials are given to it.

In the sandbox `https://cgr.dev` is the sandbox's own cgr.dev, or the registry given as `--upstream`. Registries on
loopback are reached as they are. Anything else would leave the machine and is answered as a timeout.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

import httpx

from cgrunbook.sandbox.context import Sandbox
from cgrunbook.sandbox.errors import RegistryError
from cgrunbook.sandbox.hosts import CGR_DEV
from cgrunbook.sandbox.registry.images import INDEX_TYPE, MANIFEST_TYPE, digest_of

#: What is asked for: a client that does not name the index type gets none (concourse/docker-image-resource #369).
MANIFEST_TYPES = (
    INDEX_TYPE,
    MANIFEST_TYPE,
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)

_DOCKER_HUB = "registry-1.docker.io"
_LOOPBACK = frozenset(["127.0.0.1", "localhost", "::1"])
_TIMEOUT = httpx.Timeout(30.0, connect=5.0)
# Seconds until an answer's headers are there, and each so many bytes of its body, or its end.
_PATIENCE = 60.0
_BYTES = 1 << 20
_REDIRECTS = 5
_PAGES = 100
_MANIFEST_LIMIT = 4 << 20  # bytes, as distribution's own registry limits them
_LIST_LIMIT = 16 << 20  # bytes; 100,000 tags of the longest kind are less
# A parameter, its value quoted or not; or a scheme, which begins the next challenge (RFC 9110, 11.6.1).
_CHALLENGE_PART = re.compile(r'([\w-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))|([A-Za-z][\w-]*)(?=\s|,|$)')
_MEDIA_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}")
_INVALID_CREDENTIALS = (
    "Unauthorized error returned by the external repository... "
    "this typically means your upstream credentials are invalid"
)

_clients: WeakKeyDictionary[Sandbox, httpx.AsyncClient] = WeakKeyDictionary()


class ValidationFailed(Exception):
    """The upstream, or the credentials for it, did not pass the check of create and update; the text is the API's."""


class UpstreamFailure(RegistryError):
    """An upstream's failure as a client of the remote repository sees it.

    Args:
        http_status: the HTTP status for the client.
        code: the distribution error code for the client.
        message: Artifact Registry's words.
        rpc_status: name of the status in lower case, as validation quotes it: "unauthenticated".
        outage: whether the upstream did not answer as a registry: what is cached may be served instead.
    """

    def __init__(self, http_status: int, code: str, message: str, rpc_status: str, *, outage: bool = False) -> None:
        super().__init__(http_status, code, message)
        self.rpc_status = rpc_status
        self.outage = outage


@dataclass(frozen=True)
class Credentials:
    """What the repository has for its upstream.

    Args:
        username: a pull token's user name.
        password: its password; not shown by repr.
    """

    username: str
    password: str

    def __repr__(self) -> str:
        """The user name only."""
        return f"Credentials({self.username!r})"

    @property
    def basic(self) -> str:
        """The Authorization header's value."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


@dataclass(frozen=True)
class FetchedManifest:
    """A manifest that came from the upstream.

    Args:
        media_type: its Content-Type.
        content: the bytes.
        digest: computed from the bytes.
    """

    media_type: str
    content: bytes
    digest: str


class Upstream:
    """One upstream, asked with one pair of credentials or anonymously.

    Args:
        sandbox: knows where cgr.dev is played.
        uri: the repository's upstream, for example "https://cgr.dev".
        credentials: None to ask anonymously.
    """

    def __init__(self, sandbox: Sandbox, uri: str, credentials: Credentials | None = None) -> None:
        self._sandbox = sandbox
        self._shown = uri.rstrip("/")
        self._credentials = credentials

    async def manifest(self, image: str, reference: str) -> FetchedManifest:
        """Fetch a manifest.

        Raises:
            UpstreamFailure: there is none, or the upstream refuses or fails.
        """
        path = f"/v2/{image}/manifests/{reference}"
        async with self._get(path, image, {"Accept": ", ".join(MANIFEST_TYPES)}) as answer:
            content = await self._whole(answer, path, _MANIFEST_LIMIT)
            media_type = answer.headers.get("content-type", "").partition(";")[0].strip()
        digest = digest_of(content)
        if reference.startswith("sha256:") and digest != reference:
            raise self._unexpected_end(path)
        if not _MEDIA_TYPE.fullmatch(media_type) or _object(content) is None:
            self._sandbox.hint(f"{self._shown}{path} came as {media_type[:80]!r}, and is no manifest")
            raise self._unexpected_end(path)
        return FetchedManifest(media_type, content, digest)

    @contextlib.asynccontextmanager
    async def blob(self, image: str, digest: str) -> AsyncIterator[tuple[int | None, AsyncGenerator[bytes, None]]]:
        """Open a blob.

        Args:
            image: the image's name at the upstream.
            digest: the blob's digest; whoever reads has to verify it.

        Yields:
            The size in bytes where the upstream tells it, and the content in pieces.

        Raises:
            UpstreamFailure: there is none, or the upstream refuses or fails, at the start or between two pieces.
        """
        path = f"/v2/{image}/blobs/{digest}"
        async with self._get(path, image, {}) as answer:
            length = "" if "content-encoding" in answer.headers else answer.headers.get("content-length", "")
            yield (int(length) if length.isdigit() else None), self._body(answer, path)

    async def tags(self, image: str) -> list[str]:
        """All tags of an image, page by page.

        Raises:
            UpstreamFailure: there is no such image, or the upstream refuses or fails.
        """
        path = f"/v2/{image}/tags/list"
        found: list[str] = []
        for _ in range(_PAGES):
            async with self._get(path, image, {}) as answer:
                content = await self._whole(answer, path, _LIST_LIMIT)
                tags = (_object(content) or {}).get("tags", ())
                if not isinstance(tags, list | None):
                    raise self._unexpected_end(path)
                found += map(str, tags or ())
                following = urlsplit(answer.links.get("next", {}).get("url", ""))
            if not following.query:
                break
            path = f"{path.partition('?')[0]}?{following.query}"
        return found

    async def referrers(self, image: str, digest: str, query: str) -> FetchedManifest:
        """The index of what refers to a manifest.

        Args:
            image: the image's name at the upstream.
            digest: the digest referred to.
            query: the client's query string, which may filter.

        Raises:
            UpstreamFailure: the upstream has no referrers API, refuses or fails.
        """
        path = f"/v2/{image}/referrers/{digest}" + (f"?{query}" if query else "")
        async with self._get(path, image, {"Accept": INDEX_TYPE}) as answer:
            content = await self._whole(answer, path, _LIST_LIMIT)
        if _object(content) is None:
            raise self._unexpected_end(path)
        return FetchedManifest(INDEX_TYPE, content, digest_of(content))

    async def validate(self) -> None:
        """Ask the upstream's root, and for a token with the credentials, as creating and updating a repository does.

        Raises:
            UpstreamFailure: it is no registry, does not answer, or refuses the credentials.
        """
        async with self._ask("/v2/", {}) as answer:
            if answer.status_code == 200:
                return
            if answer.status_code != 401:
                raise self._refused(answer.status_code, "/v2/")
            challenge = _challenge(answer)
        if challenge.get("scheme") == "bearer":
            if self._credentials is not None:
                await self._token(challenge)
            return  # anonymous tokens are for one repository each, so there is nothing to ask for yet
        if self._credentials is None:
            raise self._unauthorized("")
        async with self._ask("/v2/", {"Authorization": self._credentials.basic}) as answer:
            if answer.status_code != 200:
                raise self._unauthorized("")

    @contextlib.asynccontextmanager
    async def _get(self, path: str, image: str, headers: Mapping[str, str]) -> AsyncIterator[httpx.Response]:
        """Get with what the challenge asks for, and follow redirects; to another host the credentials do not go along."""
        async with contextlib.AsyncExitStack() as stack:
            answer = await stack.enter_async_context(self._ask(path, headers))
            if answer.status_code == 401:
                authorization = await self._authorization(_challenge(answer), image)
                headers = {**headers, "Authorization": authorization}
                answer = await stack.enter_async_context(self._ask(path, headers))
            for _ in range(_REDIRECTS):
                if not answer.has_redirect_location:
                    break
                target = answer.url.join(answer.headers["location"])
                if (target.scheme, target.netloc) != (answer.url.scheme, answer.url.netloc):
                    headers = {name: value for name, value in headers.items() if name != "Authorization"}
                answer = await stack.enter_async_context(self._send(str(target), headers, path))
            if answer.status_code == 401:
                raise self._unauthorized("")
            if answer.status_code not in (200, 206):
                raise self._refused(answer.status_code, path)
            yield answer

    def _ask(self, path: str, headers: Mapping[str, str]) -> contextlib.AbstractAsyncContextManager[httpx.Response]:
        return self._send(self._root(path) + path, headers, path)

    @contextlib.asynccontextmanager
    async def _send(
        self, url: str, headers: Mapping[str, str], path: str, query: Mapping[str, str] | None = None
    ) -> AsyncIterator[httpx.Response]:
        client = http_client(self._sandbox)
        try:
            request = client.build_request("GET", url, headers=dict(headers), params=query)
            if self._sandbox.settings.upstream is None and request.url.host not in _LOOPBACK:
                raise self._no_connection(path)
            async with asyncio.timeout(_PATIENCE):
                answer = await client.send(request, stream=True)
        except (httpx.ConnectTimeout, httpx.ConnectError, httpx.PoolTimeout) as problem:
            raise self._no_connection(path) from problem
        except (httpx.TimeoutException, TimeoutError) as problem:
            raise self._timed_out(path) from problem
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as problem:
            raise self._invalid_redirect(path) from problem
        except httpx.TransportError as problem:
            raise self._unexpected_end(path) from problem
        try:
            yield answer
        finally:
            await answer.aclose()

    def _root(self, path: str) -> str:
        """Where the upstream really is."""
        parts = urlsplit(self._shown)
        if parts.hostname == CGR_DEV:
            real = self._sandbox.settings.upstream or f"http://{self._sandbox.hosts[CGR_DEV]}"
            return real.rstrip("/") + parts.path
        if parts.hostname in _LOOPBACK:
            return self._shown
        self._sandbox.hint(f"{self._shown} is not played by the sandbox, which calls nothing outside this machine")
        raise self._no_connection(path)

    async def _authorization(self, challenge: Mapping[str, str], image: str) -> str:
        if challenge.get("scheme") == "basic":
            if self._credentials is None:
                raise self._unauthorized("")
            return self._credentials.basic
        if challenge.get("scheme") != "bearer":
            raise self._unauthorized("")
        return f"Bearer {await self._token({'scope': f'repository:{image}:pull', **challenge})}"

    async def _token(self, challenge: Mapping[str, str]) -> str:
        query = {name: challenge[name] for name in ("service", "scope") if name in challenge}
        headers = {} if self._credentials is None else {"Authorization": self._credentials.basic}
        async with self._send(challenge.get("realm", ""), headers, "/token", query) as answer:
            if answer.status_code in (401, 403):
                raise self._unauthorized("failed to fetch bearer token; generic::unauthenticated: ")
            if answer.status_code != 200:
                raise self._refused(answer.status_code, "/token")
            content = await self._whole(answer, "/token", _LIST_LIMIT)
            document = _object(content) or {}
            token = document.get("token") or document.get("access_token")
            if not isinstance(token, str) or not token.isascii():
                raise self._unexpected_end("/token")
            return token

    async def _whole(self, answer: httpx.Response, path: str, limit: int) -> bytes:
        """Read a document, which an upstream could make as long as it likes."""
        content = bytearray()
        async for piece in self._body(answer, path):
            content += piece
            if len(content) > limit:
                self._sandbox.hint(f"{self._shown}{path} is longer than {limit} bytes and was not read to its end")
                raise self._unexpected_end(path)
        return bytes(content)

    async def _body(self, answer: httpx.Response, path: str) -> AsyncGenerator[bytes, None]:
        clock = asyncio.get_running_loop().time
        begun, waited, came = clock(), 0.0, 0
        try:
            # As they come: a slow upstream must not hold back what is there. What is compressed for the way is unpacked.
            async for piece in answer.aiter_bytes():
                waited += clock() - begun
                came += len(piece)
                if came >= _BYTES:
                    waited, came = 0.0, 0
                elif waited > _PATIENCE:
                    raise self._timed_out(path)
                yield piece
                begun = clock()  # whoever reads may be slow
        except httpx.TimeoutException as problem:
            raise self._timed_out(path) from problem
        except (httpx.TransportError, httpx.DecodingError) as problem:
            raise self._unexpected_end(path) from problem

    def _refused(self, status: int, path: str) -> UpstreamFailure:
        url = f"{self._shown}{path}"
        if status == 404:
            code = "BLOB_UNKNOWN" if "/blobs/" in path else "MANIFEST_UNKNOWN"
            message = f"Received invalid response from external repository; url={url}."
            return UpstreamFailure(404, code, message, "not_found")
        if status == 429:
            message = "Resource has been exhausted (e.g. check quota)."
            return UpstreamFailure(429, "TOOMANYREQUESTS", message, "resource_exhausted")
        message = f"Received invalid http status code {status} from external repository; url={url}."
        return UpstreamFailure(502, "UNAVAILABLE", message, "unavailable", outage=status >= 500)

    def _unauthorized(self, prefix: str) -> UpstreamFailure:
        # What a pull is told is not documented; the words are those of the validation.
        return UpstreamFailure(403, "DENIED", f"{prefix}{_INVALID_CREDENTIALS}", "unauthenticated")

    def _no_connection(self, path: str) -> UpstreamFailure:
        message = f"Timeout before connecting to external repository; url={self._shown}{path}"
        return UpstreamFailure(504, "UNAVAILABLE", message, "deadline_exceeded", outage=True)

    def _timed_out(self, path: str) -> UpstreamFailure:
        message = f"Timeout while calling external repository; url={self._shown}{path}."
        return UpstreamFailure(504, "UNAVAILABLE", message, "deadline_exceeded", outage=True)

    def _invalid_redirect(self, path: str) -> UpstreamFailure:
        message = (
            f"Received invalid redirect URL from external repository; url={self._shown}{path}. If the failures "
            "persist, your remote repository upstream URI may be misconfigured."
        )
        return UpstreamFailure(502, "UNAVAILABLE", message, "unavailable")

    def _unexpected_end(self, path: str) -> UpstreamFailure:
        message = f"External repository returned unexpected EOF for url={self._shown}{path}."
        return UpstreamFailure(502, "UNAVAILABLE", message, "unavailable", outage=True)


def _object(content: bytes) -> dict[str, Any] | None:
    """Read a document that must be a JSON object; None when it is none."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _challenge(answer: httpx.Response) -> dict[str, str]:
    """A challenge's parameters with its scheme in lower case: Bearer before Basic, whatever comes first; {} for none of these."""
    challenges: list[dict[str, str]] = []
    for name, quoted, plain, scheme in _CHALLENGE_PART.findall(", ".join(answer.headers.get_list("www-authenticate"))):
        if scheme:
            challenges.append({"scheme": scheme.lower()})
        elif challenges:
            challenges[-1].setdefault(name.lower(), re.sub(r"\\(.)", r"\1", quoted) or plain)
    found = {challenge["scheme"]: challenge for challenge in reversed(challenges)}
    return next((found[scheme] for scheme in ("bearer", "basic") if scheme in found), {})


def http_client(sandbox: Sandbox) -> httpx.AsyncClient:
    """The one client with which a sandbox asks other registries."""
    client = _clients.get(sandbox)
    if client is None:
        # trust_env=False: a proxy of the environment must not see what goes over loopback.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=32)
        client = httpx.AsyncClient(
            # Nothing is unpacked on the way: digests are of the bytes as they are.
            headers={"Accept-Encoding": "identity"},
            timeout=_TIMEOUT,
            trust_env=False,
            limits=limits,
            follow_redirects=False,
        )
        _clients[sandbox] = client
    return client


async def validate(sandbox: Sandbox, uri: str, username: str | None = None, password: str | None = None) -> None:
    """Check an upstream and credentials for it, as creating or updating a remote repository does.

    Args:
        sandbox: knows where cgr.dev is played.
        uri: the upstream.
        username: None for an unauthenticated repository.
        password: the secret version's payload; None for an unauthenticated repository.

    Raises:
        ValidationFailed: with the API's text (terraform-provider-google #17589 quotes the one for bad credentials).
    """
    if urlsplit(uri).hostname == _DOCKER_HUB and username is None:
        sandbox.hint("Docker Hub is taken as valid without being asked: the sandbox calls nothing outside this machine")
        return
    credentials = None if username is None or password is None else Credentials(username, password)
    try:
        await Upstream(sandbox, uri, credentials).validate()
    except UpstreamFailure as failure:
        message = failure.message
        if "generic::" not in message:
            message = f"generic::{failure.rpc_status}: {message}"
        raise ValidationFailed(f"Failed to validate remote upstream: {message}") from failure
