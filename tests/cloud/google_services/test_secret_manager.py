from __future__ import annotations

import base64
import datetime as dt
import logging
import secrets
from dataclasses import replace
from typing import Any

import google_crc32c
import pytest

from cgrunbook.cloud.secret_manager import Rotation, SecretResource
from cgrunbook.errors import AlreadyExists, Conflict, InvalidRequest, NotFound, ServiceError, Temporary, WrongState
from cgrunbook.redaction import Secret

NAME = "projects/my-project/secrets/token"
NUMBERED = "projects/123456789012/secrets/token"
COLLECTION = "/v1/projects/my-project/secrets"
RESOURCE = f"/v1/{NAME}"
VERSIONS = f"{RESOURCE}/versions"
AGENT = "serviceAccount:service-123456789012@gcp-sa-artifactregistry.iam.gserviceaccount.com"
ACCESSOR = "roles/secretmanager.secretAccessor"

THERE: dict[str, Any] = {
    "name": NUMBERED,
    "replication": {"automatic": {}},
    "createTime": "2026-11-23T10:00:00Z",
    "labels": {"made-by": "cgrunbook"},
    "etag": '"e1"',
}
WANTED = SecretResource(name=NAME, labels={"made-by": "cgrunbook"})


def version(number: int, state: int = 1) -> dict[str, Any]:
    return {
        "name": f"{NUMBERED}/versions/{number}",
        "createTime": "2026-11-23T10:00:00Z",
        "state": state,
        "replicationStatus": {"automatic": {}},
        "etag": f'"v{number}"',
    }


def value(text: str, checksum: int | None = None) -> dict[str, Any]:
    data = text.encode()
    crc = google_crc32c.value(data) if checksum is None else checksum
    return {
        "name": f"{NUMBERED}/versions/1",
        "payload": {"data": base64.b64encode(data).decode(), "dataCrc32c": str(crc)},
    }


@pytest.fixture
def password() -> Secret:
    return Secret(secrets.token_urlsafe(24))


def test_a_secret_is_read_and_a_missing_one_is_none(cloud, double):
    assert cloud.secrets.get("token") is None
    double.on("GET", RESOURCE, (200, THERE))
    there = cloud.secrets.get("token")
    assert there.id == "token"
    assert there.labels == {"made-by": "cgrunbook"}
    assert there.replication == ()
    assert there.rotation is None
    assert there.expire_time is None


def test_every_option_is_sent_and_read_back(cloud, double):
    soon = dt.datetime(2026, 12, 24, 10, tzinfo=dt.UTC)
    wanted = replace(
        WANTED,
        annotations={"note": "pull token"},
        replication=("us-central1", "us-east1"),
        topics=("projects/my-project/topics/rotate",),
        rotation=Rotation(soon, dt.timedelta(days=30)),
        expire_time=soon,
    )
    double.on("POST", COLLECTION, (200, THERE))
    double.on("GET", RESOURCE, lambda _request: (200, {**double.sent("POST")[0].body, "name": NUMBERED, "etag": "x"}))
    assert cloud.secrets.create(wanted) == replace(wanted, name=NUMBERED, etag="x")
    (sent,) = double.sent("POST")
    assert sent.query["secretId"] == "token"
    replicas = sent.body["replication"]["userManaged"]["replicas"]
    assert [replica["location"] for replica in replicas] == ["us-central1", "us-east1"]
    assert sent.body["rotation"] == {"nextRotationTime": "2026-12-24T10:00:00Z", "rotationPeriod": "2592000s"}


def test_replication_is_automatic_unless_locations_are_given(cloud, double):
    double.on("POST", COLLECTION, (200, THERE))
    double.on("GET", RESOURCE, (200, THERE))
    cloud.secrets.create(WANTED)
    assert double.sent("POST")[0].body["replication"] == {"automatic": {}}


def test_creating_what_exists_fails(cloud, double, refusal):
    double.on("POST", COLLECTION, refusal(409, "ALREADY_EXISTS", f"Secret [{NUMBERED}] already exists."))
    double.on("GET", RESOURCE, (200, THERE))
    with pytest.raises(AlreadyExists, match="already exists"):
        cloud.secrets.create(WANTED)


@pytest.mark.parametrize("maker", ["cgrunbook", "hand"])
def test_a_create_whose_answer_was_lost_is_compared_with_what_is_there(cloud, double, refusal, reset, maker):
    double.on("POST", COLLECTION, reset, refusal(409, "ALREADY_EXISTS", f"Secret [{NUMBERED}] already exists."))
    double.on("GET", RESOURCE, (200, {**THERE, "labels": {"made-by": maker}}))
    if maker == "cgrunbook":
        assert cloud.secrets.create(WANTED).name == NUMBERED
    else:
        with pytest.raises(AlreadyExists, match="other settings"):
            cloud.secrets.create(WANTED)


def test_an_update_sends_what_differs_under_the_etag_that_was_read(cloud, double):
    double.on("GET", RESOURCE, (200, THERE))
    double.on("PATCH", RESOURCE, (200, {**THERE, "labels": {"team": "a"}, "etag": '"e2"'}))
    before = cloud.secrets.get("token")
    after = cloud.secrets.update(before, replace(before, labels={"team": "a"}))
    assert after.labels == {"team": "a"}
    (sent,) = double.sent("PATCH")
    assert sent.query["updateMask"] == "labels"
    assert sent.body["etag"] == '"e1"'
    assert "replication" not in sent.body


def test_an_expiry_is_taken_away_by_naming_it_without_a_value(cloud, double):
    double.on("GET", RESOURCE, (200, {**THERE, "expireTime": "2026-12-24T10:00:00Z"}), (200, THERE))
    double.on("PATCH", RESOURCE, (200, THERE))
    before = cloud.secrets.get("token")
    assert cloud.secrets.update(before, replace(before, expire_time=None)).expire_time is None
    (sent,) = double.sent("PATCH")
    assert sent.query["updateMask"] == "expireTime"
    assert "expireTime" not in sent.body


@pytest.mark.parametrize(
    "refused",
    [
        (409, "ABORTED", "The etag provided in the request does not match."),
        (400, "FAILED_PRECONDITION", "etag mismatch"),
    ],
)
def test_somebody_elses_change_is_not_overwritten(cloud, double, refusal, refused):
    double.on("GET", RESOURCE, (200, THERE))
    double.on("PATCH", RESOURCE, refusal(*refused))
    before = cloud.secrets.get("token")
    with pytest.raises(Conflict):
        cloud.secrets.update(before, replace(before, labels={"team": "a"}))
    assert len(double.sent("PATCH")) == 1


@pytest.mark.parametrize(
    "more",
    [
        {"versionDestroyTtl": "86400s"},
        {"versionAliases": {"current": 1}},
        {"replication": {"automatic": {"customerManagedEncryption": {"kmsKeyName": "k"}}}},
        {"annotations": {"team": "b"}},
        {"topics": [{"name": "projects/p/topics/t"}]},
    ],
    ids=lambda more: next(iter(more)),
)
def test_a_secret_with_more_than_was_sent_is_somebody_elses(cloud, double, refusal, reset, more):
    double.on("POST", COLLECTION, reset, refusal(409, "ALREADY_EXISTS", f"Secret [{NUMBERED}] already exists."))
    double.on("GET", RESOURCE, (200, {**THERE, **more}))
    with pytest.raises(AlreadyExists, match="other settings"):
        cloud.secrets.create(WANTED)


def test_an_update_whose_answer_was_lost_is_found_by_reading(cloud, double, refusal, reset):
    double.on("GET", RESOURCE, (200, THERE), (200, {**THERE, "labels": {"team": "a"}, "etag": '"e2"'}))
    double.on("PATCH", RESOURCE, reset, refusal(409, "ABORTED", "The etag does not match."))
    before = cloud.secrets.get("token")
    assert cloud.secrets.update(before, replace(before, labels={"team": "a"})).labels == {"team": "a"}


def test_versions_come_newest_first(cloud, double):
    double.on("GET", VERSIONS, (200, {"versions": [version(2), version(10, 2), version(1, 3)], "totalSize": 3}))
    found = cloud.secrets.versions("token")
    assert [(one.number, one.state) for one in found] == [(10, "DISABLED"), (2, "ENABLED"), (1, "DESTROYED")]
    assert [one.enabled for one in found] == [False, True, False]


def test_the_latest_version_of_an_empty_secret_is_none(cloud, double, refusal):
    message = f"Secret [{NUMBERED}] not found or has no versions."
    double.on("GET", f"{VERSIONS}/latest", refusal(404, "NOT_FOUND", message), (200, version(3, 2)))
    assert cloud.secrets.version("token", "latest") is None
    assert cloud.secrets.version("token", "latest").number == 3


def test_a_version_is_added_with_its_checksum(cloud, double, password):
    double.on("GET", VERSIONS, (200, {}))
    double.on("POST", f"{RESOURCE}:addVersion", (200, {**version(1), "clientSpecifiedPayloadChecksum": True}))
    assert cloud.secrets.add_version("token", password).number == 1
    payload = double.sent("POST")[0].body["payload"]
    data = base64.b64decode(payload["data"])
    assert data.decode() == password.reveal()
    assert int(payload["dataCrc32c"]) == google_crc32c.value(data)


def test_a_version_whose_checksum_was_not_confirmed_is_destroyed_again(cloud, double, password):
    double.on("GET", VERSIONS, (200, {}))
    double.on("POST", f"{RESOURCE}:addVersion", (200, version(1)))
    double.on("GET", f"{VERSIONS}/1", (200, version(1)))
    double.on("POST", f"{VERSIONS}/1:destroy", (200, version(1, 3)))
    with pytest.raises(ServiceError, match="checksum of version 1"):
        cloud.secrets.add_version("token", password)
    assert len(double.sent("POST", ":destroy")) == 1


def test_a_lost_answer_makes_no_second_version(cloud, double, password, reset):
    double.on("GET", VERSIONS, (200, {"versions": [version(1)]}), (200, {"versions": [version(2), version(1)]}))
    double.on("POST", f"{RESOURCE}:addVersion", reset)
    double.on("GET", f"{VERSIONS}/2:access", (200, value(password.reveal())))
    assert cloud.secrets.add_version("token", password).number == 2
    assert len(double.sent("POST", ":addVersion")) == 1


def test_a_request_that_never_arrived_is_sent_again(cloud, double, password, reset):
    double.on("GET", VERSIONS, (200, {"versions": [version(1)]}))
    done = (200, {**version(2), "clientSpecifiedPayloadChecksum": True})
    double.on("POST", f"{RESOURCE}:addVersion", reset, done)
    assert cloud.secrets.add_version("token", password).number == 2


def test_somebody_elses_version_is_not_taken_for_a_lost_one(cloud, double, password, reset):
    double.on("GET", VERSIONS, (200, {"versions": [version(1)]}), (200, {"versions": [version(2), version(1)]}))
    double.on("GET", f"{VERSIONS}/2:access", (200, value("somebody else's")))
    done = (200, {**version(3), "clientSpecifiedPayloadChecksum": True})
    double.on("POST", f"{RESOURCE}:addVersion", reset, done)
    assert cloud.secrets.add_version("token", password).number == 3


def test_a_lost_answer_that_cannot_be_told_apart_says_so(cloud, double, refusal, password, reset):
    double.on("GET", VERSIONS, (200, {"versions": []}), (200, {"versions": [version(1)]}))
    double.on("POST", f"{RESOURCE}:addVersion", reset)
    denied = "Permission 'secretmanager.versions.access' denied on resource (or it may not exist)."
    double.on("GET", f"{VERSIONS}/1:access", refusal(403, "PERMISSION_DENIED", denied))
    with pytest.raises(Conflict, match="version 1 has appeared") as caught:
        cloud.secrets.add_version("token", password)
    assert "gcloud secrets versions destroy 1 --secret=token --project=my-project" in caught.value.remedy


@pytest.mark.parametrize("text", ["", " ", "\n", "value\n", " value", "value\r\n", "x" * 65_537])
def test_a_value_that_no_upstream_would_take_is_refused_before_any_request(cloud, double, text):
    with pytest.raises(InvalidRequest, match="Nothing was sent"):
        cloud.secrets.add_version("token", Secret(text))
    assert double.requests == []


def test_a_value_is_read_with_its_checksum_compared(cloud, double, password, clock):
    damaged = value(password.reveal(), checksum=1)
    double.on("GET", f"{VERSIONS}/latest:access", (200, damaged), (200, value(password.reveal())))
    assert cloud.secrets.access("token") == password
    assert len(clock.waits) == 1
    double.on("GET", f"{VERSIONS}/latest:access", (200, damaged))
    with pytest.raises(Temporary, match="checksum"):
        cloud.secrets.access("token")


@pytest.mark.parametrize(
    ("state", "command"),
    [
        ("DISABLED", "gcloud secrets versions enable 3 --secret=token --project=my-project"),
        ("DESTROYED", "gcloud secrets versions list token --project=my-project"),
    ],
)
def test_a_version_in_the_wrong_state_names_what_helps(cloud, double, refusal, state, command):
    message = f"Secret Version [{NUMBERED}/versions/3] is in {state} state."
    double.on("GET", f"{VERSIONS}/3:access", refusal(400, "FAILED_PRECONDITION", message))
    with pytest.raises(WrongState, match=state) as caught:
        cloud.secrets.access("token", 3)
    assert command in caught.value.remedy


def test_a_value_that_is_no_text_is_not_shown_in_the_error(cloud, double):
    data = b"\xff\xfe-not-text"
    payload = {"data": base64.b64encode(data).decode(), "dataCrc32c": str(google_crc32c.value(data))}
    double.on("GET", f"{VERSIONS}/latest:access", (200, {"name": f"{NUMBERED}/versions/1", "payload": payload}))
    with pytest.raises(WrongState) as caught:
        cloud.secrets.access("token")
    assert "not-text" not in f"{caught.value} {caught.value.__cause__}"


def test_states_are_set_and_destroying_twice_is_harmless(cloud, double):
    double.on("POST", f"{VERSIONS}/1:disable", (200, version(1, 2)))
    double.on("POST", f"{VERSIONS}/1:enable", (200, version(1, 1)))
    double.on("POST", f"{VERSIONS}/1:destroy", (200, version(1, 3)))
    double.on("GET", f"{VERSIONS}/1", (200, version(1)), (200, version(1, 3)))
    assert cloud.secrets.disable("token", 1).state == "DISABLED"
    assert cloud.secrets.enable("token", 1).state == "ENABLED"
    assert cloud.secrets.destroy("token", 1).state == "DESTROYED"
    assert cloud.secrets.destroy("token", 1).state == "DESTROYED"
    assert len(double.sent("POST", ":destroy")) == 1


class PolicyOnTheServer:
    """getIamPolicy and setIamPolicy under an etag, with others who change it in between."""

    def __init__(self, *bindings: dict[str, Any]) -> None:
        self.bindings = list(bindings)
        self.generation = 0
        self.interrupt: dict[str, Any] | None = None
        self.versions: list[Any] = []

    @property
    def etag(self) -> str:
        return base64.b64encode(f"g{self.generation}".encode()).decode()

    def get(self, request):
        assert request.query["options.requestedPolicyVersion"] == "3"
        answer = {"etag": self.etag, "version": 3, "bindings": [*self.bindings]}
        if self.interrupt is not None:
            self.bindings.append(self.interrupt)
            self.interrupt = None
            self.generation += 1
        return 200, answer

    def set(self, request):
        policy = request.body["policy"]
        self.versions.append(policy.get("version"))
        if policy["etag"] != self.etag:
            return 409, {
                "error": {"code": 409, "message": "There were concurrent policy changes.", "status": "ABORTED"}
            }
        self.bindings = policy.get("bindings", [])
        self.generation += 1
        return 200, policy


@pytest.fixture
def policy(double):
    def serve(*bindings):
        server = PolicyOnTheServer(*bindings)
        double.on("GET", f"{RESOURCE}:getIamPolicy", server.get)
        double.on("POST", f"{RESOURCE}:setIamPolicy", server.set)
        return server

    return serve


CONDITIONAL = {
    "role": ACCESSOR,
    "members": [AGENT],
    "condition": {"title": "for a day", "expression": "request.time < timestamp('2026-01-01T00:00:00Z')"},
}
OTHER = {"role": "roles/viewer", "members": ["user:ada@example.com"]}


def test_a_grant_keeps_other_bindings_and_conditions(cloud, policy):
    server = policy(OTHER, CONDITIONAL)
    assert cloud.secrets.get_policy("token").grants(AGENT, ACCESSOR) is False
    cloud.secrets.grant("token", AGENT, ACCESSOR)
    assert cloud.secrets.get_policy("token").grants(AGENT, ACCESSOR) is True
    assert server.bindings[0]["members"] == OTHER["members"]
    assert server.bindings[1]["condition"]["expression"] == "request.time < timestamp('2026-01-01T00:00:00Z')"
    assert server.bindings[2] == {"role": ACCESSOR, "members": [AGENT]}
    assert server.versions == [3]


def test_a_grant_joins_the_binding_of_its_role_and_is_made_once(cloud, policy):
    server = policy({"role": ACCESSOR, "members": ["user:ada@example.com"]})
    cloud.secrets.grant("token", AGENT, ACCESSOR)
    cloud.secrets.grant("token", AGENT.replace("service-", "SERVICE-"), ACCESSOR)
    assert server.bindings == [{"role": ACCESSOR, "members": ["user:ada@example.com", AGENT]}]
    assert len(server.versions) == 1


def test_a_grant_made_while_somebody_else_changes_the_policy_keeps_both(cloud, policy, clock):
    server = policy()
    server.interrupt = OTHER
    cloud.secrets.grant("token", AGENT, ACCESSOR)
    assert server.bindings == [OTHER, {"role": ACCESSOR, "members": [AGENT]}]
    assert len(clock.waits) == 1


def test_a_service_agent_that_iam_does_not_know_yet_is_waited_for(cloud, double, policy, refusal, clock):
    server = policy()
    unknown = refusal(400, "INVALID_ARGUMENT", f"Service account {AGENT.partition(':')[2]} does not exist.")
    double.on("POST", f"{RESOURCE}:setIamPolicy", unknown, unknown, server.set)
    cloud.secrets.grant("token", AGENT, ACCESSOR)
    assert len(clock.waits) == 2
    double.on("POST", f"{RESOURCE}:setIamPolicy", unknown)
    with pytest.raises(Temporary, match="does not exist") as caught:
        cloud.secrets.grant("token", "serviceAccount:other@example.com", ACCESSOR)
    assert "gcloud beta services identity create --service=artifactregistry.googleapis.com" in caught.value.remedy


def test_a_service_agent_is_made_only_where_iam_does_not_know_it_and_once(cloud, double, policy, refusal):
    server, made = policy(), []
    double.on("POST", f"{RESOURCE}:setIamPolicy", server.set)
    cloud.secrets.grant("token", AGENT, ACCESSOR, introduce=lambda: made.append("made"))
    assert made == []
    server.bindings.clear()
    unknown = refusal(400, "INVALID_ARGUMENT", f"Service account {AGENT.partition(':')[2]} does not exist.")
    double.on("POST", f"{RESOURCE}:setIamPolicy", unknown, unknown, server.set)
    cloud.secrets.grant("token", AGENT, ACCESSOR, introduce=lambda: made.append("made"))
    assert made == ["made"]


def test_revoking_takes_one_member_and_leaves_the_rest(cloud, policy):
    server = policy({"role": ACCESSOR, "members": [AGENT, "user:ada@example.com"]}, CONDITIONAL)
    cloud.secrets.revoke_grant("token", AGENT, ACCESSOR)
    assert server.bindings[0]["members"] == ["user:ada@example.com"]
    assert server.bindings[1]["condition"]["title"] == "for a day"
    cloud.secrets.revoke_grant("token", "user:ada@example.com", ACCESSOR)
    assert [binding["members"] for binding in server.bindings] == [[AGENT]]


def test_a_secret_with_no_policy_grants_nothing(cloud, double):
    double.on("GET", f"{RESOURCE}:getIamPolicy", (200, {"etag": "ACAB"}))
    policy = cloud.secrets.get_policy("token")
    assert policy.bindings == ()
    assert policy.etag == "ACAB"


def test_a_secret_is_deleted_once(cloud, double, refusal):
    double.on("GET", RESOURCE, (200, THERE), refusal(404, "NOT_FOUND", f"Secret [{NUMBERED}] not found."))
    double.on("DELETE", RESOURCE, (200, {}))
    assert cloud.secrets.delete("token") is True
    assert cloud.secrets.delete("token") is False
    assert len(double.sent("DELETE")) == 1


def test_versions_of_a_missing_secret_are_not_found(cloud, refusal, double):
    double.on("GET", VERSIONS, refusal(404, "NOT_FOUND", f"Secret [{NUMBERED}] not found."))
    with pytest.raises(NotFound, match="not found"):
        cloud.secrets.versions("token")


class Everything(logging.Handler):
    """Keeps all that is logged, with what formatters for machines would write."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.records: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(repr(record.__dict__))


@pytest.fixture
def everything(monkeypatch):
    handler = Everything()
    names = ["", *(name for name in logging.root.manager.loggerDict if name.startswith(("google", "urllib3")))]
    for logger in map(logging.getLogger, names):
        monkeypatch.setattr(logger, "level", logging.DEBUG)
        monkeypatch.setattr(logger, "handlers", [handler])
    for name in names:
        logging.getLogger(name).manager._clear_cache()  # type: ignore[attr-defined]
    yield handler
    logging.root.manager._clear_cache()  # type: ignore[attr-defined]


def test_no_log_at_any_level_carries_a_value(cloud, double, password, everything):
    double.on("GET", VERSIONS, (200, {}))
    double.on("POST", f"{RESOURCE}:addVersion", (200, {**version(1), "clientSpecifiedPayloadChecksum": True}))
    double.on("GET", f"{VERSIONS}/latest:access", (200, value(password.reveal())))
    cloud.secrets.add_version("token", password)
    cloud.secrets.access("token")
    logged = "\n".join(everything.records)
    assert "/v1/projects/my-project/secrets/token" in logged
    assert password.reveal() not in logged
    assert base64.b64encode(password.reveal().encode()).decode() not in logged
