"""Artifact Registry's repositories of one location: read, create, change, delete.

It knows the API's shapes and what may change in place. It does not know what the repositories are
for, and no images: those are served by `cgrunbook.cloud.registry`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, TypeVar

from google.cloud import artifactregistry_v1 as ar

from cgrunbook.cloud.google_errors import READ_SECRET
from cgrunbook.cloud.google_service import CALL, GoogleService, client_arguments, moment
from cgrunbook.errors import (
    AlreadyExists,
    InvalidRequest,
    NotFound,
    PermissionMissing,
    ServiceError,
    UpstreamNotValidated,
)

T = TypeVar("T")

DOCKER_HUB = "docker-hub"

_CREDENTIALS = "remote_repository_config.upstream_credentials.username_password_credentials"

Scanning = Literal["", "inherited", "disabled"]


@dataclass(frozen=True)
class CleanupPolicy:
    """One rule by which Artifact Registry deletes or keeps what a repository holds.

    Either `keep_count` is given (the most recent versions are kept) or the conditions are.

    Args:
        id: the rule's name, under 128 characters, unique in the repository.
        action: whether what matches is deleted or kept.
        tag_state: which versions match by their tags; "" for a rule without conditions.
        tag_prefixes: prefixes of tags that match, with `tag_state="tagged"`.
        version_name_prefixes: prefixes of version names (digests) that match.
        package_name_prefixes: prefixes of image names that match.
        older_than: the age above which a version matches.
        newer_than: the age below which a version matches.
        keep_count: how many recent versions of each image are kept.
    """

    id: str
    action: Literal["delete", "keep"]
    tag_state: Literal["", "any", "tagged", "untagged"] = ""
    tag_prefixes: tuple[str, ...] = ()
    version_name_prefixes: tuple[str, ...] = ()
    package_name_prefixes: tuple[str, ...] = ()
    older_than: dt.timedelta | None = None
    newer_than: dt.timedelta | None = None
    keep_count: int | None = None


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
        format: "DOCKER" and the rest.
        size_bytes: what its content takes; read only.
        create_time: read only, as the four after it.
        update_time: see above.
        registry_uri: such as "us-central1-docker.pkg.dev/P/R"; "" where the API does not say.
        scanning_state: such as "SCANNING_DISABLED", "" when unknown.
        scanning_reason: the API's sentence about the state.
    """

    name: str
    upstream: str = ""
    username: str = ""
    password_secret_version: str = ""
    description: str = ""
    upstream_description: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    kms_key_name: str = ""
    cleanup_policies: tuple[CleanupPolicy, ...] = ()
    cleanup_policy_dry_run: bool = False
    vulnerability_scanning: Scanning = ""
    mode: str = "REMOTE_REPOSITORY"
    format: str = "DOCKER"
    size_bytes: int = 0
    create_time: dt.datetime | None = None
    update_time: dt.datetime | None = None
    registry_uri: str = ""
    scanning_state: str = ""
    scanning_reason: str = ""

    @property
    def id(self) -> str:
        """The last part of the name."""
        return self.name.rpartition("/")[2]


class ArtifactRegistry(GoogleService):
    """The repositories of the connection's project and location."""

    @cached_property
    def _client(self) -> Any:
        return ar.ArtifactRegistryClient(**client_arguments(self.connection, self.connection.artifact_registry))

    @property
    def parent(self) -> str:
        """Where the repositories are: projects/P/locations/L."""
        return f"projects/{self.connection.project_id}/locations/{self.connection.location}"

    def name(self, repository_id: str) -> str:
        """A repository's full name."""
        return f"{self.parent}/repositories/{repository_id}"

    def get(self, repository_id: str) -> RemoteRepository | None:
        """Read one repository; None when there is none of this name."""
        raw = self._read(repository_id)
        return None if raw is None else _repository(raw)

    def list(self) -> tuple[RemoteRepository, ...]:
        """Read all repositories of the location, in the order of their names."""
        request = ar.ListRepositoriesRequest(parent=self.parent, page_size=1000)
        doing = f"list the repositories in {self.connection.location}"
        found = self._repeat(doing, lambda: [*self._client.list_repositories(request, **CALL)])
        return tuple(sorted((_repository(raw) for raw in found), key=lambda repository: repository.name))

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

    def create(
        self, wanted: RemoteRepository, *, disable_upstream_validation: bool = False, propagation: float = 0.0
    ) -> RemoteRepository:
        """Create a repository and read it back: the operation's own answer lacks its times and address.

        A request whose answer was lost is sent again; when the service then says that the repository exists, what is
        there is compared with what was wanted, and differing settings are somebody else's repository.

        Args:
            wanted: the repository; its read-only fields are not looked at.
            disable_upstream_validation: let Artifact Registry not try the upstream and its credentials.
            propagation: seconds to go on while Artifact Registry cannot read the secret, for a grant made just before.

        Raises:
            AlreadyExists: the name is taken.
            UpstreamCredentialsRefused: the upstream does not take the credentials.
            PermissionMissing: the caller may not create, or the service agent may not read the secret.
        """
        doing = f"create the repository {wanted.id} in {self.connection.location}"
        request = ar.CreateRepositoryRequest(
            parent=self.parent, repository_id=wanted.id, repository=_message(wanted, disable_upstream_validation)
        )

        def read() -> RemoteRepository:
            return self._read_back(doing, f"the repository {wanted.id}", lambda: self.get(wanted.id))

        def arrived() -> RemoteRepository:
            if not _same_settings(wanted, there := read()):
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
            return read()

        return self._while_unreadable(make, propagation)

    def update(self, before: RemoteRepository, wanted: RemoteRepository) -> RemoteRepository:
        """Change what may change in place, but for the upstream's credentials, and read it back.

        Args:
            before: the repository as it was read.
            wanted: the same with changed description, labels, clean-up policies, their dry-run or scanning.

        Raises:
            InvalidRequest: a field differs that cannot be changed in place; nothing was sent.
            NotFound: there is no such repository any more.
        """
        fixed = [
            title
            for title, old, new in (
                ("mode", before.mode, wanted.mode),
                ("format", before.format, wanted.format),
                ("upstream", before.upstream.rstrip("/"), wanted.upstream.rstrip("/")),
                ("upstream description", before.upstream_description, wanted.upstream_description),
                ("encryption key", before.kms_key_name, wanted.kms_key_name),
            )
            if old != new
        ]
        if fixed or before.name != wanted.name:
            raise InvalidRequest(
                f"The {' and '.join(fixed) or 'name'} of the repository {before.id} cannot be changed in place.",
                "Create a repository with another name, or delete this one first: gcloud artifacts repositories delete "
                f"{before.id} --location={self.connection.location} --project={self.connection.project_id}",
            )
        mask = [
            path
            for path, old, new in (
                ("description", before.description, wanted.description),
                ("labels", dict(before.labels), dict(wanted.labels)),
                ("cleanup_policies", _by_id(before.cleanup_policies), _by_id(wanted.cleanup_policies)),
                ("cleanup_policy_dry_run", before.cleanup_policy_dry_run, wanted.cleanup_policy_dry_run),
                ("vulnerability_scanning_config", before.vulnerability_scanning, wanted.vulnerability_scanning),
            )
            if old != new
        ]
        if not mask:
            return before
        new = _message(wanted, disable_upstream_validation=False)

        def edit(raw: Any) -> None:
            raw.description = new.description
            raw.labels = new.labels
            raw.cleanup_policies = new.cleanup_policies
            raw.cleanup_policy_dry_run = new.cleanup_policy_dry_run
            raw.vulnerability_scanning_config = new.vulnerability_scanning_config

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
            config.upstream_credentials = ar.RemoteRepositoryConfig.UpstreamCredentials(
                username_password_credentials=ar.RemoteRepositoryConfig.UpstreamCredentials.UsernamePasswordCredentials(
                    username=username, password_secret_version=password_secret_version
                )
            )
            config.disable_upstream_validation = disable_upstream_validation

        mask = [f"{_CREDENTIALS}.password_secret_version", f"{_CREDENTIALS}.username"]
        there = self._while_unreadable(lambda: self._patch(repository_id, doing, mask, edit), propagation)
        wanted = (username, without_project(password_secret_version))
        if (there.username, without_project(there.password_secret_version)) != wanted:
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

    def _read(self, repository_id: str) -> Any:
        """The client's own message, None when there is no such repository."""
        request = ar.GetRepositoryRequest(name=self.name(repository_id))
        doing = f"read the repository {repository_id} in {self.connection.location}"
        return self._find(doing, lambda: self._client.get_repository(request, **CALL))

    def _patch(
        self, repository_id: str, doing: str, mask: Sequence[str], edit: Callable[[Any], None]
    ) -> RemoteRepository:
        """Read, edit, send the whole body with a mask as gcloud does, and read again; safe to repeat."""

        def attempt() -> None:
            raw = self._read(repository_id)
            if raw is None:
                raise NotFound(f"Tried to {doing}. There is none of this name in {self.parent}.")
            edit(raw)
            request = ar.UpdateRepositoryRequest(repository=raw, update_mask={"paths": mask})
            self._once(doing, lambda: self._client.update_repository(request, **CALL))

        self.attempts.run(attempt, reason=f"another attempt to {doing}")
        return self._read_back(doing, f"the repository {repository_id}", lambda: self.get(repository_id))

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


def without_project(version: str) -> str:
    """A secret version's name from "secrets/" on: the API may answer with the project's number in place of its id."""
    return version.partition("/secrets/")[2]


def _by_id(policies: Iterable[CleanupPolicy]) -> dict[str, CleanupPolicy]:
    return {policy.id: policy for policy in policies}


def _same_settings(wanted: RemoteRepository, there: RemoteRepository) -> bool:
    """Whether all that was sent is what is there."""

    def sent(repository: RemoteRepository) -> tuple[object, ...]:
        return (
            repository.mode,
            repository.format,
            repository.upstream.rstrip("/"),
            repository.username,
            without_project(repository.password_secret_version),
            repository.description,
            dict(repository.labels),
            repository.kms_key_name,
            _by_id(repository.cleanup_policies),
            repository.cleanup_policy_dry_run,
        )

    return sent(wanted) == sent(there)


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
        cleanup_policies=tuple(
            _policy(key, policy) for key, policy in sorted(raw.cleanup_policies.items(), key=lambda item: item[0])
        ),
        cleanup_policy_dry_run=raw.cleanup_policy_dry_run,
        vulnerability_scanning=enablement.get(_word(scanning.enablement_config), ""),
        mode=_word(raw.mode),
        format=_word(raw.format_),
        size_bytes=raw.size_bytes,
        create_time=moment(raw.create_time),
        update_time=moment(raw.update_time),
        registry_uri=raw.registry_uri,
        scanning_state=_word(scanning.enablement_state) if scanning.enablement_state else "",
        scanning_reason=scanning.enablement_state_reason,
    )


def _upstream(raw: Any) -> str:
    """The upstream, from the shape in use or from either of the older ones."""
    if _word(raw.format_) != "DOCKER":
        return ""
    remote = raw.remote_repository_config
    if remote.common_repository.uri:
        return str(remote.common_repository.uri)
    if remote.docker_repository.custom_repository.uri:
        return str(remote.docker_repository.custom_repository.uri)
    return DOCKER_HUB if _word(remote.docker_repository.public_repository) == "DOCKER_HUB" else ""


def _word(value: Any) -> str:
    """An enum's name; its number where this client is older than the value."""
    return str(getattr(value, "name", value))


def _policy(key: str, raw: Any) -> CleanupPolicy:
    action: Literal["delete", "keep"] = "keep" if _word(raw.action) == "KEEP" else "delete"
    if "most_recent_versions" in raw:
        recent = raw.most_recent_versions
        return CleanupPolicy(
            raw.id or key,
            action,
            package_name_prefixes=tuple(recent.package_name_prefixes),
            keep_count=recent.keep_count,
        )
    condition = raw.condition
    states: dict[str, Literal["any", "tagged", "untagged"]] = {"ANY": "any", "TAGGED": "tagged", "UNTAGGED": "untagged"}
    return CleanupPolicy(
        raw.id or key,
        action,
        tag_state=states.get(_word(condition.tag_state), "any"),
        tag_prefixes=tuple(condition.tag_prefixes),
        version_name_prefixes=tuple(condition.version_name_prefixes),
        package_name_prefixes=tuple(condition.package_name_prefixes),
        older_than=condition.older_than if "older_than" in condition else None,
        newer_than=condition.newer_than if "newer_than" in condition else None,
    )


def _message(wanted: RemoteRepository, disable_upstream_validation: bool) -> Any:
    """The client's message for a repository that is wanted: the common shape, as gcloud sends it."""
    remote = ar.RemoteRepositoryConfig(
        description=wanted.upstream_description, disable_upstream_validation=disable_upstream_validation
    )
    if wanted.upstream:
        remote.common_repository = ar.RemoteRepositoryConfig.CommonRemoteRepository(uri=wanted.upstream)
    if wanted.username or wanted.password_secret_version:
        remote.upstream_credentials = ar.RemoteRepositoryConfig.UpstreamCredentials(
            username_password_credentials=ar.RemoteRepositoryConfig.UpstreamCredentials.UsernamePasswordCredentials(
                username=wanted.username, password_secret_version=wanted.password_secret_version
            )
        )
    message = ar.Repository(
        name=wanted.name,
        format_=wanted.format,
        mode=wanted.mode,
        description=wanted.description,
        labels=dict(wanted.labels),
        kms_key_name=wanted.kms_key_name,
        cleanup_policies={policy.id: _policy_message(policy) for policy in wanted.cleanup_policies},
        cleanup_policy_dry_run=wanted.cleanup_policy_dry_run,
    )
    if wanted.mode == "REMOTE_REPOSITORY":
        message.remote_repository_config = remote
    if wanted.vulnerability_scanning:
        message.vulnerability_scanning_config = ar.Repository.VulnerabilityScanningConfig(
            enablement_config=wanted.vulnerability_scanning.upper()
        )
    return message


def _policy_message(policy: CleanupPolicy) -> Any:
    message = ar.CleanupPolicy(id=policy.id, action=policy.action.upper())
    if policy.keep_count is not None:
        message.most_recent_versions = ar.CleanupPolicyMostRecentVersions(
            package_name_prefixes=policy.package_name_prefixes, keep_count=policy.keep_count
        )
        return message
    message.condition = ar.CleanupPolicyCondition(
        tag_state=(policy.tag_state or "any").upper(),
        tag_prefixes=policy.tag_prefixes,
        version_name_prefixes=policy.version_name_prefixes,
        package_name_prefixes=policy.package_name_prefixes,
        older_than=policy.older_than,
        newer_than=policy.newer_than,
    )
    return message
