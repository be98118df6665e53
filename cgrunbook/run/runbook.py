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
from cgrunbook.run.performance import Performance
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
        async with self._alone:
            session = self.session
            result = await Performance(session, self._face, len(session.results) + 1, step).run()
            session.results.append(result)
            self._face.finished(result)
            session.paperwork.step_ended()
            if result.error:
                journaled(result.error)
                raise result.error from result.cause


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
