"""The real gcloud in the sandbox's environment, and Google's Python clients beside it, for a module's tests to share."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shlex
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from google.cloud import artifactregistry_v1, resourcemanager_v3, secretmanager_v1, service_usage_v1
from google.oauth2.credentials import Credentials

from cgrunbook.sandbox import hosts, process, settings
from tests.clients.programs import client

PROJECT = f"projects/{settings.PROJECT_ID}"
NUMBERED = f"projects/{settings.PROJECT_NUMBER}"
AGENT = f"service-{settings.PROJECT_NUMBER}@gcp-sa-artifactregistry.iam.gserviceaccount.com"


class Refused(Exception):
    """gcloud ended with an exit code; the message is what it wrote to stderr."""


# Started by a shell: its streams are told by where the system has them.
_ASKING = """\
#!/bin/sh
'''exec' {python} -IS "$0" "$@"
'''
import json, os, socket, sys, tempfile
with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as asking:
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        os.symlink(f"/proc/{{os.getpid()}}/fd/{{number}}", os.path.join(folder, name))
    asking.connect({socket!r})
    words = [word.replace("/dev/fd/", f"/proc/{{os.getpid()}}/fd/") for word in sys.argv[1:]]
    asked = dict(words=words, cwd=os.getcwd(), environment=dict(os.environ), folder=folder)
    asking.sendall(json.dumps(asked).encode() + b"\\n")
    code = int(asking.makefile().readline())
sys.exit(code)
"""


class Gcloud(ExitStack):
    """gcloud, called as a person calls it in a shell after `eval "$(cgrunbook sandbox env)"`.

    It is the real one, whose Python is started once for all commands: `gcloud_kept_warm.py` says how.

    Args:
        running: The sandbox.
    """

    def __init__(self, running: process.Running) -> None:
        super().__init__()
        program = client("gcloud")
        self.running = running
        self.variables = os.environ | process.environment(running)
        self._folder = Path(self.enter_context(tempfile.TemporaryDirectory(prefix="gcloud-")))
        self._process = self.enter_context(
            subprocess.Popen(
                [program],
                cwd=Path(__file__).parent,
                env=self.variables | {"CLOUDSDK_PYTHON_ARGS": "-S gcloud_kept_warm.py"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
            )
        )

    def text(self, *arguments: str, stdin: str = "") -> str:
        """Run a command; what it prints."""
        for name, text in (("stdin", stdin), ("stdout", ""), ("stderr", "")):
            (self._folder / name).write_text(text)
        if self._code({"words": arguments, "cwd": str(Path.cwd()), "folder": str(self._folder)}):
            raise Refused((self._folder / "stderr").read_text())
        return (self._folder / "stdout").read_text()

    def _code(self, asked: Any) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asked).encode() + b"\n")
        assert select.select([self._process.stdout], [], [], 120)[0], f"gcloud {asked['words']} does not end"
        return int(self._process.stdout.readline())

    def program(self) -> Path:
        """A program for a shell, which is this gcloud with the shell's own environment and streams; it lasts as long as this."""
        path, listening = self._folder / "gcloud", socket.socket(socket.AF_UNIX)
        listening.bind(str(self._folder / "socket"))
        listening.listen()

        def answer() -> None:
            with contextlib.suppress(OSError):  # shut down
                while True:
                    connection, _ = listening.accept()
                    with connection, connection.makefile("rw") as lines:
                        lines.write(f"{self._code(json.loads(lines.readline()))}\n")

        answering = threading.Thread(target=answer)
        self.callback(answering.join)
        self.callback(listening.close)
        self.callback(listening.shutdown, socket.SHUT_RDWR)
        answering.start()
        path.write_text(_ASKING.format(python=shlex.quote(sys.executable), socket=str(self._folder / "socket")))
        path.chmod(0o755)
        return path

    def __call__(self, *arguments: str, stdin: str = "") -> Any:
        """Run a command; its answer as data."""
        return json.loads(self.text(*arguments, "--format=json", stdin=stdin) or "null")


class Clients:
    """Google's Python clients over REST, as the sandbox's operator.

    Args:
        running: The sandbox.
    """

    def __init__(self, running: process.Running) -> None:
        credentials = Credentials(running.access_token_file.read_text())

        def made(kind: Any, host: str) -> Any:
            options = {"api_endpoint": f"http://{running.hosts[host]}"}
            return kind(credentials=credentials, transport="rest", client_options=options)

        self.artifacts = made(artifactregistry_v1.ArtifactRegistryClient, hosts.ARTIFACT_REGISTRY)
        self.secrets = made(secretmanager_v1.SecretManagerServiceClient, hosts.SECRET_MANAGER)
        self.services = made(service_usage_v1.ServiceUsageClient, hosts.SERVICE_USAGE)
        self.projects = made(resourcemanager_v3.ProjectsClient, hosts.RESOURCE_MANAGER)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[process.Running]:
    """A sandbox in which nothing waits, for all tests of a module; each takes names of its own."""
    home: Path = tmp_path_factory.mktemp("gcloud") / "home"
    found = process.start(home, iam_delay=0.0, agent_delay=0.0)
    yield found
    process.reset(home)


@pytest.fixture(scope="module")
def clients(running: process.Running) -> Clients:
    """Google's Python clients."""
    return Clients(running)


@pytest.fixture(scope="module")
def fresh_gcloud(running: process.Running) -> Iterator[Gcloud]:
    """gcloud on the sandbox as it is."""
    with Gcloud(running) as started:
        yield started


@pytest.fixture(scope="module")
def gcloud(fresh_gcloud: Gcloud, clients: Clients) -> Gcloud:
    """gcloud on a project where the guide's APIs are enabled."""
    names = [hosts.ARTIFACT_REGISTRY, hosts.SECRET_MANAGER]
    clients.services.batch_enable_services({"parent": PROJECT, "service_ids": names}).result(timeout=30)
    return fresh_gcloud
