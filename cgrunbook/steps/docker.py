"""Docker, where somebody has it: signing it in at the regional host, and letting its engine pull too.

It knows which login lasts and which does not. Docker's files and engine are the cloud floor's affair.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from cgrunbook.cloud.docker import GCLOUD, SignIn, print_access_token
from cgrunbook.cloud.pull import PullProgress
from cgrunbook.cloud.registry_sign_in import ACCESS_TOKEN_USER
from cgrunbook.errors import DigestMismatch, NotSignedIn, StepFailed
from cgrunbook.steps.pulling import image_of, path_through
from cgrunbook.steps.step import Change, Evidence, Outcome, Plan, Progress, Proof, Section, Step, World

How = Literal["auto", "credential-helper", "access-token", "none"]

_BY_HELPER = f"the credential helper {GCLOUD}"
_FILE = "docker's configuration"


class SignDockerIn(Step):
    """Let docker sign in at the location's docker.pkg.dev, leaving the rest of its configuration as it is.

    Docker is signed in when the registry takes what docker would send. A login that is taken stays, whosesoever it is.

    Args:
        how: `credential-helper`, `access-token`, `none`, or `auto` for the first where gcloud's helper has a login that is
            taken, else the second.
    """

    section = Section.TESTING_DEVELOPER
    why = "A repository is private until somebody opens it, so docker has to say who is pulling."
    title = "Sign docker in"

    def __init__(self, how: How = "auto") -> None:
        self.how = how
        self.not_asked_for = "docker_login" if how == "none" else ""

    def plan(self, world: World) -> Plan:
        host = world.cloud.connection.artifact_registry_host.address
        expected = f"docker login at {host}"
        if world.expects(expected):
            return Plan()
        now = world.docker_sign_in()
        if now.taken and self._wanted(now):
            return Plan()
        if now.login.kind == "environment":
            raise self._denied(world, now)
        notes: tuple[str, ...] = ()
        if self.how != "access-token":
            helper = self._helper(world, now)
            if helper.taken:
                change = Change(_FILE, f"sign-in at {host}", _before(now), _BY_HELPER)
                command = f"gcloud auth configure-docker {host} --quiet"
                return Plan(Outcome.UPDATED, (change,), (command,), makes=(expected,))
            if self.how == "credential-helper":
                raise self._denied(world, helper)
            notes = (f"gcloud's credential helper would last, and is of no use now: {helper.problem}.",)
        changes, commands = self._token_instead(world, now)
        return Plan(Outcome.UPDATED, changes, commands, makes=(expected,), notes=notes)

    def apply(self, world: World, plan: Plan) -> Mapping[str, Any]:
        host = world.cloud.connection.artifact_registry_host.address
        config = world.cloud.docker.config
        world.progress(Progress("writing docker's configuration"))
        if plan.changes[0].after == _BY_HELPER:
            config.add_credential_helper(host, GCLOUD)
            return {"sign-in": world.docker_sign_in(GCLOUD)}  # what the plan has seen of it
        forgets = world.docker_sign_in().login.helper == GCLOUD
        config.login_with_token(host, ACCESS_TOKEN_USER, world.cloud.access_token(), instead_of_helper=forgets)
        return {}

    def verify(self, world: World) -> Evidence:
        registry = world.cloud.connection.artifact_registry_host
        login = world.cloud.docker.config.login(registry.address)
        facts = {"registry": registry.name, "docker signs in with": str(login)}
        if world.expects(f"docker login at {registry.address}"):
            return Evidence(login.how, facts)
        tried: SignIn | None = world.seen.get("sign-in")
        if tried is None or tried.login != login:
            tried = world.docker_sign_in()
        if not tried.taken:
            raise self._denied(world, tried)
        return Evidence(login.how, {**facts, "tried there": f"the registry lets {tried.username} in"})

    def _wanted(self, now: SignIn) -> bool:
        """Whether a login that is taken is of the kind that was asked for."""
        return self.how == "auto" or (self.how == "credential-helper") == (now.login.helper == GCLOUD)

    def _helper(self, world: World, now: SignIn) -> SignIn:
        """What docker would get of gcloud's helper, whether its configuration names it or not."""
        if now.login.helper == GCLOUD:
            return now
        if world.cloud.docker.config.program(GCLOUD) is None:
            login = replace(now.login, kind="helper", helper=GCLOUD)
            return SignIn(login, problem=f"there is no docker-credential-{GCLOUD} on the PATH")
        return world.docker_sign_in(GCLOUD)

    def _token_instead(self, world: World, now: SignIn) -> tuple[tuple[Change, ...], tuple[str, ...]]:
        """Changes and commands of a token for an hour, kept where docker will find it."""
        docker, host = world.cloud.docker, now.login.host
        before, after = _before(now), "an access token that lasts an hour"
        changes: list[Change] = []
        commands: list[str] = []
        if now.login.helper == GCLOUD:
            # This helper takes a login and forgets it.
            if now.login.kind == "store" and not now.taken:
                raise self._denied(world, now)
            if now.login.kind == "store":
                raise StepFailed(
                    f"No token can be stored for docker: credsStore in {docker.config.path} is gcloud's helper, which "
                    "forgets what it is given.",
                    "Set docker_login to auto: docker pulls with gcloud's login. Or take credsStore out of that file.",
                )
            changes.append(Change(_FILE, f"credential helper for {host}", before, None))
            commands.append(docker.config.without_helper(host))
            before = None
        elif now.unusable is not None:
            raise now.unusable
        elif now.login.helper:
            after += f", in the credential {now.login.kind} {now.login.helper}"
        changes.append(Change(_FILE, f"sign-in at {host}", before, after))
        if docker.config.program(GCLOUD) is not None:
            commands.append(
                f"{print_access_token(world.cloud.connection)} |\n"
                f"  docker login https://{host} --username={ACCESS_TOKEN_USER} --password-stdin"
            )
        return tuple(changes), tuple(commands)

    def _denied(self, world: World, tried: SignIn) -> NotSignedIn:
        """The error for a login that the registry does not take."""
        connection, docker = world.cloud.connection, world.cloud.docker
        remedy = docker.sign_in_again(tried.login)
        if tried.login.kind == "environment":
            pass  # whatever is stored, docker would not see it
        elif tried.username == ACCESS_TOKEN_USER or connection.target == "sandbox":
            remedy = connection.sign_in  # it is the runbook's own token that is not taken
        elif tried.login.helper == GCLOUD and self.how == "credential-helper":
            remedy += "\nOr let docker have a token of an hour: set docker_login to access-token"
        elif tried.login.kind == "store" and tried.login.helper == GCLOUD:
            remedy += f"\nOr take credsStore out of {docker.config.path}: that helper forgets what it is given."
        host = connection.artifact_registry_host.name
        return NotSignedIn(f"Docker is not signed in at {host}: {tried.problem}.", remedy)


def _before(now: SignIn) -> str | None:
    """Docker's login as it was, with what is wrong with it."""
    if now.login.kind == "none":
        return None
    return now.login.how if now.taken else f"{now.login.how}; {now.problem}"


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
        self.not_asked_for = "" if wanted else "docker_pull"
        self.title = f"Pull {image} with docker"

    def verify(self, world: World) -> Evidence:
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
