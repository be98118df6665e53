"""The form: its fields follow the declarations, its rules are read as text, its button works only when all is well."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgrunbook import parameters
from cgrunbook.errors import NotSignedIn, ParameterError
from cgrunbook.ui import values
from cgrunbook.ui.form import Form, State, label
from cgrunbook.ui.values import Source, Value
from tests.ui.pages import error_at, words

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
        assert description[1:] in words(field.below)


def test_labels_are_told_apart():
    assert len({label(name) for name in parameters.NAMES}) == len(parameters.NAMES)


def test_who_listens_hears_label_and_value_then_the_error_then_the_help():
    form, _ = make()
    form._more.value = True
    shown = [*form.widget.children, *form._rest.children]
    set_value(form, "location", "US Central")
    for name, field in form.fields.items():
        assert shown[shown.index(field.control) + 1] is field.below
        assert field.below.value.startswith(f'<div class="cgrunbook-error-{name}"')
    said = words(form.fields["location"].below)
    assert said.startswith("Error: ")
    assert said.endswith("Where the repositories are.")


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
    assert error_at(form, "location").startswith("Error: must be a location of Artifact Registry")
    assert 'role="alert"' in form.fields["location"].below.value
    assert words(form.status) == "1 value to correct first."
    form.confirm()
    assert used == []
    set_value(form, "location", "europe-west1")
    assert not form.use.disabled
    assert error_at(form, "location") == ""
    assert 'role="alert"' not in form.fields["location"].below.value


def test_a_number_that_is_none_is_refused_by_its_type():
    form, _ = make()
    set_value(form, "wait_limit", "soon")
    assert error_at(form, "wait_limit") == "Error: must be a whole number."


def test_an_error_in_what_is_folded_away_unfolds_it_and_is_counted_in_its_title():
    form, _ = make()
    assert not form._more.value
    set_value(form, "wait_limit", "0")
    assert form._more.value
    assert form._more.description.endswith("1 to correct")


def test_a_rule_about_two_values_is_said_at_the_one_to_be_put_right():
    form, _ = make()
    set_value(form, "rotation_period", "600h")
    assert "Error: rotation_topic is missing" in error_at(form, "rotation_topic")
    assert form.use.disabled
    set_value(form, "rotation_period", "")
    set_value(form, "confirm", "chainguard-pull-trough")
    assert "repository is 'chainguard-pull-through': nothing is deleted" in error_at(form, "confirm")
    set_value(form, "repository", "chainguard-pull-trough")
    assert error_at(form, "confirm") == ""


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
    form.busy()
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
    assert "Here as last saved." in words(form.fields["location"].below)
    set_value(form, "location", "us")
    assert "last saved" not in words(form.fields["location"].below)


def test_another_target_brings_its_values_and_leaves_what_the_person_wrote():
    there = {"location": Value("europe-west1", Source.SAVED), "repository": Value("other", Source.SAVED)}
    there["organization"] = Value("", Source.DEFAULT)
    form, _ = make(on_target=lambda target: there if target == "google-cloud" else {})
    set_value(form, "repository", "mine")
    set_value(form, "organization", "of-the-sandbox")
    set_value(form, "target", "google-cloud")
    assert form.fields["location"].text == "europe-west1"
    assert form.fields["repository"].text == "mine"
    assert form.fields["organization"].text == "", "what is of one target is not taken along"
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
    assert "chainctl is not on the PATH" in words(form.fields["organization"].below)
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
        assert f'class="cgrunbook-error-{name}"' in field.below.value
    assert "cgrunbook-defaults" in form.defaults._dom_classes


@pytest.mark.parametrize("name", ["repository", "wait_limit", "developer_images"])
@given(text=st.text(max_size=40))
def test_whatever_is_typed_is_taken_or_refused_with_a_sentence(name, text):
    form, _ = make({"target": ALL["target"], name: ALL[name]})
    set_value(form, name, text)
    read, wrong = form.values()
    assert set(wrong) == {name} if wrong else parameters.check(read)
    assert form.use.disabled == bool(wrong)
    assert bool(error_at(form, name)) == bool(wrong)
    assert "<" not in form.fields[name].below.value.replace("<div", "").replace("</div>", "").replace(
        "<span", ""
    ).replace("</span>", "").replace("<strong", "").replace("</strong>", "")


STATES = {
    State.WAITING: lambda form: None,
    State.CONNECTING: lambda form: form.busy(),
    State.IN_USE: lambda form: form.ready(),
    State.CHANGED: lambda form: (form.ready(), set_value(form, "location", "europe-west1")),
    State.WRONG: lambda form: set_value(form, "location", ""),
    State.FAILED: lambda form: form.failed(NotSignedIn("There are no credentials.", "Sign in: gcloud auth login")),
    State.INTERRUPTED: lambda form: form.interrupted(),
}


@pytest.mark.parametrize("state", State)
def test_every_state_has_a_sentence_of_its_own_and_a_button_that_does_what_that_says(state):
    form, used = make()
    STATES[state](form)
    assert form.state is state
    said = words(form.status)
    assert said
    assert said.count("Error:") == (state is State.FAILED)
    form.use.click()
    takes = state not in {State.CONNECTING, State.WRONG}
    assert form.use.disabled != takes
    assert len(used) == takes
    if state in {State.WAITING, State.FAILED, State.INTERRUPTED}:
        assert "press 'Use these values'" in said.replace("Press", "press")


def test_after_a_failure_what_happened_and_what_to_do_stand_there_once_until_something_is_changed():
    form, used = make()
    form.busy()
    form.failed(NotSignedIn("There are no credentials.", "Sign in: gcloud auth login"))
    said = words(form.status)
    assert said.count("There are no credentials.") == said.count("What to do: Sign in: gcloud auth login") == 1
    form.use.click()
    assert len(used) == 1
    set_value(form, "location", "europe-west1")
    assert "credentials" not in words(form.status)
    assert form.state is State.WAITING


def test_a_value_that_the_target_refused_says_so_at_its_field_until_it_is_another_and_can_be_tried_again():
    form, used = make()
    form.failed(ParameterError("location is 'x'; no.", "Give it as ...", rules={"location": "There is no such place."}))
    assert error_at(form, "location") == "Error: There is no such place."
    assert words(form.status) == (
        "Error: Location cannot be used, see above.Put that right, then press 'Use these values' again."
    )
    form.use.click()
    assert len(used) == 1
    set_value(form, "location", "europe-west1")
    assert error_at(form, "location") == ""


def test_a_change_that_is_taken_back_is_none():
    form, _ = make()
    form.ready()
    set_value(form, "location", "europe-west1")
    set_value(form, "location", "us-central1")
    assert form.state is State.IN_USE


@pytest.mark.parametrize(
    ("name", "text", "meant"),
    [
        ("project_id", "My-Project", "my-project"),
        ("location", "US Central1", "us-central1"),
        ("repository", "us-central1-docker.pkg.dev/my-project/ours", "ours"),
        ("organization", "https://cgr.dev/example.com", "example.com"),
        ("developer_images", "chainguard/static, go", "chainguard/static, chainguard/go"),
        ("labels", "Team=x", "team=x"),
        ("token_ttl", "30 days", "30d"),
        ("cleanup_keep", "3.0", "3"),
        ("wait_limit", "10m", "600"),
    ],
)
def test_an_error_asks_once_for_what_was_meant_in_the_words_of_the_form(name, text, meant):
    form, _ = make()
    set_value(form, name, text)
    assert error_at(form, name).endswith(f"(did you mean {meant}?).")
    set_value(form, name, meant)
    assert error_at(form, name) == ""


def test_a_location_that_is_nearly_one_is_asked_about_and_refused_once_the_service_has_said_what_there_is():
    form, _ = make()
    set_value(form, "location", "us-centrall1")
    assert "(did you mean us-central1?)" in error_at(form, "location")
    assert not form.use.disabled, "a new one may not be known here"
    form.offer("location", ("europe-west1", "us-central1"), "")
    assert error_at(form, "location") == (
        "Error: Artifact Registry has no location us-centrall1 (did you mean us-central1?)."
    )
    assert form.use.disabled
    form.offer("location", ("us-central1", "us-centrall1"), "")
    assert form.wrong == {}


def test_a_project_or_an_organisation_that_is_nearly_one_of_ones_own_is_asked_about():
    form, _ = make()
    form.offer("project_id", ("my-project", "other"), "")
    set_value(form, "project_id", "my-projct")
    assert (
        error_at(form, "project_id") == "Is that right? Nothing is known here of my-projct (did you mean my-project?)."
    )
    assert form.wrong == {}


def test_how_a_list_and_a_length_of_time_are_written_is_said_before_there_is_an_error():
    form, _ = make()
    assert "Several are separated by commas." in words(form.fields["developer_images"].below)
    for name in parameters.LENGTHS_OF_TIME:
        assert "Written as 30d, 720h or 1h30m." in words(form.fields[name].below)
    assert form.fields["cleanup_older_than"].control.placeholder == "such as 720h"


def test_what_a_target_means_is_said_before_the_button_is_pressed():
    form, _ = make(on_target=lambda _: {"project_id": Value("my-project", Source.GCLOUD)})
    assert words(form.fields["target"].below).startswith("◇ SANDBOXPlays Google Cloud and Chainguard on this machine")
    set_value(form, "target", "google-cloud")
    said = words(form.fields["target"].below)
    assert said.startswith("◆ GOOGLE CLOUDThe real thing: what you approve is made in project my-project")
    assert "SANDBOX" not in said
    form.called_as("ada@example.com")
    assert "It is called as ada@example.com." in words(form.fields["target"].below)
    set_value(form, "target", "sandbox")
    assert "ada" not in words(form.fields["target"].below)


def test_back_to_the_defaults_puts_them_into_the_fields_and_uses_nothing_before_the_button_is_pressed():
    begin = ALL | {"location": Value("europe-west1", Source.SAVED), "cleanup_keep": Value(3, Source.SAVED)}
    form, used = make(begin, on_defaults=lambda target: ALL | {"repository": Value(target, Source.CELL)})
    form.ready()
    set_value(form, "secret_id", "written")
    form.defaults.click()
    assert form.fields["location"].text == "us-central1"
    assert form.fields["secret_id"].text == "chainguard-pull-token"
    assert form.fields["repository"].text == "sandbox"
    assert form.values()[0]["cleanup_keep"] == 0
    assert (form.state, form.forgets, used) == (State.CHANGED, True, [])
    assert "These are the defaults. Press 'Use these values'" in words(form.status)
    form.ready()
    assert not form.forgets


def test_what_is_saved_is_said_by_the_fields_labels():
    form, _ = make()
    form.keeps(["repository", "secret_id"])
    assert "for the target sandbox alone. Saved so far: Repository, public, Secret." in words(form.kept)
    form.keeps([], "parameters.json cannot be written.")
    assert words(form.kept) == "parameters.json cannot be written."


def test_what_is_folded_away_costs_nothing_until_it_is_unfolded():
    form, _ = make()
    assert "control" not in vars(form.fields["labels"])
    form._more.value = True
    assert "control" in vars(form.fields["labels"])
    assert form.fields["labels"].control in form._rest.children
