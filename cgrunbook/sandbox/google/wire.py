"""Google's HTTP front end: credentials, strict JSON, system parameters, enabled APIs, filters and pages of lists.

Knows how a published method is called and how its answer is written. Knows no service's resources.
"""

from __future__ import annotations

import base64
import binascii
import functools
import inspect
import json
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote

from starlette.types import Receive, Scope, Send

from cgrunbook.sandbox import errors
from cgrunbook.sandbox.asgi import respond
from cgrunbook.sandbox.context import Sandbox
from cgrunbook.sandbox.google import schema
from cgrunbook.sandbox.google.filters import Test, compile_filter
from cgrunbook.sandbox.google.messages import ListOf, String, Violations, snake
from cgrunbook.sandbox.google.partial_answers import cut, paths_of
from cgrunbook.sandbox.google.routes import Routes
from cgrunbook.sandbox.google.schema import Method
from cgrunbook.sandbox.settings import QUOTA_PROJECT_ID, QUOTA_PROJECT_NUMBER

MAX_BODY_BYTES = 10 * 1024 * 1024
_MAX_PATH_BYTES = 8192
_MAX_JSON_DEPTH = 100
#: Parameters that every Google API takes (https://cloud.google.com/apis/docs/system-parameters).
_SYSTEM_NAMES = (
    "key $key prettyPrint $prettyPrint pp $pp quotaUser $quotaUser userProject $userProject "
    "access_token oauth_token callback $callback $.xgafv $xgafv uploadType upload_protocol $httpHeaders "
    "$outputDefaults $unique $userIp trace $ct bearer_token"
)
_SYSTEM_PARAMETERS = frozenset(_SYSTEM_NAMES.split())


@dataclass(frozen=True)
class Call:
    """One call of one method.

    Attributes:
        method: what is called.
        principal: who calls.
        names: what the path's variables hold.
        query: parameters under their JSON names, parsed.
        body: the parsed body, {} without one.
    """

    sandbox: Sandbox
    method: Method
    principal: str
    names: Mapping[str, str]
    query: Mapping[str, Any] = field(repr=False)  # a payload, or an access token, may stand in both
    body: Mapping[str, Any] = field(repr=False)

    @property
    def project(self) -> str:
        """The project's resource name, with its id, whichever of id and number the caller gave."""
        return f"projects/{self.sandbox.settings.project_id}"

    def check(self, permission: str, resource: str | None = None) -> None:
        """Refuse a caller without a permission on a resource, named with the project's id, or on the project."""
        self.sandbox.iam.check(self.principal, permission, resource or self.project)

    @functools.cached_property
    def passes(self) -> Test:
        """What tells whether a list's filter lets a message through.

        Raises:
            errors.InvalidArgument: the filter cannot be read.
        """
        return compile_filter(self.query.get("filter", ""))

    @functools.cached_property
    def after(self) -> str:
        """The key of the last entry of the page before; "" for the first page.

        Raises:
            errors.InvalidArgument: the page token is no token of ours.
        """
        token = self.query.get("pageToken")
        if not token:
            return ""
        try:
            raw = base64.b64decode(token.encode(), altchars=b"-_", validate=True)
            if raw[:1] != b"\x0a":
                raise ValueError(token)
            return raw[1:].decode()
        except (binascii.Error, ValueError):
            raise errors.InvalidArgument("The provided page token is not valid.") from None

    def page(
        self,
        field: str,
        entries: Iterable[tuple[str, dict[str, Any]]],
        *,
        shown: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
        default: int = 100,
        most: int = 1000,
    ) -> Answer:
        """A page of a list: the entries that pass the filter, and a token if there are more.

        Args:
            field: what the answer calls the entries.
            entries: key and message of each entry after `after`, in the order of the keys.
            shown: makes of a message what is answered; the filter is asked before.
            default: how many for an absent or zero page size.
            most: what larger page sizes are cut to.

        Raises:
            errors.InvalidArgument: the page size is negative, or the filter cannot be read.
        """
        asked: int = self.query.get("pageSize", 0)
        if asked < 0:
            raise errors.InvalidArgument("The page size must not be negative.")
        page: list[dict[str, Any]] = []
        last, passes = self.after, self.passes
        for key, message in entries:
            if not passes(message):
                continue
            if len(page) == min(asked or default, most):
                token = base64.urlsafe_b64encode(b"\x0a" + last.encode()).decode()
                return {field: page, "nextPageToken": token}
            page.append(message if shown is None else shown(message))
            last = key
        return {field: page}


Answer = dict[str, Any]
Handler = Callable[[Call], Answer | Awaitable[Answer]]


@dataclass(frozen=True)
class Partly:
    """A handler that plays its method in part.

    Attributes:
        handler: what answers.
        missing: what is missing, for the documentation.
    """

    handler: Handler
    missing: str


#: What a service plays: version, the method's published name, and what answers it.
Handlers = Mapping[str, Mapping[str, Handler | Partly]]


class Service:
    """An ASGI application: every published method of a service, some of them played.

    Args:
        host: the service's real host name.
        played: what answers, by version and method.
        enabled: called with the sandbox and the host before each method, and with the number of another project that the
            request is charged to; raises SERVICE_DISABLED.
        foreign: makes the refusal of a project that is not the sandbox's.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        host: str,
        played: Handlers,
        enabled: Callable[..., None],
        foreign: Callable[[str, str], errors.GoogleError] | None = None,
    ) -> None:
        self._sandbox = sandbox
        self._host = host
        self._enabled = enabled
        self._foreign = foreign or _foreign
        versions = schema.versions(host)
        self._routes = Routes(method for version in versions.values() for method in version.methods.values())
        self._handlers = {
            versions[version].methods[name]: handler.handler if isinstance(handler, Partly) else handler
            for version, handlers in played.items()
            for name, handler in handlers.items()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path = _segments(scope)
        headers = dict(scope["headers"])
        method, names = self._find(self._verb(scope, headers), path)
        authorization = headers.get(b"authorization")
        principal = self._sandbox.principal(authorization.decode("latin-1") if authorization else None)
        if principal is None:
            raise errors.unauthenticated("CREDENTIALS_MISSING", self._host)
        scope["state"]["principal"] = principal
        settings = self._sandbox.settings
        self._charge(headers.get(b"x-goog-user-project", b"").decode("latin-1"), principal)
        if (project := names.get("project")) not in {None, settings.project_id, settings.project_number}:
            raise self._foreign(self._host, str(project))
        handler = self._handlers.get(method)
        if handler is None:
            self._sandbox.hint(f"{self._host} has {method.name} and the sandbox has not")
            raise errors.Unimplemented(f"Operation is not implemented, or supported, or enabled: {method.name}.")
        self._enabled(self._sandbox, self._host)
        query, int_enums, fields = _query(scope, headers, method)
        parts = paths_of(fields, method.answer) if fields else [()]
        answer = handler(Call(self._sandbox, method, principal, names, query, await _body(receive, headers, method)))
        if inspect.isawaitable(answer):
            answer = await answer
        rendered = cut(method.answer.render(answer, int_enums=int_enums), parts)
        await respond(send, 200, json.dumps(rendered, indent=2, ensure_ascii=False).encode() + b"\n")

    def _charge(self, quota_project: str, principal: str) -> None:
        """Refuse to charge a request to a project that the caller may not use, or in which the API is off.

        It is asked first, whatever the request is about.
        """
        settings = self._sandbox.settings
        if not quota_project:
            return
        ours = quota_project in {settings.project_id, settings.project_number}
        known = ours or quota_project in {QUOTA_PROJECT_ID, QUOTA_PROJECT_NUMBER}
        own = f"projects/{settings.project_id}"
        if not known or not self._sandbox.iam.allowed(principal, "serviceusage.services.use", own):
            raise _not_yours_to_use(self._host, quota_project)
        if not ours:
            self._enabled(self._sandbox, self._host, QUOTA_PROJECT_NUMBER)

    @staticmethod
    def _verb(scope: Scope, headers: Mapping[bytes, bytes]) -> str:
        verb: str = scope["method"]
        override = headers.get(b"x-http-method-override")
        return override.decode("latin-1").upper() if verb == "POST" and override else verb

    def _find(self, verb: str, path: str) -> tuple[Method, dict[str, str]]:
        found = self._routes.find(verb, path.removeprefix("/"))
        if found is None:
            self._sandbox.hint(f"{self._host} was asked for {verb} {path}, which is no method of it")
            raise errors.NotFound("Method not found.")
        return found


def _foreign(host: str, project: str) -> errors.PermissionDenied:
    console = {"description": "Google developers console", "url": "https://console.developers.google.com"}
    message = f"Permission denied on resource project {project}."
    return _refused_consumer(message, "CONSUMER_INVALID", host, project, console)


def _not_yours_to_use(host: str, project: str) -> errors.PermissionDenied:
    url = f"https://console.developers.google.com/iam-admin/iam/project?project={project}"
    message = (
        f"Caller does not have required permission to use project {project}. Grant the caller the "
        "roles/serviceusage.serviceUsageConsumer role, or a custom role with the serviceusage.services.use permission, by "
        f"visiting {url} and then retry. Propagation of the new permission may take a few minutes."
    )
    console = {"description": "Google developer console IAM admin", "url": url}
    return _refused_consumer(message, "USER_PROJECT_DENIED", host, project, console)


def _refused_consumer(
    message: str, reason: str, host: str, project: str, console: dict[str, str]
) -> errors.PermissionDenied:
    """A refusal that is about a project, in the shape that public threads show."""
    metadata = {"service": host, "consumer": f"projects/{project}", "containerInfo": project}
    return errors.PermissionDenied(
        message,
        [
            {"@type": errors.ERROR_INFO, "reason": reason, "domain": "googleapis.com", "metadata": metadata},
            {"@type": errors.LOCALIZED_MESSAGE, "locale": "en-US", "message": message},
            {"@type": errors.HELP, "links": [console]},
        ],
    )


def _segments(scope: Scope) -> str:
    """The decoded path, refusing what could name something else than it seems to."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    if len(raw) > _MAX_PATH_BYTES:
        raise errors.InvalidArgument("The request's path is too long.")
    decoded = []
    for segment in raw.decode("latin-1").split("/"):
        try:
            # Artifact Registry's package names keep their slashes encoded, so an encoded slash stays one: it separates
            # nothing, and ids that may have none refuse it.
            parts = [unquote(part, errors="strict") for part in re.split("%2[Ff]", segment)]
        except UnicodeDecodeError:
            raise errors.InvalidArgument("The request's path is not valid UTF-8.") from None
        if any("/" in part or part in {".", ".."} or any(ord(letter) < 32 for letter in part) for part in parts):
            raise errors.NotFound("Method not found.")
        decoded.append("%2F".join(parts))
    return "/".join(decoded)


def _query(scope: Scope, headers: Mapping[bytes, bytes], method: Method) -> tuple[dict[str, Any], bool, str]:
    """The method's own parameters, whether enums are wanted as numbers, and which part of the answer."""
    violations = Violations()
    aliases = {name: name for name in method.query} | {snake(name): name for name in method.query}
    found: dict[str, Any] = {}
    int_enums, fields = False, headers.get(b"x-goog-fieldmask", b"").decode("latin-1")
    try:
        pairs = parse_qsl(
            scope["query_string"].decode("latin-1"), keep_blank_values=True, errors="strict", max_num_fields=200
        )
    except (UnicodeDecodeError, ValueError):
        raise errors.InvalidArgument("Invalid query string.") from None
    for key, value in pairs:
        if key in {"alt", "$alt"}:
            int_enums = int_enums or "enum-encoding=int" in value
            if value.partition(";")[0] not in {"json", ""}:
                violations.add("$alt", f"Invalid value at 'alt' (TYPE_STRING), \"{value[:100]}\"")
        elif key in {"fields", "$fields"}:
            fields = value
        elif key in aliases:
            name = aliases[key]
            kind = method.query[name]
            if isinstance(kind, ListOf):
                found.setdefault(name, []).append(kind.kind.parse(value, snake(name), violations))
            elif value or isinstance(kind, String):
                found[name] = kind.parse(value, snake(name), violations)
        elif key not in _SYSTEM_PARAMETERS:
            shown = key[:100]
            violations.add(
                "",
                f"Invalid JSON payload received. Unknown name \"{shown}\": Cannot bind query parameter. Field '{shown}' "
                "could not be found in request message.",
            )
    violations.refuse()
    return found, int_enums, fields


async def _body(receive: Receive, headers: Mapping[bytes, bytes], method: Method) -> dict[str, Any]:
    too_large = errors.InvalidArgument(f"Request payload size exceeds the limit: {MAX_BODY_BYTES} bytes.")
    announced = headers.get(b"content-length", b"0")
    if announced.isdigit() and int(announced) > MAX_BODY_BYTES:
        raise too_large
    parts = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise errors.InvalidArgument("The request ended before its body did.")
        parts += message.get("body", b"")
        if len(parts) > MAX_BODY_BYTES:
            raise too_large
        if not message.get("more_body", False):
            break
    if not parts.strip():
        return {}
    document = _json(bytes(parts))
    violations = Violations()
    parsed = method.body.parse(document, method.body_field, violations)
    violations.refuse()
    return parsed


def _json(raw: bytes) -> Any:
    def no_constant(name: str) -> Any:
        raise ValueError(f"Unexpected token {name}.")

    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise errors.InvalidArgument.at("", "Invalid JSON payload received. The payload is not valid UTF-8.") from None
    too_deep = "Invalid JSON payload received. Message too deep. Max recursion depth reached."
    try:
        document = json.loads(text, parse_constant=no_constant)
    except RecursionError:
        raise errors.InvalidArgument.at("", too_deep) from None
    except ValueError as problem:
        # The payload itself may hold a secret: only the place of the mistake is told.
        place = (
            f" at line {problem.lineno}, column {problem.colno}" if isinstance(problem, json.JSONDecodeError) else ""
        )
        reason = problem.msg if isinstance(problem, json.JSONDecodeError) else "Invalid value"
        raise errors.InvalidArgument.at("", f"Invalid JSON payload received. {reason}{place}.") from None
    if _deeper_than(document, _MAX_JSON_DEPTH):
        raise errors.InvalidArgument.at("", too_deep)
    return document


def _deeper_than(document: Any, limit: int) -> bool:
    level = [document]
    for _ in range(limit):
        level = [
            item
            for value in level
            if isinstance(value, dict | list)
            for item in (value.values() if isinstance(value, dict) else value)
        ]
        if not level:
            return False
    return True
