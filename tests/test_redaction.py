"""A secret has no way out: not through printing, pickling, formatting, nor through a text that holds it."""

from __future__ import annotations

import base64
import copy
import json
import logging
import pickle
import secrets
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgrunbook.errors import StepFailed
from cgrunbook.redaction import MASK, Secret, redact, redact_all, visible

SECRET_TEXT = st.text(min_size=6, max_size=80).filter(
    lambda text: text.strip() and MASK not in text and text not in MASK
)


def fresh() -> str:
    return secrets.token_urlsafe(24)


@pytest.mark.parametrize(
    "show",
    [
        repr,
        str,
        lambda secret: f"{secret}",
        lambda secret: f"{secret!r:>40}",
        lambda secret: f"{[secret]}",
    ],
)
def test_a_secret_shows_a_mask_however_it_is_shown(show):
    value = fresh()
    assert value not in show(Secret(value))


@pytest.mark.parametrize("write", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_secret_cannot_be_pickled_nor_copied(write):
    with pytest.raises(TypeError):
        write(Secret(fresh()))


def test_a_secret_cannot_become_json():
    with pytest.raises(TypeError):
        json.dumps({"token": Secret(fresh())})


def test_a_secret_in_a_log_line_is_a_mask(caplog):
    value = fresh()
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("test").debug("got %s and %r", Secret(value), Secret(value))
    assert value not in caplog.text
    assert MASK in caplog.text


def test_a_secret_compares_by_its_value_and_knows_whether_it_is_empty():
    value = fresh()
    assert Secret(value) == Secret(value)
    assert Secret(value) != Secret(fresh())
    assert Secret(value) != value
    assert not Secret("")


@given(value=SECRET_TEXT, before=st.text(max_size=20), after=st.text(max_size=20))
def test_a_text_that_holds_a_living_secret_loses_it(value, before, after):
    secret = Secret(value)
    assert value not in redact(before + value + after).replace(MASK, "")
    assert secret.reveal() == value


@given(value=st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=126), min_size=8, max_size=60))
def test_so_do_its_spellings_in_urls_json_and_base64(value):
    secret = Secret(value)
    encoded = base64.b64encode(value.encode()).decode()
    shown = redact(f"url={quote(value, safe='')} base64={encoded} json={json.dumps(value)}")
    assert encoded not in shown
    assert quote(value, safe="") not in shown
    assert secret.reveal() == value


@pytest.mark.parametrize(
    "shape",
    [
        lambda: f"eyJ{secrets.token_hex(12)}.{secrets.token_hex(40)}.{secrets.token_hex(60)}",
        lambda: f"ya29.{secrets.token_urlsafe(40)}",
        lambda: "Bearer " + secrets.token_urlsafe(40),
        lambda: "Authorization: Basic " + base64.b64encode(secrets.token_bytes(30)).decode(),
        lambda: f"https://user:{secrets.token_hex(10)}@registry.example.com/v2/",
        lambda: f'{{"auths": {{"r": {{"auth": "{base64.b64encode(secrets.token_bytes(20)).decode()}"}}}}}}',
    ],
)
def test_what_has_the_shape_of_a_credential_is_masked_though_nobody_called_it_a_secret(shape):
    text = shape()
    longest = max(text.replace('"', " ").replace(":", " ").replace("@", " ").replace("/", " ").split(), key=len)
    assert longest not in redact(f"before {text} after")


@pytest.mark.parametrize(
    "harmless",
    [
        "sha256:" + "0123456789abcdef" * 4,
        "us-central1-docker.pkg.dev/my-project/chainguard-private/example.com/chainguard-base:latest",
        "https://cgr.dev/token?scope=repository%3Aexample.com%2Fgo%3Apull&service=cgr.dev",
        "bd3c9ec494caca60225319fd4053abe067c169ec/5037f83cdd0fbdcd",
        "projects/p/secrets/chainguard-pull-token/versions/3",
    ],
)
def test_what_a_person_needs_to_see_stays(harmless):
    assert redact(harmless) == harmless


def test_nested_data_is_masked_in_keys_and_values():
    value = fresh()
    secret = Secret(value)
    shown = json.dumps(redact_all({f"key {value}": [value, {"deep": (value, secret, 3, None)}]}))
    assert value not in shown
    assert json.loads(shown)[f"key {MASK}"][1]["deep"] == [MASK, MASK, 3, None]


def test_an_error_never_carries_a_living_secret():
    value = fresh()
    secret = Secret(value)
    error = StepFailed(f"upstream said {value}", f"try {value} again")
    assert value not in f"{error} {error!r} {error.args} {error.remedy} {error._render_traceback_()}"
    assert secret


def test_what_steers_a_terminal_is_written_as_what_it_is():
    shown = visible("label \x1b[2K\x9b31m\u202egnp.exe\r\n\tplain é")
    assert shown == "label \\u001b[2K\\u009b31m\\u202egnp.exe\\u000d\n\tplain é"
