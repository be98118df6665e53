"""Terraform with Google's provider itself creates, reads, changes, imports and destroys the guide's resources.

The provider comes from a registry that tests do not ask. Where CGRUNBOOK_TERRAFORM_PROVIDER names its program, it is run;
what it sends is replayed everywhere by tests/sandbox/google/test_terraform_requests.py.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from cgrunbook.sandbox import hosts, process, settings
from tests.clients.gcloud import PROJECT, Clients

PROVIDER = os.environ.get("CGRUNBOOK_TERRAFORM_PROVIDER")
CONFIGURATION = Path(__file__).with_name("terraform.tf")
REPOSITORIES = f"{PROJECT}/locations/us-central1/repositories"


class Terraform:
    """terraform in a folder of its own, in the sandbox's environment."""

    def __init__(self, folder: Path, running: process.Running, provider: str) -> None:
        self._folder = folder
        folder.mkdir()
        shutil.copy(CONFIGURATION, folder)
        program = folder / "bin" / "terraform-provider-google"
        program.parent.mkdir()
        program.symlink_to(Path(provider).absolute())
        settings = folder / "settings.tfrc"
        override = f'dev_overrides {{ "hashicorp/google" = "{program.parent}" }}'
        settings.write_text(f"provider_installation {{\n  {override}\n  direct {{}}\n}}\n")
        own = {"TF_CLI_CONFIG_FILE": str(settings), "CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1"}
        self._variables = os.environ | process.environment(running) | own

    def __call__(self, *arguments: str, ends_with: int = 0) -> str:
        done = subprocess.run(
            ["terraform", *arguments],
            cwd=self._folder,
            env=self._variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == ends_with, done.stdout + done.stderr
        return done.stdout

    def let(self, variables: dict[str, object]) -> None:
        """Set variables for whatever is run from now on."""
        (self._folder / "test.auto.tfvars.json").write_text(json.dumps(variables))

    def apply(self) -> None:
        """Apply, and find nothing more to be done after."""
        self("apply", "-auto-approve", "-no-color")
        self("plan", "-detailed-exitcode", "-no-color")

    def outputs(self) -> dict[str, Any]:
        return {name: one["value"] for name, one in json.loads(self("output", "-json")).items()}


def creates_reads_changes_imports_and_destroys(tmp_path: Path, provider: str) -> None:
    home = tmp_path / "home"
    running = process.start(home, iam_delay=0.0, agent_delay=0.0)
    try:
        clients = Clients(running)
        terraform = Terraform(tmp_path / "first", running, provider)
        terraform.apply()
        labels = {"managed": "terraform", "team": "one", "goog-terraform-provisioned": "true"}
        assert terraform.outputs() == {
            "effective_labels": labels,
            "registry_uri": f"us-central1-docker.pkg.dev/{settings.PROJECT_ID}/public",
        }
        assert clients.artifacts.get_repository(name=f"{REPOSITORIES}/public").labels == labels
        versions = clients.secrets.list_secret_versions(parent=f"{PROJECT}/secrets/token")
        assert [version.state.name for version in versions] == ["DISABLED", "ENABLED"]

        changed: dict[str, object] = {
            "team": "two",
            "username": "org/second",
            "password_version": 2,
            "second_enabled": True,
        }
        changed |= {"aliases": {"live": "2"}, "older_than": "86400s", "next_rotation_time": "2099-10-03T15:01:23.500Z"}
        terraform.let(changed)
        terraform.apply()
        private = clients.artifacts.get_repository(name=f"{REPOSITORIES}/private").remote_repository_config
        pair = private.upstream_credentials.username_password_credentials
        assert (pair.username, pair.password_secret_version) == ("org/second", f"{PROJECT}/secrets/token/versions/2")
        assert (
            clients.secrets.access_secret_version(name=f"{PROJECT}/secrets/token/versions/live").payload.data
            == b"second"
        )

        importing = Terraform(tmp_path / "second", running, provider)
        importing.let(changed)
        for address, name in (
            ("google_artifact_registry_repository.public", f"{REPOSITORIES}/public"),
            ("google_artifact_registry_repository.private", f"{REPOSITORIES}/private"),
            ("google_secret_manager_secret.token", f"{PROJECT}/secrets/token"),
            ("google_secret_manager_secret_version.first", f"{PROJECT}/secrets/token/versions/1"),
            (
                f'google_project_service.needed["{hosts.ARTIFACT_REGISTRY}"]',
                f"{settings.PROJECT_ID}/{hosts.ARTIFACT_REGISTRY}",
            ),
        ):
            importing("import", "-no-color", address, name)
        state = json.loads(importing("show", "-json"))["values"]["root_module"]["resources"]
        imported = {one["address"]: one["values"] for one in state}
        public = imported["google_artifact_registry_repository.public"]
        assert public["effective_labels"] == labels | {"team": "two"}
        assert public["remote_repository_config"][0]["common_repository"] == [{"uri": "https://cgr.dev"}]
        kept = imported["google_artifact_registry_repository.private"]["remote_repository_config"][0]
        assert kept["upstream_credentials"][0]["username_password_credentials"] == [
            {"username": "org/second", "password_secret_version": f"{PROJECT}/secrets/token/versions/2"}
        ]

        terraform("destroy", "-auto-approve", "-no-color")
        assert not list(clients.artifacts.list_repositories(parent=REPOSITORIES.rpartition("/")[0]))
        assert (
            clients.services.get_service({"name": f"{PROJECT}/services/{hosts.SECRET_MANAGER}"}).state.name
            == "DISABLED"
        )
    finally:
        process.reset(home)


if PROVIDER:

    def test_the_provider_creates_reads_changes_imports_and_destroys(tmp_path: Path) -> None:
        creates_reads_changes_imports_and_destroys(tmp_path, PROVIDER or "")
