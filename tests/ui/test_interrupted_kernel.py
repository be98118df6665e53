"""SIGINT in a real kernel whose cell waits for a person or for a step: it is heard, and the next cell works."""

from __future__ import annotations

import os
import queue
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from jupyter_client.manager import start_new_kernel

from tests.sandboxes import sandbox_home

OPEN = """
target, mode, project_id, location = "sandbox", "apply", "", "us-central1"
from cgrunbook import open_notebook, steps
book = await open_notebook("02", globals())
"""

SLOW = """
from cgrunbook.steps.step import Evidence, Progress, Proof, Section
class Slow(Proof):
    section, why, title = Section.PREREQUISITES, "To be interrupted.", "Take long"
    def verify(self, world):
        world.progress(Progress("at work"))
        world.cloud.attempts.pause(600, "something that takes long")
        return Evidence()
await book.perform(Slow())
"""


class Kernel:
    """A kernel with a front end that listens to all it says."""

    def __init__(self, manager: Any, client: Any) -> None:
        self._manager, self._client = manager, client

    def begin(self, code: str) -> str:
        return str(self._client.execute(code, allow_stdin=True))

    def interrupt(self) -> None:
        self._manager.provisioner.process.send_signal(signal.SIGINT)

    def listen(self, request: str, until: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
        """The messages of a request up to the one that is waited for."""
        heard: list[dict[str, Any]] = []
        while not heard or not until(heard[-1]):
            try:
                message = self._client.get_iopub_msg(timeout=60)
            except queue.Empty:
                raise AssertionError(f"the kernel went silent after {[each['msg_type'] for each in heard]}") from None
            if message["parent_header"].get("msg_id") == request:
                heard.append(message)
        return heard

    def reply(self, request: str) -> dict[str, Any]:
        """What the kernel answered to a request, in the end."""
        while (message := self._client.get_shell_msg(timeout=60))["parent_header"].get("msg_id") != request:
            pass
        content: dict[str, Any] = message["content"]
        return content

    def run(self, code: str) -> list[dict[str, Any]]:
        return self.listen(self.begin(code), ended)


def ended(message: dict[str, Any]) -> bool:
    return bool(message["content"].get("execution_state") == "idle")


def shows(text: str) -> Callable[[dict[str, Any]], bool]:
    return lambda message: text in str(message["content"].get("data", ""))


def displayed(messages: list[dict[str, Any]]) -> list[str]:
    return [
        message["content"]["data"]["text/plain"]
        for message in messages
        if message["msg_type"] in ("display_data", "update_display_data")
    ]


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with sandbox_home(tmp_path_factory.mktemp("cgrunbook")) as home:
        yield home


@contextmanager
def a_kernel(folder: Path) -> Iterator[Kernel]:
    with patch.dict(os.environ, {"CGRUNBOOK_RUN_FOLDER": str(folder)}):
        manager, client = start_new_kernel(kernel_name="python3", cwd=str(folder))
    try:
        yield Kernel(manager, client)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


@pytest.fixture
def opened(home, tmp_path):
    (home / "parameters.json").write_text('{"target": "sandbox"}')
    with a_kernel(tmp_path) as kernel:
        kernel.run(OPEN)
        yield kernel


def interrupted(kernel: Kernel, request: str) -> list[str]:
    """What a cell that was interrupted shows: it ends as failed, its card says why, and there is no error besides."""
    heard = kernel.listen(request, ended)
    assert not [message for message in heard if message["msg_type"] == "error"]
    assert kernel.reply(request)["ename"] == "Interrupted"
    return displayed(heard)


def test_an_interrupt_is_heard_while_a_plan_waits_for_its_click(opened):
    request = opened.begin("await book.perform(steps.EnableApi(steps.ARTIFACT_REGISTRY))")
    opened.listen(request, shows("Approve, Decline"))
    opened.interrupt()
    shown = interrupted(opened, request)
    assert shown[-1].startswith("✗ interrupted: Enable the Artifact Registry API")
    assert "created" not in str(displayed(opened.run("await book.perform(steps.CheckGoogleCloud())")))


def test_an_interrupt_is_heard_while_a_step_works(opened):
    request = opened.begin(SLOW)
    opened.listen(request, shows("waiting for something that takes long"))
    opened.interrupt()
    shown = interrupted(opened, request)
    assert shown[-1].startswith("✗ interrupted: Take long")
    assert shows("2")(next(m for m in opened.run("1 + 1") if m["msg_type"] == "execute_result"))


def test_an_interrupt_is_heard_while_the_form_waits(home, tmp_path):
    (home / "parameters.json").unlink(missing_ok=True)
    with a_kernel(tmp_path) as kernel:
        request = kernel.begin(OPEN)
        kernel.listen(request, shows("A form"))
        kernel.interrupt()
        shown = interrupted(kernel, request)
        assert "run this cell again" in shown[-1]
        assert not (home / "parameters.json").exists()


def test_a_cell_run_again_after_an_interrupt_goes_on(opened):
    request = opened.begin("await book.perform(steps.EnableApi(steps.SECRET_MANAGER))")
    opened.listen(request, shows("Approve, Decline"))
    opened.interrupt()
    opened.listen(request, ended)
    request = opened.begin("await book.perform(steps.EnableApi(steps.SECRET_MANAGER))")
    heard = opened.listen(request, shows("Approve, Decline"))
    of_the_cell = [text for text in displayed(heard) if not text.startswith("▸")]  # which is the opening cell's
    assert of_the_cell[0].startswith("? to be created: Enable the Secret Manager API")
    opened.interrupt()
    opened.listen(request, ended)
