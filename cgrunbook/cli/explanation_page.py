"""What a pasted text means, as a terminal shows it; the same as JSON.

It knows where the text comes from, and how the answer looks; what a message means, the diagnosis says.
"""

from __future__ import annotations

import errno
import json
import shutil
import sys
import textwrap
from pathlib import Path

import typer

from cgrunbook.diagnosis.codes import PAGES
from cgrunbook.diagnosis.explain import Explained, Explanation, explain
from cgrunbook.errors import ExitCode, UsageError
from cgrunbook.redaction import redact

# What the system says of a text that is no file's name.
_NO_NAME = (errno.ENAMETOOLONG, errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EINVAL)


def print_explained(given: str, *, as_json: bool) -> ExitCode:
    """Explain a text.

    Args:
        given: the text itself, the name of a file that has it, or "-" for what comes on standard input.
        as_json: for a program.

    Returns:
        Whether it was known.

    Raises:
        UsageError: the file cannot be read.
    """
    text = _text(given)
    hosts = {}
    if "127.0.0.1:" in text:
        from cgrunbook.cloud.connection import played

        hosts = played()
    explanation = explain(text, hosts)
    if as_json:
        typer.echo(redact(json.dumps(explanation.as_json(), indent=2)))
    else:
        _print(explanation)
    return ExitCode.DONE if explanation.found else ExitCode.NOT_ALL


def _text(given: str) -> str:
    """The text, from wherever it is."""
    if given == "-":
        if sys.stdin.isatty():
            typer.echo("Paste the message, then press Ctrl-D on a line of its own.", err=True)
        return _decoded(sys.stdin.buffer.read())
    try:
        if "\n" not in given and Path(given).is_file():
            return _decoded(Path(given).read_bytes())
    except ValueError:
        return given  # no name that a file could have
    except OSError as error:
        if error.errno not in _NO_NAME:
            raise UsageError(f"{given} cannot be read: {error.strerror}.") from error
    return given


def _decoded(data: bytes) -> str:
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"  # as PowerShell writes files
    return data.decode(encoding, "replace")


def _print(explanation: Explanation) -> None:
    for number, found in enumerate(explanation.found):
        if number:
            typer.echo("")
        _print_found(found)
    if explanation.cut:
        typer.echo("\nThe text is long: its beginning and its end were read. Give less of it to be sure.")
    if explanation.found:
        return
    typer.echo("Unknown: none of the messages that are known here is in this text.")
    if explanation.others:
        _say(
            "",
            f"It names {', '.join(explanation.others[:5])}, of which nothing is known here: this is about Artifact Registry's "
            "LOCATION-docker.pkg.dev, Secret Manager, cgr.dev, and docker on the way to them.",
        )
    _say(
        "",
        "If it is about an image that does not come: paste the line in which a host is named too, or look at the way itself:",
    )
    typer.echo("  > cgrunbook doctor --image IMAGE")


def _print_found(found: Explained) -> None:
    who = f"{found.service}, {found.host}" if found.host and found.host not in found.service else found.service
    if who:
        _say("", f"{who} says: {found.said or found.message.id}")
    else:
        _say("", f"Nobody is named in the text; so says {found.known_of}: {found.said or found.message.id}")
    _say("  ", found.message.means)
    if found.causes:
        typer.echo("\n  What may be behind it, the likeliest first:")
    for number, (code, tell, reason) in enumerate(found.causes, 1):
        _say(f"  {number}. ", f"{code}: {reason.why}")
        _say("     ", f"Told by: {tell}")
        _say("     ", f"What to do: {reason.helps}")
    if found.helps:
        typer.echo("")
        _say("  ", f"What to do: {found.helps}")
    typer.echo("\n  To look:")
    codes = dict.fromkeys(code.partition("/")[0] for code, _, _ in found.causes)
    if codes:
        typer.echo(f"  > cgrunbook doctor {' '.join(f'--only {code}' for code in codes)}")
    for command in found.commands:
        typer.echo(f"  > {redact(command)}")
    typer.echo("\n  More: " + "\n        ".join([*(f"{PAGES}#{code}" for code in codes), *found.message.sources]))


def _say(head: str, text: str) -> None:
    """A text in lines, each as far to the right as its head."""
    width = max(min(shutil.get_terminal_size((110, 24)).columns, 120), 60)
    after = " " * len(head)
    typer.echo(
        textwrap.fill(
            redact(text),
            width,
            initial_indent=head,
            subsequent_indent=after,
            break_long_words=False,
            break_on_hyphens=False,
        )
    )
