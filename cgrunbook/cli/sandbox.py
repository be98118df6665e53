"""`cgrunbook sandbox`: start, stop, look at, and talk to the sandbox."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shlex
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cgrunbook.errors import ExitCode

if TYPE_CHECKING:
    from cgrunbook.sandbox.process import Running, Status

#: What a shell remembers of a variable that a fault has set in it.
_KEPT = "CGRUNBOOK_SANDBOX_KEPT_"

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="The sandbox: Google's and Chainguard's services, played by one process on this machine.",
    short_help="The sandbox, which plays the services on this machine.",
)


@app.command("start")
def start(
    upstream: Annotated[
        str | None, typer.Option("--upstream", metavar="URL", help="A real registry in place of the sandbox's cgr.dev.")
    ] = None,
    idle: Annotated[
        float | None,
        typer.Option("--idle", metavar="SECONDS", min=1, help="End it after so long without a request."),
    ] = None,
) -> None:
    """Start the sandbox; one that runs already is left as it is."""
    from cgrunbook.sandbox import process

    running = process.start(upstream=upstream, idle=idle)
    typer.echo(f"The sandbox runs, as process {running.pid}.")
    _print_sandbox(running)
    typer.echo('\nTo talk to it from this shell with gcloud, docker and chainctl:\n  eval "$(cgrunbook sandbox env)"')
    typer.echo("To end it: cgrunbook sandbox stop. To begin anew: cgrunbook sandbox reset.")


def _print_sandbox(running: Running) -> None:
    rows = [
        ("Project", f"{running.project_id} (number {running.project_number})"),
        ("Organisation", running.organization),
        ("State", str(running.folder)),
    ]
    shown = [
        "us-central1-docker.pkg.dev",
        "cgr.dev",
        *(host for host in running.hosts if host.endswith(".googleapis.com")),
    ]
    rows += [(host, running.hosts[host]) for host in shown]
    if running.upstream:
        rows.append(("upstream", f"{running.upstream}, which stands in for cgr.dev"))
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        typer.echo(f"  {name:<{width}}  {value}")
    typer.echo(f"  {len(running.hosts) - len(shown)} more, among them each location: cgrunbook sandbox status --json")


@app.command("stop")
def stop() -> None:
    """End the sandbox. What is in it stays for the next start."""
    from cgrunbook.sandbox import process

    typer.echo("The sandbox has ended; its state stays." if process.stop() else "No sandbox was running.")


@app.command("status")
def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON, with every location's port.")] = False,
) -> None:
    """Say whether the sandbox runs, where it listens and what is in it. Ends with 3 when it does not run."""
    from cgrunbook.sandbox import process

    status = process.status()
    if as_json:
        typer.echo(json.dumps(_status_data(status), indent=2, default=str))
    elif status is None:
        typer.echo("The sandbox does not run. To start it: cgrunbook sandbox start")
    else:
        typer.echo(f"The sandbox runs, as process {status.running.pid}, since {status.running.started}.")
        _print_sandbox(status.running)
        counts = ", ".join(f"{count} {what.replace('_', ' ')}" for what, count in status.counts.items())
        typer.echo(f"  Holds {counts}; {status.size_bytes / 1e6:.1f} MB on disk.")
    if status is None:
        raise typer.Exit(ExitCode.PREREQUISITE)


def _status_data(status: Status | None) -> dict[str, Any]:
    if status is None:
        return {"running": False}
    told = ("pid", "started", "version", "home", "project_id", "project_number", "organization", "hosts", "upstream")
    of_process = {name: getattr(status.running, name) for name in told}
    return {"running": True, **of_process, "size_bytes": status.size_bytes, "counts": status.counts}


@app.command("reset")
def reset() -> None:
    """End the sandbox and take away all that is in it."""
    from cgrunbook.sandbox import process

    process.reset()
    typer.echo("The sandbox is gone; the next start makes a new one.")


@app.command("log")
def log(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with each request as it comes.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many of the last requests to show.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print each request as one line of JSON.")] = False,
) -> None:
    """Show who asked the sandbox what, and what came of it. Secrets are never in it."""
    import itertools
    from collections import deque

    from cgrunbook.home import home
    from cgrunbook.sandbox import process, request_log

    reader = request_log.Reader(process.folder_of(home()))
    last = deque(reader.kept(), maxlen=lines)
    colours = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    try:
        for line in itertools.chain(last, reader.follow() if follow else ()):
            text = json.dumps(dataclasses.asdict(line)) if as_json else request_log.shown(line, colours=colours)
            print(text, flush=follow)  # noqa: T201 - typer.echo would strip colours by its own rules
    except KeyboardInterrupt:
        return  # how following ends
    if not last and not follow and not as_json:
        typer.echo("No request has been logged yet.", err=True)


@app.command("env")
def env() -> None:
    """Print export lines that point a shell's tools at the sandbox.

    After eval "$(cgrunbook sandbox env)" gcloud, docker, podman, skopeo, crane, chainctl and Terraform's Google
    provider talk to it in that shell. Starts the sandbox when it does not run.
    """
    from cgrunbook.sandbox import process

    variables = process.environment(process.start())
    broken = [name for name in process.OF_FAULTS if name in variables]
    for name in sorted(name for name in os.environ if name.startswith(_KEPT)):
        if (own := name.removeprefix(_KEPT)) not in broken:  # what it was before a fault set it
            typer.echo(f"export {own}={shlex.quote(os.environ[name])}" if os.environ[name] else f"unset {own}")
            typer.echo(f"unset {name}")
    for name in broken:
        variables.setdefault(_KEPT + name, os.environ.get(_KEPT + name, os.environ.get(name, "")))
    for name, value in variables.items():
        typer.echo(f"export {name}={shlex.quote(value)}")


faults_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Break things on purpose, so that every client sees it, and take it back.",
    short_help="Break things on purpose.",
)
app.add_typer(faults_app, name="fault")

_Json = Annotated[bool, typer.Option("--json", help="Print it as JSON.")]
_Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]


@faults_app.command("list")
def list_faults(
    as_json: _Json = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Name each permission that the caller can be without.")
    ] = False,
) -> None:
    """Say what can be broken, what people see then, and what is."""
    from cgrunbook.sandbox import faults

    told = faults.listed()
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(fault) | {"set": bool(fault.since)} for fault in told], indent=2))
        return
    lacking = [fault for fault in told if fault.name.startswith("caller-lacks-")]
    for fault in told:
        if everything or fault not in lacking or fault.since:
            mark = "" if not fault.since else ", SET" if fault.stands else ", SET, and mended since"
            typer.echo(f"{fault.name}{mark}\n  {fault.does}\n  Seen: {fault.symptom}")
    if not everything:
        typer.echo(f"caller-lacks-PERMISSION, of {len(lacking)} permissions: cgrunbook sandbox fault list --all")
    typer.echo(f"\n{sum(bool(fault.since) for fault in told)} of {len(told)} are set.")


@faults_app.command("set")
def set_fault(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="What to break, as the list names it.")],
    quiet: _Quiet = False,
    as_json: _Json = False,
) -> None:
    """Break something. What is broken already stays as it is."""
    from cgrunbook.sandbox import faults

    with _faults_explained():
        fresh = faults.set_faults(names)
    _say_what_stands("set", fresh, quiet=quiet, as_json=as_json)


@faults_app.command("clear")
def clear_faults(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME...", help="What to mend; all without a name.")
    ] = None,
    quiet: _Quiet = False,
    as_json: _Json = False,
) -> None:
    """Take back what was broken.

    What somebody has changed since stays as they have it.
    """
    from cgrunbook.sandbox import faults

    with _faults_explained():
        gone = faults.clear(names or ())
    _say_what_stands("cleared", gone, quiet=quiet, as_json=as_json)


@contextlib.contextmanager
def _faults_explained() -> Iterator[None]:
    """Turn the refusals of faults into the command's own errors."""
    from cgrunbook.errors import PrerequisiteMissing, UsageError
    from cgrunbook.sandbox import faults

    try:
        yield
    except faults.UnknownFault as error:
        raise UsageError(str(error)) from error
    except faults.NothingToBreak as error:
        raise PrerequisiteMissing(f"Nothing was changed. {error}") from error


def _say_what_stands(done: str, names: list[str], *, quiet: bool, as_json: bool) -> None:
    """Say what a command did, and what is set after it."""
    from cgrunbook.sandbox import faults

    if quiet and not as_json:
        return
    there = [fault for fault in faults.listed() if fault.since]
    if as_json:
        typer.echo(json.dumps({done: names, "now": [fault.name for fault in there]}, indent=2))
        return
    typer.echo(f"{done.capitalize()}: {', '.join(names)}." if names else f"Nothing was to be {done}.")
    for fault in there:
        name = fault.name if fault.value is None else f"{fault.name}={fault.value:g}"
        typer.echo(f"  {name}: {fault.does}{'' if fault.stands else ' (Mended since.)'}")
    if there:
        typer.echo("To take it back: cgrunbook sandbox fault clear")
    if any(fault.shells for fault in faults.listed() if fault.name in names):
        typer.echo('A shell sees it after: eval "$(cgrunbook sandbox env)"')


@app.command("clock")
def clock(
    by: Annotated[str, typer.Option("--by", metavar="DURATION", help="How far to move it ahead: 90m, 36h, 31d.")] = "",
    reset: Annotated[bool, typer.Option("--reset", help="Put it back to this machine's time.")] = False,
    as_json: _Json = False,
) -> None:
    """Move the sandbox's clock.

    Tokens end, tags age and delays pass as if so much time had gone by.
    """
    from datetime import timedelta

    from cgrunbook.durations import parse
    from cgrunbook.errors import UsageError
    from cgrunbook.sandbox import faults

    if by and reset:
        raise UsageError("--by and --reset exclude each other.")
    try:
        ahead = faults.move_clock(None if reset else parse(by) if by else timedelta())
    except ValueError as error:
        raise UsageError(f"--by {by!r} {error}.") from error
    if as_json:
        typer.echo(json.dumps({"ahead_seconds": ahead.total_seconds()}))
    else:
        typer.echo(f"The sandbox's clock is {ahead} ahead." if ahead else "The sandbox's clock is this machine's.")
    if ahead and not as_json:
        typer.echo("To put it back: cgrunbook sandbox clock --reset")
