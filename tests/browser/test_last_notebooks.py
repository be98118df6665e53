"""05 and 06 in worlds in which 02 and 03 were run, and 04 after it: a rotation, a deletion, and what is missing."""

from __future__ import annotations

import subprocess
import sys

import pytest
from playwright.sync_api import expect


@pytest.mark.usefixtures("forked")
@pytest.mark.long
def test_what_was_made_is_deleted_after_a_question_of_its_own_and_then_missed(open_tab, workplace, tmp_path):
    run = [sys.executable, "-m", "cgrunbook", "run", "02", "03", "--output", str(tmp_path / "run")]
    subprocess.run(run, check=True, capture_output=True, text=True)
    tab = open_tab("06_teardown")
    tab.run_all()
    expect(tab.use).to_be_enabled()
    tab.field("confirm").fill("chainguard-pull-through")
    tab.use.click()
    tab.until_asked()
    tab.photograph("deletion")
    assert tab.approve_everything() == 1
    assert tab.outcomes() == ["deleted", "skipped"]
    tab.photograph("deleted")

    tab = open_tab("04_debugging")
    tab.run_all()
    assert tab.approve_everything() == 0
    tab.photograph("missed")


@pytest.mark.usefixtures("forked")
@pytest.mark.long
def test_a_pull_token_is_rotated_after_a_question_that_names_each_repository(open_tab, workplace, tmp_path):
    run = [sys.executable, "-m", "cgrunbook", "run", "03", "--output", str(tmp_path / "run")]
    subprocess.run(run, check=True, capture_output=True, text=True)
    tab = open_tab("05_rotate_pull_token")
    tab.run_all()
    expect(tab.use).to_be_enabled()
    tab.use.click()
    tab.until_asked()
    tab.photograph("rotation")
    assert tab.approve_everything() == 1
    assert tab.outcomes() == ["updated"]
    tab.until_said("signs in with the new pull token; this run has proved it")
    tab.photograph("rotated")
