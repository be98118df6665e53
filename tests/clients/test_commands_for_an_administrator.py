"""The commands that give what is missing, typed by an administrator into bash, on policies that have conditions already."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cgrunbook import steps
from cgrunbook.cloud import Cloud, connect
from cgrunbook.errors import PermissionMissing
from cgrunbook.sandbox import process
from cgrunbook.steps.rights import LEAST
from cgrunbook.steps.step import Evidence, Mark, World
from tests.clients.programs import client
from tests.misfortunes import change_policy
from tests.sandboxes import sandbox_home

TRAINEE, ADMINISTRATOR = "user:trainee@example.com", "user:administrator@example.com"
_CONDITION = {"title": "for a time", "expression": 'request.time < timestamp("2100-01-01T00:00:00Z")'}
CONDITIONAL = {
    "role": "roles/viewer",
    "members": ["user:guest@example.com"],
    "condition": _CONDITION,
}


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    """Where the trainee may only look, and the project's policy has a condition; nothing was made yet, the APIs are on."""
    with sandbox_home(tmp_path / "home"):
        cloud = Cloud(connect("sandbox"))
        for api in (steps.ARTIFACT_REGISTRY, steps.SECRET_MANAGER):
            cloud.project.enable_api(api)
        looking = {"role": "roles/viewer", "members": [TRAINEE]}
        change_policy(cloud, lambda _: [{"role": "roles/owner", "members": [ADMINISTRATOR]}, looking, CONDITIONAL])
        yield cloud


@pytest.fixture
def administrator(cloud: Cloud, tmp_path: Path) -> Callable[[str], None]:
    """Runs what a remedy says, each command as it stands, where nobody can answer a question."""
    client("gcloud")
    token = tmp_path / "administrator"
    token.write_text(process.access_token(ADMINISTRATOR))
    running = process.start()
    theirs = {"CLOUDSDK_AUTH_ACCESS_TOKEN_FILE": str(token)}
    environment = os.environ | process.environment(running) | theirs

    def type_in(remedy: str) -> None:
        commands = re.findall(r"gcloud .*--condition=None$", remedy, re.MULTILINE)
        assert commands
        for command in commands:
            done = subprocess.run(
                ["bash", "-c", command],
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, f"{command}\n{done.stderr}"

    return type_in


def marks(evidence: Evidence) -> set[Mark]:
    return {finding.mark for finding in evidence.findings}


def test_what_01_asks_an_administrator_for_is_what_is_needed(cloud: Cloud, administrator: Callable[[str], None]):
    check = steps.CheckGoogleCloud()
    evidence = check.verify(World(cloud))
    assert Mark.FAIL in marks(evidence)
    [asked] = [finding.remedy for finding in evidence.findings if "Ask an administrator" in finding.remedy]
    administrator(asked)
    assert marks(check.verify(World(cloud))) == {Mark.OK}
    given = re.findall(r"--role=(\S+)", asked)
    assert tuple(given) == LEAST["01_prerequisites"].roles


def test_each_refusal_on_the_way_names_a_command_that_lifts_it(cloud: Cloud, administrator: Callable[[str], None]):
    step: Any
    for step in (steps.CreateRemoteRepository("made"), steps.CreateSecret("made")):
        for attempt in range(3):
            world = World(cloud)
            try:
                step.apply(world, step.plan(world))
                break
            except PermissionMissing as error:
                assert attempt < 2
                administrator(error.remedy)
    # The secret's policy gets a condition too, and then the command that 03 shows is typed.
    grant = steps.GrantSecretAccess("made")
    raw = cloud.secrets._read_policy(cloud.secrets.name("made"), "read it")
    binding = raw.bindings.add(role="roles/secretmanager.secretAccessor", members=["user:guest@example.com"])
    binding.condition.title, binding.condition.expression = "for a time", _CONDITION["expression"]
    raw.version = 3
    cloud.secrets._client.set_iam_policy({"resource": cloud.secrets.name("made"), "policy": raw})
    command = grant.plan(World(cloud)).commands[-1]
    administrator(command.replace("\\\n", ""))
    assert grant.plan(World(cloud)).empty
