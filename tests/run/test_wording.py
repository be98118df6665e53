"""Changes read as in a change ticket, on every medium; what was read back is not said twice."""

from __future__ import annotations

from typing import Any

import pytest

from cgrunbook.run.wording import WILL_BE, by_resource, said_once, shown, tense
from cgrunbook.steps.step import KNOWN_AFTER_APPLY, Change

R = "repository mirror"


@pytest.mark.parametrize(
    ("changes", "lines"),
    [
        ([Change(R, "", None, "in us-central1")], ["Repository mirror will be created in us-central1"]),
        ([Change(R, "", None, "")], ["Repository mirror will be created"]),
        (
            [Change(R, "", None, "in us-central1"), Change(R, "labels", None, {"a": "b"})],
            ["Repository mirror will be created in us-central1:", "  labels: a=b"],
        ),
        ([Change(R, "", "with all it has", None)], ["Repository mirror will be deleted, with all it has"]),
        ([Change("secret s", "", "", None)], ["Secret s will be deleted"]),
        ([Change("API a", "state", "off", "on")], ["API a will be changed:", "  state: from off to on"]),
        ([Change(R, "dry run", False, True)], ["Repository mirror will be changed:", "  dry run: from no to yes"]),
        ([Change(R, "labels.a", None, "b")], ["Repository mirror will be changed:", "  labels.a: added b"]),
        ([Change(R, "labels.a", "b", None)], ["Repository mirror will be changed:", "  labels.a: removed b"]),
        ([Change(R, "description", "b", "")], ["Repository mirror will be changed:", "  description: removed b"]),
        (
            [Change(R, "a", 1, 2), Change("secret s", "b", None, 3)],
            ["Repository mirror will be changed:", "  a: from 1 to 2", "Secret s will be changed:", "  b: added 3"],
        ),
    ],
)
def test_a_change_is_a_sentence_without_a_programmers_words(changes: list[Change], lines: list[str]):
    said = [line for one in by_resource(changes, WILL_BE) for line in one.lines]
    assert said == lines
    assert not [word for line in said for word in ("None", "(none)", "->", "True", "False") if word in line]


@pytest.mark.parametrize(
    ("outcome", "verb"),
    [("created", "was"), ("verified", "was"), ("planned", "would be"), ("failed", "was to be"), (None, "was to be")],
)
def test_the_tense_is_that_of_what_came_of_it(outcome: str | None, verb: str):
    assert by_resource([Change(R, "", "", None)], tense(outcome))[0].said == f"Repository mirror {verb} deleted"


@pytest.mark.parametrize(
    ("value", "name", "text"),
    [
        (None, "", "none"),
        ("", "", "not given"),
        (True, "", "yes"),
        ([], "", "none"),
        (["a", "b"], "", "a, b"),
        (617_965, "bytes hashed", "618.0 kB"),
        (617_965, "count", "617965"),
        ({"a": {"b": 1}}, "", '{"a": {"b": 1}}'),
    ],
)
def test_a_value_is_shown_as_a_person_reads_it(value: Any, name: str, text: str):
    assert shown(value, name) == text


def test_what_was_made_is_shown_as_it_was_read_back_and_once():
    made = by_resource(
        [Change(R, "", None, "here"), Change(R, "upstream", None, "https://cgr.dev/"), Change(R, "note", None, "ours")],
        tense("created"),
    )
    [left], facts = said_once(made, {"upstream": "https://cgr.dev/", "encryption": "Google's"})
    assert left.fields == ()
    assert facts == {"note": "ours", "upstream": "https://cgr.dev/", "encryption": "Google's"}


def test_what_was_changed_is_shown_with_what_it_was_and_once_and_nothing_is_known_after_apply_any_more():
    changed = by_resource(
        [Change("API a", "state", "off", "on"), Change("API a", "number", None, KNOWN_AFTER_APPLY)], tense("updated")
    )
    [left], facts = said_once(changed, {"API": "another", "state": "on"})
    assert left.fields == (("state", "off", "on"),)
    assert facts == {"API": "another"}
