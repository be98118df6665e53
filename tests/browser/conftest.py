"""JupyterLab and Chromium for the tests of this folder: one of each, a fresh sandbox and a fresh tab a test."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cgrunbook.sandbox import process
from tests.browser.jupyterlab import Lab, running_lab
from tests.clients.programs import absent
from tests.sandboxes import sandbox_home

# Chromium of a build agent: no sandbox of its own where the user is root, no GPU, no calls to its maker.
_CHROMIUM = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="session")
def chromium() -> str:
    return shutil.which("chromium") or shutil.which("chromium-browser") or absent("chromium is not installed")


@pytest.fixture(scope="package")
def browser_context(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One browser, whose cache all tests share; their tabs share nothing else, each has a workspace of its own.

    With a profile of its own on the disk it keeps compiled what each page of JupyterLab would have it compile again.

    It ends with this folder's tests: while it is there, an event loop runs in this thread, and no other may.
    """
    from playwright.sync_api import expect, sync_playwright

    from tests.browser.notebook_page import PATIENCE_MS

    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            tmp_path_factory.mktemp("profile"),
            executable_path=chromium,
            args=list(_CHROMIUM),
            viewport={"width": 1280, "height": 900},
            device_scale_factor=1,
        )
        context.set_default_timeout(PATIENCE_MS)
        yield context
        context.close()


@pytest.fixture(scope="session")
def lab(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with running_lab(tmp_path_factory.mktemp("lab")) as running:
        yield running


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A sandbox that nobody has touched."""
    with sandbox_home(tmp_path / "home") as fresh:
        yield fresh


@pytest.fixture
def photograph(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Any, str], Path]:
    """Keep a picture in the run's temporary folder, and in $CGRUNBOOK_SCREENSHOTS where that is set."""
    folders = [tmp_path_factory.getbasetemp() / "screenshots"]
    if os.environ.get("CGRUNBOOK_SCREENSHOTS"):
        folders.append(Path(os.environ["CGRUNBOOK_SCREENSHOTS"]))
    test = re.sub(r"\W+", "-", request.node.name.removeprefix("test_"))

    def take(page: Any, name: str) -> Path:
        picture: bytes = page.screenshot()
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
            path: Path = folder / f"{test}-{name}.png"
            path.write_bytes(picture)
        return path

    return take


@pytest.fixture
def workplace(lab: Lab, home: Path) -> Path:
    """A folder with the notebooks, whose kernels work in the test's home."""
    name = f"t{secrets.token_hex(4)}"
    status = process.status(home)
    assert status is not None
    passed_on = ("CGRUNBOOK_HOME", "CGRUNBOOK_SANDBOX_IAM_DELAY", "CGRUNBOOK_SANDBOX_AGENT_DELAY")
    lab.add_kernel(name, {variable: os.environ[variable] for variable in passed_on})
    return lab.copy_notebooks(name, name)


@pytest.fixture
def open_tab(
    browser_context: Any, lab: Lab, workplace: Path, photograph: Callable[[Any, str], Path]
) -> Iterator[Callable[..., Any]]:
    """Open a notebook in a new tab; at the end no tab may have complained or have called anybody but the server."""
    from tests.browser.notebook_page import NotebookPage

    tabs: list[NotebookPage] = []

    def open_one(notebook: str, *, wait: bool = True) -> NotebookPage:
        page = browser_context.new_page()
        name = f"{workplace.name}{len(tabs)}"
        tab = NotebookPage(page, lab, workplace / f"{notebook}.ipynb", name, photograph)
        tabs.append(tab)
        page.on("console", lambda said: tab.complaints.append(_complaint(said)) if said.type == "error" else None)
        page.on("pageerror", lambda error: tab.complaints.append(f"{error}"))
        page.on("request", lambda asked: tab.complaints.append(asked.url) if _outside(asked.url, lab) else None)
        return tab.open(wait=wait)

    yield open_one
    complaints = [complaint for tab in tabs for complaint in tab.unexpected()]
    for tab in tabs:
        _end(tab)
    assert complaints == []


def _complaint(said: Any) -> str:
    """What the console says, and of which address: which answer it was, its text leaves out."""
    return f"{said.text} {said.location.get('url', '')}".strip()


def _outside(url: str, lab: Lab) -> bool:
    return not url.startswith((lab.address, lab.address.replace("http", "ws"), "data:", "blob:"))


def _end(tab: Any) -> None:
    """End the tab's kernel, then the tab."""
    if tab.page.is_closed():
        return
    tab.promised("window.jupyterapp?.serviceManager.sessions.shutdownAll() ?? Promise.resolve()")
    tab.page.close(run_before_unload=False)
