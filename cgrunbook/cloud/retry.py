"""What is temporary, for every protocol: what stands here is tried again, everything else fails at once.

It knows statuses, exceptions and words, each with the reason why it passes. How the tries go, how long and seen by
whom, is in attempts.py; what a failure means for a person, in the file of each service.

Two things are not in a table: google-auth says of its own errors which pass (`retryable`), and a few calls wait on
purpose for something to appear (they name it where they wait).
"""

from __future__ import annotations

import json
import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum

# HTTP, as registries and what stands before them answer (RFC 9110; go-containerregistry's transport/error.go has the same).
HTTP_STATUSES: Mapping[int, str] = {
    408: "the request came too slowly; it may be sent again",
    429: "a quota is used up for this minute (Artifact Registry's troubleshooting: wait a minute)",
    500: "the server stumbled",
    502: "what stands before the server got no good answer from it",
    503: "away or overloaded for now",
    504: "what stands before the server got no answer in time",
}

# HTTP, as the host answers to which a registry redirects for a blob: the link is signed for a short time, and the registry
# gives a fresh one at the next attempt.
SIGNED_LINK_STATUSES = (400, 401, 403)

# google.rpc.Code, as Google's APIs answer (googleapis, google/rpc/code.proto).
GOOGLE_STATUSES: Mapping[str, str] = {
    "UNAVAILABLE": "away for the moment, which is just what this code says",
    "RESOURCE_EXHAUSTED": "a quota, most of which are per minute",
    "DEADLINE_EXCEEDED": "the service ran out of time",
    "INTERNAL": "the service stumbled",
    "CANCELLED": "given up on the way, not by this caller",
    "UNKNOWN": "an error from elsewhere that carried no code",
}

# Words of services that pass on another's failure as text: Artifact Registry its upstream's, chainctl its API's (gRPC's
# codes in words; Go's names for what a connection can die of).
WORDS: Mapping[str, str] = {
    "unavailable": "gRPC's code 14, HTTP's 503",
    "deadline exceeded": "gRPC's code 4, and Go's word for a time that ran out",
    "timeout": "Go: i/o timeout, TLS handshake timeout",
    "connection re": "Go: connection refused, connection reset by peer",
}

# A service agent that was made a moment ago is not known everywhere for some seconds (google-cloud-go, issue 11482).
AGENT_NOT_THERE_YET = re.compile(r"Service account (\S+) does not exist")


# OpenSSL's words for bytes that were damaged on the way, or for a server that stumbled; all others are about what the two sides
# can or want, which stays.
TLS_REASONS: Mapping[str, str] = {
    "DECRYPTION_FAILED_OR_BAD_RECORD_MAC": "a record was damaged on the way",
    "SSLV3_ALERT_BAD_RECORD_MAC": "the other side says so",
    "TLSV1_ALERT_DECODE_ERROR": "a message was damaged on the way",
    "TLSV1_ALERT_INTERNAL_ERROR": "the server stumbled",
    "APPLICATION_DATA_AFTER_CLOSE_NOTIFY": "the connection ended while something was on the way",
}

# X509_V_ERR_* of OpenSSL's x509_vfy.h: not yet valid, expired; another host name, another address.
_OUT_OF_DATE, _OTHER_NAME = (9, 10), (62, 64)

# http.client says only in words what a proxy answered to CONNECT.
_TUNNEL = re.compile(r"Tunnel connection failed: (\d{3})")

# What getaddrinfo says of a name that is not there, or has no address; a resolver that is away says EAI_AGAIN.
_NO_NAME = {getattr(socket, name) for name in ("EAI_NONAME", "EAI_NODATA") if hasattr(socket, name)}


class NotAProxy(OSError):
    """What is named as a proxy did not answer in HTTP; on a fresh connection, so that nothing of an earlier answer was left."""


class NoAnswer(Enum):
    """Why a request got no answer at all; the value says whether another attempt may get one."""

    CONNECTION = "refused, reset, ended early, or silent for too long", True
    UNTRUSTED = "a certificate of nobody who is trusted here: it stays so until somebody configures it", False
    OUT_OF_DATE = "a certificate that has ended, or a clock that is wrong", False
    OTHER_NAME = "a certificate for another name", False
    TLS = "no version or cipher that both sides have, or no TLS at all", False
    NAME = "not known to DNS; a resolver that is away says so in another way", False
    ADDRESS = "a proxy's or a redirect's, that is none", False
    PROXY = "a proxy that may not let this through", False
    PROXY_LOGIN = "a proxy that wants a login, or another than it is shown", False
    NO_PROXY = "what stands in a proxy's place, and is none", False

    @property
    def temporary(self) -> bool:
        """Whether it may pass by itself."""
        return self.value[1]


def why_no_answer(error: BaseException) -> NoAnswer:
    """Tell what an HTTP library's exception is about: requests', urllib3's, google-auth's, docker's or a socket's.

    Args:
        error: what was raised; those that it wraps decide.
    """
    for cause in causes(error):
        if isinstance(cause, ssl.SSLError):
            return _of_tls(cause)
        if isinstance(cause, socket.gaierror) and cause.errno in _NO_NAME:
            return NoAnswer.NAME
        if isinstance(cause, NotAProxy):
            return NoAnswer.NO_PROXY
        if isinstance(cause, OSError) and (said := _TUNNEL.match(str(cause))):
            if int(said[1]) in HTTP_STATUSES:
                return NoAnswer.CONNECTION
            return NoAnswer.PROXY_LOGIN if said[1] == "407" else NoAnswer.PROXY
        # requests' InvalidURL and InvalidProxyURL, urllib3's LocationValueError; a body that is no JSON is an answer.
        if isinstance(cause, ValueError) and not isinstance(cause, json.JSONDecodeError):
            return NoAnswer.ADDRESS
    return NoAnswer.CONNECTION


def _of_tls(error: ssl.SSLError) -> NoAnswer:
    if isinstance(error, ssl.SSLCertVerificationError):
        code = getattr(error, "verify_code", None)
        if code in _OUT_OF_DATE:
            return NoAnswer.OUT_OF_DATE
        return NoAnswer.OTHER_NAME if code in _OTHER_NAME else NoAnswer.UNTRUSTED
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError | ssl.SSLSyscallError):
        return NoAnswer.CONNECTION  # TLS's words for a connection that ended
    return NoAnswer.CONNECTION if error.reason in TLS_REASONS else NoAnswer.TLS


def causes(error: BaseException) -> Iterator[BaseException]:
    """An exception and those that it wraps, the innermost last; each library wraps them in its own way.

    Args:
        error: the outermost.
    """
    seen: set[int] = set()
    inner: object = error
    while isinstance(inner, BaseException) and id(inner) not in seen:
        seen.add(id(inner))
        yield inner
        wrapped = (getattr(inner, "reason", None), inner.__cause__, *inner.args)
        inner = next((found for found in wrapped if isinstance(found, BaseException)), None)


def innermost(error: BaseException) -> BaseException:
    """What went wrong at the bottom.

    Args:
        error: the outermost.
    """
    *_, cause = causes(error)
    return cause


def says_temporary(text: str) -> bool:
    """Whether a service's sentence speaks of something that passes, by `WORDS`.

    Args:
        text: the sentence.
    """
    low = text.lower()
    return any(word in low for word in WORDS)


def ahead(date: str) -> float | None:
    """How many seconds the clock of whoever answered is ahead of this machine's.

    Args:
        date: its Date header.

    Returns:
        Seconds, as exact as the header, which counts whole ones; None where there is no such header.
    """
    try:
        return (parsedate_to_datetime(date) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError):
        return None


def retry_after(value: str | None) -> float | None:
    """Read a Retry-After header.

    Args:
        value: seconds or an HTTP date; None when the header is absent.

    Returns:
        Seconds from now, at least 0; None where there is nothing usable.
    """
    from urllib3.exceptions import InvalidHeader
    from urllib3.util import Retry

    try:
        return float(Retry().parse_retry_after(value or ""))
    except InvalidHeader:
        return None
