"""Whatever comes over the wire is answered with a registry's 4xx: never a 500, never a traceback."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import signal
import socket
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cgrunbook.sandbox import process
from cgrunbook.sandbox.registry.images import SampleRepository, digest_of
from tests.waiting import wait_for

from .conftest import PROJECT

BLOB_HOST = "9236a389bd48b984df91adc1bc924620.r2.cloudflarestorage.com"
HOSTS = ("cgr.dev", BLOB_HOST, "us-central1-docker.pkg.dev", "console-api.enforce.dev")
PIECES = st.sampled_from(
    ["v2", "token", "manifests", "blobs", "tags", "list", "referrers", "uploads", "_catalog", "chainguard", "go", "latest",
     PROJECT, "pub", "..", ".", "%2e%2e", "%2F", "%00", "%ff", "sha256:" + "a" * 64, "sha256%3A" + "b" * 64, "x" * 300,
     "iam", "v1", "identities", "groups", "rolebindings", "sts", "exchange", "auth", "ok", "chainguard-images-prod", ""]
)  # fmt: skip
PATHS = st.lists(PIECES, max_size=8).map(lambda parts: "/" + "/".join(parts))
QUERIES = st.sampled_from(
    ["", "?scope=repository:chainguard/go:pull", "?scope=%00", "?scope=a&scope=b", "?n=-1", "?n=99999999999999999999", "?n=0",
     "?last=%ff", "?X-Amz-Date=x&X-Amz-Expires=y&X-Amz-Signature=%ff", "?artifactType=%22", "?uidp.descendantsOf=%00", "?&&=&"]
)  # fmt: skip
HEADERS = st.dictionaries(
    st.sampled_from(["Authorization", "Accept", "Range", "If-None-Match", "If-Range", "Content-Type"]),
    st.sampled_from(
        [
            "Bearer x",
            "Bearer a.b.c",
            "Basic eDp5",
            "Basic !!",
            "Bearer",
            "bytes=9-1",
            "bytes=-",
            "bytes=0-" + "9" * 40,
            "*/*",
            ";;;,,,",
            "application/json",
            '"',
            "W/",
            "\xff",
        ]
    ),
    max_size=4,
)


def ask(world, host, method, path, *, headers, body=b""):
    connection = http.client.HTTPConnection(world.running.hosts[host], timeout=20)
    try:
        connection.putrequest(method, path, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value.encode("latin-1"))
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        return answer.status, answer.read(), dict(answer.getheaders())
    finally:
        connection.close()


@settings(max_examples=300)
@given(
    host=st.sampled_from(HOSTS),
    method=st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"]),
    path=PATHS,
    query=QUERIES,
    headers=HEADERS,
    body=st.sampled_from([b"", b"{}", b"{", b"\xff" * 10, b"grant_type=password&username=%ff", b"[]"]),
    trusted=st.booleans(),
)
def test_no_request_breaks_a_registry(world, *, host, method, path, query, headers, body, trusted):
    if trusted:
        headers = {**headers, "Authorization": f"Bearer {world.operator}"}
    status, content, _ = ask(world, host, method, path + query, headers=headers, body=body)
    assert status < 500 or status == 501
    assert b"Traceback" not in content
    if method != "HEAD" and status >= 400 and content.startswith(b"{"):
        document = json.loads(content)
        assert "errors" in document or "code" in document


def test_what_the_server_logged_of_it_holds_no_traceback(world):
    for host in HOSTS:
        ask(world, host, "GET", "/v2/%ff%00/manifests/..", headers={})
    assert "Traceback" not in (world.running.folder / "log" / "server.log").read_text()


@pytest.mark.parametrize(
    "path", ["/v2/chainguard/%2e%2e/%2e%2e/manifests/latest", "/v2/chainguard%2Fgo/manifests/../x", "/../x"]
)
def test_dots_and_encoded_slashes_lead_nowhere(world, path):
    headers = {"Authorization": f"Bearer {world.operator}"}
    status, _, _ = ask(world, "us-central1-docker.pkg.dev", "GET", path, headers=headers)
    assert 400 <= status < 500


def large_image(content):
    """A free repository with one blob."""
    return SampleRepository("chainguard/large", public=True, blobs={digest_of(content): content})


def test_a_client_that_leaves_in_the_middle_costs_nobody_anything(own_world):
    world = own_world
    content = hashlib.shake_256(b"large").digest(32 << 20)
    digest = digest_of(content)
    world.catalog.publish(large_image(content))
    base = world.remote("pub")
    host = world.running.docker_host("us-central1")
    path = f"{base.partition(host)[2]}/chainguard/large/blobs/{digest}"
    for _ in range(4):
        leaving = http.client.HTTPConnection(host, timeout=20)
        leaving.request("GET", path, headers={"Authorization": f"Bearer {world.operator}"})
        answer = leaving.getresponse()
        assert answer.read(1000) == content[:1000]
        # Reset the connection instead of closing it politely.
        assert leaving.sock is not None
        leaving.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        leaving.close()
        answer.close()
    whole = world.get(f"{base}/chainguard/large/blobs/{digest}")
    assert digest_of(whole.content) == digest
    fetched = [line for line in world.requests(BLOB_HOST) if line["method"] == "GET"]
    assert len(fetched) == 1
    wait_for(lambda: not list((world.running.folder / "blobs" / "incoming").iterdir()))
    assert "Traceback" not in (world.running.folder / "log" / "server.log").read_text()


class StallingRegistry(BaseHTTPRequestHandler):
    """An upstream that sends half of a blob and waits, until it is told to go on."""

    protocol_version = "HTTP/1.1"
    blob = b"half and half" * 100_000
    halfway = threading.Event()
    go_on = threading.Event()

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.blob)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        half = len(self.blob) // 2
        self.wfile.write(self.blob[:half])
        self.halfway.set()
        self.go_on.wait(20)
        with contextlib.suppress(OSError):
            self.wfile.write(self.blob[half:])

    def log_message(self, *_args):
        pass


def test_a_kill_in_the_middle_of_a_fetch_leaves_nothing_wrong(own_world):
    world = own_world
    digest = digest_of(StallingRegistry.blob)
    with ThreadingHTTPServer(("127.0.0.1", 0), StallingRegistry) as server, ThreadPoolExecutor(1) as pool:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        base = world.remote("pub", commonRepository={"uri": f"http://127.0.0.1:{server.server_port}"})
        broken = pool.submit(world.get, f"{base}/some/image/blobs/{digest}")
        assert StallingRegistry.halfway.wait(20)
        incoming = world.running.folder / "blobs" / "incoming"
        wait_for(lambda: [file for file in incoming.iterdir() if file.stat().st_size])
        os.kill(world.running.pid, signal.SIGKILL)
        with pytest.raises(httpx.TransportError):
            broken.result()
        StallingRegistry.go_on.set()
        again = process.start(world.running.home, iam_delay=0, agent_delay=0)
        url = base.replace(world.running.docker_host("us-central1"), again.docker_host("us-central1"))
        assert world.get(f"{url}/some/image/blobs/{digest}").content == StallingRegistry.blob
        wait_for(lambda: not list(incoming.iterdir()))
        server.shutdown()
        thread.join()
