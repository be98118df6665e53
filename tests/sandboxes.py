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

import requests
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


def make_topic(home: Path, name: str) -> None:
    """Make a Pub/Sub topic that Secret Manager's service agent may publish to.

    Args:
        home: the CGRUNBOOK_HOME of a sandbox that runs.
        name: the topic's name in the sandbox's project.
    """
    status = process.status(home)
    assert status is not None
    running = status.running
    project = f"projects/{running.project_id}"
    agent = f"serviceAccount:service-{running.project_number}@gcp-sa-secretmanager.iam.gserviceaccount.com"
    policy = {"bindings": [{"role": "roles/pubsub.publisher", "members": [agent]}]}
    for verb, service, path, body in (
        ("POST", "serviceusage", f"v1/{project}/services/pubsub.googleapis.com:enable", {}),
        (
            "POST",
            "serviceusage",
            f"v1beta1/{project}/services/secretmanager.googleapis.com:generateServiceIdentity",
            {},
        ),
        ("PUT", "pubsub", f"v1/{project}/topics/{name}", {}),
        ("POST", "pubsub", f"v1/{project}/topics/{name}:setIamPolicy", {"policy": policy}),
    ):
        address = f"http://{running.hosts[f'{service}.googleapis.com']}/{path}"
        token = {"Authorization": f"Bearer {running.access_token_file.read_text().strip()}"}
        answer = requests.request(verb, address, json=body, headers=token, timeout=30)
        assert answer.ok, answer.text


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
