"""Runs of small notebooks that the tests make themselves, through papermill and real kernels."""

from __future__ import annotations

import base64
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import nbformat as nbformat_
import pytest

from cgrunbook.errors import ParameterError, StepFailed, UsageError
from cgrunbook.run import headless, notebooks
from cgrunbook.run.folder import RUN_FOLDER_VARIABLE
from cgrunbook.run.headless import RunResult
from cgrunbook.run.journal import Line, read_lines
from cgrunbook.run.kernels import Kernels, Stop, private_folder
from cgrunbook.run.record import read_record, record_of
from tests.waiting import PATIENCE, wait_for

nbformat: Any = nbformat_

# Steps write to the journal; these cells do it in their place.
JOURNAL = """
import os, pathlib
from cgrunbook.run.journal import Journal
from cgrunbook import errors
journal = Journal(pathlib.Path(os.environ["CGRUNBOOK_RUN_FOLDER"]))
def add(event, step=0, **data):
    journal.add(event, notebook=NAME, step=step, **data)
"""


@pytest.fixture(autouse=True)
def nothing_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """The guide's notebooks import these anyway; for the cells here they would be half of a kernel's time."""
    monkeypatch.setattr(headless, "_IMPORTED_AHEAD", ())


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., str]:
    """Write a notebook of these cells and answer its path."""

    def make_one(name: str, *cells: str, parameters: str = "", **metadata: Any) -> str:
        notebook = nbformat.v4.new_notebook(metadata=metadata)
        declaring = nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})
        first = f"NAME = {name!r}\n{JOURNAL}"
        notebook.cells = [
            nbformat.v4.new_markdown_cell(f"# {name}"),
            declaring,
            *(nbformat.v4.new_code_cell(cell) for cell in (first, *cells)),
        ]
        path = tmp_path / "sources" / f"{name}.ipynb"
        path.parent.mkdir(exist_ok=True)
        nbformat.write(notebook, path)
        return str(path)

    return make_one


@pytest.fixture
def run_from_nothing(tmp_path: Path) -> Callable[..., RunResult]:
    """Run notebooks into `tmp_path/out`."""

    def run_them(*notebooks: str, values: dict[str, Any] | None = None, **options: Any) -> RunResult:
        return headless.run(notebooks, values or {}, output=tmp_path / "out", **options)

    return run_them


@pytest.fixture
def run(run_from_nothing: Callable[..., RunResult], forked: None) -> Callable[..., RunResult]:
    """The same, with kernels that are forked."""
    return run_from_nothing


def executed(result: RunResult, name: str) -> Any:
    """The executed notebook, valid by nbformat's own rules."""
    notebook = nbformat.read(result.folder / f"{name}.ipynb", as_version=4)
    nbformat.validate(notebook)
    return notebook


def text_of(notebook: Any) -> str:
    """All that its outputs say as text."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "".join(output.get("text", "") or output.get("data", {}).get("text/plain", "") for output in outputs)


def statuses(notebook: Any) -> list[str]:
    return [cell.metadata.papermill.status for cell in notebook.cells if cell.cell_type == "code"]


def banner(notebook: Any) -> str:
    return str(notebook.cells[0].source)


def kernels_of(folder: Path) -> list[int]:
    """The processes that were started for this run folder."""
    mark = f"{RUN_FOLDER_VARIABLE}={folder}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if (
                    mark in (entry / "environ").read_bytes().split(b"\0")
                    and b"Z (" not in (entry / "status").read_bytes()
                ):
                    found.append(int(entry.name))
            except OSError:
                continue  # it has just ended, or is another user's
    return found


# What a run that went well leaves behind


def test_a_run_leaves_executed_notebooks_journal_record_and_report(make: Any, run: Any) -> None:
    result = run(make("one", "print('hello')"), make("two", "1 + 1"))
    assert (result.exit_code, result.error, result.left_out) == (0, None, ())
    assert {path.name for path in result.folder.iterdir()} == {
        "one.ipynb",
        "two.ipynb",
        "journal.jsonl",
        "record.json",
        "report.html",
    }
    assert "hello" in text_of(executed(result, "one"))
    assert set(statuses(executed(result, "two"))) == {"completed"}
    record = read_record(result.folder)
    assert [(notebook.name, notebook.outcome) for notebook in record.notebooks] == [("one", "done"), ("two", "done")]
    assert record.exit_code == 0
    assert record == result.record


def test_whoever_watches_is_told_each_line_in_order(make: Any, run: Any) -> None:
    seen: list[Line] = []
    result = run(
        make("one", 'add("step-started", 1, title="A step")\nadd("outcome", 1, outcome="created")'),
        on_event=seen.append,
    )
    assert seen == list(read_lines(result.folder / "journal.jsonl"))
    assert [line.event for line in seen][-1] == "run-ended"


def test_an_error_of_the_watcher_is_raised_after_the_run_was_written(make: Any, run: Any, tmp_path: Path) -> None:
    def watch(_: Line) -> None:
        raise ZeroDivisionError("the watcher's own")

    with pytest.raises(ZeroDivisionError, match="watcher's own"):
        run(make("one"), on_event=watch)
    assert (tmp_path / "out" / "record.json").exists()


def test_a_folder_with_braces_and_blanks_in_its_name_takes_a_run(make: Any, tmp_path: Path) -> None:
    result = headless.run([make("one")], {}, output=tmp_path / "a {run} of mine")
    assert result.exit_code == 0
    assert executed(result, "one").cells


def test_without_output_each_run_gets_a_folder_of_its_own(make: Any, tmp_path: Path) -> None:
    path = make("one")
    first, second = (headless.run([path], {}, runs=tmp_path / "runs") for _ in range(2))
    assert {first.folder, second.folder} == set((tmp_path / "runs").iterdir())


# Parameters


def test_each_notebook_gets_only_the_parameters_that_it_declares(make: Any, run: Any) -> None:
    one = make("one", "print(location)", parameters='location: str = "here"')
    two = make("two", "print(repository, 'location' in globals())", parameters='repository: str = "r"')
    result = run(one, two, values={"location": "europe-west1", "repository": "mirror"})
    assert result.exit_code == 0
    assert "europe-west1" in text_of(executed(result, "one"))
    assert "mirror False" in text_of(executed(result, "two"))


def test_a_notebook_that_was_given_parameters_before_keeps_those_that_are_not_given_again(make: Any, run: Any) -> None:
    """As papermill --prepare-only leaves one, and each run; papermill itself forgets them."""
    path = make("one", "print(location, mode)", parameters='location: str = "here"\nmode: str = "apply"')
    notebook = nbformat.read(path, as_version=4)
    before = nbformat.v4.new_code_cell('# Parameters\nmode = "plan"\n', metadata={"tags": ["injected-parameters"]})
    notebook.cells.insert(2, before)
    nbformat.write(notebook, path)
    assert "europe-west1 plan" in text_of(executed(run(path, values={"location": "europe-west1"}), "one"))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"locaton": "us"}, "Did you mean 'location'"),
        ({"location": "Not A Location"}, "must be a location"),
        ({"location": 12}, "must be str, not int"),
        ({"repository": "mirror"}, "repository is no parameter of one"),
    ],
)
def test_a_bad_parameter_ends_before_anything_is_written(
    make: Any, run: Any, tmp_path: Path, values: dict[str, Any], said: str
) -> None:
    with pytest.raises(ParameterError, match=said) as caught:
        run(make("one", parameters='location: str = "us"'), values=values)
    assert caught.value.exit_code == 2
    assert not (tmp_path / "out").exists()


def test_what_only_another_notebook_of_the_guide_takes_is_said_not_used_and_not_refused(
    make: Any, run: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """So that the same words may be given to the guide's notebooks one by one."""
    one = make("01_one", "print('ran')", parameters='location: str = "us"')
    monkeypatch.setattr(headless, "of_the_guide", lambda name: name != "mine")
    said: list[str] = []
    values = {"location": "europe", "organization": "example.com", "confirm": "x"}
    result = headless.run([one], values, output=tmp_path / "out", on_not_used=said.append)
    assert result.exit_code == 0
    assert said == [
        "Not used: organization, confirm are no parameters of 01_one, only of other notebooks of the guide."
    ]
    assert "ran" in text_of(executed(result, "01_one"))
    with pytest.raises(ParameterError, match="must be the organisation's name"):
        headless.run([one], {"organization": "No Such"}, output=tmp_path / "bad")
    with pytest.raises(ParameterError, match=r"confirm is no parameter of 01_one, mine"):
        headless.run([one, make("mine")], {"confirm": "x"}, output=tmp_path / "bad")


def test_text_that_looks_like_a_number_arrives_as_it_was_written(make: Any, run: Any) -> None:
    path = make("one", "print(repr(description))", parameters='description: str = ""')
    assert "'1.20'" in text_of(executed(run(path, values={"description": "1.20"}), "one"))


# Which notebooks


def test_a_notebook_is_found_by_its_path_and_named_after_its_file(make: Any) -> None:
    assert [source.name for source in notebooks.find([make("mine", parameters="x = 1\ny: int = 2")])] == ["mine"]
    assert notebooks.find([make("mine", parameters="x = 1\ny: int = 2")])[0].declares == ("x", "y")


@pytest.fixture
def shipped(make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("00_start_here", "01_first", "02_second", "03_third", "04_fourth", "06_last"):
        make(name)
    monkeypatch.setattr(notebooks, "shipped_in", lambda: tmp_path / "sources")
    return tmp_path / "sources"


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ([], ["01_first", "02_second", "03_third", "04_fourth"]),
        (["06", "01_first"], ["06_last", "01_first"]),
        (["02_second.ipynb"], ["02_second"]),
    ],
)
@pytest.mark.usefixtures("shipped")
def test_the_notebooks_that_are_shipped_are_found_by_how_they_begin(asked: list[str], found: list[str]) -> None:
    assert [source.name for source in notebooks.find(asked)] == found


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["0"], "could be several notebooks: 00_start_here, 01_first"),
        (["9"], "There is no notebook '9'"),
        (["01", "01_first"], "Asked for twice: 01_first"),
        (["./nowhere/x.ipynb"], "cannot be read"),
    ],
)
@pytest.mark.usefixtures("shipped")
def test_what_cannot_be_found_is_said_with_what_there_is(asked: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        notebooks.find(asked)


@pytest.mark.parametrize("content", ["no JSON", "[]", '{"cells": [{"metadata": null}]}', '{"worksheets": []}'])
def test_a_file_that_is_no_notebook_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.ipynb").write_text(content)
    with pytest.raises(UsageError, match="is no notebook"):
        notebooks.find([str(tmp_path / "x.ipynb")])


def test_a_folder_that_holds_a_run_already_is_left_alone(make: Any, run: Any) -> None:
    path = make("one")
    run(path)
    with pytest.raises(UsageError, match="already"):
        run(path)


def test_the_sources_of_the_notebooks_are_never_overwritten(make: Any, tmp_path: Path) -> None:
    path = Path(make("one"))
    before = path.read_bytes()
    with pytest.raises(UsageError, match=r"has a one\.ipynb already"):
        headless.run([str(path)], {}, output=tmp_path / "sources")
    assert path.read_bytes() == before


# Failures


def test_a_failed_cell_ends_the_run_there(make: Any, run: Any) -> None:
    failing = make(
        "one",
        'raise errors.ApiDisabled("Artifact Registry is off.", "Enable it.")',
        "print('never')",
    )
    result = run(failing, make("two"))
    assert result.exit_code == 3
    assert result.left_out == ("two",)
    assert result.error is not None
    assert (result.error.type, result.error.message, result.error.remedy) == (
        "ApiDisabled",
        "Artifact Registry is off.",
        "Enable it.",
    )
    notebook = executed(result, "one")
    assert statuses(notebook)[-2:] == ["failed", "pending"]
    assert "Artifact Registry is off." in banner(notebook)
    assert "Enable it." in banner(notebook)
    assert result.record.notebooks[0].outcome == "failed"
    assert not (result.folder / "two.ipynb").exists()


def test_what_the_step_wrote_down_goes_before_what_papermill_saw(make: Any, run: Any) -> None:
    cell = """
add("notebook-started", parameters={})
add("step-started", 1, title="A step")
add("outcome", 1, outcome="failed", error={"type": "NotFound", "message": "Gone.", "remedy": "Look.", "exit_code": 1})
raise errors.NotFound("seen differently by papermill")
"""
    result = run(make("one", cell))
    assert result.error is not None
    assert result.error.message == "Gone."
    assert result.exit_code == 1
    assert [step.outcome for step in result.record.notebooks[0].steps] == ["failed"]


def test_where_several_checks_failed_the_run_says_what_they_come_to(make: Any, run: Any) -> None:
    def error(message: str) -> dict[str, Any]:
        return {"type": "PrerequisiteMissing", "message": message, "remedy": "Mend.", "exit_code": 3}

    cell = f"""
add("notebook-started", parameters={{}})
for number, said in enumerate([{error("docker: no")!r}, {error("gcloud: no")!r}], 1):
    add("step-started", number, title="A check")
    add("outcome", number, outcome="failed", error=said)
add("concluded", error={error("docker: no, gcloud: no")!r})
raise errors.PrerequisiteMissing("docker: no, gcloud: no", "Mend.")
"""
    result = run(make("one", cell))
    assert result.error is not None
    assert (result.error.message, result.exit_code) == ("docker: no, gcloud: no", 3)
    assert "docker: no, gcloud: no" in banner(executed(result, "one"))


def test_a_failed_step_fails_the_run_even_when_the_cell_swallowed_it(make: Any, run: Any) -> None:
    cell = """
add("notebook-started", parameters={})
add("step-started", 1, title="A step")
add("outcome", 1, outcome="failed", error={"type": "NotSignedIn", "message": "No.", "exit_code": 3})
"""
    result = run(make("one", cell), make("two"))
    assert result.exit_code == 3
    assert result.left_out == ("two",)
    assert "No." in banner(executed(result, "one"))


def test_a_step_that_never_says_what_came_of_it_fails_the_run(make: Any, run: Any) -> None:
    result = run(make("one", 'add("notebook-started")\nadd("step-started", 1, title="Lost step")'))
    assert result.exit_code == 1
    assert result.error is not None
    assert "Lost step" in result.error.message


def test_an_error_that_is_not_ours_is_named_with_its_cell(make: Any, run: Any) -> None:
    result = run(make("one", "undefined_name"))
    assert result.exit_code == 1
    assert result.error is not None
    assert "NameError" in result.error.message
    assert "code cell 3 of one" in result.error.message


@pytest.mark.parametrize(
    ("stopped", "error", "exit_code", "begun"),
    [
        ("kernels.Kernels.take", RuntimeError("no kernel"), 1, []),
        ("kernels.Kernels.take", KeyboardInterrupt(), 130, []),
        ("engine.Notebook.execute", StepFailed("The disk is full."), 1, ["one"]),
    ],
)
def test_whatever_ends_a_run_is_its_last_word(
    make: Any, run: Any, tmp_path: Path, *, stopped: str, error: BaseException, exit_code: int, begun: list[str]
) -> None:
    kernel = patch("cgrunbook.run.kernels.Kernels.take"), patch("cgrunbook.run.kernels.Kernels.start_ahead")
    with kernel[0], kernel[1], patch(f"cgrunbook.run.{stopped}", side_effect=error), pytest.raises(type(error)):
        run(make("one"), make("two"))
    record = read_record(tmp_path / "out")
    assert (record.exit_code, [notebook.name for notebook in record.notebooks]) == (exit_code, begun)
    assert record.not_begun == ["one", "two"][len(begun) :]
    assert record.first_error
    assert record.first_error.type == type(error).__name__
    assert str(error) in record.first_error.message
    assert "not ended" not in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.parametrize("end", ["raise SystemExit", "raise SystemExit(0)", "import sys\nsys.exit()"])
def test_a_cell_that_leaves_the_notebook_is_no_success(make: Any, run: Any, end: str) -> None:
    result = run(make("one", end, "print('never')"))
    assert result.exit_code == 1
    assert statuses(executed(result, "one"))[-1] == "pending"


@pytest.mark.parametrize(
    ("death", "said"),
    [
        ("import os; os._exit(3)", "exit code 3"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
    ],
)
def test_a_kernel_that_dies_ends_with_138_and_whole_files(make: Any, run: Any, death: str, said: str) -> None:
    result = run(make("one", "print('before')", death, "print('after')"), make("two"))
    assert result.exit_code == 138
    assert result.error is not None
    assert result.error.type == "KernelDied"
    assert said in result.error.message
    notebook = executed(result, "one")
    assert statuses(notebook)[-3:] == ["completed", "failed", "pending"]
    assert "The kernel died" in banner(notebook)
    assert "before" in text_of(notebook)
    assert read_record(result.folder).exit_code == 138
    assert (result.folder / "report.html").exists()


def test_a_cell_that_takes_too_long_is_interrupted_and_may_tidy_up(make: Any, run: Any, tmp_path: Path) -> None:
    cell = f"""
import asyncio, pathlib
try:
    await asyncio.sleep(600)
finally:
    pathlib.Path({str(tmp_path / "tidied")!r}).touch()
"""
    result = run(make("one", cell, "print('never')"), cell_timeout=2.0)
    assert result.exit_code == 1
    assert result.error is not None
    assert "Stopped after 2 seconds in code cell 3" in result.error.message
    assert (tmp_path / "tidied").exists()
    assert statuses(executed(result, "one"))[-2:] == ["failed", "pending"]


def test_a_cell_that_is_deaf_to_the_interrupt_is_killed(tmp_path: Path) -> None:
    from cgrunbook.run.engine import Notebook

    source = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_code_cell(
                "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\ntime.sleep(600)"
            )
        ]
    )
    notebook = Notebook(source, tmp_path / "deaf.ipynb", "deaf.ipynb")
    with Kernels(1, {}) as kernels:
        kernel = kernels.take()
        end = notebook.execute({}, kernel, Stop(grace=0.5), 1.0)
    assert (end.kind, end.cell) == ("stopped", 1)
    assert statuses(nbformat.read(tmp_path / "deaf.ipynb", as_version=4)) == ["failed"]


# Plans


def test_a_plan_that_finds_changes_ends_with_4(make: Any, run: Any) -> None:
    cell = """
add("notebook-started", parameters={"mode": mode})
add("step-started", 1, title="A step")
add("planned", 1, changes=[{"resource": "repository r", "field": "labels", "before": None, "after": "a=b"}])
add("outcome", 1, outcome="planned")
"""
    result = run(make("one", cell, parameters='mode: str = "apply"'), values={"mode": "plan"})
    assert result.exit_code == 4
    assert result.record.mode == "plan"
    assert result.record.notebooks[0].parameters == {"mode": "plan"}


def test_a_plan_that_finds_nothing_ends_with_0(make: Any, run: Any) -> None:
    assert run(make("one", parameters='mode: str = "apply"'), values={"mode": "plan"}).exit_code == 0


def test_a_notebook_that_does_not_know_plans_is_not_run_as_one(make: Any, run: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="one cannot be planned"):
        run(make("one"), values={"mode": "plan"})
    assert not (tmp_path / "out").exists()


# The kernel


def test_the_kernel_is_this_interpreter_whatever_the_notebook_and_the_environment_say(
    make: Any, run_from_nothing: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    startup = home / ".ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "00.py").write_text("raise SystemExit('a profile of the user')")
    for name in ("sitecustomize", "random", "colorsys"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a file of the caller')")
    (home / "begin.py").write_text("raise SystemExit('a startup file of the user')")
    monkeypatch.setenv("PYTHONSTARTUP", str(home / "begin.py"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", "."]))
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PATH", str(home))
    monkeypatch.setenv("JPY_SESSION_NAME", "/somebody/looks.ipynb")
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)
    monkeypatch.chdir(tmp_path)
    cell = """
import colorsys, os, random, sys
print(sys.executable, os.getcwd(), os.environ.get("JPY_SESSION_NAME"), os.environ["CGRUNBOOK_RUN_FOLDER"], sep="\\n")
"""
    path = make("one", cell, kernelspec={"name": "julia-1.9", "display_name": "Julia", "language": "julia"})
    result = run_from_nothing(path)
    assert result.error is None
    said = text_of(executed(result, "one")).splitlines()
    assert said == [sys.executable, str(tmp_path), "None", str(result.folder)]


def test_no_kernel_and_no_file_of_one_is_left(
    make: Any, run_from_nothing: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory(prefix="h") as place:  # pytest's own folder has too long a path for a socket
        monkeypatch.setattr(tempfile, "tempdir", place)
        # The second notebook's kernel has been started ahead when the first one fails.
        result = run_from_nothing(make("one", "1 / 0"), make("two"), make("three"))
        assert result.exit_code == 1
        assert list(Path(place).iterdir()) == []
    assert kernels_of(result.folder) == []


def test_what_a_killed_run_left_is_swept_by_the_next_and_nothing_else_is(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(prefix="h") as text:
        place = Path(text)
        monkeypatch.setattr(tempfile, "tempdir", text)
        # A kernel's folder, with the lock of a process that holds it until it is killed.
        program = (
            "import sys, tempfile; tempfile.tempdir = sys.argv[1]; from cgrunbook.run.kernels import private_folder as f;"
            "folder, _ = f(); (folder / 'k.json').touch(); (folder / 'k-ipc-1').touch(); (folder / 'ipython').mkdir();"
            "print(folder, flush=True); sys.stdin.read()"
        )
        words = [sys.executable, "-c", program, text]
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as killed:
            assert killed.stdout
            left = Path(killed.stdout.readline().strip())
            others = [
                place / "cgrunbook-kernel-notes",
                place / "cgrunbook-kernel-abcdefgh",
                place / "cgrunbook-12345678",
            ]
            for other in others:
                other.mkdir()
                (other / "mine.txt").touch()
            others.append(place / "cgrunbook-kernel-ijklmnop")
            others[-1].symlink_to(others[0])
            mine = [private_folder()]
            assert left.exists(), "a run that lives keeps its own"
            killed.kill()
        mine.append(private_folder())
        assert sorted(place.iterdir()) == sorted([*others, *(folder for folder, _ in mine)])
        for folder, lock in mine:
            folder.rmdir()
            os.close(lock)
        assert (others[0] / "mine.txt").exists()


def test_what_a_kernel_says_outside_its_cells_does_not_reach_our_streams(
    make: Any, run: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    result = run(make("one", "import os\nos.write(1, b'to the descriptor')\nos.system('echo from a child')"))
    assert result.exit_code == 0
    assert capfd.readouterr() == ("", "")


# Secrets


def _canary() -> str:
    """A JWT's shape, made anew each time."""
    part = base64.urlsafe_b64encode(json.dumps({"alg": "RS256"}).encode()).decode().rstrip("=")
    return f"{part}.{secrets.token_urlsafe(40)}.{secrets.token_urlsafe(40)}"


IN_TWO_PARTS = """
import os, sys, time
for part in (token[:20], token[20:]):
    sys.stdout.write(part)
    sys.stdout.flush()
    time.sleep(0.3)
"""
DISPLAY = "from IPython.display import display, HTML\n"
SAYING = {
    "prints it": "print(token)",
    "prints it in two parts": IN_TWO_PARTS,
    "displays it": DISPLAY + "display(HTML('<b>' + token + '</b>'))\ntoken",
    "displays it later": DISPLAY + "h = display('x', display_id=True)\nh.update({'text/plain': token}, raw=True)",
    "displays it in data": DISPLAY + "display({'application/json': {'deep': [token]}}, raw=True)",
    "prints a Secret": """
from cgrunbook.redaction import Secret
s = Secret(token)
print(s, repr(s), f"{s:>3}", [s])
s
""",
    "types it": "from ipywidgets import Password\nPassword(value=token)",
    "journals it": """
add("notebook-started")
add("step-started", 1, title=token)
add("outcome", 1, outcome="created", evidence={token: [token]})
""",
}
ENDING = {
    "raises it": "raise ValueError(token)",
    "raises it as ours": "raise errors.StepFailed('refused ' + token, 'use ' + token)",
    "dies with it in two parts": IN_TWO_PARTS + "os._exit(1)",
    "says it in dying": "import os\nos.write(2, token.encode())\nos._exit(1)",
}


@pytest.mark.parametrize("cells", [SAYING, *({how: cell} for how, cell in ENDING.items())], ids=["says it", *ENDING])
def test_a_token_is_in_no_file_however_a_cell_says_it(
    make: Any, run: Any, tmp_path: Path, cells: dict[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    canary = _canary()
    (tmp_path / "token").write_text(canary)
    result = run(make("one", f"token = open({str(tmp_path / 'token')!r}).read()", *cells.values()))
    signature = canary.rpartition(".")[2]
    for path in result.folder.iterdir():
        assert canary not in path.read_text(), path.name
        assert signature not in path.read_text(), path.name
    assert canary not in "".join(capfd.readouterr())
    executed = {cell.source.strip(): cell for cell in nbformat.read(result.folder / "one.ipynb", as_version=4).cells}
    for how, cell in cells.items():
        if how not in ("journals it", "types it", "says it in dying"):
            assert "[redacted]" in json.dumps(executed[cell.strip()].outputs), how


# Signals, full disks and kills: of a process of its own


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a run in another process; what is still alive at the end of the test is killed."""
    processes: list[subprocess.Popen[str]] = []
    # A killed run cannot take its kernel's files away; pytest's own folder has too long a path for sockets.
    sockets = tempfile.TemporaryDirectory(prefix="h", ignore_cleanup_errors=True)

    def start(*notebooks: str, before: str = "") -> subprocess.Popen[str]:
        program = f"""
import signal, sys
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored where the tests are run with nohup
{before}
from cgrunbook.run import headless
from cgrunbook.errors import CgrunbookError
headless._IMPORTED_AHEAD = ()
try:
    result = headless.run({list(notebooks)!r}, {{}}, output=Path({str(tmp_path / "out")!r}))
except CgrunbookError as error:
    print("raised", type(error).__name__, error)
    sys.exit(error.exit_code)
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
sys.exit(result.exit_code)
"""
        process = subprocess.Popen(
            [sys.executable, "-c", program],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"TMPDIR": sockets.name},
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
    sockets.cleanup()


def _journaled(folder: Path, event: str) -> Callable[[], bool]:
    return lambda: any(line.event == event for line in read_lines(folder / "journal.jsonl"))


SLEEPING = """
import asyncio
add("notebook-started")
add("step-started", 1, title="A long step")
try:
    await asyncio.sleep(600)
except asyncio.CancelledError:
    error = errors.Interrupted("A long step: interrupted.", "Again.")
    add("outcome", 1, outcome="failed",
        error={"type": "Interrupted", "message": error.message, "remedy": error.remedy, "exit_code": 130})
    raise error from None
"""


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, *(pytest.param(one, marks=pytest.mark.long) for one in (signal.SIGINT, signal.SIGHUP))]
)
def test_a_signal_lets_the_step_end_and_the_files_be_whole(
    make: Any, started: Any, tmp_path: Path, number: int
) -> None:
    folder = tmp_path / "out"
    process = started(make("one", SLEEPING, "print('never')"), make("two"))
    wait_for(_journaled(folder, "step-started"), "the step")
    process.send_signal(number)
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, said
    record = read_record(folder)
    assert record.exit_code == 130
    assert record.notebooks[0].outcome == "interrupted"
    assert record.notebooks[0].steps[0].outcome == "failed"
    notebook = nbformat.read(folder / "one.ipynb", as_version=4)
    nbformat.validate(notebook)
    assert statuses(notebook)[-2:] == ["failed", "pending"]
    assert "interrupted" in banner(notebook)
    assert (folder / "report.html").exists()
    assert kernels_of(folder) == []


def test_a_second_signal_ends_a_step_that_does_not_listen(make: Any, started: Any, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    deaf = """
import signal, time
def heard(*_):
    add("waiting", 1, reason="nothing")
signal.signal(signal.SIGINT, heard)
add("notebook-started")
add("step-started", 1, title="A deaf step")
while True:
    time.sleep(1)
"""
    process = started(make("one", deaf))
    wait_for(_journaled(folder, "step-started"), "the step")
    process.send_signal(signal.SIGINT)
    wait_for(_journaled(folder, "waiting"), "the first interrupt")
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, said
    record = read_record(folder)
    assert record.notebooks[0].outcome == "interrupted"
    assert record.first_error is not None
    assert "Interrupted by Ctrl-C in code cell 3 of one" in record.first_error.message
    nbformat.validate(nbformat.read(folder / "one.ipynb", as_version=4))


def test_a_signal_while_the_first_kernel_starts_begins_no_cell(make: Any, started: Any, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    process = started(make("one", f"open({str(tmp_path / 'ran')!r}, 'w')"))
    wait_for(lambda: kernels_of(folder), "a kernel")
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, said
    assert not (tmp_path / "ran").exists()
    assert "SIGTERM" in (folder / "record.json").read_text() or read_record(folder).exit_code == 130
    assert kernels_of(folder) == []


def test_a_killed_run_leaves_readable_files_and_no_kernel(make: Any, started: Any, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    process = started(make("one", "print('done before')", SLEEPING))
    wait_for(_journaled(folder, "step-started"), "the step")
    process.kill()
    process.wait()
    notebook = nbformat.read(folder / "one.ipynb", as_version=4)
    nbformat.validate(notebook)
    assert "done before" in text_of(notebook)
    assert statuses(notebook)[-1] == "running"
    record = record_of(folder)
    assert record.exit_code is None
    assert record.notebooks[0].steps[0].outcome is None
    wait_for(lambda: not kernels_of(folder), "the kernel's end")


LIMITED = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, ({bytes}, {bytes}))
"""


@pytest.mark.parametrize("size", [100, 3_000, 9_000])
def test_a_disk_that_fills_up_is_said_in_a_sentence(make: Any, started: Any, tmp_path: Path, size: int) -> None:
    """A limit of a file's size stands for the disk: the write fails in the same way."""
    cells = [f"print('{'x' * 500}')" for _ in range(20)]
    process = started(make("one", *cells), before=LIMITED.format(bytes=size))
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1, said
    assert "cannot be written" in said
    assert "Traceback" not in said
    for path in (tmp_path / "out").glob("*.ipynb"):
        nbformat.validate(nbformat.read(path, as_version=4))
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]


def test_a_run_folder_that_cannot_be_made_is_said_in_a_sentence(make: Any, tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(StepFailed, match="cannot be written"):
        headless.run([make("one")], {}, runs=tmp_path / "runs")
    with pytest.raises(UsageError, match="cannot be made"):
        headless.run([make("one")], {}, output=tmp_path / "runs" / "x")
