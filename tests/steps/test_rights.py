"""Who has exactly the documented least roles runs each notebook; who lacks one of them is refused with its name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch
from uuid import uuid4

import pytest
import requests as http

from cgrunbook import steps
from cgrunbook.cloud import Cloud, Connection, connect
from cgrunbook.cloud.credentials import TokenFile
from cgrunbook.errors import PermissionMissing, PrerequisiteMissing, ProjectUnknown
from cgrunbook.run import session
from cgrunbook.sandbox import process
from cgrunbook.steps.rights import LEAST
from cgrunbook.steps.step import Evidence, Finding, Mark, Outcome, World
from tests.misfortunes import change_policy
from tests.notebooks.cells import perform_notebook
from tests.sandboxes import chainctl_without_a_process, sandbox_home
from tests.steps.performing import PRIVATE, PUBLIC, SECRET, Watcher, open_book, perform, requests
from tests.steps.performing import steps_of_02 as of_02
from tests.steps.performing import steps_of_03 as of_03

REGISTRY, SECRETS, USAGE = "roles/artifactregistry.admin", "roles/secretmanager.admin", "serviceusage.googleapis.com"
PROJECTS = "cloudresourcemanager.googleapis.com"


class Person:
    """Somebody in the sandbox's project.

    Args:
        folder: where the access token is kept.
        grants: roles, each on the whole project, or with the resource that it is granted on.
    """

    def __init__(self, folder: Path, *grants: str, condition: str = "") -> None:
        self.member = f"user:{uuid4().hex[:8]}@example.com"
        self.token = folder / self.member.partition(":")[2]
        self.token.write_text(process.access_token(self.member))
        binding = {"members": [self.member]} | (
            {"condition": {"title": "test", "expression": condition}} if condition else {}
        )
        owner = Cloud(connect("sandbox"))
        change_policy(owner, lambda bindings: [*bindings, *({"role": role} | binding for role in grants)])

    def connect(self, project_id: str = "") -> Connection:
        connection = connect("sandbox", project_id=project_id)
        return replace(connection, credentials=TokenFile(self.token))

    def world(self, project_id: str = "") -> World:
        return World(Cloud(self.connect(project_id)))

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Whatever a notebook connects to, it does as this person."""

        def connect_as(*_args: object, **_given: object) -> Connection:
            return self.connect()

        with patch.object(session, "connect_as", connect_as):
            yield


@pytest.fixture
def person(tmp_path: Path) -> Callable[..., Person]:
    def make(*grants: str, condition: str = "") -> Person:
        return Person(tmp_path, *grants, condition=condition)

    return make


@pytest.fixture(scope="module")
def enabled(home: Path, quick_chainctl: None) -> Cloud:
    """A project whose APIs are on, and that has had a repository before: the service agent is there."""
    book, _ = open_book()
    perform(book, steps.EnableApi(steps.ARTIFACT_REGISTRY), steps.EnableApi(steps.SECRET_MANAGER))
    book.cloud.project.ensure_service_agent()
    return book.cloud


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CGRUNBOOK_RUN_FOLDER", str(tmp_path))
    return tmp_path


def run(person: Person, notebook: str) -> Watcher:
    """Perform a notebook's cells as somebody; a step that fails ends it."""
    face = Watcher()
    with person.at_work():
        perform_notebook(notebook, face)
    return face


def findings(evidence: Evidence) -> dict[str, Finding]:
    return {finding.check: finding for finding in evidence.findings}


def forget_all(cloud: Cloud) -> None:
    for name in (PRIVATE, PUBLIC):
        cloud.repositories.delete(name)
    cloud.secrets.delete(SECRET)


@pytest.mark.parametrize("notebook", LEAST)
def test_with_exactly_the_least_roles_a_notebook_is_run_and_neither_service_usage_nor_the_project_is_asked(
    enabled: Cloud, home: Path, folder: Path, person: Callable[..., Person], notebook: str
):
    if notebook[:2] not in ("01", "02"):
        book, _ = open_book(cloud=enabled)
        perform(book, *of_02(), *(of_03() if notebook[:2] != "03" else ()))
    somebody, known = person(*LEAST[notebook].roles), len(requests(home))
    outcomes = set(run(somebody, notebook).outcomes)
    assert Outcome.FAILED not in outcomes
    # Whether a host can be reached is asked as nobody.
    lines = [line for line in requests(home)[known:] if line["principal"]]
    asked = [line for line in lines if line["service"].endswith(".googleapis.com")]
    assert {line["principal"] for line in asked} == {somebody.member}
    assert not [line for line in asked if line["service"] == USAGE]
    assert notebook.startswith("01") or not [line for line in asked if line["service"] == PROJECTS]
    assert not [line for line in asked if line["status"] == 403]


CASES = [(notebook, role) for notebook, needed in LEAST.items() for role in needed.roles]


@pytest.mark.parametrize(("notebook", "role"), CASES)
def test_without_any_one_of_them_that_role_alone_is_named(
    enabled: Cloud, folder: Path, person: Callable[..., Person], notebook: str, role: str
):
    forget_all(enabled)
    if notebook[:2] in ("04", "06"):
        book, _ = open_book(cloud=enabled)
        perform(book, *of_02(), *of_03())
    face, said = Watcher(), ""
    somebody = person(*(other for other in LEAST[notebook].roles if other != role))
    with somebody.at_work():
        if notebook.startswith("04"):
            perform_notebook(notebook, face)  # a diagnosis goes on with what can be looked at
        else:
            with pytest.raises(PrerequisiteMissing) as caught:
                perform_notebook(notebook, face)
            assert caught.value.exit_code == 3
            said = caught.value.remedy
    seen = [finding for result in face.results for finding in result.evidence.findings]
    said += "".join(one.remedy for one in seen if one.mark is Mark.NOT_CHECKED)
    named = {word.removeprefix("--role=") for word in said.split() if word.startswith("--role=")}
    narrower = {REGISTRY: "roles/artifactregistry.reader", SECRETS: "roles/secretmanager.viewer"}
    # What is read first is refused first: where the narrower role is enough for that, it is the one that is named.
    assert named in ({role}, {narrower.get(role, role)})
    if notebook.startswith("01"):
        assert named == {role}


def grant_on_resources(cloud: Cloud, member: str, of_repositories: str, *of_secret: str) -> None:
    """Give roles on both repositories and the secret alone, as their owner with other clients."""
    for role in of_secret:
        cloud.secrets.grant(SECRET, member, role)
    for name in (PUBLIC, PRIVATE):
        address = f"{cloud.connection.artifact_registry}/v1/{cloud.repositories.name(name)}:setIamPolicy"
        policy = {"bindings": [{"role": of_repositories, "members": [member]}]}
        http.post(address, json={"policy": policy}, headers=of_owner(cloud), timeout=10).raise_for_status()


def of_owner(cloud: Cloud) -> dict[str, str]:
    return {"Authorization": f"Bearer {cloud.connection.access_token().reveal()}"}


def test_where_all_is_made_already_reading_what_is_there_is_enough(
    enabled: Cloud, folder: Path, person: Callable[..., Person]
):
    book, _ = open_book(cloud=enabled)
    perform(book, *of_02(), *of_03())
    reader = person()
    grant_on_resources(enabled, reader.member, "roles/artifactregistry.reader", "roles/secretmanager.viewer")
    made = {Outcome.UNCHANGED, Outcome.VERIFIED, Outcome.SKIPPED, Outcome.UPDATED}  # docker's token of an hour
    assert set(run(reader, "02_developer_images").outcomes) <= made
    seen = run(reader, "03_production_images")
    assert set(seen.outcomes) <= made
    [pulled] = [result for result in seen.results if isinstance(result.step, steps.PullImage)]
    assert "not compared" in pulled.evidence.facts["compared with cgr.dev"]
    somebody = person()
    grant_on_resources(enabled, somebody.member, *LEAST["04_debugging"].roles)
    checks = [finding for result in run(somebody, "04_debugging").results for finding in result.evidence.findings]
    assert {finding.mark for finding in checks} == {Mark.OK}


def test_with_rights_on_the_secret_and_the_repository_alone_a_token_is_rotated_and_the_replaced_one_left(
    enabled: Cloud, folder: Path, person: Callable[..., Person]
):
    forget_all(enabled)
    book, _ = open_book(cloud=enabled)
    perform(book, *of_02(), *of_03())
    somebody = person()
    grant_on_resources(enabled, somebody.member, REGISTRY, SECRETS)
    face = run(somebody, "05_rotate_pull_token")
    assert face.outcomes == [Outcome.UPDATED]
    assert [one.mark for one in face.results[0].evidence.findings] == [Mark.NOT_CHECKED]
    assert {one.state for one in enabled.secrets.versions(SECRET)} == {"ENABLED"}


def test_roles_under_a_condition_that_holds_are_enough(enabled: Cloud, folder: Path, person: Callable[..., Person]):
    forget_all(enabled)
    somebody = person(REGISTRY, SECRETS, condition='resource.name.startsWith("projects/")')
    for notebook in ("02_developer_images", "03_production_images"):
        assert Outcome.FAILED not in run(somebody, notebook).outcomes


@pytest.mark.parametrize("may_look", [True, False])
def test_a_role_under_a_condition_is_neither_held_nor_missing(
    enabled: Cloud, person: Callable[..., Person], *, may_look: bool
):
    somebody = person(SECRETS, condition='resource.name.startsWith("projects/cgrunbook-sandbox/secrets/")')
    more = [REGISTRY, *(["roles/browser"] if may_look else ["roles/secretmanager.viewer"])]
    given = [{"role": role, "members": [somebody.member]} for role in more]
    change_policy(enabled, lambda bindings: [*bindings, *given])
    connection = replace(somebody.connect(), who=lambda: somebody.member)
    seen = findings(steps.CheckGoogleCloud().verify(World(Cloud(connection))))
    assert seen["create and change repositories"].mark is Mark.OK
    kept = seen["keep the pull token"]
    if may_look:
        assert kept.mark is Mark.NOT_CHECKED
        assert 'startsWith("projects/cgrunbook-sandbox/secrets/")' in kept.seen
    else:  # the policy of the project cannot be read: then nothing is known of it
        assert kept.mark is Mark.FAIL


@pytest.mark.parametrize(
    ("who", "may_be"),
    [
        ("domain:Example.com", True),
        ("domain:example.org", False),
        ("group:team@example.com", True),
        ("principalSet://iam.googleapis.com/a/group/b", True),
        ("allAuthenticatedUsers", True),
        ("user:somebody-else@example.com", False),
    ],
)
def test_so_is_one_of_many_who_may_be_the_caller(enabled: Cloud, person: Callable[..., Person], who: str, may_be: bool):
    somebody = person(REGISTRY, "roles/browser")
    condition = {"title": "theirs", "expression": 'resource.name.startsWith("projects/cgrunbook-sandbox/secrets/")'}
    given = {"role": SECRETS, "members": [who], "condition": condition}
    connection = replace(somebody.connect(), who=lambda: somebody.member)
    change_policy(enabled, lambda bindings: [*bindings, given])
    try:
        kept = findings(steps.CheckGoogleCloud().verify(World(Cloud(connection))))["keep the pull token"]
    finally:
        change_policy(enabled, lambda bindings: [one for one in bindings if one.get("condition") != condition])
    assert kept.mark is (Mark.NOT_CHECKED if may_be else Mark.FAIL)
    assert ("'theirs'" in kept.seen and f" to {who}" in kept.seen) == may_be


def test_in_a_project_that_never_had_a_repository_03_makes_the_agent_or_says_how_it_comes_to_be(
    tmp_path: Path, folder: Path
):
    with sandbox_home(tmp_path / "new") as home, chainctl_without_a_process():
        book, _ = open_book()
        perform(book, steps.EnableApi(steps.ARTIFACT_REGISTRY), steps.EnableApi(steps.SECRET_MANAGER))
        somebody = Person(tmp_path, REGISTRY, SECRETS)
        with pytest.raises(PermissionMissing, match="service agent does not exist yet") as caught:
            run(somebody, "03_production_images")
        assert caught.value.remedy.startswith("Run 02_developer_images first")
        assert "roles/serviceusage.serviceUsageAdmin" in caught.value.remedy
        known = len(requests(home))
        run(somebody, "02_developer_images")
        run(somebody, "03_production_images")
        assert not [line for line in requests(home)[known:] if line["service"] == USAGE]


@pytest.fixture
def checked(home: Path, person: Callable[..., Person]) -> Callable[..., dict[str, Finding]]:
    def check(*grants: str, project_id: str = "") -> dict[str, Finding]:
        return findings(steps.CheckGoogleCloud().verify(person(*grants).world(project_id)))

    return check


def test_one_check_that_is_refused_takes_no_other_with_it(enabled: Cloud, checked: Callable[..., dict[str, Finding]]):
    seen = checked("roles/secretmanager.secretVersionAdder")  # reads the project, and nothing of Artifact Registry
    assert seen["location"].mark is Mark.NOT_CHECKED
    assert "artifactregistry.locations.list" in seen["location"].seen
    assert [seen[api].mark for api in (steps.ARTIFACT_REGISTRY, steps.SECRET_MANAGER)] == [Mark.OK, Mark.OK]
    assert seen["project"].mark is Mark.OK
    assert seen["create and change repositories"].mark is Mark.FAIL


def test_the_map_says_of_each_part_that_it_was_not_looked_at_and_goes_on(enabled: Cloud, person: Callable[..., Person]):
    book, _ = open_book(cloud=enabled)
    perform(book, *of_02())
    seen = findings(steps.ShowMap(PUBLIC, PRIVATE, SECRET).verify(person("roles/secretmanager.admin").world()))
    marks = {check.partition("  ")[2]: finding.mark for check, finding in seen.items()}
    assert marks["Artifact Registry API"] is marks["Secret Manager API"] is Mark.OK
    assert marks[f"repository {PUBLIC}"] is marks[f"repository {PRIVATE}"] is Mark.NOT_CHECKED
    assert "artifactregistry.repositories.get" in seen[f"02  repository {PUBLIC}"].seen


def test_what_is_missing_is_asked_for_once_and_in_the_fewest_roles(
    enabled: Cloud, checked: Callable[..., dict[str, Finding]]
):
    seen = checked("roles/viewer")
    asked = [finding.remedy for finding in seen.values() if "Ask an administrator" in finding.remedy]
    assert len(asked) == 1
    assert [line.split("--role=")[1] for line in asked[0].splitlines()[1:]] == [
        f"{REGISTRY} --condition=None",
        f"{SECRETS} --condition=None",
    ]
    assert seen["enable APIs"].seen == "not needed: both APIs are on"
    # What is only wanted for a part is asked for with that part, where nothing else would bring it.
    assert seen["tear down"].mark is Mark.WARN
    assert not seen["tear down"].remedy


def test_resource_manager_may_be_off_and_nothing_needs_it(
    enabled: Cloud, home: Path, folder: Path, person: Callable[..., Person]
):
    forget_all(enabled)
    somebody = person(REGISTRY, SECRETS)
    off = f"{enabled.connection.service_usage}/v1/projects/{enabled.connection.project_id}/services/{PROJECTS}"
    headers = of_owner(enabled)
    http.post(f"{off}:disable", json={}, headers=headers, timeout=10).raise_for_status()
    try:
        seen = findings(steps.CheckGoogleCloud().verify(somebody.world()))
        assert seen["project"].mark is seen["permissions"].mark is Mark.NOT_CHECKED
        assert f"gcloud services enable {PROJECTS}" in seen["permissions"].remedy
        assert seen[steps.SECRET_MANAGER].mark is seen["location"].mark is Mark.OK
        for notebook in LEAST:
            assert Outcome.FAILED not in run(somebody, notebook).outcomes
    finally:
        http.post(f"{off}:enable", json={}, headers=headers, timeout=10).raise_for_status()


def test_a_project_that_is_mistyped_is_asked_after(enabled: Cloud, checked: Callable[..., dict[str, Finding]]):
    seen = checked("roles/owner", project_id="cgrunbok-sandbox")
    assert list(seen) == ["credentials", "project"]
    assert seen["project"].mark is Mark.FAIL
    assert "There is no project cgrunbok-sandbox" in seen["project"].seen
    assert seen["project"].remedy.startswith("Did you mean cgrunbook-sandbox? Check the id, project_id")


def test_so_does_the_first_step_of_the_guide(enabled: Cloud, person: Callable[..., Person]):
    with pytest.raises(ProjectUnknown) as caught:
        steps.EnableApi(steps.ARTIFACT_REGISTRY).plan(person("roles/owner").world("cgrunbok-sandbox"))
    assert caught.value.remedy.startswith("Did you mean cgrunbook-sandbox?")


def test_an_api_that_is_off_is_enabled_by_who_may_and_the_role_is_named_to_who_may_not(tmp_path: Path):
    with sandbox_home(tmp_path / "off"):
        step = steps.EnableApi(steps.ARTIFACT_REGISTRY)
        somebody = Person(tmp_path, REGISTRY)
        world = somebody.world()
        plan = step.plan(world)
        assert plan.outcome is Outcome.CREATED
        with pytest.raises(PermissionMissing) as caught:
            step.apply(world, plan)
        assert "--role=roles/serviceusage.serviceUsageAdmin" in caught.value.remedy
        seen = findings(steps.CheckGoogleCloud().verify(world.anew()))
        assert seen["enable APIs"].mark is Mark.FAIL
        assert seen["location"].mark is Mark.TO_DO
        admin = Person(tmp_path, "roles/serviceusage.serviceUsageAdmin").world()
        step.apply(admin, step.plan(admin))
        assert step.verify(admin.anew()).brief == "enabled"
