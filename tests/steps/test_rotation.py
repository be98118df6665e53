"""Rotating a pull token in worlds that are not clean: shared, edited by hand, ended, half readable, used by somebody else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from cgrunbook import steps
from cgrunbook.cloud import Cloud, artifact_registry, connect
from cgrunbook.cloud.artifact_registry import ArtifactRegistry, Everywhere, RemoteRepository
from cgrunbook.cloud.chainctl import Chainctl
from cgrunbook.cloud.chainguard import ListedToken
from cgrunbook.cloud.iam_policy import Binding, Policy
from cgrunbook.cloud.registry import Registry
from cgrunbook.cloud.roles import ACCESSOR
from cgrunbook.cloud.secret_manager import SecretManager, SecretResource
from cgrunbook.errors import (
    CgrunbookError,
    ChainctlFailed,
    Conflict,
    PermissionMissing,
    PrerequisiteMissing,
    StepFailed,
    Temporary,
    UpstreamCredentialsRefused,
    WrongState,
)
from cgrunbook.run.result import Result
from cgrunbook.steps import token_pairs
from cgrunbook.steps.step import Mark, Outcome, World
from cgrunbook.steps.token_pairs import Claim, Pair
from tests.steps.disturbing import Killed, disturbed
from tests.steps.performing import Names, live_tokens, open_book, perform, requests, state_of, steps_of_03
from tests.steps.test_rotation_converges import UNDISTURBED, without_numbers

pytestmark = pytest.mark.usefixtures("quick_chainctl")

AS_ARTIFACT_REGISTRY = "python-httpx"  # what the sandbox's Artifact Registry calls itself at cgr.dev
HERE, THERE = "us-central1", "europe-west1"
_scenarios = count(1)


class Made:
    """What 03 has made for one test, and what is done to it."""

    def __init__(self) -> None:
        self.names = Names.of(f"rotated-{next(_scenarios)}")
        self.cloud = Cloud(connect("sandbox"))
        perform(open_book()[0], *steps_of_03(self.names))

    @property
    def secret(self) -> SecretResource:
        there = self.cloud.secrets.get(self.names.secret)
        assert there is not None
        return there

    def private(self, cloud: Cloud | None = None) -> RemoteRepository:
        there = (cloud or self.cloud).repositories.get(self.names.private)
        assert there is not None
        return there

    @property
    def live(self) -> set[str]:
        return set(live_tokens(self.cloud, self.names))

    def states(self) -> dict[int, str]:
        return {version.number: version.state for version in self.cloud.secrets.versions(self.names.secret)}

    def sign_in(self, username: str, version: int | str) -> None:
        """Edit the repository by hand."""
        name = self.cloud.secrets.version_name(self.names.secret, version)
        self.cloud.repositories.set_upstream_credentials(
            self.names.private, username, name, disable_upstream_validation=True
        )

    def store_by_hand(self, ttl: str = "720h", name: str = "by hand") -> Pair:
        """A token that somebody else made and stored."""
        token = self.cloud.chainguard.create_pull_token("example.com", name, ttl)
        version = self.cloud.secrets.add_version(self.names.secret, token.password)
        return Pair(token.username, version.number, token.expires)

    def write_down(self, pair: Pair) -> None:
        there = self.secret
        self.cloud.secrets.update(there, token_pairs.with_pair(there, pair, self.states()))

    def rotated(self, *, cloud: Cloud | None = None, wait_limit: int = 600, **settings: Any) -> Result:
        book, seen = open_book(cloud=cloud or self.cloud, wait_limit=wait_limit)
        asked = steps.RotationSettings(**{"grace": "0s", **settings})
        perform(book, steps.RotatePullToken(self.names.private, self.names.secret, settings=asked))
        return seen.results[-1]

    def refused(self, kind: type[CgrunbookError], **settings: Any) -> CgrunbookError:
        with pytest.raises(kind) as raised:
            self.rotated(**settings)
        return raised.value

    def assert_as_before(self, repository: RemoteRepository) -> None:
        """Nothing of an attempt is left."""
        there = self.private()
        assert (there.username, there.password_secret_version) == (
            repository.username,
            repository.password_secret_version,
        )
        assert token_pairs.claim_on(self.secret) is None
        assert [state for state in self.states().values() if state != "DESTROYED"] == ["ENABLED"]
        assert self.live == {repository.username}

    def assert_clean(self) -> None:
        assert without_numbers(state_of(self.cloud, self.names)) == UNDISTURBED


@pytest.fixture
def made(home: Path) -> Made:
    return Made()


def seen_of(result: Result, mark: Mark) -> str:
    return " ".join(f"{one.check}: {one.seen}" for one in result.evidence.findings if one.mark is mark)


# For one repository, each of chainctl's commands counted as one.
MOST_CALLS = 25


def test_a_rotation_asks_no_more_than_it_must(made: Made, home: Path):
    made.rotated()  # what the first one found uncached is cached now
    known, commands, run = len(requests(home)), [], Chainctl._run

    def counted(self: Chainctl, arguments: Sequence[str], **more: Any) -> Any:
        commands.append(arguments)
        return run(self, arguments, **more)

    with patch.object(Chainctl, "_run", counted):
        made.rotated()
    of_chainctl = "console-api.enforce.dev"
    asked = [
        f"{line['client']} {line['service']} {line['path']}"
        for line in requests(home)[known:]
        if line["service"] != of_chainctl
    ]
    own = [one for one in asked if not one.startswith(AS_ARTIFACT_REGISTRY)]
    print(f"a rotation: {len(own)} requests and {len(commands)} commands of chainctl")
    assert len(own) + len(commands) <= MOST_CALLS, "\n".join(own)


def test_repositories_of_all_locations_that_share_the_secret_move_together(made: Made):
    there = Cloud(connect("sandbox", location=THERE))
    perform(open_book(cloud=there)[0], *steps_of_03(made.names))
    result = made.rotated()
    assert made.private().username == made.private(there).username
    assert result.evidence.facts["repositories"] == [
        f"repository {made.names.private} in {HERE}",
        f"repository {made.names.private} in {THERE}",
    ]
    assert len(result.evidence.facts["proved with"]) == 2
    made.assert_clean()


@pytest.mark.long
def test_a_rotation_where_the_target_itself_has_no_repository_finds_those_that_have(made: Made):
    there = Cloud(connect("sandbox", location=THERE))
    made.rotated(cloud=there)
    made.assert_clean()


@pytest.mark.long
def test_a_repository_on_latest_never_has_the_new_password_with_the_old_username(made: Made):
    made.sign_in(made.private().username, "latest")
    with disturbed(5, "after"), pytest.raises(Killed):  # the version is added; in between the number was set
        made.rotated()
    assert made.states() == {1: "ENABLED", 2: "ENABLED"}
    assert made.private().password_secret_version.endswith("/1")
    made.rotated()
    made.assert_clean()


def by_hand(made: Made) -> Pair:
    pair = made.store_by_hand()
    made.sign_in(pair.username, pair.version)
    return pair


@pytest.mark.long
def test_what_somebody_else_stored_is_replaced_in_the_repository_and_otherwise_left_alone(made: Made):
    pair = by_hand(made)
    result = made.rotated()
    assert result.outcome is Outcome.UPDATED
    assert made.private().username != pair.username
    assert made.states()[pair.version] == "ENABLED"
    assert pair.username in {token.id for token in made.cloud.chainguard.list_pull_tokens("example.com")}
    assert f"version {pair.version} of the secret: somebody else has stored it" in seen_of(result, Mark.WARN)
    assert state_of(made.cloud, made.names).live_tokens == 1


def mismatch(made: Made) -> None:
    made.sign_in(made.store_by_hand().username, 1)


def end(made: Made) -> None:
    pair = made.store_by_hand("1s")
    made.sign_in(pair.username, pair.version)
    made.write_down(pair)


def disable(made: Made) -> None:
    made.cloud.secrets.disable(made.names.secret, 1)


def destroy(made: Made) -> None:
    made.cloud.secrets.destroy(made.names.secret, 1)


def clear_annotations(made: Made) -> None:
    made.cloud.secrets.update(made.secret, replace(made.secret, annotations={}))


@pytest.mark.parametrize(
    ("edit", "differently"),
    [
        (end, "ended at"),
        pytest.param(disable, "version 1, with which", marks=pytest.mark.long),
        pytest.param(destroy, "is destroyed", marks=pytest.mark.long),
    ],
)
def test_where_the_old_pair_is_dead_the_new_one_is_tried_from_here_and_set_unvalidated(
    made: Made, home: Path, edit: Callable[[Made], None], differently: str
):
    edit(made)
    known = len(requests(home))
    result = made.rotated()
    assert differently in result.evidence.facts["done differently"]
    asked = [line["path"] for line in requests(home)[known:] if line["service"] == "cgr.dev"]
    assert not [path for path in asked if path == "/token?service=cgr.dev"], "Artifact Registry validated"
    after = state_of(made.cloud, made.names)
    assert (after.live_tokens, after.pair_is_taken_by_cgr_dev) == (1, True)


@pytest.mark.long
@pytest.mark.parametrize("edit", [mismatch, clear_annotations])
def test_edits_by_hand_end_in_a_pair_that_works(made: Made, edit: Callable[[Made], None]):
    edit(made)
    made.rotated()
    assert state_of(made.cloud, made.names).pair_is_taken_by_cgr_dev


def test_a_schedule_does_nothing_while_there_is_time_and_rotates_when_there_is_none(made: Made):
    before = made.private()
    idle = made.rotated(if_days_left=7)
    assert idle.outcome is Outcome.UNCHANGED
    assert "30 days are left" in idle.brief
    made.assert_as_before(before)
    assert made.rotated(if_days_left=31).outcome is Outcome.UPDATED
    made.assert_clean()


@pytest.mark.long
@pytest.mark.parametrize(("edit", "rotates"), [(destroy, True), (end, True), (mismatch, True), (disable, False)])
def test_a_schedule_rotates_what_does_not_work_and_not_what_somebody_has_stopped(
    made: Made, edit: Callable[[Made], None], *, rotates: bool
):
    edit(made)
    if rotates:
        assert made.rotated(if_days_left=7).outcome is Outcome.UPDATED
    else:
        assert "somebody meant to stop it" in made.refused(WrongState, if_days_left=7).message


def written_down_for_years(made: Made) -> None:
    pair = made.store_by_hand("24h")
    made.sign_in(pair.username, pair.version)
    made.write_down(replace(pair, expires=datetime.now(UTC) + timedelta(days=2000)))


def revoke_it_among_others(made: Made) -> None:
    made.store_by_hand()
    assert made.cloud.chainguard.revoke(made.private().username, "example.com")


def in_capitals(made: Made) -> None:
    made.sign_in(made.private().username.upper(), 1)


def rubbish_written_down(made: Made) -> None:
    names = {"cgrunbook.version-1": "a b c", "cgrunbook.version-x": "y", f"cgrunbook.version-{'9' * 20}": "z"}
    made.cloud.secrets.update(made.secret, replace(made.secret, annotations={**made.secret.annotations, **names}))


@pytest.mark.parametrize(
    ("edit", "rotates"),
    [
        (written_down_for_years, True),
        pytest.param(revoke_it_among_others, True, marks=pytest.mark.long),
        pytest.param(in_capitals, True, marks=pytest.mark.long),
        pytest.param(rubbish_written_down, False, marks=pytest.mark.long),
    ],
)
def test_a_schedule_goes_by_the_token_itself_and_by_what_chainguard_lists(
    made: Made, edit: Callable[[Made], None], *, rotates: bool
):
    edit(made)
    assert (made.rotated(if_days_left=7).outcome is Outcome.UPDATED) == rotates
    made.rotated()
    after = state_of(made.cloud, made.names)
    assert after.pair_is_taken_by_cgr_dev
    assert token_pairs.claim_on(made.secret) is None


def test_a_repository_of_another_registry_is_shown_no_pull_token_and_keeps_the_version_that_it_has(made: Made):
    name = made.cloud.secrets.version_name(made.names.secret, 1)
    wanted = RemoteRepository(
        made.cloud.repositories.name(f"elsewhere-{made.names.private}"), "https://registry.example", "bot", name
    )
    with validation_off():
        made.cloud.repositories.create(wanted)
    result = made.rotated()
    there = made.cloud.repositories.get(wanted.id)
    assert there is not None
    assert (there.username, there.password_secret_version.endswith("/1")) == ("bot", True)
    assert made.states() == {1: "ENABLED", 2: "ENABLED"}
    assert f"repository {wanted.id} in {HERE} still signs in with it" in seen_of(result, Mark.WARN)
    made.cloud.repositories.delete(wanted.id)


@contextmanager
def validation_off() -> Iterator[None]:
    """As `gcloud artifacts repositories create --disable-remote-validation` makes one."""
    message = artifact_registry._message

    def unvalidated(wanted: RemoteRepository) -> Any:
        raw = message(wanted)
        raw.remote_repository_config.disable_upstream_validation = True
        return raw

    with patch.object(artifact_registry, "_message", unvalidated):
        yield


@pytest.mark.long
def test_a_secret_that_goes_by_itself_is_said_whether_it_is_time_to_rotate_or_not(made: Made):
    name = made.cloud.secrets.name(made.names.secret)
    secret = {"name": name, "ttl": {"seconds": 90_000}}
    made.cloud.secrets._client.update_secret(request={"secret": secret, "update_mask": {"paths": ["ttl"]}})
    for days in (7, 0):
        assert "Secret Manager deletes it at" in seen_of(made.rotated(if_days_left=days), Mark.WARN)


@pytest.mark.long
def test_a_version_whose_destruction_has_to_wait_keeps_no_secret_from_being_taken_away(made: Made):
    name = made.cloud.secrets.name(made.names.secret)
    secret = {"name": name, "version_destroy_ttl": {"seconds": 86_400}}
    made.cloud.secrets._client.update_secret(
        request={"secret": secret, "update_mask": {"paths": ["version_destroy_ttl"]}}
    )
    made.rotated()
    assert made.states() == {1: "DISABLED", 2: "ENABLED"}
    names = made.names
    perform(open_book()[0], steps.TearDown(names.public, names.private, names.secret, confirm=names.public))
    assert made.cloud.secrets.get(names.secret) is None
    assert made.live == set()


@contextmanager
def refused_by_cgr() -> Iterator[None]:
    with patch.object(Registry, "resolve", side_effect=UpstreamCredentialsRefused("no")), patch.object(
        Registry, "document", side_effect=UpstreamCredentialsRefused("no")
    ):  # fmt: skip
        yield


@contextmanager
def refused_through_artifact_registry() -> Iterator[None]:
    document = Registry.document

    def refusing(self: Registry, repository: str, reference: str) -> Any:
        if self.host.name != "cgr.dev":
            raise UpstreamCredentialsRefused("no")
        return document(self, repository, reference)

    with patch.object(Registry, "document", refusing):
        yield


@contextmanager
def unreadable_to_the_agent(made: Made) -> Iterator[None]:
    member = f"serviceAccount:{made.cloud.project.service_agent_email()}"
    made.cloud.secrets.revoke_grant(made.names.secret, member, ACCESSOR)
    yield
    made.cloud.secrets.grant(made.names.secret, member, ACCESSOR)


@pytest.mark.parametrize(
    "refusing",
    [
        lambda made: refused_through_artifact_registry(),
        pytest.param(lambda made: refused_by_cgr(), marks=pytest.mark.long),
        pytest.param(unreadable_to_the_agent, marks=pytest.mark.long),
    ],
    ids=["by-artifact-registry", "by-cgr-dev", "unreadable"],
)
def test_where_the_new_pair_does_not_work_the_old_one_is_back_and_the_new_token_revoked(
    made: Made, refusing: Callable[[Made], Any]
):
    before = made.private()
    with refusing(made):
        error = made.refused(StepFailed, wait_limit=1)
    assert "did not work, and is revoked again" in error.message
    made.assert_as_before(before)
    made.rotated()
    made.assert_clean()


@pytest.mark.long
def test_what_a_dead_run_had_moved_is_put_back_too_where_its_pair_does_not_work(made: Made):
    there = Cloud(connect("sandbox", location=THERE))
    perform(open_book(cloud=there)[0], *steps_of_03(made.names))
    before = made.private()
    with disturbed(5, "after"), pytest.raises(Killed):  # the first of the two has the new pair
        made.rotated()
    assert made.private().username != before.username
    with refused_through_artifact_registry():
        made.refused(StepFailed)
    made.assert_as_before(before)
    assert made.private(there).username == before.username


@pytest.mark.long
def test_what_cannot_be_stored_is_revoked_at_once(made: Made):
    before = made.private()
    with patch.object(SecretManager, "add_version", side_effect=PermissionMissing("You may not.", "Ask.")):
        made.refused(PermissionMissing)
    made.assert_as_before(before)


def test_another_machine_at_work_is_left_alone_and_said(made: Made):
    before = made.private()
    claim = Claim("another machine", datetime.now(UTC), 1)
    made.cloud.secrets.update(made.secret, token_pairs.with_claim(made.secret, claim))
    assert "Another machine began" in made.refused(Conflict).message
    assert made.private() == before
    assert len(made.live) == 1


@pytest.mark.long
def test_two_that_claim_at_the_same_moment_one_goes_on_and_the_other_says_so(made: Made):
    update, others = SecretManager.update, [Claim("another machine", datetime.now(UTC), 1)]

    def too_late(self: SecretManager, before: SecretResource, wanted: SecretResource) -> SecretResource:
        while others:
            update(self, before, token_pairs.with_claim(before, others.pop()))
        return update(self, before, wanted)

    with patch.object(SecretManager, "update", too_late):
        error = made.refused(Conflict)
    assert "nothing was done here" in error.message
    assert len(made.live) == 1


def test_one_that_waited_for_another_does_not_rotate_again(made: Made):
    waiting = steps.RotatePullToken(made.names.private, made.names.secret, settings=steps.RotationSettings(grace="0s"))
    made.rotated()
    book, seen = open_book()
    perform(book, waiting)
    assert seen.outcomes == [Outcome.UNCHANGED]
    assert "another rotation ended at" in seen.results[-1].brief
    assert made.states() == {2: "ENABLED", 1: "DESTROYED"}


def clamping(self: Chainctl, parent: str, name: str, ttl: str, description: str = "") -> Any:
    return CREATE(self, parent, name, "168h", description)


CREATE, REVOKE = Chainctl.create_pull_token, Chainctl.revoke


@pytest.mark.long
def test_a_shorter_life_than_was_asked_for_is_said(made: Made):
    with patch.object(Chainctl, "create_pull_token", clamping):
        result = made.rotated(ttl="720h")
    assert "30 days were asked for, and Chainguard gave 7 days" in result.evidence.facts["life"]


def test_a_life_that_is_refused_changes_nothing_and_says_what_would_be_allowed(made: Made):
    before = made.private()
    error = made.refused(ChainctlFailed, ttl="9000h")
    assert "Take a shorter life" in error.remedy
    made.assert_as_before(before)


LIST = Chainctl.list_pull_tokens


def seen_at(moment: datetime) -> Any:
    def listing(self: Chainctl, parent: str) -> tuple[ListedToken, ...]:
        return tuple(replace(token, last_seen=moment) for token in LIST(self, parent))

    return patch.object(Chainctl, "list_pull_tokens", listing)


def test_a_replaced_token_that_somebody_still_uses_is_not_revoked(made: Made):
    old = made.private().username
    with seen_at(datetime.now(UTC) + timedelta(hours=1)):
        result = made.rotated()
    assert "it is not revoked: Chainguard saw it on" in seen_of(result, Mark.WARN)
    assert made.live == {old, made.private().username}
    assert made.states()[1] == "ENABLED"
    with seen_at(datetime.now(UTC) - timedelta(days=1)):
        assert made.rotated(if_days_left=7).outcome is Outcome.DELETED
    made.assert_clean()


def test_a_grace_that_is_not_waited_for_is_ended_by_a_later_run(made: Made):
    result = made.rotated(grace="1h")
    assert "the replaced one lives until" in result.brief
    assert not [change for change in result.plan.changes if change.after is None]
    assert len(made.live) == 2
    assert made.rotated(grace="1h", if_days_left=7).outcome is Outcome.UNCHANGED
    assert len(made.live) == 2
    pair = token_pairs.pairs(made.secret)[2]
    made.write_down(replace(pair, since=datetime.now(UTC) - timedelta(hours=2)))
    with seen_at(datetime.now(UTC) - timedelta(hours=2)):  # as nobody has used it since
        assert made.rotated(grace="1h", if_days_left=7).outcome is Outcome.DELETED
    made.assert_clean()


@pytest.mark.long
def test_a_short_grace_is_waited_for(made: Made):
    assert "version 1 and its token are gone" in made.rotated(grace="1s").brief
    made.assert_clean()


def test_where_a_location_cannot_be_read_the_old_token_stays(made: Made):
    unread = {THERE: Temporary("Nobody answers.", "Run again later.")}
    with patch.object(
        type(made.cloud.repositories), "list_at_once", lambda self: Everywhere((made.private(),), unread)
    ):
        result = made.rotated()
    assert f"({THERE} of cgrunbook-sandbox)" in seen_of(result, Mark.NOT_CHECKED)
    assert made.states() == {1: "ENABLED", 2: "ENABLED"}
    made.rotated()
    made.assert_clean()


OTHER = "111122223333"
OTHER_AGENT = f"serviceAccount:service-{OTHER}@gcp-sa-artifactregistry.iam.gserviceaccount.com"


@contextmanager
def another_project_may_read(made: Made, *, readable: bool) -> Iterator[None]:
    """The secret's policy names another project's service agent; that project has a repository that signs in with it."""
    get_policy, at_once = SecretManager.get_policy, ArtifactRegistry.list_at_once
    theirs = replace(made.private(), name=f"projects/{OTHER}/locations/{THERE}/repositories/theirs")

    def policy(self: SecretManager, secret_id: str) -> Policy:
        there = get_policy(self, secret_id)
        return replace(there, bindings=(*there.bindings, Binding(ACCESSOR, (OTHER_AGENT,), "request.time > 0")))

    def listed(self: ArtifactRegistry) -> Everywhere:
        if self.connection.project_id != OTHER:
            return at_once(self)
        return Everywhere((theirs,), {}) if readable else at_once(self)

    with patch.object(SecretManager, "get_policy", policy), patch.object(ArtifactRegistry, "list_at_once", listed):
        yield


@pytest.mark.parametrize("readable", [pytest.param(True, marks=pytest.mark.long), False])
def test_a_repository_of_another_project_is_found_by_the_secrets_policy_and_never_cut_off(
    made: Made, *, readable: bool
):
    book, seen = open_book(cloud=made.cloud)
    step = steps.RotatePullToken(made.names.private, made.names.secret, settings=steps.RotationSettings(grace="0s"))
    with another_project_may_read(made, readable=readable):
        if readable:  # it may be read, but not changed
            with pytest.raises(StepFailed, match=f"repository theirs in {THERE}"):
                perform(book, step)
        else:
            perform(book, step)
            assert f"of {OTHER})" in seen_of(seen.results[-1], Mark.NOT_CHECKED)
    assert made.states() == {1: "ENABLED", 2: "ENABLED"}
    assert len(made.live) == 2
    assert made.private().password_secret_version.endswith("/2")
    made.rotated()
    made.assert_clean()


@pytest.mark.long
def test_the_secret_is_the_one_that_the_repository_signs_in_with_whatever_was_said(made: Made):
    book, seen = open_book(cloud=made.cloud)
    perform(book, steps.RotatePullToken(made.names.private, "said", settings=steps.RotationSettings(grace="0s")))
    assert f"secret {made.names.secret}" in {change.resource for change in seen.results[-1].plan.changes}
    made.assert_clean()


@pytest.mark.long
def test_a_token_of_another_organisation_is_set_nowhere(made: Made):
    before = made.private()

    def of_others(self: Chainctl, *arguments: Any, **more: Any) -> Any:
        token = CREATE(self, *arguments, **more)
        REVOKE(self, token.username, "example.com")
        return replace(token, username=f"{'ab' * 20}/{'cd' * 8}")

    with patch.object(Chainctl, "create_pull_token", of_others):
        assert "another organisation" in made.refused(StepFailed).message
    made.assert_as_before(before)


@pytest.mark.long
def test_a_grant_that_holds_for_the_old_version_alone_is_seen_before_anything_is_lost(made: Made):
    before, cloud = made.private(), made.cloud
    member = f"serviceAccount:{cloud.project.service_agent_email()}"
    number = cloud.project.number()
    expression = f'resource.name == "projects/{number}/secrets/{made.names.secret}/versions/1"'
    binding = {"role": ACCESSOR, "members": [member], "condition": {"title": "the first", "expression": expression}}
    policy = {"version": 3, "bindings": [binding]}
    cloud.secrets._client.set_iam_policy(request={"resource": cloud.secrets.name(made.names.secret), "policy": policy})
    made.refused(StepFailed, wait_limit=1)
    made.assert_as_before(before)


@pytest.mark.long
def test_planned_after_what_would_make_the_token_there_is_nothing_to_rotate(home: Path):
    names = Names.of("planned")
    book, seen = open_book(mode="plan")
    perform(book, *steps_of_03(names), steps.RotatePullToken(names.private, names.secret))
    assert seen.outcomes[-1] is Outcome.UNCHANGED
    assert seen.results[-1].brief == "will be new by then"


@pytest.mark.long
def test_an_answer_over_all_locations_that_lacks_a_repository_is_not_believed(made: Made):
    there = Cloud(connect("sandbox", location=THERE))
    perform(open_book(cloud=there)[0], *steps_of_03(made.names))
    with patch.object(type(made.cloud.repositories), "list_at_once", lambda self: Everywhere((), {})):
        made.rotated()
    assert made.private().username == made.private(there).username


@pytest.mark.long
def test_who_may_not_list_or_revoke_rotates_and_is_told_what_stays(made: Made):
    no = PermissionMissing("You may not.", "Ask an owner.")
    with patch.object(Chainctl, "list_pull_tokens", side_effect=no), patch.object(Chainctl, "revoke", side_effect=no):
        result = made.rotated()
    assert "lives on: You may not." in seen_of(result, Mark.WARN)
    assert state_of(made.cloud, made.names).pair_is_taken_by_cgr_dev
    assert made.rotated(if_days_left=7).outcome is Outcome.DELETED
    made.assert_clean()


@pytest.mark.long
def test_a_list_that_lacks_the_new_token_is_no_ground_to_revoke_by(made: Made):
    made.cloud.chainguard.create_pull_token("example.com", steps_name(made), "1h")  # an orphan
    with patch.object(Chainctl, "list_pull_tokens", lambda self, parent: LIST(self, parent)[:-1]):
        made.rotated()
    assert len(made.live) == 2
    made.rotated(if_days_left=7)
    made.assert_clean()


def steps_name(made: Made) -> str:
    from cgrunbook.steps.pull_token import token_name

    return token_name(World(made.cloud), made.names.secret)


@pytest.mark.long
def test_somebody_elses_secret_gets_a_version_and_keeps_its_own(made: Made):
    made.cloud.secrets.update(made.secret, replace(made.secret, annotations={}, labels={"team": "theirs"}))
    made.rotated()
    assert made.states() == {1: "ENABLED", 2: "ENABLED"}
    assert made.secret.labels == {"team": "theirs"}


@pytest.mark.long
def test_a_secret_in_a_project_that_cannot_be_read_is_named(made: Made):
    theirs = made.private().password_secret_version.replace("projects/cgrunbook-sandbox/", "projects/another-project/")
    made.cloud.repositories.set_upstream_credentials(
        made.names.private, made.private().username, theirs, disable_upstream_validation=True
    )
    error = made.refused(CgrunbookError)
    assert "another-project" in error.message
    assert len(made.live) == 1


def test_without_a_repository_that_signs_in_there_is_nothing_to_rotate(made: Made):
    made.cloud.repositories.delete(made.names.private)
    assert "No repository signs in with the secret" in made.refused(PrerequisiteMissing).message
    assert "There is no secret" in Made.refused(_Without(made), PrerequisiteMissing).message


class _Without(Made):
    """The same, where there is no secret either."""

    def __init__(self, made: Made) -> None:
        self.names, self.cloud = replace(made.names, secret="nowhere"), made.cloud
