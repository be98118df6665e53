"""A plan that waits for a person: declined, clicked twice, interrupted, reloaded, looked at from two tabs."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.records import events, records
from tests.left_behind import world


@pytest.fixture
def asked(open_tab):
    """02 in a tab, at its first question: to enable the API."""
    tab = open_tab("02_developer_images")
    tab.run_all()
    tab.use.click()
    tab.until_asked()
    return tab


def enabled(home) -> str:
    return str(world(home)["apis"]["artifactregistry.googleapis.com"])


def test_a_plan_says_what_will_change_and_why_and_the_same_as_commands(asked, workplace):
    asked.agree()
    asked.until_said("REMOTE_REPOSITORY")
    asked.until_asked()
    asked.approve.scroll_into_view_if_needed()
    asked.photograph("plan")
    text = asked.visible_text()
    for part in ("to be created", "upstream", "https://cgr.dev/", "fetches from cgr.dev"):
        assert part in text
    asked.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    # It says so for two seconds, which a slow machine may miss.
    asked.page.evaluate(
        """() => {
          const button = document.querySelector('.cgrunbook-copy button');
          window.said = [];
          new MutationObserver(() => window.said.push(button.textContent)).observe(button, { childList: true });
        }"""
    )
    asked.page.locator(".cgrunbook-copy button").click()
    asked.until("() => window.said.includes('Copied')")
    assert "gcloud artifacts repositories create chainguard-pull-through" in asked.page.evaluate(
        "navigator.clipboard.readText()"
    )


@pytest.mark.long
def test_the_page_comes_to_the_question(asked):
    expect(asked.approve).to_be_in_viewport()
    asked.photograph("first")
    asked.agree()
    asked.until_said("REMOTE_REPOSITORY")
    expect(asked.approve).to_be_in_viewport()
    asked.photograph("second")


@pytest.mark.long
def test_declining_changes_nothing_stops_the_notebook_and_can_be_thought_over(asked, home, workplace):
    asked.decline.click()
    asked.until_done()
    assert asked.outcomes() == ["declined"]
    assert asked.executed()[3:] == [False] * (len(asked.executed()) - 3)
    assert enabled(home) == "DISABLED"
    assert events(workplace, "approved", "declined", "intent") == ["declined"]
    asked.photograph("declined")

    asked.run_all()
    assert asked.approve_everything() == 3
    assert enabled(home) == "ENABLED"


def test_a_double_click_acts_once(asked, workplace):
    asked.approve.dblclick()
    asked.until_said("✓ created")
    asked.until_asked()
    assert events(workplace, "approved", "declined", "intent") == ["approved", "intent"]


@pytest.mark.long
def test_an_interrupt_while_it_waits_ends_cleanly_and_the_next_run_picks_up(asked, home, workplace):
    asked.interrupt()
    asked.until_done()
    asked.photograph("interrupted")
    assert "nterrupted" in asked.visible_text()
    assert asked.approve.count() == 0
    assert enabled(home) == "DISABLED"
    step = records(workplace)[-1].notebooks[0].steps[0]
    assert step.outcome == "failed"
    assert step.error
    assert step.error.type == "Interrupted"

    asked.run_all()
    assert asked.approve_everything() == 3


@pytest.mark.long
def test_a_page_reloaded_while_it_waits_still_shows_the_plan_and_can_answer(asked, home, workplace):
    asked.save()
    asked.page.reload()
    asked.until("() => window.jupyterapp?.shell.currentWidget?.content?.widgets?.length > 1")
    asked.until_said("artifactregistry.googleapis.com")
    asked.photograph("reloaded")
    assert "Error displaying widget" not in asked.visible_text()
    asked.agree()
    asked.until_said("✓ created")
    assert events(workplace, "approved") == ["approved"]
    asked.photograph("answered")
    assert enabled(home) == "ENABLED"


@pytest.mark.long
def test_two_tabs_show_the_same_question_and_the_first_answer_counts(asked, open_tab, workplace):
    asked.save()
    other = open_tab("02_developer_images", wait=False)
    other.until("() => !!document.querySelector('button.cgrunbook-approve:not([disabled])')")
    other.photograph("second-tab")
    asked.agree()
    other.until("() => !document.querySelector('button.cgrunbook-approve:not([disabled])')")
    assert events(workplace, "approved", "declined") == ["approved"]
    asked.until_asked()
    assert events(workplace, "intent") == ["intent"]


@pytest.mark.long
def test_the_kernel_is_restarted_while_it_waits_and_running_again_picks_up(asked, workplace):
    asked.agree()
    asked.until_said("REMOTE_REPOSITORY")
    asked.until_asked()
    asked.restart()
    asked.photograph("restarted")
    asked.run_all()
    assert asked.approve_everything() == 2
    assert asked.outcomes()[:3] == ["unchanged", "created", "updated"]
