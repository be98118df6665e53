"""The project that this machine is set to, and who says so: the one reading, for a form and for a run without one.

It runs no command. Who goes before whom is written down here alone: the variables, as for google-auth and for gcloud; then
what the credentials belong to; then gcloud's configuration.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from cgrunbook.cloud import gcloud, metadata_server
from cgrunbook.cloud.application_default import key_file

# google-auth's two, then gcloud's.
_VARIABLES = ("GOOGLE_CLOUD_PROJECT", "GCLOUD_PROJECT", "CLOUDSDK_CORE_PROJECT")

Source = Literal["environment", "credentials", "gcloud", ""]


@dataclass(frozen=True)
class ConfiguredProject:
    """A project, and who says that it is meant.

    Args:
        id: the project's id, "" where nobody names one.
        source: what kind of source that is.
        note: where several sources say different things: which was taken, and what the others say; else "".
    """

    id: str = ""
    source: Source = ""
    note: str = ""


def configured_project() -> ConfiguredProject:
    """Read the project that is meant where none was given."""
    said = list(_said())
    if not said:
        return ConfiguredProject()
    source, by, project = said[0]
    others = [f"{who} says {other}" for _, who, other in said if other != project]
    return ConfiguredProject(project, source, f"by {by}, while {', and '.join(others)}" if others else "")


def _said() -> Iterator[tuple[Source, str, str]]:
    """Each source that names a project, the first to be believed first: its kind, its name, the project."""
    given = [(variable, os.environ[variable]) for variable in _VARIABLES if os.environ.get(variable)]
    for variable, project in given:
        yield "environment", variable, project
    file = key_file()
    if file is not None and (project := file.project):
        yield "credentials", f"the key {file.path}", project
    # Where a variable is set, where the machine stands is of no interest, and not asked.
    elif file is None and not given and (project := metadata_server.project()):
        yield "credentials", "the metadata server", project
    configuration = gcloud.configuration()
    if configuration.project:
        yield "gcloud", f"gcloud's configuration {configuration.name}", configuration.project
