"""Through which door Chainguard is reached: chainctl, or its API as a Google service account that was set up for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import requests

from cgrunbook import steps
from cgrunbook.cloud import ChainguardAccess, Cloud, connect
from cgrunbook.cloud.connection import Connection
from tests.steps import performing

ACCOUNT = "rotator@cgrunbook-sandbox.iam.gserviceaccount.com"
DOORS = ("chainctl", "service-account")


def set_up() -> steps.LetServiceAccountMakePullTokens:
    return steps.LetServiceAccountMakePullTokens(ACCOUNT, "example.com")


def let_the_trainee_act_as_it(connection: Connection) -> None:
    """What an owner of a project grants first: Google's own role of owners does not let them have identity tokens."""
    policies = f"{connection.resource_manager}/v3/projects/{connection.project_id}"
    token = {"Authorization": f"Bearer {connection.access_token().reveal()}"}
    policy = requests.post(f"{policies}:getIamPolicy", json={}, headers=token, timeout=30).json()
    grant = {"role": "roles/iam.serviceAccountTokenCreator", "members": ["user:trainee@example.com"]}
    policy["bindings"].append(grant)
    requests.post(f"{policies}:setIamPolicy", json={"policy": policy}, headers=token, timeout=30).raise_for_status()


def prepare() -> ChainguardAccess:
    """Set the second door up, with the grant that lets the trainee through it; answers what a run is told then."""
    let_the_trainee_act_as_it(connect("sandbox"))
    return set_up_as_a_person_does()


def set_up_as_a_person_does() -> ChainguardAccess:
    """Perform the set-up; answers what a run is told then."""
    book, seen = performing.open_book(cloud=Cloud(connect("sandbox")))
    performing.perform(book, set_up())
    return ChainguardAccess("service-account", str(seen.results[0].evidence.facts["identity"]), ACCOUNT)


@contextmanager
def through(door: str, access: ChainguardAccess) -> Iterator[None]:
    """While this lasts, what `performing` opens goes through this door."""

    def connected(target: Any, **given: Any) -> Connection:
        return replace(connect(target, **given), chainguard=access if door == "service-account" else ChainguardAccess())

    with patch.object(performing, "connect", connected):
        yield
