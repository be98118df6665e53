"""A diagnosis as a terminal shows it: the checks along the way, then the cause, what follows from it, and what to do.

It is imported when one is printed, and knows nothing of how it came about.
"""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable, Mapping
from itertools import groupby

import typer

from cgrunbook.cli.status_page import marked
from cgrunbook.diagnosis.codes import CHECKS, PAGES, Hop, Sure
from cgrunbook.diagnosis.doctor import Diagnosis
from cgrunbook.diagnosis.verdict import Cause, Looked
from cgrunbook.errors import ExitCode
from cgrunbook.redaction import redact
from cgrunbook.run.context import Context
from cgrunbook.steps.step import Mark

_CODE = 22


def print_diagnosis(found: Diagnosis, context: Context) -> None:
    """All of it; nothing secret is in it."""
    _say(f"{context.text}\n")
    for way in found.ways:
        _say(f"{way.what} through {way.repository}, as {found.who or 'docker here'}")
    because = {id(one): cause for cause in reversed(found.verdict.causes) for one in cause.consequences}
    for hop, looked in groupby(found.looked, key=lambda one: CHECKS[one.code].hop):
        _print_hop(hop, [*looked], because, many=len(found.ways) > 1)
    _say("")
    for number, cause in enumerate(found.verdict.causes):
        _print_cause(cause, first=number == 0)
    if context.target == "sandbox" and any(one.looked.finding.remedy for one in found.verdict.causes):
        _say('To run these in the sandbox, first: eval "$(cgrunbook sandbox env)"\n')
    _say(_summary(found))


def _print_hop(hop: Hop, looked: Iterable[Looked], because: Mapping[int, Cause], *, many: bool) -> None:
    """The checks of one part of the way; those that could not be made because of another, together."""
    _say(f"\n{hop.value}")
    unseen: dict[str, list[str]] = {}
    for one in looked:
        finding = one.finding
        if finding.mark is Mark.NOT_CHECKED and id(one) in because:
            unseen.setdefault(because[id(one)].looked.finding.code, []).append(finding.code)
            continue
        about = (one.way if many else "") if one.way else finding.resource.partition(" ")[2]
        _hanging(
            f"{marked(finding.mark)}  {finding.code:<{_CODE}}", f"{about}: {finding.seen}" if about else finding.seen
        )
    for cause, codes in unseen.items():
        _hanging(f"{marked(Mark.NOT_CHECKED)}  {'':<{_CODE}}", f"because of {cause}: {', '.join(dict.fromkeys(codes))}")


def _print_cause(cause: Cause, *, first: bool) -> None:
    finding = cause.looked.finding
    head = "The root cause" if first else "Also"
    head = {Mark.NOT_CHECKED: "Could not be looked at", Mark.TO_DO: "Who wants it"}.get(cause.mark, head)
    reason = CHECKS[cause.looked.code].reasons.get(finding.reason)
    sure = f", {reason.sure}" if reason and reason.sure is not Sure.CERTAIN else ""
    all_of_it = [one.finding for one in (cause.looked, *cause.also)]
    about = ", ".join(dict.fromkeys(one.resource for one in all_of_it if one.resource))
    _say(f"{head}: {cause.name}{about and f', {about}'}{sure}")
    _hanging("  ", finding.seen)
    for line in cause.remedy.splitlines():
        _say(f"  > {redact(line)}")  # a command is copied: it is not broken
    if reason and reason.notebook:
        _say(f"  The notebook for it: {reason.notebook}")
    if cause.consequences:
        codes = dict.fromkeys(one.finding.code for one in cause.consequences)
        _hanging("  ", f"From it follows: {', '.join(codes)}.")
    _say(f"  {PAGES}#{finding.code}\n")


def _summary(found: Diagnosis) -> str:
    words = {
        ExitCode.DONE: "Nothing was found",
        ExitCode.NOT_ALL: "Nothing was found, but not all could be looked at",
    }
    said = words.get(found.verdict.exit_code, "Something is to be done")
    marks = [one.finding.mark for one in found.looked]
    counts = ", ".join(
        f"{marks.count(mark)} {mark}"
        for mark in (Mark.FAIL, Mark.WARN, Mark.NOT_CHECKED, Mark.TO_DO, Mark.OK)
        if mark in marks
    )
    left_out = f"; left out: {', '.join(found.left_out)}" if found.left_out else ""
    hidden = [f"{one.finding.code}={one.finding.resource}" for one in found.suppressed]
    suppressed = f"; suppressed: {', '.join(hidden)}" if hidden else ""
    return f"{said}: {counts}{left_out}{suppressed}; {found.seconds:.1f} s."


def _hanging(head: str, text: str) -> None:
    """A text behind its head, and below itself where it is longer than a line."""
    width = max(min(shutil.get_terminal_size((110, 24)).columns, 120), 60)
    indent = 15 + _CODE if head.strip() else len(head)
    lines = textwrap.wrap(redact(text), width - indent, break_long_words=False, break_on_hyphens=False) or [""]
    _say(f"{head}{lines[0]}")
    for line in lines[1:]:
        _say(f"{'':<{indent}}{line}")


def _say(text: str) -> None:
    typer.echo(text)
