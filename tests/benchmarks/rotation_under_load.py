"""Pulls, cached and not, by several workers and skopeo, while the pull token is rotated again and again: none may fail.

What Artifact Registry has cached is forgotten all the time, as clean-up policies and new builds would do it, so that it has
to sign in at cgr.dev. The suite holds a small form (tests/steps/test_rotation_under_load.py); this one takes numbers.

    python -m tests.benchmarks.rotation_under_load [ROTATIONS [PULLS]]      # 10 and 200; the long form: 100 2000
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from cgrunbook import steps
from cgrunbook.cloud import Attempts, Cloud, connect
from cgrunbook.image_reference import Platform
from tests.sandboxes import sandbox_home
from tests.steps.performing import Names, live_tokens, open_book, perform, steps_of_03

IMAGES = (
    ("chainguard-base", "latest"),
    ("chainguard-base", "latest-dev"),
    ("chainguard-base", "20261102"),
    ("go-fips", "1.25"),
)
WORKERS = 4
GRACE = "500ms"


@dataclass
class Figures:
    """What came of a load.

    Args:
        rotations: how many were made.
        pulls: how many there were, of them `by_skopeo`.
        uncached: how often what was cached had been forgotten before one.
        failures: what failed, in words.
        live: the pull tokens at the end.
        enabled: the versions that can be read at the end.
    """

    rotations: int = 0
    pulls: int = 0
    by_skopeo: int = 0
    uncached: int = 0
    failures: list[str] = field(default_factory=list)
    live: int = 0
    enabled: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        """One line."""
        return (
            f"{self.rotations} rotations, {self.pulls} pulls ({self.uncached} after the cache was emptied, {self.by_skopeo} by "
            f"skopeo), failures {len(self.failures)}, live tokens {self.live}, versions that can be read {self.enabled}; "
            f"{self.seconds:.0f} s"
        )


class Load:
    """A sandbox with a private repository, pulled from while its token is rotated."""

    def __init__(self, home: Path, names: Names, *, workers: int = WORKERS, with_skopeo: bool = False) -> None:
        self._home = home
        self._workers = workers
        self._names = names
        self._cloud = Cloud(connect("sandbox"), Attempts(limit=0.001))  # nothing is tried twice: a failure is a failure
        self._figures = Figures()
        self._lock = threading.Lock()
        self._turns = count()
        self._skopeo = shutil.which("skopeo") if with_skopeo else None

    def run(self, rotations: int, pulls: int) -> Figures:
        """Rotate and pull until both numbers are reached."""
        begun, names = time.monotonic(), self._names
        perform(open_book()[0], *steps_of_03(names))
        over = threading.Event()
        workers = [threading.Thread(target=self._pull_until, args=(over, pulls)) for _ in range(self._workers)]
        for worker in workers:
            worker.start()
        try:
            for _ in range(rotations):
                settings = steps.RotationSettings(ttl="24h", grace=GRACE)
                perform(open_book()[0], steps.RotatePullToken(names.private, names.secret, settings=settings))
                self._figures.rotations += 1
        finally:
            over.set()
            for worker in workers:
                worker.join()
        figures = self._figures
        figures.live = len(live_tokens(self._cloud, names))
        figures.enabled = sum(version.enabled for version in self._cloud.secrets.versions(names.secret))
        figures.seconds = time.monotonic() - begun
        return figures

    def _pull_until(self, over: threading.Event, pulls: int) -> None:
        """Pull until the rotations are over and enough was pulled."""
        while not over.is_set() or self._figures.pulls < pulls:
            turn = next(self._turns)
            if turn % 2:
                self._empty_the_cache()
            by_skopeo = self._skopeo is not None and turn % 25 == 0
            name, tag = IMAGES[turn % len(IMAGES)]
            pull: Callable[[str, str], None] = self._by_skopeo if by_skopeo else self._by_ourselves
            failure = ""
            try:
                pull(f"example.com/{name}", tag)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is a pull that failed
                failure = f"{type(error).__name__}: {error}"
            with self._lock:
                self._figures.pulls += 1
                self._figures.by_skopeo += by_skopeo
                self._figures.uncached += turn % 2
                if failure:
                    self._figures.failures.append(failure)

    def _by_ourselves(self, image: str, tag: str) -> None:
        path = f"{self._cloud.connection.docker_project}/{self._names.private}/{image}"
        self._cloud.artifact_registry_host.pull(path, tag, Platform("linux/amd64"))

    def _by_skopeo(self, image: str, tag: str) -> None:
        connection = self._cloud.connection
        host = connection.artifact_registry_host.address
        login = base64.b64encode(f"oauth2accesstoken:{connection.access_token().reveal()}".encode()).decode()
        with tempfile.TemporaryDirectory() as folder:
            signed_in = Path(folder, "auth.json")
            signed_in.write_text(json.dumps({"auths": {host: {"auth": login}}}))
            source = f"docker://{host}/{connection.docker_project}/{self._names.private}/{image}:{tag}"
            copy = ["copy", "--src-tls-verify=false", f"--authfile={signed_in}", source, f"dir:{folder}/image"]
            done = subprocess.run([str(self._skopeo), *copy], capture_output=True, text=True, check=False)
            if done.returncode:
                raise AssertionError(done.stderr[-400:])

    def _empty_the_cache(self) -> None:
        with closing(sqlite3.connect(self._home / "sandbox" / "state.db", timeout=30)) as state:
            known = {row[0] for row in state.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            for table in {"cached_manifest", "cached_tag", "cached_blob"} & known:
                state.execute(f"DELETE FROM {table} WHERE repository = ?", (self._names.private,))
            state.commit()


def main(rotations: int = 10, pulls: int = 200) -> int:
    """Run it on a sandbox of its own, and print the figures; 1 where a pull failed or more than one token lives."""
    with tempfile.TemporaryDirectory(prefix="cgrunbook-bench-") as folder:
        os.chdir(folder)
        with sandbox_home(Path(folder, "home")) as home:
            figures = Load(home, Names.of("load"), with_skopeo=True).run(rotations, pulls)
    print(figures)
    for failure in figures.failures[:5]:
        print(f"  {failure}")
    return int(bool(figures.failures) or figures.live != 1)


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
