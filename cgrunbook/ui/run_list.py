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
    if not runs:
        return {"text/html": f"<div>{_NONE}</div>", "text/plain": _NONE}
    rows, told = "", [("run", "who", "notebooks", "where", "verdict", "changes")]
    for run in runs:
        came_of_it = (run.where, run.verdict, run.counted)
        told.append((run.folder.name, *run.by, *came_of_it))
        name, report = escape(run.folder.name), run.folder / REPORT
        if report.is_file():
            address = quote(Path(os.path.relpath(report, read_in)).as_posix())
            name = f'<a href="{address}" style="text-decoration:underline">{name}</a>'
        name += f'<br><span style="opacity:0.75">{escape(": ".join(run.by))}</span>'
        cells = "".join(f'<td style="{_CELL}">{escape(cell)}</td>' for cell in came_of_it)
        rows += f'<tr style="background:transparent"><th scope="row" style="{_CELL};font-weight:normal">{name}</th>{cells}</tr>'
    heads = "".join(f'<th scope="col" style="{_CELL}">{head}</th>' for head in ("run", *told[0][3:]))
    html = (
        f'<table style="margin:6px 0;border-collapse:collapse;font-size:13px"><tr>{heads}</tr>{rows}</table>'
        f'<p style="margin:2px 0;opacity:0.75">{_MORE}</p>'
    )
    widths = [max(map(len, column)) for column in zip(*told, strict=True)]
    lines = [*("  ".join(map(str.ljust, row, widths)).rstrip() for row in told), _MORE]
    return {"text/html": redact(f"<div>{html}</div>"), "text/plain": redact("\n".join(lines))}
