"""crane against the sandbox, and what it sees compared with what skopeo, podman, docker and chainctl see."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shlex
import sys
import tarfile
import tempfile
from pathlib import Path

import pytest

from cgrunbook.sandbox import process
from cgrunbook.sandbox.registry.images import sample_repositories
from tests.clients.docker_engine import docker_engine
from tests.clients.programs import absent, client, run
from tests.sandbox.registry.conftest import key, world

__all__ = ["key", "world"]  # fixtures

SAMPLES = sample_repositories()
BASE = "example.com/chainguard-base"


@pytest.fixture
def shell(world, tmp_path):
    """The environment of a shell after `eval "$(cgrunbook sandbox env)"`, with a docker configuration of its own."""
    variables = {**os.environ, **process.environment(world.running), "DOCKER_CONFIG": str(tmp_path / "docker")}
    return {**variables, "REGISTRY_AUTH_FILE": str(tmp_path / "docker" / "config.json")}


@pytest.fixture
def crane(shell):
    client("crane")
    return lambda *words, **more: run("crane", *words, given=shell, **more)


def log_in(crane, host, username, password):
    crane("auth", "login", host, "--username", username, "--password-stdin", stdin=password)


def digest(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def test_crane_reads_cgr_dev(crane, world):
    host = world.running.hosts["cgr.dev"]
    index = SAMPLES["chainguard/go"].tags["latest"]
    assert crane("digest", f"{host}/chainguard/go:latest").stdout.strip() == index
    assert digest(crane("manifest", f"{host}/chainguard/go:latest").stdout) == index
    assert crane("ls", f"{host}/chainguard/go").stdout.split() == ["latest", "latest-dev"]
    assert "Unknown manifest" in crane("manifest", f"{host}/chainguard/go:1.25.3", check=False).stderr
    token = world.pull_token()
    log_in(crane, host, token.username, token.password)
    assert crane("digest", f"{host}/{BASE}:latest").stdout.strip() == SAMPLES[BASE].tags["latest"]
    assert "example.com/go-fips" in crane("catalog", host).stdout.split()


def test_a_signature_is_checked_by_hand_as_the_sandboxs_page_shows(world, shell, tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "sandbox.md").read_text()
    commands = page.partition("<!-- run by tests/clients/test_crane.py -->\n```sh\n")[2].partition("```")[0]
    folders = dict.fromkeys(str(Path(client(name)).parent) for name in ("crane", "openssl", "curl"))
    path = os.pathsep.join([*folders, shell["PATH"]])
    done = run("bash", "-euo", "pipefail", "-c", f"cd {shlex.quote(str(tmp_path))}\n{commands}", given=shell, PATH=path)
    assert done.stdout.splitlines() == ["Verified OK", SAMPLES["chainguard/go"].tags["latest"]]
    (tmp_path / "payload.json").write_bytes((tmp_path / "payload.json").read_bytes() + b" ")
    check = [line for line in commands.splitlines() if line.startswith("openssl")]
    refused = run("bash", "-c", f"cd {shlex.quote(str(tmp_path))}\n{check[0]}", given=shell, check=False)
    assert refused.returncode == 1
    assert "Verification" in refused.stdout


def test_crane_pulls_through_artifact_registry(crane, world, tmp_path):
    base = world.private(f"r{secrets.token_hex(4)}", world.pull_token()).removeprefix("http://").replace("/v2/", "/", 1)
    host = base.partition("/")[0]
    assert "Unauthenticated request" in crane("digest", f"{base}/{BASE}:latest", check=False).stderr
    log_in(crane, host, "oauth2accesstoken", world.operator)
    index = SAMPLES[BASE].tags["latest"]
    assert crane("digest", f"{base}/{BASE}:latest").stdout.strip() == index
    assert crane("ls", f"{base}/{BASE}").stdout.split() == ["20261102", "latest", "latest-dev"]
    crane("pull", "--platform", "linux/amd64", f"{base}/{BASE}:latest", tmp_path / "image.tar")
    by_digest = crane("manifest", "--platform", "linux/amd64", f"{base}/{BASE}@{index}").stdout
    with tarfile.open(tmp_path / "image.tar") as archive:
        file = archive.extractfile("manifest.json")
        assert file is not None
        (inside,) = json.loads(file.read())
    assert inside["Config"] == json.loads(by_digest)["config"]["digest"]
    crane("validate", "--remote", f"{base}/{BASE}@{index}")
    refused = crane("copy", f"{base}/{BASE}:latest", f"{base}/{BASE}:mine", check=False).stderr
    assert "remote repository: artifacts cannot be uploaded" in refused


def test_every_client_sees_the_same_image(crane, shell, world):
    """One image through Artifact Registry: its index, its platform's manifest, its config, its layers."""
    for command in ("skopeo", "podman", "docker", "dockerd"):
        client(command)
    base = world.private(f"r{secrets.token_hex(4)}", world.pull_token()).removeprefix("http://").replace("/v2/", "/", 1)
    host = base.partition("/")[0]
    log_in(crane, host, "oauth2accesstoken", world.operator)
    reference = f"{base}/{BASE}:latest"
    index = crane("digest", reference).stdout.strip()
    platform = crane("digest", "--platform", "linux/amd64", reference).stdout.strip()
    manifest = json.loads(crane("manifest", "--platform", "linux/amd64", reference).stdout)
    config = json.loads(crane("config", "--platform", "linux/amd64", reference).stdout)
    assert (index, platform) == (
        SAMPLES[BASE].tags["latest"],
        digest(SAMPLES[BASE].manifests[platform].content.decode()),
    )

    seen = json.loads(run("skopeo", "inspect", "--tls-verify=false", f"docker://{reference}", given=shell).stdout)
    assert (seen["Digest"], seen["Layers"]) == (index, [layer["digest"] for layer in manifest["layers"]])

    with tempfile.TemporaryDirectory(prefix="p") as folder:  # podman's run folder has at most 50 characters
        storage = ["--root", f"{folder}/root", "--runroot", f"{folder}/run", "--storage-driver", "vfs"]
        probe = run("podman", *storage, "info", check=False, given=shell)
        if probe.returncode != 0:
            absent(f"podman does not run here: {probe.stderr.splitlines()[-1]}")
        run("podman", *storage, "pull", reference, given=shell)
        (image,) = json.loads(run("podman", *storage, "image", "inspect", reference, given=shell).stdout)
        digests = {entry.partition("@")[2] for entry in image["RepoDigests"]}
        assert digests == {index, platform}
        assert f"sha256:{image['Id']}" == manifest["config"]["digest"]
        assert image["RootFS"]["Layers"] == config["rootfs"]["diff_ids"]

    with docker_engine() as engine:
        given = {**shell, "DOCKER_HOST": engine}
        run("docker", "pull", "--quiet", reference, given=given)
        (image,) = json.loads(run("docker", "image", "inspect", reference, given=given).stdout)
        assert image["RepoDigests"] == [f"{base}/{BASE}@{index}"]
        assert image["Id"] == manifest["config"]["digest"]
        assert image["RootFS"]["Layers"] == config["rootfs"]["diff_ids"]


def in_a_shell(world, *lines, **more):
    """Type lines into bash after `eval "$(cgrunbook sandbox env)"`."""
    prelude = f'eval "$({shlex.join([sys.executable, "-m", "cgrunbook"])} sandbox env)"'
    script = "\n".join(["set -euo pipefail", prelude, *lines])
    return run("bash", "-c", script, CGRUNBOOK_HOME=str(world.running.home), **more)


def test_chainctls_commands_in_a_shell_agree_with_what_the_registry_does(world):
    client("crane")
    client("skopeo")
    done = in_a_shell(
        world,
        "export DOCKER_CONFIG=$(mktemp -d)",
        "trap 'rm -r $DOCKER_CONFIG' EXIT",
        "chainctl auth login >&2",
        "chainctl auth status -o json",
        "chainctl iam organizations list -o json",
        "chainctl images repos list -o json",
        "token=$(chainctl auth pull-token create --name shell --parent example.com --ttl 24h -o json)",
        'id=$(python3 -c \'import json, sys; print(json.load(sys.stdin)["identity_id"])\' <<<"$token")',
        'python3 -c \'import json, sys; print(json.load(sys.stdin)["token"], end="")\' <<<"$token" |'
        " crane auth login $CGRUNBOOK_SANDBOX_CGR_HOST --username $id --password-stdin >&2",
        'echo "\\"$id\\""',
        "chainctl auth pull-token list -o json",
        "chainctl iam identities list --type pull_token -o json",
        "crane digest $CGRUNBOOK_SANDBOX_CGR_HOST/example.com/go-fips:1.25 | sed 's/.*/\"&\"/'",
        "crane ls $CGRUNBOOK_SANDBOX_CGR_HOST/example.com/go-fips | python3 -c 'import json, sys;"
        " print(json.dumps(sys.stdin.read().split()))'",
        "chainctl iam identities delete $id --yes >&2",
        "if crane digest $CGRUNBOOK_SANDBOX_CGR_HOST/example.com/go-fips:1.25 >/dev/null; then exit 9; fi",
        "chainctl auth pull-token list -o json",
        "chainctl auth configure-docker --pull-token --save >/dev/null",
        "REGISTRY_AUTH_FILE=$DOCKER_CONFIG/config.json skopeo inspect --tls-verify=false"
        " docker://$CGRUNBOOK_SANDBOX_CGR_HOST/example.com/go-fips:1.25 | python3 -c 'import json, sys;"
        ' print(json.dumps(json.load(sys.stdin)["Digest"]))\'',
    )
    status, organizations, images, identity, tokens, identities, digest_seen, tags, without, again = map(
        json.loads, done.stdout.splitlines()
    )
    assert status["capabilities"] == {"example.com": "owner"}
    assert [group["name"] for group in organizations["items"]] == ["example.com"]
    assert identity in [item["id"] for item in tokens["items"]]
    assert identity in [item["id"] for item in identities["items"]]
    assert identity not in [item["id"] for item in without.get("items", [])]
    assert digest_seen == again == SAMPLES["example.com/go-fips"].tags["1.25"]
    (listed,) = [item for item in images["items"] if item["name"] == "go-fips"]
    assert tags == sorted(listed["activeTags"])
    assert "FORBIDDEN" in done.stderr.upper()


def test_the_guides_docker_login_line_is_what_chainctl_prints(world, crane, tmp_path):
    """Copied with the host's name replaced, as the guide has it done by hand."""
    printed = run(
        str(world.running.bin / "chainctl"), "auth", "configure-docker", "--pull-token", DOCKER_CONFIG=str(tmp_path)
    )
    words = shlex.split(printed.stdout[printed.stdout.index("docker login") :].splitlines()[0])
    assert words[:3] == ["docker", "login", "cgr.dev"]
    host = world.running.hosts["cgr.dev"]
    log_in(crane, host, words[words.index("--username") + 1], words[words.index("--password") + 1])
    assert crane("digest", f"{host}/{BASE}:latest").stdout.strip() == SAMPLES[BASE].tags["latest"]
    assert not Path(tmp_path, "config.json").exists()
