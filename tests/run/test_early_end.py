"""A notebook that ends outside of its steps, executed by a program that knows nothing of us: its run says so."""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import start_new_kernel

from cgrunbook.run.journal import Line, read_lines
from cgrunbook.run.record import Record, read_record
from tests.sandboxes import sandbox_home

OPEN = """
target, mode, project_id, location, labels = "sandbox", "apply", "", "us-central1", []
{change}
from cgrunbook import open_notebook, steps
book = await open_notebook("02", globals(), {version!r})
"""

LOOK = """
from cgrunbook.errors import PrerequisiteMissing
from cgrunbook.steps.step import Evidence, Proof, Section
class Look(Proof):
    section, why = Section.PREREQUISITES, "To see."
    def __init__(self, title="Look", fails=False):
        self.title, self.fails = title, fails
    def verify(self, world):
        if self.fails:
            raise PrerequisiteMissing("It is dark.", "Make light.")
        return Evidence("seen")
"""

SEES = "await book.perform(Look())"


class Executor:
    """A kernel that is given cells, the next one also after an error, and the runs that came of it."""

    def __init__(self, client: Any, folder: Path) -> None:
        self._client = client
        self.folder = folder
        self._seen: set[Path] = set()

    def runs(self, *cells: str) -> None:
        for cell in cells:
            self._client.execute_interactive(cell, allow_stdin=False, timeout=60, output_hook=lambda _: None)

    def opened(self, change: str = "", version: str = "") -> str:
        return OPEN.format(change=change, version=version)

    @property
    def made(self) -> Path:
        """The one run folder that was made since the last look."""
        [made] = set((self.folder / "runs").iterdir()) - self._seen
        self._seen.add(made)
        return made


@pytest.fixture(scope="module")
def executor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Executor]:
    folder = tmp_path_factory.mktemp("work")
    with sandbox_home(tmp_path_factory.mktemp("cgrunbook")), pytest.MonkeyPatch.context() as patch:
        patch.delenv("CGRUNBOOK_RUN_FOLDER", raising=False)
        manager, client = start_new_kernel(kernel_name="python3", cwd=str(folder))
        try:
            executor = Executor(client, folder)
            executor.runs(LOOK)
            yield executor
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=True)


def told(run: Path) -> tuple[Record, Line, str]:
    """What a run's record, its journal's last line and its page's title say."""
    title = re.search("<title>(.*?)</title>", (run / "report.html").read_text())
    assert title
    return read_record(run), list(read_lines(run / "journal.jsonl"))[-1], title[1]


@pytest.mark.parametrize(
    ("change", "version", "code", "says"),
    [
        ("location = 'Mars'", "", 2, "location is 'Mars'"),
        ("mode = 'destroy'", "", 2, "mode is 'destroy'"),
        ("location = object()", "", 2, "location is <object"),
        (r"location = '\ud800'", "", 2, "location is"),
        ("location = 'SECRET'", "", 2, "location is '[redacted]'"),
        ("labels = ['a=b', 'Upper=x']", "", 2, "Upper=x"),
        ("", "9.9", 2, "was written for cgrunbook 9.9"),
        ("target, project_id = 'google-cloud', 'my-project'", "", 3, "GOOGLE_APPLICATION_CREDENTIALS"),
        ("import cgrunbook.run.session as s; s.connect_as = None", "", 1, "TypeError"),
    ],
)
def test_a_notebook_that_does_not_open_ends_its_run(executor, change: str, version: str, code: int, says: str):
    gone = "import os; os.environ['GOOGLE_APPLICATION_CREDENTIALS'] = '/no/such/file.json'"
    connects = "import cgrunbook.run.session as s, cgrunbook.cloud; s.connect_as = cgrunbook.cloud.connect_as"
    head = base64.urlsafe_b64encode(b'{"alg": "RS256"}').decode().rstrip("=")
    secret = f"{head}.{secrets.token_urlsafe(40)}.{secrets.token_urlsafe(40)}"
    executor.runs(
        gone, executor.opened(change.replace("SECRET", secret), version), "print('the executor goes on')", connects
    )
    record, line, title = told(run := executor.made)
    assert (record.exit_code, line.event, line.data["outcome"]) == (code, "notebook-ended", "failed")
    assert record.ended
    assert record.first_error
    assert says in record.first_error.message
    assert says in (run / "report.html").read_text().replace("&#39;", "'").replace("&lt;", "<")
    assert "not ended" not in title
    assert "nothing was changed" in title
    assert secret.rpartition(".")[2] not in "".join(path.read_text() for path in run.iterdir())


@pytest.mark.parametrize(
    ("cells", "outcome", "code", "says"),
    [
        ([SEES, "undefined_name", SEES], "failed", 1, "NameError"),
        (["undefined_name"], "failed", 1, "NameError"),
        (["import sys; sys.exit()"], "failed", 1, "SystemExit"),
        (["raise KeyboardInterrupt", SEES], "interrupted", 130, "KeyboardInterrupt"),
        (["await book.perform(steps.PullImage('no image', 'x'))", SEES], "failed", 2, ""),
        (["def (", SEES], "failed", 1, "SyntaxError"),
        (["await book.perform(Look(fails=True))", SEES.replace("()", "('Other')")], "failed", 3, "It is dark."),
        (["await book.perform(Look(fails=True))", SEES], "done", 0, ""),
        (["if 'again' not in globals():\n    again = 1\n    raise ValueError('once')"] * 2 + [SEES], "done", 0, ""),
    ],
)
def test_a_cell_that_fails_outside_of_a_step_stays_failed_until_it_has_run(executor, cells, outcome, code, says):
    executor.runs("globals().pop('again', None)", executor.opened(), *cells)
    record, _, title = told(executor.made)
    assert ([book.outcome for book in record.notebooks], record.exit_code) == ([outcome], code)
    assert ("Done" in title) is (code == 0)
    assert says in (record.first_error.message if record.first_error else "")
