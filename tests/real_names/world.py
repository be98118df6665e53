"""A machine at the real names, from outside: opened, given a person's shell, and looked at."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.clients.programs import absent, client
from tests.real_names.faults import Weather
from tests.real_names.token_hosts import PROJECT, refresh_token
from tests.warm_python import forked_from, warm_python

#: The repository's root, from which the processes inside import the tests.
_ROOT = Path(__file__).parents[2]
_BIN = Path(sys.executable).parent

# Variables that Python and google-auth read as they start and are imported: who has them is not forked.
_OF_THE_START = {"PYTHONPATH", "GCE_METADATA_HOST"}

#: A person who may do everything in the project, as the sandbox begins.
OWNER = "user:trainee@example.com"


@dataclass(frozen=True)
class Machine:
    """A namespace that is up.

    Args:
        folder: all that it writes, the person's home included.
        process: the number of its first process.
    """

    folder: Path
    process: int

    @property
    def home(self) -> Path:
        """The person's home folder."""
        return self.folder / "home"

    @property
    def authority(self) -> Path:
        """The certificate of the authority that has signed the hosts' certificates."""
        return self.folder / "ca.pem"

    @property
    def python(self) -> Path:
        """The socket of a Python in it that has its imports and forks."""
        return self.folder / "python"

    @property
    def programs(self) -> Path:
        """A folder of the PATH: chainctl, and what a test puts there."""
        return self.folder / "programs"

    def run(
        self, *command: object, stdin: str = "", timeout: float = 120, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as the person whose machine this is.

        Args:
            command: its words.
            stdin: what it reads.
            timeout: seconds.
            variables: on top of HOME, CGRUNBOOK_HOME, LANG and a PATH without gcloud, docker or anything of the sandbox but
                chainctl; the authority is trusted by REQUESTS_CA_BUNDLE unless one of the usual variables is among them,
                and is in no store where `REQUESTS_CA_BUNDLE=""`.
        """
        words = [str(word) for word in command]
        start: Any = subprocess.Popen
        given: dict[str, Any] = {"args": self.entered(*words, **variables)}
        if words[0] in ("cgrunbook", "python", sys.executable) and not _OF_THE_START & set(variables):
            start = forked_from(self.python, whatever=True)
            module = ["-m", "cgrunbook"] if words[0] == "cgrunbook" else []
            given = {"args": [sys.executable, *module, *words[1:]], "env": self.environment(**variables)}
        streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = start(**given, **streams, cwd=self.home, text=True)
        said, complained = process.communicate(stdin, timeout)
        return subprocess.CompletedProcess(words, process.returncode, said, complained)

    def environment(self, **variables: str) -> dict[str, str]:
        """The whole environment of a command with these variables."""
        given = {
            "HOME": str(self.home),
            "CGRUNBOOK_HOME": str(self.folder / "cgrunbook"),
            "LANG": "C.UTF-8",
            "PATH": f"{self.programs}:{_BIN}",
            "PYTHONPATH": str(_ROOT),
        }
        if not {"REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"} & set(variables):
            given["REQUESTS_CA_BUNDLE"] = str(self.authority)
        return {name: value for name, value in {**given, **variables}.items() if value}

    def entered(self, *command: object, **variables: str) -> list[str]:
        """The words of the same command for somebody else's `subprocess`; it must be started in a folder that exists."""
        shell = [f"{name}={value}" for name, value in self.environment(**variables).items()]
        enter = ["nsenter", f"--target={self.process}", "--mount", "--net", "--pid", f"--wd={self.home}"]
        return [*enter, shutil.which("env") or "env", "--ignore-environment", *shell, *map(str, command)]

    def cgrunbook(self, *words: object, timeout: float = 120, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run cgrunbook on Google Cloud, with application default credentials of the project's owner unless told otherwise.

        Args:
            words: the verb and what follows; target, project and organisation are given besides.
            timeout: seconds.
            variables: as for `run`.
        """
        if not any(name in variables for name in ("GOOGLE_APPLICATION_CREDENTIALS", "GCE_METADATA_HOST")):
            variables["GOOGLE_APPLICATION_CREDENTIALS"] = str(self.user())
        given = ["-p", "project_id", PROJECT, "-p", "organization", "example.com"]
        return self.run("cgrunbook", *words, "--target", "google-cloud", *given, timeout=timeout, **variables)

    def credentials(self, name: str, content: Any) -> Path:
        """Write a file of application default credentials."""
        path = self.folder / f"{name}.json"
        path.write_text(json.dumps(content))
        return path

    def user(self, principal: str = OWNER, client_id: str = "gcloud") -> Path:
        """A person's own credentials, as `gcloud auth application-default login` leaves them.

        Args:
            principal: whose, an IAM member.
            client_id: `token_hosts.NARROW` for a login without the scope for the address.
        """
        login = {"type": "authorized_user", "client_id": client_id, "client_secret": "s"}
        content = {**login, "refresh_token": refresh_token(principal)}
        return self.credentials(principal.partition(":")[2] + client_id, content)

    def with_gcloud(self, account: str = "") -> dict[str, str]:
        """Variables of a shell that has the real gcloud and its docker helper, and with them whatever stands beside gcloud.

        Args:
            account: whom gcloud is signed in as from now on, an IAM member; "" leaves it signed in as it is, first as nobody.
        """
        folders = [self.programs, _BIN, Path(client("gcloud")).parent, "/usr/bin", "/bin"]
        variables: dict[str, Any] = {
            "PATH": ":".join(map(str, folders)),
            "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE": str(self.authority),  # gcloud brings certificates of its own
            "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
            "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "1",
        }
        if account:
            # What `gcloud auth login` leaves, without a browser.
            words = ["gcloud", "auth", "activate-refresh-token", account.partition(":")[2], account]
            done = self.run(*words, **variables)
            assert done.returncode == 0, done.stderr
        return variables

    def set(self, weather: Weather | None = None) -> None:
        """Change what every request meets, and count requests anew; fair where nothing is given."""
        self._told(asdict(weather or Weather()))

    def seen(self) -> dict[str, int]:
        """Requests by host since the last `set`."""
        return dict(self._told({})["requests"])

    def connected(self) -> dict[str, int]:
        """Connections by host since the last `set`."""
        return dict(self._told({})["connections"])

    def left(self) -> list[str]:
        """Hosts, and paths, of the faults that have not happened as often as they should."""
        return list(self._told({})["left"])

    def log(self) -> list[dict[str, Any]]:
        """Every request since the beginning."""
        path = self.folder / "requests.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def _told(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        with socket.socket(socket.AF_UNIX) as control:
            control.connect(str(self.folder / "control"))
            control.sendall(json.dumps(wanted).encode() + b"\n")
            with control.makefile() as answer:
                told: dict[str, Any] = json.loads(answer.read())
        return told


@contextlib.contextmanager
def machine(**settings: str) -> Iterator[Machine]:
    """Open a machine at the real names, with a sandbox of its own behind them; nothing of it is left.

    Args:
        settings: variables for the sandbox; its waits for IAM and agents are zero unless they are among them.
    """
    unshare, _ = client("unshare"), client("nsenter")
    if os.geteuid() != 0:
        absent("a namespace with the real names needs root, which this is not")
    # A socket's path has at most 108 characters.
    folder = Path(tempfile.mkdtemp(prefix="rn"))
    for name in ("home", "programs", "cgrunbook"):
        (folder / name).mkdir()
    isolated = ["--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child"]
    environment = {
        **{name: value for name, value in os.environ.items() if "_CA_BUNDLE" not in name and "SSL_CERT" not in name},
        "CGRUNBOOK_SANDBOX_IAM_DELAY": "0",
        "CGRUNBOOK_SANDBOX_AGENT_DELAY": "0",
        **settings,
        "HOME": str(folder / "home"),
    }
    command = [unshare, *isolated, sys.executable, "-m", "tests.real_names.inside", str(folder)]
    try:
        with (
            (folder / "inside.log").open("w") as log,
            subprocess.Popen(
                command,
                cwd=_ROOT,
                env=environment,
                text=True,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            ) as outside,
        ):
            try:
                if not outside.stdout or outside.stdout.readline().strip() != "ready":
                    absent(f"no namespace with the real names here: {(folder / 'inside.log').read_text()[-300:]}")
                children = Path(f"/proc/{outside.pid}/task/{outside.pid}/children").read_text().split()
                (folder / "programs" / "chainctl").symlink_to(folder / "cgrunbook" / "sandbox" / "bin" / "chainctl")
                opened = Machine(folder, int(children[0]))
                with warm_python(*opened.entered(), path=opened.python):
                    yield opened
            finally:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    outside.communicate(timeout=10)
                outside.kill()
    finally:
        shutil.rmtree(folder)
