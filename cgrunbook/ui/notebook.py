"""A notebook's face, with somebody in front of it or without; and `open_notebook`, with which each notebook begins.

It puts cards where the cell's output is and asks by buttons. It knows no step and decides nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cgrunbook.cloud.attempts import Wait
from cgrunbook.journal import write_record
from cgrunbook.report import write_report
from cgrunbook.runbook import Result, Runbook, open_runbook
from cgrunbook.steps.step import Plan, Progress, Step
from cgrunbook.ui import cards
from cgrunbook.ui.approval import Question
from cgrunbook.ui.front_end import somebody_can_click


class QuietFace:
    """Nobody is there: each step has one, final, static display."""

    interactive = False

    def __init__(self, names: Mapping[str, Any]) -> None:
        self._names = names

    def opened(self, book: Runbook) -> None:
        """Show what the notebook works on."""
        show(cards.target_card(book.notebook, book.params, self._names, book.target))

    async def approve(self, number: int, step: Step, plan: Plan) -> bool:
        """Never asked: nobody is there."""
        raise AssertionError(f"step {number}, {step.title}, asked a face that has nobody: {plan}")

    def progress(self, number: int, step: Step, progress: Progress) -> None:
        """Nothing: the journal is what a headless run is watched by."""

    def waiting(self, number: int, step: Step, wait: Wait) -> None:
        """Nothing: the journal has it."""

    def finished(self, result: Result) -> None:
        """The one display."""
        show(cards.result_card(result))


class LiveFace(QuietFace):
    """Somebody is there: a plan is approved by a click, work is seen as it goes, and the final display replaces both."""

    interactive = True

    def __init__(self, names: Mapping[str, Any]) -> None:
        super().__init__(names)
        self._loop = asyncio.get_running_loop() if _loop_runs() else None
        self._handle: Any = None

    async def approve(self, number: int, step: Step, plan: Plan) -> bool:  # noqa: ARG002 - a face is told
        """Show the plan and await the click."""
        question = Question(cards.plan_card(step, plan))
        _ipython().clear_output(wait=True)
        _ipython().display(question.widget)
        agreed = await question.wait()
        _ipython().clear_output(wait=True)
        self._handle = None
        self._show_working(step, None)
        return agreed

    def progress(self, number: int, step: Step, progress: Progress) -> None:  # noqa: ARG002 - a face is told
        """Redraw the working card, from whichever thread."""
        self._later(step, progress)

    def waiting(self, number: int, step: Step, wait: Wait) -> None:  # noqa: ARG002 - a face is told
        """The same for a wait."""
        self._later(step, wait)

    def finished(self, result: Result) -> None:
        """Let the final display take the place of what was shown while the step worked."""
        card = cards.result_card(result)
        if self._handle is None:
            show(card)
        else:
            self._handle.update(card, raw=True)
        self._handle = None

    def _later(self, step: Step, state: Progress | Wait) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._show_working, step, state)

    def _show_working(self, step: Step, state: Progress | Wait | None) -> None:
        card = cards.working_card(step, state)
        if self._handle is None:
            self._handle = _ipython().display(card, raw=True, display_id=True)
        else:
            self._handle.update(card, raw=True)


def open_notebook(notebook: str, namespace: Mapping[str, Any]) -> Runbook:
    """Begin a notebook: check its parameters, connect to its target, and show both.

    Args:
        notebook: its name without the ending.
        namespace: the notebook's `globals()`, which hold the parameters.

    Returns:
        The runbook whose `perform` the cells await.

    Raises:
        CgrunbookError: a parameter breaks its rule, or the target cannot be reached.
    """
    from IPython import get_ipython

    face = (LiveFace if somebody_can_click(get_ipython()) else QuietFace)(namespace)
    return open_runbook(notebook, namespace, face, after_step=_record_and_report)


def show(bundle: dict[str, str]) -> None:
    """One static display in the cell's output."""
    _ipython().display(bundle, raw=True)


def _ipython() -> Any:
    """IPython's display module, whose functions have no types."""
    import IPython.display

    return IPython.display


def _record_and_report(folder: Path) -> None:
    write_record(folder)
    write_report(folder)


def _loop_runs() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
