"""A cell's output while somebody looks at it: one card a step that is redrawn in its place, and a widget below it.

It knows how Jupyter replaces and clears outputs. It does not know what is drawn.
"""

from __future__ import annotations

from html import escape
from typing import Any

from cgrunbook.errors import Declined, Interrupted
from cgrunbook.redaction import redact

_VIEW = "application/vnd.jupyter.widget-view+json"


class CellOutput:
    """What the cell that runs now shows. A step's card becomes its final one, so that one display a step is saved.

    Args:
        stays: whether it is one cell's for good, instead of that of each cell that runs.
    """

    def __init__(self, *, stays: bool = False) -> None:
        self._stays = stays
        self._cell: int | None = None
        self._settled: list[dict[str, str]] = []
        self._handle: Any = None
        self._attached = False

    def draw(self, card: dict[str, str]) -> None:
        """Show a card, in the place of the one before it if that was not final."""
        self._follow()
        if self._handle is None:
            self._handle = ipython_display().display(card, raw=True, display_id=True)
        else:
            self._handle.update(card, raw=True)

    def settle(self, card: dict[str, str]) -> None:
        """Show a card that stays."""
        self.detach()
        self.draw(card)
        self._settled.append(card)
        self._handle = None

    def attach(self, widget: Any, otherwise: str) -> None:
        """Show a widget below the card.

        Args:
            widget: any ipywidget.
            otherwise: what is read in its place where there is no kernel, a sentence.
        """
        bundle = {
            _VIEW: {"version_major": 2, "version_minor": 0, "model_id": widget.model_id},
            "text/html": f'<p style="opacity:0.75">{escape(redact(otherwise))}</p>',
            "text/plain": redact(otherwise),
        }
        ipython_display().display(bundle, raw=True)
        self._attached = True

    def detach(self) -> None:
        """Take the widget away; the cards of the steps before it in the same cell stay."""
        self._follow()
        if not self._attached:
            return
        # An output cannot be taken away by itself: all are cleared as the next comes, and those that stay come again.
        ipython_display().clear_output(wait=True)
        self._attached = False
        self._handle = None
        for card in self._settled:
            ipython_display().display(card, raw=True)

    def _follow(self) -> None:
        """Begin anew in another cell, or in the same one run again."""
        cell = _execution_count()
        if cell != self._cell and not (self._stays and self._cell is not None):
            self._cell, self._settled, self._handle, self._attached = cell, [], None, False


def leave_choices_out(shell: Any) -> None:
    """From now on, show no error where a person chose that a cell ends: its card says so. It ends as failed all the same."""
    show = getattr(shell, "_showtraceback", None)  # all that IPython shows of an error passes by here
    if show is None or getattr(show, "leaves_choices_out", False):
        return

    def said(kind: Any, error: Any, lines: list[str]) -> None:
        if isinstance(error, (Declined, Interrupted)):
            shell._last_traceback = []  # noqa: SLF001 - what the answer to the page has
        else:
            show(kind, error, lines)

    said.leaves_choices_out = True  # type: ignore[attr-defined]
    shell._showtraceback = said  # noqa: SLF001


def ipython_display() -> Any:
    """IPython's display module, whose functions have no types."""
    import IPython.display

    return IPython.display


def _execution_count() -> int:
    from IPython import get_ipython

    shell: Any = get_ipython()
    return int(shell.execution_count) if shell is not None else 0
