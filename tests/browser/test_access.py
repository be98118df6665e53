"""Who uses a keyboard, a screen reader or other eyes can use all of it: axe finds nothing, in either theme."""

from __future__ import annotations

import secrets
from typing import Any

import nbformat as nbformat_
import pytest

from cgrunbook.run import report
from tests.browser import states
from tests.browser.axe import THEMES, look, violations
from tests.notebooks.worlds import ROOT
from tests.run.test_report import WHOLE

nbformat: Any = nbformat_.v4


@pytest.fixture
def workplace(lab, tmp_path):
    """A folder whose kernel shows states, and needs no sandbox for them."""
    name = f"t{secrets.token_hex(4)}"
    environment = {"PYTHONPATH": str(ROOT), "CGRUNBOOK_HOME": str(tmp_path), "CLOUDSDK_CONFIG": str(tmp_path)}
    lab.add_kernel(name, environment)
    there = lab.root / name
    there.mkdir()
    displays = [nbformat.new_output("display_data", card) for card in (*states.result_cards(), *states.other_cards())]
    saved = nbformat.new_code_cell(
        "from tests.browser import states\nstates.show()", outputs=displays, execution_count=1
    )
    live = [nbformat.new_code_cell(f"await states.LIVE[{state!r}]()") for state in states.LIVE]
    cells = [nbformat.new_markdown_cell("# States"), saved, *live]
    kernel = {"display_name": "Python 3", "language": "python", "name": name}
    nbformat_.write(nbformat.new_notebook(cells=cells, metadata={"kernelspec": kernel}), there / "states.ipynb")
    return there


# What JupyterLab writes with and on, every second row of a table too.
_PAGES = {"light": ("#212121", "#ffffff", "#f5f5f5"), "dark": ("#ffffff", "#111111", "#212121")}


@pytest.mark.parametrize("theme", THEMES)
def test_every_card_can_be_read_on_a_light_page_and_on_a_dark_one(browser_context, theme):
    ink, paper, row = _PAGES[theme]
    style = f"body {{ color: {ink}; background: {paper}; }} tr:nth-child(odd) {{ background: {row}; }} a {{ color: inherit; }}"
    shown = "".join(card["text/html"] for card in (*states.result_cards(), *states.other_cards()))
    page = browser_context.new_page()
    page.set_content(f'<!DOCTYPE html><html lang="en"><title>Cards</title><style>{style}</style><main>{shown}</main>')
    assert violations(page, "main") == []
    page.close()


# The forms of this page have one name, and stand in the one notebook that has more than one.
def beside_each_other(line: str) -> bool:
    return line.split(", ")[1].partition(" ")[2].startswith("landmark-unique")


@pytest.mark.long
def test_axe_finds_nothing_in_any_state_in_either_theme(open_tab, photograph):
    tab = open_tab("states")
    found = look(tab.page, "saved-and-not-trusted", photograph)
    tab.run_all()
    tab.until_done()
    assert not [
        output for cell in tab.state()["cells"] for output in cell["outputs"] if output["output_type"] == "error"
    ]
    found += look(tab.page, "live", photograph)
    assert [line for line in found if not beside_each_other(line)] == []

    tab.page.add_style_tag(content=".jp-OutputArea-output p { color: #999999 !important; }")  # axe would find it
    assert "color-contrast" in "".join(look(tab.page, "pale", lambda *_: None))


def test_axe_finds_nothing_in_the_report_on_a_light_or_a_dark_screen_or_paper(browser_context, tmp_path, photograph):
    path = tmp_path / "report.html"
    path.write_text(report.render(WHOLE))
    page = browser_context.new_page()
    page.goto(path.as_uri())
    for theme in THEMES:
        page.emulate_media(color_scheme=theme)
        assert violations(page) == []
        photograph(page, theme)
    page.emulate_media(media="print")
    assert violations(page) == []
    page.close()
