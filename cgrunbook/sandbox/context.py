"""What every service of the sandbox is given: state, clock, settings, hosts, principals, IAM and the log.

Knows who the caller is and where each host is played. Knows no service's protocol.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from cgrunbook.sandbox import errors
from cgrunbook.sandbox.access_tokens import Tokens
from cgrunbook.sandbox.asgi import bearer_token
from cgrunbook.sandbox.iam import Iam
from cgrunbook.sandbox.quotas import Quotas
from cgrunbook.sandbox.settings import Settings
from cgrunbook.sandbox.state import Clock, State

log = logging.getLogger("cgrunbook.sandbox")


class Sandbox:
    """The running sandbox, as its services see it.

    A service is `def app(sandbox: Sandbox) -> ASGIApp`; it is made at the first request to its port. It calls
    `sandbox.state.declare(SCHEMA)` first, raises `errors.ServiceError` for every refusal (the server writes it onto
    the wire), and puts the caller into `scope["state"]["principal"]`, from where the request log takes it.

    Args:
        settings: what the sandbox was started with.
        state: the open store.
        hosts: real host name to "127.0.0.1:PORT".
    """

    def __init__(self, settings: Settings, state: State, hosts: Mapping[str, str]) -> None:
        self.settings = settings
        self.state = state
        self.clock = Clock(state)
        self.hosts = dict(hosts)
        self.tokens = Tokens(state, self.clock)
        self.iam = Iam(settings, state, self.clock)
        self.quotas = Quotas(state)

    def principal(self, authorization: str | None) -> str | None:
        """Who sends an Authorization header, in IAM's member form; None for an anonymous caller.

        Args:
            authorization: the header's value, or None when there is none.

        Raises:
            errors.Unauthenticated: there is a credential and it is not a valid one.
        """
        if not authorization:
            return None
        token = bearer_token(authorization)
        if not token:
            raise errors.unauthenticated("ACCESS_TOKEN_TYPE_UNSUPPORTED")
        principal = self.tokens.principal(token)
        if principal is None:
            raise errors.unauthenticated(None)
        return principal

    def hint(self, message: str) -> None:
        """Write a line for the person who reads the server's log.

        Args:
            message: what was asked and what the sandbox lacks; no secret.
        """
        log.warning("%s", "".join(letter if letter.isprintable() else "?" for letter in message))
