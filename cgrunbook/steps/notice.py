"""Whether a secret's rotation notice would come: the topic is there, and Secret Manager's service agent may publish to it.

It knows what Secret Manager needs of Pub/Sub, and that whoever keeps the secret need not be allowed to ask there.
"""

from __future__ import annotations

from collections.abc import Sequence

from cgrunbook.cloud import apis
from cgrunbook.cloud.roles import HELD
from cgrunbook.errors import ApiDisabled, CgrunbookError, PrerequisiteMissing
from cgrunbook.steps.apis import SECRET_MANAGER
from cgrunbook.steps.credential import kept_in, learn_number, own_project
from cgrunbook.steps.step import Finding, Mark, World

PUBLISHER = "roles/pubsub.publisher"

_PUBSUB = "pubsub.googleapis.com"
_PUBLISH = "pubsub.topics.publish"
_PUBLISHERS = (*(role for role, held in HELD.items() if _PUBLISH in held), "roles/editor", "roles/owner")
_CHECK = "Secret Manager may publish to the topic"


def check_topic(world: World, secret_id: str, topic: str) -> Finding:
    """Look at what a rotation notice needs.

    Args:
        secret_id: a secret of the project, which may be there already.
        topic: projects/P/topics/T, of whichever project.

    Returns:
        That it is all there, or what could not be looked at, and why.

    Raises:
        PrerequisiteMissing: there is no such topic, or Secret Manager's service agent may not publish to it.
    """
    try:
        found = _look(world, secret_id, topic)
    except ApiDisabled as off:
        if off.api == _PUBSUB and not off.charged and own_project(world, topic.split("/")[1]):
            raise PrerequisiteMissing(
                f"The topic {topic} cannot be used. {off.message}", f"{off.remedy}\n{to_do(world, topic, missing=True)}"
            ) from off
        return _not_checked(world, topic, off.message)
    except CgrunbookError as error:
        return _not_checked(world, topic, error.message)
    if found is None:
        raise PrerequisiteMissing(
            f"There is no topic {topic}, so that nobody would be told when the pull token is due.",
            to_do(world, topic, missing=True),
        )
    granted, doubts = found
    if granted:
        return Finding(Mark.OK, _CHECK, f"{topic}: its service agent has {granted}")
    if doubts:
        return _not_checked(world, topic, f"It may have its right through {'; '.join(doubts)}.")
    raise PrerequisiteMissing(
        f"Secret Manager's service agent may not publish to {topic}, so that nobody would be told when the pull token is "
        "due.",
        to_do(world, topic),
    )


def _look(world: World, secret_id: str, topic: str) -> tuple[str, Sequence[str]] | None:
    """By what the service agent may publish, or else perhaps may; None where there is no such topic.

    That is what the topic's policy says, and where it says nothing that of its project.
    """
    policy = world.topic_policy(topic)
    if policy is None:
        return None
    learn_number(world, secret_id)
    member = apis.secret_manager_agent(world.cloud.project.number())
    if role := policy.first_of(_PUBLISHERS, member):
        return f"{role} on the topic", ()
    in_project = kept_in(world, topic.split("/")[1], secret_id).project_policy()
    if role := in_project.first_of(_PUBLISHERS, member):
        return f"{role} on the whole project", ()
    return "", [way for one in (policy, in_project) for way in one.in_doubt(member, _PUBLISH, PUBLISHER)]


def to_do(world: World, topic: str, *, missing: bool = False) -> str:
    """The commands after which a notice comes."""
    _, keeper, _, name = topic.split("/")
    project = world.cloud.connection.project_id
    number = f"$(gcloud projects describe {project} --format='value(projectNumber)')"
    if world.cloud.project.number_is_known:
        number = world.cloud.project.number()
    commands = [
        f"gcloud pubsub topics create {name} --project={keeper}" if missing else "",
        f"gcloud beta services identity create --service={SECRET_MANAGER} --project={project}",
        # gcloud (528) takes no --condition for topics.
        f"gcloud pubsub topics add-iam-policy-binding {name} --project={keeper} "
        f'--member="{apis.secret_manager_agent(number)}" --role={PUBLISHER}',
    ]
    return "\n".join(("Run, or have somebody run who may:", *filter(None, commands)))


def _not_checked(world: World, topic: str, why: str) -> Finding:
    return Finding(Mark.NOT_CHECKED, _CHECK, f"{topic}: {why}", to_do(world, topic))
