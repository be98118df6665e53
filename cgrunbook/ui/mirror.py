"""What each cell of this kernel shows: a page that was reloaded while cells ran is told, and shows it in its place.

JupyterLab keeps what a cell shows in the page that sent it, and saves it every other minute; a reloaded page has the
file, and hears nothing of the cells that go on running. The page's part is in lab_extension/. This knows Jupyter's
messages, and nothing of what is shown.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from cgrunbook.run.kernel_output import hear_output
from cgrunbook.ui.door import Door, door_of

# A page asks for the comms of this name; in the answer it finds what it wants to know.
ASKED = "cgrunbook"

# The type of a message that tells the pages to save: no other client of a kernel looks at it.
SAVE = "cgrunbook_save"

_OUTPUTS = {"display_data", "execute_result", "stream", "error"}

# Characters that are kept of what a cell writes to a stream without a pause, the last ones: it may write for hours.
STREAM_CHARACTERS = 200_000


@dataclass
class _Cell:
    """What a cell shows since it was run last.

    Attributes:
        request: the number of the request that ran it.
        count: what stands in its brackets.
        outputs: the messages, by type and content.
        ended: whether it runs no more.
    """

    request: str
    count: int | None = None
    outputs: list[dict[str, Any]] = field(default_factory=list)
    ended: bool = False
    clear_next: bool = False

    def hear(self, kind: str, content: dict[str, Any]) -> None:
        """Take a message as a page does."""
        if kind == "execute_input":
            self.count = content["execution_count"]
        elif kind == "status":
            self.ended = content["execution_state"] == "idle"
        elif kind == "clear_output":
            self.clear_next = bool(content.get("wait"))
            if not self.clear_next:
                self.outputs.clear()
        elif kind in _OUTPUTS:
            if self.clear_next:
                self.outputs.clear()
                self.clear_next = False
            last = self.outputs[-1] if self.outputs else {}
            if kind == "stream" == last.get("type") and content["name"] == last["content"]["name"]:
                # One output, as on the page.
                text = f"{last['content']['text']}{content['text']}"
                last["content"] = {**content, "text": text[-STREAM_CHARACTERS:]}
            else:
                self.outputs.append({"type": kind, "content": content})

    def update(self, content: dict[str, Any]) -> None:
        """Let a display take the place of the one of its name."""
        name = content["transient"]["display_id"]
        for output in self.outputs:
            if output["content"].get("transient", {}).get("display_id") == name:
                output["content"] = content

    def said(self) -> dict[str, Any]:
        """As a page is told."""
        return {"request": self.request, "count": self.count, "outputs": self.outputs, "ended": self.ended}


class Mirror:
    """What each cell of a kernel shows, from the one on that runs now.

    Args:
        kernel: ipykernel's.
        door: by which pages come in.
    """

    def __init__(self, kernel: Any, door: Door) -> None:
        self._kernel = kernel
        self._door = door
        self._cells: dict[str, _Cell] = {}
        self._info = kernel.shell_handlers["comm_info_request"]
        kernel.shell_handlers["comm_info_request"] = self._comm_info

    def hear(self, message: dict[str, Any]) -> None:
        """A message leaves the kernel, as it is read by pages."""
        kind, parent = message["header"]["msg_type"], message.get("parent_header") or {}
        if kind == "status" and message["content"]["execution_state"] == "idle":
            self._door.ended(str(parent.get("msg_id")))
        if kind == "update_display_data":
            for cell in self._cells.values():
                cell.update(message["content"])
        elif parent.get("msg_type") == "execute_request" and (ran := self._cell(parent["msg_id"])):
            ran.hear(kind, message["content"])

    def have_saved(self) -> None:
        """Tell the pages to save."""
        kernel = self._kernel
        kernel.session.send(kernel.iopub_socket, SAVE, {}, parent=kernel.get_parent("shell"))

    def _cell(self, request: str) -> _Cell | None:
        known = next((cell for cell in self._cells.values() if cell.request == request), None)
        if known:
            return known
        running = self._door.running
        if running.number != request or not running.cell:
            return None
        # It stands at the end, as the newest.
        self._cells.pop(running.cell, None)
        return self._cells.setdefault(running.cell, _Cell(request, self._kernel.shell.execution_count))

    async def _comm_info(self, stream: Any, identities: Any, message: dict[str, Any]) -> None:
        if message["content"].get("target_name") != ASKED:
            await self._info(stream, identities, message)
            return
        told = {
            "cells": {name: cell.said() for name, cell in self._cells.items()},
            "queued": self._door.queued(),
        }
        content = {"status": "ok", "comms": {}, ASKED: told}
        self._kernel.session.send(stream, "comm_info_reply", content, message, identities)


_mirror: Mirror | None = None


def reflect(kernel: Any) -> None:
    """Keep what this kernel's cells show, from now on; in a second call, and in a kernel of another kind, nothing is done."""
    global _mirror  # noqa: PLW0603 - a process is one kernel
    door = door_of(kernel)
    if door is not None and _mirror is None:
        _mirror = Mirror(kernel, door)
        hear_output(kernel, _mirror.hear)


def have_saved() -> None:
    """Have the page save its notebook: what it shows now is to be found there whatever happens."""
    if _mirror is not None:
        _mirror.have_saved()
