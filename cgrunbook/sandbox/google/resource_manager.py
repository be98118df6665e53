"""Resource Manager: the one project, and its IAM policy, in v1 (gcloud) and v3 (the Python clients, Terraform).

Knows projects. Knows no folders and no organisation.
"""

from __future__ import annotations

from typing import Any

from starlette.types import ASGIApp

from cgrunbook.sandbox import errors, hosts
from cgrunbook.sandbox.context import Sandbox
from cgrunbook.sandbox.google import service_usage
from cgrunbook.sandbox.google.filters import compile_filter
from cgrunbook.sandbox.google.policies import Policies
from cgrunbook.sandbox.google.wire import Answer, Call, Handlers, Partly, Service
from cgrunbook.sandbox.state import timestamp

#: The Google Cloud organisation that the project is in; nothing of it is played.
_PARENT = {"type": "organization", "id": "100000000001"}


def app(sandbox: Sandbox) -> ASGIApp:
    """The service as an ASGI application."""
    service_usage.prepare(sandbox)
    return Service(sandbox, hosts.RESOURCE_MANAGER, PLAYED, service_usage.require_enabled, _foreign)


def _created(sandbox: Sandbox) -> str:
    """When the project was made, RFC 3339."""
    remembered = sandbox.state.setting("project_created")
    if remembered is None:
        remembered = timestamp(sandbox.clock.now())
        sandbox.state.remember("project_created", remembered)
    return remembered


def _foreign(_: str, project: str) -> errors.PermissionDenied:
    """The refusal of a foreign project, as one that may not exist."""
    return errors.PermissionDenied(
        "The caller does not have permission",
        [
            {
                "@type": errors.ERROR_INFO,
                "reason": "IAM_PERMISSION_DENIED",
                "domain": "cloudresourcemanager.googleapis.com",
                "metadata": {"permission": "resourcemanager.projects.get", "resource": f"projects/{project}"},
            }
        ],
    )


def _v3(sandbox: Sandbox) -> dict[str, Any]:
    settings, made = sandbox.settings, _created(sandbox)
    return {
        "name": f"projects/{settings.project_number}",
        "parent": f"organizations/{_PARENT['id']}",
        "projectId": settings.project_id,
        "state": "ACTIVE",
        "displayName": settings.project_id,
        "createTime": made,
        "updateTime": made,
        "etag": 'W/"cgrunbook"',
    }


def _v1(sandbox: Sandbox) -> dict[str, Any]:
    settings = sandbox.settings
    return {
        "projectNumber": settings.project_number,
        "projectId": settings.project_id,
        "lifecycleState": "ACTIVE",
        "name": settings.project_id,
        "createTime": _created(sandbox),
        "parent": _PARENT,
    }


def _get_v3(call: Call) -> Answer:
    call.check("resourcemanager.projects.get")
    return _v3(call.sandbox)


def _get_v1(call: Call) -> Answer:
    call.check("resourcemanager.projects.get")
    return _v1(call.sandbox)


def _ancestry(call: Call) -> Answer:
    call.check("resourcemanager.projects.get")
    ancestors = ({"type": "project", "id": call.sandbox.settings.project_id}, _PARENT)
    return {"ancestor": [{"resourceId": ancestor} for ancestor in ancestors]}


def _visible(call: Call, project: dict[str, Any], expression: str) -> list[dict[str, Any]]:
    may = call.sandbox.iam.allowed(call.principal, "resourcemanager.projects.get", call.project)
    return [project] if may and compile_filter(expression)(project) else []


def _search_v3(call: Call) -> Answer:
    return {"projects": _visible(call, _v3(call.sandbox), call.query.get("query", ""))}


def _list_v1(call: Call) -> Answer:
    return {"projects": _visible(call, _v1(call.sandbox), call.query.get("filter", ""))}


# A project in an organisation may lose its last owner, and the trainee may lock themselves out, as in life.
_POLICIES = Policies("resourcemanager.projects", lambda call: call.project).methods("projects")
PLAYED: Handlers = {
    "v3": {
        "projects.get": _get_v3,
        "projects.search": Partly(_search_v3, "one project"),
        "projects.list": Partly(_search_v3, "one project"),
        **_POLICIES,
    },
    "v1": {
        "projects.get": _get_v1,
        "projects.list": Partly(_list_v1, "one project"),
        "projects.getAncestry": _ancestry,
        **_POLICIES,
    },
}
