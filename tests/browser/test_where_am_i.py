"""What a notebook says of where one is: from its first minute, while it waits, after a reload, at its end, and as saved."""

from __future__ import annotations

import json

import pytest


def listed(tab):
    """The list of steps on the page, a line a step."""
    return tab.page.locator(".jupyter-widgets .cgrunbook-steps").first.inner_text()


def saved(notebook):
    """What stands in the saved file in place of the form and its list, and at the end."""
    texts = [
        "".join(out["data"]["text/plain"])
        for cell in notebook.cells
        for out in cell.get("outputs", ())
        if "data" in out
    ]
    return next(text for text in texts if "Steps: " in text), texts[-1]


@pytest.mark.long
def test_the_first_minute_says_what_to_press_shows_the_way_of_an_image_and_warns_of_nothing(open_tab):
    tab = open_tab("00_start_here")
    assert "Press Run > Run All Cells" in tab.visible_text()[:200]
    assert "target: str" not in tab.visible_text(), "the parameters and the opening cell are folded"
    tab.run_all()
    tab.use.click()
    tab.until_done()
    tab.until_said("next")
    assert "warn" not in tab.visible_text()
    first = open_tab("01_prerequisites")
    first.run_all()
    first.until_done()
    assert "go on with 02_developer_images" in first.visible_text()


@pytest.mark.long
def test_the_list_of_steps_is_true_while_it_waits_after_a_reload_after_an_interrupt_and_in_the_file(open_tab):
    tab = open_tab("02_developer_images")
    tab.run_all()
    tab.until_asked_or_done()
    assert "Steps: 0 of 5 done" in listed(tab)
    tab.use.click()
    tab.until_asked()
    tab.agree()
    tab.until_said("1 of 5 done")
    tab.until_asked()
    assert "waits for you" in listed(tab)
    text, _ = saved(tab.save())
    assert "Steps: 1 of 5 done, as of " in text
    assert "waited for you: The remote repository" in text
    tab.interrupt()
    tab.until_done()
    tab.until_said("interrupted")
    tab.command("notebook:run-all-cells")
    tab.until_asked_or_done()
    tab.approve_everything()
    tab.until_said("5 of 5 done")
    notebook = tab.save()
    text, end = saved(notebook)
    assert "Steps: 5 of 5 done, as of " in text
    assert "docker pull " in end
    assert "✓ proved" in end
    assert "cgrunbook-without-widget" in json.dumps(notebook)
    tab.page.reload()
    tab.wait_until_ready()
    tab.page.locator(".jupyter-widgets .cgrunbook-steps").first.wait_for()
    assert "Steps: 5 of 5 done" in listed(tab)
