"""What somebody has most likely meant by a value that will not do: an address for a name, a capital, a missing unit.

It knows how people and services write things. Whether a value may be had, parameters.py says.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from cgrunbook import durations
from cgrunbook.image_reference import without_registry

# Artifact Registry's locations, as gcloud 528 knows them; what is missing here may be there all the same.
_LOCATIONS = """
    africa-south1 asia asia-east1 asia-east2 asia-northeast1 asia-northeast2 asia-northeast3 asia-south1 asia-south2
    asia-southeast1 asia-southeast2 australia-southeast1 australia-southeast2 europe europe-central2 europe-north1
    europe-north2 europe-southwest1 europe-west1 europe-west10 europe-west12 europe-west2 europe-west3 europe-west4
    europe-west6 europe-west8 europe-west9 me-central1 me-central2 me-west1 northamerica-northeast1
    northamerica-northeast2 northamerica-south1 southamerica-east1 southamerica-west1 us us-central1 us-central2
    us-east1 us-east4 us-east5 us-east7 us-south1 us-west1 us-west2 us-west3 us-west4 us-west8
    """
LOCATIONS = tuple(_LOCATIONS.split())

_LOCATION = (r"locations/([^/\s]+)", r"([a-z0-9-]+)-docker\.pkg\.dev", r"([a-z]+-[a-z]+[0-9]+)-[a-z]")
_PROJECT = (r"projects/([^/?&#\s]+)", r"[?&]project=([^&#\s]+)")
_REPOSITORY = (r"repositories/([^/\s]+)", r"pkg\.dev/(?:[^/]+\.[^/]+/)?[^/]+/([^/:@\s]+)", r"([^/]+)/?$")

# Where a name stands in an address of it, likeliest first.
_WITHIN: Mapping[str, Sequence[str]] = {
    "project_id": _PROJECT,
    "location": _LOCATION,
    "secret_locations": _LOCATION,
    "repository": _REPOSITORY,
    "private_repository": _REPOSITORY,
    "organization": (r"cgr\.dev/([^/:@\s]+)", r"^(?:https?://)?(?!https?:|cgr\.dev)([^/:\s]+)"),
    "secret_id": (r"secrets/([^/\s]+)", r"([^/]+)/?$"),
    "kms_key_name": (r"(projects/[^\s]+?/cryptoKeys/[^/\s]+)",),
    "rotation_topic": (r"(projects/[^/\s]+/topics/[^/\s]+)",),
}

# What people call one of the few values that a parameter may have.
_CALLED = {
    "target": {
        **dict.fromkeys(("gcp", "cloud", "googlecloudplatform", "real", "production", "prod"), "google-cloud"),
        **dict.fromkeys(("local", "test", "testing", "training", "emulator"), "sandbox"),
    },
    "mode": {
        **dict.fromkeys(("dryrun", "preview", "check", "noop"), "plan"),
        **dict.fromkeys(("run", "do", "execute", "change"), "apply"),
    },
    "vulnerability_scanning": {
        **dict.fromkeys(("on", "yes", "true", "enabled"), "inherited"),
        **dict.fromkeys(("off", "no", "none", "false", "never"), "disabled"),
    },
    "docker_login": {
        **dict.fromkeys(("off", "no", "false", "never"), "none"),
        **dict.fromkeys(("gcloud", "helper"), "credential-helper"),
        "token": "access-token",
    },
    "platform": {
        **dict.fromkeys(("amd64", "x8664", "x64", "linuxx8664", "linuxx64", "intel"), "linux/amd64"),
        **dict.fromkeys(("arm64", "aarch64", "linuxaarch64", "arm"), "linux/arm64"),
    },
    "upstream": {"cgrdev": "https://cgr.dev/", "httpscgrdev": "https://cgr.dev/", "httpcgrdev": "https://cgr.dev/"},
}
_TRUTH = {**dict.fromkeys(("yes", "y", "on", "1"), "true"), **dict.fromkeys(("no", "n", "off", "0"), "false")}


def candidates(name: str, text: str, choices: Sequence[str] = ()) -> Iterator[str]:
    """Values that may have been meant, likeliest first; most of them are none.

    Args:
        name: the parameter; of a list, this is about one item.
        text: what was given.
        choices: what the parameter may be, where that is but a few.
    """
    bare = re.sub(r"""^[\s"'`]+|[\s"'`,;\]]+$""", "", text)
    low = bare.lower()
    yield bare
    for pattern in _WITHIN.get(name, ()):
        yield from (found[1] for found in (re.search(pattern, bare), re.search(pattern, low)) if found)
    squeezed = re.sub(r"[\W_]", "", low)
    yield from (called[squeezed] for called in (_CALLED.get(name, {}), _TRUTH) if squeezed in called)
    if name.endswith("_images"):
        yield from _images(name, bare)
    elif name == "labels":
        yield re.sub(r"\s*[:=]\s*", "=", low)
    elif name == "platform":
        yield re.sub(r"[-:\s]+", "/", low, count=1)
    elif name in _WITHIN:
        yield low
        yield re.sub(r"[^a-z0-9]+", "-", low).strip("-") if not re.search("[/:.]", low) else ""
    yield " ".join(bare.split())
    yield from durations.readings(bare)
    yield from _numbers(bare)
    if known := LOCATIONS if "location" in name else choices:
        yield closest(re.sub(r"[\s_]+", "-", low), known)


def closest(text: str, known: Iterable[str]) -> str:
    """Of these names the one that a text is most like, the first of several; "" where none is like it."""
    near = difflib.get_close_matches(text, list(known), n=9)
    return min(near, key=lambda name: (-difflib.SequenceMatcher(None, name, text).ratio(), name), default="")


def _images(name: str, text: str) -> Iterator[str]:
    rest = without_registry(text) or text.rpartition("://")[2]
    path, colon, tag = rest.partition(":")
    if name == "production_images":
        path = path.rpartition("/")[2]
    for each in (path, path.lower().strip("/")):
        yield f"{each}{colon}{tag}"
        yield f"chainguard/{each}{colon}{tag}"


def _numbers(text: str) -> Iterator[str]:
    """A whole number that was written with separators, as a fraction, or as a length of time that is asked for in seconds."""
    yield re.sub(r"(?<=\d)[,_.' ](?=\d{3}\b)", "", text)
    yield re.sub(r"\.0+$", "", text)
    for reading in (text, *durations.readings(text)):
        try:
            yield f"{durations.parse(reading).total_seconds():.0f}"
        except ValueError:
            continue
