"""gcloud on this machine: how it is run, and what its configuration says without running it.

It knows the command and its files. It does not know what an account or a project is wanted for.
"""

from __future__ import annotations

import configparser
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cgrunbook.cloud import command

# gcloud's start alone takes about a second, a cold disk several; and it may have to refresh over a slow line.
_SECONDS = 60.0

# gcloud writes what it prints into a log file too, a token among it.
WITHOUT_LOG_FILE: Mapping[str, str] = {"CLOUDSDK_CORE_DISABLE_FILE_LOGGING": "1"}


@dataclass(frozen=True)
class Configuration:
    """What gcloud's active configuration says.

    Args:
        name: the configuration's; "" where there is none.
        project: core/project, "" where it is not set.
        account: core/account; it is who gcloud was last signed in as, not who a token is for.
    """

    name: str = ""
    project: str = ""
    account: str = ""


def gcloud(*arguments: str) -> command.Ended:
    """Run gcloud, which answers through pipes, asks nobody anything and keeps no log of it.

    Raises:
        OSError: there is none.
        command.TooMuch: it did not answer.
    """
    environment = {**os.environ, **WITHOUT_LOG_FILE}
    return command.run(("gcloud", *arguments, "--quiet"), environment, seconds=_SECONDS)


def folder() -> Path:
    """Where gcloud keeps its configuration and the application default credentials."""
    return Path(os.environ.get("CLOUDSDK_CONFIG") or Path.home() / ".config" / "gcloud")


def configuration() -> Configuration:
    """Read the active configuration from its files; the variables that go before it are not looked at."""
    name = os.environ.get("CLOUDSDK_ACTIVE_CONFIG_NAME", "")
    try:
        name = name or (folder() / "active_config").read_text(encoding="utf-8").strip()
        file = configparser.ConfigParser(interpolation=None)
        file.read_string((folder() / "configurations" / f"config_{name}").read_text(encoding="utf-8"))
    except (OSError, ValueError, configparser.Error):  # no gcloud here, or a file that it would not read either
        return Configuration()
    return Configuration(
        name, file.get("core", "project", fallback="").strip(), file.get("core", "account", fallback="").strip()
    )
