"""Pub/Sub, as far as a secret's notices need it: topics, and who may publish to them.

Knows topics and their policies. Delivers nothing: there are no subscriptions.
"""

from __future__ import annotations

import json
import re
import sqlite3
from typing import Any

from starlette.types import ASGIApp

from cgrunbook.sandbox import errors, hosts
from cgrunbook.sandbox.context import Sandbox
from cgrunbook.sandbox.google import service_usage
from cgrunbook.sandbox.google.policies import Policies
from cgrunbook.sandbox.google.wire import Answer, Call, Handlers, Partly, Service
from cgrunbook.sandbox.iam import permission_denied

SCHEMA = "CREATE TABLE IF NOT EXISTS topic (id TEXT PRIMARY KEY, document TEXT NOT NULL) WITHOUT ROWID;"
_ID = re.compile(r"(?!goog)[A-Za-z][A-Za-z0-9._~+%-]{2,254}")


def app(sandbox: Sandbox) -> ASGIApp:
    """The service as an ASGI application."""
    service_usage.prepare(sandbox)
    sandbox.state.declare(SCHEMA)
    return Service(sandbox, hosts.PUBSUB, PLAYED, service_usage.require_enabled, _foreign)


def _foreign(_: str, project: str) -> errors.GoogleError:
    """A project that is not the caller's is refused without a word on whether it is there."""
    return permission_denied("pubsub.topics.get", f"projects/{project}")


def _name(call: Call) -> str:
    return f"{call.project}/topics/{call.names['topic']}"


def _topic(call: Call) -> dict[str, Any]:
    row = call.sandbox.state.row("SELECT document FROM topic WHERE id = ?", call.names["topic"])
    if row is None:
        raise errors.NotFound(f"Resource not found (resource={call.names['topic']}).")
    document: dict[str, Any] = json.loads(row["document"])
    return document


def _create(call: Call) -> Answer:
    call.check("pubsub.topics.create")
    if not _ID.fullmatch(call.names["topic"]):
        raise errors.InvalidArgument(f"Invalid resource name given (name={_name(call)}).")
    topic = dict(call.body) | {"name": _name(call)}
    with call.sandbox.state.transaction() as connection:
        try:
            connection.execute("INSERT INTO topic VALUES (?, ?)", (call.names["topic"], json.dumps(topic)))
        except sqlite3.IntegrityError:
            raise errors.AlreadyExists(
                f"Resource already exists in the project (resource={call.names['topic']})."
            ) from None
    return topic


def _get(call: Call) -> Answer:
    call.check("pubsub.topics.get", _name(call))
    return _topic(call)


def _list(call: Call) -> Answer:
    call.check("pubsub.topics.list")
    rows = call.sandbox.state.read().execute("SELECT id, document FROM topic WHERE id > ? ORDER BY id", (call.after,))
    return call.page("topics", ((row["id"], json.loads(row["document"])) for row in rows))


def _delete(call: Call) -> Answer:
    call.check("pubsub.topics.delete", _name(call))
    _topic(call)
    with call.sandbox.state.transaction() as connection:
        connection.execute("DELETE FROM topic WHERE id = ?", (call.names["topic"],))
        call.sandbox.iam.forget(_name(call))
    return {}


PLAYED: Handlers = {
    "v1": {
        "projects.topics.create": Partly(_create, "nothing of schemas, ingestion and encryption is looked at"),
        "projects.topics.get": _get,
        "projects.topics.list": _list,
        "projects.topics.delete": _delete,
        **Policies("pubsub.topics", _name, _topic).methods("projects.topics"),
    }
}
