"""The guide's prerequisites as checks: this machine, Google Cloud, Chainguard, and the network between them.

It looks and changes nothing. It knows which permission each step needs, and what can be done where one is missing.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata

from cgrunbook.cloud.chainctl import LoginState
from cgrunbook.cloud.connection import GCLOUD_ACCOUNT
from cgrunbook.cloud.google_errors import narrowest_role
from cgrunbook.cloud.network import why_unreachable
from cgrunbook.errors import ApiDisabled, CgrunbookError, ParameterError
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
        try:
            enabled = world.api_enabled(api)
        except CgrunbookError as error:
            return _failed(api, error)
        if enabled:
            return Finding(Mark.OK, api, "enabled")
        return Finding(Mark.WARN, api, "not enabled yet", f"Nothing now: notebook {notebook} enables it.")

    def _location(self, world: World) -> Finding:
        location = world.cloud.connection.location
        try:
            offered = world.cloud.repositories.locations()
        except ApiDisabled:
            return Finding(
                Mark.WARN, "location", f"{location}; not asked, Artifact Registry's API is off", "Look again after 02."
            )
        except CgrunbookError as error:
            return _failed("location", error)
        if location in offered:
            return Finding(Mark.OK, "location", f"{location}, one of {len(offered)} that Artifact Registry offers")
        return Finding(
            Mark.FAIL,
            "location",
            f"Artifact Registry does not offer {location} to this project",
            f"Choose another: {', '.join(offered)}.",
            prerequisite=True,
        )


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
        present = _finding("chainctl", chainctl.version)
        if present.mark is Mark.FAIL:
            return Evidence(findings=(_only_for_production(present),))
        try:
            login = chainctl.require_login()
        except CgrunbookError as error:
            return Evidence(findings=(present, _only_for_production(_failed("chainctl login", error))))
        signed_in = Finding(Mark.OK, "chainctl login", _as_whom(login))
        return Evidence(findings=(present, signed_in, *self._organization(world, login)))

    def _organization(self, world: World, login: LoginState) -> list[Finding]:
        try:
            name = world.organization(self.organization)
        except ParameterError as error:
            return [Finding(Mark.FAIL, "organisation", error.message, error.remedy, prerequisite=True)]
        except CgrunbookError as error:
            return [_failed("organisation", error)]
        known = world.organizations()
        if name not in known:
            seen = f"{name} is not among those you may see: {', '.join(known) or 'none'}"
            remedy = "Correct the name, or ask one of its owners to invite you."
            return [Finding(Mark.FAIL, "organisation", seen, remedy, prerequisite=True)]
        return [Finding(Mark.OK, "organisation", name), self._may_create(login, name)]

    def _may_create(self, login: LoginState, organization: str) -> Finding:
        allowed = login.may_create_pull_tokens(organization)
        check = "may create pull tokens"
        if allowed:
            return Finding(Mark.OK, check, "yes")
        if allowed is None:
            return Finding(Mark.WARN, check, "chainctl does not tell", "Step 03 will see.")
        return Finding(
            Mark.FAIL,
            check,
            f"no role in {organization} that may",
            "Ask an owner for the role registry.pull_token_creator, the least that may.",
            prerequisite=True,
        )


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
        if not host.from_here:
            return Finding(Mark.OK, host.name, f"needed by Google's servers, not from here: {host.purpose}")
        why = why_unreachable(host.address, host.scheme)
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
        address: host or host:port to connect to.
        scheme: http or https.
        purpose: what for.
        from_here: whether this machine calls it; otherwise Google's servers do.
        required: whether the runbook's own steps need it.
    """

    name: str
    address: str
    scheme: str
    purpose: str
    from_here: bool = True
    required: bool = True


def hosts(world: World, *, production: bool) -> list[NeededHost]:
    """Which hosts are needed, by whom, and what for."""
    connection = world.cloud.connection
    registry, cgr = connection.artifact_registry_host, connection.cgr
    needed = [NeededHost(registry.name, registry.address, registry.scheme, "pulls")]
    for name, address, purpose in (
        ("artifactregistry.googleapis.com", connection.artifact_registry, "repositories"),
        ("secretmanager.googleapis.com", connection.secret_manager, "the secret"),
        ("serviceusage.googleapis.com", connection.service_usage, "APIs, the service agent"),
        ("cloudresourcemanager.googleapis.com", connection.resource_manager, "project number, permissions"),
    ):
        scheme, _, rest = address.partition("://")
        needed.append(NeededHost(name, rest, scheme, purpose))
    needed.append(NeededHost(cgr.name, cgr.address, cgr.scheme, "comparing digests", required=False))
    if production and connection.target == "google-cloud":
        needed += [
            NeededHost("console-api.enforce.dev", "console-api.enforce.dev", "https", "chainctl: pull tokens"),
            NeededHost("issuer.enforce.dev", "issuer.enforce.dev", "https", "chainctl: signing in"),
        ]
    needed += [
        NeededHost("cgr.dev", "", "", "manifests, and tokens at /token", from_here=False),
        NeededHost("9236a389bd48b984df91adc1bc924620.r2.cloudflarestorage.com", "", "", "layers", from_here=False),
    ]
    return needed


def _packages() -> Finding:
    from packaging.requirements import Requirement

    wrong = []
    wanted = [Requirement(text) for text in metadata.requires("cgrunbook") or ()]
    wanted = [
        requirement for requirement in wanted if not requirement.marker or requirement.marker.evaluate({"extra": ""})
    ]
    for requirement in wanted:
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name} is {version}, not {requirement.specifier}")
    if wrong:
        return Finding(
            Mark.FAIL,
            "Python packages",
            "; ".join(wrong),
            "Install them into this kernel's environment: pip install cgrunbook",
            prerequisite=True,
        )
    return Finding(Mark.OK, "Python packages", f"all {len(wanted)} there, none too old")


def _docker(world: World) -> Finding:
    try:
        engine = world.cloud.docker.engine()
    except CgrunbookError as error:
        return Finding(Mark.WARN, "docker", error.message, error.remedy)
    if engine.reachable:
        return Finding(Mark.OK, "docker", f"the engine answers, version {engine.version}")
    there = shutil.which("docker")
    seen, what = (
        ("the command is there, but no engine answers", "Start the engine") if there else ("not there", "Install it")
    )
    remedy = f"{what} if you want to pull with docker; the runbook's own proof needs none."
    return Finding(Mark.WARN, "docker", seen, remedy)


def _gcloud() -> Finding:
    if shutil.which("gcloud"):
        return Finding(Mark.OK, "gcloud", "there; docker can sign in through its credential helper")
    return Finding(
        Mark.WARN, "gcloud", "not there", "Optional: without it docker is signed in with a token that lasts an hour."
    )


def _signed_in(world: World) -> str:
    world.cloud.access_token()
    caller = world.cloud.connection.caller
    return "signed in" if caller == GCLOUD_ACCOUNT else f"signed in as {caller.partition(':')[2]}"


def _as_whom(login: LoginState) -> str:
    return f"signed in as {login.email or login.identity or 'somebody whom chainctl does not name'}"


def _permissions(world: World) -> list[Finding]:
    asked = [permission for permissions in PERMISSIONS.values() for permission in permissions]
    try:
        held = world.cloud.project.held_permissions(asked)
    except CgrunbookError as error:
        return [_failed("permissions", error)]
    findings = []
    for purpose, permissions in PERMISSIONS.items():
        missing = [permission for permission in permissions if permission not in held]
        if not missing:
            findings.append(Finding(Mark.OK, purpose, "allowed"))
            continue
        connection = world.cloud.connection
        roles = dict.fromkeys(narrowest_role(permission) for permission in missing)
        commands = "\n".join(
            f"gcloud projects add-iam-policy-binding {connection.project_id} --member={connection.caller} --role={role}"
            for role in roles
        )
        findings.append(
            Finding(
                Mark.WARN if purpose in _OPTIONAL else Mark.FAIL,
                purpose,
                f"lacks {', '.join(missing)}",
                f"Ask an administrator of the project:\n{commands}",
                prerequisite=True,
            )
        )
    return findings


def _finding(check: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(Mark.OK, check, look())
    except CgrunbookError as error:
        return _failed(check, error)


def _failed(check: str, error: CgrunbookError) -> Finding:
    return Finding(Mark.FAIL, check, error.message, error.remedy, prerequisite=True)


def _only_for_production(finding: Finding) -> Finding:
    """What the first half of the guide can do without is no reason to stop there."""
    return Finding(Mark.WARN, finding.check, finding.seen, f"{finding.remedy} Only 03_production_images needs it.")
