"""Rotating a pull token: a new one made, stored, set in every repository of the old one, proved; then the old one taken away.

It knows the order, what is put back when the new one does not work, and what a run that died in the middle has left.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
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
from cgrunbook.steps.credential import expected_pair
from cgrunbook.steps.pull_token import StorePullToken, life_got, token_name, version_of_claim
from cgrunbook.steps.pulling import image_of
from cgrunbook.steps.retirement import Replaced, forgotten, list_tokens, replaced, retire
from cgrunbook.steps.sign_ins import Member, SignIns, read_again, read_sign_ins
from cgrunbook.steps.step import (
    KNOWN_AFTER_APPLY,
    Change,
    Evidence,
    Finding,
    Mark,
    Outcome,
    Plan,
    Progress,
    Section,
    Step,
    World,
)
from cgrunbook.steps.token_pairs import Claim, Pair
from cgrunbook.steps.uncached import Uncached

# Seconds for a secret to become readable to Artifact Registry, whose grant is as old as what it reads now.
_READABLE = 60.0


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


class RotatePullToken(Step):
    """Make a new pull token, let every repository that uses the old one sign in with it, prove it, take the old one away.

    Args:
        repository: one that signs in with the secret; without one the secret that is named is meant.
        secret_id: the secret, where the repository does not say.
        organization: whose images the token may pull; empty takes the only organisation there is.
        settings: what is asked for.
    """

    section = Section.PRODUCTION_IMAGES
    why = (
        "A pull token ends, and with it every pull that is not cached. The next one has another username and password."
    )

    def __init__(
        self, repository: str, secret_id: str, organization: str = "", settings: RotationSettings | None = None
    ) -> None:
        self.repository = repository
        self.secret_id = secret_id
        self.organization = organization
        self.settings = settings or RotationSettings()
        self.title = f"Rotate the pull token of {repository}"
        self._begun = datetime.now(UTC)

    def plan(self, world: World) -> Plan:
        if world.expects(expected_pair(self.secret_id)):
            return Plan()
        found = self._look(world)
        if self._spare(found):
            return self._plan_of_retirement(world, found)
        organization = world.organization(self.organization)
        resource = f"secret {found.id}"
        life = durations.in_words(durations.parse(self.settings.ttl))
        changes = [
            Change(f"pull token of {organization}", "", None, f"for {life}"),
            Change(resource, "version with its password", None, KNOWN_AFTER_APPLY),
        ]
        for member in found.members:
            before = member.repository
            changes += [
                Change(str(member), "upstream username", before.username, KNOWN_AFTER_APPLY),
                Change(str(member), "upstream password", before.password_secret_version, KNOWN_AFTER_APPLY),
            ]
        grace = durations.parse(self.settings.grace)
        ours = [pair for _, pair in sorted(found.written.items())]
        going = ours if self._waits(world, grace) else [pair for pair in ours if self._is_over(found, pair, grace)]
        changes += [Change(f"pull token {one.username}", "", f"in version {one.version}", None) for one in going]
        notes = [*self._notes(found)]
        if ours:
            when = f"{durations.in_words(grace)} after the new one is proved" if grace else "once the new one is proved"
            notes.append(f"What is replaced is disabled, destroyed and revoked {when}, unless it was seen since.")
        if token_pairs.claim_on(found.secret):
            notes.append("A rotation that died is finished: where its token is stored, no other is made.")
        return Plan(
            Outcome.UPDATED,
            tuple(changes),
            tuple(self._commands(found, organization, ours)),
            notes=tuple(notes),
        )

    def apply(self, world: World, plan: Plan) -> Mapping[str, Any]:
        found = self._look(world)
        said: dict[str, Any] = {}
        stored, organization = found.secret, world.organization(self.organization)
        if not self._spare(found):
            found, stored, said = self._rotate(world, found, organization)
        return said | self._clear(world, found, stored, organization, said)

    def verify(self, world: World) -> Evidence:
        if world.expects(expected_pair(self.secret_id)):
            return Evidence("will be new by then")
        seen = dict(world.seen)
        found = _used(seen.pop("after", None) or read_sign_ins(world, self.repository, self.secret_id))
        gone, version = seen.pop("gone", ""), seen.pop("version", 0)
        findings = list(seen.pop("findings", ()))
        member = found.members[0]
        pair = found.written.get(version) or found.pair_of(member)
        left = [one for one in found.members if (one.version, one.repository.username) != (pair.version, pair.username)]
        facts: dict[str, Any] = {
            "secret version": f"{found.id}/versions/{pair.version}",
            "username": pair.username,
            "expires": pair.expires or "not written down: this token was stored by somebody else",
            "repositories": [str(one) for one in found.members],
            **{name: fact for name, fact in seen.items() if fact and name != "username"},
        }
        if not world.seen:
            facts |= self._why_not(found)
            findings += self._replaced(world, found, pair.version).findings
        findings += [
            Finding(
                Mark.FAIL if version else Mark.WARN,
                str(one),
                f"signs in with version {one.named} as {one.repository.username}",
                "Run cgrunbook rotate: it moves each repository.",
            )
            for one in left
        ]
        until = f", good until {pair.expires:%Y-%m-%d}" if pair.expires else ""
        many = len(found.members) - len(left)
        used = f" in {many} {'repository' if many == 1 else 'repositories'}"
        if not world.seen:
            left_over = [finding.seen for finding in findings if finding.mark is Mark.TO_DO]
            gone = "; ".join([str(facts["not rotated"]), *left_over])
        then = f"; {gone}" if gone else ""
        return Evidence(f"version {pair.version}{until}{used}{then}", facts, tuple(findings))

    def _look(self, world: World) -> SignIns:
        """The secret and who signs in with it.

        Raises:
            PrerequisiteMissing: nobody does.
            Conflict: another machine is at it.
        """
        found = _used(read_sign_ins(world, self.repository, self.secret_id))
        claim = token_pairs.claim_on(found.secret)
        if claim and claim.elsewhere:
            raise Conflict(
                f"Another machine began to make a pull token for {found.id} at {claim.at:%H:%M:%S} UTC; nothing was done here.",
                f"Wait until it is done, or {durations.in_words(token_pairs.CLAIM_LASTS)} if it died, and run again.",
            )
        return found

    def _spare(self, found: SignIns) -> bool:
        """Whether nothing is to be rotated now: somebody else just did, or there is time."""
        if token_pairs.claim_on(found.secret):
            return False
        if self._rotated_meanwhile(found):
            return True
        return bool(self.settings.if_days_left) and self._days_left(found) > self.settings.if_days_left

    def _rotated_meanwhile(self, found: SignIns) -> datetime | None:
        """When another rotation ended, if that was after this one had begun."""
        ends = (pair.since for pair in found.written.values() if pair.since)
        newest = max(ends, default=None)
        return newest if newest and newest > self._begun else None

    def _days_left(self, found: SignIns) -> float:
        """How many days each repository can go on; 0 where one cannot, or it is not to be known.

        Raises:
            WrongState: somebody has disabled the version in use, and nobody is there to say that it should work again.
        """
        now, left = datetime.now(UTC), [366.0]
        for member in found.members:
            pair = found.pair_of(member)
            there = found.versions.get(pair.version)
            if there is not None and there.state == "DISABLED":
                raise WrongState(
                    f"Version {pair.version} of the secret {found.id}, which the {member} uses, is disabled: somebody meant to "
                    "stop it, and nothing is made in its place unasked.",
                    f"If it should work again: gcloud secrets versions enable {pair.version} --secret={found.id} "
                    f"--project={found.keeper.cloud.project.id}\nIf it should never again: cgrunbook rotate, without "
                    "--if-days-left, makes a new one.",
                )
            expires = pair.expires or self._end(found, pair)
            good = there is not None and there.enabled and not found.mismatched(member)
            left.append((expires - now) / timedelta(days=1) if good and expires else 0.0)
        return min(left)

    def _end(self, found: SignIns, pair: Pair) -> datetime | None:
        """When a token ends that nobody wrote down, from itself; None where it is none, or may not be read."""
        try:
            return PullToken.checked(pair.username, found.keeper.cloud.secrets.access(found.id, pair.version)).expires
        except CgrunbookError:
            return None

    def _why_not(self, found: SignIns) -> dict[str, Any]:
        """Why nothing was rotated, for the evidence."""
        if at := self._rotated_meanwhile(found):
            return {"not rotated": f"another rotation ended at {at:%H:%M:%S} UTC, after this one had begun"}
        days = self._days_left(found)
        return {"not rotated": f"{days:.0f} days are left"}

    def _dead(self, found: SignIns) -> str:
        """Why what the repositories sign in with now cannot be good any more, "" where it may be."""
        now = datetime.now(UTC)
        for member in found.members:
            pair = found.pair_of(member)
            there = found.versions.get(pair.version)
            if there is None or not there.enabled:
                state = there.state.lower() if there else "not there"
                return f"version {pair.version}, with which the {member} signs in, is {state}"
            if found.mismatched(member):
                return f"the username of the {member} is another's than the password's in version {pair.version}"
            if not pair.expires:
                pair = replace(pair, expires=self._end(found, pair))
            if pair.expires and pair.ended(now):
                return f"the pull token in version {pair.version} ended at {pair.expires:%Y-%m-%d %H:%M} UTC"
        return ""

    def _notes(self, found: SignIns) -> Iterator[str]:
        life = durations.in_words(durations.parse(self.settings.ttl))
        yield f"The token ends in {life}; a new one has a new username."
        if dead := self._dead(found):
            yield f"{dead[0].upper()}{dead[1:]}: the new pair is tried at cgr.dev before it is set."
        for where, error in found.unread.items():
            yield f"Whether a repository signs in with it cannot be seen ({where}): {error.message} The old token stays."
        if durations.parse(self.settings.ttl) <= timedelta(days=self.settings.if_days_left):
            yield f"It lives no longer than {self.settings.if_days_left} days, so that the next run rotates it again."

    def _plan_of_retirement(self, world: World, found: SignIns) -> Plan:
        """What is still to be taken away where nothing is to be rotated."""
        due = self._replaced(world, found, found.pair_of(found.members[0]).version).due
        if not due:
            return Plan()
        project = found.keeper.cloud.project.id
        commands = []
        for one in due:
            if one.version:
                commands.append(
                    f"gcloud secrets versions destroy {one.version} --secret={found.id} --project={project}"
                )
            commands.append(f"chainctl iam identities delete {one.username} --yes")
        changes = [
            Change(
                f"pull token {one.username}", "", f"in version {one.version}" if one.version else "held by nobody", None
            )
            for one in due
        ]
        return Plan(Outcome.DELETED, tuple(changes), tuple(commands), notes=("Later ones have replaced these.",))

    @staticmethod
    def _waits(world: World, grace: timedelta) -> bool:
        """Whether this run waits until the grace is over."""
        return grace <= timedelta(seconds=world.cloud.attempts.limit)

    @staticmethod
    def _is_over(found: SignIns, pair: Pair, grace: timedelta) -> bool:
        """Whether the grace of a pair that was replaced before is over."""
        since, now = found.replaced(pair), datetime.now(UTC)
        return pair.ended(now) or (since is not None and since + grace <= now)

    def _replaced(self, world: World, found: SignIns, current: int, minted: str = "") -> Replaced:
        try:
            organization = world.organization(self.organization)
        except CgrunbookError:
            organization = ""
        tokens = list_tokens(world, organization) if organization else None
        return replaced(found, tokens, current, durations.parse(self.settings.grace), minted=minted)

    def _rotate(
        self, world: World, found: SignIns, organization: str
    ) -> tuple[SignIns, SecretResource, dict[str, Any]]:
        """All of a rotation up to the proof; answers who signs in with what, the secret as it is stored, and what is to be said.

        Without a grace what the secret is to say is not stored yet: it is written with what is said of the tokens that go, and
        until then the claim stands.
        """
        images = [image_of(world, image, organization) for image in self.settings.images]
        dead = self._dead(found)
        secret, fresh = self._fresh(world, found, organization)
        moved: list[Member] = []
        try:
            self._require_same_organization(found, fresh)
            source = Uncached(world.cloud.cgr(fresh.login), images)
            own = [member for member in found.members if member.cloud.project.id == world.cloud.project.id]
            first = (own or found.members)[0]
            tried = fresh.login is not None and source.greet(first.cloud, first.repository.id)
            proofs: dict[str, str] = {}
            for member in found.members:
                world.progress(Progress(f"setting the new pair in the {member}"))
                moved.append(member)
                try:
                    self._set(found, member, fresh.pair, validated=not (dead and tried))
                except (NotFound, PrerequisiteMissing) as error:
                    if isinstance(error, PrerequisiteMissing) and member in own:
                        raise
                    moved.pop()  # gone meanwhile, or another project's: it goes on as it was, and is named in the end
                    continue
                if member in own:
                    world.progress(Progress(f"pulling something that {member.repository.id} has not cached"))
                    shown = source.pull_through(member.cloud, member.repository.id)
                    proofs[f"{member.repository.location}/{member.repository.id}"] = shown
        except Interrupted:
            raise  # the next run finishes it
        except CgrunbookError as error:
            revoked = self._put_back(world, found, secret, fresh, moved=moved, organization=organization)
            raise _not_taken(error, moved, revoked) from error
        pair = replace(fresh.pair, since=datetime.now(UTC))
        versions = {version.number for version in found.versions.values() if version.state != "DESTROYED"}
        wanted = token_pairs.with_pair(secret, pair, versions | {pair.version})
        grace = durations.parse(self.settings.grace)
        if grace:
            secret = wanted = found.keeper.cloud.secrets.update(secret, wanted)
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
        return replace(found, secret=wanted, written=token_pairs.pairs(wanted)), secret, said

    def _fresh(self, world: World, found: SignIns, organization: str) -> tuple[SecretResource, _Fresh]:
        """The new token, stored, with a claim on the secret that says so; what a dead run had stored, where it is good."""
        keeper, secrets = found.keeper, found.keeper.cloud.secrets
        secret, earlier, known = found.secret, token_pairs.claim_on(found.secret), max(found.versions, default=0)
        if earlier and (fresh := self._left_behind(world, found, earlier)):
            own = Claim.of_this_machine(earlier.known)
            claim = replace(earlier, by=own.by, at=own.at)
            return self._claimed(found, token_pairs.with_claim(secret, claim)), fresh
        claim = Claim.of_this_machine(known)
        secret = self._claimed(found, token_pairs.with_claim(secret, claim))
        token: PullToken | None = None
        try:
            if earlier and earlier.username and not found.unread and earlier.username not in found.usernames:
                world.cloud.chainguard.revoke(earlier.username, organization)
            for member in found.members:
                if not member.named.isdigit() and member.version:
                    # The version that is added would be taken for the password before the username goes with it.
                    self._set(found, member, found.pair_of(member), validated=False)
            world.progress(Progress("creating the pull token"))
            description = f"Artifact Registry in {keeper.cloud.project.id}, secret {found.id}"
            token = world.cloud.chainguard.create_pull_token(
                organization, token_name(keeper, found.id), durations.go(self.settings.ttl), description=description
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
        return secret, _Fresh(pair, _login(token), life_got(token, self.settings.ttl))

    def _claimed(self, found: SignIns, wanted: SecretResource) -> SecretResource:
        try:
            return found.keeper.cloud.secrets.update(found.secret, wanted)
        except Conflict as error:
            raise Conflict(
                f"Somebody else began to change the secret {found.id} at the same moment, another rotation perhaps; nothing was "
                "done here.",
                "Wait until it is done, then look: cgrunbook rotate --if-days-left 7 does nothing where it was rotated.",
            ) from error

    def _left_behind(self, world: World, found: SignIns, claim: Claim) -> _Fresh | None:
        """What a dead run had made and stored; None where it is to be made anew."""
        version = version_of_claim(found.keeper, found.id, claim)
        if version is None:
            return None
        pair = Pair(claim.username, version.number, claim.expires)
        try:
            token = PullToken.checked(pair.username, found.keeper.cloud.secrets.access(found.id, pair.version))
        except PermissionMissing:
            return _Fresh(pair, None, finished=True)
        except (MalformedToken, WrongState):
            return None
        alive = list_tokens(world, world.organization(self.organization))
        if token.expired(datetime.now(UTC)) or (alive is not None and token.username not in alive):
            return None
        return _Fresh(pair, _login(token), finished=True)

    def _require_same_organization(self, found: SignIns, fresh: _Fresh) -> None:
        """Refuse a token of another organisation than the one whose images are pulled so far."""
        ids = {member.repository.username.partition("/")[0] for member in found.members}
        if fresh.pair.username.partition("/")[0] not in ids:
            raise StepFailed(
                "The new pull token belongs to another organisation than those that the repositories sign in with: what is pulled "
                "now would not be found any more.",
                "Give the organisation whose images these are, as the parameter organization.",
            )

    def _set(self, found: SignIns, member: Member, pair: Pair, *, validated: bool) -> None:
        member.cloud.repositories.set_upstream_credentials(
            member.repository.id,
            pair.username,
            found.keeper.cloud.secrets.version_name(found.id, pair.version or member.named),
            disable_upstream_validation=not validated,
            propagation=min(_READABLE, member.cloud.attempts.limit) if validated else 0.0,
        )

    def _put_back(
        self,
        world: World,
        found: SignIns,
        secret: SecretResource,
        fresh: _Fresh,
        *,
        moved: Sequence[Member],
        organization: str,
    ) -> str:
        """Let each repository sign in as before, without asking whether it works, and take the new token away.

        Returns:
            What became of that token, in words.
        """
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
                self._set(found, member, before, validated=False)
            except NotFound:
                continue  # somebody has deleted it
            except Interrupted:
                raise
            except CgrunbookError as error:
                problems.append(error)
        if problems:
            raise problems[0]  # the claim stands, and the new token lives: the next run goes on from there
        try:
            world.cloud.chainguard.revoke(fresh.pair.username, organization)
            revoked = "and is revoked again"
        except PermissionMissing:
            revoked = f"and {fresh.pair.username} lives on, since you may not revoke it"
        found.keeper.cloud.secrets.destroy(found.id, fresh.pair.version)
        found.keeper.cloud.secrets.update(secret, token_pairs.without_claim(secret))
        return revoked

    def _clear(
        self, world: World, found: SignIns, stored: SecretResource, organization: str, said: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Take away what is replaced, once its grace is over and as far as this run waits for that; answers what it came to.

        Args:
            stored: the secret as Secret Manager has it; `found` may know more that is to be written with the rest.
            said: what came of the rotation; nothing where there was none.
        """
        grace = durations.parse(self.settings.grace)
        if said and grace and self._waits(world, grace):
            world.cloud.attempts.pause(grace.total_seconds(), "pulls that are in flight with the replaced token")
            found = read_sign_ins(world.anew(), self.repository, self.secret_id)
            stored = found.secret
        elif said:
            found = read_again(world.anew(), found, self.repository)
        current = said.get("version") or found.pair_of(found.members[0]).version
        stands = self._replaced(world.anew(), found, current, said.get("username", ""))
        gone, left = retire(world, found, stands.due, organization)
        secret = found.keeper.cloud.secrets.update(stored, forgotten(found, gone))
        numbers = sorted(one.version for one in gone if one.version)
        many = f"versions {', '.join(map(str, numbers))} and their tokens" if len(numbers) > 1 else ""
        went = f"{many or f'version {numbers[0]} and its token'} are gone" if numbers else ""
        waits = f"the replaced one lives until {stands.later:%Y-%m-%d %H:%M} UTC" if stands.later else ""
        return {
            "after": replace(found, secret=secret, written=token_pairs.pairs(secret)),
            "gone": "; ".join(filter(None, (went, waits))),
            "taken away": [f"pull token {one.username}" for one in gone],
            "findings": (*left, *stands.findings),
        }

    def _commands(self, found: SignIns, organization: str, ours: Sequence[Pair]) -> Iterator[str]:
        """The same by hand; what they set in the shell is used by those that follow."""
        store = StorePullToken(found.id, organization, self.repository, self.settings.ttl)
        yield from store.commands(found.keeper, organization, found.secret)
        secret, project = found.keeper.cloud.secrets.name(found.id), found.keeper.cloud.project.id
        for member in found.members:
            yield (
                f"gcloud artifacts repositories update {member.repository.id} \\\n"
                f"  --project={member.cloud.project.id} --location={member.repository.location} \\\n"
                f'  --remote-username="$username" --remote-password-secret-version="{secret}/versions/$token_version"'
            )
        if ours and (grace := durations.parse(self.settings.grace)):
            yield f"sleep {grace.total_seconds():.0f}  # pull something that is not cached meanwhile, and let pulls in flight end"
        for pair in ours:
            yield f"gcloud secrets versions destroy {pair.version} --secret={found.id} --project={project} --quiet"
            yield f"chainctl iam identities delete {pair.username} --yes"


def _used(found: SignIns) -> SignIns:
    """What was found, where somebody signs in with it."""
    if not found.members:
        raise PrerequisiteMissing(
            f"No repository signs in with the secret {found.id}, so there is no pull token to be rotated.",
            "Run 03_production_images: it makes the private repository and its pull token.",
        )
    return found


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
