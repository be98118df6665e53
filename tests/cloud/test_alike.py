"""What is nearly right is asked about, and what is right or like nothing is not."""

from __future__ import annotations

import pytest

from cgrunbook.cloud import alike
from cgrunbook.cloud.google_errors import Answer, explain_answer
from cgrunbook.cloud.registry_errors import Refusal, refused
from cgrunbook.nearest import LOCATIONS
from cgrunbook.sandbox import hosts


def test_the_locations_are_those_that_gcloud_knows():
    assert LOCATIONS == hosts.LOCATIONS


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (alike.location("us-centrl1"), "Did you mean us-central1?"),
        (alike.location("US-Central1"), "Did you mean us-central1?"),
        (alike.location("us-central1"), ""),
        (alike.location("xyz"), ""),
        (alike.free_image("chainguard/goo"), "Did you mean chainguard/go?"),
        (alike.free_image("chainguard/golang"), "Did you mean chainguard/go?"),
        (alike.free_image("chaingard/go"), "Did you mean chainguard/go?"),
        (alike.free_image("chainguard/pyton"), "Did you mean chainguard/python?"),
        (alike.free_image("chainguard/go"), ""),
        (alike.free_image("example.com/qqqqq"), ""),
        (alike.free_tag("latst"), "Did you mean latest?"),
        (alike.free_tag("latest_dev"), "Did you mean latest-dev?"),
        (alike.free_tag("1.25"), ""),
    ],
)
def test_the_nearest_name_is_asked_about(asked: str, said: str):
    assert asked == said


@pytest.mark.parametrize(
    ("step", "status", "subject", "asked"),
    [
        ("token", 403, "chainguard/nodejs:latest", "Did you mean chainguard/node?"),
        ("/v2/", 404, "chainguard/go:lates", "Did you mean latest?"),
    ],
)
def test_a_refused_image_that_is_nearly_right_is_asked_about(step, status, subject, asked):
    repository = subject.partition(":")[0]
    error = refused(Refusal("cgr.dev", step, subject, repository, status, "", "", signed_in=False))
    assert error.remedy.startswith(f"{asked} Check")


@pytest.mark.parametrize(
    ("status", "text"), [("INVALID_ARGUMENT", "Request contains an invalid argument."), ("NOT_FOUND", "not found")]
)
def test_a_location_that_google_refuses_is_asked_about(status: str, text: str):
    names = {"project_id": "my-project", "location": "us-centrl1"}
    connection = type("Asked", (), names)()
    error = explain_answer(Answer(400, status, text), connection, "create it")
    assert error.remedy.endswith("Did you mean us-central1?")
