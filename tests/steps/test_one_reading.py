"""One fact is asked for once, and a service that is off says so itself, whenever it goes off."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import requests as http

from cgrunbook import steps
from cgrunbook.cloud import Cloud
from cgrunbook.errors import ApiDisabled
from cgrunbook.steps.step import Mark, Outcome, Step, World
from tests.benchmarks.requests_of_a_warm_run import MOST, MOST_TO_THE_CONTROL_PLANE, to_the_control_plane
from tests.notebooks.cells import perform_notebook
from tests.steps.performing import (
    Names,
    Watcher,
    open_book,
    perform,
    proof_of_02,
    proof_of_03,
    requests,
    steps_of_02,
    steps_of_03,
)

NOTEBOOKS = ("01_prerequisites", "02_developer_images", "03_production_images", "04_debugging")
ENABLED_BY = {steps.ARTIFACT_REGISTRY: "02_developer_images", steps.SECRET_MANAGER: "03_production_images"}
TITLES = {steps.ARTIFACT_REGISTRY: "Artifact Registry API", steps.SECRET_MANAGER: "Secret Manager API"}


@pytest.fixture
def turned_off(home: Path) -> Callable[[str], None]:
    """Turn an API off, as somebody else with gcloud would."""

    def turn_off(api: str) -> None:
        connection = open_book()[0].cloud.connection
        answer = http.post(
            f"{connection.service_usage}/v1/projects/{connection.project_id}/services/{api}:disable",
            json={"disableDependentServices": True},
            headers={"Authorization": f"Bearer {connection.access_token().reveal()}"},
            timeout=10,
        )
        answer.raise_for_status()

    return turn_off


@pytest.fixture
def made(home: Path, quick_chainctl: None) -> Cloud:
    book, _ = open_book()
    perform(book, *steps_of_02(), *steps_of_03())
    return book.cloud


def test_a_warm_run_asks_no_more_than_it_must(
    fresh_home: Path, quick_chainctl: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("CGRUNBOOK_RUN_FOLDER", str(tmp_path))
    for name in NOTEBOOKS:
        perform_notebook(name, Watcher())
    asked, outcomes = {}, set()
    for name in NOTEBOOKS:
        known, face = len(requests(fresh_home)), Watcher()
        perform_notebook(name, face)
        asked[name] = [line["service"] for line in requests(fresh_home)[known:]]
        outcomes |= set(face.outcomes)
    assert outcomes == {Outcome.UNCHANGED, Outcome.VERIFIED, Outcome.SKIPPED}
    of_both_halves = [*asked["02_developer_images"], *asked["03_production_images"]]
    assert sum(map(to_the_control_plane, of_both_halves)) <= MOST_TO_THE_CONTROL_PLANE
    assert sum(map(len, asked.values())) <= MOST


def test_a_world_asks_once_and_another_anew(made: Cloud, home: Path):
    world = World(made)
    known = len(requests(home))
    for _ in range(2):
        assert world.repository("nowhere") is None
        assert world.secret("nowhere") is None
        assert world.policy(Names().secret) is not None
    assert len(requests(home)) == known + 3
    assert world.anew().repository("nowhere") is None
    assert len(requests(home)) == known + 4


@pytest.mark.parametrize(
    ("step", "api"),
    [
        (steps.CreateRemoteRepository("late"), steps.ARTIFACT_REGISTRY),
        (proof_of_02(), steps.ARTIFACT_REGISTRY),
        (steps.CreateSecret("late"), steps.SECRET_MANAGER),
        (steps.GrantSecretAccess(Names().secret), steps.SECRET_MANAGER),
        (steps.StorePullToken(Names().secret, "", Names().private), steps.SECRET_MANAGER),
        (steps.StorePullToken(Names().secret, "", Names().private), steps.ARTIFACT_REGISTRY),
        (steps.CreatePrivateRepository(Names().private, Names().secret), steps.SECRET_MANAGER),
        (proof_of_03(), steps.SECRET_MANAGER),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Step) else value.partition(".")[0],
)
def test_an_api_that_goes_off_in_the_middle_of_a_run_is_named_with_the_notebook_and_the_command(
    made: Cloud, turned_off: Callable[[str], None], step: Step, api: str
):
    turned_off(api)
    book, seen = open_book()
    with pytest.raises(ApiDisabled) as raised:
        perform(book, step)
    assert raised.value.message.splitlines()[0] == f"The {TITLES[api]} is not enabled in project cgrunbook-sandbox."
    assert raised.value.remedy == (
        f"Run the notebook {ENABLED_BY[api]}, which enables it, or: "
        f"gcloud services enable {api} --project=cgrunbook-sandbox"
    )
    assert seen.outcomes == [Outcome.FAILED]


def test_an_api_that_goes_off_between_the_plan_and_its_changes_is_named_as_well(
    made: Cloud, turned_off: Callable[[str], None]
):
    async def agree(step: Step, plan: object) -> bool:
        turned_off(steps.ARTIFACT_REGISTRY)
        return True

    book, _ = open_book(Watcher(agree))
    with pytest.raises(ApiDisabled, match="The Artifact Registry API is not enabled in project") as raised:
        perform(book, steps.CreateRemoteRepository("between"))
    assert "02_developer_images" in raised.value.remedy


def test_the_registry_itself_says_it_in_the_same_words(made: Cloud, turned_off: Callable[[str], None]):
    turned_off(steps.ARTIFACT_REGISTRY)
    made.connection.enabled_at.clear()  # what was turned on only just now is waited for
    with pytest.raises(ApiDisabled, match="The Artifact Registry API is not enabled in project") as raised:
        made.artifact_registry_host.resolve(f"cgrunbook-sandbox/{Names().public}/chainguard/go", "latest")
    assert "Run the notebook 02_developer_images" in raised.value.remedy
    assert raised.value.api == steps.ARTIFACT_REGISTRY


def test_where_an_api_is_off_the_map_shows_what_is_not_there_and_teardown_finds_the_rest(
    made: Cloud, turned_off: Callable[[str], None]
):
    names = Names()
    turned_off(steps.SECRET_MANAGER)
    book, seen = open_book()
    perform(book, steps.ShowMap(names.public, names.private, names.secret))
    marks = {finding.check[4:]: finding.mark for finding in seen.results[-1].evidence.findings}
    assert marks["Artifact Registry API"] is Mark.OK
    assert marks["Secret Manager API"] is marks[f"secret {names.secret}"] is Mark.TO_DO
    perform(book, steps.TearDown(names.public, names.private, names.secret))
    assert [change.resource for change in seen.results[-1].plan.changes] == [
        f"repository {names.private}",
        f"repository {names.public}",
    ]
