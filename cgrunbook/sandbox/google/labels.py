"""Labels and annotations, and the rules that the services share for them.

Knows their grammar. Knows no resource.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

from cgrunbook.sandbox import errors

_MOST = 64
_LENGTH = 63
_ANNOTATION_KEY = re.compile(r"^[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?$")
_ANNOTATION_BYTES = 16 * 1024


def _allowed(text: str) -> bool:
    """Lower-case letters (or letters of scripts without case), digits, _ and -."""
    return all(letter in "_-" or unicodedata.category(letter) in {"Ll", "Lo", "Nd", "Nl", "No"} for letter in text)


def check_labels(labels: Mapping[str, str], field: str) -> None:
    """Refuse labels that no service takes.

    Raises:
        errors.InvalidArgument: too many, too long, or other letters than are allowed.
    """
    if len(labels) > _MOST:
        raise errors.InvalidArgument.at(field, f"There can be at most {_MOST} labels, {len(labels)} were given.")
    for key, value in labels.items():
        if not 1 <= len(key) <= _LENGTH or not _allowed(key) or unicodedata.category(key[0]) not in {"Ll", "Lo"}:
            raise errors.InvalidArgument.at(
                field,
                f"Invalid label key {key[:80]!r}: keys have 1 to {_LENGTH} characters, begin with a lower-case letter and "
                "hold lower-case letters, digits, underscores and dashes only.",
            )
        if len(value) > _LENGTH or not _allowed(value):
            raise errors.InvalidArgument.at(
                field,
                f"Invalid value {value[:80]!r} of label {key!r}: values have at most {_LENGTH} characters and hold "
                "lower-case letters, digits, underscores and dashes only.",
            )


def check_annotations(annotations: Mapping[str, str], field: str) -> None:
    """Refuse annotations that Secret Manager does not take.

    Raises:
        errors.InvalidArgument: a key of a wrong form, or more than 16 KiB in all.
    """
    for key in annotations:
        if not _ANNOTATION_KEY.fullmatch(key):
            raise errors.InvalidArgument.at(field, f"Invalid annotation key {key[:80]!r}.")
    if sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items()) >= _ANNOTATION_BYTES:
        raise errors.InvalidArgument.at(field, "The annotations are larger than 16 KiB in all.")
