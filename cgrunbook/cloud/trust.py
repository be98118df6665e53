"""Which certificate authorities are trusted: one answer for every request that this process sends.

It knows the variables in which people say so, and the system's store. It does not know who is asked.
"""

from __future__ import annotations

import os
import ssl
import sys
import threading
from collections.abc import Mapping

from cgrunbook.errors import PrerequisiteMissing

# As requests and curl read them: the first that is set names a file or a folder, and nothing else is trusted.
_INSTEAD = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")

# As OpenSSL reads them: each takes the place of one half of its default, which is a file and a folder.
_OPENSSL = ("SSL_CERT_FILE", "SSL_CERT_DIR")

_lock = threading.Lock()
_made: dict[tuple[tuple[str, str], ...], ssl.SSLContext] = {}


def named() -> Mapping[str, str]:
    """The variables that decide who is trusted, with what they name; none where the system's store does."""
    for name in _INSTEAD:
        if value := os.environ.get(name):
            return {name: value}
    return {name: value for name in _OPENSSL if (value := os.environ.get(name))}


def context() -> ssl.SSLContext:
    """The context of every TLS connection, made at the first: reading a store takes as long as some requests.

    Raises:
        PrerequisiteMissing: a variable names what cannot be read.
    """
    with _lock:
        key = tuple(named().items())
        if key not in _made:
            _made[key] = fresh()
        return _made[key]


def fresh() -> ssl.SSLContext:
    """A context of one's own, with the same trust; for a connection that shows a certificate of this side.

    Raises:
        PrerequisiteMissing: a variable names what cannot be read.
    """
    from urllib3.util.ssl_ import create_urllib3_context

    made = create_urllib3_context()
    variables = named()
    if not variables:
        return _of_the_system(made)
    for name, value in variables.items():
        try:
            _add(made, name, value)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError, and a NUL in a path a ValueError
            raise PrerequisiteMissing(
                f"{name} says who is trusted, and names what cannot be used: {value} "
                f"({getattr(error, 'strerror', None) or error}).",
                f"Let {name} name the file with your certificate authorities (PEM), or unset it: the system's store is used then.",
            ) from error
    if variables.keys() <= set(_OPENSSL):
        made.load_default_certs()  # the half that no variable names
    return made


def _add(made: ssl.SSLContext, name: str, value: str) -> None:
    """Trust what a variable names; OpenSSL itself would say nothing of what is not there."""
    if name == "SSL_CERT_DIR":
        if not any(os.path.isdir(folder) for folder in value.split(os.pathsep)):  # noqa: PTH112 - text from the environment
            raise NotADirectoryError(None, "no such folder")
    elif os.path.isdir(value):  # noqa: PTH112 - text from the environment
        made.load_verify_locations(capath=value)
    else:
        made.load_verify_locations(cafile=value)


def _of_the_system(made: ssl.SSLContext) -> ssl.SSLContext:
    """The system's store, and certifi's authorities besides: a small container has no store."""
    import certifi

    made.load_default_certs()
    if sys.platform == "darwin" or not made.cert_store_stats()["x509_ca"]:
        # A keychain, or a store where this OpenSSL does not look. Elsewhere truststore would read the file again at each
        # connection, which takes longer than the connection.
        import truststore

        made = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.load_verify_locations(certifi.where())
    return made
