"""The life of the pull token that a repository signs in with, from its end backwards: how it stands, in one reading.

It knows what is looked at, and changes nothing. Each side's answer is in token_sides.py, what it means in token_checks.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cgrunbook.cloud.iam_policy import Policy
from cgrunbook.steps.credential import at_chainguard
from cgrunbook.steps.step import Finding, Mark, World
from cgrunbook.steps.token_checks import Judge, Levels, worst
from cgrunbook.steps.token_sides import Asking, Check, Kept, Look, Seen

if TYPE_CHECKING:
    from cgrunbook.cloud.artifact_registry import RemoteRepository
    from cgrunbook.cloud.chainguard import ListedToken

# Questions under way at one time: about as many as connections are kept to a host.
_AT_ONCE = 10


@dataclass(frozen=True)
class TokenLife:
    """What one repository signs in with, and how it stands.

    Args:
        repository: as Artifact Registry has it.
        project: the project of the secret, as the version's name has it; "" where that has no form that is known.
        secret_id: the secret's id, "" as above.
        version: a number or what else the name ends with, "" as above.
        expires: when the token ends, None where nobody tells.
        told_by: who says so: "the token itself", "what was written down", "Chainguard"; "" where nobody does.
        last_seen: when Chainguard last saw the identity, None where it does not tell; whether a pull counts is not documented.
        readers: who has a role on the repository itself, each as `member role`; None where that cannot be seen.
        others: live tokens of ours for the same secret that none of the repositories looked at signs in with; None as above.
        findings: one a check, in the order of `Check`.
        at: when this was.
    """

    repository: RemoteRepository
    project: str
    secret_id: str
    version: str
    expires: datetime | None
    told_by: str
    last_seen: datetime | None
    readers: tuple[str, ...] | None
    others: tuple[ListedToken, ...] | None
    findings: tuple[Finding, ...]
    at: datetime

    @property
    def mark(self) -> Mark:
        """How it stands as a whole."""
        return worst(finding.mark for finding in self.findings)

    @property
    def left(self) -> timedelta | None:
        """How long the token will live, negative when it has ended; None where nobody tells."""
        return None if self.expires is None else self.expires - self.at

    def of(self, check: Check) -> Finding:
        """How one check came out."""
        return next(finding for finding in self.findings if finding.code == check)


def signs_in(repository: RemoteRepository) -> bool:
    """Whether a repository signs in at cgr.dev, with whatever."""
    return at_chainguard(repository) and bool(repository.username or repository.password_secret_version)


def token_lives(
    world: World,
    find: Callable[[], tuple[Sequence[RemoteRepository], bool]],
    *,
    levels: Levels,
    organization: str = "",
    without: Iterable[Check] = (),
    now: datetime | None = None,
) -> tuple[TokenLife, ...]:
    """Look at what repositories sign in with.

    Args:
        world: the project and the location.
        find: reads the repositories that sign in, and says whether these are all there are.
        levels: how many days left are too few.
        organization: whose tokens they are, where a username does not say it.
        without: what is not asked for.
        now: the time to count from.

    Raises:
        CgrunbookError: the repositories cannot be read.
    """
    wanted = frozenset(Check) - frozenset(without)
    with ThreadPoolExecutor(_AT_ONCE, "looks at a token") as pool:
        try:
            connection = world.cloud.connection
            # A command has to start, so it begins before all else; the API takes the id that a username has, without a search.
            known = "" if connection.chainguard.identity else organization or connection.organization
            look = Look(world, Asking(pool), known, wanted)
            repositories, complete = find()
            seen = look.at(repositories)
        except KeyboardInterrupt:
            world.cloud.attempts.cancelled.set()  # nobody waits for the other answers
            raise
    used = frozenset(there.username for there in repositories)
    judge = Judge(world, levels, wanted, used, complete, now or datetime.now(UTC))
    return tuple(_life(one, judge) for one in seen)


def _life(seen: Seen, judge: Judge) -> TokenLife:
    expires, told_by = seen.end
    listed, readers = seen.listed_token, seen.readers
    return TokenLife(
        seen.repository,
        *(seen.place.whole if isinstance(seen.place, Kept) else ("", "", "")),
        expires,
        told_by,
        listed.last_seen if listed else None,
        tuple(f"{who} {one}" for one in readers.bindings for who in one.members)
        if isinstance(readers, Policy)
        else None,
        judge.others(seen),
        judge.findings(seen),
        judge.now,
    )
