"""Whether this is a machine at Google: asked quickly where it is not, properly where somebody says so."""

from __future__ import annotations

import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from cgrunbook.cloud import metadata_server


@pytest.fixture(autouse=True)
def anew(monkeypatch):
    """Nothing is known yet, and nothing of this machine's shows."""
    for name in (*metadata_server._SAYING_WHERE, *metadata_server._AT_A_SERVICE, "NO_GCE_CHECK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("google.auth.compute_engine.detect_gce_residency_linux", lambda: False)
    metadata_server._answers.cache_clear()
    metadata_server.project.cache_clear()
    yield
    metadata_server._answers.cache_clear()
    metadata_server.project.cache_clear()


@pytest.fixture
def server():
    """Answers at an address as it is told: status, Metadata-Flavor, text."""
    said: dict[str, Any] = {"status": 200, "flavor": "Google", "text": "the-project"}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(said["status"])
            self.send_header("Metadata-Flavor", said["flavor"])
            self.send_header("Content-Length", str(len(said["text"])))
            self.end_headers()
            self.wfile.write(said["text"].encode())

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as there:
        threading.Thread(target=there.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{there.server_port}", said
        there.shutdown()


def test_who_says_where_it_is_is_believed_and_asked(server, monkeypatch):
    monkeypatch.setenv("GCE_METADATA_HOST", server[0])
    assert metadata_server.is_there()
    assert metadata_server.project() == "the-project"


def test_who_knows_better_is_not_asked(server, monkeypatch):
    monkeypatch.setenv("GCE_METADATA_HOST", server[0])
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    assert not metadata_server.is_there()
    assert metadata_server.project() == ""


@pytest.mark.parametrize("other", [{"flavor": "Other"}, {"status": 404}, {"status": 302}])
def test_somebody_elses_server_names_no_project(server, monkeypatch, other):
    server[1].update(other)
    monkeypatch.setenv("GCE_METADATA_HOST", server[0])
    assert metadata_server.project() == ""


def test_no_proxy_is_asked_for_it(server, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("GCE_METADATA_HOST", server[0])
    assert metadata_server.project() == "the-project"


def test_an_address_that_leads_nowhere_costs_half_a_second_once(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        asked = metadata_server._asked
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setattr(metadata_server, "_asked", lambda _, seconds: asked(address, seconds))
        began = time.monotonic()
        assert not metadata_server.is_there()
        assert not metadata_server.is_there()
        assert time.monotonic() - began < 1.5
