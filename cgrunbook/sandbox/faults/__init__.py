"""Things broken on purpose: set, told and taken back, in a sandbox that runs or does not.

A fault is a change of what the services keep, of how a host behaves, or of what a client reads, and is seen by every client.
What each changes is written down with it in one transaction, so that a kill at any moment leaves it set or not set.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cgrunbook.sandbox.faults.changes import NothingToBreak, packed, unpacked

if TYPE_CHECKING:
    from cgrunbook.sandbox.faults.catalogue import Fault
    from cgrunbook.sandbox.faults.world import World

__all__ = ["NothingToBreak", "Told", "UnknownFault", "clear", "listed", "move_clock", "set_faults"]

SCHEMA = """
CREATE TABLE IF NOT EXISTS fault (name TEXT PRIMARY KEY, value REAL, since TEXT NOT NULL, changes TEXT NOT NULL) WITHOUT ROWID;
"""
_UNWRITTEN = "faults.files"  # the setting with what is still to be written to files
_SECONDS_TO_WAIT = 30.0
_FARTHEST = timedelta(days=3650)


class UnknownFault(Exception):
    """There is no fault of this name, or it takes no such value; the message says which is meant."""


@dataclass(frozen=True)
class Told:
    """A fault, as it is told.

    Args:
        name: how it is called.
        does: what it changes.
        symptom: what people see then.
        since: since when it is set, RFC 3339 by the sandbox's time; "" where it is not.
        stands: whether it is set and nobody has mended it since.
        value: the number that it was set with, or would be; None for none.
        shells: whether shells have to ask `cgrunbook sandbox env` again.
    """

    name: str
    does: str
    symptom: str
    since: str
    stands: bool
    value: float | None
    shells: bool


def listed(home: Path | None = None) -> list[Told]:
    """Every fault, and how it stands.

    Args:
        home: CGRUNBOOK_HOME; None for `home()`.

    Raises:
        SandboxFailure: there is no sandbox at this home.
    """
    from cgrunbook.sandbox.faults.catalogue import FAULTS

    with _opened(home) as book:
        return [book.told(fault) for fault in FAULTS.values()]


def set_faults(names: Iterable[str], home: Path | None = None) -> list[str]:
    """Set faults, all or none; one that stands already is left as it is.

    Args:
        names: of faults; one that takes a number may have it after an equals sign.
        home: CGRUNBOOK_HOME; None for `home()`.

    Returns:
        The names of those that were not set before.

    Raises:
        UnknownFault: there is none of such a name.
        NothingToBreak: what one would break is not there.
        SandboxFailure: there is no sandbox at this home.
    """
    wanted = dict(map(_asked, names))
    with _opened(home) as book:
        return book.break_(wanted)


def clear(names: Iterable[str] = (), home: Path | None = None) -> list[str]:
    """Take faults back: what they changed is as it was, but for what somebody has changed since.

    Args:
        names: of faults; none for all that are set.
        home: CGRUNBOOK_HOME; None for `home()`.

    Returns:
        The names of those that were set.

    Raises:
        UnknownFault: there is none of such a name.
        SandboxFailure: there is no sandbox at this home.
    """
    wanted = list(dict(map(_asked, names)))
    with _opened(home) as book:
        return book.mend(wanted or list(book.records()))


def move_clock(by: timedelta | None, home: Path | None = None) -> timedelta:
    """Move the sandbox's clock ahead, or put it back to this machine's time; tell how far ahead it is then.

    Args:
        by: how far; None to put it back. What became effective in the time taken back is effective all the same.
        home: CGRUNBOOK_HOME; None for `home()`.

    Raises:
        ValueError: it would be too far ahead.
        SandboxFailure: there is no sandbox at this home.
    """
    with _opened(home) as book:
        return book.move_clock(by)


def _asked(text: str) -> tuple[str, float | None]:
    """A name, and the number after it."""
    import difflib

    from cgrunbook.sandbox.faults.catalogue import FAULTS

    name, equals, given = text.strip().lower().replace("_", "-").partition("=")
    fault = FAULTS.get(name) or {known.lower(): fault for known, fault in FAULTS.items()}.get(name)
    if fault is None:
        close = (
            difflib.get_close_matches(name, FAULTS, 1, 0.5) or [known for known in FAULTS if name and name in known][:1]
        )
        meant = f" Do you mean {close[0]}?" if close else ""
        raise UnknownFault(f"There is no fault {text!r}.{meant} What there is: cgrunbook sandbox fault list")
    if not equals:
        return fault.name, None
    try:
        value = float(given)
    except ValueError:
        value = 0.0
    if fault.value is None or not 0 < value <= 3600:
        takes = (
            f"a number of seconds up to 3600: {fault.name}={fault.value:g}" if fault.value else "nothing after its name"
        )
        raise UnknownFault(f"The fault {fault.name} takes {takes}; this is {text!r}.")
    return fault.name, value


@contextlib.contextmanager
def _opened(home: Path | None) -> Iterator[_Book]:
    """The faults of a sandbox, for one command at a time."""
    from filelock import FileLock, Timeout

    from cgrunbook.sandbox import process
    from cgrunbook.sandbox.context import Sandbox
    from cgrunbook.sandbox.faults.world import World
    from cgrunbook.sandbox.settings import Settings

    with process.opened_state(home) as state:
        folder = state.path.parent
        try:
            lock = FileLock(folder / "faults.lock").acquire(timeout=_SECONDS_TO_WAIT)
        except Timeout:
            raise process.SandboxFailure(
                "Another command changes the sandbox's faults, and does not end. Try again."
            ) from None
        with lock:
            addresses = {row["host"]: f"127.0.0.1:{row['port']}" for row in state.read().execute("SELECT * FROM port")}
            running = folder / process.SANDBOX_FILE
            upstream = json.loads(running.read_text(encoding="utf-8"))["upstream"] if running.exists() else ""
            sandbox = Sandbox(Settings(home=folder, upstream=upstream or None), state, addresses)
            book = _Book(World(sandbox))
            book.write()
            yield book


class _Book:
    """What is set in a sandbox, with the changes that each fault made.

    Args:
        world: what faults change.
    """

    def __init__(self, world: World) -> None:
        from cgrunbook.sandbox.faults.behaviour import SCHEMA as OF_HOSTS

        self._world = world
        self._state = world.state
        self._state.declare(SCHEMA)
        self._state.declare(OF_HOSTS)

    def records(self) -> dict[str, Mapping[str, Any]]:
        """The rows of what is set, in the order in which it was made."""
        from cgrunbook.sandbox.faults.catalogue import FAULTS

        rows = {row["name"]: row for row in self._state.read().execute("SELECT * FROM fault")}
        return {name: rows[name] for name in FAULTS if name in rows}

    def _stands(self, record: Mapping[str, Any]) -> bool:
        return self._world.stand(unpacked(record["changes"]))

    def told(self, fault: Fault) -> Told:
        """How a fault stands."""
        record = self.records().get(fault.name)
        since, value = ("", fault.value) if record is None else (record["since"], record["value"] or fault.value)
        stands = record is not None and self._stands(record)
        return Told(fault.name, fault.does, fault.symptom, since, stands, value, fault.shells)

    def break_(self, wanted: Mapping[str, float | None]) -> list[str]:
        """Set what does not stand yet; answers the names of what was not set."""
        records = self.records()
        fresh = {
            name: value
            for name, value in wanted.items()
            if name not in records or records[name]["value"] != value or not self._stands(records[name])
        }
        self._rebuild(set(fresh), fresh)
        return [name for name in fresh if name not in records]

    def mend(self, names: Iterable[str]) -> list[str]:
        """Take back what is set of these; answers the names."""
        return self._rebuild({name for name in self.records() if name in set(names)}, {})

    def _rebuild(self, going: set[str], coming: Mapping[str, float | None]) -> list[str]:
        """Take faults back and make others, with those that were made after them taken back before and made again after.

        So what is set together is always as if it had been set in one order, and one can be taken out from under another.
        What somebody has mended by hand is left alone. Answers the names of what is not set any more.
        """
        from cgrunbook.sandbox.faults.catalogue import FAULTS

        order = {name: number for number, name in enumerate(FAULTS)}
        first = min((order[name] for name in (*going, *coming)), default=len(order))
        gone = [name for name in self.records() if name in going]
        with self._state.transaction() as connection:
            records = self.records()
            again: dict[str, float | None] = {}
            others = self._world.others_grants()
            for name, record in reversed(records.items()):
                # What was made upon it is taken back by now: it may have hidden that this one stands.
                stands = name not in going and order[name] >= first and self._stands(record)
                if stands or name in going:
                    self._world.take_back(unpacked(record["changes"]))
                    connection.execute("DELETE FROM fault WHERE name = ?", (name,))
                if stands:
                    again[name] = record["value"]
            for name, value in sorted((again | dict(coming)).items(), key=lambda one: order[one[0]]):
                self._world.spared = others if name in again else frozenset()
                try:
                    self._make(FAULTS[name], value, records[name]["since"] if name in again else "")
                except NothingToBreak as why:
                    if coming:  # nothing of this is kept
                        self._world.files.clear()
                        besides = (
                            "" if name in coming else f", which is set, cannot be together with {', '.join(coming)}"
                        )
                        raise NothingToBreak(f"{name}{besides}: {why}") from why
                    gone.append(name)  # it stood on one that goes
            if self._world.files:
                self._state.remember(_UNWRITTEN, json.dumps(self._world.files))
        self.write()
        return gone

    def _make(self, fault: Fault, value: float | None, since: str) -> None:
        from cgrunbook.sandbox.state import timestamp

        world = self._world
        if fault.own_registry and world.settings.upstream:
            raise NothingToBreak(
                f"{world.settings.upstream} stands in for cgr.dev here, and only the sandbox's own can be broken. Start it "
                "without --upstream."
            )
        world.made, world.value = [], value
        fault.make(world)
        if fault.tags_age:
            world.an_hour_passes_for_tags()
        row = (fault.name, value, since or timestamp(world.now), packed(world.made))
        with self._state.transaction() as connection:
            connection.execute("INSERT INTO fault VALUES (?, ?, ?, ?)", row)

    def write(self) -> None:
        """Write the files that are still to be written, those that a killed process has left among them."""
        from cgrunbook.sandbox.faults.full_disk import unmount
        from cgrunbook.sandbox.process import ENVIRONMENT_FILE

        left = self._state.setting(_UNWRITTEN)
        if left is None:
            return
        self._world.files = {path: (before, text) for path, (before, text) in json.loads(left).items()}
        self._world.flush()
        if "TMPDIR" not in json.loads(self._world.text(ENVIRONMENT_FILE) or "{}"):
            unmount(self._world.folder)
        with self._state.transaction() as connection:
            connection.execute("DELETE FROM setting WHERE name = ?", (_UNWRITTEN,))

    def move_clock(self, by: timedelta | None) -> timedelta:
        """Move the clock, or put it back."""
        from cgrunbook.sandbox.state import timestamp

        clock = self._world.sandbox.clock
        if by is not None and clock.moved() + by.total_seconds() > _FARTHEST.total_seconds():
            raise ValueError(f"would move the clock by more than {_FARTHEST.days}d in all")
        with self._state.transaction() as connection:
            if by is None:
                clock.put_back()
            elif by:
                clock.advance(by)
            now = timestamp(clock.now())
            # What was granted, made or looked up in a time that has not come yet would wait for it, or last too long.
            for table, column in (
                ("policy", "effective_at"),
                ("service_agent", "visible_at"),
                ("cached_tag", "checked_at"),
                ("cached_tag_list", "checked_at"),
            ):
                if self._world.rows(table, f"{column} > ?", now) and by is None:
                    connection.execute(f"UPDATE {table} SET {column} = ? WHERE {column} > ?", (now, now))  # noqa: S608
        return timedelta(seconds=clock.moved())
