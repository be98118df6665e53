"""cgr.dev's port where another registry stands in for it: the same answers as there, and no way past the port."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import httpx
import pytest

from cgrunbook.sandbox import process

from .conftest import a_world

BLOB = b"content" * 300_000
DIGEST = f"sha256:{hashlib.sha256(BLOB).hexdigest()}"


class Registry(BaseHTTPRequestHandler):
    """A registry with a token end point of its own, links to itself, and blobs at another host."""

    protocol_version = "HTTP/1.1"
    asked: ClassVar[list[tuple[str, str, str]]] = []

    def do_GET(self):
        own = f"http://{self.headers['Host']}"
        self.asked.append((self.command, self.path, self.headers.get("Authorization", "")))
        if self.path.startswith("/token"):
            return self.answer(200, b'{"token": "abc"}', {"Content-Type": "application/json"})
        if self.headers.get("Authorization") not in ("Bearer abc", "Basic " + base64.b64encode(b"a:b").decode()):
            return self.answer(401, b"{}", {"WWW-Authenticate": f'Bearer realm="{own}/token",service="real"'})
        if "/short/" in self.path:
            self.close_connection = True
            return self.answer(200, BLOB[:10], {}, announced=len(BLOB))
        if "/blobs/" in self.path:
            if "Range" in self.headers:
                return self.answer(206, BLOB[5:10], {"Content-Range": f"bytes 5-9/{len(BLOB)}"})
            return self.answer(200, BLOB, {})
        headers = {"Location": "https://blobs.example/one", "Link": f'<{own}/v2/x/tags/list?n=1>; rel="next"'}
        return self.answer(307, b"", headers)

    def do_HEAD(self):
        self.do_GET()

    def answer(self, status, body, headers, announced=None):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(announced or len(body)))
        self.end_headers()
        if self.command == "GET":
            with contextlib.suppress(OSError):
                self.wfile.write(body)

    def log_message(self, *_args):
        pass


@pytest.fixture(scope="module")
def upstream():
    with ThreadingHTTPServer(("127.0.0.1", 0), Registry) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def front(tmp_path_factory, key, upstream):
    with a_world(tmp_path_factory.mktemp("front") / "home", key, upstream=upstream) as world:
        yield world


def test_the_challenge_leads_back_to_this_port_and_the_token_comes_from_there(front):
    answer = front.http.get(f"{front.cgr}/v2/x/blobs/{DIGEST}")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == f'Bearer realm="{front.cgr}/token",service="real"'
    token = front.http.get(f"{front.cgr}/token?service=real&scope=repository%3Ax%3Apull", auth=("a", "b"))
    assert token.json() == {"token": "abc"}
    credentials = "Basic " + base64.b64encode(b"a:b").decode()
    assert ("GET", "/token?service=real&scope=repository%3Ax%3Apull", credentials) in Registry.asked


def test_content_ranges_and_heads_come_as_they_are(front):
    headers = {"Authorization": "Bearer abc"}
    url = f"{front.cgr}/v2/x/blobs/{DIGEST}"
    assert front.http.get(url, headers=headers).content == BLOB
    part = front.http.get(url, headers=headers | {"Range": "bytes=5-9"})
    assert (part.status_code, part.content) == (206, BLOB[5:10])
    head = front.http.head(url, headers=headers)
    assert (head.status_code, head.headers["content-length"], head.content) == (200, str(len(BLOB)), b"")


def test_addresses_of_others_stay(front):
    answer = front.http.get(f"{front.cgr}/v2/x/manifests/latest", headers={"Authorization": "Bearer abc"})
    assert (answer.status_code, answer.headers["location"]) == (307, "https://blobs.example/one")
    assert answer.headers["link"] == f'<{front.cgr}/v2/x/tags/list?n=1>; rel="next"'


def test_encoded_paths_are_not_read_on_the_way(front):
    front.http.get(f"{front.cgr}/v2/a%2Fb/manifests/%2e%2e", headers={"Authorization": "Bearer abc"})
    assert any(path == "/v2/a%2Fb/manifests/%2e%2e" for _, path, _ in Registry.asked)


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE", "PATCH"])
def test_nothing_is_pushed_through(front, method):
    before = len(Registry.asked)
    answer = front.http.request(method, f"{front.cgr}/v2/x/manifests/latest", headers={"Authorization": "Bearer abc"})
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (405, "UNSUPPORTED")
    assert len(Registry.asked) == before


def test_a_client_that_leaves_in_the_middle_harms_nothing(front):
    url = f"{front.cgr}/v2/x/blobs/{DIGEST}"
    for _ in range(5):
        with front.http.stream("GET", url, headers={"Authorization": "Bearer abc"}) as answer:
            assert next(answer.iter_raw(10)) == BLOB[:10]
    assert front.http.get(url, headers={"Authorization": "Bearer abc"}).content == BLOB
    assert "Traceback" not in (front.running.folder / "log" / "server.log").read_text()


def test_a_registry_that_is_away_is_a_bad_gateway(tmp_path, key):
    with a_world(tmp_path / "home", key, upstream="http://127.0.0.1:1") as world:
        answer = world.http.get(f"{world.cgr}/v2/")
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (502, "UNAVAILABLE")
        assert "127.0.0.1:1, which stands in for cgr.dev, does not answer" in answer.text


@pytest.mark.parametrize("address", ["ftp://x", "127.0.0.1:5000", "http://", "http://me:secret@127.0.0.1:5000"])
def test_what_is_no_registrys_address_is_refused_at_the_start(address, tmp_path):
    with pytest.raises(process.SandboxFailure, match=r"write it as http://127\.0\.0\.1:5000"):
        process.start(tmp_path / "home", upstream=address)
    assert process.status(tmp_path / "home") is None


def test_a_sandbox_that_was_named_as_its_own_upstream_says_so(tmp_path, key):
    home = tmp_path / "home"
    own = process.start(home).hosts["cgr.dev"]
    process.stop(home)
    with a_world(home, key, upstream=f"http://{own}") as world:
        assert world.running.hosts["cgr.dev"] == own
        answer = world.http.get(f"{world.cgr}/v2/")
        assert answer.status_code == 508
        assert "leads back to this sandbox" in answer.text


def test_a_body_that_ends_too_early_there_ends_too_early_here(front):
    with pytest.raises(httpx.RemoteProtocolError):
        front.http.get(f"{front.cgr}/v2/short/blobs/{DIGEST}", headers={"Authorization": "Bearer abc"})
    assert "Traceback" not in (front.running.folder / "log" / "server.log").read_text()


def test_a_running_sandbox_is_not_taken_for_one_with_another_upstream(front, upstream):
    home = front.running.home
    assert process.start(home, upstream=upstream).pid == process.start(home).pid == front.running.pid
    assert process.start(home).upstream == upstream
    with pytest.raises(process.SandboxFailure, match=f"runs already, with {upstream} as cgr.dev"):
        process.start(home, upstream="http://127.0.0.1:1")
