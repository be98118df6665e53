"""An error of ours with which a cell ends, told as fields by its kernel to the run that started the kernel.

Jupyter hands on an error's text alone. It knows ipykernel's channel to its clients, and not what is done with an error.
"""

from __future__ import annotations

from typing import Any

from cgrunbook.errors import CgrunbookError
from cgrunbook.run.record import ErrorRecord

# Its type among the messages on the kernel's public channel; no other client of a kernel looks at it.
MESSAGE = "cgrunbook_error"

# What a kernel runs as it starts; no name of it shows in the notebook.
TELL = f"__import__({__name__!r}, fromlist=['tell']).tell()"


def tell() -> None:
    """In the kernel: from now on, tell of each cell that ends in an error of ours."""
    from IPython import get_ipython

    shell: Any = get_ipython()

    def ended(ran: Any) -> None:
        if isinstance(ran.error_in_exec, CgrunbookError):
            kernel, said = shell.kernel, ErrorRecord.of(ran.error_in_exec).model_dump()
            kernel.session.send(kernel.iopub_socket, MESSAGE, said, parent=kernel.get_parent("shell"))

    shell.events.register("post_run_cell", ended)
