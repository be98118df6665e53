"""The image of the container file, built and run by docker's engine: what a scheduler's job is, on a machine that gives it nothing.

Every container here has a read-only root, no network but its own loopback, no capability, and a uid that no image knows.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import sqlite3
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cgrunbook.errors import ExitCode
from tests.clients.container_base import context, root
from tests.clients.docker_engine import docker_engine
from tests.test_automation import CRON_JOB, PAGE
from tests.test_canary import spellings
from tests.waiting import wait_for

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
IMAGE, NOBODY = "cgrunbook:test", "12345:0"
CANARY = secrets.token_hex(24).encode()
# The job of the documents, where nothing but the sandbox is at hand: no account, and the sandbox's own project.
CONTAINER = CRON_JOB["CronJob"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]
JOB = [word.replace("google-cloud", "sandbox") for word in CONTAINER["args"]]
JOB = JOB[: JOB.index("-p")]


@dataclass(frozen=True)
class Docker:
    """An engine that has the image, and all that it has said."""

    address: str
    said: list[bytes]

    def __call__(self, *words: object, given: bytes = b"", check: bool = True) -> subprocess.CompletedProcess[bytes]:
        done = subprocess.run(
            ["docker", *map(str, words)],
            input=given,
            capture_output=True,
            check=False,
            env={**os.environ, "DOCKER_HOST": self.address, "DOCKER_BUILDKIT": "0"},
        )
        self.said.extend([done.stdout, done.stderr])
        assert not check or done.returncode == 0, (done.stdout + done.stderr).decode()
        return done

    def start(self, name: str, place: Path, *words: str) -> None:
        """Start a job that keeps its home and its run folders in a place outside."""
        hard = ["--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
        delays = ["--env", "CGRUNBOOK_SANDBOX_IAM_DELAY=0", "--env", "CGRUNBOOK_SANDBOX_AGENT_DELAY=0"]
        hard += ["--hostname", CRON_JOB["CronJob"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]["hostname"]]
        kept = ["--volume", f"{place}:/job", "--env", "CGRUNBOOK_HOME=/job/home", *delays]
        self("run", "--detach", "--name", name, *hard, "--network", "none", "--user", NOBODY, *kept, IMAGE, *words)

    def job(self, name: str, place: Path, *words: str) -> int:
        """Run a job to its end; its exit code."""
        self.start(name, place, *words)
        return int(self("wait", name).stdout)

    def logs(self, name: str) -> str:
        done = self("logs", name)
        return (done.stdout + done.stderr).decode()


@pytest.fixture(scope="module")
def docker(tmp_path_factory) -> Iterator[Docker]:
    with docker_engine(storage="overlay2") as address:
        docker = Docker(address, [])
        for name, shell in (("builder", True), ("runtime", False)):
            docker("import", "-", f"{name}:test", given=root(shell=shell))
        folder = tmp_path_factory.mktemp("container") / "context"
        context(folder, ROOT)
        for name in (
            ".env",
            "runs/record.json",
            ".git/config",
            "cgrunbook/__pycache__/kept.pyc",
        ):  # never reach the engine
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(CANARY)
        wanted = {
            "BUILDER": "builder:test",
            "RUNTIME": "runtime:test",
            "PIP_INDEX_URL": f"https://user:{CANARY.decode()}@index.example.com/simple",  # the builder's own affair
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": "wheels",
        }
        arguments = [word for name, value in wanted.items() for word in ("--build-arg", f"{name}={value}")]
        docker("build", "--network", "none", "--file", folder / "Containerfile", "--tag", IMAGE, *arguments, folder)
        yield docker


@pytest.fixture(scope="module")
def place(docker, tmp_path_factory) -> Path:
    """Where a job's home and run folders are, with what 03 has made in it; anybody may write there, as in a mounted volume."""
    place: Path = tmp_path_factory.mktemp("work")
    place.chmod(0o1777)
    for above in place.parents[:2]:  # pytest's own are for its user alone
        above.chmod(0o711)
    assert docker.job("guide", place, "run", "03") == ExitCode.DONE, docker.logs("guide")
    learn_passwords(docker, place)
    return place


def last_record(place: Path) -> dict[str, Any]:
    newest = max((place / "runs").iterdir(), key=lambda folder: folder.stat().st_mtime_ns)
    record: dict[str, Any] = json.loads((newest / "record.json").read_text())
    return record


def learn_passwords(docker: Docker, place: Path) -> None:
    """Write down, outside, the passwords that can be read now; the container that tells them is gone at once."""
    program = ["--rm", "--network", "none", "--tmpfs", "/tmp", "--user", NOBODY, "--volume", f"{place}:/job"]
    program += ["--env", "CGRUNBOOK_HOME=/job/home", "--entrypoint", "/opt/cgrunbook/bin/python", IMAGE, "-c", _TELL]
    docker("run", *program)


_TELL = """
from cgrunbook.cloud import Cloud, connect
secrets = Cloud(connect("sandbox")).secrets
with open("/job/known", "a") as known:
    for version in secrets.versions("chainguard-pull-token"):
        if version.state == "ENABLED":
            print(secrets.access("chainguard-pull-token", version.number).reveal().strip(), file=known)
"""


def live_tokens(place: Path) -> int:
    with sqlite3.connect(f"file:{place}/home/sandbox/state.db?mode=ro", uri=True) as state:
        (count,) = state.execute("SELECT count(*) FROM cg_identity WHERE issuer_keys IS NOT NULL").fetchone()
    return int(count)


def test_a_job_runs_without_a_shell_a_network_a_name_or_a_root_it_can_write(docker, place):
    assert docker.job("rotated", place, "rotate", "--grace", "0s") == ExitCode.DONE, docker.logs("rotated")
    assert last_record(place)["exit_code"] == ExitCode.DONE
    assert live_tokens(place) == 1
    (folder, *_) = (place / "runs").iterdir()
    assert folder.stat().st_uid == 12345


def test_the_container_ends_with_the_jobs_exit_code(docker, place):
    assert docker.job("not-yet", place, *JOB) == ExitCode.DONE, docker.logs("not-yet")
    assert docker.job("misspelt", place, "rotate", "-p", "token_tll", "30d") == ExitCode.USAGE
    assert "token_ttl" in docker.logs("misspelt")
    assert docker.job("warned", place, "status", "--warn-days", "90") == ExitCode.TO_DO, docker.logs("warned")


def test_a_job_that_is_stopped_ends_itself_and_the_next_one_finishes(docker, place):
    before = set((place / "runs").iterdir())
    docker.start("stopped", place, "rotate", "--grace", "0s")

    def at_work() -> bool:
        return any(
            '"intent"' in (folder / "journal.jsonl").read_text() for folder in {*(place / "runs").iterdir()} - before
        )

    wait_for(at_work, "the rotation's first change")
    docker("stop", "--time", "60", "stopped")
    (ended,) = json.loads(docker("inspect", "stopped").stdout)
    assert ended["State"]["ExitCode"] == ExitCode.INTERRUPTED, docker.logs("stopped")
    assert last_record(place)["exit_code"] == ExitCode.INTERRUPTED
    assert "Interrupted; before that" in docker.logs("stopped")
    assert docker.job("resumed", place, "rotate", "--grace", "0s") == ExitCode.DONE, docker.logs("resumed")
    assert live_tokens(place) == 1


def test_the_image_has_what_a_job_needs_and_is_as_large_as_the_documents_say(docker, tmp_path):
    (base,), (image,) = (json.loads(docker("image", "inspect", name).stdout) for name in ("runtime:test", IMAGE))
    (said,) = re.findall(r"It adds (\d+) MB to its base", PAGE)
    assert (image["Size"] - base["Size"]) / 1e6 == pytest.approx(int(said), rel=0.08)
    assert image["Config"]["User"] == "65532:65532"
    docker("create", "--name", "looked-at", IMAGE)
    docker("export", "--output", tmp_path / "root.tar", "looked-at")
    with tarfile.open(tmp_path / "root.tar") as tar:
        listed = "\n".join([*tar.getnames(), ""])
    assert "site-packages/cgrunbook/notebooks/05_rotate_pull_token.ipynb" in listed
    for unwanted in ("jupyterlab/", "site-packages/pip/", "/source/", "bin/sh\n", "bin/gcc", "tests/clients"):
        assert unwanted not in listed, unwanted


def test_what_must_not_be_seen_is_in_no_layer_no_log_and_nothing_that_docker_knows(docker, place, tmp_path):
    learn_passwords(docker, place)
    known = {*(place / "known").read_text().split()}
    assert known
    forms = [form for password in known for form in spellings(password)]
    for container in docker("ps", "--all", "--quiet").stdout.decode().split():
        docker("logs", container)
        docker("inspect", container)
        assert not docker("diff", container).stdout
    docker("history", "--no-trunc", IMAGE)
    docker("image", "inspect", IMAGE)
    said = b"\n".join(docker.said)
    assert b"RootFS" in said
    assert not [form for form in forms if form in said]
    docker("save", "--output", tmp_path / "image.tar", IMAGE)
    image = (tmp_path / "image.tar").read_bytes()
    assert b"site-packages/cgrunbook/" in image  # layers are kept as they are
    assert CANARY not in image
    assert CANARY not in said
