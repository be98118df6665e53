"""The command line: what is typed, what is printed where, and the exit code."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import nbformat as nbformat_
import pytest
import typer

import cgrunbook
from cgrunbook import cli
from cgrunbook.cli.app import app as command_line
from cgrunbook.run import headless, notebooks
from cgrunbook.run.record import Record, read_record
from cgrunbook.sandbox import process

nbformat: Any = nbformat_

STEPS = """
import os, pathlib
from cgrunbook.run.journal import Journal
journal = Journal(pathlib.Path(os.environ["CGRUNBOOK_RUN_FOLDER"]))
add = lambda event, step=0, **data: journal.add(event, notebook="mine", step=step, **data)
add("notebook-started", parameters={"mode": mode, "description": description})
add("step-started", 1, title="Make the thing")
add("planned", 1, changes=[{"resource": "thing t", "field": "size", "before": None, "after": 3}])
add("waiting", 1, reason="the thing to settle", seconds=0.5, attempt=1)
add("outcome", 1, outcome="planned" if mode == "plan" else "created", brief="size 3", seconds=1.25)
"""
FAILING = (
    STEPS
    + """
from cgrunbook.errors import PermissionMissing
raise PermissionMissing("You may not.", "Ask for the role.")
"""
)


class Said(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CGRUNBOOK_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(headless, "_IMPORTED_AHEAD", ())  # what the guide's notebooks need, and none here
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str], forked: None) -> Callable[..., Said]:
    """Call the command line in this process."""

    def call_it(*words: str) -> Said:
        with pytest.raises(SystemExit) as ended:
            cli.main(list(words))
        out, err = capfd.readouterr()
        return Said(int(ended.value.code or 0), out, err)

    return call_it


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., str]:
    def make_one(source: str) -> str:
        declaring = nbformat.v4.new_code_cell(
            'target: str = "sandbox"\nmode: str = "apply"\ndescription: str = ""\ncleanup_keep: int = 0',
            metadata={"tags": ["parameters"]},
        )
        path = tmp_path / "mine.ipynb"
        nbformat.write(nbformat.v4.new_notebook(cells=[declaring, nbformat.v4.new_code_cell(source)]), path)
        return str(path)

    return make_one


# Help


def test_help_is_quick_because_it_imports_nothing_heavy():
    program = """
import sys
from cgrunbook import cli
from cgrunbook.cli.app import app as command_line
try:
    cli.main(["--help"])
except SystemExit as ended:
    assert ended.code == 0
heavy = ("papermill", "nbformat", "IPython", "jupyter_client", "google.auth", "google.cloud", "pydantic", "jinja2", "ipywidgets")
print("heavy:", [name for name in heavy if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "heavy: []" in done.stdout
    assert "Exit codes: 0 done" in done.stdout


def verbs(group: Any, *before: str) -> Iterator[tuple[str, ...]]:
    yield before
    for name, command in getattr(group, "commands", {}).items():
        yield from verbs(command, *before, name)


@pytest.mark.parametrize("verb", list(verbs(typer.main.get_command(command_line))), ids=" ".join)
def test_each_verb_has_help_that_reads_well(call: Any, verb: tuple[str, ...]):
    said = call(*verb, "--help")
    assert said.code == 0
    assert said.out.startswith(" ".join(["Usage: cgrunbook", *verb]))
    assert said.err == ""
    assert "[[" not in said.out, "click itself puts brackets around what may be left out"
    assert not [line for line in said.out.splitlines() if line.startswith("  ") and line.endswith("...")], (
        "a list of verbs cuts no sentence off"
    )


def test_the_version_is_the_package_s(call: Any):
    assert call("--version") == (0, f"cgrunbook {cgrunbook.__version__}\n", "")


# Running


def test_a_run_prints_a_table_and_where_its_folder_is(call: Any, make: Any):
    said = call("run", make(STEPS))
    assert said.code == 0
    row = next(line for line in said.out.splitlines() if "Make the thing" in line)
    assert row.split() == ["Make", "the", "thing", "created", "size", "3", "1.2"]
    [folder] = Path("runs").iterdir()
    assert f"Run folder: {folder}" in said.out
    assert (folder / "report.html").exists()


def test_what_goes_on_is_said_on_stderr_waits_too(call: Any, make: Any):
    said = call("run", make(STEPS))
    assert "1. Make the thing: waiting for the thing to settle" in said.err
    assert "created    1. Make the thing (1.2 s)" in said.err
    assert "waiting for" not in said.out


def test_json_is_all_that_stdout_gets_when_asked_for(call: Any, make: Any):
    said = call("run", make(STEPS), "--json", "--output", "here")
    record = Record.model_validate_json(said.out)
    assert said.code == 0
    assert record == read_record(Path("here"))
    assert record.notebooks[0].steps[0].outcome == "created"


def test_a_failed_run_says_why_and_what_to_do_on_stderr(call: Any, make: Any):
    said = call("run", make(FAILING))
    assert said.code == 3
    assert "Error: You may not.\nWhat to do: Ask for the role." in said.err
    assert "Traceback" not in said.out + said.err
    assert "Run folder:" in said.out


def test_a_plan_prints_each_change_and_ends_with_4(call: Any, make: Any):
    said = call("plan", make(STEPS))
    assert said.code == 4
    assert said.out.startswith("mine\n  Make the thing\n    Thing t would be changed:\n      size: added 3\n")
    assert "1 change would be made. Nothing was changed." in said.out


def test_the_same_plan_as_a_parameter_ends_the_same(call: Any, make: Any):
    assert call("run", make(STEPS), "-p", "mode", "plan").code == 4


@pytest.mark.parametrize("value", ["1.20", "000123", "1e5", "12_000", "nan", "-1", "--json", "a=b", "ü ' \" $x", ""])
def test_a_value_arrives_as_it_was_typed(call: Any, make: Any, value: str):
    said = call("run", make(STEPS), "-p", "description", value, "--output", "here")
    assert said.code == 0, said.err
    assert read_record(Path("here")).notebooks[0].parameters["description"] == value


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-p", "descripton", "x"], "Did you mean 'description'?"),
        (["-p", "cleanup_keep", "many"], "must be a whole number"),
        (["-p", "description=x", "y"], "takes two words"),
        (["-p", "description"], "takes two words"),
        (["-p"], "takes two words"),
        (["-p", "description", "a", "-p", "description", "b"], "given twice"),
        (["--target", "mars"], "must be 'sandbox' or 'google-cloud'"),
        (["--target", "sandbox", "-p", "target", "sandbox"], "given twice"),
        (["-p", "repository", "x"], "repository is no parameter of mine"),
        (["--outptu", "x"], "No such option"),
        (["--output", "/dev/null/x"], "cannot be made"),
        (["nothing_like_it"], "There is no notebook"),
    ],
)
def test_what_is_asked_for_wrongly_ends_with_2_before_anything_is_made(
    call: Any, make: Any, words: list[str], said: str
):
    answer = call("run", make(STEPS), *words)
    assert answer.code == 2
    assert said in answer.err
    assert answer.out == ""
    assert list(Path.cwd().iterdir()) == []


def test_a_plan_cannot_be_told_to_apply(call: Any, make: Any):
    said = call("plan", make(STEPS), "-p", "mode", "apply")
    assert said.code == 2
    assert "A plan changes nothing" in said.err


def test_a_verb_that_does_not_exist_is_told_with_the_nearest_one(call: Any):
    said = call("rn")
    assert said.code == 2
    assert "run" in said.err


def test_what_should_not_happen_is_one_line_and_a_kept_traceback(
    call: Any, make: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    token = "ya29." + os.urandom(20).hex()

    def fails(*_: Any, **__: Any) -> None:
        raise LookupError(f"a defect with {token}")

    monkeypatch.setattr(headless, "run", fails)
    said = call("run", make(STEPS))
    assert said.code == 1
    assert "Error: Something that should not happen: LookupError: a defect with [redacted]" in said.err
    assert "Traceback" not in said.err
    [kept] = (tmp_path / "home" / "errors").iterdir()
    assert str(kept) in said.err
    assert "Traceback" in kept.read_text()
    assert token not in kept.read_text()


def test_ctrl_c_outside_a_run_ends_with_130(call: Any, make: Any, monkeypatch: pytest.MonkeyPatch):
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(headless, "run", interrupted)
    said = call("run", make(STEPS))
    assert (said.code, said.err) == (130, "Error: Interrupted.\n")


# Notebooks


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "shipped"
    (folder / "training").mkdir(parents=True)
    for name in ("01_a.ipynb", "02_b.ipynb", "training/c.ipynb"):
        (folder / name).write_text(json.dumps({"metadata": {"of": name}}))
    monkeypatch.setattr(notebooks, "shipped_in", lambda: folder)
    return folder


@pytest.mark.usefixtures("shipped")
def test_the_notebooks_are_copied_with_their_folders(call: Any):
    said = call("notebooks", "copy", "mine/deep")
    assert said.code == 0
    assert json.loads(Path("mine/deep/training/c.ipynb").read_text()) == {"metadata": {"of": "training/c.ipynb"}}
    assert said.out.split() == ["mine/deep/01_a.ipynb", "mine/deep/02_b.ipynb", "mine/deep/training/c.ipynb"]


@pytest.mark.usefixtures("shipped")
def test_copied_notebooks_come_with_the_command_that_makes_this_kernel_known_elsewhere(
    call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    line = call("notebooks", "copy", "mine").err.splitlines()[-1]
    assert shlex.split(line)[0] == sys.executable
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    subprocess.run(line, shell=True, check=True, capture_output=True)
    [kernel] = (tmp_path / "data").rglob("kernel.json")
    assert kernel.parent.name == "cgrunbook"
    assert json.loads(kernel.read_text())["argv"][0] == sys.executable


@pytest.mark.usefixtures("shipped")
def test_a_notebook_that_is_there_already_is_left_and_named_and_the_others_are_copied(call: Any):
    Path("mine").mkdir()
    Path("mine/01_a.ipynb").write_text("my own work")
    said = call("notebooks", "copy", "mine")
    assert said.code == 1
    assert "There already, and left as they are: mine/01_a.ipynb" in said.err
    assert Path("mine/01_a.ipynb").read_text() == "my own work"
    assert Path("mine/02_b.ipynb").exists()


@pytest.mark.usefixtures("shipped")
def test_a_destination_that_cannot_be_written_is_said_in_a_sentence(call: Any):
    Path("file").write_text("")
    said = call("notebooks", "copy", "file")
    assert said.code == 1
    assert "cannot be written" in said.err


# The sandbox


def test_the_sandbox_is_started_described_stopped_and_reset(call: Any, tmp_path: Path):
    try:
        absent = call("sandbox", "status")
        assert (absent.code, "does not run" in absent.out) == (3, True)
        assert json.loads(call("sandbox", "status", "--json").out) == {"running": False}
        started = call("sandbox", "start")
        assert started.code == 0
        assert "cgr.dev" in started.out
        assert "cgrunbook sandbox env" in started.out
        status = call("sandbox", "status", "--json")
        told = json.loads(status.out)
        assert (status.code, told["running"], told["project_id"]) == (0, True, "cgrunbook-sandbox")
        assert f"process {told['pid']}" in call("sandbox", "status").out
        assert call("sandbox", "stop") == (0, "The sandbox has ended; its state stays.\n", "")
        assert call("sandbox", "stop") == (0, "No sandbox was running.\n", "")
        assert (tmp_path / "home" / "sandbox").exists()
    finally:
        assert call("sandbox", "reset").code == 0
    assert not (tmp_path / "home" / "sandbox").exists()


def test_env_prints_lines_that_a_shell_reads_back_as_they_are(
    call: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    awkward = 'it\'s $HOME "and" `more`'
    monkeypatch.setattr(process, "start", lambda: None)
    monkeypatch.setattr(process, "environment", lambda _: {"AWKWARD": awkward, "PATH": "/a:/b c"})
    said = call("sandbox", "env")
    assert said.code == 0
    assert all(line.startswith("export ") for line in said.out.splitlines())
    assert shlex.split(said.out) == ["export", f"AWKWARD={awkward}", "export", "PATH=/a:/b c"]


def test_a_sandbox_that_does_not_start_is_said_in_a_sentence(call: Any, monkeypatch: pytest.MonkeyPatch):
    def fails(**_: Any) -> None:
        raise process.SandboxFailure("The sandbox did not come up. Look at its log.")

    monkeypatch.setattr(process, "start", fails)
    assert call("sandbox", "start") == (1, "", "Error: The sandbox did not come up. Look at its log.\n")
