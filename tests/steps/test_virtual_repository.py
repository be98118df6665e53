"""One address over the public and the private repository: which is asked first, what others put there, and what is proved."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cgrunbook import steps
from cgrunbook.cloud import Cloud
from cgrunbook.cloud.artifact_registry import RemoteRepository, UpstreamPolicy
from cgrunbook.errors import InvalidRequest, ParameterError, PrerequisiteMissing
from cgrunbook.run.result import Result
from cgrunbook.steps.step import Mark, Outcome
from tests.steps.performing import Names, open_book, perform, requests, steps_of_02, steps_of_03, writes

pytestmark = pytest.mark.usefixtures("quick_chainctl")


@pytest.fixture(scope="module")
def names(home: Path) -> Names:
    names = Names.of("one-address")
    book, _ = open_book()
    perform(book, *steps_of_02(names), *steps_of_03(names))
    return names


@pytest.fixture
def cloud(names: Names) -> Cloud:
    book, _ = open_book()
    return book.cloud


def put(names: Names, name: str, mode: str = "apply") -> Result:
    book, seen = open_book(mode=mode)
    step = steps.CreateVirtualRepository(name, names.public, names.private, images=["chainguard-base:latest"])
    perform(book, step)
    return seen.results[-1]


def policies(cloud: Cloud, name: str) -> dict[str, int]:
    there = cloud.repositories.get(name)
    assert there is not None
    return {policy.repository.rpartition("/")[2]: policy.priority for policy in there.upstream_policies}


def test_one_address_serves_both_and_says_what_that_hides(cloud: Cloud, names: Names, home: Path):
    planned = put(names, "served", mode="plan")
    assert cloud.repositories.get("served") is None
    assert [(change.field, change.after) for change in planned.plan.changes][1:] == [
        (f"asks {names.private}, with the priority", 20),
        (f"asks {names.public}, with the priority", 10),
    ]
    notes = " ".join(planned.plan.notes)
    assert "hides the others'" in notes
    assert "stand in for any image" in notes
    made = put(names, "served")
    assert made.outcome is Outcome.CREATED
    assert policies(cloud, "served") == {names.private: 20, names.public: 10}
    for name in (names.public, names.private):
        (proof,) = [value for key, value in made.evidence.facts.items() if key.startswith(f"{name}'s ")]
        assert proof.startswith("sha256:")
        assert proof.endswith(f"the same through {name}")
    known = len(requests(home))
    assert put(names, "served").outcome is Outcome.UNCHANGED
    assert writes(requests(home, known)) == []


def test_what_somebody_else_put_there_stays_and_is_warned_of_where_it_comes_first(cloud: Cloud, names: Names):
    others = cloud.repositories.create(
        RemoteRepository(cloud.repositories.name("others"), mode="STANDARD_REPOSITORY", description="another team's")
    )
    put(names, "shared")
    there = cloud.repositories.get("shared")
    assert there is not None
    changed = (
        UpstreamPolicy("theirs", others.name, 30),
        *(replace(one, priority=5) for one in there.upstream_policies),
    )
    cloud.repositories.update(there, replace(there, upstream_policies=changed))
    result = put(names, "shared")
    assert result.outcome is Outcome.UPDATED
    assert [(change.before, change.after) for change in result.plan.changes] == [(5, 20), (5, 10)]
    assert policies(cloud, "shared") == {"others": 30, names.private: 20, names.public: 10}
    (finding,) = result.evidence.findings
    assert finding.mark is Mark.WARN
    assert finding.check.endswith("/others comes first")


def test_what_is_put_there_while_the_priorities_are_changed_stays(cloud: Cloud, names: Names):
    put(names, "raced")
    read = cloud.repositories.get("raced")
    assert read is not None
    late = UpstreamPolicy("late", cloud.repositories.name(names.public), 3)
    cloud.repositories.update(read, replace(read, upstream_policies=(*read.upstream_policies, late)))
    lower = tuple(replace(one, priority=one.priority - 1) for one in read.upstream_policies)
    after = cloud.repositories.update(read, replace(read, upstream_policies=lower))
    assert {one.id: one.priority for one in after.upstream_policies} == {names.private: 19, names.public: 9, "late": 3}


def test_a_name_that_is_another_kind_or_one_of_the_two_is_refused(cloud: Cloud, names: Names):
    cloud.repositories.create(RemoteRepository(cloud.repositories.name("standard"), mode="STANDARD_REPOSITORY"))
    with pytest.raises(InvalidRequest, match="DOCKER, STANDARD_REPOSITORY"):
        put(names, "standard")
    with pytest.raises(ParameterError, match="a name of its own"):
        put(names, names.public)
    clash = UpstreamPolicy(names.public, cloud.repositories.name("standard"), 1)
    cloud.repositories.create(
        RemoteRepository(cloud.repositories.name("clash"), mode="VIRTUAL_REPOSITORY", upstream_policies=(clash,))
    )
    with pytest.raises(InvalidRequest, match=f"with the id {names.public}, and it is about"):
        put(names, "clash")


def test_it_is_not_made_unasked_nor_before_the_two(names: Names, home: Path):
    known = len(requests(home))
    assert put(names, "").outcome is Outcome.SKIPPED
    assert requests(home, known) == []
    with pytest.raises(PrerequisiteMissing, match="There is no repository private-nowhere"):
        put(Names.of("nowhere"), "one-too-early")
    book, seen = open_book(mode="plan")
    new = Names.of("new")
    perform(
        book,
        *steps_of_02(new),
        *steps_of_03(new),
        steps.CreateVirtualRepository("new-one", new.public, new.private),
        steps.LetPull("new-one", ["group:team@example.com"]),
    )
    assert [result.outcome for result in seen.results[-2:]] == [Outcome.PLANNED, Outcome.PLANNED]


def test_those_who_are_named_may_pull_at_the_address(cloud: Cloud, names: Names):
    put(names, "readable")
    book, seen = open_book()
    perform(book, *(steps.LetPull(name, ["group:team@example.com"]) for name in ("readable", "")))
    assert [result.outcome for result in seen.results] == [Outcome.UPDATED, Outcome.SKIPPED]


def test_teardown_takes_it_away_first_and_leaves_one_that_is_not_ours(cloud: Cloud, names: Names):
    put(names, "torn")
    book, seen = open_book()
    cloud.repositories.create(
        RemoteRepository(
            cloud.repositories.name("theirs"),
            mode="VIRTUAL_REPOSITORY",
            upstream_policies=(UpstreamPolicy("a", cloud.repositories.name(names.public), 1),),
        )
    )
    torn = steps.TearDown(names.public, names.private, names.secret, virtual_repository="torn", confirm=names.public)
    perform(book, torn)
    plan = seen.results[-1].plan
    gone = [change.resource for change in plan.changes if change.resource.startswith("repository")]
    assert gone == [f"repository {name}" for name in ("torn", names.private, names.public)]
    notes = " ".join(plan.notes)
    assert f"The repository theirs in us-central1 serves from {names.public}" in notes
    assert "The repository torn in" not in notes
    assert cloud.repositories.get("torn") is None
    assert cloud.repositories.get("theirs") is not None
    cloud.repositories.delete("theirs")
    perform(book, *steps_of_02(names), *steps_of_03(names))
