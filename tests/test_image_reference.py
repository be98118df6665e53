"""What may be asked for: references and platforms."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgrunbook.errors import ParameterError
from cgrunbook.image_reference import ImageReference, Platform, is_digest

SHA256 = "sha256:" + "ab" * 32
COMPONENTS = st.from_regex(r"[a-z0-9]{1,8}(?:(?:\.|_|__|-{1,3})[a-z0-9]{1,8}){0,2}", fullmatch=True)
TAGS = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,30}", fullmatch=True)
DIGESTS = st.from_regex(r"sha256:[0-9a-f]{64}", fullmatch=True)


@pytest.mark.parametrize(
    ("text", "repository", "tag", "digest"),
    [
        ("chainguard/go:latest", "chainguard/go", "latest", ""),
        ("chainguard/go", "chainguard/go", "latest", ""),
        ("example.com/chainguard-base:latest-dev", "example.com/chainguard-base", "latest-dev", ""),
        ("example.com/iamguarded-charts/redis:1.2", "example.com/iamguarded-charts/redis", "1.2", ""),
        (f"chainguard/go@{SHA256}", "chainguard/go", "", SHA256),
        (f"chainguard/go:1.25@{SHA256}", "chainguard/go", "1.25", SHA256),
        ("a/b__c--d.e_f:_x", "a/b__c--d.e_f", "_x", ""),
    ],
)
def test_a_reference_is_read_into_its_parts(text, repository, tag, digest):
    found = ImageReference.parse(text)
    assert (found.repository, found.tag, found.digest) == (repository, tag, digest)


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        ("cgr.dev/chainguard/go:latest", "chainguard/go:latest"),
        ("https://cgr.dev/chainguard/go", "chainguard/go:latest"),
        ("cgr.dev/example.com/chainguard-base", "example.com/chainguard-base:latest"),
        ("us-central1-docker.pkg.dev/my-project/my-repo/chainguard/go:latest", "chainguard/go:latest"),
        ("us-docker.pkg.dev/example.com/my-project/my-repo/chainguard/go:latest", "chainguard/go:latest"),
        ("127.0.0.1:5000/chainguard/go", "chainguard/go:latest"),
        ("localhost/chainguard/go", "chainguard/go:latest"),
        ("registry.example.com/chainguard/go", "chainguard/go:latest"),
        ("mirror.example.com/example.org/base:1", "example.org/base:1"),
        ("docker.io/chainguard/go", "chainguard/go:latest"),
        ("123456789012.dkr.ecr.us-east-1.amazonaws.com/chainguard/go", "chainguard/go:latest"),
    ],
)
def test_a_reference_with_a_registry_is_refused_with_the_form_that_was_meant(text, nearest):
    with pytest.raises(ParameterError, match="registry") as caught:
        ImageReference.parse(text)
    assert caught.value.remedy == f"Write it as in {nearest}."


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        ("go:latest", "chainguard/go:latest"),
        ("Chainguard/Go", "chainguard/go:latest"),
        (" chainguard/go", "chainguard/go:latest"),
        ("chainguard/go/", "chainguard/go:latest"),
        ("chainguard/go:", "chainguard/go:latest"),
        ("chainguard/go:-x", "chainguard/go:latest"),
        (f"chainguard/go:{'x' * 129}", "chainguard/go:latest"),
        ("chainguard/go@sha256:abc", "chainguard/go:latest"),
        (f"chainguard/go@{SHA256.upper()}", "chainguard/go:latest"),
        ("chainguard/go@", "chainguard/go:latest"),
        ("", "chainguard/go:latest"),
        ("/", "chainguard/go:latest"),
        ("chainguard//go", "chainguard/go:latest"),
        ("chainguard/../go", "chainguard/go:latest"),
        ("chainguard/go:latest\n", "chainguard/go:latest"),
        ("chainguard/" + "g" * 256, "chainguard/go:latest"),
    ],
)
def test_a_reference_that_breaks_the_grammar_is_refused_with_a_right_one(text, nearest):
    with pytest.raises(ParameterError) as caught:
        ImageReference.parse(text)
    assert nearest in caught.value.remedy
    assert caught.value.exit_code == 2


@given(st.lists(COMPONENTS.filter(lambda part: "." not in part), min_size=2, max_size=4), TAGS, DIGESTS | st.just(""))
def test_what_is_written_is_read_back(components, tag, digest):
    reference = ImageReference("/".join(components), tag, digest)
    if reference.organization.isdecimal() or reference.organization == "localhost":
        return
    assert ImageReference.parse(str(reference)) == reference


@given(st.text(max_size=300) | st.from_regex(r"[a-z0-9.:@/_-]{0,60}", fullmatch=True))
def test_any_text_is_either_a_reference_or_a_parameter_error(text):
    try:
        found = ImageReference.parse(text)
    except ParameterError:
        return
    assert ImageReference.parse(str(found)) == found
    assert not found.repository.startswith(("cgr.dev/", "localhost/"))
    assert found.reference


@pytest.mark.parametrize("text", ["linux/amd64", "linux/arm64/v8", "windows/amd64", "linux/riscv64"])
def test_a_platform_shows_its_parts(text):
    platform = Platform(text)
    assert str(platform) == text
    assert "/".join(part for part in (platform.os, platform.architecture, platform.variant) if part) == text


@pytest.mark.parametrize(
    "text", ["amd64", "linux", "linux/", "Linux/AMD64", "linux/amd64/v8/x", "linux amd64", "", "\n"]
)
def test_a_platform_of_another_form_is_refused(text):
    with pytest.raises(ParameterError, match="platform"):
        Platform(text)


@pytest.mark.parametrize("text", ["sha256:" + "0" * 63, "md5:" + "0" * 32, "sha256:" + "G" * 64, SHA256 + "\n", ""])
def test_what_cannot_be_checked_is_no_digest(text):
    assert not is_digest(text)


def test_sha512_is_a_digest_too():
    assert is_digest("sha512:" + "0" * 128)
