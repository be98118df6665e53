"""The real docker engine against the sandbox: docker login and pull by hand, and the steps that use it."""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path

import pytest

from cgrunbook.sandbox import process
from cgrunbook.sandbox.registry.images import sample_repositories
from tests.clients.docker_engine import docker_engine
from tests.clients.programs import client, run
from tests.sandbox.registry.conftest import PROJECT, World, a_world, key

__all__ = ["key"]  # a fixture

SAMPLES = sample_repositories()
BASE = "example.com/chainguard-base"
PUBLIC, PRIVATE = "chainguard-pull-through", "chainguard-private"


@pytest.fixture(scope="module")
def engine():
    with docker_engine() as address:
        yield address


@pytest.fixture(scope="module")
def there(tmp_path_factory, key):
    """A sandbox with the repositories that 02 and 03 make by default, made here without them."""
    with a_world(tmp_path_factory.mktemp("docker") / "home", key) as world:
        world.remote(PUBLIC)
        world.private(PRIVATE, world.pull_token())
        yield world


@pytest.fixture
def docker(there: World, engine, tmp_path):
    """The docker command of somebody with a new configuration, in a shell of `sandbox env`."""
    variables = {**os.environ, **process.environment(there.running)}
    variables |= {"DOCKER_HOST": engine, "DOCKER_CONFIG": str(tmp_path / "docker")}

    def command(*words, **more):
        return run("docker", *words, given=variables, **more)

    return command


def through(world: World, repository: str, image: str, location: str = "us-central1") -> str:
    return f"{world.running.docker_host(location)}/{PROJECT}/{repository}/{image}"


def pulled(docker, reference: str) -> tuple[str, str]:
    """Digests of the index and of the config that docker has after a pull."""
    docker("pull", "--quiet", reference)
    (image,) = json.loads(docker("image", "inspect", reference).stdout)
    (name,) = [entry for entry in image["RepoDigests"] if entry.startswith(reference.partition(":latest")[0])]
    return name.partition("@")[2], image["Id"]


def config_of(repository: str, index: str, architecture: str = "amd64") -> str:
    documents = SAMPLES[repository].manifests
    platforms = json.loads(documents[index].content)["manifests"]
    (digest,) = [one["digest"] for one in platforms if one["platform"]["architecture"] == architecture]
    return str(json.loads(documents[digest].content)["config"]["digest"])


def test_docker_logs_in_with_an_access_token_and_pulls(docker, there):
    host = there.running.docker_host("us-central1")
    reference = through(there, PUBLIC, "chainguard/go:latest")
    refused = docker("pull", reference, check=False)
    assert refused.returncode != 0
    assert "Unauthenticated request" in refused.stderr
    wrong = docker("login", host, "--username", "oauth2accesstoken", "--password-stdin", stdin="ya29.no", check=False)
    assert "unauthorized" in wrong.stderr.lower()
    docker("login", host, "--username", "oauth2accesstoken", "--password-stdin", stdin=there.operator)
    index = SAMPLES["chainguard/go"].tags["latest"]
    assert pulled(docker, reference) == (index, config_of("chainguard/go", index))
    docker("logout", host)
    assert docker("pull", reference, check=False).returncode != 0


def test_docker_pulls_private_images_by_digest_and_for_another_platform(docker, there):
    host = there.running.docker_host("us-central1")
    docker("login", host, "--username", "oauth2accesstoken", "--password-stdin", stdin=there.operator)
    index = SAMPLES[BASE].tags["latest-dev"]
    reference = through(there, PRIVATE, f"{BASE}@{index}")
    docker("pull", "--quiet", "--platform", "linux/arm64", reference)
    (image,) = json.loads(docker("image", "inspect", reference).stdout)
    assert (image["Architecture"], image["Id"]) == ("arm64", config_of(BASE, index, "arm64"))
    missing = docker("pull", through(there, PRIVATE, f"{BASE}:no-such-tag"), check=False)
    assert "Received invalid response from external repository" in missing.stderr


def test_docker_pulls_from_cgr_dev_with_what_chainctl_saves(docker, there, tmp_path):
    chainctl = str(there.running.bin / "chainctl")
    reference = f"{there.running.hosts['cgr.dev']}/{BASE}:latest"
    assert docker("pull", reference, check=False).returncode != 0
    configuration = str(tmp_path / "docker")
    login = run(chainctl, "auth", "configure-docker", "--pull-token", "--save", DOCKER_CONFIG=configuration).stdout
    index = SAMPLES[BASE].tags["latest"]
    assert pulled(docker, reference) == (index, config_of(BASE, index))
    username = shlex.split(login)[shlex.split(login).index("--username") + 1]
    run(chainctl, "iam", "identities", "delete", username, "--yes")
    revoked = docker("pull", f"{there.running.hosts['cgr.dev']}/{BASE}:latest-dev", check=False)
    assert "Forbidden" in revoked.stderr


def test_one_name_in_two_locations_has_two_caches_and_two_logins(docker, there):
    there.remote(PUBLIC, "europe-west1")
    here, elsewhere = (there.running.docker_host(place) for place in ("us-central1", "europe-west1"))
    docker("login", elsewhere, "--username", "oauth2accesstoken", "--password-stdin", stdin=there.operator)
    image = "chainguard/static:latest"
    refused = docker("pull", f"{here}/{PROJECT}/{PUBLIC}/{image}", check=False)
    assert "Unauthenticated request" in refused.stderr
    index = SAMPLES["chainguard/static"].tags["latest"]
    assert pulled(docker, f"{elsewhere}/{PROJECT}/{PUBLIC}/{image}")[0] == index


@pytest.mark.usefixtures("forked")
@pytest.mark.parametrize("notebook", [pytest.param("02", marks=pytest.mark.long), "03"])
def test_the_notebooks_pull_with_docker_as_somebody_in_a_shell_does(notebook, engine, tmp_path, key):
    """02 and 03 write docker's login and let the engine pull; docker by hand then uses the same login."""
    client("gcloud")
    with a_world(tmp_path / "home", key) as world:
        variables = {**os.environ, **process.environment(world.running), "DOCKER_HOST": engine}
        variables |= {"CGRUNBOOK_SANDBOX_IAM_DELAY": "0", "CGRUNBOOK_SANDBOX_AGENT_DELAY": "0"}
        words = [
            "-m",
            "cgrunbook",
            "run",
            notebook,
            "-p",
            "docker_pull",
            "true",
            "--output",
            tmp_path / "run",
            "--json",
        ]
        record = json.loads(run(sys.executable, *words, given=variables).stdout)
        steps = [step for done in record["notebooks"] for step in done["steps"]]
        (by_docker,) = [step for step in steps if step["title"].endswith("with docker")]
        repository, image = (PUBLIC, "chainguard/go") if notebook == "02" else (PRIVATE, BASE)
        index = SAMPLES[image].tags["latest"]
        assert by_docker["evidence"]["digest"] == index
        host = world.running.docker_host("us-central1")
        login = json.loads(Path(variables["DOCKER_CONFIG"], "config.json").read_text())
        assert login["credHelpers"][host] == "gcloud"

        def docker(*given, **more):
            return run("docker", *given, given=variables, **more)

        reference = f"{host}/{PROJECT}/{repository}/{image}:latest-dev"
        assert pulled(docker, reference)[0] == SAMPLES[image].tags["latest-dev"]
