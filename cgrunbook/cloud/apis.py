"""The Google APIs that the runbook works with, and what to do where one is off in the project.

It asks nobody: a service whose API is off says so itself, whatever it is asked.
"""

from __future__ import annotations

from collections.abc import Mapping

from cgrunbook.errors import ApiDisabled, PermissionMissing, Temporary

ARTIFACT_REGISTRY = "artifactregistry.googleapis.com"
SECRET_MANAGER = "secretmanager.googleapis.com"  # noqa: S105 - a service's name

# What whoever charges requests to a project needs there.
USE = "serviceusage.services.use"

TITLES: Mapping[str, str] = {ARTIFACT_REGISTRY: "Artifact Registry API", SECRET_MANAGER: "Secret Manager API"}

ENABLED_BY: Mapping[str, str] = {ARTIFACT_REGISTRY: "02_developer_images", SECRET_MANAGER: "03_production_images"}


def answered(api: str, refusal: PermissionMissing) -> bool:
    """Whether a refusal for lack of a right is an API's own, which says that it is on: one that is off says so before."""
    return refusal.permission.startswith(f"{api.partition('.')[0]}.")


def service_agent(number: str) -> str:
    """The e-mail address of Artifact Registry's service agent in the project of a number."""
    return f"service-{number}@gcp-sa-artifactregistry.iam.gserviceaccount.com"


def secret_manager_agent(number: str) -> str:
    """Secret Manager's service agent in the project of a number, as an IAM member: it sends the notices."""
    return f"serviceAccount:service-{number}@gcp-sa-secretmanager.iam.gserviceaccount.com"


def service_agent_of(project: str) -> str:
    """Artifact Registry's service agent as a member in a command, its number left to gcloud: nobody is asked for it here."""
    number = f"$(gcloud projects describe {project} --format='value(projectNumber)')"
    return f"serviceAccount:{service_agent(number)}"


def disabled(api: str, project: str, said: str, *, charged: str = "") -> ApiDisabled:
    """The error for a service that answered that its API is off.

    Args:
        api: the service's name, such as "artifactregistry.googleapis.com"; "" where its answer has none.
        project: the id of the project worked in.
        said: what was tried and what the service answered.
        charged: id or number of the project that it is off in, where that is another one: requests are charged to it.
    """
    title = TITLES.get(api) or (f"API {api}" if api else "API of this service")
    command = f"gcloud services enable {api or 'SERVICE'} --project={charged or project}"
    if charged:
        return ApiDisabled(
            f"The {title} is not enabled in project {charged}, which requests are charged to.\n{said}",
            f"Enable it there: {command}\nOr {charge_another(project)}",
            api=api,
            charged=charged,
        )
    notebook = ENABLED_BY.get(api)
    remedy = f"Run the notebook {notebook}, which enables it, or: {command}" if notebook else f"Enable it: {command}"
    return ApiDisabled(f"The {title} is not enabled in project {project}.\n{said}", remedy, api=api)


def spreading(said: str) -> Temporary:
    """The error for a service that says that its API is off, where it was turned on a moment ago; `said` as in `disabled`."""
    return Temporary(
        said, "It was enabled a moment ago, and not every server knows yet. Wait some minutes, then run again."
    )


def charge_another(project: str) -> str:
    """How requests are charged to a project instead, an instruction that begins in lower case."""
    return (
        f"charge them to {project}: gcloud auth application-default set-quota-project {project} (or, for credentials of "
        "another kind, GOOGLE_CLOUD_QUOTA_PROJECT)"
    )
