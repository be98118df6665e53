"""Performing steps on a real sandbox without a notebook, and reading back what the world looks like then."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import requests as http

from cgrunbook import steps
from cgrunbook.cloud import Cloud, Wait, connect
from cgrunbook.cloud.registry import BasicCredentials
from cgrunbook.cloud.roles import ACCESSOR
from cgrunbook.parameters import Parameters
from cgrunbook.run.conclusion import Conclusion
from cgrunbook.run.folder import RUN_FOLDER_VARIABLE
from cgrunbook.run.journal import Journal
from cgrunbook.run.result import Result
from cgrunbook.run.runbook import Runbook
from cgrunbook.run.session import Session
from cgrunbook.sandbox import process
from cgrunbook.steps.pull_token import token_name
from cgrunbook.steps.step import Outcome, Plan, Progress, Step, World
from tests.waiting import PATIENCE, wait_for

PUBLIC, PRIVATE, SECRET = "chainguard-pull-through", "chainguard-private", "chainguard-pull-token"

# What is sent with POST and changes nothing.
_READS = (":testIamPermissions", ":getIamPolicy", "/sts/exchange", ":access", ":generateIdToken")


class Watcher:
    """A face that keeps what it is told.

    Args:
        answer: asked for each plan; None when nobody is there.
    """

    def __init__(self, answer: Callable[[Step, Plan], Awaitable[bool]] | None = None) -> None:
        self._answer = answer
        self.interactive = answer is not None
        self.asked: list[Plan] = []
        self.results: list[Result] = []
        self.waits: list[Wait] = []
        self.steps_seen: list[Progress] = []
        self.conclusions: list[Conclusion] = []

    def opened(self, session: Session) -> None: ...

    def standing(self) -> None: ...

    def concluded(self, conclusion: Conclusion) -> None:
        self.conclusions.append(conclusion)

    def form(self) -> None: ...

    async def approve(self, number: int, step: Step, plan: Plan) -> bool:
        self.asked.append(plan)
        assert self._answer is not None
        return await self._answer(step, plan)

    def progress(self, number: int, step: Step, progress: Progress) -> None:
        self.steps_seen.append(progress)

    def waiting(self, number: int, step: Step, wait: Wait) -> None:
        self.waits.append(wait)

    def finished(self, result: Result) -> None:
        self.results.append(result)

    @property
    def outcomes(self) -> list[Outcome]:
        return [result.outcome for result in self.results]


@dataclass
class Names:
    """What one test works on, so that many tests share a sandbox."""

    public: str = PUBLIC
    private: str = PRIVATE
    secret: str = SECRET

    @classmethod
    def of(cls, scenario: str) -> Names:
        return cls(f"public-{scenario}", f"private-{scenario}", f"secret-{scenario}")


def open_book(
    face: Watcher | None = None,
    *,
    folder: Path | None = None,
    notebook: str = "03_production_images",
    cloud: Cloud | None = None,
    **values: Any,
) -> tuple[Runbook, Watcher]:
    """A runbook on the sandbox of CGRUNBOOK_HOME, with a journal in a folder of its own, beside that."""
    params = Parameters(**values)
    face = face or Watcher()
    journal = Journal(folder or Path(tempfile.mkdtemp(prefix="run-", dir=Path(os.environ["CGRUNBOOK_HOME"]).parent)))
    session = Session(notebook, params, cloud.connection if cloud else connect("sandbox"), journal)
    # As the command line does, which writes the report when the run ends, and not at each step.
    with patch.dict(os.environ, {RUN_FOLDER_VARIABLE: str(session.journal.folder)}):
        return Runbook(session, face), face


def perform(book: Runbook, *asked: Step) -> None:
    """Perform steps in order, as the cells of a notebook do."""

    async def cells() -> None:
        for step in asked:
            await book.perform(step)

    asyncio.run(cells())


def steps_of_02(names: Names | None = None, **more: Any) -> list[Step]:
    """What 02 changes; its proofs are left to those who ask for them."""
    names = names or Names()
    return [
        steps.EnableApi(steps.ARTIFACT_REGISTRY),
        steps.CreateRemoteRepository(names.public, settings=steps.RepositorySettings(**more)),
        steps.SignDockerIn("access-token"),
    ]


def steps_of_03(names: Names | None = None) -> list[Step]:
    """What 03 changes."""
    names = names or Names()
    return [
        steps.EnableApi(steps.ARTIFACT_REGISTRY),
        steps.EnableApi(steps.SECRET_MANAGER),
        steps.CreateSecret(names.secret),
        steps.GrantSecretAccess(names.secret),
        steps.StorePullToken(names.secret, "", names.private),
        steps.CreatePrivateRepository(names.private, names.secret, public_repository=names.public),
    ]


def proof_of_02(names: Names | None = None) -> Step:
    return steps.PullImage("chainguard/go:latest", (names or Names()).public)


def proof_of_03(names: Names | None = None) -> Step:
    return steps.PullImage("chainguard-base:latest", (names or Names()).private)


@dataclass(frozen=True)
class State:
    """The world as far as one test made it, without what differs from run to run (ids, times)."""

    public: dict[str, str] | None
    private: dict[str, str] | None
    versions: list[str] = field(default_factory=list)
    annotations: list[str] = field(default_factory=list)
    grants: int = 0
    live_tokens: int = 0
    token_is_the_one_in_use: bool = False
    pair_is_taken_by_cgr_dev: bool = False


UNDISTURBED_03 = State(
    public=None,
    private={"managed-by": "cgrunbook"},
    versions=["1 ENABLED"],
    annotations=["cgrunbook.made-by", "cgrunbook.version-1"],
    grants=1,
    live_tokens=1,
    token_is_the_one_in_use=True,
    pair_is_taken_by_cgr_dev=True,
)


def state_of(cloud: Cloud, names: Names | None = None) -> State:
    """Read the world back through clients of its own."""
    names = names or Names()
    public, private = cloud.repositories.get(names.public), cloud.repositories.get(names.private)
    secret = cloud.secrets.get(names.secret)
    tokens = live_tokens(cloud, names)
    versions = cloud.secrets.versions(names.secret) if secret else ()
    taken = False
    if private and private.username:
        _, _, version = private.password_secret_version.rpartition("/")
        login = BasicCredentials(private.username, cloud.secrets.access(names.secret, version))
        taken = cloud.cgr(login).probe_token("example.com/chainguard-base").granted
    policy = cloud.secrets.get_policy(names.secret) if secret else None
    return State(
        public=dict(public.labels) if public else None,
        private=dict(private.labels) if private else None,
        versions=[f"{version.number} {version.state}" for version in versions if version.state != "DESTROYED"],
        annotations=sorted(secret.annotations) if secret else [],
        grants=sum(len(b.members) for b in policy.bindings if b.role == ACCESSOR) if policy else 0,
        live_tokens=len(tokens),
        token_is_the_one_in_use=[private.username] == tokens if private else False,
        pair_is_taken_by_cgr_dev=taken,
    )


def live_tokens(cloud: Cloud, names: Names | None = None) -> list[str]:
    """The usernames of the pull tokens that were made for a test's secret."""
    name = token_name(World(cloud), (names or Names()).secret)
    return [token.id for token in cloud.chainctl.list_pull_tokens("example.com") if token.name.startswith(name)]


def requests(home: Path, since: int = 0) -> list[dict[str, Any]]:
    """What the sandbox was asked, from its own log; a line is written after its answer is sent, so a last one is waited for."""
    log = home / "sandbox" / "log" / "requests.jsonl"
    if there := process.status(home):
        mark = f"/mark-{uuid4()}"
        http.get(f"http://{there.running.hosts['cgr.dev']}{mark}", timeout=PATIENCE)
        wait_for(lambda: mark in log.read_text(), "the log's line of a request")
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    return [line for line in lines if not line["path"].startswith("/mark-")][since:]


def writes(lines: Iterable[dict[str, Any]]) -> list[str]:
    """The requests among them that may change something."""
    return [
        f"{line['method']} {line['path']}"
        for line in lines
        if line["method"] not in ("GET", "HEAD") and not any(read in line["path"] for read in _READS)
    ]


def commands_of(plans: Sequence[Plan]) -> list[str]:
    return [command for plan in plans for command in plan.commands]
