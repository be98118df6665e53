"""A notebook's face, with somebody in front of it or without; and `open_notebook`, with which each notebook begins.

It puts cards where the cell's output is and asks by buttons. It knows no step and decides nothing.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping, MutableMapping
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import cgrunbook
from cgrunbook import parameters
from cgrunbook.cloud.attempts import Wait
from cgrunbook.errors import CgrunbookError, Interrupted, ParameterError, StepFailed, UsageError
from cgrunbook.first_use import importing
from cgrunbook.run.early_end import watch_cells
from cgrunbook.run.given import leave_out_what_is_not_declared, mistyped, name_of_answer, values_of
from cgrunbook.run.kernel_output import mask_all_output
from cgrunbook.run.outline import Outline, outline_of
from cgrunbook.run.result import Result
from cgrunbook.run.runbook import Runbook, open_runbook
from cgrunbook.run.session import Session, open_session
from cgrunbook.steps.step import Outcome, Plan, Progress, Step
from cgrunbook.ui import cards, step_list, values
from cgrunbook.ui.cell import CellOutput, ipython_display, leave_choices_out
from cgrunbook.ui.front_end import somebody_can_click
from cgrunbook.ui.mirror import have_saved, reflect
from cgrunbook.ui.pace import Pace
from cgrunbook.ui.values import Source, Value
from cgrunbook.ui.waiting import interruptible

if TYPE_CHECKING:
    from cgrunbook.run.conclusion import Conclusion
    from cgrunbook.ui.approval import Panel
    from cgrunbook.ui.form import Form
    from cgrunbook.ui.presence import Presence

# Seconds between two redraws of the working card: five a second are smooth and flood nothing.
REDRAW_SECONDS = 0.2

# Seconds until it is asked what the form's fields can offer: that imports Google's clients, and the opening cell ends first.
LISTS_AFTER_SECONDS = 0.2

# Before a step has said anything of itself.
_WORKING = Progress("working")


class QuietFace:
    """Nobody is there: each step has one, final, static display.

    Args:
        said: by name, what the notebook says its parameters are, and where that comes from.
    """

    interactive = False

    def __init__(self, said: Mapping[str, Value]) -> None:
        self._said = said
        self._output = CellOutput(stays=True)
        self._session: Session | None = None

    def opened(self, session: Session) -> None:
        """Show what the notebook works on, and its steps."""
        self._session = session
        self.standing()

    def standing(self) -> None:
        """Redraw the steps where they stand: whoever keeps a notebook's outputs hears that."""
        if session := self._session:
            card = target_card(session, self._said)
            self._output.draw(
                step_list.below(card, session.outline, planning=session.params.mode == "plan", live=False)
            )

    def concluded(self, conclusion: Conclusion) -> None:
        """The one display."""
        show_conclusion(conclusion, self._session)

    def form(self) -> None:
        """There is none."""

    async def approve(self, number: int, step: Step, plan: Plan) -> bool:
        """Never asked: nobody is there."""
        raise NotImplementedError

    def progress(self, number: int, step: Step, progress: Progress) -> None:
        """Nothing: the journal is what a headless run is watched by."""

    def waiting(self, number: int, step: Step, wait: Wait) -> None:
        """Nothing: the journal has it."""

    def finished(self, result: Result) -> None:
        """The one display."""
        show(cards.result_card(result, self._session.context if self._session else None))


class LiveFace:
    """Somebody is there: a plan is approved by a click, work is seen as it goes, and the final display replaces both.

    Made where an event loop runs; it draws only there.

    Args:
        form: the form above the cells; None where nothing is filled in.
        presence: knows whether there is a page to click on; None where that is certain.
        on_standing: redraws the list of steps.
    """

    interactive = True

    def __init__(
        self,
        form: Form | None = None,
        presence: Presence | None = None,
        on_standing: Callable[[], None] = lambda: None,
    ) -> None:
        self.standing = on_standing
        self._loop = asyncio.get_running_loop()
        self._form = form
        self._presence = presence
        self._output = CellOutput()
        self._session: Session | None = None
        self._panel: Panel | None = None
        self._approve_rest = self._approved = False
        self._pace = Pace()
        self._drawn = 0.0
        self._next: asyncio.TimerHandle | None = None
        self._state: tuple[Step, Progress]
        self._ended = 0

    def opened(self, session: Session) -> None:
        """Remember it; it is shown with the form. What was approved ahead was approved for another."""
        self._session = session
        if self._presence:
            self._presence.values = session.params.model_dump()
        self._approve_rest = self._approved = False
        self._ended = 0

    def concluded(self, conclusion: Conclusion) -> None:
        """The one display."""
        show_conclusion(conclusion, self._session)

    def form(self) -> Mapping[str, Any] | None:
        """What stands in the form's fields, in use or not."""
        return self._form.values()[0] if self._form else None

    async def approve(self, number: int, step: Step, plan: Plan) -> bool:
        """Show the plan and await the click; a deletion is asked for even when the rest was approved."""
        from cgrunbook.ui.approval import DRAW_SECONDS, Answer, Panel, Question
        from cgrunbook.ui.decision import copied, yes_to

        if self._approve_rest and plan.outcome is not Outcome.DELETED:
            self._redraw(number, step, _WORKING)
            return True
        self._cancel_redraw()
        console, context = (self._session.console(step), self._session.context) if self._session else ("", None)
        yes = yes_to(plan, context, first=not self._approved)
        question = Question(
            copied(plan.commands, context), title=step.title, rest=plan.outcome is not Outcome.DELETED, yes=yes
        )
        now = datetime.now(UTC)
        card = cards.plan_card(step, plan, number=number, context=context, console=console, asked=now)
        if self._panel is None:
            self._panel = Panel(self._presence.widgets if self._presence else ())
        self._panel.ask(question, number, card["text/html"])
        self._output.draw(card)
        self._announce(f"Waiting for your approval: {step.title}")
        otherwise = "Approve, Decline: buttons of a running notebook."
        self._output.attach(self._panel.widget, self._presence.otherwise(otherwise) if self._presence else otherwise)
        self._asks(True)
        have_saved()
        waiting = partial(self._presence.wait, what=step.title) if self._presence else interruptible
        answer = await question.wait(waiting)
        if answer is Answer.DECLINE:
            return False
        self._approved = True
        self._approve_rest |= answer is Answer.APPROVE_REST
        self._loop.call_later(DRAW_SECONDS, self._redraw, number, step, _WORKING)
        self._loop.call_later(DRAW_SECONDS, self._asks, False)
        self._loop.call_later(DRAW_SECONDS, have_saved)
        return True

    def _asks(self, asks: bool) -> None:
        if self._session:
            self._session.outline.asks(asks)
            self.standing()

    def progress(self, number: int, step: Step, progress: Progress) -> None:
        """Redraw the working card, from whichever thread."""
        self._loop.call_soon_threadsafe(self._redraw, number, step, progress)

    def waiting(self, number: int, step: Step, wait: Wait) -> None:
        """The same for a wait, which is progress that nobody can measure."""
        self.progress(number, step, Progress(f"waiting for {wait.reason}"))

    def finished(self, result: Result) -> None:
        """Let the final display take the place of what was shown while the step worked."""
        self._cancel_redraw()
        self._ended = result.number
        card = cards.result_card(result, self._session.context if self._session else None)
        self._output.settle(card)
        self._announce(f"{result.outcome.value}: {result.step.title}")
        if self._panel is not None:
            self._panel.tell(card["text/html"])
        have_saved()

    def _announce(self, said: str) -> None:
        """Say it to who listens: what is displayed in a cell is not read aloud by itself."""
        if self._form:
            self._form.announce(said)

    def _redraw(self, number: int, step: Step, progress: Progress) -> None:
        """Draw now, or a little later what is the last state by then."""
        if number <= self._ended:
            return  # said by a thread before the step ended, heard after
        self._state = (step, progress)
        if self._next is None:
            self._next = self._loop.call_at(max(self._loop.time(), self._drawn + REDRAW_SECONDS), self._draw)

    def _draw(self) -> None:
        self._next = None
        step, progress = self._state
        self._drawn = self._loop.time()
        self._output.detach()
        context = self._session.context if self._session else None
        self._output.draw(cards.working_card(step, progress, self._pace.of(progress), context))

    def _cancel_redraw(self) -> None:
        if self._next is not None:
            self._next.cancel()
            self._next = None


async def open_notebook(notebook: str, namespace: MutableMapping[str, Any], version: str = "") -> Runbook:
    """Begin a notebook: settle its parameters, connect to its target, and show both.

    With somebody in front of the notebook this shows the form. It waits for the form's button only when nothing was
    ever confirmed, or when a value is missing or breaks its rule; otherwise it goes on with what the form shows.

    Args:
        notebook: its name without the ending.
        namespace: the notebook's `globals()`, which hold the parameters; gets the values that were chosen.
        version: the cgrunbook that it was written for, as "0.1"; empty where its author answers for that.

    Returns:
        The runbook whose `perform` the cells await.

    Raises:
        UsageError: the notebook was written for another version, so that it could stop half-way, at a step that is gone.
        CgrunbookError: a parameter breaks its rule, or the target cannot be reached.
    """
    from IPython import get_ipython

    mask_all_output(get_ipython())
    attended = somebody_can_click(get_ipython())
    if attended:
        reflect(getattr(get_ipython(), "kernel", None))
        leave_choices_out(get_ipython())
    watch_cells(get_ipython(), notebook, values_of(namespace), strangers=not attended)
    if version and version != ".".join(cgrunbook.__version__.split(".")[:2]):
        raise UsageError(
            f"This {notebook} was written for cgrunbook {version}, and this kernel has cgrunbook {cgrunbook.__version__}. "
            "Nothing was looked at or changed.",
            "Take the notebooks that belong to this cgrunbook, in a new folder: cgrunbook notebooks copy DEST",
        )
    if not_used := leave_out_what_is_not_declared(notebook, namespace):
        sys.stderr.write(f"{not_used}\n")
    # What a mistyped name was meant to be, no form can put right: that ends here, as it does with nobody there.
    if attended and not mistyped(namespace):
        return await Opening(notebook, namespace).run()
    return open_runbook(notebook, namespace, QuietFace(values.said_in_notebook(namespace)))


class Opening:
    """The opening cell with somebody in front of it: the form, and the runbook that follows it.

    Args:
        notebook: the notebook's name.
        namespace: its globals.
    """

    def __init__(self, notebook: str, namespace: MutableMapping[str, Any]) -> None:
        with importing():
            import ipywidgets

            from cgrunbook.ui.form import Form
            from cgrunbook.ui.presence import Presence

        self._notebook = notebook
        self._namespace = namespace
        self._saved = values.read_saved()
        self._began = values.for_person(namespace, self._saved)
        self._presence = Presence(notebook, {name: value.value for name, value in self._began.items()})
        self._output = CellOutput(stays=True)
        self._variable = name_of_answer(namespace, open_notebook.__name__)
        self._failure: CgrunbookError | None = None
        self._chosen: asyncio.Future[dict[str, Any]] | None = None
        self._following: asyncio.Task[None] | None = None
        self._listing: asyncio.Task[None] | None = None
        self.book: Runbook | None = None
        self.form: Form = Form(
            self._began,
            rules=values.broken_rules,
            on_use=self.use,
            on_target=self._for_target,
            on_defaults=self._defaults,
        )
        self._tell_kept(values.why_unread())
        self._outline = Outline()
        self._planning = False
        self._steps: Any = ipywidgets.HTML()
        self._card: dict[str, str] = {}
        self._face = LiveFace(self.form, self._presence, self._draw)

    async def run(self) -> Runbook:
        """Show the form, wait for it if need be, and connect.

        What keeps the notebook from beginning is said in the form, and the cell goes on waiting for its button.

        Raises:
            Interrupted: the kernel was interrupted meanwhile.
            CgrunbookError: nothing can be clicked on.
        """
        chosen, wrong = self.form.values()
        if wrong:
            self._presence.wrong = "\n".join(f"{name}: {rule}" for name, rule in wrong.items())
            self._draw_waiting("needs values that keep the rules: correct the form below and press 'Use these values'")
        elif self._saved is None:
            self._draw_waiting("waits for you: look at the form below and press 'Use these values'")
        elif book := await self._begin(chosen, save=False):
            # Drawn once, when it is known what the notebook works on.
            self._attach()
            return book
        self.form.reveal()
        self._attach(waits=True)
        while not (book := await self._begin(await self._confirmed())):
            pass
        return book

    def use(self, chosen: dict[str, Any]) -> None:
        """The person has pressed the button: go on with the cell, or when that has ended, work with these values now."""
        if self._chosen is not None and not self._chosen.done():
            self._chosen.set_result(chosen)
        else:
            self._following = asyncio.get_running_loop().create_task(self._follow(chosen))

    async def _confirmed(self) -> dict[str, Any]:
        self._chosen = asyncio.get_running_loop().create_future()
        try:
            return await self._presence.wait(self._chosen, self._notebook)
        except asyncio.CancelledError as cancelled:
            raise self._interrupted() from cancelled
        except CgrunbookError as nobody:
            raise self._failure or nobody from None
        finally:
            self._chosen.cancel()  # whoever presses later presses for nobody who waits

    async def _follow(self, chosen: dict[str, Any]) -> None:
        """Let the notebook's cells work with these values from now on; the opening cell has ended."""
        if self.book and self.book.at_work:
            self.form.say("Not yet: a step is at work; press again when it has ended.")
        elif self.book:
            await self._begin(chosen, then=" Run the cells below again.")
        elif book := await self._begin(chosen, then=" Run the cells below."):
            # The cell that would have done so was interrupted.
            self._namespace[self._variable] = book

    async def _begin(self, chosen: dict[str, Any], *, save: bool = True, then: str = "") -> Runbook | None:
        """Connect with these values, save them, and show what the notebook works on; None where the form says why not.

        Args:
            chosen: values by name, which keep their rules.
            save: whether the person has confirmed them.
            then: what is said to be done next.
        """
        self.form.busy()
        try:
            session = await self._open(chosen)
        except asyncio.CancelledError as cancelled:
            raise self._interrupted() from cancelled
        except CgrunbookError as error:
            self._fail(error, chosen)
            return None
        except Exception as defect:
            self._fail(
                StepFailed(f"{type(defect).__name__}: {defect}", "Report this with what was done before."), chosen
            )
            raise
        said = self._save(chosen) if save else ""
        if self.book is None:
            self.book = Runbook(session, self._face)
        self.book.session = session
        values.write_back(self._namespace, chosen)
        self._face.opened(session)
        self._outline, self._planning = session.outline, session.params.mode == "plan"
        self._card = target_card(session, self._sources(chosen), form=True)
        self._draw()
        self.form.ready(f"{said}{then}")
        self._failure, self._presence.wrong = None, ""
        if save:
            self._list()
        return self.book

    def _save(self, chosen: dict[str, Any]) -> str:
        """Save the values for every notebook, and answer what came of it."""
        try:
            self._saved = values.save(chosen, forget=self.form.forgets)
        except CgrunbookError as error:
            self._tell_kept(f"Not saved for other notebooks: {error}")
            return "In use, and not saved: see below."
        self._tell_kept()
        return "Saved, and in use."

    def _fail(self, error: CgrunbookError, chosen: dict[str, Any]) -> None:
        """Say what keeps the notebook from using these values; what was in use before still is."""
        self.form.failed(error)
        if self.book is None:
            if isinstance(error, ParameterError):
                self._presence.wrong = error.message
            else:
                self._failure = error
            why = "has not begun: put right what the form says, and press 'Use these values'"
            self._draw_waiting(why, self._sources(chosen))

    def _interrupted(self) -> Interrupted:
        """Say so where the form is, and answer the error."""
        self.form.interrupted()
        again = "run this cell again, or press 'Use these values' in the form"
        if self.book is None:
            self._draw_waiting(f"was interrupted before its values were confirmed: {again}")
        return Interrupted(f"{self._notebook}: interrupted.", f"{again[0].upper()}{again[1:]}.")

    async def _open(self, chosen: dict[str, Any]) -> Session:
        """Connect beside the event loop: it may take seconds, and an interrupt is to be heard."""
        return await interruptible(asyncio.to_thread(open_session, self._notebook, self._namespace, chosen))

    def _for_target(self, target: str) -> Mapping[str, Value]:
        began = values.for_person(self._namespace, self._saved, target=target)
        # After the fields have taken these values.
        asyncio.get_running_loop().call_soon(self._list)
        asyncio.get_running_loop().call_soon(self._tell_kept)
        return began

    def _defaults(self, target: str) -> Mapping[str, Value]:
        return values.for_person(self._namespace, None, target=target)

    def _tell_kept(self, problem: str = "") -> None:
        """Say in the form what is saved of its target."""
        of_target = self._saved.of(self.form.fields["target"].text) if self._saved else {}
        self.form.keeps([name for name in parameters.NAMES if name in of_target], problem)

    def _sources(self, chosen: Mapping[str, Any]) -> dict[str, Value]:
        """Where the values come from that were chosen: from before, unless the person changed them in the form."""
        return {
            name: began if (began := self._began[name]).value == value else Value(value, Source.SAVED)
            for name, value in chosen.items()
        }

    def _draw_waiting(self, why: str, said: Mapping[str, Value] | None = None) -> None:
        self._card = cards.values_card(self._notebook, why, said or self._began, form=True, waits=True)
        self._outline = outline_of(self._notebook, self._namespace)
        self._draw()

    def _draw(self) -> None:
        """Draw the notebook's steps as they stand: in the widget, which a reloaded page has too, and for whoever has none."""
        planning = self._planning
        self._steps.value = step_list.as_html(self._outline, planning=planning)
        self._output.draw(step_list.below(self._card, self._outline, planning=planning, live=True))

    def _attach(self, *, waits: bool = False) -> None:
        """Show the steps and the form, for whose button the notebook waits or does not."""
        import ipywidgets

        otherwise = "A form, where the notebook runs."
        widget = self._presence.with_sign(ipywidgets.VBox([self._steps, self.form.widget]))
        self._output.attach(widget, self._presence.otherwise(otherwise) if waits else otherwise)
        have_saved()
        self._list()

    def _list(self) -> None:
        """Ask, beside everything else, for what the fields can offer; what was asked before is of no interest now."""
        from cgrunbook.ui.world_lists import offer_lists

        if self._listing is not None:
            self._listing.cancel()
        chosen, wrong = self.form.values()
        if not {"target", "project_id", "location"} & set(wrong):

            async def offer() -> None:
                await asyncio.sleep(LISTS_AFTER_SECONDS)
                await offer_lists(chosen, self.form.offer, self.form.called_as)

            self._listing = asyncio.get_running_loop().create_task(offer())


def target_card(session: Session, said: Mapping[str, Value], *, form: bool = False) -> dict[str, str]:
    """What a notebook works on, with the source of each value."""
    used = values.in_use(said, session.target)
    return cards.target_card(session.notebook, session.params, session.target, used, context=session.context, form=form)


def show_conclusion(conclusion: Conclusion, session: Session | None) -> None:
    """What a notebook's run comes to, as one display."""
    from cgrunbook.ui.end_card import conclusion_card

    show(conclusion_card(conclusion, session.context if session else None))


def show(bundle: dict[str, str]) -> None:
    """One static display in the cell's output."""
    ipython_display().display(bundle, raw=True)
