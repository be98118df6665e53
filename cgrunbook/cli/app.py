"""The command itself: its help, its version, and the one place where what went wrong becomes a sentence and an exit code."""

from __future__ import annotations

import os
import sys
import traceback
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from cgrunbook import __version__
from cgrunbook.errors import CgrunbookError, ExitCode, code_of, of_the_system, what_helps
from cgrunbook.home import VARIABLE, home, made
from cgrunbook.redaction import redact

EXIT_CODES = "Exit codes: " + "; ".join(f"{code} {code.means}" for code in ExitCode) + "."


class _Verbs(TyperGroup):
    """All verbs, each called from here."""

    def invoke(self, ctx: Any) -> Any:
        from cgrunbook.sandbox.process import SandboxFailure

        try:
            return super().invoke(ctx)
        except CgrunbookError as error:
            complain(error.message, error.remedy, code_of(error))
            raise typer.Exit(error.exit_code) from None
        except SandboxFailure as error:
            complain(str(error))
            raise typer.Exit(ExitCode.FAILED) from None
        except KeyboardInterrupt:
            complain("Interrupted.")
            raise typer.Exit(ExitCode.INTERRUPTED) from None
        except (typer.Exit, typer.Abort, BrokenPipeError):
            raise
        except Exception as error:
            if hasattr(error, "format_message"):
                raise  # typer itself says what is wrong with the arguments, and does it well
            if of_the_system(error):
                complain(f"{error}.", what_helps(error, f"let {VARIABLE} and TMPDIR name folders that you may write"))
            else:
                complain(f"Something that should not happen: {type(error).__name__}: {error}", _keep_traceback(error))
            raise typer.Exit(ExitCode.FAILED) from None


def complain(message: str, remedy: str = "", code: str = "") -> None:
    """Say on stderr what went wrong and what to do, and how more is told of a message that is known by a code."""
    typer.echo(redact(f"Error: {message}"), err=True)
    if remedy:
        typer.echo(redact(f"What to do: {remedy}"), err=True)
    if code:
        typer.echo(f"What may be behind it: cgrunbook doctor --explain {code}", err=True)


def _keep_traceback(error: Exception) -> str:
    """Write down what happened, for a report to the authors; answer a sentence that says where."""
    text = redact("".join(traceback.format_exception(error)))
    try:
        path = made(home() / "errors") / f"{datetime.now(UTC):%Y-%m-%dT%H-%M-%SZ}-{os.getpid()}.txt"
        path.write_text(f"cgrunbook {__version__}, Python {sys.version}\n\n{text}", encoding="utf-8")
    except (CgrunbookError, OSError) as problem:
        return f"The traceback was to be kept in {VARIABLE}'s folder errors: {problem}\nPut that right, and try again."
    return f"Try again; if it stays, report it with the traceback, which is in {path}"


app = typer.Typer(
    cls=_Verbs,
    name="cgrunbook",
    help="Pull Chainguard's images through Google Artifact Registry: the vendor's guide as notebooks that do each step "
    "and prove it. All of it happens in a sandbox on this machine, unless --target says google-cloud.",
    epilog=EXIT_CODES,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


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
