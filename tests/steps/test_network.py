"""The check of the network: who is asked, how, and what is said where nobody answers."""

from __future__ import annotations

import json
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest

from cgrunbook import cli
from cgrunbook.cloud import Attempts, Cloud, connect
from cgrunbook.diagnosis import hosts as of_hosts
from cgrunbook.errors import ServiceError
from cgrunbook.steps import prerequisites
from cgrunbook.steps.prerequisites import CheckNetwork, NeededHost
from cgrunbook.steps.step import Mark, World


def checked(monkeypatch: pytest.MonkeyPatch, *hosts: NeededHost) -> Any:
    monkeypatch.setattr(prerequisites, "hosts", lambda *_, **__: list(hosts))
    now = [0.0]
    attempts = Attempts(clock=lambda: now[0], sleep=lambda seconds: now.__setitem__(0, now[0] + seconds))
    world: Any = SimpleNamespace(cloud=SimpleNamespace(attempts=attempts))
    return CheckNetwork().verify(world).findings


def test_all_hosts_are_asked_at_once(monkeypatch):
    both = threading.Barrier(2, timeout=10)
    found = checked(monkeypatch, NeededHost("a.example", "one", both.wait), NeededHost("b.example", "two", both.wait))
    assert [(finding.check, finding.mark) for finding in found] == [("a.example", Mark.OK), ("b.example", Mark.OK)]


def test_a_slow_host_does_not_change_the_order(monkeypatch):
    found = checked(
        monkeypatch,
        NeededHost("a.example", "slow", lambda: time.sleep(0.05)),
        NeededHost("b.example", "quick", lambda: None),
    )
    assert [finding.check for finding in found] == ["a.example", "b.example"]


def test_what_a_client_says_is_said_and_what_it_advises(monkeypatch):
    def refused() -> None:
        raise ServiceError("The certificate of a.example is not trusted here.", "Trust it.")

    (found,) = checked(monkeypatch, NeededHost("a.example", "the secret", refused))
    assert (found.mark, found.remedy) == (Mark.FAIL, "Trust it.")
    assert found.seen == "The certificate of a.example is not trusted here; the secret"


def test_a_host_that_is_not_needed_for_a_step_is_no_failure(monkeypatch):
    def away() -> None:
        raise ConnectionResetError("reset")

    (found,) = checked(monkeypatch, NeededHost("a.example", "comparing", away, required=False))
    assert (found.mark, "on port 443" in found.remedy) == (Mark.WARN, True)


def test_the_sandboxs_hosts_answer_and_no_other_host_is_asked(home):
    cloud = Cloud(connect("sandbox"), Attempts(limit=0))
    findings = CheckNetwork().verify(World(cloud)).findings
    assert {finding.mark for finding in findings} == {Mark.OK}
    assert sum("answers" in finding.seen for finding in findings) == 6


def test_a_table_says_who_needs_which_host_and_how_each_is_from_here(home, capfd):
    with pytest.raises(SystemExit) as ended:
        cli.main(["doctor", "--hosts", "--json"])
    assert not ended.value.code
    table = {one["host"]: one for one in json.loads(capfd.readouterr().out)}
    assert table["us-central1-docker.pkg.dev"]["who"] == ["who pulls", "cgrunbook"]
    assert table["cgr.dev"]["who"] == ["cgrunbook", "Artifact Registry"]
    layers = next(one for host, one in table.items() if host.endswith(".r2.cloudflarestorage.com"))
    assert (layers["who"], layers["from_here"]) == (["Artifact Registry"], "not asked")
    logs = table["logging.googleapis.com"]
    assert (logs["who"], logs["from_here"], "optional" in logs["seen"]) == (["cgrunbook"], "not asked", True)
    assert {host for host, one in table.items() if "chainctl" in one["who"]} >= {
        "console-api.enforce.dev",
        "issuer.enforce.dev",
    }
    assert {one["from_here"] for one in table.values()} == {"ok", "not asked"}


def test_a_host_that_is_needed_and_not_reached_is_said_with_what_to_do(home, monkeypatch, capfd):
    def away() -> None:
        raise ServiceError("The name secretmanager.googleapis.com is not known here.", "Look at DNS.")

    needed = [
        NeededHost("us-central1-docker.pkg.dev", "pulls", lambda: None),
        NeededHost("secretmanager.googleapis.com", "the secret", away),
        NeededHost("oauth2.googleapis.com", "access tokens", lambda: None),
        NeededHost("console-api.enforce.dev", "Chainguard: pull tokens", lambda: None, always=False),
        NeededHost("cgr.dev", "manifests, and tokens at /token"),
    ]
    for place in (prerequisites, of_hosts):
        monkeypatch.setattr(place, "hosts", lambda *_, **__: needed)
    with pytest.raises(SystemExit) as ended:
        cli.main(["doctor", "--hosts"])
    assert ended.value.code == 4
    out = capfd.readouterr().out
    rows = {line.split()[0]: line for line in out.splitlines() if ".dev" in line or ".com" in line}
    assert "is not known here" in rows["secretmanager.googleapis.com"]
    assert rows["oauth2.googleapis.com"].count("needs") == 2, "who pulls has its tokens from there too"
    assert rows["console-api.enforce.dev"].rstrip().endswith("answers")
    assert "  > Look at DNS." in out
