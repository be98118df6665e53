"""Service Usage: which APIs the project has enabled, and the service agents made on request.

Knows v1 services and v1beta1 generateServiceIdentity. Knows nothing of what the APIs do.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from starlette.types import ASGIApp

from cgrunbook.sandbox import errors, hosts
from cgrunbook.sandbox.context import Sandbox
from cgrunbook.sandbox.google import operations
from cgrunbook.sandbox.google.wire import Answer, Call, Handler, Handlers, Partly, Service

SCHEMA = """
CREATE TABLE IF NOT EXISTS enabled_service (name TEXT PRIMARY KEY) WITHOUT ROWID;
"""

#: APIs that can be enabled here: those that the guide needs and those that a trainee meets beside them.
TITLES = {
    "accesscontextmanager.googleapis.com": "Access Context Manager API",
    "artifactregistry.googleapis.com": "Artifact Registry API",
    "cloudbilling.googleapis.com": "Cloud Billing API",
    "cloudkms.googleapis.com": "Cloud Key Management Service (KMS) API",
    "cloudresourcemanager.googleapis.com": "Cloud Resource Manager API",
    "containerscanning.googleapis.com": "Container Scanning API",
    "iam.googleapis.com": "Identity and Access Management (IAM) API",
    "iamcredentials.googleapis.com": "IAM Service Account Credentials API",
    "pubsub.googleapis.com": "Cloud Pub/Sub API",
    "secretmanager.googleapis.com": "Secret Manager API",
    "serviceusage.googleapis.com": "Service Usage API",
}
_FROM_THE_START = ("cloudresourcemanager.googleapis.com", "iam.googleapis.com", "serviceusage.googleapis.com")
#: Services whose errors carry the list `errors` of the first generation of Google's APIs besides `status` and `details`.
_LEGACY_ERRORS = frozenset({"cloudbilling.googleapis.com", "cloudresourcemanager.googleapis.com"})
_DONE = "operations/noop.DONE_OPERATION"
_FINISHED = "operations/finished.DONE_OPERATION"


def prepare(sandbox: Sandbox) -> None:
    """Make the tables, and on a fresh sandbox enable what every project has."""
    sandbox.state.declare(SCHEMA)
    sandbox.state.declare(operations.SCHEMA)
    if sandbox.state.setting("services_prepared") is not None:
        return
    with sandbox.state.transaction() as connection:
        connection.executemany(
            "INSERT OR IGNORE INTO enabled_service VALUES (?)", [(name,) for name in _FROM_THE_START]
        )
        sandbox.state.remember("services_prepared", "1")


def is_enabled(sandbox: Sandbox, service: str) -> bool:
    """Whether the project has an API enabled, for example "secretmanager.googleapis.com"."""
    prepare(sandbox)
    return sandbox.state.row("SELECT 1 FROM enabled_service WHERE name = ?", service) is not None


def require_enabled(sandbox: Sandbox, service: str, consumer: str = "") -> None:
    """Refuse a call to an API that the project has not enabled.

    Args:
        sandbox: whose project it is.
        service: the API.
        consumer: the number of another project that the call is charged to; "" for the sandbox's own.

    Raises:
        errors.PermissionDenied: SERVICE_DISABLED, with where to enable it.
    """
    if service in _FROM_THE_START if consumer else is_enabled(sandbox, service):
        return
    number = consumer or sandbox.settings.project_number
    title = TITLES.get(service, service)
    url = f"https://console.developers.google.com/apis/api/{service}/overview?project={number}"
    message = (
        f"{title} has not been used in project {number} before or it is disabled. Enable it by visiting {url} then retry. "
        "If you enabled this API recently, wait a few minutes for the action to propagate to our systems and retry."
    )
    raise errors.PermissionDenied(
        message,
        [
            {
                "@type": errors.ERROR_INFO,
                "reason": "SERVICE_DISABLED",
                "domain": "googleapis.com",
                "metadata": {
                    "service": service,
                    "serviceTitle": title,
                    "consumer": f"projects/{number}",
                    "containerInfo": number,
                    "activationUrl": url,
                },
            },
            {"@type": errors.LOCALIZED_MESSAGE, "locale": "en-US", "message": message},
            {
                "@type": errors.HELP,
                "links": [{"description": "Google developers console API activation", "url": url}],
            },
        ],
        # Google's older Go clients, Terraform's provider among them, know the refusal by this reason.
        legacy={
            "message": message,
            "domain": "usageLimits",
            "reason": "accessNotConfigured",
            "extendedHelp": "https://console.developers.google.com",
        }
        if service in _LEGACY_ERRORS
        else None,
    )


def app(sandbox: Sandbox) -> ASGIApp:
    """The service as an ASGI application."""
    prepare(sandbox)
    return Service(sandbox, hosts.SERVICE_USAGE, PLAYED, require_enabled)


def _known(service: str) -> str:
    if service not in TITLES:
        raise errors.NotFound(
            f"Not found or permission denied for service(s): {service}.",
            [
                {
                    "@type": errors.ERROR_INFO,
                    "reason": "SERVICE_CONFIG_NOT_FOUND_OR_PERMISSION_DENIED",
                    "domain": "serviceusage.googleapis.com",
                    "metadata": {"services": service},
                }
            ],
        )
    return service


def _service(sandbox: Sandbox, name: str, enabled: bool) -> dict[str, Any]:
    parent = f"projects/{sandbox.settings.project_number}"
    return {
        "name": f"{parent}/services/{name}",
        "config": {"name": name, "title": TITLES[name]},
        "state": "ENABLED" if enabled else "DISABLED",
        "parent": parent,
    }


def _get(call: Call) -> Answer:
    call.check("serviceusage.services.get")
    name = _known(call.names["service"])
    return _service(call.sandbox, name, is_enabled(call.sandbox, name))


def _batch_get(call: Call) -> Answer:
    call.check("serviceusage.services.get")
    names = [_known(name.rpartition("/")[2]) for name in call.query.get("names", [])]
    if not 1 <= len(names) <= 30:
        raise errors.InvalidArgument("Between 1 and 30 services can be got at once.")
    return {"services": [_service(call.sandbox, name, is_enabled(call.sandbox, name)) for name in names]}


def _list(call: Call) -> Answer:
    call.check("serviceusage.services.list")
    everything = (
        (name, _service(call.sandbox, name, is_enabled(call.sandbox, name)))
        for name in sorted(TITLES)
        if name > call.after
    )
    return call.page("services", everything, default=50, most=200)


def _set_enabled(sandbox: Sandbox, names: Iterable[str], *, enabled: bool) -> list[str]:
    """Enable or disable; return those that changed."""
    changed = []
    with sandbox.state.transaction() as connection:
        for name in names:
            statement = (
                "INSERT OR IGNORE INTO enabled_service VALUES (?)"
                if enabled
                else "DELETE FROM enabled_service WHERE name = ?"
            )
            if connection.execute(statement, (name,)).rowcount:
                changed.append(name)
    return changed


def _operation(call: Call, deed: str, names: list[str], response: dict[str, Any], *, changed: bool) -> Answer:
    if not changed:
        return {"name": _DONE, "done": True, "response": response}
    number = call.sandbox.settings.project_number
    metadata = {
        "@type": "type.googleapis.com/google.api.serviceusage.v1.OperationMetadata",
        "resourceNames": [f"projects/{number}/services/{name}" for name in names],
    }
    return operations.begin(call.sandbox, f"operations/{deed}.p2-{number}-", metadata, response=response)


def _enable(call: Call) -> Answer:
    call.check("serviceusage.services.enable")
    name = _known(call.names["service"])
    changed = _set_enabled(call.sandbox, [name], enabled=True)
    response = {
        "@type": "type.googleapis.com/google.api.serviceusage.v1.EnableServiceResponse",
        "service": _service(call.sandbox, name, enabled=True),
    }
    return _operation(call, "acf", [name], response, changed=bool(changed))


def _batch_enable(call: Call) -> Answer:
    call.check("serviceusage.services.enable")
    names = [_known(name) for name in call.body.get("serviceIds", [])]
    if not 1 <= len(names) <= 20:
        raise errors.InvalidArgument("Between 1 and 20 services can be enabled at once.")
    changed = _set_enabled(call.sandbox, names, enabled=True)
    response = {
        "@type": "type.googleapis.com/google.api.serviceusage.v1.BatchEnableServicesResponse",
        "services": [_service(call.sandbox, name, enabled=True) for name in names],
    }
    return _operation(call, "acat", names, response, changed=bool(changed))


def _disable(call: Call) -> Answer:
    call.check("serviceusage.services.disable")
    name = _known(call.names["service"])
    if not is_enabled(call.sandbox, name):
        raise errors.FailedPrecondition(
            f"The service {name} is not enabled for project {call.sandbox.settings.project_number}, so it cannot be "
            "disabled."
        )
    _set_enabled(call.sandbox, [name], enabled=False)
    response = {
        "@type": "type.googleapis.com/google.api.serviceusage.v1.DisableServiceResponse",
        "service": _service(call.sandbox, name, enabled=False),
    }
    return _operation(call, "dcf", [name], response, changed=True)


def _operation_get(call: Call) -> Answer:
    call.check("serviceusage.operations.get")
    name = f"operations/{call.names['operation']}"
    if name in {_DONE, _FINISHED}:
        return {"name": name, "done": True}
    found = operations.finished(call.sandbox, name)
    if found is None:
        raise errors.NotFound(f"Operation not found: {name}.")
    return found


def _generate_identity(call: Call) -> Answer:
    call.check("serviceusage.services.enable")
    name = _known(call.names["service"])
    email, unique_id = call.sandbox.iam.make_agent(name)
    return {
        "name": _FINISHED,
        "done": True,
        "response": {
            "@type": "type.googleapis.com/google.api.serviceusage.v1beta1.ServiceIdentity",
            "email": email,
            "uniqueId": unique_id,
        },
    }


_SERVICES: dict[str, Handler | Partly] = {
    "services.get": _get,
    "services.list": Partly(_list, "knows the few services that the guide needs or stands beside"),
    "services.enable": _enable,
    "services.batchEnable": _batch_enable,
    "services.disable": _disable,
    "operations.get": _operation_get,
}
PLAYED: Handlers = {
    "v1": _SERVICES | {"services.batchGet": _batch_get},
    "v1beta1": _SERVICES | {"services.generateServiceIdentity": _generate_identity},
}
