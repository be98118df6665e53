"""What imports a library at its first use: one thread at a time, and without a search for garbage; it knows no library."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING

# The libraries' modules import each other in circles, which Python lets one thread do: a second one would see half a module.
_one_thread = threading.RLock()


@contextmanager
def importing() -> Iterator[None]:
    """Import libraries in here.

    What is imported stays. A seventh of the time of Google's clients was spent on looking through it for circles that could go.
    """
    with _one_thread:
        collects = gc.isenabled()
        gc.disable()
        try:
            yield
        finally:
            if collects:
                gc.enable()


if TYPE_CHECKING:
    at_first_use = cached_property
else:

    class at_first_use(cached_property):  # noqa: N801 - used as `property` is
        """What is made at its first use with all that it imports."""

        def __get__(self, instance: object, owner: type | None = None) -> object:
            with importing():
                return super().__get__(instance, owner)
