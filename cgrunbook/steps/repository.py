"""A remote repository of Artifact Registry in front of cgr.dev: what both halves of the guide create, compare and change.

It knows what of a repository can be changed afterwards and what cannot. Of pull tokens it knows only that there may
be a username and a secret version to go with it.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

from cgrunbook import durations
from cgrunbook.cloud.artifact_registry import CleanupPolicy, RemoteRepository, Scanning, enum_name, without_project
from cgrunbook.errors import InvalidRequest, StepFailed
from cgrunbook.parameters import Parameters
from cgrunbook.steps.step import (
    CONSOLE,
    KNOWN_AFTER_APPLY,
    MANAGED_BY,
    Change,
    Evidence,
    Outcome,
    Plan,
    Progress,
    Step,
    World,
    differences,
    gcloud,
    label_map,
    quoted,
)

# Fixed at creation and never editable: by it a repository is known again whose labels somebody has edited.
MADE_BY = "cgr.dev, set up by cgrunbook"

_DELETE_OLD, _KEEP_RECENT = "cgrunbook-delete-old", "cgrunbook-keep-recent"


@dataclass(frozen=True)
class RepositorySettings:
    """The options that the guide names beside name, format, mode and upstream.

    Args:
        description: one line; empty takes a fitting one at creation and leaves an existing one alone.
        labels: `key=value`, in addition to the one that marks what cgrunbook made.
        kms_key_name: a customer-managed key's full name; empty leaves encryption to Google. Fixed at creation.
        cleanup_older_than: a Go duration; cached versions older than this are deleted. Empty makes no such policy.
        cleanup_keep: this many recent versions of each image are kept whatever their age; 0 makes no such policy.
        cleanup_dry_run: the policies only log what they would delete.
        vulnerability_scanning: `inherited`, `disabled`, or empty to leave it.
    """

    description: str = ""
    labels: Sequence[str] = ()
    kms_key_name: str = ""
    cleanup_older_than: str = ""
    cleanup_keep: int = 0
    cleanup_dry_run: bool = True
    vulnerability_scanning: Scanning = ""

    @classmethod
    def of(cls, params: Parameters) -> Self:
        """What a notebook's parameters ask for."""
        return cls(**{field.name: getattr(params, field.name) for field in fields(cls)})

    @property
    def cleanup_policies(self) -> dict[str, CleanupPolicy]:
        """The clean-up policies that the settings ask for, by id."""
        policies = []
        if self.cleanup_older_than:
            condition = {"tag_state": "ANY", "older_than": durations.parse(self.cleanup_older_than)}
            policies.append(CleanupPolicy(id=_DELETE_OLD, action="DELETE", condition=condition))
        if self.cleanup_keep:
            recent = {"keep_count": self.cleanup_keep}
            policies.append(CleanupPolicy(id=_KEEP_RECENT, action="KEEP", most_recent_versions=recent))
        return {policy.id: policy for policy in policies}


@dataclass(frozen=True)
class UpstreamCredentials:
    """With what a repository signs in at its upstream.

    Args:
        username: the pull token's username.
        secret_version: the full name of the version that holds its password.
    """

    username: str
    secret_version: str


def expected_repository(name: str) -> str:
    """How a plan names a repository that a step before would have made."""
    return f"repository {name}"


def made_by_cgrunbook(repository: RemoteRepository) -> bool:
    """Whether cgrunbook made it; only then is it ever deleted, and only then do its own labels have to be there."""
    return repository.upstream_description == MADE_BY or _marked(repository)


def _marked(repository: RemoteRepository) -> bool:
    return dict(repository.labels).get(MANAGED_BY[0]) == MANAGED_BY[1]


class RemoteRepositoryStep(Step):
    """Create a remote repository, or bring an existing one to what was asked for.

    Args:
        repository: its name.
        upstream: the registry behind it.
        settings: the options.
        purpose: what a new one is described as.
    """

    def __init__(self, repository: str, upstream: str, settings: RepositorySettings, purpose: str) -> None:
        self.repository = repository
        self.upstream = upstream
        self.settings = settings
        self.purpose = purpose

    def credentials(self, world: World) -> UpstreamCredentials | None:
        """With what the repository is to sign in at its upstream; None for an unauthenticated one."""
        return None

    def notes(self, existing: RemoteRepository | None) -> tuple[str, ...]:
        """What the operator should know before agreeing."""
        return ()

    def console(self, world: World) -> str:
        # A page of its own it has only once it is there.
        return f"{CONSOLE}/artifacts?project={world.cloud.connection.project_id}"

    def plan(self, world: World) -> Plan:
        there = world.repository(self.repository)
        wanted_credentials = self.credentials(world)
        if there is None and world.expects(expected_repository(self.repository)):
            if wanted_credentials is None:
                return Plan()
            there = self._wanted(world, None)
        if there is None:
            return self._creation(world, wanted_credentials)
        self._refuse_what_cannot_change(there)
        wanted = self._wanted(world, there)
        changes = [
            *differences(f"repository {self.repository}", _fields(there), _fields(wanted)),
            *_credential_changes(f"repository {self.repository}", there, wanted_credentials),
        ]
        if not changes:
            return Plan()
        return Plan(
            Outcome.UPDATED,
            tuple(changes),
            tuple(self._update_commands(world, there, wanted, wanted_credentials)),
            makes=(expected_repository(self.repository),),
            notes=self.notes(there),
        )

    def apply(self, world: World, plan: Plan) -> None:
        repositories = world.cloud.repositories
        credentials = self.credentials(world)
        there = world.repository(self.repository)
        world.progress(Progress(f"{'creating' if there is None else 'changing'} the repository {self.repository}"))
        wanted = self._wanted(world, there)
        if there is None:
            if credentials:
                wanted = replace(
                    wanted, username=credentials.username, password_secret_version=credentials.secret_version
                )
            repositories.create(wanted, propagation=world.cloud.attempts.limit if credentials else 0.0)
            return
        if _fields(there) != _fields(wanted):
            there = repositories.update(there, wanted)
        if credentials and _credential_changes("", there, credentials):
            repositories.set_upstream_credentials(
                self.repository,
                credentials.username,
                credentials.secret_version,
                propagation=world.cloud.attempts.limit,
            )

    def verify(self, world: World) -> Evidence:
        if world.expects(expected_repository(self.repository)):
            return Evidence("will be there by then")
        there = world.repository(self.repository)
        if there is None:
            raise StepFailed(f"The repository {self.repository} is not there after it was made.", "Run again.")
        connection = world.cloud.connection
        facts: dict[str, Any] = {
            "repository": f"{connection.artifact_registry_host.name}/{connection.project_id}/{self.repository}",
            "format and mode": f"{there.format}, {there.mode}",
            "upstream": there.upstream,
            "upstream credentials": f"{there.username} with {there.password_secret_version}"
            if there.username
            else "none",
            "labels": dict(there.labels),
            "encryption": there.kms_key_name or "Google's own keys",
            "clean-up": _policies_in_words(there),
            "vulnerability scanning": _scanning_in_words(there),
        }
        signs_in = f", signs in as {there.username[-16:]}" if there.username else ""
        return Evidence(f"{there.upstream} behind it{signs_in}", facts)

    def _wanted(self, world: World, there: RemoteRepository | None) -> RemoteRepository:
        """The repository as it is asked for, on the ground of what is there."""
        settings = self.settings
        mark = dict([MANAGED_BY])
        if there is None:
            return RemoteRepository(
                name=world.cloud.repositories.name(self.repository),
                upstream=self.upstream,
                upstream_description=MADE_BY,
                description=settings.description or self.purpose,
                labels=label_map(settings.labels) | mark,
                kms_key_name=settings.kms_key_name,
                cleanup_policies=settings.cleanup_policies,
                cleanup_policy_dry_run=bool(settings.cleanup_policies) and settings.cleanup_dry_run,
                vulnerability_scanning=settings.vulnerability_scanning,
            )
        ours = mark if made_by_cgrunbook(there) else {}
        policies = settings.cleanup_policies
        ids = there.cleanup_policies.keys() - {_DELETE_OLD, _KEEP_RECENT}
        kept = {name: there.cleanup_policies[name] for name in sorted(ids)}
        return replace(
            there,
            description=settings.description or there.description,
            labels=dict(there.labels) | label_map(settings.labels) | ours,
            cleanup_policies=kept | policies if policies else there.cleanup_policies,
            cleanup_policy_dry_run=settings.cleanup_dry_run if policies else there.cleanup_policy_dry_run,
            vulnerability_scanning=settings.vulnerability_scanning or there.vulnerability_scanning,
        )

    def _refuse_what_cannot_change(self, there: RemoteRepository) -> None:
        key = self.settings.kms_key_name
        wrong = [
            f"{name} is {is_now or 'none'}, not {asked}"
            for name, is_now, asked, differs in (
                ("format", there.format, "DOCKER", there.format != "DOCKER"),
                ("mode", there.mode, "REMOTE_REPOSITORY", there.mode != "REMOTE_REPOSITORY"),
                ("upstream", there.upstream, self.upstream, there.upstream.rstrip("/") != self.upstream.rstrip("/")),
                ("encryption key", there.kms_key_name, key, bool(key) and there.kms_key_name != key),
            )
            if differs
        ]
        if wrong:
            raise InvalidRequest(
                f"There is a repository {self.repository} already, and it is another kind: {'; '.join(wrong)}. "
                "Artifact Registry cannot change these.",
                "Choose another name, or delete that repository if nobody needs it.",
                debugging=2,
            )

    def _creation(self, world: World, credentials: UpstreamCredentials | None) -> Plan:
        resource = f"repository {self.repository}"
        fields = _fields(self._wanted(world, None))
        changes = [Change(resource, "", None, f"in {world.cloud.connection.location}")]
        changes += [
            Change(resource, name, None, value) for name, value in fields.items() if value not in ("", {}, False)
        ]
        changes += _credential_changes(resource, None, credentials)
        return Plan(
            Outcome.CREATED,
            tuple(changes),
            tuple(self._create_commands(world, credentials)),
            makes=(expected_repository(self.repository),),
            notes=self.notes(None),
        )

    def _create_commands(self, world: World, credentials: UpstreamCredentials | None) -> list[str]:
        settings, wanted = self.settings, self._wanted(world, None)
        flags = [
            "--repository-format=docker",
            "--mode=remote-repository",
            f"--remote-docker-repo={self.upstream}",
            f"--remote-repo-config-desc={MADE_BY}",
            f"--description={wanted.description}",
            "--labels=" + ",".join(f"{key}={value}" for key, value in sorted(wanted.labels.items())),
            f"--kms-key={settings.kms_key_name}" if settings.kms_key_name else "",
            _scanning_flag(settings.vulnerability_scanning),
        ]
        words = [*quoted(flags), *_credential_words(credentials)]
        return [_gcloud("create", self.repository, world, words), *self._policy_commands(world)]

    def _update_commands(
        self,
        world: World,
        there: RemoteRepository,
        wanted: RemoteRepository,
        credentials: UpstreamCredentials | None,
    ) -> list[str]:
        labels = {key: value for key, value in wanted.labels.items() if there.labels.get(key) != value}
        scanning = wanted.vulnerability_scanning
        changed = bool(_credential_changes("", there, credentials))
        flags = [
            f"--description={wanted.description}" if wanted.description != there.description else "",
            "--update-labels=" + ",".join(f"{k}={v}" for k, v in sorted(labels.items())) if labels else "",
            _scanning_flag(scanning) if scanning != there.vulnerability_scanning else "",
        ]
        words = [*quoted(flags), *(_credential_words(credentials) if changed else [])]
        commands = [_gcloud("update", self.repository, world, words)] if words else []
        if _policies(there) != _policies(wanted) or there.cleanup_policy_dry_run != wanted.cleanup_policy_dry_run:
            commands += self._policy_commands(world)
        return commands

    def _policy_commands(self, world: World) -> list[str]:
        """gcloud takes clean-up policies as a file; bash's `<(...)` makes one."""
        policies = [_policy_as_json(policy) for policy in self.settings.cleanup_policies.values()]
        if not policies:
            return []
        import json

        dry_run = "--dry-run" if self.settings.cleanup_dry_run else "--no-dry-run"
        flags = [f"--policy=<(echo {shlex.quote(json.dumps(policies))})", dry_run]
        return [_gcloud("set-cleanup-policies", self.repository, world, flags)]


def _gcloud(verb: str, repository: str, world: World, flags: Iterable[str]) -> str:
    location = f"--location={world.cloud.connection.location}"
    return gcloud(f"artifacts repositories {verb} {repository}", world, [location, *flags])


def _scanning_flag(scanning: str) -> str:
    return {
        "": "",
        "inherited": "--allow-vulnerability-scanning",
        "disabled": "--disable-vulnerability-scanning",
    }[scanning]


def _credential_words(credentials: UpstreamCredentials | None) -> list[str]:
    """The pair as the shell's words: what the commands of the pull token have set in this shell, or else what is there now."""
    if credentials is None:
        return []
    username = _set_or_else("username", credentials.username)
    secret, _, number = credentials.secret_version.rpartition("/")
    version = _set_or_else("token_version", number)
    return [f'--remote-username="{username}"', f'--remote-password-secret-version="{secret}/{version}"']


def _set_or_else(variable: str, value: str) -> str:
    return f"${{{variable}}}" if value == KNOWN_AFTER_APPLY else f"${{{variable}:-{value}}}"


def _fields(repository: RemoteRepository) -> dict[str, Any]:
    """What of a repository is compared: what the operator can ask for. Order is the order of showing."""
    return {
        "format": repository.format,
        "mode": repository.mode,
        "upstream": repository.upstream,
        "description": repository.description,
        "labels": dict(repository.labels),
        "encryption key": repository.kms_key_name,
        "clean-up policies": _policies(repository),
        "clean-up dry run": repository.cleanup_policy_dry_run,
        "vulnerability scanning": repository.vulnerability_scanning,
    }


def _credential_changes(
    resource: str, there: RemoteRepository | None, wanted: UpstreamCredentials | None
) -> list[Change]:
    if wanted is None:
        return []
    username = (there.username or None) if there else None
    version = (there.password_secret_version or None) if there else None
    changes = []
    if username != wanted.username:
        changes.append(Change(resource, "upstream username", username, wanted.username))
    # The answer has the project's number where the request had its id, and the other way round.
    if without_project(version or "") != without_project(wanted.secret_version):
        changes.append(Change(resource, "upstream password", version, wanted.secret_version))
    return changes


def _policies(repository: RemoteRepository) -> dict[str, Any]:
    return {name: _policy_in_words(policy) for name, policy in repository.cleanup_policies.items()}


def _policy_in_words(policy: CleanupPolicy) -> str:
    if "most_recent_versions" in policy:
        return f"keep the {policy.most_recent_versions.keep_count} most recent versions"
    condition = policy.condition
    age = f" older than {durations.in_words(condition.older_than)}" if condition.older_than else ""
    tags = enum_name(condition.tag_state).lower() if condition.tag_state else "any"
    return f"{enum_name(policy.action).lower()} {tags} versions{age}"


def _policy_as_json(policy: CleanupPolicy) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": policy.id, "action": {"type": policy.action.name.capitalize()}}
    if "most_recent_versions" in policy:
        entry["mostRecentVersions"] = {"keepCount": policy.most_recent_versions.keep_count}
    else:
        condition = policy.condition
        older = f"{condition.older_than.total_seconds():.0f}s"
        entry["condition"] = {"tagState": condition.tag_state.name.lower(), "olderThan": older}
    return entry


def _policies_in_words(repository: RemoteRepository) -> str:
    if not repository.cleanup_policies:
        return "no policies"
    words = "; ".join(_policies(repository).values())
    return f"{words} (dry run: they only log)" if repository.cleanup_policy_dry_run else words


def _scanning_in_words(repository: RemoteRepository) -> str:
    said = repository.vulnerability_scanning or "not set"
    return f"{said} ({repository.scanning_state})" if repository.scanning_state else said


def unknown_credentials(secret: str) -> UpstreamCredentials:
    """What a plan shows for credentials that do not exist yet.

    Args:
        secret: the full name of the secret that will hold the password.
    """
    return UpstreamCredentials(KNOWN_AFTER_APPLY, f"{secret}/versions/{KNOWN_AFTER_APPLY}")
