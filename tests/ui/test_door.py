"""A kernel whose cell waits for a click, and a second page that comes to it: as JupyterLab speaks, without a browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import start_new_kernel

from tests.sandboxes import sandbox_home

OPEN = """
from cgrunbook import open_notebook, steps
target, mode, project_id, location = "sandbox", "apply", "", "us-central1"
book = await open_notebook("02", globals())
"""
ASK = "await book.perform(steps.EnableApi(steps.ARTIFACT_REGISTRY))"

# So that all of them wait for their turn before the notebook is opened.
UNTIL_ALL_WAIT = """
import asyncio
while len(get_ipython().kernel._main_asyncio_lock._waiters or ()) < 3:
    await asyncio.sleep(0.01)
"""


class Page:
    """One client of a kernel, which sends its cells under their names."""

    def __init__(self, connection: str) -> None:
        self.client: Any = BlockingKernelClient(connection_file=connection)
        self.client.load_connection_file()
        self.client.start_channels()
        self.replies: dict[str, dict[str, Any]] = {}
        self.below = ""

    def send(self, kind: str, content: dict[str, Any], metadata: dict[str, Any] | None = None) -> str:
        message = self.client.session.msg(kind, content, metadata=metadata)
        self.client.shell_channel.send(message)
        return str(message["header"]["msg_id"])

    def begin(self, cell: str, code: str) -> str:
        content = {"code": code, "silent": False, "store_history": True, "allow_stdin": True, "stop_on_error": True}
        return self.send("execute_request", content, {"cellId": cell})

    def reply(self, request: str) -> dict[str, Any]:
        """What is answered, whatever is answered before it."""
        while request not in self.replies:
            message = self.client.get_shell_msg(timeout=30)
            self.replies[message["parent_header"]["msg_id"]] = message["content"]
        return self.replies[request]

    def until(self, text: str, request: str) -> None:
        """Wait until a cell shows a text."""
        while True:
            message = self.client.get_iopub_msg(timeout=30)
            if message["parent_header"].get("msg_id") == request and text in str(message["content"]):
                return

    def state(self) -> dict[str, Any]:
        """What the kernel tells a page that was reloaded."""
        state: dict[str, Any] = self.reply(self.send("comm_info_request", {"target_name": "cgrunbook"}))["cgrunbook"]
        return state


@pytest.fixture
def pages(tmp_path: Path) -> Iterator[tuple[Page, Page]]:
    """Two pages on one kernel, whose notebook asks in the first, with a cell below it waiting for its turn."""
    with sandbox_home(tmp_path / "home") as home:
        (home / "parameters.json").write_text('{"target": "sandbox"}')
        manager, client = start_new_kernel(kernel_name="python3", cwd=str(tmp_path))
        client.stop_channels()
        first, second = Page(manager.connection_file), Page(manager.connection_file)
        try:
            first.begin("parameters", UNTIL_ALL_WAIT)
            opened, asked = first.begin("open", OPEN), first.begin("ask", ASK)
            first.below = first.begin("below", "below = 'of the first'")
            assert first.reply(opened)["status"] == "ok"
            first.until("Approve, Decline", asked)
            yield first, second
        finally:
            first.client.stop_channels()
            second.client.stop_channels()
            manager.shutdown_kernel(now=True)


def test_a_page_that_comes_while_a_cell_waits_is_answered_and_a_cell_run_again_gives_way(pages):
    first, second = pages
    below = first.below  # sent with the opening cell, before the kernel kept count
    assert second.reply(second.send("kernel_info_request", {}))["status"] == "ok"
    state = second.state()
    assert state["queued"] == {"below": below}
    assert list(state["cells"]) == ["open", "ask"]
    asking = state["cells"]["ask"]
    assert not asking["ended"]
    assert "to be created" in asking["outputs"][0]["content"]["data"]["text/plain"]
    assert "Approve" in asking["outputs"][1]["content"]["data"]["text/plain"]

    # The second page runs all again: the question gives way, what the first had sent is dropped, nothing of the second is.
    opened, asked = second.begin("open", OPEN), second.begin("ask", ASK)
    assert first.reply(state["cells"]["ask"]["request"])["evalue"].startswith(
        "Enable the Artifact Registry API: asked anew"
    )
    assert first.reply(below)["status"] == "aborted"
    assert second.reply(opened)["status"] == "ok"
    second.until("Approve, Decline", asked)
    shown = second.state()["cells"]
    assert shown["open"]["ended"]
    assert shown["ask"]["request"] == asked
    assert not shown["ask"]["ended"]
