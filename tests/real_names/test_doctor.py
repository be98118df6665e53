"""The doctor on the real names: well is well, whoever is silent is named, and no other host is asked."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.real_names.faults import Fault, Weather
from tests.real_names.world import Machine

#: All that an image's way needs from here, and whose token it is.
HOSTS = {
    "oauth2.googleapis.com",
    "artifactregistry.googleapis.com",
    "cloudresourcemanager.googleapis.com",  # what an operator may change, once
    "secretmanager.googleapis.com",
    "us-central1-docker.pkg.dev",
    "cgr.dev",
    "console-api.enforce.dev",
    "issuer.enforce.dev",
    "9236a389bd48b984df91adc1bc924620.r2.cloudflarestorage.com",
}


def doctor(machine: Machine, *words: str) -> tuple[int, dict[str, Any]]:
    """What it ends with, and its report."""
    if not machine.log():
        assert machine.cgrunbook("run", "02", "03").returncode == 0
    done = machine.cgrunbook("doctor", "--json", *words)
    assert done.stdout, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, report


def test_what_is_well_is_called_well_and_only_the_hosts_of_the_way_are_asked(real_names: Machine) -> None:
    doctor(real_names)
    real_names.set()

    code, report = doctor(real_names)

    assert (code, report["verdict"]["causes"]) == (0, []), report["verdict"]
    assert set(real_names.seen()) <= HOSTS


@pytest.mark.parametrize(
    ("host", "cause"),
    [
        ("artifactregistry.googleapis.com", ("network", "connection", "host artifactregistry.googleapis.com")),
        ("us-central1-docker.pkg.dev", ("network", "connection", "host us-central1-docker.pkg.dev")),
        ("cgr.dev", ("cgr-host", "no-answer", "host cgr.dev")),
    ],
)
def test_a_host_that_resets_each_connection_is_named(
    real_names: Machine, host: str, cause: tuple[str, str, str]
) -> None:
    doctor(real_names)
    real_names.set(Weather(faults=[Fault(host=host.replace(".", r"\."), times=1000, reset=True)]))

    code, report = doctor(real_names)

    first = report["verdict"]["causes"][0]
    assert (first["code"], first["reason"], first["resource"]) == cause, report["verdict"]
    assert code in (4, 5)
