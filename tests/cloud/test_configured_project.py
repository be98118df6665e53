"""The project that a machine is set to: one order, and what others say is not hidden."""

from __future__ import annotations

import json

import pytest

from cgrunbook.cloud import connect, metadata_server
from cgrunbook.cloud.configured_project import ConfiguredProject, configured_project
from cgrunbook.ui import values
from tests.cloud.sign_ins import gcloud, service_account


@pytest.fixture
def key(no_google, tmp_path, monkeypatch):
    """A service account's key, of their-project."""
    path = service_account(tmp_path / "key.json")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    return path


def both_readings() -> set[str]:
    """What a form and a headless run take."""
    names = {name: values.default(name) for name in ("target", "project_id", "location")} | {"target": "google-cloud"}
    return {connect("google-cloud").project_id, values.for_person(names, None)["project_id"].value}


def test_nobody_says_anything(no_google):
    assert configured_project() == ConfiguredProject()


def test_the_key_goes_before_gcloud_and_the_difference_is_said(no_google, key):
    gcloud(no_google, "t", "gcloud-project")
    found = configured_project()
    assert (found.id, found.source) == ("their-project", "credentials")
    assert found.note == f"by the key {key}, while gcloud's configuration default says gcloud-project"
    assert both_readings() == {"their-project"}


@pytest.mark.parametrize("variable", ["GOOGLE_CLOUD_PROJECT", "GCLOUD_PROJECT", "CLOUDSDK_CORE_PROJECT"])
def test_a_variable_goes_before_the_key(no_google, key, monkeypatch, variable):
    monkeypatch.setenv(variable, "from-the-shell")
    found = configured_project()
    assert (found.id, found.source) == ("from-the-shell", "environment")
    assert found.note == f"by {variable}, while the key {key} says their-project"
    assert both_readings() == {"from-the-shell"}


def test_of_two_variables_that_of_the_client_libraries_goes_first(no_google, monkeypatch):
    monkeypatch.setenv("CLOUDSDK_CORE_PROJECT", "for-gcloud")
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "for-all")
    found = configured_project()
    assert found.id == "for-all"
    assert found.note == "by GOOGLE_CLOUD_PROJECT, while CLOUDSDK_CORE_PROJECT says for-gcloud"


def test_sources_that_agree_need_no_word(no_google, key, monkeypatch):
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "their-project")
    gcloud(no_google, "t", "their-project")
    assert configured_project() == ConfiguredProject("their-project", "environment")


@pytest.mark.parametrize(
    "content", ["", "[]", '{"type": "service_account"}', '{"type": "authorized_user", "project_id": "x"}']
)
def test_a_key_that_names_no_project_leaves_it_to_gcloud(no_google, key, content):
    gcloud(no_google, "t", "gcloud-project")
    key.write_text(content)
    assert (configured_project().id, configured_project().source) == ("gcloud-project", "gcloud")


def test_reading_it_starts_no_command(no_google, key):
    gcloud(no_google, "t", "gcloud-project")
    configured_project()
    connect("google-cloud")
    assert not (no_google / "started").exists()


def test_a_machine_at_google_is_in_a_project(no_google, monkeypatch):
    monkeypatch.delenv("NO_GCE_CHECK")
    monkeypatch.setattr(metadata_server, "project", lambda: "the-machines")
    gcloud(no_google, "t", "gcloud-project")
    found = configured_project()
    assert (found.id, found.source) == ("the-machines", "credentials")
    assert found.note == "by the metadata server, while gcloud's configuration default says gcloud-project"


def test_the_form_says_where_sources_differ(no_google, key, monkeypatch):
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "from-the-shell")
    names = {name: values.default(name) for name in ("target", "project_id", "location")} | {"target": "google-cloud"}
    target = {"target": "google-cloud", "project_id": "from-the-shell", "location": "us-central1"}
    for found in (values.for_person(names, None), values.in_use(values.said_in_notebook(names), target)):
        assert found["project_id"].source == "environment"
        assert "says their-project" in found["project_id"].note


def test_a_project_that_is_given_is_not_looked_for(no_google, key, monkeypatch):
    key.write_text(json.dumps(json.loads(key.read_text()) | {"project_id": ["no", "name"]}))
    assert connect("google-cloud", project_id="given").project_id == "given"
