"""A stand-in for gcloud's docker credential helper, for machines without gcloud: `docker-credential-gcloud get`.

Knows docker's credential helper protocol and the sandbox's docker hosts; hands out the operator's access token for
those and for nothing else.
"""

from __future__ import annotations

import json
import sys

from cgrunbook.home import home
from cgrunbook.sandbox import process
from cgrunbook.sandbox.hosts import docker_location

USERNAME = "_dcgcloud_token"  # what gcloud's own helper answers

_NOT_FOUND = "credentials not found in native keychain"  # docker takes this sentence for "none" and goes on anonymously


def main(words: list[str] | None = None) -> int:
    """Answer one request of docker's.

    Args:
        words: the command line without the program's name: get, list, store or erase.

    Returns:
        0, or 1 where there is no credential, as the protocol wants it.
    """
    action = (sys.argv[1:] if words is None else words)[:1]
    if action == ["get"]:
        return _get(sys.stdin.readline().strip())
    if action == ["list"]:
        sys.stdout.write(json.dumps(dict.fromkeys(_docker_hosts(), USERNAME)) + "\n")
        return 0
    if action in (["store"], ["erase"]):
        sys.stdin.read()  # gcloud's helper keeps nothing either: tokens are made when asked for
        return 0
    sys.stderr.write("Usage: docker-credential-gcloud get|list|store|erase\n")
    return 1


def _get(server: str) -> int:
    name = server.removeprefix("https://").removeprefix("http://").split("/")[0]
    folder = process.folder_of(home())
    if name not in _docker_hosts():
        sys.stdout.write(_NOT_FOUND + "\n")
        return 1
    token = (folder / process.TOKEN_FILE).read_text().strip()
    sys.stdout.write(json.dumps({"ServerURL": server, "Username": USERNAME, "Secret": token}) + "\n")
    return 0


def _docker_hosts() -> list[str]:
    """Each docker host as "127.0.0.1:PORT", none when the sandbox is not running."""
    file = process.folder_of(home()) / process.SANDBOX_FILE
    if not file.exists():
        return []
    hosts: dict[str, str] = json.loads(file.read_text())["hosts"]
    return [address for host, address in hosts.items() if docker_location(host)]


if __name__ == "__main__":
    sys.exit(main())
