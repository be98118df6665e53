"""List filters (https://google.aip.dev/160) as far as gcloud and people use them in lists.

Knows terms, AND, OR, NOT and brackets over JSON messages. Knows no resource.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from cgrunbook.sandbox import errors
from cgrunbook.sandbox.google.messages import Timestamp

Test = Callable[[Mapping[str, Any]], bool]

_TOKEN = re.compile(
    r"""\s*(?:(?P<bracket>[()])|(?P<operator>!=|<=|>=|=|:|<|>)|(?P<quoted>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""
    r"""|(?P<word>[^\s()=!<>:"']+))"""
)
_MOST_TOKENS = 500
#: What is compared by its weight, in the order of it.
SEVERITIES = ("DEFAULT", "DEBUG", "INFO", "NOTICE", "WARNING", "ERROR", "CRITICAL", "ALERT", "EMERGENCY")


def compile_filter(text: str) -> Test:
    """The test that a filter stands for; every message passes an empty one.

    Args:
        text: for example `state:ENABLED`, `name="projects/p/.../a*"`, `labels.team=one AND NOT name:two`.

    Raises:
        errors.InvalidArgument: the filter cannot be read.
    """
    tokens: list[tuple[str, str]] = []
    position = 0
    while text[position:].strip():
        match = _TOKEN.match(text, position)
        if match is None or len(tokens) > _MOST_TOKENS:
            raise _unreadable(text)
        kind = match.lastgroup or ""
        value = match[kind]
        tokens.append(("word", re.sub(r"\\(.)", r"\1", value[1:-1])) if kind == "quoted" else (kind, value))
        position = match.end()
    if not tokens:
        return lambda _: True
    parser = _Parser(tokens, text)
    test = parser.alternatives(0)
    if parser.left():
        raise _unreadable(text)
    return test


def _unreadable(text: str) -> errors.InvalidArgument:
    return errors.InvalidArgument(f"Invalid filter expression: {text[:200]!r}.")


class _Parser:
    """Reads OR of AND of terms; in AIP-160 OR binds closer than AND, which matters only without brackets."""

    def __init__(self, tokens: list[tuple[str, str]], text: str) -> None:
        self._tokens = tokens
        self._text = text
        self._at = 0

    def left(self) -> bool:
        return self._at < len(self._tokens)

    def _peek(self) -> tuple[str, str]:
        return self._tokens[self._at] if self.left() else ("", "")

    def _take(self, kind: str) -> str:
        found, value = self._peek()
        if found != kind:
            raise _unreadable(self._text)
        self._at += 1
        return value

    def alternatives(self, depth: int) -> Test:
        """Terms joined by AND (or by nothing), each of them alternatives joined by OR."""
        if depth > 20:
            raise _unreadable(self._text)
        tests = [self._either(depth)]
        while self.left() and self._peek() != ("bracket", ")"):
            if self._peek() == ("word", "AND"):
                self._at += 1
            tests.append(self._either(depth))
        return lambda message: all(test(message) for test in tests)

    def _either(self, depth: int) -> Test:
        tests = [self._term(depth)]
        while self._peek() == ("word", "OR"):
            self._at += 1
            tests.append(self._term(depth))
        return lambda message: any(test(message) for test in tests)

    def _term(self, depth: int) -> Test:
        kind, value = self._peek()
        if (kind, value) == ("word", "NOT") or (kind == "word" and value.startswith("-") and len(value) > 1):
            if value == "NOT":
                self._at += 1
            else:
                self._tokens[self._at] = ("word", value[1:])
            test = self._term(depth + 1)
            return lambda message: not test(message)
        if (kind, value) == ("bracket", "("):
            self._at += 1
            test = self.alternatives(depth + 1)
            if self._take("bracket") != ")":
                raise _unreadable(self._text)
            return test
        name = self._take("word")
        if name in {"AND", "OR"}:
            raise _unreadable(self._text)
        if self._peek()[0] != "operator":
            return lambda message: _mentions(message, name)
        operator = self._take("operator")
        if self._peek() == ("bracket", "("):
            self._at += 1
            wanted = [self._take("word")]
            while self._peek() == ("word", "OR"):
                self._at += 1
                wanted.append(self._take("word"))
            if self._take("bracket") != ")":
                raise _unreadable(self._text)
        else:
            wanted = [self._take("word")]
        return lambda message: any(_compare(_at(message, name), operator, one) for one in wanted)


def _at(message: Mapping[str, Any], dotted: str) -> Any:
    found: Any = message
    for part in dotted.split("."):
        name = re.sub(r"_([a-z])", lambda letter: letter[1].upper(), part)
        if isinstance(found, Mapping):
            found = found.get(part, found.get(name))
        else:
            return None
    return found


def _mentions(message: Any, text: str) -> bool:
    if isinstance(message, Mapping):
        return any(_mentions(value, text) for value in message.values())
    if isinstance(message, list):
        return any(_mentions(value, text) for value in message)
    return text.lower() in str(message).lower()


def _compare(found: Any, operator: str, wanted: str) -> bool:
    if operator == ":" and wanted == "*":
        return found not in (None, "", [], {})
    if isinstance(found, Mapping):
        return operator == ":" and wanted in found
    if isinstance(found, list):
        return any(_compare(item, operator, wanted) for item in found)
    if found is None:
        return operator == "!="
    if found in SEVERITIES and wanted in SEVERITIES:
        found, wanted = (f"{SEVERITIES.index(one):02}" for one in (found, wanted))
    if (given := Timestamp().read(wanted)) and (time := Timestamp().read(found)):
        found, wanted = time, given  # as many digits in both, however each was written
    return _compare_text(str(found).lower() if isinstance(found, bool) else str(found), operator, wanted)


def _compare_text(text: str, operator: str, wanted: str) -> bool:
    if operator == ":":
        return _like(text.lower(), wanted.lower() if "*" in wanted else f"*{wanted.lower()}*")
    return {
        "=": _like(text, wanted),
        "!=": not _like(text, wanted),
        "<": text < wanted,
        "<=": text <= wanted,
        ">": text > wanted,
        ">=": text >= wanted,
    }[operator]


def _like(text: str, wanted: str) -> bool:
    if "*" not in wanted:
        return text == wanted
    # Runs of stars would make the match slow and mean the same as one.
    parts = re.split(r"\*+", wanted)
    if not text.startswith(parts[0]) or not text.endswith(parts[-1]):
        return False
    position = len(parts[0])
    for part in parts[1:-1]:
        position = text.find(part, position)
        if position < 0:
            return False
        position += len(part)
    return position <= len(text) - len(parts[-1])
