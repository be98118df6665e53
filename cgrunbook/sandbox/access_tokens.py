"""OAuth access tokens of the sandbox and whom they stand for.

Knows hashes and ends of tokens. Knows nothing of what their bearers may do (iam.py).
"""

from __future__ import annotations

import hashlib
import secrets

from cgrunbook.sandbox.state import Clock, State

SCHEMA = """
CREATE TABLE IF NOT EXISTS access_token (
    sha256 TEXT PRIMARY KEY, principal TEXT NOT NULL, expires_at TEXT
) WITHOUT ROWID;
"""


class Tokens:
    """OAuth access tokens of the sandbox: only their SHA-256 is kept.

    Args:
        state: where the hashes are kept.
        clock: decides which tokens have expired.
    """

    def __init__(self, state: State, clock: Clock) -> None:
        self._state = state
        self._clock = clock
        state.declare(SCHEMA)

    def issue(self, principal: str, lifetime_seconds: float | None = None) -> str:
        """A new access token.

        Args:
            principal: who the token stands for, for example "user:reader@example.com".
            lifetime_seconds: seconds until it expires; None for never.
        """
        token = "ya29." + secrets.token_urlsafe(48)
        self.admit(token, principal, lifetime_seconds)
        return token

    def admit(self, token: str, principal: str, lifetime_seconds: float | None = None) -> None:
        """Make an existing token valid for a principal; for ever when no lifetime is given."""
        expires_at = None if lifetime_seconds is None else str(self._clock.now().timestamp() + lifetime_seconds)
        with self._state.transaction() as connection:
            values = (_sha256(token), principal, expires_at)
            connection.execute("INSERT OR REPLACE INTO access_token VALUES (?, ?, ?)", values)

    def principal(self, token: str) -> str | None:
        """Who a token stands for; None when it is unknown or has expired."""
        row = self._state.row("SELECT principal, expires_at FROM access_token WHERE sha256 = ?", _sha256(token))
        if row is None or (row["expires_at"] and float(row["expires_at"]) <= self._clock.now().timestamp()):
            return None
        return str(row["principal"])


def _sha256(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
