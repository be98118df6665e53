"""The pull token's password is searched for, in all its spellings, wherever a run could have left it.

All is executed at the highest verbosity that its libraries have. The sandbox's own database is the Secret Manager
that is played, and may hold it; nothing else may.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch
from urllib.parse import quote

import pytest

from cgrunbook.cloud import Cloud
from cgrunbook.run.notebooks import shipped_in
from tests.misfortunes import Misfortune, cases
from tests.sandboxes import sandbox_home
from tests.steps.doors import prepare
from tests.steps.performing import SECRET, open_book, perform, proof_of_03, steps_of_02, steps_of_03

# Every logger of every Python process says all it can, on its standard error. Google's are left to their own variable:
# with it they add the payload of each request and answer, but only where nobody configured them.
# What jsonschema would build a grammar with, for a second, is not found.
# In kernels http.client prints each request that it sends, header by header; elsewhere it would print it amid a command's answer.
_LOUD = """\
import logging, sys
if any("ipykernel" in word for word in sys.orig_argv):
    import http.client
    http.client.HTTPConnection.debuglevel = 1
sys.modules["rfc3987_syntax"] = None
logging.basicConfig(level=logging.DEBUG, stream=sys.stderr, force=True)
for name in ("urllib3", "requests", "httpx", "asyncio", "papermill", "traitlets"):
    logging.getLogger(name).setLevel(logging.DEBUG)
    logging.getLogger(name).propagate = True
"""


def spellings(password: str) -> list[bytes]:
    """The forms in which it could be anywhere; its parts alone and its pieces among them."""
    found: set[str] = set()
    beginning, _, signature = password.rpartition(".")
    for value in (
        password,
        signature,
        beginning.partition(".")[2],
        *(signature[at : at + 60] for at in range(0, len(signature), 60)),
    ):
        if len(value) < 24:
            continue
        found |= {
            value,
            quote(value, safe=""),
            json.dumps(value)[1:-1],
            value.encode().hex(),
            value.encode().hex().upper(),
        }
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            for before in range(3):  # what stands before it decides how it comes out
                encoded = encode(b"x" * before + value.encode()).decode()[4 if before else 0 : -4]
                found |= {encoded, encoded.encode().hex()}
                found |= {encode(encoded[at:].encode()).decode()[:-4] for at in range(3)}
    return [form.encode() for form in found]


@contextmanager
def watched_processes() -> Iterator[set[bytes]]:
    """Collect the arguments and environments of all processes while the context lasts."""
    seen: set[bytes] = set()
    over = threading.Event()

    def read(process: str, name: str) -> bytes:
        with open(f"/proc/{process}/{name}", "rb", 0) as file:  # noqa: PTH123 - a path for each would take most of the time
            return file.read()

    def look() -> None:
        known: dict[str, bytes] = {}
        while not over.wait(0.08):
            for process in filter(str.isdigit, os.listdir("/proc")):  # noqa: PTH208
                try:
                    command = read(process, "cmdline")
                    if (
                        known.get(process) != command
                    ):  # else it is the program that it was, with what that was started with
                        seen.update((command, read(process, "environ")))
                        known[process] = command
                except OSError:  # it has ended, or is another user's
                    continue

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


class Search:
    """All that a run left behind, in one place."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.passwords: list[str] = []
        self.said = b""
        self.processes: set[bytes] = set()

    def run(self, *words: str) -> int:
        """Run a Python module and keep all it says."""
        with watched_processes() as seen:
            done = subprocess.run(
                [sys.executable, "-m", *words], check=False, capture_output=True, cwd=self.root, timeout=120
            )
        self.said += done.stdout + done.stderr
        self.processes |= seen
        return done.returncode

    def papermill(self, notebook: str, *parameters: str) -> int:
        path = next(shipped_in().glob(f"{notebook}_*.ipynb"))
        out = self.root / f"{notebook}-{len(list(self.root.glob('*.ipynb')))}.ipynb"
        loud = ["--log-output", "--log-level", "DEBUG", "--kernel", "python3", "--no-progress-bar"]
        return self.run("papermill", str(path), str(out), *loud, *parameters)

    def knows(self, cloud: Cloud) -> None:
        """Learn the passwords that there are."""
        for version in cloud.secrets.versions(SECRET):
            if version.state == "ENABLED":
                self.passwords.append(cloud.secrets.access(SECRET, version.number).reveal().strip())

    def found(self) -> list[str]:
        """Where a password is that must not be there."""
        passwords = [password for password in self.passwords if len(password) > 40]
        assert passwords
        forms = [form for password in passwords for form in spellings(password)]

        def hit(data: bytes) -> bool:
            return any(form in data for form in forms)

        files = [
            path
            for path in self.root.rglob("*")
            if path.is_file() and not path.is_symlink() and not path.name.startswith("state.db")
        ]
        assert any(path.name == "journal.jsonl" for path in files)
        assert any(path.name == "requests.jsonl" for path in files)
        assert any(b"papermill" in process or b"cgrunbook" in process for process in self.processes)
        places = [str(path.relative_to(self.root)) for path in files if hit(path.read_bytes())]
        if hit(self.said):
            places.append("standard output or error")
        if any(hit(process) for process in self.processes):
            places.append("a process's arguments or environment")
        return places


@pytest.fixture
def search(tmp_path: Path) -> Iterator[Search]:
    loud = tmp_path / "loud"
    loud.mkdir()
    (loud / "sitecustomize.py").write_text(_LOUD)
    verbose = {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(loud), os.environ.get("PYTHONPATH")])),
        "GOOGLE_SDK_PYTHON_LOGGING_SCOPE": "google",
    }
    with patch.dict(os.environ, verbose), sandbox_home(tmp_path / "home"):
        yield Search(tmp_path)


def test_the_search_finds_what_it_searches_for(search: Search):
    perform(open_book()[0], *steps_of_02(), *steps_of_03())
    book, _ = open_book(folder=search.root)
    search.knows(book.cloud)
    perform(book, *steps_of_03())
    search.processes.add(b"papermill")
    assert search.found() == []
    for number, form in enumerate(spellings(search.passwords[0])):
        (search.root / f"leak-{number}").write_bytes(b"before " + form + b" after")
    login = base64.b64encode(f"user-name:{search.passwords[0]}".encode())
    (search.root / "leak-config.json").write_bytes(login)
    assert len(search.found()) == len(spellings(search.passwords[0])) + 1


def test_after_a_run_that_succeeds_the_password_is_nowhere(search: Search, tmp_path_factory):
    assert search.papermill("02") == 0
    assert search.papermill("03") == 0
    assert search.run("cgrunbook", "run", "04", "--json", "--output", str(search.root / "run")) == 0
    assert search.run("cgrunbook", "status", "--json") == 0
    assert b'"code": "token-end"' in search.said
    assert search.run("cgrunbook", "doctor", "--bundle", str(search.root / "ticket.md")) == 0
    assert b"The same for a program" in (search.root / "ticket.md").read_bytes()
    search.knows(open_book()[0].cloud)
    pasted = tmp_path_factory.mktemp("pasted") / "text"  # where nobody searches
    denied = 'Error response from daemon: Get "https://cgr.dev/v2/": unknown: Forbidden'
    pasted.write_text(f"docker login cgr.dev --username a/b --password {search.passwords[0]}\n{denied}\n")
    assert search.run("cgrunbook", "doctor", "--json", "--explain", str(pasted)) == 0
    assert b'"code": "cgr-forbidden"' in search.said
    executed = b"".join(path.read_bytes() for path in search.root.glob("*.ipynb"))
    assert b"httpRequest" in executed + search.said  # Google's clients told the payloads of their requests
    # http.client told its own: a pull with the pair, and the request that stores the password.
    assert b"Authorization: Basic" in executed
    assert b":addVersion" in executed
    assert search.found() == []


@pytest.mark.long
def test_after_the_command_made_the_token_the_password_is_nowhere(search: Search):
    assert search.run("cgrunbook", "run", "02", "03", "--output", str(search.root / "run")) == 0
    assert b"DEBUG" in search.said  # it was loud
    search.knows(open_book()[0].cloud)
    assert search.found() == []


# In a kernel: whose key was made, and what was shown to Chainguard, written down where nobody searches.
_LEARNS = """
if any("ipykernel" in word for word in sys.orig_argv):
    import requests
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa
    def learn(text):
        with open({learned!r}, "a") as file:
            file.write(text + "\\n")
    make, send = rsa.generate_private_key, requests.Session.send
    def making(**how):
        key = make(**how)
        form = serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        learn("key " + key.private_bytes(*form).hex())
        return key
    def sending(self, request, **more):
        if b"Bearer" in str(request.headers.get("Authorization", "")).encode():
            learn("token " + request.headers["Authorization"].partition(" ")[2])
        return send(self, request, **more)
    rsa.generate_private_key, requests.Session.send = making, sending
"""


@pytest.mark.long
def test_after_a_run_as_a_service_account_its_tokens_and_the_key_are_nowhere(search: Search, tmp_path_factory):
    access = prepare()
    perform(open_book()[0], *steps_of_02())
    learned = tmp_path_factory.mktemp("learned") / "learned"
    loud = search.root / "loud" / "sitecustomize.py"
    loud.write_text(_LOUD + _LEARNS.format(learned=str(learned)))
    given = {
        "chainguard_auth": access.auth,
        "chainguard_identity": access.identity,
        "chainguard_service_account": access.service_account,
    }
    parameters = [word for name, value in given.items() for word in ("-p", name, value)]
    assert search.papermill("03", *parameters) == 0
    loud.write_text(_LOUD)
    search.knows(open_book()[0].cloud)
    keys: set[str] = set()
    tokens: set[str] = set()
    for line in learned.read_text().splitlines():
        kind, _, value = line.partition(" ")
        (keys if kind == "key" else tokens).add(value)
    [key] = keys
    jwts = [token for token in tokens if token.count(".") == 2]
    assert len(jwts) == 2  # Google's identity token, and Chainguard's session
    executed = b"".join(path.read_bytes() for path in search.root.glob("*.ipynb"))
    assert b"/sts/exchange" in executed  # http.client told the request, header by header
    der = bytes.fromhex(key)
    search.passwords += [*jwts, *(base64.b64encode(der[at : at + 300]).decode() for at in range(0, len(der), 300))]
    assert search.found() == []


@pytest.mark.parametrize("misfortune", cases(lambda one: steps_of_03 in one.before and "empty" not in one.name))
def test_after_a_failure_that_has_to_do_with_the_password_it_is_nowhere(search: Search, misfortune: Misfortune):
    perform(open_book()[0], *steps_of_02(), *steps_of_03())
    search.knows(open_book()[0].cloud)
    cloud = misfortune.prepare()
    parameters = ["-y", "production_images: [no-such-image:latest]"] if misfortune.parameters else []
    assert search.papermill("03", *parameters) != 0
    misfortune.lifted(cloud)
    search.knows(cloud)
    assert search.found() == []


@pytest.mark.long
def test_after_a_rotation_and_one_that_fails_no_password_is_anywhere(search: Search):
    perform(open_book()[0], *steps_of_03())
    cloud = open_book()[0].cloud
    search.knows(cloud)
    assert search.papermill("05", "-r", "grace_period", "1h") == 0
    search.knows(cloud)
    with storing_breaks(search):
        assert search.papermill("05", "-r", "grace_period", "0s") != 0
    search.knows(cloud)
    assert search.run("cgrunbook", "rotate", "--grace", "0s", "--json", "--output", str(search.root / "run")) == 0
    assert len(set(search.passwords)) == 3
    assert search.found() == []


def test_after_a_failure_between_making_and_storing_the_token_the_password_is_nowhere(search: Search):
    perform(open_book()[0], *steps_of_02(), *steps_of_03()[:-2])
    with storing_breaks(search):
        assert search.papermill("03") != 0
    cloud = open_book()[0].cloud
    search.knows(cloud)
    perform(open_book()[0], *steps_of_03(), proof_of_03())
    search.knows(cloud)
    assert search.found() == []


@contextmanager
def storing_breaks(search: Search) -> Iterator[None]:
    """The answer that says where the token is stored never comes, with the password in the request that was sent."""
    breaking = search.root / "loud" / "sitecustomize.py"
    breaking.write_text(
        breaking.read_text()
        + "import requests\nsend = requests.Session.send\n"
        + "def broken(self, request, **more):\n"
        + "    if ':addVersion' in request.url:\n"
        + "        send(self, request, **more)\n"
        + "        raise ValueError(request.body)\n"
        + "    return send(self, request, **more)\n"
        + "requests.Session.send = broken\n"
    )
    yield
    breaking.write_text(_LOUD)
