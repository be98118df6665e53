"""Who uses a keyboard, a screen reader or other eyes can use all of it: axe finds nothing, in either theme."""

from __future__ import annotations

import secrets

import nbformat as nbformat_
import pytest

from tests.browser import states
from tests.browser.axe import OURS, THEMES, violations, wear
from tests.notebooks.worlds import ROOT

nbformat = nbformat_.v4


@pytest.fixture
def workplace(lab, tmp_path):
    """A folder whose kernel shows states, and needs no sandbox for them."""
    name = f"t{secrets.token_hex(4)}"
    environment = {"PYTHONPATH": str(ROOT), "CGRUNBOOK_HOME": str(tmp_path), "CLOUDSDK_CONFIG": str(tmp_path)}
    lab.add_kernel(name, environment)
    there = lab.root / name
    there.mkdir()
    displays = [nbformat.new_output("display_data", card) for card in (*states.result_cards(), *states.other_cards())]
    saved = nbformat.new_code_cell("from tests.browser import states\nstates.show()", outputs=displays, execution_count=1)
    live = [nbformat.new_code_cell(f"await states.LIVE[{state!r}]()") for state in states.LIVE]
    cells = [nbformat.new_markdown_cell("# States"), saved, *live]
    kernel = {"display_name": "Python 3", "language": "python", "name": name}
    nbformat_.write(nbformat.new_notebook(cells=cells, metadata={"kernelspec": kernel}), there / "states.ipynb")
    return there


def test_axe_finds_nothing_in_any_state_in_either_theme(open_tab):
    tab = open_tab("states")
    tab.page.set_viewport_size({"width": 1280, "height": 12000})
    found = {}
    for theme in THEMES:
        wear(tab.page, theme)
        found[f"saved, {theme}"] = violations(tab.page, *OURS)
        tab.photograph(f"saved-{theme}")
    tab.run_all()
    tab.until_done()
    for theme in THEMES:
        wear(tab.page, theme)
        found[f"live, {theme}"] = violations(tab.page, *OURS)
        tab.photograph(f"live-{theme}")
    assert not any(found.values()), "\n".join(f"{state}: {line}" for state, lines in found.items() for line in lines)
