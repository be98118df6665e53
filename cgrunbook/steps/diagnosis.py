"""The guide's debugging section as checks: who must reach what, the upstream, the credential, a fresh repository.

It knows what each answer of cgr.dev and of Artifact Registry means for the operator. It changes nothing, but for the
fresh repository that it makes and takes away again when asked to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from cgrunbook.cloud.artifact_registry import RemoteRepository
from cgrunbook.cloud.registry import Registry, TokenProbe
from cgrunbook.errors import (
    CgrunbookError,
    PrerequisiteMissing,
    StepFailed,
)
from cgrunbook.image_reference import ImageReference, Platform
from cgrunbook.parameters import UPSTREAM
from cgrunbook.steps.credential import kept_in, split_version
from cgrunbook.steps.pulling import image_of, path_through, upstream_login
from cgrunbook.steps.repository import expected_repository, made_by_cgrunbook
from cgrunbook.steps.step import (
    MANAGED_BY,
    Change,
    Evidence,
    Finding,
    Mark,
    Outcome,
    Plan,
    Progress,
    Proof,
    Section,
    Step,
    World,
)
from cgrunbook.steps.token_checks import Levels, unknown
from cgrunbook.steps.token_life import token_lives
from cgrunbook.steps.token_sides import Check


class CheckUpstream(Proof):
    """The guide's second hint: the upstream is `https://cgr.dev/` and nothing behind it.

    Args:
        repositories: the remote repositories to look at; those that do not exist are named.
    """

    section = Section.DEBUGGING
    why = "With a path behind it, or another host, every image is asked for under a name that cgr.dev does not know."
    title = "Check the repositories' upstream"

    def __init__(self, repositories: Sequence[str]) -> None:
        self.repositories = tuple(dict.fromkeys(repositories))

    def verify(self, world: World) -> Evidence:
        world.at_once(*(partial(world.repository, name) for name in self.repositories))
        return Evidence(findings=tuple(self._upstream(world, name) for name in self.repositories))

    def _upstream(self, world: World, name: str) -> Finding:
        repository = world.repository(name)
        if repository is None:
            return _not_there(world, name)
        if (repository.format, repository.mode) != ("DOCKER", "REMOTE_REPOSITORY"):
            seen = f"is {repository.format}, {repository.mode}: it fetches nothing from anywhere"
            remedy = "Make a Docker remote repository under another name: format and mode cannot be changed."
            return Finding(Mark.FAIL, name, seen, remedy)
        if repository.upstream.rstrip("/") != UPSTREAM.rstrip("/"):
            remedy = f"Make it anew with {UPSTREAM}, with nothing behind it: the upstream cannot be changed."
            return Finding(Mark.FAIL, name, f"its upstream is {repository.upstream!r}", remedy)
        signed = "signs in there" if repository.username else "does not sign in there"
        return Finding(Mark.OK, name, f"its upstream is {repository.upstream}; it {signed}")


class CheckCredential(Proof):
    """What the guide leaves out: whether Artifact Registry can get at the password, and whether it is one.

    Args:
        repository: the repository that signs in at cgr.dev.
    """

    section = Section.DEBUGGING
    why = (
        "Three things have to fit: the username in the repository, the password in the secret, the agent's right to it."
    )

    def __init__(self, repository: str) -> None:
        self.repository = repository
        self.title = f"Check what {repository} signs in with"

    def verify(self, world: World) -> Evidence:
        """Follow the password from the repository to its value, as Artifact Registry does."""
        there = world.repository(self.repository)
        if there is None:
            return Evidence(findings=(_not_there(world, self.repository),))
        if not there.username:
            nothing = "does not sign in: there is nothing to check"
            return Evidence(findings=(Finding(Mark.OK, self.repository, nothing),))
        wanted = (Check.GRANT, Check.VERSION, Check.END)
        (life,) = token_lives(world, lambda: ([there], False), levels=Levels(), without=set(Check) - set(wanted))
        return Evidence(findings=tuple(map(life.of, wanted)))


class TryDirectly(Proof):
    """The guide's third hint: the same credential and the same image, at cgr.dev itself.

    Args:
        image: with its namespace; without one it is your organisation's.
        repository: whose credential is tried.
        organization: for an image without namespace.
    """

    section = Section.DEBUGGING
    why = "If cgr.dev refuses the same request without Artifact Registry, the cause is at Chainguard's side of it."

    def __init__(self, image: str, repository: str, *, organization: str = "") -> None:
        self.image = image
        self.repository = repository
        self.organization = organization
        self.title = f"Try {image} at cgr.dev, as {repository} would"

    def verify(self, world: World) -> Evidence:
        """Ask cgr.dev for a token without the credential, with it, and then for the image."""
        there = world.repository(self.repository)
        if there is None:
            return Evidence(findings=(_not_there(world, self.repository),))
        image = image_of(world, self.image, self.organization)
        try:
            cgr, unseen = world.cloud.cgr(upstream_login(world, self.repository)), None
        except CgrunbookError as error:
            cgr, unseen = world.cloud.cgr(), unknown("token with the credential", error)
        anonymous = cgr.probe_token(image.repository, with_credentials=False)
        findings = [_without(image, anonymous, signs_in=bool(there.username))]
        if unseen is not None:
            return Evidence(findings=(*findings, unseen))
        if there.username:
            findings.append(_with(image, cgr.probe_token(image.repository)))
        if findings[-1].mark is not Mark.FAIL:
            findings.append(self._resolve(cgr, image))
        return Evidence(findings=tuple(findings), commands=self._commands(world, image, there))

    def _resolve(self, cgr: Registry, image: ImageReference) -> Finding:
        check = f"{image} at cgr.dev"
        try:
            found = cgr.resolve(image.repository, image.reference)
        except CgrunbookError as error:
            return Finding(Mark.FAIL, check, error.message, error.remedy)
        return Finding(Mark.OK, check, f"is there, {found.digest}")

    def _commands(self, world: World, image: ImageReference, there: RemoteRepository) -> tuple[str, ...]:
        connection = world.cloud.connection
        pull = f"docker pull {connection.cgr.address}/{image}"
        if not there.username:
            return (pull,)
        project, secret_id, version = split_version(there.password_secret_version)
        project = kept_in(world, project, secret_id).cloud.project.id
        access = f"gcloud secrets versions access {version} --secret={secret_id} --project={project}"
        login = f"docker login {connection.cgr.address} --username={there.username} --password-stdin"
        return (f"{access} |\n  {login}", pull)


class TryFreshRepository(Step):
    """The guide's fourth hint: a second repository with the same settings, made, tried and taken away again.

    Args:
        repository: whose settings are tried.
        image: what to pull through it; without a namespace it is your organisation's.
        platform: whose layers are fetched.
        organization: for an image without namespace.
        wanted: whether to do it at all.
    """

    section = Section.DEBUGGING
    why = "If a fresh repository works, the old one is misconfigured; if it does not, the cause is elsewhere."

    def __init__(
        self,
        repository: str,
        image: str,
        platform: str = "linux/amd64",
        *,
        organization: str = "",
        wanted: bool = False,
    ) -> None:
        self.repository = repository
        self.image = image
        self.platform = Platform(platform)
        self.organization = organization
        self.not_asked_for = "" if wanted else "try_fresh_repository"
        self.title = f"Try a fresh repository with the settings of {repository}"
        # The same each time, so that what a killed run left is found.
        self.fresh = f"{repository[:48].rstrip('-')}-cgrunbook-try"

    def plan(self, world: World) -> Plan:
        there = world.repository(self.repository)
        if there is None:
            return Plan(Outcome.VERIFIED)
        what = f"like {self.repository}, tried with {self.image}, and deleted again"
        connection = world.cloud.connection
        where = f"--project={connection.project_id} --location={connection.location}"
        create = (
            f"gcloud artifacts repositories create {self.fresh} {where} --repository-format=docker "
            f"--mode=remote-repository --remote-docker-repo={there.upstream}"
        )
        if there.username:
            create += f" --remote-username={there.username}"
            create += f" --remote-password-secret-version={there.password_secret_version}"
        return Plan(
            Outcome.VERIFIED,
            (Change(f"repository {self.fresh}", "", None, what),),
            (create, f"gcloud artifacts repositories delete {self.fresh} --quiet {where}"),
        )

    def apply(self, world: World, plan: Plan) -> dict[str, Any]:
        """Make it, pull through it, delete it whatever came of the pull."""
        repositories = world.cloud.repositories
        there = world.repository(self.repository)
        if there is None:
            raise PrerequisiteMissing(
                f"The repository {self.repository} is gone.", "Run 04_debugging from its beginning."
            )
        left_over = repositories.get(self.fresh)
        if left_over is not None:
            if not made_by_cgrunbook(left_over):
                raise StepFailed(
                    f"There is a repository {self.fresh} that cgrunbook did not make.",
                    "Rename or delete it, then run again.",
                )
            repositories.delete(self.fresh)
        world.progress(Progress(f"making {self.fresh}"))
        labels = dict(there.labels) | MANAGED_BY
        try:
            repositories.create(replace(there, name=repositories.name(self.fresh), labels=labels))
            return self._pull(world)
        except CgrunbookError as error:
            raise StepFailed(
                f"A fresh repository with the settings of {self.repository} does not work either: {error.message}",
                f"So {self.repository} is not what is wrong. {error.remedy}",
                debugging=4,
            ) from error
        finally:
            world.progress(Progress(f"deleting {self.fresh}"))
            repositories.delete(self.fresh)

    def verify(self, world: World) -> Evidence:
        if not world.seen:
            return Evidence(findings=(_not_there(world, self.repository),))
        if world.repository(self.fresh) is not None:
            raise StepFailed(f"The repository {self.fresh} is still there.", "Delete it by hand.")
        return Evidence("works, and is gone again", world.seen)

    def _pull(self, world: World) -> dict[str, Any]:
        image = image_of(world, self.image, self.organization)
        path = path_through(world, self.fresh, image)
        pulled = world.cloud.artifact_registry_host.pull(path, image.reference, self.platform)
        return {
            "a fresh repository": f"works: if {self.repository} does not, it is misconfigured; make it anew",
            "pulled": f"{image}, {pulled.digest}",
            "bytes hashed": pulled.bytes,
        }


def _not_there(world: World, name: str) -> Finding:
    if world.expects(expected_repository(name)):
        return Finding(Mark.OK, name, "not there yet; this plan would make it")
    remedy = "Make it with 02_developer_images or 03_production_images, if it is wanted."
    return Finding(Mark.WARN, name, "does not exist", remedy)


def _without(image: ImageReference, probe: TokenProbe, *, signs_in: bool) -> Finding:
    check, said = "token without a credential", _said(probe)
    if probe.granted:
        return Finding(Mark.OK, check, f"given: {image.repository} is public")
    if probe.status == 400:
        remedy = f"Correct {image.organization!r} in the image's name."
        return Finding(Mark.FAIL, check, f"{said}: there is no such organisation", remedy)
    if probe.status == 401:
        mark, seen = Mark.OK, f"{said}: the name is right, and a credential is wanted"
        remedy = "Pull it through a repository that signs in (03_production_images)."
    else:
        mark, seen = Mark.WARN, f"{said}: nobody is given this without a credential"
        remedy = "Look whether the image is one of the free ones, and how its name is written."
    return Finding(mark, check, seen) if signs_in else Finding(Mark.FAIL, check, seen, remedy)


def _with(image: ImageReference, probe: TokenProbe) -> Finding:
    check = "token with the credential"
    if probe.granted:
        return Finding(Mark.OK, check, "given")
    alike = "cgr.dev says the same for a wrong username, an ended or revoked token and an image it will not give"
    remedy = (
        "If the token has ended or was revoked: destroy its secret version and run 03_production_images. Otherwise see "
        f"whether {image.repository} is in your catalogue: chainctl images repos list --parent={image.organization}"
    )
    return Finding(Mark.FAIL, check, f"{_said(probe)}: {alike}", remedy)


def _said(probe: TokenProbe) -> str:
    return f"{probe.status} {probe.code} {probe.message}".strip()
