"""Who has which role on a resource of Google Cloud: a secret, or the whole project. It reads policies and changes none."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

# The version of a policy that can hold conditions.
POLICY_VERSION = 3


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


@dataclass(frozen=True)
class Binding:
    """Who has a role.

    Args:
        members: such as "serviceAccount:NAME@PROJECT.iam.gserviceaccount.com".
        condition: the expression under which it holds, "" for always.
    """

    role: str
    members: tuple[str, ...]
    condition: str = ""


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
        """Whether a member has a role here without condition.

        Args:
            member: compared without case, as IAM compares e-mail addresses.
        """
        return any(
            binding.role == role
            and not binding.condition
            and member.lower() in {one.lower() for one in binding.members}
            for binding in self.bindings
        )


def read_policy(raw: Any) -> Policy:
    """Read the message that all of Google's clients have for it."""
    return Policy(
        tuple(Binding(binding.role, tuple(binding.members), binding.condition.expression) for binding in raw.bindings),
        base64.b64encode(raw.etag).decode(),
    )
