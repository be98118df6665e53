"""What is wrong, and what is to be done about it: an image's way looked at link by link, and the verdict.

It knows no notebook and shows nothing; it only reads. What one check of a pull token means is in the steps' own files. A notebook
takes its one step from here; it is imported when it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cgrunbook.diagnosis.in_notebook import FindCause as FindCause

__all__ = ["FindCause"]


def __getattr__(name: str) -> Any:
    """Import the step when it is asked for."""
    if name in __all__:
        return getattr(import_module(f"{__name__}.in_notebook"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
