"""A world with everything that a fault can break, and what it looks like down to its bytes."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from cgrunbook.sandbox import process
from cgrunbook.steps.step import Step
from tests.sandboxes import chainctl_without_a_process, sandbox_home
from tests.steps.performing import (
    PRIVATE,
    PUBLIC,
    open_book,
    perform,
    proof_of_02,
    proof_of_03,
    steps_of_02,
    steps_of_03,
)

PROJECT = "cgrunbook-sandbox"
SECRET = "chainguard-pull-token"
CACHED = f"{PRIVATE}/example.com/chainguard-base/manifests/latest"
FREE = f"{PUBLIC}/chainguard/go/manifests/latest"
_ACCEPT = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json"


@dataclass(frozen=True)
class Broken:
    """A sandbox in which 02 and 03 were performed, and one image of each repository was pulled.

    Args:
        home: its CGRUNBOOK_HOME.
    """

    home: Path

    @property
    def running(self) -> process.Running:
        """Where it answers."""
        status = process.status(self.home)
        assert status is not None
        return status.running

    def ask(self, service: str, path: str, verb: str = "GET", body: Any = None, **headers: str) -> requests.Response:
        """Ask a service of Google's as the trainee."""
        token = self.running.access_token_file.read_text().strip()
        address = f"http://{self.running.hosts[f'{service}.googleapis.com']}/{path}"
        return requests.request(
            verb, address, json=body, headers={"Authorization": f"Bearer {token}"} | headers, timeout=30
        )

    def pull(self, path: str = CACHED, host: str = "us-central1-docker.pkg.dev") -> requests.Response:
        """A manifest through Artifact Registry, as the trainee."""
        token = self.running.access_token_file.read_text().strip()
        headers = {"Authorization": f"Bearer {token}", "Accept": _ACCEPT}
        return requests.get(f"http://{self.running.hosts[host]}/v2/{PROJECT}/{path}", headers=headers, timeout=30)

    def from_cgr_dev(self, kind: str, reference: str, image: str = "chainguard/go") -> requests.Response:
        """A manifest or blob of a free image, from cgr.dev, without credentials."""
        cgr = f"http://{self.running.hosts['cgr.dev']}"
        token = requests.get(f"{cgr}/token", params={"scope": f"repository:{image}:pull"}, timeout=30)
        if token.status_code != 200:
            return token
        headers = {"Authorization": f"Bearer {token.json()['token']}", "Accept": _ACCEPT}
        return requests.get(f"{cgr}/v2/{image}/{kind}/{reference}", headers=headers, timeout=30)

    def forget(self, image: str) -> None:
        """Let Artifact Registry have nothing of an image any more."""
        with (
            contextlib.closing(sqlite3.connect(self.home / "sandbox" / "state.db", timeout=20)) as connection,
            connection,
        ):
            for table in ("cached_manifest", "cached_tag", "cached_blob"):
                connection.execute(f"DELETE FROM {table} WHERE image = ?", (image,))

    def picture(self, *, exactly: bool = True) -> dict[str, Any]:
        """All that is kept, but for the book of faults.

        Args:
            exactly: with what pulls alone change too: when a tag was looked up, and when a token was seen.
        """
        folder = self.home / "sandbox"
        with contextlib.closing(sqlite3.connect(folder / "state.db")) as connection:
            tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            rows = {name: sorted(map(repr, connection.execute(f"SELECT * FROM {name}"))) for name in tables}
        files = {
            str(path.relative_to(folder)): path.read_bytes()
            for part in ("docker", "bin", "snap", "environment.json", "containers", "gcloud")
            for path in ([folder / part] if (folder / part).is_file() else (folder / part).rglob("*"))
            if path.is_file()
        }
        left_out = {"fault"} if exactly else {"fault", "cached_tag", "cg_identity"}
        return {name: found for name, found in rows.items() if found and name not in left_out} | files


@contextlib.contextmanager
def made(home: Path, *more: Step) -> Iterator[Broken]:
    """Make one, and take it away at the end.

    Args:
        home: its CGRUNBOOK_HOME.
        more: steps to perform besides.
    """
    with sandbox_home(home), chainctl_without_a_process():
        book, _ = open_book()
        perform(book, *steps_of_02(), *steps_of_03(), proof_of_02(), proof_of_03(), *more)
        yield Broken(home)


def shell(home: Path, **more: str) -> dict[str, str]:
    """The environment of a shell of that home."""
    return os.environ | {"CGRUNBOOK_HOME": str(home)} | more
