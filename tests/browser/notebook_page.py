"""A notebook open in JupyterLab in a browser, as a person handles it: run all, look, click, interrupt, restart, save.

What to wait for is said as a condition on the page; nothing here waits for a time.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat as nbformat_
from playwright.sync_api import Locator, Page
from playwright.sync_api import TimeoutError as TooLate

from cgrunbook.steps.step import Outcome
from tests.browser.axe import look
from tests.browser.jupyterlab import Lab

nbformat: Any = nbformat_

# The longest that anything is waited for before the test fails; a slow machine needs a fraction of it.
PATIENCE_MS = 60_000

_PANEL = "window.jupyterapp.shell.currentWidget"
_STATE = f"""() => {{
  const panel = {_PANEL};
  const kernel = panel?.context?.sessionContext?.session?.kernel;
  const cells = (panel?.content?.widgets ?? []).filter(cell => cell.model.type === 'code');
  return {{
    status: kernel?.status ?? 'none',
    running: cells.filter(cell => cell.model.executionState !== 'idle').length,
    cells: cells.map(cell => cell.model.sharedModel.toJSON()),
  }};
}}"""


@dataclass
class NotebookPage:
    """One tab with one notebook.

    Attributes:
        page: the tab.
        lab: the server.
        path: the notebook's file.
        workspace: JupyterLab's workspace, so that tabs of other tests are not opened again.
        screenshots: where pictures go.
        complaints: what the page's console and axe complained of.
        expected: what JupyterLab complains of by right in this test, by parts of its texts.
    """

    page: Page
    lab: Lab
    path: Path
    workspace: str
    screenshots: Callable[[Page, str], Path]
    complaints: list[str] = field(default_factory=list)
    expected: set[str] = field(default_factory=set)

    def unexpected(self) -> list[str]:
        """What was complained of and should not have been."""
        return [one for one in self.complaints if not any(text in one for text in self.expected)]

    def open(self, *, wait: bool = True) -> NotebookPage:
        """Open the notebook and, unless told not to, wait until its kernel can be used."""
        self.page.goto(self.lab.url(self.workspace, str(self.path.relative_to(self.lab.root))))
        if wait:
            self.wait_until_ready()
        return self

    def wait_until_ready(self) -> None:
        """Wait until the notebook is there and its kernel is idle."""
        name = json.dumps(self.path.name)
        self.until(
            f"() => window.jupyterapp && {_PANEL}?.context?.path?.endsWith({name}) && {_PANEL}.context.isReady "
            f"&& {_PANEL}.content.widgets.length > 1 && {_PANEL}.context.sessionContext.session?.kernel?.status === 'idle'"
        )

    def until_there(self) -> None:
        """Wait until the notebook is there with its kernel, which may be at work."""
        self.until(
            f"() => window.jupyterapp && {_PANEL}?.context?.isReady && {_PANEL}.content.widgets.length > 1 "
            f"&& {_PANEL}.context.sessionContext.session?.kernel?.connectionStatus === 'connected'"
        )

    def until(self, condition: str, argument: Any = None) -> Any:
        """Wait for a condition in JavaScript; answers what it answers."""
        return self.page.wait_for_function(condition, arg=argument, timeout=PATIENCE_MS, polling=50).json_value()

    def promised(self, promise: str) -> None:
        """Wait until a promise is kept, and no longer than for a condition."""
        self.page.evaluate(f"() => {{ window.kept = false; void ({promise}).then(() => {{ window.kept = true; }}); }}")
        self.until("() => window.kept")

    def command(self, name: str, **arguments: Any) -> None:
        """Give one of JupyterLab's commands, as its menus do, without waiting for it to end."""
        self.page.evaluate(
            "([name, given]) => { void window.jupyterapp.commands.execute(name, given); }", [name, arguments]
        )

    # --- running ---

    def run_all(self) -> None:
        """Run All Cells."""
        self.command("notebook:run-all-cells")
        self.until(f"() => {{ const state = ({_STATE})(); return state.running > 0; }}")

    def run_cell(self, source: str) -> None:
        """Run the first cell whose source has this in it."""
        self.page.evaluate(
            f"""source => {{
              const notebook = {_PANEL}.content;
              notebook.activeCellIndex = notebook.widgets.findIndex(
                cell => cell.model.type === 'code' && cell.model.sharedModel.getSource().includes(source));
            }}""",
            source,
        )
        self.command("notebook:run-cell")

    def state(self) -> dict[str, Any]:
        """The kernel's status and the code cells."""
        found: dict[str, Any] = self.page.evaluate(_STATE)
        return found

    @property
    def approve(self) -> Locator:
        """The Approve button that can be clicked now."""
        return self.page.locator("button.cgrunbook-approve:not([disabled])")

    @property
    def decline(self) -> Locator:
        """The Decline button that can be clicked now."""
        return self.page.locator("button.cgrunbook-decline:not([disabled])")

    @property
    def use(self) -> Locator:
        """The form's button."""
        return self.page.locator("button.cgrunbook-use")

    def until_asked_or_done(self) -> str:
        """Wait until the notebook asks something or has ended; answers `approve`, `form` or `done`."""
        return str(
            self.until(f"""() => {{
              if (document.querySelector('button.cgrunbook-approve:not([disabled])')) return 'approve';
              const state = ({_STATE})();
              if (state.running === 0 && state.status === 'idle') return 'done';
              if (document.querySelector('button.cgrunbook-use:not([disabled])') && {_FORM_WAITS}) return 'form';
              return false;
            }}""")
        )

    def until_asked(self) -> None:
        """Wait for a plan's buttons."""
        self.approve.first.wait_for(timeout=PATIENCE_MS)

    def until_done(self) -> None:
        """Wait until no cell runs."""
        self.until(f"() => {{ const state = ({_STATE})(); return state.running === 0 && state.status === 'idle'; }}")

    def approve_everything(self) -> int:
        """Answer all that is asked with the primary button until the notebook has ended; answers how often."""
        clicks = 0
        while (asked := self.until_asked_or_done()) != "done":
            if asked == "form":
                self.use.click()
                self.until(f"() => !({_FORM_WAITS})")
                continue
            self.agree()
            clicks += 1
        return clicks

    def agree(self) -> None:
        """Click Approve and wait until that very button cannot be clicked any more; the next question may be there by then."""
        button = self.approve.first.element_handle()
        button.click()
        self.until_gone(button)

    def until_gone(self, button: Any) -> None:
        """Wait until this very button cannot be clicked any more."""
        self.until("button => button.disabled || !button.isConnected", button)

    def until_the_form_waits(self) -> None:
        """Wait until a form keeps its cell waiting, and its button can be pressed."""
        self.until(f"() => document.querySelector('button.cgrunbook-use:not([disabled])') && {_FORM_WAITS}")

    def until_busy(self) -> None:
        """Wait until the page says that the kernel is at work."""
        self.until(f"() => ({_STATE})().status === 'busy'")

    def until_running(self, number: int) -> None:
        """Wait until so many cells run or wait for their turn."""
        self.until(f"number => ({_STATE})().running === number", number)

    def until_outcomes(self, number: int) -> None:
        """Wait until the cards of so many steps say what came of them, and nothing runs."""
        try:
            self.until(
                f"""([number, outcomes]) => {{
              const state = ({_STATE})();
              const outputs = state.cells.flatMap(cell => cell.outputs);
              const cards = outputs.map(output => String([output.data?.['text/plain'] ?? ''].flat().join('')));
              const ended = cards.filter(card => outcomes.includes(/^\\S+ ([^:]+):/.exec(card)?.[1]));
              return state.running === 0 && state.status === 'idle' && ended.length === number;
            }}""",
                [number, list(Outcome)],
            )
        except TooLate as late:
            state = self.state()
            raise AssertionError(f"{self.outcomes()}, {state['running']} run, {state['status']}") from late

    def until_said(self, text: str) -> None:
        """Wait until a text stands on the page."""
        self.until("text => document.querySelector('.jp-Notebook')?.innerText.includes(text)", text)

    # --- looking ---

    def outputs(self) -> list[str]:
        """The text of each output of each code cell, in order."""
        texts = []
        for cell in self.state()["cells"]:
            for output in cell["outputs"]:
                text = output.get("data", {}).get("text/plain") or output.get("text") or output.get("evalue") or ""
                texts.append(text if isinstance(text, str) else "".join(text))
        return texts

    def outcomes(self) -> list[str]:
        """What each step's final card says came of it: `created`, `verified`, `declined` ..."""
        words = [text.split(":", 1)[0].split() for text in self.outputs()]
        return [word[1] for word in words if len(word) == 2 and word[1] in set(Outcome)]

    def executed(self) -> list[bool]:
        """Of each code cell whether it has been run."""
        return [cell["execution_count"] is not None for cell in self.state()["cells"]]

    def visible_text(self) -> str:
        """What can be read in the notebook on the page."""
        return str(self.page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Notebook").inner_text())

    def field(self, name: str) -> Locator:
        """The control of a field of the form."""
        return self.page.locator(f".cgrunbook-field-{name} input, .cgrunbook-field-{name} select").first

    def error(self, name: str) -> Locator:
        """The place below a field where its error stands."""
        return self.page.locator(f".cgrunbook-error-{name}").first

    def interrupt(self) -> None:
        """Interrupt the kernel, as the square in the toolbar does."""
        self.command("notebook:interrupt-kernel")

    def restart(self) -> None:
        """Restart the kernel and wait until it can be used again."""
        self.promised(f"{_PANEL}.context.sessionContext.session.kernel.restart()")
        self.until(f"() => {_PANEL}.context.sessionContext.session?.kernel?.status === 'idle'")

    def lose_connection(self) -> None:
        """Cut the connection to the kernel, and wait until the page has noticed and has one again."""
        kernel = f"{_PANEL}.context.sessionContext.session.kernel"
        self.page.evaluate(f"() => {{ window.lost = {kernel}.connectionStatus; {kernel}._ws.close(); }}")
        self.until(f"() => {kernel}.connectionStatus === 'connected' && {kernel}._ws?.readyState === 1")

    def kill_kernel(self) -> None:
        """Kill the kernel's process, and wait until the server has started another in its place."""
        kernel = f"{_PANEL}.context.sessionContext.session.kernel"
        self.page.evaluate(
            f"""() => {{
              window.died = false;
              {kernel}.statusChanged.connect((_, status) => {{ window.died ||= status === 'autorestarting'; }});
            }}"""
        )
        connection = self.lab.root.parent / "runtime" / f"kernel-{self.page.evaluate(f'() => {kernel}.id')}.json"
        for process in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                if str(connection) in process.read_text():
                    os.kill(int(process.parent.name), signal.SIGKILL)
        self.until(f"() => window.died && {kernel}.status === 'idle'")

    def shut_down(self) -> None:
        """Shut the notebook's kernel down."""
        self.promised(f"{_PANEL}.context.sessionContext.shutdown()")

    def photograph(self, name: str) -> Path:
        """Keep a picture of the page, and let axe look at all that is ours on it, in both themes: what it finds is a complaint."""
        picture = self.screenshots(self.page, name)
        self.complaints += look(self.page, name, self.screenshots)
        return picture

    def save(self) -> Any:
        """Save the notebook and read the file."""
        self.promised(f"{_PANEL}.context.save()")
        return nbformat.read(self.path, as_version=4)


# A form that keeps its cell waiting says so above. One that does not is there too while its cell still connects.
_FORM_WAITS = """(() => {
  const node = document.querySelector('button.cgrunbook-use')?.closest('.jp-CodeCell');
  const cell = window.jupyterapp.shell.currentWidget.content.widgets.find(one => one.node === node);
  return !!node && /press .Use these values/.test(node.innerText) && cell?.model.executionState !== 'idle';
})()"""
