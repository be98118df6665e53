"""Through which proxy a request goes: the one reading of HTTPS_PROXY and its kin, for what this process sends and what it runs.

It knows the variables (and a Mac's settings, which stand in for them), and the ways in which people write them. It sends nothing.
"""

from __future__ import annotations

import base64
import ipaddress
import os
import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from urllib.parse import quote, unquote_to_bytes, urlsplit
from urllib.request import getproxies, getproxies_environment, proxy_bypass

from cgrunbook.errors import PrerequisiteMissing
from cgrunbook.redaction import Secret

_PORTS: Mapping[str, int] = {"http": 80, "https": 443}
_SOCKS = ("socks5h", "socks5", "socks4a", "socks4")

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_PLACE = re.compile(r"(\[[0-9A-Fa-f:.]+(?:%[\w.-]+)?\]|[\w.-]+)(?::([0-9]{1,5})?)?(?:[/?#].*)?", re.DOTALL)

_WRITE = (
    "Write it as http://HOST:PORT, with USER:PASSWORD@ before HOST where it wants a login; what is no letter and no digit in these "
    "two is percent-encoded (@ is %40)"
)


@dataclass(frozen=True)
class Proxy:
    """A proxy, and what it is shown.

    Args:
        scheme: "http", "https", or one of SOCKS.
        place: host, and port where one is named, as in a URL.
        login: what stood before the @, decoded, as bytes; None where nothing did.
    """

    scheme: str
    place: str
    login: tuple[bytes, bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """Its URL, spelt so that every library and command reads the same in it; a secret where there is a login."""
        login = ":".join(quote(part, safe="") for part in self.login or ())
        return f"{self.scheme}://{login}{'@' if login else ''}{self.place}"

    @property
    def headers(self) -> dict[str, str]:
        """What it wants to see of the login, which libraries would encode in Latin-1, or leave out without a password."""
        if self.login is None or self.scheme in _SOCKS:
            return {}
        return {"Proxy-Authorization": f"Basic {base64.b64encode(b':'.join(self.login)).decode()}"}


def proxy_for(url: str) -> Proxy | None:
    """The proxy that a request goes through; None where it goes straight.

    Args:
        url: where it goes, http or https.

    Raises:
        PrerequisiteMissing: a variable names a proxy that cannot be used.
    """
    parts = urlsplit(url)
    given = getproxies()
    kind = next((kind for kind in (parts.scheme, "all") if given.get(kind, "").strip()), "")
    if not kind or _straight(parts.hostname or "", parts.port or _PORTS.get(parts.scheme), given.get("no", "")):
        return None
    return read(given[kind], _variable(kind))


def for_a_command(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment in which a command finds the same proxies, however it reads them.

    Args:
        environment: what it would get. What cannot be read is left out: programs quote it, with the password, where they fail.
    """
    made = {name: value for name, value in environment.items() if not name.lower().endswith("_proxy")}
    given = getproxies()
    for kind in ("http", "https"):
        with suppress(PrerequisiteMissing):
            if value := given.get(kind, "").strip() or given.get("all", "").strip():
                made |= dict.fromkeys((f"{kind}_proxy", f"{kind.upper()}_PROXY"), read(value).url)
    entries = [entry.removesuffix(":*") for entry in _entries(given.get("no", ""))]
    if but := ",".join(entry.removeprefix("*").lstrip(".") or "*" for entry in entries):
        made |= {"no_proxy": but, "NO_PROXY": but}
    return made


def metadata_host() -> str:
    """Where google-auth asks the metadata server: by its own variables, else at the name that it has on each machine."""
    return os.environ.get("GCE_METADATA_HOST") or os.environ.get("GCE_METADATA_ROOT") or "metadata.google.internal"


def passwords() -> Iterator[Secret]:
    """What the environment holds that must not be shown: each proxy's password, as it stands there and as it is meant."""
    for value in getproxies().values():
        before, at, _ = value.rpartition("@")
        if at:
            spelt = _SCHEME.sub("", before, count=1).partition(":")[2]
            meant = unquote_to_bytes(spelt.encode("utf-8", "surrogateescape"))
            yield from map(Secret, {spelt, meant.decode("utf-8", "replace"), quote(meant, safe="")} - {""})


def read(value: str, variable: str = "") -> Proxy:
    """Read a proxy's URL, in whatever way people write it; a password may hold any character unencoded.

    Args:
        value: the URL.
        variable: the variable that has it, for the error; those that `Proxy.url` has written cause none.

    Raises:
        PrerequisiteMissing: it cannot be used. Nothing of it is quoted: a piece of a password may stand anywhere.
    """
    text = value.strip()
    named = _SCHEME.match(text)
    scheme = named[1].lower() if named else "http"
    login, at, place = (text[named.end() :] if named else text.removeprefix("//")).rpartition("@")
    if scheme in _SOCKS and find_spec("socks") is None:
        raise PrerequisiteMissing(
            f"{variable} names a proxy of the kind {scheme}, for which a Python package is not installed: PySocks.",
            f"Install it: {shlex.quote(sys.executable)} -m pip install PySocks; or let {variable} name an HTTP proxy.",
        )
    if scheme not in (*_PORTS, *_SOCKS):
        raise _unusable(variable, "it begins with neither http://, https:// nor socks5h://")
    found = _PLACE.fullmatch(place)
    if found is None:
        raise _unusable(variable, "what stands there for host and port is none")
    host, port = found[1], found[2]
    if port and not 0 < int(port) < 65536:
        raise _unusable(variable, "its port is not a number from 1 to 65535")
    with suppress(UnicodeError):
        host = host.encode("idna").decode() if not host.isascii() else host
    if not host.isascii():
        raise _unusable(variable, "its host is no name that DNS could know")
    user, _, password = login.encode("utf-8", "surrogateescape").partition(b":")
    shown = (unquote_to_bytes(user), unquote_to_bytes(password)) if at else None
    return Proxy(scheme, f"{host}:{port}" if port else host, shown)


def _unusable(variable: str, why: str) -> PrerequisiteMissing:
    return PrerequisiteMissing(
        f"{variable} names a proxy that cannot be used: {why}.",
        f"{_WRITE}; or unset {variable} where there is no proxy.",
    )


def _variable(kind: str) -> str:
    """The variable that names the proxy for a kind of URL, as it is spelt."""
    spelt = [name for name in os.environ if name.lower() == f"{kind}_proxy" and os.environ[name]]
    return min(spelt, key=str.isupper, default="This system's setting for proxies")


def _straight(host: str, port: int | None, no_proxy: str) -> bool:
    """Whether a host is asked without a proxy: this machine, what only this machine can reach, and what NO_PROXY names."""
    host = host.lower().rstrip(".")
    # The sandbox; a metadata server, for which a proxy has another machine's or none.
    own = ("localhost", "metadata.google.internal", urlsplit(f"//{metadata_host()}").hostname)
    address = _address(host)
    if host in own or (address is not None and (address.is_loopback or address.is_link_local)):
        return True
    if not getproxies_environment() and proxy_bypass(host):  # a Mac's own list
        return True
    return any(_names(entry, host, address, port) for entry in _entries(no_proxy))


def _entries(no_proxy: str) -> list[str]:
    return [entry for entry in re.split(r"[\s,]+", no_proxy.lower()) if entry]


def _names(
    entry: str, host: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address | None, port: int | None
) -> bool:
    """Whether an entry of NO_PROXY names a host: all, an address, a network, or a domain with all that is below it."""
    if entry == "*":
        return True
    with suppress(ValueError):
        network = ipaddress.ip_network(entry.strip("[]"), strict=False)
        return address is not None and address in network
    name, colon, digits = entry.rpartition(":")
    if colon:
        return (digits == "*" or (digits.isdecimal() and int(digits) == port)) and _names(name, host, address, None)
    domain = entry.removeprefix("*").strip(".")
    return address is None and bool(domain) and (host == domain or host.endswith(f".{domain}"))


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    with suppress(ValueError):
        return ipaddress.ip_address(host.partition("%")[0])
    return None
