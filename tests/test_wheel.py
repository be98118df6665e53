"""The wheel has what an installation needs: the notebooks, the report's template, the command; the sdist what the tests need."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("built")
    build = [sys.executable, "-m", "hatchling", "build", "--directory", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def installed(built):
    [wheel] = built.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(built / "site")
    return built / "site"


def cgrunbook(installed, *words):
    """The wheel's own command: the editable checkout must not be found before it."""
    code = f"import sys; sys.path.insert(0, {str(installed)!r}); from cgrunbook.cli import main; main(sys.argv[1:])"
    return subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)


def test_an_installation_writes_its_notebooks_out_and_never_over_others(installed, tmp_path):
    done = cgrunbook(installed, "notebooks", "copy", str(tmp_path / "here"))
    assert done.returncode == 0, done.stderr
    names = sorted(path.name for path in (ROOT / "notebooks").glob("*.ipynb"))
    assert sorted(path.name for path in (tmp_path / "here").iterdir()) == names

    mine = tmp_path / "here" / names[0]
    mine.write_text("mine")
    (tmp_path / "here" / names[1]).unlink()
    again = cgrunbook(installed, "notebooks", "copy", str(tmp_path / "here"))
    assert again.returncode == 1
    assert mine.read_text() == "mine"
    assert (tmp_path / "here" / names[1]).exists()
    assert names[0] in again.stderr


def test_what_is_not_python_is_there_too(installed):
    assert (installed / "cgrunbook" / "py.typed").exists()
    assert (installed / "cgrunbook" / "run" / "report.html.j2").exists()
    assert not (installed / "tests").exists()
    extension = Path("labextensions", "cgrunbook", "static", "page.js")
    [shared] = installed.glob(f"cgrunbook-*.data/data/share/jupyter/{extension}")
    assert (
        installed / "cgrunbook" / "ui" / "lab_extension" / "cgrunbook" / "static" / "page.js"
    ).read_bytes() == shared.read_bytes()


def test_the_source_distribution_has_the_tests_and_every_file_that_they_read(built):
    [archive] = built.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        packed = {path.partition("/")[2] for path in opened.getnames()}
    kept = {"cgrunbook", "notebooks", "docs", "tests"}  # and .ci, but for the programs that are built there
    there = {
        path.relative_to(ROOT).as_posix()
        for path in ROOT.rglob("*")
        if path.is_file()
        and path.relative_to(ROOT).parts[0] in kept
        and not {"__pycache__", ".ipynb_checkpoints"} & {*path.parts}
    }
    alone = {path.name for path in ROOT.iterdir() if path.is_file() and path.suffix in {".md", ".txt", ".toml", ".yml"}}
    assert (there | alone | {"Makefile", "LICENSE", ".ci/run", ".ci/bare-root"}) - packed == {
        name for name in alone if name.startswith(".")
    }


def test_the_long_description_is_whole_without_the_repository(installed):
    [described] = installed.glob("*.dist-info/METADATA")
    text = described.read_text().partition("\n\n")[2]
    assert text.startswith("# cgrunbook")
    links = re.findall(r"\]\(([^)]+)\)|src=.([^ ]+)", text)
    assert [link for found in links for link in found if link and not link.startswith("https://")] == []
