"""A docker engine of the tests' own: dockerd on a socket in a short temporary folder, gone with all it started."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.clients.programs import absent, client
from tests.real_names.world import Machine
from tests.waiting import wait_for


@contextlib.contextmanager
def docker_engine(machine: Machine | None = None, storage: str = "vfs") -> Iterator[str]:
    """Start an engine without networks, which pulls and keeps images; its DOCKER_HOST.

    It needs root. The folder's name is short because a socket's path has at most 108 characters.

    Args:
        machine: where the engine runs, and finds the registries; None for here.
        storage: how it keeps layers: vfs works everywhere, and copies all that is below for each.
    """
    dockerd = client("dockerd")
    client("docker")
    if os.geteuid() != 0:
        absent("dockerd runs as root only, which this is not")
    folder = Path(tempfile.mkdtemp(prefix="de"))
    address = f"unix://{folder}/s"
    command = [dockerd, "--data-root", folder / "data", "--exec-root", folder / "exec", "--pidfile", folder / "pid"]
    command += [
        "--host",
        address,
        "--iptables=false",
        "--ip6tables=false",
        "--bridge=none",
        f"--storage-driver={storage}",
    ]
    words = [*map(str, command)]
    if machine is not None:
        search = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "SSL_CERT_FILE": str(machine.authority)}
        words = machine.entered(*command, **search)
    log = folder / "log"
    try:
        with log.open("w") as out, subprocess.Popen(words, stdout=out, stderr=out) as engine:
            try:
                wait_for(lambda: engine.poll() is not None or _answers(address))
                if engine.poll() is not None:
                    absent(f"dockerd does not run here: {log.read_text().splitlines()[-1]}")
                yield address
            finally:
                if machine is not None:  # what was started here only entered the machine
                    machine.run("/bin/kill", (folder / "pid").read_text())
                else:
                    engine.terminate()
                try:
                    engine.wait(30)
                except subprocess.TimeoutExpired:
                    engine.kill()
                    _end_containerd(folder)
    finally:
        shutil.rmtree(folder)


def _answers(address: str) -> bool:
    words = ["docker", "--host", address, "version"]
    return subprocess.run(words, capture_output=True, check=False, timeout=30).returncode == 0


def _end_containerd(folder: Path) -> None:
    """End what a dockerd that had to be killed could not end itself."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        os.kill(int((folder / "exec" / "containerd" / "containerd.pid").read_text()), signal.SIGKILL)
