"""A rotation through Chainguard's API, of what chainctl has made; disturbed at any call it is in every_call.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from cgrunbook import steps
from cgrunbook.cloud import ChainguardAccess, Cloud, connect
from cgrunbook.steps.chainguard_access import TakeAwayChainguardAccess
from tests.left_behind import world
from tests.sandboxes import chainctl_without_a_process
from tests.steps.disturbing import disturbed
from tests.steps.doors import ACCOUNT, DOORS, let_the_trainee_act_as_it, prepare, set_up_as_a_person_does, through
from tests.steps.performing import Names, open_book, perform, state_of, steps_of_02, steps_of_03
from tests.steps.test_rotation_converges import CALLS, assert_finished, made, rotation
from tests.steps.test_teardown import NOTHING, teardown

# As through chainctl, with the binding that it makes unseen.
NUMBER = len(CALLS) + 1


@pytest.fixture(scope="module")
def access(home: Path, quick_chainctl: None) -> ChainguardAccess:
    perform(open_book()[0], steps.EnableApi(steps.ARTIFACT_REGISTRY), steps.EnableApi(steps.SECRET_MANAGER))
    return prepare()


@pytest.mark.parametrize("door", DOORS)
def test_what_one_door_has_made_the_other_rotates_and_takes_away(access: ChainguardAccess, door: str):
    other = DOORS[1 - DOORS.index(door)]
    with through(door, access):
        names = made(f"rotated-through-{other}")
    with through(other, access):
        perform(open_book()[0], rotation(names))
        assert_finished(names)
    with through(door, access):
        perform(open_book()[0], rotation(names))
        assert_finished(names)
    with through(other, access):
        book, _ = open_book()
        perform(book, teardown(names))
        assert state_of(book.cloud, names) == NOTHING


def made_through_chainctl(access: ChainguardAccess, scenario: str) -> Names:
    with through("chainctl", access):
        return made(scenario)


def test_a_rotation_through_the_api_starts_no_chainctl_and_sends_what_is_counted_here(
    access: ChainguardAccess, home: Path
):
    names = made_through_chainctl(access, "counted-api")
    with through("service-account", access), disturbed() as seen:
        perform(open_book()[0], rotation(names))
    assert len(seen.calls) == NUMBER, seen.calls
    assert not any("chainctl" in name for name in seen.calls)


@pytest.mark.long
def test_after_02_03_05_the_set_up_and_06_the_sandbox_is_as_it_was(fresh_home: Path):
    """But for the APIs, which stay on since others may use them."""
    cloud = Cloud(connect("sandbox"))
    let_the_trainee_act_as_it(cloud.connection)

    def everything() -> tuple[object, ...]:
        api = Cloud(connect("sandbox")).chainguard_as_owner
        kinds = {"identities": "identities", "roles": "roles", "roleBindings": "roleBindings"}
        told = [api.listed(field, f"/iam/v2/{path}", "look around") for field, path in kinds.items()]
        uids = [sorted(str(one["uid"]) for one in messages) for messages in told]
        return uids, {name: found for name, found in world(fresh_home).items() if name not in ("apis", "docker")}

    with chainctl_without_a_process():
        before = everything()
        access, names = set_up_as_a_person_does(), Names()
        with through("service-account", access):
            perform(open_book()[0], *steps_of_02(names), *steps_of_03(names), rotation(names))
            assert everything() != before
            away = TakeAwayChainguardAccess(ACCOUNT, "example.com", confirmed=True)
            perform(open_book()[0], teardown(names), away)
        assert everything() == before
