"""cgr.dev: the challenge, tokens bound to one repository, manifests, and blobs that are redirected to another host.

Knows what cgr.dev answers to whom (error table of Chainguard's "registry errors" page). What exists is catalog.py's,
who somebody is chainguard/'s, and the protocol's grammar distribution.py's.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from cgrunbook.sandbox.asgi import bearer_token
from cgrunbook.sandbox.chainguard.addresses import REGISTRY_AUDIENCE
from cgrunbook.sandbox.chainguard.identities import Identities
from cgrunbook.sandbox.chainguard.organizations import PUBLIC_ORGANIZATION, Organizations
from cgrunbook.sandbox.chainguard.sessions import Sessions
from cgrunbook.sandbox.context import Sandbox
from cgrunbook.sandbox.errors import RegistryError, ServiceError
from cgrunbook.sandbox.hosts import BLOB_HOST, CGR_DEV, IDENTITY_PATH
from cgrunbook.sandbox.registry import distribution, signatures
from cgrunbook.sandbox.registry.catalog import Catalog, Repository
from cgrunbook.sandbox.registry.images import INDEX_TYPE
from cgrunbook.sandbox.registry.pass_through import PassThrough
from cgrunbook.sandbox.signed_tokens import SignedTokens

#: Where the key is that the sample images are signed with; the real cgr.dev has no such path.
SIGNING_KEY_PATH = f"{IDENTITY_PATH}/cosign.pub"
_BUCKET = "chainguard-images-prod"
_TOKEN_ISSUER = "https://cgr.dev"  # noqa: S105 - an address
_TOKEN_SECONDS = 600
_URL_SECONDS = 300
_CATALOG_SCOPE = "registry:catalog:*"
_SCOPE = re.compile(r"repository:(?P<name>[^:\s]+):(?P<actions>[a-z*,]+)\Z")


class _Registry:
    """The ASGI application of cgr.dev."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._organizations = Organizations(sandbox)
        self._identities = Identities(sandbox, self._organizations)
        self._sessions = Sessions(sandbox, self._organizations)
        self._tokens = SignedTokens(sandbox.state, sandbox.clock, "cgr.dev.token_key")
        self._catalog = Catalog(sandbox)
        self._links = _Links(sandbox)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        if scope["path"] == SIGNING_KEY_PATH and request.method in ("GET", "HEAD"):
            await Response(signatures.public_key(self._sandbox.state), media_type="text/plain")(scope, receive, send)
            return
        answer = self._token(request) if scope["path"] in ("/token", "/token/") else self._registry(request)
        await answer(scope, receive, send)

    def _token(self, request: Request) -> Response:
        if request.method not in ("GET", "HEAD"):
            # Clients that try the OAuth2 POST first go on with GET after a 405.
            raise RegistryError(405, "UNSUPPORTED", "The operation is unsupported.", headers=[("Allow", "GET")])
        identity = self._identity(request)
        scopes = [scope for value in request.query_params.getlist("scope") for scope in value.split()]
        if len(scopes) > 1:
            raise _forbidden()
        granted = self._grant(identity, scopes[0]) if scopes else ""
        now = int(self._sandbox.clock.now().timestamp())
        claims = {
            "iss": _TOKEN_ISSUER,
            "sub": identity or "",
            "scope": granted,
            "iat": now,
            "exp": now + _TOKEN_SECONDS,
            "jti": secrets.token_hex(8),
        }
        return distribution.json_response({"token": self._tokens.sign(claims)})

    def _identity(self, request: Request) -> str | None:
        """Who shows Basic credentials, None for nobody; whatever is wrong with them is not told apart."""
        try:
            credentials = distribution.basic_credentials(request.headers.get("authorization"))
        except ValueError:
            raise _forbidden() from None
        if credentials is None:
            return None
        username, password = credentials
        if username == "_token":
            session = self._sessions.session(password, REGISTRY_AUDIENCE)
            identity = session.identity if session else None
        else:
            identity = self._identities.of_pull_token(username, password)
        if identity is None:
            raise _forbidden()
        request.scope["state"]["principal"] = identity
        return identity

    def _grant(self, identity: str | None, scope: str) -> str:
        """The one thing that a token is for: a repository's name, or the catalogue."""
        if scope == _CATALOG_SCOPE:
            if identity is None:
                raise _authentication_required()
            return scope
        asked = _SCOPE.match(scope)
        if asked is None:
            raise _unresolved(scope)
        name = asked["name"]
        organization = self._organizations.identifier(name.partition("/")[0])
        if organization is None or "/" not in name:
            raise _unresolved(name)
        repository = self._catalog.repository(name)
        if repository is None or "pull" not in asked["actions"].split(","):
            raise _forbidden()
        if not repository.public:
            if identity is None:
                raise _forbidden() if repository.organization == PUBLIC_ORGANIZATION else _authentication_required()
            if not self._organizations.capabilities(identity, organization):
                raise _forbidden()
        return name

    def _registry(self, request: Request) -> Response:
        route = distribution.route(request.scope["path"])
        claims = self._claims(request, route)
        if request.method not in ("GET", "HEAD") or route.kind == "uploads":
            raise _incapable(route.name)
        if route.kind == "base":
            return distribution.json_response({})
        if route.kind == "catalog":
            return self._list_repositories(request, claims)
        if claims["scope"] != route.name:
            raise _forbidden()  # most registries would overlook it; this one does not
        repository = self._may_pull(str(claims["sub"]), route.name)
        if route.kind == "manifests":
            return self._manifest(request, repository, route.reference)
        if route.kind == "tags":
            tags, headers = distribution.page(request, list(self._catalog.tags(repository)), request.scope["path"])
            return distribution.json_response({"name": repository.name, "tags": tags}, headers)
        if route.kind == "referrers":
            return self._referrers(request, repository, route.reference)
        if not self._catalog.has_blob(repository.name, route.reference):
            raise RegistryError(404, "BLOB_UNKNOWN", "blob unknown to registry", {"digest": route.reference})
        return Response(status_code=307, headers={"Location": self._links.make(route.reference)})

    def _claims(self, request: Request, route: distribution.Route) -> Mapping[str, object]:
        claims = self._tokens.claims(bearer_token(request.headers.get("authorization")))
        if claims is None:
            raise _authentication_required(self._challenge(request, route))
        request.scope["state"]["principal"] = claims["sub"] or None
        return claims

    def _challenge(self, request: Request, route: distribution.Route) -> tuple[str, str]:
        realm = f"{request.url.scheme}://{request.url.netloc}/token"
        scope = {"base": None, "catalog": _CATALOG_SCOPE}.get(route.kind, f"repository:{route.name}:pull")
        return distribution.bearer_challenge(realm, CGR_DEV, scope)

    def _may_pull(self, identity: str, name: str) -> Repository:
        repository = self._catalog.repository(name)
        if repository is None:
            raise RegistryError(404, "NAME_UNKNOWN", f'repository does not exist "{name}"')
        if repository.public:
            return repository
        organization = self._organizations.identifier(repository.organization) or ""
        capable = "repo.blobs.get" in self._organizations.capabilities(identity, organization)
        if not capable or not repository.entitled:
            raise _incapable(name)
        return repository

    def _manifest(self, request: Request, repository: Repository, reference: str) -> Response:
        document = self._catalog.resolve(repository, reference)
        if document is None:
            raise RegistryError(404, "MANIFEST_UNKNOWN", "Unknown manifest")
        return distribution.manifest_response(request, document.media_type, document.digest, document.content)

    def _referrers(self, request: Request, repository: Repository, digest: str) -> Response:
        wanted = request.query_params.get("artifactType")
        descriptors = []
        for document in self._catalog.referrers(repository.name, digest):
            manifest = json.loads(document.content)
            artifact_type = manifest.get("artifactType") or manifest["config"]["mediaType"]
            if wanted in (None, artifact_type):
                descriptors.append(
                    {
                        "mediaType": document.media_type,
                        "digest": document.digest,
                        "size": len(document.content),
                        "artifactType": artifact_type,
                        "annotations": manifest.get("annotations", {}),
                    }
                )
        answer = distribution.json_response({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": descriptors})
        answer.headers["Content-Type"] = INDEX_TYPE
        if wanted is not None:
            answer.headers["OCI-Filters-Applied"] = "artifactType"
        return answer

    def _list_repositories(self, request: Request, claims: Mapping[str, object]) -> Response:
        if claims["scope"] != _CATALOG_SCOPE:
            raise _forbidden()
        names = []
        for repository in self._catalog.repositories():
            organization = self._organizations.identifier(repository.organization)
            capabilities = self._organizations.capabilities(str(claims["sub"]), organization or "")
            if repository.entitled and "repo.list" in capabilities:
                names.append(repository.name)
        shown, headers = distribution.page(request, names, "/v2/_catalog")
        return distribution.json_response({"repositories": shown}, headers)


class _Links:
    """Short-lived links to blobs at the blob host, in the form that R2 gives presigned URLs."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._key = sandbox.state.key("cgr.dev.link_key")

    def make(self, digest: str) -> str:
        """A link to a blob, good for a few minutes."""
        path = f"/{_BUCKET}/{quote(digest, safe='')}"
        date = self._sandbox.clock.now().strftime("%Y%m%dT%H%M%SZ")
        query = {
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Credential": f"sandbox/{date[:8]}/auto/s3/aws4_request",
            "X-Amz-Date": date,
            "X-Amz-Expires": str(_URL_SECONDS),
            "X-Amz-SignedHeaders": "host",
            "X-Amz-Signature": self._signature(digest, date, str(_URL_SECONDS)),
        }
        return f"http://{self._sandbox.hosts[BLOB_HOST]}{path}?{urlencode(query)}"

    def digest(self, request: Request) -> str:
        """Which blob a link is for.

        Raises:
            _LinkRefused: it is forged or too old.
        """
        path: str = request.scope["path"]
        prefix, _, digest = path.rpartition("/")
        query = request.query_params
        date, seconds = query.get("X-Amz-Date", ""), query.get("X-Amz-Expires", "")
        signature = query.get("X-Amz-Signature", "").encode()
        if not hmac.compare_digest(self._signature(digest, date, seconds).encode(), signature):
            raise _LinkRefused(403, "SignatureDoesNotMatch", "The request signature we calculated does not match.")
        if prefix != f"/{_BUCKET}" or not distribution.is_digest(digest):
            raise _LinkRefused(404, "NoSuchKey", "The specified key does not exist.")
        begin = datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        if self._sandbox.clock.now() > begin + timedelta(seconds=int(seconds)):
            raise _LinkRefused(403, "AccessDenied", "Request has expired")
        return digest

    def _signature(self, digest: str, date: str, seconds: str) -> str:
        return hmac.new(self._key, f"{digest}\n{date}\n{seconds}".encode(), hashlib.sha256).hexdigest()


class _LinkRefused(ServiceError):
    """An S3 error body, which R2 answers in."""

    def __init__(self, http_status: int, code: str, message: str) -> None:
        super().__init__(http_status, message, [("Content-Type", "application/xml")])
        self._code = code

    def body(self) -> bytes:
        message = f"<Error><Code>{self._code}</Code><Message>{self.message}</Message></Error>"
        return f'<?xml version="1.0" encoding="UTF-8"?>{message}'.encode()


def _forbidden() -> RegistryError:
    return RegistryError(403, "FORBIDDEN", "Forbidden")


def _incapable(name: str) -> RegistryError:
    return RegistryError(403, "FORBIDDEN", f'caller does not have the required capabilities at "{name}"')


def _unresolved(name: str) -> RegistryError:
    message = f"rpc error: code = InvalidArgument desc = unable to resolve {json.dumps(name)}"
    return RegistryError(400, "BAD_REQUEST", message)


def _authentication_required(*challenge: tuple[str, str]) -> RegistryError:
    return RegistryError(401, "UNAUTHORIZED", "Authentication required", headers=[distribution.API_VERSION, *challenge])


def app(sandbox: Sandbox) -> ASGIApp:
    """What plays cgr.dev: this registry, or the way to the one that was named instead of it."""
    upstream = sandbox.settings.upstream
    return _Registry(sandbox) if upstream is None else PassThrough(sandbox, upstream)


def blob_app(sandbox: Sandbox) -> ASGIApp:
    """What plays the blob host: it serves whatever a valid link names, to anybody, and nothing else."""
    catalog, links = Catalog(sandbox), _Links(sandbox)

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        if request.method not in ("GET", "HEAD"):
            raise _LinkRefused(405, "MethodNotAllowed", "The specified method is not allowed against this resource.")
        digest = links.digest(request)
        size = catalog.store.size(digest)
        if size is None:
            raise _LinkRefused(404, "NoSuchKey", "The specified key does not exist.")
        with distribution.opened(catalog.store.path(digest)) as descriptor:
            await distribution.send_blob(
                request, receive, send, digest=digest, size=size, content=distribution.file_source(descriptor)
            )

    return serve
