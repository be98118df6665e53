"""A check that finds something wrong does not stop its notebook, and the end says and raises all of it."""

from __future__ import annotations

import asyncio
from typing import ClassVar

import pytest

from cgrunbook.errors import PrerequisiteMissing, StepFailed
from cgrunbook.run.folder import JOURNAL
from cgrunbook.run.journal import read_lines
from cgrunbook.run.record import record_of
from cgrunbook.run.runbook import Runbook, open_runbook
from cgrunbook.steps.step import Evidence, Finding, Mark, Outcome, Proof, Section, World
from tests.sandboxes import sandbox_home
from tests.steps.performing import Watcher


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory):
    with sandbox_home(tmp_path_factory.mktemp("cgrunbook")) as home:
        yield home


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def open_book() -> tuple[Runbook, Watcher]:
    face = Watcher()
    return open_runbook("01_prerequisites", {"target": "sandbox"}, face), face


class Look(Proof):
    section: ClassVar = Section.PREREQUISITES
    why: ClassVar = "To see."

    def __init__(self, title: str, *marks: Mark) -> None:
        self.title, self.marks = title, marks

    def verify(self, world: World) -> Evidence:
        if not self.marks:
            raise StepFailed("Nothing could be seen.", "Look again.")
        findings = (Finding(mark, self.title, "seen", f"Mend {self.title}.", prerequisite=True) for mark in self.marks)
        return Evidence(findings=tuple(findings))


def test_all_that_is_wrong_is_said_together_and_ends_the_notebook_with_the_code_of_a_prerequisite():
    book, face = open_book()

    async def cells() -> None:
        for title in ("docker", "gcloud"):
            await book.check(Look(title, Mark.FAIL, Mark.OK))
        await book.check(Look("network", Mark.OK))

    asyncio.run(cells())
    assert face.outcomes == [Outcome.FAILED, Outcome.FAILED, Outcome.VERIFIED]
    with pytest.raises(PrerequisiteMissing) as raised:
        book.conclude()
    assert "docker: seen\ngcloud: seen" in raised.value.message
    assert "Mend docker.\nMend gcloud." in raised.value.remedy
    assert face.conclusions[0].word == "Two things first"
    assert record_of(book.folder).exit_code == 3
    last = list(read_lines(book.folder / JOURNAL))[-1]
    assert (last.event, last.data["error"]["message"]) == ("concluded", raised.value.message)


def test_what_was_mended_and_looked_at_again_is_not_raised():
    book, face = open_book()

    async def cells() -> None:
        await book.check(Look("docker", Mark.FAIL))
        await book.check(Look("docker", Mark.OK))

    asyncio.run(cells())
    book.conclude()
    assert face.conclusions[0].word == "So far", "the other checks were not looked at"
    assert record_of(book.folder).exit_code == 0


def test_a_check_that_could_not_come_to_its_findings_stops_the_notebook():
    book, _ = open_book()
    with pytest.raises(StepFailed, match="Nothing could be seen"):
        asyncio.run(book.check(Look("network")))


def test_a_conclusion_asks_no_service_and_is_no_step():
    book, face = open_book()
    asyncio.run(book.check(Look("network", Mark.OK)))
    book.conclude()
    assert len(face.results) == len(record_of(book.folder).steps) == 1
