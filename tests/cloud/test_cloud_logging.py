"""The last failed requests to a repository, however an entry spells what it tells."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from cgrunbook.cloud import Attempts
from cgrunbook.cloud.cloud_logging import CloudLogging

NAME = "projects/p/locations/us-central1/repositories/private"


def entry(**more: Any) -> dict[str, Any]:
    labels = {"repository_id": "private", "location": "us-central1"}
    return {"timestamp": "2026-11-28T05:00:00.123Z", "resource": {"labels": labels}, **more}


def told(monkeypatch: pytest.MonkeyPatch, *entries: Any) -> list[str]:
    client = CloudLogging(SimpleNamespace(project_id="p", logging="http://x"), Attempts())  # type: ignore[arg-type]
    monkeypatch.setattr(client, "_request", lambda *_: {"entries": [*entries]})
    return [str(one) for one in client.failed_requests(NAME, datetime.now(UTC))]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            {
                "labels": {"method_name": "Docker-GetManifest", "resource_name": f"{NAME}/dockerImages/go"},
                "jsonPayload": {"status": {"code": 7, "message": "denied"}},
            },
            "Docker-GetManifest dockerImages/go (7 denied)",
        ),
        (
            {
                "protoPayload": {
                    "methodName": "google.x.v1.GetManifest",
                    "resourceName": f"{NAME}/packages/go",
                    "status": {"message": "gone"},
                }
            },
            "GetManifest packages/go (gone)",
        ),
        (
            {
                "labels": {"artifactregistry.googleapis.com/method_name": "Pull"},
                "httpRequest": {"status": 404, "requestUrl": "https://h/v2/p/private/go/manifests/x"},
            },
            "Pull https://h/v2/p/private/go/manifests/x (404)",
        ),
        ({"severity": "ERROR", "textPayload": "x"}, "(ERROR)"),
    ],
    ids=["labels", "proto", "http", "bare"],
)
def test_an_entry_is_told_in_one_line_whichever_of_its_parts_says_it(
    monkeypatch: pytest.MonkeyPatch, more: dict[str, Any], said: str
) -> None:
    assert told(monkeypatch, entry(**more)) == [f"2026-11-28 05:00:00 {said}"]


def test_only_entries_of_the_repository_are_told_and_of_many_the_first_few(monkeypatch: pytest.MonkeyPatch) -> None:
    other = {"resource": {"labels": {"repository_id": "private-2", "location": "us-central1"}}, "timestamp": "2026"}
    far = {"resource": {"labels": {"repository_id": "private", "location": "europe"}}, "timestamp": "2025"}
    assert told(monkeypatch, other, far, "rubbish", None, {}) == []
    assert len(told(monkeypatch, *[entry()] * 9)) == 3


def test_what_somebody_wrote_into_an_entry_steers_no_terminal_and_gives_no_token_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    secret = f"ya29.{secrets.token_urlsafe(40)}"
    payload = {"status": {"message": f"\x1b[31mrefused\n {secret}"}}
    (said,) = told(monkeypatch, entry(jsonPayload=payload, labels={"user": "ada@example.com"}))
    assert "refused" in said
    assert secret not in said
    assert "\x1b" not in said
    assert "ada@" not in said
