"""Who is trusted at the real names, what keeps an answer away for good, and which hosts a run needs."""

from __future__ import annotations

import json
import re
import ssl
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import certifi
import pytest

from tests.clients.programs import absent, run
from tests.real_names.faults import Fault, Weather
from tests.real_names.token_hosts import IAM_CREDENTIALS, OAUTH2, PROJECT, STS
from tests.real_names.world import OWNER, Machine

SERVICES = (
    "cloudresourcemanager.googleapis.com",
    "serviceusage.googleapis.com",
    "artifactregistry.googleapis.com",
    "secretmanager.googleapis.com",
    "us-central1-docker.pkg.dev",
    "cgr.dev",
)
ISSUER = "issuer.enforce.dev"
IMPERSONATION = f"https://{IAM_CREDENTIALS}/v1/projects/-/serviceAccounts/robot@{PROJECT}.iam.gserviceaccount.com"


def asked(
    machine: Machine, *names: str, credentials: Path | None = None, over: Path | None = None, **variables: str
) -> dict[str, Any]:
    """Ask in a process of its own; with the authority's file in the place of another where one is given."""
    given: dict[str, Any] = {**variables, "GOOGLE_APPLICATION_CREDENTIALS": str(credentials or machine.user())}
    command = [sys.executable, "-m", "tests.real_names.asking", *names]
    if over is not None:
        mounted = 'mount --bind "$0" "$1"; shift; exec "$@"'
        command = ["unshare", "--mount", "sh", "-ec", mounted, str(machine.authority), str(over), *command]
        given["PATH"] = f"{machine.programs}:/usr/sbin:/usr/bin:/sbin:/bin"
    done = machine.run(*command, **given)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def federation(machine: Machine) -> Path:
    """Workload identity federation, which exchanges a file's token and acts as a service account."""
    (machine.folder / "subject").write_text(OWNER)
    return machine.credentials(
        "federation",
        {
            "type": "external_account",
            "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": f"https://{STS}/v1/token",
            "credential_source": {"file": str(machine.folder / "subject")},
            "service_account_impersonation_url": f"{IMPERSONATION}:generateAccessToken",
        },
    )


def acting(machine: Machine) -> Path:
    """A person who acts as a service account."""
    return machine.credentials(
        "acting",
        {
            "type": "impersonated_service_account",
            "service_account_impersonation_url": f"{IMPERSONATION}:generateAccessToken",
            "source_credentials": json.loads(machine.user().read_text()),
        },
    )


def not_trusted(found: Mapping[str, Any]) -> set[str]:
    """Which asks failed for want of trust."""
    return {name for name, said in found.items() if "is not trusted here" in said["message"] + str(said["found"])}


def store() -> Path:
    """The system's store, where Python's OpenSSL finds it."""
    paths = ssl.get_default_verify_paths()
    return Path(paths.openssl_cafile).resolve() if Path(paths.openssl_cafile).is_file() else absent("no store here")


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_each_variable_alone_is_enough_for_tokens_services_pulls_and_checks(real_names: Machine, variable: str) -> None:
    names = real_names.authority
    if variable == "SSL_CERT_DIR":
        names = real_names.folder / "hashed"
        names.mkdir()
        (names / "ca.pem").write_bytes(real_names.authority.read_bytes())
        run("openssl", "rehash", names)
    given: dict[str, Any] = {variable: str(names)}
    assert not_trusted(asked(real_names, **given)) == set()


@pytest.mark.parametrize("over", [store, certifi.where], ids=["the system's", "certifi's"])
def test_each_store_alone_is_enough_for_tokens_services_pulls_and_checks(real_names: Machine, over: Any) -> None:
    assert not_trusted(asked(real_names, over=Path(over()), REQUESTS_CA_BUNDLE="")) == set()


def test_an_authority_in_no_store_is_trusted_by_nobody_and_said_at_once(real_names: Machine) -> None:
    found = asked(real_names, REQUESTS_CA_BUNDLE="")
    assert not_trusted(found) == {"token", "pull", *SERVICES, "checks"}
    assert all(said["seconds"] < 2 and said["kind"] != "Temporary" for said in found.values())
    done = real_names.cgrunbook("run", "02", "03", REQUESTS_CA_BUNDLE="")
    assert done.returncode == 1
    assert f"the certificate of {OAUTH2} is not trusted here" in done.stderr
    assert "HTTPS_PROXY" not in done.stderr


def test_a_variable_that_names_nothing_is_a_sentence_and_a_missing_prerequisite(real_names: Machine) -> None:
    done = real_names.cgrunbook("run", "02", "03", SSL_CERT_FILE="/nowhere")
    assert done.returncode == 3
    assert "SSL_CERT_FILE says who is trusted, and names what cannot be used: /nowhere (No such file" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("kind", "said"), [("expired", "has expired"), ("another name", "that {host} shows is for another name")]
)
def test_a_certificate_that_is_not_good_ends_every_call_of_its_host_at_once(
    real_names: Machine, kind: str, said: str
) -> None:
    real_names.set(Weather(certificates=dict.fromkeys((OAUTH2, STS, *SERVICES), kind)))
    found = asked(real_names)
    ended = {OAUTH2: found.pop("token")} | {name: found[name] for name in SERVICES}
    ended[STS] = asked(real_names, "token", credentials=federation(real_names))["token"]
    real_names.set(Weather(certificates={IAM_CREDENTIALS: kind}))
    ended[IAM_CREDENTIALS] = asked(real_names, "token", credentials=acting(real_names))["token"]
    for host, one in ended.items():
        assert (said.format(host=host) in one["message"], host in one["message"]) == (True, True), one
        assert (one["kind"] in ("ServiceError", "RegistryError"), one["seconds"] < 2) == (True, True), one
    assert {line.partition(":")[0] for line in found["checks"]["found"]} == {OAUTH2, *SERVICES}


@pytest.mark.parametrize("fault", [{"reset": True}, {"status": 503}, {"lose": True}], ids=str)
def test_what_passes_by_itself_at_a_tokens_host_is_tried_again(real_names: Machine, fault: dict[str, Any]) -> None:
    for host, credentials in (
        (OAUTH2, real_names.user()),
        (STS, federation(real_names)),
        (IAM_CREDENTIALS, acting(real_names)),
    ):
        real_names.set(Weather(faults=[Fault(host=re.escape(host), method="POST", **fault)]))
        said = asked(real_names, "token", credentials=credentials)["token"]
        assert (said["kind"], real_names.left()) == ("", []), said


@pytest.mark.parametrize(
    ("whose", "tokens"),
    [(Machine.user, {OAUTH2}), (federation, {STS, IAM_CREDENTIALS}), (acting, {OAUTH2, IAM_CREDENTIALS})],
    ids=["a person", "a federation", "acting as a service account"],
)
def test_the_tokens_hosts_that_are_checked_are_those_of_the_credentials(
    real_names: Machine, whose: Callable[[Machine], Path], tokens: set[str]
) -> None:
    before = len(real_names.log())
    known = asked(real_names, "token", "hosts", credentials=whose(real_names))["hosts"]["found"]
    called = {one["host"] for one in real_names.log()[before:]} & {OAUTH2, STS, IAM_CREDENTIALS}
    checked = {name for name, _, always in known if always} & {OAUTH2, STS, IAM_CREDENTIALS}
    assert called == checked == tokens


def test_an_access_token_that_docker_pkg_dev_refuses_is_renewed_once(real_names: Machine) -> None:
    host = re.escape("us-central1-docker.pkg.dev")
    challenge = {"WWW-Authenticate": 'Bearer realm="https://us-central1-docker.pkg.dev/v2/token"'}
    at_once = Fault(host=host, path="/manifests/", status=401, headers=challenge)
    real_names.set(Weather(faults=[at_once, Fault(host=host, path="/v2/token", status=401)]))
    said = asked(real_names, "pull")["pull"]
    # There is no such repository, or the API is still off.
    assert said["kind"] in ("NotFound", "ApiDisabled"), said
    assert (real_names.left(), real_names.seen()[OAUTH2]) == ([], 2)
    real_names.set(Weather(faults=[at_once, Fault(host=host, path="/v2/token", status=401, times=2)]))
    said = asked(real_names, "pull")["pull"]
    assert (said["kind"], real_names.left()) == ("NotSignedIn", []), said
    # Whose they are is masked here alone: the refresh tokens of these tests name their owners.
    assert "does not take the Google credentials of " in said["message"]


def test_behind_a_proxy_that_wants_a_login_with_tls_on_both_sides_everybody_is_reached_through_it(
    real_names: Machine,
) -> None:
    without = asked(real_names)
    login = "DOMAIN\\me:p@ss#wörd%41/"
    behind = [
        "-m",
        "tests.clients.proxy",
        f"--certificate={real_names.folder / 'good.pem'}",
        f"--host={ISSUER}",
        login,
    ]
    given: dict[str, Any] = {"GOOGLE_APPLICATION_CREDENTIALS": str(real_names.user())}
    done = real_names.run(sys.executable, *behind, sys.executable, "-m", "tests.real_names.asking", **given)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {name: said["kind"] for name, said in found.items()} == {
        name: said["kind"] for name, said in without.items()
    }
    assert found["checks"]["found"] == without["checks"]["found"]
    reached = {line.removesuffix(":443") for line in done.stderr.splitlines()}
    assert {OAUTH2, *SERVICES, ISSUER} <= reached


def test_a_proxy_that_cannot_be_used_is_a_sentence_and_a_missing_prerequisite(real_names: Machine) -> None:
    done = real_names.cgrunbook("run", "02", HTTPS_PROXY="http://me:s3cret#@127.0.0.1:port")
    assert (done.returncode, "s3cret" in done.stdout + done.stderr) == (3, False)
    assert "HTTPS_PROXY names a proxy" in done.stderr
    assert "Traceback" not in done.stderr
