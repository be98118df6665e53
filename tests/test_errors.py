"""A remedy is that of the cause, and of the program that somebody has started."""

from __future__ import annotations

import errno
import os
import resource
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from cgrunbook import home
from cgrunbook.errors import PrerequisiteMissing, of_the_system, what_helps
from cgrunbook.run import headless
from cgrunbook.run.folder import cannot_write


def refusal(number: int) -> OSError:
    return OSError(number, os.strerror(number), "/some/file")


@pytest.mark.parametrize(
    ("number", "helps"),
    [
        (errno.ENOSPC, "Make room on that disk, or go elsewhere."),
        (errno.EDQUOT, "make room there, or go elsewhere."),
        (errno.EROFS, "That file system is read-only: go elsewhere."),
        (errno.EACCES, "This user may not write there: go elsewhere."),
        (errno.EFBIG, "(ulimit -f), or go elsewhere."),
        (errno.EMFILE, "ulimit -n 1024"),
        (errno.ENFILE, "End what needs many."),
        (errno.ENOTDIR, "Go elsewhere."),
    ],
)
def test_what_helps_is_for_the_cause(number: int, helps: str):
    said = what_helps(refusal(number), "go elsewhere")
    assert said.endswith(helps)
    assert ("room" in said) == (number in (errno.ENOSPC, errno.EDQUOT))
    assert of_the_system(refusal(number)) == (number != errno.ENOTDIR)


def test_another_place_is_chosen_in_the_words_of_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CGRUNBOOK_HOME", str(tmp_path / "home"))
    full, path = refusal(errno.ENOSPC), tmp_path / "runs" / "one" / "journal.jsonl"
    for shell, variables, words in (
        (None, {}, "choose another place with --output"),
        (object(), {}, "run the notebook in another folder, which gets the folder runs"),
        (object(), {"CGRUNBOOK_RUN_FOLDER": str(tmp_path)}, "choose another place with --output"),
        (
            object(),
            {"CGRUNBOOK_RUN_FOLDER": str(path.parent)},
            "leave the folder of a run where it is; without `cgrunbook run`, unset CGRUNBOOK_RUN_FOLDER",
        ),
    ):
        with monkeypatch.context() as started:
            started.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda shell=shell: shell))
            started.delenv("CGRUNBOOK_RUN_FOLDER", raising=False)
            for name, value in variables.items():
                started.setenv(name, value)
            assert f"Make room on that disk, or {words}." in cannot_write(path, full).remedy
            assert "--output" not in cannot_write(tmp_path / "home" / "parameters.json", full).remedy
    assert "set CGRUNBOOK_HOME to another folder" in cannot_write(tmp_path / "home" / "x", full).remedy


def test_a_user_without_a_home_is_told_so_and_not_to_try_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    def nobody() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nobody)
    monkeypatch.delenv("CGRUNBOOK_HOME", raising=False)
    for ask in (home.home, lambda: headless.run(["02"], {}, output=tmp_path / "run")):
        with pytest.raises(PrerequisiteMissing, match="has no home folder") as raised:
            ask()
        assert raised.value.remedy.startswith("Set HOME to a folder")
    assert not (tmp_path / "run").exists()
    monkeypatch.setenv("CGRUNBOOK_HOME", str(tmp_path))
    assert home.home() == tmp_path


def test_a_process_that_may_open_few_files_is_told_so_or_takes_what_it_may(monkeypatch: pytest.MonkeyPatch):
    taken: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: taken.append(limits))
    monkeypatch.setattr(resource, "getrlimit", lambda _: (64, 64))
    with pytest.raises(PrerequisiteMissing, match="may open 64 files at once") as raised:
        headless.require_files()
    assert "ulimit -n" in raised.value.remedy
    for limits in ((64, 4096), (64, resource.RLIM_INFINITY), (1024, 4096), (resource.RLIM_INFINITY,) * 2):
        monkeypatch.setattr(resource, "getrlimit", lambda _, limits=limits: limits)
        headless.require_files()
    assert taken == [(128, 4096), (128, resource.RLIM_INFINITY)]
