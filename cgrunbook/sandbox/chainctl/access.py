"""chainctl's commands around who may do what: identities that are assumed with another issuer's token, roles, bindings.

Knows flags and what is printed. Who may is the platform's to say.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from cgrunbook.sandbox.chainctl.flags import Failure, Given
from cgrunbook.sandbox.chainctl.login import Sandbox
from cgrunbook.sandbox.chainctl.output import print_json, print_list
from cgrunbook.sandbox.chainguard.roles import enum_name


def create_identity(given: Given) -> None:
    """chainctl iam identities create: with literal claims; with --role it is bound too."""
    name = given["name"] or (given.arguments[0] if given.arguments else "")
    for flag in ("identity-issuer", "subject"):
        if not given[flag]:
            raise Failure(f"the sandbox makes identities with literal claims only; give --{flag}")
    sandbox = Sandbox()
    group = sandbox.organization(given["parent"])
    roles = [_role(sandbox, group["id"], role)["uid"] for role in _words(given["role"])]
    claims = {"issuer": given["identity-issuer"], "subject": given["subject"]}
    if given["audience"]:
        claims["audience"] = given["audience"]
    body = {"name": name, "description": given["description"], "claimMatch": claims}
    made = sandbox.call("POST", f"/iam/v2/identities/{quote(group['id'])}", body)
    for role in roles:
        _bind(sandbox, group["id"], made["uid"], role)
    _print(given, made)


def create_role(given: Given) -> None:
    """chainctl iam roles create."""
    sandbox = Sandbox()
    group = sandbox.organization(given["parent"])
    body = {
        "name": given.arguments[0] if given.arguments else "",
        "description": given["description"],
        "capabilities": [enum_name(one) for one in _words(given["capabilities"])],
    }
    _print(given, sandbox.call("POST", f"/iam/v2/roles/{quote(group['id'])}", body))


def list_roles(given: Given) -> None:
    """chainctl iam roles list."""
    sandbox = Sandbox()
    roles = sandbox.listed("roles", "/iam/v2/roles")
    items = [_as_v1(role) for role in roles if given["name"] in ("", role["name"])]
    print_list(given["output"], items, ("ID", "NAME", "DESCRIPTION"), lambda r: (r["id"], r["name"], r["description"]))


def delete_role(given: Given) -> None:
    """chainctl iam roles delete."""
    for role in given.arguments:
        Sandbox().call("DELETE", f"/iam/v2/roles/{quote(role)}")
        sys.stdout.write(f"Deleted role {role}\n")


def create_binding(given: Given) -> None:
    """chainctl iam role-bindings create."""
    sandbox = Sandbox()
    group = sandbox.organization(given["parent"])
    identity = given["identity"]
    if "/" not in identity:
        found = [one["id"] for one in sandbox.identities(group["id"]) if one["name"] == identity]
        if len(found) != 1:
            raise Failure(f'{len(found)} identities are named "{identity}"; name one by id')
        [identity] = found
    _print(given, _bind(sandbox, group["id"], identity, _role(sandbox, group["id"], given["role"])["uid"]))


def _bind(sandbox: Sandbox, group: str, identity: str, role: str) -> dict[str, Any]:
    return sandbox.call("POST", f"/iam/v2/roleBindings/{quote(group)}", {"identityUid": identity, "roleUid": role})


def _role(sandbox: Sandbox, group: str, wanted: str) -> dict[str, Any]:
    for role in sandbox.listed("roles", "/iam/v2/roles"):
        its_group = role["uid"].rpartition("/")[0]
        if wanted in (role["uid"], role["name"]) and its_group in ("", group):
            return role
    raise Failure(f'role "{wanted}" not found', code=5)


def _words(text: str) -> Iterable[str]:
    return [word for word in text.split(",") if word]


def _as_v1(message: dict[str, Any]) -> dict[str, Any]:
    return {"id": message["uid"], "name": message.get("name", ""), "description": message.get("description", "")}


def _print(given: Given, message: dict[str, Any]) -> None:
    if given["output"] == "json":
        print_json(_as_v1(message))
    else:
        sys.stdout.write(f"{message['uid']}\n")
