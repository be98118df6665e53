"""`make` on a machine that is not as one wishes: the .venv that it leaves is whole, or the next `make` makes it anew."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# A Python that makes a .venv in a moment and can be told to fail as real ones do. What it makes can `import pip`, and no more.
PYTHON = f"""#!/bin/sh
test "$1 $2" = "-m venv" || exec '{sys.executable}' "$@"
'{sys.executable}' -m venv --without-pip "$3"
case "$VENV_ENDS" in
  interrupted) kill -INT 0; sleep 5;;
  debian) echo "The virtual environment was not created successfully because ensurepip is not available."; exit 1;;
esac
for packages in "$3"/lib/python*/site-packages; do : > "$packages"/pip.py; done
"""

# The installer writes down that it was called; a signal to its group is what Ctrl-C is.
INSTALLER = """#!/bin/sh
echo "$@" >> installed.txt
case "$INSTALL_ENDS" in
  interrupted) kill -INT 0; sleep 5;;
  killed) kill -KILL 0;;
  refused) echo "no matching distribution" >&2; exit 1;;
esac
"""


class Checkout:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def make(self, **environment: str) -> subprocess.CompletedProcess[str]:
        words = ["make", ".venv/.installed-for-tests", "PYTHON=./python", "INSTALL=./installer"]
        return subprocess.run(
            words,
            cwd=self.folder,
            env={name: value for name, value in os.environ.items() if not name.startswith("MAKE")} | environment,
            capture_output=True,
            text=True,
            check=False,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # what runs in the background ignores it
        )

    @property
    def installed(self) -> list[str]:
        """What was installed, in the order of the calls."""
        path = self.folder / "installed.txt"
        return [line.split()[-1] for line in path.read_text().splitlines()] if path.exists() else []

    def is_whole(self) -> bool:
        python = self.folder / ".venv" / "bin" / "python"
        code = "import pip, sys; print(sys.prefix)"
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
        stamped = (self.folder / ".venv" / ".installed-for-tests").exists()
        return stamped and done.stdout.strip() == str(self.folder / ".venv")


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    folder = tmp_path.resolve() / "a folder" / "cgrunbook's"
    folder.mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder)
    for name, text in (("python", PYTHON), ("installer", INSTALLER)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return Checkout(folder)


def test_a_whole_venv_is_made_once_and_then_left_alone(checkout):
    done = checkout.make()
    assert done.returncode == 0, done.stderr
    assert checkout.is_whole()
    assert checkout.make().returncode == 0
    assert checkout.installed == [".[lab]", ".[test]"]


@pytest.mark.parametrize(
    "ends",
    [
        {"VENV_ENDS": "interrupted"},
        {"INSTALL_ENDS": "interrupted"},
        {"INSTALL_ENDS": "killed"},
        {"INSTALL_ENDS": "refused"},
    ],
    ids=lambda ends: "-".join(ends.values()) + "-in-" + next(iter(ends)).split("_")[0].lower(),
)
def test_one_that_did_not_come_to_its_end_is_made_anew(checkout, ends):
    assert checkout.make(**ends).returncode != 0
    mark = checkout.folder / ".venv" / "of-the-first-try"
    mark.touch()
    done = checkout.make()
    assert done.returncode == 0, done.stderr
    assert "made anew" in done.stderr
    assert checkout.is_whole()
    assert not mark.exists()


def test_one_of_an_earlier_makefile_without_pip_is_made_anew(checkout):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", ".venv"], cwd=checkout.folder, check=True)
    assert checkout.make().returncode == 0
    assert checkout.is_whole()


def test_one_that_was_moved_with_its_checkout_is_made_anew(checkout):
    checkout.make()
    moved = checkout.folder.with_name("moved")
    checkout.folder.rename(moved)
    there = Checkout(moved)
    done = there.make()
    assert done.returncode == 0, done.stderr
    assert "made anew" in done.stderr
    assert there.is_whole()


def test_one_whose_python_is_gone_is_made_anew(checkout):
    checkout.make()
    python = checkout.folder / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to("/nowhere/python3")
    assert checkout.make().returncode == 0
    assert checkout.is_whole()


def test_where_debian_has_no_venv_its_package_is_named_and_nothing_is_left(checkout):
    done = checkout.make(VENV_ENDS="debian")
    assert done.returncode != 0
    assert "apt install python3-venv" in done.stderr
    assert not (checkout.folder / ".venv").exists()


def test_where_there_is_no_python_that_is_new_enough_it_says_which_were_tried(checkout):
    (checkout.folder / "python").write_text("#!/bin/sh\nexit 1\n")
    done = checkout.make()
    assert done.returncode != 0
    assert "needs Python 3.11 or newer; none of these is one: ./python" in done.stderr
    assert not (checkout.folder / ".venv").exists()
