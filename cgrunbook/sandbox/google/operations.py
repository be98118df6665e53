"""Long-running operations: made with their result, told as pending by the call that made them, done when polled.

Knows google.longrunning.Operation in JSON. Knows no service.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any

from cgrunbook.sandbox import errors
from cgrunbook.sandbox.context import Sandbox

SCHEMA = """
CREATE TABLE IF NOT EXISTS operation (name TEXT PRIMARY KEY, document TEXT NOT NULL) WITHOUT ROWID;
"""


def begin(
    sandbox: Sandbox,
    prefix: str,
    metadata: Mapping[str, Any] | None,
    *,
    response: Mapping[str, Any] | None = None,
    error: errors.GoogleError | None = None,
) -> dict[str, Any]:
    """Keep an operation and return it as the call that starts it answers: not done.

    Args:
        sandbox: where it is kept.
        prefix: what the name begins with, for example "projects/p/locations/l/operations/".
        metadata: the operation's metadata with its @type.
        response: what the operation comes to, with its @type.
        error: what it comes to instead.
    """
    started: dict[str, Any] = {"name": prefix + str(uuid.uuid4())}
    if metadata is not None:
        started["metadata"] = dict(metadata)
    done = started | {"done": True}
    if error is not None:
        done["error"] = error.rpc_status()
    elif response is not None:
        done["response"] = dict(response)
    with sandbox.state.transaction() as connection:
        connection.execute("INSERT INTO operation VALUES (?, ?)", (started["name"], json.dumps(done)))
    return started


def finished(sandbox: Sandbox, name: str) -> dict[str, Any] | None:
    """A kept operation by its whole name, done, or None."""
    row = sandbox.state.row("SELECT document FROM operation WHERE name = ?", name)
    if row is None:
        return None
    document: dict[str, Any] = json.loads(row["document"])
    return document
