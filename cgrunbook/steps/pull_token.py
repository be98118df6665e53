"""Making a pull token: created, stored, known again, and never left without somebody who holds it.

It knows the order in which a token is made, and what an earlier run that died in the middle has left at each point.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from cgrunbook import durations
from cgrunbook.cloud.chainguard import ListedToken
from cgrunbook.cloud.pull_token import PullToken
from cgrunbook.cloud.secret_manager import SecretResource, SecretVersion
from cgrunbook.errors import (
    CgrunbookError,
    ChainguardFailed,
    Conflict,
    MalformedToken,
    NotFound,
    PermissionMissing,
    PrerequisiteMissing,
    StepFailed,
    Temporary,
    WrongState,
)
from cgrunbook.steps import token_pairs
from cgrunbook.steps.credential import expected_pair, pair_in_use
from cgrunbook.steps.secret import MADE_BY_ANNOTATION, console_page, expected_secret, require_secret
from cgrunbook.steps.step import KNOWN_AFTER_APPLY, Change, Evidence, Outcome, Plan, Progress, Section, Step, World
from cgrunbook.steps.token_pairs import Claim, Pair


def token_name(world: World, secret_id: str) -> str:
    """The name by which a token made for a secret is known again: lower case only, so a hash tells alike ids apart."""
    full = world.cloud.secrets.name(secret_id)
    words = re.sub(r"[^a-z0-9._-]", "-", f"{world.cloud.connection.project_id} {secret_id}".lower())
    # Chainguard takes 63 characters, with the " - registry" that stands behind each.
    return f"cgrunbook {words[:33]} {hashlib.sha256(full.encode()).hexdigest()[:8]}"


class StorePullToken(Step):
    """Create a pull token and store its password as a version of the secret, unless a good one is there.

    Args:
        organization: whose images the token may pull; empty takes the only organisation there is.
        repository: the remote repository that will sign in with it.
        ttl: how long the token lives, such as 30d or 720h.
    """

    section = Section.PRODUCTION_IMAGES
    why = "Artifact Registry needs a login at cgr.dev that lasts and belongs to no person: a pull token."

    def __init__(self, secret_id: str, organization: str, repository: str, ttl: str = "720h") -> None:
        self.secret_id = secret_id
        self.organization = organization
        self.repository = repository
        self.ttl = durations.go(ttl)
        self.console_page = console_page(secret_id)
        self.title = f"Keep a pull token in the secret {secret_id}"

    def plan(self, world: World) -> Plan:
        there = require_secret(world, self.secret_id)
        claimed = there is not None and token_pairs.claim_on(there) is not None
        if there is not None and not claimed and pair_in_use(world, self.secret_id, self.repository):
            return self._clearance(world, there)
        world.cloud.chainguard.require_login()
        organization = world.organization(self.organization)
        resource = f"secret {self.secret_id}"
        life = durations.in_words(durations.parse(self.ttl))
        left_over = "; what a run that died left behind is taken away" if claimed else ""
        return Plan(
            Outcome.CREATED,
            (
                Change(f"pull token of {organization}", "", None, f"for {life}{left_over}"),
                Change(resource, "version with its password", None, KNOWN_AFTER_APPLY),
                Change(resource, "username of that version", None, KNOWN_AFTER_APPLY),
            ),
            self.commands(world, organization, there),
            makes=(expected_pair(self.secret_id),),
            notes=(f"The token ends in {life}; a new one has a new username.",),
        )

    def apply(self, world: World, plan: Plan) -> Mapping[str, Any]:
        """Claim the secret, clear what a dead run left, create the token, store it, write its username down."""
        secrets = world.cloud.secrets
        claimed = self._claim(world)
        if claimed is None:
            return {}
        secret, claim = claimed
        # Between the plan and the claim somebody on another machine may have made one.
        world = world.anew()
        organization = world.organization(self.organization)
        for orphan in self._orphans(world, secret, organization):
            world.progress(Progress("revoking a pull token that a run which died left behind"))
            world.cloud.chainguard.revoke(orphan, organization)
        if pair_in_use(world, self.secret_id, self.repository):
            # From the start, or by somebody who was quicker than the claim.
            secrets.update(secret, token_pairs.without_claim(secret))
            return {}
        world.progress(Progress("creating the pull token"))
        token = world.cloud.chainguard.create_pull_token(
            organization, token_name(world, self.secret_id), self.ttl, description=self._description(world)
        )
        known = token_pairs.with_claim(secret, replace(claim, username=token.username, expires=token.expires))
        secret = secrets.update(secret, known)
        world.progress(Progress("storing its password"))
        version = secrets.add_version(self.secret_id, token.password)
        self._write_pair(world, secret, Pair(token.username, version.number, token.expires))
        return {"life": got} if (got := life_got(token, self.ttl)) else {}

    def verify(self, world: World) -> Evidence:
        if world.expects(expected_pair(self.secret_id)) or world.expects(expected_secret(self.secret_id)):
            return Evidence("will be there by then")
        pair = pair_in_use(world, self.secret_id, self.repository)
        if pair is None:
            raise StepFailed(f"The secret {self.secret_id} holds no pull token that is good now.", "Run again.")
        facts: dict[str, Any] = {
            "secret version": f"{self.secret_id}/versions/{pair.version}",
            "username": pair.username,
            "expires": pair.expires or "not written down: this token was stored by somebody else",
            **world.seen,
        }
        until = f", good until {pair.expires:%Y-%m-%d}" if pair.expires else ""
        return Evidence(f"version {pair.version}{until}", facts)

    def commands(self, world: World, organization: str, there: SecretResource | None) -> tuple[str, ...]:
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
        annotations = {MADE_BY_ANNOTATION: "cgrunbook"} if there is None else there.annotations
        kept = token_pairs.as_gcloud_takes_them(annotations)
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
            f'  --update-annotations={kept}{token_pairs.VERSION_ANNOTATION}"$token_version=$username $expires"',
        )

    def _claim(self, world: World) -> tuple[SecretResource, Claim] | None:
        """Write down that a token is about to be made, after finishing or undoing what an earlier run began.

        Returns:
            The secret with the claim on it, and the claim; None when the earlier run had got so far that nothing remains to
            be done.

        Raises:
            Conflict: another machine is at it.
        """
        secret = world.cloud.secrets.get(self.secret_id)
        if secret is None:
            raise NotFound(f"The secret {self.secret_id} is gone.", "Run the notebook from its beginning.")
        if (earlier := token_pairs.claim_on(secret)) is not None:
            if earlier.elsewhere:
                raise Conflict(
                    f"Another machine began to make a pull token for {self.secret_id} at {earlier.at:%H:%M:%S} UTC.",
                    f"Wait until it is done, or {durations.in_words(token_pairs.CLAIM_LASTS)} if it died, and run again.",
                )
            stored = version_of_claim(world, self.secret_id, earlier)
            if stored is not None:
                self._write_pair(world, secret, Pair(earlier.username, stored.number, earlier.expires))
                return None
            in_use = _usernames_in_use(world) if earlier.username else None
            if in_use is not None and earlier.username not in in_use:
                world.cloud.chainguard.revoke(earlier.username, world.organization(self.organization))
        versions = world.cloud.secrets.versions(self.secret_id)
        claim = Claim.of_this_machine(known=max((version.number for version in versions), default=0))
        return world.cloud.secrets.update(secret, token_pairs.with_claim(secret, claim)), claim

    def _clearance(self, world: World, secret: SecretResource) -> Plan:
        """The plan where a good token is stored: nothing, unless there are others that nobody holds.

        chainctl outlives the run that it was started by. Killed then, it may make its token after the next run has
        looked for such; so each run looks.
        """
        try:
            organization = world.organization(self.organization)
        except CgrunbookError:
            return Plan()  # a good token is there, so chainctl is not needed; without it nothing can be looked for
        orphans = self._orphans(world, secret, organization)
        if not orphans:
            return Plan()
        return Plan(
            Outcome.DELETED,
            tuple(Change(f"pull token {orphan}", "", "whose password nobody has", None) for orphan in orphans),
            tuple(f"chainctl iam identities delete {orphan} --yes" for orphan in orphans),
            notes=("A run that was killed left this behind.",),
        )

    def _orphans(self, world: World, secret: SecretResource, organization: str) -> list[str]:
        try:
            listed = world.pull_tokens(organization)
        except (PrerequisiteMissing, ChainguardFailed, Temporary):
            # registry.pull_token_creator may create but not list: then there is nothing that could be done.
            return []
        return orphans(world, secret, listed, lambda: _usernames_in_use(world))

    def _write_pair(self, world: World, secret: SecretResource, pair: Pair) -> None:
        """Write down whose password a version is, and give up the claim, in one change."""
        versions = world.cloud.secrets.versions(self.secret_id)
        there = {version.number for version in versions if version.state != "DESTROYED"}
        world.cloud.secrets.update(secret, token_pairs.with_pair(secret, pair, there))

    def _description(self, world: World) -> str:
        return f"Artifact Registry in {world.cloud.connection.project_id}, secret {self.secret_id}"


def version_of_claim(world: World, secret_id: str, claim: Claim) -> SecretVersion | None:
    """The version that a dead run stored without getting to write down whose it is."""
    if not claim.username:
        return None
    newer = [v for v in world.cloud.secrets.versions(secret_id) if v.number > claim.known and v.enabled]
    for version in newer:
        try:
            token = PullToken.checked(claim.username, world.cloud.secrets.access(secret_id, version.number))
        except PermissionMissing:
            # Whoever may not read it may still hand it to Artifact Registry, which tries the pair before it takes it.
            return version
        except MalformedToken:
            continue
        if token.expires == claim.expires:
            return version
    return None


def orphans(
    world: World, secret: SecretResource, listed: Sequence[ListedToken], in_use: Callable[[], set[str] | None]
) -> list[str]:
    """The tokens that cgrunbook made for a secret and that nobody holds.

    A token is named after the secret, and its username is written down before its password is stored; so one of
    this name that is written down nowhere was made by a run that died right then.

    Args:
        world: of the secret's project.
        listed: the organisation's pull tokens.
        in_use: reads with which usernames the repositories sign in; None where not all of them can be seen.
    """
    name = token_name(world, secret.id)
    written = token_pairs.pairs(secret)
    held = {pair.username for pair in written.values()}
    suspects = [token for token in listed if token.name.startswith(name) and token.id not in held]
    if not suspects:
        return []
    # Somebody may have cleared the annotations: what a repository or a version holds is no orphan either.
    used = in_use()
    if used is None:
        return []
    held |= used
    for version in world.versions(secret.id):
        if version.enabled and version.number not in written:
            try:
                password = world.cloud.secrets.access(secret.id, version.number)
                expires = PullToken.checked(suspects[0].id, password).expires
            except PermissionMissing:
                return []  # whose password it is cannot be seen
            except (MalformedToken, WrongState):
                continue
            held |= {token.id for token in suspects if token_pairs.same_end(token.expires, expires)}
    return sorted(token.id for token in suspects if token.id not in held)


def life_got(token: PullToken, asked: str) -> str:
    """What came of the life that was asked for, a sentence; "" where it is what was asked for.

    What Chainguard does where a plan allows less is written nowhere; the token itself says what it came to.
    """
    minute = timedelta(minutes=1)
    got = minute * round(
        (token.expires - (token.issued or datetime.now(UTC))) / minute
    )  # a second less than was asked for
    if abs(got - durations.parse(asked)) < minute:
        return ""
    return (
        f"{durations.in_words(durations.parse(asked))} were asked for, and Chainguard gave {durations.in_words(got)}: "
        "what the plan allows (at most 168h on Team, 720h on Starter, 8760h elsewhere)."
    )


def _field_by_sed(name: str) -> str:
    """The part of a shell's pipe that takes a string out of a line of JSON, and prints nothing when it is not there."""
    return rf"""sed -n 's/.*"{name}": *"\([^"]*\)".*/\1/p'"""


def _usernames_in_use(world: World) -> set[str] | None:
    """With which usernames the repositories of all locations sign in; None where not all of them can be seen."""
    everywhere = world.everywhere()
    return None if everywhere.unread else {repository.username for repository in everywhere.repositories}
