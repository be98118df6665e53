"""What is asked of a kernel while one of its cells runs: pages find out what goes on, and a cell that is run again is.

It knows ipykernel's queue (7.3 and newer; with another's, nothing is changed) and no widget, step or page.
"""

from __future__ import annotations

import asyncio
import weakref
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from cgrunbook.errors import Interrupted

# What a page asks first of a kernel that it has found running, and what it does not go on without.
_QUESTIONS = {"kernel_info_request", "comm_info_request"}

# The requests of one Run All are made within this time.
_AT_ONCE = timedelta(seconds=1)

_doors: weakref.WeakKeyDictionary[Any, Door] = weakref.WeakKeyDictionary()


def door_of(kernel: Any) -> Door | None:
    """The door of a kernel, which is set up when it is first asked for; None where the kernel is none of ipykernel's."""
    if kernel is None or kernel not in _doors:
        stream = getattr(getattr(_manager(kernel), "_shell_channel_to_main", None), "to_stream", None)
        if stream is None or not hasattr(kernel, "_main_asyncio_lock") or not hasattr(kernel, "_abort_queues"):
            return None
        _doors[kernel] = Door(kernel, stream)
    return _doors[kernel]


def _manager(kernel: Any) -> Any:
    return getattr(getattr(kernel, "shell_channel_thread", None), "manager", None)


@dataclass(frozen=True)
class _Request:
    """A request to run a cell."""

    number: str
    cell: str
    session: str
    date: Any

    @classmethod
    def of(cls, message: dict[str, Any]) -> _Request:
        header = message["header"]
        cell = message["metadata"].get("cellId", "")
        return cls(header["msg_id"], cell, header.get("session", ""), header.get("date"))

    def sent_with(self, other: _Request) -> bool:
        """Whether both are of one Run All."""
        alike = self.session == other.session and isinstance(self.date, datetime) and isinstance(other.date, datetime)
        return alike and abs(self.date - other.date) < _AT_ONCE


class Door:
    """All requests on a kernel's shell channel pass by here, on their way to where they wait for the cell that runs.

    ipykernel lets pages' widgets in while a cell awaits something, and nothing else: a page that was reloaded meanwhile is
    never told what the kernel is and which widgets it has. And a cell that is run again waits for the one that waits for a
    click in an output that is gone.

    Args:
        kernel: ipykernel's.
        stream: by which requests come from the thread that receives them.
    """

    def __init__(self, kernel: Any, stream: Any) -> None:
        self._kernel = kernel
        self._queue: list[_Request] = []
        self.widgets_spoke = False
        """Whether a page's widget has said anything since this was last set."""
        self._go_on_with = ""  # requests before this one are not followed
        self._running: dict[str, Any] = kernel.get_parent("shell")
        self._handle, self._abort = stream._recv_callback, kernel._abort_queues  # noqa: SLF001 - it has no other door
        kernel._abort_queues = self._after_error  # noqa: SLF001
        kernel.should_handle = self._should_handle
        stream.on_recv(self._receive, copy=False)
        self._take_in_what_waits()

    @property
    def running(self) -> _Request:
        """The request whose cell runs now, or ran last."""
        return _Request.of(self._running)

    def queued(self) -> dict[str, str]:
        """The requests that wait for their turn, by cell."""
        waiting = [request for request in self._queue if request.cell and request != self.running]
        return {request.cell: request.number for request in waiting}

    def give_way(self, what: str) -> None:
        """Give up what would wait for a click, if a request to run its cell again waits: nobody can see it any more.

        Args:
            what: what gives way.

        Raises:
            Interrupted: it does.
        """
        if self._newer(self.running):
            raise Interrupted(f"{what}: asked anew, because this cell was run again.", "Answer where it is asked now.")

    def _newer(self, request: _Request) -> _Request | None:
        """A request for the same cell that came after this one."""
        numbers = [queued.number for queued in self._queue]
        after = numbers.index(request.number) + 1 if request.number in numbers else 0
        return next((queued for queued in self._queue[after:] if queued.cell and queued.cell == request.cell), None)

    async def _receive(self, frames: list[Any]) -> None:
        kind, request = self._peek(frames)
        self.widgets_spoke |= kind == "comm_msg"
        if kind in _QUESTIONS and self._kernel._main_asyncio_lock.locked():  # noqa: SLF001
            await self._answer(frames)
        elif request is None:
            await self._handle(frames)
        else:
            self._queue.append(request)
            try:
                await self._handle(frames)
            finally:
                self._queue.remove(request)

    def _take_in_what_waits(self) -> None:
        """What came before this was set up waits for its turn in a task of ipykernel's, which alone knows its message."""
        there: dict[str, tuple[_Request, Any]] = {}
        for task in asyncio.all_tasks():
            frame = getattr(task.get_coro(), "cr_frame", None)
            known = frame.f_locals if frame is not None else {}
            # One task hands it on to another, which may not be there yet.
            for frames in (known.get("msg"), *(known.get("args") or ())):
                request = self._peek(frames)[1] if isinstance(frames, list) else None
                if request is not None:
                    there[request.number] = (request, task)
        for request, task in sorted(there.values(), key=lambda one: str(one[0].date)):
            self._queue.append(request)
            task.add_done_callback(partial(self._forget, request))

    def _forget(self, request: _Request, _: Any) -> None:
        self._queue.remove(request)

    def _peek(self, frames: list[Any]) -> tuple[str, _Request | None]:
        """What a message is, and which request to run a cell."""
        session = self._kernel.session
        try:
            _, rest = session.feed_identities(frames, copy=False)
            message = session.deserialize(rest, content=False, copy=False)
        except Exception:  # noqa: BLE001 - it is the kernel's to say what is wrong with it
            return "", None
        kind = message["header"]["msg_type"]
        return kind, _Request.of(message) if kind == "execute_request" else None

    async def _answer(self, frames: list[Any]) -> None:
        """Answer out of turn."""
        kernel, session = self._kernel, self._kernel.session
        identities, rest = session.feed_identities(frames, copy=False)
        message = session.deserialize(rest, content=True, copy=False)
        to_page = _manager(kernel).get_subshell_to_shell_channel_socket(None)
        await kernel.shell_handlers[message["header"]["msg_type"]](to_page, identities, message)
        session.send(kernel.iopub_socket, "status", {"execution_state": "idle"}, parent=message)

    def ended(self, request: str) -> None:
        """A request has ended: where a cell goes on meanwhile say so, for pages show the last word on the kernel."""
        if request != self.running.number and self._kernel._main_asyncio_lock.locked():  # noqa: SLF001
            self._kernel.io_loop.add_callback(self._say_busy)

    def _say_busy(self) -> None:
        kernel = self._kernel
        if kernel._main_asyncio_lock.locked():  # noqa: SLF001
            kernel.session.send(kernel.iopub_socket, "status", {"execution_state": "busy"}, parent=self._running)

    def _should_handle(self, stream: Any, message: dict[str, Any], identities: Any) -> bool:
        """Drop a request whose cell is to be run again, and those that were sent before what is gone on with."""
        if message["header"]["msg_type"] != "execute_request":
            return True
        request = _Request.of(message)
        if request.number == self._go_on_with:
            self._go_on_with = ""
        if not self._go_on_with and self._newer(request) is None:
            self._running = message
            return True
        self._kernel._send_abort_reply(stream, message, identities)  # noqa: SLF001
        return False

    def _after_error(self, subshell_id: str | None = None) -> None:
        """As a cell ends with an error, ipykernel drops all that waits; but not what was sent to run that cell again."""
        newer = self._newer(self.running) if subshell_id is None else None
        if newer is None:
            self._abort(subshell_id)
        else:
            after = [request for request in self._queue if request != self.running]
            self._go_on_with = next(one for one in after if one.sent_with(newer) or one is newer).number
