"""What every service of the sandbox is given: state, clock, settings, hosts, principals, IAM and the log.

Knows who the caller is and where each host is played. Knows no service's protocol.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cgrunbook.sandbox import errors
from cgrunbook.sandbox.quotas import Quotas
from cgrunbook.sandbox.state import Clock, State

if TYPE_CHECKING:
    from cgrunbook.sandbox.iam import Iam

PROJECT_ID = "cgrunbook-sandbox"
PROJECT_NUMBER = "123456789012"
ORGANIZATION = "example.com"
OPERATOR = "user:trainee@example.com"

#: The hosts that are played once; `LOCATION-docker.pkg.dev` is played for every location besides.
ARTIFACT_REGISTRY = "artifactregistry.googleapis.com"
SECRET_MANAGER = "secretmanager.googleapis.com"  # noqa: S105 - a host
SERVICE_USAGE = "serviceusage.googleapis.com"
RESOURCE_MANAGER = "cloudresourcemanager.googleapis.com"
CLOUD_BILLING = "cloudbilling.googleapis.com"
CLOUD_KMS = "cloudkms.googleapis.com"
CGR_DEV = "cgr.dev"
CONSOLE_API = "console-api.enforce.dev"
BLOB_HOST = "9236a389bd48b984df91adc1bc924620.r2.cloudflarestorage.com"
SINGLE_HOSTS = (
    ARTIFACT_REGISTRY,
    SECRET_MANAGER,
    SERVICE_USAGE,
    RESOURCE_MANAGER,
    CLOUD_BILLING,
    CLOUD_KMS,
    CGR_DEV,
    CONSOLE_API,
    BLOB_HOST,
)

#: Locations that have a docker host (gcloud 528). A few of them Google opens to chosen customers only.
_LOCATION_NAMES = """
    africa-south1 asia asia-east1 asia-east2 asia-northeast1 asia-northeast2 asia-northeast3 asia-south1 asia-south2
    asia-southeast1 asia-southeast2 australia-southeast1 australia-southeast2 europe europe-central2 europe-north1
    europe-north2 europe-southwest1 europe-west1 europe-west10 europe-west12 europe-west2 europe-west3 europe-west4
    europe-west6 europe-west8 europe-west9 me-central1 me-central2 me-west1 northamerica-northeast1
    northamerica-northeast2 northamerica-south1 southamerica-east1 southamerica-west1 us us-central1 us-central2
    us-east1 us-east4 us-east5 us-east7 us-south1 us-west1 us-west2 us-west3 us-west4 us-west8
    """
LOCATIONS: tuple[str, ...] = tuple(_LOCATION_NAMES.split())

SCHEMA = """
CREATE TABLE IF NOT EXISTS access_token (
    sha256 TEXT PRIMARY KEY, principal TEXT NOT NULL, expires_at TEXT
) WITHOUT ROWID;
"""

log = logging.getLogger("cgrunbook.sandbox")


def docker_host_name(location: str) -> str:
    """Return the real name of a location's docker host.

    Args:
        location: For example "us-central1".
    """
    return f"{location}-docker.pkg.dev"


def all_host_names() -> tuple[str, ...]:
    """Return the real name of every host that the sandbox plays."""
    return SINGLE_HOSTS + tuple(docker_host_name(location) for location in LOCATIONS)


@dataclass(frozen=True)
class Settings:
    """What the sandbox was started with.

    Attributes:
        home: The state folder itself (`$CGRUNBOOK_HOME/sandbox`).
        project_id: Id of the one project.
        project_number: Its number, digits.
        organization: The Chainguard organisation.
        operator: Principal that the operator's access token stands for, in IAM's member form.
        iam_delay: Seconds until a changed IAM policy takes effect.
        agent_delay: Seconds until a new service agent can be named in a policy.
        upstream: URL of a registry that stands in for https://cgr.dev, or None for the sandbox's own.
        tag_cache_seconds: How long a remote repository trusts a tag (documented: 1 hour for Docker).
        idle_seconds: After how long without a request the process ends by itself; None for never.
        validation_in_operation: Whether a failed upstream validation is told in the operation instead of in the answer
            to the call. Which of the two the real service does is not known.
    """

    home: Path
    project_id: str = PROJECT_ID
    project_number: str = PROJECT_NUMBER
    organization: str = ORGANIZATION
    operator: str = OPERATOR
    iam_delay: float = 2.0
    agent_delay: float = 1.0
    upstream: str | None = None
    tag_cache_seconds: float = 3600.0
    idle_seconds: float | None = None
    validation_in_operation: bool = False


class Tokens:
    """OAuth access tokens of the sandbox: only their SHA-256 is kept."""

    def __init__(self, state: State, clock: Clock) -> None:
        """Keep tokens in a state.

        Args:
            state: Where the hashes are kept.
            clock: Decides which tokens have expired.
        """
        self._state = state
        self._clock = clock
        state.declare(SCHEMA)

    def issue(self, principal: str, lifetime_seconds: float | None = None) -> str:
        """Return a new access token.

        Args:
            principal: Who the token stands for, for example "user:reader@example.com".
            lifetime_seconds: Seconds until it expires; None for never.
        """
        token = "ya29." + secrets.token_urlsafe(48)
        self.admit(token, principal, lifetime_seconds)
        return token

    def admit(self, token: str, principal: str, lifetime_seconds: float | None = None) -> None:
        """Make an existing token valid.

        Args:
            token: The access token.
            principal: Who it stands for.
            lifetime_seconds: Seconds until it expires; None for never.
        """
        expires_at = None if lifetime_seconds is None else str(self._clock.now().timestamp() + lifetime_seconds)
        with self._state.transaction() as connection:
            connection.execute(
                "INSERT INTO access_token VALUES (?, ?, ?) "
                "ON CONFLICT (sha256) DO UPDATE SET principal = excluded.principal, expires_at = excluded.expires_at",
                (_sha256(token), principal, expires_at),
            )

    def principal(self, token: str) -> str | None:
        """Return who a token stands for; None when it is unknown or has expired.

        Args:
            token: The access token.
        """
        row = (
            self._state.read()
            .execute("SELECT principal, expires_at FROM access_token WHERE sha256 = ?", (_sha256(token),))
            .fetchone()
        )
        if row is None or (row["expires_at"] and float(row["expires_at"]) <= self._clock.now().timestamp()):
            return None
        return str(row["principal"])


class Sandbox:
    """The running sandbox, as its services see it.

    A service is `def app(sandbox: Sandbox) -> ASGIApp`; it is made at the first request to its port. It calls
    `sandbox.state.declare(SCHEMA)` first, raises `errors.ServiceError` for every refusal (the server writes it onto
    the wire), and puts the caller into `scope["state"]["principal"]`, from where the request log takes it.
    """

    def __init__(self, settings: Settings, state: State, hosts: Mapping[str, str]) -> None:
        """Bring the parts together.

        Args:
            settings: What the sandbox was started with.
            state: The open store.
            hosts: Real host name to "127.0.0.1:PORT".
        """
        from cgrunbook.sandbox.iam import Iam

        self.settings = settings
        self.state = state
        self.clock = Clock(state)
        self.hosts = dict(hosts)
        self.tokens = Tokens(state, self.clock)
        self.iam: Iam = Iam(settings, state, self.clock)
        self.quotas = Quotas(state)

    def docker_host(self, location: str) -> str:
        """Return "127.0.0.1:PORT" of a location's docker host.

        Args:
            location: One of LOCATIONS.

        Raises:
            KeyError: The location has no docker host.
        """
        return self.hosts[docker_host_name(location)]

    def principal(self, authorization: str | None) -> str | None:
        """Return who sends an Authorization header.

        Args:
            authorization: The header's value, or None when there is none.

        Returns:
            The principal in IAM's member form; None for an anonymous caller.

        Raises:
            errors.Unauthenticated: There is a credential and it is not a valid one.
        """
        if not authorization:
            return None
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise errors.unauthenticated("ACCESS_TOKEN_TYPE_UNSUPPORTED")
        principal = self.tokens.principal(token.strip())
        if principal is None:
            raise errors.unauthenticated(None)
        return principal

    def agent_may_access(self, secret_version_name: str) -> bytes:
        """Return the payload that Artifact Registry's service agent reads from a secret version.

        Args:
            secret_version_name: `projects/P/secrets/S/versions/V`, V a number, an alias or "latest".

        Raises:
            errors.GoogleError: The agent does not exist or has no effective access, or the version is missing,
                disabled, destroyed or expired; the message is Secret Manager's.
        """
        from cgrunbook.sandbox.google import secret_manager

        return secret_manager.access_as_agent(self, secret_version_name)

    def hint(self, message: str) -> None:
        """Write a line for the person who reads the server's log.

        Args:
            message: What was asked and what the sandbox lacks; no secret.
        """
        log.warning("%s", "".join(letter if letter.isprintable() else "?" for letter in message))


def _sha256(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
