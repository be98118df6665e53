"""List filters, as gcloud and people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgrunbook.sandbox import errors
from cgrunbook.sandbox.google.filters import compile_filter

MESSAGE = {
    "name": "projects/p/locations/l/repositories/alpha-one",
    "state": "ENABLED",
    "labels": {"team": "one", "empty": ""},
    "config": {"serviceTitle": "First Service"},
    "topics": [{"name": "a"}, {"name": "b"}],
    "dryRun": True,
    "createTime": "2026-01-01T00:00:00Z",
}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "state:ENABLED",
        "state=ENABLED",
        'name="projects/p/locations/l/repositories/alpha*"',
        "name:alpha",
        'name="*one"',
        "labels.team=one",
        "labels:team",
        "labels.team:*",
        "NOT labels.other:*",
        "-state:DISABLED",
        "state!=DISABLED",
        "missing!=x",
        "state:(DISABLED OR ENABLED)",
        "state:DISABLED OR state:ENABLED",
        "state:ENABLED AND labels.team=one",
        "state:ENABLED labels.team=one",
        "(state:DISABLED OR name:alpha) AND dryRun=true",
        'config.service_title="First Service"',
        "config.serviceTitle:first",
        'createTime>"2025-12-31T00:00:00Z"',
        "createTime<2027",
        'createTime="2026-01-01T00:00:00.000Z"',
        'createTime>="2026-01-01T01:00:00+01:00"',
        "alpha",
    ],
)
def test_what_the_message_is_passes(text: str) -> None:
    assert compile_filter(text)(MESSAGE)


@pytest.mark.parametrize(
    "text",
    [
        "state:DISABLED",
        "state=enabled",
        "name=alpha",
        'name="beta*"',
        'name="*two"',
        "labels.team=two",
        "labels:other",
        "labels.empty:*",
        "NOT state:ENABLED",
        "state:ENABLED AND labels.team=two",
        "missing=x",
        "omega",
    ],
)
def test_what_the_message_is_not_does_not_pass(text: str) -> None:
    assert not compile_filter(text)(MESSAGE)


@pytest.mark.parametrize("text", ["(", ")", "a=", "=a", "a=(b", "a AND", "OR", '"open', "a=b)", "NOT", "(" * 50 + "a"])
def test_what_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(errors.InvalidArgument):
        compile_filter(text)


@given(st.text(alphabet="ab=:*()\"' ANDORT.-<>!", max_size=60))
def test_any_text_is_a_filter_or_refused(text: str) -> None:
    try:
        test = compile_filter(text)
    except errors.InvalidArgument:
        return
    assert test(MESSAGE) in {True, False}
