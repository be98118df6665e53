"""Artifact Registry's repositories of one location: read, create, change, delete; and what there is in all locations.

It knows the API's shapes and what may change in place. It does not know what the repositories are
for, and no images: those are served by `cgrunbook.cloud.registry`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import Any, Literal, TypeVar
from urllib.parse import unquote, urlsplit

from google.cloud import artifactregistry_v1 as ar

from cgrunbook.cloud.google_service import CALL, GoogleService, client
from cgrunbook.cloud.iam_policy import Policy, add_member, read_policy
from cgrunbook.cloud.roles import READ_SECRET
from cgrunbook.errors import (
    AlreadyExists,
    CgrunbookError,
    InvalidRequest,
    NotFound,
    PermissionMissing,
    ServiceError,
    UpstreamNotValidated,
)

T = TypeVar("T")

DOCKER_HUB = "docker-hub"

# Locations asked at once: as many as requests keeps connections to one host.
_AT_ONCE = 10

# Images asked for at once; the API answers no more.
_PAGE = 1000

# Seconds for all attempts at one of many locations: not to know is an answer too, and the others have been asked by then.
_LIMIT_OF_EACH = 20.0

_CREDENTIALS = "remote_repository_config.upstream_credentials.username_password_credentials"

# The API's own message: a policy that somebody else made goes there and back whole.
CleanupPolicy = ar.CleanupPolicy

Scanning = Literal["", "inherited", "disabled"]

# What may change in place: our field, and its path in the API's mask.
_CHANGEABLE: Mapping[str, str] = {
    "description": "description",
    "labels": "labels",
    "cleanup_policies": "cleanup_policies",
    "cleanup_policy_dry_run": "cleanup_policy_dry_run",
    "vulnerability_scanning": "vulnerability_scanning_config",
    "upstream_policies": "virtual_repository_config",
}


@dataclass(frozen=True)
class UpstreamPolicy:
    """One repository that a virtual one serves from.

    Args:
        id: the policy's own name, once in a virtual repository.
        repository: projects/P/locations/L/repositories/R.
        priority: the repository with the highest is asked first.
    """

    id: str
    repository: str
    priority: int


@dataclass(frozen=True)
class RemoteRepository:
    """A repository as Artifact Registry has it, or as it is wanted.

    Args:
        name: projects/P/locations/L/repositories/R.
        upstream: the URI as it was given; "docker-hub" for that preset; "" when the repository is not a Docker remote.
        username: the upstream's user, "" for none.
        password_secret_version: projects/P/secrets/S/versions/V with the upstream's password, "" for none.
        description: shown beside the repository.
        upstream_description: shown beside the upstream; cannot be changed later.
        labels: at most 64.
        kms_key_name: the key that encrypts it, "" for Google's own; cannot be changed later.
        cleanup_policies: at most ten, by id.
        cleanup_policy_dry_run: the policies only report what they would delete.
        vulnerability_scanning: whether scanning follows the project's setting; "" when the API says nothing.
        mode: "REMOTE_REPOSITORY", "STANDARD_REPOSITORY", "VIRTUAL_REPOSITORY".
        upstream_policies: what a virtual one serves from.
        format: "DOCKER" and the rest.
        scanning_state: such as "SCANNING_DISABLED", "" when unknown; read only.
        size_bytes: of what is stored in it, 0 where the API says nothing; read only.
        platform_logs: "ENABLED", "DISABLED", "" where the project's setting counts; read by `get` alone.
    """

    name: str
    upstream: str = ""
    username: str = ""
    password_secret_version: str = ""
    description: str = ""
    upstream_description: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    kms_key_name: str = ""
    cleanup_policies: Mapping[str, CleanupPolicy] = field(default_factory=dict)
    cleanup_policy_dry_run: bool = False
    vulnerability_scanning: Scanning = ""
    mode: str = "REMOTE_REPOSITORY"
    format: str = "DOCKER"
    scanning_state: str = ""
    upstream_policies: tuple[UpstreamPolicy, ...] = ()
    size_bytes: int = field(default=0, compare=False)
    platform_logs: str = field(default="", compare=False)

    @property
    def id(self) -> str:
        """The last part of the name."""
        return self.name.rpartition("/")[2]

    @property
    def location(self) -> str:
        """The location in the name."""
        return self.name.split("/")[3]


@dataclass(frozen=True)
class Stored:
    """What images a repository holds.

    Args:
        images: how many, each digest one.
        more: there are more, which were not counted.
        newest: when the last of them came; None where there is none. When one was last pulled no API tells.
    """

    images: int
    more: bool
    newest: datetime | None


@dataclass(frozen=True)
class Everywhere:
    """The repositories of all locations of a project, as far as they could be read.

    Args:
        repositories: in the order of their names.
        unread: the error of each location that could not be read; under "" where not even the locations could.
    """

    repositories: tuple[RemoteRepository, ...]
    unread: Mapping[str, CgrunbookError]


class ArtifactRegistry(GoogleService):
    """The repositories of the connection's project and location."""

    @cached_property
    def _client(self) -> Any:
        made = client(ar.ArtifactRegistryClient, self.connection, self.connection.artifact_registry)
        # The client (1.23) drops the fields that it does not know: this one is read from the same answer, raw.
        made.transport._session.hooks["response"].append(self._note_platform_logs)  # noqa: SLF001 - it has no other way
        return made

    @cached_property
    def _platform_logs(self) -> dict[str, str]:
        """What each repository was last read to say of its platform logs."""
        return {}

    def _note_platform_logs(self, response: Any, **_: object) -> None:
        if response.ok and b'"platformLogsConfig"' in response.content:
            name = unquote(urlsplit(response.url).path).removeprefix("/v1/")
            self._platform_logs[name] = _logging_state(response.json())

    @property
    def parent(self) -> str:
        """Where the repositories are: projects/P/locations/L."""
        return f"projects/{self.connection.project_id}/locations/{self.connection.location}"

    def name(self, repository_id: str) -> str:
        """A repository's full name; one that is given stays."""
        return repository_id if "/" in repository_id else f"{self.parent}/repositories/{repository_id}"

    def get(self, repository_id: str) -> RemoteRepository | None:
        """Read one repository; None when there is none of this name."""
        name = self.name(repository_id)
        self._platform_logs.pop(name, None)
        raw = self._read(repository_id)
        return None if raw is None else replace(_repository(raw), platform_logs=self._platform_logs.get(name, ""))

    def project_platform_logs(self) -> str:
        """What counts for the location's repositories without a setting of their own: "ENABLED", "DISABLED", "" for neither."""
        address = f"{self.connection.artifact_registry}/v1/{self.parent}/projectConfig"
        doing = f"read the platform logs' setting of the project in {self.connection.location}"
        return _logging_state(self._repeat(doing, lambda: self._request("GET", address, doing)))

    def stored(self, repository_id: str) -> Stored:
        """Count the images that a repository holds, up to a thousand of them."""
        request = ar.ListDockerImagesRequest(parent=self.name(repository_id), page_size=_PAGE)

        doing = f"list the images in the repository {repository_id}"
        page = self._repeat(doing, lambda: next(self._client.list_docker_images(request, **CALL).pages))
        times = [image.upload_time for image in page.docker_images]
        return Stored(len(times), bool(page.next_page_token), max(times, default=None))

    def list(self) -> tuple[RemoteRepository, ...]:
        """Read all repositories of the location, in the order of their names."""
        return self._list(self.connection.location, self.attempts.limit)

    def list_everywhere(self) -> Everywhere:
        """Read the repositories of all locations, several at once, as gcloud does: a list over all of them is not documented."""

        def ask(location: str) -> tuple[RemoteRepository, ...] | CgrunbookError:
            try:
                return self._list(location, min(_LIMIT_OF_EACH, self.attempts.limit))
            except CgrunbookError as error:
                return error

        try:
            locations = self.locations()
        except CgrunbookError as error:
            return Everywhere((), {"": error})
        with ThreadPoolExecutor(_AT_ONCE, "asks a location") as pool:
            answers = dict(zip(locations, pool.map(ask, locations), strict=True))
        found = [one for answer in answers.values() if isinstance(answer, tuple) for one in answer]
        unread = {place: answer for place, answer in answers.items() if isinstance(answer, CgrunbookError)}
        return Everywhere(tuple(sorted(found, key=lambda repository: repository.name)), unread)

    def list_at_once(self) -> Everywhere:
        """The same in one request over all locations, which is used in the wild and documented nowhere.

        Where the service does not take it, or answers nothing, each location is asked. Whoever knows of a repository holds the
        answer against that.
        """
        try:
            found = self._list("-", self.attempts.limit)
        except (InvalidRequest, NotFound, PermissionMissing):
            found = ()
        return Everywhere(found, {}) if found else self.list_everywhere()

    def digests(self, repository_id: str) -> dict[str, str]:
        """What a repository has cached, up to a thousand: the image's path behind the repository, by digest."""
        request = ar.ListDockerImagesRequest(parent=self.name(repository_id), page_size=_PAGE)
        doing = f"list the images in the repository {repository_id}"
        page = self._repeat(doing, lambda: next(self._client.list_docker_images(request, **CALL).pages))
        named = (image.name.rpartition("/dockerImages/")[2].partition("@") for image in page.docker_images)
        return {digest: unquote(path) for path, _, digest in named}

    def get_policy(self, repository_id: str) -> Policy:
        """Who has which role on a repository; what is inherited from the project is not part of it."""
        doing = f"read the IAM policy of the repository {repository_id}"
        return read_policy(self._read_policy(self.name(repository_id), doing))

    def grant(self, repository_id: str, members: Sequence[str], role: str) -> Policy:
        """Give members a role on a repository, in one change; other bindings and all conditions stay as they are."""

        def missing(policy: Policy) -> list[str]:
            return [member for member in members if not policy.held(member, role)]

        def edit(raw: Any) -> None:
            for member in missing(read_policy(raw)):
                add_member(raw, member, role)

        doing = f"give {', '.join(members)} the role {role} on the repository {repository_id}"
        return self._change_policy(self.name(repository_id), doing, edit, lambda policy: not missing(policy))

    def revoke_grant(self, repository_id: str, member: str, role: str) -> Policy:
        """Take a role on a repository from a member; other bindings and all conditional ones stay as they are."""
        doing = f"take the role {role} on the repository {repository_id} from {member}"
        return self._revoke_grant(self.name(repository_id), doing, member, role)

    def locations(self) -> tuple[str, ...]:
        """The locations that Artifact Registry offers to the project, sorted."""
        doing = f"list the locations of Artifact Registry for {self.connection.project_id}"
        found: set[str] = set()
        request = {"name": f"projects/{self.connection.project_id}", "page_size": 500, "page_token": ""}
        while True:
            page = self._repeat(doing, lambda: self._client.list_locations(request, **CALL))
            found.update(location.location_id for location in page.locations)
            request["page_token"] = page.next_page_token
            if not page.next_page_token:
                return tuple(sorted(found))

    def create(self, wanted: RemoteRepository, *, propagation: float = 0.0) -> RemoteRepository:
        """Create a repository and read it back: the operation's own answer lacks fields that a reading has.

        A request whose answer was lost is sent again; when the service then says that the repository exists, what is
        there is compared with what was wanted, and differing settings are somebody else's repository.

        Args:
            wanted: the repository; its read-only fields are not looked at.
            propagation: seconds to go on while Artifact Registry cannot read the secret, for a grant made just before.

        Raises:
            AlreadyExists: the name is taken.
            UpstreamCredentialsRefused: the upstream does not take the credentials.
            PermissionMissing: the caller may not create, or the service agent may not read the secret.
        """
        doing = f"create the repository {wanted.id} in {self.connection.location}"
        request = ar.CreateRepositoryRequest(parent=self.parent, repository_id=wanted.id, repository=_message(wanted))

        def arrived() -> RemoteRepository:
            there = self._must_get(wanted.id, doing)
            if _sent(there) != _sent(wanted) or not _alike(
                there.password_secret_version, wanted.password_secret_version
            ):
                raise AlreadyExists(
                    f"Tried to {doing}. Somebody else made one of this name meanwhile, with other settings.",
                    f"Look at it: gcloud artifacts repositories describe {wanted.id} "
                    f"--location={self.connection.location} --project={self.connection.project_id}",
                )
            return there

        def make() -> RemoteRepository:
            made = self._send_once(
                doing,
                lambda: self._client.create_repository(request, **CALL),
                arrived=arrived,
                noticed=(AlreadyExists,),
            )
            if isinstance(made, RemoteRepository):
                return made
            self._finish(doing, made)
            return self._must_get(wanted.id, doing)

        return self._while_unreadable(make, propagation)

    def update(self, before: RemoteRepository, wanted: RemoteRepository) -> RemoteRepository:
        """Change what may change in place, but for the upstream's credentials, and read it back.

        Args:
            before: the repository as it was read.
            wanted: the same with changed description, labels, clean-up policies, their dry-run, scanning or a virtual one's
                upstream policies; nothing else can change, and nothing else is looked at.

        Raises:
            NotFound: there is no such repository any more.
        """
        mask = [path for ours, path in _CHANGEABLE.items() if getattr(before, ours) != getattr(wanted, ours)]
        if not mask:
            return before
        new = _message(wanted)

        def edit(raw: Any) -> None:
            for ours, path in _CHANGEABLE.items():
                if path not in mask:
                    continue
                value, was, wish = getattr(new, path), getattr(before, ours), getattr(wanted, ours)
                if isinstance(wish, Mapping):  # what others put in since it was read stays
                    gone = {key for key in was if key not in wish}
                    changed = {key: value[key] for key in wish if wish[key] != was.get(key)}
                    value = {key: one for key, one in getattr(raw, path).items() if key not in gone} | changed
                elif ours == "upstream_policies":
                    known = {one.id for one in (*was, *wish)}
                    value.upstream_policies.extend(
                        one for one in getattr(raw, path).upstream_policies if one.id not in known
                    )
                setattr(raw, path, value)

        return self._patch(before.id, f"change the repository {before.id}", mask, edit)

    def set_upstream_credentials(
        self,
        repository_id: str,
        username: str,
        password_secret_version: str,
        *,
        disable_upstream_validation: bool = False,
        propagation: float = 0.0,
    ) -> RemoteRepository:
        """Change username and password together, in one request with the two leaf paths that gcloud sends, and read back.

        Args:
            password_secret_version: projects/P/secrets/S/versions/V.
            disable_upstream_validation: let Artifact Registry not try them.
            propagation: seconds to go on while Artifact Registry cannot read the secret, for a grant made just before.

        Raises:
            UpstreamCredentialsRefused: the upstream does not take them.
            PermissionMissing: the caller may not update, or the service agent may not read the secret.
            NotFound: there is no such repository.
            ServiceError: the repository reads back with other credentials.
        """
        doing = f"set the upstream credentials of the repository {repository_id}"

        def edit(raw: Any) -> None:
            config = raw.remote_repository_config
            config.upstream_credentials = _credentials(username, password_secret_version)
            config.disable_upstream_validation = disable_upstream_validation

        mask = [f"{_CREDENTIALS}.password_secret_version", f"{_CREDENTIALS}.username"]
        there = self._while_unreadable(lambda: self._patch(repository_id, doing, mask, edit), propagation)
        if there.username != username or not _alike(there.password_secret_version, password_secret_version):
            raise ServiceError(
                f"Tried to {doing}. The service said yes, but the repository reads back with the user "
                f"{there.username!r} and {there.password_secret_version!r}.",
                "Somebody may have changed it at the same moment: run again.",
            )
        return there

    def delete(self, repository_id: str) -> bool:
        """Delete a repository with all that it holds; False when it was not there to begin with."""
        doing = f"delete the repository {repository_id}"
        request = ar.DeleteRepositoryRequest(name=self.name(repository_id))

        def delete() -> None:
            self._finish(doing, self._repeat(doing, lambda: self._client.delete_repository(request, **CALL)))

        return self._remove(doing, lambda: self._read(repository_id), delete)

    def _list(self, location: str, limit: float) -> tuple[RemoteRepository, ...]:
        parent = f"projects/{self.connection.project_id}/locations/{location}"
        request = ar.ListRepositoriesRequest(parent=parent, page_size=1000)
        doing = f"list the repositories in {location}"
        found = self.attempts.run(
            lambda: self._once(doing, lambda: [*self._client.list_repositories(request, **CALL)]),
            reason=f"another attempt to {doing}",
            limit=limit,
        )
        return tuple(sorted((_repository(raw) for raw in found), key=lambda repository: repository.name))

    def _read(self, repository_id: str) -> Any:
        """The client's own message, None when there is no such repository."""
        request = ar.GetRepositoryRequest(name=self.name(repository_id))
        doing = f"read the repository {repository_id} in {self.connection.location}"
        return self._find(doing, lambda: self._client.get_repository(request, **CALL))

    def _must_get(self, repository_id: str, doing: str) -> RemoteRepository:
        return self._read_back(doing, f"the repository {repository_id}", lambda: self.get(repository_id))

    def _patch(
        self, repository_id: str, doing: str, mask: Sequence[str], edit: Callable[[Any], None]
    ) -> RemoteRepository:
        """Read, edit, send the whole body with a mask as gcloud does; answers what it is then; safe to repeat."""

        def attempt() -> RemoteRepository:
            raw = self._read(repository_id)
            if raw is None:
                raise NotFound(f"Tried to {doing}. There is none of this name in {self.parent}.")
            edit(raw)
            request = ar.UpdateRepositoryRequest(repository=raw, update_mask={"paths": mask})
            return _repository(self._once(doing, lambda: self._client.update_repository(request, **CALL)))

        return self.attempts.run(attempt, reason=f"another attempt to {doing}")

    def _while_unreadable(self, call: Callable[[], T], seconds: float) -> T:
        """Go on for some seconds while Artifact Registry cannot read a secret that it was granted a moment ago."""
        if seconds <= 0:
            return call()
        return self.attempts.run(
            call,
            reason="the service agent's access to the secret to take effect",
            temporary=_secret_unreadable,
            limit=seconds,
        )


def _secret_unreadable(error: BaseException) -> bool:
    """Whether this may be how Artifact Registry says that it cannot read the secret yet.

    The exact text is not known (no public source has it), so an upstream that fails its validation for no
    stated reason counts as well; credentials that the upstream has refused do not.
    """
    if isinstance(error, PermissionMissing):
        return error.permission == READ_SECRET
    return isinstance(error, UpstreamNotValidated)


def _alike(one: str, other: str) -> bool:
    """Whether two names may be one secret version's: the API may answer with the project's number in place of its id."""
    (project, _, version), (of_other, _, other_version) = one.partition("/secrets/"), other.partition("/secrets/")
    spelled_otherwise = project.rpartition("/")[2].isdigit() != of_other.rpartition("/")[2].isdigit()
    return version == other_version and (project == of_other or spelled_otherwise)


def _sent(repository: RemoteRepository) -> RemoteRepository:
    """What of a repository a request to create it carries, spelled in one way."""
    return replace(
        repository,
        name=repository.id,
        upstream=repository.upstream.rstrip("/"),
        password_secret_version="",  # compared by itself, see `_alike`
        upstream_policies=tuple(
            replace(one, repository=one.repository.rpartition("/")[2])
            for one in sorted(repository.upstream_policies, key=lambda one: one.id)
        ),
        # Read back, this says what the project's setting comes to.
        vulnerability_scanning="",
        scanning_state="",
    )


def _repository(raw: Any) -> RemoteRepository:
    """Read the client's message; unknown fields and values are let pass."""
    remote = raw.remote_repository_config
    credentials = remote.upstream_credentials.username_password_credentials
    scanning = raw.vulnerability_scanning_config
    enablement: dict[str, Scanning] = {"INHERITED": "inherited", "DISABLED": "disabled"}
    return RemoteRepository(
        name=raw.name,
        upstream=_upstream(raw),
        username=credentials.username,
        password_secret_version=credentials.password_secret_version,
        description=raw.description,
        upstream_description=remote.description,
        labels=dict(raw.labels),
        kms_key_name=raw.kms_key_name,
        cleanup_policies=dict(sorted(raw.cleanup_policies.items())),
        cleanup_policy_dry_run=raw.cleanup_policy_dry_run,
        vulnerability_scanning=enablement.get(enum_name(scanning.enablement_config), ""),
        mode=enum_name(raw.mode),
        format=enum_name(raw.format_),
        scanning_state=enum_name(scanning.enablement_state) if scanning.enablement_state else "",
        upstream_policies=tuple(
            UpstreamPolicy(policy.id, policy.repository, policy.priority)
            for policy in raw.virtual_repository_config.upstream_policies
        ),
        size_bytes=raw.size_bytes,
    )


def _upstream(raw: Any) -> str:
    """The upstream, from the shape in use or from either of the older ones."""
    if enum_name(raw.format_) != "DOCKER":
        return ""
    remote = raw.remote_repository_config
    if remote.common_repository.uri:
        return str(remote.common_repository.uri)
    if remote.docker_repository.custom_repository.uri:
        return str(remote.docker_repository.custom_repository.uri)
    return DOCKER_HUB if enum_name(remote.docker_repository.public_repository) == "DOCKER_HUB" else ""


def _logging_state(raw: Mapping[str, Any]) -> str:
    """What a repository, or a project's setting, says of its platform logs, as JSON has it."""
    config = raw.get("platformLogsConfig")
    state = str(config.get("loggingState", "")) if isinstance(config, Mapping) else ""
    return state if state in ("ENABLED", "DISABLED") else ""


def enum_name(value: Any) -> str:
    """An enum's name; its number where this client is older than the value."""
    return str(getattr(value, "name", value))


def _credentials(username: str, password_secret_version: str) -> dict[str, Any]:
    """The pair as the client's messages take it."""
    return {"username_password_credentials": {"username": username, "password_secret_version": password_secret_version}}


def _message(wanted: RemoteRepository) -> Any:
    """The client's message for a repository that is wanted: the common shape, as gcloud sends it."""
    remote: dict[str, Any] = {"description": wanted.upstream_description}
    if wanted.upstream:
        remote["common_repository"] = {"uri": wanted.upstream}
    if wanted.username or wanted.password_secret_version:
        remote["upstream_credentials"] = _credentials(wanted.username, wanted.password_secret_version)
    virtual = {"upstream_policies": [vars(policy) for policy in wanted.upstream_policies]}
    scanning = {"enablement_config": wanted.vulnerability_scanning.upper()}
    return ar.Repository(
        name=wanted.name,
        format_=wanted.format,
        mode=wanted.mode,
        description=wanted.description,
        labels=dict(wanted.labels),
        kms_key_name=wanted.kms_key_name,
        cleanup_policies=dict(wanted.cleanup_policies),
        cleanup_policy_dry_run=wanted.cleanup_policy_dry_run,
        remote_repository_config=remote if wanted.mode == "REMOTE_REPOSITORY" else None,
        virtual_repository_config=virtual if wanted.mode == "VIRTUAL_REPOSITORY" else None,
        vulnerability_scanning_config=scanning if wanted.vulnerability_scanning else None,
    )
