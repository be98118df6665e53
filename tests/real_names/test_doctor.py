"""The doctor on the real names: well is well, whoever is silent is named, and no other host is asked."""

from __future__ import annotations

import json
from collections.abc import Iterator
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


@pytest.fixture
def logs_are_on(real_names: Machine) -> Iterator[None]:
    """Those of the private repository, in a project that has the Logging API."""
    doctor(real_names)

    def switch(state: str) -> None:
        credentials = str(real_names.user())
        done = real_names.run("python", "-c", _SWITCH, state, GOOGLE_APPLICATION_CREDENTIALS=credentials)
        assert done.returncode == 0, done.stderr

    switch("ENABLED")
    yield
    real_names.set()
    switch("DISABLED")


@pytest.mark.usefixtures("logs_are_on")
def test_platform_logs_are_read_at_loggings_own_host_and_one_that_is_silent_changes_nothing(
    real_names: Machine,
) -> None:
    silent = Weather(faults=[Fault(host=r"logging\.googleapis\.com", times=1000, reset=True)])
    for weather, said, marks in ((Weather(), "nothing failed in the last hour", []), (silent, "not read: ", ["to do"])):
        real_names.set(weather)
        code, report = doctor(real_names, "--only=platform-logs")
        told = next(one["seen"] for one in report["checks"] if one["way"] == "chainguard-private")
        assert told.startswith(said)
        assert (code, [one["mark"] for one in report["verdict"]["causes"]]) == (0, marks)
        assert real_names.seen()["logging.googleapis.com"] >= 1


_SWITCH = """
import sys
from cgrunbook.cloud import Cloud
from cgrunbook.cloud.connection import connect
cloud = Cloud(connect("google-cloud", project_id="cgrunbook-sandbox"))
session, connection = cloud.repositories._session, cloud.connection
name = f"{cloud.repositories.parent}/repositories/chainguard-private"
config = {"platformLogsConfig": {"loggingState": sys.argv[1]}}
for method, address, body in (
    ("PATCH", f"{connection.artifact_registry}/v1/{name}?updateMask=platformLogsConfig", config),
    ("POST", f"{connection.service_usage}/v1/projects/cgrunbook-sandbox/services/logging.googleapis.com:enable", {}),
):
    session.request(method, address, json=body).raise_for_status()
"""
