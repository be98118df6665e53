"""What a notebook's cells know as `book`: steps are performed with it, one after the other.

It knows the session that it works on now, and the face. How a step is performed is the performance's affair.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cgrunbook.cloud import Cloud
from cgrunbook.parameters import Parameters
from cgrunbook.run.early_end import journaled
from cgrunbook.run.face import Face
from cgrunbook.run.outline import running_cell
from cgrunbook.run.performance import Performance
from cgrunbook.run.result import Result, failure_of
from cgrunbook.run.session import Session, open_session
from cgrunbook.steps.step import Step


class Runbook:
    """One notebook at work.

    Attributes:
        session: what it works on; another one from the next step on, when the notebook is pointed at another target.

    Args:
        face: where it shows and asks.
    """

    def __init__(self, session: Session, face: Face) -> None:
        self.session = session
        self._face = face
        self._alone = asyncio.Lock()

    @property
    def params(self) -> Parameters:
        """What the notebook was told."""
        return self.session.params

    @property
    def cloud(self) -> Cloud:
        """The services of its target."""
        return self.session.cloud

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.session.journal.folder

    @property
    def target(self) -> dict[str, str]:
        """What it works on, by the names of the parameters that say so."""
        return self.session.target

    @property
    def at_work(self) -> bool:
        """Whether a step is being performed."""
        return self._alone.locked()

    async def perform(self, step: Step) -> None:
        """Perform one step: find out what is to be done, have it approved, do it, and prove it.

        Args:
            step: what the guide asks for.

        Raises:
            CgrunbookError: the step failed, was declined or interrupted, or lacks a prerequisite; it is journaled and shown
                before it is raised, and the notebook stops.
        """
        result = await self._result_of(step)
        if result.error:
            raise result.error from result.cause

    async def check(self, step: Step) -> None:
        """Perform a step that only looks; what it finds wrong does not stop the notebook, for `conclude` says it with the rest.

        Args:
            step: what is looked at.

        Raises:
            CgrunbookError: as `perform`, where the step could not come to its findings.
        """
        result = await self._result_of(step)
        if result.error and not result.evidence.findings:
            raise result.error from result.cause

    def conclude(self) -> None:
        """Say what the notebook's run comes to so far.

        Raises:
            CgrunbookError: what `check` found wrong and did not raise, all of it.
        """
        from cgrunbook.run.conclusion import conclusion_of  # what a notebook's opening need not wait for

        self._face.concluded(conclusion_of(self.session))
        last = {result.step.key: result for result in self.session.results}
        findings = (finding for result in last.values() if result.error for finding in result.evidence.findings)
        if wrong := failure_of(tuple(findings)):
            from cgrunbook.run.record import ErrorRecord

            said = ErrorRecord.of(wrong).model_dump()
            self.session.journal.add("concluded", notebook=self.session.notebook, error=said)
            journaled(wrong)
            raise wrong

    async def _result_of(self, step: Step) -> Result:
        async with self._alone:
            session = self.session
            session.outline.begun(step, running_cell())
            self._face.standing()
            result = await Performance(session, self._face, len(session.results) + 1, step).run()
            session.results.append(result)
            session.outline.ended(result)
            self._face.standing()
            self._face.finished(result)
            session.paperwork.step_ended()
            if result.error:
                journaled(result.error)
            return result


def open_runbook(notebook: str, namespace: Mapping[str, Any], face: Face) -> Runbook:
    """Begin a notebook: hold its parameters against their rules, then connect to its target.

    Args:
        notebook: its name without the ending.
        namespace: the notebook's globals, which hold the parameters.
        face: where to show and ask.

    Raises:
        CgrunbookError: as `open_session`.
    """
    session = open_session(notebook, namespace)
    face.opened(session)
    return Runbook(session, face)
