"""For every fault of the sandbox the doctor names its cause; of two it names both, or the one to mend first."""

from __future__ import annotations

import os
import random
import re
from collections.abc import Iterator

import pytest

from cgrunbook.sandbox import faults
from cgrunbook.sandbox.faults.catalogue import FAULTS
from cgrunbook.steps.docker import SignDockerIn
from cgrunbook.steps.step import Mark
from tests.diagnosis import joint
from tests.documents import ROOT
from tests.sandbox.faults.world import Broken, made

SAMPLE = random.Random(os.environ.get("PYTEST_XDIST_TESTRUNUID", ""))
TABLE = (ROOT / "docs" / "diagnosis.md").read_text().split("<!-- faults:")[1].split("<!-- /faults -->")[0]
ROWS = {line.split("`")[1]: line for line in TABLE.splitlines() if line.startswith("| `")}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broken]:
    with made(tmp_path_factory.mktemp("joint") / "home") as there:
        yield there


@pytest.fixture(autouse=True)
def _nothing_is_left_broken(world: Broken) -> Iterator[None]:
    yield
    faults.clear(home=world.home)


def test_where_nothing_is_broken_it_finds_nothing(world: Broken):
    assert joint.causes(joint.look(world.home)) == []


@pytest.mark.parametrize("name", FAULTS)
def test_the_doctor_names_the_cause(world: Broken, name: str):
    try:
        faults.set_faults([joint.as_set(name)], world.home)
    except faults.NothingToBreak as why:
        pytest.skip(str(why))
    found = joint.look(world.home)
    assert joint.names(found, name, 0), found.as_json()["verdict"]
    # What only an operator needs is to do for whoever wants it, and no news of an image's way.
    assert found.verdict.exit_code in ({0} if found.verdict.mark is Mark.TO_DO else {4, 5})


def test_of_two_it_names_both_or_the_one_to_mend_first(world: Broken):
    chosen = SAMPLE.sample(
        [pair for pair in joint.pairs() if pair not in joint.MISSED and "cgr-dev-slow" not in pair], 20
    )
    wrong = {
        pair: joint.causes(found)
        for pair in chosen
        if (found := joint.together(world.home, *pair)) is not None and not joint.right(found, *pair)
    }
    assert not wrong


def test_the_table_has_each_fault_with_the_doctors_word_for_it():
    assert ROWS.keys() == FAULTS.keys()
    for name, row in ROWS.items():
        assert re.findall(r"\[([^]]+)\]\(#", row.rpartition(" | ")[2]) == [joint.expected(name)]


@pytest.mark.long
def test_the_table_shows_what_docker_and_gcloud_show(tmp_path_factory: pytest.TempPathFactory):
    with (
        made(tmp_path_factory.mktemp("table") / "home", SignDockerIn("credential-helper")) as world,
        joint.clients_of(world) as clients,
    ):
        for name in SAMPLE.sample(list(ROWS), 3):
            assert joint.row(world, clients, name) in {ROWS[name], None}
