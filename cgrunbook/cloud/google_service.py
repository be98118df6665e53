"""How a method of a Google service is called: over REST, with a timeout, its errors explained, its operation awaited.

It knows what all of Google's official clients share. It does not know any one service.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from google.api_core.retry import Retry

from cgrunbook.cloud.attempts import Attempts
from cgrunbook.cloud.google_errors import explained
from cgrunbook.errors import Temporary

if TYPE_CHECKING:
    from cgrunbook.cloud.connection import Connection

T = TypeVar("T")

# Seconds for one request; the clients' own default for these services.
TIMEOUT = 60.0

# Seconds for one operation. Creating a repository takes some seconds; Terraform allows 20 minutes, and so does this.
OPERATION_LIMIT = 1200.0

# Seconds before the second look at an operation.
_FIRST_LOOK = 0.2

# The clients' hidden retries are switched off: `Attempts` alone tries again, and shows it.
CALL: dict[str, Any] = {"retry": None, "timeout": TIMEOUT}
_NEVER = Retry(predicate=lambda _error: False)


class _StillRunning(Temporary):
    """An operation is not done yet; it leaves this module only at the limit, as a `Temporary`."""


class GoogleService:
    """What each of the services has: a connection, attempts, and ways to call.

    Args:
        connection: where the service is and who calls it.
        attempts: how long to try what is temporary, and who sees the waits.
    """

    def __init__(self, connection: Connection, attempts: Attempts) -> None:
        self.connection = connection
        self.attempts = attempts

    def _once(self, doing: str, call: Callable[[], T]) -> T:
        """Call; for what must not be repeated blindly.

        Args:
            doing: what is tried, a phrase after "to".
            call: one request.
        """
        with explained(self.connection, doing):
            return call()

    def _repeat(self, doing: str, call: Callable[[], T]) -> T:
        """Call, and again while the error is temporary; for reads and for writes that may be repeated.

        Args:
            doing: what is tried, a phrase after "to".
            call: one request.
        """
        return self.attempts.run(lambda: self._once(doing, call), reason=f"another attempt to {doing}")

    def _finish(self, doing: str, operation: Any) -> Any:
        """Wait for an operation, visibly.

        Args:
            doing: what the operation does, a phrase after "to".
            operation: a `google.api_core.operation.Operation`; it may be done already, and it may have failed already.

        Returns:
            The operation's response. For a repository it lacks fields that a later read has.

        Raises:
            Temporary: it is still running after `OPERATION_LIMIT` seconds.
            ServiceError: the operation failed.
        """

        def look() -> None:
            if not self._repeat(f"see how the operation to {doing} stands", lambda: operation.done(retry=_NEVER)):
                raise _StillRunning(
                    f"The operation to {doing} is still running.",
                    "Run again later; it goes on from what is there.",
                )

        # Temporary errors of the looks have had their own attempts in `_repeat`: only the running is awaited here.
        self.attempts.run(
            look,
            reason=f"the operation to {doing}",
            temporary=(_StillRunning,),
            limit=OPERATION_LIMIT,
            first=_FIRST_LOOK,
        )
        return self._once(doing, operation.result)


def client_arguments(connection: Connection, endpoint: str) -> dict[str, Any]:
    """What each official client is made with; REST is the one transport, here and in the sandbox.

    Args:
        connection: who calls.
        endpoint: the service's base URL; its scheme is honoured.
    """
    return {
        "credentials": connection.credentials,
        "transport": "rest",
        "client_options": {"api_endpoint": endpoint},
    }


def moment(value: Any) -> dt.datetime | None:
    """A time of Google's clients as Python's own, in UTC; None stays None.

    Args:
        value: what a message's time field gives; its nanoseconds are dropped.
    """
    return None if value is None else dt.datetime.combine(value.date(), value.time(), dt.UTC)
