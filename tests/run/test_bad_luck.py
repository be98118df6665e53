"""Bad luck through the command line: one message with cause and remedy, an exit code, nothing that a second run does not finish."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cgrunbook.run.journal import read_lines
from cgrunbook.run.record import read_record
from tests.misfortunes import Misfortune, cases, sandbox_killed
from tests.sandboxes import chainctl_without_a_process, sandbox_home
from tests.steps.performing import open_book, perform, proof_of_03, state_of, steps_of_02, steps_of_03
from tests.waiting import wait_for

CGRUNBOOK = [sys.executable, "-m", "cgrunbook"]

pytestmark = pytest.mark.usefixtures("forked")


@pytest.fixture(autouse=True)
def home(tmp_path: Path) -> Iterator[Path]:
    with sandbox_home(tmp_path / "home") as home, chainctl_without_a_process():
        yield home


def cgrunbook(*words: str, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*CGRUNBOOK, *words], check=False, capture_output=True, text=True, timeout=120, **more)


@pytest.mark.parametrize("misfortune", cases())
def test_a_misfortune_is_told_with_cause_and_remedy_and_the_next_run_finishes(misfortune: Misfortune, tmp_path: Path):
    cloud = misfortune.prepare()
    ended = cgrunbook("run", *misfortune.run, "--output", str(tmp_path / "run"), *misfortune.parameters)
    assert ended.returncode == misfortune.exit_code, ended.stderr
    for piece in misfortune.said:
        assert piece.lower() in ended.stderr.partition("What to do:")[0].lower()
    for piece in misfortune.to_do:
        assert piece.lower() in ended.stderr.partition("What to do:")[2].lower()
    for noise in ("Traceback", "defect", 'File "'):
        assert noise not in ended.stderr
    record = read_record(tmp_path / "run")
    assert record.exit_code == misfortune.exit_code
    assert record.first_error
    assert record.first_error.message
    misfortune.lifted(cloud)
    book, _ = open_book()
    perform(book, *steps_of_02(), *steps_of_03(), proof_of_03())
    after = state_of(book.cloud)
    assert after.pair_is_taken_by_cgr_dev
    assert after.grants == 1
    assert not [name for name in after.annotations if "claim" in name]


def test_the_sandbox_killed_in_the_middle_is_told_and_the_next_run_finishes(home: Path, tmp_path: Path):
    folder = tmp_path / "run"
    run = subprocess.Popen(
        [*CGRUNBOOK, "run", "03", "--output", str(folder)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )

    def created() -> bool:
        lines = list(read_lines(folder / "journal.jsonl"))
        return any(line.event == "outcome" and line.data["outcome"] == "created" for line in lines)

    wait_for(lambda: run.poll() is not None or created(), "a first outcome")
    sandbox_killed(open_book()[0].cloud)
    _, said = run.communicate(timeout=120)
    assert run.returncode in (1, 3)
    assert "sandbox" in said
    assert "cgrunbook sandbox start" in said
    assert "Traceback" not in said
    book, _ = open_book()
    perform(book, *steps_of_03(), proof_of_03())
    after = state_of(book.cloud)
    assert (after.live_tokens, after.versions, after.grants) == (1, ["1 ENABLED"], 1)
    assert after.pair_is_taken_by_cgr_dev


@pytest.mark.parametrize("room", [12_000, *(pytest.param(room, marks=pytest.mark.long) for room in (2_000, 60_000))])
def test_a_disk_that_is_full_in_the_run_folder_is_told_and_the_next_run_finishes(tmp_path: Path, room: int):
    perform(open_book()[0], *steps_of_02())

    def bounded() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))

    ended = cgrunbook("run", "03", "--output", str(tmp_path / "run"), preexec_fn=bounded)
    assert ended.returncode == 1, ended.stderr
    assert "cannot be written" in ended.stderr
    assert "--output" in ended.stderr
    assert "Traceback" not in ended.stderr
    book, _ = open_book()
    perform(book, *steps_of_03(), proof_of_03())
    after = state_of(book.cloud)
    assert (after.live_tokens, after.versions, after.grants) == (1, ["1 ENABLED"], 1)


def test_an_api_that_is_off_is_named_with_the_notebook_that_enables_it(tmp_path: Path):
    ended = cgrunbook("run", "04", "--output", str(tmp_path / "run"))
    assert ended.returncode == 3
    assert "Artifact Registry API is not enabled" in ended.stderr
    assert "02_developer_images" in ended.stderr
