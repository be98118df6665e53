"""How one request reaches a registry: connections, proxies, redirects, sign-in, and what keeps an answer away.

It knows HTTP as the OCI distribution specification uses it. It does not know manifests or layers, and never tries a
request again by itself but for a token that was renewed.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlencode, urljoin, urlsplit

import urllib3
from urllib3.exceptions import HTTPError
from urllib3.response import BaseHTTPResponse

from cgrunbook.cloud import network, retry, sessions
from cgrunbook.cloud.attempts import Attempts
from cgrunbook.cloud.connection import RegistryHost
from cgrunbook.cloud.registry_errors import Refusal, Step, Whose, read_error, refused
from cgrunbook.cloud.registry_sign_in import (
    ACCESS_TOKEN_USER,
    BasicCredentials,
    Challenge,
    Credentials,
    parse_challenge,
    read_token,
)
from cgrunbook.errors import CgrunbookError, EndedEarly, RegistryError, Temporary
from cgrunbook.image_reference import is_digest
from cgrunbook.redaction import Secret, one_line

# A blob is one redirect away at cgr.dev; more than this many is a loop.
_MOST_REDIRECTS = 5
_LARGEST_ERROR = 64 * 1024
_LARGEST_TOKEN = 1024 * 1024
_CONNECT_SECONDS = 10.0


class _Unanswered(OSError):
    """What kept the answer of one host away; a redirect may have led to another than the registry's."""

    def __init__(self, host: str) -> None:
        super().__init__(host)
        self.host = host


def silent_host(error: BaseException) -> str:
    """Which host gave no answer, "" where that is not what an error is about."""
    return next((cause.host for cause in retry.causes(error) if isinstance(cause, _Unanswered)), "")


@dataclass(frozen=True)
class Errand:
    """What a request is for.

    Args:
        repository: the repository's path, whose token is used.
        subject: what is asked for, to begin an error's sentence with: "chainguard/go:latest".
        attempts: where a wait that the registry asks for is shown; its limit bounds that wait.
        by_digest: whether it is asked for by its digest, and not by a tag.
    """

    repository: str
    subject: str
    attempts: Attempts
    by_digest: bool = False

    @classmethod
    def for_image(cls, repository: str, reference: str, attempts: Attempts) -> Errand:
        """What is asked for by tag or digest: an index, a manifest, a blob."""
        by_digest = is_digest(reference)
        return cls(repository, f"{repository}{'@' if by_digest else ':'}{reference}", attempts, by_digest)


@dataclass(frozen=True)
class Answer:
    """A response whose body is still to be read.

    Args:
        response: urllib3's response.
        host: the name of the host that sent it; the registry's own name unless a redirect led elsewhere.
        elsewhere: whether a redirect led to another host.
    """

    response: BaseHTTPResponse
    host: str
    elsewhere: bool

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.response.status

    def header(self, name: str) -> str:
        """A header's value, "" where it is absent."""
        return self.response.headers.get(name, "")

    @property
    def packed(self) -> bool:
        """Whether the body is compressed for the way, though nobody asked for it; its length is that of the way then."""
        return self.header("Content-Encoding").lower() in ("gzip", "x-gzip", "deflate")

    def read(self, limit: int) -> bytes | None:
        """A whole small body, unpacked; None when it has more bytes than `limit`."""
        with contextlib.suppress(ValueError):
            if int(self.header("Content-Length")) > limit:
                return None
        body = bytearray()
        while chunk := self.response.read(min(65536, limit + 1 - len(body))):
            body += chunk
            if len(body) > limit:
                return None
        return bytes(body)

    def close(self) -> None:
        """Give the connection back when little of the body is left; close it otherwise."""
        if self.response.length_remaining is not None and self.response.length_remaining <= _LARGEST_ERROR:
            self.response.drain_conn()
            self.response.release_conn()
        else:
            self.response.close()


class RegistryTransport:
    """Requests to one registry as one caller; safe for several threads.

    A token is kept for each repository: cgr.dev answers 403 to a token of another scope. Credentials go to the
    registry's own host only, and no Authorization header follows a redirect to another host.

    Args:
        host: the registry.
        credentials: who calls; None for nobody, a function where a fresh pair is needed at each exchange.
        timeout: seconds that the registry may stay silent.
        whose: who knows whose Google credentials these are; None for others.
    """

    def __init__(
        self, host: RegistryHost, credentials: Credentials, timeout: float, whose: Whose | None = None
    ) -> None:
        self.host = host
        self._whose = whose
        self._credentials = credentials
        self._timeout = urllib3.Timeout(connect=min(_CONNECT_SECONDS, timeout), read=timeout)
        self._lock = threading.Lock()
        self._asking_how = threading.Lock()
        self._sign_ins: dict[str, threading.Lock] = {}
        self._authorizations: dict[str, Secret] = {}
        self._challenged: Challenge | None = None
        self._takes_access_tokens = host.name.endswith("-docker.pkg.dev")

    @property
    def base(self) -> str:
        """The registry's root, without a trailing slash."""
        return f"{self.host.scheme}://{self.host.address}"

    def greet(self) -> None:
        """Ask for `/v2/` as nobody, as every client begins; whatever comes back is an answer.

        Raises:
            urllib3.exceptions.HTTPError: nothing came back; or RegistryError, PrerequisiteMissing.
        """
        self._send("GET", f"{self.base}/v2/", {}).close()

    @contextlib.contextmanager
    def open(
        self,
        method: str,
        path: str,
        errand: Errand,
        *,
        headers: Mapping[str, str],
        accepted: tuple[int, ...] = (200,),
    ) -> Iterator[Answer]:
        """Send one request, signing in where the registry asks for it.

        Args:
            method: "GET" or "HEAD".
            path: from the root, beginning with "/v2/".
            errand: what for.
            headers: in addition to the usual.
            accepted: statuses that are no refusal.

        Yields:
            The answer; its connection is given back when the block ends.

        Raises:
            Temporary: worth another attempt.
            RegistryError: refused, in one of its meanings; or PermissionMissing, ApiDisabled, NotSignedIn, NotFound.
        """
        with (
            self._explained(errand.subject),
            contextlib.closing(self._send_signed(method, path, errand, headers)) as answer,
        ):
            if answer.status not in accepted:
                raise self._refused(answer, "/v2/", errand)
            yield answer

    def probe(
        self, errand: Errand, *, with_credentials: bool, instead: BasicCredentials | None = None
    ) -> tuple[int, str, str]:
        """Ask the token endpoint for a token, and look at how it answers; one that is given is used from then on.

        Args:
            errand: which repository the token would be for; "" for none, as `docker login` asks.
            with_credentials: False to ask as nobody.
            instead: somebody else's, to be tried; a token for these is not used.

        Returns:
            Status, the error's code and its message; the last two "" for 200.

        Raises:
            Temporary: worth another attempt.
            RegistryError: the host cannot be reached in a trusted way.
        """
        as_usual = instead is None and (with_credentials or self._credentials is None)
        with self._explained(errand.subject):
            exchange = self._exchange(self._challenge(), errand, with_credentials=with_credentials, instead=instead)
            with contextlib.closing(exchange) as answer:
                if as_usual:
                    self._authorizations.pop(errand.repository, None)
                if answer.status == 200:
                    token = read_token(answer.read(_LARGEST_TOKEN))
                    if token is not None and as_usual:
                        self._authorizations[errand.repository] = Secret(f"Bearer {token.reveal()}")
                    return 200, "", ""
                code, message = read_error(answer.read(_LARGEST_ERROR) or b"")
                error = self._meaning(answer, code, message, "token", errand)
                if isinstance(error, Temporary):
                    raise self._paused(error, answer, errand)
                return answer.status, code, message

    def _exchange(
        self,
        challenge: Challenge,
        errand: Errand,
        *,
        with_credentials: bool = True,
        instead: BasicCredentials | None = None,
    ) -> Answer:
        """Ask the token endpoint for a token to pull one repository, or for just any where the errand names none."""
        scope = challenge.scope or (f"repository:{errand.repository}:pull" if errand.repository else "")
        asked = [(name, value) for name, value in (("service", challenge.service), ("scope", scope)) if value]
        query = urlencode(asked or [("client_id", "cgrunbook")])
        realm = self._realm(challenge)
        url = f"{realm}{'&' if '?' in realm else '?'}{query}"
        credentials = instead or (self._current() if with_credentials else None)
        if credentials is None:
            return self._send("GET", url, {})
        if _origin(realm) != _origin(self.base):
            raise self._rewritten(f"wants the credentials sent to {_shown(realm)}; they were not sent")
        answer = self._send("GET", url, {"Authorization": credentials.header()})
        if answer.status == 401 and self._whose is not None and callable(self._credentials):
            # It may have been taken back before its time; a fresh one that is refused too is the caller's own matter.
            answer.close()
            self._whose.forget(credentials.password)
            answer = self._send("GET", url, {"Authorization": self._credentials().header()})
        return answer

    def _challenge(self) -> Challenge:
        """How the registry wants to be signed in to, asked once; cgr.dev's documented endpoint where it does not say."""
        if self._takes_access_tokens:
            # Documented and the same everywhere at Artifact Registry, so that nobody has to ask.
            return Challenge("bearer", f"{self.base}/v2/token", "", "")
        with self._asking_how:
            if self._challenged is None:
                answer = self._send("GET", f"{self.base}/v2/", {})
                answer.close()
                found = parse_challenge(answer.header("WWW-Authenticate"))
                if found is None or found.scheme != "bearer":
                    return Challenge("bearer", f"{self.base}/token", self.host.name, "")
                # The scope of /v2/ itself is not the repository's.
                self._challenged = replace(found, scope="")
            return self._challenged

    @contextlib.contextmanager
    def _explained(self, subject: str) -> Iterator[None]:
        """Turn urllib3's exceptions into ours; which of them pass is in retry.py."""
        try:
            yield
        except (HTTPError, OSError) as error:
            host = silent_host(error) or self.host.name
            if (lasting := network.lasting(error, host)) is not None:
                raise RegistryError(
                    f"{subject}: {lasting.what}.", lasting.remedy, debugging=1, code=lasting.code
                ) from error
            inner = retry.innermost(error)
            kind = Temporary if silent_host(error) else EndedEarly  # the host had begun to answer
            raise kind(
                f"{subject}: the connection to {network.whom(error, host)} failed: {type(inner).__name__}: {inner}.",
                "Check the network and proxy settings (notebook 04), then try again.",
                debugging=1,
                code="connection" if kind is Temporary else "cut-short",
            ) from error

    def _send_signed(self, method: str, path: str, errand: Errand, headers: Mapping[str, str]) -> Answer:
        """Send with an access token or the repository's token; on a 401 get a new one and send once more."""
        url = f"{self.base}{path}"
        as_it_is = self._access_token() if errand.repository not in self._authorizations else None
        if as_it_is is not None:
            answer = self._send(method, url, {**headers, "Authorization": f"Bearer {as_it_is.reveal()}"})
            if answer.status != 401 or answer.elsewhere:
                return answer
            answer.close()
            self._takes_access_tokens = False
        for last in (False, True):
            used = self._authorizations.get(errand.repository)
            authorization = {"Authorization": used.reveal()} if used is not None else {}
            answer = self._send(method, url, {**headers, **authorization})
            if answer.status != 401 or answer.elsewhere or last:
                break
            challenge = parse_challenge(answer.header("WWW-Authenticate"))
            if challenge is None:
                break
            answer.close()
            self._sign_in(challenge, used, errand)
        return answer

    def _access_token(self) -> Secret | None:
        """The access token that may be sent unasked and without an exchange.

        docker.pkg.dev takes one (Artifact Registry's documentation, "Support for the Docker Registry API"), which spares
        each image a challenge and an exchange. Where it is not taken, things go on as with any registry.
        """
        credentials = self._current() if self._takes_access_tokens else None
        return credentials.password if credentials is not None and credentials.username == ACCESS_TOKEN_USER else None

    def _sign_in(self, challenge: Challenge, used: Secret | None, errand: Errand) -> None:
        """Replace a repository's authorisation, unless another thread did so since `used` was taken."""
        with self._lock:
            sign_in = self._sign_ins.setdefault(errand.repository, threading.Lock())
        with sign_in:
            if self._authorizations.get(errand.repository) is not used:
                return
            if challenge.scheme == "basic":
                credentials = self._current()
                if credentials is not None:
                    self._authorizations[errand.repository] = Secret(credentials.header())
                return
            with contextlib.closing(self._exchange(challenge, errand)) as answer:
                if answer.status != 200:
                    raise self._refused(answer, "token", errand)
                token = read_token(answer.read(_LARGEST_TOKEN))
            if token is None:
                raise self._rewritten("answered 200 at its token endpoint, but with no token in it")
            self._authorizations[errand.repository] = Secret(f"Bearer {token.reveal()}")

    def _current(self) -> BasicCredentials | None:
        return self._credentials() if callable(self._credentials) else self._credentials

    def _realm(self, challenge: Challenge) -> str:
        """The token endpoint, at the address where the registry is played when the realm has its real name."""
        realm = self._followed(f"{self.base}/", challenge.realm)
        parts = urlsplit(realm)
        if parts.netloc == self.host.name != self.host.address:
            realm = parts._replace(scheme=self.host.scheme, netloc=self.host.address).geturl()
        return realm

    def _send(self, method: str, url: str, headers: Mapping[str, str]) -> Answer:
        """Send and follow redirects; Authorization only ever goes to the host that it is for."""
        home = _origin(url)
        for _ in range(_MOST_REDIRECTS + 1):
            own = _origin(url) == home
            sent = {"Accept-Encoding": "identity", "User-Agent": "cgrunbook"}
            sent |= {name: value for name, value in headers.items() if own or name != "Authorization"}
            netloc = urlsplit(url).netloc
            host = self.host.name if netloc == self.host.address else netloc
            begun = time.monotonic()
            try:
                response = sessions.pools(url).request(
                    method,
                    url,
                    headers=sent,
                    redirect=False,
                    retries=False,
                    preload_content=False,
                    timeout=self._timeout,
                )
            except (HTTPError, OSError) as error:
                raise _Unanswered(host) from error
            answer = Answer(response, host, not own)
            self.host.answers.append((host, time.monotonic() - begun, retry.ahead(answer.header("Date"))))
            target = answer.header("Location")
            if answer.status not in (301, 302, 303, 307, 308) or not target:
                return answer
            answer.close()
            url = self._followed(url, target)
        raise self._rewritten(f"redirects more than {_MOST_REDIRECTS} times, the last to {_shown(url)}")

    def _followed(self, url: str, target: str) -> str:
        """Where a redirect leads; never from https to http, and nowhere that is no web address."""
        try:
            found = urljoin(url, target)
            scheme, host, _ = _origin(found)
        except ValueError as error:
            raise self._rewritten("redirects to what is no address") from error
        if not host or scheme not in ("http", "https") or (scheme == "http" and _origin(url)[0] == "https"):
            raise self._rewritten(f"redirects to {_shown(found)}, which is not https; it was not followed")
        return found

    def _rewritten(self, what: str) -> RegistryError:
        return RegistryError(
            f"{self.host.name} {what}.",
            "Check that nothing between here and the registry rewrites its answers (notebook 04).",
            debugging=1,
        )

    def _refused(self, answer: Answer, step: Step, errand: Errand) -> CgrunbookError:
        """The error for an answer, after the pause that the answer asks for."""
        code, message = read_error(answer.read(_LARGEST_ERROR) or b"")
        return self._paused(self._meaning(answer, code, message, step, errand), answer, errand)

    def _meaning(self, answer: Answer, code: str, message: str, step: Step, errand: Errand) -> CgrunbookError:
        if answer.elsewhere and answer.status in retry.SIGNED_LINK_STATUSES:
            passing = Temporary(
                f"{errand.subject}: {answer.host}, to which {self.host.name} redirects, answered {answer.status} "
                f"{code or message or 'without a reason'}.",
                f"Check that this machine, and its proxy, may reach {answer.host} (notebook 04).",
                debugging=1,
            )
            passing.answered = "blob", answer.status, code
            return passing
        error = refused(
            Refusal(
                host=answer.host if answer.elsewhere else self.host.name,
                step=step,
                subject=errand.subject,
                repository=errand.repository,
                status=answer.status,
                code=code,
                message=message,
                signed_in=self._credentials is not None,
                by_digest=errand.by_digest,
                whose=self._whose,
            )
        )
        if answer.elsewhere:
            error.answered = "blob", answer.status, code
        return error

    def _paused(self, error: CgrunbookError, answer: Answer, errand: Errand) -> CgrunbookError:
        """Wait as long as the registry asks before the next attempt; give up where that is longer than the limit."""
        seconds = retry.retry_after(answer.header("Retry-After") or None)
        if not isinstance(error, Temporary) or seconds is None:
            return error
        if seconds > errand.attempts.limit:
            later = f"{error.message} It asks to wait {seconds:.0f} s before the next attempt."
            lasting = RegistryError(later, error.remedy, debugging=1)
            lasting.answered = error.answered
            return lasting
        answer.close()
        errand.attempts.pause(seconds, f"{self.host.name}, which asks for a pause")
        return error


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _shown(url: str) -> str:
    """A URL without its query: a signed link's signature is in there."""
    return one_line(urlsplit(url)._replace(query="", fragment="").geturl(), 200)
