"""Google's HTTP front end: routes, credentials, strict JSON, system parameters, enabled APIs, page tokens.

Knows how a method is reached and how its answer is written. Knows no service's resources.
"""

from __future__ import annotations

import base64
import binascii
import inspect
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote

from starlette.types import Receive, Scope, Send

from cgrunbook.sandbox import errors
from cgrunbook.sandbox.asgi import respond
from cgrunbook.sandbox.context import Sandbox
from cgrunbook.sandbox.google.messages import Bool, Bytes, Integer, Kind, ListOf, Message, String, Violations, snake

MAX_BODY_BYTES = 10 * 1024 * 1024
_MAX_PATH_BYTES = 8192
_MAX_JSON_DEPTH = 100
#: Path variables that hold a digest.
_MAY_HAVE_COLONS = frozenset({"image", "digest", "file"})

#: Parameters that every Google API takes (https://cloud.google.com/apis/docs/system-parameters).
_SYSTEM_NAMES = (
    "alt $alt key $key fields $fields prettyPrint $prettyPrint pp $pp quotaUser $quotaUser userProject $userProject "
    "access_token oauth_token callback $callback $.xgafv $xgafv uploadType upload_protocol $httpHeaders "
    "$outputDefaults $unique $userIp trace $ct bearer_token"
)
_SYSTEM_PARAMETERS = frozenset(_SYSTEM_NAMES.split())

IAM_POLICY = Message(
    "google.iam.v1.Policy",
    {
        "version": Integer(),
        "etag": Bytes(),
        "bindings": ListOf(
            Message(
                "google.iam.v1.Binding",
                {
                    "role": String(),
                    "members": ListOf(String()),
                    "condition": Message(
                        "google.type.Expr",
                        {"title": String(), "description": String(), "expression": String(), "location": String()},
                    ),
                    "bindingId": String(),
                },
            )
        ),
        "auditConfigs": ListOf(
            Message(
                "google.iam.v1.AuditConfig",
                {
                    "service": String(),
                    "auditLogConfigs": ListOf(
                        Message(
                            "google.iam.v1.AuditLogConfig", {"logType": String(), "exemptedMembers": ListOf(String())}
                        )
                    ),
                },
            )
        ),
    },
)
SET_POLICY = Message(
    "google.iam.v1.SetIamPolicyRequest", {"policy": IAM_POLICY, "updateMask": String(), "resource": String()}
)
TEST_PERMISSIONS = Message(
    "google.iam.v1.TestIamPermissionsRequest", {"permissions": ListOf(String()), "resource": String()}
)
GET_POLICY = Message(
    "google.iam.v1.GetIamPolicyRequest",
    {"options": Message("google.iam.v1.GetPolicyOptions", {"requestedPolicyVersion": Integer()}), "resource": String()},
)
EMPTY = Message("google.protobuf.Empty", {})
PAGE: dict[str, Kind] = {"pageSize": Integer(), "pageToken": String()}


@dataclass(frozen=True)
class Call:
    """One call of one method.

    Attributes:
        sandbox: The sandbox.
        principal: Who calls.
        names: What the path's variables hold.
        query: Parameters under their JSON names, parsed.
        body: The parsed body, {} without one.
        int_enums: Whether the caller wants enums as numbers.
        response: The message that the answer is rendered as, if the method declares one.
    """

    sandbox: Sandbox
    principal: str
    names: Mapping[str, str]
    query: Mapping[str, Any]
    body: Mapping[str, Any]
    int_enums: bool

    @property
    def project(self) -> str:
        """The project's resource name, with its id, whichever of id and number the caller gave."""
        return f"projects/{self.sandbox.settings.project_id}"

    def check(self, permission: str, resource: str | None = None) -> None:
        """Refuse a caller without a permission.

        Args:
            permission: For example "secretmanager.secrets.get".
            resource: The resource's name with the project's id; None for the project.

        Raises:
            errors.PermissionDenied: The caller does not hold it.
        """
        self.sandbox.iam.check(self.principal, permission, resource or self.project)


Answer = dict[str, Any]
Handler = Callable[[Call], Answer | Awaitable[Answer]]


@dataclass(frozen=True)
class Method:
    """One method of a service.

    Attributes:
        rpc: Its name in the service's proto.
        verb: The HTTP method.
        template: The path, `{variable}` for a segment, `:custom` at the end.
        handler: What answers; None when the sandbox does not play it.
        body: What the body is parsed as; None when the method takes none.
        body_field: The request field that is the body, for the paths in error messages; "" when it is the request.
        query: Parameters and their kinds.
        response: What the answer is rendered as; None when the handler gives finished JSON.
        partly: What is missing, for the conformance table; "" when nothing is.
        free: Whether it works though the service's API is not enabled.
    """

    rpc: str
    verb: str
    template: str
    handler: Handler | None
    body: Message | None = None
    body_field: str = ""
    query: Mapping[str, Kind] = field(default_factory=dict)
    response: Message | None = None
    partly: str = ""
    free: bool = False

    def pattern(self) -> re.Pattern[str]:
        """Return what the path must match; a variable is one segment."""
        parts = re.split(r"\{(\w+)\}", self.template)
        text = "".join(
            f"(?P<{part}>{'[^/]+' if part in _MAY_HAVE_COLONS else '[^/:]+'})" if index % 2 else re.escape(part)
            for index, part in enumerate(parts)
        )
        return re.compile(f"/{text}")


class Service:
    """An ASGI application made of methods.

    Args:
        sandbox: The sandbox.
        host: The service's real host name.
        methods: What it plays, and what it knows and does not play.
        enabled: Called with the sandbox and the host before each method that is not free; raises SERVICE_DISABLED.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        host: str,
        methods: tuple[Method, ...],
        enabled: Callable[[Sandbox, str], None] | None = None,
    ) -> None:
        self._sandbox = sandbox
        self._host = host
        self._routes = [(method, method.pattern()) for method in methods]
        self._enabled = enabled

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path = _segments(scope)
        headers = dict(scope["headers"])
        method, match = self._find(self._verb(scope, headers), path)
        authorization = headers.get(b"authorization")
        principal = self._sandbox.principal(authorization.decode("latin-1") if authorization else None)
        if principal is None:
            raise errors.unauthenticated("CREDENTIALS_MISSING", self._host)
        scope["state"]["principal"] = principal
        names = match.groupdict()
        if (project := names.get("project")) is not None:
            self._check_project(project)
        if method.handler is None:
            self._sandbox.hint(f"{self._host} has {method.rpc} and the sandbox has not")
            raise errors.Unimplemented(f"Operation is not implemented, or supported, or enabled: {method.rpc}.")
        if self._enabled is not None and not method.free:
            self._enabled(self._sandbox, self._host)
        query, int_enums = _query(scope, method)
        call = Call(self._sandbox, principal, names, query, await _body(receive, headers, method), int_enums)
        answer = method.handler(call)
        if inspect.isawaitable(answer):
            answer = await answer
        if method.response is not None:
            answer = method.response.render(answer, int_enums=int_enums)
        await respond(send, 200, json.dumps(answer, indent=2, ensure_ascii=False).encode() + b"\n")

    @staticmethod
    def _verb(scope: Scope, headers: Mapping[bytes, bytes]) -> str:
        verb: str = scope["method"]
        override = headers.get(b"x-http-method-override")
        return override.decode("latin-1").upper() if verb == "POST" and override else verb

    def _find(self, verb: str, path: str) -> tuple[Method, re.Match[str]]:
        for method, pattern in self._routes:
            if method.verb == verb and (match := pattern.fullmatch(path)) is not None:
                return method, match
        self._sandbox.hint(f"{self._host} was asked for {verb} {path}, which no method of the sandbox answers")
        raise errors.NotFound("Method not found.")

    def _check_project(self, project: str) -> None:
        settings = self._sandbox.settings
        if project in {settings.project_id, settings.project_number}:
            return
        raise errors.PermissionDenied(
            f"Permission denied on resource project {project}.",
            [
                {
                    "@type": errors.HELP,
                    "links": [
                        {"description": "Google developers console", "url": "https://console.developers.google.com"}
                    ],
                },
                {
                    "@type": errors.ERROR_INFO,
                    "reason": "CONSUMER_INVALID",
                    "domain": "googleapis.com",
                    "metadata": {"service": self._host, "consumer": f"projects/{project}", "containerInfo": project},
                },
            ],
        )


def _segments(scope: Scope) -> str:
    """Return the decoded path, refusing what could name something else than it seems to."""
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


def _query(scope: Scope, method: Method) -> tuple[dict[str, Any], bool]:
    violations = Violations()
    aliases = {name: name for name in method.query} | {snake(name): name for name in method.query}
    found: dict[str, Any] = {}
    int_enums = False
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
        elif key in aliases:
            name = aliases[key]
            kind = method.query[name]
            if isinstance(kind, ListOf):
                found.setdefault(name, []).append(kind.kind.parse(value, snake(name), violations))
            elif value or not isinstance(kind, Integer | Bool):
                found[name] = kind.parse(value, snake(name), violations)
        elif key not in _SYSTEM_PARAMETERS:
            shown = key[:100]
            violations.add(
                "",
                f"Invalid JSON payload received. Unknown name \"{shown}\": Cannot bind query parameter. Field '{shown}' "
                "could not be found in request message.",
            )
    violations.refuse()
    return found, int_enums


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
    # A method without a body takes an empty message, as Google's front end does.
    parsed = (method.body or EMPTY).parse(document, method.body_field, violations)
    violations.refuse()
    return parsed


def _json(raw: bytes) -> Any:
    def no_constant(name: str) -> Any:
        raise ValueError(f"Unexpected token {name}.")

    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise errors.InvalidArgument.at("", "Invalid JSON payload received. The payload is not valid UTF-8.") from None
    try:
        document = json.loads(text, parse_constant=no_constant)
    except RecursionError:
        raise errors.InvalidArgument.at(
            "", "Invalid JSON payload received. Message too deep. Max recursion depth reached."
        ) from None
    except ValueError as problem:
        # The payload itself may hold a secret: only the place of the mistake is told.
        place = (
            f" at line {problem.lineno}, column {problem.colno}" if isinstance(problem, json.JSONDecodeError) else ""
        )
        reason = problem.msg if isinstance(problem, json.JSONDecodeError) else "Invalid value"
        raise errors.InvalidArgument.at("", f"Invalid JSON payload received. {reason}{place}.") from None
    if _deeper_than(document, _MAX_JSON_DEPTH):
        raise errors.InvalidArgument.at(
            "", "Invalid JSON payload received. Message too deep. Max recursion depth reached."
        )
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


def page_token(key: str) -> str:
    """Return an opaque page token.

    Args:
        key: Where the next page begins.
    """
    return base64.urlsafe_b64encode(b"\x0a" + key.encode()).decode()


def page_key(token: str | None) -> str:
    """Return where a page begins; "" for the first.

    Args:
        token: What `page_token` made, or None or "".

    Raises:
        errors.InvalidArgument: The token is no token of ours.
    """
    if not token:
        return ""
    try:
        raw = base64.b64decode(token.encode(), altchars=b"-_", validate=True)
        if raw[:1] != b"\x0a":
            raise ValueError(token)
        return raw[1:].decode()
    except (binascii.Error, ValueError):
        raise errors.InvalidArgument("The provided page token is not valid.") from None


def page_size(call: Call, default: int, most: int) -> int:
    """Return how many entries a page shall have.

    Args:
        call: The call; its `pageSize` may be absent.
        default: For an absent or zero page size.
        most: What larger ones are cut to.

    Raises:
        errors.InvalidArgument: The page size is negative.
    """
    asked: int = call.query.get("pageSize", 0)
    if asked < 0:
        raise errors.InvalidArgument("The page size must not be negative.")
    return min(asked or default, most)
