"""The secret that holds the pull token's password, and who may read it.

It knows the options that the guide names, what of a secret can be changed afterwards, and the grant that the guide
leaves out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Self

from cgrunbook import durations
from cgrunbook.cloud import Cloud, apis
from cgrunbook.cloud.iam_policy import Binding, Policy, let_read_command
from cgrunbook.cloud.roles import ACCESSOR
from cgrunbook.cloud.secret_manager import Rotation, SecretResource
from cgrunbook.errors import (
    ApiDisabled,
    InvalidRequest,
    NotFound,
    PermissionMissing,
    PrerequisiteMissing,
    StepFailed,
    WrongState,
)
from cgrunbook.parameters import Parameters
from cgrunbook.steps.apis import ARTIFACT_REGISTRY
from cgrunbook.steps.credential import learn_number
from cgrunbook.steps.notice import check_topic, to_do
from cgrunbook.steps.step import (
    KNOWN_AFTER_APPLY,
    Change,
    Evidence,
    Finding,
    Mark,
    Outcome,
    Plan,
    Progress,
    Section,
    Step,
    World,
    differences,
    gcloud,
    is_marked,
    labelled,
    labels_flag,
    quoted,
)

# Beside the label, which people edit: by it a secret is known again as cgrunbook's.
MADE_BY_ANNOTATION = "cgrunbook.made-by"

# On a secret of somebody else: to whom cgrunbook gave the right to read it, which teardown takes back.
_GRANTED_ANNOTATION = "cgrunbook.granted-to"

_TIME = "%Y-%m-%dT%H:%M:%SZ"


def console_page(secret_id: str) -> str:
    """The page of a secret in Google Cloud's console."""
    return f"security/secret-manager/secret/{secret_id}/versions"


@dataclass(frozen=True)
class SecretSettings:
    """The options that the guide names for the secret.

    Args:
        labels: `key=value`, in addition to the one that marks what cgrunbook made.
        locations: where the value is kept; empty lets Google choose. Fixed at creation.
        expires_after: a Go duration after which Secret Manager deletes the secret; empty never.
        rotation_topic: the Pub/Sub topic that is told when the token is due.
        rotation_period: a Go duration, how often it is told.
        token_ttl: how long the pull token lives that will be in it.
    """

    labels: Sequence[str] = ()
    locations: Sequence[str] = ()
    expires_after: str = ""
    rotation_topic: str = ""
    rotation_period: str = ""
    token_ttl: str = Parameters().token_ttl

    @classmethod
    def of(cls, params: Parameters) -> Self:
        """What a notebook's parameters ask for."""
        return cls(
            params.labels,
            params.secret_locations,
            params.secret_expires_after,
            params.rotation_topic,
            params.rotation_period,
            params.token_ttl,
        )


def expected_secret(secret_id: str) -> str:
    """How a plan names a secret that a step before would have made."""
    return f"secret {secret_id}"


def made_by_cgrunbook(secret: SecretResource) -> bool:
    """Whether cgrunbook made it; only then is it ever deleted."""
    return MADE_BY_ANNOTATION in secret.annotations or is_marked(secret.labels)


def granted_to(secret: SecretResource) -> str:
    """The member to whom cgrunbook gave the right to read a secret that it did not make; "" for nobody."""
    return secret.annotations.get(_GRANTED_ANNOTATION, "")


def without_mark(secret: SecretResource) -> SecretResource:
    """A secret without what is written on it of that grant."""
    kept = {name: value for name, value in secret.annotations.items() if name != _GRANTED_ANNOTATION}
    return replace(secret, annotations=kept)


def require_secret(world: World, secret_id: str) -> SecretResource | None:
    """The secret; None when only a step before this one of the same plan would make it.

    Raises:
        PrerequisiteMissing: there is none.
    """
    there = world.secret(secret_id)
    if there is None:
        _must_come(world, secret_id)
    return there


def service_agent(world: World, secret_id: str) -> str:
    """Artifact Registry's service agent, as an IAM member.

    Args:
        secret_id: a secret of the project: its name tells the project's number to whoever may not ask Resource Manager.

    Raises:
        ApiDisabled, PermissionMissing: neither can be asked.
    """
    learn_number(world, secret_id)
    return f"serviceAccount:{world.cloud.project.service_agent_email()}"


def policy_of(world: World, secret_id: str) -> Policy | None:
    """Who may do what with the secret itself, with the project's number known; None and raises as `require_secret`."""
    if not world.cloud.project.number_is_known:
        world.at_once(partial(world.policy, secret_id), partial(world.secret, secret_id))
    policy = world.policy(secret_id)
    if policy is None:
        _must_come(world, secret_id)
    return policy


def _must_come(world: World, secret_id: str) -> None:
    """Refuse to go on without a secret that no step before this one of the same plan would make."""
    if not world.expects(expected_secret(secret_id)):
        raise PrerequisiteMissing(
            f"There is no secret {secret_id} in project {world.cloud.connection.project_id}.",
            "Run 03_production_images from its beginning: it makes the secret.",
        )


class CreateSecret(Step):
    """Create the secret that will hold the pull token's password, or bring an existing one to what was asked for.

    Args:
        settings: the options that the guide names.
    """

    section = Section.PRODUCTION_IMAGES
    console_page = "security/secret-manager"  # a page of its own it has only once it is there
    why = "Artifact Registry keeps no passwords: it reads them from Secret Manager each time it needs them."

    def __init__(self, secret_id: str, settings: SecretSettings | None = None) -> None:
        self.secret_id = secret_id
        self.settings = settings or SecretSettings()
        # One moment for all plans of this step: what was approved must be what is done.
        self._begun = datetime.now(UTC).replace(microsecond=0)
        self.title = f"Create the secret {secret_id}"

    def plan(self, world: World) -> Plan:
        there = world.secret(self.secret_id)
        locations = self.settings.locations
        if there is not None and locations and set(there.replication) != set(locations):
            raise InvalidRequest(
                f"The secret {self.secret_id} is there already and is kept in {_places(there)}, "
                f"not in {', '.join(locations)}. Secret Manager cannot change that.",
                "Choose another secret_id, or leave secret_locations empty.",
            )
        if topic := self.settings.rotation_topic:
            check_topic(world, self.secret_id, topic)
        wanted = self._wanted(world, there)
        before = None if there is None else _fields(there)
        changes = differences(
            f"secret {self.secret_id}",
            before,
            _fields(wanted),
            made="empty, for the pull token's password",
            words=_WORDS,
        )
        if not changes:
            return Plan()
        return Plan(
            Outcome.CREATED if there is None else Outcome.UPDATED,
            tuple(changes),
            (self._command(world, there, wanted),),
            makes=(expected_secret(self.secret_id),) if there is None else (),
            notes=self._notes(),
        )

    def apply(self, world: World, plan: Plan) -> None:
        world.progress(Progress(f"writing the secret {self.secret_id}"))
        there = world.secret(self.secret_id)
        wanted = self._wanted(world, there)
        try:
            if there is None:
                world.cloud.secrets.create(wanted)
            else:
                world.cloud.secrets.update(there, wanted)
        except (InvalidRequest, NotFound, PermissionMissing, WrongState) as error:
            if topic := self.settings.rotation_topic:  # Secret Manager tries it, it is said; in which words, is not
                error.remedy += f"\nWhere it is about the topic: {to_do(world, topic)}"
            raise

    def verify(self, world: World) -> Evidence:
        there = require_secret(world, self.secret_id)
        if there is None:
            return Evidence("will be there by then")
        facts: dict[str, Any] = {
            "secret": world.cloud.secrets.name(self.secret_id),
            "replication": _places(there),
            "labels": dict(there.labels),
            "expires": there.expire_time or "never",
            "rotation notice": _rotation_in_words(there),
        }
        topic = self.settings.rotation_topic
        findings = (check_topic(world, self.secret_id, topic),) if topic else ()
        unsure = ", the topic not checked" if any(one.mark is Mark.NOT_CHECKED for one in findings) else ""
        return Evidence(f"replication {_places(there)}{unsure}", facts, findings)

    def _wanted(self, world: World, there: SecretResource | None) -> SecretResource:
        settings = self.settings
        expires = self._begun + durations.parse(settings.expires_after) if settings.expires_after else None
        rotation = None
        if settings.rotation_period:
            period = durations.parse(settings.rotation_period)
            rotation = Rotation(self._begun + period, period)
        topics = (settings.rotation_topic,) if settings.rotation_topic else ()
        ground = there or SecretResource(
            name=world.cloud.secrets.name(self.secret_id),
            annotations={MADE_BY_ANNOTATION: "cgrunbook"},
            replication=tuple(settings.locations),
        )
        same_period = ground.rotation and rotation and ground.rotation.period == rotation.period
        return replace(
            ground,
            labels=labelled(ground.labels, settings.labels, ours=MADE_BY_ANNOTATION in ground.annotations),
            # An expiry once set is left to run: moved at each run it would never come.
            expire_time=ground.expire_time or expires,
            topics=tuple(dict.fromkeys((*ground.topics, *topics))),
            rotation=ground.rotation if same_period else (rotation or ground.rotation),
        )

    def _notes(self) -> tuple[str, ...]:
        notes, settings = [], self.settings
        if settings.expires_after:
            notes.append(
                f"In {durations.in_words(durations.parse(settings.expires_after))} Secret Manager deletes this secret with "
                "its versions; from then on Artifact Registry cannot fetch anything that it has not cached."
            )
        if settings.rotation_period and durations.parse(settings.rotation_period) >= durations.parse(
            settings.token_ttl
        ):
            notes.append(
                f"The notice comes every {durations.in_words(durations.parse(settings.rotation_period))}, and a pull token "
                f"ends after {durations.in_words(durations.parse(settings.token_ttl))}: the first comes too late."
            )
        return tuple(notes)

    def _command(self, world: World, there: SecretResource | None, wanted: SecretResource) -> str:
        before = there or SecretResource(wanted.name)
        flags = [labels_flag(None if there is None else there.labels, wanted.labels)]
        if there is None:
            flags = [
                f"--replication-policy={'user-managed' if wanted.replication else 'automatic'}",
                f"--locations={','.join(wanted.replication)}" if wanted.replication else "",
                *flags,
                f"--set-annotations={MADE_BY_ANNOTATION}=cgrunbook",
            ]
        if wanted.expire_time and wanted.expire_time != before.expire_time:
            flags.append(f"--expire-time={wanted.expire_time:{_TIME}}")
        if topics := [topic for topic in wanted.topics if topic not in before.topics]:
            flags.append(f"--{'' if there is None else 'add-'}topics={','.join(topics)}")
        if wanted.rotation and wanted.rotation != before.rotation:
            period = wanted.rotation.period
            flags += [
                f"--next-rotation-time={wanted.rotation.next_time:{_TIME}}",
                f"--rotation-period={period.total_seconds():.0f}s" if period else "",
            ]
        return gcloud(f"secrets {'create' if there is None else 'update'} {self.secret_id}", world, quoted(flags))


def conditional_grant(cloud: Cloud, secret_id: str, member: str, granted: Sequence[Binding]) -> Finding:
    """What is to be said of a grant under a condition: neither that it is there nor that it is not.

    Args:
        cloud: the project that the secret is in.
        granted: by what the member has the role, each under a condition.
    """
    return Finding(
        Mark.NOT_CHECKED,
        "the service agent may read the secret",
        f"{' or '.join(map(str, granted))}: whether that holds, Google's IAM alone can tell",
        "An image that is not cached shows it: 03_production_images when it makes the repository, 04_debugging with "
        "try_fresh_repository. It is left as it is; if it should hold always: "
        f"{let_read_command(secret_id, cloud.project.id, member)}",
        reason="conditional",
    )


class GrantSecretAccess(Step):
    """Let Artifact Registry's service agent read the secret: the step that the guide leaves out.

    Args:
        secret_id: the secret; the role is granted on it alone, never on the project.
    """

    section = Section.PRODUCTION_IMAGES
    why = (
        "Artifact Registry reads the password as its own service agent. The guide does not say so, but without this grant "
        "the repository cannot be created, or its pulls fail."
    )

    def __init__(self, secret_id: str) -> None:
        self.secret_id = secret_id
        self.console_page = console_page(secret_id)
        self.title = f"Let Artifact Registry's service agent read the secret {secret_id}"

    def plan(self, world: World) -> Plan:
        policy = policy_of(world, self.secret_id)
        if policy and policy.held(service_agent(world, self.secret_id), ACCESSOR):
            return Plan()  # under a condition too: nothing is added beside what somebody has limited
        project = world.cloud.connection.project_id
        try:
            member = shown = service_agent(world, self.secret_id)
        except (ApiDisabled, PermissionMissing):  # there is no secret yet to tell the number either
            member, shown = apis.service_agent_of(project), KNOWN_AFTER_APPLY
        # Without the last one gcloud asks on a policy that has conditions, and refuses where nobody can answer.
        flags = (f'--member="{member}"', f"--role={ACCESSOR}", "--condition=None")
        grant = gcloud(f"secrets add-iam-policy-binding {self.secret_id}", world, flags)
        return Plan(
            Outcome.CREATED,
            (Change(f"secret {self.secret_id}", f"may be read by ({ACCESSOR})", None, shown),),
            (f"gcloud beta services identity create --service={ARTIFACT_REGISTRY} --project={project}", grant),
            notes=(
                "The service agent is made only where IAM does not know it: before the project's first repository.",
            ),
        )

    def apply(self, world: World, plan: Plan) -> None:
        world.progress(Progress("granting Artifact Registry's service agent the role"))
        member = service_agent(world, self.secret_id)
        there = world.secret(self.secret_id)
        if there is not None and not made_by_cgrunbook(there):
            marked = replace(there, annotations={**there.annotations, _GRANTED_ANNOTATION: member})
            world.cloud.secrets.update(there, marked)
        world.cloud.secrets.grant(self.secret_id, member, ACCESSOR, introduce=partial(self._make_agent, world))

    def verify(self, world: World) -> Evidence:
        policy = policy_of(world, self.secret_id)
        if policy is None:
            return Evidence("will be granted by then")
        member = service_agent(world, self.secret_id)
        granted = policy.held(member, ACCESSOR)
        if not granted:
            raise StepFailed(
                f"The grant of {ACCESSOR} to {member} on the secret {self.secret_id} is gone again.",
                "Somebody or something removes it (a policy controller?); find out who, then run again.",
            )
        facts = {"member": member, "role": ACCESSOR, "on": f"the secret {self.secret_id} alone"}
        if not any(binding.condition for binding in granted):
            return Evidence("on this secret alone", facts)
        return Evidence("under a condition", facts, (conditional_grant(world.cloud, self.secret_id, member, granted),))

    def _make_agent(self, world: World) -> None:
        world.progress(Progress("making Artifact Registry's service agent"))
        try:
            world.cloud.project.ensure_service_agent(ARTIFACT_REGISTRY)
        except PermissionMissing as error:
            raise PermissionMissing(
                f"Artifact Registry's service agent does not exist yet.\n{error.message}",
                f"Run 02_developer_images first: the project's first repository brings the agent with it. Or {error.remedy}",
                permission=error.permission,
            ) from error


def _fields(secret: SecretResource) -> dict[str, Any]:
    """What of a secret is compared: what the operator can ask for."""
    return {
        "replication": _places(secret),
        "labels": dict(secret.labels),
        "expires": secret.expire_time,
        "topics": secret.topics,
        "rotation notice": secret.rotation,
    }


def _places(secret: SecretResource) -> str:
    return ", ".join(secret.replication) or "automatic (Google chooses where)"


def _rotation_in_words(secret: SecretResource) -> str:
    return f"to {', '.join(secret.topics)} {_how_often(secret.rotation)}" if secret.rotation else "none"


def _how_often(rotation: Rotation) -> str:
    return f"every {durations.in_words(rotation.period)}" if rotation.period else "once"


_WORDS: Mapping[str, Callable[[Any], str]] = {"topics": ", ".join, "rotation notice": _how_often}
