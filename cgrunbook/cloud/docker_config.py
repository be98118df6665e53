"""Docker's configuration file and the credential helpers that it names.

It knows config.json as docker reads it (docker/cli's package `cli/config`, which a test compares with), and keeps whatever
it does not know. It needs no docker, and does not know what a registry says to a login.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import math
import os
import re
import shlex
import shutil
import stat
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NoReturn

from cgrunbook.cloud import command
from cgrunbook.cloud.registry_sign_in import BasicCredentials
from cgrunbook.errors import Interrupted, ParameterError, StepFailed
from cgrunbook.redaction import Secret, one_line

#: Docker's variable with logins that go before the file's.
ENVIRONMENT = "DOCKER_AUTH_CONFIG"

_HELPER = re.compile(r"[A-Za-z0-9._-]+")
# A helper may ask a keychain, which may ask a person; without anybody there it must not hang for ever.
_HELPER_SECONDS = 60.0
# What a helper prints where it has no login; docker takes it for "none", and any other failure for an error.
_NOT_FOUND = "credentials not found in native keychain"
# The user of a helper's answer that is an identity token, which docker.pkg.dev has no use for.
_IDENTITY_TOKEN = "<token>"  # noqa: S105 - a user name
_MOST_EDITS = 5
_BLANK = " \t\r\n"  # JSON's
_NEW_FOLDER = 0o700
_NEW_FILE = ".config.json."

# The fields that docker knows, with their forms: a text, a list of them, or an object of what stands under "*" or of the
# named fields. Docker warns of a field of another form, and then leaves out the logins of `auths`.
_AUTH = ("username", "password", "auth", "email", "serveraddress", "identitytoken", "registrytoken")
_FORMS: tuple[tuple[tuple[str, ...], Any], ...] = (
    (("auths",), {"*": dict.fromkeys(_AUTH, "")}),
    (("credHelpers", "HttpHeaders", "aliases", "features"), {"*": ""}),
    (("plugins",), {"*": {"*": ""}}),
    (("proxies",), {"*": {"httpProxy": "", "httpsProxy": "", "noProxy": "", "ftpProxy": "", "allProxy": ""}}),
    (("pruneFilters", "cliPluginsExtraDirs"), [""]),
    (("credsStore", "currentContext", "detachKeys", "experimental", "serviceInspectFormat"), ""),
    (("psFormat", "imagesFormat", "networksFormat", "pluginsFormat", "volumesFormat", "statsFormat"), ""),
    (("servicesFormat", "tasksFormat", "secretFormat", "configFormat", "nodesFormat"), ""),
)
_OF_LOGINS = ("auths", "credHelpers", "credsStore")
_FIELDS: dict[str, Any] = {field: form for fields, form in _FORMS for field in fields}


@dataclass(frozen=True)
class Login:
    """Where docker would find its login for a registry.

    Args:
        host: the registry.
        kind: "environment" (DOCKER_AUTH_CONFIG has it), "helper" (credHelpers names one for this host), "store" (the
            credsStore is asked), "file" (the pair stands in config.json itself) or "none".
        helper: the helper's or store's name, such as "gcloud"; "" for the other kinds.
        username: who signs in, where that is known without asking a helper.
    """

    host: str
    kind: Literal["environment", "helper", "store", "file", "none"]
    helper: str = ""
    username: str = ""

    @property
    def how(self) -> str:
        """In words, without the registry."""
        words = {
            "environment": f"signed in as {self.username} in {ENVIRONMENT}",
            "helper": f"credential helper {self.helper}",
            "store": f"credential store {self.helper}",
            "file": f"signed in as {self.username} in config.json",
        }
        return words.get(self.kind, "not signed in")

    def __str__(self) -> str:
        return f"{self.host}: {self.how}"


@dataclass(frozen=True)
class Answer:
    """What a credential helper, or the file, has for a registry.

    Args:
        credentials: what docker would send; None where that is nothing.
        said: what a helper that has none printed, in one line.
    """

    credentials: BasicCredentials | None
    said: str = field(default="", repr=False)


class _Object(dict[str, Any]):
    """A JSON object that still has the fields which are given twice."""

    def __init__(self, pairs: Iterable[tuple[str, Any]]) -> None:
        self.pairs = tuple(pairs)
        super().__init__(self.pairs)


class DockerConfig:
    """One config.json; each change reads it, changes one entry and replaces the file at once.

    Args:
        folder: docker's configuration folder, as `DOCKER_CONFIG` names it.
        environment: what helpers get in addition to this process's environment; its PATH finds them.
        cancelled: ends a helper when set.
    """

    def __init__(
        self,
        folder: Path,
        environment: Mapping[str, str] | None = None,
        cancelled: threading.Event | None = None,
    ) -> None:
        self.path = folder / "config.json"
        self._given = dict(environment or {})
        self._cancelled = cancelled if cancelled is not None else threading.Event()

    def read(self) -> dict[str, Any]:
        """The file's JSON object; an empty one where there is no file, or an empty file.

        Docker's sections are as docker has them: in its own spelling, and joined where they are given twice.

        Raises:
            StepFailed: the file cannot be read, or docker would not take it as it is.
        """
        return self._parse(self._bytes())

    def login(self, host: str) -> Login:
        """Where docker would look for its login for a registry such as "us-central1-docker.pkg.dev"; asks no helper.

        Raises:
            StepFailed: the file cannot be used.
        """
        return self._login(self.read(), host)

    def ask(self, login: Login) -> Answer:
        """What docker would send, asking the helper where one is named.

        Args:
            login: of this configuration; or of a helper that it does not name yet.

        Raises:
            StepFailed: the file cannot be used; or the helper is not there, does not answer or cannot be understood.
            Interrupted: `cancelled` was set.
        """
        if login.kind == "environment":
            return Answer(_sendable(*self._environment_logins()[login.host]))
        if login.kind == "file":
            return Answer(_pair(_entry(self.read(), login.host)))
        return self._asked(login.helper, login.host) if login.helper else Answer(None)

    def credentials(self, host: str) -> BasicCredentials | None:
        """What docker would send to a registry; None where it would send nothing. Raises as `login` and `ask`."""
        return self.ask(self.login(host)).credentials

    def program(self, helper: str) -> str | None:
        """The path of a credential helper's program; None where there is none."""
        if not _HELPER.fullmatch(helper):
            return None
        return shutil.which(f"docker-credential-{helper}", path=self._environment().get("PATH"))

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
            helpers = config.get("credHelpers") or {}
            if helpers.get(host) == helper:
                return False
            config["credHelpers"] = {**helpers, host: helper}
            return True

        return self._edit(change)

    def login_with_token(self, host: str, username: str, password: Secret, *, instead_of_helper: bool = False) -> Login:
        """Do what `docker login --password-stdin` does, without docker, and see that docker would find it again.

        The pair goes to the helper or store that the file names for the host. Where it names none, it stands in the
        file itself, readable by its owner, as docker does it: meant for tokens that live an hour.

        Args:
            host: the registry.
            username: who signs in.
            password: the token.
            instead_of_helper: take the host out of credHelpers, for a helper that keeps nothing.

        Returns:
            How docker signs in from now on.

        Raises:
            StepFailed: the file cannot be used, or the helper refuses, or forgets what it was given.
        """
        credentials = BasicCredentials(username, password)
        named = self._named(self.read(), host, without_helper=instead_of_helper)
        if named:
            payload = {"ServerURL": host, "Username": username, "Secret": password.reveal()}
            _, refusal = self._run(named, "store", json.dumps(payload))
            if refusal:
                raise StepFailed(
                    f"docker-credential-{named}, which {self.path} names for {host}, did not take the login: {refusal}.",
                    f"Sign in with that helper's own means, or remove its name from {self.path}.",
                )
        auth = credentials.header().removeprefix("Basic ")

        def change(config: dict[str, Any]) -> bool:
            before = json.dumps(config)
            if instead_of_helper and host in (config.get("credHelpers") or {}):
                del config["credHelpers"][host]
            config["auths"] = {**(config.get("auths") or {}), host: {} if named else {"auth": auth}}
            return json.dumps(config) != before

        self._edit(change)
        login = self.login(host)
        if self.ask(login).credentials != credentials:
            raise StepFailed(
                f"docker would not find the login for {host} that it was given: {login.how} took it, and has another or none.",
                f"Sign in with that helper's own means, or remove its name from {self.path}.",
            )
        return login

    def ending(self, host: str) -> str:
        """How docker's login for a registry is ended, as an instruction; "" where it has none. Raises as `login`.

        `docker logout` asks a helper to forget and removes what stands in `auths`; gcloud's helper has nothing to forget,
        and goes on answering as long as credHelpers names it.
        """
        config = self.read()
        match self._login(config, host).kind:
            case "none":
                return ""
            case "environment":
                return f"unset {ENVIRONMENT}"
            case "helper":
                return self.without_helper(host)
        key = _entry_key(config, host)
        if key not in ("", host, f"https://{host}", f"http://{host}"):  # what docker logout looks for
            return f"take {key} out of auths in {self.path}"
        return f"docker logout {host}"

    def without_helper(self, host: str) -> str:
        """How a host is taken out of credHelpers, for which neither docker nor gcloud has a command."""
        try:
            as_it_stands = json.loads(self._bytes() or b"{}", object_pairs_hook=_Object).pairs
        except (ValueError, AttributeError):
            as_it_stands = ()
        if [name for name, _ in as_it_stands if _same("credHelpers", name)] != ["credHelpers"]:
            return f"take {host} out of credHelpers in {self.path}"
        change = (
            "import json, pathlib, sys; path = pathlib.Path(sys.argv[1]); config = json.loads(path.read_text()); "
            'del config["credHelpers"][sys.argv[2]]; path.write_text(json.dumps(config, indent=4))'
        )
        environment = self._environment()
        usual = Path(environment.get("DOCKER_CONFIG") or Path.home() / ".docker") == self.path.parent
        file = '"${DOCKER_CONFIG:-$HOME/.docker}/config.json"' if usual else shlex.quote(str(self.path))
        return f"{shlex.join(('python3', '-c', change))} {file} {host}"

    def _login(self, config: dict[str, Any], host: str) -> Login:
        if host in (given := self._environment_logins()):
            return Login(host, "environment", username=given[host][0])
        if named := self._named(config, host):
            own = (config.get("credHelpers") or {}).get(host)
            return Login(host, "helper" if own else "store", named)
        self._see_that_all_can_be_read(config, host)
        pair = _pair(_entry(config, host))
        return Login(host, "file", username=pair.username) if pair else Login(host, "none")

    def _named(self, config: dict[str, Any], host: str, *, without_helper: bool = False) -> str:
        """The helper or store that docker asks for a host; "" for the file, which an empty name in credHelpers stands for."""
        helpers = config.get("credHelpers") or {}
        if host in helpers and not without_helper:
            return helpers[host] or ""
        store: str = config.get("credsStore") or ""
        if not (store or helpers or config.get("auths")):
            return self._usual_store()
        return store

    def _usual_store(self) -> str:
        """The store that docker asks where the file has no word of logins: the platform's, where it is installed."""
        name = {"darwin": "osxkeychain", "win32": "wincred"}.get(sys.platform, "")
        if sys.platform.startswith("linux"):
            name = "pass" if shutil.which("pass", path=self._environment().get("PATH")) else "secretservice"
        return name if name and self.program(name) else ""

    def _environment_logins(self) -> dict[str, tuple[str, str]]:
        """The pairs of DOCKER_AUTH_CONFIG by host; none where docker would not take it."""
        found: dict[str, Any] = {}
        try:
            document = json.loads(self._environment().get(ENVIRONMENT) or "{}", object_pairs_hook=_Object)
            for name, section in document.pairs:
                if not (_same("auths", name) and _fits(section, {"*": {"auth": ""}})):
                    return {}
                entries = [entry for _, entry in section.pairs if entry] if section else []  # replaced ones too
                if not all(_same("auth", field) for entry in entries for field in entry):
                    return {}
                found = {} if section is None else {**found, **section}
            for host, entry in found.items():
                found[host] = _decoded(_field(entry, "auth") or "")
        except (ValueError, TypeError, AttributeError, RecursionError):
            return {}
        return found

    def _see_that_all_can_be_read(self, config: dict[str, Any], host: str) -> None:
        """Docker stops reading logins at what it cannot read, in no certain order; the host's own is replaced anyway.

        Raises:
            StepFailed: there is such a thing.
        """
        for name, value in config.items():
            field = next((field for field in _FIELDS if _same(field, name)), "")
            if field and field not in _OF_LOGINS and not _fits(value, _FIELDS[field]):
                self._unusable(f"{field} has another form than docker takes, which keeps it from reading the logins")
        own = _entry_key(config, host)
        for name, entry in (config.get("auths") or {}).items():
            auth = _field(entry, "auth")
            if name != own and auth:
                try:
                    _decoded(auth)
                except ValueError:
                    self._unusable(f"the login of {one_line(name)} in auths is not user:password in base64")

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
            if target.exists() and not target.is_file():
                raise OSError(f"{target} is no file")  # a device would be none afterwards
            target.parent.mkdir(mode=_NEW_FOLDER, parents=True, exist_ok=True)
            _sweep(target.parent)
            handle, name = tempfile.mkstemp(prefix=_NEW_FILE, dir=target.parent)
            try:
                with os.fdopen(handle, "wb") as file:
                    with contextlib.suppress(OSError):  # a network's disk may know no locks
                        fcntl.flock(handle, fcntl.LOCK_EX)  # before there is anything in it: see `_sweep`
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
            # A pipe would be waited for without end; the one device is how people say "none".
            if self.path.exists() and not (self.path.is_file() or self.path.samefile(os.devnull)):
                raise OSError("it is no file")
            return self.path.read_bytes()
        except FileNotFoundError:
            return None
        except (OSError, RuntimeError) as error:
            raise StepFailed(
                f"Docker's configuration {self.path} could not be read: {error}.",
                f"Make {self.path} readable, or point DOCKER_CONFIG at another folder.",
            ) from error

    def _parse(self, content: bytes | None) -> dict[str, Any]:
        # As text: given bytes, Python reads what docker refuses, other encodings and a byte order mark.
        text = (content or b"").decode(errors="replace")
        if not text.strip(_BLANK):
            return {}
        problem = "it is not a JSON object"
        try:
            config = _first_value(text)
        except json.JSONDecodeError as error:
            # Its own text quotes nothing of the file, where a password may stand.
            config, problem = None, f"it is not JSON (line {error.lineno}, column {error.colno}: {error.msg})"
        except (ValueError, RecursionError):
            config, problem = None, "it is not JSON, or has a number that is too large"
        if not isinstance(config, _Object):
            self._unusable(problem)
        found: dict[str, Any] = {}
        for name, value in config.pairs:
            known = next((field for field in _OF_LOGINS if _same(field, name)), "")
            if known and not _fits(value, _FIELDS[known]):
                self._unusable(f"{known} has another form than docker takes")
            if not known:
                found[name] = value
            elif known == "credsStore":
                found[known] = found.get(known) if value is None else value
            else:
                found[known] = None if value is None else {**(found.get(known) or {}), **value}
        return found

    def _unusable(self, problem: str) -> NoReturn:
        raise StepFailed(
            f"Docker's configuration {self.path} cannot be used: {problem}. It was left as it is.",
            f"Repair {self.path}, or move it away and sign in to your registries again.",
        )

    def _asked(self, helper: str, host: str) -> Answer:
        """What a helper has for a host; "none" is an answer, and so is a failure that it gives its reason for."""
        answer, refusal = self._run(helper, "get", host)
        if refusal:
            return Answer(None, "" if refusal == _NOT_FOUND else refusal)
        try:
            found = _first_value(answer.reveal())
            fields = ("ServerURL", "Username", "Secret")
            if not _fits(found, dict.fromkeys(fields, "")):
                raise ValueError("another form")
            _, username, password = (_field(found, name) or "" for name in fields)
            if username == _IDENTITY_TOKEN:
                return Answer(None, "it has an identity token, which Artifact Registry does not take")
            return Answer(_sendable(username, password))
        except (ValueError, RecursionError):
            # The answer holds a secret, so neither it nor a traceback that quotes it is shown.
            raise StepFailed(
                f"docker-credential-{helper} answered for {host} with something that is no credentials.",
                f"Try it by hand: echo {host} | docker-credential-{helper} get",
            ) from None

    def _run(self, helper: str, verb: Literal["get", "store"], text: str) -> tuple[Secret, str]:
        """Run a credential helper: what it printed, and where it failed in one line why, else "".

        The docker SDK's own call has no time-out and puts what the helper printed into its exceptions.
        """
        program = f"docker-credential-{helper}"
        found = self.program(helper)
        if found is None:
            raise StepFailed(
                f"Docker would ask the credential helper {helper!r}, and there is no {program} on the PATH.",
                f"Install {program}, or remove its name from {self.path}.",
            )
        try:
            done = command.run(
                (found, verb),
                self._environment(),
                seconds=_HELPER_SECONDS,
                cancelled=self._cancelled,
                given=text.encode(),
            )
        except command.TooMuch as error:
            raise StepFailed(
                f"{program} {error}.",
                "It may be waiting for a keychain to be unlocked: unlock it, then run this again.",
            ) from None
        except command.Cancelled:
            raise Interrupted(f"{program} was ended, because the run was stopped.") from None
        except OSError as error:
            raise StepFailed(f"{program} could not be started: {error}.", f"Repair or reinstall {program}.") from error
        if done.code:
            # By the protocol an error stands where the answer would be; gcloud prints most of its own elsewhere.
            return Secret(""), one_line(done.output.strip() or done.said) or f"it ended with {done.code}"
        return Secret(done.output), ""

    def _environment(self) -> dict[str, str]:
        return {**os.environ, **self._given}


def _first_value(text: str) -> Any:
    """The JSON at a text's beginning: docker looks at nothing behind it.

    Raises:
        ValueError, RecursionError: there is none, or a number that could not be written again.
    """
    decoder = json.JSONDecoder(object_pairs_hook=_Object, parse_constant=_no_number, parse_float=_finite)
    return decoder.raw_decode(text, len(text) - len(text.lstrip(_BLANK)))[0]


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _finite(digits: str) -> float:
    if math.isinf(number := float(digits)):
        raise ValueError("too large")
    return number


def _same(field: str, name: str) -> bool:
    """Whether Go's JSON takes a name for a field: in upper or lower case, by Unicode's simple folding."""
    return len(field) == len(name) and re.fullmatch(re.escape(field), name, re.IGNORECASE) is not None


def _fits(value: Any, form: Any) -> bool:
    """Whether a value has a form of `_FIELDS`; null has each, and a field that docker does not know may have any."""
    if value is None or form is None:
        return True
    if isinstance(form, str):
        return isinstance(value, str)
    if isinstance(form, list):
        return isinstance(value, list) and all(_fits(item, form[0]) for item in value)
    return isinstance(value, _Object) and all(
        _fits(item, form["*"] if "*" in form else next((form[field] for field in form if _same(field, name)), None))
        for name, item in value.pairs
    )


def _field(entry: Any, field: str) -> Any:
    """A field of an object, in any case; the last one that is not null, as Go's JSON has it."""
    pairs = entry.pairs if isinstance(entry, _Object) else (entry or {}).items()
    return next((value for name, value in reversed(tuple(pairs)) if value is not None and _same(field, name)), None)


def _entry_key(config: Mapping[str, Any], host: str) -> str:
    """Under which name the host stands in auths, where older tools wrote a scheme and a path too; "" where it does not."""
    auths = config.get("auths") or {}
    return host if host in auths else next((name for name in auths if _host_of(name) == host), "")


def _entry(config: Mapping[str, Any], host: str) -> Any:
    return (config.get("auths") or {}).get(_entry_key(config, host))


def _host_of(name: str) -> str:
    address = re.match(r"[A-Za-z][A-Za-z0-9+.-]*://(?:[^/?#]*@)?([^/?#]+)", name)
    return address[1] if address else name.partition("/")[0]


def _decoded(auth: str) -> tuple[str, str]:
    """Username and password of an `auth`, whose line breaks count for nothing.

    Raises:
        ValueError: it is none.
    """
    text = auth.replace("\r", "").replace("\n", "")
    digits = text.rstrip("=")
    if len(text) - len(digits) != -len(digits) % 4:  # Python lets pass more of them than Go
        raise ValueError("no base64")
    pair = base64.b64decode(text, validate=True)
    username, colon, password = pair.decode(errors="replace").partition(":")
    if not username or not colon:
        raise ValueError("no pair")
    return username, password.strip("\0")


def _sweep(folder: Path) -> None:
    """Take away what a process of this user had not yet put in its place when it was killed; there are logins in it."""
    for left in folder.glob(f"{_NEW_FILE}*"):
        with contextlib.suppress(OSError), left.open("rb") as file:
            found = os.fstat(file.fileno())
            if found.st_uid == os.geteuid() and found.st_size:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                left.unlink()


def _pair(entry: Any) -> BasicCredentials | None:
    """What docker sends of an entry of auths; None where it sends nothing, or a token that is no password."""
    if _field(entry, "identitytoken") or _field(entry, "registrytoken"):
        return None
    try:
        if auth := _field(entry, "auth"):
            return _sendable(*_decoded(auth))
    except ValueError:
        return None
    return _sendable(_field(entry, "username") or "", _field(entry, "password") or "")


def _sendable(username: str, password: str) -> BasicCredentials | None:
    """A pair as it arrives in Basic authorisation; None where there is nothing to send, or it cannot be sent."""
    if not username or not password:
        return None
    username, _, password = f"{username}:{password}".partition(":")
    try:
        return BasicCredentials(username, Secret(password))
    except ParameterError:
        return None
