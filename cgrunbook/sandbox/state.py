"""The sandbox's memory: one SQLite file that survives a kill, and the clock that training may move.

Knows transactions, schemas that services declare, ports and the clock's offset. Knows nothing of what the tables mean.
"""

from __future__ import annotations

import contextlib
import secrets
import sqlite3
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

SCHEMA = """
CREATE TABLE IF NOT EXISTS setting (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS port (host TEXT PRIMARY KEY, port INTEGER NOT NULL) WITHOUT ROWID;
"""

#: Of the tables and the documents in them; it goes up with each change of either, and the file bears it.
VERSION = 3

_BUSY_TIMEOUT_SECONDS = 20.0


class StateOfAnotherVersion(Exception):
    """The file was written by a cgrunbook whose tables are others; it was not touched."""


class State:
    """The store. Any thread and any process may use it; each thread has its own connection.

    WAL with synchronous=NORMAL: what was committed is in the operating system's hands, so a SIGKILL loses nothing
    (only the machine losing power could lose the last commits, and then whole ones: the file stays sound).

    Args:
        path: the database file, made when absent; its folder exists.

    Raises:
        StateOfAnotherVersion: the file is of another version than `VERSION`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._threads = threading.local()
        self._declared: set[str] = set()
        with contextlib.ExitStack() as undo:
            undo.callback(self.close)
            with self.transaction() as connection:
                self._claim(connection)
                self.declare(SCHEMA)
            undo.pop_all()

    def _claim(self, connection: sqlite3.Connection) -> None:
        """Put the version on a new file; refuse one that bears another."""
        (found,) = connection.execute("PRAGMA user_version").fetchone()
        if found not in {0, VERSION}:
            raise StateOfAnotherVersion(
                f"it is of version {found}, this cgrunbook's is {VERSION}, and only the cgrunbook that wrote it can go on with it"
            )
        if found == 0:  # new, or from before there were versions, when the tables were those of version 1
            connection.execute(f"PRAGMA user_version = {VERSION}")

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._threads, "connection", None)
        if connection is None:
            connection = sqlite3.connect(self.path, timeout=_BUSY_TIMEOUT_SECONDS, isolation_level=None)
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute("PRAGMA foreign_keys=ON")
            self._threads.connection = connection
        return connection

    def declare(self, schema: str) -> None:
        """Make tables that are not there yet. Each service calls it once, from its `app` factory.

        Args:
            schema: statements of the form `CREATE TABLE|INDEX IF NOT EXISTS ...;`.
        """
        if schema in self._declared:
            return
        with self.transaction() as connection:
            for statement in schema.split(";"):
                if statement.strip():
                    connection.execute(statement)
        self._declared.add(schema)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Write, all or nothing; committed (and safe from a kill) when the block ends.

        Give the connection's `execute` statements and parameters; rows are `sqlite3.Row`. Inside another transaction
        of the same thread the block joins it. Never await inside: another task of the same thread would join too.

        Yields:
            The thread's connection, holding the write lock.
        """
        connection = self._connection()
        if connection.in_transaction:
            yield connection
            return
        connection.execute("BEGIN IMMEDIATE")
        with connection:  # commits, or takes all of it back
            yield connection

    def read(self) -> sqlite3.Connection:
        """The thread's connection for single SELECTs, which see the last commit and take no lock."""
        return self._connection()

    def row(self, query: str, *values: object) -> sqlite3.Row | None:
        """The first row of a SELECT, None when there is none."""
        row: sqlite3.Row | None = self.read().execute(query, values).fetchone()
        return row

    def setting(self, name: str) -> str | None:
        """A remembered value, or None."""
        row = self.row("SELECT value FROM setting WHERE name = ?", name)
        return None if row is None else str(row["value"])

    def key(self, name: str) -> bytes:
        """A random key of 32 bytes, made when it is asked for first and kept under a name."""
        with self.transaction():
            if self.setting(name) is None:
                self.remember(name, secrets.token_hex(32))
        return bytes.fromhex(self.setting(name) or "")

    def remember(self, name: str, value: str) -> None:
        """Keep a value under a name."""
        with self.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO setting VALUES (?, ?)", (name, value))

    def close(self) -> None:
        """Close this thread's connection."""
        connection: sqlite3.Connection | None = getattr(self._threads, "connection", None)
        if connection is not None:
            connection.close()
            self._threads.connection = None


class Clock:
    """The sandbox's time: the machine's plus an offset kept in the state, so that a restart does not move it back.

    Args:
        state: where the offset is kept; another process may change it there.
    """

    _SETTING = "clock_offset_seconds"
    #: By how much this machine's own clock is behind, where that is played.
    SKEW = "clock_skew_seconds"

    def __init__(self, state: State) -> None:
        self._state = state

    def now(self) -> datetime:
        """The sandbox's time, aware, in UTC."""
        return datetime.now(UTC) + self.offset()

    def offset(self) -> timedelta:
        """How far the sandbox's time is ahead of the machine's."""
        query = "SELECT total(value) FROM setting WHERE name IN (?, ?)"
        row = self._state.row(query, self._SETTING, self.SKEW)
        return timedelta(seconds=row[0] if row else 0.0)

    def put_back(self) -> None:
        """Let it be this machine's time again."""
        with self._state.transaction() as connection:
            connection.execute("DELETE FROM setting WHERE name = ?", (self._SETTING,))

    def moved(self) -> float:
        """By how many seconds it was moved."""
        return float(self._state.setting(self._SETTING) or 0.0)

    def advance(self, by: timedelta) -> None:
        """Move the sandbox's time.

        Args:
            by: how far; tags then age, tokens expire and delays pass as if so much time had gone by.
        """
        with self._state.transaction():
            self._state.remember(self._SETTING, repr(self.moved() + by.total_seconds()))


def timestamp(moment: datetime) -> str:
    """An aware moment as it is kept: UTC, nine digits after the point, Z. Texts of one length sort as the times do."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "000Z"


def timestamp_in_seconds(moment: datetime) -> str:
    """An aware moment as Chainguard's JSON and docker's token answers write it: UTC, whole seconds, Z."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
