"""A stand-in for Chainguard's chainctl: `python -m cgrunbook.sandbox.chainctl`, installed as `chainctl` in the sandbox.

Knows the documented commands, flags and outputs, how a pull token is made, and which sandbox it belongs to. Rules about
who may do what are the platform's (chainguard.py), asked over its API as the real command does.

Established by documentation or public source: the commands, flags and aliases; the outputs of `pull-token create`;
`items` with `id` and `name` in every `-o json` list; `activeTags` of `images repos list`; `identity`, `email` and
`capabilities` (organisation to role) of `auth status -o json`, its exit status 1 when logged out, "Valid" and "Email"
in its table; the "No folder found" error. Inferred: the other keys, which are those of the API's messages in JSON (an
empty list is left out, as protobuf's JSON leaves it out), the wording of the remaining messages, and the suffixes of
names other than " - registry".

With CGRUNBOOK_SANDBOX_CHAINCTL_EDITION=2024 it plays the edition of August 2024, which had no `auth pull-token`.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import shlex
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from cgrunbook.sandbox import process
from cgrunbook.sandbox.context import CGR_DEV, CONSOLE_API
from cgrunbook.sandbox.state import Clock, State

API_AUDIENCE = "https://console-api.enforce.dev"
REGISTRY_AUDIENCE = "cgr.dev"
PULL_TOKEN_ISSUER = "https://pulltoken.issuer.chainguard.dev"  # noqa: S105 - an address
PULL_TOKEN_AUDIENCE = "https://issuer.enforce.dev"  # noqa: S105 - an address
VERSION = "v0.2.261"  # the edition whose documentation this follows

_TIMEOUT_SECONDS = 30
_NANOSECONDS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "μs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_REPOSITORY_TYPES = ("oci", "apk", "javascript", "java", "python")
_NAME_SUFFIX = {"oci": "registry"}


class Failure(Exception):
    """What the command cannot do; the message goes to stderr and the exit status is 1."""

    def __init__(self, message: str, code: int | None = None) -> None:
        """Keep the message.

        Args:
            message: For a person.
            code: chainctl's own code, where it is known; such an error is JSON when -o json was asked.
        """
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Flag:
    """A flag as Go's pflag reads it: a switch may be written --yes or --yes=true.

    Attributes:
        switch: Takes no value unless it is joined with "=".
        default: Value when the flag is not given.
    """

    switch: bool = False
    default: str = ""


@dataclass(frozen=True)
class Given:
    """One parsed command line.

    Attributes:
        values: Flag name to value; switches hold "true" or "false".
        arguments: What is no flag.
    """

    values: Mapping[str, str]
    arguments: Sequence[str] = ()

    def __getitem__(self, name: str) -> str:
        """Return a flag's value."""
        return self.values[name]

    def on(self, name: str) -> bool:
        """Return whether a switch is on.

        Args:
            name: The switch.
        """
        return self.values[name] == "true"


@dataclass(frozen=True)
class Command:
    """One command: what runs, and its flags besides those that every command has."""

    run: Callable[[Given], None]
    summary: str
    flags: Mapping[str, Flag] = field(default_factory=dict)


_EVERYWHERE: Mapping[str, Flag] = {
    "api": Flag(),
    "audience": Flag(),
    "config": Flag(),
    "console": Flag(),
    "force-color": Flag(switch=True),
    "help": Flag(switch=True),
    "issuer": Flag(),
    "log-level": Flag(),
    "output": Flag(),
    "v": Flag(),
}
_LOGIN: Mapping[str, Flag] = {
    "create-refresh-token": Flag(switch=True),
    "headless": Flag(switch=True),
    "identity": Flag(),
    "identity-provider": Flag(),
    "identity-token": Flag(),
    "org-name": Flag(),
    "prefer-ambient-credentials": Flag(switch=True),
    "refresh": Flag(switch=True),
    "refresh-all": Flag(switch=True),
    "refresh-only": Flag(switch=True),
    "skip-browser": Flag(switch=True),
    "social-login": Flag(),
    "sts-http1-downgrade": Flag(switch=True),
    "validate": Flag(switch=True, default="true"),
}
_TOKEN: Mapping[str, Flag] = {
    "name": Flag(default="pull-token"),
    "parent": Flag(),
    "save": Flag(switch=True),
    "ttl": Flag(default="720h0m0s"),
}
_SHORT = {"o": "output", "h": "help", "y": "yes", "v": "v"}
_ALIASES = {
    "pull-tokens": "pull-token",
    "ls": "list",
    "make": "create",
    "mk": "create",
    "rm": "delete",
    "del": "delete",
    "remove": "delete",
    "identity": "identities",
    "ids": "identities",
    "id": "identities",
    "organization": "organizations",
    "orgs": "organizations",
    "org": "organizations",
    "image": "images",
    "img": "images",
    "repositories": "repos",
    "repository": "repos",
    "repo": "repos",
    "tag": "tags",
}


class Sandbox:
    """The sandbox that this command belongs to: its folder, its hosts, its clock and the login kept in it."""

    def __init__(self) -> None:
        """Find the sandbox.

        Raises:
            Failure: It is not running.
        """
        self.folder = process.folder_of(process.home())
        try:
            description = json.loads((self.folder / process.SANDBOX_FILE).read_text())
        except (FileNotFoundError, ValueError) as problem:
            raise Failure("the sandbox is not running; start it with: cgrunbook sandbox start") from problem
        self.hosts: Mapping[str, str] = description["hosts"]
        self._login = self.folder / "chainctl"
        self._login.mkdir(mode=0o700, exist_ok=True)

    def now(self) -> datetime:
        """Return the sandbox's time, which training may have moved."""
        state = State(self.folder / "state.db")
        try:
            return Clock(state).now()
        finally:
            state.close()

    @property
    def logged_in(self) -> bool:
        """Whether somebody is logged in; in a new sandbox the trainee is."""
        return not (self._login / "logged-out").exists()

    def log_in(self) -> None:
        """Remember that the trainee is logged in."""
        (self._login / "logged-out").unlink(missing_ok=True)

    def log_out(self) -> None:
        """Forget the login and its tokens."""
        for file in self._login.glob("token-*.json"):
            file.unlink()
        (self._login / "logged-out").touch()

    def cached_session(self, audience: str) -> Mapping[str, str] | None:
        """Return the kept session of an audience while it lasts, else None.

        Args:
            audience: Whom the session's token is for.
        """
        with contextlib.suppress(FileNotFoundError, ValueError):
            session: Mapping[str, str] = json.loads(self._session_file(audience).read_text())
            if datetime.fromisoformat(session["expiry"]) > self.now() + timedelta(seconds=30):
                return session
        return None

    def session(self, audience: str = API_AUDIENCE) -> Mapping[str, str]:
        """Return a session's token and expiry, a new one where the kept one has ended.

        Args:
            audience: Whom the token is to be for.

        Raises:
            Failure: Nobody is logged in.
        """
        if not self.logged_in:
            raise Failure('not logged in; run "chainctl auth login"')
        kept = self.cached_session(audience)
        if kept is None:
            # The operator's Google token stands for the login at an identity provider, which the sandbox does not play.
            credential = (self.folder / process.TOKEN_FILE).read_text().strip()
            query = urlencode({"aud": audience})
            kept = self._call("POST", f"/sts/exchange?{query}", credential)
            process.write_atomically(self._session_file(audience), json.dumps(kept))
        return kept

    def _session_file(self, audience: str) -> Path:
        return self._login / f"token-{re.sub('[^a-z0-9.]+', '-', audience)}.json"

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None, **query: str) -> dict[str, Any]:
        """Call the platform's API.

        Args:
            method: HTTP method.
            path: Path below the host.
            body: JSON document to send.
            query: Query parameters; "__" stands for a dot.

        Returns:
            The answer's JSON document.

        Raises:
            Failure: Nobody is logged in, or the platform refuses or does not answer.
        """
        parameters = urlencode({name.replace("__", "."): value for name, value in query.items()})
        return self._call(method, f"{path}?{parameters}" if parameters else path, self.session()["token"], body)

    def _call(self, method: str, path: str, token: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        request = urllib.request.Request(
            f"http://{self.hosts[CONSOLE_API]}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never through a proxy: this is loopback
        try:
            with opener.open(request, timeout=_TIMEOUT_SECONDS) as answer:
                document: dict[str, Any] = json.load(answer)
                return document
        except urllib.error.HTTPError as refusal:
            try:
                document = json.load(refusal)
                raise Failure(document["message"], document["code"]) from refusal
            except (ValueError, KeyError):
                raise Failure(f"{API_AUDIENCE} answered {refusal.code}") from refusal
        except OSError as problem:
            raise Failure(f"{API_AUDIENCE} cannot be reached: {problem}") from problem

    def organizations(self) -> list[dict[str, Any]]:
        """Return the organisations that the caller sees."""
        items: list[dict[str, Any]] = self.call("GET", "/iam/v1/groups").get("items", [])
        return items

    def organization(self, wanted: str) -> dict[str, Any]:
        """Return the organisation that --parent names; without it the only one there is, or the one chosen in a menu.

        Args:
            wanted: Name or id, or empty.

        Raises:
            Failure: There is none of this name, or several and nobody to ask.
        """
        groups = self.organizations()
        if wanted:
            for group in groups:
                if wanted in (group["name"], group["id"]):
                    return group
            raise Failure(f'No folder found for "{wanted}"', code=4)
        if len(groups) == 1:
            return groups[0]
        if not groups:
            raise Failure("No folder found", code=4)
        if not sys.stdin.isatty():
            raise Failure("several organizations are visible; name one with --parent")
        sys.stderr.write("With which location is the pull token associated?\n")
        for number, group in enumerate(groups, 1):
            sys.stderr.write(f"  {number}. {group['name']}\n")
        answer = input("> ").strip()
        if not answer.isdigit() or not 1 <= int(answer) <= len(groups):
            raise Failure("no location was chosen")
        return groups[int(answer) - 1]

    def identities(self, parent: str) -> list[dict[str, Any]]:
        """Return the identities below an organisation.

        Args:
            parent: The organisation's id.
        """
        items: list[dict[str, Any]] = self.call("GET", "/iam/v1/identities", uidp__descendantsOf=parent)["items"]
        return items

    def expiration(self, identity: Mapping[str, Any]) -> datetime | None:
        """Return when a static identity ends; None for another kind.

        Args:
            identity: The Identity message.
        """
        value = identity.get("static", {}).get("expiration")
        return datetime.fromisoformat(value) if value else None


def go_duration(text: str) -> timedelta:
    """Read a duration as Go's time.ParseDuration does.

    Args:
        text: For example "720h", "1h30m" or "1.5h"; there is no unit for days.

    Returns:
        The duration, in whole microseconds.

    Raises:
        Failure: It is none; the message is that of Go's flag parser.
    """
    body = text[1:] if text[:1] in ("+", "-") else text
    parts = re.findall(r"(\d*\.?\d*)([^\d.]*)", body)[:-1]
    if body == "0":
        return timedelta()
    problem = None
    for number, unit in parts:
        if not number.strip("."):
            problem = f'time: invalid duration "{text}"'
        elif not unit:
            problem = f'time: missing unit in duration "{text}"'
        elif unit not in _NANOSECONDS:
            problem = f'time: unknown unit "{unit}" in duration "{text}"'
        if problem:
            break
    if problem or not parts:
        problem = problem or f'time: invalid duration "{text}"'
        raise Failure(f'invalid argument "{text}" for "--ttl" flag: {problem}')
    nanoseconds = sum(Decimal(number) * _NANOSECONDS[unit] for number, unit in parts)
    duration = timedelta(microseconds=int(nanoseconds / 1000))
    return -duration if text.startswith("-") else duration


def make_pull_token(sandbox: Sandbox, given: Given) -> tuple[str, str]:
    """Make a pull token as chainctl does: a throw-away key, of which only the public half leaves this process.

    Args:
        sandbox: Where.
        given: Flags name, parent, ttl, and description and repository where the command has them.

    Returns:
        The new identity's id, which is the user name, and the JWT, which is the password.

    Raises:
        Failure: A flag is not acceptable, or the platform refuses.
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
    claims = {
        "iss": PULL_TOKEN_ISSUER,
        "aud": PULL_TOKEN_AUDIENCE,
        "sub": subject,
        "iat": begin,
        "exp": begin + int(ttl.total_seconds()) - 1,  # a real token lives one second less than its TTL
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
    except ValueError as problem:
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


def _create_pull_token(given: Given) -> None:
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
        _print({"identity_id": username, "token": password})
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


def _configure_docker(given: Given) -> None:
    if given.on("pull-token"):
        _create_pull_token(Given({**given.values, "output": ""}))
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


def _docker_credential(given: Given) -> None:
    """Speak docker's credential helper protocol: `get` reads a server from stdin; nothing is ever stored here."""
    if list(given.arguments) == ["get"]:
        server = sys.stdin.readline().strip().removeprefix("http://").removeprefix("https://").rstrip("/")
        sandbox = Sandbox()
        if server not in (sandbox.hosts[CGR_DEV], CGR_DEV):
            sys.stdout.write("credentials not found in native keychain\n")
            raise Failure(f"{server} is not the sandbox's cgr.dev")
        _print({"ServerURL": server, "Username": "_token", "Secret": sandbox.session(REGISTRY_AUDIENCE)["token"]})
    elif list(given.arguments) == ["list"]:
        _print({})


def _list_pull_tokens(given: Given) -> None:
    sandbox = Sandbox()
    group = sandbox.organization(given["parent"])
    items = _selected(sandbox, given, group, static=True)
    if given["output"] == "json":
        _print_items(items)
        return
    rows = []
    for item in items:
        expires = sandbox.expiration(item)
        days = (expires - sandbox.now()).days if expires else ""
        rows.append((item["id"], item["name"], item["description"], f"{group['name']}: registry.pull", str(days)))
    _print_table(("ID", "NAME", "DESCRIPTION", "ROLES", "EXPIRES"), rows)


def _list_identities(given: Given) -> None:
    kind = given["type"] or given["relationship"]
    if kind not in ("", "pull_token", "static"):
        raise Failure(f'the sandbox has identities of type "pull_token" only, not "{kind}"')
    sandbox = Sandbox()
    items = _selected(sandbox, given, sandbox.organization(given["parent"]), static=bool(kind))
    if given["output"] == "json":
        _print_items(items)
    elif given["output"] == "id":
        sys.stdout.writelines(f"{item['id']}\n" for item in items)
    else:
        _print_table(
            ("ID", "NAME", "DESCRIPTION", "TYPE", "EXPIRES"),
            [
                (item["id"], item["name"], item["description"], "pull_token", item["static"]["expiration"])
                for item in items
            ],
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


def _delete_identities(given: Given) -> None:
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


def _list_organizations(given: Given) -> None:
    groups = Sandbox().organizations()
    if given["output"] == "json":
        _print_items(groups)
    elif given["output"] == "id":
        sys.stdout.writelines(f"{group['id']}\n" for group in groups)
    elif given["output"] in ("table", "wide"):
        _print_table(("ID", "NAME", "DESCRIPTION"), [(g["id"], g["name"], g["description"]) for g in groups])
    else:
        sys.stdout.writelines(f"[{group['name']}] {group['description']}\n" for group in groups)


def _list_repositories(given: Given) -> None:
    items = _repositories(Sandbox(), given)
    if given["output"] == "json":
        _print_items(items)
    elif given["output"] == "id":
        sys.stdout.writelines(f"{item['id']}\n" for item in items)
    else:
        _print_table(
            ("NAME", "TIER", "TAGS"), [(i["name"], i["catalogTier"], ", ".join(i["activeTags"])) for i in items]
        )


def _repositories(sandbox: Sandbox, given: Given) -> list[dict[str, Any]]:
    group = sandbox.organization(given["parent"])
    query = {"uidp__childrenOf": group["id"]} | ({"name": given["repo"]} if given["repo"] else {})
    items: list[dict[str, Any]] = sandbox.call("GET", "/registry/v1/repos", None, **query)["items"]
    return items


def _list_tags(given: Given) -> None:
    sandbox = Sandbox()
    items = [
        {"repo": repository["name"], **tag}
        for repository in _repositories(sandbox, given)
        for tag in sandbox.call("GET", "/registry/v1/tags", None, uidp__childrenOf=repository["id"])["items"]
    ]
    if given["output"] == "json":
        _print_items(items)
    else:
        _print_table(("REPO", "TAG", "DIGEST"), [(item["repo"], item["name"], item["digest"]) for item in items])


def _log_in(given: Given) -> None:
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


def _log_out(_given: Given) -> None:
    Sandbox().log_out()
    sys.stdout.write("Logged out.\n")


def _status(given: Given) -> None:
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
        _print(status)
        return
    for name, value in status.items():
        shown = ", ".join(f"{role} on {group}" for group, role in value.items()) if isinstance(value, dict) else value
        sys.stdout.write(f" {name[:1].upper() + name[1:]:<12} | {shown}\n")


def _token(given: Given) -> None:
    sys.stdout.write(f"{Sandbox().session(given['audience'] or API_AUDIENCE)['token']}\n")


def _version(given: Given) -> None:
    if given["output"] == "json" or given.on("json"):
        _print({"gitVersion": VERSION, "platform": "cgrunbook sandbox"})
    else:
        sys.stdout.write(
            f"chainctl: Chainguard Control (stand-in of the cgrunbook sandbox)\nGitVersion:    {VERSION}\n"
        )


def _validate_config(_given: Given) -> None:
    """Say what can be reached; the exit status is 0 whatever is found, as observed of the real command."""
    sandbox = Sandbox()
    for host, path in ((CONSOLE_API, "/ping/v1/ping"), (CGR_DEV, "/v2/")):
        try:
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(f"http://{sandbox.hosts[host]}{path}", timeout=_TIMEOUT_SECONDS):
                found = "reachable"
        except urllib.error.HTTPError:
            found = "reachable"  # any answer is one
        except OSError as problem:
            found = f"not reachable: {problem}"
        sys.stdout.write(f"{host}: {found}\n")


def _print(document: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(document, separators=(",", ":")) + "\n")


def _print_items(items: Sequence[Mapping[str, Any]]) -> None:
    _print({"items": list(items)} if items else {})


def _print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[column]) for row in (headings, *rows)) for column in range(len(headings))]
    for row in (headings, *rows):
        line = " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        sys.stdout.write(f" {line.rstrip()}\n")


_CREATE = Command(
    _create_pull_token,
    "Create a pull token.",
    {**_TOKEN, "description": Flag(), "repository": Flag(default="oci")},
)
_COMMANDS: Mapping[tuple[str, ...], Command] = {
    ("auth", "login"): Command(_log_in, "Login to the Chainguard platform.", _LOGIN),
    ("auth", "logout"): Command(_log_out, "Logout from the Chainguard platform."),
    ("auth", "status"): Command(_status, "Inspect the local Chainguard Token.", {**_LOGIN, "quick": Flag(switch=True)}),
    ("auth", "token"): Command(_token, "Print the local Chainguard Token.", _LOGIN),
    ("auth", "configure-docker"): Command(
        _configure_docker,
        "Configure a Docker credential helper.",
        {**_LOGIN, **_TOKEN, "pull-token": Flag(switch=True), "images": Flag()},
    ),
    ("auth", "docker-credential"): Command(_docker_credential, "Docker's credential helper protocol."),
    ("auth", "pull-token"): _CREATE,
    ("auth", "pull-token", "create"): _CREATE,
    ("auth", "pull-token", "list"): Command(
        _list_pull_tokens,
        "List pull tokens.",
        {"parent": Flag(), "repository": Flag(), "expired": Flag(switch=True)},
    ),
    ("iam", "identities", "list"): Command(
        _list_identities,
        "List identities.",
        {
            "parent": Flag(),
            "type": Flag(),
            "relationship": Flag(),
            "name": Flag(),
            "expired": Flag(switch=True),
            "recursive": Flag(switch=True, default="true"),
        },
    ),
    ("iam", "identities", "delete"): Command(
        _delete_identities,
        "Delete one or more identities.",
        {"parent": Flag(), "name": Flag(), "expired": Flag(switch=True), "yes": Flag(switch=True)},
    ),
    ("iam", "organizations", "list"): Command(_list_organizations, "List organizations."),
    ("images", "repos", "list"): Command(
        _list_repositories, "List image repositories.", {"parent": Flag(), "repo": Flag()}
    ),
    ("images", "tags", "list"): Command(
        _list_tags,
        "List image tags.",
        {"parent": Flag(), "repo": Flag(), "active-only": Flag(switch=True)},
    ),
    ("version",): Command(_version, "Print the version.", {"json": Flag(switch=True)}),
    ("config", "validate"): Command(_validate_config, "Run diagnostics on local config."),
}


def _edition() -> Mapping[tuple[str, ...], Command]:
    if os.environ.get("CGRUNBOOK_SANDBOX_CHAINCTL_EDITION") == "2024":
        return {path: command for path, command in _COMMANDS.items() if path[:2] != ("auth", "pull-token")}
    return _COMMANDS


def _find(words: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """Return the command that the first words name, and the words after it; flags may stand between."""
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


def _parse(command: Command, words: Sequence[str]) -> Given:
    flags = {**_EVERYWHERE, **command.flags}
    values = {name: flag.default or ("false" if flag.switch else "") for name, flag in flags.items()}
    arguments: list[str] = []
    left = list(words)
    while left:
        word = left.pop(0)
        if word == "--":
            arguments += left
            break
        if not word.startswith("-") or word == "-":
            arguments.append(word)
            continue
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
        else:
            name, value = _SHORT.get(word[1], word[1]), word[2:].removeprefix("=")
            equals = "=" if value else ""
        if name not in flags:
            raise Failure(f"unknown flag: --{name}" if word.startswith("--") else f"unknown shorthand flag: {word!r}")
        if flags[name].switch:
            value = value if equals else "true"
            if value.lower() not in ("true", "false", "1", "0", "t", "f"):
                raise Failure(f'invalid argument "{value}" for "--{name}" flag: strconv.ParseBool: parsing "{value}"')
            value = "true" if value.lower() in ("true", "1", "t") else "false"
        elif not equals:
            if not left:
                raise Failure(f"flag needs an argument: --{name}")
            value = left.pop(0)
        values[name] = value
    return Given(values, arguments)


def _usage(path: tuple[str, ...]) -> str:
    below = {known: command for known, command in _edition().items() if known[: len(path)] == path}
    lines = [f"Usage: {' '.join(('chainctl', *path))} [command] [flags]", ""]
    lines += [f"  {' '.join(('chainctl', *known)):<36} {command.summary}" for known, command in below.items()]
    if path in below:
        lines += ["", "Flags:", *(f"  --{name}" for name in sorted({**_EVERYWHERE, **below[path].flags}))]
    return "\n".join(lines) + "\n"


def main(words: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        words: The command line without the program's name.

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
        given = _parse(command, rest)
        as_json = given["output"] == "json"
        takes_arguments = command.run in (_delete_identities, _docker_credential)
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


if __name__ == "__main__":
    sys.exit(main())
