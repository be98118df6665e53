"""Cloud KMS, as far as gcloud asks it when a repository is to be encrypted with one's own key: the key's IAM policy.

Knows names of keys and their policies. Knows no keys: each one that is named well is taken to be there.
"""

from __future__ import annotations

from starlette.types import ASGIApp

from cgrunbook.sandbox import hosts
from cgrunbook.sandbox.context import Sandbox
from cgrunbook.sandbox.google import service_usage
from cgrunbook.sandbox.google.policies import Policies
from cgrunbook.sandbox.google.wire import Call, Handlers, Partly, Service


def app(sandbox: Sandbox) -> ASGIApp:
    """The service as an ASGI application."""
    service_usage.prepare(sandbox)
    return Service(sandbox, hosts.CLOUD_KMS, PLAYED, service_usage.require_enabled)


def _key(call: Call) -> str:
    names = call.names
    return f"{call.project}/locations/{names['location']}/keyRings/{names['keyRing']}/cryptoKeys/{names['cryptoKey']}"


_KEYS = Policies("cloudkms.cryptoKeys", _key).methods("projects.locations.keyRings.cryptoKeys")
PLAYED: Handlers = {
    "v1": {name: Partly(handler, "any key is taken to be there") for name, handler in _KEYS.items()},
}
