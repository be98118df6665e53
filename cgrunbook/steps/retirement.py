"""Taking away the pull tokens that later ones have replaced: version disabled and destroyed, identity revoked.

It knows when that is safe: nobody who can be seen signs in with it, its grace is over, and Chainguard has not seen it since.
What is not known is taken for a no. What cgrunbook did not make it leaves alone, and says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cgrunbook.cloud.chainguard import ListedToken
from cgrunbook.cloud.secret_manager import SecretResource
from cgrunbook.errors import CgrunbookError, PermissionMissing
from cgrunbook.steps import token_pairs
from cgrunbook.steps.pull_token import orphans
from cgrunbook.steps.sign_ins import SignIns
from cgrunbook.steps.step import Finding, Mark, Progress, World
from cgrunbook.steps.token_pairs import Pair

_CHECK = "the replaced pull token"


@dataclass(frozen=True)
class Retirement:
    """A token that goes, with the version that holds its password; 0 for one whose password nobody has."""

    username: str
    version: int = 0


@dataclass(frozen=True)
class Replaced:
    """How the tokens stand that are not in use any more.

    Args:
        due: what may go now.
        later: when the last grace is over of those that must wait; None where none waits.
        findings: what stays, and why.
    """

    due: tuple[Retirement, ...]
    later: datetime | None
    findings: tuple[Finding, ...]


def list_tokens(world: World, organization: str) -> Mapping[str, ListedToken] | None:
    """An organisation's pull tokens by id; None where they cannot be listed."""
    try:
        return {token.id: token for token in world.pull_tokens(organization)}
    except CgrunbookError:
        return None


def replaced(
    found: SignIns, tokens: Mapping[str, ListedToken] | None, current: int, grace: timedelta, *, minted: str = ""
) -> Replaced:
    """Find out which tokens are replaced, which of them may go, and which stay for what reason.

    Args:
        tokens: as of `list_tokens`.
        current: the version that is in use, or will be; it and what came after it stays.
        grace: how long a token stays after a later one was proved.
        minted: a username that a list must contain, or nothing is concluded from what it does not contain.
    """
    now, due, waits, findings = datetime.now(UTC), [], [], []
    listed = tokens if tokens is not None and (not minted or minted in tokens) else None
    held = {member.version: member for member in (*found.strangers, *found.members)}
    for pair in found.written.values():
        since = found.replaced(pair)
        if pair.version == current or (since is None and not pair.ended(now)):
            continue
        if pair.version in held:
            stays = f"{held[pair.version]} still signs in with it"
            findings.append(
                _stays(pair, Mark.WARN, stays, "Run cgrunbook rotate: it moves each repository of cgr.dev.")
            )
        elif pair.username in found.usernames:
            stays = "a repository signs in with it by a copy of its password in another secret"
            findings.append(_stays(pair, Mark.WARN, stays, "Let it sign in with this secret, then run again."))
        elif since is None or pair.ended(now):
            due.append(Retirement(pair.username, pair.version))
        elif found.unread:
            where, error = next(iter(found.unread.items()))
            stays = f"whether a repository signs in with it cannot be seen ({where}): {error.message}"
            findings.append(_stays(pair, Mark.NOT_CHECKED, stays, error.remedy))
        else:
            token = tokens.get(pair.username) if tokens else None
            seen = token.last_seen if token else None
            ends = max(since, seen or since) + grace
            if seen and seen > since + grace:
                stays = f"it is not revoked: Chainguard saw it on {seen:%Y-%m-%d %H:%M:%S} UTC, after it was replaced"
                findings.append(_stays(pair, Mark.WARN, stays, _somebody(pair)))
            elif ends > now:
                waits.append(ends)
                stays = f"it lives until {ends:%Y-%m-%d %H:%M} UTC, for pulls in flight"
                findings.append(_stays(pair, Mark.TO_DO, stays, "The next rotation takes it away, or before one "
                "is due: cgrunbook rotate --if-days-left 7"))  # fmt: skip
            else:
                due.append(Retirement(pair.username, pair.version))
    due += map(Retirement, _orphans(found, listed))
    return Replaced(tuple(due), max(waits, default=None), (*findings, *_of_others(found, current)))


def _orphans(found: SignIns, tokens: Mapping[str, ListedToken] | None) -> list[str]:
    if tokens is None or found.unread:
        return []
    return orphans(found.keeper, found.secret, list(tokens.values()), lambda: set(found.usernames))


def _of_others(found: SignIns, current: int) -> Iterator[Finding]:
    """The versions that hold something of which nobody wrote down what."""
    for number, version in sorted(found.versions.items()):
        if version.enabled and number != current and number not in found.written:
            yield Finding(
                Mark.WARN,
                f"version {number} of the secret",
                "somebody else has stored it: it stays, and so does the pull token whose password it may be",
                f"If nobody needs it: gcloud secrets versions destroy {number} --secret={found.id} "
                f"--project={found.keeper.cloud.project.id}",
            )


def _stays(pair: Pair, mark: Mark, why: str, remedy: str) -> Finding:
    return Finding(mark, f"{_CHECK} in version {pair.version}", why, remedy)


def _somebody(pair: Pair) -> str:
    return (
        "Somebody else may hold a copy of it: find out who. Chainguard does not say whether each pull counts as seen. To revoke "
        f"it all the same: chainctl iam identities delete {pair.username} --yes"
    )


def retire(
    world: World, found: SignIns, due: tuple[Retirement, ...], organization: str
) -> tuple[list[Retirement], list[Finding]]:
    """Take tokens away: each version disabled, its identity revoked, then destroyed; killed anywhere, it can be done again.

    What is written down of them is still to be taken from the secret: as long as it stands there, the next run goes on.

    Returns:
        Those that are gone, and what is to be said of the others.
    """
    gone, findings = [], []
    secrets = found.keeper.cloud.secrets
    for one in due:
        world.progress(Progress(f"revoking the pull token {one.username}"))
        there = found.versions.get(one.version)
        if there is not None and there.enabled:
            secrets.disable(found.id, one.version)
        try:
            world.cloud.chainguard.revoke(one.username, organization)
            gone.append(one)
        except PermissionMissing as error:
            findings.append(Finding(Mark.WARN, _CHECK, f"{one.username} lives on: {error.message}", error.remedy))
        if there is not None and there.state != "DESTROYED":
            secrets.destroy(found.id, one.version, there=True)
    return gone, findings


def forgotten(found: SignIns, gone: list[Retirement]) -> SecretResource:
    """The secret with nothing written down of what is gone."""
    return token_pairs.without_pairs(found.secret, [one.version for one in gone])
