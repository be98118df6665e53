"""The guide, one file a section; it knows the guide and the services' protocols, and no notebook.

Here are the steps that the notebooks perform, in the order of the guide.
"""

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
