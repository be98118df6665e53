"""Performing a notebook's own cells in this process: its steps and parameters as they are, without a kernel."""

from __future__ import annotations

import ast
import asyncio
import inspect
from collections.abc import Mapping
from typing import Any
from unittest.mock import patch

import nbformat

import cgrunbook
from cgrunbook.run.runbook import Runbook, open_runbook
from tests.notebooks.worlds import NOTEBOOKS
from tests.steps.performing import Watcher


def perform_notebook(name: str, face: Watcher) -> None:
    """Perform one notebook from its first cell to its last; CGRUNBOOK_RUN_FOLDER says where its journal goes.

    Args:
        name: its name without the ending.
        face: where it shows and asks.
    """
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    namespace: dict[str, Any] = {}

    async def open_notebook(name: str, given: Mapping[str, Any], version: str) -> Runbook:
        return open_runbook(name, given, face)

    async def cells() -> None:
        for cell in notebook.cells:
            if cell.cell_type == "code":
                code = compile(cell.source, name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
                if inspect.isawaitable(begun := eval(code, namespace)):  # noqa: S307 - a notebook's own cell
                    await begun

    with patch.object(cgrunbook, "open_notebook", open_notebook, create=True):
        asyncio.run(cells())
