"""Registries that are odd and lawful: what skopeo copies from them, we pull."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
from collections.abc import Callable
from typing import Any

import pytest

from cgrunbook.errors import ImageNotAvailable, RegistryError
from cgrunbook.image_reference import Platform
from tests.clients.programs import client, run

OCI = "application/vnd.oci.image"
AMD64 = Platform("linux/amd64")
GO = "chainguard/go"
BEARER = 'Bearer realm="{url}/token",service="cgr.dev",scope="repository:chainguard/go:pull"'
Odd = Callable[[Any], object]  # of the double


def index(*entries: dict[str, Any], tag: str = "latest", kind: str = f"{OCI}.index.v1+json") -> Odd:
    """An index over images, each given as its architecture and what its entry says besides."""

    def make(double: Any) -> object:
        made = []
        for number, entry in enumerate(entries):
            architecture = entry.pop("of", "amd64")
            below = entry.pop("below", None)
            image = below(double) if below else double.put_image(tag=f"{tag}-{number}", architecture=architecture)
            made.append({**image, **entry})
        document = {"schemaVersion": 2, "mediaType": kind, "manifests": made}
        return double.put_document(GO, tag, document, kind)

    return make


def on(architecture: str) -> dict[str, Any]:
    return {"of": architecture, "platform": {"os": "linux", "architecture": architecture}}


def digest(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


def compressed(path: str) -> Odd:
    """Answers are compressed for the way, though nobody asked for it."""

    def make(double: Any) -> None:
        double.put_index()

        def act(request: Any) -> None:
            kind, body = found(double, request)
            sent = gzip.compress(body)
            request.reply(200, sent, Content_Encoding="gzip", Content_Type=kind, Docker_Content_Digest=digest(body))

        double.twist(path, act, times=-1)

    return make


def found(double: Any, request: Any) -> tuple[str, bytes]:
    name = request.path.rpartition("/")[2]
    return double.manifests.get((GO, name)) or ("application/octet-stream", double.blobs[name])


def saying(**headers: str) -> Odd:
    """Manifests come with these headers; "" leaves one out."""

    def make(double: Any) -> None:
        double.put_index()

        def act(request: Any) -> None:
            kind, body = found(double, request)
            usual = {"Content_Type": kind, "Docker_Content_Digest": digest(body)}
            sent = {name: value.format(kind=kind) for name, value in (usual | headers).items() if value}
            request.reply(200, body, **sent)

        double.twist("(GET|HEAD) .*/manifests/", act, times=-1)

    return make


def hinted(double: Any) -> None:
    """Something is said before the answer."""
    double.put_index()

    def act(request: Any) -> None:
        kind, body = found(double, request)
        request.wfile.write(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        request.reply(200, body, Content_Type=kind)

    double.twist("GET .*/(blobs|manifests)/", act, times=-1)


def written(pattern: str, instead: str) -> Odd:
    """The manifest's text is another."""

    def make(double: Any) -> None:
        double.put_image(tag="latest")
        kind, body = double.manifests[GO, "latest"]
        text = re.sub(pattern, instead, body.decode()).encode()
        for name in ("latest", digest(text)):
            double.manifests[GO, name] = kind, text

    return make


def wanting(*challenges: str, **token: object) -> Odd:
    """Asks for a token in these words, in a header each, and gives it in this answer."""

    def make(double: Any) -> None:
        double.put_index()
        double.scheme = "bearer"

        def ask(request: Any) -> None:
            request.send_response(401)
            for challenge in challenges:
                request.send_header("WWW-Authenticate", challenge.format(url=double.url))
            request.send_header("Content-Length", "0")
            request.end_headers()

        double._ask = lambda request, _repository: ask(request)
        if token:
            double.tokens["abc"] = GO
            kind = "application/json; charset=utf-8"
            double.twist("GET /token", lambda request: request.reply(200, token, Content_Type=kind), times=-1)

    return make


def elsewhere(target: str, status: int = 307) -> Odd:
    """Blobs and manifests are at another path."""

    def make(double: Any) -> None:
        double.put_index()

        def point(request: Any) -> None:
            name = request.path.rpartition("/")[2]
            request.reply(status, Location=target.format(url=double.url, host=double.address, name=name))

        def give(request: Any) -> None:
            kind, body = found(double, request)
            request.reply(200, body, Content_Type=kind)

        double.twist("(GET|HEAD) /v2/.+/(blobs|manifests)/", point, times=-1)
        double.twist("(GET|HEAD) /elsewhere/", give, times=-1)

    return make


def called_compressed(double: Any) -> None:
    """A layer, which is compressed as it is, is said to be compressed for the way."""
    double.put_image(layers=(gzip.compress(os.urandom(2000)),))
    act = lambda request: request.reply(200, found(double, request)[1], Content_Encoding="gzip")  # noqa: E731
    double.twist("GET .*/blobs/", act, times=-1)


COPIED_BY_SKOPEO: dict[str, Odd] = {
    "an entry without a platform": index({}),
    "a platform that is null": index({"platform": None}),
    "an entry without a platform after others": index(on("arm64"), {}),
    "entries without a platform, the wanted one second": index({"of": "arm64"}, {}),
    "an entry without a type": index({**on("amd64"), "mediaType": None}),
    "compressed blobs": compressed("GET .*/blobs/"),
    "compressed manifests": compressed("(GET|HEAD) .*/manifests/"),
    "a charset": saying(Content_Type="{kind}; charset=utf-8"),
    "no digest": saying(Docker_Content_Digest=""),
    "a digest that is none": saying(Docker_Content_Digest="rubbish"),
    "Bearer before Basic": wanting(BEARER, 'Basic realm="x"'),
    "a scheme in lower case": wanting(BEARER.replace("Bearer", "bearer")),
    "neither service nor scope": wanting('Bearer realm="{url}/token"'),
    "a realm with a query": wanting(BEARER.replace("/token", "/token?account=me")),
    "OAuth's name for the token": wanting(BEARER, access_token="abc", token=""),
    "a token that has ended": wanting(BEARER, token="abc", expires_in=-1),
    "a relative redirect": elsewhere("/elsewhere/{name}"),
    "a redirect without a scheme": elsewhere("//{host}/elsewhere/{name}", 302),
    "early hints": hinted,
    "no layers, as Go writes it": written(r'"layers": ?\[.*\]', '"layers": null'),
    "no manifests, as Go writes it": written(r"\}$", ', "manifests": null}'),
    "a number of very many digits": written(r"\}$", f', "x": {"9" * 5000}}}'),
    "a type in capitals": written(r"vnd\.oci\.image\.manifest", "vnd.OCI.image.manifest"),
    "a layer that is empty": lambda double: double.put_image(layers=(b"", b"x")),
}
PULLED_BESIDES: dict[str, Odd] = {
    "a list of Docker's without platforms": index({}, kind="application/vnd.docker.distribution.manifest.list.v2+json"),
    "an index in an index": index({"below": index(on("amd64"), tag="inner"), **on("amd64")}),
    "indexes in an index, the wanted one second": index(
        {"below": index(on("arm64"), tag="one")}, {"below": index(on("amd64"), tag="two")}
    ),
    "indexes that say nothing at all": index(
        {"below": index({"of": "arm64"}, tag="one")}, {"below": index({}, tag="two")}
    ),
    "a layer that is called compressed": called_compressed,
    "Basic before Bearer, in two headers": wanting('Basic realm="x"', BEARER),
    "Basic before Bearer, in one header": wanting(f'Basic realm="x, y", {BEARER}'),
    "an unquoted realm": wanting("Bearer realm={url}/token,service=cgr.dev"),
    "spaces in a challenge": wanting('Bearer  realm = "{url}/token" , service = "cgr.dev"'),
    "a relative realm": wanting('Bearer realm="/token"'),
    "an end that is text": wanting(BEARER, token="abc", expires_in="300", issued_at="yesterday"),
    "no type": saying(Content_Type=""),
    "plain JSON": saying(Content_Type="application/json"),
}


@pytest.mark.parametrize("make", COPIED_BY_SKOPEO.values(), ids=COPIED_BY_SKOPEO)
def test_what_skopeo_copies_is_pulled(double, connect, tmp_path, make):
    make(double)
    platform = ("--override-os=linux", "--override-arch=amd64")
    source = ("--src-tls-verify=false", "--src-no-creds", f"docker://{double.address}/{GO}:latest")
    run("skopeo", "copy", "--quiet", *platform, *source, f"dir:{tmp_path}/copy", HOME=str(tmp_path))
    double.tokens = {name: repository for name, repository in double.tokens.items() if name == "abc"}
    pulled = connect().pull(GO, "latest", AMD64)
    assert (
        json.loads(double.blobs[pulled.config_digest])["architecture"] == "amd64"
    )  # skopeo takes any that says nothing
    assert connect().resolve(GO, "latest").digest == pulled.digest


@pytest.mark.parametrize("make", PULLED_BESIDES.values(), ids=PULLED_BESIDES)
def test_what_skopeo_would_not_copy_is_pulled_too(double, connect, make):
    make(double)
    pulled = connect().pull(GO, "latest", AMD64)
    assert json.loads(double.blobs[pulled.config_digest])["architecture"] == "amd64"


@pytest.mark.parametrize(("pattern", "instead"), [(r"\}$", ', "x": NaN}'), ("^", "\ufeff"), (r"\}$", "} x")])
def test_what_skopeo_does_not_read_is_no_proof(double, connect, pattern, instead):
    written(pattern, instead)(double)
    with pytest.raises(RegistryError, match=f"{GO}:latest is not JSON"):
        connect().pull(GO, "latest", AMD64)


def test_skopeo_is_here():
    assert client("skopeo")


def test_a_manifest_that_is_not_there_is_nothing_that_another_tag_would_mend(double, connect):
    image = double.put_index()
    [first, _] = json.loads(double.manifests[GO, "latest"][1])["manifests"]
    del double.manifests[GO, first["digest"]]
    with pytest.raises(ImageNotAvailable, match=f"{GO}:latest: its index names {first['digest']}") as caught:
        connect().pull(GO, "latest", AMD64)
    assert not re.search(r"\btags?\b|latest-dev", f"{caught.value.message} {caught.value.remedy}")
    for name in ("cgr.dev", "us-central1-docker.pkg.dev"):
        with pytest.raises(ImageNotAvailable, match="nothing with this digest") as caught:
            connect(name=name).pull(GO, "sha256:" + "0" * 64, AMD64)
        assert not re.search(r"\btags?\b|latest", f"{caught.value.message} {caught.value.remedy}")
    assert image


def test_an_index_that_does_not_say_which_of_very_many_is_looked_into_for_a_while(double, connect):
    index(*({"of": f"a{number}"} for number in range(100)))(double)
    with pytest.raises(RegistryError, match="does not say which of its many images is for linux/amd64"):
        connect().pull(GO, "latest", AMD64)
    assert len(double.log) < 100


def test_platforms_that_only_the_configs_tell_are_all_named(double, connect):
    index(on("s390x"), {"of": "arm64"}, {"below": index({"of": "riscv64"}, tag="inner")})(double)
    with pytest.raises(ImageNotAvailable, match="the platforms there: linux/s390x, linux/arm64, linux/riscv64"):
        connect().pull(GO, "latest", AMD64)
