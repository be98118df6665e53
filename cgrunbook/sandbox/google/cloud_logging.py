"""Cloud Logging, as far as Artifact Registry's platform logs need it: failed requests through docker hosts, and how they are read.

Knows entries and who may read them. That an entry is a LogEntry of this log with the method, the repository, its format and mode,
and a status is documented; the keys in its labels and its payload are the sandbox's own, for Google publishes none.
"""

from __future__ import annotations

import json
import re
import uuid
from typing import Any

from starlette.types import ASGIApp

from cgrunbook.sandbox import errors, hosts
from cgrunbook.sandbox.context import Sandbox
from cgrunbook.sandbox.google import repositories, service_usage
from cgrunbook.sandbox.google.filters import SEVERITIES, compile_filter
from cgrunbook.sandbox.google.wire import Answer, Call, Handlers, Partly, Service
from cgrunbook.sandbox.state import timestamp

SCHEMA = "CREATE TABLE IF NOT EXISTS log_entry (number INTEGER PRIMARY KEY, entry TEXT NOT NULL)"
_SEVERITY = "ERROR"
#: Entries that are kept; Google keeps them for thirty days.
_MOST = 1000
_MOST_OF_A_PAGE = 1000
_CODES = {400: 3, 401: 16, 403: 7, 404: 5, 429: 8, 500: 13, 502: 14, 503: 14, 504: 4}
_BEYOND = re.compile(r"[=!]~|\b(?!(?:AND|OR|NOT)\()\w+\(")


def note(sandbox: Sandbox, place: tuple[str, str, str], method: str, refusal: errors.RegistryError) -> None:
    """Keep an entry of a failed request, where the platform logs of the repository are on.

    Args:
        place: location, repository and image.
        method: what was asked, in words.
        refusal: what was answered.
    """
    location, identifier, image = place
    document = repositories.repository(sandbox, location, identifier) or {}
    config = document.get("platformLogsConfig", {})
    if config.get("loggingState", "LOGGING_STATE_UNSPECIFIED") == "LOGGING_STATE_UNSPECIFIED":
        config = repositories.project_platform_logs(sandbox, location)
    least = config.get("severityLevel", "DEFAULT")
    heavy = least not in SEVERITIES or SEVERITIES.index(_SEVERITY) >= SEVERITIES.index(least)
    if not document or config.get("loggingState") != "ENABLED" or not heavy:
        return
    project, now = f"projects/{sandbox.settings.project_id}", timestamp(sandbox.clock.now())
    code = _CODES.get(refusal.http_status, 2)
    entry = {
        "logName": f"{project}/logs/artifactregistry.googleapis.com%2Frequests",
        "insertId": uuid.uuid4().hex[:16],
        "timestamp": now,
        "receiveTimestamp": now,
        "severity": _SEVERITY,
        "resource": {
            "type": "artifactregistry.googleapis.com/Repository",
            "labels": {
                "project_id": sandbox.settings.project_id,
                "location": location,
                "repository_id": identifier,
            },
        },
        "labels": {
            "method_name": method,
            "resource_name": f"{project}/locations/{location}/repositories/{identifier}/{image}",
            "repository_format": str(document.get("format")),
            "repository_mode": str(document.get("mode")),
        },
        "jsonPayload": {"status": {"code": code, "message": refusal.message}},
    }
    sandbox.state.declare(SCHEMA)
    with sandbox.state.transaction() as rows:
        rows.execute("INSERT INTO log_entry (entry) VALUES (?)", (json.dumps(entry),))
        rows.execute("DELETE FROM log_entry WHERE number <= (SELECT max(number) FROM log_entry) - ?", (_MOST,))


def app(sandbox: Sandbox) -> ASGIApp:
    """The service as an ASGI application."""
    service_usage.prepare(sandbox)
    return Service(sandbox, hosts.LOGGING, PLAYED, service_usage.require_enabled)


def _list(call: Call) -> Answer:
    for name in (*call.body.get("resourceNames", ()), *map("projects/{}".format, call.body.get("projectIds", ()))):
        if name not in (call.project, f"projects/{call.sandbox.settings.project_number}"):
            raise errors.PermissionDenied("Permission denied for all log views")
    call.check("logging.logEntries.list")
    text, order = call.body.get("filter", ""), call.body.get("orderBy", "")
    if _BEYOND.search(re.sub(r'"(?:[^"\\]|\\.)*"', '""', text)):
        call.sandbox.hint(f"{hosts.LOGGING}: the sandbox reads no functions and no regular expressions in filters")
        raise errors.InvalidArgument(f"Unparseable filter: {text[:200]}")
    try:
        passes = compile_filter(text)
    except errors.InvalidArgument:
        raise errors.InvalidArgument(f"Unparseable filter: syntax error in {text[:200]}") from None
    if order not in ("", "timestamp asc", "timestamp desc"):
        raise errors.InvalidArgument(f"order_by must be one of: timestamp asc, timestamp desc; it is {order[:100]}")
    entries = _entries(call.sandbox)
    found = filter(passes, entries[::-1] if order == "timestamp desc" else entries)
    asked: int = call.body.get("pageSize", 0)
    if asked < 0:
        raise errors.InvalidArgument("page_size must not be negative")
    return {"entries": [entry for entry, _ in zip(found, range(min(asked or 50, _MOST_OF_A_PAGE)), strict=False)]}


def _entries(sandbox: Sandbox) -> list[dict[str, Any]]:
    """All that are kept, the oldest first."""
    sandbox.state.declare(SCHEMA)
    rows = sandbox.state.read().execute("SELECT entry FROM log_entry ORDER BY number").fetchall()
    return [json.loads(row["entry"]) for row in rows]


PLAYED: Handlers = {
    "v2": {
        "entries.list": Partly(
            _list,
            "of Artifact Registry's failed requests through docker hosts alone, in one page; in filters no functions and no =~",
        )
    }
}
