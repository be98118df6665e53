"""Credentials as they stand on machines: a gcloud that is signed in, a service account's key."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa


def gcloud(folder: Path, token: str, project: str = "") -> None:
    """A gcloud that is signed in, or not when the token is empty; each of its starts adds a line to the file `started`."""
    configurations = Path(os.environ["CLOUDSDK_CONFIG"]) / "configurations"
    configurations.mkdir(parents=True, exist_ok=True)
    (configurations.parent / "active_config").write_text("default")
    (configurations / "config_default").write_text(f"[core]\nproject = {project}\n" if project else "[core]\n")
    script = folder / "gcloud"
    script.write_text(
        "#!/bin/sh\n"
        f'echo "$CLOUDSDK_CORE_DISABLE_FILE_LOGGING $*" >>{folder}/started\n'
        'case "$*" in\n'
        f'*print-access-token*) [ -n "{token}" ] || {{ echo "You do not currently have an active account" >&2; exit 1; }}\n'
        f'  echo "{token}";;\n'
        "esac\n"
    )
    script.chmod(0o755)


@cache
def private_key() -> str:
    """A throw-away key, made once."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def key_of(account: str = "ci@their-project.iam.gserviceaccount.com", **fields: str) -> dict[str, str]:
    """What stands in a service account's key."""
    return {
        "type": "service_account",
        "project_id": "their-project",
        "private_key_id": "1",
        "private_key": private_key(),
        "client_email": account,
        "token_uri": "http://127.0.0.1:1/token",
        **fields,
    }


def service_account(path: Path) -> Path:
    """A key in a file, whose token comes from where nobody is."""
    path.write_text(json.dumps(key_of()))
    return path
