"""`cgrunbook status`: how the pull tokens stand, for a person, a program, or a monitoring agent."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from cgrunbook.cli.run import TargetOption, values_of
from cgrunbook.errors import CgrunbookError, ExitCode, UsageError
from cgrunbook.redaction import redact

if TYPE_CHECKING:
    from cgrunbook.diagnosis.status import Status
    from cgrunbook.steps.token_sides import Check

# What of the parameters says where to look; with what a repository signs in is read from there.
_TAKES = (
    "target",
    "project_id",
    "location",
    "organization",
    "private_repository",
    "chainguard_auth",
    "chainguard_identity",
    "chainguard_service_account",
)

# Seconds for what may pass: a monitor asks again anyway.
_PATIENCE = 15.0


class Form(StrEnum):
    """How it is printed."""

    TEXT = "text"
    JSON = "json"
    PROMETHEUS = "prometheus"


def status(
    target: TargetOption = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option(
            "-p", "--parameter", metavar="NAME VALUE", help=f"Set a parameter, one of {', '.join(_TAKES[1:])}."
        ),
    ] = None,
    *,
    everything: Annotated[
        bool,
        typer.Option(
            "--all", help="All repositories of the project that sign in at cgr.dev, whichever their location."
        ),
    ] = False,
    warn_days: Annotated[
        float, typer.Option("--warn-days", metavar="DAYS", min=0, help="Warn of a token with fewer days left.")
    ] = 7.0,
    fail_days: Annotated[
        float, typer.Option("--fail-days", metavar="DAYS", min=0, help="Call fewer days left than these a failure.")
    ] = 2.0,
    skip: Annotated[
        list[str] | None,
        typer.Option("--skip", metavar="CHECK", help="Leave a check out, by its code; may be given several times."),
    ] = None,
    form: Annotated[Form, typer.Option("--format", help="How to print it.")] = Form.TEXT,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Say how long the pull token lives, and what is wrong with it.

    Nothing is changed. When the token ends that a repository signs in with at cgr.dev, whether username and password belong
    together, whether cgr.dev takes them, who may read the secret and the repository, which other tokens of ours live. Ends with
    0 where all is well, 4 where something is to be done, 5 where nothing was found and not all could be looked at; how it is
    printed changes nothing of that.
    """
    if as_json and form is Form.PROMETHEUS:
        raise UsageError("--json and --format prometheus are two forms.", "Give one of them.")
    form = Form.JSON if as_json else form
    values = values_of(parameter or [], target)
    if warn_days < fail_days:
        raise UsageError(
            f"--warn-days is {warn_days:g} and --fail-days {fail_days:g}: a failure is later than a warning.",
            "Example: --warn-days 7 --fail-days 2",
        )
    project = ""
    try:
        from cgrunbook.cloud import Attempts, Cloud, connect_as
        from cgrunbook.diagnosis.status import status_of
        from cgrunbook.parameters import Way, check
        from cgrunbook.steps.step import World
        from cgrunbook.steps.token_checks import Levels

        left_out = _checks(skip or [])
        params = check(values, among=_TAKES, way=lambda _: Way.OPTION)
        connection = connect_as(params)
        project = connection.project_id
        found = status_of(
            World(Cloud(connection, Attempts(limit=_PATIENCE))),
            params.private_repository,
            everything=everything,
            levels=Levels(warn_days, fail_days),
            organization=params.organization,
            without=left_out,
        )
    except CgrunbookError as error:
        if form is Form.PROMETHEUS:  # what was written last would stand there for ever, and look well
            _print_metrics(project, error.exit_code, None)
        raise
    if form is Form.JSON:
        target_of_it = {"target": connection.target, "project_id": project, "location": connection.location}
        typer.echo(redact(json.dumps({"target": target_of_it, **found.as_json()}, indent=2)))
    elif form is Form.PROMETHEUS:
        _print_metrics(project, found.exit_code, found)
    else:
        from cgrunbook.cli.status_page import print_status
        from cgrunbook.run.context import Context

        print_status(found, Context(connection.target, project, "" if everything else connection.location))
    raise typer.Exit(found.exit_code)


def _checks(codes: list[str]) -> list[Check]:
    """The checks of these codes."""
    from cgrunbook.steps.token_sides import Check

    known = [check.value for check in Check]
    for code in codes:
        if code not in known:
            raise UsageError(f"There is no check {code!r}.", f"These are there: {', '.join(known)}.")
    return [Check(code) for code in codes]


def _print_metrics(project: str, exit_code: ExitCode, found: Status | None) -> None:
    from cgrunbook.diagnosis.exposition import exposition

    typer.echo(redact(exposition(project, exit_code, found.at if found else datetime.now(UTC), found)), nl=False)
