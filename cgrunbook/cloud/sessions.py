"""The connections that this process keeps, and those who send through them: Google's clients, google-auth, the registries.

It knows requests and urllib3. It does not know what is asked; who is trusted is in trust.py, through which proxy it goes in
proxies.py, how long an answer may take in answers.py, what passes in retry.py.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3
from google.auth.exceptions import TransportError
from google.auth.transport.requests import AuthorizedSession, Request
from requests.adapters import HTTPAdapter

from cgrunbook.cloud import network, proxies, retry, trust
from cgrunbook.cloud.answers import bounded
from cgrunbook.errors import ServiceError

# Hosts that one process talks to, and connections that are kept to each of them: more than are used at once.
_HOSTS = 32
_CONNECTIONS = 8

# Seconds for a connection, and again for the answer, when it is only asked whether there is one; bytes of it that are read.
_SECONDS = 10.0
_MUCH = 64 * 1024

# Bytes of one of Google's answers, unpacked; a page of the longest list has some hundred thousand.
_LARGEST = 32 * 1024 * 1024


class _Kept(HTTPAdapter):
    """Connections that outlive the session which opened them, all with the same trust."""

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, _verify: Any, cert: Any = None
    ) -> tuple[Any, Any]:
        """Trust as everywhere, whatever requests has read in the environment."""
        host, pool = super().build_connection_pool_key_attributes(request, True, cert)
        if host["scheme"] == "https":
            pool["ssl_context"] = trust.fresh() if cert else trust.context()
        return host, pool

    def init_poolmanager(self, *arguments: Any, **settings: Any) -> None:
        """Bounded answers."""
        super().init_poolmanager(*arguments, **settings)
        bounded(self.poolmanager)

    def send(self, request: requests.PreparedRequest, *arguments: Any, **settings: Any) -> requests.Response:
        """Through the proxy that all go through, and for a bounded answer."""
        url = request.url or ""
        proxy = proxies.proxy_for(url)
        settings["proxies"] = {urlsplit(url).scheme: proxy.url} if proxy else {}
        answer = super().send(request, *arguments, **settings)
        if not settings.get("stream"):
            _read_whole(answer)
        return answer

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Nothing: the context has it all."""

    def proxy_manager_for(self, proxy: str, **settings: Any) -> Any:
        """The same trust behind a proxy, and in the proxy itself where it speaks TLS."""
        if proxy in self.proxy_manager:
            return self.proxy_manager[proxy]
        if not proxy.startswith("socks"):
            settings["proxy_ssl_context"] = trust.context()
        return bounded(super().proxy_manager_for(proxy, ssl_context=trust.context(), **settings))

    def proxy_headers(self, proxy: str) -> dict[str, str]:
        """The login in the proxy's URL, as its bytes are."""
        return proxies.read(proxy).headers

    def close(self) -> None:
        """Nothing: a session that ends leaves the connections to the others."""

    def __deepcopy__(self, _memo: object) -> _Kept:
        """Itself: google-auth copies a session for a thread of its own."""
        return self


_KEPT = _Kept(_HOSTS, _CONNECTIONS)
_lock = threading.Lock()
_direct: dict[ssl.SSLContext | None, urllib3.PoolManager] = {}


class AuthRequest(Request):
    """How google-auth asks the hosts that give out tokens.

    google-auth tries some of them again by itself, unseen, and wraps what went wrong in errors of several kinds. Here what
    cannot pass ends at once, in a sentence, and what may pass is a `TransportError`, which `Attempts` tries again.
    """

    def __init__(self) -> None:
        super().__init__(session())

    def __call__(self, url: str, *arguments: Any, **settings: Any) -> Any:
        """One request.

        Raises:
            ServiceError: nothing will come of it.
            TransportError: there was no answer, or one that says "later".
        """
        host = urlsplit(url).netloc
        try:
            answer = super().__call__(url, *arguments, **settings)  # type: ignore[no-untyped-call] # as google-auth is
        except TransportError as error:
            if (lasting := network.lasting(error, host)) is not None:
                said = f"Tried to sign in to Google: {lasting.what}."
                raise ServiceError(said, lasting.remedy, code=lasting.code) from error
            raise
        if answer.status in retry.HTTP_STATUSES:
            raise TransportError(f"{host} answered {answer.status}")  # type: ignore[no-untyped-call]
        return answer


def session() -> requests.Session:
    """A session of requests over the kept connections."""
    made = requests.Session()
    _mount(made)
    return made


def authorized(credentials: Any) -> AuthorizedSession:
    """A session that signs each request.

    Args:
        credentials: a `google.auth.credentials.Credentials`.
    """
    made = AuthorizedSession(credentials)  # type: ignore[no-untyped-call]
    share(made)
    return made


def share(authorized: AuthorizedSession) -> None:
    """Let a session that one of Google's clients has made for itself use the kept connections, for its tokens too."""
    _mount(authorized)
    authorized.hooks["response"].append(_see_that_an_error_can_be_read)
    authorized._auth_request = AuthRequest()  # noqa: SLF001 - its argument is out of reach: the clients make their sessions


def greeting(url: str) -> Callable[[], object]:
    """What asks a host for `/`, over the connections that Google's clients use.

    Args:
        url: the host's, whatever its path.
    """
    parts = urlsplit(url)

    def ask() -> None:
        root = f"{parts.scheme}://{parts.netloc}/"
        with session() as asking, asking.get(root, timeout=_SECONDS, allow_redirects=False, stream=True) as answer:
            answer.raw.read(_MUCH)  # a connection whose answer was read can be used again

    return ask


def pools(url: str) -> urllib3.PoolManager:
    """The connections for a URL without a session: through its proxy, or straight."""
    if proxy := proxies.proxy_for(url):
        through: urllib3.PoolManager = _KEPT.proxy_manager_for(proxy.url)
        return through
    context = trust.context() if url.startswith("https:") else None
    with _lock:
        if context not in _direct:
            _direct[context] = bounded(urllib3.PoolManager(_HOSTS, maxsize=_CONNECTIONS, ssl_context=context))
        return _direct[context]


def _see_that_an_error_can_be_read(answer: requests.Response, **_: Any) -> None:
    """Take what Google's clients stumble over out of their hands: an error's body that is JSON, and none of Google's.

    Raises:
        requests.HTTPError: it is such a one.
    """
    if answer.status_code < HTTPStatus.BAD_REQUEST:
        return
    try:
        said = answer.json()
    except ValueError:
        return  # for the clients too this is text
    except RecursionError:
        said = None
    error = said.get("error", {}) if isinstance(said, dict) else None
    if not isinstance(error, dict) or not isinstance(error.get("details", []), list):
        raise requests.HTTPError("an error of nobody's form", response=answer)


def _mount(made: requests.Session) -> None:
    kept = [scheme for scheme in ("http://", "https://") if type(made.get_adapter(scheme)) is HTTPAdapter]
    for scheme in kept:
        made.mount(scheme, _KEPT)
    # Proxies and trust are read here; a login in ~/.netrc would go in the place of the access token. One that shows a client's
    # certificate stays as Google's library has made it.
    made.trust_env = len(kept) < 2


def _read_whole(answer: requests.Response) -> None:
    """Read a body, which could be unpacked without end, where requests will look for it.

    Raises:
        ServiceError: it is larger than any that is lawful.
    """
    body = bytearray()
    for piece in answer.iter_content(_MUCH):
        body += piece
        if len(body) > _LARGEST:
            answer.close()
            raise ServiceError(
                f"The answer of {urlsplit(answer.url).netloc} is larger than {_LARGEST // 1024 // 1024} MiB, and was not read.",
                "Look at what is between here and there: no such service answers that much.",
            )
    answer._content = bytes(body)  # noqa: SLF001 - requests has no other place for a body that was read already
