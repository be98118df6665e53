"""A real sandbox process on a home of its own, for tests that need services rather than doubles."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

from cgrunbook.cloud import chainctl
from cgrunbook.run.journal import RUN_FOLDER_VARIABLE
from cgrunbook.sandbox import process

_NOT_OURS = (RUN_FOLDER_VARIABLE, "JPY_SESSION_NAME", "DOCKER_CONFIG", "CLOUDSDK_CORE_PROJECT")


@contextmanager
def sandbox_home(home: Path) -> Iterator[Path]:
    """Start a sandbox whose waits are zero, and be its user until the end; then nothing of it is left.

    Args:
        home: what CGRUNBOOK_HOME is meanwhile.
    """
    environment = {
        **{name: value for name, value in os.environ.items() if name not in _NOT_OURS},
        "CGRUNBOOK_HOME": str(home),
        "CGRUNBOOK_SANDBOX_IAM_DELAY": "0",
        "CGRUNBOOK_SANDBOX_AGENT_DELAY": "0",
    }
    with patch.dict(os.environ, environment, clear=True):
        process.start(home)
        try:
            yield home
        finally:
            process.reset(home)


@contextmanager
def chainctl_without_a_process() -> Iterator[None]:
    """Call the sandbox's chainctl as a function: most of a step's time is the start of its Python.

    For tests that perform the same steps dozens of times; the others start the command as it is.
    """
    from cgrunbook.sandbox.chainctl.__main__ import main

    def run(_: chainctl.Chainctl, arguments: Sequence[str]) -> chainctl._Ended:
        with redirect_stdout(io.StringIO()) as output, redirect_stderr(io.StringIO()) as said:
            code = main(arguments)
        return chainctl._Ended(code, output.getvalue(), said.getvalue())

    with patch.object(chainctl.Chainctl, "_run", run):
        yield
