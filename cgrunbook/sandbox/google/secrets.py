"""Secret Manager's Secret: what a global secret may be.

Knows the rules of ids, replication, expiry, rotation and aliases. Knows no calls, no versions and no store.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from cgrunbook.sandbox import errors
from cgrunbook.sandbox.google.labels import check_annotations, check_labels
from cgrunbook.sandbox.google.messages import at_path, moment, span
from cgrunbook.sandbox.hosts import LOCATIONS
from cgrunbook.sandbox.state import timestamp

_SECRET_ID = re.compile(r"[A-Za-z0-9_-]{1,255}")
_ALIAS = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,62}")
_TOPIC = re.compile(r"projects/[a-z0-9:.-]+/topics/([A-Za-z][A-Za-z0-9._~+%-]*)")
_TOPIC_LENGTH = range(3, 256)
_KMS_KEY = re.compile(r"projects/[^/]+/locations/([^/]+)/keyRings/[^/]+/cryptoKeys/[^/]+")
_HUNDRED_YEARS = timedelta(days=36500)


def check_expiry(now: datetime, secret: dict[str, Any], given: Mapping[str, Any]) -> None:
    """Turn a ttl into an expiry time (the ttl is never answered) and refuse one that has passed.

    The secret is changed in place; `given` is what the call says of the expiry.

    Raises:
        errors.InvalidArgument: the secret would expire at once, or in more than 100 years.
    """
    ttl = secret.pop("ttl", None)
    if ttl is not None:
        if not timedelta(0) < span(ttl) <= _HUNDRED_YEARS:
            raise errors.InvalidArgument.at("secret.ttl", "Secret.ttl must be positive and at most 100 years.")
        secret["expireTime"] = timestamp(now + span(ttl))
    elif "expireTime" in given:
        when = moment(given["expireTime"])
        if not now < when <= now + _HUNDRED_YEARS:
            raise errors.InvalidArgument.at(
                "secret.expire_time", "Secret.expire_time must be in the future, by at most 100 years."
            )


def check_rotation(now: datetime, secret: Mapping[str, Any], *, changed: bool) -> None:
    """Refuse topics and a rotation notice that Secret Manager does not take.

    Where the call has `changed` the time of the next notice, it must lie ahead.

    Raises:
        errors.InvalidArgument: no topic, too many, a period or time out of bounds.
    """
    topics = secret.get("topics", [])
    if len(topics) > 10:
        raise errors.InvalidArgument.at("secret.topics", "There can be at most 10 topics.")
    for topic in topics:
        name = topic.get("name", "")[:400]
        match = _TOPIC.fullmatch(name)
        if match is None:
            raise errors.InvalidArgument.at(
                "secret.topics", f"Invalid topic name {name!r}; the form is projects/*/topics/*."
            )
        if len(match[1]) not in _TOPIC_LENGTH:
            raise errors.InvalidArgument.at(
                "secret.topics", f"Invalid topic name {name!r}: {match[1]!r} must have 3 to 255 characters."
            )
    rotation = secret.get("rotation")
    if not rotation:
        return
    if not topics:
        raise errors.InvalidArgument.at(
            "secret.topics", "There must be at least one topic configured when a Rotation policy is set."
        )
    following, period = rotation.get("nextRotationTime"), rotation.get("rotationPeriod")
    if period is not None and not timedelta(seconds=3600) <= span(period) <= _HUNDRED_YEARS:
        raise errors.InvalidArgument.at(
            "secret.rotation.rotation_period", "Rotation.rotation_period must be between 3600 seconds and 100 years."
        )
    if following is None:
        raise errors.InvalidArgument.at(
            "secret.rotation.next_rotation_time",
            "Rotation.next_rotation_time must be set when Rotation.rotation_period is set.",
        )
    if changed and not now + timedelta(minutes=5) <= moment(following) <= now + _HUNDRED_YEARS:
        raise errors.InvalidArgument.at(
            "secret.rotation.next_rotation_time",
            "Rotation.next_rotation_time must be at least 5 minutes in the future, by at most 100 years.",
        )


def check_aliases(aliases: Mapping[str, int], exists: Callable[[int], bool]) -> None:
    """Refuse aliases that no version can have or that lead nowhere.

    Raises:
        errors.InvalidArgument: too many, of a wrong form, or for a version that is not there.
    """
    if len(aliases) > 50:
        raise errors.InvalidArgument.at("secret.version_aliases", "There can be at most 50 version aliases.")
    for alias, number in aliases.items():
        if not _ALIAS.fullmatch(alias) or alias in {"latest", "NEW"}:
            raise errors.InvalidArgument.at("secret.version_aliases", f"Invalid version alias {alias[:80]!r}.")
        if not exists(number):
            raise errors.InvalidArgument.at(
                "secret.version_aliases",
                f"Version alias [{alias}] refers to version [{number}], which does not exist.",
            )


def check_common(secret: Mapping[str, Any]) -> None:
    """Refuse labels, annotations and settings that no global secret has.

    Raises:
        errors.InvalidArgument: Naming the field.
    """
    check_labels(secret.get("labels", {}), "secret.labels")
    check_annotations(secret.get("annotations", {}), "secret.annotations")
    ttl = secret.get("versionDestroyTtl")
    if ttl is not None and not timedelta(days=1) <= span(ttl) <= timedelta(days=1000):
        raise errors.InvalidArgument.at(
            "secret.version_destroy_ttl", "Secret.version_destroy_ttl must be between 24 hours and 1000 days."
        )
    if "customerManagedEncryption" in secret:
        raise errors.InvalidArgument.at(
            "secret.customer_managed_encryption", "Secret.customer_managed_encryption is for regional secrets only."
        )


def check_id(identifier: str) -> None:
    """Refuse an id that no secret can have.

    Raises:
        errors.InvalidArgument: it is empty, longer than 255 characters or has others than letters, digits, _ and -.
    """
    if not _SECRET_ID.fullmatch(identifier):
        raise errors.InvalidArgument.at(
            "secret_id",
            f"The provided Secret ID [{identifier[:300]}] does not match the expected format [[a-zA-Z_0-9-]+] with at "
            "most 255 characters.",
        )


def check_replication(replication: Mapping[str, Any] | None) -> None:
    """Refuse a replication that is missing or cannot be.

    Raises:
        errors.InvalidArgument: Naming the field.
    """
    if not replication:
        raise errors.InvalidArgument.at("secret.replication", "Secret.replication must be specified.")
    keys: list[tuple[str, str]] = []
    automatic = at_path(replication, ("automatic", "customerManagedEncryption", "kmsKeyName"))
    if automatic is not None:
        keys.append((automatic, "global"))
    if "userManaged" in replication:
        keys += _checked_replicas(replication["userManaged"].get("replicas", []))
    for key, place in keys:
        match = _KMS_KEY.fullmatch(key)
        if match is None or match[1] != place:
            raise errors.InvalidArgument.at(
                "secret.replication", f"The KMS key [{key}] is no key in location [{place}], where the replica is."
            )


def _checked_replicas(replicas: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """The keys of user-managed replicas, each with the location where it must be."""
    field = "secret.replication.user_managed.replicas"
    places = [replica.get("location", "") for replica in replicas]
    if not places:
        raise errors.InvalidArgument.at(field, "UserManaged.replicas must have at least one replica.")
    for place in places:
        if place not in LOCATIONS or "-" not in place:
            raise errors.InvalidArgument.at(field, f"Invalid replica location [{place[:100]}].")
    if len(set(places)) != len(places):
        raise errors.InvalidArgument.at(field, "UserManaged.replicas must not name a location twice.")
    managed = [replica.get("customerManagedEncryption", {}).get("kmsKeyName") for replica in replicas]
    if any(managed) and not all(managed):
        raise errors.InvalidArgument.at(field, "Either every replica has a customer-managed key or none has.")
    return [(key, place) for key, place in zip(managed, places, strict=True) if key]
