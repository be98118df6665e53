"""A notebook's page without a browser: what a front end would show of what the kernel sends, kept in a list."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import unescape
from typing import Any
from unittest.mock import patch

from cgrunbook.ui import cell, notebook

VIEW = "application/vnd.jupyter.widget-view+json"


async def until(condition: Callable[[], object]) -> None:
    """Let the event loop go on until something is so."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - the loop's turns are what is waited for
            await asyncio.sleep(0.001)


def words(widget: Any) -> str:
    """What is read where an HTML widget is drawn."""
    return unescape(re.sub(r"<[^>]+>", "", widget.value))


def error_at(form: Any, name: str) -> str:
    """What is read as the error of one field, which stands before its help."""
    [error] = re.findall(
        rf'^<div class="cgrunbook-error-{name}"[^>]*>(.*?)</div>', form.fields[name].below.value, re.DOTALL
    )
    return unescape(re.sub(r"<[^>]+>", "", error))


class Page:
    """The outputs of the cell that runs now, after Jupyter's rules for displays, updates and clearing."""

    def __init__(self) -> None:
        self.outputs: list[dict[str, Any]] = []
        self.drawn = 0
        self.cell = 1
        self._clear = False

    def display(self, bundle: dict[str, Any], *, raw: bool, display_id: bool = False) -> _Handle | None:
        assert raw
        if self._clear:
            self.outputs, self._clear = [], False
        self.outputs.append(bundle)
        self.drawn += 1
        return _Handle(self, bundle) if display_id else None

    def clear_output(self, *, wait: bool) -> None:
        assert wait
        self._clear = True

    def run_another_cell(self) -> None:
        self.cell, self.outputs, self._clear = self.cell + 1, [], False

    @property
    def texts(self) -> list[str]:
        """The first line of each output."""
        return [output["text/plain"].splitlines()[0] for output in self.outputs]

    @property
    def widgets(self) -> int:
        return sum(VIEW in output for output in self.outputs)


class _Handle:
    def __init__(self, page: Page, bundle: dict[str, Any]) -> None:
        self._page, self._shown = page, bundle

    def update(self, bundle: dict[str, Any], *, raw: bool) -> None:
        assert raw
        self._page.drawn += 1
        for place, output in enumerate(self._page.outputs):
            if output is self._shown:  # an update of what has been cleared is for nobody
                self._page.outputs[place] = bundle
        self._shown = bundle


@contextmanager
def open_page() -> Iterator[Page]:
    """Be the notebook's front end."""
    page = Page()
    with (
        patch.object(cell, "ipython_display", lambda: page),
        patch.object(notebook, "ipython_display", lambda: page),
        patch.object(cell, "_execution_count", lambda: page.cell),
    ):
        yield page
