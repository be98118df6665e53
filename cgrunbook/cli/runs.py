"""`cgrunbook runs`: which runs there were, what one of them did, and in what two differ."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cgrunbook.errors import StepFailed, UsageError
from cgrunbook.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from cgrunbook.run.runs import Difference, Found, Run

# As many as a terminal shows at once.
_LAST = 20

# Columns below which a line a run would cut something off.
_NARROW = 110

# Characters of a value of which two runs have different ones; --json has all.
_MOST = 200

_RUN = "A run folder, or an id or its beginning."

_Looked = Annotated[
    Path | None,
    typer.Option("--in", metavar="DIR", help="Where the runs are, or where their folder runs is; ./runs if not given."),
]
_AsJson = Annotated[bool, typer.Option("--json", help="Print it as JSON.")]

app = typer.Typer(
    rich_markup_mode=None,
    invoke_without_command=True,
    short_help="The runs that have been: list them, look at one, compare two.",
)


@app.callback()
def runs(
    verb: typer.Context,
    *,
    everything: Annotated[bool, typer.Option("--all", help=f"All of them, and not the newest {_LAST}.")] = False,
    looked: _Looked = None,
    as_json: _AsJson = False,
) -> None:
    """List the runs, the newest first: who did what where, what came of it, and how many changes were made.

    A run's id begins with its time, UTC. Each run is a folder that `cgrunbook run`, or a notebook that is run on its own,
    makes in the folder runs where it is started. Nothing is written.
    """
    if verb.invoked_subcommand:
        if everything or looked or as_json:
            raise UsageError(f"Options of {verb.invoked_subcommand} stand after it.")
        return
    from cgrunbook.run.runs import runs_in

    found = runs_in(_where(looked), None if everything or as_json else _LAST)
    if as_json:
        others = [{"folder": str(folder), "why": why} for folder, why in found.others.items()]
        listed = [run.as_json() for run in found.runs]
        typer.echo(redact(json.dumps({"looked_in": str(found.folder), "runs": listed, "others": others}, indent=2)))
    else:
        _print_list(found)


@app.command("show")
def show(
    run: Annotated[str, typer.Argument(metavar="RUN", help=f"{_RUN} Without it the newest.", show_default=False)] = "",
    *,
    browser: Annotated[bool, typer.Option("--open", help="Open its report in a browser.")] = False,
    looked: _Looked = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print its record as JSON.")] = False,
) -> None:
    """Say what a run did, step by step, and where its report is. A run that goes on is shown as far as it is."""
    from cgrunbook.run import report as reports
    from cgrunbook.run.runs import find_run, run_of

    found = run_of(find_run(run, _where(looked)))
    if as_json:
        typer.echo(redact(found.record.model_dump_json(indent=2)))
    else:
        _print_run(found)
    if browser:
        import webbrowser

        report = reports.write_report(found.folder.absolute(), found.record)
        if not webbrowser.open(report.as_uri()):
            raise StepFailed("No browser could be opened here.", f"Open it yourself: {report}")


@app.command("diff", short_help="Say in what two runs differ.")
def diff(
    first: Annotated[str, typer.Argument(metavar="RUN", help=_RUN)],
    second: Annotated[str, typer.Argument(metavar="OTHER", help="The run that it is compared with.")],
    *,
    looked: _Looked = None,
    as_json: _AsJson = False,
) -> None:
    """Say in what two runs differ: target, who, parameters, outcomes, changes, checks and evidence, such as digests.

    When a run was and how long it took are no difference.
    """
    from cgrunbook.run.runs import differences, find_run, run_of

    two = [run_of(find_run(name, _where(looked))) for name in (first, second)]
    found = differences(*(one.record for one in two))
    if as_json:
        said = {"runs": [one.as_json() for one in two], "differences": [vars(one) for one in found]}
        typer.echo(redact(json.dumps(said, indent=2)))
    else:
        _print_differences(two, found)


def _where(looked: Path | None) -> Path:
    if looked is None:
        return Path("runs")
    folder = looked.expanduser()
    if not folder.is_dir():
        raise UsageError(f"There is no folder {folder.absolute()}.", "Give --in a folder that holds runs.")
    return folder


def _print_list(found: Found) -> None:
    from cgrunbook.cli.tables import console
    from cgrunbook.run.folder import short

    printed = console()
    if found.runs:
        printed.print(_list(found.runs, narrow=printed.width < _NARROW))
    elif not found.others:
        typer.echo(
            f"There are no runs in {found.folder}. `cgrunbook run` makes one in ./runs, and so does a notebook that is run "
            "on its own, in the folder runs beside it; for another folder: cgrunbook runs --in DIR"
        )
    if found.older:
        typer.echo(f"{found.older} older: cgrunbook runs --all")
    for run in found.runs:
        if run.record.unread:
            typer.echo(
                redact(f"{short(run.folder)}: lines of its journal that nobody can read: {run.record.unread}"), err=True
            )
    for folder, why in found.others.items():
        typer.echo(redact(f"Left out, {short(folder)}: {why}"), err=True)


def _list(found: Sequence[Run], *, narrow: bool) -> Table:
    """A line a run; on a narrow terminal who and which notebooks stand below its id, which is never cut."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("Run", no_wrap=True)
    for name in ("Where",) if narrow else ("Who", "Notebooks", "Where"):
        table.add_column(name, overflow="fold")
    table.add_column("Verdict")
    table.add_column("Changes", justify="right", no_wrap=True)
    for run in found:
        began, named = run.record.started, run.folder.name
        if began and not named.startswith(f"{began:%Y-%m-%dT%H-%M}"):
            named += f"\n{began:%Y-%m-%d %H:%M} UTC"
        cells = [f"{named}\n  {': '.join(run.by)}"] if narrow else [named, *run.by]
        where = Text(
            redact(run.where), style="cyan" if run.record.target.get("target") == "sandbox" else "bold magenta"
        )
        verdict = Text(run.verdict, style=_colour(run))
        table.add_row(*(Text(redact(cell)) for cell in cells), where, verdict, run.counted)
    return table


def _print_run(run: Run) -> None:
    from cgrunbook.cli.tables import console, print_steps
    from cgrunbook.run.folder import REPORT, short
    from cgrunbook.run.report import verdict

    record = run.record
    by = [f"by {record.operator}" if record.operator else "", f"cgrunbook {record.version}" if record.version else ""]
    typer.echo(redact(f"{run.folder.name}: {', '.join(filter(None, (run.verdict, *by)))}"))
    typer.echo(redact(run.context.text if run.context else "It is not known where."))
    print_steps(record, unended="at work" if run.at_work else "did not end")
    console().print(redact("It goes on." if run.at_work else verdict(record)))
    report = run.folder / REPORT
    there = report.is_file() and not run.at_work
    typer.echo(
        f"Report: {short(report)}"
        if there
        else f"To have its report: cgrunbook report {shlex.quote(str(short(run.folder)))}"
    )


def _print_differences(two: list[Run], found: list[Difference]) -> None:
    from cgrunbook.run.wording import shown

    for run in two:
        typer.echo(
            redact(f"{run.folder.name}  {run.where}  {run.verdict}, {run.counted} change{'s' * (run.changes != 1)}")
        )
    if not found:
        typer.echo("They differ in nothing but when they were and how long they took.")
    said = ("", "")
    for one in found:
        if one.notebook and one.notebook != said[0]:
            typer.echo(redact(one.notebook))
        if one.step and (one.notebook, one.step) != said:
            typer.echo(redact(f"  {one.step}"))
        said = (one.notebook, one.step)
        values = (" ".join(shown(value).split()) for value in (one.first, one.second))
        before, after = (value if len(value) <= _MOST else f"{value[:_MOST]} ..." for value in values)
        indent = "  " * (bool(one.notebook) + bool(one.step))
        typer.echo(redact(f"{indent}{one.what}: {before} -> {after}"))


def _colour(run: Run) -> str:
    if run.record.exit_code is None:
        return "yellow"
    return {"done": "green", "plan": "blue", "held back": "blue"}.get(run.verdict, "red")
