"""`cgrunbook report`: a run as one page for the change ticket."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN", help="A run folder, or an id in ./runs; without it the newest there.", show_default=False
        ),
    ] = "",
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="FILE", help="The page; without it report.html in the run folder."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the verdict and the routes as JSON.")] = False,
) -> None:
    """Write a run's report: one page for the change ticket.

    It says who did what, when, and what proved it. The page is complete in itself and loads nothing from anywhere; it
    can be printed. Its path goes to stdout.
    """
    from cgrunbook.run import report as reports
    from cgrunbook.run.folder import JOURNAL
    from cgrunbook.run.record import read_record, record_of
    from cgrunbook.run.route import routes_of
    from cgrunbook.run.runs import find_run

    folder = find_run(run, Path("runs"))
    record = record_of(folder) if (folder / JOURNAL).exists() else read_record(folder)
    path = reports.write_report(folder, record, output)
    if as_json:
        said = {
            "run": record.run,
            "report": str(path),
            "verdict": reports.verdict(record),
            "exit_code": record.exit_code,
            "routes": [
                {"images": route.images, "links": {link.between: link.state.value[1] for link in route.links}}
                for route in routes_of(record)
            ],
        }
        typer.echo(json.dumps(said, indent=2))
    else:
        typer.echo(str(path))
        typer.echo(reports.verdict(record), err=True)
