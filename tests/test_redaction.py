"""A secret has no way out: not through printing, pickling, formatting, nor through a text that holds it."""

from __future__ import annotations

import base64
import copy
import dataclasses
import html
import json
import logging
import pickle
import re
import secrets
import time
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any
from urllib.parse import quote, quote_plus, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgrunbook import redaction
from cgrunbook.cloud import command, docker_config
from cgrunbook.cloud.manifests import parse_document
from cgrunbook.cloud.pull_token import PullToken
from cgrunbook.errors import CgrunbookError, StepFailed
from cgrunbook.image_reference import ImageReference, Platform
from cgrunbook.redaction import (
    _REMEMBERED,
    LONGEST_WORD,
    MASK,
    PIECE,
    Secret,
    complete,
    mask,
    mask_all,
    one_line,
    redact,
    redact_all,
    visible,
)
from cgrunbook.sandbox.google import wire
from cgrunbook.sandbox.registry import upstream

NOBODY: Any = None
SECRET_TEXT = st.text(min_size=6, max_size=80).filter(
    lambda text: text.strip() and MASK not in text and text not in MASK
)


def fresh() -> str:
    return secrets.token_urlsafe(24)


@dataclasses.dataclass
class Holder:
    secret: Secret


def pieces_in(value: str, text: str, size: int = PIECE) -> list[str]:
    """Pieces of a value that are in a text."""
    return [value[at : at + size] for at in range(len(value) - size + 1) if value[at : at + size] in text]


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


@pytest.mark.parametrize(
    "write",
    [
        pickle.dumps,
        copy.copy,
        copy.deepcopy,
        lambda secret: secret.__getstate__(),
        lambda secret: secret.__reduce__(),
        vars,
        lambda secret: dataclasses.asdict(Holder(secret)),
    ],
)
def test_a_secret_cannot_be_pickled_copied_nor_taken_apart(write):
    with pytest.raises(TypeError):
        write(Secret(fresh()))


#: A password with all that an encoding may change, and one with nothing of it.
@pytest.fixture(autouse=True)
def nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """What others in this process hold, tokens of connections that are still open, is no matter of these tests."""
    monkeypatch.setattr(redaction, "_known", redaction._Known())


VALUES = [lambda: secrets.token_urlsafe(48), lambda: f'{secrets.token_hex(8)}+/="\\ü?>~ {secrets.token_hex(8)}&<%']

ENCODINGS = {
    "plain": str,
    "base64": lambda value: base64.b64encode(value.encode()).decode(),
    "base64 without padding": lambda value: base64.b64encode(value.encode()).decode().rstrip("="),
    "base64url": lambda value: base64.urlsafe_b64encode(value.encode()).decode(),
    "docker's pair": lambda value: base64.b64encode(f"name:{value}".encode()).decode(),
    "one more letter": lambda value: base64.b64encode(f"name1:{value}".encode()).decode(),
    "and one more": lambda value: base64.urlsafe_b64encode(f"name12:{value}tail".encode()).decode(),
    "base64 in lines": lambda value: base64.encodebytes(f"a/b:{value * 3}".encode()).decode(),
    "base64 in escaped lines": lambda value: repr(base64.encodebytes(f"a/b:{value * 3}".encode())),
    "hexadecimal": lambda value: value.encode().hex(),
    "upper case hexadecimal": lambda value: value.encode().hex().upper(),
    "in a URL": lambda value: quote(value, safe=""),
    "in a path": quote,
    "in a form": lambda value: urlencode({"password": value}),
    "in a form, in lower case": lambda value: re.sub("%..", lambda one: one[0].lower(), quote_plus(value)),
    "a base64 in a URL": lambda value: quote(base64.b64encode(value.encode()).decode(), safe=""),
    "JSON": json.dumps,
    "JSON in JSON": lambda value: json.dumps(json.dumps(value)),
    "JSON that is not ASCII": lambda value: json.dumps(value, ensure_ascii=False),
    "bytes": lambda value: repr(value.encode()),
    "text": repr,
    "HTML": html.escape,
    "in a URL in a URL": lambda value: quote(quote(value, safe=""), safe=""),
    "a base64 in a URL in a URL": lambda value: quote(quote(base64.b64encode(value.encode()), safe=""), safe=""),
    "JSON in JSON in JSON": lambda value: json.dumps(json.dumps(json.dumps(value))),
    "docker's pair in JSON in JSON in JSON": lambda value: json.dumps(
        json.dumps(json.dumps(base64.b64encode(f"u:{value}".encode()).decode()))
    ),
    "base64 in base64": lambda value: base64.b64encode(base64.b64encode(value.encode())).decode(),
    "base64 in hexadecimal": lambda value: base64.b64encode(value.encode()).hex(),
    "hexadecimal in groups": lambda value: value.encode().hex(" ", 2),
    "every byte in a URL": lambda value: "".join(f"%{byte:02x}" for byte in value.encode()),
    "every character escaped": lambda value: "".join(f"\\u{ord(one):04x}" for one in value),
    "every byte escaped": lambda value: "".join(f"\\x{byte:02x}" for byte in value.encode()),
    "every character an entity": lambda value: "".join(f"&#{ord(one)};" for one in value),
    "every character a hexadecimal entity": lambda value: "".join(f"&#x{ord(one):X};" for one in value),
    "UTF-16 as Python shows it": lambda value: repr(value.encode("utf-16-le")),
    "one letter a line": "\n".join,
    "a list of letters": lambda value: json.dumps(list(value), indent=1),
    "a shell's lines": lambda value: in_parts(value, " \\\n   "),
    "Python's lines": lambda value: "\n".join(repr(value[at : at + 7]) for at in range(0, len(value), 7)),
    "a table of rich's": lambda value: in_parts(value, " \u2502\n\u2502 "),
    "in colours": lambda value: in_parts(value, "\x1b[0m\x1b[31m"),
    "HTML that may break": lambda value: in_parts(value, "<wbr>"),
    "HTML in colours": lambda value: in_parts(value, '</span><span class="s2">'),
    "with what is not seen between": lambda value: in_parts(value, "\u200b"),
    "with a soft hyphen between": lambda value: in_parts(value, "\u00ad"),
    "in lines that are cleared": lambda value: in_parts(value, "\x1b[K"),
    "in a reply's lines": lambda value: in_parts(value, "\n> "),
    "hexadecimal with colons": lambda value: value.encode().hex(":"),
    "C's bytes": lambda value: ", ".join(f"0x{byte:02x}" for byte in value.encode()),
    "every byte in octal": lambda value: "".join(f"\\{byte:03o}" for byte in value.encode()),
    "a list of bytes": lambda value: str(list(value.encode())),
    "a list of bytes in lines": lambda value: json.dumps(list(value.encode()), indent=1),
    "base64 of UTF-16": lambda value: base64.b64encode(value.encode("utf-16-le")).decode(),
}


def in_parts(value: str, between: str) -> str:
    """A value in parts that are too short to be known by themselves."""
    return between.join(value[at : at + 7] for at in range(0, len(value), 7))


@pytest.mark.parametrize("make", VALUES)
@pytest.mark.parametrize("encode", ENCODINGS.values(), ids=ENCODINGS)
def test_a_known_value_is_found_in_every_encoding(encode, make):
    value = make()
    secret = Secret(value)
    encoded = encode(value)
    shown = mask(f"before {encoded} after")
    assert shown.startswith("before ")
    assert shown.endswith(" after")
    left = shown.removeprefix("before ").removesuffix(" after").replace(MASK, "")
    assert not pieces_in(encoded, left)
    assert not pieces_in(value, left, 8)
    assert secret


@pytest.mark.parametrize("make", VALUES)
def test_a_login_that_is_wrapped_and_wrapped_again_is_masked_and_its_wrapping_stays(make):
    """As a cluster keeps docker's configuration, and as its JSON is shown."""
    value = make()
    secret = Secret(value)
    auth = base64.b64encode(f"user:{value}".encode()).decode()
    document = {"auths": {"registry.example.com": {"username": "user", "password": value, "auth": auth}}}
    wrapped = base64.b64encode(json.dumps(document).encode()).decode()
    shown = mask(json.dumps({".dockerconfigjson": wrapped}))
    begin, _, end = shown.removeprefix('{".dockerconfigjson": "').removesuffix('"}').partition(MASK)
    assert base64.b64decode(begin + "=" * (-len(begin) % 4)).startswith(
        b'{"auths": {"registry.example.com": {"username": "user'
    )
    for part in (begin, *end.split(MASK)):
        at = wrapped.index(part) if part else 0
        covered = base64.b64decode(wrapped)[at * 3 // 4 : (at + len(part)) * 3 // 4].decode()
        assert not pieces_in(value, covered) + pieces_in(auth[8:], covered)
    assert secret


@pytest.mark.parametrize("encode", [ENCODINGS["plain"], ENCODINGS["docker's pair"], ENCODINGS["hexadecimal"]])
def test_so_are_its_pieces_however_it_was_cut(encode):
    value = secrets.token_urlsafe(60)
    secret = Secret(value)
    encoded = encode(value)
    for begin, end in [(0, 30), (12, 40), (31, None), (-30, None)]:
        assert not pieces_in(encoded[begin:end], mask(f"'{encoded[begin:end]}...'")[len("dGVzd") :], PIECE + 8)
    assert secret


def test_a_jwt_is_found_by_any_part_and_over_a_broken_line():
    jwt = ".".join(base64.urlsafe_b64encode(secrets.token_bytes(size)).decode().rstrip("=") for size in (45, 90, 128))
    secret = Secret(jwt)
    for part in [
        *jwt.split("."),
        jwt[:100],
        jwt.replace(".", "\n."),
        f"{jwt[:130]}\n{jwt[130:]}",
        f"{jwt[:-3]}\n    {jwt[-3:]}",
    ]:
        assert mask(f"({part})") == f"({MASK})"
    assert secret


def test_what_a_secret_of_the_past_was_is_still_known():
    value = fresh()
    Secret(value)
    assert value not in mask(f"an echo of {value}")


@pytest.mark.parametrize(
    "plain", ["https://cgr.dev/", "a sentence of words", "chainguard-pull-through", "https://127.0.0.1:8080/v2/x"]
)
def test_what_could_be_an_ordinary_word_is_forgotten_with_its_secret(plain):
    Secret(plain)
    assert mask(f"from {plain} here") == f"from {plain} here"


def test_what_is_forgotten_takes_nothing_from_another_value_with_the_same_words():
    value = secrets.token_urlsafe(40)
    secret = Secret(value)
    Secret(f"user {value}")
    for _ in range(_REMEMBERED + 1):
        Secret(fresh())
    assert not pieces_in(value, mask(f"({value[:25]})"))
    assert secret


def test_a_long_text_of_lines_that_begin_like_a_jwt_is_masked_in_its_time():
    began = time.process_time()
    text = "eyJaaaaaaaa\n" * 10_000
    assert mask(text) == text
    assert time.process_time() - began < 20


@pytest.mark.parametrize(
    "part", ["cookie ", "<span ", "\\", "://a:b", "%25", "password=", "1//0", "-----BEGIN PRIVATE KEY-----"]
)
def test_no_text_takes_the_square_of_its_length(part):
    secret = Secret(fresh())
    began = time.process_time()
    mask(part * (100_000 // len(part)))
    assert time.process_time() - began < 5
    assert secret


def test_a_short_one_is_forgotten_with_its_secret():
    secret = Secret("latest")
    assert mask("chainguard/go:latest") == f"chainguard/go:{MASK}"
    del secret
    assert mask("chainguard/go:latest") == "chainguard/go:latest"


def test_what_somebody_else_holds_is_known_as_it_changes():
    held = [fresh()]
    redaction._known.watch(lambda: held)
    assert mask(held[0]) == MASK
    held[0] = fresh()
    assert mask(held[0]) == MASK


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


#: Random values that no Secret knows, by the form that tells them.
TELLING = [
    lambda it: f'{{"access_token": "{it}", "expires_in": 3599}}',
    lambda it: f"{{'access_token': '{it}', 'token_type': 'Bearer'}}",
    lambda it: json.dumps(json.dumps({"refresh_token": it})),
    lambda it: f"grant_type=refresh_token&client_secret={it}&x=y",
    lambda it: f"subject_token={it}",
    lambda it: f"passwd={it}",
    lambda it: f"1//0{it}",
    lambda it: f"GOCSPX-{it}",
    lambda it: f"AIza{it}",
    lambda it: f"ya29.{it}",
    lambda it: (
        f"send: b'GET /v2/ HTTP/1.1\\r\\nAuthorization: Basic {base64.b64encode(it.encode()).decode()}\\r\\n\\r\\n'"
    ),
    lambda it: f"authorization: AWS4-HMAC-SHA256 Credential=A/b, Signature={it}",
    lambda it: f"https://storage.example.com/blob?X-Goog-Algorithm=GOOG4&X-Goog-Signature={it}",
    lambda it: f"https://r2.example.com/blob?X-Amz-Expires=1200&amp;X-Amz-Signature={it}&amp;x=y",
    lambda it: f"https://blob.example.com/b?sv=2024&sig={it}",
    lambda it: f"proxy http://:{it}@proxy.example.com:3128",
    lambda it: f"-----BEGIN PRIVATE KEY-----\n{it}\n{it}\n-----END PRIVATE KEY-----\n",
    lambda it: f'"private_key": "-----BEGIN RSA PRIVATE KEY-----\\n{it}\\n{it}',
    lambda it: f"eyJhbGciOiJSUzI1NiIs{it}.eyJ{it}.{it}",
    lambda it: f"eyJhbGciOiJSUzI1NiIs{it}\n.eyJ{it}\n.{it}",
    lambda it: f"\x1b[32meyJhbGciOiJSUzI1NiIs{it}\x1b[0m",
    lambda it: f"eyJhbGciOiJSUzI1NiIs{it}.eyJ{it[:9]}",
    lambda it: f"Bearer%20{it}",
]


@pytest.mark.parametrize("shape", TELLING)
def test_a_value_that_nobody_knows_is_told_by_what_is_around_it(shape):
    value = secrets.token_hex(20)
    shown = mask(f"before {shape(value)} after")
    assert not pieces_in(value, shown)
    assert not pieces_in(base64.b64encode(value.encode()).decode(), shown)
    assert shown.startswith("before ")


HARMLESS = st.one_of(
    st.binary(min_size=32, max_size=32).map(lambda data: f"sha256:{data.hex()}"),
    st.binary(min_size=32, max_size=32).map(lambda data: f"cgr.dev/chainguard/go:latest@sha256:{data.hex()}"),
    st.uuids().map(str),
    st.binary(min_size=20, max_size=20).map(lambda data: f"{data.hex()}/{data[:8].hex()}"),
    # Of data, not of text: `{"` and a key make a JWT's beginning.
    st.binary(min_size=1, max_size=400).map(lambda data: base64.b64encode(b"\x89PNG" + data).decode()),
    st.binary(min_size=1, max_size=400).map(lambda data: base64.urlsafe_b64encode(b"\x89PNG" + data).decode()),
    st.sampled_from(
        [
            "secretmanager.versions.access",
            "artifactregistry.repositories.downloadArtifacts",
            "roles/secretmanager.secretAccessor",
            "projects/p/secrets/chainguard-pull-token/versions/3",
            "docker_login=access-token password=$(gcloud auth print-access-token)",
            "--remote-password-secret-version=projects/p/secrets/s/versions/1",
            "gcloud auth application-default login",
            "docker-credential-gcloud answered, and basic authentication is used",
            "service-123456789012@gcp-sa-artifactregistry.iam.gserviceaccount.com",
            "http://127.0.0.1:8080/v2/example.com/go@sha256:0000",
            "eyJ is how a JWT begins",
            '{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json"}',
        ]
    ),
)


@given(harmless=st.lists(HARMLESS, min_size=1, max_size=5))
def test_what_is_no_secret_stays_beside_many_that_are(harmless):
    held = [Secret(f"eyJhbGciOiJSUzI1NiJ9.{secrets.token_urlsafe(300)}.{secrets.token_urlsafe(300)}") for _ in range(3)]
    text = "\n".join(harmless)
    assert mask(text) == redact(text) == text
    assert held


@pytest.mark.parametrize(
    "harmless",
    [
        "sha256:" + "0123456789abcdef" * 4,
        "us-central1-docker.pkg.dev/my-project/chainguard-private/example.com/chainguard-base:latest",
        "https://cgr.dev/token?scope=repository%3Aexample.com%2Fgo%3Apull&service=cgr.dev",
        "bd3c9ec494caca60225319fd4053abe067c169ec/5037f83cdd0fbdcd",
        "projects/p/secrets/chainguard-pull-token/versions/3",
        "docker://cgr.dev/chainguard/go:latest@sha256:" + "0123456789abcdef" * 4,
        "docker://go:latest@sha256:" + "0123456789abcdef" * 4,
        "ssh://git@example.com:22/x",
        "sig=verified",
        "--signature=detached",
        "cosign verify --signature=/path/to/signature1.sig",
        "signature=sha256-abc1.sig",
        "private_key=/path/to/key1.pem",
        "password=PASSWORD",
        "Cookie: disabled by policy",
        'Bearer realm="https://us-central1-docker.pkg.dev/v2/token",service="x"',
        "a basic Understanding of 3 clients",
        "GOCSPX-, AIza, ya29. and 1//0 are how they begin",
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


@pytest.mark.parametrize(
    "hold",
    [
        lambda value: command.Ended(0, value, value),
        lambda value: docker_config.Answer(None, value),
        lambda value: wire.Call(NOBODY, NOBODY, "", {}, {"access_token": value}, {"payload": {"data": value}}),
        lambda value: upstream.Credentials("user", value),
        lambda value: PullToken("user", Secret(value), datetime.now(UTC), None),
    ],
)
def test_what_came_from_outside_is_in_no_repr(hold):
    value = fresh()
    assert value not in repr(hold(value))


@pytest.mark.parametrize(
    "refuse",
    [
        lambda value: ImageReference.parse(f"{'a/' * 56}{value}"),
        lambda value: Platform(f"{'a/' * 36}{value}"),
        lambda value: parse_document(
            json.dumps({"schemaVersion": 2, "mediaType": f"{'a/' * 46}{value}"}).encode(), "application/json", "go"
        ),
    ],
)
def test_what_is_cut_in_an_error_was_masked_before(refuse):
    value = fresh()
    secret = Secret(value)
    with pytest.raises(CgrunbookError) as refused:
        refuse(value)
    assert not pieces_in(value, str(refused.value), 6)
    assert "[red" in str(refused.value)
    assert secret


def test_half_a_secret_is_not_left_where_a_text_is_cut():
    value = secrets.token_urlsafe(40)
    secret = Secret(value)
    assert not pieces_in(value, one_line(f"{'x ' * 190}{value}", 400))
    assert secret


@given(cuts=st.lists(st.integers(0, 60), max_size=6), encode=st.sampled_from([str, ENCODINGS["docker's pair"]]))
def test_a_stream_keeps_back_what_a_secret_may_go_on_from(cuts, encode):
    value = secrets.token_urlsafe(45)
    secret = Secret(value)
    encoded = encode(value)
    text = f"debug: {encoded} end\n"
    said, waiting = "", ""
    places = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    for begin, end in pairwise(places):
        ready, waiting = complete(waiting + text[begin:end])
        said += mask(ready)
    said += mask(waiting)
    assert said.startswith("debug: ")
    assert said.endswith(" end\n")
    assert not pieces_in(encoded[8:], said, 6)
    assert secret


def test_a_stream_keeps_nothing_back_of_whole_lines_and_never_much():
    assert complete("a line\n") == ("a line\n", "")
    assert complete("a line and Bearer ") == ("a line and ", "Bearer ")
    assert complete("-----BEGIN PRIVATE KEY-----\nabc\n") == ("", "-----BEGIN PRIVATE KEY-----\nabc\n")
    ready, waiting = complete("x" * 100_000)
    assert (len(ready), len(waiting)) == (100_000 - LONGEST_WORD, LONGEST_WORD)


def test_what_others_say_keeps_its_colours_and_what_we_say_steers_nothing():
    assert mask_all({"text": ["\x1b[31mred\x1b[0m"]}) == {"text": ["\x1b[31mred\x1b[0m"]}
    assert redact_all({"\x07key": "\x1b[31mred\u202e \u200bgo"}) == {"\\u0007key": "\\u001b[31mred\\u202e \\u200bgo"}


def test_an_error_of_ours_steers_no_terminal():
    error = StepFailed("label \x1b[2K\u202egnp.exe", "look at \x07it")
    assert str(error) == "label \\u001b[2K\\u202egnp.exe\nWhat to do: look at \\u0007it"


def test_what_steers_a_terminal_is_written_as_what_it_is():
    shown = visible("label \x1b[2K\x9b31m\u202egnp.exe\r\n\tplain é")
    assert shown == "label \\u001b[2K\\u009b31m\\u202egnp.exe\\u000d\n\tplain é"
    unseen = "\u034f\u115f\u180e\u206f\u3164\uffa0\ufff9\U000e0100"
    assert visible(unseen).isascii()


def test_a_secret_that_goes_while_values_are_looked_through_disturbs_nobody():
    doomed = [Secret(secrets.token_urlsafe(24)) for _ in range(100)]
    for _ in redaction._known._whole:  # the collector may take secrets away at any place where this is done
        doomed[-1:] = []
    assert MASK in mask(f"it is {Secret(secrets.token_urlsafe(24)).reveal()}")


def test_a_long_value_that_repeats_itself_is_known_and_forgotten_in_its_time():
    begun = time.process_time()
    for letters in ("x", "ab", "secret"):
        value = Secret(letters * (65536 // len(letters)))
        assert MASK in mask(f"it is {value.reveal()}")
        del value
    mask("nobody holds it any more")
    assert time.process_time() - begun < 10  # it was minutes: the square of the length


@pytest.mark.parametrize("mark", ['<span title="{}">', "<b {}>", '<code style="x" data-x={}>'])
@pytest.mark.parametrize(
    "encode", [lambda value: base64.b64encode(value).decode(), bytes.hex], ids=["base64", "hexadecimal"]
)
def test_what_is_encoded_inside_a_mark_is_found(mark, encode):
    value = f"{secrets.token_urlsafe(9)}<b"
    kept = Secret(value)
    assert encode(value.encode()) not in mask(f"before {mark.format(encode(value.encode()))} after {value}>")
    del kept


def test_a_text_that_had_nothing_to_hide_is_looked_at_anew_once_a_secret_is_known():
    value = secrets.token_hex(20)
    text = f"before {value} after"
    assert mask(text) == mask(text) == text
    kept = Secret(value)
    assert mask(text) == f"before {MASK} after"
    del kept
