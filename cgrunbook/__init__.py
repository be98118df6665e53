"""cgrunbook: pulling Chainguard's images through Google Artifact Registry, as notebooks that do each step and prove it.

What a notebook imports is here: `open_notebook` to begin with, `steps` to perform, and `show_runs`, which have been.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from cgrunbook.first_use import importing

if TYPE_CHECKING:
    from cgrunbook import steps
    from cgrunbook.ui.notebook import open_notebook
    from cgrunbook.ui.run_list import show_runs

__version__ = "0.1.0"

__all__ = ["__version__", "open_notebook", "show_runs", "steps"]

# Google's libraries warn at import as soon as the calendar nears the end of a Python's support. That is news for whoever
# chooses the Python, once; a notebook would show it, and keep it, in whichever cell imports first.
warnings.filterwarnings("ignore", category=FutureWarning, module=r"google\.api_core\b")


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for: the command line starts without Google's clients and IPython."""
    with importing():
        if name == "open_notebook":
            from cgrunbook.ui.notebook import open_notebook

            return open_notebook
        if name == "show_runs":
            from cgrunbook.ui.run_list import show_runs

            return show_runs
        if name == "steps":
            import importlib

            return importlib.import_module("cgrunbook.steps")
    raise AttributeError(f"module 'cgrunbook' has no attribute {name!r}")
