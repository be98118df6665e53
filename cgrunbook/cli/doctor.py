"""`cgrunbook doctor`: why an image does not come, for a person, a program, or a CI."""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cgrunbook.cli.run import TargetOption, values_of
from cgrunbook.errors import NotSignedIn, UsageError
from cgrunbook.redaction import redact

if TYPE_CHECKING:
    from cgrunbook.diagnosis.codes import Code
    from cgrunbook.diagnosis.doctor import Diagnosis
    from cgrunbook.run.context import Context

# What of the parameters says where to look, and for what.
_TAKES = (
    "target",
    "project_id",
    "location",
    "organization",
    "repository",
    "private_repository",
    "developer_images",
    "production_images",
    "platform",
    "chainguard_auth",
    "chainguard_identity",
    "chainguard_service_account",
)


class Form(StrEnum):
    """How it is printed."""

    TEXT = "text"
    JSON = "json"
    JUNIT = "junit"


def doctor(
    target: TargetOption = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option(
            "-p", "--parameter", metavar="NAME VALUE", help=f"Set a parameter, one of {', '.join(_TAKES[1:])}."
        ),
    ] = None,
    *,
    image: Annotated[
        str,
        typer.Option(
            metavar="IMAGE",
            help="The image that does not come, as it is called at cgr.dev, or as it is pulled from pkg.dev; without it the first "
            "of either kind.",
        ),
    ] = "",
    who: Annotated[
        str,
        typer.Option(
            "--as",
            metavar="PRINCIPAL",
            help="Who pulls, such as the service account of a cluster's nodes; without it docker on this machine.",
        ),
    ] = "",
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="CODE", help="Make this check and no other; may be given several times."),
    ] = None,
    skip: Annotated[
        list[str] | None,
        typer.Option("--skip", metavar="CODE", help="Leave a check out; may be given several times."),
    ] = None,
    suppress: Annotated[
        list[str] | None,
        typer.Option(
            "--suppress",
            metavar="CODE[=RESOURCE]",
            help="Say nothing of what this check finds, of that resource; may be given several times.",
        ),
    ] = None,
    explained: Annotated[
        str | None,
        typer.Option(
            "--explain",
            metavar="TEXT",
            help="Explain a message that was pasted, and look at nothing: the text, a file that has it, or - for standard input.",
        ),
    ] = None,
    bundled: Annotated[
        Path | None,
        typer.Option(
            "--bundle",
            metavar="FILE",
            help="Also write one file for a ticket, which must not be there yet: verdict, checks, versions, how the resources "
            "stand, what failed last in ./runs. No secret is in it.",
        ),
    ] = None,
    mask_names: Annotated[
        bool,
        typer.Option(
            "--mask-names", help="With --bundle: other words in the place of projects', accounts' and such names."
        ),
    ] = False,
    fresh: Annotated[
        bool,
        typer.Option(
            "--fresh-repository",
            help="Then also make a repository with the same settings, pull through it, and take it away again: shown first, and "
            "asked for on a terminal. It is the only thing here that changes anything.",
        ),
    ] = False,
    hosts: Annotated[
        bool, typer.Option("--hosts", help="Print who needs which host, and what this machine reaches; no other check.")
    ] = False,
    form: Annotated[Form, typer.Option("--format", help="How to print it.")] = Form.TEXT,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Find the one reason for which an image does not come.

    Nothing is changed; --fresh-repository alone makes something, and takes it away again. Every link of the image's way is looked
    at, from this machine to cgr.dev, all at once; then the cause is named with what follows from it, and what to do. Ends with 0
    where nothing was found, 4 where something was, 5 where nothing was found and not all could be looked at; how it is printed
    changes nothing of that.
    """
    form = _form(form, as_json=as_json, person=fresh)
    if explained is not None:
        from cgrunbook.cli.explanation_page import print_explained

        raise typer.Exit(print_explained(explained, as_json=form is Form.JSON))
    _claim(bundled, mask_names=mask_names)
    values = values_of(parameter or [], target)
    place, image = _taken_apart(image)
    values = place | values
    codes = {name: [_code(one) for one in given or []] for name, given in (("only", only), ("skip", skip))}
    hidden = [(_code(code), resource) for code, _, resource in (one.partition("=") for one in suppress or [])]

    from cgrunbook.cloud import Attempts, Cloud, connect_as
    from cgrunbook.diagnosis.doctor import PATIENCE, diagnose, signed_out, ways_of
    from cgrunbook.parameters import Way, check
    from cgrunbook.run.context import Context
    from cgrunbook.steps.step import World

    params = check(values, among=_TAKES, way=lambda _: Way.OPTION)
    where = {"target": params.target, "project_id": params.project_id, "location": params.location}
    if hosts:
        from cgrunbook.cli.remedies import print_hosts

        raise typer.Exit(print_hosts(World(Cloud(connect_as(params), Attempts())), as_json=form is Form.JSON))
    world = None
    try:
        connection = connect_as(params)
    except NotSignedIn as error:
        found = signed_out(error)
    else:
        where["project_id"] = connection.project_id
        world = World(Cloud(connection, Attempts(limit=PATIENCE)))
        found = diagnose(
            world,
            ways_of(world, params, image),
            who=_member(who),
            operator=True,
            organization=params.organization,
            platform=params.platform,
            only=codes["only"],
            skip=codes["skip"],
            suppress=hidden,
        )
    _print(found, form, where, Context.of(where))
    if fresh and world is not None:
        from cgrunbook.cli.remedies import print_fresh, try_fresh

        print_fresh(try_fresh(params, values, found.ways))
    if bundled is not None:
        from cgrunbook.run.bundle import bundle, write_bundle

        if world is not None:
            world.cloud.attempts.cancelled.clear()  # what was read is known there; what was not is asked for now
        write_bundle(bundled, bundle(found, world, where, Path(), mask_names=mask_names))
        typer.echo(f"For a ticket: {bundled}", err=True)
    raise typer.Exit(found.verdict.exit_code)


def _form(form: Form, *, as_json: bool, person: bool) -> Form:
    """The one form that was asked for; some of it is for a person only."""
    if as_json and form is Form.JUNIT:
        raise UsageError("--json and --format junit are two forms.", "Give one of them.")
    form = Form.JSON if as_json else form
    if person and form is not Form.TEXT:
        raise UsageError("--fresh-repository tells a person what came of it.", "Leave --json or --format away.")
    return form


def _claim(bundled: Path | None, *, mask_names: bool) -> None:
    """See that the file can be written before all that takes time."""
    if bundled is not None:
        from cgrunbook.run.bundle import claim

        claim(bundled)
    elif mask_names:
        raise UsageError("--mask-names says how --bundle is written.", "Add: --bundle FILE")


def with_text(words: Sequence[str]) -> list[str]:
    """Read standard input where --explain has no text behind it: typer knows no option whose value may be left out."""
    return [
        part
        for at, word in enumerate(words)
        for part in ((word, "-") if word == "--explain" and words[at + 1 :][:1] in ([], ["--json"]) else (word,))
    ]


def _taken_apart(image: str) -> tuple[dict[str, str], str]:
    """The parameters that an image's whole name at Artifact Registry says, and what it is called at cgr.dev."""
    host, _, path = image.removeprefix("https://").partition("/")
    location = host.removesuffix("-docker.pkg.dev")
    if location == host:
        return {}, image
    first, *parts = path.split("/")
    project = f"{first}:{parts.pop(0)}" if "." in first and parts else first
    repository, *rest = parts or [""]
    name = "/".join(rest)
    which = "repository" if name.startswith("chainguard/") else "private_repository"
    return {"location": location, "project_id": project, which: repository}, name


def _print(found: Diagnosis, form: Form, place: dict[str, str], context: Context) -> None:
    if form is Form.JSON:
        typer.echo(redact(json.dumps({"target": place, **found.as_json()}, indent=2)))
    elif form is Form.JUNIT:
        from cgrunbook.diagnosis.junit import junit

        typer.echo(redact(junit(found)))
    else:
        from cgrunbook.cli.doctor_page import print_diagnosis

        print_diagnosis(found, context)


def _code(given: str) -> Code:
    """The check of a code."""
    from cgrunbook.diagnosis.codes import Code
    from cgrunbook.nearest import closest

    try:
        return Code(given)
    except ValueError:
        known = [code.value for code in Code]
        meant = closest(given, known)
        question = f"Did you mean {meant}? " if meant else ""
        raise UsageError(f"There is no check {given!r}.", f"{question}These are there: {', '.join(known)}.") from None


def _member(who: str) -> str:
    """A principal as IAM writes it."""
    from cgrunbook.cloud.caller import member

    named = who if not who or ":" in who else member(who)
    if who and not named:
        raise UsageError(
            f"--as {who}: that is no principal.",
            "Write it as IAM does, such as serviceAccount:NAME@PROJECT.iam.gserviceaccount.com, user:NAME@EXAMPLE.COM",
        )
    return named
