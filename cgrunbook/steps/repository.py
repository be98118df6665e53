"""A remote repository of Artifact Registry in front of cgr.dev: what both halves of the guide create, compare and change.

It knows what of a repository can be changed afterwards and what cannot. Of pull tokens it knows only that there may
be a username and a secret version to go with it.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from typing import Any, ClassVar, Self

from google.protobuf.json_format import MessageToDict

from cgrunbook import durations
from cgrunbook.cloud.artifact_registry import CleanupPolicy, RemoteRepository, Scanning, enum_name
from cgrunbook.errors import InvalidRequest, StepFailed
from cgrunbook.parameters import Parameters
from cgrunbook.steps.credential import by_id, same_name
from cgrunbook.steps.step import (
    KNOWN_AFTER_APPLY,
    Evidence,
    Outcome,
    Plan,
    Progress,
    Step,
    World,
    differences,
    gcloud,
    is_marked,
    labelled,
    labels_flag,
    quoted,
)

# Fixed at creation and never editable: by it a repository is known again whose labels somebody has edited.
MADE_BY = "cgr.dev, set up by cgrunbook"

_DELETE_OLD, _KEEP_RECENT = "cgrunbook-delete-old", "cgrunbook-keep-recent"

_SCANNING_FLAGS = {
    "": "",
    "inherited": "--allow-vulnerability-scanning",
    "disabled": "--disable-vulnerability-scanning",
}


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
    """Whether cgrunbook made it; only then is it ever deleted, and only then do its own labels have to be there.

    It makes remote and virtual ones only: a label can be on anything, such as a repository into which somebody pushes.
    """
    marked = repository.upstream_description == MADE_BY or is_marked(repository.labels)
    return marked and repository.mode in {"REMOTE_REPOSITORY", "VIRTUAL_REPOSITORY"}


class RemoteRepositoryStep(Step):
    """Create a remote repository, or bring an existing one to what was asked for.

    Args:
        repository: its name.
        upstream: the registry behind it.
        settings: the options.
    """

    console_page = "artifacts"  # a page of its own it has only once it is there
    purpose: ClassVar[str]
    """What a new one is described as."""

    def __init__(self, repository: str, upstream: str, settings: RepositorySettings | None) -> None:
        self.repository = repository
        self.upstream = upstream
        self.settings = settings or RepositorySettings()

    def credentials(self, world: World) -> UpstreamCredentials | None:
        """With what the repository is to sign in at its upstream; None to leave that as it is."""
        return None

    def notes(self, existing: RemoteRepository | None, wanted: RemoteRepository) -> tuple[str, ...]:
        """What the operator should know before agreeing."""
        return ()

    def plan(self, world: World) -> Plan:
        there, credentials = self._look(world)
        if there is None and world.expects(expected_repository(self.repository)):
            there = self._wanted(world, None, None)
        if there is not None:
            self._refuse_what_cannot_change(world, there)
        wanted = self._wanted(world, there, credentials)
        before = None if there is None else _fields(there)
        made = f"in {world.cloud.connection.location}"
        changes = differences(f"repository {self.repository}", before, _fields(wanted), made=made, words=_WORDS)
        if not changes:
            return Plan()
        return Plan(
            Outcome.CREATED if there is None else Outcome.UPDATED,
            tuple(changes),
            tuple(self._commands(world, there, wanted)),
            makes=(expected_repository(self.repository),),
            notes=self.notes(there, wanted),
        )

    def apply(self, world: World, plan: Plan) -> None:
        repositories, limit = world.cloud.repositories, world.cloud.attempts.limit
        there, credentials = self._look(world)
        world.progress(Progress(f"{'creating' if there is None else 'changing'} the repository {self.repository}"))
        wanted = self._wanted(world, there, credentials)
        if there is None:
            repositories.create(wanted, propagation=limit if credentials else 0.0)
            return
        repositories.update(there, wanted)
        if _login(there) != _login(wanted):
            repositories.set_upstream_credentials(self.repository, *_login(wanted), propagation=limit)

    def verify(self, world: World) -> Evidence:
        if world.expects(expected_repository(self.repository)):
            return Evidence("will be there by then")
        there = world.repository(self.repository)
        if there is None:
            raise StepFailed(f"The repository {self.repository} is not there after it was made.", "Run again.")
        connection = world.cloud.connection
        state = f" ({there.scanning_state})" if there.scanning_state else ""
        facts: dict[str, Any] = {
            "repository": f"{connection.artifact_registry_host.name}/{connection.docker_project}/{self.repository}",
            "format and mode": f"{there.format}, {there.mode}",
            "upstream": there.upstream,
            "upstream credentials": " with ".join(_login(there)) if there.username else "none",
            "labels": dict(there.labels),
            "encryption": there.kms_key_name or "Google's own keys",
            "clean-up": _policies_in_words(there),
            "vulnerability scanning": f"{there.vulnerability_scanning or 'not set'}{state}",
        }
        signs_in = f", signs in as {there.username[-16:]}" if there.username else ""
        return Evidence(f"{there.upstream} behind it{signs_in}", facts)

    def _look(self, world: World) -> tuple[RemoteRepository | None, UpstreamCredentials | None]:
        """What is there, and with what it is to sign in."""
        credentials, there = self.credentials(world), world.repository(self.repository)
        if there and credentials:
            # The answer has the project's number where the request had its id, and the other way round.
            there = replace(there, password_secret_version=by_id(world, there.password_secret_version))
        return there, credentials

    def _wanted(
        self, world: World, there: RemoteRepository | None, credentials: UpstreamCredentials | None
    ) -> RemoteRepository:
        """The repository as it is asked for, on the ground of what is there."""
        settings = self.settings
        ground = there or RemoteRepository(
            name=world.cloud.repositories.name(self.repository),
            upstream=self.upstream,
            upstream_description=MADE_BY,
            description=self.purpose,
            kms_key_name=settings.kms_key_name,
        )
        username, version = (credentials.username, credentials.secret_version) if credentials else _login(ground)
        policies = settings.cleanup_policies
        ids = ground.cleanup_policies.keys() - {_DELETE_OLD, _KEEP_RECENT}
        kept = {name: ground.cleanup_policies[name] for name in sorted(ids)}
        return replace(
            ground,
            username=username,
            password_secret_version=version,
            description=settings.description or ground.description,
            labels=labelled(ground.labels, settings.labels, ours=made_by_cgrunbook(ground)),
            cleanup_policies=kept | policies if policies else ground.cleanup_policies,
            cleanup_policy_dry_run=settings.cleanup_dry_run if policies else ground.cleanup_policy_dry_run,
            vulnerability_scanning=settings.vulnerability_scanning or ground.vulnerability_scanning,
        )

    def _refuse_what_cannot_change(self, world: World, there: RemoteRepository) -> None:
        wrong = [
            f"{name} is {is_now or 'none'}, not {asked}"
            for name, is_now, asked in (
                ("format", there.format, "DOCKER"),
                ("mode", there.mode, "REMOTE_REPOSITORY"),
                ("upstream", there.upstream, self.upstream),
                ("encryption key", there.kms_key_name, self.settings.kms_key_name or there.kms_key_name),
            )
            if not same_name(world, is_now.rstrip("/"), asked.rstrip("/"))
        ]
        if wrong:
            raise InvalidRequest(
                f"There is a repository {self.repository} already, and it is another kind: {'; '.join(wrong)}. "
                "Artifact Registry cannot change these.",
                "Choose another name, or delete that repository if nobody needs it.",
                debugging=2,
            )

    def _commands(self, world: World, there: RemoteRepository | None, wanted: RemoteRepository) -> list[str]:
        fixed = (
            "--repository-format=docker",
            "--mode=remote-repository",
            f"--remote-docker-repo={wanted.upstream}",
            f"--remote-repo-config-desc={MADE_BY}",
        )
        before = there or RemoteRepository(wanted.name)
        scanning = wanted.vulnerability_scanning
        flags = [
            *(fixed if there is None else ()),
            f"--description={wanted.description}" if wanted.description != before.description else "",
            labels_flag(None if there is None else there.labels, wanted.labels),
            f"--kms-key={wanted.kms_key_name}" if wanted.kms_key_name != before.kms_key_name else "",
            _SCANNING_FLAGS[scanning] if scanning != before.vulnerability_scanning else "",
        ]
        words = quoted(flags)
        if _login(before) != _login(wanted):
            words += _credential_words(wanted)
        commands = [_gcloud("create" if there is None else "update", self.repository, world, words)] if words else []
        if (before.cleanup_policies, before.cleanup_policy_dry_run) != (
            wanted.cleanup_policies,
            wanted.cleanup_policy_dry_run,
        ):
            commands.append(self._policy_command(world, wanted))
        return commands

    def _policy_command(self, world: World, wanted: RemoteRepository) -> str:
        """gcloud takes clean-up policies as a file; bash's `<(...)` makes one. It takes those away that are not in it."""
        policies = json.dumps([*map(_policy_as_json, wanted.cleanup_policies.values())])
        dry_run = "--dry-run" if wanted.cleanup_policy_dry_run else "--no-dry-run"
        flags = [f"--policy=<(echo {shlex.quote(policies)})", dry_run]
        return _gcloud("set-cleanup-policies", self.repository, world, flags)


def _gcloud(verb: str, repository: str, world: World, flags: Iterable[str]) -> str:
    location = f"--location={world.cloud.connection.location}"
    return gcloud(f"artifacts repositories {verb} {repository}", world, [location, *flags])


def _credential_words(wanted: RemoteRepository) -> list[str]:
    """The pair as the shell's words: what the commands of the pull token have set in this shell, or else what is there now."""
    username = _set_or_else("username", wanted.username)
    secret, _, number = wanted.password_secret_version.rpartition("/")
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
        "clean-up policies": dict(repository.cleanup_policies),
        "clean-up dry run": repository.cleanup_policy_dry_run,
        "vulnerability scanning": repository.vulnerability_scanning,
        "upstream username": repository.username,
        "upstream password": repository.password_secret_version,
    }


def _login(repository: RemoteRepository) -> tuple[str, str]:
    return repository.username, repository.password_secret_version


def _policy_in_words(policy: CleanupPolicy) -> str:
    recent, condition = policy.most_recent_versions, policy.condition
    if "most_recent_versions" in policy:
        what = f"keep the {recent.keep_count} most recent versions"
        narrowed = {"images": recent.package_name_prefixes}
    else:
        tags = enum_name(condition.tag_state).lower() if condition.tag_state else "any"
        older = f" older than {_age(condition.older_than)}" if condition.older_than else ""
        newer = f" newer than {_age(condition.newer_than)}" if condition.newer_than else ""
        what = f"{enum_name(policy.action).lower()} {tags} versions{older}{newer}"
        narrowed = {
            "images": condition.package_name_prefixes,
            "tags": condition.tag_prefixes,
            "versions": condition.version_name_prefixes,
        }
    return what + "".join(
        f", only {kind} that begin with {' or '.join(prefixes)}" for kind, prefixes in narrowed.items() if prefixes
    )


def _age(length: timedelta) -> str:
    whole_hours = length % timedelta(hours=1) == timedelta(0)
    return durations.in_words(length) if whole_hours else f"{length.total_seconds():.0f} seconds"


def _policy_as_json(policy: CleanupPolicy) -> dict[str, Any]:
    """A policy, whole, as gcloud takes it."""
    said = MessageToDict(CleanupPolicy.pb(policy))
    return {"name": said.pop("id"), "action": {"type": said.pop("action")}, **said}


def _policies_in_words(repository: RemoteRepository) -> str:
    if not repository.cleanup_policies:
        return "no policies"
    words = "; ".join(map(_policy_in_words, repository.cleanup_policies.values()))
    return f"{words} (dry run: they only log)" if repository.cleanup_policy_dry_run else words


_WORDS = {"clean-up policies": _policy_in_words}
