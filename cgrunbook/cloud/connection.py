"""Where the services are and who calls them: the only place that knows the sandbox from Google Cloud.

It knows addresses, credentials and gcloud's configuration. It calls no service but for a fresh access token.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from cgrunbook.redaction import Secret

Target = Literal["sandbox", "google-cloud"]


@dataclass(frozen=True)
class RegistryHost:
    """A registry, and where it answers.

    Args:
        name: the host name by which the world knows it, such as "us-central1-docker.pkg.dev".
        address: host or host:port to connect to; equal to the name unless the sandbox plays it.
        scheme: "https", or "http" for the sandbox.
    """

    name: str
    address: str
    scheme: Literal["https", "http"]


@dataclass(frozen=True)
class Connection:
    """All that the services need to be called.

    Args:
        target: which world this is.
        project_id: the Google Cloud project's id, never its number.
        location: Artifact Registry's location, such as "us-central1".
        organization: the Chainguard organisation, "" when none was given.
        credentials: a `google.auth.credentials.Credentials`.
        artifact_registry: base URL without trailing slash, as the three after it.
        secret_manager: see above.
        service_usage: see above.
        resource_manager: see above.
        artifact_registry_host: the registry of the location.
        cgr: Chainguard's registry.
        chainctl: path of the chainctl command, or its name on the PATH.
        environment: what child commands get in addition to this process's environment.
        docker_config: folder of docker's config.json.
    """

    target: Target
    project_id: str
    location: str
    organization: str
    credentials: Any
    artifact_registry: str
    secret_manager: str
    service_usage: str
    resource_manager: str
    artifact_registry_host: RegistryHost
    cgr: RegistryHost
    chainctl: str
    environment: Mapping[str, str]
    docker_config: Path
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def access_token(self) -> Secret:
        """An OAuth access token that is valid now, refreshed when it is not.

        Returns:
            The token; docker.pkg.dev takes it as the password of `oauth2accesstoken`.

        Raises:
            NotSignedIn: the credentials cannot be refreshed.
        """
        raise NotImplementedError


def connect(
    target: Target, *, project_id: str = "", location: str = "us-central1", organization: str = ""
) -> Connection:
    """Find a target's addresses and credentials."""
    raise NotImplementedError
