"""Docker's configuration file and the credential helpers that it names.

It knows config.json as docker, podman and skopeo read it, and keeps whatever it does not know. It needs no docker.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import os
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cgrunbook.cloud.registry_sign_in import BasicCredentials
from cgrunbook.errors import StepFailed
from cgrunbook.redaction import Secret

_HELPER = re.compile(r"[A-Za-z0-9._-]+")
# A helper may ask a keychain, which may ask a person; without anybody there it must not hang for ever.
_HELPER_SECONDS = 60.0
_MOST_EDITS = 5
_NEW_FOLDER = 0o700


@dataclass(frozen=True)
class Login:
    """How docker would sign in to a registry.

    Args:
        host: the registry.
        kind: "helper" (credHelpers names one for this host), "store" (the credsStore has it), "file" (the pair stands
            in config.json itself) or "none".
        helper: the helper's or store's name, such as "gcloud"; "" for the other kinds.
        username: who signs in, where that is known without asking a helper.
    """

    host: str
    kind: Literal["helper", "store", "file", "none"]
    helper: str = ""
    username: str = ""

    @property
    def how(self) -> str:
        """In words, without the registry."""
        if self.kind == "file":
            return f"signed in as {self.username or 'an unnamed user'} in config.json"
        words = {"helper": f"credential helper {self.helper}", "store": f"credential store {self.helper}"}
        return words.get(self.kind, "not signed in")

    def __str__(self) -> str:
        return f"{self.host}: {self.how}"


class DockerConfig:
    """One config.json; each change reads it, changes one entry and replaces the file at once.

    Args:
        folder: docker's configuration folder, as `DOCKER_CONFIG` names it.
        environment: what helpers get in addition to this process's environment; its PATH finds them.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self.path = folder / "config.json"
        self._environment = dict(environment or {})

    def read(self) -> dict[str, Any]:
        """The file's JSON object; an empty one where there is no file, or an empty file, as docker has it.

        Raises:
            StepFailed: the file cannot be read, or is no JSON object.
        """
        return self._parse(self._bytes())

    def login(self, host: str) -> Login:
        """How docker would sign in to a registry such as "us-central1-docker.pkg.dev" now; asks no helper.

        Raises:
            StepFailed: the file cannot be used.
        """
        config = self.read()
        helper = self._section(config, "credHelpers").get(host)
        if isinstance(helper, str) and helper:
            return Login(host, "helper", helper)
        entry = self._entry(config, host)
        pair = _pair(entry)
        if pair is not None:
            return Login(host, "file", username=pair.username)
        store = config.get("credsStore")
        if entry is not None and isinstance(store, str) and store:
            return Login(host, "store", store)
        return Login(host, "none")

    def credentials(self, host: str) -> BasicCredentials | None:
        """What docker would send to a registry, asking the helper where one is named; None where it would send nothing.

        Raises:
            StepFailed: the file cannot be used, or the helper fails.
        """
        login = self.login(host)
        if login.kind == "file":
            return _pair(self._entry(self.read(), host))
        if login.kind == "none":
            return None
        answer = self._helper(login.helper, "get", host)
        if answer is None:
            return None
        try:
            found = json.loads(answer.reveal())
            return BasicCredentials(str(found["Username"]), Secret(str(found["Secret"])))
        except (ValueError, KeyError, TypeError):
            # The answer holds a secret, so neither it nor a traceback that quotes it is shown.
            raise StepFailed(
                f"docker-credential-{login.helper} answered for {host} with something that is no credentials.",
                f"Try it by hand: echo {host} | docker-credential-{login.helper} get",
            ) from None

    def add_credential_helper(self, host: str, helper: str) -> bool:
        """Let a credential helper sign in to a registry, as `gcloud auth configure-docker HOST` does.

        Args:
            host: such as "us-central1-docker.pkg.dev".
            helper: its name without "docker-credential-", such as "gcloud".

        Returns:
            Whether the file had to be changed.

        Raises:
            StepFailed: the file cannot be read or written; it is as it was then.
        """

        def change(config: dict[str, Any]) -> bool:
            helpers = self._section(config, "credHelpers")
            if helpers.get(host) == helper:
                return False
            config["credHelpers"] = {**helpers, host: helper}
            return True

        return self._edit(change)

    def login_with_token(self, host: str, username: str, password: Secret) -> Login:
        """Do what `docker login --password-stdin` does, without docker.

        The pair goes to the helper or store that the file names for the host. Where it names none, it stands in the
        file itself, readable by its owner, as docker does it: meant for tokens that live an hour.

        Returns:
            How docker signs in from now on.

        Raises:
            StepFailed: the file cannot be used, or the helper refuses.
        """
        credentials = BasicCredentials(username, password)
        config = self.read()
        named = self._section(config, "credHelpers").get(host) or config.get("credsStore")
        if isinstance(named, str) and named:
            payload = {"ServerURL": host, "Username": username, "Secret": password.reveal()}
            if self._helper(named, "store", json.dumps(payload)) is None:
                raise StepFailed(
                    f"docker-credential-{named}, which {self.path} names for {host}, did not take the login.",
                    f"Sign in with that helper's own means, or remove {host} from credHelpers.",
                )
        auth = credentials.header().removeprefix("Basic ")

        def change(config: dict[str, Any]) -> bool:
            entry = {} if named else {"auth": auth}
            auths = self._section(config, "auths")
            if auths.get(host) == entry:
                return False
            config["auths"] = {**auths, host: entry}
            return True

        self._edit(change)
        return self.login(host)

    def _edit(self, change: Callable[[dict[str, Any]], bool]) -> bool:
        """Read, change and replace; begins again when somebody else wrote meanwhile."""
        for _ in range(_MOST_EDITS):
            before = self._bytes()
            config = self._parse(before)
            if not change(config):
                return False
            # docker indents with tabs; ASCII keeps whatever odd text an unknown key holds.
            if self._replace((json.dumps(config, indent="\t") + "\n").encode(), before):
                return True
        raise StepFailed(
            f"{self.path} was changed by somebody else {_MOST_EDITS} times while it was being written.",
            "Close what writes it, then run this again.",
        )

    def _replace(self, content: bytes, before: bytes | None) -> bool:
        """Put a new file in the place of the old at once; False when the old one is not `before` any more."""
        try:
            # A link, as dotfile managers make it, stays a link: its target is replaced.
            target = self.path.resolve()
            target.parent.mkdir(mode=_NEW_FOLDER, parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=".config.json.", dir=target.parent)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                # A new one stays readable by its owner alone, as mkstemp makes it.
                if before is not None:
                    old = target.stat()
                    os.chmod(name, stat.S_IMODE(old.st_mode))  # noqa: PTH101 - mkstemp gives a text
                    if os.geteuid() == 0:
                        os.chown(name, old.st_uid, old.st_gid)
                if self._bytes() != before:
                    return False
                os.replace(name, target)  # noqa: PTH105
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name)  # noqa: PTH108
        except (OSError, RuntimeError) as error:
            raise StepFailed(
                f"{self.path} could not be written: {error}. It is as it was.",
                f"Make {self.path} and its folder writable, or point DOCKER_CONFIG at another folder.",
            ) from error
        return True

    def _bytes(self) -> bytes | None:
        """The file's content; None where there is no file."""
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return None
        except (OSError, RuntimeError) as error:
            raise StepFailed(
                f"Docker's configuration {self.path} could not be read: {error}.",
                f"Make {self.path} readable, or point DOCKER_CONFIG at another folder.",
            ) from error

    def _parse(self, content: bytes | None) -> dict[str, Any]:
        if content is None or not content.strip():
            return {}
        problem = "it is not a JSON object"
        try:
            # As text: given bytes, Python reads what docker refuses, other encodings and a byte order mark.
            config = json.loads(content.decode())
        except json.JSONDecodeError as error:
            # Its own text quotes nothing of the file, where a password may stand.
            config, problem = None, f"it is not JSON (line {error.lineno}, column {error.colno}: {error.msg})"
        except (ValueError, RecursionError):
            config, problem = None, "it is not JSON"
        if not isinstance(config, dict):
            raise StepFailed(
                f"Docker's configuration {self.path} cannot be used: {problem}. It was left as it is.",
                f"Repair {self.path}, or move it away and sign in to your registries again.",
            )
        return config

    def _section(self, config: dict[str, Any], name: str) -> dict[str, Any]:
        section = config.get(name)
        if section is None:
            return {}
        if not isinstance(section, dict):
            raise StepFailed(
                f"Docker's configuration {self.path} cannot be used: {name} is not an object. It was left as it is.",
                f"Repair {name} in {self.path}.",
            )
        return section

    def _entry(self, config: dict[str, Any], host: str) -> dict[str, Any] | None:
        """The host's entry of auths; older tools wrote it with a scheme and a path."""
        auths = self._section(config, "auths")
        for name in (host, *auths):
            entry = auths.get(name)
            if isinstance(entry, dict) and (name.partition("://")[2] or name).partition("/")[0] == host:
                return entry
        return None

    def _helper(self, name: str, verb: Literal["get", "store"], text: str) -> Secret | None:
        """Ask a credential helper; None where it says that it has none, or will not take it.

        The docker SDK's own call has no time-out and puts what the helper printed into its exceptions.
        """
        program = f"docker-credential-{name}"
        environment = {**os.environ, **self._environment}
        found = shutil.which(program, path=environment.get("PATH")) if _HELPER.fullmatch(name) else None
        if found is None:
            raise StepFailed(
                f"{self.path} names the credential helper {name!r}, but there is no {program} on the PATH.",
                f"Install {program}, or remove the entry from {self.path}.",
            )
        try:
            done = subprocess.run(
                [found, verb],
                input=text.encode(),
                capture_output=True,
                env=environment,
                timeout=_HELPER_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise StepFailed(
                f"{program} did not answer within {_HELPER_SECONDS:.0f} s.",
                "It may be waiting for a keychain to be unlocked: unlock it, then run this again.",
            ) from None
        except OSError as error:
            raise StepFailed(f"{program} could not be started: {error}.", f"Repair or reinstall {program}.") from error
        return Secret(done.stdout.decode("utf-8", "replace")) if done.returncode == 0 else None


def _pair(entry: dict[str, Any] | None) -> BasicCredentials | None:
    """The username and password that stand in an entry of auths; None where there are none to use."""
    if entry is None:
        return None
    auth, username, password = entry.get("auth"), entry.get("username"), entry.get("password")
    if isinstance(auth, str) and auth:
        try:
            username, _, password = base64.b64decode(auth, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
    if isinstance(username, str) and isinstance(password, str) and username and password and username.isprintable():
        return BasicCredentials(username, Secret(password))
    return None
