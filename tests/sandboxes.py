"""A real sandbox process on a home of its own, for tests that need services rather than doubles."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path
from unittest.mock import patch

from cryptography.hazmat.primitives.asymmetric import rsa

from cgrunbook.cloud import chainctl
from cgrunbook.cloud.command import Ended
from cgrunbook.run.folder import RUN_FOLDER_VARIABLE
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


@cache
def _key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=4096)


def one_key() -> AbstractContextManager[object]:
    """While this lasts, each pull token has the same key."""
    key = _key()
    return patch.object(rsa, "generate_private_key", lambda **_: key)


@contextmanager
def chainctl_without_a_process() -> Iterator[None]:
    """Call the sandbox's chainctl as a function: most of a step's time is the start of its Python, and finding a key.

    For tests that perform the same steps dozens of times; the others start the command as it is.
    """
    from cgrunbook.sandbox.chainctl.__main__ import main

    alone = threading.Lock()

    def run(_: chainctl.Chainctl, arguments: Sequence[str], **_settings: bool) -> Ended:
        # One at a time: the streams that it writes to are the whole process's.
        with alone, redirect_stdout(io.StringIO()) as output, redirect_stderr(io.StringIO()) as said:
            code = main(arguments)
        return Ended(code, output.getvalue(), said.getvalue())

    with patch.object(chainctl.Chainctl, "_run", run), one_key():
        yield
