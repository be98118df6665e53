"""Changes of the sandbox's state and files that are written down as they are made, so that they can be taken back.

What is as it was left goes back byte for byte. Where somebody has changed something since, only what still bears the change
goes back: a field of a document, a member of a policy, a column; the rest stays as it is. Knows tables and files, no faults.
"""

from __future__ import annotations

import base64
import contextlib
import json
import secrets
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cgrunbook.sandbox.process import write_atomically
from cgrunbook.sandbox.state import State

Row = dict[str, Any]
_ABSENT = object()
_DOCUMENTS = frozenset({"document"})  # columns that hold a JSON object


class NothingToBreak(Exception):
    """What is to be changed is not there; the message says what makes it."""


@dataclass(frozen=True)
class Change:
    """A row or a file, before and after.

    Args:
        place: the table, or the file's path in the state folder.
        before: the row, or the file's text; None where there was none. A text that begins with "->" is a symbolic link.
        after: the same.
    """

    place: str
    before: Any
    after: Any

    @property
    def of_a_file(self) -> bool:
        """Whether it is one of a file."""
        return isinstance(self.before or self.after, str)


class Changes:
    """Makes changes, and remembers them. Files are written by `flush`, once the rows are committed.

    Args:
        state: the store; a transaction is open while rows are changed.
        folder: the state folder.
    """

    def __init__(self, state: State, folder: Path) -> None:
        self.state = state
        self.folder = folder
        self.made: list[Change] = []
        #: What files are to be: path to what is on the disk and what is to be there.
        self.files: dict[str, tuple[str | None, str | None]] = {}

    def rows(self, table: str, where: str = "1", *values: object) -> list[Row]:
        """Rows of a table; none where no service has made the table yet."""
        if self.state.row("SELECT 1 FROM sqlite_master WHERE name = ?", table) is None:
            return []
        return [dict(row) for row in self.state.read().execute(f"SELECT * FROM {table} WHERE {where}", values)]  # noqa: S608

    def update(self, table: str, row: Row, **columns: Any) -> None:
        """Change columns of a row."""
        self._note(table, row, row | columns)

    def document(self, table: str, row: Row, **fields: Any) -> None:
        """Change fields of the JSON document in a row; None takes one away."""
        document = json.loads(row["document"]) | fields
        self.update(
            table, row, document=json.dumps({name: value for name, value in document.items() if value is not None})
        )

    def insert(self, table: str, **columns: Any) -> None:
        """Add a row, in the place of one with the same key."""
        found = self._current(table, columns)
        self._note(table, found, columns)

    def delete(self, table: str, row: Row) -> None:
        """Take a row away."""
        self._note(table, row, None)

    def text(self, path: str) -> str | None:
        """What a file holds, or is about to; None where there is none."""
        return self.files[path][1] if path in self.files else _read(self.folder / path)

    def file(self, path: str, text: str | None) -> None:
        """Say what a file is to hold."""
        before = self.text(path)
        if before != text:
            self.made.append(Change(path, before, text))
            self._intend(path, text)

    def _intend(self, path: str, text: str | None) -> None:
        on_disk = self.files[path][0] if path in self.files else self.text(path)
        self.files[path] = (on_disk, text)

    def flush(self) -> None:
        """Write the files; one that somebody changed meanwhile is left alone."""
        for path, (before, text) in self.files.items():
            if _read(self.folder / path) == before:
                _write(self.folder / path, text)
        self.files.clear()

    def _note(self, table: str, before: Row | None, after: Row | None) -> None:
        if before != after:
            self._put(table, before, after)
            self.made.append(Change(table, before, after))

    def _keys(self, table: str) -> list[str]:
        return [row["name"] for row in self.state.read().execute(f"PRAGMA table_info({table})") if row["pk"]]

    def _current(self, table: str, like: Row, *, itself: bool = False) -> Row | None:
        if table == "policy" and not itself:  # one that was set since is a newer row
            found = self.rows("policy", "resource = ? ORDER BY sequence DESC LIMIT 1", like["resource"])
        else:
            keys = self._keys(table)
            found = self.rows(table, " AND ".join(f"{key} = ?" for key in keys), *(like[key] for key in keys))
        return found[0] if found else None

    def _put(self, table: str, before: Row | None, after: Row | None) -> None:
        keys = self._keys(table)
        where = " AND ".join(f"{key} = ?" for key in keys)
        with self.state.transaction() as connection:
            if before is None and after is not None:
                marks = ", ".join("?" * len(after))
                connection.execute(f"INSERT INTO {table} ({', '.join(after)}) VALUES ({marks})", list(after.values()))  # noqa: S608
            elif before is not None:
                at = [before[key] for key in keys]
                if after is None:
                    connection.execute(f"DELETE FROM {table} WHERE {where}", at)  # noqa: S608
                    return
                if any(before[key] != after[key] for key in keys):
                    # What belongs to a row is renamed after it.
                    connection.execute("PRAGMA defer_foreign_keys = ON")
                assigned = ", ".join(f"{name} = ?" for name in after)
                connection.execute(f"UPDATE {table} SET {assigned} WHERE {where}", [*after.values(), *at])  # noqa: S608

    # --- back --------------------------------------------------------------------------------------------------------

    def stand(self, made: Iterable[Change]) -> bool:
        """Whether something of these changes is still there: nobody has mended all of it.

        The cache's rows and what was only added, to be pointed at, say nothing of it where there is more.
        """
        made = list(made)
        telling = [one for one in made if one.before is not None and not one.place.startswith("cached_")]
        return any(now != wanted for now, wanted in map(self._wanted, telling or made))

    def take_back(self, made: Iterable[Change]) -> None:
        """Undo changes, the last first; what was taken away with what it belonged to stays away."""
        for change in reversed(list(made)):
            now, wanted = self._wanted(change)
            if now == wanted:
                continue
            if change.of_a_file:
                self._intend(change.place, wanted)
            else:
                with contextlib.suppress(sqlite3.IntegrityError):
                    self._put(change.place, now, wanted)

    def _wanted(self, change: Change) -> tuple[Any, Any]:
        """What is there now, and what there is to be when the change is undone."""
        before, after = change.before, change.after
        if change.of_a_file:
            text = self.text(change.place)
            return text, _merged_text(before, after, text)
        # What was deleted comes back as itself: of a policy also what it was before, which is history.
        now = self._current(change.place, after or before, itself=after is None)
        if before is None:
            return now, None
        if after is None or now is None:
            return now, before if after is None and now is None else now
        wanted = {name: _merged_column(change.place, name, before[name], after[name], now[name]) for name in now}
        if change.place == "policy" and wanted["body"] != now["body"] and now["etag"] != after["etag"]:
            wanted["etag"] = new_policy_etag()
        return now, wanted


def new_policy_etag() -> str:
    """An etag for a policy, of the form that the service gives."""
    return base64.b64encode(b"\x07" + secrets.token_bytes(7)).decode()


def packed(made: Iterable[Change]) -> str:
    """Changes as a text that `unpacked` reads."""
    return json.dumps([[one.place, one.before, one.after] for one in made], default=lambda data: {"hex": data.hex()})


def unpacked(text: str) -> list[Change]:
    """Changes, of the text that `packed` made."""

    def whole(found: dict[str, Any]) -> Any:
        return bytes.fromhex(found["hex"]) if found.keys() == {"hex"} else found

    return [Change(*one) for one in json.loads(text, object_hook=whole)]


def members(policy: Mapping[str, Any]) -> dict[tuple[str, str, str], None]:
    """A policy as an ordered set: role, condition in JSON ("null" for none), member."""
    return {
        (binding["role"], json.dumps(binding.get("condition"), sort_keys=True), member): None
        for binding in policy.get("bindings", ())
        for member in binding["members"]
    }


def policy_of(grants: Iterable[tuple[str, str, str]]) -> dict[str, Any]:
    """A policy's body, of what `members` tells."""
    bindings: dict[tuple[str, str], dict[str, Any]] = {}
    for role, condition, member in grants:
        under = {} if condition == "null" else {"condition": json.loads(condition)}
        bindings.setdefault((role, condition), {"role": role, "members": [], **under})["members"].append(member)
    return {
        "version": 3 if any("condition" in one for one in bindings.values()) else 1,
        "bindings": list(bindings.values()),
    }


def _merged(before: Any, after: Any, now: Any) -> Any:
    if now == after:
        return before
    if not (isinstance(before, dict) and isinstance(after, dict) and isinstance(now, dict)):
        return now
    parts = {name: _merged(*(one.get(name, _ABSENT) for one in (before, after, now))) for name in now | before}
    return {name: value for name, value in parts.items() if value is not _ABSENT}


def _merged_column(table: str, name: str, before: Any, after: Any, now: Any) -> Any:
    if now == after:
        return before
    if before == after:
        return now
    if table == "policy" and name == "body":
        was, left, found = (members(json.loads(text)) for text in (before, after, now))
        kept = [one for one in found if one not in left or one in was]
        wanted = policy_of(dict.fromkeys([*kept, *(one for one in was if one not in left)]))
        return now if members(wanted).keys() == found.keys() else json.dumps(wanted)
    if name in _DOCUMENTS:
        return _merged_text(before, after, now)
    return now


def _merged_text(before: str | None, after: str | None, now: str | None) -> str | None:
    """A text as it was; of a JSON object that was changed since, as much as bears the change."""
    if now == after:
        return before
    try:
        parts = [json.loads(text) for text in (before or "{}", after or "", now or "")]
    except ValueError:
        return now
    wanted = _merged(*parts)
    return now if wanted == parts[2] else json.dumps(wanted, indent="\t" if now and "\n" in now else None)


def _read(path: Path) -> str | None:
    if path.is_symlink():
        return f"->{path.readlink()}"
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def _write(path: Path, text: str | None) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if text is None or text.startswith("->"):
        path.unlink(missing_ok=True)
        if text:
            path.symlink_to(text.removeprefix("->"))
    else:
        write_atomically(path, text, mode=0o700 if text.startswith("#!") else 0o600)
