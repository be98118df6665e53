"""What the platform logs tell of failed pulls stands beside the doctor's verdict, and never changes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import requests as http

from cgrunbook.cloud import Attempts, Cloud
from cgrunbook.cloud.connection import Connection
from cgrunbook.diagnosis.codes import Code
from cgrunbook.diagnosis.doctor import Diagnosis, diagnose, ways_of
from cgrunbook.parameters import Parameters
from cgrunbook.steps.step import Finding, Mark, World
from tests.steps.performing import PRIVATE, PUBLIC, open_book, perform, requests, steps_of_02, steps_of_03
from tests.steps.test_rights import Person

LOGGING = "logging.googleapis.com"


@pytest.fixture(scope="module")
def cloud(home: Path, quick_chainctl: None) -> Cloud:
    book, _ = open_book()
    perform(book, *steps_of_02(), *steps_of_03())
    return book.cloud


@pytest.fixture
def look(cloud: Cloud) -> Callable[..., Diagnosis]:
    def call(connection: Connection | None = None, image: str = "") -> Diagnosis:
        world = World(Cloud(connection or cloud.connection, Attempts(limit=0.2)))
        return diagnose(world, ways_of(world, Parameters(organization="example.com"), image))

    return call


def ask(cloud: Cloud, verb: str, address: str, body: object = None) -> http.Response:
    authorization = {"Authorization": f"Bearer {cloud.access_token().reveal()}"}
    return http.request(verb, address, json=body, headers=authorization, timeout=30)


def switch(cloud: Cloud, state: str, name: str = PRIVATE, whose: str = "") -> None:
    """Set the platform logs of a repository, or of the project."""
    place = whose or f"repositories/{name}"
    address = f"{cloud.connection.artifact_registry}/v1/{cloud.repositories.parent}/{place}"
    config = {"platformLogsConfig": {"loggingState": state} if state else {}}
    assert ask(cloud, "PATCH", f"{address}?updateMask=platformLogsConfig", config).ok


@pytest.fixture
def on(cloud: Cloud) -> Iterator[None]:
    """The private repository's logs are on, and Cloud Logging is."""
    project = f"{cloud.connection.service_usage}/v1/projects/{cloud.connection.project_id}/services/{LOGGING}"
    switch(cloud, "ENABLED")
    assert ask(cloud, "POST", f"{project}:enable", {}).ok
    yield
    assert ask(cloud, "POST", f"{project}:disable", {}).ok
    switch(cloud, "")


def failed_pull(cloud: Cloud, image: str) -> None:
    path = f"{cloud.connection.project_id}/{PRIVATE}/example.com/{image}/manifests/latest"
    assert not ask(cloud, "GET", f"http://{cloud.connection.artifact_registry_host.address}/v2/{path}").ok


def told(found: Diagnosis, way: str = PRIVATE) -> Finding:
    return next(one.finding for one in found.looked if one.code is Code.PLATFORM_LOGS and one.way == way)


@pytest.mark.parametrize("state", ["", "DISABLED"])
def test_where_they_are_off_it_says_what_they_would_tell_and_asks_nobody_for_it(
    home: Path, cloud: Cloud, look: Callable[..., Diagnosis], state: str
):
    switch(cloud, state)
    known = len(requests(home))

    found = look()

    assert found.verdict.text == "Nothing was found: all that was looked at is well."
    assert told(found).mark is Mark.OK
    assert told(found).seen.startswith("off")
    for word in (
        "time, method, image and status",
        "charges",
        f"repositories update {PRIVATE} ",
        "--enable-platform-logs",
    ):
        assert word in told(found).seen
    asked = requests(home, known)
    assert not [one for one in asked if one["service"] == LOGGING or "projectConfig" in one["path"]]


@pytest.mark.usefixtures("on")
def test_old_failures_are_told_and_warn_of_nothing(home: Path, cloud: Cloud, look: Callable[..., Diagnosis]):
    for image in ("first", "second"):
        failed_pull(cloud, image)
    known = len(requests(home))

    found = look()

    seen = told(found).seen
    assert told(found).mark is Mark.OK
    assert "failed in the last hour" in seen
    assert seen.index("example.com/second") < seen.index("example.com/first")
    assert "@" not in seen
    assert (found.verdict.causes, found.verdict.exit_code) == ((), 0)
    assert [one["path"] for one in requests(home, known) if one["service"] == LOGGING] == ["/v2/entries:list"]


def test_where_a_pull_fails_now_the_projects_setting_counts_and_the_failure_is_told(
    cloud: Cloud, look: Callable[..., Diagnosis], on: None
):
    switch(cloud, "")
    switch(cloud, "ENABLED", whose="projectConfig")
    try:
        found = look(image="example.com/nobody-has-this:latest")
    finally:
        switch(cloud, "", whose="projectConfig")

    assert told(found).mark is Mark.OK
    assert "example.com/nobody-has-this" in told(found).seen
    assert found.verdict.causes[0].looked.code is not Code.PLATFORM_LOGS
    assert found.verdict.exit_code == 4


def test_where_a_pull_fails_and_nobody_has_turned_them_on_it_says_so(cloud: Cloud, look: Callable[..., Diagnosis]):
    switch(cloud, "")
    seen = told(look(image="example.com/nobody-has-this:latest")).seen
    assert seen.startswith("off, as the project's; ")
    assert "--enable-platform-logs" in seen


def _without_rights(cloud: Cloud, folder: Path) -> Connection:
    roles = ("artifactregistry.admin", "secretmanager.admin", "browser", "serviceusage.serviceUsageConsumer")
    return Person(folder, *(f"roles/{role}" for role in roles)).connect()


def _silent(cloud: Cloud, _: Path) -> Connection:
    return replace(cloud.connection, logging="http://127.0.0.1:9")


@pytest.mark.usefixtures("on")
@pytest.mark.parametrize(
    ("seen_by", "remedy"), [(_without_rights, "--role=roles/logging.viewer"), (_silent, "")], ids=["rights", "silent"]
)
def test_who_cannot_read_them_is_told_why_and_all_else_is_as_well_as_it_was(
    cloud: Cloud,
    look: Callable[..., Diagnosis],
    tmp_path: Path,
    seen_by: Callable[[Cloud, Path], Connection],
    remedy: str,
):
    found = look(seen_by(cloud, tmp_path))

    assert (told(found).mark, told(found).reason) == (Mark.TO_DO, "unread")
    assert told(found).seen.startswith("not read: ")
    assert remedy in told(found).remedy
    assert found.verdict.exit_code == 0
    assert not [one for one in found.looked if one.finding.mark not in (Mark.OK, Mark.TO_DO)]


def test_where_the_logging_api_is_off_the_remedy_turns_it_on(cloud: Cloud, look: Callable[..., Diagnosis]):
    switch(cloud, "ENABLED", PUBLIC)
    found = look()
    switch(cloud, "", PUBLIC)

    assert told(found, PUBLIC).mark is Mark.TO_DO
    assert f"gcloud services enable {LOGGING} --project=" in told(found, PUBLIC).remedy
    assert found.verdict.exit_code == 0
