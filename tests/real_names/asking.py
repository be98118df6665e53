"""What each of the product's clients says to each host, in a process of its own at the real names.

    python -m tests.real_names.asking [ASK ...]

It prints one JSON object: for each ask the error's class and message, "" for an answer, and the seconds that
it took.
The ask "hosts" answers what "Check the network" knows of the hosts that the credentials need.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

from google.oauth2.credentials import Credentials

from cgrunbook.cloud import Attempts, Cloud, connect
from cgrunbook.errors import CgrunbookError
from cgrunbook.steps.prerequisites import CheckNetwork, hosts
from tests.real_names.token_hosts import PROJECT


def asks() -> Mapping[str, Callable[[], object]]:
    """Every ask by its name; those of services hold a token of nobody, so that no token's host stands before them."""
    cloud = Cloud(connect("google-cloud", project_id=PROJECT), Attempts(limit=5))
    anonymous = Cloud(connect("google-cloud", project_id=PROJECT), Attempts(limit=5))
    anonymous.connection.__dict__["credentials"] = Credentials("nobody's")
    world: Any = SimpleNamespace(cloud=cloud)
    return {
        "token": cloud.access_token,
        "cloudresourcemanager.googleapis.com": anonymous.project.number,
        "serviceusage.googleapis.com": anonymous.project.ensure_service_agent,
        "artifactregistry.googleapis.com": lambda: anonymous.repositories.get("any"),
        "secretmanager.googleapis.com": lambda: anonymous.secrets.get("any"),
        "us-central1-docker.pkg.dev": lambda: anonymous.artifact_registry_host.resolve(f"{PROJECT}/any/go", "latest"),
        "cgr.dev": lambda: anonymous.cgr().resolve("chainguard/go", "latest"),
        "pull": lambda: cloud.artifact_registry_host.resolve(f"{PROJECT}/nothing-here/go", "latest"),
        "checks": lambda: [
            f"{finding.check}: {finding.seen}"
            for finding in CheckNetwork().verify(world).findings
            if finding.mark.name != "OK"
        ],
        "hosts": lambda: [[host.name, host.ask is not None, host.always] for host in hosts(world, production=True)],
    }


def told(ask: Callable[[], object]) -> dict[str, object]:
    """What became of one."""
    begun = time.monotonic()
    kind, message, answer = "", "", None
    try:
        answer = ask()
    except CgrunbookError as error:
        kind, message = type(error).__name__, str(error)
    found = answer if isinstance(answer, list) else []
    return {"kind": kind, "message": message, "found": found, "seconds": round(time.monotonic() - begun, 2)}


if __name__ == "__main__":
    known = asks()
    print(json.dumps({name: told(known[name]) for name in sys.argv[1:] or known}))
