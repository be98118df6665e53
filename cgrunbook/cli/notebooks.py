"""`cgrunbook notebooks copy`: the notebooks in a folder of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cgrunbook.errors import StepFailed

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The notebooks that this installation brings.")


@app.command("copy")
def copy(
    destination: Annotated[
        Path, typer.Argument(metavar="DEST", help="The folder that gets them; made when it is not there.")
    ],
) -> None:
    """Copy the notebooks to a folder of yours.

    There they can be read, changed and run, in any JupyterLab whose kernel has cgrunbook. Nothing is ever overwritten: a
    file that is there already stays as it is and is named, and the exit code is then 1.
    """
    import shlex
    import sys

    from cgrunbook.run import notebooks

    copied = notebooks.copy(destination)
    for path in copied.made:
        typer.echo(str(path))
    make_known = f"{shlex.quote(sys.executable)} -m ipykernel install --user --name cgrunbook"
    typer.echo(
        "To run them in a JupyterLab of another environment, make this one known to it, once, and choose the kernel "
        f"cgrunbook there:\n  {make_known}",
        err=True,
    )
    if copied.there:
        raise StepFailed(
            "There already, and left as they are: " + ", ".join(map(str, copied.there)),
            "Give another folder, or move these away to get them anew.",
        )
