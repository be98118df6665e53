"""Cloud KMS, as far as gcloud asks it when a repository is to be encrypted with one's own key: the key's IAM policy.

Knows names of keys and their policies. Knows no keys: each one that is named well is taken to be there.
"""

from __future__ import annotations

from starlette.types import ASGIApp

from cgrunbook.sandbox import errors, hosts
from cgrunbook.sandbox.context import Sandbox
from cgrunbook.sandbox.google import service_usage
from cgrunbook.sandbox.google.messages import Integer
from cgrunbook.sandbox.google.resource_manager import checked_permissions
from cgrunbook.sandbox.google.wire import IAM_POLICY, PAGE, SET_POLICY, TEST_PERMISSIONS, Answer, Call, Method, Service


def app(sandbox: Sandbox) -> ASGIApp:
    """Return the service.

    Args:
        sandbox: The sandbox.
    """
    service_usage.prepare(sandbox)
    return Service(sandbox, hosts.CLOUD_KMS, METHODS, service_usage.require_enabled)


def _key(call: Call) -> str:
    names = call.names
    return f"{call.project}/locations/{names['location']}/keyRings/{names['ring']}/cryptoKeys/{names['key']}"


def _get_policy(call: Call) -> Answer:
    call.check("cloudkms.cryptoKeys.getIamPolicy", _key(call))
    return call.sandbox.iam.policy(_key(call), call.query.get("options.requestedPolicyVersion", 1))


def _set_policy(call: Call) -> Answer:
    call.check("cloudkms.cryptoKeys.setIamPolicy", _key(call))
    if "policy" not in call.body:
        raise errors.InvalidArgument.at("policy", "The request must have a policy.")
    return call.sandbox.iam.set_policy(_key(call), call.body["policy"])


def _test(call: Call) -> Answer:
    held = call.sandbox.iam.held(call.principal, checked_permissions(call), _key(call))
    return {"permissions": held} if held else {}


_RINGS = "v1/projects/{project}/locations/{location}/keyRings"
_KEYS = f"{_RINGS}/{{ring}}/cryptoKeys"
_ANY_KEY = "any key is taken to be there"
METHODS = (
    Method(
        "GetIamPolicy",
        "GET",
        f"{_KEYS}/{{key}}:getIamPolicy",
        _get_policy,
        query={"options.requestedPolicyVersion": Integer()},
        response=IAM_POLICY,
        partly=_ANY_KEY,
    ),
    Method(
        "SetIamPolicy",
        "POST",
        f"{_KEYS}/{{key}}:setIamPolicy",
        _set_policy,
        SET_POLICY,
        response=IAM_POLICY,
        partly=_ANY_KEY,
    ),
    Method(
        "TestIamPermissions", "POST", f"{_KEYS}/{{key}}:testIamPermissions", _test, TEST_PERMISSIONS, partly=_ANY_KEY
    ),
    Method("CreateKeyRing", "POST", _RINGS, None),
    Method("ListKeyRings", "GET", _RINGS, None, query=PAGE),
    Method("GetKeyRing", "GET", f"{_RINGS}/{{ring}}", None),
    Method("CreateCryptoKey", "POST", _KEYS, None),
    Method("ListCryptoKeys", "GET", _KEYS, None, query=PAGE),
    Method("GetCryptoKey", "GET", f"{_KEYS}/{{key}}", None),
    Method("Encrypt", "POST", f"{_KEYS}/{{key}}:encrypt", None),
    Method("Decrypt", "POST", f"{_KEYS}/{{key}}:decrypt", None),
)
