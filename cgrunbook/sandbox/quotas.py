"""Quotas that run out on demand: after so many requests a host answers 429 until somebody lifts it.

Knows how many requests a host still takes. Knows no service's real limits: none is reached in training by itself.
"""

from __future__ import annotations

from cgrunbook.sandbox.errors import ERROR_INFO, HELP, RegistryError, ResourceExhausted, ServiceError
from cgrunbook.sandbox.state import State

SCHEMA = "CREATE TABLE IF NOT EXISTS quota (host TEXT PRIMARY KEY, remaining INTEGER NOT NULL) WITHOUT ROWID;"


class Quotas:
    """What is left of each host's quota. Any process may set one in the state; the server asks at each request.

    Args:
        state: where they are kept.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        state.declare(SCHEMA)

    def limit(self, host: str, requests: int) -> None:
        """Let a host answer so many requests more, and 429 after them.

        Args:
            host: its real name, for example "secretmanager.googleapis.com".
            requests: how many more are answered; 0 for none.
        """
        with self._state.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO quota VALUES (?, ?)", (host, requests))

    def lift(self, host: str) -> None:
        """Let a host answer as many requests as come."""
        with self._state.transaction() as connection:
            connection.execute("DELETE FROM quota WHERE host = ?", (host,))

    def take(self, host: str, project_number: str) -> None:
        """Count one request.

        Args:
            host: the real name of the host asked.
            project_number: whose quota it is, for the refusal.

        Raises:
            ServiceError: nothing is left; in the shape of the host's clients.
        """
        row = self._state.row("SELECT remaining FROM quota WHERE host = ?", host)
        if row is None:
            return
        if row["remaining"] <= 0:
            raise _exhausted(host, project_number)
        with self._state.transaction() as connection:
            connection.execute("UPDATE quota SET remaining = remaining - 1 WHERE host = ?", (host,))


def _exhausted(host: str, project_number: str) -> ServiceError:
    if not host.endswith(".googleapis.com"):
        return RegistryError(429, "TOOMANYREQUESTS", "Resource has been exhausted (e.g. check quota).")
    info = {
        "service": host,
        "consumer": f"projects/{project_number}",
        "quota_metric": f"{host}/requests",
        "quota_limit": "RequestsPerMinutePerProject",
        "quota_location": "global",
    }
    link = {
        "description": "Request a higher quota limit.",
        "url": "https://cloud.google.com/docs/quotas/help/request_increase",
    }
    return ResourceExhausted(
        f"Quota exceeded for quota metric 'Requests' and limit 'Requests per minute' of service '{host}' for consumer "
        f"'project_number:{project_number}'.",
        [
            {"@type": ERROR_INFO, "reason": "RATE_LIMIT_EXCEEDED", "domain": "googleapis.com", "metadata": info},
            {"@type": HELP, "links": [link]},
        ],
    )
