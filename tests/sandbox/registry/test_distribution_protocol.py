"""The grammar of /v2/."""

from __future__ import annotations

import base64
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgrunbook.sandbox.errors import RegistryError
from cgrunbook.sandbox.registry.distribution import Route, accepts, basic_credentials, byte_range, matches, route

DIGEST = "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/v2/", Route("base")),
        ("/v2", Route("base")),
        ("/v2/_catalog", Route("catalog")),
        ("/v2/chainguard/go/manifests/latest", Route("manifests", "chainguard/go", "latest")),
        (f"/v2/p/r/example.com/go-fips/manifests/{DIGEST}", Route("manifests", "p/r/example.com/go-fips", DIGEST)),
        (f"/v2/a/b/blobs/{DIGEST}", Route("blobs", "a/b", DIGEST)),
        ("/v2/a/b/tags/list", Route("tags", "a/b")),
        (f"/v2/a/b/referrers/{DIGEST}", Route("referrers", "a/b", DIGEST)),
        ("/v2/a/b/blobs/uploads/", Route("uploads", "a/b")),
        ("/v2/a/b/blobs/uploads/some-session", Route("uploads", "a/b")),
        ("/v2/manifests/manifests/manifests/latest", Route("manifests", "manifests/manifests", "latest")),
    ],
)
def test_paths_name_what_the_specification_says(path, found):
    assert route(path) == found


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/v2/../../etc/passwd/manifests/latest", 400, "NAME_INVALID"),
        ("/v2/Upper/case/manifests/latest", 400, "NAME_INVALID"),
        ("/v2/a//b/manifests/latest", 400, "NAME_INVALID"),
        (f"/v2/{'a' * 256}/manifests/latest", 400, "NAME_INVALID"),
        ("/v2/a/manifests/.bad", 400, "TAG_INVALID"),
        (f"/v2/a/manifests/{'t' * 129}", 400, "TAG_INVALID"),
        ("/v2/a/blobs/latest", 400, "DIGEST_INVALID"),
        ("/v2/a/blobs/sha256:short", 400, "DIGEST_INVALID"),
        ("/v2/a/tags", 404, "UNSUPPORTED"),
        ("/v1/search", 404, "UNSUPPORTED"),
        ("/", 404, "UNSUPPORTED"),
    ],
)
def test_malformed_paths_are_refused_with_the_registrys_code(path, status, code):
    with pytest.raises(RegistryError) as caught:
        route(path)
    assert (caught.value.http_status, caught.value.code) == (status, code)


@given(st.text(max_size=200))
def test_no_path_breaks_the_reader(text):
    with contextlib.suppress(RegistryError):
        assert ".." not in route(f"/v2/{text}").name.split("/")


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (None, None),
        ("bytes=0-3", (0, 4)),
        ("bytes=4-", (4, 10)),
        ("bytes=-3", (7, 10)),
        ("bytes=2-99", (2, 10)),
        ("bytes=-99", (0, 10)),
        ("bytes=0-1,3-4", None),
        ("items=0-1", None),
        ("bytes=-", None),
        ("", None),
    ],
)
def test_ranges_are_read_as_http_has_them(header, found):
    assert byte_range(header, 10) == found


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=99-100", "bytes=5-2", "bytes=-0"])
def test_a_range_outside_is_not_satisfiable(header):
    with pytest.raises(RegistryError) as caught:
        byte_range(header, 10)
    assert caught.value.http_status == 416
    assert ("Content-Range", "bytes */10") in caught.value.headers


@pytest.mark.parametrize(
    ("headers", "taken"),
    [
        ([], True),
        (["*/*"], True),
        (["application/*"], True),
        (["text/html, application/json"], False),
        (["application/json", "application/x;q=0.5"], True),
        (["APPLICATION/X"], True),
    ],
)
def test_accept_is_read_over_all_its_headers(headers, taken):
    assert accepts(headers, "application/x") is taken


def test_conditions_name_content_by_digest():
    assert matches(f'"{DIGEST}"', DIGEST)
    assert matches(f'W/"{DIGEST}", "other"', DIGEST)
    assert matches("*", DIGEST)
    assert not matches('"other"', DIGEST)
    assert not matches(None, DIGEST)


def test_basic_credentials_keep_colons_and_slashes():
    header = "Basic " + base64.b64encode(b"org/id:a:b").decode()
    assert basic_credentials(header) == ("org/id", "a:b")
    assert basic_credentials("Bearer x") is None
    for bad in (
        "Basic !!!",
        "Basic " + base64.b64encode(b"nocolon").decode(),
        "Basic " + base64.b64encode(b"\xff:").decode(),
    ):
        with pytest.raises(ValueError, match="Basic credentials"):
            basic_credentials(bad)
