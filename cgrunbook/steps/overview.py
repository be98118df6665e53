"""A map of the steps: which of what the guide asks for is there already, and which notebook makes the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial

from cgrunbook.cloud.apis import ARTIFACT_REGISTRY, ENABLED_BY, SECRET_MANAGER, TITLES
from cgrunbook.cloud.roles import ACCESSOR
from cgrunbook.errors import ApiDisabled, CgrunbookError, WrongState
from cgrunbook.steps.credential import pair_in_use, version_of
from cgrunbook.steps.secret import conditional_grant, policy_of, service_agent
from cgrunbook.steps.step import Evidence, Finding, Link, Mark, Proof, Section, World
from cgrunbook.steps.token_checks import Levels, worst
from cgrunbook.steps.token_life import TokenLife, signs_in, token_lives
from cgrunbook.steps.token_sides import Check

_FIRST, _SECOND = ENABLED_BY[ARTIFACT_REGISTRY], ENABLED_BY[SECRET_MANAGER]

# What the line of the pull token tells, together.
_OF_THE_TOKEN = (Check.END, Check.VERSION, Check.TAKEN)


class ShowMap(Proof):
    """Show what exists of the guide's steps, and where to go for the rest.

    Args:
        repository: the one for developer images.
        private_repository: the one for production images.
    """

    section = Section.PREREQUISITES
    why = "Whoever comes back to it wants to know where they are."
    title = "See what is there"

    def __init__(self, repository: str, private_repository: str, secret_id: str) -> None:
        self.repository = repository
        self.private_repository = private_repository
        self.secret_id = secret_id

    def verify(self, world: World) -> Evidence:
        repositories = (self.repository, self.private_repository)
        world.at_once(
            partial(world.secret, self.secret_id), *(partial(world.repository, name) for name in repositories)
        )
        life = self._life(world)
        return Evidence(
            findings=(
                _api(world, ARTIFACT_REGISTRY, partial(world.repository, self.repository)),
                replace(self._repository(world, _FIRST, self.repository), code=Link.PUBLIC_REPOSITORY),
                _api(world, SECRET_MANAGER, partial(world.secret, self.secret_id)),
                _seen(
                    world, _SECOND, f"secret {self.secret_id}", lambda: "there" if world.secret(self.secret_id) else ""
                ),
                replace(
                    _seen(world, _SECOND, "service agent may read it", lambda: self._granted(world)), code=Link.GRANT
                ),
                replace(_seen(world, _SECOND, "pull token", lambda: self._token(world, life)), code=Link.PULL_TOKEN),
                replace(self._repository(world, _SECOND, self.private_repository), code=Link.PRIVATE_REPOSITORY),
                *(_amiss(life) if life else ()),
            )
        )

    def _life(self, world: World) -> TokenLife | None:
        """The life of the token in use; None where none is, or where the repository cannot be seen, which its own line says."""
        with suppress(CgrunbookError):
            there = world.repository(self.private_repository)
            if there and signs_in(there):
                # The grant has a line of its own.
                return token_lives(world, lambda: ([there], False), levels=Levels(), without=(Check.GRANT,))[0]
        return None

    def _repository(self, world: World, notebook: str, name: str) -> Finding:
        def look() -> str | Finding:
            there = world.repository(name)
            if there is None:
                return ""
            if not there.username:
                return f"open to all images that are public at {there.upstream}"
            seen, password = f"signs in at {there.upstream}", there.password_secret_version
            if version_of(world, self.secret_id, password) is not None:
                return seen
            return Finding(
                Mark.WARN,
                name,
                f"{seen} with {password}, not with the secret {self.secret_id}",
                f"See what {_SECOND} plans.",
            )

        return _seen(world, notebook, f"repository {name}", look)

    def _granted(self, world: World) -> str | Finding:
        policy = policy_of(world, self.secret_id) if world.secret(self.secret_id) else None
        member = service_agent(world, self.secret_id) if policy else ""
        granted = policy.held(member, ACCESSOR) if policy else ()
        if any(binding.condition for binding in granted):
            return conditional_grant(world.cloud, self.secret_id, member, granted)
        return "granted" if granted else ""

    def _token(self, world: World, life: TokenLife | None) -> str | Finding:
        if life is not None:
            parts = [life.of(check) for check in _OF_THE_TOKEN]
            amiss = [one for one in parts[1:] if one.mark is not Mark.OK][:1]  # what follows comes of it
            version = f"{life.secret_id}/versions/{life.version}, " if life.version else ""
            said = "; ".join((f"{version}{parts[0].seen}", *(one.seen for one in amiss)))
            remedy = next((one.remedy for one in (*amiss, parts[0]) if one.remedy), "")
            return Finding(_softened(worst(one.mark for one in parts)), "", said, remedy)
        pair = pair_in_use(world, self.secret_id, self.private_repository)
        if pair is None:
            return ""
        until = f"good until {pair.expires:%Y-%m-%d %H:%M} UTC" if pair.expires else "stored by somebody else"
        return f"version {pair.version}, {until}"


def _softened(mark: Mark) -> Mark:
    """A map that shows what is amiss has done its work."""
    return Mark.WARN if mark is Mark.FAIL else mark


def _amiss(life: TokenLife) -> Iterator[Finding]:
    """What else is to be said of the token: a line for each thing that is not well, one for all that could not be seen."""
    for one in life.findings:
        if one.code not in _OF_THE_TOKEN and one.mark not in (Mark.OK, Mark.NOT_CHECKED):
            yield replace(one, mark=_softened(one.mark), check=_part(_SECOND, one.check, "").check)
    unseen = [one for one in life.findings if one.code not in _OF_THE_TOKEN and one.mark is Mark.NOT_CHECKED]
    if unseen:
        said = "; ".join(f"{one.check}: {one.seen}" for one in unseen)
        remedy = "\n".join(dict.fromkeys(one.remedy for one in unseen if one.remedy))
        yield Finding(Mark.NOT_CHECKED, _part(_SECOND, "the pull token's other sides", "").check, said, remedy)


def _api(world: World, api: str, ask: Callable[[], object]) -> Finding:
    look = partial(world.cloud.project.is_on, api, ask)
    return _seen(world, ENABLED_BY[api], TITLES[api], lambda: "enabled" if look() else "")


def _seen(world: World, notebook: str, what: str, look: Callable[[], str | Finding]) -> Finding:
    """Something that a notebook makes, as it was seen; where its API is off, it is not there."""
    try:
        seen = look()
        if isinstance(seen, Finding):
            return replace(seen, check=_part(notebook, what, "").check)
        return _part(notebook, what, seen)
    except ApiDisabled as off:
        if not world.cloud.project.has_off(off):
            raise
        return _part(notebook, what, "")
    except WrongState as error:
        return Finding(Mark.WARN, _part(notebook, what, "").check, error.message, error.remedy)
    except CgrunbookError as error:
        return Finding(Mark.NOT_CHECKED, _part(notebook, what, "").check, error.message, error.remedy)


def _part(notebook: str, what: str, seen: str) -> Finding:
    """Something that a notebook makes, as it was seen; empty for what is not there."""
    check = f"{notebook[:2]}  {what}"
    if seen:
        return Finding(Mark.OK, check, seen)
    return Finding(Mark.TO_DO, check, "not there yet", f"Run {notebook}.")
