"""Asking the person in front of the notebook: buttons below a plan, and the first answer that comes.

It knows widgets and the event loop, and not what is approved.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from enum import Enum
from html import escape
from typing import Any

import ipywidgets

from cgrunbook.errors import Interrupted
from cgrunbook.redaction import redact
from cgrunbook.run.looks import GONE
from cgrunbook.ui.decision import Yes
from cgrunbook.ui.page import asking, copy_button
from cgrunbook.ui.waiting import interruptible


class Answer(Enum):
    """What a person may say to a plan."""

    APPROVE = "Approved"
    DECLINE = "Declined"
    APPROVE_REST = "Approved with the rest"


# Seconds after an answer in which nothing is drawn: the step is set going first. Nobody sees so short a time.
DRAW_SECONDS = 0.05

# Seconds in which a new question takes no click: a second click meant for the one before must not answer it.
_SETTLE_SECONDS = 0.4


class Panel:
    """Where a notebook's questions are asked, one after the other, in one widget.

    A page that was reloaded while the kernel waited hears nothing more of the cells that run: what they display is
    lost. But it still has this widget, and so it can be asked the next question and told what came of the last.

    Args:
        beside: widgets that are always shown with it.
    """

    def __init__(self, beside: Sequence[Any] = ()) -> None:
        self._log = ipywidgets.HTML()
        self._cards: list[str] = []
        self._beside = beside
        self.widget: Any = ipywidgets.VBox([self._log, *beside])
        self.widget.add_class("cgrunbook-panel")

    def ask(self, question: Question, number: int, card: str) -> None:
        """Put a question.

        Args:
            question: its buttons.
            number: the step's place in the notebook, by which the card of the plan knows the panel as its own.
            card: the plan as HTML, for a page that has no other card.
        """
        self._draw(f"cgrunbook-log-{number}", [*self._cards, card], question.widget)
        self._cards = []

    def tell(self, card: str) -> None:
        """Say what came of a step."""
        self._cards.append(card)
        self._draw("", self._cards)

    def _draw(self, css: str, cards: list[str], *below: Any) -> None:
        self._log.value = f'<div class="cgrunbook-log {css}">{"".join(cards)}</div>'
        self.widget.children = [self._log, *self._beside, *below]


class Question:
    """One question, answered once: a second click, on another tab too, finds it answered and does nothing.

    Args:
        commands: what the Copy button copies; without any there is none.
        title: what is asked about.
        rest: whether the rest of the notebook may be approved at once.
        yes: the button that agrees.
    """

    def __init__(
        self, commands: Sequence[str] = (), *, title: str = "", rest: bool = True, yes: Yes | None = None
    ) -> None:
        yes = yes or Yes()
        self._loop = asyncio.get_running_loop()
        self._answer: asyncio.Future[Answer] = self._loop.create_future()
        self.buttons = {
            Answer.APPROVE: _button(yes.label, "cgrunbook-approve", yes.tooltip, yes.style),
            Answer.DECLINE: _button("Decline", "cgrunbook-decline", "Change nothing, and stop the notebook here"),
        }
        if rest:
            self.buttons[Answer.APPROVE_REST] = _button(
                "Approve the rest",
                "cgrunbook-approve-rest",
                "Make these changes and those of the steps below without asking again; deletions are still asked for",
            )
        for answer, button in self.buttons.items():
            button.on_click(lambda _, answer=answer: self.answer(answer))
        self._loop.call_later(_SETTLE_SECONDS, self._open)
        waiting = asking("region", f"Waiting for your approval: {redact(title)}", reveal=True)
        self._said = ipywidgets.HTML(waiting + _said("Waiting for your approval. Nothing has been changed yet."))
        row = [*self.buttons.values(), *([copy_button(commands)] if commands else [])]
        self.widget: Any = ipywidgets.VBox(
            [ipywidgets.HBox(row, layout={"flex_flow": "row wrap", "padding": "2px 0 6px 16px"}), self._said]
        )
        self.widget.add_class("cgrunbook-question")

    def answer(self, answer: Answer) -> None:
        """Take the first answer; ipywidgets hands on the clicks on a disabled button too."""
        if self._answer.done() or self.buttons[answer].disabled:
            return
        self._answer.set_result(answer)
        self._loop.call_later(DRAW_SECONDS, self._close, f"{answer.value}.")

    def _open(self) -> None:
        if not self._answer.done():
            for button in self.buttons.values():
                button.disabled = False

    async def wait(self, waiting: Callable[[Awaitable[Answer]], Awaitable[Answer]] = interruptible) -> Answer:
        """Wait for the answer.

        Args:
            waiting: waits for what is awaited, and may give it up.
        """
        try:
            return await waiting(self._answer)
        except asyncio.CancelledError:
            self._close("Interrupted: nothing was approved.")
            raise
        except Interrupted:
            self._close("Asked anew: nothing was approved here.")
            raise

    def _close(self, said: str) -> None:
        for button in self.buttons.values():
            button.disabled = True
        self._said.value = _said(said)


def _said(text: str) -> str:
    return f'<p style="margin:0 0 4px 18px">{escape(text)}</p>'


def _button(label: str, css: str, tooltip: str, style: str = "") -> Any:
    button = ipywidgets.Button(
        description=label,
        tooltip=tooltip,
        button_style=style,
        disabled=True,
        layout={"width": "auto", "min_width": "90px"},
    )
    if style == "danger":  # the colour of its card, and of all that is gone for good
        button.style.button_color, button.style.text_color = GONE, "#ffffff"
    button.add_class(css)
    return button
