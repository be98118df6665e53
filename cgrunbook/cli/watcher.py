"""What is said on stderr while notebooks run: one line that changes on a terminal, plain lines elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from cgrunbook.redaction import redact

if TYPE_CHECKING:
    from cgrunbook.run.journal import Line


class Watcher:
    """Tells of a run as it goes, from the lines of its journal."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
        self._status = self._console.status("") if self._console.is_terminal else None
        self._doing = ""
        self._waits: set[tuple[str, int, str]] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._status:
            self._status.stop()

    def _show(self, doing: str) -> None:
        """Change the line that says what goes on."""
        from rich.text import Text

        if self._status:
            self._status.update(Text(doing))
            self._status.start()

    def say(self, text: str) -> None:
        """A line of its own."""
        self._console.print(redact(text))

    def see(self, line: Line) -> None:
        """Take one line of the journal."""
        data = line.data
        if line.event == "run-started":
            self._show("starting")
        elif line.event == "notebook-started":
            self.say(line.notebook)
        elif line.event == "step-started":
            self._doing = f"{line.step}. {data.get('title', '')}"
            self._show(self._doing)
        elif line.event == "waiting":
            reason = str(data.get("reason", ""))
            self._show(f"{self._doing}: waiting for {reason}")
            if not self._status and (line.notebook, line.step, reason) not in self._waits:
                self._waits.add((line.notebook, line.step, reason))
                self.say(f"  {self._doing}: waiting for {reason}")
        elif line.event == "outcome":
            seconds = f" ({data['seconds']:.1f} s)" if isinstance(data.get("seconds"), int | float) else ""
            self.say(f"  {data.get('outcome', ''):<9}  {self._doing}{seconds}")
        elif line.event == "notebook-ended":
            self._show("going on")
