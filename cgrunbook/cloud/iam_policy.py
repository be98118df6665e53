"""Who has which role on a resource of Google Cloud: a secret, or the whole project. It reads policies and changes none."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cgrunbook.cloud.roles import ACCESSOR, may_hold

# The version of a policy that can hold conditions.
POLICY_VERSION = 3

EVERYBODY = ("allUsers", "allAuthenticatedUsers")

# Who may stand behind these, a policy does not tell.
_MANY = ("group:", "principalset:")


def grant_command(on: str, member: str, role: str) -> str:
    """Gcloud's command that gives a role.

    Args:
        on: the command's words before its flags, with the resource: "secrets add-iam-policy-binding S --project=P".
        member: as IAM writes it.
        role: such as "roles/browser".

    Returns:
        The command in one line; without `--condition` gcloud asks on a policy that has conditions, and refuses where
        nobody can answer.
    """
    return f'gcloud {on} --member="{member}" --role={role} --condition=None'


def let_read_command(secret_id: str, project: str, member: str) -> str:
    """Gcloud's command that lets a member read a secret's values; the member as of `grant_command`."""
    return grant_command(f"secrets add-iam-policy-binding {secret_id} --project={project}", member, ACCESSOR)


def take_command(on: str, member: str, binding: Binding) -> str:
    """Gcloud's command that takes a role from a member, as it is held; arguments as of `grant_command`.

    The condition is named: gcloud (528) says that `--all` would do instead, and does not take it for secrets.
    """
    parts = {"expression": binding.condition, "title": binding.title, "description": binding.description}
    said = [f"{name}={part}" for name, part in parts.items() if part]
    marks = ("~", "#", ";", "|", *map(chr, range(0xA1, 0x180)))  # any will do that is nowhere in it
    separator = next((mark for mark in marks if not any(mark in part for part in said)), ",")
    condition = f"^{separator}^{separator.join(said)}" if binding.condition else "None"
    return f"gcloud {on} --member={shlex.quote(member)} --role={binding.role} --condition={shlex.quote(condition)}"


@dataclass(frozen=True)
class Binding:
    """Who has a role.

    Args:
        members: such as "serviceAccount:NAME@PROJECT.iam.gserviceaccount.com".
        condition: the expression under which it holds, "" for always.
        title: what the condition is called.
        description: what is said of it.
    """

    role: str
    members: tuple[str, ...]
    condition: str = ""
    title: str = ""
    description: str = ""

    def __str__(self) -> str:
        """The role, and the condition under which it is held."""
        return f"{self.role} under the condition {self.title!r}, {self.condition}" if self.condition else self.role

    def names(self, member: str) -> bool:
        """Whether a member is named; without case, as IAM compares e-mail addresses."""
        return member.lower() in {one.lower() for one in self.members}

    def means(self, member: str) -> str:
        """As whom a member is among those who are named, or may be: itself, its domain, everybody, a group; "" for none."""
        own = {member.lower(), f"domain:{member.rpartition('@')[2]}".lower()}
        definite = [one for one in self.members if one.lower() in own or one in EVERYBODY]
        return next(iter([*definite, *(one for one in self.members if one.lower().startswith(_MANY))]), "")


@dataclass(frozen=True)
class Policy:
    """An IAM policy.

    Args:
        bindings: in the service's order.
        etag: changes with each change; base64, as gcloud shows it.
    """

    bindings: tuple[Binding, ...]
    etag: str

    def grants(self, member: str, role: str) -> bool:
        """Whether a member has a role here without condition."""
        return any(not binding.condition for binding in self.held(member, role))

    def first_of(self, roles: Sequence[str], member: str) -> str:
        """The first of these roles that a member has here without condition, "" for none."""
        return next((role for role in roles if self.grants(member, role)), "")

    def held(self, member: str, role: str) -> tuple[Binding, ...]:
        """By what a member has a role here: without condition, or else under which conditions; empty for neither.

        Whether a condition holds, only IAM can tell.
        """
        named = tuple(binding for binding in self.bindings if binding.role == role and binding.names(member))
        return tuple(binding for binding in named if not binding.condition) or named

    def in_doubt(self, member: str, permission: str, role: str) -> list[str]:
        """Through what a member may have a permission here, for all that can be told from here.

        Under a condition, in a role of somebody's own making, or as one of many to whom the role for it is given.
        """
        return [
            f"{binding} to {who}"
            for binding in self.bindings
            for who in binding.members
            if (who.lower() == member.lower() and may_hold(binding.role, permission))
            or (binding.role == role and (who in EVERYBODY or who.lower().startswith(_MANY)))
        ]


def read_policy(raw: Any) -> Policy:
    """Read the message that all of Google's clients have for it."""
    return Policy(
        tuple(
            Binding(
                one.role,
                tuple(one.members),
                one.condition.expression,
                one.condition.title,
                one.condition.description,
            )
            for one in raw.bindings
        ),
        base64.b64encode(raw.etag).decode(),
    )


def add_member(raw: Any, member: str, role: str) -> None:
    """Give a member a role without condition in the client's own message of a policy; all else stays as it is."""
    for binding in raw.bindings:
        if binding.role == role and not binding.HasField("condition"):
            binding.members.append(member)
            return
    raw.bindings.add(role=role, members=[member])


def remove_member(raw: Any, member: str, role: str) -> None:
    """Take a role without condition from a member in the client's own message of a policy; all else stays as it is."""
    for index in reversed(range(len(raw.bindings))):
        binding = raw.bindings[index]
        if binding.role != role or binding.HasField("condition"):
            continue
        kept = [one for one in binding.members if one.lower() != member.lower()]
        if kept:
            binding.members[:] = kept
        else:
            del raw.bindings[index]
