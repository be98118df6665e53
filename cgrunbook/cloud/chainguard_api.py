"""Chainguard's API v2: pull tokens made, listed and revoked; identities, roles and bindings for who makes them.

It knows the API's messages, compared field by field with what is published (docs/services.md), and what a pull token is made
of: a key made here whose public half alone is sent, an identity, a role binding, a JWT. Whose calls they are is in
chainguard_session.py.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from typing import Any
from urllib.parse import quote

from cgrunbook import durations
from cgrunbook.cloud import retry, sessions
from cgrunbook.cloud.attempts import Attempts
from cgrunbook.cloud.chainguard import NOT_ENOUGH, ListedToken, LoginState, Minted, names_of
from cgrunbook.cloud.chainguard_session import TOKEN_AUDIENCE, Session
from cgrunbook.cloud.connection import Connection
from cgrunbook.cloud.google_service import TIMEOUT, GoogleService
from cgrunbook.cloud.pull_token import PullToken
from cgrunbook.errors import (
    AlreadyExists,
    CgrunbookError,
    ChainguardFailed,
    ChainguardSignedOut,
    NotFound,
    PermissionMissing,
    Temporary,
    WrongState,
)
from cgrunbook.redaction import Secret, one_line

Message = Mapping[str, Any]

# Of every pull token: who it says has issued it, and what chainctl puts behind its name.
_PULL_TOKEN_ISSUER = "https://pulltoken.issuer.chainguard.dev"  # noqa: S105 - an address
_SUFFIX = " - registry"
_PULL = "registry.pull"

_LARGEST_PAGE = 200
_KEY_BITS = 4096
# What clocks may differ by.
_SKEW = timedelta(seconds=30)
_GROUP = re.compile(r"[0-9a-f]{40}")


class ChainguardApi(GoogleService):
    """The calls of API v2.

    Args:
        connection: where it is.
        attempts: how long to try what is temporary, and who sees the waits.
        session: whose calls they are.
    """

    def __init__(self, connection: Connection, attempts: Attempts, session: Session) -> None:
        super().__init__(connection, attempts)
        self._whose = session
        self._groups: dict[str, str] = {}

    @property
    def account(self) -> str:
        """The caller in a sentence."""
        return self._whose.account

    def group(self, organization: str) -> str:
        """The id of an organisation, by its name or itself.

        Raises:
            ChainguardFailed: the caller sees none of this name.
        """
        if _GROUP.fullmatch(organization):
            return organization
        if organization not in self._groups:
            doing = f"look for the organisation {organization}"
            named = self.listed("groups", "/iam/v2/groups", doing, name=organization)
            found = [
                str(one["uid"]) for one in named if _GROUP.fullmatch(str(one["uid"]))
            ]  # and no folder of that name
            if not found:
                raise ChainguardFailed(
                    f"Chainguard shows {self.account} no organisation named {organization}.",
                    "Check the organisation's name: chainctl iam organizations list",
                )
            self._groups[organization] = found[0]
        return self._groups[organization]

    def roles(self, name: str) -> list[Message]:
        """The roles of a name: the platform's own, and those of organisations that the caller sees."""
        return self.listed("roles", "/iam/v2/roles", f"look for the role {name}", name=name)

    def listed(self, field: str, path: str, doing: str, **query: str) -> list[Message]:
        """All pages of a list.

        Args:
            field: what the answer calls the entries.
            path: where it is.
            doing: what is tried, a phrase after "to".
            query: filters; "__" stands for a dot.

        Raises:
            PermissionMissing: the caller may not have it; v2 says so, where v1 would answer with none.
            Temporary: it began again in its middle: a page's token ends after three days, and no error says so.
        """
        asked = {name.replace("__", "."): value for name, value in query.items()} | {"pageSize": str(_LARGEST_PAGE)}
        found: dict[str, Message] = {}
        while True:
            page = self._repeat(doing, partial(self.call, "GET", path, doing, query=dict(asked)))
            entries = page.get(field, [])
            if not isinstance(entries, list) or not all(isinstance(one, dict) and "uid" in one for one in entries):
                raise ChainguardFailed(
                    f"Tried to {doing}. The answer is no list of {field}.", "Look for a newer cgrunbook."
                )
            if any(one["uid"] in found for one in entries):
                raise Temporary(f"Tried to {doing}. The list changed, or began again, as it was read.", "Run again.")
            found |= {str(one["uid"]): one for one in entries}
            if not (following := page.get("nextPageToken")):
                return [*found.values()]
            asked["pageToken"] = str(following)

    def call(
        self, method: str, path: str, doing: str, *, query: Mapping[str, str] | None = None, body: Message | None = None
    ) -> dict[str, Any]:
        """One request, and once more with a fresh session where the held one is not taken any more."""
        for last in (False, True):
            token = self._whose.token()
            with sessions.session() as asking:
                answer = asking.request(
                    method,
                    f"{self.connection.chainguard_api}{path}",
                    params=query,
                    json=body,
                    headers={"Authorization": f"Bearer {token.reveal()}"},
                    timeout=TIMEOUT,
                    allow_redirects=False,
                )
            if answer.status_code == 401 and not last:
                self._whose.forget()
                continue
            break
        try:
            said = answer.json() if answer.content else {}
        except (ValueError, RecursionError):
            said = None
        if answer.status_code == 200 and isinstance(said, dict):
            return said
        raise self._refused(answer.status_code, said if isinstance(said, dict) else {}, doing)

    def _refused(self, status: int, said: Message, doing: str) -> CgrunbookError:
        """The error that says the same; v2 answers with google.rpc.Status and HTTP's own statuses."""
        sentence = one_line(str(said.get("message") or "it said nothing that can be read")).rstrip(".")
        told = f"Tried to {doing}. Chainguard answered {status}: {sentence}."
        if status in retry.HTTP_STATUSES:
            return Temporary(told, "Run again.")
        if status == 401:
            return ChainguardSignedOut(told, self._whose.sign_in)
        if status == 403:
            return PermissionMissing(told, self._whose.more_rights)
        if status == 404:
            return NotFound(told, "Look at what is there: chainctl iam identities list; chainctl iam roles list")
        if status == 409:
            return AlreadyExists(told, "Look at what is there, or choose another name.")
        if said.get("code") == 9:
            return WrongState(told, "Take away first what depends on it.")
        if any("expiration" in field for field in _fields(said)):
            return ChainguardFailed(
                told, "Take a shorter life: the plan may allow 720h (Starter) or 168h (Team) at most."
            )
        return ChainguardFailed(told, "Look at what it says; where it speaks of a field, look for a newer cgrunbook.")

    def identities(self, organization: str, kind: str) -> list[Message]:
        """An organisation's identities of one kind, an enum's value such as `RELATIONSHIP_TYPE_CLAIM_MATCH`."""
        doing = f"list the identities of {organization}"
        above = {"uidp__descendantsOf": self.group(organization), "relationshipType": kind}
        return self.listed("identities", "/iam/v2/identities", doing, **above)

    def create_identity(self, organization: str, body: Message, *, known_by: Mapping[str, str]) -> Message:
        """Create an identity, once: where an answer was lost, it is looked for by its issuer and subject.

        Args:
            organization: whose.
            body: the Identity message.
            known_by: which kind it is, an enum's value under the name of its part: `{"staticKeys": "RELATIONSHIP_..."}`.
        """
        doing = f"create the identity {body['name']} in {organization}"
        [(part, kind)] = known_by.items()

        def arrived() -> Message | None:
            for one in self.identities(organization, kind):
                there = one.get(part) or {}
                if all(there.get(name) == body[part][name] for name in ("issuer", "subject")):
                    return one
            return None

        path = f"/iam/v2/identities/{quote(self.group(organization))}"
        made: Message = self._send_once(doing, partial(self.call, "POST", path, doing, body=body), arrived=arrived)
        return made

    def create_role(self, organization: str, body: Message) -> Message:
        """Create an organisation's own role; where it is there by now, that one."""
        doing = f"create the role {body['name']} in {organization}"
        parent = self.group(organization)

        def arrived() -> Message | None:
            there = self.roles(str(body["name"]))
            return next((role for role in there if str(role["uid"]).startswith(f"{parent}/")), None)

        send = partial(self.call, "POST", f"/iam/v2/roles/{quote(parent)}", doing, body=body)
        made: Message = self._send_once(doing, send, arrived=arrived, noticed=(AlreadyExists,))
        return made

    def bind(self, organization: str, identity: str, roles: Sequence[str]) -> None:
        """Bind an identity to roles, by their ids, all or none."""
        parent = self.group(organization)
        doing = f"bind the identity {identity} to its role"
        bindings = [{"identityUid": identity, "roleUid": role} for role in roles]
        body = {"parent": parent, "requests": [{"parent": parent, "roleBinding": one} for one in bindings]}
        with suppress(AlreadyExists):
            self._repeat(doing, partial(self.call, "POST", "/iam/v2/roleBindings:batchCreate", doing, body=body))

    def delete(self, kind: str, uid: str, what: str) -> bool:
        """Delete by its id what may not be there any more; `kind` as paths have it, such as "identities"."""
        doing = f"delete {what}"
        try:
            self._repeat(doing, partial(self.call, "DELETE", f"/iam/v2/{kind}/{quote(uid)}", doing))
        except NotFound:
            return False
        return True


class PullTokens(ChainguardApi):
    """Pull tokens without chainctl: the other door of `chainguard.Chainguard`."""

    name = "Chainguard's API"

    def __init__(self, connection: Connection, attempts: Attempts, session: Session) -> None:
        super().__init__(connection, attempts, session)
        self._minted = Minted()

    def version(self) -> str:
        """The edition of the API."""
        return "v2"

    def require_login(self) -> LoginState:
        """Whom the API takes the service account for.

        Raises:
            ChainguardSignedOut: the STS, or the API, does not take it.
            NotSignedIn: there is no identity token of a service account to be had.
        """
        doing = "ask Chainguard who calls"
        who = self._repeat(doing, partial(self.call, "GET", "/auth/v1/ok", doing))
        roles: dict[str, str] = {}
        told = who.get("capabilities")
        for entry in told if isinstance(told, list) else []:
            # A set of capabilities that is no known role's is told as it is.
            held = (entry.get("role") or {}).get("name") or ", ".join(entry.get("capabilities") or [])
            group = str((entry.get("group") or {}).get("name") or "")
            roles[group] = ", ".join(filter(None, (roles.get(group), held)))
        return LoginState(one_line(str(who.get("subject") or "")), self.account, roles)

    def organizations(self) -> tuple[str, ...]:
        """The names of the organisations that the identity sees."""
        return names_of(self.listed("groups", "/iam/v2/groups", "list the organisations"))

    def images(self, organization: str) -> tuple[str, ...]:
        """The names of the images in an organisation's catalogue."""
        above = self.group(organization)
        doing = f"list the images of {organization}"
        return tuple(sorted(names_of(self.listed("repos", "/registry/v2/repos", doing, uidp__descendantsOf=above))))

    @cached_property
    def _pull_role(self) -> str:
        for role in self.roles(_PULL):
            if "/" not in str(role["uid"]):  # the platform's own, and not an organisation's of the same name
                return str(role["uid"])
        raise ChainguardFailed(f"Chainguard shows {self.account} no role {_PULL}.", NOT_ENOUGH)

    def create_pull_token(self, parent: str, name: str, ttl: str, description: str = "") -> PullToken:
        """Create a pull token as chainctl does; never two by one call.

        Args:
            parent: the organisation's name or id.
            name: such as "pull token"; lower-case letters, digits, space, '.', '_' and '-'; at most 52 characters.
            ttl: how long it lives, in Go's form: "720h"; it may come to live shorter, which its `expires` says.
            description: what it is for.

        Returns:
            The token; its password exists nowhere else, and the key that it was signed with nowhere at all.

        Raises:
            ChainguardSignedOut: the caller is not taken.
            PermissionMissing: the caller may not create pull tokens.
            ChainguardFailed: Chainguard refuses; then no token is left behind, or the message says so.
        """
        import jwt
        from cryptography.hazmat.primitives.asymmetric import rsa

        role, life = self._pull_role, durations.parse(ttl)
        key = rsa.generate_private_key(public_exponent=65537, key_size=_KEY_BITS)
        public = jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True) | {"alg": "RS256", "use": "sig"}
        subject = f"pull-token-{secrets.token_hex(16)}"
        issued = datetime.now(UTC).replace(microsecond=0)
        keys = {
            "issuer": _PULL_TOKEN_ISSUER,
            "subject": subject,
            "issuerKeys": json.dumps({"keys": [public]}),
            "expirationTime": _written(issued + life),
        }
        body = {"name": f"{name}{_SUFFIX}", "description": description, "staticKeys": keys}
        made = self.create_identity(parent, body, known_by={"staticKeys": "RELATIONSHIP_TYPE_STATIC"})
        identity = str(made.get("uid") or "")
        with ExitStack() as undo:
            undo.callback(self._undo, identity)
            claims = {"iss": _PULL_TOKEN_ISSUER, "aud": TOKEN_AUDIENCE, "sub": subject, **_times(made, issued, life)}
            # A pull token's header is {"alg": "RS256"}; an empty typ is left out.
            password = Secret(jwt.encode(claims, key, algorithm="RS256", headers={"typ": ""}))
            token = PullToken.checked(identity, password)
            self.bind(parent, identity, [role])
            undo.pop_all()
        self._minted.add(identity)
        return token

    def _undo(self, identity: str) -> None:
        """Take away an identity that nobody can use."""
        with suppress(CgrunbookError):  # who may not delete leaves it behind; it is known again by its name
            self.delete("identities", identity, f"the identity {identity}, which nobody can use")

    def list_pull_tokens(self, parent: str) -> tuple[ListedToken, ...]:
        """An organisation's pull tokens, ended ones included.

        Raises:
            PermissionMissing: the caller may create pull tokens but not list them.
        """
        tokens = [
            one
            for one in self.identities(parent, "RELATIONSHIP_TYPE_STATIC")
            if (one.get("staticKeys") or {}).get("issuer") == _PULL_TOKEN_ISSUER
        ]
        self._minted.must_show_in({str(one["uid"]) for one in tokens}, parent)
        return tuple(
            ListedToken(
                str(one["uid"]),
                one_line(str(one.get("name") or "")),
                _moment(one["staticKeys"].get("expirationTime")),
                _moment(one.get("lastSeenTime")),
            )
            for one in tokens
        )

    def revoke(self, identity_id: str, parent: str) -> bool:
        """Revoke a pull token by deleting its identity; may be repeated. False when it was not there any more."""
        deleted = self.delete("identities", identity_id, f"the pull token {identity_id} of {parent}")
        self._minted.discard(identity_id)
        return deleted


def _times(made: Message, asked: datetime, life: timedelta) -> dict[str, int]:
    """From when to when a token is good: no longer than its keys, which may have been given less than was asked.

    A real one ends a second before its keys. It begins when Chainguard says that it was made, where the clocks differ.
    """
    created = _moment(made.get("createTime")) or asked
    issued = created if abs(created - asked) > _SKEW else asked
    ends = min(issued + life, _moment((made.get("staticKeys") or {}).get("expirationTime")) or issued + life)
    return {"iat": int(issued.timestamp()), "exp": int(ends.timestamp()) - 1}


def _fields(said: Message) -> list[str]:
    """Which fields a refusal names."""
    details = said.get("details")
    found = [one for one in (details if isinstance(details, list) else []) if isinstance(one, dict)]
    violations = [violation for one in found for violation in one.get("fieldViolations") or []]
    return [str(violation.get("field", "")).lower() for violation in violations if isinstance(violation, dict)]


def _written(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _moment(text: Any) -> datetime | None:
    with suppress(ValueError):
        moment = datetime.fromisoformat(str(text))
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return None
