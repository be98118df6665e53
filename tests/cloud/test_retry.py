"""What is temporary, with the exceptions that the libraries really raise."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests
import urllib3
from google.auth.transport.requests import Request

from cgrunbook.cloud.retry import GOOGLE_STATUSES, HTTP_STATUSES, NoAnswer, causes, says_temporary, why_no_answer

SECONDS = 2.0


@pytest.fixture(scope="module")
def plain() -> Iterator[str]:
    """The address of a server that speaks no TLS."""
    handler = type("Handler", (BaseHTTPRequestHandler,), {"log_message": lambda *_: None})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that takes a connection and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture
def hanging_up() -> Iterator[str]:
    """The address of a server that reads what is said first and ends the connection."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def hang_up() -> None:
            with suppress(OSError):  # the test is over
                while True:
                    connection, _ = listening.accept()
                    with connection:
                        connection.recv(65536)

        thread = threading.Thread(target=hang_up)
        thread.start()
        yield f"127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)
    thread.join()


def by_requests(url: str) -> object:
    return requests.get(url, timeout=0.3, proxies={"http": ""})


def by_urllib3(url: str) -> object:
    return urllib3.PoolManager().request("GET", url, retries=False, timeout=0.3)


def by_google_auth(url: str) -> object:
    return Request()(url, timeout=0.3)


def raised(call: Callable[[str], object], url: str) -> Exception:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - each library has its own
        call(url)
    return caught.value


@pytest.fixture(params=[by_requests, by_urllib3, by_google_auth])
def call(request: pytest.FixtureRequest) -> Callable[[str], object]:
    found: Callable[[str], object] = request.param
    return found


def test_a_connection_that_nobody_takes_passes(call):
    assert why_no_answer(raised(call, "http://127.0.0.1:1/")) is NoAnswer.CONNECTION


def test_a_server_that_stays_silent_passes(call, silent):
    assert why_no_answer(raised(call, f"http://{silent}/")) is NoAnswer.CONNECTION


def test_a_server_that_speaks_no_tls_does_not_pass(call, plain):
    error = raised(call, f"https://{plain}/")
    assert why_no_answer(error) is NoAnswer.TLS
    assert not why_no_answer(error).temporary


def test_a_server_that_hangs_up_in_the_middle_of_the_handshake_passes(call, hanging_up):
    assert why_no_answer(raised(call, f"https://{hanging_up}/")) is NoAnswer.CONNECTION


def test_a_name_that_nobody_knows_does_not_pass(call, monkeypatch):
    def nobody_knows(*_: object, **__: object) -> object:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nobody_knows)
    assert why_no_answer(raised(call, "http://no-such-host.invalid/")) is NoAnswer.NAME


def test_a_proxy_of_no_known_kind_does_not_pass(monkeypatch):
    monkeypatch.setenv("http_proxy", "foo://proxy.invalid")
    with pytest.raises(requests.RequestException) as caught:
        requests.get("http://registry.invalid/", timeout=SECONDS)
    assert why_no_answer(caught.value) is NoAnswer.ADDRESS


def test_exceptions_that_go_in_a_circle_end():
    first, second = OSError("a"), OSError("b")
    first.__cause__, second.__cause__ = second, first
    assert [*causes(first)] == [first, second]


@pytest.mark.parametrize(
    "said",
    [
        "rpc error: code = Unavailable desc = try later",
        "context deadline exceeded",
        "net/http: TLS handshake timeout",
        "read tcp 10.0.0.1:5->10.0.0.2:443: connection reset by peer",
    ],
)
def test_words_of_what_passes_are_known(said):
    assert says_temporary(said)


@pytest.mark.parametrize("said", ["", "rpc error: code = NotFound", "dial tcp: lookup cgr.dev: no such host"])
def test_other_words_do_not_pass(said):
    assert not says_temporary(said)


def test_every_entry_says_why():
    assert all(HTTP_STATUSES.values())
    assert all(GOOGLE_STATUSES.values())
