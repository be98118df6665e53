from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from google.auth.credentials import AnonymousCredentials

from cgrunbook.cloud import Attempts, Cloud, Connection, connect
from cgrunbook.cloud.credentials import ApplicationDefault
from cgrunbook.errors import NotSignedIn, ParameterError, SandboxUnavailable, Temporary
from cgrunbook.redaction import Secret, redact
from cgrunbook.sandbox import process
from tests.cloud.sign_ins import gcloud, service_account
from tests.waiting import wait_for


def test_importing_the_cloud_imports_no_client() -> None:
    program = (
        "import sys, cgrunbook.cloud; "
        "print([name for name in ('google', 'grpc', 'requests', 'urllib3', 'docker', 'tenacity') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_opening_google_cloud_needs_no_call_and_no_client_of_a_service(no_google: Path, tmp_path: Path) -> None:
    program = (
        "import sys; from cgrunbook.cloud import Cloud, connect; "
        "cloud = Cloud(connect('google-cloud', project_id='my-project')); "
        "print(cloud.connection.project_id, [name for name in sys.modules if name.startswith('google.cloud.')])"
    )
    account = service_account(tmp_path / "account.json")
    environment = {**os.environ, "GOOGLE_APPLICATION_CREDENTIALS": str(account)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == "my-project []"


def test_a_project_of_a_domain_is_two_parts_of_a_path_at_docker_pkg_dev(
    no_google: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(service_account(tmp_path / "account.json")))
    connection = connect("google-cloud", project_id="example.com:my-project")
    assert (connection.project_id, connection.docker_project) == ("example.com:my-project", "example.com/my-project")


def test_an_unknown_target_is_refused() -> None:
    with pytest.raises(ParameterError, match="'aws'"):
        connect("aws")  # type: ignore[arg-type]


def test_nobody_signed_in_names_the_command(no_google: Path) -> None:
    with pytest.raises(NotSignedIn) as caught:
        connect("google-cloud", project_id="my-project")
    assert "gcloud auth application-default login" in caught.value.remedy


def test_a_gcloud_that_is_signed_out_is_no_way_in(no_google: Path) -> None:
    gcloud(no_google, token="")
    with pytest.raises(NotSignedIn, match="active account"):
        connect("google-cloud", project_id="my-project")


def test_gclouds_session_is_used_where_there_are_no_default_credentials(no_google: Path) -> None:
    token = secrets.token_urlsafe(24)
    gcloud(no_google, token, "gcloud-project")
    connection = connect("google-cloud")
    assert connection.project_id == "gcloud-project"
    assert connection.access_token().reveal() == token
    assert redact(f"seen: {token}") == "seen: [redacted]"
    assert token not in repr(connection)


def test_no_gcloud_that_is_started_for_a_token_writes_it_into_a_log_file(no_google: Path) -> None:
    gcloud(no_google, secrets.token_urlsafe(24), "gcloud-project")
    connection = connect("google-cloud")
    assert (no_google / "started").read_text() == "1 auth print-access-token --quiet\n"
    assert connection.environment["CLOUDSDK_CORE_DISABLE_FILE_LOGGING"] == "1"


def test_a_gcloud_that_does_not_answer_is_ended_with_all_that_it_started(
    no_google: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = no_google / "held"  # gcloud's own command is a shell script too, whose Python does the work
    os.mkfifo(held)
    reading = os.open(held, os.O_RDONLY | os.O_NONBLOCK)
    (no_google / "gcloud").write_text(f"#!/bin/sh\nexec 9>{held}\n/bin/sleep 60 &\nwait\n")
    (no_google / "gcloud").chmod(0o755)
    monkeypatch.setattr("cgrunbook.cloud.gcloud._SECONDS", 0.5)
    with pytest.raises(NotSignedIn, match="did not end within"):
        connect("google-cloud", project_id="my-project")
    with os.fdopen(reading, "rb", buffering=0) as pipe:
        assert wait_for(lambda: pipe.read() == b"", "the end of what gcloud started")


def test_a_token_is_fetched_once_however_many_ask_for_it_at_once() -> None:
    class Slow(ApplicationDefault):
        fetched = 0

        def fetch(self, request: Any) -> tuple[str, datetime]:
            self.fetched += 1
            time.sleep(0.05)
            return f"token-{self.fetched}", datetime.now(UTC).replace(tzinfo=None) + timedelta(hours=1)

    credentials = Slow(AnonymousCredentials())
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(credentials.refresh, [None] * 8))
    assert (credentials.fetched, credentials.token) == (1, "token-1")
    credentials.refresh(None)  # a service that refused the token has it fetched again
    assert credentials.token == "token-2"


def test_a_token_that_one_thread_gives_up_is_still_there_for_another_that_is_taking_it(no_google: Path) -> None:
    class Refused(ApplicationDefault):
        fetched = 0

        def fetch(self, request: Any) -> tuple[str, datetime]:
            self.fetched += 1
            return f"token-{self.fetched}", datetime.now(UTC).replace(tzinfo=None) + timedelta(hours=1)

        @property
        def valid(self) -> bool:
            there = bool(super().valid)
            if there:
                connection.forget(Secret(str(self.token)))
            return there

    gcloud(no_google, secrets.token_urlsafe(24), "gcloud-project")
    connection = replace(connect("google-cloud"), credentials=Refused(AnonymousCredentials()))
    assert [connection.access_token().reveal() for _ in range(3)] == ["token-1", "token-1", "token-2"]


def test_a_given_project_wins_over_the_configured_one(no_google: Path) -> None:
    gcloud(no_google, secrets.token_urlsafe(24), "gcloud-project")
    assert connect("google-cloud", project_id="given").project_id == "given"


def test_no_project_anywhere_is_a_parameter_error(no_google: Path) -> None:
    gcloud(no_google, secrets.token_urlsafe(24))
    with pytest.raises(ParameterError, match="project_id is empty") as caught:
        connect("google-cloud")
    assert "gcloud config set project" in caught.value.remedy


def test_a_service_account_is_named_as_the_caller_and_brings_its_project(
    no_google: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(service_account(tmp_path / "account.json")))
    connection = connect("google-cloud", location="europe")
    assert connection.project_id == "their-project"
    assert connection.caller == "serviceAccount:ci@their-project.iam.gserviceaccount.com"
    assert connection.artifact_registry_host.address == "europe-docker.pkg.dev"
    assert connection.artifact_registry_host.scheme == "https"


def test_a_token_endpoint_that_is_away_is_temporary(
    no_google: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(service_account(tmp_path / "account.json")))
    with pytest.raises(Temporary, match="access token"):
        Cloud(connect("google-cloud"), Attempts(limit=1.0)).access_token()


def test_a_persons_own_credentials_give_no_warning_in_a_notebook(
    no_google: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    gcloud(no_google, secrets.token_urlsafe(24), "gcloud-project")
    mine = tmp_path / "gcloud"
    kept = {"type": "authorized_user", "client_id": "1", "client_secret": "2", "refresh_token": secrets.token_hex()}
    (mine / "application_default_credentials.json").write_text(json.dumps(kept))
    assert connect("google-cloud").project_id == "gcloud-project"
    assert [str(warning.message) for warning in recwarn.list] == []


def test_credentials_named_on_purpose_are_never_replaced_by_gclouds(
    no_google: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gcloud(no_google, secrets.token_urlsafe(24), "gcloud-project")
    broken = tmp_path / "broken.json"
    broken.write_text("{}")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(broken))
    with pytest.raises(NotSignedIn, match="GOOGLE_APPLICATION_CREDENTIALS"):
        connect("google-cloud")


def test_docker_is_configured_where_its_variable_says(no_google: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gcloud(no_google, secrets.token_urlsafe(24), "gcloud-project")
    assert connect("google-cloud").docker_config == Path(os.environ["HOME"]) / ".docker"
    monkeypatch.setenv("DOCKER_CONFIG", "elsewhere")
    assert connect("google-cloud").docker_config == Path("elsewhere")


def test_a_token_in_a_file_is_read_again_when_it_is_refreshed(tmp_path: Path) -> None:
    from cgrunbook.cloud.credentials import TokenFile

    file = tmp_path / "token"
    first, second = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
    file.write_text(f"{first}\n")
    credentials = TokenFile(file)
    assert not credentials.valid
    credentials.refresh(None)
    assert credentials.valid
    assert credentials.token == first
    file.write_text(second)
    credentials.refresh(None)
    assert credentials.token == second


@pytest.mark.parametrize("content", [None, "", "\n", "é"])
def test_a_token_file_without_a_token_says_so(tmp_path: Path, content: str | None) -> None:
    from google.auth.exceptions import RefreshError

    from cgrunbook.cloud.credentials import TokenFile

    if content is not None:
        (tmp_path / "token").write_text(content, encoding="utf-8")
    with pytest.raises(RefreshError, match="token"):
        TokenFile(tmp_path / "token").refresh(None)


@pytest.fixture
def sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setenv("CGRUNBOOK_HOME", str(tmp_path / "home"))
    yield None
    process.stop()


def test_the_sandbox_is_started_and_brings_its_own_names(sandbox: object) -> None:
    connection = connect("sandbox")
    assert (connection.project_id, connection.organization) == ("cgrunbook-sandbox", "example.com")
    assert connection.artifact_registry_host.name == "us-central1-docker.pkg.dev"
    assert connection.artifact_registry_host.address.startswith("127.0.0.1:")
    assert connection.artifact_registry_host.scheme == "http"
    assert Path(connection.chainctl).is_file()
    assert len(connection.access_token()) > 20
    assert connection.caller == "user:trainee@example.com"


def test_names_that_are_given_win_over_the_sandboxs_own(sandbox: object) -> None:
    connection = connect("sandbox", project_id="other", location="europe", organization="example.org")
    assert (connection.project_id, connection.organization) == ("other", "example.org")
    assert connection.artifact_registry_host.name == "europe-docker.pkg.dev"


def test_a_location_that_the_sandbox_does_not_play_is_refused(sandbox: object) -> None:
    with pytest.raises(ParameterError, match="atlantis"):
        connect("sandbox", location="atlantis")


def test_a_proxy_is_never_asked_for_the_sandbox(sandbox: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "intranet.example.com")
    monkeypatch.delenv("no_proxy", raising=False)
    assert Cloud(connect("sandbox")).project.number() == "123456789012"
    assert os.environ["NO_PROXY"] == "intranet.example.com,127.0.0.1"


def test_a_sandbox_that_was_killed_is_said_to_be_gone_and_nobody_waits_for_it(sandbox: object) -> None:
    cloud = Cloud(connect("sandbox"))
    waits: list[object] = []
    cloud.attempts.on_wait = waits.append
    process.stop()
    with pytest.raises(SandboxUnavailable, match="not running") as caught:
        cloud.project.number()
    assert "cgrunbook sandbox start" in caught.value.remedy
    assert waits == []


def test_a_connection_is_a_value(sandbox: object) -> None:
    assert isinstance(connect("sandbox"), Connection)
    assert connect("sandbox").artifact_registry == connect("sandbox").artifact_registry
