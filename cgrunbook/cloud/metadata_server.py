"""The metadata server, which gives a machine at Google its credentials and names its project.

It knows how to tell quickly whether this is such a machine. google-auth asks the server itself for tokens.
"""

from __future__ import annotations

import os
from functools import cache
from http import HTTPStatus

from cgrunbook.cloud.proxies import metadata_host
from cgrunbook.errors import CgrunbookError

_FLAVOR, _GOOGLE = "Metadata-Flavor", "Google"

# google-auth's variables: whoever sets one says that there is a metadata server.
_SAYING_WHERE = ("GCE_METADATA_HOST", "GCE_METADATA_ROOT", "GCE_METADATA_IP")

# What services of Google set, and others that speak their language: worth a patient question.
_AT_A_SERVICE = ("K_SERVICE", "CLOUD_RUN_JOB", "GAE_SERVICE", "KUBERNETES_SERVICE_HOST")

# Seconds for an answer, which comes out of the machine's own host. Away from Google the address leads nowhere, and often
# not even to a refusal: nobody wants to wait for that.
_PATIENT, _PROBE = 3.0, 0.5


def is_there() -> bool:
    """Whether this is a machine at Google."""
    if os.environ.get("NO_GCE_CHECK") == "true":  # google-auth's own variable, for those who know better
        return False
    if any(os.environ.get(name) for name in _SAYING_WHERE):
        return True
    from google.auth.compute_engine import detect_gce_residency_linux

    patient = any(os.environ.get(name) for name in _AT_A_SERVICE)
    built_by_google = detect_gce_residency_linux()  # type: ignore[no-untyped-call]
    return bool(built_by_google) or _answers(_PATIENT if patient else _PROBE)


@cache  # a machine stays where it is
def _answers(seconds: float) -> bool:
    return _asked("http://169.254.169.254", seconds)[1] == _GOOGLE


@cache
def project() -> str:
    """The project that this machine is in, "" where nobody says."""
    if not is_there():
        return ""
    found, flavor = _asked(f"http://{metadata_host()}/computeMetadata/v1/project/project-id", _PATIENT)
    return found if flavor == _GOOGLE else ""


def _asked(url: str, seconds: float) -> tuple[str, str]:
    """What stands there, and whose metadata server says so; twice "" for no answer, or another than 200."""
    import requests

    from cgrunbook.cloud import sessions

    with sessions.session() as session:
        try:
            answer = session.get(url, headers={_FLAVOR: _GOOGLE}, timeout=seconds, allow_redirects=False)
        except (requests.RequestException, CgrunbookError):
            return "", ""
        if answer.status_code != HTTPStatus.OK:
            return "", ""
        return answer.text.strip(), answer.headers.get(_FLAVOR, "")
