"""What a walk makes is written down before it is made, and taken away at its end, or by the next start where it was killed."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from cgrunbook import home
from cgrunbook.cloud import Connection
from cgrunbook.errors import CgrunbookError
from tests.probe.sending import Answer, Sender
from tests.probe.walk import LABEL

# Seconds after which it is looked again for what a call was making that nobody saw the end of.
_LATER = (5.0, 15.0)


class Made:
    """What one walk has made and not yet taken away; a file that is there as long as anything is, and locked while the walk lives.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = FileLock(path.with_suffix(".lock"))
        self._told: dict[str, Any] = {}

    @property
    def suffix(self) -> str:
        """What all names of the walk have in them."""
        return self._path.stem

    @property
    def things(self) -> list[str]:
        """Kind and name each, in the order in which they were begun."""
        found: list[str] = self._told["made"]
        return found

    def begin(self, thing: str) -> None:
        """Remember one; on the disk when this returns."""
        if thing not in self.things:
            self.things.append(thing)
            self._write()

    def gone(self, thing: str) -> None:
        """Forget one."""
        self.things.remove(thing)
        self._write()

    def close(self) -> None:
        """Give up the file, and remove it where nothing is left."""
        if not self.things:
            self._path.unlink(missing_ok=True)
        self._lock.release()
        if not self._path.exists():
            Path(self._lock.lock_file).unlink(missing_ok=True)

    def _write(self) -> None:
        draft = self._path.with_suffix(".draft")
        with draft.open("w", encoding="utf-8") as file:
            json.dump(self._told, file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._path)

    @classmethod
    def new(cls, connection: Connection) -> Made:
        """Of a walk that begins now."""
        folder = _folder(connection)
        folder.mkdir(parents=True, exist_ok=True)
        made = cls(folder / f"{secrets.token_hex(4)}.json")
        made._lock.acquire()
        made._told = {"project": connection.project_id, "location": connection.location, "made": []}
        return made

    @classmethod
    def left(cls, connection: Connection) -> Iterator[Made]:
        """Of walks in this project and location that ended without taking all away; each is locked, and to be closed."""
        for path in sorted(_folder(connection).glob("*.json")):
            made = cls(path)
            try:
                made._lock.acquire(timeout=0)
                made._told = json.loads(path.read_text(encoding="utf-8"))
            except (Timeout, OSError):  # it lives, or another start has just swept it
                continue
            if (made._told["project"], made._told["location"]) == (connection.project_id, connection.location):
                yield made
            else:
                made.close()


def _folder(connection: Connection) -> Path:
    # A reset of the sandbox takes this with it.
    below = "sandbox/probe" if connection.target == "sandbox" else "probe"
    return home.home() / below


def take_away(sender: Sender, made: Made, told: Callable[[str], None]) -> list[str]:
    """Take away all that a walk has made, the last first.

    Args:
        sender: how calls go out; its waits must not be cancelled.
        made: what there may be.
        told: hears what is being taken away.

    Returns:
        What is still there, each with the reason.
    """
    stay = []
    for number, thing in enumerate(reversed(made.things.copy())):
        told(thing)
        kind, name = thing.split()
        try:
            problem = _TAKING[kind](sender, name)
            # Of the last one nobody may have seen whether it was made.
            for pause in (
                _LATER if number == 0 and problem is None and sender.cloud.connection.target != "sandbox" else ()
            ):
                sender.cloud.attempts.pause(pause, f"{name}, which may appear yet")
                problem = _TAKING[kind](sender, name)
        except CgrunbookError as error:
            problem = str(error)
        if problem:
            stay.append(f"{thing}: {problem}")
        else:
            made.gone(thing)
    return stay


def _repository(sender: Sender, name: str) -> str | None:
    connection = sender.cloud.connection
    path = f"/v1/projects/{connection.project_id}/locations/{connection.location}/repositories/{name}"
    return _deleted(sender, "artifactregistry", path, name)


def _secret(sender: Sender, name: str) -> str | None:
    return _deleted(sender, "secretmanager", f"/v1/projects/{sender.cloud.connection.project_id}/secrets/{name}", name)


def _deleted(sender: Sender, host: str, path: str, name: str) -> str | None:
    if not name.startswith(f"{LABEL}-"):
        return "it has not the name of something that a probe makes"
    return _problem(sender, host, sender.send("DELETE", host, path))


def _api(sender: Sender, name: str) -> str | None:
    path = f"/v1/projects/{sender.cloud.connection.project_id}/services/{name}:disable"
    return _problem(sender, "serviceusage", sender.send("POST", "serviceusage", path, body={}))


def _pull_tokens(sender: Sender, name: str) -> str | None:
    organization, _, begins = name.partition("/")
    for token in sender.cloud.chainctl.list_pull_tokens(organization):
        if token.name.startswith(begins):
            sender.cloud.chainctl.revoke(token.id, organization)
    return None


def _problem(sender: Sender, host: str, answer: Answer) -> str | None:
    """Why something is still there; None where it is gone."""
    if answer.status == 200 and "/operations/" in f"/{answer.found('name')}":
        answer = sender.finished(host, answer)
    if answer.status == 404 or (answer.status == 200 and not answer.found("error.message")):
        return None
    return f"{answer.status} {answer.found('error.message')}".strip()


_TAKING = {"repository": _repository, "secret": _secret, "api": _api, "pull-tokens": _pull_tokens}
