"""`make notebooks`: write each committed notebook's cell of parameters anew, execute it in its world, keep its outputs."""

from __future__ import annotations

import os
import sys
from unittest.mock import patch

import nbformat
from nbclient import NotebookClient

from cgrunbook.run import notebooks
from tests.notebooks.parameter_cells import notebook_cell
from tests.notebooks.worlds import NAMES, NOTEBOOKS, world_for


def execute(name: str) -> None:
    """Execute one notebook in place; nothing but sources, outputs and counts is kept."""
    path = NOTEBOOKS / f"{name}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", []):
            cell.source = notebook_cell(notebooks.names_set_in(cell.source))
    with world_for(name) as environment, patch.dict(os.environ, environment, clear=True):
        client = NotebookClient(
            notebook, timeout=120, kernel_name="python3", store_widget_state=False, record_timing=False
        )
        client.execute(cwd=environment["CGRUNBOOK_RUN_FOLDER"])
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    nbformat.write(notebook, path)


if __name__ == "__main__":
    for chosen in sys.argv[1:] or NAMES:
        print(chosen, flush=True)
        execute(chosen)
