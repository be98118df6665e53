"""SIGKILL at moments that nobody chose, and two runs at the same time: one world, as from one run that nobody disturbed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from cgrunbook.run.journal import read_lines
from tests.steps.performing import UNDISTURBED_03, Names, open_book, perform, state_of, steps_of_02, steps_of_03
from tests.steps.test_rotation_converges import assert_finished, rotation
from tests.waiting import wait_for

CGRUNBOOK = [sys.executable, "-m", "cgrunbook"]

# An undisturbed performance takes about a second and a half where nothing else is at work.
_LATEST_KILL_SECONDS = 2.0


def started(*scenario: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.steps.killed", *scenario],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def begin(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def kill_all(process: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError):  # it was quicker
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


@pytest.mark.parametrize("scenario", [0, *(pytest.param(number, marks=pytest.mark.long) for number in range(1, 4))])
def test_killed_three_times_at_random_moments_it_ends_as_if_nobody_had(home: Path, scenario: int):
    name = f"random-{scenario}"
    moments = random.Random(f"{scenario} {os.environ.get('PYTEST_RANDOMLY_SEED', '')}")
    for process in [started(name) for _ in range(3)]:
        begin(process)
        time.sleep(moments.uniform(0.0, _LATEST_KILL_SECONDS))
        kill_all(process)
    # Two, since what chainctl goes on doing after its run was killed may come to light during the first.
    for _ in range(2):
        book, _seen = open_book()
        perform(book, *steps_of_03(Names.of(name)))
    assert state_of(book.cloud, Names.of(name)) == UNDISTURBED_03


@pytest.mark.long
def test_a_whole_run_killed_with_its_kernel_leaves_readable_files_and_is_finished_by_the_next(
    fresh_home: Path, tmp_path: Path
):
    moments = random.Random(os.environ.get("PYTEST_RANDOMLY_SEED", ""))
    for number in range(2):
        folder = tmp_path / f"run-{number}"
        run = subprocess.Popen(
            [*CGRUNBOOK, "run", "03", "--output", str(folder)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        journal = folder / "journal.jsonl"
        wait_for(lambda: run.poll() is not None or any(line.event == "intent" for line in read_lines(journal)))  # noqa: B023 - waited for here
        time.sleep(moments.uniform(0.0, _LATEST_KILL_SECONDS))
        kill_all(run)
        for path in folder.glob("*.ipynb"):
            json.loads(path.read_text())
        if (folder / "record.json").exists():
            json.loads((folder / "record.json").read_text())
    again = subprocess.run([*CGRUNBOOK, "run", "03", "--output", str(tmp_path / "end")], check=False, text=True)
    assert again.returncode == 0
    book, _ = open_book()
    perform(book, *steps_of_03())
    assert state_of(book.cloud) == UNDISTURBED_03


def test_two_runs_at_once_end_in_the_world_of_one(home: Path):
    first, second = started("at-once"), started("at-once")
    begin(first)
    begin(second)
    for process in (first, second):
        output, _ = process.communicate(timeout=120)
        assert (process.returncode, output) == (0, "done\n")
    book, _ = open_book()
    assert state_of(book.cloud, Names.of("at-once")) == UNDISTURBED_03


@pytest.mark.long
@pytest.mark.parametrize("scenario", range(3))
def test_a_rotation_killed_three_times_at_random_moments_is_finished_by_the_next(home: Path, scenario: int):
    names = Names.of(f"rotated-{scenario}")
    perform(open_book()[0], *steps_of_03(names))
    moments = random.Random(f"{scenario} {os.environ.get('PYTEST_RANDOMLY_SEED', '')}")
    for process in [started(f"rotated-{scenario}", "rotate") for _ in range(3)]:
        begin(process)
        time.sleep(moments.uniform(0.0, _LATEST_KILL_SECONDS))
        kill_all(process)
    for _ in range(2):  # what chainctl goes on doing after its run was killed may come to light during the first
        perform(open_book()[0], rotation(names))
    assert_finished(names)


@pytest.mark.long
def test_of_two_rotations_at_once_one_rotates_and_the_other_says_so(fresh_home: Path, tmp_path: Path):
    perform(open_book()[0], *steps_of_03())
    command = [*CGRUNBOOK, "rotate", "--grace", "0s", "--json", "--output"]
    runs = [
        subprocess.Popen([*command, str(tmp_path / name)], stdout=subprocess.PIPE, text=True) for name in ("one", "two")
    ]
    said = [run.communicate(timeout=200)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], said
    assert sorted("another rotation ended" in one for one in said) == [False, True]
    assert_finished(Names())


@pytest.mark.long
def test_two_runs_of_the_command_at_once_both_succeed_and_only_one_makes_each_thing(fresh_home: Path, tmp_path: Path):
    runs = [
        subprocess.Popen([*CGRUNBOOK, "run", "03", "--output", str(tmp_path / name)], stdout=subprocess.DEVNULL)
        for name in ("one", "two")
    ]
    assert [run.wait(timeout=200) for run in runs] == [0, 0]
    made = [
        (line.data["brief"], step)
        for name in ("one", "two")
        for line in read_lines(tmp_path / name / "journal.jsonl")
        if line.event == "outcome" and line.data["outcome"] == "created"
        for step in [line.step]
    ]
    assert len(made) == len({step for _, step in made})
    book, _ = open_book()
    assert state_of(book.cloud) == UNDISTURBED_03


def test_developer_images_first_then_killed_then_both(home: Path):
    names = Names.of("both-halves")
    book, _ = open_book()
    perform(book, *steps_of_02(names))
    process = started("both-halves")
    begin(process)
    kill_all(process)
    book, _ = open_book()
    perform(book, *steps_of_02(names), *steps_of_03(names))
    assert state_of(book.cloud, names).pair_is_taken_by_cgr_dev
