"""Enabling the Google APIs that the guide's sections use."""

from __future__ import annotations

from cgrunbook.cloud.apis import ARTIFACT_REGISTRY, SECRET_MANAGER, TITLES
from cgrunbook.errors import StepFailed
from cgrunbook.steps.step import Change, Evidence, Outcome, Plan, Progress, Section, Step, World, expected_api

__all__ = ["ARTIFACT_REGISTRY", "SECRET_MANAGER", "EnableApi"]


class EnableApi(Step):
    """Enable one API in the project.

    Args:
        api: its service name.
    """

    section = Section.PREREQUISITES
    why = "Nothing can be made in a service whose API is off in the project."

    def __init__(self, api: str = ARTIFACT_REGISTRY) -> None:
        self.api = api
        self.console_page = f"apis/library/{api}"
        self.title = f"Enable the {TITLES[api]}"

    def plan(self, world: World) -> Plan:
        if world.expects(expected_api(self.api)) or world.api_enabled(self.api):
            return Plan()
        project = world.cloud.connection.project_id
        return Plan(
            Outcome.CREATED,
            (Change(f"API {self.api}", "state", "off", "on"),),
            (f"gcloud services enable {self.api} --project={project}",),
            makes=(expected_api(self.api),),
        )

    def apply(self, world: World, plan: Plan) -> None:
        world.progress(Progress(f"enabling {self.api}"))
        world.cloud.project.enable_api(self.api)

    def verify(self, world: World) -> Evidence:
        if not world.api_enabled(self.api):
            if world.expects(expected_api(self.api)):
                return Evidence("will be enabled by then")
            raise StepFailed(f"{self.api} was enabled and is not on.", "Somebody may have disabled it again; look who.")
        return Evidence("enabled", {"API": self.api, "state": "on"})
