"""The probe on the sandbox: it finds the same twice, leaves nothing behind however it ends, and writes down nobody."""

from __future__ import annotations

import io
import json
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cgrunbook.cloud import Cloud, connect
from cgrunbook.cloud.chainctl import Chainctl
from cgrunbook.cloud.credentials import TokenFile
from cgrunbook.errors import Temporary
from cgrunbook.sandbox import process
from tests.misfortunes import change_policy
from tests.probe import __main__ as probe
from tests.probe import sending, walking
from tests.probe.sending import Answer, Sender
from tests.probe.taking_away import books
from tests.probe.walk import LABEL, WALK, Call
from tests.probe.words import Words
from tests.sandboxes import chainctl_without_a_process, sandbox_home
from tests.test_canary import spellings

_ROOT = Path(__file__).parents[2]

# Of the sandbox's tables those with what somebody can make; operations and the service agent stay at Google too.
_TABLES = {
    "repository", "secret", "secret_version", "enabled_service", "access_token", "vpcsc_config", "cg_identity", "cg_binding",
    "cached_blob", "cached_manifest", "cached_tag", "cached_tag_list",
}  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with sandbox_home(tmp_path_factory.mktemp("cgrunbook")) as home, chainctl_without_a_process():
        # What is there from the first call on is there.
        cloud = Cloud(connect("sandbox"))
        assert cloud.chainctl.list_pull_tokens("example.com") == ()
        assert not cloud.project.api_enabled("artifactregistry.googleapis.com")
        yield home


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch, tmp_path):
    monkeypatch.setattr(walking, "_PATIENCE", 0)
    monkeypatch.setattr(sending, "_PAUSES", (0.0, 0.0))
    monkeypatch.chdir(tmp_path)


def world(home: Path) -> dict[str, list[str]]:
    """All that there is, and the books that were not closed."""
    with closing(sqlite3.connect(home / "sandbox" / "state.db")) as state:
        there = {row[0] for row in state.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        found = {name: sorted(map(str, state.execute(f"SELECT * FROM {name}"))) for name in there & _TABLES}
        # The project's own policy has a grant that comes with the service agent.
        found["policy"] = sorted(map(str, state.execute("SELECT * FROM policy WHERE resource LIKE '%/%/%'")))
    found["books"] = sorted(path.name for path in (home / "sandbox").glob("probe*"))
    return {name: rows for name, rows in found.items() if rows}


def walk(*words: str) -> int:
    return probe.main(["--target", "sandbox", *words])


class Killed(BaseException):
    """What a killed process does from then on: nothing."""


def shortened(monkeypatch: pytest.MonkeyPatch, wanted: Callable[[Call], bool]) -> None:
    monkeypatch.setattr(probe, "WALK", [call for call in WALK if wanted(call)])


def makes(call: Call) -> bool:
    return bool(call.makes) or call.name.endswith("-is-on")


def recorded(patch: pytest.MonkeyPatch) -> list[str]:
    """The requests, and what is run, as they go out."""
    found: list[str] = []
    once, chainctl = Sender._once, Chainctl._run

    def send(self, method, host, path, *rest):
        found.append(f"{method} {host} {path}")
        return once(self, method, host, path, *rest)

    def run(self, words, **more):
        found.append(f"chainctl {' '.join(words)}")
        return chainctl(self, words, **more)

    patch.setattr(Sender, "_once", send)
    patch.setattr(Chainctl, "_run", run)
    return found


@pytest.fixture
def sent(monkeypatch) -> list[str]:
    return recorded(monkeypatch)


# --- a walk from its beginning to its end ---------------------------------------------------------------------------------


def test_two_walks_find_no_difference_leave_nothing_behind_and_write_down_no_secret_and_nobody(
    home, capsys, monkeypatch
):
    secrets = [connect("sandbox").credentials.token or (home / "sandbox" / "access-token").read_text().strip()]
    answered = Sender.chainctl

    def chainctl(self, words):
        answer = answered(self, words)
        if answer.pull_token is not None:
            secrets.extend([answer.pull_token.password.reveal(), answer.pull_token.username])
        return answer

    monkeypatch.setattr(Sender, "chainctl", chainctl)
    before = world(home)
    assert walk() == 0
    assert world(home) == before
    said = capsys.readouterr()
    assert (said.out, f"{len(WALK)} of {len(WALK)} calls were asked." in said.err) == ("probe-sandbox.json\n", True)

    assert walk() == 0
    assert world(home) == before
    capsys.readouterr()
    assert probe.main(["--compare", "probe-sandbox.json", "probe-sandbox-2.json"]) == 0
    assert capsys.readouterr().out == f"No difference in {len(WALK)} calls.\n"

    written = Path("probe-sandbox.json").read_bytes().replace(b"0" * 64, b"")
    assert len(secrets) >= 5
    assert [form for value in secrets for form in spellings(value) if form in written] == []
    text = written.decode()
    for somebodys in (
        "cgrunbook-sandbox",
        "123456789012",
        "trainee",
        "example.com",
        "us-central1",
        "127.0.0.1",
        "eyJ",
        "ya29",
    ):
        assert somebodys not in text
    assert not re.search(r"\d{4}-\d\d-\d\d|\d\d:\d\d:|[0-9a-f]{12}|\d+\.\d+\.\d+\.\d+|(?<!NUMBER)@(?!type)", text)
    calls = {entry["call"]: entry for entry in json.loads(text)["calls"]}
    assert [name for name, entry in calls.items() if "nothing brought" in entry.get("not asked", "")] == []
    # A status, a shape and a sentence are there all the same.
    assert calls["token"]["body"] == {
        "access_token": "a text",
        "expires_in": "a number",
        "issued_at": "a time",
        "token": "a text",
    }
    assert calls["create-with-refused-credentials"]["status"] == 400
    assert (
        "your upstream credentials are invalid" in calls["create-with-refused-credentials"]["body"]["error"]["message"]
    )


def test_a_difference_is_shown_by_the_calls_name(tmp_path, capsys):
    one, other = tmp_path / "one.json", tmp_path / "other.json"
    entry = {"call": "blob", "request": "GET docker /v2/...", "status": 200}
    one.write_text(
        json.dumps(
            {"calls": [entry, {"call": "push", "request": "POST", "status": 403}], "seconds": {"blob": "about 2"}}
        )
    )
    other.write_text(
        json.dumps({"calls": [entry | {"status": 302}, {"call": "push", "not asked": "there was no need"}]})
    )
    assert probe.main(["--compare", str(one), str(other)]) == 1
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "blob: GET docker /v2/..."
    assert {'  - "status": 200', '  + "status": 302', "push: POST", "  second file: there was no need"} <= set(shown)
    assert probe.main(["--compare", str(one), str(one)]) == 0


@pytest.mark.parametrize("content", ["", "[]", '{"calls": [1]}', "\x00"])
def test_what_is_no_file_of_the_probes_is_not_compared(tmp_path, capsys, content):
    (tmp_path / "x").write_text(content)
    assert probe.main(["--compare", str(tmp_path / "x"), str(tmp_path / "x")]) == 2
    assert "no file of the probe's" in capsys.readouterr().err


# --- however it ends -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def requests(home, tmp_path_factory) -> list[str]:
    """What a walk of all that makes something sends, from its first request to its last."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("undisturbed"))
        shortened(patch, makes)
        patch.setattr(walking, "_PATIENCE", 0)
        found = recorded(patch)
        assert walk() == 0
    return found


def interrupted(monkeypatch: pytest.MonkeyPatch, number: int, happen: Callable[[], object]) -> None:
    """Let something happen when the request of a number has arrived, and before each one after it."""
    once, chainctl, count = Sender._once, Chainctl._run, [0]

    def at(call: Callable[[], Any]) -> Any:
        count[0] += 1
        if count[0] > number:
            happen()
        answer = call()
        if count[0] == number:
            happen()
        return answer

    monkeypatch.setattr(Sender, "_once", lambda self, *request: at(lambda: once(self, *request)))
    monkeypatch.setattr(Chainctl, "_run", lambda self, words, **more: at(lambda: chainctl(self, words, **more)))


def only_once(happen: Callable[[], object]) -> Callable[[], None]:
    happened: list[bool] = []

    def first() -> None:
        if not happened:
            happened.append(True)
            happen()

    return first


def raises(error: BaseException) -> Callable[[], None]:
    def happen() -> None:
        raise error

    return happen


def killed_and_swept(home: Path, patch: pytest.MonkeyPatch, number: int) -> bool:
    """Kill a walk when a request has arrived; whether the next start has left the world as it was."""
    before = world(home)
    with patch.context() as killing:
        shortened(killing, makes)
        interrupted(killing, number, raises(Killed()))
        with pytest.raises(Killed):
            walk()
    with patch.context() as sweeping:
        shortened(sweeping, lambda _call: False)
        assert walk() == 0
    return world(home) == before


def test_what_a_killed_walk_left_is_swept_by_the_next_start(home, requests, monkeypatch):
    writes = [number for number, request in enumerate(requests, 1) if not request.startswith("GET")]
    assert len(writes) > 20
    for number in writes[::9]:
        assert killed_and_swept(home, monkeypatch, number), requests[number - 1]


@pytest.mark.long
def test_what_a_walk_killed_at_any_call_left_is_swept_by_the_next_start(home, requests, monkeypatch):
    for number, request in enumerate(requests, 1):
        assert killed_and_swept(home, monkeypatch, number), request


@pytest.mark.long
def test_a_process_that_was_killed_is_swept_too(home, tmp_path):
    before = world(home)
    command = [sys.executable, "-m", "tests.probe", "--target", "sandbox"]
    with subprocess.Popen(command, cwd=_ROOT, stderr=subprocess.PIPE, text=True) as killed:
        assert killed.stderr is not None
        assert any("create-secret" in line for line in killed.stderr)
        killed.send_signal(signal.SIGKILL)
    assert world(home) != before
    assert walk() == 0
    assert world(home) == before
    assert not list(_ROOT.glob("probe-*"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda one: one.name)
def test_a_walk_that_is_stopped_takes_away_what_it_made_and_writes_what_it_heard(
    home, requests, monkeypatch, capsys, number
):
    before = world(home)
    shortened(monkeypatch, makes)
    at = next(count for count, request in enumerate(requests, 1) if "secrets?secretId" in request)
    interrupted(monkeypatch, at, only_once(lambda: signal.raise_signal(number)))
    assert walk() == 130
    assert world(home) == before
    assert "taken away: secret" in capsys.readouterr().err
    told = json.loads(Path("probe-sandbox.json").read_text())
    assert told["ended"].startswith("Stopped before")
    assert "What to do" not in told["ended"]
    assert told["calls"][-1]["call"] == "create-secret"


def test_a_second_signal_ends_at_once_and_the_next_start_sweeps(home, requests, monkeypatch, capsys):
    before = world(home)
    at = next(count for count, request in enumerate(requests, 1) if "secrets?secretId" in request)
    with monkeypatch.context() as stopping:
        shortened(stopping, makes)
        interrupted(stopping, at, lambda: signal.raise_signal(signal.SIGINT))
        assert walk() == 130
    assert "taken away by the next start" in capsys.readouterr().err
    assert list(Path().iterdir()) == []
    shortened(monkeypatch, lambda _call: False)
    assert walk() == 0
    assert world(home) == before


@pytest.mark.parametrize(
    "which", ["repositoryId", "secretId", "pull-token create", "DELETE artifactregistry", "operations"]
)
def test_a_call_that_gets_no_answer_ends_the_walk_and_all_is_taken_away(home, requests, monkeypatch, capsys, which):
    before = world(home)
    shortened(monkeypatch, makes)
    at = next(count for count, request in enumerate(requests, 1) if which in request)
    interrupted(monkeypatch, at, only_once(raises(Temporary("artifactregistry did not answer POST: ConnectionError."))))
    tried_again = which in ("DELETE artifactregistry", "operations")
    assert walk() == (0 if tried_again else 1)
    assert world(home) == before
    assert ("did not answer" in capsys.readouterr().err) != tried_again
    assert json.loads(Path("probe-sandbox.json").read_text())["calls"]


def test_what_cannot_be_taken_away_is_named_and_tried_again_by_the_next_start(home, monkeypatch, capsys):
    before = world(home)
    once = Sender._once
    with monkeypatch.context() as refusing:
        shortened(refusing, makes)
        refused = Answer(403, {}, {"error": {"message": "Permission denied."}})
        refusing.setattr(
            Sender,
            "_once",
            lambda self, method, *rest: (
                refused if method == "DELETE" and rest[0] == "secretmanager" else once(self, method, *rest)
            ),
        )
        assert walk() == 1
    said = capsys.readouterr().err
    assert re.search(rf"Still there: secret {LABEL}-\w+: 403 Permission denied\.", said)
    shortened(monkeypatch, lambda _call: False)
    assert walk() == 0
    assert world(home) == before


@pytest.mark.parametrize(
    "book",
    [
        "[",
        "[1]",
        '{"project": "cgrunbook-sandbox"}',
        '{"project": "another", "made": ["secret cgrunbook-probe-1"]}',
        '{"project": "cgrunbook-sandbox", "made": ["repository us-central1/chainguard-pull-through"]}',
        '{"project": "cgrunbook-sandbox", "made": ["pull-tokens example.com/"]}',
        '{"project": "cgrunbook-sandbox", "made": ["secret chainguard-pull-token", "secret cgrunbook-probe-1"]}',
        '{"project": "cgrunbook-sandbox", "made": ["api serviceusage.googleapis.com"]}',
        '{"project": "cgrunbook-sandbox", "made": [4]}',
    ],
)
def test_nothing_is_taken_away_by_a_book_that_is_no_probes(home, sent, monkeypatch, book):
    shortened(monkeypatch, lambda _call: False)
    folder = home / "sandbox" / "probe"
    folder.mkdir()
    (folder / "0.json").write_text(book)
    assert walk() == 0
    assert [request for request in sent if request != "chainctl auth status -o json"] == []
    assert (folder / "0.json").read_text() == book
    (folder / "0.json").unlink()
    folder.rmdir()


def test_a_second_walk_in_the_project_at_the_same_time_asks_nothing(home, sent, capsys):
    with books(connect("sandbox")):
        assert walk() == 1
    assert "Another walk is under way in the project" in capsys.readouterr().err
    assert sent == []


# --- who may, and who is asked -----------------------------------------------------------------------------------------------


@pytest.fixture
def somebody(home, tmp_path, monkeypatch) -> Callable[..., None]:
    """Who walks: somebody with these roles in the project."""

    def become(*roles: str) -> None:
        member = f"user:{'-'.join(role.rpartition('/')[2].lower() for role in roles)}@example.com"
        change_policy(
            Cloud(connect("sandbox")), lambda all_: [*all_, *({"role": role, "members": [member]} for role in roles)]
        )
        (tmp_path / "token").write_text(process.access_token(member))
        theirs = replace(connect("sandbox"), credentials=TokenFile(tmp_path / "token"))
        monkeypatch.setattr(probe, "connect", lambda *_names, **_given: theirs)

    return become


_APIS = ("artifactregistry.googleapis.com", "secretmanager.googleapis.com")
_LEAST = ("roles/artifactregistry.admin", "roles/secretmanager.admin")


def test_rights_that_are_missing_are_named_before_anything_is_asked(home, somebody, capsys, sent):
    somebody("roles/artifactregistry.admin")
    before = world(home)
    assert walk() == 3
    said = capsys.readouterr().err
    assert "would lack secretmanager.secrets.create" in said
    assert "Ask for roles/secretmanager.admin there" in said
    assert sent == []
    assert world(home) == before
    assert list(Path().glob("probe*")) == []


def test_whoever_may_not_turn_an_api_on_is_told_so_and_leaves_nothing(home, somebody, capsys):
    somebody(*_LEAST)
    before = world(home)
    assert walk() == 3
    said = capsys.readouterr().err
    assert "artifact-registry-turned-on was refused with 403" in said
    assert "roles/serviceusage.serviceUsageAdmin where one of the two APIs is off" in said
    assert world(home) == before


def test_the_least_roles_are_enough_where_the_apis_are_on_and_they_stay_on(home, somebody, monkeypatch):
    shortened(monkeypatch, lambda call: call.request.split()[1] not in ("docker", "cgr", "chainctl"))
    owner = Cloud(connect("sandbox"))
    for api in _APIS:
        owner.project.enable_api(api)
    try:
        somebody(*_LEAST)
        before = world(home)
        assert walk() == 0
        assert world(home) == before
        calls = {entry["call"]: entry for entry in json.loads(Path("probe-sandbox.json").read_text())["calls"]}
        assert calls["artifact-registry-turned-on"]["not asked"] == "there was no need"
        assert calls["delete-what-others-serve-from"]["status"] == 200
    finally:
        for api in _APIS:
            Sender(owner).send(
                "POST", "serviceusage", f"/v1/projects/cgrunbook-sandbox/services/{api}:disable", body={}
            )


@pytest.mark.parametrize("typed", ["no\n", "", "y\n", "yes please\n"])
def test_in_a_real_project_nothing_is_asked_without_a_yes(home, monkeypatch, capsys, sent, typed):
    monkeypatch.setattr(probe, "connect", lambda *_names, **_given: replace(connect("sandbox"), target="google-cloud"))
    stdin = io.StringIO(typed)
    monkeypatch.setattr(stdin, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdin", stdin)
    assert probe.main(["--target", "google-cloud"]) == 130
    said = capsys.readouterr().err
    for told in (
        "in the project cgrunbook-sandbox",
        "as user:trainee@example.com",
        "three pull tokens of example.com",
        "less than a cent",
    ):
        assert told in said
    assert sent == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-p", "repository", "x"], "no parameter repository"),
        (["-p", "location", "nowhere"], "plays no nowhere-docker.pkg.dev"),
        (["--output", "/no-such-folder/x.json"], "Choose another place with --output"),
    ],
)
def test_bad_words_are_refused_before_anything_is_asked(home, capsys, sent, words, said):
    assert walk(*words) == 2
    assert said in capsys.readouterr().err
    assert sent == []


# --- what is written down ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("Permission denied for ada.lovelace+x@corp.example.org on my-project-1", "Permission denied for ACCOUNT on PROJECT"),
        ("projects%2Fmy-project-1%2Fsecrets", "projects%2FPROJECT%2Fsecrets"),
        ("projects/4711/secrets/s and projects/some-others", "projects/ANOTHER/secrets/s and projects/ANOTHER"),
        ("service-998877665544@gcp-sa-a.iam.gserviceaccount.com", "service-NUMBER@gcp-sa-a.iam.gserviceaccount.com"),
        ("robot@my-project-1.iam.gserviceaccount.com", "ACCOUNT"),
        ("principal://iam.googleapis.com/projects/1/locations/global/p/subject/s said no", "PRINCIPAL said no"),
        ("from 10.1.2.3:443 and 2001:db8::1:2:3 at 2026-11-27T10:11:12.123456Z", "from ADDRESS and ADDRESS at TIME"),
        ("uniqueIdentifier: GxYz0aB3dEfGhIjKlMnOpQrStUvWx", "uniqueIdentifier: ID"),
        ("trace 5f2c7e1a-0b1c-4d5e-8f90-123456789abc, 0123456789abcdef", "trace ID, ID"),
        ("operations/p6-1f2-abc", "operations/ID"),
        ("Bearer ya29.a0AfB_byExampleOfATokenThatNobodyHas", "Bearer [redacted]"),
        ("the digest sha256:" + "0a" * 32, "the digest DIGEST"),
        ("constraints/custom.noRemotesAtAcme in servicePerimeters/acme", "constraints/custom.ANOTHER in servicePerimeters/ANOTHER"),
        ("at \x1b[31mred", "at \\u001b[31mred"),
    ],
)  # fmt: skip
def test_nobody_is_found_in_what_is_written_down(text, written):
    assert Words({"my-project-1": "PROJECT"}).text(text) == written


def test_a_text_of_a_field_that_is_not_known_is_written_as_its_kind():
    body = {"displayName": "The payroll of Ada", "labels": {"team": "Payroll"}, "state": "ACTIVE", "size": 4711}
    assert Words({}).shape(body) == {
        "displayName": "a text",
        "labels": {"team": "a text"},
        "size": "a number",
        "state": "ACTIVE",
    }


def test_a_header_is_written_down_by_name_only_where_it_tells_of_quotas_and_without_the_path_where_it_is_a_link():
    headers = {
        "x-ratelimit-remaining": "7",
        "server": "secret-box",
        "location": "https://blobs.example.com/a/b?sig=x",
        "date": "now",
    }
    assert Words({}).answer(Answer(307, headers, None), "texts")["headers"] == {
        "location": "https://blobs.example.com/...",
        "x-ratelimit-remaining": "there",
    }


# --- what it is for -------------------------------------------------------------------------------------------------------------

# Calls that are there for those after them.
_ON_THE_WAY = {
    "project", "service-in-part", "artifact-registry-is-on", "secret-manager-is-on", "perimeter", "create-public-again",
    "ask-without-the-body", "pull-a-manifest", "create-secret", "add-a-password", "create-private",
    "change-to-a-number", "name-a-version", "disable-the-version", "create-virtual", "virtual-as-it-is-read",
    "create-behind", "pull-through-two", "pull-token", "pull-token-that-ends", "pull-tokens",
    "cgr-token-of-a-pull-token", "add-a-pull-token", "change-to-a-pull-token", "pull-with-a-pull-token",
    "revoke-the-pull-token",
}  # fmt: skip
_OPEN = re.compile(r"not documented|(?:exact text|two the|real)\b[^.]{,90} not known|words of the refusal are not")


def open_questions() -> list[list[str]]:
    """The cells of each line of the documents' table."""
    text = (_ROOT / "docs" / "services.md").read_text().split("## Open questions")[1]
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row] for row in rows[1:]]


def test_each_open_question_has_a_call_and_each_call_is_about_one():
    asked: set[str] = set()
    for question, *_, calls in open_questions():
        named = set(re.findall("`([^`]+)`", calls))
        assert named, question
        assert named <= {call.name for call in WALK}, question
        asked |= named
    assert {call.name for call in WALK} - asked == _ON_THE_WAY


def test_calls_have_names_of_their_own():
    assert len({call.name for call in WALK}) == len(WALK)


def test_each_file_that_says_that_nobody_knows_is_where_an_open_question_is():
    listed = {path for row in open_questions() for path in re.findall("`([^`]+)`", row[2])}
    saying = {
        path.relative_to(_ROOT / "cgrunbook").as_posix()
        for path in (_ROOT / "cgrunbook").rglob("*.py")
        if _OPEN.search(" ".join(path.read_text().split()))
    }
    assert len(saying) >= 7
    assert saying - listed == set()


def test_of_a_page_the_title_is_kept_and_of_a_text_all():
    assert (
        Words({}).answer(Answer(404, {}, "<html><title>Error 404</title><p>Acme's proxy"), "texts")["text"]
        == "Error 404"
    )
    assert Words({}).answer(Answer(403, {}, "<HTML><p>Acme's proxy"), "texts")["text"] == "a page"
    assert Words({}).answer(Answer(405, {}, "method not allowed"), "texts")["text"] == "method not allowed"
