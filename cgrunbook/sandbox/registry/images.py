"""The sample images of the sandbox's cgr.dev: true OCI images, made from nothing, the same bytes on every machine.

Knows the OCI image format; does not know who may pull what, nor where the bytes are kept.

Digests must not depend on the machine: zlib builds compress differently, so the layers' gzip streams are written here
with stored (uncompressed) deflate blocks, and every time, owner and mode in the tar headers is fixed.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
import tarfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import PurePosixPath
from typing import Any

INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
SBOM_TYPE = "application/spdx+json"

ARCHITECTURES = ("amd64", "arm64")
_APK_ARCHITECTURE = {"amd64": "x86_64", "arm64": "aarch64"}
_STORED_BLOCK = 0xFFFF  # the most that one stored deflate block can hold (RFC 1951, 3.2.4)
_KIB = 1024


@dataclass(frozen=True)
class Document:
    """A manifest as it is served.

    Args:
        media_type: what goes into Content-Type.
        content: the exact bytes; the digest is computed over them.
        digest: "sha256:" and 64 hex digits.
        subject: digest of the manifest that this one refers to (OCI 1.1), None for an ordinary image.
    """

    media_type: str
    content: bytes
    digest: str
    subject: str | None = None


@dataclass(frozen=True)
class SampleRepository:
    """One repository of the sample catalogue.

    Args:
        name: the path after the host, such as "chainguard/go".
        public: pulled without credentials.
        entitled: in the organisation's catalogue; False plays an image that the organisation has not bought.
        tags: tag -> digest of an index.
        manifests: digest -> document: indexes, platform manifests and referrers.
        blobs: digest -> bytes: configs and layers.
    """

    name: str
    public: bool
    entitled: bool = True
    tags: Mapping[str, str] = field(default_factory=dict)
    manifests: Mapping[str, Document] = field(default_factory=dict)
    blobs: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class _Layer:
    blob: bytes
    digest: str
    diff_id: str
    comment: str


#: What an archive holds: path to content, None for a folder.
_Files = Mapping[str, bytes | None]


@dataclass(frozen=True)
class _Package:
    name: str
    version: str
    size: int  # bytes of stand-in payload
    path: str  # the file that carries the payload


@dataclass(frozen=True)
class _Recipe:
    """How one build of an image is made: `main` is the package of dev.chainguard.package.main."""

    title: str
    main: _Package
    layers: tuple[tuple[_Package, ...], ...]
    created: str


def digest_of(content: bytes) -> str:
    """The digest of `content` in the form of the OCI distribution specification, "sha256:" and 64 hex digits."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def gzip_stored(content: bytes) -> bytes:
    """`content` as a gzip stream of stored blocks: valid for every reader, and the same on every machine.

    Args:
        content: any number of bytes.

    Returns:
        A complete gzip member (RFC 1952), about 5 bytes in 64 KiB larger than the input.
    """
    pieces = [b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"]
    last = max(len(content) - 1, 0) // _STORED_BLOCK
    for number in range(last + 1):
        block = content[number * _STORED_BLOCK : (number + 1) * _STORED_BLOCK]
        pieces.append(struct.pack("<BHH", number == last, len(block), len(block) ^ 0xFFFF))
        pieces.append(block)
    pieces.append(struct.pack("<II", zlib.crc32(content), len(content) & 0xFFFFFFFF))
    return b"".join(pieces)


def _tar(files: _Files) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path, content in _with_parents(files).items():
            entry = tarfile.TarInfo(path)
            entry.mode = 0o755 if content is None or "/bin/" in f"/{path}" else 0o644
            entry.type = tarfile.DIRTYPE if content is None else tarfile.REGTYPE
            entry.size = len(content or b"")
            entry.mtime = 0
            entry.uid = entry.gid = 0
            entry.uname = entry.gname = "root"
            archive.addfile(entry, io.BytesIO(content or b""))
    return buffer.getvalue()


def _payload(seed: str, size: int) -> bytes:
    """Bytes that no compressor can shrink and that depend on nothing but `seed`."""
    return hashlib.shake_256(seed.encode()).digest(size)


def _with_parents(files: _Files) -> dict[str, bytes | None]:
    """The files, each folder before what it holds: some extracting tools refuse a file without its folder."""
    found: dict[str, bytes | None] = {}
    for path, content in files.items():
        for folder in reversed(PurePosixPath(path).parents[:-1]):
            found.setdefault(str(folder), None)
        found[path] = content
    return found


def _packed(files: _Files, comment: str) -> _Layer:
    tar = _tar(files)
    blob = gzip_stored(tar)
    return _Layer(blob, digest_of(blob), digest_of(tar), comment)


@cache
def _layer(packages: tuple[_Package, ...], architecture: str) -> _Layer:
    files: dict[str, bytes | None] = {
        package.path: _payload(f"{package.name}-{package.version}-{architecture}", package.size) for package in packages
    }
    if any(package.name == "wolfi-baselayout" for package in packages):
        files |= {
            "etc/os-release": b'ID=wolfi\nNAME="Wolfi"\nPRETTY_NAME="cgrunbook sample image"\nVERSION_ID="20230201"\n',
            "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\nnonroot:x:65532:65532:nonroot:/home/nonroot:/bin/sh\n",
            "etc/group": b"root:x:0:root\nnonroot:x:65532:\n",
            "home/nonroot": None,
            "tmp": None,
        }
    return _packed(files, f"sample of {', '.join(package.name for package in packages)}")


@cache
def _package_database(packages: tuple[_Package, ...], architecture: str) -> _Layer:
    entries = (
        f"P:{package.name}\nV:{package.version}\nA:{_APK_ARCHITECTURE[architecture]}\nS:{package.size}\n"
        for package in packages
    )
    return _packed({"usr/lib/apk/db/installed": "\n".join(entries).encode()}, "package database")


def json_bytes(value: Mapping[str, object]) -> bytes:
    """A document as it is kept and hashed."""
    return json.dumps(value, separators=(",", ":")).encode()


def descriptor(media_type: str, content: bytes, **more: object) -> dict[str, object]:
    """What a manifest says of a blob or of another manifest."""
    return {"mediaType": media_type, "digest": digest_of(content), "size": len(content), **more}


def manifest(media_type: str = MANIFEST_TYPE, **fields: Any) -> Document:
    """A manifest, or an index, of these fields."""
    content = json_bytes({"schemaVersion": 2, "mediaType": media_type, **fields})
    return Document(media_type, content, digest_of(content), fields.get("subject", {}).get("digest"))


class _Build:
    """One build of an image: an index over both platforms, with an SBOM that refers to it."""

    def __init__(self, recipe: _Recipe) -> None:
        self.manifests: dict[str, Document] = {}
        self.blobs: dict[str, bytes] = {}
        annotations = {
            "dev.chainguard.package.main": recipe.main.name,
            "org.opencontainers.image.authors": "cgrunbook sandbox",
            "org.opencontainers.image.created": recipe.created,
            "org.opencontainers.image.title": recipe.title,
            "org.opencontainers.image.vendor": "Chainguard (sample)",
            "org.opencontainers.image.version": recipe.main.version,
        }
        platforms = []
        for architecture in ARCHITECTURES:
            manifest = self._platform(recipe, architecture, annotations)
            platform = {"architecture": architecture, "os": "linux"}
            platforms.append(descriptor(MANIFEST_TYPE, manifest.content, platform=platform))
        self.index = self._manifest(INDEX_TYPE, manifests=platforms, annotations=annotations)
        self._refer_sbom(recipe)

    def _manifest(self, media_type: str, **fields: Any) -> Document:
        document = manifest(media_type, **fields)
        self.manifests[document.digest] = document
        return document

    def _blob(self, content: bytes) -> bytes:
        self.blobs[digest_of(content)] = content
        return content

    def _platform(self, recipe: _Recipe, architecture: str, annotations: Mapping[str, str]) -> Document:
        layers = [_layer(packages, architecture) for packages in recipe.layers]
        every = tuple(package for packages in recipe.layers for package in packages)
        layers.append(_package_database(every, architecture))
        settings: dict[str, object] = {
            "Env": [
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin",
                "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt",
            ],
            "User": "65532",
            "Labels": annotations,
        }
        if recipe.main.path.startswith("usr/bin/"):
            settings["Entrypoint"] = [f"/{recipe.main.path}"]
        made = {"author": "cgrunbook sandbox", "created": recipe.created}
        config = {
            "architecture": architecture,
            **made,
            "os": "linux",
            "config": settings,
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
            "history": [{**made, "created_by": "cgrunbook", "comment": layer.comment} for layer in layers],
        }
        self.blobs |= {layer.digest: layer.blob for layer in layers}
        return self._manifest(
            MANIFEST_TYPE,
            config=descriptor(CONFIG_TYPE, self._blob(json_bytes(config))),
            layers=[{"mediaType": LAYER_TYPE, "digest": layer.digest, "size": len(layer.blob)} for layer in layers],
            annotations=annotations,
        )

    def _refer_sbom(self, recipe: _Recipe) -> None:
        """Attach an SPDX list of the packages as an OCI 1.1 referrer. Signatures are each sandbox's own (signatures.py)."""
        sbom = {
            "spdxVersion": "SPDX-2.3",
            "dataLicense": "CC0-1.0",
            "SPDXID": "SPDXRef-DOCUMENT",
            "name": f"{recipe.title}@{self.index.digest}",
            "documentNamespace": f"https://example.com/cgrunbook/{self.index.digest.replace(':', '/')}",
            "creationInfo": {"created": recipe.created, "creators": ["Tool: cgrunbook-sandbox"]},
            "packages": [
                {
                    "SPDXID": f"SPDXRef-Package-{package.name}",
                    "name": package.name,
                    "versionInfo": package.version,
                    "downloadLocation": "NOASSERTION",
                }
                for packages in recipe.layers
                for package in packages
            ],
        }
        self._manifest(
            MANIFEST_TYPE,
            artifactType=SBOM_TYPE,
            config=descriptor(EMPTY_TYPE, self._blob(b"{}")),
            layers=[descriptor(SBOM_TYPE, self._blob(json_bytes(sbom)))],
            subject=descriptor(INDEX_TYPE, self.index.content),
            annotations={"org.opencontainers.image.created": recipe.created},
        )


_BASE = (
    _Package("wolfi-baselayout", "20230201-r24", 8 * _KIB, "usr/share/baselayout/layout"),
    _Package("ca-certificates-bundle", "20251003-r0", 96 * _KIB, "etc/ssl/certs/ca-certificates.crt"),
    _Package("tzdata", "2026b-r0", 24 * _KIB, "usr/share/zoneinfo/tzdata"),
)
_LIBRARIES = (
    _Package("glibc", "2.42-r4", 160 * _KIB, "usr/lib/libc.so.6"),
    _Package("libgcc", "15.2.0-r6", 48 * _KIB, "usr/lib/libgcc_s.so.1"),
)
_DEVELOPMENT = (
    _Package("apk-tools", "2.14.10-r9", 64 * _KIB, "usr/bin/apk"),
    _Package("bash", "5.3-r3", 112 * _KIB, "usr/bin/bash"),
    _Package("busybox", "1.37.0-r50", 80 * _KIB, "usr/bin/busybox"),
)
_FIPS = (
    _Package("openssl-config-fipshardened", "3.6.0-r0", 4 * _KIB, "etc/ssl/openssl.cnf"),
    _Package("openssl-provider-fips", "3.1.2-r2", 96 * _KIB, "usr/lib/ossl-modules/fips.so"),
)


def _recipe(
    title: str, main: _Package, created: str, *layers: tuple[_Package, ...], development: bool = False
) -> _Recipe:
    return _Recipe(title, main, (*layers, _DEVELOPMENT) if development else layers, created)


def _repository(
    name: str, builds: Mapping[str, _Recipe], *, public: bool, aliases: Mapping[str, str] | None = None
) -> SampleRepository:
    made = {tag: _Build(recipe) for tag, recipe in builds.items()}
    tags = {tag: build.index.digest for tag, build in made.items()}
    tags |= {alias: tags[tag] for alias, tag in (aliases or {}).items()}
    manifests: dict[str, Document] = {}
    blobs: dict[str, bytes] = {}
    for build in made.values():
        manifests |= build.manifests
        blobs |= build.blobs
    return SampleRepository(name, public, True, tags, manifests, blobs)


@cache
def sample_repositories(organization: str = "example.com") -> Mapping[str, SampleRepository]:
    """The whole sample catalogue.

    Args:
        organization: the organisation that owns the private images.

    Returns:
        Repository name to repository. Free: `chainguard/go`, `chainguard/static`. Bought by the organisation:
        `chainguard-base` and `go-fips`. Known but not bought: `python-fips`, which has no content here. `chainguard/go`
        also has a version tag, which a registry with Chainguard's rules shows to nobody (the public sees `latest` and
        `latest-dev` only), and `chainguard-base` an older, dated build, so that a tag can be moved.
    """
    first, second = "2026-11-02T00:00:00Z", "2026-11-20T00:00:00Z"
    go = _Package("go-1.25", "1.25.4-r1", 220 * _KIB, "usr/bin/go")
    older_go = _Package("go-1.25", "1.25.3-r0", 220 * _KIB, "usr/bin/go")
    static = _Package("static-base", "20251120-r0", 4 * _KIB, "usr/share/static/marker")
    base = _Package("chainguard-baselayout", "20230214-r22", 40 * _KIB, "usr/share/chainguard/layout")
    older_base = _Package("chainguard-baselayout", "20230214-r21", 40 * _KIB, "usr/share/chainguard/layout")
    fips = _Package("go-fips-1.25", "1.25.4-r1", 230 * _KIB, "usr/bin/go")
    repositories = (
        _repository(
            "chainguard/go",
            {
                "latest": _recipe("go", go, second, _BASE, _LIBRARIES, (go,)),
                "latest-dev": _recipe("go", go, second, _BASE, _LIBRARIES, (go,), development=True),
                "1.25.3": _recipe("go", older_go, first, _BASE, _LIBRARIES, (older_go,)),
            },
            public=True,
        ),
        _repository(
            "chainguard/static",
            {
                "latest": _recipe("static", static, second, _BASE, (static,)),
                "latest-dev": _recipe("static", static, second, _BASE, (static,), development=True),
            },
            public=True,
        ),
        _repository(
            f"{organization}/chainguard-base",
            {
                "latest": _recipe("chainguard-base", base, second, _BASE, _LIBRARIES, (base,)),
                "latest-dev": _recipe("chainguard-base", base, second, _BASE, _LIBRARIES, (base,), development=True),
                "20261102": _recipe("chainguard-base", older_base, first, _BASE, _LIBRARIES, (older_base,)),
            },
            public=False,
        ),
        _repository(
            f"{organization}/go-fips",
            {
                "1.25": _recipe("go-fips", fips, second, _BASE, _LIBRARIES, _FIPS, (fips,)),
                "1.25-dev": _recipe("go-fips", fips, second, _BASE, _LIBRARIES, _FIPS, (fips,), development=True),
            },
            public=False,
            aliases={"latest": "1.25", "latest-dev": "1.25-dev", "1.25.4": "1.25"},
        ),
        SampleRepository(f"{organization}/python-fips", public=False, entitled=False),
    )
    return {repository.name: repository for repository in repositories}
