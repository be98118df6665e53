"""The doctor and the faults of the sandbox, brought together: what it says of each, and of each two that can be together.

`make faults` asks it of all pairs, prints how often it is right, and writes the table of docs/diagnosis.md.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from unittest.mock import patch

from cgrunbook.cloud import Attempts, Cloud, connect
from cgrunbook.diagnosis.doctor import Diagnosis, diagnose, ways_of
from cgrunbook.parameters import Parameters
from cgrunbook.sandbox import faults, process
from cgrunbook.sandbox.faults.catalogue import FAULTS
from cgrunbook.steps.docker import SignDockerIn
from cgrunbook.steps.step import World
from tests.clients.docker_engine import docker_engine
from tests.clients.programs import client
from tests.documents import ROOT, replaced
from tests.sandbox.faults.world import PROJECT, SECRET, Broken, made
from tests.steps.performing import PRIVATE, PUBLIC

LACKS = "caller-lacks-"
LEAST_RATE = 0.97

#: The root cause of each fault, as the doctor calls it.
EXPECTED: Mapping[str, str] = {
    "organization-misspelt": "organization/unknown",
    "image-not-in-catalogue": "image/not-granted",
    "tag-not-free": "tag/not-free",
    "tag-stale": "cache/stale",
    "token-ended": "token-end/ended",
    "token-revoked": "identity/revoked",
    "token-role-missing": "image/no-role",
    "token-username-mismatched": "pair/mismatched",
    "secret-version-disabled": "secret-version/disabled",
    "secret-version-destroyed": "secret-version/destroyed",
    "upstream-unvalidated": "token-end/no-token",
    "secret-newline": "token-end/white-space",
    "secret-base64": "token-end/base64",
    "secret-empty": "token-end/empty",
    "secret-other-project": "secret/other-project",
    "secret-deleted": "secret/absent",
    "credentials-missing": "image/not-public",
    "grant-missing": "grant/missing",
    "grant-conditional": "grant/conditional",
    "grant-wrong-project": "grant/other-agent",
    "agent-absent": "grant/agent-gone",
    "upstream-path": "upstream/path",
    "upstream-wrong-host": "upstream/host",
    "repository-wrong-location": "repository/elsewhere",
    "api-disabled-artifactregistry": "artifact-registry-api/off",
    "api-disabled-secretmanager": "secret-manager-api/off",
    "reader-missing": "reader/absent",
    "vpc-sc-denied": "vpc-sc/denied",
    "cgr-dev-down": "cgr-host/no-answer",
    "cgr-dev-slow": "cgr-host/slow",
    "cgr-dev-429": "cgr-host/throttled",
    "cgr-dev-503": "cgr-host/failing",
    "blob-host-blocked": "blob-host/no-answer",
    "blob-corrupted": "blob-host/corrupted",
    "blob-truncated": "blob-host/truncated",
    "clock-skew": "clock/skewed",
    "docker-other-location": "docker-login/other-location",
    "docker-helper-missing": "docker-login/helper-missing",
    "docker-snap": "docker-login/snap",
    "proxy-password": "network/proxy-login",
    "client-disk-full": "disk/full",
}


def expected(name: str) -> str:
    """What the doctor is to call a fault's cause."""
    return "caller/permission" if name.startswith(LACKS) else EXPECTED[name]


def as_set(fault: str) -> str:
    """A fault as it is set here: a slow host as little slow as the doctor tells of."""
    return f"{fault}=2.1" if fault == "cgr-dev-slow" else fault


def look(home: Path, patience: float = 0.2) -> Diagnosis:
    """What the doctor says of a sandbox, asked in a shell that has just asked `cgrunbook sandbox env`.

    Args:
        home: its CGRUNBOOK_HOME.
        patience: for how many seconds it tries again.
    """
    running = process.start(home)
    with patch.dict(os.environ, process.environment(running)):
        params = Parameters()
        world = World(Cloud(connect("sandbox"), Attempts(limit=patience)))
        return diagnose(world, ways_of(world, params, ""), operator=True, organization=params.organization)


def causes(found: Diagnosis) -> list[str]:
    """Each cause as CODE/REASON, the root first."""
    return [f"{cause.looked.finding.code}/{cause.looked.finding.reason}" for cause in found.verdict.causes]


def names(found: Diagnosis, fault: str, place: int | None = None) -> bool:
    """Whether the doctor names a fault among its causes, or at a place of them."""
    told = found.verdict.causes if place is None else found.verdict.causes[place : place + 1]
    findings = [cause.looked.finding for cause in told]
    permission = fault.removeprefix(LACKS) if fault.startswith(LACKS) else ""
    return any(f"{one.code}/{one.reason}" == expected(fault) and permission in one.seen for one in findings)


def together(home: Path, one: str, other: str) -> Diagnosis | None:
    """What the doctor says of two faults; None where they cannot be together."""
    try:
        faults.set_faults([as_set(one), as_set(other)], home)
    except faults.NothingToBreak:
        return None
    try:
        return look(home)
    finally:
        faults.clear(home=home)


#: What it is known to miss, each pair in the order of the faults.
MISSED: frozenset[tuple[str, str]] = frozenset()


def right(found: Diagnosis, one: str, other: str) -> bool:
    """Whether it names both, or that of the two first which is to be mended first."""
    return (names(found, one) and names(found, other)) or names(found, one, 0) or names(found, other, 0)


def pairs() -> Iterator[tuple[str, str]]:
    """Each two faults; of the permissions that the caller can be without, some for all."""
    some = [
        name for name in FAULTS if not name.startswith(LACKS) or name.endswith(("repositories.get", "versions.access"))
    ]
    return itertools.combinations(some, 2)


# --- the table ---------------------------------------------------------------------------------------------------------

_UNCACHED = "example.com/go-fips"
# Whose pull tells of a fault, where it is not an image of the organisation that nobody has pulled yet.
_IMAGES = {"tag-not-free": "chainguard/go", "tag-stale": "chainguard/go", "repository-wrong-location": "chainguard/go"}
_NOTHING = "nothing"


class Clients:
    """docker and gcloud in a shell of the sandbox.

    Args:
        world: the sandbox.
        engine: where docker's engine listens.
    """

    def __init__(self, world: Broken, engine: str) -> None:
        self._world, self._engine = world, engine
        self._hosts = {address: name for name, address in world.running.hosts.items()}

    def docker(self, fault: str) -> str:
        """What a person reads who pulls."""
        variables = os.environ | process.environment(self._world.running) | {"DOCKER_HOST": self._engine}
        image = _IMAGES.get(fault, _UNCACHED)
        repository = PUBLIC if image.startswith("chainguard/") else PRIVATE
        if image == _UNCACHED:
            self._world.forget(image)
        name = f"{self._world.running.docker_host('us-central1')}/{PROJECT}/{repository}/{image}:latest"
        # A full disk is where the shell's temporary files go: docker's engine has its own, podman none.
        client = "podman" if fault == "client-disk-full" else "docker"
        words = [shutil.which(client, path=variables["PATH"]) or client]
        pulled = subprocess.run(
            [*words, "pull", name], env=variables, capture_output=True, text=True, check=False, timeout=300
        )
        subprocess.run([*words, "rmi", name], env=variables, capture_output=True, check=False, timeout=60)
        if pulled.returncode:
            return ("podman: " if client == "podman" else "") + self._told(pulled.stderr)
        if fault == "tag-stale":
            return "pulls another digest than cgr.dev has"
        return "pulls, slowly" if fault == "cgr-dev-slow" else _NOTHING

    def gcloud(self) -> str:
        """What a person reads who looks at repository and secret."""
        for words in (
            ("artifacts", "repositories", "describe", PRIVATE, "--location=us-central1"),
            ("secrets", "versions", "access", "1", f"--secret={SECRET}"),
        ):
            variables = os.environ | process.environment(self._world.running)
            done = subprocess.run(
                [client("gcloud"), *words], env=variables, capture_output=True, text=True, check=False
            )
            if done.returncode:
                return self._told(next(line for line in done.stderr.splitlines() if line.startswith("ERROR:")))
        return _NOTHING

    def _told(self, text: str) -> str:
        """The last line, with the hosts' real names and without what differs from run to run."""
        line = [line for line in text.strip().splitlines() if line.strip()][-1]
        for address, host in self._hosts.items():
            line = line.replace(address, host)
        line = re.sub(r"read tcp 127\.0\.0\.1:\d+->\S+: ", "", line)
        line = re.sub(r"\?X-Amz[^\s\"]*", "?...", line).replace(str(self._world.home), "$CGRUNBOOK_HOME")
        line = re.sub(r" This command is authenticated with .*", "", line)
        return re.sub(r"/storage\d+/", "/storage.../", line)


def row(world: Broken, clients: Clients, fault: str) -> str | None:
    """A fault's row of the table, None where it cannot be set here."""
    try:
        faults.set_faults([as_set(fault)], world.home)
    except faults.NothingToBreak:
        return None
    try:
        seen = clients.docker(fault), clients.gcloud()
        found = look(world.home)
    finally:
        faults.clear(home=world.home)
    verdict = (
        ", ".join(dict.fromkeys(f"[{one}](#{one.partition('/')[0]})" for one in causes(found)[:1]))
        or "nothing was found"
    )
    docker, gcloud = (
        one if one == _NOTHING or one.startswith("pulls") else f"`{one.replace('|', '/')}`" for one in seen
    )
    return f"| `{fault}` | {docker} | {gcloud} | {verdict} |"


def table(world: Broken, clients: Clients, names_of: Iterable[str]) -> str:
    """The table of docs/diagnosis.md; of the permissions that the caller can be without, those that a pull or a look needs."""
    rows = [one for name in names_of if (one := row(world, clients, name)) is not None]
    return "\n".join(["| fault | docker | gcloud | doctor |", "|---|---|---|---|", *rows]) + "\n"


@contextlib.contextmanager
def clients_of(world: Broken) -> Iterator[Clients]:
    """docker with an engine of its own, signed in by the helper as a person is who follows the guide, and gcloud."""
    with docker_engine() as engine:
        yield Clients(world, engine)


def ask_of_all_pairs(home: Path) -> bool:
    """Ask it of all pairs; print what it missed, and the rate; tell whether that is as it should be."""
    missed: list[tuple[str, str]] = []
    asked = both = 0
    for one, other in pairs():
        if (found := together(home, one, other)) is not None:
            asked += 1
            both += names(found, one) and names(found, other)
            if not right(found, one, other):
                missed.append((one, other))
                print(f"missed: {one} and {other}: {', '.join(causes(found)) or 'nothing was found'}", flush=True)
    rate = 1 - len(missed) / asked
    print(
        f"{asked} pairs can be together. It named both, or the one to mend first, of {rate:.1%}; both of {both / asked:.1%}."
    )
    if set(missed) != MISSED:
        print("What it misses is not what MISSED in tests/diagnosis/joint.py says.")
    return rate >= LEAST_RATE and set(missed) == MISSED


def main(what: Iterable[str]) -> int:
    """Write the table, and ask it of all pairs, or do one of these; answers the exit code.

    Args:
        what: "table", "pairs", or nothing for both.
    """
    chosen = set(what) or {"table", "pairs"}
    well = True
    with tempfile.TemporaryDirectory(prefix="joint") as folder:
        if "table" in chosen:
            with made(Path(folder) / "one", SignDockerIn("credential-helper")) as world, clients_of(world) as clients:
                written = table(world, clients, FAULTS)
            path = ROOT / "docs" / "diagnosis.md"
            path.write_text(replaced(path.read_text(), "faults", written))
        if "pairs" in chosen:
            with made(Path(folder) / "other") as world:
                well = ask_of_all_pairs(world.home)
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
