"""The docker credential helper for machines without gcloud."""

from __future__ import annotations

import json
import subprocess

import httpx


def ask(sandbox, action, text=""):
    helper = sandbox.fallback_bin / "docker-credential-gcloud"
    return subprocess.run([str(helper), action], input=text, capture_output=True, text=True, check=False)


def test_it_answers_for_the_sandboxs_docker_hosts(sandbox):
    host = sandbox.docker_host("europe-west1")
    for server in (host, f"http://{host}", f"https://{host}/v2/"):
        answer = json.loads(ask(sandbox, "get", f"{server}\n").stdout)
        assert answer["Username"] == "_dcgcloud_token"
        token = httpx.get(f"http://{host}/v2/token", auth=(answer["Username"], answer["Secret"]), trust_env=False)
        assert token.status_code == 200


def test_it_has_nothing_for_anybody_else(sandbox):
    for server in ("us-central1-docker.pkg.dev", sandbox.hosts["cgr.dev"], ""):
        done = ask(sandbox, "get", f"{server}\n")
        assert (done.returncode, done.stdout) == (1, "credentials not found in native keychain\n")


def test_it_lists_hosts_and_keeps_nothing(sandbox):
    assert json.loads(ask(sandbox, "list").stdout)[sandbox.docker_host("us")] == "_dcgcloud_token"
    assert ask(sandbox, "store", '{"ServerURL": "x"}').returncode == 0
    assert ask(sandbox, "erase", "x").returncode == 0
    assert ask(sandbox, "bogus").returncode == 1
