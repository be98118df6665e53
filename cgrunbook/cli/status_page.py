"""A status as a terminal shows it: what an operator takes in at one look, then each thing that is amiss and what to do about it.

It is imported when a status is printed, and knows nothing of how it came about.
"""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterator

import typer

from cgrunbook.diagnosis.status import Status
from cgrunbook.errors import ExitCode
from cgrunbook.run.context import Context
from cgrunbook.steps.step import Finding, Mark
from cgrunbook.steps.token_checks import at, in_days
from cgrunbook.steps.token_life import TokenLife

_GLYPHS = {
    Mark.FAIL: ("✗", "red"),
    Mark.WARN: ("!", "yellow"),
    Mark.TO_DO: ("·", "yellow"),
    Mark.NOT_CHECKED: ("?", "yellow"),
    Mark.OK: ("✓", "green"),
}
_BAD = tuple(_GLYPHS)  # the worst first


def print_status(found: Status, context: Context) -> None:
    """A line a repository, the worst first; then each check of the only one, or of many what is not well, told once."""
    typer.echo(f"{context.text}\n")
    lives = sorted(found.lives, key=lambda life: (_BAD.index(life.mark), life.repository.name))
    names = [f"{life.repository.location}/{life.repository.id}" for life in lives]
    widths = max(map(len, names), default=0), max((len(_left(life)) for life in lives), default=0)
    for name, life in zip(names, lives, strict=True):
        secret = f"{life.secret_id}/versions/{life.version}" if life.secret_id else "no secret that is known"
        wrong = "" if len(lives) == 1 else ", ".join(one.code for one in life.findings if one.mark is not Mark.OK)
        row = f"{marked(life.mark)}  {name:<{widths[0]}}  {_left(life):<{widths[1]}}  {secret}  {wrong}"
        typer.echo(row.rstrip())
    typer.echo("")
    if len(lives) == 1:
        for finding in lives[0].findings:
            _print_finding(finding, "")
    else:
        for finding, where in _told_once(lives):
            _print_finding(finding, where)
    for place, error in found.unread.items():
        _print_finding(Finding(Mark.NOT_CHECKED, "", error.message, error.remedy, code=place or "all locations"), "")
    if context.target == "sandbox" and any(one.remedy for life in lives for one in life.findings):
        typer.echo('To run these in the sandbox, first: eval "$(cgrunbook sandbox env)"\n')
    typer.echo(_verdict(found))


def _told_once(lives: list[TokenLife]) -> Iterator[tuple[Finding, str]]:
    """What is not well, with the repositories of which the same is to be said."""
    alike: dict[tuple[str, str, str], tuple[Finding, list[str]]] = {}
    for life in lives:
        for one in life.findings:
            if one.mark is not Mark.OK:
                about = f"{life.repository.location}/{life.repository.id}"
                alike.setdefault((one.code, one.seen, one.remedy), (one, []))[1].append(about)
    for finding, places in sorted(alike.values(), key=lambda told: _BAD.index(told[0].mark)):
        more = f" and {len(places) - 4} more" if len(places) > 4 else ""
        yield finding, f"{', '.join(places[:4])}{more}"


def _print_finding(finding: Finding, where: str) -> None:
    indent = " " * 15
    said = f"{where}: {finding.seen}" if where else finding.seen
    width = max(min(shutil.get_terminal_size((110, 24)).columns, 120), 60)
    lines = textwrap.wrap(said, width - len(indent) - 16, break_long_words=False, break_on_hyphens=False) or [""]
    typer.echo(f"{marked(finding.mark)}  {finding.code:<16}{lines[0]}")
    for line in lines[1:]:
        typer.echo(f"{indent}{'':<16}{line}")
    for line in finding.remedy.splitlines():  # a command is copied: it is not broken
        typer.echo(f"{indent}  {line}")


def marked(mark: Mark) -> str:
    """A mark with its glyph, in its colour and in the width of the longest."""
    glyph, colour = _GLYPHS[mark]
    return typer.style(f"{glyph} {mark:<11}", fg=colour)


def _left(life: TokenLife) -> str:
    if life.left is None or life.expires is None:
        return "end not known"
    return f"{in_days(life.left)} ({at(life.expires)})"


def _verdict(found: Status) -> str:
    marks = [one.mark for life in found.lives for one in life.findings] + [Mark.NOT_CHECKED for _ in found.unread]
    count = ", ".join(f"{marks.count(mark)} {mark}" for mark in _BAD if mark in marks)
    left_out = f"; left out: {', '.join(found.left_out)}" if found.left_out else ""
    words = {
        ExitCode.DONE: "All is well",
        ExitCode.NOT_ALL: "Nothing was found, but not all could be looked at",
    }
    return f"{words.get(found.exit_code, 'Something is to be done')}: {count}{left_out}."
