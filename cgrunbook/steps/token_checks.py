"""What the sides of a token's life mean: one finding a check, with what to do about it.

It knows what fits together, and which command puts it right. It asks for nothing but the grants on a whole project, and that only
where the secret has none.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from cgrunbook.cloud.chainguard import LoginState
from cgrunbook.cloud.iam_policy import EVERYBODY, grant_command, let_read_command, take_command
from cgrunbook.cloud.registry import TokenProbe
from cgrunbook.cloud.roles import ACCESSOR, HELD, READ_SECRET
from cgrunbook.cloud.secret_manager import SecretResource
from cgrunbook.errors import ApiDisabled, CgrunbookError, NotFound, PermissionMissing, WrongState
from cgrunbook.parameters import Parameters
from cgrunbook.redaction import Secret
from cgrunbook.steps.pull_token import token_name
from cgrunbook.steps.secret import conditional_grant, policy_of, service_agent
from cgrunbook.steps.step import CONSOLE, Finding, Mark, World
from cgrunbook.steps.token_pairs import organization_of, same_end
from cgrunbook.steps.token_sides import Check, Seen

if TYPE_CHECKING:
    from cgrunbook.cloud.artifact_registry import RemoteRepository
    from cgrunbook.cloud.chainguard import ListedToken
    from cgrunbook.cloud.iam_policy import Policy

# How cgr.dev's token endpoint refuses: 401 nobody, 403 the pair, 400 what means no organisation (vendor's "registry errors").
_REFUSALS = (400, 401, 403)

# How long a replaced token may stay: its grace, and until a daily rotation comes by.
_GRACE = timedelta(days=2)

# Who may list all pull tokens, in each organisation that is seen.
_OWNER = "owner"

# As many tokens as are told one by one.
_SHOWN = 5

# The roles that let a secret's value be read, the one that is asked for first.
_READERS = (ACCESSOR, "roles/owner", *sorted(role for role, held in HELD.items() if READ_SECRET in held))

_TITLES = {
    Check.END: "the token's end",
    Check.TAKEN: "cgr.dev takes it",
    Check.PAIR: "username and password belong together",
    Check.VERSION: "the secret version is enabled",
    Check.IDENTITY: "the identity lives",
    Check.GRANT: "the service agent may read the secret",
    Check.READERS: "who may pull",
    Check.OTHERS: "other live tokens of ours",
    Check.PINNED: "the version is a number",
    Check.SECRET: "the secret is this project's, and stays",
}

# What is said of a check: its mark, what was seen, the remedy, and the reason where it failed.
_Said = tuple[Mark, str, str] | tuple[Mark, str, str, str]

# How bad a mark is: what is said of a whole is the worst of its parts, and what was not looked at is no good news.
_WORST = (Mark.FAIL, Mark.WARN, Mark.TO_DO, Mark.NOT_CHECKED, Mark.OK)


# Artifact Registry's service agent of whichever project, in whatever a policy writes of it.
_AGENT = re.compile(r"service-(\d+)@gcp-sa-artifactregistry\.")


def worst(marks: Iterable[Mark]) -> Mark:
    """The mark of a whole; ok for nothing at all."""
    return min(marks, key=_WORST.index, default=Mark.OK)


@dataclass(frozen=True)
class Levels:
    """How many days left are too few.

    Args:
        warn: with fewer than these, the renewal is to be seen to.
        fail: with fewer than these, it is late.
    """

    warn: float = 7.0
    fail: float = 2.0

    def mark(self, left: timedelta) -> Mark:
        """How good it is to have this time left."""
        if left < timedelta(days=self.fail):
            return Mark.FAIL
        return Mark.WARN if left < timedelta(days=self.warn) else Mark.OK


def in_days(left: timedelta) -> str:
    """A time that is left, as a person counts: `29 days left`, `5 hours left`, `ended 2 days ago`."""
    hours = abs(left) / timedelta(hours=1)
    count, unit = (math.floor(hours / 24), "day") if hours >= 48 else (math.floor(hours), "hour")
    if not count:
        return "less than an hour left" if left > timedelta(0) else "ended less than an hour ago"
    said = f"{count} {unit}{'' if count == 1 else 's'}"
    return f"{said} left" if left > timedelta(0) else f"ended {said} ago"


def command_of_ours(world: World, verb: str, *words: str) -> str:
    """A command of ours for the same target."""
    connection = world.cloud.connection
    access = connection.chainguard
    given = {
        "project_id": connection.project_id,
        "organization": connection.organization if connection.target != "sandbox" else "",
        "chainguard_auth": access.auth,
        "chainguard_identity": access.identity,
        "chainguard_service_account": access.service_account,
    }
    target = [word for name, value in given.items() if value for word in ("-p", name, value)]
    return shlex.join(["cgrunbook", verb, "--target", connection.target, *target, *words])


def may_read(world: World, kept: World, secret_id: str) -> Finding:
    """Whether Artifact Registry's service agent may read a secret.

    Args:
        world: where Artifact Registry works: the agent is that of its project, wherever the secret is.
        kept: the project that the secret is in; the same world where it is this project's.
    """
    check, ours = _TITLES[Check.GRANT], kept.cloud is world.cloud
    member, keeper = "", kept.cloud
    held: tuple[Any, ...] = ()
    where = secret_id if ours else f"{secret_id} in the project {keeper.project.id}"
    try:
        policy = policy_of(world, secret_id) if ours else kept.policy(secret_id)
        if policy is None and ours:
            return Finding(Mark.NOT_CHECKED, check, f"{where} is not there yet; this plan would make it")
        if policy is None:
            raise NotFound(f"There is no secret {where}, or you may not see it.")
        member = service_agent(world, secret_id)
        held = policy.held(member, ACCESSOR)
        if role := policy.first_of(_READERS, member):
            return Finding(Mark.OK, check, f"{role} on {where}")
        in_project = kept.project_policy()
    except CgrunbookError as error:
        return conditional_grant(keeper, secret_id, member, held) if held else unknown(check, error)
    command = let_read_command(secret_id, keeper.project.id, member)
    remedy = f"{'Run 03_production_images again, or' if ours else 'Grant it'}: {command}"
    if who := next(
        (one for one in EVERYBODY if policy.first_of(_READERS, one) or in_project.first_of(_READERS, one)), ""
    ):
        seen = f"{who} may: everybody can read the pull token's password"
        return Finding(Mark.WARN, check, seen, remedy, reason="everybody")
    if role := in_project.first_of(_READERS, member):
        seen, helps = f"{role} on the whole project", "Grant it on the secret alone."
        return Finding(Mark.WARN, check, seen, helps, reason="in-project")
    if held:
        return conditional_grant(keeper, secret_id, member, held)
    seen = f"{member} has no {ACCESSOR} on {where}"
    if doubts := [way for one in (policy, in_project) for way in one.in_doubt(member, READ_SECRET, ACCESSOR)]:
        return Finding(Mark.NOT_CHECKED, check, f"{seen}; it may have its right through {'; '.join(doubts)}", remedy)
    why, reason = _why_not(member, policy)
    return Finding(Mark.FAIL, check, f"{seen}{why}: images that are not cached cannot be pulled", remedy, reason=reason)


def _why_not(member: str, policy: Policy) -> tuple[str, str]:
    """What else a secret's policy says of Artifact Registry's agents where this one has no role: words, and the reason's code."""
    own = _AGENT.search(member)
    for one in policy.bindings:
        for who, agent in ((who, _AGENT.search(who)) for who in one.members):
            if agent and own and agent[0] == own[0]:
                return f"; {who} is what is left of a grant to one that was deleted", "agent-gone"
            if agent:
                return f"; {who} has one, the agent of another project", "other-agent"
    return "", "missing"


def unknown(check: str, error: CgrunbookError) -> Finding:
    """A check that could not be made."""
    return Finding(Mark.NOT_CHECKED, check, error.message, error.remedy)


@dataclass(frozen=True)
class Judge:
    """What the checks of one target go by.

    Args:
        world: the project and the location.
        wanted: the checks that are made.
        used: the usernames of the repositories looked at.
        complete: whether these are all repositories there are.
        now: the time to count from.
    """

    world: World
    levels: Levels
    wanted: frozenset[Check]
    used: frozenset[str]
    complete: bool
    now: datetime

    def findings(self, seen: Seen) -> tuple[Finding, ...]:
        """One a check."""
        judged: Mapping[Check, Callable[[Seen], _Said | Finding]] = {
            Check.END: self._end,
            Check.TAKEN: self._taken,
            Check.PAIR: self._pair,
            Check.VERSION: self._version,
            Check.IDENTITY: self._identity,
            Check.GRANT: self._grant,
            Check.READERS: self._who_may_pull,
            Check.OTHERS: self._other_tokens,
            Check.PINNED: self._pinned,
            Check.SECRET: self._kept,
        }
        findings = []
        for check, judge in judged.items():
            if check in self.wanted:
                found = judge(seen)
                if not isinstance(found, Finding):
                    mark, said, remedy, *reason = found
                    found = Finding(mark, "", said, remedy if mark is not Mark.OK else "", reason="".join(reason))
                findings.append(replace(found, check=_TITLES[check], code=check.value))
        return tuple(findings)

    def _renew(self, seen: Seen) -> str:
        """The command that renews the token and goes the whole way; by hand where the secret is not this project's."""
        there = seen.repository
        if not seen.ours(self.world):
            version = (
                f"projects/{seen.project}/secrets/{seen.secret_id}/versions/NUMBER" if seen.secret_id else "VERSION"
            )
            return (
                f"Store a new pull token where {seen.place_in_words} is, and set username and version together: "
                f"{set_pair(there, 'USERNAME', version)}"
            )
        return self._rotate(seen)

    def _rotate(self, seen: Seen, *words: str) -> str:
        return self._command("rotate", *self._where(seen), *words)

    def _where(self, seen: Seen) -> list[str]:
        """The repository and the secret, as parameters of a command of ours."""
        there = seen.repository
        where = ["-p", "location", there.location, "-p", "private_repository", there.id]
        return where + (["-p", "secret_id", seen.secret_id] if seen.secret_id != Parameters().secret_id else [])

    def _command(self, verb: str, *words: str) -> str:
        """A command of ours for the same target."""
        return command_of_ours(self.world, verb, *words)

    def _end(self, seen: Seen) -> _Said:
        expires, told_by = seen.end
        if expires is None:
            if seen.malformed:
                said = f"{seen.place_in_words} is no pull token: its {seen.malformed.wrong}"
                return Mark.FAIL, said, self._renew(seen), seen.malformed.reason
            why = "" if seen.unread is None else f" {seen.unread.message}"
            remedy = seen.unread.remedy if seen.unread is not None else ""
            return Mark.NOT_CHECKED, f"not written down, and the token cannot be read.{why}", remedy
        left = expires - self.now
        mark, reason = self.levels.mark(left), "ended" if left <= timedelta(0) else "soon"
        said = f"{in_days(left)}: {at(expires)}, by {told_by}"
        return mark, said, self._renew(seen), "" if mark is Mark.OK else reason

    def _taken(self, seen: Seen) -> _Said:
        probe = seen.taken
        nobody = seen.nobody if isinstance(seen.nobody, TokenProbe) else None
        if probe is None:
            if seen.unread is None or isinstance(seen.unread, NotFound | WrongState):  # another check says which
                return Mark.NOT_CHECKED, "not tried at cgr.dev: there is no password to be had", ""
            return Mark.NOT_CHECKED, f"not tried at cgr.dev: {seen.unread.message}", seen.unread.remedy
        if isinstance(probe, CgrunbookError):
            return Mark.NOT_CHECKED, probe.message, probe.remedy
        if probe.granted:
            return Mark.OK, "cgr.dev takes the pair", ""
        said = f"{probe.status} {probe.code or probe.message}".strip()
        if probe.status not in _REFUSALS:
            return Mark.NOT_CHECKED, f"cgr.dev answers {said}, which says nothing of the pair", "Ask again later."
        compared = f"; without a pair it answers {nobody.status}" if nobody else ""
        return (
            Mark.FAIL,
            f"cgr.dev refuses the pair ({said}{compared}): no image that is not cached comes",
            self._renew(seen),
            "refused",
        )

    def _pair(self, seen: Seen) -> _Said:
        there, written, taken = seen.repository, seen.written, seen.granted
        if not there.username or not there.password_secret_version:
            lacking = "username" if not there.username else "password"
            return Mark.FAIL, f"it has no {lacking}", self._renew(seen), "incomplete"
        if not organization_of(there.username):
            said = f"{there.username!r} is no pull token's username: that is ORGANISATION_ID/TOKEN_ID, 40 and 16 hex digits"
            return Mark.FAIL, said, self._renew(seen), "form"
        if written and written.username == there.username:
            return Mark.OK, "they were written down together", ""
        version = seen.place_in_words
        if written and taken:
            return (
                Mark.WARN,
                f"cgr.dev takes them together, and written down for {version} is another username, {written.username}",
                seen.write_down(replace(written, username=there.username, expires=seen.end[0])),
                "unwritten",
            )
        if written:
            name = seen.version_name(written.version)
            return (
                Mark.FAIL,
                f"{version} is the password of {written.username}, and it signs in as {there.username}",
                f"Where that token still lives, set both together: {set_pair(there, written.username, name)}\n"
                f"Or renew it. {self._renew(seen)}",
                "mismatched",
            )
        if taken:
            return Mark.OK, "cgr.dev takes them together", ""
        if seen.token and seen.listed_token and not same_end(seen.listed_token.expires, seen.token.expires):
            return (
                Mark.FAIL,
                f"{version} ends at {at(seen.token.expires)}, and {there.username} at {at(seen.listed_token.expires)}: "
                "it is another token's password",
                self._renew(seen),
                "mismatched",
            )
        return Mark.NOT_CHECKED, "not written down, and cgr.dev has not taken them", self._renew(seen)

    def _version(self, seen: Seen) -> _Said:
        named = seen.place_in_words
        if isinstance(seen.place, CgrunbookError):
            return Mark.FAIL, seen.place.message, seen.place.remedy, "form"
        if isinstance(seen.value, Secret):
            return Mark.OK, named, ""
        if isinstance(seen.value, ApiDisabled) and self.world.cloud.project.has_off(seen.value):
            return Mark.FAIL, f"nobody can read it. {seen.value.message}", seen.value.remedy, "api-off"
        if isinstance(seen.version, CgrunbookError):
            return Mark.NOT_CHECKED, seen.version.message, seen.version.remedy
        if seen.version is None:
            return Mark.FAIL, f"{named} does not exist", self._renew(seen), "absent"
        if seen.version.enabled:
            return Mark.OK, f"{named}; you may not read it", ""
        enable = (
            f"If it should never work again: {self._renew(seen)}\nElse: gcloud secrets versions enable {seen.version.number} "
            f"--secret={seen.secret_id} --project={seen.project}"
        )
        remedy = enable if seen.version.state == "DISABLED" else self._renew(seen)
        said = f"{named} is {seen.version.state}: no image that is not cached comes"
        return Mark.FAIL, said, remedy, seen.version.state.lower()

    def _identity(self, seen: Seen) -> _Said:
        username, listed = seen.repository.username, seen.listed
        when = (
            f", last seen {at(token.last_seen)} (whether a pull counts is not documented)"
            if (token := seen.listed_token) and token.last_seen
            else ""
        )
        if seen.granted:
            return Mark.OK, f"{username}{when}", ""
        if token:
            return Mark.OK, f"{username} is there{when}", ""
        if problem := self._no_list(seen):
            return (Mark.NOT_CHECKED, *problem)
        return (
            Mark.FAIL,
            f"{username} is not among the {len(listed)} pull tokens of its organisation: it was revoked",
            self._renew(seen),
            "revoked",
        )

    def _grant(self, seen: Seen) -> _Said | Finding:
        if isinstance(seen.place, CgrunbookError):
            return Mark.NOT_CHECKED, seen.place.message, seen.place.remedy
        for error in (seen.grants, seen.number):
            if isinstance(error, CgrunbookError):
                return Mark.NOT_CHECKED, error.message, error.remedy
        if seen.grants is None:
            return Mark.FAIL, f"there is no secret {seen.place.secret_id}", self._renew(seen), "no-secret"
        found = may_read(self.world, seen.place.world, seen.place.secret_id)
        if found.reason != "agent-gone" or not seen.ours(self.world):
            return found
        made = (
            f"Make the agent, wait until IAM knows it, and grant it: {self._command('run', '03', *self._where(seen))}"
        )
        return replace(found, remedy=made)

    def _who_may_pull(self, seen: Seen) -> _Said:
        there = seen.repository
        if isinstance(seen.readers, PermissionMissing):
            connection = self.world.cloud.connection
            on = f"projects add-iam-policy-binding {connection.project_id}"
            review = grant_command(on, connection.caller, "roles/iam.securityReviewer")
            left_out = self._command("status", "--skip", Check.READERS)
            remedy = f"A role that reads policies and nothing else: {review}\nOr leave the check out: {left_out}"
            return Mark.NOT_CHECKED, seen.readers.message, remedy
        if isinstance(seen.readers, CgrunbookError):
            return Mark.NOT_CHECKED, seen.readers.message, seen.readers.remedy
        bindings = seen.readers.bindings if seen.readers else ()
        public = [(who, one) for one in bindings for who in one.members if who in EVERYBODY]
        if public:
            on = f"artifacts repositories remove-iam-policy-binding {there.id} {_where(there)}"
            remedy = "\n".join(take_command(on, who, one) for who, one in public if not one.condition)
            if any(one.condition for _, one in public):
                page = f"{CONSOLE}/artifacts?project={self.world.cloud.connection.project_id}"
                remedy += f"\ngcloud (528) does not see a repository's conditions: take it away in the console, {page}"
            said = "; ".join(f"{who} has {one}" for who, one in public)
            if all(one.condition for _, one in public):
                return Mark.WARN, f"EVERYBODY may, where a condition holds: {said}", remedy.strip(), "everybody"
            said = f"EVERYBODY may, your organisation's images are PUBLIC here: {said}"
            return Mark.FAIL, said, remedy, "everybody"
        named = sorted({who for one in bindings for who in one.members})
        if not named:
            return Mark.OK, "nobody is named on it; the project's own roles are not looked at", ""
        more = f" and {len(named) - 3} more" if len(named) > 3 else ""
        return Mark.OK, f"{', '.join(named[:3])}{more}, beside the project's own roles", ""

    def _no_list(self, seen: Seen) -> tuple[str, str] | None:
        """Why the list of tokens tells nothing; None where it does.

        Who may make tokens need not be allowed to list them, and gets an empty list then (Chainguard's API v1), so one that
        lacks a token that cgr.dev takes is not trusted.
        """
        listed = seen.told
        if isinstance(listed, CgrunbookError):
            return listed.message, listed.remedy
        organization = organization_of(seen.repository.username)
        login = seen.login if isinstance(seen.login, LoginState) else LoginState()
        if listed == () and not seen.granted and {*login.roles.values()} == {_OWNER}:
            return None  # who may see all, and sees none
        if listed is None or not any(organization_of(token.id) == organization for token in listed):
            return (
                "the list of the organisation's pull tokens is empty, or is another one's",
                "Who lists needs the capability identity.list there: chainctl auth pull-token list"
                + (f" --parent {organization}" if organization else ""),
            )
        if seen.granted and seen.listed_token is None:
            return "the list of the organisation's pull tokens lacks the one that is in use, so it is not whole", (
                "Who lists needs the capability identity.list in the organisation itself."
            )
        return None

    def others(self, seen: Seen) -> tuple[ListedToken, ...] | None:
        """Live tokens of ours for the same secret with which no repository that was looked at signs in; None for not known."""
        if isinstance(seen.place, CgrunbookError) or self._no_list(seen):
            return None
        written = {pair.username for pair in seen.pairs.values()}
        name = token_name(seen.place.world, seen.secret_id)
        return tuple(
            token
            for token in seen.listed
            if (token.id in written or token.name.startswith(name))
            and token.id not in self.used
            and (token.expires is None or token.expires > self.now)
        )

    def _other_tokens(self, seen: Seen) -> _Said:
        others = self.others(seen)
        if others is None:
            problem = self._no_list(seen) or ("the secret is not known", "")
            return (Mark.NOT_CHECKED, *problem)
        if not others:
            return Mark.OK, "none", ""
        known = {pair.username: pair for pair in seen.pairs.values()}

        def replaced(token: ListedToken) -> datetime | None:
            """When a rotation put a later one in its place."""
            version = known[token.id].version if token.id in known else math.inf
            return max((one.since for one in known.values() if one.since and one.version > version), default=None)

        def told(token: ListedToken) -> str:
            of = (
                f"of version {known[token.id].version}"
                if token.id in known
                else "whose password is nowhere written down"
            )
            said = [of, f"until {at(token.expires)}" if token.expires else "without an end that is told"]
            said += [f"replaced {at(since)}"] if (since := replaced(token)) else []
            said += [f"last seen {at(token.last_seen)}"] if token.last_seen else []
            return f"{token.id} ({', '.join(said)})"

        shown, more = others[:_SHOWN], len(others) - _SHOWN
        count = f"{len(others)} live" if len(others) > 1 else "1 lives"
        said = f"{count}: {'; '.join(map(told, shown))}{f'; and {more} more' if more > 0 else ''}"
        if all((since := replaced(token)) and self.now - since < _GRACE for token in others):
            return Mark.OK, f"{said}; the next rotation takes away what is replaced", ""
        if seen.ours(self.world):
            # It looks everywhere before it takes one away, and at when each was last seen.
            elsewhere = "" if self.complete else "Whether one of another location signs in with it, --all tells. "
            remedy = f"{elsewhere}To take away what nobody uses: {self._rotate(seen, '--if-days-left', '1')}"
        else:
            revoke = "\n".join(f"chainctl iam identities delete {token.id} --yes" for token in shown)
            remedy = f"Where nobody signs in with it any more:\n{revoke}"
        return Mark.WARN, said, remedy, "live"

    def _pinned(self, seen: Seen) -> _Said:
        if isinstance(seen.place, CgrunbookError):
            return Mark.NOT_CHECKED, seen.place.message, seen.place.remedy
        if seen.place.version.isdigit():
            return Mark.OK, "yes", ""
        named, number = seen.place.version, seen.version_number
        remedy = f"Set the number: {set_pair(seen.repository, seen.repository.username, seen.version_name(number))}"
        return (
            Mark.WARN,
            f"it follows versions/{named}{f', which is {number} now' if number else ''}: with the next version the password "
            "moves and the username stays",
            remedy if number else "Set a version by its number.",
            "latest",
        )

    def _kept(self, seen: Seen) -> _Said:
        for unseen in (seen.place, seen.secret):
            if isinstance(unseen, CgrunbookError):
                if seen.place is unseen or seen.ours(self.world):
                    return Mark.NOT_CHECKED, unseen.message, unseen.remedy
                here = f"Let it sign in with a secret of this project: {self._command('run', '03', *self._where(seen))}"
                return Mark.NOT_CHECKED, unseen.message, f"{unseen.remedy}\n{here}", "other-project"
        secret = seen.secret if isinstance(seen.secret, SecretResource) else None
        if secret is None:
            return Mark.FAIL, f"there is no secret {seen.secret_id}", self._renew(seen), "absent"
        if secret.expire_time is not None:
            mark = self.levels.mark(secret.expire_time - self.now)
            if mark is not Mark.OK:
                return (
                    mark,
                    f"Secret Manager deletes {seen.secret_id} at {at(secret.expire_time)}, with the password in it",
                    f"gcloud secrets update {seen.secret_id} --project={seen.project} --remove-expiration",
                    "expires",
                )
        if seen.ours(self.world):
            return Mark.OK, "it is", ""
        return (
            Mark.WARN,
            f"it is in the project {seen.project}: who may read it, and when it changes, is decided there",
            f"Where that is meant, leave this check out: {self._command('status', '--skip', 'secret')}",
            "other-project",
        )


def at(moment: datetime | None) -> str:
    """A time as it is said."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if moment else "an end that is not told"


def _where(there: RemoteRepository) -> str:
    return f"--location={there.location} --project={there.name.split('/')[1]}"


def set_pair(there: RemoteRepository, username: str, version: str) -> str:
    """Gcloud's command that sets username and password of a repository in one request."""
    return (
        f"gcloud artifacts repositories update {there.id} {_where(there)} --remote-username={username} "
        f"--remote-password-secret-version={version}"
    )
