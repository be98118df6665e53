"""What the probe asks: a list of named calls, in their order.

A call that needs what an earlier one did not bring is not asked, and the file says so. What a call may make has one of the
`Names`, and is written down before the call goes out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.probe.sending import Answer

LABEL = "cgrunbook-probe"
_IMAGE = "chainguard/static"
_OTHER_IMAGE = "chainguard/go"
_INDEX = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json"
_DOCKER_ONLY = "application/vnd.docker.distribution.manifest.v2+json"


def names(suffix: str) -> dict[str, str]:
    """What the calls' braces stand for, of one walk: all that it makes has the suffix in its name."""
    base = f"{LABEL}-{suffix}"
    repositories = ("public", "private", "virtual", "behind", "path", "unread", "gone", "nothing")
    return {name: f"{base}-{name}" for name in repositories} | {
        "suffix": suffix,
        "secret": base,
        "noticed": f"{base}-noticed",
        "absent": f"{base}-absent",
    }


@dataclass(frozen=True)
class Outcome:
    """What came of a call.

    Args:
        answer: the service's, or the last look at the operation that it began.
        said: a refusal's sentence as it is written down; "" where it was none, or said nothing.
    """

    answer: Answer
    said: str

    @property
    def refused(self) -> bool:
        """Whether nothing came of it."""
        return self.answer.status >= 400 or bool(self.answer.found("error.message"))


#: What came of the calls so far, by their names.
Past = Mapping[str, Outcome]


@dataclass(frozen=True)
class Call:
    """One question to one service.

    Args:
        name: stays the same for ever: files are compared by it, and docs/services.md names it.
        request: method, host (a key of `Sender.bases`) and path, or "RUN chainctl" and its words; those in braces are `names`,
            `project`, `registry_project` (as registries write it), `location`, `organization`, `number`, or kept.
        body: JSON, with braces in its texts.
        who: as for `Sender.send`; "kept:NAME" for a token or a pair that was kept.
        headers: in addition to the usual.
        keeps: names for what later calls need, each with where it is (`Answer.found`).
        makes: kind and name of what has to be taken away, as `take_away` knows them.
        when: whether it is asked, by what came before.
        again: whether it is asked once more, in some seconds: for what takes a moment. The last answer counts, and how long
            it took.
        shown: as for `Words.answer`.
        vital: whether the walk ends where it is refused.
    """

    name: str
    request: str
    body: Any = None
    who: str = "caller"
    headers: Mapping[str, str] = field(default_factory=dict)
    keeps: Mapping[str, str] = field(default_factory=dict)
    makes: str = ""
    when: Callable[[Past], bool] = lambda _past: True
    again: Callable[[Outcome, Past], bool] = lambda _outcome, _past: False
    shown: str = "texts"
    vital: bool = False


def _off(call: str) -> Callable[[Past], bool]:
    return lambda past: past[call].answer.disabled


def _disabled(outcome: Outcome, _past: Past) -> bool:
    return outcome.answer.disabled


def _too_early(turned_on: str) -> Callable[[Outcome, Past], bool]:
    """An API that was just turned on refuses for a moment."""
    return lambda outcome, past: outcome.answer.status == 403 and turned_on in past


def _not_yet(outcome: Outcome, _past: Past) -> bool:
    """IAM does not know the agent."""
    return outcome.answer.status == 400 and "does not exist" in outcome.said


def _granted(outcome: Outcome, _past: Past) -> bool:
    return outcome.answer.status == 200


def _as(call: str) -> Callable[[Outcome, Past], bool]:
    """What is said is as at an earlier call: a grant has not reached everywhere."""
    return lambda outcome, past: call in past and bool(outcome.said) and outcome.said == past[call].said


_PROJECT = "/v1/projects/{project}"
_LOCATION = f"{_PROJECT}/locations/{{location}}"
_REPOSITORIES = f"{_LOCATION}/repositories"
_PUBLIC, _PRIVATE = f"{_REPOSITORIES}/{{public}}", f"{_REPOSITORIES}/{{private}}"
_SECRET = f"{_PROJECT}/secrets/{{secret}}"
_SECRET_NAME = "projects/{project}/secrets/{secret}"
_THROUGH = "/v2/{registry_project}/{public}"
_AGENT = "serviceAccount:service-{number}@gcp-sa-artifactregistry.iam.gserviceaccount.com"
_STRANGER = f"{'0' * 40}/{'0' * 16}"
_PAIR = "remoteRepositoryConfig.upstreamCredentials.usernamePasswordCredentials"


def _marked(**fields: Any) -> dict[str, Any]:
    return {"labels": {LABEL: "{suffix}"}} | fields


def _remote(uri: str, **config: Any) -> dict[str, Any]:
    return _marked(
        format="DOCKER",
        mode="REMOTE_REPOSITORY",
        description="Made by cgrunbook's probe, and taken away by it.",
        vulnerabilityScanningConfig={"enablementConfig": "DISABLED"},  # scanning is charged by the image
        remoteRepositoryConfig={"commonRepository": {"uri": uri}, "description": "as it was made"} | config,
    )


def _pair(version: str, username: str = _STRANGER) -> dict[str, Any]:
    pair = {"username": username, "passwordSecretVersion": version}
    return {"upstreamCredentials": {"usernamePasswordCredentials": pair}}


def _granted_to(member: str) -> dict[str, Any]:
    return {"policy": {"bindings": [{"role": "roles/secretmanager.secretAccessor", "members": [member]}]}}


def _create(repository: str) -> str:
    return f"POST artifactregistry {_REPOSITORIES}?repositoryId={{{repository}}}"


def _patch(name: str, version: str, username: str = _STRANGER, *, validated: bool = False, **more: Any) -> Call:
    """Another pair for the private repository, by the mask of gcloud and Terraform."""
    config = _pair(version, username) | ({} if validated else {"disableUpstreamValidation": True})
    mask = f"{_PAIR}.username,{_PAIR}.passwordSecretVersion"
    request = f"PATCH artifactregistry {_PRIVATE}?updateMask={mask}"
    return Call(name, request, _remote("https://cgr.dev", **config), **more)


def _pull(name: str, repository: str, reference: str = "latest", image: str = _IMAGE, **more: Any) -> Call:
    more = {"headers": {"Accept": _INDEX}, "shown": "status"} | more
    return Call(name, f"GET docker /v2/{{registry_project}}/{{{repository}}}/{image}/manifests/{reference}", **more)


_ENABLED = [
    Call(
        f"{name}-is-on",
        f"GET {host} {_PROJECT}/{what}?pageSize=1",
        shown="status",
    )
    for name, host, what in (
        ("artifact-registry", "artifactregistry", "locations"),
        ("secret-manager", "secretmanager", "secrets"),
    )
] + [
    call
    for name, host, what in (
        ("artifact-registry", "artifactregistry", "locations"),
        ("secret-manager", "secretmanager", "secrets"),
    )
    for call in (
        Call(
            f"{name}-turned-on",
            f"POST serviceusage {_PROJECT}/services/{host}.googleapis.com:enable",
            {},
            makes=f"api {host}.googleapis.com",
            when=_off(f"{name}-is-on"),
            vital=True,
        ),
        Call(
            f"{name}-once-it-is-on",
            f"GET {host} {_PROJECT}/{what}?pageSize=1",
            when=_off(f"{name}-is-on"),
            again=_disabled,
            shown="status",
        ),
    )
]

_PROJECT_CALLS = [
    Call(
        "project",
        "GET cloudresourcemanager /v3/projects/{project}",
        keeps={"number_name": "name"},
        shown="shape",
    ),
    Call(
        "service-in-part",
        f"GET serviceusage {_PROJECT}/services/artifactregistry.googleapis.com?fields=name,parent,state",
    ),
    *_ENABLED,
    Call("location-unknown", f"GET artifactregistry {_PROJECT}/locations/nowhere-1/repositories/{{nothing}}"),
    Call(
        "create-in-unknown-location",
        f"POST artifactregistry {_PROJECT}/locations/nowhere-1/repositories?repositoryId={{nothing}}",
        _remote("https://cgr.dev"),
    ),
    Call(
        "repositories-of-all-locations",
        f"GET artifactregistry {_PROJECT}/locations/-/repositories?pageSize=1",
        shown="status",
    ),
    Call("repository-missing", f"GET artifactregistry {_REPOSITORIES}/{{nothing}}"),
    Call("project-missing", "GET artifactregistry /v1/projects/{absent}/locations/{location}/repositories/{nothing}"),
    Call(
        "charged-to-a-missing-project",
        f"GET artifactregistry {_REPOSITORIES}/{{nothing}}",
        headers={"x-goog-user-project": "{absent}"},
    ),
    Call("perimeter", f"GET artifactregistry {_LOCATION}/vpcscConfig"),
]

_PUBLIC_CALLS = [
    Call(
        "create-public",
        _create("public"),
        _remote("https://cgr.dev/"),
        makes="repository {location}/{public}",
        again=_too_early("artifact-registry-turned-on"),
        vital=True,
    ),
    Call("public-as-it-is-read", f"GET artifactregistry {_PUBLIC}"),
    Call(
        "create-with-an-id-that-is-none",
        f"POST artifactregistry {_REPOSITORIES}?repositoryId=Not_An_Id",
        _remote("https://cgr.dev"),
    ),
    Call("create-public-again", _create("public"), _remote("https://cgr.dev/")),
    Call(
        "create-with-a-path",
        _create("path"),
        _remote("https://cgr.dev/chainguard"),
        makes="repository {location}/{path}",
    ),
    Call(
        "change-the-upstream",
        f"PATCH artifactregistry {_PUBLIC}?updateMask=remoteRepositoryConfig.commonRepository.uri",
        _remote("https://registry.example.com"),
    ),
    Call(
        "change-the-upstreams-description",
        f"PATCH artifactregistry {_PUBLIC}?updateMask=remoteRepositoryConfig.description",
        _remote("https://cgr.dev/", description="another"),
    ),
    Call("change-the-mode", f"PATCH artifactregistry {_PUBLIC}?updateMask=mode", {"mode": "STANDARD_REPOSITORY"}),
    Call(
        "change-with-an-unknown-mask",
        f"PATCH artifactregistry {_PUBLIC}?updateMask=noSuchField",
        {"description": "another"},
    ),
    Call(
        "change-labels",
        f"PATCH artifactregistry {_PUBLIC}?updateMask=labels",
        _marked() | {"labels": {"Not Valid": "x"}},
    ),
]

_PULLS = [
    Call("challenge", "GET docker /v2/", who="nobody"),
    _pull("challenge-of-an-image", "public", who="nobody"),
    Call("catalog", "GET docker /v2/_catalog?n=1", shown="status"),
    Call("token", "GET docker /v2/token", who="docker", shown="shape"),
    Call(
        "token-for-an-image",
        f"GET docker /v2/token?service={{location}}-docker.pkg.dev&scope=repository:{{registry_project}}/{{public}}/{_IMAGE}:pull",
        who="docker",
        keeps={"docker_token": "token"},
        shown="shape",
    ),
    Call("token-for-nobody", "GET docker /v2/token", who="nobody", keeps={"nobodys_token": "token"}, shown="shape"),
    Call("token-for-a-stranger", "GET docker /v2/token", who="a stranger", shown="shape"),
    _pull("pull", "public", keeps={"digest": "header:docker-content-digest", "below": "manifests.0.digest"}),
    _pull("pull-with-a-registrys-token", "public", who="kept:docker_token"),
    _pull("pull-with-nobodys-token", "public", who="kept:nobodys_token"),
    _pull("pull-without-accepting-an-index", "public", headers={"Accept": _DOCKER_ONLY}),
    _pull("pull-gzipped", "public", headers={"Accept": _INDEX, "Accept-Encoding": "gzip"}),
    _pull("pull-by-digest", "public", "{digest}"),
    Call(
        "ask-without-the-body",
        f"HEAD docker {_THROUGH}/{_IMAGE}/manifests/{{digest}}",
        headers={"Accept": _INDEX},
    ),
    _pull("pull-a-manifest", "public", "{below}", keeps={"config": "config.digest"}, shown="shape"),
    Call("blob", f"GET docker {_THROUGH}/{_IMAGE}/blobs/{{config}}", shown="status"),
    Call("blob-without-the-body", f"HEAD docker {_THROUGH}/{_IMAGE}/blobs/{{config}}"),
    Call("blob-missing", f"GET docker {_THROUGH}/{_IMAGE}/blobs/sha256:{'0' * 64}"),
    _pull("pull-an-unknown-tag", "public", "no-such-tag"),
    _pull("pull-an-unknown-digest", "public", f"sha256:{'0' * 64}"),
    _pull("pull-an-unknown-image", "public", image="chainguard/no-such-image"),
    _pull("pull-from-an-unknown-organization", "public", image="no-such-organization.invalid/static"),
    _pull("pull-from-a-missing-repository", "nothing"),
    Call("pull-from-a-missing-project", f"GET docker /v2/{{absent}}/{{nothing}}/{_IMAGE}/manifests/latest"),
    Call("tags", f"GET docker {_THROUGH}/{_IMAGE}/tags/list"),
    Call("tags-of-what-was-never-pulled", f"GET docker {_THROUGH}/{_OTHER_IMAGE}/tags/list"),
    Call("tags-at-the-api", f"GET artifactregistry {_PUBLIC}/packages?pageSize=5", shown="shape"),
    Call("images-at-the-api", f"GET artifactregistry {_PUBLIC}/dockerImages?pageSize=5", shown="shape"),
    Call("referrers", f"GET docker {_THROUGH}/{_IMAGE}/referrers/{{digest}}"),
    Call(
        "referrers-of-one-type",
        f"GET docker {_THROUGH}/{_IMAGE}/referrers/{{digest}}?artifactType=application/spdx%2Bjson",
    ),
    _pull("signature-tag", "public", "{signature}"),
    Call("push", f"POST docker {_THROUGH}/{_IMAGE}/blobs/uploads/"),
    Call("delete-a-manifest", f"DELETE docker {_THROUGH}/{_IMAGE}/manifests/{{below}}"),
]

_AT_CGR = [
    Call("cgr-challenge", "GET cgr /v2/", who="nobody"),
    Call("cgr-challenge-of-an-image", f"GET cgr /v2/{_IMAGE}/manifests/latest", who="nobody"),
    Call(
        "cgr-token",
        f"GET cgr /token?service=cgr.dev&scope=repository:{_IMAGE}:pull",
        who="nobody",
        keeps={"cgr_token": "token"},
        shown="shape",
    ),
    Call(
        "cgr-token-for-a-stranger", f"GET cgr /token?service=cgr.dev&scope=repository:{_IMAGE}:pull", who="a stranger"
    ),
    Call(
        "cgr-token-of-an-unknown-organization",
        "GET cgr /token?service=cgr.dev&scope=repository:no-such-organization.invalid/static:pull",
        who="nobody",
    ),
    Call(
        "cgr-pull",
        f"GET cgr /v2/{_IMAGE}/manifests/latest",
        who="kept:cgr_token",
        headers={"Accept": _INDEX},
        shown="status",
    ),
    Call(
        "cgr-pull-gzipped",
        f"GET cgr /v2/{_IMAGE}/manifests/latest",
        who="kept:cgr_token",
        headers={"Accept": _INDEX, "Accept-Encoding": "gzip"},
        shown="status",
    ),
    Call("cgr-pull-with-anothers-token", f"GET cgr /v2/{_OTHER_IMAGE}/manifests/latest", who="kept:cgr_token"),
    Call("cgr-blob", f"GET cgr /v2/{_IMAGE}/blobs/{{config}}", who="kept:cgr_token", shown="status"),
    Call("cgr-tags", f"GET cgr /v2/{_IMAGE}/tags/list", who="kept:cgr_token"),
    Call("cgr-referrers", f"GET cgr /v2/{_IMAGE}/referrers/{{digest}}", who="kept:cgr_token"),
    Call("cgr-signature-tag", f"GET cgr /v2/{_IMAGE}/manifests/{{signature}}", who="kept:cgr_token", shown="status"),
]

_SECRETS = [
    Call("secret-missing", f"GET secretmanager {_PROJECT}/secrets/{{absent}}"),
    Call(
        "create-secret",
        f"POST secretmanager {_PROJECT}/secrets?secretId={{secret}}",
        _marked(replication={"automatic": {}}),
        keeps={"number_name": "name"},
        makes="secret {secret}",
        again=_too_early("secret-manager-turned-on"),
        vital=True,
    ),
    Call("value-of-an-empty-secret", f"GET secretmanager {_SECRET}/versions/latest:access", shown="shape"),
    Call("add-nothing", f"POST secretmanager {_SECRET}:addVersion", {"payload": {"data": ""}}),
    Call(
        "add-with-a-wrong-checksum",
        f"POST secretmanager {_SECRET}:addVersion",
        {"payload": {"data": "bm8=", "dataCrc32c": "1"}},
    ),
    Call(
        "add-a-password",
        f"POST secretmanager {_SECRET}:addVersion",
        {"payload": {"data": "YS1wYXNzd29yZC10aGF0LW5vYm9keS1oYXM="}},
    ),
    Call(
        "create-with-a-missing-topic",
        f"POST secretmanager {_PROJECT}/secrets?secretId={{noticed}}",
        _marked(replication={"automatic": {}}, topics=[{"name": "projects/{project}/topics/{absent}"}]),
        makes="secret {noticed}",
    ),
    Call(
        "change-with-an-old-etag",
        f"PATCH secretmanager {_SECRET}?updateMask=labels",
        _marked(etag='"0000000000000"'),
    ),
    Call(
        "grant-to-nobody",
        f"POST secretmanager {_SECRET}:setIamPolicy",
        _granted_to("serviceAccount:{absent}@{project}.iam.gserviceaccount.com"),
    ),
]

_CREDENTIALS = [
    Call(
        "create-where-the-secret-cannot-be-read",
        _create("unread"),
        _remote("https://cgr.dev", **_pair(f"{_SECRET_NAME}/versions/1")),
        makes="repository {location}/{unread}",
    ),
    Call(
        "create-with-a-missing-secret",
        _create("gone"),
        _remote("https://cgr.dev", **_pair("projects/{project}/secrets/{absent}/versions/1")),
        makes="repository {location}/{gone}",
    ),
    Call(
        "create-private",
        _create("private"),
        _remote("https://cgr.dev", disableUpstreamValidation=True, **_pair(f"{_SECRET_NAME}/versions/1")),
        makes="repository {location}/{private}",
    ),
    Call("private-as-it-is-read", f"GET artifactregistry {_PRIVATE}"),
    _pull("pull-where-the-secret-cannot-be-read", "private"),
    Call(
        "service-agent",
        "POST serviceusage /v1beta1/projects/{project}/services/artifactregistry.googleapis.com:generateServiceIdentity",
    ),
    Call(
        "grant-to-the-agent",
        f"POST secretmanager {_SECRET}:setIamPolicy",
        _granted_to(_AGENT),
        again=_not_yet,
    ),
    _pull("pull-with-refused-credentials", "private", again=_as("pull-where-the-secret-cannot-be-read")),
    Call(
        "create-with-refused-credentials",
        _create("unread"),
        _remote("https://cgr.dev", **_pair(f"{_SECRET_NAME}/versions/1")),
        makes="repository {location}/{unread}",
        again=_as("create-where-the-secret-cannot-be-read"),
    ),
    _patch("change-to-refused-credentials", f"{_SECRET_NAME}/versions/1", validated=True),
    _patch("change-to-latest", f"{_SECRET_NAME}/versions/latest"),
    Call("private-with-latest", f"GET artifactregistry {_PRIVATE}"),
    _patch("change-to-latest-validated", f"{_SECRET_NAME}/versions/latest", validated=True),
    Call(
        "name-a-version", f"PATCH secretmanager {_SECRET}?updateMask=versionAliases", {"versionAliases": {"probe": "1"}}
    ),
    _patch("change-to-an-alias", f"{_SECRET_NAME}/versions/probe"),
    _patch("change-to-an-alias-validated", f"{_SECRET_NAME}/versions/probe", validated=True),
    _patch("change-to-a-number", "projects/{number}/secrets/{secret}/versions/1"),
    Call("private-with-a-number", f"GET artifactregistry {_PRIVATE}"),
    _patch("change-to-a-regional-secret", "projects/{project}/locations/{location}/secrets/{secret}/versions/1"),
    _patch("change-to-a-missing-version", f"{_SECRET_NAME}/versions/9", validated=True),
    Call("disable-the-version", f"POST secretmanager {_SECRET}/versions/1:disable", {}),
    Call("value-of-a-disabled-version", f"GET secretmanager {_SECRET}/versions/1:access", shown="shape"),
    _patch("change-to-a-disabled-version", f"{_SECRET_NAME}/versions/1", validated=True),
    _pull("pull-with-a-disabled-version", "private"),
    Call(
        "clear-the-credentials",
        f"PATCH artifactregistry {_PRIVATE}?updateMask=remoteRepositoryConfig.upstreamCredentials",
        _remote("https://cgr.dev"),
    ),
    Call("private-without-credentials", f"GET artifactregistry {_PRIVATE}"),
    _pull("pull-without-credentials", "private"),
]


def _pull_token(name: str, ttl: str) -> Call:
    words = f"--parent {{organization}} --name {{secret}} --ttl {ttl} -o json"
    return Call(
        name,
        f"RUN chainctl auth pull-token create {words}",
        keeps={name.replace("-", "_"): "pull token"},
        makes="pull-tokens {organization}/{secret}",
    )


def _cgr_token(name: str, pair: str, **more: Any) -> Call:
    request = "GET cgr /token?service=cgr.dev&scope=repository:{organization}/chainguard-base:pull"
    return Call(name, request, who=f"kept:{pair}", shown="shape", **more)


_BOUGHT = "{organization}/chainguard-base"
_NEWER = f"{_SECRET_NAME}/versions/2"
# Only for whoever names an organization of Chainguard's, and is signed in to it.
_ORGANIZATION = [
    _pull_token("pull-token", "1h"),
    _pull_token("pull-token-that-lives-too-long", "8761h"),
    _pull_token("pull-token-that-ends", "30s"),
    Call("pull-tokens", "RUN chainctl auth pull-token list --parent {organization} -o json", shown="status"),
    Call("pull-token-described", "RUN chainctl iam identities describe {pull_token_username} -o json", shown="shape"),
    _cgr_token("cgr-token-of-a-pull-token", "pull_token"),
    Call(
        "add-a-pull-token", f"POST secretmanager {_SECRET}:addVersion", {"payload": {"data": "{pull_token_password}"}}
    ),
    _patch("change-to-a-pull-token", _NEWER, "{pull_token_username}", validated=True),
    _pull("pull-with-a-pull-token", "private", image=_BOUGHT),
    Call(
        "pull-token-described-after-that",
        "RUN chainctl iam identities describe {pull_token_username} -o json",
        shown="shape",
    ),
    Call("revoke-the-pull-token", "RUN chainctl iam identities delete {pull_token_username} --yes"),
    _cgr_token("cgr-token-of-a-revoked-pull-token", "pull_token", again=_granted),
    _patch("change-to-a-revoked-pull-token", _NEWER, "{pull_token_username}", validated=True),
    _pull("pull-with-a-revoked-pull-token", "private", "latest-dev", image=_BOUGHT),
    _cgr_token("cgr-token-of-an-ended-pull-token", "pull_token_that_ends", again=_granted),
]

_DELETIONS = [
    Call(
        "create-virtual",
        _create("virtual"),
        _marked(
            format="DOCKER",
            mode="VIRTUAL_REPOSITORY",
            virtualRepositoryConfig={
                "upstreamPolicies": [
                    {
                        "id": "first",
                        "priority": 1,
                        "repository": "projects/{project}/locations/{location}/repositories/{public}",
                    }
                ]
            },
        ),
        makes="repository {location}/{virtual}",
    ),
    Call("virtual-as-it-is-read", f"GET artifactregistry {_REPOSITORIES}/{{virtual}}"),
    _pull("pull-through-a-virtual", "virtual"),
    Call(
        "create-behind",
        _create("behind"),
        _remote("projects/{project}/locations/{location}/repositories/{public}"),
        makes="repository {location}/{behind}",
    ),
    _pull("pull-through-two", "behind"),
    Call("delete-what-others-serve-from", f"DELETE artifactregistry {_PUBLIC}"),
    Call("virtual-after-that", f"GET artifactregistry {_REPOSITORIES}/{{virtual}}"),
    _pull("pull-through-a-virtual-after-that", "virtual"),
    _pull("pull-through-two-after-that", "behind"),
    Call("delete-what-is-missing", f"DELETE artifactregistry {_REPOSITORIES}/{{nothing}}"),
]

WALK: tuple[Call, ...] = (
    *_PROJECT_CALLS,
    *_PUBLIC_CALLS,
    *_PULLS,
    *_AT_CGR,
    *_SECRETS,
    *_CREDENTIALS,
    *_ORGANIZATION,
    *_DELETIONS,
)
