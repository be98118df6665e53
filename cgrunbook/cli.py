"""The command line: flags, one call, print. Data goes to stdout, progress and errors to stderr.

It knows how to ask and how to say what came back, and decides nothing. What a verb needs is imported when it is called.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import typer
from typer.core import TyperGroup

from cgrunbook import __version__
from cgrunbook.errors import CgrunbookError, Interrupted, StepFailed, UsageError
from cgrunbook.redaction import redact, visible

if TYPE_CHECKING:
    from cgrunbook.headless import RunResult
    from cgrunbook.journal import Line
    from cgrunbook.sandbox.process import Running

_EXIT_CODES = (
    "Exit codes: 0 done; 1 a step failed; 2 bad parameters or usage; 3 a prerequisite is missing; "
    "4 a plan found something to change; 130 interrupted; 138 a notebook's kernel died."
)

# Stands between the two words of -p while typer, which knows no repeated option of two words, reads the arguments.
_BETWEEN = "\x1f"

_WIDE = 140
"""Columns of a table that goes to a file or a pipe."""


class _Verbs(TyperGroup):
    """The one place where what went wrong becomes a sentence and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        from cgrunbook.sandbox.process import SandboxFailure

        try:
            return super().invoke(ctx)
        except CgrunbookError as error:
            _complain(error.message, error.remedy)
            raise typer.Exit(error.exit_code) from None
        except SandboxFailure as error:
            _complain(str(error))
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            _complain("Interrupted.")
            raise typer.Exit(Interrupted.exit_code) from None
        except (typer.Exit, typer.Abort, BrokenPipeError):
            raise
        except Exception as error:
            if _is_typers(error):
                raise
            _complain(f"Something that should not happen: {type(error).__name__}: {error}", _keep_traceback(error))
            raise typer.Exit(1) from None


def _is_typers(error: Exception) -> bool:
    """Whether typer itself says what is wrong with the arguments, and does it well."""
    return hasattr(error, "format_message")


def _complain(message: str, remedy: str = "") -> None:
    typer.echo(visible(redact(f"Error: {message}")), err=True)
    if remedy:
        typer.echo(visible(redact(f"What to do: {remedy}")), err=True)


def _keep_traceback(error: Exception) -> str:
    """Write down what happened, for a report to the authors; answer a sentence that says where."""
    from cgrunbook.sandbox.process import home

    path = home() / "errors" / f"{datetime.now(UTC):%Y-%m-%dT%H-%M-%SZ}-{os.getpid()}.txt"
    text = redact("".join(traceback.format_exception(error)))
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_text(f"cgrunbook {__version__}, Python {sys.version}\n\n{text}", encoding="utf-8")
    except OSError as problem:
        return f"Make room in {path.parent}, where the traceback was to be kept ({problem.strerror}), and try again."
    return f"Try again; if it stays, report it with the traceback, which is in {path}"


app = typer.Typer(
    cls=_Verbs,
    name="cgrunbook",
    help="Pull Chainguard's images through Google Artifact Registry: the vendor's guide as notebooks that do each step "
    "and prove it. Without --target google-cloud all of it happens in a sandbox on this machine.",
    epilog=_EXIT_CODES,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
_notebooks = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="The notebooks that this installation brings."
)
_sandbox = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="The sandbox: Google's and Chainguard's services, played by one process on this machine.",
    short_help="The sandbox, which plays the services on this machine.",
)
app.add_typer(_notebooks, name="notebooks")
app.add_typer(_sandbox, name="sandbox")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and end the process with its exit code.

    Args:
        arguments: the words after the command's name; None takes the process's own.
    """
    try:
        words = _join_parameters(sys.argv[1:] if arguments is None else arguments)
    except UsageError as error:
        _complain(error.message, error.remedy)
        sys.exit(error.exit_code)
    app(args=words, prog_name="cgrunbook")


def _join_parameters(words: Sequence[str]) -> list[str]:
    """Make one word of the two that follow each -p."""
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


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"cgrunbook {__version__}")
        raise typer.Exit


@app.callback()
def _start(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """What comes before a verb."""


_Notebooks = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="NOTEBOOK",
        help="A notebook's name or how it begins (02), or a path. Without any: 01 to 04, the guide in its order.",
        show_default=False,
    ),
]
_Target = Annotated[
    str | None,
    typer.Option(
        "--target", metavar="sandbox|google-cloud", help="Where to work; the sandbox if not given.", show_default=False
    ),
]
_Parameters = Annotated[
    list[str] | None,
    typer.Option(
        "-p",
        "--parameter",
        metavar="NAME VALUE",
        help="Set a parameter; may be given several times. The value is taken as it is written: 1.20 stays 1.20. "
        "A list is written a,b.",
        show_default=False,
    ),
]
_Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        metavar="DIR",
        help="The run folder, new or empty; without it a new one below ./runs.",
        show_default=False,
    ),
]
_Json = Annotated[bool, typer.Option("--json", help="Print the record as JSON instead of a table.")]


@app.command(epilog=_EXIT_CODES)
def run(
    notebooks: _Notebooks = None,
    target: _Target = None,
    parameter: _Parameters = None,
    output: _Output = None,
    as_json: _Json = False,
) -> None:
    """Run notebooks, until one fails, and keep what they did.

    The run folder gets the executed notebooks, journal.jsonl, record.json and report.html. A second run says unchanged
    of every step that has nothing left to do.
    """
    _perform("apply", notebooks, target, parameter, output=output, as_json=as_json)


@app.command(epilog=_EXIT_CODES)
def plan(
    notebooks: _Notebooks = None,
    target: _Target = None,
    parameter: _Parameters = None,
    output: _Output = None,
    as_json: _Json = False,
) -> None:
    """List what a run would change, and change nothing.

    Each change is printed with its notebook, its step, and the value before and after. Ends with 4 when there is any.
    """
    _perform("plan", notebooks, target, parameter, output=output, as_json=as_json)


def _perform(
    mode: Literal["apply", "plan"],
    notebooks: list[str] | None,
    target: str | None,
    parameter: list[str] | None,
    *,
    output: Path | None,
    as_json: bool,
) -> None:
    from cgrunbook import headless

    values = _values(parameter or [], target)
    if mode == "plan" and values.get("mode", "plan") != "plan":
        raise UsageError(f"A plan changes nothing, so mode cannot be {values['mode']!r}.", "Use: cgrunbook run")
    if values.get("mode") == "plan":
        mode = "plan"
    with _Watcher() as watcher:
        result = headless.run(notebooks or [], values, output=output, mode=mode, on_event=watcher.see)
    if as_json:
        typer.echo(result.record.model_dump_json(indent=2))
    elif mode == "plan":
        _print_changes(result)
    else:
        _print_table(result)
    if result.left_out:
        typer.echo(f"Not begun: {', '.join(result.left_out)}", err=True)
    if result.error is not None:
        _complain(result.error.message, result.error.remedy)
    raise typer.Exit(result.exit_code)


def _values(pairs: list[str], target: str | None) -> dict[str, Any]:
    """Read the parameters as their types say; nothing is guessed from what a value looks like."""
    from cgrunbook import parameters

    values: dict[str, Any] = {}
    for name, value in ([("target", target)] if target is not None else []) + [_pair(pair) for pair in pairs]:
        if name in values:
            raise UsageError(f"{name} is given twice.")
        values[name] = parameters.from_text(name, value)
    return values


def _pair(joined: str) -> tuple[str, str]:
    name, _, value = joined.partition(_BETWEEN)
    return name, value


class _Watcher:
    """Says on stderr what a run does as it does it: one line that changes on a terminal, plain lines elsewhere."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
        self._status: Any = None
        self._doing = ""
        self._waits: set[tuple[str, int, str]] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._show(None)

    def _show(self, doing: str | None) -> None:
        """Change the line that says what goes on; None takes it away."""
        if not self._console.is_terminal:
            return
        if doing is None:
            if self._status is not None:
                self._status.stop()
            self._status = None
        elif self._status is None:
            from rich.text import Text

            self._status = self._console.status(Text(doing))
            self._status.start()
        else:
            self._status.update(doing)

    def _say(self, text: str) -> None:
        self._console.print(visible(redact(text)))

    def see(self, line: Line) -> None:
        """Take one line of the journal."""
        data = line.data
        if line.event == "run-started":
            self._show("starting")
        elif line.event == "notebook-started":
            self._say(line.notebook)
        elif line.event == "step-started":
            self._doing = f"{line.step}. {data.get('title', '')}"
            self._show(self._doing)
        elif line.event == "waiting":
            reason = str(data.get("reason", ""))
            self._show(f"{self._doing}: waiting for {reason}")
            if not self._console.is_terminal and (line.notebook, line.step, reason) not in self._waits:
                self._waits.add((line.notebook, line.step, reason))
                self._say(f"  {self._doing}: waiting for {reason}")
        elif line.event == "outcome":
            seconds = f" ({data['seconds']:.1f} s)" if isinstance(data.get("seconds"), int | float) else ""
            self._say(f"  {data.get('outcome', ''):<9}  {self._doing}{seconds}")
        elif line.event == "notebook-ended":
            self._show("going on")


def _print_table(result: RunResult) -> None:
    """The steps with their outcomes and evidence, and where everything is."""
    from rich.box import SIMPLE_HEAD
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    from cgrunbook.report import outcome_of, verdict

    colours = {"failed": "red", "declined": "red", "did not end": "red", "unchanged": "dim"}
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("Step", overflow="fold")
    table.add_column("Outcome", no_wrap=True)
    table.add_column("Evidence", overflow="fold")
    table.add_column("Seconds", justify="right", no_wrap=True)
    for notebook in result.record.notebooks:
        table.add_section()
        table.add_row(Text(notebook.name, style="bold"))
        for step in notebook.steps:
            outcome = outcome_of(step)
            seconds = "" if step.seconds is None else f"{step.seconds:.1f}"
            style = colours.get(outcome, "green")
            table.add_row(
                Padding(Text(visible(step.title)), (0, 0, 0, 2)),
                Text(outcome, style=style),
                Text(visible(step.brief)),
                seconds,
            )
    console = _stdout()
    console.print(table)
    console.print(verdict(result.record))
    _print_where(result)


def _print_changes(result: RunResult) -> None:
    """Each change of a plan, below its notebook and step."""
    from cgrunbook.report import as_text, verdict

    for notebook in result.record.notebooks:
        steps = [step for step in notebook.steps if step.changes]
        if steps:
            typer.echo(notebook.name)
        for step in steps:
            typer.echo(f"  {step.title}")
            for change in step.changes:
                what = f"{change.resource}.{change.field}" if change.field else change.resource
                before, after = (as_text(value, nothing="(none)") for value in (change.before, change.after))
                typer.echo(visible(f"    {what}: {before} -> {after}"))
    typer.echo(verdict(result.record))
    _print_where(result)


def _print_where(result: RunResult) -> None:
    """Say where the run folder is, as short as the caller's folder allows."""
    folder = result.folder
    shown = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
    typer.echo(f"Run folder: {shown} (report.html to read, record.json for programs)")


def _stdout() -> Any:
    from rich.console import Console

    console = Console(highlight=False, markup=False)
    return console if console.is_terminal else Console(highlight=False, markup=False, width=_WIDE)


@_notebooks.command("copy")
def notebooks_copy(
    destination: Annotated[
        Path, typer.Argument(metavar="DEST", help="The folder that gets them; made when it is not there.")
    ],
) -> None:
    """Copy the notebooks to a folder of yours, to read, change and run in JupyterLab.

    Nothing is ever overwritten: a file that is there already stays as it is and is named, and the exit code is then 1.
    """
    from cgrunbook.headless import notebooks_folder
    from cgrunbook.lab import copy_notebooks

    copied = copy_notebooks(notebooks_folder(), destination)
    for path in copied.made:
        typer.echo(str(path))
    if copied.there:
        raise StepFailed(
            "There already, and left as they are: " + ", ".join(map(str, copied.there)),
            "Give another folder, or move these away to get them anew.",
        )


@app.command()
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
    from cgrunbook import journal
    from cgrunbook import report as reports
    from cgrunbook.route import routes_of

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


@app.command()
def lab(
    destination: Annotated[
        Path,
        typer.Argument(metavar="[DEST]", help="The folder to work in; made when it is not there.", show_default=True),
    ] = Path("cgrunbook-notebooks"),
    port: Annotated[
        int | None,
        typer.Option("--port", metavar="N", min=1, max=65535, help="Where it listens; the first free one from 8888."),
    ] = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Print the address instead of opening it.")] = False,
) -> None:
    """Open the notebooks in JupyterLab, in a folder of yours.

    Notebooks that are not in the folder yet are copied there; those that are stay as they are. It listens on this
    machine only, and calls nobody. Ctrl-C ends it.
    """
    from cgrunbook import lab as jupyterlab
    from cgrunbook.headless import notebooks_folder
    from cgrunbook.sandbox import process

    folder = destination.expanduser().absolute()
    copied = jupyterlab.copy_notebooks(notebooks_folder(), folder)
    typer.echo(f"{folder}: {len(copied.made)} notebooks copied, {len(copied.there)} were there already.")
    jupyterlab.start(
        jupyterlab.command(folder, port=port, browser=not no_browser),
        jupyterlab.environment(folder, process.home()),
    )


@_sandbox.command("start")
def sandbox_start(
    upstream: Annotated[
        str | None,
        typer.Option(
            "--upstream", metavar="URL", help="A real registry in place of the sandbox's cgr.dev.", show_default=False
        ),
    ] = None,
    idle: Annotated[
        float | None,
        typer.Option(
            "--idle", metavar="SECONDS", min=1, help="End it after so long without a request.", show_default=False
        ),
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


@_sandbox.command("stop")
def sandbox_stop() -> None:
    """End the sandbox. What is in it stays for the next start."""
    from cgrunbook.sandbox import process

    typer.echo("The sandbox has ended; its state stays." if process.stop() else "No sandbox was running.")


@_sandbox.command("status")
def sandbox_status(
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON, with every location's port.")] = False,
) -> None:
    """Say whether the sandbox runs, where it listens and what is in it. Ends with 3 when it does not run."""
    from cgrunbook.sandbox import process

    status = process.status()
    if as_json:
        typer.echo(json.dumps(_status_data(status), indent=2))
    elif status is None:
        typer.echo("The sandbox does not run. To start it: cgrunbook sandbox start")
    else:
        typer.echo(f"The sandbox runs, as process {status.running.pid}, since {status.running.started}.")
        _print_sandbox(status.running)
        counts = ", ".join(f"{count} {what.replace('_', ' ')}" for what, count in status.counts.items())
        typer.echo(f"  Holds {counts}; {status.size_bytes / 1e6:.1f} MB on disk.")
    if status is None:
        raise typer.Exit(3)


def _status_data(status: Any) -> dict[str, Any]:
    if status is None:
        return {"running": False}
    running: Running = status.running
    return {
        "running": True,
        "pid": running.pid,
        "started": running.started,
        "version": running.version,
        "home": str(running.home),
        "project_id": running.project_id,
        "project_number": running.project_number,
        "organization": running.organization,
        "hosts": running.hosts,
        "upstream": running.upstream,
        "size_bytes": status.size_bytes,
        "counts": status.counts,
    }


@_sandbox.command("reset")
def sandbox_reset() -> None:
    """End the sandbox and take away all that is in it."""
    from cgrunbook.sandbox import process

    process.reset()
    typer.echo("The sandbox is gone; the next start makes a new one.")


@_sandbox.command("log")
def sandbox_log(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with each request as it comes.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many of the last requests to show.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print each request as one line of JSON.")] = False,
) -> None:
    """Show who asked the sandbox what, and what came of it. Secrets are never in it."""
    import dataclasses
    import itertools
    from collections import deque

    from cgrunbook.sandbox import process, request_log

    reader = request_log.Reader(process.folder_of(process.home()))
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


@_sandbox.command("env")
def sandbox_env() -> None:
    """Print export lines that point a shell's tools at the sandbox.

    After eval "$(cgrunbook sandbox env)" gcloud, docker, podman, skopeo, crane, chainctl and Terraform's Google
    provider talk to it in that shell. Starts the sandbox when it does not run.
    """
    from cgrunbook.sandbox import process

    for name, value in process.environment(process.start()).items():
        quoted = value.replace("'", "'\"'\"'")
        typer.echo(f"export {name}='{quoted}'")
