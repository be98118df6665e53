"""The README's picture of a notebook: taken as the notebook looks, written to docs/ when CGRUNBOOK_WRITE_PICTURES=1."""

from __future__ import annotations

import os

import pytest
from playwright.sync_api import expect

from tests.notebooks.worlds import ROOT

PICTURE = ROOT / "docs" / "notebook.png"
LARGEST = 300_000
"""Bytes of a picture that somebody waits for."""


@pytest.mark.long
def test_a_question_fits_on_one_page_and_makes_a_picture_for_the_readme(open_tab):
    tab = open_tab("02_developer_images")
    tab.page.set_viewport_size({"width": 1080, "height": 720})
    tab.command("application:toggle-left-area")
    tab.run_all()
    tab.until_the_form_waits()  # the page's parts have moved by then
    tab.use.click()
    tab.until_asked()
    tab.agree()
    tab.until_said("REMOTE_REPOSITORY")
    tab.until_asked()
    expect(tab.approve).to_be_in_viewport()
    tab.page.evaluate(
        "() => document.querySelector('button.cgrunbook-approve:not([disabled])').closest('.jp-Cell')"
        ".scrollIntoView({block: 'start'})"
    )
    expect(tab.page.get_by_text("to be created").first).to_be_in_viewport()
    expect(tab.approve).to_be_in_viewport()
    tab.page.mouse.move(0, 0)
    picture = tab.photograph("readme").read_bytes()
    assert len(picture) < LARGEST
    if os.environ.get("CGRUNBOOK_WRITE_PICTURES") == "1":
        PICTURE.write_bytes(picture)
