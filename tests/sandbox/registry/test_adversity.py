"""A remote repository when things go wrong in the middle: credentials that end, hostile upstreams, full disks, crowds."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import os
import resource
import secrets
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import httpx
import pytest

from cgrunbook.sandbox import process
from cgrunbook.sandbox.registry.images import SampleRepository, digest_of, sample_repositories
from tests.waiting import wait_for

from .conftest import INDEX, MANIFEST, PROJECT

BASE = "example.com/chainguard-base"
BLOB_HOST = "9236a389bd48b984df91adc1bc924620.r2.cloudflarestorage.com"
SAMPLES = sample_repositories()


def name():
    return f"r{secrets.token_hex(4)}"


def error(answer):
    first = answer.json()["errors"][0]
    return answer.status_code, first["code"], first["message"]


def manifest_of(world, base, image, tag="latest"):
    index = world.get(f"{base}/{image}/manifests/{tag}").json()
    return world.get(f"{base}/{image}/manifests/{index['manifests'][0]['digest']}").json()


def fetched(world, digest):
    """How often a blob was fetched from the blob host."""
    return sum(digest in line["path"] and line["method"] == "GET" for line in world.requests(BLOB_HOST))


def published(world, content):
    """A free image's blob; its digest."""
    digest = digest_of(content)
    world.catalog.publish(SampleRepository("chainguard/large", public=True, blobs={digest: content}))
    return digest


# --- credentials that end in the middle of a pull ------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["revoked", "expired"])
def test_a_pull_token_that_ends_in_the_middle_stops_what_is_not_cached(own_world, end):
    world = own_world
    token = world.pull_token(ttl=timedelta(minutes=30))
    base = world.private("priv", token)
    manifest = manifest_of(world, base, BASE)
    first, second = manifest["layers"][:2]
    assert world.get(f"{base}/{BASE}/blobs/{first['digest']}").status_code == 200
    if end == "revoked":
        world.revoke(token)
    else:
        world.advance(minutes=31)
    refused = world.get(f"{base}/{BASE}/blobs/{second['digest']}")
    assert error(refused)[:2] == (403, "DENIED")
    assert "this typically means your upstream credentials are invalid" in error(refused)[2]
    assert world.get(f"{base}/{BASE}/blobs/{first['digest']}").status_code == 200
    assert world.get(f"{base}/{BASE}/manifests/latest").status_code == 200
    assert not list((world.running.folder / "blobs" / "incoming").iterdir())


def test_an_access_that_ends_in_the_middle_is_challenged_anew(own_world):
    world = own_world
    base = world.remote("pub")
    challenge = world.http.get(f"{base}/chainguard/go/manifests/latest").headers["www-authenticate"]
    realm = challenge.split('"')[1]
    bearer = world.http.get(realm, auth=("oauth2accesstoken", world.operator)).json()["token"]
    layer = manifest_of(world, base, "chainguard/go")["layers"][0]
    url = f"{base}/chainguard/go/blobs/{layer['digest']}"
    assert world.get(url, Authorization=f"Bearer {bearer}").status_code == 200
    world.advance(hours=1, seconds=1)
    again = world.get(url, Authorization=f"Bearer {bearer}")
    assert (again.status_code, again.headers["www-authenticate"]) == (401, challenge)
    reader = process.access_token("user:trainee@example.com", world.running.home, lifetime_seconds=60)
    assert world.get(url, Authorization=f"Bearer {reader}").status_code == 200
    world.advance(minutes=2)
    assert world.get(url, Authorization=f"Bearer {reader}").status_code == 401


# --- one name in two locations -------------------------------------------------------------------------------------------


def test_one_name_in_two_locations_keeps_two_caches_and_two_policies(world):
    repository, token = name(), world.pull_token()
    here, elsewhere = world.remote(repository), world.private(repository, token, location="europe-west1")
    layer = manifest_of(world, here, "chainguard/go")["layers"][0]["digest"]
    before = fetched(world, layer)
    for base in (here, here, elsewhere, elsewhere):
        assert world.get(f"{base}/chainguard/go/blobs/{layer}").status_code == 200
    assert fetched(world, layer) == before + 2

    reader = process.access_token("user:near@example.com", world.running.home)
    policy = {"bindings": [{"role": "roles/artifactregistry.reader", "members": ["user:near@example.com"]}]}
    path = f"/v1/projects/{PROJECT}/locations/europe-west1/repositories/{repository}:setIamPolicy"
    world.google("POST", "artifactregistry", path, {"policy": policy})
    for base, status in ((here, 403), (elsewhere, 200)):
        answer = world.get(f"{base}/chainguard/go/blobs/{layer}", Authorization=f"Bearer {reader}")
        assert answer.status_code == status

    assert world.get(f"{here}/{BASE}/manifests/latest").status_code == 403  # the credentials are the other one's
    assert world.get(f"{elsewhere}/{BASE}/manifests/latest").status_code == 200
    world.google(
        "DELETE", "artifactregistry", f"/v1/projects/{PROJECT}/locations/us-central1/repositories/{repository}"
    )
    assert world.get(f"{here}/chainguard/go/blobs/{layer}").status_code == 404
    assert world.get(f"{elsewhere}/chainguard/go/blobs/{layer}").status_code == 200
    assert fetched(world, layer) == before + 2


# --- an upstream that does as it likes -----------------------------------------------------------------------------------


class Hostile(BaseHTTPRequestHandler):
    """An upstream that misbehaves as the first part of the image's name says."""

    protocol_version = "HTTP/1.1"
    index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": []}).encode()
    large = hashlib.shake_256(b"large").digest(16 << 20)
    asked: ClassVar[list[str]] = []
    halfway = threading.Event()
    go_on = threading.Event()
    away = threading.Event()

    def do_GET(self):
        self.asked.append(self.path)
        kind, _, rest = self.path.removeprefix("/v2/").partition("/")
        with contextlib.suppress(OSError):
            if self.away.is_set():
                self.answer(b"{}", status=503)
            else:
                getattr(self, kind.replace("-", "_"))(rest)

    def answer(self, body, media_type=INDEX, status=200, **headers):
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        for header, value in headers.items():
            self.send_header(header.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def endless(self, size=64 << 20):
        self.send_response(200)
        self.send_header("Content-Type", INDEX)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        piece = b" " * (1 << 20)
        for _ in range(size >> 20):
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def packs(self, _rest):
        if "gzip" in self.headers.get("Accept-Encoding", ""):
            self.answer(gzip.compress(self.index), Content_Encoding="gzip")
        else:
            self.answer(self.index)

    def packs_always(self, rest):
        body = self.large if "/blobs/" in rest else self.index
        self.answer(gzip.compress(body), Content_Encoding="gzip")

    def two_challenges(self, rest):
        self.challenging(rest, ['Basic realm="x, y"', 'Bearer realm="{realm}",service="s"'])

    def one_header(self, rest):
        self.challenging(rest, ['Basic realm="x, y", Bearer realm="{realm}",service="s"'])

    def unquoted(self, rest):
        self.challenging(rest, ["bearer realm={realm} , service = s"])

    def challenging(self, rest, challenges):
        kind, host = self.path.split("/")[2], self.headers["Host"]
        if rest.startswith("token"):
            self.answer(b'{"access_token": "abc", "expires_in": "soon"}', "application/json; charset=utf-8")
        elif self.headers.get("Authorization") == "Bearer abc":
            self.answer(self.index)
        else:
            self.send_response(401)
            for challenge in challenges:
                self.send_header("WWW-Authenticate", challenge.format(realm=f"http://{host}/v2/{kind}/token"))
            self.send_header("Content-Length", "0")
            self.end_headers()

    def html(self, _rest):
        self.answer(b"<html>Please log in to this network.</html>", "text/html")

    def untyped(self, _rest):
        self.answer(self.index, "€")

    def deep(self, _rest):
        self.answer(b"[" * 1_000_000)

    def list_instead(self, _rest):
        self.answer(b"[]")

    def endless_answer(self, _rest):
        self.endless()

    def token_is_a_list(self, _rest):
        host = self.headers["Host"]
        self.answer(b"{}", status=401, WWW_Authenticate=f'Bearer realm="http://{host}/v2/list_instead/token"')

    def token_is_endless(self, _rest):
        host = self.headers["Host"]
        self.answer(b"{}", status=401, WWW_Authenticate=f'Bearer realm="http://{host}/v2/endless_answer/token"')

    def to_itself(self, _rest):
        self.answer(b"", status=307, Location=self.path)

    def to_nowhere(self, _rest):
        self.answer(b"", status=307, Location="http://[::1/")

    def moved(self, rest):
        """Wants a token, then names another path of its own, then (of a blob) another host."""
        host, given = self.headers["Host"], self.headers.get("Authorization")
        if "token" in rest:
            self.answer(b'{"token": "abc"}', "application/json")
        elif given != "Bearer abc":
            self.answer(b"{}", status=401, WWW_Authenticate=f'Bearer realm="http://{host}/v2/moved/token"')
        elif not rest.startswith("there/"):
            self.answer(b"", status=308, Location=f"/v2/moved/there/{rest}")
        elif "/blobs/" in rest:
            self.answer(b"", status=307, Location=f"http://localhost:{host.rpartition(':')[2]}/v2/blob_host/{rest}")
        else:
            self.answer(self.index)

    def blob_host(self, _rest):
        self.answer(self.large, status=400 if "Authorization" in self.headers else 200)

    def good(self, rest):
        if "/blobs/" in rest:
            self.answer(self.large, "application/octet-stream")
        elif "/tags/" in rest:
            self.answer(b'{"name": "x", "tags": ["latest"]}', "application/json")
        else:
            self.answer(self.index)

    def unsized(self, _rest):
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        self.wfile.write(self.large)

    def stalls(self, _rest):
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.large)))
        self.end_headers()
        self.wfile.write(self.large[: 1 << 20])
        self.halfway.set()
        self.go_on.wait(20)
        self.wfile.write(self.large[1 << 20 :])

    def log_message(self, *_args):
        pass


LARGE = digest_of(Hostile.large)


@pytest.fixture(scope="module")
def hostile_server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Hostile) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def hostile(hostile_server):
    for event in (Hostile.halfway, Hostile.go_on, Hostile.away):
        event.clear()
    Hostile.asked.clear()
    yield hostile_server
    Hostile.go_on.set()


@pytest.fixture
def behind(world, hostile):
    """A remote repository of the hostile upstream."""
    return world.remote(name(), commonRepository={"uri": hostile})


def test_manifests_come_unpacked(world, behind):
    answer = world.get(f"{behind}/packs/go/manifests/latest")
    assert (answer.status_code, answer.content) == (200, Hostile.index)
    assert "content-encoding" not in answer.headers
    assert answer.headers["docker-content-digest"] == digest_of(Hostile.index)
    # One that compresses for the way though nobody asked.
    assert world.get(f"{behind}/packs_always/go/manifests/latest").content == Hostile.index
    assert world.get(f"{behind}/packs_always/go/blobs/{LARGE}").content == Hostile.large


@pytest.mark.parametrize("image", ["two_challenges", "one_header", "unquoted"])
def test_a_challenge_is_understood_in_every_lawful_spelling(world, behind, image):
    assert world.get(f"{behind}/{image}/go/manifests/latest").content == Hostile.index
    assert "service=s" in next(path for path in Hostile.asked if "/token" in path)


@pytest.mark.parametrize(
    "image", ["html", "untyped", "deep", "list_instead", "endless_answer", "token_is_a_list", "token_is_endless"]
)
@pytest.mark.parametrize("path", ["manifests/latest", "tags/list", f"referrers/{LARGE}"])
def test_what_is_no_answer_of_a_registry_is_an_upstream_failure_and_not_kept(world, behind, image, path):
    if (image, path) == ("untyped", f"referrers/{LARGE}"):
        return  # an index all the same
    for _ in range(2):
        answer = world.get(f"{behind}/{image}/go/{path}")
        assert error(answer)[:2] == (502, "UNAVAILABLE")
        assert error(answer)[2].startswith("External repository returned unexpected EOF for url=")
    assert "Traceback" not in (world.running.folder / "log" / "server.log").read_text()


def test_redirects_in_a_circle_end(world, behind):
    answer = world.get(f"{behind}/to_itself/go/manifests/latest")
    assert answer.status_code == 502
    assert len(Hostile.asked) < 10


def test_a_redirection_to_no_address_is_an_upstream_failure(world, behind):
    assert error(world.get(f"{behind}/to_nowhere/go/manifests/latest"))[:2] == (502, "UNAVAILABLE")


def test_credentials_go_along_on_the_upstreams_own_host_and_to_no_other(world, behind):
    assert world.get(f"{behind}/moved/go/manifests/latest").content == Hostile.index
    assert world.get(f"{behind}/moved/go/blobs/{LARGE}").content == Hostile.large


def test_while_the_upstream_is_away_what_is_there_is_served(own_world, hostile):
    world = own_world
    base = world.remote("pub", commonRepository={"uri": hostile})
    url = f"{base}/good/go"
    assert world.get(f"{url}/manifests/latest").status_code == 200
    assert world.get(f"{url}/tags/list").json()["tags"] == ["latest"]
    assert world.get(f"{url}/blobs/{LARGE}").content == Hostile.large
    Hostile.away.set()
    before = len(Hostile.asked)
    assert world.get(f"{url}/manifests/latest").content == Hostile.index  # fresh: nobody is asked
    assert world.get(f"{url}/manifests/{digest_of(Hostile.index)}").content == Hostile.index
    assert world.get(f"{url}/blobs/{LARGE}").content == Hostile.large
    assert len(Hostile.asked) == before
    world.advance(hours=2)
    assert world.get(f"{url}/manifests/latest").content == Hostile.index  # stale: somebody was asked
    assert world.get(f"{url}/tags/list").json()["tags"] == ["latest"]
    assert len(Hostile.asked) == before + 2
    gone = world.get(f"{url}/manifests/other")
    assert error(gone)[0] == 502
    assert error(gone)[2].startswith("Received invalid http status code 503 from external repository; url=")


def test_clients_that_cancel_at_once_cost_one_fetch_and_the_next_gets_it_whole(world, behind):
    url = f"{behind}/stalls/go/blobs/{LARGE}"
    begun = threading.Barrier(2)

    def cancel(_number):
        headers = {"Authorization": f"Bearer {world.operator}"}
        with httpx.Client(timeout=20, trust_env=False) as client, client.stream("GET", url, headers=headers) as answer:
            assert next(answer.iter_raw(1000)) == Hostile.large[:1000]
            begun.wait(20)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(cancel, range(2)))
    Hostile.go_on.set()
    assert world.get(url).content == Hostile.large
    assert len([path for path in Hostile.asked if "/blobs/" in path]) == 1


# --- the disk ------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="prlimit is Linux's")
def test_a_full_disk_while_caching_breaks_the_pull_and_nothing_else(own_world, hostile):
    """The server's files may not grow: what write(2) says then is what it says of a full disk, by another number."""
    world = own_world
    base = world.remote("pub", commonRepository={"uri": hostile})
    before = resource.prlimit(world.running.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(world.running.pid, resource.RLIMIT_FSIZE, (8 << 20, before[1]))
    with pytest.raises(httpx.RemoteProtocolError):
        world.get(f"{base}/good/go/blobs/{LARGE}")
    refused = world.get(f"{base}/unsized/go/blobs/{LARGE}")
    assert error(refused)[:2] == (503, "UNAVAILABLE")
    assert "The sandbox cannot keep the blob" in error(refused)[2]
    wait_for(lambda: not list((world.running.folder / "blobs" / "incoming").iterdir()))
    assert world.get(f"{base}/good/go/manifests/latest").status_code == 200
    resource.prlimit(world.running.pid, resource.RLIMIT_FSIZE, before)
    for image in ("good", "unsized"):
        assert world.get(f"{base}/{image}/go/blobs/{LARGE}").content == Hostile.large
    assert "could not be kept" in (world.running.folder / "log" / "server.log").read_text()


def test_a_blob_that_lost_its_end_on_disk_is_fetched_again(world):
    base = world.remote(name())
    digest = published(world, content := secrets.token_bytes(100_000))
    url = f"{base}/chainguard/large/blobs/{digest}"
    assert world.get(url).content == content
    hexadecimal = digest.removeprefix("sha256:")
    file = world.running.folder / "blobs" / "sha256" / hexadecimal[:2] / hexadecimal
    os.truncate(file, 50_000)
    assert world.get(url).content == content
    file.unlink()
    assert world.get(url).content == content
    assert fetched(world, digest) == 3


def test_kills_in_the_middle_of_caching_leave_only_whole_blobs(own_world):
    """Four clients pull large blobs; each time some bytes are there, the server is killed and started again."""
    world = own_world
    contents = {digest_of(content): content for content in (secrets.token_bytes(24 << 20) for _ in range(4))}
    world.catalog.publish(SampleRepository("chainguard/large", public=True, blobs=contents))
    base = world.remote("pub")
    folder = world.running.folder / "blobs"

    def pull(digest):
        with contextlib.suppress(httpx.TransportError):
            answer = world.get(f"{base}/chainguard/large/blobs/{digest}")
            assert (answer.status_code, digest_of(answer.content)) == (200, digest)

    def some_bytes_came():
        return sum(file.stat().st_size for file in (folder / "incoming").glob("*")) > secrets.randbelow(64 << 20)

    running = world.running
    for _ in range(4):
        with ThreadPoolExecutor(4) as pool:
            pulls = [pool.submit(pull, digest) for digest in contents]
            with contextlib.suppress(FileNotFoundError):  # a blob became whole while we looked at it
                wait_for(lambda: some_bytes_came() or all(one.done() for one in pulls))  # noqa: B023 - waited for here
            os.kill(running.pid, signal.SIGKILL)
            for one in pulls:
                one.result()
        running = process.start(running.home, iam_delay=0, agent_delay=0)
        assert running.hosts == world.running.hosts
        for file in (folder / "sha256").glob("*/*"):
            assert hashlib.sha256(file.read_bytes()).hexdigest() == file.name
    for digest, content in contents.items():
        assert world.get(f"{base}/chainguard/large/blobs/{digest}").content == content
    assert not list((folder / "incoming").iterdir())


# --- much of everything --------------------------------------------------------------------------------------------------


def test_a_header_of_a_thousand_ranges_gets_the_blob_once(world):
    base = world.remote(name())
    digest = published(world, content := secrets.token_bytes(100_000))
    url = f"{base}/chainguard/large/blobs/{digest}"
    for header in ("bytes=" + ",".join(["0-"] * 1000), "bytes=0-0,-1", "lines=1-2", "bytes=1-2-3", "bytes"):
        answer = world.get(url, Range=header)
        assert (answer.status_code, len(answer.content)) == (200, len(content))
    for header in ("bytes=100000-", "bytes=5-2", "bytes=-0", f"bytes={'9' * 50}-"):
        answer = world.get(url, Range=header)
        assert (answer.status_code, answer.headers["content-range"]) == (416, f"bytes */{len(content)}")
    for header, part in (("bytes=-1", content[-1:]), (f"bytes=7-{'9' * 50}", content[7:]), ("bytes=0-0", content[:1])):
        answer = world.get(url, Range=header)
        assert (answer.status_code, answer.content) == (206, part)
    stale = world.get(url, Range="bytes=0-0", If_Range='"sha256:other"')
    assert (stale.status_code, len(stale.content)) == (200, len(content))
    assert fetched(world, digest) == 1


def test_ten_thousand_tags_are_listed_in_pages_on_both_sides(own_world):
    world = own_world
    index = SAMPLES[BASE].tags["latest"]
    image = f"example.com/{name()}"
    tags = {f"v{number:05}": index for number in range(10_000)}
    world.catalog.publish(SampleRepository(image, public=False, tags=tags, manifests=SAMPLES[BASE].manifests))
    token = world.pull_token()
    base = world.private(name(), token)
    host = base.partition("/v2/")[0]
    bearer = world.token(image, token.auth)

    def listed(url, headers):
        found, path = [], url
        while path:
            answer = world.http.get(path, headers=headers)
            found += answer.json()["tags"]
            following = answer.links.get("next", {}).get("url")
            path = following and (url.partition("/v2/")[0] + following)
        return found

    operator = {"Authorization": f"Bearer {world.operator}"}
    assert listed(f"{world.cgr}/v2/{image}/tags/list?n=3000", bearer) == sorted(tags)
    assert listed(f"{base}/{image}/tags/list?n=3000", operator) == sorted(tags)
    assert world.http.get(f"{host}/v2/", headers=operator).status_code == 200
    assert world.get(f"{base}/{image}/manifests/v09999").headers["docker-content-digest"] == index


def test_a_manifest_of_nearly_four_mebibytes_passes_and_a_larger_one_does_not(world):
    base = world.remote(name())
    for size, status in (((4 << 20) - 100, 200), (4 << 20, 502)):
        content = json.dumps({"mediaType": MANIFEST, "annotations": {"a": "x" * (size - 80)}}).encode().ljust(size + 1)
        digest = digest_of(content)
        document = SAMPLES[BASE].manifests[SAMPLES[BASE].tags["latest"]].__class__(MANIFEST, content, digest)
        world.catalog.publish(SampleRepository("chainguard/wide", public=True, manifests={digest: document}))
        answer = world.get(f"{base}/chainguard/wide/manifests/{digest}")
        assert answer.status_code == status
        assert status != 200 or answer.content == content


@pytest.mark.parametrize(
    "image", ["chainguard/../../etc", "chainguard/go%2f..%2f..", "CHAINGUARD/Go", "a" * 256, "chainguard//go", "x/y\x00z",
              "chainguard/go;id", "-x/-y", "%f0%9f%92%a9/go"]
)  # fmt: skip
def test_hostile_names_reach_neither_the_upstream_nor_the_disk(world, behind, image):
    request = httpx.Request("GET", behind, headers={"Authorization": f"Bearer {world.operator}"})
    target = f"{behind.partition('127.0.0.1')[2].partition('/')[2]}/{image}/manifests/latest"
    request.url = request.url.copy_with(raw_path=b"/" + target.encode("latin-1").replace(b"\0", b"%00"))
    answer = world.http.send(request)
    assert 400 <= answer.status_code < 500
    assert Hostile.asked == []
    made = {path.name for path in world.running.home.rglob("*")}
    assert made.isdisjoint(["chainguard", "etc", "go", "Go", "CHAINGUARD", "go;id", "-x", "-y", "x", "manifests"])
