"""What can go wrong outside: each brought about by another client on a real sandbox, and taken away again."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from cgrunbook.cloud import Cloud
from cgrunbook.sandbox import process
from cgrunbook.steps.step import Step
from tests.steps.performing import PRIVATE, SECRET, open_book, perform, steps_of_02, steps_of_03

Act = Callable[[Cloud], None]


def nothing(_cloud: Cloud) -> None:
    """For a misfortune that is in the parameters."""


@dataclass(frozen=True)
class Misfortune:
    """One way in which the world is not as it should be.

    Args:
        name: what happens.
        brought_about: by another client.
        lifted: how its cause goes away, by following the remedy.
        said: pieces of the message, the cause.
        to_do: pieces of the remedy.
        exit_code: of the run.
        before: what was performed before.
        run: the notebooks that meet it.
        parameters: what the run is told.
    """

    name: str
    brought_about: Act
    lifted: Act
    said: Sequence[str]
    to_do: Sequence[str]
    exit_code: int
    before: Sequence[Callable[[], list[Step]]] = ()
    run: Sequence[str] = ("03",)
    parameters: Sequence[str] = ()

    def prepare(self) -> Cloud:
        """Perform what comes before, and bring it about."""
        book, _ = open_book()
        perform(book, *(step for steps in self.before for step in steps()))
        self.brought_about(book.cloud)
        return book.cloud


def operators_role_given(cloud: Cloud) -> None:
    # Whoever lost the right to give it back asks an administrator: the sandbox's own owner, whom nobody can remove.
    token = process.access_token("user:administrator@example.com")
    change_policy(
        cloud,
        lambda bindings: [*bindings, {"role": "roles/owner", "members": ["user:trainee@example.com"]}],
        token=token,
    )


def change_policy(cloud: Cloud, edit: Callable[[list[dict[str, Any]]], list[dict[str, Any]]], token: str = "") -> None:
    """Edit the project's IAM policy as Resource Manager's client would."""
    base = f"{cloud.connection.resource_manager}/v3/projects/{cloud.connection.project_id}"
    headers = {"Authorization": f"Bearer {token or cloud.connection.access_token().reveal()}"}
    with_conditions = {"options": {"requestedPolicyVersion": 3}}
    read = requests.post(f"{base}:getIamPolicy", json=with_conditions, headers=headers, timeout=10)
    read.raise_for_status()
    policy = read.json() | {"version": 3}
    policy["bindings"] = edit(policy.get("bindings", []))
    requests.post(f"{base}:setIamPolicy", json={"policy": policy}, headers=headers, timeout=10).raise_for_status()


def permission_missing(cloud: Cloud) -> None:
    """The operator keeps what reading needs, and an administrator joins who can give the rest back."""

    def edit(bindings: list[dict[str, Any]]) -> list[dict[str, Any]]:
        kept = [b for b in bindings if "user:trainee@example.com" not in b["members"]]
        return [
            *kept,
            {"role": "roles/owner", "members": ["user:administrator@example.com"]},
            *(
                {"role": role, "members": ["user:trainee@example.com"]}
                for role in ("roles/viewer", "roles/artifactregistry.admin", "roles/serviceusage.serviceUsageAdmin")
            ),
        ]

    change_policy(cloud, edit)


def chainctl_removed(cloud: Cloud) -> None:
    Path(cloud.connection.chainctl).rename(f"{cloud.connection.chainctl}.away")


def chainctl_back(cloud: Cloud) -> None:
    Path(f"{cloud.connection.chainctl}.away").rename(cloud.connection.chainctl)


def signed_out(cloud: Cloud) -> None:
    assert cloud.chainctl._run(["auth", "logout"]).code == 0


def signed_in(cloud: Cloud) -> None:
    assert cloud.chainctl._run(["auth", "login"]).code == 0


def payload(value: str) -> Act:
    """Somebody stores a value by hand and points the repository at it, untried, as one can with gcloud."""

    def act(cloud: Cloud) -> None:
        there = cloud.repositories.get(PRIVATE)
        assert there is not None
        number = add_version(cloud, value.replace("PASSWORD", cloud.secrets.access(SECRET, 1).reveal()))
        cloud.repositories.set_upstream_credentials(
            PRIVATE, there.username, cloud.secrets.version_name(SECRET, number), disable_upstream_validation=True
        )

    return act


def add_version(cloud: Cloud, value: str) -> int:
    """Add a version over the bare API: no client of ours would send such a value."""
    import base64

    answer = requests.post(
        f"{cloud.connection.secret_manager}/v1/{cloud.secrets.name(SECRET)}:addVersion",
        json={"payload": {"data": base64.b64encode(value.encode()).decode()}},
        headers={"Authorization": f"Bearer {cloud.connection.access_token().reveal()}"},
        timeout=10,
    )
    answer.raise_for_status()
    return int(json.loads(answer.text)["name"].rpartition("/")[2])


def first_version_again(cloud: Cloud) -> None:
    """What the remedy asks for: destroy the wrong value, and run again."""
    cloud.secrets.destroy(SECRET, 2)


def version_disabled(cloud: Cloud) -> None:
    cloud.secrets.disable(SECRET, 1)


def version_enabled(cloud: Cloud) -> None:
    cloud.secrets.enable(SECRET, 1)


def token_revoked(cloud: Cloud) -> None:
    there = cloud.repositories.get(PRIVATE)
    assert there is not None
    assert cloud.chainctl.revoke(there.username, "example.com")


def version_destroyed(cloud: Cloud) -> None:
    cloud.secrets.destroy(SECRET, 1)


def sandbox_killed(cloud: Cloud) -> None:
    """While a run is at work; see the test that does it."""
    running = process.start()
    os.kill(running.pid, signal.SIGKILL)


ALL = (
    Misfortune(
        "permission missing",
        permission_missing,
        operators_role_given,
        ["secretmanager.secrets.create"],
        ["roles/secretmanager.admin", "gcloud projects add-iam-policy-binding"],
        3,
        before=(steps_of_02,),
    ),
    Misfortune("chainctl absent", chainctl_removed, chainctl_back, ["chainctl was not found"], ["Install chainctl"], 3),
    Misfortune(
        "chainctl logged out", signed_out, signed_in, ["chainctl", "signed"], ["Sign in: chainctl auth login"], 3
    ),
    Misfortune(
        "organisation unknown",
        nothing,
        nothing,
        ["unknown.example"],
        ["Correct the name"],
        3,
        parameters=["-p", "organization", "unknown.example"],
    ),
    Misfortune(
        "payload with a newline",
        payload("PASSWORD\n"),
        first_version_again,
        ["line break"],
        ["versions destroy 2", "03_production_images"],
        1,
        before=(steps_of_02, steps_of_03),
    ),
    Misfortune(
        "payload empty but for a newline",
        payload("\n"),
        first_version_again,
        ["line break"],
        ["versions destroy 2", "03_production_images"],
        1,
        before=(steps_of_02, steps_of_03),
    ),
    Misfortune(
        "secret version disabled",
        version_disabled,
        version_enabled,
        ["Version 1 of the secret chainguard-pull-token", "is disabled"],
        ["gcloud secrets versions enable 1", "destroy"],
        1,
        before=(steps_of_02, steps_of_03),
    ),
    Misfortune(
        "token revoked",
        token_revoked,
        version_destroyed,
        ["cgr.dev", "credential", "was revoked"],
        ["versions destroy 1", "03_production_images"],
        1,
        before=(steps_of_02, steps_of_03),
    ),
    Misfortune(
        "image not in the catalogue",
        nothing,
        nothing,
        ["no-such-image"],
        ["chainctl images repos list"],
        1,
        before=(steps_of_02, steps_of_03),
        parameters=["-p", "production_images", "no-such-image:latest"],
    ),
)


_STOOD_FOR = (
    *("chainctl-absent", "organisation-unknown", "payload-empty-but-for-a-newline"),
    *("secret-version-disabled", "image-not-in-the-catalogue", "payload-with-a-newline"),
)


def cases(which: Callable[[Misfortune], bool] = lambda _: True) -> list[Any]:
    """The misfortunes as a test's parameters; in `make test` one of a kind stands for the others."""
    ids = {one.name.replace(" ", "-"): one for one in ALL if which(one)}
    return [pytest.param(one, id=name, marks=[pytest.mark.long] * (name in _STOOD_FOR)) for name, one in ids.items()]
