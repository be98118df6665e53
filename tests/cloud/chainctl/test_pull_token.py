"""Reading a pull token from whatever chainctl printed."""

from __future__ import annotations

import json
import secrets
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgrunbook.cloud.pull_token import PullToken, read_pull_token
from cgrunbook.errors import ChainctlFailed
from cgrunbook.redaction import Secret

FORMS = {
    "json": '{{"identity_id":"{username}","token":"{password}"}}',
    "json with more": '{{"name": "x", "identity_id": "{username}", "token": "{password}", "ttl": "720h"}}\n',
    "login": (
        "To use this pull token in another environment, run this command:\n\n"
        '    docker login "cgr.dev" --username "{username}" --password "{password}"\n'
    ),
    "login with other quotes": "docker login cgr.dev --password='{password}' --username={username}",
    "short login": "docker login cgr.dev -u {username} -p {password}\r\n",
}
NOISE = st.text(st.characters(exclude_characters="{}", exclude_categories=["Cs"]), max_size=60)


@pytest.mark.parametrize("form", FORMS, ids=list(FORMS))
def test_each_documented_output_is_read(form, username, make_jwt):
    password = make_jwt()
    found = read_pull_token(FORMS[form].format(username=username, password=password))
    assert found is not None
    assert (found.username, found.password.reveal()) == (username, password)


def test_the_expiry_is_read_offline(username, make_jwt):
    found = PullToken.checked(username, Secret(make_jwt(iat=1_760_000_000, exp=1_760_003_600)))
    assert found.issued == datetime.fromtimestamp(1_760_000_000, UTC)
    assert found.expires == datetime.fromtimestamp(1_760_003_600, UTC)
    assert found.expired(found.expires)
    assert not found.expired(found.expires - timedelta(seconds=1))


def test_a_token_that_expired_long_ago_is_still_read(username, make_jwt):
    assert PullToken.checked(username, Secret(make_jwt(exp=1))).expires.year == 1970


def test_a_token_shows_no_password(username, make_jwt):
    password = make_jwt()
    found = PullToken.checked(username, Secret(password))
    assert password not in repr(found)
    assert password not in str(found)


@pytest.mark.parametrize(
    "wrong", ["", "someone@example.com", "example.com", "0" * 40, "G" * 40 + "/" + "0" * 16, "0" * 40 + "/" + "0" * 17]
)
def test_a_username_of_another_form_is_refused(wrong, make_jwt):
    with pytest.raises(ChainctlFailed, match="username is not ORGANISATION_ID/TOKEN_ID"):
        PullToken.checked(wrong, Secret(make_jwt()))


def test_a_token_of_a_folder_is_refused(username, make_jwt):
    with pytest.raises(ChainctlFailed, match="folder"):
        PullToken.checked(f"{username}/{secrets.token_hex(8)}", Secret(make_jwt()))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda jwt: "", "empty"),
        (lambda jwt: f"{jwt}\n", "line break"),
        (lambda jwt: f" {jwt}", "line break"),
        (lambda jwt: jwt.replace(".", ".\n", 1), "line break"),
        (lambda jwt: jwt.rpartition(".")[0], "not a JWT"),
        (lambda jwt: f"x{jwt}", "cannot be read"),
        (lambda jwt: secrets.token_hex(400), "not a JWT"),
    ],
)
def test_a_password_of_another_form_is_refused_without_being_shown(change, said, username, make_jwt):
    password = change(make_jwt())
    with pytest.raises(ChainctlFailed, match=said) as caught:
        PullToken.checked(username, Secret(password))
    assert caught.value.__cause__ is None
    if password:
        assert password.strip() not in f"{caught.value!r}{caught.value}"


@pytest.mark.parametrize("claims", [{"exp": None}, {"exp": "soon"}, {"exp": True}, {"exp": 1e300}])
def test_a_jwt_without_a_usable_expiry_is_refused(claims, username, make_jwt):
    with pytest.raises(ChainctlFailed, match=r"expires|cannot be read"):
        PullToken.checked(username, Secret(make_jwt(**claims)))


@pytest.mark.parametrize(
    "output",
    [
        "",
        "{}",
        "null",
        '{"items": []}',
        "docker login cgr.dev",
        'docker login "cgr.dev --username x',
        "Username: x",
        '{"username": "a", "password": "b"}',
    ],
)
def test_an_output_without_a_token_has_none(output):
    assert read_pull_token(output) is None


@given(before=NOISE, after=NOISE, form=st.sampled_from(list(FORMS.values())))
def test_notices_around_it_do_no_harm(before, after, form, username, make_jwt):
    password = make_jwt()
    text = "\n".join((before, form.format(username=username, password=password).strip("\r"), after))
    found = read_pull_token(text)
    assert found is not None
    assert (found.username, found.password.reveal()) == (username, password)


@given(st.text(max_size=200) | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(json.dumps))
def test_any_output_is_a_token_or_none_or_an_error_of_ours(output):
    try:
        assert read_pull_token(output) is None
    except ChainctlFailed as error:
        assert error.remedy  # noqa: PT017 - either is right
