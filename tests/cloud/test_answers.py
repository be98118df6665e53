"""An answer that never ends: dripped by whoever is asked, in its status, its headers or its body, and what it is about."""

from __future__ import annotations

import contextlib
import gzip
import socket
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import resourcemanager_v3 as rm
from google.oauth2.credentials import Credentials

from cgrunbook.cloud import Attempts, answers, metadata_server, network, sessions
from cgrunbook.cloud.caller import Caller
from cgrunbook.cloud.connection import RegistryHost
from cgrunbook.cloud.credentials import ApplicationDefault
from cgrunbook.cloud.google_errors import explained
from cgrunbook.cloud.google_service import client
from cgrunbook.cloud.network import why_unreachable
from cgrunbook.cloud.registry import Registry
from cgrunbook.errors import CgrunbookError, Interrupted, NotSignedIn, ServiceError, Temporary
from cgrunbook.image_reference import Platform

SILENCE = 0.05
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CONNECTION = SimpleNamespace(
    credentials=AnonymousCredentials(),
    project_id="p",
    location="l",
    sign_in="Sign in.",
    lost=lambda said: Temporary(said, "Look."),
)


class Dripping:
    """A host that begins with some bytes, and goes on with one every few milliseconds, for ever."""

    def __init__(self) -> None:
        self.begins = b""
        self.goes_on = b" "
        self.pause = 0.02
        self.over = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._take)]
        self._threads[0].start()

    def _take(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                self._threads.append(threading.Thread(target=self._drip, args=(connection,)))
                self._threads[-1].start()

    def _drip(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            connection.recv(65536)
            connection.sendall(self.begins)
            while not self.over.wait(self.pause):
                connection.sendall(self.goes_on)

    def end(self) -> None:
        self.over.set()
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for thread in self._threads:
            thread.join()


@pytest.fixture
def dripping(monkeypatch: pytest.MonkeyPatch) -> Iterator[Dripping]:
    monkeypatch.setattr(network, "_SECONDS", 0.0)
    host = Dripping()
    yield host
    host.end()


def once(**settings: object) -> Attempts:
    return Attempts(limit=0.0, **settings)  # type: ignore[arg-type]


def a_manifest(address: str, attempts: Attempts) -> object:
    return Registry(RegistryHost("cgr.dev", address, "http"), None, attempts, timeout=SILENCE).pull(
        "chainguard/go", "latest", Platform("linux/amd64")
    )


def a_tag(address: str, attempts: Attempts) -> object:
    return Registry(RegistryHost("cgr.dev", address, "http"), None, attempts, timeout=SILENCE).resolve("a/b", "latest")


def a_token(address: str, attempts: Attempts) -> object:
    return Registry(RegistryHost("cgr.dev", address, "http"), None, attempts, timeout=SILENCE).probe_token("a/b")


def an_official_client(address: str, attempts: Attempts) -> object:
    made = client(rm.ProjectsClient, CONNECTION, f"http://{address}")  # type: ignore[arg-type]

    def ask() -> object:
        with explained(CONNECTION, "read the project"):  # type: ignore[arg-type]
            return made.get_project(name="projects/1", retry=None, timeout=SILENCE)

    return attempts.run(ask, reason="the project")


def a_token_of_google(address: str, attempts: Attempts) -> object:
    def ask() -> object:
        with explained(CONNECTION, "get a token"):  # type: ignore[arg-type]
            return sessions.AuthRequest()(f"http://{address}/token", timeout=SILENCE)

    return attempts.run(ask, reason="a token")


def the_check(address: str, attempts: Attempts) -> object:
    def ask() -> None:
        with sessions.session() as session, session.get(f"http://{address}/", timeout=SILENCE) as answer:
            assert answer.content

    why, _ = why_unreachable(ask, "there", attempts)
    if why:
        raise ServiceError(why)
    return why


ASKS = [a_manifest, a_tag, a_token, an_official_client, a_token_of_google, the_check]
BEGINNINGS = {
    "nothing": b"",
    "a status": b"HTTP/1.1 2",
    "a header": b"HTTP/1.1 200 OK\r\nX-Long: ",
    "a body": OK + b"Content-Length: 100000\r\n\r\n{",
    "a body without a length": OK + b"\r\n{",
    "a chunk": OK + b"Transfer-Encoding: chunked\r\n\r\nffff\r\n{",
    "an error's body": b"HTTP/1.1 404 Not Found\r\nContent-Length: 1000\r\n\r\n{",
}


# A HEAD's answer ends with its headers.
PAIRS = [
    (ask, name) for ask in ASKS for name, begins in BEGINNINGS.items() if ask is not a_tag or b"\r\n\r\n" not in begins
]


@pytest.mark.parametrize(("ask", "begins"), PAIRS, ids=lambda value: getattr(value, "__name__", value))
def test_an_answer_that_drips_ends_with_a_sentence(dripping, ask, begins):
    begins = BEGINNINGS[begins]
    dripping.begins = begins
    dripping.goes_on = b"1" if begins else b"HTTP/1.1 100 Continue\r\n\r\n"
    begun = time.monotonic()
    with pytest.raises(CgrunbookError) as caught:
        ask(dripping.address, once())
    assert time.monotonic() - begun < 5
    assert not isinstance(caught.value, Interrupted)


@pytest.mark.parametrize("silent", [True, False], ids=["silent", "dripping"])
@pytest.mark.parametrize(
    ("ask", "begins"),
    [pair for pair in PAIRS if pair[1] in ("nothing", "a header", "a body")],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_whoever_waits_for_an_answer_hears_an_interrupt(dripping, monkeypatch, ask, begins, silent):
    monkeypatch.setattr(f"{__name__}.SILENCE", 30.0)
    monkeypatch.setattr(answers, "_LOOK", 0.01)
    dripping.begins, dripping.goes_on = BEGINNINGS[begins], b"1"
    dripping.pause = 30.0 if silent else 0.02
    attempts = Attempts()
    threading.Timer(0.05, attempts.cancelled.set).start()
    begun = time.monotonic()
    with pytest.raises(Interrupted):
        ask(dripping.address, attempts)
    assert time.monotonic() - begun < 5


def test_the_answer_of_a_write_is_waited_for_a_moment_after_an_interrupt(dripping, monkeypatch):
    """What was done is known then."""
    answer = OK + b"Content-Length: 2\r\n\r\n{}"
    dripping.begins, dripping.pause = b"", 0.3
    dripping.goes_on = answer
    attempts = Attempts()
    session = sessions.authorized(AnonymousCredentials())
    threading.Timer(0.05, attempts.cancelled.set).start()
    write = lambda: session.post(f"http://{dripping.address}/", timeout=20)  # noqa: E731
    assert attempts.run(write, reason="a write").content == b"{}"


def test_a_metadata_server_that_drips_is_none(dripping, monkeypatch):
    dripping.begins = b"HTTP/1.1 200 OK\r\nMetadata-Flavor: Google\r\nContent-Length: 100000\r\n\r\n"
    assert metadata_server._asked(f"http://{dripping.address}", SILENCE) == ("", "")


NO_ANSWERS = {
    "deep": b"[" * 100_000,
    "deep objects": b'{"error":' * 50_000,
    "no text": b"\xff\xfe",
    "a page": b"<html>",
    "a number": b"5",
    "null": b"null",
    "nothing": b"",
    "another type": b'{"name": 5, "error": "of text"}',
    "no error": b'{"name": 5, "error": null}',
    "odd details": b'{"name": 5, "error": {"message": "m", "details": 5}}',
}


@pytest.mark.parametrize("body", NO_ANSWERS.values(), ids=NO_ANSWERS)
@pytest.mark.parametrize("status", [200, 404, 502])
def test_what_is_no_answer_of_googles_is_a_sentence(dripping, monkeypatch, body, status):
    monkeypatch.setattr(f"{__name__}.SILENCE", 5.0)
    dripping.begins = b"HTTP/1.1 %d OK\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)
    dripping.pause = 30.0
    with pytest.raises(CgrunbookError, match="Tried to read the project") as caught:
        an_official_client(dripping.address, once())
    assert isinstance(caught.value, Temporary) == (status == 502)
    if status > 200:
        assert f"answered {status}" in caught.value.message


@pytest.mark.parametrize("body", NO_ANSWERS.values(), ids=NO_ANSWERS)
def test_what_is_no_token_of_googles_is_a_sentence(dripping, body):
    dripping.begins = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    dripping.pause = 30.0
    own = Credentials(
        None, refresh_token="r", client_id="i", client_secret="s", token_uri=f"http://{dripping.address}/"
    )
    with pytest.raises(NotSignedIn), explained(CONNECTION, "get a token"):  # type: ignore[arg-type]
        ApplicationDefault(own).refresh(sessions.AuthRequest())
    assert Caller(Credentials("token"))() == "MEMBER"


@pytest.mark.parametrize("packed", [False, True], ids=["as it is", "compressed"])
def test_an_answer_of_google_that_is_larger_than_any_is_not_read(dripping, monkeypatch, packed):
    monkeypatch.setattr(f"{__name__}.SILENCE", 5.0)
    monkeypatch.setattr(sessions, "_LARGEST", 100_000)
    body = b"0" * 200_000
    sent, header = (gzip.compress(body), b"Content-Encoding: gzip\r\n") if packed else (body, b"")
    dripping.begins = OK + header + b"Content-Length: %d\r\n\r\n%s" % (len(sent), sent)
    dripping.pause = 30.0
    with pytest.raises(ServiceError, match=f"The answer of {dripping.address} is larger than"):
        an_official_client(dripping.address, once())


def test_a_large_body_that_goes_on_may_take_longer_than_any_limit(dripping, monkeypatch):
    """The bytes that came give it time; each read's own limit stays."""
    monkeypatch.setattr(answers, "_BYTES", 10)
    dripping.begins = OK + b"Content-Length: 600\r\n\r\n"
    dripping.goes_on = b"1" * 10
    begun = time.monotonic()
    pool = sessions.pools(f"http://{dripping.address}/")
    answer = pool.request("GET", f"http://{dripping.address}/", timeout=0.5, retries=False)
    assert len(answer.data) == 600
    assert time.monotonic() - begun > 1.0
