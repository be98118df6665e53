"""A step performed with somebody in front of the notebook: what the page shows, asks, and keeps."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from cgrunbook.errors import Declined, Interrupted
from cgrunbook.run.context import Context
from cgrunbook.run.journal import read_lines
from cgrunbook.run.runbook import Runbook, open_runbook
from cgrunbook.run.session import Session
from cgrunbook.steps.step import Change, Evidence, Outcome, Plan, Progress, Section, Step, World
from cgrunbook.ui import approval
from cgrunbook.ui.approval import Answer, Question
from cgrunbook.ui.notebook import LiveFace
from tests.sandboxes import sandbox_home
from tests.ui.pages import VIEW, Page, open_page, until


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with sandbox_home(tmp_path_factory.mktemp("cgrunbook")) as home:
        yield home


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(approval, "_SETTLE_SECONDS", 0.0)


@pytest.fixture
def page() -> Iterator[Page]:
    with open_page() as page:
        yield page


class Light(Step):
    section: ClassVar = Section.PREREQUISITES
    why: ClassVar = "It is dark."

    def __init__(self, name: str = "lamp", *, goes_out: bool = False, doing: Callable[[World], None] = lambda _: None):
        self.name, self.on, self.applied, self.goes_out, self.doing = name, goes_out, 0, goes_out, doing
        self.title = f"Turn the {name} {'off' if goes_out else 'on'}"

    def plan(self, world: World) -> Plan:
        if self.on != self.goes_out:
            return Plan()
        outcome = Outcome.DELETED if self.goes_out else Outcome.UPDATED
        return Plan(outcome, (Change(self.name, "on", self.on, not self.on),), ("switch",))

    def apply(self, world: World, plan: Plan) -> None:
        self.applied += 1
        self.doing(world)
        self.on = not self.on

    def verify(self, world: World) -> Evidence:
        return Evidence("shines" if self.on else "dark")


async def asked(face: Watched, but: Question | None = None) -> Question:
    """The next question that can be answered."""
    found: list[Question] = []

    def there() -> bool:
        question: Any = face._panel and face._panel.widget.children[1:] and face.question
        if not question or question is but or any(button.disabled for button in question.buttons.values()):
            return False
        found.append(question)
        return True

    await until(there)
    return found[0]


class Watched(LiveFace):
    """Remembers the question that it asks, and what is said aloud."""

    question: Question | None = None

    def __init__(self) -> None:
        super().__init__()
        self.aloud: list[str] = []

    def _announce(self, said: str) -> None:
        self.aloud.append(said)

    async def approve(self, number: int, step: Step, plan: Plan) -> bool:
        with pytest.MonkeyPatch.context() as patched:
            made = approval.Question

            def keep(*arguments: Any, **more: Any) -> Question:
                self.question = made(*arguments, **more)
                return self.question

            patched.setattr(approval, "Question", keep)
            return await super().approve(number, step, plan)


def perform(page: Page, story: Callable[[Runbook, Watched], Any]) -> Runbook:
    async def run() -> Runbook:
        face = Watched()
        book = await asyncio.to_thread(open_runbook, "02", {"target": "sandbox"}, face)
        await story(book, face)
        return book

    return asyncio.run(run())


def events(book: Runbook) -> list[str]:
    return [line.event for line in read_lines(book.folder / "journal.jsonl")]


def test_a_plan_is_shown_with_its_buttons_and_replaced_by_the_one_final_card(page):
    async def story(book, face):
        light = Light()
        performing = asyncio.ensure_future(book.perform(light))
        question = await asked(face)
        assert page.texts == ["? to be updated: Turn the lamp on", "Approve, Decline: buttons of a running notebook."]
        assert page.widgets == 1
        assert light.applied == 0
        question.buttons[Answer.APPROVE].click()
        await performing
        assert light.applied == 1

    book = perform(page, story)
    assert [text.split(" (")[0] for text in page.texts] == ["✓ updated: Turn the lamp on"]
    assert page.widgets == 0
    assert events(book).count("approved") == 1


def test_a_notebook_saved_while_it_waits_says_what_to_do_without_the_buttons(page):
    async def story(book, face):
        performing = asyncio.ensure_future(book.perform(Light()))
        question = await asked(face)
        card, buttons = page.outputs
        assert "You were asked on 20" in card["text/plain"]
        assert "Waiting for your approval" not in card["text/plain"] + card["text/html"]
        assert "run this cell again" in card["text/plain"]
        assert "run this cell again" in card["text/html"]
        assert VIEW not in card
        assert set(buttons) == {VIEW, "text/html", "text/plain"}
        question.buttons[Answer.APPROVE].click()
        await performing

    perform(page, story)


def test_clicked_twice_it_acts_once(page):
    async def story(book, face):
        light = Light()
        performing = asyncio.ensure_future(book.perform(light))
        question = await asked(face)
        for _ in range(3):
            question.buttons[Answer.APPROVE].click()
        await performing
        assert light.applied == 1

    assert events(perform(page, story)).count("intent") == 1


def test_a_declined_step_leaves_a_declined_card_and_changes_nothing(page):
    async def story(book, face):
        light = Light()
        performing = asyncio.ensure_future(book.perform(light))
        (await asked(face)).buttons[Answer.DECLINE].click()
        with pytest.raises(Declined):
            await performing
        assert light.applied == 0

    perform(page, story)
    assert len(page.outputs) == 1
    assert page.texts[0].startswith("- declined: Turn the lamp on")


def test_the_cards_of_the_steps_before_it_in_the_same_cell_stay(page):
    async def story(book, face):
        for name in ("first", "second", "third"):
            before = face.question
            performing = asyncio.ensure_future(book.perform(Light(name)))
            (await asked(face, but=before)).buttons[Answer.APPROVE].click()
            await performing

    perform(page, story)
    assert [re.sub(r" \(.*", "", text) for text in page.texts] == [
        "✓ updated: Turn the first on",
        "✓ updated: Turn the second on",
        "✓ updated: Turn the third on",
    ]


def test_another_cell_does_not_show_what_the_last_one_did(page):
    async def story(book, face):
        for name in ("first", "second"):
            before = face.question
            performing = asyncio.ensure_future(book.perform(Light(name)))
            (await asked(face, but=before)).buttons[Answer.APPROVE].click()
            await performing
            if name == "first":
                page.run_another_cell()

    perform(page, story)
    assert [text.split(" (")[0] for text in page.texts] == ["✓ updated: Turn the second on"]


def test_approving_the_rest_asks_no_more_but_for_deletions(page):
    async def story(book, face):
        first = asyncio.ensure_future(book.perform(Light("first")))
        question = await asked(face)
        question.buttons[Answer.APPROVE_REST].click()
        await first
        second = Light("second")
        await book.perform(second)
        assert second.applied == 1
        assert face.question is question
        gone = Light("third", goes_out=True)
        performing = asyncio.ensure_future(book.perform(gone))
        again = await asked(face, but=question)
        assert gone.applied == 0
        assert Answer.APPROVE_REST not in again.buttons
        yes = again.buttons[Answer.APPROVE]
        assert (yes.description, yes.button_style) == ("Delete 1 resource in cgrunbook-sandbox", "danger")
        again.buttons[Answer.APPROVE].click()
        await performing
        assert gone.applied == 1

    assert events(perform(page, story)).count("approved") == 3


def test_in_google_cloud_the_first_change_names_the_project_in_its_button_and_each_card_says_where(page, monkeypatch):
    where = Context("google-cloud", "my-project", caller="user:ada@example.com")
    monkeypatch.setattr(Session, "context", property(lambda _: where))

    async def story(book, face):
        question = None
        for name, label in (("first", "Change my-project"), ("second", "Approve")):
            performing = asyncio.ensure_future(book.perform(Light(name)))
            question = await asked(face, but=question)
            assert question.buttons[Answer.APPROVE].description == label
            assert where.text in page.outputs[0]["text/plain"]
            question.buttons[Answer.APPROVE].click()
            await performing
            assert where.text in page.outputs[0]["text/plain"]
            page.run_another_cell()

    perform(page, story)


def test_another_target_is_not_approved_with_the_rest_of_the_last(page):
    async def story(book, face):
        face._approve_rest = True
        other = await asyncio.to_thread(open_runbook, "02", {"target": "sandbox", "location": "europe-west1"}, face)
        book.session = other.session
        assert book.target["location"] == "europe-west1"
        light = Light()
        performing = asyncio.ensure_future(book.perform(light))
        question = await asked(face)
        assert light.applied == 0
        question.buttons[Answer.APPROVE].click()
        await performing
        assert book.folder == other.folder
        assert [result.number for result in other.session.results] == [1]

    perform(page, story)


def test_an_interrupt_while_it_waits_leaves_an_interrupted_card_and_no_widget(page):
    async def story(book, face):
        light = Light()
        performing = asyncio.ensure_future(book.perform(light))
        await asked(face)
        performing.cancel()
        with pytest.raises(Interrupted):
            await performing
        assert light.applied == 0
        again = asyncio.ensure_future(book.perform(light))
        (await asked(face, but=face.question)).buttons[Answer.APPROVE].click()
        await again
        assert light.applied == 1

    perform(page, story)
    assert page.texts[0].startswith("✗ interrupted: Turn the lamp on")
    assert page.texts[-1].startswith("✓ updated")
    assert page.widgets == 0


def test_an_interrupt_while_it_works_waits_for_the_step_to_end_and_leaves_an_interrupted_card(page):
    async def story(book, face):
        at_work, cancelled = threading.Event(), threading.Event()

        def doing(world: World) -> None:
            at_work.set()
            while not book.cloud.attempts.cancelled.wait(0.01):
                pass
            cancelled.set()
            world.progress(Progress("on its way"))

        performing = asyncio.ensure_future(book.perform(Light(doing=doing)))
        (await asked(face)).buttons[Answer.APPROVE].click()
        await until(at_work.is_set)
        performing.cancel()
        with pytest.raises(Interrupted):
            await performing
        assert cancelled.is_set()

    perform(page, story)
    assert len(page.outputs) == 1
    assert page.texts[0].startswith("✗ interrupted")


def test_progress_is_redrawn_five_times_a_second_at_most_and_one_display_is_kept(page):
    async def story(book, face):
        drawn: list[int] = []

        def doing(world: World) -> None:
            for done in range(500):
                world.progress(Progress("pulling", done, 500))

        performing = asyncio.ensure_future(book.perform(Light(doing=doing)))
        question = await asked(face)
        before = page.drawn
        question.buttons[Answer.APPROVE].click()
        began = asyncio.get_running_loop().time()
        await performing
        drawn.append(page.drawn - before)
        seconds = asyncio.get_running_loop().time() - began
        # The final card, the first one, and what the time between allows.
        assert drawn[0] <= 2 + seconds / 0.2 + 1

    perform(page, story)
    assert len(page.outputs) == 1


def test_what_a_step_said_at_last_before_it_ended_is_not_drawn_over_its_final_card(page):
    async def story(book, face):
        performing = asyncio.ensure_future(book.perform(Light(doing=lambda world: world.progress(Progress("late")))))
        (await asked(face)).buttons[Answer.APPROVE].click()
        await performing
        drawn = page.drawn
        face.progress(1, Light(), Progress("later still"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert face._next is None
        assert page.drawn == drawn

    perform(page, story)
    assert page.texts[0].startswith("✓ updated")


def test_the_consoles_page_is_linked_for_google_cloud_and_not_for_the_sandbox(page):
    class Linked(Light):
        def console(self, world: World) -> str:
            return f"https://console.cloud.google.com/x?project={world.cloud.connection.project_id}"

    async def story(book, face):
        assert book.session.console(Linked()) == ""
        object.__setattr__(book.cloud.connection, "target", "google-cloud")
        assert book.session.console(Linked()) == "https://console.cloud.google.com/x?project=cgrunbook-sandbox"
        assert book.session.console(Light()) == ""
        performing = asyncio.ensure_future(book.perform(Linked()))
        question = await asked(face)
        assert 'href="https://console.cloud.google.com/x?project=cgrunbook-sandbox"' in page.outputs[0]["text/html"]
        question.buttons[Answer.APPROVE].click()
        await performing

    perform(page, story)


def test_who_listens_hears_each_question_and_what_came_of_it_and_not_each_turn_of_the_work(page):
    async def story(book, face):
        working = asyncio.ensure_future(book.perform(Light(doing=lambda world: world.progress(Progress("turning")))))
        (await asked(face)).buttons[Answer.APPROVE].click()
        await working
        assert face.aloud == ["Waiting for your approval: Turn the lamp on", "updated: Turn the lamp on"]

    perform(page, story)
