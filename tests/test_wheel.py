"""The wheel has what an installation needs: the notebooks, the report's template, the command."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    [wheel] = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder / "site"


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
