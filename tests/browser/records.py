"""What runs in JupyterLab wrote down, as the tests read it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from cgrunbook.run.journal import JOURNAL, Line, Record, read_lines, record_of


def records(workplace: Path) -> list[Record]:
    """The record of each run of a folder with notebooks, oldest first."""
    return [record_of(folder) for folder in sorted((workplace / "runs").glob("*/"))]


def journal(workplace: Path) -> Iterator[Line]:
    """All lines of all runs of a folder, in the order of time."""
    lines = [line for file in (workplace / "runs").glob(f"*/{JOURNAL}") for line in read_lines(file)]
    yield from sorted(lines, key=lambda line: line.time)


def events(workplace: Path, *names: str) -> list[str]:
    """The events of these names, in order."""
    return [line.event for line in journal(workplace) if line.event in names]
