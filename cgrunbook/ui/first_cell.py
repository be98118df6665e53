"""In the kernels that `cgrunbook lab` starts: a step's cell that is run before the notebook was opened says which comes first.

IPython loads this as such a kernel starts, for after a restart nothing of ours has run there. It knows IPython, and the
name that the opening cell gives the runbook.
"""

from __future__ import annotations

from typing import Any

# How the kernel is told to load it.
OPTION = f"--InteractiveShellApp.extra_extensions={__name__}"

_FIRST = (
    "This kernel has not opened the notebook yet, so there is nothing that this cell could work with: run the cells above "
    "it first (Run > Run All Above Selected Cell), then this one; or Run > Run All Cells."
)


def load_ipython_extension(shell: Any) -> None:
    """From now on, say what comes first where `book` is not known."""
    show = shell._showtraceback  # noqa: SLF001 - all that IPython shows of an error passes by here

    def said(kind: Any, error: Any, lines: list[str]) -> None:
        show(kind, error, [_FIRST] if isinstance(error, NameError) and error.name == "book" else lines)

    shell._showtraceback = said  # noqa: SLF001
