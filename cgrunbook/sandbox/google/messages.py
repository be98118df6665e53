"""Protocol messages in JSON: what a body or parameter may hold, checked strictly, and how an answer is written.

Knows proto3's JSON mapping and Google's words for its violations. Knows no service; services declare their messages.
"""

from __future__ import annotations

import base64
import binascii
import functools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from cgrunbook.sandbox import errors
from cgrunbook.sandbox.state import timestamp


class Violations:
    """Collects what is wrong with one request, so that the answer names everything at once."""

    def __init__(self) -> None:
        self._found: list[tuple[str, str]] = []

    def add(self, path: str, description: str) -> None:
        """Note one violation; the path of its field is "" for the top of the body."""
        self._found.append((path, description))

    def refuse(self) -> None:
        """Raise what was noted, if anything was.

        Raises:
            errors.InvalidArgument: with google.rpc.BadRequest naming each field.
        """
        if not self._found:
            return
        violations = [
            {"field": path, "description": text} if path else {"description": text} for path, text in self._found[:50]
        ]
        message = "\n".join(text for _, text in self._found[:50])
        raise errors.InvalidArgument(message, [{"@type": errors.BAD_REQUEST, "fieldViolations": violations}])


class Kind(Protocol):
    """A type of field."""

    def parse(self, value: Any, path: str, violations: Violations) -> Any:
        """The value in canonical JSON (enums as strings, camelCase), noting what is wrong."""

    def render(self, value: Any, *, int_enums: bool) -> Any:
        """A canonical value as the answer's JSON has it."""


def _shown(value: Any) -> str:
    text = f'"{value}"' if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= 200 else text[:200] + "..."


def _not_single(value: Any, path: str, violations: Violations) -> bool:
    """Note a list or object where a single value belongs."""
    if not isinstance(value, dict | list):
        return False
    parent, _, name = path.rpartition(".")
    where = f" at '{parent}'" if parent else ""
    reason = (
        "Proto field is not repeating, cannot start list."
        if isinstance(value, list)
        else "Starting an object on a scalar field."
    )
    violations.add(parent, f'Invalid JSON payload received. Unknown name "{name}"{where}: {reason}')
    return True


class Scalar:
    """A kind with a single value.

    Attributes:
        type: what Google's errors call it.
        nothing: what stands for a value that cannot be read, for the checks that follow.
    """

    type = ""
    nothing: Any = ""

    def parse(self, value: Any, path: str, violations: Violations) -> Any:
        """The value in canonical JSON, noting what is wrong."""
        if _not_single(value, path, violations):
            return self.nothing
        found = self.read(value)
        if found is None:
            violations.add(path, f"Invalid value at '{path}' ({self.type}), {self.complaint(value, path)}")
            return self.nothing
        return found

    def read(self, value: Any) -> Any | None:
        """The canonical value of a JSON scalar; None when it is none of this kind."""
        raise NotImplementedError

    def complaint(self, value: Any, path: str) -> str:  # noqa: ARG002 - the field's name is a part of some
        """What an error says of a value that cannot be read."""
        return _shown(value)

    def render(self, value: Any, *, int_enums: bool) -> Any:  # noqa: ARG002 - one interface for every kind
        """The value as it is."""
        return value


class String(Scalar):
    """string: valid Unicode."""

    type = "TYPE_STRING"

    def read(self, value: Any) -> str | None:
        """Accept a JSON string."""
        return value if isinstance(value, str) and not _has_surrogates(value) else None

    def complaint(self, value: Any, path: str) -> str:
        """Repeat the value, if it can be."""
        return "not valid UTF-8" if isinstance(value, str) else super().complaint(value, path)


def _has_surrogates(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


class Bool(Scalar):
    """bool."""

    type = "TYPE_BOOL"
    nothing = False

    def read(self, value: Any) -> bool | None:
        """Accept true and false, and their names as query parameters bring them."""
        return value if isinstance(value, bool) else {"true": True, "false": False}.get(str(value))


class Integer(Scalar):
    """A whole number; one of 64 bits is a string in JSON.

    Args:
        bits: 32 or 64.
        signed: whether it may be negative.
    """

    nothing = 0

    def __init__(self, bits: int = 32, *, signed: bool = True) -> None:
        self.type = f"TYPE_{'' if signed else 'U'}INT{bits}"
        self._range = range(-(2 ** (bits - 1)), 2 ** (bits - 1)) if signed else range(2**bits)
        self._as_text = bits == 64

    def read(self, value: Any) -> int | None:
        """Accept a whole number, or its digits in a string."""
        whole = isinstance(value, int) and not isinstance(value, bool)
        digits = isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,20}", value) is not None
        if whole or digits or (isinstance(value, float) and value.is_integer()):
            return number if (number := int(value)) in self._range else None
        return None

    def render(self, value: Any, *, int_enums: bool) -> Any:  # noqa: ARG002
        """A number for 32 bits, a string for 64."""
        return str(value) if self._as_text else value


class Double(Scalar):
    """double or float."""

    type = "TYPE_DOUBLE"
    nothing = 0.0

    def read(self, value: Any) -> float | None:
        """Accept a number; no method that is played takes one as text."""
        return value if isinstance(value, float) or (isinstance(value, int) and not isinstance(value, bool)) else None


class Bytes(Scalar):
    """bytes: base64, the URL alphabet and missing padding allowed; canonical is standard base64."""

    type = "TYPE_BYTES"

    def read(self, value: Any) -> str | None:
        """Accept base64."""
        if not isinstance(value, str):
            return None
        text = value.replace("-", "+").replace("_", "/").rstrip("=")
        try:
            return base64.b64encode(base64.b64decode(text + "=" * (-len(text) % 4), validate=True)).decode()
        except (binascii.Error, ValueError):
            return None

    def complaint(self, value: Any, path: str) -> str:  # noqa: ARG002
        """Say what failed: the value may be a secret's payload and is not repeated."""
        return "Base64 decoding failed"


def _with_fraction(whole: str, fraction: str) -> str:
    """Seconds with 0, 3, 6 or 9 digits after the point, as many as are needed: protobuf's JSON."""
    digits = fraction.rstrip("0")
    return f"{whole}.{digits}{'0' * (-len(digits) % 3)}" if digits else whole


_RFC3339 = re.compile(r"^(\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)$")


class Timestamp(Scalar):
    """google.protobuf.Timestamp; canonical is as `state.timestamp` keeps it."""

    type = "type.googleapis.com/google.protobuf.Timestamp"

    def read(self, value: Any) -> str | None:
        """Accept RFC 3339."""
        match = _RFC3339.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            return None
        zone = "+00:00" if match[3] in "Zz" else match[3]
        try:
            whole, _, _ = timestamp(datetime.fromisoformat(f"{match[1].upper()}{zone}")).partition(".")
        except (ValueError, OverflowError):
            return None
        return f"{whole}.{(match[2] or '').ljust(9, '0')}Z"

    def complaint(self, value: Any, path: str) -> str:  # noqa: ARG002
        """Say the rule."""
        return (
            f"Field '{path.rpartition('.')[2]}', Illegal timestamp format; timestamps must end with 'Z' or have a valid "
            "timezone offset."
        )

    def render(self, value: Any, *, int_enums: bool) -> Any:  # noqa: ARG002
        """The time with no more digits than it needs."""
        whole, _, fraction = value.removesuffix("Z").partition(".")
        return f"{_with_fraction(whole, fraction)}Z"


def moment(text: str) -> datetime:
    """A canonical timestamp as an aware datetime, to the microsecond."""
    return datetime.fromisoformat(text).astimezone(UTC)


_DURATION = re.compile(r"^(-?)0*(\d{1,12})(?:\.(\d{1,9}))?s$")


class Duration(Scalar):
    """google.protobuf.Duration: seconds with an "s"."""

    type = "type.googleapis.com/google.protobuf.Duration"
    nothing = "0s"

    def read(self, value: Any) -> str | None:
        """Accept for example "3600s" and "1.5s", which is written "1.500s"."""
        match = _DURATION.fullmatch(value) if isinstance(value, str) else None
        if match is None or abs(float(value[:-1])) > 315_576_000_000:
            return None
        return f"{match[1]}{_with_fraction(match[2], match[3] or '')}s"

    def complaint(self, value: Any, path: str) -> str:  # noqa: ARG002
        """Say the rule."""
        return f"Field '{path.rpartition('.')[2]}', Illegal duration format; duration must end with 's'"


def span(text: str) -> timedelta:
    """A canonical duration."""
    return timedelta(seconds=float(text[:-1]))


class Enum(Scalar):
    """An enum.

    Args:
        name: full name of the type.
        values: name to number; None where no published source tells the number.
    """

    def __init__(self, name: str, values: Mapping[str, int | None]) -> None:
        self.type = f"type.googleapis.com/{name}"
        self.values = values

    def read(self, value: Any) -> str | None:
        """Accept a value's name in any case, as gcloud sends it, or its number, as the Python clients do."""
        if isinstance(value, str) and (name := value.upper().replace("-", "_")) in self.values:
            return name
        number = value if isinstance(value, int) and not isinstance(value, bool) else None
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
            number = int(value)
        return next((name for name, known in self.values.items() if known is not None and known == number), None)

    def render(self, value: Any, *, int_enums: bool) -> Any:
        """The number where the caller asked for `$alt=json;enum-encoding=int`, else the name."""
        number = self.values[value]
        return number if int_enums and number is not None else value


class Anything:
    """google.protobuf.Any and other free JSON.

    Args:
        message_of: finds the message that a type's full name stands for.
    """

    def __init__(self, message_of: Callable[[str], Message | None]) -> None:
        self._message_of = message_of

    def parse(self, value: Any, path: str, violations: Violations) -> Any:  # noqa: ARG002 - one interface for every kind
        """Accept all."""
        return value

    def render(self, value: Any, *, int_enums: bool) -> Any:
        """A message as its type writes it, all else as it is."""
        url = value.get("@type", "") if isinstance(value, dict) else ""
        message = self._message_of(url.rpartition("/")[2]) if url else None
        return value if message is None else {"@type": url} | message.render(value, int_enums=int_enums)


@dataclass(frozen=True)
class ListOf:
    """A repeated field."""

    kind: Kind

    def parse(self, value: Any, path: str, violations: Violations) -> list[Any]:
        """Accept a JSON array."""
        if not isinstance(value, list):
            shown = _shown(value if not isinstance(value, dict) else "{...}")
            violations.add(path, f"Invalid value at '{path}' (repeated field), {shown}")
            return []
        return [self.kind.parse(item, f"{path}[{index}]", violations) for index, item in enumerate(value)]

    def render(self, value: Any, *, int_enums: bool) -> Any:
        """The array."""
        return [self.kind.render(item, int_enums=int_enums) for item in value]


@dataclass(frozen=True)
class MapOf:
    """A map with string keys."""

    kind: Kind

    def parse(self, value: Any, path: str, violations: Violations) -> dict[str, Any]:
        """Accept a JSON object."""
        if not isinstance(value, dict):
            shown = _shown(value if not isinstance(value, list) else "[...]")
            violations.add(path, f"Invalid value at '{path}' (map field), {shown}")
            return {}
        parsed = {}
        for key, item in value.items():
            String().parse(key, path, violations)
            parsed[key] = self.kind.parse(item, f"{path}[{key}]", violations)
        return parsed

    def render(self, value: Any, *, int_enums: bool) -> Any:
        """The object."""
        return {key: self.kind.render(item, int_enums=int_enums) for key, item in value.items()}


def snake(name: str) -> str:
    """A JSON name ("remoteRepositoryConfig") as the proto field's name."""
    return re.sub(r"[A-Z]", lambda letter: "_" + letter[0].lower(), name)


@dataclass(frozen=True)
class Message:
    """A message.

    Attributes:
        name: full name of the type.
        fields: JSON name to kind.
        oneofs: groups of JSON names of which one at most may be given.
        output_only: fields that only the service writes: taken from no request.
    """

    name: str
    fields: Mapping[str, Kind]
    oneofs: Sequence[Sequence[str]] = ()
    output_only: frozenset[str] = frozenset()

    @functools.cached_property
    def aliases(self) -> Mapping[str, str]:
        """Either spelling of a field's name, camelCase or snake_case, to its JSON name."""
        return {name: name for name in self.fields} | {snake(name): name for name in self.fields}

    def parse(self, value: Any, path: str, violations: Violations) -> dict[str, Any]:
        """Accept a JSON object with known fields in either spelling; null means absent."""
        if not isinstance(value, dict):
            if not _not_single(value, path or "body", violations):
                violations.add(path, f"Invalid value at '{path}' (type.googleapis.com/{self.name}), {_shown(value)}")
            return {}
        where = f" at '{path}'" if path else ""
        parsed: dict[str, Any] = {}
        for key, item in value.items():
            name = self.aliases.get(key)
            if name is None:
                shown = key.encode("utf-8", "replace").decode()[:100]
                violations.add(
                    path, f'Invalid JSON payload received. Unknown name "{shown}"{where}: Cannot find field.'
                )
            elif item is not None:
                parsed[name] = self.fields[name].parse(
                    item, f"{path}.{snake(name)}" if path else snake(name), violations
                )
        for group in self.oneofs:
            given = [name for name in group if name in parsed]
            if len(given) > 1:
                violations.add(
                    path,
                    f'Invalid JSON payload received. Unknown name "{given[1]}"{where}: Proto field is part of a oneof '
                    f'that already has a value ("{given[0]}").',
                )
        return {name: item for name, item in parsed.items() if name not in self.output_only}

    def render(self, value: Any, *, int_enums: bool) -> dict[str, Any]:
        """The object in the order of the declaration, without scalars at their default, as proto3 writes it."""
        rendered = {}
        for name, kind in self.fields.items():
            item = value.get(name)
            if item is None or (not item and not isinstance(kind, Message)):
                continue
            if isinstance(kind, Enum) and kind.values[item] == 0:
                continue
            rendered[name] = kind.render(item, int_enums=int_enums)
        return rendered


def parse_mask(text: str, message: Message) -> list[tuple[str, ...]]:
    """A field mask's paths through a message as JSON names.

    Args:
        text: comma-separated paths, each part camelCase or snake_case; or "*".
        message: what the paths lead through.

    Raises:
        errors.InvalidArgument: a path that leads nowhere.
    """
    paths: list[tuple[str, ...]] = []
    for given in (part.strip() for part in text.split(",")):
        if not given:
            continue
        if given == "*":
            return [(name,) for name in message.fields]
        path = through(message, given.split("."))
        if path is None:
            raise errors.InvalidArgument.at(
                "update_mask",
                f"Invalid value at 'update_mask' (type.googleapis.com/google.protobuf.FieldMask), {_shown(given)}",
            )
        paths.append(path)
    return paths


def through(kind: Kind, parts: Sequence[str], *, into_many: bool = False) -> tuple[str, ...] | None:
    """A path in JSON names; None when it leads nowhere.

    Args:
        kind: what it leads through.
        parts: its names in either spelling.
        into_many: whether it may go on into the items of a list, the keys of a map and free JSON, and "*" names every field.
    """
    if not parts:
        return ()
    if into_many and isinstance(kind, ListOf):
        return through(kind.kind, parts, into_many=True)
    name, below = parts[0], None
    if isinstance(kind, Message) and name in kind.aliases:
        name = kind.aliases[name]
        below = kind.fields[name]
    elif into_many and isinstance(kind, MapOf):
        below = kind.kind
    elif into_many and (name == "*" or isinstance(kind, Anything)):
        below = Anything(lambda _: None)
    rest = None if below is None else through(below, parts[1:], into_many=into_many)
    return None if rest is None else (name, *rest)


def at_path(value: Mapping[str, Any], path: Sequence[str]) -> Any:
    """What a path of JSON names leads to in a canonical message, or None."""
    found: Any = value
    for name in path:
        if not isinstance(found, Mapping) or name not in found:
            return None
        found = found[name]
    return found


def merge_path(target: dict[str, Any], source: Mapping[str, Any], path: Sequence[str]) -> None:
    """Make what a path leads to in one message that of the other; absent there means absent here."""
    value = at_path(source, path)
    for name in path[:-1]:
        following = target.get(name)
        if not isinstance(following, dict):
            if value is None:
                return
            following = {}
            target[name] = following
        target = following
    if value is None:
        target.pop(path[-1], None)
    else:
        target[path[-1]] = value
