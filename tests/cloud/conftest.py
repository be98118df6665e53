from __future__ import annotations

import os
from pathlib import Path

import pytest

from cgrunbook.cloud import metadata_server


@pytest.fixture
def no_google(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine on which nobody ever signed in; returns the only folder on its PATH."""
    for name in [one for one in os.environ if one.startswith(("GOOGLE_", "CLOUDSDK_", "GCLOUD_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "gcloud"))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    metadata_server.project.cache_clear()
    monkeypatch.setenv("HOME", str(tmp_path))
    commands = tmp_path / "bin"
    commands.mkdir()
    monkeypatch.setenv("PATH", str(commands))
    return commands
