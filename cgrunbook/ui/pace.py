"""How fast something goes and what remains, told from how far it has come.

It knows numbers and a clock, and nothing of what they count.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from cgrunbook.steps.step import Progress, in_bytes

# A rate over less than this jumps about too much to be read.
_SHORTEST = 1.0


class Pace:
    """The rate since a piece of work began.

    Args:
        clock: seconds of a monotonic clock.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._text = ""
        self._from = (0.0, 0.0)
        self._last = 0.0

    def of(self, progress: Progress) -> str:
        """What can be said of progress, as words: "12.4 MB/s, 8 s remaining"; "" when nothing can.

        Args:
            progress: how far it is now; another text begins another piece of work.
        """
        now = self._clock()
        if progress.done is None:
            return ""
        last, self._last = self._last, progress.done
        if progress.text != self._text or progress.done < last:
            self._text, self._from = progress.text, (now, progress.done)
            return ""
        began, had = self._from
        seconds = now - began
        if seconds < _SHORTEST or progress.done <= had:
            return ""
        rate = (progress.done - had) / seconds
        words = [f"{in_bytes(rate)}/s"] if progress.unit == "bytes" else []
        if progress.total and progress.total > progress.done:
            words.append(f"{_duration((progress.total - progress.done) / rate)} remaining")
        return ", ".join(words)


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
