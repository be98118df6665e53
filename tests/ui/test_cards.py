"""Cards show what comes from outside as text and nothing else, and are the same whenever the same is shown."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import ClassVar

import pytest

from cgrunbook.errors import StepFailed
from cgrunbook.parameters import NAMES, Parameters
from cgrunbook.redaction import Secret
from cgrunbook.run.context import Context
from cgrunbook.run.result import Result
from cgrunbook.steps.step import (
    Change,
    Evidence,
    Finding,
    Mark,
    Outcome,
    Plan,
    Progress,
    Proof,
    Section,
    World,
)
from cgrunbook.ui import cards
from cgrunbook.ui.values import Source, Value

HOSTILE = (
    '<script>alert("x")</script>',
    "<img src=x onerror=alert(1)>",
    "</td></table><iframe src='https://example.com'>",
    '" onmouseover="alert(1)',
    "\x1b[31mred\x1b[0m \x1b]8;;https://example.com\x07link\x1b]8;;\x07",
    "over\rwritten\x08\x00",
    "\u202etxt.exe\u2066",
    "&lt;script&gt;",
    "\x9b31mred",
)


class Hostile(Proof):
    section: ClassVar = Section.PREREQUISITES
    why: ClassVar = "Because."

    def __init__(self, text: str) -> None:
        self.title = f"Do {text}"

    def verify(self, world: World) -> Evidence:
        raise NotImplementedError


def bundles(text: str) -> list[dict[str, str]]:
    """Every card, with the text in each place that something from outside can take."""
    step = Hostile(text)
    plan = Plan(
        Outcome.UPDATED,
        (Change(f"repository {text}", f"labels.{text}", {text: text}, [text]), Change(text, "", None, text)),
        (f"gcloud --description={text}",),
        notes=(text,),
    )
    evidence = Evidence(
        text,
        {text: text, "labels": {text: text}, "list": [text], "table": [{text: text}, {text: None}]},
        (Finding(Mark.FAIL, text, text, text),),
        (text,),
    )
    error = StepFailed(text, text)
    return [
        cards.result_card(Result(1, step, Outcome.UPDATED, plan, evidence, seconds=1.0)),
        cards.result_card(Result(1, step, Outcome.FAILED, plan, Evidence(), error, seconds=1.0)),
        cards.result_card(Result(1, step, Outcome.UNCHANGED, Plan(), Evidence(text), seconds=1.0)),
        cards.plan_card(step, plan, context=Context("google-cloud", text, text, text, text)),
        cards.working_card(step, Progress(text, 1.0, 2.0)),
        cards.target_card(
            text,
            Parameters(description=text if "\r" not in text else ""),
            {"target": "google-cloud", "project_id": text},
            {name: Value(None, Source.DEFAULT, text) for name in NAMES},
            context=Context("google-cloud", text, text, text, text),
        ),
    ]


class Reader(HTMLParser):
    """Collects the elements, attributes and text of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in {"br", "wbr"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    reader.close()
    return reader


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text)[:20])
def test_what_comes_from_outside_adds_no_element_and_no_attribute(text: str):
    for hostile, harmless in zip(bundles(text), bundles("harmless"), strict=True):
        attacked, expected = read(hostile["text/html"]), read(harmless["text/html"])
        assert attacked.open == []
        assert attacked.elements - {"br", "wbr"} == expected.elements - {"br", "wbr"}
        assert attacked.attributes == expected.attributes


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text)[:20])
def test_neither_form_holds_a_character_that_steers_a_terminal_or_turns_the_reading_direction(text: str):
    for bundle in bundles(text):
        for form in bundle.values():
            assert [c for c in form if not c.isprintable() and c not in "\n\xa0"] == []


@pytest.mark.parametrize("text", ["<b>bold</b>", "a & b", "é ü 漢字"])
def test_what_comes_from_outside_can_still_be_read_as_it_is(text: str):
    card = bundles(text)[0]
    assert text in read(card["text/html"]).text
    assert text in card["text/plain"]


def test_the_same_result_is_drawn_the_same_twice_and_holds_no_id_that_changes():
    first, second = bundles("harmless"), bundles("harmless")
    assert first == second
    for bundle in first:
        assert "id" not in read(bundle["text/html"]).attributes


def test_only_the_seconds_differ_between_two_runs_of_the_same():
    step = Hostile("harmless")
    one, two = (
        cards.result_card(Result(1, step, Outcome.UNCHANGED, seconds=seconds, waited=0.0)) for seconds in (1.26, 7.81)
    )
    assert one != two
    for form in ("text/html", "text/plain"):
        assert one[form].replace("1.3 s", "") == two[form].replace("7.8 s", "")


def test_a_card_loads_nothing_and_runs_nothing():
    for bundle in bundles("harmless"):
        reader = read(bundle["text/html"])
        assert not reader.elements & {"script", "img", "link", "iframe", "object", "svg", "video"}
        assert not {name for name in reader.attributes if name.startswith("on")} | (reader.attributes & {"src"})
        assert "url(" not in bundle["text/html"]


def test_both_forms_say_outcome_title_changes_cause_and_remedy():
    step = Hostile("it")
    plan = Plan(Outcome.UPDATED, (Change("the light", "colour", "red", "green"),), ("switch --green",))
    card = cards.result_card(
        Result(1, step, Outcome.FAILED, plan, Evidence(), StepFailed("It is dark.", "Look at the bulb."), 2.0)
    )
    for form in (read(card["text/html"]).text, card["text/plain"]):
        for piece in (
            "failed",
            "Do it",
            "The light was to be changed",
            "red",
            "green",
            "It is dark.",
            "Look at the bulb.",
            "switch",
        ):
            assert piece in form


def test_what_asks_for_a_decision_says_where_it_works_and_as_whom():
    context = Context("google-cloud", "my-project", caller="serviceAccount:robot@p.iam.gserviceaccount.com")
    asking = cards.plan_card(Hostile("it"), Plan(Outcome.CREATED), context=context)
    ended = cards.result_card(Result(1, Hostile("it"), Outcome.CREATED), context)
    target = {"target": "google-cloud", "project_id": "my-project"}
    said = {"project_id": Value("", Source.ENVIRONMENT, "by GOOGLE_CLOUD_PROJECT, while the key k says other")}
    opened = cards.target_card(
        "02",
        Parameters(target="google-cloud", project_id="my-project"),
        target,
        said,
        context=context,
    )
    for card in (asking, ended, opened):
        for form in (read(card["text/html"]).text, card["text/plain"]):
            for part in ("◆ GOOGLE CLOUD", "project my-project", "as robot@p.iam.gserviceaccount.com"):
                assert part in form
    assert "environment, by GOOGLE_CLOUD_PROJECT, while the key k says other" in opened["text/plain"]


def test_a_deletion_looks_like_no_other_plan_and_says_first_what_is_lost():
    gone = Plan(
        Outcome.DELETED, (Change("repository a", "", "with all it has", None),), lost=("It has cached 3 images.",)
    )
    made = Plan(Outcome.CREATED, (Change("repository a", "", None, "here"),))
    asked, making = (cards.plan_card(Hostile("it"), plan) for plan in (gone, made))
    held_back = cards.result_card(Result(1, Hostile("it"), Outcome.PLANNED, gone))
    for card in (asked, held_back):
        assert "double #bc4c00" in card["text/html"]
        for form in (read(card["text/html"]).text, card["text/plain"]):
            assert "What is lost" in form
            assert "It has cached 3 images." in form
    assert "double" not in making["text/html"]
    assert "Repository a will be deleted, with all it has" in asked["text/plain"]
    assert "Repository a would be deleted, with all it has" in held_back["text/plain"]


def test_layers_are_a_table_with_digests_short_to_the_eye_and_whole_when_copied():
    digest = f"sha256:{'0123456789abcdef' * 4}"
    evidence = Evidence(facts={"layers": [{"digest": digest, "bytes": 143_393}]})
    card = cards.result_card(Result(1, Hostile("it"), Outcome.VERIFIED, evidence=evidence))
    assert (
        f'text-overflow:ellipsis;white-space:nowrap;vertical-align:bottom" title="{digest}">{digest}</span>'
        in card["text/html"]
    )
    for form in (read(card["text/html"]).text, card["text/plain"]):
        assert digest in form
        assert "143.4 kB" in form
        assert "{" not in form


def test_commands_of_a_sandbox_card_are_shown_as_they_run_in_the_sandbox_and_nowhere_else():
    plan = Plan(Outcome.CREATED, (Change("repository a", "", None, "here"),), ("gcloud x", "gcloud y"))
    for target, guarded in (("sandbox", True), ("google-cloud", False)):
        card = cards.result_card(Result(1, Hostile("it"), Outcome.CREATED, plan), Context(target, "p"))
        for form in (read(card["text/html"]).text, card["text/plain"]):
            assert ("(set -e; sandbox=$(cgrunbook sandbox env) || exit 1;" in form) is guarded
            assert form.index("gcloud x") < form.index("gcloud y")


# What JupyterLab's sanitizer leaves of a notebook that it does not trust; the rest it drops without a word, so nothing
# may depend on it: `user-select` only makes a click select more, `anywhere` only breaks earlier.
_LEFT = {
    *("background", "border", "border-bottom", "border-collapse", "border-left", "border-radius", "color", "display"),
    *(
        "font-family",
        "font-size",
        "font-weight",
        "line-height",
        "margin",
        "max-width",
        "opacity",
        "overflow",
        "padding",
    ),
    *("overflow-wrap", "text-align", "text-decoration", "text-overflow", "vertical-align", "white-space", "word-break"),
}


def test_a_card_is_styled_with_what_jupyterlab_leaves_to_a_notebook_that_it_does_not_trust():
    used: set[str] = set()
    for bundle in bundles("harmless"):
        for style in re.findall(r'style="([^"]*)"', bundle["text/html"]):
            used |= {rule.split(":")[0] for rule in style.split(";") if rule}
            assert "var(" not in style
    assert used - {"user-select"} <= _LEFT


@pytest.mark.parametrize("outcome", list(Outcome))
def test_an_outcome_is_told_by_its_word_and_not_by_colour_alone(outcome: Outcome):
    card = cards.result_card(Result(1, Hostile("it"), outcome))
    assert outcome.value in read(card["text/html"]).text
    assert outcome.value in card["text/plain"]


def test_a_living_secret_is_masked_in_every_card():
    secret = Secret("canary-value-that-nobody-may-see")
    for bundle in bundles(secret.reveal()):
        for form in bundle.values():
            assert secret.reveal() not in form


@pytest.mark.parametrize(
    ("mark", "head"), [(Mark.WARN, "! verified"), (Mark.OK, "✓ verified"), (Mark.TO_DO, "✓ verified")]
)
def test_a_check_that_warns_does_not_look_as_if_all_were_well(mark: Mark, head: str):
    evidence = Evidence(findings=(Finding(mark, "the upstream", "does not exist"),))
    card = cards.result_card(Result(1, Hostile("it"), Outcome.VERIFIED, evidence=evidence))
    assert head in read(card["text/html"]).text
    assert card["text/plain"].startswith(head)


def test_what_a_check_saw_in_several_lines_stays_in_its_column():
    evidence = Evidence(
        findings=(Finding(Mark.FAIL, "project", "There is none.\nThe service answered 403.", "Look.\nAsk."),)
    )
    card = cards.result_card(Result(1, Hostile("it"), Outcome.FAILED, evidence=evidence))
    lines = card["text/plain"].splitlines()
    assert [len(line) - len(line.lstrip()) for line in lines[-4:]] == [2, 10, 10, 10], lines
    assert "There is none.<br>The service" in card["text/html"]


def test_several_deletions_are_a_list_and_a_single_one_a_sentence():
    gone = tuple(Change(f"repository {name}", "", "in us-central1", None) for name in "abc")
    for number, items in ((1, 0), (3, 3)):
        card = cards.plan_card(Hostile("it"), Plan(Outcome.DELETED, gone[:number]))
        assert card["text/html"].count("<li>") == items
        assert card["text/plain"].count("will be deleted") == number
