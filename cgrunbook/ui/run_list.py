"""The last runs as a notebook shows them: who did what where, what came of it, and each report to open.

It knows how that looks, as HTML and as text. Which runs there are is known from their folders.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from cgrunbook.redaction import redact
from cgrunbook.run.folder import REPORT, RUN_FOLDER_VARIABLE
from cgrunbook.run.runbook import Runbook
from cgrunbook.run.runs import Run, runs_beside
from cgrunbook.ui.cell import ipython_display

_CELL = "text-align:left;vertical-align:top;padding:2px 14px 2px 0"
_NONE = (
    "No other run is kept here yet. Each notebook that is run leaves one in the folder runs, and so does cgrunbook run."
)
_MORE = "What a run did: cgrunbook runs show RUN. In what two differ: cgrunbook runs diff RUN OTHER."


def show_runs(book: Runbook) -> None:
    """Show the last runs of the folder in which a notebook's own is kept."""
    # An executed notebook is read in its run's folder, and any other where it was run.
    read_in = book.folder if RUN_FOLDER_VARIABLE in os.environ else Path.cwd()
    ipython_display().display(run_list(runs_beside(book.folder).runs, read_in), raw=True)


def run_list(runs: Sequence[Run], read_in: Path) -> dict[str, str]:
    """The one display of them.

    Args:
        runs: the newest first.
        read_in: the folder of whatever shows it, from which reports are linked.
    """
    rows, lines = "", []
    for run in runs:
        said = (run.record.operator, run.where, " ".join(run.notebooks), run.verdict, run.counted)
        report = run.folder / REPORT
        name = escape(run.folder.name)
        if report.is_file():
            address = quote(Path(os.path.relpath(report, read_in)).as_posix())
            name = f'<a href="{address}" style="text-decoration:underline">{name}</a>'
        cells = "".join(f'<td style="{_CELL}">{escape(cell)}</td>' for cell in said)
        rows += f'<tr><th scope="row" style="{_CELL};font-weight:normal;white-space:nowrap">{name}</th>{cells}</tr>'
        lines.append("  ".join((run.folder.name, *said)))
    if not runs:
        html, lines = f'<p style="margin:2px 0">{_NONE}</p>', [_NONE]
    else:
        heads = "".join(
            f'<th scope="col" style="{_CELL}">{head}</th>'
            for head in ("run", "who", "where", "notebooks", "verdict", "changes")
        )
        html = (
            f'<table style="margin:4px 0;border-collapse:collapse"><tr>{heads}</tr>{rows}</table>'
            f'<p style="margin:2px 0;opacity:0.75">{_MORE}</p>'
        )
        lines.append(_MORE)
    return {"text/html": redact(f"<div>{html}</div>"), "text/plain": redact("\n".join(lines))}
