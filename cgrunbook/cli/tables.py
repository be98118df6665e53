"""What several verbs print alike: the steps of a run with what came of them, on a terminal or into a pipe.

It is imported by the verbs that print, when they do.
"""

from __future__ import annotations

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from cgrunbook.run.record import Record
from cgrunbook.run.wording import by_resource, tense

_WIDE = 140
"""Columns of a table that goes to a file or a pipe."""


def console() -> Console:
    """Where data is printed: as it is, in the width of the terminal, or of a table's where there is none."""
    printed = Console(highlight=False, markup=False)
    if not printed.is_terminal:
        printed.width = _WIDE
    return printed


def print_steps(record: Record, *, unended: str = "did not end") -> None:
    """What the steps did, or, of a plan, would do.

    Args:
        record: of the run.
        unended: the word for a step that has no outcome.
    """
    if record.mode == "plan":
        _print_changes(record)
    else:
        console().print(_steps(record, unended))


def _steps(record: Record, unended: str) -> Table:
    """The steps with their outcomes and evidence."""
    colours = {"failed": "red", "declined": "red", "did not end": "red", "not checked": "yellow", "at work": "yellow"}
    colours |= dict.fromkeys(("unchanged", "skipped"), "dim")
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("Step", overflow="fold")
    table.add_column("Outcome", no_wrap=True)
    table.add_column("Evidence", overflow="fold")
    table.add_column("Seconds", justify="right", no_wrap=True)
    for notebook in record.notebooks:
        table.add_section()
        table.add_row(Text(notebook.name, style="bold"))
        for step in notebook.steps:
            outcome = step.outcome or unended
            table.add_row(
                Padding(Text(step.title), (0, 0, 0, 2)),
                Text(outcome, style=colours.get(outcome, "green")),
                Text(step.brief),
                "" if step.seconds is None else f"{step.seconds:.1f}",
            )
    return table


def _print_changes(record: Record) -> None:
    """Each change of a plan, below its notebook and step."""
    for notebook in record.notebooks:
        steps = [step for step in notebook.steps if step.changes]
        if steps:
            typer.echo(notebook.name)
        for step in steps:
            typer.echo(f"  {step.title}")
            for happening in by_resource(step.changes, tense(step.outcome)):
                for line in happening.lines:
                    typer.echo(f"    {line}")
            for line in "\n".join(f"Note: {note}" for note in step.notes).splitlines():
                typer.echo(f"    {line}")
