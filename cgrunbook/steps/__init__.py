"""The guide, one file a section; it knows the guide and the services' protocols, and no notebook.

Here are the steps that the notebooks perform. Each is imported when it is first asked for: a notebook begins at once, and
Google's clients are loaded while its reader looks at the form.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cgrunbook.steps.apis import ARTIFACT_REGISTRY, SECRET_MANAGER, EnableApi
    from cgrunbook.steps.developer_images import CreateRemoteRepository
    from cgrunbook.steps.diagnosis import CheckCredential, CheckUpstream, TryDirectly, TryFreshRepository
    from cgrunbook.steps.docker import PullWithDocker, SignDockerIn
    from cgrunbook.steps.overview import ShowMap
    from cgrunbook.steps.prerequisites import CheckChainguard, CheckGoogleCloud, CheckNetwork, CheckThisMachine
    from cgrunbook.steps.production_images import CreatePrivateRepository
    from cgrunbook.steps.pull_token import StorePullToken
    from cgrunbook.steps.pulling import PullImage
    from cgrunbook.steps.repository import RepositorySettings
    from cgrunbook.steps.secret import CreateSecret, GrantSecretAccess, SecretSettings
    from cgrunbook.steps.teardown import TearDown

_HOMES = {
    "ARTIFACT_REGISTRY": "apis",
    "CheckChainguard": "prerequisites",
    "CheckCredential": "diagnosis",
    "CheckGoogleCloud": "prerequisites",
    "CheckNetwork": "prerequisites",
    "CheckThisMachine": "prerequisites",
    "CheckUpstream": "diagnosis",
    "CreatePrivateRepository": "production_images",
    "CreateRemoteRepository": "developer_images",
    "CreateSecret": "secret",
    "EnableApi": "apis",
    "GrantSecretAccess": "secret",
    "PullImage": "pulling",
    "PullWithDocker": "docker",
    "RepositorySettings": "repository",
    "SECRET_MANAGER": "apis",
    "SecretSettings": "secret",
    "ShowMap": "overview",
    "SignDockerIn": "docker",
    "StorePullToken": "pull_token",
    "TearDown": "teardown",
    "TryDirectly": "diagnosis",
    "TryFreshRepository": "diagnosis",
}

__all__ = [
    "ARTIFACT_REGISTRY",
    "SECRET_MANAGER",
    "CheckChainguard",
    "CheckCredential",
    "CheckGoogleCloud",
    "CheckNetwork",
    "CheckThisMachine",
    "CheckUpstream",
    "CreatePrivateRepository",
    "CreateRemoteRepository",
    "CreateSecret",
    "EnableApi",
    "GrantSecretAccess",
    "PullImage",
    "PullWithDocker",
    "RepositorySettings",
    "SecretSettings",
    "ShowMap",
    "SignDockerIn",
    "StorePullToken",
    "TearDown",
    "TryDirectly",
    "TryFreshRepository",
]


def __getattr__(name: str) -> Any:
    """Import a step's module when the step is asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
