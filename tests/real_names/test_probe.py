"""The probe on the real names, as somebody with a project runs it."""

from __future__ import annotations

import json
import re
import subprocess
import sys

from tests.probe.walk import WALK
from tests.real_names.token_hosts import PROJECT
from tests.real_names.world import Machine


def _probe(machine: Machine, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.probe", "--target", "google-cloud", "-p", "project_id", PROJECT, *words]
    return machine.run(*command, GOOGLE_APPLICATION_CREDENTIALS=str(machine.user()))


def test_the_probe_asks_first_and_where_it_may_goes_all_the_way(real_names: Machine) -> None:
    refused = _probe(real_names)
    assert refused.returncode == 2
    for told in (
        f"in the project {PROJECT}, location us-central1, as user:trainee@example.com",
        "less than a cent",
        "ten minutes",
    ):
        assert told in refused.stderr
    assert "Where that is what you want, add --yes." in refused.stderr
    seen = real_names.seen()
    assert {host for host in seen if not host.startswith("oauth2")} == set(), "nothing was asked"

    done = _probe(real_names, "--yes")
    assert done.returncode == 0, done.stderr
    written = json.loads((real_names.home / "probe-google-cloud.json").read_text())
    calls = {entry["call"]: entry for entry in written["calls"]}
    assert list(calls) == [call.name for call in WALK]
    # Without an organization that is all that is not asked.
    not_asked = {name for name, entry in calls.items() if "not asked" in entry}
    assert not_asked == {
        call.name for call in WALK if re.search(r"\{organization\}|kept:pull_|\{pull_token", str(call))
    }
    assert (
        calls["challenge"]["headers"]["www-authenticate"] == 'Bearer realm="https://LOCATION-docker.pkg.dev/v2/token"'
    )
    assert calls["pull-with-a-registrys-token"]["status"] == 200
    text = json.dumps(written)
    assert not [one for one in (PROJECT, "trainee", "123456789012", "us-central1", "127.0.0.1") if one in text]
    assert not list(real_names.folder.glob("cgrunbook/probe*"))
