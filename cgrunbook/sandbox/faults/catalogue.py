"""Every fault: its name, what it changes, and what people see then. Each is data, and the change that it makes.

Knows what the services keep and which of it is wrong under which fault; what a service makes of it is the service's own.
The order is that in which faults are made that are set together: what others are made of comes first.
"""

from __future__ import annotations

import base64
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from cgrunbook.sandbox import hosts
from cgrunbook.sandbox.faults.behaviour import AWAY, CORRUPTED, PERIMETER, SLOW, STATUS, TRUNCATED
from cgrunbook.sandbox.faults.changes import NothingToBreak
from cgrunbook.sandbox.faults.world import WRONG_HOST, Grant, World
from cgrunbook.sandbox.settings import QUOTA_PROJECT_ID, QUOTA_PROJECT_NUMBER
from cgrunbook.sandbox.state import Clock, timestamp, timestamp_in_seconds

MISSPELT = "examples.com"
SLOW_SECONDS, SKEW_SECONDS = 3.0, 900.0
_DOWNLOAD = "artifactregistry.repositories.downloadArtifacts"
_FREE_IMAGE = "chainguard/go"
_HELPER = "gcr"  # docker-credential-gcr was Google's own before gcloud had one; it may be on no PATH


@dataclass(frozen=True)
class Fault:
    """One thing that can be wrong.

    Args:
        name: how it is called.
        does: what is changed, for a person.
        symptom: what people see then, in plain words.
        make: changes the world.
        tags_age: whether cached tags lose their hour, so that a pull by tag finds out at once.
        own_registry: whether it can be made of the sandbox's own cgr.dev only, and not of one that stands in for it.
        value: what may be given after "=": a number of seconds' default; None for nothing.
        shells: whether a shell has to ask `cgrunbook sandbox env` again to see it.
    """

    name: str
    does: str
    symptom: str
    make: Callable[[World], None]
    tags_age: bool = False
    own_registry: bool = False
    value: float | None = None
    shells: bool = False


def _prepare_catalogue(world: World) -> None:
    """Found the organisations and fill the registry, where nobody asked for them yet."""
    from cgrunbook.sandbox.chainguard.organizations import Organizations
    from cgrunbook.sandbox.registry.catalog import Catalog

    Organizations(world.sandbox)
    Catalog(world.sandbox)


def _organization(world: World) -> None:
    _prepare_catalogue(world)
    was = world.settings.organization
    [group] = world.rows("cg_group", "name = ?", was)
    world.update("cg_group", group, name=MISSPELT)
    tables = (
        ("cgr_repository", "name"),
        ("cgr_tag", "repository"),
        ("cgr_manifest", "repository"),
        ("cgr_blob", "repository"),
    )
    for table, column in tables:
        for row in world.rows(table, f"{column} LIKE ?", f"{was}/%"):
            world.update(table, row, **{column: MISSPELT + row[column].removeprefix(was)})


def _image(world: World) -> None:
    _prepare_catalogue(world)
    for row in world.rows("cgr_repository", "NOT public AND entitled"):
        world.update("cgr_repository", row, entitled=0)


def _tag(world: World) -> None:
    _prepare_catalogue(world)
    for row in world.rows("cgr_tag", "repository = ? AND tag = 'latest'", _FREE_IMAGE):
        world.delete("cgr_tag", row)


def _stale(world: World) -> None:
    of_a_build = "tag NOT LIKE '%-dev' AND tag NOT LIKE 'sha256-%'"
    before = len(world.made)
    for cached in world.rows("cached_tag", of_a_build):
        name, tag, digest = cached["image"], cached["tag"], cached["digest"]
        others = world.rows("cgr_tag", f"repository = ? AND digest != ? AND {of_a_build}", name, digest)
        for row in (
            world.rows("cgr_tag", "repository = ? AND tag = ? AND digest = ?", name, tag, digest) if others else ()
        ):
            world.update("cgr_tag", row, digest=others[0]["digest"])
            world.update("cached_tag", cached, checked_at=timestamp(world.now))
    if len(world.made) == before:
        raise NothingToBreak(
            "no tag of an image with more than one build is cached yet. Pull one first: cgrunbook run 02"
        )


def _ended(world: World) -> None:
    import jwt
    from cryptography.hazmat.primitives.asymmetric import rsa

    # A token cannot be changed, only made anew. Real keys have 4096 bits; finding one of these takes a tenth of the time.
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key())) | {"alg": "RS256", "use": "sig"}
    backward: dict[str, int] = {}
    said: dict[str, str] = {}
    for row in world.tokens():
        backward[row["subject"]] = back = int(max(row["expiration"] - world.now.timestamp(), 0.0)) + 3600
        times = {name: row[name] - back for name in ("expiration", "created_at", "updated_at", "last_seen")}
        world.update("cg_identity", row, issuer_keys=json.dumps({"keys": [public]}), **times)
        for second in range(int(row["expiration"]) - 1, int(row["expiration"]) + 2):
            said[_written(second)] = _written(second - back)

    def ended(password: bytes) -> bytes:
        try:
            claims = jwt.decode(password, options={"verify_signature": False})
        except jwt.InvalidTokenError:
            return password  # whatever it is, it is none that could end
        back = backward.get(claims.get("sub", ""), 0)
        moved = {name: int(value) - back if name in {"iat", "exp"} else value for name, value in claims.items()}
        return jwt.encode(moved, key, algorithm="RS256", headers={"typ": ""}).encode()

    world.payload(ended)
    # What is written down beside the secret of when the token ends was always of this end.
    for name in {row["secret"] for row in world.versions()}:
        for row in world.rows("secret", "id = ?", name):
            told = re.sub(r"\d{4}-\d\d-\d\dT[\d:]+Z", lambda found: said.get(found[0], found[0]), row["document"])
            world.update("secret", row, document=told)


def _written(second: float) -> str:
    return timestamp_in_seconds(datetime.fromtimestamp(second, UTC))


def _revoked(world: World) -> None:
    tokens = world.tokens()
    _role(world)  # nobody is bound who is not there
    for row in tokens:
        world.delete("cg_identity", row)


def _role(world: World) -> None:
    for row in world.tokens():
        for binding in world.rows("cg_binding", "identity = ?", row["id"]):
            world.delete("cg_binding", binding)


def _username(world: World) -> None:
    others: dict[str, str] = {}
    for row in world.tokens():
        group = row["id"].rpartition("/")[0]
        others[row["id"]] = other = f"{group}/{secrets.token_hex(8)}"
        subject = f"pull-token-{secrets.token_hex(16)}"
        world.insert("cg_identity", **row | {"id": other, "subject": subject, "name": f"another {row['name']}"})
        for binding in world.rows("cg_binding", "identity = ?", row["id"]):
            world.insert("cg_binding", **binding | {"id": f"{group}/{secrets.token_hex(8)}", "identity": other})
    for row, document, pair in world.pairs():
        pair["username"] = others.get(pair["username"], pair["username"])
        world.update("repository", row, document=json.dumps(document))


def _disabled(world: World) -> None:
    for row in world.versions():
        world.document("secret_version", row, state="DISABLED", etag=_etag())


def _destroyed(world: World) -> None:
    when = timestamp(world.now)
    for row in world.versions():
        fields = json.loads(row["document"]) | {"state": "DESTROYED", "destroyTime": when, "etag": _etag()}
        world.update("secret_version", row, document=json.dumps(fields), sealed=None, destroy_at=None)


def _deleted(world: World) -> None:
    for name in {row["secret"] for row in world.versions()}:
        for row in world.rows("secret_version", "secret = ?", name):
            world.delete("secret_version", row)
        for row in world.rows("secret", "id = ?", name):
            world.delete("secret", row)
        for row in world.rows("policy", "resource = ?", f"projects/{world.settings.project_id}/secrets/{name}"):
            world.delete("policy", row)


def _anonymous(world: World) -> None:
    for row, document, _ in world.pairs():
        del document["remoteRepositoryConfig"]["upstreamCredentials"]
        world.update("repository", row, document=json.dumps(document))


def _etag() -> str:
    return f'"{secrets.token_hex(8)}"'


def _other_project(world: World) -> None:
    for row, document, pair in world.pairs():
        parts = pair["passwordSecretVersion"].split("/")
        pair["passwordSecretVersion"] = "/".join([parts[0], QUOTA_PROJECT_ID, *parts[2:]])
        world.update("repository", row, document=json.dumps(document))


def _regranted(world: World, change: Callable[[str, str], list[Grant]]) -> None:
    """Change what lets the agent read a secret; all of it, or there is nothing to break."""

    def regrant(grant: Grant) -> list[Grant]:
        role, condition, member = grant
        reads = "secretmanager.versions.access" in world.sandbox.iam.permissions(role)
        return change(role, condition) if reads and member == world.agent else [grant]

    if not sum(world.grants(policy, regrant) for policy in world.policies()):
        raise NothingToBreak("Artifact Registry's service agent may read no secret yet. Let it: cgrunbook run 03")


def _conditional(world: World) -> None:
    until = timestamp_in_seconds(world.now - timedelta(days=1))
    ended = {"title": "until the migration", "expression": f'request.time < timestamp("{until}")'}
    _regranted(world, lambda role, _: [(role, json.dumps(ended, sort_keys=True), world.agent)])


def _wrong_agent(world: World) -> None:
    other = world.agent.replace(world.settings.project_number, QUOTA_PROJECT_NUMBER)
    _regranted(world, lambda role, condition: [(role, condition, other)])


def _agent(world: World) -> None:
    rows = world.rows("service_agent", "service = ?", hosts.ARTIFACT_REGISTRY)
    if not rows:
        raise NothingToBreak("Artifact Registry has no service agent yet. Make a repository first: cgrunbook run 02")
    gone = f"deleted:{world.agent}?uid={rows[0]['unique_id']}"
    for policy in world.policies():
        world.grants(policy, lambda grant: [(*grant[:2], gone)] if grant[2] == world.agent else [grant])
    world.delete("service_agent", rows[0])


def _point(world: World, uri: str) -> None:
    for row, document in world.remotes():
        config = document["remoteRepositoryConfig"]
        if "commonRepository" in config:
            config["commonRepository"]["uri"] = uri
        else:
            config["dockerRepository"]["customRepository"]["uri"] = uri
        world.update("repository", row, document=json.dumps(document))


def _location(world: World) -> None:
    project = f"projects/{world.settings.project_id}"
    for row, document in world.remotes():
        there = "us-west1" if row["location"] == "us-east1" else "us-east1"
        was, is_now = (f"{project}/locations/{place}/repositories/{row['id']}" for place in (row["location"], there))
        if world.rows("repository", "location = ? AND id = ?", there, row["id"]):
            raise NothingToBreak(f"a repository of the same name is in {there} already. Delete that one first.")
        if "name" in document:
            document["name"] = document["name"].replace(f"/locations/{row['location']}/", f"/locations/{there}/")
        for policy in world.rows("policy", "resource = ? OR resource LIKE ?", was, f"{was}/%"):
            world.update("policy", policy, resource=is_now + policy["resource"].removeprefix(was))
        for table in ("cached_manifest", "cached_tag", "cached_tag_list", "cached_blob"):
            for cached in world.rows(table, "location = ? AND repository = ?", row["location"], row["id"]):
                world.update(table, cached, location=there)
        world.update("repository", row, location=there, document=json.dumps(document))


def _off(world: World, service: str) -> None:
    rows = world.rows("enabled_service", "name = ?", service)
    if not rows:
        raise NothingToBreak(f"{service} is not enabled. Enable it first: cgrunbook run 01")
    world.delete("enabled_service", rows[0])


def _reader(world: World) -> None:
    if not world.without(_DOWNLOAD, lambda member: member != world.agent):
        raise NothingToBreak("nobody may pull as it is. Give somebody roles/artifactregistry.reader first.")


def _lacks(world: World, permission: str) -> None:
    if not world.without(permission, lambda member: member == world.settings.operator):
        raise NothingToBreak(f"{world.settings.operator} does not hold {permission} as it is.")


def _perimeter(world: World) -> None:
    docker = [hosts.docker_host_name(location) for location in hosts.LOCATIONS]
    world.trouble(PERIMETER, hosts.ARTIFACT_REGISTRY, hosts.SECRET_MANAGER, *docker)


def _elsewhere(document: dict[str, Any], ours: list[str], other: str) -> None:
    for part in ("auths", "credHelpers"):
        for host in ours:
            if host in document.get(part, {}):
                document[part][other] = document[part].pop(host)
    if not any(other in document.get(part, {}) for part in ("auths", "credHelpers")):
        document.setdefault("credHelpers", {})[other] = "gcloud"


def _helped(document: dict[str, Any], ours: list[str], _: str, *, helper: str) -> None:
    """Let a helper be the one that knows a login, as gcloud auth configure-docker does; docker would go back to another."""
    for host in ours:
        document.get("auths", {}).pop(host, None)
        document.setdefault("credHelpers", {})[host] = helper


def _no_helper(world: World) -> None:
    if (found := shutil.which(f"docker-credential-{_HELPER}")) is not None:
        raise NothingToBreak(f"docker-credential-{_HELPER} is on this machine's PATH: {found}")
    world.docker_config(partial(_helped, helper=_HELPER))


def _snap(world: World) -> None:
    found = shutil.which("docker", path=_path_without(world.folder / "bin"))
    if found is None:
        raise NothingToBreak("there is no docker on this machine's PATH. Install it first.")
    confined = world.folder / "snap" / "docker" / "current" / "bin"
    world.file("snap/bin/docker", f"#!/bin/sh\nPATH='{confined}'\nexport PATH\nexec '{found}' \"$@\"\n")
    world.file("bin/docker", f"->{world.folder / 'snap' / 'bin' / 'docker'}")
    world.docker_config(partial(_helped, helper="gcloud"))


def _path_without(folder: Path) -> str:
    parts = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join(part for part in parts if part != str(folder))


def _proxy(world: World) -> None:
    address = f"http://{world.sandbox.hosts[hosts.PROXY]}"
    names = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
    world.variables(**dict.fromkeys(names, address), NO_PROXY="", no_proxy="")


def _disk(world: World) -> None:
    from cgrunbook.sandbox.faults.full_disk import NotToBeHad, mount, of

    try:
        mount(world.folder)
    except NotToBeHad as why:
        raise NothingToBreak(str(why)) from why
    world.variables(TMPDIR=str(of(world.folder)))


_REFUSED = (
    "Uncached images of the organisation are refused by Artifact Registry, which says that the upstream credentials are "
    "invalid; cgr.dev itself says Forbidden."
)

_UNREADABLE = "Uncached images: Permission 'secretmanager.versions.access' denied ... (or it may not exist)."
_SAYS_DISABLED = "has not been used in project ... before or it is disabled."
_behind = partial(Fault, tags_age=True)
_theirs = partial(Fault, tags_age=True, own_registry=True)

_ALL = (
    _theirs(
        "organization-misspelt",
        f"The organisation is called {MISSPELT} at Chainguard, and clients write example.com.",
        "cgr.dev says: unable to resolve; Artifact Registry says 502 for it.",
        _organization,
    ),
    _theirs(
        "image-not-in-catalogue",
        "The organisation's images are not in its catalogue any more.",
        "cgr.dev says that the caller does not have the required capabilities; Artifact Registry says 502 for 403.",
        _image,
    ),
    _theirs(
        "tag-not-free",
        f"{_FREE_IMAGE}:latest is not among the free tags any more.",
        f"A pull of {_FREE_IMAGE}:latest ends with: manifest unknown.",
        _tag,
    ),
    Fault(
        "tag-stale",
        "cgr.dev's tags have moved on to other builds within the hour for which the cache trusts what it has.",
        "A pull through Artifact Registry works and gives another digest than one from cgr.dev.",
        _stale,
        own_registry=True,
    ),
    _theirs("token-ended", "The pull token ended an hour ago, at Chainguard and by its own exp.", _REFUSED, _ended),
    _theirs("token-revoked", "The pull token's identity was deleted at Chainguard.", _REFUSED, _revoked),
    _theirs(
        "token-role-missing",
        "The pull token's identity is bound to no role any more.",
        "cgr.dev takes the token and says Forbidden for each image of the organisation.",
        _role,
    ),
    _theirs(
        "token-username-mismatched",
        "The repository's user name is that of another pull token, which is alive.",
        _REFUSED,
        _username,
    ),
    _behind(
        "secret-version-disabled",
        "The secret version that the repository names is disabled.",
        "Uncached images: Secret Version ... is in DISABLED state.",
        _disabled,
    ),
    _behind(
        "secret-version-destroyed",
        "The secret version that the repository names is destroyed.",
        "Uncached images: Secret Version ... is in DESTROYED state.",
        _destroyed,
    ),
    _behind(
        "upstream-unvalidated",
        "The repository was made with validation skipped; its secret never held a token.",
        _REFUSED,
        lambda world: world.payload(lambda _: b"replace-me"),
    ),
    _behind(
        "secret-newline",
        "The secret version holds the password and a line feed.",
        _REFUSED,
        lambda world: world.payload(lambda password: password + b"\n"),
    ),
    _behind(
        "secret-base64",
        "The secret version holds the password in base64.",
        _REFUSED,
        lambda world: world.payload(base64.b64encode),
    ),
    _behind(
        "secret-empty",
        "The secret version holds a line feed and nothing else: the password's variable was not set.",
        _REFUSED,
        lambda world: world.payload(lambda _: b"\n"),
    ),
    _behind(
        "secret-other-project",
        f"The repository names a secret version of the project {QUOTA_PROJECT_ID}.",
        "Uncached images: Permission 'secretmanager.versions.access' denied for resource projects/... (or it may not exist).",
        _other_project,
    ),
    _behind(
        "secret-deleted",
        "The secret that the repository names was deleted.",
        "Uncached images: Permission 'secretmanager.versions.access' denied ... (or it may not exist); gcloud: not found.",
        _deleted,
    ),
    _behind(
        "credentials-missing",
        "The repository has no upstream credentials.",
        "Uncached images of the organisation: Unauthorized error returned by the external repository.",
        _anonymous,
    ),
    _behind(
        "grant-missing",
        "Artifact Registry's service agent may not read the secret.",
        _UNREADABLE,
        lambda world: _regranted(world, lambda _role, _condition: []),
    ),
    _behind(
        "grant-conditional",
        "The agent's grant on the secret is under a condition that has ended.",
        _UNREADABLE,
        _conditional,
    ),
    _behind(
        "grant-wrong-project",
        "The agent that may read the secret is that of another project's number.",
        _UNREADABLE,
        _wrong_agent,
    ),
    _behind("agent-absent", "Artifact Registry's service agent was deleted.", _UNREADABLE, _agent),
    _behind(
        "upstream-path",
        "The repository's upstream is https://cgr.dev/chainguard: it has a path.",
        "Each uncached image is not found.",
        lambda world: _point(world, "https://cgr.dev/chainguard"),
    ),
    _behind(
        "upstream-wrong-host",
        f"The repository's upstream is {WRONG_HOST}.",
        "Uncached images: 504, Timeout before connecting to external repository.",
        lambda world: _point(world, WRONG_HOST),
    ),
    Fault(
        "repository-wrong-location",
        "The repository is in another location than the one that clients use.",
        "Docker says that the repository is not found, gcloud that the requested entity was not found.",
        _location,
    ),
    Fault(
        "api-disabled-artifactregistry",
        "The Artifact Registry API is disabled.",
        f"Docker and gcloud both say: Artifact Registry API {_SAYS_DISABLED}",
        lambda world: _off(world, hosts.ARTIFACT_REGISTRY),
    ),
    _behind(
        "api-disabled-secretmanager",
        "The Secret Manager API is disabled.",
        f"Uncached images of the organisation, and gcloud: Secret Manager API {_SAYS_DISABLED}",
        lambda world: _off(world, hosts.SECRET_MANAGER),
    ),
    Fault(
        "reader-missing",
        f"Nobody holds {_DOWNLOAD} any more but the service agent.",
        f'Docker says: denied: Permission "{_DOWNLOAD}" denied on resource ... (or it may not exist).',
        _reader,
    ),
    Fault(
        "vpc-sc-denied",
        "A perimeter of VPC Service Controls keeps this machine from Artifact Registry and Secret Manager.",
        "Docker and gcloud both say: Request is prohibited by organization's policy. vpcServiceControlsUniqueIdentifier: ...",
        _perimeter,
    ),
    _theirs(
        "cgr-dev-down",
        "Connections to cgr.dev are reset.",
        "Cached images are served; others end with 502, unexpected EOF. Pulls from cgr.dev: connection reset by peer.",
        lambda world: world.trouble(AWAY, hosts.CGR_DEV),
    ),
    _theirs(
        "cgr-dev-slow",
        f"Each answer of cgr.dev takes seconds: {SLOW_SECONDS:g}, or as many as are given after the name, as in cgr-dev-slow=10.",
        "Uncached pulls take long; clients with little patience give up.",
        lambda world: world.trouble(SLOW, hosts.CGR_DEV, value=world.value or SLOW_SECONDS),
        value=SLOW_SECONDS,
    ),
    _theirs(
        "cgr-dev-429",
        "cgr.dev answers 429 to everything.",
        "Uncached images: Resource has been exhausted (e.g. check quota).",
        lambda world: world.insert("quota", host=hosts.CGR_DEV, remaining=0),
    ),
    _theirs(
        "cgr-dev-503",
        "cgr.dev answers 503 to everything.",
        "Cached images are served; others: Received invalid http status code 503 from external repository.",
        lambda world: world.trouble(STATUS, hosts.CGR_DEV, value=503),
    ),
    Fault(
        "blob-host-blocked",
        "Connections to the host that has cgr.dev's blobs are reset.",
        "Manifests come and layers do not: 502, or connection reset by peer for who pulls from cgr.dev.",
        lambda world: world.trouble(AWAY, hosts.BLOB_HOST),
        own_registry=True,
    ),
    Fault(
        "blob-corrupted",
        "The host that has cgr.dev's blobs sends one byte of each changed.",
        "Uncached layers: unexpected EOF through Artifact Registry; from cgr.dev, a digest that does not match.",
        lambda world: world.trouble(CORRUPTED, hosts.BLOB_HOST),
        own_registry=True,
    ),
    Fault(
        "blob-truncated",
        "The host that has cgr.dev's blobs sends half of each.",
        "Uncached layers: unexpected EOF.",
        lambda world: world.trouble(TRUNCATED, hosts.BLOB_HOST),
        own_registry=True,
    ),
    Fault(
        "clock-skew",
        f"This machine's clock is {SKEW_SECONDS / 60:g} minutes behind that of the services.",
        "Nothing at first; tokens end sooner than they say.",
        lambda world: world.insert("setting", name=Clock.SKEW, value=repr(SKEW_SECONDS)),
    ),
    Fault(
        "docker-other-location",
        "Docker is signed in to the host of another location.",
        "Docker says: Unauthenticated request. Unauthenticated requests do not have permission ...",
        lambda world: world.docker_config(_elsewhere),
    ),
    Fault(
        "docker-helper-missing",
        f"Docker's configuration names docker-credential-{_HELPER}, which is not on the PATH.",
        "Docker pulls as nobody: Unauthenticated request. Unauthenticated requests do not have permission ...; crane says: "
        f'exec: "docker-credential-{_HELPER}": executable file not found in $PATH.',
        _no_helper,
    ),
    Fault(
        "docker-snap",
        "The docker that is found first is one from a snap, which sees no program outside of it, gcloud's helper neither.",
        "Docker pulls as nobody: Unauthenticated request. Unauthenticated requests do not have permission ...",
        _snap,
    ),
    Fault(
        "proxy-password",
        "The proxy that shells are told to use wants a password.",
        "gcloud and curl say: 407 Proxy Authentication Required. Programs in Go, docker and crane too, ask no proxy for 127.0.0.1.",
        _proxy,
        shells=True,
    ),
    Fault(
        "client-disk-full",
        "Shells are given a folder for temporary files, TMPDIR, on a file system that is full.",
        "podman and others say: no space left on device.",
        _disk,
        shells=True,
    ),
)

#: What the guide's steps need of whoever takes them (docs/services.md, "Least roles"), but for the pull itself.
_NEEDED = {
    "artifactregistry": (
        "locations.list repositories.create repositories.delete repositories.get repositories.getIamPolicy "
        "repositories.list repositories.setIamPolicy repositories.update vpcscconfigs.get"
    ),
    "resourcemanager": "projects.get projects.getIamPolicy",
    "secretmanager": (
        "secrets.create secrets.delete secrets.get secrets.getIamPolicy secrets.setIamPolicy secrets.update "
        "versions.access versions.add versions.destroy versions.get versions.list"
    ),
    "serviceusage": "operations.get services.enable services.get",
}
_PERMISSIONS = [f"{service}.{name}" for service, names in _NEEDED.items() for name in names.split()]

#: Every fault by its name, in the order in which they are made.
FAULTS: Mapping[str, Fault] = {fault.name: fault for fault in _ALL} | {
    f"caller-lacks-{permission}": Fault(
        f"caller-lacks-{permission}",
        f"The trainee does not hold {permission}.",
        f"gcloud and the notebooks say: Permission '{permission}' denied, where it is needed.",
        partial(_lacks, permission=permission),
    )
    for permission in _PERMISSIONS
}
