"""The pull token: created, stored, known again, and never left without somebody who holds it.

A pull token is a pair. Its password goes into a secret's version; its username is not secret, changes with each
token, and must be known for each version, or the two cannot be put into a repository together. Secret Manager's
versions have no room for it, so it is written into the secret's annotations. They also carry a claim while a token is
being made: whatever moment a run is killed at, the next one knows which token nobody holds.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from cgrunbook import durations
from cgrunbook.cloud.pull_token import PullToken
from cgrunbook.cloud.secret_manager import SecretResource, SecretVersion
from cgrunbook.errors import (
    CgrunbookError,
    ChainctlFailed,
    Conflict,
    InvalidRequest,
    MalformedToken,
    NotFound,
    ParameterError,
    PermissionMissing,
    PrerequisiteMissing,
    StepFailed,
    Temporary,
    UpstreamCredentialsRefused,
    WrongState,
)
from cgrunbook.steps.apis import ARTIFACT_REGISTRY, SECRET_MANAGER, require_api
from cgrunbook.steps.secret import MADE_BY_ANNOTATION, console_page, expected_secret, require_secret
from cgrunbook.steps.step import KNOWN_AFTER_APPLY, Change, Evidence, Outcome, Plan, Progress, Section, Step, World

_VERSION_ANNOTATION = "cgrunbook.version-"
_CLAIM_ANNOTATION = "cgrunbook.claim"

# A claim by another machine that is older than this was left by a run that died.
_CLAIM_LASTS = timedelta(minutes=10)

_SECRET_VERSION = re.compile(r"projects/(?P<project>[^/]+)/secrets/(?P<secret>[^/]+)/versions/(?P<version>[^/]+)")


@dataclass(frozen=True)
class Pair:
    """A username and the version that holds the password to it.

    Args:
        username: the pull token's username, a Chainguard identity's id.
        version: the secret version's number.
        expires: when the token ends; None when nobody wrote it down.
    """

    username: str
    version: int
    expires: datetime | None

    def ended(self, now: datetime) -> bool:
        """Whether the token's time is known to be over."""
        return self.expires is not None and self.expires <= now


@dataclass(frozen=True)
class _Claim:
    """Somebody is making a token for this secret right now, or died doing so.

    Args:
        by: which installation of cgrunbook.
        at: since when.
        known: the highest version there was.
        username: the token's username, once it exists.
        expires: when that token ends.
    """

    by: str
    at: datetime
    known: int
    username: str = ""
    expires: datetime | None = None


def expected_pair(secret_id: str) -> str:
    """How a plan names the pair that a step before would have stored."""
    return f"pull token in {secret_id}"


def split_version(name: str) -> tuple[str, str, str]:
    """Project, secret id and version of a secret version's full name.

    Raises:
        InvalidRequest: the name has another form.
    """
    match = _SECRET_VERSION.fullmatch(name)
    if match is None:
        raise InvalidRequest(
            f"{name!r} is no secret version of the form projects/P/secrets/S/versions/V.",
            "Set the repository's password to a version of a global secret.",
        )
    return match["project"], match["secret"], match["version"]


def pairs(secret: SecretResource) -> dict[int, Pair]:
    """The pairs written down on a secret, by version number."""
    found = {}
    for key, value in secret.annotations.items():
        number = key.removeprefix(_VERSION_ANNOTATION)
        username, _, expires = value.strip().partition(" ")
        if key.startswith(_VERSION_ANNOTATION) and number.isdigit() and username:
            found[int(number)] = Pair(username, int(number), _end_written(expires))
    return found


def pair_in_use(world: World, secret_id: str, repository: str) -> Pair | None:
    """The pair that is current: the one that the repository has, or else the newest that is stored and written down.

    Args:
        world: what is worked on.
        secret_id: the secret.
        repository: the remote repository that signs in with it.

    Returns:
        The pair; None when there is none, or only one whose password is destroyed or whose time is over.

    Raises:
        WrongState: the version in use is disabled: somebody meant to stop it, and nothing is made in its place.
    """
    secret = world.cloud.secrets.get(secret_id) if require_api(world, SECRET_MANAGER) else None
    if secret is None:
        return None
    versions = {version.number: version for version in world.cloud.secrets.versions(secret_id)}
    written = pairs(secret)
    now = datetime.now(UTC)
    usable = [
        pair
        for number, pair in sorted(written.items(), reverse=True)
        if number in versions and versions[number].enabled and not pair.ended(now)
    ]
    pair = _pair_of_repository(world, secret_id, repository, versions, written)
    state = versions[pair.version].state if pair and pair.version in versions else "DESTROYED"
    if pair and state == "DISABLED":
        project = world.cloud.connection.project_id
        raise WrongState(
            f"Version {pair.version} of the secret {secret_id}, which {repository} uses, is disabled.",
            f"If it should work again: gcloud secrets versions enable {pair.version} --secret={secret_id} "
            f"--project={project}\nIf it should never again: destroy it (`destroy` in the place of `enable`) and run again; "
            "a new pull token is made then.",
        )
    if pair and state == "ENABLED" and not pair.ended(now):
        return pair
    return usable[0] if usable else None


def _pair_of_repository(
    world: World, secret_id: str, repository: str, versions: Mapping[int, SecretVersion], written: Mapping[int, Pair]
) -> Pair | None:
    """What the repository is set to, also when the operator did it by hand and nothing is written down."""
    there = world.cloud.repositories.get(repository) if require_api(world, ARTIFACT_REGISTRY) else None
    if there is None or not there.username or not there.password_secret_version:
        return None
    _, secret, version = split_version(there.password_secret_version)
    if secret != secret_id:
        return None
    number = max(versions, default=0) if version == "latest" else int(version) if version.isdigit() else 0
    # Where both are known, the version's own username is right: with another one its password is worth nothing.
    return written.get(number) or Pair(there.username, number, None)


def stored_token(world: World, username: str, secret_id: str, version: str) -> PullToken:
    """Read what a repository signs in with, and look whether it is a pull token at all.

    Args:
        world: what is worked on.
        username: the one in the repository.
        secret_id: the secret.
        version: its number or `latest`.

    Raises:
        UpstreamCredentialsRefused: the value is no pull token, or one whose time is over.
        PermissionMissing: the caller may not read the value.
        WrongState: the version is disabled or destroyed.
    """
    try:
        token = PullToken.checked(username, world.cloud.secrets.access(secret_id, version))
    except MalformedToken as error:
        # The error speaks of what chainctl prints; this may have been stored by anybody.
        raise UpstreamCredentialsRefused(
            f"Version {version} of the secret {secret_id}, with the username {username!r}, is no pull token: "
            f"its {error.wrong}.",
            renewal(world, secret_id, version),
        ) from error
    if token.expired(datetime.now(UTC)):
        raise UpstreamCredentialsRefused(
            f"The pull token in version {version} of the secret {secret_id} ended at {token.expires:%Y-%m-%d %H:%M} UTC.",
            renewal(world, secret_id, version),
        )
    return token


def renewal(world: World, secret_id: str, version: str) -> str:
    """What to do about a pull token that is no good."""
    there = world.cloud.secrets.version(secret_id, version)
    number = there.number if there else version
    return (
        f"Destroy it: gcloud secrets versions destroy {number} --secret={secret_id} "
        f"--project={world.cloud.connection.project_id}\nThen run 03_production_images: it takes a good one or makes a new "
        "one, and sets username and password together."
    )


def organization_of(world: World, given: str) -> str:
    """The organisation whose images are meant: the one given, the target's own, or the only one there is.

    Raises:
        ParameterError: there are several, or none.
    """
    if given or world.cloud.connection.organization:
        return given or world.cloud.connection.organization
    names = [organization.name for organization in world.cloud.chainctl.organizations()]
    if len(names) == 1:
        return names[0]
    seen = f"chainctl knows {', '.join(names)}" if names else "chainctl knows none"
    raise ParameterError(
        f"organization is empty, and {seen}.",
        "Give the one whose images you pull, as in cgr.dev/ORGANIZATION/chainguard-base: -p organization NAME",
    )


def token_name(world: World, secret_id: str) -> str:
    """The name by which a token made for a secret is known again: lower case only, so a hash tells alike ids apart."""
    full = world.cloud.secrets.name(secret_id)
    words = re.sub(r"[^a-z0-9._-]", "-", f"{world.cloud.connection.project_id} {secret_id}".lower())
    return f"cgrunbook {words[:60]} {hashlib.sha256(full.encode()).hexdigest()[:8]}"


class StorePullToken(Step):
    """Create a pull token and store its password as a version of the secret, unless a good one is there.

    Args:
        secret_id: the secret.
        organization: whose images the token may pull; empty takes the only organisation there is.
        repository: the remote repository that will sign in with it.
        ttl: how long the token lives, a Go duration.
    """

    section: ClassVar = Section.PRODUCTION_IMAGES
    why: ClassVar = "Artifact Registry needs a login at cgr.dev that lasts and belongs to no person: a pull token."

    def __init__(self, secret_id: str, organization: str, repository: str, ttl: str = "720h") -> None:
        self.secret_id = secret_id
        self.organization = organization
        self.repository = repository
        self.ttl = ttl

    @property
    def title(self) -> str:
        """What the step does."""
        return f"Keep a pull token in the secret {self.secret_id}"

    def console(self, world: World) -> str:
        """The secret's page."""
        return console_page(world, self.secret_id)

    def plan(self, world: World) -> Plan:
        """Whether a good token is stored already."""
        there = require_secret(world, self.secret_id)
        if there is not None and not _claimed(there) and pair_in_use(world, self.secret_id, self.repository):
            return self._clearance(world, there)
        world.cloud.chainctl.require_login()
        organization = organization_of(world, self.organization)
        resource = f"secret {self.secret_id}"
        left_over = " (and what a run that died left behind is taken away)" if _claimed(there) else ""
        return Plan(
            Outcome.CREATED,
            (
                Change(f"organisation {organization}", "pull token", None, f"lives {self.ttl}{left_over}"),
                Change(resource, "version", None, KNOWN_AFTER_APPLY),
                Change(resource, "username of that version", None, KNOWN_AFTER_APPLY),
            ),
            self._commands(world, organization, there),
            makes=(expected_pair(self.secret_id),),
            notes=(
                f"The token ends in {durations.in_words(durations.parse(self.ttl))}; a new one has a new username.",
            ),
        )

    def apply(self, world: World, plan: Plan) -> None:
        """Claim the secret, clear what a dead run left, create the token, store it, write its username down."""
        secrets = world.cloud.secrets
        secret = self._claim(world)
        if secret is None:
            return
        organization = organization_of(world, self.organization)
        for orphan in self._orphans(world, secret, organization):
            world.progress(Progress("revoking a pull token that a run which died left behind"))
            world.cloud.chainctl.revoke(orphan, organization)
        if pair_in_use(world, self.secret_id, self.repository):
            # There was one from the start, or somebody on another machine was quicker than the claim.
            self._give_up_claim(world, secret)
            return
        world.progress(Progress("creating the pull token"))
        token = world.cloud.chainctl.create_pull_token(
            organization, token_name(world, self.secret_id), self.ttl, description=self._description(world)
        )
        secret = self._write_claim(
            world, secret, replace(_claim_of(secret), username=token.username, expires=token.expires)
        )
        world.progress(Progress("storing its password"))
        version = secrets.add_version(self.secret_id, token.password)
        self._write_pair(world, secret, Pair(token.username, version.number, token.expires))

    def verify(self, world: World) -> Evidence:
        """Read back what is stored: not the password, but that it is there and until when it is good."""
        if world.expects(expected_pair(self.secret_id)) or world.expects(expected_secret(self.secret_id)):
            return Evidence("will be there by then")
        pair = pair_in_use(world, self.secret_id, self.repository)
        if pair is None:
            raise StepFailed(f"The secret {self.secret_id} holds no pull token that is good now.", "Run again.")
        facts: dict[str, Any] = {
            "secret version": f"{self.secret_id}/versions/{pair.version}",
            "username": pair.username,
            "expires": pair.expires or "not written down: this token was stored by somebody else",
        }
        until = f", good until {pair.expires:%Y-%m-%d}" if pair.expires else ""
        return Evidence(f"version {pair.version}{until}", facts)

    def _commands(self, world: World, organization: str, there: SecretResource | None) -> tuple[str, ...]:
        """The same by hand. The shell's own printf hands the password on: it is in no argument, no file and no environment.

        What they set, `username` and `token_version`, the repository's command takes up. sed is everywhere; jq is not.
        """
        project = world.cloud.connection.project_id
        seconds = int(durations.parse(self.ttl).total_seconds())
        flags = (
            f"--parent={organization}",
            f"--name={token_name(world, self.secret_id)}",
            f"--description={self._description(world)}",
            f"--ttl={self.ttl}",
        )
        # For all its name says, gcloud (528) replaces the annotations by those that it is given.
        kept = _annotations_by_hand({MADE_BY_ANNOTATION: "cgrunbook"} if there is None else there.annotations)
        create = " \\\n  ".join(("chainctl auth pull-token create", *map(shlex.quote, flags), "--output=json"))
        return (
            f"pull_token=$({create})",
            # BSD's date knows -v, GNU's knows -d.
            f"expires=$(date -u -v+{seconds}S +%FT%TZ 2>/dev/null || date -u -d '{seconds} seconds' +%FT%TZ)",
            f'username=$(printf %s "$pull_token" | {_field_by_sed("identity_id")})',
            f"token_version=$(printf %s \"$pull_token\" | {_field_by_sed('token')} | tr -d '\\n' |\n"
            f"  gcloud secrets versions add {self.secret_id} --project={project} --data-file=- \\\n"
            "    --format='value(name.basename())')",
            "unset pull_token",
            f"gcloud secrets update {self.secret_id} --project={project} \\\n"
            f'  --update-annotations={kept}{_VERSION_ANNOTATION}"$token_version=$username $expires"',
        )

    def _claim(self, world: World) -> SecretResource | None:
        """Write down that a token is about to be made, after finishing or undoing what an earlier run began.

        Returns:
            The secret with the claim; None when the earlier run had got so far that nothing remains to be done.

        Raises:
            Conflict: another machine is at it.
        """
        secret = world.cloud.secrets.get(self.secret_id)
        if secret is None:
            raise NotFound(f"The secret {self.secret_id} is gone.", "Run the notebook from its beginning.")
        if _claimed(secret):
            earlier = _claim_of(secret)
            if earlier.by != _installation() and earlier.at > datetime.now(UTC) - _CLAIM_LASTS:
                raise Conflict(
                    f"Another machine began to make a pull token for {self.secret_id} at {earlier.at:%H:%M:%S} UTC.",
                    f"Wait until it is done, or {durations.in_words(_CLAIM_LASTS)} if it died, and run again.",
                )
            stored = self._version_of_claim(world, earlier)
            if stored is not None:
                self._write_pair(world, secret, Pair(earlier.username, stored.number, earlier.expires))
                return None
            if earlier.username:
                world.cloud.chainctl.revoke(earlier.username, organization_of(world, self.organization))
        versions = world.cloud.secrets.versions(self.secret_id)
        known = max((version.number for version in versions), default=0)
        return self._write_claim(world, secret, _Claim(_installation(), datetime.now(UTC), known))

    def _version_of_claim(self, world: World, claim: _Claim) -> SecretVersion | None:
        """The version that a dead run stored without getting to write down whose it is."""
        if not claim.username:
            return None
        newer = [v for v in world.cloud.secrets.versions(self.secret_id) if v.number > claim.known and v.enabled]
        for version in newer:
            try:
                token = PullToken.checked(claim.username, world.cloud.secrets.access(self.secret_id, version.number))
            except PermissionMissing:
                # Whoever may not read it may still hand it to Artifact Registry, which tries the pair before it
                # takes it.
                return version
            except MalformedToken:
                continue
            if token.expires == claim.expires:
                return version
        return None

    def _clearance(self, world: World, secret: SecretResource) -> Plan:
        """The plan where a good token is stored: nothing, unless there are others that nobody holds.

        chainctl outlives the run that it was started by. Killed then, it may make its token after the next run has
        looked for such; so each run looks.
        """
        try:
            organization = organization_of(world, self.organization)
        except CgrunbookError:
            return Plan()  # a good token is there, so chainctl is not needed; without it nothing can be looked for
        orphans = self._orphans(world, secret, organization)
        if not orphans:
            return Plan()
        return Plan(
            Outcome.DELETED,
            tuple(Change(f"pull token {orphan}", "", "live, and nobody has its password", None) for orphan in orphans),
            tuple(f"chainctl iam identities delete {orphan} --yes" for orphan in orphans),
            notes=("A run that was killed left this behind.",),
        )

    def _orphans(self, world: World, secret: SecretResource, organization: str) -> list[str]:
        """The tokens that cgrunbook made for this secret and that nobody holds.

        A token is named after the secret, and its username is written down before its password is stored; so one of
        this name that is written down nowhere was made by a run that died right then.
        """
        name = token_name(world, self.secret_id)
        try:
            listed = world.cloud.chainctl.list_pull_tokens(organization)
        except (PrerequisiteMissing, ChainctlFailed, Temporary):
            # registry.pull_token_creator may create but not list: then there is nothing that could be done.
            return []
        written = pairs(secret)
        held = {pair.username for pair in written.values()}
        suspects = [token for token in listed if token.name.startswith(name) and token.id not in held]
        if not suspects:
            return []
        # Somebody may have cleared the annotations: what a repository or a version holds is no orphan either.
        held |= {repository.username for repository in world.cloud.repositories.list()}
        for version in world.cloud.secrets.versions(self.secret_id):
            if version.enabled and version.number not in written:
                try:
                    password = world.cloud.secrets.access(self.secret_id, version.number)
                    expires = PullToken.checked(suspects[0].id, password).expires
                except PermissionMissing:
                    return []  # whose password it is cannot be seen
                except (MalformedToken, WrongState):
                    continue
                held |= {token.id for token in suspects if _same_end(token.expires, expires)}
        return sorted(token.id for token in suspects if token.id not in held)

    def _write_claim(self, world: World, secret: SecretResource, claim: _Claim) -> SecretResource:
        fields = {
            "by": claim.by,
            "at": claim.at.isoformat(),
            "known": claim.known,
            "username": claim.username,
            "expires": claim.expires.isoformat() if claim.expires else "",
        }
        annotations = dict(secret.annotations) | {_CLAIM_ANNOTATION: json.dumps(fields)}
        return world.cloud.secrets.update(secret, replace(secret, annotations=annotations))

    def _write_pair(self, world: World, secret: SecretResource, pair: Pair) -> None:
        """Write down whose password a version is, and give up the claim, in one change."""
        there = {
            version.number for version in world.cloud.secrets.versions(self.secret_id) if version.state != "DESTROYED"
        }
        annotations = {
            key: value
            for key, value in secret.annotations.items()
            if key != _CLAIM_ANNOTATION and not _of_gone_version(key, there)
        }
        annotations[f"{_VERSION_ANNOTATION}{pair.version}"] = _written(pair)
        world.cloud.secrets.update(secret, replace(secret, annotations=annotations))

    def _give_up_claim(self, world: World, secret: SecretResource) -> None:
        annotations = {key: value for key, value in secret.annotations.items() if key != _CLAIM_ANNOTATION}
        world.cloud.secrets.update(secret, replace(secret, annotations=annotations))

    def _description(self, world: World) -> str:
        return f"Artifact Registry in {world.cloud.connection.project_id}, secret {self.secret_id}"


def _of_gone_version(annotation: str, there: set[int]) -> bool:
    number = annotation.removeprefix(_VERSION_ANNOTATION)
    return annotation.startswith(_VERSION_ANNOTATION) and number.isdigit() and int(number) not in there


def _field_by_sed(name: str) -> str:
    """The part of a shell's pipe that takes a string out of a line of JSON, and prints nothing when it is not there."""
    return rf"""sed -n 's/.*"{name}": *"\([^"]*\)".*/\1/p'"""


def _annotations_by_hand(annotations: Mapping[str, str]) -> str:
    """The beginning of a list of annotations as a word of the shell, for gcloud, which separates by a comma or says by what."""
    items = [f"{key}={value}" for key, value in sorted(annotations.items()) if key != _CLAIM_ANNOTATION]
    separator = next(mark for mark in ",;|#~" if not any(mark in item for item in items) or mark == "~")
    beginning = "" if separator == "," else f"^{separator}^"
    return shlex.quote(beginning + "".join(item + separator for item in items)) if items else ""


def _written(pair: Pair) -> str:
    """A pair as the annotation has it, plain enough for a person to write with gcloud: `USERNAME EXPIRES`."""
    return f"{pair.username} {pair.expires.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" if pair.expires else pair.username


def _end_written(text: str) -> datetime | None:
    """When a token ends, by what a run or a person wrote down; None when that says no time."""
    try:
        end = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return end if end.tzinfo else end.replace(tzinfo=UTC)


def _same_end(listed: datetime | None, expires: datetime) -> bool:
    """Whether a listed token may be the one of a password; the two ends are written down by different parties."""
    return listed is None or abs(listed - expires) < timedelta(minutes=1)


def _claimed(secret: SecretResource | None) -> bool:
    return secret is not None and _CLAIM_ANNOTATION in secret.annotations


def _claim_of(secret: SecretResource) -> _Claim:
    fields = json.loads(secret.annotations[_CLAIM_ANNOTATION])
    return _Claim(
        fields["by"],
        datetime.fromisoformat(fields["at"]),
        int(fields["known"]),
        fields["username"],
        _time(fields["expires"]),
    )


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _installation() -> str:
    """This machine, for telling a claim of its own from another's; a lock file keeps runs on one machine apart."""
    return hashlib.sha256(platform.node().encode()).hexdigest()[:12]
