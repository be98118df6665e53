"""A JupyterLab server of the tests' own: a free port, a random token, folders that nobody else uses, nothing called outside.

Each test gets a kernel of its own name, whose environment says which CGRUNBOOK_HOME it works in; so one server serves
them all.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat as nbformat_

from cgrunbook.ui.first_cell import OPTION
from cgrunbook.ui.lab import EXTENSION
from tests.notebooks.worlds import NOTEBOOKS

nbformat: Any = nbformat_

_QUIET_SETTINGS = {
    # Asked on the first start otherwise; neither may be fetched here.
    "@jupyterlab/apputils-extension/notification.jupyterlab-settings": {"fetchNews": "false", "checkForUpdates": False},
    # So that a tab's reader, and not the server, says whether it is light or dark.
    "@jupyterlab/apputils-extension/themes.jupyterlab-settings": {"adaptive-theme": True},
}
_READY = re.compile(r"is running at:")
_ADDRESS = re.compile(r"(http://127\.0\.0\.1:\d+)/lab")


@dataclass(frozen=True)
class Lab:
    """A running server.

    Attributes:
        address: scheme, host and port.
        token: what lets a browser in.
        root: the folder that it shows.
        data: JUPYTER_DATA_DIR, where kernels can be added.
    """

    address: str
    token: str
    root: Path
    data: Path

    def add_kernel(self, name: str, environment: dict[str, str]) -> None:
        """Offer a kernel that runs in an environment."""
        folder = self.data / "kernels" / name
        folder.mkdir(parents=True)
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", OPTION]
        kernel = {"argv": argv, "display_name": "Python 3", "language": "python", "env": environment}
        (folder / "kernel.json").write_text(json.dumps(kernel))

    def copy_notebooks(self, folder: str, kernel: str) -> Path:
        """The project's notebooks as a user gets them, without outputs, for a kernel; answers where they are."""
        there = self.root / folder
        there.mkdir()
        for path in NOTEBOOKS.glob("*.ipynb"):
            notebook = nbformat.read(path, as_version=4)
            for cell in notebook.cells:
                if cell.cell_type == "code":
                    cell.outputs, cell.execution_count = [], None
            notebook.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": kernel}
            nbformat.write(notebook, there / path.name)
        return there

    def url(self, workspace: str, path: str) -> str:
        """Where a browser finds a notebook, in a workspace of its own."""
        return f"{self.address}/lab/workspaces/{workspace}/tree/{path}?token={self.token}"


@contextmanager
def running_lab(folder: Path, *, before: Lab | None = None) -> Iterator[Lab]:
    """Start a server and end it.

    Args:
        folder: for all that it reads and writes; empty, or with what a server had there before.
        before: that server, which has ended; it is this one's address and token.
    """
    root, config, data, runtime = (folder / name for name in ("root", "config", "data", "runtime"))
    for each in (root, config, data, runtime):
        each.mkdir(parents=True, exist_ok=True)
    for name, settings in _QUIET_SETTINGS.items():
        path = config / "lab" / "user-settings" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(settings))
    token = before.token if before else secrets.token_hex(16)
    port = before.address.rsplit(":", 1)[1] if before else str(_free_port())
    environment = {
        **{
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("JPY_", "JUPYTER", "CGRUNBOOK_RUN"))
        },
        "JUPYTER_CONFIG_DIR": str(config),
        "JUPYTER_DATA_DIR": str(data),
        "JUPYTER_RUNTIME_DIR": str(runtime),
        "JUPYTER_TOKEN": token,  # not in the process table, as an argument would be
    }
    command = [
        *(
            sys.executable,
            "-m",
            "jupyter",
            "lab",
            "--no-browser",
            "--ServerApp.ip=127.0.0.1",
            f"--ServerApp.port={port}",
        ),
        *(f"--ServerApp.root_dir={root}", "--ServerApp.allow_root=True", "--LabApp.expose_app_in_browser=True"),
        "--MappingKernelManager.cull_idle_timeout=0",
        f"--LabApp.extra_labextensions_path={EXTENSION}",
    ]
    with (
        (folder / "server.log").open("w") as log,
        subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdout=log, text=True) as server,
    ):
        try:
            address = _address_of(server)
            threading.Thread(target=_drain, args=(server, log), daemon=True).start()
            yield Lab(address, token, root, data)
        finally:
            server.terminate()
            try:
                server.wait(timeout=30)
            except subprocess.TimeoutExpired:  # on a machine with too much to do, which is no test's fault
                server.kill()


def _free_port() -> int:
    """A port that no other program is given by the system meanwhile: the server may end and come back on it."""
    for port in secrets.SystemRandom().sample(range(20_000, 32_000), 100):
        with socket.socket() as tried, contextlib.suppress(OSError):
            tried.bind(("127.0.0.1", port))
            return port
    raise AssertionError("none of a hundred ports is free")


def _address_of(server: subprocess.Popen[str]) -> str:
    """Read what the server says until it says where it is."""
    assert server.stderr is not None
    said, ready = [], False
    for line in server.stderr:
        said.append(line)
        ready = ready or bool(_READY.search(line))
        found = _ADDRESS.search(line)
        if ready and found:
            return found[1]
    raise AssertionError("JupyterLab did not come up:\n" + "".join(said))


def _drain(server: subprocess.Popen[str], log: Any) -> None:
    assert server.stderr is not None
    for line in server.stderr:
        if not log.closed:
            log.write(line)
