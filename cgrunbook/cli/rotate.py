"""`cgrunbook rotate`: the next pull token in the place of the one in use, unattended; what it did is kept as of any run."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cgrunbook.cli.run import JsonOption, OutputOption, ParameterOption, TargetOption, perform, values_of
from cgrunbook.errors import UsageError

_NOTEBOOK = "05_rotate_pull_token"


def rotate(
    target: TargetOption = None,
    parameter: ParameterOption = None,
    *,
    if_days_left: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            max=365,
            help="Rotate only a token that has no more than N days left; else do nothing but end what a run before has left.",
        ),
    ] = None,
    grace: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="How long the replaced token stays for pulls in flight, such as 10m; an hour if not given. Up to wait_limit "
            "it is waited for, a longer one is ended by the next run.",
        ),
    ] = None,
    output: OutputOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put the next pull token in the place of the one in use, with no failed pull.

    A token is made, stored, set in every repository that signs in with the old one, which is found by reading them, and
    proved with something that is not cached; then the old one is destroyed and revoked. Where the new one does not work,
    the old one is put back. Killed at any moment and run again, it finishes.
    """
    values = values_of(parameter or [], target)
    for name, option, given in (("if_days_left", "--if-days-left", if_days_left), ("grace_period", "--grace", grace)):
        _take(values, name, option, given)
    perform([_NOTEBOOK], values, output, as_json=as_json)


def _take(values: dict[str, Any], name: str, option: str, given: Any) -> None:
    """Let an option stand for a parameter, unless that is given as well."""
    if given is None:
        return
    if name in values:
        raise UsageError(f"{name} is given twice, as {option} and with -p.")
    values[name] = given
