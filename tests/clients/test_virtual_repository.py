"""The commands that the virtual repository's step shows, typed into bash: the real gcloud makes what the step makes."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

from cgrunbook import steps
from cgrunbook.cloud import Cloud, connect
from cgrunbook.cloud.artifact_registry import RemoteRepository
from cgrunbook.sandbox import process
from cgrunbook.steps.step import Plan, World
from tests.clients.programs import client
from tests.sandboxes import sandbox_home


def test_gcloud_puts_one_address_over_two_and_puts_priorities_right(tmp_path: Path):
    client("gcloud")
    with sandbox_home(tmp_path / "home"):
        cloud = Cloud(connect("sandbox"))
        cloud.project.enable_api(steps.ARTIFACT_REGISTRY)
        for name in ("public", "private"):
            cloud.repositories.create(RemoteRepository(cloud.repositories.name(name), upstream="https://cgr.dev"))
        step = steps.CreateVirtualRepository("chainguard", "public", "private")

        def typed() -> Plan:
            plan = step.plan(World(cloud))
            for command in plan.commands:
                environment = os.environ | process.environment(process.start())
                done = subprocess.run(
                    ["bash", "-c", command], env=environment, capture_output=True, text=True, check=False
                )
                assert done.returncode == 0, f"{command}\n{done.stderr}"
            return plan

        assert len(typed().commands) == 1
        assert not step.plan(World(cloud)).changes
        made = cloud.repositories.get("chainguard")
        assert made is not None
        assert made.labels == {"managed-by": "cgrunbook"}
        lower = tuple(replace(policy, priority=1) for policy in made.upstream_policies)
        cloud.repositories.update(made, replace(made, upstream_policies=lower))
        assert len(typed().commands) == 1
        assert not step.plan(World(cloud)).changes
