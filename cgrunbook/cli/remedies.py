"""The guide's own remedies from the command line: who needs which host, and a fresh repository tried beside the old one.

It knows how a terminal shows a plan and asks for a yes. What is done, the steps know; it is journaled as in any run.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import typer

from cgrunbook.errors import CgrunbookError, ExitCode
from cgrunbook.redaction import redact

if TYPE_CHECKING:
    from cgrunbook.cloud import Wait
    from cgrunbook.diagnosis.checks import Way
    from cgrunbook.parameters import Parameters
    from cgrunbook.run.conclusion import Conclusion
    from cgrunbook.run.result import Result
    from cgrunbook.run.session import Session
    from cgrunbook.steps.step import Plan, Progress, Step, World


def print_hosts(world: World, *, as_json: bool) -> ExitCode:
    """Print who needs which host, and what this machine reaches."""
    from cgrunbook.diagnosis.hosts import Who, exit_code, who_needs_what

    table = who_needs_what(world)
    if as_json:
        typer.echo(redact(json.dumps([host.as_json() for host in table], indent=2)))
        return exit_code(table)
    width = max(len(host.name) for host in table)
    typer.echo(f"{'':<{width}}  {'  '.join(Who)}  from here")
    for host in table:
        marks = "  ".join(f"{'needs' if who in host.who else '-':<{len(who)}}" for who in Who)
        typer.echo(redact(f"{host.name:<{width}}  {marks}  {host.said}"))
    typer.echo(
        "\nAll at port 443. What Artifact Registry needs is asked by Google's servers and need not be open from here."
    )
    for remedy in dict.fromkeys(host.here.remedy for host in table if host.here and host.here.remedy):
        typer.echo(redact(f"  > {remedy}"))
    return exit_code(table)


@dataclass
class Terminal:
    """A face that is a terminal: it shows a plan on standard error and waits for a yes, where somebody sits there."""

    results: list[Result] = field(default_factory=list)

    @property
    def interactive(self) -> bool:
        """Whether somebody is there to say yes; the flag alone is one where nobody is."""
        return sys.stdin.isatty() and sys.stderr.isatty()

    def opened(self, session: Session) -> None:
        """Nothing is shown of it."""

    def standing(self) -> None:
        """Nor of that."""

    def concluded(self, conclusion: Conclusion) -> None:
        """Nor is there a notebook to conclude."""

    def form(self) -> Mapping[str, Any] | None:
        """There is none."""
        return None

    async def approve(self, number: int, step: Step, plan: Plan) -> bool:  # noqa: ARG002 - a face's arguments
        """Show all of the plan, and ask."""
        self._say(f"\n{step.title}. {step.why}")
        for change in plan.changes:
            self._say(f"  {change.resource}: {change.after}")
        for command in plan.commands:
            self._say(f"  > {command}")
        return typer.confirm("Do it?", default=False, err=True)

    def progress(self, number: int, step: Step, progress: Progress) -> None:  # noqa: ARG002 - the same
        """Say what goes on, once."""
        if progress.done is None:
            self._say(f"  {progress.text}")

    def waiting(self, number: int, step: Step, wait: Wait) -> None:  # noqa: ARG002 - the same
        """Say what is waited for."""
        self._say(f"  waiting for {wait.reason}")

    def finished(self, result: Result) -> None:
        """Keep it for whoever asked."""
        self.results.append(result)

    def _say(self, text: str) -> None:
        typer.echo(redact(text), err=True)


def try_fresh(params: Parameters, values: Mapping[str, Any], ways: Iterable[Way]) -> list[Result]:
    """Make a repository with the settings of each way's, pull through it, and take it away again; a run of its own, in ./runs.

    Args:
        params: what was asked for, whole.
        values: the same as it was given.
        ways: whose repositories and images.

    Returns:
        What came of each.
    """
    from cgrunbook.run.folder import short
    from cgrunbook.run.runbook import open_runbook
    from cgrunbook.steps import TryFreshRepository

    face = Terminal()
    book = open_runbook("04_debugging", {**values, "try_fresh_repository": True}, face)

    async def perform() -> None:
        for way in ways:
            if isinstance(way.image, CgrunbookError):
                typer.echo(f"{way.name} is not tried: {redact(way.image.message)}", err=True)
                continue
            image = str(way.image)
            with suppress(CgrunbookError):  # it is among the results, and says nothing of the other repository
                await book.perform(
                    TryFreshRepository(
                        way.repository, image, params.platform, organization=params.organization, wanted=True
                    )
                )

    asyncio.run(perform())
    typer.echo(f"Run folder: {short(book.folder)}", err=True)
    return face.results


def print_fresh(results: Iterable[Result]) -> None:
    """Say what came of it."""
    for result in results:
        typer.echo(redact(f"\n{result.step.title}: {result.outcome}"))
        typer.echo(redact(f"  {result.error.message if result.error else result.evidence.in_brief}"))
        for fact, value in result.evidence.facts.items():
            typer.echo(redact(f"  {fact}: {value}"))
        if result.error and result.error.remedy:
            typer.echo(redact(f"  > {result.error.remedy}"))
