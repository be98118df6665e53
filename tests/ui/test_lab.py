"""`cgrunbook lab`: what is copied, what it is started with, and that nothing of the user's own is lost."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from traitlets.config import Config

from cgrunbook.cli import main
from cgrunbook.errors import StepFailed
from cgrunbook.run import notebooks
from cgrunbook.ui import lab


def options(words):
    return dict(word.removeprefix("--").split("=", 1) for word in words if "=" in word)


def test_notebooks_are_copied_once_and_never_over_what_is_there(tmp_path):
    first = notebooks.copy(tmp_path / "work")
    assert {path.name for path in first.made} >= {"00_start_here.ipynb", "02_developer_images.ipynb"}
    assert first.there == ()
    mine = tmp_path / "work" / "02_developer_images.ipynb"
    mine.write_text("mine")
    (tmp_path / "work" / "00_start_here.ipynb").unlink()
    second = notebooks.copy(tmp_path / "work")
    assert [path.name for path in second.made] == ["00_start_here.ipynb"]
    assert mine in second.there
    assert mine.read_text() == "mine"


def test_a_copy_shows_nothing_that_was_run_elsewhere_and_is_the_same_but_for_that(tmp_path):
    copied = notebooks.copy(tmp_path / "work").made
    for path in copied:
        mine, shipped = (
            json.loads((folder / path.name).read_text()) for folder in (path.parent, notebooks.shipped_in())
        )
        codes = [cell for cell in mine["cells"] if cell["cell_type"] == "code"]
        assert {(cell["execution_count"], len(cell["outputs"])) for cell in codes} == {(None, 0)}
        for cell in shipped["cells"]:
            if cell["cell_type"] == "code":
                cell.update(execution_count=None, outputs=[])
        assert mine == shipped
    assert any(cell["outputs"] for cell in json.loads((notebooks.shipped_in() / lab.FIRST).read_text())["cells"][1:3])


def test_a_copy_that_breaks_off_leaves_no_half_notebook(tmp_path, monkeypatch):
    (tmp_path / "from").mkdir()
    (tmp_path / "from" / "00.ipynb").write_text("{}")

    def no_room(self):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "read_bytes", no_room)
    with pytest.raises(StepFailed, match="No space left on device"):
        notebooks.copy(tmp_path / "to", tmp_path / "from")
    assert list((tmp_path / "to").iterdir()) == []


def test_it_starts_on_the_first_notebook_and_calls_nobody(tmp_path):
    given = options(lab.command(tmp_path))
    assert given["ServerApp.root_dir"] == str(tmp_path)
    assert given["LabApp.default_url"] == "/lab/tree/00_start_here.ipynb"
    assert (notebooks.shipped_in() / lab.FIRST).exists()
    assert given["LabApp.news_url"] == "None"
    assert given["LabApp.check_for_updates_class"] == "jupyterlab.NeverCheckForUpdate"
    assert given["LabApp.extension_manager"] == "readonly"


def test_jupyterlab_knows_every_option_that_it_is_given(tmp_path):
    from jupyter_client.manager import KernelManager
    from jupyter_server.serverapp import ServerApp
    from jupyterlab.labapp import LabApp

    known = {"ServerApp": ServerApp, "LabApp": LabApp, "KernelManager": KernelManager}
    for name in options(lab.command(tmp_path, port=1)):
        owner, _, trait = name.partition(".")
        assert trait in known[owner].class_traits(), name


def test_it_is_this_environments_jupyterlab(tmp_path):
    assert lab.command(tmp_path)[:4] == [sys.executable, "-P", "-m", "jupyterlab"]


def test_its_kernels_speak_over_files_and_run_no_module_of_the_working_folder(tmp_path, monkeypatch):
    work = tmp_path / "work"
    work.mkdir()
    for name in ("json", "traitlets", "sitecustomize", "colorsys"):
        (work / f"{name}.py").write_text("raise SystemExit('a file of the working folder was run')")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", "."]))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", f"/{'long' * 30}")
    variables = lab.environment(tmp_path, tmp_path / "home")
    runtime = Path(variables["JUPYTER_RUNTIME_DIR"])
    assert stat.S_IMODE(runtime.stat().st_mode) == 0o700
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    words = lab.command(tmp_path)
    asyncio.run(_kernel_runs(words[4:], work, runtime))
    assert list(runtime.iterdir()) == []
    runtime.rmdir()


async def _kernel_runs(words: list[str], work: Path, runtime: Path) -> None:
    """Start a kernel as the server that is given these words does; run a cell, restart it, run one more."""
    from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager

    config = Config()
    for name, value in options(words).items():
        owner, _, trait = name.partition(".")
        config[owner][trait] = value
    manager = AsyncMappingKernelManager(config=config, connection_dir=str(runtime))
    identity = await manager.start_kernel(kernel_name="python3", cwd=str(work))
    kernel: Any = manager.get_kernel(identity)
    client: Any = kernel.client()
    client.start_channels()
    try:
        assert kernel.get_connection_info()["transport"] == "ipc"
        for again in (False, True):
            if again:
                await kernel.restart_kernel(now=True)
            await client.wait_for_ready(timeout=60)
            reply = await client.execute_interactive("import colorsys; assert colorsys.rgb_to_hls", timeout=60)
            assert reply["content"]["status"] == "ok"
    finally:
        client.stop_channels()
        await manager.shutdown_kernel(identity, now=True)


def test_a_port_that_is_asked_for_is_the_port_or_none(tmp_path):
    given = options(lab.command(tmp_path, port=9999))
    assert (given["ServerApp.port"], given["ServerApp.port_retries"]) == ("9999", "0")
    assert "ServerApp.port" not in options(lab.command(tmp_path))


def test_a_browser_is_opened_unless_it_is_not_wanted(tmp_path):
    assert "--no-browser" not in lab.command(tmp_path)
    assert "--no-browser" in lab.command(tmp_path, browser=False)


def test_tabs_are_remembered_for_each_folder_and_the_users_settings_stay(tmp_path, monkeypatch):
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", "/somebody/s/own")
    monkeypatch.setenv("JUPYTERLAB_SETTINGS_DIR", "/their/theme")
    one, other = (lab.environment(tmp_path / name, tmp_path / "home") for name in ("one", "other"))
    assert one["JUPYTERLAB_WORKSPACES_DIR"] != other["JUPYTERLAB_WORKSPACES_DIR"]
    assert one["JUPYTERLAB_SETTINGS_DIR"] == "/their/theme"
    assert one["JUPYTER_CONFIG_PATH"].split(os.pathsep)[1:] == ["/somebody/s/own"]


def test_the_notebooks_kernel_is_this_interpreter_whatever_kernels_the_user_has(tmp_path):
    theirs = tmp_path / "theirs" / "kernels" / "python3"
    theirs.mkdir(parents=True)
    (theirs / "kernel.json").write_text(json.dumps({"argv": ["/their/python"], "display_name": "Theirs"}))
    code = "from jupyter_client.kernelspec import KernelSpecManager as M; print(M().get_kernel_spec('python3').argv[0])"
    for variable, folder in (("JUPYTER_PATH", "theirs"), ("JUPYTER_DATA_DIR", "theirs")):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(variable, str(tmp_path / folder))
            patch.setenv("JUPYTER_PREFER_ENV_PATH", "0")
            variables = lab.environment(tmp_path, tmp_path / "home")
        done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == sys.executable


def test_without_jupyterlab_the_verb_says_how_it_is_installed(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "jupyterlab", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SystemExit) as end:
        main(["lab", str(tmp_path / "work")])
    assert end.value.code == 3
    assert "cgrunbook[lab]" in capsys.readouterr().err.replace(str(Path(__file__).parents[2]), "cgrunbook")
    assert not (tmp_path / "work").exists()


def test_nobody_is_asked_about_news(tmp_path, monkeypatch):
    monkeypatch.delenv("JUPYTER_CONFIG_PATH", raising=False)
    variables = lab.environment(tmp_path, tmp_path / "home")
    page = json.loads((Path(variables["JUPYTER_CONFIG_PATH"]) / "labconfig" / "page_config.json").read_text())
    assert page == {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}


def test_the_verb_copies_and_becomes_jupyterlab(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CGRUNBOOK_HOME", str(tmp_path / "home"))
    became = []
    monkeypatch.setattr(os, "execve", lambda path, words, variables: became.append((path, words, variables)))
    with pytest.raises(SystemExit) as end:
        main(["lab", str(tmp_path / "work"), "--port", "9999", "--no-browser"])
    assert end.value.code == 0
    [(path, words, variables)] = became
    assert (path, words[0]) == (sys.executable, sys.executable)
    assert options(words)["ServerApp.root_dir"] == str(tmp_path / "work")
    assert variables["JUPYTERLAB_WORKSPACES_DIR"].startswith(str(tmp_path / "home"))
    assert "notebooks copied, 0 were there already" in capsys.readouterr().out
    assert (tmp_path / "work" / "00_start_here.ipynb").exists()
