"""`fields`, with which a caller asks for a part of an answer, such as `services(name,state),nextPageToken`.

Knows the expression and the message that it leads through. Knows no service.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from cgrunbook.sandbox import errors
from cgrunbook.sandbox.google.messages import Message, through

_TOKEN = re.compile(r"[(),./]|[^\s(),./]+")
_MOST_TOKENS = 500
#: From the answer to what was asked for, in JSON names; "*" is every field.
Path = tuple[str, ...]


def paths_of(expression: str, message: Message) -> list[Path]:
    """Read an expression.

    Args:
        expression: what `fields` says; names in either spelling, `/` or `.` between a message and its field.
        message: what the answer is.

    Raises:
        errors.InvalidArgument: it leads nowhere, in the words of Google's front end, or cannot be read.
    """
    tokens = [*_TOKEN.findall(expression), ")"]
    try:
        if len(tokens) > _MOST_TOKENS:
            raise ValueError(expression)
        paths = _listed(tokens)
        if tokens:
            raise ValueError(expression)
    except (ValueError, IndexError):
        raise errors.InvalidArgument(f"Invalid field selection {expression[:200]}") from None
    found = [through(message, path, into_many=True) for path in paths]
    if None in found:
        wrong = ".".join(paths[found.index(None)])[:200]
        refusal = f"Error expanding 'fields' parameter. Cannot find matching fields for path '{wrong}'."
        details = {"@type": errors.BAD_REQUEST, "fieldViolations": [{"field": wrong, "description": refusal}]}
        raise errors.InvalidArgument("Request contains an invalid argument.", [details])
    return [path for path in found if path is not None]


def cut(answer: Any, paths: Sequence[Path]) -> Any:
    """What of an answer was asked for."""
    if () in paths:
        return answer
    if isinstance(answer, list):
        return [cut(item, paths) for item in answer]
    asked = {name: [path[1:] for path in paths if path[0] in {name, "*"}] for name in answer}
    return {
        name: cut(answer[name], below)
        for name, below in asked.items()
        if () in below or (below and isinstance(answer[name], dict | list))
    }


def _listed(tokens: list[str]) -> list[Path]:
    """Take paths up to the bracket that closes them, and that bracket."""
    found: list[Path] = []
    while True:
        path = [_name(tokens)]
        while tokens[0] in {".", "/"}:
            tokens.pop(0)
            path.append(_name(tokens))
        following = tokens.pop(0)
        ends: list[Path] = [()]
        if following == "(":
            ends, following = _listed(tokens), tokens.pop(0)
        found += [(*path, *end) for end in ends]
        if following == ")":
            return found
        if following != ",":
            raise ValueError(following)


def _name(tokens: list[str]) -> str:
    if tokens[0] in {"(", ")", ",", ".", "/"}:
        raise ValueError(tokens[0])
    return tokens.pop(0)
