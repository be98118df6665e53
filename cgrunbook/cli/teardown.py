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
    """Take away what the runbook made: repositories, pull tokens, the secret.

    What it did not make, it leaves alone and says so. Without --yes it lists what would go, and ends with 4 when there is anything.
    """
    from cgrunbook.parameters import Parameters

    values = values_of(parameter or [], target)
    if "confirm" in values:
        raise UsageError("confirm is given with -p.", "Confirm with: --yes NAME")
    repository = values.setdefault("repository", Parameters().repository)
    confirmed = f"cgrunbook teardown --yes {repository}"
    if yes is None:
        values["mode"] = "plan"
        typer.echo(f"Nothing will be deleted. To delete what is listed, with the same options: {confirmed}", err=True)
    elif yes != repository:
        raise UsageError(f"--yes is {yes!r}, and the repository is {repository!r}; nothing was called.", confirmed)
    values["confirm"] = repository
    perform([_NOTEBOOK], values, output, as_json=as_json)
