"""Who issues the platform's tokens and whom they are for.

Knows addresses as claims name them; where each host is played is the sandbox's to say.
"""

from __future__ import annotations

PULL_TOKEN_ISSUER = "https://pulltoken.issuer.chainguard.dev"  # noqa: S105 - an address
STS_ISSUER = "https://issuer.enforce.dev"
API_AUDIENCE = "https://console-api.enforce.dev"
REGISTRY_AUDIENCE = "cgr.dev"
