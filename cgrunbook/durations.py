"""Lengths of time as people write them (`30d`), as Go does (`720h`) and so chainctl and gcloud, and in words.

It knows the notation and nothing of what a length of time is for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta

# Go's time.ParseDuration: a sequence of decimal numbers, each with one of these units. Days of 24 hours and weeks are ours.
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h|d|w)")

FORM = "30d, 720h or 1h30m"
"""How a length of time is written, by examples."""

# What people write for a unit, by its beginning; a month has 30 days and a year 365.
_WORDS = (("mo", 30, "d"), ("ms", 1, "ms"), ("y", 365, "d"), *((unit, 1, unit) for unit in "wdhm"))


def parse(text: str) -> timedelta:
    """Read a length of time: numbers, each with its unit, such as `30d`, `720h`, `1h30m`, `1w`.

    Raises:
        ValueError: the text is none; the message says what one looks like.
    """
    if not text or "".join(match.group(0) for match in _PART.finditer(text)) != text:
        raise ValueError(f"must be a length of time, such as {FORM}: numbers with w, d, h, m or s")
    try:
        return timedelta(seconds=sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text)))
    except OverflowError:
        return timedelta.max  # longer than Python can say is longer than any limit


def go(text: str) -> str:
    """A length of time in hours, minutes and seconds, which Go reads; whatever means the same is written the same.

    Raises:
        ValueError: the text is none.
    """
    length = parse(text)
    hours, rest = divmod(length, timedelta(hours=1))
    minutes, rest = divmod(rest, timedelta(minutes=1))
    seconds = f"{rest.total_seconds():f}".rstrip("0").rstrip(".")
    parts = [(str(hours), "h"), (str(minutes), "m"), (seconds, "s")]
    return "".join(f"{count}{unit}" for count, unit in parts if count != "0") or "0s"


def readings(text: str) -> Iterator[str]:
    """Lengths of time that may have been meant by a text that is none: `30 days`, `720H`, `P30D`, a number without a unit."""
    if len(text) > 100:  # nobody means one, and Python reads no number of thousands of digits
        return
    low = re.sub(r"^pt?(?=\d)|(?<=\d[dh])t|,|\band\b", "", text.strip().lower())
    if re.fullmatch(r"\d+", low):
        yield from ((f"{low}h",) if int(low) % 24 == 0 else ())
        yield f"{low}d"
        yield f"{low}s"
        return
    read = ""
    for number, word in re.findall(r"(\d+(?:\.\d+)?)\s*([a-z]+)", low):
        times, unit = next(((times, unit) for begin, times, unit in _WORDS if word.startswith(begin)), (1, "s"))
        if not word.startswith((unit, "y", "mo")) or (times != 1 and "." in number):
            return
        read += f"{number if times == 1 else int(number) * times}{unit}"
    if re.fullmatch(r"[\d.a-z\s]*", low):
        yield read


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
