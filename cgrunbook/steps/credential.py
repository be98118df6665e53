"""With what a repository signs in at cgr.dev: the pair that is current, and whether its password is a pull token.

It knows how repository, secret and version fit together. It makes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial

from cgrunbook.cloud import Cloud
from cgrunbook.cloud.artifact_registry import RemoteRepository
from cgrunbook.cloud.pull_token import PullToken
from cgrunbook.cloud.secret_manager import SecretResource, SecretVersion
from cgrunbook.errors import (
    ApiDisabled,
    CgrunbookError,
    InvalidRequest,
    MalformedToken,
    PermissionMissing,
    UpstreamCredentialsRefused,
    WrongState,
)
from cgrunbook.steps.step import World
from cgrunbook.steps.token_pairs import Pair, pairs

_SECRET_VERSION = re.compile(r"projects/(?P<project>[^/]+)/secrets/(?P<secret>[^/]+)/versions/(?P<version>[^/]+)")

_RESOURCE = re.compile(r"projects/([^/]+)/(.+)")


def expected_pair(secret_id: str) -> str:
    """How a plan names the pair that a step before would have stored."""
    return f"pull token in {secret_id}"


def at_chainguard(repository: RemoteRepository) -> bool:
    """Whether what is behind a repository is cgr.dev."""
    return repository.upstream.partition("://")[2].partition("/")[0] == "cgr.dev"


def split_version(name: str) -> tuple[str, str, str]:
    """Project, secret id and version of a secret version's full name.

    Raises:
        InvalidRequest: the name has another form.
    """
    match = _SECRET_VERSION.fullmatch(name)
    if match is None:
        raise InvalidRequest(
            f"{name!r} is no secret version of the form projects/P/secrets/S/versions/V.",
            "Set the repository's password to a version of a global secret.",
        )
    return match["project"], match["secret"], match["version"]


def own_project(world: World, project: str) -> bool:
    """Whether a project in a resource's name is the world's own: services write its number where they were given its id."""
    try:
        return world.cloud.project.named(project)
    except (ApiDisabled, PermissionMissing):
        return True  # so that in doubt nothing is taken away from whatever bears the name


def kept_in(world: World, project: str, secret_id: str) -> World:
    """The project that a secret's name names, to ask there; this one also by its number, another one as it is named."""
    cloud = world.cloud
    if project.isdigit():
        learn_number(world, secret_id)
        with suppress(ApiDisabled, PermissionMissing):
            project = cloud.project.id if cloud.project.named(project) else project
    return world if project == cloud.project.id else world.in_project(project)


def learn_number(world: World, secret_id: str) -> None:
    """Have a secret of the project tell its number, which whoever works here need not be allowed to ask for."""
    if not world.cloud.project.number_is_known:
        with suppress(CgrunbookError):
            world.secret(secret_id)


def same_name(world: World, one: str, other: str) -> bool:
    """Whether two full names mean one resource, the number of this project being as good as its id."""
    first, second = _RESOURCE.fullmatch(one), _RESOURCE.fullmatch(other)
    if one == other or not first or not second:
        return one == other
    return first[2] == second[2] and own_project(world, first[1]) and own_project(world, second[1])


def by_id(world: World, name: str) -> str:
    """A secret version's name with the project's id, where it may be this project's: services answer with its number."""
    match = _SECRET_VERSION.fullmatch(name)
    if match is None or not own_project(world, match["project"]):
        return name
    return world.cloud.secrets.version_name(match["secret"], match["version"])


def version_of(world: World, secret_id: str, name: str) -> str | None:
    """Which version of a secret of this project a full name means, "1" or "latest" say; None when it means no version of it."""
    match = _SECRET_VERSION.fullmatch(name)
    ours = match and match["secret"] == secret_id and own_project(world, match["project"])
    return match["version"] if match and ours else None


def number_of(secret: SecretResource, versions: Collection[int], named: str) -> int:
    """The number that a version's name stands for now, "3", "latest" or an alias; 0 for none."""
    return int(named) if named.isdecimal() else {**secret.aliases, "latest": max(versions, default=0)}.get(named, 0)


def pair_in_use(world: World, secret_id: str, repository: str) -> Pair | None:
    """The pair that is current: the one that the repository has, or else the newest that is stored and written down.

    Args:
        repository: the remote repository that signs in with it.

    Returns:
        The pair; None when there is none, or only one whose password is destroyed or whose time is over.

    Raises:
        WrongState: the version in use is disabled: somebody meant to stop it, and nothing is made in its place.
    """
    world.at_once(
        partial(world.secret, secret_id), partial(world.versions, secret_id), partial(world.repository, repository)
    )
    secret = world.secret(secret_id)
    if secret is None:
        return None
    versions = {version.number: version for version in world.versions(secret_id)}
    written = pairs(secret)
    now = datetime.now(UTC)

    def good(pair: Pair) -> bool:
        return pair.version in versions and versions[pair.version].enabled and not pair.ended(now)

    pair = _pair_of_repository(world, secret, repository, versions, written)
    if pair and pair.version in versions and versions[pair.version].state == "DISABLED":
        project = world.cloud.connection.project_id
        raise WrongState(
            f"Version {pair.version} of the secret {secret_id}, which {repository} uses, is disabled.",
            f"If it should work again: gcloud secrets versions enable {pair.version} --secret={secret_id} "
            f"--project={project}\nIf it should never again: destroy it (`destroy` in the place of `enable`) and run again; "
            "a new pull token is made then.",
            code="secret-version/disabled",
        )
    if pair and good(pair):
        return pair
    return next((other for _, other in sorted(written.items(), reverse=True) if good(other)), None)


def _pair_of_repository(
    world: World,
    secret: SecretResource,
    repository: str,
    versions: Mapping[int, SecretVersion],
    written: Mapping[int, Pair],
) -> Pair | None:
    """What the repository is set to, also when the operator did it by hand and nothing is written down."""
    there = world.repository(repository)
    if there is None or not there.username or not there.password_secret_version:
        return None
    split_version(there.password_secret_version)  # refused where it has no form that is known
    version = version_of(world, secret.id, there.password_secret_version)
    if version is None:
        return None
    number = number_of(secret, versions, version)
    # Where both are known, the version's own username is right: with another one its password is worth nothing.
    return written.get(number) or Pair(there.username, number, None)


def stored_token(world: World, there: Cloud, username: str, secret_id: str, version: str) -> PullToken:
    """Read what a repository signs in with, and look whether it is a pull token at all.

    Args:
        there: where it is, see `kept_in`.

    Raises:
        UpstreamCredentialsRefused: the value is no pull token, or one whose time is over.
        PermissionMissing: the caller may not read the value.
        WrongState: the version is disabled or destroyed.
    """
    try:
        token = PullToken.checked(username, there.secrets.access(secret_id, version))
    except MalformedToken as error:
        # The error speaks of what chainctl prints; this may have been stored by anybody.
        raise UpstreamCredentialsRefused(
            f"Version {version} of the secret {secret_id}, with the username {username!r}, is no pull token: "
            f"its {error.wrong}.",
            renewal(world, there, secret_id, version),
            code=f"token-end/{error.reason}",
        ) from error
    if token.expired(datetime.now(UTC)):
        raise UpstreamCredentialsRefused(
            f"The pull token in version {version} of the secret {secret_id} ended at {token.expires:%Y-%m-%d %H:%M} UTC.",
            renewal(world, there, secret_id, version),
            code="token-end/ended",
        )
    return token


def renewal(world: World, there: Cloud, secret_id: str, version: str) -> str:
    """What to do about a pull token that is no good; arguments as of `stored_token`."""
    if there is not world.cloud:
        return (
            f"Store a new pull token in the secret {secret_id} of the project {there.project.id}, and set username and "
            "version in the repository together. Or run 03_production_images: it makes a secret of this project and a pull "
            "token in it, lets the repository sign in with these, and leaves the other secret as it is."
        )
    found = None if version.isdigit() else there.secrets.version(secret_id, version)
    number = found.number if found else version
    return (
        f"Destroy it: gcloud secrets versions destroy {number} --secret={secret_id} "
        f"--project={world.cloud.connection.project_id}\nThen run 03_production_images: it takes a good one or makes a new "
        "one, and sets username and password together."
    )
