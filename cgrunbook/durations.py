"""Lengths of time as Go writes them (`720h`, `1h30m`), which is how chainctl and gcloud take them, and as people read them.

It knows the notation and nothing of what a duration is for.
"""

from __future__ import annotations

import re
from datetime import timedelta

# Go's time.ParseDuration: a sequence of decimal numbers, each with one of these units; there is no unit for days.
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")


def parse(text: str) -> timedelta:
    """Read a Go duration, such as `720h`, `1h30m`, `90s`; `30d` is none.

    Raises:
        ValueError: the text is no duration; the message says what one looks like.
    """
    rule = "must be a duration in hours, minutes or seconds, such as 720h or 1h30m (there is no unit for days)"
    if not text or "".join(match.group(0) for match in _PART.finditer(text)) != text:
        raise ValueError(rule)
    try:
        return timedelta(seconds=sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text)))
    except OverflowError:
        return timedelta.max  # longer than Python can say is longer than any limit


def in_words(length: timedelta) -> str:
    """A length of time, or the amount of a negative one, in its two largest units: `30 days`, `1 day 2 hours`, `0.4 seconds`."""
    seconds = abs(length.total_seconds())
    if seconds < 60:
        return f"{seconds:.3g} seconds" if seconds != 1 else "1 second"
    parts: list[str] = []
    rest = round(seconds)
    for name, size in (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1)):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count} {name}{'s' if count != 1 else ''}")
    return " ".join(parts[:2])
