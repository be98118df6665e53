"""The form with which each notebook begins, filled in by hand in a browser."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import expect

from tests.browser.records import events


def test_an_error_stands_below_its_field_and_nothing_begins_until_it_is_corrected(open_tab, home, workplace):
    tab = open_tab("02_developer_images")
    tab.run_all()
    expect(tab.use).to_be_enabled()
    tab.field("location").fill("the moon")
    tab.field("repository").fill("No_Such_Name")
    expect(tab.error("location")).to_contain_text("Error:")
    expect(tab.error("repository")).to_contain_text("Error:")
    expect(tab.use).to_be_disabled()
    tab.use.scroll_into_view_if_needed()
    tab.photograph("errors")
    assert not (home / "parameters.json").exists()
    assert events(workplace, "run-started", "notebook-started") == []

    tab.field("location").fill("us-central1")
    expect(tab.error("location")).to_have_text("")
    expect(tab.use).to_be_disabled()
    tab.field("repository").fill("corrected")
    expect(tab.error("repository")).to_have_text("")
    expect(tab.use).to_be_enabled()
    tab.use.click()
    tab.until_asked()
    assert "corrected" in tab.outputs()[0]


@pytest.mark.long
def test_who_fills_it_in_once_finds_it_filled_in_in_every_notebook(open_tab, home):
    first = open_tab("00_start_here")
    first.run_all()
    expect(first.use).to_be_enabled()
    first.field("repository").fill("our-images")
    first.use.click()
    first.until_done()
    first.photograph("confirmed")
    saved = home / "parameters.json"
    assert saved.stat().st_mode & 0o777 == 0o600
    assert "our-images" in json.dumps(json.loads(saved.read_text()))

    second = open_tab("02_developer_images")
    second.run_all()
    second.until_asked()
    assert second.field("repository").input_value() == "our-images"
    assert "repository: our-images (saved)" in second.outputs()[0]
    second.agree()
    second.until_asked()
    assert "repository our-images" in "\n".join(second.outputs())


@pytest.mark.long
def test_other_values_given_later_count_for_the_cells_below_when_they_are_run_again(open_tab):
    tab = open_tab("00_start_here")
    tab.run_all()
    tab.approve_everything()
    tab.field("repository").fill("another-one")
    tab.use.click()
    expect(tab.page.get_by_text("Run the cells below again")).to_be_visible()
    tab.run_cell("steps.ShowMap(")
    tab.until_said("repository another-one")


def test_a_step_says_so_when_the_form_shows_one_value_and_the_cell_holds_another(open_tab):
    tab = open_tab("06_teardown")
    tab.run_all()
    expect(tab.use).to_be_enabled()
    tab.field("confirm").fill("chainguard-pull-through")
    tab.use.click()
    tab.until_done()
    assert tab.outcomes() == ["unchanged", "skipped"]
    for cell in ("target: str", "steps.TearDown("):  # the first sets confirm to "" again
        tab.run_cell(cell)
    tab.until_said("variable is '', while the form's 'chainguard-pull-through' is in use")
    tab.until_done()
    assert tab.outcomes() == ["failed", "skipped"]
    tab.photograph("two-truths")


@pytest.mark.long
def test_a_field_says_in_words_what_it_is(open_tab):
    tab = open_tab("02_developer_images")
    tab.run_all()
    expect(tab.use).to_be_enabled()
    for name, label in (("location", "Location"), ("repository", "Repository, public"), ("project_id", "Project")):
        expect(tab.page.locator(f".cgrunbook-field-{name}").get_by_text(label, exact=True)).to_be_visible()
    tab.page.get_by_text("More settings").click()
    expect(tab.field("cleanup_keep")).to_be_visible()
    tab.photograph("unfolded")
