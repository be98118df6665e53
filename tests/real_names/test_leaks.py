"""No secret leaves a run on the real names: not at the highest verbosity, not where a token's host answers nonsense."""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cgrunbook.sandbox import process
from tests.real_names.faults import Fault, Weather
from tests.real_names.token_hosts import PROJECT, refresh_token
from tests.real_names.world import OWNER, Machine
from tests.test_canary import spellings

_ROOT = Path(__file__).parents[2]

# All that the libraries of a kernel can say of what they send and get.
_LOUD = """\
import http.client, logging, sys
if any("ipykernel" in word for word in sys.orig_argv):
    http.client.HTTPConnection.debuglevel = 1
    logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
    for name in ("urllib3", "requests", "google.auth", "google.oauth2"):
        logging.getLogger(name).setLevel(logging.DEBUG)
"""

_PASSWORD = f"""\
from cgrunbook.cloud import Cloud, connect
cloud = Cloud(connect("google-cloud", project_id={PROJECT!r}))
print(cloud.secrets.access("chainguard-pull-token").reveal())
"""


@pytest.fixture
def loud(real_names: Machine) -> str:
    """The PYTHONPATH of who says all that can be said."""
    folder = real_names.folder / "loud"
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(_LOUD)
    return f"{folder}:{_ROOT}"


def left_behind(machine: Machine, run: str) -> Iterator[tuple[str, bytes]]:
    """The files of one run, and what else is in the person's home but docker's own file, where docker keeps its login."""
    for path in machine.home.rglob("*"):
        if path.is_file() and path.parent.name != ".docker":
            yield str(path.relative_to(machine.home)), path.read_bytes()
    assert (machine.home / run / "journal.jsonl").exists()


def places(machine: Machine, run: str, said: str, forms: list[bytes]) -> list[str]:
    everything = [("what it said", said.encode()), *left_behind(machine, run)]
    return [name for name, data in everything if any(form in data for form in forms)]


def test_a_run_that_tells_all_it_sends_tells_no_secret(real_names: Machine, loud: str) -> None:
    token = process.access_token(OWNER, real_names.folder / "cgrunbook")
    answer = json.dumps({"access_token": token, "expires_in": 3599, "token_type": "Bearer"})
    real_names.set(
        Weather(faults=[Fault(host="oauth2.googleapis.com", path="/token$", status=200, body=answer, times=999)])
    )
    refresh = refresh_token(f"user:{secrets.token_hex(40)}@example.com")
    login = {"type": "authorized_user", "client_id": "gcloud", "client_secret": f"opaque{secrets.token_hex(20)}"}
    path = real_names.credentials("canary", {**login, "refresh_token": refresh})
    done = real_names.cgrunbook(
        "run", "02", "03", "04", "--output", "loud", PYTHONPATH=loud, GOOGLE_APPLICATION_CREDENTIALS=str(path)
    )
    assert done.returncode == 0, done.stderr
    executed = b"".join(page.read_bytes() for page in (real_names.home / "loud").glob("*.ipynb"))
    assert b"send:" in executed
    assert b"grant_type" in executed
    asked = real_names.run(sys.executable, "-c", _PASSWORD, GOOGLE_APPLICATION_CREDENTIALS=str(path))
    password = asked.stdout.strip()
    assert password.count(".") == 2, asked.stderr
    for value in (password, token, refresh, login["client_secret"]):
        assert places(real_names, "loud", done.stdout + done.stderr, spellings(value)) == [], value[:5]


ANSWERS = {
    "cut": lambda value: f'[{{"access_token": "opaque{value}"}}, {{"access_token": "ya29.{value}',
    "a page": lambda value: f"<html><p>id_token=eyJhbGciOiJSUzI1NiJ9.eyJ{value}.{value}</p></html>",
    "an odd error": lambda value: json.dumps(
        {"error": {"access_token": f"ya29.{value}"}, "error_description": f"ya29.{value}"}
    ),
}


@pytest.mark.parametrize(
    "answer",
    [pytest.param(one, id=name, marks=[pytest.mark.long] * (name != "cut")) for name, one in ANSWERS.items()],
)
def test_nothing_of_a_token_is_told_where_its_host_answers_nonsense(real_names: Machine, loud: str, answer) -> None:
    value = secrets.token_hex(40)
    run = f"nonsense-{value[:6]}"
    status = 400 if "error" in answer("") else 200
    body = answer(value)
    real_names.set(
        Weather(faults=[Fault(host="oauth2.googleapis.com", path="/token$", status=status, body=body, times=99)])
    )
    done = real_names.cgrunbook("run", "03", "--output", run, "-p", "wait_limit", "1", PYTHONPATH=loud)
    assert done.returncode not in (0, 2), done.stderr
    assert (
        places(
            real_names, run, done.stdout + done.stderr, [value[:20].encode(), value[30:50].encode(), *spellings(value)]
        )
        == []
    )
