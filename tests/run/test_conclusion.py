"""What a notebook's end says: only what its run saw, what is first, and what can be copied where all of it worked."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cgrunbook.parameters import Parameters
from cgrunbook.run.conclusion import Conclusion, conclusion_of
from cgrunbook.run.journal import Journal
from cgrunbook.run.outline import Outline, cells_with_steps
from cgrunbook.ui.end_card import conclusion_card

HOST, PORT = "us-central1-docker.pkg.dev", "127.0.0.1:4711"
SANDBOX = {"target": "sandbox", "project_id": "sandbox", "location": "us-central1", "organization": "example.com"}
GOOGLE = {"target": "google-cloud", "project_id": "example.com:p", "location": "us-central1", "organization": ""}

OK = {"mark": "ok", "check": "docker", "seen": "there"}
OFF = {"mark": "to do", "check": "the API", "seen": "off", "remedy": "Nothing now."}
LATER = {"mark": "warn", "check": "chainctl", "seen": "gone", "remedy": "Install it. Only 03 needs it."}
UNSEEN = {"mark": "not checked", "check": "a right", "seen": "could not be asked for"}
NO = {"mark": "fail", "check": "credentials", "seen": "there are none", "remedy": "Sign in."}


def step(kind: str, outcome: str = "unchanged", *findings: dict[str, str], **more: Any) -> dict[str, Any]:
    return {"kind": kind, "title": kind, "outcome": outcome, "findings": findings, **more}


def pull(image: str, repository: str, outcome: str = "unchanged") -> dict[str, Any]:
    proof = {"evidence": {"image": f"{HOST}/{image}"}, "brief": "the same digest"} if outcome == "unchanged" else {}
    return step("PullImage", outcome, title=f"Pull {image}", subject=repository, **proof)


@pytest.fixture
def conclude(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CGRUNBOOK_RUN_FOLDER", raising=False)

    def conclude(
        notebook: str, *performed: dict[str, Any], target: dict[str, str] = SANDBOX, cells: str = "", **told: Any
    ) -> Conclusion:
        folder = tmp_path / "runs" / "r"
        folder.mkdir(parents=True)
        params = Parameters(**{"target": target["target"], **told})
        journal = Journal(folder)
        journal.begin(params.mode, began_in="notebook")
        journal.add("notebook-started", notebook=notebook, parameters=params.model_dump(), target=target)
        for number, one in enumerate(performed, 1):
            head = {name: one[name] for name in ("kind", "title", "subject") if name in one}
            journal.add("step-started", notebook=notebook, step=number, **head)
            journal.add("outcome", notebook=notebook, step=number, **{k: v for k, v in one.items() if k not in head})
        found = cells_with_steps([("code", "", f"await book.perform(steps.{kind}())") for kind in cells.split()])
        host = SimpleNamespace(name=HOST, address=PORT if target is SANDBOX else HOST)
        connection = SimpleNamespace(
            artifact_registry_host=host,
            docker_project=target["project_id"].replace(":", "/"),
            organization=target["organization"],
        )
        session: Any = SimpleNamespace(
            notebook=notebook,
            params=params,
            journal=journal,
            outline=Outline(found),
            cloud=SimpleNamespace(connection=connection),
        )
        return conclusion_of(session)

    return conclude


def said(conclusion: Conclusion) -> str:
    return conclusion_card(conclusion)["text/plain"]


FIRST = "01_prerequisites"


def test_all_well_is_ready_and_what_is_to_do_later_is_no_warning(conclude):
    found = conclude(FIRST, step("CheckThisMachine", "verified", OK, OFF), step("CheckNetwork", "verified", OK))
    assert said(found).splitlines()[0] == "✓ Ready: go on with 02_developer_images."
    assert (found.findings, found.next[0]) == ((), "02_developer_images")


def test_what_can_wait_is_listed_and_holds_nobody_back(conclude):
    found = conclude(FIRST, step("CheckChainguard", "verified", OK, LATER, UNSEEN))
    assert said(found).splitlines()[0] == "✓ Ready: go on with 02_developer_images; what is listed below can wait."
    assert [one.check for one in found.findings] == ["chainctl", "a right"]


def test_what_is_first_is_counted_and_named_with_what_to_do(conclude):
    other = {**NO, "check": "docker.pkg.dev", "seen": "no answer", "remedy": "Let it through."}
    found = conclude(FIRST, step("CheckGoogleCloud", "failed", NO, OK), step("CheckNetwork", "failed", LATER, other))
    text = said(found)
    assert text.startswith("✗ Two things first: credentials, docker.pkg.dev. Then run this notebook again.")
    assert text.index("Sign in.") < text.index("Let it through.") < text.index("Install it.")
    assert found.next == ()


def test_a_check_that_was_not_run_or_not_ended_is_said_and_nothing_is_called_ready(conclude):
    found = conclude(FIRST, step("CheckNetwork", "verified", OK), cells="CheckNetwork CheckChainguard")
    assert said(found).splitlines()[0] == "▸ So far: nothing stands in the way, but not all was looked at."
    assert ("check chainguard", "not performed in this run") in {(one.check, one.seen) for one in found.findings}


def test_a_check_that_failed_and_then_did_not_stands_as_it_is_now(conclude):
    assert conclude(FIRST, step("CheckNetwork", "failed", NO), step("CheckNetwork", "verified", OK)).word == "Ready"


def test_a_step_that_failed_without_a_finding_says_why(conclude):
    error = {"type": "Interrupted", "message": "Interrupted.", "remedy": "Run it again.", "exit_code": 130}
    text = said(conclude(FIRST, step("CheckNetwork", "failed", error=error)))
    assert text.startswith("✗ One thing first: CheckNetwork.")
    assert "Interrupted." in text
    assert "Run it again." in text


@pytest.mark.parametrize("notebook", [FIRST, "02_developer_images", "00_start_here", "mine"])
def test_before_any_step_there_is_nothing_to_say(conclude, notebook):
    found = conclude(notebook)
    assert (found.word, found.commands, found.routes, found.next) == ("Not begun", {}, (), ())


SET_UP = step("CreateRemoteRepository", "created", brief="https://cgr.dev/ behind it")
SIGNED_IN = step("SignDockerIn", "updated", brief="credential helper gcloud")
PUBLIC = "chainguard-pull-through"


def test_what_works_is_shown_as_it_is_typed_with_all_links_proved(conclude):
    proof = pull(f"sandbox/{PUBLIC}/chainguard/go:latest", PUBLIC)
    found = conclude("02_developer_images", SET_UP, SIGNED_IN, proof)
    text = said(found)
    reference = f"{PORT}/sandbox/{PUBLIC}/chainguard/go:latest"
    assert text.startswith(f"✓ Works: Public images can be pulled through {PUBLIC}; this run has proved it.")
    for command in (f"docker pull {reference}", f"image: {reference}", f"FROM {reference}"):
        assert command in [line.strip() for line in text.splitlines()]
    assert {link.state.words for route in found.routes for link in route.links} == {"✓ proved"}
    assert f"on Google Cloud that is {HOST}" in text
    assert "docker signs in with: credential helper gcloud" in text
    assert "this run's report: runs/r/report.html" in text
    assert found.next[0] == "03_production_images"
    assert "not proved" not in text


def test_what_was_not_pulled_in_this_run_is_not_called_proved(conclude):
    images = ["chainguard/go:latest", "chainguard/node:latest"]
    proof = pull(f"sandbox/{PUBLIC}/chainguard/go:latest", PUBLIC)
    found = conclude("02_developer_images", SET_UP, proof, developer_images=images, cells="PullWithDocker")
    assert found.tone == "open"
    assert found.facts["not proved in this run"] == "chainguard/node:latest"
    assert found.facts["docker signs in with"] == "not looked at in this run"
    assert len(found.commands["With docker"]) == 2
    assert [one.seen for one in found.findings] == ["not performed in this run"]


@pytest.mark.parametrize("outcome", ["failed", "declined"])
def test_where_a_step_is_not_done_nothing_is_offered_to_copy(conclude, outcome):
    error = {"type": "StepFailed", "message": "It did not work.", "remedy": "Try again.", "exit_code": 1}
    found = conclude("02_developer_images", SET_UP, step("SignDockerIn", outcome, error=error))
    assert (found.word, found.commands, found.next) == ("Not yet", {}, ())
    assert "It did not work." in said(found)


def test_a_plan_says_what_would_work_and_proves_nothing(conclude):
    planned = step("CreateRemoteRepository", "planned"), step("PullImage", "planned", subject=PUBLIC)
    found = conclude("02_developer_images", *planned, mode="plan")
    assert said(found).startswith("… Planned: ")
    assert found.facts["not proved in this run"] == "chainguard/go:latest"
    assert found.commands


PRIVATE = "chainguard-private"
OF_03 = (step("GrantSecretAccess", "created"), step("CreatePrivateRepository", "created"))


@pytest.mark.parametrize(
    ("evidence", "words"),
    [
        ({"expires": "2026-12-27T17:13:00+00:00"}, "good until 2026-12-27 17:13 UTC"),
        ({"expires": "not written down: this token was stored by somebody else"}, "its end is not written down"),
        ({}, "will be good for 30 days"),
        (None, "not looked at in this run"),
    ],
)
def test_the_tokens_end_is_what_was_written_down(conclude, evidence, words):
    stored = [] if evidence is None else [step("StorePullToken", "created", evidence=evidence)]
    found = conclude("03_production_images", *stored, *OF_03)
    assert words in found.facts["the pull token"]
    assert ("renewing it" in found.facts) == (evidence is not None)


def test_on_google_cloud_the_organisation_is_the_one_that_a_pull_found_or_stands_open(conclude):
    proof = pull(f"example.com/p/{PRIVATE}/acme.com/chainguard-base:latest", PRIVATE)
    found = conclude("03_production_images", *OF_03, proof, target=GOOGLE)
    assert found.commands["With docker"] == (
        f"docker pull {HOST}/example.com/p/{PRIVATE}/acme.com/chainguard-base:latest",
    )
    assert (found.tone, "where" in found.facts) == ("good", False)


def test_an_organisation_that_nobody_knows_is_to_be_filled_in(conclude):
    digest = f"sha256:{'a' * 64}"
    found = conclude(
        "03_production_images", *OF_03, target=GOOGLE, production_images=[f"node:20@{digest}"], cells="PullImage"
    )
    assert found.commands["With docker"] == (f"docker pull {HOST}/example.com/p/{PRIVATE}/ORGANIZATION/node@{digest}",)
    assert "ORGANIZATION" in found.facts


def test_with_one_repository_for_all_images_the_card_is_about_that_one(conclude):
    proof = pull("sandbox/one/example.com/chainguard-base:latest", "one")
    found = conclude("03_production_images", *OF_03, proof, repository="one", private_repository="one")
    assert [route.images for route in found.routes] == ["All images"]
    assert found.commands["In a Dockerfile"] == (f"FROM {PORT}/sandbox/one/example.com/chainguard-base:latest",)
    assert found.tone == "good"


def test_of_very_many_images_some_are_shown_and_the_others_counted(conclude):
    images = [f"chainguard/i{number}:latest" for number in range(40)]
    found = conclude("02_developer_images", SET_UP, developer_images=images)
    assert len(found.commands["With docker"]) < 10
    assert found.facts["more images"].startswith("35")


def mapped(public: str, private: str) -> Any:
    codes = {"public-repository": public, "private-repository": private, "grant": private, "pull-token": private}
    marks = [{"mark": mark, "check": "x", "seen": "y", "code": code} for code, mark in codes.items()]
    return step("ShowMap", "verified", *marks)


def test_the_map_shows_each_link_and_leads_to_what_is_next(conclude):
    found = conclude("00_start_here", mapped("ok", "to do"))
    assert [link.state.words for link in found.routes[0].links] == ["… not looked at", "✓ there"]
    assert [link.state.words for link in found.routes[1].links][1:] == ["· to do"] * 3
    assert found.next[0] == "03_production_images"


def test_the_map_says_that_something_is_amiss_before_it_leads_on(conclude):
    found = conclude("00_start_here", mapped("ok", "warn"))
    assert [link.state.words for link in found.routes[1].links][1:] == ["! not as it should be"] * 3
    assert "not all of it is as it should be" in conclusion_card(found)["text/plain"]


def test_what_is_shown_is_the_same_as_html_and_as_text_and_needs_no_style(conclude):
    proof = pull(f"sandbox/{PUBLIC}/chainguard/go:latest", PUBLIC)
    card = conclusion_card(conclude("02_developer_images", SET_UP, SIGNED_IN, proof))
    for words in (
        "✓ Works",
        "docker pull",
        "✓ proved",
        "credential helper gcloud",
        "report.html",
        "03_production_images",
    ):
        assert words in card["text/html"]
        assert words in card["text/plain"]
    assert 'href="03_production_images.ipynb"' in card["text/html"]
    for dropped in ("<style", "role=", "var(", "<svg", "<script"):
        assert dropped not in card["text/html"]


PLACE = "us-central1/chainguard-private"


def rotation(outcome: str, brief: str = "", *proved: str, repositories: int = 1) -> dict[str, Any]:
    evidence = {
        "expires": "2026-12-23T10:00:00Z",
        "repositories": ["one", "another"][:repositories],
        "proved with": dict.fromkeys(proved, "example.com/chainguard-base@sha256:1, which was not cached"),
    }
    return step("RotatePullToken", outcome, brief=brief, evidence=evidence)


def test_a_rotation_that_was_proved_works_until_its_token_ends_and_says_how_the_next_one_comes(conclude):
    concluded = conclude("05_rotate_pull_token", rotation("updated", "", PLACE))
    text = said(concluded)
    assert text.startswith(f"✓ Works: {PLACE} signs in with the new pull token; this run has proved it.")
    # What was fetched is no client's pull.
    assert [link.state.words for link in concluded.routes[0].links] == ["… not looked at", *["✓ proved"] * 3]
    assert "which was not cached" in text
    assert "good until 2026-12-23 10:00 UTC" in text
    assert "cgrunbook rotate --if-days-left 7" in text
    assert "not proved" not in text
    assert "docker signs in" not in text


@pytest.mark.parametrize(
    ("proved", "repositories", "words"),
    [
        (("europe-west1/mirror",), 1, "Works: europe-west1/mirror signs in"),
        ((PLACE, "europe-west1/mirror"), 2, f"Works: {PLACE}, europe-west1/mirror sign in"),
        ((PLACE,), 2, "Set: 1 of 2 repositories were proved"),
        ((), 1, "Set: 0 of 1 repositories were proved"),
    ],
)
def test_a_rotation_says_of_each_repository_no_more_than_was_proved(conclude, proved, repositories, words):
    concluded = conclude("05_rotate_pull_token", rotation("updated", "", *proved, repositories=repositories))
    assert words in said(concluded)
    states = [link.state.words for link in concluded.routes[0].links]
    assert ("✓ proved" in states) is (PLACE in proved)


@pytest.mark.parametrize("outcome", ["unchanged", "deleted"])
def test_a_rotation_that_was_not_due_has_proved_nothing(conclude, outcome):
    concluded = conclude("05_rotate_pull_token", rotation(outcome, "version 1; 20 days are left"))
    assert said(concluded).startswith("✓ Not rotated: version 1; 20 days are left.")
    assert "✓ proved" not in [link.state.words for link in concluded.routes[0].links]


def test_a_rotation_that_was_undone_does_not_work(conclude):
    error = {"type": "StepFailed", "message": "It did not work.", "remedy": "", "exit_code": 1}
    concluded = conclude("05_rotate_pull_token", step("RotatePullToken", "failed", error=error))
    assert concluded.tone == "bad"
    assert "Works" not in said(concluded)


def test_a_rotation_that_was_not_due_hides_nothing_of_what_the_same_run_set_up_and_proved(conclude):
    concluded = conclude(
        "05_rotate_pull_token",
        step("CreatePrivateRepository"),
        pull("example.com/base:latest", "chainguard-private"),
        rotation("unchanged", "version 1; 20 days are left"),
    )
    assert concluded.routes[0].pull.state.words == "✓ proved"
