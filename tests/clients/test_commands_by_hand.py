"""The commands that the steps of 02 and 03 show, typed into bash: they leave the world that the notebooks leave.

gcloud is the real one and chainctl the sandbox's stand-in.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cgrunbook.sandbox import process
from tests.clients.programs import client
from tests.left_behind import difference, password_of, world
from tests.sandboxes import make_topic, sandbox_home

CGRUNBOOK = (sys.executable, "-m", "cgrunbook")
WATCHED = ("gcloud", "chainctl", "sed", "tr", "date")

EVERY_OPTION = (
    *("-p", "private_repository", "chainguard-pull-through"),
    *("-p", "description", 'Images of the team\'s; $HOME, `x` & "more"'),
    *("-p", "labels", "team=red,stage=test"),
    *("-p", "cleanup_older_than", "720h", "-p", "cleanup_keep", "5"),
    *("-p", "vulnerability_scanning", "disabled"),
    *("-p", "secret_locations", "us-central1"),
    *("-p", "secret_expires_after", "8000h"),
    *("-p", "rotation_topic", "projects/cgrunbook-sandbox/topics/rotate", "-p", "rotation_period", "700h"),
    *("-p", "token_ttl", "168h30m"),
)


def commands_shown(run: Path) -> list[str]:
    record = json.loads((run / "record.json").read_text())
    steps = [step for notebook in record["notebooks"] for step in notebook["steps"]]
    return [command for step in steps for command in step["commands"]]


def by_hand(commands: list[str], home: Path, folder: Path) -> str:
    """Run commands in a shell that `cgrunbook sandbox env` points at a sandbox; answers what each program was given."""
    watched = folder / "watched"
    watched.mkdir()
    seen = folder / "seen"
    search = f"{process.folder_of(home) / 'bin'}{os.pathsep}{os.environ['PATH']}"
    for name in WATCHED:
        real = shutil.which(name, path=search)
        assert real is not None
        (watched / name).write_text(
            f'#!/bin/bash\n{{ echo "{name} $*"; env; }} >>{shlex.quote(str(seen))}\nexec {shlex.quote(real)} "$@"\n'
        )
        (watched / name).chmod(0o755)
    script = folder / "commands.sh"
    script.write_text(
        "\n".join(
            (
                "set -euo pipefail",
                f'eval "$({shlex.join(CGRUNBOOK)} sandbox env)"',
                f"PATH={shlex.quote(str(watched))}:$PATH",
                *commands,
            )
        )
    )
    done = subprocess.run(["bash", str(script)], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{script.read_text()}\n{done.stdout}\n{done.stderr}"
    return seen.read_text() + done.stdout + done.stderr


@pytest.mark.parametrize(
    "options",
    [
        pytest.param((), id="the defaults", marks=pytest.mark.long),
        pytest.param(EVERY_OPTION, id="every option, one repository"),
    ],
)
def test_the_commands_shown_leave_the_world_that_the_notebooks_leave(tmp_path, options):
    client("gcloud")
    with sandbox_home(tmp_path / "by-notebook") as home:
        make_topic(home, "rotate")
        run = [*CGRUNBOOK, "run", "02", "03", "--output", str(tmp_path / "run"), *options]
        done = subprocess.run(run, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        left_by_notebooks = world(home)
        their_host = process.start(home).docker_host("us-central1")
    commands = commands_shown(tmp_path / "run")
    with sandbox_home(tmp_path / "by-hand") as home:
        make_topic(home, "rotate")
        our_host = process.start(home).docker_host("us-central1")
        seen = by_hand([command.replace(their_host, our_host) for command in commands], home, tmp_path)
        assert password_of(home) not in seen
        differing = difference(left_by_notebooks, world(home))
    assert not differing, differing
    assert left_by_notebooks["docker"] == {"credHelpers": {"HOST": "gcloud"}}
    assert len(left_by_notebooks["pull tokens"]) == 1
