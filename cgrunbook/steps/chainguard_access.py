"""Who makes pull tokens without chainctl: a Google service account, set up once by an owner of the organisation.

It knows what Chainguard wants for that: an identity which the account may assume, the platform's least role for making pull
tokens, and a role of the organisation's own for seeing and taking away what was made. The vendor has written this down for
other platforms; for Google Cloud, docs/automation.md does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace

from cgrunbook.cloud.chainguard_api import ChainguardApi, Message
from cgrunbook.cloud.chainguard_session import TOKEN_AUDIENCE, OfServiceAccount, unique_id
from cgrunbook.cloud.connection import ChainguardAccess
from cgrunbook.errors import CgrunbookError, StepFailed, WrongState
from cgrunbook.steps.step import Change, Evidence, Outcome, Plan, Section, Step, World, quoted

ISSUER = "https://accounts.google.com"
CREATOR, PRUNER = "registry.pull_token_creator", "cgrunbook pull token pruner"

# What the least role for making pull tokens leaves out, by v2's name and by v1's, which is chainctl's.
_PRUNES = {"CAP_IAM_IDENTITY_DELETE": "identity.delete", "CAP_IAM_IDENTITY_LIST": "identity.list"}

# Stands in the description of what cgrunbook made: only that is ever deleted.
_MADE = "Made by cgrunbook"
_CLAIM_MATCH = "RELATIONSHIP_TYPE_CLAIM_MATCH"


@dataclass(frozen=True)
class _There:
    """What an organisation has for an account.

    Args:
        subject: the account's unique id.
        identity: the identity that it may assume; None where there is none.
        lacks: what that identity may not do and must, as v2 names it.
        creator: the id of the role that makes pull tokens.
        pruner: the organisation's own role; None where there is none.
    """

    subject: str
    identity: Message | None
    lacks: frozenset[str]
    creator: str
    pruner: Message | None

    @property
    def lacks_creator(self) -> bool:
        """Whether it lacks something that the least role for making tokens has."""
        return bool(self.lacks - _PRUNES.keys())

    @property
    def lacks_pruner(self) -> bool:
        """Whether it may not see or delete what it made."""
        return bool(self.lacks & _PRUNES.keys())


class LetServiceAccountMakePullTokens(Step):
    """Let a Google service account make, list and revoke an organisation's pull tokens, without a stored credential.

    Args:
        service_account: its address.
        organization: whose pull tokens; empty takes the only organisation there is.
        asked: whether somebody asked for it; else it is skipped.
    """

    section = Section.PREREQUISITES
    why = "With it, pull tokens are renewed on a schedule by who needs no chainctl and keeps no credential of Chainguard's."

    def __init__(self, service_account: str, organization: str = "", *, asked: bool = True) -> None:
        self.account = service_account
        self.organization = organization
        self.not_asked_for = "" if asked and service_account else "chainguard_set_up"
        self.title = f"Let {service_account or 'a service account'} make pull tokens"
        self.name = _name(service_account)

    def plan(self, world: World) -> Plan:
        organization = world.organization(self.organization)
        there = _look(world, organization, self.account)
        changes = []
        if there.lacks_pruner and there.pruner is None:
            changes.append(Change(f"role {PRUNER}", "", None, f"with {' and '.join(sorted(_PRUNES.values()))}"))
        if there.identity is None:
            changes.append(Change(f"identity {self.name}", "", None, f"for {self.account} ({there.subject}) to assume"))
        named = there.identity.get("name") if there.identity else self.name
        roles = [role for role, lacks in ((CREATOR, there.lacks_creator), (PRUNER, there.lacks_pruner)) if lacks]
        if roles:
            changes.append(Change(f"identity {named}", f"roles in {organization}", None, " and ".join(roles)))
        if not changes:
            return Plan()
        return Plan(
            Outcome.UPDATED if there.identity else Outcome.CREATED,
            tuple(changes),
            self._commands(organization, there),
            notes=(
                "No key and no password is made: Google vouches for the account, and Chainguard gives it a token of an hour.",
            ),
        )

    def apply(self, world: World, plan: Plan) -> None:
        """Make the role, the identity and its bindings, as far as they are not there."""
        organization = world.organization(self.organization)
        api, there = world.cloud.chainguard_as_owner, _look(world, organization, self.account)
        roles = [there.creator] if there.lacks_creator else []
        if there.lacks_pruner:
            roles.append(str((there.pruner or _make_pruner(api, organization))["uid"]))
        identity = there.identity
        if identity is None:
            body = {
                "name": self.name,
                "description": _described(self.account),
                "claimMatch": {"issuer": ISSUER, "subject": there.subject},
            }
            identity = api.create_identity(organization, body, known_by={"claimMatch": _CLAIM_MATCH})
        if roles:
            api.bind(organization, str(identity["uid"]), roles)

    def verify(self, world: World) -> Evidence:
        organization = world.organization(self.organization)
        there = _look(world, organization, self.account)
        if there.identity is None or there.lacks:
            raise StepFailed(
                f"{self.account} may not make and take away pull tokens of {organization} yet.", "Run again."
            )
        identity = str(there.identity["uid"])
        facts = {
            "identity": identity,
            "assumed by": f"{self.account} ({there.subject})",
            "signed in as it": _tried(world, identity, self.account),
            "to be given to a run": f"chainguard_auth=service-account, chainguard_identity={identity}",
        }
        return Evidence(f"identity {identity}", facts)

    def _commands(self, organization: str, there: _There) -> tuple[str, ...]:
        parent = f"--parent={organization}"
        commands = []
        if there.lacks_pruner and there.pruner is None:
            flags = (parent, f"--capabilities={','.join(sorted(_PRUNES.values()))}", f"--description={_MADE}", "--yes")
            commands.append(_chainctl("iam roles create", PRUNER, *flags))
        if there.identity is None:
            commands.append(
                f"subject=$(gcloud iam service-accounts describe {self.account} --format='value(uniqueId)')"
            )
            claims = (f"--identity-issuer={ISSUER}", f"--role={CREATOR}", f"--description={_described(self.account)}")
            made = _chainctl("iam identities create", self.name, parent, *claims, "--yes")
            commands.append(f'identity=$({made} \\\n  --subject="$subject" --output=id)')
        else:
            commands.append(f"identity={there.identity['uid']}")
        bound = [PRUNER] if there.lacks_pruner else []
        if there.identity is not None and there.lacks_creator:
            bound.append(CREATOR)
        commands += [
            f'{_chainctl("iam role-bindings create", parent, f"--role={role}", "--yes")} \\\n  --identity="$identity"'
            for role in bound
        ]
        return tuple(commands)


class TakeAwayChainguardAccess(Step):
    """Take away what `LetServiceAccountMakePullTokens` has made, and nothing that somebody else did.

    Args:
        service_account: its address.
        organization: whose pull tokens; empty takes the only organisation there is.
        asked: whether somebody asked for it; else it is skipped.
        confirmed: whether it is to be done, or only planned.
    """

    section = Section.PREREQUISITES
    why = "Who makes no pull tokens any more need not be able to."

    def __init__(
        self, service_account: str, organization: str = "", *, asked: bool = True, confirmed: bool = True
    ) -> None:
        self.account = service_account
        self.organization = organization
        if not confirmed:
            self.held_back = "Nothing was deleted: set confirm to the value of repository to go on."
        self.not_asked_for = "" if asked and service_account else "chainguard_set_up"
        self.title = f"Let {service_account or 'the service account'} make no pull tokens any more"

    def plan(self, world: World) -> Plan:
        identities, role = self._ours(world, world.organization(self.organization))
        changes = [
            Change(f"identity {one.get('name')}", "", f"which {self.account} assumes", None) for one in identities
        ]
        commands = [f"chainctl iam identities delete {one['uid']} --yes" for one in identities]
        if role is not None:
            changes.append(Change(f"role {PRUNER}", "", "to which nobody else is bound", None))
            commands.append(f"chainctl iam roles delete {role['uid']} --yes")
        notes = (self.held_back,) if self.held_back else ()
        return Plan(Outcome.DELETED, tuple(changes), tuple(commands), notes=notes) if changes else Plan()

    def apply(self, world: World, plan: Plan) -> None:  # what is there is looked at again
        """Delete the identities, which take their bindings along, then the role."""
        api = world.cloud.chainguard_as_owner
        identities, role = self._ours(world, world.organization(self.organization))
        for one in identities:
            api.delete("identities", str(one["uid"]), f"the identity {one.get('name')}")
        if role is not None:
            api.delete("roles", str(role["uid"]), f"the role {PRUNER}")

    def verify(self, world: World) -> Evidence:
        identities, role = self._ours(world, world.organization(self.organization))
        if identities or role is not None:
            raise StepFailed("Chainguard said yes, but it is still there.", "Run again.")
        return Evidence("nothing of ours is left")

    def _ours(self, world: World, organization: str) -> tuple[list[Message], Message | None]:
        """The identities and the role that cgrunbook made; the role only where nobody else is bound to it.

        The account itself may be gone by now: what was made for it says so.
        """
        api = world.cloud.chainguard_as_owner
        identities = [
            one
            for one in api.identities(organization, _CLAIM_MATCH)
            if one.get("description") == _described(self.account)
        ]
        role = _named(api.roles(PRUNER), PRUNER, api.group(organization))
        if role is not None:
            gone = {one["uid"] for one in identities}
            bound = _bindings(api, organization, role=str(role["uid"]))
            if not _is_ours(role) or any((one.get("identity") or {}).get("uid") not in gone for one in bound):
                role = None
        return identities, role


def _look(world: World, organization: str, account: str) -> _There:
    """Read what is there for an account.

    Raises:
        WrongState: the organisation's own role is there, and is another than is needed.
    """
    api, cloud = world.cloud.chainguard_as_owner, world.cloud
    subject = unique_id(cloud.connection, cloud.attempts, account)
    group = api.group(organization)
    roles = [
        role
        for role in api.listed("roles", "/iam/v2/roles", f"list the roles of {organization}")
        if str(role["uid"]).rpartition("/")[0] in ("", group)
    ]
    creator = _named(roles, CREATOR, "")
    if creator is None:
        raise WrongState(f"Chainguard shows no role {CREATOR}.", "Look at what there is: chainctl iam roles list")
    pruner = _named(roles, PRUNER, group)
    if pruner is not None and not _capabilities(pruner) >= _PRUNES.keys():
        raise WrongState(
            f"The role {PRUNER} of {organization} is there and lacks {' and '.join(sorted(_PRUNES.values()))}.",
            f"Take it away, then run again: chainctl iam roles delete {pruner['uid']} --yes",
        )
    # Made by hand beside ours, either does; ours comes first, so that a second run finds what the first one made.
    found = [one for one in api.identities(organization, _CLAIM_MATCH) if _assumed_with(one, subject)]
    identity = min(found, key=lambda one: (not _is_ours(one), str(one["uid"])), default=None)
    may: set[str] = set()
    if identity is not None:
        bound = {
            str((binding.get("role") or {}).get("uid"))
            for binding in _bindings(api, organization, identity=str(identity["uid"]))
        }
        may = {capability for role in roles if role["uid"] in bound for capability in _capabilities(role)}
    needed = _capabilities(creator) | _PRUNES.keys()
    return _There(subject, identity, frozenset(needed - may), str(creator["uid"]), pruner)


def _assumed_with(identity: Message, subject: str) -> bool:
    """Whether an identity is assumed with a Google account's own token for the STS, and with nothing more in it."""
    claims = {name: value for name, value in (identity.get("claimMatch") or {}).items() if value}
    return {"audience": TOKEN_AUDIENCE, **claims} == {"audience": TOKEN_AUDIENCE, "issuer": ISSUER, "subject": subject}


def _bindings(api: ChainguardApi, organization: str, **of: str) -> list[Message]:
    doing = f"list the role bindings of {organization}"
    return api.listed("roleBindings", "/iam/v2/roleBindings", doing, uidp__childrenOf=api.group(organization), **of)


def _make_pruner(api: ChainguardApi, organization: str) -> Message:
    body = {"name": PRUNER, "description": _MADE, "capabilities": sorted(_PRUNES)}
    return api.create_role(organization, body)


def _named(roles: Iterable[Message], name: str, group: str) -> Message | None:
    return next(
        (role for role in roles if role.get("name") == name and str(role["uid"]).rpartition("/")[0] == group), None
    )


def _capabilities(role: Message) -> set[str]:
    return set(map(str, role.get("capabilities") or ()))


def _is_ours(message: Message) -> bool:
    return str(message.get("description") or "").startswith(_MADE)


def _described(account: str) -> str:
    return f"{_MADE}: {account} makes pull tokens"


def _name(account: str) -> str:
    """The identity's name: at most 63 lower-case letters, digits, space, '.', '_' and '-'."""
    return f"cgrunbook {account.partition('@')[0][:30]} {hashlib.sha256(account.encode()).hexdigest()[:8]}"


def _tried(world: World, identity: str, account: str) -> str:
    """Whether the account can be signed in as from here; who may not act as it cannot tell."""
    access = ChainguardAccess("service-account", identity, account)
    connection = replace(world.cloud.connection, chainguard=access)
    try:
        OfServiceAccount(connection, world.cloud.attempts).token()
    except CgrunbookError as error:
        return f"not from here: {error.message.splitlines()[0]}"
    return "yes"


def _chainctl(words: str, *arguments: str) -> str:
    return " \\\n  ".join((f"chainctl {words}", *quoted(arguments)))
