"""One sandbox a module, without delays; tests that need an untouched one ask for `fresh_home`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest

from cgrunbook.cloud.artifact_registry import ArtifactRegistry
from tests.sandboxes import chainctl_without_a_process, sandbox_home

_FEW = ("asia-southeast1", "europe-west1", "europe-west9", "us", "us-central1")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with sandbox_home(tmp_path_factory.mktemp("cgrunbook")) as home:
        yield home


@pytest.fixture
def fresh_home(tmp_path: Path) -> Iterator[Path]:
    with sandbox_home(tmp_path / "cgrunbook") as home:
        yield home


@pytest.fixture
def few_locations() -> Iterator[None]:
    """A few of the forty locations that teardown asks, one after the other, most of them for nothing."""
    all_of_them = ArtifactRegistry.locations

    def few(repositories: ArtifactRegistry) -> tuple[str, ...]:
        return tuple(each for each in all_of_them(repositories) if each in _FEW)

    with patch.object(ArtifactRegistry, "locations", few):
        yield


@pytest.fixture(scope="module")
def quick_chainctl(home: Path) -> Iterator[None]:
    with chainctl_without_a_process():
        yield
