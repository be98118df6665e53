"""Taking away what the runbook made, in the reverse order of making, and nothing else.

It knows what of it is shared: the secret and the pull tokens in it belong to the project, and repositories of all its
locations may use them. What others use, or may use for all that can be seen, stays and is named.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import Any, TypeVar

from cgrunbook.cloud.apis import ARTIFACT_REGISTRY
from cgrunbook.cloud.artifact_registry import RemoteRepository
from cgrunbook.cloud.iam_policy import Binding, Policy, take_command
from cgrunbook.cloud.roles import ACCESSOR
from cgrunbook.cloud.secret_manager import SecretResource
from cgrunbook.errors import ApiDisabled, CgrunbookError, Conflict, ParameterError, PermissionMissing, StepFailed
from cgrunbook.steps import token_pairs
from cgrunbook.steps.credential import same_name, version_of
from cgrunbook.steps.pull_token import token_name
from cgrunbook.steps.readers import GIVEN, READER, given_to
from cgrunbook.steps.repository import made_by_cgrunbook
from cgrunbook.steps.secret import granted_to, service_agent, without_mark
from cgrunbook.steps.secret import made_by_cgrunbook as secret_made_by_cgrunbook
from cgrunbook.steps.step import Change, Evidence, Outcome, Plan, Progress, Section, Step, World, counted, in_bytes
from cgrunbook.steps.token_pairs import Claim

T = TypeVar("T")

_NOT_OURS = "cgrunbook did not make it"
_TOKEN = "pull token "  # noqa: S105 - no password, how a plan names one
_AGENT = re.compile(r"serviceAccount:service-\d+@gcp-sa-artifactregistry\.iam\.gserviceaccount\.com", re.IGNORECASE)


@dataclass(frozen=True)
class _Deletion:
    """One thing that goes.

    Args:
        resource: what it is.
        what: what of it goes.
        command: the same by hand.
        act: does it; what is gone already is no error.
    """

    resource: str
    what: str
    command: str
    act: Callable[[], object]


class TearDown(Step):
    """Delete the repositories, revoke the pull tokens and delete the secret, as far as cgrunbook made them.

    Args:
        repository: the one for developer images.
        private_repository: the one for production images.
        virtual_repository: the one address over both, which goes first; "" for none.
        confirm: the name of `repository`; anything else, and nothing is deleted.
        organization: whose pull tokens are revoked; empty takes the only one there is.
    """

    section = Section.PRODUCTION_IMAGES
    why = "What nobody uses any more should not be there to be paid for, nor a token to be stolen."
    title = "Take away what the runbook made"
    console_page = "artifacts"

    def __init__(
        self,
        repository: str,
        private_repository: str,
        secret_id: str,
        *,
        virtual_repository: str = "",
        confirm: str = "",
        organization: str = "",
    ) -> None:
        if confirm and confirm != repository:
            raise ParameterError(
                f"confirm is {confirm!r}, and repository is {repository!r}.",
                f"To delete what the runbook made, set confirm to {repository!r}; leave it empty to see what that would be.",
            )
        named = filter(None, (virtual_repository, private_repository, repository))
        self.repositories = tuple(dict.fromkeys(named))
        self.secret_id = secret_id
        self.organization = organization
        if not confirm:
            self.held_back = f"Nothing was deleted: set confirm to {repository!r} to go on."

    def plan(self, world: World) -> Plan:
        world.at_once(
            partial(world.secret, self.secret_id), *(partial(world.repository, one) for one in self.repositories)
        )
        of_secret, why_it_stays = self._of_secret(world)
        of_repositories = self._of_repositories(world)
        deletions = [*of_repositories, *of_secret]
        notes: list[str] = []
        for why, command in why_it_stays.items():
            notes.append(f"The secret {self.secret_id} stays: {why}.")
            if command:
                notes.append(f"If that may change:\n{command}")
        for name, there in self._found(world).items():
            if made_by_cgrunbook(there):
                notes += _lost_with(world, there, self.repositories)
                if there.username and version_of(world, self.secret_id, there.password_secret_version) is None:
                    notes.append(f"{there.password_secret_version}, with which {name} signs in, stays as it is.")
            else:
                notes.append(f"The repository {name} stays: {_NOT_OURS}.")
        if of_secret:
            notes += self._lost_with_secret(world)
        if deletions:
            notes += ["The APIs stay enabled: others may use them.", *_docker_login(world)]
            if self.held_back:
                notes.append(self.held_back)
        return Plan(
            Outcome.DELETED if deletions else Outcome.UNCHANGED,
            tuple(Change(deletion.resource, "", deletion.what, None) for deletion in deletions),
            tuple(deletion.command for deletion in deletions),
            notes=tuple(notes),
            lost=tuple(self._lost(world, bool(of_secret))) if deletions else (),
        )

    def apply(self, world: World, plan: Plan) -> Mapping[str, Any]:
        _carry_out(world, self._of_repositories(world))
        tokens = [_token(change.resource) for change in plan.changes if _token(change.resource)]
        if not any(change.resource == self._secret for change in plan.changes):
            of_others = any(change.resource.startswith(f"{self._secret},") for change in plan.changes)
            deletions = self._of_secret(world.anew())[0] if of_others else []
            if of_others and not deletions:
                raise Conflict(
                    f"What cgrunbook put into the secret {self.secret_id} was to go too, and was left: somebody uses it by now.",
                    "Run again to see what is left.",
                )
            _carry_out(world, deletions)
            return {"tokens": tokens}
        # Deleting repositories takes its time. With the secret claimed no other machine begins to make a token for it;
        # then it is looked again whether anybody uses it by now.
        before = _there(world, world.anew().secret, self.secret_id)
        claimed = self._claimed(world, before) if before else None
        world = world.anew()
        deletions, why_it_stays = self._of_secret(world)
        if why_it_stays:
            if before and claimed:
                world.cloud.secrets.update(claimed, replace(claimed, annotations=before.annotations))
            raise Conflict(
                f"The secret {self.secret_id} and its pull tokens were to go too, and were left: {'; '.join(why_it_stays)}.",
                "This was not so when the plan was made. Run again to see what is left and for whom.",
            )
        _carry_out(world, deletions)
        return {"secret deleted": bool(deletions), "tokens": tokens}

    def verify(self, world: World) -> Evidence:
        why_it_stays: Mapping[str, str] = {}
        left = {
            f"repository {name}": "" if made_by_cgrunbook(there) else _NOT_OURS
            for name, there in self._found(world).items()
        }
        if _there(world, world.secret, self.secret_id) is not None:
            why_it_stays = self._of_secret(world)[1]
            left[f"{self._secret} with its pull tokens"] = "; ".join(why_it_stays)
        elif world.seen.get("secret deleted") and (users := self._users(world, ())):
            raise StepFailed(
                f"The secret {self.secret_id} is gone, and meanwhile somebody let {' and '.join(users)} sign in with it.",
                "Run 03_production_images for that location: it makes a new secret and pull token.",
            )
        things = [f"{what}: {why}" if why else what for what, why in left.items()]
        facts = {
            "left": things or "nothing of it",
            "pull tokens": self._none_lives(world, world.seen.get("tokens", ())),
            "if that may change": [command for command in why_it_stays.values() if command],
            "not touched": _docker_login(world),
        }
        return Evidence(f"left: {'; '.join(things) or 'nothing'}", {name: fact for name, fact in facts.items() if fact})

    @property
    def _secret(self) -> str:
        return f"secret {self.secret_id}"

    def _found(self, world: World) -> dict[str, RemoteRepository]:
        """The repositories that are there, by name."""
        found = {name: _there(world, world.repository, name) for name in self.repositories}
        return {name: there for name, there in found.items() if there is not None}

    def _of_repositories(self, world: World) -> list[_Deletion]:
        """The repositories that go, and what of others cgrunbook gave away."""
        cloud = world.cloud
        where = f"--project={cloud.connection.project_id} --location={cloud.connection.location} --quiet"
        found = self._found(world)
        readers = [_of_readers(world, there, where) for there in found.values() if not made_by_cgrunbook(there)]
        return [*chain.from_iterable(readers)] + [
            _Deletion(
                f"repository {name}",
                "with all that it has cached" if there.mode == "REMOTE_REPOSITORY" else "the one address over both",
                f"gcloud artifacts repositories delete {name} {where}",
                partial(cloud.repositories.delete, name),
            )
            for name, there in found.items()
            if made_by_cgrunbook(there)
        ]

    def _of_secret(self, world: World) -> tuple[list[_Deletion], dict[str, str]]:
        """The pull tokens and the secret, in the order in which they go, or else why they stay, with what changes that.

        They go together or not at all: what is written on the secret tells which tokens are cgrunbook's.
        """
        secret = _there(world, world.secret, self.secret_id)
        if secret is None:
            return [], {}
        if not secret_made_by_cgrunbook(secret):
            return self._of_others_secret(world, secret), {_NOT_OURS: ""}
        tokens, _ = self._tokens(world, secret)
        if reasons := self._why_it_stays(world, secret, tokens):
            return [], reasons
        deletions = [self._of_token(world, token) for token in tokens]
        command = f"gcloud secrets delete {self.secret_id} --project={world.cloud.connection.project_id} --quiet"
        delete = partial(world.cloud.secrets.delete, self.secret_id)
        return [*deletions, _Deletion(self._secret, "with all its versions", command, delete)], {}

    def _of_token(self, world: World, token: str) -> _Deletion:
        command, revoke = f"chainctl iam identities delete {token} --yes", partial(self._revoke, world, token)
        return _Deletion(f"{_TOKEN}{token}", "and whoever holds it refused", command, revoke)

    def _of_others_secret(self, world: World, secret: SecretResource) -> list[_Deletion]:
        """What cgrunbook put into a secret that it did not make: tokens, versions, the grant; nothing while somebody uses them."""
        (tokens, problem), written = self._tokens(world, secret), token_pairs.pairs(secret)
        if problem or self._users(world, tokens) or any(_unread(world)):
            return []
        secrets, project = world.cloud.secrets, f"--project={world.cloud.connection.project_id}"
        deletions = [self._of_token(world, token) for token in tokens]
        deletions += [
            _Deletion(
                f"{self._secret}, version {version.number}",
                "which cgrunbook stored",
                f"gcloud secrets versions destroy {version.number} --secret={self.secret_id} {project} --quiet",
                partial(secrets.destroy, self.secret_id, version.number),
            )
            for version in world.versions(self.secret_id)
            if version.number in written and version.state != "DESTROYED"
        ]
        if member := granted_to(secret):
            remove = f"secrets remove-iam-policy-binding {self.secret_id} {project}"
            command = take_command(remove, member, Binding(ACCESSOR, (member,)))
            act = partial(secrets.revoke_grant, self.secret_id, member, ACCESSOR)
            deletions.append(_Deletion(f"{self._secret}, grant to {member}", "which cgrunbook gave", command, act))
        kept = without_mark(token_pairs.without_pairs(secret, written))
        if gone := ",".join(sorted(secret.annotations.keys() - kept.annotations.keys())):
            command = f"gcloud secrets update {self.secret_id} {project} --remove-annotations={gone}"
            write = partial(secrets.update, secret, kept)
            deletions.append(_Deletion(f"{self._secret}, annotations", "which cgrunbook wrote", command, write))
        return deletions

    def _none_lives(self, world: World, revoked: Sequence[str]) -> str:
        """Whether what was revoked is not listed any more; "" where nothing was revoked.

        Raises:
            StepFailed: one is listed still.
        """
        if not revoked:
            return ""
        try:
            listed = {token.id for token in world.pull_tokens(world.organization(self.organization))}
        except CgrunbookError as error:
            return f"{counted(len(revoked), 'token')} revoked; whether none lives cannot be seen: {error.message}"
        if alive := sorted(listed & set(revoked)):
            raise StepFailed(
                f"The pull token {alive[0]} was revoked and is listed still.",
                f"Run again, or revoke it by hand: chainctl iam identities delete {alive[0]} --yes",
            )
        return f"{counted(len(revoked), 'token')} revoked, and not listed any more"

    def _why_it_stays(self, world: World, secret: SecretResource, tokens: Sequence[str]) -> dict[str, str]:
        """Why a secret of cgrunbook's must not go, with the command that would take each reason away, "" for none."""
        try:
            return {
                **{f"{user} signs in with it": "" for user in self._users(world, tokens)},
                **dict(_unread(world)),
                **dict(self._held_by_others(world, secret)),
            }
        except PermissionMissing as error:
            return {f"whether others use it cannot be seen: {error.message}": ""}

    def _users(self, world: World, tokens: Sequence[str]) -> list[str]:
        """The repositories of all locations that sign in with the secret or with one of its tokens, but for those that go."""
        here = world.cloud.connection.location
        going = {(here, name) for name, there in self._found(world).items() if made_by_cgrunbook(there)}
        return [
            f"the repository {there.id} in {there.location}"
            for there in world.everywhere().repositories
            if (there.location, there.id) not in going
            and (there.username in tokens or version_of(world, self.secret_id, there.password_secret_version))
        ]

    def _held_by_others(self, world: World, secret: SecretResource) -> Iterator[tuple[str, str]]:
        """What on the secret itself says that others work with it, and the command that would end that."""
        project = world.cloud.connection.project_id
        claim = token_pairs.claim_on(secret)
        if claim and claim.elsewhere:
            yield f"another machine began to make a pull token for it at {claim.at:%H:%M:%S} UTC", ""
        written = token_pairs.pairs(secret)
        for version in world.versions(self.secret_id):
            if version.going:
                continue  # whoever has destroyed it: nobody works with it
            of_a_dead_run = claim is not None and version.number > claim.known
            if version.state != "DESTROYED" and version.number not in written and not of_a_dead_run:
                yield (
                    f"cgrunbook did not store version {version.number} of it",
                    f"gcloud secrets versions destroy {version.number} --secret={self.secret_id} --project={project}",
                )
        remove = f"secrets remove-iam-policy-binding {self.secret_id} --project={project}"
        for binding, member in _grants(world.policy(self.secret_id)):
            if _AGENT.fullmatch(member) and member.lower() != service_agent(world, self.secret_id).lower():
                condition = f" under the condition {binding.condition}" if binding.condition else ""
                yield (
                    f"the Artifact Registry of another project may read it{condition}, {member}",
                    take_command(remove, member, binding),
                )

    def _lost(self, world: World, secret_goes: bool) -> Iterator[str]:
        """What cannot be had back: what has been cached, and what others may still pull with."""
        found = self._found(world).items()
        going = [name for name, it in found if made_by_cgrunbook(it) and it.mode == "REMOTE_REPOSITORY"]
        world.at_once(*(partial(world.stored, name) for name in going))
        for name in going:
            yield _cached(world, name)
        if going:
            yield "What is cached can be fetched from cgr.dev again. When it was last pulled, Artifact Registry does not tell."
        if not secret_goes:
            return
        versions = len(world.versions(self.secret_id))
        yield f"The secret {self.secret_id} goes with its {counted(versions, 'version')}, for good."
        secret = _there(world, world.secret, self.secret_id)
        for token in self._tokens(world, secret)[0] if secret else ():
            yield f"The pull token {token} {self._last_seen(world, token)}."

    def _last_seen(self, world: World, identity: str) -> str:
        """Until when a pull token is good, and whether it was used, as far as Chainguard tells."""
        try:
            listed = {token.id: token for token in world.pull_tokens(world.organization(self.organization))}
        except CgrunbookError:
            listed = {}
        token = listed.get(identity)
        until = f"is good until {token.expires:%Y-%m-%d %H:%M} UTC" if token and token.expires else "may still be good"
        if token and token.last_seen:
            return f"{until}, and Chainguard saw it last on {token.last_seen:%Y-%m-%d %H:%M} UTC"
        return f"{until}; whether it was used lately, Chainguard does not tell"

    def _lost_with_secret(self, world: World) -> list[str]:
        """What the operator should know before the secret goes."""
        notes = ["Repositories of other projects that sign in with the secret cannot be seen from here."]
        secret = _there(world, world.secret, self.secret_id)
        if secret and (problem := self._tokens(world, secret)[1]):
            notes.append(f"Whether the pull tokens still live cannot be seen ({problem}); they are revoked unseen.")
        own = service_agent(world, self.secret_id).lower()
        if lost := [
            f"{member} has {binding}"
            for binding, member in _grants(world.policy(self.secret_id))
            if member.lower() != own
        ]:
            notes.append(f"What others were granted on the secret {self.secret_id} goes with it: {', '.join(lost)}.")
        return notes

    def _claimed(self, world: World, secret: SecretResource) -> SecretResource | None:
        """The secret with a claim of this machine on it, made under its etag; None where another machine is at work."""
        earlier = token_pairs.claim_on(secret)
        if earlier is None:
            earlier = Claim.of_this_machine(max((v.number for v in world.versions(self.secret_id)), default=0))
        if earlier.elsewhere:
            return None
        own = Claim.of_this_machine(earlier.known)
        claim = replace(earlier, by=own.by, at=own.at)  # what a run that died has left is still known by it
        return world.cloud.secrets.update(secret, token_pairs.with_claim(secret, claim))

    def _revoke(self, world: World, token: str) -> None:
        world.cloud.chainguard.revoke(token, world.organization(self.organization))

    def _tokens(self, world: World, secret: SecretResource) -> tuple[list[str], str]:
        """The pull tokens that cgrunbook made for this secret and that still live, or why only those written down are known."""
        written = {pair.username for pair in token_pairs.pairs(secret).values()}
        try:
            tokens = world.pull_tokens(world.organization(self.organization))
        except CgrunbookError as error:
            return sorted(written), error.message
        name = token_name(world, self.secret_id)
        return sorted(token.id for token in tokens if token.id in written or token.name.startswith(name)), ""


def _of_readers(world: World, there: RemoteRepository, where: str) -> Iterator[_Deletion]:
    """Who may pull through a repository of somebody else's since cgrunbook let them, and what it wrote there of that."""
    marks = sorted(name for name in there.labels if name.startswith(GIVEN))
    if not marks:
        return
    repositories, remove = (
        world.cloud.repositories,
        f"artifacts repositories remove-iam-policy-binding {there.id} {where}",
    )
    for member in given_to(there, world.repository_policy(there.id)):
        command = take_command(remove, member, Binding(READER, (member,)))
        act = partial(repositories.revoke_grant, there.id, member, READER)
        yield _Deletion(f"repository {there.id}, {READER} of {member}", "which cgrunbook gave", command, act)
    command = f"gcloud artifacts repositories update {there.id} {where} --remove-labels={','.join(marks)}"
    kept = replace(there, labels={name: value for name, value in there.labels.items() if name not in marks})
    write = partial(repositories.update, there, kept)
    yield _Deletion(f"repository {there.id}, labels", "which cgrunbook wrote", command, write)


def _token(resource: str) -> str:
    """The username in the name of a pull token in a plan; "" for something else."""
    return resource.removeprefix(_TOKEN) if resource.startswith(_TOKEN) else ""


def _cached(world: World, name: str) -> str:
    """How much a repository has cached, a sentence."""
    try:
        stored = world.stored(name)
    except CgrunbookError as error:
        return f"How much {name} has cached cannot be seen: {error.message}"
    if not stored.images or stored.newest is None:
        return f"{name} has cached no image."
    there = world.repository(name)
    size = f", {in_bytes(there.size_bytes)}" if there and there.size_bytes else ""
    count = f"more than {counted(stored.images, 'image')}" if stored.more else counted(stored.images, "image")
    return f"{name} has cached {count}{size}; the last came on {stored.newest:%Y-%m-%d %H:%M} UTC."


def _carry_out(world: World, deletions: Sequence[_Deletion]) -> None:
    for deletion in deletions:
        world.progress(Progress(f"deleting the {deletion.resource}"))
        deletion.act()


def _lost_with(world: World, repository: RemoteRepository, going: Sequence[str]) -> list[str]:
    """What the operator should know before a repository goes, besides what it has cached.

    Args:
        going: the repositories of the location that go too, if they are cgrunbook's.
    """
    name, connection = repository.name, world.cloud.connection
    address = f"https://{connection.artifact_registry_host.name}/{connection.docker_project}/{repository.id}"
    notes = [
        f"The repository {other.id} in {other.location} serves from {repository.id}: it loses these images."
        for other in world.everywhere().repositories
        if not (other.location == connection.location and other.id in going and made_by_cgrunbook(other))
        if other.upstream.rstrip("/") == address
        or any(
            same_name(world, name, upstream)
            for upstream in (other.upstream, *(one.repository for one in other.upstream_policies))
        )
    ]
    try:
        grants = [f"{member} has {binding}" for binding, member in _grants(world.repository_policy(repository.id))]
    except PermissionMissing:
        return [*notes, f"What was granted on the repository {repository.id} goes with it; it cannot be seen by you."]
    if grants:
        notes.append(f"What was granted on the repository {repository.id} goes with it: {', '.join(grants)}.")
    return notes


def _unread(world: World) -> Iterator[tuple[str, str]]:
    """Where it is not known whether a repository uses the secret, and what helps; what is not known is taken for a yes."""
    whose: dict[tuple[str, str], list[str]] = {}
    for location, error in world.everywhere().unread.items():
        command = ""
        match error:
            case ApiDisabled():
                why = "the API is off"
                command = f"gcloud services enable {error.api or ARTIFACT_REGISTRY} --project={world.cloud.project.id}"
            case PermissionMissing():
                why = "you may not list them; roles/artifactregistry.reader on the project is enough"
            case _:
                why = "it does not answer; run again later"
        whose.setdefault((why, command), []).append(location)
    for (why, command), locations in whose.items():
        first, more = locations[:5], len(locations) - 5
        where = (
            f"in {', '.join(first)}{f' and {more} more locations' if more > 0 else ''}" if any(first) else "anywhere"
        )
        yield f"whether repositories {where} sign in with it is not known, since {why}", command


def _grants(policy: Policy | None) -> list[tuple[Binding, str]]:
    """Each role, as it is held, with each member that has it."""
    return [(binding, member) for binding in (policy.bindings if policy else ()) for member in binding.members]


def _docker_login(world: World) -> list[str]:
    """What is left of docker's login on this machine, and what ends it; nothing where there is none."""
    host = world.cloud.connection.artifact_registry_host.address
    try:
        login = world.cloud.docker.config.login(host)
    except CgrunbookError as error:
        return [f"Whether docker stays signed in at {host} cannot be seen: {error.message}"]
    if login.kind == "none":
        return []
    return [
        f"Docker stays signed in at {host} ({login.how}): others may use it. "
        f"To end that:\n{world.cloud.docker.config.ending(host)}"
    ]


def _there(world: World, read: Callable[[str], T | None], name: str) -> T | None:
    """What is there; nothing is where the API is off in the project itself."""
    try:
        return read(name)
    except ApiDisabled as off:
        if not world.cloud.project.has_off(off):
            raise
        return None
