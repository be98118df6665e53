"""Protocol messages in JSON: what a body or parameter may hold, checked strictly, and how an answer is written.

Knows proto3's JSON mapping and Google's words for its violations. Knows no service; services declare their messages.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from cgrunbook.sandbox import errors
from cgrunbook.sandbox.state import timestamp


class Violations:
    """Collects what is wrong with one request, so that the answer names everything at once."""

    def __init__(self) -> None:
        self._found: list[tuple[str, str]] = []

    def add(self, path: str, description: str) -> None:
        """Note one violation.

        Args:
            path: Path of the field, "" for the top of the body.
            description: Google's sentence for it.
        """
        self._found.append((path, description))

    def refuse(self) -> None:
        """Raise what was noted, if anything was.

        Raises:
            errors.InvalidArgument: With google.rpc.BadRequest naming each field.
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
        """Return the value in canonical JSON (enums as strings, camelCase), noting what is wrong."""

    def render(self, value: Any, *, int_enums: bool) -> Any:
        """Return a canonical value as the answer's JSON has it."""


def _shown(value: Any) -> str:
    text = (
        f'"{value}"'
        if isinstance(value, str)
        else {True: "true", False: "false"}.get(value, str(value))
        if isinstance(value, bool)
        else str(value)
    )
    return text if len(text) <= 200 else text[:200] + "..."


def _bad(path: str, kind: str, value: Any) -> tuple[str, str]:
    return path, f"Invalid value at '{path}' ({kind}), {_shown(value)}"


def _not_single(value: Any, path: str, violations: Violations) -> bool:
    """Note a list or object where a single value belongs."""
    if not isinstance(value, dict | list):
        return False
    parent, _, name = path.rpartition(".")
    start = "list" if isinstance(value, list) else "map"
    where = f" at '{parent}'" if parent else ""
    reason = (
        "Proto field is not repeating, cannot start list."
        if start == "list"
        else "Starting an object on a scalar field."
    )
    violations.add(parent, f'Invalid JSON payload received. Unknown name "{name}"{where}: {reason}')
    return True


@dataclass(frozen=True)
class String:
    """string."""

    def parse(self, value: Any, path: str, violations: Violations) -> str:
        """Accept a JSON string of valid Unicode."""
        if _not_single(value, path, violations):
            return ""
        if not isinstance(value, str):
            violations.add(*_bad(path, "TYPE_STRING", value))
            return ""
        try:
            value.encode()
        except UnicodeEncodeError:
            violations.add(path, f"Invalid value at '{path}' (TYPE_STRING), not valid UTF-8")
            return ""
        return value

    def render(self, value: Any, *, int_enums: bool) -> Any:  # noqa: ARG002 - one interface for every kind
        """Return the string."""
        return value


@dataclass(frozen=True)
class Bool:
    """bool."""

    def parse(self, value: Any, path: str, violations: Violations) -> bool:
        """Accept true and false, and their names as query parameters bring them."""
        if _not_single(value, path, violations):
            return False
        if isinstance(value, bool):
            return value
        if value in ("true", "false"):
            return bool(value == "true")
        violations.add(*_bad(path, "TYPE_BOOL", value))
        return False

    def render(self, value: Any, *, int_enums: bool) -> Any:  # noqa: ARG002
        """Return the bool."""
        return value


@dataclass(frozen=True)
class Integer:
    """int32 or int64; the latter is a string in JSON.

    Attributes:
        bits: 32 or 64.
    """

    bits: int = 32

    def parse(self, value: Any, path: str, violations: Violations) -> int:
        """Accept a whole number, or its digits in a string."""
        if _not_single(value, path, violations):
            return 0
        number: int | None = None
        whole = isinstance(value, int) and not isinstance(value, bool)
        digits = isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,20}", value) is not None
        if whole or digits or (isinstance(value, float) and value.is_integer()):
            number = int(value)
        if number is None or not -(2 ** (self.bits - 1)) <= number < 2 ** (self.bits - 1):
            violations.add(*_bad(path, f"TYPE_INT{self.bits}", value))
            return 0
        return number

    def render(self, value: Any, *, int_enums: bool) -> Any:  # noqa: ARG002
        """Return a number for 32 bits, a string for 64."""
        return value if self.bits == 32 else str(value)


@dataclass(frozen=True)
class Bytes:
    """bytes: base64, the URL alphabet and missing padding allowed; canonical is standard base64."""

    def parse(self, value: Any, path: str, violations: Violations) -> str:
        """Accept base64."""
        if _not_single(value, path, violations):
            return ""
        if isinstance(value, str):
            text = value.replace("-", "+").replace("_", "/").rstrip("=")
            try:
                return base64.b64encode(base64.b64decode(text + "=" * (-len(text) % 4), validate=True)).decode()
            except (binascii.Error, ValueError):
                pass
        # The value may be a secret's payload: it is not repeated.
        violations.add(path, f"Invalid value at '{path}' (TYPE_BYTES), Base64 decoding failed")
        return ""

    def render(self, value: Any, *, int_enums: bool) -> Any:  # noqa: ARG002
        """Return the base64."""
        return value


_RFC3339 = re.compile(r"^(\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)$")


@dataclass(frozen=True)
class Timestamp:
    """google.protobuf.Timestamp; canonical is UTC with microseconds."""

    def parse(self, value: Any, path: str, violations: Violations) -> str:
        """Accept RFC 3339."""
        if _not_single(value, path, violations):
            return ""
        match = _RFC3339.fullmatch(value) if isinstance(value, str) else None
        if match is not None:
            fraction = (match[2] or "")[:6].ljust(6, "0")
            zone = "+00:00" if match[3] in "Zz" else match[3]
            try:
                return timestamp(datetime.fromisoformat(f"{match[1].upper()}.{fraction}{zone}"))
            except (ValueError, OverflowError):
                pass
        name = path.rpartition(".")[2]
        violations.add(
            path,
            f"Invalid value at '{path}' (type.googleapis.com/google.protobuf.Timestamp), Field '{name}', Illegal "
            "timestamp format; timestamps must end with 'Z' or have a valid timezone offset.",
        )
        return ""

    def render(self, value: Any, *, int_enums: bool) -> Any:  # noqa: ARG002
        """Return RFC 3339."""
        return value


def moment(text: str) -> datetime:
    """Return a canonical timestamp as an aware datetime.

    Args:
        text: What `Timestamp.parse` made.
    """
    return datetime.fromisoformat(text).astimezone(UTC)


_DURATION = re.compile(r"^-?\d{1,12}(?:\.\d{1,9})?s$")


@dataclass(frozen=True)
class Duration:
    """google.protobuf.Duration: seconds with an "s"."""

    def parse(self, value: Any, path: str, violations: Violations) -> str:
        """Accept for example "3600s" and "1.5s"."""
        if _not_single(value, path, violations):
            return "0s"
        if isinstance(value, str) and _DURATION.fullmatch(value) and abs(float(value[:-1])) <= 315_576_000_000:
            seconds = value[:-1]
            if "." in seconds:
                seconds = seconds.rstrip("0").rstrip(".")
            return f"{seconds}s"
        name = path.rpartition(".")[2]
        violations.add(
            path,
            f"Invalid value at '{path}' (type.googleapis.com/google.protobuf.Duration), Field '{name}', Illegal "
            "duration format; duration must end with 's'",
        )
        return "0s"

    def render(self, value: Any, *, int_enums: bool) -> Any:  # noqa: ARG002
        """Return seconds with an "s"."""
        return value


def span(text: str) -> timedelta:
    """Return a canonical duration.

    Args:
        text: What `Duration.parse` made.
    """
    return timedelta(seconds=float(text[:-1]))


@dataclass(frozen=True)
class Enum:
    """An enum.

    Attributes:
        name: Full name of the type.
        values: Name to number.
    """

    name: str
    values: Mapping[str, int]

    def parse(self, value: Any, path: str, violations: Violations) -> str:
        """Accept a value's name in any case, as gcloud sends it, or its number, as the Python clients do."""
        if _not_single(value, path, violations):
            return ""
        if isinstance(value, str) and (name := value.upper().replace("-", "_")) in self.values:
            return name
        number = value if isinstance(value, int) and not isinstance(value, bool) else None
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
            number = int(value)
        for name, known in self.values.items():
            if number == known:
                return name
        violations.add(*_bad(path, f"type.googleapis.com/{self.name}", value))
        return ""

    def render(self, value: Any, *, int_enums: bool) -> Any:
        """Return the number where the caller asked for `$alt=json;enum-encoding=int`, else the name."""
        return self.values[value] if int_enums else value


@dataclass(frozen=True)
class ListOf:
    """A repeated field.

    Attributes:
        kind: What it repeats.
    """

    kind: Kind

    def parse(self, value: Any, path: str, violations: Violations) -> list[Any]:
        """Accept a JSON array."""
        if not isinstance(value, list):
            violations.add(*_bad(path, "repeated field", value if not isinstance(value, dict) else "{...}"))
            return []
        return [self.kind.parse(item, f"{path}[{index}]", violations) for index, item in enumerate(value)]

    def render(self, value: Any, *, int_enums: bool) -> Any:
        """Return the array."""
        return [self.kind.render(item, int_enums=int_enums) for item in value]


@dataclass(frozen=True)
class MapOf:
    """A map with string keys.

    Attributes:
        kind: What its values are.
    """

    kind: Kind

    def parse(self, value: Any, path: str, violations: Violations) -> dict[str, Any]:
        """Accept a JSON object."""
        if not isinstance(value, dict):
            violations.add(*_bad(path, "map field", value if not isinstance(value, list) else "[...]"))
            return {}
        parsed = {}
        for key, item in value.items():
            String().parse(key, path, violations)
            parsed[key] = self.kind.parse(item, f"{path}[{key}]", violations)
        return parsed

    def render(self, value: Any, *, int_enums: bool) -> Any:
        """Return the object."""
        return {key: self.kind.render(item, int_enums=int_enums) for key, item in value.items()}


def snake(name: str) -> str:
    """Return a JSON name as the proto field's name.

    Args:
        name: For example "remoteRepositoryConfig".
    """
    return re.sub(r"[A-Z]", lambda letter: "_" + letter[0].lower(), name)


@dataclass(frozen=True)
class Message:
    """A message.

    Attributes:
        name: Full name of the type.
        fields: JSON name to kind.
        oneofs: Groups of JSON names of which one at most may be given.
    """

    name: str
    fields: Mapping[str, Kind]
    oneofs: Sequence[Sequence[str]] = ()
    _aliases: dict[str, str] = field(default_factory=dict, init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        for name in self.fields:
            self._aliases[name] = name
            self._aliases[snake(name)] = name

    def json_name(self, name: str) -> str | None:
        """Return the JSON name of a field given in either spelling; None when there is no such field.

        Args:
            name: camelCase or snake_case.
        """
        return self._aliases.get(name)

    def parse(self, value: Any, path: str, violations: Violations) -> dict[str, Any]:
        """Accept a JSON object with known fields in either spelling; null means absent."""
        if not isinstance(value, dict):
            if isinstance(value, list):
                _not_single(value, path or "body", violations)
            else:
                violations.add(*_bad(path, f"type.googleapis.com/{self.name}", value))
            return {}
        parsed: dict[str, Any] = {}
        for key, item in value.items():
            name = self._aliases.get(key)
            if name is None:
                where = f" at '{path}'" if path else ""
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
                where = f" at '{path}'" if path else ""
                violations.add(
                    path,
                    f'Invalid JSON payload received. Unknown name "{given[1]}"{where}: Proto field is part of a oneof '
                    f'that already has a value ("{given[0]}").',
                )
        return parsed

    def render(self, value: Any, *, int_enums: bool) -> dict[str, Any]:
        """Return the object in the order of the declaration, without scalars at their default, as proto3 writes it."""
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
    """Return a field mask's paths as JSON names.

    Args:
        text: Comma-separated paths, each part camelCase or snake_case; or "*".
        message: What the paths lead through.

    Raises:
        errors.InvalidArgument: A path that leads nowhere.
    """
    paths: list[tuple[str, ...]] = []
    for given in (part.strip() for part in text.split(",")):
        if not given:
            continue
        if given == "*":
            return [(name,) for name in message.fields]
        kind: Kind = message
        names: list[str] = []
        for part in given.split("."):
            name = kind.json_name(part) if isinstance(kind, Message) else None
            if name is None or not isinstance(kind, Message):
                raise errors.InvalidArgument.at(
                    "update_mask",
                    f"Invalid value at 'update_mask' (type.googleapis.com/google.protobuf.FieldMask), {_shown(given)}",
                )
            names.append(name)
            kind = kind.fields[name]
        paths.append(tuple(names))
    return paths


def at_path(value: Mapping[str, Any], path: Sequence[str]) -> Any:
    """Return what a path leads to, or None.

    Args:
        value: A canonical message.
        path: JSON names.
    """
    found: Any = value
    for name in path:
        if not isinstance(found, Mapping) or name not in found:
            return None
        found = found[name]
    return found


def merge_path(target: dict[str, Any], source: Mapping[str, Any], path: Sequence[str]) -> None:
    """Make what a path leads to in one message that of the other; absent there means absent here.

    Args:
        target: Changed in place.
        source: Where the value comes from.
        path: JSON names.
    """
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
