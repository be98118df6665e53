"""Two kinds of Google credentials that google-auth does not bring: a token kept in a file, and gcloud's own session.

It knows how to get a fresh access token and keeps it in memory. It does not know what the token is used for.
"""

from __future__ import annotations

import datetime as dt
import subprocess
from pathlib import Path
from typing import Any

from google.auth.credentials import Credentials
from google.auth.exceptions import RefreshError

from cgrunbook.redaction import Secret, redact

# Neither source says how long its token lives. google-auth refreshes 3 min 45 s ahead, so each is asked for again after
# some four minutes; both answer with a token that outlives that.
_TRUSTED = dt.timedelta(minutes=8)

# gcloud's start alone takes about a second, a cold disk several; and it may have to refresh over a slow line.
_GCLOUD_SECONDS = 60.0


def gcloud(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run gcloud, which answers through pipes and asks nobody anything.

    Raises:
        OSError: there is none.
        subprocess.TimeoutExpired: it did not answer.
    """
    return subprocess.run(
        ["gcloud", *arguments, "--quiet"],
        check=False,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=_GCLOUD_SECONDS,
    )


def _unusable(message: str) -> RefreshError:
    return RefreshError(message)  # type: ignore[no-untyped-call] # google-auth types its arguments in prose


class _HeldToken(Credentials):
    """A token that is fetched as a whole, never derived."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._held: Secret | None = None

    def fetch(self) -> str:
        """The token, from where it is kept."""
        raise NotImplementedError

    def refresh(self, request: Any) -> None:  # noqa: ARG002 - google-auth's signature; nothing is sent
        """Fetch the token again.

        Raises:
            google.auth.exceptions.RefreshError: it cannot be had.
        """
        token = self.fetch()
        self._held = Secret(token)  # kept, so that the redactor knows the value as long as it is in use
        self.token = token
        self.expiry = dt.datetime.now(dt.UTC).replace(tzinfo=None) + _TRUSTED  # google-auth's form: without a zone


class TokenFile(_HeldToken):
    """The access token in a file, read again whenever it may have changed.

    Args:
        path: a file with nothing but the token in it.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def fetch(self) -> str:
        """Read the file."""
        try:
            token = self._path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeError) as error:
            raise _unusable(f"no access token can be read from {self._path}: {error}") from error
        if not token:
            raise _unusable(f"{self._path} holds no access token")
        return token


class GcloudSession(_HeldToken):
    """The account that gcloud is signed in with, for machines where application default credentials were never made."""

    def fetch(self) -> str:
        """Ask gcloud."""
        try:
            done = gcloud("auth", "print-access-token")
        except (OSError, subprocess.TimeoutExpired) as error:
            raise _unusable(f"gcloud auth print-access-token did not answer: {error}") from error
        token = done.stdout.strip()
        if done.returncode != 0 or not token:
            raise _unusable(f"gcloud auth print-access-token failed: {redact(done.stderr.strip())}")
        return token
