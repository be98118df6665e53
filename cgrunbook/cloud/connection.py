"""Where the services are and who calls them: the only place that knows the sandbox from Google Cloud.

It knows addresses, credentials and gcloud's configuration. It calls no service but for a fresh access token.
"""

from __future__ import annotations

import configparser
import os
import subprocess
import threading
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from cgrunbook.cloud.held_values import mask_what_is_held
from cgrunbook.errors import CgrunbookError, NotSignedIn, ParameterError, SandboxUnavailable, Temporary
from cgrunbook.redaction import Secret

Target = Literal["sandbox", "google-cloud"]

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_SIGN_IN = "gcloud auth application-default login"

# The caller where only gcloud knows who that is: its shell puts the account in.
GCLOUD_ACCOUNT = "user:$(gcloud config get-value account)"

# What holds a token of Google's in the environment of Google's and Terraform's tools; no child of ours needs one.
TOKEN_VARIABLES = ("GOOGLE_OAUTH_ACCESS_TOKEN", "CLOUDSDK_AUTH_ACCESS_TOKEN")

# Whom the sandbox takes the owner of its access token for.
_TRAINEE = "user:trainee@example.com"


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
        sign_in: what a person does to get usable credentials, an instruction.
        caller: the caller as an IAM member for gcloud's --member, such as "user:ada@example.com", or `GCLOUD_ACCOUNT`.
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
    sign_in: str = f"Sign in: {_SIGN_IN}"
    caller: str = GCLOUD_ACCOUNT
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def access_token(self) -> Secret:
        """An OAuth access token that is valid now, refreshed when it is not; safe to call from several threads.

        Raises:
            google.auth.exceptions.GoogleAuthError: the credentials cannot be refreshed; `Cloud.access_token` says why.
        """
        from google.auth.transport.requests import Request

        with self._lock:
            if not self.credentials.valid:
                self.credentials.refresh(Request())
            return Secret(self.credentials.token)

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
    target: Target, *, project_id: str = "", location: str = "us-central1", organization: str = ""
) -> Connection:
    """Find a target's addresses and credentials; starts the sandbox where that is the target.

    Proxies and certificate authorities come from the usual environment variables (HTTPS_PROXY, NO_PROXY,
    REQUESTS_CA_BUNDLE), which the HTTP libraries read themselves.

    Args:
        target: "sandbox" or "google-cloud".
        project_id: the project's id; "" for the sandbox's, or the one that gcloud or the credentials are set to.
        location: Artifact Registry's location.
        organization: the Chainguard organisation; "" for the sandbox's, or none.

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
    connection = worlds[target](project_id, location, organization)
    mask_what_is_held(connection.credentials)
    return connection


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
        raise ParameterError(
            f"location is {location!r}; the sandbox plays no {registry}.", 'Example: location = "us-central1"'
        )
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
        sign_in="Start the sandbox again: cgrunbook sandbox stop && cgrunbook sandbox start",
        caller=_TRAINEE,
    )


def _keep_loopback_off_proxies() -> None:
    """Let the HTTP libraries go straight to the sandbox where a proxy is configured; they would ask it for 127.0.0.1."""
    for name in ("no_proxy", "NO_PROXY"):
        hosts = [host.strip() for host in os.environ.get(name, "").split(",") if host.strip()]
        if not {"*", "127.0.0.1"} & set(hosts):
            os.environ[name] = ",".join([*hosts, "127.0.0.1"])


def _google_cloud(project_id: str, location: str, organization: str) -> Connection:
    """The real services, with application default credentials or else gcloud's session."""
    credentials, configured = _google_credentials()
    project = project_id or configured or _gcloud_project()
    if not project:
        raise ParameterError(
            "project_id is empty, and neither gcloud's configuration nor the credentials name a project.",
            'Give the project\'s id (example: project_id = "my-project"), or run: gcloud config set project PROJECT_ID',
        )
    registry = f"{location}-docker.pkg.dev"
    account = str(getattr(credentials, "service_account_email", "") or "")
    # "default" is what the metadata server's credentials are called before their first refresh.
    caller = f"serviceAccount:{account}" if "@" in account else GCLOUD_ACCOUNT
    return Connection(
        target="google-cloud",
        project_id=project,
        location=location,
        organization=organization,
        credentials=credentials,
        artifact_registry="https://artifactregistry.googleapis.com",
        secret_manager="https://secretmanager.googleapis.com",  # noqa: S106 - an address
        service_usage="https://serviceusage.googleapis.com",
        resource_manager="https://cloudresourcemanager.googleapis.com",
        artifact_registry_host=RegistryHost(registry, registry, "https"),
        cgr=RegistryHost("cgr.dev", "cgr.dev", "https"),
        chainctl="chainctl",
        environment={},
        docker_config=Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker"),
        caller=caller,
    )


def _google_credentials() -> tuple[Any, str]:
    """Credentials and the project that they or gcloud name, "" for none."""
    import google.auth
    from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError

    try:
        with warnings.catch_warnings():
            # Said of every person's own credentials; where a quota project is really needed, the API says so.
            warnings.filterwarnings("ignore", message=".*end user credentials", category=UserWarning)
            credentials, project = google.auth.default(scopes=[_SCOPE])
    except DefaultCredentialsError as error:
        if os.environ.get("GOOGLE_APPLICATION_CREDENTIALS"):
            # A file was named on purpose: using another identity in its place would surprise.
            raise NotSignedIn(
                f"GOOGLE_APPLICATION_CREDENTIALS names credentials that cannot be used: {error}",
                f"Correct or unset GOOGLE_APPLICATION_CREDENTIALS, then sign in: {_SIGN_IN}",
            ) from error
    else:
        return credentials, project or ""

    from google.auth.transport.requests import Request

    from cgrunbook.cloud.credentials import GcloudSession

    session = GcloudSession()
    try:
        session.refresh(Request())
    except GoogleAuthError as error:
        raise NotSignedIn(
            f"There are no application default credentials, and gcloud is of no help: {error}",
            f"Sign in: {_SIGN_IN}",
        ) from error
    return session, ""


def configured_project() -> tuple[str, Literal["environment", "gcloud", ""]]:
    """The project that this machine is set to, read without running anything.

    Returns:
        The project's id and who says so; twice "" when nobody does. The variables go before gcloud's configuration, as
        they do for google-auth and for gcloud itself.
    """
    for variable in ("GOOGLE_CLOUD_PROJECT", "CLOUDSDK_CORE_PROJECT"):
        if os.environ.get(variable):
            return os.environ[variable], "environment"
    folder = Path(os.environ.get("CLOUDSDK_CONFIG") or Path.home() / ".config" / "gcloud")
    try:
        active = os.environ.get("CLOUDSDK_ACTIVE_CONFIG_NAME") or (folder / "active_config").read_text().strip()
        configuration = configparser.ConfigParser(interpolation=None)
        configuration.read_string((folder / "configurations" / f"config_{active}").read_text())
        project = configuration.get("core", "project", fallback="")
    except (OSError, ValueError, configparser.Error):  # no gcloud here, or a file that it would not read either
        return "", ""
    return (project, "gcloud") if project else ("", "")


def _gcloud_project() -> str:
    """The project of gcloud's configuration, "" when there is none or no gcloud."""
    from cgrunbook.cloud.credentials import gcloud

    try:
        done = gcloud("config", "get-value", "project")
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
