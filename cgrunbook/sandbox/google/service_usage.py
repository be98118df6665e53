"""Service Usage: which APIs the project has enabled, and the service agents made on request.

Knows v1 services and v1beta1 generateServiceIdentity. Knows nothing of what the APIs do.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from starlette.types import ASGIApp

from cgrunbook.sandbox import errors, hosts
from cgrunbook.sandbox.context import Sandbox
from cgrunbook.sandbox.google import operations, schema
from cgrunbook.sandbox.google.wire import Answer, Call, Handler, Handlers, Partly, Service

SCHEMA = """
CREATE TABLE IF NOT EXISTS enabled_service (name TEXT PRIMARY KEY) WITHOUT ROWID;
"""

_TYPES = "type.googleapis.com/google.api.serviceusage.v1"
_FROM_THE_START = ("cloudresourcemanager.googleapis.com", "iam.googleapis.com", "serviceusage.googleapis.com")
#: Services whose errors carry the list `errors` of the first generation of Google's APIs besides `status` and `details`.
_LEGACY_ERRORS = frozenset({"cloudbilling.googleapis.com", "cloudresourcemanager.googleapis.com"})
#: Recorded of the operations that enable or disable one service; of a batch it is OperationMetadata.
_NOTHING = {"@type": "type.googleapis.com/google.protobuf.Empty"}
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
    title = schema.titles().get(service, service)
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


def _known(sandbox: Sandbox, names: Iterable[str]) -> list[str]:
    """The names of services, all of which Google has."""
    names = list(names)
    if unknown := [name for name in names if name not in schema.titles()]:
        told = ",".join(unknown)
        sandbox.hint(f"{hosts.SERVICE_USAGE} was asked for {told}: the sandbox knows no such API of Google's")
        violation = {"type": "googleapis.com", "subject": f"?error_code=220002&services={told}"}
        raise errors.PermissionDenied(
            f"Not found or permission denied for service(s): {told}.",
            [
                {"@type": errors.PRECONDITION_FAILURE, "violations": [violation]},
                {
                    "@type": errors.ERROR_INFO,
                    "reason": "SERVICE_CONFIG_NOT_FOUND_OR_PERMISSION_DENIED",
                    "domain": hosts.SERVICE_USAGE,
                    "metadata": {"services": told},
                },
            ],
        )
    return names


def _services(sandbox: Sandbox, names: Iterable[str], after: str = "") -> list[dict[str, Any]]:
    """Services as they are answered: one that is disabled has no parent, but where an operation `after` disabled it."""
    parent = f"projects/{sandbox.settings.project_number}"
    enabled = {row["name"] for row in sandbox.state.read().execute("SELECT name FROM enabled_service")}
    services = []
    for name in names:
        state = after or ("ENABLED" if name in enabled else "DISABLED")
        service = {
            "name": f"{parent}/services/{name}",
            "config": {"name": name, "title": schema.titles()[name]},
            "state": state,
        }
        services.append(service | {"parent": parent} if after or name in enabled else service)
    return services


def _get(call: Call) -> Answer:
    call.check("serviceusage.services.get")
    return _services(call.sandbox, _known(call.sandbox, [call.names["service"]]))[0]


def _batch_get(call: Call) -> Answer:
    call.check("serviceusage.services.get")
    names = _known(call.sandbox, (name.rpartition("/")[2] for name in call.query.get("names", [])))
    if not 1 <= len(names) <= 30:
        details = {"@type": errors.ERROR_INFO, "reason": "SU_MISSING_NAMES", "domain": hosts.SERVICE_USAGE}
        raise errors.InvalidArgument("Between 1 and 30 services can be got at once.", [] if names else [details])
    return {"services": _services(call.sandbox, names)}


def _list(call: Call) -> Answer:
    call.check("serviceusage.services.list")
    services = _services(call.sandbox, (name for name in sorted(schema.titles()) if name > call.after))
    return call.page("services", ((one["config"]["name"], one) for one in services), default=50, most=200)


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


def _begun(call: Call, deed: str, metadata: dict[str, Any], response: dict[str, Any]) -> Answer:
    prefix = f"operations/{deed}.p2-{call.sandbox.settings.project_number}-"
    return operations.begin(call.sandbox, prefix, metadata, response=response)


def _enabled(call: Call, deed: str, names: list[str], metadata: dict[str, Any], response: dict[str, Any]) -> Answer:
    """Enable services: an operation of which the first answer tells the name only, or none that is still to be done."""
    if not _set_enabled(call.sandbox, names, enabled=True):
        return {"name": _DONE, "done": True, "response": response}
    return {"name": _begun(call, deed, metadata, response)["name"]}


def _enable(call: Call) -> Answer:
    call.check("serviceusage.services.enable")
    names = _known(call.sandbox, [call.names["service"]])
    response = {"@type": f"{_TYPES}.EnableServiceResponse", "service": _services(call.sandbox, names, "ENABLED")[0]}
    return _enabled(call, "acf", names, _NOTHING, response)


def _batch_enable(call: Call) -> Answer:
    call.check("serviceusage.services.enable")
    names = _known(call.sandbox, call.body.get("serviceIds", []))
    if not 1 <= len(names) <= 20:
        raise errors.InvalidArgument("Between 1 and 20 services can be enabled at once.")
    services = _services(call.sandbox, names, "ENABLED")
    response = {"@type": f"{_TYPES}.BatchEnableServicesResponse", "services": services}
    return _enabled(call, "acat", names, {"@type": f"{_TYPES}.OperationMetadata"}, response)


def _disable(call: Call) -> Answer:
    call.check("serviceusage.services.disable")
    (name,) = _known(call.sandbox, [call.names["service"]])
    if not is_enabled(call.sandbox, name):
        raise errors.FailedPrecondition(
            f"The service {name} is not enabled for project {call.sandbox.settings.project_number}, so it cannot be "
            "disabled."
        )
    _set_enabled(call.sandbox, [name], enabled=False)
    service = _services(call.sandbox, [name], "DISABLED")[0]
    return _begun(call, "dcf", _NOTHING, {"@type": f"{_TYPES}.DisableServiceResponse", "service": service})


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
    (name,) = _known(call.sandbox, [call.names["service"]])
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
    "services.list": Partly(_list, "those of Google's APIs that its discovery documents name"),
    "services.enable": _enable,
    "services.batchEnable": _batch_enable,
    "services.disable": _disable,
    "operations.get": _operation_get,
}
PLAYED: Handlers = {
    "v1": _SERVICES | {"services.batchGet": _batch_get},
    "v1beta1": _SERVICES | {"services.generateServiceIdentity": _generate_identity},
}
