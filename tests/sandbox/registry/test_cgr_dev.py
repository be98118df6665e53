"""cgr.dev as Chainguard documents it."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta
from urllib.parse import urlsplit

import pytest

BASE = "example.com/chainguard-base"


def error(answer):
    return answer.status_code, answer.json()["errors"][0]["code"], answer.json()["errors"][0]["message"]


def test_without_a_token_it_challenges(world):
    answer = world.http.get(f"{world.cgr}/v2/chainguard/go/manifests/latest")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == (
        f'Bearer realm="{world.cgr}/token",service="cgr.dev",scope="repository:chainguard/go:pull"'
    )
    root = world.http.get(f"{world.cgr}/v2/")
    assert root.status_code == 401
    assert root.headers["www-authenticate"] == f'Bearer realm="{world.cgr}/token",service="cgr.dev"'


def test_a_free_image_is_pulled_by_anybody(world):
    headers = world.token("chainguard/go")
    answer = world.http.get(f"{world.cgr}/v2/chainguard/go/manifests/latest", headers=headers)
    assert answer.headers["content-type"] == "application/vnd.oci.image.index.v1+json"
    assert answer.headers["docker-content-digest"] == f"sha256:{hashlib.sha256(answer.content).hexdigest()}"
    head = world.http.head(f"{world.cgr}/v2/chainguard/go/manifests/latest", headers=headers)
    assert head.content == b""
    assert head.headers["content-length"] == str(len(answer.content))
    tag = answer.headers["etag"]
    unchanged = world.http.get(
        f"{world.cgr}/v2/chainguard/go/manifests/latest", headers={**headers, "If-None-Match": tag}
    )
    assert unchanged.status_code == 304


def test_the_public_sees_latest_and_latest_dev_only(world):
    for auth in (None, world.pull_token().auth):
        headers = world.token("chainguard/go", auth)
        tags = world.http.get(f"{world.cgr}/v2/chainguard/go/tags/list", headers=headers)
        assert tags.json() == {"name": "chainguard/go", "tags": ["latest", "latest-dev"]}
        hidden = world.http.get(f"{world.cgr}/v2/chainguard/go/manifests/1.25.3", headers=headers)
        assert error(hidden) == (404, "MANIFEST_UNKNOWN", "Unknown manifest")


def test_an_older_digest_of_a_free_image_stays_pullable(world):
    from cgrunbook.sandbox.registry.images import sample_repositories

    digest = sample_repositories()["chainguard/go"].tags["1.25.3"]
    headers = world.token("chainguard/go")
    assert world.http.get(f"{world.cgr}/v2/chainguard/go/manifests/{digest}", headers=headers).status_code == 200


def test_a_private_image_is_pulled_with_a_pull_token(world):
    headers = world.token(BASE, world.pull_token().auth)
    index = world.http.get(f"{world.cgr}/v2/{BASE}/manifests/latest", headers=headers).json()
    platform = index["manifests"][0]["digest"]
    manifest = world.http.get(f"{world.cgr}/v2/{BASE}/manifests/{platform}", headers=headers).json()
    for part in (manifest["config"], *manifest["layers"]):
        redirect = world.http.get(f"{world.cgr}/v2/{BASE}/blobs/{part['digest']}", headers=headers)
        assert redirect.status_code == 307
        blob_host = "9236a389bd48b984df91adc1bc924620.r2.cloudflarestorage.com"
        assert urlsplit(redirect.headers["location"]).netloc == world.running.hosts[blob_host]
        blob = world.http.get(redirect.headers["location"])
        assert f"sha256:{hashlib.sha256(blob.content).hexdigest()}" == part["digest"]
        assert len(blob.content) == part["size"]


def test_the_token_end_point_tells_its_four_answers_apart(world):
    private = f"repository:{BASE}:pull"
    assert error(world.token_answer(private)) == (401, "UNAUTHORIZED", "Authentication required")
    assert error(world.token_answer("repository:no-such-org/go:pull")) == (
        400,
        "BAD_REQUEST",
        'rpc error: code = InvalidArgument desc = unable to resolve "no-such-org/go"',
    )
    assert error(world.token_answer("repository:example.com/no-such-image:pull")) == (403, "FORBIDDEN", "Forbidden")
    assert world.token_answer(private, world.pull_token().auth).json().keys() == {"token"}


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda token: ("trainee@example.com", token.password), id="e-mail as user name"),
        pytest.param(lambda token: ("example.com", token.password), id="organisation as user name"),
        pytest.param(lambda token: (token.username, token.password + "\n"), id="newline after the password"),
        pytest.param(lambda token: (token.username, token.password[:-8] + "AAAAAAAA"), id="forged signature"),
        pytest.param(lambda token: (token.username, ""), id="no password"),
        pytest.param(lambda token: (token.username[::-1], token.password), id="another identity"),
    ],
)
def test_wrong_credentials_are_forbidden_without_a_reason_even_for_a_free_image(world, spoil):
    auth = spoil(world.pull_token())
    for repository in (BASE, "chainguard/go"):
        answer = world.token_answer(f"repository:{repository}:pull", auth)
        assert error(answer) == (403, "FORBIDDEN", "Forbidden")


def test_a_token_of_another_pair_is_refused(world):
    first, second = world.pull_token(), world.pull_token()
    assert world.token_answer(f"repository:{BASE}:pull", (second.username, first.password)).status_code == 403


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://elsewhere.example"},
        {"aud": "cgr.dev"},
        {"sub": "somebody"},
        {"exp": 1},
        {"iat": 4102444800},
        {"exp": "x"},
    ],
)
def test_a_pull_token_must_carry_the_documented_claims(world, claims):
    assert world.token_answer(f"repository:{BASE}:pull", world.pull_token(**claims).auth).status_code == 403


def test_an_expired_and_a_revoked_token_are_told_apart_by_nothing(world):
    expiring, revoked = world.pull_token(ttl=timedelta(hours=1)), world.pull_token()
    assert world.token_answer(f"repository:{BASE}:pull", expiring.auth).status_code == 200
    world.revoke(revoked)
    world.advance(hours=1)
    answers = {error(world.token_answer(f"repository:{BASE}:pull", token.auth)) for token in (expiring, revoked)}
    assert answers == {(403, "FORBIDDEN", "Forbidden")}


def test_a_bearer_token_is_for_one_repository(world):
    headers = world.token(BASE, world.pull_token().auth)
    other = world.http.get(f"{world.cgr}/v2/example.com/go-fips/manifests/latest", headers=headers)
    assert error(other) == (403, "FORBIDDEN", "Forbidden")
    both = {"scope": [f"repository:{BASE}:pull", "repository:example.com/go-fips:pull"]}
    assert world.http.get(f"{world.cgr}/token", params=both).status_code == 403


def test_a_bearer_token_is_short_lived(world):
    headers = world.token("chainguard/go")
    world.advance(minutes=11)
    assert world.http.get(f"{world.cgr}/v2/chainguard/go/manifests/latest", headers=headers).status_code == 401


def test_an_image_that_was_not_bought_is_refused_at_the_registry(world):
    headers = world.token("example.com/python-fips", world.pull_token().auth)
    answer = world.http.get(f"{world.cgr}/v2/example.com/python-fips/manifests/latest", headers=headers)
    message = 'caller does not have the required capabilities at "example.com/python-fips"'
    assert error(answer) == (403, "FORBIDDEN", message)


def test_an_identity_that_may_not_pull_is_refused_at_the_registry(world):
    token = world.pull_token()
    headers = world.token(BASE, token.auth)
    with world.inside.state.transaction() as rows:
        rows.execute("DELETE FROM cg_binding WHERE identity = ?", (token.username,))
    answer = world.http.get(f"{world.cgr}/v2/{BASE}/manifests/latest", headers=headers)
    assert error(answer)[:2] == (403, "FORBIDDEN")


def test_a_repository_that_went_away_is_unknown(own_world):
    headers = own_world.token(BASE, own_world.pull_token().auth)
    own_world.catalog.withdraw(BASE)
    answer = own_world.http.get(f"{own_world.cgr}/v2/{BASE}/manifests/latest", headers=headers)
    assert error(answer) == (404, "NAME_UNKNOWN", f'repository does not exist "{BASE}"')


def test_unknown_tags_and_blobs_say_so(world):
    headers = world.token(BASE, world.pull_token().auth)
    manifest = world.http.get(f"{world.cgr}/v2/{BASE}/manifests/9.9", headers=headers)
    assert error(manifest) == (404, "MANIFEST_UNKNOWN", "Unknown manifest")
    blob = world.http.get(f"{world.cgr}/v2/{BASE}/blobs/sha256:{'0' * 64}", headers=headers)
    assert error(blob)[:2] == (404, "BLOB_UNKNOWN")


def test_tags_are_listed_in_pages(world):
    headers = world.token("example.com/go-fips", world.pull_token().auth)
    found, path = [], "/v2/example.com/go-fips/tags/list?n=2"
    for _ in range(5):
        answer = world.http.get(world.cgr + path, headers=headers)
        found.append(answer.json()["tags"])
        if "next" not in answer.links:
            break
        path = answer.links["next"]["url"]
    assert found == [["1.25", "1.25-dev"], ["1.25.4", "latest"], ["latest-dev"]]
    bad = world.http.get(f"{world.cgr}/v2/example.com/go-fips/tags/list?n=x", headers=headers)
    assert bad.status_code == 400


def test_the_catalogue_lists_what_the_organisation_bought(world):
    assert world.token_answer("registry:catalog:*").status_code == 401
    token = world.token_answer("registry:catalog:*", world.pull_token().auth).json()["token"]
    answer = world.http.get(f"{world.cgr}/v2/_catalog", headers={"Authorization": f"Bearer {token}"})
    assert answer.json() == {"repositories": ["example.com/chainguard-base", "example.com/go-fips"]}


def test_referrers_name_what_refers_to_an_image_and_are_empty_for_the_rest(world):
    headers = world.token("chainguard/go")
    index = world.http.get(f"{world.cgr}/v2/chainguard/go/manifests/latest", headers=headers)
    base = f"{world.cgr}/v2/chainguard/go/referrers"
    found = world.http.get(f"{base}/{index.headers['docker-content-digest']}", headers=headers)
    assert found.headers["content-type"] == "application/vnd.oci.image.index.v1+json"
    kinds = {one["artifactType"] for one in found.json()["manifests"]}
    assert kinds == {"application/spdx+json", "application/vnd.dev.sigstore.bundle.v0.3+json"}
    (descriptor,) = [one for one in found.json()["manifests"] if one["artifactType"] == "application/spdx+json"]
    referrer = world.http.get(f"{world.cgr}/v2/chainguard/go/manifests/{descriptor['digest']}", headers=headers)
    assert json.loads(referrer.content)["subject"]["digest"] == index.headers["docker-content-digest"]
    filtered = world.http.get(
        f"{base}/{index.headers['docker-content-digest']}?artifactType=application/other", headers=headers
    )
    assert filtered.json()["manifests"] == []
    assert filtered.headers["oci-filters-applied"] == "artifactType"
    assert world.http.get(f"{base}/sha256:{'0' * 64}", headers=headers).json()["manifests"] == []


def blob_link(world):
    headers = world.token("chainguard/go")
    index = world.http.get(f"{world.cgr}/v2/chainguard/go/manifests/latest", headers=headers).json()
    manifest = world.http.get(
        f"{world.cgr}/v2/chainguard/go/manifests/{index['manifests'][0]['digest']}", headers=headers
    ).json()
    layer = manifest["layers"][0]
    answer = world.http.get(f"{world.cgr}/v2/chainguard/go/blobs/{layer['digest']}", headers=headers)
    return answer.headers["location"], layer


def test_a_blob_link_serves_ranges_and_conditions(world):
    link, layer = blob_link(world)
    whole = world.http.get(link).content
    part = world.http.get(link, headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, whole[10:20])
    assert part.headers["content-range"] == f"bytes 10-19/{layer['size']}"
    assert world.http.get(link, headers={"Range": "bytes=-5"}).content == whole[-5:]
    assert world.http.get(link, headers={"Range": f"bytes={layer['size']}-"}).status_code == 416
    assert world.http.get(link, headers={"If-None-Match": f'"{layer["digest"]}"'}).status_code == 304
    stale = world.http.get(link, headers={"Range": "bytes=0-1", "If-Range": '"another"'})
    assert (stale.status_code, stale.content) == (200, whole)
    head = world.http.head(link)
    assert (head.content, head.headers["content-length"]) == (b"", str(layer["size"]))


def test_a_blob_link_ends_and_cannot_be_forged(world):
    link, layer = blob_link(world)
    other = link.replace(layer["digest"][7:15], "00000000")
    assert "SignatureDoesNotMatch" in world.http.get(other).text
    longer = link.replace("X-Amz-Expires=300", "X-Amz-Expires=999999")
    assert world.http.get(longer).status_code == 403
    world.advance(minutes=6)
    late = world.http.get(link)
    assert (late.status_code, "Request has expired" in late.text) == (403, True)
    assert late.headers["content-type"] == "application/xml"


@pytest.mark.parametrize("method", ["PUT", "POST", "PATCH", "DELETE"])
def test_nothing_can_be_pushed(world, method):
    url = f"{world.cgr}/v2/chainguard/go/manifests/latest"
    assert world.http.request(method, url).status_code == 401
    headers = world.token("chainguard/go")
    assert world.http.request(method, url, headers=headers, content=b"{}").status_code == 403
    uploads = f"{world.cgr}/v2/chainguard/go/blobs/uploads/"
    assert world.http.request(method, uploads, headers=headers).status_code == 403


def test_clients_that_post_for_a_token_are_sent_back_to_get(world):
    assert world.http.post(f"{world.cgr}/token", data={"grant_type": "password"}).status_code == 405


def test_a_short_lived_registry_login_works_as_a_person(world):
    session = world.sessions.exchange(world.operator, "cgr.dev")[0]
    headers = world.token(BASE, ("_token", session))
    assert world.http.get(f"{world.cgr}/v2/{BASE}/manifests/latest", headers=headers).status_code == 200
    other_audience = world.sessions.exchange(world.operator, "https://console-api.enforce.dev")[0]
    assert world.token_answer(f"repository:{BASE}:pull", ("_token", other_audience)).status_code == 403
