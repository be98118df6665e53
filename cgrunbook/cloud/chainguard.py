"""Chainguard, through whichever door: what steps ask of it, and what comes of it.

There are two: the chainctl command, signed in by a person or by itself (chainctl.py), and API v2 as a Google service account
that may assume an identity of the organisation (chainguard_api.py). Steps do not know which it is.
"""

from __future__ import annotations

import time
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


# Seconds in which what was made and is not listed is rather hidden than revoked by somebody else.
_JUST_MADE = 600.0


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
    """What this process has made a moment ago and has not seen listed: a list that shows nothing then is not to be trusted.

    API v1, which chainctl asks, answers with an empty list to who may not list. Who concluded from that, would take tokens
    that are alive for gone, and leave behind what should go. A list that shows others shows that it can be trusted: the one
    that it lacks was revoked by somebody else.
    """

    def __init__(self) -> None:
        self._at: dict[str, float] = {}

    def add(self, token: str) -> None:
        """Remember one that was made."""
        self._at[token] = time.monotonic()

    def discard(self, token: str) -> None:
        """Forget one that was revoked."""
        self._at.pop(token, None)

    def must_show_in(self, listed: Collection[str], organization: str) -> None:
        """Hold an organisation's list against what was made.

        Raises:
            PermissionMissing: it shows none of the organisation's own, and there must be one.
        """
        groups = {token.rpartition("/")[0] for token in listed}
        just_made = [token for token, at in self._at.items() if time.monotonic() - at < _JUST_MADE]
        hidden = sorted(token for token in just_made if token.rpartition("/")[0] not in groups)
        for token in listed:
            self.discard(token)
        if hidden:
            raise PermissionMissing(
                f"Chainguard shows no pull token of {organization}, and {hidden[0]} was made just now: whoever calls may make "
                "tokens but not list them, so nothing is concluded from the list.",
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
        """An organisation's pull tokens, ended ones included; an error where what this process has made must be hidden."""

    def revoke(self, identity_id: str, parent: str) -> bool:
        """Revoke a pull token; False when it was not there any more."""


def names_of(items: Iterable[Mapping[str, object]]) -> tuple[str, ...]:
    """The names of what is listed, each in one line."""
    return tuple(one_line(str(item.get("name", ""))) for item in items)
