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
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from cgrunbook import steps
from cgrunbook.cloud import Cloud, connect
from cgrunbook.cloud.artifact_registry import CleanupPolicy
from cgrunbook.cloud.iam_policy import Binding, take_command
from cgrunbook.cloud.roles import ACCESSOR
from cgrunbook.sandbox import process
from cgrunbook.steps.step import Outcome, Step
from tests.clients.gcloud import Gcloud
from tests.clients.programs import client
from tests.left_behind import difference, password_of, world
from tests.sandboxes import chainctl_without_a_process, make_topic, sandbox_home
from tests.steps.performing import (
    PRIVATE,
    PUBLIC,
    SECRET,
    Watcher,
    open_book,
    perform,
    state_of,
    steps_of_02,
    steps_of_03,
)

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
    with Gcloud(process.start(home)) as gcloud:
        return in_a_shell(commands, home, folder, gcloud)


def in_a_shell(commands: list[str], home: Path, folder: Path, gcloud: Gcloud) -> str:
    watched = folder / "watched"
    watched.mkdir()
    seen = folder / "seen"
    search = f"{process.folder_of(home) / 'bin'}{os.pathsep}{os.environ['PATH']}"
    for name in WATCHED:
        real = gcloud.program() if name == "gcloud" else shutil.which(name, path=search)
        assert real is not None
        (watched / name).write_text(
            f'#!/bin/bash\n{{ echo "{name} $*"; env; }} >>{shlex.quote(str(seen))}\nexec {shlex.quote(str(real))} "$@"\n'
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


@pytest.mark.usefixtures("forked")
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


TOPICS = [f"projects/cgrunbook-sandbox/topics/{name}" for name in ("first", "second", "third")]
LIMITED = Binding(
    ACCESSOR,
    ("user:guest@example.com",),
    'resource.name != "a,b" && request.time < timestamp("2100-01-01T00:00:00Z")',
    "for a time, and not a,b",
    "the guest's; ask ~ or #",
)


def used_by_others(home: Path) -> None:
    """02 and 03, and then what people do to what these have made."""
    for topic in TOPICS:
        make_topic(home, topic.rpartition("/")[2])
    settings = steps.SecretSettings(rotation_topic=TOPICS[0], rotation_period="700h")
    book, _ = open_book()
    perform(book, *steps_of_02(cleanup_older_than="720h", cleanup_keep=5), *steps_of_03())
    perform(book, steps.CreateSecret(SECRET, settings))
    cloud = book.cloud
    public, secret = cloud.repositories.get(PUBLIC), cloud.secrets.get(SECRET)
    assert public is not None
    assert secret is not None
    policies = dict(public.cleanup_policies)
    narrower = CleanupPolicy(policies["cgrunbook-delete-old"])
    narrower.condition.package_name_prefixes = ["chainguard/go"]
    theirs = CleanupPolicy(id="theirs", action="DELETE", condition={"older_than": timedelta(days=9), "tag_state": 2})
    policies |= {"cgrunbook-delete-old": narrower, "theirs": theirs}
    labels = {"team": "theirs", "managed-by": "somebody"}
    cloud.repositories.update(public, replace(public, labels=labels, cleanup_policies=policies))
    cloud.secrets.update(secret, replace(secret, labels=labels, topics=(*secret.topics, TOPICS[1])))
    binding = {
        "role": LIMITED.role,
        "members": LIMITED.members,
        "condition": {"title": LIMITED.title, "expression": LIMITED.condition, "description": LIMITED.description},
    }
    policy = {"version": 3, "bindings": [binding]}  # and the agent's grant is gone
    cloud.secrets._client.set_iam_policy(request={"resource": cloud.secrets.name(SECRET), "policy": policy})
    there = cloud.repositories.get(PRIVATE)
    assert there is not None
    elsewhere = f"projects/another-project/secrets/{SECRET}/versions/1"
    cloud.repositories.set_upstream_credentials(PRIVATE, there.username, elsewhere, disable_upstream_validation=True)


def put_right(mode: str = "apply") -> tuple[list[str], Watcher]:
    """02 and 03 with other settings; the commands that they show."""
    options = steps.RepositorySettings(
        description='It\'s "ours"; $HOME', labels=("team=blue",), cleanup_older_than="240h", cleanup_dry_run=False
    )
    topic = steps.SecretSettings(labels=("team=blue",), rotation_topic=TOPICS[2], rotation_period="700h")
    asked: list[Step] = [
        steps.CreateRemoteRepository(PUBLIC, settings=options),
        steps.CreateSecret(SECRET, topic),
        steps.GrantSecretAccess(SECRET),
        steps.CreatePrivateRepository(PRIVATE, SECRET, settings=options, public_repository=PUBLIC),
    ]
    book, seen = open_book(mode=mode)
    perform(book, *asked)
    return [command for result in seen.results for command in result.plan.commands], seen


@pytest.mark.long
def test_what_is_shown_for_a_world_that_others_have_changed_leaves_the_world_that_the_notebooks_leave(tmp_path):
    client("gcloud")
    with chainctl_without_a_process():
        with sandbox_home(tmp_path / "by-notebook") as home:
            used_by_others(home)
            _, seen = put_right()
            left_by_notebooks = {**world(home), "docker": {}}  # a token of an hour, another each time
            assert set(seen.outcomes) == {Outcome.UPDATED, Outcome.CREATED}
            assert put_right()[0] == [], "a second run has nothing to do"
        with sandbox_home(tmp_path / "by-hand") as home:
            used_by_others(home)
            by_hand(put_right("plan")[0], home, tmp_path)
            differing = difference(left_by_notebooks, {**world(home), "docker": {}})
            assert not differing, differing
            assert put_right()[0] == [], "nor has one after the commands"
            # What ends a grant takes it with its condition, and leaves the others.
            taken = take_command(
                f"secrets remove-iam-policy-binding {SECRET} --project=cgrunbook-sandbox", LIMITED.members[0], LIMITED
            )
            again = tmp_path / "again"
            again.mkdir()
            by_hand([taken], home, again)
            book, _ = open_book()
            [left] = book.cloud.secrets.get_policy(SECRET).bindings
            assert left.members[0].startswith("serviceAccount:service-")
            assert not left.condition


@pytest.mark.long
def test_a_rotation_by_hand_leaves_one_token_that_is_taken_everywhere(tmp_path):
    client("gcloud")
    with sandbox_home(tmp_path / "home") as home:
        there = Cloud(connect("sandbox", location="europe-west1"))
        with chainctl_without_a_process():
            perform(open_book()[0], *steps_of_03())
            perform(open_book(cloud=there)[0], *steps_of_03())
            old = password_of(home)
        settings = steps.RotationSettings(grace="1s")
        book, seen = open_book(mode="plan")
        perform(book, steps.RotatePullToken(PRIVATE, SECRET, settings=settings))
        watched = by_hand(list(seen.results[-1].plan.commands), home, tmp_path)
        assert old not in watched
        assert password_of(home) not in watched
        after = state_of(book.cloud)
        assert (after.versions, after.live_tokens, after.pair_is_taken_by_cgr_dev) == (["2 ENABLED"], 1, True)
        assert state_of(there).token_is_the_one_in_use
