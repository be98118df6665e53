"""Cloud Logging, as far as Artifact Registry's platform logs need it: the last failed requests to one repository.

It knows how entries are asked for, and what may stand in them. It writes none. That they are LogEntries, and what they tell, is
documented; under which keys they tell it is not, so whatever key says it in its own words is read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from cgrunbook.cloud.google_service import GoogleService
from cgrunbook.redaction import one_line

LOGGING = "logging.googleapis.com"
READ_LOGS = "logging.logEntries.list"

# Entries asked for at once, and of those that fit the ones that are told of.
_PAGE = 20
_MOST = 3
# One thing that an entry says: what somebody else wrote, in one line, redacted.
_short = partial(one_line, most=90)


@dataclass(frozen=True)
class FailedRequest:
    """One request that Artifact Registry refused; who sent it is not told.

    Args:
        at: when, as the entry has it.
        method: what was called, "" where the entry does not say it, as all of these.
        image: what of the repository it was about.
        status: what came of it.
    """

    at: str
    method: str
    image: str
    status: str

    def __str__(self) -> str:
        """In one line."""
        return " ".join(filter(None, (self.at, self.method, self.image, f"({self.status})" if self.status else "")))


class CloudLogging(GoogleService):
    """The project's log entries; one official client more would be needed for one plain request."""

    def failed_requests(self, repository: str, since: datetime) -> tuple[FailedRequest, ...]:
        """The last failed requests to a repository, newest first; of many only the last.

        Args:
            repository: projects/P/locations/L/repositories/R.
            since: how far back, aware.

        Raises:
            PermissionMissing: the caller lacks logging.logEntries.list.
            ApiDisabled: the Logging API is off.
        """
        name = repository.rpartition("/")[2]
        begin = since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        body = {
            "resourceNames": [f"projects/{self.connection.project_id}"],
            "filter": (
                f'logName:"artifactregistry.googleapis.com" AND timestamp>="{begin}" AND (severity>=WARNING OR '
                f'httpRequest.status>=400) AND (resource.labels.repository_id="{name}" OR "repositories/{name}")'
            ),
            "orderBy": "timestamp desc",
            "pageSize": _PAGE,
        }
        doing, address = f"read the failed requests to {name}", f"{self.connection.logging}/v2/entries:list"
        entries = self._repeat(doing, lambda: self._request("POST", address, doing, body)).get("entries") or ()
        place = repository.split("/")[3]
        return tuple(_failed(entry, name) for entry in entries if _is_of(entry, place, name))[:_MOST]


def _is_of(entry: Any, location: str, name: str) -> bool:
    """Whether an entry is of this repository, and not of one whose name begins alike or that is elsewhere."""
    if not isinstance(entry, Mapping):
        return False
    there = _said(entry, "location", "resourcelocation")
    whole = re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", json.dumps(entry))
    return bool(whole) and there in ("", location)


def _failed(entry: Mapping[str, Any], name: str) -> FailedRequest:
    about = _said(entry, "resourcename")
    status = next((one for key, one in _all(entry) if key == "status" and isinstance(one, Mapping)), {})
    told = " ".join(str(status[key]) for key in ("code", "message") if key in status)
    image = about.partition(f"/repositories/{name}/")[2]
    return FailedRequest(
        at=_short(str(entry.get("timestamp", ""))[:19].replace("T", " ")),
        method=_short(_said(entry, "methodname", "method", "requestmethod").rpartition(".")[2]),
        image=_short(image or _said(entry, "requesturl")),
        status=_short(told or _said(entry, "status", "severity")),
    )


def _said(entry: Mapping[str, Any], *names: str) -> str:
    """What an entry says under the first of these names that it has anywhere, however it spells it."""
    said = {key: str(value) for key, value in [*_all(entry)][::-1] if isinstance(value, str | int)}
    return next((said[name] for name in names if said.get(name)), "")


def _all(value: Any) -> Iterator[tuple[str, Any]]:
    """Every key of an entry with its value: artifactregistry.googleapis.com/method_name is methodname."""
    if isinstance(value, Mapping):
        for key, one in value.items():
            yield re.sub(r"^.*/|[^a-z]", "", key.lower()), one
            yield from _all(one)
