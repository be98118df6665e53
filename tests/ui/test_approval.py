"""Asking: the first answer counts, a late click does not, and a page that was reloaded is asked all the same."""

from __future__ import annotations

import asyncio
import re

import pytest

from cgrunbook.ui import approval
from cgrunbook.ui.approval import Answer, Panel, Question
from tests.ui.pages import until


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """What waits for people's eyes and fingers waits for nobody here."""
    monkeypatch.setattr(approval, "_SETTLE_SECONDS", 0.0)
    monkeypatch.setattr(approval, "DRAW_SECONDS", 0.0)


async def open_question(**arguments):
    question = Question(**arguments)
    await until(lambda: not any(button.disabled for button in question.buttons.values()))
    return question


def words(widget):
    return re.sub(r"<[^>]+>", "", widget.value)


@pytest.mark.parametrize("answer", list(Answer))
def test_each_button_gives_its_answer(answer):
    async def ask():
        question = await open_question()
        waiting = asyncio.ensure_future(question.wait())
        question.buttons[answer].click()
        return await waiting

    assert asyncio.run(ask()) is answer


def test_the_first_click_counts_and_those_after_it_do_nothing():
    async def ask():
        question = await open_question()
        question.buttons[Answer.DECLINE].click()
        question.buttons[Answer.APPROVE].click()
        question.buttons[Answer.DECLINE].click()
        return await question.wait()

    assert asyncio.run(ask()) is Answer.DECLINE


def test_a_click_that_comes_before_the_question_could_be_read_is_none():
    async def ask():
        question = Question()
        question.buttons[Answer.APPROVE].click()  # the second half of a double click on the question before
        assert not question._answer.done()

    asyncio.run(ask())


def test_after_the_answer_every_button_is_off_and_the_page_says_which_it_was():
    async def ask():
        question = await open_question()
        question.buttons[Answer.APPROVE].click()
        await question.wait()
        await until(lambda: all(button.disabled for button in question.buttons.values()))
        return words(question._said)

    assert asyncio.run(ask()) == "Approved."


def test_an_interrupt_ends_the_wait_and_no_click_after_it_counts():
    async def ask():
        question = await open_question()
        waiting = asyncio.ensure_future(question.wait())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        question.buttons[Answer.APPROVE].click()
        assert question._answer.cancelled()
        return words(question._said)

    assert asyncio.run(ask()) == "Interrupted: nothing was approved."


def test_a_deletion_cannot_be_approved_with_the_rest():
    async def ask():
        return set(Question(rest=False).buttons)

    assert asyncio.run(ask()) == {Answer.APPROVE, Answer.DECLINE}


def test_the_copy_button_holds_the_commands_as_text_and_no_markup():
    async def ask():
        question = Question(["gcloud x --a='1' && echo \"<b>\"", "second"])
        row = question.widget.children[0]
        return row.children[-1]

    widget = asyncio.run(ask())
    assert "cgrunbook-copy" in widget._dom_classes
    held = re.search(r'data-text="([^"]*)"', widget.value)
    assert held is not None
    assert held[1] == "gcloud x --a=&#x27;1&#x27; &amp;&amp; echo &quot;&lt;b&gt;&quot;\nsecond\n"


def test_where_there_are_no_commands_there_is_nothing_to_copy():
    async def ask():
        return len(Question().widget.children[0].children)

    assert asyncio.run(ask()) == 3


def test_the_hooks_of_the_page_are_where_the_browsers_tests_look():
    async def ask():
        return [list(button._dom_classes) for button in Question().buttons.values()]

    assert asyncio.run(ask()) == [["cgrunbook-approve"], ["cgrunbook-decline"], ["cgrunbook-approve-rest"]]


def test_a_page_that_was_reloaded_reads_in_the_panel_what_came_of_one_question_and_what_the_next_asks():
    async def ask():
        panel = Panel()
        first, second = Question(), Question()
        panel.ask(first, 3, "<p>plan three</p>")
        assert first.widget in panel.widget.children
        panel.tell("<p>three is made</p>")
        assert first.widget not in panel.widget.children
        assert words(panel._log) == "three is made"
        panel.tell("<p>four was there</p>")
        panel.ask(second, 5, "<p>plan five</p>")
        assert second.widget in panel.widget.children
        assert words(panel._log) == "three is madefour was thereplan five"
        assert "cgrunbook-log-5" in panel._log.value
        panel.tell("<p>five is made</p>")
        return panel._log

    log = asyncio.run(ask())
    assert words(log) == "five is made"
    assert "cgrunbook-log-5" not in log.value
