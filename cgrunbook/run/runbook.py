"""How a step is performed: plan, show, approve, journal, apply, verify, record.

It knows the order of these and keeps the journal. It knows no step of the guide, and it shows and asks only through
the `Face` it is given.
"""

from __future__ import annotations

import ast
import asyncio
import os
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import cgrunbook
from cgrunbook import parameters
from cgrunbook.cloud import Cloud, open_cloud
from cgrunbook.cloud.attempts import Attempts, Wait
from cgrunbook.errors import CgrunbookError, Declined, Interrupted, PrerequisiteMissing, StepFailed
from cgrunbook.home import home
from cgrunbook.parameters import Parameters
from cgrunbook.redaction import redact
from cgrunbook.run.journal import RUN_FOLDER_VARIABLE, Event, Journal, new_run_folder, operator, write_record
from cgrunbook.steps.step import Evidence, Finding, Mark, Outcome, Plan, Progress, Proof, Step, World

T = TypeVar("T")

_TURN_SECONDS = 0.2


@dataclass(frozen=True)
class Result:
    """What came of one performed step, as a face shows it.

    Args:
        number: the step's place in the notebook, from 1.
        step: the step.
        outcome: what came of it.
        plan: what it found to do.
        evidence: what was read back.
        error: why it failed, or None.
        seconds: how long it took, without the time that somebody took to approve.
        waited: seconds of these that were waits for something known to pass.
    """

    number: int
    step: Step
    outcome: Outcome
    plan: Plan = field(default_factory=Plan)
    evidence: Evidence = field(default_factory=Evidence)
    error: CgrunbookError | None = None
    seconds: float = 0.0
    waited: float = 0.0


class Face(Protocol):
    """Where a runbook shows and asks: a notebook with somebody in front of it, one without, or nothing at all."""

    @property
    def interactive(self) -> bool:
        """Whether somebody is there to approve; if so, nothing is changed before they did."""

    def opened(self, book: Runbook) -> None:
        """The notebook has begun: show what it works on."""

    async def approve(self, number: int, step: Step, plan: Plan) -> bool:
        """Show a plan that changes something, and answer whether to go on. Asked only when interactive."""

    def progress(self, number: int, step: Step, progress: Progress) -> None:
        """A step has come this far. Called from any thread."""

    def waiting(self, number: int, step: Step, wait: Wait) -> None:
        """A step waits for something that is known to pass. Called from any thread."""

    def finished(self, result: Result) -> None:
        """A step has ended: its one, final display."""


class Runbook:
    """One notebook at work on one target.

    Args:
        notebook: its name without the ending.
        params: what it was told.
        cloud: what it works on.
        face: where it shows and asks.
        journal: where it writes down what it does.
        after_step: called with the run folder after each step has been journaled.
        attempts: shared with the cloud; its `cancelled` is how an interrupt reaches a working step.
    """

    def __init__(
        self,
        notebook: str,
        params: Parameters,
        cloud: Cloud,
        face: Face,
        journal: Journal,
        *,
        after_step: Callable[[Path], object],
        attempts: Attempts,
    ) -> None:
        self.notebook = notebook
        self.params = params
        self.cloud = cloud
        self.results: list[Result] = []
        self._face = face
        self._journal = journal
        self._after_step = after_step
        self._attempts = attempts
        self._expected = set(expected_of(journal)) if params.mode == "plan" else set()
        self._changes_pending = params.mode == "plan" and changes_planned(journal)
        self._alone = asyncio.Lock()
        self._current: tuple[int, Step] | None = None
        self._waited = 0.0
        self._thought = 0.0
        attempts.on_wait = self._on_wait

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self._journal.folder

    @property
    def target(self) -> dict[str, str]:
        """What it works on, by the names of the parameters that say so; what was not given is filled in."""
        connection = self.cloud.connection
        return {
            "target": connection.target,
            "project_id": connection.project_id,
            "location": connection.location,
            "organization": connection.organization,
        }

    @property
    def at_work(self) -> bool:
        """Whether a step is being performed."""
        return self._alone.locked()

    def console(self, step: Step) -> str:
        """The page of Google Cloud's console that shows what a step works on; "" for none, as in the sandbox."""
        return step.console(self._world()) if self.cloud.connection.target == "google-cloud" else ""

    def become(self, other: Runbook) -> None:
        """Go on as another one, so that a notebook's cells, which know this one, work on another target.

        Args:
            other: one that was opened just now, with the same face; it is not to be used by itself.
        """
        self.params, self.cloud, self.results = other.params, other.cloud, other.results
        self._journal, self._attempts, self._expected = other._journal, other._attempts, other._expected
        self._changes_pending = other._changes_pending
        self._attempts.on_wait = self._on_wait

    async def perform(self, step: Step) -> None:
        """Perform one step: find out what is to be done, have it approved, do it, and prove it.

        Args:
            step: what the guide asks for.

        Raises:
            CgrunbookError: the step failed, was declined or interrupted, or lacks a prerequisite; it is journaled and shown
                before it is raised, and the notebook stops.
        """
        async with self._alone:
            number = len(self.results) + 1
            self._current, self._waited, self._thought = (number, step), 0.0, 0.0
            self._attempts.cancelled.clear()
            begun = time.monotonic()
            plan, evidence, outcome, error = Plan(), Evidence(), Outcome.FAILED, None
            cause: BaseException | None = None
            self._write("step-started", number, kind=type(step).__name__, title=step.title, section=step.section.value)
            try:
                plan, outcome = await self._plan_and_apply(number, step)
                if outcome is not Outcome.PLANNED:
                    evidence = await self._in_thread(lambda: step.verify(self._world()))
                    error = failure_of(evidence.findings)
                    if error and self._changes_pending and isinstance(step, Proof):
                        # What a check finds wrong now may be just what the changes of this plan put right.
                        outcome, error = Outcome.PLANNED, None
            except Declined as declined:
                outcome, error = Outcome.DECLINED, declined
            except CgrunbookError as failed:
                error = failed
            except (asyncio.CancelledError, KeyboardInterrupt) as interrupt:
                error, cause = (
                    Interrupted(f"{step.title}: interrupted.", "Run it again: it goes on where it ended."),
                    interrupt,
                )
            except Exception as unexpected:  # noqa: BLE001 - a defect must end as a journaled, redacted failure
                error, cause = _defect(step, unexpected), unexpected
            if error and outcome is not Outcome.DECLINED:
                outcome = Outcome.FAILED
            seconds = time.monotonic() - begun - self._thought
            result = Result(number, step, outcome, plan, evidence, error, seconds, self._waited)
            self._conclude(result, cause)
            if error:
                raise error from cause

    async def _plan_and_apply(self, number: int, step: Step) -> tuple[Plan, Outcome]:
        """All of a step but its proof; answers the plan and what came of it."""
        if isinstance(step, Proof):
            skipped = self.params.mode == "plan" and step.waits_for_apply
            return Plan(), Outcome.PLANNED if skipped else Outcome.UNCHANGED
        if self.params.mode == "plan" or step.held_back:
            plan = await self._planned(number, step)
            self._expected |= set(plan.makes)
            self._changes_pending |= self.params.mode == "plan" and not plan.empty
            return plan, Outcome.UNCHANGED if plan.empty else Outcome.PLANNED
        if not self._face.interactive:
            return await self._in_thread(lambda: self._apply_alone(number, step, agreed=None))
        plan = await self._planned(number, step)
        while not plan.empty:
            asked = time.monotonic()
            try:
                agreed = await self._face.approve(number, step, plan)
            finally:
                self._thought += time.monotonic() - asked
            if not agreed:
                self._write("declined", number)
                raise Declined(f"{step.title}: declined; nothing was changed.", "Run the cell again to be asked again.")
            self._write("approved", number, sync=False)  # the intent follows before anything is done
            plan, outcome = await self._in_thread(partial(self._apply_alone, number, step, agreed=plan))
            if outcome is not Outcome.PLANNED:
                return plan, outcome
            # The world has changed since the plan was shown: what was approved is not what would be done now.
        return plan, Outcome.UNCHANGED

    async def _planned(self, number: int, step: Step) -> Plan:
        plan = await self._in_thread(lambda: step.plan(self._world()))
        self._write_plan(number, plan)
        return plan

    def _apply_alone(self, number: int, step: Step, *, agreed: Plan | None) -> tuple[Plan, Outcome]:
        """Plan and apply while no other run on this machine works on the same project.

        Args:
            number: the step's place.
            step: the step.
            agreed: the plan that somebody approved; when the world now asks for another, nothing is done and the new plan
                is answered as `planned`. None where nobody is asked.
        """
        with self._lock():
            plan = step.plan(self._world())
            if agreed is None or plan != agreed:
                self._write_plan(number, plan)
            if plan.empty:
                return plan, Outcome.UNCHANGED
            if agreed is not None and plan != agreed:
                return plan, Outcome.PLANNED
            self._write("intent", number, outcome=plan.outcome.value)
            step.apply(self._world(), plan)
            return plan, plan.outcome

    @contextmanager
    def _lock(self) -> Iterator[None]:
        from filelock import FileLock, Timeout

        connection = self.cloud.connection
        folder = home() / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f"{connection.target}.{connection.project_id.replace(':', '.')}.lock")

        def acquire() -> None:
            lock.acquire(timeout=0)

        try:
            self._attempts.run(
                acquire, reason=f"another run to finish its step on {connection.project_id}", temporary=(Timeout,)
            )
        except Timeout as held:
            raise StepFailed(
                f"Another run on this machine has been at work on {connection.project_id} all the time; nothing was begun.",
                "Wait until it is done, or end it if it hangs; then run again. wait_limit says for how long it is waited for.",
            ) from held
        try:
            yield
        finally:
            lock.release()

    def _world(self) -> World:
        return World(self.cloud, frozenset(self._expected), self._on_progress)

    def _on_progress(self, progress: Progress) -> None:
        if self._attempts.cancelled.is_set():
            raise Interrupted("Interrupted.")
        if self._current:
            self._face.progress(*self._current, progress)

    def _on_wait(self, wait: Wait) -> None:
        if self._current:
            number, step = self._current
            self._waited += wait.seconds
            self._write("waiting", number, reason=wait.reason, seconds=round(wait.seconds, 3), attempt=wait.attempt)
            self._face.waiting(number, step, wait)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Do blocking work beside the event loop, so that clicks and interrupts are heard; when interrupted, let it end."""
        task = asyncio.ensure_future(asyncio.to_thread(work))
        try:
            while not task.done():
                # ipykernel hears of an interrupt only when its loop has something to do: short turns give it that.
                await asyncio.wait({task}, timeout=_TURN_SECONDS)
            return task.result()
        except asyncio.CancelledError:
            self._attempts.cancelled.set()
            ended, _ = await asyncio.wait({task}, timeout=30)
            if ended and task.exception() is None:
                task.result()  # the work was done before it heard of the interrupt; the next run finds it there
            raise

    def _write(self, event: Event, number: int = 0, *, sync: bool = True, **data: Any) -> None:
        self._journal.add(event, notebook=self.notebook, step=number, sync=sync, **data)

    def _write_plan(self, number: int, plan: Plan) -> None:
        self._write(
            "planned",
            number,
            changes=[asdict(change) for change in plan.changes],
            commands=list(plan.commands),
            makes=list(plan.makes),
            notes=list(plan.notes),
        )

    def _conclude(self, result: Result, cause: BaseException | None) -> None:
        """Journal what came of a step, show it, and bring the record up to date."""
        data: dict[str, Any] = {
            "outcome": result.outcome.value,
            "brief": brief(result),
            "evidence": dict(result.evidence.facts),
            "findings": [
                {"mark": finding.mark.value, "check": finding.check, "seen": finding.seen, "remedy": finding.remedy}
                for finding in result.evidence.findings
            ],
            "seconds": round(result.seconds, 3),
        }
        if result.error:
            data["error"] = error_data(result.error)
            if cause:
                data["traceback"] = redact("".join(traceback.format_exception(cause)))
        self._write("outcome", result.number, **data)
        self.results.append(result)
        self._face.finished(result)
        self._after_step(self.folder)


def open_runbook(
    notebook: str,
    namespace: Mapping[str, Any],
    face: Face,
    *,
    after_step: Callable[[Path], object] = write_record,
) -> Runbook:
    """Begin a notebook: hold its parameters against their rules, then connect to its target.

    Args:
        notebook: its name without the ending.
        namespace: the notebook's globals, which hold the parameters.
        face: where to show and ask.
        after_step: called with the run folder whenever there is something new in the journal to tell.

    Returns:
        The runbook whose `perform` the notebook's cells await.

    Raises:
        ParameterError: before any call is made.
        PrerequisiteMissing, SandboxUnavailable: the target cannot be reached or there are no credentials.
    """
    folder = os.environ.get(RUN_FOLDER_VARIABLE)
    journal = Journal(Path(folder) if folder else new_run_folder(Path.cwd() / "runs"))
    values = {name: namespace[name] for name in parameters.NAMES if name in namespace}
    try:
        for name in injected_names(namespace):
            if name not in values:
                raise parameters.unknown(name, among=values)
        params = parameters.check(values)
        if not folder:
            journal.add(
                "run-started",
                version=cgrunbook.__version__,
                operator=operator(),
                mode=params.mode,
                began_in="notebook",
            )
        attempts = Attempts(limit=params.wait_limit, cancelled=threading.Event())
        cloud = open_cloud(
            params.target,
            project_id=params.project_id,
            location=params.location,
            organization=params.organization,
            attempts=attempts,
        )
    except CgrunbookError as error:
        journal.add("notebook-started", notebook=notebook, parameters=values)
        journal.add("notebook-ended", notebook=notebook, outcome="failed", error=error_data(error))
        after_step(journal.folder)
        raise
    book = Runbook(notebook, params, cloud, face, journal, after_step=after_step, attempts=attempts)
    journal.add(
        "notebook-started",
        notebook=notebook,
        parameters=values,
        target=book.target,
    )
    face.opened(book)
    return book


def injected_names(namespace: Mapping[str, Any]) -> list[str]:
    """The names that papermill put into the notebook: those assigned in the cell which it marks with `# Parameters`.

    papermill itself only warns of a name that the notebook does not have.
    """
    names: list[str] = []
    for source in namespace.get("In", ()):
        if isinstance(source, str) and source.startswith("# Parameters\n"):
            for node in ast.parse(source).body:
                if isinstance(node, ast.Assign):
                    names += [target.id for target in node.targets if isinstance(target, ast.Name)]
    return list(dict.fromkeys(names))


def expected_of(journal: Journal) -> Iterator[str]:
    """What the notebooks of this run, in `mode="plan"`, said they would make."""
    for line in journal.lines():
        if line.event == "planned":
            yield from line.data.get("makes", [])


def changes_planned(journal: Journal) -> bool:
    """Whether the notebooks of this run have planned a change so far."""
    return any(line.event == "planned" and line.data.get("changes") for line in journal.lines())


def failure_of(findings: tuple[Finding, ...]) -> CgrunbookError | None:
    """The error that failed checks amount to, or None when none failed."""
    failed = [finding for finding in findings if finding.mark is Mark.FAIL]
    if not failed:
        return None
    message = "\n".join(f"{finding.check}: {finding.seen}" for finding in failed)
    remedy = "\n".join(dict.fromkeys(finding.remedy for finding in failed if finding.remedy))
    kind = PrerequisiteMissing if all(finding.prerequisite for finding in failed) else StepFailed
    return kind(message, remedy)


def error_data(error: CgrunbookError) -> dict[str, Any]:
    """An error as the journal keeps it."""
    return {
        "type": type(error).__name__,
        "message": error.message,
        "remedy": error.remedy,
        "exit_code": error.exit_code,
    }


def brief(result: Result) -> str:
    """One line that says what came of a step."""
    if result.error:
        return result.error.message.splitlines()[0]
    if result.outcome is Outcome.PLANNED:
        if result.evidence.findings:
            return f"{result.evidence.in_brief}; to be looked at again when the changes are made"
        count = len(result.plan.changes)
        return f"{count} change{'s' if count != 1 else ''}" if count else "a proof, made when the changes are"
    return result.evidence.in_brief


def _defect(step: Step, error: Exception) -> StepFailed:
    return StepFailed(
        f"{step.title}: a defect of cgrunbook, {type(error).__name__}: {error}",
        "Please report it with the traceback in the run folder's journal; secrets are masked there.",
    )
