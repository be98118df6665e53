"""Names of the services that a mistyped one may have meant, for a question in a remedy; nothing is refused by them.

It knows the names of a day: what is missing here may be there all the same.
"""

from __future__ import annotations

from collections.abc import Iterable

from cgrunbook.nearest import LOCATIONS, closest

# Free images that much is built from (https://images.chainguard.dev), and what some of them are called elsewhere.
_IMAGES = """
    apko aspnet-runtime bash busybox chainguard-base cosign crane curl deno dotnet-runtime dotnet-sdk gcc-glibc git
    glibc-dynamic go gradle haproxy helm jdk jre k3s kubectl mariadb maven melange memcached minio nginx node php
    postgres prometheus python rabbitmq redis ruby rust static terraform valkey wait-for-it wolfi-base zig
    """
_CALLED_ELSEWHERE = {"golang": "go", "nodejs": "node", "java": "jdk", "openjdk": "jdk", "postgresql": "postgres"}

_FREE_TAGS = ("latest", "latest-dev")


def question(name: str, among: Iterable[str]) -> str:
    """A question for whoever mistyped a name, "" where there is none of these that is like it, or it is one of them."""
    known = list(among)
    near = closest(name.lower(), known)
    return f"Did you mean {near}?" if near and name not in known else ""


def location(name: str) -> str:
    """The question for a location."""
    return question(name, LOCATIONS)


def free_image(repository: str) -> str:
    """The question for a public image, by its path, such as "chainguard/golang"."""
    name = repository.lower().rpartition("/")[2]
    if name in _CALLED_ELSEWHERE:
        return f"Did you mean chainguard/{_CALLED_ELSEWHERE[name]}?"
    return question(repository, [f"chainguard/{one}" for one in _IMAGES.split()])


def free_tag(tag: str) -> str:
    """The question for the tag of a public image."""
    return question(tag, _FREE_TAGS)
