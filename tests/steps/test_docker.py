"""Signing docker in: what docker would send is what counts, wherever it would find it."""

from __future__ import annotations

import base64
import json
import re
import shlex
import stat
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cgrunbook import steps
from cgrunbook.cloud import Cloud, connect
from cgrunbook.errors import CgrunbookError, NotSignedIn, StepFailed
from cgrunbook.run.result import Result
from cgrunbook.sandbox import process
from cgrunbook.steps.step import Outcome, World
from tests.steps.performing import open_book, perform, requests

#: A helper that says what its folder has for the verb (a `get` of TOKEN, or nothing), and counts what it is asked.
HELPER = """#!/bin/sh
'''exec' {python} "$0" "$@"
'''
import json, pathlib, sys, time
me = pathlib.Path(sys.argv[0])
text = sys.stdin.read()
with open(f"{{me}}.asked", "a") as asked:
    print(sys.argv[1], file=asked)
kept = pathlib.Path(f"{{me}}.kept")
if sys.argv[1] == "store" and {keeps}:
    kept.write_text(text)
if sys.argv[1] == "get":
    time.sleep({sleeps})
    if not kept.exists():
        print({says!r})
        sys.exit(1)
    print(kept.read_text())
"""
NONE = "credentials not found in native keychain"
SIGNED_OUT = "You do not currently have an active account selected."


class Desk:
    """A machine with a sandbox for a cloud, helpers of its own on the PATH and no others, and docker's configuration."""

    def __init__(self, home: Path, folder: Path) -> None:
        self.home = home
        self.folder = folder
        self.bin = folder / "bin"
        self.bin.mkdir()
        known = connect("sandbox")
        variables = {**known.environment, "PATH": str(self.bin)}
        self.cloud = Cloud(replace(known, environment=variables, docker_config=folder / "docker"))
        self.config = self.cloud.docker.config
        self.host = known.artifact_registry_host.address
        self.token = known.access_token().reveal()

    def helper(self, name: str, *, says: str = NONE, keeps: bool = True, sleeps: float = 0, has: str = "") -> None:
        program = self.bin / f"docker-credential-{name}"
        program.write_text(HELPER.format(python=shlex.quote(sys.executable), says=says, keeps=keeps, sleeps=sleeps))
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        if has:
            Path(f"{program}.kept").write_text(json.dumps({"Username": "_dcgcloud_token", "Secret": has}))

    def asked(self, name: str) -> list[str]:
        return (self.bin / f"docker-credential-{name}.asked").read_text().split()

    def write(self, document: Any) -> None:
        self.config.path.parent.mkdir(exist_ok=True)
        self.config.path.write_text(json.dumps(document))

    def sign_in(self, how: Any = "auto", mode: str = "apply") -> Result:
        """Perform the step; what came of it."""
        book, seen = open_book(cloud=self.cloud, mode=mode)
        perform(book, steps.SignDockerIn(how))
        return seen.results[-1]

    def lets_docker_in(self) -> bool:
        return self.cloud.docker_sign_in().taken

    def pair(self, user: str = "oauth2accesstoken", token: str = "") -> dict[str, Any]:
        auth = base64.b64encode(f"{user}:{token or self.token}".encode()).decode()
        return {"auths": {self.host: {"auth": auth}}}


@pytest.fixture
def desk(home: Path, tmp_path: Path) -> Desk:
    return Desk(home, tmp_path)


def fields(result: Result) -> list[tuple[str, Any]]:
    return [(re.split(" at | for ", change.field)[0], change.after) for change in result.plan.changes]


def test_without_a_helper_a_token_is_stored_once(desk: Desk):
    assert desk.sign_in().outcome is Outcome.UPDATED
    assert desk.lets_docker_in()
    assert desk.sign_in(mode="plan").outcome is Outcome.UNCHANGED
    again = desk.sign_in()
    assert (again.outcome, again.evidence.facts["tried there"]) == (
        Outcome.UNCHANGED,
        "the registry lets oauth2accesstoken in",
    )


def test_a_token_that_ended_is_stored_anew_and_the_plan_says_why(desk: Desk):
    desk.write(desk.pair(token=process.access_token("user:trainee@example.com", desk.home, lifetime_seconds=-1)))
    (change,) = desk.sign_in(mode="plan").plan.changes
    assert "signed in as oauth2accesstoken in config.json; " in change.before
    assert "does not take the login of oauth2accesstoken (401" in change.before
    desk.sign_in()
    assert desk.lets_docker_in()


@pytest.mark.parametrize("how", ["auto", "credential-helper"])
def test_gclouds_helper_is_named_where_it_has_a_login_that_is_taken(desk: Desk, how: str):
    desk.helper("gcloud", keeps=False, has=desk.token)
    result = desk.sign_in(how)
    assert fields(result) == [("sign-in", "the credential helper gcloud")]
    assert desk.config.read() == {"credHelpers": {desk.host: "gcloud"}}
    assert desk.asked("gcloud") == ["get"]
    assert desk.sign_in(how).outcome is Outcome.UNCHANGED
    assert desk.asked("gcloud") == ["get", "get"]


@pytest.mark.parametrize("token", ["", "ya29.of-somebody-who-is-gone"])
@pytest.mark.parametrize("named", [False, True])
def test_auto_takes_the_other_way_where_gclouds_helper_is_of_no_use(desk: Desk, token: str, named: bool):
    desk.helper("gcloud", says=SIGNED_OUT, keeps=False, has=token)
    if named:
        desk.write({"credHelpers": {desk.host: "gcloud"}})
    result = desk.sign_in()
    after = "an access token that lasts an hour"
    assert fields(result) == [*([("credential helper", None)] if named else []), ("sign-in", after)]
    assert (SIGNED_OUT if not token else "does not take the login of _dcgcloud_token") in f"{result.plan.notes}\n"
    assert desk.asked("gcloud") == ["get", "get"] if named and not token else ["get"]
    assert desk.lets_docker_in()
    assert desk.sign_in().outcome is Outcome.UNCHANGED


def test_a_helper_that_fails_once_is_not_given_up(desk: Desk):
    desk.helper("really", keeps=False, has=desk.token)
    desk.write({"credHelpers": {desk.host: "gcloud"}})
    once, program = desk.folder / "once", desk.bin / "docker-credential-gcloud"
    program.write_text(
        f"#!/bin/sh\ntest -e {once} || {{ : >{once}; exit 1; }}\nexec {desk.bin}/docker-credential-really get\n"
    )
    program.chmod(0o755)
    assert desk.sign_in().outcome is Outcome.UNCHANGED
    assert once.exists()


def test_a_helper_that_is_asked_for_and_of_no_use_is_refused_with_the_command(desk: Desk, monkeypatch):
    desk.cloud.connection = replace(desk.cloud.connection, target="google-cloud")
    desk.helper("gcloud", says=SIGNED_OUT, keeps=False)
    with pytest.raises(NotSignedIn, match=SIGNED_OUT) as caught:
        steps.SignDockerIn("credential-helper").plan(World(desk.cloud))
    assert "gcloud auth login" in caught.value.remedy
    (desk.bin / "docker-credential-gcloud").unlink()
    with pytest.raises(NotSignedIn, match="no docker-credential-gcloud on the PATH") as caught:
        steps.SignDockerIn("credential-helper").plan(World(desk.cloud))
    assert caught.value.remedy.startswith("Install gcloud")
    assert not desk.config.path.exists()


def test_a_token_that_is_asked_for_takes_the_place_of_a_helper_that_forgets(desk: Desk):
    desk.helper("gcloud", keeps=False, has=desk.token)
    desk.write({"credHelpers": {desk.host: "gcloud", "gcr.io": "gcloud"}})
    assert fields(desk.sign_in("access-token")) == [
        ("credential helper", None),
        ("sign-in", "an access token that lasts an hour"),
    ]
    assert desk.config.read()["credHelpers"] == {"gcr.io": "gcloud"}
    (desk.bin / "docker-credential-gcloud.kept").unlink()
    assert desk.lets_docker_in()
    assert desk.sign_in("access-token").outcome is Outcome.UNCHANGED


@pytest.mark.parametrize("how", ["auto", "access-token"])
def test_a_store_that_forgets_is_refused_before_anything_is_written(desk: Desk, how: str):
    desk.helper("gcloud", says=SIGNED_OUT, keeps=False)
    desk.write({"credsStore": "gcloud"})
    with pytest.raises(NotSignedIn, match=SIGNED_OUT):
        desk.sign_in(how)
    assert desk.config.read() == {"credsStore": "gcloud"}


def test_a_store_with_a_login_that_is_taken_stays_and_is_given_no_token(desk: Desk):
    desk.cloud.connection = replace(desk.cloud.connection, target="google-cloud")
    desk.helper("gcloud", keeps=False, has=desk.token)
    desk.write({"credsStore": "gcloud"})
    for how in ("auto", "credential-helper"):
        assert desk.sign_in(how).outcome is Outcome.UNCHANGED
    with pytest.raises(StepFailed, match="which forgets what it is given") as caught:
        steps.SignDockerIn("access-token").plan(World(desk.cloud))
    assert caught.value.remedy.startswith("Set docker_login to auto")


def test_another_store_keeps_the_token(desk: Desk):
    desk.helper("desktop")
    desk.write({"credsStore": "desktop"})
    result = desk.sign_in()
    assert fields(result) == [("sign-in", "an access token that lasts an hour, in the credential store desktop")]
    assert desk.config.read() == {"credsStore": "desktop", "auths": {desk.host: {}}}
    assert desk.sign_in().outcome is Outcome.UNCHANGED


def test_another_store_that_forgets_is_no_login(desk: Desk):
    desk.helper("desktop", keeps=False)
    desk.write({"credsStore": "desktop"})
    with pytest.raises(StepFailed, match="has another or none"):
        desk.sign_in()


def test_a_store_that_is_not_there_or_hangs_is_said(desk: Desk, monkeypatch):
    desk.write({"credsStore": "desktop"})
    with pytest.raises(StepFailed, match="no docker-credential-desktop on the PATH"):
        desk.sign_in(mode="plan")
    monkeypatch.setattr("cgrunbook.cloud.docker_config._HELPER_SECONDS", 0.5)
    desk.helper("desktop", sleeps=60)
    with pytest.raises(StepFailed, match="docker-credential-desktop did not end within"):
        desk.sign_in(mode="plan")


def test_gcloud_is_taken_although_the_store_of_all_others_is_not_there(desk: Desk):
    desk.helper("gcloud", keeps=False, has=desk.token)
    desk.write({"credsStore": "desktop"})
    desk.sign_in()
    assert desk.config.read() == {"credsStore": "desktop", "credHelpers": {desk.host: "gcloud"}}


@pytest.mark.parametrize("user", ["oauth2accesstoken", "_token", "_dcgcr_1_token"])
def test_whosesoever_login_is_taken_stays(desk: Desk, user: str):
    desk.helper("gcloud", keeps=False, has=desk.token)
    desk.write(desk.pair(user, process.access_token("user:somebody@example.com", desk.home)))
    before = desk.config.path.read_bytes()
    assert desk.sign_in().outcome is Outcome.UNCHANGED
    assert desk.config.path.read_bytes() == before


def test_a_login_in_the_environment_goes_first_and_is_not_written_about(desk: Desk):
    variables = {**desk.cloud.connection.environment, "DOCKER_AUTH_CONFIG": json.dumps(desk.pair(token="ya29.gone"))}
    desk.cloud = Cloud(replace(desk.cloud.connection, environment=variables))
    desk.write(desk.pair())
    with pytest.raises(NotSignedIn, match="does not take the login of oauth2accesstoken"):
        desk.sign_in()
    assert desk.cloud.docker.sign_in_again(desk.cloud.docker.config.login(desk.host)).endswith(
        "unset DOCKER_AUTH_CONFIG"
    )


def test_a_login_that_stands_costs_one_exchange(desk: Desk):
    desk.sign_in()
    known = len(requests(desk.home))
    desk.sign_in()
    assert [(line["method"], line["path"].partition("?")[0]) for line in requests(desk.home)[known:]] == [
        ("GET", "/v2/token")
    ]


def test_nothing_is_asked_where_docker_is_to_be_left_alone(desk: Desk):
    desk.helper("gcloud", has=desk.token)
    known = len(requests(desk.home))
    skipped = desk.sign_in("none")
    assert (skipped.outcome, skipped.evidence.brief) == (Outcome.SKIPPED, "not asked for (docker_login)")
    assert len(requests(desk.home)) == known
    assert not (desk.bin / "docker-credential-gcloud.asked").exists()


@pytest.mark.parametrize(
    ("document", "ends"),
    [
        ({}, ""),
        ({"credHelpers": {"HOST": "gcloud"}}, "python3 -c "),
        ({"CREDHELPERS": {"HOST": "gcloud"}}, "take HOST out of credHelpers in "),
        ({"auths": {"HOST": {"auth": "YTpi"}}}, "docker logout HOST"),
        ({"auths": {"https://HOST": {"auth": "YTpi"}}}, "docker logout HOST"),
        ({"auths": {"https://HOST/v1/": {"auth": "YTpi"}}}, "take https://HOST/v1/ out of auths in "),
        ({"credsStore": "desktop"}, "docker logout HOST"),
    ],
)
def test_what_ends_a_login_depends_on_where_it_is(desk: Desk, document: Any, ends: str):
    desk.write(json.loads(json.dumps(document).replace("HOST", desk.host)))
    found = desk.config.ending(desk.host)
    assert found.startswith(ends.replace("HOST", desk.host))
    assert bool(found) == bool(ends)


def test_a_file_that_nobody_can_read_is_left_as_it_is(desk: Desk):
    desk.write({})
    desk.config.path.write_text("{")
    with pytest.raises(CgrunbookError, match="cannot be used"):
        desk.sign_in()


def test_a_registry_that_says_no_once_is_asked_again(desk: Desk, monkeypatch):
    desk.sign_in()
    real: Callable[..., Any] = type(desk.cloud.artifact_registry_host).sign_in
    said: list[int] = []

    def once(registry: Any) -> Any:
        said.append(1)
        return replace(real(registry), status=401) if len(said) == 1 else real(registry)

    monkeypatch.setattr("cgrunbook.cloud.registry.Registry.sign_in", once)
    assert desk.sign_in().outcome is Outcome.UNCHANGED
