"""How values and changes read, in a card, on the terminal and on the report's page: as in a change ticket.

It knows changes as plain data, planned or made, and no step of the guide.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby
from typing import Any, Protocol

from cgrunbook.steps.step import KNOWN_AFTER_APPLY, in_bytes

WILL_BE = "will be"
"""What is said of a change before somebody agrees to it; afterwards see `tense`."""

_TENSES = {"planned": "would be", "created": "was", "updated": "was", "deleted": "was", "verified": "was"}

_NOTHING: tuple[Any, ...] = (None, "", [], (), {})


class Change(Protocol):
    """One field of one resource, before and after; a whole resource where the field is ""."""

    @property
    def resource(self) -> str: ...  # noqa: D102
    @property
    def field(self) -> str: ...  # noqa: D102
    @property
    def before(self) -> Any: ...  # noqa: D102
    @property
    def after(self) -> Any: ...  # noqa: D102


@dataclass(frozen=True)
class OfOne:
    """What happens to one resource.

    Args:
        said: a sentence without its full stop: `repository mirror will be created in us-central1`.
        made: it comes into being, so that nothing was before.
        fields: name, and how it reads before and after, of each field that differs; "" for nothing.
    """

    said: str
    made: bool
    fields: tuple[tuple[str, str, str], ...]

    @property
    def lines(self) -> list[str]:
        """The same as text."""
        return [f"{self.said}{':' if self.fields else ''}", *(f"  {self._line(*field)}" for field in self.fields)]

    def _line(self, name: str, before: str, after: str) -> str:
        if self.made:
            return f"{name}: {after}"
        if not before:
            return f"{name}: added {after}"
        return f"{name}: from {before} to {after}" if after else f"{name}: removed {before}"


def tense(outcome: str | None) -> str:
    """How a change is spoken of once a step has this outcome: it `was`, `would be`, or `was to be` made."""
    return _TENSES.get(outcome or "", "was to be")


def by_resource(changes: Sequence[Change], verb: str) -> list[OfOne]:
    """The changes, those of one resource together.

    Args:
        verb: `WILL_BE`, or what `tense` says.
    """
    happenings: list[OfOne] = []
    for resource, of_one in groupby(changes, key=lambda change: change.resource):
        fields: list[tuple[str, str, str]] = []
        said, made = f"{resource} {verb} changed", False
        for change in of_one:
            before, after = ("" if value in _NOTHING else shown(value) for value in (change.before, change.after))
            if change.field:
                fields.append((change.field, before, after))
            elif change.before is None:
                said, made = f"{resource} {verb} created{after and ' '}{after}", True
            else:
                said = f"{resource} {verb} deleted{before and ', '}{before}"
        made = made and not any(before for _, before, _ in fields)
        happenings.append(OfOne(said[:1].upper() + said[1:], made, tuple(fields)))
    return happenings


def said_once(happened: Sequence[OfOne], facts: Mapping[str, Any]) -> tuple[list[OfOne], dict[str, Any]]:
    """What was done and what was read back, without what the one says of the other.

    What came into being is shown as it was read back; of what was changed the change tells more than what is there now.
    """
    read = [shown(value, name) for name, value in facts.items() if not is_table(value)]
    besides: dict[str, Any] = {}
    left = []
    for one in happened:
        fields = [field for field in one.fields if KNOWN_AFTER_APPLY not in field[2]]
        if one.made:
            besides |= {name: after for name, _, after in fields if not _among(after, read)}
            fields = []
        left.append(replace(one, fields=tuple(fields)))
    told = {after for one in left for _, _, after in one.fields}
    said = [one.said for one in left]
    facts = {name: value for name, value in facts.items() if shown(value, name) not in told}
    return left, besides | {name: value for name, value in facts.items() if not _among(shown(value, name), said)}


def _among(text: str, texts: Iterable[str]) -> bool:
    """Whether a text stands in one of several; a short one stands anywhere by chance."""
    return any(text == other or (len(text) > 4 and text in other) for other in texts)


def shown(value: Any, name: str = "") -> str:
    """A value as a person reads it.

    Args:
        name: what it is the value of; a number of "bytes ..." is shown as such.
    """
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case int() if name.startswith("bytes"):
            return in_bytes(value)
        case datetime():
            return f"{value:%Y-%m-%d %H:%M:%S} UTC"
        case str():
            return value or "not given"
        case Mapping() if all(isinstance(item, str) for item in value.values()):
            return ", ".join(f"{key}={item}" for key, item in value.items()) or "none"
        case list() | tuple():
            return ", ".join(shown(item) for item in value) or "none"
        case Mapping():
            return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


def is_table(value: Any) -> bool:
    """Whether a value is a list of rows."""
    return isinstance(value, (list, tuple)) and bool(value) and all(isinstance(item, Mapping) for item in value)


def is_digest(text: str) -> bool:
    """Whether a text is a digest, of which the beginning is enough to the eye."""
    return text.startswith("sha256:") and len(text) == len("sha256:") + 64
