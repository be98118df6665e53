"""Cloud Billing, as far as it is asked beside a project: Terraform's data source google_project reads it.

Knows whether the project has a billing account. Knows no accounts, prices or bills.
"""

from __future__ import annotations

from starlette.types import ASGIApp

from cgrunbook.sandbox import hosts
from cgrunbook.sandbox.context import Sandbox
from cgrunbook.sandbox.google import service_usage
from cgrunbook.sandbox.google.wire import Answer, Call, Handlers, Service

_ACCOUNT = "billingAccounts/00C6B2-000000-000001"


def app(sandbox: Sandbox) -> ASGIApp:
    """The service as an ASGI application."""
    service_usage.prepare(sandbox)
    return Service(sandbox, hosts.CLOUD_BILLING, PLAYED, service_usage.require_enabled)


def _info(call: Call) -> Answer:
    call.check("resourcemanager.projects.get")
    return {
        "name": f"{call.project}/billingInfo",
        "projectId": call.sandbox.settings.project_id,
        "billingAccountName": _ACCOUNT,
        "billingEnabled": True,
    }


PLAYED: Handlers = {"v1": {"projects.getBillingInfo": _info}}
