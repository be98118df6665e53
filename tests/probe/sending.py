"""How a call goes out: over the product's own connections and credentials, and with nothing explained on its way back."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import requests

from cgrunbook.cloud import Cloud, sessions
from cgrunbook.cloud.pull_token import PullToken, read_pull_token
from cgrunbook.cloud.registry_sign_in import ACCESS_TOKEN_USER, BasicCredentials
from cgrunbook.errors import MalformedToken, Temporary
from cgrunbook.redaction import Secret

# Seconds for one answer, all of it; an upstream that does not answer takes Artifact Registry some of them.
_ANSWER = 120.0
# Seconds for one operation, and between two looks at it.
_OPERATION, _LOOK = 600.0, 2.0
_LARGEST = 4 * 1024 * 1024

# What is sent again: a quota for the minute, and "away for now"; without an answer what may come twice. Seconds before each.
_BUSY = (429, 503)
_REPEATED = ("GET", "HEAD", "PATCH")
_PAUSES = (2.0, 20.0, 60.0)


@dataclass(frozen=True)
class Answer:
    """What came back.

    Args:
        status: HTTP's.
        headers: by their names in lower case.
        body: parsed where it is JSON, else text; None where there is none.
        pull_token: what chainctl printed, which stands nowhere else.
    """

    status: int
    headers: Mapping[str, str]
    body: Any = field(repr=False)
    pull_token: PullToken | None = field(default=None, repr=False)

    def found(self, path: str) -> str:
        """What stands somewhere in it, "" where it does not: "header:location", or a body's field, "config.digest"."""
        if path.startswith("header:"):
            return self.headers.get(path.removeprefix("header:"), "")
        value = self.body
        for part in path.split("."):
            if isinstance(value, list):
                value = value[int(part)] if part.isdigit() and int(part) < len(value) else None
            else:
                value = value.get(part) if isinstance(value, dict) else None
        return value if isinstance(value, str) else ""

    @property
    def disabled(self) -> bool:
        """Whether an API says that it is off."""
        return self.status == 403 and "SERVICE_DISABLED" in json.dumps(self.body)


class Sender:
    """Sends one request at a time.

    Args:
        cloud: whose connection and credentials are used; setting its attempts' `cancelled` ends waits.
    """

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        connection = cloud.connection
        self._session = sessions.session()
        registries = {"docker": connection.artifact_registry_host, "cgr": connection.cgr}
        self.bases = {
            "artifactregistry": connection.artifact_registry,
            "secretmanager": connection.secret_manager,
            "serviceusage": connection.service_usage,
            "cloudresourcemanager": connection.resource_manager,
        } | {name: f"{host.scheme}://{host.address}" for name, host in registries.items()}
        self.registries = registries

    def send(
        self,
        method: str,
        host: str,
        path: str,
        *,
        body: Any = None,
        who: str | Secret | BasicCredentials = "caller",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request, sent again only where the service says that it is busy.

        Args:
            method: HTTP's.
            host: a key of `bases`.
            path: from the root, with its query.
            body: JSON.
            who: "caller", who is signed in; "nobody"; "docker", the caller as docker's login has it; "a stranger", with a
                password that nobody has; or a token, or a pair.
            headers: in addition.

        Raises:
            Temporary: there was no answer, or it did not end.
            CgrunbookError: there are no credentials.
        """
        for pause in (*_PAUSES, None):
            try:
                answer = self._once(method, host, path, body, self._signed(host, who) | dict(headers or {}))
            except Temporary:
                if pause is None or method not in _REPEATED:
                    raise
            else:
                if pause is None or answer.status not in _BUSY:
                    return answer
            self.cloud.attempts.pause(pause, host)
        raise AssertionError

    def finished(self, host: str, answer: Answer) -> Answer:
        """Look at an operation until it is done.

        Args:
            host: a key of `bases`.
            answer: what began it.

        Raises:
            Temporary: it is not done after `_OPERATION` seconds, or nobody answers.
        """
        deadline = time.monotonic() + _OPERATION
        answer = self.send("GET", host, f"/v1/{answer.found('name')}")
        while answer.status == 200 and not (isinstance(answer.body, dict) and answer.body.get("done")):
            if time.monotonic() > deadline:
                raise Temporary(f"An operation of {host} was not done after {_OPERATION:.0f} s.")
            self.cloud.attempts.pause(_LOOK, "an operation")
            answer = self.send("GET", host, f"/v1/{answer.found('name')}")
        return answer

    def chainctl(self, words: Sequence[str]) -> Answer:
        """Run chainctl; its exit code is the status, and what it printed is in the body unless it is a pull token.

        Raises:
            CgrunbookError: it is not there, or does not end.
        """
        ended = self.cloud.chainctl._run(words)
        body: dict[str, Any] = {"said": ended.said}
        token = None
        if "create" not in words:
            return Answer(ended.code, {}, body | {"printed": _read(ended.output.encode())})
        try:
            token = read_pull_token(ended.output)
        except MalformedToken as error:
            body["said"] += error.wrong
        if token is not None and token.issued is not None:
            body["lives"] = f"{round((token.expires - token.issued).total_seconds(), -1):.0f} s"
        return Answer(ended.code, {}, body, token)

    def _signed(self, host: str, who: str | Secret | BasicCredentials) -> dict[str, str]:
        if who == "nobody":
            return {}
        if who == "a stranger":
            who = BasicCredentials(f"{'0' * 40}/{'0' * 16}", Secret("a-password-that-nobody-has"))
        if isinstance(who, BasicCredentials):
            return {"Authorization": who.header()}
        if isinstance(who, Secret):
            return {"Authorization": f"Bearer {who.reveal()}"}
        token = self.cloud.access_token()
        if who == "docker":
            return {"Authorization": BasicCredentials(ACCESS_TOKEN_USER, token).header()}
        charged = getattr(self.cloud.connection.credentials, "quota_project_id", None)
        quota = {"x-goog-user-project": charged} if charged and host not in self.registries else {}
        return {"Authorization": f"Bearer {token.reveal()}"} | quota

    def _once(self, method: str, host: str, path: str, body: Any, headers: Mapping[str, str]) -> Answer:
        deadline = time.monotonic() + _ANSWER
        try:
            with self._session.request(
                method,
                self.bases[host] + path,
                json=body,
                headers={"Accept-Encoding": "identity"} | dict(headers),
                timeout=(10, 60),
                allow_redirects=False,
                stream=True,
            ) as response:
                content = bytearray()
                for chunk in response.iter_content(65536):
                    content += chunk
                    if time.monotonic() > deadline or len(content) > _LARGEST:
                        raise Temporary(f"{host} did not come to the end of its answer.")
        except requests.RequestException as error:
            raise Temporary(f"{host} did not answer {method}: {type(error).__name__}.") from error
        return Answer(
            response.status_code, {name.lower(): value for name, value in response.headers.items()}, _read(content)
        )


def _read(content: bytes | bytearray) -> Any:
    if not content:
        return None
    text = content.decode("utf-8", "replace")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
