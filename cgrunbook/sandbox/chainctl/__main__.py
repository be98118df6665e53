"""chainctl's command line: which commands there are, and which of them is meant.

Knows names, aliases, flags and help. What a command does is pull_tokens.py's and account.py's.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence

from cgrunbook.sandbox.chainctl import access, account, pull_tokens
from cgrunbook.sandbox.chainctl.flags import EVERYWHERE, Command, Failure, Flag, flags, parse

_LOGIN = flags(
    "identity identity-provider identity-token org-name social-login",
    switches="create-refresh-token headless prefer-ambient-credentials refresh refresh-all refresh-only skip-browser "
    "sts-http1-downgrade",
) | {"validate": Flag(switch=True, default="true")}
_TOKEN = flags("parent", switches="save") | {"name": Flag(default="pull-token"), "ttl": Flag(default="720h0m0s")}
_ALIASES_OF = {
    "pull-token": "pull-tokens",
    "list": "ls",
    "create": "make mk",
    "delete": "rm del remove",
    "identities": "identity ids id",
    "roles": "role",
    "role-bindings": "role-binding rolebinding rolebindings",
    "organizations": "organization orgs org",
    "images": "image img",
    "repos": "repositories repository repo",
    "tags": "tag",
}
_ALIASES = {alias: name for name, aliases in _ALIASES_OF.items() for alias in aliases.split()}
_CREATE = Command(
    pull_tokens.create_pull_token,
    "Create a pull token.",
    _TOKEN | flags("description") | {"repository": Flag(default="oci")},
)
_CONFIGURE_DOCKER = Command(
    pull_tokens.configure_docker,
    "Configure a Docker credential helper.",
    _LOGIN | _TOKEN | flags("images", switches="pull-token"),
)
_NEWER = frozenset({"pull-token", "configure"})
_COMMANDS: Mapping[tuple[str, ...], Command] = {
    ("auth", "login"): Command(account.log_in, "Login to the Chainguard platform.", _LOGIN),
    ("auth", "logout"): Command(account.log_out, "Logout from the Chainguard platform."),
    ("auth", "status"): Command(
        account.status, "Inspect the local Chainguard Token.", _LOGIN | flags(switches="quick")
    ),
    ("auth", "token"): Command(account.token, "Print the local Chainguard Token.", _LOGIN),
    ("auth", "configure", "docker"): _CONFIGURE_DOCKER,  # the spelling since September 2026
    ("auth", "configure-docker"): _CONFIGURE_DOCKER,
    ("auth", "docker-credential"): Command(pull_tokens.docker_credential, "Docker's credential helper protocol."),
    ("auth", "pull-token"): _CREATE,
    ("auth", "pull-token", "create"): _CREATE,
    ("auth", "pull-token", "list"): Command(
        pull_tokens.list_pull_tokens, "List pull tokens.", flags("parent repository", switches="expired")
    ),
    ("iam", "identities", "list"): Command(
        pull_tokens.list_identities,
        "List identities.",
        flags("parent type relationship name", switches="expired") | {"recursive": Flag(switch=True, default="true")},
    ),
    ("iam", "identities", "delete"): Command(
        pull_tokens.delete_identities, "Delete one or more identities.", flags("parent name", switches="expired yes")
    ),
    ("iam", "identities", "create"): Command(
        access.create_identity,
        "Create an identity.",
        flags("audience description identity-issuer name parent role subject", switches="yes"),
    ),
    ("iam", "roles", "create"): Command(
        access.create_role, "Create a role.", flags("capabilities description parent", switches="yes")
    ),
    ("iam", "roles", "list"): Command(access.list_roles, "List roles.", flags("name parent", switches="managed")),
    ("iam", "roles", "delete"): Command(access.delete_role, "Delete a role.", flags(switches="yes")),
    ("iam", "role-bindings", "create"): Command(
        access.create_binding, "Create a role-binding.", flags("identity parent role", switches="yes")
    ),
    ("iam", "organizations", "list"): Command(account.list_organizations, "List organizations."),
    ("images", "repos", "list"): Command(account.list_repositories, "List image repositories.", flags("parent repo")),
    ("images", "tags", "list"): Command(
        account.list_tags, "List image tags.", flags("parent repo", switches="active-only")
    ),
    ("version",): Command(account.version, "Print the version.", flags(switches="json")),
    ("config", "validate"): Command(account.validate_config, "Run diagnostics on local config."),
}

_WITH_ARGUMENTS = (
    pull_tokens.delete_identities,
    pull_tokens.docker_credential,
    access.create_identity,
    access.create_role,
    access.delete_role,
)


def _edition() -> Mapping[tuple[str, ...], Command]:
    if os.environ.get("CGRUNBOOK_SANDBOX_CHAINCTL_EDITION") == "2024":
        return {path: command for path, command in _COMMANDS.items() if _NEWER.isdisjoint(path)}
    return _COMMANDS


def _find(words: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """The command that the first words name, and the words after it; flags may stand between."""
    commands = _edition()
    path: tuple[str, ...] = ()
    rest = list(words)
    while rest and not rest[0].startswith("-"):
        longer = (*path, _ALIASES.get(rest[0], rest[0]) if path or rest[0] in ("image", "img") else rest[0])
        if not any(known[: len(longer)] == longer for known in commands):
            break
        path, rest = longer, rest[1:]
    if path not in commands:
        if rest and not rest[0].startswith("-"):
            raise Failure(f'unknown command "{rest[0]}" for "{" ".join(("chainctl", *path))}"')
        return path, rest
    return path, rest


def _usage(path: tuple[str, ...]) -> str:
    below = {known: command for known, command in _edition().items() if known[: len(path)] == path}
    lines = [f"Usage: {' '.join(('chainctl', *path))} [command] [flags]", ""]
    lines += [f"  {' '.join(('chainctl', *known)):<36} {command.summary}" for known, command in below.items()]
    if path in below:
        lines += ["", "Flags:", *(f"  --{name}" for name in sorted({**EVERYWHERE, **below[path].flags}))]
    return "\n".join(lines) + "\n"


def main(words: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0, or 1 when it failed (the real command has no scheme of exit statuses).
    """
    words = list(sys.argv[1:] if words is None else words)
    as_json = False
    try:
        path, rest = _find(words)
        command = _edition().get(path)
        if command is None or "--help" in rest or "-h" in rest:
            sys.stdout.write(_usage(path))
            return 0
        given = parse(command, rest)
        as_json = given["output"] == "json"
        takes_arguments = command.run in _WITH_ARGUMENTS
        if given.arguments and not takes_arguments:
            raise Failure(f'unknown command "{given.arguments[0]}" for "{" ".join(("chainctl", *path))}"')
        command.run(given)
    except Failure as failure:
        if as_json and failure.code is not None:
            sys.stderr.write(json.dumps({"message": str(failure), "code": failure.code}, separators=(",", ":")) + "\n")
        else:
            sys.stderr.write(f"Error: {failure}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def command() -> int:
    """Run one command as a process, whose reader may have read enough, as head does."""
    try:
        code = main()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it closes stdout
        return 141  # what a shell says of a command that SIGPIPE ended
    return code


if __name__ == "__main__":
    sys.exit(command())
