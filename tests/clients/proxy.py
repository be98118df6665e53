"""An HTTP proxy of the tests' own: CONNECT, a login that it wants, TLS to its own port where it is given a certificate.

    python -m tests.clients.proxy [--certificate FILE] [--host NAME] LOGIN COMMAND ...

runs a command behind it, and prints to standard error each host that was asked for, one a line.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote


@dataclass
class Proxy:
    """A proxy that is running.

    Args:
        login: "USER:PASSWORD" that it wants, in UTF-8; "" for none.
        leads: where it connects to, by the name that is asked for; by default to the name itself.
        asked: each HOST:PORT that it was asked for with the login.
        refused: how often the login was another.
        port: where it listens.
    """

    login: str = ""
    leads: Mapping[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    refused: int = 0
    port: int = 0

    def takes(self, header: str) -> bool:
        return not self.login or header == f"Basic {base64.b64encode(self.login.encode()).decode()}"


class _Handler(BaseHTTPRequestHandler):
    proxy: Proxy

    def log_message(self, *_: object) -> None:
        """Tests are quiet."""

    def do_CONNECT(self) -> None:
        if not self.proxy.takes(self.headers.get("Proxy-Authorization", "")):
            self.proxy.refused += 1
            self._want_a_login()
            return
        self.proxy.asked.append(self.path)
        host, _, port = self.proxy.leads.get(self.path, self.path).rpartition(":")
        with socket.create_connection((host, int(port)), timeout=20) as there:
            self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=_copy, args=(there, self.connection), daemon=True)
            back.start()
            _copy(self.connection, there)
            back.join()
        self.close_connection = True

    def _want_a_login(self) -> None:
        self.send_response(407)
        self.send_header("Proxy-Authenticate", 'Basic realm="a proxy"')
        self.send_header("Content-Length", "0")
        self.end_headers()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(65536):
            target.sendall(piece)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def running(proxy: Proxy, certificate: Path | None = None) -> Iterator[Proxy]:
    """Let a proxy listen on loopback."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"proxy": proxy}))
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    proxy.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--certificate", type=Path)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("login")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    given = parser.parse_args()
    with running(Proxy(given.login), given.certificate) as proxy:
        user, _, password = given.login.partition(":")
        scheme = "https" if given.certificate else "http"
        address = f"{scheme}://{quote(user, safe='')}:{quote(password, safe='')}@{given.host}:{proxy.port}"
        code = subprocess.run(given.command, env={**os.environ, "HTTPS_PROXY": address}, check=False).returncode
    print("\n".join(proxy.asked), file=sys.stderr)
    return code


if __name__ == "__main__":
    raise SystemExit(main())
