"""Docker on the real names: the real engine and command, and gcloud's own helper signed in, signed out and absent.

Docker is signed in when it pulls, and at the end it is as it was.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.clients.docker_engine import docker_engine
from tests.clients.programs import client
from tests.real_names.token_hosts import PROJECT
from tests.real_names.world import OWNER, Machine

HOST = "us-central1-docker.pkg.dev"
IMAGE = f"{HOST}/{PROJECT}/chainguard-pull-through/chainguard/go:latest"
ROBOT = f"robot@{PROJECT}.iam.gserviceaccount.com"


class Shell:
    """A person's shell with docker in it, and a configuration of docker's and gcloud's own.

    Args:
        machine: whose.
        folder: where the configurations are.
        variables: of every command.
    """

    def __init__(self, machine: Machine, folder: Path, **variables: str) -> None:
        self.machine = machine
        self.config = folder / "docker" / "config.json"
        self.config.parent.mkdir()
        own = {"DOCKER_CONFIG": str(self.config.parent), "CLOUDSDK_CONFIG": str(folder / "gcloud")}
        self.variables: dict[str, Any] = {**variables, **own, "GOOGLE_APPLICATION_CREDENTIALS": str(machine.user())}

    def gcloud(self, account: str = "") -> None:
        """Have gcloud from now on, signed in as somebody or as nobody."""
        self.variables = {**self.machine.with_gcloud(), **self.variables}
        if account:
            self("gcloud", "auth", "activate-refresh-token", account.partition(":")[2], account)

    def __call__(self, *words: object, check: bool = True) -> str:
        """What a command says; it must succeed where `check`."""
        done = self.machine.run(*words, **self.variables)
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def cgrunbook(self, verb: str, expected: int = 0, *more: str, **parameters: str) -> str:
        """Perform or plan 02; what it says."""
        given = [word for name, value in parameters.items() for word in ("-p", name, value)]
        words = [verb, "02", "--target", "google-cloud", "-p", "project_id", PROJECT, *given, *more]
        done = self.machine.run("cgrunbook", *words, **self.variables)
        assert done.returncode == expected, done.stdout + done.stderr
        return done.stdout if more else done.stdout + done.stderr

    def pulls(self) -> bool:
        """Whether docker by hand pulls the image now."""
        self("docker", "image", "rm", IMAGE, check=False)
        return self.machine.run("docker", "pull", "--quiet", IMAGE, **self.variables).returncode == 0

    def write(self, document: Any) -> None:
        self.config.write_text(json.dumps(document))


@pytest.fixture(scope="module")
def engine(_opened: Machine) -> Iterator[str]:
    (_opened.programs / "docker").symlink_to(client("docker"))
    with docker_engine(_opened) as address:
        yield address


@pytest.fixture
def shell(real_names: Machine, engine: str, tmp_path: Path) -> Shell:
    made = Shell(real_names, tmp_path, DOCKER_HOST=engine)
    if not real_names.log():  # what all of them pull is there, whichever test comes first
        made.cgrunbook("run", docker_login="none")
    return made


def service_account() -> dict[str, str]:
    """A service account's key, made here."""
    key = rsa.generate_private_key(65537, 2048)
    form = serialization.PrivateFormat.PKCS8
    private = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    return {
        "type": "service_account",
        "project_id": PROJECT,
        "private_key_id": "k",
        "private_key": private.decode(),
        "client_email": ROBOT,
        "client_id": "1",
        "token_uri": "https://oauth2.googleapis.com/token",
    }


def federation(folder: Path) -> dict[str, Any]:
    """A federation's configuration, as a CI's login action writes it."""
    (folder / "subject").write_text(OWNER)
    return {
        "type": "external_account",
        "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": "https://sts.googleapis.com/v1/token",
        "credential_source": {"file": str(folder / "subject")},
    }


def by_token(user: str, token: str) -> dict[str, Any]:
    return {"auths": {HOST: {"auth": base64.b64encode(f"{user}:{token}".encode()).decode()}}}


def test_without_gcloud_a_token_is_stored_once_and_docker_logout_ends_it(shell: Shell) -> None:
    said = shell.cgrunbook("run", docker_pull="true")
    assert "signed in as oauth2accesstoken in config.json" in said
    kept = shell.config.read_bytes()
    assert "nothing was changed" in shell.cgrunbook("run")
    assert shell.config.read_bytes() == kept
    assert shell.pulls()
    shell("docker", "logout", HOST)
    assert not shell.pulls()
    denied = shell.cgrunbook("run", 3, docker_login="none", docker_pull="true")
    assert f"What to do: Nobody signed docker in: set docker_login to auto, or: docker login {HOST}" in denied


@pytest.mark.long
def test_a_token_that_is_over_is_written_anew_because_the_registry_says_so(shell: Shell) -> None:
    shell.write(by_token("oauth2accesstoken", "ya29.of-an-hour-ago"))
    assert not shell.pulls()
    said = shell.cgrunbook("plan", 4)
    assert "does not take the login of oauth2accesstoken (401: authentication failed)" in said
    shell.cgrunbook("run", docker_pull="true")
    assert shell.pulls()


@pytest.mark.long
def test_another_ones_login_that_is_taken_is_left_alone(shell: Shell) -> None:
    shell.gcloud(OWNER)
    token = shell("gcloud", "auth", "print-access-token").strip()
    shell.write({**by_token("_dcgcr_0_token", token), "psFormat": "x"})
    kept = shell.config.read_bytes()
    assert "signed in as _dcgcr_0_token in config.json" in shell.cgrunbook("run")
    assert shell.config.read_bytes() == kept
    assert shell.pulls()


@pytest.mark.long
def test_gcloud_that_is_signed_out_is_no_login_and_a_token_takes_its_place(shell: Shell) -> None:
    shell.gcloud()
    shell.write({"credHelpers": {HOST: "gcloud", "gcr.io": "gcloud"}})
    assert not shell.pulls()
    refused = shell.cgrunbook("run", 3, docker_login="credential-helper")
    assert "You do not currently have an active account selected" in refused
    assert "What to do: Sign in with gcloud, whose helper docker asks: gcloud auth login" in refused
    shell.cgrunbook("run", docker_pull="true")
    assert json.loads(shell.config.read_text())["credHelpers"] == {"gcr.io": "gcloud"}
    assert shell.pulls()


def test_gcloud_that_is_signed_in_lasts_and_what_is_said_to_end_it_ends_it(shell: Shell) -> None:
    shell.gcloud(OWNER)
    shell.cgrunbook("run", docker_pull="true")
    assert json.loads(shell.config.read_text()) == {"credHelpers": {HOST: "gcloud"}}
    assert shell.pulls()
    shell("docker", "logout", HOST)
    assert shell.pulls(), "docker logout does not end a helper, which is why another command is said to"
    ask = "from cgrunbook.cloud.docker_config import *; import sys; print(DockerConfig(Path(sys.argv[1])).ending(sys.argv[2]))"
    command = shell("python", "-c", ask, shell.config.parent, HOST).strip()
    shell("bash", "-c", command)
    assert not shell.pulls()


def test_a_token_that_is_asked_for_is_not_given_to_a_helper_that_forgets_it(shell: Shell) -> None:
    shell.gcloud(OWNER)
    shell.write({"credHelpers": {HOST: "gcloud"}})
    shell.cgrunbook("run", docker_login="access-token")
    shell.variables["CLOUDSDK_CONFIG"] += "-of-somebody-who-is-signed-out"
    assert shell.pulls()
    assert "nothing would be changed" in shell.cgrunbook("plan", docker_login="access-token")


@pytest.mark.long
@pytest.mark.parametrize("signed_in", [True, False])
def test_the_commands_shown_do_the_same(shell: Shell, signed_in: bool) -> None:
    shell.gcloud(OWNER if signed_in else "")
    if not signed_in:
        shell.write({"credHelpers": {HOST: "gcloud"}})
    planned = json.loads(shell.cgrunbook("plan", 4, "--json"))
    (step,) = [step for step in planned["notebooks"][0]["steps"] if step["title"] == "Sign docker in"]
    shell("bash", "-euo", "pipefail", "-c", "\n".join(step["commands"]))
    assert shell.pulls()
    assert "Sign docker in" in shell.cgrunbook("plan")


@pytest.mark.long
@pytest.mark.parametrize("kind", ["service_account", "external_account"])
def test_the_command_that_is_said_to_sign_gcloud_in_does_so(shell: Shell, kind: str) -> None:
    shell.gcloud(OWNER)
    role = ("--role=roles/owner", "--condition=None")
    shell("gcloud", "projects", "add-iam-policy-binding", PROJECT, f"--member=serviceAccount:{ROBOT}", *role)
    shell.variables["CLOUDSDK_CONFIG"] += "-of-somebody-who-is-signed-out"
    content = service_account() if kind == "service_account" else federation(shell.config.parent)
    shell.variables["GOOGLE_APPLICATION_CREDENTIALS"] = str(shell.machine.credentials(kind, content))
    said = shell.cgrunbook("run", 3, docker_login="credential-helper")
    (command,) = re.findall(r"whose helper docker asks: (gcloud auth .*)", said)
    shell("bash", "-c", command)
    assert "credential helper gcloud" in shell.cgrunbook("run", docker_login="credential-helper")
    assert shell.pulls()
