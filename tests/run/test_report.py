"""The page that is attached to a change ticket."""

from __future__ import annotations

import base64
import io
import json
import re
import secrets
import subprocess
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from cgrunbook import cli
from cgrunbook.run import report
from cgrunbook.run.journal import Journal
from cgrunbook.run.record import ChangeRecord, ErrorRecord, FindingRecord, NotebookRecord, Record, StepRecord, record_of
from cgrunbook.steps.step import Outcome

BEGUN = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
ENDED = BEGUN + timedelta(seconds=75)


class Page(HTMLParser):
    """The page's text, and every attribute that could load or run something."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.said: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self._open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._open.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "data", "action", "srcset")]

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.said.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.said))


#: What clears a terminal's line, rings, turns the reading direction, hides.
STEERING = "\x1b[2K\x07\x9b31m\u202egnp.exe\u200b"


def test_what_steers_a_terminal_reaches_no_file_of_a_run(tmp_path: Path):
    journal = Journal(tmp_path)
    journal.begin("apply", operator_note=STEERING)
    journal.add("notebook-started", notebook="02")
    journal.add("step-started", notebook="02", step=1, title=f"Create {STEERING}")
    journal.add("planned", notebook="02", step=1, changes=[], commands=[f"gcloud x --description={STEERING}"])
    journal.add("outcome", notebook="02", step=1, outcome="created", brief=STEERING, facts={STEERING: STEERING})
    made = record_of(tmp_path)
    written = [journal.path.read_text(), made.model_dump_json(), report.render(made)]
    for text in written:
        assert "gnp.exe" in text
        assert not [mark for mark in "\x1b\x07\x9b\u202e\u200b" if mark in text]


def step(**more: Any) -> StepRecord:
    return StepRecord(**{"number": 1, "title": "Create the repository", "started": BEGUN, "outcome": "created", **more})


def record(*steps: StepRecord, exit_code: int | None = 0, error: ErrorRecord | None = None, **more: Any) -> Record:
    notebook = NotebookRecord(
        name="02_developer_images",
        started=BEGUN,
        ended=ENDED,
        outcome="failed" if error else "done",
        error=error,
        steps=list(steps),
        parameters={"location": "us-central1", "labels": ["a=b", "c=d"], "docker_pull": False},
    )
    return Record(
        **{
            "run": "2026-11-23T10-00-00Z-beef",
            "version": "0.1.0",
            "operator": "alex",
            "caller": "serviceAccount:robot@my-project.iam.gserviceaccount.com",
            "target": {"target": "google-cloud", "project_id": "my-project"},
            "started": BEGUN,
            "ended": ENDED,
            "exit_code": exit_code,
            "notebooks": [notebook],
            **more,
        }
    )


WHOLE = record(
    step(
        seconds=4.2,
        waits=2.5,
        approval="approved",
        brief="https://cgr.dev/ behind it",
        changes=[
            ChangeRecord(resource="repository mirror", after="in us-central1"),
            ChangeRecord(resource="repository mirror", field="labels", before={"a": "b"}, after={"a": "c"}),
        ],
        commands=["gcloud artifacts repositories create mirror --mode=remote-repository"],
        notes=["It cannot be moved later."],
        evidence={"upstream": "https://cgr.dev/", "created": "2026-11-23T10:00:00Z"},
        findings=[FindingRecord(mark="warn", check="docker", seen="no engine", remedy="Start it.")],
    )
)


def test_the_page_says_who_when_where_and_what_came_of_it():
    page = Page(report.render(WHOLE)).text
    for said in (
        "2026-11-23T10-00-00Z-beef",
        "Operator, on this machine alex",
        "Services called as serviceAccount:robot@my-project.iam.gserviceaccount.com",
        "my-project",
        "2026-11-23 10:00:00 UTC",
        "after 1 min 15 s",
        "Done: 2 changes were made",
        "02_developer_images",
        "location us-central1",
        "a=b, c=d",
    ):
        assert said in page, said


def test_the_page_shows_each_step_with_all_that_is_known_of_it():
    page = Page(report.render(WHOLE)).text
    for said in (
        "1. Create the repository",
        "created",
        "in 4.2 s, of which 2.5 s spent waiting",
        "approved by alex",
        "Repository mirror was created in us-central1:",
        "labels a=b a=c",
        "gcloud artifacts repositories create mirror",
        "It cannot be moved later.",
        "upstream https://cgr.dev/",
        "warn docker no engine Start it.",
    ):
        assert said in page, said


def test_an_outcome_is_a_word_and_never_only_a_colour():
    for outcome in (*Outcome, None):
        page = Page(report.render(record(step(outcome=outcome)))).text
        assert (outcome or "did not end") in page


def test_a_failure_is_said_at_the_top_with_its_remedy():
    error = ErrorRecord(type="ApiDisabled", message="Artifact Registry is off.", remedy="Enable it.", exit_code=3)
    page = Page(report.render(record(step(outcome="failed", error=error), exit_code=3, error=error))).text
    top = page[: page.index("Operator")]
    assert "Stopped: a prerequisite is missing" in top
    assert "Artifact Registry is off." in top
    assert "What to do: Enable it." in top


@pytest.mark.parametrize(
    ("exit_code", "mode", "said"),
    [
        (0, "apply", "Done: 1 change was made"),
        (0, "plan", "nothing would be changed"),
        (1, "apply", "Failed; before that 1 change was made"),
        (4, "plan", "1 change would be made. Nothing was changed"),
        (130, "apply", "Interrupted"),
        (138, "apply", "a kernel died"),
        (None, "apply", "was killed before it could say"),
    ],
)
def test_the_verdict_is_one_sentence(exit_code: int | None, mode: Any, said: str):
    made = step(changes=[ChangeRecord(resource="x", after=1)])
    assert said in report.verdict(record(made, exit_code=exit_code, mode=mode))


def test_proved_is_said_only_of_what_was_proved():
    gone = [ChangeRecord(resource="repository x", before="all"), ChangeRecord(resource="secret y", before="all")]
    made = [ChangeRecord(resource="repository x", after="there")]
    held = step(outcome="planned", changes=gone, held_back="Set confirm to go on.")
    proof = step(title="Pull", outcome="verified")
    check = step(title="Try it directly", outcome="not checked")
    for steps, said in (
        ([held], "Held back: 2 things would be deleted. Set confirm to go on."),
        ([held, held], "Held back: 2 things would be deleted. Set confirm to go on."),
        ([step(title="a", changes=made), held], "Held back: 1 change was made; 2 things would be deleted. Set confirm"),
        ([held.model_copy(update={"changes": made})], "Held back: 1 change would be made. Set"),
        ([held, step(outcome="deleted", changes=gone)], "Done: 2 changes were made, and every step was proved."),
        ([proof], "Done: nothing was changed, and every step was proved."),
        ([proof, step(title="docker", outcome="skipped")], "and every step that was asked for was proved."),
        ([proof, check], "every step was proved, but for what could not be checked: Try it directly."),
        ([step(title="Try", outcome="verified", changes=made)], "Done: 1 change was made, and every step was proved."),
        ([step(outcome="declined"), proof], "nothing was changed, and not every step was done (declined: Create the"),
        ([step(outcome="failed"), step(outcome="created")], "Done: nothing was changed, and every step was proved."),
        ([step(outcome="failed"), proof], "not every step was done (failed: Create the repository)."),
        ([step(outcome=None), proof], "not every step was done (did not end: Create the repository)."),
    ):
        assert said in report.verdict(record(*steps)), said
        assert ('class="verdict planned"' in report.render(record(*steps))) is (steps[-1] is held or "Held" in said)


@pytest.mark.parametrize("outcome", ["failed", None])
def test_a_step_that_ended_in_its_changes_is_not_called_harmless(outcome: Any):
    half = step(outcome=outcome, changes=[ChangeRecord(resource="x", after=1)])
    assert "may have made a part of its changes" in report.verdict(record(half, exit_code=1))
    assert "part of its changes" not in report.verdict(record(step(outcome=outcome), exit_code=1))


def test_the_page_loads_and_runs_nothing():
    html = report.render(WHOLE)
    page = Page(html)
    assert not {"script", "img", "link", "iframe", "object", "embed", "form", "base"} & set(page.tags)
    assert all(address.startswith("#") for address in page.addresses)
    assert "url(" not in html
    assert "@import" not in html
    assert "default-src 'none'" in html


SANDBOX = {"target": "sandbox", "project_id": "cgrunbook-sandbox", "location": "us-central1"}
LAYERS = [{"digest": f"sha256:{number:064x}", "bytes": number * 1000} for number in (143, 225)]


@pytest.mark.parametrize(("target", "word"), [(WHOLE.target, "◆ GOOGLE CLOUD"), (SANDBOX, "◇ SANDBOX")])
def test_where_it_ran_comes_first_then_the_verdict_and_the_sandbox_stands_across_the_page(target: Any, word: str):
    html = report.render(WHOLE.model_copy(update={"target": target}))
    page = Page(html).text
    assert page.index(word) < page.index("Report of run".lower()) < page.index("Done: 2 changes", page.index(word))
    assert page.index("Done: 2 changes", page.index(word)) < page.index("Operator")
    assert ('<body class="sandbox">' in html) is ("SANDBOX" in word)
    assert ("sandbox=$(cgrunbook sandbox env)" in page) is ("SANDBOX" in word), "what is copied of it runs there"


def test_a_list_of_rows_is_a_table_with_digests_that_are_whole_when_copied():
    page = report.render(record(step(outcome="verified", evidence={"layers": LAYERS, "bytes hashed": 617_965})))
    assert f'title="{LAYERS[0]["digest"]}">{LAYERS[0]["digest"]}</span>' in page
    assert "size 143.0 kB" in re.sub(r"sha256:\w+ ", "", Page(page).text).replace("digest size", "size")
    assert "bytes hashed 618.0 kB" in Page(page).text
    assert "{" not in Page(page).text


def test_what_was_planned_and_read_back_is_said_once():
    made = [
        ChangeRecord(resource="secret s", after="empty"),
        ChangeRecord(resource="secret s", field="a", after="bcdef"),
    ]
    page = Page(report.render(record(step(changes=made, evidence={"a": "bcdef", "expires": "never"})))).text
    assert page.count("bcdef") == 1
    assert "Secret s was created empty." in page


def test_the_page_prints_and_has_a_dark_form():
    html = report.render(WHOLE)
    assert "@media print" in html
    assert "prefers-color-scheme: dark" in html


def test_what_a_service_says_is_text_and_no_markup():
    html = report.render(record(step(title="<script>alert(1)</script>", evidence={"<b>x</b>": "</dd><img src=x>"})))
    assert "script" not in Page(html).tags
    assert "img" not in Page(html).tags
    assert "<script>alert(1)</script>" in Page(html).text


def test_a_token_is_nowhere_on_the_page():
    head = base64.urlsafe_b64encode(json.dumps({"alg": "RS256"}).encode()).decode().rstrip("=")
    token = f"{head}.{secrets.token_urlsafe(40)}.{secrets.token_urlsafe(40)}"
    html = report.render(
        record(
            step(
                title=token,
                commands=[f"docker login -p {token}"],
                evidence={token: [token]},
                findings=[FindingRecord(mark="fail", check=token, seen=token)],
                error=ErrorRecord(type="X", message=token, remedy=token),
            ),
            operator=token,
        )
    )
    assert token not in html
    assert token.rpartition(".")[2] not in html


@pytest.mark.parametrize(("steps", "rows"), [(1, 60), (30, 60), pytest.param(1500, 1, marks=pytest.mark.long)])
def test_the_page_stays_small_enough_for_a_ticket(steps: int, rows: int):
    long = step(
        changes=[ChangeRecord(resource="r" * 300, field=str(number), after="x" * 5000) for number in range(rows)],
        evidence={f"fact {number}": "y" * 500 for number in range(rows)},
        commands=["gcloud " + "z" * 300] * rows,
    )
    html = report.render(record(*[long.model_copy(update={"number": number}) for number in range(steps)]))
    assert len(html.encode()) < report.LARGEST
    assert "Done:" in html
    assert "record.json" in Page(html).text


@pytest.mark.parametrize(("many", "exit_code"), [(800, 0), pytest.param(1200, 1, marks=pytest.mark.long)])
def test_a_long_run_is_judged_by_all_of_it_and_what_is_left_out_is_counted(many: int, exit_code: int):
    changes = [ChangeRecord(resource="repository mirror", after=number) for number in range(24)]
    pulls = [
        step(number=number, title=f"Pull image-{number}", outcome="verified", brief="the same digest" * 3)
        for number in range(2, many)
    ]
    for place in (700, 710) if exit_code else ():
        pulls[place] = pulls[place].model_copy(update={"outcome": "failed"})
    error = ErrorRecord(type="NotFound", message="No such image.") if exit_code else None
    html = report.render(record(step(changes=changes), *pulls, exit_code=exit_code, error=error))
    said = Page(html).text
    assert len(html.encode()) < report.LARGEST
    top = said[: said.index("Operator")]
    assert "24 changes were made" in top
    assert ("Failed in 2 steps" in top) is bool(exit_code)
    assert "Repository mirror" in said
    listed, detailed = (said.count("Pull image-") - html.count("<article") + 2, html.count("<article"))
    left_out = [int(number) for number in re.findall(r"(\d+) more steps in record\.json: \d+ verified\.", said)]
    assert left_out == [number for number in (many - 1 - listed, many - 1 - detailed) if number]
    for place in (702, 712) if exit_code else ():
        assert f'id="step-1-{place}"' in html, "what failed is shown before what did not"


def test_whatever_is_left_out_of_a_page_says_so():
    long = step(notes=[f"note {number} " + "x" * 900 for number in range(600)])
    noted = record(long)
    noted.notebooks[0].parameters = {f"name {number}": "y" for number in range(401)}
    page = Page(report.render(noted)).text
    for what in ("notes", "parameters"):
        assert re.search(rf"\d+ more {what} in record\.json", page), what
    books = [
        noted.notebooks[0].model_copy(update={"steps": [], "parameters": {}, "name": "x" * 900}) for _ in range(250)
    ]
    page = Page(report.render(noted.model_copy(update={"notebooks": books}))).text
    assert re.search(r"\d+ more notebooks in record\.json", page)
    declined = [step(title=f"Step {number}", outcome="declined", approval="declined") for number in range(300)]
    told = record(*declined, exit_code=1, error=ErrorRecord(type="Declined", message="no"))
    assert "and 295 more" in report.approvals(told)
    assert "and 295 more" in report.verdict(told.model_copy(update={"exit_code": 0}))


def test_the_verdict_says_what_came_after_a_failure_and_proves_no_more_than_there_was():
    made = [ChangeRecord(resource="x", after=1)]
    for steps, exit_code, said in (
        (
            [step(title="a", outcome="failed"), step(changes=made)],
            1,
            "Failed; in all 1 change was made, 1 of them after",
        ),
        (
            [step(title="a", outcome="declined"), step(changes=made)],
            1,
            "in all 1 change was made, 1 of them after that",
        ),
        ([step(changes=made), step(title="a", outcome="failed")], 1, "Failed; before that 1 change was made."),
        ([step(title="a", outcome="failed"), step(title="b", outcome="failed")], 1, "Failed in 2 steps; before that"),
        ([step(outcome="failed", changes=made), step(changes=made)], 1, "Failed; before that 1 change was made."),
        ([], 2, "Stopped: a parameter is wrong; before that nothing was changed."),
        ([], 0, "Done: nothing was changed; there was no step that had anything to prove."),
        ([step(outcome="skipped")], 0, "there was no step that had anything to prove."),
    ):
        assert said in report.verdict(record(*steps, exit_code=exit_code)), said


def test_the_page_names_the_notebooks_that_were_not_begun():
    assert (
        "Not begun 03_production_images, 04_debugging"
        in Page(report.render(record(step(), exit_code=1, not_begun=["03_production_images", "04_debugging"]))).text
    )


def test_a_report_of_a_run_that_was_killed_is_written_from_its_journal(tmp_path: Path):
    journal = Journal(tmp_path)
    journal.add("run-started", operator="alex")
    journal.add("notebook-started", notebook="one")
    journal.add("step-started", notebook="one", step=1, title="A long step")
    path = report.write_report(tmp_path)
    page = Page(path.read_text()).text
    assert path == tmp_path / "report.html"
    assert "A long step" in page
    assert "did not end" in page


def test_a_notebook_that_could_not_see_who_calls_does_not_take_it_from_the_record(tmp_path: Path):
    journal = Journal(tmp_path)
    journal.add("run-started", operator="alex")
    for notebook, caller in (("01_prerequisites", "user:ada@example.com"), ("02_developer_images", "")):
        journal.add("notebook-started", notebook=notebook, target={}, caller=caller)
    assert record_of(tmp_path).caller == "user:ada@example.com"


def test_a_report_of_an_empty_folder_says_that_nothing_ended(tmp_path: Path):
    assert "has not ended" in Page(report.write_report(tmp_path).read_text()).text


def test_the_report_costs_neither_papermill_nor_a_google_client(tmp_path: Path):
    program = f"""
import sys
from pathlib import Path
from cgrunbook.run.report import write_report
write_report(Path({str(tmp_path)!r}))
print([name for name in ("papermill", "nbconvert", "nbformat", "IPython", "google.auth") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def way() -> Record:
    """A run that set production images up, with a declined step in it."""
    names = {"repository": "public", "private_repository": "private-" + "x" * 55, "secret_id": "pull-token"}
    steps = [
        step(
            kind="GrantSecretAccess", title="Grant", brief="on this secret alone", approval="approved", answered=BEGUN
        ),
        step(kind="StorePullToken", title="Keep a pull token", brief="version 1, good until 2026-12-23"),
        step(
            kind="CreatePrivateRepository", title="Create it", outcome="declined", approval="declined", answered=ENDED
        ),
    ]
    told = record(*steps, exit_code=1, error=ErrorRecord(type="Declined", message="no"))
    notebook = told.notebooks[0].model_copy(update={"parameters": names})
    return told.model_copy(update={"notebooks": [notebook], "target": {"location": "us-central1"}})


def test_the_way_an_image_takes_is_drawn_with_the_state_of_each_link_in_words():
    html = report.render(way())
    page = Page(html)
    assert page.tags.count("svg") == 1
    for said in (
        "Production images , through the repository private-xxx",
        "✓ made Artifact Registry's service agent to the secret: on this secret alone",
        "✓ made the pull token in the secret to cgr.dev: version 1, good until 2026-12-23",
        "- declined the repository to cgr.dev",
        "… not looked at a client to the repository",
    ):
        assert said in page.text, said
    drawn = html[html.index("<svg") : html.index("</svg>")]
    assert "x" * 55 not in drawn  # it would leave its box
    assert 'role="img"' in drawn
    assert "href=" not in drawn
    assert "src=" not in drawn


def test_who_approved_and_declined_what_and_when_is_said_at_the_top():
    told = way()
    assert report.approvals(told) == (
        "1 step approved by alex, the last on 2026-11-23 10:00:00 UTC; "
        "Create it: declined by alex on 2026-11-23 10:01:15 UTC"
    )
    assert report.verdict(told).startswith("Declined by the operator")
    assert report.approvals(record(step())) == "nobody was asked: the run was started to do all of it"


def verb(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """`cgrunbook report`, in this process."""
    out, err = io.StringIO(), io.StringIO()
    with chdir(folder), redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
        cli.main(["report", *words])
    return subprocess.CompletedProcess(words, int(ended.value.code or 0), out.getvalue(), err.getvalue())


def a_run(folder: Path) -> Path:
    folder.mkdir(parents=True)
    journal = Journal(folder)
    journal.add("run-started", operator="alex", mode="apply")
    journal.add("notebook-started", notebook="02_developer_images", parameters={"repository": "public"})
    journal.add(
        "step-started", notebook="02_developer_images", step=1, kind="CreateRemoteRepository", title="Create it"
    )
    journal.add("outcome", notebook="02_developer_images", step=1, outcome="created")
    journal.add("run-ended", exit_code=0)
    return folder


def test_the_verb_writes_the_report_of_a_run_named_by_folder_by_id_or_not_at_all(tmp_path: Path):
    older, newer = (a_run(tmp_path / "runs" / f"2026-11-2{day}T10-00-00Z-beef") for day in (2, 3))
    for words, folder in (
        ((), newer),
        ((older.name,), older),
        (("2026-11-22",), older),
        ((f"runs/{newer.name}",), newer),
    ):
        said = verb(tmp_path, *words)
        assert said.returncode == 0, said.stderr
        written = tmp_path / said.stdout.strip()
        assert written == folder / "report.html"
        assert "Create it" in written.read_text()
        written.unlink()


def test_the_verb_writes_elsewhere_and_answers_as_json(tmp_path: Path):
    folder = a_run(tmp_path / "archive")
    (folder / "record.json").write_text(record_of(folder).model_dump_json())
    (folder / "journal.jsonl").unlink()
    said = json.loads(verb(tmp_path, str(folder), "--output", str(tmp_path / "page.html"), "--json").stdout)
    assert (tmp_path / "page.html").exists()
    assert not (folder / "report.html").exists()
    assert said["exit_code"] == 0
    assert said["routes"] == [
        {
            "images": "Developer images",
            "links": {"a client to the repository": "not looked at", "the repository to cgr.dev": "made"},
        }
    ]


def test_the_verb_says_what_it_looked_for_when_there_is_no_such_run(tmp_path: Path):
    for words in ((), ("2026",)):
        said = verb(tmp_path, *words)
        assert said.returncode == 2
        assert "There is no run" in said.stderr
    a_run(tmp_path / "runs" / "2026-a")
    a_run(tmp_path / "runs" / "2026-b")
    assert "2 runs begin with 2026" in verb(tmp_path, "2026").stderr
