"""Docker on this machine: its configuration and, where one answers, its engine.

It knows the engine's API through the docker SDK, which is imported only when the engine is asked for. Everything else
of the runbook works without docker.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from cgrunbook.cloud import retry
from cgrunbook.cloud.application_default import KeyFile
from cgrunbook.cloud.attempts import Attempts
from cgrunbook.cloud.connection import Connection, RegistryHost
from cgrunbook.cloud.docker_config import ENVIRONMENT, Answer, DockerConfig, Login
from cgrunbook.cloud.gcloud import WITHOUT_LOG_FILE
from cgrunbook.cloud.pull import LayerProgress, PullProgress
from cgrunbook.cloud.registry_sign_in import ACCESS_TOKEN_USER, BasicCredentials
from cgrunbook.errors import (
    CgrunbookError,
    DigestMismatch,
    ImageNotAvailable,
    Interrupted,
    NotSignedIn,
    PermissionMissing,
    RegistryError,
    StepFailed,
    Temporary,
)
from cgrunbook.image_reference import is_digest
from cgrunbook.redaction import one_line

#: The name of gcloud's credential helper.
GCLOUD = "gcloud"

_ENGINE_SECONDS = 10


@dataclass(frozen=True)
class Engine:
    """Whether a docker engine answers.

    Args:
        reachable: whether it does.
        version: its version, "" when it does not answer.
        problem: why it does not answer, "" when it does.
    """

    reachable: bool
    version: str = ""
    problem: str = ""


@dataclass(frozen=True)
class SignIn:
    """How docker would sign in to a registry, and what comes of it.

    Args:
        login: where docker finds its login.
        username: who would sign in, "" where docker would send nothing.
        problem: why docker would be denied, a sentence without its end; "" where it is let in.
        unusable: the error of a helper that is not there or does not answer; None for all others.
        credentials: what docker would send.
    """

    login: Login
    username: str = ""
    problem: str = ""
    unusable: StepFailed | None = None
    credentials: BasicCredentials | None = field(default=None, repr=False, compare=False)

    @property
    def taken(self) -> bool:
        """Whether the registry lets docker in."""
        return not self.problem


class Docker:
    """Docker's configuration and engine.

    Args:
        config_folder: docker's configuration folder.
        attempts: its `cancelled` stops a pull.
        environment: what counts in addition to this process's environment: PATH for helpers, DOCKER_HOST.
    """

    def __init__(
        self, config_folder: Path, attempts: Attempts | None = None, environment: Mapping[str, str] | None = None
    ) -> None:
        self._attempts = attempts if attempts is not None else Attempts()
        self.config = DockerConfig(config_folder, environment, self._attempts.cancelled)
        self._environment = {**os.environ, **(environment or {})}

    def engine(self) -> Engine:
        """Ask whether an engine answers; never raises for one that does not.

        Returns:
            The engine's version, or what keeps it from answering.
        """
        try:
            with self._client(self._address()) as client:
                return Engine(True, str(client.version().get("Version", "")))
        except StepFailed as error:
            return Engine(False, problem=error.message)

    def sign_in(self, registry: RegistryHost, helper: str = "") -> SignIn:
        """Ask for docker's login where docker does, and show it to the registry as `docker login` does.

        Args:
            registry: the registry.
            helper: what it would be if the configuration named this credential helper; "" for as it is.

        Raises:
            StepFailed: the configuration cannot be used.
            Temporary: the registry did not answer when the attempts were used up.
        """
        from cgrunbook.cloud.registry import Registry

        login = Login(registry.address, "helper", helper) if helper else self.config.login(registry.address)
        try:
            answer = self.config.ask(login)
            # It may have met what passes by itself, and what the file names is not given up for that.
            if answer.said and not helper:
                answer = self.config.ask(login)
        except StepFailed as error:
            return SignIn(login, problem=error.message.rstrip("."), unusable=error)
        if answer.credentials is None:
            return SignIn(login, problem=_nothing(login, answer))
        username = answer.credentials.username
        asked = Registry(registry, answer.credentials, self._attempts)
        said = asked.sign_in()
        if said.status == 401:  # now and then the endpoint says so of a token that it takes a moment later
            said = asked.sign_in()
        if said.granted:
            return SignIn(login, username, credentials=answer.credentials)
        text = f": {said.message.rstrip('.')}" if said.message else ""
        refused = f"{registry.name} does not take the login of {username} ({said.status}{text})"
        return SignIn(login, username, refused, credentials=answer.credentials)

    def sign_in_again(self, login: Login) -> str:
        """What to do about a login that a registry does not take, as an instruction."""
        host = login.host
        match login.kind:
            case "environment":
                return f"Correct the login for {host} in {ENVIRONMENT}, or: unset {ENVIRONMENT}"
            case "helper" | "store" if login.helper == GCLOUD and self.config.program(GCLOUD) is None:
                return f"Install gcloud, which brings that helper, and sign in: {gcloud_login(self._environment)}"
            case "helper" | "store" if login.helper == GCLOUD:
                return f"Sign in with gcloud, whose helper docker asks: {gcloud_login(self._environment)}"
            case "helper" | "store":
                return f"Sign in by the means of docker-credential-{login.helper}, or: docker login {host}"
            case "file" if login.username == ACCESS_TOKEN_USER:
                return "An access token lasts an hour: run this again, and the step that signs docker in stores a fresh one."
            case "file":
                return f"Sign in anew: docker login {host}"
        return f"Nobody signed docker in: set docker_login to auto, or: docker login {host}"

    def pull(
        self,
        reference: str,
        progress: Callable[[PullProgress], None] | None = None,
    ) -> str:
        """Let the engine pull an image.

        Args:
            reference: with the registry: "HOST/PATH:TAG" or "HOST/PATH@DIGEST".
            progress: told of each change, in the calling thread.

        Returns:
            The digest that the engine pulled, of the index where there is one.

        Raises:
            ImageNotAvailable: no such image, tag or platform.
            PermissionMissing: the registry denied it.
            NotSignedIn: the registry wants credentials, or other ones.
            DigestMismatch: the engine holds another digest than it pulled.
            StepFailed: no engine answers, or it fails for another reason.
            Interrupted: `attempts.cancelled` was set.
        """
        login = self.config.login(reference.partition("/")[0])
        credentials = self.config.ask(login).credentials
        auth = {"username": credentials.username, "password": credentials.password.reveal()} if credentials else {}
        refused = partial(self._refused, reference, login)
        with self._client(self._address()) as client, _explained(reference, refused):
            events = client.pull(reference, stream=True, decode=True, auth_config=auth)
            announced = self._follow(events, reference, refused, progress)
            kept = [str(entry).partition("@")[2] for entry in client.inspect_image(reference).get("RepoDigests") or []]
        if announced and kept and announced not in kept:
            raise DigestMismatch(
                f"docker pull {reference}: the engine pulled {announced}, but keeps {', '.join(kept)}.",
                f"Remove it with docker image rm {reference}, then pull again.",
            )
        digest = announced or next((found for found in kept if is_digest(found)), "")
        if not digest:
            raise StepFailed(
                f"docker pull {reference} ended, but the engine names no digest for it.",
                f"See what it has: docker image inspect {reference}",
            )
        return digest

    def _follow(
        self,
        events: Iterator[dict[str, Any]],
        reference: str,
        refused: Callable[[str], CgrunbookError],
        progress: Callable[[PullProgress], None] | None,
    ) -> str:
        """Read the engine's events to their end; the digest that they announce, "" for none."""
        layers: dict[str, LayerProgress] = {}
        digest = ""
        for event in events:
            if self._attempts.cancelled.is_set():
                raise Interrupted(
                    f"docker pull {reference} was stopped.", "Run it again: the engine keeps whole layers."
                )
            if "error" in event:
                raise refused(str(event["error"]))
            status = str(event.get("status", ""))
            if status.startswith("Digest: "):
                digest = status.removeprefix("Digest: ").strip()
            layer = event.get("id")
            # The first event's id is the tag.
            if isinstance(layer, str) and not status.startswith("Pulling from"):
                detail = event.get("progressDetail") or {}
                size = int(detail.get("total") or (layers[layer].size if layer in layers else 0))
                layers[layer] = LayerProgress(layer, size, int(detail.get("current") or 0) if size else 0)
                if progress is not None:
                    progress(PullProgress(tuple(layers.values())))
        return digest

    def _refused(self, reference: str, login: Login, text: str) -> CgrunbookError:
        """The error for what the engine says; it passes the registry's words on, without a status."""
        said = f"docker pull {reference}: the engine answered: {one_line(text)}"
        low = text.lower()
        if "unauthorized" in low or "unauthenticated" in low or "no basic auth credentials" in low:
            return NotSignedIn(f"{said} ({login})", self.sign_in_again(login), debugging=3)
        if "manifest unknown" in low or "not found" in low or "no matching manifest" in low:
            return ImageNotAvailable(
                said, "Check image, tag and platform; try it at cgr.dev directly (notebook 04).", debugging=3
            )
        if "denied" in low or "forbidden" in low:
            return PermissionMissing(
                f"{said} ({login})",
                "Whoever docker signs in as needs roles/artifactregistry.reader on the repository (notebook 04).",
                debugging=3,
            )
        return RegistryError(
            said, "Try the verified pull, which needs no engine; if that works, look at the engine's log."
        )

    @contextmanager
    def _client(self, address: str) -> Iterator[Any]:
        """The SDK's low-level client, of an engine that answered."""
        import docker
        from docker.constants import DEFAULT_UNIX_SOCKET
        from docker.errors import DockerException
        from docker.utils import kwargs_from_env
        from requests.exceptions import RequestException

        try:
            settings = kwargs_from_env(environment=self._environment)
            if address:
                settings["base_url"] = address
            _knock(address or DEFAULT_UNIX_SOCKET)
            client = docker.APIClient(version="auto", timeout=_ENGINE_SECONDS, **settings)
        except (DockerException, RequestException, OSError, ValueError) as error:
            raise StepFailed(
                f"No docker engine answers at {address or 'its usual socket'}: {_cause(error)}.",
                "Start docker, or go on without: the verified pull needs none.",
            ) from error
        answers: list[Any] = []
        client.hooks["response"].append(lambda answer, *_args, **_settings: answers.append(answer))
        try:
            yield client
        finally:
            # The SDK closes idle connections only; a pull that ended early still holds its own.
            for answer in answers:
                answer.close()
            client.close()

    def _address(self) -> str:
        """The engine's address: DOCKER_HOST, else the current context's, "" for docker's default."""
        if host := self._environment.get("DOCKER_HOST", ""):
            return host
        # The SDK does not look at contexts, by which Docker Desktop, Colima and others say where their engine is.
        name = self._environment.get("DOCKER_CONTEXT") or self.config.read().get("currentContext")
        if not isinstance(name, str) or name in ("", "default"):
            return ""
        folder = hashlib.sha256(name.encode()).hexdigest()
        try:
            meta = json.loads((self.config.path.parent / "contexts" / "meta" / folder / "meta.json").read_bytes())
            return str(meta["Endpoints"]["docker"]["Host"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise StepFailed(
                f"Docker's context {name!r} cannot be read: {type(error).__name__}.",
                "Choose another: docker context use default",
            ) from error


@contextmanager
def _explained(reference: str, refused: Callable[[str], CgrunbookError]) -> Iterator[None]:
    from docker.errors import APIError, DockerException
    from requests.exceptions import RequestException

    try:
        yield
    except APIError as error:
        raise refused(str(error.explanation or error)) from error
    except (DockerException, RequestException, OSError) as error:
        raise Temporary(
            f"docker pull {reference}: the engine stopped answering: {_cause(error)}.",
            "Start docker, then run this again.",
        ) from error


def _nothing(login: Login, answer: Answer) -> str:
    """Why docker would send nothing."""
    if not login.helper:
        return f"docker would send nothing to {login.host}"
    said = f", which says: {answer.said.rstrip('.')}" if answer.said else ""
    return f"docker-credential-{login.helper} has no login for {login.host}{said}"


def print_access_token(connection: Connection) -> str:
    """gcloud's command that prints, and nowhere else keeps, a token of those credentials with which the runbook itself calls."""
    from cgrunbook.cloud.credentials import GcloudSession

    of_gcloud = connection.target == "sandbox" or isinstance(connection.credentials, GcloudSession)
    whose = "" if of_gcloud else "application-default "
    quietly = " ".join(f"{name}={value}" for name, value in WITHOUT_LOG_FILE.items())
    return f"{quietly} gcloud auth {whose}print-access-token"


def gcloud_login(environment: Mapping[str, str]) -> str:
    """The command that signs gcloud in as those are signed in whom this environment's own credentials name."""
    path = environment.get("GOOGLE_APPLICATION_CREDENTIALS", "")
    kind = KeyFile(Path(path), named=True).kind if path else ""
    if kind == "service_account":
        return f"gcloud auth activate-service-account --key-file={shlex.quote(path)}"
    if kind == "external_account":
        return f"gcloud auth login --cred-file={shlex.quote(path)}"
    return "gcloud auth login"


def _knock(address: str) -> None:
    """See whether anybody listens on a Unix socket; the SDK leaves its own open when nobody does."""
    scheme, _, path = address.partition("://")
    if scheme in ("unix", "http+unix"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as knocking:
            knocking.settimeout(_ENGINE_SECONDS)
            knocking.connect(f"/{path.lstrip('/')}")


def _cause(error: BaseException) -> str:
    """The innermost reason; the SDK and requests wrap it several times."""
    inner = retry.innermost(error)
    return one_line(f"{type(inner).__name__}: {inner}", 300)
