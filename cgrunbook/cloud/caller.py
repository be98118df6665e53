"""Who calls Google: the IAM member whose rights decide, from the cheapest place that really knows.

That is the credentials themselves, what came with their token, or else Google's answer to whose token it is; never a guess.
"""

from __future__ import annotations

import json
import threading
from typing import Any
from urllib.parse import urlencode

from cgrunbook.cloud.application_default import principal
from cgrunbook.cloud.token_hosts import OAUTH2
from cgrunbook.errors import CgrunbookError

# Stands for a member that nobody names.
UNKNOWN = "MEMBER"

_TOKEN_INFO = f"https://{OAUTH2}/tokeninfo"
# Seconds: who calls is good to know, and nothing waits for it that cannot go on without.
_SECONDS = 5.0


class Caller:
    """The member that credentials stand for; found at the first question, and then known.

    Args:
        credentials: a `google.auth.credentials.Credentials`, as `cgrunbook.cloud.credentials` has them.
    """

    def __init__(self, credentials: Any) -> None:
        self._credentials = credentials
        self._member = ""
        self._asking = threading.Lock()

    def __call__(self) -> str:
        """Such as "user:ada@example.com"; `UNKNOWN` where nobody says, or where there is no token to ask with."""
        from google.auth.exceptions import GoogleAuthError

        from cgrunbook.cloud.sessions import AuthRequest

        with self._asking:
            if not self._member:
                self._member = said_by(self._credentials)
            if not self._member:
                try:
                    if not self._credentials.valid:
                        self._credentials.refresh(AuthRequest())
                except (GoogleAuthError, CgrunbookError):
                    return UNKNOWN  # whoever needs the token next says why; it is asked again then
                self._member = said_by(self._credentials) or _told_by_google(self._credentials.token, AuthRequest())
            return self._member


def said_by(credentials: Any) -> str:
    """The member that credentials name themselves, or that came with their token; "" where they do not tell."""
    source = getattr(credentials, "source", credentials)
    address = str(getattr(source, "service_account_email", "") or "")
    if address.endswith(".svc.id.goog"):  # a pod's own identity, which no service account stands for
        pool = f"projects/PROJECT_NUMBER/locations/global/workloadIdentityPools/{address}"
        return f"principal://iam.googleapis.com/{pool}/subject/ns/NAMESPACE/sa/SERVICE_ACCOUNT"
    return member(address) or member(_address_in(getattr(source, "id_token", None))) or _federated(source)


def member(address: str) -> str:
    """An address as an IAM member; "" for what is none, such as the "default" of a machine that was not asked yet."""
    if "@" not in address:
        return ""
    return f"serviceAccount:{address}" if address.endswith(".gserviceaccount.com") else f"user:{address}"


def spoken(caller: str) -> str:
    """A caller in a sentence, after "as"."""
    if caller == UNKNOWN:
        return "an account that Google does not name"
    return caller.partition(":")[2] if caller.startswith(("user:", "serviceAccount:")) else caller


def to_fill_in(caller: str) -> str:
    """A line to follow a command with a member in which something stands for what nobody could tell; "" where all is known."""
    if caller == UNKNOWN:
        return f"\n{UNKNOWN} is the account that calls, as user:ADDRESS or serviceAccount:ADDRESS: Google did not say which it is."
    if caller.startswith("principal:"):
        return "\nWhat is in capitals in the member only the identity's provider knows; SUBJECT is its google.subject."
    return ""


def _federated(source: Any) -> str:
    """The member of an identity from elsewhere that acts as itself."""
    info = getattr(source, "info", None)
    return principal(str(info.get("audience", ""))) if isinstance(info, dict) else ""


def _address_in(identity: Any) -> str:
    """The address in the identity token that came from Google together with the access token."""
    import jwt

    try:
        claims = jwt.decode(identity or "", options={"verify_signature": False})
    except (jwt.InvalidTokenError, TypeError, RecursionError):
        return ""
    return str(claims.get("email", ""))


def _told_by_google(token: str, request: Any) -> str:
    """Ask Google whose token it is; `UNKNOWN` where it does not say."""
    from google.auth.exceptions import GoogleAuthError

    try:
        answer = request(
            _TOKEN_INFO,
            method="POST",
            body=urlencode({"access_token": token}).encode(),
            headers={"Content-Type": "application/x-www-form-urlencoded"},
            timeout=_SECONDS,
        )
        told = json.loads(answer.data)
    except (GoogleAuthError, CgrunbookError, ValueError, RecursionError):
        return UNKNOWN
    return (member(str(told.get("email", ""))) if isinstance(told, dict) else "") or UNKNOWN
