"""`make schema`: write what the sandbox takes from Google's published definitions, as tables of facts in a form of our own.

python -m tests.schema FOLDER, where FOLDER has google-api-python-client. Its discovery documents say which methods, routes,
parameters and messages each version of a service has, the beta versions too. What they leave out the installed clients know: the
numbers of enums' values and fields, which fields exclude each other, the full names of types, and methods not yet in a document.
Names, types, numbers and routes are taken; no description is.
"""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.cloud.location import locations_pb2
from google.iam.v1 import iam_policy_pb2, options_pb2, policy_pb2
from google.longrunning import operations_pb2
from google.protobuf import descriptor
from google.rpc import status_pb2

TABLES = Path(__file__).parents[1] / "cgrunbook" / "sandbox" / "google" / "tables"
SERVICES = (
    "artifactregistry",
    "secretmanager",
    "serviceusage",
    "cloudresourcemanager",
    "cloudbilling",
    "cloudkms",
    "pubsub",
    "logging",
)
#: The official client of a version, where it is installed.
CLIENTS = {
    ("artifactregistry", "v1"): "google.cloud.artifactregistry_v1",
    ("artifactregistry", "v1beta2"): "google.cloud.artifactregistry_v1beta2",
    ("secretmanager", "v1"): "google.cloud.secretmanager_v1",
    ("secretmanager", "v1beta1"): "google.cloud.secretmanager_v1beta1",
    ("secretmanager", "v1beta2"): "google.cloud.secretmanager_v1beta2",
    ("serviceusage", "v1"): "google.cloud.service_usage_v1",
    ("cloudresourcemanager", "v3"): "google.cloud.resourcemanager_v3",
}
#: Services that a project may enable and that have no discovery document.
WITHOUT_DOCUMENT = {
    "anthos": "Anthos API",
    "anthosconfigmanagement": "Anthos Config Management API",
    "autoscaling": "Cloud Autoscaling API",
    "bigquerymigration": "BigQuery Migration API",
    "bigquerystorage": "BigQuery Storage API",
    "calendar-json": "Google Calendar API",
    "cloudaicompanion": "Gemini for Google Cloud API",
    "cloudapis": "Google Cloud APIs",
    "cloudquotas": "Cloud Quotas API",
    "connectgateway": "Connect Gateway API",
    "containerregistry": "Container Registry API",
    "containerscanning": "Container Scanning API",
    "containersecurity": "Container Security API",
    "drive": "Google Drive API",
    "generativelanguage": "Generative Language API",
    "geocoding-backend": "Geocoding API",
    "gkeconnect": "GKE Connect API",
    "maps-backend": "Maps JavaScript API",
    "mesh": "Mesh API",
    "meshconfig": "Mesh Configuration API",
    "places-backend": "Places API",
    "sql-component": "Cloud SQL",
    "stackdriver": "Stackdriver API",
    "storage-api": "Google Cloud Storage JSON API",
    "storage-component": "Cloud Storage",
    "translate": "Cloud Translation API",
}
#: What gcloud sends of a version and neither its document nor its client has.
UNPUBLISHED = {
    ("artifactregistry", "v1"): {
        "projects.locations.getPlatformLogsConfig": "GET v1/projects/*/locations/*/platformLogsConfig",
        "projects.locations.updatePlatformLogsConfig": "PATCH v1/projects/*/locations/*/platformLogsConfig",
        "projects.locations.repositories.getPlatformLogsConfig": "GET v1/projects/*/locations/*/repositories/*/platformLogsConfig",
        "projects.locations.repositories.updatePlatformLogsConfig": (
            "PATCH v1/projects/*/locations/*/repositories/*/platformLogsConfig"
        ),
        "projects.locations.repositories.reindex": "POST v1/projects/*/locations/*/repositories/*:reindex",
    },
    ("cloudresourcemanager", "v3"): {
        "projects.settings.list": "GET v3/projects/*/settings",
        "projects.settings.get": "GET v3/projects/*/settings/*",
        "projects.settings.patch": "PATCH v3/projects/*/settings/*",
        "projects.settings.clear": "POST v3/projects/*/settings/*:clear",
        "projects.effectiveSettings.get": "GET v3/projects/*/effectiveSettings/*",
    },
}
SHARED = (iam_policy_pb2, policy_pb2, options_pb2, locations_pb2, operations_pb2, status_pb2)
SCALARS = {
    ("string", None): "string", ("boolean", None): "bool", ("integer", "int32"): "int32", ("integer", "uint32"): "uint32",
    ("string", "int64"): "int64", ("string", "uint64"): "uint64", ("string", "byte"): "bytes", ("any", None): "any",
    ("string", "google-datetime"): "timestamp", ("string", "google-duration"): "duration",
    ("string", "google-fieldmask"): "fieldmask", ("number", "double"): "double", ("number", "float"): "double",
}  # fmt: skip
OF_DESCRIPTORS = {
    "google.protobuf.Timestamp": "timestamp", "google.protobuf.Duration": "duration", "google.protobuf.FieldMask": "fieldmask",
    "google.protobuf.Any": "any", "google.protobuf.Struct": "any", "google.protobuf.Value": "any",
}  # fmt: skip
_FIELD = descriptor.FieldDescriptor
OF_TYPES = {
    _FIELD.TYPE_STRING: "string", _FIELD.TYPE_BOOL: "bool", _FIELD.TYPE_BYTES: "bytes", _FIELD.TYPE_INT32: "int32",
    _FIELD.TYPE_UINT32: "uint32", _FIELD.TYPE_INT64: "int64", _FIELD.TYPE_UINT64: "uint64", _FIELD.TYPE_DOUBLE: "double",
    _FIELD.TYPE_FLOAT: "double",
}  # fmt: skip


def snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])[A-Z]|(?<=[A-Z])[A-Z](?=[a-z])", lambda letter: "_" + letter[0], name).lower()


def singular(collection: str) -> str:
    return re.sub(r"ies$", "y", collection) if collection.endswith("ies") else collection.removesuffix("s")


def template(path: str) -> str:
    """A route with each variable named after the collection before it, `v1/projects/{project}/secrets/{secret}:addVersion`."""
    # Service Usage's */* is a consumer, of which the services that are enabled have one kind: projects.
    path = re.sub(r"^(v\w+)/\{\w+Id\}/\{\w+Id1\}/", r"\1/projects/{projectsId}/", path)
    path = re.sub(r"^(v\w+)/\*/\*/", r"\1/projects/*/", path)
    segments = path.split("/")
    for index in range(1, len(segments)):
        segments[index] = re.sub(r"^(?:\{\w+\}|\*+)", "{" + singular(segments[index - 1]) + "}", segments[index])
    assert "+" not in path, path
    return "/".join(segments)


class Client:
    """What an installed official client knows of one version: the descriptors of its messages and enums."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.package = ""
        files = {module.DESCRIPTOR for module in SHARED}
        if name:
            for _, one in inspect.getmembers(importlib.import_module(f"{name}.types"), inspect.isclass):
                if hasattr(one, "pb"):
                    files.add(one.pb().DESCRIPTOR.file)
                    self.package = one.pb().DESCRIPTOR.file.package
        self.messages: dict[str, Any] = {}
        self._enums: list[Any] = []
        for file in sorted(files, key=lambda one: (one.package == self.package, one.name)):
            self.messages |= dict(file.message_types_by_name)
            self._enums += file.enum_types_by_name.values()
        self._enums += [enum for _, message in sorted(self.messages.items()) for enum in message.enum_types]

    def enum_of(self, values: list[str]) -> Any | None:
        """The enum that has just these values; None where several have them with different numbers."""
        alike = [enum for enum in self._enums if {value.name for value in enum.values} == set(values)]
        numbers = {tuple(sorted((value.name, value.number) for value in enum.values)) for enum in alike}
        return alike[0] if len(numbers) == 1 else None

    def body_field(self, resource: Any) -> str | None:
        """The name of the field of a request that a resource is given in, "repository" of CreateRepositoryRequest."""
        for name, message in sorted(self.messages.items()):
            for field in message.fields:
                if name.endswith("Request") and field.message_type is resource and not field.is_repeated:
                    return str(field.name)
        return None


def requests(package: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Each request that a client sends over REST: the method's name in its proto, and its http annotation."""
    services = importlib.import_module(f"{package}.services")
    for service in pkgutil.iter_modules(services.__path__):
        module = importlib.import_module(f"{services.__name__}.{service.name}.transports.rest_base")
        for name, base in inspect.getmembers(module, inspect.isclass):
            if not re.fullmatch(r"_Base\w+RestTransport", name):
                continue
            for rpc, method in inspect.getmembers(base, inspect.isclass):
                for option in method._get_http_options() if hasattr(method, "_get_http_options") else ():
                    yield rpc.removeprefix("_Base"), option


def route(option: dict[str, str]) -> tuple[str, str]:
    """The verb and path of an http annotation."""
    path = re.sub(r"\{[\w.]+(?:=([^}]*))?\}", lambda variable: variable[1] or "*", option["uri"])
    return option["method"].upper(), template(path.removeprefix("/"))


class Version:
    """One version of a service as a table: methods, messages and enums."""

    def __init__(self, document: dict[str, Any], client: Client) -> None:
        self._document = document
        self._client = client
        self._names: dict[str, str] = {}  # of the document's messages
        self.package = client.package
        self.messages: dict[str, Any] = {}
        self.enums: dict[str, Any] = {}
        self.methods: dict[str, Any] = {}
        prefix = re.compile(r"^Google[A-Z]\w*?V\d+(?:(?:alpha|beta)\d+)?(?=[A-Z])")
        schemas = document["schemas"]
        known = {
            identifier: client.messages[name]
            for identifier in schemas
            for name in (identifier, prefix.sub("", identifier))
            if name in client.messages
        }
        for identifier in sorted(schemas, key=lambda one: (one not in known, one)):
            self._message(identifier, known.get(identifier))
        self._add_methods(document, f"{document['name']}.")
        routes = {(method["verb"], method["path"]) for method in self.methods.values()}
        for rpc, option in requests(client.name) if client.name else ():
            verb, path = route(option)
            if (verb, path) not in routes:
                routes.add((verb, path))
                self.methods[rpc] = {"verb": verb, "path": path}
        for name, request in UNPUBLISHED.get((document["name"], document["version"]), {}).items():
            verb, _, path = request.partition(" ")
            assert (verb, template(path)) not in routes, f"{name} is published by now"
            self.methods[name] = {"verb": verb, "path": template(path)}

    def _short(self, full: str) -> str:
        return full.removeprefix(f"{self.package}.") if self.package else full

    def _message(self, identifier: str, known: Any | None) -> str:
        """Add one of the document's messages, with the client's descriptor where it has one; return its name."""
        if identifier in self._names:
            return self._names[identifier]
        name = self._names[identifier] = identifier if known is None else self._short(known.full_name)
        if name in self.messages:
            return name
        self.messages[name] = {}
        properties = self._document["schemas"][identifier].get("properties", {})
        described = {field.json_name: field for field in known.fields} if known is not None else {}
        order = sorted(described, key=lambda one: described[one].number)
        fields = {}
        for field in order + sorted(properties.keys() - described.keys()):
            if field in properties:
                kind = self._kind(properties[field], described.get(field), f"{name}.{field[0].upper()}{field[1:]}")
                fields[field] = f"output {kind}" if properties[field].get("readOnly") else kind
            else:
                fields[field] = self._kind_of(described[field])
        self.messages[name] = self._with_oneofs(fields, known)
        return name

    def _with_oneofs(self, fields: dict[str, str], known: Any | None) -> dict[str, Any]:
        groups = [
            [field.json_name for field in sorted(group.fields, key=lambda one: one.number)]
            for group in (known.oneofs if known is not None else ())
            if len(group.fields) > 1
        ]
        return {"fields": fields, "oneofs": groups} if groups else {"fields": fields}

    def _kind(self, given: dict[str, Any], known: Any | None, name: str) -> str:
        """The kind of a field as the document has it; `known` is the client's descriptor of the same field."""
        if known is not None and known.message_type is not None and known.message_type.GetOptions().map_entry:
            known = known.message_type.fields_by_name["value"]
        if "$ref" in given:
            return self._message(given["$ref"], None if known is None else known.message_type)
        if given["type"] == "array":
            return f"list {self._kind(given['items'], known, name)}"
        if given["type"] == "object":
            values = given.get("additionalProperties", {"type": "any"})
            return "any" if values.get("type") == "any" else f"map {self._kind(values, known, name)}"
        if "enum" in given:
            return self._enum(given["enum"], None if known is None else known.enum_type, name)
        return SCALARS[given["type"], given.get("format")]

    def _kind_of(self, field: Any) -> str:
        """The kind of a field that only the client has."""
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            return f"map {self._kind_of(field.message_type.fields_by_name['value'])}"
        if field.message_type is not None:
            kind = OF_DESCRIPTORS.get(field.message_type.full_name) or self._described(field.message_type)
        elif field.enum_type is not None:
            kind = self._enum([], field.enum_type, "")
        else:
            kind = OF_TYPES[field.type]
        return f"list {kind}" if field.is_repeated else kind

    def _described(self, known: Any) -> str:
        name = self._short(known.full_name)
        if name not in self.messages:
            self.messages[name] = {}
            ordered = sorted(known.fields, key=lambda field: field.number)
            fields = {field.json_name: self._kind_of(field) for field in ordered}
            self.messages[name] = self._with_oneofs(fields, known)
        return name

    def _enum(self, values: list[str], known: Any | None, name: str) -> str:
        """Add an enum; a value that the client does not know has no number."""
        known = known or self._client.enum_of(values)
        name = name if known is None else self._short(known.full_name)
        numbers: dict[str, int | None] = (
            {}
            if known is None
            else {value.name: value.number for value in sorted(known.values, key=lambda one: one.number)}
        )
        self.enums[name] = numbers | {value: None for value in values if value not in numbers}
        return name

    def _add_methods(self, resource: dict[str, Any], prefix: str) -> None:
        for method in resource.get("methods", {}).values():
            name = method["id"].removeprefix(prefix)
            facts = {"verb": method["httpMethod"], "path": template(method.get("flatPath", method["path"]))}
            query = {
                parameter: self._parameter(given, f"{name}.{parameter}")
                for parameter, given in sorted(method.get("parameters", {}).items())
                if given["location"] == "query"
            }
            if query:
                facts["query"] = query
            if "request" in method:
                body = method["request"]["$ref"]
                facts["body"] = self._names[body]
                if not body.endswith("Request"):
                    known = self._client.messages.get(body)
                    facts["field"] = (known and self._client.body_field(known)) or snake(body)
            if "response" in method:
                facts["answer"] = self._names[method["response"]["$ref"]]
            self.methods[name] = facts
        for below in resource.get("resources", {}).values():
            self._add_methods(below, prefix)

    def _parameter(self, given: dict[str, Any], name: str) -> str:
        kind = self._kind(given, None, name)
        return f"list {kind}" if given.get("repeated") else kind


def lines(versions: dict[str, Version]) -> Iterator[str]:
    """The table as JSON, a method, message or enum a line."""
    dump = json.JSONEncoder(ensure_ascii=False).encode
    last = list(versions)[-1]
    yield "{"
    for name, version in versions.items():
        yield f' {dump(name)}: {{"package": {dump(version.package)},'
        parts = {"methods": version.methods, "messages": version.messages, "enums": version.enums}
        for part, facts in parts.items():
            yield f'  "{part}": {{'
            ordered = sorted(facts)
            for key in ordered:
                yield f"   {dump(key)}: {dump(facts[key])}{',' if key != ordered[-1] else ''}"
            yield "  }" + ("," if part != "enums" else "")
        yield " }" + ("," if name != last else "")
    yield "}"


def titles(documents: Path) -> dict[str, str]:
    """Every API that has a host of its own, by the host: Service Usage's name for it."""
    found = {f"{name}.googleapis.com": title for name, title in WITHOUT_DOCUMENT.items()}
    for path in sorted(
        documents.glob("*.*.json"), key=lambda one: (not re.search(r"\.v\d+\.json$", one.name), one.name)
    ):
        document = json.loads(path.read_text(encoding="utf-8"))
        host = document.get("rootUrl", "").removeprefix("https://").removesuffix("/")
        if host.endswith(".googleapis.com") and host != "www.googleapis.com":
            found.setdefault(host, document["title"])
    return found


def main() -> None:
    documents = Path(sys.argv[1]) / "googleapiclient" / "discovery_cache" / "documents"
    TABLES.mkdir(exist_ok=True)
    names = json.dumps(titles(documents), ensure_ascii=False, indent=1, sort_keys=True)
    (TABLES / "services.json").write_text(names + "\n", encoding="utf-8")
    for service in SERVICES:
        versions: dict[str, Version] = {}
        routes: set[tuple[str, str]] = set()
        for path in sorted(documents.glob(f"{service}.*.json"), key=lambda one: ("beta" in one.name, one.name)):
            document = json.loads(path.read_text(encoding="utf-8"))
            version = Version(document, Client(CLIENTS.get((service, document["version"]), "")))
            # Resource Manager's v2 lists an operation of v1 as its own, Logging's v2 each method of projects again as anybody's.
            kept = {}
            for name, facts in sorted(
                version.methods.items(), key=lambda one: (not one[0].startswith("projects."), one[0])
            ):
                if (route_of := (facts["verb"], facts["path"])) not in routes:
                    routes.add(route_of)
                    kept[name] = facts
            version.methods = kept
            if version.methods:
                versions[document["version"]] = version
        (TABLES / f"{service}.json").write_text("\n".join(lines(versions)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
