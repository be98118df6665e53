"""The whole guide on the real names."""

from __future__ import annotations

from tests.real_names.faults import Weather
from tests.real_names.world import Machine

# Those that give out tokens, to google-auth and to chainctl: the sign-in is no call of ours.
_OF_SIGNING_IN = {"oauth2.googleapis.com", "console-api.enforce.dev", "issuer.enforce.dev"}


def test_the_whole_guide_runs_without_gcloud_and_a_plan_after_it_finds_nothing(real_names: Machine) -> None:
    done = real_names.cgrunbook("run")
    assert done.returncode == 0, done.stderr
    assert "every step that was asked for was proved" in done.stdout + done.stderr
    planned = real_names.cgrunbook("plan")
    assert (planned.returncode, "nothing would be changed" in planned.stdout + planned.stderr) == (0, True)

    real_names.set()
    stands = real_names.cgrunbook("status")
    assert stands.returncode == 0, stands.stdout + stands.stderr
    assert stands.stdout.startswith("◆ GOOGLE CLOUD: project cgrunbook-sandbox, in us-central1")
    asked = {host: count for host, count in real_names.seen().items() if host not in _OF_SIGNING_IN}
    assert sum(asked.values()) <= 10, asked
    told = real_names.cgrunbook("status", "--all", "--format", "prometheus")
    assert told.returncode == 0, told.stdout + told.stderr
    assert 'cgrunbook_pull_token_check{project="cgrunbook-sandbox",location="us-central1"' in told.stdout
    real_names.set(Weather(certificates={"cgr.dev": "expired"}))
    unseen = real_names.cgrunbook("status")
    assert (unseen.returncode, "? not checked  cgr-dev" in unseen.stdout) == (5, True), unseen.stdout + unseen.stderr
