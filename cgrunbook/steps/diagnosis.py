"""The last of the guide's debugging hints: a fresh repository with the same settings, made, tried and taken away again.

The other hints are checks of `cgrunbook.diagnosis`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from cgrunbook.errors import (
    CgrunbookError,
    PrerequisiteMissing,
    StepFailed,
)
from cgrunbook.image_reference import Platform
from cgrunbook.steps.pulling import image_of, path_through
from cgrunbook.steps.repository import expected_repository, made_by_cgrunbook
from cgrunbook.steps.step import (
    MANAGED_BY,
    Change,
    Evidence,
    Finding,
    Mark,
    Outcome,
    Plan,
    Progress,
    Section,
    Step,
    World,
)


class TryFreshRepository(Step):
    """The guide's fourth hint: a second repository with the same settings, made, tried and taken away again.

    Args:
        repository: whose settings are tried.
        image: what to pull through it; without a namespace it is your organisation's.
        platform: whose layers are fetched.
        organization: for an image without namespace.
        wanted: whether to do it at all.
    """

    section = Section.DEBUGGING
    why = "If a fresh repository works, the old one is misconfigured; if it does not, the cause is elsewhere."

    def __init__(
        self,
        repository: str,
        image: str,
        platform: str = "linux/amd64",
        *,
        organization: str = "",
        wanted: bool = False,
    ) -> None:
        self.repository = repository
        self.image = image
        self.platform = Platform(platform)
        self.organization = organization
        self.not_asked_for = "" if wanted else "try_fresh_repository"
        self.title = f"Try a fresh repository with the settings of {repository}"
        # The same each time, so that what a killed run left is found.
        self.fresh = f"{repository[:48].rstrip('-')}-cgrunbook-try"

    def plan(self, world: World) -> Plan:
        there = world.repository(self.repository)
        if there is None:
            return Plan(Outcome.VERIFIED)
        what = f"like {self.repository}, tried with {self.image}, and deleted again"
        connection = world.cloud.connection
        where = f"--project={connection.project_id} --location={connection.location}"
        create = (
            f"gcloud artifacts repositories create {self.fresh} {where} --repository-format=docker "
            f"--mode=remote-repository --remote-docker-repo={there.upstream}"
        )
        if there.username:
            create += f" --remote-username={there.username}"
            create += f" --remote-password-secret-version={there.password_secret_version}"
        return Plan(
            Outcome.VERIFIED,
            (Change(f"repository {self.fresh}", "", None, what),),
            (create, f"gcloud artifacts repositories delete {self.fresh} --quiet {where}"),
        )

    def apply(self, world: World, plan: Plan) -> dict[str, Any]:
        """Make it, pull through it, delete it whatever came of the pull."""
        repositories = world.cloud.repositories
        there = world.repository(self.repository)
        if there is None:
            raise PrerequisiteMissing(
                f"The repository {self.repository} is gone.", "Run 04_debugging from its beginning."
            )
        left_over = repositories.get(self.fresh)
        if left_over is not None:
            if not made_by_cgrunbook(left_over):
                raise StepFailed(
                    f"There is a repository {self.fresh} that cgrunbook did not make.",
                    "Rename or delete it, then run again.",
                )
            repositories.delete(self.fresh)
        world.progress(Progress(f"making {self.fresh}"))
        labels = dict(there.labels) | MANAGED_BY
        try:
            repositories.create(replace(there, name=repositories.name(self.fresh), labels=labels))
            return self._pull(world)
        except CgrunbookError as error:
            raise StepFailed(
                f"A fresh repository with the settings of {self.repository} does not work either: {error.message}",
                f"So {self.repository} is not what is wrong. {error.remedy}",
                debugging=4,
            ) from error
        finally:
            world.progress(Progress(f"deleting {self.fresh}"))
            repositories.delete(self.fresh)

    def verify(self, world: World) -> Evidence:
        if not world.seen:
            return Evidence(findings=(_not_there(world, self.repository),))
        if world.repository(self.fresh) is not None:
            raise StepFailed(f"The repository {self.fresh} is still there.", "Delete it by hand.")
        return Evidence("works, and is gone again", world.seen)

    def _pull(self, world: World) -> dict[str, Any]:
        image = image_of(world, self.image, self.organization)
        path = path_through(world, self.fresh, image)
        pulled = world.cloud.artifact_registry_host.pull(path, image.reference, self.platform)
        return {
            "a fresh repository": f"works: if {self.repository} does not, it is misconfigured; make it anew",
            "pulled": f"{image}, {pulled.digest}",
            "bytes hashed": pulled.bytes,
        }


def _not_there(world: World, name: str) -> Finding:
    if world.expects(expected_repository(name)):
        return Finding(Mark.OK, name, "not there yet; this plan would make it")
    remedy = "Make it with 02_developer_images or 03_production_images, if it is wanted."
    return Finding(Mark.WARN, name, "does not exist", remedy)
