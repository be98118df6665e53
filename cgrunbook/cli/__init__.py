"""The command line, a file a verb: flags, one call, print. Data goes to stdout, progress and errors to stderr.

It knows how to ask and how to say what came back, and decides nothing. What a verb needs is imported when it is called.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence

from cgrunbook.cli import doctor, lab, notebooks, report, rotate, run, runs, sandbox, status, teardown
from cgrunbook.cli.app import EXIT_CODES, app, complain
from cgrunbook.cli.run import join_parameters
from cgrunbook.errors import UsageError

__all__ = ["main"]

# The verbs, in the order of the help.
app.command(epilog=EXIT_CODES)(run.run)
app.command("plan", help=run.PLAN, epilog=EXIT_CODES)(run.run)
app.command(epilog=EXIT_CODES)(status.status)
app.command(epilog=EXIT_CODES)(doctor.doctor)
app.command(epilog=EXIT_CODES)(rotate.rotate)
app.command(epilog=EXIT_CODES)(teardown.teardown)
app.add_typer(runs.app, name="runs")
app.command()(report.report)
app.command()(lab.lab)
app.add_typer(notebooks.app, name="notebooks")
app.add_typer(sandbox.app, name="sandbox")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line, by default with the process's own words, and end the process with its exit code."""
    if isinstance(
        sys.stdout, io.TextIOWrapper
    ):  # a terminal or a pipe that has not all letters; JSON reads these escapes
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        words = doctor.with_text(join_parameters(sys.argv[1:] if arguments is None else arguments))
    except UsageError as error:
        complain(error.message, error.remedy)
        sys.exit(error.exit_code)
    app(args=words, prog_name="cgrunbook")
