"""Sessions: what the platform's token exchange (STS) gives for a login, and whose session a token is.

Knows the exchange and the claims of a session's token. Two credentials are taken: an identity token that Google gives a
service account, for an identity that is assumed with it; and the operator's Google access token, which stands for the login
at an identity provider that the sandbox does not play.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cgrunbook.sandbox.chainguard.addresses import STS_ISSUER
from cgrunbook.sandbox.chainguard.identities import Identities
from cgrunbook.sandbox.chainguard.organizations import Organizations
from cgrunbook.sandbox.context import Sandbox
from cgrunbook.sandbox.errors import PlatformError
from cgrunbook.sandbox.google.service_accounts import identity_tokens
from cgrunbook.sandbox.signed_tokens import SignedTokens

_SESSION_SECONDS = 3600


@dataclass(frozen=True)
class Session:
    """A caller of the platform or of the registry.

    Args:
        identity: id of the Chainguard identity.
        email: e-mail of a person, None for a machine.
        issued: when the session began.
        expires: when it ends.
        audience: whom the session's token is for.
    """

    identity: str
    email: str | None
    issued: datetime
    expires: datetime
    audience: str


class Sessions:
    """The token exchange of a sandbox."""

    def __init__(self, sandbox: Sandbox, organizations: Organizations) -> None:
        self._sandbox = sandbox
        self._organizations = organizations
        self._identities = Identities(sandbox, organizations)
        self._tokens = SignedTokens(sandbox.state, sandbox.clock, "chainguard.signing_key")
        self._google = identity_tokens(sandbox)

    def exchange(self, shown: str, audience: str, identity: str = "") -> tuple[str, Session]:
        """A new session's token and the session, an hour long.

        Args:
            shown: a service account's identity token, or the sandbox's OAuth access token of the operator.
            audience: whom the session's token is to be for.
            identity: the id of the identity that is to be assumed, "" for the operator's own.

        Raises:
            PlatformError: UNAUTHENTICATED, nobody registered has this token.
        """
        who, email = self._whose(shown, identity)
        now = int(self._sandbox.clock.now().timestamp())
        claims = {
            "iss": STS_ISSUER,
            "sub": who,
            "aud": audience,
            "iat": now,
            "exp": now + _SESSION_SECONDS,
            "email": email,
            "jti": secrets.token_hex(8),
        }
        return self._tokens.sign(claims), _session(claims)

    def _whose(self, shown: str, identity: str) -> tuple[str, str | None]:
        operator = self._sandbox.tokens.principal(shown) == self._sandbox.settings.operator
        if operator and identity in ("", self._organizations.trainee):
            return self._organizations.trainee, self._organizations.trainee_email
        claims = self._google.claims(shown)
        if claims is None or not identity or self._identities.assumed(identity, claims, STS_ISSUER) is None:
            raise PlatformError("UNAUTHENTICATED", "Identity not found")
        return identity, None

    def session(self, token: str, audience: str) -> Session | None:
        """The session of a token; None when it is not valid for this audience."""
        claims = self._tokens.claims(token)
        return _session(claims) if claims and claims["aud"] == audience else None


def _session(claims: Mapping[str, Any]) -> Session:
    return Session(
        identity=claims["sub"],
        email=claims["email"],
        issued=datetime.fromtimestamp(claims["iat"], UTC),
        expires=datetime.fromtimestamp(claims["exp"], UTC),
        audience=claims["aud"],
    )
