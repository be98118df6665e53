"""How long the verified pull takes against `skopeo copy docker://... dir:` of the same image, and in how much memory.

A command, no test: it starts a docker-registry on loopback, pushes an image of random bytes, lets both pull it in turns
and prints medians and ratios. What it makes is gone when it ends, also after Ctrl-C.

    python tests/benchmarks/pull_against_skopeo.py [--layers 4] [--mib 128] [--rounds 5]
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import http.client
import json
import os
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = "bench/image"
MIB = 1024 * 1024
RATIO_LIMIT = 0.33
MEMORY_LIMIT_MIB = 64.0
OCI = "application/vnd.oci.image"
PACKAGES = {"docker-registry": "docker-registry", "skopeo": "skopeo"}


@dataclass(frozen=True)
class Timed:
    """A command that was run: wall-clock seconds, processor seconds, what it printed."""

    seconds: float
    processor: float
    output: str


def main() -> int:
    """Run the benchmark, or, with --pull, be the process that pulls.

    Returns:
        0 when it ran, whatever the ratios; 2 when something that it needs is missing.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--layers", type=int, default=4, help="how many layers (default 4)")
    parser.add_argument("--mib", type=int, default=128, help="MiB a layer (default 128)")
    parser.add_argument("--rounds", type=int, default=5, help="how often each pulls (default 5)")
    parser.add_argument("--pull", metavar="ADDRESS", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.pull:
        print(json.dumps(pull(options.pull)))
        return 0
    missing = [
        f"{command} (Debian package {package})" for command, package in PACKAGES.items() if not shutil.which(command)
    ]
    if missing:
        print(f"The benchmark cannot run here; missing: {', '.join(missing)}.", file=sys.stderr)
        return 2
    # A plain SIGTERM would leave the registry running and half a gigabyte behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="cgrunbook-bench-") as folder, registry(Path(folder)) as address:
        print(f"Pushing {options.layers} layers of {options.mib} MiB to a docker-registry at {address} ...")
        digest = push(address, options.layers, options.mib, Path(folder))
        compare(address, digest, options.rounds, Path(folder))
    return 0


def compare(address: str, digest: str, rounds: int, folder: Path) -> None:
    """Let both pull in turns, after one round that is not counted, and print what came out."""
    image, copy = f"docker://{address}/{REPOSITORY}:latest", folder / "copy"
    skopeo: list[Timed] = []
    whole: list[Timed] = []
    inside: list[float] = []
    memory: list[float] = []
    for number in range(rounds + 1):
        theirs = timed(["skopeo", "copy", "-q", "--src-tls-verify=false", image, f"dir:{copy}"])
        shutil.rmtree(copy)
        ours = timed([sys.executable, __file__, "--pull", address])
        report = json.loads(ours.output)
        if report["digest"] != digest:
            raise SystemExit(f"The pull proved {report['digest']}, pushed was {digest}.")
        if number == 0:
            continue
        skopeo.append(theirs)
        whole.append(ours)
        inside.append(report["seconds"])
        memory.append(report["peak_above_idle_mib"])
        print(f"  round {number}: skopeo {theirs.seconds:.2f} s, verified pull {ours.seconds:.2f} s")
    peer = statistics.median(entry.seconds for entry in skopeo)
    print(f"skopeo copy to dir:             median {peer:.3f} s")
    show("verified pull, whole process:  ", statistics.median(entry.seconds for entry in whole), peer)
    show("verified pull, in the process: ", statistics.median(inside), peer)
    # On a busy machine both wait for a processor; how long they used one tells them apart still.
    show(
        "processor seconds, whole:      ",
        statistics.median(entry.processor for entry in whole),
        statistics.median(entry.processor for entry in skopeo),
    )
    kept = "kept" if max(memory) <= MEMORY_LIMIT_MIB else "MISSED"
    print(f"peak memory above idle:         largest {max(memory):.1f} MiB (at most {MEMORY_LIMIT_MIB:.0f}): {kept}")


def show(name: str, seconds: float, peer: float) -> None:
    """Print one line with its ratio."""
    ratio = seconds / peer
    kept = "kept" if ratio <= RATIO_LIMIT else "MISSED"
    print(f"{name} median {seconds:.3f} s, ratio {ratio:.2f} (at most {RATIO_LIMIT}): {kept}")


def pull(address: str) -> dict[str, Any]:
    """Pull once in this process.

    Args:
        address: the registry's host:port.

    Returns:
        Digest, seconds and the peak of resident memory above that before the pull, in MiB.
    """
    from cgrunbook.cloud.attempts import Attempts
    from cgrunbook.cloud.connection import RegistryHost
    from cgrunbook.cloud.registry import Registry
    from cgrunbook.image_reference import Platform

    attempts = Attempts()
    # Imports what the first attempt of a process imports; the whole-process figure has it.
    attempts.run(lambda: None, reason="nothing")
    registry = Registry(RegistryHost(address, address, "http"), None, attempts)
    idle = resident("VmRSS")
    # Forgets the peak that starting Python had.
    Path("/proc/self/clear_refs").write_text("5")
    begun = time.monotonic()
    pulled = registry.pull(REPOSITORY, "latest", Platform("linux/amd64"))
    seconds = time.monotonic() - begun
    return {"digest": pulled.digest, "seconds": seconds, "peak_above_idle_mib": (resident("VmHWM") - idle) / MIB}


def resident(which: str) -> int:
    """Bytes of resident memory now (VmRSS) or at most since the last reset (VmHWM)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == which:
            return int(value.split()[0]) * 1024
    raise SystemExit(f"/proc/self/status has no {which}: the memory can be measured on Linux only.")


def timed(command: list[str]) -> Timed:
    """Run a command to its end."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begun = time.monotonic()
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    seconds = time.monotonic() - begun
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Timed(seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout)


@contextlib.contextmanager
def registry(folder: Path, accesses: Path | None = None) -> Iterator[str]:
    """A docker-registry on a free loopback port, for as long as the block lasts.

    Args:
        folder: an existing folder for its settings and its content.
        accesses: a file that gets a line for each request; None for no such file.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    config = folder / "registry.yml"
    config.write_text(
        f"version: 0.1\nlog: {{level: error, accesslog: {{disabled: {'true' if accesses is None else 'false'}}}}}\n"
        f"storage: {{filesystem: {{rootdirectory: '{folder / 'registry'}'}}}}\nhttp: {{addr: '{address}'}}\n"
    )
    with (
        (accesses or Path(os.devnull)).open("wb") as out,
        subprocess.Popen(["docker-registry", "serve", str(config)], stdout=out, stderr=subprocess.DEVNULL) as process,
    ):
        try:
            until_it_answers(address, process)
            yield address
        finally:
            process.terminate()


def until_it_answers(address: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until the registry takes requests."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError):
            request(address, "GET", "/v2/")
            return
        time.sleep(0.05)
    raise SystemExit("docker-registry does not answer.")


def push(address: str, layers: int, mib: int, folder: Path) -> str:
    """Make an image of random bytes and push it; answers its digest."""
    descriptors = [push_layer(address, mib, folder / "layer") for _ in range(layers)]
    config = json.dumps({"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": []}}).encode()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": f"{OCI}.manifest.v1+json",
            "config": push_blob(address, config, digest_of(config), len(config), f"{OCI}.config.v1+json"),
            "layers": descriptors,
        }
    ).encode()
    headers = {"Content-Type": f"{OCI}.manifest.v1+json"}
    request(address, "PUT", f"/v2/{REPOSITORY}/manifests/latest", manifest, headers)
    return digest_of(manifest)


def push_layer(address: str, mib: int, file: Path) -> dict[str, Any]:
    """Make one layer on disk and push it from there."""
    found = hashlib.sha256()
    with file.open("wb") as out:
        for _ in range(mib):
            block = os.urandom(MIB)
            found.update(block)
            out.write(block)
    with file.open("rb") as body:
        descriptor = push_blob(address, body, f"sha256:{found.hexdigest()}", mib * MIB, f"{OCI}.layer.v1.tar+gzip")
    file.unlink()
    return descriptor


def push_blob(address: str, body: Any, digest: str, size: int, media_type: str) -> dict[str, Any]:
    """Push one blob; answers its descriptor."""
    where = request(address, "POST", f"/v2/{REPOSITORY}/blobs/uploads/").partition(address)[2]
    headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
    request(address, "PUT", f"{where}{'&' if '?' in where else '?'}digest={digest}", body, headers)
    return {"mediaType": media_type, "digest": digest, "size": size}


def request(address: str, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> str:
    """Send one request; answers its Location."""
    with contextlib.closing(http.client.HTTPConnection(address, timeout=60)) as connection:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        answer.read()
        if answer.status >= 300:
            raise SystemExit(f"docker-registry answered {answer.status} to {method} {path}.")
        return answer.getheader("Location", "")


def digest_of(body: bytes) -> str:
    """The digest of some bytes."""
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


if __name__ == "__main__":
    sys.exit(main())
