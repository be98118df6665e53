"""Everything that cgrunbook raises, and what each means for the person who must act.

    CgrunbookError
    ├── ParameterError          a parameter breaks its rule; nothing was called            exit 2
    ├── UsageError              the command line asks for something that does not exist    exit 2
    ├── PrerequisiteMissing     what the step builds on is not there yet                   exit 3
    │   ├── ApiDisabled         a Google API is off in the project, or in the one that is charged
    │   ├── PermissionMissing   the caller may not do this
    │   ├── PerimeterDenied     VPC Service Controls are in the way
    │   ├── ProjectUnknown      no such project, or none that the caller may see
    │   ├── NotSignedIn         no usable Google credentials
    │   ├── ChainctlMissing     chainctl is not on the PATH
    │   └── ChainguardSignedOut    Chainguard does not take who calls
    │       └── ChainctlSignedOut  chainctl has no valid session
    ├── StepFailed              a step could not do, or could not prove, what it is for    exit 1
    │   ├── Declined            the operator declined the change
    │   └── ServiceError        an outside service refused or broke
    │       ├── NotFound        the resource does not exist
    │       ├── AlreadyExists   the name is taken
    │       ├── Conflict        somebody else changed it in between
    │       ├── InvalidRequest  the service calls the request wrong
    │       │   └── UpstreamNotValidated   Artifact Registry could not use the upstream, for no known reason
    │       ├── WrongState      the resource is in a state that forbids this
    │       ├── Temporary       worth another attempt (429, 503, resets); raised when the attempts are used up
    │       │   ├── MemberUnknown          IAM does not know a service agent: it was never made, or only just now
    │       │   └── EndedEarly             an answer ended before all of it had come
    │       ├── ChainguardFailed    Chainguard's API refused, for no reason above
    │       │   └── ChainctlFailed      chainctl ended with an error
    │       │       └── MalformedToken     what should be a pull token has another form
    │       └── RegistryError   a registry refused
    │           ├── UpstreamCredentialsRefused   wrong, expired or revoked pull token
    │           ├── ImageNotAvailable            no such image or tag, or not in the organisation's catalogue
    │           └── DigestMismatch               the bytes are not what their digest says
    ├── SandboxUnavailable      the sandbox does not start or stopped answering            exit 1
    ├── KernelDied              a notebook's kernel ended before the notebook did          exit 138
    └── Interrupted             somebody pressed Ctrl-C or sent SIGTERM                    exit 130

It knows sentences and exit codes, and neither services nor notebooks. Each error carries what happened (`str(error)`)
and what to do next (`error.remedy`); no error ever carries a secret.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from enum import IntEnum
from typing import ClassVar, Self, TypeGuard

from cgrunbook.redaction import redact


class ExitCode(IntEnum):
    """What a command ends with, and what that means in a sentence."""

    means: str

    DONE = 0, "done"
    FAILED = 1, "a step failed"
    USAGE = 2, "a parameter or the command line is wrong, and nothing was called"
    PREREQUISITE = 3, "something must be there first: an API, a permission, a login"
    TO_DO = 4, "a plan, status or doctor found something to do"
    NOT_ALL = 5, "nothing was found, but not all could be looked at"
    INTERRUPTED = 130, "interrupted"
    KERNEL_DIED = 138, "a notebook's kernel died"

    def __new__(cls, code: int, means: str) -> Self:
        """One code with its sentence."""
        made = int.__new__(cls, code)
        made._value_ = code
        made.means = means
        return made


class CgrunbookError(Exception):
    """The root: catch it to catch all that cgrunbook raises on purpose.

    Args:
        message: what was tried and what came back, one or two sentences.
        remedy: what to do next, as an instruction; empty when the message says it all.
        debugging: which point of the guide's debugging section this belongs to (1 to 4), 0 for none.
        code: which message it is that the diagnosis knows, or which cause where that is seen, CODE/REASON; "" for neither.
    """

    exit_code: ClassVar = ExitCode.FAILED

    code: str = ""

    answered: tuple[str, int, str] = ("", 0, "")
    """Where a registry refused ("token", "/v2/", the "blob" host), its status and its code; nothing where none did."""

    def __init__(self, message: str, remedy: str = "", *, debugging: int = 0, code: str = "") -> None:
        self.message = redact(message)
        self.remedy = redact(remedy)
        self.debugging = debugging
        self.code = code or self.code
        super().__init__(self.message)

    def __str__(self) -> str:
        return f"{self.message}\nWhat to do: {self.remedy}" if self.remedy else self.message

    def _render_traceback_(self) -> list[str]:
        """What IPython shows in place of a traceback: the sentence, not the machinery."""
        return [f"{type(self).__name__}: {self}"]


def code_of(error: BaseException | None) -> str:
    """The code of an error, or of the one that it was made from; "" where none has one."""
    while error is not None:
        if isinstance(error, CgrunbookError) and error.code:
            return error.code
        error = error.__cause__
    return ""


# What the system refuses a file for where no code is at fault, and what is to be done. OTHER is how another place is chosen.
_OF_THE_SYSTEM = {
    errno.ENOSPC: "Make room on that disk, or OTHER.",
    errno.EDQUOT: "The quota of that disk is used up: make room there, or OTHER.",
    errno.EFBIG: "This process may write no larger file: raise that limit (ulimit -f), or OTHER.",
    errno.EMFILE: "No place is at fault: this process has as many files open as it may. Raise that limit where it is "
    "started: ulimit -n 1024",
    errno.ENFILE: "No place is at fault: this machine has as many files open as it can. End what needs many.",
    errno.EROFS: "That file system is read-only: OTHER.",
    errno.EACCES: "This user may not write there: OTHER.",
    errno.EPERM: "This user may not write there: OTHER.",
}


def of_the_system(error: BaseException) -> TypeGuard[OSError]:
    """Whether an error is the system's refusal of a file, such as a full disk, and no defect of anything."""
    return isinstance(error, OSError) and error.errno in _OF_THE_SYSTEM


def what_helps(error: OSError, elsewhere: str) -> str:
    """What is to be done about the system's refusal of a file.

    Args:
        elsewhere: how another place is chosen, an instruction in lower case without its full stop.
    """
    otherwise = f"{elsewhere[0].upper()}{elsewhere[1:]}."
    return _OF_THE_SYSTEM.get(error.errno or 0, otherwise).replace("OTHER", elsewhere)


class ParameterError(CgrunbookError):
    """A parameter breaks its rule; raised before the first call.

    Args:
        rules: what each value must be, as a sentence by the parameter's name; under "" what several must be together.
    """

    exit_code = ExitCode.USAGE

    def __init__(self, message: str, remedy: str = "", *, rules: Mapping[str, str] | None = None) -> None:
        self.rules = rules or {}
        super().__init__(message, remedy)


class UsageError(CgrunbookError):
    """The command line asks for something that does not exist."""

    exit_code = ExitCode.USAGE


class PrerequisiteMissing(CgrunbookError):
    """What the step builds on is not there yet; the remedy names the notebook or command that makes it."""

    exit_code = ExitCode.PREREQUISITE


class ApiDisabled(PrerequisiteMissing):
    """A Google API is off in the project.

    Args:
        api: its service's name, "" where the answer did not say.
        charged: id or number of the project that it is off in, where requests are charged to another than is worked in.
    """

    code = "api-off"

    def __init__(self, message: str, remedy: str = "", *, api: str = "", charged: str = "") -> None:
        super().__init__(message, remedy)
        self.api = api
        self.charged = charged


class PermissionMissing(PrerequisiteMissing):
    """The caller, or the service agent, may not do this.

    Args:
        permission: the one that is missing, "" where nobody said.
    """

    def __init__(
        self, message: str, remedy: str = "", *, permission: str = "", debugging: int = 0, code: str = ""
    ) -> None:
        super().__init__(message, remedy, debugging=debugging, code=code)
        self.permission = permission


class PerimeterDenied(PrerequisiteMissing):
    """A perimeter of VPC Service Controls is between the caller, Artifact Registry and its upstream."""

    code = "perimeter"


class ProjectUnknown(PrerequisiteMissing):
    """There is no such project, or the caller may not see it; Google does not say which."""


class NotSignedIn(PrerequisiteMissing):
    """There are no usable Google credentials."""


class ChainctlMissing(PrerequisiteMissing):
    """chainctl is not on the PATH."""


class ChainguardSignedOut(PrerequisiteMissing):
    """Chainguard does not take who calls."""


class ChainctlSignedOut(ChainguardSignedOut):
    """chainctl has no valid session."""


class StepFailed(CgrunbookError):
    """A step could not do, or could not prove, what it is for."""


class Declined(StepFailed):
    """The operator declined the change that the step had shown."""


class ServiceError(StepFailed):
    """An outside service refused or broke."""


class NotFound(ServiceError):
    """The resource does not exist."""


class AlreadyExists(ServiceError):
    """The name is taken."""


class Conflict(ServiceError):
    """Somebody else changed the resource between the reading and the writing."""


class InvalidRequest(ServiceError):
    """The service calls the request wrong."""


class UpstreamNotValidated(InvalidRequest):
    """Artifact Registry could not use the upstream, and what it says has no known reason in it."""


class WrongState(ServiceError):
    """The resource is in a state that forbids this (a disabled secret version, say)."""


class Temporary(ServiceError):
    """Known to pass: 429, 503, a reset connection. Retried; raised when the attempts are used up."""


class MemberUnknown(Temporary):
    """IAM does not know a service agent: it was never made, or only just now."""

    code = "agent-absent"


class EndedEarly(Temporary):
    """An answer ended before all of it had come."""


class ChainguardFailed(ServiceError):
    """Chainguard's API refused, or said what cannot be read."""


class ChainctlFailed(ChainguardFailed):
    """Chainctl ended with an error."""


class MalformedToken(ChainctlFailed):
    """What should be a pull token has another form.

    Args:
        wrong: which of its values, and how: "password is empty".
        reason: the same of a password as a code: "empty", "white-space", "base64", "no-token".
    """

    def __init__(self, message: str, remedy: str = "", *, wrong: str, reason: str = "no-token") -> None:
        super().__init__(message, remedy)
        self.wrong = wrong
        self.reason = reason


class RegistryError(ServiceError):
    """A registry refused a request."""


class UpstreamCredentialsRefused(RegistryError):
    """The registry does not take the credentials: wrong, expired or revoked."""


class ImageNotAvailable(RegistryError):
    """No such image or tag, or it is not in the organisation's catalogue."""


class DigestMismatch(RegistryError):
    """The bytes that came are not what their digest says."""


class SandboxUnavailable(CgrunbookError):
    """The sandbox does not start or stopped answering."""


class KernelDied(CgrunbookError):
    """A notebook's kernel ended before the notebook did."""

    exit_code = ExitCode.KERNEL_DIED


class Interrupted(CgrunbookError):
    """Somebody pressed Ctrl-C or sent SIGTERM."""

    exit_code = ExitCode.INTERRUPTED
