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
            metavar="[RUN]", help="A run folder, or a run's id in ./runs; the newest there.", show_default=False
        ),
    ] = "",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", metavar="FILE", help="Where to write; report.html in the run folder.", show_default=False
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Say on stdout as JSON what the report says first.")] = False,
) -> None:
    """Write the report of a run as one page for the change ticket: who, when, what, proved by what.

    The page is complete in itself and loads nothing from anywhere; it can be printed. Its path goes to stdout.
    """
    from cgrunbook.run import journal
    from cgrunbook.run import report as reports
    from cgrunbook.run.route import routes_of

    folder = journal.find_run(run, Path("runs"))
    record = journal.record_of(folder) if (folder / journal.JOURNAL).exists() else journal.read_record(folder)
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
