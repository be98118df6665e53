"""The tables of Google's definitions against the official clients that are installed: a field that is new there is seen here."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from typing import Any

import pytest

from cgrunbook.sandbox import context
from cgrunbook.sandbox.google import messages, schema
from cgrunbook.sandbox.google.wire import Routes

CLIENTS = {
    (context.ARTIFACT_REGISTRY, "v1"): "google.cloud.artifactregistry_v1",
    (context.SECRET_MANAGER, "v1"): "google.cloud.secretmanager_v1",
    (context.SERVICE_USAGE, "v1"): "google.cloud.service_usage_v1",
    (context.RESOURCE_MANAGER, "v3"): "google.cloud.resourcemanager_v3",
}
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


def requests(package: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Each request that a client sends over REST: the method's name in its proto, and its HTTP option."""
    services = importlib.import_module(f"{package}.services")
    for service in pkgutil.iter_modules(services.__path__):
        module = importlib.import_module(f"{services.__name__}.{service.name}.transports.rest_base")
        for name, base in inspect.getmembers(module, inspect.isclass):
            if not re.fullmatch(r"_Base\w+RestTransport", name):
                continue
            for rpc, method in inspect.getmembers(base, inspect.isclass):
                for option in method._get_http_options() if hasattr(method, "_get_http_options") else ():
                    yield rpc.removeprefix("_Base"), option


def path_of(option: dict[str, str]) -> str:
    path = re.sub(r"\{[\w.]+(?:=([^}]*))?\}", lambda variable: variable[1] or "*", option["uri"]).removeprefix("/")
    return re.sub(r"\*+", "x", path.replace("/*/*/services", "/projects/*/services"))


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


@pytest.mark.parametrize(("host", "version"), CLIENTS)
def test_every_message_of_the_official_clients_is_in_the_table_as_it_is_there(host: str, version: str) -> None:
    table = schema.versions(host)[version]
    found: list[str] = []
    absent: set[str] = set()
    for name, descriptor in descriptors(CLIENTS[host, version]).items():
        try:
            table.message(name.removeprefix(f"{descriptor.file.package}."))
        except KeyError:
            absent.add(name)
            continue
        found += differences(table, descriptor)
    assert not found
    assert {name for name in absent if not name.endswith("Request")} <= ABSENT.keys()


@pytest.mark.parametrize(("host", "version"), CLIENTS)
def test_every_request_of_the_official_clients_finds_its_method_with_all_its_parameters(
    host: str, version: str
) -> None:
    routes = Routes(method for one in schema.versions(host).values() for method in one.methods.values())
    known = descriptors(CLIENTS[host, version])
    missing, seen = [], 0
    for rpc, option in requests(CLIENTS[host, version]):
        found = routes.find(option["method"].upper(), path_of(option))
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
