"""What can be asked of a registry: an image's reference and its platform, parsed once and refused early.

It knows the grammar of the OCI distribution specification and how Chainguard names images. It calls nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from cgrunbook.errors import ParameterError
from cgrunbook.redaction import one_line

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
_PLATFORM = re.compile(r"([a-z0-9]+)/([a-z0-9_]+)(?:/([a-z0-9.]+))?")

# An organisation is named by a domain (example.com/chainguard-base), so a dot does not make a registry; these do.
_REGISTRY = re.compile(
    r"(?:[^/]*\.)?(?:cgr\.dev|pkg\.dev|gcr\.io|docker\.io|docker\.com|ghcr\.io|quay\.io|registry\.k8s\.io|azurecr\.io"
    r"|mcr\.microsoft\.com|public\.ecr\.aws|amazonaws\.com|localhost)(?::[0-9]*)?|[^/]*:[0-9]+|[0-9.]+|\[.*\](?::[0-9]+)?"
)
_EXAMPLE = "chainguard/go:latest"
_LONGEST_REPOSITORY = 255


def is_digest(text: str) -> bool:
    """Whether a text is a whole digest that can be checked here: sha256 or sha512, lower-case hex."""
    return _DIGEST.fullmatch(text) is not None


@dataclass(frozen=True)
class ImageReference:
    """An image's name inside a registry; the registry itself is never part of it.

    Args:
        repository: the path, such as "chainguard/go" or "example.com/chainguard-base".
        tag: the tag, "" when only a digest was given.
        digest: "sha256:...", "" when only a tag was given. It wins over the tag, as with docker.
    """

    repository: str
    tag: str = ""
    digest: str = ""

    @classmethod
    def parse(cls, text: str) -> ImageReference:
        """Read `ORGANISATION/IMAGE[:TAG][@DIGEST]`; neither tag nor digest means `latest`.

        Raises:
            ParameterError: it breaks the grammar, or starts with a registry; says the nearest right form where it can.
        """
        rest = without_registry(text)
        if rest is not None:
            raise _refused(text, "names a registry; the runbook chooses the registry itself", rest)
        name, _, digest = text.partition("@")
        repository, colon, tag = name.partition(":")
        if "@" in text and not is_digest(digest):
            raise _refused(text, "has a digest that is not sha256: and 64 (or sha512: and 128) lower-case hex digits")
        if not _REPOSITORY.fullmatch(repository):
            raise _refused(
                text, "breaks the rule for a repository: lower-case letters, digits, '.', '_', '-' between '/'", text
            )
        if len(repository) > _LONGEST_REPOSITORY:
            raise _refused(text, f"has a repository of more than {_LONGEST_REPOSITORY} characters")
        if colon and not _TAG.fullmatch(tag):
            raise _refused(text, "has a tag that is not 1 to 128 letters, digits, '.', '_', '-'", repository)
        if "/" not in repository:
            raise _refused(text, "names no organisation", f"chainguard/{text}")
        return cls(repository, tag if colon or digest else "latest", digest)

    @property
    def reference(self) -> str:
        """What is asked of the registry: the digest where there is one, else the tag."""
        return self.digest or self.tag

    @property
    def organization(self) -> str:
        """The first part of the path: "chainguard" for the public images."""
        return self.repository.partition("/")[0]

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.repository}{tag}@{self.digest}" if self.digest else f"{self.repository}{tag}"


@dataclass(frozen=True)
class Platform:
    """What an image runs on.

    Args:
        text: "OS/ARCHITECTURE" or "OS/ARCHITECTURE/VARIANT", such as "linux/amd64".

    Raises:
        ParameterError: the text has another form.
    """

    text: str

    def __post_init__(self) -> None:
        if not _PLATFORM.fullmatch(self.text):
            raise ParameterError(
                f"The platform {one_line(self.text, 80)!r} is not OS/ARCHITECTURE or OS/ARCHITECTURE/VARIANT.",
                "Write it as in linux/amd64 or linux/arm64.",
            )

    @property
    def os(self) -> str:
        """The operating system, such as "linux"."""
        return self.text.split("/")[0]

    @property
    def architecture(self) -> str:
        """The processor, such as "amd64"."""
        return self.text.split("/")[1]

    @property
    def variant(self) -> str:
        """The processor's variant, such as "v8"; "" when none was given."""
        return "/".join(self.text.split("/")[2:])

    def __str__(self) -> str:
        return self.text


def without_registry(text: str) -> str | None:
    """The rest of a reference that starts with a registry; None where it does not."""
    _, separator, rest = text.partition("://")
    if separator:
        return without_registry(rest) or rest.partition("/")[2]
    first, slash, rest = text.partition("/")
    if not slash:
        return None
    if _REGISTRY.fullmatch(first.lower()):
        if not first.lower().endswith("pkg.dev"):
            return rest
        # There come the project and the repository, which the runbook adds by itself; a domain's project is DOMAIN/PROJECT.
        project, *behind = rest.split("/")
        return "/".join(behind[2 if "." in project else 1 :])
    second, deeper, _ = rest.partition("/")
    # Chainguard's paths have the organisation first: a domain before one is somebody's registry.
    if deeper and "." in first and (second == "chainguard" or "." in second):
        return rest
    return None


def _refused(text: str, rule: str, nearest: str = "") -> ParameterError:
    """The error, with the nearest right form where one can be found."""
    suggestion = _EXAMPLE
    for candidate in (nearest, nearest.strip().lower(), nearest.strip().lower().strip("/")):
        try:
            if candidate and candidate != text:
                suggestion = str(ImageReference.parse(candidate))
                break
        except ParameterError:
            continue
    return ParameterError(f"The image reference {one_line(text, 120)!r} {rule}.", f"Write it as in {suggestion}.")
