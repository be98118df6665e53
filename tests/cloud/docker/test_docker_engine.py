"""The engine through the docker SDK, against an engine that says what the real one says."""

from __future__ import annotations

import base64
import hashlib
import json
import threading

import pytest

from cgrunbook.cloud.attempts import Attempts
from cgrunbook.cloud.docker import Docker, gcloud_login
from cgrunbook.cloud.pull import PullProgress
from cgrunbook.errors import (
    DigestMismatch,
    ImageNotAvailable,
    Interrupted,
    NotSignedIn,
    PermissionMissing,
    RegistryError,
    StepFailed,
)

NAME = "127.0.0.1:5000/my-project/my-repo/chainguard/go"
DIGEST = "sha256:" + "ab" * 32
EVENTS = [
    {"status": "Pulling from chainguard/go", "id": "latest"},
    {"status": "Pulling fs layer", "progressDetail": {}, "id": "aaaaaaaaaaaa"},
    {"status": "Downloading", "progressDetail": {"current": 5, "total": 10}, "id": "aaaaaaaaaaaa"},
    {"status": "Pull complete", "progressDetail": {}, "id": "aaaaaaaaaaaa"},
    {"status": f"Digest: {DIGEST}"},
    {"status": f"Status: Downloaded newer image for {NAME}:latest"},
]


@pytest.fixture
def docker(engine, tmp_path):
    engine.events = EVENTS
    engine.repo_digests = [f"{NAME}@{DIGEST}"]
    return Docker(tmp_path / "docker", environment={"DOCKER_HOST": engine.address})


def test_an_engine_that_answers_tells_its_version(docker, engine):
    found = docker.engine()
    assert (found.reachable, found.version, found.problem) == (True, "28.5.2", "")


def test_an_engine_that_is_not_there_is_an_answer(tmp_path):
    found = Docker(tmp_path, environment={"DOCKER_HOST": f"unix://{tmp_path}/no.sock"}).engine()
    assert not found.reachable
    assert "No docker engine answers" in found.problem


@pytest.mark.parametrize("host", ["ftp://x", "nonsense", "tcp://127.0.0.1:1", "ssh://"])
def test_an_address_of_an_engine_that_is_none_is_an_answer(tmp_path, host):
    assert not Docker(tmp_path, environment={"DOCKER_HOST": host}).engine().reachable


def test_the_engine_of_the_current_context_is_asked(engine, tmp_path, monkeypatch):
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.delenv("DOCKER_CONTEXT", raising=False)
    (tmp_path / "config.json").write_text('{"currentContext": "colima"}')
    meta = tmp_path / "contexts" / "meta" / hashlib.sha256(b"colima").hexdigest()
    meta.mkdir(parents=True)
    (meta / "meta.json").write_text(json.dumps({"Endpoints": {"docker": {"Host": engine.address}}}))
    assert Docker(tmp_path).engine().version == "28.5.2"
    (meta / "meta.json").write_text("{}")
    assert "context 'colima' cannot be read" in Docker(tmp_path).engine().problem


def test_the_digest_that_the_engine_pulled_is_answered(docker, engine):
    assert docker.pull(f"{NAME}:latest") == DIGEST
    query = next(query for path, query, _ in engine.asked if "create" in path)
    assert query == {"fromImage": [NAME], "tag": ["latest"]}


@pytest.mark.parametrize(("suffix", "tag"), [("", "latest"), (":1.2", "1.2"), (f"@{DIGEST}", DIGEST)])
def test_tag_and_digest_are_told_apart_from_the_port(docker, engine, suffix, tag):
    docker.pull(f"{NAME}{suffix}")
    query = next(query for path, query, _ in engine.asked if "create" in path)
    assert (query["fromImage"], query["tag"]) == ([NAME], [tag])


def test_progress_shows_each_layer(docker):
    seen: list[PullProgress] = []
    docker.pull(f"{NAME}:latest", seen.append)
    assert [(now.layers[0].done, now.layers[0].size) for now in seen] == [(0, 0), (5, 10), (0, 10)]


def test_the_engine_gets_the_credentials_of_the_configuration(docker, engine):
    docker.config.path.parent.mkdir()
    docker.config.path.write_text(
        json.dumps({"auths": {"127.0.0.1:5000": {"auth": base64.b64encode(b"someone:something").decode()}}})
    )
    docker.pull(f"{NAME}:latest")
    assert engine.auth() == {"username": "someone", "password": "something"}


def test_a_host_without_credentials_gets_none(docker, engine):
    docker.pull(f"{NAME}:latest")
    assert engine.auth() == {}


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("manifest unknown: Unknown manifest", ImageNotAvailable),
        ("no matching manifest for linux/s390x in the manifest list entries", ImageNotAvailable),
        ('denied: Permission "artifactregistry.repositories.downloadArtifacts" denied', PermissionMissing),
        ("unauthorized: authentication failed", NotSignedIn),
        ("denied: Unauthenticated request. Unauthenticated requests do not have permission", NotSignedIn),
        ("no space left on device", RegistryError),
    ],
)
@pytest.mark.parametrize("in_stream", [True, False])
def test_a_pull_that_fails_passes_the_engines_words_on(docker, engine, text, kind, in_stream):
    if in_stream:
        engine.events = [{"errorDetail": {"message": text}, "error": text}]
    else:
        engine.refusal = (404, text)
    with pytest.raises(kind) as caught:
        docker.pull(f"{NAME}:latest")
    assert text in caught.value.message
    assert type(caught.value) is kind


@pytest.mark.parametrize(
    ("config", "remedy"),
    [
        ({"credHelpers": {"127.0.0.1:5000": "gcloud"}}, "gcloud auth login"),
        ({"credsStore": "lab"}, "docker-credential-lab"),
        ({"auths": {"127.0.0.1:5000": {"auth": base64.b64encode(b"oauth2accesstoken:t").decode()}}}, "run this again"),
        ({"auths": {"127.0.0.1:5000": {"auth": base64.b64encode(b"ada:t").decode()}}}, "docker login 127.0.0.1:5000"),
        ({"psFormat": "x"}, "set docker_login to auto"),
    ],
)
def test_a_refused_login_is_mended_where_it_stands(engine, helper, tmp_path, config, remedy):
    entry = {"ServerURL": "x", "Username": "ada", "Secret": "s"}
    (found,) = {helper(name, **{"127.0.0.1:5000": entry})["PATH"] for name in ("gcloud", "lab")}
    docker = Docker(tmp_path / "docker", environment={"DOCKER_HOST": engine.address, "PATH": found})
    docker.config.path.parent.mkdir()
    docker.config.path.write_text(json.dumps(config))
    engine.refusal = (500, "unauthorized: authentication failed")
    with pytest.raises(NotSignedIn) as caught:
        docker.pull(f"{NAME}:latest")
    assert remedy in caught.value.remedy
    assert "notebook 02" not in caught.value.remedy


@pytest.mark.parametrize(
    ("content", "command"),
    [
        ('{"type": "service_account"}', "gcloud auth activate-service-account --key-file='{}'"),
        ('{"type": "external_account"}', "gcloud auth login --cred-file='{}'"),
        ('{"type": "authorized_user"}', "gcloud auth login"),
        ("[", "gcloud auth login"),
        ("[]", "gcloud auth login"),
    ],
)
def test_gcloud_is_signed_in_as_the_credentials_are(tmp_path, content, command):
    path = tmp_path / "the key.json"
    path.write_text(content)
    assert gcloud_login({"GOOGLE_APPLICATION_CREDENTIALS": str(path)}) == command.format(path)
    assert gcloud_login({}) == "gcloud auth login"


def test_another_digest_than_announced_is_a_mismatch(docker, engine):
    engine.repo_digests = [f"{NAME}@sha256:{'cd' * 32}"]
    with pytest.raises(DigestMismatch, match="keeps"):
        docker.pull(f"{NAME}:latest")


def test_a_pull_without_any_digest_is_no_success(docker, engine):
    engine.events, engine.repo_digests = [], []
    with pytest.raises(StepFailed, match="no digest"):
        docker.pull(f"{NAME}:latest")


def test_a_cancelled_pull_stops(engine, tmp_path):
    engine.events = EVENTS
    cancelled = threading.Event()
    cancelled.set()
    docker = Docker(tmp_path, Attempts(cancelled=cancelled), {"DOCKER_HOST": engine.address})
    with pytest.raises(Interrupted):
        docker.pull(f"{NAME}:latest")
