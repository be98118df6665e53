"""One step performed once: plan, show, approve, journal the intent, apply, verify, journal what came of it.

It knows the order of these. It knows no step of the guide, and it shows and asks only through the `Face` it is given.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from cgrunbook.cloud import Cloud, Wait
from cgrunbook.errors import CgrunbookError, Declined, Interrupted, StepFailed, of_the_system, what_helps
from cgrunbook.home import home, made
from cgrunbook.run.face import Face
from cgrunbook.run.result import Result, failure_of, plan_as_journaled
from cgrunbook.run.session import Session
from cgrunbook.steps.step import Evidence, Mark, Outcome, Plan, Progress, Proof, Step, World

T = TypeVar("T")

_TURN_SECONDS = 0.2

# In a notebook, whoever runs the step's cell alone would wonder why the ones below it are empty.
_GO_ON = "Run > Run Selected Cell and All Below"

# What a step writes beside its journal is in these.
_ELSEWHERE = "let CGRUNBOOK_HOME, DOCKER_CONFIG and TMPDIR name folders that you may write, then run again"


class Performance:
    """One step on its way.

    Args:
        number: the step's place in the notebook, from 1.
    """

    def __init__(self, session: Session, face: Face, number: int, step: Step) -> None:
        self._session = session
        self._face = face
        self._number = number
        self._step = step
        self._waited = 0.0
        self._thought = 0.0  # seconds that somebody took to answer
        self._write = partial(session.journal.add, notebook=session.notebook, step=number)

    async def run(self) -> Result:
        """Perform the step; answers what came of it, which is journaled by then. A failure is an answer too."""
        begun = time.monotonic()
        self._session.cloud.attempts.cancelled.clear()
        step = self._step
        plan, evidence, outcome = Plan(), Evidence(), Outcome.FAILED
        error: CgrunbookError | None = None
        cause: BaseException | None = None
        about: dict[str, Any] = {"kind": type(step).__name__, "title": step.title, "section": step.section.value}
        self._write("step-started", **about | ({"subject": step.subject} if step.subject else {}))
        try:
            self._session.paperwork.step_begun()
            self._session.require_one_truth(self._face.form())
            with self._session.waits_told_to(self._on_wait):
                plan, outcome, world = await self._plan_and_apply()
                if outcome is Outcome.SKIPPED:
                    evidence = Evidence(f"not asked for ({step.not_asked_for})")
                elif outcome is not Outcome.PLANNED:
                    evidence = await self._in_thread(partial(step.verify, world))
            if outcome is Outcome.VERIFIED and {finding.mark for finding in evidence.findings} == {Mark.NOT_CHECKED}:
                outcome = Outcome.NOT_CHECKED
            error = evidence.failure or failure_of(evidence.findings)
            if error and self._session.changes_pending and isinstance(step, Proof):
                # What a check finds wrong now may be just what the changes of this plan put right.
                outcome, error = Outcome.PLANNED, None
        except CgrunbookError as failed:
            error = failed
        except (asyncio.CancelledError, KeyboardInterrupt) as interrupt:
            remedy = f"{_GO_ON}: it goes" if self._face.interactive else "Run it again: it goes"
            error = Interrupted(f"{step.title}: interrupted.", f"{remedy} on where it ended.")
            cause = interrupt
        except Exception as unexpected:  # noqa: BLE001 - a defect must end as a journaled, redacted failure
            cause = unexpected
            if of_the_system(unexpected):
                error = StepFailed(f"{step.title}: {unexpected}.", what_helps(unexpected, _ELSEWHERE))
            else:
                error = StepFailed(
                    f"{step.title}: a defect of cgrunbook, {type(unexpected).__name__}: {unexpected}",
                    "Please report it with the traceback in the run folder's journal; secrets are masked there.",
                )
        if error:
            outcome = Outcome.DECLINED if isinstance(error, Declined) else Outcome.FAILED
        seconds = time.monotonic() - begun - self._thought
        result = Result(self._number, step, outcome, plan, evidence, error, seconds, self._waited, cause)
        self._write("outcome", **result.as_journaled())
        return result

    async def _plan_and_apply(self) -> tuple[Plan, Outcome, World]:
        """All of a step but its proof; answers the plan, what came of it, and the world to prove it in.

        What was read for a plan serves the proof where nothing was done; a change is proved in a world read anew.
        """
        session, step, world = self._session, self._step, self._world()
        planning = session.params.mode == "plan"
        if step.not_asked_for:
            return Plan(), Outcome.SKIPPED, world
        if isinstance(step, Proof):
            plan = step.plan(world)
            return plan, Outcome.PLANNED if planning and step.waits_for_apply else plan.outcome, world
        if not (planning or step.held_back or self._face.interactive):
            return await self._in_thread(partial(self._apply_alone, world, agreed=None))
        plan = await self._in_thread(partial(step.plan, world))
        self._write("planned", **plan_as_journaled(plan))
        if planning or step.held_back:
            session.expected |= set(plan.makes)
            session.changes_pending |= planning and not plan.empty
            return plan, plan.outcome if plan.empty else Outcome.PLANNED, world
        while not plan.empty:
            await self._have_approved(plan)
            apply = partial(self._apply_alone, self._world(), agreed=plan)
            plan, outcome, world = await self._in_thread(apply)
            if outcome is not Outcome.PLANNED:
                return plan, outcome, world
            # The world has changed since the plan was shown: what was approved is not what would be done now.
        return plan, plan.outcome, world

    async def _have_approved(self, plan: Plan) -> None:
        asked = time.monotonic()
        try:
            agreed = await self._face.approve(self._number, self._step, plan)
        finally:
            self._thought += time.monotonic() - asked
        if not agreed:
            self._write("declined")
            raise Declined(f"{self._step.title}: declined; nothing was changed.", f"To be asked again: {_GO_ON}.")
        self._write("approved", sync=False)  # the intent follows before anything is done

    def _apply_alone(self, world: World, *, agreed: Plan | None) -> tuple[Plan, Outcome, World]:
        """Plan and apply while no other run on this machine works on the same project.

        Args:
            world: nothing of it was read before.
            agreed: the plan that somebody approved; when the world now asks for another, nothing is done and the new plan
                is answered as `planned`. None where nobody is asked.
        """
        with _alone_on(self._session.cloud):
            plan = self._step.plan(world)
            if agreed is None or plan != agreed:
                self._write("planned", **plan_as_journaled(plan))
            if plan.empty:
                return plan, plan.outcome, world
            if agreed is not None and plan != agreed:
                return plan, Outcome.PLANNED, world
            self._write("intent", outcome=plan.outcome.value)
            seen = self._step.apply(world, plan)
            return plan, plan.outcome, replace(self._world(), seen=seen or {})

    def _world(self) -> World:
        return World(self._session.cloud, frozenset(self._session.expected), self._on_progress)

    def _on_progress(self, progress: Progress) -> None:
        if self._session.cloud.attempts.cancelled.is_set():
            raise Interrupted("Interrupted.")
        self._face.progress(self._number, self._step, progress)

    def _on_wait(self, wait: Wait) -> None:
        self._waited += wait.seconds
        self._write("waiting", reason=wait.reason, seconds=round(wait.seconds, 3), attempt=wait.attempt)
        self._face.waiting(self._number, self._step, wait)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Do blocking work beside the event loop, so that clicks and interrupts are heard; when interrupted, let it end."""
        task = asyncio.ensure_future(asyncio.to_thread(work))
        try:
            while not task.done():
                # ipykernel hears of an interrupt only when its loop has something to do: short turns give it that.
                await asyncio.wait({task}, timeout=_TURN_SECONDS)
            return task.result()
        except asyncio.CancelledError:
            self._session.cloud.attempts.cancelled.set()
            ended, _ = await asyncio.wait({task}, timeout=30)
            if ended:
                task.exception()  # whatever came of it, nobody goes by it: what was done by then, the next run finds there
            raise


@contextmanager
def _alone_on(cloud: Cloud) -> Iterator[None]:
    """Keep other runs on this machine from working on the same project meanwhile.

    Raises:
        StepFailed: another one has been at work for as long as anything is waited for.
    """
    from filelock import FileLock, Timeout

    project_id = cloud.connection.project_id
    lock = FileLock(made(home() / "locks") / f"{cloud.connection.target}.{project_id.replace(':', '.')}.lock")
    try:
        held = cloud.attempts.run(
            partial(lock.acquire, timeout=0),
            reason=f"another run to finish its step on {project_id}",
            temporary=(Timeout,),
        )
    except Timeout as error:
        raise StepFailed(
            f"Another run on this machine has been at work on {project_id} all the time; nothing was begun.",
            "Wait until it is done, or end it if it hangs; then run again. wait_limit says for how long it is waited for.",
        ) from error
    with held:
        yield
