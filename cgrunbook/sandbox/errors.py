"""What a service of the sandbox refuses, in the shape that the real service gives it.

Knows google.rpc.Status as JSON, a gRPC gateway's error and the OCI distribution error body. Knows no service and no
state.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

ERROR_INFO = "type.googleapis.com/google.rpc.ErrorInfo"
BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest"
PRECONDITION_FAILURE = "type.googleapis.com/google.rpc.PreconditionFailure"
HELP = "type.googleapis.com/google.rpc.Help"
LOCALIZED_MESSAGE = "type.googleapis.com/google.rpc.LocalizedMessage"

#: The statuses of google.rpc.Code that are answered here: number (google/rpc/code.proto) and HTTP status.
_CODES: Mapping[str, tuple[int, int]] = {
    "INVALID_ARGUMENT": (3, 400),
    "NOT_FOUND": (5, 404),
    "ALREADY_EXISTS": (6, 409),
    "PERMISSION_DENIED": (7, 403),
    "RESOURCE_EXHAUSTED": (8, 429),
    "FAILED_PRECONDITION": (9, 400),
    "ABORTED": (10, 409),
    "UNIMPLEMENTED": (12, 501),
    "INTERNAL": (13, 500),
    "UNAVAILABLE": (14, 503),
    "UNAUTHENTICATED": (16, 401),
}


class ServiceError(Exception):
    """A refusal that goes onto the wire as it is: an HTTP status, headers and a JSON body.

    Args:
        http_status: the HTTP status code.
        message: the service's own words.
        headers: extra response headers, for example WWW-Authenticate.
    """

    def __init__(self, http_status: int, message: str, headers: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(message)
        self.http_status = http_status
        self.message = message
        self.headers = tuple(headers)

    def document(self) -> dict[str, Any]:
        """The JSON document of the answer's body."""
        raise NotImplementedError

    def body(self) -> bytes:
        """The answer's body as UTF-8 JSON."""
        return json.dumps(self.document(), indent=2, ensure_ascii=False).encode() + b"\n"


class GoogleError(ServiceError):
    """google.rpc.Status in the JSON envelope of Google's HTTP front ends.

    Args:
        message: the service's own words.
        details: google.rpc detail messages in JSON, each with its @type.
        headers: extra response headers.
        legacy: the entry of the list `errors` where the service still writes one.
    """

    status = "INTERNAL"

    def __init__(
        self,
        message: str,
        details: Sequence[Mapping[str, Any]] = (),
        headers: Sequence[tuple[str, str]] = (),
        *,
        legacy: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(_CODES[self.status][1], message, headers)
        self.details = tuple(dict(detail) for detail in details)
        self.legacy = legacy

    def document(self) -> dict[str, Any]:
        """`{"error": {code, message, status, details}}`; details only where there are some."""
        error: dict[str, Any] = {"code": self.http_status, "message": self.message, "status": self.status}
        if self.legacy is not None:
            error["errors"] = [dict(self.legacy)]
        if self.details:
            error["details"] = list(self.details)
        return {"error": error}

    def rpc_status(self) -> dict[str, Any]:
        """The google.rpc.Status that an operation's `error` carries (numeric code of google.rpc.Code)."""
        status: dict[str, Any] = {"code": _CODES[self.status][0], "message": self.message}
        if self.details:
            status["details"] = list(self.details)
        return status


class InvalidArgument(GoogleError):
    """400: the request is wrong whatever the world looks like."""

    status = "INVALID_ARGUMENT"

    @classmethod
    def at(cls, field: str, description: str) -> InvalidArgument:
        """The refusal of one field, with google.rpc.BadRequest naming it.

        Args:
            field: path of the field in the request, "" for the top of the body.
            description: what is wrong; also the error's message.
        """
        violation = {"field": field, "description": description} if field else {"description": description}
        return cls(description, [{"@type": BAD_REQUEST, "fieldViolations": [violation]}])


class FailedPrecondition(GoogleError):
    """400: the request would be right in another state of the world."""

    status = "FAILED_PRECONDITION"


class Unauthenticated(GoogleError):
    """401: no credential, or one that is not valid."""

    status = "UNAUTHENTICATED"


class PermissionDenied(GoogleError):
    """403: the caller may not, or the thing does not exist and the caller may not know."""

    status = "PERMISSION_DENIED"


class NotFound(GoogleError):
    """404: no such thing."""

    status = "NOT_FOUND"


class AlreadyExists(GoogleError):
    """409: there is one of that name."""

    status = "ALREADY_EXISTS"


class Aborted(GoogleError):
    """409: somebody else wrote in between (an etag that is no longer current)."""

    status = "ABORTED"


class ResourceExhausted(GoogleError):
    """429: a quota."""

    status = "RESOURCE_EXHAUSTED"


class Internal(GoogleError):
    """500: a fault of the sandbox itself; its traceback goes to the server's log, never onto the wire."""


class Unimplemented(GoogleError):
    """501: the service has the method and the sandbox has not."""

    status = "UNIMPLEMENTED"


class Unavailable(GoogleError):
    """503: try again."""

    status = "UNAVAILABLE"


def unauthenticated(reason: str | None, service: str | None = None) -> Unauthenticated:
    """Google's answer to a missing or refused OAuth access token.

    Args:
        reason: ErrorInfo reason: "CREDENTIALS_MISSING" where no header was sent, "ACCESS_TOKEN_TYPE_UNSUPPORTED" for a
            scheme that is not Bearer, None for a token that is not valid (Google then gives no ErrorInfo).
        service: host name of the service asked, for the ErrorInfo's metadata.
    """
    fault = (
        "had invalid authentication credentials" if reason is None else "is missing required authentication credential"
    )
    message = (
        f"Request {fault}. Expected OAuth 2 access token, login cookie or other valid authentication credential. "
        "See https://developers.google.com/identity/sign-in/web/devconsole-project."
    )
    realm = 'Bearer realm="https://accounts.google.com/"'
    if reason is None:
        return Unauthenticated(message, headers=[("WWW-Authenticate", f'{realm}, error="invalid_token"')])
    detail: dict[str, Any] = {"@type": ERROR_INFO, "reason": reason, "domain": "googleapis.com"}
    if service:
        detail["metadata"] = {"service": service}
    return Unauthenticated(message, [detail], headers=[("WWW-Authenticate", realm)])


class PlatformError(ServiceError):
    """A refusal of Chainguard's API, in the shape of its gRPC gateway: `{"code", "message", "details"}`.

    Args:
        status: name of the gRPC status, for example "INVALID_ARGUMENT".
        message: the service's own words.
        field: which field of the request is at fault, "" where it is none.
    """

    #: v2 says its reason besides; v1 leaves the details empty.
    with_details = False

    def __init__(self, status: str, message: str, *, field: str = "") -> None:
        super().__init__(_CODES[status][1], message)
        self.status = status
        self.field = field

    def document(self) -> dict[str, Any]:
        """The body's document."""
        details: list[dict[str, Any]] = []
        if self.with_details:
            details.append({"@type": ERROR_INFO, "reason": self.status, "domain": "iam.chainguard.dev"})
            if self.field:
                violation = {"field": self.field, "description": self.message}
                details.append({"@type": BAD_REQUEST, "fieldViolations": [violation]})
        return {"code": _CODES[self.status][0], "message": self.message, "details": details}


class RegistryError(ServiceError):
    """An OCI distribution error body: `{"errors": [{code, message, detail}]}`.

    Args:
        http_status: the HTTP status code.
        code: the distribution specification's code, for example "MANIFEST_UNKNOWN".
        message: the registry's own words.
        detail: anything JSON; left out when None.
        headers: extra response headers, for example WWW-Authenticate.
    """

    def __init__(
        self,
        http_status: int,
        code: str,
        message: str,
        detail: object = None,
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        super().__init__(http_status, message, headers)
        self.code = code
        self.detail = detail

    def document(self) -> dict[str, Any]:
        """The body's document."""
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.detail is not None:
            error["detail"] = self.detail
        return {"errors": [error]}

    def body(self) -> bytes:
        """The body as registries write it: one compact line."""
        return json.dumps(self.document(), separators=(",", ":"), ensure_ascii=False).encode()
