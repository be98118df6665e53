"""Kill the sandbox with SIGKILL at random moments under load, and look whether every acknowledged write is there.

    python -m tests.sandbox.kills [--rounds 300] [--seed N]

`make test` does a few rounds of the same (test_kills.py); this command does hundreds and prints the figures.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import os
import random
import signal
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cgrunbook.sandbox import hosts, process, settings

WRITERS = 4
PROJECT = f"/v1/projects/{settings.PROJECT_ID}"
REPOSITORIES = f"{PROJECT}/locations/us-central1/repositories"


class Lost(Exception):
    """A write that was acknowledged is not there, or a sandbox did not come back."""


@dataclass
class Figures:
    """What was done.

    Attributes:
        kills: How often the process was killed.
        acknowledged: How many writes had been answered with success.
        broken_off: How many requests got no answer, or half of one, because of a kill.
        slowest_start: Seconds of the longest start after a kill, until it answered.
    """

    kills: int = 0
    acknowledged: int = 0
    broken_off: int = 0
    slowest_start: float = 0.0


class Caller:
    """A client with a connection to each host; whatever breaks off is `ConnectionError`."""

    def __init__(self, running: process.Running) -> None:
        self._hosts = running.hosts
        self._token = running.access_token_file.read_text()
        self._connections: dict[str, http.client.HTTPConnection] = {}

    def __call__(self, verb: str, host: str, path: str, body: Any = None) -> Any:
        connection = self._connections.setdefault(host, http.client.HTTPConnection(self._hosts[host], timeout=30))
        headers = {"Authorization": f"Bearer {self._token}"}
        try:
            connection.request(verb, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            told = json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError) as broken:
            raise ConnectionError(str(broken)) from broken
        if answer.status != 200:
            raise Lost(f"{verb} {path}: {answer.status} {told}")
        return told

    def close(self) -> None:
        for connection in self._connections.values():
            connection.close()


@dataclass
class Writer:
    """Writes until it is cut off, and remembers what was acknowledged.

    Attributes:
        number: Which one; its resources carry it in their names.
        step: Counts its writes of each kind.
        secrets: Ids of secrets whose creation was acknowledged since the last look.
        versions: Secret id to payload of versions whose addition was acknowledged since the last look.
        label: What its repository's label may be: as acknowledged last, and as asked for last.
        reader: The same for the member in its repository's policy, "" for none.
        acknowledged: How many writes were.
        broken_off: How often it was cut off in a request.
        wrong: What came instead of an answer, other than a cut.
    """

    number: int
    step: int = 0
    secrets: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    label: set[str] = field(default_factory=lambda: {"0"})
    reader: set[str] = field(default_factory=lambda: {""})
    acknowledged: int = 0
    broken_off: int = 0
    wrong: Exception | None = None

    @property
    def repository(self) -> str:
        return f"{REPOSITORIES}/w{self.number}"

    def prepare(self, call: Caller) -> None:
        body = {"format": "DOCKER", "labels": {"step": "0"}}
        call("POST", hosts.ARTIFACT_REGISTRY, f"{REPOSITORIES}?repositoryId=w{self.number}", body)

    def write(self, running: process.Running) -> None:
        call = Caller(running)
        try:
            while True:
                self._once(call)
        except ConnectionError:
            self.broken_off += 1
        except Lost as problem:  # told by the main thread
            self.wrong = problem
        finally:
            call.close()

    def _once(self, call: Caller) -> None:
        self.step += 1
        step = str(self.step)
        name = f"w{self.number}-{step}"
        secret: dict[str, Any] = {"replication": {"automatic": {}}}
        call("POST", hosts.SECRET_MANAGER, f"{PROJECT}/secrets?secretId={name}", secret)
        self.secrets.append(name)
        payload = {"payload": {"data": base64.b64encode(step.encode()).decode()}}
        call("POST", hosts.SECRET_MANAGER, f"{PROJECT}/secrets/{name}:addVersion", payload)
        self.versions[name] = step
        self.label.add(step)
        call("PATCH", hosts.ARTIFACT_REGISTRY, f"{self.repository}?updateMask=labels", {"labels": {"step": step}})
        self.label = {step}
        member = f"user:u{step}@example.com"
        self.reader.add(member)
        policy = {"policy": {"bindings": [{"role": "roles/artifactregistry.reader", "members": [member]}]}}
        call("POST", hosts.ARTIFACT_REGISTRY, f"{self.repository}:setIamPolicy", policy)
        self.reader = {member}
        self.acknowledged += 4

    def look(self, call: Caller) -> None:
        """Compare with what is there now; what was under way at the kill may have come about or not."""
        for name in self.secrets:
            call("GET", hosts.SECRET_MANAGER, f"{PROJECT}/secrets/{name}")
        for name, payload in self.versions.items():
            told = call("GET", hosts.SECRET_MANAGER, f"{PROJECT}/secrets/{name}/versions/1:access")
            if base64.b64decode(told["payload"]["data"]).decode() != payload:
                raise Lost(f"{name} holds another payload")
        label = call("GET", hosts.ARTIFACT_REGISTRY, self.repository)["labels"]["step"]
        bindings = call("GET", hosts.ARTIFACT_REGISTRY, f"{self.repository}:getIamPolicy").get("bindings", [])
        members = [member for binding in bindings for member in binding["members"]]
        reader = members[0] if members else ""
        if label not in self.label or reader not in self.reader or len(members) > 1:
            raise Lost(f"{self.repository}: label {label} of {self.label}, members {members} of {self.reader}")
        self.label, self.reader = {label}, {reader}
        self.secrets.clear()
        self.versions.clear()


def survive(home: Path, rounds: int, seed: int) -> Figures:
    """Kill a sandbox so many times under load.

    Args:
        home: Its CGRUNBOOK_HOME.
        rounds: How many kills.
        seed: Of the moments.

    Raises:
        Lost: An acknowledged write is gone.
    """
    moments = random.Random(seed)
    figures = Figures()
    running = process.start(home, iam_delay=0.0, agent_delay=0.0)
    call = Caller(running)
    names = [hosts.ARTIFACT_REGISTRY, hosts.SECRET_MANAGER]
    call("POST", hosts.SERVICE_USAGE, f"{PROJECT}/services:batchEnable", {"serviceIds": names})
    writers = [Writer(number) for number in range(WRITERS)]
    for writer in writers:
        writer.prepare(call)
    call.close()
    for _ in range(rounds):
        threads = [threading.Thread(target=writer.write, args=(running,)) for writer in writers]
        for thread in threads:
            thread.start()
        before = sum(writer.acknowledged for writer in writers)
        # A moment is a count of writes and a fraction of one after it: the same spread on any machine.
        wanted = before + moments.randrange(0, 60, 4)
        while sum(writer.acknowledged for writer in writers) < wanted and any(thread.is_alive() for thread in threads):
            time.sleep(0.0005)
        time.sleep(moments.random() * 0.004)
        os.kill(running.pid, signal.SIGKILL)
        figures.kills += 1
        for thread in threads:
            thread.join()
        for writer in writers:
            if writer.wrong is not None:
                raise Lost(f"a writer was answered wrongly: {writer.wrong}") from writer.wrong
        begun = time.monotonic()
        running = process.start(home, iam_delay=0.0, agent_delay=0.0)
        figures.slowest_start = max(figures.slowest_start, time.monotonic() - begun)
        call = Caller(running)
        for writer in writers:
            writer.look(call)
        call.close()
    figures.acknowledged = sum(writer.acknowledged for writer in writers)
    figures.broken_off = sum(writer.broken_off for writer in writers)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=300, help="how many kills (300)")
    parser.add_argument("--seed", type=int, default=random.randrange(10**9), help="of the moments (random)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        print(f"seed {given.seed}")
        try:
            figures = survive(home, given.rounds, given.seed)
        finally:
            process.reset(home)
    print(
        f"{figures.kills} kills under the load of {WRITERS} writers: {figures.acknowledged} writes acknowledged, all there; "
        f"{figures.broken_off} requests broken off; slowest start after a kill {figures.slowest_start:.2f} s"
    )


if __name__ == "__main__":
    main()
