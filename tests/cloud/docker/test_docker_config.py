"""Changing docker's configuration without disturbing what is there."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import stat
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgrunbook.cloud.docker_config import DockerConfig
from cgrunbook.errors import Interrupted, StepFailed
from cgrunbook.redaction import Secret

HOST = "us-central1-docker.pkg.dev"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=8), inner, max_size=2),
    max_leaves=5,
)


@pytest.fixture
def config(tmp_path):
    return DockerConfig(tmp_path / "docker")


def write(config, document):
    config.path.parent.mkdir(parents=True, exist_ok=True)
    config.path.write_text(document if isinstance(document, str) else json.dumps(document))


def test_a_helper_is_added_where_there_is_no_configuration_at_all(config):
    assert config.add_credential_helper(HOST, "gcloud") is True
    assert config.read() == {"credHelpers": {HOST: "gcloud"}}
    assert stat.S_IMODE(config.path.stat().st_mode) == 0o600
    assert str(config.login(HOST)) == f"{HOST}: credential helper gcloud"


def test_adding_it_again_writes_nothing(config):
    config.add_credential_helper(HOST, "gcloud")
    before = config.path.stat()
    assert config.add_credential_helper(HOST, "gcloud") is False
    after = config.path.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@given(
    st.dictionaries(
        st.text(max_size=8).filter(lambda name: name.lower() not in ("credhelpers", "auths", "credsstore")),
        JSON,
        max_size=4,
    ),
    st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=3),
)
def test_everything_else_is_kept_in_value_and_order(others, helpers):
    with tempfile.TemporaryDirectory() as folder:
        config = DockerConfig(Path(folder))
        write(config, {**others, "credHelpers": helpers})
        config.add_credential_helper(HOST, "gcloud")
        found = config.read()
        assert found == {**others, "credHelpers": {**helpers, HOST: "gcloud"}}
        assert list(found) == [*others, "credHelpers"]
        assert [entry.name for entry in Path(folder).iterdir()] == ["config.json"]


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o640])
def test_the_files_mode_is_kept(config, mode):
    write(config, {})
    config.path.chmod(mode)
    config.add_credential_helper(HOST, "gcloud")
    assert stat.S_IMODE(config.path.stat().st_mode) == mode


def test_what_a_killed_process_left_beside_it_is_taken_away_and_what_one_writes_now_is_not(config):
    config.path.parent.mkdir(parents=True, exist_ok=True)
    left, written, begun = (config.path.with_name(f".config.json.{name}") for name in ("left", "written", "begun"))
    left.write_text("a login")
    begun.touch()
    with written.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write("another's login")
        file.flush()
        config.add_credential_helper(HOST, "gcloud")
        assert {path.name for path in config.path.parent.iterdir()} == {"config.json", written.name, begun.name}


def test_a_link_stays_a_link_and_its_target_is_changed(config, tmp_path):
    target = tmp_path / "dotfiles" / "docker.json"
    target.parent.mkdir()
    target.write_text('{"psFormat": "x"}')
    config.path.parent.mkdir()
    config.path.symlink_to(target)
    config.add_credential_helper(HOST, "gcloud")
    assert config.path.is_symlink()
    assert json.loads(target.read_text()) == {"psFormat": "x", "credHelpers": {HOST: "gcloud"}}


def test_a_link_to_nothing_yet_is_filled(config, tmp_path):
    config.path.parent.mkdir()
    config.path.symlink_to(tmp_path / "elsewhere" / "docker.json")
    config.add_credential_helper(HOST, "gcloud")
    assert (tmp_path / "elsewhere" / "docker.json").exists()
    assert config.path.is_symlink()


def test_a_link_to_itself_is_an_error_in_words(config):
    config.path.parent.mkdir()
    config.path.symlink_to(config.path)
    with pytest.raises(StepFailed, match="could not be read"):
        config.add_credential_helper(HOST, "gcloud")


def test_what_is_no_file_is_neither_waited_for_nor_replaced(config, tmp_path):
    config.path.parent.mkdir()
    os.mkfifo(tmp_path / "pipe")
    config.path.symlink_to(tmp_path / "pipe")
    with pytest.raises(StepFailed, match="could not be read: it is no file"):
        config.login(HOST)
    config.path.unlink()
    config.path.symlink_to(os.devnull)
    assert config.login(HOST).kind == "none"
    with pytest.raises(StepFailed, match="could not be written: /dev/null is no file"):
        config.add_credential_helper(HOST, "gcloud")
    assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)


@pytest.mark.parametrize(
    "content", ["{", "[]", '"x"', "\ufeff{}", "[" * 100_000, '{"a": 1e999}', '{"credHelpers": []}']
)
def test_a_configuration_that_cannot_be_used_is_left_as_it_is(config, content):
    write(config, content)
    with pytest.raises(StepFailed, match="cannot be used") as caught:
        config.add_credential_helper(HOST, "gcloud")
    assert str(config.path) in caught.value.message
    assert config.path.read_text() == content


@pytest.mark.parametrize("content", ["{", '{"auths": 5}', '{"credHelpers": "x"}'])
def test_a_token_login_leaves_such_a_configuration_as_it_is_too(config, content):
    write(config, content)
    with pytest.raises(StepFailed, match="cannot be used"):
        config.login_with_token(HOST, "oauth2accesstoken", Secret(secrets.token_hex(8)))
    assert config.path.read_text() == content


def test_an_error_quotes_nothing_of_the_file(config):
    password = secrets.token_urlsafe(12)
    write(config, f'{{"auths": {{"x": {{"auth": "{password}" broken}}}}}}')
    with pytest.raises(StepFailed) as caught:
        config.read()
    assert password not in str(caught.value)


@pytest.mark.parametrize("content", ["", " \n"])
def test_an_empty_file_is_an_empty_configuration(config, content):
    write(config, content)
    assert config.add_credential_helper(HOST, "gcloud") is True
    assert config.read() == {"credHelpers": {HOST: "gcloud"}}


def test_a_file_that_cannot_be_read_is_an_error_in_words(config):
    config.path.mkdir(parents=True)
    with pytest.raises(StepFailed, match="could not be read"):
        config.login(HOST)


def test_a_folder_that_cannot_be_written_is_an_error_in_words(tmp_path):
    (tmp_path / "file").write_text("")
    config = DockerConfig(tmp_path / "file" / "docker")
    with pytest.raises(StepFailed, match=r"could not be (read|written)"):
        config.add_credential_helper(HOST, "gcloud")


def test_a_change_by_somebody_else_in_between_is_not_lost(config, monkeypatch):
    write(config, {})
    replace = config._replace
    interfered: list[int] = []

    def slow(content, before):
        if not interfered:
            interfered.append(1)
            write(config, {"theirs": 1})
        return replace(content, before)

    monkeypatch.setattr(config, "_replace", slow)
    config.add_credential_helper(HOST, "gcloud")
    assert config.read() == {"theirs": 1, "credHelpers": {HOST: "gcloud"}}
    assert [entry.name for entry in config.path.parent.iterdir()] == ["config.json"]


def test_a_token_login_stands_in_the_file_as_docker_writes_it(config):
    password = secrets.token_hex(8)
    login = config.login_with_token(HOST, "oauth2accesstoken", Secret(password))
    assert (login.kind, login.username) == ("file", "oauth2accesstoken")
    assert password not in str(login)
    found = config.credentials(HOST)
    assert (found.username, found.password.reveal()) == ("oauth2accesstoken", password)
    assert list(config.read()["auths"][HOST]) == ["auth"]


@pytest.mark.parametrize("where", ["credsStore", "credHelpers"])
def test_a_token_login_goes_to_the_store_that_the_file_names(config, tmp_path, helper, where):
    password = secrets.token_hex(8)
    config = DockerConfig(tmp_path / "docker", helper("keychain"))
    write(config, {where: "keychain" if where == "credsStore" else {HOST: "keychain"}})
    login = config.login_with_token(HOST, "oauth2accesstoken", Secret(password))
    assert (login.kind, login.helper) == ("store" if where == "credsStore" else "helper", "keychain")
    assert password not in config.path.read_text()
    assert config.credentials(HOST).password.reveal() == password


def test_a_store_that_refuses_leaves_the_file_alone(tmp_path, helper):
    config = DockerConfig(tmp_path / "docker", helper("keychain", takes=False))
    write(config, {"credsStore": "keychain"})
    with pytest.raises(StepFailed, match="did not take the login"):
        config.login_with_token(HOST, "oauth2accesstoken", Secret(secrets.token_hex(8)))
    assert config.read() == {"credsStore": "keychain"}


@pytest.mark.parametrize("name", ["absent", "../../bin/sh", "a b"])
def test_a_helper_that_is_not_there_is_named(config, name):
    write(config, {"credHelpers": {HOST: name}})
    with pytest.raises(StepFailed, match="credential helper"):
        config.credentials(HOST)


def test_a_helper_is_ended_when_the_run_is_stopped(tmp_path, helper):
    environment = helper("slow")
    program = tmp_path / "bin" / "docker-credential-slow"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    stopped = threading.Event()
    config = DockerConfig(tmp_path / "docker", {"PATH": f"{environment['PATH']}:/bin:/usr/bin"}, stopped)
    write(config, {"credsStore": "slow"})
    threading.Timer(0.3, stopped.set).start()
    with pytest.raises(Interrupted):
        config.credentials(HOST)


def test_a_helper_without_credentials_for_the_host_has_none(tmp_path, helper):
    config = DockerConfig(tmp_path / "docker", helper("gcloud"))
    write(config, {"credHelpers": {HOST: "gcloud"}})
    assert config.credentials(HOST) is None


def test_a_helper_that_answers_junk_is_not_quoted(tmp_path, helper):
    junk = secrets.token_hex(12)
    config = DockerConfig(tmp_path / "docker", helper("gcloud", **{HOST: junk}))
    write(config, {"credHelpers": {HOST: "gcloud"}})
    with pytest.raises(StepFailed, match="no credentials") as caught:
        config.credentials(HOST)
    assert junk not in str(caught.value)


@pytest.mark.parametrize(
    ("document", "kind"),
    [
        ({}, "none"),
        ({"auths": {HOST: {}}}, "none"),
        ({"auths": {HOST: {}}, "credsStore": "desktop"}, "store"),
        ({"credsStore": "desktop"}, "store"),
        ({"auths": {f"https://{HOST}/v1/": {"auth": "YTpi"}}}, "file"),
        ({"auths": {HOST: {"auth": "not base64!"}}}, "none"),
        ({"auths": {HOST: {"username": "a", "password": "b"}}}, "file"),
        ({"auths": {f"other-{HOST}": {"auth": "YTpi"}}}, "none"),
    ],
)
def test_the_present_login_is_described(config, document, kind):
    write(config, document)
    assert config.login(HOST).kind == kind
