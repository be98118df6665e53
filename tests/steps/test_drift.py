"""What others change is seen by a plan and put right by a run; what others add is left alone."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from cgrunbook import steps
from cgrunbook.cloud import Cloud
from cgrunbook.cloud.roles import ACCESSOR
from cgrunbook.run.record import read_record
from cgrunbook.steps.step import Outcome
from tests.sandboxes import make_topic
from tests.steps.performing import (
    PRIVATE,
    PUBLIC,
    SECRET,
    Names,
    live_tokens,
    open_book,
    perform,
    proof_of_03,
    state_of,
    steps_of_02,
    steps_of_03,
)

pytestmark = pytest.mark.usefixtures("quick_chainctl")


def relabel(cloud: Cloud, repository: str, labels: dict[str, str]) -> None:
    there = cloud.repositories.get(repository)
    assert there is not None
    cloud.repositories.update(there, replace(there, labels=labels))


def relabel_secret(cloud: Cloud, labels: dict[str, str], name: str = SECRET) -> None:
    there = cloud.secrets.get(name)
    assert there is not None
    cloud.secrets.update(there, replace(there, labels=labels))


def take_grant(cloud: Cloud) -> None:
    cloud.secrets.revoke_grant(SECRET, f"serviceAccount:{cloud.project.service_agent_email()}", ACCESSOR)


def other_username(cloud: Cloud) -> None:
    """A pair that does not match, as whoever rotates by hand leaves it who forgets that usernames change too."""
    other = cloud.chainctl.create_pull_token("example.com", "by-hand", "1h")
    cloud.repositories.set_upstream_credentials(
        PRIVATE, other.username, cloud.secrets.version_name(SECRET, 1), disable_upstream_validation=True
    )


@pytest.mark.parametrize(
    ("notebook", "edit", "resource", "field"),
    [
        (
            "02",
            lambda cloud: relabel(cloud, PUBLIC, {"managed-by": "somebody"}),
            f"repository {PUBLIC}",
            "labels.managed-by",
        ),
        ("02", lambda cloud: relabel(cloud, PUBLIC, {}), f"repository {PUBLIC}", "labels.managed-by"),
        ("03", lambda cloud: relabel(cloud, PRIVATE, {}), f"repository {PRIVATE}", "labels.managed-by"),
        ("03", lambda cloud: relabel_secret(cloud, {}), f"secret {SECRET}", "labels.managed-by"),
        ("03", take_grant, f"secret {SECRET}", f"may be read by ({ACCESSOR})"),
        ("03", other_username, f"repository {PRIVATE}", "upstream username"),
    ],
    ids=["label-edited", "labels-cleared", "private-labels", "secret-labels", "grant-removed", "username-mismatched"],
)
def test_a_change_by_another_client_is_named_by_a_plan_and_put_right_by_a_run(
    home: Path, notebook: str, edit: Callable[[Cloud], None], resource: str, field: str
):
    book, _ = open_book()
    perform(book, *steps_of_02(), *steps_of_03())
    edit(book.cloud)
    planned, seen = open_book(mode="plan")
    perform(planned, *(steps_of_02() if notebook == "02" else steps_of_03()))
    drifted = [result.plan.changes for result in seen.results]
    assert [(change.resource, change.field) for changes in drifted for change in changes] == [(resource, field)]
    book, seen = open_book()
    perform(book, *(steps_of_02() if notebook == "02" else steps_of_03()))
    assert {Outcome.UPDATED, Outcome.CREATED} & set(seen.outcomes)
    perform(open_book()[0], proof_of_03())
    after = state_of(book.cloud)
    assert (after.public, after.private) == ({"managed-by": "cgrunbook"}, {"managed-by": "cgrunbook"})
    assert (after.grants, after.versions, after.live_tokens) == (1, ["1 ENABLED"], 1)
    assert after.pair_is_taken_by_cgr_dev


@pytest.mark.usefixtures("forked")
@pytest.mark.long
def test_the_command_says_by_its_exit_code_whether_there_is_anything_to_do(fresh_home: Path, tmp_path: Path):
    def cgrunbook(verb: str, folder: str) -> subprocess.CompletedProcess[str]:
        """All of the guide, 01 to 04: its debugging checks see the same drift, and must not hide it behind a failure."""
        return subprocess.run(
            [sys.executable, "-m", "cgrunbook", verb, "--output", str(tmp_path / folder)],
            check=False,
            capture_output=True,
            text=True,
        )

    book, _ = open_book()
    perform(book, *steps_of_02()[:2], *steps_of_03())
    assert cgrunbook("run", "run").returncode == 0  # docker's login is left to do
    assert cgrunbook("plan", "same").returncode == 0
    take_grant(book.cloud)
    relabel(book.cloud, PUBLIC, {"managed-by": "somebody", "team": "platform"})
    drifted = cgrunbook("plan", "drifted")
    assert drifted.returncode == 4
    assert ACCESSOR in drifted.stdout
    assert "labels.managed-by" in drifted.stdout
    assert {change.resource for change in read_record(tmp_path / "drifted").changes} == {
        f"repository {PUBLIC}",
        f"secret {SECRET}",
    }
    checks = read_record(tmp_path / "drifted").notebooks[-1].steps
    assert [finding.mark for step in checks for finding in step.findings].count("fail") == 1, (
        "04 still says what it sees"
    )
    assert cgrunbook("run", "repaired").returncode == 0
    assert state_of(book.cloud).public == {"managed-by": "cgrunbook", "team": "platform"}


def test_labels_that_others_added_are_left_alone_and_are_no_drift(home: Path):
    names = Names.of("labelled")
    book, _ = open_book()
    perform(book, *steps_of_02(names), *steps_of_03(names))
    relabel(book.cloud, names.public, {"managed-by": "cgrunbook", "team": "a"})
    relabel_secret(book.cloud, {"managed-by": "cgrunbook", "team": "b"}, names.secret)
    book, seen = open_book()
    perform(book, steps_of_02(names)[1], *steps_of_03(names))
    assert set(seen.outcomes) == {Outcome.UNCHANGED}
    public, secret = book.cloud.repositories.get(names.public), book.cloud.secrets.get(names.secret)
    assert public is not None
    assert secret is not None
    assert (public.labels["team"], secret.labels["team"]) == ("a", "b")


@pytest.mark.parametrize(
    "narrowing",
    [
        {"package_name_prefixes": ["chainguard/go"]},
        {"tag_state": "TAGGED", "tag_prefixes": ["old-"]},
        {"version_name_prefixes": ["sha256:0"]},
        {"newer_than": timedelta(hours=2400)},
        {"older_than": timedelta(hours=720, seconds=1)},
        {"older_than": timedelta(hours=720, milliseconds=400)},
        {"tag_state": "TAG_STATE_UNSPECIFIED"},
    ],
    ids=lambda narrowing: "-".join(map(str, narrowing)) + "-".join(str(len(str(v))) for v in narrowing.values()),
)
def test_a_clean_up_policy_of_ours_that_others_narrowed_is_not_widened_unsaid(home: Path, narrowing: dict[str, Any]):
    names = Names.of(f"narrowed-{abs(hash(str(narrowing)))}")
    step = steps_of_02(names, cleanup_older_than="720h", cleanup_keep=3)[1]
    book, _ = open_book()
    perform(book, steps.EnableApi(steps.ARTIFACT_REGISTRY), step)
    there = book.cloud.repositories.get(names.public)
    assert there is not None
    narrower = copy.deepcopy(there.cleanup_policies["cgrunbook-delete-old"])
    for field, value in narrowing.items():
        setattr(narrower.condition, field, value)
    others = dict(there.cleanup_policies) | {"cgrunbook-delete-old": narrower}
    book.cloud.repositories.update(there, replace(there, cleanup_policies=others))
    book, seen = open_book()
    perform(book, step, step)
    assert seen.outcomes == [Outcome.UPDATED, Outcome.UNCHANGED]
    (change,) = seen.results[0].plan.changes
    assert change.field == "clean-up policies.cgrunbook-delete-old"
    assert change.before != change.after == "delete any versions older than 30 days"


def test_a_period_that_differs_in_its_smallest_part_is_told_and_is_not_changed_unsaid(home: Path):
    """700 h are 29 days and 4 hours in words, and so are 700 h and 30 min."""
    name, topic = "secret-period", "projects/cgrunbook-sandbox/topics/due"

    def settings(period: str, **more: Any) -> steps.CreateSecret:
        return steps.CreateSecret(name, steps.SecretSettings(rotation_topic=topic, rotation_period=period, **more))

    make_topic(home, "due")
    book, _ = open_book()
    perform(book, steps.EnableApi(steps.SECRET_MANAGER), settings("700h"))
    book, seen = open_book()
    perform(book, settings("700h30m", labels=["team=a"]), settings("700h30m", labels=["team=a"]))
    assert [change.field for change in seen.results[0].plan.changes] == ["labels.team", "rotation notice"]
    assert seen.results[0].plan.changes[1].before != seen.results[0].plan.changes[1].after
    assert seen.outcomes == [Outcome.UPDATED, Outcome.UNCHANGED]


def test_a_topic_alone_is_added_by_the_command_too(home: Path):
    first, second = (f"projects/cgrunbook-sandbox/topics/{name}" for name in ("first", "second"))
    make_topic(home, "first")
    make_topic(home, "second")
    book, seen = open_book()
    perform(
        book,
        steps.EnableApi(steps.SECRET_MANAGER),
        *(
            steps.CreateSecret("secret-topics", steps.SecretSettings(rotation_topic=one, rotation_period="700h"))
            for one in (first, second)
        ),
    )
    assert seen.results[-1].plan.commands[0].endswith(f"--add-topics={second}")


def test_a_repository_that_others_made_is_used_and_not_claimed(home: Path):
    names = Names.of("others")
    book, _ = open_book()
    perform(book, *steps_of_02(Names.of("model")))
    model = book.cloud.repositories.get(Names.of("model").public)
    assert model is not None
    theirs = replace(model, name=book.cloud.repositories.name(names.public), labels={}, upstream_description="ours")
    book.cloud.repositories.create(theirs)
    book, seen = open_book()
    perform(book, steps_of_02(names)[1])
    assert seen.outcomes == [Outcome.UNCHANGED]
    there = book.cloud.repositories.get(names.public)
    assert there is not None
    assert dict(there.labels) == {}


def test_a_version_that_was_destroyed_is_replaced_by_a_good_one_that_is_there_before_a_new_one_is_made(home: Path):
    names = Names.of("destroyed")
    book, _ = open_book()
    perform(book, *steps_of_02(names), *steps_of_03(names))
    password = book.cloud.secrets.access(names.secret, 1)
    there = book.cloud.repositories.get(names.private)
    assert there is not None
    second = book.cloud.secrets.add_version(names.secret, password)
    book.cloud.repositories.set_upstream_credentials(names.private, there.username, second.name)
    book.cloud.secrets.destroy(names.secret, second.number)
    before = live_tokens(book.cloud, names)
    book, _ = open_book()
    perform(book, *steps_of_03(names))
    after = state_of(book.cloud, names)
    assert live_tokens(book.cloud, names) == before
    assert after.versions == ["1 ENABLED"]
    assert after.pair_is_taken_by_cgr_dev
