"""Is somebody there who can click? Asked in real kernels, driven by all the programs that execute notebooks."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import pytest
from jupyter_client.manager import start_new_kernel

from cgrunbook.ui.front_end import names_a_cell, somebody_can_click

ASK = """\
from IPython import get_ipython
from cgrunbook.ui.front_end import somebody_can_click
print(somebody_can_click(get_ipython()))"""

# Every way of executing a notebook without a person, given the file to execute and the file to write.
PROGRAMS = {
    "papermill": lambda notebook, out: ["-m", "papermill", notebook, out, "--kernel", "python3"],
    "jupyter-execute": lambda notebook, out: ["-m", "jupyter", "execute", notebook, f"--output={out}"],
    "nbconvert": lambda notebook, out: [
        *["-m", "jupyter", "nbconvert", "--execute", "--to", "notebook"],
        *[notebook, "--output", out],
    ],
}


@contextmanager
def kernel(**variables: str) -> Iterator[Any]:
    """A kernel of this interpreter, and a client that is connected to it."""
    manager, client = start_new_kernel(kernel_name="python3", env={**os.environ, **variables})
    try:
        yield client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def said(client: Any, code: str, *, allow_stdin: bool) -> str:
    """What a cell printed."""
    request = client.execute(code, allow_stdin=allow_stdin)
    printed = ""
    while True:
        try:
            message = client.get_iopub_msg(timeout=60)
        except queue.Empty:
            raise AssertionError(f"the kernel went silent after: {printed}") from None
        if message["parent_header"].get("msg_id") != request:
            continue
        if message["msg_type"] == "stream":
            printed += message["content"]["text"]
        if message["msg_type"] == "error":
            raise AssertionError(message["content"])
        if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
            return printed.strip()


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    """A notebook that asks, in its only cell."""
    path = tmp_path / "asks.ipynb"
    cell = nbformat.v4.new_code_cell(ASK)
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata=metadata), path)
    return path


def answer_in(path: Path) -> str:
    [cell] = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    return str(cell.outputs[0].text).strip()


def test_each_cell_is_judged_by_whoever_sent_it():
    with kernel() as client:
        assert said(client, ASK, allow_stdin=True) == "True"
        assert said(client, ASK, allow_stdin=False) == "False"
        assert said(client, ASK, allow_stdin=True) == "True"


def test_after_an_await_and_in_a_task_of_the_cell_the_answer_is_the_same():
    code = f"{ASK}\nimport asyncio\nawait asyncio.sleep(0)\nprint(somebody_can_click(get_ipython()))"
    with kernel() as client:
        assert said(client, code, allow_stdin=False).split() == ["False", "False"]
        assert said(client, code, allow_stdin=True).split() == ["True", "True"]


@pytest.mark.parametrize("program", PROGRAMS)
def test_nobody_is_there_when_a_program_executes_the_notebook(program: str, notebook: Path):
    out = notebook.with_name("executed.ipynb")
    words = PROGRAMS[program](str(notebook), str(out))
    subprocess.run([sys.executable, *words], check=True, capture_output=True, text=True, cwd=notebook.parent)
    assert answer_in(out) == "False"


def test_nobody_is_there_when_papermill_runs_inside_a_notebook_that_a_person_has_open(notebook: Path):
    out = notebook.with_name("executed.ipynb")
    code = f"""
import os, subprocess, sys
from cgrunbook.ui.front_end import somebody_can_click
assert os.environ["JPY_SESSION_NAME"] and somebody_can_click(get_ipython())
words = [sys.executable, "-m", "papermill", {str(notebook)!r}, {str(out)!r}, "--kernel", "python3"]
print(subprocess.run(words, capture_output=True).returncode)"""
    with kernel(JPY_SESSION_NAME="/home/ada/mine.ipynb") as client:
        assert said(client, code, allow_stdin=True) == "0"
    assert answer_in(out) == "False"


def test_nobody_is_there_for_nbval(notebook: Path):
    committed = nbformat.read(notebook, as_version=4)
    committed.cells[0].execution_count = 1
    committed.cells[0].outputs = [nbformat.v4.new_output("stream", name="stdout", text="False\n")]
    nbformat.write(committed, notebook)
    words = ["-m", "pytest", "--nbval", "--nbval-current-env", "-p", "no:cacheprovider", "-c", os.devnull]
    done = subprocess.run(
        [sys.executable, *words, str(notebook)], check=False, capture_output=True, text=True, cwd=notebook.parent
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("shell", "answer"),
    [
        (None, False),
        (SimpleNamespace(), False),
        (SimpleNamespace(kernel=None), False),
        (SimpleNamespace(kernel=SimpleNamespace(get_parent=lambda _: {})), False),
        (SimpleNamespace(kernel=SimpleNamespace(get_parent=lambda _: {"content": {}})), False),
        (SimpleNamespace(kernel=SimpleNamespace(get_parent=lambda _: {"content": {"allow_stdin": True}})), True),
    ],
)
def test_in_doubt_nobody_is_there(shell: Any, answer: bool):
    assert somebody_can_click(shell) is answer


@pytest.mark.parametrize(
    ("metadata", "names"),
    [({"cellId": "5d0c", "deletedCells": [], "recordTiming": False}, True), ({}, False), (None, False)],
)
def test_a_page_that_names_its_cell_is_told_from_a_console(metadata: dict[str, Any] | None, *, names: bool):
    request = {"content": {"allow_stdin": True}} | ({} if metadata is None else {"metadata": metadata})
    shell = SimpleNamespace(kernel=SimpleNamespace(get_parent=lambda _: request))
    assert names_a_cell(shell) is names
    assert not names_a_cell(None)
