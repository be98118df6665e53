"""The world that somebody left behind on a sandbox, read over the wire, without what differs from run to run.

It uses no client of cgrunbook's: what a mistake there would hide is to be seen here.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import httpx

from cgrunbook.sandbox import process

# Ids that are new each time, and times; everything else has to be the same.
_MASKS = (
    (re.compile(r"\b[0-9a-f]{40}/[0-9a-f]{16}\b"), "USERNAME"),
    (re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)"), "TIME"),
    (re.compile(r"\b\d{4}-\d\d-\d\d( \d\d:\d\d(:\d\d)? UTC)?"), "TIME"),
    (re.compile(r"\bsigns in as [0-9a-f]{16}\b"), "signs in as USERNAME"),
    (re.compile(r"\b\d+\.\d+ s\b"), "SECONDS"),
    (re.compile(r"\b127\.0\.0\.1:\d+\b"), "HOST"),
)
_APIS = ("artifactregistry.googleapis.com", "secretmanager.googleapis.com")


def world(home: Path) -> dict[str, Any]:
    """What there is: APIs, repositories, secrets, versions, grants, pull tokens, docker's configuration.

    Args:
        home: the CGRUNBOOK_HOME of a sandbox that runs.
    """
    status = process.status(home)
    assert status is not None
    running = status.running
    with httpx.Client(trust_env=False, timeout=20) as client:
        client.headers["Authorization"] = f"Bearer {running.access_token_file.read_text().strip()}"

        def ask(host: str, path: str, **headers: str) -> Any:
            return client.get(f"http://{running.hosts[host]}/{path}", headers=headers)

        project = f"projects/{running.project_id}"
        found: dict[str, Any] = {
            "apis": {
                api: ask("serviceusage.googleapis.com", f"v1/{project}/services/{api}").json()["state"] for api in _APIS
            },
            "docker": json.loads((running.docker_config / "config.json").read_text()),
            "pull tokens": _pull_tokens(home),
        }
        repositories = ask(_APIS[0], f"v1/{project}/locations/us-central1/repositories").json().get("repositories", [])
        found["repositories"] = {repository.pop("name"): repository for repository in repositories}
        for repository in repositories:
            repository.pop("sizeBytes", None)  # what has been pulled, not what was set up
        found["secrets"] = {}
        for secret in ask(_APIS[1], f"v1/{project}/secrets").json().get("secrets", []):
            name = secret.pop("name")
            path = f"v1/{project}/secrets/{name.rpartition('/')[2]}"
            versions = ask(_APIS[1], f"{path}/versions").json().get("versions", [])
            policy = ask(_APIS[1], f"{path}:getIamPolicy").json()
            found["secrets"][name] = {"secret": secret, "versions": versions, "grants": policy.get("bindings", [])}
        found["pulls"] = {
            f"{image} through {name}": ask(
                "us-central1-docker.pkg.dev",
                f"v2/{running.project_id}/{name.rpartition('/')[2]}/{image}/manifests/latest",
                Accept="application/vnd.oci.image.index.v1+json",
            ).status_code
            for name in found["repositories"]
            for image in ("chainguard/go", "example.com/chainguard-base")
        }
    without_ids: dict[str, Any] = masked(found)
    return without_ids


def difference(one: Any, other: Any) -> str:
    """Where two worlds differ, line by line; empty when they do not."""
    before, after = (json.dumps(found, indent=1, sort_keys=True).splitlines() for found in (one, other))
    return "\n".join(difflib.unified_diff(before, after, lineterm="", n=6))


def password_of(home: Path, secret: str = "chainguard-pull-token") -> str:
    """The password in a secret's newest version."""
    from base64 import b64decode

    status = process.status(home)
    assert status is not None
    running = status.running
    answer = httpx.get(
        f"http://{running.hosts[_APIS[1]]}/v1/projects/{running.project_id}/secrets/{secret}/versions/latest:access",
        headers={"Authorization": f"Bearer {running.access_token_file.read_text().strip()}"},
        trust_env=False,
    )
    return b64decode(answer.json()["payload"]["data"]).decode()


def _pull_tokens(home: Path) -> list[dict[str, Any]]:
    command = process.folder_of(home) / "bin" / "chainctl"
    words = [str(command), "auth", "pull-token", "list", "--parent=example.com", "--output=json"]
    listed = subprocess.run(
        words, check=True, capture_output=True, text=True, env=os.environ | {"CGRUNBOOK_HOME": str(home)}
    )
    told = ("name", "description")  # the rest of it is the key, the ids and the times
    return [{name: item.get(name) for name in told} for item in json.loads(listed.stdout).get("items", [])]


def masked(value: Any) -> Any:
    """Plain data without what is new each time."""
    if isinstance(value, dict):
        return {masked(key): masked(item) for key, item in value.items() if key != "etag"}
    if isinstance(value, list):
        return [masked(item) for item in value]
    if isinstance(value, str):
        for pattern, word in _MASKS:
            value = pattern.sub(word, value)
    return value
