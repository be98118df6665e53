"""`cgrunbook lab`: the notebooks in JupyterLab."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def lab(
    destination: Annotated[
        Path,
        typer.Argument(metavar="DEST", help="The folder to work in; made when it is not there."),
    ] = Path("cgrunbook-notebooks"),
    port: Annotated[
        int | None,
        typer.Option("--port", metavar="N", min=1, max=65535, help="The port; without it the first free from 8888."),
    ] = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Print the address instead of opening it.")] = False,
) -> None:
    """Open the notebooks in JupyterLab, in a folder of yours.

    Notebooks that are not in the folder yet are copied there; those that are stay as they are. It listens on this
    machine only, and calls nobody. Ctrl-C ends it.
    """
    from importlib.util import find_spec

    from cgrunbook import installation
    from cgrunbook.errors import PrerequisiteMissing
    from cgrunbook.home import home
    from cgrunbook.run import notebooks
    from cgrunbook.ui import lab as jupyterlab

    if find_spec("jupyterlab") is None:
        raise PrerequisiteMissing("JupyterLab is not installed where cgrunbook is.", installation.again("lab"))
    kept = home()
    folder = destination.expanduser().absolute()
    copied = notebooks.copy(folder)
    typer.echo(f"{folder}: {len(copied.made)} notebooks copied, {len(copied.there)} were there already.")
    jupyterlab.start(
        jupyterlab.command(folder, port=port, browser=not no_browser),
        jupyterlab.environment(folder, kept),
    )
