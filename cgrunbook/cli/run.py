"""`cgrunbook run` and `cgrunbook plan`: notebooks without a person, what they did or would do, and where it is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cgrunbook.cli.app import complain
from cgrunbook.errors import UsageError

if TYPE_CHECKING:
    from cgrunbook.run.headless import RunResult

# Stands between the two words of -p while typer, which knows no repeated option of two words, reads the arguments.
_BETWEEN = "\x1f"

# What the verbs that run notebooks have in common.
TargetOption = Annotated[
    str | None,
    typer.Option("--target", metavar="sandbox|google-cloud", help="Where to work; the sandbox if not given."),
]
ParameterOption = Annotated[
    list[str] | None,
    typer.Option(
        "-p",
        "--parameter",
        metavar="NAME VALUE",
        help="Set a parameter; may be given several times. The value is taken as it is written: 1.20 stays 1.20. "
        "A list is written a,b.",
    ),
]
OutputOption = Annotated[
    Path | None,
    typer.Option("--output", metavar="DIR", help="The run folder, new or empty; without it a new one below ./runs."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the record as JSON instead of a table.")]

PLAN = """List what a run would change, and change nothing.

Each change is printed with its notebook, its step, and the value before and after. Ends with 4 when there is any.
"""


def run(
    verb: typer.Context,
    notebooks: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NOTEBOOK",
            help="A notebook's name or how it begins (02), or a path. Without any: 01 to 04, the guide in its order.",
        ),
    ] = None,
    target: TargetOption = None,
    parameter: ParameterOption = None,
    *,
    output: OutputOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run notebooks, until one fails, and keep what they did.

    The run folder gets the executed notebooks, journal.jsonl, record.json and report.html. A second run says unchanged
    of every step that has nothing left to do.
    """
    values = values_of(parameter or [], target)
    if verb.info_name == "plan" and values.setdefault("mode", "plan") != "plan":
        raise UsageError(f"A plan changes nothing, so mode cannot be {values['mode']!r}.", "Use: cgrunbook run")
    perform(notebooks or [], values, output, as_json=as_json)


def perform(notebooks: Sequence[str], values: Mapping[str, Any], output: Path | None, *, as_json: bool) -> None:
    """Run notebooks, print what came of it, and end with its exit code; what a verb that runs one of them calls.

    Args:
        notebooks: as of `headless.run`, as are the values and the output.
        as_json: print the record instead of a table.
    """
    from cgrunbook.cli.watcher import Watcher
    from cgrunbook.run import headless

    with Watcher() as watcher:
        result = headless.run(notebooks, values, output=output, on_event=watcher.see, on_not_used=watcher.say)
    if as_json:
        typer.echo(result.record.model_dump_json(indent=2))
    else:
        _print(result)
    if result.left_out:
        typer.echo(f"Not begun: {', '.join(result.left_out)}", err=True)
    if result.error is not None:
        complain(result.error.message, result.error.remedy, result.error.code)
    raise typer.Exit(result.exit_code)


def join_parameters(words: Sequence[str]) -> list[str]:
    """Make one word of the two that follow each -p: typer knows no repeated option of two words.

    Raises:
        UsageError: a -p has no two words after it.
    """
    joined: list[str] = []
    rest = iter(words)
    for word in rest:
        joined.append(word)
        if word == "--":
            break
        if word in ("-p", "--parameter"):
            name, value = next(rest, None), next(rest, None)
            if name is None or value is None or "=" in name:
                raise UsageError(
                    f"{word} takes two words, a parameter's name and its value"
                    + (f"; after it came {name!r}." if name else "."),
                    f"Write for example: {word} project_id my-project",
                )
            joined.append(f"{name}{_BETWEEN}{value}")
    return [*joined, *rest]


def values_of(pairs: Sequence[str], target: str | None) -> dict[str, Any]:
    """Read the parameters as their types say; nothing is guessed from what a value looks like."""
    from cgrunbook import parameters

    values: dict[str, Any] = {}
    if target is not None:
        values["target"] = parameters.from_text("target", target)
    for pair in pairs:
        name, _, value = pair.partition(_BETWEEN)
        if name in values:
            raise UsageError(f"{name} is given twice.")
        values[name] = parameters.from_text(name, value)
    return values


def _print(result: RunResult) -> None:
    """What was done or would be, and where everything is, the folder as short as the caller's allows."""
    from cgrunbook.cli import tables
    from cgrunbook.run.folder import short
    from cgrunbook.run.report import verdict

    tables.print_steps(result.record)
    tables.console().print(verdict(result.record))
    typer.echo(f"Run folder: {short(result.folder)} (report.html to read, record.json for programs)")
