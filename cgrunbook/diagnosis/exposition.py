"""A status as Prometheus reads it: its text exposition format 0.0.4, for node_exporter's textfile collector.

It knows the format's rules: names, escapes, one group a metric. What the numbers are of, `status.py` says.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

from cgrunbook.diagnosis.status import Status
from cgrunbook.errors import ExitCode
from cgrunbook.steps.step import Mark

# A check's number, the worse the greater, so that an alert can say from where on it matters.
VALUES = {Mark.OK: 0, Mark.NOT_CHECKED: 1, Mark.TO_DO: 2, Mark.WARN: 2, Mark.FAIL: 3}

_Samples = Iterable[tuple[Mapping[str, str], float]]


def exposition(project: str, exit_code: ExitCode, at: datetime, status: Status | None) -> str:
    """The metrics as text.

    Args:
        project: the project's id.
        exit_code: what the command line ends with.
        at: when it looked.
        status: what it saw; None where it could not look at anything.
    """
    whole = {"project": project}
    metrics: list[tuple[str, str, _Samples]] = [
        ("status_exit_code", "What cgrunbook status ended with: " + _codes(), [(whole, exit_code)]),
        ("status_timestamp_seconds", "When cgrunbook status looked.", [(whole, at.timestamp())]),
    ]
    if status is not None:
        metrics += _of(status, whole)
    return "".join(line for name, told, samples in metrics for line in _metric(f"cgrunbook_{name}", told, samples))


def _of(status: Status, whole: Mapping[str, str]) -> Iterator[tuple[str, str, _Samples]]:
    named = [
        ({**whole, "location": life.repository.location, "repository": life.repository.id}, life)
        for life in status.lives
    ]
    unread = [({**whole, "location": place or "all"}, 1.0) for place in status.unread]
    yield "status_location_unread", "1 for a location whose repositories could not be read.", unread
    yield (
        "pull_token_info",
        "With what a repository signs in at cgr.dev.",
        [
            ({**names, "username": life.repository.username, "secret": life.secret_id, "version": life.version}, 1.0)
            for names, life in named
        ],
    )
    yield (
        "pull_token_expiry_timestamp_seconds",
        "When the token ends.",
        [(names, life.expires.timestamp()) for names, life in named if life.expires],
    )
    yield (
        "pull_token_last_seen_timestamp_seconds",
        "When Chainguard last saw the identity; whether a pull counts is not documented.",
        [(names, life.last_seen.timestamp()) for names, life in named if life.last_seen],
    )
    yield (
        "pull_token_others",
        "Live tokens of ours for the same secret that no repository looked at signs in with.",
        [(names, float(len(life.others))) for names, life in named if life.others is not None],
    )
    yield (
        "pull_token_check",
        "How a check came out: 0 ok, 1 not checked, 2 warn, 3 fail.",
        [
            ({**names, "check": finding.code}, float(VALUES[finding.mark]))
            for names, life in named
            for finding in life.findings
        ],
    )


def _metric(name: str, told: str, samples: _Samples) -> Iterator[str]:
    lines = [f"{name}{{{_labels(labels)}}} {value:.15g}\n" for labels, value in samples]
    if lines:
        yield f"# HELP {name} {told.replace(chr(92), chr(92) * 2).replace(chr(10), ' ')}\n"
        yield f"# TYPE {name} gauge\n"
        yield from lines


def _labels(labels: Mapping[str, str]) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _codes() -> str:
    return "; ".join(f"{code} {code.means}" for code in ExitCode)
