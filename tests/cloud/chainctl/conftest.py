"""A chainctl of the tests' own: a script that prints and ends as it is told, and writes down how it was called."""

from __future__ import annotations

import json
import secrets
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest

from cgrunbook.cloud.attempts import Attempts
from cgrunbook.cloud.chainctl import Chainctl
from tests.waiting import wait_for

# The first answer whose words all stand in the arguments is given; "times" bounds how often.
# A path with spaces cannot stand behind #!, so a shell starts Python; what Python sees there is a text.
SCRIPT = """#!/bin/sh
'''exec' "{python}" "$0" "$@"
' '''
import json, os, pathlib, subprocess, sys, time
folder = pathlib.Path({folder!r})
with (folder / "calls.jsonl").open("a") as log:
    log.write(json.dumps({{"arguments": sys.argv[1:], "environment": dict(os.environ), "tty": sys.stdin.isatty(),
                          "input": sys.stdin.read(), "pid": os.getpid()}}) + "\\n")
answers = json.loads((folder / "answers.json").read_text())
for number, answer in enumerate(answers):
    if answer["times"] != 0 and all(word in sys.argv for word in answer["words"]):
        answer["times"] -= 1
        (folder / "answers.json").write_text(json.dumps(answers))
        break
else:
    sys.exit("unknown command " + json.dumps(" ".join(sys.argv[1:])))
sys.stdout.write(answer["out"])
sys.stdout.flush()
sys.stderr.write(answer["err"])
sys.stderr.flush()
if answer["then"] == "hang":
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    (folder / "child").write_text(str(child.pid))
    time.sleep(600)
if answer["then"] == "leave":
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    (folder / "child").write_text(str(child.pid))
while answer["then"] == "flood":
    sys.stdout.write("junk " * 10000)
sys.exit(answer["code"])
"""


class FakeChainctl:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "bin" / "chainctl"
        self.path.parent.mkdir()
        self.path.write_text(SCRIPT.format(python=sys.executable, folder=str(folder)))
        self.path.chmod(self.path.stat().st_mode | stat.S_IXUSR)
        self.answers: list[dict[str, Any]] = []
        self._write()

    def answer(self, *words: str, out: Any = "", err: str = "", code: int = 0, then: str = "", times: int = -1) -> None:
        """What to do when all these words are among the arguments; the first that was told wins."""
        text = out if isinstance(out, str) else json.dumps(out)
        self.answers.append({"words": words, "out": text, "err": err, "code": code, "then": then, "times": times})
        self._write()

    def _write(self) -> None:
        (self.folder / "answers.json").write_text(json.dumps(self.answers))

    @property
    def calls(self) -> list[dict[str, Any]]:
        log = self.folder / "calls.jsonl"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    @property
    def commands(self) -> list[str]:
        return [" ".join(call["arguments"]) for call in self.calls]

    def child_ended(self) -> bool:
        """Whether what the command had started is gone, now or within a while."""
        process = Path("/proc", (self.folder / "child").read_text(), "stat")

        def gone() -> bool:
            try:
                return process.read_text().rpartition(")")[2].split()[0] == "Z"
            except (ProcessLookupError, FileNotFoundError):
                return True

        return bool(wait_for(gone, "the child's end"))


@pytest.fixture
def fake(tmp_path: Path) -> FakeChainctl:
    return FakeChainctl(tmp_path)


@pytest.fixture
def chainctl(fake: FakeChainctl) -> Callable[..., Chainctl]:
    def make(*, attempts: Attempts | None = None, timeout: float = 60.0, **environment: str) -> Chainctl:
        patient = Attempts(limit=20.0, first=0.0, longest=0.0)
        return Chainctl(str(fake.path), environment, attempts or patient, timeout=timeout)

    return make


@pytest.fixture
def username() -> str:
    return f"{secrets.token_hex(20)}/{secrets.token_hex(8)}"


@pytest.fixture
def make_jwt() -> Callable[..., str]:
    """A JWT with a pull token's claims, or others; its signature is by a key that nobody has."""

    def make(**claims: Any) -> str:
        usual = {
            "iss": "https://pulltoken.issuer.chainguard.dev",
            "aud": "https://issuer.enforce.dev",
            "sub": f"pull-token-{secrets.token_hex(4)}",
            "iat": 1_760_000_000,
            "exp": 1_762_591_999,
        }
        return jwt.encode(usual | claims, secrets.token_hex(32), algorithm="HS256")

    return make
