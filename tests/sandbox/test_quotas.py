"""Quotas run out when they are told to, in the words of the host, and come back when they are lifted."""

from __future__ import annotations

import pytest
from google.api_core import exceptions

from cgrunbook.sandbox import hosts, process
from cgrunbook.sandbox.quotas import Quotas
from cgrunbook.sandbox.state import State
from tests.clients.gcloud import PROJECT, Clients
from tests.sandbox.conftest import Api


def test_after_so_many_requests_a_service_answers_429_until_it_is_lifted(api: Api) -> None:
    api.sandbox.quotas.limit(hosts.SECRET_MANAGER, 2)
    assert [api.secrets("GET", "/secrets").status for _ in range(4)] == [200, 200, 429, 429]
    refused = api.secrets("GET", "/secrets")
    assert (refused.error["status"], refused.reason) == ("RESOURCE_EXHAUSTED", "RATE_LIMIT_EXCEEDED")
    assert "Quota exceeded for quota metric" in refused.error["message"]
    assert api.services("GET", "/services").status == 200
    api.sandbox.quotas.lift(hosts.SECRET_MANAGER)
    assert api.secrets("GET", "/secrets").status == 200


def test_a_registrys_429_has_a_registrys_body(api: Api) -> None:
    api.sandbox.quotas.limit("us-central1-docker.pkg.dev", 0)
    answer = api.call("GET", "us-central1-docker.pkg.dev", "/v2/")
    assert answer.status == 429
    assert answer.body["errors"][0]["code"] == "TOOMANYREQUESTS"


def test_another_process_sets_it_and_the_python_client_knows_the_refusal(sandbox: process.Running) -> None:
    clients = Clients(sandbox)
    clients.services.enable_service({"name": f"{PROJECT}/services/{hosts.SECRET_MANAGER}"}).result(timeout=30)
    state = State(sandbox.folder / "state.db")
    Quotas(state).limit(hosts.SECRET_MANAGER, 0)
    state.close()
    with pytest.raises(exceptions.TooManyRequests) as refused:
        clients.secrets.get_secret(name=f"{PROJECT}/secrets/x")
    assert refused.value.reason == "RATE_LIMIT_EXCEEDED"
