"""One sandbox a module, without delays; tests that need an untouched one ask for `fresh_home`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sandboxes import chainctl_without_a_process, sandbox_home


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with sandbox_home(tmp_path_factory.mktemp("cgrunbook")) as home:
        yield home


@pytest.fixture
def fresh_home(tmp_path: Path) -> Iterator[Path]:
    with sandbox_home(tmp_path / "cgrunbook") as home:
        yield home


@pytest.fixture(scope="module")
def quick_chainctl(home: Path) -> Iterator[None]:
    with chainctl_without_a_process():
        yield
