"""A rotation notice that would never come is no proof: the topic must be there, and Secret Manager's agent may publish to it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests

from cgrunbook import steps
from cgrunbook.cloud import Cloud, connect
from cgrunbook.cloud.credentials import TokenFile
from cgrunbook.errors import ApiDisabled, PrerequisiteMissing
from cgrunbook.run.journal import Journal
from cgrunbook.run.record import record_of
from cgrunbook.run.report import verdict
from cgrunbook.sandbox import process
from cgrunbook.steps.notice import PUBLISHER
from cgrunbook.steps.step import Mark, Outcome
from tests.steps.performing import Watcher, open_book, perform

PROJECT = "projects/cgrunbook-sandbox"
PUBSUB = "pubsub.googleapis.com"


def pubsub(cloud: Cloud, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    token = {"Authorization": f"Bearer {cloud.access_token().reveal()}"}
    answer = requests.request(
        method, f"{cloud.connection.pubsub}/v1/{path}", json=body or {}, headers=token, timeout=30
    )
    assert answer.ok, answer.text
    answered: dict[str, Any] = answer.json()
    return answered


def bind(cloud: Cloud, topic: str, *bindings: dict[str, Any]) -> None:
    policy = {"policy": {"version": 3, "bindings": list(bindings)}}
    pubsub(cloud, "POST", f"{PROJECT}/topics/{topic}:setIamPolicy", policy)


def agent(cloud: Cloud) -> str:
    return f"serviceAccount:service-{cloud.project.number()}@gcp-sa-secretmanager.iam.gserviceaccount.com"


@pytest.fixture(scope="module")
def cloud(home: Path) -> Cloud:
    """Both APIs on, Secret Manager's agent there."""
    cloud = Cloud(connect("sandbox"))
    cloud.project.enable_api(steps.SECRET_MANAGER)
    switch(cloud, "enable")
    cloud.project.ensure_service_agent(steps.SECRET_MANAGER)
    return cloud


def switch(cloud: Cloud, verb: str) -> None:
    token = {"Authorization": f"Bearer {cloud.access_token().reveal()}"}
    address = f"{cloud.connection.service_usage}/v1/{PROJECT}/services/{PUBSUB}:{verb}"
    assert requests.post(address, headers=token, json={}, timeout=30).ok


def create(secret: str, topic: str, cloud: Cloud | None = None, **more: Any) -> Watcher:
    """Create a secret with a notice; answers what was seen of it."""
    book, seen = open_book(cloud=cloud, **more)
    perform(book, steps.CreateSecret(secret, steps.SecretSettings(rotation_topic=topic, rotation_period="24h")))
    return seen


@pytest.mark.parametrize(
    ("case", "binding", "mark", "said"),
    [
        ("granted", lambda a: {"role": PUBLISHER, "members": [a]}, Mark.OK, "has roles/pubsub.publisher on the topic"),
        ("more", lambda a: {"role": "roles/pubsub.admin", "members": [a]}, Mark.OK, "has roles/pubsub.admin"),
        (
            "sometimes",
            lambda a: {
                "role": PUBLISHER,
                "members": [a],
                "condition": {"title": "till June", "expression": "request.time < timestamp('2027-06-01T00:00:00Z')"},
            },
            Mark.NOT_CHECKED,
            "under the condition 'till June'",
        ),
        ("everybody", lambda _: {"role": PUBLISHER, "members": ["allUsers"]}, Mark.NOT_CHECKED, "to allUsers"),
        ("nobody", None, None, "Secret Manager's service agent may not publish to"),
        (
            "another",
            lambda a: {"role": PUBLISHER, "members": [a.replace("secretmanager", "artifactregistry")]},
            None,
            "Secret Manager's service agent may not publish to",
        ),
        ("reader", lambda a: {"role": "roles/pubsub.viewer", "members": [a]}, None, "may not publish to"),
    ],
)
def test_a_notice_is_proved_where_it_would_come_and_refused_where_it_would_not(
    cloud: Cloud, case: str, binding: Callable[[str], dict[str, Any]] | None, mark: Mark | None, said: str
):
    topic = f"topic-{case}"
    pubsub(cloud, "PUT", f"{PROJECT}/topics/{topic}")
    cloud.project.ensure_service_agent()
    if binding is not None:
        bind(cloud, topic, binding(agent(cloud)))
    if mark is not None:
        seen = create(f"notice-{case}", f"{PROJECT}/topics/{topic}")
        [finding] = seen.results[-1].evidence.findings
        assert finding.mark is mark
        assert said in finding.seen
        return
    with pytest.raises(PrerequisiteMissing, match=re.escape(said)) as raised:
        create(f"notice-{case}", f"{PROJECT}/topics/{topic}")
    assert (
        f'add-iam-policy-binding {topic} --project=cgrunbook-sandbox --member="{agent(cloud)}"' in raised.value.remedy
    )
    assert cloud.secrets.get(f"notice-{case}") is None


def test_a_topic_that_is_not_there_or_goes_is_noticed_each_time(cloud: Cloud):
    topic = f"{PROJECT}/topics/rotate-me"
    with pytest.raises(
        PrerequisiteMissing, match="There is no topic projects/cgrunbook-sandbox/topics/rotate-me"
    ) as none:
        create("notice-goes", topic, mode="plan")
    assert "gcloud pubsub topics create rotate-me --project=cgrunbook-sandbox" in none.value.remedy
    pubsub(cloud, "PUT", topic)
    bind(cloud, "rotate-me", {"role": PUBLISHER, "members": [agent(cloud)]})
    assert create("notice-goes", topic).outcomes == [Outcome.CREATED]
    assert create("notice-goes", topic).outcomes == [Outcome.UNCHANGED]
    pubsub(cloud, "DELETE", topic)
    with pytest.raises(PrerequisiteMissing, match="There is no topic"):
        create("notice-goes", topic)


def test_who_may_not_ask_pubsub_is_told_that_it_was_not_checked_and_never_that_it_was_proved(
    cloud: Cloud, home: Path, tmp_path: Path
):
    token = tmp_path / "token"
    keeper = "serviceAccount:keeper@cgrunbook-sandbox.iam.gserviceaccount.com"
    token.write_text(process.access_token(keeper, home))
    policy = requests.post(
        f"{cloud.connection.resource_manager}/v3/{PROJECT}:setIamPolicy",
        headers={"Authorization": f"Bearer {cloud.access_token().reveal()}"},
        json={
            "policy": {
                "bindings": [
                    {"role": "roles/owner", "members": ["user:trainee@example.com"]},
                    {"role": "roles/secretmanager.admin", "members": [keeper]},
                ]
            }
        },
        timeout=30,
    )
    assert policy.ok, policy.text
    theirs = Cloud(replace(cloud.connection, credentials=TokenFile(token)))
    Journal(tmp_path).add("notebook-started", notebook="03_production_images")
    for number, topic in enumerate((f"{PROJECT}/topics/unseen", "projects/another-project/topics/unseen")):
        seen = create(f"notice-unseen-{number}", topic, theirs, folder=tmp_path)
        [finding] = seen.results[-1].evidence.findings
        assert finding.mark is Mark.NOT_CHECKED
        assert "User not authorized" in finding.seen
        assert "gcloud pubsub topics add-iam-policy-binding unseen" in finding.remedy
        assert seen.results[-1].evidence.brief.endswith("the topic not checked")
    done = record_of(tmp_path).model_copy(update={"exit_code": 0})
    assert "every step was proved, but for what could not be checked: Secret Manager may publish" in verdict(done)


def test_an_api_that_is_off_is_named_with_all_that_is_missing(cloud: Cloud):
    switch(cloud, "disable")
    try:
        with pytest.raises(PrerequisiteMissing, match=r"API pubsub\.googleapis\.com is not enabled in") as off:
            create("notice-off", f"{PROJECT}/topics/rotate-off")
    finally:
        switch(cloud, "enable")
    assert not isinstance(off.value, ApiDisabled)
    assert "gcloud services enable pubsub.googleapis.com --project=cgrunbook-sandbox" in off.value.remedy
    assert "gcloud pubsub topics create rotate-off" in off.value.remedy
