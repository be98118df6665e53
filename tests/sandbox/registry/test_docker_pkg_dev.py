"""LOCATION-docker.pkg.dev: who may pull, what a remote repository fetches, keeps and says when it cannot."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from cgrunbook.sandbox import process
from cgrunbook.sandbox.registry.images import sample_repositories

from .conftest import INDEX, MANIFEST, PROJECT, a_world

BASE = "example.com/chainguard-base"
BLOB_HOST = "9236a389bd48b984df91adc1bc924620.r2.cloudflarestorage.com"
SAMPLES = sample_repositories()


def name():
    return f"r{secrets.token_hex(4)}"


def error(answer):
    first = answer.json()["errors"][0]
    return answer.status_code, first["code"], first["message"]


def layers(world, base, image="chainguard/go", tag="latest"):
    index = world.get(f"{base}/{image}/manifests/{tag}").json()
    manifest = world.get(f"{base}/{image}/manifests/{index['manifests'][0]['digest']}").json()
    return [manifest["config"], *manifest["layers"]]


# --- who it is -----------------------------------------------------------------------------------------------------------


def test_it_challenges_as_artifact_registry_does(world):
    host = world.running.docker_host("us-central1")
    root = world.http.get(f"http://{host}/v2/")
    assert (root.status_code, root.headers["www-authenticate"]) == (401, f'Bearer realm="http://{host}/v2/token"')
    path = world.http.get(f"http://{host}/v2/{PROJECT}/r/chainguard/go/manifests/latest")
    assert path.headers["www-authenticate"] == (
        f'Bearer realm="http://{host}/v2/token",service="{host}",scope="repository:{PROJECT}/r/chainguard/go:pull"'
    )
    assert path.headers["docker-distribution-api-version"] == "registry/2.0"


@pytest.mark.parametrize("username", ["oauth2accesstoken", "_dcgcloud_token", "_dcgcr_2_1_token", "_token"])
def test_an_access_token_is_exchanged_by_get_and_by_post(world, username):
    url = f"http://{world.running.docker_host('us-central1')}/v2"
    got = world.http.get(f"{url}/token", auth=(username, world.operator))
    assert got.json()["expires_in"] == 3600
    form = {"grant_type": "password", "username": username, "password": world.operator}
    posted = world.http.post(f"{url}/token", data=form)
    for token in (got.json()["token"], posted.json()["access_token"], world.operator):
        assert world.http.get(f"{url}/", headers={"Authorization": f"Bearer {token}"}).status_code == 200
    assert world.http.get(f"{url}/", auth=(username, world.operator)).status_code == 200


@pytest.mark.parametrize("auth", [("oauth2accesstoken", "ya29.wrong"), ("somebody", None), ("_json_key", "{}")])
def test_other_credentials_are_refused(world, auth):
    url = f"http://{world.running.docker_host('us-central1')}/v2/token"
    answer = world.http.get(url, auth=(auth[0], auth[1] or world.operator))
    assert error(answer)[:2] == (401, "UNAUTHORIZED")


def test_a_registry_token_lasts_an_hour_and_is_for_its_host(world):
    url = f"http://{world.running.docker_host('us-central1')}/v2/"
    token = world.http.get(f"{url}token", auth=("oauth2accesstoken", world.operator)).json()["token"]
    headers = {"Authorization": f"Bearer {token}"}
    other = f"http://{world.running.docker_host('europe-west1')}/v2/"
    assert world.http.get(other, headers=headers).status_code == 401
    assert world.http.get(url, headers=headers).status_code == 200
    world.advance(hours=1, seconds=1)
    assert world.http.get(url, headers=headers).status_code == 401


# --- who may -------------------------------------------------------------------------------------------------------------


def test_a_stranger_is_denied_in_artifact_registrys_words(world):
    base = world.remote(repository := name())
    token = process.access_token("user:stranger@example.com", world.running.home)
    answer = world.get(f"{base}/chainguard/go/manifests/latest", Authorization=f"Bearer {token}")
    resource = f"projects/{PROJECT}/locations/us-central1/repositories/{repository}"
    permission = "artifactregistry.repositories.downloadArtifacts"
    assert error(answer) == (
        403,
        "DENIED",
        f'Permission "{permission}" denied on resource "{resource}" (or it may not exist)',
    )
    anonymous = world.http.get(base.rpartition(f"/{PROJECT}")[0] + "/token").json()["token"]
    denied = world.get(f"{base}/chainguard/go/manifests/latest", Authorization=f"Bearer {anonymous}")
    assert error(denied)[2].startswith("Unauthenticated request. Unauthenticated requests do not have permission")


def test_a_reader_of_the_repository_pulls_also_what_is_not_cached_yet(world):
    base = world.remote(repository := name())
    token = process.access_token("user:reader@example.com", world.running.home)
    policy = {"bindings": [{"role": "roles/artifactregistry.reader", "members": ["user:reader@example.com"]}]}
    path = f"/v1/projects/{PROJECT}/locations/us-central1/repositories/{repository}:setIamPolicy"
    world.google("POST", "artifactregistry", path, {"policy": policy})
    answer = world.get(f"{base}/chainguard/go/manifests/latest", Authorization=f"Bearer {token}")
    assert answer.status_code == 200


def test_what_does_not_exist_is_told_to_those_who_may_know(world):
    host = world.running.docker_host("us-central1")
    missing = world.get(f"http://{host}/v2/{PROJECT}/no-such/chainguard/go/manifests/latest")
    assert error(missing) == (404, "NAME_UNKNOWN", 'Repository "no-such" not found')
    project = world.get(f"http://{host}/v2/another-project/r/chainguard/go/manifests/latest")
    assert error(project)[:2] == (403, "DENIED")
    short = world.get(f"http://{host}/v2/{PROJECT}/r/manifests/latest")
    form = "{} should be of the form docker {} HOST-NAME/PROJECT-ID/REPOSITORY/IMAGE"
    assert error(short) == (400, "NAME_INVALID", f"Missing image name. {form.format('Pulls', 'pull')}")
    pushed = world.get(f"http://{host}/v2/{PROJECT}/r/manifests/latest", "PUT")
    assert error(pushed) == (400, "NAME_INVALID", f"Missing image name. {form.format('Pushes', 'push')}")
    # A project of a domain, example.com:my-project, is example.com/my-project in paths.
    domain = world.get(f"http://{host}/v2/example.com/my-project/r/chainguard/go/manifests/latest")
    assert '"projects/example.com:my-project/locations/us-central1/repositories/r"' in error(domain)[2]
    short = world.get(f"http://{host}/v2/example.com/my-project/r/manifests/latest")
    assert error(short)[:2] == (400, "NAME_INVALID")


def test_a_disabled_api_stops_pulls(own_world):
    base = own_world.remote("pub")
    path = f"/v1/projects/{PROJECT}/services/artifactregistry.googleapis.com:disable"
    own_world.google("POST", "serviceusage", path, {"disableDependentServices": True})
    answer = own_world.get(f"{base}/chainguard/go/manifests/latest")
    assert error(answer)[:2] == (403, "DENIED")
    assert "has not been used in project" in error(answer)[2]


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "POST"])
def test_a_remote_repository_is_read_only(world, method):
    base = world.remote(name())
    answer = world.get(f"{base}/chainguard/go/manifests/mine", method)
    deed = "deleted from" if method == "DELETE" else "uploaded to"
    assert error(answer)[:2] == (403, "DENIED")
    assert error(answer)[2].endswith(f"is a remote repository: artifacts cannot be {deed} it")


def test_who_may_not_delete_is_told_of_that_permission(world):
    base = world.remote(name())
    reader = world.inside.tokens.issue("user:reader@example.com")
    answer = world.get(f"{base}/chainguard/go/manifests/latest", "DELETE", Authorization=f"Bearer {reader}")
    assert error(answer)[:2] == (403, "DENIED")
    assert 'Permission "artifactregistry.repositories.deleteArtifacts" denied' in error(answer)[2]


def test_one_name_in_two_locations_is_two_repositories(world):
    repository = name()
    world.remote(repository, "europe-west1")
    elsewhere = f"http://{world.running.docker_host('us-central1')}/v2/{PROJECT}/{repository}"
    assert world.get(f"{elsewhere}/chainguard/go/manifests/latest").status_code == 404


# --- what is fetched and kept --------------------------------------------------------------------------------------------


def test_every_byte_is_the_upstreams(world):
    base = world.remote(name())
    for reference in ("latest", SAMPLES["chainguard/go"].tags["latest"]):
        answer = world.get(f"{base}/chainguard/go/manifests/{reference}")
        assert answer.content == SAMPLES["chainguard/go"].manifests[SAMPLES["chainguard/go"].tags["latest"]].content
        assert answer.headers["docker-content-digest"] == SAMPLES["chainguard/go"].tags["latest"]
        assert answer.headers["content-type"] == INDEX
    for part in layers(world, base):
        for _cold_then_warm in range(2):
            blob = world.get(f"{base}/chainguard/go/blobs/{part['digest']}")
            assert blob.content == SAMPLES["chainguard/go"].blobs[part["digest"]]
            assert blob.headers["content-length"] == str(part["size"])


def test_a_cached_blob_is_not_fetched_again_and_serves_ranges(world):
    base = world.remote(name())
    layer = layers(world, base)[1]
    url = f"{base}/chainguard/go/blobs/{layer['digest']}"
    whole = world.get(url).content
    before = len(world.requests(BLOB_HOST))
    part = world.get(url, Range="bytes=100-199")
    assert (part.status_code, part.content) == (206, whole[100:200])
    assert world.get(url, "HEAD").headers["content-length"] == str(len(whole))
    assert world.get(url, If_None_Match=f'"{layer["digest"]}"').status_code == 304
    assert world.get(url, Range=f"bytes={len(whole)}-").status_code == 416
    assert len(world.requests(BLOB_HOST)) == before


def test_a_range_of_an_uncached_blob_is_served(world):
    base = world.remote(name())
    layer = layers(world, base)[1]
    part = world.get(f"{base}/chainguard/go/blobs/{layer['digest']}", Range="bytes=5-9")
    assert (part.status_code, part.content) == (206, SAMPLES["chainguard/go"].blobs[layer["digest"]][5:10])


def test_parallel_pulls_of_an_uncached_image_fetch_each_blob_once(world):
    base = world.remote(name())
    parts = layers(world, base)
    start = threading.Barrier(16)

    def pull(_number):
        with httpx.Client(timeout=20, trust_env=False) as client:
            start.wait()
            for part in parts:
                blob = client.get(
                    f"{base}/chainguard/go/blobs/{part['digest']}",
                    headers={"Authorization": f"Bearer {world.operator}"},
                )
                assert f"sha256:{hashlib.sha256(blob.content).hexdigest()}" == part["digest"]

    before = len([line for line in world.requests(BLOB_HOST) if line["method"] == "GET"])
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(pull, range(16)))
    assert len([line for line in world.requests(BLOB_HOST) if line["method"] == "GET"]) - before == len(parts)


def test_a_client_that_does_not_take_indexes_gets_404(world):
    base = world.remote(name())
    url = f"{base}/chainguard/go/manifests/latest"
    assert error(world.get(url, Accept=MANIFEST))[:2] == (404, "MANIFEST_UNKNOWN")
    assert world.get(url, Accept=f"{MANIFEST}, {INDEX}").status_code == 200
    assert world.get(url, Accept="*/*").status_code == 200


def test_head_tells_what_get_would_send(world):
    base = world.remote(name())
    url = f"{base}/chainguard/go/manifests/latest"
    head = world.get(url, "HEAD")
    assert head.content == b""
    whole = world.get(url)
    for header in ("content-length", "content-type", "docker-content-digest", "etag"):
        assert head.headers[header] == whole.headers[header]
    assert world.get(url, If_None_Match=whole.headers["etag"]).status_code == 304


def test_a_tag_is_believed_for_an_hour(own_world):
    world = own_world
    base = world.private("priv", world.pull_token())
    url = f"{base}/{BASE}/manifests/latest"
    tags = SAMPLES[BASE].tags
    assert world.get(url).headers["docker-content-digest"] == tags["latest"]
    world.catalog.move_tag(BASE, "latest", tags["20261102"])
    world.advance(minutes=59)
    assert world.get(url).headers["docker-content-digest"] == tags["latest"]
    world.advance(minutes=2)
    assert world.get(url).headers["docker-content-digest"] == tags["20261102"]
    assert world.get(f"{base}/{BASE}/manifests/{tags['latest']}").status_code == 200


def test_tags_are_listed_from_the_upstream_in_pages(world):
    base = world.private(name(), world.pull_token())
    path = base.partition("/v2/")[2]
    first = world.get(f"{base}/example.com/go-fips/tags/list?n=3")
    assert first.json() == {"name": f"{path}/example.com/go-fips", "tags": ["1.25", "1.25-dev", "1.25.4"]}
    following = base.partition("/v2/")[0] + first.links["next"]["url"]
    assert world.get(following).json()["tags"] == ["latest", "latest-dev"]


def test_referrers_pass_through(world):
    base = world.remote(name())
    digest = SAMPLES["chainguard/go"].tags["latest"]
    descriptors = world.get(f"{base}/chainguard/go/referrers/{digest}").json()["manifests"]
    assert len(descriptors) == 2  # an SBOM and a signature
    for descriptor in descriptors:
        referrer = world.get(f"{base}/chainguard/go/manifests/{descriptor['digest']}").json()
        assert referrer["subject"]["digest"] == digest


def test_a_repository_that_is_made_anew_begins_empty(own_world):
    world = own_world
    base = world.remote("pub")
    layer = layers(world, base)[1]
    world.get(f"{base}/chainguard/go/blobs/{layer['digest']}")
    world.google("DELETE", "artifactregistry", f"/v1/projects/{PROJECT}/locations/us-central1/repositories/pub")
    assert world.get(f"{base}/chainguard/go/manifests/latest").status_code == 404
    world.remote("pub")
    before = len(world.requests(BLOB_HOST))
    assert world.get(f"{base}/chainguard/go/blobs/{layer['digest']}").status_code == 200
    assert len(world.requests(BLOB_HOST)) == before + 1


def test_what_one_repository_cached_is_not_readable_through_another(world):
    private, public = world.private(name(), world.pull_token()), world.remote(name())
    layer = layers(world, private, BASE)[-2]
    assert world.get(f"{private}/{BASE}/blobs/{layer['digest']}").status_code == 200
    through = world.get(f"{public}/{BASE}/blobs/{layer['digest']}")
    assert error(through)[:2] == (403, "DENIED")
    other_image = world.get(f"{public}/chainguard/static/blobs/{layer['digest']}")
    assert error(other_image)[:2] == (404, "BLOB_UNKNOWN")


def test_a_virtual_repository_asks_its_upstreams_by_priority(world):
    public, private = name(), name()
    world.remote(public)
    world.private(private, world.pull_token())
    parent = f"projects/{PROJECT}/locations/us-central1/repositories"
    policies = [
        {"id": "public", "repository": f"{parent}/{public}", "priority": 10},
        {"id": "private", "repository": f"{parent}/{private}", "priority": 20},
    ]
    body = {"format": "DOCKER", "mode": "VIRTUAL_REPOSITORY", "virtualRepositoryConfig": {"upstreamPolicies": policies}}
    world.google("POST", "artifactregistry", f"/v1/{parent}", body, repositoryId=(virtual := name()))
    base = f"http://{world.running.docker_host('us-central1')}/v2/{PROJECT}/{virtual}"
    assert world.get(f"{base}/{BASE}/manifests/latest").status_code == 200
    assert world.get(f"{base}/chainguard/go/manifests/latest").status_code == 200


# --- the secret ----------------------------------------------------------------------------------------------------------


def test_a_private_image_needs_the_repositorys_credentials(world):
    public, private = world.remote(name()), world.private(name(), world.pull_token())
    refused = world.get(f"{public}/{BASE}/manifests/latest")
    assert refused.status_code == 403
    assert "failed to fetch bearer token; generic::unauthenticated" in error(refused)[2]
    assert world.get(f"{private}/{BASE}/manifests/latest").status_code == 200


def test_one_dead_pull_token_breaks_free_images_too(world):
    token = world.pull_token()
    base = world.private(name(), token)
    world.revoke(token)
    answer = world.get(f"{base}/chainguard/go/manifests/latest")
    assert "this typically means your upstream credentials are invalid" in error(answer)[2]


def test_without_the_grant_uncached_pulls_fail_and_cached_ones_do_not(world):
    token = world.pull_token()
    version = world.secret(token.password, grant=False)
    pair = {"username": token.username, "passwordSecretVersion": version}
    base = world.remote(name(), upstreamCredentials={"usernamePasswordCredentials": pair})
    refused = world.get(f"{base}/{BASE}/manifests/latest")
    assert refused.status_code == 403
    assert f'failed to access secret version "{version}"' in error(refused)[2]
    world.grant(version.split("/")[3])
    layer = layers(world, base, BASE)[1]
    assert world.get(f"{base}/{BASE}/blobs/{layer['digest']}").status_code == 200
    world.google("POST", "secretmanager", f"/v1/{version}:disable", {})
    assert world.get(f"{base}/{BASE}/blobs/{layer['digest']}").status_code == 200
    assert world.get(f"{base}/{BASE}/manifests/latest").status_code == 200
    uncached = world.get(f"{base}/{BASE}/manifests/latest-dev")
    assert "DISABLED" in error(uncached)[2]


def test_the_secret_is_read_anew_for_each_fetch(world):
    first, second = world.pull_token(), world.pull_token()
    version = world.secret(first.password)
    latest = version.rpartition("/")[0] + "/latest"
    pair = {"username": second.username, "passwordSecretVersion": latest}
    base = world.remote(name(), upstreamCredentials={"usernamePasswordCredentials": pair})
    assert world.get(f"{base}/{BASE}/manifests/latest").status_code == 403  # a mismatched pair
    data = base64.b64encode(second.password.encode()).decode()
    secret = version.rpartition("/versions/")[0]
    world.google("POST", "secretmanager", f"/v1/{secret}:addVersion", {"payload": {"data": data}})
    assert world.get(f"{base}/{BASE}/manifests/latest").status_code == 200


def test_no_password_reaches_a_log(own_world):
    world = own_world
    token = world.pull_token()
    base = world.private("priv", token)
    layers(world, base, BASE)
    world.get(f"{base}/{BASE}/manifests/no-such-tag")
    for log in (world.running.folder / "log").iterdir():
        text = log.read_text()
        assert token.password not in text
        assert token.password.rpartition(".")[2] not in text
        assert world.operator not in text


# --- when the upstream fails ---------------------------------------------------------------------------------------------


class FailingRegistry(BaseHTTPRequestHandler):
    """An upstream on loopback that answers as its first path component says."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        kind = self.path.split("/")[2]
        body = json.dumps({"mediaType": INDEX}).encode()
        if kind == "redirect":
            self.send_response(307)
            self.send_header("Location", "ftp://elsewhere.example/")
            body = b""
        else:
            self.send_response(int(kind) if kind.isdigit() else 200)
            self.send_header("Content-Type", INDEX)
        announced = len(body) + 10 if kind == "short" else len(body)
        self.send_header("Content-Length", str(announced))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def log_message(self, *_args):
        pass


@pytest.fixture(scope="module")
def failing():
    with ThreadingHTTPServer(("127.0.0.1", 0), FailingRegistry) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("kind", "status", "text"),
    [
        ("404", 404, "Received invalid response from external repository; url={}/v2/404/go/manifests/latest."),
        ("429", 429, "Resource has been exhausted (e.g. check quota)."),
        (
            "500",
            502,
            "Received invalid http status code 500 from external repository; url={}/v2/500/go/manifests/latest.",
        ),
        (
            "403",
            502,
            "Received invalid http status code 403 from external repository; url={}/v2/403/go/manifests/latest.",
        ),
        ("short", 502, "External repository returned unexpected EOF for url={}/v2/short/go/manifests/latest."),
        ("redirect", 504, "Timeout before connecting to external repository; url={}/v2/redirect/go/manifests/latest"),
    ],
)
def test_upstream_failures_carry_artifact_registrys_texts(world, failing, kind, status, text):
    base = world.remote(name(), commonRepository={"uri": failing})
    answer = world.get(f"{base}/{kind}/go/manifests/latest")
    assert (answer.status_code, error(answer)[2]) == (status, text.format(failing))


def test_a_blob_with_wrong_content_is_never_whole_and_never_kept(world, failing):
    base = world.remote(name(), commonRepository={"uri": failing})
    url = f"{base}/wrong/go/blobs/sha256:{'0' * 64}"
    for _ in range(2):
        with pytest.raises(httpx.RemoteProtocolError):
            world.get(url)


def test_a_registry_that_is_not_there_times_out_and_no_other_host_is_called(world):
    base = world.remote(name(), commonRepository={"uri": "https://registry.example.com"})
    answer = world.get(f"{base}/some/image/manifests/latest")
    assert answer.status_code == 504
    assert error(answer)[2].startswith(
        "Timeout before connecting to external repository; url=https://registry.example.com"
    )


class ServingRegistry(FailingRegistry):
    """An upstream with one image, that can be switched off."""

    blob = b"content" * 1000
    digest = f"sha256:{hashlib.sha256(blob).hexdigest()}"

    def do_GET(self):
        body = self.blob if "/blobs/" in self.path else json.dumps({"mediaType": INDEX, "manifests": []}).encode()
        self.send_response(200)
        self.send_header("Content-Type", INDEX)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True


def test_cached_content_survives_an_outage_of_the_upstream(tmp_path, key):
    with ThreadingHTTPServer(("127.0.0.1", 0), ServingRegistry) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        with a_world(tmp_path / "home", key, upstream=f"http://127.0.0.1:{server.server_port}") as world:
            base = world.remote("pub")
            index = world.get(f"{base}/some/image/manifests/latest")
            assert index.status_code == 200
            blob = world.get(f"{base}/some/image/blobs/{ServingRegistry.digest}")
            assert blob.content == ServingRegistry.blob
            server.shutdown()
            server.server_close()
            thread.join()
            world.advance(hours=2)
            late = world.get(f"{base}/some/image/manifests/latest")
            assert (late.status_code, late.content) == (200, index.content)
            assert world.get(f"{base}/some/image/blobs/{ServingRegistry.digest}").content == ServingRegistry.blob
            assert world.get(f"{base}/some/other/manifests/latest").status_code == 504
