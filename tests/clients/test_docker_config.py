"""Docker's configuration read by us and by docker itself: the same login, before ours and after it.

docker/cli's own package is asked, in a small program of ours (docker_config_oracle, which .ci/run builds).
"""

from __future__ import annotations

import base64
import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cgrunbook.cloud.docker_config import DockerConfig
from cgrunbook.errors import StepFailed
from cgrunbook.redaction import Secret
from tests.clients.programs import client

HOST = "us-central1-docker.pkg.dev"
USER = "oauth2accesstoken"

#: What each helper prints for any host, and what it ends with.
HELPERS = {
    "lab": ('{"ServerURL":"x","Username":"ada","Secret":"of-the-lab"}', 0),
    "lowercase": ('{"username":"ada","SECRET":"in-any-case"}', 0),
    "identity": ('{"Username":"<token>","Secret":"an-identity-token"}', 0),
    "empty": ("{}", 0),
    "none": ("credentials not found in native keychain", 1),
    "broken": ("no keychain", 1),
    "junk": ("something else", 0),
    "number": ("0", 0),
    "nan": ('{"Username":"ada","Secret":"x","Expires":NaN}', 0),
    "more": ('{"Username":"ada","Secret":"first"} {"Username":"bob","Secret":"second"}', 0),
}


class Docker:
    """Docker's own reading: one process, which answers line by line."""

    def __init__(self, process: subprocess.Popen[str], path: str) -> None:
        self._process = process
        self.path = path

    def sends(self, folder: Path, environment: str = "") -> tuple[str, bool]:
        """The pair "user:password" that docker would send to HOST, "" for none; and whether it complained of the file."""
        assert self._process.stdin
        assert self._process.stdout
        question = {"Folder": str(folder), "Host": HOST, "Path": self.path, "Environment": environment}
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        said = json.loads(self._process.stdout.readline())
        usable = not said["error"] and not said["identity_token"] and said["username"] and said["password"]
        return f"{said['username']}:{said['password']}" if usable else "", bool(said["warning"])


@pytest.fixture(scope="module")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Docker]:
    folder = tmp_path_factory.mktemp("helpers")
    for name, (text, code) in HELPERS.items():
        program = folder / f"docker-credential-{name}"
        program.write_text(f"#!/bin/sh\necho '{text}'\nexit {code}\n")
        program.chmod(0o755)
    with subprocess.Popen(
        [client("docker-config-oracle")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Docker(process, str(folder))
        process.communicate()


def in_any_case(name: str) -> st.SearchStrategy[str]:
    long_s = name.replace("s", "\u017f", 1)  # which Unicode folds to an s
    return st.sampled_from([name, name, name, name.lower(), name.upper(), long_s])


def objects(names: st.SearchStrategy[str], values: st.SearchStrategy[str], most: int) -> st.SearchStrategy[str]:
    """JSON objects as texts, in which a name may come twice."""
    pairs = st.lists(st.tuples(names, values), max_size=most)
    return pairs.map(lambda found: "{" + ", ".join(f"{json.dumps(name)}: {value}" for name, value in found) + "}")


def encoded(pair: str) -> st.SearchStrategy[str]:
    text = base64.b64encode(pair.encode()).decode()
    wrapped = f"{text[:4]}\n{text[4:]}\r\n"
    return st.sampled_from([text, text, wrapped, text.rstrip("="), f"{text}=", f" {text}", text + text, "", "%%%"])


PAIRS = st.sampled_from(["ada:secret", "ada:se:cret", "ada:", ":secret", "ada", "ada:secret\0\0", "_json_key:{}"])
TEXTS = st.sampled_from(["ada", "secret", "", "a:b"]).map(json.dumps) | st.just("null")
FIELDS = st.tuples(in_any_case("auth"), PAIRS.flatmap(encoded).map(json.dumps)) | st.tuples(
    st.sampled_from(["username", "password", "Password", "email", "identitytoken", "IdentityToken", "unknown"]), TEXTS
)
ENTRIES = st.just("null") | st.lists(FIELDS, max_size=3).map(
    lambda found: "{" + ", ".join(f"{json.dumps(name)}: {value}" for name, value in found) + "}"
)
NAMES = st.sampled_from(
    [HOST, HOST, f"https://{HOST}", f"https://{HOST}/v1/", f"{HOST}/v2", f"http://{HOST}:80", HOST.upper(), "cgr.dev"]
)
NAMED = st.sampled_from([*HELPERS, "absent", ""]).map(json.dumps) | st.just("null")
SECTIONS = st.one_of(
    st.tuples(in_any_case("auths"), objects(NAMES, ENTRIES, 3) | st.just("null")),
    st.tuples(in_any_case("credHelpers"), objects(NAMES, NAMED, 2) | st.just("null")),
    st.tuples(in_any_case("credsStore"), NAMED),
    st.tuples(
        st.sampled_from(["psFormat", "features", "experimental", "HttpHeaders", "plugins", "proxies", "unknown"]),
        st.sampled_from(['"x"', "true", '{"buildkit": true}', '{"a": "b"}', '{"a": {"b": "c"}}', "null"]),
    ),
)
CONFIGURATIONS = st.lists(SECTIONS, max_size=4).map(
    lambda found: "{" + ", ".join(f"{json.dumps(name)}: {value}" for name, value in found) + "}"
)
MANY = settings(max_examples=300)


def ours(config: DockerConfig) -> str | None:
    """The same of ours; None where it is refused, with a sentence."""
    try:
        found = config.credentials(HOST)
    except StepFailed:
        return None
    return f"{found.username}:{found.password.reveal()}" if found else ""


def configured(folder: str, text: str, docker: Docker, environment: str = "") -> DockerConfig:
    (Path(folder) / "config.json").write_text(text, errors="surrogateescape")
    return DockerConfig(Path(folder), {"PATH": docker.path, "DOCKER_AUTH_CONFIG": environment})


@pytest.mark.parametrize(
    "first", ['{"username": null}', '{"auth": 1}', '"x"', "null", "{}", '{"auth": "%%%"}', '{"Auth": "eDp5"}']
)
def test_of_a_host_that_is_named_twice_in_the_environment_both_count(
    docker: Docker, tmp_path: Path, first: str
) -> None:
    environment = f'{{"auths": {{"{HOST}": {first}, "{HOST}": {{"auth": "YTpi"}}}}}}'
    config = configured(str(tmp_path), "{}", docker, environment)
    assert ours(config) == docker.sends(tmp_path, environment)[0]


def one_name_at_most(config: DockerConfig) -> bool:
    """Whether it does not depend on chance which of several old names docker takes for the host."""
    auths: dict[str, Any] = config.read().get("auths") or {}
    return HOST in auths or sum(HOST in name for name in auths) < 2


@MANY
@given(CONFIGURATIONS)
def test_what_docker_would_send_is_what_we_say_it_would(docker: Docker, text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        config = configured(folder, text, docker)
        assume(one_name_at_most(config))
        sent, complained = docker.sends(Path(folder))
        found = ours(config)
        assert found == sent or (found is None and (complained or not sent))
        if found:  # the login says where it came from
            assert config.login(HOST).kind != "none"


@MANY
@given(CONFIGURATIONS, st.booleans())
def test_after_our_login_docker_sends_it(docker: Docker, text: str, instead: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        config = configured(folder, text, docker)
        try:
            login = config.login_with_token(HOST, USER, Secret("of-an-hour"), instead_of_helper=instead)
        except StepFailed:
            return
        assert (login.kind, docker.sends(Path(folder))[0]) == ("file", f"{USER}:of-an-hour")


@MANY
@given(CONFIGURATIONS)
def test_after_we_named_a_helper_docker_asks_it(docker: Docker, text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        config = configured(folder, text, docker)
        config.add_credential_helper(HOST, "lab")
        assert docker.sends(Path(folder))[0] == "ada:of-the-lab"
        assert config.login(HOST).helper == "lab"


@MANY
@given(objects(in_any_case("auths") | st.just("more"), objects(NAMES, ENTRIES, 2), 2), CONFIGURATIONS)
def test_what_stands_in_the_environment_goes_first(docker: Docker, environment: str, text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        config = configured(folder, text, docker, environment)
        assume(one_name_at_most(config))
        sent, complained = docker.sends(Path(folder), environment)
        found = ours(config)
        assert found == sent or (found is None and (complained or not sent))


@pytest.mark.parametrize("padding", ["=", "==", "===", "====", "\\n="])
def test_what_is_padded_too_much_is_no_login(docker: Docker, tmp_path: Path, padding: str) -> None:
    config = configured(str(tmp_path), f'{{"auths": {{"{HOST}": {{"auth": "YTpi{padding}"}}}}}}', docker)
    assert ours(config) == docker.sends(tmp_path)[0] == ""


@pytest.mark.parametrize(
    "text",
    [
        '{"auths": {"HOST": {"auth": "X2pzb25fa2V5OnNl\\nY3JldC12YWx1ZQ==\\n"}}}',
        '{"credhelpers": {"HOST": "lab"}}',
        '{"credHelpers": {"gcr.io": "junk"}, "credHelpers": {"HOST": "lab"}}',
        '{"credsStore": "lab"}',
        '{"credsStore": "absent", "credHelpers": {"HOST": ""}, "auths": {"HOST": {"auth": "YTpi"}}}',
        '{"credsStore": "lab", "auths": {"HOST": {"auth": "YTpi"}}}',
        '{"auths": {"HOST": {"auth": "YTpi"}}} and more',
        '{"auths": {"HOST": {"auth": "YTpi"}}}{"auths": {"HOST": {"auth": "eDp5"}}}',
        '{"auths": {"HOST": {"auth": "YTpi"}}, "psFormat": "\udce4"}',  # a byte that is no UTF-8
        '{"credHelpers": {"HOST": "nan"}}',
        '{"credHelpers": {"HOST": "none"}, "auths": {"HOST": {"auth": "YTpi"}}}',
    ],
)
def test_what_people_have_in_it_is_read_as_docker_reads_it(docker: Docker, tmp_path: Path, text: str) -> None:
    config = configured(str(tmp_path), text.replace("HOST", HOST), docker)
    sent, complained = docker.sends(tmp_path)
    assert (ours(config) or "", False) == (sent, complained)
