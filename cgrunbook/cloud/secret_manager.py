"""Secret Manager's secrets of one project: the secret, its versions, and who may read them.

It knows the API's shapes, checksums, etags and states. It does not know what a value means, and
shows none.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import google_crc32c
from google.cloud import secretmanager_v1 as sm

from cgrunbook.cloud.google_service import CALL, GoogleService, client
from cgrunbook.cloud.iam_policy import Policy, add_member, read_policy
from cgrunbook.errors import (
    AlreadyExists,
    Conflict,
    InvalidRequest,
    PermissionMissing,
    ServiceError,
    Temporary,
    WrongState,
)
from cgrunbook.redaction import Secret

# At DEBUG (GOOGLE_SDK_PYTHON_LOGGING_SCOPE turns it on from outside) these log every request's payload, base64 and all.
for _logger in ("client", "transports.rest", "transports.rest_base"):
    logging.getLogger(f"google.cloud.secretmanager_v1.services.secret_manager_service.{_logger}").disabled = True

# The service's limit for one version's payload, in bytes.
_LARGEST_PAYLOAD = 64 * 1024


@dataclass(frozen=True)
class Rotation:
    """When Secret Manager reminds of a rotation; it sends a notice to the topics and rotates nothing.

    Args:
        next_time: when the next notice is sent; at least 5 minutes ahead.
        period: time between notices, at least an hour; None for a single one.
    """

    next_time: dt.datetime
    period: dt.timedelta | None = None


@dataclass(frozen=True)
class SecretResource:
    """A secret without its values, as Secret Manager has it or as it is wanted.

    Args:
        name: projects/P/secrets/S; as it comes from the service, P is the project's number.
        labels: at most 64.
        annotations: at most 16 KiB.
        replication: the locations that hold the values; empty for automatic. Cannot be changed later.
        expire_time: when the service deletes the secret with all its versions; None for never.
        topics: Pub/Sub topics that are told of events, as projects/P/topics/T; at least one with a rotation.
        rotation: when to remind; None for never.
        aliases: numbers of versions by the names that others gave them; read only.
        etag: changes with each change; a change made with an old one is refused.
    """

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    replication: tuple[str, ...] = ()
    expire_time: dt.datetime | None = None
    topics: tuple[str, ...] = ()
    rotation: Rotation | None = None
    aliases: Mapping[str, int] = field(default_factory=dict)
    etag: str = ""

    @property
    def id(self) -> str:
        """The last part of the name."""
        return self.name.rpartition("/")[2]


@dataclass(frozen=True)
class SecretVersion:
    """One version of a secret, without its value.

    Args:
        name: projects/P/secrets/S/versions/N; as it comes from the service, P is the project's number.
        number: N, from 1 up, never used twice.
        state: "ENABLED", "DISABLED" or "DESTROYED".
        going: it is disabled and will be destroyed at a time: the secret wants each destruction to wait so long.
    """

    name: str
    number: int
    state: str
    going: bool = False

    @property
    def enabled(self) -> bool:
        """Whether its value can be read."""
        return self.state == "ENABLED"


class SecretManager(GoogleService):
    """The global secrets of the connection's project: Artifact Registry takes no regional ones (its pattern has no location)."""

    @cached_property
    def _client(self) -> Any:
        return client(sm.SecretManagerServiceClient, self.connection, self.connection.secret_manager)

    def name(self, secret_id: str) -> str:
        """A secret's full name, with the project's id."""
        return f"projects/{self.connection.project_id}/secrets/{secret_id}"

    def version_name(self, secret_id: str, version: int | str) -> str:
        """A version's full name, with the project's id."""
        return f"{self.name(secret_id)}/versions/{version}"

    def get(self, secret_id: str) -> SecretResource | None:
        """Read one secret, without its values; None when there is none of this name."""
        raw = self._read(secret_id)
        return None if raw is None else _secret(raw)

    def create(self, wanted: SecretResource) -> SecretResource:
        """Create a secret with no version, and read it back.

        A request whose answer was lost is sent again; when the service then says that the secret exists, what is there
        is compared with what was wanted.

        Raises:
            AlreadyExists: the name is taken.
        """
        doing = f"create the secret {wanted.id}"
        request = sm.CreateSecretRequest(
            parent=f"projects/{self.connection.project_id}", secret_id=wanted.id, secret=_message(wanted)
        )

        def arrived() -> SecretResource:
            raw = self._read_back(doing, f"the secret {wanted.id}", lambda: self._read(wanted.id))
            if _sent(raw) != request.secret:
                raise AlreadyExists(
                    f"Tried to {doing}. Somebody else made one of this name meanwhile, with other settings.",
                    f"Look at it: gcloud secrets describe {wanted.id} --project={self.connection.project_id}",
                )
            return _secret(raw)

        self._send_once(
            doing, lambda: self._client.create_secret(request, **CALL), arrived=arrived, noticed=(AlreadyExists,)
        )
        return self._must_get(wanted.id, doing)

    def update(self, before: SecretResource, wanted: SecretResource) -> SecretResource:
        """Change what may change, unless somebody changed the secret since it was read; answers it as it is then.

        Args:
            before: the secret as it was read; its etag guards the change.
            wanted: the same with changed labels, annotations, topics, rotation or expiry; nothing else can change, and
                nothing else is looked at.

        Raises:
            Conflict: it was changed in between; nothing was overwritten.
        """
        doing = f"change the secret {before.id}"
        changeable = ("labels", "annotations", "topics", "rotation", "expire_time")
        mask = [path for path in changeable if getattr(before, path) != getattr(wanted, path)]
        if not mask:
            return before
        message = _message(wanted)
        del message.replication
        message.name = self.name(before.id)
        message.etag = before.etag
        request = sm.UpdateSecretRequest(secret=message, update_mask={"paths": mask})

        def arrived() -> SecretResource | None:
            there = self._must_get(before.id, doing)
            return there if all(getattr(there, path) == getattr(wanted, path) for path in mask) else None

        changed = self._send_once(
            doing, lambda: self._client.update_secret(request, **CALL), arrived=arrived, noticed=(Conflict,)
        )
        return changed if isinstance(changed, SecretResource) else _secret(changed)

    def delete(self, secret_id: str) -> bool:
        """Delete a secret with all its versions, at once and for good; False when it was not there to begin with."""
        doing = f"delete the secret {secret_id}"
        request = sm.DeleteSecretRequest(name=self.name(secret_id))

        def delete() -> None:
            self._repeat(doing, lambda: self._client.delete_secret(request, **CALL))

        return self._remove(doing, lambda: self.get(secret_id), delete)

    def versions(self, secret_id: str) -> tuple[SecretVersion, ...]:
        """A secret's versions, the newest first, destroyed ones included.

        Raises:
            NotFound: there is no such secret.
        """
        request = sm.ListSecretVersionsRequest(parent=self.name(secret_id), page_size=250)
        doing = f"list the versions of the secret {secret_id}"
        found = self._repeat(doing, lambda: [*self._client.list_secret_versions(request, **CALL)])
        return tuple(sorted((_version(raw) for raw in found), key=lambda version: version.number, reverse=True))

    def version(self, secret_id: str, version: int | str) -> SecretVersion | None:
        """One version by its number or "latest", without its value; None when there is none, or no such secret."""
        request = sm.GetSecretVersionRequest(name=self.version_name(secret_id, version))
        doing = f"read version {version} of the secret {secret_id}"
        raw = self._find(doing, lambda: self._client.get_secret_version(request, **CALL))
        return None if raw is None else _version(raw)

    def add_version(self, secret_id: str, payload: Secret, *, known: int | None = None) -> SecretVersion:
        """Store a value as a new version; the service checks its checksum.

        Adding is not idempotent, so an answer that was lost must not lead to a second version: before another attempt
        the versions are listed, and one that appeared since is taken for ours only when its value is equal.

        Args:
            payload: the value, 1 to 65,536 bytes of UTF-8, without white space around it.
            known: the highest version there was, where that was just read; None reads it.

        Raises:
            InvalidRequest: the value is empty, too long or has white space around it; nothing was sent.
            NotFound: there is no such secret.
            Conflict: an answer was lost, and whether the version that appeared is ours cannot be told.
            ServiceError: the service could not confirm the checksum; the version has been destroyed again.
        """
        doing = f"add a version to the secret {secret_id}"
        data = _checked_payload(payload, doing)
        checksum = google_crc32c.value(data)
        request = sm.AddSecretVersionRequest(
            parent=self.name(secret_id), payload=sm.SecretPayload(data=data, data_crc32c=checksum)
        )
        before = max((version.number for version in self.versions(secret_id)), default=0) if known is None else known
        added = self._send_once(
            doing,
            lambda: self._client.add_secret_version(request, **CALL),
            arrived=lambda: self._arrived(secret_id, before, payload, doing),
        )
        if isinstance(added, SecretVersion):
            return added
        version = _version(added)
        if not added.client_specified_payload_checksum:
            self.destroy(secret_id, version.number)
            raise ServiceError(
                f"Tried to {doing}. The service did not confirm the checksum of version {version.number}, which may "
                "have been damaged on the way; it has been destroyed again.",
                "Run again.",
            )
        return version

    def access(self, secret_id: str, version: int | str = "latest") -> Secret:
        """Read the value of a version; arguments and errors as of `access_numbered`."""
        return self.access_numbered(secret_id, version)[1]

    def access_numbered(self, secret_id: str, version: int | str) -> tuple[int, Secret]:
        """Read the value of a version, given by its number, "latest" or an alias, and which it is; its checksum is compared.

        Raises:
            NotFound: there is no such secret or version.
            WrongState: the version is disabled or destroyed, or its value is no text.
            PermissionMissing: the caller lacks secretmanager.versions.access.
        """
        doing = f"read the value of version {version} of the secret {secret_id}"
        request = sm.AccessSecretVersionRequest(name=self.version_name(secret_id, version))

        def attempt() -> tuple[int, bytes]:
            answer = self._once(doing, lambda: self._client.access_secret_version(request, **CALL))
            payload = answer.payload
            data = bytes(payload.data)
            if "data_crc32c" in payload and payload.data_crc32c != google_crc32c.value(data):
                raise Temporary(f"Tried to {doing}. The bytes that came do not match their checksum.", "Run again.")
            return int(answer.name.rpartition("/")[2]), data

        number, data = self.attempts.run(attempt, reason=f"another attempt to {doing}")
        try:
            return number, Secret(data.decode())
        except UnicodeDecodeError:
            # Not chained: the original error carries the bytes.
            raise WrongState(
                f"Tried to {doing}. It is no UTF-8 text, so it cannot be a password.",
                "Store the right value as a new version.",
            ) from None

    def enable(self, secret_id: str, version: int) -> SecretVersion:
        """Let a version's value be read again."""
        return self._set_state("enable", secret_id, version)

    def disable(self, secret_id: str, version: int) -> SecretVersion:
        """Keep a version's value from being read, until it is enabled again."""
        return self._set_state("disable", secret_id, version)

    def destroy(self, secret_id: str, version: int, *, there: bool = False) -> SecretVersion:
        """Destroy a version's value for good, once; where the secret delays this, it is disabled until then.

        Args:
            there: it was just seen that it is not destroyed.
        """
        request = {"name": self.version_name(secret_id, version)}
        doing = f"destroy version {version} of the secret {secret_id}"

        def arrived() -> SecretVersion | None:
            found = self.version(secret_id, version)
            return found if found is not None and found.state == "DESTROYED" else None

        if not there and (gone := arrived()) is not None:
            return gone
        done = self._send_once(
            doing,
            lambda: self._client.destroy_secret_version(request=request, **CALL),
            arrived=arrived,
            noticed=(WrongState,),
        )
        return done if isinstance(done, SecretVersion) else _version(done)

    def get_policy(self, secret_id: str) -> Policy:
        """Who has which role on a secret; what is inherited from the project is not part of it."""
        return read_policy(self._read_policy(self.name(secret_id), f"read the IAM policy of the secret {secret_id}"))

    def grant(self, secret_id: str, member: str, role: str, *, introduce: Callable[[], object] | None = None) -> Policy:
        """Give a member a role on a secret; other bindings and all conditions stay as they are.

        A member that IAM does not know yet (a service agent made a moment ago) is waited for, visibly.

        Args:
            introduce: makes the member, where IAM says that it does not know it; called once at most.

        Returns:
            The policy as it is read after; the grant itself takes a moment more to take effect.
        """
        doing = f"give {member} the role {role} on the secret {secret_id}"
        return self._change_policy(
            self.name(secret_id),
            doing,
            lambda raw: add_member(raw, member, role),
            lambda policy: policy.grants(member, role),
            introduce=introduce,
        )

    def revoke_grant(self, secret_id: str, member: str, role: str) -> Policy:
        """Take a role on a secret from a member; other bindings and all conditional ones stay as they are."""
        doing = f"take the role {role} on the secret {secret_id} from {member}"
        return self._revoke_grant(self.name(secret_id), doing, member, role)

    def _read(self, secret_id: str) -> Any:
        """The client's own message, None when there is no such secret."""
        request = sm.GetSecretRequest(name=self.name(secret_id))
        return self._find(f"read the secret {secret_id}", lambda: self._client.get_secret(request, **CALL))

    def _must_get(self, secret_id: str, doing: str) -> SecretResource:
        return self._read_back(doing, f"the secret {secret_id}", lambda: self.get(secret_id))

    def _arrived(self, secret_id: str, known: int, payload: Secret, doing: str) -> SecretVersion | None:
        """The version that an unanswered request has added; None when it has added none."""
        for version in self.versions(secret_id):
            if version.number <= known or not version.enabled:
                continue
            try:
                equal = self.access(secret_id, version.number) == payload
            except PermissionMissing as error:
                raise Conflict(
                    f"Tried to {doing}. The answer was lost; version {version.number} has appeared since, and whether "
                    "it is the one cannot be told without reading it.",
                    f"Destroy it, then run again: gcloud secrets versions destroy {version.number} "
                    f"--secret={secret_id} --project={self.connection.project_id}",
                ) from error
            if equal:
                return version
        return None

    def _set_state(self, verb: str, secret_id: str, version: int) -> SecretVersion:
        """Enable or disable; each may be repeated."""
        method = getattr(self._client, f"{verb}_secret_version")
        request = {"name": self.version_name(secret_id, version)}
        doing = f"{verb} version {version} of the secret {secret_id}"
        return _version(self._repeat(doing, lambda: method(request=request, **CALL)))


def _checked_payload(payload: Secret, doing: str) -> bytes:
    """The value's bytes, refused where the service would refuse them or the upstream would not take them."""
    text = payload.reveal()
    data = text.encode()
    problem = ""
    if not text.strip():
        problem = "The value is empty."
    elif text != text.strip():
        problem = "The value begins or ends with white space or a newline, which would become part of the password."
    elif len(data) > _LARGEST_PAYLOAD:
        problem = f"The value has {len(data)} bytes; a version takes at most {_LARGEST_PAYLOAD}."
    if problem:
        raise InvalidRequest(
            f"Tried to {doing}. {problem} Nothing was sent.",
            "Give the value alone, as it was created, without a newline.",
        )
    return data


def _sent(raw: Any) -> Any:
    """The message that makes a secret like one that was read: without what the service alone says."""
    message = sm.Secret(raw)
    for field_of_the_service in ("name", "create_time", "etag"):
        delattr(message, field_of_the_service)
    return message


def _secret(raw: Any) -> SecretResource:
    """Read the client's message."""
    rotation = raw.rotation
    return SecretResource(
        name=raw.name,
        labels=dict(raw.labels),
        annotations=dict(raw.annotations),
        replication=tuple(replica.location for replica in raw.replication.user_managed.replicas),
        expire_time=raw.expire_time,
        topics=tuple(topic.name for topic in raw.topics),
        rotation=Rotation(rotation.next_rotation_time, rotation.rotation_period or None)
        if "next_rotation_time" in rotation
        else None,
        aliases=dict(raw.version_aliases),
        etag=raw.etag,
    )


def _version(raw: Any) -> SecretVersion:
    """Read the client's message."""
    return SecretVersion(
        name=raw.name,
        number=int(raw.name.rpartition("/")[2]),
        state=getattr(raw.state, "name", str(raw.state)),
        going=bool(raw.scheduled_destroy_time),
    )


def _message(wanted: SecretResource) -> Any:
    """The client's message for a secret that is wanted."""
    replicas = [{"location": location} for location in wanted.replication]
    rotation = wanted.rotation
    return sm.Secret(
        labels=dict(wanted.labels),
        annotations=dict(wanted.annotations),
        topics=[{"name": topic} for topic in wanted.topics],
        replication={"user_managed": {"replicas": replicas}} if replicas else {"automatic": {}},
        expire_time=wanted.expire_time,
        rotation={"next_rotation_time": rotation.next_time, "rotation_period": rotation.period} if rotation else None,
    )
