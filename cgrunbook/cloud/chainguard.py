"""Chainguard, through whichever door: what steps ask of it, and what comes of it.

There are two: the chainctl command, signed in by a person or by itself (chainctl.py), and API v2 as a Google service account
that may assume an identity of the organisation (chainguard_api.py). Steps do not know which it is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from cgrunbook.cloud.pull_token import PullToken
from cgrunbook.errors import PermissionMissing
from cgrunbook.redaction import one_line

# Roles, and the capability, that let somebody create pull tokens (the SDK's capability lists); editor and viewer do not.
_MAY_CREATE = ("owner", "registry.pull_token_creator", "identity.create")

# What is missing where somebody may make tokens, and not see or take away what was made.
NOT_ENOUGH = (
    "Creating pull tokens needs the role registry.pull_token_creator or owner, listing and deleting them identity.list and "
    "identity.delete: ask an owner of the organisation."
)


@dataclass(frozen=True)
class LoginState:
    """Whom Chainguard takes the caller for.

    Args:
        identity: the identity's id, "" when it is not told.
        email: the person's address, or the service account's; "" when it is not told.
        roles: the caller's role by organisation, as far as it is told.
    """

    identity: str = ""
    email: str = ""
    roles: Mapping[str, str] = field(default_factory=dict)

    def may_create_pull_tokens(self, organization: str) -> bool | None:
        """Whether the caller's role may create an organisation's pull tokens; None where that is not told."""
        role = self.roles.get(organization, "")
        return any(known in role for known in _MAY_CREATE) if role else None


@dataclass(frozen=True)
class ListedToken:
    """A pull token as Chainguard lists it; the password is not there and cannot be had again.

    Args:
        id: the identity's id, which is the username.
        name: its name, which ends with " - registry".
        expires: when it ends, None where that is not told.
        last_seen: when the identity was last federated, None where that is not told. It counts as seen when it is made;
            whether each pull counts is not documented.
    """

    id: str
    name: str
    expires: datetime | None
    last_seen: datetime | None = None


class Minted:
    """What this process has made and not revoked: a list that lacks it is not to be trusted.

    API v1, which chainctl asks, answers with an empty list to who may not list. Who concluded from that, would take tokens
    that are alive for gone, and leave behind what should go.
    """

    def __init__(self) -> None:
        self._of: dict[str, set[str]] = {}

    def add(self, organization: str, token: str) -> None:
        """Remember one that was made."""
        self._of.setdefault(organization, set()).add(token)

    def discard(self, token: str) -> None:
        """Forget one that was revoked."""
        for made in self._of.values():
            made.discard(token)

    def must_be_in(self, organization: str, listed: Collection[str]) -> None:
        """Hold a list against what was made.

        Raises:
            PermissionMissing: it lacks one.
        """
        missing = sorted(self._of.get(organization, set()).difference(listed))
        if missing:
            raise PermissionMissing(
                f"Chainguard's list of the pull tokens of {organization} lacks {missing[0]}, which was made just now: whoever "
                "calls may make tokens but not list them, so nothing is concluded from the list.",
                NOT_ENOUGH,
            )


class Chainguard(Protocol):
    """What either door does."""

    @property
    def name(self) -> str:
        """What the door is called in a sentence."""

    def version(self) -> str:
        """Which edition it is."""

    def require_login(self) -> LoginState:
        """Who is signed in, or the error that says how to."""

    def organizations(self) -> tuple[str, ...]:
        """The names of the organisations that the caller sees."""

    def images(self, organization: str) -> tuple[str, ...]:
        """The names of the images in an organisation's catalogue."""

    def create_pull_token(self, parent: str, name: str, ttl: str, description: str = "") -> PullToken:
        """Create a pull token; never two by one call."""

    def list_pull_tokens(self, parent: str) -> tuple[ListedToken, ...]:
        """An organisation's pull tokens, ended ones included; they hold what this process has made, or it is an error."""

    def revoke(self, identity_id: str, parent: str) -> bool:
        """Revoke a pull token; False when it was not there any more."""


def names_of(items: Iterable[Mapping[str, object]]) -> tuple[str, ...]:
    """The names of what is listed, each in one line."""
    return tuple(one_line(str(item.get("name", ""))) for item in items)
