"""What chainctl prints: JSON on one line, lists under `items`, tables.

Knows forms and no content.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any


def print_json(document: Mapping[str, Any]) -> None:
    """Print a document."""
    sys.stdout.write(json.dumps(document, separators=(",", ":")) + "\n")


def print_items(items: Sequence[Mapping[str, Any]]) -> None:
    """Print a list as the API's JSON has it: an empty one is left out."""
    print_json({"items": list(items)} if items else {})


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print columns under headings.

    Args:
        headings: one a column.
        rows: cells, as many as headings.
    """
    widths = [max(len(row[column]) for row in (headings, *rows)) for column in range(len(headings))]
    for row in (headings, *rows):
        line = " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        sys.stdout.write(f" {line.rstrip()}\n")
