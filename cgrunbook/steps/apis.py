"""Enabling the Google APIs that the guide's sections use. It knows which they are, and how one is found to be on."""

from __future__ import annotations

from typing import ClassVar

from cgrunbook.errors import ApiDisabled, StepFailed
from cgrunbook.steps.step import CONSOLE, Change, Evidence, Outcome, Plan, Progress, Section, Step, World

ARTIFACT_REGISTRY = "artifactregistry.googleapis.com"
SECRET_MANAGER = "secretmanager.googleapis.com"  # noqa: S105 - a service's name

_NAMES = {ARTIFACT_REGISTRY: "Artifact Registry API", SECRET_MANAGER: "Secret Manager API"}


def expected_api(api: str) -> str:
    """How a plan names an API that a step before would have enabled."""
    return f"api {api}"


def require_api(world: World, api: str) -> bool:
    """Whether an API answers now; False when only a step before this one of the same plan would enable it.

    Raises:
        ApiDisabled: it is off.
    """
    if world.cloud.project.api_enabled(api):
        return True
    if world.expects(expected_api(api)):
        return False
    project = world.cloud.connection.project_id
    notebook = "02_developer_images" if api == ARTIFACT_REGISTRY else "03_production_images"
    raise ApiDisabled(
        f"The {_NAMES[api]} is not enabled in project {project}.",
        f"Run the notebook {notebook}, which enables it, or: gcloud services enable {api} --project={project}",
    )


class EnableApi(Step):
    """Enable one API in the project.

    Args:
        api: its service name.
    """

    section: ClassVar = Section.PREREQUISITES
    why: ClassVar = "Nothing can be made in a service whose API is off in the project."

    def __init__(self, api: str = ARTIFACT_REGISTRY) -> None:
        self.api = api

    @property
    def title(self) -> str:
        """What the step does."""
        return f"Enable the {_NAMES[self.api]}"

    def console(self, world: World) -> str:
        """The API's page."""
        return f"{CONSOLE}/apis/library/{self.api}?project={world.cloud.connection.project_id}"

    def plan(self, world: World) -> Plan:
        """Whether it is on."""
        if world.expects(expected_api(self.api)) or world.cloud.project.api_enabled(self.api):
            return Plan()
        project = world.cloud.connection.project_id
        return Plan(
            Outcome.CREATED,
            (Change(f"service {self.api}", "state", "DISABLED", "ENABLED"),),
            (f"gcloud services enable {self.api} --project={project}",),
            makes=(expected_api(self.api),),
        )

    def apply(self, world: World, plan: Plan) -> None:
        """Enable it and wait until it answers."""
        world.progress(Progress(f"enabling {self.api}"))
        world.cloud.project.enable_api(self.api)

    def verify(self, world: World) -> Evidence:
        """Read the state back."""
        if not world.cloud.project.api_enabled(self.api):
            if world.expects(expected_api(self.api)):
                return Evidence("will be enabled by then")
            raise StepFailed(f"{self.api} was enabled and is not on.", "Somebody may have disabled it again; look who.")
        return Evidence("enabled", {"service": self.api, "state": "ENABLED"})
