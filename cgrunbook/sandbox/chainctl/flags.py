"""How chainctl reads a command line: flags as Go's pflag has them, durations as Go's time.ParseDuration.

Knows the grammar and the flags that every command has. Knows no command.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal

_NANOSECONDS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "μs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}


class Failure(Exception):
    """What the command cannot do; the message goes to stderr and the exit status is 1.

    Args:
        message: for a person.
        code: chainctl's own code, where it is known; such an error is JSON when -o json was asked.
    """

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Flag:
    """A flag as Go's pflag reads it: a switch may be written --yes or --yes=true.

    Args:
        switch: takes no value unless it is joined with "=".
        default: value when the flag is not given.
    """

    switch: bool = False
    default: str = ""


@dataclass(frozen=True)
class Given:
    """One parsed command line.

    Args:
        values: flag name to value; switches hold "true" or "false".
        arguments: what is no flag.
    """

    values: Mapping[str, str]
    arguments: Sequence[str] = ()

    def __getitem__(self, name: str) -> str:
        """A flag's value."""
        return self.values[name]

    def on(self, name: str) -> bool:
        """Whether a switch is on."""
        return self.values[name] == "true"


@dataclass(frozen=True)
class Command:
    """One command: what runs, and its flags besides those that every command has."""

    run: Callable[[Given], None]
    summary: str
    flags: Mapping[str, Flag] = field(default_factory=dict)


def flags(valued: str = "", switches: str = "") -> dict[str, Flag]:
    """Flags without a default, by name; both lists are names with spaces between."""
    return {name: Flag() for name in valued.split()} | {name: Flag(switch=True) for name in switches.split()}


EVERYWHERE = flags("api audience config console issuer log-level output v", switches="force-color help")
_SHORT = {"o": "output", "h": "help", "y": "yes", "v": "v"}


def parse(command: Command, words: Sequence[str]) -> Given:
    """Read what follows a command.

    Args:
        command: whose flags there are besides those of every command.
        words: flags and arguments in any order.

    Raises:
        Failure: a flag is unknown, lacks its value or has a wrong one; the message is pflag's.
    """
    known = {**EVERYWHERE, **command.flags}
    values = {name: flag.default or ("false" if flag.switch else "") for name, flag in known.items()}
    arguments: list[str] = []
    left = list(words)
    while left:
        word = left.pop(0)
        if word == "--":
            arguments += left
            break
        if not word.startswith("-") or word == "-":
            arguments.append(word)
            continue
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
        else:
            name, value = _SHORT.get(word[1], word[1]), word[2:].removeprefix("=")
            equals = "=" if value else ""
        if name not in known:
            raise Failure(f"unknown flag: --{name}" if word.startswith("--") else f"unknown shorthand flag: {word!r}")
        if known[name].switch:
            value = value if equals else "true"
            if value.lower() not in ("true", "false", "1", "0", "t", "f"):
                raise Failure(f'invalid argument "{value}" for "--{name}" flag: strconv.ParseBool: parsing "{value}"')
            value = "true" if value.lower() in ("true", "1", "t") else "false"
        elif not equals:
            if not left:
                raise Failure(f"flag needs an argument: --{name}")
            value = left.pop(0)
        values[name] = value
    return Given(values, arguments)


def go_duration(text: str) -> timedelta:
    """Read a duration as Go's time.ParseDuration does.

    Args:
        text: for example "720h", "1h30m" or "1.5h"; there is no unit for days.

    Returns:
        The duration, in whole microseconds.

    Raises:
        Failure: it is none; the message is that of Go's flag parser.
    """
    unsigned = text[1:] if text[:1] in ("+", "-") else text
    parts = re.findall(r"(\d*\.?\d*)([^\d.]*)", unsigned)[:-1]
    if parts == [("0", "")]:
        return timedelta()
    nanoseconds = Decimal()
    for number, unit in parts or [("", "")]:
        if not number.strip("."):
            problem = f'time: invalid duration "{text}"'
        elif not unit:
            problem = f'time: missing unit in duration "{text}"'
        elif unit not in _NANOSECONDS:
            problem = f'time: unknown unit "{unit}" in duration "{text}"'
        else:
            nanoseconds += Decimal(number) * _NANOSECONDS[unit]
            continue
        raise Failure(f'invalid argument "{text}" for "--ttl" flag: {problem}')
    duration = timedelta(microseconds=int(nanoseconds / 1000))
    return -duration if text.startswith("-") else duration
