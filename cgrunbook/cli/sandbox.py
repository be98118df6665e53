"""`cgrunbook sandbox`: start, stop, look at, and talk to the sandbox."""

from __future__ import annotations

import json
import os
import shlex
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cgrunbook.errors import ExitCode

if TYPE_CHECKING:
    from cgrunbook.sandbox.process import Running, Status

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
    import dataclasses
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

    for name, value in process.environment(process.start()).items():
        typer.echo(f"export {name}={shlex.quote(value)}")
