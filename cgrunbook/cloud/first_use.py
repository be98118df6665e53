"""What imports a library at its first use, in one thread at a time; it knows no service."""

from __future__ import annotations

import threading
from functools import cached_property
from typing import TYPE_CHECKING

# The libraries' modules import each other in circles, which Python lets one thread do: a second one would see half a module.
importing = threading.RLock()


if TYPE_CHECKING:
    at_first_use = cached_property
else:

    class at_first_use(cached_property):  # noqa: N801 - used as `property` is
        """What is made at its first use with all that it imports."""

        def __get__(self, instance: object, owner: type | None = None) -> object:
            with importing:
                return super().__get__(instance, owner)
