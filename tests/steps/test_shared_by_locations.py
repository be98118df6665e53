"""A secret and its pull tokens belong to the project: teardown in one location takes nothing that another one uses."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import requests as http

from cgrunbook import steps
from cgrunbook.cloud import Cloud, apis, connect
from cgrunbook.cloud.artifact_registry import RemoteRepository
from cgrunbook.cloud.docker_config import DockerConfig
from cgrunbook.cloud.roles import ACCESSOR
from cgrunbook.errors import ApiDisabled, Conflict
from cgrunbook.redaction import Secret
from cgrunbook.run.result import Result
from cgrunbook.run.runbook import Runbook
from cgrunbook.steps import token_pairs
from cgrunbook.steps.step import Outcome
from cgrunbook.steps.token_pairs import Claim
from tests.steps.performing import (
    Names,
    Watcher,
    live_tokens,
    open_book,
    perform,
    proof_of_03,
    requests,
    state_of,
    steps_of_02,
    steps_of_03,
)

pytestmark = pytest.mark.usefixtures("quick_chainctl", "few_locations")

HERE, THERE = "us-central1", "europe-west1"
OTHER_AGENT = "serviceAccount:service-111122223333@gcp-sa-artifactregistry.iam.gserviceaccount.com"


def book_in(location: str, **values: Any) -> tuple[Runbook, Watcher]:
    return open_book(cloud=Cloud(connect("sandbox", location=location)), **values)


def teardown(names: Names) -> steps.TearDown:
    return steps.TearDown(names.public, names.private, names.secret, confirm=names.public)


def torn_down(names: Names, location: str = HERE, **values: Any) -> Result:
    book, seen = book_in(location, **values)
    perform(book, teardown(names))
    return seen.results[-1]


@dataclass(frozen=True)
class Made:
    """What 02 and 03 have made in one location."""

    names: Names
    cloud: Cloud

    @property
    def private(self) -> RemoteRepository:
        there = self.cloud.repositories.get(self.names.private)
        assert there is not None
        return there

    def add(self, name: str, **fields: Any) -> None:
        """A repository that somebody else made here."""
        others = replace(self.private, name=self.cloud.repositories.name(name), labels={}, upstream_description="")
        self.cloud.repositories.create(replace(others, **fields))

    def assert_secret_stays(self, result: Result, why: str) -> None:
        assert [change.resource for change in result.plan.changes] == [
            f"repository {self.names.private}",
            f"repository {self.names.public}",
        ]
        [left] = result.evidence.facts["left"]
        assert left.startswith(f"secret {self.names.secret} with its pull tokens: ")
        assert why in left
        assert why in " ".join(result.plan.notes)
        assert self.cloud.secrets.get(self.names.secret) is not None
        assert len(live_tokens(self.cloud, self.names)) == 1

    def assert_all_gone(self) -> None:
        assert self.cloud.secrets.get(self.names.secret) is None
        assert live_tokens(self.cloud, self.names) == []


@pytest.fixture
def made(home: Path, request: pytest.FixtureRequest) -> Iterator[Made]:
    names = Names.of("".join(c if c.isalnum() else "-" for c in request.node.name.lower())[-32:].strip("-"))
    perform(book_in(HERE)[0], *steps_of_02(names), *steps_of_03(names))
    yield Made(names, book_in(HERE)[0].cloud)
    cloud = book_in(HERE)[0].cloud
    for repository in cloud.repositories.list_at_once().repositories:
        cloud_there = book_in(repository.location)[0].cloud
        cloud_there.repositories.delete(repository.id)


@contextmanager
def answering(path: str, code: int, body: dict[str, Any]) -> Iterator[None]:
    """Let what is asked below a path be answered so, by what stands before the sandbox."""
    send = http.Session.send

    def sending(self: http.Session, request: http.PreparedRequest, **more: Any) -> http.Response:
        if path not in (request.path_url or ""):
            return send(self, request, **more)
        answer = http.Response()
        answer.status_code, answer.request, answer.url = code, request, str(request.url)
        answer._content, answer.headers["Content-Type"] = repr(body).replace("'", '"').encode(), "application/json"
        return answer

    with patch.object(http.Session, "send", sending):
        yield


def test_the_secret_that_another_location_uses_stays_until_the_last_one_is_torn_down(made: Made, home: Path):
    perform(book_in(THERE)[0], *steps_of_02(made.names), *steps_of_03(made.names))
    made.assert_secret_stays(torn_down(made.names), f"the repository {made.names.private} in {THERE} signs in with it")

    known = len(requests(home))
    book, seen = book_in(THERE)
    perform(book, proof_of_03(made.names))
    asked = [line["path"] for line in requests(home)[known:] if line["service"] == "cgr.dev"]
    assert any("/v2/example.com/chainguard-base/blobs/" in path for path in asked), "it came from a cache"
    assert "same digest" in seen.results[-1].brief

    result = torn_down(made.names, THERE)
    assert result.outcome is Outcome.DELETED
    assert result.brief == "left: nothing"
    made.assert_all_gone()


def test_a_second_teardown_says_again_what_stays_and_why_and_changes_nothing(made: Made):
    perform(book_in(THERE)[0], *steps_of_03(made.names))
    torn_down(made.names)
    result = torn_down(made.names)
    assert result.outcome is Outcome.UNCHANGED
    why = f"the repository {made.names.private} in {THERE} signs in with it"
    assert result.brief == f"left: secret {made.names.secret} with its pull tokens: {why}"
    assert result.plan.notes == (f"The secret {made.names.secret} stays: {why}.",)


def test_a_repository_that_names_the_secret_by_the_projects_number_uses_it(made: Made):
    number = made.cloud.project.number()
    by_number = made.private.password_secret_version.replace("projects/cgrunbook-sandbox/", f"projects/{number}/")
    made.add("by-number", password_secret_version=by_number)
    made.assert_secret_stays(torn_down(made.names), f"the repository by-number in {HERE} signs in with it")


def test_a_repository_that_names_the_newest_version_uses_it(made: Made):
    made.add("by-alias", password_secret_version=made.cloud.secrets.version_name(made.names.secret, "latest"))
    made.assert_secret_stays(torn_down(made.names), f"the repository by-alias in {HERE} signs in with it")


def test_a_token_whose_username_a_repository_has_is_in_use_wherever_its_password_is(made: Made):
    secret = made.cloud.secrets.get(made.names.secret)
    assert secret is not None
    copy = f"copy-{made.names.secret[-20:]}"
    made.cloud.secrets.create(replace(secret, name=made.cloud.secrets.name(copy), labels={}, annotations={}))
    perform(book_in(HERE)[0], steps.GrantSecretAccess(copy))
    made.cloud.secrets.add_version(copy, made.cloud.secrets.access(made.names.secret))
    made.add("with-a-copy", password_secret_version=made.cloud.secrets.version_name(copy, 1))
    made.assert_secret_stays(torn_down(made.names), f"the repository with-a-copy in {HERE} signs in with it")


def test_the_secret_of_the_same_name_in_another_project_is_another_secret(made: Made):
    elsewhere = f"projects/another-project/secrets/{made.names.secret}/versions/1"
    with patch.object(type(made.cloud.repositories), "list_everywhere", autospec=True) as listed:
        theirs = replace(made.private, username="somebody", password_secret_version=elsewhere)
        listed.return_value.repositories = (replace(theirs, name=theirs.name.replace(HERE, THERE)),)
        listed.return_value.unread = {}
        result = torn_down(made.names)
    assert result.brief == "left: nothing"


@pytest.mark.parametrize(
    ("path", "code", "status", "why"),
    [
        ("/locations/europe-west9/repositories", 503, "UNAVAILABLE", "in europe-west9 sign in with it is not known"),
        ("/locations/europe-west9/repositories", 403, "PERMISSION_DENIED", "you may not list them"),
        ("/projects/cgrunbook-sandbox/locations?", 403, "PERMISSION_DENIED", "repositories anywhere sign in with it"),
    ],
)
def test_where_a_location_cannot_be_read_the_secret_stays(made: Made, path: str, code: int, status: str, why: str):
    error = {"error": {"code": code, "status": status, "message": "no"}}
    with answering(path, code, error):
        made.assert_secret_stays(torn_down(made.names, wait_limit=1), why)
    assert torn_down(made.names).brief == "left: nothing"


def test_what_cannot_be_seen_since_the_charged_project_lacks_the_api_is_not_taken_for_gone(made: Made):
    off = apis.disabled(apis.SECRET_MANAGER, "cgrunbook-sandbox", "It is off.", charged="another-project")
    with patch.object(type(made.cloud.secrets), "get", side_effect=off), pytest.raises(ApiDisabled, match="another-pr"):
        torn_down(made.names)
    assert len(live_tokens(made.cloud, made.names)) == 1


def test_what_serves_from_a_repository_is_named_before_that_goes(made: Made):
    connection = made.cloud.connection
    number, ours = made.cloud.project.number(), made.private.name
    for place, body in (
        (
            HERE,
            {
                "mode": "VIRTUAL_REPOSITORY",
                "virtualRepositoryConfig": {
                    "upstreamPolicies": [{"id": "a", "repository": ours.replace("cgrunbook-sandbox", number)}]
                },
            },
        ),
        (THERE, {"mode": "REMOTE_REPOSITORY", "remoteRepositoryConfig": {"commonRepository": {"uri": ours}}}),
    ):
        http.post(
            f"{connection.artifact_registry}/v1/projects/{connection.project_id}/locations/{place}/repositories",
            params={"repositoryId": f"mirror-{place}"},
            json={"format": "DOCKER", **body},
            headers={"Authorization": f"Bearer {connection.access_token().reveal()}"},
            timeout=10,
        ).raise_for_status()
    notes = " ".join(torn_down(made.names).plan.notes)
    for place in (HERE, THERE):
        assert f"The repository mirror-{place} in {place} serves from {made.names.private}: it loses" in notes


def test_grants_of_others_that_go_with_a_repository_or_the_secret_are_named(made: Made):
    connection = made.cloud.connection
    http.post(
        f"{connection.artifact_registry}/v1/{made.private.name}:setIamPolicy",
        json={"policy": {"bindings": [{"role": "roles/artifactregistry.reader", "members": ["group:a@example.com"]}]}},
        headers={"Authorization": f"Bearer {connection.access_token().reveal()}"},
        timeout=10,
    ).raise_for_status()
    made.cloud.secrets.grant(made.names.secret, "user:b@example.com", ACCESSOR)
    notes = " ".join(torn_down(made.names).plan.notes)
    assert f"repository {made.names.private} goes with it: group:a@example.com has roles/artifactregistry.re" in notes
    assert f"the secret {made.names.secret} goes with it: user:b@example.com has {ACCESSOR}." in notes
    made.assert_all_gone()


def test_a_repository_into_which_images_are_pushed_is_none_of_ours_whatever_its_label_says(made: Made):
    made.cloud.repositories.delete(made.names.public)
    made.add(
        made.names.public, mode="STANDARD_REPOSITORY", labels={"managed-by": "cgrunbook"}, username="",
        password_secret_version="", upstream="",
    )  # fmt: skip
    result = torn_down(made.names)
    assert f"The repository {made.names.public} stays: cgrunbook did not make it." in result.plan.notes
    assert result.evidence.facts["left"] == [f"repository {made.names.public}: cgrunbook did not make it"]


def test_a_version_that_somebody_else_stored_keeps_the_secret(made: Made):
    version = made.cloud.secrets.add_version(made.names.secret, Secret("anything")).number
    result = torn_down(made.names)
    made.assert_secret_stays(result, f"cgrunbook did not store version {version} of it")
    destroy = (
        f"gcloud secrets versions destroy {version} --secret={made.names.secret} "
        f"--project={made.cloud.connection.project_id}"
    )
    assert f"If that may change:\n{destroy}" in result.plan.notes
    assert destroy in result.evidence.facts["if that may change"]
    made.cloud.secrets.destroy(made.names.secret, version)  # as the plan said
    assert torn_down(made.names).brief == "left: nothing"
    made.assert_all_gone()


def test_the_version_that_a_dead_run_stored_goes_with_the_rest(made: Made):
    secret = made.cloud.secrets.get(made.names.secret)
    assert secret is not None
    died = replace(secret, annotations={"cgrunbook.made-by": "cgrunbook"})
    made.cloud.secrets.update(secret, token_pairs.with_claim(died, Claim.of_this_machine(known=0)))
    assert torn_down(made.names).brief == "left: nothing"
    made.assert_all_gone()


def test_while_another_machine_makes_a_token_for_it_the_secret_stays(made: Made):
    secret = made.cloud.secrets.get(made.names.secret)
    assert secret is not None
    claim = Claim("another machine", datetime.now(UTC), 1)
    made.cloud.secrets.update(secret, token_pairs.with_claim(secret, claim))
    made.assert_secret_stays(torn_down(made.names), "another machine began to make a pull token for it")


def test_another_projects_artifact_registry_that_may_read_the_secret_keeps_it(made: Made):
    connection = made.cloud.connection
    policy = {"bindings": [{"role": ACCESSOR, "members": ["user:x@example.com"]}]}
    with answering(
        f"/secrets/{made.names.secret}:getIamPolicy",
        200,
        policy | {"bindings": [{"role": ACCESSOR, "members": [OTHER_AGENT]}]},
    ):
        made.assert_secret_stays(torn_down(made.names), "the Artifact Registry of another project may read it")
    assert connection.project_id == "cgrunbook-sandbox"


def test_a_repository_that_is_made_while_the_others_go_keeps_the_secret_and_no_claim_is_left(made: Made):
    """03 in another location, by another machine, between the plan and the deletion."""
    delete, elsewhere = type(made.cloud.repositories).delete, book_in(THERE)[0].cloud
    private = replace(made.private, name=elsewhere.repositories.name(made.names.private))

    def meanwhile(self: Any, repository_id: str) -> bool:
        if elsewhere.repositories.get(made.names.private) is None:
            elsewhere.repositories.create(private)
        return bool(delete(self, repository_id))

    with patch.object(type(made.cloud.repositories), "delete", meanwhile), pytest.raises(Conflict) as told:
        torn_down(made.names)
    assert f"the repository {made.names.private} in {THERE} signs in with it" in told.value.message
    assert made.cloud.secrets.get(made.names.secret).annotations.keys() == {"cgrunbook.made-by", "cgrunbook.version-1"}  # type: ignore[union-attr]
    assert state_of(elsewhere, made.names).pair_is_taken_by_cgr_dev


def test_a_repository_that_is_made_at_the_very_last_moment_is_no_silent_loss(made: Made):
    delete, elsewhere = type(made.cloud.secrets).delete, book_in(THERE)[0].cloud
    private = replace(made.private, name=elsewhere.repositories.name(made.names.private))

    def meanwhile(self: Any, secret_id: str) -> bool:
        elsewhere.repositories.create(replace(private, username="", password_secret_version=""))
        elsewhere.repositories.set_upstream_credentials(
            made.names.private, private.username, private.password_secret_version, disable_upstream_validation=True
        )
        return bool(delete(self, secret_id))

    with (
        patch.object(type(made.cloud.secrets), "delete", meanwhile),
        pytest.raises(Exception, match="meanwhile") as told,
    ):
        torn_down(made.names)
    assert f"the repository {made.names.private} in {THERE}" in str(told.value)
    assert "Run 03_production_images for that location" in str(told.value)


def test_a_token_that_another_locations_repository_has_is_no_orphan_though_nobody_wrote_it_down(made: Made):
    perform(book_in(THERE)[0], *steps_of_03(made.names))
    made.cloud.repositories.delete(made.names.private)
    secret = made.cloud.secrets.get(made.names.secret)
    assert secret is not None
    made.cloud.secrets.update(secret, replace(secret, annotations={"cgrunbook.made-by": "cgrunbook"}))
    made.cloud.secrets.disable(made.names.secret, 1)
    [before] = live_tokens(made.cloud, made.names)
    perform(book_in(HERE)[0], *steps_of_03(made.names))
    assert before in live_tokens(made.cloud, made.names)


@pytest.mark.parametrize("unread", [True, False])
def test_the_token_of_a_dead_run_is_revoked_only_where_it_is_seen_that_nobody_signs_in_with_it(
    made: Made, *, unread: bool
):
    token = made.cloud.chainctl.create_pull_token("example.com", "left behind", "720h")
    secret = made.cloud.secrets.get(made.names.secret)
    assert secret is not None
    claim = replace(Claim.of_this_machine(known=1), username=token.username, expires=token.expires)
    made.cloud.secrets.update(secret, token_pairs.with_claim(secret, claim))
    error = {"error": {"code": 403, "status": "PERMISSION_DENIED", "message": "no"}}
    with answering("/locations/europe-west9/repositories" if unread else "/nowhere", 403, error):
        perform(book_in(HERE)[0], steps.StorePullToken(made.names.secret, "", made.names.private))
    listed = {one.id for one in made.cloud.chainctl.list_pull_tokens("example.com")}
    assert (token.username in listed) is unread


def test_a_repository_that_signs_in_with_a_secret_of_that_name_in_another_project_is_not_as_it_should_be(made: Made):
    ours = made.private.password_secret_version
    theirs = ours.replace("projects/cgrunbook-sandbox/", "projects/another-project/")
    made.cloud.repositories.set_upstream_credentials(
        made.names.private, made.private.username, theirs, disable_upstream_validation=True
    )
    book, seen = book_in(HERE)
    perform(book, *steps_of_03(made.names))
    assert seen.outcomes[-1] is Outcome.UPDATED
    assert made.private.password_secret_version == ours


LOGINS: dict[str, tuple[Callable[[DockerConfig, str], object], str]] = {
    "helper": (lambda config, host: config.add_credential_helper(host, "gcloud"), "To end that:\npython3 -c "),
    "file": (lambda config, host: config.login_with_token(host, "u", Secret("p")), "To end that:\ndocker logout {}"),
    "none": (lambda config, host: config.path.write_text("{}"), ""),
    "broken": (lambda config, host: config.path.write_text("["), "cannot be seen"),
}


@pytest.mark.parametrize("kind", LOGINS)
def test_what_ends_dockers_login_is_said_as_it_is_for_each_kind_of_login(made: Made, tmp_path: Path, kind: str):
    signed_in, said = LOGINS[kind]
    connection = replace(made.cloud.connection, docker_config=tmp_path)
    host = connection.artifact_registry_host.address
    signed_in(DockerConfig(tmp_path), host)
    book, seen = open_book(cloud=Cloud(connection))
    perform(book, steps.TearDown(made.names.public, made.names.private, made.names.secret))
    notes = [note for note in seen.results[-1].plan.notes if "ocker" in note]
    assert len(notes) == (1 if said else 0)
    assert said.format(host) in "".join(notes)
    if kind == "helper":
        subprocess.run(shlex.split(notes[0].partition("To end that:\n")[2]), check=True)
        assert DockerConfig(tmp_path).login(host).kind == "none"
