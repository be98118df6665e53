"""One home: what CGRUNBOOK_HOME names is one folder, read in one place, for everything that cgrunbook keeps."""

from __future__ import annotations

import ast
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from platformdirs import user_data_dir

import cgrunbook
from cgrunbook import steps
from cgrunbook.cli import main
from cgrunbook.cli.app import _keep_traceback
from cgrunbook.errors import PrerequisiteMissing
from cgrunbook.home import VARIABLE, home, made
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


def test_a_home_of_a_user_that_is_not_there_is_refused_in_a_sentence(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(VARIABLE, "~nobody-of-this-name/x")
    with pytest.raises(PrerequisiteMissing, match="~nobody-of-this-name/x, and this machine knows no user"):
        home()


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


def put_behind_somebody_elses_link(home: Path) -> None:
    home.rename(home.with_name("elsewhere"))
    home.symlink_to("elsewhere")
    os.chown(home, 12345, -1, follow_symlinks=False)


UNFIT: dict[str, tuple[Callable[[Path], None], str]] = {
    "somebody else's": (lambda home: os.chown(home, 12345, -1), "belongs to the user 12345, and this runs as "),
    "of everybody": (lambda home: home.chmod(0o777), "everybody may write in "),
    "with a link for the sandbox": (lambda home: (home / "sandbox").symlink_to("/"), "sandbox is a link"),
    "with a link for the locks": (lambda home: (home / "locks").symlink_to("nowhere"), "locks is a link"),
    "with a link for what is saved": (lambda home: (home / "parameters.json").symlink_to("x"), "json is a link"),
    "behind somebody else's link": (put_behind_somebody_elses_link, "belongs to"),
}


@pytest.mark.parametrize(("spoil", "why"), UNFIT.values(), ids=UNFIT)
def test_a_home_that_is_not_ours_alone_is_refused_in_a_sentence(
    person: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    spoil: Callable[[Path], None],
    why: str,
):
    if os.geteuid() != 0 and "belongs" in why:
        pytest.skip("only root can give a folder away")
    given = person / "x"
    given.mkdir(mode=0o700)
    spoil(given)
    before = sorted(person.rglob("*"))
    monkeypatch.setenv(VARIABLE, str(given))
    for use in (["sandbox", "start"], ["sandbox", "status"], ["run", "02"], ["lab", "notebooks"]):
        with pytest.raises(SystemExit) as ended:
            main(use)
        said = capsys.readouterr().err
        assert ended.value.code == 3, said
        assert why in said
        assert f"set {VARIABLE} to a folder that is" in said
    assert sorted(person.rglob("*")) == before


def test_links_in_the_sandboxs_own_folder_are_refused_too(person: Path, tmp_path: Path):
    folder = process.folder_of(person / "x")
    (folder / "log").mkdir(parents=True)
    precious = tmp_path / "precious"
    precious.write_text("kept")
    for name in ("server.pid", "log/server.log", "state.db"):
        (folder / name).symlink_to(precious)
        with pytest.raises(PrerequisiteMissing, match=f"{name} is a link"):
            process.start(person / "x")
        (folder / name).unlink()
    assert precious.read_text() == "kept"


def test_a_link_of_the_person_s_own_to_another_disk_is_a_home(person: Path, monkeypatch: pytest.MonkeyPatch):
    (person / "large").mkdir(mode=0o700)
    (person / "x").symlink_to("large")
    monkeypatch.setenv(VARIABLE, str(person / "x"))
    assert home() == person / "x"


def test_root_makes_no_folder_in_the_home_of_whoever_called_sudo(person: Path, monkeypatch: pytest.MonkeyPatch):
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder away")
    os.chown(person, 12345, -1)
    assert home().is_relative_to(person)  # as in a container, whose root works in somebody's folder
    monkeypatch.setenv("SUDO_UID", "12345")
    with pytest.raises(PrerequisiteMissing, match=f"{person} belongs to the user 12345") as refused:
        home()
    assert "without sudo" in refused.value.remedy


def test_whatever_the_umask_our_own_folder_stays_ours(person: Path, monkeypatch: pytest.MonkeyPatch):
    before = os.umask(0)
    try:
        made(home() / "locks")
    finally:
        os.umask(before)
    assert made(home() / "locks").stat().st_mode & 0o777 == 0o700


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
