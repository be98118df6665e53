"""The guide's fourth hint: a fresh repository with the same settings is made, tried and taken away, whatever comes of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cgrunbook import cli, steps
from cgrunbook.cli import remedies
from cgrunbook.cloud import Cloud
from cgrunbook.errors import StepFailed
from cgrunbook.steps.step import Outcome
from tests.steps.disturbing import Killed, disturbed
from tests.steps.performing import Names, live_tokens, open_book, perform, requests, steps_of_02, steps_of_03

pytestmark = pytest.mark.usefixtures("quick_chainctl")

FRESH = "{}-cgrunbook-try"


@pytest.fixture
def made(home: Path, request: pytest.FixtureRequest) -> tuple[Cloud, Names]:
    names = Names.of("".join(c if c.isalnum() else "-" for c in request.node.name.lower())[-24:].strip("-"))
    book, _ = open_book()
    perform(book, *steps_of_02(names), *steps_of_03(names))
    return book.cloud, names


def attempt(names: Names, *, wanted: bool = True) -> steps.TryFreshRepository:
    return steps.TryFreshRepository(names.private, "chainguard-base:latest", wanted=wanted)


def test_what_was_pulled_through_it_is_the_evidence_and_nothing_is_left(made: tuple[Cloud, Names]):
    cloud, names = made
    book, seen = open_book()
    perform(book, attempt(names))
    [result] = seen.results
    assert result.outcome is Outcome.VERIFIED
    assert len(result.plan.changes) == 1, "it was made, and is gone again"
    assert result.evidence.brief == "works, and is gone again"
    assert str(result.evidence.facts["pulled"]).startswith("example.com/chainguard-base:latest, sha256:")
    assert cloud.repositories.get(FRESH.format(names.private)) is None


def test_it_is_left_alone_unless_it_is_asked_for(made: tuple[Cloud, Names]):
    _, names = made
    book, seen = open_book()
    perform(book, attempt(names, wanted=False))
    assert seen.outcomes == [Outcome.SKIPPED]
    assert seen.results[0].evidence.brief == "not asked for (try_fresh_repository)"


def test_one_that_does_not_work_either_says_that_the_cause_is_elsewhere_and_nothing_is_left(made: tuple[Cloud, Names]):
    cloud, names = made
    [token] = live_tokens(cloud, names)
    assert cloud.chainctl.revoke(token, "example.com")
    book, _ = open_book()
    with pytest.raises(StepFailed, match="does not work either"):
        perform(book, attempt(names))
    assert cloud.repositories.get(FRESH.format(names.private)) is None


def test_what_a_killed_run_left_is_replaced_and_taken_away(made: tuple[Cloud, Names]):
    cloud, names = made
    with disturbed(2, "before"), pytest.raises(Killed):  # the deletion is never sent
        perform(open_book()[0], attempt(names))
    assert cloud.repositories.get(FRESH.format(names.private)) is not None
    book, seen = open_book()
    perform(book, attempt(names))
    assert seen.results[0].evidence.brief == "works, and is gone again"
    assert cloud.repositories.get(FRESH.format(names.private)) is None


def test_one_of_that_name_that_others_made_is_not_touched(made: tuple[Cloud, Names]):
    cloud, names = made
    public = cloud.repositories.get(names.public)
    assert public is not None
    theirs = cloud.repositories.name(FRESH.format(names.private))
    cloud.repositories.create(replace(public, name=theirs, labels={}, upstream_description="theirs"))
    with pytest.raises(StepFailed, match="that cgrunbook did not make"):
        perform(open_book()[0], attempt(names))
    assert cloud.repositories.get(FRESH.format(names.private)) is not None


def made_or_deleted(home: Path) -> list[str]:
    """The requests for repositories that have changed something."""
    return [
        one["path"] for one in requests(home) if one["method"] in ("POST", "DELETE") and "/repositories" in one["path"]
    ]


def doctor(names: Names, *words: str) -> int:
    about = ["-p", "private_repository", names.private, "--image", "chainguard-base:latest", "--only", "repository"]
    with pytest.raises(SystemExit) as ended:
        cli.main(["doctor", *about, *words])
    return int(ended.value.code or 0)


def test_the_doctor_does_it_where_its_flag_says_so_and_keeps_a_record(
    made: tuple[Cloud, Names], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    cloud, names = made
    monkeypatch.chdir(tmp_path)

    assert doctor(names) == 0
    assert not (tmp_path / "runs").exists(), "nothing is made unless it is asked for"
    assert doctor(names, "--fresh-repository") == 0

    said = capfd.readouterr()
    assert "works, and is gone again" in said.out
    assert f"making {FRESH.format(names.private)}" in said.err
    assert cloud.repositories.get(FRESH.format(names.private)) is None
    [record] = (tmp_path / "runs").glob("*/record.json")
    assert '"outcome": "verified"' in record.read_text()
    assert doctor(names, "--fresh-repository", "--json") == 2, "it asks a person"


@pytest.mark.parametrize("agreed", [True, False])
def test_on_a_terminal_the_plan_is_shown_and_nothing_is_made_without_a_yes(
    made: tuple[Cloud, Names],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    home: Path,
    agreed: bool,
):
    cloud, names = made
    monkeypatch.chdir(home.parent)
    monkeypatch.setattr(remedies.Terminal, "interactive", True)
    monkeypatch.setattr("typer.confirm", lambda *_, **__: agreed)
    known = len(made_or_deleted(home))

    assert doctor(names, "--fresh-repository") == 0, "the verdict decides"

    said = capfd.readouterr()
    assert f"> gcloud artifacts repositories create {FRESH.format(names.private)}" in said.err
    assert f"> gcloud artifacts repositories delete {FRESH.format(names.private)}" in said.err
    assert ("works, and is gone again" if agreed else "nothing was changed") in said.out
    assert len(made_or_deleted(home)) - known == (2 if agreed else 0)
    assert cloud.repositories.get(FRESH.format(names.private)) is None
