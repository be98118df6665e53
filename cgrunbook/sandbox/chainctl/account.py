"""chainctl's commands around the login, the organisation and its images, and those about chainctl itself.

Knows what each prints. Pull tokens are pull_tokens.py's.
"""

from __future__ import annotations

import os
import sys
import urllib.error
from typing import Any

from cgrunbook.sandbox.chainctl.flags import Failure, Given
from cgrunbook.sandbox.chainctl.login import Sandbox, opened
from cgrunbook.sandbox.chainctl.output import print_items, print_json, print_list, print_table
from cgrunbook.sandbox.chainguard.addresses import API_AUDIENCE
from cgrunbook.sandbox.hosts import CGR_DEV, CONSOLE_API

VERSION = "v0.2.261"  # the edition whose documentation this follows


def log_in(given: Given) -> None:
    """chainctl auth login: the trainee is logged in again; no browser is needed."""
    sandbox = Sandbox()
    if given.on("headless"):
        code = os.urandom(16).hex()
        sys.stderr.write(
            "Visit this URL on any device with a browser to authenticate: "
            f"https://issuer.enforce.dev/oauth?headless_code={code}\n(The sandbox needs no browser and goes on.)\n"
        )
    was_in = sandbox.logged_in
    sandbox.log_in()
    try:
        identity = sandbox.call("GET", "/auth/v1/ok")["subject"]
        if given["identity"] not in ("", identity):
            raise Failure("Identity not found")
    except Failure:
        if not was_in:
            sandbox.log_out()
        raise
    sys.stdout.write(f"Successfully exchanged token.\nValid! Id: {identity}\n")


def log_out(_given: Given) -> None:
    """chainctl auth logout."""
    Sandbox().log_out()
    sys.stdout.write("Logged out.\n")


def status(given: Given) -> None:
    """chainctl auth status: who is logged in, for how long, with which roles."""
    sandbox = Sandbox()
    if given.on("quick"):
        # Offline: what is kept here is all that is looked at.
        session = sandbox.session() if sandbox.cached_session(API_AUDIENCE) is None else None
        expiry = (session or sandbox.cached_session(API_AUDIENCE) or {}).get("expiry", "")
        status: dict[str, Any] = {"valid": True, "audience": API_AUDIENCE, "expiry": expiry}
    else:
        who = sandbox.call("GET", "/auth/v1/ok")
        status = {
            "valid": True,
            "identity": who["subject"],
            "email": who["email"],
            "issuer": who["issuer"],
            "audience": who["audience"][0],
            "issuedAt": who["issuedAt"],
            "expiry": who["expiry"],
            "capabilities": {entry["group"]["name"]: entry["role"]["name"] for entry in who["capabilities"]},
        }
    if given["output"] == "json":
        print_json(status)
        return
    for name, value in status.items():
        shown = ", ".join(f"{role} on {group}" for group, role in value.items()) if isinstance(value, dict) else value
        sys.stdout.write(f" {name[:1].upper() + name[1:]:<12} | {shown}\n")


def token(given: Given) -> None:
    """chainctl auth token."""
    sys.stdout.write(f"{Sandbox().session(given['audience'] or API_AUDIENCE)['token']}\n")


def list_organizations(given: Given) -> None:
    """chainctl iam organizations list."""
    groups = Sandbox().organizations()
    if given["output"] in ("json", "id", "table", "wide"):
        print_list(
            given["output"], groups, ("ID", "NAME", "DESCRIPTION"), lambda g: (g["id"], g["name"], g["description"])
        )
    else:
        sys.stdout.writelines(f"[{group['name']}] {group['description']}\n" for group in groups)


def list_repositories(given: Given) -> None:
    """chainctl images repos list."""
    print_list(
        given["output"],
        _repositories(Sandbox(), given),
        ("NAME", "TIER", "TAGS"),
        lambda item: (item["name"], item["catalogTier"], ", ".join(item["activeTags"])),
    )


def _repositories(sandbox: Sandbox, given: Given) -> list[dict[str, Any]]:
    group = sandbox.organization(given["parent"])
    query = {"uidp__childrenOf": group["id"]} | ({"name": given["repo"]} if given["repo"] else {})
    items: list[dict[str, Any]] = sandbox.call("GET", "/registry/v1/repos", None, **query)["items"]
    return items


def list_tags(given: Given) -> None:
    """chainctl images tags list."""
    sandbox = Sandbox()
    items = [
        {"repo": repository["name"], **tag}
        for repository in _repositories(sandbox, given)
        for tag in sandbox.call("GET", "/registry/v1/tags", None, uidp__childrenOf=repository["id"])["items"]
    ]
    if given["output"] == "json":
        print_items(items)
    else:
        print_table(("REPO", "TAG", "DIGEST"), [(item["repo"], item["name"], item["digest"]) for item in items])


def version(given: Given) -> None:
    """chainctl version."""
    if given["output"] == "json" or given.on("json"):
        print_json({"gitVersion": VERSION, "platform": "cgrunbook sandbox"})
    else:
        sys.stdout.write(
            f"chainctl: Chainguard Control (stand-in of the cgrunbook sandbox)\nGitVersion:    {VERSION}\n"
        )


def validate_config(_given: Given) -> None:
    """Say what can be reached; the exit status is 0 whatever is found, as observed of the real command."""
    sandbox = Sandbox()
    for host, path in ((CONSOLE_API, "/ping/v1/ping"), (CGR_DEV, "/v2/")):
        try:
            with opened(f"http://{sandbox.hosts[host]}{path}"):
                found = "reachable"
        except urllib.error.HTTPError:
            found = "reachable"  # any answer is one
        except OSError as problem:
            found = f"not reachable: {problem}"
        sys.stdout.write(f"{host}: {found}\n")
