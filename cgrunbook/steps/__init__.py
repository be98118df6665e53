"""The guide, one file a section; it knows the guide and the services' protocols, and no notebook.

Here are the steps that the notebooks perform. Each is imported when it is first asked for: a notebook begins at once, and
Google's clients are loaded while its reader looks at the form.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cgrunbook.steps.apis import ARTIFACT_REGISTRY as ARTIFACT_REGISTRY
    from cgrunbook.steps.apis import SECRET_MANAGER as SECRET_MANAGER
    from cgrunbook.steps.apis import EnableApi as EnableApi
    from cgrunbook.steps.chainguard_access import LetServiceAccountMakePullTokens as LetServiceAccountMakePullTokens
    from cgrunbook.steps.chainguard_access import TakeAwayChainguardAccess as TakeAwayChainguardAccess
    from cgrunbook.steps.developer_images import CreateRemoteRepository as CreateRemoteRepository
    from cgrunbook.steps.diagnosis import TryFreshRepository as TryFreshRepository
    from cgrunbook.steps.docker import PullWithDocker as PullWithDocker
    from cgrunbook.steps.docker import SignDockerIn as SignDockerIn
    from cgrunbook.steps.overview import ShowMap as ShowMap
    from cgrunbook.steps.prerequisites import CheckChainguard as CheckChainguard
    from cgrunbook.steps.prerequisites import CheckGoogleCloud as CheckGoogleCloud
    from cgrunbook.steps.prerequisites import CheckNetwork as CheckNetwork
    from cgrunbook.steps.prerequisites import CheckThisMachine as CheckThisMachine
    from cgrunbook.steps.production_images import CreatePrivateRepository as CreatePrivateRepository
    from cgrunbook.steps.pull_token import StorePullToken as StorePullToken
    from cgrunbook.steps.pulling import PullImage as PullImage
    from cgrunbook.steps.readers import LetPull as LetPull
    from cgrunbook.steps.renewal import RotationSettings as RotationSettings
    from cgrunbook.steps.repository import RepositorySettings as RepositorySettings
    from cgrunbook.steps.rotation import RotatePullToken as RotatePullToken
    from cgrunbook.steps.secret import CreateSecret as CreateSecret
    from cgrunbook.steps.secret import GrantSecretAccess as GrantSecretAccess
    from cgrunbook.steps.secret import SecretSettings as SecretSettings
    from cgrunbook.steps.teardown import TearDown as TearDown
    from cgrunbook.steps.virtual_repository import CreateVirtualRepository as CreateVirtualRepository

_HOMES = {
    "apis": ("ARTIFACT_REGISTRY", "EnableApi", "SECRET_MANAGER"),
    "chainguard_access": ("LetServiceAccountMakePullTokens", "TakeAwayChainguardAccess"),
    "developer_images": ("CreateRemoteRepository",),
    "diagnosis": ("TryFreshRepository",),
    "docker": ("PullWithDocker", "SignDockerIn"),
    "overview": ("ShowMap",),
    "prerequisites": ("CheckChainguard", "CheckGoogleCloud", "CheckNetwork", "CheckThisMachine"),
    "production_images": ("CreatePrivateRepository",),
    "pull_token": ("StorePullToken",),
    "pulling": ("PullImage",),
    "readers": ("LetPull",),
    "repository": ("RepositorySettings",),
    "renewal": ("RotationSettings",),
    "rotation": ("RotatePullToken",),
    "secret": ("CreateSecret", "GrantSecretAccess", "SecretSettings"),
    "teardown": ("TearDown",),
    "virtual_repository": ("CreateVirtualRepository",),
}

__all__ = [name for names in _HOMES.values() for name in names]


def __getattr__(name: str) -> Any:
    """Import a step's module when the step is asked for."""
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
