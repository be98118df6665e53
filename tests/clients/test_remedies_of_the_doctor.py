"""What the doctor says to do is done word for word, in bash with the real gcloud; then what it had named is gone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cgrunbook.sandbox import faults, process
from cgrunbook.steps.docker import SignDockerIn
from tests.clients.programs import client
from tests.diagnosis import joint
from tests.sandbox.faults.world import Broken, made

pytestmark = pytest.mark.long

#: Those that a command mends, and not a corrected name, patience, or whoever runs what is broken.
MENDED = (
    *("token-ended", "token-revoked", "token-role-missing", "token-username-mismatched", "upstream-unvalidated"),
    *("secret-version-disabled", "secret-version-destroyed", "secret-newline", "secret-base64", "secret-empty"),
    *(
        "secret-other-project",
        "grant-missing",
        "grant-conditional",
        "agent-absent",
        "upstream-path",
        "upstream-wrong-host",
    ),
    *("api-disabled-artifactregistry", "api-disabled-secretmanager", "reader-missing", "docker-other-location"),
    *("docker-helper-missing", "caller-lacks-secretmanager.versions.access", "caller-lacks-secretmanager.secrets.get"),
)

# A line of a remedy ends with the command that it speaks of.
_COMMAND = re.compile(r"(?:^|: |\. )((?:gcloud|chainctl|cgrunbook|docker) .*)$", re.MULTILINE)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broken]:
    client("gcloud")
    with made(tmp_path_factory.mktemp("remedies") / "home", SignDockerIn("credential-helper")) as there:
        yield there


@pytest.mark.parametrize("fault", MENDED)
def test_what_it_says_to_do_helps(world: Broken, tmp_path: Path, fault: str):
    faults.set_faults([fault], world.home)
    try:
        named = joint.causes(joint.look(world.home))[0]
        commands = _COMMAND.findall(joint.look(world.home).verdict.causes[0].remedy)
        assert commands
        for command in commands:
            environment = {**os.environ, **process.environment(world.running), "CGRUNBOOK_HOME": str(world.home)}
            environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
            done = subprocess.run(
                ["bash", "-c", command], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        found = joint.look(world.home)
        assert named not in [cause.name for cause in found.verdict.causes if cause.mark.value != "to do"]
        assert found.verdict.exit_code == 0, found.as_json()["verdict"]
    finally:
        faults.clear(home=world.home)
