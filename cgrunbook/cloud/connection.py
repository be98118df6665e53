"""Where the services are and who calls them: the only place that knows the sandbox from Google Cloud.

It knows addresses, and where credentials and a project are looked for. It calls no service but for a fresh access token.
"""

from __future__ import annotations

import math
import os
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cgrunbook.cloud import alike
from cgrunbook.cloud.application_default import LOGIN, WIDER_LOGIN, Login, application_default
from cgrunbook.cloud.held_values import mask_what_is_held
from cgrunbook.errors import CgrunbookError, NotSignedIn, ParameterError, SandboxUnavailable, Temporary
from cgrunbook.redaction import Secret

if TYPE_CHECKING:
    from cgrunbook.parameters import Parameters

Target = Literal["sandbox", "google-cloud"]

# What holds a token of Google's in the environment of Google's and Terraform's tools; no child of ours needs one.
TOKEN_VARIABLES = ("GOOGLE_OAUTH_ACCESS_TOKEN", "CLOUDSDK_AUTH_ACCESS_TOKEN")

# Seconds until every server knows of an API that was turned on; the services themselves speak of "a few minutes".
_SPREADING = 600.0

# Whom the sandbox takes the owner of its access token for.
_TRAINEE = "user:trainee@example.com"


@dataclass(frozen=True)
class RegistryHost:
    """A registry, and where it answers.

    Args:
        name: the host name by which the world knows it, such as "us-central1-docker.pkg.dev".
        address: host or host:port to connect to; equal to the name unless the sandbox plays it.
        scheme: "https", or "http" for the sandbox.
        answers: of its last answers who gave each, after how many seconds, and by how many seconds that clock is ahead.
    """

    name: str
    address: str
    scheme: Literal["https", "http"]
    answers: deque[tuple[str, float, float | None]] = field(
        default_factory=partial(deque, maxlen=64), repr=False, compare=False
    )


@dataclass(frozen=True)
class ChainguardAccess:
    """How Chainguard is called.

    Args:
        auth: "chainctl", "service-account", or "" for chainctl where it is signed in, else the other where an identity is given.
        identity: the id of the identity that the service account assumes.
        service_account: its address, where it is not the credentials' own.
    """

    auth: str = ""
    identity: str = ""
    service_account: str = ""


@dataclass(frozen=True)
class Connection:
    """All that the services need to be called.

    Args:
        target: which world this is.
        project_id: the Google Cloud project's id, never its number.
        location: Artifact Registry's location, such as "us-central1".
        organization: the Chainguard organisation, "" when none was given.
        credentials: a `google.auth.credentials.Credentials` that several threads may share.
        artifact_registry: base URL without trailing slash, as the three after it.
        secret_manager: see above.
        service_usage: see above.
        resource_manager: see above.
        artifact_registry_host: the registry of the location.
        cgr: Chainguard's registry.
        chainctl: path of the chainctl command, or its name on the PATH.
        environment: what child commands get in addition to this process's environment.
        docker_config: folder of docker's config.json.
        who: finds the caller, see `caller`.
        sign_in: what is done to get usable credentials, an instruction for whoever these belong to.
        wider: what is done when they are accepted, and may not do all that Google's APIs ask for.
        chainguard: how Chainguard is called.
        pubsub: base URL without trailing slash, as the five after it.
        logging: see above.
        iam: see above.
        iam_credentials: see above.
        chainguard_api: see above.
        chainguard_sts: see above.
        enabled_at: when an API was turned on over this connection, by the monotonic clock.
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
    who: Callable[[], str]
    sign_in: str = f"Sign in: {LOGIN}"
    wider: str = f"Sign in: {WIDER_LOGIN}"
    chainguard: ChainguardAccess = ChainguardAccess()
    pubsub: str = "https://pubsub.googleapis.com"
    logging: str = "https://logging.googleapis.com"
    iam: str = "https://iam.googleapis.com"
    iam_credentials: str = "https://iamcredentials.googleapis.com"
    chainguard_api: str = "https://console-api.enforce.dev"
    chainguard_sts: str = "https://issuer.enforce.dev"
    enabled_at: dict[str, float] = field(default_factory=dict, repr=False, compare=False)

    @property
    def caller(self) -> str:
        """The caller as an IAM member for gcloud's --member, such as "user:ada@example.com".

        Google is asked where the credentials do not say, once; what nobody could tell stands there in capitals, and
        `cgrunbook.cloud.caller` has sentences for it.
        """
        return self.who()

    @property
    def docker_project(self) -> str:
        """What the project is called in paths at docker.pkg.dev: one of a domain, `example.com:p`, is `example.com/p`."""
        return self.project_id.replace(":", "/")

    def access_token(self) -> Secret:
        """An OAuth access token that is valid now, refreshed when it is not; safe to call from several threads.

        Raises:
            google.auth.exceptions.GoogleAuthError: the credentials cannot be refreshed; `Cloud.access_token` says why.
        """
        from cgrunbook.cloud.sessions import AuthRequest

        if not self.credentials.valid:
            self.credentials.refresh(AuthRequest())
        return Secret(self.credentials.token)

    def just_enabled(self, api: str) -> bool:
        """Whether an API was turned on so short a time ago that some servers may still say that it is off."""
        return time.monotonic() - self.enabled_at.get(api, -math.inf) < _SPREADING

    def forget(self, token: Secret) -> None:
        """Have a fresh access token the next time, where this one is still in use; for a token that was refused."""
        if self.credentials.token == token.reveal():
            # Ended and not taken away: another thread may just be taking it, and must not find nothing.
            self.credentials.expiry = datetime.now(UTC).replace(tzinfo=None)

    def lost(self, message: str) -> CgrunbookError:
        """The error for a host that does not take or keep a connection.

        Args:
            message: what was tried and what came back.

        Returns:
            `SandboxUnavailable` when the sandbox's process is gone, so that nobody waits for it; else `Temporary`.
        """
        if self.target == "sandbox":
            from cgrunbook.sandbox import process

            if process.status() is None:
                return SandboxUnavailable(
                    f"{message} The sandbox is not running any more.",
                    "Start it with `cgrunbook sandbox start`, then run again: it goes on from what is there.",
                )
        return Temporary(
            message, "Look at the network, and at HTTPS_PROXY and NO_PROXY where there is a proxy; then run again."
        )


def connect(
    target: Target,
    *,
    project_id: str = "",
    location: str = "us-central1",
    organization: str = "",
    chainguard: ChainguardAccess = ChainguardAccess(),
) -> Connection:
    """Find a target's addresses and credentials; starts the sandbox where that is the target.

    Through which proxies the services are called, proxies.py says; who is trusted, trust.py.

    Args:
        target: "sandbox" or "google-cloud".
        project_id: the project's id; "" for the sandbox's, or the one that this machine is set to (`configured_project`).
        location: Artifact Registry's location.
        organization: the Chainguard organisation; "" for the sandbox's, or none.
        chainguard: how Chainguard is called.

    Returns:
        The connection; no Google service has been called yet.

    Raises:
        NotSignedIn: no Google credentials were found.
        ParameterError: an unknown target or sandbox location, or no project is given or configured.
        SandboxUnavailable: the sandbox does not start.
    """
    worlds = {"sandbox": _sandbox, "google-cloud": _google_cloud}
    if target not in worlds:
        raise ParameterError(
            f"target is {target!r}; it must be 'sandbox' or 'google-cloud'.", 'Example: target = "sandbox"'
        )
    connection = replace(worlds[target](project_id, location, organization), chainguard=chainguard)
    mask_what_is_held(connection.credentials)
    return connection


def connect_as(params: Parameters) -> Connection:
    """The target that a run's parameters name; raises and returns as `connect`."""
    access = ChainguardAccess(params.chainguard_auth, params.chainguard_identity, params.chainguard_service_account)
    return connect(
        params.target,
        project_id=params.project_id,
        location=params.location,
        organization=params.organization,
        chainguard=access,
    )


def _sandbox(project_id: str, location: str, organization: str) -> Connection:
    """The local double, started when it is not running."""
    from cgrunbook.cloud.credentials import TokenFile
    from cgrunbook.sandbox import process

    try:
        running = process.start()
    except process.SandboxFailure as error:
        raise SandboxUnavailable(str(error)) from error
    registry = f"{location}-docker.pkg.dev"
    if registry not in running.hosts:
        said = f"the sandbox plays no {registry}. {alike.location(location)}".rstrip()
        raise ParameterError(f"location is {location!r}; {said}", rules={"location": said})
    _keep_loopback_off_proxies()
    environment = {name: value for name, value in process.environment(running).items() if name not in TOKEN_VARIABLES}

    def base(service: str) -> str:
        return f"http://{running.hosts[f'{service}.googleapis.com']}"

    return Connection(
        target="sandbox",
        project_id=project_id or running.project_id,
        location=location,
        organization=organization or running.organization,
        credentials=TokenFile(running.access_token_file),
        artifact_registry=base("artifactregistry"),
        secret_manager=base("secretmanager"),
        service_usage=base("serviceusage"),
        resource_manager=base("cloudresourcemanager"),
        artifact_registry_host=RegistryHost(registry, running.hosts[registry], "http"),
        cgr=RegistryHost("cgr.dev", running.hosts["cgr.dev"], "http"),
        chainctl=str(running.bin / "chainctl"),
        environment=environment,
        docker_config=running.docker_config,
        # A sandbox that another checkout of this version started may play fewer hosts.
        pubsub=base("pubsub") if "pubsub.googleapis.com" in running.hosts else "",
        logging=f"http://{running.hosts.get('logging.googleapis.com', '')}",
        iam=f"http://{running.hosts.get('iam.googleapis.com', '')}",
        iam_credentials=f"http://{running.hosts.get('iamcredentials.googleapis.com', '')}",
        chainguard_api=f"http://{running.hosts['console-api.enforce.dev']}",
        chainguard_sts=f"http://{running.hosts.get('issuer.enforce.dev', running.hosts['console-api.enforce.dev'])}",
        sign_in="Start the sandbox again: cgrunbook sandbox stop && cgrunbook sandbox start",
        who=lambda: _TRAINEE,
    )


def played() -> dict[str, str]:
    """Which host an address of the sandbox plays, by "127.0.0.1:PORT"; empty where none runs."""
    from cgrunbook.sandbox import process

    status = process.status()
    return {address: host for host, address in status.running.hosts.items()} if status else {}


def _keep_loopback_off_proxies() -> None:
    """Let the HTTP libraries go straight to the sandbox where a proxy is configured; they would ask it for 127.0.0.1."""
    for name in ("no_proxy", "NO_PROXY"):
        hosts = [host.strip() for host in os.environ.get(name, "").split(",") if host.strip()]
        if not {"*", "127.0.0.1"} & set(hosts):
            os.environ[name] = ",".join([*hosts, "127.0.0.1"])


def _google_cloud(project_id: str, location: str, organization: str) -> Connection:
    """The real services, with application default credentials or else gcloud's session."""
    from cgrunbook.cloud.caller import Caller
    from cgrunbook.cloud.configured_project import configured_project
    from cgrunbook.cloud.gcloud import WITHOUT_LOG_FILE

    login = _login()
    project = project_id or configured_project().id
    if not project:
        raise ParameterError(
            "project_id is empty, and neither the environment, the credentials nor gcloud's configuration name a project.",
            "Give the project's id, or run: gcloud config set project PROJECT_ID",
            rules={"project_id": "must be given."},
        )
    registry = f"{location}-docker.pkg.dev"
    return Connection(
        target="google-cloud",
        project_id=project,
        location=location,
        organization=organization,
        credentials=login.credentials,
        artifact_registry="https://artifactregistry.googleapis.com",
        secret_manager="https://secretmanager.googleapis.com",  # noqa: S106 - an address
        service_usage="https://serviceusage.googleapis.com",
        resource_manager="https://cloudresourcemanager.googleapis.com",
        artifact_registry_host=RegistryHost(registry, registry, "https"),
        cgr=RegistryHost("cgr.dev", "cgr.dev", "https"),
        chainctl="chainctl",
        environment=WITHOUT_LOG_FILE,  # docker's helper of gcloud prints a token too
        docker_config=Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker"),
        who=Caller(login.credentials),
        sign_in=login.sign_in,
        wider=login.wider,
    )


def _login() -> Login:
    """Application default credentials, or else gcloud's session.

    Raises:
        NotSignedIn: there are neither, or those that are there cannot be used.
    """
    from google.auth.exceptions import GoogleAuthError

    from cgrunbook.cloud import gcloud
    from cgrunbook.cloud.credentials import ApplicationDefault, GcloudSession
    from cgrunbook.cloud.sessions import AuthRequest

    if (found := application_default()) is not None:
        return replace(found, credentials=ApplicationDefault(found.credentials))
    session = GcloudSession()
    try:
        session.refresh(AuthRequest())
    except GoogleAuthError as error:
        raise NotSignedIn(
            f"There are no application default credentials, and gcloud is of no help: {error}.",
            f"Sign in: {LOGIN}\nWhere nobody is there to sign in, let GOOGLE_APPLICATION_CREDENTIALS name the "
            "credentials of a service account or of a federation.",
        ) from error
    robot = gcloud.configuration().account.endswith(".gserviceaccount.com")
    command = "gcloud auth activate-service-account --key-file=KEY_FILE" if robot else "gcloud auth login"
    return Login(session, f"Sign in: {command}", f"Sign in: {command}")
