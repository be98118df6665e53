"""Cloud Logging, as far as it is played: failed pulls of repositories whose platform logs are on, read as Logging reads them."""

from __future__ import annotations

from typing import Any

import pytest

from cgrunbook.sandbox import hosts
from tests.sandbox.conftest import Answer, Api

REPOSITORY = "/locations/us-central1/repositories"
CONFIG = "/locations/us-central1/projectConfig"


def logs(state: str, **more: str) -> dict[str, Any]:
    return {"platformLogsConfig": {"loggingState": state, **more}}


def made(api: Api, name: str, config: dict[str, Any]) -> None:
    api.enable(hosts.ARTIFACT_REGISTRY, hosts.LOGGING)
    assert api.artifacts("POST", f"{REPOSITORY}?repositoryId={name}", {"format": "DOCKER", **config}).status == 200


def pull(api: Api, name: str, image: str = "none") -> None:
    path = f"/v2/{api.settings.project_id}/{name}/{image}/manifests/latest"
    assert api.call("GET", hosts.docker_host_name("us-central1"), path).status == 404


def read(api: Api, words: str = "", *, token: str = "", **more: Any) -> Answer:
    body = {"resourceNames": [api.project], "filter": words, **more}
    return api.call("POST", hosts.LOGGING, "/v2/entries:list", body, token=token)


def images(answer: Answer) -> list[str]:
    return [entry["labels"]["resource_name"].rpartition("/")[2] for entry in answer.body.get("entries", ())]


def test_a_failed_pull_is_an_entry_where_the_repository_says_so_and_stays_one(api: Api) -> None:
    made(api, "told", logs("ENABLED"))
    made(api, "silent", logs("DISABLED"))
    for name, image in (("told", "first"), ("told", "second"), ("silent", "third")):
        pull(api, name, image)

    words = 'logName:"artifactregistry.googleapis.com" AND severity>=WARNING AND resource.labels.repository_id="told"'
    assert images(read(api, words, orderBy="timestamp desc")) == ["second", "first"]
    assert images(read(api, words, pageSize=1)) == ["first"]
    assert images(read(api, f'{words} AND timestamp>="2999-01-01T00:00:00Z"')) == []
    assert images(read(api, f"{words} AND severity>=CRITICAL")) == []
    assert images(read(api, '"repositories/silent"')) == []
    path = "/v2/not-ours/told/fourth/manifests/latest"
    assert api.call("GET", hosts.docker_host_name("us-central1"), path).status == 403
    again = Api(api.settings.home)
    assert images(read(again, words)) == ["first", "second"]
    again.sandbox.state.close()


def test_without_a_setting_of_its_own_the_projects_counts_for_a_repository(api: Api) -> None:
    made(api, "heir", {})
    assert api.artifacts("PATCH", f"{CONFIG}?updateMask=platformLogsConfig", logs("ENABLED")).status == 200
    assert api.artifacts("GET", CONFIG).body["platformLogsConfig"] == {"loggingState": "ENABLED"}
    pull(api, "heir", "one")
    api.artifacts("PATCH", f"{CONFIG}?updateMask=platformLogsConfig", logs("ENABLED", severityLevel="CRITICAL"))
    pull(api, "heir", "two")

    assert images(read(api, 'resource.labels.repository_id="heir"')) == ["one"]


@pytest.mark.parametrize("words", ['log_id("x")', "severity>=(", 'textPayload=~"a.*"', "AND", "a.b !~ c"])
def test_a_filter_that_is_not_read_is_refused_as_unparseable(api: Api, words: str) -> None:
    api.enable(hosts.LOGGING)
    answer = read(api, words)
    assert (answer.status, answer.error["status"]) == (400, "INVALID_ARGUMENT")
    assert answer.error["message"].startswith("Unparseable filter: ")


def test_who_may_not_read_logs_is_refused_and_so_is_another_project(api: Api) -> None:
    api.enable(hosts.LOGGING)
    assert read(api, token=api.person("reads-logs", "roles/logging.viewer")).status == 200
    somebody = api.sandbox.tokens.issue("user:nobody@example.com")
    for answer in (read(api, token=somebody), read(api, resourceNames=["projects/not-ours"])):
        assert (answer.status, answer.error["message"]) == (403, "Permission denied for all log views")
