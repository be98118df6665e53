"""Waiting in a cell so that an interrupt of the kernel is heard at once. It knows the event loop and ipykernel's ways."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")

# ipykernel answers SIGINT by cancelling the cell's task from the signal's handler, which does not wake a loop that
# sleeps; short turns do.
_TURN_SECONDS = 0.2


async def interruptible(awaited: Awaitable[T]) -> T:
    """Wait for something that may take long, and answer what it answers.

    Raises:
        asyncio.CancelledError: the kernel was interrupted; what was awaited is cancelled too.
    """
    future = asyncio.ensure_future(awaited)
    try:
        while not future.done():
            await asyncio.wait({future}, timeout=_TURN_SECONDS)
    finally:
        future.cancel()
    return future.result()
