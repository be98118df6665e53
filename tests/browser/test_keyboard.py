"""Without a mouse: what is asked comes to the keyboard, keys do what they say, and nobody who is typing is disturbed."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.records import events

_NOTEBOOK = "window.jupyterapp.shell.currentWidget.content"


@pytest.fixture
def tab(open_tab):
    """02 in a tab, at its form."""
    tab = open_tab("02_developer_images")
    tab.run_all()
    expect(tab.use).to_be_enabled()
    return tab


def has_the_focus(tab, selector: str):
    """Wait until what has the focus is what a selector finds, and answer where it is."""
    tab.until("selector => document.activeElement.matches(selector)", selector)
    return tab.page.locator(selector).first


def tab_to(tab, selector: str) -> None:
    """Press Tab until it comes to what a selector finds."""
    for _ in range(30):
        tab.page.keyboard.press("Tab")
        if tab.page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
    raise AssertionError(f"Tab does not come to {selector}")


@pytest.mark.long
def test_a_notebook_is_filled_in_approved_and_declined_by_keys_alone(tab, workplace):
    cells = len(tab.state()["cells"])
    has_the_focus(tab, ".cgrunbook-form")
    tab_to(tab, ".cgrunbook-more")
    tab.page.keyboard.press("Space")
    expect(tab.field("cleanup_keep")).to_be_visible()
    tab.page.keyboard.type("ddx00")  # to JupyterLab: delete the cell, cut it, restart the kernel
    tab.page.keyboard.press("Space")
    expect(tab.field("cleanup_keep")).to_be_hidden()
    tab_to(tab, ".cgrunbook-use")
    tab.page.keyboard.press("Enter")

    question = has_the_focus(tab, ".cgrunbook-question")
    expect(question).to_have_attribute("aria-label", "Waiting for your approval: Enable the Artifact Registry API")
    tab.until_asked()
    tab.page.keyboard.press("Enter")
    tab.page.keyboard.press("Escape")
    expect(tab.approve).to_be_visible()
    assert events(workplace, "approved", "declined") == []
    tab.page.keyboard.press("Tab")
    has_the_focus(tab, ".cgrunbook-approve")
    ring = tab.page.evaluate("() => getComputedStyle(document.activeElement).outline")
    assert "solid 2px" in ring
    tab.photograph("approve-has-the-focus")
    tab.page.keyboard.type("ddx00")
    tab.page.keyboard.press("Enter")

    tab.until_said("REMOTE_REPOSITORY")
    has_the_focus(tab, ".cgrunbook-question")
    tab.until_asked()
    assert events(workplace, "approved", "declined") == ["approved"]
    expect(tab.page.get_by_role("status").filter(has_text="Waiting for your approval: Create")).to_have_count(1)
    tab_to(tab, ".cgrunbook-decline")
    tab.page.keyboard.press("Space")
    tab.until_done()
    assert events(workplace, "approved", "declined") == ["approved", "declined"]
    has_the_focus(tab, ".jp-CodeCell.jp-mod-active")  # from where its advice can be followed
    assert "declined" in tab.page.evaluate("() => document.activeElement.innerText")
    expect(tab.page.get_by_role("status").filter(has_text="declined: Create")).to_have_count(1)
    assert len(tab.state()["cells"]) == cells


@pytest.mark.long
def test_a_question_leaves_whoever_is_typing_where_they_are(tab):
    tab.page.evaluate(f"""() => {{
      document.querySelector('button.cgrunbook-use').click();
      const notebook = {_NOTEBOOK};
      notebook.activeCellIndex = notebook.widgets.findIndex(cell => cell.model.type === 'code');
      notebook.mode = 'edit';
      notebook.activeCell.editor.focus();
    }}""")
    tab.until_asked()
    tab.page.keyboard.type("# half a thought")
    assert "# half a thought" in tab.state()["cells"][0]["source"]
    expect(tab.page.get_by_role("status").filter(has_text="Waiting for your approval: ")).to_have_count(1)
