"""What a notebook's run comes to, said at its end: whether all is ready, or what works now and how it is used.

It is read out of what the run itself saw and wrote down; nobody is asked again. What this run has not proved or not looked
at says so. It does not know how that looks.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from cgrunbook import durations
from cgrunbook.image_reference import ImageReference
from cgrunbook.run.folder import REPORT, RUN_FOLDER_VARIABLE, short
from cgrunbook.run.outline import Standing
from cgrunbook.run.record import Record, StepRecord, record_of
from cgrunbook.run.route import PROVED, ROTATION, Route, State, proofs_of, routes_of
from cgrunbook.run.session import Session
from cgrunbook.steps.step import Finding, Mark

# Which notebook follows on which, and what for.
_NEXT = {
    "00_start_here": ("01_prerequisites", "checks what the others need, and changes nothing"),
    "01_prerequisites": ("02_developer_images", "sets up pulling the public images"),
    "02_developer_images": ("03_production_images", "sets up pulling your organisation's images"),
    "03_production_images": ("04_debugging", "looks for the cause where a pull does not work"),
    "05_rotate_pull_token": ("06_teardown", "takes away what the others made"),
    "04_debugging": ("05_rotate_pull_token", "makes a new pull token before the old one ends"),
}

_NUMBERS = {1: "One thing", 2: "Two things", 3: "Three things", 4: "Four things", 5: "Five things", 6: "Six things"}

# The steps that have to do with an organisation's images.
_PRODUCTION = ("CreatePrivateRepository", ROTATION)

# What stands for an organisation that this run has not come to know.
_UNKNOWN = "ORGANIZATION"

# Images that commands are shown for; whoever has more takes these as the pattern.
_SHOWN = 5

Tone = Literal["good", "bad", "planned", "open"]


@dataclass(frozen=True)
class Conclusion:
    """What a notebook's run comes to.

    Args:
        tone: how it stands.
        word: the same in a word or two.
        sentence: and in a sentence.
        findings: what stands in the way, may be lived with, or was not looked at.
        routes: the ways of images that it has to do with.
        commands: what can be copied now, under what it is for.
        facts: names and plain values.
        report: the run's report, as a path from where the notebook works; "" where there will be none.
        next: a notebook's name, and what it does; empty for none.
    """

    tone: Tone
    word: str
    sentence: str
    findings: tuple[Finding, ...] = ()
    routes: tuple[Route, ...] = ()
    commands: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    report: str = ""
    next: tuple[str, str] | tuple[()] = ()


def conclusion_of(session: Session) -> Conclusion:
    """What the run of a session's notebook comes to, as far as it has come."""
    record = record_of(session.journal.folder)
    record = record.model_copy(
        update={"notebooks": [notebook for notebook in record.notebooks if notebook.name == session.notebook]}
    )
    steps = record.last_steps
    if not steps:
        return Conclusion("open", "Not begun", "this run has looked at nothing yet. Run the cells above first.")
    kinds = {step.kind for step in steps}
    if "ShowMap" in kinds:
        return _of_map(record)
    if kinds & {"CreateRemoteRepository", *_PRODUCTION}:
        return _of_set_up(session, record)
    return _of_checks(session, steps)


def _of_map(record: Record) -> Conclusion:
    """Where somebody who comes back to it goes on."""
    routes, following = routes_of(record), _NEXT["00_start_here"]
    public_there = all(link.state is State.THERE for route in routes[:1] for link in route.links[1:])
    if routes and all(link.state is State.THERE for route in routes for link in route.links if link is not route.pull):
        sentence, following = "all of it is in place; 02 and 03 prove it with a pull.", _NEXT["03_production_images"]
    elif any(link.state is State.AMISS for route in routes for link in route.links):
        sentence = "not all of it is as it should be: the map says what, and what to do."
    elif public_there and len(routes) > 1:
        sentence, following = "public images have it; your organisation's do not yet.", _NEXT["02_developer_images"]
    else:
        sentence = "not made yet."
    return Conclusion("open", "The way of an image", sentence, routes=routes, next=following)


def _of_checks(session: Session, steps: Sequence[StepRecord]) -> Conclusion:
    """Whether what was checked stands in the way of what follows."""
    found, left = list(_findings(steps)), tuple(_not_looked_at(session))
    first = [one for one in found if one.mark is Mark.FAIL]
    later = [one for one in found if one.mark is not Mark.FAIL]
    listed = (*first, *later, *left)
    if first:
        what = _NUMBERS.get(len(first), f"{len(first)} things")
        names = ", ".join(dict.fromkeys(one.check for one in first))
        return Conclusion("bad", f"{what} first", f"{names}. Then run this notebook again.", listed)
    if left:
        return Conclusion("open", "So far", "nothing stands in the way, but not all was looked at.", listed)
    following = _NEXT.get(session.notebook, ())
    go_on = f"go on{f' with {following[0]}' if following else ''}{'; what is listed below can wait' if later else ''}."
    return Conclusion("good", "Ready", go_on, listed, next=following)


def _findings(steps: Sequence[StepRecord]) -> Iterator[Finding]:
    """What checks saw that is amiss or that they could not see, and each step that is not done where none of them says why."""
    for step in steps:
        seen = [Finding(Mark(one.mark), one.check, one.seen, one.remedy) for one in step.findings]
        yield from (one for one in seen if one.mark in (Mark.FAIL, Mark.WARN, Mark.NOT_CHECKED))
        if step.failure and not any(one.mark is Mark.FAIL for one in seen):
            mark = Mark.NOT_CHECKED if step.outcome == "declined" else Mark.FAIL
            yield Finding(mark, step.title, step.failure.message, step.failure.remedy)


def _not_looked_at(session: Session) -> Iterator[Finding]:
    for line in session.outline.lines:
        if line.state in (Standing.TO_DO, Standing.IN_PART):
            seen = "not performed in this run" if line.state is Standing.TO_DO else line.words
            yield Finding(Mark.NOT_CHECKED, line.title, seen, "Run its cell.")


def _of_set_up(session: Session, record: Record) -> Conclusion:
    """What works now, or will when the plan is carried out, and how it is used."""
    params, steps, routes, report = session.params, record.last_steps, routes_of(record), _report(session)
    whose, repository, names = "Public", params.repository, params.developer_images
    if production := any(step.kind in _PRODUCTION for step in steps):
        whose, repository, names = "Your organisation's", params.private_repository, params.production_images
    listed = (*_findings(steps), *_not_looked_at(session))
    if undone := [step for step in steps if step.undone]:
        sentence = f"{len(undone)} of {len(steps)} steps for {repository} are not done."
        return Conclusion("bad", "Not yet", sentence, listed, routes, report=report)
    images = tuple(_images(session, repository, names, steps))
    tone: Tone = "good"
    rotated = next((step for step in steps if step.kind == ROTATION), None)
    if record.mode == "plan":
        tone, word, sentence = "planned", "Planned", "what would work with the plan carried out. A plan pulls nothing."
    elif rotated:
        tone, word, sentence = _of_rotation(rotated)
    elif images and all(image.proved for image in images):
        word, sentence = "Works", f"{whose} images can be pulled through {repository}; this run has proved it."
    else:
        tone, word = "open", "Set up"
        sentence = f"{repository} is there; a pull was not proved in this run for every image."
    facts = _facts(session, steps, images) | (_token(session, steps) if production else {})
    following = _NEXT.get(session.notebook, ())
    return Conclusion(tone, word, sentence, listed, routes, _commands(images), facts, report, following)


def _of_rotation(rotated: StepRecord) -> tuple[Tone, str, str]:
    """How a rotation stands that is done: each repository that signs in with the new token is proved, or not all are."""
    if rotated.outcome != "updated":
        return "good", "Not rotated", f"{rotated.brief}."
    proved, repositories = proofs_of(rotated), rotated.evidence.get("repositories")
    number = len(repositories) if isinstance(repositories, list) else 0
    if number and len(proved) == number:
        which = f"{', '.join(proved)} signs" if number == 1 else f"{', '.join(proved)} sign"
        return "good", "Works", f"{which} in with the new pull token; this run has proved it."
    return "open", "Set", f"{len(proved)} of {number} repositories were proved to work with the new pull token."


@dataclass(frozen=True)
class _Image:
    """An image, what is typed to pull it, and whether this run proved it."""

    name: str
    reference: str
    proved: bool


def _images(session: Session, repository: str, names: Sequence[str], steps: Sequence[StepRecord]) -> Iterator[_Image]:
    connection = session.cloud.connection
    host = connection.artifact_registry_host
    pulls = (step for step in steps if step.kind == "PullImage" and step.outcome in PROVED)
    proved = [str(step.evidence.get("image")) for step in pulls]
    behind = f"{connection.docker_project}/{repository}/"
    # Where nobody said which organisation it is, a pull found the only one there is.
    found = (one.removeprefix(f"{host.name}/{behind}").partition("/")[0] for one in proved)
    organization = session.params.organization or connection.organization or next(found, "")
    for name in names:
        image = ImageReference.parse(name if "/" in name else f"{organization or _UNKNOWN.lower()}/{name}")
        path = image.repository
        if "/" not in name and not organization:
            path = path.replace(_UNKNOWN.lower(), _UNKNOWN, 1)
        exact = f"@{image.digest}" if image.digest else f":{image.tag}"
        yield _Image(name, f"{host.address}/{behind}{path}{exact}", f"{host.name}/{behind}{path}:{image.tag}" in proved)


def _commands(images: Sequence[_Image]) -> dict[str, tuple[str, ...]]:
    shown = [image.reference for image in images[:_SHOWN]]
    if not shown:
        return {}
    return {
        "With docker": tuple(f"docker pull {reference}" for reference in shown),
        "In Kubernetes, as a container's image": tuple(f"image: {reference}" for reference in shown),
        "In a Dockerfile": tuple(f"FROM {reference}" for reference in shown),
    }


def _facts(session: Session, steps: Sequence[StepRecord], images: Sequence[_Image]) -> dict[str, str]:
    facts, connection = {}, session.cloud.connection
    if len(images) > _SHOWN:
        facts["more images"] = f"{len(images) - _SHOWN}, in the same way"
    if any(_UNKNOWN in image.reference for image in images):
        facts[_UNKNOWN] = "stands for your organisation's name at cgr.dev"
    rotates = any(step.kind == ROTATION for step in steps)
    if (not_proved := [image.name for image in images if not image.proved]) and not rotates:
        facts["not proved in this run"] = ", ".join(not_proved)
    host = connection.artifact_registry_host
    if host.address != host.name:
        facts["where"] = f"{host.address} is this machine's sandbox, while it runs; on Google Cloud that is {host.name}"
    login = next((step for step in steps if step.kind == "SignDockerIn" and not step.undone), None)
    if login or not rotates:
        facts["docker signs in with"] = (login.brief if login else "") or "not looked at in this run"
    facts["who else pulls"] = (
        "needs roles/artifactregistry.reader on the repository, such as the cluster's nodes: the parameter readers gives it"
    )
    return facts


def _token(session: Session, steps: Sequence[StepRecord]) -> dict[str, str]:
    """Until when the pull token is good, as it was written down, and what is done then."""
    making = ("StorePullToken", ROTATION)
    stored = next((step for step in steps if step.kind in making and not step.undone), None)
    if stored is None:
        return {"the pull token": "not looked at in this run"}
    try:
        until = f"good until {datetime.fromisoformat(str(stored.evidence['expires'])):%Y-%m-%d %H:%M} UTC"
    except KeyError:
        until = f"will be good for {durations.in_words(durations.parse(session.params.token_ttl))}"
    except ValueError:
        until = "its end is not written down: somebody else has stored it"
    topic = session.params.rotation_topic
    notice = f", but a notice comes to {topic} every {session.params.rotation_period}" if topic else ""
    return {
        "the pull token": until,
        "renewing it": f"is not done by itself{notice}: before it ends, 05_rotate_pull_token puts the next one in its place, and "
        "no pull fails. On a schedule: cgrunbook rotate --if-days-left 7",
    }


def _report(session: Session) -> str:
    """The report's path; where the command line runs the notebook, it is put beside it."""
    if RUN_FOLDER_VARIABLE in os.environ:
        return REPORT
    return str(short(session.journal.folder / REPORT))
