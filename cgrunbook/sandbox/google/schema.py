"""What Google publishes of its services: each version's methods, routes, parameters, messages and enums.

Knows how the tables in the folder beside it are read, which `make schema` writes. Knows nothing of what is played.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cgrunbook.sandbox.google.messages import (
    Anything,
    Bool,
    Bytes,
    Double,
    Duration,
    Enum,
    Integer,
    Kind,
    ListOf,
    MapOf,
    Message,
    String,
    Timestamp,
)

_TABLES = Path(__file__).with_name("tables")
_SCALARS: Mapping[str, Kind] = {
    "string": String(),
    "fieldmask": String(),  # read where the message is known that it leads through
    "bool": Bool(),
    "int32": Integer(32),
    "int64": Integer(64),
    "uint32": Integer(32, signed=False),
    "uint64": Integer(64, signed=False),
    "double": Double(),
    "bytes": Bytes(),
    "timestamp": Timestamp(),
    "duration": Duration(),
}
EMPTY = Message("google.protobuf.Empty", {})


@dataclass(frozen=True, eq=False)
class Method:
    """One published method.

    Attributes:
        version: the version that it belongs to.
        name: what the service's REST reference calls it, for example "projects.secrets.create".
        verb: the HTTP method.
        path: the route, `{variable}` for a segment, perhaps `:custom` at the end.
        body_field: the request field that is the body, for the paths in error messages; "" when it is the request.
    """

    version: Version
    name: str
    verb: str
    path: str
    body_field: str
    _facts: Mapping[str, Any]

    @functools.cached_property
    def query(self) -> Mapping[str, Kind]:
        """The parameters, by JSON name."""
        return {name: self.version.kind(declared) for name, declared in self._facts.get("query", {}).items()}

    @functools.cached_property
    def body(self) -> Message:
        """What the body is; a method without one takes an empty message, as Google's front end does."""
        return self.version.message(self._facts["body"]) if "body" in self._facts else EMPTY

    @functools.cached_property
    def answer(self) -> Message:
        """What the answer is."""
        return self.version.message(self._facts["answer"]) if "answer" in self._facts else EMPTY


class Version:
    """One version of a service; its messages are made when they are asked for.

    Attributes:
        name: for example "v1".
        methods: by name.
    """

    def __init__(self, name: str, table: Mapping[str, Any]) -> None:
        self.name = name
        self._package: str = table["package"]
        self._declared: Mapping[str, Any] = table["messages"]
        self._enums: Mapping[str, Any] = table["enums"]
        self._messages: dict[str, Message] = {}
        self.methods: Mapping[str, Method] = {
            method: Method(self, method, facts["verb"], facts["path"], facts.get("field", ""), facts)
            for method, facts in table["methods"].items()
        }

    def message(self, name: str) -> Message:
        """A message by its full name, or by its name within the version's package."""
        if name in self._messages:
            return self._messages[name]
        declared = self._declared[name]
        kinds: dict[str, Kind] = {}
        output_only = frozenset(field for field, kind in declared["fields"].items() if kind.startswith("output "))
        message = Message(self._full(name), kinds, declared.get("oneofs", ()), output_only)
        self._messages[name] = message  # before its fields are made: a message may hold itself
        kinds.update({field: self.kind(kind) for field, kind in declared["fields"].items()})
        return message

    def _full(self, name: str) -> str:
        return name if name.startswith("google.") or not self._package else f"{self._package}.{name}"

    def _of_type(self, full: str) -> Message | None:
        name = full.removeprefix(f"{self._package}.")
        return self.message(name) if name in self._declared else None

    def kind(self, declared: str) -> Kind:
        """The kind that a table's words stand for, for example "output list string"."""
        word, _, of = declared.partition(" ")
        if word == "output":
            return self.kind(of)
        if word in {"list", "map"}:
            return ListOf(self.kind(of)) if word == "list" else MapOf(self.kind(of))
        if word == "any":
            return Anything(self._of_type)
        if word in self._enums:
            return Enum(self._full(word), self._enums[word])
        return _SCALARS.get(word) or self.message(word)


@functools.cache
def titles() -> Mapping[str, str]:
    """Google's APIs: host name, by which Service Usage knows one, to title."""
    names: dict[str, str] = json.loads((_TABLES / "services.json").read_text(encoding="utf-8"))
    return names


@functools.cache
def versions(host: str) -> Mapping[str, Version]:
    """The versions of a service by name, the stable ones first.

    Args:
        host: for example "secretmanager.googleapis.com".
    """
    table = json.loads((_TABLES / f"{host.partition('.')[0]}.json").read_text(encoding="utf-8"))
    return {name: Version(name, facts) for name, facts in table.items()}
