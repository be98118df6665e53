"""What a registry's refusal means: cgr.dev's and Artifact Registry's answers, turned into sentences and remedies.

It knows statuses, codes and texts (the vendor's table of registry errors; Artifact Registry's troubleshooting page for
remote repositories). It sends nothing, decides by parts of a text only where the code alone does not tell, and leaves to
retry.py which statuses pass.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from cgrunbook.cloud import alike, apis, retry
from cgrunbook.cloud.caller import UNKNOWN, spoken, to_fill_in
from cgrunbook.cloud.iam_policy import grant_command, let_read_command
from cgrunbook.cloud.roles import PULL, READ_SECRET
from cgrunbook.errors import (
    CgrunbookError,
    ImageNotAvailable,
    NotFound,
    NotSignedIn,
    PerimeterDenied,
    PermissionMissing,
    PrerequisiteMissing,
    RegistryError,
    Temporary,
    UpstreamCredentialsRefused,
    WrongState,
)
from cgrunbook.redaction import Secret, one_line

# Where a registry refused: the exchange of credentials for a token, or the registry itself. The same status means
# different things at the two, so every sentence names it.
Step = Literal["token", "/v2/"]

_LONGEST_CODE = 100
_SECRET = re.compile(r"projects/([^/\s'\"]+)/secrets/([\w-]+)")
_OF_DIGESTS = (
    "A digest that was given by hand: check it, and that it is this image's. One that the image itself names: the image is not "
    "whole there, which whoever runs the registry has to know."
)
_UPSTREAM_STATUS = re.compile(r"status code\D{0,20}(\d{3})")


class Whose(Protocol):
    """Whose Google credentials a registry is called with."""

    @property
    def caller(self) -> str:
        """As an IAM member."""

    @property
    def sign_in(self) -> str:
        """What is done when they are not accepted."""

    def just_enabled(self, api: str) -> bool:
        """Whether an API was turned on so short a time ago that its hosts may not know yet."""

    def forget(self, token: Secret) -> None:
        """Told of an access token that was refused, so that there is a fresh one the next time."""


@dataclass(frozen=True)
class Refusal:
    """One answer that was not what was asked for.

    Args:
        host: the registry's name, such as "cgr.dev".
        step: "token" or "/v2/".
        subject: what was asked for, to begin a sentence with: "chainguard/go:latest".
        repository: the repository's path in that registry.
        status: the HTTP status.
        code: the error's code, such as "MANIFEST_UNKNOWN"; "" when the answer had none.
        message: the error's text; "" when the answer had none.
        signed_in: whether credentials were sent.
        whose: who knows whose they are; None where they are not Google's.
        by_digest: whether a digest was asked for, and not a tag.
    """

    host: str
    step: Step
    subject: str
    repository: str
    status: int
    code: str
    message: str
    signed_in: bool
    whose: Whose | None = None
    by_digest: bool = False

    @property
    def sentence(self) -> str:
        """What was tried and what came back."""
        where = f"{self.host}'s token endpoint" if self.step == "token" else f"{self.host}/v2/"
        code = f" {self.code}" if self.code else ""
        text = f": {self.message.rstrip('.')}" if self.message else ""
        return f"{self.subject}: {where} answered {self.status}{code}{text}."


def read_error(body: bytes) -> tuple[str, str]:
    """Find code and message in an error's body.

    Args:
        body: the registry's `{"errors": [...]}`, Google's `{"error": {...}}`, a token endpoint's `{"details": ...}`,
            or anything else.

    Returns:
        Code and message, each "" where there is none; the message is one line of at most 400 characters.
    """
    text = body.decode("utf-8", "replace")
    try:
        document: Any = json.loads(text)
    except (ValueError, RecursionError):
        # HTML is a proxy's error page: its title says more than its mark-up.
        title = re.search(r"<title>(.*?)</title>", text, re.IGNORECASE | re.DOTALL)
        plain = title.group(1) if title else re.sub(r"<[^>]*>", " ", text)
        return "", one_line(plain)
    if not isinstance(document, dict):
        return "", ""
    errors = document.get("errors")
    first = errors[0] if isinstance(errors, list) and errors else document.get("error", document)
    if isinstance(first, str):
        return one_line(first, _LONGEST_CODE), one_line(str(document.get("error_description", "")))
    if not isinstance(first, dict):
        return "", ""
    code = first.get("code") if isinstance(first.get("code"), str) else first.get("status")
    message = next((first[key] for key in ("message", "details", "detail") if isinstance(first.get(key), str)), "")
    return one_line(code if isinstance(code, str) else "", _LONGEST_CODE), one_line(message)


def refused(refusal: Refusal) -> CgrunbookError:
    """The error to raise for a refusal; `Temporary` exactly where another attempt may succeed."""
    error = _artifact_registry(refusal) if refusal.host.endswith("pkg.dev") else _chainguard(refusal)
    error.answered = refusal.step, refusal.status, refusal.code
    return error


def _chainguard(refusal: Refusal) -> CgrunbookError:
    """cgr.dev, and any registry that follows the specification."""
    said = refusal.sentence
    organization = refusal.repository.partition("/")[0]
    if refusal.status in retry.HTTP_STATUSES:
        return Temporary(
            said,
            "Wait and try again; https://status.cgr.dev says whether cgr.dev is down.",
            debugging=1,
            code="cgr-throttled" if refusal.status == 429 else "cgr-failing",
        )
    if refusal.step == "token" and refusal.status == 400:
        return ImageNotAvailable(
            f"{said} The organisation {organization!r} is not known there.",
            "Check the organisation's name, the first part of the image: chainctl iam organizations list",
            debugging=3,
            code="cgr-organization",
        )
    if refusal.status == 401 or (refusal.status == 403 and refusal.step == "token"):
        if refusal.signed_in:
            return UpstreamCredentialsRefused(
                f"{said} The registry does not say which it is: the pull token is wrong, expired or revoked, its "
                f"username has the wrong form, or it may not pull {refusal.repository!r}, which may not even exist.",
                f"See whether the token is still listed: chainctl auth pull-token list --parent {organization}; "
                "if not, or if it expired, create a new one and store username and password together (notebook 03).",
                debugging=3,
                code="cgr-forbidden",
            )
        return ImageNotAvailable(
            f"{said} It is not public, or it does not exist; without credentials the registry does not tell which.",
            _asking(
                alike.free_image(refusal.repository),
                "Check the image's name; a production image needs a pull token (notebook 03).",
            ),
            debugging=3,
            code="cgr-nobody" if refusal.status == 401 else "cgr-not-free",
        )
    if refusal.status == 403:
        return ImageNotAvailable(
            f"{said} The credentials are good, but the image is not in the catalogue of {organization!r}, or the pull "
            "token's identity lacks the role registry.pull.",
            f"See which images the organisation has: chainctl images repos list --parent {organization}",
            debugging=3,
            code="cgr-capabilities",
        )
    if refusal.status == 404 and refusal.by_digest:
        said = f"{said} There is nothing with this digest for this caller."
        return ImageNotAvailable(said, _OF_DIGESTS, debugging=3, code="cgr-manifest-unknown")
    if refusal.status == 404:
        return ImageNotAvailable(
            f"{said} There is no such image or tag for this caller; the free images have only latest and latest-dev.",
            _asking(
                alike.free_tag(refusal.subject.rpartition(":")[2]),
                "Check image and tag; version tags need a pull token of an organisation that has the image.",
            ),
            debugging=3,
            code="cgr-name-unknown" if refusal.code == "NAME_UNKNOWN" else "cgr-manifest-unknown",
        )
    return RegistryError(
        said, "Try the same image directly with docker pull, and report the answer above.", debugging=3
    )


def _asking(question: str, remedy: str) -> str:
    return f"{question} {remedy}".lstrip()


def _artifact_registry(refusal: Refusal) -> CgrunbookError:
    """LOCATION-docker.pkg.dev: its own refusals, and those of the upstream that it passes on."""
    said = refusal.sentence
    text = refusal.message.lower()
    if "service_disabled" in refusal.code.lower() or "has not been used in project" in text:
        if refusal.whose and refusal.whose.just_enabled(apis.ARTIFACT_REGISTRY):
            return apis.spreading(said)
        api = apis.SECRET_MANAGER if "secret manager" in text else apis.ARTIFACT_REGISTRY
        return apis.disabled(api, _Place.of(refusal).project, said)
    if (of_upstream := _of_upstream(refusal, said, text)) is not None:
        return of_upstream
    if refusal.status in retry.HTTP_STATUSES:
        hint = "Wait a minute and try again." if refusal.status == 429 else "Wait and try again."
        code = {429: "exhausted", 504: "upstream-timeout"}.get(refusal.status, "pkg-failing")
        return Temporary(said, hint, debugging=1 if refusal.status == 504 else 0, code=code)
    if refusal.status == 401 or "unauthenticated request" in text:
        who = spoken(refusal.whose.caller) if refusal.whose else "this caller"
        return NotSignedIn(
            f"{said} Artifact Registry does not take the Google credentials of {who}.",
            refusal.whose.sign_in if refusal.whose else "Sign in to Google again.",
            code="pull-unauthenticated" if "unauthenticated request" in text else "pkg-login-ended",
        )
    if refusal.status == 403:
        return _forbidden(refusal, said, text)
    if refusal.status == 404 and refusal.code == "NAME_UNKNOWN" and "repositor" in text:
        return NotFound(
            f"{said} The repository does not exist in this project and location.",
            "Create it with notebook 02 (public images) or 03 (production images), or check project, location, name.",
            code="repository-unknown",
        )
    if refusal.status == 404:
        what = "nothing with this digest" if refusal.by_digest else "no such image or tag"
        return ImageNotAvailable(
            f"{said} Artifact Registry's upstream has {what} for the repository's credentials.",
            "Try the same image directly at cgr.dev with the same credentials (notebook 04).",
            debugging=3,
            code="pkg-not-found",
        )
    return RegistryError(said, "Try the same image directly at cgr.dev (notebook 04), and report the answer above.")


def _of_upstream(refusal: Refusal, said: str, text: str) -> CgrunbookError | None:
    """What went wrong between Artifact Registry and the upstream; None where the answer speaks of neither."""
    status = _UPSTREAM_STATUS.search(text)
    upstream = int(status.group(1)) if status else 0
    about_upstream = "external repository" in text or "upstream" in text
    refused_there = upstream in (401, 403) or any(word in text for word in ("unauthorized", "forbidden", "credentials"))
    if about_upstream and refused_there:
        return UpstreamCredentialsRefused(
            f"{said} The upstream refuses the username and password that the repository holds.",
            "Try them at cgr.dev directly (notebook 04); then create a new pull token and set username and secret "
            "version together (notebook 03).",
            debugging=3,
            code="upstream-refuses",
        )
    if "secret" in text and any(word in text for word in ("disabled", "destroyed")):
        return WrongState(
            f"{said} The secret version that the repository names cannot be read any more.",
            "Enable the version, or store a new pull token (notebook 03).",
            debugging=3,
            code="secret-destroyed" if "destroyed" in text else "secret-disabled",
        )
    if "secret" in text:
        project = _Place.of(refusal).project
        secret = _SECRET.search(refusal.message)
        where, named = secret.groups() if secret else (project, "SECRET")
        command = let_read_command(named, where, apis.service_agent_of(project))
        return PermissionMissing(
            f"{said} Artifact Registry's service agent cannot read the secret version that holds the password.",
            f"Grant it on the secret (notebook 03 does): {command}",
            permission=READ_SECRET,
            debugging=3,
            code="secret-denied",
        )
    if upstream == 404:
        what = "nothing with this digest" if refusal.by_digest else "no such image or tag"
        return ImageNotAvailable(
            f"{said} The upstream has {what}.",
            "Try it at cgr.dev directly (notebook 04).",
            debugging=3,
            code="upstream-not-found",
        )
    if "redirect url" in text or "misconfigured" in text or "robots.txt" in text:
        return RegistryError(
            f"{said} The repository's upstream is not a registry's root.",
            "The upstream has to be exactly https://cgr.dev/ with no path; it cannot be changed, so create the "
            "repository anew (notebook 02).",
            debugging=2,
            code="upstream-redirect",
        )
    return None


def _forbidden(refusal: Refusal, said: str, text: str) -> PrerequisiteMissing:
    place = _Place.of(refusal)
    if "vpc service controls" in text or "service perimeter" in text or "organization's policy" in text:
        return PerimeterDenied(
            f"{said} A service perimeter keeps Artifact Registry from the upstream.",
            f"gcloud artifacts vpcsc-config allow --project={place.project} --location={place.location}",
            debugging=1,
        )
    member = refusal.whose.caller if refusal.whose else UNKNOWN
    return PermissionMissing(
        f"{said} Pulling needs the permission artifactregistry.repositories.downloadArtifacts, which the role "
        "roles/artifactregistry.reader holds.",
        grant_command(
            f"artifacts repositories add-iam-policy-binding {place.repository} --project={place.project} "
            f"--location={place.location}",
            member,
            "roles/artifactregistry.reader",
        )
        + to_fill_in(member),
        permission=PULL,
        code="pull-denied",
    )


@dataclass(frozen=True)
class _Place:
    """Where a path at docker.pkg.dev leads, for the commands of a remedy."""

    project: str
    location: str
    repository: str

    @classmethod
    def of(cls, refusal: Refusal) -> _Place:
        """Read host and path; a project of a domain, example.com:p, is written example.com/p there."""
        location = refusal.host.removesuffix("docker.pkg.dev").rstrip("-") or "LOCATION"
        first, second, third, *_ = [*refusal.repository.split("/"), "", "", ""]
        project, repository = (f"{first}:{second}", third) if "." in first else (first, second)
        return cls(project or "PROJECT", location, repository or "REPOSITORY")
