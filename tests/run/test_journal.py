"""What the journal of a run that began in a notebook says of its end, which nobody sees."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cgrunbook.errors import Declined, Interrupted, PrerequisiteMissing
from cgrunbook.run.journal import Journal, Record, record_of
from cgrunbook.run.runbook import error_data


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path)


def begin(journal: Journal, **run: Any) -> None:
    journal.add("run-started", operator="somebody", **run)
    journal.add("notebook-started", notebook="02")


def step(journal: Journal, number: int, outcome: str | None = "created", **data: Any) -> None:
    journal.add("step-started", notebook="02", step=number, title="A step")
    journal.add("planned", notebook="02", step=number, changes=[{"resource": "lamp", "field": "light", "after": "on"}])
    if outcome:
        journal.add("outcome", notebook="02", step=number, outcome=outcome, **data)


def ending(record: Record) -> tuple[str | None, int | None]:
    return record.notebooks[0].outcome, record.exit_code


def test_it_is_done_as_far_as_it_went(journal):
    begin(journal, began_in="notebook")
    assert ending(record_of(journal.folder)) == (None, None)
    step(journal, 1)
    record = record_of(journal.folder)
    assert ending(record) == ("done", 0)
    assert record.ended == record.notebooks[0].ended == record.notebooks[0].steps[0].ended


def test_while_a_step_works_or_waits_for_a_person_nothing_is_said(journal):
    begin(journal, began_in="notebook")
    step(journal, 1)
    step(journal, 2, outcome=None)
    assert ending(record_of(journal.folder)) == (None, None)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(Declined("no"), "failed"), (Interrupted("stop"), "interrupted"), (PrerequisiteMissing("first"), "failed")],
)
def test_a_failed_step_ends_it_until_it_is_run_again(journal, error, outcome):
    begin(journal, began_in="notebook")
    step(journal, 1, "failed", error=error_data(error))
    assert ending(record_of(journal.folder)) == (outcome, error.exit_code)
    step(journal, 2)
    assert ending(record_of(journal.folder)) == ("done", 0)


def test_a_plan_with_changes_says_so(journal):
    begin(journal, began_in="notebook", mode="plan")
    step(journal, 1, "planned")
    assert ending(record_of(journal.folder)) == ("done", 4)


def test_a_run_of_the_command_line_ends_when_it_says_so_and_not_before(journal):
    begin(journal)
    step(journal, 1)
    assert ending(record_of(journal.folder)) == (None, None)
    journal.add("run-ended", exit_code=0)
    assert ending(record_of(journal.folder)) == (None, 0)


def test_an_answer_has_its_time(journal):
    begin(journal, began_in="notebook")
    step(journal, 1, outcome=None)
    line = journal.add("declined", notebook="02", step=1)
    answered = record_of(journal.folder).notebooks[0].steps[0]
    assert (answered.approval, answered.answered) == ("declined", line.time)
