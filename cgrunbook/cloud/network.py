"""Whether a host can be reached from this machine. It knows sockets, TLS and proxies, and not what a host is for."""

from __future__ import annotations

from cgrunbook.cloud import retry


def why_unreachable(address: str, scheme: str, *, timeout: float = 10.0) -> str:
    """Ask a host for `/`, through the proxy that the environment names; whatever it says in HTTP is an answer.

    Args:
        address: host or host:port.
        scheme: http or https; certificates are checked.
        timeout: seconds to wait for the connection, and again for the answer.

    Returns:
        Why it does not answer, a phrase; "" when it does.
    """
    import requests

    try:
        requests.get(f"{scheme}://{address}/", timeout=timeout, allow_redirects=False, stream=True).close()
    except requests.exceptions.SSLError as error:
        return f"its certificate is not trusted here ({_short(error)})"
    except requests.exceptions.ProxyError as error:
        return f"the proxy does not let it through ({_short(error)})"
    except requests.exceptions.Timeout:
        return f"no answer within {timeout:.0f} seconds"
    except requests.exceptions.RequestException as error:
        return f"cannot be reached ({_short(error)})"
    return ""


def _short(error: BaseException) -> str:
    inner = retry.innermost(error)
    return str(inner)[:160] or type(inner).__name__
