"""Each way in which a pull token's life goes wrong is named by `cgrunbook status`, with what to do and the right exit code."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from prometheus_client.parser import text_string_to_metric_families

from cgrunbook import cli, steps
from cgrunbook.cli.status_page import print_status
from cgrunbook.cloud import Cloud
from cgrunbook.cloud.artifact_registry import ArtifactRegistry, RemoteRepository, _message
from cgrunbook.cloud.chainctl import Chainctl
from cgrunbook.cloud.pull_token import PullToken
from cgrunbook.cloud.registry import BasicCredentials, Registry
from cgrunbook.cloud.roles import ACCESSOR
from cgrunbook.cloud.secret_manager import SecretManager, SecretResource
from cgrunbook.diagnosis.exposition import exposition
from cgrunbook.diagnosis.status import status_of
from cgrunbook.errors import ChainguardSignedOut, PermissionMissing, Temporary
from cgrunbook.parameters import UPSTREAM
from cgrunbook.redaction import Secret
from cgrunbook.run.context import Context
from cgrunbook.sandbox import process
from cgrunbook.steps import token_pairs
from cgrunbook.steps.pull_token import token_name
from cgrunbook.steps.step import Finding, Mark, World
from cgrunbook.steps.token_pairs import Pair
from cgrunbook.steps.token_sides import Check
from tests.clients.gcloud import Gcloud
from tests.steps.doors import prepare
from tests.steps.performing import open_book, perform, requests, steps_of_02, steps_of_03
from tests.steps.test_grants import AGENT, HOLDS, ID, another_project
from tests.steps.test_rights import Person
from tests.waiting import wait_for

ORGANIZATION = "example.com"
READER = "roles/artifactregistry.reader"
OF_SIGNING_IN = ("issuer.enforce.dev", "iamcredentials.googleapis.com", "oauth2.googleapis.com", "metadata")
_NUMBERS = count(1)


class Said(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def report(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.out)
        return document

    def marks(self, repository: int = 0) -> dict[str, str]:
        """What is not well, by the check's code."""
        found = self.report["repositories"][repository]["findings"]
        return {one["code"]: one["mark"] for one in found if one["mark"] != "ok"}

    def holding_no(self, tokens: Iterable[PullToken]) -> Said:
        """Itself, searched for passwords."""
        for password in (token.password.reveal() for token in tokens):
            assert password not in self.out + self.err
            assert password.rpartition(".")[2][:40] not in self.out + self.err
        return self

    def finding(self, check: str) -> dict[str, str]:
        (found,) = [one for one in self.report["repositories"][0]["findings"] if one["code"] == check]
        return dict(found)


@dataclass
class Made:
    """A repository that signs in with a token in a secret of its own, all well, and what can be done to it."""

    cloud: Cloud
    name: str
    tokens: list[PullToken] = field(default_factory=list)
    around: ExitStack = field(default_factory=ExitStack)

    @property
    def secret(self) -> SecretResource:
        there = self.cloud.secrets.get(self.name)
        assert there is not None
        return there

    def token(self, ttl: str = "720h") -> PullToken:
        name = token_name(World(self.cloud), self.name)
        self.tokens.append(self.cloud.chainguard.create_pull_token(ORGANIZATION, name, ttl))
        return self.tokens[-1]

    def store(self, token: PullToken, *, written: bool = True) -> int:
        number = self.cloud.secrets.add_version(self.name, token.password).number
        if written:
            self.write(Pair(token.username, number, token.expires))
        return number

    def write(self, pair: Pair) -> None:
        """Write this down, and nothing of other versions."""
        self.cloud.secrets.update(self.secret, token_pairs.with_pair(self.secret, pair, ()))

    def sign_in(self, username: str, version: int | str) -> None:
        self.cloud.repositories.set_upstream_credentials(
            self.name, username, self.cloud.secrets.version_name(self.name, version), disable_upstream_validation=True
        )

    def renewed(self, ttl: str = "720h") -> PullToken:
        """Another token in the place of the first."""
        token = self.token(ttl)
        self.sign_in(token.username, self.store(token))
        return token

    def revoked(self) -> None:
        self.cloud.chainguard.revoke(self.renewed().username, ORGANIZATION)

    def granted(self, *grants: tuple[str, str, dict[str, str] | None]) -> None:
        self._policy(self.cloud.secrets._client, self.cloud.secrets.name(self.name), *grants)

    def readable(self, *grants: tuple[str, str, dict[str, str] | None]) -> None:
        self._policy(self.cloud.repositories._client, self.cloud.repositories.name(self.name), *grants)

    def _policy(self, client: Any, resource: str, *grants: tuple[str, str, dict[str, str] | None]) -> None:
        bindings = [
            {"role": role, "members": [member], **({"condition": condition} if condition else {})}
            for role, member, condition in grants
        ]
        client.set_iam_policy(request={"resource": resource, "policy": {"version": 3, "bindings": bindings}})

    def meanwhile(self, patched: AbstractContextManager[object]) -> None:
        self.around.enter_context(patched)

    def replaced(self, where: type, name: str, what: object) -> None:
        patch = pytest.MonkeyPatch()
        patch.setattr(where, name, what)
        self.around.callback(patch.undo)

    def raising(self, where: type, name: str, error: Exception) -> None:
        def fail(*_: object, **__: object) -> None:
            raise error

        self.replaced(where, name, fail)

    def repository(self, **others: Any) -> None:
        """Let Artifact Registry answer with something that the sandbox's own would not have taken."""
        there = self.cloud.repositories.get(self.name)
        assert there is not None
        self.replaced(type(self.cloud.repositories), "get", lambda *_: replace(there, **others))


@pytest.fixture(scope="module")
def cloud(home: Path, quick_chainctl: None) -> Cloud:
    book, _ = open_book()
    perform(book, *steps_of_02(), *steps_of_03())
    return book.cloud


@pytest.fixture(scope="module")
def token(cloud: Cloud) -> PullToken:
    """What a case signs in with that does not bring its own."""
    return cloud.chainguard.create_pull_token(ORGANIZATION, "of all cases", "720h")


@pytest.fixture
def made(cloud: Cloud, token: PullToken) -> Iterator[Made]:
    made = Made(cloud, f"case-{next(_NUMBERS)}", [token])
    secrets, repositories = cloud.secrets, cloud.repositories
    written = {f"{token_pairs.VERSION_ANNOTATION}1": token_pairs.written(Pair(token.username, 1, token.expires))}
    secret = {"replication": {"automatic": {}}, "annotations": written}
    parent = f"projects/{cloud.connection.project_id}"
    secrets._client.create_secret(request={"parent": parent, "secret_id": made.name, "secret": secret})
    data = token.password.reveal().encode()
    secrets._client.add_secret_version(request={"parent": secrets.name(made.name), "payload": {"data": data}})
    made.granted((ACCESSOR, AGENT, None))
    wanted = RemoteRepository(
        repositories.name(made.name),
        upstream=UPSTREAM,
        username=token.username,
        password_secret_version=secrets.version_name(made.name, 1),
    )
    request = {"parent": repositories.parent, "repository_id": made.name, "repository": _message(wanted)}
    repositories._client.create_repository(request=request)
    with made.around:
        yield made


@pytest.fixture
def status(capfd: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    def call(made: Made | None, *words: str) -> Said:
        name = ["-p", "private_repository", made.name] if made else []
        with pytest.raises(SystemExit) as ended:
            cli.main(["status", *name, *words])
        out, err = capfd.readouterr()
        return Said(int(ended.value.code or 0), out, err).holding_no(made.tokens if made else ())

    return call


@pytest.fixture
def looked(capfd: pytest.CaptureFixture[str]) -> Callable[[Made], Said]:
    """What the command would print, without its start."""

    def look(made: Made) -> Said:
        found = status_of(World(made.cloud), made.name)
        document = json.dumps(found.as_json())
        print_status(found, Context("sandbox"))
        metrics = exposition("p", found.exit_code, found.at, found)
        shown, _ = capfd.readouterr()
        assert all(code in shown for code in Check)
        Said(0, shown, metrics).holding_no(made.tokens)
        return Said(found.exit_code, document, shown).holding_no(made.tokens)

    return look


def ended(made: Made) -> None:
    token = made.renewed("1s")
    login = BasicCredentials(token.username, token.password)
    wait_for(lambda: not made.cloud.cgr().sign_in(login).granted, "the token's end")


def mismatched(made: Made) -> None:
    made.sign_in(made.tokens[0].username, made.store(made.token("700h")))


def mismatched_unseen(made: Made) -> None:
    made.sign_in(made.tokens[0].username, made.store(made.token("700h"), written=False))


def aliased(made: Made) -> None:
    secrets = made.cloud.secrets
    message = {"name": secrets.name(made.name), "version_aliases": {"current": 1}, "etag": made.secret.etag}
    secrets._client.update_secret(request={"secret": message, "update_mask": {"paths": ["version_aliases"]}})
    made.sign_in(made.tokens[0].username, "current")


def no_jwt(made: Made) -> None:
    number = made.cloud.secrets.add_version(made.name, Secret("hunter2-is-no-token")).number
    made.sign_in(made.tokens[0].username, number)


def expiring(made: Made) -> None:
    soon = datetime.now(UTC) + timedelta(days=3)
    made.cloud.secrets.update(made.secret, replace(made.secret, expire_time=soon))


def not_whole(made: Made) -> None:
    listed = Chainctl.list_pull_tokens
    own = made.tokens[0].username
    made.replaced(Chainctl, "list_pull_tokens", lambda *given: tuple(one for one in listed(*given) if one.id != own))


def elsewhere(made: Made) -> None:
    theirs = f"theirs-{made.name}"
    made.cloud.secrets.create(SecretResource(made.cloud.secrets.name(theirs)))
    made.cloud.secrets.grant(theirs, AGENT, ACCESSOR)
    made.cloud.secrets.add_version(theirs, made.tokens[0].password)
    made.repository(password_secret_version=f"projects/{ID}/secrets/{made.name}/versions/1")
    made.meanwhile(another_project())


def by_number(made: Made) -> None:
    made.repository(password_secret_version=f"projects/123456789012/secrets/{made.name}/versions/1")


def just_replaced(made: Made, days: int = 0) -> None:
    """As a rotation leaves it whose grace is not over."""
    old, token = made.tokens[-1], made.renewed()
    since = datetime.now(UTC) - timedelta(days=days)
    made.cloud.secrets.update(
        made.secret, token_pairs.with_pair(made.secret, Pair(old.username, 1, old.expires), (1, 2))
    )
    current = Pair(token.username, 2, token.expires, since)
    made.cloud.secrets.update(made.secret, token_pairs.with_pair(made.secret, current, (1, 2)))


NO, WARN, FAIL = "not checked", "warn", "fail"
REFUSED = {"cgr-dev": FAIL}
UNREAD = {"cgr-dev": NO}
# What was done to it, what is then not well, a piece of what is said of the first of these, and the exit code.
WORLDS: dict[str, tuple[Callable[[Made], object], dict[str, str], str, int]] = {
    "all is well": (lambda _: None, {}, "", 0),
    "the token has ended": (ended, {"token-end": FAIL} | REFUSED, "ended less than an hour ago", 4),
    "it ends in three days": (lambda made: made.renewed("73h"), {"token-end": WARN}, "3 days left", 4),
    "it ends tomorrow": (lambda made: made.renewed("25h"), {"token-end": FAIL}, "24 hours left", 4),
    "another token's password": (mismatched, {"pair": FAIL, "other-tokens": WARN} | REFUSED, "is the password of", 4),
    "another's, nowhere written": (
        mismatched_unseen,
        {"pair": FAIL, "other-tokens": WARN} | REFUSED,
        "another token's password",
        4,
    ),
    "the version is disabled": (
        lambda made: made.cloud.secrets.disable(made.name, 1),
        {"secret-version": FAIL} | UNREAD,
        "DISABLED",
        4,
    ),
    "it is destroyed": (
        lambda made: made.cloud.secrets.destroy(made.name, 1),
        {"secret-version": FAIL} | UNREAD,
        "DESTROYED",
        4,
    ),
    "there is no such version": (
        lambda made: made.sign_in(made.tokens[0].username, 9),
        {"secret-version": FAIL, "pair": NO} | UNREAD,
        "versions/9 does not exist",
        4,
    ),
    "the secret is gone": (
        lambda made: made.cloud.secrets.delete(made.name),
        {"secret-version": FAIL, "grant": FAIL, "pair": NO, "secret": FAIL} | UNREAD,
        "does not exist",
        4,
    ),
    "versions/latest": (
        lambda made: made.sign_in(made.tokens[0].username, "latest"),
        {"pinned-version": WARN},
        "versions/latest, which is 1 now",
        4,
    ),
    "an alias": (aliased, {"pinned-version": WARN}, "versions/current, which is 1 now", 4),
    "the grant is missing": (Made.granted, {"grant": FAIL}, "has no roles/secretmanager", 4),
    "it is under a condition": (lambda made: made.granted((ACCESSOR, AGENT, HOLDS)), {"grant": NO}, "for years", 5),
    "a group has it": (
        lambda made: made.granted((ACCESSOR, "group:all@example.com", None)),
        {"grant": NO},
        "group:all@example.com",
        5,
    ),
    "everybody may read the password": (
        lambda made: made.granted((ACCESSOR, "allAuthenticatedUsers", None)),
        {"grant": WARN},
        "everybody can read",
        4,
    ),
    "the identity is revoked": (
        Made.revoked,
        {"identity": FAIL} | REFUSED,
        "it was revoked",
        4,
    ),
    "a stray is alive": (Made.token, {"other-tokens": WARN}, "nowhere written down", 4),
    "the one before is alive": (
        lambda made: made.store(made.token()),
        {"other-tokens": WARN},
        "of version 2",
        4,
    ),
    "one was just replaced": (just_replaced, {}, "", 0),
    "one was replaced and forgotten": (lambda made: just_replaced(made, 3), {"other-tokens": WARN}, "replaced 2", 4),
    "everyone may pull": (lambda made: made.readable((READER, "allUsers", None)), {"readers": FAIL}, "EVERYBODY", 4),
    "everyone with an account": (
        lambda made: made.readable((READER, "user:a@example.com", None), (READER, "allAuthenticatedUsers", None)),
        {"readers": FAIL},
        "PUBLIC",
        4,
    ),
    "everyone, for a time": (
        lambda made: made.readable((READER, "allUsers", HOLDS)),
        {"readers": WARN},
        "where a condition holds",
        4,
    ),
    "somebody may pull": (lambda made: made.readable((READER, "user:a@example.com", None)), {}, "", 0),
    "the secret is another project's": (elsewhere, {"secret": WARN}, f"in the project {ID}", 4),
    "the project by its number": (by_number, {}, "", 0),
    "it is no JWT": (no_jwt, {"token-end": FAIL, "pair": NO} | REFUSED, "is no pull token", 4),
    "what is written down is wrong": (
        lambda made: made.write(Pair(f"{'ab' * 20}/{'cd' * 8}", 1, None)),
        {"pair": WARN},
        "written down",
        4,
    ),
    "nothing is written down": (
        lambda made: made.cloud.secrets.update(made.secret, replace(made.secret, annotations={})),
        {},
        "",
        0,
    ),
    "the username is a person's": (
        lambda made: made.sign_in("bot@example.com", 1),
        {"pair": FAIL, "identity": NO, "other-tokens": NO} | REFUSED,
        "no pull token's username",
        4,
    ),
    "the username has a colon": (
        lambda made: made.repository(username="a:b"),
        {"pair": FAIL, "cgr-dev": NO, "identity": NO, "other-tokens": NO},
        "no pull token's username",
        4,
    ),
    "a secret of one region": (
        lambda made: made.repository(password_secret_version="projects/p/locations/l/secrets/s/versions/1"),
        dict.fromkeys(("cgr-dev", "pair", "grant", "other-tokens", "pinned-version", "secret"), NO)
        | {"secret-version": FAIL},
        "is no secret version of the form",
        4,
    ),
    "the secret ends before its token": (expiring, {"secret": WARN}, "Secret Manager deletes", 4),
    "nobody may read the value": (
        lambda made: made.raising(SecretManager, "access_numbered", PermissionMissing("You may not read it.", "Ask.")),
        UNREAD,
        "You may not read it.",
        5,
    ),
    "the policies cannot be seen": (
        lambda made: made.raising(SecretManager, "get_policy", PermissionMissing("You may not see it.", "Ask.")),
        {"grant": NO},
        "You may not see it.",
        5,
    ),
    "nobody is signed in at Chainguard": (
        lambda made: made.raising(Chainctl, "list_pull_tokens", ChainguardSignedOut("Signed out.", "Sign in.")),
        {"other-tokens": NO},
        "Signed out.",
        5,
    ),
    "the list is empty": (
        lambda made: made.replaced(Chainctl, "list_pull_tokens", lambda *_: ()),
        {"other-tokens": NO},
        "is empty",
        5,
    ),
    "the list lacks the token in use": (not_whole, {"other-tokens": NO}, "is not whole", 5),
    "cgr.dev is away": (
        lambda made: made.raising(Registry, "sign_in", Temporary("cgr.dev does not answer.", "Wait.")),
        {"cgr-dev": NO},
        "does not answer",
        5,
    ),
}


@pytest.mark.parametrize("world", WORLDS)
def test_what_is_amiss_is_named_with_what_to_do_and_the_exit_code(
    world: str, made: Made, looked: Callable[[Made], Said]
):
    change, marks, said, code = WORLDS[world]
    change(made)
    found = looked(made)
    assert (found.marks(), found.code) == (marks, code), found.out
    assert found.report["exit_code"] == code
    assert all(found.finding(check)["remedy"] or mark == NO for check, mark in marks.items())
    assert not marks or any(said in found.finding(check)["seen"] for check in marks), found.out
    assert [check["code"] for check in found.report["repositories"][0]["findings"]] == [*Check]


def test_the_forms_say_the_same_and_none_changes_the_exit_code(made: Made, status: Callable[..., Said]):
    made.renewed("73h")
    made.readable((READER, "allUsers", None))
    text, document, metrics = status(made), status(made, "--json"), status(made, "--format", "prometheus")
    assert (text.code, document.code, metrics.code) == (4, 4, 4)
    assert (text.err, document.err, metrics.err) == ("", "", "")
    families = {family.name: family for family in text_string_to_metric_families(metrics.out)}
    samples = {name: family.samples for name, family in families.items()}
    (whole,) = samples["cgrunbook_status_exit_code"]
    assert whole.value == 4
    (end,) = samples["cgrunbook_pull_token_expiry_timestamp_seconds"]
    assert end.labels == {"project": "cgrunbook-sandbox", "location": "us-central1", "repository": made.name}
    assert end.value == made.tokens[-1].expires.timestamp()
    values = {one.labels["check"]: one.value for one in samples["cgrunbook_pull_token_check"]}
    assert values == dict.fromkeys(Check, 0) | {"token-end": 2, "readers": 3}
    assert all(family.documentation and family.type == "gauge" for family in families.values())
    assert "2 fail" not in text.out
    assert "Something is to be done: 1 fail, 1 warn, 8 ok." in text.out


def test_where_nothing_could_be_looked_at_a_monitor_is_told_so(made: Made, status: Callable[..., Said]):
    metrics = status(None, "-p", "private_repository", "nowhere", "--format", "prometheus")
    assert metrics.code == 3
    assert "There is no repository nowhere in us-central1" in metrics.err
    names = {family.name: family.samples for family in text_string_to_metric_families(metrics.out)}
    assert names["cgrunbook_status_exit_code"][0].value == 3
    assert set(names) == {"cgrunbook_status_exit_code", "cgrunbook_status_timestamp_seconds"}


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["-p", "private_repository", "chainguard-pull-through"], 3, "does not sign in at cgr.dev"),
        (["-p", "private_repository", "No Name"], 2, "private_repository"),
        (["-p", "secret_id", "mine"], 2, "secret_id"),
        (["-p", "location", "atlantis"], 2, "location"),
        (["--target", "the-moon"], 2, "target"),
        (["--skip", "everything"], 2, "token-end"),
        (["--warn-days", "1", "--fail-days", "2"], 2, "--warn-days"),
        (["--json", "--format", "prometheus"], 2, "two forms"),
        (["--format", "yaml"], 2, "yaml"),
    ],
)
def test_what_cannot_be_asked_is_refused_on_stderr(words: list[str], code: int, said: str, cloud: Cloud, status):
    found = status(None, *words)
    assert (found.code, found.out) == (code, "")
    assert said in found.err


def test_a_check_that_was_left_out_is_neither_asked_for_nor_held_against_anybody(made: Made, status, home: Path):
    made.raising(Chainctl, "list_pull_tokens", AssertionError("asked"))
    made.readable((READER, "allUsers", None))
    found = status(made, "--json", "--skip", "other-tokens", "--skip", "identity", "--skip", "readers")
    assert (found.code, found.marks()) == (0, {})
    assert found.report["left_out"] == ["other-tokens", "identity", "readers"]
    assert "readers" in status(made, "--skip", "readers", "--skip", "other-tokens", "--skip", "identity").out


LEAST = (READER, "roles/secretmanager.viewer", ACCESSOR, "roles/iam.securityReviewer")


@pytest.mark.parametrize(
    ("lacks", "marks", "code"),
    [
        ("", {}, 0),
        (READER, None, 3),
        ("roles/secretmanager.viewer", {"secret": NO}, 5),
        (ACCESSOR, {"cgr-dev": NO}, 5),
        ("roles/iam.securityReviewer", {"readers": NO}, 5),
    ],
)
def test_with_the_least_roles_all_is_seen_and_without_one_it_says_what_is_not(
    lacks: str, marks: dict[str, str] | None, code: int, *, made: Made, looked: Callable[[Made], Said], tmp_path: Path
):
    somebody = Person(tmp_path, *(role for role in LEAST if role != lacks))
    made.cloud = somebody.world().cloud
    if marks is None:
        with pytest.raises(PermissionMissing):
            looked(made)
        return
    found = looked(made)
    assert (found.marks(), found.code) == (marks, code), found.out
    for check in marks:
        assert found.finding(check)["remedy"]


def test_thresholds_are_the_operators_own(made: Made, status: Callable[..., Said]):
    assert status(made, "--json", "--warn-days", "31").marks() == {"token-end": "warn"}
    assert status(made, "--json", "--warn-days", "40", "--fail-days", "30.5").marks() == {"token-end": "fail"}


def test_one_target_takes_ten_calls_at_most(made: Made, status: Callable[..., Said], home: Path):
    for dirty in (lambda: None, made.granted, lambda: made.sign_in(made.tokens[0].username, "latest")):
        dirty()
        known = len(requests(home))
        status(made)
        asked = [line for line in requests(home)[known:] if line["service"] != "console-api.enforce.dev"]
        assert len(asked) + 1 <= 10, [line["path"] for line in asked]  # chainctl counts as one


def test_through_the_other_door_the_same_is_seen_in_as_few_calls(
    made: Made, looked: Callable[[Made], Said], status: Callable[..., Said], home: Path
):
    by_chainctl = status(made, "--json").report["repositories"][0]
    access = prepare()
    made.cloud = Cloud(replace(made.cloud.connection, chainguard=access))
    made.token()
    known = len(requests(home))
    found = looked(made)
    asked = [line for line in requests(home)[known:] if line["service"] not in OF_SIGNING_IN]
    assert len(asked) <= 10, [line["path"] for line in asked]
    assert (found.code, found.marks()) == (4, {"other-tokens": WARN})
    assert f"-p chainguard_identity {access.identity}" in found.finding("other-tokens")["remedy"]
    (seen,) = found.report["repositories"]
    # That cgr.dev was asked with the pair by the first look is what the second may see of it.
    assert seen["last_seen"] >= by_chainctl["last_seen"] > ""
    same = ("username", "expires", "expires_told_by", "readers")
    assert {name: seen[name] for name in same} == {name: by_chainctl[name] for name in same}


def test_all_repositories_share_what_is_asked_and_one_that_cannot_be_read_leaves_it_open(
    cloud: Cloud, made: Made, status: Callable[..., Said], home: Path
):
    known = len(requests(home))
    before = len(status(None, "--all", "--json").report["repositories"])
    few = len(requests(home)) - known
    east = Cloud(replace(cloud.connection, location="europe-west1"))
    version = cloud.secrets.version_name(made.name, 1)
    for number in range(4):
        place = cloud if number % 2 else east
        name = place.repositories.name(f"{made.name}-{number}")
        username = made.tokens[0].username
        place.repositories.create(
            RemoteRepository(name, upstream=UPSTREAM, username=username, password_secret_version=version)
        )
    known = len(requests(home))
    found = status(None, "--all", "--json")
    assert len(found.report["repositories"]) == before + 4
    assert len(requests(home)) - known - few <= 2 * 4
    rows = {(one["location"], one["repository"]): one for one in found.report["repositories"]}
    assert rows["europe-west1", f"{made.name}-0"]["days_left"] == rows["us-central1", made.name]["days_left"]
    listed = ArtifactRegistry._list

    def refused(here: ArtifactRegistry, location: str, limit: float) -> tuple[RemoteRepository, ...]:
        if location == "europe-west1":
            raise PermissionMissing("You may not list that.", "Ask.")
        return listed(here, location, limit)

    made.replaced(ArtifactRegistry, "_list", refused)
    found, shown = status(None, "--all", "--json"), status(None, "--all")
    assert [one["location"] for one in found.report["not_read"]] == ["europe-west1"]
    assert "? not checked  europe-west1    You may not list that." in shown.out
    metrics = status(None, "--all", "--format", "prometheus").out
    assert 'cgrunbook_status_location_unread{project="cgrunbook-sandbox",location="europe-west1"} 1' in metrics
    for number in range(4):
        (cloud if number % 2 else east).repositories.delete(f"{made.name}-{number}")


def test_without_any_repository_that_can_be_seen_all_is_not_well(made: Made, status: Callable[..., Said]):
    made.raising(ArtifactRegistry, "_list", PermissionMissing("You may not list that.", "Ask."))
    unseen = status(None, "--all", "--json")
    assert (unseen.code, unseen.report["repositories"]) == (5, [])
    made.replaced(ArtifactRegistry, "_list", lambda *_: ())
    nothing = status(None, "--all")
    assert (nothing.code, nothing.out) == (3, "")
    assert "signs in at cgr.dev" in nothing.err


def test_the_map_tells_the_days_left_and_what_is_amiss(made: Made):
    def seen() -> dict[str, Finding]:
        shown = steps.ShowMap("chainguard-pull-through", made.name, made.name).verify(World(made.cloud))
        return {finding.check[4:]: finding for finding in shown.findings}

    assert seen()["pull token"].seen.startswith(f"{made.name}/versions/1, 29 days left: ")
    assert {finding.mark for finding in seen().values()} == {Mark.OK}
    made.renewed("73h")
    made.readable((READER, "allUsers", None))
    marks = {check: finding.mark for check, finding in seen().items() if finding.mark is not Mark.OK}
    assert marks == {"pull token": Mark.WARN, "who may pull": Mark.WARN}  # a map that fails would end its notebook
    assert "3 days left" in seen()["pull token"].seen
    made.raising(Chainctl, "list_pull_tokens", ChainguardSignedOut("Signed out.", "Sign in."))
    assert seen()["the pull token's other sides"].mark is Mark.NOT_CHECKED


def test_the_sandbox_and_google_cloud_do_not_look_alike(made: Made, status: Callable[..., Said]):
    made.token()
    shown = status(made).out
    assert shown.startswith("◇ SANDBOX: project cgrunbook-sandbox, in us-central1")
    assert 'eval "$(cgrunbook sandbox env)"' in shown


@pytest.fixture(scope="module")
def gcloud(cloud: Cloud, home: Path) -> Iterator[Gcloud]:
    there = process.status(home)
    assert there is not None
    with Gcloud(there.running) as kept:
        yield kept


@pytest.mark.long
@pytest.mark.parametrize(
    ("world", "check"),
    [
        ("everyone may pull", "readers"),
        ("versions/latest", "pinned-version"),
        ("an alias", "pinned-version"),
        ("the version is disabled", "secret-version"),
        ("the grant is missing", "grant"),
        ("the secret ends before its token", "secret"),
        ("what is written down is wrong", "pair"),
        ("another token's password", "pair"),
    ],
)
def test_the_command_that_is_shown_mends_what_it_is_shown_for(
    world: str, check: str, made: Made, looked: Callable[[Made], Said], gcloud: Gcloud
):
    WORLDS[world][0](made)
    remedy = looked(made).finding(check)["remedy"]
    (command,) = re.findall(r"gcloud (.*)$", remedy, re.MULTILINE)
    gcloud.text(*shlex.split(command), "--quiet")
    assert looked(made).finding(check)["mark"] == "ok"
