"""One run of a command: no terminal, bounded in time and in what it prints, ended when somebody cancels.

It knows processes and pipes, and lets a command find the proxies that this process has. It does not know any command, and
shows nothing of what one printed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from cgrunbook.cloud import proxies
from cgrunbook.cloud.attempts import hear

_LARGEST_OUTPUT = 8 * 1024 * 1024
# Seconds between two looks at the clock and the cancellation.
_LOOK = 0.1


@dataclass(frozen=True)
class Ended:
    """How a command ended by itself.

    Args:
        code: its exit code.
        output: what it printed to its standard output; a secret may stand there, or in the next, so neither is in the repr.
        said: what it printed to its standard error.
    """

    code: int
    output: str = field(repr=False)
    said: str = field(repr=False)


class TooMuch(Exception):
    """It took too long, or printed too much, and was ended; the text says which."""


class Cancelled(Exception):
    """Somebody cancelled, and it was ended."""


def run(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    *,
    seconds: float,
    cancelled: threading.Event | None = None,
    given: bytes = b"",
) -> Ended:
    """Run a command to its end, or end it with what it started.

    Args:
        arguments: the program's path, then its arguments.
        environment: the whole of it; the variables of proxies are spelt anew.
        seconds: how long it may take.
        cancelled: ends it when set; without one an interrupt of the attempt that it is part of does.
        given: what it reads from its standard input.

    Raises:
        OSError: it could not be started.
        TooMuch: it was ended because of its bounds.
        Cancelled: it was ended because of `cancelled`; without one, Interrupted.
    """
    with subprocess.Popen(
        arguments,
        stdin=subprocess.PIPE if given else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=proxies.for_a_command(environment),
        # A group of its own, so that what it starts ends with it, and a terminal's Ctrl-C does not cut it in the middle
        # of what it makes.
        start_new_session=True,
    ) as process:
        try:
            output, said = _read(process, seconds, cancelled, given)
        finally:
            _end(process)
    return Ended(process.returncode, output.decode("utf-8", "replace"), said.decode("utf-8", "replace"))


def _read(
    process: subprocess.Popen[bytes], seconds: float, cancelled: threading.Event | None, given: bytes = b""
) -> tuple[bytes, bytes]:
    """Read both pipes to their ends, looking up now and then; what came before a look is kept by `communicate`."""
    deadline = time.monotonic() + seconds
    handed_over = {"input": given} if given else {}
    while cancelled is None or not cancelled.is_set():
        if cancelled is None:
            hear()
        left = deadline - time.monotonic()
        if left <= 0:
            raise TooMuch(f"did not end within {seconds:.0f} s")
        # Asked before reading: what it prints and ends with between the two is found by the read.
        ended = process.poll() is not None
        try:
            return process.communicate(timeout=min(_LOOK, left), **handed_over)
        except subprocess.TimeoutExpired as so_far:
            handed_over.clear()  # it goes on with what is left of it
            output, said = so_far.output or b"", so_far.stderr or b""
        if ended:
            # All that it printed is read; something that it started still holds the pipes.
            return output, said
        if max(len(output), len(said)) > _LARGEST_OUTPUT:
            raise TooMuch(f"printed more than {_LARGEST_OUTPUT // 1024 // 1024} MiB")
    raise Cancelled


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a command and what it started; nothing to do for one that has ended."""
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
