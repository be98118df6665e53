"""Process 1 of the namespace: loopback, the sandbox, every real name in the hosts file, and the door.

    python -m tests.real_names.inside FOLDER

It says "ready" on standard output, obeys one JSON object a line on the socket FOLDER/control, and ends with its standard input.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import fcntl
import json
import os
import socket
import ssl
import struct
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from cgrunbook.sandbox import process
from tests.real_names.authority import Authority
from tests.real_names.door import GIVING_TOKENS, Door
from tests.real_names.token_hosts import METADATA, METADATA_ADDRESS, TokenHosts

# linux/sockios.h and linux/if.h
_SET_ADDRESS, _GET_FLAGS, _SET_FLAGS, _UP = 0x8916, 0x8913, 0x8914, 1


def raise_loopback() -> None:
    """Bring `lo` up, and give it the metadata server's address besides."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        answer = fcntl.ioctl(asked, _GET_FLAGS, struct.pack("16sh14x", b"lo", 0))
        flags = struct.unpack("16sh14x", answer)[1]
        fcntl.ioctl(asked, _SET_FLAGS, struct.pack("16sh14x", b"lo", flags | _UP))
        address = struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(METADATA_ADDRESS))
        fcntl.ioctl(asked, _SET_ADDRESS, struct.pack("16s16s", b"lo:0", address))


def name_hosts(folder: Path, names: Iterable[str]) -> None:
    """Put the names into a hosts file that only this namespace sees."""
    lines = ["127.0.0.1 localhost", f"{METADATA_ADDRESS} {METADATA}", *(f"127.0.0.1 {name}" for name in names)]
    (folder / "hosts").write_text("\n".join(lines) + "\n")
    subprocess.run(["mount", "--bind", folder / "hosts", "/etc/hosts"], check=True)


def certificates(folder: Path, names: list[str], door: Door) -> ssl.SSLContext:
    """What the door shows: a good certificate, but where the weather has another."""
    authority = Authority(folder)
    yesterday = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
    files = {
        "good": authority.certify("good.pem", names),
        "expired": authority.certify("expired.pem", names, until=yesterday),
        "another name": authority.certify("another.pem", ["another.example.com"]),
    }
    contexts = {kind: ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) for kind in files}
    for kind, file in files.items():
        contexts[kind].load_cert_chain(file)

    def choose(connection: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = contexts[door.weather.certificates.get(name or "", "good")]

    contexts["good"].sni_callback = choose
    return contexts["good"]


async def main(folder: Path) -> None:
    home = folder / "cgrunbook"
    raise_loopback()
    hosts = process.start(home).hosts
    names = [*{*hosts, *GIVING_TOKENS}]
    name_hosts(folder, names)
    door = Door(hosts, TokenHosts(home), folder / "requests.jsonl")

    async def obey(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if wanted := json.loads(await reader.readline()):
            door.set(wanted)
        left = [f"{fault.host} {fault.path}" for fault in door.weather.faults if fault.times > 0]
        told = {"requests": door.requests, "connections": door.connections, "left": left}
        writer.write(json.dumps(told).encode() + b"\n")
        writer.close()

    await asyncio.start_server(door.serve, "127.0.0.1", 443, ssl=certificates(folder, names, door))
    await asyncio.start_server(door.serve, METADATA_ADDRESS, 80)
    await asyncio.start_unix_server(obey, folder / "control")
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await asyncio.to_thread(process.stop, home)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
    os._exit(0)  # whatever is still connected need not be waited for
