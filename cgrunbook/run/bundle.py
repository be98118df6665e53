"""One file for a ticket: what a diagnosis found, what it was made with, how the resources stand, what failed last in the runs.

It is text that a person reads from above, and at its end the same for a program. Nothing secret is in it: states are told and
never values. Names are kept, or a word stands for each. The same state makes the same file, but for the line with the time.
"""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cgrunbook
from cgrunbook.cloud.command import TooMuch
from cgrunbook.cloud.gcloud import gcloud
from cgrunbook.diagnosis.doctor import Diagnosis
from cgrunbook.diagnosis.readings import Readings
from cgrunbook.errors import CgrunbookError, UsageError
from cgrunbook.parameters import Parameters
from cgrunbook.redaction import one_line, redact
from cgrunbook.run.folder import cannot_write
from cgrunbook.run.runs import Run, runs_in
from cgrunbook.steps.credential import kept_in, split_version
from cgrunbook.steps.step import Mark, World

if TYPE_CHECKING:
    from cgrunbook.cloud.artifact_registry import RemoteRepository
    from cgrunbook.cloud.iam_policy import Policy

# Seconds for each question; all are asked at once.
_SECONDS = 8.0
# So many runs are looked at, and so many failures told.
_RUNS, _FAILURES = 10, 10

# What changes how clients behave, of which only that it is set is told.
_VARIABLES = """
    CGRUNBOOK_HOME CLOUDSDK_ACTIVE_CONFIG_NAME CLOUDSDK_CONFIG CLOUDSDK_CORE_PROJECT DOCKER_AUTH_CONFIG DOCKER_CONFIG DOCKER_CONTEXT
    DOCKER_HOST GOOGLE_APPLICATION_CREDENTIALS GOOGLE_CLOUD_PROJECT GOOGLE_CLOUD_QUOTA_PROJECT HTTPS_PROXY HTTP_PROXY NO_PROXY
    REQUESTS_CA_BUNDLE SSL_CERT_DIR SSL_CERT_FILE https_proxy http_proxy no_proxy
    """

# The parameters that hold a name of the user's own, with the word that stands for it.
_OWN = {
    "project_id": "project",
    "organization": "organization",
    "repository": "repository",
    "private_repository": "repository",
    "secret_id": "secret",
}
_PULL_TOKEN = re.compile(r"\b[0-9a-f]{40}/[0-9a-f]{16}\b")
_ADDRESS = re.compile(r"\b[\w.+-]{1,64}@(?!gcp-sa-)[\w-]{1,63}(?:\.[\w-]{1,63}){1,6}")


@dataclass
class _Names:
    """The user's own names, and the words that stand for them; the same word each time."""

    words: dict[str, str] = field(default_factory=dict)

    def add(self, kind: str, name: object) -> None:
        if isinstance(name, str) and len(name) > 1 and name not in self.words and name not in _COMMON:
            self.words[name] = f"{kind}-{1 + sum(word.startswith(f'{kind}-') for word in self.words.values())}"

    def masked(self, text: str) -> str:
        for pattern, kind in ((_PULL_TOKEN, "identity"), (_ADDRESS, "account")):
            for name in dict.fromkeys(pattern.findall(text)):
                self.add(kind, name)
        for name in sorted(self.words, key=len, reverse=True):
            edge = r"\d" if name.isdigit() else r"[\w-]"  # a project's number stands in its agents' names
            text = re.sub(rf"(?<!{edge}){re.escape(name)}(?!{edge})", self.words[name], text)
        return text


# Names that everybody has, or that are the product's own.
_COMMON = {"chainguard", *(Parameters.model_fields[name].default for name in _OWN), ""}


def claim(path: Path) -> None:
    """See that a file can be written there, before anything is looked at.

    Raises:
        UsageError: there is something of that name, or no folder for it.
    """
    if path.exists() or path.is_symlink():
        raise UsageError(f"{path} is there already.", "Give another name, or take that file away first.")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"There is no folder {path.absolute().parent}.", "Make it, or give another.")


def write_bundle(path: Path, text: str) -> None:
    """Write it, readable by its owner alone.

    Raises:
        UsageError: meanwhile there is something of that name.
        StepFailed: it cannot be written.
    """
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        claim(path)
    except OSError as error:
        with suppress(OSError):
            path.unlink(missing_ok=True)  # half of it would be taken for all of it
        raise cannot_write(path, error) from error


def bundle(found: Diagnosis, world: World | None, place: Mapping[str, str], runs: Path, *, mask_names: bool) -> str:
    """The text of the file.

    Args:
        found: the diagnosis.
        world: the target, to be asked how its resources stand; None where nobody could be signed in.
        place: the target by the names of the parameters that say it.
        runs: a folder with run folders, or with a folder runs.
        mask_names: put words in the place of the user's own names.
    """
    names = _Names()
    for parameter, kind in _OWN.items():
        names.add(kind, place.get(parameter, ""))
    resources = _resources(found, world, names) if world is not None else {}
    failures = _failures(runs, names)
    diagnosis = found.as_json()
    for timed in (diagnosis, *diagnosis["checks"], *diagnosis["verdict"]["causes"]):
        for other_each_time in ("at", "seconds"):
            timed.pop(other_each_time, None)
    data = {"diagnosis": diagnosis, "versions": _versions(world), "resources": resources, "failed": failures}
    text = redact("\n".join(_page(found, place, data, mask_names=mask_names)) + "\n")
    home = os.path.expanduser("~")  # noqa: PTH111 - no home is no error here
    text = text.replace(home, "~") if len(home) > 1 else text
    return names.masked(text) if mask_names else text


def _page(found: Diagnosis, place: Mapping[str, str], data: Mapping[str, Any], *, mask_names: bool) -> Iterator[str]:
    verdict = data["diagnosis"]["verdict"]
    yield f"# cgrunbook doctor, {found.at:%Y-%m-%dT%H:%M:%SZ}\n"
    for number, cause in enumerate(verdict["causes"]):
        head = "The root cause" if number == 0 else "Also"
        head = "Could not be looked at" if cause["mark"] == Mark.NOT_CHECKED.value else head
        about = f", {cause['resource']}" if cause["resource"] else ""
        yield f"**{head}: {_code(cause)}{about}** ({cause['sure'] or 'not looked at'})\n"
        yield f"{one_line(cause['seen'], 2000)}\n"
        yield from (f"    {line}" for line in cause["remedy"].splitlines())
        yield ""
    if not verdict["causes"]:
        yield f"**{verdict['text']}**\n"
    where = ", ".join(f"{name} {value}" for name, value in place.items() if value)
    ways = "; ".join(f"{way['image']} through {way['repository']}" for way in data["diagnosis"]["ways"])
    yield f"- Target: {where}\n- Image: {ways or 'none'}, as {data['diagnosis']['as']}"
    yield f"- Exit code {found.verdict.exit_code}: {found.verdict.exit_code.means}"
    said = (
        "another word stands for each, the same throughout"
        if mask_names
        else "kept; --mask-names puts other words in their place"
    )
    yield f"- Names of projects, organisations, repositories, secrets and accounts: {said}"
    yield "- No password, token or key is in here: what a secret holds was not written down, and what looks like one is masked.\n"
    yield "## Checks\n"
    yield from _table(
        ("mark", "check", "on", "seen"),
        ((one["mark"], _code(one), one["way"] or one["resource"], one["seen"]) for one in data["diagnosis"]["checks"]),
    )
    for name, codes in (
        ("Left out", data["diagnosis"]["left_out"]),
        ("Suppressed", map(_code, data["diagnosis"]["suppressed"])),
    ):
        if listed := ", ".join(codes):
            yield f"{name}: {listed}\n"
    yield "## Versions\n"
    yield from _table(("what", "which"), data["versions"].items())
    yield "## How the resources stand\n"
    yield from _table(
        ("resource", "field", "state"),
        ((resource, name, value) for resource, fields in data["resources"].items() for name, value in fields.items()),
    )
    yield "## What failed last in the runs of this folder\n"
    yield from _table(
        ("when", "run", "where", "error", "what was said"),
        (
            (one["time"], one["run"], one["where"], one["error"], f"{one['message']} {one['remedy']}")
            for one in data["failed"]
        ),
    )
    yield "## The same for a program\n"
    yield f"```json\n{json.dumps(data, indent=1, sort_keys=True)}\n```"


def _code(one: Mapping[str, str]) -> str:
    return f"{one['code']}/{one['reason']}" if one["reason"] else one["code"]


def _table(head: Sequence[str], rows: Any) -> Iterator[str]:
    """Rows as a table of Markdown, or that there are none."""
    cells = [[one_line(str(cell), 600).replace("|", "\\|") for cell in row] for row in rows]
    if not cells:
        yield "None.\n"
        return
    for row in ([*head], ["---"] * len(head), *cells):
        yield f"| {' | '.join(row)} |"
    yield ""


def _versions(world: World | None) -> dict[str, str]:
    """What it was made with, on what; each asked at the same time as the others."""
    readings = Readings(_SECONDS)
    asks = {"gcloud": _gcloud_version}
    if world is not None:
        asks |= {"docker engine": partial(_engine, world), "Chainguard": partial(_chainguard, world)}
    for name, ask in asks.items():
        readings.begin(name, ask)
    said = {name: readings.answer(name) for name in asks}
    return {
        "cgrunbook": cgrunbook.__version__,
        "Python": f"{platform.python_version()} ({platform.python_implementation()})",
        "system": f"{_system()}, {platform.machine()}",
        **{
            name: f"not known: {answer.message}" if isinstance(answer, CgrunbookError) else answer
            for name, answer in said.items()
        },
        "set in the environment": ", ".join(name for name in _VARIABLES.split() if os.environ.get(name))
        or "none that matters",
        "in a container": "yes" if Path("/.dockerenv").exists() or Path("/run/.containerenv").exists() else "not seen",
    }


def _system() -> str:
    if sys.platform == "linux":
        with suppress(OSError):
            return f"{platform.freedesktop_os_release().get('PRETTY_NAME', 'Linux')}, kernel {platform.release()}"
    return f"{platform.system()} {platform.release()}"


def _gcloud_version() -> str:
    try:
        ended = gcloud("version", "--format=json")
        return str(json.loads(ended.output)["Google Cloud SDK"])
    except OSError:
        return "not there"
    except (TooMuch, ValueError, KeyError, TypeError):
        return "it does not say"


def _engine(world: World) -> str:
    engine = world.cloud.docker.engine()
    return engine.version if engine.reachable else f"none answers: {engine.problem}"


def _chainguard(world: World) -> str:
    door = world.cloud.chainguard
    return f"{door.name} {door.version()}"


def _resources(found: Diagnosis, world: World, names: _Names) -> dict[str, dict[str, str]]:
    """How the repositories of the ways stand, and the secrets that they name."""
    readings = Readings(_SECONDS)
    told: dict[str, dict[str, str]] = {}
    wanted = dict.fromkeys(way.repository for way in found.ways)
    for name in wanted:
        names.add("repository", name)
        readings.begin(name, partial(world.repository, name))
        readings.begin(("policy", name), partial(world.repository_policy, name))
    versions: dict[str, None] = {}
    for name in wanted:
        there = readings.answer(name)
        told[f"repository {name}"] = _repository(there, readings.answer(("policy", name)))
        if not isinstance(there, CgrunbookError | None) and there.password_secret_version:
            versions.setdefault(there.password_secret_version)
    for version in versions:
        try:
            project, secret_id, number = split_version(version)
            names.add("project", project)
            names.add("secret", secret_id)
            keeper = kept_in(world, project, secret_id)
        except CgrunbookError as error:
            told[f"secret version {version}"] = {"state": f"not known: {error.message}"}
            continue
        for about, ask in (("secret", keeper.secret), ("versions", keeper.versions), ("policy", keeper.policy)):
            readings.begin((about, version), partial(ask, secret_id))
        secret, listed, policy = (readings.answer((about, version)) for about in ("secret", "versions", "policy"))
        told[f"secret {secret_id}"] = _secret(secret, listed, policy, number)
    with suppress(CgrunbookError):
        names.add("number", str(readings.need("number", world.cloud.project.number)))
    images = [way.image for way in found.ways if not isinstance(way.image, CgrunbookError)]
    names.add("organization", next((one.organization for one in images if one.organization != "chainguard"), ""))
    return told


def _repository(there: RemoteRepository | CgrunbookError | None, policy: Policy | CgrunbookError) -> dict[str, str]:
    if there is None:
        return {"state": "not there"}
    if isinstance(there, CgrunbookError):
        return {"state": f"not known: {there.message}"}
    form = "a pull token's" if _PULL_TOKEN.fullmatch(there.username) else "of another form"
    return {
        "state": f"{there.format}, {there.mode}",
        "upstream": there.upstream or "none",
        "username": form if there.username else "none",
        "password": there.password_secret_version or "none",
        "cleanup policies": str(len(there.cleanup_policies)),
        "encrypted with": "a key of its own" if there.kms_key_name else "Google's key",
        "scanning": there.scanning_state or "not known",
        "bytes": "some" if there.size_bytes else "none",
        "roles": _roles(policy),
    }


def _secret(secret: Any, versions: Any, policy: Any, number: str) -> dict[str, str]:
    if isinstance(secret, CgrunbookError | None):
        return {"state": f"not known: {secret.message}" if secret else "not there"}
    states = [] if isinstance(versions, CgrunbookError) else [f"{one.number} {one.state}" for one in versions]
    return {
        "state": "there" if not secret.expire_time else f"there until {secret.expire_time:%Y-%m-%d}",
        "named version": number,
        "versions": ", ".join(states[:20])
        or ("none" if not isinstance(versions, CgrunbookError) else versions.message),
        "replication": ", ".join(secret.replication) or "automatic",
        "roles": _roles(policy),
    }


def _roles(policy: Policy | CgrunbookError | None) -> str:
    """Who has which role, by kinds of members; Artifact Registry's agents by name, for their project's number decides."""
    if isinstance(policy, CgrunbookError | None):
        return f"not known: {policy.message}" if policy else "none"
    told = []
    for binding in policy.bindings:
        kinds = Counter(
            member if "gcp-sa-artifactregistry" in member or ":" not in member else member.partition(":")[0]
            for member in binding.members
        )
        members = ", ".join(f"{count} {kind}" if count > 1 else kind for kind, count in sorted(kinds.items()))
        told.append(f"{binding.role}{' under a condition' if binding.condition else ''}: {members}")
    return "; ".join(sorted(told)) or "none"


def _runs(folder: Path) -> Sequence[Run]:
    try:
        return runs_in(folder, _RUNS).runs
    except UsageError:
        return ()


def _failures(folder: Path, names: _Names) -> list[dict[str, str]]:
    """What failed in the last runs, the newest first."""
    told: list[dict[str, str]] = []
    for run in _runs(folder):
        for of in (run.record.target, *(notebook.parameters for notebook in run.record.notebooks)):
            for parameter, kind in _OWN.items():
                names.add(kind, of.get(parameter, ""))
        for notebook in run.record.notebooks:
            for step in notebook.steps:
                if step.error is not None and step.undone:
                    when = step.ended or step.started
                    told.append(
                        {
                            "time": f"{when:%Y-%m-%dT%H:%M:%SZ}",
                            "run": run.folder.name,
                            "where": f"{notebook.name}: {step.title}",
                            "error": step.error.type,
                            "message": step.error.message,
                            "remedy": step.error.remedy,
                        }
                    )
    return sorted(told, key=lambda one: one["time"], reverse=True)[:_FAILURES]
