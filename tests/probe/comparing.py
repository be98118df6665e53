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
        before, after = (
            json.dumps(found.get(name, {}), indent=1, ensure_ascii=False).splitlines() if name in found else []
            for found in (one, other)
        )
        if before == after:
            continue
        request = (one.get(name) or other[name]).get("request", "")
        yield f"{name}: {request}"
        if not before or not after:
            yield f"  only in the {'second' if not before else 'first'} file"
            continue
        changed = list(difflib.unified_diff(before, after, lineterm="", n=1))[2:]
        yield from (f"  {line}" for line in changed if not line.startswith("@@"))
