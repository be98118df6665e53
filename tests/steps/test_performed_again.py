"""A step is planned by reading, and a second run finds nothing to do and writes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from cgrunbook import steps
from cgrunbook.errors import ApiDisabled, PrerequisiteMissing
from cgrunbook.steps.step import Outcome, Proof, Step, World
from tests.steps.performing import (
    SECRET,
    Names,
    Watcher,
    open_book,
    perform,
    proof_of_02,
    proof_of_03,
    requests,
    state_of,
    steps_of_02,
    steps_of_03,
    writes,
)


def test_a_second_run_is_unchanged_throughout_and_sends_no_request_that_writes(fresh_home: Path):
    everything = [*steps_of_02(), proof_of_02(), *steps_of_03(), proof_of_03()]
    book, first = open_book()
    perform(book, *everything)
    before, known = state_of(book.cloud), len(requests(fresh_home))
    docker_before = (fresh_home / "sandbox" / "docker" / "config.json").read_bytes()
    book, second = open_book()
    perform(book, *everything)
    assert Outcome.CREATED in first.outcomes
    expected = [Outcome.VERIFIED if isinstance(step, Proof) else Outcome.UNCHANGED for step in everything]
    assert second.outcomes == expected
    assert writes(requests(fresh_home, known)) == []
    assert [plan.plan.changes for plan in second.results] == [()] * len(second.results)
    assert state_of(book.cloud) == before
    assert (fresh_home / "sandbox" / "docker" / "config.json").read_bytes() == docker_before


def test_planning_everything_on_an_untouched_sandbox_lists_all_changes_and_writes_nothing(fresh_home: Path):
    untouched = sorted(path.relative_to(fresh_home) for path in (fresh_home / "sandbox" / "docker").rglob("*"))
    book, seen = open_book(mode="plan")
    perform(book, *steps_of_02(), proof_of_02(), *steps_of_03(), proof_of_03())
    resources = [change.resource for result in seen.results for change in result.plan.changes]
    assert {
        "API artifactregistry.googleapis.com",
        "API secretmanager.googleapis.com",
        "repository chainguard-pull-through",
        "repository chainguard-private",
        "secret chainguard-pull-token",
        "docker's configuration",
        "pull token of example.com",
    } <= set(resources)
    assert writes(requests(fresh_home)) == []
    assert sorted(path.relative_to(fresh_home) for path in (fresh_home / "sandbox" / "docker").rglob("*")) == untouched
    assert Outcome.CREATED not in seen.outcomes


def test_a_plan_of_an_untouched_sandbox_enables_each_api_once(fresh_home: Path):
    book, seen = open_book(mode="plan")
    perform(book, *steps_of_02(), *steps_of_03())
    enabled = [r for r in seen.results if isinstance(r.step, steps.EnableApi) and r.outcome is Outcome.PLANNED]
    assert len(enabled) == 2


def test_the_notebooks_of_one_planned_run_count_on_what_the_others_would_make(fresh_home: Path, tmp_path: Path):
    first, _ = open_book(mode="plan", folder=tmp_path, notebook="02_developer_images")
    perform(first, *steps_of_02())
    second, seen = open_book(mode="plan", folder=tmp_path)
    perform(second, *steps_of_03())
    assert seen.results[0].outcome is Outcome.UNCHANGED  # the API that 02 would enable
    assert seen.results[-1].outcome is Outcome.PLANNED
    assert [c.after for c in seen.results[-1].plan.changes if c.field.startswith("upstream ")] == [
        "(known after apply)",
        f"projects/cgrunbook-sandbox/secrets/{SECRET}/versions/(known after apply)",
    ]


def test_a_run_that_applies_does_not_count_on_what_an_earlier_plan_said(fresh_home: Path, tmp_path: Path):
    planned, _ = open_book(mode="plan", folder=tmp_path, notebook="02_developer_images")
    perform(planned, *steps_of_02())
    applied, _ = open_book(folder=tmp_path)
    with pytest.raises(ApiDisabled):
        perform(applied, steps.CreateSecret("any"))


def test_a_pull_waits_for_the_changes_and_is_not_tried_by_a_plan(fresh_home: Path):
    book, seen = open_book(mode="plan")
    perform(book, proof_of_02(), proof_of_03())
    assert seen.outcomes == [Outcome.PLANNED, Outcome.PLANNED]
    assert requests(fresh_home) == []


def test_a_pull_that_nobody_asked_for_is_skipped_by_a_plan_too(fresh_home: Path):
    book, seen = open_book(mode="plan")
    perform(book, steps.PullWithDocker("chainguard/go:latest", "any"))
    assert [(result.outcome, result.brief) for result in seen.results] == [
        (Outcome.SKIPPED, "not asked for (docker_pull)")
    ]


def test_a_check_that_costs_little_is_made_by_a_plan_too(fresh_home: Path):
    book, seen = open_book(mode="plan")
    perform(book, steps.ShowMap("a-repository", "another", "a-secret"))
    assert seen.outcomes == [Outcome.VERIFIED]
    assert seen.results[0].evidence.findings


@pytest.mark.parametrize(
    ("step", "notebook"),
    [
        (steps.CreateRemoteRepository("alone"), "02_developer_images"),
        (steps.CreateSecret("alone"), "03_production_images"),
        (steps.GrantSecretAccess("alone"), "03_production_images"),
        (steps.StorePullToken("alone", "", "alone"), "03_production_images"),
        (proof_of_02(Names("alone")), "02_developer_images"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Step) else "",
)
def test_a_step_on_a_project_whose_api_is_off_names_the_api_and_the_notebook_that_enables_it(
    fresh_home: Path, step: Step, notebook: str
):
    book, seen = open_book()
    with pytest.raises(ApiDisabled) as raised:
        perform(book, step)
    assert "is not enabled in project cgrunbook-sandbox" in raised.value.message
    assert notebook in raised.value.remedy
    assert "gcloud services enable" in raised.value.remedy
    assert raised.value.exit_code == 3
    assert seen.outcomes == [Outcome.FAILED]


@pytest.mark.parametrize(
    ("step", "missing"),
    [
        (steps.GrantSecretAccess("nowhere"), "no secret nowhere"),
        (steps.StorePullToken("nowhere", "", "nowhere"), "no secret nowhere"),
        (steps.CreatePrivateRepository("nowhere", "nowhere"), "no good pull token"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Step) else "",
)
def test_a_step_whose_ground_is_missing_says_what_and_names_the_notebook_that_makes_it(
    home: Path, step: Step, missing: str
):
    book, _ = open_book()
    perform(book, steps.EnableApi(steps.ARTIFACT_REGISTRY), steps.EnableApi(steps.SECRET_MANAGER))
    with pytest.raises(PrerequisiteMissing, match=missing) as raised:
        perform(book, step)
    assert "03_production_images" in raised.value.remedy


def test_an_applied_step_is_read_back_and_the_evidence_is_from_the_service(home: Path):
    names = Names.of("read-back")
    book, seen = open_book()
    perform(book, *steps_of_02(names, description="by test", labels=["team=platform"]))
    made = seen.results[1]
    there = book.cloud.repositories.get(names.public)
    assert there is not None
    assert made.outcome is Outcome.CREATED
    assert made.evidence.facts["labels"] == {"managed-by": "cgrunbook", "team": "platform"} == dict(there.labels)
    assert made.evidence.facts["upstream"] == there.upstream == "https://cgr.dev/"


def test_what_the_service_did_otherwise_than_asked_fails_the_step(home: Path, monkeypatch: pytest.MonkeyPatch):
    names = Names.of("undone")
    book, seen = open_book()
    perform(book, steps.EnableApi(steps.ARTIFACT_REGISTRY))
    monkeypatch.setattr(type(book.cloud.repositories), "create", lambda *_, **__: None)
    with pytest.raises(Exception, match="is not there after it was made"):
        perform(book, steps.CreateRemoteRepository(names.public))
    assert seen.outcomes[-1] is Outcome.FAILED


def test_every_plan_comes_with_commands_that_hold_no_value_of_a_secret(fresh_home: Path):
    book, seen = open_book()
    perform(book, *steps_of_02(), *steps_of_03())
    password = book.cloud.secrets.access("chainguard-pull-token", 1).reveal()
    commands = "\n".join(command for result in seen.results for command in result.plan.commands)
    assert "gcloud artifacts repositories create chainguard-private" in commands
    assert "chainctl auth pull-token create" in commands
    assert password not in commands


def test_the_same_step_plans_the_same_twice_so_that_an_approved_plan_can_be_recognised(home: Path):
    names = Names.of("twice-planned")
    book, _ = open_book()
    perform(book, steps.EnableApi(steps.ARTIFACT_REGISTRY), steps.EnableApi(steps.SECRET_MANAGER))
    settings = steps.SecretSettings(
        expires_after="2400h", rotation_topic="projects/p/topics/ttt", rotation_period="24h", labels=["a=b"]
    )
    step = steps.CreateSecret(names.secret, settings)
    assert step.plan(World(book.cloud)) == step.plan(World(book.cloud))


def test_one_repository_for_both_halves_of_the_guide_ends_in_one_repository_that_signs_in(fresh_home: Path):
    names = Names(public="both", private="both")
    book, seen = open_book()
    perform(book, *steps_of_02(names), *steps_of_03(names), proof_of_02(names), proof_of_03(names))
    signed_in = next(r for r in seen.results if isinstance(r.step, steps.CreatePrivateRepository))
    assert signed_in.outcome is Outcome.UPDATED
    assert any("Everybody who may read" in note for note in signed_in.plan.notes)
    again, seen = open_book(Watcher())
    perform(again, steps_of_02(names)[1], *steps_of_03(names))
    assert set(seen.outcomes) == {Outcome.UNCHANGED}


def test_one_repository_for_both_halves_can_be_planned_on_an_untouched_sandbox(fresh_home: Path):
    names = Names(public="both", private="both")
    book, seen = open_book(mode="plan")
    perform(book, *steps_of_02(names), *steps_of_03(names))
    assert seen.results[-1].outcome is Outcome.PLANNED
    assert {change.field for change in seen.results[-1].plan.changes} == {"upstream username", "upstream password"}
