"""One home: what CGRUNBOOK_HOME names is one folder, read in one place, for everything that cgrunbook keeps."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from platformdirs import user_data_dir

import cgrunbook
from cgrunbook import steps
from cgrunbook.cli.app import _keep_traceback
from cgrunbook.home import VARIABLE, home
from cgrunbook.parameters import Parameters
from cgrunbook.sandbox import process
from cgrunbook.ui import lab, values
from tests.steps.performing import open_book, perform

PACKAGE = Path(cgrunbook.__file__).parent


@pytest.fixture
def person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home folder of a person who is at work in another folder."""
    person, work = tmp_path / "person", tmp_path / "work"
    person.mkdir()
    work.mkdir()
    monkeypatch.setenv("HOME", str(person))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.chdir(work)
    return person


def test_a_home_that_begins_with_a_tilde_is_one_folder_for_all_that_is_kept(
    person: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv(VARIABLE, "~/x")
    book, _ = open_book(folder=tmp_path)
    try:
        perform(book, steps.EnableApi(steps.ARTIFACT_REGISTRY))
        values.save(Parameters().model_dump())
        lab.environment(Path("notebooks"), home())
        _keep_traceback(LookupError("a defect"))
        there = process.status()
        assert there is not None
        running = there.running
        assert running.home == person / "x"
        assert process.environment(running)[VARIABLE] == str(person / "x")
        assert f"{VARIABLE}={person / 'x'}\n" in (running.bin / "chainctl").read_text()
        kept = {path.name for path in (person / "x").iterdir()}
        assert {"sandbox", "locks", "lab", "errors"} <= kept
        assert values.read_saved() is not None
        assert [path.name for path in person.iterdir()] == ["x"], "and nothing beside it"
        assert list(Path.cwd().iterdir()) == [], "least of all a folder that is called ~"
    finally:
        process.reset()


def test_a_relative_home_is_meant_from_where_it_was_said(person: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(VARIABLE, "mine/here")
    assert home() == Path.cwd() / "mine" / "here"
    said = home()
    monkeypatch.chdir(person)
    assert said.is_absolute()


@pytest.mark.parametrize("nothing", ["", "  ", None])
def test_a_home_that_is_not_given_is_the_platform_s_folder_for_such_things(
    person: Path, monkeypatch: pytest.MonkeyPatch, nothing: str | None
):
    if nothing is not None:
        monkeypatch.setenv(VARIABLE, nothing)
    assert home() == Path(user_data_dir("cgrunbook"))
    assert home().is_relative_to(person)


def test_a_home_is_not_made_by_asking_for_it(person: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(VARIABLE, "~/x")
    assert not home().exists()
    assert list(person.iterdir()) == []


def reads_it(tree: ast.AST) -> bool:
    """Whether code looks the variable up in an environment; a mapping that is handed to another process only names it."""

    def names_it(node: ast.AST) -> bool:
        if isinstance(node, ast.Constant):
            return bool(node.value == VARIABLE)
        return getattr(node, "id", getattr(node, "attr", "")) == "VARIABLE"

    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(attr="get" | "getenv" | "pop" | "setdefault"), args=[name, *_]):
                pass
            case ast.Subscript(slice=name, ctx=ast.Load()):
                pass
            case ast.Compare(left=name, ops=[ast.In() | ast.NotIn()]):
                pass
            case _:
                continue
        if names_it(name):
            return True
    return False


def test_nobody_else_reads_the_variable():
    readers = {
        path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if reads_it(ast.parse(path.read_text()))
    }
    assert readers == {"home.py"}
