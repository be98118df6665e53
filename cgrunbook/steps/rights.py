"""What the runbook's notebooks may do in a project: the permissions of each purpose, the least roles of each notebook.

It knows what is needed, and asks nobody who has it. The table of docs/services.md is made from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

APIS = "enable APIs"

# Which permissions on the project each part of the runbook needs.
PERMISSIONS: Mapping[str, tuple[str, ...]] = {
    APIS: ("serviceusage.operations.get", "serviceusage.services.enable"),
    "create and change repositories": (
        "artifactregistry.locations.list",
        "artifactregistry.repositories.create",
        "artifactregistry.repositories.get",
        "artifactregistry.repositories.list",
        "artifactregistry.repositories.update",
    ),
    "pull through them": ("artifactregistry.repositories.downloadArtifacts",),
    "keep the pull token": (
        "secretmanager.secrets.create",
        "secretmanager.secrets.get",
        "secretmanager.secrets.update",
        "secretmanager.versions.add",
        "secretmanager.versions.destroy",
        "secretmanager.versions.get",
        "secretmanager.versions.list",
    ),
    "let the service agent read it": ("secretmanager.secrets.getIamPolicy", "secretmanager.secrets.setIamPolicy"),
    "compare with cgr.dev": ("secretmanager.versions.access",),
    "tear down": ("artifactregistry.repositories.delete", "secretmanager.secrets.delete"),
}
OPTIONAL = frozenset({"compare with cgr.dev", "tear down"})

_REGISTRY, _SECRETS = "roles/artifactregistry.admin", "roles/secretmanager.admin"


@dataclass(frozen=True)
class Needed:
    """What whoever runs a notebook needs in the project, once the APIs that it uses are on.

    Args:
        roles: the least predefined roles; without one of them the notebook is refused, or says what it could not look at.
        less: where less will do.
        more: what more can be used, and for what.
    """

    roles: tuple[str, ...]
    less: str = ""
    more: str = ""


LEAST: Mapping[str, Needed] = {
    "01_prerequisites": Needed(
        (_REGISTRY, _SECRETS),
        "with less it says what is missing, and for what",
        "it looks for the rights that the others need",
    ),
    "02_developer_images": Needed(
        (_REGISTRY,), "`roles/artifactregistry.reader` on the repository, where it is there as it was asked for"
    ),
    "03_production_images": Needed(
        (_REGISTRY, _SECRETS),
        "where all is made already: `roles/artifactregistry.reader` on the repository and `roles/secretmanager.viewer` on "
        "the secret, but then nothing is compared with cgr.dev",
        "`roles/serviceusage.serviceUsageAdmin`, where the project never had a repository: its service agent has to be made",
    ),
    "04_debugging": Needed(
        ("roles/artifactregistry.reader", "roles/secretmanager.secretAccessor", "roles/secretmanager.viewer"),
        "each on the repositories and the secret alone",
        "`roles/browser`, to see a grant on the whole project; `roles/artifactregistry.admin` with `try_fresh_repository`",
    ),
    "05_rotate_pull_token": Needed(
        ("roles/artifactregistry.admin", "roles/secretmanager.admin"),
        "the same on the secret and the repositories alone: then nobody sees whether others use the token, and the replaced one "
        "stays until it ends",
        "the same on repositories of other projects that sign in with the secret: they go along",
    ),
    "06_teardown": Needed((_REGISTRY, _SECRETS)),
}


def markdown() -> str:
    """The least roles as a table of the documentation."""
    rows = [
        f"| {notebook} | {', '.join(f'`{role}`' for role in needed.roles)} | {needed.less} | {needed.more} |"
        for notebook, needed in LEAST.items()
    ]
    return "\n".join(("| notebook | least roles in the project | less | more |", "|---|---|---|---|", *rows)) + "\n"
