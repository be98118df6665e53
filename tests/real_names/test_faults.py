"""What passes by itself, once at each host in the middle of the guide: every run ends as if nothing had been."""

from __future__ import annotations

from typing import Any

import pytest

from tests.real_names.faults import Fault, Weather
from tests.real_names.world import Machine

#: Those that a run of 02 to 04 calls when everything is there, and how many of its requests go well before the one that does not.
HOSTS = {
    "oauth2.googleapis.com": 1,
    "artifactregistry.googleapis.com": 2,
    "secretmanager.googleapis.com": 2,
    "cloudresourcemanager.googleapis.com": 0,
    "us-central1-docker.pkg.dev": 2,
    "cgr.dev": 2,
}
PASSING: dict[str, dict[str, Any]] = {
    "the connection is reset": {"reset": True},
    "the answer is lost": {"lose": True},
    "the answer ends in the middle": {"cut": 10},
    "it is away": {"status": 503},
    "a quota is used up": {"status": 429, "headers": {"Retry-After": "0"}},
    "a page of what stands before it": {
        "status": 502,
        "headers": {"Content-Type": "text/html"},
        "body": "<h1>502</h1>",
    },
}


@pytest.mark.parametrize("begin", [0, pytest.param(3, marks=pytest.mark.long)])
def test_what_passes_by_itself_at_any_host_is_tried_again(real_names: Machine, begin: int) -> None:
    warm(real_names)
    # Three kinds at each host in one run, each a request later than the one before; in the other run the other three.
    faults = [
        Fault(host=host.replace(".", r"\."), skip=skip, **PASSING[kind])
        for host, skip in HOSTS.items()
        # Resource Manager is asked once, by the check of the network.
        for kind in list(PASSING)[begin : begin + (3 if skip else 1)]
    ]
    real_names.set(Weather(faults=faults))
    done = real_names.cgrunbook("run", "02", "03", "04")
    assert (done.returncode, real_names.left()) == (0, []), done.stderr
    assert "nothing was changed" in done.stdout + done.stderr


def warm(real_names: Machine) -> None:
    """Make everything, the first time."""
    if not real_names.log():
        assert real_names.cgrunbook("run", "02", "03").returncode == 0
        real_names.set()
