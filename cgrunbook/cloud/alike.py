"""Names of the services that a mistyped one may have meant, for a question in a remedy; nothing is refused by them.

It knows the names of a day: what is missing here may be there all the same.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

# Artifact Registry's locations, as gcloud 528 knows them.
_LOCATIONS = """
    africa-south1 asia asia-east1 asia-east2 asia-northeast1 asia-northeast2 asia-northeast3 asia-south1 asia-south2
    asia-southeast1 asia-southeast2 australia-southeast1 australia-southeast2 europe europe-central2 europe-north1
    europe-north2 europe-southwest1 europe-west1 europe-west10 europe-west12 europe-west2 europe-west3 europe-west4
    europe-west6 europe-west8 europe-west9 me-central1 me-central2 me-west1 northamerica-northeast1
    northamerica-northeast2 northamerica-south1 southamerica-east1 southamerica-west1 us us-central1 us-central2
    us-east1 us-east4 us-east5 us-east7 us-south1 us-west1 us-west2 us-west3 us-west4 us-west8
    """

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
    near = difflib.get_close_matches(name.lower(), known, n=1)
    return f"Did you mean {near[0]}?" if near and name not in known else ""


def location(name: str) -> str:
    """The question for a location."""
    return question(name, _LOCATIONS.split())


def free_image(repository: str) -> str:
    """The question for a public image, by its path, such as "chainguard/golang"."""
    name = repository.lower().rpartition("/")[2]
    if name in _CALLED_ELSEWHERE:
        return f"Did you mean chainguard/{_CALLED_ELSEWHERE[name]}?"
    return question(repository, [f"chainguard/{one}" for one in _IMAGES.split()])


def free_tag(tag: str) -> str:
    """The question for the tag of a public image."""
    return question(tag, _FREE_TAGS)
