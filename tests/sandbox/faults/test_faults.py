"""Each fault is seen by clients, several stand together, and each is taken back as if it had never been."""

from __future__ import annotations

import concurrent.futures
import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from unittest.mock import patch

import pytest
import requests
from typer.testing import CliRunner, Result

from cgrunbook.cli.app import app
from cgrunbook.sandbox import faults, process
from cgrunbook.sandbox.faults import catalogue, changes, full_disk
from cgrunbook.sandbox.registry.images import sample_repositories
from tests.sandbox.faults.world import FREE, PROJECT, SECRET, Broken, made, shell
from tests.sandboxes import sandbox_home
from tests.steps.performing import PRIVATE, PUBLIC

CGRUNBOOK = [sys.executable, "-m", "cgrunbook"]
NAMES = list(catalogue.FAULTS)
VERSION = f"v1/projects/{PROJECT}/secrets/{SECRET}/versions/1"
REPOSITORY = f"v1/projects/{PROJECT}/locations/us-central1/repositories/{PRIVATE}"
SEED = os.environ.get("PYTEST_XDIST_TESTRUNUID", "")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broken]:
    with made(tmp_path_factory.mktemp("faults") / "home") as there:
        yield there


@pytest.fixture(autouse=True)
def _nothing_is_left_broken(world: Broken) -> Iterator[None]:
    yield
    faults.clear(home=world.home)


@pytest.fixture
def whole(world: Broken) -> Iterator[Broken]:
    """The world, in which nothing is broken before and after."""
    before = world.picture(exactly=False)
    yield world
    faults.clear(home=world.home)
    assert world.picture(exactly=False) == before


def set_or_skip(world: Broken, *names: str) -> None:
    try:
        faults.set_faults(names, world.home)
    except faults.NothingToBreak as why:
        pytest.skip(str(why))


@pytest.mark.parametrize("name", NAMES)
def test_a_fault_changes_something_and_is_taken_back_byte_for_byte(whole: Broken, name: str):
    before = whole.picture()
    set_or_skip(whole, name)
    broken = whole.picture()
    assert broken != before
    assert [fault.name for fault in faults.listed(whole.home) if fault.stands] == [name]
    assert faults.set_faults([name], whole.home) == []
    assert whole.picture() == broken
    assert faults.clear([name], whole.home) == [name]
    assert whole.picture() == before
    assert faults.clear([name], whole.home) == []


def test_a_deleted_secret_comes_back_with_what_its_policy_was_before(world: Broken):
    name = f"v1/projects/{PROJECT}/secrets/{SECRET}"
    policy = world.ask("secretmanager", f"{name}:getIamPolicy").json()
    for bindings in (policy["bindings"] * 2, policy["bindings"]):
        body = {"policy": {"bindings": bindings}}
        assert world.ask("secretmanager", f"{name}:setIamPolicy", "POST", body).status_code == 200
    before = world.picture()
    faults.set_faults(["secret-deleted"], world.home)
    assert world.picture() != before
    faults.clear(["secret-deleted"], world.home)
    assert world.picture() == before


def test_a_fault_that_another_hides_is_taken_back_like_any_other(whole: Broken):
    before = whole.picture()
    for name in ("secret-deleted", "secret-empty", "tag-not-free"):
        faults.set_faults([name], whole.home)
    for name in ("secret-deleted", "secret-empty", "tag-not-free"):
        faults.clear([name], whole.home)
    assert whole.picture() == before


def test_any_faults_are_set_and_cleared_in_any_order(whole: Broken):
    order = random.Random(SEED)
    before = whole.picture()
    for _ in range(25):
        chosen = order.sample(NAMES, 4)
        standing: list[str] = []
        for name in chosen:
            try:
                standing += faults.set_faults([name], whole.home)
            except faults.NothingToBreak:
                continue  # an earlier one took away what this one needs
        together = whole.picture()
        order.shuffle(standing)
        if standing:
            faults.clear(standing[:1], whole.home)
            try:
                faults.set_faults(standing[:1], whole.home)
            except faults.NothingToBreak:
                pass
            else:
                assert {fault.name for fault in faults.listed(whole.home) if fault.since} == set(standing), chosen
                assert whole.picture().keys() == together.keys(), chosen
        for name in standing:
            faults.clear([name], whole.home)
        assert whole.picture() == before, chosen


# --- what clients see --------------------------------------------------------------------------------------------------


def through_google(world: Broken) -> str:
    return world.pull().text


def free_through_google(world: Broken) -> str:
    return world.pull(FREE).text


def the_repository(world: Broken) -> str:
    return world.ask("artifactregistry", REPOSITORY).text


def the_password(world: Broken) -> str:
    return world.ask("secretmanager", f"{VERSION}:access").text


def free_at_cgr_dev(world: Broken) -> str:
    try:
        return world.from_cgr_dev("manifests", "latest").text
    except requests.ConnectionError as error:
        return repr(error)


def a_layer_of(world: Broken, through: str) -> str:
    """What comes of a layer that no cache has."""
    image = "chainguard/static"
    world.forget(image)
    digest = next(iter(sample_repositories()[image].blobs))
    try:
        if through == "cgr.dev":
            answer = world.from_cgr_dev("blobs", digest, image)
        else:
            answer = world.pull(f"{PUBLIC}/{image}/blobs/{digest}")
    except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
        return repr(error)
    import hashlib

    whole = f"sha256:{hashlib.sha256(answer.content).hexdigest()}" == digest
    return answer.text if answer.status_code != 200 else "whole" if whole else "another content"


def a_layer_from_cgr_dev(world: Broken) -> str:
    return a_layer_of(world, "cgr.dev")


def a_layer_through_google(world: Broken) -> str:
    return a_layer_of(world, "Artifact Registry")


def the_time(world: Broken) -> str:
    from email.utils import parsedate_to_datetime

    moment = parsedate_to_datetime(world.ask("artifactregistry", REPOSITORY).headers["Date"])
    import datetime

    return f"{round((moment - datetime.datetime.now(datetime.UTC)).total_seconds() / 60)} minutes ahead"


SEEN: dict[str, list[tuple[Callable[[Broken], str], str]]] = {
    "organization-misspelt": [(through_google, "status code 400 from external repository")],
    "image-not-in-catalogue": [(through_google, "status code 403 from external repository")],
    "tag-not-free": [(free_at_cgr_dev, "Unknown manifest"), (free_through_google, "invalid response from external")],
    "token-ended": [(through_google, "your upstream credentials are invalid")],
    "token-revoked": [(through_google, "your upstream credentials are invalid")],
    "token-role-missing": [(through_google, "your upstream credentials are invalid")],
    "token-username-mismatched": [(through_google, "your upstream credentials are invalid")],
    "secret-version-disabled": [(through_google, "is in DISABLED state"), (the_password, "is in DISABLED state")],
    "secret-version-destroyed": [(through_google, "is in DESTROYED state"), (the_password, "is in DESTROYED state")],
    "secret-newline": [(through_google, "your upstream credentials are invalid")],
    "secret-base64": [(through_google, "your upstream credentials are invalid")],
    "secret-empty": [(through_google, "your upstream credentials are invalid"), (the_password, '"data": "Cg=="')],
    "upstream-unvalidated": [(through_google, "your upstream credentials are invalid")],
    "secret-other-project": [(through_google, "projects/cgrunbook-quota/secrets"), (the_repository, "cgrunbook-quota")],
    "secret-deleted": [
        (through_google, "'secretmanager.versions.access' denied"),
        (the_password, "not found or has no versions"),
    ],
    "credentials-missing": [(through_google, "Unauthorized error returned by the external repository")],
    "grant-missing": [(through_google, "'secretmanager.versions.access' denied")],
    "grant-conditional": [(through_google, "'secretmanager.versions.access' denied")],
    "grant-wrong-project": [(through_google, "'secretmanager.versions.access' denied")],
    "agent-absent": [(through_google, "'secretmanager.versions.access' denied")],
    "upstream-path": [
        (through_google, "url=https://cgr.dev/chainguard/v2/"),
        (the_repository, "https://cgr.dev/chainguard"),
    ],
    "upstream-wrong-host": [(a_layer_through_google, "Timeout before connecting to external repository")],
    "repository-wrong-location": [(through_google, "not found"), (the_repository, "NOT_FOUND")],
    "api-disabled-artifactregistry": [(through_google, "or it is disabled"), (the_repository, "SERVICE_DISABLED")],
    "api-disabled-secretmanager": [(through_google, "or it is disabled"), (the_password, "SERVICE_DISABLED")],
    "reader-missing": [(through_google, 'downloadArtifacts\\" denied on resource')],
    "caller-lacks-artifactregistry.repositories.get": [(the_repository, "IAM_PERMISSION_DENIED")],
    "caller-lacks-secretmanager.versions.access": [(the_password, "'secretmanager.versions.access' denied")],
    "vpc-sc-denied": [
        (through_google, "vpcServiceControlsUniqueIdentifier"),
        (the_repository, "SECURITY_POLICY_VIOLATED"),
    ],
    "cgr-dev-down": [(free_at_cgr_dev, "Connection reset by peer"), (a_layer_through_google, "unexpected EOF")],
    "cgr-dev-429": [(free_at_cgr_dev, "TOOMANYREQUESTS"), (free_through_google, "Resource has been exhausted")],
    "cgr-dev-503": [
        (free_at_cgr_dev, "Service Unavailable"),
        (a_layer_through_google, "status code 503 from external"),
    ],
    "blob-host-blocked": [
        (a_layer_from_cgr_dev, "Connection reset by peer"),
        (a_layer_through_google, "unexpected EOF"),
    ],
    "blob-corrupted": [(a_layer_from_cgr_dev, "another content"), (a_layer_through_google, "IncompleteRead")],
    "blob-truncated": [(a_layer_from_cgr_dev, "IncompleteRead"), (a_layer_through_google, "IncompleteRead")],
    "clock-skew": [(the_time, "15 minutes ahead")],
}
OF_CLIENTS = {
    "tag-stale",
    "cgr-dev-slow",
    "docker-other-location",
    "docker-helper-missing",
    "docker-snap",
    "proxy-password",
}


@pytest.mark.parametrize("name", SEEN)
def test_clients_see_it(world: Broken, name: str):
    for look, _ in SEEN[name]:
        look_before = look(world)
        assert not any(said in look_before for _, said in SEEN[name]), "it is seen without the fault"
    faults.set_faults([name], world.home)
    for look, said in SEEN[name]:
        assert said in look(world)
    faults.clear(home=world.home)
    for look, said in SEEN[name]:
        assert said not in look(world)


def test_each_fault_is_looked_at_from_a_clients_side():
    others = {name for name in NAMES if name.startswith("caller-lacks-")} | OF_CLIENTS | {"client-disk-full"}
    assert set(NAMES) == SEEN.keys() | others


def test_a_stale_tag_is_served_by_the_cache_alone(whole: Broken):
    faults.set_faults(["tag-stale"], whole.home)
    cached, moved = whole.pull(FREE), whole.from_cgr_dev("manifests", "latest")
    assert (cached.status_code, moved.status_code) == (200, 200)
    assert cached.headers["Docker-Content-Digest"] != moved.headers["Docker-Content-Digest"]


def test_a_slow_host_takes_as_long_as_it_was_told(whole: Broken):
    faults.set_faults(["cgr-dev-slow=0.3"], whole.home)
    assert whole.from_cgr_dev("manifests", "latest").elapsed > timedelta(seconds=0.29)
    faults.set_faults(["cgr-dev-slow=0.01"], whole.home)
    assert whole.from_cgr_dev("manifests", "latest").elapsed < timedelta(seconds=0.29)


def test_an_ended_token_has_ended_by_its_own_words_and_by_what_is_written_beside_it(whole: Broken):
    import base64
    import time

    import jwt

    faults.set_faults(["token-ended"], whole.home)
    password = base64.b64decode(whole.ask("secretmanager", f"{VERSION}:access").json()["payload"]["data"]).decode()
    claims = jwt.decode(password, options={"verify_signature": False})
    assert claims["iat"] < claims["exp"] < time.time() - 3000
    annotations = whole.ask("secretmanager", f"v1/projects/{PROJECT}/secrets/{SECRET}").json()["annotations"]
    ends = annotations["cgrunbook.version-1"].split()[1]
    assert ends < "2" + time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())[1:]


# --- several hands -----------------------------------------------------------------------------------------------------


def test_what_somebody_changed_in_between_stays(world: Broken):
    before = world.picture()
    faults.set_faults(["secret-version-disabled", "upstream-wrong-host", "grant-missing"], world.home)
    unasked = {"labels": {"team": "two"}, "remoteRepositoryConfig": {"disableUpstreamValidation": True}}
    patched = world.ask("artifactregistry", f"{REPOSITORY}?updateMask=labels", "PATCH", unasked)
    assert patched.status_code == 200
    name = f"v1/projects/{PROJECT}/secrets/{SECRET}"
    policy = world.ask("secretmanager", f"{name}:getIamPolicy").json()
    reader = {"role": "roles/secretmanager.viewer", "members": ["user:reader@example.com"]}
    policy["bindings"] = [*policy.get("bindings", []), reader]
    assert world.ask("secretmanager", f"{name}:setIamPolicy", "POST", {"policy": policy}).status_code == 200
    faults.clear(home=world.home)
    assert world.pull().status_code == 200
    repository = world.ask("artifactregistry", REPOSITORY).json()
    assert repository["labels"] == {"team": "two"}
    assert repository["remoteRepositoryConfig"]["commonRepository"]["uri"].rstrip("/") == "https://cgr.dev"
    bindings = world.ask("secretmanager", f"{name}:getIamPolicy").json()["bindings"]
    assert reader in bindings
    assert any("gcp-sa-artifactregistry" in member for one in bindings for member in one["members"])
    assert world.picture()["secret_version"] == before["secret_version"]


def test_what_somebody_mended_is_told_and_stays_mended(world: Broken):
    faults.set_faults(["secret-version-disabled", "grant-missing"], world.home)
    assert world.ask("secretmanager", f"{VERSION}:enable", "POST", {}).status_code == 200
    told = {fault.name: fault.stands for fault in faults.listed(world.home) if fault.since}
    assert told == {"secret-version-disabled": False, "grant-missing": True}
    faults.clear(["grant-missing"], world.home)
    assert world.pull().status_code == 200
    faults.clear(home=world.home)
    assert world.pull().status_code == 200
    assert faults.set_faults(["secret-version-disabled"], world.home) == ["secret-version-disabled"]
    assert "DISABLED" in world.ask("secretmanager", f"{VERSION}:access").text
    faults.clear(home=world.home)


def test_a_predefined_role_gives_back_what_the_caller_lacks(world: Broken):
    faults.set_faults(
        ["caller-lacks-secretmanager.versions.access", "caller-lacks-secretmanager.secrets.get"], world.home
    )
    assert world.ask("secretmanager", f"{VERSION}:access").status_code == 403
    name = f"v3/projects/{PROJECT}"
    policy = world.ask("cloudresourcemanager", f"{name}:getIamPolicy", "POST", {}).json()
    policy["bindings"].append({"role": "roles/secretmanager.secretAccessor", "members": ["user:trainee@example.com"]})
    answer = world.ask("cloudresourcemanager", f"{name}:setIamPolicy", "POST", {"policy": policy})
    assert answer.status_code == 200, answer.text
    assert world.ask("secretmanager", f"{VERSION}:access").status_code == 200
    assert world.ask("secretmanager", f"v1/projects/{PROJECT}/secrets/{SECRET}").status_code == 403
    faults.clear(["caller-lacks-secretmanager.secrets.get"], world.home)
    assert world.ask("secretmanager", f"{VERSION}:access").status_code == 200, "what was mended by hand is broken again"
    faults.clear(home=world.home)
    roles = {
        one["role"] for one in world.ask("cloudresourcemanager", f"{name}:getIamPolicy", "POST", {}).json()["bindings"]
    }
    assert {"roles/owner", "roles/secretmanager.secretAccessor"} <= roles
    assert not any(role.endswith(".less") for role in roles)


def test_two_commands_at_once_set_each_its_own(whole: Broken):
    names = [
        "token-revoked",
        "secret-newline",
        "grant-missing",
        "docker-helper-missing",
        "docker-other-location",
        "upstream-path",
    ]
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda name: faults.set_faults([name], whole.home), names))
    assert {fault.name for fault in faults.listed(whole.home) if fault.stands} == set(names)
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda name: faults.clear([name], whole.home), names))


@pytest.mark.parametrize("deed", ["set", "clear"])
def test_a_command_that_is_killed_before_it_wrote_a_file_is_finished_by_the_next(whole: Broken, deed: str):
    class Killed(BaseException):
        pass

    config = whole.running.docker_config / "config.json"
    before = config.read_bytes()
    if deed == "clear":
        faults.set_faults(["docker-helper-missing", "secret-newline"], whole.home)
    left = config.read_bytes()
    with patch.object(changes, "_write", side_effect=Killed), pytest.raises(Killed):
        faults.set_faults(["docker-helper-missing"], whole.home) if deed == "set" else faults.clear(home=whole.home)
    assert config.read_bytes() == left
    standing = [fault.name for fault in faults.listed(whole.home) if fault.stands]
    assert standing == (["docker-helper-missing"] if deed == "set" else [])
    assert (config.read_bytes() == before) == (deed == "clear")


def test_a_command_that_is_killed_in_the_middle_has_done_nothing(whole: Broken):
    class Killed(BaseException):
        pass

    before = whole.picture()
    with patch.object(changes.Changes, "insert", side_effect=Killed), pytest.raises(Killed):
        faults.set_faults(["secret-newline", "grant-missing", "token-username-mismatched"], whole.home)
    assert whole.picture() == before
    assert not any(fault.since for fault in faults.listed(whole.home))


def test_faults_outlast_the_process_and_are_set_without_one(whole: Broken):
    faults.set_faults(["cgr-dev-503", "grant-missing"], whole.home)
    process.stop(whole.home)
    faults.set_faults(["secret-version-disabled"], whole.home)
    faults.clear(["grant-missing"], whole.home)
    process.start(whole.home)
    assert "Service Unavailable" in free_at_cgr_dev(whole)
    assert "DISABLED" in the_password(whole)


def test_all_or_none_are_set_and_what_cannot_be_says_what_to_run_first(tmp_path: Path):
    with sandbox_home(tmp_path / "home") as home:
        for names, needed in (
            (["token-revoked"], "run 03"),
            (["cgr-dev-503", "upstream-path"], "run 02"),
            (["tag-stale"], "02"),
        ):
            with pytest.raises(faults.NothingToBreak, match=needed):
                faults.set_faults(names, home)
            assert not any(fault.since for fault in faults.listed(home))


def test_two_that_exclude_each_other_are_told(whole: Broken):
    faults.set_faults(["token-username-mismatched"], whole.home)
    before = whole.picture()
    with pytest.raises(
        faults.NothingToBreak, match=r"token-username-mismatched.* cannot be together with token-revoked"
    ):
        faults.set_faults(["token-revoked"], whole.home)
    assert whole.picture() == before


def test_another_registry_in_the_place_of_cgr_dev_is_not_broken(tmp_path: Path):
    home = tmp_path / "home"
    process.start(home, upstream="http://127.0.0.1:9")
    try:
        with pytest.raises(faults.NothingToBreak, match="--upstream"):
            faults.set_faults(["cgr-dev-down"], home)
        assert faults.set_faults(["vpc-sc-denied"], home) == ["vpc-sc-denied"]
    finally:
        process.reset(home)


def test_no_password_is_written_down_beside_the_secret(whole: Broken):
    import base64

    password = base64.b64decode(whole.ask("secretmanager", f"{VERSION}:access").json()["payload"]["data"])
    faults.set_faults(["secret-newline", "secret-version-destroyed", "token-username-mismatched"], whole.home)
    for path in (whole.home / "sandbox").rglob("*"):
        if path.is_file():
            assert password not in path.read_bytes(), path


# --- the command -------------------------------------------------------------------------------------------------------


def command(*words: str) -> Result:
    return CliRunner().invoke(app, ["sandbox", *words])


def test_the_command_sets_lists_and_clears(whole: Broken):
    set_some = command("fault", "set", "Grant_Missing", "cgr-dev-slow=2", "--json")
    assert json.loads(set_some.stdout) == {
        "set": ["grant-missing", "cgr-dev-slow"],
        "now": ["grant-missing", "cgr-dev-slow"],
    }
    listed = {one["name"]: one for one in json.loads(command("fault", "list", "--json").stdout)}
    assert listed.keys() == set(NAMES)
    assert {name for name, one in listed.items() if one["set"]} == {"grant-missing", "cgr-dev-slow"}
    assert listed["cgr-dev-slow"]["value"] == 2
    assert all(one["does"] and one["symptom"] for one in listed.values())
    shown = command("fault", "list").stdout
    assert "grant-missing, SET\n" in shown
    assert f"2 of {len(NAMES)} are set." in shown
    assert command("fault", "clear", "--quiet").stdout == ""
    assert json.loads(command("fault", "clear", "--json").stdout) == {"cleared": [], "now": []}


def test_a_name_that_is_none_is_answered_with_the_nearest(whole: Broken):
    for given, meant in (
        ("token-reovked", "token-revoked"),
        ("grant", "grant-missing"),
        ("caller-lacks-secretmanager", "caller-"),
    ):
        done = command("fault", "set", given)
        assert done.exit_code == 2
        assert f"Do you mean {meant}" in done.stderr
    assert "takes nothing after its name" in command("fault", "set", "token-ended=4").stderr
    assert "a number of seconds" in command("fault", "set", "cgr-dev-slow=fast").stderr


def exported(world: Broken, **shell_has: str) -> list[str]:
    """What a shell has of some variables after it asked, and after it asked again when nothing was set any more."""
    cgrunbook = " ".join(CGRUNBOOK)
    asking = f'eval "$({cgrunbook} sandbox env)"'
    telling = [f'echo "{name}=${{{name}-unset}}"' for name in ("HTTPS_PROXY", "no_proxy", "TMPDIR")] + [
        "env | grep -c KEPT"
    ]
    script = "; ".join([asking, *telling, f"{cgrunbook} sandbox fault clear -q", asking, asking, *telling])
    there = {
        name: value for name, value in shell(world.home).items() if "proxy" not in name.lower() and name != "TMPDIR"
    }
    return subprocess.run(
        ["sh", "-c", script], env=there | shell_has, stdout=subprocess.PIPE, text=True, check=False
    ).stdout.splitlines()


def test_shells_are_given_the_proxy_that_wants_a_password_and_get_their_own_back(whole: Broken):
    faults.set_faults(["proxy-password"], whole.home)
    proxy = f"http://{whole.running.hosts['proxy.example.com']}"
    assert exported(whole, no_proxy="10.0.0.1") == [
        *(f"HTTPS_PROXY={proxy}", "no_proxy=", "TMPDIR=unset", "6"),
        *("HTTPS_PROXY=unset", "no_proxy=10.0.0.1", "TMPDIR=unset", "0"),
    ]
    answer = requests.get("http://cgr.dev/v2/", proxies={"http": proxy}, timeout=30)
    assert (answer.status_code, answer.headers["Proxy-Authenticate"]) == (407, 'Basic realm="proxy"')
    with pytest.raises(requests.exceptions.ProxyError, match="407"):
        requests.get("https://cgr.dev/v2/", proxies={"https": proxy}, timeout=30)


def test_a_full_disk_is_full_and_goes_with_the_fault_or_the_sandbox(whole: Broken):
    set_or_skip(whole, "client-disk-full")
    place = Path(process.environment(whole.running)["TMPDIR"])
    with pytest.raises(OSError, match="No space left"), (place / "more").open("wb", buffering=0) as stream:
        stream.write(bytes(10000))
    full_disk.unmount(whole.running.folder)  # as the restart of this machine does
    assert process.environment(whole.running)["TMPDIR"] == str(place)
    assert place.is_mount()
    faults.clear(home=whole.home)
    assert not place.exists()
    assert "TMPDIR" not in process.of_faults(whole.running)


def test_a_snap_finds_no_helper_and_leaves_dockers_own_folder_alone(whole: Broken, tmp_path: Path):
    docker = tmp_path / "docker"
    docker.write_text("#!/bin/sh\ncommand -v docker-credential-gcloud || echo none\n")
    docker.chmod(0o700)
    search = f"{tmp_path}:{os.environ['PATH']}"
    with patch.dict(os.environ, PATH=search, HOME=str(tmp_path)):
        faults.set_faults(["docker-snap", "docker-helper-missing", "docker-other-location"], whole.home)
        given = process.environment(whole.running)
        found = shutil.which("docker", path=given["PATH"])
        assert found is not None
        assert "/snap/" in str(Path(found).resolve())
        assert (
            subprocess.run([found], env=os.environ | given, capture_output=True, text=True, check=False).stdout
            == "none\n"
        )
    assert [path.name for path in tmp_path.iterdir()] == ["docker"]


def test_the_clock_is_moved_and_put_back_and_what_was_granted_meanwhile_holds(whole: Broken):
    assert json.loads(command("clock", "--by", "31d", "--json").stdout) == {"ahead_seconds": 31 * 86400.0}
    assert the_time(whole) == f"{31 * 24 * 60} minutes ahead"
    assert "your upstream credentials are invalid" in through_google(whole)  # thirty days were the token's
    faults.set_faults(["grant-missing"], whole.home)
    faults.clear(home=whole.home)
    assert re.search("ahead.*\n.*clock --reset", command("clock").stdout)
    assert command("clock", "--reset").stdout == "The sandbox's clock is this machine's.\n"
    assert whole.pull().status_code == 200
    for wrong in ("3x", "-3d", "99999d"):
        assert command("clock", "--by", wrong).exit_code == 2
