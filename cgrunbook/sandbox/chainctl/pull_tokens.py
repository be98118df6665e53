"""chainctl's commands around pull tokens: make, save for docker, list, and delete the identities behind them.

Knows how a pull token is made and what docker's configuration holds of it. Who may is the platform's to say.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shlex
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cgrunbook.sandbox import process
from cgrunbook.sandbox.chainctl.flags import Failure, Given, go_duration
from cgrunbook.sandbox.chainctl.login import Sandbox
from cgrunbook.sandbox.chainctl.output import print_items, print_json, print_list, print_table
from cgrunbook.sandbox.chainguard.addresses import PULL_TOKEN_ISSUER, REGISTRY_AUDIENCE, STS_ISSUER
from cgrunbook.sandbox.hosts import CGR_DEV

_REPOSITORY_TYPES = ("oci", "apk", "javascript", "java", "python")
_NAME_SUFFIX = {"oci": "registry"}


def make_pull_token(sandbox: Sandbox, given: Given) -> tuple[str, str]:
    """Make a pull token as chainctl does: a throw-away key, of which only the public half leaves this process.

    Args:
        sandbox: where.
        given: flags name, parent, ttl, and description and repository where the command has them.

    Returns:
        The new identity's id, which is the user name, and the JWT, which is the password.

    Raises:
        Failure: a flag is not acceptable, or the platform refuses.
    """
    import jwt
    from cryptography.hazmat.primitives.asymmetric import rsa

    ttl = go_duration(given["ttl"])
    kind = given.values.get("repository", "oci").split(",")[0]
    group = sandbox.organization(given["parent"])
    roles = sandbox.call("GET", "/iam/v1/roles", name="registry.pull")["items"]
    key = rsa.generate_private_key(public_exponent=65537, key_size=4096)
    public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key())) | {"alg": "RS256", "use": "sig"}
    issued = sandbox.now()
    subject = f"pull-token-{os.urandom(16).hex()}"
    identity = sandbox.call(
        "POST",
        f"/iam/v1/identities/{quote(group['id'])}",
        {
            "name": f"{given['name']} - {_NAME_SUFFIX.get(kind, kind)}",
            "description": given.values.get("description", ""),
            "static": {
                "issuer": PULL_TOKEN_ISSUER,
                "subject": subject,
                "issuerKeys": json.dumps({"keys": [public]}),
                "expiration": (issued + ttl).astimezone(UTC).isoformat(),
            },
        },
    )
    binding = {"identity": identity["id"], "role": roles[0]["id"], "group": group["id"]}
    sandbox.call("POST", f"/iam/v1/rolebindings/{quote(group['id'])}", binding)
    begin = int(issued.timestamp())
    # Where the platform has shortened what was asked, the token ends with its keys.
    lasts = min(
        int(ttl.total_seconds()),
        int((datetime.fromisoformat(identity["static"]["expiration"]) - issued).total_seconds()) + 1,
    )
    claims = {
        "iss": PULL_TOKEN_ISSUER,
        "aud": STS_ISSUER,
        "sub": subject,
        "iat": begin,
        "exp": begin + lasts - 1,  # a real token lives one second less than its TTL
    }
    # A real token's header is {"alg": "RS256"}; an empty typ is left out.
    return identity["id"], jwt.encode(claims, key, algorithm="RS256", headers={"typ": ""})


def _docker_config() -> Path:
    return Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"


@contextlib.contextmanager
def _editing_docker_config() -> Iterator[dict[str, Any]]:
    """Give docker's configuration to be changed, and write it back whole."""
    path = _docker_config()
    try:
        document = json.loads(path.read_text())
    except FileNotFoundError:
        document = {}
    except (ValueError, RecursionError) as problem:
        raise Failure(f"{path} is no JSON; nothing was written") from problem
    yield document
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    process.write_atomically(path, json.dumps(document, indent="\t"))


def _save(sandbox: Sandbox, username: str, password: str) -> None:
    with _editing_docker_config() as document:
        pair = base64.b64encode(f"{username}:{password}".encode()).decode()
        document.setdefault("auths", {})[sandbox.hosts[CGR_DEV]] = {"auth": pair}
        document.get("credHelpers", {}).pop(sandbox.hosts[CGR_DEV], None)
    sys.stderr.write(f"Saved the pull token to {_docker_config()}.\n")


def create_pull_token(given: Given) -> None:
    """chainctl auth pull-token create, in its output forms."""
    output = given["output"]
    kinds = [part for part in given.values.get("repository", "oci").replace("all", "oci,apk").split(",") if part]
    for kind in kinds:
        if kind not in _REPOSITORY_TYPES:
            raise Failure(f'invalid repository type "{kind}": must be one of {", ".join(_REPOSITORY_TYPES)}')
        if kind not in ("oci", "apk"):
            raise Failure(f'the sandbox has no libraries, so it makes no pull token for "{kind}"')
    sandbox = Sandbox()
    username, password = make_pull_token(sandbox, given)
    if given.on("save"):
        _save(sandbox, username, password)
    if output == "json":
        print_json({"identity_id": username, "token": password})
        return
    if output == "env":
        sys.stdout.write(f"export CHAINGUARD_IDENTITY_ID={username}\nexport CHAINGUARD_TOKEN={password}\n")
        return
    if output:
        sys.stderr.write(f'"{output}" is not a supported output. Supported: [ env json]. Using print to command line\n')
    if "oci" not in kinds:
        sys.stdout.write(
            "To use this pull token in another environment, supply the following for Basic authorization:\n\n"
            f"Username: {username}\n\nPassword: {password}\n"
        )
        return
    sys.stdout.write(
        "To use this pull token in another environment, run this command:\n\n"
        f'    docker login "{CGR_DEV}" --username "{username}" --password "{password}"\n'
    )
    sys.stderr.write(f"(In the sandbox, {CGR_DEV} is played at {sandbox.hosts[CGR_DEV]}.)\n")


def configure_docker(given: Given) -> None:
    """chainctl auth configure-docker: a credential helper for docker, or with --pull-token a pull token."""
    if given.on("pull-token"):
        create_pull_token(Given({**given.values, "output": ""}))
        return
    sandbox = Sandbox()
    sandbox.session(REGISTRY_AUDIENCE)
    helper = sandbox.folder / "bin" / "docker-credential-cgr"
    command = shlex.quote(str(sandbox.folder / "bin" / "chainctl"))
    process.write_atomically(helper, f'#!/bin/sh\nexec {command} auth docker-credential "$@"\n', mode=0o700)
    with _editing_docker_config() as document:
        document.setdefault("credHelpers", {})[sandbox.hosts[CGR_DEV]] = "cgr"
        document.get("auths", {}).pop(sandbox.hosts[CGR_DEV], None)
    sys.stderr.write(f"Docker asks chainctl for credentials of {sandbox.hosts[CGR_DEV]} (cgr.dev) from now on.\n")


def docker_credential(given: Given) -> None:
    """Speak docker's credential helper protocol: `get` reads a server from stdin; nothing is ever stored here."""
    if list(given.arguments) == ["get"]:
        server = sys.stdin.readline().strip().removeprefix("http://").removeprefix("https://").rstrip("/")
        sandbox = Sandbox()
        if server not in (sandbox.hosts[CGR_DEV], CGR_DEV):
            sys.stdout.write("credentials not found in native keychain\n")
            raise Failure(f"{server} is not the sandbox's cgr.dev")
        print_json({"ServerURL": server, "Username": "_token", "Secret": sandbox.session(REGISTRY_AUDIENCE)["token"]})
    elif list(given.arguments) == ["list"]:
        print_json({})


def list_pull_tokens(given: Given) -> None:
    """chainctl auth pull-token list."""
    sandbox = Sandbox()
    group = sandbox.organization(given["parent"])
    items = _selected(sandbox, given, group, static=True)
    if given["output"] == "json":
        print_items(items)
        return
    rows = []
    for item in items:
        expires = sandbox.expiration(item)
        days = (expires - sandbox.now()).days if expires else ""
        rows.append((item["id"], item["name"], item["description"], f"{group['name']}: registry.pull", str(days)))
    print_table(("ID", "NAME", "DESCRIPTION", "ROLES", "EXPIRES"), rows)


def list_identities(given: Given) -> None:
    """chainctl iam identities list."""
    kind = given["type"] or given["relationship"]
    if kind not in ("", "pull_token", "static", "claim_match"):
        raise Failure(f'the sandbox has identities of type "pull_token" and "claim_match" only, not "{kind}"')
    sandbox = Sandbox()
    items = _selected(sandbox, given, sandbox.organization(given["parent"]), static=kind in ("pull_token", "static"))
    if kind == "claim_match":
        items = [item for item in items if "claimMatch" in item]
    print_list(
        given["output"],
        items,
        ("ID", "NAME", "DESCRIPTION", "TYPE", "EXPIRES"),
        lambda item: (
            item["id"],
            item["name"],
            item["description"],
            "pull_token" if "static" in item else "claim_match",
            item.get("static", {}).get("expiration", ""),
        ),
    )


def _selected(sandbox: Sandbox, given: Given, group: Mapping[str, Any], *, static: bool) -> list[dict[str, Any]]:
    items = sandbox.identities(group["id"])
    if static:
        items = [item for item in items if "static" in item]
    if name := given.values.get("name"):
        items = [item for item in items if item["name"] == name]
    if given.on("expired"):
        now = sandbox.now()
        items = [item for item in items if (end := sandbox.expiration(item)) is not None and end <= now]
    return items


def delete_identities(given: Given) -> None:
    """chainctl iam identities delete: by id, by name, or all that have expired."""
    sandbox = Sandbox()
    wanted = list(given.arguments)
    if given.on("expired"):
        if wanted:
            raise Failure("--expired and an identity exclude each other")
        wanted = [item["id"] for item in _selected(sandbox, given, sandbox.organization(given["parent"]), static=True)]
    elif not wanted:
        raise Failure("name the identities to delete by id, or use --expired")
    for number, identity in enumerate(wanted):
        if "/" not in identity:
            wanted[number] = _identity_by_name(sandbox, given, identity)
    if wanted and not given.on("yes") and not _confirmed(f"Deleting {len(wanted)} identities: {', '.join(wanted)}."):
        raise Failure("nothing was deleted")
    for identity in wanted:
        sandbox.call("DELETE", f"/iam/v1/identities/{quote(identity)}")
        sys.stdout.write(f"Deleted identity {identity}\n")


def _identity_by_name(sandbox: Sandbox, given: Given, name: str) -> str:
    group = sandbox.organization(given["parent"])
    found = [item["id"] for item in sandbox.identities(group["id"]) if item["name"] == name]
    if len(found) != 1:
        raise Failure(f'{len(found)} identities are named "{name}"; name one by id')
    return str(found[0])


def _confirmed(announcement: str) -> bool:
    sys.stderr.write(f"{announcement}\nDo you want to continue? [Y,n]: ")
    sys.stderr.flush()
    if not sys.stdin.isatty():
        raise Failure("no terminal to ask at; confirm with --yes")
    return input().strip().lower() in ("", "y", "yes")
