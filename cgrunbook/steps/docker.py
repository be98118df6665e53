"""Docker, where somebody has it: signing it in at the regional host, and letting its engine pull too.

It knows which login lasts and which does not. Docker's files and engine are the cloud floor's affair.
"""

from __future__ import annotations

import os
import shutil
from typing import Literal

from cgrunbook.cloud.pull import PullProgress
from cgrunbook.cloud.registry_sign_in import ACCESS_TOKEN_USER
from cgrunbook.errors import DigestMismatch, StepFailed
from cgrunbook.steps.pulling import image_of, path_through
from cgrunbook.steps.step import Change, Evidence, Outcome, Plan, Progress, Proof, Section, Step, World

HELPER = "gcloud"


class SignDockerIn(Step):
    """Let docker sign in at the location's docker.pkg.dev, leaving the rest of its configuration as it is.

    Args:
        how: `credential-helper`, `access-token`, `none`, or `auto` for the first where gcloud is there, else the second.
    """

    section = Section.TESTING_DEVELOPER
    why = "A repository is private until somebody opens it, so docker has to say who is pulling."

    def __init__(self, how: Literal["auto", "credential-helper", "access-token", "none"] = "auto") -> None:
        self.how = how

    title = "Sign docker in"

    def plan(self, world: World) -> Plan:
        host = world.cloud.connection.artifact_registry_host.address
        login = world.cloud.docker.config.login(host)
        how = self._how(world)
        expected = f"docker login at {host}"
        if how == "none" or world.expects(expected) or (how == "credential-helper" and login.helper == HELPER):
            return Plan()
        before = str(login) if login.kind != "none" else None
        notes: tuple[str, ...] = ()
        if how == "credential-helper":
            change = Change("docker's configuration", f"credHelpers.{host}", before, HELPER)
            command = f"gcloud auth configure-docker {host} --quiet"
        else:
            lasting = "an access token that lasts an hour"
            change = Change("docker's configuration", f"auths.{host}", before, lasting)
            login_by_hand = f"docker login https://{host} --username={ACCESS_TOKEN_USER} --password-stdin"
            command = f"gcloud auth print-access-token |\n  {login_by_hand}"
            notes = ("The token is good for an hour. With gcloud installed, its credential helper lasts.",)
        return Plan(Outcome.UPDATED, (change,), (command,), makes=(expected,), notes=notes)

    def apply(self, world: World, plan: Plan) -> None:
        host = world.cloud.connection.artifact_registry_host.address
        world.progress(Progress("writing docker's configuration"))
        if self._how(world) == "credential-helper":
            world.cloud.docker.config.add_credential_helper(host, HELPER)
        else:
            world.cloud.docker.config.login_with_token(host, ACCESS_TOKEN_USER, world.cloud.access_token())

    def verify(self, world: World) -> Evidence:
        host = world.cloud.connection.artifact_registry_host
        login = world.cloud.docker.config.login(host.address)
        if self.how != "none" and login.kind == "none" and not world.expects(f"docker login at {host.address}"):
            raise StepFailed(
                f"Docker still has no login for {host.address}.", "Look at its configuration, then run again."
            )
        return Evidence(login.how, {"registry": host.name, "docker signs in with": str(login)})

    def _how(self, world: World) -> str:
        if self.how != "auto":
            return self.how
        path = world.cloud.connection.environment.get("PATH") or os.environ.get("PATH")
        found = shutil.which(f"docker-credential-{HELPER}", path=path)
        return "credential-helper" if found else "access-token"


class PullWithDocker(Proof):
    """Let the docker engine pull the image too, and compare its digest with the registry's.

    Args:
        image: with its namespace; without one it is your organisation's.
        repository: the remote repository to pull through.
        organization: for an image without namespace.
        wanted: whether to do it at all.
    """

    waits_for_apply = True
    section = Section.TESTING_DEVELOPER
    why = "The guide ends with a docker pull; here it also says whether what docker has is what the registry has."

    def __init__(self, image: str, repository: str, *, organization: str = "", wanted: bool = False) -> None:
        self.image = image
        self.repository = repository
        self.organization = organization
        self.wanted = wanted
        self.title = f"Pull {image} with docker"

    def verify(self, world: World) -> Evidence:
        if not self.wanted:
            return Evidence("not asked for (docker_pull)", skipped=True)
        engine = world.cloud.docker.engine()
        if not engine.reachable:
            raise StepFailed(
                f"docker_pull is set, and no docker engine answers: {engine.problem}", "Start it, or unset it."
            )
        image = image_of(world, self.image, self.organization)
        path = path_through(world, self.repository, image)
        registry = world.cloud.artifact_registry_host
        separator = "@" if image.digest else ":"
        reference = f"{registry.host.address}/{path}{separator}{image.reference}"

        def report(progress: PullProgress) -> None:
            world.progress(Progress(f"docker pulls {image}", progress.done, progress.size or None))

        # The registry says better than the engine what stands in the way.
        expected = registry.resolve(path, image.reference).digest
        digest = world.cloud.docker.pull(reference, report)
        if digest != expected:
            raise DigestMismatch(
                f"docker has {digest} for {image}, and the registry {expected}.",
                "Pull again; the tag may have just moved.",
            )
        facts = {"digest": digest, "compared with the registry": "the same digest", "docker engine": engine.version}
        return Evidence("the same digest as the registry's", facts, commands=(f"docker pull {reference}",))
