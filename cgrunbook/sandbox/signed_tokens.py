"""JWTs that a service signs for itself: a registry's bearer tokens, the platform's sessions.

Knows the key and the clock. Knows no claim but the end (`exp`); whom a token is for is its service's to compare.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jwt
from jwt.types import Options

from cgrunbook.sandbox.state import Clock, State

#: Ends are compared with the sandbox's clock, which the JWT library does not know; the rest is the service's.
_ONLY_THE_SIGNATURE: Options = {"verify_exp": False, "verify_iat": False, "verify_nbf": False, "verify_aud": False}


class SignedTokens:
    """Tokens of one service, signed with a key of its own (HS256).

    Args:
        state: keeps the key.
        clock: decides which tokens have expired.
        key_name: under which the key is kept.
    """

    def __init__(self, state: State, clock: Clock, key_name: str) -> None:
        self._clock = clock
        self._key = state.key(key_name)

    def sign(self, claims: Mapping[str, object]) -> str:
        """A token with these claims, `exp` among them as seconds since 1970."""
        return jwt.encode(dict(claims), self._key, algorithm="HS256")

    def claims(self, token: str) -> dict[str, Any] | None:
        """The claims of a token made by `sign`; None when it is forged or has expired."""
        try:
            claims: dict[str, Any] = jwt.decode(token, self._key, algorithms=["HS256"], options=_ONLY_THE_SIGNATURE)
        except jwt.InvalidTokenError:
            return None
        return claims if self._clock.now().timestamp() < float(claims["exp"]) else None
