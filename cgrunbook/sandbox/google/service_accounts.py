"""Service accounts: their numbers, at iam.googleapis.com, and the identity tokens that iamcredentials.googleapis.com gives.

Knows which account has which unique id and who may have an identity token of it. Knows no list of accounts: each one of the
project that is named well is taken to be there. What a token is shown for is its audience's business.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from cgrunbook.sandbox import errors, hosts
from cgrunbook.sandbox.asgi import body_of
from cgrunbook.sandbox.context import Sandbox
from cgrunbook.sandbox.signed_tokens import SignedTokens

ISSUER = "https://accounts.google.com"
_SECONDS = 3600
_BODY_LIMIT = 1 << 16
_READ = re.compile(r"/v1/projects/[^/]+/serviceAccounts/([^/:]+)")
_IDENTITY_TOKEN = re.compile(r"/v1/projects/-/serviceAccounts/([^/:]+):generateIdToken")


def identity_tokens(sandbox: Sandbox) -> SignedTokens:
    """What signs the identity tokens, and knows them again."""
    return SignedTokens(sandbox.state, sandbox.clock, "google.identity_token_key")


def unique_id(email: str) -> str:
    """An account's number, 21 digits: the subject of its identity tokens; the same in every sandbox."""
    return f"1{int(hashlib.sha256(email.encode()).hexdigest(), 16) % 10**20:020d}"


def identity_token(sandbox: Sandbox, email: str, audience: str) -> str:
    """An identity token of a service account, an hour long, with the claims that Google's have."""
    now = int(sandbox.clock.now().timestamp())
    claims = {"iss": ISSUER, "aud": audience, "azp": unique_id(email), "sub": unique_id(email)}
    times = {"iat": now, "exp": now + _SECONDS}
    return identity_tokens(sandbox).sign(claims | times | {"email": email, "email_verified": True})


class _Accounts:
    """Both hosts: one reads an account, the other gives its tokens."""

    def __init__(self, sandbox: Sandbox, host: str) -> None:
        self._sandbox = sandbox
        self._host = host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        caller = self._sandbox.principal(request.headers.get("authorization"))
        if caller is None:
            raise errors.unauthenticated("CREDENTIALS_MISSING", self._host)
        request.scope["state"]["principal"] = caller
        answer = await self._answer(request, caller)
        await JSONResponse(answer)(scope, receive, send)

    async def _answer(self, request: Request, caller: str) -> dict[str, Any]:
        path, method = request.scope["path"], request.method
        if self._host == hosts.IAM and method == "GET" and (found := _READ.fullmatch(path)):
            return self._read(caller, found[1])
        if self._host == hosts.IAM_CREDENTIALS and method == "POST" and (found := _IDENTITY_TOKEN.fullmatch(path)):
            body = await body_of(request, _BODY_LIMIT, errors.InvalidArgument("The request is too large."))
            return self._give(caller, found[1], body)
        self._sandbox.hint(f"{self._host}: the sandbox does not have {method} {path}")
        raise errors.Unimplemented("The sandbox does not play this method.")

    def _read(self, caller: str, account: str) -> dict[str, Any]:
        email = self._known(account)
        self._check(caller, "iam.serviceAccounts.get", email)
        project = self._sandbox.settings.project_id
        return {
            "name": f"projects/{project}/serviceAccounts/{email}",
            "projectId": project,
            "uniqueId": unique_id(email),
            "email": email,
            "oauth2ClientId": unique_id(email),
        }

    def _give(self, caller: str, account: str, body: bytes) -> dict[str, Any]:
        email = self._known(account)
        if caller != f"serviceAccount:{email}":
            self._check(caller, "iam.serviceAccounts.getOpenIdToken", email)
        try:
            asked = json.loads(body)
            audience = asked["audience"]
        except (ValueError, KeyError, TypeError, RecursionError) as problem:
            raise errors.InvalidArgument("An audience is required.") from problem
        return {"token": identity_token(self._sandbox, email, str(audience))}

    def _known(self, account: str) -> str:
        domain = f"@{self._sandbox.settings.project_id}.iam.gserviceaccount.com"
        name = account.removesuffix(domain)
        if not account.endswith(domain) or not re.fullmatch(r"[a-z][a-z0-9-]{0,28}[a-z0-9]", name):
            raise errors.NotFound(f"Unknown service account: {account}")
        return account

    def _check(self, caller: str, permission: str, email: str) -> None:
        resource = f"projects/{self._sandbox.settings.project_id}/serviceAccounts/{email}"
        if not self._sandbox.iam.allowed(caller, permission, resource):
            raise errors.PermissionDenied(
                f"Permission '{permission}' denied on resource (or it may not exist).",
                [
                    {
                        "@type": errors.ERROR_INFO,
                        "reason": "IAM_PERMISSION_DENIED",
                        "domain": self._host,
                        "metadata": {"permission": permission},
                    }
                ],
            )


def app(sandbox: Sandbox) -> ASGIApp:
    """What plays iam.googleapis.com."""
    return _Accounts(sandbox, hosts.IAM)


def credentials_app(sandbox: Sandbox) -> ASGIApp:
    """What plays iamcredentials.googleapis.com."""
    return _Accounts(sandbox, hosts.IAM_CREDENTIALS)
