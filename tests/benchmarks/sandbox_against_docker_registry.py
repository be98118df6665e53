"""How long a warm pull through the sandbox takes against the same pull from docker-registry, and what else it costs.

A command, no test: it starts a docker-registry on loopback with an image of random bytes, a sandbox whose upstream that
registry is, and pulls from both in turns: with skopeo, and with a reader that throws the bytes away, which leaves
nothing but the servers' time. Then 32 clients at once pull an image that is not cached yet. What it makes is gone when
it ends, also after Ctrl-C.

    python -m tests.benchmarks.sandbox_against_docker_registry [--layers 4] [--mib 128] [--rounds 5] [--clients 32]
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import shutil
import signal
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from cgrunbook.sandbox import process
from tests.benchmarks.pull_against_skopeo import MIB, PACKAGES, REPOSITORY, push, registry, timed

WARM_LIMIT = 1.5
ACCEPT = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json"


@dataclass(frozen=True)
class Source:
    """Where the image is pulled from: the registry's host:port, the image's path there, a token where one is needed."""

    host: str
    path: str
    token: str = ""


def main() -> int:
    """Run the benchmark.

    Returns:
        0 when it ran, whatever the ratios; 2 when something that it needs is missing.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--layers", type=int, default=4, help="how many layers (default 4)")
    parser.add_argument("--mib", type=int, default=128, help="MiB a layer (default 128)")
    parser.add_argument("--rounds", type=int, default=5, help="how often each pulls (default 5)")
    parser.add_argument("--clients", type=int, default=32, help="how many pull at once (default 32)")
    options = parser.parse_args()
    missing = [
        f"{command} (Debian package {package})" for command, package in PACKAGES.items() if not shutil.which(command)
    ]
    if missing:
        print(f"The benchmark cannot run here; missing: {', '.join(missing)}.", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="cgrunbook-bench-") as name:
        folder = Path(name)
        accesses = folder / "accesses"
        with registry(folder, accesses) as address:
            print(f"Pushing {options.layers} layers of {options.mib} MiB to a docker-registry at {address} ...")
            push(address, options.layers, options.mib, folder)
            with sandbox(folder / "home", address) as running:
                compare(running, address, options.rounds, folder)
                crowd(running, address, options.clients, accesses)
    return 0


@contextlib.contextmanager
def sandbox(home: Path, upstream: str) -> Iterator[process.Running]:
    """A sandbox in front of a registry, for as long as the block lasts."""
    running = process.start(home, upstream=f"http://{upstream}", iam_delay=0, agent_delay=0)
    try:
        google(running, "serviceusage", "services:batchEnable", {"serviceIds": ["artifactregistry.googleapis.com"]})
        yield running
    finally:
        process.reset(home)


def google(running: process.Running, service: str, path: str, body: object) -> None:
    """Call a Google API of the sandbox; only that it succeeds matters here."""
    request = urllib.request.Request(
        f"http://{running.hosts[f'{service}.googleapis.com']}/v1/projects/{running.project_id}/{path}",
        json.dumps(body).encode(),
        {"Authorization": f"Bearer {running.access_token_file.read_text()}", "Content-Type": "application/json"},
    )
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
        answer.read()


def remote_repository(running: process.Running, name: str) -> Source:
    """A new remote repository, with nothing in its cache."""
    body = {
        "format": "DOCKER",
        "mode": "REMOTE_REPOSITORY",
        "remoteRepositoryConfig": {"commonRepository": {"uri": "https://cgr.dev"}},
    }
    google(running, "artifactregistry", f"locations/us-central1/repositories?repositoryId={name}", body)
    host = running.docker_host("us-central1")
    return Source(host, f"{running.project_id}/{name}/{REPOSITORY}", running.access_token_file.read_text().strip())


def compare(running: process.Running, address: str, rounds: int, folder: Path) -> None:
    """Pull from both in turns and print what came out."""
    direct, through = Source(address, REPOSITORY), remote_repository(running, "warm")
    idle = memory(running.pid, "VmRSS")
    forget_peak(running.pid)
    cold = [drain(remote_repository(running, f"cold{number}")) for number in range(3)]
    size = drain(through)[1]
    drain(direct)
    read: dict[str, list[float]] = {"direct": [], "through": []}
    copied: dict[str, list[float]] = {"direct": [], "through": []}
    for number in range(rounds):
        pairs = [("direct", direct), ("through", through)]
        for which, source in pairs if number % 2 == 0 else reversed(pairs):
            read[which].append(drain(source)[0])
        for which, source in pairs if number % 2 == 0 else reversed(pairs):
            copied[which].append(skopeo(source, folder / "copy"))
    print(f"{size / MIB:.0f} MiB, {rounds} rounds in turns, medians:")
    show("warm pull with skopeo", copied, WARM_LIMIT)
    show("warm, bytes thrown away", read)
    first = statistics.median(seconds for seconds, _ in cold)
    print(f"cold, bytes thrown away:   {first:.2f} s, {size / MIB / first:.0f} MiB/s through the sandbox to the client")
    peak = (memory(running.pid, "VmHWM") - idle) / MIB
    print(f"peak memory of the server: {peak:.1f} MiB above idle ({idle / MIB:.0f} MiB)")


def show(name: str, seconds: dict[str, list[float]], limit: float | None = None) -> None:
    """Print one comparison."""
    ours, theirs = statistics.median(seconds["through"]), statistics.median(seconds["direct"])
    ratio = ours / theirs
    verdict = "" if limit is None else f" (at most {limit}): {'kept' if ratio <= limit else 'MISSED'}"
    print(f"{name}: sandbox {ours:.2f} s, docker-registry {theirs:.2f} s, ratio {ratio:.2f}{verdict}")


def crowd(running: process.Running, address: str, clients: int, accesses: Path) -> None:
    """Let many clients pull at once what is not cached, and count what the upstream was asked for."""
    source = remote_repository(running, "crowd")
    before = asked(accesses)
    idle = memory(running.pid, "VmRSS")
    forget_peak(running.pid)
    begun = time.monotonic()
    with ThreadPoolExecutor(clients) as pool:
        sizes = {size for _, size in pool.map(drain, [source] * clients)}
    seconds = time.monotonic() - begun
    after = asked(accesses)
    (size,) = sizes
    total = clients * size / MIB
    print(f"{clients} clients at once, not cached: {seconds:.1f} s, {total / seconds:.0f} MiB/s in all")
    blobs = len(manifest(Source(address, REPOSITORY))["digests"])
    counted = f"{after['blobs'] - before['blobs']} blobs, {after['manifests'] - before['manifests']} manifests"
    print(f"requests to the upstream:  {counted} (the image has {blobs} blobs and 1 manifest)")
    peak = (memory(running.pid, "VmHWM") - idle) / MIB
    print(f"peak memory meanwhile:     {peak:.1f} MiB above that before")


def asked(accesses: Path) -> dict[str, int]:
    """How many blobs and manifests the upstream was asked for, by its own access log."""
    lines = accesses.read_text().splitlines()
    return {kind: sum(f"GET /v2/{REPOSITORY}/{kind}/" in line for line in lines) for kind in ("blobs", "manifests")}


def manifest(source: Source) -> dict[str, list[str]]:
    """The digests of an image's config and layers."""
    with contextlib.closing(http.client.HTTPConnection(source.host, timeout=120)) as connection:
        connection.request("GET", f"/v2/{source.path}/manifests/latest", headers=headers(source))
        document = json.loads(connection.getresponse().read())
    return {"digests": [document["config"]["digest"], *(layer["digest"] for layer in document["layers"])]}


def headers(source: Source) -> dict[str, str]:
    """What a request carries."""
    return {"Accept": ACCEPT} | ({"Authorization": f"Bearer {source.token}"} if source.token else {})


def drain(source: Source) -> tuple[float, int]:
    """Pull, keeping nothing; seconds and bytes."""
    begun, count = time.monotonic(), 0
    buffer = memoryview(bytearray(MIB))
    digests = manifest(source)["digests"]
    with contextlib.closing(http.client.HTTPConnection(source.host, timeout=120)) as connection:
        for digest in digests:
            connection.request("GET", f"/v2/{source.path}/blobs/{digest}", headers=headers(source))
            answer = connection.getresponse()
            if answer.status != 200:
                raise SystemExit(f"{source.host} answered {answer.status} for {digest}.")
            while got := answer.readinto(buffer):
                count += got
    return time.monotonic() - begun, count


def skopeo(source: Source, copy: Path) -> float:
    """Seconds that skopeo takes to copy the image into a folder."""
    words = ["skopeo", "copy", "-q", "--src-tls-verify=false"]
    words += ["--src-creds", f"oauth2accesstoken:{source.token}"] if source.token else ["--src-no-creds"]
    done = timed([*words, f"docker://{source.host}/{source.path}:latest", f"dir:{copy}"])
    shutil.rmtree(copy)
    return done.seconds


def memory(pid: int, which: str) -> int:
    """Bytes of resident memory of a process, now (VmRSS) or at most since the peak was forgotten (VmHWM)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == which:
            return int(value.split()[0]) * 1024
    raise SystemExit(f"/proc/{pid}/status has no {which}: the memory can be measured on Linux only.")


def forget_peak(pid: int) -> None:
    """Let VmHWM begin anew."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


if __name__ == "__main__":
    sys.exit(main())
