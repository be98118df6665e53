"""`python -m tests.probe`: what is typed, who is asked, and what stands in the file."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import cgrunbook
from cgrunbook.cloud import Attempts, Cloud, Connection, connect
from cgrunbook.cloud.roles import fewest_roles
from cgrunbook.errors import (
    ApiDisabled,
    CgrunbookError,
    ExitCode,
    Interrupted,
    ParameterError,
    PermissionMissing,
    UsageError,
)
from cgrunbook.redaction import redact
from cgrunbook.steps.rights import APIS, PERMISSIONS
from tests.probe import comparing
from tests.probe.sending import Sender
from tests.probe.taking_away import books, take_away
from tests.probe.walk import LABEL, WALK, names
from tests.probe.walking import Walking
from tests.probe.words import Words

_PARAMETERS = ("project_id", "location", "organization")

_ASKED = """\
This asks the real services in the project {project}, location {location}, as {caller}.

  It makes      up to seven repositories and two secrets, named {label}-... and labelled {label}, and a grant on one of the secrets
{tokens}  It turns on   Artifact Registry and Secret Manager where they are off, and off again at the end
  It takes away all of that, also when it is stopped (Ctrl-C) or fails; one that is killed is swept by the next start.
                Artifact Registry's service agent, which Google makes once for a project, stays.
  It needs      roles/artifactregistry.admin and roles/secretmanager.admin, and roles/serviceusage.serviceUsageAdmin
                where an API is off
  It costs      less than a cent: no image is scanned, a few kilobytes are kept for some minutes
  It takes      some ten minutes
  It writes     {file}: statuses, shapes and texts of the answers, without names, numbers, addresses, times and tokens;
                look at it before you send it to anybody.
"""


def main(arguments: list[str] | None = None) -> int:
    """Walk, or compare."""
    parser = argparse.ArgumentParser(prog="python -m tests.probe", description=sys.modules[__name__].__doc__)
    parser.add_argument("--target", choices=("sandbox", "google-cloud"), default="sandbox")
    parser.add_argument(
        "-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help=", ".join(_PARAMETERS)
    )
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="where to write; probe-TARGET.json where nothing is said"
    )
    parser.add_argument("--yes", action="store_true", help="begin without being asked")
    parser.add_argument(
        "--compare", nargs=2, type=Path, metavar=("A", "B"), help="print where two files differ; 1 where they do"
    )
    given = parser.parse_args(arguments)
    try:
        if given.compare:
            return _compare(*given.compare)
        return _probe(given)
    except KeyboardInterrupt:
        print("Ended at once. What was made and is still there is taken away by the next start.", file=sys.stderr)
        return ExitCode.INTERRUPTED
    except CgrunbookError as error:
        print(f"Error: {error}", file=sys.stderr)
        return error.exit_code


def _compare(one: Path, other: Path) -> int:
    calls = comparing.read(one), comparing.read(other)
    lines = list(comparing.differences(*calls))
    print("\n".join(lines) if lines else f"No difference in {len(calls[0])} calls.")
    return 1 if lines else 0


def _probe(given: argparse.Namespace) -> int:
    parameters = dict(given.p)
    if unknown := parameters.keys() - set(_PARAMETERS):
        raise ParameterError(
            f"There is no parameter {', '.join(sorted(unknown))}.", f"There are: {', '.join(_PARAMETERS)}."
        )
    connection = connect(given.target, **parameters)
    path: Path = given.output or _free(Path(f"probe-{given.target}.json"))
    if given.target == "google-cloud":
        _ask(connection, path, sure=given.yes)
    _write(path, "")
    stop = threading.Event()
    with _stopped_by_signals(stop):
        code, document = _walk(connection, stop)
    text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    try:
        _write(path, text)
    except UsageError:
        print(text)  # so that the walk was not for nothing
        raise
    print(path)
    return code


def _free(path: Path) -> Path:
    """A name that no file has: an earlier walk's is there to be compared with."""
    others = (path.with_stem(f"{path.stem}-{number}") for number in itertools.count(2))
    return path if not path.exists() else next(other for other in others if not other.exists())


def _ask(connection: Connection, path: Path, *, sure: bool) -> None:
    """Say what comes, and wait for a yes where nobody has said it.

    Raises:
        UsageError: nobody is there to say it.
        Interrupted: it was something else.
    """
    said = _ASKED.format(
        project=connection.project_id,
        location=connection.location,
        caller=connection.caller,
        label=LABEL,
        file=path,
        tokens=f"                and three pull tokens of {connection.organization}, named alike\n"
        if connection.organization
        else "",
    )
    print(redact(said), file=sys.stderr)
    if sure:
        return
    if not sys.stdin.isatty():
        raise UsageError(
            "Nobody is there to say yes, and nothing was asked.", "Where that is what you want, add --yes."
        )
    print("Type yes to begin: ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() != "yes":
        raise Interrupted("Nothing was asked.")


def _write(path: Path, text: str) -> None:
    """Put all of a text into a file, or nothing; "" only looks whether that can be done.

    Raises:
        UsageError: it cannot.
    """
    draft = path.with_name(f"{path.name}.draft")
    try:
        draft.write_text(text, encoding="utf-8")
        if text:
            draft.replace(path)
        draft.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror}.", "Choose another place with --output."
        ) from error


@contextlib.contextmanager
def _stopped_by_signals(stop: threading.Event) -> Iterator[None]:
    """The first signal ends the walk after the call that is under way; the second ends everything."""

    def hear(_number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        print("Stopping; what was made is taken away first. Once more ends at once.", file=sys.stderr)

    before = {number: signal.signal(number, hear) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _walk(connection: Connection, stop: threading.Event) -> tuple[int, dict[str, Any]]:
    sender, remover = Sender(Cloud(connection, Attempts(cancelled=stop))), Sender(Cloud(connection))
    stay: list[str] = []
    with books(connection) as (made, left):
        for earlier in left:
            stay += take_away(remover, earlier, lambda thing: _say(f"left by an earlier walk, taken away: {thing}"))
        _check_rights(sender.cloud)
        if connection.organization:
            sender.cloud.chainctl.require_login()
        words = _words(connection, made.suffix)
        fill = names(made.suffix) | {
            "project": connection.project_id,
            "registry_project": connection.project_id.replace(":", "/"),
            "location": connection.location,
        }
        if connection.organization:
            fill["organization"] = connection.organization
        walking = Walking(sender, words, fill, made.begin)
        code, ended = ExitCode.DONE, "at its end"
        try:
            walking.go(WALK, lambda name: _say(f"{len(walking.written) + 1}/{len(WALK)} {name}"))
        except CgrunbookError as error:
            code, ended = error.exit_code, words.text(error.message)
            # Who stopped it knows what to do.
            _say(error.message if code is ExitCode.INTERRUPTED else f"Error: {error}")
        finally:
            stay += take_away(remover, made, lambda thing: _say(f"taken away: {thing}"))
    document = {
        "probe": 1,
        "cgrunbook": cgrunbook.__version__,
        "target": connection.target,
        "ended": ended,
        "calls": walking.written,
        "seconds": walking.seconds,
    }
    _say(f"{len(walking.written)} of {len(WALK)} calls were asked.")
    for line in stay:
        _say(f"Still there: {line}")
    if stay:
        _say("The next start tries again to take it away.")
    return code or (ExitCode.FAILED if stay else ExitCode.DONE), document


def _check_rights(cloud: Cloud) -> None:
    """Say what is missing before anything is made.

    Raises:
        PermissionMissing: some is.
    """
    needed = {permission for purpose, some in PERMISSIONS.items() if purpose != APIS for permission in some}
    needed |= {"secretmanager.versions.enable", "secretmanager.versions.disable"}
    try:
        missing = needed - cloud.project.held_permissions(needed)
    except (ApiDisabled, PermissionMissing) as error:
        _say(f"rights could not be looked at: {error.message}")
        return
    if missing:
        roles = fewest_roles(missing)
        raise PermissionMissing(
            f"The probe would lack {', '.join(sorted(missing))} in the project {cloud.project.id}; nothing was made.",
            f"Ask for {' and '.join(roles)} there, or take another project.",
        )


def _words(connection: Connection, suffix: str) -> Words:
    known: dict[str, Any] = {
        connection.project_id: "PROJECT",
        connection.project_id.replace(":", "/"): "PROJECT",
        suffix: "SUFFIX",
        connection.location: "LOCATION",
        connection.organization: "ORGANIZATION",
        getattr(connection.credentials, "quota_project_id", None) or "": "ANOTHER",
    }
    for host in (connection.artifact_registry_host, connection.cgr):
        known |= {f"{host.scheme}://{host.address}": f"https://{host.name}", host.address: host.name}
    known[connection.artifact_registry_host.name] = "LOCATION-docker.pkg.dev"
    return Words(known)


def _say(text: str) -> None:
    print(redact(text), file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
