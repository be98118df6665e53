"""Who may pull through the private repository: those who are named, on it alone, and nobody's condition is touched."""

from __future__ import annotations

import uuid
from dataclasses import replace
from pathlib import Path

import pytest

from cgrunbook import parameters, steps
from cgrunbook.cloud import Cloud
from cgrunbook.errors import ParameterError, PrerequisiteMissing
from cgrunbook.run.result import Result
from cgrunbook.steps.readers import READER
from cgrunbook.steps.step import Mark, Outcome
from tests.steps.performing import Names, open_book, perform, requests, steps_of_03, writes

pytestmark = pytest.mark.usefixtures("quick_chainctl")

NODES, TEAM = "serviceAccount:nodes@my-project.iam.gserviceaccount.com", "group:team@example.com"
OTHER_NODES = "serviceAccount:other-nodes@my-project.iam.gserviceaccount.com"
LIMITED = {"title": "for a time", "expression": 'request.time < timestamp("2100-01-01T00:00:00Z")'}


@pytest.fixture
def names(home: Path) -> Names:
    return Names.of(f"read-{uuid.uuid4().hex[:8]}")


@pytest.fixture
def cloud(names: Names) -> Cloud:
    """A repository whose policy names the team under a condition, and a role of somebody else's."""
    book, _ = open_book()
    perform(book, *steps_of_03(names))
    bindings = [
        {"role": READER, "members": [TEAM], "condition": LIMITED},
        {"role": "roles/artifactregistry.writer", "members": ["user:b@example.com"]},
    ]
    policy = {"version": 3, "bindings": bindings}
    book.cloud.repositories._client.set_iam_policy(
        request={"resource": book.cloud.repositories.name(names.private), "policy": policy}
    )
    return book.cloud


def let(names: Names, *members: str, mode: str = "apply", everybody: bool = False) -> Result:
    book, seen = open_book(mode=mode)
    perform(book, steps.LetPull(names.private, members, everybody=everybody))
    return seen.results[-1]


def held(cloud: Cloud, names: Names) -> set[tuple[str, str, bool]]:
    bindings = cloud.repositories.get_policy(names.private).bindings
    return {(one.role, member, bool(one.condition)) for one in bindings for member in one.members}


def test_those_who_are_named_are_planned_as_a_difference_and_granted_nothing_wider(
    cloud: Cloud, names: Names, home: Path
):
    before = held(cloud, names)
    planned = let(names, NODES, TEAM, mode="plan")
    assert [change.after for change in planned.plan.changes] == [NODES]
    assert f'--member="{NODES}" --role={READER} --condition=None' in planned.plan.commands[0]
    assert held(cloud, names) == before
    result = let(names, NODES, TEAM)
    assert result.outcome is Outcome.UPDATED
    assert held(cloud, names) == before | {(READER, NODES, False)}
    assert [one.check for one in result.evidence.findings if one.mark is Mark.NOT_CHECKED] == [f"{TEAM} may pull"]
    known = len(requests(home))
    assert let(names, NODES).outcome is Outcome.UNCHANGED
    assert writes(requests(home, known)) == []


def test_nobody_named_is_skipped_and_asks_nothing(cloud: Cloud, names: Names, home: Path):
    known = len(requests(home))
    assert let(names).outcome is Outcome.SKIPPED
    assert requests(home, known) == []


def test_everybody_is_refused_before_any_call_unless_forced_and_is_warned_of(cloud: Cloud, names: Names):
    for who in ("allUsers", "allAuthenticatedUsers"):
        with pytest.raises(ParameterError, match="is everybody"):
            parameters.check({"readers": [who]})
        with pytest.raises(ParameterError, match="everybody_reads"):
            steps.LetPull(names.private, [who])
    result = let(names, "allUsers", everybody=True)
    assert [one.check for one in result.evidence.findings if one.mark is Mark.WARN] == ["allUsers may pull"]


def test_where_there_is_no_repository_it_is_said_and_in_a_plan_it_is_expected(cloud: Cloud, names: Names):
    with pytest.raises(PrerequisiteMissing, match="There is no repository private-nowhere"):
        let(Names.of("nowhere"), NODES)
    book, seen = open_book(mode="plan")
    new = Names.of("new")
    perform(book, *steps_of_03(new), steps.LetPull(new.private, [NODES]))
    assert [change.after for change in seen.results[-1].plan.changes] == [NODES]


@pytest.mark.parametrize(
    ("member", "good"),
    [
        (NODES, True),
        (TEAM, True),
        ("domain:example.com", True),
        ("serviceAccount:123-compute@developer.gserviceaccount.com", True),
        ("principalSet://iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/attribute.a/b", True),
        ("nodes@my-project.iam.gserviceaccount.com", False),
        ("serviceaccount:x@y.z", False),
        ("deleted:serviceAccount:x@y.z?uid=1", False),
        ("user:", False),
        ("", False),
    ],
)
def test_what_is_no_principal_is_refused(member: str, *, good: bool):
    assert parameters.allowed("readers", [member]) is good


def test_of_somebody_elses_repository_teardown_takes_back_whom_it_let_pull_and_nobody_else(cloud: Cloud, names: Names):
    there = cloud.repositories.get(names.private)
    assert there is not None
    cloud.repositories._client.delete_repository(request={"name": there.name}).result()
    theirs = cloud.repositories.create(replace(there, labels={"team": "a"}, upstream_description="theirs"))
    cloud.repositories.grant(names.private, [OTHER_NODES], READER)
    result = let(names, NODES, OTHER_NODES, TEAM)
    assert [change.after for change in result.plan.changes[:2]] == [NODES, TEAM]
    written = cloud.repositories.get(names.private)
    assert written is not None
    new = sorted(written.labels.keys() - theirs.labels.keys())
    assert [change.after for change in result.plan.changes[2:]] == new
    assert len(new) == 2
    assert f"--update-labels={new[0]}=given,{new[1]}=given" in result.plan.commands[0]
    assert "06_teardown takes that away" in " ".join(result.plan.notes)
    cloud.repositories.revoke_grant(names.private, TEAM, READER)
    cloud.repositories.grant(names.private, ["user:later@example.com"], READER)
    book, seen = open_book()
    perform(book, steps.TearDown(names.public, names.private, names.secret, confirm=names.public))
    assert held(cloud, names) == {(READER, OTHER_NODES, False), (READER, "user:later@example.com", False)}
    after = cloud.repositories.get(names.private)
    assert after is not None
    assert after.labels == theirs.labels
    perform(book, steps.TearDown(names.public, names.private, names.secret, confirm=names.public))
    assert seen.outcomes == [Outcome.DELETED, Outcome.UNCHANGED]
