"""Who signs in at cgr.dev with a secret: the repositories of all locations, and of other projects as far as they can be read.

It finds them by reading: the repositories themselves name the secret, and the secret's policy names the projects whose
Artifact Registry may read it. It changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from cgrunbook.cloud import Cloud
from cgrunbook.cloud.artifact_registry import Everywhere, RemoteRepository
from cgrunbook.cloud.secret_manager import SecretResource, SecretVersion
from cgrunbook.errors import CgrunbookError, PrerequisiteMissing
from cgrunbook.steps.credential import at_chainguard, kept_in, number_of, split_version, version_of
from cgrunbook.steps.step import World
from cgrunbook.steps.token_pairs import Pair, pairs

_AGENT = re.compile(r"serviceAccount:service-(\d+)@gcp-sa-artifactregistry\.", re.IGNORECASE)


@dataclass(frozen=True)
class Member:
    """A repository that signs in with the secret.

    Args:
        cloud: its project and location.
        named: the version as it names it: "3", "latest".
        version: the number that this stands for now, 0 for none.
    """

    cloud: Cloud
    repository: RemoteRepository
    named: str
    version: int

    def __str__(self) -> str:
        """What it is called in a sentence."""
        return f"repository {self.repository.id} in {self.repository.location}"


@dataclass(frozen=True)
class SignIns:
    """A secret and who signs in with it.

    Args:
        keeper: the world of the project that the secret is in.
        versions: its versions by number.
        written: the pairs that are written down on it, by version.
        members: who signs in at cgr.dev with it, the target's own first.
        strangers: who has it for another registry, which is never shown a pull token.
        usernames: with what any repository that was read signs in, whatever its secret.
        unread: where it is not known whether somebody does, and why.
    """

    keeper: World
    secret: SecretResource
    versions: Mapping[int, SecretVersion]
    written: Mapping[int, Pair]
    members: tuple[Member, ...]
    strangers: tuple[Member, ...]
    usernames: frozenset[str]
    unread: Mapping[str, CgrunbookError]

    @property
    def id(self) -> str:
        """The secret's id."""
        return self.secret.id

    def pair_of(self, member: Member) -> Pair:
        """What a member signs in with; its end is known where the pair is written down as it stands there."""
        written = self.written.get(member.version)
        if written and written.username == member.repository.username:
            return written
        return Pair(member.repository.username, member.version, None)

    def replaced(self, pair: Pair) -> datetime | None:
        """Since when a later pair is in all repositories in the place of this one; None where none is."""
        later = (other.since for other in self.written.values() if other.since and other.version > pair.version)
        return min(later, default=None)


def read_sign_ins(world: World, repository: str, secret_id: str) -> SignIns:
    """Find the secret that a repository signs in with, or else the one that is named, and all who sign in with it.

    Raises:
        PrerequisiteMissing: there is no such secret.
    """
    world.at_once(world.repositories, partial(world.secret, secret_id), partial(world.versions, secret_id))
    listed = _listed(world, repository)
    keeper, here = world, _here(world, listed, repository)
    if here and here.password_secret_version:
        project, secret_id, _ = split_version(here.password_secret_version)
        keeper = kept_in(world, project, secret_id)
    secret = keeper.secret(secret_id)
    if secret is None:
        raise PrerequisiteMissing(
            f"There is no secret {secret_id} in project {keeper.cloud.project.id}, and so no pull token to be rotated.",
            "Run 03_production_images: it makes the secret, a pull token and the repository.",
        )
    versions = {version.number: version for version in keeper.versions(secret_id)}
    return _found(world, SignIns(keeper, secret, versions, pairs(secret), (), (), frozenset(), {}), listed, repository)


def read_again(world: World, before: SignIns, repository: str) -> SignIns:
    """Who signs in with a secret by now, the secret itself being as it was."""
    return _found(world, before, _listed(world, repository), repository)


def _found(world: World, secret: SignIns, listed: Everywhere, repository: str) -> SignIns:
    """Those among the repositories of this project and of others that sign in with a secret."""
    unread = {_place(world.cloud.project.id, where): error for where, error in listed.unread.items()}
    found = [(world.cloud, one) for one in listed.repositories]
    for cloud, everywhere in _elsewhere(world, secret.keeper, secret.id, unread):
        found += [(cloud, one) for one in everywhere.repositories]
        unread |= {_place(cloud.project.id, where): error for where, error in everywhere.unread.items()}
    members: list[Member] = []
    for cloud, one in found:
        named = version_of(secret.keeper, secret.id, one.password_secret_version) if one.username else None
        if named is not None:
            number = number_of(secret.secret, secret.versions, named)
            members.append(Member(_at(world.cloud, cloud, one.location), one, named, number))
    here = _here(world, listed, repository)
    members.sort(key=lambda member: member.repository is not here)
    usernames = frozenset(one.username for _, one in found if one.username)
    ours = tuple(one for one in members if at_chainguard(one.repository))
    strangers = tuple(one for one in members if one not in ours)
    return replace(secret, members=ours, strangers=strangers, usernames=usernames, unread=unread)


def _here(world: World, listed: Everywhere, repository: str) -> RemoteRepository | None:
    """The repository of that name in the target's own location."""
    location = world.cloud.connection.location
    return next((one for one in listed.repositories if (one.location, one.id) == (location, repository)), None)


def _listed(world: World, repository: str) -> Everywhere:
    """The repositories of all locations; the answer that all are in must have the one that is known to be there.

    Whoever may not list them still sees that one.
    """
    listed = world.repositories()
    if _here(world, listed, repository):
        return listed
    there = world.repository(repository)
    if there is None:
        return listed
    listed = world.everywhere()
    return listed if _here(world, listed, repository) else replace(listed, repositories=(*listed.repositories, there))


def _elsewhere(
    world: World, keeper: World, secret_id: str, unread: dict[str, CgrunbookError]
) -> Iterator[tuple[Cloud, Everywhere]]:
    """The repositories of the secret's own project, and of those whose Artifact Registry may read it."""
    elsewhere = [keeper.cloud] if keeper.cloud is not world.cloud else []
    try:
        policy = keeper.policy(secret_id)
        named = {member for binding in (policy.bindings if policy else ()) for member in binding.members}
        numbers = sorted({match[1] for match in map(_AGENT.match, named) if match})
        others = [one for one in numbers if not any(w.cloud.project.named(one) for w in (world, keeper))]
        elsewhere += map(world.cloud.of_project, others)
    except CgrunbookError as error:
        unread["projects whose Artifact Registry may read the secret"] = error
    for cloud in elsewhere:
        try:
            yield cloud, cloud.repositories.list_at_once()
        except CgrunbookError as error:
            unread[_place(cloud.project.id, "")] = error


def _at(own: Cloud, cloud: Cloud, location: str) -> Cloud:
    """A project's cloud in a location; of another project only its repositories are asked for, not its registry."""
    if cloud is own:
        return own.in_location(location)
    return Cloud(replace(cloud.connection, location=location), cloud.attempts)


def _place(project: str, location: str) -> str:
    return f"{location or 'all locations'} of {project}"
