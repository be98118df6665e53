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
from cgrunbook.errors import NotSignedIn
from cgrunbook.redaction import one_line

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
LOGIN = "gcloud auth application-default login"
WIDER_LOGIN = f"{LOGIN} --scopes=openid,https://www.googleapis.com/auth/userinfo.email,{_SCOPE}"
_VARIABLE = "GOOGLE_APPLICATION_CREDENTIALS"

_IMPERSONATED = re.compile(r"/serviceAccounts/([^/:]+):generateAccessToken$")


@dataclass(frozen=True)
class Login:
    """Credentials, and what is known of them without asking anybody.

    Args:
        credentials: a `google.auth.credentials.Credentials`.
        sign_in: what whoever owns them does when they are not accepted, an instruction.
        wider: what they do when they are accepted, and may not do everything that the APIs ask for.
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
            content = json.loads(self.path.read_text(encoding="utf-8"))
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
        try:
            project = self.content.get("project_id")
        except NotSignedIn:
            return ""
        return project if isinstance(project, str) and self.kind == "service_account" else ""

    @property
    def kind(self) -> str:
        """Its type, such as "authorized_user"."""
        return str(self.content.get("type", ""))

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
        return Login(credentials, *self._remedies(content))

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

    def _remedies(self, content: Mapping[str, Any]) -> tuple[str, str]:
        """What helps when these credentials are not accepted, and when they may too little."""
        target = _IMPERSONATED.search(str(content.get("service_account_impersonation_url", "")))
        match self.kind:
            case "service_account":
                return _key_remedies(content)
            case "external_account":
                said = _federation_remedy(content, target.group(1) if target else "")
                return said, said
            case "impersonated_service_account" if target is not None:
                return _impersonation_remedies(content.get("source_credentials"), target.group(1))
            case "external_account_authorized_user":
                login = f"{LOGIN} --login-config=LOGIN_CONFIG_FILE"
                return self._login(login), self._login(login)
        return self._login(LOGIN), self._login(WIDER_LOGIN)

    def _login(self, command: str) -> str:
        """The instruction to sign in as a person; the command writes gcloud's own file, whatever the variable names."""
        elsewhere = self.named and self.path != gcloud.folder() / _GCLOUDS_FILE
        return f"Sign in: {command}" + (f"\nand unset {_VARIABLE}, which names {self.path}." if elsewhere else "")


_GCLOUDS_FILE = "application_default_credentials.json"


def key_file() -> KeyFile | None:
    """The file that application default credentials are read from; None where there is none."""
    if named := os.environ.get(_VARIABLE):
        return KeyFile(Path(named), named=True)
    own = gcloud.folder() / _GCLOUDS_FILE
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


def _key_remedies(content: Mapping[str, Any]) -> tuple[str, str]:
    account = content.get("client_email")
    said = (
        f"The key of {account} was not accepted: it is deleted or disabled, its account is, or this machine's clock is wrong. "
        f"See its keys: gcloud iam service-accounts keys list --iam-account={account}"
    )
    return said, said


def _federation_remedy(content: Mapping[str, Any], target: str) -> str:
    """By where a federation's subject token comes from, which decides what can be wrong with it."""
    source = content.get("credential_source")
    source = source if isinstance(source, Mapping) else {}
    executable = source.get("executable")
    if isinstance(executable, Mapping):
        token = (
            f"the command {executable.get('command')}, which google-auth runs only where "
            "GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES=1"
        )
    elif "file" in source:
        token = f"the file {source['file']}"
    else:
        token = str(source.get("url") or source.get("environment_id") or "its credential_source")
    said = (
        f"The credentials are exchanged for a token from {token}. Look whether it gives one that is not expired, and whether the "
        f"provider takes it: {content.get('audience')}"
    )
    if target:
        who = principal(str(content.get("audience")))
        said += (
            f"\nThe identity that it names must be able to act as {target}: gcloud iam service-accounts "
            f'add-iam-policy-binding {target} --member="{who}" --role=roles/iam.workloadIdentityUser'
        )
    return said


def _impersonation_remedies(source: Any, target: str) -> tuple[str, str]:
    source = source if isinstance(source, Mapping) else {}
    if source.get("type") == "service_account":
        who, member, first = "It", f"serviceAccount:{source.get('client_email')}", _key_remedies(source)[0]
    else:
        who, member = "ADDRESS, which signed in there,", "user:ADDRESS"
        first = f"Sign in: {LOGIN} --impersonate-service-account={target}"
    said = (
        f"{first}\n{who} must be able to act as {target}: gcloud iam service-accounts add-iam-policy-binding {target} "
        f'--member="{member}" --role=roles/iam.serviceAccountTokenCreator'
    )
    return said, said


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
