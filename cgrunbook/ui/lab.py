"""JupyterLab on a folder with the notebooks: with which settings it is started.

It knows JupyterLab's options. It does not know what is in the notebooks, and it changes nothing of the user's own
settings, theme or extensions.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from jupyter_core.paths import jupyter_runtime_dir

from cgrunbook.home import made, python_path
from cgrunbook.run.folder import write_whole
from cgrunbook.run.kernels import KERNEL, private_folder
from cgrunbook.ui.first_cell import OPTION

FIRST = "00_start_here.ipynb"

# A folder of extensions, with ours in it.
EXTENSION = Path(__file__).parent / "lab_extension"

# The part of JupyterLab that asks whether it may fetch news, and does.
_ANNOUNCEMENTS = "@jupyterlab/apputils-extension:announcements"

# A socket is called `kernel-`, a UUID, `-ipc-5`; its path may have 103 characters on macOS.
_LONGEST_RUNTIME = 103 - 50


def command(folder: Path, *, port: int | None = None, browser: bool = True) -> list[str]:
    """The command that starts JupyterLab of this environment.

    Args:
        folder: what it shows, with the notebooks in it.
        port: where it listens, on this machine only; None takes the first free one from 8888.
        browser: whether it opens one.
    """
    options = {
        "ServerApp.root_dir": str(folder),
        "LabApp.default_url": f"/lab/tree/{FIRST}",
        # Nothing calls out: no news feed, no look for a newer version, no list of extensions.
        "LabApp.news_url": "None",
        "LabApp.check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
        "LabApp.extension_manager": "readonly",
        # What keeps a page true to its kernel.
        "LabApp.extra_labextensions_path": str(EXTENSION),
        # Kernels are spoken to over files that only the user can open, as those of a headless run.
        "KernelManager.transport": "ipc",
        **({"ServerApp.port": str(port), "ServerApp.port_retries": "0"} if port is not None else {}),
    }
    return [
        *(sys.executable, "-P", "-m", "jupyterlab"),
        *(f"--{name}={value}" for name, value in options.items()),
        *(() if browser else ("--no-browser",)),
        # JupyterLab asks root to say so; who started cgrunbook as root has.
        *(("--allow-root",) if os.geteuid() == 0 else ()),
    ]


def environment(folder: Path, home: Path) -> dict[str, str]:
    """The variables of its process; writes what they point at.

    The tabs of this folder are remembered in a place of their own, so that none of the user's other work is opened
    beside the notebooks, and nobody is asked whether there should be news. The kernel that the notebooks name is this
    interpreter, whatever other kernel of that name the machine has. All else is where the user has it.

    Args:
        folder: what it shows.
        home: CGRUNBOOK_HOME.

    Raises:
        StepFailed: the home cannot be written.
    """
    config = home / "lab" / "config"
    page = config / "labconfig" / "page_config.json"
    # An interpreter has a folder of its own: JupyterLabs of two environments may be open at once.
    data = home / "lab" / "data" / _short(sys.executable)
    kernel = data / "kernels" / "python3" / "kernel.json"
    made(page.parent)
    made(kernel.parent)
    write_whole(page, json.dumps({"disabledExtensions": {_ANNOUNCEMENTS: True}}) + "\n")
    write_whole(
        kernel, json.dumps({"argv": [*KERNEL, OPTION], "display_name": "Python 3", "language": "python"}) + "\n"
    )
    return {
        **os.environ,
        "PYTHONPATH": python_path(),
        **_runtime(),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "lab" / "workspaces" / _short(folder)),
        "JUPYTER_CONFIG_PATH": _before("JUPYTER_CONFIG_PATH", config),
        "JUPYTER_PATH": _before("JUPYTER_PATH", data),
    }


def _runtime() -> dict[str, str]:
    """Where kernels' files are: where Jupyter has them, unless a socket's path would be longer than a system takes."""
    folder = jupyter_runtime_dir()
    if len(folder) <= _LONGEST_RUNTIME:
        return {}
    # This process becomes JupyterLab, and the folder's lock is held as long as that lives.
    private, lock = private_folder()
    os.set_inheritable(lock, True)
    return {"JUPYTER_RUNTIME_DIR": str(private)}


def _short(path: str | os.PathLike[str]) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:16]


def _before(variable: str, folder: Path) -> str:
    """A variable's list of folders, with one more in front."""
    return os.pathsep.join([str(folder), *filter(None, [os.environ.get(variable)])])


def start(words: list[str], variables: Mapping[str, str]) -> None:
    """Become JupyterLab: this process ends when it ends, with its exit code."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(words[0], words, dict(variables))  # noqa: S606 - no shell is wanted
