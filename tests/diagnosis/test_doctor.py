"""The doctor names the one cause of what keeps an image away, ends in its time, and calls nothing well that it did not see."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from cgrunbook import cli
from cgrunbook.cli.doctor_page import print_diagnosis
from cgrunbook.cloud import Attempts, Cloud
from cgrunbook.cloud.connection import Connection, RegistryHost
from cgrunbook.cloud.roles import ACCESSOR
from cgrunbook.diagnosis import FindCause, checks, junit
from cgrunbook.diagnosis.codes import CHECKS, EXPLAINS, HIDES, Code
from cgrunbook.diagnosis.doctor import Diagnosis, diagnose, ways_of
from cgrunbook.diagnosis.verdict import Looked, verdict
from cgrunbook.errors import StepFailed
from cgrunbook.parameters import Parameters
from cgrunbook.run.context import Context
from cgrunbook.steps.step import Finding, Mark, World
from cgrunbook.ui.cards import result_card
from tests.steps.performing import PRIVATE, PUBLIC, SECRET, open_book, perform, requests, steps_of_02, steps_of_03
from tests.steps.test_grants import AGENT
from tests.steps.test_rights import Person

READER = "roles/artifactregistry.reader"
NODES = "nodes@cgrunbook-sandbox.iam.gserviceaccount.com"


@pytest.fixture(scope="module")
def cloud(home: Path, quick_chainctl: None) -> Cloud:
    book, _ = open_book()
    perform(book, *steps_of_02(), *steps_of_03())
    return book.cloud


@pytest.fixture
def look(cloud: Cloud) -> Callable[..., Diagnosis]:
    """One diagnosis, of the target as it is or as another sees it."""

    def call(connection: Connection | None = None, image: str = "", **settings: Any) -> Diagnosis:
        world = World(Cloud(connection or cloud.connection, Attempts(limit=0.2)))
        return diagnose(world, ways_of(world, Parameters(organization="example.com"), image), **settings)

    return call


@pytest.fixture
def doctor(cloud: Cloud, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    def call(*words: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            cli.main(["doctor", *words])
        return int(ended.value.code or 0), capfd.readouterr().out

    return call


@pytest.fixture
def undone() -> Iterator[ExitStack]:
    """What a test breaks is whole again when it ends."""
    with ExitStack() as stack:
        yield stack


def causes(found: Diagnosis) -> list[str]:
    """Each cause as CODE/REASON, the root first."""
    return [f"{one.looked.finding.code}/{one.looked.finding.reason}" for one in found.verdict.causes]


def without(found: Diagnosis, *codes: Code) -> list[Looked]:
    return [one for one in found.looked if one.finding.mark is not Mark.OK and one.code not in codes]


def policy(client: Any, resource: str, *grants: tuple[str, str, str]) -> None:
    """Let nobody but these have a role on a resource: role, member, and the condition's expression or ""."""
    bindings = [
        {"role": role, "members": [member]} | ({"condition": {"title": "c", "expression": when}} if when else {})
        for role, member, when in grants
    ]
    client.set_iam_policy(request={"resource": resource, "policy": {"version": 3, "bindings": bindings}})


def granted(cloud: Cloud, *grants: tuple[str, str, str]) -> None:
    policy(cloud.secrets._client, cloud.secrets.name(SECRET), *grants)


def readable(cloud: Cloud, *grants: tuple[str, str, str]) -> None:
    policy(cloud.repositories._client, cloud.repositories.name(PRIVATE), *grants)


# --- a healthy target -----------------------------------------------------------------------------------------------


def test_on_a_healthy_target_nothing_warns_and_few_calls_are_made(home: Path, look: Callable[..., Diagnosis]):
    look()  # from now on Artifact Registry has the image, and asks cgr.dev nothing of its own
    known = len(requests(home))

    found = look(operator=True)

    assert without(found) == []
    assert {one.code for one in found.looked} == {*Code}
    assert (found.verdict.causes, found.verdict.exit_code) == ((), 0)
    assert "Nothing was found" in found.verdict.text
    assert len(requests(home)) - known <= 25


def test_each_form_ends_with_the_same_code_and_says_the_same(doctor: Callable[..., tuple[int, str]]):
    (code, text), (of_json, document), (of_junit, xml) = doctor(), doctor("--json"), doctor("--format", "junit")

    assert (code, of_json, of_junit) == (0, 0, 0)
    assert "Nothing was found" in text.splitlines()[-1]
    report = json.loads(document)
    suite = ET.fromstring(xml.partition("?>")[2])
    assert (suite.get("failures"), suite.get("skipped")) == ("0", "0")
    assert int(suite.get("tests", "")) == len(report["checks"]) == len(suite.findall("testcase"))
    for one in report["checks"]:
        assert one["code"] in text
        assert {"mark", "seen", "sure", "seconds", "page", "link", "resource"} <= one.keys()


def test_nothing_secret_is_told_in_any_form(
    cloud: Cloud, look: Callable[..., Diagnosis], capfd: pytest.CaptureFixture[str]
):
    password = cloud.secrets.access(SECRET, "1").reveal()

    found = look()
    print_diagnosis(found, Context("sandbox"))
    said = capfd.readouterr().out + json.dumps(found.as_json()) + junit.junit(found)

    assert SECRET in said
    assert password not in said
    assert password.rpartition(".")[2][:40] not in said


# --- what is wrong is named, with what follows from it ---------------------------------------------------------------


def test_a_cause_is_told_before_what_follows_from_it(
    cloud: Cloud, look: Callable[..., Diagnosis], undone: ExitStack, capfd: pytest.CaptureFixture[str]
):
    cloud.secrets._client.disable_secret_version(request={"name": cloud.secrets.version_name(SECRET, 1)})
    undone.callback(
        cloud.secrets._client.enable_secret_version, request={"name": cloud.secrets.version_name(SECRET, 1)}
    )

    found = look()
    print_diagnosis(found, Context("sandbox"))
    shown = capfd.readouterr().out

    assert causes(found)[0] == "secret-version/disabled"
    assert found.verdict.exit_code == 4
    assert Code.TAKEN in {one.code for one in found.verdict.causes[0].consequences}
    assert f"gcloud secrets versions enable 1 --secret={SECRET}" in shown
    assert shown.index("The root cause: secret-version/disabled") < shown.index("From it follows: cgr-dev")


def test_two_causes_that_have_nothing_to_do_with_each_other_are_both_named_in_the_order_of_mending(
    cloud: Cloud, look: Callable[..., Diagnosis], undone: ExitStack
):
    there = cloud.repositories.get(PRIVATE)
    assert there is not None
    set_pair = partial(cloud.repositories.set_upstream_credentials, PRIVATE, disable_upstream_validation=True)
    undone.callback(set_pair, there.username, there.password_secret_version)
    undone.callback(granted, cloud, (ACCESSOR, AGENT, ""))
    set_pair("0" * 40 + "/" + "0" * 16, there.password_secret_version)
    granted(cloud)

    found = look()

    assert causes(found)[:2] == ["grant/missing", "pair/mismatched"]
    assert "1 more cause" in found.verdict.text


def test_a_grant_under_a_condition_is_neither_there_nor_missing(
    cloud: Cloud, look: Callable[..., Diagnosis], undone: ExitStack
):
    undone.callback(granted, cloud, (ACCESSOR, AGENT, ""))
    granted(cloud, (ACCESSOR, AGENT, "request.time > timestamp('2000-01-01T00:00:00Z')"))

    found = look()

    assert causes(found) == ["grant/conditional"]
    assert found.verdict.exit_code == 5


def test_an_image_that_nobody_has_is_told_from_one_whose_organisation_nobody_knows(look: Callable[..., Diagnosis]):
    assert causes(look(image="example.com/no-such-image"))[0] == "image/not-granted"
    assert causes(look(image="exmaple.com/chainguard-base"))[0] == "organization/unknown"
    assert causes(look(image="chainguard/go:1.99"))[0] == "tag/not-free"
    assert causes(look(image="chainguard/no-such-image"))[0] == "image/not-public"
    assert causes(look(image="example.com/chainguard-base:no-such-tag"))[0] == "tag/unknown"


def test_an_image_may_be_named_as_it_is_pulled(doctor: Callable[..., tuple[int, str]]):
    here = f"us-central1-docker.pkg.dev/cgrunbook-sandbox/{PRIVATE}/example.com/chainguard-base:latest"

    code, out = doctor("--json", "--image", here)
    assert (code, json.loads(out)["ways"]) == (
        0,
        [{"repository": PRIVATE, "image": "example.com/chainguard-base:latest"}],
    )
    code, out = doctor("--json", "--image", here.replace("us-central1", "us-east1"))
    assert code == 4
    assert [one["reason"] for one in json.loads(out)["verdict"]["causes"] if one["code"] == "repository"] == [
        "elsewhere"
    ]


# --- who pulls ------------------------------------------------------------------------------------------------------


def test_somebody_by_name_is_looked_for_in_the_policies(
    cloud: Cloud, look: Callable[..., Diagnosis], undone: ExitStack
):
    member = f"serviceAccount:{NODES}"
    undone.callback(readable, cloud)

    assert causes(look(who=member))[0] == "reader/not-found"
    readable(cloud, (READER, member, "request.time < timestamp('2000-01-01T00:00:00Z')"))
    found = look(who=member)
    assert "reader/conditional" in causes(found)
    readable(cloud, (READER, member, ""))
    (seen,) = [one.finding for one in look(who=member).looked if one.code is Code.READER and one.way == PRIVATE]
    assert (seen.mark, READER in seen.seen) == (Mark.OK, True)


def test_who_may_read_nothing_gets_a_page_that_says_so(cloud: Cloud, look: Callable[..., Diagnosis], tmp_path: Path):
    nobody = Person(tmp_path)

    found = look(nobody.connect())

    told = causes(found)
    assert "caller/permission" in told
    assert all(
        one.finding.mark is not Mark.OK for one in found.looked if one.code in (Code.END, Code.GRANT, Code.VERSION)
    )
    assert found.verdict.exit_code in (4, 5)


# --- it ends --------------------------------------------------------------------------------------------------------


@pytest.fixture
def elsewhere(cloud: Cloud) -> Callable[[int], Connection]:
    """The target, each of its hosts at another port of this machine."""

    def moved(port: int) -> Connection:
        here = cloud.connection
        base = f"http://127.0.0.1:{port}"

        def host(name: str) -> RegistryHost:
            return RegistryHost(name, f"127.0.0.1:{port}", "http")

        return replace(
            here,
            artifact_registry=base,
            secret_manager=base,
            resource_manager=base,
            service_usage=base,
            artifact_registry_host=host(here.artifact_registry_host.name),
            cgr=host("cgr.dev"),
        )

    return moved


def test_where_each_host_hangs_it_ends_in_its_time_with_a_page(
    look: Callable[..., Diagnosis], elsewhere: Callable[[int], Connection], capfd: pytest.CaptureFixture[str]
):
    with socket.create_server(("127.0.0.1", 0), backlog=64) as silent:  # it takes connections, and says nothing
        begun = time.monotonic()
        found = look(elsewhere(silent.getsockname()[1]), seconds=0.5)
        took = time.monotonic() - begun

    assert took < 2 * 0.5 + 2 + 1
    assert causes(found)[0] == "network/no-answer"
    assert found.verdict.exit_code == 4
    print_diagnosis(found, Context("sandbox"))
    assert "because of network: " in capfd.readouterr().out


def test_where_no_host_can_be_reached_that_is_the_cause(
    look: Callable[..., Diagnosis], elsewhere: Callable[[int], Connection]
):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]

    found = look(elsewhere(port), seconds=3.0)

    assert causes(found)[0] == "network/connection"
    assert Code.REPOSITORY in {one.code for one in found.verdict.causes[0].consequences}


def test_a_check_that_fails_in_itself_is_not_checked_and_ends_no_other(
    look: Callable[..., Diagnosis], monkeypatch: pytest.MonkeyPatch
):
    def defect(*_: object) -> Iterator[Finding]:
        raise ZeroDivisionError("of ours")
        yield

    table = {defect if look_ is checks.upstream else look_: codes for look_, codes in checks.OF_A_WAY.items()}
    monkeypatch.setattr(checks, "OF_A_WAY", table)

    found = look()

    assert {one.code for one in without(found)} == {Code.UPSTREAM}
    assert all(one.finding.mark is Mark.NOT_CHECKED for one in without(found))
    assert "ZeroDivisionError" in without(found)[0].finding.seen
    assert found.verdict.exit_code == 5


# --- what is left out, and what is not to be told -------------------------------------------------------------------


def test_what_is_suppressed_is_named_and_counts_no_more(
    cloud: Cloud, look: Callable[..., Diagnosis], undone: ExitStack, capfd: pytest.CaptureFixture[str]
):
    undone.callback(granted, cloud, (ACCESSOR, AGENT, ""))
    granted(cloud, (ACCESSOR, AGENT, ""), (ACCESSOR, "allUsers", ""))
    granted(cloud, (ACCESSOR, "allUsers", ""))
    assert causes(look())[0] == "grant/everybody"

    found = look(suppress=[(Code.GRANT, f"secret {SECRET}")])
    print_diagnosis(found, Context("sandbox"))

    assert found.verdict.exit_code == 0
    assert f"suppressed: grant=secret {SECRET}" in capfd.readouterr().out
    assert causes(look(suppress=[(Code.GRANT, "secret another")]))[0] == "grant/everybody"


def test_some_checks_are_made_alone_and_others_left_out(home: Path, doctor: Callable[..., tuple[int, str]]):
    known = len(requests(home))
    code, out = doctor("--json", "--only", "upstream")
    report = json.loads(out)
    assert (code, {one["code"] for one in report["checks"]}) == (0, {"upstream"})
    assert len(report["left_out"]) == len(Code) - 1
    assert len(requests(home)) - known == 2

    _, out = doctor("--json", "--skip", "pull", "--skip", "cache")
    assert not {"pull", "cache"} & {one["code"] for one in json.loads(out)["checks"]}


@pytest.mark.parametrize(
    "words",
    [["--only", "tokenend"], ["--suppress", "nothing=x"], ["--as", "somebody"], ["--json", "--format", "junit"]],
)
def test_what_does_not_exist_is_refused_before_anything_is_asked(
    home: Path, doctor: Callable[..., tuple[int, str]], words: list[str]
):
    known = len(requests(home))
    assert doctor(*words)[0] == 2
    assert len(requests(home)) == known


# --- the graph ------------------------------------------------------------------------------------------------------


def looked(code: Code, mark: Mark = Mark.FAIL, reason: str = "", way: str = "") -> Looked:
    return Looked(Finding(mark, "", f"{code} is so", code=code, reason=reason), way)


def test_each_check_has_its_page_and_no_failure_explains_itself():
    assert {*CHECKS} == {*Code}
    for code in Code:
        about = CHECKS[code]
        assert all((about.title, about.looks_at, about.source.startswith("https://"), about.reasons)), code
        seen, ahead = set(), [code]
        while ahead:
            for one in EXPLAINS.get(ahead.pop(), ()):
                target = Code(one.partition("/")[0])
                assert target is not code, f"{code} explains itself"
                reason = one.partition("/")[2]
                assert not reason or reason in CHECKS[target].reasons
                if target not in seen:
                    seen.add(target)
                    ahead.append(target)
    assert all(Code(one) for targets in HIDES.values() for one in targets)


def test_what_could_not_be_seen_is_the_cause_of_nothing_unless_it_has_a_reason():
    denied = looked(Code.PULL)
    assert verdict([looked(Code.GRANT, Mark.NOT_CHECKED), denied]).causes[0].looked is denied
    grant = looked(Code.GRANT, Mark.NOT_CHECKED, "conditional")
    (cause,) = verdict([grant, denied]).causes
    assert (cause.looked, cause.mark, cause.consequences) == (grant, Mark.FAIL, (denied,))


def test_what_is_wrong_on_one_way_explains_nothing_on_another():
    first, second = looked(Code.END, way="one"), looked(Code.PULL, way="two")
    assert [cause.looked for cause in verdict([first, second]).causes] == [first, second]


def test_two_rights_that_are_missing_are_both_asked_for():
    first, second = (looked(Code.CALLER, Mark.NOT_CHECKED, "permission") for _ in range(2))
    first, second = (
        Looked(replace(one.finding, resource=f"permission {name}"))
        for one, name in ((first, "a.get"), (second, "b.get"))
    )
    assert [cause.looked for cause in verdict([first, second, looked(Code.GRANT, Mark.NOT_CHECKED)]).causes] == [
        first,
        second,
    ]


def test_what_is_well_between_two_failures_parts_them():
    late, ended = looked(Code.CLOCK), looked(Code.END)
    assert [cause.looked for cause in verdict([late, ended]).causes] == [late, ended]


# --- in a notebook --------------------------------------------------------------------------------------------------


def test_a_notebook_shows_all_checks_then_the_verdict_and_marks_the_broken_link(cloud: Cloud, undone: ExitStack):
    version = {"name": cloud.secrets.version_name(SECRET, 1)}
    cloud.secrets._client.disable_secret_version(request=version)
    undone.callback(cloud.secrets._client.enable_secret_version, request=version)
    book, face = open_book(notebook="04_debugging")
    images = ["chainguard/go:latest"], ["chainguard-base:latest"]

    with pytest.raises(StepFailed) as failed:
        perform(book, FindCause(*images, repository=PUBLIC, private_repository=PRIVATE))

    assert failed.value.message.startswith(f"secret-version/disabled, secret {SECRET}: ")
    assert f"gcloud secrets versions enable 1 --secret={SECRET}" in failed.value.remedy
    (result,) = face.results
    shown = result_card(result)
    assert {Code.GRANT, Code.CACHE, Code.NETWORK} <= {one.code for one in result.evidence.findings}
    text = shown["text/plain"]
    check, verdict_, picture = (
        text.index(said)
        for said in ("cgr-dev, chainguard-private: because of", "the root cause: ", "Production images, through")
    )
    assert check < verdict_ < picture
    assert "✗ failed: Artifact Registry's service agent to the secret: " in text
    assert "… because of another: the pull token in the secret to cgr.dev: see secret-version" in text
    assert "✓ proved: the repository to cgr.dev: is there" in text  # of the public images, which are well
    assert "✗ failed" in shown["text/html"]


def test_after_a_diagnosis_the_notebook_goes_on_waiting_for_what_passes(cloud: Cloud):
    book, _ = open_book(notebook="04_debugging")

    perform(book, FindCause(["chainguard/go:latest"], [], repository=PUBLIC, private_repository=PRIVATE))

    assert not book.cloud.attempts.cancelled.is_set()
