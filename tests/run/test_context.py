"""The bar that says where a run works, and as whom."""

from __future__ import annotations

import re

import pytest

from cgrunbook.cloud.caller import UNKNOWN
from cgrunbook.run.context import Context

SANDBOX = Context("sandbox", "cgrunbook-sandbox", "us-central1", "example.com", "user:trainee@example.com")
REAL = Context("google-cloud", "my-project", "europe-west1", "acme", "serviceAccount:robot@p.iam.gserviceaccount.com")


def words(html: str) -> str:
    return " ".join(re.sub("<[^>]*>", " ", html).split())


def styles(html: str) -> str:
    return ";".join(re.findall(r'style="([^"]*)"', html))


def test_both_forms_say_where_and_as_whom():
    assert SANDBOX.text == (
        "◇ SANDBOX: project cgrunbook-sandbox, in us-central1, organisation example.com, as trainee@example.com"
    )
    for said in (REAL.text, words(REAL.html)):
        for part in ("◆ GOOGLE CLOUD", "project my-project", "in europe-west1", "organisation acme", "as robot@p.iam."):
            assert part in said


def test_the_sandbox_and_google_cloud_differ_by_word_glyph_frame_and_colour():
    assert "SANDBOX" not in REAL.html
    assert "GOOGLE" not in SANDBOX.html
    assert words(SANDBOX.html)[0] != words(REAL.html)[0]
    assert ("dashed" in SANDBOX.html, "solid" in SANDBOX.html) == (True, False)
    assert ("dashed" in REAL.html, "solid" in REAL.html) == (False, True)
    assert not set(re.findall("#[0-9a-f]{6}", SANDBOX.html)) & set(re.findall("#[0-9a-f]{6}", REAL.html))


def test_what_is_not_known_is_left_out_and_what_nobody_tells_is_said():
    assert Context("google-cloud", "p").text == "◆ GOOGLE CLOUD: project p"
    assert Context("sandbox").text == "◇ SANDBOX"
    assert "as an account that Google does not name" in Context("google-cloud", "p", caller=UNKNOWN).text


@pytest.mark.parametrize("bar", [SANDBOX, REAL])
def test_the_bar_needs_nothing_that_jupyterlab_takes_from_a_notebook_it_does_not_trust(bar: Context):
    assert "var(" not in bar.html
    assert set(re.findall(r"<(\w+)", bar.html)) <= {"div", "strong", "span"}
    assert set(re.findall(r" (\w+)=", bar.html)) <= {"class", "style"}
    assert "flex" not in styles(bar.html)


def test_what_it_says_is_text_and_no_markup():
    assert "<img" not in Context("google-cloud", "<img src=x>", caller="user:<b>").html
