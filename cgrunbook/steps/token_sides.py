"""What each side tells of the token that a repository signs in with: the repository, the secret, Chainguard, cgr.dev.

It asks all of them at once and nothing twice. What the answers mean is in token_checks.py; no value is kept when it ends.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from cgrunbook.cloud.iam_policy import Policy
from cgrunbook.cloud.pull_token import PullToken
from cgrunbook.cloud.registry import BasicCredentials, TokenProbe
from cgrunbook.errors import CgrunbookError, MalformedToken
from cgrunbook.redaction import Secret
from cgrunbook.steps.credential import kept_in, split_version
from cgrunbook.steps.step import World
from cgrunbook.steps.token_pairs import (
    VERSION_ANNOTATION,
    Pair,
    as_gcloud_takes_them,
    organization_of,
    pairs,
    same_end,
    written,
)

if TYPE_CHECKING:
    from cgrunbook.cloud.artifact_registry import RemoteRepository
    from cgrunbook.cloud.chainguard import ListedToken, LoginState
    from cgrunbook.cloud.secret_manager import SecretResource, SecretVersion

T = TypeVar("T")

# A username in the right form, for whoever wants to know of a password alone whether it is a pull token's.
_ANYBODY = f"{'0' * 40}/{'0' * 16}"


class Check(StrEnum):
    """What is looked at of each repository: the codes of the findings, in the order in which they matter."""

    END = "token-end"
    TAKEN = "cgr-dev"
    PAIR = "pair"
    VERSION = "secret-version"
    IDENTITY = "identity"
    GRANT = "grant"
    READERS = "readers"
    OTHERS = "other-tokens"
    PINNED = "pinned-version"
    SECRET = "secret"  # noqa: S105 - the name of a check


@dataclass(frozen=True)
class Kept:
    """Where a repository's password is.

    Args:
        project: as the version's name has it.
        world: that project.
    """

    project: str
    world: World
    secret_id: str
    version: str

    @property
    def secret(self) -> tuple[str, str]:
        """What tells secrets apart."""
        return self.project, self.secret_id

    @property
    def whole(self) -> tuple[str, str, str]:
        """What tells versions apart."""
        return self.project, self.secret_id, self.version


@dataclass(frozen=True)
class Seen:
    """What the answers say of one repository; each may be the error that came of the question, or None.

    Args:
        place: where its password is.
        told: the organisation's pull tokens.
        readers: who has which role on the repository itself.
        accessed: the number of the version whose value was read, 0 for none.
        version: None where its value was read, or where there is no such version.
        grants: who has which role on the secret.
        number: this project's, asked for where the secret is another's.
        taken: what cgr.dev said to the pair; None where it was not shown.
        nobody: what cgr.dev said to who shows nothing, asked where it refused the pair.
        login: whom Chainguard takes the caller for, asked where its list is empty.
    """

    repository: RemoteRepository
    place: Kept | CgrunbookError
    value: Secret | CgrunbookError
    told: tuple[ListedToken, ...] | CgrunbookError | None
    readers: Policy | CgrunbookError | None
    accessed: int = 0
    secret: SecretResource | CgrunbookError | None = None
    version: SecretVersion | CgrunbookError | None = None
    grants: Policy | CgrunbookError | None = None
    number: str | CgrunbookError | None = None
    taken: TokenProbe | CgrunbookError | None = None
    nobody: TokenProbe | CgrunbookError | None = None
    login: LoginState | CgrunbookError | None = None

    @property
    def project(self) -> str:
        """The project of the secret, as commands take it."""
        return self.place.world.cloud.project.id if isinstance(self.place, Kept) else ""

    @property
    def secret_id(self) -> str:
        return self.place.secret_id if isinstance(self.place, Kept) else ""

    @property
    def place_in_words(self) -> str:
        place = self.place
        return f"{place.secret_id}/versions/{place.version}" if isinstance(place, Kept) else "its password"

    def ours(self, world: World) -> bool:
        return isinstance(self.place, Kept) and self.place.world is world

    def version_name(self, number: int) -> str:
        return f"projects/{self.project}/secrets/{self.secret_id}/versions/{number}"

    def write_down(self, pair: Pair) -> str:
        """Gcloud's command that writes a pair down; for all its name says, it (528) replaces them all by those given."""
        there = {} if self.secret is None or isinstance(self.secret, CgrunbookError) else self.secret.annotations
        name = f"{VERSION_ANNOTATION}{pair.version}"
        kept = as_gcloud_takes_them({key: value for key, value in there.items() if key != name})
        new = shlex.quote(f"{name}={written(pair)}")
        return f"gcloud secrets update {self.secret_id} --project={self.project} --update-annotations={kept}{new}"

    @property
    def granted(self) -> bool:
        """Whether cgr.dev has taken the pair."""
        return isinstance(self.taken, TokenProbe) and self.taken.granted

    @property
    def unread(self) -> CgrunbookError | None:
        """Why the value could not be read."""
        return self.value if isinstance(self.value, CgrunbookError) else None

    @property
    def _read(self) -> PullToken | MalformedToken | None:
        if not isinstance(self.value, Secret):
            return None
        try:
            return PullToken.checked(_ANYBODY, self.value)
        except MalformedToken as error:
            return error

    @property
    def token(self) -> PullToken | None:
        """The token, as far as its value tells: the username is not its own."""
        found = self._read
        return found if isinstance(found, PullToken) else None

    @property
    def malformed(self) -> MalformedToken | None:
        """What keeps the value from being a pull token."""
        found = self._read
        return found if isinstance(found, MalformedToken) else None

    @property
    def version_number(self) -> int:
        """The version's number, 0 where it is not known."""
        if not isinstance(self.place, Kept):
            return 0
        if self.place.version.isdigit():
            return int(self.place.version)
        found = self.version
        return self.accessed if found is None or isinstance(found, CgrunbookError) else found.number

    @property
    def pairs(self) -> Mapping[int, Pair]:
        """What is written down on the secret."""
        return {} if self.secret is None or isinstance(self.secret, CgrunbookError) else pairs(self.secret)

    @property
    def written(self) -> Pair | None:
        """What is written down of the version."""
        return self.pairs.get(self.version_number)

    @property
    def listed(self) -> tuple[ListedToken, ...]:
        return self.told if isinstance(self.told, tuple) else ()

    @property
    def listed_token(self) -> ListedToken | None:
        """The token as Chainguard lists it."""
        return next((token for token in self.listed if token.id == self.repository.username), None)

    @property
    def end(self) -> tuple[datetime | None, str]:
        """When the token ends, and who says so; where the identity ends before its token, that counts."""
        listed = self.listed_token.expires if self.listed_token else None
        if self.malformed:
            return None, ""
        if self.token is not None:
            sooner = listed is not None and listed < self.token.expires and not same_end(listed, self.token.expires)
            return (listed, "Chainguard") if sooner and self.granted else (self.token.expires, "the token itself")
        if self.written and self.written.expires:
            return self.written.expires, "what was written down"
        return (listed, "Chainguard") if listed else (None, "")


class Asking:
    """Questions that are on their way at the same time, each once; the answer may be the error that came of it."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool
        self._asked: dict[Hashable, Future[Any]] = {}

    def begin(self, about: Hashable, ask: Callable[[], object]) -> None:
        """Ask, unless that is under way or known."""
        if about not in self._asked:
            self._asked[about] = self._pool.submit(attempted, ask)

    def answer(self, about: Hashable) -> Any:
        """What came back, waited for; None for what was never asked."""
        return self._asked[about].result() if about in self._asked else None


def attempted(ask: Callable[[], T]) -> T | CgrunbookError:
    """What came back, or the error."""
    try:
        return ask()
    except CgrunbookError as error:
        return error


class Look:
    """One look at some repositories.

    Args:
        world: the project and the location.
        asking: asks.
        organization: whose tokens they are, where a username does not say it.
        wanted: what is asked for.
    """

    def __init__(self, world: World, asking: Asking, organization: str, wanted: frozenset[Check]) -> None:
        self.world = world
        self._asking = asking
        self._organization = organization
        self._wanted = wanted
        self._begin_tokens(organization)  # a command that has to start, so it begins first

    def at(self, repositories: Sequence[RemoteRepository]) -> tuple[Seen, ...]:
        """Ask for all of it, and say what came back."""
        places = [attempted(partial(self._place, there)) for there in repositories]
        for there, place in zip(repositories, places, strict=True):
            if not self._organization:
                self._begin_tokens(organization_of(there.username))
            if Check.READERS in self._wanted:
                self._asking.begin(("readers", there.name), partial(self.world.repository_policy, there.name))
            if isinstance(place, Kept):
                self._begin_secret(place)
        for there, place in zip(repositories, places, strict=True):
            if isinstance(place, Kept):
                self._begin_what_follows(there.username, place)
        return tuple(self._seen(*both) for both in zip(repositories, places, strict=True))

    def _begin_secret(self, place: Kept) -> None:
        """Ask for the value, for what is written down of it, and for who may read it."""
        secrets, begin = place.world.cloud.secrets, self._asking.begin
        begin(("value", place.whole), partial(secrets.access_numbered, place.secret_id, place.version))
        begin(("secret", place.secret), partial(place.world.secret, place.secret_id))
        if Check.GRANT in self._wanted:
            begin(("policy", place.secret), partial(place.world.policy, place.secret_id))
            if place.world is not self.world:
                begin("number", self.world.cloud.project.number)

    def _begin_what_follows(self, username: str, place: Kept) -> None:
        """Show a value that could be read to cgr.dev; ask what is the matter with one that could not."""
        value = self._asking.answer(("value", place.whole))
        if isinstance(value, CgrunbookError):
            ask = partial(place.world.cloud.secrets.version, place.secret_id, place.version)
            self._asking.begin(("version", place.whole), ask)
        elif Check.TAKEN in self._wanted:
            self._asking.begin(("taken", username, place.whole), partial(self._shown, username, value[1]))

    def _begin_tokens(self, organization: str) -> None:
        if organization and self._wanted & {Check.IDENTITY, Check.OTHERS}:
            self._asking.begin(("tokens", organization), partial(self.world.pull_tokens, organization))

    def _tokens(self, username: str) -> tuple[ListedToken, ...] | CgrunbookError | None:
        """The tokens of the organisation that was told, or else of the username's own, where that is another."""
        own = organization_of(username)
        told: tuple[ListedToken, ...] | CgrunbookError | None = self._asking.answer(("tokens", self._organization))
        if isinstance(told, tuple) and told and own and all(organization_of(one.id) != own for one in told):
            self._begin_tokens(own)
        other: tuple[ListedToken, ...] | CgrunbookError | None = self._asking.answer(("tokens", own))
        found = told if other is None else other
        if found == ():  # nothing is there, or whoever asks may not list: their role tells
            self._asking.begin("login", self.world.cloud.chainguard.require_login)
        return found

    def _shown(self, username: str, password: Secret) -> TokenProbe:
        return self.world.cloud.cgr().sign_in(BasicCredentials(username, password))

    def _place(self, there: RemoteRepository) -> Kept:
        """Where its password is.

        Raises:
            InvalidRequest: what it names is no version of a secret that Artifact Registry can read.
        """
        project, secret_id, version = split_version(there.password_secret_version)
        return Kept(project, kept_in(self.world, project, secret_id), secret_id, version)

    def _seen(self, there: RemoteRepository, place: Kept | CgrunbookError) -> Seen:
        answer = self._asking.answer
        tokens = self._tokens(there.username)
        around = {"told": tokens, "readers": answer(("readers", there.name)), "login": answer("login")}
        if isinstance(place, CgrunbookError):
            return Seen(there, place, place, **around)
        taken = answer(("taken", there.username, place.whole))
        if (
            isinstance(taken, TokenProbe) and not taken.granted
        ):  # what another is told says whether it is about the pair
            self._asking.begin("nobody", self.world.cloud.cgr().sign_in)
        value = answer(("value", place.whole))
        return Seen(
            there,
            place,
            value[1] if isinstance(value, tuple) else value,
            accessed=value[0] if isinstance(value, tuple) else 0,
            secret=answer(("secret", place.secret)),
            version=answer(("version", place.whole)),
            grants=answer(("policy", place.secret)),
            number=answer("number"),
            taken=taken,
            nobody=answer("nobody"),
            **around,
        )
