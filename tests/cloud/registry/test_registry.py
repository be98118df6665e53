"""Resolving, signing in, redirects and refusals."""

from __future__ import annotations

import base64
import secrets
import threading

import pytest

from cgrunbook.cloud.attempts import Attempts
from cgrunbook.cloud.connection import RegistryHost
from cgrunbook.cloud.registry import BasicCredentials, Registry
from cgrunbook.cloud.registry_sign_in import Challenge, parse_challenge
from cgrunbook.errors import (
    DigestMismatch,
    ImageNotAvailable,
    Interrupted,
    NotSignedIn,
    ParameterError,
    PrerequisiteMissing,
    RegistryError,
    Temporary,
    UpstreamCredentialsRefused,
)
from cgrunbook.image_reference import Platform
from cgrunbook.redaction import Secret

AMD64 = Platform("linux/amd64")
OTHER_DIGEST = "sha256:" + "0" * 64


def test_a_tag_is_resolved_with_one_head_request(double, connect):
    image = double.put_index()
    found = connect().resolve("chainguard/go", "latest")
    assert (found.digest, found.size, found.media_type) == (image["digest"], image["size"], image["mediaType"])
    assert [seen.method for seen in double.log] == ["HEAD"]


def test_all_four_manifest_types_are_always_accepted(double, connect):
    double.put_index()
    connect().resolve("chainguard/go", "latest")
    accepted = double.log[0].headers["accept"]
    assert sorted(part.strip() for part in accepted.split(",")) == [
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
    ]


def test_a_registry_without_head_is_asked_with_get(double, connect):
    image = double.put_index()
    double.twist("^HEAD", lambda request: request.reply(405), times=-1)
    assert connect().resolve("chainguard/go", "latest").digest == image["digest"]


def test_a_registry_that_names_no_digest_has_it_computed(double, connect):
    image = double.put_image()
    kind, body = double.manifests["chainguard/go", "latest"]
    double.twist("manifests", lambda request: request.reply(200, body, Content_Type=kind), times=-1)
    assert connect().resolve("chainguard/go", "latest").digest == image["digest"]


def test_a_digest_that_is_answered_with_another_is_a_mismatch(double, connect):
    double.put_image(tag="latest")
    kind, body = double.manifests["chainguard/go", "latest"]
    double.manifests["chainguard/go", OTHER_DIGEST] = (kind, body)
    with pytest.raises(DigestMismatch, match=OTHER_DIGEST):
        connect().resolve("chainguard/go", OTHER_DIGEST)


def test_a_missing_tag_is_explained_by_the_body_that_only_get_has(double, connect):
    with pytest.raises(ImageNotAvailable, match="404 MANIFEST_UNKNOWN: Unknown manifest") as caught:
        connect().resolve("chainguard/go", "1.25")
    assert caught.value.message.startswith("chainguard/go:1.25: cgr.dev/v2/ answered")
    assert caught.value.debugging == 3


def test_a_token_is_fetched_once_for_each_repository(double, connect):
    double.wants_a_token()
    for name in ("chainguard/go", "chainguard/static"):
        double.put_index(name)
    registry = connect(double.credentials())
    for name in ("chainguard/go", "chainguard/static", "chainguard/go"):
        registry.resolve(name, "latest")
    assert double.exchanges == 2
    scopes = [seen.path for seen in double.asked("/token")]
    assert all("service=cgr.dev" in scope for scope in scopes)
    assert ["go" in scope for scope in scopes] == [True, False]


def test_nobody_gets_a_token_for_a_public_image(double, connect):
    double.wants_a_token(anonymous=True)
    double.put_index()
    connect().resolve("chainguard/go", "latest")
    assert "authorization" not in double.asked("/token")[0].headers


def test_credentials_are_asked_for_anew_at_each_exchange(double, connect):
    double.wants_a_token()
    double.put_index("chainguard/go")
    double.put_index("chainguard/static")
    calls = []

    def fresh():
        calls.append(1)
        return double.credentials()

    registry = connect(fresh)
    registry.resolve("chainguard/go", "latest")
    registry.resolve("chainguard/static", "latest")
    assert len(calls) == 2


def test_a_token_that_expires_is_renewed_without_a_wait(double, connect, waits):
    double.wants_a_token()
    double.put_index()
    registry = connect(double.credentials())
    registry.resolve("chainguard/go", "latest")
    double.tokens.clear()
    registry.resolve("chainguard/go", "latest")
    assert double.exchanges == 2
    assert waits == []


def test_a_token_that_is_never_taken_ends_in_a_refusal_and_no_circle(double, connect):
    double.wants_a_token()
    double.put_index()
    double.twist("manifests", lambda request: double._ask(request, "chainguard/go"), times=-1)
    with pytest.raises(UpstreamCredentialsRefused, match="401 UNAUTHORIZED"):
        connect(double.credentials()).resolve("chainguard/go", "latest")
    assert double.exchanges <= 3


def test_a_registry_with_basic_authentication_gets_it(double, connect):
    double.put_index()
    double.scheme, double.username = "basic", "someone"
    registry = connect(double.credentials())
    assert registry.resolve("chainguard/go", "latest").digest
    assert double.exchanges == 0


def test_wrong_credentials_name_the_token_endpoint_and_what_it_said(double, connect):
    double.wants_a_token()
    double.put_index()
    wrong = BasicCredentials(double.username, Secret(secrets.token_hex(16)))
    with pytest.raises(UpstreamCredentialsRefused) as caught:
        connect(wrong).resolve("chainguard/go", "latest")
    assert "cgr.dev's token endpoint answered 403 FORBIDDEN: Forbidden" in caught.value.message
    assert wrong.password.reveal() not in f"{caught.value}{caught.value.__dict__}"


def test_a_private_image_without_credentials_is_not_called_a_wrong_password(double, connect):
    double.wants_a_token()
    with pytest.raises(ImageNotAvailable, match="not public"):
        connect().resolve("example.com/chainguard-base", "latest")


def test_an_unknown_organisation_is_named(double, connect):
    double.wants_a_token()
    message = "rpc error: code = InvalidArgument desc = unable to resolve nobody.example"
    double.twist("/token", lambda request: request.error(400, "BAD_REQUEST", message))
    with pytest.raises(ImageNotAvailable, match=r"organisation 'nobody\.example' is not known"):
        connect(double.credentials()).resolve("nobody.example/base", "latest")


def test_the_token_probe_answers_with_and_without_credentials(double, connect):
    double.wants_a_token()
    registry = connect(double.credentials())
    with_them = registry.probe_token("example.com/chainguard-base")
    without = registry.probe_token("example.com/chainguard-base", with_credentials=False)
    assert with_them.granted
    assert (without.status, without.code, without.message) == (401, "UNAUTHORIZED", "Authentication required")


def test_the_token_probe_finds_the_documented_endpoint_where_no_challenge_comes(double, connect):
    double.twist("/v2/$", lambda request: request.reply(404))
    assert connect().probe_token("chainguard/go").status == 200
    assert double.log[-1].path == "/token?service=cgr.dev&scope=repository%3Achainguard%2Fgo%3Apull"


def test_the_challenge_is_asked_once_and_a_token_that_a_probe_got_is_used(double, connect):
    double.wants_a_token()
    double.put_index()
    registry = connect(double.credentials())
    assert registry.probe_token("chainguard/static").granted
    assert registry.probe_token("chainguard/go").granted
    assert registry.resolve("chainguard/go", "latest").digest
    assert [seen.path.partition("?")[0] for seen in double.log] == [
        "/v2/",
        "/token",
        "/token",
        "/v2/chainguard/go/manifests/latest",
    ]


def test_a_challenge_that_did_not_come_is_asked_for_again(double, connect):
    double.wants_a_token()
    double.twist("GET /v2/$", lambda request: request.reply(503))
    registry = connect(double.credentials())
    for _ in range(3):
        registry.probe_token("chainguard/go")
    assert len(double.asked("GET /v2/")) == 2


def test_a_probe_that_is_refused_takes_the_token_of_before_away(double, connect):
    double.wants_a_token()
    double.put_index()
    registry = connect(double.credentials())
    registry.resolve("chainguard/go", "latest")
    double.password = secrets.token_hex(16)
    assert registry.probe_token("chainguard/go").status == 403
    with pytest.raises(UpstreamCredentialsRefused):
        registry.resolve("chainguard/go", "latest")


def access_token_of(double):
    double.scheme, double.anonymous, double.username = "bearer", False, "oauth2accesstoken"
    double.put_index()
    return double.credentials()


def test_google_takes_an_access_token_as_it_is(double, connect):
    credentials = access_token_of(double)
    double.takes_access_tokens = True
    registry = connect(lambda: credentials, name="us-central1-docker.pkg.dev")
    assert registry.pull("chainguard/go", "latest", AMD64).layers
    assert len(double.log) == 5
    assert double.exchanges == 0


def test_an_access_token_that_is_not_taken_as_it_is_is_exchanged(double, connect):
    credentials = access_token_of(double)
    elsewhere = {"WWW_Authenticate": 'Bearer realm="https://accounts.example.com/", error="invalid_token"'}
    double.twist("manifests", lambda request: request.error(401, "UNAUTHORIZED", "not taken", **elsewhere))
    registry = connect(lambda: credentials, name="us-central1-docker.pkg.dev")
    assert registry.resolve("chainguard/go", "latest").digest
    assert registry.resolve("chainguard/go", "latest").digest
    assert double.exchanges == 1
    assert len(double.log) == 5


class Ada:
    """A caller whose first access token was taken back before its time."""

    caller, sign_in = "user:ada@example.com", "Sign in: as Ada"
    just_enabled = staticmethod(lambda _api: False)

    def __init__(self, double):
        self.good = access_token_of(double)
        self.held = BasicCredentials(self.good.username, Secret(secrets.token_hex(16)))
        self.forgotten = []

    def credentials(self):
        return self.held

    def forget(self, token):
        self.forgotten.append(token)
        self.held = self.good


def test_an_access_token_that_is_refused_is_renewed_once(double, connect, waits):
    ada = Ada(double)
    double.twist("/token", lambda request: request.error(401, "UNAUTHENTICATED", "invalid"))
    registry = connect(ada.credentials, name="us-central1-docker.pkg.dev", whose=ada)
    assert registry.resolve("chainguard/go", "latest").digest
    assert registry.probe_token("chainguard/go").granted
    assert len(ada.forgotten) == 1
    assert waits == []


def test_a_second_refusal_of_an_access_token_is_final_and_names_the_caller(double, connect, waits):
    ada = Ada(double)
    double.twist("/token", lambda request: request.error(401, "UNAUTHENTICATED", "invalid"), times=-1)
    with pytest.raises(NotSignedIn, match=r"credentials of ada@example\.com") as caught:
        connect(ada.credentials, name="us-central1-docker.pkg.dev", whose=ada).resolve("chainguard/go", "latest")
    assert caught.value.remedy == "Sign in: as Ada"
    assert len(double.asked("/token")) == 2 * len(ada.forgotten)
    assert waits == []


@pytest.mark.parametrize("name", ["cgr.dev", "docker.pkg.dev.example.com", "evil-pkg.dev"])
def test_an_access_token_is_shown_unasked_to_google_alone(double, connect, name):
    credentials = access_token_of(double)
    connect(credentials, name=name).resolve("chainguard/go", "latest")
    assert "authorization" not in double.log[0].headers


def test_a_probe_that_is_answered_503_is_tried_again(double, connect, waits):
    double.twist("/token", lambda request: request.error(503, "UNAVAILABLE", "soon"))
    assert connect().probe_token("chainguard/go").granted
    assert len(waits) == 1


def test_credentials_never_go_to_a_realm_on_another_host(double, elsewhere, connect):
    double.wants_a_token()
    double.realm = f"{elsewhere.url}/token"
    with pytest.raises(RegistryError, match="were not sent"):
        connect(double.credentials()).resolve("chainguard/go", "latest")
    assert elsewhere.log == []


@pytest.mark.parametrize("realm", ["http://[", "ftp://cgr.dev/token", "http://127.0.0.1:99999999/token"])
def test_a_realm_that_is_no_address_is_an_error_in_words(double, connect, realm):
    double.wants_a_token()
    double.realm = realm
    with pytest.raises(RegistryError):
        connect(double.credentials()).resolve("chainguard/go", "latest")


def test_a_realm_with_the_registrys_real_name_is_asked_where_it_is_played(double, connect):
    double.wants_a_token()
    double.put_index()
    double.realm = "https://cgr.dev/token"
    assert connect(double.credentials()).resolve("chainguard/go", "latest").digest


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"token": ""}', b'{"token": 7}', b'{"token": "a\\nb"}', b"\xff"])
def test_a_token_answer_without_a_usable_token_is_an_error_in_words(double, connect, body):
    double.wants_a_token()
    double.twist("/token", lambda request: request.reply(200, body), times=-1)
    with pytest.raises(RegistryError, match="no token"):
        connect(double.credentials()).resolve("chainguard/go", "latest")


def test_oauths_name_for_the_token_is_understood(double, connect):
    double.wants_a_token()
    double.put_index()
    token = secrets.token_hex(8)
    double.tokens[token] = "chainguard/go"
    double.twist("/token", lambda request: request.reply(200, {"access_token": token}))
    assert connect(double.credentials()).resolve("chainguard/go", "latest").digest


def test_no_authorization_follows_a_redirect_to_another_host(double, elsewhere, connect):
    double.wants_a_token()
    image = double.put_image()
    elsewhere.blobs = double.blobs
    elsewhere.twist(
        "/signed/", lambda request: elsewhere.blob(request, request.path.rsplit("/", 1)[1].partition("?")[0]), times=-1
    )
    double.twist(
        r"GET /v2/.*/blobs/",
        lambda request: request.reply(
            307, Location=f"{elsewhere.url}/signed/{request.path.rsplit('/', 1)[1]}?signature={secrets.token_hex(8)}"
        ),
        times=-1,
    )
    registry = connect(double.credentials())
    pulled = registry.pull("chainguard/go", "latest", AMD64)
    assert pulled.digest == image["digest"] == registry.pull_again("chainguard/go", "latest", pulled).digest
    assert elsewhere.log[-1].headers["range"] == "bytes=0-0"
    assert all("authorization" not in seen.headers for seen in elsewhere.log)


def test_a_redirect_on_the_same_host_keeps_the_authorization(double, connect):
    double.wants_a_token()
    double.put_index()
    double.twist(
        "GET .*/manifests/latest", lambda request: request.reply(302, Location="/v2/chainguard/go/manifests/moved")
    )
    double.manifests["chainguard/go", "moved"] = double.manifests["chainguard/go", "latest"]
    registry = connect(double.credentials())
    registry.resolve("chainguard/go", "latest")
    registry.pull("chainguard/go", "latest", AMD64)
    (moved,) = double.asked("manifests/moved")
    assert moved.headers["authorization"].startswith("Bearer ")


def test_redirects_in_a_circle_end(double, connect):
    double.twist("manifests", lambda request: request.reply(302, Location=request.path), times=-1)
    with pytest.raises(RegistryError, match="redirects more than 5 times"):
        connect().resolve("chainguard/go", "latest")
    assert len(double.log) == 6


@pytest.mark.parametrize("target", ["http://[", "file:///etc/passwd", "http://:80/", "gopher://x/"])
def test_a_redirect_to_no_web_address_is_not_followed(double, connect, target):
    double.twist("manifests", lambda request: request.reply(302, Location=target), times=-1)
    with pytest.raises(RegistryError, match="redirects to"):
        connect().resolve("chainguard/go", "latest")


def test_a_refused_signed_link_is_asked_for_again(double, elsewhere, connect, waits):
    double.put_image()
    elsewhere.twist(".", lambda request: request.reply(403, b"<Error><Code>AccessDenied</Code></Error>"), times=-1)
    double.twist("GET .*/blobs/", lambda request: request.reply(307, Location=f"{elsewhere.url}/gone?signature=x"))
    assert connect().pull("chainguard/go", "latest", AMD64).layers
    assert len(waits) == 1


def test_a_429_waits_as_long_as_it_asks(double, connect, few_attempts, waits):
    double.put_index()
    double.twist("HEAD", lambda request: request.error(429, "TOOMANYREQUESTS", "slow down", Retry_After="7"))
    connect(with_attempts=few_attempts).resolve("chainguard/go", "latest")
    assert (waits[0].seconds, waits[0].reason) == (7.0, "cgr.dev, which asks for a pause")


def test_a_429_that_asks_for_more_than_the_limit_ends_at_once(double, connect, few_attempts, waits):
    double.twist("HEAD", lambda request: request.error(429, "TOOMANYREQUESTS", "slow", Retry_After="3600"), times=-1)
    with pytest.raises(RegistryError, match="wait 3600 s") as caught:
        connect(with_attempts=few_attempts).resolve("chainguard/go", "latest")
    assert not isinstance(caught.value, Temporary)
    assert waits == []


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_what_passes_is_tried_until_the_limit_and_then_says_how_long(double, connect, few_attempts, waits, status):
    double.twist("manifests", lambda request: request.error(status, "UNAVAILABLE", "later"), times=-1)
    with pytest.raises(Temporary, match="Tried") as caught:
        connect(with_attempts=few_attempts).resolve("chainguard/go", "latest")
    assert str(status) in caught.value.message
    assert len(waits) >= 2


def test_a_connection_that_nobody_takes_is_temporary_and_says_where(few_attempts):
    registry = Registry(RegistryHost("cgr.dev", "127.0.0.1:1", "http"), None, few_attempts, timeout=5)
    with pytest.raises(Temporary, match=r"connection to cgr\.dev failed"):
        registry.resolve("chainguard/go", "latest")


def test_a_name_that_does_not_exist_is_not_tried_again(few_attempts, waits):
    registry = Registry(RegistryHost("cgr.dev", "no-such-host.invalid", "http"), None, few_attempts, timeout=5)
    with pytest.raises(RegistryError) as caught:
        registry.resolve("chainguard/go", "latest")
    if not isinstance(caught.value, Temporary):  # a machine without any resolver cannot tell
        assert waits == []
        assert "not known here" in caught.value.message


def test_a_proxy_whose_address_is_none_is_not_tried_again(few_attempts, waits, monkeypatch):
    monkeypatch.setenv("http_proxy", "foo://proxy.invalid")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    registry = Registry(RegistryHost("registry.invalid", "registry.invalid", "http"), None, few_attempts)
    with pytest.raises(PrerequisiteMissing, match="http_proxy names a proxy that cannot be used"):
        registry.resolve("chainguard/go", "latest")
    assert waits == []


def test_a_certificate_that_is_not_trusted_is_no_network_failure(double, few_attempts, waits):
    registry = Registry(RegistryHost("cgr.dev", double.address, "https"), None, few_attempts, timeout=5)
    with pytest.raises(RegistryError, match="TLS"):
        registry.resolve("chainguard/go", "latest")
    assert waits == []


def test_what_keeps_a_blobs_host_away_for_good_names_that_host(double, elsewhere, connect, waits):
    double.put_image()
    target = f"https://{elsewhere.address}/gone"
    # No TLS is spoken there.
    double.twist("GET .*/blobs/", lambda request: request.reply(307, Location=target), times=-1)
    with pytest.raises(RegistryError, match=f"no TLS connection with {elsewhere.address} could") as caught:
        connect().pull("chainguard/go", "latest", AMD64)
    assert not isinstance(caught.value, Temporary)
    assert waits == []


def test_a_cancelled_caller_sends_nothing(double, connect):
    event = threading.Event()
    event.set()
    with pytest.raises(Interrupted):
        connect(with_attempts=Attempts(cancelled=event)).resolve("chainguard/go", "latest")
    assert double.log == []


def test_a_proxy_of_the_environment_is_not_asked_for_loopback(double, connect, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    double.put_index()
    assert connect().resolve("chainguard/go", "latest").digest


def test_a_proxy_of_the_environment_gets_the_requests_for_other_hosts(double, attempts, monkeypatch):
    image = double.put_index()
    monkeypatch.setenv("http_proxy", double.url)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    kind, body = double.manifests["chainguard/go", "latest"]
    double.twist(
        "HEAD http://registry.invalid/v2/",
        lambda request: request.reply(200, body, Content_Type=kind, Docker_Content_Digest=image["digest"]),
    )
    registry = Registry(RegistryHost("registry.invalid", "registry.invalid", "http"), None, attempts)
    assert registry.resolve("chainguard/go", "latest").digest == image["digest"]


def test_a_proxys_password_is_sent_as_it_was_meant(double, attempts, monkeypatch):
    monkeypatch.setenv("http_proxy", f"http://me:a%40b@{double.address}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    registry = Registry(RegistryHost("registry.invalid", "registry.invalid", "http"), None, attempts)
    with pytest.raises(ImageNotAvailable):
        registry.resolve("chainguard/go", "latest")
    assert double.log[0].headers["proxy-authorization"] == f"Basic {base64.b64encode(b'me:a@b').decode()}"


@pytest.mark.parametrize("username", ["", "a:b", "a\nb", "a\r\nX-Injected: 1"])
def test_a_username_that_cannot_be_sent_is_refused_before_any_call(username):
    with pytest.raises(ParameterError):
        BasicCredentials(username, Secret(secrets.token_hex(8)))


def test_an_empty_password_is_refused_before_any_call():
    with pytest.raises(ParameterError, match="empty"):
        BasicCredentials("someone", Secret(""))


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (
            'Bearer realm="https://cgr.dev/token",service="cgr.dev",scope="repository:chainguard/node:pull"',
            Challenge("bearer", "https://cgr.dev/token", "cgr.dev", "repository:chainguard/node:pull"),
        ),
        ('Bearer realm="https://h/v2/token"', Challenge("bearer", "https://h/v2/token", "", "")),
        ('bearer realm=https://h/token , service = "a b"', Challenge("bearer", "https://h/token", "a b", "")),
        ('Basic realm="x, y", Bearer realm="https://h/t"', Challenge("bearer", "https://h/t", "", "")),
        ('Basic realm="say \\"hello\\""', Challenge("basic", "", "", "")),
        ("Basic", Challenge("basic", "", "", "")),
        ("", None),
        ("Negotiate", None),
        ('Bearer service="cgr.dev"', None),
    ],
)
def test_challenges_are_read(header, expected):
    assert parse_challenge(header) == expected
