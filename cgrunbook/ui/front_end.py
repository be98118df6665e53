"""Is somebody in front of this notebook who can click? The one place that decides it (docs/services.md#jupyter).

It knows how the programs that execute notebooks differ, and nothing of what is shown.
"""

from __future__ import annotations

from typing import Any


def somebody_can_click(shell: Any) -> bool:
    """Whether the cell that runs now was sent by a front end with a person at it.

    A front end allows the kernel to ask for input; papermill, `jupyter execute`, nbval, nbconvert and jupyter-
    scheduler all send `allow_stdin: false` with every cell, also when they were started from inside a notebook, whose
    environment they inherit (so no environment variable can tell).

    Args:
        shell: IPython's shell, or None outside IPython.

    Returns:
        False when in doubt: then nobody is asked, and nothing waits.
    """
    return bool(_request(shell).get("content", {}).get("allow_stdin", False))


def names_a_cell(shell: Any) -> bool:
    """Whether a notebook's page sent the cell that runs now: JupyterLab and Notebook name it; consoles and scripts have none."""
    return "cellId" in _request(shell).get("metadata", {})


def _request(shell: Any) -> dict[str, Any]:
    """The request that the kernel works on."""
    kernel = getattr(shell, "kernel", None)
    return dict(kernel.get_parent("shell")) if kernel is not None else {}
