"""What the sandbox plays of each service, method by method: the table in docs/sandbox.md, and what tests hold it to.

Knows Google's published methods and who plays them and, of the registries and Chainguard's platform, the end points. Plays nothing.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from cgrunbook.sandbox import hosts
from cgrunbook.sandbox.google import schema, wire

State = Literal["yes", "partly", "not"]
_GOOGLE = {
    hosts.ARTIFACT_REGISTRY: "artifact_registry",
    hosts.SECRET_MANAGER: "secret_manager",
    hosts.SERVICE_USAGE: "service_usage",
    hosts.RESOURCE_MANAGER: "resource_manager",
    hosts.CLOUD_BILLING: "cloud_billing",
    hosts.CLOUD_KMS: "cloud_kms",
    hosts.PUBSUB: "pubsub",
    hosts.LOGGING: "cloud_logging",
}
#: Stands for each location's docker host.
DOCKER_HOSTS = hosts.docker_host_name("LOCATION")


@dataclass(frozen=True)
class Played:
    """One method or end point of a service that the sandbox plays.

    Attributes:
        host: the service's real host name.
        name: what the service's own reference calls it.
        verb: the HTTP method.
        path: the path, variables in braces.
        state: whether it is played.
        missing: what is missing where it is "partly".
        version: the API's version, of Google's services.
    """

    host: str
    name: str
    verb: str
    path: str
    state: State
    missing: str = ""
    version: str = ""


def google() -> list[Played]:
    """Every published method of Google's services."""
    return [_of_google(host, method) for host in _GOOGLE for method in _methods(host)]


def _methods(host: str) -> Iterator[schema.Method]:
    for version in schema.versions(host).values():
        yield from version.methods.values()


def _of_google(host: str, method: schema.Method) -> Played:
    played: wire.Handlers = importlib.import_module(f"cgrunbook.sandbox.google.{_GOOGLE[host]}").PLAYED
    handler = played.get(method.version.name, {}).get(method.name)
    missing = handler.missing if isinstance(handler, wire.Partly) else ""
    state: State = "not" if handler is None else "partly" if missing else "yes"
    return Played(host, method.name, method.verb, f"/{method.path}", state, missing, method.version.name)


def _registry(host: str, *, catalog: State, referrers: str, tags: str) -> list[Played]:
    name = "{name}"
    one = f"/v2/{name}"
    return [
        Played(host, "API version check (end-1)", "GET", "/v2/", "yes"),
        Played(host, "Pull a blob (end-2)", "GET", f"{one}/blobs/{{digest}}", "yes"),
        Played(host, "Ask for a blob (end-2)", "HEAD", f"{one}/blobs/{{digest}}", "yes"),
        Played(host, "Pull a manifest (end-3)", "GET", f"{one}/manifests/{{reference}}", "yes"),
        Played(host, "Ask for a manifest (end-3)", "HEAD", f"{one}/manifests/{{reference}}", "yes"),
        Played(host, "Push a blob (end-4a)", "POST", f"{one}/blobs/uploads/", "not"),
        Played(host, "Push a manifest (end-7)", "PUT", f"{one}/manifests/{{reference}}", "not"),
        Played(host, "List tags (end-8)", "GET", f"{one}/tags/list", "partly" if tags else "yes", tags),
        Played(host, "Delete a manifest (end-9)", "DELETE", f"{one}/manifests/{{reference}}", "not"),
        Played(host, "Delete a blob (end-10)", "DELETE", f"{one}/blobs/{{digest}}", "not"),
        Played(
            host,
            "List referrers (end-12)",
            "GET",
            f"{one}/referrers/{{digest}}",
            "partly" if referrers else "yes",
            referrers,
        ),
        Played(host, "List repositories (Docker's catalog)", "GET", "/v2/_catalog", catalog),
    ]


_V2 = (
    ("GET", "groups", "ListGroups"),
    ("GET", "groups/{uid}", "GetGroup"),
    ("GET", "roles", "ListRoles"),
    ("GET", "roles/{uid}", "GetRole"),
    ("POST", "roles/{group}", "CreateRole"),
    ("DELETE", "roles/{uid}", "DeleteRole"),
    ("GET", "identities", "ListIdentities"),
    ("GET", "identities/{uid}", "GetIdentity"),
    ("POST", "identities/{group}", "CreateIdentity"),
    ("DELETE", "identities/{uid}", "DeleteIdentity"),
    ("GET", "identities:lookupIdentity", "LookupIdentity"),
    ("GET", "roleBindings", "ListRoleBindings"),
    ("GET", "roleBindings/{uid}", "GetRoleBinding"),
    ("POST", "roleBindings/{group}", "CreateRoleBinding"),
    ("POST", "roleBindings:batchCreate", "BatchCreateRoleBindings"),
    ("DELETE", "roleBindings/{uid}", "DeleteRoleBinding"),
)


def others() -> list[Played]:
    """The end points of the registries and of Chainguard's platform."""
    console, blobs = hosts.CONSOLE_API, hosts.BLOB_HOST
    account = "any account of the project is taken to be there"
    platform = [
        ("GET", "/ping/v1/ping", "ping"),
        ("GET", "/auth/v1/ok", "who am I"),
        ("POST", "/sts/exchange", "exchange a credential for an API token"),
        ("GET", "/iam/v1/groups", "ListGroups"),
        ("GET", "/iam/v1/roles", "ListRoles"),
        ("GET", "/iam/v1/identities", "ListIdentities"),
        ("POST", "/iam/v1/identities/{group}", "CreateIdentity"),
        ("DELETE", "/iam/v1/identities/{id}", "DeleteIdentity"),
        ("GET", "/iam/v1/rolebindings", "ListRoleBindings"),
        ("POST", "/iam/v1/rolebindings/{group}", "CreateRoleBinding"),
        ("GET", "/registry/v1/repos", "ListRepos"),
        ("GET", "/registry/v1/tags", "ListTags"),
        *((verb, f"/iam/v2/{path}", f"{name} (v2)") for verb, path, name in _V2),
        ("GET", "/registry/v2/repos", "ListRepos (v2)"),
    ]
    absent = [
        ("POST", "/iam/v1/groups", "CreateGroup"),
        ("POST", "/iam/v1/roles", "CreateRole"),
        ("POST", "/registry/v1/repos", "CreateRepo"),
        ("POST", "/iam/v2/groups/{group}", "CreateGroup (v2)"),
        ("PATCH", "/iam/v2/identities/{uid}", "UpdateIdentity (v2), and the other updates"),
        ("GET", "/registry/v2/tags", "ListTags (v2), and the rest of registry/v2"),
    ]
    made = "with static keys (pull tokens) or literal claims; no patterns, no AWS"
    partly = {
        "/sts/exchange": "for the trainee, and for identities that a Google service account assumes",
        "/iam/v1/identities/{group}": made,
        "/iam/v2/identities/{group}": made,
        "/registry/v2/repos": "uid and name",
    }
    return [
        Played(hosts.CGR_DEV, "Token", "GET", "/token", "yes"),
        *_registry(hosts.CGR_DEV, catalog="yes", referrers="", tags=""),
        Played(blobs, "Blob by a signed link", "GET", "/chainguard-images-prod/{digest}", "yes"),
        Played(DOCKER_HOSTS, "Token", "GET", "/v2/token", "yes"),
        Played(DOCKER_HOSTS, "Token (OAuth2)", "POST", "/v2/token", "yes"),
        *_registry(
            DOCKER_HOSTS,
            catalog="not",
            referrers="whether the real service passes these through is not known; the sandbox does",
            tags="those of the upstream, kept for an hour; what the real service lists is not documented",
        ),
        *(
            Played(console, name, verb, path, "partly" if path in partly else "yes", partly.get(path, ""))
            for verb, path, name in platform
        ),
        *(Played(console, name, verb, path, "not") for verb, path, name in absent),
        Played(
            hosts.STS,
            "exchange a credential for an API token",
            "POST",
            "/sts/exchange",
            "partly",
            partly["/sts/exchange"],
        ),
        Played(
            hosts.IAM,
            "projects.serviceAccounts.get",
            "GET",
            "/v1/projects/-/serviceAccounts/{account}",
            "partly",
            account,
        ),
        Played(
            hosts.IAM_CREDENTIALS,
            "projects.serviceAccounts.generateIdToken",
            "POST",
            "/v1/projects/-/serviceAccounts/{account}:generateIdToken",
            "partly",
            account,
        ),
    ]


def markdown() -> str:
    """The tables of docs/sandbox.md: what is played of each host, and by name what is not; a sum on top."""
    everything = google() + others()
    count = {state: sum(one.state == state for one in everything) for state in ("yes", "partly", "not")}
    told = [
        f"{len(everything)} methods and end points: {count['yes']} played, {count['partly']} partly, {count['not']} not.",
        "",
    ]
    for host in dict.fromkeys(one.host for one in everything):
        told += [f"### {host}", ""]
        told += _played([one for one in everything if one.host == host and one.state != "not"])
        told += _not_played([one for one in everything if one.host == host and one.state == "not"])
    return "\n".join(told)


def _table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return [f"| {' | '.join(heading)} |", "|---" * len(heading) + "|", *lines, ""] if lines else []


def _request(one: Played) -> str:
    return f"`{one.verb} {one.path}`"


def _played(methods: Iterable[Played]) -> list[str]:
    told = ((one.name, _request(one), f"partly: {one.missing}" if one.missing else "yes") for one in methods)
    return _table(("method", "request", "played"), told)


def _not_played(methods: Iterable[Played]) -> list[str]:
    """Google's methods of a collection share a line; their requests are as Google's reference has them."""
    collections: dict[tuple[str, str], list[str]] = {}
    for one in methods:
        collection, _, name = one.name.rpartition(".") if one.version else ("", "", one.name)
        collections.setdefault((one.version, collection), []).append(name if one.version else f"{name} {_request(one)}")
    told = (
        (f"{version} {collection}".strip(), ", ".join(names))
        for (version, collection), names in sorted(collections.items())
    )
    return _table(("not played", "methods"), told)
