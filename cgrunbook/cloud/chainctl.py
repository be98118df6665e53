"""Chainguard's command: who is signed in, which organisations there are; pull tokens created, listed and revoked.

It knows chainctl's commands, flags and outputs, of today's and of older versions. It never shows what chainctl printed
to its standard output: a token may stand there.
"""

from __future__ import annotations

import json
import os
import re
import selectors
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from cgrunbook.cloud.attempts import Attempts
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
from cgrunbook.redaction import redact

__all__ = ["Chainctl", "ListedToken", "LoginState", "Organization", "PullToken"]

# Creating a token makes an RSA key of 4096 bits and several calls; listing a large organisation pages.
_SECONDS = 120.0
_LARGEST_OUTPUT = 8 * 1024 * 1024
_LOOK = 0.1
_LONGEST_SAID = 400

# A surprise login or a download of a new version has no place in a runbook.
_QUIET = {
    "CHAINGUARD_DEFAULT_SKIP_AUTO_LOGIN": "true",
    "CHAINGUARD_DEFAULT_SKIP_VERSION_CHECK": "true",
    "NO_COLOR": "1",
}

# Roles that hold identity.create and role_bindings.create (the capability lists of Chainguard's SDK); editor and viewer do not.
_MAY_CREATE = ("owner", "registry.pull_token_creator")

_VERSION = re.compile(r"\bv?(\d+\.\d+\.\d+[\w.+-]*)")
_COMMIT_VERSION = re.compile(r"GitVersion:\s*(\S+)")
_INSTALL = "https://edu.chainguard.dev/platform/chainctl-usage/how-to-install-chainctl/"


@dataclass(frozen=True)
class LoginState:
    """Who chainctl calls as.

    Args:
        signed_in: whether its session is valid.
        identity: the identity's id, "" when it is not told.
        email: the person's address, "" for a machine's identity or when it is not told.
        roles: the caller's role by organisation, as far as chainctl tells.
        problem: why it is not signed in, "" when it is.
    """

    signed_in: bool
    identity: str = ""
    email: str = ""
    roles: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""

    def may_create_pull_tokens(self, organization: str) -> bool | None:
        """Whether the caller's role may create pull tokens; None where chainctl does not tell.

        Args:
            organization: its name.
        """
        role = self.roles.get(organization, "")
        return any(known in role for known in _MAY_CREATE) if role else None


@dataclass(frozen=True)
class Organization:
    """An organisation that the caller sees.

    Args:
        id: 40 hex digits.
        name: such as "example.com"; the first part of its images' paths.
    """

    id: str
    name: str


@dataclass(frozen=True)
class ListedToken:
    """A pull token as chainctl lists it; the password is not there and cannot be had again.

    Args:
        id: the identity's id, which is the username.
        name: its name, to which chainctl adds " - registry".
        description: its description, "" for none.
        expires: when it ends, None where chainctl does not tell.
    """

    id: str
    name: str
    description: str
    expires: datetime | None


@dataclass(frozen=True)
class _Ended:
    code: int
    output: str
    said: str


class Chainctl:
    """The chainctl command.

    Args:
        command: its path, or its name on the PATH.
        environment: what it gets in addition to this process's environment.
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
        self._environment = {**os.environ, **(environment or {}), **_QUIET}
        self._attempts = attempts if attempts is not None else Attempts()
        self._timeout = timeout

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
        """Ask for the version.

        Returns:
            Such as "0.2.369"; "unknown" where chainctl's answer has none.

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

    def status(self) -> LoginState:
        """Ask who is signed in; being signed out is an answer here, not an error.

        Returns:
            The state of the session.

        Raises:
            ChainctlMissing: there is no chainctl.
            ChainctlFailed: it does not run here, or its answer says neither.
        """
        ended = self._run(["auth", "status", "-o", "json"])
        document = _document(ended.output)
        fields = document if isinstance(document, dict) else {}
        # chainctl exits 1 when the session is missing, expired or cannot be renewed (vendor's reference, 2026-10).
        if ended.code != 0 or fields.get("valid") is False:
            return LoginState(False, problem=_said(ended) or f"chainctl auth status ended with {ended.code}")
        if not fields and not ended.output.strip():
            raise self._unreadable("auth status")
        identity = fields.get("identity") or fields.get("subject") or ""
        told = fields.get("capabilities")
        roles = {str(name): str(role) for name, role in told.items()} if isinstance(told, dict) else {}
        return LoginState(True, str(identity), str(fields.get("email") or ""), roles)

    def require_login(self) -> LoginState:
        """The state of the session, which must be valid.

        Raises:
            ChainctlMissing: there is no chainctl.
            ChainctlSignedOut: the session is not valid.
        """
        state = self.status()
        if not state.signed_in:
            raise ChainctlSignedOut(f"chainctl is not signed in: {state.problem}", "Sign in: chainctl auth login")
        return state

    def organizations(self) -> tuple[Organization, ...]:
        """List the organisations that the caller sees.

        Returns:
            Them, as chainctl orders them.

        Raises:
            ChainctlMissing: there is no chainctl.
            ChainctlSignedOut: the session is not valid.
            ChainctlFailed: chainctl fails otherwise.
        """
        items = self._items(["iam", "organizations", "list", "-o", "json"], "list the organisations")
        return tuple(Organization(str(item.get("id", "")), str(item.get("name", ""))) for item in items)

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
        described = [*create, "--description", description] if description else create
        tried: list[list[str]] = [described]
        ended = self._run(described)
        if description and ended.code != 0 and _unknown(ended.said, "flag", "description"):
            tried.append(create)
            ended = self._run(create)
        if ended.code != 0 and _unknown(ended.said, "command", "pull-token", "create"):
            # Versions before 2025-02 know only this spelling, and print the docker login line.
            tried.append(["auth", "configure-docker", "--pull-token", *common])
            ended = self._run(tried[-1])
        if ended.code != 0:
            raise self._failed(tried[-1], ended, f"create a pull token for {parent}")
        token = read_pull_token(ended.output)
        if token is None:
            raise ChainctlFailed(
                f"chainctl ended well, but printed no pull token that could be read; one named {name!r} may exist now "
                "that nobody holds.",
                f"Look for it: chainctl auth pull-token list --parent {parent}; delete it: chainctl iam identities "
                "delete ID --yes; then update chainctl.",
            )
        return token

    def list_pull_tokens(self, parent: str) -> tuple[ListedToken, ...]:
        """List an organisation's pull tokens, expired ones included.

        Args:
            parent: the organisation's name or id.

        Returns:
            Them, as chainctl orders them.

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
        return tuple(
            ListedToken(
                str(item.get("id") or item.get("uidp") or ""),
                str(item.get("name") or ""),
                str(item.get("description") or ""),
                _expiry(item),
            )
            for item in items
        )

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
            if ended.code == 0:
                return True
            low = _said(ended).lower()
            if "not found" in low or "notfound" in low or "no identity" in low:
                return False
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
        found = document.get("items") if isinstance(document, dict) else document
        if found is None and isinstance(document, dict):
            found = []
        if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
            raise self._unreadable(" ".join(arguments[:3]))
        return found

    def _repeat(self, arguments: Sequence[str], doing: str, otherwise: Sequence[str] | None = None) -> _Ended:
        """Run what changes nothing, again where the failure may pass."""

        def once() -> _Ended:
            ended = self._run(arguments)
            if ended.code != 0 and otherwise is not None and _unknown(ended.said, "command", "pull-token", "list"):
                ended = self._run(otherwise)
            if ended.code != 0:
                raise self._failed(arguments, ended, doing)
            return ended

        return self._attempts.run(once, reason=f"chainctl to {doing}")

    def _run(self, arguments: Sequence[str]) -> _Ended:
        """Run chainctl once: no terminal, no input, pipes only, bounded in time and in what it prints."""
        path = self.path
        shown = f"chainctl {' '.join(arguments[:3])}"
        try:
            process = subprocess.Popen(
                [path, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=self._environment,
                # A group of its own, so that what it starts ends with it, and a terminal's Ctrl-C does not cut it in
                # the middle of creating a token.
                start_new_session=True,
            )
        except OSError as error:
            raise ChainctlFailed(
                f"{path} could not be started: {error}.", f"Install chainctl for this machine: {_INSTALL}"
            ) from error
        with process:
            try:
                output, said = _read(process, self._timeout, self._attempts.cancelled)
            except _TooLong as reason:
                raise ChainctlFailed(
                    f"{shown} {reason} and was ended.{_left_behind(arguments)}",
                    "Run it in a terminal to see what it waits for; chainctl config validate checks the network.",
                ) from None
            except _Stopped:
                raise Interrupted(f"{shown} was stopped.{_left_behind(arguments)}", "Run it again.") from None
            finally:
                _end(process)
        return _Ended(process.returncode, output.decode("utf-8", "replace"), said.decode("utf-8", "replace"))

    def _failed(self, arguments: Sequence[str], ended: _Ended, doing: str) -> CgrunbookError:
        """The error for a command that ended badly."""
        text = _said(ended)
        low = text.lower()
        said = f"chainctl could not {doing}: {text or f'it ended with {ended.code} and said nothing'}"
        if _signed_out(low):
            return ChainctlSignedOut(said, "Sign in: chainctl auth login")
        if "permissiondenied" in low or "permission denied" in low or "required capabilities" in low:
            return PermissionMissing(
                said,
                "Creating pull tokens needs the role registry.pull_token_creator or owner, listing and deleting them "
                "identity.list and identity.delete: ask an owner of the organisation.",
            )
        if "ttl" in low or "expir" in low:
            return ChainctlFailed(
                said, "Take a shorter life: the plan may allow 720h (Starter) or 168h (Team) at most."
            )
        if any(word in low for word in ("not found", "not verified", "no folder found", "unable to resolve")):
            return ChainctlFailed(said, "Check the organisation's name: chainctl iam organizations list")
        if any(
            word in low for word in ("unavailable", "deadline exceeded", "connection re", "timeout", "no such host")
        ):
            network = "Check the network and proxy: chainctl config validate"
            repeatable = "create" not in arguments and "--pull-token" not in arguments
            return (
                Temporary(said, network, debugging=1)
                if repeatable
                else ChainctlFailed(f"{said}.{_left_behind(arguments)}", network, debugging=1)
            )
        return ChainctlFailed(said, f"Run it in a terminal: chainctl {' '.join(arguments[:3])} --help")

    def _unreadable(self, what: str) -> ChainctlFailed:
        return ChainctlFailed(
            f"chainctl {what} ended well, but what it printed could not be read.",
            f"Update chainctl (chainctl update), or install it anew: {_INSTALL}",
        )


class _TooLong(Exception):
    """It took too long, or printed too much."""


class _Stopped(Exception):
    """Somebody cancelled."""


def _read(process: subprocess.Popen[bytes], seconds: float, cancelled: threading.Event) -> tuple[bytes, bytes]:
    """Read both pipes to their ends, within bounds that `communicate` does not have."""
    deadline = time.monotonic() + seconds
    pipes = [pipe for pipe in (process.stdout, process.stderr) if pipe is not None]
    collected = {pipe: bytearray() for pipe in pipes}
    with selectors.DefaultSelector() as selector:
        for pipe in collected:
            selector.register(pipe, selectors.EVENT_READ)
        while selector.get_map() or process.poll() is None:
            if cancelled.is_set():
                raise _Stopped
            left = deadline - time.monotonic()
            if left <= 0:
                raise _TooLong(f"did not end within {seconds:.0f} s")
            if not selector.get_map():
                with suppress(subprocess.TimeoutExpired):
                    process.wait(min(_LOOK, left))
                continue
            # Asked before looking: what it prints and ends with between the two is found by the next look.
            ended = process.poll() is not None
            ready = selector.select(min(_LOOK, left))
            if ended and not ready:
                # It ended, all that it printed is read; something that it started still holds the pipes.
                break
            for key, _ in ready:
                pipe = next(known for known in collected if known.fileno() == key.fd)
                chunk = os.read(key.fd, 65536)
                if not chunk:
                    selector.unregister(pipe)
                collected[pipe] += chunk
                if len(collected[pipe]) > _LARGEST_OUTPUT:
                    raise _TooLong(f"printed more than {_LARGEST_OUTPUT // 1024 // 1024} MiB")
    output, said = (bytes(collected[pipe]) for pipe in pipes)
    return output, said


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a command and what it started; nothing to do for one that has ended."""
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _left_behind(arguments: Sequence[str]) -> str:
    """A warning for a command that may have made something before it was ended."""
    if "create" in arguments or "--pull-token" in arguments:
        return " A pull token that nobody holds may exist now: see chainctl auth pull-token list."
    return ""


def _document(output: str) -> Any:
    """The JSON in an output, whatever stands before it; None where there is none."""
    decoder = json.JSONDecoder()
    for start in re.finditer(r"^\s*[\[{]", output, re.MULTILINE):
        with suppress(ValueError, RecursionError):
            return decoder.raw_decode(output, start.end() - 1)[0]
    return None


def _said(ended: _Ended) -> str:
    """What it said on standard error, in one line; standard output is never shown."""
    line = " ".join(ended.said.split())
    # Masked before it is cut: half a token would not be known for one.
    line = redact(re.sub(r"^(?:Error|ERROR):\s*", "", line))
    return line if len(line) <= _LONGEST_SAID else f"{line[:_LONGEST_SAID]}..."


def _signed_out(text: str) -> bool:
    low = text.lower()
    signs = (
        "not logged in",
        "unauthenticated",
        "auth login",
        "token has expired",
        "token is expired",
        "no token",
        "not authenticated",
    )
    return any(sign in low for sign in signs)


def _unknown(text: str, what: str, *names: str) -> bool:
    """Whether an old version does not know a command or a flag."""
    low = text.lower()
    return f"unknown {what}" in low and any(name in low for name in names)


def _expiry(item: Mapping[str, Any]) -> datetime | None:
    """When a listed token ends; the place depends on the command that listed it."""
    places = (item, item.get("static"), item.get("static_keys"), item.get("staticKeys"))
    for place in places:
        if isinstance(place, dict):
            for name in ("expiration", "expires", "expiry", "expiration_time", "expirationTime"):
                with suppress(ValueError):
                    moment = datetime.fromisoformat(str(place.get(name)))
                    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return None
