"""Telling the page that a widget's message was heard, while a cell waits.

While a cell awaits something, ipykernel 7.4 handles widgets' messages without the status `idle` that ends each request.
ipywidgets sends a widget's next change only after that: a field of a form that a cell waits for could be changed once.
It knows the kernel's protocol, and no widget of ours.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_MARK = "_cgrunbook_acknowledges"


def acknowledge_widgets(kernel: Any) -> None:
    """From now on, end each change that a widget sends with the status that ends a request.

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
