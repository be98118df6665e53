"""What the journal of a run adds up to: how it ended, where nobody saw that, and where the journal itself is not whole."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cgrunbook.errors import Declined, Interrupted, PrerequisiteMissing, UsageError
from cgrunbook.run import report
from cgrunbook.run.journal import Journal, read_lines
from cgrunbook.run.record import ErrorRecord, Record, read_record, record_of, write_record


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
    step(journal, 1, "failed", error=ErrorRecord.of(error).model_dump())
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


# What all of a run's lines say, and not the last of them


def outcome(
    journal: Journal, title: str, said: str | None, *, notebook: str = "02", code: int = 1, **more: Any
) -> None:
    """One step that ended in this way; `done` is `unchanged`, and None never ended."""
    number = 1 + sum(line.event == "step-started" for line in read_lines(journal.path))
    subject = {"subject": more.pop("subject")} if "subject" in more else {}
    journal.add("step-started", notebook=notebook, step=number, kind="Pull", title=title, **subject)
    if said is None:
        return
    if said in ("failed", "declined"):
        kind = {"declined": "Declined", "failed": "Interrupted" if code == 130 else "StepFailed"}[said]
        more["error"] = {"type": kind, "message": f"{title} is not well.", "exit_code": code}
    journal.add("outcome", notebook=notebook, step=number, outcome="unchanged" if said == "done" else said, **more)


def opened(journal: Journal, notebook: str = "02", **more: Any) -> None:
    journal.add("notebook-started", notebook=notebook, parameters={"project_id": "one"} | more)


A_FAILED = [("A", "failed")]


@pytest.mark.parametrize(
    ("steps", "ends", "code"),
    [
        ([*A_FAILED, ("B", "done")], "failed", 1),
        ([*A_FAILED, ("B", "created"), ("C", "done")], "failed", 1),
        ([*A_FAILED, ("A", "done")], "done", 0),
        ([*A_FAILED, ("B", "done"), ("A", "updated")], "done", 0),
        ([("A", "done"), *A_FAILED, ("B", "done")], "failed", 1),
        ([*A_FAILED, ("A", "done", {"skipped": True})], "failed", 1),  # as format 1 said it
        ([*A_FAILED, ("A", "skipped")], "failed", 1),
        ([*A_FAILED, ("A", "not checked")], "failed", 1),
        ([*A_FAILED, ("A", "verified")], "done", 0),
        ([*A_FAILED, ("A", "planned", {"held_back": "Set confirm."})], "failed", 1),
        ([("A", "declined"), ("B", "done")], "failed", 1),
        ([("A", "declined"), ("A", "done")], "done", 0),
        ([("A", "failed", {"code": 130}), ("B", "done")], "interrupted", 130),
        ([("A", "failed", {"code": 3}), ("B", "failed"), ("C", "done")], "failed", 3),
        ([("A", "failed", {"code": 3}), ("B", "failed"), ("A", "done")], "failed", 1),
        ([("A", "failed", {"subject": "x"}), ("A", "done", {"subject": "y"})], "failed", 1),
        ([("A", None), ("B", "done")], "failed", 1),
    ],
)
def test_what_failed_stays_failed_until_the_same_step_has_succeeded(journal, steps, ends, code):
    begin(journal, began_in="notebook")
    for title, said, *more in steps:
        outcome(journal, title, said, **(more[0] if more else {}))
    record = write_record(journal.folder)
    assert ending(record) == (ends, code)
    for told in (record, read_record(journal.folder)):
        page = report.render(told)
        assert ("Done:" in report.verdict(told)) is (code == 0)
        assert ('class="verdict good"' in page) is (code == 0)
        assert (told.first_error is None) is (code == 0)


@pytest.mark.parametrize(
    ("steps", "code", "would"),
    [
        ([("A", "failed", {"code": 3}), ("B", "planned")], 3, ""),
        ([("A", "failed", {"code": 3}), ("A", "planned")], 4, "1 change would be made"),
        ([("A", "planned"), ("A", "planned"), ("B", "planned")], 4, "2 changes would be made"),
    ],
)
def test_a_plan_counts_each_change_once_and_is_none_where_a_step_failed(journal, steps, code, would):
    begin(journal, began_in="notebook", mode="plan")
    for title, said, *more in steps:
        outcome(journal, title, said, changes=[{"resource": title}], **(more[0] if more else {}))
    assert record_of(journal.folder).exit_code == code
    assert would in report.verdict(record_of(journal.folder))


@pytest.mark.parametrize("other", [{"repository": "b"}, {"private_repository": "b"}, {"secret_id": "b"}])
def test_a_step_that_succeeded_on_another_resource_mends_nothing(journal, other):
    """The title of a step such as `Take away what the runbook made` does not say of what."""
    journal.begin("apply", began_in="notebook")
    both: list[dict[str, str]] = [{}, other]
    for more in both:
        opened(journal, **({"repository": "a"} | more))
        outcome(journal, "A", "done" if more else "declined")
    assert record_of(journal.folder).exit_code == 1
    opened(journal, repository="a")
    outcome(journal, "A", "done")
    assert record_of(journal.folder).exit_code == 0


@pytest.mark.parametrize(
    ("asked", "modes", "code", "says"),
    [
        ("apply", ["plan"], 4, "A plan: 1 change would be made"),  # a notebook that says so itself
        ("plan", ["apply"], 0, "Done: 1 change was made"),  # a notebook that did not take what it was asked for
        ("plan", [None, "plan"], 4, "A plan"),
        ("apply", ["plan", "apply"], 0, "Held back: 1 change was made"),
        ("apply", ["apply", "plan"], 0, "Held back: 1 change was made"),
    ],
)
def test_a_run_is_a_plan_where_each_notebook_planned_whatever_was_asked_for(journal, asked, modes, code, says):
    journal.begin(asked)
    for number, mode in enumerate(modes):
        opened(journal, f"0{number}", **({"mode": mode} if mode else {}))
        ends, thing = {"plan": "planned", "apply": "created"}.get(mode, "done"), [{"resource": "x", "after": 1}]
        outcome(journal, "A", ends, notebook=f"0{number}", changes=thing if mode else [])
    record = record_of(journal.folder)
    assert record.exit_code_after(None) == code
    journal.add("run-ended", exit_code=record.exit_code_after(None))
    assert report.verdict(record_of(journal.folder)).startswith(says)


def test_a_run_that_began_in_a_notebook_proves_no_more_than_its_steps_so_far(journal):
    begin(journal, began_in="notebook")
    outcome(journal, "A", "done")
    assert "every step so far was proved" in report.verdict(record_of(journal.folder))
    write_record(journal.folder)
    journal.path.unlink()
    assert "so far" in report.verdict(read_record(journal.folder))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": "cgrunbook.record/3", "run": "x"}', "\udcff"])
def test_a_record_of_another_version_or_of_none_is_said_in_a_sentence(journal, text):
    (journal.folder / "record.json").write_text(text, errors="surrogateescape")
    with pytest.raises(UsageError, match=r"record\.json is no record that cgrunbook .* reads"):
        read_record(journal.folder)


def test_every_notebook_and_every_pass_counts(journal):
    journal.begin("apply", began_in="notebook")
    opened(journal)
    outcome(journal, "A", "failed", code=3)
    opened(journal, "03")
    outcome(journal, "B", "done", notebook="03")
    assert [book.outcome for book in record_of(journal.folder).notebooks] == ["failed", "done"]
    assert record_of(journal.folder).exit_code == 3
    opened(journal)
    outcome(journal, "C", "done")
    assert record_of(journal.folder).exit_code == 3, "the second time, it was not come to"
    opened(journal, project_id="another")
    outcome(journal, "A", "done")
    assert record_of(journal.folder).exit_code == 3, "that is another step"
    opened(journal)
    outcome(journal, "A", "done")
    assert record_of(journal.folder).exit_code == 0


def test_a_notebook_that_did_not_open_is_mended_by_the_next_time_and_by_no_other(journal):
    journal.begin("apply", began_in="notebook")
    opened(journal)
    error = {"type": "NotSignedIn", "message": "No.", "exit_code": 3}
    journal.add("notebook-ended", notebook="02", outcome="failed", error=error)
    opened(journal, "03")
    outcome(journal, "B", "done", notebook="03")
    assert record_of(journal.folder).exit_code == 3
    opened(journal)
    outcome(journal, "A", "done")
    assert record_of(journal.folder).exit_code == 0


def test_what_an_older_version_wrote_is_read_by_all_of_it(journal):
    """It called a notebook done by its last step, and did not begin a run that ended as it was opened."""
    begin(journal)
    outcome(journal, "A", "failed", code=3)
    outcome(journal, "B", "done")
    journal.add("notebook-ended", notebook="02", outcome="done", error=None)
    journal.add("run-ended", exit_code=0)
    assert ending(record_of(journal.folder)) == ("failed", 3)
    old = record_of(journal.folder).model_dump(mode="json", exclude={"error", "unread", "not_begun"})
    old["exit_code"] = 0
    old["notebooks"][0] |= {"outcome": "done", "error": None}
    (journal.folder / "record.json").write_text(json.dumps(old))
    assert ending(read_record(journal.folder)) == ("failed", 3)
    journal.path.unlink()
    opened(journal)
    error = {"type": "ParameterError", "message": "location is 'Mars'.", "exit_code": 2}
    journal.add("notebook-ended", notebook="02", outcome="failed", error=error)
    assert ending(record_of(journal.folder)) == ("failed", 2)


def test_a_record_of_format_1_says_what_it_said(journal):
    """A proof was `unchanged` there, and what nobody asked for that and `skipped`."""
    journal.begin("apply", began_in="notebook")
    opened(journal)
    outcome(journal, "Pull", "unchanged", skipped=False)
    outcome(journal, "Pull with docker", "unchanged", skipped=True)
    old = record_of(journal.folder).model_dump(mode="json") | {"format": "cgrunbook.record/1"}
    for one, skipped in zip(old["notebooks"][0]["steps"], (False, True), strict=True):
        one |= {"outcome": "unchanged", "skipped": skipped}
    (journal.folder / "record.json").write_text(json.dumps(old))
    for told in (record_of(journal.folder), read_record(journal.folder)):
        assert [one.outcome for one in told.steps] == ["unchanged", "skipped"]
        assert report.verdict(told) == "Done: nothing was changed, and every step that was asked for so far was proved."
        assert (told.unread, told.format) == (0, "cgrunbook.record/2")


# A journal that is not whole


def test_no_line_that_is_lost_lets_a_failed_run_read_as_done(journal):
    journal.begin("apply", began_in="notebook")
    opened(journal)
    for title, said in (("A", "done"), ("B", "failed"), ("C", "created")):
        outcome(journal, title, said)
    whole = journal.path.read_text().splitlines(keepends=True)
    others = ["[]\n", "\x00\x00\n", '{"level": "info"}\n', "[" * 9000 + "\n", '{"time": 1, "event": "reset"}\n']
    for place, line in enumerate(whole):
        for instead in (line[: len(line) // 2] + "\n", "", *others):
            journal.path.write_text("".join([*whole[:place], instead, *whole[place + 1 :]]))
            record = record_of(journal.folder)
            assert record.exit_code != 0, (place, instead)
            assert ("of the journal could not be read." in report.verdict(record)) or not instead


def test_a_journal_that_was_cut_anywhere_is_read_and_proves_nothing(journal):
    begin(journal)
    outcome(journal, "A", "created")
    journal.add("notebook-ended", notebook="02", outcome="done", error=None)
    journal.add("run-ended", exit_code=0)
    whole = journal.path.read_bytes().removesuffix(b"\n")
    for end in range(0, len(whole), 7):
        journal.path.write_bytes(whole[:end])
        assert "has not ended" in report.verdict(record_of(journal.folder))


def test_a_line_with_values_that_no_version_writes_is_counted_and_the_others_are_read(journal):
    begin(journal, began_in="notebook")
    outcome(journal, "A", "done")
    for event, data in (
        ("outcome", {"outcome": "well"}),
        ("waiting", {"seconds": "long"}),
        ("planned", {"changes": "many"}),
        ("run-ended", {"exit_code": "none"}),
        ("notebook-started", {"parameters": []}),
        ("notebook-ended", {"outcome": "well"}),
        ("notebook-ended", {"cell": "1"}),
    ):
        journal.add(event, notebook="02", step=2, **data)
    record = record_of(journal.folder)
    assert (record.unread, [step.title for step in record.steps]) == (7, ["A"])


def test_two_runs_that_begin_at_once_do_not_share_a_folder(journal):
    journal.begin("apply")
    with pytest.raises(UsageError, match=r"has a journal\.jsonl already"):
        Journal(journal.folder).begin("apply")


@pytest.mark.parametrize("value", [object(), b"\xff", {1, 2}, "\ud800", float("nan"), Path("x"), {("a", 1): None}])
def test_a_parameter_of_any_kind_can_be_written_down(journal, value):
    opened(journal, repository=value)
    assert "repository" in record_of(journal.folder).notebooks[0].parameters


def test_a_time_is_written_as_one(journal: Journal):
    journal.add("outcome", evidence={"expires": datetime(2026, 12, 27, 15, 26, tzinfo=UTC)})
    [line] = read_lines(journal.path)
    assert line.data["evidence"]["expires"] == "2026-12-27T15:26:00Z"
