"""A new pull token in the place of another: made, stored, set in every repository of the old one, proved; or all of it undone.

It knows the order, what is put back when the new one does not work, and what a run that died in the middle has left.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from cgrunbook import durations
from cgrunbook.cloud.pull_token import PullToken
from cgrunbook.cloud.registry import BasicCredentials
from cgrunbook.cloud.secret_manager import SecretResource
from cgrunbook.errors import (
    CgrunbookError,
    Conflict,
    Interrupted,
    MalformedToken,
    NotFound,
    PermissionMissing,
    PrerequisiteMissing,
    StepFailed,
    WrongState,
)
from cgrunbook.parameters import Parameters
from cgrunbook.steps import token_pairs
from cgrunbook.steps.pull_token import life_got, token_name, version_of_claim
from cgrunbook.steps.pulling import image_of
from cgrunbook.steps.retirement import list_tokens
from cgrunbook.steps.sign_ins import Member, SignIns
from cgrunbook.steps.step import Progress, World
from cgrunbook.steps.token_pairs import Claim, Pair, organization_of
from cgrunbook.steps.uncached import Uncached

# Seconds for a secret to become readable to Artifact Registry, whose grant is as old as what it reads now.
_READABLE = 60.0

# What is shown by a repository of another project, through which nothing is pulled from here.
_TAKEN = "Artifact Registry tried the pair when it was set; it is another project's, so nothing was pulled through it"
_SET = "nothing: it is another project's, so nothing was pulled through it, and it was set untried"


@dataclass(frozen=True)
class RotationSettings:
    """What is asked of a rotation.

    Args:
        ttl: how long the new token lives, such as 30d or 720h.
        grace: how long the replaced one stays after the new one was proved, in the same way.
        if_days_left: rotate only where the token has no more days than this; 0 rotates whatever it has.
        images: of the organisation, to prove the new token with.
    """

    ttl: str = "720h"
    grace: str = "1h"
    if_days_left: int = 0
    images: Sequence[str] = ("chainguard-base:latest",)

    @classmethod
    def of(cls, params: Parameters) -> RotationSettings:
        """What a notebook's parameters ask for."""
        return cls(params.token_ttl, params.grace_period, params.if_days_left, tuple(params.production_images))


@dataclass(frozen=True)
class _Fresh:
    """The new token, stored: what every repository is to sign in with.

    Args:
        login: username and password; None where an earlier run stored it and this caller may not read it.
        life: what came of the life asked for, "" where it is that.
        finished: whether an earlier run had made it.
    """

    pair: Pair
    login: BasicCredentials | None
    life: str = ""
    finished: bool = False


@dataclass(frozen=True)
class Renewed:
    """What came of it.

    Args:
        found: who signs in with what by now, and what is to be written on the secret.
        stored: the secret as Secret Manager has it: without a grace what it is to say is written with what is said of the
            tokens that go, and until then the claim stands.
        said: for the evidence.
    """

    found: SignIns
    stored: SecretResource
    said: dict[str, Any]


class Renewal:
    """One renewal.

    Args:
        found: who signs in with what.
        organization: whose images the token may pull.
        dead: why what is in use now cannot be good any more, "" where it may be.
    """

    def __init__(self, world: World, found: SignIns, organization: str, settings: RotationSettings, dead: str) -> None:
        self._world = world
        self._found = found
        self._secrets = found.keeper.cloud.secrets
        self._organization = organization
        self._settings = settings
        self._dead = dead

    def run(self) -> Renewed:
        """All of it up to the proof.

        Raises:
            StepFailed: the new token did not work, and all is as it was.
            CgrunbookError: it could not be made or stored.
        """
        world, found, dead = self._world, self._found, self._dead
        images = [image_of(world, image, self._organization) for image in self._settings.images]
        secret, fresh = self._fresh()
        moved: list[Member] = []
        try:
            self._require_same_organization(fresh)
            source = Uncached(world.cloud.cgr(fresh.login), images)
            own = [member for member in found.members if member.cloud.project.id == world.cloud.project.id]
            first = (own or found.members)[0]
            tried = fresh.login is not None and source.greet(first.cloud, first.repository.id)
            proofs: dict[str, str] = {}
            for member in found.members:
                world.progress(Progress(f"setting the new pair in the {member}"))
                moved.append(member)
                try:
                    self._set(member, fresh.pair, validated=not (dead and tried))
                except (NotFound, PrerequisiteMissing) as error:
                    if isinstance(error, PrerequisiteMissing) and member in own:
                        raise
                    moved.pop()  # gone meanwhile, or another project's: it goes on as it was, and is named in the end
                    continue
                shown = _TAKEN if not (dead and tried) else _SET
                if member in own:
                    world.progress(Progress(f"pulling something that {member.repository.id} has not cached"))
                    shown = source.pull_through(member.cloud, member.repository.id)
                proofs[f"{member.repository.location}/{member.repository.id}"] = shown
        except Interrupted:
            raise  # the next run finishes it
        except CgrunbookError as error:
            revoked = self._put_back(secret, fresh, moved)
            raise _not_taken(error, moved, revoked) from error
        pair = replace(fresh.pair, since=datetime.now(UTC))
        versions = {version.number for version in found.versions.values() if version.state != "DESTROYED"}
        wanted = token_pairs.with_pair(secret, pair, versions | {pair.version})
        grace = durations.parse(self._settings.grace)
        if grace:
            secret = wanted = self._secrets.update(secret, wanted)
        said = {
            "version": pair.version,
            "username": pair.username,
            "life": fresh.life,
            "proved with": proofs,
            "done differently": f"{dead}, so the new pair was tried at cgr.dev from here and set without Artifact Registry's own "
            "validation: registries lock out who fails too often"
            if dead and tried
            else "",
            "finished": "what an earlier run had begun; no other token was made" if fresh.finished else "",
        }
        found = replace(found, secret=wanted, written=token_pairs.pairs(wanted))
        return Renewed(found, secret, said)

    def _fresh(self) -> tuple[SecretResource, _Fresh]:
        """The new token, stored, with a claim on the secret that says so; what a dead run had stored, where it is good."""
        world, found, organization = self._world, self._found, self._organization
        keeper, secrets = found.keeper, self._secrets
        secret, earlier, known = found.secret, token_pairs.claim_on(found.secret), max(found.versions, default=0)
        if earlier and (fresh := self._left_behind(earlier)):
            own = Claim.of_this_machine(earlier.known)
            claim = replace(earlier, by=own.by, at=own.at)
            return self._claimed(token_pairs.with_claim(secret, claim)), fresh
        claim = Claim.of_this_machine(known)
        secret = self._claimed(token_pairs.with_claim(secret, claim))
        token: PullToken | None = None
        try:
            if earlier and earlier.username and not found.unread and earlier.username not in found.usernames:
                world.cloud.chainguard.revoke(earlier.username, organization)
            for member in found.members:
                if not member.named.isdigit() and member.version:
                    # The version that is added would be taken for the password before the username goes with it.
                    self._set(member, found.pair_of(member), validated=False)
            world.progress(Progress("creating the pull token"))
            description = f"Artifact Registry in {keeper.cloud.project.id}, secret {found.id}"
            token = world.cloud.chainguard.create_pull_token(
                organization, token_name(keeper, found.id), durations.go(self._settings.ttl), description=description
            )
            claim = replace(claim, username=token.username, expires=token.expires)
            secret = secrets.update(secret, token_pairs.with_claim(secret, claim))
            world.progress(Progress("storing its password"))
            version = secrets.add_version(found.id, token.password, known=known)
        except Interrupted:
            raise  # the next run finishes it
        except CgrunbookError:
            # Nobody needs to wait for it; what chainctl may have made all the same is known by its name.
            with suppress(CgrunbookError):
                if token:
                    world.cloud.chainguard.revoke(token.username, organization)
                secrets.update(secret, token_pairs.without_claim(secret))
            raise
        pair = Pair(token.username, version.number, token.expires)
        return secret, _Fresh(pair, _login(token), life_got(token, self._settings.ttl))

    def _claimed(self, wanted: SecretResource) -> SecretResource:
        try:
            return self._secrets.update(self._found.secret, wanted)
        except Conflict as error:
            raise Conflict(
                f"Somebody else began to change the secret {self._found.id} at the same moment, another rotation perhaps; nothing "
                "was done here.",
                "Wait until it is done, then look: cgrunbook rotate --if-days-left 7 does nothing where it was rotated.",
            ) from error

    def _left_behind(self, claim: Claim) -> _Fresh | None:
        """What a dead run had made and stored; None where it is to be made anew."""
        found = self._found
        version = version_of_claim(found.keeper, found.id, claim)
        if version is None:
            return None
        pair = Pair(claim.username, version.number, claim.expires)
        try:
            token = PullToken.checked(pair.username, self._secrets.access(found.id, pair.version))
        except PermissionMissing:
            return _Fresh(pair, None, finished=True)
        except (MalformedToken, WrongState):
            return None
        alive = list_tokens(self._world, self._organization)
        if token.expired(datetime.now(UTC)) or (alive is not None and token.username not in alive):
            return None
        return _Fresh(pair, _login(token), finished=True)

    def _require_same_organization(self, fresh: _Fresh) -> None:
        """Refuse a token of another organisation than the one whose images are pulled so far."""
        usernames = [member.repository.username.strip().lower() for member in self._found.members]
        ids = set(filter(None, map(organization_of, usernames)))  # one that has no such form says nothing of it
        if ids and organization_of(fresh.pair.username) not in ids:
            raise StepFailed(
                "The new pull token belongs to another organisation than those that the repositories sign in with: what is pulled "
                "now would not be found any more.",
                "Give the organisation whose images these are, as the parameter organization.",
            )

    def _set(self, member: Member, pair: Pair, *, validated: bool) -> None:
        member.cloud.repositories.set_upstream_credentials(
            member.repository.id,
            pair.username,
            self._secrets.version_name(self._found.id, pair.version or member.named),
            disable_upstream_validation=not validated,
            propagation=min(_READABLE, member.cloud.attempts.limit) if validated else 0.0,
        )

    def _put_back(self, secret: SecretResource, fresh: _Fresh, moved: Sequence[Member]) -> str:
        """Let each repository sign in as before, without asking whether it works, and take the new token away.

        Returns:
            What became of that token, in words.
        """
        world, found = self._world, self._found
        world.progress(Progress("putting the old pair back"))
        problems: list[CgrunbookError] = []
        older = [
            pair
            for number, pair in sorted(found.written.items())
            if number < fresh.pair.version and number in found.versions and found.versions[number].enabled
        ]
        for member in found.members:
            before = found.pair_of(member)
            if before.username == fresh.pair.username and older:
                before = older[-1]  # an earlier run, which died, had moved it
            elif member not in moved:
                continue
            try:
                self._set(member, before, validated=False)
            except NotFound:
                continue  # somebody has deleted it
            except Interrupted:
                raise
            except CgrunbookError as error:
                problems.append(error)
        if problems:
            raise problems[0]  # the claim stands, and the new token lives: the next run goes on from there
        try:
            world.cloud.chainguard.revoke(fresh.pair.username, self._organization)
            revoked = "and is revoked again"
        except PermissionMissing:
            revoked = f"and {fresh.pair.username} lives on, since you may not revoke it"
        self._secrets.destroy(found.id, fresh.pair.version)
        self._secrets.update(secret, token_pairs.without_claim(secret))
        return revoked


def _login(token: PullToken) -> BasicCredentials:
    return BasicCredentials(token.username, token.password)


def _not_taken(error: CgrunbookError, moved: Sequence[Member], revoked: str) -> StepFailed:
    """The error for a rotation that was undone; arguments as of what undid it."""
    back = f"{', '.join(map(str, moved))} signs in as before" if moved else "no repository was changed"
    return StepFailed(
        f"The new pull token did not work, {revoked}; {back}. {error.message}",
        error.remedy or "Run 04_debugging.",
        debugging=error.debugging,
    )
