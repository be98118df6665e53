"""Run All through the notebooks in the order of their numbers, as an operator does it."""

from __future__ import annotations

import json

import pytest

from tests.browser.records import events, records
from tests.left_behind import password_of, world

LARGEST = 120_000
"""Bytes that an executed notebook may have."""

TOUR = ("00_start_here", "01_prerequisites", "02_developer_images", "03_production_images")

# How often each asks: APIs, repositories, docker's login, the secret, the grant, the pull token.
QUESTIONS = {"00_start_here": 0, "01_prerequisites": 0, "02_developer_images": 3, "03_production_images": 5}

# The parameters' cell and the opening cell are no steps.
BEFORE_STEPS = 2


@pytest.mark.long
def test_the_tour_is_approved_click_by_click_and_a_second_time_asks_nothing(open_tab, home, workplace):
    tabs = {}
    for name in TOUR:
        tab = tabs[name] = open_tab(name)
        tab.run_all()
        assert tab.approve_everything() == QUESTIONS[name]
        assert all(tab.executed())
        tab.photograph(name)
    left = world(home)
    assert left["pulls"]["example.com/chainguard-base through " + repository_name("chainguard-private")] == 200

    password = password_of(home)
    for tab in tabs.values():
        assert_reads_well(tab.save(), tab.path, password)
    assert [record.notebooks[0].name for record in records(workplace)] == list(TOUR)
    assert len(events(workplace, "approved")) == sum(QUESTIONS.values())

    for name in TOUR[2:]:
        tab = tabs[name]
        tab.page.bring_to_front()
        tab.restart()
        tab.run_all()
        assert tab.until_asked_or_done() == "done"
        assert {"verified"} < set(tab.outcomes()) <= {"unchanged", "verified", "skipped"}
        tab.photograph(f"{name}-again")
    assert world(home) == left
    for path in (workplace / "runs").rglob("*"):
        assert not path.is_file() or password not in path.read_text()


def test_one_click_approves_the_rest_of_the_notebook(open_tab, workplace):
    tab = open_tab("02_developer_images")
    tab.run_all()
    tab.use.click()
    tab.until_asked()
    tab.page.locator("button.cgrunbook-approve-rest:not([disabled])").click()
    tab.until_done()
    assert tab.outcomes()[:3] == ["created", "created", "updated"]
    assert all(tab.executed())
    assert len(events(workplace, "approved")) == 3


def repository_name(name: str) -> str:
    return f"projects/cgrunbook-sandbox/locations/us-central1/repositories/{name}"


def assert_reads_well(notebook, path, password):
    """What is saved can be read without a kernel, without trust and without the network, and holds nothing secret."""
    text = path.read_text()
    assert len(text.encode()) < LARGEST
    assert password not in text
    assert "widgets" not in notebook.metadata
    for cell in [cell for cell in notebook.cells if cell.cell_type == "code"][BEFORE_STEPS:]:
        assert cell.outputs, cell.source
        assert len(cell.outputs) == max(1, cell.source.count("book.perform(")), cell.source
        for output in cell.outputs:
            assert set(output.data) == {"text/html", "text/plain"}, cell.source
            for forbidden in ("<script", "<style", "var(--", "http-equiv", "src="):
                assert forbidden not in output.data["text/html"]
    json.loads(text)


@pytest.mark.long
@pytest.mark.parametrize("name", ["02_developer_images"])
def test_what_is_saved_reads_well_in_a_page_without_a_kernel(open_tab, name):
    tab = open_tab(name)
    tab.run_all()
    tab.approve_everything()
    tab.save()
    tab.shut_down()
    tab.expected.add("widget model not found")
    tab.page.reload()
    tab.until("() => document.querySelector('.jp-Notebook')?.textContent.includes('Error displaying widget')")
    tab.photograph("without-a-kernel")
    text = tab.visible_text()
    assert "Error displaying widget" not in text
    assert "✓ created" in text
