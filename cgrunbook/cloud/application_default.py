"""Application default credentials: where they are looked for, whose they are as far as they say, and what helps when they fail.

The order is Google's: the file that GOOGLE_APPLICATION_CREDENTIALS names, gcloud's own file, the metadata server. google-auth's
`default` is not used: it starts gcloud for a project that nobody asked for, calls two services for the project of a federation's
pool, and waits for the metadata server of machines that have none.
"""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from cgrunbook.cloud import gcloud, metadata_server
from cgrunbook.cloud.iam_policy import grant_command
from cgrunbook.errors import NotSignedIn
from cgrunbook.redaction import one_line

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
LOGIN = "gcloud auth application-default login"
WIDER_LOGIN = f"{LOGIN} --scopes=openid,https://www.googleapis.com/auth/userinfo.email,{_SCOPE}"
_VARIABLE = "GOOGLE_APPLICATION_CREDENTIALS"
# Characters; what is longer is cut, and no JSON any more.
_LARGEST = 1024 * 1024

_IMPERSONATED = re.compile(r"/serviceAccounts/([^/:]+):generateAccessToken$")


@dataclass(frozen=True)
class Login:
    """Credentials, and what is known of them without asking anybody.

    Args:
        credentials: a `google.auth.credentials.Credentials`.
        sign_in: what whoever owns them does when they are not accepted, an instruction.
        wider: what they do when they are accepted, and their scopes are too few.
    """

    credentials: Any
    sign_in: str
    wider: str


@dataclass(frozen=True)
class KeyFile:
    """A file of credentials.

    Args:
        path: where it is.
        named: whether `GOOGLE_APPLICATION_CREDENTIALS` names it; else it is gcloud's own.
    """

    path: Path
    named: bool

    @cached_property
    def content(self) -> Mapping[str, Any]:
        """What stands in it.

        Raises:
            NotSignedIn: it cannot be read, or is no JSON object.
        """
        try:
            with self.path.open(encoding="utf-8") as file:
                content = json.loads(file.read(_LARGEST))
        except OSError as error:
            raise self._unusable(f"it cannot be read: {error.strerror or error}") from error
        except (ValueError, RecursionError) as error:
            raise self._unusable(f"it is no JSON: {error}") from error
        if not isinstance(content, dict):
            raise self._unusable(f"it holds a JSON {type(content).__name__}, where an object with a type is expected")
        return content

    @property
    def project(self) -> str:
        """The project that a service account's key belongs to; "" for others, and where it cannot be read."""
        project = self.content.get("project_id") if self.kind == "service_account" else ""
        return project if isinstance(project, str) else ""

    @property
    def kind(self) -> str:
        """Its type, such as "authorized_user"; "" where it cannot be read."""
        try:
            return str(self.content.get("type", ""))
        except NotSignedIn:
            return ""

    def login(self) -> Login:
        """The credentials in it.

        Raises:
            NotSignedIn: they are malformed, or of no kind that google-auth knows.
        """
        from google.auth import load_credentials_from_file
        from google.auth.credentials import with_scopes_if_required

        content = self.content  # its own sentences first
        try:
            with warnings.catch_warnings():
                # Said of every person's own credentials (where a quota project is really needed, the API says so), and of
                # every file whose type is not known before.
                warnings.simplefilter("ignore")
                # Without scopes: with them google-auth calls two services to find a federation's project.
                credentials, _ = load_credentials_from_file(str(self.path))  # type: ignore[no-untyped-call]
                credentials = with_scopes_if_required(credentials, [_SCOPE])  # type: ignore[no-untyped-call]
        except Exception as error:  # whatever google-auth makes of missing fields and wrong types
            raise self._unusable(_reasons(error)) from error
        login = f"Sign in: {WIDER_LOGIN}" if self.kind == "authorized_user" else ""
        source = content.get("source_credentials")
        of_a_login = "refresh_token" in (source if isinstance(source, dict) else content)
        elsewhere = (
            f"\nA login is written to gcloud's own file: unset {_VARIABLE}, which names {self.path}."
            if self.named and of_a_login
            else ""
        )
        return Login(credentials, f"{_remedy(content)}{elsewhere}", f"{login or _remedy(content)}{elsewhere}")

    def _unusable(self, why: str) -> NotSignedIn:
        if not self.named:
            return NotSignedIn(
                f"The application default credentials in {self.path} cannot be used: {one_line(why)}.",
                f"Make them anew: {LOGIN}",
            )
        return NotSignedIn(
            f"{_VARIABLE} names {self.path}, which cannot be used: {one_line(why)}.",
            f"Correct the file, or {_VARIABLE}, or unset it where other credentials are meant.",
        )


def key_file() -> KeyFile | None:
    """The file that application default credentials are read from; None where there is none."""
    if named := os.environ.get(_VARIABLE):
        return KeyFile(Path(named), named=True)
    own = gcloud.folder() / "application_default_credentials.json"
    return KeyFile(own, named=False) if own.is_file() else None


def application_default() -> Login | None:
    """The credentials that this machine has for programs; None where it has none.

    Raises:
        NotSignedIn: there are some, and they cannot be used. Another identity in their place would surprise.
    """
    if (file := key_file()) is not None:
        return file.login()
    return _of_the_machine() if metadata_server.is_there() else None


def _of_the_machine() -> Login:
    from google.auth import compute_engine

    credentials: Any = compute_engine.Credentials(scopes=[_SCOPE])  # type: ignore[no-untyped-call]
    return Login(
        credentials.with_quota_project_from_environment(),
        "The credentials are those of this machine, from its metadata server. Look whether a service account is attached to it "
        "and enabled (Compute Engine: gcloud compute instances describe NAME --format='value(serviceAccounts)'; Cloud Run: "
        "gcloud run services describe NAME --format='value(spec.template.spec.serviceAccountName)').",
        "This machine's access scopes are too few. Stop it, and widen them: gcloud compute instances set-service-account NAME "
        "--scopes=cloud-platform",
    )


def _remedy(content: Mapping[str, Any]) -> str:
    """What helps when the credentials in a file are not accepted: by their kind, and by what stands behind them."""
    acts_as = _IMPERSONATED.search(str(content.get("service_account_impersonation_url")))
    target = acts_as.group(1) if acts_as else ""
    match content:
        case {"type": "service_account", "client_email": account}:
            return (
                f"The key of {account} was not accepted: it is deleted or disabled, its account is, or this machine's clock is "
                f"wrong. See its keys: gcloud iam service-accounts keys list --iam-account={account}"
            )
        case {"type": "external_account", "audience": audience, "credential_source": source}:
            said = (
                f"The credentials are exchanged for a token from {_token_source(source)}. Look whether it gives one that is not "
                f"expired, and whether the provider takes it: {audience}"
            )
            return said + (_may_act_as(target, principal(str(audience)), "workloadIdentityUser") if target else "")
        case {"type": "impersonated_service_account", "source_credentials": {"client_email": account} as source}:
            return _remedy(source) + _may_act_as(target, f"serviceAccount:{account}", "serviceAccountTokenCreator")
        case {"type": "impersonated_service_account"}:
            login = f"Sign in: {LOGIN} --impersonate-service-account={target}"
            return login + _may_act_as(target, "user:ADDRESS", "serviceAccountTokenCreator")
        case {"type": "external_account_authorized_user"}:
            return f"Sign in: {LOGIN} --login-config=LOGIN_CONFIG_FILE"
    return f"Sign in: {LOGIN}"


def _token_source(source: Any) -> str:
    """Where a federation's subject token comes from."""
    match source:
        case {"executable": {"command": command}}:
            return f"the command {command}, which is run only where GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES=1"
        case {"file": place} | {"url": place} | {"environment_id": place}:
            return str(place)
    return "its credential_source"


def _may_act_as(target: str, member: str, role: str) -> str:
    command = grant_command(f"iam service-accounts add-iam-policy-binding {target}", member, f"roles/iam.{role}")
    return f"\nWho stands behind them must be able to act as {target}: {command}"


def principal(audience: str) -> str:
    """The IAM member of a federation's identities, its subject left open: what it is mapped from, the provider alone knows.

    Args:
        audience: "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/POOL/providers/PROVIDER", or a
            workforce pool's.

    Returns:
        "principal://iam.googleapis.com/projects/1/.../POOL/subject/SUBJECT"; "" for what is no such audience.
    """
    pool = re.fullmatch(r"//(iam\.googleapis\.com/.+)/providers/[^/]+", audience)
    return f"principal://{pool.group(1)}/subject/SUBJECT" if pool else ""


def _reasons(error: BaseException) -> str:
    """What an exception says, and the one that it wraps."""
    from cgrunbook.cloud.retry import causes

    said = [str(cause.args[0] if cause.args else type(cause).__name__) for cause in causes(error)]
    return ": ".join(dict.fromkeys(text.rstrip(".") for text in said))
