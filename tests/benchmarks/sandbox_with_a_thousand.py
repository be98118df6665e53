"""What a thousand repositories and a thousand secrets cost: describe with 1,000 against one, and the listing's pages.

python -m tests.benchmarks.sandbox_with_a_thousand [--many 1000] [--calls 300]

Both sandboxes answer in turns, so that what else the machine does weighs on both alike. Prints medians and their ratios.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import http.client
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cgrunbook.sandbox import hosts, process, settings

PROJECT = f"/v1/projects/{settings.PROJECT_ID}"
HERE = f"{PROJECT}/locations/us-central1/repositories"


class Filled:
    """A sandbox with so many repositories and secrets, each secret with a version."""

    def __init__(self, home: Path, many: int) -> None:
        self.running = process.start(home, iam_delay=0.0, agent_delay=0.0)
        self._token = self.running.access_token_file.read_text()
        self._connections: dict[str, http.client.HTTPConnection] = {}
        names = [hosts.ARTIFACT_REGISTRY, hosts.SECRET_MANAGER]
        self.call("POST", hosts.SERVICE_USAGE, f"{PROJECT}/services:batchEnable", {"serviceIds": names})
        remote = {"commonRepository": {"uri": "https://cgr.dev"}, "disableUpstreamValidation": True}
        repository = {"format": "DOCKER", "mode": "REMOTE_REPOSITORY", "remoteRepositoryConfig": remote}
        payload = {"payload": {"data": base64.b64encode(b"x" * 900).decode()}}
        for number in range(many):
            self.call("POST", hosts.ARTIFACT_REGISTRY, f"{HERE}?repositoryId=r{number}", repository)
            secret: dict[str, Any] = {"replication": {"automatic": {}}}
            self.call("POST", hosts.SECRET_MANAGER, f"{PROJECT}/secrets?secretId=s{number}", secret)
            self.call("POST", hosts.SECRET_MANAGER, f"{PROJECT}/secrets/s{number}:addVersion", payload)

    def call(self, verb: str, host: str, path: str, body: Any = None) -> Any:
        connection = self._connections.setdefault(
            host, http.client.HTTPConnection(self.running.hosts[host], timeout=60)
        )
        content = None if body is None else json.dumps(body)
        connection.request(verb, path, content, {"Authorization": f"Bearer {self._token}"})
        answer = connection.getresponse()
        told = json.loads(answer.read())
        if answer.status != 200:
            raise SystemExit(f"{verb} {path}: {told}")
        return told

    def timed(self, host: str, path: str) -> float:
        begun = time.perf_counter()
        self.call("GET", host, path)
        return time.perf_counter() - begun

    def pages(self, host: str, path: str, what: str) -> tuple[int, int, float]:
        """How many pages and entries a whole listing has, and its seconds."""
        begun, token, pages, entries = time.perf_counter(), "", 0, 0
        while True:
            told = self.call("GET", host, f"{path}?pageSize=100&pageToken={token}")
            pages, entries, token = pages + 1, entries + len(told.get(what, ())), told.get("nextPageToken", "")
            if not token:
                return pages, entries, time.perf_counter() - begun


@contextlib.contextmanager
def filled(folder: Path, many: int) -> Iterator[Filled]:
    home = folder / str(many)
    try:
        yield Filled(home, many)
    finally:
        process.reset(home)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--many", type=int, default=1000)
    parser.add_argument("--calls", type=int, default=300)
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        filled(Path(folder), given.many) as full,
        filled(Path(folder), 1) as single,
    ):
        middle = given.many // 2
        for what, host, path in (
            ("describe a repository", hosts.ARTIFACT_REGISTRY, f"{HERE}/r{{}}"),
            ("describe a secret", hosts.SECRET_MANAGER, f"{PROJECT}/secrets/s{{}}"),
            ("access a secret's version", hosts.SECRET_MANAGER, f"{PROJECT}/secrets/s{{}}/versions/latest:access"),
        ):
            times: dict[str, list[float]] = {"one": [], "many": []}
            for _ in range(given.calls):
                times["one"].append(single.timed(host, path.format(0)))
                times["many"].append(full.timed(host, path.format(middle)))
            one, many = (statistics.median(times[name]) * 1000 for name in ("one", "many"))
            print(
                f"{what}: {many:.2f} ms of {given.many:,}, {one:.2f} ms of one; ratio {many / one:.2f} (target about 1)"
            )
        for what, host, path in (
            ("repositories", hosts.ARTIFACT_REGISTRY, HERE),
            ("secrets", hosts.SECRET_MANAGER, f"{PROJECT}/secrets"),
        ):
            pages, entries, seconds = full.pages(host, path, what)
            print(f"list {entries:,} {what}: {pages} pages, {seconds / pages * 1000:.1f} ms a page")


if __name__ == "__main__":
    main()
