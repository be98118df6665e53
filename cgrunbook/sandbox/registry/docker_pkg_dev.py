"""LOCATION-docker.pkg.dev: the challenge and the token, who may pull, and remote repositories served from their cache.

Knows Artifact Registry's data plane for Docker: its user names, refusals and paths. What is fetched and kept is
cache.py's, the protocol's grammar distribution.py's, the repositories' configuration google/repositories.py's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from cgrunbook.sandbox.asgi import bearer_token, body_of
from cgrunbook.sandbox.context import Sandbox
from cgrunbook.sandbox.errors import PermissionDenied, RegistryError
from cgrunbook.sandbox.google import cloud_logging, repositories, service_usage
from cgrunbook.sandbox.hosts import ARTIFACT_REGISTRY, docker_host_name
from cgrunbook.sandbox.registry import distribution
from cgrunbook.sandbox.registry.cache import Cache, RemoteRepository, cache_of
from cgrunbook.sandbox.registry.upstream import FetchedManifest
from cgrunbook.sandbox.signed_tokens import SignedTokens
from cgrunbook.sandbox.state import timestamp_in_seconds

_DOWNLOAD = "artifactregistry.repositories.downloadArtifacts"
_UPLOAD = "artifactregistry.repositories.uploadArtifacts"
_DELETE = "artifactregistry.repositories.deleteArtifacts"
_TOKEN_SECONDS = 3600
_BODY_LIMIT = 1 << 16
#: User names that go with an OAuth access token; gcloud's helper and docker-credential-gcr have their own.
_TOKEN_USERS = re.compile(r"oauth2accesstoken|_token|_dcgcloud_token|_dcgcr_[0-9_]+_token")
_KEY_USERS = ("_json_key", "_json_key_base64")


@dataclass(frozen=True)
class _Asked:
    """A path under /v2/, taken apart.

    Args:
        route: as the protocol sees it.
        project: first part of the name, or the first two of a project of a domain.
        repository: the part after it.
        image: the rest, which is the image's name at the upstream.
    """

    route: distribution.Route
    project: str
    repository: str
    image: str


class _DataPlane:
    """The ASGI application of one location's docker host."""

    def __init__(self, sandbox: Sandbox, location: str) -> None:
        self._sandbox = sandbox
        self._location = location
        self._cache: Cache = cache_of(sandbox)
        self._tokens = SignedTokens(sandbox.state, sandbox.clock, "docker.pkg.dev.key")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        if scope["path"] == "/v2/token":
            await (await self._token(request))(scope, receive, send)
            return
        route = distribution.route(scope["path"])
        principal = self._principal(request, route)
        scope["state"]["principal"] = principal
        if route.kind == "base":
            await distribution.json_response({})(scope, receive, send)
            return
        if route.kind == "catalog":
            raise RegistryError(404, "UNSUPPORTED", "The catalog is not supported; list repositories with the API.")
        asked = _take_apart(request, route)
        try:
            await self._serve(
                scope, receive, send, request=request, sources=self._sources(request, principal, asked), asked=asked
            )
        except RegistryError as refusal:
            place = (self._location, asked.repository, asked.image)
            if asked.project == self._sandbox.settings.project_id:
                cloud_logging.note(self._sandbox, place, f"{request.method} {route.kind}", refusal)
            raise

    async def _serve(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        request: Request,
        asked: _Asked,
        sources: list[RemoteRepository],
    ) -> None:
        route = asked.route
        if route.kind == "blobs":
            await self._blob(request, receive, send, asked, sources)
            return
        if route.kind == "tags":
            answer = await self._tags(request, asked, sources)
        elif route.kind == "referrers":
            answer = await self._referrers(request, asked, sources)
        else:
            answer = await self._manifest(request, asked, sources)
        await answer(scope, receive, send)

    # --- who it is ---------------------------------------------------------------------------------------------------

    async def _token(self, request: Request) -> Response:
        """Give a token for an hour. GET takes Basic credentials or none; POST is the OAuth2 form of the same."""
        if request.method == "GET":
            principal = self._basic_principal(request)
        elif request.method == "POST":
            too_large = RegistryError(413, "SIZE_INVALID", "the request body is too large")
            form = dict(parse_qsl((await body_of(request, _BODY_LIMIT, too_large)).decode("utf-8", "replace")))
            if form.get("grant_type") == "refresh_token":
                principal = self._access_token_principal("_token", form.get("refresh_token", ""))
            else:
                principal = self._access_token_principal(form.get("username", ""), form.get("password", ""))
        else:
            raise RegistryError(405, "UNSUPPORTED", "The operation is unsupported.", headers=[("Allow", "GET, POST")])
        request.scope["state"]["principal"] = principal
        now = self._sandbox.clock.now()
        claims = {"sub": principal or "", "aud": self._host, "exp": int(now.timestamp()) + _TOKEN_SECONDS}
        token = self._tokens.sign(claims)
        life = {"expires_in": _TOKEN_SECONDS, "issued_at": timestamp_in_seconds(now)}
        return distribution.json_response({"token": token, "access_token": token, **life})

    @property
    def _host(self) -> str:
        return docker_host_name(self._location)

    def _basic_principal(self, request: Request) -> str | None:
        try:
            credentials = distribution.basic_credentials(request.headers.get("authorization"))
        except ValueError as problem:
            raise _unauthorized() from problem
        return None if credentials is None else self._access_token_principal(*credentials)

    def _access_token_principal(self, username: str, password: str) -> str:
        if username in _KEY_USERS:
            self._sandbox.hint(f"{self._host}: the sandbox has no service account keys; use an access token")
            raise _unauthorized()
        principal = self._sandbox.tokens.principal(password.strip()) if _TOKEN_USERS.fullmatch(username) else None
        if principal is None:
            raise _unauthorized()
        return principal

    def _principal(self, request: Request, route: distribution.Route) -> str | None:
        """Who asks, None for somebody with an anonymous token.

        Raises:
            RegistryError: 401 with the challenge, where there is no credential or a wrong one.
        """
        challenge = self._challenge(request, route)
        try:
            principal = self._basic_principal(request)
        except RegistryError as refusal:
            raise _unauthorized(challenge) from refusal
        token = bearer_token(request.headers.get("authorization"))
        # An OAuth access token may be sent as it is, without the exchange.
        principal = principal or self._sandbox.tokens.principal(token)
        if principal is not None:
            return principal
        claims = self._tokens.claims(token)
        if claims is None or claims["aud"] != self._host:
            raise _unauthorized(challenge)
        return claims["sub"] or None

    def _challenge(self, request: Request, route: distribution.Route) -> tuple[str, str]:
        realm = f"{request.url.scheme}://{request.url.netloc}/v2/token"
        if not route.name:
            return distribution.bearer_challenge(realm)
        actions = "pull" if _is_pull(request, route) else "pull,push"
        return distribution.bearer_challenge(realm, request.url.netloc, f"repository:{route.name}:{actions}")

    # --- what it may, and where it comes from ------------------------------------------------------------------------

    def _sources(self, request: Request, principal: str | None, asked: _Asked) -> list[RemoteRepository]:
        """The remote repositories that may have what is asked, in the order to try them.

        Raises:
            RegistryError: the API is off, the caller may not, there is no such repository, or it is no pull.
        """
        try:
            service_usage.require_enabled(self._sandbox, ARTIFACT_REGISTRY)
        except PermissionDenied as refusal:
            raise RegistryError(403, "DENIED", refusal.message) from refusal
        pulls, deletes = _is_pull(request, asked.route), request.method == "DELETE"
        self._demand(principal, _DOWNLOAD if pulls else _DELETE if deletes else _UPLOAD, asked)
        document = repositories.repository(self._sandbox, self._location, asked.repository)
        if document is None or document.get("format") != "DOCKER":
            raise RegistryError(404, "NAME_UNKNOWN", f'Repository "{asked.repository}" not found')
        if not pulls:
            raise self._read_only(document, asked, "deleted from" if deletes else "uploaded to")
        return self._behind(asked.repository, document)

    def _demand(self, principal: str | None, permission: str, asked: _Asked) -> None:
        resource = f"projects/{asked.project}/locations/{self._location}/repositories/{asked.repository}"
        in_project = asked.project == self._sandbox.settings.project_id
        if in_project and self._sandbox.iam.allowed(principal, permission, resource):
            return
        if principal is None:
            message = (
                "Unauthenticated request. Unauthenticated requests do not have permission "
                f'"{permission}" on resource "{resource}" (or it may not exist)'
            )
        else:
            message = f'Permission "{permission}" denied on resource "{resource}" (or it may not exist)'
        raise RegistryError(403, "DENIED", message)

    def _read_only(self, document: Mapping[str, Any], asked: _Asked, deed: str) -> RegistryError:
        mode = document.get("mode", "STANDARD_REPOSITORY")
        if mode == "STANDARD_REPOSITORY":
            self._sandbox.hint(f"{self._host}: the sandbox keeps no images of standard repositories")
            return RegistryError(405, "UNSUPPORTED", "The operation is unsupported.")
        kind = "remote" if mode == "REMOTE_REPOSITORY" else "virtual"
        # That these are read-only is documented; the words of the refusal are not.
        message = f'Repository "{asked.repository}" is a {kind} repository: artifacts cannot be {deed} it'
        return RegistryError(403, "DENIED", message)

    def _behind(self, name: str, document: Mapping[str, Any]) -> list[RemoteRepository]:
        if document.get("mode") == "REMOTE_REPOSITORY":
            uri = repositories.upstream_uri(document)
            if uri is None:
                return []
            username, secret_version = repositories.credentials(document) or (None, None)
            project = self._sandbox.settings.project_id
            created = str(document.get("createTime", ""))
            return [RemoteRepository(project, self._location, name, uri, username, secret_version, created)]
        if document.get("mode") != "VIRTUAL_REPOSITORY":
            return []
        policies = document.get("virtualRepositoryConfig", {}).get("upstreamPolicies", [])
        found = []
        for policy in sorted(policies, key=lambda one: -int(one.get("priority", 0))):  # the higher priority wins
            below = str(policy["repository"]).rpartition("/")[2]
            upstream = repositories.repository(self._sandbox, self._location, below)
            if upstream is not None and upstream.get("mode") == "REMOTE_REPOSITORY":
                found += self._behind(below, upstream)
        return found

    # --- what is served ----------------------------------------------------------------------------------------------

    async def _manifest(self, request: Request, asked: _Asked, sources: list[RemoteRepository]) -> Response:
        reference = asked.route.reference
        manifest: FetchedManifest = await _first(
            sources, lambda source: self._cache.manifest(source, asked.image, reference), self._unknown(request, asked)
        )
        if not distribution.accepts(request.headers.getlist("accept"), manifest.media_type):
            # Another registry would send it all the same (concourse/docker-image-resource #369).
            raise self._unknown(request, asked)
        return distribution.manifest_response(request, manifest.media_type, manifest.digest, manifest.content)

    async def _blob(
        self, request: Request, receive: Receive, send: Send, asked: _Asked, sources: list[RemoteRepository]
    ) -> None:
        digest = asked.route.reference
        unknown = RegistryError(404, "BLOB_UNKNOWN", "blob unknown to registry", {"digest": digest})
        blob = await _first(sources, lambda source: self._cache.blob(source, asked.image, digest), unknown)
        try:
            await distribution.send_blob(request, receive, send, digest=digest, size=blob.size, content=blob.content)
        finally:
            blob.close()

    async def _tags(self, request: Request, asked: _Asked, sources: list[RemoteRepository]) -> Response:
        unknown = RegistryError(
            404, "NAME_UNKNOWN", "repository name not known to registry", {"name": asked.route.name}
        )
        tags = await _first(sources, lambda source: self._cache.tags(source, asked.image), unknown)
        shown, headers = distribution.page(request, tags, request.scope["path"])
        return distribution.json_response({"name": asked.route.name, "tags": shown}, headers)

    async def _referrers(self, request: Request, asked: _Asked, sources: list[RemoteRepository]) -> Response:
        """Pass the referrers API through; whether the real remote repositories do is not known."""
        query, digest = request.url.query, asked.route.reference
        index = await _first(
            sources,
            lambda source: self._cache.referrers(source, asked.image, digest, query),
            self._unknown(request, asked),
        )
        filtered = {"OCI-Filters-Applied": "artifactType"} if "artifactType" in request.query_params else {}
        answer = distribution.json_response(json.loads(index.content), filtered)
        answer.headers["Content-Type"] = index.media_type
        return answer

    def _unknown(self, request: Request, asked: _Asked) -> RegistryError:
        message = f'Failed to fetch "{asked.route.reference}" from request "{request.scope["path"]}".'
        return RegistryError(404, "MANIFEST_UNKNOWN", message)


async def _first(
    sources: list[RemoteRepository],
    ask: Callable[[RemoteRepository], Coroutine[Any, Any, Any]],
    unknown: RegistryError,
) -> Any:
    """What the first source has; a virtual repository goes on to the next where one has it not."""
    failure = unknown
    for source in sources:
        try:
            return await ask(source)
        except RegistryError as refusal:
            if refusal.http_status != 404:
                raise
            failure = refusal
    raise failure


def _is_pull(request: Request, route: distribution.Route) -> bool:
    return request.method in ("GET", "HEAD") and route.kind != "uploads"


def _take_apart(request: Request, route: distribution.Route) -> _Asked:
    project, *rest = route.name.split("/")
    if "." in project and rest:  # a project of a domain, example.com:my-project
        project = f"{project}:{rest.pop(0)}"
    if len(rest) < 2:
        deeds, deed = ("Pulls", "pull") if _is_pull(request, route) else ("Pushes", "push")
        form = f"{deeds} should be of the form docker {deed} HOST-NAME/PROJECT-ID/REPOSITORY/IMAGE"
        raise RegistryError(400, "NAME_INVALID", f"Missing image name. {form}")
    return _Asked(route, project, rest[0], "/".join(rest[1:]))


def _unauthorized(*challenge: tuple[str, str]) -> RegistryError:
    return RegistryError(401, "UNAUTHORIZED", "authentication failed", headers=[distribution.API_VERSION, *challenge])


def app(sandbox: Sandbox, location: str) -> ASGIApp:
    """What plays a location's docker host.

    Args:
        sandbox: gives state, clock, IAM, settings and hosts.
        location: for example "us-central1".
    """
    return _DataPlane(sandbox, location)
