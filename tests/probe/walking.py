"""Goes along the walk: fills in each call, sends it, follows the operation that it begins, and writes down what came."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from cgrunbook.errors import Interrupted, ServiceError
from cgrunbook.redaction import Secret
from tests.probe.sending import Answer, Sender
from tests.probe.walk import Call, Outcome
from tests.probe.words import Words

# Seconds for what takes a moment, such as a grant, and between two looks at it.
_PATIENCE, _LOOK = 180.0, 5.0


class Stopped(ServiceError):
    """The walk cannot go on."""


class Walking:
    """One walk.

    Args:
        sender: how calls go out.
        words: how answers are written down.
        fill: what the calls' braces stand for; what calls keep is added.
        begun: told what a call may make, before it is sent.
        look: seconds between two looks at what takes a moment.
    """

    def __init__(
        self, sender: Sender, words: Words, fill: dict[str, str], begun: Callable[[str], None], look: float = _LOOK
    ) -> None:
        self._sender, self._words, self._fill, self._begun, self._look = sender, words, fill, begun, look
        self._tokens: dict[str, Secret] = {}
        self._past: dict[str, Outcome] = {}
        #: What is written down, a call each, and how long what takes a moment took.
        self.written: list[dict[str, Any]] = []
        self.seconds: dict[str, str] = {}

    def go(self, calls: Iterable[Call], told: Callable[[str], None] = lambda _name: None) -> None:
        """Ask each.

        Raises:
            Stopped: without what a call should have made the others say nothing.
            CgrunbookError: a service does not answer, or there are no credentials any more.
            Interrupted: somebody stopped it.
        """
        for call in calls:
            if self._sender.cloud.attempts.cancelled.is_set():
                raise Interrupted(f"Stopped before {call.name}.")
            told(call.name)
            entry: dict[str, Any] = {"call": call.name, "request": call.request}
            self.written.append(entry)
            if missing := self._missing(call):
                entry["not asked"] = f"nothing brought {', '.join(missing)}"
            elif not call.when(self._past):
                entry["not asked"] = "there was no need"
            else:
                self._ask(call, entry)

    def _missing(self, call: Call) -> list[str]:
        named = set(re.findall(r"\{(\w+)\}", f"{call.request} {call.body}"))
        token = {call.who.removeprefix("token:")} if call.who.startswith("token:") else set()
        return sorted((named - self._fill.keys()) | (token - self._tokens.keys()))

    def _ask(self, call: Call, entry: dict[str, Any]) -> None:
        begun = time.monotonic()
        while True:
            outcome = self._once(call, entry)
            waited = time.monotonic() - begun
            if not call.again(outcome, self._past) or waited > _PATIENCE:
                break
            self._sender.cloud.attempts.pause(self._look, call.name)
        if waited > self._look:
            self.seconds[call.name] = f"about {5 * round(waited / 5)}" if waited < _PATIENCE else "more than could be waited for"
        self._past[call.name] = outcome
        self._keep(call, outcome.answer)
        if call.vital and outcome.answer.status >= 400:
            raise Stopped(
                f"{call.name} was refused with {outcome.answer.status}: {outcome.said or 'no reason'}",
                "Nothing else can be asked without it. The rights that are needed: "
                "roles/artifactregistry.admin and roles/secretmanager.admin in the project, and "
                "roles/serviceusage.serviceUsageAdmin where one of the two APIs is off.",
            )

    def _once(self, call: Call, entry: dict[str, Any]) -> Outcome:
        method, host, path = call.request.split(" ", 2)
        if call.makes:
            kind, name = call.makes.split()
            self._begun(f"{kind} {self._fill.get(name, name)}")
        who: str | Secret = call.who
        if call.who.startswith("token:"):
            who = self._tokens[call.who.removeprefix("token:")]
        answer = self._sender.send(
            method, host, _filled(path, self._fill), body=_filled(call.body, self._fill), who=who, headers=call.headers
        )
        written = self._words.answer(answer, call.shown)
        said = _sentence(written)
        entry |= written
        if answer.status == 200 and "/operations/" in f"/{answer.found('name')}" and method != "GET":
            answer = self._sender.finished(host, answer)
            entry["operation"] = written = self._words.answer(answer, call.shown)
            said = _sentence(written)
        return Outcome(answer, said)

    def _keep(self, call: Call, answer: Answer) -> None:
        for name, where in call.keeps.items():
            if not (value := answer.found(where)):
                continue
            if name.endswith("token"):
                self._tokens[name] = Secret(value)
            elif name == "number_name":  # projects/123456789012/secrets/...
                if (number := value.split("/")[1]).isdigit():
                    self._fill["number"] = number
                    self._words.learn(number, "NUMBER")
            else:
                self._fill[name] = value
        if "digest" in self._fill:
            self._fill["signature"] = f"{self._fill['digest'].replace(':', '-')}.sig"


def _filled(value: Any, fill: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return re.sub(r"\{(\w+)\}", lambda found: fill[found[1]], value)
    if isinstance(value, dict):
        return {_filled(name, fill): _filled(item, fill) for name, item in value.items()}
    return [_filled(item, fill) for item in value] if isinstance(value, list) else value


def _sentence(written: Mapping[str, Any]) -> str:
    """A refusal's sentence: Google's `error`, also in an operation, or a registry's `errors`."""
    body = written.get("body")
    if isinstance(body, dict):
        errors = body.get("errors")
        found = body.get("error") or (errors[0] if isinstance(errors, list) and errors else None)
        if isinstance(found, dict):
            return str(found.get("message") or found.get("code") or "")
    return str(written.get("text", ""))
