"""Who is trusted, by every client that sends something, and what is said where a certificate or a name stands in the way."""

from __future__ import annotations

import datetime as dt
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import certifi
import pytest
from google.auth.compute_engine import Credentials as MachineCredentials
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import GoogleAuthError, RefreshError, TransportError
from google.cloud import resourcemanager_v3 as rm
from google.oauth2.credentials import Credentials

from cgrunbook.cloud import Attempts, sessions, trust
from cgrunbook.cloud.connection import RegistryHost
from cgrunbook.cloud.google_errors import explain, explained
from cgrunbook.cloud.google_service import CALL, client
from cgrunbook.cloud.network import why_unreachable
from cgrunbook.cloud.registry import Registry
from cgrunbook.errors import CgrunbookError, PrerequisiteMissing, ServiceError, Temporary
from tests.clients.programs import run
from tests.clients.proxy import Proxy, running
from tests.real_names.authority import Authority

VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")
CONNECTION = SimpleNamespace(
    credentials=AnonymousCredentials(), sign_in="Sign in.", lost=lambda said: Temporary(said, "-")
)


@dataclass
class Server:
    """A host of many trades: whatever it is asked for is a project, and a registry's challenge."""

    address: str
    requests: list[str] = field(default_factory=list)
    connections: int = 0
    status: int = 200


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an authority's certificate, its folder `hashed` for OpenSSL, and certificates of several kinds."""
    folder = tmp_path_factory.mktemp("authority")
    made = Authority(folder)
    made.certify("good.pem", ["localhost"])
    made.certify("expired.pem", ["localhost"], until=dt.datetime.now(dt.UTC) - dt.timedelta(days=1))
    made.certify("another.pem", ["another.example.com"])
    made.certify("behind.pem", ["service.invalid"])
    (folder / "hashed").mkdir()
    (folder / "hashed" / "ca.pem").write_bytes((folder / "ca.pem").read_bytes())
    run("openssl", "rehash", folder / "hashed")
    return folder


@pytest.fixture(autouse=True)
def _nobody_says_whom_to_trust(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "localhost,127.0.0.1")


@pytest.fixture
def serve(authority: Path) -> Iterator[Callable[..., Server]]:
    """Open a server that shows a certificate of the authority's folder."""
    running = []

    def open_one(certificate: str = "good.pem", versions: ssl.TLSVersion = ssl.TLSVersion.MAXIMUM_SUPPORTED) -> Server:
        served = Server("")

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1

            def log_message(self, *_: object) -> None:
                """Tests are quiet."""

            def setup(self) -> None:
                super().setup()
                served.connections += 1

            def do_GET(self) -> None:
                served.requests.append(self.path)
                body = json.dumps({"name": "projects/1"}).encode()
                self.send_response(served.status)
                self.send_header("Content-Type", "application/json")
                self.send_header("WWW-Authenticate", f'Bearer realm="https://{served.address}/token"')
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(authority / certificate)
        context.maximum_version = versions
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        server.handle_error = lambda *_: None  # type: ignore[method-assign]
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        served.address = f"localhost:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        running.append((server, thread))
        return served

    yield open_one
    for server, thread in running:
        server.shutdown()
        thread.join()
        server.server_close()


def an_official_client(address: str) -> object:
    with explained(CONNECTION, "read the project"):  # type: ignore[arg-type]
        made = client(rm.ProjectsClient, CONNECTION, f"https://{address}")  # type: ignore[arg-type]
        return made.get_project(name="projects/1", **CALL)


def our_own_call_of_an_api(address: str) -> object:
    with explained(CONNECTION, "read the project"):  # type: ignore[arg-type]
        return sessions.authorized(AnonymousCredentials()).get(f"https://{address}/", timeout=5)


def a_token_request(address: str) -> object:
    return sessions.AuthRequest()(f"https://{address}/token", timeout=5)


def a_registry(address: str) -> object:
    attempts = Attempts(limit=0)
    return Registry(RegistryHost(address, address, "https"), None, attempts, timeout=5).probe_token("chainguard/go")


def the_check(address: str) -> object:
    why, remedy = why_unreachable(sessions.greeting(f"https://{address}"), address, Attempts(limit=0))
    if why:
        raise ServiceError(why, remedy)
    return why


def the_check_of_a_registry(address: str) -> object:
    why, remedy = why_unreachable(
        Registry(RegistryHost(address, address, "https"), timeout=5).greet, address, Attempts(limit=0)
    )
    if why:
        raise ServiceError(why, remedy)
    return why


@pytest.fixture(
    params=[
        an_official_client,
        our_own_call_of_an_api,
        a_token_request,
        a_registry,
        the_check,
        the_check_of_a_registry,
    ],
    ids=lambda ask: ask.__name__,
)
def ask(request: pytest.FixtureRequest) -> Callable[[str], object]:
    """Each client that sends something."""
    found: Callable[[str], object] = request.param
    return found


ENOUGH = [
    ("REQUESTS_CA_BUNDLE", "ca.pem"),
    ("REQUESTS_CA_BUNDLE", "hashed"),
    ("CURL_CA_BUNDLE", "ca.pem"),
    ("CURL_CA_BUNDLE", "hashed"),
    ("SSL_CERT_FILE", "ca.pem"),
    ("SSL_CERT_DIR", "hashed"),
]


@pytest.mark.parametrize("enough", ENOUGH, ids="=".join)
def test_each_variable_alone_is_enough_for_every_client(serve, authority, monkeypatch, ask, enough):
    variable, names = enough
    monkeypatch.setenv(variable, str(authority / names))
    ask(serve().address)


def test_certifis_authorities_are_trusted_besides_the_systems_by_every_client(serve, authority, monkeypatch, ask):
    monkeypatch.setattr(certifi, "where", lambda: str(authority / "ca.pem"))
    monkeypatch.setattr(trust, "_made", {})
    ask(serve().address)


def test_where_openssl_finds_no_store_truststore_looks_for_one(authority, monkeypatch):
    """As on macOS, and where Python brings an OpenSSL that was built for another system."""
    import truststore

    monkeypatch.setattr(ssl.SSLContext, "load_default_certs", lambda _self: None)
    monkeypatch.setattr(trust, "_made", {})
    assert isinstance(trust.context(), truststore.SSLContext)


def test_of_two_variables_the_first_that_requests_knows_decides(authority, monkeypatch, serve, ask):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", certifi.where())
    ask(serve().address)


@pytest.mark.parametrize("variable", VARIABLES)
def test_a_variable_that_names_nothing_is_said_at_once_by_every_client(serve, monkeypatch, ask, variable):
    monkeypatch.setenv(variable, "/nowhere/ca.pem")
    with pytest.raises(PrerequisiteMissing, match=f"{variable} .* /nowhere/ca.pem .*[Nn]o such") as caught:
        ask(serve().address)
    assert variable in caught.value.remedy


@pytest.mark.parametrize("content", ["", "no certificate"])
def test_a_variable_that_names_a_file_without_a_certificate_is_said(serve, monkeypatch, ask, tmp_path, content):
    (tmp_path / "ca.pem").write_text(content)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    with pytest.raises(PrerequisiteMissing, match="SSL_CERT_FILE"):
        ask(serve().address)


def test_a_variable_that_is_empty_says_nothing(monkeypatch):
    for name in VARIABLES:
        monkeypatch.setenv(name, "")
    assert trust.named() == {}


@dataclass(frozen=True)
class Lack:
    """What a certificate lacks, what is said of it, and what helps."""

    said: str
    helps: str
    certificate: str = "good.pem"
    trusted: tuple[str, str] = ("SSL_CERT_FILE", "{authority}/ca.pem")
    versions: ssl.TLSVersion = ssl.TLSVersion.MAXIMUM_SUPPORTED


LACKS = {
    "trust": Lack("is not trusted here", "SSL_CERT_FILE or REQUESTS_CA_BUNDLE", trusted=("", "")),
    "trust by a variable": Lack(
        "is not trusted here", "REQUESTS_CA_BUNDLE=", trusted=("REQUESTS_CA_BUNDLE", certifi.where())
    ),
    "time": Lack("has expired", "date -u", "expired.pem"),
    "the name": Lack("is for another name", "/etc/hosts", "another.pem"),
    "a version": Lack("could be agreed on", "TLS 1.2", versions=ssl.TLSVersion.TLSv1_1),
}


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1")
@pytest.mark.parametrize("lack", LACKS.values(), ids=LACKS)
def test_what_a_certificate_lacks_ends_every_call_at_once_with_advice_that_fits(
    serve, authority, monkeypatch, ask, lack
):
    variable, names = lack.trusted
    if variable:
        monkeypatch.setenv(variable, names.format(authority=authority))
    address = serve(lack.certificate, lack.versions).address
    with pytest.raises(CgrunbookError, match=lack.said) as caught:
        ask(address)
    assert isinstance(caught.value, ServiceError)
    assert not isinstance(caught.value, Temporary)
    assert address in caught.value.message
    assert lack.helps in caught.value.remedy
    assert "HTTPS_PROXY" not in caught.value.remedy
    assert "HTTPSConnectionPool" not in caught.value.message


def test_a_name_that_nobody_knows_ends_every_call_at_once(monkeypatch, ask):
    _make_unknown(monkeypatch, "no-such-host.invalid")
    with pytest.raises(ServiceError, match=r"the name no-such-host\.invalid.* is not known here") as caught:
        ask("no-such-host.invalid")
    assert not isinstance(caught.value, Temporary)


def test_a_proxy_that_does_not_let_a_host_through_ends_every_call_at_once(monkeypatch, ask):
    class Refusing(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Tests are quiet."""

        def do_CONNECT(self) -> None:
            self.send_error(403)

    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("no_proxy", "")
        monkeypatch.setenv("NO_PROXY", "")
        with pytest.raises(ServiceError, match=r"the proxy does not let service\.invalid through .*403") as caught:
            ask("service.invalid")
        assert not isinstance(caught.value, Temporary)
        server.shutdown()
        thread.join()


PASSWORDS = {"p%40ss%C3%A4%23": "p@ssä#", "p@ss#/?%€": "p@ss#/?%€", "": ""}


WAYS = {
    f"{spelt or 'no password'}, TLS {tls}": (spelt, tls == "twice") for spelt in PASSWORDS for tls in ("once", "twice")
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_every_client_reaches_a_host_through_a_proxy_that_wants_a_login(serve, authority, monkeypatch, ask, way):
    spelt, tls = way
    server = serve("behind.pem")
    proxy = Proxy(f"me:{PASSWORDS[spelt]}", {"service.invalid:443": server.address.replace("localhost", "127.0.0.1")})
    server.address = "service.invalid"  # which its challenge names
    with running(proxy, authority / "good.pem" if tls else None):
        _behind(monkeypatch, authority, f"me:{spelt}@localhost:{proxy.port}", tls=tls)
        ask("service.invalid")
    assert set(proxy.asked) == {"service.invalid:443"}
    assert server.requests


@pytest.mark.parametrize("login", ["me:wr%40ng@", "me:wr#ng@", ""])
def test_a_login_that_a_proxy_does_not_take_ends_every_call_at_once_and_no_piece_of_it_is_shown(
    authority, monkeypatch, ask, login
):
    with running(Proxy("me:right")) as proxy:
        _behind(monkeypatch, authority, f"{login}localhost:{proxy.port}", tls=False)
        said = r"the proxy on the way to service\.invalid wants a login, or does not take .*407"
        with pytest.raises(ServiceError, match=said) as caught:
            ask("service.invalid")
    assert proxy.refused == 1
    assert not isinstance(caught.value, Temporary)
    assert "%40" in caught.value.remedy
    assert not any(piece in str(caught.value).replace("%40)", "") for piece in ("wr", "%23"))


@pytest.mark.parametrize(
    "lack",
    [
        ("expired.pem", "the certificate of the proxy on the way to service.invalid has expired", "date -u"),
        ("", "no TLS connection with the proxy on the way to service.invalid could", "begins with http://"),
    ],
    ids=["expired", "none"],
)
def test_a_proxy_whose_own_tls_is_not_good_is_named(authority, monkeypatch, ask, lack):
    certificate, said, helps = lack
    with running(Proxy(), authority / certificate if certificate else None) as proxy:
        _behind(monkeypatch, authority, f"localhost:{proxy.port}", tls=True)
        with pytest.raises(ServiceError, match=said) as caught:
            ask("service.invalid")
    assert not isinstance(caught.value, Temporary)
    assert helps in caught.value.remedy


@pytest.mark.parametrize("said", ["http://me:p#ss@localhost:99999", "socks://localhost:1080", "localhost:port"])
def test_a_proxy_that_cannot_be_used_is_a_missing_prerequisite_for_every_client(monkeypatch, authority, ask, said):
    _behind(monkeypatch, authority, "", tls=False)
    monkeypatch.setenv("HTTPS_PROXY", said)
    with pytest.raises(PrerequisiteMissing, match="HTTPS_PROXY names a proxy that cannot be used"):
        ask("service.invalid")


def test_a_login_of_netrc_does_not_take_the_place_of_the_access_token(serve, authority, monkeypatch, tmp_path):
    (tmp_path / ".netrc").write_text("default login me password another\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SSL_CERT_FILE", str(authority / "ca.pem"))
    session = sessions.authorized(Credentials("the-token"))
    answer = session.get(f"https://{serve().address}/", timeout=5)
    assert answer.request.headers["Authorization"] == "Bearer the-token"


def _behind(monkeypatch: pytest.MonkeyPatch, authority: Path, address: str, *, tls: bool) -> None:
    for name in ("https_proxy", "all_proxy", "no_proxy", "NO_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", f"{'https' if tls else 'http'}://{address}")
    monkeypatch.setenv("SSL_CERT_FILE", str(authority / "ca.pem"))


def test_what_may_pass_is_no_lasting_cause_for_any_client(ask):
    """Nobody listens there."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises((Temporary, TransportError, ServiceError)) as caught:
        ask(f"localhost:{port}")
    # A check says what it sees, whether it passes or not.
    assert (
        not isinstance(caught.value, ServiceError)
        or isinstance(caught.value, Temporary)
        or "[Errno" in str(caught.value)
    )


def test_a_metadata_server_whose_name_is_unknown_is_not_asked_again(monkeypatch):
    """google-auth would try five times, for a quarter of a minute, and say that the credentials were not accepted."""
    _make_unknown(monkeypatch, "metadata.google.internal")
    begun = time.monotonic()
    with pytest.raises(ServiceError, match=r"metadata\.google\.internal.* is not known here"):
        MachineCredentials().refresh(sessions.AuthRequest())
    assert time.monotonic() - begun < 1


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_tokens_host_that_says_later_is_temporary_whatever_google_auth_wraps_it_in(
    serve, authority, monkeypatch, status
):
    monkeypatch.setenv("SSL_CERT_FILE", str(authority / "ca.pem"))
    server = serve()
    server.status = status
    with pytest.raises(TransportError) as caught:
        a_token_request(server.address)
    wrapped = RefreshError(caught.value)
    wrapped.__cause__ = caught.value
    for error in (caught.value, wrapped):
        assert isinstance(explain(error, CONNECTION, "get a token"), Temporary)  # type: ignore[arg-type]
    assert len(server.requests) == 1


def test_a_refusal_of_a_tokens_host_is_none_of_these():
    error = GoogleAuthError("invalid_grant")
    assert not isinstance(explain(error, CONNECTION, "get a token"), Temporary)  # type: ignore[arg-type]


def test_the_clients_of_one_host_share_its_connections(serve, authority, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(authority / "ca.pem"))
    server = serve()
    for ask in (an_official_client, our_own_call_of_an_api, a_token_request, the_check, an_official_client):
        ask(server.address)
    for ask in (a_registry, the_check_of_a_registry, a_registry):
        ask(server.address)
    # One for what goes through requests, one for what goes through urllib3.
    assert (server.connections, len(server.requests)) == (2, 10)


def test_the_sandbox_needs_no_store(monkeypatch):
    """Reading one takes longer than the sandbox's answers."""
    monkeypatch.setattr(trust, "context", lambda: pytest.fail("a store was read"))
    assert sessions.pools("http://127.0.0.1:1/v2/")
    assert sessions.session().get_adapter("http://127.0.0.1:1/")


def _make_unknown(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    real = socket.getaddrinfo

    def nobody_knows(host: object, *more: object, **settings: object) -> object:
        if host == name:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real(host, *more, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", nobody_knows)
