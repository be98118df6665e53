"""How the pull tokens stand: of one target's repository, or of all in the project that sign in at cgr.dev; and the verdict.

It knows which repositories are meant and what the findings add up to. What is looked at of each is in `steps/token_life.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cgrunbook.errors import CgrunbookError, ExitCode, PrerequisiteMissing
from cgrunbook.steps.step import Mark, World
from cgrunbook.steps.token_checks import Levels, worst
from cgrunbook.steps.token_life import TokenLife, signs_in, token_lives
from cgrunbook.steps.token_sides import Check

if TYPE_CHECKING:
    from cgrunbook.cloud.artifact_registry import RemoteRepository


@dataclass(frozen=True)
class Status:
    """What was seen.

    Args:
        lives: one a repository.
        unread: the error of each location that could not be read; under "" where not even the locations could.
        left_out: the checks that were not asked for.
        at: when.
    """

    lives: tuple[TokenLife, ...]
    levels: Levels
    unread: Mapping[str, CgrunbookError] = field(default_factory=dict)
    left_out: tuple[Check, ...] = ()
    at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def mark(self) -> Mark:
        """How all of it stands."""
        return worst([*(life.mark for life in self.lives), *(Mark.NOT_CHECKED for _ in self.unread)])

    @property
    def exit_code(self) -> ExitCode:
        """What the command line ends with: something is to be done, not all could be looked at, or neither."""
        codes = {Mark.OK: ExitCode.DONE, Mark.NOT_CHECKED: ExitCode.NOT_ALL}
        return codes.get(self.mark, ExitCode.TO_DO)

    def as_json(self) -> dict[str, Any]:
        """All of it as plain data; nothing secret is in it."""
        return {
            "at": self.at.isoformat(timespec="seconds"),
            "exit_code": int(self.exit_code),
            "means": self.exit_code.means,
            "mark": self.mark.value,
            "levels": asdict(self.levels),
            "left_out": [check.value for check in self.left_out],
            "repositories": [_as_json(life) for life in self.lives],
            "not_read": [
                {"location": place, "why": error.message, "remedy": error.remedy}
                for place, error in self.unread.items()
            ],
        }


def status_of(
    world: World,
    repository: str,
    *,
    everything: bool = False,
    levels: Levels | None = None,
    organization: str = "",
    without: Iterable[Check] = (),
    now: datetime | None = None,
) -> Status:
    """Look.

    Args:
        world: the target.
        repository: the one in the target's location that is meant.
        everything: look at all repositories of the project that sign in at cgr.dev, of whichever location, instead.
        levels: how many days left are too few.
        organization: whose tokens they are, where a username does not say it.
        without: the checks that are not asked for.
        now: the time to count from.

    Raises:
        PrerequisiteMissing: there is no such repository, or none that signs in; or ApiDisabled, PermissionMissing ...
    """
    levels, without, now = levels or Levels(), tuple(without), now or datetime.now(UTC)
    unread: dict[str, CgrunbookError] = {}

    def find() -> tuple[list[RemoteRepository], bool]:
        if not everything:
            return [_the_one(world, repository)], False
        there = world.everywhere()
        unread.update(there.unread)
        if not there.repositories and (first := there.unread.get("")):
            raise first
        return [one for one in there.repositories if signs_in(one)], not there.unread

    lives = token_lives(world, find, levels=levels, organization=organization, without=without, now=now)
    if everything and not lives and not unread:
        raise PrerequisiteMissing(
            f"No repository of the project {world.cloud.project.id} signs in at cgr.dev.",
            "Run 03_production_images: it makes one.",
        )
    return Status(lives, levels, unread, without, now)


def _the_one(world: World, name: str) -> RemoteRepository:
    place = f"in {world.cloud.connection.location} of the project {world.cloud.project.id}"
    there = world.repository(name)
    if there is None:
        raise PrerequisiteMissing(
            f"There is no repository {name} {place}.",
            "Name another with -p private_repository NAME or -p location LOCATION, or look at all: cgrunbook status --all. "
            "03_production_images makes one.",
        )
    if not signs_in(there):
        raise PrerequisiteMissing(
            f"The repository {name} {place} does not sign in at cgr.dev: it holds no pull token.",
            "Name another with -p private_repository NAME, or look at all that do: cgrunbook status --all",
        )
    return there


def _as_json(life: TokenLife) -> dict[str, Any]:
    there, left = life.repository, life.left
    return {
        "repository": there.id,
        "location": there.location,
        "name": there.name,
        "mark": life.mark.value,
        "username": there.username,
        "secret_project": life.project,
        "secret": life.secret_id,
        "version": life.version,
        "expires": life.expires.isoformat(timespec="seconds") if life.expires else None,
        "expires_told_by": life.told_by,
        "days_left": None if left is None else round(left.total_seconds() / 86400, 2),
        "last_seen": life.last_seen.isoformat(timespec="seconds") if life.last_seen else None,
        "readers": None if life.readers is None else list(life.readers),
        "other_tokens": None
        if life.others is None
        else [
            {
                "id": token.id,
                "name": token.name,
                "expires": token.expires.isoformat(timespec="seconds") if token.expires else None,
                "last_seen": token.last_seen.isoformat(timespec="seconds") if token.last_seen else None,
            }
            for token in life.others
        ],
        "findings": [
            {
                "code": finding.code,
                "mark": finding.mark.value,
                "check": finding.check,
                "seen": finding.seen,
                "remedy": finding.remedy,
            }
            for finding in life.findings
        ],
    }
