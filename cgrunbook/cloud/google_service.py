"""How a method of a Google service is called: over REST, with a timeout, its errors explained, its operation awaited.

It knows what all of Google's official clients share. It does not know any one service.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, TypeVar

from google.api_core.retry import Retry
from google.auth.transport.requests import AuthorizedSession

from cgrunbook.cloud import sessions
from cgrunbook.cloud.attempts import Attempts
from cgrunbook.cloud.google_errors import explain_answer, explained, of_response
from cgrunbook.cloud.iam_policy import POLICY_VERSION, Policy, read_policy, remove_member
from cgrunbook.errors import Conflict, MemberUnknown, NotFound, ServiceError, Temporary

if TYPE_CHECKING:
    from cgrunbook.cloud.connection import Connection

T = TypeVar("T")
R = TypeVar("R")

# Seconds for one request; the clients' own default for these services.
TIMEOUT = 60.0

# Seconds for one operation. Creating a repository takes some seconds; Terraform allows 20 minutes, and so does this.
_OPERATION_LIMIT = 1200.0

# Seconds before the second look at an operation.
_FIRST_LOOK = 0.2

# The clients' hidden retries are switched off: `Attempts` alone tries again, and shows it.
CALL: dict[str, Any] = {"retry": None, "timeout": TIMEOUT}
_NEVER = Retry(predicate=lambda _error: False)


class _StillRunning(Temporary):
    """An operation is not done yet; it leaves this module only at the limit, as a `Temporary`."""


class GoogleService:
    """What each of the services has: a connection, attempts, and ways to call.

    `doing` is everywhere what is tried, a phrase after "to", such as "create the repository demo".

    Args:
        connection: where the service is and who calls it.
        attempts: how long to try what is temporary, and who sees the waits.
    """

    _client: Any
    """Google's own client, where the service has one."""

    def __init__(self, connection: Connection, attempts: Attempts) -> None:
        self.connection = connection
        self.attempts = attempts

    @cached_property
    def _session(self) -> AuthorizedSession:
        """For what no official client has."""
        return sessions.authorized(self.connection.credentials)

    def _request(
        self, method: str, address: str, doing: str, body: Mapping[str, object] | None = None
    ) -> dict[str, Any]:
        """One plain request; the answer is a JSON object."""
        response = self._session.request(method, address, json=body, timeout=TIMEOUT)  # type: ignore[no-untyped-call]
        if response.status_code >= 400:
            raise explain_answer(of_response(response), self.connection, doing)
        body = response.json()
        if not isinstance(body, dict):
            raise ServiceError(f"Tried to {doing}. The service answered with something that is no JSON object.")
        return body

    def _once(self, doing: str, call: Callable[[], T]) -> T:
        """Call; for what must not be repeated blindly."""
        with explained(self.connection, doing):
            return call()

    def _repeat(self, doing: str, call: Callable[[], T]) -> T:
        """Call, and again while the error is temporary; for reads and for writes that may be repeated."""
        return self.attempts.run(lambda: self._once(doing, call), reason=f"another attempt to {doing}")

    def _find(self, doing: str, call: Callable[[], T]) -> T | None:
        """Read what may not be there."""
        try:
            return self._repeat(doing, call)
        except NotFound:
            return None

    def _send_once(
        self,
        doing: str,
        call: Callable[[], T],
        *,
        arrived: Callable[[], R | None],
        noticed: tuple[type[ServiceError], ...] = (),
    ) -> T | R:
        """Send a write that must not happen twice, and again while the error is temporary.

        When an answer is lost, nobody knows whether its request arrived. A service that would notice a second one (the
        name is taken, the etag is old) is sent it, and such a refusal means that the first had arrived, or that somebody
        else was at it meanwhile; before a service that would not notice is sent another, it is looked first. Either way
        what is there decides.

        Args:
            arrived: reads what an earlier request has done; None when it was not that.
            noticed: how the service refuses a second request; nothing where it would carry it out again.

        Returns:
            The answer, or what `arrived` found.
        """
        lost = False

        def attempt() -> T | R:
            nonlocal lost
            if lost and not noticed and (found := arrived()) is not None:
                return found
            try:
                return self._once(doing, call)
            except Temporary:
                lost = True
                raise
            except noticed:
                if lost and (found := arrived()) is not None:
                    return found
                raise

        return self.attempts.run(attempt, reason=f"another attempt to {doing}")

    def _read_back(self, doing: str, what: str, read: Callable[[], T | None]) -> T:
        """Read what was just written; it may take a moment to appear."""

        def attempt() -> T:
            if (there := read()) is None:
                raise Temporary(
                    f"Tried to {doing}. The service said yes, but {what} is not there to be read.", "Run again."
                )
            return there

        return self.attempts.run(attempt, reason=f"{what} to appear")

    def _remove(self, doing: str, read: Callable[[], object], call: Callable[[], object]) -> bool:
        """Delete what is there, and look whether it is gone; False when it was not there to begin with."""
        if read() is None:
            return False
        # Somebody else was quicker, or a first request worked and its answer was lost: gone is what was wanted.
        with suppress(NotFound):
            call()
        if read() is not None:
            raise ServiceError(f"Tried to {doing}. The service said yes, but it is still there.", "Run again.")
        return True

    def _read_policy(self, resource: str, doing: str) -> Any:
        """The client's own message of who has which role on a resource."""
        request = {"resource": resource, "options": {"requested_policy_version": POLICY_VERSION}}
        return self._repeat(doing, lambda: self._client.get_iam_policy(request, **CALL))

    def _change_policy(
        self,
        resource: str,
        doing: str,
        edit: Callable[[Any], None],
        done: Callable[[Policy], bool],
        *,
        introduce: Callable[[], object] | None = None,
    ) -> Policy:
        """Read a resource's IAM policy, edit, write under its etag, and read again; on a conflict from the start.

        Args:
            edit: changes the client's own message.
            done: whether nothing is left to be changed.
            introduce: makes the member, where IAM says that it does not know it; called until it has.
        """
        introductions = [introduce] if introduce else []

        def attempt() -> None:
            raw = self._read_policy(resource, doing)
            if done(read_policy(raw)):
                return
            edit(raw)
            # Written with a lower version, a policy with conditions is refused.
            raw.version = POLICY_VERSION
            request = {"resource": resource, "policy": raw}
            try:
                self._once(doing, lambda: self._client.set_iam_policy(request, **CALL))
            except MemberUnknown:
                if introductions:
                    introductions[0]()
                    introductions.clear()  # one that failed is tried again with the rest
                raise

        self.attempts.run(attempt, reason=f"another attempt to {doing}", temporary=(Temporary, Conflict))
        policy = read_policy(self._read_policy(resource, doing))
        if not done(policy):
            raise ServiceError(
                f"Tried to {doing}. The service said yes, but the policy reads back without the change.",
                "Somebody may have changed it at the same moment: run again.",
            )
        return policy

    def _revoke_grant(self, resource: str, doing: str, member: str, role: str) -> Policy:
        """Take a role on a resource from a member; other bindings and all conditional ones stay as they are."""
        edit = partial(remove_member, member=member, role=role)
        return self._change_policy(resource, doing, edit, lambda policy: not policy.grants(member, role))

    def _finish(self, doing: str, operation: Any) -> Any:
        """Wait for an operation, visibly; answer its response, which for a repository lacks fields that a later read has.

        Args:
            doing: what the operation does, a phrase after "to".
            operation: a `google.api_core.operation.Operation`; it may be done already, and it may have failed already.

        Raises:
            Temporary: it is still running after `_OPERATION_LIMIT` seconds.
            ServiceError: the operation failed.
        """
        looking = f"see how the operation to {doing} stands"
        self._until_done(doing, lambda: self._repeat(looking, lambda: operation.done(retry=_NEVER)))
        return self._once(doing, operation.result)

    def _until_done(self, doing: str, done: Callable[[], bool]) -> None:
        """Look again and again whether an operation is done."""

        def look() -> None:
            if not done():
                raise _StillRunning(
                    f"The operation to {doing} is still running.",
                    "Run again later; it goes on from what is there.",
                )

        # Temporary errors of the looks have had their own attempts: only the running is awaited here.
        self.attempts.run(
            look,
            reason=f"the operation to {doing}",
            temporary=(_StillRunning,),
            limit=_OPERATION_LIMIT,
            first=_FIRST_LOOK,
        )


def client(kind: Callable[..., Any], connection: Connection, endpoint: str) -> Any:
    """One of the official clients, over the connections that are kept; REST is the one transport, here and in the sandbox.

    Args:
        kind: the client's class.
        endpoint: the service's base URL; its scheme is honoured.
    """
    made = kind(credentials=connection.credentials, transport="rest", client_options={"api_endpoint": endpoint})
    sessions.share(made.transport._session)  # noqa: SLF001 - a transport takes no session: it makes one
    if (operations := getattr(made.transport, "operations_client", None)) is not None:
        sessions.share(operations.transport._session)  # noqa: SLF001
    return made
