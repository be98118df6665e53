"""What a state looks like to who cannot use a mouse, listens, or has other eyes: axe-core's findings, and a gallery of pictures.

axe-core comes out of a wheel, so nothing is fetched. On JupyterLab's pages only what is ours is looked at.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from axe_playwright_python.sync_playwright import Axe

# What the notebooks' cells show, and what their text says.
OURS = (
    ".jp-NotebookPanel:not(.lm-mod-hidden) .jp-OutputArea-output",
    ".jp-NotebookPanel:not(.lm-mod-hidden) .jp-RenderedMarkdown",
)

THEMES = ("light", "dark")

# Pixels: a large screen, and half of one.
WIDTHS = (1440, 900)

_SCROLLED = ".jp-NotebookPanel:not(.lm-mod-hidden) .jp-WindowedPanel-outer"

_DRAWN = """() => (window.jupyterapp?.shell.currentWidget?.content?.widgets ?? []).every(cell => !cell.isPlaceholder?.()
  && getComputedStyle(cell.node).contentVisibility !== 'hidden'
  && (cell.model.type !== 'code' || cell.outputArea.node.querySelectorAll(':scope > .jp-OutputArea-child').length
                                     >= cell.model.outputs.length))"""

# How high the cells are together, once the first of them is at the top.
_HEIGHT = f"""() => {{
  document.querySelector({_SCROLLED!r}).scrollTop = 0;
  const cells = [...document.querySelectorAll('.jp-NotebookPanel:not(.lm-mod-hidden) .jp-Cell')];
  const edges = cells.map(cell => cell.getBoundingClientRect());
  return Math.ceil(Math.max(...edges.map(edge => edge.bottom)) - Math.min(...edges.map(edge => edge.top)));
}}"""


def violations(page: Any, *within: str) -> list[str]:
    """What axe finds against a page, one line for each element.

    Args:
        page: a tab.
        within: selectors of the parts to look at; none for the whole page.
    """
    # JupyterLab's body has no height and hides what overflows it: all text would count as hidden, and no contrast be looked at.
    page.evaluate("() => { document.body.style.minHeight = '100vh'; }")
    there = [[selector] for selector in within if page.locator(selector).count()]
    if within and not there:
        return []
    found = Axe().run(page, {"include": there} if there else None).response
    return [
        f"{rule['id']}: {node['target'][-1]}: {node['html'][:200]}: "
        + "; ".join(check["message"] for kind in ("any", "all", "none") for check in node[kind])
        for rule in found["violations"]
        for node in rule["nodes"]
    ]


def wear(page: Any, theme: str) -> None:
    """Wait until the page has a theme that its reader's system asks for: JupyterLab follows it in these tests."""
    page.emulate_media(color_scheme=theme)
    page.wait_for_function(f"() => document.body.dataset.jpThemeLight === '{str(theme == 'light').lower()}'")


def look(page: Any, name: str, keep: Callable[[Any, str], Any]) -> list[str]:
    """Let axe look at all of a notebook in both themes; with $CGRUNBOOK_SCREENSHOTS, keep pictures of it in both widths too.

    Args:
        page: a tab of JupyterLab.
        name: of the state.
        keep: takes a picture.
    """
    found = []
    with _whole(page):
        for theme in THEMES:
            wear(page, theme)
            found += [f"{name}, {theme}: {line}" for line in violations(page, *OURS)]
            for width in WIDTHS if os.environ.get("CGRUNBOOK_SCREENSHOTS") else ():
                _fit(page, width)
                keep(page, f"{name}-{width}-{theme}")
        wear(page, THEMES[0])
    return found


@contextmanager
def _whole(page: Any) -> Iterator[None]:
    """Make the page so high that nothing of its notebook is scrolled away, for a while."""
    size, at = page.viewport_size, f"document.querySelector({_SCROLLED!r})"
    scrolled = page.evaluate(f"() => {at}?.scrollTop ?? 0")
    _fit(page, size["width"])
    yield
    page.set_viewport_size(size)
    page.evaluate(f"top => {{ const panel = {at}; if (panel) panel.scrollTop = top; }}", scrolled)


def _fit(page: Any, width: int) -> None:
    """Make the page so high that it shows all cells, and wait until it does: what is not in view is drawn later, or not at all."""
    height = -1
    while height != (height := page.evaluate(_HEIGHT)):
        page.set_viewport_size({"width": width, "height": max(900, min(height + 140, 14_000))})
        page.wait_for_function(_DRAWN)
