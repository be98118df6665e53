"""Secrets that cannot be shown, and the filter that all output passes.

`Secret` is the first net: no way of printing, formatting or pickling it gives its value away. `redact` is the second:
it masks every value that a living `Secret` holds and whatever has the shape of a credential. It knows no service.
"""

from __future__ import annotations

import base64
import re
import weakref
from typing import Any, NoReturn
from urllib.parse import quote

MASK = "[redacted]"

# Shapes of credentials that no reader of a log needs: a JWT (pull tokens, OIDC tokens), Google's OAuth access tokens,
# an Authorization header, docker's base64 pair, the password in a URL, a private key.
_SHAPES = (
    re.compile(r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+"),
    re.compile(r"ya29\.[A-Za-z0-9_.-]{8,}"),
    re.compile(r"(?i)(?<=bearer )[A-Za-z0-9._~+/=-]{16,}"),
    re.compile(r"(?i)(?<=basic )[A-Za-z0-9+/=]{16,}"),
    re.compile(r'(?<="auth": ")[A-Za-z0-9+/=]{8,}|(?<="auth":")[A-Za-z0-9+/=]{8,}'),
    re.compile(r"(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"),
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----", re.DOTALL),
)

_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")

# Shorter values would mask ordinary words.
_SHORTEST = 6

# Every secret that is still in use, and the forms in which it leaves a program, the longest first.
_living: weakref.WeakKeyDictionary[Secret, tuple[str, ...]] = weakref.WeakKeyDictionary()


class Secret:
    """A value that lives in memory only.

    Args:
        value: the secret text; `reveal()` is the only way back to it.
    """

    __slots__ = ("__weakref__", "_value")

    def __init__(self, value: str) -> None:
        self._value = value
        _living[self] = _spellings(value)

    def reveal(self) -> str:
        """The value, for the one call that hands it to its service."""
        return self._value

    def __len__(self) -> int:
        return len(self._value)

    def __repr__(self) -> str:
        return f"Secret({MASK})"

    def __str__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return format(MASK, spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return id(self)

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("a Secret cannot be pickled, copied or written to disk")


def _spellings(value: str) -> tuple[str, ...]:
    """The forms in which a value leaves a program: as it is, quoted for a URL or JSON, and in base64."""
    encoded = value.encode()
    found = {value, quote(value, safe=""), value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')}
    found |= {line for line in value.splitlines() if len(line) >= _SHORTEST}
    found |= {base64.b64encode(encoded).decode(), base64.urlsafe_b64encode(encoded).decode().rstrip("=")}
    return tuple(sorted((form for form in found if len(form) >= _SHORTEST), key=len, reverse=True))


def redact(text: str) -> str:
    """Mask every living secret, and every piece that has the shape of a credential, in what is about to leave the program."""
    for forms in list(_living.values()):
        for form in forms:
            if form in text:
                text = text.replace(form, MASK)
    for shape in _SHAPES:
        text = shape.sub(MASK, text)
    return text


def one_line(text: str, most: int = 400) -> str:
    """Somebody else's text in one line; masked before it is cut, for half a secret would not be known for one.

    Args:
        most: how many characters are kept.
    """
    line = redact("".join(character for character in " ".join(text.split()) if character.isprintable()))
    return line if len(line) <= most else f"{line[:most]}..."


def visible(text: str) -> str:
    """Write characters that steer a terminal or turn the reading direction as their numbers: a label may hold any.

    Line breaks and tabs stay.
    """
    return _STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def redact_all(value: Any) -> Any:
    """A copy of JSON-like data in which every text, keys included, went through `redact`."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Secret):
        return MASK
    if isinstance(value, dict):
        return {redact(str(key)): redact_all(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [redact_all(item) for item in value]
    return value
