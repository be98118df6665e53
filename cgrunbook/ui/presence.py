"""Is there a page that shows widgets? Who allows input may have none: a console, an editor, a script on jupyter_client.

It knows how pages make themselves known, and nothing of what they show.
"""

from __future__ import annotations

import asyncio
import shlex
import time
from collections.abc import Awaitable, Mapping
from functools import partial
from typing import Any, TypeVar

import ipykernel
import ipywidgets
from IPython import get_ipython

from cgrunbook import parameters
from cgrunbook.errors import ParameterError, UsageError
from cgrunbook.run.notebooks import of_the_guide
from cgrunbook.ui.door import door_of
from cgrunbook.ui.front_end import names_a_cell
from cgrunbook.ui.page import click_when_drawn
from cgrunbook.ui.waiting import interruptible

T = TypeVar("T")

# Seconds in which a page that gives no sign of itself must have drawn a widget. Somebody who has none waits so long.
UNSEEN_SECONDS = 10.0

# The first ipykernel that hands on what widgets say while a cell awaits something.
HEARS = (7, 4)

_BY_CLICK = "To click, open the notebook in JupyterLab: cgrunbook lab"


class Presence:
    """What is known of the page in front of a notebook.

    Args:
        notebook: the notebook's name, for the advice.
        values: what the notebook is told, by the parameter's name.
    """

    def __init__(self, notebook: str, values: Mapping[str, Any]) -> None:
        self._notebook = notebook
        self.values = values
        self.wrong = ""
        """Why the notebook cannot begin with these values, if it cannot."""
        self._door = door_of(getattr(get_ipython(), "kernel", None))
        if self._door is not None:
            self._door.widgets_spoke = False  # by a page that may be gone
        self._too_old = "" if ipykernel.version_info >= HEARS else ipykernel.__version__  # type: ignore[attr-defined]
        self._seen = names_a_cell(get_ipython()) and not self._too_old
        self.widgets: tuple[Any, ...] = ()
        """To be shown beside what is to be clicked: what draws it makes itself known by that."""
        if not self._seen:
            sign = ipywidgets.Button(layout={"display": "none"})
            sign.on_click(self._is_there)
            self.widgets = (ipywidgets.HBox([sign, ipywidgets.HTML(click_when_drawn())]),)

    def with_sign(self, widget: Any) -> Any:
        """A widget, and beside it what tells that it was drawn."""
        return ipywidgets.VBox([widget, *self.widgets]) if self.widgets else widget

    def otherwise(self, said: str) -> str:
        """What is read in the place of a widget, with the way on where there will be none.

        Args:
            said: what the widget is, a sentence.
        """
        if self._seen:
            return said
        return f"{said} Where nothing to click appears, this cell ends in {UNSEEN_SECONDS:g} seconds. {self._way_on()}"

    async def wait(self, answer: Awaitable[T], what: str) -> T:
        """Wait for a click.

        Args:
            answer: what the click brings about.
            what: what asks, for the case that its cell is run again meanwhile.

        Raises:
            asyncio.CancelledError: the kernel was interrupted.
            Interrupted: the cell is to be run again, and asks where that was done.
            UsageError, ParameterError: there is no page that it could be clicked on.
        """
        asked, task = time.monotonic(), asyncio.ensure_future(interruptible(answer, partial(self._look, what)))
        while not self._seen and not task.done() and time.monotonic() < asked + UNSEEN_SECONDS:
            await asyncio.wait({task}, timeout=0.2)
        if not self._seen and not task.done():
            task.cancel()
            if self.wrong:
                raise ParameterError(self.wrong, self._way_on())
            why = (
                f"this kernel hears none while a cell waits: it has ipykernel {self._too_old}, and "
                f"{'.'.join(map(str, HEARS))} is the first that does"
                if self._too_old
                else f"this front end shows nothing to click: it has drawn no widget in {UNSEEN_SECONDS:g} seconds"
            )
            raise UsageError(
                f"{self._notebook} waits for a click, and {why}. Nothing was changed.",
                self._way_on(),
            )
        return await interruptible(task)

    def _is_there(self, _: Any) -> None:
        self._seen = True

    def _look(self, what: str) -> None:
        """Meanwhile: whoever changes or clicks something is there; and who has run the cell again waits elsewhere."""
        if self._door is not None:
            self._seen |= self._door.widgets_spoke
            self._door.give_way(what)

    def _way_on(self) -> str:
        if self.wrong:
            return f"Set another value in the parameters cell. {_BY_CLICK}"
        words = ["cgrunbook", "run", self._notebook if of_the_guide(self._notebook) else f"{self._notebook}.ipynb"]
        for name, value in self.values.items():
            if value != parameters.Parameters.model_fields[name].default:
                words += ["-p", name, parameters.as_text(value)]
        return (
            f"To run the notebook without a click: {shlex.join(words)}\nA program that sends cells by itself tells the kernel "
            f"that nobody is there with allow_stdin=False. {_BY_CLICK}"
        )
