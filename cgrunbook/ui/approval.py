"""Asking the person in front of the notebook: a plan, and the buttons Approve and Decline.

It knows widgets and the event loop, and not what is approved.
"""

from __future__ import annotations

import asyncio
from typing import Any


class Question:
    """One question with two answers, asked once.

    Args:
        bundle: what is asked about, as a display's mimebundle.
    """

    def __init__(self, bundle: dict[str, str]) -> None:
        import ipywidgets

        self._loop = asyncio.get_running_loop()
        self._answer: asyncio.Future[bool] = self._loop.create_future()
        self._approve = ipywidgets.Button(description="Approve", button_style="primary", tooltip="Make these changes")
        self._decline = ipywidgets.Button(description="Decline", tooltip="Change nothing and stop the notebook here")
        self._approve.on_click(lambda _: self.answer(approved=True))
        self._decline.on_click(lambda _: self.answer(approved=False))
        self.widget: Any = ipywidgets.VBox(
            [ipywidgets.HTML(bundle["text/html"]), ipywidgets.HBox([self._approve, self._decline])]
        )

    def answer(self, *, approved: bool) -> None:
        """Take the first answer; a second click finds the question answered and does nothing."""

        def take() -> None:
            if not self._answer.done():
                self._answer.set_result(approved)

        self._approve.disabled = self._decline.disabled = True
        self._loop.call_soon_threadsafe(take)

    async def wait(self) -> bool:
        """Wait for the answer."""
        try:
            return await self._answer
        finally:
            self.widget.close()
