"""Whatever happens to the page, its server or its kernel, and whenever: the page says what is true, and nothing is saved first.

Moments: the form waits, a plan waits, a step is at work, later cells go on while nobody looks. Events: `LIVING`, which the
kernel survives, and `DYING`. After each, what was open is open again or a sentence says what to press. Run All is pressed at
once, and the moment is there again for the next event; after the last one it comes to its end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import ClassVar

import pytest
from filelock import FileLock
from playwright.sync_api import Error

from tests.browser.jupyterlab import Lab, running_lab
from tests.browser.notebook_page import NotebookPage

NOTEBOOK = "02_developer_images"
# JupyterLab's word in the console on what it had asked of a kernel that is gone.
UNANSWERED = "Canceled future for"
CHANGES = ["created", "created", "updated"]


@contextmanager
def another_run(home: Path) -> Iterator[None]:
    """Another run on this machine works on the same project: what was approved is at work, and waits for it."""
    (home / "locks").mkdir(exist_ok=True)
    with FileLock(home / "locks" / "sandbox.cgrunbook-sandbox.lock"):
        yield


# --- what happens ---


def reloaded(tab: NotebookPage, again: Callable[..., NotebookPage]) -> NotebookPage:
    tab.page.reload()
    return tab


def closed(tab: NotebookPage, again: Callable[..., NotebookPage]) -> NotebookPage:
    tab.page.close(run_before_unload=False)
    return again()


def crashed(tab: NotebookPage, again: Callable[..., NotebookPage]) -> NotebookPage:
    """The browser's process for the page ends, as when it is killed: nothing of the page is asked."""
    with tab.page.expect_event("crash"), suppress(Error):
        tab.page.goto("chrome://crash")
    tab.page.close(run_before_unload=False)
    return again()


def unconnected(tab: NotebookPage, again: Callable[..., NotebookPage]) -> NotebookPage:
    """The connection to the kernel is lost, for long enough to be seen, and comes back."""
    tab.lose_connection()
    return tab


def restarted(tab: NotebookPage, again: Callable[..., NotebookPage]) -> NotebookPage:
    tab.expected.add(UNANSWERED)
    tab.restart()
    return tab


def died(tab: NotebookPage, again: Callable[..., NotebookPage]) -> NotebookPage:
    """The kernel's process is killed; the server starts another."""
    tab.expected.add(UNANSWERED)
    tab.kill_kernel()
    tab.page.locator(".jp-Dialog button.jp-mod-accept").click()  # JupyterLab says so, too
    return tab


def shut_down(tab: NotebookPage, again: Callable[..., NotebookPage]) -> NotebookPage:
    """The server is ended, and with it its kernels; later it is there again, and the page is opened again."""
    tab.page.close(run_before_unload=False)
    Server.running.again()
    tab = again()
    tab.expected.add("widget model not found")  # JupyterLab's word in the console on a widget of a kernel that is gone
    return tab


LIVING = {"reload": reloaded, "closed": closed, "crashed": crashed, "connection": unconnected}
DYING = {"kernel": restarted, "died": died, "server": shut_down}


class Server:
    """A JupyterLab that can be ended and started again where it was."""

    running: ClassVar[Server]

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._context = running_lab(folder)
        self.lab = self._context.__enter__()
        Server.running = self

    def again(self) -> None:
        """End it, and start it anew."""
        self.end()
        self._context = running_lab(self._folder, before=self.lab)
        self._context.__enter__()

    def end(self) -> None:
        """End it."""
        self._context.__exit__(None, None, None)


@pytest.fixture(scope="module")
def lab(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A server of this file's own, which its tests may end."""
    server = Server(tmp_path_factory.mktemp("lab"))
    yield server.lab
    server.end()


@pytest.fixture
def opened(open_tab: Callable[..., NotebookPage]) -> NotebookPage:
    return open_tab(NOTEBOOK)


@pytest.fixture
def again(open_tab: Callable[..., NotebookPage]) -> Callable[..., NotebookPage]:
    return lambda: open_tab(NOTEBOOK, wait=False)


def after_each(
    events: dict[str, Callable[..., NotebookPage]], tab: NotebookPage, again: Callable[..., NotebookPage]
) -> Iterator[NotebookPage]:
    """The page after one event after the other; which one it was is printed, for whoever reads of a failure."""
    for name, happens in events.items():
        print(name)
        tab = happens(tab, again)
        yield tab
        tab.photograph(name)


def assert_comes_to_its_end(tab: NotebookPage) -> None:
    """Run All, whatever waits or works, and all that is asked agreed to."""
    tab.run_all()
    tab.approve_everything()
    assert all(tab.executed())
    outcomes = tab.outcomes()
    assert len(outcomes) == 5, outcomes
    assert set(outcomes[:3]) <= {"created", "updated", "unchanged"}, outcomes
    assert set(outcomes[3:]) <= {"verified", "unchanged", "skipped"}, outcomes


def assert_nobody_waits(tab: NotebookPage, said: str) -> None:
    """No button that does nothing, no words of what is over; a sentence that says what to press."""
    tab.until_said(said)
    tab.until("() => !document.querySelector('.jupyter-widgets-disconnected')?.checkVisibility()")
    tab.until("() => !document.querySelector('.jp-Notebook').innerText.includes('Loading widget')")
    for button in ("approve", "decline", "use"):
        assert not tab.page.locator(f"button.cgrunbook-{button}").filter(visible=True).count()
    text = tab.visible_text()
    assert "Waiting for your approval" not in text
    assert "waits for you" not in text
    assert "Error displaying widget" not in text


# --- the matrix ---


@pytest.mark.long
def test_the_form_waits(opened, again):
    opened.run_all()
    opened.until_the_form_waits()
    for tab in after_each(LIVING, opened, again):
        tab.until_there()
        tab.until_the_form_waits()
        tab.run_all()
    assert_comes_to_its_end(tab)


@pytest.mark.long
def test_a_plan_waits(opened, again):
    opened.run_all()
    opened.use.click()
    opened.until_asked()
    for tab in after_each(LIVING, opened, again):
        tab.until_there()
        tab.until_asked()
        assert "Waiting for your approval. Nothing has been changed yet." in tab.visible_text()
        tab.until_busy()
        tab.until_running(len(tab.state()["cells"]) - 2)  # all but the parameters and the form
        asked = tab.approve.first.element_handle()
        tab.run_all()
        tab.until_gone(asked)
        tab.until_asked()
    assert_comes_to_its_end(tab)


@pytest.mark.long
def test_a_step_is_at_work(opened, again, home):
    opened.run_all()
    opened.use.click()
    opened.until_asked()
    with another_run(home):
        opened.agree()
        opened.until_said("another run to finish its step")
        for tab in after_each(LIVING, opened, again):
            tab.until_there()
            tab.until_said("another run to finish its step")
            tab.until_running(len(tab.state()["cells"]) - 2)  # all but the parameters and the form
    tab.until_said("✓ created")
    tab.until_asked()
    assert_comes_to_its_end(tab)


@pytest.mark.long
@pytest.mark.parametrize("event", LIVING)
def test_cells_go_on_while_nobody_looks(opened, again, home, event):
    opened.run_all()
    opened.use.click()
    opened.until_asked()
    with another_run(home):
        opened.page.locator("button.cgrunbook-approve-rest:not([disabled])").click()
        opened.until_said("another run to finish its step")
        if event in {"closed", "crashed"}:
            opened.page.close(run_before_unload=False)
    tab = again() if opened.page.is_closed() else LIVING[event](opened, again)
    tab.until_there()
    tab.until_outcomes(5)
    assert tab.outcomes()[:3] == CHANGES
    assert all(tab.executed())
    tab.photograph(event)


@pytest.mark.long
def test_the_form_waits_and_its_kernel_ends(opened, again):
    opened.run_all()
    opened.until_the_form_waits()
    for tab in after_each(DYING, opened, again):
        assert_nobody_waits(tab, "Where no form stands below")
        tab.run_all()
        tab.until_the_form_waits()
    assert_comes_to_its_end(tab)


@pytest.mark.long
def test_a_plan_waits_and_its_kernel_ends(opened, again):
    opened.run_all()
    opened.use.click()
    opened.until_asked()
    for tab in after_each(DYING, opened, again):
        assert_nobody_waits(tab, "Where no buttons stand below")
        tab.run_all()
        tab.until_asked()
    assert_comes_to_its_end(tab)


@pytest.mark.long
def test_a_step_is_at_work_and_its_kernel_ends(opened, again, home):
    opened.run_all()
    opened.use.click()
    opened.until_asked()
    with another_run(home):
        opened.agree()
        opened.until_said("another run to finish its step")
        for tab in after_each(DYING, opened, again):
            assert_nobody_waits(tab, "it works no more")
            tab.run_all()
            tab.until_asked()
            tab.agree()
            tab.until_said("another run to finish its step")
    assert_comes_to_its_end(tab)


@pytest.mark.long
def test_two_saves_at_once_ask_nothing(opened):
    opened.run_all()
    opened.use.click()
    opened.until_asked()
    opened.promised(
        """(async () => {
          const { context } = window.jupyterapp.shell.currentWidget;
          const settings = window.jupyterapp.serviceManager.serverSettings;
          const { fetch } = settings;
          window.others = [];
          settings.fetch = async (...request) => {
            const answer = await fetch(...request);
            if (request[0].method === 'PUT' && window.others.length < 1) {
              window.others.push(context.save());
              // As long as it takes on a slow network until the page hears that the file is written.
              await new Promise(goOn => setTimeout(goOn, 1000));
            }
            return answer;
          };
          context.model.sharedModel.setMetadata('edited', true);
          await context.save();
          await Promise.all(window.others);
        })()"""
    )
    assert opened.page.evaluate("() => window.others.length") == 1
    assert not opened.page.locator(".jp-Dialog").count()
