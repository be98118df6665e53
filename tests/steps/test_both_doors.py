"""chainctl and Chainguard's API: a step does not know through which it goes, and what one has made the other sees."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import jwt
import pytest
import requests

from cgrunbook import steps
from cgrunbook.cloud import ChainguardAccess, Cloud, connect
from cgrunbook.cloud.chainguard_api import ChainguardApi
from cgrunbook.cloud.registry import BasicCredentials
from cgrunbook.errors import (
    CgrunbookError,
    ChainguardFailed,
    ChainguardSignedOut,
    NotSignedIn,
    PermissionMissing,
    Temporary,
    WrongState,
)
from cgrunbook.sandbox import process
from cgrunbook.sandbox.chainguard.organizations import Organizations
from cgrunbook.sandbox.context import Sandbox
from cgrunbook.sandbox.settings import Settings
from cgrunbook.sandbox.state import State
from cgrunbook.steps.chainguard_access import PRUNER, TakeAwayChainguardAccess
from cgrunbook.steps.step import Outcome, World
from tests.sandboxes import chainctl_without_a_process, sandbox_home
from tests.steps.disturbing import Killed, Moment, disturbed
from tests.steps.doors import ACCOUNT, DOORS, let_the_trainee_act_as_it, prepare, set_up, through
from tests.steps.performing import (
    UNDISTURBED_03,
    Names,
    live_tokens,
    open_book,
    perform,
    state_of,
    steps_of_03,
    writes,
)
from tests.steps.performing import (
    requests as asked_since,
)

IMAGE = "example.com/chainguard-base"


@pytest.fixture(scope="module")
def access(home: Path, quick_chainctl: None) -> ChainguardAccess:
    book, _ = open_book()
    perform(book, steps.EnableApi(steps.ARTIFACT_REGISTRY), steps.EnableApi(steps.SECRET_MANAGER))
    return prepare()


def cloud_through(door: str, access: ChainguardAccess, **more: Any) -> Cloud:
    wanted = access if door == "service-account" else ChainguardAccess("chainctl")
    return Cloud(replace(connect("sandbox"), chainguard=replace(wanted, **more)))


def other(door: str) -> str:
    return DOORS[1 - DOORS.index(door)]


@contextmanager
def organizations(home: Path) -> Iterator[Organizations]:
    """The sandbox's own book of who may what, put back as it was."""
    there = process.status(home)
    assert there is not None
    state = State(home / "sandbox" / "state.db")
    inside = Organizations(Sandbox(Settings(home=home / "sandbox"), state, there.running.hosts))
    try:
        yield inside
    finally:
        inside.set_role("owner")
        inside.set_plan("other")
        state.close()


@pytest.mark.parametrize("door", DOORS)
def test_what_03_makes_is_the_same_and_pulls(access: ChainguardAccess, door: str):
    names = Names.of(f"through-{door}")
    with through(door, access):
        for _ in range(2):
            book, seen = open_book()
            perform(book, *steps_of_03(names))
            assert state_of(book.cloud, names) == UNDISTURBED_03
    assert set(seen.outcomes) == {Outcome.UNCHANGED}
    [token] = live_tokens(cloud_through(other(door), access), names)
    assert cloud_through(other(door), access).chainguard.revoke(token, "example.com")
    assert live_tokens(cloud_through(door, access), names) == []


@pytest.mark.parametrize("door", DOORS)
def test_a_token_is_what_chainctl_makes_of_one(access: ChainguardAccess, door: str):
    cloud = cloud_through(door, access)
    token = cloud.chainguard.create_pull_token(
        "example.com", f"as it is, {door}".replace(",", ""), "2h", "what it is for"
    )
    claims = jwt.decode(token.password.reveal(), options={"verify_signature": False})
    assert claims.keys() == {"iss", "aud", "sub", "iat", "exp"}
    assert jwt.get_unverified_header(token.password.reveal()) == {"alg": "RS256"}
    assert claims["exp"] - claims["iat"] == 2 * 3600 - 1
    assert cloud.cgr(BasicCredentials(token.username, token.password)).probe_token(IMAGE).granted
    for seen_by in DOORS:
        [listed] = [
            one
            for one in cloud_through(seen_by, access).chainguard.list_pull_tokens("example.com")
            if one.id == token.username
        ]
        assert listed.name == f"as it is {door} - registry"
        assert listed.expires is not None
        assert abs(listed.expires - token.expires) < timedelta(seconds=2)
        assert listed.last_seen is not None
        assert listed.last_seen >= listed.expires - timedelta(hours=2, seconds=2)
    assert cloud.chainguard.revoke(token.username, "example.com")
    assert not cloud.chainguard.revoke(token.username, "example.com")
    assert (
        not cloud_through(door, access).cgr(BasicCredentials(token.username, token.password)).probe_token(IMAGE).granted
    )


@pytest.mark.parametrize(
    ("call", "moment"),
    [
        ("/iam/v2/identities", "after"),
        *(
            pytest.param(call, moment, marks=pytest.mark.long)
            for call in ("/iam/v2/identities", "/iam/v2/roleBindings:batchCreate", "update its username")
            for moment in ("before", "after")
            if (call, moment) != ("/iam/v2/identities", "after")
        ),
    ],
)
def test_killed_as_it_makes_a_token_the_next_run_through_either_door_finishes(
    access: ChainguardAccess, call: str, moment: Moment
):
    names = Names.of(f"killed-{len(call)}-{moment}")
    with through("service-account", access):
        with disturbed() as counted:
            perform(open_book()[0], *steps_of_03(Names.of(f"count-{len(call)}-{moment}")))
        sent = [name.partition(" ")[2] for name in counted.calls]
        at = 1 + next(
            (n for n, path in enumerate(sent) if path.startswith(call)),
            sent.index("/iam/v2/roleBindings:batchCreate") + 1,
        )
        with disturbed(at, moment), pytest.raises(Killed):
            perform(open_book()[0], *steps_of_03(names))
    with through("chainctl" if moment == "after" else "service-account", access):
        book, _ = open_book()
        perform(book, *steps_of_03(names))
        assert state_of(book.cloud, names) == UNDISTURBED_03


@pytest.mark.parametrize("path", ["/iam/v2/identities", "/iam/v2/roleBindings:batchCreate"])
def test_an_answer_that_is_lost_on_the_way_leaves_nothing_twice(access: ChainguardAccess, path: str):
    cloud = cloud_through("service-account", access)
    cloud.attempts.first = 0.001
    before = {one.id for one in cloud.chainguard.list_pull_tokens("example.com")}
    at = 1 if path.endswith("identities") else 2
    with disturbed(at, "after", requests.ConnectionError("the answer was lost")) as seen:
        token = cloud.chainguard.create_pull_token("example.com", "lost answer", "1h")
    assert seen.calls[at - 1].startswith(f"POST {path}")
    after = {one.id for one in cloud.chainguard.list_pull_tokens("example.com")}
    assert after - before == {token.username}
    assert cloud.cgr(BasicCredentials(token.username, token.password)).probe_token(IMAGE).granted


def test_an_identity_that_could_not_be_bound_is_taken_away_again(access: ChainguardAccess, home: Path):
    cloud = cloud_through("service-account", access)
    before = cloud.chainguard.list_pull_tokens("example.com")
    with (
        patch.object(ChainguardApi, "bind", side_effect=PermissionMissing("no", "ask")),
        pytest.raises(PermissionMissing),
    ):
        cloud.chainguard.create_pull_token("example.com", "never bound", "1h")
    assert {one.id for one in cloud.chainguard.list_pull_tokens("example.com")} == {one.id for one in before}


@pytest.mark.parametrize("door", DOORS)
def test_a_list_that_hides_what_was_just_made_is_no_list(access: ChainguardAccess, home: Path, door: str):
    """The vendor's least role makes tokens and may not list them; v1 tells such a caller that there are none."""
    cloud = cloud_through(door, access)
    with organizations(home) as book:
        if door == "chainctl":
            book.set_role("registry.pull_token_creator")
        else:
            identity = _bound_to_the_least_role(cloud)
            cloud = cloud_through(door, access, identity=identity)
        made = cloud.chainguard.create_pull_token("example.com", "unlisted", "1h")
        with pytest.raises(PermissionMissing, match=r"list|required capabilities") as raised:
            cloud.chainguard.list_pull_tokens("example.com")
        assert "identity.list" in raised.value.remedy
        with pytest.raises(CgrunbookError):
            cloud.chainguard.revoke(made.username, "example.com")
    assert cloud_through("chainctl", access).chainguard.revoke(made.username, "example.com")


def test_a_token_that_somebody_else_revoked_is_just_not_listed(access: ChainguardAccess):
    for door in DOORS:
        cloud = cloud_through(door, access)
        kept, gone = (
            cloud.chainguard.create_pull_token("example.com", f"{name} {door}", "1h") for name in ("kept", "gone")
        )
        cloud_through(other(door), access).chainguard.revoke(gone.username, "example.com")
        listed = {one.id for one in cloud.chainguard.list_pull_tokens("example.com")}
        assert listed & {kept.username, gone.username} == {kept.username}


def _bound_to_the_least_role(cloud: Cloud) -> str:
    api = cloud.chainguard_as_owner
    subject = jwt.decode(_identity_token(cloud), options={"verify_signature": False})["sub"]
    body = {"name": "least", "claimMatch": {"issuer": "https://accounts.google.com", "subject": subject}}
    made = api.create_identity("example.com", body | {"description": "by hand"}, known_by={"claimMatch": "X"})
    [role] = api.roles("registry.pull_token_creator")
    api.bind("example.com", made["uid"], [role["uid"]])
    return str(made["uid"])


def _identity_token(cloud: Cloud) -> str:
    from cgrunbook.cloud.chainguard_session import OfServiceAccount

    return OfServiceAccount(cloud.connection, cloud.attempts).identity_token().reveal()


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(("plan", "hours"), [pytest.param("starter", 720, marks=pytest.mark.long), ("team", 168)])
def test_a_life_above_the_plans_limit_is_refused_with_what_helps(
    access: ChainguardAccess, home: Path, door: str, plan: str, hours: int
):
    cloud = cloud_through(door, access)
    before = cloud.chainguard.list_pull_tokens("example.com")
    with organizations(home) as book:
        book.set_plan(plan)
        with pytest.raises(ChainguardFailed, match=f"{hours}h") as raised:
            cloud.chainguard.create_pull_token("example.com", "too long", f"{hours + 1}h")
    assert "168h (Team)" in raised.value.remedy
    assert cloud.chainguard.list_pull_tokens("example.com") == before


@pytest.mark.long
def test_where_chainguard_shortens_a_life_the_token_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Whether it refuses or shortens is not documented: then the JWT is no longer than its keys."""
    monkeypatch.setenv("CGRUNBOOK_SANDBOX_TTL_CLAMPED", "1")
    monkeypatch.setenv("CGRUNBOOK_SANDBOX_CHAINGUARD_PLAN", "team")
    with sandbox_home(tmp_path / "home"), chainctl_without_a_process():
        access = prepare()
        for door in DOORS:
            with through(door, access):
                book, seen = open_book()
                perform(book, *steps_of_03(Names.of(door)))
            [stored] = [result for result in seen.results if "pull token in the secret" in result.step.title]
            left = stored.evidence.facts["expires"] - datetime.now(UTC)
            assert timedelta(hours=167) < left < timedelta(hours=168)
            told = " ".join(map(str, stored.evidence.facts.values()))
            assert "30 days were asked for, and Chainguard gave 7 days" in told


def test_who_makes_tokens_by_the_api_is_seen_with_its_roles(access: ChainguardAccess):
    cloud = cloud_through("service-account", access)
    login = cloud.chainguard.require_login()
    assert (login.identity, login.email) == (access.identity, ACCOUNT)
    assert login.may_create_pull_tokens("example.com")
    assert cloud.chainguard.organizations() == ("example.com",)
    assert cloud.chainguard.images("example.com") == cloud.chainctl.images("example.com")
    shown = {finding.check: finding.seen for finding in steps.CheckChainguard("").verify(World(cloud)).findings}
    assert shown["Chainguard's API login"] == f"signed in as {ACCOUNT}"
    assert shown["may create pull tokens"] == "yes"


def test_chainctl_is_the_default_where_it_is_signed_in_and_the_other_door_where_it_is_not(access: ChainguardAccess):
    cloud = cloud_through("service-account", access, auth="")
    assert cloud.chainguard.name == "chainctl"
    assert cloud.chainctl._run(["auth", "logout"]).code == 0
    try:
        assert cloud_through("service-account", access, auth="").chainguard.name == "Chainguard's API"
        assert Cloud(connect("sandbox")).chainguard.name == "chainctl"  # no other is prepared
    finally:
        assert cloud.chainctl._run(["auth", "login"]).code == 0


def test_what_stands_in_the_way_is_said_with_what_helps(access: ChainguardAccess):
    def refusal(**more: Any) -> CgrunbookError:
        with pytest.raises(CgrunbookError) as raised:
            cloud_through("service-account", access, **more).chainguard.require_login()
        return raised.value

    nobody = refusal(service_account="")
    assert isinstance(nobody, NotSignedIn)
    assert "chainguard_service_account" in nobody.remedy
    stranger = refusal(service_account=ACCOUNT.replace("rotator", "stranger"))
    assert isinstance(stranger, ChainguardSignedOut)
    assert "gcloud iam service-accounts describe stranger@" in stranger.remedy
    gone = refusal(identity=f"{'0' * 40}/{'0' * 16}")
    assert isinstance(gone, ChainguardSignedOut)
    assert gone.exit_code == 3
    unknown = refusal(service_account="robot@another-project.iam.gserviceaccount.com")
    assert "Unknown service account" in unknown.message


def test_whoever_may_not_act_as_the_account_is_given_the_command_that_lets_them(access: ChainguardAccess, home: Path):
    from cgrunbook.cloud.credentials import TokenFile

    token = home.parent / "reader-token"
    token.write_text(process.access_token("user:reader@example.com"))
    cloud = cloud_through("service-account", access)
    connection = replace(cloud.connection, credentials=TokenFile(token), who=lambda: "user:reader@example.com")
    with pytest.raises(PermissionMissing) as raised:
        Cloud(connection).chainguard.require_login()
    assert f"add-iam-policy-binding {ACCOUNT}" in raised.value.remedy
    assert "roles/iam.serviceAccountTokenCreator" in raised.value.remedy
    assert "user:reader@example.com" in raised.value.remedy


def test_a_session_that_is_over_is_exchanged_anew_and_a_list_that_begins_again_is_none(access: ChainguardAccess):
    cloud = cloud_through("service-account", access)
    cloud.chainguard.require_login()
    door: Any = cloud.chainguard
    door._whose._held = type(door._whose._held)("header.claims.signature")
    assert cloud.chainguard.organizations() == ("example.com",)
    page = {"identities": [{"uid": "a"}], "nextPageToken": "ended"}
    door.attempts.limit = 0
    with patch.object(ChainguardApi, "call", lambda *_, **__: page), pytest.raises(Temporary, match="began again"):
        door.listed("identities", "/iam/v2/identities", "list")


def test_the_set_up_is_planned_made_proved_and_made_no_second_time(access: ChainguardAccess, home: Path):
    account = ACCOUNT.replace("rotator", "another")
    step = steps.LetServiceAccountMakePullTokens(account, "example.com")
    book, seen = open_book()
    perform(book, step)
    [made] = seen.results
    assert made.outcome is Outcome.CREATED
    assert [change.after for change in made.plan.changes] == [
        f"for {made.evidence.facts['assumed by']} to assume",
        f"registry.pull_token_creator and {PRUNER}",
    ]
    assert made.evidence.facts["signed in as it"] == "yes"
    book, seen = open_book()
    before = len(asked_since(home))
    perform(book, step)
    assert seen.outcomes == [Outcome.UNCHANGED]
    assert writes(asked_since(home, before)) == []
    away = TakeAwayChainguardAccess(account, "example.com")
    book, seen = open_book()
    perform(book, away, away)
    assert seen.outcomes == [Outcome.DELETED, Outcome.UNCHANGED]
    assert [change.resource.partition(" ")[0] for change in seen.results[0].plan.changes] == [
        "identity"
    ]  # the role is used
    assert cloud_through("service-account", access).chainguard.require_login().identity == access.identity


@pytest.mark.parametrize(
    ("call", "moment"),
    [
        (1, "after"),
        *(
            pytest.param(call, moment, marks=pytest.mark.long)
            for call, moment in ((1, "before"), (2, "before"), (2, "after"))
        ),
    ],
)
def test_a_set_up_that_was_killed_is_finished_by_the_next(access: ChainguardAccess, call: int, moment: Moment):
    account = ACCOUNT.replace("rotator", f"killed{call}{moment}")
    step = steps.LetServiceAccountMakePullTokens(account, "example.com")
    with disturbed(call, moment) as seen:
        try:
            perform(open_book()[0], step)
        except Killed:
            assert len(seen.calls) == call
        else:
            assert len(seen.calls) < call
    book, result = open_book()
    perform(book, step)
    assert len(book.cloud.chainguard_as_owner.identities("example.com", "RELATIONSHIP_TYPE_CLAIM_MATCH")) >= 2
    ours = [
        one
        for one in book.cloud.chainguard_as_owner.identities("example.com", "RELATIONSHIP_TYPE_CLAIM_MATCH")
        if account in one["description"]
    ]
    assert len(ours) == 1
    assert result.results[0].evidence.facts["identity"] == ours[0]["uid"]
    perform(open_book()[0], TakeAwayChainguardAccess(account, "example.com"))


def test_what_somebody_made_by_hand_is_used_as_it_is_and_never_taken_away(access: ChainguardAccess):
    account = ACCOUNT.replace("rotator", "byhand")
    cloud = cloud_through("service-account", access, service_account=account)
    identity = _bound_to_the_least_role(cloud)
    step = steps.LetServiceAccountMakePullTokens(account, "example.com")
    book, seen = open_book()
    perform(book, step)
    assert seen.outcomes == [Outcome.UPDATED]
    assert [change.after for change in seen.results[0].plan.changes] == [PRUNER]
    assert seen.results[0].evidence.facts["identity"] == identity
    book, seen = open_book()
    perform(book, TakeAwayChainguardAccess(account, "example.com"))
    assert seen.outcomes == [Outcome.UNCHANGED]
    assert cloud.chainguard_as_owner.delete("identities", identity, "it")


def test_whoever_is_no_owner_is_told_who_may_set_it_up_and_nothing_is_made(access: ChainguardAccess, home: Path):
    step = steps.LetServiceAccountMakePullTokens(ACCOUNT.replace("rotator", "refused"), "example.com")
    with organizations(home) as book:
        for role in ("viewer", "registry.pull_token_creator"):
            book.set_role(role)
            runbook, _ = open_book()
            with pytest.raises(PermissionMissing) as raised:
                perform(runbook, step)
            assert "An owner of the organisation" in raised.value.remedy
    assert len(step.plan(World(Cloud(connect("sandbox")))).changes) == 2  # the role is there


def test_all_that_two_runs_at_once_have_made_is_taken_away_also_when_the_account_is_gone(access: ChainguardAccess):
    account = "twice@gone-project.iam.gserviceaccount.com"
    api = cloud_through("service-account", access).chainguard_as_owner
    for number in ("1", "2"):
        claims = {"issuer": "https://accounts.google.com", "subject": number}
        body = {"name": "cgrunbook twice", "description": f"Made by cgrunbook: {account} makes pull tokens"}
        api.create_identity("example.com", body | {"claimMatch": claims}, known_by={"claimMatch": "X"})
    book, seen = open_book()
    perform(book, TakeAwayChainguardAccess(account, "example.com"))
    assert seen.outcomes == [Outcome.DELETED]
    assert len(seen.results[0].plan.changes) == 2
    assert not [one for one in api.identities("example.com", "RELATIONSHIP_TYPE_CLAIM_MATCH") if "twice" in one["name"]]


def test_a_role_of_the_same_name_that_is_another_is_not_bound(access: ChainguardAccess):
    cloud = cloud_through("service-account", access)
    with (
        patch("cgrunbook.steps.chainguard_access._capabilities", lambda role: {"CAP_IAM_GROUPS_LIST"}),
        pytest.raises(WrongState, match="lacks identity") as raised,
    ):
        set_up().plan(World(cloud))
    assert "chainctl iam roles delete" in raised.value.remedy


@pytest.mark.long
def test_the_commands_of_the_set_up_do_the_same(tmp_path: Path):
    """As a person copies them: in a shell of its own, in which the sandbox's chainctl and the real gcloud are."""
    from tests.clients.programs import client

    with sandbox_home(tmp_path / "home") as home:
        cloud = Cloud(connect("sandbox"))
        let_the_trainee_act_as_it(cloud.connection)
        plan = set_up().plan(World(cloud))
        assert len(plan.changes) == 3
        gcloud = str(Path(client("gcloud")).parent)
        environment = {**os.environ, **cloud.connection.environment, "CGRUNBOOK_HOME": str(home)}
        environment["PATH"] = os.pathsep.join([environment["PATH"], gcloud])
        done = subprocess.run(
            ["bash", "-eu"],
            input="\n".join(plan.commands),
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert set_up().plan(World(Cloud(connect("sandbox")))).empty
        evidence = set_up().verify(World(Cloud(connect("sandbox"))))
        assert evidence.facts["signed in as it"] == "yes"
        json.dumps(dict(evidence.facts))
