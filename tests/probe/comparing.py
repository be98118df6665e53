"""Where two files differ, call by call; how long something took does not count."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cgrunbook.errors import UsageError


def read(path: Path) -> dict[str, Any]:
    """A file of the probe's.

    Raises:
        UsageError: it is none.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return {entry["call"]: entry for entry in document["calls"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} is no file of the probe's: {type(error).__name__}: {error}.") from error


def differences(one: dict[str, Any], other: dict[str, Any]) -> Iterator[str]:
    """What differs, in lines.

    Args:
        one: as `read` answers it.
        other: the same.
    """
    for name in dict.fromkeys([*one, *other]):
        before, after = one.get(name, {}), other.get(name, {})
        if before == after:
            continue
        yield f"{name}: {(before or after).get('request', '')}"
        missing = [
            f"  {place} file: {entry.get('not asked', 'not there')}"
            for place, entry in (("first", before), ("second", after))
            if "status" not in entry
        ]
        if missing:
            yield from missing
            continue
        if before.get("request") != after.get("request"):
            yield f"  second file: asked as {after.get('request')}"
        changed = difflib.unified_diff(_lines(before), _lines(after), lineterm="", n=1)
        yield from (f"  {line}" for line in list(changed)[2:] if not line.startswith("@@"))


def _lines(entry: dict[str, Any]) -> list[str]:
    found = {name: value for name, value in entry.items() if name not in ("call", "request")}
    return json.dumps(found, indent=1, ensure_ascii=False).splitlines()[1:-1]
