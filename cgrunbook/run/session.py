"""What a notebook works on: its parameters, the services of its target, and the run that is written down.

It knows the parameters and the journal, and nothing of how a step is performed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from cgrunbook import parameters
from cgrunbook.cloud import Attempts, Cloud, Connection, Wait, connect_as
from cgrunbook.errors import CgrunbookError, ParameterError
from cgrunbook.parameters import Parameters, Way
from cgrunbook.run.context import Context
from cgrunbook.run.early_end import begin_journal, end_early
from cgrunbook.run.given import mistyped, not_taken, require_taken, values_of, way_of
from cgrunbook.run.journal import Journal, read_lines
from cgrunbook.run.outline import Outline, outline_of
from cgrunbook.run.result import Result
from cgrunbook.steps.step import Step, World

if TYPE_CHECKING:
    from cgrunbook.run.paperwork import Paperwork


class Session:
    """One notebook's work on one target. A notebook that is pointed at another target gets another session.

    Attributes:
        cloud: the services of the target.
        results: what came of the steps so far.
        outline: the notebook's steps, and how they stand in this run.
        expected: in `mode="plan"`, what the steps of this run would have made.
        changes_pending: in `mode="plan"`, whether a step of this run would change something.

    Args:
        notebook: its name without the ending.
        params: what it was told.
        connection: where the target's services are.
        journal: where it writes down what it does.
        namespace: the notebook's globals, which its cells go on reading the parameters from.
    """

    def __init__(
        self,
        notebook: str,
        params: Parameters,
        connection: Connection,
        journal: Journal,
        *,
        namespace: Mapping[str, Any] | None = None,
    ) -> None:
        self.notebook = notebook
        self.params = params
        self.journal = journal
        self.cloud = Cloud(connection, Attempts(limit=params.wait_limit, on_wait=self._on_wait))
        self.results: list[Result] = []
        self.outline = Outline()
        planned = (
            [line.data for line in read_lines(journal.path) if line.event == "planned"] if params.mode == "plan" else []
        )
        self.expected = {name for plan in planned for name in plan.get("makes", ())}
        self.changes_pending = any(plan.get("changes") for plan in planned)
        self._namespace = namespace if namespace is not None else {}
        self._names = [name for name in parameters.NAMES if name in self._namespace]
        self._listener: Callable[[Wait], None] | None = None

    @cached_property
    def paperwork(self) -> Paperwork:
        """The files that are written out of its journal."""
        from cgrunbook.run.paperwork import Paperwork  # what a notebook's opening need not wait for

        return Paperwork(self.journal.folder)

    @property
    def target(self) -> dict[str, str]:
        """What it works on, by the names of the parameters that say so; what was not given is filled in."""
        connection = self.cloud.connection
        return {name: getattr(connection, name) for name in ("target", "project_id", "location", "organization")}

    @property
    def context(self) -> Context:
        """Where it works, and as whom, as every question and result shows it."""
        return Context.of(self.target, self.cloud.connection.caller)

    def console(self, step: Step) -> str:
        """The page of Google Cloud's console that shows what a step works on; "" for none, as in the sandbox."""
        return step.console(World(self.cloud)) if self.cloud.connection.target == "google-cloud" else ""

    @contextmanager
    def waits_told_to(self, listener: Callable[[Wait], None]) -> Iterator[None]:
        """While the context lasts, somebody is told of each wait of a call, in the thread that waits."""
        self._listener = listener
        try:
            yield
        finally:
            self._listener = None

    def _on_wait(self, wait: Wait) -> None:
        if self._listener:
            self._listener(wait)

    def require_one_truth(self, form: Mapping[str, Any] | None) -> None:
        """Refuse to go on while the notebook's variables, or the form, say something else than what is in use.

        Args:
            form: what the form shows, by the parameter's name; None where there is no form.

        Raises:
            ParameterError: it names each such parameter, all its values, and how to settle it; or a variable that was meant
                to be a parameter and is none.
        """
        for name in mistyped(self._namespace):
            # Behind the opening cell people have names of their own; one whose value would not do is none of ours.
            if parameters.allowed(parameters.meant(name), self._namespace[name]):
                raise not_taken(name, self._namespace, self._names)
        said = []
        told = {"the notebook's variable is": self._namespace, "the form shows": form or {}}
        for name in self._names:
            used = getattr(self.params, name)
            others = [
                f"{who} {parameters.shown(values[name])}"
                for who, values in told.items()
                if name in values and not parameters.same(name, values[name], used)
            ]
            if others:
                whose = "the form's " if form and parameters.same(name, form.get(name), used) else ""
                said.append(f"{name}: {' and '.join(others)}, while {whose}{parameters.shown(used)} is in use.")
        if said:
            raise ParameterError("\n".join(said), _SETTLE_HEADLESS if form is None else _SETTLE_IN_FORM)


_SETTLE_IN_FORM = (
    "Press 'Use these values' in the form to use the form's; or run the opening cell (open_notebook) again to begin with "
    "what the parameters cell says, and the form shows what is in use. Then run this cell again."
)
_SETTLE_HEADLESS = (
    "Set parameters in the parameters cell or from outside, before the opening cell (open_notebook); where a later cell "
    "sets one, run the opening cell again after it."
)


def open_session(notebook: str, namespace: Mapping[str, Any], chosen: Mapping[str, Any] | None = None) -> Session:
    """Hold a notebook's parameters against their rules, then connect to its target.

    Args:
        notebook: its name without the ending.
        namespace: the notebook's globals, which hold the parameters.
        chosen: values by name that go before those, and that the namespace is given if all goes well.

    Raises:
        ParameterError: before any call is made.
        PrerequisiteMissing, SandboxUnavailable: the target cannot be reached or there are no credentials.
    """
    values = values_of(namespace) | dict(chosen or {})
    journal = begin_journal(values)
    told: dict[str, Any] = {"notebook": notebook, "parameters": values}
    try:
        for name in mistyped(namespace):
            raise not_taken(name, namespace, values)
        if chosen is None:
            require_taken(namespace)
        way = way_of(namespace)
        params = parameters.check(values, way=way)
        connection = _connected(params, way)
        session = Session(notebook, params, connection, journal, namespace=namespace)
        session.outline = outline_of(notebook, {**namespace, **values})
        caller = connection.caller  # asked here, where a wait may be: whatever asks for a decision shows it
    except BaseException as error:
        with contextlib.suppress(CgrunbookError):  # the disk is full, perhaps; the first error is the one to report
            journal.add("notebook-started", **told)
        end_early(journal, notebook, error)
        raise
    journal.add("notebook-started", **told, target=session.target, caller=caller)
    return session


def _connected(params: Parameters, way: Callable[[str], Way]) -> Connection:
    """The target; where it refuses a value, its advice ends with how another is given."""
    try:
        return connect_as(params)
    except ParameterError as error:
        given = (
            parameters.how_to_give(name, way(name), parameters.meant_by(name, getattr(params, name)))
            for name in error.rules
        )
        error.remedy = "\n".join(filter(None, (error.remedy, *given)))
        raise
