"""One reading of CGRUNBOOK_HOME: `~` is a home, a relative path is one place, and blank is not given."""

from __future__ import annotations

from pathlib import Path

import pytest

from cgrunbook.home import VARIABLE, home
from cgrunbook.sandbox import process


def test_a_tilde_is_expanded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert home({VARIABLE: "~/x"}) == tmp_path / "x"


def test_a_relative_path_is_made_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert home({VARIABLE: "x"}) == Path.cwd() / "x"


@pytest.mark.parametrize("environment", [{}, {VARIABLE: ""}, {VARIABLE: "  "}])
def test_without_it_the_platforms_folder_for_user_data_is_the_home(environment: dict[str, str]) -> None:
    assert home(environment).name == "cgrunbook"
    assert home(environment).is_absolute()


def test_the_sandbox_keeps_everything_in_the_one_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(VARIABLE, "~/x")
    running = process.start(idle=60)
    try:
        assert running.home == tmp_path / "x"
        assert process.environment(running)[VARIABLE] == str(tmp_path / "x")
        assert f"{VARIABLE}={tmp_path / 'x'}\n" in (running.bin / "chainctl").read_text()
        assert [path.name for path in tmp_path.iterdir()] == ["x"]
    finally:
        process.reset()
    assert list(tmp_path.iterdir()) == []
