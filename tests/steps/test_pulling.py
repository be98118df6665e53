"""What the proof of a pull costs, and what it says."""

from __future__ import annotations

import re
from pathlib import Path

from tests.steps.performing import (
    Names,
    open_book,
    perform,
    proof_of_02,
    proof_of_03,
    requests,
    steps_of_02,
    steps_of_03,
)

NAMES = Names.of("cost")


def test_a_proof_takes_one_token_and_two_requests_more_than_the_image_has_parts(home: Path, quick_chainctl: None):
    book, _ = open_book()
    perform(book, *steps_of_02(NAMES), *steps_of_03(NAMES))
    for proof in (proof_of_02(NAMES), proof_of_03(NAMES)):
        book, seen = open_book()
        known = len(requests(home))
        perform(book, proof)
        # What the registry's client asked; the sandbox itself asks cgr.dev too, with another.
        asked = [line for line in requests(home, known) if line["client"] == "cgrunbook"]
        facts = seen.results[-1].evidence.facts
        # At cgr.dev the challenge, the token and the tag's digest; here the index, the manifest, the config and each
        # layer; then the tag and one byte.
        assert len(asked) == 3 + 3 + len(facts["layers"]) + 2
        assert sum("token" in line["path"] for line in asked) == 1


def test_a_proof_says_what_the_second_time_is(home: Path, quick_chainctl: None):
    book, seen = open_book()
    perform(book, *steps_of_02(NAMES), proof_of_02(NAMES))
    facts = seen.results[-1].evidence.facts
    assert re.fullmatch(r"\d+\.\d\d s", facts["first pull"])
    assert re.fullmatch(
        r"\d+\.\d\d s until the tag and the first byte of the largest layer were there; no layer is fetched twice",
        facts["second pull"],
    )
    assert facts["compared with cgr.dev"] == "the same digest"
    assert seen.results[-1].evidence.brief.startswith("the same digest as cgr.dev's; ")
