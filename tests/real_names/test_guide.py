"""The whole guide on the real names."""

from __future__ import annotations

import subprocess

import pytest

from tests.real_names.faults import Weather
from tests.real_names.test_trust import asked
from tests.real_names.world import Machine

# Those that give out tokens, to google-auth and to chainctl: the sign-in is no call of ours.
_OF_SIGNING_IN = {"oauth2.googleapis.com", "console-api.enforce.dev", "issuer.enforce.dev"}


@pytest.fixture(scope="module")
def done(_opened: Machine) -> subprocess.CompletedProcess[str]:
    """The guide's run, on a machine that nobody has touched."""
    return _opened.cgrunbook("run")


def test_the_hosts_that_are_checked_are_those_that_a_run_calls(
    done: subprocess.CompletedProcess[str], real_names: Machine
) -> None:
    assert done.returncode == 0, done.stderr
    called = {one["host"] for one in real_names.log() if one["path"] != "/"}  # the check asks for no more
    known = asked(real_names, "hosts")["hosts"]["found"]
    from_here = {name for name, here, _ in known if here}
    assert called <= from_here
    assert {name for name, here, always in known if here and always} <= called


def test_the_whole_guide_runs_without_gcloud_and_a_plan_after_it_finds_nothing(
    done: subprocess.CompletedProcess[str], real_names: Machine
) -> None:
    assert done.returncode == 0, done.stderr
    assert "every step that was asked for was proved" in done.stdout + done.stderr
    planned = real_names.cgrunbook("plan")
    assert (planned.returncode, "nothing would be changed" in planned.stdout + planned.stderr) == (0, True)

    real_names.set()
    stands = real_names.cgrunbook("status")
    assert stands.returncode == 0, stands.stdout + stands.stderr
    assert stands.stdout.startswith("◆ GOOGLE CLOUD: project cgrunbook-sandbox, in us-central1")
    calls = {host: count for host, count in real_names.seen().items() if host not in _OF_SIGNING_IN}
    assert sum(calls.values()) <= 10, calls
    told = real_names.cgrunbook("status", "--all", "--format", "prometheus")
    assert told.returncode == 0, told.stdout + told.stderr
    assert 'cgrunbook_pull_token_check{project="cgrunbook-sandbox",location="us-central1"' in told.stdout
    real_names.set(Weather(certificates={"cgr.dev": "expired"}))
    unseen = real_names.cgrunbook("status")
    assert (unseen.returncode, "? not checked  cgr-dev" in unseen.stdout) == (5, True), unseen.stdout + unseen.stderr
