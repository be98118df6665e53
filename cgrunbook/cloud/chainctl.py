"""Chainguard's command: who is signed in, which organisations there are; pull tokens created, listed and revoked.

It knows chainctl's commands, flags, outputs and complaints, of today's and of older versions. It never shows what
chainctl printed to its standard output: a token may stand there. How a command is run is in command.py.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from cgrunbook.cloud import command, retry
from cgrunbook.cloud.attempts import Attempts
from cgrunbook.cloud.chainguard import NOT_ENOUGH, ListedToken, LoginState, Minted, names_of
from cgrunbook.cloud.pull_token import PullToken, read_pull_token
from cgrunbook.errors import (
    CgrunbookError,
    ChainctlFailed,
    ChainctlMissing,
    ChainctlSignedOut,
    Interrupted,
    PermissionMissing,
    Temporary,
)
from cgrunbook.redaction import Secret, one_line

# Creating a token makes an RSA key of 4096 bits and several calls; listing a large organisation pages.
_SECONDS = 120.0

# Seconds that each command is given, however short the patience: a Python or Go program has to start.
_SHORTEST = 15.0

# A surprise login or a download of a new version has no place in a runbook.
_QUIET = {
    "CHAINGUARD_DEFAULT_SKIP_AUTO_LOGIN": "true",
    "CHAINGUARD_DEFAULT_SKIP_VERSION_CHECK": "true",
    "NO_COLOR": "1",
}

# What it gets of this process's environment: what a command needs to run, to find its files and to reach the network, and
# what is meant for it. Other services' tokens are none of its business.
_NEEDED = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|TERM|TZ|TMPDIR|LANG|LANGUAGE|LC_\w+|XDG_\w+|DISPLAY|WAYLAND_DISPLAY|BROWSER|"
    r"DBUS_SESSION_BUS_ADDRESS|(?:DY)?LD_\w+|(?i:(?:https?|all|no)_proxy)|SSL_CERT_(?:FILE|DIR)|GODEBUG|DOCKER_CONFIG|"
    r"(?:CHAINGUARD|CHAINCTL|CGRUNBOOK)_\w+"
)

_JWT = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+")
_VERSION = re.compile(r"\bv?(\d+\.\d+\.\d+[\w.+-]*)")
_COMMIT_VERSION = re.compile(r"GitVersion:\s*(\S+)")
_LEFT_BEHIND = " A pull token that nobody holds may exist now: see chainctl auth pull-token list."
_INSTALL = "https://edu.chainguard.dev/platform/chainctl-usage/how-to-install-chainctl/"


class _Complaint(Enum):
    """What chainctl complains about. Its exit code is 1 for everything, so its own words have to tell; first match wins."""

    SIGNED_OUT = (
        "not logged in",
        "unauthenticated",
        "auth login",
        "token has expired",
        "token is expired",
        "no token",
        "not authenticated",
    )
    DENIED = ("permissiondenied", "permission denied", "required capabilities")
    OLD_COMMAND = ("unknown command",)
    OLD_FLAG = ("unknown flag",)
    NOT_THERE = ("not found", "notfound", "no identity")
    NO_ORGANIZATION = ("not verified", "no folder found", "unable to resolve")
    LIFETIME = ("ttl", "expir")
    NETWORK = (*retry.WORDS, "no such host")
    OTHER = ("",)

    @classmethod
    def of(cls, ended: command.Ended) -> _Complaint:
        """What a command that ended badly said."""
        low = ended.said.lower()
        return next(complaint for complaint in cls if any(sign in low for sign in complaint.value))


class Chainctl:
    """The chainctl command.

    Args:
        command: its path, or its name on the PATH.
        environment: what it gets in addition to what it needs of this process's environment.
        attempts: how long to try what may be repeated; its `cancelled` ends a running command.
        timeout: seconds that one command may take.
    """

    def __init__(
        self,
        command: str = "chainctl",
        environment: Mapping[str, str] | None = None,
        attempts: Attempts | None = None,
        *,
        timeout: float = _SECONDS,
    ) -> None:
        self._command = command
        needed = {name: value for name, value in os.environ.items() if _NEEDED.fullmatch(name)}
        self._environment = {**needed, **(environment or {}), **_QUIET}
        self._attempts = attempts if attempts is not None else Attempts()
        self._timeout = timeout
        self._minted = Minted()

    name = "chainctl"

    @property
    def path(self) -> str:
        """Where the command is.

        Raises:
            ChainctlMissing: it is nowhere.
        """
        found = shutil.which(self._command, path=self._environment.get("PATH"))
        if found is None:
            raise ChainctlMissing(f"The command {self._command} was not found.", f"Install chainctl: {_INSTALL}")
        return found

    def version(self) -> str:
        """The version, such as "0.2.369"; "unknown" where chainctl's answer has none.

        Raises:
            ChainctlMissing: there is no chainctl.
            ChainctlFailed: it does not run here.
        """
        ended = self._repeat(["version"], "tell its version")
        # Older ones print a banner, and the version among other lines; on either stream.
        text = f"{ended.output}\n{ended.said}"
        named = _COMMIT_VERSION.search(text)
        number = _VERSION.search(text)
        return named.group(1).removeprefix("v") if named else number.group(1) if number else "unknown"

    def require_login(self) -> LoginState:
        """Who is signed in.

        Raises:
            ChainctlMissing: there is no chainctl.
            ChainctlSignedOut: the session is not valid.
            ChainctlFailed: it does not run here, or its answer says neither.
            Temporary: it could not ask when the attempts were used up.
        """
        arguments = ["auth", "status", "-o", "json"]

        def once() -> command.Ended:
            ended = self._run(arguments)
            if ended.code != 0 and _Complaint.of(ended) is _Complaint.NETWORK:  # which says nothing of the session
                raise self._failed(arguments, ended, "tell whether it is signed in")
            return ended

        ended = self._attempts.run(once, reason="chainctl to tell whether it is signed in")
        document = _document(ended.output)
        fields = document if isinstance(document, dict) else {}
        # chainctl exits 1 when the session is missing, expired or cannot be renewed (vendor's reference, 2026-10).
        if ended.code != 0 or fields.get("valid") is False:
            problem = _said(ended) or f"chainctl auth status ended with {ended.code}"
            raise ChainctlSignedOut(f"chainctl is not signed in: {problem}", "Sign in: chainctl auth login")
        if not fields and not ended.output.strip():
            raise self._unreadable("auth status")
        identity = fields.get("identity") or fields.get("subject") or ""
        told = fields.get("capabilities")
        roles = {str(name): str(role) for name, role in told.items()} if isinstance(told, dict) else {}
        return LoginState(one_line(str(identity)), one_line(str(fields.get("email") or "")), roles)

    def signed_in(self) -> bool:
        """Whether it is there and has a valid session; raises what else is wrong, as `require_login`."""
        try:
            self.require_login()
        except (ChainctlMissing, ChainctlSignedOut):
            return False
        return True

    def session_token(self) -> Secret:
        """A token of the session, for what the API has and chainctl has not; raises as `organizations`."""
        token = self._repeat(["auth", "token"], "hand out the session's token").output.strip()
        if not _JWT.fullmatch(token):
            raise self._unreadable("auth token")
        return Secret(token)

    def organizations(self) -> tuple[str, ...]:
        """The names of the organisations that the caller sees, as chainctl orders them; a name begins its images' paths.

        Raises:
            ChainctlMissing: there is no chainctl.
            ChainctlSignedOut: the session is not valid.
            ChainctlFailed: chainctl fails otherwise.
        """
        items = self._items(["iam", "organizations", "list", "-o", "json"], "list the organisations")
        return names_of(items)

    def images(self, organization: str) -> tuple[str, ...]:
        """The names of the images in an organisation's catalogue; raises as `organizations`."""
        items = self._items(["images", "repos", "list", "--parent", organization, "-o", "json"], "list the images")
        return names_of(items)

    def create_pull_token(self, parent: str, name: str, ttl: str, description: str = "") -> PullToken:
        """Create a pull token; never tried twice, since each try may make one.

        Args:
            parent: the organisation's name or id.
            name: such as "pull token"; lower-case letters, digits, space, '.', '_' and '-'.
            ttl: how long it lives, in Go's form: "720h".
            description: what it is for, as far as the installed version takes one.

        Returns:
            The token; its password exists nowhere else.

        Raises:
            ChainctlMissing: there is no chainctl.
            ChainctlSignedOut: the session is not valid.
            PermissionMissing: the caller may not create pull tokens.
            ChainctlFailed: chainctl refuses, or prints no token; then the message says whether one may exist now.
        """
        common = ["--parent", parent, "--name", name, "--ttl", ttl]
        create = ["auth", "pull-token", "create", *common, "-o", "json"]
        arguments = [*create, "--description", description] if description else create
        ended = self._run(arguments, left_behind=_LEFT_BEHIND)
        if ended.code != 0 and description and _Complaint.of(ended) is _Complaint.OLD_FLAG:
            arguments = create
            ended = self._run(arguments, left_behind=_LEFT_BEHIND)
        if ended.code != 0 and _Complaint.of(ended) is _Complaint.OLD_COMMAND:
            # Versions before 2025-02 know only this spelling, and print the docker login line.
            arguments = ["auth", "configure-docker", "--pull-token", *common]
            ended = self._run(arguments, left_behind=_LEFT_BEHIND)
        if ended.code != 0:
            raise self._failed(arguments, ended, f"create a pull token for {parent}", left_behind=_LEFT_BEHIND)
        token = read_pull_token(ended.output)
        if token is None:
            raise ChainctlFailed(
                f"chainctl ended well, but printed no pull token that could be read; one named {name!r} may exist now "
                "that nobody holds.",
                f"Look for it: chainctl auth pull-token list --parent {parent}; delete it: chainctl iam identities "
                "delete ID --yes; then update chainctl.",
            )
        self._minted.add(token.username)
        return token

    def list_pull_tokens(self, parent: str) -> tuple[ListedToken, ...]:
        """List an organisation's pull tokens, expired ones included; `parent` is its name or id.

        The API behind chainctl answers with none to who may not list: such a list is an error where a token was made here.

        Raises:
            ChainctlMissing: there is no chainctl.
            ChainctlSignedOut: the session is not valid.
            PermissionMissing: the caller may create pull tokens but not list them (role registry.pull_token_creator).
            ChainctlFailed: chainctl fails otherwise.
        """
        doing = f"list the pull tokens of {parent}"
        newer = ["auth", "pull-token", "list", "--parent", parent, "-o", "json"]
        older = ["iam", "identities", "list", "--parent", parent, "--type", "pull_token", "-o", "json"]
        items = self._items(newer, doing, otherwise=older)
        tokens = tuple(
            ListedToken(
                str(item.get("id") or item.get("uidp") or ""),
                one_line(str(item.get("name") or "")),
                _moment((item, *map(item.get, ("static", "static_keys", "staticKeys"))), _EXPIRY),
                _moment((item,), _SEEN),
            )
            for item in items
        )
        self._minted.must_show_in({token.id for token in tokens}, parent)
        return tokens

    def revoke(self, identity_id: str, parent: str) -> bool:
        """Revoke a pull token by deleting its identity; may be repeated.

        Args:
            identity_id: the token's username.
            parent: the organisation, for the error's sentence.

        Returns:
            True when it was deleted now, False when it was not there any more.

        Raises:
            ChainctlMissing: there is no chainctl.
            ChainctlSignedOut: the session is not valid.
            PermissionMissing: the caller may not delete identities.
            ChainctlFailed: chainctl fails otherwise.
        """
        arguments = ["iam", "identities", "delete", identity_id, "--yes"]

        def once() -> bool:
            ended = self._run(arguments)
            if ended.code == 0 or _Complaint.of(ended) is _Complaint.NOT_THERE:
                self._minted.discard(identity_id)
                return ended.code == 0
            raise self._failed(arguments, ended, f"revoke the pull token {identity_id} of {parent}")

        return self._attempts.run(once, reason="chainctl to revoke the pull token")

    def _items(
        self, arguments: Sequence[str], doing: str, otherwise: Sequence[str] | None = None
    ) -> list[dict[str, Any]]:
        """The items of a list; `otherwise` is how an older version spells it."""
        ended = self._repeat(arguments, doing, otherwise)
        document = _document(ended.output)
        if document is None and ended.output.strip() in ("", "null"):
            # Some lists print nothing when they are empty.
            return []
        found = (document.get("items") or []) if isinstance(document, dict) else document
        if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
            raise self._unreadable(" ".join(arguments[:3]))
        return found

    def _repeat(self, arguments: Sequence[str], doing: str, otherwise: Sequence[str] | None = None) -> command.Ended:
        """Run what changes nothing, again where the failure may pass."""

        def once() -> command.Ended:
            ended = self._run(arguments)
            if ended.code != 0 and otherwise is not None and _Complaint.of(ended) is _Complaint.OLD_COMMAND:
                ended = self._run(otherwise)
            if ended.code != 0:
                raise self._failed(arguments, ended, doing)
            return ended

        return self._attempts.run(once, reason=f"chainctl to {doing}")

    def _run(self, arguments: Sequence[str], *, left_behind: str = "") -> command.Ended:
        """Run chainctl once."""
        path = self.path
        shown = f"chainctl {' '.join(arguments[:3])}"
        # What changes nothing can be asked again, so it is not waited for longer than that would be.
        seconds = self._timeout if left_behind else min(self._timeout, max(self._attempts.limit, _SHORTEST))
        try:
            return command.run(
                [path, *arguments], self._environment, seconds=seconds, cancelled=self._attempts.cancelled
            )
        except OSError as error:
            raise ChainctlFailed(
                f"{path} could not be started: {error}.", f"Install chainctl for this machine: {_INSTALL}"
            ) from error
        except command.TooMuch as reason:
            raise ChainctlFailed(
                f"{shown} {reason} and was ended.{left_behind}",
                "Run it in a terminal to see what it waits for; chainctl config validate checks the network.",
            ) from None
        except command.Cancelled:
            raise Interrupted(f"{shown} was stopped.{left_behind}", "Run it again.") from None

    def _failed(
        self, arguments: Sequence[str], ended: command.Ended, doing: str, *, left_behind: str = ""
    ) -> CgrunbookError:
        """The error for a command that ended badly."""
        said = f"chainctl could not {doing}: {_said(ended) or f'it ended with {ended.code} and said nothing'}"
        match _Complaint.of(ended):
            case _Complaint.SIGNED_OUT:
                return ChainctlSignedOut(said, "Sign in: chainctl auth login")
            case _Complaint.DENIED:
                return PermissionMissing(said, NOT_ENOUGH)
            case _Complaint.LIFETIME:
                return ChainctlFailed(
                    said, "Take a shorter life: the plan may allow 720h (Starter) or 168h (Team) at most."
                )
            case _Complaint.NOT_THERE | _Complaint.NO_ORGANIZATION:
                return ChainctlFailed(said, "Check the organisation's name: chainctl iam organizations list")
            case _Complaint.NETWORK:
                network = "Check the network and proxy: chainctl config validate"
                if left_behind:
                    return ChainctlFailed(f"{said}.{left_behind}", network, debugging=1)
                lasting = not retry.says_temporary(ended.said)
                return (ChainctlFailed if lasting else Temporary)(said, network, debugging=1)
        return ChainctlFailed(said, f"Run it in a terminal: chainctl {' '.join(arguments[:3])} --help")

    def _unreadable(self, what: str) -> ChainctlFailed:
        return ChainctlFailed(
            f"chainctl {what} ended well, but what it printed could not be read.",
            f"Update chainctl (chainctl update), or install it anew: {_INSTALL}",
        )


def _document(output: str) -> Any:
    """The JSON in an output, whatever stands before it; None where there is none."""
    decoder = json.JSONDecoder()
    for start in re.finditer(r"^\s*[\[{]", output, re.MULTILINE):
        with suppress(ValueError, RecursionError):
            return decoder.raw_decode(output, start.end() - 1)[0]
    return None


def _said(ended: command.Ended) -> str:
    """What it said on standard error, in one line; standard output is never shown."""
    return one_line(re.sub(r"^\s*(?:Error|ERROR):\s*", "", ended.said))


# The names differ between the commands that list, and between versions of chainctl.
_EXPIRY = ("expiration", "expires", "expiry", "expiration_time", "expirationTime")
_SEEN = ("last_seen_time", "lastSeenTime", "last_seen", "lastSeen")


def _moment(places: Iterable[Any], names: Sequence[str]) -> datetime | None:
    """The first time that stands under one of the names in one of the places of a listed token."""
    for place in places:
        if isinstance(place, dict):
            for name in names:
                with suppress(ValueError):
                    moment = datetime.fromisoformat(str(place.get(name)))
                    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return None
