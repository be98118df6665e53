"""The guide's prerequisites as checks: this machine, Google Cloud, Chainguard, and the network between them.

It looks and changes nothing. It knows which permission each step needs, and what can be done where one is missing.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib import metadata
from itertools import chain

from cgrunbook import installation
from cgrunbook.cloud.chainctl import LoginState
from cgrunbook.cloud.connection import GCLOUD_ACCOUNT
from cgrunbook.cloud.google_errors import narrowest_role
from cgrunbook.cloud.network import why_unreachable
from cgrunbook.errors import ApiDisabled, CgrunbookError
from cgrunbook.steps.apis import ARTIFACT_REGISTRY, SECRET_MANAGER
from cgrunbook.steps.step import Evidence, Finding, Mark, Proof, Section, World

# Which permissions on the project each part of the runbook needs (docs/services.md).
PERMISSIONS = {
    "enable APIs and make the service agent": ("serviceusage.services.enable", "serviceusage.services.get"),
    "create and change repositories": (
        "artifactregistry.repositories.create",
        "artifactregistry.repositories.get",
        "artifactregistry.repositories.list",
        "artifactregistry.repositories.update",
    ),
    "pull through them": ("artifactregistry.repositories.downloadArtifacts",),
    "keep the pull token": (
        "secretmanager.secrets.create",
        "secretmanager.secrets.get",
        "secretmanager.secrets.update",
        "secretmanager.versions.add",
        "secretmanager.versions.get",
        "secretmanager.versions.list",
    ),
    "let the service agent read it": ("secretmanager.secrets.getIamPolicy", "secretmanager.secrets.setIamPolicy"),
    "compare with cgr.dev": ("secretmanager.versions.access",),
    "tear down": ("artifactregistry.repositories.delete", "secretmanager.secrets.delete"),
}
_OPTIONAL = {"compare with cgr.dev", "tear down"}


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
        connection = world.cloud.connection
        token = _finding("credentials", lambda: _signed_in(world))
        if token.mark is Mark.FAIL:
            return Evidence(findings=(token,))
        number = _finding("project", lambda: f"{connection.project_id}, number {world.cloud.project.number()}")
        if number.mark is Mark.FAIL:
            return Evidence(findings=(token, number))
        location = self._location(world)
        # An API that has answered is on.
        enabled = Finding(Mark.OK, ARTIFACT_REGISTRY, "enabled")
        registry = enabled if location.mark is Mark.OK else self._api(world, ARTIFACT_REGISTRY, "02")
        secrets = self._api(world, SECRET_MANAGER, "03")
        return Evidence(findings=(token, number, registry, secrets, location, *_permissions(world)))

    def _api(self, world: World, api: str, notebook: str) -> Finding:
        asked = _finding(api, lambda: "enabled" if world.api_enabled(api) else "")
        if asked.seen:
            return asked
        return Finding(Mark.WARN, api, "not enabled yet", f"Nothing now: notebook {notebook} enables it.")

    def _location(self, world: World) -> Finding:
        check, location = "location", world.cloud.connection.location
        try:
            offered = world.cloud.repositories.locations()
        except ApiDisabled:
            seen = f"{location}; not asked, Artifact Registry's API is off"
            return Finding(Mark.WARN, check, seen, "Look again after 02.")
        except CgrunbookError as error:
            return _failed(check, error)
        if location in offered:
            return Finding(Mark.OK, check, f"{location}, one of {len(offered)} that Artifact Registry offers")
        seen = f"Artifact Registry does not offer {location} to this project"
        return _missing(check, seen, f"Choose another: {', '.join(offered)}.")


class CheckChainguard(Proof):
    """Chainctl: there, signed in, and allowed to create pull tokens.

    Args:
        organization: the organisation; empty takes the only one there is.
    """

    section = Section.PREREQUISITES
    why = "Only somebody with a role for it in the organisation can create a pull token."
    title = "Check Chainguard"

    def __init__(self, organization: str = "") -> None:
        self.organization = organization

    def verify(self, world: World) -> Evidence:
        chainctl = world.cloud.chainctl
        with ThreadPoolExecutor() as side_by_side:  # each is a process with a call of its own
            version = side_by_side.submit(_finding, "chainctl", chainctl.version)
            signed = side_by_side.submit(chainctl.require_login)
        present = version.result()
        if present.mark is Mark.FAIL:
            return Evidence(findings=(_only_for_production(present),))
        try:
            login = signed.result()
        except CgrunbookError as error:
            return Evidence(findings=(present, _only_for_production(_failed("chainctl login", error))))
        whom = login.email or login.identity or "somebody whom chainctl does not name"
        signed_in = Finding(Mark.OK, "chainctl login", f"signed in as {whom}")
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
            return [_missing(check, seen, "Correct the name, or ask one of its owners to invite you.")]
        return [Finding(Mark.OK, check, name), self._may_create(login, name)]

    def _may_create(self, login: LoginState, organization: str) -> Finding:
        allowed = login.may_create_pull_tokens(organization)
        check = "may create pull tokens"
        if allowed:
            return Finding(Mark.OK, check, "yes")
        if allowed is None:
            return Finding(Mark.WARN, check, "chainctl does not tell", "Step 03 will see.")
        remedy = "Ask an owner for the role registry.pull_token_creator, the least that may."
        return _missing(check, f"no role in {organization} that may", remedy)


class CheckNetwork(Proof):
    """The hosts that this machine needs, and those that only Google's servers need.

    Args:
        production: also what chainctl needs.
    """

    section = Section.DEBUGGING
    why = (
        "The vendor's list of hosts mixes two callers: images are fetched from cgr.dev by Google's servers, not by you."
    )
    title = "Check the network"

    def __init__(self, *, production: bool = True) -> None:
        self.production = production

    def verify(self, world: World) -> Evidence:
        return Evidence(findings=tuple(self._reach(host) for host in hosts(world, production=self.production)))

    def _reach(self, host: NeededHost) -> Finding:
        if not host.url:
            return Finding(Mark.OK, host.name, f"needed by Google's servers, not from here: {host.purpose}")
        scheme, _, address = host.url.partition("://")
        why = why_unreachable(address, scheme)
        if not why:
            return Finding(Mark.OK, host.name, f"answers; {host.purpose}")
        mark = Mark.FAIL if host.required else Mark.WARN
        remedy = f"Let this machine reach {host.name} on port 443, through the proxy if there is one."
        return Finding(mark, host.name, f"{why}; {host.purpose}", remedy, prerequisite=True)


@dataclass(frozen=True)
class NeededHost:
    """A host of the network requirements.

    Args:
        name: by which the world knows it.
        purpose: what for.
        url: where this machine calls it; empty when only Google's servers do.
        required: whether the runbook's own steps need it.
    """

    name: str
    purpose: str
    url: str = ""
    required: bool = True


def hosts(world: World, *, production: bool) -> list[NeededHost]:
    """Which hosts are needed, by whom, and what for."""
    connection = world.cloud.connection
    registry, cgr = connection.artifact_registry_host, connection.cgr
    needed = [
        NeededHost(registry.name, "pulls", f"{registry.scheme}://{registry.address}"),
        NeededHost("artifactregistry.googleapis.com", "repositories", connection.artifact_registry),
        NeededHost("secretmanager.googleapis.com", "the secret", connection.secret_manager),
        NeededHost("serviceusage.googleapis.com", "APIs, the service agent", connection.service_usage),
        NeededHost("cloudresourcemanager.googleapis.com", "project number, permissions", connection.resource_manager),
        NeededHost(cgr.name, "comparing digests", f"{cgr.scheme}://{cgr.address}", required=False),
    ]
    if production and connection.target == "google-cloud":
        needed += [
            NeededHost("console-api.enforce.dev", "chainctl: pull tokens", "https://console-api.enforce.dev"),
            NeededHost("issuer.enforce.dev", "chainctl: signing in", "https://issuer.enforce.dev"),
        ]
    needed += [
        NeededHost("cgr.dev", "manifests, and tokens at /token"),
        NeededHost("9236a389bd48b984df91adc1bc924620.r2.cloudflarestorage.com", "layers"),
    ]
    return needed


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
    return Finding(Mark.WARN, "docker", seen, remedy)


def _gcloud() -> Finding:
    if shutil.which("gcloud"):
        return Finding(Mark.OK, "gcloud", "there; docker can sign in through its credential helper")
    remedy = "Optional: without it docker is signed in with a token that lasts an hour."
    return Finding(Mark.WARN, "gcloud", "not there", remedy)


def _signed_in(world: World) -> str:
    world.cloud.access_token()
    caller = world.cloud.connection.caller
    return "signed in" if caller == GCLOUD_ACCOUNT else f"signed in as {caller.partition(':')[2]}"


def _permissions(world: World) -> list[Finding]:
    try:
        held = world.cloud.project.held_permissions(chain.from_iterable(PERMISSIONS.values()))
    except CgrunbookError as error:
        return [_failed("permissions", error)]
    return [_allowed(world, purpose, held) for purpose in PERMISSIONS]


def _allowed(world: World, purpose: str, held: Collection[str]) -> Finding:
    missing = [permission for permission in PERMISSIONS[purpose] if permission not in held]
    if not missing:
        return Finding(Mark.OK, purpose, "allowed")
    connection = world.cloud.connection
    commands = [
        f"gcloud projects add-iam-policy-binding {connection.project_id} --member={connection.caller} --role={role}"
        for role in dict.fromkeys(map(narrowest_role, missing))
    ]
    remedy = "\n".join(("Ask an administrator of the project:", *commands))
    found = _missing(purpose, f"lacks {', '.join(missing)}", remedy)
    return replace(found, mark=Mark.WARN) if purpose in _OPTIONAL else found


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
