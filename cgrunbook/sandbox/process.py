"""The life of the sandbox's process: start, status, stop, reset, and what a shell needs to talk to it.

Knows locks, the state folder's files and the environment of other people's clients. Knows nothing of what is served;
imports no server, so that asking for the status costs nothing.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

import cgrunbook
from cgrunbook.home import VARIABLE, home, own, python_path
from cgrunbook.sandbox import hosts as host_names

if TYPE_CHECKING:
    from filelock import FileLock

    from cgrunbook.sandbox.state import State

SANDBOX_FILE = "sandbox.json"
PID_FILE = "server.pid"
TOKEN_FILE = "access-token"  # noqa: S105 - a file's name
SERVER_LOG = "log/server.log"
#: Variables that faults of this machine give to shells, in JSON; which they may be.
ENVIRONMENT_FILE = "environment.json"
OF_FAULTS = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "NO_PROXY", "no_proxy", "TMPDIR")

#: The folder that the package is in.
PACKAGE_ROOT = str(Path(__file__).parents[2])

#: For each Google API: what gcloud calls it, and what Terraform's provider does with the versions that it asks for.
_ENDPOINT_VARIABLES = (
    (host_names.ARTIFACT_REGISTRY, "ARTIFACTREGISTRY", (("ARTIFACT_REGISTRY", "v1"),)),
    (host_names.SECRET_MANAGER, "SECRETMANAGER", (("SECRET_MANAGER", "v1"),)),
    (host_names.SERVICE_USAGE, "SERVICEUSAGE", (("SERVICE_USAGE", "v1beta1"),)),
    (
        host_names.RESOURCE_MANAGER,
        "CLOUDRESOURCEMANAGER",
        (("RESOURCE_MANAGER", "v1"), ("RESOURCE_MANAGER_V3", "v3")),
    ),
    (host_names.CLOUD_BILLING, "CLOUDBILLING", (("CLOUD_BILLING", "v1"),)),
    (host_names.CLOUD_KMS, "CLOUDKMS", (("KMS", "v1"),)),
    (host_names.PUBSUB, "PUBSUB", (("PUBSUB", "v1"),)),
    (host_names.LOGGING, "LOGGING", (("LOGGING", "v2"),)),
    (host_names.IAM, "IAM", ()),
    (host_names.IAM_CREDENTIALS, "IAMCREDENTIALS", ()),
)

_ANEW = "After `cgrunbook sandbox reset` it starts from nothing."

_HELPS = {
    errno.ENOSPC: "Free some space there.",
    errno.EDQUOT: "Free some space there: your quota is used up.",
    errno.EMFILE: "It may open no more files: raise that limit where it is started (ulimit -n 1024).",
}

_READY_SECONDS = 30.0
_STOP_SECONDS = 8.0
_WRITTEN_SECONDS = 1.0
_ANSWER_SECONDS = 5.0


class SandboxFailure(Exception):
    """The sandbox could not be started, asked or ended; the message says what was tried and what to do."""


@dataclass(frozen=True)
class Running:
    """A sandbox that answers.

    Args:
        pid: process id of the server.
        home: what CGRUNBOOK_HOME is for it.
        hosts: real host name to "127.0.0.1:PORT".
        project_id: id of the one project.
        project_number: its number, digits.
        organization: the Chainguard organisation.
        access_token_file: file with the operator's OAuth access token.
        bin: folder with the chainctl stand-in; belongs at the front of PATH.
        fallback_bin: folder with docker-credential-gcloud for machines without gcloud; belongs at the end of PATH.
        docker_config: DOCKER_CONFIG of this sandbox.
        started: when the process became ready, RFC 3339.
        version: cgrunbook's version that the process runs.
        upstream: URL of the registry that stands in for cgr.dev; empty for the sandbox's own.
    """

    pid: int
    home: Path
    hosts: dict[str, str]
    project_id: str
    project_number: str
    organization: str
    access_token_file: Path
    bin: Path
    fallback_bin: Path
    docker_config: Path
    started: str = ""
    version: str = ""
    upstream: str = ""

    @property
    def folder(self) -> Path:
        """The state folder."""
        return folder_of(self.home)

    def docker_host(self, location: str) -> str:
        """The address, "127.0.0.1:PORT", that plays `LOCATION-docker.pkg.dev`.

        Args:
            location: for example "us-central1".

        Raises:
            SandboxFailure: Artifact Registry has no such location.
        """
        try:
            return self.hosts[host_names.docker_host_name(location)]
        except KeyError:
            raise SandboxFailure(f"Artifact Registry has no location {location!r}; try us-central1.") from None


@dataclass(frozen=True)
class Status:
    """What a person wants to know of a running sandbox.

    Args:
        running: the process and its hosts.
        size_bytes: what the state folder takes on disk.
        counts: rows by what they are ("repositories", "secrets", "secret_versions", "cached_manifests").
    """

    running: Running
    size_bytes: int
    counts: dict[str, int] = field(default_factory=dict)


def folder_of(home: Path) -> Path:
    """The sandbox's state folder."""
    return home / "sandbox"


def life_lock_of(home: Path) -> Path:
    """The file that the server process holds locked for its life."""
    return home / "sandbox.life.lock"


def start(
    home: Path | None = None,
    *,
    upstream: str | None = None,
    iam_delay: float | None = None,
    agent_delay: float | None = None,
    idle: float | None = None,
) -> Running:
    """The running sandbox, starting it when there is none.

    Several processes may call this at once: one starts it, the others get the same. What a killed sandbox left behind
    is put right. A running one is returned as it is, whatever the delays say.

    Args:
        home: CGRUNBOOK_HOME; None for `home()`.
        upstream: URL of a real registry that stands in for cgr.dev.
        iam_delay: seconds until a changed IAM policy takes effect; None for the variable or the default.
        agent_delay: seconds until a new service agent is visible; None for the variable or the default.
        idle: seconds without a request after which it ends by itself; None for the variable or never.

    Raises:
        SandboxFailure: the home cannot be used, the process did not come up, or one runs that is of another version of
            cgrunbook or has another `upstream`.
    """
    base = _base(home)
    if (running := _answering(base)) is not None:
        return _of_use(running, upstream)
    with _start_lock(base):
        if (running := _answering(base)) is not None:
            return _of_use(running, upstream)
        if _is_served(base):
            # Alive and not answering: hung, or stopped. It cannot be used and would hold the lock for ever.
            _end(base)
        _launch(base, upstream, {"--iam-delay": iam_delay, "--agent-delay": agent_delay, "--idle": idle})
        running = _answering(base)
        if running is None:
            raise SandboxFailure(f"The sandbox started and then did not answer.{_log_tail(base)}")
        return running


def _of_use(running: Running, wanted: str | None) -> Running:
    """The running sandbox, unless it plays by another version's rules, or has another registry than was asked for."""
    if running.version != cgrunbook.__version__:
        raise SandboxFailure(
            f"The sandbox that runs is of cgrunbook {running.version or 'without a version'}, and this is cgrunbook "
            f"{cgrunbook.__version__}. End it; what is in it stays, and the next start goes on with it: cgrunbook sandbox stop"
        )
    if wanted is not None and wanted != running.upstream:
        raise SandboxFailure(
            f"The sandbox runs already, with {running.upstream or 'its own registry'} as cgr.dev. To let {wanted} stand in "
            "for it, end it first: cgrunbook sandbox stop"
        )
    return running


def status(home: Path | None = None) -> Status | None:
    """What runs, or None."""
    base = _base(home)
    running = _answering(base)
    if running is None:
        return None
    size = 0
    for path in folder_of(base).rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # a temporary file that went away while we looked
            size += path.lstat().st_size
    return Status(running, size, _counts(folder_of(base) / "state.db"))


def stop(home: Path | None = None) -> bool:
    """End the sandbox; its state stays.

    Returns:
        Whether there was one to end.

    Raises:
        SandboxFailure: the process could not be ended.
    """
    base = _base(home)
    if not base.exists():
        return False
    with _start_lock(base):
        return _end(base)


def reset(home: Path | None = None) -> None:
    """End the sandbox and remove its state whole.

    Args:
        home: CGRUNBOOK_HOME; None for `home()`. The folder itself goes too when nothing else is in it.

    Raises:
        SandboxFailure: the process could not be ended or the folder not be removed.
    """
    base = _base(home)
    from cgrunbook.sandbox.faults.full_disk import unmount

    if not base.exists():
        return
    with _start_lock(base):
        _end(base)
        folder = folder_of(base)
        going = base / f"sandbox.removing-{os.getpid()}"
        try:
            unmount(folder)
            if folder.exists():
                folder.rename(going)
            for leftover in base.glob("sandbox.removing-*"):
                shutil.rmtree(leftover)
        except OSError as problem:
            raise SandboxFailure(f"The sandbox's folder {folder} could not be removed: {problem}.") from problem
        # filelock notices when the file it locked is no longer the one at the path, so removing both here is safe.
        life_lock_of(base).unlink(missing_ok=True)
        _start_lock_path(base).unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # other things of cgrunbook may live there
        base.rmdir()


def environment(running: Running) -> dict[str, str]:
    """The variables with which gcloud, docker, podman, skopeo, crane and Terraform talk to the sandbox.

    Returns:
        Variable to value. PATH is this process's with the stand-ins' folders added, once each.
    """
    parts = [part for part in os.environ.get("PATH", os.defpath).split(os.pathsep) if part]
    own = {str(running.bin), str(running.fallback_bin)}
    path = os.pathsep.join([str(running.bin), *(p for p in parts if p not in own), str(running.fallback_bin)])
    token = running.access_token_file.read_text().strip()
    variables = {
        VARIABLE: str(running.home),
        "CGRUNBOOK_SANDBOX_DOCKER_HOST": running.docker_host("us-central1"),
        "CGRUNBOOK_SANDBOX_CGR_HOST": running.hosts[host_names.CGR_DEV],
        "CLOUDSDK_CONFIG": str(running.folder / "gcloud"),
        "CLOUDSDK_CORE_PROJECT": running.project_id,
        "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
        "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "1",
        "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE": str(running.access_token_file),
        "CLOUDSDK_ARTIFACTS_ALLOW_UNRECOGNIZED_REGISTRY": "1",
        "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "1",
        "GOOGLE_PROJECT": running.project_id,
        "GOOGLE_OAUTH_ACCESS_TOKEN": token,
        "DOCKER_CONFIG": str(running.docker_config),
        "REGISTRY_AUTH_FILE": str(running.docker_config / "config.json"),
        "CONTAINERS_REGISTRIES_CONF": str(running.folder / "containers" / "registries.conf"),
        "PATH": path,
    }
    variables |= of_faults(running)
    for host, gcloud, terraform in _ENDPOINT_VARIABLES:
        if host in running.hosts:  # a sandbox that an older cgrunbook started may play fewer
            base = f"http://{running.hosts[host]}/"
            variables[f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{gcloud}"] = base
            for name, version in terraform:
                variables[f"GOOGLE_{name}_CUSTOM_ENDPOINT"] = f"{base}{version}/"
    return variables


def of_faults(running: Running) -> dict[str, str]:
    """The variables that faults of this machine give to shells, {} where none is set."""
    from cgrunbook.sandbox.faults.full_disk import NotToBeHad, mount

    path = running.folder / ENVIRONMENT_FILE
    variables: dict[str, str] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if "TMPDIR" in variables:
        try:
            mount(running.folder)  # one that this machine's restart has taken away is there again
        except NotToBeHad as why:
            raise SandboxFailure(
                f"The fault client-disk-full is set, and {why}. cgrunbook sandbox fault clear"
            ) from why
    return variables


def access_token(principal: str, home: Path | None = None, lifetime_seconds: float | None = None) -> str:
    """A new access token of the sandbox for somebody else than the operator.

    Args:
        principal: IAM's member form, for example "user:reader@example.com".
        home: CGRUNBOOK_HOME; None for `home()`. The sandbox may be running or not.
        lifetime_seconds: seconds until the token expires; None for never.

    Raises:
        SandboxFailure: there is no sandbox at this home.
    """
    from cgrunbook.sandbox.access_tokens import Tokens
    from cgrunbook.sandbox.state import Clock

    with opened_state(home) as state:
        return Tokens(state, Clock(state)).issue(principal, lifetime_seconds)


@contextlib.contextmanager
def opened_state(home: Path | None = None) -> Iterator[State]:
    """The store of a sandbox, which may be running or not.

    Args:
        home: CGRUNBOOK_HOME; None for `home()`.

    Raises:
        SandboxFailure: there is no sandbox at this home, or one of another version.
    """
    from cgrunbook.sandbox.state import State, StateOfAnotherVersion

    database = folder_of(_base(home)) / "state.db"
    if not database.exists():
        raise SandboxFailure(f"There is no sandbox at {_base(home)}; run: cgrunbook sandbox start")
    try:
        with contextlib.closing(State(database)) as state:
            yield state
    except StateOfAnotherVersion as other:
        raise SandboxFailure(f"The state {database} cannot be used: {other}. {_ANEW}") from other


def write_atomically(path: Path, text: str, mode: int = 0o600) -> None:
    """Write a file so that a reader finds the old text or the new one, never a part.

    Args:
        path: the file; its folder exists.
        text: what it shall hold.
        mode: permission bits.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)


def write_client_files(home: Path, hosts: Mapping[str, str]) -> None:
    """Write what containers' own clients need to take the loopback hosts for plain-http registries.

    Args:
        home: CGRUNBOOK_HOME.
        hosts: real host name to "127.0.0.1:PORT".
    """
    folder = folder_of(home)
    for name in ("docker", "containers", "gcloud"):
        (folder / name).mkdir(mode=0o700, exist_ok=True)
    docker_config = folder / "docker" / "config.json"
    if not docker_config.exists():
        write_atomically(docker_config, "{}\n")
    registries = [
        address for host, address in hosts.items() if host == host_names.CGR_DEV or host_names.docker_location(host)
    ]
    text = 'unqualified-search-registries = []\nshort-name-mode = "enforcing"\n' + "".join(
        f'\n[[registry]]\nlocation = "{address}"\ninsecure = true\n' for address in registries
    )
    path = folder / "containers" / "registries.conf"
    if not path.exists() or path.read_text() != text:
        write_atomically(path, text)


def _unusable(what: str, problem: OSError) -> SandboxFailure:
    return SandboxFailure(
        f"The sandbox's {what}: {problem.strerror or problem}. "
        + _HELPS.get(problem.errno or 0, f"Set {VARIABLE} to a folder that you may write.")
    )


def _base(home_given: Path | None) -> Path:
    return home() if home_given is None else own(home_given.expanduser().absolute())


def _start_lock_path(base: Path) -> Path:
    return base / "sandbox.start.lock"


@contextlib.contextmanager
def _start_lock(base: Path) -> Iterator[FileLock]:
    """Hold the lock under which a sandbox is started, ended or removed."""
    from filelock import FileLock, Timeout

    for _ in range(10):
        try:
            base.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in (base, folder_of(base), (folder_of(base) / SERVER_LOG).parent):
                own(folder)
            lock = FileLock(_start_lock_path(base), mode=0o600)
            lock.acquire(timeout=2 * _READY_SECONDS)
        except FileNotFoundError:
            continue  # a reset removed the folder between the two calls
        except Timeout as slow:
            raise SandboxFailure(
                f"Another process has been starting or stopping the sandbox at {base} for a minute. "
                "End that process, then try again."
            ) from slow
        except OSError as problem:
            raise _unusable(f"home {base} cannot be used", problem) from problem
        try:
            yield lock
        finally:
            lock.release()
        return
    raise SandboxFailure(f"The sandbox's home {base} disappears as fast as it is made. Is a reset running elsewhere?")


def _is_served(base: Path) -> bool:
    """Whether a server process lives: it holds its lock until it ends, however it ends."""
    from filelock import FileLock, Timeout

    path = life_lock_of(base)
    if not path.exists():
        return False
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    except OSError as problem:
        raise _unusable(f"home {base} cannot be used", problem) from problem
    lock.release()
    return False


def _answering(base: Path) -> Running | None:
    """What sandbox.json tells, when the process it names answers for it."""
    folder = folder_of(base)
    try:
        told = json.loads((folder / SANDBOX_FILE).read_text(encoding="utf-8"))
        running = Running(
            pid=int(told["pid"]),
            home=base,
            hosts=dict(told["hosts"]),
            project_id=told["project_id"],
            project_number=told["project_number"],
            organization=told["organization"],
            access_token_file=folder / TOKEN_FILE,
            bin=folder / "bin",
            fallback_bin=folder / "bin-fallback",
            docker_config=folder / "docker",
            started=told["started"],
            version=told["version"],
            upstream=told.get("upstream", ""),
        )
        address = running.hosts[host_names.SERVICE_USAGE]
    except (OSError, ValueError, OverflowError, KeyError, TypeError, RecursionError):
        return None  # none, or a file that no server of ours wrote whole
    return running if _identity(address).get("pid") == running.pid else None


def _identity(address: str) -> dict[str, object]:
    """Ask a port whose it is; {} when it is nobody's or a stranger's."""
    import socket

    host, _, port = address.rpartition(":")
    request = f"GET {host_names.IDENTITY_PATH} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n".encode()
    answer = b""
    try:
        with socket.create_connection((host, int(port)), timeout=_ANSWER_SECONDS) as connection:
            connection.sendall(request)
            until = time.monotonic() + _ANSWER_SECONDS
            while time.monotonic() < until and (part := connection.recv(4096)):
                answer += part
        told = json.loads(answer.partition(b"\r\n\r\n")[2])
    except (OSError, ValueError, OverflowError, RecursionError):
        return {}
    return told if isinstance(told, dict) and told.get("cgrunbook") == "sandbox" else {}


def _launch(base: Path, upstream: str | None, seconds: Mapping[str, float | None]) -> None:
    folder = folder_of(base)
    try:
        (folder / "log").mkdir(mode=0o700, parents=True, exist_ok=True)
        log = os.fdopen(os.open(folder / SERVER_LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")
    except OSError as problem:
        raise _unusable(f"folder {folder} cannot be written", problem) from problem
    reader, writer = os.pipe()
    with log, os.fdopen(reader, "rb", buffering=0) as answer, os.fdopen(writer, "wb", buffering=0) as childs_end:
        command = [sys.executable, "-P", "-m", "cgrunbook.sandbox", "--home", str(base), "--ready-fd", str(writer)]
        for option, value in {"--upstream": upstream, **seconds}.items():
            if value is not None:
                command += [option, str(value)]
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=folder,
            env=os.environ | {"PYTHONPATH": python_path(PACKAGE_ROOT), "PYTHONUNBUFFERED": "1"},
            pass_fds=(writer,),
            start_new_session=True,
        )
        childs_end.close()  # else its death would not close the pipe
        told = _line(answer, _READY_SECONDS)
    if told == b"ready":
        # The child outlives us on purpose; without this Popen would warn of a child that nobody waited for.
        child.returncode = 0
        return
    number = int(told) if told.isdigit() else 0
    if not told and child.poll() is None:
        child.kill()
    child.wait()
    why = f": {os.strerror(number)}" if number else ""
    remedy = _HELPS.get(number, f"Set {VARIABLE} to another folder.") if number else _ANEW
    raise SandboxFailure(
        f"The sandbox did not come up; its process ended with {child.returncode}{why}.{_log_tail(base)} {remedy}"
    )


def _line(pipe: IO[bytes], seconds: float) -> bytes:
    """The line that comes before the other end closes or the time is over; empty for none."""
    import select

    readable, _, _ = select.select([pipe], [], [], seconds)
    return pipe.read(64).strip() if readable else b""


def _end(base: Path) -> bool:
    """End the server of a home, with the start lock held; return whether there was one."""
    if not _is_served(base):
        return False
    pid = None
    for number in (signal.SIGTERM, signal.SIGKILL):
        began, signalled = time.monotonic(), False
        while _is_served(base) and time.monotonic() < began + (_STOP_SECONDS if signalled else _WRITTEN_SECONDS):
            # One that is just coming up has not written its file yet.
            if not signalled and (pid := _server(base)) is not None:
                with contextlib.suppress(ProcessLookupError):  # it is just ending
                    os.kill(pid, number)
                signalled = True
            time.sleep(0.01)
        if not _is_served(base):
            if pid is not None:
                with contextlib.suppress(ChildProcessError):  # somebody else's child, whose parent buries it
                    os.waitpid(pid, 0)
            (folder_of(base) / SANDBOX_FILE).unlink(missing_ok=True)
            return True
        if not signalled:
            raise SandboxFailure(
                f"The sandbox at {base} is in use by a process that is not among those of this machine: one in a container "
                "that has the same home, say. End it where it was started: cgrunbook sandbox stop; or set "
                f"{VARIABLE} to another folder."
            )
    raise SandboxFailure(f"The sandbox's process at {base} does not end, not even on SIGKILL.")


def write_pid(folder: Path) -> None:
    """Write down which process this is, so that a later one can prove that a number still means it.

    Args:
        folder: the state folder.
    """
    write_atomically(folder / PID_FILE, f"{os.getpid()}\n{_life_of('self')}\n")


def _server(base: Path) -> int | None:
    """The process that server.pid means, if it is proved that it is still the same."""
    try:
        number, life = (folder_of(base) / PID_FILE).read_text(encoding="utf-8").splitlines()
        pid = int(number)
        return pid if pid > 0 and life and _life_of(pid) == life else None
    except (OSError, ValueError):
        return None


def _life_of(process: int | str) -> str:
    """What no other process has that had or gets the same number, after a restart or in a container; "" for none."""
    if sys.platform != "linux":
        number = str(os.getpid() if process == "self" else process)
        return subprocess.run(
            ["/bin/ps", "-o", "lstart=", "-p", number], capture_output=True, text=True, check=False
        ).stdout.strip()
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        told = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
        # The 22nd field is when it started; the second, in parentheses, may hold anything (proc_pid_stat(5)).
        return f"{boot} {Path('/proc/self/ns/pid').readlink()} {told.rpartition(')')[2].split()[19]}"
    except OSError:  # there is no such process, or no /proc
        return ""


def _log_tail(base: Path) -> str:
    try:
        lines = (folder_of(base) / SERVER_LOG).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return "" if not lines else f" The last line of its log ({folder_of(base) / SERVER_LOG}): {lines[-1].rstrip('.')}."


def _counts(database: Path) -> dict[str, int]:
    import sqlite3

    tables = {
        "repositories": "repository",
        "secrets": "secret",
        "secret_versions": "secret_version",
        "cached_manifests": "cached_manifest",
    }
    counts: dict[str, int] = {}
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=5)) as connection:
        present = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        for what, table in tables.items():
            query = f"SELECT count(*) FROM {table}"  # noqa: S608 - the names are the four above
            counts[what] = connection.execute(query).fetchone()[0] if table in present else 0
    return counts
