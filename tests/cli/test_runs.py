"""`cgrunbook runs`: what is printed of the runs, in which width, and with which exit code."""

from __future__ import annotations

import json
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from cgrunbook import cli
from cgrunbook.run.record import Record
from tests.run.test_runs import GOOGLE, made

ID = "2026-11-27T17-25-29Z-5078"


class Said(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Said]:
    monkeypatch.chdir(tmp_path)

    def call_it(*words: str) -> Said:
        with pytest.raises(SystemExit) as ended:
            cli.main(["runs", *words])
        return Said(int(ended.value.code or 0), *capfd.readouterr())

    return call_it


def test_without_runs_it_says_where_it_looked_and_what_makes_one(call: Any, tmp_path: Path):
    said = call()
    assert (said.code, said.err) == (0, "")
    assert f"There are no runs in {tmp_path / 'runs'}" in said.out
    assert "cgrunbook run" in said.out
    assert json.loads(call("--json").out) == {"looked_in": str(tmp_path / "runs"), "runs": [], "others": []}


def test_a_line_a_run_the_newest_first(call: Any):
    made(Path("runs"), "monday", "failed", ended=1, target=GOOGLE)
    made(Path("runs"), ID)
    Path("runs/foreign").mkdir()
    said = call()
    assert said.code == 0
    first, second = (line.split() for line in said.out.splitlines()[2:] if line.startswith((ID, "monday")))
    assert first == [ID, first[1], "02", "◇", "SANDBOX", "done", "1"]
    assert second == ["monday", first[1], "02", "◆", "GOOGLE", "CLOUD:", "project", "prod", "failed", "0"]
    assert "UTC" in said.out, "when, below a name that does not say it"
    assert "runs/foreign: it has no journal.jsonl and no record.json." in said.err


@pytest.mark.parametrize("columns", ["80", "110", "200"])
def test_an_id_is_whole_on_each_terminal(call: Any, columns: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("FORCE_COLOR", "1")  # as a terminal, whose width is taken
    made(Path("runs"), ID, target=GOOGLE | {"project_id": "a-project-with-thirty-letters-1"})
    out = call().out
    assert ID in out
    assert "02" in out


def test_of_many_the_last_are_listed_and_all_on_demand(call: Any):
    for number in range(23):
        made(Path("runs"), f"run-{number}")
    said = call()
    assert "3 older: cgrunbook runs --all" in said.out
    assert "run-2 " not in said.out
    assert "run-2 " in call("--all").out
    assert len(json.loads(call("--json").out)["runs"]) == 23


def test_other_folders_are_looked_in_by_name(call: Any):
    made(Path("lab/runs"), ID)
    for folder in ("lab", "lab/runs", f"lab/runs/{ID}"):
        assert ID in call("--in", folder).out
    assert ID in call("show", "2026", "--in", "lab").out
    assert call("--in", "nowhere").code == 2
    assert call("--json", "show", ID).code == 2


def test_a_run_is_shown_step_by_step_and_as_its_record(call: Any):
    made(Path("runs"), ID, brief="size 3")
    said = call("show", ID[:13])
    assert said.code == 0
    assert f"{ID}: done" in said.out
    assert "◇ SANDBOX" in said.out
    assert "Make the thing" in said.out
    assert "size 3" in said.out
    assert "Done: 1 change was made, and every step was proved." in said.out
    assert f"cgrunbook report runs/{ID}" in said.out
    assert Record.model_validate_json(call("show", ID, "--json").out).run == ID
    assert call("show", "nothing").code == 2


def test_a_run_that_goes_on_is_shown_as_far_as_it_is(call: Any, monkeypatch: pytest.MonkeyPatch):
    made(Path("runs"), ID, None, ended=None)
    monkeypatch.setattr("cgrunbook.run.runs.begun_and_there", lambda _: True)
    said = call("show").out
    assert f"{ID}: at work" in said
    assert "It goes on." in said
    assert "did not end" not in said


@pytest.mark.parametrize(("opens", "code"), [(True, 0), (False, 1)])
def test_a_report_is_opened_only_when_that_is_asked_for(
    call: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, opens: bool, code: int
):
    opened: list[str] = []

    def open_it(address: str) -> bool:
        opened.append(address)
        return opens

    monkeypatch.setattr(webbrowser, "open", open_it)
    made(Path("runs"), ID)
    call("show")
    assert opened == []
    said = call("show", "--open")
    assert opened == [(tmp_path / "runs" / ID / "report.html").as_uri()]
    assert said.code == code
    assert (str(tmp_path / "runs" / ID / "report.html") in said.err) is not opens


def test_what_two_runs_differ_in_is_said_below_its_notebook_and_step(call: Any):
    made(Path("runs"), "a", evidence={"digest": "sha256:1", "layers": ["x" * 500]}, operator_note="")
    made(Path("runs"), "b", "unchanged", evidence={"digest": "sha256:2", "layers": ["y" * 500]}, target=GOOGLE)
    said = call("diff", "a", "b")
    assert said.code == 0
    whole, below = said.out.split("02_developer_images\n")
    assert "target: sandbox -> google-cloud" in whole
    assert below.startswith("  Make the thing\n    outcome: created -> unchanged\n    digest: sha256:1 -> sha256:2\n")
    assert max(map(len, said.out.splitlines())) < 500
    assert "They differ in nothing" in call("diff", "a", "a").out
    told = json.loads(call("diff", "a", "b", "--json").out)
    assert {"notebook", "step", "what", "first", "second"} == set(told["differences"][0])
    assert [run["run"] for run in told["runs"]] == ["a", "b"]
    assert call("diff", "a", "c").code == 2


def test_what_a_record_says_steers_no_terminal(call: Any):
    made(Path("runs"), "a")
    record = json.loads(Path("runs/a/record.json").read_text())
    Path("runs/a/journal.jsonl").unlink()
    for name, operator in (("a", "\x1b[2Ksomebody\u202e"), ("b", "else")):
        Path("runs", name).mkdir(exist_ok=True)
        Path("runs", name, "record.json").write_text(json.dumps(record | {"operator": operator}))
    for words in ((), ("show", "a"), ("diff", "a", "b"), ("--json",), ("show", "a", "--json")):
        out = call(*words).out
        assert "somebody" in out
        assert "\x1b" not in out
        assert "\u202e" not in out
