"""The runs that have been: found whatever lies beside them, told as they stand, and compared by what matters."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cgrunbook.errors import Declined, UsageError
from cgrunbook.run import runs as module
from cgrunbook.run.journal import Journal
from cgrunbook.run.record import ErrorRecord, Record, record_of, write_record
from cgrunbook.run.runs import Difference, Run, differences, find_run, run_of, runs_beside, runs_in
from cgrunbook.ui.run_list import run_list

GOOGLE = {"target": "google-cloud", "project_id": "prod"}


def made(
    folder: Path,
    name: str,
    outcome: str | None = "created",
    *,
    ended: int | None = 0,
    mode: str = "apply",
    target: Any = None,
    parameters: Any = None,
    error: Exception | None = None,
    **more: Any,
) -> Path:
    """A run of one step, which changes one thing; `ended` as None leaves it without an end."""
    (folder / name).mkdir(parents=True)
    journal = Journal(folder / name)
    add = partial(journal.add, notebook="02_developer_images", sync=False)
    journal.begin(mode, target=target or {"target": "sandbox"}, began_in=more.pop("began_in", "command line"))
    add("notebook-started", parameters=parameters or {})
    add("step-started", step=1, kind="Make", title="Make the thing")
    add("planned", step=1, changes=[{"resource": "thing", "field": "size", "after": more.pop("size", 3)}])
    said: dict[str, Any] = {"error": ErrorRecord.of(error).model_dump()} if error else {}
    if outcome:
        add("outcome", step=1, outcome=outcome, **said, **more)
    if ended is not None:
        add("run-ended", exit_code=ended, **said)
    write_record(folder / name)
    return folder / name


def verdict(folder: Path) -> str:
    return run_of(folder).verdict


def test_each_end_has_its_word(tmp_path: Path):
    for number, (word, more) in enumerate(
        {
            "done": {},
            "plan": {"outcome": "planned", "mode": "plan", "ended": 4},
            "held back": {"outcome": "planned", "held_back": "Set confirm."},
            "failed": {"outcome": "failed", "ended": 1},
            "declined": {"outcome": "declined", "ended": 1, "error": Declined("no")},
            "prerequisite missing": {"outcome": "failed", "ended": 3},
            "bad parameter": {"outcome": "failed", "ended": 2},
            "interrupted": {"outcome": "failed", "ended": 130},
            "kernel died": {"outcome": None, "ended": 138},
            "did not end": {"outcome": None, "ended": None},
        }.items()
    ):
        assert verdict(made(tmp_path, str(number), **more)) == word  # type: ignore[arg-type]


def test_the_sandbox_and_google_cloud_are_never_said_alike(tmp_path: Path):
    said = [run_of(made(tmp_path, target["target"], target=target)).where for target in ({"target": "sandbox"}, GOOGLE)]
    assert said == ["◇ SANDBOX", "◆ GOOGLE CLOUD: project prod"]
    assert run_of(made(tmp_path, "odd", target={"target": "mars"})).where == "not known"
    told = run_of(
        made(tmp_path, "early", target={"none": "yet"}, parameters=GOOGLE)
    )  # its parameters were wrong, perhaps
    assert told.where == "◆ GOOGLE CLOUD: project prod"


def test_a_run_that_goes_on_is_told_from_one_whose_process_is_gone(tmp_path: Path):
    program = f"""
import pathlib, sys
from cgrunbook.run.journal import Journal
journal = Journal(pathlib.Path({str(tmp_path)!r}))
journal.begin("apply", began_in="command line")
journal.add("notebook-started", notebook="02")
print("begun", flush=True)
sys.stdin.read()
"""
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"begun\n"
        assert (verdict(tmp_path), run_of(tmp_path).at_work) == ("at work", True)
        process.kill()
    assert (verdict(tmp_path), run_of(tmp_path).at_work) == ("did not end", False)


def test_a_notebook_that_was_opened_and_did_nothing_says_so(tmp_path: Path):
    journal = Journal(tmp_path)
    journal.begin("apply", began_in="notebook")
    journal.add("notebook-started", notebook="02")
    assert verdict(tmp_path) == "open"
    del journal
    assert verdict(tmp_path) == "nothing begun"


@pytest.mark.parametrize("stale", [True, False])
def test_a_record_is_read_where_it_is_as_new_as_the_journal(
    tmp_path: Path, stale: bool, monkeypatch: pytest.MonkeyPatch
):
    folder = made(tmp_path, "run")
    if stale:
        before = (folder / "journal.jsonl").stat().st_mtime - 1
        os.utime(folder / "record.json", (before, before))
    read: list[Path] = []
    real = record_of

    def reads(folder: Path) -> Record:
        read.append(folder)
        return real(folder)

    monkeypatch.setattr(module, "record_of", reads)
    assert run_of(folder).verdict == "done"
    assert read == ([folder] if stale else [])


def test_of_many_only_those_are_read_that_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for number in range(12):
        made(tmp_path, f"run-{11 - number:02}")  # so the newest is not the last by name
    read: list[Path] = []

    def reads(folder: Path) -> Run:
        read.append(folder)
        return run_of(folder)

    monkeypatch.setattr(module, "run_of", reads)
    found = runs_in(tmp_path, 3)
    assert [run.folder.name for run in found.runs] == ["run-00", "run-01", "run-02"]
    assert (len(read), found.older) == (3, 9)
    assert find_run("", tmp_path).name == "run-00"


def test_what_is_no_run_or_cannot_be_read_is_named_and_the_others_are_listed(tmp_path: Path):
    runs = tmp_path / "runs"
    made(runs, "good")
    whole = json.loads((runs / "good" / "record.json").read_text())
    for name, file, text in (
        ("torn record", "record.json", '{"for'),
        ("newer", "record.json", json.dumps(whole | {"format": "cgrunbook.record/9"})),
        ("torn journal", "journal.jsonl", '{"time":"2026-11-27T17:25:29Z","event":"run-sta'),
        ("empty", "journal.jsonl", ""),
        ("rubbish", "journal.jsonl", "\x00\x01[]\n{}\n"),
        ("foreign", "notes.txt", "mine"),
    ):
        (runs / name).mkdir()
        (runs / name / file).write_text(text)
    (runs / ".ipynb_checkpoints").mkdir()
    (runs / "fifo").mkdir()
    os.mkfifo(runs / "fifo" / "journal.jsonl")
    (runs / "a file").write_text("")
    found = runs_in(tmp_path)
    assert [run.folder.name for run in found.runs] == ["good"]
    assert {folder.name for folder in found.others} == {
        "torn record",
        "newer",
        "torn journal",
        "empty",
        "rubbish",
        "foreign",
        "fifo",
    }
    assert all(why.endswith(".") for why in found.others.values())


def test_a_record_without_its_journal_is_read_and_listed_by_its_own_time(tmp_path: Path):
    for name, began in (("old", datetime(2024, 1, 1, tzinfo=UTC)), ("new", datetime(2050, 1, 1, tzinfo=UTC))):
        (tmp_path / name).mkdir()
        record = Record(run=name, started=began, exit_code=0)
        (tmp_path / name / "record.json").write_text(record.model_dump_json())
    made(tmp_path, "now")
    assert [run.folder.name for run in runs_in(tmp_path).runs] == ["new", "now", "old"]


def test_a_run_is_found_by_its_folder_its_id_and_its_unique_beginning(tmp_path: Path):
    for name in ("2026-a", "2026-ab", "2027"):
        made(tmp_path, name)
    for given, name in (("2027", "2027"), ("20270", ""), ("2026-ab", "2026-ab"), ("2026-a", "2026-a"), ("2026", "")):
        if name:
            assert find_run(given, tmp_path).name == name
        else:
            with pytest.raises(UsageError, match=given):
                find_run(given, tmp_path)
    assert find_run(str(tmp_path / "2027"), Path("elsewhere")) == tmp_path / "2027"
    for number in range(8):
        (tmp_path / f"x{number}").mkdir()
        (tmp_path / f"x{number}" / "journal.jsonl").touch()
    with pytest.raises(UsageError) as many:
        find_run("x", tmp_path)
    assert "and 3 more" in many.value.remedy


# What differs


def between(tmp_path: Path, first: dict[str, Any], second: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    records = [run_of(made(tmp_path, name, **more)).record for name, more in (("a", first), ("b", second))]
    return [(one.what, one.first, one.second) for one in differences(*records)]


@pytest.mark.parametrize(
    ("first", "second", "found"),
    [
        ({}, {"seconds": 9.0, "began_in": "command line"}, []),
        ({}, {"outcome": "unchanged"}, [("outcome", "created", "unchanged")]),
        ({}, {"size": 4}, [("change of thing size", [None, 3], [None, 4])]),
        (
            {"parameters": {"location": "a"}},
            {"parameters": {"location": "b"}},
            [("parameter location", "a", "b")],
        ),
        (
            {"parameters": {"target": "sandbox"}},
            {"parameters": {"target": "google-cloud"}, "target": GOOGLE},
            [("target", "sandbox", "google-cloud"), ("project_id", None, "prod")],
        ),
        (
            {"evidence": {"digest": "sha256:a", "first pull": "1 s"}, "measured": ["first pull"]},
            {"evidence": {"digest": "sha256:b", "first pull": "2 s"}, "measured": ["first pull"]},
            [("digest", "sha256:a", "sha256:b")],
        ),
        (
            {"findings": [{"mark": "ok", "check": "docker", "seen": "28"}]},
            {"findings": [{"mark": "warn", "check": "docker", "seen": "none"}]},
            [("check docker", "ok: 28", "warn: none")],
        ),
        ({"evidence": {"digest": "x"}}, {"outcome": "skipped"}, [("outcome", "created", "skipped")]),
    ],
)
def test_two_runs_differ_in_what_matters_and_not_in_when_they_were(
    tmp_path: Path, first: Any, second: Any, found: list[tuple[str, Any, Any]]
):
    assert between(tmp_path, first, second) == found


def test_steps_and_notebooks_that_only_one_run_has_are_said_once(tmp_path: Path):
    one, other = (made(tmp_path, name) for name in "ab")
    journal = Journal(other)
    journal.add("step-started", notebook="02_developer_images", step=2, title="Pull")
    journal.add("outcome", notebook="02_developer_images", step=2, outcome="verified")
    journal.add("notebook-started", notebook="03")
    for number in (1, 2):
        journal.add("step-started", notebook="03", step=number, title=f"Step {number}")
    found = differences(*(record_of(folder) for folder in (one, other)))
    assert Difference("02_developer_images", "Pull", "outcome", None, "verified") in found
    assert Difference("03", "", "steps", None, 2) in found
    assert not [one for one in found if one.notebook == "03" and one.step]


# In a notebook


def test_a_notebook_shows_the_runs_beside_its_own_with_their_reports(tmp_path: Path):
    own = made(tmp_path / "runs", "own", began_in="notebook")
    assert runs_beside(own).runs == ()
    assert run_list((), tmp_path)["text/plain"].startswith("No other run is kept here yet.")
    before = made(tmp_path / "runs", "a run", target=GOOGLE)
    (before / "report.html").touch()
    for number in range(6):
        made(tmp_path / "runs", f"x{number}")
    beside = runs_beside(own)
    assert len(beside.runs) == 5
    shown = run_list((run_of(before),), tmp_path)
    assert 'href="runs/a%20run/report.html"' in shown["text/html"]
    assert 'href="../a%20run/report.html"' in run_list((run_of(before),), own)["text/html"]
    for form in shown.values():
        for said in ("a run", "◆ GOOGLE CLOUD: project prod", "02", "done", "1"):
            assert said in form


def test_what_a_record_says_is_text_in_a_notebook(tmp_path: Path):
    run = run_of(made(tmp_path, "run", target={"target": "google-cloud", "project_id": "<img src=x>\x1b[2K"}))
    for form in run_list((run,), tmp_path).values():
        assert "\x1b" not in form
    assert "<img" not in run_list((run,), tmp_path)["text/html"]
