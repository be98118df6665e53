"""When a run's files are written: often enough for whoever looks, never as an end too early, and at no growing cost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from cgrunbook.errors import StepFailed
from cgrunbook.run import paperwork
from cgrunbook.run.early_end import end_early
from cgrunbook.run.journal import Journal
from cgrunbook.run.paperwork import Paperwork
from cgrunbook.run.record import Record, read_record, record_of


class Notebook:
    """A notebook whose steps say what they do in the journal, and nothing else."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.journal = Journal(folder)
        self.journal.begin("apply", began_in="notebook")
        self.journal.add("notebook-started", notebook="02")
        self.paperwork = Paperwork(folder)
        self.steps = 0

    async def step(self, outcome: str = "unchanged", *, doing: Callable[[], None] = lambda: None) -> None:
        self.steps += 1
        write = partial(self.journal.add, notebook="02", step=self.steps, sync=False)
        write("step-started", title=f"Pull image-{self.steps}")
        self.paperwork.step_begun()
        doing()
        write("outcome", outcome=outcome, evidence={"digest": "0" * 64})
        self.paperwork.step_ended()

    @property
    def on_disk(self) -> Record:
        return read_record(self.folder)

    @property
    def title(self) -> str:
        return (self.folder / "report.html").read_text().partition("<title>")[2].partition("</title>")[0]


@pytest.fixture
def notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Notebook:
    monkeypatch.delenv("CGRUNBOOK_RUN_FOLDER", raising=False)
    return Notebook(tmp_path)


def test_after_each_step_the_files_say_what_came_of_it_and_while_one_works_that_the_run_has_not_ended(notebook):
    def look() -> None:
        assert notebook.on_disk.exit_code is None
        assert notebook.on_disk.notebooks[0].outcome is None
        assert "has not ended, or was killed" in notebook.title

    async def cells() -> None:
        await notebook.step()
        for _ in range(3):
            assert (notebook.on_disk.exit_code, len(notebook.on_disk.steps)) == (0, notebook.steps)
            assert "Done:" in notebook.title
            await notebook.step(doing=look)
        await notebook.step("failed")
        assert notebook.on_disk.exit_code == 1
        assert "Failed" in notebook.title

    asyncio.run(cells())


def test_what_a_step_costs_does_not_grow_with_the_steps_before_it(notebook, monkeypatch):
    written = [0]
    real = Paperwork.write

    def write(self: Paperwork) -> None:
        real(self)
        written[-1] += (notebook.folder / "record.json").stat().st_size

    monkeypatch.setattr(Paperwork, "write", write)
    monkeypatch.setattr(paperwork, "write_report", lambda *_: None)

    async def cells() -> None:
        for _ in range(4):
            for _ in range(100):
                await notebook.step()
            written.append(0)

    asyncio.run(cells())
    first, *_, last = (sum(written[:until]) / until for until in (1, 2, 3, 4))
    assert last < 2 * first, "bytes that were written a step, of 100 steps and of 400"
    assert notebook.on_disk == record_of(notebook.folder), "and what the last ones wrote is there when all have ended"


def test_a_long_run_is_written_down_as_soon_as_it_rests(notebook, monkeypatch):
    monkeypatch.setattr(paperwork, "_FEW", 4)

    def look() -> None:
        assert notebook.on_disk.exit_code is None
        assert "Done" not in notebook.title

    async def cells() -> None:
        for _ in range(43):
            await notebook.step(doing=look if notebook.steps else lambda: None)
        assert len(notebook.on_disk.steps) < 43
        monkeypatch.setattr(paperwork, "_REST_SECONDS", 0.0)
        await notebook.step(doing=look)
        assert notebook.paperwork._resting
        await notebook.paperwork._resting
        assert len(notebook.on_disk.steps) == 44
        assert "Done:" in notebook.title
        await notebook.step(doing=look)

    asyncio.run(cells())
    assert len(notebook.on_disk.steps) == 45


def test_on_a_full_disk_no_file_of_before_says_that_it_ended_well(notebook, monkeypatch):
    def full(*_: object) -> None:
        message = "No room."
        raise StepFailed(message)

    asyncio.run(notebook.step())
    monkeypatch.setattr(paperwork, "write_report", full)
    with pytest.raises(StepFailed) as raised:
        asyncio.run(notebook.step())
    assert {path.name for path in notebook.folder.iterdir()} == {"journal.jsonl"}
    end_early(notebook.journal, "02", raised.value)
    assert (notebook.on_disk.exit_code, notebook.on_disk.notebooks[0].outcome) == (1, "failed")


def test_of_a_run_of_the_command_line_a_notebook_writes_no_report(tmp_path, monkeypatch):
    monkeypatch.setenv("CGRUNBOOK_RUN_FOLDER", str(tmp_path))
    notebook = Notebook(tmp_path)
    asyncio.run(notebook.step())
    assert len(notebook.on_disk.steps) == 1
    assert not (tmp_path / "report.html").exists()
