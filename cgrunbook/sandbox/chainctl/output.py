"""What chainctl prints: JSON on one line, lists under `items`, tables.

Knows forms and no content.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def print_json(document: Mapping[str, Any]) -> None:
    """Print a document."""
    sys.stdout.write(json.dumps(document, separators=(",", ":")) + "\n")


def print_items(items: Sequence[Mapping[str, Any]]) -> None:
    """Print a list as the API's JSON has it: an empty one is left out."""
    print_json({"items": list(items)} if items else {})


def print_list(
    form: str, items: Sequence[Mapping[str, Any]], headings: Sequence[str], row: Callable[[Any], Sequence[str]]
) -> None:
    """Print a list as --output says: "json", "id" for the ids alone, else a table.

    Args:
        form: what --output says.
        items: the messages.
        headings: of the table, one a column.
        row: the cells of a message, as many as headings.
    """
    if form == "json":
        print_items(items)
    elif form == "id":
        sys.stdout.writelines(f"{item['id']}\n" for item in items)
    else:
        print_table(headings, [row(item) for item in items])


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
