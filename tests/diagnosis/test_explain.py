"""What a person pastes is explained: who said it, and what may be behind it. What is somebody else's, or nothing, is unknown."""

from __future__ import annotations

import base64
import io
import json
import re
import secrets
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NoReturn

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from cgrunbook import cli
from cgrunbook.cloud import connect
from cgrunbook.cloud.google_errors import Answer, explain_answer
from cgrunbook.cloud.registry_errors import Refusal, refused
from cgrunbook.diagnosis.explain import Explanation, explain, messages, reason_of
from cgrunbook.errors import StepFailed, UpstreamCredentialsRefused
from cgrunbook.run.record import ErrorRecord
from tests.documents import ROOT

HERE = Path(__file__).parent / "messages"


def read(name: str) -> list[dict[str, Any]]:
    texts: list[dict[str, Any]] = tomllib.loads((HERE / name).read_text())["text"]
    return texts


KNOWN, ALIKE = read("known.toml"), read("alike.toml")


def jwt_like() -> str:
    header = base64.urlsafe_b64encode(b'{"alg":"RS256"}').decode()
    return ".".join(
        (header, *(base64.urlsafe_b64encode(secrets.token_bytes(size)).decode().rstrip("=") for size in (90, 128)))
    )


def ids(explanation: Explanation) -> list[str]:
    return [found.message.id for found in explanation.found]


def named(entry: dict[str, Any]) -> str:
    return f"{entry.get('says', 'alike')} {entry['source'].removeprefix('https://').partition('/')[2]}"


@pytest.mark.parametrize("entry", KNOWN, ids=named)
def test_a_message_that_people_have_met_is_explained(entry):
    explanation = explain(entry["text"])
    assert ids(explanation) == [entry["says"]]
    found = explanation.found[0]
    assert found.host == entry.get("host", found.host)
    assert found.service or not found.host, "who is named in the text is named in the answer"
    assert found.message.means
    assert found.message.causes or found.helps


@pytest.mark.parametrize("entry", ALIKE, ids=named)
def test_what_looks_like_one_and_is_somebody_else_s_is_unknown(entry):
    assert ids(explain(entry["text"])) == []


def test_all_fifteen_of_the_list_are_there_and_many_more_from_public_threads():
    assert {entry.get("facts") for entry in KNOWN} >= set(range(1, 16))
    of_the_list = {entry["source"] for entry in KNOWN if "facts" in entry}
    assert len({entry["source"] for entry in KNOWN} - of_the_list) >= 30
    assert len({entry["source"] for entry in ALIKE}) >= 20
    assert all(entry["source"].startswith("https://") for entry in KNOWN + ALIKE)


SKOPEO = 'time="2026-11-28T04:32:01Z" level=fatal msg="Error parsing image name \\"docker://{0}/{1}:latest\\": {2}"'
PODMAN = "Trying to pull {0}/{1}:latest...\nError: initializing source docker://{0}/{1}:latest: {2}"
READING = "reading manifest latest in {0}/{1}: "
UPSTREAM_REFUSED = (
    "denied: failed to fetch bearer token; generic::unauthenticated: Unauthorized error returned by the external repository... "
    "this typically means your upstream credentials are invalid"
)
# As skopeo, podman, helm and crane say it, which say the rest of it as others do.
IN_OTHER_WORDS = [
    (READING + UPSTREAM_REFUSED, "us-docker.pkg.dev", "upstream-credentials"),
    (
        "pinging container registry {0}: invalid status code from registry 403 (Forbidden)",
        "us-docker.pkg.dev",
        "pkg-forbidden",
    ),
    ("Requesting bearer token: invalid status code from registry 403 (Forbidden)", "cgr.dev", "cgr-forbidden"),
    ("unable to retrieve auth token: invalid username/password: unauthorized", "us-docker.pkg.dev", "pkg-login-ended"),
    (READING + "manifest unknown", "cgr.dev", "cgr-manifest-unknown"),
    (READING + 'name unknown: Repository "r" not found', "us-docker.pkg.dev", "repository-unknown"),
    (READING + "received unexpected HTTP status: 502 Bad Gateway", "us-docker.pkg.dev", "pkg-failing"),
    (
        'GET "https://{0}/v2/{1}/manifests/1": response status code 401: unauthorized',
        "us-docker.pkg.dev",
        "pkg-login-ended",
    ),
    ('GET "https://{0}/v2/{1}/manifests/1": response status code 404: not found', "us-docker.pkg.dev", "pkg-not-found"),
    ('Get "http://{0}/v2/": http: server gave HTTP response to HTTPS client', "us-docker.pkg.dev", "tls-old"),
    ('Get "https://{0}/v2/": x509: certificate is valid for *.corp.example, not {0}', "cgr.dev", "tls-name"),
    ('Get "https://{0}/v2/": x509: certificate has expired or is not yet valid: current time', "cgr.dev", "tls-date"),
    ('Get "https://{0}/v2/": Proxy Authentication Required', "us-docker.pkg.dev", "proxy-login"),
    ('Get "https://{0}/v2/": proxyconnect tcp: dial tcp: lookup proxy.corp.example: no such host', "cgr.dev", "proxy"),
    ('Get "https://{0}/v2/": dial tcp: lookup {0}: no such host', "us-docker.pkg.dev", "name"),
    ('Get "https://{0}/v2/": net/http: TLS handshake timeout', "cgr.dev", "connection"),
    ("no matching manifest for linux/arm64 in the manifest list entries: {0}/{1}", "cgr.dev", "no-platform"),
    (READING + "toomanyrequests: too many requests", "cgr.dev", "cgr-throttled"),
    ("reading blob sha256:0 of {0}/{1}: unexpected EOF", "us-docker.pkg.dev", "cut-short"),
    (READING + "denied: Request had insufficient authentication scopes.", "us-docker.pkg.dev", "scopes"),
    (READING + "Received invalid redirect URL from the upstream", "us-docker.pkg.dev", "upstream-redirect"),
    ("filesystem layer verification failed for digest sha256:0 of {0}/{1}", "cgr.dev", "damaged"),
]


@pytest.mark.parametrize("form", [SKOPEO, PODMAN, "$ docker pull {0}/{1}\nError: {2}"], ids=["skopeo", "podman", "log"])
@pytest.mark.parametrize(("words", "host", "says"), IN_OTHER_WORDS, ids=[one[2] for one in IN_OTHER_WORDS])
def test_other_clients_words_are_known_too(form, words, host, says):
    path = "p/r/example.com/go" if "pkg" in host else "example.com/go"
    text = form.format(host, path, words.format(host, path))
    explanation = explain(text)
    assert (ids(explanation), explanation.found[0].host) == ([says], host)


PULLED = "$ docker pull us-docker.pkg.dev/p/r/x/go:1\nStatus: Downloaded newer image for us-docker.pkg.dev/p/r/x/go:1\n"
BAD_GATEWAY = "Error response from daemon: received unexpected HTTP status: 502 Bad Gateway\n"
# A command's image has no host, so nobody knows who answered; what another command was about says nothing of it.
OF_ANOTHER_COMMAND = {
    "pull": PULLED + "$ docker pull python:3.12\n" + BAD_GATEWAY,
    "run": PULLED + "$ docker run redis\nUnable to find image 'redis:latest' locally\ndocker: " + BAD_GATEWAY,
    "rate limit": PULLED
    + "$ docker pull redis\nError response from daemon: toomanyrequests: You have reached your pull rate limit.",
    "compose": PULLED + "Pulling db (postgres:12)...\nERROR: pulling: unexpected EOF",
    "kubelet": PULLED
    + 'Normal  Pulling  5s  kubelet  Pulling image "redis"\nWarning  Failed  1s  kubelet  rpc error: unexpected EOF',
    "the next": BAD_GATEWAY + PULLED,
    "build": PULLED + "FROM python:3.12\nERROR: failed to solve: python:3.12: unexpected EOF",
}


@pytest.mark.parametrize("text", OF_ANOTHER_COMMAND.values(), ids=OF_ANOTHER_COMMAND)
def test_what_another_command_was_about_says_nothing_of_this_one(text):
    assert ids(explain(text)) == []


OF_GCLOUD = [
    ("ERROR: (gcloud.artifacts.repositories.describe) NOT_FOUND: Requested entity was not found.", "entity-absent"),
    ("ERROR: (gcloud.secrets.versions.access) NOT_FOUND: Secret [projects/1/secrets/s] not found.", "secret-absent"),
    ("ERROR: (gcloud.artifacts.repositories.create) INVALID_ARGUMENT: Request contains an invalid argument.", "bare-invalid"),
    ("ERROR: (gcloud.artifacts.repositories.create) ALREADY_EXISTS: the repository already exists", "repository-exists"),
    ("ERROR: (gcloud.artifacts.repositories.list) PERMISSION_DENIED: Permission denied on resource project x.", "project-unknown"),
    ("API [secretmanager.googleapis.com] not enabled on project [p]. Would you like to enable and retry (y/N)?", "api-off"),
    ("ERROR: (gcloud.secrets.versions.add) INVALID_ARGUMENT: Secret Payload cannot be empty.", "secret-empty"),
    ("google.auth.exceptions.DefaultCredentialsError: Your default credentials were not found.", "no-credentials"),
    ("ERROR: (gcloud.auth.docker-helper) There was a problem refreshing your current auth tokens: x", "gcloud-session"),
    ("Invalid repo upstream for remote repository: 'cgr.dev'.", "upstream-unusable"),
    ("Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?", "docker-daemon"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "says"), OF_GCLOUD, ids=[one[1] for one in OF_GCLOUD])
def test_what_gcloud_docker_and_google_s_libraries_say_themselves_is_known(text, says):
    assert ids(explain(text)) == [says]


def shown_of_faults(document: str) -> list[tuple[str, str, str]]:
    """Each fault's cause and what docker or gcloud shows of it, from the table that `make faults` writes."""
    table = document.partition("<!-- faults: ")[2].partition("<!-- /faults -->")[0]
    pull = "$ docker pull us-central1-docker.pkg.dev/p/chainguard-private/example.com/go-fips:latest\n"
    return [
        (fault, cause[1], before + said[1])
        for fault, docker, gcloud, doctor in re.findall(r"^\| `(.+?)` \| (.+) \| (.+) \| (.+) \|$", table, re.MULTILINE)
        for before, cell in ((pull, docker), ("", gcloud))
        if (said := re.fullmatch(r"`(.+)`", cell)) and (cause := re.match(r"\[(.+?)\]", doctor))
    ]


def test_what_docker_and_gcloud_show_of_each_fault_has_its_cause_among_the_explanations():
    missing = [
        (fault, cause)
        for fault, cause, text in shown_of_faults((ROOT / "docs/diagnosis.md").read_text())
        if cause not in [code for one in explain(text).found for code, _, _ in one.causes]
    ]
    assert not missing


def test_every_message_is_reached_by_a_text():
    reached = {entry["says"] for entry in KNOWN} | {one[2] for one in IN_OTHER_WORDS} | {one[1] for one in OF_GCLOUD}
    assert {message.id for message in messages()} - reached == set()


def coloured(text: str) -> str:
    return re.sub(r"(\w+)", "\x1b[1;31m\\1\x1b[0m", text)


def wrapped(text: str) -> str:
    lines = [line[at : at + 80] for line in text.split("\n") for at in range(0, max(len(line), 1), 80)]
    return "\n".join([*lines, "x" * 80, "x" * 80])


def in_json(text: str) -> str:
    return json.dumps({"severity": "ERROR", "message": json.dumps({"textPayload": text})})


def in_a_mail(text: str) -> str:
    return "\n".join(f"> {line}" for line in text.split("\n"))


def in_a_log(text: str) -> str:
    before = "".join(f"2026-11-28T03:00:{at % 60:02}Z INFO step {at} is done\n" for at in range(300))
    return f"{before}{text}\n{before}"


def stamped(text: str) -> str:
    return "\n".join(f"2026-11-28T03:00:00.123Z {line}" for line in text.split("\n"))


def of_word(text: str) -> str:
    return text.replace('"', "\u201d").replace("'", "\u2019").replace(" ", "\u00a0").replace("\n", "\r\n")


FORMS: list[Callable[[str], str]] = [coloured, wrapped, in_json, in_a_mail, in_a_log, stamped, of_word]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_it_is_known_in_whichever_form_it_is_pasted(form):
    wrong = {
        named(one): ids(explain(form(one["text"])))
        for one in KNOWN
        if one["says"] not in ids(explain(form(one["text"])))
    }
    assert not wrong


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_in_no_form_is_what_is_somebody_else_s_taken_for_ours(form):
    assert not {named(one): found for one in ALIKE if (found := ids(explain(form(one["text"]))))}


def test_a_host_of_ours_further_up_makes_nobody_else_s_message_ours():
    pulled = "Status: Downloaded newer image for cgr.dev/chainguard/node:latest\n" + "Step 2: RUN true\n" * 12
    assert not {named(one): found for one in ALIKE if (found := ids(explain(pulled + one["text"])))}


# What any registry, proxy or resolver may say.
ANYBODY_S = st.sampled_from(
    [
        'Error response from daemon: Head "https://{}/v2/a/b/manifests/latest": denied',
        "failed to fetch anonymous token: unexpected status from GET request to https://{}/token?scope=x: 401 Unauthorized",
        "failed to fetch oauth token: unexpected status from GET request to https://{}/token: 403 Forbidden",
        'Get "https://{}/v2/": x509: certificate signed by unknown authority',
        'Get "https://{}/v2/": dial tcp: lookup {} on 10.0.0.2:53: no such host',
        'Get "https://{}/v2/": proxyconnect tcp: dial tcp: connection refused',
        'Failed to pull image "{}/a/b:1": rpc error: code = NotFound desc = {}/a/b:1: not found',
        "GET https://{}/v2/a/b/manifests/1: MANIFEST_UNKNOWN: manifest unknown",
        "GET https://{}/v2/a/b/manifests/1: TOOMANYREQUESTS: too many requests",
        "pull access denied for {}/a/b, repository does not exist or may require authorization",
        "unexpected status code 503 Service Unavailable: https://{}/v2/a/b/blobs/sha256:0",
        "docker pull {}/a/b:1\nError response from daemon: unauthorized: authentication required",
    ]
)  # fmt: skip
LABEL = st.from_regex(r"[a-z][a-z0-9]{2,10}", fullmatch=True)
FOREIGN = st.one_of(
    st.sampled_from(
        ["ghcr.io", "quay.io", "docker.io", "registry-1.docker.io", "123456789012.dkr.ecr.eu-west-1.amazonaws.com"]
    ),
    st.builds("{}.{}.example".format, LABEL, LABEL),
    st.builds("cgr.dev.{}.com".format, LABEL),
    st.builds("{}.example.com/cgr.dev".format, LABEL),
    st.builds("{}-npm.pkg.dev".format, LABEL),
)


@settings(max_examples=150, deadline=None)
@given(ANYBODY_S, FOREIGN)
def test_what_any_other_host_says_is_never_put_down_to_ours(template, host):
    assert ids(explain(template.replace("{}", host))) == []


@settings(max_examples=100, deadline=None)
@given(ANYBODY_S, st.sampled_from(["cgr.dev", "us-central1-docker.pkg.dev", "europe-docker.pkg.dev"]))
def test_the_same_of_a_host_of_ours_is_explained_and_names_it(template, host):
    explanation = explain(template.replace("{}", host))
    assert [found.host for found in explanation.found] == [host]


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=3000))
@example("")
@example("\x00\ud800")
@example("{}{0}{host}%s")
def test_random_text_is_unknown(text):
    assume(not re.fullmatch(r"[a-z-]+(/[a-z0-9-]+)?", text.strip()))  # hypothesis knows our codes from the sources
    assert ids(explain(text)) == []


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=3000))
def test_random_bytes_are_unknown(data):
    assert ids(explain(data.decode("latin-1"))) == []


@pytest.mark.parametrize(
    "text",
    [
        "a" * 500_000,
        "denied 403 error " * 30_000,
        "2026-11-28 failed to pull image: 403\n" * 15_000,
        "\\" * 300_000,
        '\\"' * 200_000,
        "\x1b[" * 200_000,
        "lookup " * 60_000,
        "a." * 200_000,
        "https://a.b.c.d/ " * 30_000,
        "PASSWORD" * 60_000,
        ("quota exceeded for quota metric " * 120 + "\n") * 60,
        "failed to validate remote upstream " * 10_000,
    ],
    ids=lambda text: text[:12].encode().hex(),
)
def test_no_text_takes_long(text):
    began = time.process_time()
    explain(text)
    assert time.process_time() - began < 10, "seconds for half a megabyte; it takes some tenths"


def test_the_line_that_matters_is_found_in_the_middle_of_much():
    much = "".join(f"INFO {at} all is well, {at * 7919 % 10007}\n" for at in range(20_000))
    line = 'Error response from daemon: Head "https://cgr.dev/v2/example.com/go/manifests/1": denied\n'
    assert ids(explain(much + line + much)) == ["cgr-forbidden"]


def test_names_of_the_text_are_in_the_commands_and_what_is_missing_stands_in_capitals():
    (found,) = explain(
        'Error response from daemon: Head "https://us-east1-docker.pkg.dev/v2/my-project/chainguard-private/example.com/python/'
        'manifests/3": denied'
    ).found
    assert found.commands == (
        "gcloud artifacts repositories get-iam-policy chainguard-private --project=my-project --location=us-east1",
    )
    (found,) = explain("Secret Version [projects/p/secrets/my-token/versions/7] is in DISABLED state.").found
    assert found.commands == ("gcloud secrets versions list my-token --project=p",)
    (found,) = explain('denied: {"errors":[{"code":"FORBIDDEN","message":"Forbidden"}]}').found
    assert found.commands[0] == "chainctl auth pull-token list --parent=ORGANIZATION"


@pytest.mark.parametrize("bad", ["$(id)", "`id`", "a;id", "a b", "a'b", "../x", "A" * 300, "é", "-x", "\x1b[2J"])
def test_nothing_of_the_text_gets_into_a_command_that_is_no_name(bad):
    text = f'Get "https://cgr.dev/v2/{bad}/{bad}/manifests/{bad}": denied: Permission "artifactregistry.repositories.downloadArtifacts" denied on resource "projects/{bad}/locations/{bad}/repositories/{bad}"'  # noqa: E501
    for found in explain(text).found:
        for command in found.commands:
            assert re.fullmatch(r"[\w./:=\[\]{}'\"$>&| -]+", command), command
            assert bad not in command or bad == "-x"


PASTES = [
    'docker login cgr.dev --username a/b --password {}\nError response from daemon: Get "https://cgr.dev/v2/": unknown: Forbidden',
    "export PASSWORD={}\necho -n $PASSWORD | gcloud secrets versions add x --data-file=-\nSecret Payload cannot be empty.",
    'denied: {{"errors":[{{"code":"FORBIDDEN","message":"Forbidden"}}]}} https://cgr.dev/token for {}',
    "Authorization: Bearer {}\nunexpected status from GET request to https://cgr.dev/token?scope=x: 403 Forbidden",
    "failed to fetch oauth token: unexpected status from GET request to https://u:{}@cgr.dev/token: 403 Forbidden",
    '{{"auths":{{"cgr.dev":{{"auth":"{}"}}}}}} Head "https://cgr.dev/v2/a/b/manifests/1": denied',
    "docker pull cgr.dev/example.com/{}:1\nError response from daemon: unauthorized: authentication required",
    'Permission "artifactregistry.repositories.downloadArtifacts" denied on resource "projects/{}/locations/us/repositories/r"',
]  # fmt: skip


@pytest.mark.parametrize("paste", PASTES, ids=range(len(PASTES)))
def test_a_secret_in_the_text_is_not_in_the_answer(paste):
    secret = jwt_like()
    explanation = explain(paste.format(secret))
    assert explanation.found
    for found in explanation.found:
        shown = repr((found.said, found.host, found.service, dict(found.named), found.commands, found.helps))
        assert not any(secret[at : at + 16].lower() in shown.lower() for at in range(0, len(secret) - 16, 8)), shown


def test_a_short_password_is_hidden_too_where_an_option_says_that_it_is_one():
    shown = explain(
        'docker login -p hunter2hunter cgr.dev: Get "https://cgr.dev/v2/hunter2hunter/a": unknown: Forbidden'
    ).found
    assert shown
    assert "hunter2hunter" not in repr([(found.said, found.commands, dict(found.named)) for found in shown])


def test_a_code_is_explained_by_itself():
    for message in messages():
        assert ids(explain(message.id)) == [message.id]


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        cli.main(["doctor", *words])
    return int(ended.value.code or 0), capsys.readouterr().out


DENIED = 'Error response from daemon: Head "https://cgr.dev/v2/example.com/go/manifests/1": denied\n'


def test_a_text_is_taken_as_an_argument_from_a_file_and_from_standard_input(capsys, monkeypatch, tmp_path):
    file = tmp_path / "pasted.txt"
    file.write_bytes(DENIED.encode("utf-16"))  # as PowerShell writes it
    answers = [said(capsys, "--explain", DENIED), said(capsys, "--explain", str(file))]
    for words in (["--explain", "-"], ["--explain"]):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(DENIED.encode())))
        answers.append(said(capsys, *words))
    assert {code for code, _ in answers} == {0}
    assert len({out for _, out in answers}) == 1
    out = answers[0][1]
    assert "cgr.dev says:" in out
    assert out.index("token-end/ended") < out.index("identity/revoked") < out.index("image/not-granted")
    assert "> chainctl images repos list --parent=example.com" in out
    assert "docs/diagnosis.md#token-end" in out


def test_unknown_is_said_with_the_host_that_nothing_is_known_of(capsys):
    code, out = said(capsys, "--explain", DENIED.replace("cgr.dev", "ghcr.io"))
    assert code == 5, "neither well nor explained"
    assert out.startswith("Unknown")
    assert "ghcr.io" in out


def test_a_program_is_told_the_same(capsys):
    code, out = said(capsys, "--json", "--explain", DENIED)
    answer = json.loads(out)
    assert (code, answer["known"]) == (0, True)
    [message] = answer["messages"]
    assert (message["code"], message["host"], message["service"]) == ("cgr-forbidden", "cgr.dev", "cgr.dev")
    assert message["causes"][0]["code"] == "token-end/ended"
    assert all(cause["why"] and cause["told_by"] and cause["remedy"] for cause in message["causes"])
    code, out = said(capsys, "--explain", "hello", "--json")
    assert (code, json.loads(out)["known"]) == (5, False)


def test_what_the_sandbox_says_is_read_by_what_its_addresses_play():
    text = DENIED.replace("https://cgr.dev", "http://127.0.0.1:4711")
    assert ids(explain(text)) == []
    (found,) = explain(text, {"127.0.0.1:4711": "cgr.dev"}).found
    assert (found.message.id, found.service) == ("cgr-forbidden", "cgr.dev")
    assert found.named["organization"] == "example.com"


def test_each_cause_is_one_of_the_doctor_s_and_its_page_is_there():
    pages = (Path(__file__).parents[2] / "docs" / "diagnosis.md").read_text()
    for message in messages():
        for cause, _ in message.causes:
            assert reason_of(cause).why
            assert f"\n### {cause.partition('/')[0]}\n" in pages


GAR = "us-central1-docker.pkg.dev"
DOWNLOAD = '"artifactregistry.repositories.downloadArtifacts"'
RESOURCE = 'on resource "projects/p/locations/us-central1/repositories/r" (or it may not exist)'
UPSTREAM_SAID = "Received invalid http status code {} from external repository; url=https://cgr.dev/v2/x/y/manifests/z."

# What a registry answers: host, where, status, code, text; and whether a login was sent.
REFUSALS: list[tuple[str, Literal["token", "/v2/"], int, str, str, bool]] = [
    ("cgr.dev", "token", 400, "BAD_REQUEST", "rpc error: code = InvalidArgument desc = unable to resolve ...", True),
    ("cgr.dev", "token", 403, "FORBIDDEN", "Forbidden", True),
    ("cgr.dev", "token", 401, "UNAUTHORIZED", "Authentication required", False),
    ("cgr.dev", "/v2/", 403, "FORBIDDEN", 'caller does not have the required capabilities at "x"', True),
    ("cgr.dev", "/v2/", 404, "NAME_UNKNOWN", 'repository does not exist "x"', True),
    ("cgr.dev", "/v2/", 404, "MANIFEST_UNKNOWN", "Unknown manifest", True),
    ("cgr.dev", "/v2/", 429, "", "", True),
    ("cgr.dev", "/v2/", 503, "", "", True),
    (GAR, "/v2/", 403, "DENIED", f"Permission {DOWNLOAD} denied {RESOURCE}", True),
    (GAR, "/v2/", 403, "DENIED", f"Unauthenticated requests do not have permission {DOWNLOAD} {RESOURCE}", True),
    (GAR, "/v2/", 401, "UNAUTHORIZED", "authentication failed", True),
    (GAR, "/v2/", 403, "DENIED", "Request is prohibited by organization's policy.", True),
    (GAR, "/v2/", 403, "SERVICE_DISABLED", "Artifact Registry API has not been used in project 1 before.", True),
    (GAR, "/v2/", 404, "NAME_UNKNOWN", 'Repository "r" not found', True),
    (GAR, "/v2/", 404, "MANIFEST_UNKNOWN", 'Failed to fetch "1"', True),
    (GAR, "/v2/", 404, "", UPSTREAM_SAID.format(404), True),
    (GAR, "/v2/", 502, "", UPSTREAM_SAID.format(401), True),
    (GAR, "/v2/", 502, "", "Received invalid redirect URL from external repository; url=https://cgr.dev/v2.", True),
    (GAR, "/v2/", 504, "", "Timeout while calling external repository; url=https://cgr.dev/v2/x.", True),
    (GAR, "/v2/", 503, "", "", True),
    (GAR, "/v2/", 429, "", "Resource has been exhausted (e.g. check quota).", True),
    (GAR, "/v2/", 403, "DENIED", "Secret Version [projects/1/secrets/s/versions/1] is in DISABLED state.", True),
    (GAR, "/v2/", 403, "DENIED", "Permission 'secretmanager.versions.access' denied for secret version", True),
]


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda one: f"{one[0]} {one[2]} {one[3]}")
def test_an_error_of_ours_carries_the_code_that_its_sentence_is_known_by(refusal):
    host, step, status, code, text, signed_in = refusal
    path = "p/r/example.com/go" if host == GAR else "example.com/go"
    error = refused(Refusal(host, step, f"{path}:latest", path, status, code, text, signed_in))
    assert error.code
    assert ids(explain(error.message)) == [error.code]
    assert ids(explain(error.code)) == [error.code]


# What Google's services answer: status, sentence, and ErrorInfo's reason.
ANSWERS = [
    (
        "PERMISSION_DENIED",
        "Permission 'artifactregistry.repositories.create' denied on resource '//x' (or it may not exist).",
    ),
    (
        "PERMISSION_DENIED",
        "Permission 'secretmanager.versions.access' denied for resource 'projects/p/secrets/s/versions/1'.",
    ),
    ("PERMISSION_DENIED", "Request is prohibited by organization's policy. vpcServiceControlsUniqueIdentifier: x"),
    ("PERMISSION_DENIED", "Secret Manager API has not been used in project 1 before or it is disabled."),
    ("FAILED_PRECONDITION", "Secret Version [projects/1/secrets/s/versions/3] is in DESTROYED state."),
    ("FAILED_PRECONDITION", "Secret Version [projects/1/secrets/s/versions/3] is in DISABLED state."),
    ("INVALID_ARGUMENT", "Service account service-1@gcp-sa-artifactregistry.iam.gserviceaccount.com does not exist."),
    (
        "INVALID_ARGUMENT",
        "Failed to validate remote upstream: failed to fetch bearer token; generic::unauthenticated: ...",
    ),
    ("INVALID_ARGUMENT", "Failed to validate remote upstream: not supported as custom remote repository URI"),
]


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda one: one[1][:40])
def test_so_does_an_error_of_google_s_services(answer, home):
    error = explain_answer(Answer(400, *answer), connect("sandbox"), "ask for it")
    assert error.code
    assert ids(explain(error.message)) == [error.code]


def test_an_error_that_was_made_from_another_has_its_code_and_a_person_is_told(monkeypatch, capfd):
    def failing() -> NoReturn:
        try:
            raise UpstreamCredentialsRefused("It has ended.", code="token-end/ended")
        except UpstreamCredentialsRefused as error:
            raise StepFailed("Nothing was pulled.", "Look.") from error

    with pytest.raises(StepFailed) as caught:
        failing()
    assert ErrorRecord.of(caught.value).code == "token-end/ended"
    monkeypatch.setattr("cgrunbook.cli.explanation_page.print_explained", lambda *_, **__: failing())
    with pytest.raises(SystemExit) as ended:
        cli.main(["doctor", "--explain", "x"])
    assert ended.value.code == 1
    assert "What may be behind it: cgrunbook doctor --explain token-end/ended" in capfd.readouterr().err
    monkeypatch.undo()
    code, out = said(capfd, "--explain", "token-end/ended")
    assert code == 0
    assert "token-end/ended: The token has ended." in out
    assert "> cgrunbook doctor --only token-end" in out


def test_every_code_that_an_error_can_carry_is_explained():
    package = Path(cli.__file__).parents[1]
    written = {
        code
        for folder in ("cloud", "steps")
        for path in (package / folder).glob("*.py")
        for code in re.findall(r'\bcode="([a-z/-]+)"', path.read_text())
    }
    assert len(written) > 25
    assert not {code for code in written if ids(explain(code)) != [code]}


def test_each_message_says_where_it_is_known_from_and_each_is_told_apart():
    assert len({message.id for message in messages()}) == len(messages())
    for message in messages():
        assert message.sources, message.id
        assert all(source.startswith("https://") for source in message.sources)
        assert message.at or message.by, message.id
        assert message.means.endswith(".")
        assert all(tell.endswith((".", ")")) for _, tell in message.causes)
