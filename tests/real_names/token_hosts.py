"""The hosts that give out Google's access tokens: oauth2, sts, iamcredentials, and the metadata server of a machine at Google.

Whoever asks is believed: a refresh token, a subject token and an assertion name the principal whose token is wanted. What comes
out are the sandbox's own access tokens, so that its IAM decides what they may do.
"""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt

from cgrunbook.sandbox import process
from cgrunbook.sandbox.context import Sandbox
from cgrunbook.sandbox.google.service_accounts import identity_token
from cgrunbook.sandbox.settings import Settings
from cgrunbook.sandbox.state import State

OAUTH2, STS, IAM_CREDENTIALS = "oauth2.googleapis.com", "sts.googleapis.com", "iamcredentials.googleapis.com"
METADATA, METADATA_ADDRESS = "metadata.google.internal", "169.254.169.254"

PROJECT = "cgrunbook-sandbox"
#: The service account of the machine whose metadata server answers.
FEDERATED = "projects/1/locations/global/workloadIdentityPools/p/subject/s"
MACHINE = f"machine@{PROJECT}.iam.gserviceaccount.com"
#: A refresh token that was revoked, and the client of a login that was made with the scope cloud-platform alone.
REVOKED, NARROW = "revoked", "narrow"

_CLOUD_PLATFORM = "https://www.googleapis.com/auth/cloud-platform"
_GRANTED = ("openid", "https://www.googleapis.com/auth/userinfo.email", _CLOUD_PLATFORM)

Made = tuple[int, Any]

#: How Google's refresh tokens begin. A name in plain would be masked as the secret that it then is.
_REFRESH = "1//0"


def refresh_token(principal: str) -> str:
    """A refresh token that names a principal, and looks like one."""
    return _REFRESH + base64.urlsafe_b64encode(f"the login of {principal}".encode()).decode()


def _principal(token: str) -> str:
    if not token.startswith(_REFRESH):
        return token
    return base64.urlsafe_b64decode(token.removeprefix(_REFRESH)).decode().rpartition(" ")[2]


class TokenHosts:
    """What these hosts answer.

    Args:
        home: the sandbox's CGRUNBOOK_HOME.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._principals: dict[str, tuple[str, tuple[str, ...]]] = {}
        self.lifetime = 3599.0

    def token(self, principal: str, scopes: tuple[str, ...] = (_CLOUD_PLATFORM,)) -> str:
        """A new access token for an IAM member."""
        token = process.access_token(principal, self._home, self.lifetime)
        self._principals[token] = principal, scopes
        return token

    def in_place_of(self, authorization: str) -> str:
        """A service account's self-signed JWT, which Google's APIs take as it is, exchanged for what the sandbox takes."""
        try:
            claims = jwt.decode(authorization.removeprefix("Bearer "), options={"verify_signature": False})
        except jwt.InvalidTokenError:
            return authorization
        email = str(claims.get("iss", ""))
        return (
            f"Bearer {self.token(f'serviceAccount:{email}')}"
            if email.endswith(".gserviceaccount.com")
            else authorization
        )

    def answer(self, host: str, target: str, body: bytes) -> Made:
        """Status and document, a text where it is no JSON."""
        if target.endswith("/allowedLocations"):  # google-auth asks this by itself, in the background
            return 200, {"locations": [], "encodedLocations": "0x0"}
        if host == METADATA:
            return self._metadata(urlsplit(target).path.rstrip("/"), parse_qs(urlsplit(target).query))
        if host == IAM_CREDENTIALS:
            return self._impersonated(target)
        asked = {name: values[0] for name, values in parse_qs(f"{urlsplit(target).query}&{body.decode()}").items()}
        if host == STS:
            return self._exchanged(asked)
        return self._told(asked) if urlsplit(target).path == "/tokeninfo" else self._refreshed(asked)

    def _refreshed(self, asked: Mapping[str, str]) -> Made:
        if "assertion" in asked:
            claims = jwt.decode(asked["assertion"], options={"verify_signature": False})
            if "target_audience" in claims:
                return 200, {"id_token": self._identity(claims["iss"], claims["target_audience"])}
            scopes = tuple(str(claims.get("scope", "")).split())
            return self._given(f"serviceAccount:{claims['iss']}", scopes)
        principal = _principal(asked.get("refresh_token", ""))
        if principal == REVOKED or ":" not in principal:
            return 400, {"error": "invalid_grant", "error_description": "Token has been expired or revoked."}
        granted = _GRANTED[-1:] if asked.get("client_id") == NARROW else _GRANTED
        wanted = tuple(asked["scope"].split()) if "scope" in asked else granted
        if not set(wanted) <= set(granted):
            return 400, {"error": "invalid_scope", "error_description": "Some requested scopes were invalid."}
        return self._given(principal, wanted)

    def _identity(self, email: str, audience: str) -> str:
        folder = self._home / "sandbox"
        with contextlib.closing(State(folder / "state.db")) as state:
            return identity_token(Sandbox(Settings(home=folder), state, {}), email, audience)

    def _given(self, principal: str, scopes: tuple[str, ...]) -> Made:
        given = {
            "access_token": self.token(principal, scopes),
            "expires_in": int(self.lifetime),
            "token_type": "Bearer",
            "scope": " ".join(scopes),
        }
        if "openid" in scopes:
            email = principal.partition(":")[2]
            given["id_token"] = jwt.encode({"email": email, "email_verified": True}, "k" * 32, algorithm="HS256")
        return 200, given

    def _exchanged(self, asked: Mapping[str, str]) -> Made:
        if "subject_token" not in asked:  # gcloud asks who has the token
            return 200, {"active": True, "username": f"principal://iam.googleapis.com/{FEDERATED}"}
        return 200, {
            "access_token": self.token(asked["subject_token"]),
            "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
            "token_type": "Bearer",
            "expires_in": int(self.lifetime),
        }

    def _impersonated(self, target: str) -> Made:
        found = re.search(r"serviceAccounts/([^:/]+):generateAccessToken", target)
        if found is None:
            return 404, {"error": {"code": 404, "message": "Not found.", "status": "NOT_FOUND"}}
        end = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=self.lifetime)
        return 200, {
            "accessToken": self.token(f"serviceAccount:{found[1]}"),
            "expireTime": end.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }

    def _told(self, asked: Mapping[str, str]) -> Made:
        """Whose token it is; the address is told only where the token has the scope for it."""
        if asked.get("access_token") not in self._principals:
            return 400, {"error": "invalid_token", "error_description": "Invalid Value"}
        principal, scopes = self._principals[asked["access_token"]]
        told = {"azp": "1", "aud": "1", "scope": " ".join(scopes), "expires_in": str(int(self.lifetime))}
        if any(scope.endswith(("userinfo.email", "email")) for scope in scopes) or principal.startswith(
            "serviceAccount:"
        ):
            told |= {"email": principal.partition(":")[2], "email_verified": "true"}
        return 200, told

    def _metadata(self, path: str, query: Mapping[str, list[str]]) -> Made:
        account = "/computeMetadata/v1/instance/service-accounts"
        if path in (f"{account}/default/identity", f"{account}/{MACHINE}/identity"):
            return 200, self._identity(MACHINE, query["audience"][0])
        if path in (f"{account}/default/token", f"{account}/{MACHINE}/token"):
            token = self.token(f"serviceAccount:{MACHINE}")
            return 200, {"access_token": token, "expires_in": int(self.lifetime), "token_type": "Bearer"}
        if path in (f"{account}/default", f"{account}/{MACHINE}"):
            return 200, {"email": MACHINE, "aliases": ["default"], "scopes": [_CLOUD_PLATFORM]}
        texts = {
            "": "computeMetadata/\n",
            f"{account}/default/email": MACHINE,
            "/computeMetadata/v1/project/project-id": PROJECT,
            "/computeMetadata/v1/universe/universe-domain": "googleapis.com",
        }
        return (200, texts[path]) if path in texts else (404, "not found")
