"""The face that a runbook is given: where it shows and asks. It knows the questions, and not how they are put."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from cgrunbook.cloud import Wait
from cgrunbook.run.result import Result
from cgrunbook.run.session import Session
from cgrunbook.steps.step import Plan, Progress, Step

if TYPE_CHECKING:
    from cgrunbook.run.conclusion import Conclusion


class Face(Protocol):
    """Where a runbook shows and asks: a notebook with somebody in front of it, one without, or nothing at all."""

    @property
    def interactive(self) -> bool:
        """Whether somebody is there to approve; if so, nothing is changed before they did."""

    def opened(self, session: Session) -> None:
        """The notebook works on this from now on."""

    def standing(self) -> None:
        """How the notebook's steps stand has changed; the session's outline has it."""

    def concluded(self, conclusion: Conclusion) -> None:
        """What the notebook's run comes to so far: one display."""

    def form(self) -> Mapping[str, Any] | None:
        """What the form shows, by the parameter's name; None where there is none."""

    async def approve(self, number: int, step: Step, plan: Plan) -> bool:
        """Show a plan that changes something, and answer whether to go on. Asked only when interactive."""

    def progress(self, number: int, step: Step, progress: Progress) -> None:
        """A step has come this far. Called from any thread."""

    def waiting(self, number: int, step: Step, wait: Wait) -> None:
        """A step waits for something that is known to pass. Called from any thread."""

    def finished(self, result: Result) -> None:
        """A step has ended: its one, final display."""
