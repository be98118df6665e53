"""Google credentials that all services of a connection share: a token kept in a file, gcloud's own session, or google-auth's.

It knows how to get a fresh access token and keeps it in memory. It does not know what the token is used for, nor whose it is.
"""

from __future__ import annotations

import datetime as dt
import threading
from functools import partial
from pathlib import Path
from typing import Any

from google.auth.credentials import Credentials
from google.auth.exceptions import GoogleAuthError, RefreshError

from cgrunbook.cloud.command import TooMuch
from cgrunbook.cloud.gcloud import gcloud
from cgrunbook.errors import CgrunbookError
from cgrunbook.redaction import Secret, redact

# Neither source says how long its token lives. google-auth refreshes 3 min 45 s ahead, so each is asked for again after
# some four minutes; both answer with a token that outlives that.
_TRUSTED = dt.timedelta(minutes=8)

# Seconds for each answer of a host that gives out tokens; google-auth's own limit is two minutes.
_ANSWER_SECONDS = 30.0


def _unusable(message: str) -> RefreshError:
    return RefreshError(message)  # type: ignore[no-untyped-call] # google-auth types its arguments in prose


class _HeldToken(Credentials):
    """A token that is fetched once, whoever asks at the same time, and that the redactor knows while it is in use."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._held: Secret | None = None
        self._fetching = threading.Lock()

    def fetch(self, request: Any) -> tuple[str, dt.datetime]:
        """The token from where it is kept, and its end in UTC, which google-auth writes without a zone."""
        raise NotImplementedError

    def refresh(self, request: Any) -> None:
        """Fetch the token again, unless somebody else did in the meantime.

        Args:
            request: a `google.auth.transport.Request`.

        Raises:
            google.auth.exceptions.GoogleAuthError: it cannot be had.
        """
        seen = self.token
        with self._fetching:
            if self.token != seen and self.valid:
                return
            try:
                token, self.expiry = self.fetch(request)
                self._held = Secret(token)
                self.token = token
            except (GoogleAuthError, CgrunbookError):
                raise
            except Exception as error:  # whatever a file, a program or a host makes google-auth stumble over
                raise _unusable(f"no access token could be had: {type(error).__name__}: {error}") from error


class TokenFile(_HeldToken):
    """The access token in a file, read again whenever it may have changed.

    Args:
        path: a file with nothing but the token in it.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def fetch(self, request: Any) -> tuple[str, dt.datetime]:  # noqa: ARG002 - nothing is sent
        """Read the file."""
        try:
            token = self._path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeError) as error:
            raise _unusable(f"no access token can be read from {self._path}: {error}") from error
        if not token:
            raise _unusable(f"{self._path} holds no access token")
        return token, _for_now()


class GcloudSession(_HeldToken):
    """The account that gcloud is signed in with, for machines where application default credentials were never made."""

    def fetch(self, request: Any) -> tuple[str, dt.datetime]:  # noqa: ARG002 - gcloud sends its own
        """Ask gcloud."""
        try:
            done = gcloud("auth", "print-access-token")
        except FileNotFoundError as error:
            raise _unusable("it is not on the PATH") from error
        except OSError as error:
            raise _unusable(f"gcloud could not be started: {error}") from error
        except TooMuch as error:
            raise _unusable(f"gcloud auth print-access-token {error}") from error
        token = done.output.strip()
        if done.code or not token:
            raise _unusable(f"gcloud auth print-access-token failed: {redact(done.said.strip())}")
        return token, _for_now()


class ApplicationDefault(_HeldToken):
    """What google-auth knows how to refresh.

    A service account's key is exchanged for a token too, and not for an assertion a service: one token serves all of Google's
    APIs and the registry.

    Args:
        source: a `google.auth.credentials.Credentials`.
    """

    def __init__(self, source: Any) -> None:
        super().__init__()
        self.source = source
        self._quota_project_id = source.quota_project_id

    def fetch(self, request: Any) -> tuple[str, dt.datetime]:
        """Let google-auth refresh them."""
        self.source.refresh(partial(request, timeout=_ANSWER_SECONDS))
        if not isinstance(self.source.token, str) or not self.source.token:
            raise _unusable("the answer has no access token in it")
        return self.source.token, self.source.expiry


def _for_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC).replace(tzinfo=None) + _TRUSTED
