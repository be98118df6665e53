"""How a step is performed: what is journaled, shown and asked, in which order, and what an interrupt leaves."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import pytest
from filelock import FileLock

from cgrunbook import steps
from cgrunbook.cloud.attempts import Wait
from cgrunbook.errors import CgrunbookError, Declined, Interrupted, ParameterError, PrerequisiteMissing, StepFailed
from cgrunbook.parameters import Parameters
from cgrunbook.redaction import Secret
from cgrunbook.run.given import injected_names, leave_out_what_is_not_declared
from cgrunbook.run.journal import Line, read_lines
from cgrunbook.run.record import Record, read_record, record_of
from cgrunbook.run.result import failure_of
from cgrunbook.run.runbook import open_runbook
from cgrunbook.steps.step import (
    Change,
    Evidence,
    Finding,
    Mark,
    Outcome,
    Plan,
    Proof,
    Section,
    Step,
    World,
)
from cgrunbook.ui import cards
from tests.sandboxes import sandbox_home
from tests.steps.performing import Watcher, open_book, perform


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with sandbox_home(tmp_path_factory.mktemp("cgrunbook")) as home:
        yield home


class Light(Step):
    """Turns a light on; the world is this object."""

    section: ClassVar = Section.PREREQUISITES
    why: ClassVar = "It is dark."
    title = "Turn the light on"

    def __init__(self, colour: str = "white", *, doing: Callable[[World], None] = lambda _: None) -> None:
        self.colour = colour
        self.is_on = ""
        self.applied = 0
        self.doing = doing
        self.planned: Callable[[], None] = lambda: None

    def plan(self, world: World) -> Plan:
        self.planned()
        if self.is_on == self.colour:
            return Plan()
        return Plan(
            Outcome.UPDATED, (Change("the light", "colour", self.is_on or None, self.colour),), ("switch",), ("light",)
        )

    def apply(self, world: World, plan: Plan) -> None:
        self.doing(world)
        self.applied += 1
        self.is_on = self.colour

    def verify(self, world: World) -> Evidence:
        if self.is_on != self.colour:
            raise StepFailed("It is dark.", "Look at the bulb.")
        return Evidence("shines", {"colour": self.is_on})


class Look(Proof):
    section: ClassVar = Section.PREREQUISITES
    why: ClassVar = "To see."
    title = "Look"

    def __init__(self, *findings: Finding) -> None:
        self.findings = findings

    def verify(self, world: World) -> Evidence:
        return Evidence(findings=self.findings)


def lines(folder: Path) -> list[Line]:
    return list(read_lines(folder / "journal.jsonl"))


def events(folder: Path) -> list[str]:
    return [line.event for line in lines(folder)]


async def yes(step: Step, plan: Plan) -> bool:
    return True


async def no(step: Step, plan: Plan) -> bool:
    return False


def test_a_step_is_planned_then_intended_then_applied_then_read_back(tmp_path: Path):
    book, seen = open_book(folder=tmp_path)
    light = Light(doing=lambda _: journaled.extend(events(tmp_path)))
    journaled: list[str] = []
    perform(book, light)
    assert journaled == ["step-started", "planned", "intent"]
    assert events(tmp_path) == [*journaled, "outcome"]
    assert seen.results[0].outcome is Outcome.UPDATED
    assert seen.results[0].evidence.facts == {"colour": "white"}


def test_an_empty_plan_ends_in_unchanged_and_is_proved_all_the_same():
    book, seen = open_book()
    light = Light()
    perform(book, light, light)
    assert (seen.outcomes, light.applied) == ([Outcome.UPDATED, Outcome.UNCHANGED], 1)
    assert seen.results[1].evidence.brief == "shines"


def seen_as(mark: Mark) -> Finding:
    return Finding(mark, "the light", "seen")


@pytest.mark.parametrize(
    ("marks", "outcome", "brief"),
    [
        ([Mark.OK, Mark.OK, Mark.WARN], "verified", "2 ok, 1 warn"),
        ([Mark.WARN], "verified", "1 warn"),
        ([Mark.OK, Mark.NOT_CHECKED], "verified", "1 ok, 1 not checked"),
        ([Mark.NOT_CHECKED], "not checked", "1 not checked"),
        ([], "verified", ""),
    ],
)
def test_a_check_is_verified_with_its_counts_unless_nothing_of_it_could_be_looked_at(
    marks: list[Mark], outcome: str, brief: str, tmp_path: Path
):
    book, seen = open_book(folder=tmp_path)
    perform(book, Look(*map(seen_as, marks)))
    said = lines(tmp_path)[-1].data
    assert (said["outcome"], said["brief"]) == (outcome, brief)
    assert f"{outcome}: Look" in cards.result_card(seen.results[0])["text/plain"]


def test_a_check_that_fails_has_failed_and_is_planned_where_the_plan_may_mend_it():
    fails = Look(seen_as(Mark.OK), seen_as(Mark.FAIL))
    book, seen = open_book()
    with pytest.raises(StepFailed):
        perform(book, fails)
    assert seen.outcomes == [Outcome.FAILED]
    book, seen = open_book(mode="plan")
    perform(book, Light(), fails)
    assert seen.outcomes == [Outcome.PLANNED, Outcome.PLANNED]


@pytest.mark.parametrize("mode", ["apply", "plan"])
def test_what_nobody_asked_for_is_skipped_and_nothing_is_looked_at(mode: str, tmp_path: Path):
    book, seen = open_book(Watcher(no), folder=tmp_path, mode=mode)
    light = Seeing()
    light.not_asked_for, light.held_back = "the_light", "Set confirm."
    perform(book, light)
    assert (light.worlds, seen.outcomes, seen.asked) == ([], [Outcome.SKIPPED], [])
    assert seen.results[0].brief == "not asked for (the_light)"
    assert events(tmp_path) == ["step-started", "outcome"]


def test_what_is_not_there_after_it_was_applied_fails_the_step(tmp_path: Path):
    book, seen = open_book(folder=tmp_path)
    light = Light()
    light.apply = lambda world, plan: None  # type: ignore[method-assign]
    with pytest.raises(StepFailed, match="dark"):
        perform(book, light)
    assert seen.outcomes == [Outcome.FAILED]
    assert lines(tmp_path)[-1].data["error"]["remedy"] == "Look at the bulb."


def test_mode_plan_stops_before_anything_is_intended(tmp_path: Path):
    book, seen = open_book(folder=tmp_path, mode="plan")
    light = Light()
    perform(book, light)
    assert (light.applied, seen.outcomes) == (0, [Outcome.PLANNED])
    assert "intent" not in events(tmp_path)


def test_a_step_that_is_held_back_is_shown_and_not_applied_nor_asked_for():
    book, seen = open_book(Watcher(yes))
    light = Light()
    light.held_back = "Set confirm."
    perform(book, light)
    assert (light.applied, seen.outcomes, seen.asked) == (0, [Outcome.PLANNED], [])


def test_with_somebody_there_nothing_is_applied_without_a_yes_and_no_ends_the_notebook(tmp_path: Path):
    book, seen = open_book(Watcher(no), folder=tmp_path)
    light, never = Light(), Light()
    with pytest.raises(Declined, match="nothing was changed"):
        perform(book, light, never)
    assert (light.applied, never.applied, seen.outcomes) == (0, 0, [Outcome.DECLINED])
    assert record_of(tmp_path).notebooks == []  # the notebook's own lines are open_runbook's
    assert [line.data["outcome"] for line in lines(tmp_path) if line.event == "outcome"] == ["declined"]
    assert "intent" not in events(tmp_path)


def test_after_a_no_the_same_step_can_be_performed_again_and_asks_again():
    answers = [False, True]

    async def answer(step: Step, plan: Plan) -> bool:
        return answers.pop(0)

    book, seen = open_book(Watcher(answer))
    light = Light()
    with pytest.raises(Declined):
        perform(book, light)
    perform(book, light)
    assert (light.applied, seen.outcomes) == (1, [Outcome.DECLINED, Outcome.UPDATED])


def test_with_somebody_there_an_empty_plan_is_not_asked_about():
    book, seen = open_book(Watcher(no))
    light = Light()
    light.is_on = "white"
    perform(book, light)
    assert (seen.asked, seen.outcomes) == ([], [Outcome.UNCHANGED])


def test_a_world_that_changed_between_showing_and_the_yes_is_shown_and_asked_about_anew(tmp_path: Path):
    light = Light()

    async def answer(step: Step, plan: Plan) -> bool:
        if not light.is_on:
            light.is_on = "green"  # somebody else, meanwhile
        return True

    book, seen = open_book(Watcher(answer), folder=tmp_path)
    perform(book, light)
    assert [plan.changes[0].before for plan in seen.asked] == [None, "green"]
    assert light.applied == 1
    assert seen.results[0].plan.changes[0].before == "green"
    assert events(tmp_path) == ["step-started", "planned", "approved", "planned", "approved", "intent", "outcome"]


def test_a_world_where_somebody_else_did_it_between_showing_and_the_yes_is_left_as_it_is():
    light = Light()

    async def answer(step: Step, plan: Plan) -> bool:
        light.is_on = "white"
        return True

    book, seen = open_book(Watcher(answer))
    perform(book, light)
    assert (light.applied, seen.outcomes, len(seen.asked)) == (0, [Outcome.UNCHANGED], 1)


class Seeing(Light):
    """Remembers which world it was given for what."""

    def __init__(self) -> None:
        super().__init__()
        self.worlds: list[World] = []

    def plan(self, world: World) -> Plan:
        self.worlds.append(world)
        return super().plan(world)

    def apply(self, world: World, plan: Plan) -> None:
        self.worlds.append(world)
        super().apply(world, plan)

    def verify(self, world: World) -> Evidence:
        self.worlds.append(world)
        return super().verify(world)


@pytest.mark.parametrize("answer", [None, yes])
def test_one_world_serves_the_plan_and_the_proof_of_a_step_that_does_nothing(answer: Any):
    book, _ = open_book(Watcher(answer))
    light = Seeing()
    light.is_on = "white"
    perform(book, light)
    planned, proved = light.worlds
    assert proved is planned


def test_what_was_changed_is_proved_in_a_world_that_is_read_anew():
    book, _ = open_book()
    light = Seeing()
    perform(book, light)
    planned, applied, proved = light.worlds
    assert applied is planned
    assert proved is not planned


def test_what_was_read_before_somebody_was_asked_is_read_anew_after():
    book, _ = open_book(Watcher(yes))
    light = Seeing()
    perform(book, light)
    shown, planned, applied, proved = light.worlds
    assert shown is not planned
    assert applied is planned
    assert proved is not planned


def test_two_cells_performed_at_once_wait_for_each_other():
    book, seen = open_book()
    light = Light()

    async def both() -> None:
        await asyncio.gather(book.perform(light), book.perform(light))

    asyncio.run(both())
    assert (light.applied, seen.outcomes) == (1, [Outcome.UPDATED, Outcome.UNCHANGED])
    assert [result.number for result in seen.results] == [1, 2]


def lock_of(home: Path) -> FileLock:
    (home / "locks").mkdir(exist_ok=True)
    return FileLock(home / "locks" / "sandbox.cgrunbook-sandbox.lock", thread_local=False)


def test_an_interrupt_while_waiting_for_the_click_is_journaled_and_the_next_run_works(home: Path, tmp_path: Path):
    asked = threading.Event()

    async def never(step: Step, plan: Plan) -> bool:
        asked.set()
        await asyncio.Event().wait()
        return True

    book, seen = open_book(Watcher(never), folder=tmp_path)
    light = Light()

    async def interrupted() -> None:
        task = asyncio.create_task(book.perform(light))
        await asyncio.to_thread(asked.wait)
        task.cancel()
        with pytest.raises(Interrupted, match="Turn the light on: interrupted"):
            await task

    asyncio.run(interrupted())
    assert (light.applied, seen.outcomes) == (0, [Outcome.FAILED])
    outcome = lines(tmp_path)[-1]
    assert (outcome.event, outcome.data["error"]["exit_code"]) == ("outcome", 130)
    lock_of(home).acquire(timeout=0).lock.release()
    again, seen = open_book()
    perform(again, light)
    assert seen.outcomes == [Outcome.UPDATED]


def test_an_interrupt_while_working_lets_the_call_end_stops_the_step_and_frees_the_lock(home: Path, tmp_path: Path):
    working, go_on = threading.Event(), threading.Event()
    heard: list[bool] = []

    def work(world: World) -> None:
        working.set()
        go_on.wait()
        heard.append(book.cloud.attempts.cancelled.is_set())
        book.cloud.attempts.pause(60.0, "something that takes long")

    book, _ = open_book(folder=tmp_path)
    light = Light(doing=work)

    async def interrupted() -> None:
        task = asyncio.create_task(book.perform(light))
        await asyncio.to_thread(working.wait)
        task.cancel()
        await asyncio.sleep(0)
        go_on.set()
        with pytest.raises(Interrupted):
            await task

    asyncio.run(interrupted())
    assert heard == [True]
    assert light.applied == 0
    assert lines(tmp_path)[-1].data["error"]["type"] == "Interrupted"
    lock_of(home).acquire(timeout=0).lock.release()
    light.doing = lambda _: None
    again, seen = open_book()
    perform(again, light)
    assert seen.outcomes == [Outcome.UPDATED]


def test_a_step_that_takes_an_interrupt_for_an_error_like_others_ends_interrupted_all_the_same(tmp_path: Path):
    working = threading.Event()

    def work(world: World) -> None:
        working.set()
        with suppress(CgrunbookError):
            book.cloud.attempts.pause(60.0, "something that can be gone on without")

    book, _ = open_book(folder=tmp_path)

    async def interrupted() -> None:
        task = asyncio.create_task(book.perform(Light(doing=work)))
        await asyncio.to_thread(working.wait)
        task.cancel()
        with pytest.raises(Interrupted):
            await task

    asyncio.run(interrupted())
    assert lines(tmp_path)[-1].data["error"]["type"] == "Interrupted"


def test_after_an_interrupt_the_same_runbook_goes_on():
    working = threading.Event()

    def work(world: World) -> None:
        working.set()
        book.cloud.attempts.pause(60.0, "something that takes long")

    book, seen = open_book()
    light = Light(doing=work)

    async def interrupted_and_again() -> None:
        task = asyncio.create_task(book.perform(light))
        await asyncio.to_thread(working.wait)
        task.cancel()
        with pytest.raises(Interrupted):
            await task
        light.doing = lambda _: None
        await book.perform(light)

    asyncio.run(interrupted_and_again())
    assert seen.outcomes == [Outcome.FAILED, Outcome.UPDATED]


def test_another_run_at_work_is_waited_for_visibly(home: Path, tmp_path: Path):
    book, seen = open_book(folder=tmp_path)
    book.cloud.attempts.first = 0.001
    other = lock_of(home)
    other.acquire()
    told = seen.waiting

    def waiting(number: int, step: Step, wait: Wait) -> None:
        told(number, step, wait)
        other.release(force=True)

    seen.waiting = waiting  # type: ignore[method-assign]
    perform(book, Light())
    assert "another run to finish its step" in seen.waits[0].reason
    assert "waiting" in events(tmp_path)
    assert seen.outcomes == [Outcome.UPDATED]


def test_another_run_that_never_ends_is_named_when_the_wait_is_over(home: Path):
    book, seen = open_book(wait_limit=1)
    book.cloud.attempts.limit = 0.01
    light = Light()
    with lock_of(home).acquire(), pytest.raises(StepFailed) as raised:
        perform(book, light)
    assert "another run" in raised.value.message.lower()
    assert "defect" not in raised.value.message
    assert "wait" in raised.value.remedy.lower()
    assert (light.applied, seen.outcomes) == (0, [Outcome.FAILED])


def test_a_plan_needs_no_lock(home: Path):
    book, seen = open_book(mode="plan")
    with lock_of(home).acquire():
        perform(book, Light())
    assert seen.outcomes == [Outcome.PLANNED]


def test_a_defect_of_ours_ends_as_a_journaled_failure_whose_traceback_hides_secrets(tmp_path: Path):
    secret = Secret("canary-4b825dc642cb6eb9")

    def breaks(world: World) -> None:
        raise KeyError(secret.reveal())

    book, _ = open_book(folder=tmp_path)
    with pytest.raises(StepFailed, match="a defect of cgrunbook, KeyError") as raised:
        perform(book, Light(doing=breaks))
    journal = (tmp_path / "journal.jsonl").read_text()
    assert "Traceback" in journal
    assert secret.reveal() not in journal + str(raised.value)


@pytest.mark.parametrize("failing", ["plan", "apply", "verify"])
def test_whatever_fails_is_shown_journaled_and_raised(tmp_path: Path, failing: str):
    def fails(*_: Any) -> Any:
        raise PrerequisiteMissing("There is no socket.", "Run 01_prerequisites.")

    book, seen = open_book(folder=tmp_path)
    light = Light()
    setattr(light, failing, fails)
    with pytest.raises(PrerequisiteMissing):
        perform(book, light)
    assert seen.outcomes == [Outcome.FAILED]
    assert read_record(tmp_path).notebooks == []
    assert lines(tmp_path)[-1].data["error"] == {
        "type": "PrerequisiteMissing",
        "message": "There is no socket.",
        "remedy": "Run 01_prerequisites.",
        "exit_code": 3,
        "code": "",
    }


OK = Finding(Mark.OK, "bulb", "there")
WARN = Finding(Mark.WARN, "shade", "is dusty", "Clean it.")
FAIL = Finding(Mark.FAIL, "socket", "is broken", "Mend it.")
MISSING = Finding(Mark.FAIL, "current", "is off", "Pay for it.", prerequisite=True)


@pytest.mark.parametrize(
    ("findings", "error"),
    [
        ((OK, WARN), type(None)),
        ((OK, FAIL), StepFailed),
        ((MISSING, OK), PrerequisiteMissing),
        ((MISSING, FAIL), StepFailed),
    ],
)
def test_checks_that_fail_are_a_missing_prerequisite_only_when_all_of_them_are(
    findings: tuple[Finding, ...], error: type
):
    assert type(failure_of(findings)) is error


def test_a_check_that_fails_fails_its_step_with_every_failed_check_named():
    book, seen = open_book()
    with pytest.raises(StepFailed) as raised:
        perform(book, Look(OK, FAIL, MISSING))
    assert raised.value.message == "socket: is broken\ncurrent: is off"
    assert raised.value.remedy == "Mend it.\nPay for it."
    assert seen.results[0].evidence.findings == (OK, FAIL, MISSING)


def test_waits_are_journaled_shown_and_told_apart_from_work(tmp_path: Path):
    book, seen = open_book(folder=tmp_path)
    perform(book, Light(doing=lambda _: book.cloud.attempts.pause(0.25, "the light to warm up")))
    assert [wait.reason for wait in seen.waits] == ["the light to warm up"]
    assert seen.results[0].waited == pytest.approx(0.25)
    assert seen.results[0].seconds >= seen.results[0].waited


def test_the_record_is_complete_after_each_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CGRUNBOOK_RUN_FOLDER", str(tmp_path))
    book = open_runbook("02_developer_images", {"repository": "demo"}, Watcher())
    perform(book, Light())
    record = read_record(tmp_path)
    [notebook] = record.notebooks
    [step] = notebook.steps
    assert (notebook.name, notebook.parameters, record.target["target"]) == (
        "02_developer_images",
        {"repository": "demo"},
        "sandbox",
    )
    assert (step.title, step.outcome, step.brief, step.commands) == (
        "Turn the light on",
        "updated",
        "shines",
        ["switch"],
    )
    assert isinstance(record, Record)


def test_parameters_are_refused_before_anything_is_connected_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CGRUNBOOK_RUN_FOLDER", str(tmp_path))
    monkeypatch.setenv("CGRUNBOOK_HOME", str(tmp_path / "untouched"))
    with pytest.raises(ParameterError, match="repository is 'Upper'"):
        open_runbook("02_developer_images", {"repository": "Upper"}, Watcher())
    assert not (tmp_path / "untouched").exists()
    assert [line.event for line in lines(tmp_path)] == ["notebook-started", "notebook-ended"]
    assert read_record(tmp_path).notebooks[0].error


def test_a_name_that_papermill_put_in_and_no_cell_declares_is_refused_with_the_nearest_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("CGRUNBOOK_RUN_FOLDER", str(tmp_path))
    namespace = {"In": ["", '# Parameters\nrepositori = "demo"\n'], "repository": "x", "repositori": "demo"}
    with pytest.raises(ParameterError, match=r"repositori.*repository") as raised:
        open_runbook("02_developer_images", namespace, Watcher())
    assert raised.value.exit_code == 2


DECLARING = 'target: str = "sandbox"\nrepository: str = "x"'


@pytest.mark.parametrize(
    ("notebook", "cell", "injected", "left"),
    [
        ("02_developer_images", DECLARING, 'organization = "example.com"', False),  # 03 takes it
        ("02_developer_images", DECLARING, 'repository = "demo"', True),
        ("02_developer_images", "%load_ext autoreload", 'organization = "example.com"', True),  # nothing is declared
        ("mine", DECLARING, 'organization = "example.com"', True),  # a cell of it may want it all the same
    ],
)
def test_what_papermill_gave_and_only_another_notebook_of_the_guide_takes_is_not_used(
    notebook: str, cell: str, injected: str, *, left: bool
):
    name = injected.partition(" ")[0]
    namespace = {"In": ["", cell, f"# Parameters\n{injected}\n"], name: "demo"}
    said = leave_out_what_is_not_declared(notebook, namespace)
    assert (name in namespace) is left
    assert said == (
        "" if left else f"Not used: {name} is no parameter of {notebook}, only of other notebooks of the guide."
    )


INJECTED = "# Parameters\n"


@pytest.mark.parametrize(
    ("cells", "said", "to_do"),
    [
        (['mod = "plan"'], "no parameter 'mod' here. Did you mean 'mode'?", "in the cell that sets it"),  # scheduler's
        ([INJECTED + 'mod = "plan"\n'], "no parameter 'mod' here. Did you mean 'mode'?", "papermill's -p, -r, -y"),
        ([INJECTED + 'zzz = "plan"\n'], "no parameter 'zzz' here. The parameters are", "papermill's -p, -r, -y"),
        (['MODE = "plan"'], "Did you mean 'mode'?", "del MODE"),
        (["projectId: str = 'demo'"], "Did you mean 'project_id'?", "in the cell that sets it"),
        (["label = ['team=a']"], "Did you mean 'labels'?", "in the cell that sets it"),
        (["dry_run = True"], "Did you mean 'mode'?", "in the cell that sets it"),
        (["region, x = 'us-east1', 1"], "Did you mean 'location'?", "in the cell that sets it"),
        (["if 1:\n    locaton = 'us-east1'"], "Did you mean 'location'?", "in the cell that sets it"),
        (["globals().update(modes='plan')"], "Did you mean 'mode'?", "in the cell that sets it"),  # %run, import *
        (["labels_ = {'team': 'a'}"], "Did you mean 'labels'?", "in the cell that sets it"),
        (["labelz = None"], "Did you mean 'labels'?", "in the cell that sets it"),
        (["plan = True"], "Did you mean 'mode'?", "in the cell that sets it"),
        (["repo = 'x'"], "Did you mean 'repository'?", "in the cell that sets it"),
        (["organisation = 'x'"], "It is a parameter of other notebooks", "in the cell that sets it"),
    ],
)
def test_a_name_that_was_meant_to_be_a_parameter_is_refused_whatever_way_it_came(
    run_folder: Path, cells: list[str], said: str, to_do: str
):
    namespace: dict[str, Any] = {"In": ["", *cells], "mode": "apply", "location": "us-central1"}
    for cell in cells:
        exec(cell, namespace)
    with pytest.raises(ParameterError) as raised:
        open_runbook("02_developer_images", namespace, Watcher())
    assert said in raised.value.message
    assert to_do in raised.value.remedy
    error = record_of(run_folder).first_error
    assert error is not None
    assert (error.message, error.exit_code) == (raised.value.message, 2)


@pytest.mark.parametrize(
    "cell",
    [
        INJECTED + 'PAPERMILL_INPUT_PATH = "02.ipynb"\nPAPERMILL_OUTPUT_PATH = "out.ipynb"\n',
        "for label in ['a']:\n    _mode = label",
        "answer, settings = 42, {'mod': 'plan'}\nimport os as locations\ndef modes(): ...",
    ],
)
def test_names_that_nobody_meant_to_be_a_parameter_are_left_alone(run_folder: Path, cell: str):
    namespace: dict[str, Any] = {"In": ["", cell], "mode": "apply"}
    exec(cell, namespace)
    assert open_runbook("02_developer_images", namespace, Watcher()).params.mode == "apply"


@pytest.mark.parametrize(
    ("cells", "refused"),
    [
        (["mode = 'plan'", "mode: str = 'apply'"], True),  # injected on top, where no cell has the tag `parameters`
        ([INJECTED + "mode = 'plan'", "mode: str = 'apply'"], True),
        (["mode: str = 'apply'", INJECTED + "mode = 'plan'", "mode = 'apply'"], True),
        (["mode = 'apply'", INJECTED + "mode = 'plan'", "mode = 'apply'"], True),
        (["mode = 'plan'", "mode: str = 'apply'", "mode = 'apply'"], False),  # said again
        (["mode = 'apply'", "mode: str = 'apply'"], False),
        (["mode: str = 'plan'", "mode: str = 'apply'"], False),  # the cell was edited and run again
        (["mode: str = 'plan'", "mode = 'apply'"], False),
        ([INJECTED + "mode = 'APPLY'", "mode = mode.lower()"], False),
        (["mode = 'plan'", "mode = 'apply'"], False),
    ],
)
def test_what_was_given_and_a_later_cell_has_replaced_is_refused(run_folder: Path, cells: list[str], *, refused: bool):
    namespace: dict[str, Any] = {"In": ["", *cells]}
    exec("\n".join(cells), namespace)
    if not refused:
        assert open_runbook("02_developer_images", namespace, Watcher()).params.mode == "apply"
        return
    with pytest.raises(ParameterError, match="mode was given as 'plan', and a later cell has set it to 'apply'"):
        open_runbook("02_developer_images", namespace, Watcher())


def test_a_name_mistyped_behind_the_opening_cell_ends_the_step_and_a_name_of_ones_own_does_not(run_folder: Path):
    namespace: dict[str, Any] = {"mode": "apply", "location": "us-central1"}
    book = open_runbook("02_developer_images", namespace, Watcher())
    namespace |= {"locations": ["a", "b"], "label": "x", "model": "small"}
    perform(book, Light())
    namespace["mod"] = "plan"
    light = Light()
    light.planned = lambda: pytest.fail("it was planned")
    with pytest.raises(ParameterError, match="Did you mean 'mode'"):
        perform(book, light)
    del namespace["mod"]
    perform(book, Light())


@pytest.fixture
def run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CGRUNBOOK_RUN_FOLDER", str(tmp_path))
    return tmp_path


def test_a_variable_that_came_to_say_another_value_than_is_in_use_ends_the_step_before_anything_is_read(
    run_folder: Path,
):
    namespace: dict[str, Any] = {"repository": "demo", "confirm": "", "location": "us-central1"}
    seen = Watcher()
    book = open_runbook("06_teardown", namespace, seen)
    light = Light()
    light.planned = lambda: pytest.fail("it was planned")
    secret = Secret("canary-9f1e0a77d3")
    namespace |= {"confirm": "demo", "location": secret.reveal()}
    with pytest.raises(ParameterError) as raised:
        perform(book, light)
    assert raised.value.message.splitlines() == [
        "location: the notebook's variable is '[redacted]', while 'us-central1' is in use.",
        "confirm: the notebook's variable is 'demo', while '' is in use.",
    ]
    assert "run the opening cell again" in raised.value.remedy
    assert "Use these values" not in raised.value.remedy
    assert seen.outcomes == [Outcome.FAILED]
    step = read_record(run_folder).notebooks[0].steps[0]
    assert step.error
    assert (step.error.type, step.error.exit_code, step.error.message) == ("ParameterError", 2, raised.value.message)
    light.planned = lambda: None
    perform(open_runbook("06_teardown", namespace | {"location": "us-central1"}, seen), light)
    assert light.applied == 1


def test_a_variable_that_says_the_same_in_other_words_or_is_no_parameter_of_the_notebook_is_left_alone(
    run_folder: Path,
):
    namespace: dict[str, Any] = {"labels": ["team=a"], "developer_images": ["chainguard/go"], "docker_pull": False}
    book = open_runbook("02_developer_images", namespace, Watcher())
    assert book.params.developer_images == ["chainguard/go:latest"]
    namespace |= {"labels": ("team=a",), "developer_images": ("chainguard/go:latest",), "platform": os}
    del namespace["docker_pull"]
    perform(book, Light())


def test_settings_are_taken_from_the_parameters_in_a_line(run_folder: Path):
    namespace = {
        "labels": ["team=a"],
        "cleanup_keep": 3,
        "secret_locations": ["us-east1"],
        "secret_expires_after": "720h",
    }
    params = open_runbook("03_production_images", namespace, Watcher()).params
    assert steps.RepositorySettings.of(params) == steps.RepositorySettings(labels=["team=a"], cleanup_keep=3)
    assert steps.SecretSettings.of(params) == steps.SecretSettings(
        labels=["team=a"], locations=["us-east1"], expires_after="720h"
    )
    assert steps.SecretSettings.of(Parameters()) == steps.SecretSettings([], [])
    assert steps.RepositorySettings.of(Parameters()) == steps.RepositorySettings(labels=[])


@pytest.mark.parametrize(
    ("cells", "names"),
    [
        (["", "a = 1"], []),
        (["", "# Parameters\na = 1\nb = [1]\na = 2\n"], ["a", "b"]),
        (["", "x = 0", "# Parameters\na = 1\n", "# Parameters\nc: int = 1\n"], ["a"]),
        ([], []),
    ],
)
def test_what_papermill_injected_is_read_from_its_cell(cells: list[str], names: list[str]):
    assert injected_names({"In": cells}) == names


def test_without_a_run_folder_a_new_one_is_made_below_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("CGRUNBOOK_RUN_FOLDER", raising=False)
    monkeypatch.chdir(tmp_path)
    book = open_runbook("00_start_here", {}, Watcher())
    perform(book, Look(OK))
    [folder] = (tmp_path / "runs").iterdir()
    assert record_of(folder).notebooks[0].steps[0].outcome == "verified"
    assert events(folder)[0] == "run-started"


def full_disk(folder: Path) -> None:
    (folder / "journal.jsonl").symlink_to("/dev/full")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_when_the_run_folder_is_full_nothing_is_begun_and_the_message_says_what_to_do(tmp_path: Path):
    full_disk(tmp_path)
    book, _ = open_book(folder=tmp_path)
    light = Light()
    with pytest.raises(StepFailed, match="cannot be written: No space left") as raised:
        perform(book, light)
    assert "--output" in raised.value.remedy
    assert light.applied == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_when_the_run_folder_becomes_full_before_the_intent_is_written_nothing_is_changed(tmp_path: Path):
    book, _ = open_book(folder=tmp_path)
    light = Light()

    def fill() -> None:
        (tmp_path / "journal.jsonl").unlink()
        full_disk(tmp_path)

    light.planned = fill
    with pytest.raises(StepFailed, match="cannot be written"):
        perform(book, light)
    assert light.applied == 0
    (tmp_path / "journal.jsonl").unlink()
    light.planned = lambda: None
    perform(book, light)
    assert light.applied == 1


def test_a_line_that_the_disk_takes_only_half_of_is_no_line_that_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    book, _ = open_book(folder=tmp_path)
    real, half = os.write, [True]

    def write(descriptor: int, data: bytes) -> int:
        if half.pop() if half else False:
            return real(descriptor, data[: len(data) // 2])
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", write)
    perform(book, Light())
    monkeypatch.undo()
    assert events(tmp_path) == ["step-started", "planned", "intent", "outcome"]


def test_an_error_shows_in_a_notebook_as_its_sentence_and_no_machinery():
    error = CgrunbookError("It is dark.", "Light it.")
    assert error._render_traceback_() == ["CgrunbookError: It is dark.\nWhat to do: Light it."]
