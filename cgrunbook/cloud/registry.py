"""A registry as the runbook uses it: what a tag stands for, whether a token is granted, and the verified pull.

It knows the OCI distribution protocol's pull side. How a request travels is in registry_transport.py, what documents
mean in manifests.py, what refusals mean in registry_errors.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from cgrunbook.cloud import blobs
from cgrunbook.cloud import pull as verified
from cgrunbook.cloud.attempts import Attempts
from cgrunbook.cloud.connection import RegistryHost
from cgrunbook.cloud.manifests import ACCEPT, Descriptor
from cgrunbook.cloud.pull import PulledImage, PullProgress
from cgrunbook.cloud.registry_errors import Whose
from cgrunbook.cloud.registry_sign_in import BasicCredentials, Credentials
from cgrunbook.cloud.registry_transport import Errand, RegistryTransport
from cgrunbook.image_reference import Platform, is_digest

__all__ = ["BasicCredentials", "PulledAgain", "Registry", "TokenProbe"]


@dataclass(frozen=True)
class TokenProbe:
    """What a token endpoint said about one repository.

    Args:
        status: 200 granted; at cgr.dev 400 unknown organisation, 401 credentials wanted, 403 refused.
        code: the error's code, "" where there is none.
        message: the error's text, "" where there is none.
    """

    status: int
    code: str
    message: str

    @property
    def granted(self) -> bool:
        """Whether a token was given out."""
        return self.status == 200


@dataclass(frozen=True)
class PulledAgain:
    """How fast a registry is the second time.

    Args:
        digest: what the reference stands for now.
        seconds: until the digest and the first byte of the largest layer were there.
    """

    digest: str
    seconds: float


class Registry:
    """One registry, called by one caller.

    Args:
        host: which registry, and where it answers.
        credentials: a username and password; None for nobody; a function where a fresh pair is needed at each exchange.
        attempts: how long to try what is temporary, who sees the waits, what stops them.
        timeout: seconds that the registry may stay silent; Artifact Registry is silent while it fetches from upstream.
        whose: who knows whose Google credentials these are; None for others.
    """

    def __init__(
        self,
        host: RegistryHost,
        credentials: Credentials = None,
        attempts: Attempts | None = None,
        *,
        timeout: float = 60.0,
        whose: Whose | None = None,
    ) -> None:
        self.host = host
        self._attempts = attempts if attempts is not None else Attempts()
        self._transport = RegistryTransport(host, credentials, timeout, whose)

    def greet(self) -> None:
        """Ask for `/v2/` once, as every client begins; whatever comes back is an answer.

        Raises:
            urllib3.exceptions.HTTPError: nothing came back; or RegistryError, PrerequisiteMissing.
        """
        self._transport.greet()

    def resolve(self, repository: str, reference: str) -> Descriptor:
        """Find out what a tag stands for now.

        Args:
            repository: the repository's path, such as "chainguard/go".
            reference: a tag or a digest.

        Returns:
            Media type, digest and size of the index or manifest.

        Raises:
            ImageNotAvailable: no such image or tag.
            DigestMismatch: the registry answers with another digest than was asked for.
            RegistryError: refused, in one of its meanings; or PermissionMissing, ApiDisabled, NotSignedIn, NotFound.
            Temporary: still failing when the attempts were used up.
        """
        errand = self._errand(repository, reference)
        reason = f"{self.host.name} to answer for {repository}"
        found = self._attempts.run(lambda: self._head(errand, reference), reason=reason)
        if found is not None:
            return found
        # A refusal of HEAD has no body, so that only GET can tell why; and some registries have no HEAD at all.
        return verified.fetch_document(self._transport, errand, reference)[0]

    def document(self, repository: str, reference: str) -> tuple[Descriptor, bytes]:
        """Fetch a manifest or an index, its digest checked; arguments and errors as of `resolve`."""
        return verified.fetch_document(self._transport, self._errand(repository, reference), reference)

    def probe_token(self, repository: str, *, with_credentials: bool = True) -> TokenProbe:
        """Ask the token endpoint whether a repository may be pulled; the cheapest check of a pull token.

        Args:
            repository: the repository's path.
            with_credentials: False to ask as nobody, to compare.

        Returns:
            What it said; a refusal is an answer here, not an error.

        Raises:
            RegistryError: the host cannot be reached in a trusted way.
            Temporary: it did not answer when the attempts were used up.
        """
        errand = Errand(repository, f"A token for {repository}", self._attempts)
        said = self._attempts.run(
            lambda: self._transport.probe(errand, with_credentials=with_credentials),
            reason=f"{self.host.name}'s token endpoint to answer",
        )
        return TokenProbe(*said)

    def sign_in(self, credentials: BasicCredentials | None = None) -> TokenProbe:
        """Show credentials and ask for nothing more, as `docker login` does; answers and raises as `probe_token`.

        Args:
            credentials: whose; None for those that this registry is called with, if any.
        """
        errand = Errand("", f"Signing in at {self.host.name}", self._attempts)
        said = self._attempts.run(
            lambda: self._transport.probe(errand, with_credentials=True, instead=credentials),
            reason=f"{self.host.name}'s token endpoint to answer",
        )
        return TokenProbe(*said)

    def pull(
        self,
        repository: str,
        reference: str,
        platform: Platform,
        progress: Callable[[PullProgress], None] | None = None,
    ) -> PulledImage:
        """Fetch and verify every byte of an image for one platform; keep none.

        Args:
            repository: the repository's path.
            reference: a tag or a digest.
            platform: which of the image's platforms.
            progress: told about ten times a second, in the calling thread, and once at the end.

        Returns:
            The proof of the pull.

        Raises:
            DigestMismatch: some bytes are not what their digest or size says.
            ImageNotAvailable: no such image, tag or platform.
            RegistryError: refused, in one of its meanings; or PermissionMissing, ApiDisabled, NotSignedIn, NotFound.
            Temporary: still failing when the attempts were used up.
            Interrupted: the attempts were cancelled.
        """
        return verified.pull(self._transport, self._errand(repository, reference), reference, platform, progress)

    def pull_begun(self, repository: str, reference: str, platform: Platform) -> PulledImage:
        """What every pull begins with: the documents and the config, verified, and no layer; arguments and errors of `pull`."""
        errand = self._errand(repository, reference)
        return verified.pull(self._transport, errand, reference, platform, None, layers_too=False)

    def pull_again(self, repository: str, reference: str, pulled: PulledImage) -> PulledAgain:
        """See how fast what was pulled comes the second time, without fetching it twice.

        The reference is resolved anew and the first byte of the largest layer is waited for: a pull begins like that, and
        a registry that keeps what it fetched has nothing more to wait for. Errors are those of `pull`.

        Args:
            repository: the repository's path.
            reference: a tag or a digest.
            pulled: what the first time brought.
        """
        begun = time.monotonic()
        digest = self.resolve(repository, reference).digest
        largest = max(pulled.layers, key=lambda layer: layer.size, default=None)
        if largest is not None and largest.size:
            blobs.first_byte(self._transport, self._errand(repository, reference), largest.digest)
        return PulledAgain(digest, time.monotonic() - begun)

    def _errand(self, repository: str, reference: str) -> Errand:
        return Errand.for_image(repository, reference, self._attempts)

    def _head(self, errand: Errand, reference: str) -> Descriptor | None:
        """Ask without the body; None where that gives no digest."""
        path = f"/v2/{errand.repository}/manifests/{reference}"
        accepted = (200, 400, 401, 403, 404, 405, 406, 501)
        with self._transport.open("HEAD", path, errand, headers={"Accept": ACCEPT}, accepted=accepted) as answer:
            digest, size = answer.header("Docker-Content-Digest"), answer.header("Content-Length")
            if answer.status != 200 or answer.packed or not is_digest(digest) or not size.isdecimal():
                return None
            if is_digest(reference) and digest != reference:
                return None
            return Descriptor(answer.header("Content-Type").partition(";")[0].strip(), digest, int(size))
