"""Waiting in a cell: an interrupt of the kernel is heard at once, and the page goes on sending what its widgets say.

It knows the event loop and ipykernel's ways, and no widget of ours.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

T = TypeVar("T")

# ipykernel answers SIGINT by cancelling the cell's task from the signal's handler, which does not wake a loop that
# sleeps; short turns do.
_TURN_SECONDS = 0.2

_MARK = "_cgrunbook_acknowledges"


async def interruptible(awaited: Awaitable[T], look: Callable[[], None] = lambda: None) -> T:
    """Wait for something that may take long, and answer what it answers.

    Args:
        awaited: it is cancelled when the waiting ends before it.
        look: called again and again meanwhile; ends the waiting by what it raises.

    Raises:
        asyncio.CancelledError: the kernel was interrupted; what was awaited is cancelled too.
    """
    future = asyncio.ensure_future(awaited)
    try:
        while not future.done():
            look()
            await asyncio.wait({future}, timeout=_TURN_SECONDS)
    finally:
        future.cancel()
    return future.result()


def acknowledge_widgets(kernel: Any) -> None:
    """From now on, end each change that a widget sends with the status that ends a request.

    While a cell awaits something, ipykernel 7.4 handles widgets' messages without the status `idle` that ends each
    request. ipywidgets sends a widget's next change only after that: a field of a form that a cell waits for could be
    changed once.

    Args:
        kernel: IPython's kernel; None, and whatever has no `shell_handlers`, is left alone.
    """
    handlers = getattr(kernel, "shell_handlers", {})
    if "comm_msg" in handlers and not hasattr(handlers["comm_msg"], _MARK):
        handlers["comm_msg"] = _acknowledging(kernel, handlers["comm_msg"])


def _acknowledging(kernel: Any, handle: Callable[[Any, Any, Any], Any]) -> Callable[[Any, Any, Any], Any]:
    def acknowledging(stream: Any, ident: Any, message: Any) -> Any:
        try:
            return handle(stream, ident, message)
        finally:
            # Clicks are no changes of state: they are sent without waiting for the one before.
            if message["content"].get("data", {}).get("method") == "update":
                # Where the kernel says so too, this is said twice, which does no harm: the request has ended.
                kernel.session.send(kernel.iopub_socket, "status", {"execution_state": "idle"}, parent=message)

    setattr(acknowledging, _MARK, True)
    return acknowledging
