"""Who needs which host on an image's way, and which of them this machine reaches: the guide's first hint, made a table.

It knows who calls whom (the vendor's network requirements mix all callers); how a host is asked is the steps' affair.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from cgrunbook.cloud.cloud_logging import LOGGING
from cgrunbook.errors import ExitCode
from cgrunbook.steps.prerequisites import CheckNetwork, hosts
from cgrunbook.steps.step import Finding, Mark, World


class Who(StrEnum):
    """Who calls a host."""

    PULLS = "who pulls"
    RUNBOOK = "cgrunbook"
    REGISTRY = "Artifact Registry"
    CHAINCTL = "chainctl"


# What chainctl calls, whoever has it (vendor's network requirements; signing in is done in a browser).
_OF_CHAINCTL = {
    "console-api.enforce.dev": "pull tokens, images",
    "issuer.enforce.dev": "signing in",
    "auth.chainguard.dev": "signing in with a browser",
    "chainguard.us.auth0.com": "signing in with a browser",
    "dl.enforce.dev": "its own download",
}
# What a client asks besides the registry: whose helper is gcloud's has its tokens from there.
_OF_A_CLIENT = frozenset({"oauth2.googleapis.com"})
# What can be done without, and is asked only then.
_OPTIONAL = {LOGGING: "optional, for platform logs that are on"}


@dataclass
class Host:
    """One host, always at port 443.

    Args:
        name: as the world knows it.
        purposes: what for.
        who: calls it.
        here: what came of asking from this machine; None where nobody here needs it, and nobody asked.
    """

    name: str
    purposes: list[str] = field(default_factory=list)
    who: set[Who] = field(default_factory=set)
    here: Finding | None = None

    @property
    def said(self) -> str:
        """How it is from here, in a few words."""
        if self.here is None:
            return f"not asked: {_OPTIONAL.get(self.name, 'not needed from here')}"
        if self.here.mark is Mark.OK:
            return "answers"
        optional = "" if self.here.mark is Mark.FAIL else "can be done without: "
        return f"{optional}{self.here.seen}"

    def as_json(self) -> dict[str, Any]:
        """The same for a program."""
        return {
            "host": self.name,
            "port": 443,
            "for": self.purposes,
            "who": [who.value for who in Who if who in self.who],
            "from_here": self.here.mark.value if self.here else "not asked",
            "seen": self.said,
            "remedy": self.here.remedy if self.here else "",
        }


def who_needs_what(world: World) -> tuple[Host, ...]:
    """All hosts of a target's way, in the order of the way; those that this machine needs are asked, all at once."""
    found: dict[str, Host] = {}
    registry = world.cloud.connection.artifact_registry_host.name
    for needed, finding in zip(hosts(world, production=True), CheckNetwork().verify(world).findings, strict=True):
        host = found.setdefault(needed.name, Host(needed.name))
        host.purposes.append(needed.purpose.removeprefix("Chainguard: "))
        if needed.ask is None:
            host.who.add(Who.REGISTRY)
            continue
        host.here = finding
        host.who.add(Who.CHAINCTL if needed.name in _OF_CHAINCTL else Who.RUNBOOK)
        if needed.name == registry or needed.name in _OF_A_CLIENT:
            host.who.add(Who.PULLS)
    found[LOGGING] = Host(LOGGING, ["doctor: platform logs"], {Who.RUNBOOK})
    for name, purpose in _OF_CHAINCTL.items():
        host = found.setdefault(name, Host(name))
        host.who.add(Who.CHAINCTL)
        if purpose not in host.purposes:
            host.purposes.append(purpose)
    return tuple(found.values())


def exit_code(table: Iterable[Host]) -> ExitCode:
    """What a command ends with: a host that is needed from here is not reached, or all are."""
    missing = any(host.here is not None and host.here.mark is Mark.FAIL for host in table)
    return ExitCode.TO_DO if missing else ExitCode.DONE
