"""The verified pull, against a registry that misbehaves and against one that nobody here wrote."""

from __future__ import annotations

import hashlib
import json
import os
import threading

import pytest

from cgrunbook.cloud.attempts import Attempts
from cgrunbook.cloud.connection import RegistryHost
from cgrunbook.cloud.registry import Registry
from cgrunbook.errors import DigestMismatch, ImageNotAvailable, Interrupted, RegistryError, Temporary
from cgrunbook.image_reference import Platform

AMD64 = Platform("linux/amd64")
OCI = "application/vnd.oci.image"
LAYER = os.urandom(900_000)


def sha256(body):
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


def manifest_of(double, repository="chainguard/go", tag="only-amd64"):
    return json.loads(double.manifests[repository, tag][1])


@pytest.mark.parametrize("docker", [False, True])
def test_every_byte_of_the_platform_is_fetched_and_counted(double, connect, docker):
    index = double.put_index(docker=docker, amd64=(LAYER, b"small"), arm64=(b"other",))
    pulled = connect().pull("chainguard/go", "latest", AMD64)
    manifest = double.manifests["chainguard/go", "only-amd64"][1]
    config = manifest_of(double)["config"]
    assert pulled.digest == pulled.index_digest == index["digest"]
    assert pulled.manifest_digest == sha256(manifest)
    assert pulled.config_digest == config["digest"]
    assert [layer.digest for layer in pulled.layers] == [sha256(LAYER), sha256(b"small")]
    assert pulled.bytes == index["size"] + len(manifest) + config["size"] + len(LAYER) + len(b"small")
    assert len(double.log) == 5
    assert double.asked(sha256(b"other")) == []


@pytest.mark.parametrize(
    "layers", [(LAYER, b"small"), (b"x",), (os.urandom(30),) * 3, (b"",), tuple(b"%d" % n for n in range(40))]
)
def test_a_proof_and_a_second_time_fetch_at_most_a_twentieth_more_than_the_image(double, connect, layers):
    double.put_index(amd64=layers)
    registry = connect()
    pulled = registry.pull("chainguard/go", "latest", AMD64)
    again = registry.pull_again("chainguard/go", "latest", pulled)
    assert again.digest == pulled.digest
    assert pulled.bytes <= double.sent <= 1.05 * pulled.bytes


def test_the_second_time_resolves_the_tag_and_waits_for_one_byte_of_the_largest_layer(double, connect):
    double.put_index(amd64=(b"small", LAYER, b"other"))
    registry = connect()
    pulled = registry.pull("chainguard/go", "latest", AMD64)
    known = len(double.log)
    registry.pull_again("chainguard/go", "latest", pulled)
    tag, layer = double.log[known:]
    assert (tag.method, tag.path) == ("HEAD", "/v2/chainguard/go/manifests/latest")
    assert (layer.method, layer.path) == ("GET", f"/v2/chainguard/go/blobs/{sha256(LAYER)}")
    assert layer.headers["range"] == "bytes=0-0"


def test_a_tag_that_moved_meanwhile_is_seen_the_second_time(double, connect):
    double.put_index(amd64=(LAYER,))
    registry = connect()
    pulled = registry.pull("chainguard/go", "latest", AMD64)
    moved = double.put_image()
    assert registry.pull_again("chainguard/go", "latest", pulled).digest == moved["digest"] != pulled.digest


def test_a_registry_without_ranges_is_left_after_the_first_bytes(double, connect):
    double.put_index(amd64=(LAYER,))
    registry = connect()
    pulled = registry.pull("chainguard/go", "latest", AMD64)
    double.ranges, known = False, len(double.log)
    registry.pull_again("chainguard/go", "latest", pulled)
    assert len(double.log) == known + 2
    assert registry.resolve("chainguard/go", "latest").digest == pulled.digest


def test_a_layer_that_is_gone_the_second_time_says_which(double, connect):
    double.put_index(amd64=(LAYER,))
    registry = connect()
    pulled = registry.pull("chainguard/go", "latest", AMD64)
    del double.blobs[sha256(LAYER)]
    with pytest.raises(ImageNotAvailable, match="BLOB_UNKNOWN"):
        registry.pull_again("chainguard/go", "latest", pulled)


def test_a_single_manifest_is_an_image_too(double, connect):
    image = double.put_image()
    pulled = connect().pull("chainguard/go", "latest", AMD64)
    assert (pulled.index_digest, pulled.digest) == ("", image["digest"])


def test_an_image_is_pulled_by_its_digest(double, connect):
    index = double.put_index()
    assert connect().pull("chainguard/go", index["digest"], AMD64).digest == index["digest"]


def test_a_layer_that_is_used_twice_comes_once(double, connect):
    double.put_image(layers=(LAYER, LAYER, b""))
    pulled = connect().pull("chainguard/go", "latest", AMD64)
    assert len(pulled.layers) == 3
    assert len(double.asked(f"GET /v2/chainguard/go/blobs/{sha256(LAYER)}")) == 1


def test_progress_ends_with_all_bytes_and_comes_in_the_calling_thread(double, connect):
    double.put_index(amd64=(LAYER, b"small"))
    seen = []
    threads = set()

    def progress(now):
        threads.add(threading.current_thread())
        seen.append(now)

    connect().pull("chainguard/go", "latest", AMD64, progress)
    assert threads == {threading.current_thread()}
    assert seen[-1].done == seen[-1].size == len(LAYER) + len(b"small")
    assert [entry.done for entry in seen[-1].layers] == [len(LAYER), len(b"small")]
    assert [now.done for now in seen] == sorted(now.done for now in seen)


def test_an_error_in_the_progress_stops_the_pull(double, connect):
    double.put_index(amd64=(LAYER,))

    def progress(_now):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        connect().pull("chainguard/go", "latest", AMD64, progress)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("pull-")]


def test_a_platform_that_is_missing_is_named_with_those_that_are_there(double, connect):
    double.put_index()
    with pytest.raises(ImageNotAvailable, match=r"linux/s390x; the platforms there: linux/amd64, linux/arm64"):
        connect().pull("chainguard/go", "latest", Platform("linux/s390x"))


def test_a_single_manifest_of_another_platform_is_noticed_before_its_layers_come(double, connect):
    double.put_image(layers=(LAYER,), architecture="arm64")
    with pytest.raises(ImageNotAvailable, match=r"linux/amd64; the platforms there: linux/arm64"):
        connect().pull("chainguard/go", "latest", AMD64)
    assert double.asked(sha256(LAYER)) == []


def test_a_layer_with_other_bytes_is_a_mismatch(double, connect):
    double.put_index(amd64=(LAYER,))
    double.blobs[sha256(LAYER)] = bytes(len(LAYER))
    with pytest.raises(DigestMismatch, match=sha256(bytes(len(LAYER)))):
        connect().pull("chainguard/go", "latest", AMD64)


@pytest.mark.parametrize("stored", [LAYER[:-1], LAYER + b"x", b""])
def test_a_layer_of_another_size_is_noticed_before_it_is_read(double, connect, waits, stored):
    double.put_index(amd64=(LAYER,))
    double.blobs[sha256(LAYER)] = stored
    with pytest.raises(DigestMismatch, match=f"the manifest says {len(LAYER)} bytes, the registry has {len(stored)}"):
        connect().pull("chainguard/go", "latest", AMD64)
    assert waits == []


def test_a_layer_without_a_length_is_not_read_beyond_its_size(double, connect):
    double.put_index(amd64=(LAYER,))

    def endless(request):
        request.send_response(200)
        request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        block = b"40000\r\n" + bytes(0x40000) + b"\r\n"
        for _ in range(10_000):
            request.wfile.write(block)

    double.twist(f"GET .*{sha256(LAYER)}", endless)
    with pytest.raises(DigestMismatch, match="or more"):
        connect().pull("chainguard/go", "latest", AMD64)


def test_a_layer_in_chunks_is_read_to_its_end(double, connect):
    double.put_index(amd64=(LAYER,))

    def chunked(request):
        request.send_response(200)
        request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        for start in range(0, len(LAYER), 100_000):
            piece = LAYER[start : start + 100_000]
            request.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        request.wfile.write(b"0\r\n\r\n")

    double.twist(f"GET .*{sha256(LAYER)}", chunked)
    assert connect().pull("chainguard/go", "latest", AMD64).layers


def test_a_broken_layer_goes_on_where_it_broke(double, connect):
    double.put_index(amd64=(LAYER,))
    double.twist(f"GET .*{sha256(LAYER)}", lambda request: request.short(LAYER[:600_000], len(LAYER)))
    connect().pull("chainguard/go", "latest", AMD64)
    requests = double.asked(f"GET /v2/chainguard/go/blobs/{sha256(LAYER)}")
    assert [seen.headers.get("range") for seen in requests] == [None, "bytes=600000-"]


def test_a_reset_in_the_middle_of_a_layer_is_survived(double, connect):
    double.put_index(amd64=(LAYER,))
    double.twist(f"GET .*{sha256(LAYER)}", lambda request: request.reset(LAYER[:600_000], len(LAYER)), times=3)
    assert connect().pull("chainguard/go", "latest", AMD64).layers


def test_a_registry_without_ranges_sends_the_layer_again(double, connect):
    double.put_index(amd64=(LAYER,))
    double.ranges = False
    double.twist(f"GET .*{sha256(LAYER)}", lambda request: request.short(LAYER[:600_000], len(LAYER)))
    connect().pull("chainguard/go", "latest", AMD64)
    assert len(double.asked(sha256(LAYER))) == 2


def test_a_range_of_other_bytes_is_not_joined(double, connect):
    double.put_index(amd64=(LAYER,))
    double.twist(f"GET .*{sha256(LAYER)}", lambda request: request.short(LAYER[:600_000], len(LAYER)))
    double.twist(
        f"GET .*{sha256(LAYER)}",
        lambda request: request.reply(206, LAYER, Content_Range=f"bytes 0-{len(LAYER) - 1}/{len(LAYER)}"),
    )
    assert connect().pull("chainguard/go", "latest", AMD64).layers


def test_a_resumed_layer_that_does_not_fit_is_fetched_once_more_whole(double, connect):
    double.put_index(amd64=(LAYER,))

    def lying(request):
        start = int(request.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        rest = bytes(len(LAYER) - start)
        request.reply(206, rest, Content_Range=f"bytes {start}-{len(LAYER) - 1}/{len(LAYER)}")

    path = f"GET .*{sha256(LAYER)}"
    double.twist(path, lambda request: request.short(LAYER[:600_000], len(LAYER)))
    double.twist(path, lying)
    connect().pull("chainguard/go", "latest", AMD64)
    assert "range" in double.asked(sha256(LAYER))[1].headers
    assert "range" not in double.asked(sha256(LAYER))[2].headers


def test_ranges_that_always_lie_end_in_a_mismatch(double, connect):
    double.put_index(amd64=(LAYER,))

    def lying(request):
        if "Range" not in request.headers:
            request.short(LAYER[:600_000], len(LAYER))
            return
        start = int(request.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        rest = bytes(len(LAYER) - start)
        request.reply(206, rest, Content_Range=f"bytes {start}-{len(LAYER) - 1}/{len(LAYER)}")

    double.twist(f"GET .*{sha256(LAYER)}", lying, times=-1)
    with pytest.raises(DigestMismatch):
        connect().pull("chainguard/go", "latest", AMD64)


def test_a_layer_that_always_breaks_at_once_ends_as_temporary(double, connect, waits):
    double.put_index(amd64=(LAYER,))
    double.twist(f"GET .*{sha256(LAYER)}", lambda request: request.reset(b"x", len(LAYER)), times=-1)
    hurried = Attempts(limit=0.2, first=0.01, longest=0.05, on_wait=waits.append)
    with pytest.raises(Temporary, match="connection"):
        connect(with_attempts=hurried).pull("chainguard/go", "latest", AMD64)
    assert waits


def test_a_link_that_breaks_often_still_gets_to_the_end(double, connect):
    layer = os.urandom(3_000_000)
    double.put_index(amd64=(layer,))

    def stumbling(request):
        start = int(request.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        body = layer[start : start + 400_000]
        rest = len(layer) - start
        where = {"Content_Range": f"bytes {start}-{len(layer) - 1}/{len(layer)}"} if start else {}
        request.short(body, rest, 206 if start else 200, **where) if len(body) < rest else request.reply(
            206, body, **where
        )

    double.twist(f"GET .*{sha256(layer)}", stumbling, times=-1)
    connect().pull("chainguard/go", "latest", AMD64)
    assert sum("range" in seen.headers for seen in double.log) >= 7


def test_a_registry_without_ranges_whose_layer_always_breaks_is_not_tried_for_ever(double, connect):
    double.put_index(amd64=(LAYER,))
    double.ranges = False
    double.twist(f"GET .*{sha256(LAYER)}", lambda request: request.short(LAYER[:600_000], len(LAYER)), times=-1)
    with pytest.raises(Temporary, match="600000 bytes read"):
        connect(with_attempts=Attempts(limit=0.2, first=0.01, longest=0.05)).pull("chainguard/go", "latest", AMD64)


@pytest.mark.parametrize("begin", [0, 600_000], ids=["from the start", "after a good part"])
def test_a_layer_that_drips_ends(double, connect, begin):
    double.put_index(amd64=(LAYER,))
    over = threading.Event()

    def drip(request):
        start = int(request.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        where = {"Content_Range": f"bytes {start}-{len(LAYER) - 1}/{len(LAYER)}"} if start else {}
        first = start or begin
        request.begin(LAYER[start:first], len(LAYER) - start, 206 if start else 200, **where)
        while not over.wait(0.02):
            first += 1
            request.wfile.write(LAYER[first - 1 : first])

    double.twist(f"GET .*{sha256(LAYER)}", drip, times=-1)
    try:
        with pytest.raises(Temporary, match="too slow"):
            connect(with_attempts=Attempts(limit=0.3, first=0.01, longest=0.05), timeout=0.1).pull(
                "chainguard/go", "latest", AMD64
            )
    finally:
        over.set()


def test_a_token_that_ends_in_the_middle_of_a_pull_is_renewed(double, connect):
    double.wants_a_token()
    double.put_index(amd64=(LAYER, b"small", b"other"))

    def expire(request):
        double.tokens.clear()
        double._ask(request, "chainguard/go")

    double.twist(f"GET .*{sha256(LAYER)}", expire)
    pulled = connect(double.credentials()).pull("chainguard/go", "latest", AMD64)
    assert len(pulled.layers) == 3
    assert double.exchanges >= 2


def test_credentials_revoked_in_the_middle_of_a_pull_are_called_refused(double, connect):
    double.wants_a_token()
    double.put_index(amd64=(LAYER,))
    credentials = double.credentials()

    def revoke(request):
        double.tokens.clear()
        double.password = "another"
        double._ask(request, "chainguard/go")

    double.twist(f"GET .*{sha256(LAYER)}", revoke)
    with pytest.raises(RegistryError, match="token endpoint answered 403"):
        connect(credentials).pull("chainguard/go", "latest", AMD64)


def test_a_missing_layer_says_which(double, connect):
    double.put_index(amd64=(LAYER,))
    del double.blobs[sha256(LAYER)]
    with pytest.raises(ImageNotAvailable, match=f"chainguard/go@{sha256(LAYER)}.*BLOB_UNKNOWN"):
        connect().pull("chainguard/go", "latest", AMD64)


def test_cancelling_stops_a_pull_that_waits_for_bytes(double, connect):
    double.put_index(amd64=(LAYER,))
    cancelled, begun, ended = threading.Event(), threading.Event(), threading.Event()

    def stall(request):
        request.begin(LAYER[:300_000], len(LAYER))
        begun.set()
        ended.wait(60)
        request.close_connection = True

    double.twist(f"GET .*{sha256(LAYER)}", stall)

    def progress(_now):
        if begun.is_set():
            cancelled.set()

    try:
        with pytest.raises(Interrupted):
            connect(with_attempts=Attempts(cancelled=cancelled), timeout=50).pull(
                "chainguard/go", "latest", AMD64, progress
            )
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("pull-")]
    finally:
        ended.set()


def test_a_registry_that_falls_silent_is_temporary(double, connect, waits):
    double.put_index(amd64=(LAYER,))
    ended = threading.Event()

    def stall(request):
        request.begin(LAYER[:600_000], len(LAYER))
        ended.wait(60)
        request.close_connection = True

    double.twist(f"GET .*{sha256(LAYER)}", stall)
    try:
        connect(timeout=0.3).pull("chainguard/go", "latest", AMD64)
    finally:
        ended.set()
    assert ["range" in seen.headers for seen in double.asked(sha256(LAYER))] == [False, True]


def test_a_huge_manifest_is_not_read(double, connect):
    double.put_document("chainguard/go", "latest", b" " * (4 * 1024 * 1024) + b"{}", f"{OCI}.manifest.v1+json")
    with pytest.raises(RegistryError, match="larger than 4 MiB"):
        connect().pull("chainguard/go", "latest", AMD64)


def test_a_huge_manifest_of_unknown_length_is_not_read_to_its_end(double, connect):
    written = []

    def endless(request):
        request.send_response(200)
        request.send_header("Transfer-Encoding", "chunked")
        request.send_header("Content-Type", f"{OCI}.manifest.v1+json")
        request.end_headers()
        for _ in range(10_000):
            request.wfile.write(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
            written.append(0x10000)

    double.twist("GET .*manifests", endless)
    with pytest.raises(RegistryError, match="larger than 4 MiB"):
        connect().pull("chainguard/go", "latest", AMD64)
    assert sum(written) < 100 * 1024 * 1024


def test_a_manifest_that_is_not_what_its_digest_says_is_a_mismatch(double, connect):
    double.put_index()
    chosen = json.loads(double.manifests["chainguard/go", "latest"][1])["manifests"][0]["digest"]
    kind, body = double.manifests["chainguard/go", chosen]
    double.manifests["chainguard/go", chosen] = (kind, body + b" ")
    with pytest.raises(DigestMismatch, match=chosen):
        connect().pull("chainguard/go", "latest", AMD64)


def test_an_index_that_gives_a_manifest_another_size_is_a_mismatch(double, connect):
    image = double.put_image(tag="one")
    entry = {**image, "size": image["size"] + 1, "platform": {"os": "linux", "architecture": "amd64"}}
    double.put_document("chainguard/go", "latest", {"schemaVersion": 2, "manifests": [entry]}, f"{OCI}.index.v1+json")
    with pytest.raises(DigestMismatch, match="the index says"):
        connect().pull("chainguard/go", "latest", AMD64)


def test_a_layer_with_two_sizes_is_a_mismatch(double, connect):
    double.put_image(layers=(LAYER, LAYER))
    document = manifest_of(double, tag="latest")
    document["layers"][1]["size"] += 1
    double.put_document("chainguard/go", "latest", document, document["mediaType"])
    with pytest.raises(DigestMismatch, match="two sizes"):
        connect().pull("chainguard/go", "latest", AMD64)


def test_a_config_larger_than_any_is_not_fetched(double, connect):
    double.put_image()
    document = manifest_of(double, tag="latest")
    document["config"]["size"] = 100 * 1024 * 1024
    double.put_document("chainguard/go", "latest", document, document["mediaType"])
    with pytest.raises(RegistryError, match="config of 104857600 bytes"):
        connect().pull("chainguard/go", "latest", AMD64)


def test_an_index_in_an_index_is_followed_and_a_deeper_one_is_not(double, connect):
    image = double.put_image(tag="one")
    entry = {**image, "platform": {"os": "linux", "architecture": "amd64"}}
    for depth, tag in enumerate(("latest", "deep", "deeper"), start=1):
        document = {"schemaVersion": 2, "mediaType": f"{OCI}.index.v1+json", "manifests": [entry]}
        made = double.put_document("chainguard/go", tag, document, f"{OCI}.index.v1+json")
        entry = {**made, "platform": {"os": "linux", "architecture": "amd64"}}
        assert connect().pull("chainguard/go", tag, AMD64).index_digest == made["digest"], depth
    double.put_document("chainguard/go", "deepest", {"schemaVersion": 2, "manifests": [entry]}, f"{OCI}.index.v1+json")
    with pytest.raises(RegistryError, match="leads to no image"):
        connect().pull("chainguard/go", "deepest", AMD64)


def test_many_layers_come_over_few_connections(double, connect):
    double.put_image(layers=tuple(os.urandom(100 + number) for number in range(40)))
    pulled = connect().pull("chainguard/go", "latest", AMD64)
    assert len(pulled.layers) == 40
    assert len(double.log) == 42


def test_a_real_registry_serves_the_same_pull(double, distribution, push, attempts):
    double.put_index(amd64=(LAYER, b"small"), arm64=(b"other",))
    digest = push(double, distribution, "chainguard/go", "latest")
    registry = Registry(RegistryHost("distribution.example", distribution, "http"), None, attempts)
    pulled = registry.pull("chainguard/go", "latest", AMD64)
    assert pulled.digest == registry.resolve("chainguard/go", "latest").digest == digest
    assert [layer.size for layer in pulled.layers] == [len(LAYER), len(b"small")]
    assert registry.pull_again("chainguard/go", "latest", pulled).digest == digest


def test_a_real_registry_serves_dockers_types_too(double, distribution, push, attempts):
    double.put_index(docker=True, amd64=(LAYER,), arm64=(b"other",))
    digest = push(double, distribution, "chainguard/go", "latest")
    registry = Registry(RegistryHost("distribution.example", distribution, "http"), None, attempts)
    assert registry.pull("chainguard/go", "latest", AMD64).digest == digest


def test_a_real_registry_says_what_it_has_not(distribution, attempts):
    registry = Registry(RegistryHost("distribution.example", distribution, "http"), None, attempts)
    with pytest.raises(ImageNotAvailable, match="404"):
        registry.resolve("chainguard/go", "latest")
