"""How a proxy is read from the environment: once, for what is sent from here and for the commands that are run."""

from __future__ import annotations

import json
import re
import shlex
import socket
import sys
import threading
from contextlib import suppress

import pytest
import requests

from cgrunbook.cloud import command, network, proxies, sessions
from cgrunbook.errors import CgrunbookError, ExitCode, PrerequisiteMissing

NAMES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
ADDRESS = "https://cgr.dev/v2/"


@pytest.fixture(autouse=True)
def _no_proxy_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.delenv("REQUEST_METHOD", raising=False)


@pytest.mark.parametrize(
    ("said", "url", "login"),
    [
        ("http://proxy:3128", "http://proxy:3128", None),
        ("proxy:3128", "http://proxy:3128", None),
        ("//proxy:3128", "http://proxy:3128", None),
        ("  HTTP://Proxy:3128/ \n", "http://Proxy:3128", None),
        ("https://proxy", "https://proxy", None),
        ("http://proxy:", "http://proxy", None),
        ("http://[::1]:3128", "http://[::1]:3128", None),
        ("http://10.0.0.1:80/any?thing#else", "http://10.0.0.1:80", None),
        ("http://bücher.example:1", "http://xn--bcher-kva.example:1", None),
        ("http://me:plain@proxy", "http://me:plain@proxy", (b"me", b"plain")),
        ("me:plain@proxy:1", "http://me:plain@proxy:1", (b"me", b"plain")),
        ("http://me:p%40ss@proxy", "http://me:p%40ss@proxy", (b"me", b"p@ss")),
        ("http://me:p@ss@proxy", "http://me:p%40ss@proxy", (b"me", b"p@ss")),
        ("http://me:p#ss@proxy", "http://me:p%23ss@proxy", (b"me", b"p#ss")),
        ("http://me:p/s?s@proxy", "http://me:p%2Fs%3Fs@proxy", (b"me", b"p/s?s")),
        ("http://me:p:s[s]@proxy", "http://me:p%3As%5Bs%5D@proxy", (b"me", b"p:s[s]")),
        ("http://me:p ss@proxy", "http://me:p%20ss@proxy", (b"me", b"p ss")),
        ("http://me:100%@proxy", "http://me:100%25@proxy", (b"me", b"100%")),
        ("http://me:%zz+%2B@proxy", "http://me:%25zz%2B%2B@proxy", (b"me", b"%zz++")),
        ("http://me:pässwörd€@proxy", "http://me:p%C3%A4ssw%C3%B6rd%E2%82%AC@proxy", (b"me", "pässwörd€".encode())),
        ("http://me:%FF@proxy", "http://me:%FF@proxy", (b"me", b"\xff")),
        ("http://DOMAIN%5Cme:p@proxy", "http://DOMAIN%5Cme:p@proxy", (b"DOMAIN\\me", b"p")),
        ("http://DOMAIN\\me:p@proxy", "http://DOMAIN%5Cme:p@proxy", (b"DOMAIN\\me", b"p")),
        ("http://token@proxy", "http://token:@proxy", (b"token", b"")),
        ("http://:pass@proxy", "http://:pass@proxy", (b"", b"pass")),
    ],
)
def test_a_proxy_is_read_however_it_is_written(monkeypatch, said, url, login):
    monkeypatch.setenv("HTTPS_PROXY", said)
    found = proxies.proxy_for(ADDRESS)
    assert found is not None
    assert (found.url, found.login) == (url, login)
    assert proxies.read(found.url) == found
    assert "plain" not in repr(found)


@pytest.mark.parametrize(
    "said",
    [
        "foo://me:s3cret@proxy:1",
        "socks://me:s3cret@proxy:1080",
        "ftp://proxy",
        "http://",
        "http://me:s3cret@",
        "http://me:s3cret",
        "http://me:s3cret#@:3128",
        "http://me:s3cret@proxy:port",
        "http://me:s3cret@proxy:0",
        "http://me:s3cret@proxy:65536",
        "http://me:s3cret@proxy:\uff13\uff11",
        "http://me:s3cret@pro xy:1",
        "http://me:s3cret@::1:3128",
        "http://me:s3cret@[::1:3128",
        '"http://me:s3cret@proxy:1"',
        "http:/me:s3cret@/proxy",
        "http://me:s3cret@proxy.\x00",
    ],
)
def test_a_proxy_that_cannot_be_used_is_refused_in_a_sentence_without_a_piece_of_it(monkeypatch, said):
    monkeypatch.setattr(proxies, "getproxies", lambda: {"https": said})
    with pytest.raises(PrerequisiteMissing, match="names a proxy that cannot be used: ") as caught:
        proxies.proxy_for(ADDRESS)
    assert caught.value.exit_code is ExitCode.PREREQUISITE
    shown = f"{caught.value.message} {caught.value.remedy}"
    assert not any(piece in shown for piece in ("s3cret", "me:", "foo", "ftp", "65536"))
    # Where this process finds none, no command is told the password either.
    assert "s3cret" not in str(proxies.for_a_command({"HTTPS_PROXY": said}))


@pytest.mark.parametrize("scheme", ["socks5h", "socks5", "socks4", "SOCKS5H"])
def test_a_socks_proxy_is_refused_at_once_where_its_package_is_missing(monkeypatch, scheme):
    monkeypatch.setenv("ALL_PROXY", f"{scheme}://me:s3cret@proxy:1080")
    monkeypatch.setattr(proxies, "find_spec", lambda _: None)
    with pytest.raises(PrerequisiteMissing, match=f"ALL_PROXY .*{scheme.lower()}.*PySocks") as caught:
        proxies.proxy_for(ADDRESS)
    assert f"{shlex.quote(sys.executable)} -m pip install PySocks" in caught.value.remedy
    assert "s3cret" not in str(caught.value)
    monkeypatch.setattr(proxies, "find_spec", lambda _: object())
    found = proxies.proxy_for(ADDRESS)
    assert found is not None
    assert (found.url, found.headers) == (f"{scheme.lower()}://me:s3cret@proxy:1080", {})


@pytest.mark.parametrize(
    ("variables", "url", "place"),
    [
        ({"HTTPS_PROXY": "upper"}, ADDRESS, "upper"),
        ({"https_proxy": "lower"}, ADDRESS, "lower"),
        ({"HTTPS_PROXY": "upper", "https_proxy": "lower"}, ADDRESS, "lower"),
        ({"HTTPS_PROXY": "upper", "https_proxy": ""}, ADDRESS, ""),
        ({"HTTPS_PROXY": " ", "ALL_PROXY": "all"}, ADDRESS, "all"),
        ({"HTTP_PROXY": "plain"}, ADDRESS, ""),
        ({"HTTP_PROXY": "plain"}, "http://example.com/", "plain"),
        ({"ALL_PROXY": "all"}, ADDRESS, "all"),
        ({"all_proxy": "all", "HTTPS_PROXY": "upper"}, ADDRESS, "upper"),
        ({"HTTP_PROXY": "plain", "REQUEST_METHOD": "GET"}, "http://example.com/", ""),
        ({"http_proxy": "plain", "REQUEST_METHOD": "GET"}, "http://example.com/", "plain"),
        ({"HTTPS_PROXY": "upper", "REQUEST_METHOD": "GET"}, ADDRESS, "upper"),
    ],
)
def test_the_variable_that_counts_is_the_one_that_curl_would_take(monkeypatch, variables, url, place):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    found = proxies.proxy_for(url)
    assert (found.place if found else "") == place


@pytest.mark.parametrize(
    ("but", "url", "straight"),
    [
        ("cgr.dev", ADDRESS, True),
        ("CGR.dev.", ADDRESS, True),
        (".cgr.dev", ADDRESS, True),
        ("*.cgr.dev", ADDRESS, True),
        ("dev", ADDRESS, True),
        ("gr.dev", ADDRESS, False),
        ("cgr.dev.example", ADDRESS, False),
        ("*", ADDRESS, True),
        ("example.com, *", ADDRESS, True),
        ("example.com cgr.dev", ADDRESS, True),
        ("example.com ,\tcgr.dev ,", ADDRESS, True),
        ("cgr.dev:443", ADDRESS, True),
        ("cgr.dev:8443", ADDRESS, False),
        ("cgr.dev:*", ADDRESS, True),
        ("*.dev:*", "https://cgr.dev:8443/", True),
        ("10.0.0.0/8:*", "https://10.1.2.3:8443/", True),
        ("cgr.dev:4*3", ADDRESS, False),
        (".dev:443", ADDRESS, True),
        ("cgr.dev:8443", "https://cgr.dev:8443/", True),
        ("cgr.dev", "https://cgr.dev:8443/", True),
        ("cgr.dev", "https://CGR.DEV./", True),
        ("10.0.0.0/8", "https://10.1.2.3/", True),
        ("10.0.0.0/8", "https://11.1.2.3/", False),
        ("10.1.2.3/8", "https://10.9.9.9/", True),
        ("10.1.2.3", "https://10.1.2.3/", True),
        ("10.1.2.3:443", "https://10.1.2.3/", True),
        ("2.3", "https://10.1.2.3/", False),
        ("10.0.0.0/8", ADDRESS, False),
        ("2001:db8::/32", "https://[2001:db8::7]/", True),
        ("2001:db8::7", "https://[2001:DB8:0::7]/", True),
        ("[2001:db8::7]", "https://[2001:db8::7]/", True),
        ("[2001:db8::7]:443", "https://[2001:db8::7]/", True),
        ("[2001:db8::7]:80", "https://[2001:db8::7]/", False),
        ("", "https://[::1]:8080/", True),
        ("", "http://127.0.0.1:8080/", True),
        ("", "http://127.9.9.9/", True),
        ("", "http://LOCALHOST:8080/", True),
        ("", "http://169.254.169.254/computeMetadata/v1/", True),
        ("", "http://metadata.google.internal/computeMetadata/v1/", True),
        ("", "http://metadata.example:8080/computeMetadata/v1/", True),
        (" , .", ADDRESS, False),
    ],
)
@pytest.mark.parametrize("name", ["NO_PROXY", "no_proxy"])
def test_what_goes_without_a_proxy(monkeypatch, name, but, url, straight):
    monkeypatch.setenv("GCE_METADATA_HOST", "metadata.example:8080")
    monkeypatch.setenv("ALL_PROXY", "http://proxy:3128")
    monkeypatch.setenv(name, but)
    assert (proxies.proxy_for(url) is None) == straight


ANSWERS_OF_A_PROXY = {
    "another protocol's": (b"SSH-2.0-OpenSSH_9.9\r\n", "does not answer as one", False),
    "TLS's": (b"\x15\x03\x01\x00\x02\x02\x46", "begins with https://", False),
    "a page's": (b"<html>\r\n", "does not answer as one", False),
    "one without an end": (b"HTTP/1.1 200 " + b"x" * 70_000, "does not answer as one", False),
    "garbage behind it": (b"HTTP/1.1 200 OK\r\n\r\ngarbage of some length", "no TLS connection with cgr.dev", False),
    "none": (b"", "", True),
    "one that is away": (b"HTTP/1.1 503 Busy\r\n\r\n", "", True),
}


@pytest.mark.parametrize(("answer", "said", "passes"), ANSWERS_OF_A_PROXY.values(), ids=ANSWERS_OF_A_PROXY)
def test_what_is_no_proxy_stays_none_and_is_said_to_be_none(monkeypatch, answer, said, passes):
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection, suppress(OSError):
                connection.recv(65536)
                connection.sendall(b"".join(answer.partition(b"\r\n\r\n")[:2]))
                if behind := answer.partition(b"\r\n\r\n")[2]:
                    connection.recv(65536)
                    connection.sendall(behind)
                connection.shutdown(socket.SHUT_WR)
                connection.recv(65536)

        thread = threading.Thread(target=serve)
        thread.start()
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{listening.getsockname()[1]}")
        with pytest.raises(requests.RequestException) as caught:
            sessions.greeting(ADDRESS)()
        thread.join()
    stays = network.lasting(caught.value, "cgr.dev")
    assert (stays is None) == passes
    assert stays is None or re.search(said, f"{stays.what} {stays.remedy}")


def test_a_command_finds_the_same_proxies_in_every_spelling(monkeypatch):
    monkeypatch.setenv("ALL_PROXY", "me:p#ss@proxy:3128")
    monkeypatch.setenv("http_proxy", "foo://me:s3cret@proxy")
    monkeypatch.setenv("NO_PROXY", "*.example.com:* 10.0.0.0/8")
    words = [
        sys.executable,
        "-c",
        "import json, os; print(json.dumps({k: v for k, v in os.environ.items() if 'proxy' in k.lower()}))",
    ]
    environment = {"PATH": "/usr/bin", "ALL_PROXY": "me:p#ss@proxy:3128", "https_proxy": "another"}
    ended = command.run(words, environment, seconds=20, cancelled=threading.Event())
    url, but = "http://me:p%23ss@proxy:3128", "example.com,10.0.0.0/8"
    expected = {"HTTPS_PROXY": url, "https_proxy": url, "NO_PROXY": but, "no_proxy": but}
    assert json.loads(ended.output) == expected
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    assert proxies.for_a_command({"PATH": "/usr/bin"}) == {"PATH": "/usr/bin"}


def test_a_password_is_known_to_the_mask_as_it_is_written_and_as_it_is_meant(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://me:one%40long@proxy:1")
    monkeypatch.setenv("ALL_PROXY", "socks://me:an#other@nowhere:x")
    known = {secret.reveal() for secret in proxies.passwords()}
    assert known == {"one%40long", "one@long", "an#other", "an%23other"}


def test_the_refusal_is_one_of_ours(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://me:s3cret@proxy:port")
    with pytest.raises(CgrunbookError, match="HTTPS_PROXY names"):
        proxies.proxy_for(ADDRESS)
    monkeypatch.setenv("https_proxy", "http://me:s3cret@proxy:port")
    with pytest.raises(CgrunbookError, match="https_proxy names"):
        proxies.proxy_for(ADDRESS)
