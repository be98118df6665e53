"""What a walk makes is written down before it is made, and taken away at its end, or by the next start where it was killed."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from cgrunbook import home
from cgrunbook.cloud import Connection
from cgrunbook.errors import CgrunbookError, StepFailed, Temporary
from tests.probe.sending import Answer, Sender
from tests.probe.walk import LABEL

# Seconds after which it is looked again for what a call was making when its answer was lost.
_LATER = (5.0, 15.0)
# Seconds for which a service that does not answer is asked again to take something away.
_PATIENCE = 30.0

# Nothing else is ever taken away.
_THING = re.compile(
    rf"(?:(?:repository \S+/|secret |pull-tokens \S+/){LABEL}-[\w-]+|api (?:artifactregistry|secretmanager)\.googleapis\.com)"
)


class Made:
    """What one walk has made and not yet taken away; a file is there as long as anything is.

    Args:
        path: the file.
        project: the project's id.
        things: kind and name each, in the order in which they were begun.
    """

    def __init__(self, path: Path, project: str, things: list[str]) -> None:
        self._path, self._project = path, project
        self.things = things

    @property
    def suffix(self) -> str:
        """What all names of the walk have in them."""
        return self._path.stem

    def begin(self, thing: str) -> None:
        """Remember one; on the disk when this returns."""
        if thing not in self.things:
            self.things.append(thing)
            self._write()

    def gone(self, thing: str) -> None:
        """Forget one."""
        self.things.remove(thing)
        self._write()

    def _write(self) -> None:
        if not self.things:
            self._path.unlink(missing_ok=True)
            return
        draft = self._path.with_suffix(".draft")
        try:
            with draft.open("w", encoding="utf-8") as file:
                json.dump({"project": self._project, "made": self.things}, file)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._path)
        except OSError as error:
            raise StepFailed(f"What is made cannot be written down in {self._path}: {error.strerror}.") from error


@contextlib.contextmanager
def books(connection: Connection) -> Iterator[tuple[Made, list[Made]]]:
    """An empty book for a walk, and those of the walks in this project that ended without taking all away.

    Raises:
        StepFailed: another walk is under way in the project on this machine, or nothing can be written here.
    """
    # A reset of the sandbox takes this with it.
    folder = home.home() / ("sandbox/probe" if connection.target == "sandbox" else "probe")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f"{connection.project_id}.lock")
        lock.acquire(timeout=0)
    except Timeout:
        raise StepFailed(
            f"Another walk is under way in the project {connection.project_id}.", "Wait for its end."
        ) from None
    except OSError as error:
        raise StepFailed(f"Nothing can be written in {folder}: {error.strerror}.") from error
    with lock:
        for draft in folder.glob("*.draft"):
            draft.unlink()
        left = []
        for path in sorted(folder.glob("*.json")):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # whatever somebody else has put here
                told = json.loads(path.read_text(encoding="utf-8"))
                if told["project"] == connection.project_id and all(_THING.fullmatch(thing) for thing in told["made"]):
                    left.append(Made(path, told["project"], told["made"]))
        try:
            yield Made(folder / f"{secrets.token_hex(4)}.json", connection.project_id, []), left
        finally:
            Path(lock.lock_file).unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # another project's may be there
                folder.rmdir()


def take_away(sender: Sender, made: Made, told: Callable[[str], None]) -> list[str]:
    """Take away all that a walk has made, the last first.

    Args:
        sender: how calls go out; its waits must not be cancelled.
        made: what there may be.
        told: hears what is taken away.

    Returns:
        What is still there, each with the reason.
    """
    stay: list[str] = []
    attempts, google = sender.cloud.attempts, sender.cloud.connection.target == "google-cloud"
    for number, thing in enumerate(reversed(made.things.copy())):
        kind, name = thing.split()
        if kind == "api" and stay:
            continue  # what stays could not be reached any more
        told(thing)
        # The answer to the call that makes the last one may have been lost, and the service still be at it.
        looks = (0.0, *(_LATER if number == 0 and google else ()))
        try:
            for pause in looks:
                if pause:
                    attempts.pause(pause, thing)
                found = attempts.run(
                    lambda kind=kind, name=name: _TAKING[kind](sender, name),  # type: ignore[misc]
                    reason=thing,
                    temporary=(Temporary,),
                    limit=0.0 if stay else _PATIENCE,
                )
                if found:
                    break
            made.gone(thing)
        except CgrunbookError as error:
            stay.append(f"{thing}: {error}")
    return stay


def _repository(sender: Sender, name: str) -> bool:
    location, _, identifier = name.partition("/")
    path = f"/v1/projects/{sender.cloud.connection.project_id}/locations/{location}/repositories/{identifier}"
    return _deleted(sender, "artifactregistry", path)


def _secret(sender: Sender, name: str) -> bool:
    return _deleted(sender, "secretmanager", f"/v1/projects/{sender.cloud.connection.project_id}/secrets/{name}")


def _deleted(sender: Sender, host: str, path: str) -> bool:
    return _done(sender, host, sender.send("DELETE", host, path))


def _api(sender: Sender, name: str) -> bool:
    """Turn an API off that was off before, unless it is off or somebody has begun to use it meanwhile."""
    connection = sender.cloud.connection
    lists = {
        "artifactregistry.googleapis.com": (
            "locations/-/repositories",
            f"locations/{connection.location}/repositories",
        ),
        "secretmanager.googleapis.com": ("secrets",),
    }
    for path in lists[name]:
        host = name.partition(".")[0]
        answer = sender.send("GET", host, f"/v1/projects/{connection.project_id}/{path}?pageSize=1")
        if answer.disabled or answer.found("repositories.0.name") or answer.found("secrets.0.name"):
            return False
    path = f"/v1/projects/{connection.project_id}/services/{name}:disable"
    return _done(sender, "serviceusage", sender.send("POST", "serviceusage", path, body={}))


def _pull_tokens(sender: Sender, name: str) -> bool:
    organization, _, begins = name.partition("/")
    chainctl = sender.cloud.chainctl
    found = [token for token in chainctl.list_pull_tokens(organization) if token.name.startswith(begins)]
    for token in found:
        chainctl.revoke(token.id, organization)
    return bool(found)


def _done(sender: Sender, host: str, answer: Answer) -> bool:
    """Whether something was there and is gone; False where it was not there.

    Raises:
        StepFailed: it is still there.
    """
    if answer.status == 200 and "/operations/" in f"/{answer.found('name')}":
        answer = sender.finished(host, answer)
    if answer.status == 404:
        return False
    if answer.status != 200 or answer.found("error.message"):
        raise StepFailed(f"{answer.status} {answer.found('error.message')}".strip())
    return True


_TAKING = {"repository": _repository, "secret": _secret, "api": _api, "pull-tokens": _pull_tokens}
