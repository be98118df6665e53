"""One sandbox a file, whose chainctl is a function."""

from __future__ import annotations

from tests.steps.conftest import home, quick_chainctl

__all__ = ["home", "quick_chainctl"]
