"""Cloud Billing, as far as it is asked beside a project: Terraform's data source google_project reads it.

Knows whether the project has a billing account. Knows no accounts, prices or bills.
"""

from __future__ import annotations

from starlette.types import ASGIApp

from cgrunbook.sandbox import hosts
from cgrunbook.sandbox.context import Sandbox
from cgrunbook.sandbox.google import service_usage
from cgrunbook.sandbox.google.messages import Bool, Message, String
from cgrunbook.sandbox.google.wire import PAGE, Answer, Call, Method, Service

_INFO = Message(
    "google.cloud.billing.v1.ProjectBillingInfo",
    {"name": String(), "projectId": String(), "billingAccountName": String(), "billingEnabled": Bool()},
)
_ACCOUNT = "billingAccounts/00C6B2-000000-000001"


def app(sandbox: Sandbox) -> ASGIApp:
    """Return the service.

    Args:
        sandbox: The sandbox.
    """
    service_usage.prepare(sandbox)
    return Service(sandbox, hosts.CLOUD_BILLING, METHODS, service_usage.require_enabled)


def _info(call: Call) -> Answer:
    call.check("resourcemanager.projects.get")
    return {
        "name": f"{call.project}/billingInfo",
        "projectId": call.sandbox.settings.project_id,
        "billingAccountName": _ACCOUNT,
        "billingEnabled": True,
    }


_ONE = "v1/billingAccounts/{account}"
METHODS = (
    Method("GetProjectBillingInfo", "GET", "v1/projects/{project}/billingInfo", _info, response=_INFO),
    Method("UpdateProjectBillingInfo", "PUT", "v1/projects/{project}/billingInfo", None),
    Method("ListBillingAccounts", "GET", "v1/billingAccounts", None, query=PAGE),
    Method("GetBillingAccount", "GET", _ONE, None),
    Method("ListProjectBillingInfo", "GET", f"{_ONE}/projects", None, query=PAGE),
    Method("TestIamPermissions", "POST", f"{_ONE}:testIamPermissions", None),
)
