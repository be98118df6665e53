"""The form: its fields follow the declarations, its rules are read as text, its button works only when all is well."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgrunbook import parameters
from cgrunbook.ui import values
from cgrunbook.ui.form import Form, label
from cgrunbook.ui.values import Source, Value

ALL = {name: Value(values.default(name), Source.DEFAULT) for name in parameters.NAMES}


@pytest.fixture(autouse=True)
def machine(monkeypatch, tmp_path):
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    for name in ("GOOGLE_CLOUD_PROJECT", "CLOUDSDK_CORE_PROJECT"):
        monkeypatch.delenv(name, raising=False)


def make(begin=ALL, **arguments):
    used: list[dict[str, Any]] = []
    form = Form(begin, rules=values.broken_rules, on_use=used.append, **arguments)
    return form, used


def words(widget):
    return re.sub(r"<[^>]+>", "", widget.value)


def set_value(form, name, value):
    form.fields[name].control.value = value


def test_every_parameter_has_a_field_with_a_label_a_help_and_a_tooltip():
    form, _ = make()
    assert list(form.fields) == list(parameters.NAMES)
    for name, field in form.fields.items():
        description = parameters.Parameters.model_fields[name].description
        assert field.control.description == label(name)
        assert field.control.tooltip == description
        assert description is not None
        assert description[1:] in field._helping().replace("&#x27;", "'")


def test_labels_are_told_apart():
    assert len({label(name) for name in parameters.NAMES}) == len(parameters.NAMES)


def test_who_listens_hears_label_and_value_then_the_error_then_the_help():
    form, _ = make()
    for field in form.fields.values():
        assert list(field.widget.children) == [field.control, field.error, field._help]


def test_the_values_read_are_those_it_began_with_by_their_types():
    form, _ = make()
    read, wrong = form.values()
    assert wrong == {}
    assert read == {name: value.value for name, value in ALL.items()}
    for name, value in read.items():
        assert parameters.type_name(name).startswith(type(value).__name__)


def test_a_value_that_breaks_its_rule_is_named_below_its_field_and_holds_the_button():
    form, used = make()
    set_value(form, "location", "US Central")
    assert form.use.disabled
    assert words(form.fields["location"].error).startswith("Error: must be a location of Artifact Registry")
    assert 'role="alert"' in form.fields["location"].error.value
    assert form.fields["location"].error.layout.display is None
    assert words(form.status) == "1 value to correct first."
    form.confirm()
    assert used == []
    set_value(form, "location", "europe-west1")
    assert not form.use.disabled
    assert words(form.fields["location"].error) == ""
    assert form.fields["location"].error.layout.display == "none"


def test_a_number_that_is_none_is_refused_by_its_type():
    form, _ = make()
    set_value(form, "wait_limit", "soon")
    assert words(form.fields["wait_limit"].error) == "Error: must be a whole number."


def test_an_error_in_what_is_folded_away_unfolds_it_and_is_counted_in_its_title():
    form, _ = make()
    assert not form._more.value
    set_value(form, "wait_limit", "0")
    assert form._more.value
    assert form._more.description.endswith("1 to correct")


def test_a_rule_about_two_values_is_said_beside_the_button():
    form, _ = make()
    set_value(form, "rotation_period", "600h")
    assert "Error: rotation_topic is missing" in words(form.status)
    assert form.use.disabled


def test_the_button_hands_on_what_stands_in_the_fields():
    form, used = make()
    set_value(form, "developer_images", "chainguard/go:latest, chainguard/python:latest")
    set_value(form, "docker_pull", True)
    form.use.click()
    assert used[0]["developer_images"] == ["chainguard/go:latest", "chainguard/python:latest"]
    assert used[0]["docker_pull"] is True


def test_while_a_confirmation_is_followed_another_click_does_nothing():
    form, used = make()
    form.use.click()
    form.busy("Connecting ...")
    form.use.click()
    set_value(form, "location", "europe-west1")
    assert form.use.disabled
    form.use.click()
    assert len(used) == 1
    form.ready("Saved.")
    form.use.click()
    assert len(used) == 2


def test_a_change_that_is_not_in_use_yet_is_said_to_be_so():
    form, _ = make()
    form.ready("In use.")
    set_value(form, "location", "europe-west1")
    assert words(form.status) == "Changed, and not in use yet."
    form.ready("In use.")
    assert words(form.status) == "In use."


def test_where_a_value_comes_from_is_said_until_it_is_changed():
    form, _ = make(ALL | {"location": Value("europe-west1", Source.SAVED)})
    assert "Here as last saved." in words(form.fields["location"]._help)
    set_value(form, "location", "us")
    assert "last saved" not in words(form.fields["location"]._help)


def test_another_target_brings_its_values_and_leaves_what_the_person_wrote():
    there = {"location": Value("europe-west1", Source.SAVED), "repository": Value("other", Source.SAVED)}
    form, _ = make(on_target=lambda target: there if target == "google-cloud" else {})
    set_value(form, "repository", "mine")
    set_value(form, "target", "google-cloud")
    assert form.fields["location"].text == "europe-west1"
    assert form.fields["repository"].text == "mine"
    assert form.fields["project_id"].control.placeholder == "the one that this machine is set to"
    assert "project_id" in form.wrong


def test_what_there_is_can_be_chosen_and_anything_else_written():
    form, _ = make()
    form.fields["location"].offer(("europe-west1", "us-central1"))
    assert form.fields["location"].control.options == ("europe-west1", "us-central1")
    set_value(form, "location", "asia-east1")
    assert form.wrong == {}


def test_what_cannot_be_listed_is_said_quietly_and_harms_nothing():
    form, _ = make()
    form.fields["organization"].offer((), "What there is could not be listed: chainctl is not on the PATH.")
    assert "chainctl is not on the PATH" in words(form.fields["organization"]._help)
    assert form.wrong == {}


def test_a_saved_choice_that_is_none_any_more_is_shown_and_refused():
    form, _ = make(ALL | {"docker_login": Value("gone", Source.SAVED)})
    assert form.fields["docker_login"].text == "gone"
    assert "docker_login" in form.wrong


def test_the_hooks_of_the_page_are_where_the_browsers_tests_look():
    form, _ = make()
    assert "cgrunbook-form" in form.widget._dom_classes
    assert "cgrunbook-use" in form.use._dom_classes
    for name, field in form.fields.items():
        assert f"cgrunbook-field-{name}" in field.control._dom_classes
        assert f"cgrunbook-error-{name}" in field.error._dom_classes


@pytest.mark.parametrize("name", ["repository", "wait_limit", "developer_images"])
@given(text=st.text(max_size=40))
def test_whatever_is_typed_is_taken_or_refused_with_a_sentence(name, text):
    form, _ = make({"target": ALL["target"], name: ALL[name]})
    set_value(form, name, text)
    read, wrong = form.values()
    assert set(wrong) == {name} if wrong else parameters.check(read)
    assert form.use.disabled == bool(wrong)
    assert bool(words(form.fields[name].error)) == bool(wrong)
    assert "<" not in words(form.fields[name].error)
