"""What Google's services answer when they refuse, turned into the errors of `cgrunbook.errors`.

It knows status names, ErrorInfo's reasons and metadata, and the services' sentences. What is temporary is in retry.py, who
holds which permission in roles.py.
Sources: answers of the services as public issues and recorded logs show them; google.rpc.ErrorInfo of googleapis for the reasons.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests
from google.api_core.exceptions import GoogleAPICallError
from google.auth.exceptions import GoogleAuthError, TransportError
from google.protobuf.json_format import ParseError
from google.rpc.code_pb2 import Code

from cgrunbook.cloud import alike, apis, network, retry
from cgrunbook.cloud.caller import to_fill_in
from cgrunbook.cloud.iam_policy import grant_command, let_read_command
from cgrunbook.cloud.roles import READ_SECRET, narrowest_role
from cgrunbook.errors import (
    AlreadyExists,
    CgrunbookError,
    Conflict,
    InvalidRequest,
    MemberUnknown,
    NotFound,
    NotSignedIn,
    PerimeterDenied,
    PermissionMissing,
    PrerequisiteMissing,
    ProjectUnknown,
    ServiceError,
    Temporary,
    UpstreamCredentialsRefused,
    UpstreamNotValidated,
    WrongState,
)
from cgrunbook.redaction import one_line

if TYPE_CHECKING:
    from cgrunbook.cloud.connection import Connection

# google.rpc.Code by the HTTP status that stands for it, for answers that carry no status name (a load balancer's page).
_STATUS_OF_HTTP = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "UNAVAILABLE",
    409: "ALREADY_EXISTS",
    412: "FAILED_PRECONDITION",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}

# Statuses that need no second look at the message.
_PLAIN: Mapping[str, tuple[type[ServiceError], str]] = {
    "ALREADY_EXISTS": (AlreadyExists, "Choose another name, or look whether what is there can be used."),
    "ABORTED": (Conflict, "Somebody else changed it at the same moment. Run again: it is read anew."),
    "NOT_FOUND": (NotFound, "Check the name, the location ({location}) and the project ({project})."),
    "UNIMPLEMENTED": (ServiceError, "The service has no such method: look for a newer cgrunbook."),
}

# Whoever's project a request to them is about: they are charged to that of the credentials, all others to the one asked about.
_CHARGED_TO_CREDENTIALS = frozenset({"cloudresourcemanager.googleapis.com", "serviceusage.googleapis.com"})

_ERROR_INFO = "type.googleapis.com/google.rpc.ErrorInfo"
_PERMISSION = re.compile(r"\b((?:[a-z]+\.){1,2}[A-Za-z]+\.[A-Za-z]+)['\"]? denied|[Pp]ermission ['\"]([\w.]+)['\"]")
_SERVICE = re.compile(r"\b([a-z][a-z0-9-]*\.googleapis\.com)\b")
_CONSUMER = re.compile(r"(?:used in|to use) project ([a-z0-9][a-z0-9.:-]*[a-z0-9])")
_SECRET = re.compile(
    r"projects/(?P<project>[^/\s'\"]+)/secrets/(?P<id>[A-Za-z0-9_-]+)(?:/versions/(?P<version>[A-Za-z0-9_-]+))?"
)
_SECRET_STATE = re.compile(r"Secret Version \[(\S+)\] is in (\w+) state")
_REPOSITORY = re.compile(
    r"projects/(?P<project>[^/\s'\"]+)/locations/(?P<location>[a-z0-9-]+)/repositories/(?P<id>[a-z0-9.-]+)"
)
_KEY = re.compile(
    r"projects/(?P<project>[^/\s'\"]+)/locations/(?P<location>[a-z0-9-]+)/keyRings/(?P<ring>[\w-]+)/cryptoKeys/(?P<id>[\w-]+)"
)
_CONSTRAINT = re.compile(r"constraints/[\w.]+|customConstraints/[\w.]+", re.IGNORECASE)
# A page of HTML or a stack of details says nothing more after this many characters.
_LONGEST_MESSAGE = 600


@dataclass(frozen=True)
class Answer:
    """A service's refusal in one shape, whichever way it came.

    Args:
        code: the HTTP status; 0 when the refusal stood inside an operation.
        status: the google.rpc.Code's name, such as "PERMISSION_DENIED".
        message: the service's sentence.
        reason: ErrorInfo.reason, "" when there is none.
        metadata: ErrorInfo.metadata.
    """

    code: int
    status: str
    message: str
    reason: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        number = f"{self.code} " if self.code else ""
        return f"{number}{self.status}: {self.message}"


@contextmanager
def explained(connection: Connection, doing: str) -> Iterator[None]:
    """Raise the errors of Google's clients as cgrunbook's.

    Raises:
        CgrunbookError: see `explain`.
    """
    try:
        yield
    except (GoogleAPICallError, GoogleAuthError, requests.RequestException) as error:
        raise explain(error, connection, doing) from error
    except (ParseError, UnicodeDecodeError, RecursionError) as error:
        raise ServiceError(
            f"Tried to {doing}. What came back is no answer of the service ({_short(error)}).",
            "Look at what is between here and Google: a proxy, or a page that wants a login, may answer in its place.",
        ) from error


def explain(error: Exception, connection: Connection, doing: str) -> CgrunbookError:
    """The error of cgrunbook that says the same, with a remedy.

    Returns:
        The error to raise; the caller chains the original.
    """
    if isinstance(error, GoogleAPICallError):
        return explain_answer(_answer(error), connection, doing)
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return explain_answer(of_response(error.response), connection, doing)
    tried = f"Tried to {doing}"
    if isinstance(error, GoogleAuthError) and not _unanswered(error):
        if error.retryable:
            return Temporary(f"{tried}: no access token could be had just now ({_short(error)}).", "Run again.")
        return NotSignedIn(f"{tried}: the Google credentials were not accepted ({_short(error)}).", connection.sign_in)
    if (lasting := network.lasting(error, _asked(error))) is not None:
        return ServiceError(f"{tried}: {lasting.what}.", lasting.remedy, code=lasting.code)
    if isinstance(error, GoogleAuthError):
        return connection.lost(f"{tried}: no answer while getting an access token ({_short(error)}).")
    if isinstance(error, requests.Timeout):
        return Temporary(f"{tried}: no answer in time ({_short(error)}).", "Run again; it goes on from what is there.")
    return connection.lost(f"{tried}: the connection failed ({_short(error)}).")


def _unanswered(error: GoogleAuthError) -> bool:
    """Whether a token's host did not answer, in whatever google-auth wraps that; a refusal carries its response."""
    return any(
        isinstance(cause, requests.RequestException) or (isinstance(cause, TransportError) and len(cause.args) == 1)
        for cause in retry.causes(error)
    )


def _asked(error: Exception) -> str:
    """Which host did not answer."""
    sent = (cause.request for cause in retry.causes(error) if isinstance(cause, requests.RequestException))
    return next((urlsplit(request.url or "").netloc for request in sent if request is not None), "") or "the service"


def explain_answer(answer: Answer, connection: Connection, doing: str) -> CgrunbookError:
    """The error of cgrunbook for a refusal."""
    message = f"Tried to {doing}. The service answered {answer}".removesuffix(".") + "."
    text = answer.message
    if answer.status == "UNAUTHENTICATED" and "remote upstream" not in text:
        return NotSignedIn(message, connection.sign_in)
    if answer.status == "PERMISSION_DENIED":
        return _denied(answer, connection, message)
    if "validate remote upstream" in text:
        return _upstream(answer, connection, message)
    if (agent := retry.AGENT_NOT_THERE_YET.search(text)) is not None:
        return MemberUnknown(
            message,
            f"{agent.group(1)} was made only just now, or not at all. Make it, then run again: gcloud beta services "
            f"identity create --service=artifactregistry.googleapis.com --project={connection.project_id}",
        )
    if (constraint := _CONSTRAINT.search(text)) is not None:
        return InvalidRequest(
            message,
            f"The organisation's policy {constraint.group(0)} forbids this. Choose what it allows (another location, "
            f"replication or member), or ask its administrator; it can be read with: gcloud resource-manager "
            f"org-policies describe {constraint.group(0)} --project={connection.project_id} --effective",
        )
    if answer.status in retry.GOOGLE_STATUSES:
        if answer.status != "RESOURCE_EXHAUSTED":
            return Temporary(message, "Wait a minute, then run again.")
        return Temporary(message, _quota(answer.metadata, connection))
    if answer.status in _PLAIN:
        kind, remedy = _PLAIN[answer.status]
        told = remedy.format(project=connection.project_id, location=connection.location)
        return kind(message, f"{told} {alike.location(connection.location)}".rstrip() if kind is NotFound else told)
    explanation = _precondition if answer.status == "FAILED_PRECONDITION" else _invalid
    return explanation(text, connection, message)


def _denied(answer: Answer, connection: Connection, message: str) -> CgrunbookError:
    """403: an API that is off, a perimeter, a scope, a quota project, billing, or a missing permission."""
    project = connection.project_id
    reason, text = answer.reason, answer.message
    consumer = answer.metadata.get("consumer", "").removeprefix("projects/") or _first(_CONSUMER, text)
    if reason == "SERVICE_DISABLED" or "has not been used in project" in text or "it is disabled" in text:
        service = answer.metadata.get("service") or _first(_SERVICE, text)
        charged = _charged(consumer, service, connection)
        if connection.just_enabled(service) and not charged:
            return apis.spreading(message)
        return apis.disabled(service, project, message, charged=charged)
    if reason == "USER_PROJECT_DENIED" or "permission to use project" in text:
        return _may_not_use(consumer or _quota_project(connection) or project, connection, message)
    if reason == "CONSUMER_INVALID" or text.startswith("Permission denied on resource project"):
        return ProjectUnknown(
            f"There is no project {consumer or project}, or {connection.caller} may not see it.\n{message}",
            "Check the id, project_id; those that you see are listed by: gcloud projects list"
            + to_fill_in(connection.caller),
        )
    if reason == "SECURITY_POLICY_VIOLATED" or "Request is prohibited by organization's policy" in text:
        return PerimeterDenied(
            message,
            "A VPC Service Controls perimeter is in the way. Call from inside it, or ask its administrator for an "
            "ingress rule; the answer's identifier finds the denial in the audit log.",
        )
    if reason == "ACCESS_TOKEN_SCOPE_INSUFFICIENT" or "insufficient authentication scopes" in text:
        return NotSignedIn(message, connection.wider, code="scopes")
    if reason == "BILLING_DISABLED" or "requires billing" in text:
        return PrerequisiteMissing(
            message, f"Link a billing account: gcloud billing projects link {project} --billing-account=ACCOUNT_ID"
        )
    if "requires a quota project" in text:
        return NotSignedIn(message, f"Name one: gcloud auth application-default set-quota-project {project}")
    permission = answer.metadata.get("permission") or _first(_PERMISSION, text)
    resource = f"{answer.metadata.get('resource', '')} {text}"
    if "cloudkms." in permission:
        return _agent_lacks_key(resource, connection, message)
    return _missing(permission, resource, connection, message)


def _quota_project(connection: Connection) -> str:
    """The project that the credentials name to be charged, "" for none."""
    return str(getattr(connection.credentials, "quota_project_id", None) or "")


def _charged(consumer: str, service: str, connection: Connection) -> str:
    """The project that a request was charged to, by id or number; "" where it is the one worked in."""
    if not consumer.isdigit():
        return "" if consumer == connection.project_id else consumer
    # A number: whose it is follows from whom a service charges, for an error makes no call of its own.
    elsewhere = _quota_project(connection) not in {"", connection.project_id}
    return consumer if elsewhere or service in _CHARGED_TO_CREDENTIALS else ""


def _may_not_use(charged: str, connection: Connection, message: str) -> PermissionMissing:
    """The caller may not charge requests to the project that the credentials name."""
    role = narrowest_role(apis.USE)
    command = grant_command(f"projects add-iam-policy-binding {charged}", connection.caller, role)
    return PermissionMissing(
        message,
        f"Requests are charged to the project {charged}; {connection.caller} needs {apis.USE} there, and the narrowest "
        f"role with it is {role}: {command}{to_fill_in(connection.caller)}\nOr {apis.charge_another(connection.project_id)}",
        permission=apis.USE,
    )


def _quota(metadata: Mapping[str, str], connection: Connection) -> str:
    """What to do about a quota that is used up."""
    service = metadata.get("service", "")
    consumer = metadata.get("consumer") or f"projects/{connection.project_id}"
    limit = " of ".join(filter(None, (metadata.get("quota_limit"), metadata.get("quota_metric"))))
    remedy = f"A quota{f', {limit},' if limit else ''} is used up for {consumer}. Wait a minute, then run again"
    if not service:
        return f"{remedy}."
    listing = f"gcloud alpha services quota list --service={service} --consumer={consumer}"
    return f"{remedy}; the limits are listed by: {listing}"


def _missing(permission: str, resource: str, connection: Connection, message: str) -> PermissionMissing:
    """A permission that the caller has not, with the command that gives the narrowest role where it is needed."""
    project, caller = connection.project_id, connection.caller
    role = narrowest_role(permission)
    if not permission:
        return PermissionMissing(
            message,
            f"Ask an owner of {project} for the role that this needs; who holds what is listed by: "
            f"gcloud projects get-iam-policy {project}",
        )
    needs = f"{caller} needs {permission}"
    if permission == "resourcemanager.projects.get":
        needs = f"Check the id, project_id; where it is right, {needs}"
    if not role:
        remedy = f"{needs} in project {project}; ask an owner for a role that holds it."
        return PermissionMissing(message, remedy, permission=permission, code="permission")
    secret = _SECRET.search(resource)
    repository = _REPOSITORY.search(resource)
    if secret is not None and permission.startswith("secretmanager."):
        on = f"secrets add-iam-policy-binding {secret['id']} --project={_project_of(secret, connection)}"
    elif repository is not None and permission.startswith("artifactregistry.repositories."):
        on = (
            f"artifacts repositories add-iam-policy-binding {repository['id']} "
            f"--location={repository['location']} --project={_project_of(repository, connection)}"
        )
    else:
        on = f"projects add-iam-policy-binding {project}"
    remedy = f"{needs}; the narrowest role with it is {role}: {grant_command(on, caller, role)}"
    code = "secret-denied" if permission == READ_SECRET else "permission"
    return PermissionMissing(message, remedy + to_fill_in(caller), permission=permission, code=code)


def _upstream(answer: Answer, connection: Connection, message: str) -> CgrunbookError:
    """Artifact Registry tried the upstream with the credentials given, and it did not work."""
    text = answer.message.lower()
    # The exact text for a secret that the service agent cannot read is not known; it names the secret or the access.
    if "secretmanager" in text or "secret manager" in text or "/secrets/" in text or "secret version" in text:
        secret = _SECRET.search(answer.message)
        # Whose secret a repository names is not known here: a number stays one, and gcloud takes it.
        where = secret["project"] if secret else connection.project_id
        if "not found" in text and "permission" not in text:
            return NotFound(
                message,
                f"The secret or its version is not there; list them: gcloud secrets list --project={where}",
                code="secret-absent",
            )
        if "disabled" in text or "destroyed" in text:
            return WrongState(message, _versions_command(answer.message, where), code=_of_state(text))
        return PermissionMissing(
            message,
            "Artifact Registry's service agent needs secretmanager.versions.access on the secret; the narrowest role with "
            f"it is roles/secretmanager.secretAccessor: {_grant_command(secret, where, connection)}. A grant takes a moment, "
            "sometimes minutes, to be seen.",
            permission=READ_SECRET,
            code="secret-denied",
        )
    if "unauthenticated" in text or "unauthorized" in text or "credentials are invalid" in text:
        return UpstreamCredentialsRefused(
            message,
            "The upstream does not take this username with this secret version: the pull token is wrong, expired or "
            "revoked, the username belongs to another token, or the secret's value ends with a newline. Try both "
            "at the upstream itself, or store a new pull token, username and password together.",
            debugging=3,
            code="upstream-credentials",
        )
    if "custom remote" in text or "invalid_argument" in text:
        # Of the latter no reason is known; it may be the secret that cannot be read yet.
        kind = InvalidRequest if "custom remote" in text else UpstreamNotValidated
        remedy = "The upstream must be exactly https://cgr.dev/, with no further parts."
        return kind(message, remedy, debugging=2, code="upstream-unusable")
    if answer.status in retry.GOOGLE_STATUSES or retry.says_temporary(text):
        return Temporary(
            message, "Artifact Registry did not reach cgr.dev. Wait a minute, then run again.", debugging=1
        )
    return UpstreamNotValidated(
        message,
        "Artifact Registry could not use the upstream. It must be exactly https://cgr.dev/; with credentials, the "
        f"service agent must be able to read the secret ({_grant_command(None, connection.project_id, connection)}).",
        debugging=2,
        code="upstream-unusable",
    )


def _agent_lacks_key(resource: str, connection: Connection, message: str) -> PermissionMissing:
    """The service agent may not use the encryption key."""
    found = _KEY.search(resource)
    key = found or {"id": "KEY", "ring": "KEYRING", "location": connection.location, "project": "KEY_PROJECT"}
    on = (
        f"kms keys add-iam-policy-binding {key['id']} --keyring={key['ring']} --location={key['location']} "
        f"--project={key['project']}"
    )
    command = grant_command(
        on, apis.service_agent_of(connection.project_id), "roles/cloudkms.cryptoKeyEncrypterDecrypter"
    )
    return PermissionMissing(message, f"Artifact Registry's service agent must be able to use the key: {command}")


def _precondition(text: str, connection: Connection, message: str) -> CgrunbookError:
    """FAILED_PRECONDITION: a version's state, a stale etag, or a repository that is not what the request needs."""
    if "etag" in text.lower():
        return Conflict(message, "Somebody else changed it in between. Run again: it is read anew.")
    if _SECRET_STATE.search(text) is not None:
        where = _project_of(_SECRET.search(text), connection)
        return WrongState(message, _versions_command(text, where), code=_of_state(text))
    return WrongState(message, "Look at the state of the resource that the answer names; then run again.")


def _of_state(text: str) -> str:
    return "secret-destroyed" if "destroyed" in text.lower() else "secret-disabled"


def _versions_command(text: str, project: str) -> str:
    """What to do about a version that is disabled or destroyed."""
    found = _SECRET.search(text)
    secret, version = (found["id"], found["version"] or "VERSION") if found else ("SECRET", "VERSION")
    if "destroyed" in text.lower():
        return (
            "A destroyed version cannot come back: store the value again as a new version. What is there is listed by: "
            f"gcloud secrets versions list {secret} --project={project}"
        )
    return f"Enable it: gcloud secrets versions enable {version} --secret={secret} --project={project}"


def _invalid(text: str, connection: Connection, message: str) -> CgrunbookError:
    """INVALID_ARGUMENT and what resembles it."""
    if "cloudkms" in text.lower() or "CryptoKey" in text:
        return _agent_lacks_key(text, connection, message)
    if text.startswith("Request contains an invalid argument"):
        # Artifact Registry's bare answer to a location it does not have (Terraform's provider, issue 10184).
        return InvalidRequest(
            message,
            f"Often the location: {connection.location} must be one of those listed by: "
            f"gcloud artifacts locations list --project={connection.project_id}\n{alike.location(connection.location)}".rstrip(),
            code="bare-invalid",
        )
    return InvalidRequest(message, "Correct what the answer names, then run again.")


def _project_of(found: re.Match[str] | None, connection: Connection) -> str:
    """The project of what was asked for, as an answer names it; a number is that of the project worked in."""
    return connection.project_id if found is None or found["project"].isdigit() else str(found["project"])


def _grant_command(secret: re.Match[str] | None, project: str, connection: Connection) -> str:
    secret_id = secret["id"] if secret else "SECRET"
    return let_read_command(secret_id, project, apis.service_agent_of(connection.project_id))


def _answer(error: GoogleAPICallError) -> Answer:
    """Read a client's exception: over REST the body says more than the exception's class does.

    The class alone cannot tell 400 FAILED_PRECONDITION from INVALID_ARGUMENT, nor 409 ABORTED from ALREADY_EXISTS:
    google.api_core picks one class for an HTTP status.
    """
    response = error.response
    if isinstance(response, requests.Response):
        return of_response(response)
    # Inside an operation: a google.rpc.Status, whose details are packed messages.
    reason, metadata = "", {}
    for status in error.errors:
        for detail in getattr(status, "details", ()):
            if detail.type_url == _ERROR_INFO:
                from google.rpc.error_details_pb2 import ErrorInfo

                info = ErrorInfo.FromString(detail.value)
                reason, metadata = info.reason, dict(info.metadata)
    return Answer(0, getattr(error.grpc_status_code, "name", "UNKNOWN"), _cut(str(error.message)), reason, metadata)


def of_response(response: requests.Response) -> Answer:
    """Read a JSON body of the form {"error": {"code", "message", "status", "details"}}, or make do without."""
    code = response.status_code
    try:
        payload = response.json()
    except (ValueError, RecursionError):
        payload = None
    fallback = _STATUS_OF_HTTP.get(code, "INTERNAL" if code >= 500 else "INVALID_ARGUMENT")
    if isinstance(payload, list) and payload:
        payload = payload[0]  # streaming methods wrap their error in a list
    error = payload.get("error") if isinstance(payload, dict) else None
    if not isinstance(error, dict):
        return Answer(code, fallback, _cut(re.sub(r"<[^>]*>|\s+", " ", response.text)) or "no message")
    return _of_status(error, code, str(error.get("status") or fallback))


def of_operation(error: Mapping[str, Any]) -> Answer:
    """Read what a failed operation carries: a google.rpc.Status as JSON, its code a number."""
    code = error.get("code")
    return _of_status(error, 0, str(Code.Name(code)) if code in Code.values() else "UNKNOWN")


def _of_status(error: Mapping[str, Any], code: int, status: str) -> Answer:
    reason, metadata = "", {}
    details = error.get("details")
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, dict) and detail.get("@type") == _ERROR_INFO:
            reason = str(detail.get("reason", ""))
            told = detail.get("metadata")
            metadata = {str(key): str(value) for key, value in told.items()} if isinstance(told, dict) else {}
    return Answer(code, status, _cut(str(error.get("message") or "no message")), reason, metadata)


def _first(pattern: re.Pattern[str], text: str) -> str:
    """The first group that matched, "" for none."""
    found = pattern.search(text)
    return next((group for group in found.groups() if group), "") if found else ""


def _cut(text: str) -> str:
    return one_line(text, _LONGEST_MESSAGE)


def _short(error: BaseException) -> str:
    """A client's error in one line, without the address of an object in memory."""
    return _cut(re.sub(r"<[\w.]+ object at 0x[0-9a-f]+>:?\s*", "", str(error)))
