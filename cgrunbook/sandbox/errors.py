"""What a service of the sandbox refuses, in the shape that the real service gives it.

Knows google.rpc.Status as JSON and the OCI distribution error body. Knows no service and no state.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

ERROR_INFO = "type.googleapis.com/google.rpc.ErrorInfo"
BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest"
HELP = "type.googleapis.com/google.rpc.Help"

#: google.rpc.Code by status name, as an operation's `error.code` carries it (google/rpc/code.proto).
RPC_CODES: Mapping[str, int] = {
    "INVALID_ARGUMENT": 3,
    "DEADLINE_EXCEEDED": 4,
    "NOT_FOUND": 5,
    "ALREADY_EXISTS": 6,
    "PERMISSION_DENIED": 7,
    "RESOURCE_EXHAUSTED": 8,
    "FAILED_PRECONDITION": 9,
    "ABORTED": 10,
    "OUT_OF_RANGE": 11,
    "UNIMPLEMENTED": 12,
    "INTERNAL": 13,
    "UNAVAILABLE": 14,
    "UNAUTHENTICATED": 16,
}


class ServiceError(Exception):
    """A refusal that goes onto the wire as it is: an HTTP status, headers and a JSON body."""

    def __init__(self, http_status: int, message: str, headers: Sequence[tuple[str, str]] = ()) -> None:
        """Keep what the answer is made of.

        Args:
            http_status: The HTTP status code.
            message: The service's own words.
            headers: Extra response headers, for example WWW-Authenticate.
        """
        super().__init__(message)
        self.http_status = http_status
        self.message = message
        self.headers = tuple(headers)

    def document(self) -> dict[str, Any]:
        """Return the JSON document of the answer's body."""
        raise NotImplementedError

    def body(self) -> bytes:
        """Return the answer's body as UTF-8 JSON."""
        return json.dumps(self.document(), indent=2, ensure_ascii=False).encode() + b"\n"


class GoogleError(ServiceError):
    """google.rpc.Status in the JSON envelope of Google's HTTP front ends."""

    http_code = 500
    status = "INTERNAL"

    def __init__(
        self,
        message: str,
        details: Sequence[Mapping[str, Any]] = (),
        headers: Sequence[tuple[str, str]] = (),
        *,
        http_code: int | None = None,
        legacy: Mapping[str, Any] | None = None,
    ) -> None:
        """Keep the status' message and details.

        Args:
            message: The service's own words.
            details: google.rpc detail messages in JSON, each with its @type.
            headers: Extra response headers.
            http_code: The HTTP status code where it differs from the one that belongs to the status.
            legacy: The entry of the list `errors` where the service still writes one.
        """
        super().__init__(http_code or self.http_code, message, headers)
        self.details = tuple(dict(detail) for detail in details)
        self.legacy = legacy

    def document(self) -> dict[str, Any]:
        """Return `{"error": {code, message, status, details}}`; details only where there are some."""
        error: dict[str, Any] = {"code": self.http_status, "message": self.message, "status": self.status}
        if self.legacy is not None:
            error["errors"] = [dict(self.legacy)]
        if self.details:
            error["details"] = list(self.details)
        return {"error": error}

    def rpc_status(self) -> dict[str, Any]:
        """Return the google.rpc.Status that an operation's `error` carries (numeric code of google.rpc.Code)."""
        status: dict[str, Any] = {"code": RPC_CODES[self.status], "message": self.message}
        if self.details:
            status["details"] = list(self.details)
        return status


class InvalidArgument(GoogleError):
    """400: the request is wrong whatever the world looks like."""

    http_code = 400
    status = "INVALID_ARGUMENT"

    @classmethod
    def at(cls, field: str, description: str) -> InvalidArgument:
        """Return the refusal of one field, with google.rpc.BadRequest naming it.

        Args:
            field: Path of the field in the request, "" for the top of the body.
            description: What is wrong; also the error's message.
        """
        violation = {"field": field, "description": description} if field else {"description": description}
        return cls(description, [{"@type": BAD_REQUEST, "fieldViolations": [violation]}])


class FailedPrecondition(GoogleError):
    """400: the request would be right in another state of the world."""

    http_code = 400
    status = "FAILED_PRECONDITION"


class OutOfRange(GoogleError):
    """400: beyond what there is."""

    http_code = 400
    status = "OUT_OF_RANGE"


class Unauthenticated(GoogleError):
    """401: no credential, or one that is not valid."""

    http_code = 401
    status = "UNAUTHENTICATED"


class PermissionDenied(GoogleError):
    """403: the caller may not, or the thing does not exist and the caller may not know."""

    http_code = 403
    status = "PERMISSION_DENIED"


class NotFound(GoogleError):
    """404: no such thing."""

    http_code = 404
    status = "NOT_FOUND"


class AlreadyExists(GoogleError):
    """409: there is one of that name."""

    http_code = 409
    status = "ALREADY_EXISTS"


class Aborted(GoogleError):
    """409: somebody else wrote in between (an etag that is no longer current)."""

    http_code = 409
    status = "ABORTED"


class ResourceExhausted(GoogleError):
    """429: a quota."""

    http_code = 429
    status = "RESOURCE_EXHAUSTED"


class Internal(GoogleError):
    """500: a fault of the sandbox itself; its traceback goes to the server's log, never onto the wire."""


class Unimplemented(GoogleError):
    """501: the service has the method and the sandbox has not."""

    http_code = 501
    status = "UNIMPLEMENTED"


class Unavailable(GoogleError):
    """503: try again."""

    http_code = 503
    status = "UNAVAILABLE"


def unauthenticated(reason: str | None, service: str | None = None) -> Unauthenticated:
    """Return Google's answer to a missing or refused OAuth access token.

    Args:
        reason: ErrorInfo reason: "CREDENTIALS_MISSING" where no header was sent, "ACCESS_TOKEN_TYPE_UNSUPPORTED" for a
            scheme that is not Bearer, None for a token that is not valid (Google then gives no ErrorInfo).
        service: Host name of the service asked, for the ErrorInfo's metadata.
    """
    if reason is None:
        message = (
            "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other "
            "valid authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project."
        )
        return Unauthenticated(
            message,
            headers=[("WWW-Authenticate", 'Bearer realm="https://accounts.google.com/", error="invalid_token"')],
        )
    message = (
        "Request is missing required authentication credential. Expected OAuth 2 access token, login cookie or other "
        "valid authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project."
    )
    detail: dict[str, Any] = {"@type": ERROR_INFO, "reason": reason, "domain": "googleapis.com"}
    if service:
        detail["metadata"] = {"service": service}
    return Unauthenticated(
        message, [detail], headers=[("WWW-Authenticate", 'Bearer realm="https://accounts.google.com/"')]
    )


class RegistryError(ServiceError):
    """An OCI distribution error body: `{"errors": [{code, message, detail}]}`."""

    def __init__(
        self,
        http_status: int,
        code: str,
        message: str,
        detail: object = None,
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        """Keep one error.

        Args:
            http_status: The HTTP status code.
            code: The distribution specification's code, for example "MANIFEST_UNKNOWN".
            message: The registry's own words.
            detail: Anything JSON; left out when None.
            headers: Extra response headers, for example WWW-Authenticate.
        """
        super().__init__(http_status, message, headers)
        self.code = code
        self.detail = detail

    def document(self) -> dict[str, Any]:
        """Return the body's document."""
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.detail is not None:
            error["detail"] = self.detail
        return {"errors": [error]}

    def body(self) -> bytes:
        """Return the body as registries write it: one compact line."""
        return json.dumps(self.document(), separators=(",", ":"), ensure_ascii=False).encode()
