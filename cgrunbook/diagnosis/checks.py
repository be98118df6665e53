"""The checks along an image's way: which readings each goes by, and what they mean.

It knows what the answers mean together. What there is to know of a check is in codes.py, what a pull token's sides mean in
steps/token_checks.py; how all of it runs is in doctor.py, what it adds up to in verdict.py.
"""

from __future__ import annotations

import os
import re
import shutil
import statistics
import tempfile
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from http import HTTPStatus
from itertools import chain, filterfalse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cgrunbook.cloud import retry, sessions
from cgrunbook.cloud.apis import ARTIFACT_REGISTRY, SECRET_MANAGER
from cgrunbook.cloud.cloud_logging import READ_LOGS
from cgrunbook.cloud.docker import SignIn
from cgrunbook.cloud.iam_policy import grant_command
from cgrunbook.cloud.registry import Registry
from cgrunbook.cloud.registry_transport import silent_host
from cgrunbook.cloud.roles import PULL, READ_SECRET, fewest_roles, narrowest_role
from cgrunbook.diagnosis.codes import CHECKS, Code
from cgrunbook.diagnosis.readings import Crashed, Readings, Unanswered
from cgrunbook.errors import (
    ApiDisabled,
    CgrunbookError,
    DigestMismatch,
    EndedEarly,
    ImageNotAvailable,
    NotFound,
    NotSignedIn,
    PerimeterDenied,
    PermissionMissing,
    ProjectUnknown,
    RegistryError,
    ServiceError,
    StepFailed,
    Temporary,
    UpstreamCredentialsRefused,
    WrongState,
)
from cgrunbook.parameters import UPSTREAM
from cgrunbook.redaction import Secret
from cgrunbook.steps.credential import at_chainguard
from cgrunbook.steps.pulling import path_through
from cgrunbook.steps.rights import PERMISSIONS
from cgrunbook.steps.step import Finding, Mark
from cgrunbook.steps.token_checks import Judge, Levels, command_of_ours
from cgrunbook.steps.token_life import signs_in
from cgrunbook.steps.token_sides import Check, Look, Seen

if TYPE_CHECKING:
    from cgrunbook.cloud.artifact_registry import RemoteRepository
    from cgrunbook.cloud.connection import RegistryHost
    from cgrunbook.cloud.registry import BasicCredentials, TokenProbe
    from cgrunbook.image_reference import ImageReference, Platform
    from cgrunbook.steps.step import World

# Seconds that a clock may be off: as many as Google's own tokens forgive.
_SKEW = 300.0
# Seconds of an answer from which on cgr.dev is slow; it takes a tenth of one, and some for an image that is seldom asked for.
_SLOW = 2.0
# Bytes that any image needs.
_ROOM = 100 * 1000 * 1000

# Roles with which somebody may pull, of those that Google publishes.
_READERS = (
    *(f"roles/artifactregistry.{name}" for name in ("reader", "writer", "repoAdmin", "admin")),
    *("roles/viewer", "roles/editor", "roles/owner"),
)

# Whose readings are whose, by the first word of what they are about.
_SERVICES: Mapping[str, str] = {
    **dict.fromkeys(("repository", "readers", "repositories"), ARTIFACT_REGISTRY),
    **dict.fromkeys(("value", "secret", "version", "policy"), SECRET_MANAGER),
    **dict.fromkeys(("number", "project policy"), "cloudresourcemanager.googleapis.com"),
}
_AT_CGR = ("nobody", "taken", "at cgr", "as nobody")
_AT_DOCKER_HOST = ("docker", "through")

# What whoever runs the notebooks may have to do, and of that what changes something.
_RIGHTS: Mapping[str, tuple[str, ...]] = {
    **PERMISSIONS,
    "look at all of it": (
        *(f"artifactregistry.{name}" for name in ("repositories.getIamPolicy", "vpcscconfigs.get")),
        *(f"resourcemanager.projects.{name}" for name in ("get", "getIamPolicy")),
        "serviceusage.services.get",
    ),
    "let others pull": ("artifactregistry.repositories.setIamPolicy",),
}
_CHANGES = re.compile(r"\.(add|create|delete|destroy|enable|setIamPolicy|update)$")

# What of a pull token's checks has to do with whether images come.
_OF_THE_TOKEN = frozenset(Check) - {Check.OTHERS, Check.READERS}


@dataclass(frozen=True)
class Way:
    """One image's way.

    Args:
        repository: the remote repository's name.
        image: as it is called at cgr.dev; or why nobody knows that.
        asked: whether it was asked for; else one whose repository is not there was perhaps never wanted.
    """

    repository: str
    image: ImageReference | CgrunbookError
    asked: bool = True

    @property
    def name(self) -> str:
        """The repository, as a resource."""
        return f"repository {self.repository}"

    @property
    def named(self) -> ImageReference:
        """The image; or the error, raised."""
        if isinstance(self.image, CgrunbookError):
            raise self.image
        return self.image

    @property
    def what(self) -> str:
        """The image in words."""
        return "an image" if isinstance(self.image, CgrunbookError) else str(self.image)


class Case:
    """What one diagnosis is about, and its readings.

    Args:
        world: the target.
        ways: the images' ways.
        who: the principal that pulls, as IAM writes it; "" for docker here.
        operator: whether what the caller may change is looked at too.
        organization: whose pull tokens they are, where a username does not say it.
    """

    def __init__(
        self,
        world: World,
        readings: Readings,
        ways: tuple[Way, ...],
        *,
        who: str,
        operator: bool,
        levels: Levels,
        organization: str,
        platform: Platform,
    ) -> None:
        self.world, self.readings, self.ways = world, readings, ways
        self.who, self.operator, self.levels, self.platform = who, operator, levels, platform
        self._organization = organization

    @property
    def host(self) -> RegistryHost:
        """The location's docker.pkg.dev."""
        return self.world.cloud.connection.artifact_registry_host

    def repository(self, way: Way) -> RemoteRepository | None:
        """The repository; None where there is none."""
        return self.readings.need(("repository", way.repository), partial(self.world.repository, way.repository))

    def wanted(self, way: Way) -> bool:
        """Whether a way is to be gone: asked for, or there, or nothing else is."""
        if way.asked or self.repository(way) is not None:
            return True
        return not any(self._is_there(one) for one in self.ways)

    def sides(self, way: Way) -> Seen | None:
        """What each side tells of the way's pull token; None where the repository does not sign in."""
        there = self.repository(way)
        if there is None or not signs_in(there):
            return None

        def look() -> Seen:
            connection = self.world.cloud.connection
            known = "" if connection.chainguard.identity else self._organization or connection.organization
            return Look(self.world, self.readings, known, _OF_THE_TOKEN).at([there])[0]

        return self.world.once(("sides", way.repository), look)

    def docker(self) -> SignIn:
        """What docker would send."""
        return self.readings.need("docker", self.world.docker_sign_in)

    def at_cgr(self, way: Way) -> str | CgrunbookError:
        """The image's digest at cgr.dev, asked with what the repository signs in with; or the error that came of it."""
        login = self._login(way)
        return self.readings.ask(("at cgr", way.named), partial(self._resolve, way, login))

    def through(self, way: Way) -> str | CgrunbookError:
        """The image's digest through Artifact Registry, as docker where it has a login, else as the caller; or the error."""
        try:
            sign_in = self.docker() if not self.who else None
        except CgrunbookError:
            sign_in = None
        login = sign_in.credentials if sign_in is not None and sign_in.taken else None
        return self.readings.ask(("through", way.repository), partial(self._begin, way, login))

    def as_nobody(self, way: Way) -> TokenProbe:
        """What cgr.dev says to somebody without credentials who asks for the image."""
        return self.readings.need(*self.nobodys(way))

    def nobodys(self, way: Way) -> tuple[Hashable, Callable[[], TokenProbe]]:
        """The question for it."""
        return ("as nobody", way.named), partial(self.world.cloud.cgr().probe_token, way.named.repository)

    def now(self) -> datetime:
        """The time as the registries have it, where this machine's is another."""
        off = self.offset()
        return datetime.now(UTC) + timedelta(seconds=off if off is not None and abs(off) > _SKEW else 0.0)

    def offset(self) -> float | None:
        """By how many seconds the registries' clocks are ahead of this machine's; None where none has answered."""
        hosts = (self.host, self.world.cloud.connection.cgr)
        told = [ahead for host in hosts for _, _, ahead in [*host.answers] if ahead is not None]
        return statistics.median(told) if told else None

    def _login(self, way: Way) -> BasicCredentials | None:
        from cgrunbook.cloud.registry import BasicCredentials

        seen = self.sides(way)
        if seen is None:
            return None
        if isinstance(seen.value, CgrunbookError):
            raise seen.value
        if not isinstance(seen.value, Secret):
            raise seen.place if isinstance(seen.place, CgrunbookError) else NotFound("There is no password to be had.")
        return BasicCredentials(seen.repository.username, seen.value)

    def _resolve(self, way: Way, login: BasicCredentials | None) -> str:
        return self._digest(way, self.world.cloud.cgr(login), way.named.repository)

    def _digest(self, way: Way, registry: Registry, path: str) -> str:
        """What the image's name stands for; of the first way all comes with which a pull begins, its config from the blob host."""
        if registry is not self.world.cloud.artifact_registry_host:
            registry.probe_token(path)  # which spares the challenge; a refusal is told below
        if self.whole(way):
            return registry.pull_begun(path, way.named.reference, self.platform).digest
        return registry.resolve(path, way.named.reference).digest

    def whole(self, way: Way) -> bool:
        """Whether this is the first way whose repository is there; of the others the name is looked up and no more."""
        ways = [one for one in self.ways if self._is_there(one)]
        return not ways or ways[0] is way

    def _is_there(self, way: Way) -> bool:
        return (
            self.readings.ask(("repository", way.repository), partial(self.world.repository, way.repository))
            is not None
        )

    def _begin(self, way: Way, login: BasicCredentials | None) -> str:
        cloud = self.world.cloud
        registry = Registry(self.host, login, cloud.attempts) if login else cloud.artifact_registry_host
        return self._digest(way, registry, path_through(self.world, way.repository, way.named))


def finding(code: Code, mark: Mark, seen: str, remedy: str = "", *, reason: str = "", resource: str = "") -> Finding:
    """One, with what the check is called."""
    known = CHECKS[code].reasons[reason] if reason else None  # of each there is a page
    helps = remedy or (known.helps if known else "")
    return Finding(mark, CHECKS[code].title, seen, helps, code=code.value, reason=reason, resource=resource)


_ok = partial(finding, mark=Mark.OK)


def blind(code: Code, error: CgrunbookError, resource: str = "") -> Finding:
    """A check that could not be made."""
    return finding(code, Mark.NOT_CHECKED, error.message, error.remedy, resource=resource)


# --- this machine, and who pulls -------------------------------------------------------------------------------------


def disk(case: Case) -> Iterator[Finding]:
    """Room."""
    environment = case.world.cloud.connection.environment
    temporary = environment.get("TMPDIR") or os.environ.get("TMPDIR") or tempfile.gettempdir()
    folders = [path for path in (Path(temporary), Path("/var/lib/docker")) if path.is_dir()]
    for path in folders:
        if (left := shutil.disk_usage(path).free) < _ROOM:
            seen = f"{left / 1e6:.0f} MB are left in {path}"
            yield finding(Code.DISK, Mark.FAIL, seen, reason="full", resource=f"folder {path}")
            return
    yield _ok(Code.DISK, seen="there is room")


def docker_login(case: Case) -> Iterator[Finding]:
    """docker's configuration, as docker reads it."""
    if case.who:
        return
    about = partial(finding, Code.DOCKER_LOGIN, resource=f"host {case.host.name}")
    try:
        sign_in = case.docker()
    except StepFailed as error:
        if isinstance(error, ServiceError | Crashed):
            raise  # it is the registry that was not reached
        yield about(Mark.FAIL, error.message, error.remedy, reason="unusable")
        return
    environment = {**os.environ, **case.world.cloud.connection.environment}
    program = shutil.which("docker", path=environment.get("PATH")) or ""
    real = os.path.realpath(program) if program else ""
    if sign_in.login.helper and ("/snap/" in program + real or real.endswith("/snap")):
        seen = f"docker is {program}: a snap, which cannot run docker-credential-{sign_in.login.helper}"
        yield about(Mark.FAIL, seen, reason="snap")
    elif sign_in.taken:
        yield about(Mark.OK, f"{sign_in.login.how}; the registry lets {sign_in.username} in")
    else:
        reason, seen, remedy = _why_no_login(case, sign_in)
        if reason == "none" and not program:
            yield about(Mark.OK, "there is no docker here, and no login of it")
        else:
            yield about(Mark.FAIL, seen, remedy, reason=reason)


def _why_no_login(case: Case, sign_in: SignIn) -> tuple[str, str, str]:
    """Why docker is not signed in: a reason's code, what was seen, and what helps."""
    docker, address, login = case.world.cloud.docker, case.host.address, sign_in.login
    configure = f"gcloud auth configure-docker {address} --quiet"
    if login.kind == "none":
        read = docker.config.read()
        named = [*(read.get("credHelpers") or {}), *(read.get("auths") or {})]
        if others := sorted(one for one in named if _is_docker_host(one) and one != address):
            seen = f"docker has a login for {', '.join(others)}, and none for {address}"
            return "other-location", seen, configure
        return "none", f"docker has no login for {address}", configure
    if login.helper and docker.config.program(login.helper) is None:
        seen = f"{docker.config.path} names docker-credential-{login.helper} for {address}, which is not on the PATH"
        return "helper-missing", seen, f"Install docker-credential-{login.helper}, or let gcloud sign in: {configure}"
    again = docker.sign_in_again(login)
    return ("refused" if sign_in.credentials else "helper-fails"), sign_in.problem, again


def _is_docker_host(name: str) -> bool:
    """Whether a name in docker's configuration is an Artifact Registry host; the sandbox's are ports of this machine."""
    return name.endswith("-docker.pkg.dev") or name.startswith("127.0.0.1:")


def reader(case: Case, way: Way) -> Iterator[Finding]:
    """Whether who pulls may read the repository."""
    connection = case.world.cloud.connection
    on = (
        f"artifacts repositories add-iam-policy-binding {way.repository} --project={connection.project_id} "
        f"--location={connection.location}"
    )
    if case.who:
        yield _by_policy(case, way, case.who, grant_command(on, case.who, _READERS[0]))
        return
    if not case.wanted(way):
        return
    came = case.through(way)
    if isinstance(came, PermissionMissing) and came.permission == PULL:
        who = connection.caller
        found = _by_policy(case, way, who, grant_command(on, who, _READERS[0]))
        seen = f"docker.pkg.dev: {came.message}"
        reason = "conditional" if found.reason == "conditional" else "absent"
        yield replace(
            found, mark=Mark.FAIL, reason=reason, seen=f"{seen} {found.seen}".strip() if reason != "absent" else seen
        )
    elif isinstance(came, CgrunbookError) and not _past_the_door(came):
        yield blind(Code.READER, came, way.name)
    else:
        yield _ok(Code.READER, seen="docker.pkg.dev lets it in", resource=way.name)


def _past_the_door(error: CgrunbookError) -> bool:
    """Whether docker.pkg.dev let somebody in, and refused only later."""
    if isinstance(error, NotSignedIn | PerimeterDenied) or not error.answered[1]:
        return False
    return not isinstance(error, ApiDisabled) or error.api != ARTIFACT_REGISTRY


def _by_policy(case: Case, way: Way, who: str, remedy: str) -> Finding:
    """What the policies of the repository and the project say of somebody."""
    about = partial(finding, Code.READER, resource=way.name)
    policies = {
        way.name: case.readings.ask(
            ("readers", case.world.cloud.repositories.name(way.repository)),
            partial(case.world.repository_policy, way.repository),
        ),
        "the project": case.readings.ask("project policy", case.world.project_policy),
    }
    conditional, doubts, unread = "", "", None
    for where, policy in policies.items():
        if isinstance(policy, CgrunbookError):
            unread = policy
            continue
        for role in _READERS:
            held = policy.held(who, role)
            if held and not held[0].condition:
                return about(mark=Mark.OK, seen=f"{who} has {role} on {where}")
            conditional = conditional or (f"{who} has {held[0]} on {where}" if held else "")
        doubts = doubts or "; ".join(policy.in_doubt(who, PULL, _READERS[0]))
    if conditional:
        return about(mark=Mark.NOT_CHECKED, seen=conditional, remedy=remedy, reason="conditional")
    if unread is not None:
        return blind(Code.READER, unread, way.name)
    if doubts:
        return about(mark=Mark.NOT_CHECKED, seen=f"{who} may have it through {doubts}", remedy=remedy)
    return about(mark=Mark.FAIL, seen=f"{who} has no role there, nor in the project", remedy=remedy, reason="not-found")


def proxy(case: Case) -> Iterator[Finding]:
    """The proxy that a target gives its shells, if it does: what this process sends goes another way."""
    given = case.world.cloud.connection.environment
    if address := given.get("HTTPS_PROXY") or given.get("https_proxy"):
        answer = case.readings.need("proxy", lambda: sessions.pools(address).request("GET", address, retries=False))
        about = partial(finding, Code.NETWORK, resource=f"proxy {address}")
        if answer.status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
            yield about(Mark.FAIL, "the proxy of these shells wants a password", reason="proxy-login")
        else:
            yield about(Mark.OK, "the proxy of these shells lets them through")


def rights(case: Case) -> Iterator[Finding]:
    """What an operator may not do who may change something; whoever changes nothing needs no such right, and no way does."""
    if not case.operator:
        return
    project = case.world.cloud.project
    held = case.readings.ask("rights", partial(project.held_permissions, chain(*_RIGHTS.values())))
    if isinstance(held, CgrunbookError) or not any(_CHANGES.search(one) for one in held):
        return
    if lacking := {
        what: lacks for what, needed in _RIGHTS.items() if (lacks := [*filterfalse(held.__contains__, needed)])
    }:
        seen = "; ".join(f"{', '.join(lacks)} (to {what})" for what, lacks in lacking.items())
        who = case.world.cloud.connection.caller
        on = f"projects add-iam-policy-binding {project.id}"
        roles = fewest_roles(chain(*lacking.values()))
        remedy = "\n".join(grant_command(on, who, role) for role in roles) or "Ask an owner of the project for them."
        seen = f"no image needs it, and who runs the notebooks does: {who} lacks {seen}"
        yield finding(Code.CALLER, Mark.TO_DO, seen, remedy, reason="permission", resource="rights to change")


# --- Artifact Registry ----------------------------------------------------------------------------------------------


def repository(case: Case, way: Way) -> Iterator[Finding]:
    """The repository, its format and mode; where it is not there, the other locations."""
    about = partial(finding, Code.REPOSITORY, resource=way.name)
    connection = case.world.cloud.connection
    there = case.repository(way)
    if there is None:
        everywhere = case.readings.ask("repositories", case.world.repositories)
        found = [] if isinstance(everywhere, CgrunbookError) else everywhere.repositories
        places = [one.location for one in found if one.id == way.repository]
        if places:
            seen = f"it is in {', '.join(places)}, and not in {connection.location}"
            remedy = (
                f"Give its location: -p location {places[0]}; images are pulled from {places[0]}-docker.pkg.dev then, where "
                f"docker has to be signed in: gcloud auth configure-docker {places[0]}-docker.pkg.dev"
            )
            yield about(Mark.FAIL, seen, remedy, reason="elsewhere")
        elif case.wanted(way):
            seen = f"there is none of this name in {connection.project_id}"
            remedy = (
                "Make it: 02_developer_images makes one for public images, 03_production_images for your organisation's. Or name "
                "another, with -p repository or -p private_repository."
            )
            yield about(Mark.FAIL, seen, remedy, reason="absent")
        else:
            yield about(Mark.OK, "is not there; nobody asked for it")
    elif there.format != "DOCKER":
        yield about(Mark.FAIL, f"is of the format {there.format}", reason="format")
    elif there.mode == "STANDARD_REPOSITORY":
        yield about(Mark.FAIL, "is a standard repository: it fetches nothing from anywhere", reason="mode")
    elif there.mode == "VIRTUAL_REPOSITORY":
        behind = ", ".join(one.repository.rpartition("/")[2] for one in there.upstream_policies)
        yield about(Mark.OK, f"is a virtual repository: look at what it serves from, too: {behind or 'nothing'}")
    else:
        yield about(Mark.OK, f"is a Docker remote repository in {there.location}")


def upstream(case: Case, way: Way) -> Iterator[Finding]:
    """The upstream's address."""
    about = partial(finding, Code.UPSTREAM, resource=way.name)
    there = case.repository(way)
    if there is None or not there.upstream:
        return
    here = case.world.cloud.connection
    notebook, name = ("03", "private_repository") if there.username else ("02", "repository")
    anew = (
        "It cannot be changed, so the repository goes, with what it has cached: gcloud artifacts repositories delete "
        f"{way.repository} --quiet --project={here.project_id} --location={here.location}\nMake it anew: "
        + command_of_ours(case.world, "run", notebook, "-p", "location", here.location, "-p", name, way.repository)
    )
    if there.upstream.rstrip("/") == UPSTREAM.rstrip("/"):
        signed = "signs in there" if there.username else "does not sign in there"
        yield about(Mark.OK, f"is {there.upstream}; the repository {signed}")
    else:
        path = there.upstream.startswith(UPSTREAM)
        yield about(Mark.FAIL, f"is {there.upstream!r}", anew, reason="path" if path else "host")


# --- the secret and the pull token ----------------------------------------------------------------------------------


def token(case: Case, way: Way, checks: frozenset[Check] = _OF_THE_TOKEN - {Check.GRANT}) -> Iterator[Finding]:
    """All that `status` looks at that keeps images away, by its own judgement."""
    seen = case.sides(way)
    if seen is None:
        return
    judge = Judge(case.world, case.levels, checks, frozenset(), complete=False, now=case.now())
    secret, pair = f"secret {seen.secret_id}", way.name
    of_the_repository = (Code.PAIR, Code.TAKEN, Code.IDENTITY, Code.PINNED)
    for one in judge.findings(seen):
        code = Code(one.code)
        yield replace(one, check=CHECKS[code].title, resource=pair if code in of_the_repository else secret)


# --- cgr.dev --------------------------------------------------------------------------------------------------------


def at_cgr(case: Case, way: Way) -> Iterator[Finding]:
    """The image at cgr.dev itself: organisation, image, tag, and the blob host behind it."""
    image = f"image {way.what}"
    about = {
        code: partial(finding, code, resource=image) for code in (Code.ORGANIZATION, Code.IMAGE, Code.TAG, Code.BLOBS)
    }
    there = case.repository(way)
    if not case.wanted(way) or (there is not None and not at_chainguard(there)):
        return
    try:
        if there is None:
            raise NotFound(f"there is no repository {way.repository} to read them from")
        came = case.at_cgr(way)
    except CgrunbookError as error:  # the password is not to be had: asked as nobody it still says something
        yield from _nameless(case, way, error, about)
        return
    if isinstance(came, CgrunbookError):
        reason = _of_the_blob(came, case.world.cloud.connection.cgr.name)
        if not reason:
            yield from _refused_image(case, way, about, came)
            return
    yield about[Code.ORGANIZATION](Mark.OK, "is known")
    yield about[Code.IMAGE](Mark.OK, "is given")
    yield about[Code.TAG](Mark.OK, f"is there, {came}" if isinstance(came, str) else "is there")
    if isinstance(came, CgrunbookError):
        yield about[Code.BLOBS](Mark.FAIL, came.message, came.remedy, reason=reason)
    elif case.whole(way):
        yield about[Code.BLOBS](Mark.OK, "the image's config came whole")


def _of_the_blob(error: CgrunbookError, cgr: str) -> str:
    """Why a blob did not come, as a reason's code; "" where it is not about the blob."""
    if isinstance(error, DigestMismatch):
        return "corrupted"
    if isinstance(error, EndedEarly):
        return "truncated"
    if error.answered[0] == "blob":
        return "failing"
    return "no-answer" if silent_host(error) not in ("", cgr) else ""


def _refused_image(
    case: Case, way: Way, about: Mapping[Code, Callable[..., Finding]], came: CgrunbookError
) -> Iterator[Finding]:
    """What a refusal of cgr.dev's own is about."""
    step, status, code = came.answered
    # Of a pair that is refused nothing is said of the name, and nobody is told it.
    unheard = step == "token" and status == HTTPStatus.FORBIDDEN and case.sides(way) is not None
    nobody = case.readings.ask(*case.nobodys(way)) if unheard else None
    if status == HTTPStatus.BAD_REQUEST and step == "token":
        yield _no_organization(case, way, about, came)
    elif nobody is not None and not isinstance(nobody, CgrunbookError) and nobody.status == HTTPStatus.BAD_REQUEST:
        yield _no_organization(case, way, about, nobody)
    elif status == 404 and code != "NAME_UNKNOWN":
        yield about[Code.IMAGE](Mark.OK, "is given")
        free = way.named.organization == "chainguard" and not way.named.digest
        listing = f"chainctl images tags list --repo={way.named.repository.partition('/')[2]} --parent={way.named.organization}"
        remedy = came.remedy if free else f"{came.remedy} See which there are: {listing}"
        yield about[Code.TAG](Mark.FAIL, came.message, remedy, reason="not-free" if free else "unknown")
    elif status in (401, 403, 404):
        yield about[Code.ORGANIZATION](Mark.OK, "is known")
        yield _why_refused(case, way, about[Code.IMAGE], came, step)
    else:
        for code_ in (Code.ORGANIZATION, Code.IMAGE, Code.TAG):
            yield blind(code_, came, f"image {way.what}")


def _nameless(
    case: Case, way: Way, error: CgrunbookError, about: Mapping[Code, Callable[..., Finding]]
) -> Iterator[Finding]:
    probe = case.as_nobody(way)
    if probe.status == HTTPStatus.BAD_REQUEST:
        yield _no_organization(case, way, about, probe)
        return
    yield about[Code.ORGANIZATION](Mark.OK, "is known")
    if probe.granted:
        yield about[Code.IMAGE](Mark.OK, "is given to anybody")
    elif probe.status == 401:
        seen = f"the name is right, and credentials are wanted, which cannot be read here: {error.message}"
        yield about[Code.IMAGE](Mark.NOT_CHECKED, seen, error.remedy)
    else:
        seen = (
            f"nobody is given it without credentials ({probe.status}), and these cannot be read here: {error.message}"
        )
        yield about[Code.IMAGE](Mark.NOT_CHECKED, seen, error.remedy)


def _no_organization(
    case: Case, way: Way, about: Mapping[Code, Callable[..., Finding]], said: TokenProbe | CgrunbookError
) -> Finding:
    names = case.readings.ask("organizations", case.world.organizations)
    known = "" if isinstance(names, CgrunbookError) or not names else f" You see: {', '.join(names)}."
    remedy = f"Correct {way.named.organization!r} in the image's name.{known} chainctl iam organizations list"
    seen = f"cgr.dev knows no {way.named.organization!r}: {said.message}"
    return about[Code.ORGANIZATION](Mark.FAIL, seen, remedy, reason="unknown")


def _why_refused(case: Case, way: Way, image: Callable[..., Finding], came: CgrunbookError, step: str) -> Finding:
    """Why an image is refused whose organisation is known: by what nobody is told, and by the catalogue."""
    organization = way.named.organization
    seen = case.sides(way)
    if seen is None:
        return image(Mark.FAIL, came.message, came.remedy, reason="not-public")
    if not seen.granted:
        return image(Mark.FAIL, f"{came.message} The pair itself is refused.", came.remedy, reason="refused")
    catalogue = case.readings.ask("catalogue", partial(case.world.cloud.chainguard.images, organization))
    name = way.named.repository.partition("/")[2]
    listing = f"See what is there: chainctl images repos list --parent={organization}"
    if not isinstance(catalogue, CgrunbookError) and catalogue:
        if name in catalogue:
            where = ("-p", "location", case.world.cloud.connection.location, "-p", "private_repository", way.repository)
            remedy = f"Make a new token, which has it: {command_of_ours(case.world, 'rotate', *where)}"
            said = f"the catalogue of {organization} has it, and the token's identity may not pull it: {came.message}"
            return image(Mark.FAIL, said, remedy, reason="no-role")
        return image(
            Mark.FAIL, f"it is not in the catalogue of {organization}: {came.message}", listing, reason="not-granted"
        )
    if step == "token":
        try:
            exists = case.as_nobody(way).status == 401
        except CgrunbookError:
            exists = True
        if not exists:
            return image(Mark.FAIL, f"there is no {way.named.repository}: {came.message}", listing, reason="unknown")
        return image(Mark.FAIL, came.message, listing, reason="no-role")
    return image(Mark.FAIL, came.message, listing, reason="not-granted")


def platform_logs(case: Case, way: Way) -> Iterator[Finding]:
    """What Cloud Logging has of failed requests, where it is on: beside the verdict, and no part of it."""
    cloud, about = case.world.cloud, partial(finding, Code.PLATFORM_LOGS, resource=way.name)
    there = case.readings.ask(("repository", way.repository), partial(case.world.repository, way.repository))
    if isinstance(there, CgrunbookError):
        return  # of which the others tell
    if there is None:
        yield about(Mark.OK, "there is no repository that could have any")
        return
    project = f"--project={cloud.connection.project_id}"
    fails = isinstance(case.through(way), CgrunbookError)  # and if so, that may be an entry by now
    try:
        on, off = there.platform_logs, "off"
        if not on and fails:
            on = case.readings.need("project's logs", cloud.repositories.project_platform_logs)
            off = "off, as the project's"
        elif not on:
            off = "off, unless the project's are on"
        if on != "ENABLED":
            command = f"gcloud artifacts repositories update {way.repository} --location={there.location} {project}"
            what = (
                "they would tell each failed pull's time, method, image and status, and Cloud Logging charges for them"
            )
            yield about(Mark.OK, f"{off}; {what}: {command} --enable-platform-logs")
            return
        name, since = cloud.repositories.name(way.repository), case.now() - timedelta(hours=1)
        failed = case.readings.need(("logs", way.repository), partial(cloud.logs.failed_requests, name, since))
    except CgrunbookError as error:
        remedy = error.remedy
        if isinstance(error, PermissionMissing):
            on_project = f"projects add-iam-policy-binding {cloud.project.id}"
            needed = error.permission or READ_LOGS  # which Logging does not name
            remedy = grant_command(on_project, cloud.connection.caller, narrowest_role(needed) or _READERS[0])
        yield about(Mark.TO_DO, f"not read: {error.message}", remedy, reason="unread")
        return
    told = "; ".join(map(str, failed))
    yield about(
        Mark.OK, f"failed in the last hour, the last first: {told}" if told else "nothing failed in the last hour"
    )


# --- all of the way -------------------------------------------------------------------------------------------------


def pull(case: Case, way: Way) -> Iterator[Finding]:
    """What begins a pull through Artifact Registry."""
    if not case.wanted(way):
        return
    came = case.through(way)
    about = partial(finding, Code.PULL, resource=f"image {way.what}")
    if not isinstance(came, CgrunbookError):
        what = "tag, manifests and config came" if case.whole(way) else "the tag is there"
        yield about(Mark.OK, f"{what}, {came}")
    elif reason := _why_no_pull(came):
        yield about(Mark.FAIL, came.message, came.remedy, reason=reason)
    else:
        yield blind(Code.PULL, came, f"image {way.what}")


_NO_PULL: Mapping[type[CgrunbookError], str] = {
    UpstreamCredentialsRefused: "upstream-refused",
    WrongState: "secret-unreadable",
    PermissionMissing: "denied",
    NotSignedIn: "denied",
    NotFound: "not-found",
    ImageNotAvailable: "not-found",
    DigestMismatch: "damaged",
    EndedEarly: "damaged",
    Unanswered: "no-answer",
}


def _why_no_pull(error: CgrunbookError) -> str:
    """The reason's code; "" where nothing was learnt."""
    if isinstance(error, PermissionMissing) and error.permission == READ_SECRET:
        return "secret-unreadable"
    if isinstance(error, ApiDisabled):
        return "secret-unreadable" if error.api == SECRET_MANAGER else ""
    if reason := _NO_PULL.get(type(error), ""):
        return reason
    if isinstance(error, Temporary | RegistryError) and (status := error.answered[1]):
        return "upstream-fails" if status >= HTTPStatus.TOO_MANY_REQUESTS else "upstream-wrong"
    return "other" if isinstance(error, RegistryError) else ""


def cache(case: Case, way: Way) -> Iterator[Finding]:
    """What comes through against what cgr.dev has."""
    there = case.repository(way)
    if there is None or not at_chainguard(there) or isinstance(through := case.through(way), CgrunbookError):
        return
    about = partial(finding, Code.CACHE, resource=f"image {way.what}")
    try:
        direct = case.at_cgr(way)
    except CgrunbookError as error:
        direct = error
    if not isinstance(direct, CgrunbookError):
        if through == direct:
            yield about(Mark.OK, "the same digest")
        else:
            seen = f"Artifact Registry has {through}, and cgr.dev {direct}"
            yield about(Mark.WARN, seen, reason="stale")
    elif direct.answered[1] or silent_host(direct):
        yield about(Mark.WARN, f"it comes from the cache; cgr.dev: {direct.message}", reason="hides")
    else:
        yield blind(Code.CACHE, direct, f"image {way.what}")


# --- what the readings say together ---------------------------------------------------------------------------------


def _word(about: Hashable) -> str:
    """What kind of reading it is."""
    return str(about[0] if isinstance(about, tuple) else about)


def _service(about: Hashable) -> str:
    return _SERVICES.get(_word(about), "")


def _errors(known: Mapping[Hashable, Any], *services: str) -> list[tuple[str, CgrunbookError]]:
    """What came of Google's services that was an error, with whose it is."""
    found = []
    for about, came in known.items():
        service = _service(about)
        if isinstance(came, CgrunbookError) and service and (not services or service in services):
            found.append((service, came))
    return found


def caller(_case: Case, known: Mapping[Hashable, Any]) -> Iterator[Finding]:
    """Whoever asks: taken at Google, and allowed to read."""
    errors = _errors(known)
    if signed_out := next((error for _, error in errors if isinstance(error, NotSignedIn)), None):
        yield finding(Code.CALLER, Mark.FAIL, signed_out.message, signed_out.remedy, reason="signed-out")
        return
    refusals = {error.permission: error for _, error in errors if isinstance(error, PermissionMissing)}
    for permission, error in refusals.items():
        named = f"permission {permission}" if permission else ""
        yield finding(Code.CALLER, Mark.NOT_CHECKED, error.message, error.remedy, reason="permission", resource=named)
    if not refusals:
        answered = [about for about, came in known.items() if _service(about) and not isinstance(came, CgrunbookError)]
        if answered:
            yield _ok(Code.CALLER, seen="Google takes the credentials, and all that was asked for may be read")
        elif errors:
            yield blind(Code.CALLER, errors[0][1])


def _in_another_project(case: Case, about: Hashable) -> bool:
    """Whether a reading was of a secret that is not this project's."""
    place = about[1] if isinstance(about, tuple) and len(about) > 1 else None
    if not isinstance(place, tuple):
        return False
    there = str(place[0])
    mine = case.world.cloud.project
    return there != mine.id and not (there.isdigit() and mine.number_is_known and mine.named(there))


def project(case: Case, known: Mapping[Hashable, Any]) -> Iterator[Finding]:
    """The project, by what its services say."""
    resource = f"project {case.world.cloud.project.id}"
    own = {key: came for key, came in known.items() if not _in_another_project(case, key)}
    errors = _errors(own)
    if unknown := next((error for _, error in errors if isinstance(error, ProjectUnknown)), None):
        yield finding(Code.PROJECT, Mark.FAIL, unknown.message, unknown.remedy, reason="unknown", resource=resource)
    elif any(_service(about) and not isinstance(came, CgrunbookError) for about, came in known.items()):
        yield _ok(Code.PROJECT, seen="its services answer", resource=resource)
    elif errors:
        yield blind(Code.PROJECT, errors[0][1], resource)


def api(code: Code, service: str, case: Case, known: Mapping[Hashable, Any]) -> Iterator[Finding]:
    """Whether an API is on, by its own answers."""
    resource = f"api {service}"
    asked = [
        came for about, came in known.items() if _service(about) == service and not _in_another_project(case, about)
    ]
    off = next((one for one in asked if isinstance(one, ApiDisabled) and one.api in ("", service)), None)
    if off is not None:
        yield finding(code, Mark.FAIL, off.message, off.remedy, reason="off", resource=resource)
    elif any(not isinstance(one, CgrunbookError) or isinstance(one, PermissionMissing | NotFound) for one in asked):
        yield _ok(code, seen="it answers", resource=resource)
    elif asked:
        yield blind(code, asked[0], resource)


def perimeter(_case: Case, known: Mapping[Hashable, Any]) -> Iterator[Finding]:
    """Whether VPC Service Controls are in the way."""
    # Cloud Logging's entries are no part of the way.
    came_back = [came for about, came in known.items() if _word(about) != "logs"]
    denied = next((came for came in came_back if isinstance(came, PerimeterDenied)), None)
    if denied is not None:
        yield finding(Code.PERIMETER, Mark.FAIL, denied.message, denied.remedy, reason="denied")
    elif any(_service(about) and not isinstance(came, CgrunbookError) for about, came in known.items()):
        yield _ok(Code.PERIMETER, seen="no service speaks of one")


def network(case: Case, known: Mapping[Hashable, Any]) -> Iterator[Finding]:
    """The hosts that were asked, each by what came of it."""
    hosts: dict[str, list[Any]] = {}
    for about, came in known.items():
        host = case.host.name if _word(about) in _AT_DOCKER_HOST else _service(about)
        if host and not (isinstance(came, SignIn) and came.credentials is None):  # of which nobody was asked
            hosts.setdefault(host, []).append(came)
    for host, answers in sorted(hosts.items()):  # not in the order in which they answered
        silent = [one for one in answers if isinstance(one, CgrunbookError) and no_answer(one)]
        if silent and len(silent) == len(answers):
            reason, who = no_answer(silent[0]), _silent(silent[0]) or host
            yield finding(
                Code.NETWORK, Mark.FAIL, silent[0].message, silent[0].remedy, reason=reason, resource=f"host {who}"
            )
        elif len(silent) < len(answers):
            yield _ok(Code.NETWORK, seen="answers", resource=f"host {host}")


def _silent(error: CgrunbookError) -> str:
    """The host that gave no answer, where a library says: the one that gives out access tokens, say."""
    from urllib3.exceptions import MaxRetryError

    hosts = (cause.pool.host for cause in retry.causes(error) if isinstance(cause, MaxRetryError) and cause.pool)
    return next((str(host) for host in hosts if not host.startswith("127.")), "")


def no_answer(error: CgrunbookError) -> str:
    """Why there was no answer at all, as a reason's code; "" where there was one."""
    from urllib3.exceptions import HTTPError

    if isinstance(error, Unanswered):
        return "no-answer"
    if error.answered[1] or isinstance(error, EndedEarly):
        return ""
    causes = [*retry.causes(error)]
    if any(getattr(cause, "response", None) is not None for cause in causes):
        return ""
    if not any(isinstance(cause, OSError | HTTPError) for cause in causes):
        return ""
    return retry.why_no_answer(error).name.lower().replace("_", "-")


def clock(case: Case, _known: Mapping[Hashable, Any]) -> Iterator[Finding]:
    """This machine's clock against the registries'."""
    off = case.offset()
    if off is None:
        yield finding(Code.CLOCK, Mark.NOT_CHECKED, "no registry has told the time")
    elif abs(off) > _SKEW:
        seen = f"it is {abs(off):.0f} s {'behind' if off > 0 else 'ahead of'} the registries' clocks"
        yield finding(Code.CLOCK, Mark.FAIL, seen, reason="skewed")
    else:
        yield _ok(Code.CLOCK, seen="within a minute of the registries'" if abs(off) < 60 else f"{abs(off):.0f} s off")


def cgr_host(case: Case, known: Mapping[Hashable, Any]) -> Iterator[Finding]:
    """cgr.dev, by what came of the requests to it."""
    host = case.world.cloud.connection.cgr
    about = partial(finding, Code.CGR_HOST, resource=f"host {host.name}")
    asked = {key: came for key, came in known.items() if _word(key) in _AT_CGR}
    errors = [came for came in asked.values() if isinstance(came, CgrunbookError)]
    own = [one for one in errors if one.answered[0] != "blob" and silent_host(one) in ("", host.name)]
    status = {one.answered[1]: one for one in own if one.answered[1] >= 429}
    took = [seconds for name, seconds, _ in [*host.answers] if name == host.name]
    silent = [one for one in own if no_answer(one)]
    if status:
        number, error = next(iter(status.items()))
        reason = "throttled" if number == 429 else "failing"
        yield about(Mark.FAIL, error.message, reason=reason)
    elif took and statistics.median(took) > _SLOW:
        yield about(Mark.WARN, f"it takes {statistics.median(took):.1f} s for an answer", reason="slow")
    elif silent:
        fails = any(
            isinstance(came, CgrunbookError) and _why_no_pull(came) in ("upstream-fails", "no-answer")
            for key, came in known.items()
            if _word(key) == "through"
        )
        there = "" if fails else " Artifact Registry asks it from Google's side, where it may answer."
        mark = Mark.FAIL if fails else Mark.NOT_CHECKED
        yield about(mark, f"{silent[0].message}{there}", silent[0].remedy, reason="no-answer")
    elif asked:
        yield about(Mark.OK, "answers")


# --- which there are ------------------------------------------------------------------------------------------------

# Made once; made for each way; and made of what came of all readings, when the others have ended.
ONCE: Mapping[Callable[[Case], Iterable[Finding]], tuple[Code, ...]] = {
    disk: (Code.DISK,),
    proxy: (Code.NETWORK,),
    rights: (Code.CALLER,),
    docker_login: (Code.DOCKER_LOGIN,),
}
OF_A_WAY: Mapping[Callable[[Case, Way], Iterable[Finding]], tuple[Code, ...]] = {
    repository: (Code.REPOSITORY,),
    upstream: (Code.UPSTREAM,),
    platform_logs: (Code.PLATFORM_LOGS,),
    reader: (Code.READER,),
    token: tuple(Code(one.value) for one in Check if one in _OF_THE_TOKEN and one is not Check.GRANT),
    partial(token, checks=frozenset({Check.GRANT})): (Code.GRANT,),
    at_cgr: (Code.ORGANIZATION, Code.IMAGE, Code.TAG, Code.BLOBS),
    pull: (Code.PULL,),
    cache: (Code.CACHE,),
}
OF_ALL: Mapping[Code, Callable[[Case, Mapping[Hashable, Any]], Iterable[Finding]]] = {
    Code.NETWORK: network,
    Code.CLOCK: clock,
    Code.CALLER: caller,
    Code.PROJECT: project,
    Code.REGISTRY_API: partial(api, Code.REGISTRY_API, ARTIFACT_REGISTRY),
    Code.SECRETS_API: partial(api, Code.SECRETS_API, SECRET_MANAGER),
    Code.PERIMETER: perimeter,
    Code.CGR_HOST: cgr_host,
}
