"""What is written on a secret about the pull tokens in it: whose password each version is, and who is making one.

A pull token is a pair. Its password goes into a secret's version; its username is not secret, changes with each token, and
must be known for each version, or the two cannot be put into a repository together. Secret Manager's versions have no room
for it, so it stands in the secret's annotations. While a token is being made they also carry a claim: whatever moment a
run is killed at, the next one knows which token nobody holds.

It knows the annotations' forms, and calls nobody.
"""

from __future__ import annotations

import hashlib
import json
import platform
import secrets
import shlex
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta

from cgrunbook.cloud.secret_manager import SecretResource
from cgrunbook.errors import WrongState
from cgrunbook.home import home, made

VERSION_ANNOTATION = "cgrunbook.version-"
_CLAIM_ANNOTATION = "cgrunbook.claim"

# A claim by another machine that is older than this was left by a run that died.
CLAIM_LASTS = timedelta(minutes=10)


@dataclass(frozen=True)
class Pair:
    """A username and the version that holds the password to it.

    Args:
        username: the pull token's username, a Chainguard identity's id.
        version: the secret version's number.
        expires: when the token ends; None when nobody wrote it down.
        since: when a rotation had put it into every repository and proved it; None for a pair that no rotation made.
    """

    username: str
    version: int
    expires: datetime | None
    since: datetime | None = None

    def ended(self, now: datetime) -> bool:
        """Whether the token's time is known to be over."""
        return self.expires is not None and self.expires <= now


@dataclass(frozen=True)
class Claim:
    """Somebody is making a token for this secret right now, or died doing so.

    Args:
        by: which installation of cgrunbook.
        at: since when.
        known: the highest version there was.
        username: the token's username, once it exists.
        expires: when that token ends.
    """

    by: str
    at: datetime
    known: int
    username: str = ""
    expires: datetime | None = None

    @classmethod
    def of_this_machine(cls, known: int) -> Claim:
        """One that is made now. A lock file keeps the runs of one home on one machine apart."""
        return cls(_installation(), datetime.now(UTC), known)

    @property
    def elsewhere(self) -> bool:
        """Whether another machine made it, and may still be at work."""
        return self.by != _installation() and self.at > datetime.now(UTC) - CLAIM_LASTS


def pairs(secret: SecretResource) -> dict[int, Pair]:
    """The pairs written down on a secret, by version number; what is no pull token's username is nobody's to be revoked."""
    found = {}
    for key, value in secret.annotations.items():
        number = _version_of(key)
        username, expires, since = (*value.split(), "", "", "")[:3]
        if number is not None and organization_of(username):
            found[number] = Pair(username, number, _end(expires), _end(since))
    return found


def organization_of(username: str) -> str:
    """The id of the organisation that a pull token's username begins with, "" where it has another form."""
    organization, slash, token = username.partition("/")
    return organization if slash and len(organization) == 40 and len(token) == 16 else ""


def claim_on(secret: SecretResource) -> Claim | None:
    """The claim on a secret, None where nobody is making a token for it.

    Raises:
        WrongState: what stands there is no claim of cgrunbook's.
    """
    if _CLAIM_ANNOTATION not in secret.annotations:
        return None
    try:
        fields = json.loads(secret.annotations[_CLAIM_ANNOTATION])
        expires = _aware(fields["expires"]) if fields["expires"] else None
        return Claim(str(fields["by"]), _aware(fields["at"]), int(fields["known"]), str(fields["username"]), expires)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise WrongState(
            f"The annotation {_CLAIM_ANNOTATION} of the secret {secret.id} is none that cgrunbook has written, so that nobody "
            "can tell whether a pull token is being made for it.",
            f"Where no run is at work, take it away: gcloud secrets update {secret.id} --project={secret.name.split('/')[1]} "
            f"--remove-annotations={_CLAIM_ANNOTATION}",
        ) from error


def _aware(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def with_claim(secret: SecretResource, claim: Claim) -> SecretResource:
    """The secret with this claim on it."""
    expires = claim.expires.isoformat() if claim.expires else ""
    fields = asdict(claim) | {"at": claim.at.isoformat(), "expires": expires}
    return replace(secret, annotations={**secret.annotations, _CLAIM_ANNOTATION: json.dumps(fields)})


def without_claim(secret: SecretResource) -> SecretResource:
    """The secret with its claim given up."""
    kept = {key: value for key, value in secret.annotations.items() if key != _CLAIM_ANNOTATION}
    return replace(secret, annotations=kept)


def with_pair(secret: SecretResource, pair: Pair, there: Collection[int]) -> SecretResource:
    """The secret with a pair written down and its claim given up; what was said of versions that are gone goes.

    Args:
        secret: as it is.
        pair: what is stored now.
        there: the numbers of the versions that are not destroyed.
    """
    said = without_claim(secret).annotations
    kept = {key: value for key, value in said.items() if _version_of(key) in (None, *there)}
    return replace(secret, annotations={**kept, f"{VERSION_ANNOTATION}{pair.version}": written(pair)})


def without_pairs(secret: SecretResource, versions: Collection[int]) -> SecretResource:
    """The secret with nothing said of these versions any more."""
    kept = {key: value for key, value in secret.annotations.items() if _version_of(key) not in versions}
    return replace(secret, annotations=kept)


def written(pair: Pair) -> str:
    """A pair as the annotation has it, plain enough for a person to write with gcloud: `USERNAME EXPIRES`, then since when."""
    if pair.since is None:
        return f"{pair.username} {pair.expires.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" if pair.expires else pair.username
    expires = f"{pair.expires.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" if pair.expires else "-"
    return f"{pair.username} {expires} {pair.since.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"


def as_gcloud_takes_them(annotations: Mapping[str, str]) -> str:
    """The beginning of a list of annotations as a word of the shell, for gcloud, which separates by a comma or says by what."""
    items = [f"{key}={value}" for key, value in sorted(annotations.items()) if key != _CLAIM_ANNOTATION]
    separator = next(mark for mark in ",;|#~" if not any(mark in item for item in items) or mark == "~")
    beginning = "" if separator == "," else f"^{separator}^"
    return shlex.quote(beginning + "".join(item + separator for item in items)) if items else ""


def _version_of(annotation: str) -> int | None:
    number = annotation.removeprefix(VERSION_ANNOTATION)
    return int(number) if annotation.startswith(VERSION_ANNOTATION) and number.isdecimal() else None


def _end(text: str) -> datetime | None:
    """When a token ends, by what a run or a person wrote down; None when that says no time."""
    try:
        end = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return end if end.tzinfo else end.replace(tzinfo=UTC)


def _installation() -> str:
    """Which runs one lock keeps apart: those of a home on a machine. Containers may all have one host name, and a home each."""
    from filelock import FileLock

    locks = made(home() / "locks")
    path = locks / "installation"
    with FileLock(locks / "installation.lock"):
        if not (known := path.read_text(encoding="ascii") if path.exists() else ""):
            known = secrets.token_hex(8)
            path.write_text(known, encoding="ascii")
    return hashlib.sha256(f"{platform.node()} {known}".encode()).hexdigest()[:12]


def same_end(listed: datetime | None, expires: datetime) -> bool:
    """Whether a listed token may be the one of a password; the two ends are written down by different parties."""
    return listed is None or abs(listed - expires) < timedelta(minutes=1)
