"""JSON that others write is bounded: nested without end, it is one more thing that cannot be read, wherever it comes from."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from cgrunbook.cloud import caller, chainctl, google_errors, manifests, pull_token, registry_errors, registry_sign_in
from cgrunbook.cloud.application_default import KeyFile
from cgrunbook.cloud.docker import Docker
from cgrunbook.cloud.secret_manager import SecretResource
from cgrunbook.errors import CgrunbookError, NotSignedIn, WrongState
from cgrunbook.parameters import from_text
from cgrunbook.run.journal import read_lines
from cgrunbook.run.notebooks import find
from cgrunbook.sandbox import request_log
from cgrunbook.steps.token_pairs import claim_on


def a_file(folder: Path, text: str) -> Path:
    path = folder / "file.json"
    path.write_text(text)
    return path


def a_context(folder: Path, text: str) -> object:
    meta = folder / "contexts" / "meta" / hashlib.sha256(b"mine").hexdigest() / "meta.json"
    meta.parent.mkdir(parents=True)
    meta.write_text(text)
    return Docker(folder, environment={"DOCKER_CONTEXT": "mine", "DOCKER_HOST": ""})._address()


def a_notebook(folder: Path, text: str) -> object:
    path = folder / "mine.ipynb"
    path.write_text(text)
    return find([str(path)])


def an_error_of_google(_: Path, text: str) -> object:
    response = requests.Response()
    response.status_code, response._content = 403, text.encode()
    return google_errors.of_response(response)


def an_identity_token(_: Path, text: str) -> object:
    header = base64.urlsafe_b64encode(b'{"alg":"RS256"}').decode()
    claims = base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
    return caller._address_in(f"{header}.{claims}.c2ln")


READERS: list[Callable[[Path, str], object]] = [
    a_context,
    a_notebook,
    an_error_of_google,
    an_identity_token,
    lambda folder, text: KeyFile(a_file(folder, text), named=True).content,
    lambda folder, text: list(read_lines(a_file(folder, text))),
    lambda _, text: from_text("developer_images", text),
    lambda _, text: chainctl._document(text),
    lambda _, text: pull_token.read_pull_token(text),
    lambda _, text: registry_sign_in.read_token(text.encode()),
    lambda _, text: registry_errors.read_error(text.encode()),
    lambda _, text: manifests.platform_of_config(text.encode()),
    lambda _, text: manifests.parse_document(text.encode(), manifests.OCI_INDEX, "an image"),
    lambda _, text: claim_on(SecretResource("projects/1/secrets/s", annotations={"cgrunbook.claim": text})),
    lambda _, text: request_log.refusal_in(text.encode()),
    lambda _, text: request_log._read(text),
]


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 20_000, '{"cells": ' + "[" * 100_000], ids=len)
@pytest.mark.parametrize("read", READERS)
def test_what_is_nested_without_end_is_read_as_nothing_or_refused_in_a_sentence(read, text, tmp_path):
    with suppress(CgrunbookError):  # any other is a stranger's
        read(tmp_path, text)


def test_a_file_of_credentials_without_an_end_is_none():
    with pytest.raises(NotSignedIn, match="/dev/zero, which cannot be used: it is no JSON"):
        _ = KeyFile(Path("/dev/zero"), named=True).content


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yes",
        "5",
        "[]",
        "{}",
        '{"by": "me", "at": "yesterday", "known": 1, "username": "", "expires": ""}',
        '{"by": "me", "at": null, "known": 1, "username": "", "expires": ""}',
        '{"by": "me", "at": "2026-01-01T00:00:00+00:00", "known": "many", "username": "", "expires": ""}',
    ],
)
def test_a_claim_that_somebody_wrote_by_hand_says_how_it_is_taken_away(text):
    secret: Any = SimpleNamespace(name="projects/1/secrets/s", id="s", annotations={"cgrunbook.claim": text})
    with pytest.raises(WrongState, match=r"annotation cgrunbook\.claim of the secret s is none") as caught:
        claim_on(secret)
    assert "gcloud secrets update s --project=1 --remove-annotations=cgrunbook.claim" in caught.value.remedy
    secret.annotations["cgrunbook.claim"] = json.dumps(
        {"by": "me", "at": "2026-01-01T00:00:00", "known": 1, "username": "", "expires": ""}
    )
    claim = claim_on(secret)
    assert claim is not None
    assert claim.elsewhere in (True, False)  # its time can be compared
