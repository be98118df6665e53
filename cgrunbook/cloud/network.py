"""Whether a host can be reached from this machine. It knows sockets, TLS and proxies, and not what a host is for."""

from __future__ import annotations

from dataclasses import dataclass

from cgrunbook.cloud import retry


@dataclass(frozen=True)
class Seen:
    """What came of trying to reach a host.

    Args:
        answered: whether it spoke HTTP, whatever it said.
        reason: why not, a phrase; empty when it did.
    """

    answered: bool
    reason: str = ""


def reachable(address: str, scheme: str, *, timeout: float = 10.0) -> Seen:
    """Ask a host for `/` and take any answer for a yes, through the proxy that the environment names.

    Args:
        address: host or host:port.
        scheme: http or https; certificates are checked.
        timeout: seconds to wait for the connection, and again for the answer.
    """
    import requests

    try:
        requests.get(f"{scheme}://{address}/", timeout=timeout, allow_redirects=False, stream=True).close()
    except requests.exceptions.SSLError as error:
        return Seen(answered=False, reason=f"its certificate is not trusted here ({_short(error)})")
    except requests.exceptions.ProxyError as error:
        return Seen(answered=False, reason=f"the proxy does not let it through ({_short(error)})")
    except requests.exceptions.Timeout:
        return Seen(answered=False, reason=f"no answer within {timeout:.0f} seconds")
    except requests.exceptions.RequestException as error:
        return Seen(answered=False, reason=f"cannot be reached ({_short(error)})")
    return Seen(answered=True)


def _short(error: BaseException) -> str:
    inner = retry.innermost(error)
    return str(inner)[:160] or type(inner).__name__
