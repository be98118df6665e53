"""The chainctl stand-in, run as a command: by its launcher where that matters, as a function for what it says."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from datetime import timedelta
from unittest.mock import patch

import httpx
import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgrunbook.sandbox.chainctl import __main__ as command
from cgrunbook.sandbox.chainctl.flags import Failure, go_duration
from cgrunbook.sandbox.chainguard.organizations import Organizations, group_id
from cgrunbook.sandbox.context import Sandbox
from cgrunbook.sandbox.settings import Settings
from cgrunbook.sandbox.state import State
from tests.sandboxes import one_key

ORGANIZATION = group_id("example.com")


def environment_of(folder):
    return {"PATH": os.environ["PATH"], "HOME": str(folder), "DOCKER_CONFIG": str(folder / "docker")}


@pytest.fixture
def launcher(sandbox, tmp_path):
    def run(*words):
        return subprocess.run(
            [str(sandbox.bin / "chainctl"), *words],
            capture_output=True,
            text=True,
            env=environment_of(tmp_path),
            stdin=subprocess.DEVNULL,
            check=False,
        )

    return run


@pytest.fixture
def chainctl(sandbox, tmp_path):
    """The same without a process of its own, and with one key for all tokens: finding one takes a second."""

    def run(*words, **environment):
        given = environment_of(tmp_path) | {"CGRUNBOOK_HOME": str(sandbox.home)} | environment
        output, said = io.StringIO(), io.StringIO()
        with (
            one_key(),
            patch.dict(os.environ, given, clear=True),
            patch.object(sys, "stdin", io.StringIO()),
            redirect_stdout(output),
            redirect_stderr(said),
        ):
            code = command.main(words)
        return subprocess.CompletedProcess(words, code, output.getvalue(), said.getvalue())

    return run


@pytest.fixture
def inside(sandbox):
    state = State(sandbox.folder / "state.db")
    yield Sandbox(Settings(home=sandbox.folder), state, sandbox.hosts)
    state.close()


def made(done):
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def token_answer(sandbox, pair):
    url = f"http://{sandbox.hosts['cgr.dev']}/token"
    query = {"scope": "repository:example.com/chainguard-base:pull"}
    return httpx.get(url, params=query, auth=(pair["identity_id"], pair["token"]), trust_env=False).status_code


def test_a_pull_token_is_made_as_documented_and_works(launcher, sandbox):
    done = launcher(
        "auth", "pull-token", "create", "--parent", "example.com", "--name", "runbook", "--ttl", "48h", "-o", "json"
    )
    pair = made(done)
    assert list(pair) == ["identity_id", "token"]
    assert done.stdout.count("\n") == 1
    assert re.fullmatch(r"[0-9a-f]{40}/[0-9a-f]{16}", pair["identity_id"])
    header, _, signature = pair["token"].split(".")
    assert json.loads(base64.urlsafe_b64decode(header + "==")) == {"alg": "RS256"}
    assert len(base64.urlsafe_b64decode(signature + "==")) == 512
    claims = jwt.decode(pair["token"], options={"verify_signature": False})
    assert claims.keys() == {"iss", "aud", "sub", "iat", "exp"}
    assert claims["iss"] == "https://pulltoken.issuer.chainguard.dev"
    assert claims["aud"] == "https://issuer.enforce.dev"
    assert claims["sub"].startswith("pull-token-")
    assert claims["exp"] - claims["iat"] == 48 * 3600 - 1
    assert token_answer(sandbox, pair) == 200


def test_a_reader_that_has_read_enough_is_no_error(sandbox):
    reader, writer = os.pipe()
    os.close(reader)
    words = [sandbox.bin / "chainctl", "auth", "status"]
    done = subprocess.run(words, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


def test_each_token_has_a_user_name_of_its_own_and_a_suffixed_name(chainctl):
    pairs = [made(chainctl("auth", "pull-token", "--name", "two", "-o", "json")) for _ in range(2)]
    assert pairs[0]["identity_id"] != pairs[1]["identity_id"]
    listed = made(chainctl("auth", "pull-token", "list", "-o", "json"))["items"]
    assert [item["name"] for item in listed] == ["two - registry"] * 2
    assert {item["id"] for item in listed} == {pair["identity_id"] for pair in pairs}


def test_only_the_public_key_leaves_the_command(chainctl):
    chainctl("auth", "pull-token", "-o", "json")
    (item,) = made(
        chainctl("iam", "identities", "list", "--parent", "example.com", "--type", "pull_token", "-o", "json")
    )["items"]
    (key,) = json.loads(item["static"]["issuerKeys"])["keys"]
    assert key["kty"] == "RSA"
    assert not {"d", "p", "q", "dp", "dq", "qi"} & key.keys()


def test_the_default_output_is_a_docker_login_line(chainctl):
    for words in (
        ["auth", "pull-token", "create"],
        ["auth", "configure-docker", "--pull-token", "--parent", "example.com"],
        ["auth", "configure", "docker", "--pull-token", "--parent", "example.com"],
    ):
        done = chainctl(*words)
        pattern = r'    docker login "cgr\.dev" --username "[0-9a-f]{40}/[0-9a-f]{16}" --password "[\w.-]+"\n'
        assert re.search(pattern, done.stdout), done.stdout
        assert done.stdout.startswith("To use this pull token in another environment, run this command:\n\n")


def test_env_and_unknown_outputs(chainctl):
    assert re.fullmatch(
        r"export CHAINGUARD_IDENTITY_ID=\S+\nexport CHAINGUARD_TOKEN=\S+\n",
        chainctl("auth", "pull-token", "-o", "env").stdout,
    )
    done = chainctl("auth", "pull-token", "-o", "csv")
    assert done.returncode == 0
    assert '"csv" is not a supported output. Supported: [ env json]. Using print to command line' in done.stderr
    assert "docker login" in done.stdout
    assert len(made(chainctl("auth", "pull-token", "list", "-o", "json"))["items"]) == 2


def test_save_writes_dockers_configuration_and_keeps_what_is_there(chainctl, sandbox, tmp_path):
    config = tmp_path / "docker" / "config.json"
    config.parent.mkdir()
    config.write_text('{"auths": {"other.example": {"auth": "eDp5"}}, "psFormat": "x"}')
    pair = made(chainctl("auth", "pull-token", "--save", "-o", "json"))
    document = json.loads(config.read_text())
    assert document["psFormat"] == "x"
    assert document["auths"]["other.example"] == {"auth": "eDp5"}
    saved = base64.b64decode(document["auths"][sandbox.hosts["cgr.dev"]]["auth"]).decode()
    assert saved == f"{pair['identity_id']}:{pair['token']}"
    assert config.stat().st_mode & 0o777 == 0o600


def test_a_broken_docker_configuration_is_left_alone(chainctl, tmp_path):
    config = tmp_path / "docker" / "config.json"
    config.parent.mkdir()
    config.write_text("{ broken")
    assert chainctl("auth", "configure-docker").returncode == 1
    assert config.read_text() == "{ broken"


def test_configure_docker_installs_a_credential_helper(chainctl, sandbox, tmp_path):
    assert chainctl("auth", "configure-docker").returncode == 0
    host = sandbox.hosts["cgr.dev"]
    assert json.loads((tmp_path / "docker" / "config.json").read_text())["credHelpers"] == {host: "cgr"}
    helper = subprocess.run(
        [str(sandbox.bin / "docker-credential-cgr"), "get"],
        input=f"{host}\n",
        capture_output=True,
        text=True,
        check=True,
    )
    answer = json.loads(helper.stdout)
    assert answer["Username"] == "_token"
    pair = {"identity_id": "_token", "token": answer["Secret"]}
    assert token_answer(sandbox, pair) == 200


def test_a_token_is_revoked_by_deleting_its_identity(chainctl, sandbox):
    pair = made(chainctl("auth", "pull-token", "-o", "json"))
    refused = chainctl("iam", "identities", "delete", pair["identity_id"])
    assert refused.returncode == 1
    assert token_answer(sandbox, pair) == 200
    assert chainctl("iam", "identity", "rm", pair["identity_id"], "--parent", "example.com", "-y").returncode == 0
    assert token_answer(sandbox, pair) == 403
    assert made(chainctl("auth", "pull-tokens", "ls", "-o", "json")) == {}


def test_expired_tokens_are_found_and_deleted_together(chainctl, inside):
    chainctl("auth", "pull-token", "--ttl", "1h", "--name", "short")
    chainctl("auth", "pull-token", "--ttl", "30h", "--name", "long")
    assert made(chainctl("auth", "pull-token", "list", "--expired", "-o", "json")) == {}
    inside.clock.advance(timedelta(hours=2))
    expired = made(chainctl("iam", "ids", "list", "--parent=example.com", "--expired", "-o", "json"))["items"]
    assert [item["name"] for item in expired] == ["short - registry"]
    by_name = made(chainctl("iam", "ids", "list", "--parent=example.com", "--name", "long - registry", "-o", "json"))
    assert len(by_name["items"]) == 1
    assert chainctl("iam", "identities", "delete", "--expired", "--parent", "example.com", "--yes").returncode == 0
    left = made(chainctl("auth", "pull-token", "list", "-o", "json"))["items"]
    assert [item["name"] for item in left] == ["long - registry"]


def test_a_token_of_a_moved_clock_is_valid_from_then(chainctl, sandbox, inside):
    inside.clock.advance(timedelta(days=40))
    assert token_answer(sandbox, made(chainctl("auth", "pull-token", "--ttl", "1h", "-o", "json"))) == 200


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--ttl", "30d"], 'invalid argument "30d" for "--ttl" flag: time: unknown unit "d" in duration "30d"'),
        (["--ttl", "30"], 'time: missing unit in duration "30"'),
        (["--ttl", "8761h"], "exceeds the maximum of 8760h"),
        (["--ttl", "0"], "must be in the future"),
        (["--parent", "no-such-org"], 'No folder found for "no-such-org"'),
        (["--name", "Upper"], "name must match"),
        (["--repository", "nonsense"], 'invalid repository type "nonsense"'),
        (["--bogus"], "unknown flag: --bogus"),
        (["extra"], 'unknown command "extra"'),
        (["--ttl"], "flag needs an argument: --ttl"),
        (["--save=maybe"], "invalid argument"),
    ],
)
def test_what_is_wrong_is_said_and_no_token_is_made(chainctl, words, message):
    done = chainctl("auth", "pull-token", "create", *words)
    assert (done.returncode, done.stdout) == (1, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert made(chainctl("auth", "pull-token", "list", "-o", "json")) == {}


def test_logged_out_everything_ends_with_one_clear_line(chainctl):
    assert chainctl("auth", "status").returncode == 0
    assert chainctl("auth", "logout").returncode == 0
    for words in (
        ["auth", "status"],
        ["auth", "status", "--quick"],
        ["auth", "pull-token", "-o", "json"],
        ["iam", "orgs", "ls"],
    ):
        done = chainctl(*words)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == 'Error: not logged in; run "chainctl auth login"\n'
    done = chainctl("auth", "login", "--headless")
    assert done.returncode == 0
    assert "https://issuer.enforce.dev/oauth?headless_code=" in done.stderr
    assert chainctl("auth", "status", "--quick").returncode == 0


def test_status_names_identity_and_roles(chainctl, inside):
    status = made(chainctl("auth", "status", "-o", "json"))
    assert status["email"] == "trainee@example.com"
    assert status["capabilities"] == {"example.com": "owner"}
    assert re.fullmatch("[0-9a-f]{40}", status["identity"])
    assert re.search(r"Valid +\| True", chainctl("auth", "status").stdout)
    Organizations(inside).set_role("viewer")
    assert made(chainctl("auth", "status", "-o", "json"))["capabilities"] == {"example.com": "viewer"}
    assert "does not have the required capabilities" in chainctl("auth", "pull-token").stderr


def test_lists_have_the_documented_keys(chainctl):
    (organization,) = made(chainctl("iam", "organizations", "list", "-o", "json"))["items"]
    assert (organization["name"], organization["id"]) == ("example.com", ORGANIZATION)
    assert chainctl("iam", "organizations", "list").stdout.startswith("[example.com] ")
    repositories = made(chainctl("images", "repos", "list", "--parent", "example.com", "-o", "json"))["items"]
    assert {item["name"]: "latest" in item["activeTags"] for item in repositories} == {
        "chainguard-base": True,
        "go-fips": True,
    }
    tags = made(chainctl("images", "tags", "list", "--parent", "example.com", "--repo", "go-fips", "-o", "json"))[
        "items"
    ]
    assert {"1.25", "1.25-dev", "latest"} <= {tag["name"] for tag in tags}


def test_an_unknown_organisation_is_an_error_in_json_where_json_was_asked(chainctl):
    done = chainctl("auth", "pull-token", "--parent", "nowhere", "-o", "json")
    assert json.loads(done.stderr) == {"message": 'No folder found for "nowhere"', "code": 4}


def test_the_edition_of_2024_knows_configure_docker_only(chainctl):
    old = {"CGRUNBOOK_SANDBOX_CHAINCTL_EDITION": "2024"}
    done = chainctl("auth", "pull-token", "create", **old)
    assert done.returncode == 1
    assert 'unknown command "pull-token" for "chainctl auth"' in done.stderr
    spelled = chainctl("auth", "configure", "docker", **old)
    assert 'unknown command "configure" for "chainctl auth"' in spelled.stderr
    assert "docker login" in chainctl("auth", "configure-docker", "--pull-token", **old).stdout


def test_version_token_help_and_diagnostics(chainctl, sandbox):
    assert re.search(r"GitVersion: +v\d+\.\d+\.\d+", chainctl("version").stdout)
    token = chainctl("auth", "token", "--audience", "cgr.dev").stdout.strip()
    assert token_answer(sandbox, {"identity_id": "_token", "token": token}) == 200
    assert "chainctl auth pull-token create" in chainctl("auth", "--help").stdout
    assert "cgr.dev: reachable" in chainctl("config", "validate").stdout
    assert 'unknown command "bogus" for "chainctl"' in chainctl("bogus").stderr


def test_without_a_sandbox_it_says_how_to_start_one(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CGRUNBOOK_HOME", str(tmp_path))
    assert command.main(["auth", "status"]) == 1
    assert capsys.readouterr().err == "Error: the sandbox is not running; start it with: cgrunbook sandbox start\n"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("720h0m0s", 2592000),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("300ms", 0.3),
        ("0", 0),
        ("-2m", -120),
        ("+1s", 1),
        (".5s", 0.5),
    ],
)
def test_durations_are_gos(text, seconds):
    assert go_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "h", "1", "1d", "1h2", "1 h", "abc", ".h", "1..5h", "--1h", "1h-2m"])
def test_what_go_does_not_take_is_refused(text):
    with pytest.raises(Failure, match="time: "):
        go_duration(text)


@given(st.text(max_size=12))
def test_no_text_breaks_the_duration_reader(text):
    try:
        assert isinstance(go_duration(text), timedelta)
    except Failure as failure:
        assert "time: " in str(failure)  # noqa: PT017 - either is right, nothing else is
