"""Which steps a notebook has, as its own cells say, and how far a run of it has come.

It reads a notebook's headings and the calls of `book.perform`; nothing of it is declared twice. It runs nothing of what it
reads, and does not know how a list of steps looks.
"""

from __future__ import annotations

import ast
import json
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from cgrunbook.errors import Interrupted, UsageError
from cgrunbook.run.folder import RUN_FOLDER_VARIABLE
from cgrunbook.run.notebooks import shipped_in
from cgrunbook.run.result import Result
from cgrunbook.steps.step import Outcome, Step

# What a cell calls to have a step performed, on the runbook.
_PERFORMS = ("perform", "check")


class Standing(StrEnum):
    """How a line of the outline stands that has no outcome."""

    TO_DO = "to do"
    AT_WORK = "at work"
    ASKS = "waits for you"
    INTERRUPTED = "interrupted"
    IN_PART = "not finished"


State = Outcome | Standing

# A line of several steps stands as the first of these that is among them.
_NOT_DONE = (Outcome.FAILED, Standing.INTERRUPTED, Outcome.DECLINED, Outcome.NOT_CHECKED)
_TELLING = (Outcome.DELETED, Outcome.CREATED, Outcome.UPDATED, Outcome.PLANNED, Outcome.VERIFIED)


@dataclass(frozen=True)
class Cell:
    """A cell that has steps performed.

    Args:
        id: by which a page names it; "" in a notebook older than that.
        source: its code.
        title: the heading that it stands under.
        calls: for each call the step's class, and the names of the lists that are gone through around it.
    """

    id: str
    source: str
    title: str
    calls: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True)
class Running:
    """The cell that runs now, as far as the front end says which: its id, its code, and the how-manieth run it is."""

    cell: str = ""
    source: str = ""
    run: int = 0


@dataclass
class Line:
    """A cell's steps and how they stand: what came of them the last time that the cell was run."""

    title: str
    cell: Cell | None = None
    total: int | None = None
    """How many steps the cell performs; None where only running it can tell."""
    run: int = 0
    parts: dict[object, State] = field(default_factory=dict)
    now: State | None = None
    marks: set[str] = field(default_factory=set)
    """What its checks saw, by their marks."""

    @property
    def state(self) -> State:
        """How the line stands as a whole."""
        if self.now is not None:
            return self.now
        states = list(self.parts.values())
        if not states:
            return Standing.TO_DO
        if undone := next((state for state in _NOT_DONE if state in states), None):
            return undone
        if self.total is not None and len(states) < self.total:
            return Standing.IN_PART
        return next((state for state in _TELLING if state in states), states[0])

    @property
    def done(self) -> bool:
        """Whether all of it was performed and nothing failed."""
        return self.state not in (*_NOT_DONE, Outcome.PLANNED, *Standing)

    @property
    def words(self) -> str:
        """How the line stands, and how many of several steps are done: `created`, `failed, 1 of 2 done`."""
        whole = max(self.total or 0, len(self.parts))
        good = sum(state not in _NOT_DONE for state in self.parts.values())
        several = whole > 1 and self.parts and self.state is not Outcome.PLANNED
        return f"{self.state}, {good} of {whole} done" if several else str(self.state)


class Outline:
    """The steps of one notebook in one run.

    Args:
        cells: those that perform steps, in their order; none where the notebook cannot be read.
        count: how many items a list has that a cell goes through, by its name; None for what is no list.
    """

    def __init__(self, cells: Sequence[Cell] = (), count: Callable[[str], int | None] = lambda _: None) -> None:
        self._count = count
        self.whole = bool(cells)
        """Whether all lines are known from the beginning."""
        self.lines = [Line(cell.title, cell, self._total(cell)) for cell in cells]
        self._at: Line | None = None

    def done(self, *, planning: bool = False) -> int:
        """How many lines are done, or gone through where a run only plans."""
        return sum(line.done or (planning and line.state is Outcome.PLANNED) for line in self.lines)

    def begun(self, step: Step, running: Running) -> None:
        """A step has begun in the cell that runs."""
        line = self._line(step, running)
        if line.run != running.run:  # another run of the cell begins anew
            line.run, line.parts, line.marks = running.run, {}, set()
        line.now, self._at = Standing.AT_WORK, line

    def asks(self, asks: bool) -> None:
        """The step waits for an answer, or does no more."""
        if self._at is not None:
            self._at.now = Standing.ASKS if asks else Standing.AT_WORK

    def ended(self, result: Result) -> None:
        """A step has ended."""
        if (line := self._at) is None:
            return
        line.parts[result.step.key] = Standing.INTERRUPTED if isinstance(result.error, Interrupted) else result.outcome
        line.marks |= {finding.mark.value for finding in result.evidence.findings}
        line.now = self._at = None

    def _total(self, cell: Cell) -> int | None:
        times = [[self._count(name) for name in lists] for _, lists in cell.calls]
        known = [[count for count in counts if count is not None] for counts in times]
        return sum(map(math.prod, known)) if known == times else None

    def _line(self, step: Step, running: Running) -> Line:
        """The line of a step: its cell's by the cell's id, or else by its code, or else one with a step of this kind."""
        kind, cells = type(step).__name__, [(line, line.cell) for line in self.lines if line.cell]
        ways: tuple[Callable[[Cell], bool], ...] = (
            lambda cell: bool(cell.id) and cell.id == running.cell,
            lambda cell: cell.source.strip() == running.source.strip(),
            lambda cell: any(kind == of for of, _ in cell.calls),
        )
        for way in ways:
            fitting = [line for line, cell in cells if way(cell)]
            if fitting:
                return next((line for line in fitting if line.run in (0, running.run)), fitting[0])
        for line in self.lines:  # a cell that the notebook's file has not, or no file: a line a step
            if line.cell is None and step.key in line.parts:
                return line
        self.lines.append(Line(step.title))
        return self.lines[-1]


def running_cell() -> Running:
    """The cell that runs now: a page names it, other programs only send its code."""
    from IPython import get_ipython

    shell: Any = get_ipython()
    kernel = getattr(shell, "kernel", None)
    if kernel is None:
        return Running()
    request = kernel.get_parent("shell")
    cell, source = request.get("metadata", {}).get("cellId", ""), request.get("content", {}).get("code", "")
    return Running(str(cell), str(source), int(shell.execution_count))


def outline_of(notebook: str, namespace: Mapping[str, Any]) -> Outline:
    """The outline of a notebook that begins now.

    Args:
        notebook: its name without the ending.
        namespace: its globals, which hold the lists that its cells go through.
    """

    def count(name: str) -> int | None:
        there = namespace.get(name)
        return len(there) if isinstance(there, list) else None

    cells = next(filter(None, (_steps_in(path, notebook) for path in _files(notebook, namespace))), ())
    return Outline(cells, count)


def _files(notebook: str, namespace: Mapping[str, Any]) -> Iterator[Path]:
    """Where the notebook may be that runs here, the likeliest first: a front end may say, or the run's folder has it."""
    for said in (os.environ.get("JPY_SESSION_NAME"), namespace.get("__vsc_ipynb_file__")):
        if isinstance(said, str) and said:
            yield Path(said)
    if folder := os.environ.get(RUN_FOLDER_VARIABLE):
        yield from sorted(Path(folder).glob("*.ipynb"))
    try:
        yield shipped_in() / f"{notebook}.ipynb"
    except UsageError:
        return


def _steps_in(path: Path, notebook: str) -> tuple[Cell, ...]:
    """The cells of a file that perform steps; none where it is not this notebook, or cannot be read."""
    try:
        if path.suffix != ".ipynb":
            return ()
        content = json.loads(path.read_bytes())
        cells = [(cell["cell_type"], str(cell.get("id", "")), "".join(cell["source"])) for cell in content["cells"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return ()
    opens = re.compile(rf"open_notebook\(\s*[\"']{re.escape(notebook)}[\"']")
    if not any(opens.search(source) for kind, _, source in cells if kind == "code"):
        return ()
    return cells_with_steps(cells)


def cells_with_steps(cells: Sequence[tuple[str, str, str]]) -> tuple[Cell, ...]:
    """The cells that perform steps.

    Args:
        cells: for each its type, its id and its source.
    """
    found, heading = [], ""
    for kind, id_, source in cells:
        if kind == "markdown":
            heading = ([heading, *re.findall(r"^#{1,4} +(.+?)[ #]*$", source, re.MULTILINE)])[-1]
        elif kind == "code" and (calls := _calls(source)):
            found.append(Cell(id_, source, _plain(heading), calls))
    titles = [cell.title for cell in found]
    return tuple(
        cell
        if cell.title and titles.count(cell.title) == 1
        else Cell(cell.id, cell.source, ": ".join(filter(None, (cell.title, _in_words(cell.calls[0][0])))), cell.calls)
        for cell in found
    )


def _calls(source: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The steps that a cell has performed, in their order; none in a cell that is not plain Python."""
    if not any(f".{name}(" in source for name in _PERFORMS):
        return ()
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return ()
    return tuple(_calls_in(tree, ()))


def _calls_in(node: ast.AST, lists: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, ...]]]:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _PERFORMS:
        made = node.args[0] if node.args else None
        made = made.func if isinstance(made, ast.Call) else made
        yield (made.attr if isinstance(made, ast.Attribute) else getattr(made, "id", "")), lists
        return
    inside = lists
    if isinstance(node, ast.For | ast.AsyncFor):
        inside = (*lists, getattr(node.iter, "id", ""))
    elif isinstance(node, ast.ListComp | ast.SetComp | ast.GeneratorExp):
        inside = (*lists, *(getattr(through.iter, "id", "") for through in node.generators))
    elif isinstance(node, ast.While | ast.FunctionDef | ast.AsyncFunctionDef):
        inside = (*lists, "")
    for child in ast.iter_child_nodes(node):
        yield from _calls_in(child, inside)


def _plain(heading: str) -> str:
    """A heading without Markdown's marks, and without a number of its own: the list has one."""
    words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").replace("**", "").strip()
    return re.sub(r"^\d+[.)] +", "", words)


def _in_words(kind: str) -> str:
    """A class's name as words: `SignDockerIn` as "sign docker in"."""
    return re.sub(r"(?<!^)(?=[A-Z])", " ", kind).lower() or "a step"
