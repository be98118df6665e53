"""Blobs on disk."""

from __future__ import annotations

import asyncio
import hashlib
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cgrunbook.sandbox.registry import blobs
from cgrunbook.sandbox.registry.blobs import BlobStore, DigestMismatch, read


def collect(descriptor, start, end):
    async def all_of_it():
        return [piece async for piece in read(descriptor, start, end)]

    return asyncio.run(all_of_it())


def test_a_blob_is_found_under_its_digest(tmp_path):
    store = BlobStore(tmp_path)
    digest = store.put(b"hello")
    assert digest == f"sha256:{hashlib.sha256(b'hello').hexdigest()}"
    assert store.size(digest) == 5
    assert store.path(digest).read_bytes() == b"hello"


@pytest.mark.parametrize(
    "digest", ["sha256:../../etc/passwd", "sha256:" + "A" * 64, "md5:" + "a" * 32, "", "sha256:" + "a" * 63]
)
def test_no_name_from_outside_becomes_a_path(tmp_path, digest):
    with pytest.raises(ValueError, match="not a sha256 digest"):
        BlobStore(tmp_path).path(digest)


def test_a_blob_with_another_digest_than_announced_is_not_kept(tmp_path):
    store = BlobStore(tmp_path)
    writer = store.writer()
    writer.write(b"something else")
    with pytest.raises(DigestMismatch):
        writer.keep("sha256:" + "0" * 64)
    writer.close()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_what_a_killed_process_left_is_swept_and_never_seen(tmp_path):
    store = BlobStore(tmp_path)
    writer = store.writer()
    writer.write(b"half")
    assert BlobStore(tmp_path).sweep() == 1
    writer.close()
    assert BlobStore(tmp_path).sweep() == 0


def test_a_reader_keeps_its_content_while_the_blob_is_written_again(tmp_path):
    store = BlobStore(tmp_path)
    digest = store.put(b"same" * 1000)
    descriptor = os.open(store.path(digest), os.O_RDONLY)
    store.put(b"same" * 1000)
    assert b"".join(collect(descriptor, 0, 4000)) == b"same" * 1000
    os.close(descriptor)


@settings(max_examples=30)
@given(st.binary(min_size=1, max_size=5000), st.data())
def test_any_range_is_read_exactly(tmp_path_factory, content, data):
    start = data.draw(st.integers(0, len(content)))
    end = data.draw(st.integers(start, len(content)))
    path = tmp_path_factory.mktemp("blob") / "blob"
    path.write_bytes(content)
    descriptor = os.open(path, os.O_RDONLY)
    assert b"".join(collect(descriptor, start, end)) == content[start:end]
    os.close(descriptor)


def test_a_large_blob_comes_in_bounded_pieces(tmp_path):
    path = tmp_path / "blob"
    path.write_bytes(bytes(3 * blobs.CHUNK + 7))
    descriptor = os.open(path, os.O_RDONLY)
    pieces = collect(descriptor, 0, 3 * blobs.CHUNK + 7)
    os.close(descriptor)
    assert max(map(len, pieces)) <= blobs.CHUNK
    assert sum(map(len, pieces)) == 3 * blobs.CHUNK + 7


@pytest.mark.parametrize("nowait", [0, blobs._NOWAIT])
def test_a_file_that_ends_too_early_is_an_error_and_no_short_answer(tmp_path, monkeypatch, nowait):
    monkeypatch.setattr(blobs, "_NOWAIT", nowait)
    path = tmp_path / "blob"
    path.write_bytes(b"short")
    descriptor = os.open(path, os.O_RDONLY)
    with pytest.raises(OSError, match="ends at 5 bytes"):
        collect(descriptor, 0, 9)
    os.close(descriptor)
