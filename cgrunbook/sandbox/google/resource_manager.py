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
from cgrunbook.sandbox.google.messages import Bool, Enum, ListOf, MapOf, Message, String, Timestamp
from cgrunbook.sandbox.google.wire import (
    GET_POLICY,
    IAM_POLICY,
    PAGE,
    SET_POLICY,
    TEST_PERMISSIONS,
    Answer,
    Call,
    Method,
    Service,
)
from cgrunbook.sandbox.state import timestamp

_STATE = Enum(
    "google.cloud.resourcemanager.v3.Project.State", {"STATE_UNSPECIFIED": 0, "ACTIVE": 1, "DELETE_REQUESTED": 2}
)
_PROJECT = Message(
    "google.cloud.resourcemanager.v3.Project",
    {
        "name": String(),
        "parent": String(),
        "projectId": String(),
        "state": _STATE,
        "displayName": String(),
        "createTime": Timestamp(),
        "updateTime": Timestamp(),
        "etag": String(),
        "labels": MapOf(String()),
    },
)
_SEARCH = Message(
    "google.cloud.resourcemanager.v3.SearchProjectsResponse", {"projects": ListOf(_PROJECT), "nextPageToken": String()}
)
#: The Google Cloud organisation that the project is in; nothing of it is played.
_PARENT = {"type": "organization", "id": "100000000001"}
_ANY_QUERY = PAGE | {"query": String(), "filter": String(), "parent": String(), "showDeleted": Bool()}


def app(sandbox: Sandbox) -> ASGIApp:
    """Return the service.

    Args:
        sandbox: The sandbox.
    """
    service_usage.prepare(sandbox)
    return Service(sandbox, hosts.RESOURCE_MANAGER, METHODS, service_usage.require_enabled)


def created(sandbox: Sandbox) -> str:
    """Return when the project was made, RFC 3339.

    Args:
        sandbox: The sandbox.
    """
    remembered = sandbox.state.setting("project_created")
    if remembered is None:
        remembered = timestamp(sandbox.clock.now())
        sandbox.state.remember("project_created", remembered)
    return remembered


def _resource(call: Call) -> str:
    """Return the project's name; a foreign one is refused as one that may not exist."""
    given = call.names["resource"]
    settings = call.sandbox.settings
    if given not in {settings.project_id, settings.project_number}:
        raise errors.PermissionDenied(
            "The caller does not have permission",
            [
                {
                    "@type": errors.ERROR_INFO,
                    "reason": "IAM_PERMISSION_DENIED",
                    "domain": "cloudresourcemanager.googleapis.com",
                    "metadata": {"permission": "resourcemanager.projects.get", "resource": f"projects/{given}"},
                }
            ],
        )
    return call.project


def _v3(sandbox: Sandbox) -> dict[str, Any]:
    settings, made = sandbox.settings, created(sandbox)
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
        "createTime": created(sandbox),
        "parent": _PARENT,
    }


def _get_v3(call: Call) -> Answer:
    call.check("resourcemanager.projects.get", _resource(call))
    return _v3(call.sandbox)


def _get_v1(call: Call) -> Answer:
    call.check("resourcemanager.projects.get", _resource(call))
    return _v1(call.sandbox)


def _ancestry(call: Call) -> Answer:
    call.check("resourcemanager.projects.get", _resource(call))
    ancestors = ({"type": "project", "id": call.sandbox.settings.project_id}, _PARENT)
    return {"ancestor": [{"resourceId": ancestor} for ancestor in ancestors]}


def _visible(call: Call, project: dict[str, Any], expression: str) -> list[dict[str, Any]]:
    may = call.sandbox.iam.allowed(call.principal, "resourcemanager.projects.get", call.project)
    return [project] if may and compile_filter(expression)(project) else []


def _search_v3(call: Call) -> Answer:
    found = _visible(call, _v3(call.sandbox), call.query.get("query", ""))
    return {"projects": found} if found else {}


def _list_v1(call: Call) -> Answer:
    found = _visible(call, _v1(call.sandbox), call.query.get("filter", ""))
    return {"projects": found} if found else {}


def _get_policy(call: Call) -> Answer:
    resource = _resource(call)
    call.check("resourcemanager.projects.getIamPolicy", resource)
    return call.sandbox.iam.policy(resource, call.body.get("options", {}).get("requestedPolicyVersion", 1))


def _set_policy(call: Call) -> Answer:
    resource = _resource(call)
    call.check("resourcemanager.projects.setIamPolicy", resource)
    # A project in an organisation may lose its last owner, and the trainee may lock themselves out, as in life.
    policy = call.body.get("policy")
    if policy is None:
        raise errors.InvalidArgument("Request contains an invalid argument.")
    return call.sandbox.iam.set_policy(resource, policy)


def _test(call: Call) -> Answer:
    resource = _resource(call)
    held = call.sandbox.iam.held(call.principal, checked_permissions(call), resource)
    return {"permissions": held} if held else {}


def checked_permissions(call: Call) -> list[str]:
    """Return the permissions that a testIamPermissions call asks about.

    Args:
        call: The call; body is google.iam.v1.TestIamPermissionsRequest.

    Raises:
        errors.InvalidArgument: None, more than 100, with a wildcard, or no permission's form.
    """
    asked: list[str] = list(call.body.get("permissions", []))
    if len(asked) > 100:
        raise errors.InvalidArgument("At most 100 permissions can be tested at once.")
    for permission in asked:
        if "*" in permission or permission.count(".") < 2 or not permission.replace(".", "").isalnum():
            raise errors.InvalidArgument(f"Permission {permission} is not valid for this resource.")
    return asked


METHODS = (
    Method("GetProject", "GET", "v3/projects/{resource}", _get_v3, response=_PROJECT),
    Method(
        "SearchProjects",
        "GET",
        "v3/projects:search",
        _search_v3,
        query=_ANY_QUERY,
        response=_SEARCH,
        partly="one project",
    ),
    Method("ListProjects", "GET", "v3/projects", _search_v3, query=_ANY_QUERY, response=_SEARCH, partly="one project"),
    Method(
        "GetIamPolicy", "POST", "v3/projects/{resource}:getIamPolicy", _get_policy, body=GET_POLICY, response=IAM_POLICY
    ),
    Method(
        "SetIamPolicy", "POST", "v3/projects/{resource}:setIamPolicy", _set_policy, body=SET_POLICY, response=IAM_POLICY
    ),
    Method("TestIamPermissions", "POST", "v3/projects/{resource}:testIamPermissions", _test, body=TEST_PERMISSIONS),
    Method("CreateProject", "POST", "v3/projects", None),
    Method("UpdateProject", "PATCH", "v3/projects/{resource}", None),
    Method("DeleteProject", "DELETE", "v3/projects/{resource}", None),
    Method("MoveProject", "POST", "v3/projects/{resource}:move", None),
    Method("UndeleteProject", "POST", "v3/projects/{resource}:undelete", None),
    Method("GetOperation", "GET", "v3/operations/{operation}", None),
    *(
        Method(f"{verb}Settings", method, f"v3/projects/{{resource}}/settings{rest}", None)
        for verb, method, rest in (
            ("List", "GET", ""),
            ("Get", "GET", "/{setting}"),
            ("Update", "PATCH", "/{setting}"),
            ("Clear", "POST", "/{setting}:clear"),
        )
    ),
    Method("GetEffectiveSettings", "GET", "v3/projects/{resource}/effectiveSettings/{setting}", None),
    Method("projects.get", "GET", "v1/projects/{resource}", _get_v1),
    Method("projects.list", "GET", "v1/projects", _list_v1, query=_ANY_QUERY, partly="one project"),
    Method(
        "projects.getIamPolicy",
        "POST",
        "v1/projects/{resource}:getIamPolicy",
        _get_policy,
        body=GET_POLICY,
        response=IAM_POLICY,
    ),
    Method(
        "projects.setIamPolicy",
        "POST",
        "v1/projects/{resource}:setIamPolicy",
        _set_policy,
        body=SET_POLICY,
        response=IAM_POLICY,
    ),
    Method(
        "projects.testIamPermissions", "POST", "v1/projects/{resource}:testIamPermissions", _test, body=TEST_PERMISSIONS
    ),
    Method("projects.getAncestry", "POST", "v1/projects/{resource}:getAncestry", _ancestry),
    Method("operations.get", "GET", "v1/operations/{operation}", None),
    *(
        Method(f"projects.{name}", "POST", f"v1/projects/{{resource}}:{name}", None)
        for name in (
            "undelete",
            "getOrgPolicy",
            "setOrgPolicy",
            "clearOrgPolicy",
            "listOrgPolicies",
            "getEffectiveOrgPolicy",
            "listAvailableOrgPolicyConstraints",
        )
    ),
    Method("projects.create", "POST", "v1/projects", None),
    Method("projects.update", "PUT", "v1/projects/{resource}", None),
    Method("projects.delete", "DELETE", "v1/projects/{resource}", None),
)
