"""axe-core, which finds what keeps people with a keyboard, a screen reader or other eyes from using a page.

It comes out of a wheel, so nothing is fetched. On JupyterLab's pages only what is ours is looked at.
"""

from __future__ import annotations

from typing import Any

from axe_playwright_python.sync_playwright import Axe

# What the notebooks' cells show, and what their text says.
OURS = (".jp-OutputArea-output", ".jp-RenderedMarkdown")

THEMES = ("light", "dark")


def violations(page: Any, *within: str) -> list[str]:
    """What axe finds against a page, one line for each element.

    Args:
        page: a tab.
        within: selectors of the parts to look at; none for the whole page.
    """
    # JupyterLab's body has no height and hides what overflows it: all text would count as hidden, and no contrast be looked at.
    page.evaluate("() => { document.body.style.minHeight = '100vh'; }")
    there = [[selector] for selector in within if page.locator(selector).count()]
    found = Axe().run(page, {"include": there} if there else None).response
    assert found["passes"], "axe has looked at nothing"
    return [
        f"{rule['id']}: {node['target'][-1]}: {node['html'][:160]}: "
        + "; ".join(check["message"] for kind in ("any", "all", "none") for check in node[kind])
        for rule in found["violations"]
        for node in rule["nodes"]
    ]


def wear(page: Any, theme: str) -> None:
    """Wait until the page has a theme that its reader's system asks for: JupyterLab follows it in these tests."""
    page.emulate_media(color_scheme=theme)
    page.wait_for_function(f"() => document.body.dataset.jpThemeLight === '{str(theme == 'light').lower()}'")
