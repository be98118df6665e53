"""Every state in which something of ours can stand in a notebook, each without the world that would bring it about.

A kernel of the tests shows them in JupyterLab; the cards among them are also written into a file that nobody ran here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

from cgrunbook import parameters
from cgrunbook.errors import Declined, Interrupted, StepFailed
from cgrunbook.parameters import Parameters
from cgrunbook.run.context import Context
from cgrunbook.run.result import Result
from cgrunbook.steps.step import Change, Evidence, Finding, Mark, Outcome, Plan, Progress, Section, Step, World
from cgrunbook.ui import cards, values
from cgrunbook.ui.cell import CellOutput, ipython_display
from cgrunbook.ui.form import Form
from cgrunbook.ui.notebook import LiveFace
from cgrunbook.ui.values import Source, Value

NOTEBOOK = "02_developer_images"

_DEFAULTS = {name: Value(values.default(name), Source.DEFAULT) for name in parameters.NAMES}


class Example(Step):
    """A step that nobody performs."""

    section: ClassVar = Section.DEVELOPER_IMAGES
    why: ClassVar = (
        "Docker, Kubernetes and CI pull from this repository; it fetches from cgr.dev what it does not have yet."
    )
    title = "Create the remote repository chainguard-pull-through"
    console_page = "artifacts"

    def plan(self, world: World) -> Plan:
        raise NotImplementedError

    def apply(self, world: World, plan: Plan) -> None:
        raise NotImplementedError

    def verify(self, world: World) -> Evidence:
        raise NotImplementedError


STEP = Example()

_REPOSITORY = "repository chainguard-pull-through"

CREATION = Plan(
    Outcome.CREATED,
    (
        Change(_REPOSITORY, "", None, "in us-central1"),
        Change(_REPOSITORY, "upstream", None, "https://cgr.dev/"),
        Change(_REPOSITORY, "labels", None, {"managed-by": "cgrunbook", "team": "platform"}),
    ),
    ("gcloud artifacts repositories create chainguard-pull-through \\\n  --mode=remote-repository",),
    notes=("Its location cannot be changed later.",),
)
UPDATE = Plan(Outcome.UPDATED, (Change(_REPOSITORY, "description", "by hand", "Pull-through"),), CREATION.commands)
DELETION = Plan(
    Outcome.DELETED,
    (
        Change(_REPOSITORY, "", "in us-central1, 3 images", None),
        Change("secret chainguard-pull-token", "", "with 2 versions", None),
    ),
    ("gcloud artifacts repositories delete chainguard-pull-through",),
)

CONTEXTS = (
    Context("sandbox", "cgrunbook-sandbox", "us-central1", "example.com"),
    Context("google-cloud", "my-project", "us-central1", "example.com", "user:alex@example.com"),
)

_FACTS = {
    "upstream": "https://cgr.dev/",
    "digest": f"sha256:{'0123456789abcdef' * 4}",
    "labels": {"managed-by": "cgrunbook"},
    "layers": [{"layer": 1, "bytes": 1400000, "from": "cache"}, {"layer": 2, "bytes": 10, "from": "cgr.dev"}],
    "images": ["chainguard/go:latest", "chainguard/python:latest"],
}
_FINDINGS = tuple(
    Finding(mark, f"docker, {mark.value}", "no engine at /var/run/docker.sock", "" if mark is Mark.OK else "Start it.")
    for mark in Mark
)
_ERRORS = {
    Outcome.FAILED: StepFailed(
        "Artifact Registry refused: 403.", "Grant roles/artifactregistry.admin, run the cell again."
    ),
    Outcome.DECLINED: Declined("Declined: nothing was changed.", "Run the selected cell and all below."),
}
_PLANS = {Outcome.UPDATED: UPDATE, Outcome.DELETED: DELETION, Outcome.UNCHANGED: Plan()}


def result_cards() -> Iterator[dict[str, str]]:
    """A card of each outcome, of each mark, of an interrupt."""
    for number, outcome in enumerate(Outcome, 1):
        plan, error = _PLANS.get(outcome, CREATION), _ERRORS.get(outcome)
        evidence = Evidence(facts=_FACTS) if error is None else Evidence()
        yield cards.result_card(Result(number, STEP, outcome, plan, evidence, error, seconds=4.2, waited=1.3))
    yield cards.result_card(Result(1, STEP, Outcome.UNCHANGED, evidence=Evidence("seen", findings=_FINDINGS)))
    yield cards.result_card(Result(1, STEP, Outcome.FAILED, UPDATE, error=Interrupted("Interrupted.", "Run it again.")))


CONTEXTS = (
    Context("sandbox", "my-project", "us-central1", "example.com"),
    Context("google-cloud", "my-project", "us-central1", "example.com", "user:alex@example.com"),
)


def other_cards() -> Iterator[dict[str, str]]:
    """What else is displayed and can be saved: a plan, work, what a notebook works on."""
    yield cards.plan_card(STEP, CREATION, number=1, context=CONTEXTS[1], console="https://console.example/")
    yield cards.plan_card(STEP, DELETION, number=2, context=CONTEXTS[0])
    yield cards.working_card(STEP, Progress("pulling", 400_000, 1_400_000, detail="2 of 5 layers"), "1.2 MB/s")
    for context in CONTEXTS:
        yield cards.target_card(
            NOTEBOOK,
            Parameters.model_validate({"target": context.target, "project_id": context.project_id}),
            {"target": context.target, "project_id": context.project_id},
            {**_DEFAULTS, "location": Value("us-central1", Source.SAVED, "the environment says europe-west1")},
            context=context,
        )


# --- what only a kernel can show ---


def _form() -> Form:
    form = Form(_DEFAULTS, rules=values.broken_rules, on_use=lambda _: None)
    output = CellOutput()
    output.draw(cards.values_card(NOTEBOOK, "waits for you: look at the form below", _DEFAULTS, form=True))
    output.attach(form.widget, "A form, where the notebook runs.")
    return form


async def _form_with_errors() -> None:
    form = _form()
    for name, text in {"location": "the moon", "repository": "No_Such_Name", "wait_limit": "soon"}.items():
        form.fields[name].control.value = text


async def _form_refused() -> None:
    form = _form()
    form.fields["target"].control.value = "google-cloud"
    form.fields["project_id"].control.value = "my-project"
    form.failed(
        StepFailed("No usable Google credentials were found.", "Sign in: gcloud auth application-default login")
    )


async def _form_in_use() -> None:
    _form().ready()


async def _asked(plan: Plan, number: int) -> LiveFace:
    face = LiveFace()
    _KEPT.append(asyncio.ensure_future(face.approve(number, STEP, plan)))
    await asyncio.sleep(0.5)  # by then its buttons can be clicked
    return face


async def _question() -> None:
    await _asked(CREATION, 1)


async def _deletion() -> None:
    await _asked(DELETION, 2)


async def _answered() -> None:
    face = await _asked(UPDATE, 3)
    face.finished(Result(3, STEP, Outcome.UPDATED, UPDATE, seconds=1.0))


# The event loop keeps no task alive that nobody else does.
_KEPT: list[Any] = []

LIVE: Mapping[str, Callable[[], Any]] = {
    "form-with-errors": _form_with_errors,
    "form-refused": _form_refused,
    "form-in-use": _form_in_use,
    "question": _question,
    "deletion": _deletion,
    "answered": _answered,
}


def show() -> None:
    """Display all cards."""
    for card in (*result_cards(), *other_cards()):
        ipython_display().display(card, raw=True)
