"""Running chainctl: today's version, older ones, and one that misbehaves."""

from __future__ import annotations

import os
import signal
import subprocess
import threading

import pytest

from cgrunbook.cloud import command
from cgrunbook.cloud.attempts import Attempts
from cgrunbook.cloud.chainctl import Chainctl
from cgrunbook.errors import (
    ChainctlFailed,
    ChainctlMissing,
    ChainctlSignedOut,
    Interrupted,
    PermissionMissing,
    Temporary,
)
from tests.waiting import wait_for


@pytest.fixture
def token(username, make_jwt):
    return {"identity_id": username, "token": make_jwt()}


def test_a_token_is_created_with_the_documented_command(fake, chainctl, token):
    fake.answer("pull-token", "create", out=token)
    made = chainctl().create_pull_token("example.com", "cgrunbook one", "720h", "for a repository")
    assert (made.username, made.password.reveal()) == (token["identity_id"], token["token"])
    (command,) = fake.commands
    assert command.startswith("auth pull-token create --parent example.com --name cgrunbook one --ttl 720h -o json")
    assert command.endswith("--description for a repository")


def test_it_gets_no_input_and_is_told_not_to_log_in_by_surprise(fake, chainctl, token):
    fake.answer("create", out=token)
    chainctl(CHAINGUARD_DEFAULT_SKIP_AUTO_LOGIN="false", EXTRA="yes").create_pull_token("example.com", "x", "1h")
    call = fake.calls[0]
    assert call["environment"]["CHAINGUARD_DEFAULT_SKIP_AUTO_LOGIN"] == "true"
    assert call["environment"]["CHAINGUARD_DEFAULT_SKIP_VERSION_CHECK"] == "true"
    assert call["environment"]["EXTRA"] == "yes"
    assert (call["tty"], call["input"]) == (False, "")


def test_it_gets_what_it_needs_of_the_environment_and_nobody_else_s_token(fake, chainctl, monkeypatch):
    fake.answer("version", out="v1.2.3")
    for name in (
        "GOOGLE_OAUTH_ACCESS_TOKEN",
        "CLOUDSDK_AUTH_ACCESS_TOKEN",
        "DOCKER_AUTH_CONFIG",
        "AWS_SECRET_ACCESS_KEY",
        "GITHUB_TOKEN",
        "VAULT_TOKEN",
        "MY_OWN",
    ):
        monkeypatch.setenv(name, "ya29.of-another-service")
    needed = {"HOME": "/home/ada", "https_proxy": "http://p:1", "no_proxy": "x", "SSL_CERT_FILE": "/ca", "LC_ALL": "C"}
    needed |= {"CHAINGUARD_PLATFORM_API": "https://api", "CHAINCTL_CONFIG": "/c", "XDG_CACHE_HOME": "/cache"}
    for name, value in needed.items():
        monkeypatch.setenv(name, value)
    chainctl().version()
    environment = fake.calls[0]["environment"]
    assert not [name for name, value in environment.items() if "ya29." in value]
    assert needed.items() <= environment.items()
    assert environment["PATH"]


def test_what_it_printed_is_in_no_repr(token):
    shown = repr(command.Ended(0, token["token"], token["token"]))
    assert token["token"][:20] not in shown


def test_a_name_cannot_steer_a_terminal(fake, chainctl):
    fake.answer("list", out={"items": [{"name": "exam\x1b[2Kple.com\u202e\u200b"}]})
    assert chainctl().organizations() == ("exam[2Kple.com",)


def test_a_version_without_descriptions_is_asked_again_without(fake, chainctl, token):
    fake.answer("--description", err="Error: unknown flag: --description\n", code=1)
    fake.answer("create", out=token)
    assert chainctl().create_pull_token("example.com", "x", "720h", "why").username == token["identity_id"]
    assert "--description" not in fake.calls[1]["arguments"]


def test_an_old_version_is_asked_in_its_own_spelling_and_its_login_line_is_read(fake, chainctl, token):
    fake.answer("pull-token", err='Error: unknown command "pull-token" for "chainctl auth"\n', code=1)
    line = f'docker login "cgr.dev" --username "{token["identity_id"]}" --password "{token["token"]}"'
    fake.answer(
        "configure-docker", out=f"To use this pull token in another environment, run this command:\n\n    {line}\n"
    )
    made = chainctl().create_pull_token("example.com", "x", "720h", "why")
    assert made.password.reveal() == token["token"]
    assert fake.commands[-1] == "auth configure-docker --pull-token --parent example.com --name x --ttl 720h"
    assert not any("--save" in command for command in fake.commands)


def test_prose_in_the_place_of_json_still_gives_the_token_that_was_made(fake, chainctl, token):
    said = '"json" is not a supported output. Supported: [ env]. Using print to command line\n'
    line = f'    docker login "cgr.dev" --username "{token["identity_id"]}" --password "{token["token"]}"\n'
    fake.answer("create", out=line, err=said)
    assert chainctl().create_pull_token("example.com", "x", "1h").password.reveal() == token["token"]
    assert len(fake.calls) == 1


@pytest.mark.parametrize("output", ["", "done\n", "{}", "\x00\xff", '{"identity_id": 1, "token": 2}', "[" * 5000])
def test_an_output_without_a_token_warns_of_one_that_nobody_holds(fake, chainctl, output):
    fake.answer("create", out=output)
    with pytest.raises(ChainctlFailed, match="one named 'the name' may exist now that nobody holds") as caught:
        chainctl().create_pull_token("example.com", "the name", "1h")
    assert "chainctl auth pull-token list --parent example.com" in caught.value.remedy
    assert len(fake.calls) == 1


@pytest.mark.parametrize(
    ("said", "kind", "hint"),
    [
        ("not logged in, run chainctl auth login", ChainctlSignedOut, "chainctl auth login"),
        ("rpc error: code = Unauthenticated desc = token has expired", ChainctlSignedOut, "chainctl auth login"),
        ("rpc error: code = PermissionDenied desc = required capabilities", PermissionMissing, "pull_token_creator"),
        ('No folder found for "nobody.example"', ChainctlFailed, "organizations list"),
        ("ttl must not exceed 168h0m0s", ChainctlFailed, "168h"),
        ("rpc error: code = Unavailable desc = connection reset", ChainctlFailed, "config validate"),
        ("something else", ChainctlFailed, "--help"),
        ("", ChainctlFailed, "--help"),
    ],
)
def test_a_refused_creation_says_why_and_is_not_tried_again(fake, chainctl, said, kind, hint):
    fake.answer("create", err=f"Error: {said}\n", code=1)
    with pytest.raises(kind) as caught:
        chainctl().create_pull_token("example.com", "x", "1h")
    assert type(caught.value) is kind
    assert said in caught.value.message
    assert hint in caught.value.remedy
    assert len(fake.calls) == 1


def test_a_token_that_chainctl_prints_as_an_error_is_not_shown(fake, chainctl, token):
    fake.answer("create", out=token["token"], err=f"Error: {'x' * 350} {token['token']}\n", code=1)
    with pytest.raises(ChainctlFailed) as caught:
        chainctl().create_pull_token("example.com", "x", "1h")
    shown = f"{caught.value}{caught.value!r}"
    assert all(part not in shown for part in token["token"].split("."))


def test_a_command_that_hangs_is_ended_with_what_it_started(fake, chainctl):
    fake.answer("create", then="hang")
    with pytest.raises(ChainctlFailed, match=r"did not end within 1 s and was ended\. A pull token that nobody holds"):
        chainctl(timeout=1.0).create_pull_token("example.com", "x", "1h")
    if (fake.folder / "child").exists():
        assert fake.child_ended()


def test_a_command_that_leaves_a_child_behind_is_not_waited_for(fake, chainctl, token):
    fake.answer("create", out=token, then="leave")
    try:
        assert chainctl().create_pull_token("example.com", "x", "1h").username == token["identity_id"]
    finally:
        os.kill(int((fake.folder / "child").read_text()), signal.SIGKILL)


def test_a_command_that_prints_without_end_is_ended(fake, chainctl):
    fake.answer("list", then="flood")
    with pytest.raises(ChainctlFailed, match="printed more than 8 MiB"):
        chainctl().organizations()


def test_cancelling_ends_a_running_command(fake, chainctl):
    fake.answer("list", then="hang")
    cancelled = threading.Event()

    def cancel_when_it_runs():
        wait_for(lambda: fake.calls, "the command's start")
        cancelled.set()

    timer = threading.Thread(target=cancel_when_it_runs)
    timer.start()
    with pytest.raises(Interrupted):
        chainctl(attempts=Attempts(cancelled=cancelled)).organizations()
    timer.join()


def test_a_missing_command_says_where_to_get_it(tmp_path):
    with pytest.raises(ChainctlMissing, match="not found") as caught:
        Chainctl("chainctl", {"PATH": str(tmp_path)}).version()
    assert "https://" in caught.value.remedy
    assert caught.value.exit_code == 3


def test_a_command_of_another_machine_is_explained(fake, chainctl):
    fake.path.write_bytes(b"\x7fELF\x00not for this machine")
    with pytest.raises(ChainctlFailed, match="could not be started"):
        chainctl().version()


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("chainctl: Chainguard Control\n\nGitVersion:    v0.2.369\nGitCommit:     e01c38b\n", "0.2.369"),
        ("GitVersion:    e01c38b\n", "e01c38b"),
        ("0.2.12\n", "0.2.12"),
        ("a banner\n", "unknown"),
    ],
)
def test_the_version_is_found_in_its_output(fake, chainctl, output, expected):
    fake.answer("version", out=output)
    assert chainctl().version() == expected


def test_a_valid_session_names_who_it_is(fake, chainctl, username):
    fake.answer("status", out={"email": "someone@example.com", "identity": username, "valid": True})
    state = chainctl().require_login()
    assert (state.email, state.identity) == ("someone@example.com", username)


@pytest.mark.parametrize(
    ("out", "err", "code"),
    [("", "Error: not logged in\n", 1), ({"valid": False}, "token is expired\n", 0), ("", "", 1)],
)
def test_being_signed_out_says_why(fake, chainctl, out, err, code):
    fake.answer("status", out=out, err=err, code=code)
    with pytest.raises(ChainctlSignedOut, match=r"not signed in: ."):
        chainctl().require_login()


@pytest.mark.parametrize(
    ("err", "error"),
    [
        ("rpc error: code = Unavailable desc = connection error", Temporary),
        ("context deadline exceeded", Temporary),
        ("dial tcp: lookup console-api.enforce.dev: no such host", ChainctlFailed),
    ],
)
def test_who_cannot_be_asked_whether_he_is_signed_in_is_not_called_signed_out(fake, chainctl, err, error):
    fake.answer("status", err=f"Error: {err}\n", code=1)
    hasty = chainctl(attempts=Attempts(limit=0.1, first=0.01, longest=0.01))
    with pytest.raises(error, match="could not tell whether it is signed in"):
        hasty.require_login()
    with pytest.raises(error):
        hasty.signed_in()


def test_whether_somebody_is_signed_in_is_asked_again_when_the_network_fails(fake, chainctl):
    fake.answer("status", err="Error: rpc error: code = Unavailable\n", code=1, times=2)
    fake.answer("status", out={"email": "someone@example.com", "valid": True})
    assert chainctl().require_login().email == "someone@example.com"


def test_a_status_of_nothing_is_an_error(fake, chainctl):
    fake.answer("status")
    with pytest.raises(ChainctlFailed, match="could not be read"):
        chainctl().require_login()


def test_organisations_are_listed(fake, chainctl):
    fake.answer("organizations", out={"items": [{"id": "00", "name": "example.com", "more": 1}]})
    assert chainctl().organizations() == ("example.com",)


@pytest.mark.parametrize("output", ["", "null", "{}", '{"items": []}', "[]", '{"items": null}'])
def test_no_organisation_is_an_empty_list(fake, chainctl, output):
    fake.answer("organizations", out=output)
    assert chainctl().organizations() == ()


@pytest.mark.parametrize("output", ["junk", '{"items": 5}', "[1]", "{"])
def test_a_list_that_cannot_be_read_is_no_empty_list(fake, chainctl, output):
    fake.answer("organizations", out=output)
    with pytest.raises(ChainctlFailed, match="could not be read"):
        chainctl().organizations()


def test_a_list_is_tried_again_when_the_network_fails(fake, chainctl):
    fake.answer("organizations", err="Error: rpc error: code = Unavailable\n", code=1, times=2)
    fake.answer("organizations", out={"items": []})
    assert chainctl().organizations() == ()
    assert len(fake.calls) == 3


def test_a_network_that_stays_down_is_temporary(fake, chainctl):
    fake.answer("organizations", err="Error: context deadline exceeded\n", code=1)
    with pytest.raises(Temporary, match="deadline exceeded"):
        chainctl(attempts=Attempts(limit=0.1, first=0.01, longest=0.01)).organizations()


def test_tokens_are_listed_with_their_expiry(fake, chainctl, username):
    items = [
        {"id": username, "name": "x - registry", "description": "why", "expiration": "2026-12-23T10:00:00Z"},
        {"id": "2", "name": "y - registry", "static": {"expiration": "2026-12-23T10:00:00+00:00"}},
        {"id": "3", "name": "z - registry"},
    ]
    fake.answer("pull-token", "list", out={"items": items})
    found = chainctl().list_pull_tokens("example.com")
    assert [entry.id for entry in found] == [username, "2", "3"]
    assert found[0].expires == found[1].expires
    assert found[0].expires is not None
    assert found[0].expires.isoformat() == "2026-12-23T10:00:00+00:00"
    assert found[2].expires is None


def test_an_old_version_lists_identities(fake, chainctl):
    fake.answer("pull-token", "auth", err='Error: unknown command "pull-token" for "chainctl auth"\n', code=1)
    fake.answer("identities", "list", out=[{"id": "1", "name": "x - registry"}])
    assert [entry.name for entry in chainctl().list_pull_tokens("example.com")] == ["x - registry"]
    assert fake.commands[-1] == "iam identities list --parent example.com --type pull_token -o json"


def test_revoking_twice_is_no_error(fake, chainctl, username):
    fake.answer("delete", username, "--yes", times=1)
    fake.answer("delete", err="Error: rpc error: code = NotFound desc = identity not found\n", code=1)
    assert chainctl().revoke(username, "example.com") is True
    assert chainctl().revoke(username, "example.com") is False


def test_a_revocation_that_could_not_be_looked_up_is_no_proof_that_the_token_is_gone(fake, chainctl, username):
    fake.answer("delete", err="Error: unable to resolve example.com\n", code=1)
    with pytest.raises(ChainctlFailed, match=username):
        chainctl().revoke(username, "example.com")


def test_a_name_that_dns_does_not_know_is_not_tried_again(fake, chainctl):
    fake.answer("organizations", err="Error: dial tcp: lookup console-api.enforce.dev: no such host\n", code=1)
    with pytest.raises(ChainctlFailed, match="no such host") as caught:
        chainctl().organizations()
    assert "config validate" in caught.value.remedy
    assert len(fake.calls) == 1


def test_a_revocation_that_is_refused_names_the_token(fake, chainctl, username):
    fake.answer("delete", err="Error: rpc error: code = PermissionDenied\n", code=1)
    with pytest.raises(PermissionMissing, match=username):
        chainctl().revoke(username, "example.com")


def test_what_it_prints_with_its_last_breath_is_read(monkeypatch):
    """It prints and ends after a look has found nothing and before anybody asks whether it has ended."""
    late = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    look = late.communicate
    looks = []

    def communicate(timeout=None):
        looks.append(timeout)
        if len(looks) > 1:
            return look(timeout=timeout)
        assert late.stdin is not None
        late.stdin.write(b"the token")
        late.stdin.close()
        late.stdin = None
        late.wait()
        raise subprocess.TimeoutExpired("cat", timeout)

    monkeypatch.setattr(late, "communicate", communicate)
    with late:
        assert command._read(late, 30.0, threading.Event()) == (b"the token", b"")
    assert len(looks) > 1


def test_what_it_printed_before_a_look_is_not_lost(fake, chainctl, token):
    fake.answer("create", out=token, then="leave")
    try:
        assert chainctl().create_pull_token("example.com", "x", "1h").password.reveal() == token["token"]
    finally:
        os.kill(int((fake.folder / "child").read_text()), signal.SIGKILL)
