"""What findings add up to: which of them is the cause of which, and what is to be mended first.

It knows the graph of codes.py and nothing of the world.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from cgrunbook.diagnosis.codes import EXPLAINS, HIDES, Code
from cgrunbook.errors import ExitCode
from cgrunbook.steps.step import Finding, Mark, counted

_ORDER = {code: number for number, code in enumerate(Code)}
# What only whoever wants it has to do is no news of an image's way.
_WORST = (Mark.FAIL, Mark.WARN, Mark.NOT_CHECKED, Mark.TO_DO, Mark.OK)


@dataclass(frozen=True)
class Looked:
    """One check that was made, or could not be.

    Args:
        finding: what came of it.
        way: the repository on whose way it is; "" for what all have in common.
        seconds: how long it took.
    """

    finding: Finding
    way: str = ""
    seconds: float = 0.0

    @property
    def code(self) -> Code:
        """Which check it is."""
        return Code(self.finding.code)


@dataclass(frozen=True)
class Cause:
    """One thing that is wrong by itself.

    Args:
        looked: what was seen of it.
        also: the same, seen on the other ways.
        mark: how bad it is, the worst of what it is the cause of included.
        consequences: what is wrong, or could not be looked at, because of it.
    """

    looked: Looked
    mark: Mark
    consequences: tuple[Looked, ...]
    also: tuple[Looked, ...] = ()

    @property
    def name(self) -> str:
        """Its code and its reason."""
        finding = self.looked.finding
        return f"{finding.code}/{finding.reason}" if finding.reason else finding.code

    @property
    def remedy(self) -> str:
        """What to do, on each way where it is so."""
        lines = (line for one in (self.looked, *self.also) for line in one.finding.remedy.splitlines())
        return "\n".join(dict.fromkeys(lines))


@dataclass(frozen=True)
class Verdict:
    """All of it.

    Args:
        causes: in the order of mending.
        mark: how it stands.
    """

    causes: tuple[Cause, ...]
    mark: Mark

    @property
    def exit_code(self) -> ExitCode:
        """What the command line ends with."""
        codes = {Mark.OK: ExitCode.DONE, Mark.TO_DO: ExitCode.DONE, Mark.NOT_CHECKED: ExitCode.NOT_ALL}
        return codes.get(self.mark, ExitCode.TO_DO)

    @property
    def text(self) -> str:
        """In one sentence."""
        if self.exit_code is ExitCode.DONE:
            return "Nothing was found: all that was looked at is well."
        seen = [cause for cause in self.causes if cause.mark in (Mark.FAIL, Mark.WARN)]
        if not seen:
            what = counted(sum(cause.mark is Mark.NOT_CHECKED for cause in self.causes), "thing")
            return f"Nothing was found, but not all could be looked at: {what} could not."
        first = seen[0].looked.finding
        about = f" ({first.resource})" if first.resource else ""
        others = f", and {counted(len(seen) - 1, 'more cause')}" if len(seen) > 1 else ""
        return f"The root cause: {first.code}{about}: {first.seen}{others}"


def verdict(all_of_them: Sequence[Looked]) -> Verdict:
    """Find the causes among what was looked at.

    A finding that is amiss is a consequence where another one explains it, at first or at second hand. What could not be looked
    at explains nothing, unless it has a reason: a grant under a condition, say, is a cause where a pull fails, and else only not
    known.
    """
    amiss = [one for one in all_of_them if one.finding.mark is not Mark.OK]
    reached = {id(one): _reached(one, amiss) for one in amiss if _able(one)}
    causes = []
    for one in amiss:
        led_to = tuple(other for other in amiss if id(other) in reached.get(id(one), ()))
        mutual = {id(other) for other in led_to if id(one) in reached.get(id(other), ())}
        above = [by for by in amiss if id(one) in reached.get(id(by), ())]
        if any(id(by) not in mutual or _ORDER[by.code] < _ORDER[one.code] for by in above):
            continue
        causes.append(Cause(one, _worst([one, *led_to]), led_to))
    causes.sort(key=lambda cause: (_WORST.index(cause.mark), _ORDER[cause.looked.code]))
    return Verdict(tuple(_together(causes)), _worst(all_of_them))


def _together(causes: Sequence[Cause]) -> Iterator[Cause]:
    """What is the same on several ways, told once."""
    alike: dict[tuple[str, str], list[Cause]] = {}
    for cause in causes:
        apart = "" if cause.looked.way else cause.looked.finding.resource
        alike.setdefault((cause.name, apart), []).append(cause)
    for first, *rest in alike.values():
        consequences = dict.fromkeys(one for cause in (first, *rest) for one in cause.consequences)
        yield Cause(first.looked, first.mark, tuple(consequences), tuple(cause.looked for cause in rest))


def _able(one: Looked) -> bool:
    """Whether a finding can be a cause."""
    mark = one.finding.mark
    return mark in (Mark.FAIL, Mark.WARN) or (mark is Mark.NOT_CHECKED and bool(one.finding.reason))


def _worst(looked: Iterable[Looked]) -> Mark:
    return min((one.finding.mark for one in looked), key=_WORST.index, default=Mark.OK)


def _reached(by: Looked, amiss: Sequence[Looked]) -> frozenset[int]:
    """What one finding explains of others, step by step, each step amiss itself."""
    found: dict[int, Looked] = {}
    ahead = [by]
    while ahead:
        last = ahead.pop()
        for one in amiss:
            if id(one) not in found and one is not by and _explains(last, one):
                found[id(one)] = one
                ahead.append(one)
    return frozenset(found)


def _explains(by: Looked, one: Looked) -> bool:
    """Whether a finding explains another by itself."""
    if by.code is one.code or (by.way and one.way and by.way != one.way):
        return False
    if one.finding.mark is Mark.NOT_CHECKED and one.code in HIDES.get(by.code, ()):
        return True
    if by.finding.mark is Mark.WARN and one.finding.mark is Mark.FAIL and by.code is not Code.CGR_HOST:
        return False  # a warning is of what still works
    return not {one.code, f"{one.code}/{one.finding.reason}"}.isdisjoint(EXPLAINS.get(by.code, ()))
