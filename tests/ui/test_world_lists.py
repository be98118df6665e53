"""What the form's fields offer: asked from the services, or said why not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from cgrunbook import steps
from cgrunbook.cloud import Cloud, connect
from cgrunbook.errors import NotSignedIn, PermissionMissing
from cgrunbook.ui import world_lists
from cgrunbook.ui.world_lists import offer_lists
from tests.sandboxes import sandbox_home

VALUES = {
    "target": "sandbox",
    "project_id": "",
    "location": "us-central1",
    "organization": "",
    "repository": "x",
    "private_repository": "y",
    "mode": "apply",
}


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with sandbox_home(tmp_path_factory.mktemp("cgrunbook")) as home:
        yield home


def offered(values):
    found = {}
    asyncio.run(offer_lists(values, lambda name, options, problem: found.update({name: (options, problem)})))
    return found


def test_each_field_is_offered_what_there_is_once_the_api_is_on():
    cloud = Cloud(connect("sandbox"))
    cloud.project.enable_api(steps.ARTIFACT_REGISTRY)
    found = offered(VALUES)
    assert found["project_id"] == (("cgrunbook-sandbox",), "")
    assert "europe-west1" in found["location"][0]
    assert found["organization"] == (("example.com",), "")
    assert found["repository"] == found["private_repository"] == ((), "")
    assert set(found) == {"project_id", "location", "organization", "repository", "private_repository"}


def test_only_what_the_notebook_has_is_asked_for():
    assert set(offered({"target": "sandbox", "project_id": ""})) == {"project_id"}


def test_what_may_not_be_listed_is_said_in_a_sentence_and_the_rest_is_offered(monkeypatch):
    def refused(_):
        raise PermissionMissing("The caller may not list projects.", "Ask for a role.")

    monkeypatch.setitem(world_lists._LISTS, ("project_id",), refused)
    found = offered({"target": "sandbox", "project_id": "", "organization": ""})
    assert found["project_id"] == ((), "What there is could not be listed: The caller may not list projects.")
    assert found["organization"] == (("example.com",), "")


def test_a_target_that_cannot_be_reached_offers_nothing_and_says_so():
    found = offered(VALUES | {"location": "moon-north1"})
    assert all(options == () and "moon-north1" in problem for options, problem in found.values())


def test_as_whom_the_target_is_called_is_said_or_what_is_to_be_done_first_and_no_problem_twice(monkeypatch):
    told = []
    asyncio.run(offer_lists(VALUES, lambda *_: None, lambda *said: told.append(said)))
    assert told == [("trainee@example.com", "")]
    told.clear()

    def signed_out(_):
        raise NotSignedIn("There are no credentials.", "Sign in: gcloud auth login")

    with monkeypatch.context() as patched:
        patched.setattr(world_lists, "_open", signed_out)
        asyncio.run(offer_lists(VALUES, lambda *_: pytest.fail("offered"), lambda *said: told.append(said)))
    assert told == [("", "Sign in: gcloud auth login")]
    problems = [problem for _, problem in offered(VALUES | {"project_id": "another-project"}).values() if problem]
    assert len(problems) == len(set(problems)) == 1
