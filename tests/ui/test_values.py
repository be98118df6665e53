"""Who may say what a parameter is: the order, the file of what was saved, and what is written back."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from cgrunbook import parameters
from cgrunbook.cloud.configured_project import configured_project
from cgrunbook.ui import values
from cgrunbook.ui.values import Saved, Source, Value


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    """A machine on which nothing is configured."""
    for name in [one for one in os.environ if one.startswith(("GOOGLE_", "CLOUDSDK_", "GCLOUD_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("CGRUNBOOK_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "gcloud"))
    return tmp_path


def namespace(**edited):
    names = ("target", "mode", "project_id", "location", "repository", "wait_limit", "confirm")
    return {name: values.default(name) for name in names} | edited


def papermill(namespace_, **given):
    lines = "\n".join(f"{name} = {value!r}" for name, value in given.items())
    return namespace_ | given | {"In": ["", f"# Parameters\n{lines}"]}


def set_gcloud(machine: Path, project: str, name: str = "default") -> None:
    folder = machine / "gcloud" / "configurations"
    folder.mkdir(parents=True, exist_ok=True)
    (folder.parent / "active_config").write_text(name)
    (folder / f"config_{name}").write_text(f"[core]\naccount = ada@example.com\nproject = {project}\n")


def test_what_papermill_gives_goes_before_the_cell_the_saved_and_the_default():
    saved = Saved(target="sandbox", values={"sandbox": {"location": "europe-west1", "repository": "saved"}})
    notebook = papermill(namespace(repository="edited"), location="us-east1")
    found = values.for_person(notebook, saved)
    assert found["location"] == Value("us-east1", Source.GIVEN)
    assert found["repository"] == Value("edited", Source.CELL)
    assert found["wait_limit"] == Value(600, Source.DEFAULT)


def test_what_papermill_gives_is_given_even_when_it_is_the_default():
    saved = Saved(target="sandbox", values={"sandbox": {"location": "europe-west1"}})
    found = values.for_person(papermill(namespace(), location="us-central1"), saved)
    assert found["location"] == Value("us-central1", Source.GIVEN)


def test_a_cell_that_was_edited_goes_before_what_was_saved():
    saved = Saved(target="sandbox", values={"sandbox": {"location": "europe-west1"}})
    assert values.for_person(namespace(location="us"), saved)["location"] == Value("us", Source.CELL)
    assert values.for_person(namespace(), saved)["location"] == Value("europe-west1", Source.SAVED)


def test_without_a_person_nothing_that_was_saved_is_taken():
    values.save({"target": "sandbox", "location": "europe-west1"})
    assert values.said_in_notebook(namespace())["location"] == Value("us-central1", Source.DEFAULT)


def test_values_are_saved_for_each_target_by_itself():
    values.save({"target": "google-cloud", "project_id": "my-project", "location": "europe-west1"})
    values.save({"target": "sandbox", "location": "us-east1"})
    saved = values.read_saved()
    assert saved is not None
    assert saved.target == "sandbox"
    there = values.for_person(namespace(), saved, target="google-cloud")
    assert (there["project_id"].value, there["location"].value) == ("my-project", "europe-west1")
    here = values.for_person(namespace(), saved)
    assert (here["project_id"].value, here["location"].value) == ("", "us-east1")


def test_one_notebook_saves_beside_what_another_saved():
    values.save({"target": "sandbox", "repository": "mine"})
    values.save({"target": "sandbox", "secret_id": "our-secret"})
    saved = values.read_saved()
    assert saved is not None
    assert saved.of("sandbox") == {"repository": "mine", "secret_id": "our-secret"}


def test_a_value_that_is_the_default_again_is_not_kept():
    values.save({"target": "sandbox", "repository": "mine"})
    values.save({"target": "sandbox", "repository": values.default("repository")})
    saved = values.read_saved()
    assert saved is not None
    assert saved.of("sandbox") == {}


def test_a_deletion_that_was_confirmed_once_is_not_confirmed_for_ever():
    values.save(
        {
            "target": "sandbox",
            "confirm": "chainguard-pull-through",
            "try_fresh_repository": True,
            "chainguard_set_up": True,
        }
    )
    saved = values.read_saved()
    assert saved is not None
    assert saved.of("sandbox") == {}


def test_the_file_is_for_its_owner_alone(machine):
    values.save({"target": "sandbox", "repository": "mine"})
    path = machine / "home" / "parameters.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(path.read_text()) == {"target": "sandbox", "values": {"sandbox": {"repository": "mine"}}}


@pytest.mark.parametrize("content", ["", "[]", '{"values": 1}', "\0"])
def test_a_file_that_is_none_of_ours_is_as_if_there_were_none(machine, content):
    (machine / "home").mkdir()
    (machine / "home" / "parameters.json").write_text(content)
    assert values.read_saved() is None
    values.save({"target": "sandbox", "repository": "mine"})
    assert values.read_saved() is not None


def test_gcloud_says_the_project_for_google_cloud_alone(machine):
    set_gcloud(machine, "configured-project")
    assert values.for_person(namespace(target="google-cloud"), None)["project_id"] == Value(
        "configured-project", Source.GCLOUD
    )
    assert values.for_person(namespace(), None)["project_id"] == Value("", Source.DEFAULT)


def test_the_active_configuration_of_gcloud_counts(machine, monkeypatch):
    set_gcloud(machine, "one")
    set_gcloud(machine, "other", name="work")
    assert (configured_project().id, configured_project().source) == ("other", "gcloud")
    monkeypatch.setenv("CLOUDSDK_ACTIVE_CONFIG_NAME", "default")
    assert (configured_project().id, configured_project().source) == ("one", "gcloud")


def test_the_environment_goes_before_gcloud_and_the_saved_before_both(machine, monkeypatch):
    set_gcloud(machine, "configured-project")
    monkeypatch.setenv("CLOUDSDK_CORE_PROJECT", "from-the-shell")
    cloud = namespace(target="google-cloud")
    found = values.for_person(cloud, None)["project_id"]
    assert (found.value, found.source) == ("from-the-shell", Source.ENVIRONMENT)
    saved = Saved(target="google-cloud", values={"google-cloud": {"project_id": "saved-project"}})
    assert values.for_person(cloud, saved)["project_id"] == Value("saved-project", Source.SAVED)


def test_google_cloud_without_a_project_anywhere_breaks_a_rule(machine):
    chosen = namespace(target="google-cloud")
    assert "must be given" in values.broken_rules(chosen)["project_id"]
    set_gcloud(machine, "configured-project")
    assert values.broken_rules(chosen) == {}


def test_what_the_target_fills_in_is_said_to_be_its_own():
    target = {
        "target": "sandbox",
        "project_id": "cgrunbook-sandbox",
        "location": "us-central1",
        "organization": "x.org",
    }
    used = values.in_use(values.said_in_notebook(namespace()), target)
    assert used["project_id"] == Value("cgrunbook-sandbox", Source.SANDBOX)
    assert used["location"] == Value("us-central1", Source.DEFAULT)
    assert "organization" not in used


def test_what_gcloud_fills_in_without_a_person_is_said_to_be_gclouds(machine):
    set_gcloud(machine, "configured-project")
    target = {"target": "google-cloud", "project_id": "configured-project", "location": "us-central1"}
    used = values.in_use(values.said_in_notebook(namespace(target="google-cloud")), target)
    assert used["project_id"] == Value("configured-project", Source.GCLOUD)


def test_what_the_form_wrote_is_not_taken_for_the_cells():
    notebook = namespace()
    chosen = namespace(location="europe-west1")
    values.write_back(notebook, chosen)
    values.save(chosen)
    assert notebook["location"] == "europe-west1"
    assert values.for_person(notebook, values.read_saved())["location"] == Value("europe-west1", Source.SAVED)
    notebook["location"] = "us"  # the cell was edited and run after all
    assert values.for_person(notebook, values.read_saved())["location"] == Value("us", Source.CELL)


def test_the_names_come_in_the_order_of_their_declaration():
    assert values.names_in({"location", "target", "project_id"}) == ("target", "project_id", "location")
    assert values.names_in({"x": 1, "wait_limit": 1, "target": "sandbox"}) == ("target", "wait_limit")
    assert set(values.names_in(parameters.NAMES)) == set(parameters.NAMES)
