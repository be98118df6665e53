"""Every fault: its name, what it changes, and what people see then. Each is data, and the change that it makes.

Knows what the services keep and which of it is wrong under which fault; what a service makes of it is the service's own.
The order is that of an image's way backwards, and faults that are set together are made in it.
"""

from __future__ import annotations

import base64
import json
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cgrunbook.sandbox import hosts
from cgrunbook.sandbox.context import Sandbox
from cgrunbook.sandbox.faults.behaviour import AWAY, CORRUPTED, PERIMETER, SLOW, STATUS, TRUNCATED
from cgrunbook.sandbox.faults.changes import Changes, NothingToBreak, Row, members, new_policy_etag, policy_of
from cgrunbook.sandbox.process import ENVIRONMENT_FILE
from cgrunbook.sandbox.settings import QUOTA_PROJECT_ID, QUOTA_PROJECT_NUMBER
from cgrunbook.sandbox.state import Clock, timestamp, timestamp_in_seconds

DOCKER_CONFIG = "docker/config.json"
WRONG_HOST = "https://cgr.example.com"
MISSPELT = "examples.com"
SLOW_SECONDS, SKEW_SECONDS = 3.0, 900.0
_AN_HOUR = timedelta(hours=1)
_ACCESSOR = "roles/secretmanager.secretAccessor"
_DOWNLOAD = "artifactregistry.repositories.downloadArtifacts"
_FREE_IMAGE = "chainguard/go"
_HELPER = "gcr"  # docker-credential-gcr was Google's own before gcloud had one; it may be on no PATH


class World(Changes):
    """What a fault is given: the sandbox's state, to be changed, and where in it the way of an image is.

    Args:
        sandbox: whose.
    """

    def __init__(self, sandbox: Sandbox) -> None:
        super().__init__(sandbox.state, sandbox.settings.home)
        self.sandbox = sandbox
        self.settings = sandbox.settings
        self.value: float | None = None  #: what was given with the fault's name

    @property
    def now(self) -> datetime:
        """The sandbox's time."""
        return self.sandbox.clock.now()

    @property
    def agent(self) -> str:
        """Artifact Registry's service agent, as a policy names it."""
        return f"serviceAccount:{self.sandbox.iam.agent_email(hosts.ARTIFACT_REGISTRY)}"

    def remotes(self) -> list[tuple[Row, dict[str, Any]]]:
        """The remote repositories of Chainguard's registry: row and document.

        Raises:
            NothingToBreak: there is none.
        """
        found = []
        for row in self.rows("repository"):
            document = json.loads(row["document"])
            config = document.get("remoteRepositoryConfig", {})
            uri = (
                config.get("commonRepository") or config.get("dockerRepository", {}).get("customRepository") or {}
            ).get("uri")
            if uri and urlsplit(uri).hostname in {hosts.CGR_DEV, urlsplit(WRONG_HOST).hostname}:
                found.append((row, document))
        if not found:
            raise NothingToBreak("no repository pulls from cgr.dev yet. Make one first: cgrunbook run 02")
        return found

    def pairs(self) -> list[tuple[Row, dict[str, Any], dict[str, str]]]:
        """The remote repositories with credentials: row, document and their pair.

        Raises:
            NothingToBreak: none has any.
        """
        found = []
        for row in self.rows("repository"):
            document = json.loads(row["document"])
            credentials = document.get("remoteRepositoryConfig", {}).get("upstreamCredentials", {})
            if pair := credentials.get("usernamePasswordCredentials"):
                found.append((row, document, pair))
        if not found:
            raise NothingToBreak("no repository has a pull token yet. Make one first: cgrunbook run 03")
        return found

    def versions(self) -> list[Row]:
        """The secret versions that repositories have their passwords in.

        Raises:
            NothingToBreak: there is none.
        """
        found: dict[tuple[str, int], Row] = {}
        for _, _, pair in self.pairs():
            _, _, _, secret, _, version = pair["passwordSecretVersion"].split("/")
            [kept] = self.rows("secret", "id = ?", secret) or [{}]
            aliases = json.loads(kept.get("document", "{}")).get("versionAliases", {})
            number = kept.get("last_version") if version == "latest" else aliases.get(version, version)
            for row in self.rows("secret_version", "secret = ? AND number = ?", secret, number):
                found[secret, row["number"]] = row
        if not found:
            raise NothingToBreak(
                "no repository has its password in a secret version that is there. Make one: cgrunbook run 03"
            )
        return list(found.values())

    def tokens(self) -> list[Row]:
        """The identities that repositories have as their user names.

        Raises:
            NothingToBreak: there is none.
        """
        names = dict.fromkeys(pair["username"] for _, _, pair in self.pairs())
        found = [row for name in names for row in self.rows("cg_identity", "id = ? AND issuer_keys IS NOT NULL", name)]
        if not found:
            raise NothingToBreak("no repository has a pull token that is alive. Make one: cgrunbook run 03")
        return found

    def policies(self) -> list[Row]:
        """The newest policy of each resource."""
        return self.rows(
            "policy", "(resource, sequence) IN (SELECT resource, max(sequence) FROM policy GROUP BY resource)"
        )

    def grants(self, policy: Row, change: Callable[[tuple[str, str, str]], list[tuple[str, str, str]]]) -> bool:
        """Replace each grant of a policy by others, at once effective; tell whether that changed it."""
        before = members(json.loads(policy["body"]))
        after = dict.fromkeys(one for grant in before for one in change(grant))
        if after == before:
            return False
        effective = min(policy["effective_at"], timestamp(self.now))
        self.update("policy", policy, body=json.dumps(policy_of(after)), etag=new_policy_etag(), effective_at=effective)
        return True

    def without(self, permission: str, concerned: Callable[[str], bool]) -> bool:
        """Put a role without a permission in the place of each role that has it, for some members."""
        before = len(self.made)
        for policy in self.policies():
            self.grants(policy, lambda grant: [self._lessened(grant, permission) if concerned(grant[2]) else grant])
        return len(self.made) > before

    def _lessened(self, grant: tuple[str, str, str], permission: str) -> tuple[str, str, str]:
        role, condition, member = grant
        held = self.sandbox.iam.permissions(role)
        if permission not in held:
            return grant
        name = (
            role
            if "/roles/" in role
            else f"projects/{self.settings.project_id}/roles/{role.removeprefix('roles/')}.less"
        )
        if not self.rows("custom_role", "name = ? AND permissions = ?", name, " ".join(sorted(held - {permission}))):
            self.insert("custom_role", name=name, permissions=" ".join(sorted(held - {permission})))
        return name, condition, member

    def payload(self, change: Callable[[bytes], bytes]) -> None:
        """Change what the secret versions hold."""
        from cgrunbook.sandbox.google import payloads

        for row in self.versions():
            if row["sealed"] is not None:
                label = (row["secret"], row["number"])
                content = payloads.opened(self.settings.home, label, row["sealed"])
                self.update("secret_version", row, sealed=payloads.sealed(self.settings.home, label, change(content)))

    def trouble(self, kind: str, *names: str, value: float = 0.0) -> None:
        """Give hosts a trouble."""
        for name in names:
            self.insert("trouble", host=name, kind=kind, value=value)

    def an_hour_passes_for_tags(self) -> None:
        """Let the cached tags be older than the hour for which they are trusted."""
        for table in ("cached_tag", "cached_tag_list"):
            for row in self.rows(table):
                checked = datetime.fromisoformat(row["checked_at"])
                self.update(table, row, checked_at=timestamp(min(checked, self.now) - _AN_HOUR))

    def variables(self, **given: str) -> None:
        """Set variables in the shells that ask `cgrunbook sandbox env` from now on."""
        self.file(ENVIRONMENT_FILE, json.dumps(json.loads(self.text(ENVIRONMENT_FILE) or "{}") | given, indent=2))


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


_FAULTS: dict[str, Fault] = {}


def _fault(
    name: str, does: str, symptom: str, **more: Any
) -> Callable[[Callable[[World], None]], Callable[[World], None]]:
    def register(make: Callable[[World], None]) -> Callable[[World], None]:
        _FAULTS[name] = Fault(name, does, symptom, make, **more)
        return make

    return register


def _behind(
    name: str, does: str, symptom: str, **more: Any
) -> Callable[[Callable[[World], None]], Callable[[World], None]]:
    """A fault that the cache would hide for an hour."""
    return _fault(name, does, symptom, tags_age=True, **more)


def _of_chainguard(name: str, does: str, symptom: str) -> Callable[[Callable[[World], None]], Callable[[World], None]]:
    return _behind(name, does, symptom, own_registry=True)


_REFUSED = (
    "Uncached images of the organisation are refused by Artifact Registry, which says that the upstream credentials are "
    "invalid; cgr.dev itself says Forbidden."
)

# --- Chainguard: the token, the organisation, the image ---------------------------------------------------------------


@_of_chainguard(
    "organization-misspelt",
    f"The organisation is called {MISSPELT} at Chainguard, and clients write example.com.",
    "cgr.dev says: unable to resolve; Artifact Registry says 502 for it.",
)
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


@_of_chainguard(
    "image-not-in-catalogue",
    "The organisation's images are not in its catalogue any more.",
    "cgr.dev says that the caller does not have the required capabilities; Artifact Registry says 502 for 403.",
)
def _image(world: World) -> None:
    _prepare_catalogue(world)
    for row in world.rows("cgr_repository", "NOT public AND entitled"):
        world.update("cgr_repository", row, entitled=0)


@_of_chainguard(
    "tag-not-free",
    f"{_FREE_IMAGE}:latest is not among the free tags any more.",
    f"A pull of {_FREE_IMAGE}:latest ends with: manifest unknown.",
)
def _tag(world: World) -> None:
    _prepare_catalogue(world)
    for row in world.rows("cgr_tag", "repository = ? AND tag = 'latest'", _FREE_IMAGE):
        world.delete("cgr_tag", row)


@_fault(
    "tag-stale",
    "cgr.dev's tags have moved on to other builds within the hour for which the cache trusts what it has.",
    "A pull through Artifact Registry works and gives another digest than one from cgr.dev.",
    own_registry=True,
)
def _stale(world: World) -> None:
    moved = False
    for cached in world.rows("cached_tag", "tag NOT LIKE 'sha256-%'"):
        name, tag = cached["image"], cached["tag"]
        others = world.rows(
            "cgr_tag",
            "repository = ? AND digest != ? AND tag NOT LIKE '%-dev' AND tag NOT LIKE 'sha256-%'",
            name,
            cached["digest"],
        )
        now = world.rows("cgr_tag", "repository = ? AND tag = ? AND digest = ?", name, tag, cached["digest"])
        if others and now:
            world.update("cgr_tag", now[0], digest=others[0]["digest"])
        if others:
            world.update("cached_tag", cached, checked_at=timestamp(world.now))
            moved = True
    if not moved:
        raise NothingToBreak(
            "no tag of an image with more than one build is cached yet. Pull one first: cgrunbook run 02"
        )


@_behind(
    "token-ended", "The pull token ended an hour ago, at Chainguard and by its own exp.", _REFUSED, own_registry=True
)
def _ended(world: World) -> None:
    import jwt
    from cryptography.hazmat.primitives.asymmetric import rsa

    shifts: dict[str, str] = {}
    # A token cannot be changed, only made anew. Real keys have 4096 bits; finding one of these takes a tenth of the time.
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key())) | {"alg": "RS256", "use": "sig"}
    claims_of: dict[str, dict[str, Any]] = {}
    for row in world.tokens():
        back = max(row["expiration"] - world.now.timestamp(), 0.0) + 3600.0
        times = {name: row[name] - back for name in ("expiration", "created_at", "updated_at", "last_seen")}
        for moment in (row["expiration"], row["expiration"] - 1, int(row["expiration"]) + 1, int(row["expiration"])):
            for write in (timestamp_in_seconds, datetime.isoformat):
                shifts[write(_at(moment, world))] = write(_at(moment - back, world))
        world.update("cg_identity", row, issuer_keys=json.dumps({"keys": [public]}), **times)
        claims_of[row["subject"]] = {"iss": row["issuer"], "sub": row["subject"], "back": back}

    def ended(password: bytes) -> bytes:
        try:
            claims = jwt.decode(password, options={"verify_signature": False})
        except jwt.InvalidTokenError:
            return password  # whatever it is, it is none that could end
        back = int(claims_of.get(claims.get("sub", ""), {}).get("back", 0))
        moved = {name: int(value) - back if name in {"iat", "exp"} else value for name, value in claims.items()}
        return jwt.encode(moved, key, algorithm="RS256", headers={"typ": ""}).encode()

    world.payload(ended)
    # What is written down beside the secret of when the token ends was always of this end.
    for name in {row["secret"] for row in world.versions()}:
        for row in world.rows("secret", "id = ?", name):
            document = row["document"]
            for was, is_now in shifts.items():
                document = document.replace(was, is_now)
            world.update("secret", row, document=document)


@_behind("token-revoked", "The pull token's identity was deleted at Chainguard.", _REFUSED, own_registry=True)
def _revoked(world: World) -> None:
    for row in world.tokens():
        for binding in world.rows("cg_binding", "identity = ?", row["id"]):
            world.delete("cg_binding", binding)
        world.delete("cg_identity", row)


@_behind(
    "token-role-missing",
    "The pull token's identity is bound to no role any more.",
    "cgr.dev takes the token and says Forbidden for each image of the organisation.",
    own_registry=True,
)
def _role(world: World) -> None:
    for row in world.tokens():
        for binding in world.rows("cg_binding", "identity = ?", row["id"]):
            world.delete("cg_binding", binding)


@_behind(
    "token-username-mismatched",
    "The repository's user name is that of another pull token, which is alive.",
    _REFUSED,
    own_registry=True,
)
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


# --- the secret --------------------------------------------------------------------------------------------------------


@_behind(
    "secret-version-disabled",
    "The secret version that the repository names is disabled.",
    "Uncached images: Secret Version ... is in DISABLED state.",
)
def _disabled(world: World) -> None:
    for row in world.versions():
        world.document("secret_version", row, state="DISABLED", etag=_etag())


@_behind(
    "secret-version-destroyed",
    "The secret version that the repository names is destroyed.",
    "Uncached images: Secret Version ... is in DESTROYED state.",
)
def _destroyed(world: World) -> None:
    for row in world.versions():
        fields = json.loads(row["document"]) | {
            "state": "DESTROYED",
            "destroyTime": timestamp(world.now),
            "etag": _etag(),
        }
        world.update("secret_version", row, document=json.dumps(fields), sealed=None, destroy_at=None)


@_behind(
    "upstream-unvalidated", "The repository was made with validation skipped; its secret never held a token.", _REFUSED
)
def _placeholder(world: World) -> None:
    world.payload(lambda _: b"replace-me")


@_behind("secret-newline", "The secret version holds the password and a line feed.", _REFUSED)
def _newline(world: World) -> None:
    world.payload(lambda password: password + b"\n")


@_behind("secret-base64", "The secret version holds the password in base64.", _REFUSED)
def _base64(world: World) -> None:
    world.payload(base64.b64encode)


@_behind(
    "secret-empty",
    "The secret version holds a line feed and nothing else: the password's variable was not set.",
    _REFUSED,
)
def _empty(world: World) -> None:
    world.payload(lambda _: b"\n")


@_behind(
    "secret-other-project",
    f"The repository names a secret version of the project {QUOTA_PROJECT_ID}.",
    "Uncached images: Permission 'secretmanager.versions.access' denied for resource projects/... (or it may not exist).",
)
def _other_project(world: World) -> None:
    for row, document, pair in world.pairs():
        parts = pair["passwordSecretVersion"].split("/")
        pair["passwordSecretVersion"] = "/".join([parts[0], QUOTA_PROJECT_ID, *parts[2:]])
        world.update("repository", row, document=json.dumps(document))


# --- the service agent -------------------------------------------------------------------------------------------------

_UNREADABLE = "Uncached images: Permission 'secretmanager.versions.access' denied ... (or it may not exist)."


def _regranted(world: World, change: Callable[[str, str], list[tuple[str, str, str]]]) -> None:
    """Change what lets the agent read a secret; all of it, or there is nothing to break."""

    def regrant(grant: tuple[str, str, str]) -> list[tuple[str, str, str]]:
        role, condition, member = grant
        reads = "secretmanager.versions.access" in world.sandbox.iam.permissions(role)
        return change(role, condition) if reads and member == world.agent else [grant]

    if not sum(world.grants(policy, regrant) for policy in world.policies()):
        raise NothingToBreak("Artifact Registry's service agent may read no secret yet. Let it: cgrunbook run 03")


@_behind("grant-missing", "Artifact Registry's service agent may not read the secret.", _UNREADABLE)
def _grant(world: World) -> None:
    _regranted(world, lambda _role, _condition: [])


@_behind("grant-conditional", "The agent's grant on the secret is under a condition that has ended.", _UNREADABLE)
def _conditional(world: World) -> None:
    ended = json.dumps(
        {
            "title": "until the migration",
            "expression": f'request.time < timestamp("{timestamp_in_seconds(world.now - timedelta(days=1))}")',
        },
        sort_keys=True,
    )
    _regranted(world, lambda role, _: [(role, ended, world.agent)])


@_behind("grant-wrong-project", "The agent that may read the secret is that of another project's number.", _UNREADABLE)
def _wrong_agent(world: World) -> None:
    other = world.agent.replace(world.settings.project_number, QUOTA_PROJECT_NUMBER)
    _regranted(world, lambda role, condition: [(role, condition, other)])


@_behind("agent-absent", "Artifact Registry's service agent was deleted.", _UNREADABLE)
def _agent(world: World) -> None:
    rows = world.rows("service_agent", "service = ?", hosts.ARTIFACT_REGISTRY)
    if not rows:
        raise NothingToBreak("Artifact Registry has no service agent yet. Make a repository first: cgrunbook run 02")
    gone = f"deleted:{world.agent}?uid={rows[0]['unique_id']}"
    for policy in world.policies():
        world.grants(policy, lambda grant: [(*grant[:2], gone)] if grant[2] == world.agent else [grant])
    world.delete("service_agent", rows[0])


# --- Artifact Registry -------------------------------------------------------------------------------------------------


def _point(world: World, uri: str) -> None:
    for row, document in world.remotes():
        config = document["remoteRepositoryConfig"]
        if "commonRepository" in config:
            config["commonRepository"]["uri"] = uri
        else:
            config["dockerRepository"]["customRepository"]["uri"] = uri
        world.update("repository", row, document=json.dumps(document))


@_behind(
    "upstream-path",
    "The repository's upstream is https://cgr.dev/chainguard: it has a path.",
    "Each uncached image is not found.",
)
def _path(world: World) -> None:
    _point(world, "https://cgr.dev/chainguard")


@_behind(
    "upstream-wrong-host",
    f"The repository's upstream is {WRONG_HOST}.",
    "Uncached images: 504, Timeout before connecting to external repository.",
)
def _wrong_host(world: World) -> None:
    _point(world, WRONG_HOST)


@_fault(
    "repository-wrong-location",
    "The repository is in another location than the one that clients use.",
    "Docker says that the repository is not found, gcloud that the requested entity was not found.",
)
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


_SAYS_DISABLED = "has not been used in project ... before or it is disabled."


@_fault(
    "api-disabled-artifactregistry",
    "The Artifact Registry API is disabled.",
    f"Docker and gcloud both say: Artifact Registry API {_SAYS_DISABLED}",
)
def _no_registry(world: World) -> None:
    _off(world, hosts.ARTIFACT_REGISTRY)


@_behind(
    "api-disabled-secretmanager",
    "The Secret Manager API is disabled.",
    f"Uncached images of the organisation, and gcloud: Secret Manager API {_SAYS_DISABLED}",
)
def _no_secrets(world: World) -> None:
    _off(world, hosts.SECRET_MANAGER)


@_fault(
    "reader-missing",
    f"Nobody holds {_DOWNLOAD} any more but the service agent.",
    f'Docker says: denied: Permission "{_DOWNLOAD}" denied on resource ... (or it may not exist).',
)
def _reader(world: World) -> None:
    if not world.without(_DOWNLOAD, lambda member: member != world.agent):
        raise NothingToBreak("nobody may pull as it is. Give somebody roles/artifactregistry.reader first.")


@_fault(
    "vpc-sc-denied",
    "A perimeter of VPC Service Controls keeps this machine from Artifact Registry and Secret Manager.",
    "Docker and gcloud both say: Request is prohibited by organization's policy. vpcServiceControlsUniqueIdentifier: ...",
)
def _perimeter(world: World) -> None:
    docker = [hosts.docker_host_name(location) for location in hosts.LOCATIONS]
    world.trouble(PERIMETER, hosts.ARTIFACT_REGISTRY, hosts.SECRET_MANAGER, *docker)


# --- hosts -------------------------------------------------------------------------------------------------------------


@_of_chainguard(
    "cgr-dev-down",
    "Connections to cgr.dev are reset.",
    "Cached images are served; others end with 502, unexpected EOF. Pulls from cgr.dev: connection reset by peer.",
)
def _down(world: World) -> None:
    world.trouble(AWAY, hosts.CGR_DEV)


@_behind(
    "cgr-dev-slow",
    f"Each answer of cgr.dev takes seconds: {SLOW_SECONDS:g}, or as many as are given after the name, as in cgr-dev-slow=10.",
    "Uncached pulls take long; clients with little patience give up.",
    own_registry=True,
    value=SLOW_SECONDS,
)
def _slow(world: World) -> None:
    world.trouble(SLOW, hosts.CGR_DEV, value=world.value or SLOW_SECONDS)


@_of_chainguard(
    "cgr-dev-429",
    "cgr.dev answers 429 to everything.",
    "Uncached images: Resource has been exhausted (e.g. check quota).",
)
def _exhausted(world: World) -> None:
    world.insert("quota", host=hosts.CGR_DEV, remaining=0)


@_of_chainguard(
    "cgr-dev-503",
    "cgr.dev answers 503 to everything.",
    "Cached images are served; others: Received invalid http status code 503 from external repository.",
)
def _unavailable(world: World) -> None:
    world.trouble(STATUS, hosts.CGR_DEV, value=503)


@_fault(
    "blob-host-blocked",
    "Connections to the host that has cgr.dev's blobs are reset.",
    "Manifests come and layers do not: 502, or connection reset by peer for who pulls from cgr.dev.",
    own_registry=True,
)
def _blocked(world: World) -> None:
    world.trouble(AWAY, hosts.BLOB_HOST)


@_fault(
    "blob-corrupted",
    "The host that has cgr.dev's blobs sends one byte of each changed.",
    "Uncached layers: 502 through Artifact Registry; from cgr.dev, a digest that does not match.",
    own_registry=True,
)
def _corrupted(world: World) -> None:
    world.trouble(CORRUPTED, hosts.BLOB_HOST)


@_fault(
    "blob-truncated",
    "The host that has cgr.dev's blobs sends half of each.",
    "Uncached layers: 502, unexpected EOF.",
    own_registry=True,
)
def _truncated(world: World) -> None:
    world.trouble(TRUNCATED, hosts.BLOB_HOST)


# --- this machine ------------------------------------------------------------------------------------------------------


@_fault(
    "clock-skew",
    f"This machine's clock is {SKEW_SECONDS / 60:g} minutes behind that of the services.",
    "Nothing at first; tokens end sooner than they say.",
)
def _skew(world: World) -> None:
    world.insert("setting", name=Clock.SKEW, value=repr(SKEW_SECONDS))


def _docker_config(world: World, change: Callable[[dict[str, Any], list[str], str], None]) -> None:
    """Change docker's configuration: of the hosts that the repositories are on, and one of another location."""
    try:
        document = json.loads(world.text(DOCKER_CONFIG) or "{}")
    except ValueError:
        raise NothingToBreak(f"{world.folder / DOCKER_CONFIG} is no JSON, which is broken enough.") from None
    places = {row["location"] for row, _ in world.remotes()}
    other = next(place for place in ("us-east1", "us-west1", "europe-west1") if place not in places)
    ours = [world.sandbox.hosts[hosts.docker_host_name(place)] for place in sorted(places)]
    change(document, ours, world.sandbox.hosts[hosts.docker_host_name(other)])
    world.file(DOCKER_CONFIG, json.dumps(document, indent="\t"))


@_fault(
    "docker-other-location",
    "Docker is signed in to the host of another location.",
    "Docker says: Unauthenticated request. Unauthenticated requests do not have permission ...",
)
def _elsewhere(world: World) -> None:
    def move(document: dict[str, Any], ours: list[str], other: str) -> None:
        for part in ("auths", "credHelpers"):
            for host in ours:
                if host in document.get(part, {}):
                    document[part][other] = document[part].pop(host)
        if not any(other in document.get(part, {}) for part in ("auths", "credHelpers")):
            document.setdefault("credHelpers", {})[other] = "gcloud"

    _docker_config(world, move)


@_fault(
    "docker-helper-missing",
    f"Docker's configuration names docker-credential-{_HELPER}, which is not on the PATH.",
    f'Docker says: error getting credentials - err: exec: "docker-credential-{_HELPER}": executable file not found in $PATH.',
)
def _no_helper(world: World) -> None:
    if (found := shutil.which(f"docker-credential-{_HELPER}")) is not None:
        raise NothingToBreak(f"docker-credential-{_HELPER} is on this machine's PATH: {found}")

    def name_it(document: dict[str, Any], ours: list[str], _: str) -> None:
        document.setdefault("credHelpers", {}).update(dict.fromkeys(ours, _HELPER))

    _docker_config(world, name_it)


@_fault(
    "docker-snap",
    "The docker that is found first is one from a snap, which sees no program outside of it.",
    'Docker says: error getting credentials - err: exec: "docker-credential-gcloud": executable file not found in $PATH.',
)
def _snap(world: World) -> None:
    found = shutil.which("docker", path=_path_without(world.folder / "bin"))
    if found is None:
        raise NothingToBreak("there is no docker on this machine's PATH. Install it first.")
    confined = world.folder / "snap" / "docker" / "current" / "bin"
    world.file("snap/bin/docker", f"#!/bin/sh\nPATH='{confined}'\nexport PATH\nexec '{found}' \"$@\"\n")
    world.file("bin/docker", f"->{world.folder / 'snap' / 'bin' / 'docker'}")


def _path_without(folder: Path) -> str:
    import os

    parts = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join(part for part in parts if part != str(folder))


@_fault(
    "proxy-password",
    "The proxy that shells are told to use wants a password.",
    "gcloud and curl say: 407 Proxy Authentication Required. Docker, crane and others written in Go ask no proxy for 127.0.0.1.",
    shells=True,
)
def _proxy(world: World) -> None:
    address = f"http://{world.sandbox.hosts[hosts.PROXY]}"
    names = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
    world.variables(**dict.fromkeys(names, address), NO_PROXY="", no_proxy="")


@_fault(
    "client-disk-full",
    "Shells are given a folder for temporary files, TMPDIR, on a file system that is full.",
    "skopeo, podman, gcloud and others say: no space left on device.",
    shells=True,
)
def _disk(world: World) -> None:
    from cgrunbook.sandbox.faults.full_disk import NotToBeHad, mount, of

    try:
        mount(world.folder)
    except NotToBeHad as why:
        raise NothingToBreak(str(why)) from why
    world.variables(TMPDIR=str(of(world.folder)))


# --- who asks ----------------------------------------------------------------------------------------------------------

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


def _lacking(permission: str) -> Fault:
    def make(world: World) -> None:
        if not world.without(permission, lambda member: member == world.settings.operator):
            raise NothingToBreak(f"{world.settings.operator} does not hold {permission} as it is.")

    return Fault(
        f"caller-lacks-{permission}",
        f"The trainee does not hold {permission}.",
        f"gcloud and the notebooks say: Permission '{permission}' denied, where it is needed.",
        make,
    )


def _all() -> Iterator[Fault]:
    yield from _FAULTS.values()
    for service, names in _NEEDED.items():
        for name in names.split():
            yield _lacking(f"{service}.{name}")


#: Every fault by its name, in the order in which they are made.
FAULTS: Mapping[str, Fault] = {fault.name: fault for fault in _all()}


def _prepare_catalogue(world: World) -> None:
    """Found the organisations and fill the registry, where nobody asked for them yet."""
    from cgrunbook.sandbox.chainguard.organizations import Organizations
    from cgrunbook.sandbox.registry.catalog import Catalog

    Organizations(world.sandbox)
    Catalog(world.sandbox)


def _etag() -> str:
    return f'"{secrets.token_hex(8)}"'


def _at(seconds: float, world: World) -> datetime:
    return datetime.fromtimestamp(seconds, world.now.tzinfo)
