"""Which step of a run speaks for which link of the way that an image takes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from cgrunbook.run.record import NotebookRecord, Record, StepRecord
from cgrunbook.run.route import Route, State, routes_of

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
NAMES = {"repository": "public", "private_repository": "private", "secret_id": "token"}


def step(kind: str, outcome: str | None = "created", **more: Any) -> StepRecord:
    return StepRecord(**{"number": 1, "kind": kind, "title": kind, "started": NOW, "outcome": outcome, **more})


def pull(image: str, repository: str, outcome: str | None = "verified", **more: Any) -> StepRecord:
    title = f"Pull {image} through {repository}"
    return step("PullImage", outcome, title=title, subject=repository, brief="the same digest", **more)


def routes(*steps: StepRecord, **parameters: str) -> tuple[Route, ...]:
    notebook = NotebookRecord(name="03", started=NOW, parameters=NAMES | parameters, steps=list(steps))
    return routes_of(Record(run="r", target={"location": "us-central1"}, notebooks=[notebook]))


PRIVATE = (step("GrantSecretAccess"), step("StorePullToken", brief="version 1"), step("CreatePrivateRepository"))


def test_a_run_that_did_nothing_about_images_has_no_route():
    assert routes(step("CheckNetwork", "verified")) == ()
    assert routes_of(Record(run="r")) == ()


def test_developer_images_take_a_way_without_a_secret():
    (route,) = routes(step("CreateRemoteRepository"), pull("chainguard/go:latest", "public"))
    assert (route.repository, route.secret, route.host) == ("public", "", "us-central1-docker.pkg.dev")
    assert [link.state for link in route.links] == [State.PROVED, State.PROVED]


def test_a_pull_of_a_record_of_format_1_proved_what_it_proved():
    (route,) = routes(step("CreateRemoteRepository"), pull("chainguard/go:latest", "public", "unchanged"))
    assert [link.state for link in route.links] == [State.PROVED, State.PROVED]


def test_production_images_sign_in_with_the_secret():
    (route,) = routes(*PRIVATE, pull("chainguard-base:latest", "private"))
    assert (route.repository, route.secret) == ("private", "token")
    assert [link.state for link in route.links] == [State.PROVED, State.MADE, State.MADE, State.PROVED]
    assert route.token
    assert route.token.said == "version 1"


def test_a_pull_through_one_repository_says_nothing_of_another_whose_name_ends_alike():
    made = step("CreateRemoteRepository")
    (route,) = routes(made, pull("chainguard/go:latest", "not-public"))
    assert [link.state for link in route.links] == [State.NOT_SEEN, State.MADE]


def test_two_names_alike_are_one_route_for_all_images():
    (route,) = routes(step("CreateRemoteRepository"), *PRIVATE, private_repository="public")
    assert (route.images, route.repository, route.secret) == ("All images", "public", "token")


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        ("created", State.MADE),
        ("updated", State.MADE),
        ("unchanged", State.THERE),
        ("not checked", State.NOT_SEEN),
        ("planned", State.PLANNED),
        ("declined", State.DECLINED),
        ("failed", State.FAILED),
        (None, State.BROKEN_OFF),
    ],
)
def test_each_outcome_has_its_word(outcome, state):
    (route,) = routes(step("CreateRemoteRepository", outcome))
    assert route.upstream.state is state


def test_what_was_declined_and_then_approved_was_made():
    (route,) = routes(step("CreateRemoteRepository", "declined"), step("CreateRemoteRepository"))
    assert route.upstream.state is State.MADE


def test_one_failed_pull_among_several_breaks_the_link():
    made = step("CreateRemoteRepository")
    failed = pull("chainguard/node:latest", "public", "failed")
    (route,) = routes(made, pull("chainguard/go:latest", "public"), failed)
    assert [link.state for link in route.links] == [State.FAILED, State.MADE]
    (route,) = routes(made, pull("chainguard/go:latest", "public"), pull("chainguard/node:latest", "public"))
    assert route.pull.said == "2 images, the same digest"


def test_a_link_is_as_good_as_the_worst_step_that_speaks_for_it():
    made, two = step("CreateRemoteRepository"), [pull(f"chainguard/{name}", "public") for name in ("go", "node")]
    first_failed = [two[0].model_copy(update={"outcome": "failed"}), two[1]]
    (route,) = routes(made, *first_failed)
    assert route.pull.state is State.FAILED
    (route,) = routes(made, *first_failed, two[0].model_copy(update={"outcome": "skipped"}))
    assert route.pull.state is State.FAILED, "a pull that nobody asked for mends nothing"
    (route,) = routes(made, *first_failed, two[0])
    assert route.pull.state is State.PROVED
    (route,) = routes(made, step("SignDockerIn", "skipped"))
    assert route.pull.state is State.NOT_SEEN
    for other in (step("CreateRemoteRepository", "failed", title="another"), made):
        (route,) = routes(step("CreateRemoteRepository", "failed", title="another"), other, made)
        assert route.upstream.state is State.FAILED


def test_without_a_pull_the_login_speaks_for_the_client():
    (route,) = routes(step("CreateRemoteRepository"), step("SignDockerIn", "unchanged", brief="the helper"))
    assert (route.pull.state, route.pull.said) == (State.THERE, "docker signs in with the helper")
