"""How cards, lists and the report look: one colour for one meaning, and never a colour alone.

The colours are literal, and a word stands in white on them: that can be read on a light page, on a dark one and on paper.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

PROVED, CHANGED, GONE, ASKED, CAUTION, WRONG, QUIET = (
    "#1a7f37",
    "#0969da",
    "#bc4c00",
    "#8250df",
    "#8a6100",
    "#cf222e",
    "#656d76",
)
"""What holds; what was changed; what is gone for good; what is asked or planned; what wants care; what failed; the rest."""

LOOKS: dict[str, tuple[str, str]] = {
    "verified": ("✓", PROVED),
    "created": ("✓", CHANGED),
    "updated": ("✓", CHANGED),
    "deleted": ("×", GONE),  # noqa: RUF001 - in every font
    "unchanged": ("=", QUIET),
    "skipped": ("·", QUIET),
    "planned": ("…", ASKED),
    "declined": ("-", CAUTION),
    "interrupted": ("✗", CAUTION),
    "failed": ("✗", WRONG),
    "did not end": ("!", WRONG),
    "done": ("✓", PROVED),
    "ok": ("✓", PROVED),
    "to do": ("·", QUIET),
    "at work": ("…", CHANGED),
    "waits for you": ("?", ASKED),
    "not finished": ("!", CAUTION),
    "warn": ("!", CAUTION),
    "fail": ("✗", WRONG),
    "not checked": ("?", QUIET),
}
"""By the word of an outcome or a check's mark: its glyph and its colour."""


def badge(word: str, glyph: str, colour: str) -> str:
    """A word on its colour, as HTML."""
    return (
        f'<strong style="background:{colour};color:#ffffff;border-radius:3px;padding:1px 8px;font-weight:600;'
        f'white-space:nowrap">{glyph} {escape(word)}</strong>'
    )


def badge_of(word: str) -> str:
    """The badge of an outcome or a mark."""
    return badge(word, *LOOKS[word])


def look_of(outcome: str, marks: Iterable[str]) -> tuple[str, str]:
    """Glyph and colour of an outcome; a check that ended well and warns of something does not look as if all were well.

    Args:
        outcome: the word of it.
        marks: of what the step saw.
    """
    return LOOKS["warn"] if outcome == "verified" and "warn" in marks else LOOKS.get(outcome, ("…", QUIET))
