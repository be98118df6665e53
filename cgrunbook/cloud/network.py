"""Why no answer came from a host, and what can be done about it where trying again cannot help.

It knows the words for people; what passes by itself, retry.py knows. It does not know what a host is for.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cgrunbook.cloud import retry, trust
from cgrunbook.cloud.attempts import Attempts
from cgrunbook.errors import ServiceError
from cgrunbook.redaction import one_line

_SHORT = 160
# Seconds within which a connection that broke is tried again; a host that was silent for longer is not.
_SECONDS = 3.0


@dataclass(frozen=True)
class Lasting:
    """What keeps a host's answer away for good.

    Args:
        what: a sentence without its full stop: "the certificate of cgr.dev is not trusted here (...)".
        remedy: what to do about it.
        code: which message it is that the diagnosis knows.
    """

    what: str
    remedy: str
    code: str


# By cause: what is so, and what to do; "{host}" is who was asked.
_WORDS: Mapping[retry.NoAnswer, tuple[str, str]] = {
    retry.NoAnswer.UNTRUSTED: ("the certificate of {host} is not trusted here", ""),
    retry.NoAnswer.OUT_OF_DATE: (
        "the certificate of {host} has expired, or is not valid yet",
        "Compare this machine's clock with the time: date -u. If it is right, whoever runs {host}, or opens TLS on the way to "
        "it, has to renew the certificate.",
    ),
    retry.NoAnswer.OTHER_NAME: (
        "the certificate that {host} shows is for another name",
        "Something else answers in its place. Look at what DNS and /etc/hosts say of {host} on this machine, and whether this "
        "network wants a login in a browser first.",
    ),
    retry.NoAnswer.TLS: (
        "no TLS connection with {host} could be agreed on",
        "TLS 1.2 or newer is needed. What answers there speaks an older one, or none: look at what is between here and {host}.",
    ),
    retry.NoAnswer.NAME: (
        "the name {host} is not known here",
        "Look at DNS on this machine, and at HTTPS_PROXY where a proxy is needed.",
    ),
    retry.NoAnswer.ADDRESS: (
        "the address of {host} cannot be used",
        "Look at where the address comes from: a redirect, or a file of credentials.",
    ),
    retry.NoAnswer.PROXY: (
        "the proxy does not let {host} through",
        "Let whoever runs the proxy allow {host} on port 443, or name the host in NO_PROXY where it can be reached without.",
    ),
    retry.NoAnswer.PROXY_LOGIN: (
        "the proxy on the way to {host} wants a login, or does not take the one that HTTPS_PROXY has",
        "Put USER:PASSWORD@ before the proxy's host in HTTPS_PROXY; what is no letter and no digit in these two is percent-encoded "
        "(@ is %40). Where {host} can be reached without, name it in NO_PROXY.",
    ),
    retry.NoAnswer.NO_PROXY: (
        "what HTTPS_PROXY names as the proxy on the way to {host} does not answer as one",
        "Look at host and port in HTTPS_PROXY; where the proxy speaks TLS, it begins with https://. Where {host} can be reached "
        "without, name it in NO_PROXY.",
    ),
}

_CODES: Mapping[retry.NoAnswer, str] = {
    retry.NoAnswer.UNTRUSTED: "tls-untrusted",
    retry.NoAnswer.OUT_OF_DATE: "tls-date",
    retry.NoAnswer.OTHER_NAME: "tls-name",
    retry.NoAnswer.TLS: "tls-old",
    retry.NoAnswer.NAME: "name",
    retry.NoAnswer.ADDRESS: "",
    retry.NoAnswer.PROXY: "proxy",
    retry.NoAnswer.PROXY_LOGIN: "proxy-login",
    retry.NoAnswer.NO_PROXY: "proxy",
}


def lasting(error: BaseException, host: str) -> Lasting | None:
    """What an HTTP library's exception says of a cause that stays; None for one that may pass.

    Args:
        error: the outermost.
        host: who was asked.
    """
    why = retry.why_no_answer(error)
    if why.temporary:
        return None
    what, remedy = _WORDS[why]
    detail = _short(error)
    if (
        why not in (retry.NoAnswer.PROXY, retry.NoAnswer.PROXY_LOGIN, retry.NoAnswer.NO_PROXY)
        and (there := whom(error, host)) != host
    ):
        host = there
        if why is retry.NoAnswer.TLS:
            remedy += " Where the proxy speaks none, HTTPS_PROXY begins with http://."
    return Lasting(f"{what.format(host=host)} ({detail})", remedy.format(host=host) or _whom_to_trust(), _CODES[why])


def whom(error: BaseException, host: str) -> str:
    """Who did not answer: the host, or the proxy on the way, which was not even reached."""
    from urllib3.exceptions import ProxyError

    behind = any(isinstance(cause, ProxyError) for cause in retry.causes(error))
    return f"the proxy on the way to {host}" if behind else host


def why_unreachable(ask: Callable[[], object], host: str, attempts: Attempts) -> tuple[str, str]:
    """Ask a host with the client that is used for it; whatever it says in HTTP is an answer.

    Args:
        ask: sends the request.
        host: who is asked.
        attempts: with which a connection that broke is tried again, for some seconds.

    Returns:
        Why it does not answer, and what to do about it, "" where nothing is known; twice "" where it answers.

    Raises:
        PrerequisiteMissing: nobody can be asked: a variable says who is trusted, and names what cannot be read.
    """
    from urllib3.exceptions import HTTPError

    def may_pass(error: BaseException) -> bool:
        return isinstance(error, HTTPError | OSError) and retry.why_no_answer(error).temporary

    try:
        attempts.run(ask, reason=f"{host} to answer", temporary=may_pass, limit=_SECONDS)
    except ServiceError as error:
        return error.message.removesuffix("."), error.remedy
    except (HTTPError, OSError) as error:
        stays = lasting(error, host)
        return (stays.what, stays.remedy) if stays is not None else (f"cannot be reached ({_short(error)})", "")
    return "", ""


def _whom_to_trust() -> str:
    """What to do about an authority that is not trusted, by what decides who is."""
    if not (variables := trust.named()):
        return (
            "Where something on the way opens TLS, trust its authority: add it to this system's store, or name the file in "
            "SSL_CERT_FILE or REQUESTS_CA_BUNDLE. Where nothing should, somebody else answers."
        )
    said = " and ".join(f"{name}={value}" for name, value in variables.items())
    folders = [value for value in variables.values() if os.path.isdir(value)]  # noqa: PTH112 - text from the environment
    hashed = (
        f" The files in a folder need the names that this gives them: openssl rehash {folders[0]}" if folders else ""
    )
    return f"{said} says who is trusted: add the authority that signed it there, or unset it to use the system's store.{hashed}"


def _short(error: BaseException) -> str:
    inner = retry.innermost(error)
    return one_line(getattr(inner, "verify_message", "") or str(inner) or type(inner).__name__, _SHORT)
