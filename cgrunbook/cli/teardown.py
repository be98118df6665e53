"""`cgrunbook teardown`: what the runbook made, taken away unattended; without the confirmation only listed."""

from __future__ import annotations

from typing import Annotated

import typer

from cgrunbook.cli.run import JsonOption, OutputOption, ParameterOption, TargetOption, perform, values_of
from cgrunbook.errors import UsageError

_NOTEBOOK = "06_teardown"


def teardown(
    target: TargetOption = None,
    parameter: ParameterOption = None,
    *,
    yes: Annotated[
        str | None,
        typer.Option(
            "--yes",
            metavar="NAME",
            help="Delete, confirmed by the name of the repository for developer images (chainguard-pull-through, unless "
            "-p repository says another). Without it nothing is deleted.",
        ),
    ] = None,
    output: OutputOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take away what the runbook made: repositories, pull tokens, the secret; nothing that it did not make.

    Without --yes it lists what would go, and ends with 4 when there is anything.
    """
    values = values_of(parameter or [], target)
    if "confirm" in values:
        raise UsageError("confirm is given with -p.", "Confirm with: --yes NAME")
    if yes is None:
        values["mode"] = "plan"
    else:
        values["confirm"] = yes
        values.setdefault("repository", "chainguard-pull-through")
    perform([_NOTEBOOK], values, output, as_json=as_json)
