"""Debian's docker-registry, a registry that nobody here wrote: on a free loopback port, for as long as a block lasts."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.clients.programs import client
from tests.waiting import wait_for


@contextlib.contextmanager
def docker_registry(folder: Path, settings: str = "") -> Iterator[str]:
    """Start one; its host and port.

    Args:
        folder: is made, for its settings and its content.
        settings: more of them, as YAML.
    """
    binary = client("docker-registry")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder.mkdir()
    config, log = folder / "config.yml", folder / "log"
    config.write_text(
        "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
        f"storage: {{filesystem: {{rootdirectory: '{folder / 'data'}'}}}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n{settings}"
    )
    with log.open("w") as out, subprocess.Popen([binary, "serve", str(config)], stdout=out, stderr=out) as server:
        try:
            wait_for(lambda: server.poll() is not None or _answers(port), "docker-registry")
            assert server.poll() is None, log.read_text()
            yield f"127.0.0.1:{port}"
        finally:
            server.terminate()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
