"""The sandbox's registries seen by skopeo, podman, curl and Debian's docker-registry, none of which was written here."""

from __future__ import annotations

import ctypes
import ctypes.util
import hashlib
import json
import os
import secrets
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from cgrunbook.sandbox.registry.images import sample_repositories
from tests.clients.docker_registry import docker_registry
from tests.clients.programs import absent, client, run
from tests.sandbox.registry.conftest import PROJECT, World, a_world, key, world

__all__ = ["key", "world"]  # fixtures

BASE = "example.com/chainguard-base"
SAMPLES = sample_repositories()


def skopeo(*words, **more):
    return run("skopeo", *words, **more)


def inspected(host, image, creds=None):
    words = ["--creds", creds] if creds else ["--no-creds"]
    return json.loads(skopeo("inspect", "--tls-verify=false", *words, f"docker://{host}/{image}").stdout)


def copied(folder: Path, host, image, creds=None):
    """All platforms of an image as files, each checked against its name."""
    words = ["--src-creds", creds] if creds else ["--src-no-creds"]
    skopeo("copy", "--quiet", "--all", "--src-tls-verify=false", *words, f"docker://{host}/{image}", f"dir:{folder}")
    found = {}
    for file in folder.iterdir():
        content = file.read_bytes()
        name = file.name.removesuffix(".manifest.json")
        if name not in ("version", "manifest.json"):
            assert hashlib.sha256(content).hexdigest() == name
        found[file.name] = content
    return found


@pytest.fixture
def operator(world):
    return f"oauth2accesstoken:{world.operator}"


@pytest.fixture
def token(world):
    return world.pull_token()


@pytest.fixture
def pair(token):
    return f"{token.username}:{token.password}"


def remote_path(base):
    """What a client writes for a repository: host, project and repository."""
    return base.removeprefix("http://").replace("/v2/", "/", 1)


def test_skopeo_reads_free_images_without_credentials(world):
    host = world.running.hosts["cgr.dev"]
    found = inspected(host, "chainguard/go:latest")
    assert found["Digest"] == SAMPLES["chainguard/go"].tags["latest"]
    assert found["RepoTags"] == ["latest", "latest-dev"]
    assert found["Labels"]["dev.chainguard.package.main"] == "go-1.25"


def test_skopeo_copies_all_platforms_from_cgr_dev_and_the_same_through_artifact_registry(
    world, operator, token, pair, tmp_path
):
    direct = copied(tmp_path / "direct", world.running.hosts["cgr.dev"], f"{BASE}:latest", pair)
    base = world.private(f"r{secrets.token_hex(4)}", token)
    host, _, path = remote_path(base).partition("/")
    cold = copied(tmp_path / "cold", host, f"{path}/{BASE}:latest", operator)
    warm = copied(tmp_path / "warm", host, f"{path}/{BASE}:latest", operator)
    assert direct == cold == warm
    assert len(direct) > 10


def test_skopeo_is_told_why_it_is_refused(world, pair):
    host = world.running.hosts["cgr.dev"]
    cases = {
        f"{BASE}:9.9": "Unknown manifest",
        "example.com/python-fips:latest": "caller does not have the required capabilities",
        "example.com/no-such-image:latest": "403 (Forbidden)",
        "no-such-org/go:latest": "400 (Bad Request)",
    }
    for image, reason in cases.items():
        done = skopeo("inspect", "--tls-verify=false", "--creds", pair, f"docker://{host}/{image}", check=False)
        assert done.returncode != 0
        assert reason in done.stderr, done.stderr


def test_skopeo_uses_what_chainctl_configured(world, tmp_path):
    client("skopeo")
    environment = {
        "DOCKER_CONFIG": str(tmp_path),
        "PATH": f"{world.running.bin}{os.pathsep}{os.environ['PATH']}",
        "REGISTRY_AUTH_FILE": str(tmp_path / "config.json"),
    }
    reference = f"docker://{world.running.hosts['cgr.dev']}/{BASE}:latest"
    for words in (["auth", "configure-docker"], ["auth", "pull-token", "--save", "-o", "json"]):
        subprocess.run(
            [str(world.running.bin / "chainctl"), *words],
            check=True,
            capture_output=True,
            env={**os.environ, **environment},
        )
        found = json.loads(skopeo("inspect", "--tls-verify=false", reference, **environment).stdout)
        assert found["Digest"] == SAMPLES[BASE].tags["latest"]


@pytest.fixture
def short_folder():
    """podman takes no run folder with a path of more than 50 characters."""
    with tempfile.TemporaryDirectory(prefix="p") as folder:
        yield Path(folder)


def test_podman_pulls_through_artifact_registry(world, operator, token, short_folder):
    storage = ["--root", short_folder / "root", "--runroot", short_folder / "run", "--storage-driver", "vfs"]
    probe = run("podman", *storage, "info", check=False)
    if probe.returncode != 0:
        absent(f"podman does not run here: {probe.stderr.splitlines()[-1]}")
    base = world.private(f"r{secrets.token_hex(4)}", token)
    reference = f"{remote_path(base)}/{BASE}:latest"
    run("podman", *storage, "pull", "--tls-verify=false", "--creds", operator, f"docker://{reference}")
    (image,) = json.loads(run("podman", *storage, "image", "inspect", reference).stdout)
    assert image["RepoDigests"]
    assert image["Labels"]["org.opencontainers.image.vendor"] == "Chainguard (sample)"


def test_curl_walks_from_the_challenge_to_the_bytes(world, tmp_path):
    base = world.remote(f"r{secrets.token_hex(4)}")
    url = f"{base}/chainguard/static/manifests/latest"
    challenge = run("curl", "-s", "-o", "/dev/null", "-w", "%header{www-authenticate}", url, check=False).stdout
    if not challenge.startswith("Bearer"):  # an older curl
        challenge = httpx.get(url, trust_env=False).headers["www-authenticate"]
    realm = challenge.split('"')[1]
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine 127.0.0.1 login oauth2accesstoken password {world.operator}\n")
    bearer = json.loads(run("curl", "-sf", "--netrc-file", netrc, realm).stdout)["token"]
    headers = tmp_path / "headers"
    headers.write_text(f"Authorization: Bearer {bearer}\n")
    index = json.loads(run("curl", "-sf", "-H", f"@{headers}", url).stdout)
    assert [entry["platform"]["architecture"] for entry in index["manifests"]] == ["amd64", "arm64"]


# --- Debian's docker-registry, both ways -----------------------------------------------------------------------------------


def test_docker_registry_proxies_cgr_dev_with_a_pull_token(world, token, pair, tmp_path):
    proxy = json.dumps(
        {
            "remoteurl": f"http://{world.running.hosts['cgr.dev']}",
            "username": token.username,
            "password": token.password,
        }
    )
    with docker_registry(tmp_path / "proxy", f"proxy: {proxy}\n") as host:
        through = copied(tmp_path / "through", host, "example.com/go-fips:1.25")
        direct = copied(tmp_path / "direct", world.running.hosts["cgr.dev"], "example.com/go-fips:1.25", pair)
        assert through == direct
        tags = json.loads(skopeo("list-tags", "--tls-verify=false", f"docker://{host}/example.com/go-fips").stdout)
        assert tags["Tags"] == ["1.25", "1.25-dev", "1.25.4", "latest", "latest-dev"]
        assert inspected(host, "chainguard/go:latest")["Digest"] == SAMPLES["chainguard/go"].tags["latest"]


def test_a_proxy_with_a_revoked_pull_token_gets_nothing(world, token, tmp_path):
    world.revoke(token)
    proxy = json.dumps(
        {
            "remoteurl": f"http://{world.running.hosts['cgr.dev']}",
            "username": token.username,
            "password": token.password,
        }
    )
    with docker_registry(tmp_path / "proxy", f"proxy: {proxy}\n") as host:
        done = skopeo("inspect", "--tls-verify=false", "--no-creds", f"docker://{host}/{BASE}:latest", check=False)
        assert done.returncode != 0


def htpasswd(folder: Path, username: str, password: str) -> Path:
    """A file with one bcrypt hash, the only kind that docker-registry takes; by the C library's crypt(3)."""
    name = ctypes.util.find_library("crypt")
    crypt = ctypes.CDLL(name).crypt if name else pytest.fail("libcrypt is missing")
    crypt.restype = ctypes.c_char_p
    hashed = crypt(password.encode(), b"$2b$05$" + b"cgrunbooksandboxtestsa")
    assert hashed.startswith(b"$2b$"), hashed
    file = folder / "htpasswd"
    file.write_text(f"{username}:{hashed.decode()}\n")
    return file


def test_a_remote_repository_pulls_from_docker_registry_with_its_credentials(world, pair, key, tmp_path):
    username, password = "org/mirror", secrets.token_hex(16)
    auth = f"auth: {{htpasswd: {{realm: test, path: {htpasswd(tmp_path, username, password)}}}}}\n"
    source = world.running.hosts["cgr.dev"]
    with docker_registry(tmp_path / "upstream", auth) as upstream:
        words = ["--src-tls-verify=false", "--dest-tls-verify=false", "--src-creds", pair]
        words += ["--dest-creds", f"{username}:{password}"]
        for tag in ("latest", "latest-dev"):
            skopeo(
                "copy", "-q", "--all", *words, f"docker://{source}/{BASE}:{tag}", f"docker://{upstream}/{BASE}:{tag}"
            )
        with a_world(tmp_path / "home", key, upstream=f"http://{upstream}") as other:
            credentials = {"username": username, "passwordSecretVersion": other.secret(password)}
            base = other.remote(
                "priv",
                upstreamCredentials={"usernamePasswordCredentials": credentials},
                disableUpstreamValidation=False,
            )
            host, _, path = remote_path(base).partition("/")
            through = copied(tmp_path / "through", host, f"{path}/{BASE}:latest", f"_dcgcloud_token:{other.operator}")
            assert through == copied(tmp_path / "direct", source, f"{BASE}:latest", pair)
            assert other.get(f"{base}/{BASE}/tags/list").json()["tags"] == ["latest", "latest-dev"]
            refuse_bad_credentials(other, username)


@pytest.mark.usefixtures("forked")
def test_the_runbook_compares_with_the_registry_that_stands_in_for_cgr_dev(world, key, tmp_path):
    """What its latest is there is not what it is in the samples."""
    index = SAMPLES["chainguard/go"].tags["latest-dev"]
    source = f"docker://{world.running.hosts['cgr.dev']}/chainguard/go:latest-dev"
    with docker_registry(tmp_path / "upstream") as upstream:
        words = ["--src-tls-verify=false", "--dest-tls-verify=false", "--src-no-creds"]
        skopeo("copy", "-q", "--all", *words, source, f"docker://{upstream}/chainguard/go:latest")
        with a_world(tmp_path / "home", key, upstream=f"http://{upstream}") as other:
            direct = inspected(other.running.hosts["cgr.dev"], "chainguard/go:latest")
            assert (direct["Digest"], direct["RepoTags"]) == (index, ["latest"])
            words = ["-m", "cgrunbook", "run", "02", "-p", "repository", "pub", "--output", tmp_path / "run", "--json"]
            record = json.loads(run(sys.executable, *words, CGRUNBOOK_HOME=str(other.running.home)).stdout)
            (pull,) = [step for step in record["notebooks"][0]["steps"] if step["title"].startswith("Pull chainguard/go")
                       and "docker" not in step["title"]]  # fmt: skip
            assert pull["evidence"]["digest"] == index
            assert "same digest" in pull["evidence"]["compared with cgr.dev"]


def refuse_bad_credentials(other: World, username: str) -> None:
    credentials = {"username": username, "passwordSecretVersion": other.secret("not the password")}
    remote = {
        "commonRepository": {"uri": "https://cgr.dev"},
        "upstreamCredentials": {"usernamePasswordCredentials": credentials},
    }
    answer = other.http.post(
        f"http://{other.running.hosts['artifactregistry.googleapis.com']}/v1/projects/{PROJECT}/locations/us/repositories",
        params={"repositoryId": "bad"},
        json={"format": "DOCKER", "mode": "REMOTE_REPOSITORY", "remoteRepositoryConfig": remote},
        headers={"Authorization": f"Bearer {other.operator}"},
    )
    assert answer.status_code == 400
    assert "this typically means your upstream credentials are invalid" in answer.json()["error"]["message"]


def test_parallel_copies_of_an_uncached_image_fetch_each_blob_once(world, operator, tmp_path):
    client("skopeo")
    base = world.remote(f"r{secrets.token_hex(4)}")
    host, _, path = remote_path(base).partition("/")
    blob_host = "9236a389bd48b984df91adc1bc924620.r2.cloudflarestorage.com"
    before = [line["path"] for line in world.requests(blob_host)]
    with ThreadPoolExecutor(8) as pool:
        copies = pool.map(
            lambda n: copied(tmp_path / f"{n}", host, f"{path}/chainguard/go:latest-dev", operator), range(8)
        )
        first, *others = copies
    assert all(other == first for other in others)
    fetched = [line["path"] for line in world.requests(blob_host)][len(before) :]
    assert len(fetched) == len({path.partition("?")[0] for path in fetched})
