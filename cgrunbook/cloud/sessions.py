"""The connections that this process keeps, and those who send through them: Google's clients, google-auth, the registries.

It knows requests and urllib3. It does not know what is asked; who is trusted is in trust.py, what passes in retry.py.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3
from google.auth.exceptions import TransportError
from google.auth.transport.requests import AuthorizedSession, Request
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies, select_proxy

from cgrunbook.cloud import network, retry, trust
from cgrunbook.errors import ServiceError

# Hosts that one process talks to, and connections that are kept to each of them: more than are used at once.
_HOSTS = 32
_CONNECTIONS = 8

# Seconds for a connection, and again for the answer, when it is only asked whether there is one; bytes of it that are read.
_SECONDS = 10.0
_MUCH = 64 * 1024


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

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Nothing: the context has it all."""

    def proxy_manager_for(self, proxy: str, **settings: Any) -> Any:
        """The same trust behind a proxy, and in the proxy itself where it speaks TLS."""
        if not proxy.startswith("socks"):
            settings["proxy_ssl_context"] = trust.context()
        return super().proxy_manager_for(proxy, ssl_context=trust.context(), **settings)

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
                raise ServiceError(f"Tried to sign in to Google: {lasting.what}.", lasting.remedy) from error
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
    """The connections for a URL without a session: through the environment's proxy, as requests reads it, or straight."""
    if proxy := _proxy(url):
        through: urllib3.PoolManager = _KEPT.proxy_manager_for(proxy if "://" in proxy else f"http://{proxy}")
        return through
    context = trust.context() if url.startswith("https:") else None
    with _lock:
        if context not in _direct:
            _direct[context] = urllib3.PoolManager(_HOSTS, maxsize=_CONNECTIONS, ssl_context=context)
        return _direct[context]


def _mount(made: requests.Session) -> None:
    for scheme in ("http://", "https://"):
        if type(made.get_adapter(scheme)) is HTTPAdapter:  # one that shows a client's certificate stays
            made.mount(scheme, _KEPT)


def _proxy(url: str) -> str | None:
    """The environment's proxy for a URL, "" or None for none."""
    # No proxy can reach this machine's loopback, where the sandbox is.
    if urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1"):
        return None
    found: str | None = select_proxy(url, get_environ_proxies(url))
    return found
