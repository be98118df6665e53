"""Who calls Chainguard's API: a Google service account by its identity token, or whoever chainctl is signed in as.

Chainguard's STS exchanges Google's identity token for a token of its own, an hour long, where an identity of the organisation
may be assumed by that account. Nothing of either is stored. It knows where the identity token of each kind of credentials
comes from, and not what a session is used for.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any, Protocol

from cgrunbook.cloud import retry, sessions
from cgrunbook.cloud.attempts import Attempts
from cgrunbook.cloud.chainctl import Chainctl
from cgrunbook.cloud.chainguard import NOT_ENOUGH
from cgrunbook.cloud.connection import Connection
from cgrunbook.cloud.google_errors import explain_answer, explained, of_response
from cgrunbook.cloud.google_service import TIMEOUT, GoogleService
from cgrunbook.cloud.iam_policy import grant_command
from cgrunbook.errors import ChainguardFailed, ChainguardSignedOut, NotSignedIn, PermissionMissing, Temporary
from cgrunbook.redaction import Secret, one_line

API_AUDIENCE = "https://console-api.enforce.dev"
#: Whom an identity token has to be for, unless the assumable identity names another: the STS itself.
TOKEN_AUDIENCE = "https://issuer.enforce.dev"  # noqa: S105 - an address

# Seconds before its end in which a session is not begun with any more, and for which one is taken to last that tells no end.
_SPARE, _SHORT = 120.0, 600.0


class Session(Protocol):
    """Whose calls they are."""

    @property
    def account(self) -> str:
        """The caller in a sentence."""

    @property
    def sign_in(self) -> str:
        """What is done where Chainguard does not take the caller, an instruction."""

    @property
    def more_rights(self) -> str:
        """What is done where the caller may not do what is tried, an instruction."""

    def token(self) -> Secret:
        """A token that the API takes now."""

    def forget(self) -> None:
        """Have a fresh one the next time."""


class OfChainctl:
    """Whoever chainctl is signed in as: for what an owner does once."""

    account = "whoever chainctl is signed in as"
    sign_in = "Sign in: chainctl auth login"
    more_rights = (
        "An owner of the organisation may do this: ask one, or have one run the commands. Who you are: chainctl auth "
        "status"
    )

    def __init__(self, command: Chainctl) -> None:
        self._command = command
        self._held: Secret | None = None

    def token(self) -> Secret:
        """chainctl renews it by itself, and prints what is good for some minutes at least."""
        if self._held is None:
            self._held = self._command.session_token()
        return self._held

    def forget(self) -> None:
        """Ask chainctl the next time."""
        self._held = None


class OfServiceAccount(GoogleService):
    """A Google service account that may assume an identity of the organisation."""

    more_rights = NOT_ENOUGH

    def __init__(self, connection: Connection, attempts: Attempts) -> None:
        super().__init__(connection, attempts)
        self._held: Secret | None = None
        self._until = 0.0
        self._email = ""

    @property
    def account(self) -> str:
        """The service account, as its identity token says; before there was one, as far as the credentials know."""
        return self._email or self.connection.chainguard.service_account or self._own

    @property
    def sign_in(self) -> str:
        """What is done where the STS does not take the account."""
        identity = self.connection.chainguard.identity
        return (
            f"Look whether the identity is there and is for this account (its subject is the account's unique id): chainctl iam "
            f"identities list --type=claim_match --output=json, then gcloud iam service-accounts describe "
            f"{self.account or 'ACCOUNT'} --format='value(uniqueId)'. What is set up once: docs/automation.md. The identity that "
            f"was asked for is {identity}."
        )

    def token(self) -> Secret:
        """A session's token, from the STS where none is held or the held one ends soon."""
        if self._held is None or time.monotonic() > self._until:
            self._held = self._repeat("sign in to Chainguard as a Google service account", self._exchange)
        return self._held

    def forget(self) -> None:
        """Exchange anew the next time."""
        self._held = None

    @property
    def _source(self) -> Any:
        """google-auth's own credentials, where there are some."""
        return getattr(self.connection.credentials, "source", self.connection.credentials)

    @property
    def _own(self) -> str:
        """The account of the credentials themselves; "default" of a machine that was not asked yet."""
        return str(getattr(self._source, "service_account_email", "") or "")

    def _exchange(self) -> Secret:
        identity = self.connection.chainguard.identity
        shown = self.identity_token()
        self._email = str(_claims(shown.reveal()).get("email") or "")
        doing = f"exchange the identity token of {self.account or 'a service account'} at Chainguard's STS"
        address = f"{self.connection.chainguard_sts}/sts/exchange"
        # The body is a form: JSON is not read there (the SDK's sts.go). An answer that redirects would carry the token away.
        with sessions.session() as asking:
            answer = asking.post(
                address,
                data={"aud": API_AUDIENCE, "identity": identity},
                headers={"Authorization": f"Bearer {shown.reveal()}"},
                timeout=TIMEOUT,
                allow_redirects=False,
            )
        said = _document(answer)
        if answer.status_code in retry.HTTP_STATUSES:
            raise Temporary(f"Tried to {doing}. It answered {answer.status_code}.", "Run again.")
        if answer.status_code != 200:
            why = one_line(str(said.get("message") or f"it answered {answer.status_code}"))
            raise ChainguardSignedOut(f"Tried to {doing}: {why}.", self.sign_in)
        token = said.get("token")
        if not isinstance(token, str) or not token:
            raise ChainguardFailed(f"Tried to {doing}. The answer has no token in it.", "Run again.")
        self._until = time.monotonic() + max(_lasts(token) - _SPARE, 0.0)
        return Secret(token)

    def identity_token(self) -> Secret:
        """Google's identity token of the service account, for the STS.

        Raises:
            NotSignedIn: no service account stands behind the credentials, or they are not accepted.
            PermissionMissing: whoever calls may not have one of the account that is given.
        """
        from google.auth import compute_engine, external_account, impersonated_credentials
        from google.oauth2 import service_account

        source, given = self._source, self.connection.chainguard.service_account
        own = self._own
        if given and given != own and not (own == "default" and self._of_the_machine() == given):
            return self._given_by_iam(self.connection.credentials, given)
        request = sessions.AuthRequest()
        if isinstance(source, impersonated_credentials.Credentials):
            kept: Any = source
            return self._given_by_iam(kept._source_credentials, own, kept._delegates)  # noqa: SLF001 - nowhere else
        if isinstance(source, external_account.Credentials) and own:
            # Whoever may act as an account by a federation, may have its identity token too: roles/iam.workloadIdentityUser.
            info = {name: value for name, value in source.info.items() if "impersonation" not in name}
            scopes = ["https://www.googleapis.com/auth/cloud-platform"]
            kind: Any = type(source)
            return self._given_by_iam(kind.from_info(info, scopes=scopes), own)
        with explained(self.connection, f"get an identity token of {own or 'a service account'}"):
            if isinstance(source, compute_engine.Credentials):
                making: Any = compute_engine.IDTokenCredentials(  # type: ignore[no-untyped-call]
                    request, TOKEN_AUDIENCE, use_metadata_identity_endpoint=True
                )
            elif isinstance(source, service_account.Credentials):
                key: Any = source
                making = service_account.IDTokenCredentials(  # type: ignore[no-untyped-call]
                    key.signer,
                    own,
                    key._token_uri,  # noqa: SLF001 - nowhere else
                    TOKEN_AUDIENCE,
                )
            else:
                raise NotSignedIn(
                    "Chainguard is to be called as a Google service account, and none stands behind the credentials.",
                    "Give the account that may make pull tokens as the parameter chainguard_service_account, and let whoever "
                    "calls have identity tokens of it (roles/iam.serviceAccountTokenCreator on it). Or sign in with chainctl: "
                    "chainctl auth login",
                )
            making.refresh(request)
            return Secret(str(making.token))

    def _of_the_machine(self) -> str:
        """The account of this machine, whose credentials call it "default" until they were used."""
        with explained(self.connection, "see whose this machine's credentials are"):
            self.connection.access_token()
        return self._own

    def _given_by_iam(self, credentials: Any, account: str, delegates: Any = None) -> Secret:
        """What Google's IAM Credentials API gives to who may act as an account."""
        doing = f"get an identity token of {account}"
        address = f"{self.connection.iam_credentials}/v1/projects/-/serviceAccounts/{account}:generateIdToken"
        body = {"audience": TOKEN_AUDIENCE, "includeEmail": True, "delegates": delegates or []}
        with explained(self.connection, doing):
            with sessions.authorized(credentials) as asking:
                answer = asking.post(address, json=body, timeout=TIMEOUT)
            if answer.status_code == 403 and "SERVICE_DISABLED" not in answer.text:
                caller = self.connection.caller
                raise PermissionMissing(
                    f"Tried to {doing}. {one_line(of_response(answer).message)}",
                    f"Who calls must be able to act as {account}: "
                    + grant_command(
                        f"iam service-accounts add-iam-policy-binding {account}",
                        caller,
                        "roles/iam.serviceAccountTokenCreator",
                    ),
                    permission="iam.serviceAccounts.getOpenIdToken",
                )
            if answer.status_code >= 400:
                raise explain_answer(of_response(answer), self.connection, doing)
            return Secret(str(_document(answer).get("token") or ""))


def unique_id(connection: Connection, attempts: Attempts, account: str) -> str:
    """A service account's number: the subject of its identity tokens.

    Raises:
        NotFound: there is no such account.
        PermissionMissing: the caller lacks iam.serviceAccounts.get.
    """
    return _Accounts(connection, attempts).unique_id(account)


class _Accounts(GoogleService):
    def unique_id(self, account: str) -> str:
        doing = f"read the unique id of {account}"
        address = f"{self.connection.iam}/v1/projects/-/serviceAccounts/{account}"
        found = str(self._repeat(doing, lambda: self._request("GET", address, doing)).get("uniqueId") or "")
        if not found.isdigit():
            raise ChainguardFailed(f"Tried to {doing}. The answer has none in it.", "Run again.")
        return found


def _document(answer: Any) -> dict[str, Any]:
    """The JSON object of an answer; an empty one where there is none."""
    with suppress(ValueError, RecursionError):
        found = answer.json()
        if isinstance(found, dict):
            return found
    return {}


def _claims(token: str) -> dict[str, Any]:
    """What a JWT says; its signature is not ours to check."""
    import jwt

    with suppress(jwt.InvalidTokenError, ValueError, RecursionError):
        return jwt.decode(token, options={"verify_signature": False})
    return {}


def _lasts(token: str) -> float:
    """Seconds that a token lasts, by its own claims, so that no clocks are compared."""
    with suppress(ValueError, KeyError, TypeError):
        claims = _claims(token)
        return float(claims["exp"]) - float(claims["iat"])
    return _SHORT
