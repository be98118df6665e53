"""Goes along the walk: fills in each call, sends it, follows the operation that it begins, and writes down what came."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from cgrunbook.cloud.registry_sign_in import BasicCredentials
from cgrunbook.errors import Interrupted, PermissionMissing, StepFailed
from cgrunbook.redaction import Secret
from tests.probe.sending import Answer, Sender
from tests.probe.walk import Call, Outcome
from tests.probe.words import Words

# Seconds for what takes a moment, such as a grant, and between two looks at it.
_PATIENCE, _LOOK = 180.0, 5.0


class Walking:
    """One walk.

    Args:
        sender: how calls go out.
        words: how answers are written down.
        fill: what the calls' braces stand for; what calls keep is added.
        begun: told what a call may make, before it is sent.
    """

    def __init__(self, sender: Sender, words: Words, fill: dict[str, str], begun: Callable[[str], None]) -> None:
        self._sender, self._words, self._fill, self._begun = sender, words, fill, begun
        # The sandbox's moments are shorter.
        self._look = 0.5 if sender.cloud.connection.target == "sandbox" else _LOOK
        self._kept: dict[str, Secret | BasicCredentials] = {}
        self._past: dict[str, Outcome] = {}
        #: What is written down, a call each, and how long what takes a moment took.
        self.written: list[dict[str, Any]] = []
        self.seconds: dict[str, str] = {}

    def go(self, calls: Iterable[Call], told: Callable[[str], None] = lambda _name: None) -> None:
        """Ask each.

        Raises:
            CgrunbookError: what the others need was refused, a service does not answer, or there are no credentials any more.
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
        kept = {call.who.removeprefix("kept:")} if call.who.startswith("kept:") else set()
        return sorted((named - self._fill.keys()) | (kept - self._kept.keys()))

    def _ask(self, call: Call, entry: dict[str, Any]) -> None:
        begun = time.monotonic()
        outcome, written = self._once(call)
        while call.again(outcome, self._past):
            waited = time.monotonic() - begun
            if waited > _PATIENCE:
                self.seconds[call.name] = f"more than {waited:.0f}"
                break
            self._sender.cloud.attempts.pause(self._look, call.name)
            outcome, written = self._once(call)
            self.seconds[call.name] = f"about {time.monotonic() - begun:.0f}"
        entry |= written
        self._past[call.name] = outcome
        self._keep(call, outcome.answer)
        if call.vital and outcome.refused:
            kind = PermissionMissing if outcome.answer.status == 403 else StepFailed
            raise kind(
                f"{call.name} was refused with {outcome.answer.status}: {outcome.said or 'no reason'}",
                "Nothing more can be asked without it. It needs roles/artifactregistry.admin and roles/secretmanager.admin in the "
                "project, and roles/serviceusage.serviceUsageAdmin where one of the two APIs is off.",
            )

    def _once(self, call: Call) -> tuple[Outcome, dict[str, Any]]:
        method, host, path = call.request.split(" ", 2)
        if call.makes:
            kind, name = call.makes.split()
            self._begun(f"{kind} {_filled(name, self._fill)}")
        who = self._kept[call.who.removeprefix("kept:")] if call.who.startswith("kept:") else call.who
        if method == "RUN":
            answer = self._sender.chainctl(_filled(path, self._fill).split(" "))
        else:
            body, headers = _filled(call.body, self._fill), _filled(dict(call.headers), self._fill)
            answer = self._sender.send(method, host, _filled(path, self._fill), body=body, who=who, headers=headers)
        written = self._words.answer(answer, call.shown)
        said = _sentence(written)
        if answer.status == 200 and "/operations/" in f"/{answer.found('name')}" and method != "GET":
            answer = self._sender.finished(host, answer)
            written["operation"] = self._words.answer(answer, call.shown)
            said = _sentence(written["operation"])
        return Outcome(answer, said), written

    def _keep(self, call: Call, answer: Answer) -> None:
        for name, where in call.keeps.items():
            if where == "pull token" and (token := answer.pull_token) is not None:
                self._kept[name] = BasicCredentials(token.username, token.password)
                self._fill[f"{name}_username"] = token.username
                self._fill[f"{name}_password"] = base64.b64encode(token.password.reveal().encode()).decode()
                self._words.learn(token.username, "USERNAME")
            elif not (value := answer.found(where)):
                continue
            elif where == "token":
                self._kept[name] = Secret(value)
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
