"""The tables of Google's definitions against the official clients that are installed: a field that is new there is seen here."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from typing import Any

import pytest

from cgrunbook.sandbox.google import messages, schema
from cgrunbook.sandbox.google.routes import Routes
from tests.schema import CLIENTS, requests, route

SCALARS = {
    "string": messages.String, "bool": messages.Bool, "bytes": messages.Bytes, "int32": messages.Integer, "int64": messages.Integer,
    "google.protobuf.Timestamp": messages.Timestamp, "google.protobuf.Duration": messages.Duration,
    "google.protobuf.FieldMask": messages.String, "google.protobuf.Any": messages.Anything,
    "google.protobuf.Struct": messages.Anything,
}  # fmt: skip
TYPES = {3: "int64", 5: "int32", 8: "bool", 9: "string", 12: "bytes"}
#: Messages of the clients that no table needs, besides the requests: those are the route, the parameters and the body.
ABSENT = {
    "google.cloud.resourcemanager.v3.CreateTagHoldMetadata": "of an operation that no published method is known to begin",
    "google.cloud.resourcemanager.v3.DeleteTagHoldMetadata": "of an operation that no published method is known to begin",
}


def descriptors(package: str) -> dict[str, Any]:
    """Every message of a client by full name, nested ones too."""
    found: dict[str, Any] = {}

    def add(descriptor: Any) -> None:
        if not descriptor.GetOptions().map_entry:
            found[descriptor.full_name] = descriptor
            for nested in descriptor.nested_types:
                add(nested)

    for _, one in inspect.getmembers(importlib.import_module(f"{package}.types"), inspect.isclass):
        if hasattr(one, "pb"):
            add(one.pb().DESCRIPTOR)
    return found


def differs(field: Any, kind: Any) -> str:
    """What a kind lacks of a field's: of its values, where it is a list or a map."""
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        field = field.message_type.fields_by_name["value"]
    if isinstance(kind, messages.ListOf | messages.MapOf):
        kind = kind.kind
    if field.enum_type is not None:
        numbers = {value.name: value.number for value in field.enum_type.values}
        known = kind.values if isinstance(kind, messages.Enum) else {}
        return f"has not the values {numbers}" if numbers.items() - known.items() else ""
    name = field.message_type.full_name if field.message_type is not None else TYPES[field.type]
    right = type(kind) is SCALARS[name] if name in SCALARS else isinstance(kind, messages.Message) and kind.name == name
    return "" if right else f"is no {name}"


def differences(version: schema.Version, descriptor: Any) -> Iterator[str]:
    message = version.message(descriptor.full_name.removeprefix(f"{descriptor.file.package}."))
    for field in descriptor.fields:
        if field.json_name not in message.fields:
            yield f"{descriptor.full_name}.{field.json_name} is missing"
        elif told := differs(field, message.fields[field.json_name]):
            yield f"{descriptor.full_name}.{field.json_name} {told}"
    for oneof in descriptor.oneofs:
        group = {field.json_name for field in oneof.fields}
        if len(group) > 1 and group not in [set(one) for one in message.oneofs]:
            yield f"{descriptor.full_name} lacks the oneof {group}"


@pytest.mark.parametrize(("service", "version"), CLIENTS)
def test_every_message_of_the_official_clients_is_in_the_table_as_it_is_there(service: str, version: str) -> None:
    table = schema.versions(f"{service}.googleapis.com")[version]
    found: list[str] = []
    absent: set[str] = set()
    for name, descriptor in descriptors(CLIENTS[service, version]).items():
        try:
            table.message(name.removeprefix(f"{descriptor.file.package}."))
        except KeyError:
            absent.add(name)
            continue
        found += differences(table, descriptor)
    assert not found
    assert {name for name in absent if not name.endswith("Request")} <= ABSENT.keys()


@pytest.mark.parametrize(("service", "version"), CLIENTS)
def test_every_request_of_the_official_clients_finds_its_method_with_all_its_parameters(
    service: str, version: str
) -> None:
    routes = Routes(
        method for one in schema.versions(f"{service}.googleapis.com").values() for method in one.methods.values()
    )
    known = descriptors(CLIENTS[service, version])
    missing, seen = [], 0
    for rpc, option in requests(CLIENTS[service, version]):
        found = routes.find(*route(option))
        if found is None:
            missing.append((rpc, option))
            continue
        seen += 1
        request = next((one for name, one in known.items() if name.endswith(f".{rpc}Request")), None)
        if request is None or option.get("body") == "*":
            continue
        bound = set(re.findall(r"\{(\w+)", option["uri"])) | {option.get("body")}
        asked = {field.json_name for field in request.fields if field.name not in bound}
        missing += [(rpc, name) for name in asked if not any(one.partition(".")[0] == name for one in found[0].query)]
    assert seen > 5
    assert not missing
