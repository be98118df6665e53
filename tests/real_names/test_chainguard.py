"""Chainguard's API as a Google service account, on the real names: set up once by an owner, then without chainctl."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.real_names.faults import Fault, Weather
from tests.real_names.test_identity import GRANT, ROBOT, federated, impersonated, key, named, of_the_machine
from tests.real_names.token_hosts import MACHINE, PROJECT
from tests.real_names.world import OWNER, Machine

# An owner, whom chainctl is signed in as, sets each account up; answers the identities by account.
SET_UP = f"""
import json
from cgrunbook import steps
from cgrunbook.cloud import Cloud, connect
from cgrunbook.steps.step import World
found = {{}}
for account in ("{MACHINE}", "{ROBOT}"):
    world = World(Cloud(connect("google-cloud", project_id="{PROJECT}")))
    step = steps.LetServiceAccountMakePullTokens(account, "example.com")
    step.apply(world, step.plan(world))
    found[account] = step.verify(world.anew()).facts["identity"]
print(json.dumps(found))
"""

# Whatever the credentials are: who is signed in, and what a token's whole life comes to.
PROGRAM = f"""
import json, sys
from cgrunbook.cloud import Attempts, ChainguardAccess, Cloud, connect
from cgrunbook.cloud.registry import BasicCredentials
from cgrunbook.errors import CgrunbookError
identity, account, mint = sys.argv[1:]
said = {{}}
try:
    access = ChainguardAccess("", identity, account)
    cloud = Cloud(connect("google-cloud", project_id="{PROJECT}", chainguard=access), Attempts(limit=2))
    door = cloud.chainguard
    login = door.require_login()
    said = {{"door": door.name, "identity": login.identity, "email": login.email, "organizations": door.organizations()}}
    if mint:
        token = door.create_pull_token("example.com", "on the real names", "1h")
        pull = BasicCredentials(token.username, token.password)
        said["granted"] = cloud.cgr(pull).probe_token("example.com/chainguard-base").granted
        said["listed"] = token.username in [one.id for one in door.list_pull_tokens("example.com")]
        said["revoked"] = door.revoke(token.username, "example.com")
        said["left"] = token.username in [one.id for one in door.list_pull_tokens("example.com")]
except CgrunbookError as error:
    said |= {{"error": type(error).__name__, "message": error.message, "remedy": error.remedy}}
print(json.dumps(said))
"""
ACT_AS = GRANT.replace(
    '[{"role": "roles/owner", "members": members}]',
    f'[{{"role": "roles/owner", "members": members}}, '
    f'{{"role": "roles/iam.workloadIdentityUser", "members": ["{OWNER}", "user:ada@example.com"]}}]',
)


@pytest.fixture(scope="module")
def identities(_opened: Machine) -> dict[str, str]:
    for program in (ACT_AS, SET_UP):
        done = _opened.run("python", "-c", program, GOOGLE_APPLICATION_CREDENTIALS=str(_opened.user()))
        assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.fixture
def without_chainctl(real_names: Machine) -> Iterator[Machine]:
    chainctl = real_names.programs / "chainctl"
    chainctl.rename(real_names.folder / "chainctl-away")
    yield real_names
    (real_names.folder / "chainctl-away").rename(chainctl)


def asked(machine: Machine, identity: str, account: str = "", mint: str = "", **variables: Any) -> dict[str, Any]:
    done = machine.run("python", "-c", PROGRAM, identity, account, mint, **variables)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_machine_at_google_makes_lists_and_revokes_a_token_without_chainctl(without_chainctl, identities):
    variables = of_the_machine(without_chainctl)
    found = asked(without_chainctl, identities[MACHINE], mint="yes", **variables)
    assert found == {
        "door": "Chainguard's API",
        "identity": identities[MACHINE],
        "email": MACHINE,
        "organizations": ["example.com"],
        "granted": True,
        "listed": True,
        "revoked": True,
        "left": False,
    }
    hosts = {"metadata.google.internal", "issuer.enforce.dev", "console-api.enforce.dev", "cgr.dev"}
    assert set(without_chainctl.seen()) == hosts


@pytest.mark.long
def test_a_machine_whose_own_account_is_named_asks_nobody_else(without_chainctl, identities):
    found = asked(without_chainctl, identities[MACHINE], MACHINE, **of_the_machine(without_chainctl))
    assert (found["identity"], found["email"]) == (identities[MACHINE], MACHINE)
    assert "iamcredentials.googleapis.com" not in without_chainctl.seen()


SIGN_INS: dict[str, tuple[Callable[[Machine], dict[str, str]], str]] = {
    "a key": (key, ""),
    "an impersonation": (impersonated, ""),
    "a federation that impersonates": (lambda machine: federated(machine, ROBOT), ""),
    "a federation that names the account": (federated, ROBOT),
    "a person who names the account": (lambda machine: named(machine.user()), ROBOT),
    "a key of the account that is named": (key, ROBOT),
}


@pytest.mark.parametrize(
    ("sign_in", "account"),
    [
        pytest.param(*way, id=name, marks=[] if name == "a federation that impersonates" else pytest.mark.long)
        for name, way in SIGN_INS.items()
    ],
)
def test_each_kind_of_credentials_that_an_account_stands_behind_is_taken(
    without_chainctl, identities, sign_in, account
):
    found = asked(without_chainctl, identities[ROBOT], account, **sign_in(without_chainctl))
    assert found.get("identity") == identities[ROBOT], found


@pytest.mark.parametrize("sign_in", [federated, lambda machine: named(machine.user())], ids=["federation", "person"])
def test_where_no_account_stands_behind_the_credentials_what_helps_is_said(without_chainctl, identities, sign_in):
    found = asked(without_chainctl, identities[ROBOT], **sign_in(without_chainctl))
    assert found["error"] == "NotSignedIn"
    assert "chainguard_service_account" in found["remedy"]


def test_another_accounts_token_is_refused_with_what_to_look_at(without_chainctl, identities):
    found = asked(without_chainctl, identities[MACHINE], **key(without_chainctl))
    assert found["error"] == "ChainguardSignedOut"
    assert f"gcloud iam service-accounts describe {ROBOT}" in found["remedy"]


@pytest.mark.long
def test_what_passes_is_waited_for_and_nothing_is_made_twice(without_chainctl, identities):
    """An exchange over its quota, one whose answer is lost; an identity's answer lost; a binding reset; no list for a moment."""
    api, sts = "console-api.enforce.dev", "issuer.enforce.dev"
    faults = [
        Fault(host=sts, status=429),
        Fault(host=sts, lose=True),
        Fault(host=api, method="POST", path="/identities/", lose=True),
        Fault(host=api, path="batchCreate", reset=True),
        Fault(host=api, method="GET", path=r"/iam/v2/identities\?", skip=1, status=503),
        Fault(host=api, method="DELETE", lose=True),
    ]
    without_chainctl.set(Weather(faults=faults))
    found = asked(without_chainctl, identities[ROBOT], mint="yes", **key(without_chainctl))
    assert without_chainctl.left() == []
    # The answer to the deletion was lost: the second one finds nothing any more.
    assert (found.get("granted"), found.get("listed"), found.get("revoked"), found.get("left")) == (
        True,
        True,
        False,
        False,
    )
