"""Waiting until something is so, with a short nap between two looks; the busy ones need the processor more."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

#: Seconds; the longest that anything is waited for, before the test fails.
PATIENCE = 60.0


def wait_for(look: Callable[[], Any], what: str = "what was waited for") -> Any:
    """Look until the answer is true; answers it."""
    deadline = time.monotonic() + PATIENCE
    while not (found := look()):
        assert time.monotonic() < deadline, f"{what} did not come in {PATIENCE:g} s"
        time.sleep(0.002)
    return found
