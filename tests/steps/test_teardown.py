"""Taking away what the runbook made: only when confirmed, nothing of others', and to the end also after a kill."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import patch

import pytest

from cgrunbook import steps
from cgrunbook.cloud.artifact_registry import Stored
from cgrunbook.cloud.chainctl import Chainctl
from cgrunbook.cloud.chainguard import ListedToken
from cgrunbook.cloud.roles import ACCESSOR
from cgrunbook.cloud.secret_manager import SecretResource
from cgrunbook.errors import ParameterError, PermissionMissing, StepFailed
from cgrunbook.redaction import Secret
from cgrunbook.run.result import plan_as_journaled
from cgrunbook.steps.step import Change, Outcome, Plan, World
from tests.steps.disturbing import Killed, Moment, disturbed
from tests.steps.performing import (
    Names,
    State,
    Watcher,
    live_tokens,
    open_book,
    perform,
    requests,
    state_of,
    steps_of_02,
    steps_of_03,
    writes,
)

pytestmark = pytest.mark.usefixtures("quick_chainctl", "few_locations")

NOTHING = State(public=None, private=None)


@pytest.fixture
def made(home: Path, request: pytest.FixtureRequest) -> Iterator[Names]:
    names = Names.of("".join(c if c.isalnum() else "-" for c in request.node.name.lower())[-32:].strip("-"))
    perform(open_book()[0], *steps_of_02(names), *steps_of_03(names))
    yield names
    perform(open_book()[0], teardown(names))


def teardown(names: Names, confirm: str | None = None) -> steps.TearDown:
    return steps.TearDown(
        names.public, names.private, names.secret, confirm=names.public if confirm is None else confirm
    )


def test_without_confirmation_the_plan_is_shown_and_nothing_is_deleted(home: Path, made: Names):
    known, before = len(requests(home)), state_of(open_book()[0].cloud, made)
    book, seen = open_book()
    perform(book, teardown(made, confirm=""))
    [result] = seen.results
    assert result.outcome is Outcome.PLANNED
    assert [change.resource.partition(" ")[0] for change in result.plan.changes] == [
        "repository",
        "repository",
        "pull",
        "secret",
    ]
    assert any(f"set confirm to '{made.public}'" in note for note in result.plan.notes)
    lost = "\n".join(result.plan.lost)
    [token] = live_tokens(book.cloud, made)
    for said in (f"{made.public} has cached no image.", "its 1 version, for good", f"{token} is good until 20"):
        assert said in lost
    assert "Chainguard saw it last on 20" in lost
    assert writes(requests(home, known)) == []
    assert state_of(book.cloud, made) == before


def test_a_confirmation_of_another_name_is_refused_before_any_call(home: Path):
    known = len(requests(home))
    with pytest.raises(ParameterError, match="confirm is 'yes'"):
        teardown(Names(), confirm="yes")
    assert requests(home, known) == []


def test_confirmed_everything_is_gone_the_token_too_and_a_second_time_finds_nothing(made: Names):
    book, seen = open_book()
    perform(book, teardown(made), teardown(made))
    assert seen.outcomes == [Outcome.DELETED, Outcome.UNCHANGED]
    assert seen.results[1].evidence.facts["left"] == "nothing of it"
    assert state_of(book.cloud, made) == NOTHING
    assert live_tokens(book.cloud, made) == []


def test_a_repository_and_a_secret_that_others_made_stay_and_are_named(made: Names):
    book, _ = open_book()
    theirs = Names.of(f"their-{made.secret[-20:]}")
    public, secret = book.cloud.repositories.get(made.public), book.cloud.secrets.get(made.secret)
    assert public is not None
    assert secret is not None
    book.cloud.repositories.create(
        replace(public, name=book.cloud.repositories.name(theirs.public), labels={}, upstream_description="theirs")
    )
    book.cloud.secrets.create(replace(secret, name=book.cloud.secrets.name(theirs.secret), labels={}, annotations={}))
    book, seen = open_book()
    perform(book, steps.TearDown(theirs.public, made.private, theirs.secret, confirm=theirs.public))
    [result] = seen.results
    assert [change.resource for change in result.plan.changes] == [f"repository {made.private}"]
    said = " ".join(result.plan.notes)
    assert f"The repository {theirs.public} stays: cgrunbook did not make it." in said
    assert f"The secret {theirs.secret} stays: cgrunbook did not make it." in said
    assert book.cloud.repositories.get(theirs.public) is not None
    assert book.cloud.secrets.get(theirs.secret) is not None
    assert set(str(result.evidence.facts["left"]).split()) >= {"repository"} or theirs.public in str(
        result.evidence.facts["left"]
    )


@pytest.mark.parametrize(
    ("call", "moment"),
    [
        (0, "before"),
        pytest.param(3, "after", marks=pytest.mark.long),
        pytest.param(5, "before", marks=pytest.mark.long),
    ],
)
def test_what_it_put_into_somebody_elses_secret_goes_and_the_secret_stays_with_what_is_theirs(
    home: Path, call: int, moment: Moment
):
    names, cloud = Names.of(f"lent-{call}"), open_book()[0].cloud
    theirs = SecretResource(cloud.secrets.name(names.secret), labels={"team": "theirs"}, annotations={"of": "theirs"})
    perform(open_book()[0], steps.EnableApi(steps.SECRET_MANAGER))
    cloud.secrets.create(theirs)
    cloud.secrets.add_version(names.secret, Secret("of theirs"))
    cloud.secrets.grant(names.secret, "user:b@example.com", ACCESSOR)
    perform(open_book()[0], *steps_of_02(names), *steps_of_03(names))
    rotate = steps.RotatePullToken(names.private, names.secret, settings=steps.RotationSettings(grace="1h"))
    perform(open_book()[0], rotate)
    assert len(live_tokens(cloud, names)) == 2
    if call:
        with disturbed(call, moment), pytest.raises(Killed):
            perform(open_book()[0], teardown(names))
    book, seen = open_book()
    perform(book, teardown(names))
    there = cloud.secrets.get(names.secret)
    assert there is not None
    assert (there.labels, there.annotations) == ({"team": "theirs"}, {"of": "theirs"})
    assert {version.number for version in cloud.secrets.versions(names.secret) if version.enabled} == {1}
    assert cloud.secrets.get_policy(names.secret).bindings[0].members == ("user:b@example.com",)
    assert live_tokens(cloud, names) == []
    if not call:
        assert seen.results[-1].evidence.facts["pull tokens"] == "2 tokens revoked, and not listed any more"


def test_a_token_that_lives_on_after_it_was_revoked_is_no_silent_success(made: Names):
    with patch.object(Chainctl, "revoke", lambda *_: True), pytest.raises(StepFailed, match="is listed still"):
        perform(open_book()[0], teardown(made))
    for token in live_tokens(open_book()[0].cloud, made):
        open_book()[0].cloud.chainctl.revoke(token, "example.com")


def test_what_it_made_is_known_again_when_somebody_cleared_the_labels(made: Names):
    book, _ = open_book()
    for name in (made.public, made.private):
        there = book.cloud.repositories.get(name)
        assert there is not None
        book.cloud.repositories.update(there, replace(there, labels={}))
    secret = book.cloud.secrets.get(made.secret)
    assert secret is not None
    book.cloud.secrets.update(secret, replace(secret, labels={}))
    perform(book, teardown(made))
    assert state_of(book.cloud, made) == NOTHING


def test_a_pull_token_of_another_secret_is_not_revoked(made: Names):
    other = Names.of(f"other-{made.secret[-20:]}")
    book, _ = open_book()
    perform(book, *steps_of_03(other))
    perform(book, teardown(made))
    assert len(live_tokens(book.cloud, other)) == 1
    perform(book, teardown(other))


def test_what_is_lost_is_said_as_far_as_the_services_tell(made: Names, monkeypatch: pytest.MonkeyPatch):
    book, _ = open_book()
    cloud, moment = book.cloud, datetime(2026, 11, 27, 15, 46, tzinfo=UTC)
    there = cloud.repositories.get(made.public)
    [username] = live_tokens(cloud, made)
    token = ListedToken(username, "", None, moment)
    assert there is not None
    monkeypatch.setattr(cloud.repositories, "get", lambda name: replace(there, name=there.name, size_bytes=617_965))
    stored: dict[str, Stored | PermissionMissing] = {made.public: Stored(1000, True, moment)}
    stored[made.private] = PermissionMissing("You may not list them.", "")

    def ask(name: str) -> Stored:
        if isinstance(answer := stored[name], Stored):
            return answer
        raise answer

    monkeypatch.setattr(cloud.repositories, "stored", ask)
    monkeypatch.setattr(cloud.chainctl, "list_pull_tokens", lambda _: (token,))
    lost = "\n".join(teardown(made).plan(World(cloud)).lost)
    assert f"{made.public} has cached more than 1000 images, 618.0 kB; the last came on 2026-11-27 15:46 UTC." in lost
    assert f"How much {made.private} has cached cannot be seen: You may not list them." in lost
    assert f"{username} may still be good, and Chainguard saw it last on 2026-11-27 15:46 UTC" in lost


def test_what_is_lost_may_change_meanwhile_and_is_not_asked_about_again():
    asked = Plan(Outcome.DELETED, (Change("repository a", "", "", None),), lost=("It has cached 1 image.",))
    assert asked == replace(asked, lost=("It has cached 2 images.",))
    assert plan_as_journaled(asked)["notes"] == ("It has cached 1 image.",)


def test_with_somebody_there_it_is_asked_about_and_a_no_deletes_nothing(made: Names):
    async def no(*_: object) -> bool:
        return False

    book, seen = open_book(Watcher(no))
    with pytest.raises(Exception, match="declined"):
        perform(book, teardown(made))
    assert len(seen.asked) == 1
    assert state_of(book.cloud, made).public == {"managed-by": "cgrunbook"}


def test_on_a_project_where_nothing_was_ever_enabled_there_is_nothing_to_do(fresh_home: Path):
    book, seen = open_book()
    perform(book, teardown(Names()))
    assert seen.outcomes == [Outcome.UNCHANGED]


def test_chainctl_signed_out_leaves_the_secret_so_that_the_token_can_still_be_found(made: Names):
    book, _ = open_book()
    assert book.cloud.chainctl._run(["auth", "logout"]).code == 0
    try:
        with pytest.raises(Exception, match="chainctl"):
            perform(book, teardown(made))
        assert book.cloud.secrets.get(made.secret) is not None
    finally:
        assert book.cloud.chainctl._run(["auth", "login"]).code == 0
    book, _ = open_book()
    perform(book, teardown(made))
    assert live_tokens(book.cloud, made) == []
