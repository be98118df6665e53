"""The outside world, one file a service; it knows protocols and not the guide, shows nothing and asks nothing.

Importing it stays cheap: Google's clients, requests, urllib3 and docker are imported by the first use of a service.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from cgrunbook.cloud.attempts import Attempts, Wait
from cgrunbook.cloud.connection import ChainguardAccess, Connection, RegistryHost, Target, connect, connect_as
from cgrunbook.first_use import at_first_use, importing
from cgrunbook.redaction import Secret

if TYPE_CHECKING:
    from cgrunbook.cloud.artifact_registry import ArtifactRegistry
    from cgrunbook.cloud.chainctl import Chainctl
    from cgrunbook.cloud.chainguard import Chainguard
    from cgrunbook.cloud.chainguard_api import ChainguardApi
    from cgrunbook.cloud.cloud_logging import CloudLogging
    from cgrunbook.cloud.docker import Docker, SignIn
    from cgrunbook.cloud.project import Project
    from cgrunbook.cloud.pubsub import Pubsub
    from cgrunbook.cloud.registry import BasicCredentials, Registry
    from cgrunbook.cloud.secret_manager import SecretManager

# Seconds that cgr.dev may stay silent, and those that it is given in any case.
_SILENCE, _SHORTEST = 60.0, 15.0

__all__ = [
    "Attempts",
    "ChainguardAccess",
    "Cloud",
    "Connection",
    "RegistryHost",
    "Target",
    "Wait",
    "connect",
    "connect_as",
]


class Cloud:
    """One target, with a property for each service, made at its first use.

    Args:
        connection: where the services are and who calls them.
        attempts: how long to try what is temporary, and who sees the waits.
    """

    def __init__(self, connection: Connection, attempts: Attempts | None = None) -> None:
        self.connection = connection
        self.attempts = attempts if attempts is not None else Attempts()
        self._cgr: list[tuple[BasicCredentials | None, Registry]] = []

    def of_project(self, project: str) -> Cloud:
        """Another project of the same target, by its id or number, as the same caller."""
        return Cloud(replace(self.connection, project_id=project), self.attempts)

    def in_location(self, location: str) -> Cloud:
        """The same project in another location, with the registry there."""
        here = self.connection
        if location == here.location:
            return self
        there = connect(
            here.target,
            project_id=here.project_id,
            location=location,
            organization=here.organization,
            chainguard=here.chainguard,
        )
        return Cloud(there, self.attempts)

    def access_token(self) -> Secret:
        """An OAuth access token that is valid now; docker.pkg.dev takes it as the password of `oauth2accesstoken`.

        Raises:
            NotSignedIn: the credentials cannot be refreshed.
            Temporary: the place that refreshes them did not answer when the attempts were used up.
        """
        with importing():
            import cgrunbook.cloud.sessions  # noqa: F401 - with it the credentials refresh themselves
            from cgrunbook.cloud.google_errors import explained

        def attempt() -> Secret:
            with explained(self.connection, "get an access token"):
                return self.connection.access_token()

        return self.attempts.run(attempt, reason="an access token")

    def greeting(self, url: str) -> Callable[[], object]:
        """What asks a host for `/`, over the connections that Google's clients use; see `sessions.greeting`."""
        with importing():
            from cgrunbook.cloud.sessions import greeting
        return greeting(url)

    @at_first_use
    def project(self) -> Project:
        """The project: its number, APIs, service agent and the caller's permissions."""
        from cgrunbook.cloud.project import Project

        return Project(self.connection, self.attempts)

    @at_first_use
    def repositories(self) -> ArtifactRegistry:
        """Artifact Registry's repositories of the location."""
        from cgrunbook.cloud.artifact_registry import ArtifactRegistry

        return ArtifactRegistry(self.connection, self.attempts)

    @at_first_use
    def secrets(self) -> SecretManager:
        """Secret Manager's secrets of the project."""
        from cgrunbook.cloud.secret_manager import SecretManager

        return SecretManager(self.connection, self.attempts)

    @at_first_use
    def logs(self) -> CloudLogging:
        """Cloud Logging's entries of the project."""
        from cgrunbook.cloud.cloud_logging import CloudLogging

        return CloudLogging(self.connection, self.attempts)

    @at_first_use
    def pubsub(self) -> Pubsub:
        """Pub/Sub's topics, of whichever project."""
        from cgrunbook.cloud.pubsub import Pubsub

        return Pubsub(self.connection, self.attempts)

    @at_first_use
    def artifact_registry_host(self) -> Registry:
        """The location's docker.pkg.dev, signed in with the caller's access token, fresh at each exchange."""
        from cgrunbook.cloud.registry import BasicCredentials, Registry
        from cgrunbook.cloud.registry_sign_in import ACCESS_TOKEN_USER

        def credentials() -> BasicCredentials:
            return BasicCredentials(ACCESS_TOKEN_USER, self.access_token())

        return Registry(self.connection.artifact_registry_host, credentials, self.attempts, whose=self.connection)

    def cgr(self, credentials: BasicCredentials | None = None) -> Registry:
        """Chainguard's registry; the same one for the same credentials, so that a token is not fetched twice.

        Args:
            credentials: a pull token's username and password; None for the public images.
        """
        with importing():
            from cgrunbook.cloud.registry import Registry

            for known, registry in self._cgr:
                if known == credentials:
                    return registry
            # Whoever is short of patience with what passes is so with silence, too.
            silence = min(_SILENCE, max(self.attempts.limit, _SHORTEST))
            registry = Registry(self.connection.cgr, credentials, self.attempts, timeout=silence)
            self._cgr.append((credentials, registry))
            return registry

    @at_first_use
    def chainctl(self) -> Chainctl:
        """Chainguard's command itself; what steps want of Chainguard, they ask `chainguard`."""
        from cgrunbook.cloud.chainctl import Chainctl

        return Chainctl(self.connection.chainctl, self.connection.environment, self.attempts)

    @at_first_use
    def chainguard(self) -> Chainguard:
        """Chainguard: login state and pull tokens, through the door that is asked for."""
        access = self.connection.chainguard
        if access.auth == "chainctl" or (not access.auth and (not access.identity or self.chainctl.signed_in())):
            return self.chainctl
        from cgrunbook.cloud.chainguard_api import PullTokens
        from cgrunbook.cloud.chainguard_session import OfServiceAccount

        return PullTokens(self.connection, self.attempts, OfServiceAccount(self.connection, self.attempts))

    @at_first_use
    def chainguard_as_owner(self) -> ChainguardApi:
        """Chainguard's API as whoever chainctl is signed in as, for what an owner sets up once."""
        from cgrunbook.cloud.chainguard_api import ChainguardApi
        from cgrunbook.cloud.chainguard_session import OfChainctl

        return ChainguardApi(self.connection, self.attempts, OfChainctl(self.chainctl))

    @at_first_use
    def docker(self) -> Docker:
        """Docker's configuration file and, where one answers, its engine."""
        from cgrunbook.cloud.docker import Docker

        return Docker(self.connection.docker_config, self.attempts, self.connection.environment)

    def docker_sign_in(self, helper: str = "") -> SignIn:
        """What docker would send to the location's docker.pkg.dev, and whether it is taken there.

        Args:
            helper: what it would be if docker's configuration named this credential helper; "" for as it is.

        Raises:
            StepFailed: docker's configuration cannot be used.
            Temporary: the registry did not answer when the attempts were used up.
        """
        return self.docker.sign_in(self.connection.artifact_registry_host, helper)
