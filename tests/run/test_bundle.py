"""One file for a ticket: what a support engineer asks for first stands first, no secret is in it, names can be masked."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cgrunbook import cli
from cgrunbook.cloud import Cloud
from cgrunbook.errors import NotSignedIn, StepFailed
from cgrunbook.parameters import Parameters
from cgrunbook.run import bundle
from cgrunbook.run.record import ErrorRecord, NotebookRecord, Record, StepRecord
from tests.steps.conftest import home, quick_chainctl
from tests.steps.performing import SECRET, open_book, perform, steps_of_02, steps_of_03
from tests.test_canary import spellings

__all__ = ["home", "quick_chainctl"]

pytestmark = pytest.mark.usefixtures("quick_chainctl")

AT = datetime(2026, 11, 28, 3, 0, 0, tzinfo=UTC)
RUN = "2026-11-28T03-00-00Z-abcd"


@pytest.fixture(scope="module")
def cloud(home: Path, quick_chainctl: None) -> Cloud:
    book, _ = open_book()
    perform(book, *steps_of_02(), *steps_of_03())
    return book.cloud


@pytest.fixture(scope="module")
def password(cloud: Cloud) -> str:
    """The password of a version that is disabled from now on."""
    value = cloud.secrets.access(SECRET, 1).reveal()
    cloud.secrets.disable(SECRET, 1)
    return value


def failed_run(folder: Path) -> None:
    """The folder of a run that failed, as it is left; it was another organisation's."""
    folder.mkdir(parents=True)
    error = ErrorRecord(type="WrongState", message="Version 1 of my-org's secret is disabled.", remedy="Enable it.")
    step = StepRecord(number=1, title="Keep a pull token", started=AT, ended=AT, outcome="failed", error=error)
    parameters = {"organization": "my-org", "secret_id": "my-secret"}
    notebook = NotebookRecord(name="03_production_images", started=AT, steps=[step], parameters=parameters)
    record = Record(run=folder.name, operator="ada", started=AT, ended=AT, exit_code=1, notebooks=[notebook])
    (folder / "record.json").write_text(record.model_dump_json())


def doctor(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main(["doctor", *words])
    return int(ended.value.code or 0)


@pytest.fixture(scope="module")
def folder(password: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the file was asked for three times."""
    folder = tmp_path_factory.mktemp("asked")
    failed_run(folder / "runs" / RUN)
    with pytest.MonkeyPatch.context() as here:
        here.chdir(folder)
        here.setattr(bundle, "_SECONDS", 60.0)  # a machine with much to do answers later
        assert doctor("--bundle", "kept.md") == 4, "as without it"
        here.setattr(bundle, "_gcloud_version", lambda: "528.0.0")  # it takes longer than all else
        assert [doctor("--bundle", "again.md"), doctor("--bundle", "masked.md", "--mask-names")] == [4, 4]
    return folder


def json_of(text: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(text.partition("```json\n")[2].partition("\n```")[0])
    return document


def test_the_verdict_stands_first_and_then_what_a_support_engineer_asks_for(folder):
    file = folder / "kept.md"
    assert file.stat().st_mode & 0o777 == 0o600
    text = file.read_text()
    lines = text.splitlines()
    assert lines[0].startswith("# cgrunbook doctor, 20")
    assert lines[2] == f"**The root cause: secret-version/disabled, secret {SECRET}** (certain)"
    assert [line.removeprefix("## ") for line in lines if line.startswith("## ")] == [
        "Checks",
        "Versions",
        "How the resources stand",
        "What failed last in the runs of this folder",
        "The same for a program",
    ]
    for what in ("cgrunbook", "Python", "system", "gcloud", "docker engine", "Chainguard"):
        assert re.search(rf"^\| {what} \| \S", text, re.MULTILINE), what
    assert f"| secret {SECRET} | versions | 1 DISABLED |" in text
    assert "| repository chainguard-private | username | a pull token's |" in text
    assert re.search(r"roles/secretmanager.secretAccessor: serviceAccount:service-\d+@gcp-sa-artifactregistry", text)
    assert f"| 2026-11-28T03:00:00Z | {RUN} | 03_production_images: Keep a pull token | WrongState | Version 1" in text


def test_a_program_reads_the_same_from_its_end(folder):
    document = json_of((folder / "kept.md").read_text())
    assert document["diagnosis"]["verdict"]["causes"][0]["code"] == "secret-version"
    assert document["failed"][0]["run"] == RUN
    assert document["resources"]["repository chainguard-private"]["upstream"] == "https://cgr.dev/"


def test_the_same_state_makes_the_same_file_but_for_the_time(folder):
    kept, again = ((folder / name).read_text().splitlines() for name in ("kept.md", "again.md"))
    gcloud = [line for line in kept if "gcloud" in line and '"gcloud":' not in line and not line.startswith("| gcloud")]
    assert gcloud
    assert [line for line in kept[1:] if "gcloud" not in line] == [line for line in again[1:] if "gcloud" not in line]


def test_no_spelling_of_the_password_is_in_it(folder, password):
    for name in ("kept.md", "masked.md"):
        text = (folder / name).read_bytes()
        assert not [form for form in spellings(password) if form in text]


def test_names_are_kept_or_stand_for_each_other_and_the_file_says_which(folder, cloud):
    kept, masked = ((folder / name).read_text() for name in ("kept.md", "masked.md"))
    own = [cloud.project.id, "example.com", cloud.project.number(), "my-org"]
    assert all(name in kept for name in own)
    assert "kept; --mask-names" in kept
    assert not [name for name in own if name in masked]
    assert not re.search(r"[0-9a-f]{40}/[0-9a-f]{16}", masked)
    assert "Names of projects, organisations, repositories, secrets and accounts: another word" in masked
    assert "**The root cause: secret-version/disabled" in masked
    assert "project_id project-1" in masked
    assert "organization-1/chainguard-base:latest" in masked
    assert "service-number-1@gcp-sa-artifactregistry" in masked, "whose agent it is still shows"
    assert json_of(masked)["diagnosis"]["verdict"]["causes"][0]["reason"] == "disabled"
    if len(folder_of_user := str(Path.home())) > 1:
        assert folder_of_user not in kept + masked


def test_a_file_that_is_there_is_left_alone_and_nothing_is_looked_at(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ticket.md").write_text("mine")
    (tmp_path / "nowhere.md").symlink_to("gone")

    for name in ("ticket.md", "nowhere.md", "."):
        assert doctor("--bundle", name) == 2
        said = capfd.readouterr()
        assert "is there already" in said.err
        assert not said.out
    assert (tmp_path / "ticket.md").read_text() == "mine"
    assert doctor("--bundle", "no/such/folder.md") == 2
    assert doctor("--mask-names") == 2


def test_where_nobody_is_signed_in_there_is_one_all_the_same(monkeypatch, tmp_path):
    def signed_out(_params: Parameters) -> Any:
        raise NotSignedIn("There are no credentials.", "Sign in.")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("cgrunbook.cloud.connect_as", signed_out)
    monkeypatch.setattr(bundle, "_gcloud_version", lambda: "not there")

    assert doctor("--bundle", "ticket.md", "--json") == 4
    text = (tmp_path / "ticket.md").read_text()
    assert "**The root cause: caller/signed-out** (certain)" in text
    assert "| gcloud | not there |" in text


def test_a_disk_that_is_full_leaves_no_half_of_a_file(monkeypatch, tmp_path):
    opened: Callable[..., Any] = os.fdopen

    def full(*given: Any, **how: Any) -> Any:
        opened(*given, **how).close()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fdopen", full)
    with pytest.raises(StepFailed, match="cannot be written: No space left"):
        bundle.write_bundle(tmp_path / "ticket.md", "x")
    assert not (tmp_path / "ticket.md").exists()


def test_what_stands_in_a_cell_breaks_no_table():
    rows = bundle._table(("a", "b"), [("x|y", "one\ntwo")])
    assert [*rows] == ["| a | b |", "| --- | --- |", "| x\\|y | one two |", ""]
