"""Rotating a pull token: whether it is time, what would be done, and the old one's end once the new one is proved.

How it stands is read as `cgrunbook status` reads it; how the new one comes into every repository is in renewal.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from cgrunbook import durations
from cgrunbook.errors import CgrunbookError, Conflict, PrerequisiteMissing, WrongState
from cgrunbook.steps import token_pairs
from cgrunbook.steps.credential import expected_pair
from cgrunbook.steps.pull_token import StorePullToken
from cgrunbook.steps.renewal import Renewal, Renewed, RotationSettings
from cgrunbook.steps.retirement import Replaced, forgotten, list_tokens, replaced, retire
from cgrunbook.steps.sign_ins import SignIns, read_again, read_sign_ins
from cgrunbook.steps.step import KNOWN_AFTER_APPLY, Change, Evidence, Finding, Mark, Outcome, Plan, Section, Step, World
from cgrunbook.steps.token_checks import Levels, at
from cgrunbook.steps.token_life import TokenLife, token_lives
from cgrunbook.steps.token_pairs import Pair
from cgrunbook.steps.token_sides import Check

# What of a token's life says whether it can go on.
_STANDS = frozenset({Check.END, Check.PAIR, Check.VERSION, Check.IDENTITY})


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
        if self._spare(world, found):
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
        notes = [*self._notes(world, found)]
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
        found, organization = self._look(world), world.organization(self.organization)
        done = Renewed(found, found.secret, {})
        if not self._spare(world, found):
            dead = self._how_it_stands(world, found)[1]
            done = Renewal(world, found, organization, self.settings, dead).run()
        return {**done.said, **self._clear(world, done, organization)}

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
            facts |= self._why_not(world, found)
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
        if found.secret.expire_time:
            findings.append(
                Finding(
                    Mark.WARN,
                    f"secret {found.id}",
                    f"Secret Manager deletes it at {at(found.secret.expire_time)}, with the password in it",
                    f"gcloud secrets update {found.id} --project={found.keeper.cloud.project.id} --remove-expiration",
                )
            )
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

    def _spare(self, world: World, found: SignIns) -> bool:
        """Whether nothing is to be rotated now: somebody else just did, or there is time.

        Raises:
            WrongState: somebody has disabled the version in use, and nobody is there to say that it should work again.
        """
        if token_pairs.claim_on(found.secret):
            return False
        if self._rotated_meanwhile(found):
            return True
        if not self.settings.if_days_left:
            return False
        for member in found.members:
            if (there := found.versions.get(member.version)) and there.state == "DISABLED":
                raise WrongState(
                    f"Version {there.number} of the secret {found.id}, which the {member} uses, is disabled: somebody meant to "
                    "stop it, and nothing is made in its place unasked.",
                    f"If it should work again: gcloud secrets versions enable {there.number} --secret={found.id} "
                    f"--project={found.keeper.cloud.project.id}\nIf it should never again: cgrunbook rotate, without "
                    "--if-days-left, makes a new one.",
                )
        return self._how_it_stands(world, found)[0] > self.settings.if_days_left

    def _how_it_stands(self, world: World, found: SignIns) -> tuple[float, str]:
        """How many days every repository can go on, and why what one signs in with cannot be good any more, "" where it may be.

        It is 0 days where one cannot, or nobody tells.
        """
        repositories = [member.repository for member in found.members]

        def read() -> tuple[TokenLife, ...]:
            without = frozenset(Check) - _STANDS
            organization = self._organization(world)
            return token_lives(
                world, lambda: (repositories, True), levels=Levels(0, 0), organization=organization, without=without
            )

        left, dead = 366.0, ""
        for member, life in zip(found.members, world.once(("how it stands", found.id), read), strict=True):
            fails = [finding.code for finding in life.findings if finding.mark is Mark.FAIL]
            left = min(left, life.left / timedelta(days=1) if life.left and not fails else 0.0)
            there = found.versions.get(member.version)
            why = {
                Check.VERSION: f"is {there.state.lower() if there else 'not there'}",
                Check.END: f"ended at {life.expires:%Y-%m-%d %H:%M} UTC" if life.expires else "is no pull token's",
                Check.PAIR: "is another's than its username's",
                Check.IDENTITY: "is that of a token that was revoked",
            }
            if fails and not dead:
                dead = f"the password in version {member.version}, with which the {member} signs in, {why[Check(fails[0])]}"
        return left, dead

    def _organization(self, world: World) -> str:
        """Whose tokens these are, "" where that is not to be known."""
        try:
            return world.organization(self.organization)
        except CgrunbookError:
            return ""

    def _rotated_meanwhile(self, found: SignIns) -> datetime | None:
        """When another rotation ended, if that was after this one had begun."""
        ends = (pair.since for pair in found.written.values() if pair.since)
        newest = max(ends, default=None)
        return newest if newest and newest > self._begun else None

    def _why_not(self, world: World, found: SignIns) -> dict[str, Any]:
        """Why nothing was rotated, for the evidence."""
        if ended := self._rotated_meanwhile(found):
            return {"not rotated": f"another rotation ended at {ended:%H:%M:%S} UTC, after this one had begun"}
        return {"not rotated": f"{self._how_it_stands(world, found)[0]:.0f} days are left"}

    def _notes(self, world: World, found: SignIns) -> Iterator[str]:
        life = durations.in_words(durations.parse(self.settings.ttl))
        yield f"The token ends in {life}; a new one has a new username."
        if dead := self._how_it_stands(world, found)[1]:
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
        project, changes, commands = found.keeper.cloud.project.id, [], []
        for one in due:
            held = f"in version {one.version}" if one.version else "held by nobody"
            changes.append(Change(f"pull token {one.username}", "", held, None))
            destroy = f"gcloud secrets versions destroy {one.version} --secret={found.id} --project={project}"
            commands += [destroy] * bool(one.version) + [f"chainctl iam identities delete {one.username} --yes"]
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
        organization = self._organization(world)
        tokens = list_tokens(world, organization) if organization else None
        return replaced(found, tokens, current, durations.parse(self.settings.grace), minted=minted)

    def _clear(self, world: World, done: Renewed, organization: str) -> dict[str, Any]:
        """Take away what is replaced, once its grace is over and as far as this run waits for that; answers what it came to."""
        found, stored, said = done.found, done.stored, done.said
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
