"""Where the password is that a repository signs in with, and whether the service agent may read it: what is told of it, and done.

A grant may stand under a condition, come through others or be everybody's; a secret of the same id may be in another project.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import requests as http

from cgrunbook import steps
from cgrunbook.cloud import Attempts, Cloud
from cgrunbook.cloud.iam_policy import Binding, Policy, take_command
from cgrunbook.cloud.roles import ACCESSOR
from cgrunbook.diagnosis.checks import Way
from cgrunbook.diagnosis.codes import Code
from cgrunbook.diagnosis.doctor import diagnose
from cgrunbook.errors import InvalidRequest, PermissionMissing
from cgrunbook.image_reference import ImageReference
from cgrunbook.steps.step import Evidence, Finding, Mark, Outcome, World
from cgrunbook.steps.token_checks import Levels
from cgrunbook.steps.token_life import token_lives
from cgrunbook.steps.token_sides import Check
from tests.misfortunes import change_policy
from tests.steps.performing import Names, open_book, perform, proof_of_03, requests, state_of, steps_of_03, writes

pytestmark = pytest.mark.usefixtures("quick_chainctl")

AGENT = "serviceAccount:service-123456789012@gcp-sa-artifactregistry.iam.gserviceaccount.com"
HOLDS = {"title": "for years", "expression": 'request.time < timestamp("2100-01-01T00:00:00Z")'}
OVER = {"title": "for a time", "expression": "request.time < timestamp('2020-01-01T00:00:00Z')"}
ID, NUMBER = "another-project", "998877665544"

Grants = Sequence[tuple[str, str, dict[str, str] | None]]


@dataclass(frozen=True)
class Made:
    """What 03 has made."""

    names: Names
    cloud: Cloud

    def check(self) -> list[Finding]:
        """What 04 says of the credential: the grant, the version, the value."""
        there = self.cloud.repositories.get(self.names.private)
        assert there is not None
        wanted = (Check.GRANT, Check.VERSION, Check.END)
        without = frozenset(Check) - frozenset(wanted)
        (life,) = token_lives(World(self.cloud), lambda: ([there], False), levels=Levels(), without=without)
        return [life.of(check) for check in wanted]

    def directly(self) -> dict[Code, Mark]:
        """What cgr.dev says of the image itself to what the repository signs in with."""
        way = Way(self.names.private, ImageReference("example.com/chainguard-base", "latest"))
        world = World(Cloud(self.cloud.connection, Attempts(limit=0.2)))
        found = diagnose(world, (way,), only=(Code.TAKEN, Code.IMAGE, Code.ORGANIZATION))
        return {one.code: one.finding.mark for one in found.looked}

    def granted(self, *grants: tuple[str, str, dict[str, str] | None], secret: str = "") -> None:
        """Let these, role and member and condition, be all that is granted on a secret."""
        bindings = [
            {"role": role, "members": [member], **({"condition": condition} if condition else {})}
            for role, member, condition in grants
        ]
        name = self.cloud.secrets.name(secret or self.names.secret)
        request = {"resource": name, "policy": {"version": 3, "bindings": bindings}}
        self.cloud.secrets._client.set_iam_policy(request=request)

    def signs_in_with(self, version: str) -> None:
        there = self.cloud.repositories.get(self.names.private)
        assert there is not None
        self.cloud.repositories.set_upstream_credentials(
            self.names.private, there.username, version, disable_upstream_validation=True
        )


@pytest.fixture(scope="module")
def made_once(home: Path, quick_chainctl: None) -> Made:
    names = Names.of("grants")
    book, _ = open_book()
    perform(book, *steps_of_03(names))
    # The same id in the other project: the sandbox has but one, so there it is kept under a name of its own.
    theirs = f"theirs-{names.secret}"
    perform(book, steps.CreateSecret(theirs))
    book.cloud.secrets.add_version(theirs, book.cloud.secrets.access(names.secret))
    return Made(names, book.cloud)


@pytest.fixture
def made(made_once: Made) -> Iterator[Made]:
    ours = made_once.cloud.secrets.version_name(made_once.names.secret, 1)
    yield made_once
    made_once.granted((ACCESSOR, AGENT, None))
    made_once.granted(secret=f"theirs-{made_once.names.secret}")
    made_once.cloud.secrets.enable(f"theirs-{made_once.names.secret}", 1)
    if made_once.cloud.repositories.get(made_once.names.private) is None:
        perform(open_book()[0], *steps_of_03(made_once.names))
    made_once.signs_in_with(ours)


@contextmanager
def another_project(*, visible: bool = True) -> Iterator[None]:
    """Let there be another project, which has a secret of the same id."""
    send = http.Session.send

    def sending(self: http.Session, request: http.PreparedRequest, **more: Any) -> http.Response:
        url = str(request.url)
        asked = next((one for one in (ID, NUMBER) if f"/projects/{one}" in url), "")
        if asked and visible and "/secrets/" not in url:  # its own policy
            answer = http.Response()
            answer.status_code, answer.request, answer._content = 200, request, b'{"etag": "ACAB"}'
            return answer
        if asked and visible:
            request.url = url.replace(f"/projects/{asked}/secrets/", "/projects/cgrunbook-sandbox/secrets/theirs-")
        answer = send(self, request, **more)
        for project in ("123456789012", "cgrunbook-sandbox") if asked and visible else ():
            answer._content = answer.content.replace(
                f"projects/{project}/secrets/theirs-".encode(), f"projects/{NUMBER}/secrets/".encode()
            )
        return answer

    with patch.object(http.Session, "send", sending):
        yield


# What is granted on the secret, how 04 marks it, what it says, and whether 03 has something to do.
ON_THE_SECRET: dict[str, tuple[Grants, Mark, Sequence[str], bool]] = {
    "always": ([(ACCESSOR, AGENT, None)], Mark.OK, [ACCESSOR], False),
    "in capitals": ([(ACCESSOR, AGENT.replace("service-", "SERVICE-"), HOLDS)], Mark.NOT_CHECKED, ["2100"], False),
    "under a condition that holds": ([(ACCESSOR, AGENT, HOLDS)], Mark.NOT_CHECKED, ["for years", "2100"], False),
    "under one that is over": ([(ACCESSOR, AGENT, OVER)], Mark.NOT_CHECKED, ["for a time", "2020"], False),
    "under two": ([(ACCESSOR, AGENT, OVER), (ACCESSOR, AGENT, HOLDS)], Mark.NOT_CHECKED, ["2020", "2100"], False),
    "under one and always": ([(ACCESSOR, AGENT, OVER), (ACCESSOR, AGENT, None)], Mark.OK, [ACCESSOR], False),
    "nothing": ([], Mark.FAIL, ["cannot be pulled"], True),
    "others, under one": ([(ACCESSOR, "user:a@example.com", HOLDS)], Mark.FAIL, ["cannot be pulled"], True),
    "a group": ([(ACCESSOR, "group:all@example.com", None)], Mark.NOT_CHECKED, ["group:all@example.com"], True),
    "a group that administers": ([("roles/secretmanager.admin", "group:a@example.com", None)], Mark.FAIL, [], True),
    "everybody": ([(ACCESSOR, "allAuthenticatedUsers", None)], Mark.WARN, ["everybody"], True),
    "a greater role": ([("roles/secretmanager.admin", AGENT, None)], Mark.OK, ["secretmanager.admin"], True),
    "a greater one, under one": ([("roles/owner", AGENT, HOLDS)], Mark.NOT_CHECKED, ["for years"], True),
}


@pytest.mark.parametrize("grants", ON_THE_SECRET)
def test_what_is_granted_on_the_secret_is_told_as_it_is_and_nothing_is_added_beside_what_somebody_has_limited(
    made: Made, grants: str
):
    given, mark, said, something_to_do = ON_THE_SECRET[grants]
    made.granted(*given)
    before = made.cloud.secrets.get_policy(made.names.secret)
    finding = made.check()[0]
    assert finding.mark is mark
    assert all(word in finding.seen for word in said), finding.seen
    step, world = steps.GrantSecretAccess(made.names.secret), World(made.cloud)
    plan = step.plan(world)
    assert plan.empty is not something_to_do
    if something_to_do:
        step.apply(world, plan)
        kept = {(one.role, one.condition, who) for one in before.bindings for who in one.members}
        after = made.cloud.secrets.get_policy(made.names.secret)
        assert kept < {(one.role, one.condition, who) for one in after.bindings for who in one.members}


def test_where_a_condition_holds_03_goes_on_and_the_pull_proves_it(made: Made):
    made.granted((ACCESSOR, AGENT, HOLDS))
    made.cloud.repositories.delete(made.names.private)  # and with it what was cached
    book, seen = open_book()
    perform(book, *steps_of_03(made.names), proof_of_03(made.names))
    said = seen.results[3].evidence
    assert seen.outcomes[3] is Outcome.UNCHANGED
    assert said.brief == "under a condition"
    (finding,) = said.findings
    assert finding.mark is Mark.NOT_CHECKED
    assert "--condition=None" in finding.remedy
    assert seen.results[-1].evidence.facts["compared with cgr.dev"] == "the same digest"
    [binding] = made.cloud.secrets.get_policy(made.names.secret).bindings
    assert binding.condition == HOLDS["expression"]


def test_where_a_condition_does_not_hold_03_ends_at_the_proof_and_adds_nothing(made: Made):
    made.granted((ACCESSOR, AGENT, OVER))
    made.cloud.repositories.delete(made.names.private)
    book, _ = open_book(wait_limit=1)
    with pytest.raises(PermissionMissing) as caught:
        perform(book, *steps_of_03(made.names))
    assert f"secrets add-iam-policy-binding {made.names.secret} --project=cgrunbook-sandbox" in caught.value.remedy
    assert state_of(made.cloud, made.names).grants == 1


@pytest.mark.parametrize(
    ("condition", "mark", "said"),
    [(None, Mark.WARN, "the whole project"), (HOLDS, Mark.NOT_CHECKED, "for years")],
    ids=["always", "under a condition"],
)
def test_a_grant_on_the_whole_project_is_told_with_its_condition(
    made: Made, condition: dict[str, str] | None, mark: Mark, said: str
):
    made.granted()
    binding = {"role": ACCESSOR, "members": [AGENT]} | ({"condition": condition} if condition else {})
    change_policy(made.cloud, lambda bindings: [*bindings, binding])
    try:
        finding = made.check()[0]
    finally:
        change_policy(made.cloud, lambda bindings: [one for one in bindings if one["role"] != ACCESSOR])
    assert finding.mark is mark
    assert said in finding.seen


def test_the_map_says_that_a_grant_is_under_a_condition_and_with_what_a_repository_signs_in(made: Made):
    made.granted((ACCESSOR, AGENT, HOLDS))
    made.signs_in_with(f"projects/{ID}/secrets/{made.names.secret}/versions/1")
    shown = steps.ShowMap(made.names.public, made.names.private, made.names.secret).verify(World(made.cloud))
    said = {finding.check[4:]: finding for finding in shown.findings}
    assert said["service agent may read it"].mark is Mark.NOT_CHECKED
    assert "for years" in said["service agent may read it"].seen
    private = said[f"repository {made.names.private}"]
    assert private.mark is Mark.WARN
    assert f"projects/{ID}/secrets/{made.names.secret}/versions/1, not with the secret" in private.seen


def test_a_role_of_somebodys_own_making_may_hold_it():
    own = Policy((Binding("projects/p/roles/reads", (AGENT,)), Binding("roles/viewer", (AGENT,))), "")
    assert own.in_doubt(AGENT, "secretmanager.versions.access", ACCESSOR) == [f"projects/p/roles/reads to {AGENT}"]


@pytest.mark.parametrize(("project", "version"), [(ID, "1"), (NUMBER, "latest")])
def test_a_password_in_another_project_is_looked_for_there_and_only_there(
    made: Made, home: Path, project: str, version: str
):
    made.signs_in_with(f"projects/{project}/secrets/{made.names.secret}/versions/{version}")
    with another_project():
        grant, enabled, value = made.check()
        # Ours, of the same id, has the grant; theirs has not.
        assert grant.mark is Mark.FAIL
        assert f"{made.names.secret} in the project {project}" in grant.seen
        assert f"binding {made.names.secret} --project={project} " in grant.remedy
        assert (enabled.mark, value.mark) == (Mark.OK, Mark.OK)
        assert set(made.directly().values()) == {Mark.OK}
        theirs = f"theirs-{made.names.secret}"
        made.granted((ACCESSOR, AGENT, None), secret=theirs)
        assert [finding.mark for finding in made.check()] == [Mark.OK] * 3
        made.granted((ACCESSOR, AGENT, OVER), secret=theirs)
        assert made.check()[0].mark is Mark.NOT_CHECKED
        made.cloud.secrets.disable(theirs, 1)
        known = len(requests(home))
        _, enabled, _ = made.check()
        assert enabled.mark is Mark.FAIL
        assert enabled.remedy.endswith(f"--secret={made.names.secret} --project={project}")
        asked = [line["path"] for line in requests(home)[known:] if f"/secrets/{made.names.secret}" in line["path"]]
        assert [path for path in asked if "versions" in path or "olicy" in path] == []


@pytest.mark.parametrize("project", [ID, NUMBER])
def test_of_a_password_in_a_project_that_may_not_be_seen_nothing_is_said_to_be_well(made: Made, project: str):
    proof_of_03(made.names).verify(World(made.cloud))  # from now on the image is cached
    made.signs_in_with(f"projects/{project}/secrets/{made.names.secret}/versions/1")
    assert [finding.mark for finding in made.check()] == [Mark.NOT_CHECKED] * 3
    told = made.directly()
    assert (told[Code.ORGANIZATION], told[Code.IMAGE], told[Code.TAKEN]) == (Mark.OK, *[Mark.NOT_CHECKED] * 2)
    pulled: Evidence = proof_of_03(made.names).verify(World(made.cloud))
    assert pulled.facts["compared with cgr.dev"].startswith("not compared: ")
    assert project in pulled.facts["compared with cgr.dev"]


@pytest.mark.parametrize("project", [ID, NUMBER])
def test_03_says_whose_secret_it_turns_a_repository_away_from_and_leaves_that_alone(
    made: Made, home: Path, project: str
):
    name = f"projects/{project}/secrets/{made.names.secret}/versions/1"
    made.signs_in_with(name)
    with another_project():
        planned, seen = open_book(mode="plan")
        perform(planned, *steps_of_03(made.names))
        (change,) = seen.results[-1].plan.changes
        ours = made.cloud.secrets.version_name(made.names.secret, 1)
        assert (change.field, change.before, change.after) == ("upstream password", name, ours)
        assert any(name.removesuffix("/versions/1") in note for note in seen.results[-1].plan.notes)
        known = len(requests(home))
        perform(open_book()[0], *steps_of_03(made.names))
    assert [line for line in writes(requests(home)[known:]) if "theirs" in line] == []
    there = made.cloud.repositories.get(made.names.private)
    assert there is not None
    assert there.password_secret_version.endswith(ours.partition("/secrets/")[2])
    assert state_of(made.cloud, made.names).pair_is_taken_by_cgr_dev


def test_a_version_by_an_alias_is_the_version_that_it_means(made: Made):
    secrets = made.cloud.secrets
    name = secrets.name(made.names.secret)
    request = {
        "secret": {"name": name, "version_aliases": {"current": 1}},
        "update_mask": {"paths": ["version_aliases"]},
    }
    secrets._client.update_secret(request=request)
    made.signs_in_with(secrets.version_name(made.names.secret, "current"))
    book, seen = open_book(mode="plan")
    perform(book, *steps_of_03(made.names))
    assert seen.outcomes[4] is Outcome.UNCHANGED, "a good token is there: none is made"
    assert [change.field for change in seen.results[-1].plan.changes] == ["upstream password"]


CONDITIONS = [
    Binding(ACCESSOR, (AGENT,)),
    Binding(ACCESSOR, (AGENT,), 'resource.name == "a,b" && request.time < timestamp("2100-01-01T00:00:00Z")', "a, b"),
    Binding(ACCESSOR, (AGENT,), "a == '~' || b == \"#;\"", "it's", "for\na while"),
    Binding(ACCESSOR, (AGENT,), 'resource.name == "x~#;|" || true', "a~b#c;d|e", "d,e"),
]


@pytest.mark.parametrize("binding", CONDITIONS, ids=["none", "commas", "marks and quotes", "all the usual marks"])
def test_a_grant_is_taken_with_its_condition_in_one_word_of_the_shell(binding: Binding):
    import shlex

    words = shlex.split(take_command("secrets remove-iam-policy-binding s", AGENT, binding))
    flag = words[-1].removeprefix("--condition=")
    if not binding.condition:
        assert flag == "None"
        return
    assert flag.startswith("^")
    separator, items = flag[1], flag[3:]
    parts = dict(item.split("=", 1) for item in items.split(separator))
    assert parts["expression"] == binding.condition
    assert parts["title"] == binding.title
    assert parts.get("description", "") == binding.description


def test_teardown_leaves_the_secret_of_another_project_and_says_so(made: Made):
    elsewhere = f"projects/{ID}/secrets/{made.names.secret}/versions/1"
    made.signs_in_with(elsewhere)
    with another_project():
        plan = steps.TearDown(made.names.public, made.names.private, made.names.secret).plan(World(made.cloud))
    assert f"{elsewhere}, with which {made.names.private} signs in, stays as it is." in plan.notes
    assert not [change for change in plan.changes if ID in change.resource]
    assert not [command for command in plan.commands if ID in command]


@pytest.mark.parametrize(("project", "same"), [("123456789012", True), ("cgrunbook-sandbox", True), (NUMBER, False)])
def test_a_key_is_the_same_by_the_projects_number_and_by_its_id(made: Made, project: str, same: bool):
    key = "locations/us-central1/keyRings/r/cryptoKeys/k"
    there = made.cloud.repositories.get(made.names.private)
    assert there is not None
    settings = steps.RepositorySettings(kms_key_name=f"projects/cgrunbook-sandbox/{key}")
    world = World(made.cloud)
    with patch.object(World, "repository", lambda *_: replace(there, kms_key_name=f"projects/{project}/{key}")):
        step = steps.CreateRemoteRepository(made.names.private, settings=settings)
        if same:
            assert step.plan(world).empty
        else:
            with pytest.raises(InvalidRequest, match="encryption key"):
                step.plan(world)
