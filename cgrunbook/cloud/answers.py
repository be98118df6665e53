"""An answer has an end: in total and not only between two bytes, and whoever waits for it hears an interrupt.

It knows http.client and sockets. Who is asked, and what a failure means, others know.
"""

from __future__ import annotations

import io
import socket
import time
from http.client import BadStatusLine, HTTPResponse, LineTooLong, RemoteDisconnected
from typing import Any, TypeVar

from cgrunbook.cloud.attempts import hear
from cgrunbook.cloud.retry import NotAProxy

T = TypeVar("T")

# Seconds between two looks at an interrupt.
_LOOK = 0.2
# Seconds in which a write's answer is still waited for after an interrupt: what was done is known then.
_GRACE = 2.0
# Seconds of silence where nobody has set any.
_SILENCE = 60.0
# A body may take twice the seconds that silence may, and as long again for each so many bytes that came of it.
_BYTES = 1024 * 1024


class _Answer(HTTPResponse):
    """http.client's response, read through `_Bounded`."""

    def __init__(self, sock: socket.socket, *arguments: Any, **settings: Any) -> None:
        super().__init__(sock, *arguments, **settings)
        reading = settings.get("method") in ("GET", "HEAD")
        self._bounded = _Bounded(sock, self.fp.detach(), 0.0 if reading else _GRACE)
        self.fp = io.BufferedReader(self._bounded)

    def _read_status(self) -> tuple[str, int, str]:
        # http.client passes over 100 alone; 103, and whatever of its kind comes, says as little of the answer.
        version, status, reason = super()._read_status()  # type: ignore[misc] # typeshed has what is public
        return version, 100 if 101 < status < 200 else status, reason

    def begin(self) -> None:
        super().begin()  # status and headers, which have to come in the time of one body's piece
        self._bounded.flowing = True


class _Bounded(io.RawIOBase):
    """The bytes of one answer as they come.

    Args:
        sock: the connection, its time-out what may pass in silence.
        file: http.client's own file of it, which counts as a user of the connection until it is closed.
        grace: seconds from now in which no interrupt is heard.
    """

    flowing = False

    def __init__(self, sock: socket.socket, file: io.RawIOBase, grace: float) -> None:
        self._sock, self._file = sock, file
        self._silence = sock.gettimeout() or _SILENCE
        self._deaf = time.monotonic() + grace
        self._came = 0
        self._more()

    def _more(self) -> None:
        self._counted, self._until = 0, time.monotonic() + 2 * self._silence

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        until = min(time.monotonic() + self._silence, self._until)
        try:
            while (left := until - time.monotonic()) > 0:
                if time.monotonic() >= self._deaf:
                    hear()
                self._sock.settimeout(min(_LOOK, left))
                try:
                    number = self._sock.recv_into(buffer)
                except TimeoutError:
                    continue
                self._came += number
                self._counted += number
                if self.flowing and self._counted >= _BYTES:
                    self._more()
                return number
        finally:
            self._sock.settimeout(self._silence)
        if until < self._until:
            raise TimeoutError(f"silent for {self._silence:.3g} s")
        raise TimeoutError(f"too slow: {self._came} bytes in {2 * self._silence:.3g} s and were not all")

    def close(self) -> None:
        self._file.close()
        super().close()


class _Connection:
    """What is put before urllib3's connections."""

    response_class = _Answer

    def _tunnel(self) -> None:
        try:
            super()._tunnel()  # type: ignore[misc] # of http.client's connection
        except RemoteDisconnected:
            raise
        except (BadStatusLine, LineTooLong) as error:
            raise NotAProxy(str(error)) from error


def bounded(manager: T) -> T:
    """Let a manager of urllib3's pools open connections whose answers have an end.

    Args:
        manager: a fresh `urllib3.PoolManager`, of whatever kind.
    """
    kinds: dict[str, Any] = manager.pool_classes_by_scheme  # type: ignore[attr-defined]
    manager.pool_classes_by_scheme = {  # type: ignore[attr-defined]
        scheme: type(
            kind.__name__,
            (kind,),
            {"ConnectionCls": type("Bounded", (_Connection, kind.ConnectionCls), {})},
        )
        for scheme, kind in kinds.items()
    }
    return manager
