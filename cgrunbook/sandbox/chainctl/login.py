"""Who is logged in with chainctl, and what the Chainguard platform answers them.

Knows the sandbox's folder, the sessions kept in it and the platform's API. Knows no command and prints nothing.
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from datetime import datetime, timedelta
from http.client import HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from cgrunbook.home import home
from cgrunbook.sandbox import process
from cgrunbook.sandbox.chainctl.flags import Failure
from cgrunbook.sandbox.chainguard.addresses import API_AUDIENCE
from cgrunbook.sandbox.hosts import CONSOLE_API
from cgrunbook.sandbox.state import Clock, State

_TIMEOUT_SECONDS = 30


def opened(request: urllib.request.Request | str) -> HTTPResponse:
    """The sandbox's answer to a request; never through a proxy, for this is loopback."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    answer: HTTPResponse = opener.open(request, timeout=_TIMEOUT_SECONDS)
    return answer


class Sandbox:
    """The sandbox that this command belongs to: its folder, its hosts, its clock and the login kept in it.

    Raises:
        Failure: it is not running.
    """

    def __init__(self) -> None:
        self.folder = process.folder_of(home())
        try:
            description = json.loads((self.folder / process.SANDBOX_FILE).read_text())
        except (FileNotFoundError, ValueError) as problem:
            raise Failure("the sandbox is not running; start it with: cgrunbook sandbox start") from problem
        self.hosts: Mapping[str, str] = description["hosts"]
        self._login = self.folder / "chainctl"
        self._login.mkdir(mode=0o700, exist_ok=True)

    def now(self) -> datetime:
        """The sandbox's time, which training may have moved."""
        with contextlib.closing(State(self.folder / "state.db")) as state:
            return Clock(state).now()

    @property
    def logged_in(self) -> bool:
        """Whether somebody is logged in; in a new sandbox the trainee is."""
        return not (self._login / "logged-out").exists()

    def log_in(self) -> None:
        """Remember that the trainee is logged in."""
        (self._login / "logged-out").unlink(missing_ok=True)

    def log_out(self) -> None:
        """Forget the login and its tokens."""
        for file in self._login.glob("token-*.json"):
            file.unlink()
        (self._login / "logged-out").touch()

    def cached_session(self, audience: str) -> Mapping[str, str] | None:
        """The kept session of an audience while it lasts, else None.

        Args:
            audience: whom the session's token is for.
        """
        with contextlib.suppress(FileNotFoundError, ValueError):
            session: Mapping[str, str] = json.loads(self._session_file(audience).read_text())
            if datetime.fromisoformat(session["expiry"]) > self.now() + timedelta(seconds=30):
                return session
        return None

    def session(self, audience: str = API_AUDIENCE) -> Mapping[str, str]:
        """A session's token and expiry, a new one where the kept one has ended.

        Args:
            audience: whom the token is to be for.

        Raises:
            Failure: nobody is logged in.
        """
        if not self.logged_in:
            raise Failure('not logged in; run "chainctl auth login"')
        kept = self.cached_session(audience)
        if kept is None:
            # The operator's Google token stands for the login at an identity provider, which the sandbox does not play.
            credential = (self.folder / process.TOKEN_FILE).read_text().strip()
            query = urlencode({"aud": audience})
            kept = self._call("POST", f"/sts/exchange?{query}", credential)
            process.write_atomically(self._session_file(audience), json.dumps(kept))
        return kept

    def _session_file(self, audience: str) -> Path:
        return self._login / f"token-{re.sub('[^a-z0-9.]+', '-', audience)}.json"

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None, **query: str) -> dict[str, Any]:
        """Call the platform's API.

        Args:
            method: HTTP method.
            path: path below the host.
            body: JSON document to send.
            query: query parameters; "__" stands for a dot.

        Returns:
            The answer's JSON document.

        Raises:
            Failure: nobody is logged in, or the platform refuses or does not answer.
        """
        parameters = urlencode({name.replace("__", "."): value for name, value in query.items()})
        return self._call(method, f"{path}?{parameters}" if parameters else path, self.session()["token"], body)

    def _call(self, method: str, path: str, token: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        request = urllib.request.Request(
            f"http://{self.hosts[CONSOLE_API]}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )
        try:
            with opened(request) as answer:
                document: dict[str, Any] = json.load(answer)
                return document
        except urllib.error.HTTPError as refusal:
            try:
                document = json.load(refusal)
                raise Failure(document["message"], document["code"]) from refusal
            except (ValueError, KeyError):
                raise Failure(f"{API_AUDIENCE} answered {refusal.code}") from refusal
        except OSError as problem:
            raise Failure(f"{API_AUDIENCE} cannot be reached: {problem}") from problem

    def organizations(self) -> list[dict[str, Any]]:
        """The organisations that the caller sees."""
        items: list[dict[str, Any]] = self.call("GET", "/iam/v1/groups").get("items", [])
        return items

    def organization(self, wanted: str) -> dict[str, Any]:
        """The organisation that --parent names; without it the only one there is, or the one chosen in a menu.

        Args:
            wanted: name or id, or empty.

        Raises:
            Failure: there is none of this name, or several and nobody to ask.
        """
        groups = self.organizations()
        if wanted:
            for group in groups:
                if wanted in (group["name"], group["id"]):
                    return group
            raise Failure(f'No folder found for "{wanted}"', code=4)
        if len(groups) == 1:
            return groups[0]
        if not groups:
            raise Failure("No folder found", code=4)
        if not sys.stdin.isatty():
            raise Failure("several organizations are visible; name one with --parent")
        sys.stderr.write("With which location is the pull token associated?\n")
        for number, group in enumerate(groups, 1):
            sys.stderr.write(f"  {number}. {group['name']}\n")
        answer = input("> ").strip()
        if not answer.isdigit() or not 1 <= int(answer) <= len(groups):
            raise Failure("no location was chosen")
        return groups[int(answer) - 1]

    def listed(self, field: str, path: str, **query: str) -> list[dict[str, Any]]:
        """All pages of a list of API v2; `field` is what the answer calls the entries."""
        found: list[dict[str, Any]] = []
        while True:
            page = self.call("GET", path, None, **query)
            found += page.get(field, [])
            if not page.get("nextPageToken"):
                return found
            query["pageToken"] = page["nextPageToken"]

    def identities(self, parent: str) -> list[dict[str, Any]]:
        """The identities below an organisation."""
        items: list[dict[str, Any]] = self.call("GET", "/iam/v1/identities", uidp__descendantsOf=parent)["items"]
        return items

    def expiration(self, identity: Mapping[str, Any]) -> datetime | None:
        """When a static identity ends; None for another kind."""
        value = identity.get("static", {}).get("expiration")
        return datetime.fromisoformat(value) if value else None
