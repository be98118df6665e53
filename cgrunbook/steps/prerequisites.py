"""The guide's prerequisites as checks: this machine, Google Cloud, Chainguard, and the network between them.

It looks and changes nothing. What could not be looked at reads as neither well nor wrong.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from importlib import metadata
from itertools import chain
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from cgrunbook import installation
from cgrunbook.cloud import Cloud, alike
from cgrunbook.cloud.apis import ENABLED_BY, USE
from cgrunbook.cloud.caller import spoken, to_fill_in
from cgrunbook.cloud.chainguard import LoginState
from cgrunbook.cloud.iam_policy import Binding, grant_command
from cgrunbook.cloud.network import why_unreachable
from cgrunbook.cloud.roles import HELD, fewest_roles, may_hold
from cgrunbook.cloud.token_hosts import OAUTH2, token_urls
from cgrunbook.errors import (
    ApiDisabled,
    CgrunbookError,
    NotSignedIn,
    PermissionMissing,
    ProjectUnknown,
)
from cgrunbook.steps.apis import ARTIFACT_REGISTRY, SECRET_MANAGER
from cgrunbook.steps.rights import APIS, OPTIONAL, PERMISSIONS
from cgrunbook.steps.step import Evidence, Finding, Mark, Proof, Section, World

if TYPE_CHECKING:
    from cgrunbook.cloud.project import Project

T = TypeVar("T")

# Where cgr.dev sends whoever asks for a blob.
BLOB_HOST = "9236a389bd48b984df91adc1bc924620.r2.cloudflarestorage.com"


class CheckThisMachine(Proof):
    """Python's packages, and the commands that some steps can use."""

    section = Section.PREREQUISITES
    why = "Steps fail in the middle when what they call is missing or too old."
    title = "Check this machine"

    def verify(self, world: World) -> Evidence:
        return Evidence(findings=(_packages(), _docker(world), _gcloud()))


class CheckGoogleCloud(Proof):
    """Credentials, project, APIs, permissions and location."""

    section = Section.PREREQUISITES
    why = "The guide asks for administrative rights; what is really needed is less, and is named here."
    title = "Check Google Cloud"

    def verify(self, world: World) -> Evidence:
        """Ask everybody at the same time; each check stands alone, whatever the others are refused."""
        token = _finding("credentials", lambda: _signed_in(world))
        if token.mark is Mark.FAIL:
            return Evidence(findings=(token,))
        project = world.cloud.project
        with ThreadPoolExecutor() as side_by_side:
            number = side_by_side.submit(project.number)
            locations = side_by_side.submit(world.cloud.repositories.locations)
            secrets = side_by_side.submit(project.api_enabled, SECRET_MANAGER)
            held = side_by_side.submit(project.held_permissions, chain.from_iterable(PERMISSIONS.values()))
        said = [one.exception() for one in (number, locations, held)]
        if signed_out := next((error for error in said if isinstance(error, NotSignedIn)), None):
            return Evidence(findings=(_failed("credentials", signed_out),))
        unknown = next((error for error in said if isinstance(error, ProjectUnknown)), None)
        if unknown or all(isinstance(error, PermissionMissing) and error.permission != USE for error in said):
            return Evidence(findings=(token, _no_project(project, unknown)))
        apis = (
            _api(ARTIFACT_REGISTRY, partial(project.is_on, ARTIFACT_REGISTRY, locations.result)),
            _api(SECRET_MANAGER, secrets.result),
        )
        to_enable = any(one.mark is not Mark.OK for one in apis)
        rights = _seen("permissions", held, partial(_permissions, world, to_enable))
        location = _location(world, locations)
        if isinstance(locations.exception(), PermissionMissing) and not held.exception():
            location = replace(location, remedy="")  # what is missing is asked for once, with the other rights
        return Evidence(findings=(token, _number(project, number), *apis, location, *rights))


class CheckChainguard(Proof):
    """The way to Chainguard: there, signed in, and allowed to create pull tokens.

    Args:
        organization: the organisation; empty takes the only one there is.
    """

    section = Section.PREREQUISITES
    why = "Only somebody with a role for it in the organisation can create a pull token."
    title = "Check Chainguard"

    def __init__(self, organization: str = "") -> None:
        self.organization = organization

    def verify(self, world: World) -> Evidence:
        door = world.cloud.chainguard
        with ThreadPoolExecutor() as side_by_side:  # each is a process, or a call, of its own
            version = side_by_side.submit(_finding, door.name, door.version)
            signed = side_by_side.submit(door.require_login)
        present = version.result()
        if present.mark is Mark.FAIL:
            return Evidence(findings=(_only_for_production(present),))
        try:
            login = signed.result()
        except CgrunbookError as error:
            return Evidence(findings=(present, _only_for_production(_failed(f"{door.name} login", error))))
        whom = login.email or login.identity or f"somebody whom {door.name} does not name"
        signed_in = Finding(Mark.OK, f"{door.name} login", f"signed in as {whom}")
        return Evidence(findings=(present, signed_in, *self._organization(world, login)))

    def _organization(self, world: World, login: LoginState) -> list[Finding]:
        check = "organisation"
        try:
            name = world.organization(self.organization)
        except CgrunbookError as error:
            return [_failed(check, error)]
        known = world.organizations()
        if name not in known:
            seen = f"{name} is not among those you may see: {', '.join(known) or 'none'}"
            asked = f"{alike.question(name, known)} Correct the name, or ask one of its owners to invite you."
            return [_missing(check, seen, asked.lstrip())]
        return [Finding(Mark.OK, check, name), self._may_create(login, name)]

    def _may_create(self, login: LoginState, organization: str) -> Finding:
        allowed = login.may_create_pull_tokens(organization)
        check = "may create pull tokens"
        if allowed:
            return Finding(Mark.OK, check, "yes")
        if allowed is None:
            return Finding(Mark.WARN, check, "Chainguard does not tell", "Step 03 will see.")
        remedy = "Ask an owner for the role registry.pull_token_creator, the least that may."
        return _missing(check, f"no role in {organization} that may", remedy)


class CheckNetwork(Proof):
    """The hosts that this machine needs, and those that only Google's servers need.

    Args:
        production: also what making pull tokens needs.
    """

    section = Section.DEBUGGING
    why = (
        "The vendor's list of hosts mixes two callers: images are fetched from cgr.dev by Google's servers, not by you."
    )
    title = "Check the network"

    def __init__(self, *, production: bool = True) -> None:
        self.production = production

    def verify(self, world: World) -> Evidence:
        needed = hosts(world, production=self.production)
        with ThreadPoolExecutor(len(needed)) as all_at_once:
            return Evidence(findings=tuple(all_at_once.map(partial(self._reach, world), needed)))

    def _reach(self, world: World, host: NeededHost) -> Finding:
        if host.ask is None:
            return Finding(Mark.OK, host.name, f"needed by Google's servers, not from here: {host.purpose}")
        why, remedy = why_unreachable(host.ask, host.name, world.cloud.attempts)
        if not why:
            return Finding(Mark.OK, host.name, f"answers; {host.purpose}")
        mark = Mark.FAIL if host.required else Mark.WARN
        remedy = remedy or f"Let this machine reach {host.name} on port 443, through the proxy if there is one."
        return Finding(mark, host.name, f"{why}; {host.purpose}", remedy, prerequisite=True)


@dataclass(frozen=True)
class NeededHost:
    """A host of the network requirements.

    Args:
        name: by which the world knows it.
        purpose: what for.
        ask: sends it one request from here, with the client that is used for it; None when only Google's servers call it.
        required: whether the runbook's own steps need it.
        always: whether every run of the guide calls it from here; what is called by chainctl, or now and then, is not.
    """

    name: str
    purpose: str
    ask: Callable[[], object] | None = None
    required: bool = True
    always: bool = True


def hosts(world: World, *, production: bool) -> list[NeededHost]:
    """Which hosts are needed, by whom, and what for."""
    connection, cloud, greeting = world.cloud.connection, world.cloud, world.cloud.greeting
    real = connection.target == "google-cloud"
    needed = _of_tokens(cloud) if real else []
    needed += [
        NeededHost(connection.artifact_registry_host.name, "pulls", cloud.artifact_registry_host.greet),
        NeededHost("artifactregistry.googleapis.com", "repositories", greeting(connection.artifact_registry)),
        NeededHost("secretmanager.googleapis.com", "the secret", greeting(connection.secret_manager)),
        NeededHost("serviceusage.googleapis.com", "APIs, the service agent", greeting(connection.service_usage)),
        NeededHost(
            "cloudresourcemanager.googleapis.com",
            "project number, permissions",
            greeting(connection.resource_manager),
        ),
        NeededHost(connection.cgr.name, "comparing digests", cloud.cgr().greet, required=False),
    ]
    if production and real:
        needed += [
            NeededHost(name, f"Chainguard: {purpose}", greeting(f"https://{name}"), always=False)
            for name, purpose in (("console-api.enforce.dev", "pull tokens"), ("issuer.enforce.dev", "signing in"))
        ]
        if connection.chainguard.service_account:
            name, ask = "iamcredentials.googleapis.com", greeting(connection.iam_credentials)
            needed.append(NeededHost(name, "Chainguard: identity tokens", ask, always=False))
    if real:
        ask = greeting(f"https://{BLOB_HOST}")
        needed.append(NeededHost(BLOB_HOST, "a diagnosis' look at blobs", ask, required=False, always=False))
    needed += [NeededHost("cgr.dev", "manifests, and tokens at /token"), NeededHost(BLOB_HOST, "layers")]
    return needed


def _of_tokens(cloud: Cloud) -> list[NeededHost]:
    """Where the credentials get their tokens; gcloud, where they are gcloud's own."""
    greeting = cloud.greeting
    urls = token_urls(cloud.connection.credentials) or {f"https://{OAUTH2}": "access tokens"}
    found = {urlsplit(url).netloc: NeededHost(urlsplit(url).netloc, why, greeting(url)) for url, why in urls.items()}
    # Not needed where the credentials themselves say whose they are.
    whose = NeededHost(OAUTH2, "whose token it is", greeting(f"https://{OAUTH2}"), required=False, always=False)
    return [*({OAUTH2: whose} | found).values()]


def _packages() -> Finding:
    from packaging.requirements import Requirement

    check = "Python packages"
    named = map(Requirement, metadata.requires("cgrunbook") or ())
    wanted = [package for package in named if not package.marker or package.marker.evaluate({"extra": ""})]
    wrong = []
    for package in wanted:
        try:
            version = metadata.version(package.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{package.name} is missing")
            continue
        if not package.specifier.contains(version, prereleases=True):
            wrong.append(f"{package.name} is {version}, not {package.specifier}")
    if wrong:
        return _missing(check, "; ".join(wrong), installation.again())
    return Finding(Mark.OK, check, f"all {len(wanted)} there, none too old")


def _docker(world: World) -> Finding:
    try:
        engine = world.cloud.docker.engine()
    except CgrunbookError as error:
        return Finding(Mark.WARN, "docker", error.message, error.remedy)
    if engine.reachable:
        return Finding(Mark.OK, "docker", f"the engine answers, version {engine.version}")
    if shutil.which("docker"):
        seen, what = "the command is there, but no engine answers", "Start the engine"
    else:
        seen, what = "not there", "Install it"
    remedy = f"{what} if you want to pull with docker; the runbook's own proof needs none."
    return Finding(Mark.TO_DO, "docker", seen, remedy)


def _gcloud() -> Finding:
    if shutil.which("gcloud"):
        return Finding(
            Mark.OK, "gcloud", "there; where it is signed in, docker can sign in through its credential helper"
        )
    remedy = "Optional: without it docker is signed in with a token that lasts an hour."
    return Finding(Mark.TO_DO, "gcloud", "not there", remedy)


def _signed_in(world: World) -> str:
    world.cloud.access_token()
    return f"signed in as {spoken(world.cloud.connection.caller)}"


def _seen(check: str, asked: Future[T], say: Callable[[T], list[Finding]]) -> list[Finding]:
    """What is to be said of an answer; where there is none, that it was not checked, and why."""
    try:
        return say(asked.result())
    except CgrunbookError as error:
        return [Finding(Mark.NOT_CHECKED, check, error.message, error.remedy)]


def _no_project(project: Project, unknown: ProjectUnknown | None) -> Finding:
    """Where nobody answers for the project."""
    seen = unknown.message if unknown else f"there is no project {project.id}, or you may not see it"
    remedy = "Check the id, project_id; those that you see are listed by: gcloud projects list"
    return _missing("project", seen, f"{project.alike()} {remedy}".strip())


def _number(project: Project, number: Future[str]) -> Finding:
    [found] = _seen("project", number, lambda digits: [Finding(Mark.OK, "project", f"{project.id}, number {digits}")])
    return found if found.mark is Mark.OK else replace(found, remedy=f"No notebook needs its number. {found.remedy}")


def _api(api: str, is_on: Callable[[], bool]) -> Finding:
    try:
        on = is_on()
    except CgrunbookError as error:
        return _failed(api, error)
    if on:
        return Finding(Mark.OK, api, "enabled")
    return Finding(Mark.TO_DO, api, "not enabled yet", f"Nothing now: notebook {ENABLED_BY[api][:2]} enables it.")


def _location(world: World, locations: Future[tuple[str, ...]]) -> Finding:
    check, location = "location", world.cloud.connection.location
    error = locations.exception()
    if isinstance(error, ApiDisabled) and world.cloud.project.has_off(error):
        seen = f"{location}; Artifact Registry's API is off"
        return Finding(Mark.TO_DO, check, seen, "Nothing now: 02 sees whether it is offered.")

    def say(offered: Collection[str]) -> list[Finding]:
        if location in offered:
            return [Finding(Mark.OK, check, f"{location}, one of {len(offered)} that Artifact Registry offers")]
        seen = f"Artifact Registry does not offer {location} to this project"
        asked = f"{alike.question(location, offered)} Choose another: {', '.join(offered)}."
        return [_missing(check, seen, asked.lstrip())]

    [found] = _seen(check, locations, say)
    return found


def _permissions(world: World, to_enable: bool, held: Collection[str]) -> list[Finding]:
    """What each purpose lacks, and once, with the first of them, the fewest roles that an administrator could give.

    Args:
        to_enable: whether an API is off, or may be.
    """
    lacking = {
        purpose: [permission for permission in needed if permission not in held]
        for purpose, needed in PERMISSIONS.items()
        if purpose != APIS or to_enable
    }
    conditional = _under_conditions(world) if any(lacking.values()) else ()

    def perhaps(lacks: Collection[str]) -> list[Binding]:
        """Under which conditions all of it is held."""
        covers = {one: [binding for binding in conditional if may_hold(binding.role, one)] for one in lacks}
        return list(chain.from_iterable(covers.values())) if all(covers.values()) else []

    in_doubt = {purpose: held_so for purpose, lacks in lacking.items() if (held_so := perhaps(lacks))}
    lacking = {purpose: lacks for purpose, lacks in lacking.items() if purpose not in in_doubt}
    roles = fewest_roles(chain.from_iterable(lacks for purpose, lacks in lacking.items() if purpose not in OPTIONAL))
    given = frozenset().union(*(HELD[role] for role in roles))
    more = fewest_roles(permission for lacks in lacking.values() for permission in lacks if permission not in given)
    to_say = {Mark.FAIL: roles, Mark.WARN: more}
    findings = []
    for purpose in PERMISSIONS:
        if purpose in in_doubt:
            caller = world.cloud.connection.caller
            ways = [
                f"{binding}{'' if binding.names(caller) else f' to {binding.means(caller)}'}"
                for binding in in_doubt[purpose]
            ]
            seen = f"held at most through {' and '.join(dict.fromkeys(ways))}"
            remedy = (
                "Whether that holds there, the notebook itself will see; if it should hold always, ask for it without."
            )
            findings.append(Finding(Mark.NOT_CHECKED, purpose, seen, remedy))
            continue
        if not (lacks := lacking.get(purpose, ())):
            allowed = "allowed" if purpose in lacking else "not needed: both APIs are on"
            findings.append(Finding(Mark.OK, purpose, allowed))
            continue
        mark = Mark.WARN if purpose in OPTIONAL else Mark.FAIL
        remedy = _ask_for(world, to_say.pop(mark, ()))
        findings.append(Finding(mark, purpose, f"lacks {', '.join(lacks)}", remedy, prerequisite=mark is Mark.FAIL))
    return findings


def _under_conditions(world: World) -> list[Binding]:
    """What the caller holds in the project under a condition, or may through others, as far as it can be seen."""
    try:
        policy = world.cloud.project.get_policy()
    except CgrunbookError:
        return []
    caller = world.cloud.connection.caller
    return [binding for binding in policy.bindings if binding.condition and binding.means(caller)]


def _ask_for(world: World, roles: Collection[str]) -> str:
    if not roles:
        return ""
    connection = world.cloud.connection
    on = f"projects add-iam-policy-binding {connection.project_id}"
    commands = (grant_command(on, connection.caller, role) for role in roles)
    return "\n".join(("Ask an administrator of the project:", *commands)) + to_fill_in(connection.caller)


def _finding(check: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(Mark.OK, check, look())
    except CgrunbookError as error:
        return _failed(check, error)


def _failed(check: str, error: CgrunbookError) -> Finding:
    return _missing(check, error.message, error.remedy)


def _missing(check: str, seen: str, remedy: str) -> Finding:
    return Finding(Mark.FAIL, check, seen, remedy, prerequisite=True)


def _only_for_production(finding: Finding) -> Finding:
    """What the first half of the guide can do without is no reason to stop there."""
    return Finding(Mark.WARN, finding.check, finding.seen, f"{finding.remedy} Only 03_production_images needs it.")
