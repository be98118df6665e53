"""Pub/Sub, as far as a secret's notices need it: topics, and who may publish to them.

Knows topics and their policies. Delivers nothing: there are no subscriptions.
"""

from __future__ import annotations

import json
import re
from typing import Any

from starlette.types import ASGIApp

from cgrunbook.sandbox import errors, hosts
from cgrunbook.sandbox.context import Sandbox
from cgrunbook.sandbox.google import service_usage
from cgrunbook.sandbox.google.policies import Policies
from cgrunbook.sandbox.google.wire import Answer, Call, Handlers, Partly, Service
from cgrunbook.sandbox.iam import permission_denied

_ID = re.compile(r"(?!goog)[A-Za-z][A-Za-z0-9._~+%-]{2,254}")


def app(sandbox: Sandbox) -> ASGIApp:
    """The service as an ASGI application."""
    service_usage.prepare(sandbox)
    return Service(sandbox, hosts.PUBSUB, PLAYED, service_usage.require_enabled, _foreign)


def _foreign(_: str, project: str) -> errors.GoogleError:
    """A project that is not the caller's is refused without a word on whether it is there."""
    return permission_denied("pubsub.topics.get", f"projects/{project}")


def _name(call: Call) -> str:
    return f"{call.project}/topics/{call.names['topic']}"


def _topics(sandbox: Sandbox) -> dict[str, Any]:
    """All topics by their ids; there are few, and so they need no table."""
    kept: dict[str, Any] = json.loads(sandbox.state.setting("pubsub_topics") or "{}")
    return kept


def _topic(call: Call) -> dict[str, Any]:
    topic: dict[str, Any] | None = _topics(call.sandbox).get(call.names["topic"])
    if topic is None:
        raise errors.NotFound(f"Resource not found (resource={call.names['topic']}).")
    return topic


def _create(call: Call) -> Answer:
    call.check("pubsub.topics.create")
    if not _ID.fullmatch(call.names["topic"]):
        raise errors.InvalidArgument(f"Invalid resource name given (name={_name(call)}).")
    topic = dict(call.body) | {"name": _name(call)}
    with call.sandbox.state.transaction():
        topics = _topics(call.sandbox)
        if call.names["topic"] in topics:
            raise errors.AlreadyExists(f"Resource already exists in the project (resource={call.names['topic']}).")
        call.sandbox.state.remember("pubsub_topics", json.dumps(topics | {call.names["topic"]: topic}))
    return topic


def _get(call: Call) -> Answer:
    call.check("pubsub.topics.get", _name(call))
    return _topic(call)


def _list(call: Call) -> Answer:
    call.check("pubsub.topics.list")
    return call.page("topics", (entry for entry in sorted(_topics(call.sandbox).items()) if entry[0] > call.after))


def _delete(call: Call) -> Answer:
    call.check("pubsub.topics.delete", _name(call))
    _topic(call)
    with call.sandbox.state.transaction():
        topics = _topics(call.sandbox)
        topics.pop(call.names["topic"], None)
        call.sandbox.state.remember("pubsub_topics", json.dumps(topics))
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
