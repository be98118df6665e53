"""What Chainguard's registry holds: repositories, tags, manifests and blobs, filled with the samples when it is new.

Knows what exists; does not know who may see it (cgr_dev.py) nor how it is asked for (distribution.py).
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from cgrunbook.sandbox.context import Sandbox
from cgrunbook.sandbox.registry import distribution, signatures
from cgrunbook.sandbox.registry.blobs import BlobStore
from cgrunbook.sandbox.registry.images import Document, SampleRepository, digest_of, sample_repositories

SCHEMA = """
CREATE TABLE IF NOT EXISTS cgr_repository (
    name TEXT PRIMARY KEY, public INTEGER NOT NULL, entitled INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS cgr_tag (
    repository TEXT NOT NULL REFERENCES cgr_repository (name) ON DELETE CASCADE,
    tag TEXT NOT NULL, digest TEXT NOT NULL,
    PRIMARY KEY (repository, tag)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS cgr_manifest (
    repository TEXT NOT NULL REFERENCES cgr_repository (name) ON DELETE CASCADE, digest TEXT NOT NULL,
    media_type TEXT NOT NULL, content BLOB NOT NULL, subject TEXT,
    PRIMARY KEY (repository, digest)
);
CREATE TABLE IF NOT EXISTS cgr_blob (
    repository TEXT NOT NULL REFERENCES cgr_repository (name) ON DELETE CASCADE, digest TEXT NOT NULL,
    PRIMARY KEY (repository, digest)
) WITHOUT ROWID;
"""

#: What anybody sees of a free image since 2023-08-16; version tags of free images answer "Unknown manifest".
PUBLIC_TAGS = frozenset(["latest", "latest-dev"])


@dataclass(frozen=True)
class Repository:
    """One repository.

    Args:
        name: the path after the host, its first part the organisation.
        public: pulled without credentials.
        entitled: in the organisation's catalogue.
    """

    name: str
    public: bool
    entitled: bool

    @property
    def organization(self) -> str:
        """The organisation's name."""
        return self.name.partition("/")[0]


class Catalog:
    """The registry's content, filled with the samples when the sandbox is new."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._state = sandbox.state
        self._state.declare(SCHEMA)
        self.store = BlobStore(sandbox.settings.home / "cgr.dev")
        if self._state.setting("cgr.dev.filled") is None:
            for sample in sample_repositories(sandbox.settings.organization).values():
                self.publish(sample)
            self._state.remember("cgr.dev.filled", "1")

    def publish(self, content: SampleRepository) -> None:
        """Put a repository, or more content for one, into the registry; its tags move to where `content` has them."""
        for digest, blob in content.blobs.items():
            if self.store.size(digest) is None:
                self.store.put(blob)
        name = content.name
        with self._state.transaction() as rows:
            rows.execute(
                "INSERT INTO cgr_repository VALUES (?, ?, ?) "
                "ON CONFLICT (name) DO UPDATE SET public = excluded.public, entitled = excluded.entitled",
                (name, content.public, content.entitled),
            )
            rows.executemany(
                "INSERT OR IGNORE INTO cgr_blob VALUES (?, ?)", [(name, digest) for digest in content.blobs]
            )
            rows.executemany(
                "INSERT OR IGNORE INTO cgr_manifest VALUES (?, ?, ?, ?, ?)",
                [(name, m.digest, m.media_type, m.content, m.subject) for m in content.manifests.values()],
            )
            for tag, digest in content.tags.items():
                self._point(rows, name, tag, digest)
            for digest in dict.fromkeys(content.tags.values()):
                self._sign(rows, name, digest)

    def _sign(self, rows: sqlite3.Connection, name: str, digest: str) -> None:
        """Publish signatures beside an image that has none."""
        image = self.manifest(name, digest)
        query = "SELECT 1 FROM cgr_tag WHERE repository = ? AND tag = ?"
        if image is None or self._state.row(query, name, signatures.tag_of(digest)) is not None:
            return
        made = signatures.signed(self._state, name, image)
        for blob in made.blobs:
            self.store.put(blob)
        blobs = [(name, digest_of(blob)) for blob in made.blobs]
        rows.executemany("INSERT OR IGNORE INTO cgr_blob VALUES (?, ?)", blobs)
        for one in (made.tagged, made.bundle):
            row = (name, one.digest, one.media_type, one.content, one.subject)
            rows.execute("INSERT OR IGNORE INTO cgr_manifest VALUES (?, ?, ?, ?, ?)", row)
        self._point(rows, name, made.tag, made.tagged.digest)

    def move_tag(self, repository: str, tag: str, digest: str) -> None:
        """Let a tag name another manifest, as a new build does.

        Args:
            repository: the repository's name.
            tag: the tag, made when absent.
            digest: a manifest that the repository has.

        Raises:
            KeyError: the repository has no such manifest.
        """
        if self.manifest(repository, digest) is None:
            raise KeyError(f"{repository} has no manifest {digest}")
        with self._state.transaction() as rows:
            self._point(rows, repository, tag, digest)

    def _point(self, rows: sqlite3.Connection, repository: str, tag: str, digest: str) -> None:
        rows.execute("INSERT OR REPLACE INTO cgr_tag VALUES (?, ?, ?)", (repository, tag, digest))

    def withdraw(self, repository: str) -> None:
        """Take a repository out of the registry; a token that was given for it before then finds nothing."""
        with self._state.transaction() as rows:
            rows.execute("DELETE FROM cgr_repository WHERE name = ?", (repository,))

    def repositories(self) -> list[Repository]:
        """All repositories by name."""
        rows = self._state.read().execute("SELECT * FROM cgr_repository ORDER BY name")
        return [Repository(row["name"], bool(row["public"]), bool(row["entitled"])) for row in rows]

    def repository(self, name: str) -> Repository | None:
        """One repository, or None."""
        row = self._state.row("SELECT * FROM cgr_repository WHERE name = ?", name)
        return None if row is None else Repository(row["name"], bool(row["public"]), bool(row["entitled"]))

    def tags(self, repository: Repository) -> dict[str, str]:
        """The tags that a repository shows, sorted, with their digests; those of signatures are not shown."""
        rows = self._state.read().execute(
            "SELECT tag, digest FROM cgr_tag WHERE repository = ? AND tag NOT LIKE 'sha256-%' ORDER BY tag",
            (repository.name,),
        )
        return {row["tag"]: row["digest"] for row in rows if not repository.public or row["tag"] in PUBLIC_TAGS}

    def resolve(self, repository: Repository, reference: str) -> Document | None:
        """The manifest that a reference names, or None.

        Args:
            repository: the repository.
            reference: a tag that the repository shows, that of a signature, or the digest of any manifest that it has;
                older digests of free images stay pullable.
        """
        if distribution.is_digest(reference):
            return self.manifest(repository.name, reference)
        if repository.public and reference not in PUBLIC_TAGS and not reference.startswith("sha256-"):
            return None
        row = self._state.row("SELECT digest FROM cgr_tag WHERE repository = ? AND tag = ?", repository.name, reference)
        return None if row is None else self.manifest(repository.name, row["digest"])

    def manifest(self, repository: str, digest: str) -> Document | None:
        """A manifest by digest, or None."""
        row = self._state.row("SELECT * FROM cgr_manifest WHERE repository = ? AND digest = ?", repository, digest)
        return None if row is None else Document(row["media_type"], row["content"], row["digest"], row["subject"])

    def referrers(self, repository: str, digest: str) -> list[Document]:
        """The manifests that refer to another.

        Args:
            repository: the repository's name.
            digest: what they refer to; it need not exist.
        """
        rows = self._state.read().execute(
            "SELECT * FROM cgr_manifest WHERE repository = ? AND subject = ? ORDER BY digest", (repository, digest)
        )
        return [Document(row["media_type"], row["content"], row["digest"], row["subject"]) for row in rows]

    def has_blob(self, repository: str, digest: str) -> bool:
        """Whether a repository has a blob."""
        query = "SELECT 1 FROM cgr_blob WHERE repository = ? AND digest = ?"
        return self._state.row(query, repository, digest) is not None
